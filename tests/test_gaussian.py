"""Gaussian densities on grids, and sums over grids, against plain formulas."""

import numpy as np
import pytest
from dfp_solvers import gaussian, resolution
from scipy.stats import multivariate_normal

import dfp
from dfp.problem.grid import grid_moments


def random_problem(d, seed):
    rng = np.random.default_rng(seed)
    square = rng.standard_normal((d, d))
    covariance = square @ square.T + 0.3 * np.eye(d)
    grid = dfp.Grid(-4 - rng.random(d), 5 + rng.random(d), tuple(int(n) for n in rng.integers(9, 15, d)))
    return rng.standard_normal(d), covariance, grid


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("diagonal", [False, True])
def test_densities_on_grids(d, diagonal):
    """Against SciPy's density, point by point: exponents of up to a few hundred leave rounding of 1e-13."""
    mean, covariance, grid = random_problem(d, d)
    covariance = np.diag(np.diag(covariance)) if diagonal else covariance
    expected = multivariate_normal(mean, covariance).pdf(grid.points).reshape(grid.cells)
    state = dfp.Gaussian(mean, covariance)
    np.testing.assert_allclose(state.on(grid), expected, rtol=1e-11)
    np.testing.assert_allclose(state.density(grid.points), expected, rtol=1e-11)


def test_singular_covariances_have_no_density_on_grids():
    with pytest.raises(dfp.DFPError, match="positive definite"):
        dfp.Gaussian([0, 0], [[1, 1], [1, 1]]).on(dfp.Grid([-1, -1], [1, 1], 8))


@pytest.mark.parametrize("d", [1, 2, 3])
def test_largest_wave_beyond_a_grid(d):
    """The maximum over the faces of the cube of wave vectors, in closed form, against a search on a fine lattice."""
    _, covariance, _ = random_problem(d, 10 + d)
    spacing = np.linspace(0.8, 1.2, d)
    lines = [np.linspace(-np.pi / h, np.pi / h, 201 if d < 3 else 61) for h in spacing]
    waves = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, d)
    edge = waves[np.any(np.abs(waves) > (1 - 1e-12) * np.pi / spacing, axis=1)]
    searched = np.exp(-0.5 * np.einsum("ni,ij,nj->n", edge, covariance, edge)).max()
    found = gaussian.largest_beyond(np.linalg.inv(np.linalg.cholesky(covariance)), spacing)
    # The lattice misses the maximum by half a spacing at most: second order in it.
    assert searched <= found * (1 + 1e-12)
    assert np.log(searched) == pytest.approx(np.log(found), rel=0.02)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_moments_of_grids(d):
    """Against sums over all cells, to rounding."""
    _, _, grid = random_problem(d, 20 + d)
    values = np.random.default_rng(d).random(grid.cells)
    mass, mean, covariance = grid_moments(grid, values)
    points, weights = grid.points.reshape(-1, d), values.ravel() / values.sum()
    assert mass == pytest.approx(values.sum() * grid.cell_volume, rel=1e-13)
    np.testing.assert_allclose(mean, weights @ points, rtol=1e-12, atol=1e-13)
    expected = (points - mean).T @ (weights[:, None] * (points - mean))
    np.testing.assert_allclose(covariance, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("cells", [(8,), (9,), (8, 11), (9, 8), (8, 9, 10)])
def test_spectra_at_the_edge(cells):
    """Against the whole FFT: the largest of all coefficients with the last or last but one wave number on some axis."""
    density = np.random.default_rng(0).random(cells)
    spectrum = np.abs(np.fft.fftn(density))
    edges = [np.take(spectrum, [n // 2 - 1, n // 2], axis=axis).max() for axis, n in enumerate(cells)]
    # rounding
    assert resolution.unresolved(density) == pytest.approx(max(edges), rel=1e-12)
