"""What one setting came to in a confirmation, against the search and against the defaults."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt
from statistics import fmean, stdev

from search.space.training import Metric
from search.trials.record import TrialRecord

# fmt: off
STUDENT_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)
# fmt: on
"""The 0.975 quantiles for 1 to 30 degrees of freedom.

Source: NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2.
"""


@dataclass(frozen=True)
class Interval:
    """A mean, and the ends of its 95 % interval."""

    mean: float
    low: float
    high: float


def interval(values: Sequence[float]) -> Interval:
    """The 95 % interval of the mean of 2 to 31 values."""
    # Student's t: it is right for as few as two values if they are about normal. The bootstrap
    # needs some twenty: resamples of three values have ten different means, all within their range.
    middle = fmean(values)
    half = STUDENT_T[len(values) - 2] * stdev(values) / sqrt(len(values))
    return Interval(middle, middle - half, middle + half)


@dataclass(frozen=True)
class SeedSummary:
    """One setting's trainings, each with a seed of its own."""

    trial: TrialRecord
    """Of the search."""
    trainings: list[TrialRecord]
    metric: Metric

    def values(self) -> dict[int, float]:
        """The best value of each training that completed, by its seed."""
        best = {_seed(made): made.best() for made in self._completed()}
        return {seed: value for seed, value in best.items() if value is not None}

    def failed(self) -> list[TrialRecord]:
        """The trainings that failed; the mean is over the others."""
        return [made for made in self.trainings if made.state == "failed"]

    def mean(self) -> float | None:
        """None if no training completed."""
        values = self.values().values()
        return fmean(values) if values else None

    def spread(self) -> float | None:
        """The standard deviation over seeds; None for fewer than two."""
        values = self.values().values()
        return stdev(values) if len(values) > 1 else None

    def rank(self) -> float:
        """Smaller is better; a setting without a mean cannot win."""
        mean = self.mean()
        return inf if mean is None else self.metric.cost(mean)

    def best(self) -> TrialRecord | None:
        """The best training that completed."""
        values = self.values()
        completed = [made for made in self._completed() if _seed(made) in values]
        return min(completed, key=lambda made: self.metric.cost(values[_seed(made)]), default=None)

    def optimism(self) -> float | None:
        """By how much the search's value was better than the mean; negative if it was worse."""
        promised, mean = self.trial.best(), self.mean()
        return None if promised is None or mean is None else self._gain(promised, mean)

    def gain(self, defaults: "SeedSummary") -> Interval | None:
        """How much better than the defaults, paired by seed; None for fewer than two pairs."""
        ours, theirs = self.values(), defaults.values()
        pairs = [self._gain(ours[seed], theirs[seed]) for seed in ours if seed in theirs]
        return interval(pairs) if len(pairs) > 1 else None

    def _gain(self, value: float, over: float) -> float:
        return self.metric.cost(over) - self.metric.cost(value)

    def _completed(self) -> list[TrialRecord]:
        return [made for made in self.trainings if made.state == "completed"]


def _seed(made: TrialRecord) -> int:
    assert made.seed is not None  # what is confirmed has one
    return made.seed
