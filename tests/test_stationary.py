"""Stationary densities against closed forms, exact moments and long runs, and the reasons where there are none."""

import numpy as np
import pytest
from problems import every_equation, one_mode, regression, rotated, table
from scipy.stats import cauchy
from scipy.stats import t as student

import dfp

LATE = 4000


def test_student_law_of_the_discrete_equation():
    """(T5), additive: P ∝ (D + λ²θ²)^(−1−1/(ηλ)), a Student t with ν = 1 + 2/(ηλ) (theory page, section 2)."""
    eta, noise = 0.2, 0.3
    density = dfp.stationary(dfp.DiscreteFokkerPlanck(dfp.SGD(one_mode(1.0, noise), eta)))
    nu = 1 + 2 / eta
    exact = student.pdf(density.grid.axes[0], nu, scale=np.sqrt(noise / nu))
    assert np.abs(density.values - exact).max() < 1e-12 * exact.max()
    edge = density.grid.upper[0]
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
        density = dfp.stationary(equation)
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
        assert np.abs(density.values - exact).sum() * density.grid.cell_volume < 1e-10
        assert density.outside < 1e-12


def test_a_stationary_density_stays():
    """Solved for a hundred steps from the stationary law, the density does not move."""
    sgd = dfp.SGD(one_mode(1.0, 0.3), 0.3)
    for equation in (dfp.MasterEquation(sgd), dfp.Langevin(sgd)):
        start = dfp.stationary(equation)
        moved = dfp.solve(equation, start, 100, [100], dfp.Fourier(), start.grid)
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


def test_unknown_closed_forms_are_refused():
    with pytest.raises(dfp.UnsupportedError, match="no closed stationary density"):
        dfp.stationary(dfp.MasterEquation(dfp.SGD(one_mode(1.0, 0.3, 0.2), 0.1)))
    with pytest.raises(dfp.UnsupportedError, match="no closed stationary density"):
        dfp.stationary(dfp.Langevin(dfp.SGD(table(2), 0.1)))
    with pytest.raises(dfp.UnsupportedError, match="d = 5"):
        dfp.stationary(dfp.Langevin(dfp.SGD(rotated(5, 2.0), 0.1)))


def test_given_grid_is_used():
    density = dfp.stationary(dfp.Langevin(dfp.SGD(one_mode(), 0.1)), dfp.Grid(-1, 1, 400))
    assert density.grid.cells == (400,)
    assert density.mass + density.outside == pytest.approx(1.0, abs=1e-6)
    with pytest.raises(dfp.DFPError, match="grid has 1 axes"):
        dfp.stationary(dfp.Langevin(dfp.SGD(rotated(2, 2.0), 0.1)), dfp.Grid(-1, 1, 400))
