"""Observables against closed forms, brute force over steps, sampled trajectories and independent discretisations."""

import numpy as np
import pytest
from problems import every_equation, one_mode, regression, rotated, table
from scipy.linalg import expm, solve_continuous_lyapunov, solve_discrete_lyapunov

import dfp

TURNED = dfp.QuadraticLandscape(
    [[1.0, 0.3], [0.3, 0.5]], [0.1, -0.2], dfp.GaussianNoise([[0.5, 0.3], [0.3, 0.3]])
)  # C and H do not commute


def pairs(sgd):
    return [dfp.MasterEquation(sgd), dfp.Langevin(sgd), dfp.ModifiedLangevin(sgd, matched=False)]


def test_stationary_moments_solve_lyapunov_equations():
    """(T10) by SciPy's solvers, for the map and the two flows."""
    sgd = dfp.SGD(TURNED, 0.4)
    h, c = TURNED.hessian, TURNED.law.constant
    a = np.eye(2) - 0.4 * h
    j = (np.eye(2) + 0.2 * h) @ h
    truths = (
        solve_discrete_lyapunov(a, 0.16 * c),
        solve_continuous_lyapunov(h, 0.4 * c),
        solve_continuous_lyapunov(j, 0.4 * c),
    )
    for equation, truth in zip(pairs(sgd), truths, strict=True):
        settled = dfp.stationary_moments(equation)
        # rounding
        assert settled.covariance == pytest.approx(truth, rel=1e-12)
        assert settled.mean == pytest.approx(-np.linalg.solve(h, TURNED.gradient), rel=1e-12)


@pytest.mark.parametrize("landscape", [table(2), table(3, symmetric=True), regression(2)])
def test_stationary_moments_are_late_moments(landscape):
    for equation in every_equation(dfp.SGD(landscape, 0.1)):
        settled = dfp.stationary_moments(equation)
        late = dfp.moments(equation, dfp.Point(np.zeros(equation.dimension)), 3000, [3000])
        # rounding
        assert settled.covariance == pytest.approx(late.covariance[0], rel=1e-9, abs=1e-12), equation.label
        assert settled.mean == pytest.approx(late.mean[0], rel=1e-9), equation.label


def test_growing_moments_have_no_stationary_ones():
    with pytest.raises(dfp.NoStationaryDensity, match="curvature 0 does not contract"):
        dfp.stationary_moments(dfp.Langevin(dfp.SGD(one_mode(0.0), 0.1)))
    with pytest.raises(dfp.NoStationaryDensity, match="second moments change"):
        dfp.stationary_moments(dfp.MasterEquation(dfp.SGD(one_mode(1.0, 0.3, 3.0), 0.6)))
    dfp.stationary_moments(dfp.Langevin(dfp.SGD(one_mode(1.0, 0.3, 3.0), 0.6)))  # Langevin believes it has them
    with pytest.raises(dfp.NoStationaryDensity, match="momentum"):
        dfp.stationary_moments(dfp.MasterEquation(dfp.SGD(one_mode(1.0), 3.9, momentum=0.9)))


def test_losses_are_those_of_samples():
    """Sampled parameters, losses averaged: within 4.5 standard errors; and by definition at a point."""
    sgd = dfp.SGD(TURNED, 0.4, weight_decay=0.1)
    path = dfp.moments(dfp.MasterEquation(sgd), dfp.Gaussian([1.0, -0.5], 0.2), 6)
    theta = np.random.default_rng(1).multivariate_normal(path.mean[-1], path.covariance[-1], 200_000)
    losses = np.einsum("ni,ij,nj->n", theta, sgd.hessian, theta) / 2 + theta @ sgd.gradient
    expected = dfp.expected_loss(sgd, path)
    assert expected.shape == (7,)
    assert abs(losses.mean() - expected[-1]) < 4.5 * losses.std() / np.sqrt(200_000)
    star = sgd.critical_point
    floor = star @ sgd.hessian @ star / 2 + star @ sgd.gradient
    assert dfp.excess_loss(sgd, path) == pytest.approx(expected - floor, rel=1e-10)
    solution = dfp.solve(dfp.MasterEquation(sgd), dfp.Gaussian([1.0, -0.5], 0.2), 6, [0, 6])
    assert dfp.expected_loss(sgd, solution) == pytest.approx(expected[[0, 6]], rel=1e-8)
    late = dfp.moments(dfp.MasterEquation(sgd), dfp.Point([0.0, 0.0]), 2000, [2000])
    assert dfp.stationary_excess_loss(dfp.MasterEquation(sgd)) == pytest.approx(dfp.excess_loss(sgd, late)[0], rel=1e-9)


def test_a_slope_has_no_excess_loss():
    sgd = dfp.SGD(dfp.QuadraticLandscape([0.0, 1.0], [0.5, 0.0], dfp.GaussianNoise(0.1)), 0.1)
    path = dfp.moments(dfp.MasterEquation(sgd), dfp.Point([0.0, 0.0]), 5)
    with pytest.raises(dfp.DFPError, match="falls along a flat direction"):
        dfp.excess_loss(sgd, path)
    assert dfp.expected_loss(sgd, path)[-1] < 0
    with pytest.raises(dfp.DFPError, match="must be moments"):
        dfp.expected_loss(sgd, path.mean)


def test_effective_temperatures():
    """C = D·1: T = ηD/2 for every mode in Langevin, ηD/(2 − ηλ) in SGD."""
    sgd = dfp.SGD(dfp.QuadraticLandscape([2.0, 0.3, 1.0], 0, dfp.GaussianNoise(0.2)), 0.5)
    curvature = np.array([0.3, 1.0, 2.0])
    # rounding
    assert dfp.effective_temperature(dfp.Langevin(sgd)) == pytest.approx(np.full(3, 0.05), rel=1e-12)
    assert dfp.effective_temperature(dfp.MasterEquation(sgd)) == pytest.approx(0.1 / (2 - 0.5 * curvature), rel=1e-12)


def propagated(equation, initial, n):
    """Return E[θ_n θ_0ᵀ] − μ_n μ_0ᵀ for a map by drawing nothing: the mean of each of many starting points."""
    theta = np.random.default_rng(2).multivariate_normal(initial.mean, initial.covariance, 5)
    ends = np.array([dfp.moments(equation, dfp.Point(point), n, [n]).mean[0] for point in theta])
    # The mean is affine in the start: five points determine it.
    design = np.column_stack([np.ones(5), theta])
    slope = np.linalg.lstsq(design, ends, rcond=None)[0][1:].T
    return slope @ initial.covariance


@pytest.mark.parametrize("landscape", [TURNED, table(2)])
def test_mean_squared_displacement(landscape):
    initial = dfp.Gaussian([1.0, -0.5], [[0.3, 0.1], [0.1, 0.2]])
    for equation in every_equation(dfp.SGD(landscape, 0.3)):
        displacement = dfp.mean_squared_displacement(equation, initial, 9, [0, 4, 9])
        # rounding
        assert displacement[0] == pytest.approx(0, abs=1e-14)
        path = dfp.moments(equation, initial, 9, [9])
        shift = path.mean[0] - initial.mean
        shared = propagated(equation, initial, 9)
        truth = np.trace(path.covariance[0] + initial.covariance - 2 * shared) + shift @ shift
        assert displacement[2] == pytest.approx(truth, rel=1e-9), equation.label


def test_free_diffusion_is_linear():
    sgd = dfp.SGD(dfp.QuadraticLandscape([0.0, 0.0], 0, dfp.GaussianNoise([0.2, 0.4])), 0.3)
    displacement = dfp.mean_squared_displacement(dfp.MasterEquation(sgd), dfp.Gaussian([0.0, 0.0], 1.0), 50)
    # rounding
    assert displacement == pytest.approx(0.09 * 0.6 * np.arange(51), abs=1e-13)


def test_autocorrelation_decays_by_the_step():
    """One mode: (1 − ηλ)ⁿ for SGD, alternating if it overshoots; e^{−ηλn} for Langevin."""
    lags = [0, 1, 5, 12]
    for eta in (0.3, 1.7):
        sgd = dfp.SGD(one_mode(1.0, 0.3, 0.1), eta)
        steps = np.array(lags)
        master = dfp.autocorrelation(dfp.MasterEquation(sgd), lags)[:, 0, 0]
        # rounding
        assert master == pytest.approx((1 - eta) ** steps, rel=1e-12)
        if eta < 1:
            langevin = dfp.autocorrelation(dfp.Langevin(sgd), lags)[:, 0, 0]
            # rounding
            assert langevin == pytest.approx(np.exp(-eta * steps), rel=1e-12)
    equation = dfp.MasterEquation(dfp.SGD(TURNED, 0.4))
    settled = dfp.stationary_moments(equation)
    deviation = np.sqrt(np.diag(settled.covariance))
    shared = propagated(equation, dfp.Gaussian(settled.mean, settled.covariance), 3) / np.outer(deviation, deviation)
    # rounding
    assert dfp.autocorrelation(equation, [3])[0] == pytest.approx(shared, rel=1e-9)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_remembers_its_velocity(nesterov):
    """Stationary correlations of (θ, v) by SciPy's Lyapunov solver; displacements from v = 0 by powers of (T19)."""
    eta, beta, d = 0.3, 0.8, 2
    sgd = dfp.SGD(TURNED, eta, momentum=beta, nesterov=nesterov)
    p, q = (1 + beta, beta**2) if nesterov else (1.0, beta)
    h, eye = TURNED.hessian, np.eye(d)
    step = np.block([[eye - eta * p * h, -eta * q * eye], [h, beta * eye]])
    kick = np.vstack([-eta * p * eye, eye])
    state = solve_discrete_lyapunov(step, kick @ TURNED.law.constant @ kick.T)
    equation = dfp.MasterEquation(sgd)
    deviation = np.sqrt(np.diag(state)[:d])
    for lag, found in zip((0, 1, 7), dfp.autocorrelation(equation, [0, 1, 7]), strict=True):
        truth = (np.linalg.matrix_power(step, lag) @ state)[:d, :d] / np.outer(deviation, deviation)
        # rounding
        assert found == pytest.approx(truth, rel=1e-9, abs=1e-12)
    start = dfp.Gaussian([1.0, -0.5], [[0.3, 0.1], [0.1, 0.2]])
    path = dfp.moments(equation, start, 6, [6])
    shared = np.linalg.matrix_power(step, 6)[:d, :d] @ start.covariance
    shift = path.mean[0] - start.mean
    truth = np.trace(path.covariance[0] + start.covariance - 2 * shared) + shift @ shift
    # rounding
    assert dfp.mean_squared_displacement(equation, start, 6)[-1] == pytest.approx(truth, rel=1e-10)


def divergence(before, after):
    """Kullback-Leibler divergence of two centred Gaussians with these covariances."""
    ratio = np.linalg.solve(after, before)
    return (np.trace(ratio) - len(ratio) - np.linalg.slogdet(ratio)[1]) / 2


def joint(covariance, propagator):
    return np.block([[covariance, covariance @ propagator.T], [propagator @ covariance, covariance]])


def reversed_joint(covariance, propagator):
    return np.block([[covariance, propagator @ covariance], [covariance @ propagator.T, covariance]])


def test_entropy_production_is_the_divergence_from_the_reverse():
    """Master equation: two successive steps, by the joint Gaussian. Flows: the same over a short time, per time."""
    sgd = dfp.SGD(TURNED, 0.4)
    master = dfp.MasterEquation(sgd)
    covariance = dfp.stationary_moments(master).covariance
    propagator = np.eye(2) - 0.4 * TURNED.hessian
    truth = divergence(joint(covariance, propagator), reversed_joint(covariance, propagator))
    # rounding
    assert dfp.entropy_production(master).value == pytest.approx(truth, rel=1e-10)
    assert truth > 1e-3
    for equation in pairs(sgd)[1:]:
        covariance = dfp.stationary_moments(equation).covariance
        rates = []
        for time in (2e-3, 1e-3):
            propagator = expm(-time * equation.linear_drift)
            rates.append(divergence(joint(covariance, propagator), reversed_joint(covariance, propagator)) / time)
        # Richardson's extrapolation leaves an error of order time².
        assert dfp.entropy_production(equation).value == pytest.approx(2 * rates[1] - rates[0], rel=1e-5)


def test_entropy_production_of_the_chain_tends_to_that_of_the_flow():
    rates = [
        dfp.entropy_production(dfp.MasterEquation(dfp.SGD(TURNED, eta))).value / eta for eta in (0.01, 0.005)
    ]  # fmt: skip
    flow = dfp.entropy_production(dfp.Langevin(dfp.SGD(TURNED, 0.01))).value
    assert 2 * rates[1] - rates[0] == pytest.approx(flow, rel=1e-4)


def test_detailed_balance_has_no_current():
    for landscape in (rotated(3, 10.0), dfp.QuadraticLandscape([1.0, 0.2], 0, dfp.GaussianNoise([0.1, 0.5]))):
        for equation in pairs(dfp.SGD(landscape, 0.4)):
            # rounding
            assert dfp.entropy_production(equation).value == pytest.approx(0, abs=1e-12)
            assert np.abs(dfp.probability_current(equation).matrix).max() < 1e-12
    assert dfp.entropy_production(dfp.Langevin(dfp.SGD(one_mode(1.0, 0.3, 0.2), 0.1))) == (0.0, 0.0)


def test_current_has_no_sources():
    """The divergence of J vanishes everywhere: tr Ω = 0 and xᵀΣ⁻¹Ωx = 0; it circulates."""
    for equation in pairs(dfp.SGD(TURNED, 0.4)):
        current = dfp.probability_current(equation)
        form = np.linalg.solve(current.law.covariance, current.matrix)
        # rounding
        assert np.trace(current.matrix) == pytest.approx(0, abs=1e-12)
        assert form + form.T == pytest.approx(np.zeros((2, 2)), abs=1e-10)
        assert np.abs(current.matrix).max() > 1e-2
        theta = current.law.mean + np.array([[0.1, 0.0]])
        wanted = current.matrix @ [0.1, 0.0] * current.law.density(theta)
        assert current(theta)[0] == pytest.approx(wanted, rel=1e-12)


def test_noise_of_one_direction_produces_without_bound():
    """Rank-one noise off the axes: reversed paths are impossible."""
    landscape = dfp.QuadraticLandscape([1.0, 0.3], 0, dfp.GaussianNoise(np.ones((2, 2))))
    for equation in pairs(dfp.SGD(landscape, 0.3)):
        assert dfp.entropy_production(equation).value == np.inf


def test_densities_on_a_grid_agree_with_closed_forms():
    """Additive noise by finite volumes: entropy within the stated error, the current to second order in the cells."""
    equation = dfp.Langevin(dfp.SGD(TURNED, 0.2))
    exact = dfp.entropy_production(equation).value
    current = dfp.probability_current(equation)
    reach = 7 * np.sqrt(np.diag(current.law.covariance))
    grid = dfp.Grid(current.law.mean - reach, current.law.mean + reach, 96)
    value, error = dfp.entropy_production(equation, grid)
    assert abs(value - exact) < error < 0.05 * exact
    errors = []
    for cells in (96, 192):
        finer = dfp.Grid(grid.lower, grid.upper, cells)
        truth = current(finer.points)
        gridded = dfp.probability_current(equation, finer).values
        errors.append(np.abs(gridded - truth).max() / np.abs(truth).max())
    assert errors[0] < 0.03
    assert errors[1] < errors[0] / 3


def slanted(equation, points):
    """f − ½∇·Q at ``points`` (..., 2); unit differences give the divergence of a quadratic Q exactly."""
    shifts = np.eye(2) / 2
    divergences = [
        (equation.diffusion(points + shift) - equation.diffusion(points - shift))[..., :, j]
        for j, shift in enumerate(shifts)
    ]
    return -(points @ equation.linear_drift.T + equation.constant_drift) - sum(divergences) / 2


def test_noise_that_depends_on_the_place():
    """Entropy as E[2 f̃ᵀQ⁻¹f̃ + ∇·f̃], f̃ = f − ½∇·Q: a mean without derivatives of P, on two grids, extrapolated."""
    equation = dfp.Langevin(dfp.SGD(table(2), 0.2))
    value, error = dfp.entropy_production(equation)
    settled = dfp.stationary_moments(equation)
    reach = 12 * np.sqrt(np.diag(settled.covariance))
    # f̃ is affine, so that its divergence is constant.
    divergence = sum((slanted(equation, axis) - slanted(equation, 0 * axis))[i] for i, axis in enumerate(np.eye(2)))
    rates = []
    for cells in (128, 256):
        grid = dfp.Grid(settled.mean - reach, settled.mean + reach, cells)
        density = dfp.probability_current(equation, grid).density
        f, inverse = slanted(equation, grid.points), np.linalg.inv(equation.diffusion(grid.points))
        mean = np.sum(density.values * np.einsum("xyi,xyij,xyj->xy", f, inverse, f)) * grid.cell_volume
        rates.append(2 * mean + divergence)
    truth = (4 * rates[1] - rates[0]) / 3
    assert abs(value - truth) < error < 0.03 * value
    same = dfp.QuadraticLandscape([1.0, 1.0], 0, dfp.GaussianNoise([0.3, 0.3], np.full((2, 2), 0.2)))
    balanced = dfp.entropy_production(dfp.Langevin(dfp.SGD(same, 0.2)))
    assert balanced.value < 1e-4 * value


def test_what_has_no_paths_is_refused():
    with pytest.raises(dfp.UnsupportedError, match="no process"):
        dfp.entropy_production(dfp.DiscreteFokkerPlanck(dfp.SGD(TURNED, 0.1)))
    with pytest.raises(dfp.UnsupportedError, match="additive Gaussian noise"):
        dfp.probability_current(dfp.MasterEquation(dfp.SGD(table(2), 0.1)))
    with pytest.raises(dfp.DFPError, match="grid has 1 parameter: the landscape has 2"):
        dfp.entropy_production(dfp.Langevin(dfp.SGD(table(2), 0.1)), dfp.Grid(-1, 1, 10))
    with pytest.raises(dfp.DFPError, match="singular"):
        silent = dfp.QuadraticLandscape([1.0, 0.3], 0, dfp.GaussianNoise([0.1, 0.0]))
        dfp.entropy_production(dfp.Langevin(dfp.SGD(silent, 0.1)))


def test_currents_on_a_grid_that_does_not_hold_the_law_are_refused():
    noise = dfp.GaussianNoise([[0.5, 0.3], [0.3, 0.3]], [[0.2, 0.0], [0.0, 0.1]])
    equation = dfp.Langevin(dfp.SGD(dfp.QuadraticLandscape([1.0, 0.2], noise=noise), learning_rate=0.2))
    spread = np.sqrt(np.diag(dfp.stationary_moments(equation).covariance))
    narrow = dfp.Grid(-spread, spread, 48)
    for asked in (dfp.probability_current, dfp.entropy_production):
        with pytest.raises(dfp.UnresolvedError, match="beyond its walls, which turn currents back"):
            asked(equation, narrow)
    wide = dfp.Grid(-9 * spread, 9 * spread, 96)
    # cells twice as long as those chosen
    assert dfp.entropy_production(equation, wide).value == pytest.approx(
        dfp.entropy_production(equation).value, rel=0.05
    )
