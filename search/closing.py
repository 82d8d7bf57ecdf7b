"""What a search came to, in words."""

import shlex
import sys
from pathlib import Path
from typing import Any

from search.importance import Importance, describe_importance
from search.record import Record, TrialRecord
from search.searcher import axis_values
from search.trainable import Trainable


def describe_result(winner: TrialRecord, record: Record, mattered: Importance, out: Path) -> str:
    """What won, by how much over the defaults, what mattered, and the command that reruns it."""
    value = winner.best()
    lines = [
        "",
        f"Best      trial {winner.number} ({how_it_ended(winner)}), {record.metric.label} "
        f"{value:.6f}, "
        f"{axis_values(winner.settings)}",
        f"Defaults  {against_defaults(winner, record)}",
        describe_importance(mattered),
        where_saved(record.trainable, out),
    ]
    return "\n".join(lines)


def headline(record: Record) -> str:
    """The trial that a search promotes, and its value."""
    leader = record.leader()
    if leader is None:
        return why_none(record)
    failed = f", failed after epoch {len(leader.curve)}" if leader.state == "failed" else ""
    return f"trial {leader.number}, {record.metric.label} {leader.best():.6f}{failed}"


def how_it_ended(trial: TrialRecord) -> str:
    """In what state a trial is; of one that failed, after which epoch and why."""
    if trial.state != "failed":
        return trial.state
    return f"failed after epoch {len(trial.curve)}: {trial.error}"


def why_none(record: Record) -> str:
    """Why there is no best trial."""
    if not record.trials:
        return "no trial was begun"
    if not any(trial.curve for trial in record.trials):
        return "no trial has finished an epoch"
    return "no trial has come to its end or left a checkpoint"


def first_reason(record: Record) -> str:
    """Of the trials that failed, after a semicolon; nothing if none did."""
    first = next((trial for trial in record.trials if trial.state == "failed"), None)
    return "" if first is None else f"; the first: trial {first.number} {how_it_ended(first)}"


def where_saved(trainable: Trainable[Any], out: Path) -> str:
    """Where the winner and the report are, and the command that reruns the winner."""
    lines = [f"Saved     {out / 'best'}", f"Report    {out / 'report.html'}"]
    rerun = trainable.rerun(shlex.quote(str(out / "best" / "config.yaml")))
    return "\n".join([*lines, *([f"Rerun     {program('python')} {rerun}"] if rerun else [])])


def program(name: str) -> str:
    """How a user who stands here calls a program of this environment."""
    path, here = Path(sys.executable).with_name(name), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else name


def against_defaults(winner: TrialRecord, record: Record) -> str:
    """How much better a trial is than trial 0, at the last epoch that both reached."""
    defaults = record.trials[0]
    epochs = len(defaults.curve)
    # Stopped early, the defaults are compared at the same number of epochs.
    value, best = defaults.best(), winner.best(epochs)
    if winner.number == defaults.number:
        return _only_defaults(record)
    if value is None or best is None:
        told = f"failed: {defaults.error}" if defaults.error else f"{defaults.state}"
        return f"{told}, before the first epoch" if defaults.state != "failed" else told
    is_better = best > value if record.metric.is_max else best < value
    by = f"{abs(best - value) / abs(value):.1%}" if value else f"{abs(best - value):.6f}"
    then = "" if epochs >= len(winner.curve) else " by then"
    return (
        f"{record.metric.label} {value:.6f} (trial 0, {defaults.state} after epoch {epochs}); "
        f"the best had {best:.6f}{then}, {by} {'better' if is_better else 'worse'}"
    )


def _only_defaults(record: Record) -> str:
    """What to say where the defaults won: whether nothing was better, or was not trained whole."""
    first = record.front_runner()
    if first is None or first.number == 0:
        return "nothing that was tried is better"
    return (
        f"the best of those that completed; trial {first.number} had {record.metric.label} "
        f"{first.best():.6f} ({first.state} after epoch {len(first.curve)})"
    )
