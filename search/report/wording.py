"""The texts about the outcome of a search and of its trials."""

import shlex
from collections.abc import Collection
from pathlib import Path
from typing import Any

from search.machine.programs import program
from search.report.importance import Importance, describe_importance
from search.space.space import axis_values
from search.space.training import Trainable
from search.trials.history import History
from search.trials.record import Record, TrialRecord


def describe_result(winner: TrialRecord, record: Record, importance: Importance, out: Path) -> str:
    """The winner, its gain over the defaults, the importance, and the command that reruns it."""
    value = winner.best()
    lines = [
        "",
        f"Best      trial {winner.number} ({how_it_ended(winner)}), {record.metric.label} "
        f"{value:.6f}, "
        f"{axis_values(winner.settings)}",
        f"Defaults  {against_defaults(winner, record)}",
        describe_importance(importance),
        where_saved(record.trainable, out),
    ]
    return "\n".join(lines)


def headline(record: Record) -> str:
    """The trial that a search promotes, and its value."""
    leader = record.leader()
    if leader is None:
        return why_no_best(record)
    failed = f", failed after epoch {len(leader.curve)}" if leader.state == "failed" else ""
    return f"trial {leader.number}, {record.metric.label} {leader.best():.6f}{failed}"


def how_it_ended(trial: TrialRecord) -> str:
    """The state of a trial; if it failed, also the epoch and the error."""
    if trial.state != "failed":
        return trial.state
    return f"failed after epoch {len(trial.curve)}: {trial.error}"


def why_no_best(record: Record) -> str:
    """Why there is no best trial."""
    if not record.trials:
        return "no trial has begun"
    if not any(trial.curve for trial in record.trials):
        return "no trial has finished an epoch"
    return "no trial has ended or left a checkpoint"


def first_reason(record: Record) -> str:
    """The error of the first failed trial, after a semicolon; empty if none failed."""
    first = next((trial for trial in record.trials if trial.state == "failed"), None)
    return "" if first is None else f"; the first: trial {first.number} {how_it_ended(first)}"


def where_saved(trainable: Trainable[Any], out: Path) -> str:
    """Where the winner and the report are, and the command that reruns the winner."""
    lines = [f"Saved     {out / 'best'}", f"Report    {out / 'report.html'}"]
    rerun = trainable.rerun(shlex.quote(str(out / "best" / "config.yaml")))
    return "\n".join([*lines, *([f"Rerun     {program('python')} {rerun}"] if rerun else [])])


def against_defaults(winner: TrialRecord, record: Record) -> str:
    """How much better a trial is than trial 0, at the last epoch of trial 0."""
    defaults = record.trials[0]
    epochs = len(defaults.curve)
    # If the defaults were stopped early, both are compared after the same number of epochs.
    value, best = defaults.best(), winner.best(epochs)
    if winner.number == defaults.number:
        return _only_defaults(record)
    if value is None or best is None:
        outcome = f"failed: {defaults.error}" if defaults.error else f"{defaults.state}"
        return outcome if defaults.state == "failed" else f"{outcome}, before the first epoch"
    is_better = record.metric.is_better(best, value)
    by = f"{abs(best - value) / abs(value):.1%}" if value else f"{abs(best - value):.6f}"
    then = "" if epochs >= len(winner.curve) else " by then"
    return (
        f"{record.metric.label} {value:.6f} (trial 0, {defaults.state} after epoch {epochs}); "
        f"the best had {best:.6f}{then}, {by} {'better' if is_better else 'worse'}"
    )


def _only_defaults(record: Record) -> str:
    """The text if the defaults won: no trial was better, or the better ones did not complete."""
    first = record.front_runner()
    if first is None or first.number == 0:
        return "no trial is better"
    return (
        f"the best of those that completed; trial {first.number} had {record.metric.label} "
        f"{first.best():.6f} ({first.state} after epoch {len(first.curve)})"
    )


def outcomes(history: History) -> dict[int, str]:
    """The outcome or present state of each trial, by its number."""
    return outcomes_of(history.record, history.state.asha.epochs(), is_run=history.is_run)


def outcomes_of(record: Record, rungs: Collection[int], *, is_run: bool) -> dict[int, str]:
    """By the number of the trial: `stopped: 7th of 9 at the rung of epoch 4, 3 promoted`.

    is_run: whether a command runs the search; if not, trials in state `running` were cut off.
    """
    orders = {epoch: _order(record, epoch) for epoch in rungs}
    return {trial.number: _outcome(trial, record, orders, is_run) for trial in record.trials}


def _outcome(trial: TrialRecord, record: Record, orders: dict[int, list[int]], is_run: bool) -> str:
    epoch = len(trial.curve)
    if trial.error:
        return f"{trial.state}: {trial.error}"
    if trial.state in ("stopped", "paused") and epoch in orders:
        return f"{trial.state}: {_place(trial, record, epoch, orders[epoch])}"
    if trial.state in ("running", "waiting") and not is_run:
        return f"cut off after epoch {epoch}" if epoch else "cut off before its first epoch"
    return trial.state


def _order(record: Record, epoch: int) -> list[int]:
    """The trials that have reached a rung so far, the best first."""
    reached = [trial for trial in record.trials if len(trial.curve) >= epoch]
    ranked = sorted(reached, key=lambda trial: trial.rank(epoch))
    return [trial.number for trial in ranked]


def _place(trial: TrialRecord, record: Record, epoch: int, order: list[int]) -> str:
    place = order.index(trial.number) + 1
    promoted = sum(len(record.trials[number].curve) > epoch for number in order)
    return f"{_ordinal(place)} of {len(order)} at the rung of epoch {epoch}, {promoted} promoted"


def _ordinal(number: int) -> str:
    teens = 10 <= number % 100 < 20
    return f"{number}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"
