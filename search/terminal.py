"""The search on the terminal: a live table, or one line an event where there is no terminal."""

import math
import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from kptrain.curve import EpochReport
from search.budget import Spending, clock_of, count_of
from search.record import UNDER_WAY, Record, TrialRecord
from search.searcher import axis_values

SHOWN = 12
"""Rows of the live table: all that run, then the latest that ended."""


class Terminal:
    """Shows a record; told of each event after it was recorded."""

    def __init__(self, record: Record, spending: Spending, max_epochs: int) -> None:
        self._record = record
        self._spending = spending
        self._max_epochs = max_epochs
        self._console = Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def started(self, trial: TrialRecord) -> None:
        if self._console.is_terminal:  # a log file has a line when there is something to tell
            self._show(trial, "started")

    def reported(self, trial: TrialRecord, report: EpochReport) -> None:
        value = getattr(report, self._record.metric)
        epochs = trial.config.train.epochs
        self._show(trial, f"epoch {report.epoch:>2}/{epochs}  {self._record.metric} {value:.6f}")

    def restarted(self, trial: TrialRecord, why: str) -> None:
        self._show(trial, f"out of memory, starts anew ({why})")

    def paused(self, trial: TrialRecord) -> None:
        self._show(trial, f"waits after epoch {len(trial.curve)}")

    def ended(self, trial: TrialRecord) -> None:
        best = trial.best(self._record.metric)
        value = f"  best {self._record.metric} {best:.6f}" if best is not None else ""
        error = f"  {trial.error}" if trial.error else ""
        self._show(trial, f"{trial.state} after epoch {len(trial.curve)}{value}{error}")

    def _show(self, trial: TrialRecord, event: str) -> None:
        if self._console.is_terminal:
            self._live.update(self._table(), refresh=True)
            return
        elapsed = clock_of(time.time() - self._record.started)
        title = f"trial {trial.label:>2}  {axis_values(trial.settings)}"
        print(f"{elapsed}  {title}  {event}  | {self._summary()}", flush=True)

    def _table(self) -> Group:
        metric = self._record.metric
        table = Table(box=None, pad_edge=False)
        for heading in ("trial", "settings", "epoch", metric, "state"):
            table.add_column(heading, no_wrap=heading != "settings")
        for trial in self._rows():
            best = trial.best(metric)
            table.add_row(
                trial.label,
                escape(axis_values(trial.settings)),
                f"{len(trial.curve)}/{trial.config.train.epochs}",
                "" if best is None else f"{best:.6f}",
                trial.state + (f": {escape(trial.error)}" if trial.error else ""),
            )
        return Group(self._summary(), table)  # a title would be wrapped at the table's width

    def _rows(self) -> list[TrialRecord]:
        under_way = [t for t in self._record.trials if t.state in UNDER_WAY]
        ended = [t for t in self._record.trials if t not in under_way]
        return under_way + ended[::-1][: max(SHOWN - len(under_way), 0)]

    def _summary(self) -> str:
        record = self._record
        best = record.best()
        shown = f"best {record.metric} {best:.6f}" if best is not None else "no result yet"
        trials = self._spending.budget.trials
        ended = record.num_ended()
        count = count_of(ended, "trial") if trials is None else f"{ended}/{trials} trials"
        return ", ".join([f"{count} ended", shown, *self._spending.left(), *self._time_left()])

    def _time_left(self) -> list[str]:
        """If no further trial were stopped early, at the pace so far; nothing if epochs have no
        bound, as then the hours that are left are all that can be said."""
        epochs = self._epochs_left()
        if math.isinf(epochs):
            return []
        done = self._record.num_epochs()
        if not done:
            return ["at most ? left"]
        seconds = epochs * (time.time() - self._record.started) / done
        return [f"at most {clock_of(min(seconds, self._spending.seconds_left()))} left"]

    def _epochs_left(self) -> float:
        """The most that can still be trained, by the trials or by the epochs of the budget."""
        trials = self._spending.budget.trials
        if trials is None:
            return self._spending.epochs_left()
        ended = [trial for trial in self._record.trials if trial.state not in UNDER_WAY]
        saved = sum(trial.config.train.epochs - len(trial.curve) for trial in ended)
        by_trials = trials * self._max_epochs - saved - self._record.num_epochs()
        return min(max(by_trials, 0), self._spending.epochs_left())
