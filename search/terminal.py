"""The search on the terminal: a live table, or one line an event where there is no terminal."""

import math
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from search.budget import clock_of, count_of
from search.record import UNDER_WAY, TrialRecord
from search.searcher import axis_values
from search.state import SearchState

SHOWN = 12
"""Rows of the live table: all that run, then the latest that ended."""


class Terminal:
    """Shows a search, after each of its events."""

    def __init__(self, state: SearchState, max_epochs: int) -> None:
        self._record = state.record
        self._spending = state.spending
        self._clock = state.clock
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

    def show(self, news: Sequence[tuple[TrialRecord, str]]) -> None:
        """Trials, and what happened to each."""
        if self._console.is_terminal:
            if news:
                self._live.update(self._table(), refresh=True)
            return
        for trial, event in news:
            if event != "started":  # a log file has a line when there is something to tell
                title = f"trial {trial.label:>2}  {axis_values(trial.settings)}"
                told = f"{clock_of(self._clock.now)}  {title}  {self._told(trial, event)}"
                print(f"{told}  | {self._summary()}", flush=True)

    def _told(self, trial: TrialRecord, event: str) -> str:
        best, metric = trial.best(self._record.metric), self._record.metric
        epoch = len(trial.curve)
        if event == "epoch":
            value = trial.values(metric)[-1]
            return f"epoch {epoch:>2}/{trial.config.train.epochs}  {metric} {value:.6f}"
        if event == "paused":
            return f"waits after epoch {epoch}"
        if event != "ended":
            return event
        value_told = f"  best {metric} {best:.6f}" if best is not None else ""
        error = f"  {trial.error}" if trial.error else ""
        return f"{trial.state} after epoch {epoch}{value_told}{error}"

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
        seconds = epochs * self._clock.now / done
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
