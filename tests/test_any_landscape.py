"""Long times on landscapes of any shape: closed forms, Yaida's identity, samples, and the affine code."""

import numba
import numpy as np
import pytest
from problems import one_mode, table
from scipy.integrate import quad
from scipy.interpolate import make_interp_spline

import dfp
from dfp.solving import refinement


def well(diffusion=0.3, slope=0.2):
    """A double well whose noise grows outwards."""
    return dfp.Landscape(
        lambda at: at**3 - at, lambda at: diffusion + slope * at[:, 0] ** 2, hessian=lambda at: 3 * at[:, 0] ** 2 - 1
    )


def turning(turn, diffusion=0.5):
    """ḡ = (I + ωJ)∇U, U = x⁴/4 − x²/2 + y²/2: the law of (T6) is that of U, and its current is −ω J∇U P."""
    matrix = np.eye(2) + turn * np.array([[0.0, -1.0], [1.0, 0.0]])

    def curved(at):
        result = np.zeros((len(at), 2, 2))
        result[:, 0, 0], result[:, 1, 1] = 3 * at[:, 0] ** 2 - 1, 1.0
        return matrix @ result

    return dfp.Landscape(
        lambda at: np.stack([at[:, 0] ** 3 - at[:, 0], at[:, 1]], axis=1) @ matrix.T, diffusion, 2, curved
    )


def closed(theta, rate, correction=0.0, power=1.0):
    """C^−power exp(−∫ 2ḡ(1 + cH)/(ηC)), C = 0.3 + 0.2θ², by polynomial division in u = θ²."""
    noise = np.array([0.2, 0.3])
    quotient, rest = np.polydiv(np.polymul([1.0, -1.0], [3 * correction, 1 - correction]), noise)
    exponent = np.polyval(np.polyint(quotient), theta**2) + rest[-1] / 0.2 * np.log(np.polyval(noise, theta**2))
    density = np.exp((exponent.min() - exponent) / rate) / np.polyval(noise, theta**2) ** power
    return density / density.sum()


@pytest.mark.parametrize("correction", [0.0, 0.05])
def test_stationary_laws_of_langevin_are_the_closed_forms(correction):
    """(T6) and (T7) to 1e-10; the other one's, and Stratonovich's reading, √C⁻¹ in front, are missed by per cents."""
    sgd = dfp.SGD(well(), 0.1)
    found = dfp.stationary(dfp.ModifiedLangevin(sgd, matched=False) if correction else dfp.Langevin(sgd))
    theta, values = found.grid.axes[0], found.values / found.values.sum()

    def missed(*form):
        wanted = closed(theta, 0.1, *form)
        return np.max(np.abs(values - wanted)) / wanted.max()

    # trapezoidal sums of what vanishes at both ends are exact to rounding
    assert missed(correction) < 1e-10 and found.outside == 0
    assert missed(0.05 - correction) > 0.01 and missed(correction, 0.5) > 0.01


@pytest.mark.parametrize("learning_rate", [0.1, 0.3])
def test_yaidas_identity(learning_rate):
    """(T23): (T4) has E[θ·ḡ] = (η/2) E tr S to 1e-10 and (T6) the same with C; (T6) and (T7m) miss that of S."""
    sgd = dfp.SGD(well(0.3, 0.1), learning_rate)
    missed = {}
    for name, equation in (
        ("exact", dfp.MasterEquation(sgd)),
        ("Langevin", dfp.Langevin(sgd)),
        ("matched", dfp.ModifiedLangevin(sgd)),
    ):
        law = dfp.stationary(equation)
        theta, masses = law.grid.axes[0], law.values * law.grid.cell_volume
        gradient, noise = sgd.local.gradient_at(theta[:, None])[:, 0], sgd.local.covariance_at(theta[:, None])[:, 0, 0]
        left = masses @ (theta * gradient)
        missed[name] = [left / (learning_rate / 2 * (masses @ part)) - 1 for part in (noise + gradient**2, noise)]
    assert abs(missed["exact"][0]) < 1e-10
    assert abs(missed["exact"][1]) > 0.05
    assert abs(missed["Langevin"][1]) < 1e-10 and abs(missed["Langevin"][0]) > 0.05
    assert abs(missed["matched"][0]) > 0.05


def test_orders_of_stationary_variances():
    """(T7m) errs by O(η³), (T6) by O(η²): one order more than at fixed noise, which is itself of order η here."""
    errors = []
    for rate in (0.02, 0.01):
        sgd = dfp.SGD(well(), rate)
        laws = [dfp.stationary(kind(sgd)) for kind in (dfp.MasterEquation, dfp.ModifiedLangevin, dfp.Langevin)]
        errors.append([abs(law.covariance[0, 0] - laws[0].covariance[0, 0]) for law in laws[1:]])
    assert errors[0][0] / errors[1][0] == pytest.approx(8.0, rel=0.15)
    assert errors[0][1] / errors[1][1] == pytest.approx(4.0, rel=0.15)


@numba.njit
def ends(runs, steps, rate, seed):
    """Where independent runs from both wells are after some steps."""
    np.random.seed(seed)  # noqa: NPY002 (all that compiled code has)
    result = np.empty(runs)
    for r in range(runs):
        theta = 1.0 if r % 2 else -1.0
        for _ in range(steps):
            noise = np.sqrt(0.3 + 0.2 * theta * theta) * np.random.standard_normal()  # noqa: NPY002
            theta -= rate * (theta**3 - theta + noise)
        result[r] = theta
    return result


def test_stationary_law_of_sgd_against_samples():
    """10⁶ independent runs, cell by cell; 10⁷ in the validation case ``nonlinear-laws``.

    The largest of 60 z-scores exceeds 4.8 in one of 10 000 seeds. Begun in both wells alike, runs have nothing to
    settle between them, and what else there is has by a factor of 1e-7 after 60 steps.
    """
    runs, edges, sgd = 1_000_000, np.linspace(-2.6, 2.6, 66), dfp.SGD(well(), 0.2)
    counts = np.histogram(ends(runs, 60, 0.2, 3), edges)[0]
    for kind, holds in ((dfp.MasterEquation, True), (dfp.Langevin, False), (dfp.ModifiedLangevin, False)):
        law = dfp.stationary(kind(sgd), dfp.Grid(edges[0], edges[-1], 65 * 32))
        mass = (law.values * law.grid.cell_volume).reshape(65, 32).sum(axis=1)
        seen = runs * mass > 50  # where counts are nearly Gaussian
        z = (counts - runs * mass)[seen] / np.sqrt(runs * mass * (1 - mass))[seen]
        assert (np.max(np.abs(z)) < 4.8) == holds


ANGLE = np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])


def turned_product():
    """A double well across a quartic, turned by 29°, and the two landscapes on lines that it is made of."""

    def gradient(at):
        u = at @ ANGLE
        return np.stack([u[:, 0] ** 3 - u[:, 0], u[:, 1] + u[:, 1] ** 3], axis=1) @ ANGLE.T

    def hessian(at):
        u, result = at @ ANGLE, np.zeros((len(at), 2, 2))
        result[:, 0, 0], result[:, 1, 1] = 3 * u[:, 0] ** 2 - 1, 1 + 3 * u[:, 1] ** 2
        return ANGLE @ result @ ANGLE.T

    lines = (
        dfp.Landscape(lambda at: at**3 - at, 0.5, hessian=lambda at: 3 * at[:, 0] ** 2 - 1),
        dfp.Landscape(lambda at: at + at**3, 0.25, hessian=lambda at: 1 + 3 * at[:, 0] ** 2),
    )
    return dfp.Landscape(gradient, ANGLE @ np.diag([0.5, 0.25]) @ ANGLE.T, 2, hessian), lines


def test_stationary_laws_in_the_plane_are_products():
    """Fixed point of (T4), null vectors of generators, against laws on lines: off by less than they state."""
    (plane, lines), rate = turned_product(), 0.3
    exact = dfp.MasterEquation
    kinds = (exact, dfp.Langevin, lambda sgd: dfp.ModifiedLangevin(sgd, matched=False), dfp.ModifiedLangevin)
    for kind in kinds:
        # smaller than the default, which the validation case has
        grid = dfp.Grid([-2.6, -2.3], [2.6, 2.3], 56 if kind is exact else 112)
        law, wanted = dfp.stationary(kind(dfp.SGD(plane, rate)), grid), np.ones(grid.cells)
        for i, line in enumerate(lines):
            places = np.clip(grid.points @ ANGLE, -3.99, 3.99)[..., i]
            known = dfp.stationary(kind(dfp.SGD(line, rate)), dfp.Grid(-4.0, 4.0, 4000))
            wanted *= make_interp_spline(known.grid.axes[0], known.values)(places)
        # generators err in second order: 2e-3 is what cells of a third of a deviation may leave
        assert np.abs(law.values - wanted).sum() * grid.cell_volume < law.error < 2e-3
        if kind is exact:
            # the control: Langevin's law is not that of SGD
            other = dfp.stationary(dfp.Langevin(dfp.SGD(plane, rate)), grid)
            assert np.abs(other.values - wanted).sum() * grid.cell_volume > 100 * law.error


def test_quadratic_landscapes_as_functions():
    """The nonlinear code on a parabola against the closed forms of the affine one."""
    affine = dfp.SGD(one_mode(1.0, 0.3), 0.4)
    bent = dfp.SGD(dfp.Landscape(lambda at: at, 0.3, hessian=1.0), 0.4)
    for kind in (dfp.MasterEquation, dfp.Langevin, dfp.ModifiedLangevin):
        wanted = dfp.stationary(kind(affine))
        found = dfp.stationary(kind(bent), wanted.grid)
        # tails cut by the box
        np.testing.assert_allclose(found.values, wanted.values, atol=1e-9)
        # moments of the law on cells
        np.testing.assert_allclose(
            dfp.autocorrelation(kind(bent), [0, 1, 4])[:, 0, 0],
            dfp.autocorrelation(kind(affine), [0, 1, 4])[:, 0, 0],
            atol=2e-4,
        )
        modes = dfp.spectrum(kind(bent), 3)
        # cells of the default grid, second order in their width
        np.testing.assert_allclose(modes.eigenvalues, dfp.spectrum(kind(affine), 3).eigenvalues, atol=1e-4)
    wanted = dfp.expected_loss(affine, dfp.moments(dfp.MasterEquation(affine), dfp.Point(0.5), 400, [400]))[0]
    law = dfp.stationary(dfp.MasterEquation(bent))
    # rounding, and tails cut by the box
    assert dfp.expected_loss(bent, law)[0] == pytest.approx(wanted, rel=1e-9)
    assert dfp.expected_loss(affine, law)[0] == pytest.approx(wanted, rel=1e-9)
    near = dfp.modes(bent, at=[0.2])
    assert near[0].stationary_variance == pytest.approx(dfp.modes(affine)[0].stationary_variance)
    assert near.expansion[1] == np.inf and "expansion" in str(near)


def test_modes_say_how_far_they_hold():
    report = dfp.modes(dfp.SGD(well(0.02, 0.0), 0.1), at=[0.8])
    assert report[0].curvature == pytest.approx(2.0)
    assert 0.1 < report.expansion[1] < 0.5 and "does not hold" not in str(report)
    wide = dfp.modes(dfp.SGD(well(2.0, 0.0), 0.1), at=[0.8])
    assert "does not hold" in str(wide)
    with pytest.raises(dfp.UnsupportedError, match="nonlinear"):
        dfp.modes(dfp.SGD(well(), 0.1))


def test_a_drift_that_turns_has_a_known_current():
    equation = dfp.Langevin(dfp.SGD(turning(0.8), 0.2))
    found = dfp.probability_current(equation)
    x, y = np.moveaxis(found.density.grid.points, -1, 0)
    law = np.exp(-2 * (x**4 / 4 - x**2 / 2 + y**2 / 2 + 0.25) / (0.2 * 0.5))
    law /= law.sum() * found.density.grid.cell_volume
    assert (
        np.abs(found.density.values - law).sum() * found.density.grid.cell_volume < 5e-3
    )  # second order in cells of a seventh of a deviation
    wanted = -0.8 * np.stack([-y, x**3 - x], axis=-1) * law[..., None]
    assert np.abs(found.values - wanted).sum() < 0.02 * np.abs(wanted).sum()
    # 2 E[vᵀQ⁻¹v], v = −ωJ∇U, Q = ηD
    produced = dfp.entropy_production(equation)
    expected = 2 * 0.64 * np.sum(law * (y**2 + (x**3 - x) ** 2)) * found.density.grid.cell_volume / 0.1
    assert produced.value == pytest.approx(expected, rel=0.02)
    assert dfp.entropy_production(dfp.Langevin(dfp.SGD(well(), 0.1))).value == 0
    assert dfp.stationary(equation).error < 1e-3


def test_exits_of_every_process():
    """Mean exits of (T4), (T6), (T7) from a well; of (T6) by the double integral of a diffusion."""
    sgd = dfp.SGD(well(0.5, 0.0), 0.1)
    found = [
        dfp.exit_steps(kind(sgd), (0.0, 3.0), dfp.Point(1.0), steps=10) for kind in (dfp.MasterEquation, dfp.Langevin)
    ]

    def potential(x):
        return 2 * (x**4 / 4 - x**2 / 2) / 0.05

    def inner(y):
        return quad(lambda z: np.exp(-potential(z)), y, 2.5)[0] * np.exp(potential(y))

    # A wall at 0, and none at 3 that matters: T(1) = (2/Q) ∫_0^1 dy e^{V(y)} ∫_y^∞ e^{−V}
    wanted = 2 / 0.05 * quad(inner, 0, 1, epsrel=1e-9)[0] / 0.1
    assert found[1].mean == pytest.approx(wanted, rel=1e-4)
    assert found[0].mean == pytest.approx(dfp.escape(sgd, 1.0, (0.0, 3.0)).mean_steps, rel=1e-9)
    assert found[0].mean > 1.1 * found[1].mean
    assert dfp.exit_steps(dfp.ModifiedLangevin(sgd), (0.0, 2.0), dfp.Point(1.0), steps=10).mean > 0


def test_momentum_and_schedules_are_sampled():
    """On a parabola given as functions against exact moments, with heavy-ball and Nesterov momentum and a schedule."""
    rates = 0.3 / np.sqrt(np.arange(1.0, 13.0))
    for settings in ({"momentum": 0.8}, {"momentum": 0.8, "nesterov": True}, {"learning_rate": rates, "batch_size": 2}):
        given = {"learning_rate": 0.2} | settings
        exact = dfp.moments(dfp.MasterEquation(dfp.SGD(table(), **given)), dfp.Point([1.0, -0.5]), 12, [5, 12])
        local = dfp.Landscape(lambda at: at @ table().hessian.T + table().gradient, table().law.covariance, 2)
        equation = dfp.MasterEquation(dfp.SGD(local, **given))
        drawn = dfp.solve(equation, dfp.Point([1.0, -0.5]), 12, [5, 12], dfp.MonteCarlo(50_000, seed=2))
        # 2 × (2 + 3) z-scores, three settings: 4 is exceeded with probability 2e-3
        assert np.all(np.abs(drawn.mean - exact.mean) < 4 * drawn.errors["mean"])
        assert np.all(np.abs(drawn.covariance - exact.covariance) < 4 * drawn.errors["covariance"])
        with pytest.raises(dfp.DFPError):
            dfp.stationary(equation)


def test_a_grid_follows_the_mass_into_the_other_well():
    """From one of two wells, with escapes too rare for a pilot sample: the box holds both, and the tolerance is met."""
    sgd = dfp.SGD(well(0.35, 0.0), 0.1)
    solved = dfp.solve(dfp.MasterEquation(sgd), dfp.Gaussian(1.0, 0.01), 60, [60], tolerance=1e-6)
    # the tolerance asked for
    assert solved.grid.lower[0] < -1.3 and solved.certificate.error < 1e-6
    crossed = solved.density[0][solved.grid.axes[0] < -0.5].sum() * solved.grid.spacing[0]
    wide = dfp.solve(dfp.MasterEquation(sgd), dfp.Gaussian(1.0, 0.01), 60, [60], grid=dfp.Grid(-4, 4, 4000))
    # 2e-7 of the mass; cells are cut at different places
    assert crossed == pytest.approx(wide.density[0][wide.grid.axes[0] < -0.5].sum() * wide.grid.spacing[0], rel=1e-2)


def test_laws_that_do_not_last_say_so():
    steep = dfp.SGD(well(2.0, 1.0), 0.5)
    with pytest.raises(dfp.NoStationaryDensity, match="leaves for good"):
        dfp.stationary(dfp.MasterEquation(steep))
    flat = dfp.Landscape(lambda at: 0.1 * np.tanh(at), 5.0)
    with pytest.raises(dfp.NoStationaryDensity, match="has not fallen"):
        dfp.stationary(dfp.Langevin(dfp.SGD(dfp.Landscape(lambda at: 0 * at, 5.0), 0.1)))
    assert dfp.stationary(dfp.Langevin(dfp.SGD(flat, 0.01))).covariance[0, 0] > 0
    with pytest.raises(dfp.NoStationaryDensity, match="vanishes"):
        dfp.stationary(dfp.Langevin(dfp.SGD(dfp.Landscape(lambda at: at, lambda at: at[:, 0] ** 2), 0.1)))
    with pytest.raises(dfp.UnsupportedError, match="no positive operator"):
        dfp.stationary(dfp.DiscreteFokkerPlanck(dfp.SGD(well(), 0.1)))


def test_refinement_widens_where_walls_meet_mass():
    """A box that ends before the other well is left for one that holds it; finer cells alone do not help."""
    equation, start = dfp.Langevin(dfp.SGD(well(0.5, 0.0), 0.1)), dfp.Gaussian([1.0], [[0.01]])
    narrow = dfp.Grid([-0.4], [1.8], [256])

    def attempt(solver, grid):
        return dfp.solve(equation, start, 200, [200], solver, grid or narrow)

    solution = refinement.to_tolerance(attempt, dfp.FiniteVolume(), None, 1e-6)
    # the tolerance asked for
    assert solution.grid.lower[0] < -1.4 and refinement.worst(solution) <= 1e-6
    # the control: cells five times as fine in the same box
    finer = attempt(dfp.FiniteVolume(), dfp.Grid([-0.4], [1.8], [1280]))
    # what crosses the barrier in 200 steps, kept by the wall, is some 1e-3
    assert refinement.worst(finer) > 1e-3
