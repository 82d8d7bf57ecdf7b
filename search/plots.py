"""The figures of how a search went: the best so far, the curves, who ran where and when."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from search.history import History, Span
from search.record import TrialRecord
from search.searcher import axis_values
from search.svg import BEST, COLOURS, FAINT, INK, MARKERS, named
from search.trainable import Metric


def told(trial: TrialRecord, metric: Metric) -> str:
    """A trial in one line."""
    best = trial.best()
    value = "" if best is None else f", best {metric} {best:.6f}"
    why = f": {trial.error}" if trial.error else ""
    ended = f"{trial.state} after epoch {len(trial.curve)}"
    return f"trial {trial.label}: {axis_values(trial.settings)}; {ended}{value}{why}"


def best_so_far(history: History) -> Figure | None:
    """The best value against epochs spent and against time."""
    metric = history.record.metric
    pick = max if metric.is_max else min
    epochs: list[int] = []
    minutes: list[float] = []
    values: list[float] = []
    for count, event in enumerate((e for e in history.events if e["event"] == "epoch"), 1):
        value = event["report"][metric.name]
        if not values or pick(value, values[-1]) != values[-1]:
            epochs.append(count)
            minutes.append(event["at"] / 60)
            values.append(value)
    if not values:
        return None
    figure = Figure(figsize=(7.2, 2.6))
    left, right = figure.subplots(1, 2, sharey=True)
    end_epochs, end_minutes = history.record.num_epochs(), history.state.clock.now / 60
    defaults = history.record.trials[0].best()
    for axes, places, end, label in (
        (left, epochs, end_epochs, "epochs trained, of all trials"),
        (right, minutes, end_minutes, "minutes"),
    ):
        axes.step([*places, end], [*values, values[-1]], where="post", color=BEST, linewidth=2)
        if defaults is not None:
            line = axes.axhline(defaults, color=INK, linestyle=":", linewidth=1)
            named(line, f"the defaults' best: {defaults:.6f}")
        axes.set_xlabel(label)
    left.set_ylabel(f"best {metric} so far")
    right.legend(
        [Line2D([], [], color=BEST, linewidth=2), Line2D([], [], color=INK, linestyle=":")],
        ["best so far", "defaults (trial 0)"],
    )
    return figure


def curves(history: History) -> Figure | None:
    """Every trial's curve, the rungs, and where and why each ended."""
    metric, record = history.record.metric, history.record
    trials = [trial for trial in record.trials if trial.curve]
    if not trials:
        return None
    figure = Figure(figsize=(7.2, 3.6))
    axes = figure.subplots()
    leader = record.leader()
    for rung in history.state.asha.epochs():
        line = axes.axvline(rung, color=INK, linewidth=0.8, linestyle=(0, (2, 3)))
        named(line, f"rung: trials are compared after epoch {rung}")
    for trial in sorted(trials, key=lambda t: t is leader):
        is_best = trial is leader
        colour = BEST if is_best else COLOURS[trial.state]
        width = 2.4 if is_best else 1.0
        epochs = [report["epoch"] for report in trial.curve]
        values = trial.values()
        (line,) = axes.plot(epochs, values, color=colour, linewidth=width)
        named(line, told(trial, metric))
        if marker := MARKERS.get(trial.state):
            (end,) = axes.plot(epochs[-1:], values[-1:], marker, color=colour, markersize=5)
            named(end, told(trial, metric))
    _frame(axes, [value for trial in trials for value in trial.values()], metric)
    axes.set_xlabel("epoch")
    axes.set_ylabel(str(metric))
    states = [state for state in COLOURS if any(trial.state == state for trial in trials)]
    keys = [_key(state) for state in states]
    if leader is not None:
        keys, states = [Line2D([], [], color=BEST, linewidth=2.4), *keys], ["best", *states]
    axes.legend(keys, states, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def _key(state: str) -> Line2D:
    return Line2D([], [], color=COLOURS[state], marker=MARKERS.get(state, ""))


def _frame(axes: Axes, values: Sequence[float], metric: Metric) -> None:
    """Limits that hold all but what is far worse than most, which would flatten the others."""
    near = [value for value in values if not is_far(value, values, metric)]
    low, high = min(near), max(near)
    axes.set_yscale("log" if low > 0 and high > 3 * low else "linear")
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    axes.set_ylim(low - min(margin, low / 2) if low > 0 else low - margin, high + margin)


def is_far(value: float, values: Sequence[float], metric: Metric) -> bool:
    """Whether a value is worse than the middle half of all by three times its width, as Tukey has
    it, or is not finite."""
    finite = [other for other in values if np.isfinite(other)]
    if not finite or not np.isfinite(value):
        return bool(finite)
    low, high = np.quantile(finite, [0.25, 0.75])
    beyond = low - value if metric.is_max else value - high
    return bool(beyond > 3 * (high - low) > 0)


def timeline(history: History) -> Figure | None:
    """Which trial ran where and when."""
    lanes = lanes_of(history.spans())
    if not lanes:
        return None
    figure = Figure(figsize=(7.2, 0.8 + 0.26 * len(lanes)))
    axes = figure.subplots()
    for row, (_, spans) in enumerate(lanes):
        for span in spans:
            trial = history.record.trials[span.trial]
            (bar,) = axes.barh(
                [row],
                [(span.end - span.begin) / 60],
                left=span.begin / 60,
                height=0.8,
                color=COLOURS[trial.state],
                edgecolor=FAINT,
                linewidth=0.6,
            )
            named(bar, told(trial, history.record.metric))
    axes.set_yticks(range(len(lanes)), [place for place, _ in lanes])
    axes.invert_yaxis()
    axes.set_xlabel("minutes")
    axes.grid(axis="y", visible=False)
    return figure


def lanes_of(spans: Sequence[Span]) -> list[tuple[str, list[Span]]]:
    """Spans that follow each other in one place, so that none overlaps another of its lane."""
    lanes: list[tuple[str, list[Span]]] = []
    for span in sorted(spans, key=lambda s: (s.place, s.begin)):
        free = (lane for place, lane in lanes if place == span.place and lane[-1].end <= span.begin)
        lane = next(free, None)
        if lane is None:
            lanes.append((span.place, [span]))
        else:
            lane.append(span)
    return lanes


def for_a_chat(history: History, title: str) -> Figure:
    """One picture with the essentials, on white."""
    figure = Figure(figsize=(9, 5), facecolor="white")
    figure.suptitle(title, fontsize=11)
    metric, record = history.record.metric, history.record
    left, right = figure.subplots(1, 2)
    leader = record.leader()
    for trial in record.trials:
        colour = BEST if trial is leader else COLOURS[trial.state]
        epochs = [report["epoch"] for report in trial.curve]
        left.plot(epochs, trial.values(), color=colour, linewidth=2.4 if trial is leader else 1)
    left.set_xlabel("epoch")
    left.set_ylabel(metric)
    for row, (_, spans) in enumerate(lanes := lanes_of(history.spans())):
        for span in spans:
            state = record.trials[span.trial].state
            right.barh(
                [row], [(span.end - span.begin) / 60], left=span.begin / 60, color=COLOURS[state]
            )
    right.set_yticks(range(len(lanes)), [place for place, _ in lanes])
    right.invert_yaxis()
    right.set_xlabel("minutes")
    return figure
