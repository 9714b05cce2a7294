"""Stationary densities against closed forms, exact moments and long runs, and the reasons where there are none."""

import numpy as np
import pytest
from dfp_solvers import kesten, lyapunov
from problems import every_equation, one_mode, regression, rotated, table
from scipy import stats
from scipy.stats import cauchy, chi2, multivariate_normal
from scipy.stats import t as student

import dfp

LATE = 4000


def on_cells(law):
    """The law with the moments of its cells, not the exact ones that it is told."""
    return dfp.Density(law.grid, law.values, law.outside, law.error)


def test_student_law_of_the_discrete_equation():
    """(T5), additive: P ∝ (D + λ²θ²)^(−1−1/(ηλ)), a Student t with ν = 1 + 2/(ηλ) (theory page, section 2)."""
    eta, noise = 0.2, 0.3
    density = dfp.stationary(dfp.DiscreteFokkerPlanck(dfp.SGD(one_mode(1.0, noise), eta)))
    nu = 1 + 2 / eta
    exact = student.pdf(density.grid.axes[0], nu, scale=np.sqrt(noise / nu))
    assert np.abs(density.values - exact).max() < 1e-12 * exact.max()
    edge = density.grid.upper[0]
    # the tail is summed on cells
    assert density.outside == pytest.approx(2 * student.sf(edge, nu, scale=np.sqrt(noise / nu)), rel=1e-6)


def test_student_law_with_curvature_noise():
    """(T5), Γ > 0: ν = 1 + 2λ/(η(Γ + λ²)), squared scale D/((Γ + λ²)ν)."""
    eta, noise, gamma = 0.1, 0.3, 0.8
    density = dfp.stationary(dfp.DiscreteFokkerPlanck(dfp.SGD(one_mode(1.0, noise, gamma), eta)))
    nu = 1 + 2 / (eta * (gamma + 1))
    exact = student.pdf(density.grid.axes[0], nu, scale=np.sqrt(noise / ((gamma + 1) * nu)))
    assert np.abs(density.values - exact).max() < 1e-12 * exact.max()


def test_flat_mode_with_curvature_noise_is_cauchy_in_langevin():
    """λ = 0, Γ > 0: P ∝ 1/(D + Γθ²) for (T6); 6e-4 of the mass lies beyond the largest grid, and it says so."""
    density = dfp.stationary(dfp.Langevin(dfp.SGD(one_mode(0.0, 0.3, 0.8), 0.2)))
    scale = np.sqrt(0.3 / 0.8)
    assert np.allclose(density.values, cauchy.pdf(density.grid.axes[0], scale=scale), rtol=1e-9)
    assert density.outside == pytest.approx(2 * cauchy.sf(density.grid.upper[0], scale=scale), rel=1e-6)


@pytest.mark.parametrize("landscape", [one_mode(1.0, 0.3, 0.2, 0.4), regression(1, 8)], ids=["tilted", "regression"])
def test_one_dimension_has_the_exact_moments(landscape):
    """Skewed Pearson laws of (T5), (T6), (T7), (T7m⁺): mean and variance of a late step of the exact recursion."""
    for equation in every_equation(dfp.SGD(landscape, 0.05))[1:]:
        density = on_cells(dfp.stationary(equation))
        late = dfp.moments(equation, dfp.Point(0.0), LATE, [LATE])
        # The grid holds all but 1e-8 of the mass; what is outside weighs up to a hundred variances.
        assert density.mean == pytest.approx(late.mean[0], abs=1e-6 * np.sqrt(late.covariance.item())), equation.label
        assert density.covariance.item() == pytest.approx(late.covariance.item(), rel=1e-5), equation.label


@pytest.mark.parametrize("d", [1, 2, 3])
def test_additive_noise_gives_gaussians(d):
    sgd = dfp.SGD(rotated(d, 10.0), 0.5)
    for equation in (dfp.MasterEquation(sgd), dfp.Langevin(sgd), dfp.ModifiedLangevin(sgd)):
        density = dfp.stationary(equation)
        late = dfp.moments(equation, dfp.Point(np.zeros(d)), LATE, [LATE])
        exact = dfp.Gaussian(late.mean[0], late.covariance[0]).density(density.grid.points)
        # tails cut by the box
        assert np.abs(density.values - exact).sum() * density.grid.cell_volume < 1e-10
        # tails beyond seven deviations
        assert density.outside < 1e-12


def test_a_stationary_density_stays():
    """Solved for a hundred steps from the stationary law, the density does not move."""
    sgd = dfp.SGD(one_mode(1.0, 0.3), 0.3)
    for equation in (dfp.MasterEquation(sgd), dfp.Langevin(sgd)):
        start = dfp.stationary(equation)
        moved = dfp.solve(equation, start, 100, [100], dfp.Fourier(), start.grid)
        # tails cut by the box
        assert np.abs(moved.density[0] - start.values).sum() * start.grid.cell_volume < 1e-10


@pytest.mark.parametrize(
    ("curvature", "learning_rate", "reason"),
    [(0.0, 0.2, "diffusive"), (-1.0, 0.2, "unstable"), (12.0, 0.2, r"unstable.*2\.4 > 2"), (10.0, 0.2, "ηλ = 2")],
)
def test_no_stationary_density_for_sgd(curvature, learning_rate, reason):
    with pytest.raises(dfp.NoStationaryDensity, match=reason):
        dfp.stationary(dfp.MasterEquation(dfp.SGD(one_mode(curvature), learning_rate)))


@pytest.mark.parametrize("equation", [dfp.DiscreteFokkerPlanck, dfp.Langevin, dfp.ModifiedLangevin])
@pytest.mark.parametrize(("curvature", "reason"), [(0.0, "diffusive"), (-1.0, "unstable")])
def test_no_stationary_density_for_the_others(equation, curvature, reason):
    with pytest.raises(dfp.NoStationaryDensity, match=reason):
        dfp.stationary(equation(dfp.SGD(one_mode(curvature), 0.2)))


def test_langevin_promises_a_law_at_any_learning_rate():
    """ηλ = 2.4: SGD diverges, Langevin has a Gaussian; the discrepancy the project is about."""
    sgd = dfp.SGD(one_mode(12.0), 0.2)
    assert dfp.stationary(dfp.Langevin(sgd)).covariance.item() == pytest.approx(0.2 * 0.3 / 24)


def test_noise_that_vanishes_somewhere_is_refused():
    with pytest.raises(dfp.NoStationaryDensity, match="vanishes or is negative"):
        dfp.stationary(dfp.Langevin(dfp.SGD(one_mode(1.0, 0.0, 0.5), 0.2)))


def long_run(sgd, steps, lanes, seed):
    """Return plain NumPy trajectories of one mode of SGD with Gaussian noise after ``steps`` steps."""
    rng = np.random.default_rng(seed)
    gamma, noise = sgd.noise.quadratic(np.ones((1, 1))).item(), sgd.noise.constant.item()
    theta, h, g = np.zeros(lanes), sgd.hessian.item(), sgd.gradient.item()
    for _ in range(steps):
        kick = np.sqrt(gamma) * theta * rng.standard_normal(lanes) + np.sqrt(noise) * rng.standard_normal(lanes)
        theta = theta - sgd.learning_rate * (h * theta + g + kick)
    return theta


@pytest.mark.parametrize(
    ("curvature", "gamma", "gradient", "eta"), [(1.0, 0.3, 0.4, 0.1), (1.0, 20.0, 0.0, 0.2), (0.0, 6.0, 0.0, 0.4)]
)
def test_master_equation_with_curvature_noise(curvature, gamma, gradient, eta):
    """Confined, heavy-tailed and flat: probabilities of cells of a long run, chi-square at a level of 1e-6."""
    sgd = dfp.SGD(one_mode(curvature, 0.3, gamma, gradient), eta)
    density = dfp.stationary(dfp.MasterEquation(sgd))
    assert density.error < 1e-2
    lanes = 40_000
    theta = long_run(sgd, 400, lanes, 4)
    cumulative = np.cumsum(density.values) * density.grid.cell_volume + density.outside / 2
    edges = np.interp(np.arange(1, 16) / 16, cumulative, density.grid.edges[0][1:])
    counts = np.bincount(np.searchsorted(edges, theta), minlength=16)
    assert np.sum((counts - lanes / 16) ** 2) / (lanes / 16) < chi2.isf(1e-6, 15)
    # Control: the law of a noise 5 % larger is told apart.
    moved = np.bincount(np.searchsorted(edges, 1.05 * theta), minlength=16)
    assert np.sum((moved - lanes / 16) ** 2) / (lanes / 16) > chi2.isf(1e-6, 15)


def test_confined_master_equation_has_the_exact_moments_and_tails():
    """Mean and variance to 1e-9, and mass beyond x falling like x^(−κ), E|1−ηh|^κ = 1."""
    equation = dfp.MasterEquation(dfp.SGD(one_mode(1.0, 0.3, 0.2, 0.4), 0.1))
    density = on_cells(dfp.stationary(equation))
    late = dfp.moments(equation, dfp.Point(0.0), LATE, [LATE])
    assert density.mean == pytest.approx(late.mean[0], abs=1e-9)
    assert density.covariance.item() == pytest.approx(late.covariance.item(), rel=1e-9)
    a, s, v = 0.8, 0.8, 0.01
    law = kesten.Fixed(a, 0.0, s, v, 16.0)
    index = lyapunov.gaussian_tail_index(a, s)
    slope = np.log((law.below(-40) + law.above(40)) / (law.below(-400) + law.above(400))) / np.log(10)
    assert slope == pytest.approx(index, rel=1e-2)
    deep = np.abs(a + s * np.random.default_rng(0).standard_normal(2_000_000))
    assert abs(np.mean(deep**index) - 1) < 5 * np.std(deep**index) / np.sqrt(2e6)
    assert abs(np.mean(np.log(deep)) - lyapunov.gaussian_exponent(a, s)) < 5 * np.std(np.log(deep)) / np.sqrt(2e6)


def test_chains_agree_with_closed_forms_and_moments():
    """Forced on a Gaussian in 2D, the chain's true error is within its estimate; with coupled noise, exact moments."""
    bowl = dfp.Langevin(dfp.SGD(rotated(2, 5.0), 0.1))
    found = dfp.stationary(bowl, None, dfp.FiniteVolume(tolerance=1e-3))
    exact = dfp.stationary(bowl, found.grid)
    error = np.abs(found.values - exact.values).sum() * found.grid.cell_volume
    # the certificate is true, and of use
    assert error <= found.error < 1e-2
    for equation in (dfp.Langevin(dfp.SGD(table(2), 0.05)), dfp.ModifiedLangevin(dfp.SGD(table(2), 0.05))):
        density = on_cells(dfp.stationary(equation, None, dfp.FiniteVolume(cells=96)))
        late = dfp.moments(equation, dfp.Point([0.0, 0.0]), LATE, [LATE])
        # extrapolated from three grids
        assert density.mean == pytest.approx(late.mean[0], abs=1e-5)
        assert density.covariance == pytest.approx(late.covariance[0], abs=1e-4 * late.covariance[0].max())
        moved = dfp.solve(equation, density, 200, [200], dfp.FiniteVolume(), density.grid)
        change = np.abs(moved.density[0] - density.values).sum() * density.grid.cell_volume
        assert change <= density.error + moved.certificate.truncation[0]


def test_independent_axes_in_three_dimensions():
    """A product of Student laws, each closed in 1D."""
    noise = dfp.GaussianNoise([0.3, 0.2, 0.4], [0.4, 0.1, 0.0])
    equation = dfp.Langevin(dfp.SGD(dfp.QuadraticLandscape([1.0, 0.5, 2.0], 0.1, noise), 0.1))
    density = dfp.stationary(equation, None, dfp.FiniteVolume(cells=48))
    for i, (h, d, gamma) in enumerate(((1.0, 0.3, 0.4), (0.5, 0.2, 0.1), (2.0, 0.4, 0.0))):
        side = dfp.Grid(density.grid.lower[i], density.grid.upper[i], density.grid.cells[i])
        exact = dfp.stationary(dfp.Langevin(dfp.SGD(one_mode(h, d, gamma, 0.1), 0.1)), side)
        others = tuple(k for k in range(3) if k != i)
        marginal = density.values.sum(axis=others) * density.grid.cell_volume / side.cell_volume
        assert np.abs(marginal - exact.values).sum() * side.cell_volume <= density.error


def test_fixed_points_of_the_master_equation():
    """Transfer: in 1D against the integral equation, in 2D and for a finite sum against the exact moments."""
    line = dfp.MasterEquation(dfp.SGD(one_mode(1.0, 0.3, 0.2, 0.4), 0.1))
    grid = dfp.stationary(line).grid
    found = dfp.stationary(line, grid, dfp.Transfer())
    assert np.abs(found.values - dfp.stationary(line, grid).values).sum() * grid.cell_volume <= found.error
    for landscape, eta, box in ((table(2), 0.2, dfp.Grid([-2, -2], [2.5, 1.6], 40)), (regression(1, 2), 0.1, None)):
        equation = dfp.MasterEquation(dfp.SGD(landscape, eta))
        density = on_cells(dfp.stationary(equation, box))
        late = dfp.moments(equation, dfp.Point(np.zeros(equation.dimension)), LATE, [LATE])
        scale = np.sqrt(np.diag(late.covariance[0]))
        assert np.abs(density.mean - late.mean[0]).max() < 1e-3 * scale.max()
        assert density.covariance == pytest.approx(late.covariance[0], abs=5e-3 * scale.max() ** 2)


def test_additive_finite_sums():
    """The infinite product of characteristic functions: cumulants κ_n η^n/(1 − (1−ηλ)^n) of the samples' law."""
    rng = np.random.default_rng(2)
    data = rng.exponential(size=9)
    landscape = dfp.QuadraticLandscape.from_samples(np.ones((9, 1, 1)), data[:, None], 1)
    density = dfp.stationary(dfp.MasterEquation(dfp.SGD(landscape, 0.2)))
    x = density.grid.axes[0] - density.mean
    third = (density.values * x**3).sum() * density.grid.cell_volume
    centred = data - data.mean()
    # Gibbs ripples of a rough density are cut at zero; without that both would be exact to the width of the box.
    assert density.covariance.item() == pytest.approx(np.mean(centred**2) * 0.04 / (1 - 0.64), rel=2e-4)
    assert third == pytest.approx(-np.mean(centred**3) * 0.008 / (1 - 0.512), rel=2e-3)
    with pytest.raises(dfp.NoStationaryDensity, match=r"singular.*entropy <= 2\.2.*dfp\.MonteCarlo"):
        dfp.stationary(dfp.MasterEquation(dfp.SGD(landscape, 0.95)))


def test_discrete_equation_in_two_dimensions():
    """(T5): the limit of the Hermite series has the exact moments, kurtosis included, and does not move."""
    equation = dfp.DiscreteFokkerPlanck(dfp.SGD(rotated(2, 3.0), 0.03))
    density = on_cells(dfp.stationary(equation))
    late = dfp.moments(equation, dfp.Point([0.0, 0.0]), LATE, [LATE])
    # the tail is summed on cells
    assert density.covariance == pytest.approx(late.covariance[0], rel=1e-6)
    # the certificate is of use
    assert density.error < 1e-3
    start = dfp.Gaussian(late.mean[0], late.covariance[0])
    moved = dfp.solve(equation, start, 800, [800], dfp.Hermite(24), density.grid)
    assert np.abs(moved.density[0] - density.values).sum() * density.grid.cell_volume < 2 * density.error


def test_what_has_none_or_no_method_is_refused():
    with pytest.raises(dfp.NoStationaryDensity, match=r"Lyapunov exponent is ℓ = 0\.1.*>= 0"):
        dfp.stationary(dfp.MasterEquation(dfp.SGD(one_mode(-1.0, 0.3, 0.8), 0.2)))
    with pytest.raises(dfp.NoStationaryDensity, match=r"unstable.*ℓ = "):
        dfp.stationary(dfp.MasterEquation(dfp.SGD(table(2), 3.0)))
    with pytest.raises(dfp.NoStationaryDensity, match="no gradient noise"):
        dfp.stationary(dfp.MasterEquation(dfp.SGD(one_mode(1.0, 0.0, 0.5), 0.2)))
    with pytest.raises(dfp.UnsupportedError, match=r"ℓ = -.*settles.*ρ₂ = "):
        dfp.stationary(dfp.MasterEquation(dfp.SGD(table(2), 1.25)))
    with pytest.raises(dfp.UnsupportedError, match="second moments grow"):
        dfp.stationary(dfp.Langevin(dfp.SGD(table(2), 8.0)))
    with pytest.raises(dfp.UnresolvedError, match="no stable grid resolves"):
        dfp.stationary(dfp.DiscreteFokkerPlanck(dfp.SGD(rotated(3, 2.0), 0.1)))
    with pytest.raises(dfp.SeriesError, match="does not converge"):
        dfp.stationary(dfp.DiscreteFokkerPlanck(dfp.SGD(rotated(2, 2.0), 0.4)))
    with pytest.raises(dfp.UnsupportedError, match=r"use 'auto' or dfp\.FiniteVolume\(\)"):
        dfp.stationary(dfp.Langevin(dfp.SGD(table(2), 0.1)), None, dfp.Transfer())
    with pytest.raises(dfp.UnsupportedError, match="d = 5"):
        dfp.stationary(dfp.Langevin(dfp.SGD(rotated(5, 2.0), 0.1)))


def test_given_grid_is_used():
    density = dfp.stationary(dfp.Langevin(dfp.SGD(one_mode(), 0.1)), dfp.Grid(-1, 1, 400))
    assert density.grid.cells == (400,)
    # what is outside is that of the law on a wider grid
    assert density.mass + density.outside == pytest.approx(1.0, abs=1e-6)
    with pytest.raises(dfp.DFPError, match="grid has 1 parameter: the landscape has 2; give lower"):
        dfp.stationary(dfp.Langevin(dfp.SGD(rotated(2, 2.0), 0.1)), dfp.Grid(-1, 1, 400))


def test_late_steps_of_the_discrete_equation_in_three_dimensions():
    """(T5), d = 3: exact covariance, and kurtosis of every axis; in 1D the Student t, by the same route."""
    rate, noise = 0.03, dfp.GaussianNoise([1.0, 0.9, 0.8])
    equation = dfp.DiscreteFokkerPlanck(dfp.SGD(dfp.QuadraticLandscape([1.0, 0.9, 0.8], 0.0, noise), rate))
    found = on_cells(dfp.stationary(equation))
    exact = dfp.stationary_moments(equation)
    # The grid is no finer than a step, which at this rate leaves an error of 1e-3, and says so.
    assert found.covariance == pytest.approx(exact.covariance, rel=2e-3, abs=1e-7)
    assert 3e-4 < found.error < 3e-3
    x, marginal = found.grid.axes[0], found.values.sum(axis=(1, 2)) * np.prod(found.grid.spacing)
    kurtosis = marginal @ x**4 / (marginal @ x**2) ** 2
    assert kurtosis == pytest.approx(3 * (2 - rate) / (2 - 3 * rate), rel=1e-2)
    assert kurtosis > 3.06
    line = dfp.DiscreteFokkerPlanck(dfp.SGD(one_mode(1.0, 1.0), 0.01))
    late, closed = dfp.stationary(line, solver=dfp.FiniteDifference()), dfp.stationary(line)
    other = np.interp(late.grid.axes[0], closed.grid.axes[0], closed.values)
    # Linear interpolation on the finer of the two grids errs by 1e-4.
    assert np.abs(late.values - other).sum() * late.grid.cell_volume < 1e-3
    assert late.error < 1e-6


@pytest.mark.parametrize("gamma", [0.0, 0.2])
def test_a_fixed_point_that_nothing_tends_to_is_no_stationary_law(gamma):
    """(T5) has a Student t as a fixed point at any η; for ηλ >= 2 its mean runs away, as every solver finds."""
    sgd = [dfp.SGD(one_mode(1.0, 0.3, gamma), eta) for eta in (1.9, 2.0, 2.5)]
    assert dfp.stationary(dfp.DiscreteFokkerPlanck(sgd[0])).error == 0
    for unstable, kind in zip(sgd[1:], ("diffusive", "unstable"), strict=True):
        with pytest.raises(dfp.NoStationaryDensity, match=rf"{kind} \(ηλ = 2.*no start tends to it"):
            dfp.stationary(dfp.DiscreteFokkerPlanck(unstable))
        moved = dfp.moments(dfp.DiscreteFokkerPlanck(unstable), dfp.Point(1.0), 20, [20])
        assert abs(moved.mean.item()) >= 1


@pytest.mark.parametrize("equation", [dfp.MasterEquation, dfp.DiscreteFokkerPlanck, dfp.Langevin, dfp.ModifiedLangevin])
@pytest.mark.parametrize("curvature_noise", [0.0, 5.0])
def test_cells_too_long_for_a_closed_law_are_refused(equation, curvature_noise):
    """What a sum over few cells misses is not mass outside, and more cells are the remedy."""
    noise = dfp.GaussianNoise([1.0], [curvature_noise])
    sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=noise), 0.1)
    with pytest.raises(dfp.UnresolvedError, match="more cells"):
        dfp.stationary(equation(sgd), dfp.Grid(-50.0, 50.0, 100))
    law = dfp.stationary(equation(sgd), dfp.Grid(-50.0, 50.0, 4000))
    assert law.outside < 1e-2 and abs(law.mass + law.outside - 1) < 1e-6  # what Density asks of every law


def test_a_box_that_cuts_a_gaussian_is_no_coarse_grid():
    """The walls cut the density where it is steep, in a rotated plane as well; what is outside is what was left out."""
    noise = dfp.GaussianNoise([[1.0, 0.6], [0.6, 1.0]])
    for hessian, box in (([1.0], ([0.0], [0.3])), ([1.0, 0.7], ([-0.3, 0.0], [0.2, 0.5]))):
        d = len(hessian)
        sgd = dfp.SGD(dfp.QuadraticLandscape(hessian, noise=noise if d == 2 else dfp.GaussianNoise([1.0])), 0.1)
        law = dfp.stationary(dfp.MasterEquation(sgd), dfp.Grid(*box, 60))
        settled = dfp.stationary_moments(dfp.MasterEquation(sgd))
        inside = multivariate_normal(settled.mean, settled.covariance).cdf(box[1], lower_limit=box[0])
        # Sums over cells err by Δ²/24 of the slope at the walls: below 1e-4 for 60 cells in a deviation or two.
        assert abs(law.outside - (1 - inside)) < 1e-4


EXPONENTIAL = dfp.AdditiveNoise(stats.expon())
NARROW = {
    "additive": (dfp.QuadraticLandscape([1.0], noise=EXPONENTIAL), dfp.Fourier()),
    "additive, by Transfer": (dfp.QuadraticLandscape([1.0], noise=EXPONENTIAL), dfp.Transfer()),
    "Student noise": (dfp.QuadraticLandscape([1.0], noise=dfp.StudentNoise([[1.0]], 5.0)), dfp.Fourier()),
    "curvature noise": (dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0], [0.4])), dfp.Transfer()),
    "samples of gradients": (
        dfp.QuadraticLandscape.from_samples(np.ones((9, 1, 1)), np.arange(9.0)[:, None] ** 1.5 / 9, 1),
        dfp.Fourier(),
    ),
    "samples": (
        dfp.QuadraticLandscape.from_regression(np.arange(1.0, 9.0)[:, None] / 4, np.cos(np.arange(8.0)), batch_size=4),
        dfp.Transfer(),
    ),
}


@pytest.mark.parametrize(("landscape", "solver"), NARROW.values(), ids=NARROW)
def test_what_a_narrow_grid_leaves_out_is_outside(landscape, solver):
    equation = dfp.MasterEquation(dfp.SGD(landscape, 0.2))
    whole = dfp.stationary(equation, solver=solver)
    spread = np.sqrt(whole.covariance[0, 0])
    lower, upper = whole.mean - spread, whole.mean + 1.5 * spread
    law = dfp.stationary(equation, dfp.Grid(lower, upper, 200), solver)
    beyond = 1 - whole.probability(lower, upper)
    assert beyond > 0.1
    # cells of a box that cuts the density: the midpoint rule is off by their square
    assert law.outside == pytest.approx(beyond, abs=1e-4)
    there = whole.interpolate(law.grid.points)
    assert np.abs(law.values - there).sum() * law.grid.cell_volume < 1e-5 + 2 * law.error
    # control: what would be put on the grid if nothing were outside
    assert np.abs(law.values / law.mass - there).sum() * law.grid.cell_volume > 0.1


def test_what_a_narrow_grid_leaves_out_of_a_flow_in_the_plane_is_outside():
    def gradient(theta):
        first, second = theta[..., 0], theta[..., 1]
        return np.stack([first**3 - first + 0.3 * second, second + 0.3 * first], axis=-1)

    equation = dfp.Langevin(dfp.SGD(dfp.Landscape(gradient, 0.6 * np.eye(2), dimension=2), 0.2))
    whole = dfp.stationary(equation)
    spread = np.sqrt(np.diag(whole.covariance))
    lower, upper = whole.mean - spread, whole.mean + 1.5 * spread
    law = dfp.stationary(equation, dfp.Grid(lower, upper, 60))
    # cells of a box that cuts the density: the midpoint rule is off by their square
    assert law.outside == pytest.approx(1 - whole.probability(lower, upper), abs=1e-3)
    assert law.outside > 0.4
    there = whole.interpolate(law.grid.points)
    assert np.abs(law.values - there).sum() * law.grid.cell_volume < law.error + whole.error
    with pytest.raises(dfp.UnresolvedError, match="too many to find the mass beyond it"):
        dfp.stationary(equation, dfp.Grid(lower / 20, upper / 20, 60))


def test_grids_of_laws_with_heavy_tails_hold_them():
    """A sum of Student's t with four degrees of freedom, whose kurtosis is infinite, beside samples of the walk."""
    noise = dfp.AdditiveNoise(stats.t(4))
    law = dfp.stationary(dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape([1.0], noise=noise), 0.1)))
    # what the docstring promises of automatic grids
    assert law.outside < 1e-8
    # rounding
    assert law.covariance == pytest.approx(0.1**2 * 2 / (1 - 0.9**2), rel=1e-12)
    rng, theta = np.random.default_rng(5), np.zeros(400_000)
    for _ in range(80):
        theta = 0.9 * theta + 0.1 * rng.standard_t(4, theta.size)
    reach = 1.3  # four deviations
    share = np.mean(np.abs(theta) > reach)
    expected = 1 - law.probability([-reach], [reach])
    sigma = np.sqrt(expected * (1 - expected) / theta.size)
    assert abs(share - expected) < 5 * sigma  # one in two million
    assert expected - 2 * stats.norm.sf(reach / np.sqrt(law.covariance[0, 0])) > 20 * sigma  # control: a Gaussian
