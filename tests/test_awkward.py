"""Awkward but plausible problems: jumps, steps that vanish or are tiny, grids elsewhere; right, or refused in words."""

import numpy as np
import pytest
from scipy.stats import norm

import dfp


def mode(curvature=1.0, gradient=0.1, noise=0.3, fluctuation=0.0, rate=0.1):
    """One mode with Gaussian noise."""
    return dfp.SGD(dfp.QuadraticLandscape([curvature], gradient, dfp.GaussianNoise(noise, fluctuation)), rate)


def uniform(width, cells=200):
    """A uniform density on [−width, width]."""
    return dfp.Density(dfp.Grid(-width, width, cells), np.full(cells, 0.5 / width))


def two_peaks(cells=300):
    grid = dfp.Grid(-3.0, 3.0, cells)
    x = grid.axes[0]
    return dfp.Density.normalised(grid, norm.pdf(x, -1, 0.2) + norm.pdf(x, 1, 0.3))


def convolved(start, factor, shift, variance, places):
    """The density at ``places`` of factor · x + shift + Gaussian noise, x at the centres of the start's cells."""
    masses, x = start.values * start.grid.cell_volume, start.grid.axes[0]
    return norm.pdf(places[:, None], factor * x + shift, np.sqrt(variance)) @ masses


def distance(solution, frame, exact):
    return np.abs(solution.density[frame] - exact).sum() * solution.grid.cell_volume


@pytest.mark.parametrize("fluctuation", [0.0, 0.2])
@pytest.mark.parametrize(("curvature", "rate"), [(1.0, 1.0), (2.0, 0.5), (1.0, 1 - 1e-15)])
def test_steps_that_forget_where_they_start(curvature, rate, fluctuation):
    """ηλ = 1: after one step θ is the noise about the critical point, whatever the start."""
    sgd = mode(curvature, 0.1, 0.3, fluctuation, rate)
    start = dfp.Gaussian(0.3, 0.05)
    solution = dfp.solve(dfp.MasterEquation(sgd), start, 50, [1, 50], dfp.Transfer())
    assert solution.certificate.ok, solution.certificate
    exact = dfp.moments(dfp.MasterEquation(sgd), start, 50, [1, 50])
    # rounding
    np.testing.assert_allclose(solution.mean, exact.mean, atol=1e-12)
    # rounding, and tails cut by the box
    np.testing.assert_allclose(solution.covariance, exact.covariance, rtol=1e-9)


def test_steps_too_small_to_be_followed_are_refused():
    """Millions of nodes would fill the memory: the message says so, and auto goes on to another solver."""
    tiny, far = mode(rate=1e-6), dfp.Gaussian(1e6, 1e-4)
    for sgd, start in ((tiny, dfp.Gaussian(0.3, 0.05)), (mode(), far), (tiny, two_peaks())):
        with pytest.raises(dfp.UnresolvedError, match=r"a step spreads by .* nodes would be needed.*use dfp\.Hermite"):
            dfp.solve(dfp.MasterEquation(sgd), start, 10, [10], dfp.Transfer())
    found = dfp.solve(dfp.MasterEquation(mode(fluctuation=0.1, rate=1e-6)), dfp.Point(0.3), 5)
    assert found.solver == "MonteCarlo"


def test_many_cells_that_are_fine_enough_are_taken():
    """No table of interpolation is needed, however many they are."""
    grid = dfp.Grid(-4.0, 4.0, 12_000)
    start = dfp.Density.normalised(grid, norm.pdf(grid.axes[0], 0.3, 0.4))
    equation = dfp.MasterEquation(mode(fluctuation=0.1))
    solution = dfp.solve(equation, start, 5, [5], dfp.Transfer())
    # rounding, and tails cut by the box
    assert solution.covariance[0] == pytest.approx(dfp.moments(equation, start, 5, [5]).covariance[0], rel=1e-9)


@pytest.mark.parametrize("steps", [1, 5, 12])
@pytest.mark.parametrize("width", [0.5, 1.5, 3.0])
@pytest.mark.parametrize("noise", [0.1, 1.0])
def test_a_uniform_start_is_certified(width, steps, noise):
    """Its waves decay slowly and vanish at regular places, the last of a grid among them."""
    sgd, start = mode(1.0, 0.1, noise), uniform(width)
    factor, gained = 0.9**steps, 0.01 * noise * sum(0.81**k for k in range(steps))
    for grid in (None, dfp.Grid(-width - 1, width + 1, 60)):
        try:
            solution = dfp.solve(dfp.MasterEquation(sgd), start, steps, [steps], grid=grid)
        except dfp.UnresolvedError as reason:
            assert grid is not None, reason
            continue
        exact = convolved(start, factor, -0.1 * (1 - factor), gained, solution.grid.axes[0])
        assert distance(solution, 0, exact) <= solution.certificate.error[0]
        # the certificate is of use on a grid of its own choice
        assert grid is not None or solution.certificate.error[0] < 2e-3


@pytest.mark.parametrize("cells", [100, 400])
@pytest.mark.parametrize("steps", [1, 20])
@pytest.mark.parametrize("width", [0.7, 1.0])
def test_cells_that_do_not_meet_a_jump_are_certified(width, steps, cells):
    solution = dfp.solve(dfp.Langevin(mode(1.0, 0.0)), uniform(width, cells), steps, [steps], dfp.FiniteVolume())
    factor = np.exp(-0.1 * steps)
    deviation, x = np.sqrt(0.015 * (1 - factor**2)), solution.grid.axes[0]
    edges = norm.cdf((x + factor * width) / deviation) - norm.cdf((x - factor * width) / deviation)
    assert distance(solution, 0, edges / (2 * factor * width)) <= solution.certificate.error[0]


def test_automatic_grids_hold_and_resolve_gridded_starts():
    """Two peaks, narrower than moments tell: at step 0 as given, later to rounding; also in two dimensions, turned."""
    start = two_peaks()
    solution = dfp.solve(dfp.MasterEquation(mode()), start, 5)
    assert solution.certificate.ok, solution.certificate
    shared = np.searchsorted(solution.grid.axes[0], start.grid.axes[0] - 1e-9)
    assert np.array_equal(solution.density[0][shared], start.values)
    factor, gained = 0.9**5, 0.003 * sum(0.81**k for k in range(5))
    exact = convolved(start, factor, -0.1 * (1 - factor), gained, solution.grid.axes[0])
    assert distance(solution, 1, exact) < 1e-11
    tight = dfp.solve(dfp.MasterEquation(mode()), start, 5, [5], tolerance=1e-9)
    assert tight.certificate.error[0] < 1e-9
    late = dfp.solve(dfp.Langevin(mode()), start, 10**6)
    assert late.certificate.ok
    plane = dfp.Grid([-2.0, -2.0], [2.0, 2.0], 64)
    x, y = np.meshgrid(*plane.axes, indexing="ij")
    peaks = dfp.Density.normalised(
        plane, np.exp(-((x - 0.8) ** 2 + y**2) / 0.08) + np.exp(-((x + 0.8) ** 2 + y**2) / 0.08)
    )
    landscape = dfp.QuadraticLandscape([[1.0, 0.3], [0.3, 0.5]], 0.0, dfp.GaussianNoise([[0.5, 0.1], [0.1, 0.3]]))
    turned = dfp.solve(dfp.MasterEquation(dfp.SGD(landscape, 0.1)), peaks, 10, [0, 10])
    assert turned.certificate.ok, turned.certificate


def test_a_stationary_law_that_exists_is_not_denied():
    """Noise that vanishes where the step does not: a density exists (κ = 43), only no method here resolves it."""
    sgd = mode(1.0, 0.2, 0.0, 0.5)
    for equation in (dfp.MasterEquation(sgd), dfp.Langevin(sgd), dfp.ModifiedLangevin(sgd, positive=True)):
        with pytest.raises(dfp.UnsupportedError, match=r"use dfp\.solve for a late step"):
            dfp.stationary(equation)
    with pytest.raises(dfp.NoStationaryDensity, match=r"may collapse onto that point; add gradient noise\.$"):
        dfp.stationary(dfp.Langevin(mode(1.0, 0.0, 0.0, 0.5)))


def test_laws_without_noise_are_told_as_the_points_that_they_are():
    for equation in (dfp.MasterEquation, dfp.DiscreteFokkerPlanck, dfp.Langevin, dfp.ModifiedLangevin):
        for hessian in ([1.0], [1.0, 0.5]):
            with pytest.raises(dfp.NoStationaryDensity, match=r"every start ends in the point \[-2\.0"):
                dfp.stationary(equation(dfp.SGD(dfp.QuadraticLandscape(hessian, [2.0, 1.0][: len(hessian)]), 0.1)))
    part = dfp.QuadraticLandscape([1.0, 0.5], noise=dfp.GaussianNoise([1.0, 0.0]))
    with pytest.raises(
        dfp.NoStationaryDensity, match=r"leaves out the direction \[0\.0, 1\.0\].* that of θ = \[0\.0, 0\.0\]"
    ):
        dfp.stationary(dfp.MasterEquation(dfp.SGD(part, 0.1)))
    with pytest.raises(dfp.NoStationaryDensity, match="unstable"):  # the control: it ends nowhere
        dfp.stationary(dfp.MasterEquation(mode(-1.0, 0.0, 0.0)))


def test_boxes_of_another_dimension_are_refused():
    """A list of one number was repeated for every parameter, as a number is."""
    sgd = dfp.SGD(dfp.QuadraticLandscape([1.0, 0.5], noise=dfp.GaussianNoise([1.0, 1.0])), 0.1)
    equation = dfp.MasterEquation(sgd)
    for refused in (
        lambda: dfp.escape(sgd, 0.0, dfp.Grid(-1.0, 1.0, 8)),
        lambda: dfp.stationary(equation).probability([-1.0], [1.0]),
    ):
        with pytest.raises(dfp.DFPError, match="must have one number per parameter; give 2"):
            refused()
    with pytest.raises(dfp.DFPError, match="domain has 1 parameter: the landscape has 2; give corners of 2 numbers"):
        dfp.exit_steps(equation, dfp.Grid(-1.0, 1.0, 8), dfp.Point([0.0, 0.0]))
    with pytest.raises(dfp.DFPError, match="grid has 2 parameters: what is along directions has 1; give lower and up"):
        start = dfp.Gaussian([0.0, 0.0], 1.0)
        dfp.solve(equation, start, 5, directions=[[1.0], [1.0]], grid=dfp.Grid([-1.0, -1.0], 1.0, 8))
    assert dfp.stationary(equation).probability(-1.0, 1.0) > 0.99  # the control: a number is for every one


@pytest.mark.parametrize(
    ("equation", "solver"),
    [
        (dfp.MasterEquation, dfp.Hermite()),
        (dfp.MasterEquation, dfp.Fourier()),
        (dfp.MasterEquation, dfp.Transfer()),
        (dfp.MasterEquation, dfp.MonteCarlo(2048)),
        (dfp.DiscreteFokkerPlanck, dfp.FiniteDifference()),
    ],
)
def test_a_grid_elsewhere_is_refused(equation, solver):
    with pytest.raises(dfp.UnresolvedError, match=r"step 10: no mass is on the grid.*move or widen it"):
        dfp.solve(equation(mode(rate=0.02)), dfp.Gaussian(0.3, 0.05), 10, [10], solver, dfp.Grid(50, 60, 100))


def test_a_spacing_too_coarse_is_told_from_one_that_cannot_be():
    equation, start = dfp.DiscreteFokkerPlanck(mode(1.0, 0.0, 1.0, rate=0.02)), dfp.Gaussian(0.3, 0.05)
    with pytest.raises(dfp.UnresolvedError, match=r"too coarse.*refine it to between .* or leave spacing out"):
        dfp.solve(equation, start, 50, [50], dfp.FiniteDifference("fourth", spacing=0.3))


def test_a_uniform_start_under_noise_that_depends_on_the_place():
    """A density without slopes but at the ends of its box, in two dimensions: errors are estimated."""
    landscape = dfp.QuadraticLandscape([1.0, 0.4], 0.0, dfp.GaussianNoise([0.3, 0.2], [0.2, 0.1]))
    start = dfp.Density(dfp.Grid([-1.0, -1.0], [1.0, 1.0], 40), np.full((40, 40), 0.25))
    for equation, accuracy in ((dfp.MasterEquation, 1e-6), (dfp.Langevin, 2e-2)):
        solution = dfp.solve(equation(dfp.SGD(landscape, 0.1)), start, 5, [0, 5])
        exact = dfp.moments(equation(dfp.SGD(landscape, 0.1)), start, 5, [0, 5])
        # the share that each solver promises; entries off the diagonal are small
        assert solution.covariance[1] == pytest.approx(exact.covariance[1], rel=accuracy, abs=1e-4)
        # mass ε at r deviations changes a variance by r²ε, and ripples reach two deviations and more
        assert solution.certificate.error[1] >= 0.25 * solution.certificate.covariance_error[1]
        assert 1e-3 < solution.certificate.error[0] < 0.5


def test_what_is_refused_is_told_in_one_line_with_what_to_give(tmp_path):
    """Of a data frame, of a number that is none, of a folder, of a start that is no state."""
    pandas = pytest.importorskip("pandas")
    with pytest.raises(dfp.DFPError, match=r"^features= a 0 u 1 v: must be|^features=a 0 u 1 v: must be"):
        dfp.QuadraticLandscape.from_regression(pandas.DataFrame({"a": ["u", "v"]}), [1.0, 2.0])
    with pytest.raises(dfp.DFPError, match=r"^initial\.theta=nan: must be finite"):
        dfp.Point(np.nan)
    with pytest.raises(dfp.DFPError, match="is no regular file"):
        dfp.load(tmp_path)
    sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), 0.1)
    with pytest.raises(dfp.DFPError, match=r"give e\.g\. dfp\.Point"):
        dfp.solve(dfp.MasterEquation(sgd), 0.5, 10)


def test_functions_of_a_sweep_take_its_axes_and_return_numbers():
    with pytest.raises(dfp.DFPError, match=r"axes=\['b'\]: .* takes other arguments .*'a'\); name them like"):
        dfp.sweep(lambda a: a, {"b": [1.0]}, quiet=True)
    with pytest.raises(TypeError, match="function returned NoneType"):
        dfp.sweep(lambda a: None, {"a": [1.0]}, quiet=True)


def test_one_step_is_as_good_as_a_list_of_one():
    sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), 0.1)
    solution = dfp.solve(dfp.MasterEquation(sgd), dfp.Gaussian(0.5, 0.1), 10, [5, 10])
    assert solution.at(5).steps.tolist() == solution.at([5]).steps.tolist() == [5]
    for steps in (7, [7], "ab"):
        with pytest.raises(dfp.DFPError, match="were not saved; choose from"):
            solution.at(steps)
