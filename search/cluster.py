"""The Ray that trials run on: one of our own on this machine, or a running cluster."""

import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from kptrain.errors import SettingsError
from kptrain.pack import cache_dir
from search.plan import concurrent_trials

RAY_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output engine prints even at verbose=0
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the record is ours
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",  # else one starts after the other; suggest() bounds them
}


@contextmanager
def ray_session(address: str | None) -> Iterator[str]:
    """A Ray of our own on this machine, or a running cluster; yields the dashboard's address.

    Ray's own output is off: what matters of it reaches the user through the record.
    """
    os.environ.update(RAY_SETTINGS)
    # Trials run in another working directory, so a path that was given is made absolute. Where none
    # was, each node of a cluster has its own.
    given = os.environ.get("KPTRAIN_CACHE")
    places = {"env_vars": {"KPTRAIN_CACHE": str(cache_dir())}} if given else {}
    own = {} if address else {"include_dashboard": True, "dashboard_host": "127.0.0.1"}
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    # Prints of a process that died, which the record tells; no setting of Ray's turns it off.
    ray._private.worker.print_to_stdstream = _print_nothing
    try:
        context = ray.init(address=address or "local", runtime_env=places, **quiet, **own)
    except (ValueError, RuntimeError, ConnectionError) as error:
        raise _bad_address(address, " ".join(str(error).split())[:200]) from None
    # A trial's failure is logged there as an error, with every layer; the record has its cause.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    try:
        yield context.dashboard_url or ""
    finally:
        ray.shutdown()


def _print_nothing(data: dict[str, Any], ignore_prefix: bool) -> None:
    pass


def check_address(address: str) -> None:
    """Raises: SettingsError if no Ray listens there; Ray itself would wait for it without end."""
    if address == "auto":
        return  # Ray finds none or one
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or "/" in host:
        raise _bad_address(address, "that is no host:port")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise _bad_address(address, str(error)) from None


def _bad_address(address: str | None, reason: str) -> SettingsError:
    if address is None:
        return SettingsError(f"Ray must start on this machine, but does not: {reason}")
    return SettingsError(
        f"--address: must be 'auto' or the host:port of a running Ray, but got {address!r}: "
        f"{reason}; start Ray with `ray start`, or leave --address out"
    )


def has_gpu() -> bool:
    """Whether the cluster that we are connected to has a GPU."""
    return bool(ray.cluster_resources().get("GPU"))


@contextmanager
def own_ctrl_c() -> Iterator[None]:
    """Tune leaves its answer to Ctrl-C behind, which would swallow the next one."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def capacity(cpu: int, gpu: float) -> int:
    """Trials that run at once, each whole on one node; asked each time, as a cluster may grow."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(
        concurrent_trials(cpu, gpu, int(node.get("CPU", 0)), int(node.get("GPU", 0)))
        for node in nodes
    )
