"""Where to try next: Thompson sampling from a Gaussian process on what the rungs say, as an Optuna
sampler.

Trials end at different epochs, and their values there cannot be compared. So they are put in one
order, by rank: first by the lowest rung; then those that reached the next rung are put in order
among themselves, in the places that they hold; and so on. What a trial is worth is the normal
quantile of its place.

Source: Thompson sampling as in Kandasamy et al., Parallelised Bayesian Optimisation via Thompson
Sampling, section 2: trials that run side by side differ as each follows a draw of its own.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.algorithms.gaussian_process import GaussianProcess
from search.algorithms.unit_cube import Points, UnitCube
from search.space.axes import Choice, Range

NUM_RANDOM = 6
"""Trials with a value before the process is asked."""
MOST_FITTED = 100
"""Trials that the process is fitted to: the best half, and others drawn from the rest."""
NUM_CANDIDATES = 500
NEARBY = 0.2
"""Share of the candidates that lie around the best trials; the others fill the cube."""
REFINED = 0.5
"""Share of the proposals that have such candidates at all; the others look everywhere alike."""
NUM_BEST = 10
WIDTHS = (0.3, 0.6)
"""Standard deviations of the distance of those candidates from the trial, in the cube."""
MOVED = 0.6
"""Share of the axes along which one is moved."""
NUM_STEPS = 20
"""Of the chain of the process, before each proposal."""


class Silent(BaseSampler):
    """Proposes nothing, where all is known."""

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> Any:
        raise AssertionError(f"{name} must be known")


class PointSampler(BaseSampler):
    """Proposes at random: each point is drawn by the seed and its trial's number alone."""

    def __init__(
        self,
        distributions: Mapping[str, BaseDistribution],
        axes: Mapping[str, Choice | Range],
        seed: int,
    ) -> None:
        """axes: what the distributions hold."""
        self._distributions = dict(distributions)
        self._cube = UnitCube(axes)
        self._seed = seed

    def memory(self) -> dict[str, Any] | None:
        """What must be known, beside the trials, to go on as it would have: JSON."""
        return None

    def recall(self, memory: Mapping[str, Any] | None) -> None:
        """Go on from there. Raises: ValueError if it is no memory of this sampler."""
        if memory is not None:
            raise ValueError(f"sampler must be null, as it is random, but got {dict(memory)}")

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All axes, from the first trial on."""
        return self._distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A point for all axes together."""
        rng = np.random.default_rng([self._seed, trial.number])
        return self._cube.decode(self._cube.draw(rng, 1)[0])

    def sample_independent(
        self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> Any:
        """At random: only an axis that a trial's fixed settings leave open comes here."""
        return PointSampler.sample_relative(self, study, trial, self._distributions)[name]


class RungSampler(PointSampler):
    """Proposes from what trials have reported at the rungs."""

    def __init__(
        self,
        distributions: Mapping[str, BaseDistribution],
        axes: Mapping[str, Choice | Range],
        rungs: Sequence[int],
        seed: int,
    ) -> None:
        """axes: what the distributions hold; rungs: where trials are compared, a training's last
        epoch included."""
        super().__init__(distributions, axes, seed)
        self._rungs = rungs
        self._rng = np.random.default_rng(seed)
        _, axis_of = self._cube.features(self._cube.draw(np.random.default_rng(0), 1))
        self._process = GaussianProcess(axis_of)
        self._points: dict[int, Points] = {}
        self._tried: set[bytes] = set()

    def memory(self) -> dict[str, Any]:
        """The state of the generator, and where the chain of the process is."""
        return {
            "generator": self._rng.bit_generator.state,
            "logs": [float(log) for log in self._process.logs],
        }

    def recall(self, memory: Mapping[str, Any] | None) -> None:
        try:
            self._rng.bit_generator.state = memory["generator"]  # type: ignore[index]  # told below
            logs = np.array(memory["logs"], dtype=np.float64)  # type: ignore[index]
        except (TypeError, KeyError, ValueError, OverflowError) as error:
            raise ValueError(
                f"sampler must hold the state of a generator and logs, but got {memory!r} "
                f"({type(error).__name__}: {error})"
            ) from None
        if logs.shape != self._process.logs.shape:
            raise ValueError(
                f"sampler.logs must be {len(self._process.logs)} numbers, but got {logs.tolist()}"
            )
        self._process.logs = logs

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A point for all axes together."""
        told = study.get_trials(deepcopy=False)
        for one in told[len(self._points) : trial.number]:
            self._points[one.number] = self._cube.encode(one.params)
            self._tried.update(_keys(self._points[one.number][None]))
        order = best_first(_at_rungs(told, self._rungs, study.direction))
        if len(order) < NUM_RANDOM:
            return self._cube.decode(self._cube.draw(self._rng, 1)[0])
        chosen = self._choose(len(order))
        points = np.array([self._points[order[place]] for place in chosen])
        return self._cube.decode(self._sample(points, _worth(chosen, len(order))))

    def _choose(self, num: int) -> NDArray[np.intp]:
        """The places of the trials to fit, in order."""
        if num <= MOST_FITTED:
            return np.arange(num)
        best = MOST_FITTED // 2
        rest = self._rng.choice(np.arange(best, num), MOST_FITTED - best, replace=False)
        return np.concatenate([np.arange(best), np.sort(rest)])

    def _sample(self, points: Points, worth: Points) -> Points:
        """The candidate (d) that is best in a draw, for points (n, d), best first, worth (n)."""
        features, _ = self._cube.features(points)
        fit = self._process.fit(features, worth, self._rng, NUM_STEPS)
        candidates = self._candidates(points[:NUM_BEST])
        mean, deviation = self._process.predict(fit, self._cube.features(candidates)[0])
        drawn: Points = self._rng.normal(mean, deviation)
        drawn[[key in self._tried for key in _keys(candidates)]] = -np.inf
        best: Points = candidates[drawn.argmax()]
        return best

    def _candidates(self, best: Points) -> Points:
        """Points (m, d) all over the cube, and around the best (n, d)."""
        num_near = round(NEARBY * NUM_CANDIDATES) if self._rng.random() < REFINED else 0
        anywhere = self._cube.draw(self._rng, NUM_CANDIDATES)
        origin = best[self._rng.integers(len(best), size=num_near)]
        width = self._rng.choice(WIDTHS, num_near)[:, None]
        moved = np.clip(origin + width * self._rng.normal(size=origin.shape), 0, 1)
        # Away from a value that has no neighbours every other one is as near.
        moved = np.where(self._cube.is_ordered, moved, anywhere[:num_near])
        stays = self._rng.random(origin.shape) >= MOVED
        anywhere[:num_near] = self._cube.snap(np.where(stays, origin, moved))
        return anywhere


def best_first(at_rungs: Sequence[Mapping[int, float]]) -> list[int]:
    """The order of trials, the best first.

    at_rungs: for each rung, from the lowest, the value of each trial that reached it; lower is
    better. Of equal values, the lower number goes first.
    """
    lowest, *higher = at_rungs
    order = sorted(lowest, key=lambda number: (lowest[number], number))
    for values in higher:
        places = [place for place, number in enumerate(order) if number in values]
        reached = sorted(
            (order[place] for place in places), key=lambda number: (values[number], number)
        )
        for place, number in zip(places, reached, strict=True):
            order[place] = number
    return order


def _keys(points: Points) -> list[bytes]:
    """The same for points (n, d) of the same settings, whatever their last digits."""
    return [row.tobytes() for row in np.round(points, 9)]


def _at_rungs(
    told: Sequence[FrozenTrial], rungs: Sequence[int], direction: StudyDirection
) -> list[dict[int, float]]:
    """For each rung the value of each trial there, signed so that lower is better.

    A trial that skipped a rung has there the value of its next epoch; one that is complete keeps
    its value at the rungs that its training does not reach. One that failed is the worst.
    """
    sign = -1.0 if direction == StudyDirection.MAXIMIZE else 1.0
    found: list[dict[int, float]] = [{} for _ in rungs]
    for trial in told:
        if trial.state == TrialState.FAIL:
            found[0][trial.number] = math.inf
            continue
        values = trial.intermediate_values
        last = next(reversed(values), 0)  # they are told in order
        for at_rung, rung in zip(found, rungs, strict=True):
            if rung <= last:
                epoch = rung if rung in values else min(e for e in values if e > rung)
                at_rung[trial.number] = sign * values[epoch]
            elif trial.state == TrialState.COMPLETE and trial.value is not None:
                at_rung[trial.number] = sign * trial.value
            else:
                break
    return found


def _worth(places: NDArray[np.intp], num: int) -> Points:
    """Normal quantiles of some of `num` places, brought to mean 0 and variance 1."""
    quantile = NormalDist().inv_cdf
    worth = np.array([-quantile((place + 0.5) / num) for place in places])
    scaled: Points = (worth - worth.mean()) / worth.std()
    return scaled
