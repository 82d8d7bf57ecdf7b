"""Which trials go on beyond a rung: asynchronous successive halving, knowing nothing of Ray.

Of every `reduction` trials that reach a rung one goes on, the best of those that wait there. So a
first arrival has no free pass, and trials that get better and better do not all pass.

Source: Li et al., A System for Massively Parallel Hyperparameter Tuning, algorithm 2, the promoting
kind. We depart in two ways: promotions are rationed by count, where there a trial that is overtaken
after its promotion makes room for another; and only the best `reduction` wait at a rung, as what
waits holds a checkpoint.
"""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

from search.journal.events import Arrival

NUM_PAIRS = 16
"""Trials by which an early rung is judged."""
AGREEMENT = 0.7
"""Kendall's tau that an early rung must have with the next one."""


@dataclass
class Rung:
    """An epoch at which trials are compared."""

    epoch: int
    is_trusted: bool | None = True
    """Whether it stops trials; None for an early rung that is not judged yet."""
    seen: dict[int, float] = field(default_factory=dict)
    """Values of the trials by which it is to be judged."""
    pairs: list[tuple[float, float]] = field(default_factory=list)
    """Of these trials their values here and at the next rung."""
    num_arrived: int = 0
    promoted: set[int] = field(default_factory=set)
    waiting: list[tuple[float, int, int]] = field(default_factory=list)
    """Value, order of arrival and number of those that wait, the best first."""

    def pair(self, number: int, later: float) -> tuple[float, float] | None:
        """A trial's values here and at the next rung, if this one is to be judged by it."""
        if self.is_trusted is None and number in self.seen:
            return self.seen[number], later
        return None


class Asha:
    """Told each epoch's value; lower is better. A trial is worth the best of its epochs so far.

    A value that is not finite is worse than any other. Of equal ones the first to arrive is better.
    A trial that skips a rung's epoch is compared there by its next one.

    `decide` and `next` say what the rules are for, and change nothing; `tell`, `take` and their
    like do what was decided, whatever rules it was decided by.
    """

    def __init__(self, rungs: Sequence[int], reduction: int, early: int | None = None) -> None:
        self._rungs = [Rung(epoch) for epoch in rungs]
        if early is not None and rungs:
            self._rungs.insert(0, Rung(early, is_trusted=None))
        self._reduction = reduction
        self._passed: dict[int, int] = {}
        """The epoch of the rung that a trial was at last."""
        self._best: dict[int, float] = {}

    # What the rules say.

    def decide(self, number: int, epoch: int, value: float) -> Arrival | None:
        """What becomes of a trial after an epoch; None between rungs."""
        passed = self._passed.get(number, 0)
        rung = next((rung for rung in self._rungs if rung.epoch > passed), None)
        if rung is None or epoch < rung.epoch:
            return None
        best = self._best_with(number, value)
        trusts = self._trusts(number, best)
        if not rung.is_trusted:
            return Arrival(rung=rung.epoch, is_compared=False, goes_on=True, out=[], trusts=trusts)
        entry = (best, rung.num_arrived, number)
        waiting = sorted([*rung.waiting, entry])
        goes_on = waiting[0] == entry and self._has_room(rung, rung.num_arrived + 1)
        out = [] if goes_on else [number for _, _, number in waiting[self._reduction :]]
        return Arrival(rung=rung.epoch, is_compared=True, goes_on=goes_on, out=out, trusts=trusts)

    def next(self, *, last_call: bool = False) -> tuple[int, int] | None:
        """The trial that goes on next, and its rung's epoch, from the highest rung that has room.

        At the last call, when no other trial runs or will come, each rung lets at least one go on.
        """
        for rung in reversed(self._rungs):
            if rung.waiting and self._has_room(rung, rung.num_arrived):
                return rung.waiting[0][2], rung.epoch
        for rung in self._rungs if last_call else ():
            if rung.waiting and not rung.promoted:
                return rung.waiting[0][2], rung.epoch
        return None

    # What was decided.

    def tell(self, number: int, value: float, arrival: Arrival | None) -> None:
        """A trial's value after its next epoch, and what was decided where that is a rung."""
        best = self._best[number] = self._best_with(number, value)
        if arrival is None:
            return
        self._judge(number, best, arrival.trusts)
        self._passed[number] = arrival.rung
        rung = self._rung(arrival.rung)
        if not arrival.is_compared:
            rung.is_trusted = None if rung.is_trusted else rung.is_trusted
            rung.seen[number] = best
            return
        rung.is_trusted = True
        entry = (best, rung.num_arrived, number)
        rung.num_arrived += 1
        if arrival.goes_on:
            rung.promoted.add(number)
        else:
            bisect.insort(rung.waiting, entry)
        rung.waiting = [entry for entry in rung.waiting if entry[2] not in arrival.out]

    def take(self, number: int, epoch: int) -> None:
        """A trial that waits at the rung of an epoch goes on."""
        rung = self._rung(epoch)
        rung.waiting = [entry for entry in rung.waiting if entry[2] != number]
        rung.promoted.add(number)

    def close(self) -> None:
        """No trial that waits will go on."""
        for rung in self._rungs:
            rung.waiting.clear()

    def forget(self, number: int) -> None:
        """A trial failed: another one may go on in its place."""
        for rung in self._rungs:
            rung.promoted.discard(number)

    # For who keeps no journal.

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Decide, and do so; whether the trial goes on at once."""
        arrival = self.decide(number, epoch, value)
        self.tell(number, value, arrival)
        return arrival is None or arrival.goes_on

    def promote(self, *, last_call: bool = False) -> int | None:
        """Likewise of the trial that goes on next."""
        if (found := self.next(last_call=last_call)) is None:
            return None
        self.take(*found)
        return found[0]

    # What else may be asked.

    def epochs(self) -> list[int]:
        """Where trials may be stopped, from the lowest rung."""
        return [rung.epoch for rung in self._rungs]

    def waiting(self, epoch: int | None = None) -> set[int]:
        """The trials that may still go on, from any rung or from that of an epoch."""
        rungs = [rung for rung in self._rungs if epoch in (None, rung.epoch)]
        return {number for rung in rungs for _, _, number in rung.waiting}

    def _best_with(self, number: int, value: float) -> float:
        """The best of a trial's epochs, with the next one."""
        finite = value if math.isfinite(value) else math.inf
        return min(finite, self._best.get(number, math.inf))

    def _rung(self, epoch: int) -> Rung:
        """The rung of an epoch, made if these rules have none there."""
        at = bisect.bisect_left(self.epochs(), epoch)
        if at == len(self._rungs) or self._rungs[at].epoch != epoch:
            self._rungs.insert(at, Rung(epoch))
        return self._rungs[at]

    def _below(self, number: int) -> Rung | None:
        """The rung that a trial was at before."""
        passed = self._passed.get(number)
        return None if passed is None else self._rung(passed)

    def _trusts(self, number: int, best: float) -> bool | None:
        """Whether the rung before is to be trusted, where this trial is the last to judge it by."""
        below = self._below(number)
        pair = None if below is None else below.pair(number, best)
        if below is None or pair is None or len(below.pairs) + 1 < NUM_PAIRS:
            return None
        return kendall_tau([*below.pairs, pair]) >= AGREEMENT

    def _judge(self, number: int, best: float, trusts: bool | None) -> None:
        below = self._below(number)
        if below is None:
            return
        if (pair := below.pair(number, best)) is not None:
            below.pairs.append(pair)
        if trusts is not None:
            below.is_trusted = trusts

    def _has_room(self, rung: Rung, num_arrived: int) -> bool:
        return len(rung.promoted) < num_arrived // self._reduction


def kendall_tau(pairs: Sequence[tuple[float, float]]) -> float:
    """How well two orders agree: 1 entirely, 0 not at all, -1 each the other's reverse.

    A pair of trials that are equal in either order counts as neither for nor against (tau-a).
    """
    both = list(combinations(pairs, 2))
    signs = [
        ((a > b) - (a < b)) * ((later_a > later_b) - (later_a < later_b))
        for (a, later_a), (b, later_b) in both
    ]
    return sum(signs) / len(both)
