"""Estimates the duration of a search from the measured pace of its trials; measures nothing."""

import heapq
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from kptrain.config import Settings
from kptrain.data.pack_format import JPEG_SHARE
from kptrain.machine.memory import usable_memory
from kptrain.machine.progress import in_words
from search.algorithms.asha import Asha
from search.plan import confirmed_trainings
from search.space.pace import Pace, Seconds
from search.space.space import Space, max_epochs, rungs_of

Bounds = tuple[int | None, int | None]
"""Limits on the number of trials and on the epochs of all trials together."""
RAY = 6.0
"""The time until the first trials' processes run, as a multiple of the start of one process."""
REPORT = 3.0
"""The time of importance, pictures and report, as a multiple of the start of one process."""
OVERHEAD = 0.1
"""The search's own work after each epoch, on the trials' cores, as a multiple of the same."""


@dataclass(frozen=True)
class Estimate:
    """Seconds of each part of a search."""

    pace: Pace
    around: float
    """The start of Ray, and the pictures and the report after the last trial."""
    trials: Seconds
    """All trials of the search, run in parallel."""
    confirm: Seconds
    """All trainings of the confirmation, run in parallel."""

    @property
    def whole(self) -> Seconds:
        return Seconds.of(self.pace.prepare + self.around) + self.trials + self.confirm

    def describe(self, cache: str) -> str:
        """The lines of the plan; cache: the folder of packs."""
        pace, parts = self.pace, []
        if pace.prepare >= 0.5:  # a shorter time is not worth a mention
            parts.append(f"{in_words(pace.prepare)} to prepare the data")
        parts.append(f"{in_words(self.around)} for Ray and the report")
        parts.append(f"{in_words(self.trials.likely)} for the trials")
        if self.confirm.most:
            parts.append(f"{in_words(self.confirm.likely)} for the confirmation")
        packs = f"Packs     {pace.pack_bytes / 1e9:.2g} GB to be written to {cache}{_offer(pace)}\n"
        return (
            f"{packs if pace.pack_bytes else ''}"
            f"Takes     about {self.whole} on this device: {', '.join(parts)}; an epoch of a trial "
            f"{in_words(pace.epoch.likely)}"
        )


def estimate(space: Space, base: Settings, pace: Pace, at_once: int, gpu: float) -> Estimate:
    """Estimate a search; at_once: trials that run in parallel; gpu: the share that each holds.

    Least: the early rung stops trials from the start. Likely: ASHA stops trials at its other rungs.
    Most: it stops none.
    """
    rungs, reduction = rungs_of(space.asha, max_epochs(space, base)), space.asha.reduction
    lengths, epoch = _lengths(space, base), pace.epoch + Seconds.of(OVERHEAD * pace.process)

    def seconds(rules: Sequence[Asha], budget: Bounds) -> Seconds:
        """Under the rules of the least, the likely and the most."""
        cases = zip(rules, lengths, (epoch.least, epoch.likely, epoch.most), strict=True)
        return Seconds(
            *(makespan(*case[:2], budget, at_once, case[2], pace.start) for case in cases)
        )

    stops_none = Asha((), reduction)
    rules = (Asha(rungs.all(), reduction), Asha(rungs.stops, reduction, rungs.early), stops_none)
    trials = seconds(rules, (space.trials, space.epochs))
    held = at_once * gpu  # by all trials together
    by_gpu = math.inf if space.gpu_hours is None or not held else space.gpu_hours / held
    return Estimate(
        pace,
        (RAY + REPORT) * pace.process,
        trials.at_most(3600 * min(space.hours or math.inf, by_gpu), epoch),
        seconds([stops_none] * 3, (confirmed_trainings(space), None)),
    )


def _offer(pace: Pace) -> str:
    """What to do if the packs are larger than the memory."""
    memory = usable_memory()
    if memory is None or pace.pack_bytes <= memory:
        return ""
    return (
        f", more than the {memory / 1e9:.2g} GB of memory here: each epoch reads from the disk; "
        f"data.pack: jpeg takes about {JPEG_SHARE} of raw pixels"
    )


def _lengths(space: Space, base: Settings) -> tuple[int, int, int]:
    """The epochs of the shortest trial, of one halfway between, and of the longest."""
    axis = space.axes.get(space.trainable.epochs)
    values = [space.trainable.epochs_of(base)]
    if axis is not None:
        values += [int(v) for v in axis.marks()]
    return min(values), round((min(values) + max(values)) / 2), max(values)


def makespan(
    asha: Asha, length: int, bounds: Bounds, workers: int, epoch: float, start: float
) -> float:
    """Seconds until all trials of `length` epochs have ended under `asha`; infinite without bounds.

    epoch: seconds of an epoch; start: seconds to begin a trial, or to resume it after a rung. The
    values of trials are random, with a fixed seed.
    """
    num_trials, epochs_left = (math.inf if bound is None else bound for bound in bounds)
    if math.isinf(num_trials) and math.isinf(epochs_left):
        return math.inf
    draw, begun, now = random.Random(0), 0, 0.0  # noqa: S311 (the same order each time)
    done: dict[int, int] = {}
    running: list[tuple[float, int]] = []

    def run(number: int) -> None:
        """Run a trial up to the next epoch at which it may be stopped."""
        nonlocal epochs_left
        at = done.get(number, 0)
        until = next((stop for stop in asha.epochs() if at < stop < length), length)
        more = int(min(until - at, epochs_left))
        epochs_left -= more
        done[number] = at + more
        heapq.heappush(running, (now + start + more * epoch, number))

    while True:
        while len(running) < workers and epochs_left > 0:
            is_new = begun < num_trials
            number = asha.promote(last_call=not running and not is_new)
            if number is None and not is_new:
                break
            if number is None:
                number, begun = begun, begun + 1
            run(number)
        if not running:
            return now
        now, number = heapq.heappop(running)
        if (
            done[number] < length
            and epochs_left
            and asha.report(number, done[number], draw.random())
        ):
            run(number)
