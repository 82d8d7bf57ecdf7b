"""States of searches without processes: three trials under way, and workers that run them all."""

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from records import report_of

from kptrain.config import TrainConfig
from kptrain.resolve import change
from search.algorithms.asha import Asha
from search.journal.journal import Journal
from search.space.axes import Choice, Range
from search.space.budget import Budget, Clock, Spending
from search.space.training import Report
from search.trainings.keypoints import KEYPOINTS
from search.trials.assembly import ListedSettings
from search.trials.controller import SearchState
from search.trials.fold import Parts
from search.trials.record import Record, TrialRecord

AXES: dict[str, Choice | Range] = {"optim.lr": Range("float", 1e-4, 1e-1, True)}
BASE = change(TrainConfig(), {"train.epochs": 6}, "test")


class Still(Clock):
    """No time passes but what a test sets."""

    def tick(self) -> None:
        """Nothing."""


def three_trials(
    run_dir: Path, budget: Budget, rungs: Sequence[int] = (), metric: str = "val_loss"
) -> SearchState:
    """A search whose trials have three epochs; it has run for 100 seconds, its first two trials
    for none, and the third waits for its process."""
    base = change(TrainConfig(), {"train.epochs": 3}, "test")
    clock = Still()
    clock.set(100.0)
    parts = Parts(
        Record(run_dir, KEYPOINTS, KEYPOINTS.metrics[metric]),
        ListedSettings([{"optim.lr": lr} for lr in (1e-3, 1e-2, 1e-4)]),
        Asha(rungs, 3),
        Spending(budget, 1, clock),
        lambda _, settings: change(base, settings, "test"),
    )
    state = SearchState(parts, Journal(run_dir / "journal.jsonl"))
    for _ in range(3):
        state.next_trial(lambda: "an id")
    for number in range(2):
        state.start(number, gpu=0.5)
    return state


def trained(trial: TrialRecord) -> Report:
    """The next epoch of a trial: its settings decide."""
    epoch, lr = len(trial.curve) + 1, trial.settings["optim.lr"]
    loss = (math.log10(lr) + 2.5) ** 2 + 1 / epoch + 0.01 * math.sin(1000 * lr * epoch)
    return vars(report_of(epoch, train_loss=loss, val_loss=loss, lr=lr))


class Workers:
    """Processes that run trials of a search, some at once, and report in an order of their own."""

    def __init__(self, state: SearchState, at_once: int = 1, seed: int = 0) -> None:
        self.state = state
        self.at_once = at_once
        self.begun: list[int] = []
        self._order = random.Random(seed)
        self._running: list[int] = []

    def step(self) -> bool:
        """One event; whether there was anything to do."""
        state = self.state
        if len(self._running) < self.at_once:
            number = state.next_trial(lambda: "id")
            if number is not None:
                state.start(number, 0.5)
                self.begun.append(number)
                self._running.append(number)
                return True
        if not self._running:
            assert state.ended
            return False
        number = self._order.choice(self._running)
        trial = state.record.trials[number]
        if not state.report(number, trained(trial), "host", "cpu"):
            self._running.remove(number)
        return True

    def lose(self, cause: Any = "lost") -> int:
        """The process of a trial dies."""
        number = self._order.choice(self._running)
        self._running.remove(number)
        self.state.fail(number, "it died", cause, 0.5)
        return number

    def to_the_end(self) -> SearchState:
        for _ in range(1000):
            if not self.step():
                break
        else:
            raise AssertionError("it has no end")
        if not self.state.interrupted:
            self.state.close()
        return self.state
