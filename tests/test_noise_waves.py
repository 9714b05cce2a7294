"""Noise of a nonlinear landscape by its characteristic function: the authors' waves against quadrature of their own."""

import numpy as np
import pytest
from scipy import stats

import dfp
from validation.cases.rough_landscape import ETA, PROMISED, START, STEPS, by_quadrature, landscape


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
    for asked in (dfp.spectrum, dfp.probability_current, lambda e: dfp.exit_steps(e, (-2.0, 2.0), start)):
        with pytest.raises(dfp.UnsupportedError, match="characteristic"):
            asked(equation)


def test_a_stationary_law_by_waves_is_that_of_a_linear_map():
    """A bowl written as functions, with logistic noise: of the quadratic landscape it is known in closed form."""

    def logistic(k, w):
        return np.pi * k / np.sinh(np.where(k == 0, 1.0, np.pi * k)) + (k == 0) + 0 * w

    variance = np.pi**2 / 3
    bowl = dfp.Landscape(lambda w: 0.8 * w, variance, characteristic=logistic)
    found = dfp.stationary(dfp.MasterEquation(dfp.SGD(bowl, 0.5)))
    quadratic = dfp.QuadraticLandscape([0.8], 0, dfp.AdditiveNoise(stats.logistic()))
    exact = dfp.stationary(dfp.MasterEquation(dfp.SGD(quadratic, 0.5)), found.grid)
    apart = float(np.abs(found.values - exact.values).sum()) * found.grid.cell_volume
    # a certificate of use: what two sets of nodes differ by, and the mass beyond them
    assert apart < found.error + exact.error < 1e-5
    # the control: Gaussian noise of the same covariance has another law, by its kurtosis
    plain = dfp.stationary(dfp.MasterEquation(dfp.SGD(dfp.Landscape(lambda w: 0.8 * w, variance), 0.5)), found.grid)
    assert float(np.abs(plain.values - exact.values).sum()) * found.grid.cell_volume > 0.02


def test_a_stationary_law_by_waves_stays():
    """In a bent bowl: a step from the law, by the solver of densities, is the law; a step of other noise is not."""

    def two_lumps(k, w):  # at ±½, each of variance ¼
        return np.cos(k / 2) * np.exp(-(k**2) / 8) + 0 * w

    bent = dfp.Landscape(lambda w: w + 0.3 * np.sin(w), 0.5, characteristic=two_lumps)
    equation = dfp.MasterEquation(dfp.SGD(bent, 0.4))
    law = dfp.stationary(equation)
    after = dfp.solve(equation, law, 1, [1], dfp.Transfer(), law.grid)
    apart = float(np.abs(after.density[0] - law.values).sum()) * law.grid.cell_volume
    # likewise, of kernels whose waves decay faster
    assert apart < law.error + after.certificate.error[0] < 1e-6
    other = dfp.solve(dfp.MasterEquation(dfp.SGD(bent, 0.3)), law, 1, [1], dfp.Transfer(), law.grid)
    assert float(np.abs(other.density[0] - law.values).sum()) * law.grid.cell_volume > 0.01
