"""The search under Ray: Tune asks the searcher for trials and ASHA which of them go on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher as TuneSearcher

from kptrain.config import TrainConfig, best_is_max
from kptrain.curve import EpochReport
from kptrain.errors import OutOfMemoryError, SettingsError
from kptrain.resolve import change
from search.asha import Asha
from search.budget import Budget, Spending
from search.cluster import capacity, has_gpu, own_ctrl_c
from search.confirm import Confirmation
from search.failure import cause_of, in_one_line
from search.plan import check_gpu_hours, gpu_share
from search.record import UNDER_WAY, Record, TrialRecord
from search.searcher import Ending, Searcher, axis_values
from search.space import Space, early_rung, max_epochs, rungs
from search.terminal import Terminal
from search.trial import KeypointTrial
from search.warm import PastSearch

REPORT_FIELDS = tuple(EpochReport.__dataclass_fields__)


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


def run_trials(
    space: Space, base: TrainConfig, record: Record, past: Sequence[PastSearch] = ()
) -> bool:
    """Run all trials of a search, and record them; whether it came to its own end, not to Ctrl-C's.

    Needs a Ray session.
    """
    searcher = Searcher.of(space, base)
    for trial in (trial for search in past for trial in search.trials):
        searcher.learn(trial.settings, trial.curve, trial.ending)
    last = max_epochs(space, base)
    asha = Asha(rungs(space.asha, last), space.asha.reduction, early_rung(space.asha, last))
    return _run(space, base, record, searcher, space, asha)


def run_confirmation(space: Space, base: TrainConfig, confirmation: Confirmation) -> bool:
    """Run all trainings of a confirmation to their ends, likewise."""
    points = confirmation.points()
    budget = Budget(trials=len(points))
    return _run(space, base, confirmation, Listed(points), budget, Asha((), 2))


def _run(
    space: Space,
    base: TrainConfig,
    record: Record,
    source: Source,
    budget: Budget,
    asha: Asha,
) -> bool:
    cpu, gpu = space.resources.cpu, gpu_share(space, base, has_gpu())
    if capacity(cpu, gpu) == 0:
        raise SettingsError(
            f"{space.path}: resources of a trial must fit into one node of the cluster, but none "
            f"has {cpu} CPU and {gpu:g} GPU; lower resources.cpu"
        )
    check_gpu_hours(space, gpu)
    spending = Spending(budget, space.asha.grace_epochs)
    with Terminal(record, spending, max_epochs(space, base)) as terminal, own_ctrl_c():
        proposals = _Proposals(space, base, record, gpu, source, spending, asha)
        watch = _Watch(proposals, record, terminal, source, spending, asha)
        tuner = tune.Tuner(
            KeypointTrial,
            tune_config=_tune_config(proposals, _Scheduler(proposals, record, asha)),
            run_config=_run_config(record.run_dir, watch, _Stopper(proposals, spending)),
        )
        tuner.fit()
        watch.close()
        return proposals.ended


def _tune_config(proposals: "_Proposals", scheduler: "_Scheduler") -> tune.TuneConfig:
    return tune.TuneConfig(
        num_samples=-1,  # until the proposals end: a trial may be tried again, or taken up
        search_alg=proposals,
        scheduler=scheduler,
        reuse_actors=True,
        trial_name_creator=lambda trial: trial.config["title"],
        trial_dirname_creator=lambda trial: f"{trial.config['number']:03d}-{trial.trial_id}",
    )


def _run_config(run_dir: Path, watch: "_Watch", stopper: "_Stopper") -> tune.RunConfig:
    return tune.RunConfig(
        name="ray",
        storage_path=str(run_dir),
        callbacks=[watch],
        stop=stopper,
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


class _NotPickled:
    """Tune pickles what it was given, for a restore that we do not use."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Proposals(_NotPickled, TuneSearcher):
    """What runs next, as Tune asks for it: a trial to take up again, else a new one.

    To Tune a trial that is taken up is another one, with the number and the folder of the first.
    """

    def __init__(
        self,
        space: Space,
        base: TrainConfig,
        record: Record,
        gpu: float,
        source: Source,
        spending: Spending,
        asha: Asha,
    ) -> None:
        super().__init__()
        self._space = space
        self._base = base
        self._record = record
        self._gpu = gpu
        self._source = source  # Tune takes an attribute `searcher` for its own
        self._spending = spending
        self._asha = asha
        self.numbers: dict[str, int] = {}
        self.open: set[int] = set()
        self.ended = False
        """Whether nothing is left to be run."""
        self._again: list[int] = []
        self._shares: dict[int, float] = {}
        self._wandb_ids: dict[int, str] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self._again:
            return self._proposal(trial_id, self._again.pop(0))
        # Tune would ask for one trial ahead: settings chosen before the latest result is known.
        if self.open and len(self.open) >= capacity(self._space.resources.cpu, self._gpu):
            return None
        number = self._promoted()
        if number is None:
            number = self._new()
        if number is None:
            # A trial that ends may leave epochs to the next one.
            self.ended = not self.open
            return str(TuneSearcher.FINISHED) if self.ended else None
        self.open.add(number)
        return self._proposal(trial_id, number)

    def _promoted(self) -> int | None:
        """A trial that waited at a rung and goes on."""
        if not self._spending.may_take_up():
            return None
        last_call = not self.open and not self._spending.may_begin()
        number = self._asha.promote(last_call=last_call)
        if number is not None:
            self._spending.take_up(number)
        return number

    def _new(self) -> int | None:
        if not self._spending.may_begin():
            return None
        number = len(self._record.trials)
        settings = self._source.propose(number)
        config = change(self._base, settings, f"{self._space.path}: trial {number}")
        self._record.add(settings, config)
        self._spending.begin(number)
        self._wandb_ids[number] = uuid4().hex[:8]
        return number

    def _proposal(self, trial_id: str, number: int) -> dict[str, Any]:
        trial = self._record.trials[number]
        self.numbers[trial_id] = number
        return {
            "number": number,
            "title": f"trial {trial.label:>03} {axis_values(trial.settings)}",
            "settings": trial.config.model_dump(mode="json"),
            "run_dir": str(trial.run_dir),
            "epoch": len(trial.curve),
            "rungs": self._asha.epochs(),
            "search": self._record.title,
            "wandb_id": self._wandb_ids[number],
            "cpu": self._space.resources.cpu,
            "gpu": self._shares.get(number, self._gpu),
        }

    def try_again(self, number: int) -> bool:
        """Give a trial twice the share of a GPU, once; whether share and budget allow it."""
        if number in self._shares or not 0 < self._gpu < 1 or not self._spending.may_retry():
            return False
        self._spending.begin(number, again=True)
        self._shares[number] = min(2 * self._gpu, 1.0)
        self._wandb_ids[number] = uuid4().hex[:8]
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


class _Stopper(_NotPickled, tune.Stopper):
    """Stops trials once the budget is spent; Tune asks after each epoch, before it asks ASHA."""

    def __init__(self, proposals: _Proposals, spending: Spending) -> None:
        self._proposals = proposals
        self._spending = spending

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return not self._spending.may_go_on(self._proposals.numbers[trial_id])

    def stop_all(self) -> bool:
        """Never: it would cut trials in the midst of an epoch."""
        return False


class _Scheduler(_NotPickled, FIFOScheduler):
    """Our ASHA as Tune asks it, after each epoch but a training's last: a trial that waits is
    stopped, to Tune, which tells `_Watch` so before it asks for the next one."""

    def __init__(self, proposals: _Proposals, record: Record, asha: Asha) -> None:
        super().__init__()
        self._proposals = proposals
        self._asha = asha
        self._metric = record.metric
        self._sign = -1 if best_is_max(record.metric) else 1

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        number = self._proposals.numbers[trial.trial_id]
        value = self._sign * result[self._metric]
        goes_on = self._asha.report(number, result["epoch"], value)
        return str(self.CONTINUE if goes_on else self.STOP)


class _Watch(_NotPickled, tune.Callback):
    """Every event of Tune, told to the record, the source and the terminal, in this order."""

    def __init__(
        self,
        proposals: _Proposals,
        record: Record,
        terminal: Terminal,
        source: Source,
        spending: Spending,
        asha: Asha,
    ) -> None:
        self._proposals = proposals
        self._record = record
        self._terminal = terminal
        self._source = source
        self._spending = spending
        self._asha = asha

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        told = self._told(trial)
        self._spending.start(told.number, trial.config["gpu"])
        self._record.start(told.number)
        self._terminal.started(told)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        number = self._proposals.numbers[trial.trial_id]
        report = EpochReport(**{name: result[name] for name in REPORT_FIELDS})
        self._record.report(number, report, result["node_host"], result["device"])
        value = getattr(report, self._record.metric)
        self._source.report(number, report.epoch, value)
        self._terminal.reported(self._record.trials[number], report)

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **_: Any
    ) -> None:
        told = self._told(trial)
        why = self._spending.stopped.get(told.number)
        if len(told.curve) == told.config.train.epochs:
            self._end(told, "completed")
        elif why is not None:
            self._end(told, "interrupted", why)
        elif told.number in self._asha.waiting():
            self._pause(told)
        else:
            self._end(told, "stopped")
        self._end_overtaken()

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        told, error = self._told(trial), cause_of(trial)
        self._spending.end(told.number)
        self._asha.forget(told.number)
        if not isinstance(error, OutOfMemoryError) or not trial.config["gpu"]:
            self._end(told, "failed", in_one_line(error))
        elif self._proposals.try_again(told.number):
            self._record.restart(told.number)
            self._terminal.restarted(told, self._proposals.tried(told.number))
        else:
            self._end(told, "failed", f"{error} ({self._proposals.tried(told.number)})")

    def close(self) -> None:
        """Tell how those ended of which Tune says nothing: they wait, or Ctrl-C came."""
        for told in self._record.trials:
            if told.state in UNDER_WAY:
                self._end(told, "stopped" if told.state == "paused" else "interrupted")

    def _told(self, trial: Trial) -> TrialRecord:
        return self._record.trials[self._proposals.numbers[trial.trial_id]]

    def _pause(self, told: TrialRecord) -> None:
        self._let_go(told.number)
        self._record.pause(told.number)
        self._terminal.paused(told)

    def _end_overtaken(self) -> None:
        """End those that waited and do no longer, as others at their rung are better."""
        for number in self._asha.pop_out():
            told = self._record.trials[number]
            if told.state == "paused":
                self._end(told, "stopped")

    def _end(self, told: TrialRecord, ending: Ending, error: str = "") -> None:
        self._let_go(told.number)
        self._record.end(told.number, ending, error)
        self._source.finish(told.number, ending, told.best(self._record.metric))
        self._terminal.ended(told)

    def _let_go(self, number: int) -> None:
        self._spending.end(number)
        self._proposals.open.discard(number)
