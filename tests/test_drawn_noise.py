"""Minibatch noise of a nonlinear landscape given as draws: sampled as it is, refused where a kernel is needed."""

import numpy as np
import pytest
from scipy import stats

import dfp

RATE, STEPS, TRAJECTORIES = 0.4, 3, 200_000


def skewed(theta, rng):
    """Exponential draws about their mean, of variance 1: a skewness of 2."""
    return rng.exponential(size=theta.shape) - 1.0


def line(noise=skewed, covariance=1.0):
    return dfp.Landscape(lambda at: at, covariance, noise=noise)


def departure(landscape):
    """Departures of a histogram from the exact density, in standard errors of its cells, and how many cells.

    On a linear gradient the law is known: additive noise of SciPy's exponential law, through its waves.
    """
    grid, start = dfp.Grid(-2.5, 1.5, 64), dfp.Gaussian(0.3, 0.05)
    known = dfp.QuadraticLandscape([1.0], 0.0, dfp.AdditiveNoise(stats.expon()))
    fine = dfp.Grid(-6.5, 3.5, 64 * 160)
    exact = dfp.solve(dfp.MasterEquation(dfp.SGD(known, RATE)), start, STEPS, [STEPS], dfp.Fourier(), fine)
    edges = np.concatenate([[0.0], np.cumsum(exact.density[0]) * fine.cell_volume])
    mass = np.diff(np.interp(grid.edges[0], fine.edges[0], edges))
    solver = dfp.MonteCarlo(TRAJECTORIES, seed=5)
    found = dfp.solve(dfp.MasterEquation(dfp.SGD(landscape, RATE)), start, STEPS, [STEPS], solver, grid)
    counts = found.density[0] * grid.cell_volume * TRAJECTORIES
    seen = mass * TRAJECTORIES > 20
    return (counts - mass * TRAJECTORIES)[seen] / np.sqrt(TRAJECTORIES * mass * (1 - mass))[seen]


def test_histograms_are_those_of_the_law_that_is_drawn():
    z = departure(line())
    assert z.size > 40
    # One false alarm in a million runs.
    assert np.sum(z**2) < stats.chi2.isf(1e-6, z.size)
    # The control: Gaussian noise of the same covariance.
    assert np.sum(departure(line(None)) ** 2) > 100 * stats.chi2.isf(1e-6, z.size)


@pytest.mark.parametrize("extra", [{}, {"momentum": 0.5}, {"batch_size": 4}, {"weight_decay": 0.3}])
def test_moments_are_those_of_the_covariance(extra):
    """Mean and covariance are exact for a linear gradient whatever the law: z-scores, momentum and batches included."""
    start = dfp.Gaussian([0.3], 0.05)
    solver = dfp.MonteCarlo(TRAJECTORIES, seed=7)
    found = dfp.solve(dfp.MasterEquation(dfp.SGD(line(), RATE, **extra)), start, 5, [5], solver)
    quadratic = dfp.QuadraticLandscape([1.0], 0.0, dfp.GaussianNoise([1.0]))
    exact = dfp.moments(dfp.MasterEquation(dfp.SGD(quadratic, RATE, **extra)), start, 5, [5])
    # six standard errors: one false alarm in 1e9
    assert abs(found.mean - exact.mean).item() < 6 * found.errors["mean"].item()
    assert abs(found.covariance - exact.covariance).item() < 6 * found.errors["covariance"].item()


def test_noise_may_depend_on_the_place_in_two_dimensions():
    """Signs times a size that grows with θ: the mean loss of a step is known in closed form."""

    def noise(theta, rng):
        return rng.choice([-1.0, 1.0], size=theta.shape) * (1 + np.abs(theta))

    landscape = dfp.Landscape(lambda at: at**3, lambda at: (1 + np.abs(at)) ** 2, 2, noise=noise)
    start, solver = dfp.Gaussian([0.5, -0.2], [0.01, 0.01]), dfp.MonteCarlo(TRAJECTORIES, seed=3)
    found = dfp.solve(dfp.MasterEquation(dfp.SGD(landscape, 0.2)), start, 1, [1], solver)
    rng = np.random.default_rng(0)
    theta = start.draw(2_000_000, rng)
    moved = theta - 0.2 * (theta**3 + noise(theta, rng))
    error = np.hypot(found.errors["mean"][0], moved.std(axis=0) / len(moved) ** 0.5)
    assert np.all(np.abs(found.mean[0] - moved.mean(axis=0)) < 6 * error)
    spread = np.abs(found.covariance[0] - np.cov(moved.T))
    assert np.all(spread < 6 * np.sqrt(1 + 0.1) * found.errors["covariance"][0])


def test_auto_samples_and_what_needs_a_kernel_refuses():
    sgd = dfp.SGD(line(), RATE)
    equation, start = dfp.MasterEquation(sgd), dfp.Gaussian(0.3, 0.05)
    for solver in (dfp.Transfer(), dfp.Hermite()):
        with pytest.raises(dfp.UnsupportedError):
            dfp.solve(equation, start, 2, [2], solver)
    for asked in (
        lambda: dfp.stationary(equation), lambda: dfp.spectrum(equation), lambda: dfp.autocorrelation(equation, [1]),
        lambda: dfp.exit_steps(equation, (-3.0, 3.0), start), lambda: dfp.probability_current(equation),
        lambda: dfp.escape(sgd, [0.0], (-3.0, 3.0)), lambda: line().expanded([0.0]),
    ):  # fmt: skip
        with pytest.raises(dfp.UnsupportedError, match="noise"):
            asked()
    # The control: the Langevin form knows the covariance alone, and goes on.
    drawn, plain = (
        dfp.solve(dfp.Langevin(dfp.SGD(line(noise), 0.1)), start, 5, [5], grid=dfp.Grid(-2, 2, 64)).density
        for noise in (skewed, None)
    )
    np.testing.assert_allclose(drawn, plain, rtol=0, atol=0.02 * plain.max())


@pytest.mark.parametrize(
    ("noise", "words"),
    [
        (3.0, "must be a function"),
        (lambda theta, rng: rng.exponential(size=theta.shape), "noise has the mean"),
        (lambda theta, rng: 5 * skewed(theta, rng), "noise has the variances"),
        (lambda theta, rng: skewed(theta, rng)[:, 0], "returned shape"),
        (lambda theta, rng: skewed(theta, rng) * np.nan, "not finite"),
        (lambda theta: theta, "raised TypeError"),
    ],
)
def test_noise_that_is_none_is_refused(noise, words):
    with pytest.raises(dfp.DFPError, match=words):
        line(noise)
