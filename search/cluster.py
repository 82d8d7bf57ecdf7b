"""The Ray that trials run on: one of our own on this machine, or a running cluster."""

import logging
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import ray

from kptrain.cores import usable_cores
from kptrain.errors import SettingsError
from kptrain.locks import HeldError, held
from kptrain.pack import cache_dir
from search.closing import program
from search.gpus import claim_gpus, visible_gpus
from search.plan import concurrent_trials
from search.signals import end_at_once

RAY_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output engine prints even at verbose=0
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the record is ours
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",  # else one starts after the other; suggest() bounds them
}
LOOPBACK = {"include_dashboard": True, "dashboard_host": "127.0.0.1"}


@contextmanager
def ray_session(address: str | None) -> Iterator[tuple[str, Path | None]]:
    """A Ray of our own on this machine, or a running cluster; yields the dashboard's address, and
    the folder of which it shows the logs if that is ours.

    Ray's own output is off: what matters of it reaches the user through the record.
    """
    os.environ.update(RAY_SETTINGS)
    # Trials run in another working directory, so a path that was given is made absolute. Where none
    # was, each node of a cluster has its own.
    given = os.environ.get("KPTRAIN_CACHE")
    places = {"env_vars": {"KPTRAIN_CACHE": str(cache_dir())}} if given else {}
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    # Prints of a process that died, which the record tells; no setting of Ray's turns it off.
    ray._private.worker.print_to_stdstream = _print_nothing
    with nullcontext() if address else _own_folder() as folder:
        # Ray itself would count all cores of the machine.
        here = {"_temp_dir": str(folder), "num_cpus": usable_cores()}
        own = {} if address else LOOPBACK | here
        try:
            context = ray.init(address=address or "local", runtime_env=places, **quiet, **own)
        except (ValueError, RuntimeError, ConnectionError) as error:
            raise _bad_address(address, " ".join(str(error).split())[:200]) from None
        end_at_once()  # Ray has an answer of its own to SIGTERM
        # A trial's failure is logged there as an error, with every layer; the record has its cause.
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        try:
            yield context.dashboard_url or "", folder and folder / "session_latest" / "logs"
        finally:
            ray.shutdown()


@contextmanager
def _own_folder() -> Iterator[Path]:
    """A folder for Ray's sockets and logs, removed at the end; and those of killed searches are."""
    own = _place()
    remove_leftovers()
    folder = own / f"{os.getpid()}-{uuid4().hex[:4]}"
    with held(_lock_of(folder)):
        folder.mkdir()
        try:
            yield folder
        finally:
            _remove(folder)


def _place() -> Path:
    """Of the folders of all searches of this user."""
    # Where Ray itself puts them: TMPDIR may be too long a name for a socket.
    own = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / f"kptrain-{os.getuid()}"  # noqa: S108  (0700)
    own.mkdir(mode=0o700, exist_ok=True)
    return own


def remove_leftovers() -> None:
    """The folders of searches that were killed: nobody holds their locks."""
    for folder in _place().iterdir():
        if folder.is_dir():
            with suppress(HeldError), held(_lock_of(folder)):
                _remove(folder)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _remove(folder: Path) -> None:
    """With its lock; a process of Ray's that is about to end may still write there."""
    shutil.rmtree(folder, ignore_errors=True)
    _lock_of(folder).unlink(missing_ok=True)


class RayOnDemand(ExitStack):
    """A session that starts when it is first needed, and is shut down at the end."""

    def __init__(self, address: str | None, *, uses_gpus: bool) -> None:
        super().__init__()
        if address is None:  # also what processes of a killed search wrote while they ended
            self.callback(remove_leftovers)
        self._address = address
        self._claimed = visible_gpus() if uses_gpus and address is None else []
        self._is_started = False
        self.logs: Path | None = None
        """What is written there, Ray's dashboard shows; None before the start and on a cluster."""

    def start(self) -> None:
        """Start it, unless it runs, and say where its dashboard is."""
        if self._is_started:
            return
        self.enter_context(claim_gpus(self._claimed))
        print("Starting Ray ...", flush=True)
        dashboard, self.logs = self.enter_context(ray_session(self._address))
        self._is_started = True
        if dashboard:
            print(
                f"Dashboard http://{dashboard} (its token: {program('ray')} get-auth-token)",
                flush=True,
            )


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


def capacity(cpu: int, gpu: float) -> int:
    """Trials that run at once, each whole on one node; asked each time, as a cluster may grow."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(
        concurrent_trials(cpu, gpu, int(node.get("CPU", 0)), int(node.get("GPU", 0)))
        for node in nodes
    )
