"""Additive noise of any law: characteristic functions, cumulants, densities, sampling, and what has no moments."""

import numpy as np
import pytest
from dfp_solvers.characteristic import Univariate
from problems import one_mode
from scipy import stats

import dfp
from dfp.results.comparison import cell_probabilities

LAWS = [
    stats.norm(1, 2),
    stats.laplace(1, 0.5),
    stats.uniform(2, 3),
    stats.expon(1, 2),
    stats.gamma(2.5, scale=0.7),
    stats.logistic(1, 0.6),
    stats.t(5, loc=1, scale=0.5),
    stats.skewnorm(4),
    stats.lognorm(0.5),
    stats.gumbel_r(),
]


def name(law):
    return getattr(law, "dist", law).name


def bowl(laws, hessian=(1.0,), **options):
    return dfp.QuadraticLandscape(list(hessian), 0.1, dfp.AdditiveNoise(laws, **options))


def master(landscape, rate, **options):
    return dfp.MasterEquation(dfp.SGD(landscape, rate, **options))


@pytest.mark.parametrize("law", LAWS, ids=name)
def test_characteristic_functions(law):
    """Closed or tabulated, against a sum over 60 000 quantiles weighted by a normal: that sum is exact to 1e-9."""
    waves = np.array([0.0, 1e-3, 0.1, 0.5, 1.3, -2.0, 4.0])
    part = Univariate(law)
    z = np.linspace(-8.3, 8.3, 60_001)
    weights = np.exp(-0.5 * z**2)
    tail = stats.norm.cdf(-np.abs(z))
    x = np.where(z < 0, law.ppf(tail), law.isf(tail)) - law.mean()
    expected = np.exp(1j * np.outer(waves, x)) @ (weights / weights.sum())
    assert np.abs(part.characteristic(waves) - expected).max() < 1e-8


@pytest.mark.parametrize(
    "law", [stats.cauchy(0.3, 2), stats.t(1.5), stats.levy_stable(1.7, 0.5, loc=1, scale=0.4)], ids=name
)
def test_laws_without_variance(law):
    """|χ| against 40 000 draws, within five standard errors; no variance, and the centre is the mean or median."""
    part, waves = Univariate(law), np.array([0.1, 0.5, 1.3])
    assert part.cumulants[0] == np.inf
    draws = law.rvs(40_000, random_state=3) - part.centre
    sampled = np.exp(1j * np.outer(waves, draws)).mean(axis=1)
    assert np.abs(part.characteristic(waves) - sampled).max() < 5 / np.sqrt(40_000)


@pytest.mark.parametrize("law", [stats.poisson(3), stats.binom(5, 0.3)], ids=name)
def test_discrete_laws_are_sums(law):
    waves = np.array([0.0, 0.7, 2.0, -5.0])
    places = np.arange(0, 60)
    expected = law.pmf(places) @ np.exp(1j * np.outer(places - law.mean(), waves))
    part = Univariate(law)
    # rounding
    assert np.abs(part.characteristic(waves) - expected).max() < 1e-13
    u = np.random.default_rng(1).random(5000)
    assert np.array_equal(part.draw(stats.norm.ppf(u)), law.ppf(u) - law.mean())


def test_moments_of_every_order():
    """Cumulants of SGD are geometric sums of those of the law: κ_m Σ (1−ηλ)^{ms} (−η)^m."""
    law, rate, steps = stats.gamma(2.0, scale=0.5), 0.3, 7
    equation = master(bowl(law), rate)
    exact = dfp.solve(equation, dfp.Point(0.2), steps, [steps], dfp.MomentRecursion())
    variance, skewness, excess = law.stats("vsk")
    cumulants = {2: variance, 3: skewness * variance**1.5, 4: excess * variance**2}
    expected = {m: c * (-rate) ** m * sum(0.7 ** (m * s) for s in range(steps)) for m, c in cumulants.items()}
    # rounding
    assert exact.covariance.item() == pytest.approx(expected[2], rel=1e-13)
    assert exact.third.item() == pytest.approx(expected[3], rel=1e-12)
    assert exact.fourth.item() == pytest.approx(expected[4] + 3 * expected[2] ** 2, rel=1e-12)


def test_exponential_noise_after_one_step():
    """From a narrow Gaussian one step of exponential noise is an exponentially modified Gaussian, known to SciPy."""
    equation = master(bowl(stats.expon(scale=2.0)), 0.5)
    solution = dfp.solve(equation, dfp.Gaussian(0.2, 0.04), 1, [1])
    assert solution.solver == "Fourier"
    # θ' = θ/2 − η(0.1 + x − 2): minus an exponential of scale ηβ = 1, shifted; deviation 0.1 of the Gaussian part.
    centre = 0.5 * 0.2 - 0.5 * (0.1 - 2.0)
    exact = stats.exponnorm.pdf(-solution.grid.axes[0], 1.0 / 0.1, loc=-centre, scale=0.1)
    assert np.abs(solution.density[0] - exact).sum() * solution.grid.cell_volume < 1e-8


def test_cauchy_noise_has_no_moments_but_a_density():
    """Cauchy stays Cauchy: the density in closed form, and no moments from anywhere."""
    equation, rate, steps = master(bowl(stats.cauchy()), 0.3), 0.3, 20
    start = dfp.Point(0.3)
    solution = dfp.solve(equation, start, steps, [steps])
    shift = 0.7**steps * 0.3 - 0.1 * rate * (1 - 0.7**steps) / 0.3
    law = stats.cauchy(shift, rate * (1 - 0.7**steps) / 0.3)
    error = np.abs(solution.density[0] - law.pdf(solution.grid.axes[0])).sum() * solution.grid.cell_volume
    # the certificate is true, and of use
    assert error < solution.certificate.truncation[0] < 1e-2
    outside = 1 - np.diff(law.cdf([solution.grid.lower[0], solution.grid.upper[0]]))[0]
    assert solution.certificate.mass_outside[0] == pytest.approx(outside, rel=0.1)
    assert np.isnan(solution.mean).all()
    assert any("no variance" in warning for warning in solution.certificate.warnings)
    with pytest.raises(dfp.UnsupportedError, match="no variance"):
        dfp.moments(equation, start, steps)
    with pytest.raises(dfp.UnsupportedError, match="no variance"):
        dfp.solve(dfp.Langevin(equation.sgd), start, steps)
    sampled = dfp.solve(equation, start, steps, [steps], dfp.MonteCarlo(100_000, seed=2), dfp.Grid(-8, 8, 32))
    assert np.isinf(sampled.covariance).all() and np.isnan(sampled.errors["covariance"]).all()
    expected = np.diff(law.cdf(sampled.grid.edges[0]))
    observed = sampled.density[0] * sampled.grid.cell_volume
    z = (observed - expected) / np.sqrt(expected * (1 - expected) / 100_000)
    # Chi-square with probability of a false alarm 1e-6.
    assert stats.chi2.sf(np.sum(z**2), z.size) > 1e-6


def test_moments_that_do_not_exist_are_refused():
    """Student's t with ν = 3.5 has a variance and no fourth moment."""
    equation = master(bowl(stats.t(3.5)), 0.3)
    start = dfp.Gaussian(0.3, 0.01)
    assert np.isfinite(dfp.solve(equation, start, 5, [5], dfp.MomentRecursion(2)).covariance).all()
    with pytest.raises(dfp.UnsupportedError, match="order 4"):
        dfp.solve(equation, start, 5, [5], dfp.MomentRecursion())
    with pytest.raises(dfp.UnsupportedError, match="every moment"):
        dfp.solve(equation, start, 5, [5], dfp.Hermite())
    assert dfp.solve(equation, start, 5, [5], dfp.MonteCarlo(4096)).fourth is None


@pytest.mark.parametrize(
    ("laws", "hessian", "options"),
    [
        (stats.skewnorm(4), [1.0], {}),
        (stats.poisson(3), [1.0], {}),
        (stats.gamma(2), [1.0], {"batch_size": 3}),
        ([stats.skewnorm(4), stats.laplace()], [[1.0, 0.3], [0.3, 0.5]], {}),
    ],
    ids=["skewed", "discrete", "batches", "2D, eigen"],
)
def test_sampling_agrees_with_fourier(laws, hessian, options):
    """Chi-square of 100 000 trajectories: p > 1e-6, the chance of a false alarm; a control of other skewness fails."""
    d = len(hessian)
    basis = "eigen" if d == 2 else "theta"
    equation = master(bowl(laws, hessian, basis=basis), 0.2, **options)
    start = dfp.Gaussian(np.full(d, 0.3), 0.02)
    solution = dfp.solve(equation, start, 6, [6], dfp.Fourier())
    deviation = np.sqrt(np.diag(solution.covariance[0]))
    bins = dfp.Grid(solution.mean[0] - 3 * deviation, solution.mean[0] + 3 * deviation, 40 if d == 1 else 16)
    observed = dfp.solve(equation, start, 6, [6], dfp.MonteCarlo(100_000, seed=7), bins).density[0] * bins.cell_volume

    def p_value(model):
        expected = np.maximum(cell_probabilities(model, 0, bins), 0.0)
        keep = expected > 5e-4
        return stats.chi2.sf(np.sum(1e5 * (observed - expected)[keep] ** 2 / expected[keep]), int(keep.sum()))

    assert p_value(solution) > 1e-6
    noise = dfp.GaussianNoise(equation.sgd.noise.constant)
    normal = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape(hessian, 0.1, noise), 0.2))
    assert p_value(dfp.solve(normal, start, 6, [6], dfp.Fourier())) < 1e-6


def test_transfer_agrees_with_fourier():
    """No code in common but the characteristic function of one step."""
    equation, start = master(bowl(stats.skewnorm(4)), 0.1), dfp.Gaussian(0.3, 0.01)
    exact = dfp.solve(equation, start, 20, [1, 20], dfp.Fourier())
    solution = dfp.solve(equation, start, 20, [1, 20], dfp.Transfer(), exact.grid)
    # tails cut by the box
    assert np.abs(solution.density - exact.density).sum(axis=1).max() * exact.grid.cell_volume < 1e-9


def test_a_normal_law_is_gaussian_noise():
    equation, start = master(bowl(stats.norm(5, 0.3**0.5)), 0.1), dfp.Gaussian(0.3, 0.01)
    plain = dfp.MasterEquation(dfp.SGD(one_mode(1.0, 0.3, gradient=0.1), 0.1))
    one, other = (dfp.solve(e, start, 9, [9], dfp.Fourier()) for e in (equation, plain))
    # rounding
    assert np.abs(one.density - other.density).max() < 1e-12
    assert one.covariance.item() == pytest.approx(other.covariance.item(), rel=1e-13)


@pytest.mark.parametrize(
    ("laws", "message"),
    [
        (stats.norm, "frozen univariate"),
        (stats.multivariate_normal([0, 0]), "frozen univariate"),
        ([stats.norm(), stats.norm()], "one per axis"),
        (3.0, "frozen univariate"),
        (stats.norm(0, -1), r"norm\(0, -1\): has parameters out of range"),
        ([], "is empty"),
    ],
)
def test_refuses_what_is_no_law(laws, message):
    with pytest.raises(dfp.DFPError, match=message):
        bowl(laws)
    if message != "one per axis":  # which the landscape knows
        with pytest.raises(dfp.DFPError, match=message):
            dfp.AdditiveNoise(laws)


def test_unknown_characteristic_functions_are_refused():
    """Pareto's law with b = 1.5 has no variance and no closed characteristic function: it can only be sampled."""
    equation = master(bowl(stats.pareto(1.5)), 0.1)
    with pytest.raises(dfp.UnsupportedError, match="no closed characteristic function"):
        dfp.solve(equation, dfp.Point(0.0), 3, [3], dfp.Fourier())
    assert dfp.solve(equation, dfp.Point(0.0), 3, [3]).solver == "MonteCarlo"
