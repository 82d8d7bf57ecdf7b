"""Figures of the settings: value over each setting, parallel coordinates, importance."""

from collections.abc import Callable
from functools import partial
from typing import Any

import optuna
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter
from optuna.distributions import CategoricalDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.visualization import matplotlib as optuna_plots

from search.report.figures import is_outlier
from search.report.importance import SURE, Importance, Share
from search.report.optuna_study import study_of
from search.report.svg import BEST, COLOURS, GRID, INK, named
from search.space.conditions import describe_condition
from search.space.space import short_names
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
    """Optuna's slice plots: the best value until an epoch over each setting, of the trials that
    have it; none for a setting that fewer than two have."""
    record, axes = history.record, history.search.space.axes
    study = study_of(record, axes, epoch, outlier_trials(history, epoch))
    return [
        partial(_slice, study, name, record.metric.label, describe_condition(axes[path].when))
        for path, name in short_names(axes).items()
        if sum(name in trial.params for trial in study.trials) >= 2
    ]


def _slice(study: optuna.Study, name: str, metric: str, condition: str = "") -> Figure:
    """condition: of the axis, in words."""
    axes: Any = optuna_plots.plot_slice(study, params=[name], target_name=metric)
    axes.set_xlabel(name + condition)
    have = [trial for trial in study.trials if name in trial.params]
    best = _best(have, study.direction)
    is_choice = isinstance(best.distributions[name], CategoricalDistribution)
    place = repr(best.params[name]) if is_choice else best.params[name]
    axes.scatter([place], [best.value], color=BEST, marker="*", s=110, zorder=9)
    axes.xaxis.set_minor_formatter(NullFormatter())
    figure = _adapted(axes.get_figure(), (3.7, 2.6))
    for other in figure.axes[1:]:  # the colour bar of trial numbers
        other.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        other.set_ylabel("order")
    return figure


def _best(trials: list[FrozenTrial], direction: StudyDirection) -> FrozenTrial:
    sign = -1.0 if direction == StudyDirection.MAXIMIZE else 1.0
    return min(trials, key=lambda trial: sign * float(trial.values[0]))


def parallels(history: History, epoch: int) -> list[Callable[[], Figure | None]]:
    """Optuna's parallel-coordinate plots of the best values until an epoch: one for all trials that
    have the same settings, with two settings or more; Optuna leaves out trials that lack one."""
    record, axes = history.record, history.search.space.axes
    study = study_of(record, axes, epoch, outlier_trials(history, epoch))
    alike: dict[tuple[str, ...], int] = {}
    for trial in study.trials:
        names = tuple(name for name in short_names(axes).values() if name in trial.params)
        alike[names] = alike.get(names, 0) + 1
    return [
        partial(_parallel, study, names, record.metric.label)
        for names, count in alike.items()
        if count >= 2 and len(names) >= 2
    ]


def _parallel(study: optuna.Study, names: tuple[str, ...], metric: str) -> Figure:
    alike = optuna.create_study(direction=study.direction)
    alike.add_trials([trial for trial in study.trials if trial.params.keys() == set(names)])
    axes = optuna_plots.plot_parallel_coordinate(alike, target_name=metric)
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


def _named(share: Share, measured: Importance) -> str:
    """The setting, with the number of trials that have it if not all do."""
    has_all = share.num_trials == measured.num_trials
    return share.path if has_all else f"{share.path}\n({share.num_trials} trials)"


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
    axes.set_yticks(range(len(shares)), [_named(share, measured) for share in shares])
    axes.set_xlabel("share of importance; lines: 90 % intervals; grey: may be chance")
    axes.grid(axis="y", visible=False)
    return figure
