"""The results of one setting in a confirmation, compared with the search and with the defaults."""

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
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float


def interval(values: Sequence[float]) -> Interval:
    """The 95 % interval of the mean of 2 to 31 values."""
    # Student's t holds for as few as two values if they are about normal. The bootstrap needs about
    # twenty: resamples of three values have ten different means, all within their range.
    mean = fmean(values)
    half_width = STUDENT_T[len(values) - 2] * stdev(values) / sqrt(len(values))
    return Interval(mean, mean - half_width, mean + half_width)


@dataclass(frozen=True)
class SeedSummary:
    """The trainings of one setting, each with another seed."""

    trial: TrialRecord
    """The trial of the search that had this setting."""
    trainings: list[TrialRecord]
    metric: Metric

    def values(self) -> dict[int, float]:
        """The best value of each completed training, by its seed."""
        best = {_seed(training): training.best() for training in self._completed()}
        return {seed: value for seed, value in best.items() if value is not None}

    def failed(self) -> list[TrialRecord]:
        """The failed trainings, which the mean leaves out."""
        return [training for training in self.trainings if training.state == "failed"]

    def mean(self) -> float | None:
        """None if no training completed."""
        values = self.values().values()
        return fmean(values) if values else None

    def spread(self) -> float | None:
        """The standard deviation over seeds; None for fewer than two."""
        values = self.values().values()
        return stdev(values) if len(values) > 1 else None

    def rank(self) -> float:
        """A sort key, smaller is better; a setting without a mean comes last."""
        mean = self.mean()
        return inf if mean is None else self.metric.cost(mean)

    def best(self) -> TrialRecord | None:
        """The best completed training."""
        return min(self._completed(), key=TrialRecord.rank, default=None)

    def optimism(self) -> float | None:
        """By how much the search's value was better than the mean; negative if it was worse."""
        value, mean = self.trial.best(), self.mean()
        return None if value is None or mean is None else self._gain(value, mean)

    def gain(self, defaults: "SeedSummary") -> Interval | None:
        """How much better than the defaults, paired by seed; None for fewer than two pairs."""
        ours, theirs = self.values(), defaults.values()
        pairs = [self._gain(ours[seed], theirs[seed]) for seed in ours if seed in theirs]
        return interval(pairs) if len(pairs) > 1 else None

    def _gain(self, value: float, over: float) -> float:
        return self.metric.cost(over) - self.metric.cost(value)

    def _completed(self) -> list[TrialRecord]:
        return [training for training in self.trainings if training.state == "completed"]


def _seed(training: TrialRecord) -> int:
    assert training.seed is not None  # a search with confirm has a seed setting
    return training.seed
