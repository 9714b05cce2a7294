"""Fourier densities against closed-form Gaussians, direct sums and convolutions."""

import numpy as np
import pytest
from problems import one_mode, rotated, samples

import dfp

# L1 error allowed on automatic grids: they leave 6e-14 outside per side and 1e-12 beyond the largest wave number.
TOLERANCE = 1e-10


def l1_error(solution, frame, gaussian):
    grid, density = solution.gridded()
    return np.abs(density[frame] - gaussian.density(grid.points)).sum() * grid.cell_volume


def linear_equations(sgd):
    return [
        dfp.MasterEquation(sgd),
        dfp.Langevin(sgd),
        dfp.ModifiedLangevin(sgd, matched=False),
        dfp.ModifiedLangevin(sgd),
    ]


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("index", range(4))
def test_automatic_grid_gives_exact_gaussians(d, index):
    """L1 error below 1e-10 in 1D, 2D (rotated, condition number 1000) and 3D."""
    sgd = dfp.SGD(rotated(d, 1000.0 if d == 2 else 8.0), 0.5)
    equation = linear_equations(sgd)[index]
    start = dfp.Gaussian(np.full(d, 0.5), 4.0 * np.eye(d))
    save = [2000, 4000] if d == 2 else [3, 10]
    solution = dfp.solve(equation, start, save[-1], save, dfp.Fourier())
    exact = dfp.moments(equation, start, save[-1], save)
    for s in range(2):
        assert l1_error(solution, s, dfp.Gaussian(exact.mean[s], exact.covariance[s])) < TOLERANCE
    assert solution.certificate.ok, solution.certificate


def test_condition_number_of_the_two_dimensional_case():
    """The 2D case above is as hard as it says."""
    # rounding
    assert np.linalg.cond(dfp.SGD(rotated(2, 1000.0), 0.5).hessian) == pytest.approx(1000, rel=1e-9)


def test_a_million_steps_need_no_more_work_than_ten():
    """The work is counted, not timed: both frames come from one transition and one transform of the same size."""
    sgd = dfp.SGD(one_mode(1e-7), 0.1)
    start = dfp.Gaussian(0.0, 1.0)
    grid = dfp.Grid(-600, 600, 4096)
    solution = dfp.solve(dfp.MasterEquation(sgd), start, 10**6, [10, 10**6], dfp.Fourier(), grid)
    assert solution.density.shape == (2, 4096)
    exact = dfp.moments(dfp.MasterEquation(sgd), start, 10**6, [10**6])
    # rounding
    assert solution.covariance[1].item() == pytest.approx(exact.covariance.item(), rel=1e-10)


def test_gridded_start_is_pushed_exactly():
    """A mixture of two Gaussians stays one: components move on their own."""
    sgd = dfp.SGD(one_mode(1.0, 0.3, gradient=0.1), 0.2)
    grid = dfp.Grid(-8, 8, 512)
    parts = [dfp.Gaussian(-1.5, 0.25), dfp.Gaussian(2.0, 0.5)]
    mixture = dfp.Density.normalised(grid, 0.3 * parts[0].density(grid.points) + 0.7 * parts[1].density(grid.points))
    for equation in linear_equations(sgd):
        solution = dfp.solve(equation, mixture, 7, [0, 7], dfp.Fourier(), grid)
        expected = np.zeros(512)
        for weight, part in zip((0.3, 0.7), parts, strict=True):
            after = dfp.moments(equation, part, 7, [7])
            expected += weight * dfp.Gaussian(after.mean[0], after.covariance[0]).density(grid.points)
        assert np.abs(solution.density[1] - expected).sum() * grid.cell_volume < TOLERANCE


def test_gridded_start_in_a_rotated_landscape():
    """The interpolated characteristic function is accurate to 1e-8."""
    sgd = dfp.SGD(rotated(2, 5.0), 0.4)
    start = dfp.Gaussian([0.5, -0.2], [[0.6, 0.2], [0.2, 0.4]])
    grid = dfp.Grid([-8, -8], [8, 8], (128, 128))
    gridded = dfp.Density(grid, start.density(grid.points))
    equation = dfp.MasterEquation(sgd)
    solution = dfp.solve(equation, gridded, 4, [4], dfp.Fourier(), grid)
    after = dfp.moments(equation, start, 4, [4])
    assert l1_error(solution, 0, dfp.Gaussian(after.mean[0], after.covariance[0])) < 1e-7


def test_additive_finite_sum_is_a_mixture_of_shifted_gaussians():
    """Two samples with equal Hessians, batch size 1: after n steps, 2ⁿ Gaussians of known places."""
    hessians, gradients = np.full((2, 1, 1), 1.0), np.array([[0.5], [-1.0]])
    sgd = dfp.SGD(dfp.QuadraticLandscape.from_samples(hessians, gradients), 0.2)
    start, grid = dfp.Gaussian(0.3, 0.05), dfp.Grid(-2, 2, 512)
    solution = dfp.solve(dfp.MasterEquation(sgd), start, 4, [4], dfp.Fourier(), grid)
    places = np.array([0.3])
    for _ in range(4):
        places = np.concatenate([0.8 * places - 0.2 * g for g in gradients[:, 0]])
    variance = 0.05 * 0.8**8
    expected = np.mean([dfp.Gaussian(p, variance).density(grid.points) for p in places], axis=0)
    assert np.abs(solution.density[0] - expected).sum() * grid.cell_volume < TOLERANCE


def test_long_finite_sums_end_in_closed_form():
    """Batches of 4 over 3 000 steps agree in mean and covariance with the recursion; the start resolves atoms."""
    rng = np.random.default_rng(0)
    landscape = dfp.QuadraticLandscape.from_samples(np.full((20, 1, 1), 1e-3), rng.standard_normal((20, 1)), 4)
    equation, start = dfp.MasterEquation(dfp.SGD(landscape, 0.1)), dfp.Gaussian(0.0, 1.0)
    solution = dfp.solve(equation, start, 3000, [3000], dfp.Fourier())
    assert solution.certificate.ok, solution.certificate


def test_refuses_noise_that_depends_on_theta():
    sgd = dfp.SGD(samples(2), 0.1)
    with pytest.raises(dfp.UnsupportedError, match=r"Fourier cannot solve .* depends on θ .*MonteCarlo"):
        dfp.solve(dfp.MasterEquation(sgd), dfp.Gaussian([0, 0], 1.0), 5, solver=dfp.Fourier())


def test_refuses_the_truncated_equation():
    sgd = dfp.SGD(one_mode(), 0.1)
    with pytest.raises(dfp.UnsupportedError, match=r"T5.*it solves T4, T6, T7"):
        dfp.solve(dfp.DiscreteFokkerPlanck(sgd), dfp.Gaussian(0, 1), 5, solver=dfp.Fourier())


def test_refuses_a_point_at_step_zero():
    sgd = dfp.SGD(one_mode(), 0.1)
    with pytest.raises(dfp.DFPError, match=r"step 0.*eigenvalue"):
        dfp.solve(dfp.MasterEquation(sgd), dfp.Point(0.0), 5, [0, 5], dfp.Fourier())
    assert dfp.solve(dfp.MasterEquation(sgd), dfp.Point(0.0), 5).certificate.ok


def test_refuses_an_indefinite_matched_diffusion():
    """Rank-one C off H's axes: (T7m)'s diffusion is indefinite, (T7m⁺)'s is not."""
    landscape = dfp.QuadraticLandscape([1.0, 8.0], 0, dfp.GaussianNoise([[1.0, 1.0], [1.0, 1.0]]))
    sgd, start = dfp.SGD(landscape, 0.05), dfp.Gaussian([0.0, 0.0], 1e-6)
    with pytest.raises(dfp.DFPError, match=r"indefinite.*positive=True"):
        dfp.solve(dfp.ModifiedLangevin(sgd), start, 1, [1], dfp.Fourier(), dfp.Grid([-1, -1], [1, 1], 512))
    positive = dfp.ModifiedLangevin(sgd, positive=True)
    assert np.linalg.eigvalsh(dfp.moments(positive, start, 1).covariance[1])[0] > 0


def test_says_when_a_given_grid_is_too_small_or_too_coarse():
    sgd, start = dfp.SGD(one_mode(), 0.1), dfp.Gaussian(0.0, 1.0)
    narrow = dfp.solve(dfp.MasterEquation(sgd), start, 1, [0], dfp.Fourier(), dfp.Grid(-2, 2, 64))
    assert any("mass lies outside the grid" in warning for warning in narrow.certificate.warnings)
    coarse = dfp.solve(dfp.MasterEquation(sgd), start, 1, [0], dfp.Fourier(), dfp.Grid(-8, 8, 20))
    assert any("largest wave number" in warning for warning in coarse.certificate.warnings)
    lattice = dfp.QuadraticLandscape.from_samples(np.ones((2, 1, 1)), [[1.0], [-1.0]])
    with pytest.raises(dfp.UnresolvedError, match="more cells"):
        dfp.solve(dfp.MasterEquation(dfp.SGD(lattice, 0.1)), start, 1, [1], dfp.Fourier(), dfp.Grid(-8, 8, 8))


def test_unaffordable_grid_is_refused():
    """A needle in a wide box would need more than 2^26 cells."""
    landscape = dfp.QuadraticLandscape([1.0, 1.0, 1.0], 0, dfp.GaussianNoise(1e-6))
    with pytest.raises(dfp.UnresolvedError, match="save fewer"):
        dfp.solve(dfp.MasterEquation(dfp.SGD(landscape, 0.5)), dfp.Gaussian([0, 0, 0], 1.0), 50, [0, 50])
