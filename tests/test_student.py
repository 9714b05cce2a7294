"""Multivariate Student's t as gradient noise: against one-dimensional laws of scipy, draws, and every solver's view."""

import numpy as np
import pytest
from dfp_solvers.characteristic import student
from scipy import stats

import dfp
from dfp.errors import DFPError, UnsupportedError
from dfp.results.comparison import cell_probabilities

SCALE = [[1.0, 0.4], [0.4, 0.5]]
DRAWS = 200_000


def landscape(freedom, scale=SCALE, hessian=(1.0, 0.4), **options):
    return dfp.QuadraticLandscape(list(hessian), 0.1, dfp.StudentNoise(scale, freedom, **options))


def master(freedom, rate=0.2, *, scale=SCALE, hessian=(1.0, 0.4), **options):
    return dfp.MasterEquation(dfp.SGD(landscape(freedom, scale, hessian), rate, **options))


@pytest.mark.parametrize("freedom", [0.7, 5.0, 150.0, 199.9, 200.0, 1e4, 1e6])
def test_the_characteristic_function_is_a_mixture_of_gaussians(freedom):
    """E e^{−k²s/2} over the law of s = ν/χ², by quadrature in log s; also where the Bessel function overflows."""
    waves = np.array([0.0, 1e-160, 1e-6, 1e-3, 0.03, 0.5, 2.0, 6.0])
    middle, width = np.log(freedom / (freedom + 2)), 9 * (2 / freedom) ** 0.5
    v = np.linspace(middle - width, middle + max(width, 60 / freedom), 20_001)
    weights = np.exp(v + stats.invgamma.logpdf(np.exp(v), freedom / 2, scale=freedom / 2)) * (v[1] - v[0])
    expected = np.exp(-0.5 * np.outer(waves**2, np.exp(v))) @ weights
    # the rule cuts e^-40 of the mass, and scipy's density rounds: ν logarithms of order one
    np.testing.assert_allclose(student(waves, freedom), expected, atol=1e-11 + 1e-15 * freedom)


def test_on_a_line_it_is_the_law_of_scipy():
    """Same characteristic function, cumulants and density as ``AdditiveNoise`` of a univariate t."""
    other = dfp.QuadraticLandscape([1.0], 0.1, dfp.AdditiveNoise(stats.t(5, scale=0.7**0.5)))
    own, law = landscape(5, [0.7], [1.0]), other.law
    waves = np.linspace(-6, 6, 41)[:, None]
    # one Bessel function by two routes
    np.testing.assert_allclose(own.law.characteristic(waves), law.characteristic(waves), atol=1e-14)
    np.testing.assert_allclose(own.law.constant, law.constant, rtol=1e-14)
    np.testing.assert_allclose(own.law.cumulants(4)[1], law.cumulants(4)[1], rtol=1e-12)  # scipy's excess is rounded
    initial = dfp.Gaussian(0.5, 0.05)
    pair = [dfp.solve(dfp.MasterEquation(dfp.SGD(one, 0.3)), initial, 8, [8], dfp.Fourier()) for one in (own, other)]
    assert np.array_equal(pair[0].grid.cells, pair[1].grid.cells)
    # rounding of eight products and one transform, of densities of order one
    np.testing.assert_allclose(pair[0].density, pair[1].density, atol=1e-12)


@pytest.mark.parametrize("batch", [1, 4])
def test_moments_and_characteristic_function_of_draws(batch):
    law = landscape(9).law.with_batch_size(batch)
    draws = law.increments(np.zeros((DRAWS, 2)), np.random.default_rng(4))
    waves = np.array([[0.5, 0.0], [0.3, -0.8], [1.5, 1.0]])
    fourth = law.cumulants(4)[1].reshape(2, 2, 2, 2, -1)[..., 0]
    c = law.constant
    checks = {
        "covariance": (draws[:, [0, 0, 1]] * draws[:, [0, 1, 1]], c[[0, 0, 1], [0, 1, 1]]),
        "mixed fourth": (
            draws[:, :1] ** 2 * draws[:, 1:] ** 2,
            fourth[0, 0, 1, 1] + c[0, 0] * c[1, 1] + 2 * c[0, 1] ** 2,
        ),
        "fourth": (draws**4, fourth[[0, 1], [0, 1], [0, 1], [0, 1]] + 3 * np.diag(c) ** 2),
        "waves": (np.cos(draws @ waves.T), law.characteristic(waves)),
    }
    for name, (sampled, expected) in checks.items():
        error = sampled.std(axis=0) / np.sqrt(DRAWS)
        # some twenty comparisons at five standard errors: 1e-5 by chance
        assert np.all(np.abs(sampled.mean(axis=0) - expected) < 5 * error), name
    # Negative control: independent components of the same variances have another mixed fourth moment.
    sampled = draws[:, 0] ** 2 * draws[:, 1] ** 2
    apart = c[0, 0] * c[1, 1] + 2 * c[0, 1] ** 2
    assert abs(sampled.mean() - apart) > 10 * sampled.std() / np.sqrt(DRAWS) or batch > 1


def test_many_degrees_of_freedom_are_gaussian():
    """The density differs from the Gaussian one by some 1/ν."""
    initial, nu = dfp.Gaussian([0.5, 0.2], 0.05), 1e6
    noise = dfp.GaussianNoise(np.array(SCALE))
    gaussian = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape([1.0, 0.4], 0.1, noise), 0.2))
    limit = dfp.solve(gaussian, initial, 10, [10], dfp.Fourier())
    found = dfp.solve(master(nu), initial, 10, [10], dfp.Fourier(), grid=limit.grid)
    assert np.abs(found.density - limit.density).max() < 20 / nu * limit.density.max()


def cell_scores(solved, sampled):
    """z-scores of the counts in the cells of a histogram that hold more than 1e-4 of the mass."""
    expected = cell_probabilities(solved, 0, sampled.grid)
    counted = sampled.density[0] * sampled.grid.cell_volume
    z = (counted - expected) / np.sqrt(np.maximum(expected * (1 - expected), 1e-12) / sampled.trajectories)
    return z[expected > 1e-4]


@pytest.mark.parametrize("options", [{}, {"momentum": 0.5}, {"batch_size": 3}])
def test_fourier_and_monte_carlo_agree(options):
    """Probabilities of coarse cells and moments, in z-scores of the trajectories."""
    equation, initial = master(3.5, **options), dfp.Gaussian([1.0, 0.0], 0.05)
    exact = dfp.moments(equation, initial, 12, [12])
    reach = 4 * np.sqrt(np.diag(exact.covariance[0]))
    box = dfp.Grid(exact.mean[0] - reach, exact.mean[0] + reach, (10, 10))
    sampled = dfp.solve(equation, initial, 12, [12], dfp.MonteCarlo(200_000, seed=5), box)
    solved = dfp.solve(equation, initial, 12, [12], dfp.Fourier())
    assert np.all(np.abs(sampled.mean - exact.mean) < 5 * sampled.errors["mean"])
    # At most a hundred cells: |z| > 5 by chance once in 2e4 runs of other seeds.
    assert np.abs(cell_scores(solved, sampled)).max() < 5
    # Negative control: the Gaussian of the same covariance is told apart.
    noise = dfp.GaussianNoise(equation.sgd.law.constant)
    same = dfp.SGD(dfp.QuadraticLandscape([1.0, 0.4], 0.1, noise), 0.2, **options)
    gaussian = dfp.solve(dfp.MasterEquation(same), initial, 12, [12], dfp.Fourier(), solved.grid)
    assert np.abs(cell_scores(gaussian, sampled)).max() > 10


def test_without_a_variance_there_is_a_density_and_no_moment():
    equation, initial = master(1.5), dfp.Gaussian([1.0, 0.0], 0.05)
    with pytest.raises(UnsupportedError, match="no variance"):
        dfp.moments(equation, initial, 5)
    solved = dfp.solve(equation, initial, 5, [5], dfp.Fourier())
    assert solved.certificate.mass_outside[0] > 1e-4  # tails like x^-1.5 that no grid holds, and it says so
    # The mean is that of any ν > 1, to rounding; no variance.
    np.testing.assert_allclose(solved.mean, dfp.moments(master(5), initial, 5, [5]).mean, rtol=1e-12)
    assert np.isinf(solved.covariance[0].diagonal()).all()


def test_transfer_on_a_line_is_fourier():
    equation, initial = master(5, 0.3, scale=[0.7], hessian=[1.0]), dfp.Gaussian(0.5, 0.05)
    fourier = dfp.solve(equation, initial, 8, [8], dfp.Fourier())
    transfer = dfp.solve(equation, initial, 8, [8], dfp.Transfer(), grid=fourier.grid)
    gap = np.abs(fourier.density - transfer.density).sum() * fourier.grid.cell_volume
    assert gap < fourier.certificate.error[0] + transfer.certificate.error[0]


def test_moments_of_order_four_and_what_lacks_them():
    equation, initial = master(9), dfp.Gaussian([1.0, 0.0], 0.05)
    solved = dfp.solve(equation, initial, 10, [10], dfp.MomentRecursion())
    sampled = dfp.solve(equation, initial, 10, [10], dfp.MonteCarlo(400_000, seed=6))
    for name in ("third", "fourth"):
        z = (getattr(sampled, name) - getattr(solved, name)) / sampled.errors[name]
        assert np.abs(z).max() < 5, name  # nine different numbers: 5e-6 by chance
    with pytest.raises(UnsupportedError, match="no finite moment of order 4"):
        dfp.solve(master(3.5), initial, 10, [10], dfp.MomentRecursion())


def test_modes_see_its_covariance():
    report = dfp.modes(dfp.SGD(landscape(5), 0.2))
    # D = Σ ν/(ν − 2); V = ηD/(2λ − ηλ²), ascending in λ
    noise = np.array([0.5, 1.0]) * 5 / 3
    np.testing.assert_allclose([mode.gradient_noise for mode in report], noise, rtol=1e-14)
    expected = 0.2 * noise / (2 * np.array([0.4, 1.0]) - 0.2 * np.array([0.4, 1.0]) ** 2)
    np.testing.assert_allclose([mode.stationary_variance for mode in report], expected, rtol=1e-13)  # rounding
    assert report.embeddable is None


def test_basis_and_refusals():
    turned = np.linalg.qr(np.random.default_rng(1).standard_normal((2, 2)))[0]
    hessian = (turned * [0.5, 1.0]) @ turned.T
    law = dfp.QuadraticLandscape(hessian, noise=dfp.StudentNoise([1.0, 2.0], 5, basis="eigen")).law
    axes = np.linalg.eigh(hessian)[1]
    np.testing.assert_allclose(axes.T @ law.constant @ axes, np.diag([5 / 3, 10 / 3]), atol=1e-14)  # rounding
    for given, cause in (
        (([1.0, 1.0], 0.0), "degrees_of_freedom"),
        (([[1.0, 2.0], [2.0, 1.0]], 3.0), "positive semidefinite"),
        (([1.0, 1.0], 3.0, "other"), "noise.basis"),
    ):
        with pytest.raises(DFPError, match=cause):
            dfp.StudentNoise(*given)
    schedule = dfp.MasterEquation(dfp.SGD(landscape(5), 0.1, batch_size=[1, 2, 3]))
    with pytest.raises(UnsupportedError, match="one batch_size"):
        dfp.solve(schedule, dfp.Gaussian([0.0, 0.0], 0.1), 3, [3], dfp.MonteCarlo(2000))
