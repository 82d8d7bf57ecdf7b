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

    def judge(self, number: int, later: float) -> None:
        """Take a trial's value at the next rung; trust this one if enough of them agree."""
        if self.is_trusted is None and number in self.seen:
            self.pairs.append((self.seen[number], later))
            if len(self.pairs) == NUM_PAIRS:
                self.is_trusted = kendall_tau(self.pairs) >= AGREEMENT


class Asha:
    """Told each epoch's value; lower is better. A trial is worth the best of its epochs so far.

    A value that is not finite is worse than any other. Of equal ones the first to arrive is better.
    A trial that skips a rung's epoch is compared there by its next one.
    """

    def __init__(self, rungs: Sequence[int], reduction: int, early: int | None = None) -> None:
        self._rungs = [Rung(epoch) for epoch in rungs]
        if early is not None and rungs:
            self._rungs.insert(0, Rung(early, is_trusted=None))
        self._reduction = reduction
        self._passed: dict[int, int] = {}
        self._best: dict[int, float] = {}
        self._out: list[int] = []

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Whether the trial goes on at once; otherwise it waits, or is out."""
        finite = value if math.isfinite(value) else math.inf
        best = self._best[number] = min(finite, self._best.get(number, math.inf))
        passed = self._passed.get(number, 0)
        if passed == len(self._rungs) or epoch < self._rungs[passed].epoch:
            return True
        self._passed[number] = passed + 1
        rung = self._rungs[passed]
        if passed:
            self._rungs[passed - 1].judge(number, best)
        if not rung.is_trusted:
            rung.seen[number] = best
            return True
        entry = (best, rung.num_arrived, number)
        bisect.insort(rung.waiting, entry)
        rung.num_arrived += 1
        if rung.waiting[0] == entry and self._has_room(rung):
            self._take(rung)
            return True
        self._out += [number for _, _, number in rung.waiting[self._reduction :]]
        del rung.waiting[self._reduction :]
        return False

    def promote(self, *, last_call: bool = False) -> int | None:
        """Take the trial that goes on next, from the highest rung that has room for one.

        At the last call, when no other trial runs or will come, each rung lets at least one go on.
        """
        for rung in reversed(self._rungs):
            if rung.waiting and self._has_room(rung):
                return self._take(rung)
        for rung in self._rungs if last_call else ():
            if rung.waiting and not rung.promoted:
                return self._take(rung)
        return None

    def epochs(self) -> list[int]:
        """Where trials may be stopped, from the lowest rung."""
        return [rung.epoch for rung in self._rungs]

    def waiting(self) -> set[int]:
        """The trials that may still go on."""
        return {number for rung in self._rungs for _, _, number in rung.waiting}

    def pop_out(self) -> list[int]:
        """The trials that will not go on, since this was asked last."""
        out, self._out = self._out, []
        return out

    def close(self) -> None:
        """No trial that waits will go on."""
        for rung in self._rungs:
            rung.waiting.clear()

    def forget(self, number: int) -> None:
        """A trial failed: another one may go on in its place."""
        for rung in self._rungs:
            rung.promoted.discard(number)

    def _has_room(self, rung: Rung) -> bool:
        return len(rung.promoted) < rung.num_arrived // self._reduction

    def _take(self, rung: Rung) -> int:
        _, _, number = rung.waiting.pop(0)
        rung.promoted.add(number)
        return number


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
