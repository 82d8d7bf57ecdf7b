"""The progress of a search: a live table on a terminal, else one line per event."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.live import Live

from search.console.live_table import render, summary
from search.console.output import Output, discard_output
from search.journal.reasons import Failed
from search.space.budget import clock_of
from search.space.space import axis_values
from search.trials.fold import News, StateFromEvents


class Terminal:
    """Shows the progress of a search on standard output."""

    def __init__(
        self, state: StateFromEvents, max_epochs: int, output: Output | None = None
    ) -> None:
        self._state = state
        self._max_epochs = max_epochs
        self._output = output or Output()
        self._console = Console(highlight=False)
        self._is_live = self._output.kind == "text" and self._console.is_terminal
        self._live = Live(console=self._console, auto_refresh=False)

    def __enter__(self) -> Self:
        if self._is_live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, news: Sequence[News]) -> None:
        """Show news; the search continues if the reader of its output ends, such as `head`."""
        try:
            self._show(news)
        except BrokenPipeError:
            discard_output(sys.stdout)

    def _show(self, news: Sequence[News]) -> None:
        if self._is_live:
            if news:
                width = self._console.width
                self._live.update(render(self._state, self._max_epochs, width), refresh=True)
            return
        for one in news:
            self._output.write(self._content(one))
            if one.what != "started":  # a start has no result to show
                now = clock_of(self._state.clock.now)
                title = f"trial {one.trial.label:>2}  {axis_values(one.trial.settings)}"
                line = f"{now}  {title}  {self._describe(one)}"
                print(f"{line}  | {summary(self._state, self._max_epochs)}", flush=True)

    def _content(self, news: News) -> dict[str, Any]:
        """The JSON object of an event; docs/events.md describes its fields."""
        trial, reason = news.trial, news.reason
        return {
            "at": round(self._state.clock.now, 3),
            "event": news.what,
            "trial": trial.label,
            "settings": trial.settings,
            "state": trial.state,
            "epoch": len(trial.curve),
            "metric": self._state.record.metric.name,
            "value": trial.values()[-1] if trial.curve else None,
            "best": trial.best(),
            "best_of_all": self._state.record.best(),
            "reason": None if reason is None else reason.model_dump(),
        }

    def _describe(self, news: News) -> str:
        metric, trial = self._state.record.metric.label, news.trial
        best, epoch = trial.best(), len(trial.curve)
        if news.what == "epoch":
            value = trial.values()[-1]
            return f"epoch {epoch:>2}/{trial.epochs}  {metric} {value:.6f}"
        if news.what == "paused":
            return f"paused after epoch {epoch}"
        if news.what == "retry":
            assert isinstance(news.reason, Failed)
            return f"to be resumed after epoch {epoch}: {news.reason.error}"
        shown = f"  best {metric} {best:.6f}" if best is not None else ""
        error = f"  {trial.error}" if trial.error else ""
        return f"{trial.state} after epoch {epoch}{shown}{error}"


class ProgressLog:
    """An observer that writes a search's progress to a file, one line per change."""

    def __init__(self, path: Path, state: StateFromEvents, max_epochs: int) -> None:
        self._path = path
        self._state = state
        self._max_epochs = max_epochs
        self._last = ""

    def __call__(self) -> None:
        line = summary(self._state, self._max_epochs)
        if line != self._last:
            self._last = line
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{clock_of(self._state.clock.now)}  {line}\n")
