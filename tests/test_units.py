"""Nothing depends on the unit of θ, nor on how small ηλ is: θ → cθ, λ → λ/c², C → C/c², Γ → Γ/c⁴, η → c²η."""

import numpy as np
import pytest
from dfp_solvers import linear_flow, matrices
from scipy.linalg import expm

import dfp

# Powers of two scale without rounding, so that what is left is the program's own.
UNITS = [2.0**-40, 2.0**-13, 2.0**27]
EQUATIONS = [dfp.MasterEquation, dfp.DiscreteFokkerPlanck, dfp.Langevin, dfp.ModifiedLangevin]


def problem(unit, d=1, momentum=0.0, noisy=0.3, wrong=1.0):
    """SGD in a bowl with θ-dependent noise, its lengths in units of 1/unit; ``wrong`` spoils the learning rate."""
    slope = np.array([0.4, -0.7])[:d] / unit
    noise = dfp.GaussianNoise(np.array([1.0, 0.6])[:d] / unit**2, noisy * np.array([1.0, 0.5])[:d] / unit**4)
    bowl = dfp.QuadraticLandscape(np.array([1.0, 0.4])[:d] / unit**2, slope, noise)
    return dfp.SGD(bowl, 0.1 * unit**2 * wrong, momentum=momentum)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("kind", EQUATIONS)
def test_moments_spectra_and_stationary_laws_have_no_unit(kind, unit):
    here, there = kind(problem(1.0)), kind(problem(unit))
    # rounding
    np.testing.assert_allclose(
        dfp.stationary_moments(there).covariance / unit**2, dfp.stationary_moments(here).covariance, rtol=1e-12
    )
    # Eigenvalues of degree above two are those of a matrix near one: 1e-13 is their rounding.
    np.testing.assert_allclose(dfp.spectrum(there, 4).eigenvalues, dfp.spectrum(here, 4).eigenvalues, rtol=1e-11)
    law, scaled = dfp.stationary(here), dfp.stationary(there)
    np.testing.assert_allclose(scaled.covariance / unit**2, law.covariance, rtol=1e-8)  # of the grid's tails
    assert abs(scaled.mass + scaled.outside - 1) < 1e-9


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("kind", [dfp.MasterEquation, dfp.Langevin])
def test_densities_have_no_unit(kind, d, unit):
    here, there = (
        dfp.solve(kind(problem(u, d)), dfp.Gaussian(np.full(d, 0.3 * u), (0.2 * u) ** 2), 12, [12]) for u in (1.0, unit)
    )
    assert there.solver == here.solver
    assert there.grid.cells == here.grid.cells
    # Values of order one on the same cells; 1e-9 is far below what certificates allow and above rounding.
    np.testing.assert_allclose(there.density * unit**d, here.density, atol=1e-9 * here.density.max())
    spoilt = dfp.solve(
        kind(problem(unit, d, wrong=1.01)), dfp.Gaussian(np.full(d, 0.3 * unit), (0.2 * unit) ** 2), 12, [12]
    )
    assert not np.allclose(spoilt.covariance / unit**2, here.covariance, rtol=1e-4)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("rate", [1e-2, 1e-8, 1e-15])
def test_slow_modes_have_their_stationary_variance(rate, momentum):
    """The closed variance η(1+β)/(λ(1−β)(2(1+β)−ηλ)) of (T10) and (T19), down to ηλ = 1e-15."""
    sgd = dfp.SGD(dfp.QuadraticLandscape([rate], 0.0, dfp.GaussianNoise([1.0])), 1.0, momentum=momentum)
    right = (1 + momentum) / (rate * (1 - momentum) * (2 * (1 + momentum) - rate))
    assert dfp.stationary_moments(dfp.MasterEquation(sgd)).covariance.item() == pytest.approx(right, rel=1e-10)
    assert dfp.modes(sgd)[0].stationary_variance == pytest.approx(right, rel=1e-10)
    # On a grid, with 1e-8 of the mass outside at most.
    assert dfp.stationary(dfp.MasterEquation(sgd)).covariance.item() == pytest.approx(right, rel=1e-7)
    still = dfp.SGD(dfp.QuadraticLandscape([0.0], 0.0, dfp.GaussianNoise([1.0])), 1.0, momentum=momentum)
    with pytest.raises(dfp.NoStationaryDensity):
        dfp.stationary(dfp.MasterEquation(still))


@pytest.mark.parametrize("rate", [1e-3, 1e-9, 1e-15])
def test_relaxation_of_slow_modes_keeps_its_digits(rate):
    sgd = dfp.SGD(dfp.QuadraticLandscape([rate], 0.0, dfp.GaussianNoise([1.0])), 1.0)
    found = dfp.spectrum(dfp.MasterEquation(sgd), 3).relaxation_steps
    # rounding
    np.testing.assert_allclose(found, -1 / (np.arange(1, 4) * np.log1p(-rate)), rtol=1e-12)


@pytest.mark.parametrize("apart", [1.0, 1e3, 1e6, 1e9, 1e12])
def test_columns_of_any_units_have_the_minimum_of_least_squares(apart):
    """An intercept beside columns of other units: the conditions of the Hessian reach 1e48."""
    rng = np.random.default_rng(4)
    plain = np.column_stack([np.ones(40), 1 + 0.4 * rng.standard_normal((40, 2))])
    targets = plain @ [3.0, 2.0, -1.0] + 0.5 * rng.standard_normal(40)
    units = np.array([1 / apart, 1.0, apart])
    landscape = dfp.QuadraticLandscape.from_regression(plain * units, targets, batch_size=8)
    sgd = dfp.SGD(landscape, 0.1 / landscape.hessian[2, 2])
    least = np.linalg.lstsq(plain, targets, rcond=None)[0] / units
    # rounding
    np.testing.assert_allclose(sgd.critical_point, least, rtol=1e-9)
    # det H, of columns whose units multiply to one: no eigenvalue can hide in rounding.
    determinant = np.linalg.det(plain.T @ plain / 40)
    np.testing.assert_allclose(np.prod(sgd.modes[0]), determinant, rtol=1e-11)
    lost = np.prod(np.linalg.eigvalsh(landscape.hessian))
    assert (lost == pytest.approx(determinant, rel=1e-6)) == (apart < 1e4)


def test_more_parameters_than_samples_leave_exact_zeros():
    rng = np.random.default_rng(1)
    features = rng.standard_normal((3, 5)) * [1.0, 1e5, 1.0, 1e-5, 1.0]
    hessian = features.T @ features / 3
    values, axes = matrices.eigenbasis(hessian)
    assert np.count_nonzero(values == 0) == 2
    assert np.count_nonzero(np.linalg.eigvalsh(hessian) == 0) == 0  # what rounding makes of them
    np.testing.assert_allclose(axes * values @ axes.T, hessian, atol=1e-14 * np.abs(hessian).max())
    targets = rng.standard_normal(3)
    sgd = dfp.SGD(dfp.QuadraticLandscape.from_regression(features, targets), 1e-11)
    # The point nearest to the origin: scaled columns limit what pinv itself can find.
    np.testing.assert_allclose(features @ sgd.critical_point, targets, atol=1e-5)


def test_user_given_diagonals_keep_curvatures_that_look_like_rounding():
    sgd = dfp.SGD(dfp.QuadraticLandscape([1.0, 1e-17], [0.0, 1e-17], dfp.GaussianNoise([1.0, 1.0])), 0.1)
    np.testing.assert_array_equal(sgd.modes[0], [1e-17, 1.0])
    np.testing.assert_allclose(sgd.critical_point, [0.0, -1.0])


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("d", [2, 18])
@pytest.mark.parametrize("scheduled", [False, True])
def test_moments_on_the_way_have_no_unit(scheduled, d, unit):
    """By exponentials of matrices (d = 2) and by series, of one rate and of one for every step."""

    def moved(u, wrong=1.0):
        noise = dfp.GaussianNoise(np.linspace(0.5, 1, d) / u**2, np.full((d, d), 0.2) / u**4)
        rates = 0.1 * u**2 * wrong * np.linspace(1, 0.5, 12)
        sgd = dfp.SGD(dfp.QuadraticLandscape(np.linspace(0.3, 1, d) / u**2, 0.3 / u, noise), rates[0])
        sgd = sgd.changed(learning_rate=rates) if scheduled else sgd
        return dfp.moments(dfp.Langevin(sgd), dfp.Gaussian(np.full(d, 0.3 * u), (0.2 * u) ** 2), 12, [5, 12])

    here, there, spoilt = moved(1.0), moved(unit), moved(unit, 1.001)
    # the same operations on numbers that differ by powers of two
    np.testing.assert_allclose(there.mean / unit, here.mean, rtol=1e-14)
    np.testing.assert_allclose(there.covariance / unit**2, here.covariance, rtol=1e-13, atol=1e-17)
    assert np.abs(spoilt.covariance / unit**2 - here.covariance).max() > 1e-6


def test_exponentials_are_accurate_in_any_units_of_the_state():
    """Beside a twin in units of one; as they are, SciPy's err by the norm of the matrix."""
    rng = np.random.default_rng(1)
    degrees = np.array([0, 1, 1, 2, 2, 2, 3, 4])
    matrix = np.where(degrees[:, None] >= degrees, rng.normal(size=(8, 8)), 0.0)
    plain, worst = expm(matrix), 0.0
    for power in (-100, 60, 100):
        ratios = 2.0 ** (power * (degrees[:, None] - degrees))
        scaled = matrix * ratios
        # rounding of entries of order one
        np.testing.assert_allclose(linear_flow.exponential(scaled) / ratios, plain, rtol=1e-12, atol=1e-13)
        worst = max(worst, np.abs(expm(scaled) / ratios - plain).max())
    # far above rounding
    assert not worst < 1e-6
