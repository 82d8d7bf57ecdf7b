"""An Optuna sampler: Thompson sampling from a Gaussian process fitted to values at the rungs.

Trials end at different epochs, so their last values cannot be compared. They are put into one order
by rank: first by their values at the lowest rung; then the trials that reached the next rung are
reordered among themselves, in the places that they hold; and so on. The score of a trial is the
normal quantile of its place.

Source: Thompson sampling as in Kandasamy et al., Parallelised Bayesian Optimisation via Thompson
Sampling, section 2: trials that run in parallel differ, as each follows its own sample.
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
from search.algorithms.optuna_axes import distribution
from search.algorithms.unit_cube import Points, UnitCube
from search.space.axes import Axes

NUM_RANDOM = 6
"""Trials with a value before the Gaussian process is used; until then proposals are random."""
MOST_FITTED = 100
"""The most trials to fit: the best half of so many, and a random sample of the others."""
NUM_CANDIDATES = 500
NEARBY = 0.2
"""Share of the candidates that lie near the best trials; the others are uniform over the cube."""
REFINED = 0.5
"""Share of the proposals that have candidates near the best trials."""
NUM_BEST = 10
"""Best trials near which candidates lie."""
WIDTHS = (0.3, 0.6)
"""Standard deviations of the distance of a candidate from its trial, in widths of the cube."""
MOVED = 0.6
"""Share of the axes along which such a candidate differs from its trial."""
NUM_STEPS = 20
"""Steps of the Metropolis chain before each proposal."""


class RandomSampler(BaseSampler):
    """Random search: each point depends only on the seed and the trial's number."""

    def __init__(self, axes: Axes, seed: int) -> None:
        """axes: with labels as values."""
        self.distributions = {path: distribution(axis) for path, axis in axes.items()}
        self._cube = UnitCube(axes)
        self._seed = seed

    def memory(self) -> dict[str, Any] | None:
        """The sampler's state besides the trials, as JSON; None if it has none."""
        return None

    def recall(self, memory: Mapping[str, Any] | None) -> None:
        """Restore the state. Raises: ValueError if it is not one of this kind of sampler."""
        if memory is not None:
            raise ValueError(f"sampler must be null for random search, but got {dict(memory)}")

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All axes, from the first trial on."""
        return self.distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A point for all axes together."""
        rng = np.random.default_rng([self._seed, trial.number])
        return self._cube.decode(self._cube.draw(rng, 1)[0])

    def sample_independent(
        self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> Any:
        """A random value, for an axis that a trial's given settings leave open."""
        rng = np.random.default_rng([self._seed, trial.number])
        return self._cube.value(name, self._cube.draw(rng, 1)[0])


class RungSampler(RandomSampler):
    """Proposes by Thompson sampling from the values of trials at the rungs."""

    def __init__(self, axes: Axes, rungs: Sequence[int], seed: int) -> None:
        """axes: as of `RandomSampler`; rungs: epochs at which trials are compared, the last epoch
        of a training included."""
        super().__init__(axes, seed)
        self._rungs = rungs
        self._rng = np.random.default_rng(seed)
        _, axis_of = self._cube.features(self._cube.draw(np.random.default_rng(0), 1))
        self._process = GaussianProcess(axis_of)
        self._points: dict[int, Points] = {}
        self._tried: set[bytes] = set()

    def memory(self) -> dict[str, Any]:
        """The states of the random generator and of the Metropolis chain."""
        return {
            "generator": self._rng.bit_generator.state,
            "logs": [float(log) for log in self._process.logs],
        }

    def recall(self, memory: Mapping[str, Any] | None) -> None:
        try:
            state = {} if memory is None else memory
            self._rng.bit_generator.state = state["generator"]
            logs = np.array(state["logs"], dtype=np.float64)
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
        trials = study.get_trials(deepcopy=False)
        for earlier in trials[len(self._points) : trial.number]:
            self._points[earlier.number] = self._cube.encode(earlier.params)
            self._tried.update(_keys(self._points[earlier.number][None]))
        order = best_first(_at_rungs(trials, self._rungs, study.direction))
        if len(order) < NUM_RANDOM:
            return self._cube.decode(self._cube.draw(self._rng, 1)[0])
        chosen = self._choose(len(order))
        points = np.array([self._points[order[place]] for place in chosen])
        return self._cube.decode(self._sample(points, _scores(chosen, len(order))))

    def _choose(self, num: int) -> NDArray[np.intp]:
        """The places in the order of the trials to fit, ascending."""
        if num <= MOST_FITTED:
            return np.arange(num)
        best = MOST_FITTED // 2
        rest = self._rng.choice(np.arange(best, num), MOST_FITTED - best, replace=False)
        return np.concatenate([np.arange(best), np.sort(rest)])

    def _sample(self, points: Points, scores: Points) -> Points:
        """The candidate (d) with the best sampled score; points (n, d), best first, and scores (n)
        are those of the trials to fit."""
        features, _ = self._cube.features(points)
        fit = self._process.fit(features, scores, self._rng, NUM_STEPS)
        candidates = self._candidates(points[:NUM_BEST])
        mean, deviation = self._process.predict(fit, self._cube.features(candidates)[0])
        drawn: Points = self._rng.normal(mean, deviation)
        drawn[[key in self._tried for key in _keys(candidates)]] = -np.inf
        best: Points = candidates[drawn.argmax()]
        return best

    def _candidates(self, best: Points) -> Points:
        """Candidates (m, d): uniform over the cube, and near the best trials (n, d)."""
        num_near = round(NEARBY * NUM_CANDIDATES) if self._rng.random() < REFINED else 0
        anywhere = self._cube.draw(self._rng, NUM_CANDIDATES)
        origin = best[self._rng.integers(len(best), size=num_near)]
        width = self._rng.choice(WIDTHS, num_near)[:, None]
        moved = np.clip(origin + width * self._rng.normal(size=origin.shape), 0, 1)
        # A value of an unordered axis has no neighbours: it changes to a random value.
        moved = np.where(self._cube.is_ordered, moved, anywhere[:num_near])
        stays = self._rng.random(origin.shape) >= MOVED
        near = np.where(stays, origin, moved)
        # A candidate may have an axis that its trial does not have.
        near = np.where(np.isnan(near), anywhere[:num_near], near)
        anywhere[:num_near] = self._cube.snap(near)
        return self._cube.inactivate(anywhere)


def best_first(at_rungs: Sequence[Mapping[int, float]]) -> list[int]:
    """The numbers of all trials in order, the best first.

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
    """Keys of points (n, d) that are equal for the same settings, despite rounding errors."""
    return [row.tobytes() for row in np.round(points, 9)]


def _at_rungs(
    trials: Sequence[FrozenTrial], rungs: Sequence[int], direction: StudyDirection
) -> list[dict[int, float]]:
    """For each rung, the value of each trial that reached it; lower is better.

    If a trial skipped a rung, its next epoch counts. A completed trial keeps its value at the rungs
    after its last epoch. A failed trial has the worst value.
    """
    sign = -1.0 if direction == StudyDirection.MAXIMIZE else 1.0
    at_rungs: list[dict[int, float]] = [{} for _ in rungs]
    for trial in trials:
        if trial.state == TrialState.FAIL:
            at_rungs[0][trial.number] = math.inf
            continue
        values = trial.intermediate_values
        last = next(reversed(values), 0)  # values are reported in order
        for at_rung, rung in zip(at_rungs, rungs, strict=True):
            if rung <= last:
                epoch = rung if rung in values else min(e for e in values if e > rung)
                at_rung[trial.number] = sign * values[epoch]
            elif trial.state == TrialState.COMPLETE and trial.value is not None:
                at_rung[trial.number] = sign * trial.value
            else:
                break
    return at_rungs


def _scores(places: NDArray[np.intp], num: int) -> Points:
    """The normal quantiles of places among `num`, scaled to mean 0 and variance 1."""
    quantile = NormalDist().inv_cdf
    scores = np.array([-quantile((place + 0.5) / num) for place in places])
    scaled: Points = (scores - scores.mean()) / scores.std()
    return scaled
