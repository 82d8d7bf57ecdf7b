"""Runs a search with Ray Tune: Tune asks for trials, runs them, and reports what happens to
each."""

from collections.abc import Callable, Iterable
from typing import Any

from ray import tune
from ray.exceptions import RayError
from ray.tune.error import TuneError
from ray.tune.experiment import Trial
from ray.tune.search import Searcher as TuneSearcher

from kptrain.config import Settings
from kptrain.errors import SettingsError
from search.backend.actor_manager import our_actors
from search.backend.ray_session import capacity, has_gpu
from search.backend.trial_actor import TrialActor
from search.backend.tune_run import TuneRun
from search.console.output import Output
from search.console.progress import Terminal
from search.machine.signals import first_signal_recorded
from search.plan import check_gpu_hours, gpu_share
from search.space.space import Space, max_epochs
from search.trials.controller import SearchState


def run_trials(
    space: Space,
    base: Settings,
    state: SearchState,
    output: Output,
    observers: Iterable[Callable[[], None]] = (),
) -> None:
    """Run trials until the search is finished or interrupted.

    observers: called after each event; one that raises an error is not called again.
    Needs a Ray session. Raises: SettingsError, TrainingError, CheckpointError.
    """
    cpu, gpu = space.resources.cpu, gpu_share(space, base, has_gpu())
    if capacity(cpu, gpu) == 0:
        raise SettingsError(
            f"{space.path}: resources of a trial must fit into one node of the cluster, but none "
            f"has {cpu} CPU and {gpu:g} GPU; lower resources.cpu"
        )
    check_gpu_hours(space, gpu)
    with (
        Terminal(state, max_epochs(space, base), output) as terminal,
        first_signal_recorded() as signal_name,
    ):
        state.clock.set(state.clock.now)  # it stops while nothing runs
        run = TuneRun(state, terminal, signal_name, cpu, gpu, list(observers))
        _run_tune(run)
    run.end()


def _run_tune(run: TuneRun) -> None:
    """Run Tune's loop, and restart it from the state of the search if it dies.

    Raises: errors of our own hooks; TrainingError if it dies repeatedly before the next epoch.
    """
    deaths = 0
    while True:
        epochs = run.state.record.num_epochs()
        try:
            with our_actors():
                _tuner(run).fit()
            return
        except (RayError, TuneError, RuntimeError, ConnectionError) as error:
            if run.fault is not None:
                raise run.fault from None
            deaths = 1 if run.state.record.num_epochs() > epochs else deaths + 1
            if not run.restart(error, deaths):
                return


def _tuner(run: TuneRun) -> tune.Tuner:
    return tune.Tuner(
        TrialActor,
        tune_config=tune.TuneConfig(
            num_samples=-1,  # until the proposals end: a resumed trial counts as a sample
            search_alg=_Proposer(run),
            reuse_actors=True,
            trial_name_creator=lambda trial: trial.config["title"],
            trial_dirname_creator=lambda t: f"{t.config['number']:03d}-{t.trial_id}",
        ),
        run_config=tune.RunConfig(
            name="ray",
            storage_path=str(run.state.record.run_dir),
            callbacks=[_ProcessCallback(run)],
            stop=_Stopper(run),
            # Trainings write their own checkpoints.
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            verbose=0,
            progress_reporter=_NoOutput(),
        ),
    )


class _NoOutput(tune.ProgressReporter):
    """Ray's reporter prints even at verbose=0."""

    def should_report(self, trials: list[Trial], done: bool = False) -> bool:
        return False

    def report(self, trials: list[Trial], done: bool, *sys_info: dict[str, Any]) -> None:
        pass


class _NoState:
    """A hook with an empty pickle: Tune pickles its hooks for a restore that we do not use."""

    def __init__(self, run: TuneRun) -> None:
        super().__init__()
        self._run = run

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Proposer(_NoState, TuneSearcher):
    """Proposes the trial that runs next."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        with self._run.fault_recorded():
            return self._run.propose(trial_id)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing: `_Stopper` gets every epoch, the last one included, which Tune withholds
        here."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the search has its own journal."""

    def get_state(self) -> dict[str, Any]:
        """Nothing: the search has its own journal."""
        return {}


class _Stopper(_NoState, tune.Stopper):
    """Reports each epoch to the search, and stops trials; Tune calls it first after an epoch."""

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        with self._run.fault_recorded():
            return not self._run.report(trial_id, result)

    def stop_all(self) -> bool:
        """Never: it would end trials in the middle of an epoch."""
        return False


class _ProcessCallback(_NoState, tune.Callback):
    """Reports starts and failures of trials' processes."""

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        with self._run.fault_recorded():
            self._run.start(trial)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        with self._run.fault_recorded():
            self._run.fail(trial)
