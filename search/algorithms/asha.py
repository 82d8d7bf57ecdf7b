"""ASHA, asynchronous successive halving: which trials are promoted beyond a rung.

One of every `reduction` trials that reach a rung is promoted, the best of those paused there. So
the first trial to arrive is not promoted at once, and a series of ever better trials is not
promoted as a whole.

Source: Li et al., A System for Massively Parallel Hyperparameter Tuning, algorithm 2 (promotion).
We depart in two ways: the number of promotions is limited by count, while in the paper a trial that
drops out of the best after its promotion makes room for another; and only the best `reduction`
trials stay paused at a rung, as each of them keeps a checkpoint on disk.
"""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

from search.journal.events import Arrival

NUM_PAIRS = 16
"""Trials by which an early rung is assessed."""
AGREEMENT = 0.7
"""Kendall's tau that an early rung must have with the next one."""


@dataclass
class Rung:
    """An epoch at which trials are compared."""

    epoch: int
    is_trusted: bool | None = True
    """Whether it stops trials; None for an early rung that is not assessed yet."""
    seen: dict[int, float] = field(default_factory=dict)
    """Values of the trials by which it is assessed."""
    pairs: list[tuple[float, float]] = field(default_factory=list)
    """Values of these trials at this rung and at the next one."""
    num_arrived: int = 0
    promoted: set[int] = field(default_factory=set)
    paused: list[tuple[float, int, int]] = field(default_factory=list)
    """Value, order of arrival and number of each trial that is paused here, the best first."""

    def pair(self, number: int, later: float) -> tuple[float, float] | None:
        """A trial's values at this rung and at the next, if it helps to assess this rung."""
        if self.is_trusted is None and number in self.seen:
            return self.seen[number], later
        return None


class Asha:
    """ASHA over values where lower is better. A trial is compared by the best of its epochs so far.

    A value that is not finite is worse than any other. Of equal values the first to arrive is
    better. A trial that skips a rung's epoch is compared there by its next epoch.

    `decide` and `next` apply the rules and change nothing; `record`, `take`, `close` and `forget`
    apply decisions, whatever rules made them.
    """

    def __init__(self, rungs: Sequence[int], reduction: int, early: int | None = None) -> None:
        self._rungs = [Rung(epoch) for epoch in rungs]
        if early is not None and rungs:
            self._rungs.insert(0, Rung(early, is_trusted=None))
        self._reduction = reduction
        self._passed: dict[int, int] = {}
        """The epoch of the last rung that a trial reached."""
        self._best: dict[int, float] = {}

    # Decisions.

    def decide(self, number: int, epoch: int, value: float) -> Arrival | None:
        """The decision about a trial after an epoch; None between rungs."""
        passed = self._passed.get(number, 0)
        rung = next((rung for rung in self._rungs if rung.epoch > passed), None)
        if rung is None or epoch < rung.epoch:
            return None
        best = self._best_with(number, value)
        trusts = self._trusts(number, best)
        if not rung.is_trusted:
            return Arrival(rung=rung.epoch, is_compared=False, goes_on=True, out=[], trusts=trusts)
        entry = (best, rung.num_arrived, number)
        paused = sorted([*rung.paused, entry])
        goes_on = paused[0] == entry and self._has_room(rung, rung.num_arrived + 1)
        out = [] if goes_on else [number for _, _, number in paused[self._reduction :]]
        return Arrival(rung=rung.epoch, is_compared=True, goes_on=goes_on, out=out, trusts=trusts)

    def next(self, *, last_call: bool = False) -> tuple[int, int] | None:
        """The next trial to promote and the epoch of its rung, from the highest rung that allows
        a promotion.

        last_call: no other trial runs or will begin; each rung then promotes at least one trial.
        """
        for rung in reversed(self._rungs):
            if rung.paused and self._has_room(rung, rung.num_arrived):
                return rung.paused[0][2], rung.epoch
        for rung in self._rungs if last_call else ():
            if rung.paused and not rung.promoted:
                return rung.paused[0][2], rung.epoch
        return None

    # Changes.

    def record(self, number: int, value: float, arrival: Arrival | None) -> None:
        """Record a trial's value after its next epoch; arrival: the decision if it is at a rung."""
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
            bisect.insort(rung.paused, entry)
        rung.paused = [entry for entry in rung.paused if entry[2] not in arrival.out]

    def take(self, number: int, epoch: int) -> None:
        """Promote a trial that is paused at the rung of an epoch."""
        rung = self._rung(epoch)
        rung.paused = [entry for entry in rung.paused if entry[2] != number]
        rung.promoted.add(number)

    def close(self) -> None:
        """Promote no paused trial any more."""
        for rung in self._rungs:
            rung.paused.clear()

    def forget(self, number: int) -> None:
        """A trial failed: another one may be promoted in its place."""
        for rung in self._rungs:
            rung.promoted.discard(number)

    # For callers without a journal: decide and apply in one call.

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Decide about a trial after an epoch, and apply it; returns whether it keeps running."""
        arrival = self.decide(number, epoch, value)
        self.record(number, value, arrival)
        return arrival is None or arrival.goes_on

    def promote(self, *, last_call: bool = False) -> int | None:
        """Promote the next trial, if there is one, and return its number."""
        if (promotion := self.next(last_call=last_call)) is None:
            return None
        self.take(*promotion)
        return promotion[0]

    # Queries.

    def epochs(self) -> list[int]:
        """The epochs of all rungs, ascending."""
        return [rung.epoch for rung in self._rungs]

    def paused(self, epoch: int | None = None) -> set[int]:
        """The trials that are paused at any rung, or at the rung of an epoch."""
        rungs = [rung for rung in self._rungs if epoch in (None, rung.epoch)]
        return {number for rung in rungs for _, _, number in rung.paused}

    def _best_with(self, number: int, value: float) -> float:
        """The best value of a trial, its next epoch included."""
        finite = value if math.isfinite(value) else math.inf
        return min(finite, self._best.get(number, math.inf))

    def _rung(self, epoch: int) -> Rung:
        """The rung of an epoch, added if it does not exist: a journal may have other rungs."""
        at = bisect.bisect_left(self.epochs(), epoch)
        if at == len(self._rungs) or self._rungs[at].epoch != epoch:
            self._rungs.insert(at, Rung(epoch))
        return self._rungs[at]

    def _below(self, number: int) -> Rung:
        """The last rung that a trial reached; before the first rung, one that nothing assesses."""
        return self._rung(self._passed[number]) if number in self._passed else Rung(0)

    def _trusts(self, number: int, best: float) -> bool | None:
        """Whether to trust the rung below, if this trial completes its assessment; else None."""
        below = self._below(number)
        pair = below.pair(number, best)
        if pair is None or len(below.pairs) + 1 < NUM_PAIRS:
            return None
        return kendall_tau([*below.pairs, pair]) >= AGREEMENT

    def _judge(self, number: int, best: float, trusts: bool | None) -> None:
        below = self._below(number)
        if (pair := below.pair(number, best)) is not None:
            below.pairs.append(pair)
        if trusts is not None:
            below.is_trusted = trusts

    def _has_room(self, rung: Rung, num_arrived: int) -> bool:
        return len(rung.promoted) < num_arrived // self._reduction


def kendall_tau(pairs: Sequence[tuple[float, float]]) -> float:
    """Kendall's tau-a of two rankings: 1 for equal, -1 for reversed rankings.

    pairs: a value in each ranking. Ties count as neither concordant nor discordant.
    """
    both = list(combinations(pairs, 2))
    signs = [
        ((a > b) - (a < b)) * ((later_a > later_b) - (later_a < later_b))
        for (a, later_a), (b, later_b) in both
    ]
    return sum(signs) / len(both)
