"""Transfer on a line: heavy tails, finite sums of any size, laws without density, long runs."""

import numpy as np
import pytest
from dfp_solvers.transfer import characteristic, graded
from problems import one_mode, regression, samples
from scipy import integrate, stats
from scipy.special import ndtr

import dfp
from dfp.regimes.mode_report import lyapunov_exponent
from dfp.results.comparison import cell_probabilities


def master(landscape, learning_rate, **options):
    return dfp.MasterEquation(dfp.SGD(landscape, learning_rate, **options))


def scores(equation, start, steps, solution, bins, count, seed=5):
    """z-scores of sampled frequencies against the probabilities of cells, where more than 50 are expected."""
    sampled = dfp.solve(equation, start, steps, [steps], dfp.MonteCarlo(count, seed), bins)
    expected = np.maximum(cell_probabilities(solution, len(solution.steps) - 1, bins), 0.0)
    observed = sampled.density[0] * bins.cell_volume
    keep = expected * count > 50
    observed, expected = observed[keep], expected[keep]
    return (observed - expected) / np.sqrt(expected * (1 - expected) / count), sampled


def passes(z):
    """Chi-square with probability of a false alarm 1e-6."""
    return stats.chi2.sf(np.sum(z**2), z.size) > 1e-6


def test_heavy_tails_keep_the_bulk():
    """ρ₂ = 1.6: the variance grows to 1e40 while the bulk settles; cells agree with sampling, the rest is stated."""
    equation, start = master(one_mode(1.0, 0.2, 4.0), 0.6), dfp.Gaussian(0.3, 0.1)
    solution = dfp.solve(equation, start, 200, [200])
    assert solution.solver == "Transfer"
    assert solution.density.min() >= 0
    z, sampled = scores(equation, start, 200, solution, dfp.Grid(-8, 8, 160), 200_000)
    assert z.size > 50
    assert passes(z)
    wider = dfp.solve(equation, start, 200, [200], dfp.Transfer(), dfp.Grid(-8, 8, 160))
    outside = wider.certificate.mass_outside[0]
    assert abs(sampled.certificate.mass_outside[0] - outside) < 5 * np.sqrt(outside / 200_000)
    assert any("variance grows without bound" in warning for warning in solution.certificate.warnings)
    # The control: a curvature noise 5 % smaller, which sampling must reject.
    other = dfp.solve(master(one_mode(1.0, 0.2, 3.8), 0.6), start, 200, [200], dfp.Transfer(), solution.grid)
    assert not passes(scores(equation, start, 200, other, dfp.Grid(-8, 8, 160), 200_000)[0])


def test_tails_follow_kestens_exponent():
    """P(|θ| > x) ~ x^−κ with E|1 − ηh|^κ = 1: the local slope of the mass outside, over two decades far out."""
    equation, start = master(one_mode(1.0, 0.2, 4.0), 0.6), dfp.Gaussian(0.3, 0.1)

    def moment(p):
        return integrate.quad(lambda z: abs(0.4 + 1.2 * z) ** p * stats.norm.pdf(z), -12, 12, points=[-1 / 3])[0]

    low, high = 0.3, 1.9
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if moment(middle) < 1 else (low, middle)
    outside = [
        dfp.solve(equation, start, 400, [400], dfp.Transfer(), dfp.Grid(-x, x, 4096)).certificate.mass_outside[0]
        for x in (300.0, 30_000.0)
    ]
    # The law of the tail is approached like 1/x².
    assert abs(np.log(outside[0] / outside[1]) / np.log(100) - low) < 2e-3


def test_densities_where_moments_overflow():
    """After 100 000 steps the variance is beyond 1e308; the bulk is that of 2 000 steps to 1e-6."""
    equation, start = master(one_mode(1.0, 0.2, 4.0), 0.6), dfp.Gaussian(0.3, 0.1)
    early = dfp.solve(equation, start, 700, [700])
    late = dfp.solve(equation, start, 100_000, [100_000], grid=early.grid)
    assert late.solver == "Transfer"
    assert np.abs(late.density - early.density).sum() * early.grid.cell_volume < 1e-6
    with pytest.raises(dfp.DFPError, match="overflow"):
        dfp.solve(equation, start, 100_000, [100_000], dfp.MonteCarlo(2048))


def test_two_steps_by_quadrature():
    """Two steps from a point: ∫ K(x|y) K(y|θ₀) dy by SciPy's quadrature, at 1e-12 of the peak."""
    a, eta, gamma, d = 0.9, 0.1, 2.0, 0.3
    equation = master(one_mode(1.0, d, gamma), eta)
    solution = dfp.solve(equation, dfp.Point(0.7), 2, [2], dfp.Transfer(), dfp.Grid(-1, 2, 60))

    def kernel(x, y):
        return stats.norm.pdf(x, a * y, eta * np.sqrt(gamma * y * y + d))

    for j in range(0, 60, 7):
        x = solution.grid.axes[0][j]
        exact = integrate.quad(lambda y, x=x: kernel(x, y) * kernel(y, 0.7), -0.5, 1.8, epsabs=1e-14, limit=200)[0]
        assert abs(solution.density[0, j] - exact) < 1e-11


@pytest.mark.parametrize(
    ("rate", "steps", "spread"), [(0.1, 1000, 0.2), (0.001, 1000, 0.2), (1.6, 50, 0.01), (0.02, 10_000, 0.2)]
)
def test_moments_over_long_runs(rate, steps, spread):
    """No spurious diffusion: mean and covariance to 1e-9 after up to 10 000 steps, kernels far below a cell or not."""
    equation, start = master(one_mode(1.0, 0.3, spread, 0.1), rate), dfp.Gaussian(0.3, 0.1)
    solution = dfp.solve(equation, start, steps, [steps], dfp.Transfer())
    assert solution.certificate.mean_error.max() < 1e-9
    assert solution.certificate.covariance_error.max() < 1e-9
    assert abs(solution.certificate.mass_defect).max() < 1e-12
    assert solution.density.min() >= 0


def test_steps_saved_on_the_way_change_nothing():
    """Nodes are extended when later steps reach further; the masses stay the same."""
    equation, start = master(one_mode(-0.5, 0.3, 0.2), 0.2), dfp.Gaussian(0.3, 0.1)
    grid = dfp.Grid(-30, 30, 600)
    one = dfp.solve(equation, start, 20, [20], dfp.Transfer(), grid)
    many = dfp.solve(equation, start, 20, [0, 1, 2, 5, 20], dfp.Transfer(), grid)
    # rounding
    assert np.abs(one.density[0] - many.density[-1]).max() < 1e-13


# --- finite sums


@pytest.mark.parametrize("landscape", [regression(1, 8), regression(1, 1), samples(1, 3)], ids=["B=8", "B=1", "B=3"])
def test_finite_sums_against_sampling(landscape):
    equation, start = master(landscape, 0.1), dfp.Gaussian(0.2, 0.1)
    solution = dfp.solve(equation, start, 40, [40], dfp.Transfer())
    lower, upper = solution.mean[0].item() - 0.5, solution.mean[0].item() + 0.5
    z, _ = scores(equation, start, 40, solution, dfp.Grid(lower, upper, 40), 200_000)
    assert z.size >= 10
    assert passes(z)
    exact = dfp.moments(equation, start, 40, [40])
    # tails cut by the box
    assert np.abs(solution.covariance / exact.covariance - 1).max() < 1e-8


def test_cantors_measure():
    """θ' = θ/3 ± 2/3 leads to Cantor's distribution: its function between nodes, and the warning that says so.

    Tolerance: clusters at an edge are split within a node of 1/1000 of the box; they hold 2^−6 of the mass.
    """
    pair = dfp.QuadraticLandscape.from_samples(np.ones((2, 1, 1)), np.array([[1.0], [-1.0]]))
    equation = master(pair, 2 / 3)
    solution = dfp.solve(equation, dfp.Gaussian(0.0, 0.1), 60, [60], dfp.Transfer(), dfp.Grid(-1.5, 1.5, 80))
    below = np.cumsum(solution.density[0]) * solution.grid.cell_volume
    expected = np.array([cantor((x + 1) / 2) for x in solution.grid.edges[0][1:]])
    # between nodes the function may take any value of its next plateau
    assert np.abs(below - expected).max() < 0.02
    assert np.abs(below - solution.grid.edges[0][1:].clip(-1, 1) / 2 - 0.5).max() > 0.05, "a uniform law would fail"
    assert solution.density.min() >= 0
    (warning, *_) = solution.certificate.warnings
    assert "no density on any grid" in warning
    law = pair.law
    assert law.choice_entropy == pytest.approx(np.log(2))
    assert lyapunov_exponent(equation.sgd).value == pytest.approx(-np.log(3))


def cantor(x):
    """Cantor's function by ternary digits."""
    if not 0 < x < 1:
        return float(x >= 1)
    total, scale = 0.0, 0.5
    for _ in range(40):
        x *= 3
        digit = int(x)
        if digit == 1:
            return total + scale
        total, x, scale = total + scale * (digit == 2), x - digit, scale / 2
    return total


# --- numerics


def test_finite_sum_characteristic_twin():
    """Against the formula in NumPy."""
    rng = np.random.default_rng(1)
    x, h, g = rng.standard_normal(5), rng.random(7), rng.standard_normal(7)
    waves = 0.3 * np.arange(40)
    got = characteristic.finite_sum(x, waves, 0.98, h, g, 0.2, 3)
    phases = np.exp(-1j * 0.2 / 3 * waves[None, :, None] * (h * x[:, None] + g)[:, None, :]).mean(axis=2)
    # rounding
    assert np.abs(got - np.exp(0.98j * np.outer(x, waves)) * phases**3).max() < 1e-13


def test_reach_bounds_the_mass_beyond():
    """For a Gaussian the bound must hold and not be loose by more than a factor of two in distance."""
    step = graded.Step(0.9, 0.0, 0.0, 0.01)
    start = {p: graded.absolute_moment(0.0, 0.2, p) if p <= 1 else gaussian_moment(int(p)) * 0.2 ** (p / 2)
             for p in graded.orders()}  # fmt: skip
    far = graded.reach(step, start, np.array([0, 5, 50]), 1e-12)
    tail = -far / np.sqrt(0.2)
    assert 2 * ndtr(tail) < 1e-12 < 2 * ndtr(tail / 2)


def gaussian_moment(order):
    return float(np.prod(np.arange(1, order, 2)))


@pytest.mark.parametrize(("mean", "variance", "p"), [(0.4, 1.44, 0.5), (0.4, 1.44, 1.0), (0.9, 0.2, 0.1)])
def test_absolute_moments(mean, variance, p):
    exact = integrate.quad(
        lambda x: abs(x) ** p * stats.norm.pdf(x, mean, variance**0.5), -15, 15, points=[0.0], limit=400
    )[0]
    # adaptive quadrature
    assert graded.absolute_moment(mean, variance, p) == pytest.approx(exact, rel=1e-7)
