"""Whether a Ray cluster answers at an address. Ray itself waits long for one that does not."""

import os
import socket

import grpc
import ray
from ray._private.grpc_utils import init_grpc_channel
from ray.core.generated.gcs_service_pb2 import CheckAliveRequest
from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

from kptrain.errors import SettingsError

PATIENCE = 5.0
"""Seconds for a connection, and for the answer."""


def check_address(address: str) -> None:
    """Raises: SettingsError if no cluster that lets us in answers there."""
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or address  # as Ray has it
    if address == "auto":
        return  # Ray finds none or one
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or "/" in host:
        client = "a client's address" if address.startswith("ray://") else "no host:port"
        raise bad_address(address, f"that is {client}")
    try:
        socket.create_connection((host, int(port)), timeout=PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise bad_address(address, str(error)) from None
    if (reason := _why_no_cluster(address)) is not None:
        raise bad_address(address, reason)


def _why_no_cluster(address: str) -> str | None:
    """Why what listens at an address is not a cluster for us; None if it is."""
    channel = init_grpc_channel(address)
    try:
        answer = NodeInfoGcsServiceStub(channel).CheckAlive(CheckAliveRequest(), timeout=PATIENCE)
    except grpc.RpcError as error:
        return _in_words(error.code())
    finally:
        channel.close()
    if answer.ray_version != ray.__version__:
        return f"Ray is {answer.ray_version} there, and {ray.__version__} here"
    return None


def _in_words(code: grpc.StatusCode) -> str:
    if code == grpc.StatusCode.UNAUTHENTICATED:
        return (
            "it wants the token of its cluster: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to "
            "what `ray get-auth-token` says on its first node"
        )
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"what listens there has not answered in {PATIENCE:g} s, as Ray would"
    return "what listens there is not the GCS of a cluster, but maybe its dashboard"


def bad_address(address: str, reason: str) -> SettingsError:
    return SettingsError(
        f"--address: must be 'auto' or the host:port of a running Ray (its GCS port, mostly 6379), "
        f"but got {address!r}: {reason}; start Ray with `ray start`, or leave --address out"
    )
