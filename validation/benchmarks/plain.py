"""The costly parts of ``growth`` as one would write them in NumPy, whose results must agree: what each is a ratio of.

    python -m validation.benchmarks --only plain

Each is the recursion itself with whole arrays and nothing else clever; BLAS may use as many threads in both.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import dfp
from validation.benchmarks.growth import seconds
from validation.benchmarks.verdict import Verdict

Array = NDArray[np.float64]
_RATE, _BATCH, _SAMPLES, _RUNS = 0.05, 8, 2000, 4096


def _data(d: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((_SAMPLES, d)) / np.sqrt(np.arange(1, d + 1))
    return x, x.sum(axis=1) + rng.standard_normal(_SAMPLES)


def _equation(landscape: dfp.QuadraticLandscape, rate: float) -> dfp.MasterEquation:
    return dfp.MasterEquation(dfp.SGD(landscape, rate))


def regression_samples(d: int, steps: int) -> tuple[Callable[[], Array], Callable[[], Array]]:
    """Return the variances of sampled least squares, by NumPy and by ``MonteCarlo``."""
    x, y = _data(d)

    def plain() -> Array:
        rng = np.random.default_rng(1)
        theta = 1 + np.sqrt(0.1) * rng.standard_normal((_RUNS, d))
        for _ in range(steps):
            gradient = np.zeros_like(theta)
            for chosen in rng.integers(_SAMPLES, size=(_BATCH, _RUNS)):
                rows = x[chosen]
                gradient += rows * (np.einsum("nd,nd->n", rows, theta) - y[chosen])[:, None]
            theta -= _RATE / _BATCH * gradient
        return np.asarray(theta.var(axis=0))

    equation = _equation(dfp.QuadraticLandscape.from_regression(x, y, _BATCH), _RATE)
    return plain, _sampled(equation, d, steps)


def table_samples(d: int, steps: int) -> tuple[Callable[[], Array], Callable[[], Array]]:
    """Return the same where every entry of the Hessian fluctuates by itself."""
    hessian, spread = np.linspace(0.2, 1, d), np.sqrt(0.1 / d)

    def plain() -> Array:
        rng = np.random.default_rng(1)
        theta = 1 + np.sqrt(0.1) * rng.standard_normal((_RUNS, d))
        for _ in range(steps):
            moved = np.einsum("nik,nk->ni", rng.standard_normal((_RUNS, d, d)), theta)
            theta = theta - 0.1 * (hessian * theta + spread * moved + rng.standard_normal((_RUNS, d)))
        return np.asarray(theta.var(axis=0))

    noise = dfp.GaussianNoise(np.ones(d), np.full((d, d), 0.1 / d))
    return plain, _sampled(_equation(dfp.QuadraticLandscape(hessian, noise=noise), 0.1), d, steps)


def _sampled(equation: dfp.MasterEquation, d: int, steps: int) -> Callable[[], Array]:
    start = dfp.Gaussian(np.ones(d), 0.1)
    return lambda: np.asarray(
        dfp.solve(equation, start, steps, [steps], dfp.MonteCarlo(_RUNS)).covariance[0].diagonal()
    )


def regression_moments(d: int, steps: int) -> tuple[Callable[[], Array], Callable[[], Array]]:
    """Return the covariance of least squares (T14): two products of matrices for noise, two for the mean step."""
    x, y = _data(d)

    def plain() -> Array:
        hessian, pull, mean, covariance = x.T @ x / _SAMPLES, x.T @ y / _SAMPLES, np.ones(d), 0.1 * np.eye(d)
        step = np.eye(d) - _RATE * hessian
        for _ in range(steps):
            moved, push = hessian @ covariance @ hessian, hessian @ mean - pull
            squares = np.einsum("nd,nd->n", x @ covariance, x) + (x @ mean - y) ** 2
            noise = (x * (squares / _SAMPLES)[:, None]).T @ x - moved - np.outer(push, push)
            covariance = step @ covariance @ step + _RATE**2 / _BATCH * noise
            mean = mean - _RATE * push
        return np.asarray(covariance)

    return plain, _moments(_equation(dfp.QuadraticLandscape.from_regression(x, y, _BATCH), _RATE), d, steps)


def table_moments(d: int, steps: int) -> tuple[Callable[[], Array], Callable[[], Array]]:
    """Return the covariance where every entry of the Hessian fluctuates by itself."""
    hessian, spread = np.diag(1 / np.arange(1.0, d + 1)), np.full((d, d), 0.1 / d)

    def plain() -> Array:
        mean, covariance, step = np.ones(d), 0.1 * np.eye(d), np.eye(d) - 0.1 * hessian
        for _ in range(steps):
            noise = np.diag(0.1 + spread @ (covariance.diagonal() + mean**2))
            covariance, mean = step @ covariance @ step.T + 0.01 * noise, step @ mean
        return np.asarray(covariance)

    noise = dfp.GaussianNoise(0.1 * np.ones(d), spread)
    return plain, _moments(_equation(dfp.QuadraticLandscape(hessian, noise=noise), 0.1), d, steps)


def _moments(equation: dfp.MasterEquation, d: int, steps: int) -> Callable[[], Array]:
    start = dfp.Gaussian(np.ones(d), 0.1)
    return lambda: np.asarray(dfp.moments(equation, start, steps, [steps]).covariance[0])


def finite_sum_waves(cells: int, steps: int) -> tuple[Callable[[], Array], Callable[[], Array]]:
    """Return the density of minibatches of 442 samples with one Hessian, the sum taken for every wave (T10)."""
    hessian = np.array([[1.0, 0.2], [0.2, 0.5]])
    gradients = np.random.default_rng(3).exponential(1.0, (442, 2)) - 1
    equation = _equation(
        dfp.QuadraticLandscape.from_samples(np.broadcast_to(hessian, (442, 2, 2)), gradients, _BATCH), _RATE
    )
    grid, start = dfp.Grid([-2, -2], [2, 2], cells), dfp.Gaussian([0.0, 0.0], 0.1)

    def plain() -> Array:
        k = 2 * np.pi * np.fft.fftfreq(cells, 4 / cells)
        waves, phi = np.stack(np.meshgrid(k, k[: cells // 2 + 1], indexing="ij"), axis=-1).reshape(-1, 2), 1.0
        for _ in range(steps):
            phi = phi * np.exp(-1j * _RATE / _BATCH * waves @ gradients.T).mean(axis=1) ** _BATCH
            waves = waves @ (np.eye(2) - _RATE * hessian)
        phi = phi * np.exp(-0.05 * np.einsum("nd,nd->n", waves, waves))
        here = np.exp(1j * np.add.outer(k, k[: cells // 2 + 1]).ravel() * (2 - 2 / cells))
        values = np.fft.irfft2((np.conj(phi) * np.conj(here)).reshape(cells, -1), (cells, cells))
        return np.asarray(values * (cells / 4) ** 2)

    return plain, lambda: np.asarray(dfp.solve(equation, start, steps, [steps], dfp.Fourier(), grid).density)[0]


# Part, its arguments, how far apart results may be, and how often faster at least. Variances of so many samples err by
# 2 % each, of 200 in two samples by 15 % at most; the others but for rounding. Two products of matrices a step, with
# which NumPy is as fast, are most of what moments of least squares take.
_CASES: tuple[tuple[str, Callable[..., Any], tuple[int, int], float, float], ...] = (
    ("Monte Carlo, least squares, d = 200", regression_samples, (200, 50), 0.15, 2),
    ("Monte Carlo, table noise, d = 16", table_samples, (16, 200), 0.15, 20),
    ("moments, least squares, d = 450", regression_moments, (450, 20), 1e-11, 1.25),
    ("moments, table noise, d = 450", table_moments, (450, 200), 1e-11, 20),
    ("Fourier, 442 samples, 2D", finite_sum_waves, (128, 80), 1e-9, 20),
)


def plain(*, quick: bool) -> list[Verdict]:
    """Print how often faster each is than NumPy, and return the verdicts.

    Raises
    ------
    RuntimeError
        If the two disagree.
    """
    print("\nAgainst plain NumPy")
    verdicts = []
    for name, make, sizes, tolerance, least in _CASES:
        reference, ours = make(*((min(sizes[0], 64), 5) if quick else sizes))
        expected, found = reference(), ours()
        apart = float(np.abs(found - expected).max() / np.abs(expected).max())
        if not apart < tolerance:
            raise RuntimeError(f"{name}: apart by {apart:.2g}, more than {tolerance:g}")
        other, own = seconds(reference), seconds(ours, 3)
        print(f"  {name:<40} {other:.3g} s, ours {own:.3g} s; apart by {apart:.1g}", flush=True)
        verdicts.append(Verdict.at_least(f"{name}: {least:g}× plain NumPy", other, own, least))
    return verdicts
