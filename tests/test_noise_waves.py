"""Noise of a nonlinear landscape by its characteristic function: the authors' waves against quadrature of their own."""

from functools import cache

import numpy as np
import pytest
from numpy.polynomial import chebyshev, legendre
from scipy.interpolate import CubicSpline
from scipy.special import itj0y0

import dfp

ETA, STEPS, START = 0.1, 50, 0.18
NUMBERS = np.arange(1, 21)
AMPLITUDES = 0.5 / NUMBERS**2
# The digits that are promised of mean and variance; both computations are spectral and stand below them.
PROMISED = 2e-8


def gradient(w):
    return 4 * w**3 - 0.6 * w + 0.15


def waves_law(q):
    """Product over the waves of E exp(i q a s cos φ) = ∫₀¹ J₀(q a s) ds, s uniform in ±1, φ on the circle."""
    result = np.ones(np.shape(q))
    for amplitude in AMPLITUDES:
        x = np.maximum(amplitude * np.abs(q), 1e-8)
        result = result * itj0y0(x)[0] / x
    return result


@cache
def table():
    """A spline of them, whose error h⁴/384 at h = .01 is 3e-11; beyond its end they are smaller than that."""
    q = np.linspace(0, 600, 60001)
    return CubicSpline(q, waves_law(q))


def authors_waves(k, w):
    q = np.abs(k * (0.1 * w**2 + 1))
    return np.where(q < 600, table()(np.minimum(q, 600)), 0.0)


def landscape(characteristic=authors_waves, noise=None):
    return dfp.Landscape(
        gradient,
        lambda w: ((0.1 * w**2 + 1) ** 2)[..., None] * np.sum(AMPLITUDES**2) / 6,
        hessian=lambda w: (12 * w**2 - 0.6)[..., None],
        noise=noise,
        characteristic=characteristic,
    )


def by_quadrature():
    """Mean and variance by Gauss–Legendre panels in real space; bounded noise has a density that is a cosine series.

    ``|W| <= Σ a = 0.80 < 1``: of period 2, with the characteristic function at multiples of π as coefficients.
    """
    at, weights = legendre.leggauss(16)
    edges = np.linspace(-1.5, 1.5, 251)
    half = np.diff(edges)[:, None] / 2
    x, mass = ((edges[:-1, None] + half) + half * at).ravel(), (half * weights).ravel()
    series = waves_law(np.pi * np.arange(400))
    series[0] /= 2
    strength = ETA * (0.1 * x**2 + 1)
    z = (x[:, None] - (x - ETA * gradient(x))) / strength
    inside = np.abs(z) < AMPLITUDES.sum()
    kernel = np.zeros(z.shape)
    kernel[inside] = chebyshev.chebval(np.cos(np.pi * z[inside]), series)
    kernel /= strength
    p = np.exp(-((x / START) ** 2) / 2) / np.sqrt(2 * np.pi) / START
    for _ in range(STEPS):
        p = kernel @ (mass * p)
    total = mass @ p
    mean = mass @ (x * p)
    # What the box and the panels lose must not be seen in the digits that are promised.
    assert abs(total - 1) < PROMISED / 100
    return mean, mass @ ((x - mean) ** 2 * p)


def moments(of):
    equation = dfp.MasterEquation(dfp.SGD(of, ETA))
    solution = dfp.solve(equation, dfp.Gaussian(0.0, START**2), STEPS, [STEPS])
    assert solution.solver == "Transfer"
    return solution


def test_the_authors_waves_have_the_moments_of_quadrature():
    found, (mean, variance) = moments(landscape()), by_quadrature()
    assert found.certificate.ok, str(found.certificate)
    # A density as good as its moments, up to the factor of an L1 error over that of a mean.
    assert found.certificate.error[-1] < 50 * PROMISED
    assert abs(found.mean.item() - mean) < PROMISED
    assert abs(found.covariance.item() - variance) < PROMISED
    # The control: Gaussian noise of the same covariance is told apart.
    plain = moments(landscape(None))
    assert max(abs(plain.mean.item() - mean), abs(plain.covariance.item() - variance)) > 10 * PROMISED


def test_batches_and_draws_are_of_one_law():
    """Averages over four skewed draws, on a bent landscape: histograms agree within sampling."""
    bent = dfp.Landscape(
        lambda w: w + 0.3 * w**3,
        1.0,
        noise=lambda w, rng: rng.exponential(size=w.shape) - 1.0,
        characteristic=lambda k, w: np.exp(-1j * k) / (1 - 1j * k) + 0 * w,
    )
    equation = dfp.MasterEquation(dfp.SGD(bent, 0.4, batch_size=4))
    start, grid, count = dfp.Gaussian(0.3, 0.05), dfp.Grid(-1.4, 1.0, 48), 200_000
    exact = dfp.solve(equation, start, 3, [3], dfp.Transfer(), dfp.Grid(-1.4, 1.0, 4800))
    drawn = dfp.solve(equation, start, 3, [3], dfp.MonteCarlo(count, seed=4), grid)
    mass = exact.density[0].reshape(48, 100).sum(axis=1) * exact.grid.cell_volume
    seen = mass * count > 20
    off, mass = (drawn.density[0] * grid.cell_volume - mass)[seen], mass[seen]
    z = off * np.sqrt(count / mass / (1 - mass))
    assert np.sum(z**2) < seen.sum() + 5 * np.sqrt(2 * seen.sum())  # five deviations of chi-squared
    # The control: without batches the law is another.
    single = dfp.solve(dfp.MasterEquation(dfp.SGD(bent, 0.4)), start, 3, [3], dfp.Transfer())
    assert single.covariance.item() > 2 * exact.covariance.item()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (3.0, "must be a function"),
        (lambda k, w: np.exp(-(k**2)) + 0 * w, "covariance"),
        (lambda k, w: np.exp(1j * k - k**2 / 2) + 0 * w, "mean"),
        (lambda k, w: 2 + 0 * k * w, "at most 1"),
        (lambda k, w: np.ones(7), "returned shape"),
        (lambda k: k, "raised TypeError"),
        (lambda k, w: np.exp(-(k**2) / 2) + 0 * w, "one law"),
    ],
)
def test_what_is_no_such_function_is_refused(given, words):
    def coins(w, rng):
        return rng.choice([-1.0, 1.0], size=w.shape)

    with pytest.raises(dfp.DFPError, match=words):
        dfp.Landscape(lambda w: w, 1.0, noise=coins, characteristic=given)
    # The control: the function of that law is taken.
    dfp.Landscape(lambda w: w, 1.0, noise=coins, characteristic=lambda k, w: np.cos(k) + 0 * w)


def test_what_is_not_known_is_refused():
    equation, start = dfp.MasterEquation(dfp.SGD(landscape(), ETA)), dfp.Gaussian(0.0, START**2)
    with pytest.raises(dfp.UnsupportedError, match="no draws"):
        dfp.solve(equation, start, 2, [2], dfp.MonteCarlo(2000))
    with pytest.raises(dfp.DFPError, match="d = 1"):
        dfp.Landscape(lambda w: w, 1.0, 2, characteristic=lambda k, w: np.exp(-(k**2) / 2))
    with pytest.raises(dfp.UnsupportedError, match="characteristic"):
        dfp.stationary(equation)
