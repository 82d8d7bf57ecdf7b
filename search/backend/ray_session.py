"""The Ray that trials run on: a new one on this machine, a running cluster, or the caller's."""

import logging
import math
import os
import traceback
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import ray
from ray._private.authentication_test_utils import reset_auth_token_state
from ray._private.node import Node

from kptrain.errors import SettingsError
from kptrain.machine.cores import usable_cores
from search.backend.lost_cluster import ends_with_cluster
from search.backend.ray_address import bad_address, find_cluster
from search.backend.ray_folder import keep_token, no_start, own_folder, remove_leftovers, why_not
from search.machine.gpus import claim_gpus, visible_gpus
from search.machine.programs import program
from search.machine.signals import handlers_restored
from search.plan import concurrent_trials, slots

RAY_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output engine prints even at verbose=0
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the search has its own journal and table
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the search handles Ctrl-C itself
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",  # else trials start one by one; suggest() limits them
    # The monitor kills trials when a machine is full, even if another program fills it.
    "RAY_memory_monitor_refresh_ms": "0",
    # Under `uv run` Ray would send the working folder to the nodes, which do not need it.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}
OWN = {
    "include_dashboard": True,
    "dashboard_host": "127.0.0.1",
    # Bytes. Reports are small, and Ray's default, a share of the machine's memory, may exceed
    # `ulimit -v` or a container's /dev/shm.
    "object_store_memory": 200_000_000,
}
QUIET = {"log_to_driver": False, "logging_level": logging.CRITICAL}


@contextmanager
def ray_session(address: str | None, num_gpus: int, how_to_resume: str) -> Iterator[Path | None]:
    """Connect to Ray: the one that this process is already connected to, which keeps running; else
    the cluster at `address`; else a new one on this machine with `num_gpus` GPUs.

    Ray's own output is turned off, as the search reports what matters. Yields the folder of the
    logs that the dashboard shows; None if another program started the Ray.
    Raises: SettingsError if it does not start.
    """
    # The output of processes that died, which the search reports; Ray has no setting for it.
    ray._private.worker.print_to_stdstream = lambda *_, **__: None
    # It logs each failure of a trial with a long traceback; the search reports the cause.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    if ray.is_initialized():
        _check_usable(address)
        with _settings():
            _print_dashboard(ray._private.worker.get_dashboard_url())
            yield None
        return
    if address is None and os.environ.get("RAY_ADDRESS"):
        print("RAY_ADDRESS is set, but is used only with --address auto", flush=True)
    with _settings(), nullcontext() if address else own_folder() as folder:
        prefix = "" if address else keep_token()
        address = address and find_cluster(address)
        # Ray itself would count all cores of the machine, and GPUs that torch cannot use.
        here = {"_temp_dir": str(folder), "num_cpus": usable_cores(), "num_gpus": num_gpus}
        own = {} if folder is None else OWN | here
        try:
            with handlers_restored():  # Ray installs its own handler for SIGTERM
                context = ray.init(address=address or "local", **QUIET, **own)
        except Exception as error:  # Ray raises many kinds where it does not start
            _end_processes(error)
            reason = why_not(error, folder)
            raise (bad_address(address, reason) if address else no_start(reason)) from None
        logging.getLogger("ray").setLevel(logging.ERROR)  # after the start, whose errors raise
        try:
            with ends_with_cluster(address, how_to_resume) if address else nullcontext():
                _print_dashboard(context.dashboard_url, prefix)
                yield folder and folder / "session_latest" / "logs"
        finally:
            ray.shutdown()


def _end_processes(error: Exception) -> None:
    """End the processes of a Ray that started partly; only the traceback refers to them."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        node = frame.f_locals.get("self")
        if isinstance(node, Node):
            node.kill_all_processes(check_alive=False, allow_graceful=False)
    ray.shutdown()


@contextmanager
def _settings() -> Iterator[None]:
    """Set Ray's environment variables; restore the caller's own at the end of the block, also those
    that Ray sets: with its RAY_AUTH_MODE no cluster without tokens could be joined any more."""
    constants = ray._private.ray_constants  # values that Ray read when it was imported
    before = _of_ray()
    sends_folder = constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV
    os.environ.update(RAY_SETTINGS)
    constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = False
    try:
        yield
    finally:
        constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = sends_folder
        for name in _of_ray():
            del os.environ[name]
        os.environ.update(before)
        reset_auth_token_state()  # Ray reads RAY_AUTH_MODE once, unless it is asked to


def _of_ray() -> dict[str, str]:
    """The environment variables of Ray."""
    return {name: os.environ[name] for name in os.environ if name.startswith(("RAY_", "TUNE_"))}


def _check_usable(address: str | None) -> None:
    """Raises: SettingsError if the Ray that this process is connected to cannot be used, or is not
    the one at `address`."""
    if ray.util.client.ray.is_connected():
        raise SettingsError(
            "Ray must not be connected as a client (ray://) in this process, but is, and Tune must "
            "run here; call ray.shutdown() first, and give the cluster's --address host:port"
        )
    here = ray.get_runtime_context().gcs_address
    if address in (None, "auto"):
        print(f"This process is connected to Ray, so the search runs on it ({here})")
    elif ray._private.services.canonicalize_bootstrap_address(address) != here:
        raise SettingsError(
            f"--address: must be that of the Ray that this process is connected to, {here}, but "
            f"got {address}; leave it out, or call ray.shutdown() first"
        )


def _print_dashboard(url: str | None, prefix: str = "") -> None:
    """Print the address of the dashboard, if there is one; prefix: of the command that prints its
    token."""
    if url:
        token = f"{prefix}{program('ray')} get-auth-token"
        print(f"Dashboard http://{url} (its token: {token})", flush=True)


class RayOnDemand(ExitStack):
    """A session that starts when it is needed, and is shut down at the end of the block."""

    def __init__(self, address: str | None, *, uses_gpus: bool, how_to_resume: str = "") -> None:
        super().__init__()
        if address is None:  # at the end too: ending processes of a killed search may write more
            self.callback(remove_leftovers)
        self._address = address
        self._how_to_resume = how_to_resume
        self._claimed = visible_gpus() if uses_gpus and address is None else []
        self._is_started = False
        self.logs: Path | None = None
        """The folder of the logs that the dashboard shows; None before the start and on a
        cluster."""

    def start(self) -> None:
        """Start the session unless it runs, and print the address of its dashboard."""
        if self._is_started:
            return
        self.enter_context(claim_gpus(self._claimed))
        print("Starting Ray ...", flush=True)
        session = ray_session(self._address, len(self._claimed), self._how_to_resume)
        self.logs = self.enter_context(session)
        self._is_started = True


def has_gpu() -> bool:
    """Whether the cluster that we are connected to has a GPU."""
    return bool(ray.cluster_resources().get("GPU"))


def capacity(cpu: int, gpu: float, larger: Iterable[float] = ()) -> int:
    """The number of trials that can run at once, each on one node; a cluster may grow between
    calls.

    larger: the shares of running trials that hold more of a GPU than `gpu`.
    """
    nodes = _nodes()
    most = sum(concurrent_trials(cpu, gpu, *node) for node in nodes)
    if not gpu:
        return most
    on_gpus = sum(num_gpus for _, num_gpus in nodes) * math.floor(1 / gpu)
    return min(most, on_gpus - sum(slots(share, gpu) - 1 for share in larger))


def _nodes() -> list[tuple[int, int]]:
    """Cores and GPUs of each node."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [(int(node.get("CPU", 0)), int(node.get("GPU", 0))) for node in alive]


def enlarged(cpu: int, gpu: float, times: int) -> tuple[int, float]:
    """`times` the cores and the GPU share of a trial, limited to what one node has."""
    if times == 1:
        return cpu, gpu
    fitting = [cores for cores, gpus in _nodes() if concurrent_trials(cpu, gpu, cores, gpus)]
    most = max(fitting, default=cpu)
    return min(times * cpu, most), min(times * gpu, max(gpu, 1.0))
