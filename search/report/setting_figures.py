"""Figures of the settings: value over each setting, parallel coordinates, importance."""

from collections.abc import Callable
from functools import partial
from typing import Any

import optuna
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter
from optuna.distributions import CategoricalDistribution
from optuna.visualization import matplotlib as optuna_plots

from search.report.figures import is_outlier
from search.report.importance import SURE, Importance
from search.report.optuna_study import study_of
from search.report.svg import BEST, COLOURS, GRID, INK, named
from search.trials.history import History

SHADES = LinearSegmentedColormap.from_list("shades", ["#9ec5e8", "#0072b2", "#cc5a9e"])
"""From low to high, all visible on white and on black."""


def outlier_trials(history: History, epoch: int) -> list[str]:
    """The labels of outliers, which the plots of settings leave out."""
    metric = history.record.metric
    reached = [trial for trial in history.record.trials if len(trial.curve) >= epoch > 0]
    values = [value for t in reached if (value := t.best(epoch)) is not None]
    pairs = zip(reached, values, strict=True)
    return [trial.label for trial, value in pairs if is_outlier(value, values, metric)]


def slices(history: History, epoch: int) -> list[Callable[[], Figure | None]]:
    """Optuna's slice plots: the best value until an epoch over each setting."""
    record, axes = history.record, history.search.space.axes
    study = study_of(record, axes, epoch, outlier_trials(history, epoch))
    if len(study.trials) < 2:
        return []
    return [partial(_slice, study, name, record.metric.label) for name in study.trials[-1].params]


def _slice(study: optuna.Study, name: str, metric: str) -> Figure:
    axes: Any = optuna_plots.plot_slice(study, params=[name], target_name=metric)
    best = study.best_trial
    is_choice = isinstance(best.distributions[name], CategoricalDistribution)
    place = repr(best.params[name]) if is_choice else best.params[name]
    axes.scatter([place], [best.value], color=BEST, marker="*", s=110, zorder=9)
    axes.xaxis.set_minor_formatter(NullFormatter())
    figure = _adapted(axes.get_figure(), (3.7, 2.6))
    for other in figure.axes[1:]:  # the colour bar of trial numbers
        other.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        other.set_ylabel("order")
    return figure


def parallel(history: History, epoch: int) -> Figure | None:
    """Optuna's parallel-coordinate plot of the best values until an epoch."""
    study = study_of(
        history.record, history.search.space.axes, epoch, outlier_trials(history, epoch)
    )
    if len(study.trials) < 2 or len(history.search.space.axes) < 2:
        return None
    axes = optuna_plots.plot_parallel_coordinate(study, target_name=history.record.metric.label)
    return _adapted(axes.get_figure(), (7.2, 3.4))


def _adapted(figure: Any, size: tuple[float, float]) -> Figure:
    """Give a figure of Optuna's our colours, readable on light and dark backgrounds."""
    adapted: Figure = figure
    adapted.set_size_inches(size)
    adapted.suptitle("")
    for axes in adapted.axes:
        axes.set_title("")
        axes.set_facecolor("none")
        axes.tick_params(colors=INK, which="both", labelsize=8)
        axes.grid(visible=False)
        axes.xaxis.label.set_color(INK)
        axes.yaxis.label.set_color(INK)
        for label in (axes.xaxis.label, axes.yaxis.label):
            label.set_fontsize(9)
        for spine in axes.spines.values():
            spine.set_color(GRID)
        for shaded in axes.collections:
            if shaded.get_array() is not None:
                reverse = shaded.get_cmap().name.endswith("_r")
                shaded.set_cmap(SHADES.reversed() if reverse else SHADES)
    return adapted


def importances(measured: Importance) -> Figure | None:
    """The importance of each setting, with its interval."""
    if not measured.shares:
        return None
    figure = Figure(figsize=(7.2, 0.6 + 0.32 * len(measured.shares)))
    axes = figure.subplots()
    shares = measured.shares[::-1]
    for row, share in enumerate(shares):
        is_sure = share.chance <= SURE
        (bar,) = axes.barh(
            [row], [share.share], color=COLOURS["completed" if is_sure else "stopped"]
        )
        (line,) = axes.plot([share.low, share.high], [row, row], color=INK, linewidth=1.2)
        title = f"{share.path}: {share.share:.2f} ({share.low:.2f} to {share.high:.2f})"
        for artist in (bar, line):
            named(artist, title + ("" if is_sure else "; may be chance"))
    axes.set_yticks(range(len(shares)), [share.path for share in shares])
    axes.set_xlabel("share of importance; lines: 90 % intervals; grey: may be chance")
    axes.grid(axis="y", visible=False)
    return figure
