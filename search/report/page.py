"""The page of a report: one file of HTML that loads nothing, in light, in dark and on paper.

`page.html` is its template and `page.css` its style.
"""

import base64
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from search.report import figures, setting_figures, wording
from search.report.confirmation import describe_summary
from search.report.importance import common_epoch, describe_importance, importance
from search.report.optuna_study import trials_off_axes
from search.report.svg import as_svg
from search.space.budget import clock_of
from search.space.space import axis_values
from search.trials.history import History, Span
from search.trials.record import TrialRecord
from search.trials.seed_summary import SeedSummary

HERE = Path(__file__).parent


def page_of(history: History) -> str:
    """The whole page."""
    pages = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined)
    css = Markup((HERE / "page.css").read_text(encoding="utf-8"))  # noqa: S704  (our own file)
    return pages.get_template("page.html").render(
        css=css,
        history=history,
        record=history.record,
        name=history.search.folder.name,
        label=history.record.metric.label,
        now=clock_of(history.state.clock.now),
        has_work=history.state.has_work(),
        axis_values=axis_values,
        describe_summary=describe_summary,
        best_title=best_title(history),
        best_settings=best_settings(history),
        leader=history.leader(),
        first=_confirmed_best(history),
        outcomes=wording.outcomes(history),
        wording=wording,
        **_figures(history),
        **_tables(history),
        **_commands(history),
    )


def best_title(history: History) -> str:
    """The best trial and its value: by the confirmation if there is one, as in `best/`."""
    first = _confirmed_best(history)
    if first is None and history.state.has_work() and (now := history.record.front_runner()):
        return f"trial {now.number} so far, {history.record.metric.label} {now.best():.6f}"
    if first is None:
        return wording.headline(history.record)
    return f"trial {first.trial.number}, mean {history.record.metric.label} {first.mean():.6f}"


def best_settings(history: History) -> str:
    """The settings of the best trial."""
    first = _confirmed_best(history)
    leader = history.leader() if first is None else first.trial
    return "" if leader is None else axis_values(leader.settings)


def _confirmed_best(history: History) -> SeedSummary | None:
    confirmation = history.confirmation
    if confirmation is None or not confirmation.is_whole() or confirmation.leader() is None:
        return None
    return confirmation.summaries()[0]


def _figures(history: History) -> dict[str, Any]:
    record, axes = history.record, history.search.space.axes
    epoch, measured = common_epoch(record), importance(record, axes)
    lanes = figures.lanes_of(history.spans())
    return {
        "best_so_far": _drawn(figures.best_so_far(history)),
        "curves": _svg(lambda: figures.curves(history)),
        "importances": _svg(lambda: setting_figures.importances(measured)),
        "mattered": describe_importance(measured).partition("  ")[2].strip(),
        "slices": _drawn(setting_figures.slices(history, epoch)),
        "epoch": epoch,
        "outliers": setting_figures.outlier_trials(history, epoch),
        "off_axes": [trial.label for trial in trials_off_axes(record, axes)],
        "parallels": _drawn(setting_figures.parallels(history, epoch)),
        "timeline": _svg(lambda: figures.timeline(history)) if lanes else "",
        "idle": _idle(lanes) if lanes else "",
    }


def _idle(lanes: list[tuple[str, list[Span]]]) -> str:
    begin = min(span.begin for _, spans in lanes for span in spans)
    end = max(span.end for _, spans in lanes for span in spans)
    busy = sum(span.end - span.begin for _, spans in lanes for span in spans)
    share = busy / max((end - begin) * len(lanes), 1e-9)
    return f"Idle between the first begin and the last end: {1 - share:.0%} of {len(lanes)} places."


def _tables(history: History) -> dict[str, Any]:
    record = history.record
    captions = record.trainable.pictures()
    best = history.search.folder / "best"
    return {
        "failures": _failures(record.trials),
        "has_pictures": bool(captions),
        "pictures": [
            (caption, base64.b64encode((best / name).read_bytes()).decode())
            for name, caption in captions.items()
            if (best / name).is_file()
        ],
    }


def _failures(trials: list[TrialRecord]) -> list[list[str]]:
    """The number of trials, their labels and the error, for each error."""
    causes: dict[str, list[str]] = {}
    for trial in trials:
        if trial.state == "failed":
            causes.setdefault(trial.error, []).append(trial.label)
    return [[str(len(who)), ", ".join(who), why] for why, who in causes.items()]


def _commands(history: History) -> dict[str, str | None]:
    """Parts of the commands that the page shows."""
    trainable, folder = history.record.trainable, history.search.folder
    config = folder / "best" / "config.yaml"
    budget = {part: value for part, value in history.state.spending.budget if value is not None}
    return {
        "folder": shlex.quote(str(folder)),
        "rerun": trainable.rerun(shlex.quote(str(config))) if config.exists() else None,
        "twice": "".join(f" --{p.replace('_', '-')} {2 * value}" for p, value in budget.items()),
    }


def _svg(draw: Callable[[], Figure | None]) -> Markup:
    return Markup(as_svg(draw) or "")  # noqa: S704  (matplotlib escapes the text in it)


def _drawn(draws: Sequence[Callable[[], Figure | None]]) -> list[Markup]:
    return [svg for draw in draws if (svg := _svg(draw))]
