"""The search under Ray: Tune asks for trials, runs them, and tells what becomes of each."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from ray import tune
from ray.exceptions import RayError
from ray.tune.error import TuneError
from ray.tune.experiment import Trial
from ray.tune.search import Searcher as TuneSearcher

from kptrain.config import Settings
from kptrain.data.pack import cache_dir
from kptrain.errors import KptrainError, SettingsError, TrainingError
from search.backend.actor_manager import our_actors
from search.backend.failures import in_one_line, kind_of, original_error
from search.backend.ray_session import capacity, has_gpu, with_room
from search.backend.trial_actor import TrialActor
from search.console.output import Output
from search.console.progress import Terminal
from search.machine.signals import first_signal_recorded
from search.plan import check_gpu_hours, gpu_share
from search.space.space import Space, axis_values, max_epochs
from search.trials.controller import SearchState

MOST_DEATHS = 3
"""Times that Tune's own loop may die before the next epoch of any trial."""


def run_trials(
    space: Space,
    base: Settings,
    state: SearchState,
    output: Output,
    observers: Iterable[Callable[[], None]] = (),
) -> None:
    """Run all trials, until nothing is left or the search is interrupted; observers are called
    after each event, and one that fails is not called again.

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
        first_signal_recorded() as asked,
    ):
        state.clock.set(state.clock.now)  # it stands still while nothing runs
        run = _Run(state, terminal, asked, cpu, gpu, observers)
        _run_tune(run)
    run.end()


def _run_tune(run: "_Run") -> None:
    """A loop of Tune's that dies is begun again, with what the journal has of the search.

    Raises: what our own hooks raised; TrainingError if it dies again and again before the next
    epoch.
    """
    deaths = 0
    while True:
        epochs = run.num_epochs()
        try:
            with our_actors():
                _tuner(run).fit()
            return
        except (RayError, TuneError, RuntimeError, ConnectionError) as error:
            if run.fault is not None:
                raise run.fault from None
            deaths = 1 if run.num_epochs() > epochs else deaths + 1
            if not run.begin_again(error, deaths):
                return


def _tuner(run: "_Run") -> tune.Tuner:
    return tune.Tuner(
        TrialActor,
        tune_config=tune.TuneConfig(
            num_samples=-1,  # until the proposals end: a trial may resume
            search_alg=_Proposer(run),
            reuse_actors=True,
            trial_name_creator=lambda trial: trial.config["title"],
            trial_dirname_creator=lambda t: f"{t.config['number']:03d}-{t.trial_id}",
        ),
        run_config=_run_config(run.state.record.run_dir, _ProcessCallback(run), _Stopper(run)),
    )


def _run_config(run_dir: Path, watch: "_ProcessCallback", judge: "_Stopper") -> tune.RunConfig:
    return tune.RunConfig(
        name="ray",
        storage_path=str(run_dir),
        callbacks=[watch],
        stop=judge,
        checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # `fit` writes them
        verbose=0,
        progress_reporter=_NoOutput(),
    )


class _NoOutput(tune.ProgressReporter):
    """Ray's reporter prints even at verbose=0."""

    def should_report(self, trials: list[Trial], done: bool = False) -> bool:
        return False

    def report(self, trials: list[Trial], done: bool, *sys_info: dict[str, Any]) -> None:
        pass


class _Run:
    """What Tune's hooks share: the state, and Tune's own names of trials.

    To Tune a trial that is taken up is another one, with the number and the folder of the first.
    """

    def __init__(
        self,
        state: SearchState,
        terminal: Terminal,
        asked: Callable[[], str],
        cpu: int,
        gpu: float,
        observers: Iterable[Callable[[], None]] = (),
    ) -> None:
        self.state = state
        self.fault: KptrainError | OSError | None = None
        """What one of our hooks raised, as Tune wraps it like errors of its own."""
        self._onlookers = list(observers)
        self._terminal = terminal
        self._asked = asked
        self._cpu = cpu
        self._gpu = gpu
        self._numbers: dict[str, int] = {}

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note what is raised within, unless the cause is Ray, as of a connection."""
        try:
            yield
        except (RayError, ConnectionError):
            raise
        except (KptrainError, OSError) as error:
            self.fault = error
            raise

    def propose(self, trial_id: str) -> dict[str, Any] | str | None:
        """The config of the trial that runs next."""
        # Tune would ask for one trial ahead: settings chosen before the latest result is known.
        state = self.state
        held = sum(state.room(number) for number in state.running)
        shares = (state.share(number, self._gpu) for number in state.running)
        larger = [share for share in shares if share > self._gpu]
        if held and held >= capacity(self._cpu, self._gpu, larger):
            return None
        self._hear()
        number = state.next_trial(_new_wandb_id)
        if number is None:
            return str(TuneSearcher.FINISHED) if state.ended else None
        self._numbers[trial_id] = number
        self.tell()
        trial = state.record.trials[number]
        cpu, gpu = with_room(self._cpu, state.share(number, self._gpu), state.room(number))
        return {
            "number": number,
            "trainable": state.record.trainable.name,
            "title": f"trial {trial.label:>03} {axis_values(trial.settings)}",
            "settings": trial.config.model_dump(mode="json"),
            "run_dir": str(trial.run_dir),
            "storage": None if trial.storage is None else trial.storage.url,
            "epoch": len(trial.curve),
            "rungs": state.asha.epochs(),
            "search": state.record.title,
            "wandb_id": state.wandb_ids[number],
            # Trials run in another working directory. Where no cache was given, each node of a
            # cluster has its own.
            "cache": str(cache_dir()) if os.environ.get("KPTRAIN_CACHE") else None,
            "cpu": cpu,
            "gpu": gpu,
        }

    def report(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Tell a result; whether the trial goes on at once."""
        self._hear()
        number = self._numbers[trial_id]
        host, device = result["node_host"], result["device"]
        goes_on = self.state.report(number, result["report"], host, device)
        self.tell()
        return goes_on

    def start(self, trial: Trial) -> None:
        self.state.start(self._numbers[trial.trial_id], trial.config["gpu"])
        self.tell()

    def fail(self, trial: Trial) -> None:
        error = original_error(trial)
        number, gpu = self._numbers[trial.trial_id], trial.config["gpu"]
        self.state.fail(number, in_one_line(error), kind_of(error), gpu)
        self.tell()

    def num_epochs(self) -> int:
        """Of all trials, until now."""
        return sum(len(trial.curve) for trial in self.state.record.trials)

    def begin_again(self, error: Exception, deaths: int) -> bool:
        """Pause all running trials at their last safe epoch; False if nothing is left to run.

        Raises: TrainingError if Tune has died too often."""
        why = in_one_line(error.__cause__ or error)
        if deaths > MOST_DEATHS:
            raise TrainingError(
                f"{self.state.record.run_dir}: Ray Tune must run until the search is at its end, "
                f"but died {deaths} times ({why}); see to Ray, then go on with "
                f"--resume"
            ) from None
        self._hear()
        if self.state.interrupted:
            return False
        print(f"Ray Tune died ({why}); it is begun again", flush=True)
        self.state.resume(self.state.spending.budget)
        return True

    def end(self) -> None:
        """Tune has ended. Raises: TrainingError if the trials all fail alike."""
        if not self.state.interrupted:
            self.state.close()
        self.tell()
        self.state.record.save()
        if self.state.interrupted and not self._asked():
            raise TrainingError(
                f"{self.state.record.run_dir}: must have trials that can be trained, but "
                f"{self.state.interrupted}; mend the cause, then begin it anew"
            )

    def tell(self) -> None:
        """Show what has happened, and keep it."""
        news = self.state.pop_news()
        self._terminal.show(news)
        self.state.record.save(at_most_every=1.0)
        if any(event in ("started", "ended") for _, event, _ in news):
            self.state.record.sweep()
        for observer in self._onlookers.copy():
            try:
                observer()
            except Exception as error:
                self._onlookers.remove(observer)
                print(f"{type(error).__name__}: {error}; the search goes on without", flush=True)

    def _hear(self) -> None:
        """Of Ctrl-C."""
        if self._asked() and not self.state.interrupted:
            self.state.interrupt(self._asked())


def _new_wandb_id() -> str:
    return uuid4().hex[:8]


class _NotPickled:
    """Tune pickles what it was given, for a restore that we do not use."""

    def __init__(self, run: _Run) -> None:
        super().__init__()
        self._run = run

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Proposer(_NotPickled, TuneSearcher):
    """What runs next, as Tune asks for it."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        with self._run.noted():
            return self._run.propose(trial_id)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing: `_Stopper` has heard of it, also of the last epoch, which Tune keeps back."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: what happened is in our own journal."""

    def get_state(self) -> dict[str, Any]:
        """Nothing, as above."""
        return {}


class _Stopper(_NotPickled, tune.Stopper):
    """ASHA and the budget; Tune asks it about each epoch, before all else that it does with it."""

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        with self._run.noted():
            return not self._run.report(trial_id, result)

    def stop_all(self) -> bool:
        """Never: it would cut trials in the midst of an epoch."""
        return False


class _ProcessCallback(_NotPickled, tune.Callback):
    """What befalls a trial's process."""

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        with self._run.noted():
            self._run.start(trial)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        with self._run.noted():
            self._run.fail(trial)
