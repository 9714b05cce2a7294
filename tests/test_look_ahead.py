"""MonteCarlo(look_ahead=True): against exact densities, cell by cell; against histograms of ten times as many runs."""

import numba
import numpy as np
import pytest
from dfp_solvers.trajectories import look_ahead, models
from problems import one_mode, regression, table
from scipy.stats import multivariate_normal

import dfp

ETA = 0.2


def mode(learning_rate=ETA):
    return dfp.MasterEquation(dfp.SGD(one_mode(1.0, 0.3, 0.4), learning_rate))


def test_kernels_add_up_to_their_gaussians():
    """Against SciPy's densities; ratios along an axis err by rounding times some thirty cells squared."""
    rng = np.random.default_rng(0)
    for d in (1, 2, 3):
        rows, normals = [0, *range(d)], [d, *range(d)]
        noise = rows, [0] + [-1] * d, normals, [0.2] + [0.3] * d, d + 1
        model = models.GaussianModel(0.8 * np.eye(d) + 0.05, np.full(d, 0.1), *noise)
        theta, cells = rng.standard_normal((40, d)), (31, 20, 17)[:d]
        lower, spacing = np.full(d, -3.0), 6 / np.array(cells)
        found = np.zeros(cells)
        look_ahead.add(model, theta, lower, spacing, found)
        axes = [low + (np.arange(n) + 0.5) * h for low, n, h in zip(lower, cells, spacing, strict=True)]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        moved = look_ahead.conditional(model, theta)
        expected = sum(multivariate_normal(*one).pdf(points).reshape(cells) for one in zip(*moved, strict=True))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * expected.max())


def test_densities_are_unbiased():
    """60 seeds, 60 cells: |z| < 5 of means by their spread, chance of a false alarm 4e-4; 3 % of η is told from it."""
    start, grid = dfp.Gaussian(1.0, 0.1), dfp.Grid(-2.0, 2.5, 60)
    drawn = np.array([
        dfp.solve(mode(), start, 4, [1, 4], dfp.MonteCarlo(1024, seed, look_ahead=True), grid).density
        for seed in range(60)
    ])  # fmt: skip
    error = np.maximum(drawn.std(axis=0, ddof=1) / np.sqrt(len(drawn)), 1e-6 * drawn.max())
    for equation, right in ((mode(), True), (mode(1.03 * ETA), False)):
        exact = dfp.solve(equation, start, 4, [1, 4], dfp.Transfer(), grid).density
        z = np.abs(drawn.mean(axis=0) - exact) / error
        assert (z.max() < 5) == right, z.max()


def test_one_tenth_of_the_runs_is_as_near_in_three_dimensions():
    """L1 to the exact density, a Gaussian, at η = 0.2; another learning rate is not as near."""
    noise = dfp.GaussianNoise([[1, 0.2, 0.1], [0.2, 0.6, 0.1], [0.1, 0.1, 0.4]])
    landscape = dfp.QuadraticLandscape([1.0, 0.6, 0.3], noise=noise)
    start = dfp.Gaussian(np.ones(3), 0.1)

    def apart(learning_rate, solver):
        equation = dfp.MasterEquation(dfp.SGD(landscape, learning_rate))
        found = dfp.solve(equation, start, 10, [10], solver, exact.grid)
        return np.abs(found.density - exact.density).sum() * exact.grid.cell_volume

    exact = dfp.solve(dfp.MasterEquation(dfp.SGD(landscape, ETA)), start, 10, [10])
    ahead = dfp.MonteCarlo(1024, seed=1, look_ahead=True)
    assert apart(ETA, ahead) < apart(ETA, dfp.MonteCarlo(10_240, seed=1))
    assert apart(2 * ETA, ahead) > 2 * apart(ETA, ahead)


def test_bits_do_not_depend_on_threads_or_portions(monkeypatch):
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("one core")
    equation, start = dfp.MasterEquation(dfp.SGD(table(2), 0.1)), dfp.Gaussian([1.0, 0.0], 0.1)

    def density(threads):
        return dfp.solve(equation, start, 3, [3], dfp.MonteCarlo(5000, threads=threads, look_ahead=True)).density

    first = density(1)
    monkeypatch.setattr("dfp.methods.monte_carlo._LEAST_BLOCKS", 3)
    monkeypatch.setattr("dfp.methods.look_ahead._ENTRIES", 1)
    assert np.array_equal(first, density(2))


def test_moments_and_step_0_are_those_of_the_same_samples():
    start, solver = dfp.Gaussian(1.0, 0.1), dfp.MonteCarlo(4096, seed=2)
    plain = dfp.solve(mode(), start, 3, [0, 3], solver)
    ahead = dfp.solve(mode(), start, 3, [0, 3], dfp.MonteCarlo(4096, seed=2, look_ahead=True))
    assert np.array_equal(plain.mean, ahead.mean) and np.array_equal(plain.covariance, ahead.covariance)
    assert np.array_equal(plain.density[0], ahead.density[0])
    assert not np.array_equal(plain.density[1], ahead.density[1])


@pytest.mark.parametrize(
    ("landscape", "options", "message"),
    [
        (one_mode(), {"momentum": 0.5}, "plain SGD"),
        (regression(2), {}, "Gaussian given θ"),
        (dfp.QuadraticLandscape(np.ones(4), noise=dfp.GaussianNoise(np.ones(4))), {}, "d <= 3"),
        (dfp.QuadraticLandscape([1.0, 0.5], noise=dfp.GaussianNoise([1.0, 0.0])), {}, "does not reach all directions"),
    ],
)
def test_what_cannot_be_looked_ahead_of_is_refused(landscape, options, message):
    start = dfp.Gaussian(np.ones(landscape.dimension), 0.1)
    with pytest.raises(dfp.DFPError, match=message):
        equation = dfp.MasterEquation(dfp.SGD(landscape, 0.1, **options))
        dfp.solve(equation, start, 3, [3], dfp.MonteCarlo(1024, look_ahead=True))


def test_sums_in_one_process_alone():
    with pytest.raises(dfp.DFPError, match="leave executor and checkpoint out"):
        dfp.MonteCarlo(1024, checkpoint="run.npz", look_ahead=True)
