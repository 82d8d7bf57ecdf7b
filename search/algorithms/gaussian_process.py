"""A Gaussian process over points of the unit cube, fast enough to be fitted for every trial.

Shapes: n points with a value each, f features, m points to predict. Matérn 5/2 kernel with a length
scale per axis. The logarithms of the length scales and of the noise are sampled from their
posterior by a Metropolis chain, so their uncertainty is kept. The signal variance is the
maximum-likelihood estimate. Source: Rasmussen and Williams, Gaussian Processes for Machine
Learning, sections 2.2, 4.2 and 5.4.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LENGTH, NOISE = 0.7, 0.3
"""Medians of the priors, in widths of the cube and in standard deviations of the values."""
PRIOR_WIDTH = 1.0
"""Standard deviation of the priors, in logarithms."""
STEP = 0.5
"""Standard deviation of a proposal of the chain, in logarithms."""
MOVED = 0.4
"""Share of the logarithms that a proposal of the chain changes."""


@dataclass(frozen=True)
class Fit:
    """A fitted process: all that `predict` needs."""

    features: Array
    weights: Array
    inverse: Array
    variance: float
    log_posterior: float


class GaussianProcess:
    """The process; the state of the chain is kept between fits."""

    def __init__(self, axis_of: NDArray[np.intp]) -> None:
        """axis_of (f): the axis that each feature belongs to."""
        self._axis_of = axis_of
        num_axes = int(axis_of.max()) + 1
        self._median = np.log([LENGTH] * num_axes + [NOISE])
        self.logs = self._median.copy()
        """The state of the chain: logarithms of each axis's length scale and of the noise."""

    def fit(self, features: Array, values: Array, rng: np.random.Generator, num_steps: int) -> Fit:
        """Run the chain for features (n, f) and values (n) of mean 0 and variance 1."""
        current = self._fit(self.logs, features, values)
        for _ in range(num_steps):
            moved = rng.random(len(self.logs)) < MOVED
            proposed = self.logs + moved * rng.normal(0, STEP, len(self.logs))
            new = self._fit(proposed, features, values)
            if math.log(rng.random()) < new.log_posterior - current.log_posterior:
                self.logs, current = proposed, new
        return current

    def predict(self, fit: Fit, features: Array) -> tuple[Array, Array]:
        """Mean and standard deviation (m) of the function at features (m, f)."""
        cross = self._kernel(self.logs, features, fit.features)
        share = 1 - np.einsum("mn,nk,mk->m", cross, fit.inverse, cross, optimize=True)
        return cross @ fit.weights, np.sqrt(fit.variance * np.maximum(share, 1e-9))

    def _fit(self, logs: Array, features: Array, values: Array) -> Fit:
        kernel = self._kernel(logs, features, features)
        kernel[np.diag_indices_from(kernel)] += math.exp(2 * logs[-1]) + 1e-6
        inverse = np.linalg.inv(kernel).astype(np.float64, copy=False)
        _, log_determinant = np.linalg.slogdet(kernel)
        weights = inverse @ values
        variance = float(values @ weights) / len(values)
        log_likelihood = -(len(values) * math.log(variance) + log_determinant) / 2
        log_prior = -float((((logs - self._median) / PRIOR_WIDTH) ** 2).sum()) / 2
        return Fit(features, weights, inverse, variance, log_likelihood + log_prior)

    def _kernel(self, logs: Array, left: Array, right: Array) -> Array:
        lengths = np.exp(logs[:-1])[self._axis_of]
        left, right = left / lengths, right / lengths
        squares = (left**2).sum(1)[:, None] + (right**2).sum(1) - 2 * left @ right.T
        distance = np.sqrt(5 * np.maximum(squares, 1e-12))
        kernel: Array = (1 + distance + distance**2 / 3) * np.exp(-distance)
        return kernel
