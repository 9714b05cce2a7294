"""What no smooth representation shows: each kind as it was found, with the right value, and a control."""

import numpy as np
import pytest
from dfp_solvers.characteristic import Univariate
from numpy.polynomial import Polynomial
from scipy import stats

import dfp
from validation import truths


def peaks(x, apart=0.25, width=0.05):
    return np.mean([stats.norm.pdf(x, centre, width) for centre in apart * np.arange(-4, 5)], axis=0)


def test_a_comb_is_not_taken_for_a_bell():
    """Peaks 0.25 apart: a series up to degree 16 shows none of them, and its last terms are small all the same."""
    sgd = dfp.SGD(dfp.QuadraticLandscape([0.5], 0, dfp.GaussianNoise([0.02], [0.01])), 0.1)
    grid = dfp.Grid(-3, 3, 1200)
    start = dfp.Density.normalised(grid, peaks(grid.axes[0]))
    for equation in (dfp.MasterEquation(sgd), dfp.Langevin(sgd)):
        with pytest.raises(dfp.SeriesError, match="waves that it cannot show"):
            dfp.solve(equation, start, 2, [2], dfp.Hermite(tolerance=0.1))
    assert dfp.solve(dfp.MasterEquation(sgd), start, 2, [2]).solver == "Transfer"
    # The control: the same peaks, blurred by enough steps, are a bell again.
    noisy = dfp.SGD(dfp.QuadraticLandscape([0.5], 0, dfp.GaussianNoise([2.0], [0.01])), 0.2)
    late = dfp.solve(dfp.MasterEquation(noisy), start, 30, [30], dfp.Hermite())
    assert late.certificate.error[-1] < 1e-3


@pytest.mark.parametrize(("width", "refused"), [(0.005, True), (0.5, False)])
def test_atoms_of_a_narrow_start(width, refused):
    rng = np.random.default_rng(2)
    landscape = dfp.QuadraticLandscape.from_regression(rng.standard_normal((2, 1)), rng.standard_normal(2), 16)
    equation, start = dfp.MasterEquation(dfp.SGD(landscape, 0.2)), dfp.Gaussian(0.3, width**2)
    if refused:
        with pytest.raises(dfp.SeriesError):
            dfp.solve(equation, start, 2, [2], dfp.Hermite())
    else:
        # the certificate is of use
        assert dfp.solve(equation, start, 2, [2], dfp.Hermite()).certificate.error[-1] < 0.02


@pytest.mark.parametrize("solver", [dfp.Hermite(), dfp.FiniteDifference()])
def test_waves_that_the_expansion_amplifies(solver):
    """(T5) on a flat mode: φ_n = φ_0 (1 − η²Dk²/2)ⁿ, whose largest value has left any density after sixteen steps."""
    sgd = dfp.SGD(dfp.QuadraticLandscape([0.0], 0, dfp.GaussianNoise([0.762])), 0.367)
    equation, start = dfp.DiscreteFokkerPlanck(sgd), dfp.Gaussian(0.0, 0.288)
    k = np.linspace(0, 60, 20_001)
    phi = np.exp(-0.144 * k**2) * np.abs(1 - 0.367**2 * 0.762 * k**2 / 2) ** 16
    assert phi.max() > 1e3
    with pytest.raises((dfp.SeriesError, dfp.UnresolvedError)):
        dfp.solve(equation, start, 16, [16], solver)
    # The control: a wide start has no such waves, and its polynomial is met.
    deviation, part = 1.5, Polynomial([1.0])
    for _ in range(16):
        inner = part.deriv() - Polynomial([0, 1]) * part
        part = part + 0.367**2 / 2 * 0.762 * (inner.deriv() - Polynomial([0, 1]) * inner) / deviation**2
    solution = dfp.solve(equation, dfp.Gaussian(0.0, deviation**2), 16, [16], solver)
    z = solution.grid.axes[0] / deviation
    exact = part(z) * stats.norm.pdf(z) / deviation
    true = float(np.abs(solution.density[-1] - exact).sum()) * solution.grid.cell_volume
    assert true < solution.certificate.error[-1] < 0.05


def test_walls_that_were_met_on_the_way_count():
    """λ = 1: what the box leaves out of the start comes back inside, and is missed there."""
    sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], 0, dfp.GaussianNoise([0.3])), 0.27)
    start, grid = dfp.Gaussian(-0.5, 0.1), dfp.Grid(-0.6, 2.0, 256)
    equation = dfp.Langevin(sgd)
    exact = dfp.moments(equation, start, 4, [4])
    truth = dfp.Gaussian(exact.mean[-1], exact.covariance[-1]).density(grid.points)
    cut = dfp.solve(equation, start, 4, [4], dfp.FiniteVolume(), grid)
    true = float(np.abs(cut.density[-1] - truth).sum()) * grid.cell_volume
    assert true > 0.05
    assert cut.certificate.error[-1] > true and not cut.certificate.ok
    whole = dfp.solve(equation, start, 4, [4], dfp.FiniteVolume(), dfp.Grid(-4, 4, 512))
    assert whole.certificate.error[-1] < 1e-4  # the control: nothing meets these walls


def test_langevin_with_tails_too_heavy_for_a_variance():
    """κ_L = 1.2: the box follows the bulk, not the variance, and says what is outside."""
    sgd = dfp.SGD(dfp.QuadraticLandscape([0.77], 0, dfp.GaussianNoise([0.55], [54.4])), 0.148)
    solution = dfp.solve(dfp.Langevin(sgd), dfp.Gaussian(0.744, 0.067), 16, [16], dfp.FiniteVolume())
    scale = np.sqrt(0.55 / 54.4)
    assert solution.grid.spacing[0] < 0.2 * scale
    # what leaves is counted, and is a share of the tails
    assert 0 < solution.certificate.mass_outside[-1] < 0.02
    assert solution.certificate.error[-1] < 0.1


def test_langevin_with_such_tails_beside_a_mode_without():
    """d = 2: the product of a law with κ_L = 1.1 … 1.4 and a Gaussian; on cells wider than its bulk nothing is said."""
    truth = truths.heavy(np.random.default_rng(28))
    law, eta, steps = truth.equation.sgd.landscape.law, truth.equation.sgd.learning_rate, truth.steps
    noise = law.covariance(np.zeros(1)).item()
    spread, curvature = law.covariance(np.ones(1)).item() - noise, truth.equation.sgd.hessian.item()
    assert 1.1 < 1 + 2 * curvature / (eta * spread) < 1.4
    both = dfp.GaussianNoise([noise, 0.3], [[spread, 0.0], [0.0, 0.0]])
    equation = dfp.Langevin(dfp.SGD(dfp.QuadraticLandscape([curvature, 1.0], 0.0, both), eta))
    start = dfp.Gaussian([truth.initial.mean.item(), 0.2], [truth.initial.covariance.item(), 0.1])
    solution = dfp.solve(equation, start, steps, [steps], dfp.FiniteVolume(tolerance=1e-3))
    other = dfp.moments(equation, start, steps, [steps])
    plain = dfp.Gaussian(other.mean[0, 1], other.covariance[0, 1, 1])

    def error(found):
        x, y = (axis[:, None] for axis in found.grid.axes)
        exact = truth.density(x)[:, None] * plain.density(y)
        beyond = 1 - float(exact.sum()) * found.grid.cell_volume
        return float(np.abs(found.density[-1] - exact).sum()) * found.grid.cell_volume + beyond

    # a share of the tails is outside of any box
    assert error(solution) < solution.certificate.error[-1] < 0.3
    # The control: the box of the variance, which explodes, shows nothing of the bulk, and says so.
    reach = 6 * float(np.sqrt(other.covariance[0, 0, 0]))
    grid = dfp.Grid([-reach, -2.0], [reach, 2.2], (320, 80))
    blind = dfp.solve(equation, start, steps, [steps], dfp.FiniteVolume(), grid)
    assert error(blind) > 0.5 and blind.certificate.error[-1] > 2


@pytest.mark.parametrize("spread", [0.0, 0.2])
def test_a_start_with_jumps_keeps_its_mass(spread):
    grid = dfp.Grid(-2, 2, 100)
    start = dfp.Density.normalised(grid, (np.abs(grid.axes[0] - 0.1) < 0.6).astype(float))
    sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], 0, dfp.GaussianNoise([0.05], [spread])), 0.3)
    equation = dfp.MasterEquation(sgd)
    solution = dfp.solve(equation, start, 1, [1], dfp.Transfer())
    x, variance = grid.axes[0], 0.09 * (0.05 + spread * grid.axes[0] ** 2)
    pairs = stats.norm.pdf(solution.grid.axes[0][:, None], 0.7 * x, np.sqrt(variance))
    exact = pairs @ (start.values * grid.cell_volume)
    true = float(np.abs(solution.density[-1] - exact).sum()) * solution.grid.cell_volume
    # tails cut by the box
    assert true < 1e-10 and true < solution.certificate.error[-1]
    # rounding, and tails cut by the box
    assert abs(solution.certificate.mass_defect[-1]) < 1e-9
    # The control: mass spread over the cells is another start.
    even = (grid.edges[0][:-1, None] + grid.spacing * (np.arange(40) + 0.5) / 40).ravel()
    other = stats.norm.pdf(solution.grid.axes[0][:, None], 0.7 * even, 0.3 * np.sqrt(0.05 + spread * even**2))
    moved = other @ np.repeat(start.values * grid.cell_volume / 40, 40)
    assert 1e-5 < float(np.abs(moved - exact).sum()) * solution.grid.cell_volume < 2e-3


@pytest.mark.parametrize(("width", "steps"), [(0.8, 1), (0.3, 1), (0.05, 2)])
def test_a_smooth_start_in_a_plane_stays_smooth_under_kernels_narrower_than_its_cells(width, steps):
    """Modes that do not couple: each by the transition integral on dense nodes; ``width`` of a kernel in cells."""
    eta, spread, cells = 0.2, 2e-3, 60
    noise, grid = (width * 10 / cells / eta) ** 2, dfp.Grid([-5, -5], [5, 5], cells)
    centre, deviation, slopes = np.array([0.3, -0.5]), np.array([0.5, 0.4]), 1 - eta * np.array([0.5, 1.0])
    start = dfp.Density.normalised(grid, dfp.Gaussian(centre, deviation**2).density(grid.points))
    law = dfp.GaussianNoise([noise, noise], spread * np.eye(2))
    equation = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape([0.5, 1.0], 0, law), eta))
    solution = dfp.solve(equation, start, steps, [steps], dfp.Transfer())

    def moved(places, mass, slope, targets):
        variance = eta**2 * (noise + spread * places**2)
        return np.exp(-((targets[:, None] - slope * places) ** 2) / 2 / variance) / np.sqrt(2 * np.pi * variance) @ mass

    exact, spikes = [], []
    for axis, targets in enumerate(solution.grid.axes):
        nodes = centre[axis] + deviation[axis] * np.linspace(-9, 9, 6001)
        weight, own = nodes[1] - nodes[0], grid.axes[axis]
        mass = stats.norm.pdf(nodes, centre[axis], deviation[axis]) * weight
        for _ in range(steps - 1):
            mass = moved(nodes, mass, slopes[axis], nodes) * weight
        exact.append(moved(nodes, mass, slopes[axis], targets))
        points = stats.norm.pdf(own, centre[axis], deviation[axis]) * grid.spacing[axis]
        spikes.append(moved(own, points, slopes[axis], targets))
    volume = solution.grid.cell_volume
    true = float(np.abs(solution.density[-1] - exact[0][:, None] * exact[1]).sum()) * volume
    # a hundredth is what may be left of spikes; 1e-11 is what the cells of the start leave out of its waves
    assert true < min(solution.certificate.error[-1] + 1e-11, 0.01)
    # The control: points for cells are spikes where kernels are narrower than them, and only there.
    apart = float(np.abs(spikes[0][:, None] * spikes[1] - exact[0][:, None] * exact[1]).sum()) * volume
    assert (apart > 0.1) == (width < 0.5)  # of at most 2; resolved ones leave some 1e-4


@pytest.mark.parametrize(
    ("law", "exact"),
    [
        (stats.dgamma(2.0), lambda k: np.real((1 - 1j * k) ** -2)),
        (stats.dgamma(0.6), lambda k: np.real((1 - 1j * k) ** -0.6)),
        (stats.laplace_asymmetric(2), lambda k: 1 / ((1 + 2j * k) * (1 - 0.5j * k))),
    ],
)
def test_laws_with_kinks_zeros_and_poles(law, exact):
    one, k = Univariate(law), np.linspace(0.1, 40, 150)
    error = np.max(np.abs(one.characteristic(k) * np.exp(1j * k * one.centre) - exact(k)))
    # rounding
    assert error < 1e-11
    assert error < 100 * one.table_error + 1e-13
    # The control: a trapezoidal rule over standard normals, which sees the rough place between two of its nodes.
    z = np.linspace(-8.3, 8.3, 1601)
    rule = np.exp(1j * np.outer(k, one.transform(z))) @ (stats.norm.pdf(z) * (z[1] - z[0]))
    assert np.max(np.abs(rule * np.exp(1j * k * one.centre) - exact(k))) > 1e-9


@pytest.mark.parametrize("solver", [dfp.FiniteVolume(), dfp.Transfer()])
def test_errors_in_nonlinear_landscapes_are_numbers(solver):
    sgd = dfp.SGD(dfp.Landscape(lambda t: t**3 - t, lambda t: np.full((len(t), 1, 1), 0.5)), 0.05)
    equation = dfp.Langevin(sgd) if solver.name == "FiniteVolume" else dfp.MasterEquation(sgd)
    solution = dfp.solve(equation, dfp.Gaussian(0.5, 0.05), 10, [10], solver, tolerance=1e-3)
    # the tolerance asked for
    assert 0 < solution.certificate.error[-1] <= 1e-3


def test_fourth_moments_of_rare_trajectories_are_warned_of():
    start = dfp.Gaussian(0.5, 0.1)
    for spread, warned in ((3.0, True), (0.05, False)):
        sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], 0, dfp.GaussianNoise([0.3], [spread])), 0.4)
        sampled = dfp.solve(dfp.MasterEquation(sgd), start, 20, [20], dfp.MonteCarlo(40_000, seed=1))
        assert any("eighth moments" in warning for warning in sampled.certificate.warnings) == warned
