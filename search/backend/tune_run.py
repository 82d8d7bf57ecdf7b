"""What the hooks of Ray Tune share: the state of the search, and Tune's ids of its trials."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from ray.exceptions import RayError
from ray.tune.experiment import Trial
from ray.tune.search import Searcher as TuneSearcher

from kptrain.data.pack import cache_dir
from kptrain.errors import KptrainError, TrainingError
from search.backend.failures import in_one_line, kind_of, original_error
from search.backend.ray_session import capacity, enlarged
from search.console.progress import Terminal
from search.space.space import axis_values
from search.trials.controller import SearchState

MOST_DEATHS = 3
"""How often Tune's own loop may die before the next epoch of any trial."""


@dataclass
class TuneRun:
    """The state of the search, and the trial number of each of Tune's trials.

    A resumed trial is a new trial to Tune, with the number and the folder of the first one.
    """

    state: SearchState
    terminal: Terminal
    signal_name: Callable[[], str]
    """The name of the signal that interrupts the search; empty if there was none."""
    cpu: int
    gpu: float
    observers: list[Callable[[], None]] = field(default_factory=list)
    fault: KptrainError | OSError | None = None
    """An error of one of our hooks, which Tune wraps like its own errors."""
    numbers: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def fault_recorded(self) -> Iterator[None]:
        """Record an error raised in the block, unless Ray caused it."""
        try:
            yield
        except (RayError, ConnectionError):
            raise
        except (KptrainError, OSError) as error:
            self.fault = error
            raise

    def propose(self, trial_id: str) -> dict[str, Any] | str | None:
        """The config of the trial that runs next."""
        # Tune asks for one trial ahead of free resources, before the latest result is known.
        state = self.state
        held = sum(state.room(number) for number in state.running)
        shares = (state.share(number, self.gpu) for number in state.running)
        larger = [share for share in shares if share > self.gpu]
        if held and held >= capacity(self.cpu, self.gpu, larger):
            return None
        self._check_signal()
        number = state.next_trial(lambda: uuid4().hex[:8])
        if number is None:
            return str(TuneSearcher.FINISHED) if state.ended else None
        self.numbers[trial_id] = number
        self._publish()
        trial = state.record.trials[number]
        cpu, gpu = enlarged(self.cpu, state.share(number, self.gpu), state.room(number))
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
            # An absolute path, as trials have another working directory. Without KPTRAIN_CACHE each
            # node has its own cache.
            "cache": str(cache_dir()) if os.environ.get("KPTRAIN_CACHE") else None,
            "cpu": cpu,
            "gpu": gpu,
        }

    def report(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Report an epoch; returns whether the trial keeps running."""
        self._check_signal()
        number = self.numbers[trial_id]
        host, device = result["node_host"], result["device"]
        goes_on = self.state.report(number, result["report"], host, device)
        self._publish()
        return goes_on

    def start(self, trial: Trial) -> None:
        self.state.start(self.numbers[trial.trial_id], trial.config["gpu"])
        self._publish()

    def fail(self, trial: Trial) -> None:
        error = original_error(trial)
        number, gpu = self.numbers[trial.trial_id], trial.config["gpu"]
        self.state.fail(number, in_one_line(error), kind_of(error), gpu)
        self._publish()

    def restart(self, error: Exception, deaths: int) -> bool:
        """Resume the search after Tune's loop died; returns False if it was interrupted. Raises:
        TrainingError if the loop has died too often."""
        why = in_one_line(error.__cause__ or error)
        if deaths > MOST_DEATHS:
            raise TrainingError(
                f"{self.state.record.run_dir}: Ray Tune must run until the search is finished, but "
                f"died {deaths} times ({why}); repair Ray, then use --resume"
            ) from None
        self._check_signal()
        if self.state.interrupted:
            return False
        print(f"Ray Tune died ({why}); restarting it", flush=True)
        self.state.resume(self.state.spending.budget)
        return True

    def end(self) -> None:
        """Close the search. Raises: TrainingError if the first trials failed for one reason."""
        if not self.state.interrupted:
            self.state.close()
        self._publish()
        self.state.record.save()
        if self.state.interrupted and not self.signal_name():
            raise TrainingError(
                f"{self.state.record.run_dir}: must have trials that can be trained, but "
                f"{self.state.interrupted}; fix the cause, then begin the search again"
            )

    def _publish(self) -> None:
        """Show and save the news, and call the observers."""
        news = self.state.pop_news()
        self.terminal.show(news)
        self.state.record.save(at_most_every=1.0)
        if any(event in ("started", "ended") for _, event, _ in news):
            self.state.record.sweep()
        for observer in self.observers.copy():
            try:
                observer()
            except Exception as error:  # printed below: no observer may end the search
                self.observers.remove(observer)
                print(f"{type(error).__name__}: {error}; the search continues", flush=True)

    def _check_signal(self) -> None:
        """Interrupt the search after a signal such as Ctrl-C."""
        if self.signal_name() and not self.state.interrupted:
            self.state.interrupt(self.signal_name())
