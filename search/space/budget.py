"""The budget of a search and how much of it is spent: trials, hours, GPU hours and epochs.

Epochs are reserved before they are trained; a trial reserves its grace epochs when it begins. So
the budget of epochs is never exceeded, however many trials run at once, and every trial that begins
can reach the first rung. Hours count from the start of the first trial's process, and only while a
command runs; when they are spent, each running trial ends after its current epoch.
"""

import math
import time
from typing import Annotated, Literal, get_args

from pydantic import Field

from kptrain.config import PositiveInt, Settings

Hours = Annotated[float, Field(gt=0)]
Part = Literal["hours", "gpu_hours", "epochs"]
"""A part of the budget that can end a running trial."""
PARTS: tuple[Part, ...] = get_args(Part)
UNITS = {"trials": "trial", "hours": "hour", "gpu_hours": "GPU hour", "epochs": "epoch"}
"""What each part of the budget counts."""


class Budget(Settings):
    """The search ends when the first part is spent; None: no limit."""

    trials: PositiveInt | None = None
    """The number of trials; the first one has the defaults."""
    hours: Hours | None = None
    """Wall-clock time from the start of the first trial."""
    gpu_hours: Hours | None = None
    """Summed over trials: the share of a GPU times the hours for which it is held."""
    epochs: PositiveInt | None = None
    """Epochs of all trials together."""


def describe_budget(budget: Budget) -> list[str]:
    """Each part that is given as text: `40 trials`, `0.5 hours`."""
    parts = {part: getattr(budget, part) for part in UNITS}
    return [count_of(value, UNITS[part]) for part, value in parts.items() if value is not None]


class Clock:
    """Seconds for which a search has run, summed over its commands; changes only by `tick` and
    `set`, so it is constant within an event."""

    def __init__(self) -> None:
        self.now = 0.0
        self._began = time.monotonic()  # unlike the time of day, it is never corrected

    def tick(self) -> None:
        self.now = round(time.monotonic() - self._began, 3)

    def set(self, seconds: float) -> None:
        """Continue from a time."""
        self.now, self._began = seconds, time.monotonic() - seconds


class Spending:
    """What is spent and reserved of a budget while trials run.

    `may_begin`, `may_resume` and `decide_epoch` are the rules, and change nothing.
    """

    def __init__(self, budget: Budget, grace_epochs: int, clock: Clock) -> None:
        self.budget = budget
        self.clock = clock
        self.grace_epochs = grace_epochs
        """Epochs that are reserved for a trial when it begins."""
        self._started: float | None = None
        self._num_begun = 0
        self._trained = 0
        self.promised: dict[int, int] = {}
        """Epochs reserved for each trial, by its number; none while it is paused at a rung."""
        self._held: dict[int, tuple[float, float]] = {}
        self._gpu_seconds = 0.0  # of trials that have ended

    # Decisions.

    def may_begin(self) -> bool:
        """Whether the budget allows another trial."""
        trials = self.budget.trials
        has_room = trials is None or self._num_begun < trials
        is_over = self._time_is_up() is not None
        return has_room and not is_over and self._epochs_free() >= self.grace_epochs

    def may_resume(self) -> bool:
        """Whether the budget allows an epoch of a trial that has none reserved."""
        return self._time_is_up() is None and self._epochs_free() >= 1

    def decide_epoch(self, number: int) -> tuple[Part | None, int]:
        """After an epoch of a trial: the part of the budget that ends the trial, if one is spent,
        and the number of epochs reserved for it if none is."""
        left = self.promised[number] - 1
        if (part := self._time_is_up()) is not None or left:
            return part, left
        return ("epochs", 0) if self._epochs_free() < 1 else (None, 1)

    # Changes.

    def begin(self, number: int, promised: int) -> None:
        """A trial begins: its first epochs are reserved."""
        self._num_begun += 1
        self.promised[number] = promised

    def resume_trial(self, number: int, promised: int) -> None:
        """A trial resumes: `promised` epochs are reserved for it."""
        self.promised[number] = promised

    def start(self, number: int, gpu: float) -> None:
        """A trial's process has started, and holds a share of a GPU from now on."""
        now = self.clock.now
        self._started = now if self._started is None else self._started
        self._held[number] = (gpu, now)

    def spend_epoch(self, number: int, promised: int) -> None:
        """A trial has finished an epoch: `promised` epochs are reserved for it from now on."""
        self._trained += 1
        self.promised[number] = promised

    def release(self, number: int) -> None:
        """A trial's process has ended; the trial's reserved epochs stay reserved."""
        gpu, since = self._held.pop(number, (0.0, 0.0))
        self._gpu_seconds += gpu * (self.clock.now - since)

    def end(self, number: int) -> None:
        """Release a trial's share of a GPU and its reserved epochs."""
        self.promised.pop(number, None)
        self.release(number)

    # Queries.

    def left(self) -> list[str]:
        """What is left of each part except trials: `0:31:10 of 2 hours left`."""
        parts = []
        for part in (part for part in PARTS if getattr(self.budget, part) is not None):
            left = self._limit(part) - self._spent(part)
            shown = f"{left:g}" if part == "epochs" else clock_of(max(left, 0.0))
            parts.append(f"{shown} of {count_of(getattr(self.budget, part), UNITS[part])} left")
        return parts

    def share(self) -> float:
        """The largest spent share of hours, GPU hours and epochs, 0 to 1."""
        return min(max(self._spent(part) / self._limit(part) for part in PARTS), 1.0)

    def seconds_left(self) -> float:
        """Wall-clock seconds left; infinite if `hours` is not given, 0 when they are spent."""
        return max(self._limit("hours") - self._spent("hours"), 0.0)

    def epochs_left(self) -> float:
        """Epochs not yet trained; infinite if `epochs` is not given."""
        return self._limit("epochs") - self._spent("epochs")

    def _limit(self, part: Part) -> float:
        """A part of the budget in seconds or epochs; infinite if it is not given."""
        given = getattr(self.budget, part)
        if given is None:
            return math.inf
        return float(given if part == "epochs" else 3600 * given)

    def _spent(self, part: Part) -> float:
        """Seconds or epochs of a part that are spent."""
        if part == "hours":
            return 0.0 if self._started is None else self.clock.now - self._started
        return self.gpu_seconds() if part == "gpu_hours" else self._trained

    def _epochs_free(self) -> float:
        """Epochs neither trained nor reserved."""
        return self.epochs_left() - sum(self.promised.values())

    def gpu_seconds(self) -> float:
        """Shares of GPUs times the seconds for which they were held so far."""
        now = self.clock.now
        return self._gpu_seconds + sum(gpu * (now - since) for gpu, since in self._held.values())

    def held(self, number: int) -> float:
        """The share of a GPU that a trial holds now."""
        gpu, _ = self._held.get(number, (0.0, 0.0))
        return gpu

    def _time_is_up(self) -> Part | None:
        """The part whose end forbids any further epoch; None if there is none."""
        times: tuple[Part, ...] = ("hours", "gpu_hours")
        return next((part for part in times if self._spent(part) >= self._limit(part)), None)


def clock_of(seconds: float) -> str:
    """Seconds as `1:02:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def count_of(value: float, unit: str) -> str:
    """A number of things: `1 trial`, `0.5 hours`."""
    return f"{value:g} {unit}{'' if value == 1 else 's'}"
