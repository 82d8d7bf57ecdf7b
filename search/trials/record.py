"""What happened in a search: every trial's settings, curve and end, kept in `trials.csv`."""

import csv
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kptrain.config import Settings
from kptrain.machine.disk import replacing, temporary_of
from kptrain.resolve import settings_of
from search.journal.reasons import Reason
from search.journal.remote import Storage
from search.space.training import Metric, Report, Trainable

State = Literal["waiting", "running", "paused", "completed", "stopped", "failed", "interrupted"]
UNDER_WAY = ("waiting", "running", "paused")
"""A trial waits for its process; one that is paused waits at a rung, and may go on or not."""


@dataclass
class TrialRecord:
    """One trial; number 0 is the defaults."""

    number: int
    settings: dict[str, Any]
    """The varied settings, by dotted path."""
    config: Settings
    """All settings."""
    epochs: int
    """That it trains for, if nothing ends it before."""
    seed: int | None
    """None where it has none."""
    metric: Metric
    """By which it is judged."""
    run_dir: Path
    label: str
    """What the user calls it."""
    storage: Storage | None = None
    """Where its folder is, if not on a disk that all nodes share."""
    state: State = "waiting"
    curve: list[Report] = field(default_factory=list)
    reason: Reason | None = None
    """Why it ended, where it did not come to its own end."""
    host: str = ""
    """Where it ran last."""
    device: str = ""

    @property
    def error(self) -> str:
        """The reason in words; empty without one."""
        return "" if self.reason is None else str(self.reason)

    def values(self) -> list[float]:
        """Of the metric, by epoch."""
        return [report[self.metric.name] for report in self.curve]

    def best(self, epochs: int | None = None) -> float | None:
        """The best value of any epoch, or of the first `epochs`; None before the first."""
        return self.metric.best(self.values()[:epochs])


class Record:
    """All trials of a search; `save` writes its table, `sweep` removes checkpoints."""

    def __init__(
        self,
        run_dir: Path,
        trainable: Trainable[Any],
        metric: Metric,
        keep: int = 1,
        storage: Storage | None = None,
    ) -> None:
        """storage: where the folder is, too, if at a URL."""
        self.run_dir = run_dir
        self.trainable = trainable
        self.storage = storage
        self.title = run_dir.name  # of the whole, at Weights & Biases
        self.metric = metric
        self._keep = keep
        self.trials: list[TrialRecord] = []
        self._saved = -math.inf
        self._removed: set[tuple[int, str]] = set()  # at a URL, where asking again costs

    def add(self, settings: Mapping[str, Any], config: Settings) -> TrialRecord:
        """A new trial, with its number and its folder."""
        number = len(self.trials)
        label, run_dir = self._name(number)
        storage = self.storage
        if storage is not None:
            storage = storage.below(run_dir.relative_to(self.run_dir).as_posix())
        trial = TrialRecord(
            number,
            dict(settings),
            config,
            self.trainable.epochs_of(config),
            self.trainable.seed_of(config),
            self.metric,
            run_dir,
            label,
            storage,
        )
        self.trials.append(trial)
        return trial

    def _name(self, number: int) -> tuple[str, Path]:
        """What a trial is called, and its folder."""
        return str(number), self.run_dir / "trials" / f"{number:03d}"

    def start(self, number: int) -> None:
        """A trial's process is there, and has let go of the trial that it ran before."""
        self.trials[number].state = "running"

    def report(self, number: int, report: Report, host: str, device: str) -> None:
        """An epoch of a trial has finished."""
        trial = self.trials[number]
        trial.state, trial.host, trial.device = "running", host, device
        trial.curve.append(report)

    def wait(self, number: int) -> None:
        """A trial is to go on, as soon as there is a process for it."""
        trial = self.trials[number]
        trial.state, trial.reason = "waiting", None

    def pause(self, number: int) -> None:
        """A trial waits at a rung; its checkpoints stay."""
        self.trials[number].state = "paused"

    def end(self, number: int, state: State, reason: Reason | None = None) -> None:
        """A trial has ended."""
        trial = self.trials[number]
        trial.state, trial.reason = state, reason

    def sweep(self) -> None:
        """Remove checkpoints that can no longer win.

        A trial that was stopped may still write its last: so this is asked for again and again.
        """
        kept, best, resume = self._kept(), self.trainable.best, self.trainable.resume
        for trial in self.trials:
            if trial.state not in (*UNDER_WAY, "interrupted"):  # these may go on
                names = resume if trial in kept else (*resume, *best)
                for path in (trial.run_dir / name for name in names):
                    path.unlink(missing_ok=True)
                    temporary_of(path).unlink(missing_ok=True)
                    if trial.storage is not None and (trial.number, path.name) not in self._removed:
                        trial.storage.remove(path.name)
                        self._removed.add((trial.number, path.name))

    def _kept(self) -> list[TrialRecord]:
        """The trials whose best checkpoint stays."""
        kept = [trial for trial in self.ranking() if trial.state != "paused"][: self._keep]
        return kept or self._failed()[:1]

    def leader(self) -> TrialRecord | None:
        """The best trial that completed; while none has, the best of the others that do not run;
        of those that failed where there are no others.

        Only a completed trial can be repeated as a whole, so it goes before another one.
        """
        return next(iter(self.ranking() or self._failed()), None)

    def _failed(self) -> list[TrialRecord]:
        """The trials that failed after an epoch and left what is promoted of them, the best
        first."""
        failed = [trial for trial in self.trials if trial.state == "failed" and trial.curve]
        return sorted((trial for trial in failed if self._is_saved(trial)), key=self.rank)

    def _is_saved(self, trial: TrialRecord) -> bool:
        """Whether its best checkpoint is there; one at a URL is fetched when it is promoted."""
        names = self.trainable.best
        return trial.storage is not None or all((trial.run_dir / n).is_file() for n in names)

    def ranking(self) -> list[TrialRecord]:
        """The trials that have an epoch or more, do not run and have not failed, the best first:
        the completed ones, then the others."""
        states: list[State] = ["completed", "stopped", "interrupted", "paused"]
        ended = [trial for trial in self.trials if trial.state in states and trial.curve]
        return sorted(ended, key=lambda trial: (trial.state != "completed", self.rank(trial)))

    def front_runner(self) -> TrialRecord | None:
        """The best trial so far that may be promoted, or might at its end."""
        seen = [trial for trial in self.trials if trial.curve and trial.state != "failed"]
        return min(seen or self._failed(), key=self.rank, default=None)

    def best(self) -> float | None:
        """The best value of any trial so far."""
        seen = [trial for trial in self.trials if trial.curve]
        return min(seen, key=self.rank).best() if seen else None

    def num_ended(self) -> int:
        return sum(trial.state not in UNDER_WAY for trial in self.trials)

    def num_epochs(self) -> int:
        """Epochs trained so far, over all trials."""
        return sum(len(trial.curve) for trial in self.trials)

    def rank(self, trial: TrialRecord, epochs: int | None = None) -> float:
        """Smaller is better, by the best value of any epoch or of the first `epochs`; a trial has
        one at least."""
        value = trial.best(epochs)
        assert value is not None
        return self.metric.cost(value)

    def save(self, at_most_every: float = 0.0) -> None:
        """Write the table, unless it was written less than so many seconds ago: one row an epoch; a
        trial without an epoch has one row too."""
        if not self.trials or time.monotonic() - self._saved < at_most_every:
            return
        self._saved = time.monotonic()
        settings = list(settings_of(self.trials[0].config))
        reports = [report for trial in self.trials for report in trial.curve]
        names = [name for report in reports for name in report] or ["epoch", self.metric.name]
        figures = [name for name in dict.fromkeys(names) if name not in self.trainable.not_figures]
        with (
            replacing(self.run_dir / "trials.csv") as temporary,
            temporary.open("w", newline="") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(["trial", "state", *settings, *figures, "error"])
            for trial in self.trials:
                told = settings_of(trial.config)
                start = [trial.number, trial.state, *(told[path] for path in settings)]
                for report in trial.curve:
                    told_now = (report.get(name, "") for name in figures)
                    writer.writerow([*start, *told_now, trial.error])
                if not trial.curve:
                    writer.writerow([*start, *[""] * len(figures), trial.error])
