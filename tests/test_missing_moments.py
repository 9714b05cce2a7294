"""Laws without a mean or a variance say so, wherever their moments are read, and count what is outside their grids."""

import numpy as np
import pytest
from dfp_solvers import lyapunov
from problems import one_mode
from scipy import stats
from typer.testing import CliRunner

import dfp
from dfp.cli.commands import app
from dfp.results.cells import Cells

CAUCHY = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.AdditiveNoise(stats.cauchy(scale=0.3))), 0.2)
MASTER = dfp.MasterEquation(CAUCHY)
# Σ_s (1 − ηλ)^s η scale: the stationary law is that Cauchy law.
SETTLED = stats.cauchy(scale=0.3)


def kesten(learning_rate, gamma=1.0):
    return dfp.MasterEquation(dfp.SGD(one_mode(1.0, 1.0, gamma), learning_rate))


@pytest.mark.parametrize(("learning_rate", "mean", "covariance"), [(1.3, np.nan, np.inf), (1.1, 0.0, np.inf)])
def test_tail_indices_decide_which_moments_are_there(learning_rate, mean, covariance):
    """E|1 − ηh|^κ = 1 decides (T16): κ <= 1 leaves no mean, κ <= 2 no variance."""
    equation = kesten(learning_rate)
    index = lyapunov.gaussian_tail_index(1 - learning_rate, learning_rate)
    assert (index <= 1) == np.isnan(mean) and index < 2
    law = dfp.stationary(equation)
    np.testing.assert_array_equal(law.mean, [mean])
    np.testing.assert_array_equal(law.covariance, [[covariance]])
    assert f"κ = {index:.3g} <= {1 if index <= 1 else 2}" in law.warnings[0] and "warning(s)" in repr(law)
    np.testing.assert_array_equal(dfp.expected_loss(equation.sgd, law), [np.inf])
    # What the cells have is a number, which means nothing: that of another grid is another.
    wide, narrow = law.bulk.covariance.item(), dfp.stationary(equation, dfp.Grid(-50, 50, 4000)).bulk.covariance.item()
    assert np.isfinite(wide) and wide > 2 * narrow


def test_a_variance_that_is_there_is_exact_beyond_the_grid():
    """(T6), Γ > 0: ηD/(2λ − ηΓ) = 1.857, of which the cells miss 3 %, for κ = 1 + 2λ/(ηΓ) = 2.54."""
    law = dfp.stationary(dfp.Langevin(kesten(1.3).sgd))
    assert law.covariance.item() == pytest.approx(1.3 / (2 - 1.3), rel=1e-12) and not law.mean.any()
    assert law.bulk is law and not any("κ" in warning for warning in law.warnings)
    assert dfp.Density(law.grid, law.values, law.outside).covariance.item() < 0.98 * law.covariance.item()  # control


def test_students_law_without_a_variance():
    """(T5), Γ > 0: Student's t with ν = 1 + 2λ/(η(Γ + λ²)) = 1.77 (theory page, section 2)."""
    law = dfp.stationary(dfp.DiscreteFokkerPlanck(kesten(1.3).sgd))
    nu = 1 + 2 / (1.3 * 2)
    exact = stats.t(nu, scale=np.sqrt(1 / 2 / nu))
    assert law.covariance.item() == np.inf and law.mean.item() == 0 and f"{nu:.3g} <= 2" in law.warnings[0]
    place = 3 * law.grid.upper[0]
    # quadrature, and Student's function in double precision so far out
    assert law.probability(law.grid.upper[0], np.inf) == pytest.approx(exact.sf(law.grid.upper[0]), rel=1e-6)
    with pytest.raises(dfp.DFPError, match=r"outside the grid, which is much of .*wider"):
        law.probability(law.grid.upper[0], place)


def test_additive_noise_without_a_variance(tmp_path):
    law = dfp.stationary(MASTER)
    assert np.isnan(law.mean).all() and law.covariance.item() == np.inf and "κ = 1 <= 1" in law.warnings[0]
    assert law.outside > 1e-3 and "outside the grid" in law.warnings[1]
    law.save(tmp_path / "law.h5")
    again = dfp.load(tmp_path / "law.h5")
    assert again == law and again.warnings == law.warnings and dfp.rerun(tmp_path / "law.h5") == law
    dataset = law.to_xarray()
    assert np.isnan(dataset["mean"]).all() and "κ = 1" in dataset.attrs["warnings"]
    (tmp_path / "cauchy.toml").write_text(
        '[landscape]\nkind = "quadratic"\nhessian = [1.0]\n'
        'additive.laws = ["cauchy(scale=0.3)"]\n'
        '[sgd]\nlearning_rate = 0.2\n[[equation]]\nkind = "master"\n',
        encoding="utf-8",
    )
    told = CliRunner().invoke(app, ["stationary", str(tmp_path / "cauchy.toml")])
    assert told.exit_code == 0, told.output
    assert "nan" in told.output and "inf" in told.output and "κ = 1 <= 1" in told.output


@pytest.mark.parametrize("solver", [dfp.Fourier(), dfp.MonteCarlo(20_000)])
def test_solutions_know_which_moments_exist(solver):
    """Parameter 1 has Student noise, ν = 1.5; parameter 2 is coupled to it: reached at step 2, not at step 1."""
    noise = dfp.AdditiveNoise([stats.t(1.5), stats.norm(0, 0.5)])
    sgd = dfp.SGD(dfp.QuadraticLandscape([[1.0, 0.2], [0.2, 0.5]], noise=noise), 0.2)
    found = dfp.solve(dfp.MasterEquation(sgd), dfp.Gaussian([1.0, 1.0], 0.1), 2, [1, 2], solver)
    step = np.eye(2) - 0.2 * np.array([[1.0, 0.2], [0.2, 0.5]])
    # The mean of what has one: (1 − ηH)^n; rounding.
    np.testing.assert_allclose(found.mean, [step @ [1.0, 1.0], step @ step @ [1.0, 1.0]], rtol=1e-13)
    light = 0.1 * (step[1] @ step[1]) + 0.04 * 0.25
    np.testing.assert_allclose(found.covariance[0], [[np.inf, np.nan], [np.nan, light]], rtol=1e-12)
    np.testing.assert_array_equal(found.covariance[1], [[np.inf, np.nan], [np.nan, np.inf]])
    assert "κ = 1.5 <= 2" in found.certificate.warnings[0]
    assert np.isinf(dfp.expected_loss(sgd, found)).all()


def test_what_starts_without_moments_has_none():
    law = dfp.stationary(MASTER)
    light = dfp.MasterEquation(dfp.SGD(one_mode(1.0, 0.3), 0.2))
    later = dfp.solve(light, law, 3, [0, 3], grid=law.grid)
    assert np.isnan(later.mean).all() and np.isinf(later.covariance).all() and "κ = 1" in later.certificate.warnings[-1]
    again = dfp.solve(light, later, 2, [2], grid=law.grid)
    assert np.isnan(again.mean).all() and later.state().warnings
    with pytest.raises(dfp.UnsupportedError, match=r"it has no moments.*κ = 1"):
        dfp.moments(light, law, 3)
    assert dfp.loss_law(light, law, 2, samples=1000).mean == np.inf
    # Without what is known of its law, the cells are a start like any other.
    assert np.isfinite(dfp.moments(light, dfp.Density(law.grid, law.values, law.outside), 3).covariance).all()


def test_boxes_count_what_is_outside_where_it_is():
    """The Cauchy law in closed form, tails and all; without the mass on its side, P(θ > 20) would be too small."""
    law = dfp.stationary(MASTER)
    end = float(law.grid.upper[0])
    for lower, upper in [(-np.inf, np.inf), (end, np.inf), (0.5 * end, np.inf), (-np.inf, -1.0), (-1.0, 2.0)]:
        exact = SETTLED.cdf(upper) - SETTLED.cdf(lower)
        assert law.probability(lower, upper) == pytest.approx(exact, rel=1e-9)  # a spline through resolved values
    for lower, upper in [(2 * end, np.inf), (-np.inf, -2 * end), (0.5 * end, 2 * end)]:  # parts of what is on a side
        with pytest.raises(dfp.DFPError, match="outside the grid"):
            law.probability(lower, upper)
    on_grid = dfp.Density(law.grid, law.values, law.outside)  # whose sides are not known
    with pytest.raises(dfp.DFPError, match=r"which is much of the .* on the grid; give a wider"):
        on_grid.probability(0.5 * end, np.inf)
    assert on_grid.probability(-np.inf, np.inf) == pytest.approx(1, abs=1e-9)
    # Up to a hundredth of the answer may be missing, and here is: half of what is outside.
    missing = SETTLED.sf(0.0) - on_grid.probability(0.0, np.inf)
    assert missing == pytest.approx(law.outside / 2, rel=1e-6) and missing > 1e-3
    found = dfp.solve(MASTER, dfp.Gaussian(0.0, 0.1), 40, [40])
    with pytest.raises(dfp.DFPError, match="outside the grid"):
        found.probability(0.5 * found.grid.upper[0], np.inf)
    assert found.probability(-np.inf, np.inf) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("d", [2, 3])
def test_boxes_in_more_dimensions(d):
    """A Gaussian on a box of 1.5 deviations: what is outside may be anywhere, of marginals even inside their grid."""
    state = dfp.Gaussian(np.zeros(d), np.eye(d))
    grid = dfp.Grid([-1.5] * d, [1.5] * d, {2: 120, 3: 60}[d])
    values = state.on(grid)
    law = dfp.Density(grid, values, 1 - float(values.sum()) * grid.cell_volume)
    inside = (stats.norm.cdf(1) - stats.norm.cdf(-1)) ** d
    assert law.probability(-1, 1) == pytest.approx(inside, rel=1e-4)  # cells of 40 to a deviation and a half
    assert law.probability(-np.inf, np.inf) == pytest.approx(1, abs=1e-9)
    for lower, upper in [([-1.0] * d, [np.inf] * d), ([-1.0] + [-np.inf] * (d - 1), [1.0] + [np.inf] * (d - 1))]:
        with pytest.raises(dfp.DFPError, match="outside the grid"):
            law.probability(lower, upper)
    with pytest.raises(dfp.DFPError, match="outside the grid"):
        law.marginal(0).probability(-1, 1)
    wide = dfp.Grid([-8.0] * d, [8.0] * d, {2: 160, 3: 96}[d])  # the control: nothing is outside, and all is answered
    held = dfp.Density(wide, state.on(wide))
    assert held.marginal(0).probability(-1, np.inf) == pytest.approx(stats.norm.sf(-1), rel=1e-4)


def test_narrow_grids_do_not_change_moments_of_laws():
    """On one deviation: of a quadratic landscape the law's own, to rounding, of an average too; of a well by cells."""
    sgd = dfp.SGD(one_mode(1.0, 1.0), 0.2)
    narrow = dfp.Grid(-0.3, 0.3, 64)
    for equation in (dfp.MasterEquation(sgd), dfp.MasterEquation(dfp.ExponentialAverage(sgd, 0.5))):
        law = dfp.stationary(equation, narrow)
        exact = dfp.stationary_moments(equation)
        assert (
            law.covariance == pytest.approx(exact.covariance, rel=1e-12) and "which error leaves out" in law.warnings[0]
        )
        cells = dfp.Density(law.grid, law.values, law.outside)
        assert cells.covariance.item() < 0.5 * exact.covariance.item()  # the control
    assert law.marginal(0).probability(-0.1, 0.1) == law.probability(-0.1, 0.1)
    well = dfp.Landscape(lambda x: x**3 - x, lambda x: np.full((len(x), 1, 1), 0.1), 1)
    told = dfp.stationary(dfp.Langevin(dfp.SGD(well, 0.1)), dfp.Grid(-1.2, 1.2, 400)).warnings
    assert "error, mean and covariance leave out" in told[0]


def test_views_of_laws_without_a_variance_show_where_they_are():
    """In the plane, Cauchy by Gauss: a view by shares of the mass, and no contour of what the grid does not hold."""
    noise = dfp.AdditiveNoise([stats.cauchy(scale=0.3), stats.norm(0, 0.5)])
    law = dfp.stationary(dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape([1.0, 0.5], noise=noise), 0.2)))
    assert 0.011 < law.outside < 0.1 and np.isnan(law.mean[0]) and law.mean[1] == 0
    assert len(Cells(law.grid.axes, law.values).plane().levels) == 2
    assert len(Cells(law.grid.axes, law.values / (1 - law.outside)).plane().levels) == 3
    (axis,) = law.plot().axes
    left, right = axis.get_xlim()
    # 39 % and more are in view, and the view ends with what the grid holds.
    assert law.grid.lower[0] <= left < -2 and 2 < right <= law.grid.upper[0]


def test_tails_beyond_the_grid_are_refused_or_counted_where_the_sides_are_known():
    """Kesten tails of κ = 1.46: none of what is beyond the grid is zero, and quantiles are those of the whole law."""
    sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([0.2], [3.0])), 0.6)
    law = dfp.stationary(dfp.MasterEquation(sgd))
    end = float(law.grid.upper[0])
    with pytest.raises(dfp.DFPError, match="much of"):
        law.probability(1.01 * end, np.inf)
    # 1e-4 in a tail of which 1e-6 is beyond: sampled with 10⁶ runs, 1 % of its 100 counts is 10 %.
    place = law.quantile(1 - 1e-4)
    drawn = dfp.solve(
        dfp.MasterEquation(sgd), dfp.Point(0.0), 60, solver=dfp.MonteCarlo(1_000_000, seed=8), grid=law.grid
    )
    assert drawn.probability(place, end)[-1] + law.above == pytest.approx(1e-4, abs=5e-5)
    # Of the law: what is below the grid and what is on it, up to there.
    assert law.probability(-np.inf, place) == pytest.approx(1 - 1e-4, abs=1e-9)
