"""The live picture of a search: how much of its budget is spent, and a row a trial."""

import math
from collections.abc import Sequence

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kptrain.machine.progress import in_words
from search.space.budget import clock_of, count_of
from search.space.space import axis_values
from search.trials.fold import StateFromEvents
from search.trials.record import UNDER_WAY, TrialRecord

SHOWN = 12
"""Rows: all that run, then the latest that ended."""
WIDE = 100
"""Columns of a terminal from which on GPU, memory and device are shown, too."""
LONG = 4 * 86400.0
"""Seconds from which on nobody counts hours."""
BARS = "▁▂▃▄▅▆▇█"
CURVE = 10
"""Epochs of a curve that are shown: the latest."""
STYLES = {"running": "green", "failed": "red", "completed": "bold"}


def render(state: StateFromEvents, max_epochs: int, width: int) -> Group:
    """All of it, for a terminal of so many columns."""
    spent = Table.grid()  # a bar alone does not end its line
    spent.add_row(ProgressBar(total=1.0, completed=_share_spent(state), width=min(width, 60)))
    # A title of the table would be wrapped at the table's width.
    return Group(summary(state, max_epochs), spent, _table(state, width >= WIDE))


def _table(state: StateFromEvents, is_wide: bool) -> Table:
    metric = state.record.metric
    table = Table(box=None, pad_edge=False)
    for heading in ("trial", "settings", "epoch", "curve", str(metric)):
        table.add_column(heading, no_wrap=heading != "settings")
    if is_wide:
        table.add_column("GPU", no_wrap=True, justify="right")
        table.add_column("memory", no_wrap=True, justify="right")
        table.add_column("where", no_wrap=True)
    table.add_column("state")
    memory = state.record.trainable.memory
    for trial in _rows(state):
        best = trial.best()
        table.add_row(
            trial.label,
            Text(axis_values(trial.settings)),
            f"{len(trial.curve)}/{trial.epochs}",
            sparkline(trial.values()),
            "" if best is None else f"{best:.6f}",
            *(_place(trial, state.spending.held(trial.number), memory) if is_wide else ()),
            Text(
                trial.state + (f": {trial.error}" if trial.error else ""),
                STYLES.get(trial.state, ""),
            ),
        )
    return table


def sparkline(values: Sequence[float]) -> str:
    """The latest values of a curve as bars between their least and their greatest."""
    shown = [value for value in values if math.isfinite(value)][-CURVE:]
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    steps = len(BARS) - 1
    return "".join(
        BARS[round(steps * (v - low) / (high - low)) if high > low else 0] for v in shown
    )


def _place(trial: TrialRecord, gpu: float, memory: str | None) -> tuple[str, str, str]:
    """The share of a GPU that a trial holds, the most memory that it used, and where it runs.

    memory: the figure of a report that has it.
    """
    used = trial.curve[-1].get(memory) if trial.curve and memory else None
    memory = "" if used is None else f"{used / 1e9:.2f} GB"
    return f"{gpu:g}" if gpu else "", memory, f"{trial.host} {trial.device}".strip()


def _rows(state: StateFromEvents) -> list[TrialRecord]:
    trials = state.record.trials
    under_way = [trial for trial in trials if trial.state in UNDER_WAY]
    ended = [trial for trial in trials if trial not in under_way]
    return under_way + ended[::-1][: max(SHOWN - len(under_way), 0)]


def summary(state: StateFromEvents, max_epochs: int) -> str:
    """Trials that ended, the best so far, and what is left, on one line."""
    record = state.record
    best = record.best()
    shown = f"best {record.metric.label} {best:.6f}" if best is not None else "no result yet"
    trials = state.spending.budget.trials
    ended = record.num_ended()
    count = count_of(ended, "trial") if trials is None else f"{ended}/{trials} trials"
    left = [*state.spending.left(), *_time_left(state, max_epochs)] if state.has_work() else []
    return ", ".join([f"{count} ended", shown, *left])


def _share_spent(state: StateFromEvents) -> float:
    """Of the part of the budget that is nearest to its end."""
    trials = state.spending.budget.trials
    by_trials = 0.0 if trials is None else state.record.num_ended() / trials
    return min(max(by_trials, state.spending.share()), 1.0)


def _time_left(state: StateFromEvents, max_epochs: int) -> list[str]:
    """If no further trial were stopped early, at the pace so far; before any epoch, what was
    estimated. Nothing if epochs have no bound, as then the hours that are left are all that can be
    said."""
    epochs = _epochs_left(state, max_epochs)
    if math.isinf(epochs):
        return []
    done = state.record.num_epochs()
    if done:
        seconds = epochs * state.clock.now / done
        return [f"at most {_spelled(min(seconds, state.spending.seconds_left()))} left"]
    left = None if state.expected is None else state.expected.less(state.clock.now)
    if left is None or not left.likely:  # spent, before any epoch shows the pace
        return ["at most ? left"]
    return [f"some {left} left"]


def _spelled(seconds: float) -> str:
    """As a clock, or what takes days in a unit that a person would take."""
    return clock_of(seconds) if seconds < LONG else in_words(seconds)


def _epochs_left(state: StateFromEvents, max_epochs: int) -> float:
    """The most that can still be trained, by the trials or by the epochs of the budget."""
    spending, record = state.spending, state.record
    trials = spending.budget.trials
    if trials is None:
        return spending.epochs_left()
    ended = [trial for trial in record.trials if trial.state not in UNDER_WAY]
    saved = sum(trial.epochs - len(trial.curve) for trial in ended)
    by_trials = trials * max_epochs - saved - record.num_epochs()
    return min(max(by_trials, 0), spending.epochs_left())
