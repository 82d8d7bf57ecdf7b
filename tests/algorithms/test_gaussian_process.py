"""Predictions against the textbook's formulas, and what the chain finds out."""

import numpy as np
from numpy.testing import assert_allclose

from search.algorithms.gaussian_process import GaussianProcess


def process(num_axes: int) -> GaussianProcess:
    return GaussianProcess(np.arange(num_axes))


def standardised(values: np.ndarray) -> np.ndarray:
    return np.asarray((values - values.mean()) / values.std())


def test_without_noise_it_passes_through_its_points_and_is_unsure_far_from_them() -> None:
    rng = np.random.default_rng(0)
    features = rng.random((30, 2)) * 0.5
    values = standardised(np.sin(6 * features[:, 0]) + features[:, 1])
    gp = process(2)
    fit = gp.fit(features, values, rng, num_steps=200)
    mean, deviation = gp.predict(fit, features)
    assert_allclose(mean, values, atol=0.15)
    _, far = gp.predict(fit, np.array([[1.0, 1.0]]))
    assert far[0] > 3 * deviation.max()


def test_it_predicts_points_that_it_was_not_fitted_to() -> None:
    rng = np.random.default_rng(1)

    def truth(features: np.ndarray) -> np.ndarray:
        return np.asarray(np.cos(4 * features[:, 0]) + 0.5 * features[:, 1] ** 2)

    features, others = rng.random((60, 3)), rng.random((200, 3))
    seen = truth(features)
    gp = process(3)
    fit = gp.fit(features, standardised(seen), rng, num_steps=200)
    mean, _ = gp.predict(fit, others)
    predicted = mean * seen.std() + seen.mean()
    assert np.corrcoef(predicted, truth(others))[0, 1] > 0.98


def test_the_chain_learns_which_axis_matters() -> None:
    rng = np.random.default_rng(2)
    features = rng.random((60, 2))
    gp = process(2)
    for _ in range(30):
        gp.fit(features, standardised(np.sin(9 * features[:, 0])), rng, num_steps=10)
    matters, does_not, _ = np.exp(gp.logs)
    assert matters < 0.6 < does_not


def test_the_posterior_is_that_of_the_formulas() -> None:
    rng = np.random.default_rng(3)
    features, at = rng.random((8, 2)), rng.random((5, 2))
    values = standardised(rng.normal(size=8))
    gp = process(2)
    fit = gp.fit(features, values, rng, num_steps=0)
    *lengths, noise = np.exp(gp.logs)

    def kernel(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        r = np.sqrt(5 * (((left[:, None] - right) / lengths) ** 2).sum(2))
        return np.asarray((1 + r + r**2 / 3) * np.exp(-r))

    inverse = np.linalg.inv(kernel(features, features) + (noise**2 + 1e-6) * np.eye(8))
    variance = values @ inverse @ values / 8
    cross = kernel(at, features)
    mean, deviation = gp.predict(fit, at)
    assert_allclose(mean, cross @ inverse @ values, rtol=1e-6)
    exact = variance * (1 - np.diag(cross @ inverse @ cross.T))
    assert_allclose(deviation**2, exact, rtol=1e-6)


def test_equal_rows_and_equal_values_do_not_break_it() -> None:
    rng = np.random.default_rng(4)
    features = np.full((40, 2), 0.5)
    fit = process(2).fit(features, standardised(np.arange(40.0)), rng, num_steps=50)
    assert np.isfinite(fit.weights).all()
