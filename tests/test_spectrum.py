"""Relaxation spectra against formulas, moment recursions, grids and Monte-Carlo-free long runs."""

import numpy as np
import pytest
from dfp_solvers import lyapunov
from problems import every_equation, one_mode, rotated, samples, table

import dfp


def test_discrete_equation_on_polynomials():
    """(T5) in 1D: 1 − nηλ + ½n(n−1)η²(λ² + Γ) (theory page, section 2); beyond the tails nothing is promised."""
    for gamma in (0.0, 0.8):
        found = dfp.spectrum(dfp.DiscreteFokkerPlanck(dfp.SGD(one_mode(1.0, 0.3, gamma), 0.1)), 5)
        n = np.arange(1, 6)
        assert found.degrees.tolist() == n.tolist()
        # rounding
        assert found.eigenvalues == pytest.approx(1 - 0.1 * n + n * (n - 1) / 2 * 0.01 * (1 + gamma), abs=1e-10)
        assert any("power-law tails" in warning for warning in found.warnings)


@pytest.mark.parametrize("d", [1, 2, 3, 6])
def test_additive_noise_gives_products(d):
    """(T4): Π(1−ηλ_i)^{n_i}; generators: exp(−ηΣ n_i λ_i J_i); the ten largest by brute force."""
    sgd = dfp.SGD(rotated(d, 3.0), 0.3)
    values = np.linalg.eigvalsh(sgd.hessian)
    powers = np.stack(np.meshgrid(*[np.arange(11 if d < 4 else 4)] * d), axis=-1).reshape(-1, d)
    for equation, single in (
        (dfp.MasterEquation(sgd), 1 - 0.3 * values),
        (dfp.Langevin(sgd), np.exp(-0.3 * values)),
        (dfp.ModifiedLangevin(sgd, matched=False), np.exp(-0.3 * values * (1 + 0.15 * values))),
    ):
        products = np.sort(np.prod(single**powers, axis=1))[::-1][1:11]
        found = dfp.spectrum(equation, 10)
        # rounding
        assert found.eigenvalues == pytest.approx(products, rel=1e-12)
        assert found.relaxation_steps == pytest.approx(-1 / np.log(products), rel=1e-9)
        assert not found.warnings


def test_moments_of_gaussian_curvature_noise():
    """(T4), Γ > 0: E(1−ηh)^n, and (T6): exp(−η(nλ − ½n(n−1)ηΓ)); the continuous part starts at the least E|A|^p."""
    sgd = dfp.SGD(one_mode(1.0, 0.3, 0.8), 0.1)
    a, v = 0.9, 0.01 * 0.8
    found = dfp.spectrum(dfp.MasterEquation(sgd), 4)
    # rounding
    assert found.eigenvalues == pytest.approx(
        [a, a**2 + v, a**3 + 3 * a * v, a**4 + 6 * a**2 * v + 3 * v**2], abs=1e-10
    )
    p = np.linspace(0.1, 25, 2000)
    # the least of so many places, second order in their distance
    assert found.continuous_edge == pytest.approx(
        np.exp(min(lyapunov.gaussian_log_moment(x, a, np.sqrt(v)) for x in p)), rel=1e-5
    )
    n = np.arange(1, 5)
    langevin = dfp.spectrum(dfp.Langevin(sgd), 4).eigenvalues
    # rounding
    assert langevin == pytest.approx(np.exp(-0.1 * (n - n * (n - 1) / 2 * 0.1 * 0.8)), abs=1e-10)


@pytest.mark.parametrize("landscape", [table(2), table(2, symmetric=True), samples(2)], ids=["table", "sym", "sum"])
def test_coupled_modes_against_the_moment_recursion(landscape):
    """The late decay of mean and covariance is that of the slowest eigenvalue of degree one or two they contain."""
    for equation in every_equation(dfp.SGD(landscape, 0.05)):
        found = dfp.spectrum(equation, 12)
        path = dfp.moments(equation, dfp.Gaussian([0.5, -0.2], 0.3), 6000, [200, 201, 6000])
        off = path.mean[:2] - path.mean[2]
        degree_one = np.abs(found.eigenvalues[found.degrees == 1]).max()
        # faster modes are left at these steps
        assert np.linalg.norm(off[1]) / np.linalg.norm(off[0]) == pytest.approx(degree_one, abs=1e-3), equation.label
        # From the settled mean on, covariances decay by themselves.
        still = dfp.moments(equation, dfp.Gaussian(path.mean[2], 0.3), 6000, [250, 251, 6000])
        spread = still.covariance[:2] - still.covariance[2]
        degree_two = np.abs(found.eigenvalues[found.degrees == 2]).max()
        assert np.linalg.norm(spread[1]) / np.linalg.norm(spread[0]) == pytest.approx(degree_two, abs=2e-3)


def test_on_a_grid():
    """The transfer operator to rounding, the chain to its estimated error; modes are Hermite functions."""
    sgd, grid = dfp.SGD(one_mode(1.0, 0.3), 0.1), dfp.Grid(-1.2, 1.2, 200)
    for equation in (dfp.MasterEquation(sgd), dfp.Langevin(sgd)):
        exact, found = dfp.spectrum(equation, 3), dfp.spectrum(equation, 3, grid)
        off = np.abs(found.eigenvalues - exact.eigenvalues)
        assert np.all(off <= found.error + 1e-11)
        assert np.all(found.error < (1e-8 if equation.discrete else 2e-3))
        x, variance = grid.axes[0], dfp.stationary(equation).covariance.item()
        hermite = x * np.exp(-0.5 * x**2 / variance)
        first = np.real(found.modes[0])
        assert np.abs(np.abs(first) - np.abs(hermite) / np.abs(hermite).max()).max() < 0.02
    plane = dfp.Langevin(dfp.SGD(table(2), 0.05))
    exact = dfp.spectrum(plane, 4).eigenvalues
    found = dfp.spectrum(plane, 4, dfp.Grid([-1.6, -1.6], [1.6, 1.6], 64))
    assert np.all(np.abs(found.eigenvalues - exact) <= found.error + 1e-6)


@pytest.mark.parametrize("width", [5, 8, 20])
def test_errors_on_a_grid_count_the_tails_that_it_does_not_hold(width):
    """In one box, few cells agree with many to 1e-7 while both are off by as much as 1e-2."""
    sgd = dfp.SGD(one_mode(1.0, 1.0, 0.8), 0.2)
    for equation in (dfp.MasterEquation(sgd), dfp.Langevin(sgd)):
        reach = width * dfp.stationary_moments(equation).covariance.item() ** 0.5
        found = dfp.spectrum(equation, 2, dfp.Grid(-reach, reach, 400))
        off = np.abs(found.eigenvalues - dfp.spectrum(equation, 2).eigenvalues)
        # what the modes' search leaves
        assert np.all(off <= found.error + 1e-11)


def test_power_law_tails_are_told():
    flat = dfp.spectrum(dfp.Langevin(dfp.SGD(one_mode(0.0, 0.3, 0.8), 0.1)))
    assert any("power-law" in warning for warning in flat.warnings)
    assert flat.continuous_edge == pytest.approx(np.exp(-0.1 * 0.1 * 0.8 / 8))
    unstable = dfp.spectrum(dfp.MasterEquation(dfp.SGD(one_mode(-1.0), 0.1)), 3)
    assert any("do not decay" in warning for warning in unstable.warnings)
    assert np.all(unstable.relaxation_steps < 0)


def test_overshooting_modes_alternate():
    """ηλ = 1.5: the slowest eigenvalue is −0.5."""
    found = dfp.spectrum(dfp.MasterEquation(dfp.SGD(one_mode(1.5), 1.0)), 2)
    assert found.eigenvalues == pytest.approx([-0.5, 0.25])
    assert "relaxation steps" in str(found)


def test_refusals():
    with pytest.raises(dfp.UnsupportedError, match="d <= 3"):
        dfp.spectrum(dfp.MasterEquation(dfp.SGD(table(4), 0.1)))
    with pytest.raises(dfp.UnsupportedError, match="not a positive operator"):
        dfp.spectrum(dfp.DiscreteFokkerPlanck(dfp.SGD(one_mode(), 0.1)), 3, dfp.Grid(-1, 1, 50))
    with pytest.raises(dfp.UnsupportedError, match="d = 1 or 2"):
        dfp.spectrum(dfp.Langevin(dfp.SGD(rotated(3, 2.0), 0.1)), 3, dfp.Grid([-1] * 3, [1] * 3, 16))
    with pytest.raises(dfp.DFPError, match="count"):
        dfp.spectrum(dfp.Langevin(dfp.SGD(one_mode(), 0.1)), 0)
