"""The search under Ray: Tune asks the searcher for trials and ASHA which of them to stop."""

import logging
import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import ray
from ray import cloudpickle, tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher as TuneSearcher

from kptrain.config import TrainConfig, best_is_max
from kptrain.curve import EpochReport
from kptrain.errors import KptrainError, OutOfMemoryError, SettingsError, TrainingError
from kptrain.pack import cache_dir
from kptrain.resolve import change
from search.confirm import Confirmation
from search.plan import concurrent_trials, gpu_share
from search.record import UNDER_WAY, Record, TrialRecord
from search.searcher import Ending, Searcher, axis_values
from search.space import Space, max_epochs
from search.terminal import Terminal
from search.trial import KeypointTrial

RAY_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output engine prints even at verbose=0
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the record is ours
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",  # else one starts after the other; suggest() bounds them
}

REPORT_FIELDS = tuple(EpochReport.__dataclass_fields__)


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


class Source(Protocol):
    """Where the settings of trials come from; told what becomes of them."""

    def propose(self, number: int) -> dict[str, Any]: ...
    def report(self, number: int, epoch: int, value: float) -> None: ...
    def finish(self, number: int, ending: Ending, best: float | None) -> None: ...


class Listed:
    """Settings that are known beforehand, so that no result changes them."""

    def __init__(self, points: list[dict[str, Any]]) -> None:
        self._points = points

    def propose(self, number: int) -> dict[str, Any]:
        return self._points[number]

    def report(self, number: int, epoch: int, value: float) -> None:
        """Nothing to learn."""

    def finish(self, number: int, ending: Ending, best: float | None) -> None:
        """Nothing to learn."""


def run_trials(space: Space, base: TrainConfig, record: Record) -> None:
    """Run all trials of a search, and record them. Needs a Ray session."""
    _run(space, base, record, Searcher(space, base), space.trials, _asha(space, base))


def run_confirmation(space: Space, base: TrainConfig, confirmation: Confirmation) -> None:
    """Run all trainings of a confirmation to their ends, and record them. Needs a Ray session."""
    points = confirmation.points()
    _run(space, base, confirmation, Listed(points), len(points), FIFOScheduler())


def _run(
    space: Space,
    base: TrainConfig,
    record: Record,
    source: Source,
    num_trials: int,
    scheduler: TrialScheduler,
) -> None:
    cpu, gpu = space.resources.cpu, gpu_share(space, base, has_gpu())
    if _capacity(cpu, gpu) == 0:
        raise SettingsError(
            f"{space.path}: resources of a trial must fit into one node of the cluster, but none "
            f"has {cpu} CPU and {gpu:g} GPU; lower resources.cpu"
        )
    with Terminal(record, num_trials, max_epochs(space, base)) as terminal, _own_ctrl_c():
        proposals = _Proposals(space, base, record, gpu, source, num_trials)
        watch = _Watch(proposals, record, terminal)
        tuner = tune.Tuner(
            KeypointTrial,
            tune_config=_tune_config(proposals, scheduler),
            run_config=_run_config(record.run_dir, watch),
        )
        tuner.fit()
        watch.interrupted()


@contextmanager
def _own_ctrl_c() -> Iterator[None]:
    """Tune leaves its answer to Ctrl-C behind, which would swallow the next one."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _asha(space: Space, base: TrainConfig) -> TrialScheduler:
    return ASHAScheduler(
        time_attr="epoch",
        metric=space.metric,
        mode="max" if best_is_max(space.metric) else "min",
        max_t=max_epochs(space, base),
        grace_period=space.asha.grace_epochs,
        reduction_factor=space.asha.reduction,
    )


def _tune_config(proposals: "_Proposals", scheduler: TrialScheduler) -> tune.TuneConfig:
    return tune.TuneConfig(
        num_samples=-1,  # until the proposals end: a trial may be tried again
        search_alg=proposals,
        scheduler=scheduler,
        reuse_actors=True,
        trial_name_creator=lambda trial: trial.config["title"],
        trial_dirname_creator=lambda trial: f"{trial.config['number']:03d}-{trial.trial_id}",
    )


def _run_config(run_dir: Path, watch: "_Watch") -> tune.RunConfig:
    return tune.RunConfig(
        name="ray",
        storage_path=str(run_dir),
        callbacks=[watch],
        checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # `fit` writes them
        verbose=0,
        progress_reporter=_Silence(),
    )


class _Silence(tune.ProgressReporter):
    """Ray's reporter prints even at verbose=0."""

    def should_report(self, trials: list[Trial], done: bool = False) -> bool:
        return False

    def report(self, trials: list[Trial], done: bool, *sys_info: dict[str, Any]) -> None:
        pass


class _Proposals(TuneSearcher):
    """A source as Tune asks for it: a trial's complete settings, once there is room for it."""

    def __init__(
        self,
        space: Space,
        base: TrainConfig,
        record: Record,
        gpu: float,
        source: Source,
        num_trials: int,
    ) -> None:
        super().__init__()
        self.source = source  # Tune takes an attribute `searcher` for its own
        self._space = space
        self._base = base
        self._record = record
        self._gpu = gpu
        self._num_trials = num_trials
        self.numbers: dict[str, int] = {}
        self.open: set[int] = set()
        self._again: list[int] = []
        self._shares: dict[int, float] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self._again:
            return self._proposal(trial_id, self._again.pop(0))
        number = len(self._record.trials)
        if number == self._num_trials:
            return None if self.open else str(TuneSearcher.FINISHED)
        # Tune would ask for one trial ahead: settings chosen before the latest result is known.
        if len(self.open) >= _capacity(self._space.resources.cpu, self._gpu):
            return None
        settings = self.source.propose(number)
        config = change(self._base, settings, f"{self._space.path}: trial {number}")
        self._record.add(settings, config)
        self.open.add(number)
        return self._proposal(trial_id, number)

    def _proposal(self, trial_id: str, number: int) -> dict[str, Any]:
        trial = self._record.trials[number]
        self.numbers[trial_id] = number
        return {
            "number": number,
            "title": f"trial {trial.label:0>3} {axis_values(trial.settings)}",
            "settings": trial.config.model_dump(mode="json"),
            "run_dir": str(trial.run_dir),
            "search": self._record.title,
            "cpu": self._space.resources.cpu,
            "gpu": self._shares.get(number, self._gpu),
        }

    def try_again(self, number: int) -> bool:
        """Give a trial twice the share of a GPU, once; whether there is such a share."""
        if number in self._shares or not 0 < self._gpu < 1:
            return False
        self._shares[number] = min(2 * self._gpu, 1.0)
        self._again.append(number)
        return True

    def tried(self, number: int) -> str:
        """The shares of a GPU that a trial was given, in words."""
        shares = [self._gpu, *([self._shares[number]] if number in self._shares else [])]
        return f"tried with {' and '.join(f'{share:g}' for share in shares)} of a GPU"

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing: Tune keeps back the last epoch of a stopped trial; `_Watch` hears of it."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: what happened is in our own record."""

    def get_state(self) -> dict[str, Any]:
        """Nothing, as above."""
        return {}

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles what it was given, for a restore that we do not use."""
        return {}


def _capacity(cpu: int, gpu: float) -> int:
    """Trials that run at once, each whole on one node; asked each time, as a cluster may grow."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(
        concurrent_trials(cpu, gpu, int(node.get("CPU", 0)), int(node.get("GPU", 0)))
        for node in nodes
    )


class _Watch(tune.Callback):
    """Every event of Tune, told to the record, the searcher and the terminal, in this order."""

    def __init__(self, proposals: _Proposals, record: Record, terminal: Terminal) -> None:
        self._proposals = proposals
        self._record = record
        self._terminal = terminal

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, as for the proposals."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        told = self._told(trial)
        self._record.start(told.number)
        self._terminal.started(told)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        number = self._proposals.numbers[trial.trial_id]
        report = EpochReport(**{name: result[name] for name in REPORT_FIELDS})
        self._record.report(number, report, result["node_host"], result["device"])
        value = getattr(report, self._record.metric)
        self._proposals.source.report(number, report.epoch, value)
        self._terminal.reported(self._record.trials[number], report)

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **_: Any
    ) -> None:
        told = self._told(trial)
        all_epochs = len(told.curve) == told.config.train.epochs
        self._end(told, "completed" if all_epochs else "stopped")

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        told, error = self._told(trial), _cause(trial)
        if not isinstance(error, OutOfMemoryError) or not trial.config["gpu"]:
            self._end(told, "failed", _in_one_line(error))
        elif self._proposals.try_again(told.number):
            self._record.restart(told.number)
            self._terminal.restarted(told, self._proposals.tried(told.number))
        else:
            self._end(told, "failed", f"{error} ({self._proposals.tried(told.number)})")

    def interrupted(self) -> None:
        """Ctrl-C ends a search of Tune's without a word on the trials that were under way."""
        for told in self._record.trials:
            if told.state in UNDER_WAY:
                self._end(told, "interrupted")

    def _told(self, trial: Trial) -> TrialRecord:
        return self._record.trials[self._proposals.numbers[trial.trial_id]]

    def _end(self, told: TrialRecord, ending: Ending, error: str = "") -> None:
        self._record.end(told.number, ending, error)
        self._proposals.source.finish(told.number, ending, told.best(self._record.metric))
        self._proposals.open.discard(told.number)
        self._terminal.ended(told)


def _cause(trial: Trial) -> BaseException:
    """Why a trial failed, without the layers that Ray puts around it."""
    if trial.pickled_error_file is None:  # an error of Tune's own
        return TrainingError(str(trial.get_error()))
    # Ray's own file on this machine; the copy that its accessor reads is not there yet.
    error: BaseException = cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
    while getattr(error, "cause", None) is not None:
        error = error.cause  # type: ignore[attr-defined]  # looked for in the line above
    return error


def _in_one_line(error: BaseException) -> str:
    if isinstance(error, ray.exceptions.ActorDiedError):
        return _cause_of_death(str(error))
    name = "" if isinstance(error, KptrainError) else f"{type(error).__name__}: "
    return " ".join(f"{name}{error}".split())[:500]


def _cause_of_death(text: str) -> str:
    """Why a trial's process is gone: an error of its start, or one from outside."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    if "creation task" in plain:
        return plain.strip().rpartition("\n")[2].strip()[:500]
    return "the trial's process died: killed, out of memory, or lost with its node"
