"""The page of a report: one file of HTML that loads nothing, in light, in dark and on paper."""

import base64
import shlex
from collections.abc import Callable, Iterator, Mapping
from html import escape
from pathlib import Path

from matplotlib.figure import Figure

from search.report import figures, setting_figures
from search.report.confirmation import describe_standing
from search.report.importance import common_epoch, describe_importance, importance
from search.report.optuna_study import without_place
from search.report.svg import as_svg
from search.report.wording import (
    against_defaults,
    first_reason,
    headline,
    how_it_ended,
    outcomes,
    why_none,
)
from search.space.budget import Budget, clock_of
from search.space.space import axis_values
from search.trials.confirmation import Confirmation
from search.trials.history import History
from search.trials.record import TrialRecord
from search.trials.seed_summary import Standing

CSS = """
:root { color-scheme: light dark; --ink: #1d2129; --page: #fbfbf9; --card: #ffffff;
  --grid: #d9dbe0; --faint: #ffffff; --quiet: #5d6470; --best: #b36b00;
  --shade: rgb(0 0 0 / .18); }
@media (prefers-color-scheme: dark) { :root { --ink: #e7e9ee; --page: #14161a; --card: #1c1f25;
  --grid: #3a3f49; --faint: #1c1f25; --quiet: #9aa2b1; --best: #f0b54a;
  --shade: rgb(255 255 255 / .22); } }
@media print { :root { --ink: #000; --page: #fff; --card: #fff; --grid: #ccc; --faint: #fff;
  --quiet: #444; --best: #8a5200; } h2 { break-after: avoid; } svg, img, tr { break-inside: avoid; }
  img { max-height: 23cm; object-fit: contain; } section { box-shadow: none; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 4rem; background: var(--page);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.1rem; margin: 0 0 .6rem; }
section { background: var(--card); border: 1px solid var(--grid); border-radius: .6rem;
  padding: 1rem 1.2rem; margin-top: 1.2rem; }
p { margin: .3rem 0; } .quiet { color: var(--quiet); }
.won { font-size: 1.3rem; font-weight: 600; color: var(--best); }
.scroll { overflow-x: auto; background:
  linear-gradient(to right, var(--card), transparent) left / 2rem 100% no-repeat local,
  linear-gradient(to left, var(--card), transparent) right / 2rem 100% no-repeat local,
  linear-gradient(to right, var(--shade), transparent) left / .6rem 100% no-repeat,
  linear-gradient(to left, var(--shade), transparent) right / .6rem 100% no-repeat; }
svg, img { display: block; width: 100%; height: auto; }
img { max-width: 42rem; } .scroll svg { min-width: 30rem; }
.small { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(18rem, 100%), 1fr));
  gap: .6rem; } .small svg { max-width: 28rem; }
svg text { font-family: system-ui, sans-serif !important; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--grid);
  vertical-align: top; } th { color: var(--quiet); font-weight: 500; }
tr.best td { color: var(--best); font-weight: 600; }
code, pre { font: .85rem/1.5 ui-monospace, monospace; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .3rem 0; }
"""
"""Small figures stand side by side, or below each other on a phone; wide ones and tables scroll in
their card there, with a shade where there is more."""


LAST = "Of the best when the search was last ended."
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""The browser is to load nothing, and to run nothing."""


def page_of(history: History) -> str:
    """The whole page."""
    name = history.search.folder.name
    sections = "\n".join(
        f'<section id="{key}"><h2>{escape(title)}</h2>\n{content}\n</section>'
        for key, title, content in _sections(history)
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"<title>{escape(name)}: {escape(won(history))}</title>\n"
        f'<link rel="icon" href="data:,">\n<style>{CSS}</style></head>\n<body>\n'
        f"<h1>{escape(name)}</h1>\n<p class=quiet>{escape(_state(history))}</p>\n"
        f"{sections}\n</body></html>\n"
    )


def _sections(history: History) -> Iterator[tuple[str, str, str]]:
    """Key, title and content of each; one that has nothing to show says why."""
    record, axes = history.record, history.search.space.axes
    epoch = common_epoch(record)
    at_epoch = (
        f"By their best {record.metric.label} until epoch {epoch}, the last that all reached."
    )
    at_epoch = at_epoch if epoch else ""
    if far := setting_figures.far_trials(history, epoch):
        at_epoch += f" Left out, as far worse than the others: {', '.join(far)}."
    if off := [trial.label for trial in without_place(record, axes)]:
        at_epoch += f" Left out, as a value has no place on its axis: {', '.join(off)}."
    yield "best", "The best", _best(history)
    if history.confirmation is not None:
        yield "confirmed", "Confirmed with fresh seeds", _confirmed(history.confirmation)
    none = "No trial has finished an epoch."
    yield "progress", "Best so far", _small(figures.best_so_far(history), none)
    yield "curves", "Learning curves", _figure(lambda: figures.curves(history), none)
    mattered = importance(record, axes)
    told = describe_importance(mattered).partition("  ")[2].strip()
    yield (
        "importance",
        "What mattered",
        _figure(lambda: setting_figures.importances(mattered), "") + _text(told, "quiet"),
    )
    few = "Two trials that reached a rung, or their end, are needed."
    yield (
        "slices",
        "Each setting",
        _small(setting_figures.slices(history, epoch), few) + _text(at_epoch, "quiet"),
    )
    yield (
        "parallel",
        "All settings at once",
        _figure(lambda: setting_figures.parallel(history, epoch), f"{few[:-1]}, and two settings."),
    )
    yield "timeline", "Where and when", _timeline(history)
    yield "failures", "Failures", _failures(record.trials)
    if captions := record.trainable.pictures():
        folder = history.search.folder / "best"
        then = _text(LAST, "quiet") if history.state.has_work() and folder.is_dir() else ""
        yield "predictions", "What the best model sees", then + _pictures(folder, captions)
    yield "trials", "All trials", _trials(history)
    yield "next", "Rerun, resume, go on", _commands(history)


def _state(history: History) -> str:
    record, now = history.record, clock_of(history.state.clock.now)
    stands = "under way" if history.is_run else "cut off: nobody runs it now"
    budget = history.state.spending.budget.trials
    ended = record.num_ended()
    trials = f"{ended} trials" if budget is None else f"{ended} of {budget} trials"
    where = (
        "at its end" if not history.state.has_work() else str(history.state.interrupted or stands)
    )
    return (
        f"Begun {history.search.started}; {trials} ended, {record.num_epochs()} epochs in {now} of "
        f"work; {where}. Judged by {record.metric.label}."
    )


def won(history: History) -> str:
    """The best trial and its value: by the confirmation where there is one, as in `best/`."""
    first = _confirmed_best(history)
    if first is None and history.state.has_work() and (now := history.record.front_runner()):
        return f"trial {now.number} so far, {history.record.metric.label} {now.best():.6f}"
    if first is None:
        return headline(history.record)
    return f"trial {first.trial.number}, mean {history.record.metric.label} {first.mean():.6f}"


def won_with(history: History) -> str:
    """Its settings."""
    first, record = _confirmed_best(history), history.record
    if first is not None:
        return axis_values(first.trial.settings)
    leader = record.front_runner() if history.state.has_work() else record.leader()
    return "" if leader is None else axis_values(leader.settings)


def _confirmed_best(history: History) -> Standing | None:
    confirmation = history.confirmation
    if confirmation is None or not confirmation.is_whole() or confirmation.leader() is None:
        return None
    return confirmation.standings()[0]


def _best(history: History) -> str:
    record = history.record
    leader = record.front_runner() if history.state.has_work() else record.leader()
    if (first := _confirmed_best(history)) is not None:
        assert history.confirmation is not None
        defaults = history.confirmation.defaults()
        return (
            _text(won(history), "won")
            + _text(won_with(history))
            + _text(f"Confirmed: {describe_standing(first, defaults)}", "quiet")
        )
    if leader is None:
        none = f"{why_none(record)}{first_reason(record)}."
        return _text(none[0].upper() + none[1:])
    told = [f"The defaults: {against_defaults(leader, record)}."]
    if history.state.has_work():
        told.append(f"It is {outcomes(history)[leader.number]}; more is to come.")
    elif leader.number and (first_of_all := record.front_runner()) not in (leader, None):
        assert first_of_all is not None
        told.append(
            f"Trial {first_of_all.number} had {first_of_all.best():.6f}, but only one that "
            f"completed can be repeated whole."
        )
    elif leader.state == "failed":
        told.append(f"No trial has come to its end; this one {how_it_ended(leader)}.")
    if history.search.space.confirm is None:
        told.append("Of one training each: how much of it is luck, a search with confirm tells.")
    return _text(won(history), "won") + _text(won_with(history)) + _text(" ".join(told), "quiet")


def _confirmed(confirmation: Confirmation) -> str:
    defaults = confirmation.defaults()
    done = f"{confirmation.num_done()} of {len(confirmation.points())} trainings are done."
    rows = [describe_standing(standing, defaults) for standing in confirmation.standings()]
    items = "".join(f"<li>{escape(row)}</li>" for row in rows)
    return (
        _text(f"The best mean {confirmation.metric.label} first. {done}", "quiet")
        + f"<ol>{items}</ol>"
    )


def _timeline(history: History) -> str:
    lanes = figures.lanes_of(history.spans())
    if not lanes:
        return _text("No trial has begun.")
    begin = min(span.begin for _, spans in lanes for span in spans)
    end = max(span.end for _, spans in lanes for span in spans)
    busy = sum(span.end - span.begin for _, spans in lanes for span in spans)
    share = busy / max((end - begin) * len(lanes), 1e-9)
    idle = f"Idle between the first begin and the last end: {1 - share:.0%} of {len(lanes)} places."
    return _figure(lambda: figures.timeline(history), "") + _text(idle, "quiet")


def _failures(trials: list[TrialRecord]) -> str:
    causes: dict[str, list[str]] = {}
    for trial in trials:
        if trial.state == "failed":
            causes.setdefault(trial.error, []).append(trial.label)
    if not causes:
        return _text("No trial has failed.")
    rows = [[str(len(who)), ", ".join(who), why] for why, who in causes.items()]
    return _table(["count", "trials", "cause"], rows)


def _pictures(folder: Path, captions: Mapping[str, str]) -> str:
    shown = [
        _text(caption, "quiet") + _image(folder / name, caption)
        for name, caption in captions.items()
        if (folder / name).is_file()
    ]
    return "".join(shown) or _text("They are drawn when a winner is promoted.")


def _image(path: Path, caption: str) -> str:
    content = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{escape(caption)}" src="data:image/png;base64,{content}">'


def _trials(history: History) -> str:
    record = history.record
    leader = record.front_runner() if history.state.has_work() else record.leader()
    ended = outcomes(history)
    rows = []
    for trial in record.trials:
        best = trial.best()
        value = "" if best is None else f"{best:.6f}"
        cells = [trial.label, axis_values(trial.settings), str(len(trial.curve)), value]
        rows.append([*cells, ended[trial.number]])
    marked = [index for index, trial in enumerate(record.trials) if trial is leader]
    headings = ["trial", "settings", "epochs", f"best {record.metric.label}", "end, and why"]
    return _table(headings, rows, marked)


def _commands(history: History) -> str:
    folder = shlex.quote(str(history.search.folder))
    trainable = history.record.trainable
    config = history.search.folder / "best" / "config.yaml"
    rerun = trainable.rerun(shlex.quote(str(config))) if config.exists() else None
    resume = f"python -m search.run --resume {folder}{trainable.option}"
    then = f" ({LAST[0].lower()}{LAST[1:-1]})" if history.state.has_work() else ""
    told = [
        *([(f"The best training again, alone{then}", f"python {rerun}")] if rerun else []),
        *([("Go on where it was ended", resume)] if history.state.has_work() else []),
        ("Go on with twice the budget", f"{resume}{_twice(history.state.spending.budget)}"),
        ("This page again", f"python -m search.report {folder}{trainable.option}"),
        ("In Optuna's dashboard", f"optuna-dashboard {folder}/study.log"),
    ]
    return "".join(_text(what, "quiet") + f"<pre>{escape(how)}</pre>" for what, how in told)


def _twice(budget: Budget) -> str:
    parts = {part.replace("_", "-"): value for part, value in budget if value is not None}
    return "".join(f" --{part} {2 * value}" for part, value in parts.items())


def _figure(draw: Callable[[], Figure | None], none: str) -> str:
    svg = as_svg(draw)
    return f"<div class=scroll>{svg}</div>" if svg else _text(none) if none else ""


def _small(figures: list[Callable[[], Figure | None]], none: str) -> str:
    """Figures that stand side by side where there is room."""
    shown = [svg for draw in figures if (svg := as_svg(draw))]
    return f"<div class=small>{''.join(shown)}</div>" if shown else _text(none)


def _text(text: str, kind: str = "") -> str:
    return f'<p class="{kind}">{escape(text)}</p>'


def _table(headings: list[str], rows: list[list[str]], marked: list[int] | None = None) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join(
        f"<tr{' class=best' if index in (marked or []) else ''}>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in row)
        + "</tr>"
        for index, row in enumerate(rows)
    )
    return f"<div class=scroll><table><tr>{head}</tr>{body}</table></div>"
