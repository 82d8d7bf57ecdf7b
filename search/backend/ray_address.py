"""Finds the Ray cluster of an address, and checks quickly whether it answers."""

import logging
import os
import socket
from contextlib import suppress

import grpc
import ray
from ray._private import services
from ray._private.authentication import authentication_token_setup
from ray._private.grpc_utils import init_grpc_channel
from ray._private.utils import read_ray_address
from ray.core.generated.gcs_service_pb2 import CheckAliveRequest
from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

from kptrain.errors import SettingsError

PATIENCE = 5.0
"""Seconds to wait for a connection, and for an answer."""


def find_cluster(given: str) -> str:
    """The host:port of an address; for 'auto', RAY_ADDRESS or else the cluster of this machine.

    Raises: SettingsError if no cluster that accepts us answers there.
    """
    address = os.environ.get("RAY_ADDRESS") or given if given == "auto" else given  # as in Ray
    if address == "auto":
        address = _cluster_here()
        _use_token()
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or "/" in host:
        client = "a client's address" if address.startswith("ray://") else "no host:port"
        raise bad_address(address, f"that is {client}")
    try:
        socket.create_connection((host, int(port)), timeout=PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise bad_address(address, str(error)) from None
    if (reason := why_no_cluster(address)) is not None:
        raise bad_address(address, reason)
    return address


def check_address(given: str) -> None:
    """Raises: SettingsError as `find_cluster`; 'auto' is valid if this process is connected."""
    if not (given == "auto" and ray.is_initialized()):
        find_cluster(given)


def _cluster_here() -> str:
    """The cluster that `ray start` started or joined on this machine and whose address it wrote to
    a file. Unlike Ray itself, ignore a Ray that a program, such as another search, started for
    itself: it ends with that program.

    Raises: SettingsError unless there is exactly one.
    """
    running = services._find_address_from_flag("--gcs-address")
    folders = services._find_address_from_flag("--temp_dir")
    started = running & {_written_in(folder) for folder in (*folders, None)}
    latest = _written_in(None)
    if latest in started or len(started) == 1:
        return str(latest if latest in started else next(iter(started)))
    if started:
        raise bad_address("auto", f"several run on this machine ({', '.join(sorted(started))})")
    others = f", but only those that programs started for themselves ({', '.join(sorted(running))})"
    raise bad_address(
        "auto", f"no cluster of `ray start` runs on this machine{others if running else ''}"
    )


def _written_in(folder: str | None) -> str | None:
    """The address that `ray start` wrote into a folder of Ray's; None: the default folder."""
    with suppress(OSError):  # another user's
        return str(read_ray_address(folder))
    return None


def _use_token() -> None:
    """Use our token, if there is one, as Ray does for a cluster that it finds itself."""
    logger = logging.getLogger("ray")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        authentication_token_setup.maybe_enable_token_auth_if_token_available(
            warn_if_disabled=False
        )
    finally:
        logger.setLevel(level)


def why_no_cluster(address: str) -> str | None:
    """Why the server at an address is not a usable cluster; None if it is."""
    channel = init_grpc_channel(address)
    try:
        answer = NodeInfoGcsServiceStub(channel).CheckAlive(CheckAliveRequest(), timeout=PATIENCE)
    except grpc.RpcError as error:
        return _describe(error.code())
    finally:
        channel.close()
    if answer.ray_version != ray.__version__:
        return f"Ray is {answer.ray_version} there, and {ray.__version__} here"
    return None


def _describe(code: grpc.StatusCode) -> str:
    if code == grpc.StatusCode.UNAUTHENTICATED:
        return (
            "it requires the token of its cluster: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to "
            "the output of `ray get-auth-token` on its first node"
        )
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"the server there has not answered within {PATIENCE:g} s, so it is not Ray"
    return "the server there is not the GCS of a cluster, but maybe its dashboard"


def bad_address(address: str, reason: str) -> SettingsError:
    return SettingsError(
        f"--address: must be 'auto' or the host:port of a running Ray (its GCS port, mostly 6379), "
        f"but got {address!r}: {reason}; start one with `ray start --head`, or leave --address out"
    )
