"""How a trial ended, or where it stands, and why, in a few words."""

from collections.abc import Collection

from search.record import Record, TrialRecord


def fate_of(
    trial: TrialRecord, record: Record, rungs: Collection[int], *, is_run: bool = True
) -> str:
    """`stopped: 7th of 9 at the rung of epoch 4, 3 went on`.

    is_run: whether anybody runs the search; a trial that seems to run else was cut off.
    """
    epoch = len(trial.curve)
    if trial.error:
        return f"{trial.state}: {trial.error}"
    if trial.state in ("stopped", "paused") and epoch in rungs:
        return f"{trial.state}: {_place(trial, record, epoch)}"
    if trial.state in ("running", "waiting") and not is_run:
        return f"cut off after epoch {epoch}" if epoch else "cut off before its first epoch"
    return trial.state


def _place(trial: TrialRecord, record: Record, epoch: int) -> str:
    """Among all trials that have reached a rung by now."""
    reached = [other for other in record.trials if len(other.curve) >= epoch]
    ranked = sorted(reached, key=lambda other: record.rank(other, epoch))
    place = ranked.index(trial) + 1
    went_on = sum(len(other.curve) > epoch for other in reached)
    return f"{_ordinal(place)} of {len(reached)} at the rung of epoch {epoch}, {went_on} went on"


def _ordinal(number: int) -> str:
    teens = 10 <= number % 100 < 20
    return f"{number}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"
