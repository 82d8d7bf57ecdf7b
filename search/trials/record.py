"""The table of trials: settings, curve and outcome of each, saved as `trials.csv`."""

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kptrain.config import Settings
from kptrain.machine.disk import temporary_of, write_csv
from kptrain.resolve import settings_of
from search.journal.reasons import Reason
from search.journal.remote import Storage
from search.space.training import Metric, Report, Trainable

State = Literal["waiting", "running", "paused", "completed", "stopped", "failed", "interrupted"]
UNDER_WAY = ("waiting", "running", "paused")
"""States that are not final. `waiting`: for a process; `paused`: at a rung, to be promoted or
stopped."""


@dataclass
class TrialRecord:
    """One trial; number 0 is the defaults."""

    number: int
    settings: dict[str, Any]
    """The varied settings, by dotted path."""
    config: Settings
    """All settings."""
    epochs: int
    """The length of its training if nothing ends it earlier."""
    seed: int | None
    """None if the training has no seed."""
    metric: Metric
    """The metric by which trials are compared."""
    run_dir: Path
    label: str
    """The name shown to the user."""
    storage: Storage | None = None
    """The URL of its folder; None if the folder is on a disk that all nodes share."""
    state: State = "waiting"
    curve: list[Report] = field(default_factory=list)
    reason: Reason | None = None
    """Why it ended, unless it was completed or stopped by ASHA."""
    host: str = ""
    """The host on which it ran last."""
    device: str = ""

    @property
    def error(self) -> str:
        """The reason as text; empty without one."""
        return "" if self.reason is None else str(self.reason)

    def values(self) -> list[float]:
        """The metric's value after each epoch."""
        return [report[self.metric.name] for report in self.curve]

    def best(self, epochs: int | None = None) -> float | None:
        """The best value of any epoch, or of the first `epochs`; None before the first."""
        return self.metric.best(self.values()[:epochs])

    def rank(self, epochs: int | None = None) -> float:
        """A sort key, smaller is better: by the best value of all epochs or of the first `epochs`.
        The trial must have an epoch."""
        value = self.best(epochs)
        assert value is not None
        return self.metric.cost(value)


def varied(trials: Iterable[TrialRecord]) -> list[str]:
    """The settings that some of the trials vary, by dotted path."""
    return list(dict.fromkeys(path for trial in trials for path in trial.settings))


class Record:
    """All trials of a search; `save` writes the table, `sweep` removes checkpoints."""

    def __init__(
        self,
        run_dir: Path,
        trainable: Trainable[Any],
        metric: Metric,
        keep: int = 1,
        storage: Storage | None = None,
    ) -> None:
        """keep: trials whose best checkpoint stays; storage: the folder's copy at a URL."""
        self.run_dir = run_dir
        self.trainable = trainable
        self.storage = storage
        self.title = run_dir.name  # the group of its runs at Weights & Biases
        self.metric = metric
        self._keep = keep
        self.trials: list[TrialRecord] = []
        self._saved = -math.inf
        self._removed: set[tuple[int, str]] = set()  # at a URL, where each request costs

    def add(self, settings: Mapping[str, Any], config: Settings) -> TrialRecord:
        """Add a trial, with the next number."""
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
        """The label of a trial, and its folder."""
        return str(number), self.run_dir / "trials" / f"{number:03d}"

    def report(self, number: int, report: Report, host: str, device: str) -> None:
        """A trial has finished an epoch."""
        trial = self.trials[number]
        trial.state, trial.host, trial.device = "running", host, device
        trial.curve.append(report)

    def set_state(self, number: int, state: State, reason: Reason | None = None) -> None:
        """A trial is in another state; reason: why it ended."""
        trial = self.trials[number]
        trial.state, trial.reason = state, reason

    def sweep(self) -> None:
        """Remove checkpoints that are no longer needed.

        Called repeatedly, as a stopped trial may still write its last checkpoint.
        """
        kept, best, resume = self._kept(), self.trainable.best, self.trainable.resume
        for trial in self.trials:
            if trial.state not in (*UNDER_WAY, "interrupted"):  # these may be resumed
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
        """The best completed trial; if there is none, the best other trial that does not run; if
        there is none, the best failed one.

        Only a completed trial can be repeated in full, so it ranks before the others.
        """
        return next(iter(self.ranking() or self._failed()), None)

    def _failed(self) -> list[TrialRecord]:
        """The trials that failed after an epoch and left the files to promote, the best first."""
        failed = [trial for trial in self.trials if trial.state == "failed" and trial.curve]
        return sorted(filter(self._is_saved, failed), key=TrialRecord.rank)

    def _is_saved(self, trial: TrialRecord) -> bool:
        """Whether its best checkpoint exists; one at a URL is fetched when it is promoted."""
        names = self.trainable.best
        return trial.storage is not None or all((trial.run_dir / n).is_file() for n in names)

    def ranking(self) -> list[TrialRecord]:
        """The trials with an epoch that neither run nor failed: the completed ones, best first,
        then the others, best first."""
        states: list[State] = ["completed", "stopped", "interrupted", "paused"]
        ended = [trial for trial in self.trials if trial.state in states and trial.curve]
        return sorted(ended, key=lambda trial: (trial.state != "completed", trial.rank()))

    def front_runner(self) -> TrialRecord | None:
        """The best trial so far that has not failed, running or not; else the best failed one."""
        trials = [trial for trial in self.trials if trial.curve and trial.state != "failed"]
        return min(trials or self._failed(), key=TrialRecord.rank, default=None)

    def best(self) -> float | None:
        """The best value of any trial so far."""
        trials = [trial for trial in self.trials if trial.curve]
        return min(trials, key=TrialRecord.rank).best() if trials else None

    def num_ended(self) -> int:
        return sum(trial.state not in UNDER_WAY for trial in self.trials)

    def num_epochs(self) -> int:
        """Epochs trained so far, over all trials."""
        return sum(len(trial.curve) for trial in self.trials)

    def save(self, at_most_every: float = 0.0) -> None:
        """Write the table: one row per epoch, and one for a trial without an epoch. A cell is empty
        if other trials vary the setting and this one does not have it.

        at_most_every: seconds; nothing is written if the last call that wrote is more recent.
        """
        if not self.trials or time.monotonic() - self._saved < at_most_every:
            return
        self._saved = time.monotonic()
        settings, axes = list(settings_of(self.trials[0].config)), varied(self.trials)
        reports = [report for trial in self.trials for report in trial.curve]
        names = [name for report in reports for name in report] or ["epoch", self.metric.name]
        figures = [name for name in dict.fromkeys(names) if name not in self.trainable.not_figures]
        rows = []
        for trial in self.trials:
            values = settings_of(trial.config)
            values |= dict.fromkeys(path for path in axes if path not in trial.settings)
            start = [trial.number, trial.state, *(values[path] for path in settings)]
            for report in trial.curve or [{}]:
                rows.append([*start, *(report.get(name) for name in figures), trial.error])
        columns = ["trial", "state", *settings, *figures, "error"]
        write_csv(self.run_dir / "trials.csv", columns, rows)
