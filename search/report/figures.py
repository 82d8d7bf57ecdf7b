"""Figures of the course of a search: best value so far, learning curves, timeline."""

from collections.abc import Callable, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from search.report.svg import BEST, COLOURS, FAINT, INK, MARKERS, ON_WHITE, named
from search.report.wording import outcomes
from search.space.space import axis_values
from search.space.training import Metric
from search.trials.history import History, Span
from search.trials.record import TrialRecord

LEAST_WIDTH = 0.03
"""The least width of a bar with its trial's number, as a share of the whole time."""


def describe_trial(trial: TrialRecord, history: History) -> str:
    """A trial in one line."""
    best = trial.best()
    value = "" if best is None else f"; best {trial.metric.label} {best:.6f}"
    outcome = outcomes(history)[trial.number]
    settings = axis_values(trial.settings)
    return f"trial {trial.label}: {settings}; after epoch {len(trial.curve)} {outcome}{value}"


def best_so_far(history: History) -> list[Callable[[], Figure]]:
    """Figures of the best value over epochs trained, and over time; none before the first epoch."""
    if not (steps := _steps(history)):
        return []
    epochs, seconds, best = zip(*steps, strict=True)
    ends = [*epochs, history.record.num_epochs()]
    times = [*seconds, history.state.clock.now]
    unit, name = (60, "minutes") if times[-1] > 120 else (1, "seconds")
    return [
        lambda: _stairs(history, ends, best, "epochs trained, of all trials"),
        lambda: _stairs(history, [time / unit for time in times], best, name),
    ]


def _steps(history: History) -> list[tuple[int, float, float]]:
    """Where the best value so far changes: epochs trained, seconds, and the value."""
    metric = history.record.metric
    steps: list[tuple[int, float, float]] = []
    reports = (event for event in history.events if event["event"] == "epoch")
    for number, event in enumerate(reports, 1):
        value = event["report"][metric.name]
        if not steps or metric.is_better(value, steps[-1][2]):
            steps.append((number, event["at"], value))
    return steps


def _stairs(history: History, places: Sequence[float], best: Sequence[float], label: str) -> Figure:
    figure = Figure(figsize=(3.7, 2.6))
    draw_stairs(figure.subplots(), history, places, best, label)
    return figure


def draw_stairs(
    axes: Axes, history: History, places: Sequence[float], best: Sequence[float], label: str
) -> None:
    """Draw the best so far as steps, and the defaults' best as a line; the last place is the
    end."""
    axes.step(places, [*best, best[-1]], where="post", color=BEST, linewidth=2, label="best so far")
    defaults = history.record.trials[0].best()
    if defaults is not None:
        line = axes.axhline(defaults, color=INK, linestyle=":", linewidth=1, label="the defaults")
        named(line, f"the defaults' best: {defaults:.6f}")
    axes.set_xlabel(label)
    axes.set_ylabel(history.record.metric.label)
    axes.legend(loc="upper right" if not history.record.metric.is_max else "lower right")


def curves(history: History) -> Figure | None:
    """The curves of all trials, with the rungs and the end of each trial."""
    if not any(trial.curve for trial in history.record.trials):
        return None
    figure = Figure(figsize=(7.2, 3.6))
    draw_curves(figure.subplots(), history)
    return figure


def draw_curves(axes: Axes, history: History) -> None:
    """Draw the curves of at least one trial; the best one and the defaults are labelled."""
    record = history.record
    trials = [trial for trial in record.trials if trial.curve]
    first = history.leader()
    for rung in history.state.asha.epochs():
        line = axes.axvline(rung, color=INK, linewidth=0.8, linestyle=(0, (2, 3)))
        named(line, f"rung: trials are compared after epoch {rung}")
    for trial in sorted(trials, key=lambda t: t is first):
        is_best = trial is first
        colour = BEST if is_best else COLOURS[trial.state]
        epochs = [report["epoch"] for report in trial.curve]
        values = trial.values()
        (line,) = axes.plot(epochs, values, color=colour, linewidth=2.4 if is_best else 1.0)
        named(line, describe_trial(trial, history))
        if marker := MARKERS.get(trial.state):
            (end,) = axes.plot(epochs[-1:], values[-1:], marker, color=colour, markersize=5)
            named(end, describe_trial(trial, history))
        if is_best or trial.number == 0:
            name = f" {trial.number}" if trial.number else " 0, the defaults"
            axes.annotate(name, (epochs[-1], values[-1]), va="center", clip_on=True, fontsize=8)
    values = [value for trial in trials for value in trial.values()]
    _frame(axes, values, record.metric)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel(record.metric.label)
    _add_legend(axes, trials, first)


def _add_legend(axes: Axes, trials: Sequence[TrialRecord], first: TrialRecord | None) -> None:
    states = [state for state in COLOURS if any(trial.state == state for trial in trials)]
    keys = [Line2D([], [], color=COLOURS[s], marker=MARKERS.get(s, "")) for s in states]
    if first is not None:
        keys, states = [Line2D([], [], color=BEST, linewidth=2.4), *keys], ["best", *states]
    axes.legend(keys, states, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _frame(axes: Axes, values: Sequence[float], metric: Metric) -> None:
    """Set the limits such that outliers, which would flatten the other curves, are cut off."""
    near = [value for value in values if not is_outlier(value, values, metric)]
    low, high = min(near), max(near)
    axes.set_yscale("log" if low > 0 and high > 3 * low else "linear")
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    axes.set_ylim(low - min(margin, low / 2) if low > 0 else low - margin, high + margin)


def is_outlier(value: float, values: Sequence[float], metric: Metric) -> bool:
    """Whether a value is not finite, or worse than the third quartile by more than three times the
    interquartile range (Tukey's rule)."""
    finite = [other for other in values if np.isfinite(other)]
    if not finite or not np.isfinite(value):
        return bool(finite)
    low, high = np.quantile([metric.cost(other) for other in finite], [0.25, 0.75])
    return bool(metric.cost(value) - high > 3 * (high - low) > 0)


def timeline(history: History) -> Figure | None:
    """Which trial ran where and when; wide bars show the trial's number."""
    lanes = lanes_of(history.spans())
    if not lanes:
        return None
    record = history.record
    first = history.leader()
    end = max(span.end for _, spans in lanes for span in spans)
    whole = end - min(span.begin for _, spans in lanes for span in spans)
    unit, name = (60, "minutes") if end > 120 else (1, "seconds")
    figure = Figure(figsize=(7.2, 1.0 + 0.3 * len(lanes)))
    axes = figure.subplots()
    for row, (_, spans) in enumerate(lanes):
        for span in spans:
            trial = record.trials[span.trial]
            width = (span.end - span.begin) / unit
            colour = BEST if trial is first else COLOURS[trial.state]
            (bar,) = axes.barh(
                [row], [width], left=span.begin / unit, height=0.8, color=colour, edgecolor=FAINT
            )
            named(bar, describe_trial(trial, history))
            if span.end - span.begin > LEAST_WIDTH * whole:
                middle = (span.begin + span.end) / 2 / unit
                label = axes.text(middle, row, trial.label, ha="center", va="center")
                label.set(fontsize=8, color="white")
    axes.set_yticks(range(len(lanes)), [_name(number, lanes) for number in range(len(lanes))])
    axes.invert_yaxis()
    axes.set_xlabel(name)
    axes.grid(axis="y", visible=False)
    _add_legend(axes, [record.trials[span.trial] for _, spans in lanes for span in spans], first)
    return figure


def _name(number: int, lanes: Sequence[tuple[str, list[Span]]]) -> str:
    """The name of a lane: its host, and its number if the host has several."""
    hosts = [place.partition(" ")[0] or "?" for place, _ in lanes]
    host = hosts[number]
    return f"{host} #{hosts[: number + 1].count(host)}" if hosts.count(host) > 1 else host


def lanes_of(spans: Sequence[Span]) -> list[tuple[str, list[Span]]]:
    """Group spans by place into lanes in which no two spans overlap."""
    lanes: list[tuple[str, list[Span]]] = []
    for span in sorted(spans, key=lambda s: (s.place, s.begin)):
        free = (lane for place, lane in lanes if place == span.place and lane[-1].end <= span.begin)
        lane = next(free, None)
        if lane is None:
            lanes.append((span.place, [span]))
        else:
            lane.append(span)
    return lanes


def summary_picture(history: History, title: str) -> Figure:
    """One picture with curves and best value so far, on white."""
    with mpl.rc_context(ON_WHITE):
        figure = Figure(figsize=(9, 4.6), facecolor="white")
        figure.suptitle(title, fontsize=11)
        left, right = figure.subplots(1, 2, width_ratios=[3, 2])
        if steps := _steps(history):
            draw_curves(left, history)
            epochs, _, best = zip(*steps, strict=True)
            ends = [*epochs, history.record.num_epochs()]
            draw_stairs(right, history, ends, best, "epochs, of all trials")
        else:
            left.set_axis_off()
            right.set_axis_off()
        for line in left.lines:
            if line.get_color() == INK:
                line.set_color(ON_WHITE["text.color"])
    return figure
