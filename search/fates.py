"""How trials ended, or where they stand, and why, in a few words."""

from collections.abc import Collection

from search.record import Record, TrialRecord


def fates_of(record: Record, rungs: Collection[int], *, is_run: bool) -> dict[int, str]:
    """By the number of the trial: `stopped: 7th of 9 at the rung of epoch 4, 3 went on`.

    is_run: whether anybody runs the search; a trial that seems to run else was cut off.
    """
    orders = {epoch: _order(record, epoch) for epoch in rungs}
    return {trial.number: _fate(trial, record, orders, is_run) for trial in record.trials}


def _fate(trial: TrialRecord, record: Record, orders: dict[int, list[int]], is_run: bool) -> str:
    epoch = len(trial.curve)
    if trial.error:
        return f"{trial.state}: {trial.error}"
    if trial.state in ("stopped", "paused") and epoch in orders:
        return f"{trial.state}: {_place(trial, record, epoch, orders[epoch])}"
    if trial.state in ("running", "waiting") and not is_run:
        return f"cut off after epoch {epoch}" if epoch else "cut off before its first epoch"
    return trial.state


def _order(record: Record, epoch: int) -> list[int]:
    """The trials that have reached a rung by now, the best first."""
    reached = [trial for trial in record.trials if len(trial.curve) >= epoch]
    ranked = sorted(reached, key=lambda trial: record.rank(trial, epoch))
    return [trial.number for trial in ranked]


def _place(trial: TrialRecord, record: Record, epoch: int, order: list[int]) -> str:
    place = order.index(trial.number) + 1
    went_on = sum(len(record.trials[number].curve) > epoch for number in order)
    return f"{_ordinal(place)} of {len(order)} at the rung of epoch {epoch}, {went_on} went on"


def _ordinal(number: int) -> str:
    teens = 10 <= number % 100 < 20
    return f"{number}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"
