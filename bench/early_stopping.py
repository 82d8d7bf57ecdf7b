"""How often ASHA stops what would have been among the best, by its grace and its reduction.

Replays searches over the full curves of `early_stopping.csv`: the settings begin in random orders,
our ASHA judges them at its rungs, and what never went on from one (here: was stopped) is compared
with how it would have ended. The peer is to stop nothing and to train fewer settings, in full, for
the same epochs.

StepLR does not know when a training ends, so the first epochs of a curve are a shorter training in
full: the table answers for those, too.

    python -m bench.early_stopping
"""

import csv
import heapq
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from statistics import fmean

from bench.full_curves import AXES, SEED, TABLE
from bench.measure import parse_arguments, record, spread
from search.algorithms import asha
from search.space import space

GRACES = (1, 2, 3, 4, 6, 8)
REDUCTIONS = (2, 3, 4)
LENGTHS = (8, 12, 16)
NUM_ORDERS = 1000
AT_ONCE = 4
NUM_HALVES = 25
Pair = tuple[int, int]
RECORDED: tuple[Pair, ...] = ((2, 3), (3, 3), (4, 3), (4, 2))
JITTER = 0.05
"""How much longer or shorter an epoch may take, as a share."""


@dataclass(frozen=True)
class Curve:
    """A setting's training, in full."""

    step_epochs: int
    """After so many epochs the learning rate steps down for the first time."""
    losses: tuple[float, ...]
    """On the validation samples, after each epoch."""

    @property
    def best(self) -> float:
        return min(self.losses)

    def stepped_by(self, epoch: int) -> bool:
        """Whether that epoch already had the lower learning rate."""
        return epoch > self.step_epochs


@dataclass(frozen=True)
class Search:
    """The result of a replayed search: the epochs that each setting was trained for."""

    trained: dict[int, int]
    num_epochs: int
    """Of a training in full."""

    @property
    def completed(self) -> list[int]:
        return [setting for setting, epochs in self.trained.items() if epochs == self.num_epochs]

    @property
    def spent(self) -> int:
        return sum(self.trained.values())


@dataclass(frozen=True)
class Verdict:
    """The results of a grace and a reduction, as shares of all orders together."""

    grace: int
    reduction: int
    best_stopped: float
    """Of the best tenth, those that were stopped."""
    very_best_stopped: float
    """Of the orders, those in which the very best setting was stopped."""
    spent: float
    """Of the epochs that training all settings in full would take."""
    gain: float
    """How many of the best tenth complete, in terms of the peer for as many epochs."""
    excess: float
    """By how much the best that completed is above the very best, on average."""
    peer_excess: float
    """The same, where the first settings are trained in full until as many epochs are spent."""
    before_step: float
    """Of the best tenth's judgements before its first step-down, those that stopped it."""
    after_step: float
    """Of those after it."""
    stops_before_step: float
    """Of all that stopped one of the best tenth, those before its first step-down."""


def main() -> None:
    arguments = parse_arguments(__doc__)
    curves = read_table(TABLE)
    show_places(curves)
    show("one at a time", list(all_verdicts(curves, 1)))
    found = {}
    for epochs in LENGTHS:
        found[epochs] = list(all_verdicts(cut(curves, epochs), AT_ONCE))
        show(f"{AT_ONCE} at a time, trainings of {epochs} epochs", found[epochs])
    halves = {pair: gains_of_halves(curves, *pair) for pair in RECORDED}
    print("\nGain in random halves of the settings, by grace and reduction")
    for pair, gains in halves.items():
        print(pair, spread(gains, 2))
    record(arguments, f"{told(found, halves)}; {told_places(curves, 6)}")


def read_table(path: Path) -> list[Curve]:
    with path.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    steps = AXES.index("schedule.step_epochs")
    return [Curve(int(row[steps]), tuple(map(float, row[len(AXES) :]))) for row in rows]


def cut(curves: Sequence[Curve], epochs: int) -> list[Curve]:
    return [Curve(curve.step_epochs, curve.losses[:epochs]) for curve in curves]


def num_epochs(curves: Sequence[Curve]) -> int:
    return len(curves[0].losses)


def best_tenth(curves: Sequence[Curve]) -> list[int]:
    """The settings with the lowest losses of any epoch, the best one first."""
    ranked = sorted(range(len(curves)), key=lambda setting: curves[setting].best)
    return ranked[: max(round(len(curves) / 10), 1)]


def all_verdicts(curves: Sequence[Curve], at_once: int) -> Iterator[Verdict]:
    """Every pair meets the same orders."""
    for reduction in REDUCTIONS:
        for grace in GRACES:
            if grace < num_epochs(curves):
                yield verdict(curves, grace, reduction, at_once, list(orders(len(curves))))


def orders(count: int) -> Iterator[list[int]]:
    rng = random.Random(SEED)  # noqa: S311 (the same orders each time)
    for _ in range(NUM_ORDERS):
        yield rng.sample(range(count), count)


def verdict(
    curves: Sequence[Curve],
    grace: int,
    reduction: int,
    at_once: int,
    orders: Sequence[Sequence[int]],
) -> Verdict:
    rng = random.Random(SEED)  # noqa: S311 (the same orders each time)
    rules = space.Asha(grace_epochs=grace, reduction=reduction)
    stops = space.rungs_of(rules, num_epochs(curves)).stops
    searches = [replay(curves, order, stops, reduction, at_once, rng) for order in orders]
    best = best_tenth(curves)
    ended = [(curves[n], search.trained[n]) for search in searches for n in best]
    judged = [
        (epoch < epochs, curve.stepped_by(epoch))  # whether it went on, and had stepped down
        for curve, epochs in ended
        for epoch in stops
        if epoch <= epochs
    ]
    before = [not went_on for went_on, stepped in judged if not stepped]
    after = [not went_on for went_on, stepped in judged if stepped]
    stopped = share([epochs < num_epochs(curves) for _, epochs in ended])
    spent = fmean(search.spent for search in searches) / len(curves) / num_epochs(curves)
    return Verdict(
        grace=grace,
        reduction=reduction,
        best_stopped=stopped,
        very_best_stopped=share([best[0] not in search.completed for search in searches]),
        spent=spent,
        gain=(1 - stopped) / spent,
        excess=fmean(excess(curves, search.completed) for search in searches),
        peer_excess=fmean(
            excess(curves, order[: search.spent // num_epochs(curves)])
            for search, order in zip(searches, orders, strict=True)
        ),
        before_step=share(before),
        after_step=share(after),
        stops_before_step=sum(before) / max(sum(before) + sum(after), 1),
    )


def gains_of_halves(curves: Sequence[Curve], grace: int, reduction: int) -> list[float]:
    """Over random halves of the settings, as another 64 would have had other best ones."""
    rng = random.Random(SEED)  # noqa: S311 (the same orders each time)
    count = len(curves) // 2
    gains = []
    for _ in range(NUM_HALVES):
        half = rng.sample(curves, count)
        some = [rng.sample(range(count), count) for _ in range(NUM_ORDERS // NUM_HALVES)]
        gains.append(verdict(half, grace, reduction, AT_ONCE, some).gain)
    return gains


def share(happened: Sequence[bool]) -> float:
    """NaN of nothing."""
    return sum(happened) / len(happened) if happened else math.nan


def excess(curves: Sequence[Curve], completed: Iterable[int]) -> float:
    very_best = min(curve.best for curve in curves)
    return min(curves[setting].best for setting in completed) / very_best - 1


def replay(
    curves: Sequence[Curve],
    order: Sequence[int],
    stops: Sequence[int],
    reduction: int,
    at_once: int,
    rng: random.Random,
) -> Search:
    """One search: so many settings train side by side, from rung to rung, begun in this order."""
    last = num_epochs(curves)
    until = dict(pairwise((0, *stops, last)))
    scheduler = asha.Asha(stops, reduction)
    waiting = list(reversed(order))
    trained = dict.fromkeys(order, 0)
    arrivals: list[tuple[float, int]] = []  # when, and which setting
    now = 0.0

    def train(setting: int) -> None:
        epochs = until[trained[setting]] - trained[setting]
        takes = epochs * rng.uniform(1 - JITTER, 1 + JITTER)
        heapq.heappush(arrivals, (now + takes, setting))

    def next_setting() -> int | None:
        if (promoted := scheduler.promote()) is not None:
            return promoted
        if waiting:
            return waiting.pop()
        return None if arrivals else scheduler.promote(last_call=True)

    while True:
        while len(arrivals) < at_once and (setting := next_setting()) is not None:
            train(setting)
        if not arrivals:
            return Search(trained, last)
        now, setting = heapq.heappop(arrivals)
        epoch = trained[setting] = until[trained[setting]]
        if epoch < last and scheduler.report(setting, epoch, curves[setting].losses[epoch - 1]):
            train(setting)


def places_gained(curves: Sequence[Curve], epoch: int) -> dict[bool, list[int]]:
    """Places won from an epoch's ranking to the last one, by whether the rate had stepped down."""
    then = sorted(curve.losses[epoch - 1] for curve in curves)
    best = sorted(curve.best for curve in curves)
    gained: dict[bool, list[int]] = {True: [], False: []}
    for curve in curves:
        places = then.index(curve.losses[epoch - 1]) - best.index(curve.best)
        gained[curve.stepped_by(epoch)].append(places)
    return gained


def show_places(curves: Sequence[Curve]) -> None:
    print("Places gained until the end, on average, and by how many settings")
    for epoch in range(min(curve.step_epochs for curve in curves) + 1, num_epochs(curves)):
        print(told_places(curves, epoch))


def told_places(curves: Sequence[Curve], epoch: int) -> str:
    gained = places_gained(curves, epoch)
    stepped, others = (f"{fmean(g or [math.nan]):+.1f} ({len(g)})" for g in gained.values())
    return f"after epoch {epoch}, stepped down {stepped}, not yet {others}"


def show(title: str, verdicts: Sequence[Verdict]) -> None:
    names = [field.name for field in fields(Verdict)]
    print(f"\n{title}")
    print("  ".join(name.replace("_", " ") for name in names))
    for found in verdicts:
        cells = [getattr(found, name) for name in names]
        texts = [
            f"{c:d}" if isinstance(c, int) else f"{c:.2f}" if name == "gain" else f"{c:.1%}"
            for name, c in zip(names, cells, strict=True)
        ]
        print("  ".join(t.rjust(len(n)) for n, t in zip(names, texts, strict=True)), flush=True)


def told(found: Mapping[int, Sequence[Verdict]], halves: Mapping[Pair, Sequence[float]]) -> str:
    """The recorded pairs at every length, and how much the gain depends on the settings drawn."""
    texts = []
    for grace, reduction in RECORDED:
        shares = [
            f"{v.best_stopped:.0%} for {v.spent:.0%} of {epochs}"
            for epochs, verdicts in found.items()
            for v in verdicts
            if (v.grace, v.reduction) == (grace, reduction)
        ]
        gain = spread(halves[grace, reduction], 2)
        texts.append(f"({grace}, {reduction}) {', '.join(shares)}, gain in halves {gain} x")
    return f"(grace, reduction), best tenth stopped for epochs spent: {'; '.join(texts)}"


if __name__ == "__main__":
    main()
