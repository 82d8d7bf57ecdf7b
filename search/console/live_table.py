"""The live table of a search: how much of the budget is spent, and one row per trial."""

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
"""The number of rows: all trials under way, then the latest that ended."""
WIDE = 100
"""The least width of a terminal, in columns, to show GPU, memory and device."""
LONG = 4 * 86400.0
"""Longer times, in seconds, are shown in days."""
BARS = "▁▂▃▄▅▆▇█"
CURVE = 10
"""The number of latest epochs that a curve shows."""
STYLES = {"running": "green", "failed": "red", "completed": "bold"}


def render(state: StateFromEvents, max_epochs: int, width: int) -> Group:
    """The complete output, for a terminal of `width` columns."""
    trials = state.spending.budget.trials
    by_trials = 0.0 if trials is None else state.record.num_ended() / trials
    share = min(max(by_trials, state.spending.share()), 1.0)  # the largest of any part
    spent = Table.grid()  # a bar alone does not end its line
    spent.add_row(ProgressBar(total=1.0, completed=share, width=min(width, 60)))
    # Not a title of the table, which would be wrapped at the table's width.
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
    """The latest values of a curve as bars, from their least to their greatest."""
    shown = [value for value in values if math.isfinite(value)][-CURVE:]
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    steps = len(BARS) - 1
    return "".join(
        BARS[round(steps * (v - low) / (high - low)) if high > low else 0] for v in shown
    )


def _place(trial: TrialRecord, gpu: float, memory: str | None) -> tuple[str, str, str]:
    """The share of a GPU that a trial holds, its peak memory, and its host and device.

    memory: the name of the figure with the peak memory in a report.
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
    """One line: the number of ended trials, the best value so far, and what is left."""
    record = state.record
    best = record.best()
    shown = f"best {record.metric.label} {best:.6f}" if best is not None else "no result yet"
    trials = state.spending.budget.trials
    ended = record.num_ended()
    count = count_of(ended, "trial") if trials is None else f"{ended}/{trials} trials"
    left = [*state.spending.left(), *_time_left(state, max_epochs)] if state.has_work() else []
    return ", ".join([f"{count} ended", shown, *left])


def _time_left(state: StateFromEvents, max_epochs: int) -> list[str]:
    """The time left at the pace so far if no further trial is stopped early; before any epoch, the
    estimate. Empty if epochs have no limit: then only the budget's hours are known."""
    epochs = _epochs_left(state, max_epochs)
    if math.isinf(epochs):
        return []
    done = state.record.num_epochs()
    if done:
        seconds = min(epochs * state.clock.now / done, state.spending.seconds_left())
        shown = clock_of(seconds) if seconds < LONG else in_words(seconds)
        return [f"at most {shown} left"]
    left = None if state.expected is None else state.expected.less(state.clock.now)
    if left is None or not left.likely:  # the estimate has passed before the first epoch
        return ["at most ? left"]
    return [f"about {left} left"]


def _epochs_left(state: StateFromEvents, max_epochs: int) -> float:
    """The most epochs that can still be trained, by the budget's trials or epochs."""
    spending, record = state.spending, state.record
    trials = spending.budget.trials
    if trials is None:
        return spending.epochs_left()
    ended = [trial for trial in record.trials if trial.state not in UNDER_WAY]
    saved = sum(trial.epochs - len(trial.curve) for trial in ended)
    by_trials = trials * max_epochs - saved - record.num_epochs()
    return min(max(by_trials, 0), spending.epochs_left())
