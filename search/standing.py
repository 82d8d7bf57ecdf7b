"""What one setting came to in a confirmation, against the search and against the defaults."""

from dataclasses import dataclass
from math import inf
from statistics import fmean, stdev

from search.interval import Interval, interval
from search.record import TrialRecord
from search.trainable import Metric


@dataclass(frozen=True)
class Standing:
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
        return inf if mean is None else -self._sign * mean

    def best(self) -> TrialRecord | None:
        """The best training that completed."""
        values = self.values()
        completed = [made for made in self._completed() if _seed(made) in values]
        best = max if self.metric.is_max else min
        return best(completed, key=lambda made: values[_seed(made)], default=None)

    def optimism(self) -> float | None:
        """By how much the search's value was better than the mean; negative if it was worse."""
        promised, mean = self.trial.best(), self.mean()
        return None if promised is None or mean is None else self._sign * (promised - mean)

    def gain(self, defaults: "Standing") -> Interval | None:
        """How much better than the defaults, paired by seed; None for fewer than two pairs."""
        ours, theirs = self.values(), defaults.values()
        pairs = [self._sign * (ours[seed] - theirs[seed]) for seed in ours if seed in theirs]
        return interval(pairs) if len(pairs) > 1 else None

    @property
    def _sign(self) -> int:
        """What makes larger better."""
        return 1 if self.metric.is_max else -1

    def _completed(self) -> list[TrialRecord]:
        return [made for made in self.trainings if made.state == "completed"]


def _seed(made: TrialRecord) -> int:
    assert made.seed is not None  # what is confirmed has one
    return made.seed
