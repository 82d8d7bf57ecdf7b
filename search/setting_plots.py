"""The figures of what the settings did: each against the value, all at once, what mattered."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from optuna.visualization import matplotlib as optuna_plots

from search.history import History
from search.importance import SURE, Importance
from search.plots import is_far
from search.study import study_of
from search.svg import COLOURS, GRID, INK, named


def far_trials(history: History, epoch: int) -> list[str]:
    """The labels of those that the plots of settings leave out."""
    metric = history.record.metric
    reached = [trial for trial in history.record.trials if len(trial.curve) >= epoch > 0]
    values = [value for t in reached if (value := t.best(epoch)) is not None]
    pairs = zip(reached, values, strict=True)
    return [trial.label for trial, value in pairs if is_far(value, values, metric)]


def slices(history: History, epoch: int) -> Figure | None:
    """Each setting against the best value until an epoch, by Optuna."""
    study = study_of(history.record, history.search.space.axes, epoch, far_trials(history, epoch))
    if len(study.trials) < 2:
        return None
    grid = optuna_plots.plot_slice(study, target_name=str(history.record.metric))
    first: Axes = grid if isinstance(grid, Axes) else np.ravel(grid)[0]
    return _adapted(first.get_figure(), (7.2, 2.9))


def parallel(history: History, epoch: int) -> Figure | None:
    """All settings of each trial as a line, likewise."""
    study = study_of(history.record, history.search.space.axes, epoch, far_trials(history, epoch))
    if len(study.trials) < 2 or len(history.search.space.axes) < 2:
        return None
    axes = optuna_plots.plot_parallel_coordinate(study, target_name=str(history.record.metric))
    return _adapted(axes.get_figure(), (7.2, 3.4))


def _adapted(figure: Any, size: tuple[float, float]) -> Figure:
    """Optuna's figure in the colours of ours."""
    adapted: Figure = figure
    adapted.set_size_inches(size)
    adapted.suptitle("")
    for axes in adapted.axes:
        axes.set_title("")
        axes.set_facecolor("none")
        axes.tick_params(colors=INK, which="both")
        axes.grid(visible=False)
        axes.xaxis.label.set_color(INK)
        axes.yaxis.label.set_color(INK)
        for spine in axes.spines.values():
            spine.set_color(GRID)
    return adapted


def importances(found: Importance) -> Figure | None:
    """How much each setting mattered, with its interval."""
    if not found.shares:
        return None
    figure = Figure(figsize=(7.2, 0.6 + 0.32 * len(found.shares)))
    axes = figure.subplots()
    shares = found.shares[::-1]
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
    axes.set_xlabel("share of what mattered; lines: 90 % intervals; grey: may be chance")
    axes.grid(axis="y", visible=False)
    return figure
