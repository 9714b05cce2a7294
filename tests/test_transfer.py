"""Transfer: the master equation on a grid against closed forms, exact moments, NumPy twins, paths and sampling."""

import itertools

import numba
import numpy as np
import pytest
from dfp_solvers.transfer import uniform
from problems import one_mode, regression, rotated, samples, table
from scipy import stats

import dfp
from dfp.methods.solver import Problem
from dfp.methods.transfer.transfer import Transfer
from dfp.methods.transfer.uniform import UniformRun
from dfp.problem.equation import MomentVector


def master(landscape, learning_rate=0.1):
    return dfp.MasterEquation(dfp.SGD(landscape, learning_rate))


def recursion(equation, start, steps):
    """Mean and covariance by (T14), one step at a time."""
    mean, covariance = start.mean, start.covariance
    factor = np.eye(equation.dimension) - equation.linear_drift
    for _ in range(steps):
        gained = equation.mean_diffusion(MomentVector(np.ones(()), mean, np.outer(mean, mean), covariance))
        mean, covariance = factor @ mean - equation.constant_drift, factor @ covariance @ factor.T + gained
    return mean, covariance


def check_moments(solution, equation, start, tolerance):
    mean, covariance = recursion(equation, start, int(solution.steps[-1]))
    sigma = np.sqrt(np.diag(covariance))
    assert np.abs((solution.mean[-1] - mean) / sigma).max() < tolerance
    assert np.abs((solution.covariance[-1] - covariance) / np.outer(sigma, sigma)).max() < tolerance


def check_mass(solution, tolerance=1e-12):
    inside = solution.density.reshape(len(solution.steps), -1).sum(axis=1) * solution.grid.cell_volume
    assert np.abs(inside + solution.certificate.mass_outside - 1).max() < tolerance


def central(grid, density, order):
    """Central moment tensor of a gridded density."""
    d, probability = grid.dimension, density.ravel() * grid.cell_volume
    points = grid.points.reshape(-1, d)
    x = points - probability @ points
    letters = "abcd"[:order]
    return np.einsum(",".join(["n", *(f"n{c}" for c in letters)]) + "->" + letters, probability, *[x] * order)


# --- resolved kernels


@pytest.mark.parametrize(
    ("landscape", "start", "rate"),
    [
        (one_mode(gradient=0.2), dfp.Gaussian(0.3, 0.1), 0.1),
        (one_mode(), dfp.Point(0.3), 0.1),
        (one_mode(), dfp.Gaussian(0.3, 0.5), 1.6),
        (rotated(2, 8.0), dfp.Gaussian([1.0, 0.3], 0.5), 0.3),
    ],
)
def test_additive_noise_agrees_with_fourier(landscape, start, rate):
    """L1 distance below 1e-9: both are spectrally accurate and share no code. ηλ = 1.6 overshoots."""
    equation = master(landscape, rate)
    solution = dfp.solve(equation, start, 20, [1, 5, 20], Transfer())
    other = dfp.solve(equation, start, 20, [1, 5, 20], dfp.Fourier(), solution.grid)
    distance = np.abs(solution.density - other.density).reshape(3, -1).sum(axis=1) * solution.grid.cell_volume
    assert distance.max() < 1e-9
    assert solution.certificate.ok, solution.certificate
    coarse = dfp.solve(master(landscape, rate * 1.01), start, 20, [20], dfp.Fourier(), solution.grid)
    wrong = np.abs(solution.density[-1] - coarse.density[0]).sum() * solution.grid.cell_volume
    assert wrong > 1e-4, "a rate 1 % off must show"


def test_multiplicative_noise_for_a_thousand_steps():
    """Mean and covariance to 1e-8 (measured 1e-14), orders three and four to 1e-8, every value non-negative."""
    equation, start = master(one_mode(1.0, 0.3, 0.2, 0.1)), dfp.Gaussian(0.3, 0.1)
    solution = dfp.solve(equation, start, 1000, [0, 1, 1000], Transfer())
    check_moments(solution, equation, start, 1e-8)
    check_mass(solution)
    assert solution.density.min() >= 0
    assert solution.certificate.ok, solution.certificate
    exact = dfp.solve(equation, start, 1000, [1000], dfp.MomentRecursion())
    sigma = solution.covariance[-1].item() ** 0.5
    for order, expected in ((3, exact.third), (4, exact.fourth)):
        got = central(solution.grid, solution.density[-1], order).item()
        assert abs(got - expected[0].item()) < 1e-8 * sigma**order


def test_full_table_in_two_dimensions():
    """Kernels with correlations that change from place to place, 200 steps: all moments to order four."""
    equation, start = master(table(2)), dfp.Gaussian([0.9, -0.9], 0.05)
    solution = dfp.solve(equation, start, 200, [1, 200], Transfer())
    check_moments(solution, equation, start, 1e-8)
    # What 200 steps between some thousand nodes round, and what their box leaves out.
    check_mass(solution, 1e-11)
    assert solution.density.min() >= 0
    exact = dfp.solve(equation, start, 200, [1, 200], dfp.MomentRecursion())
    sigma = np.sqrt(np.max(np.diag(solution.covariance[-1])))
    for s in range(2):
        third, fourth = (central(solution.grid, solution.density[s], order) for order in (3, 4))
        assert np.abs(third - exact.third[s]).max() < 1e-8 * sigma**3
        assert np.abs(fourth - exact.fourth[s]).max() < 1e-8 * sigma**4


def test_three_dimensions():
    equation, start = master(table(3), 0.3), dfp.Gaussian([0.0, 0.0, 0.0], 0.3)
    grid = dfp.Grid([-3.0] * 3, [3.0] * 3, 30)
    solution = dfp.solve(equation, start, 2, [2], Transfer(), grid)
    check_mass(solution)
    # The box is cut at about 5σ.
    check_moments(solution, equation, start, 1e-3)
    assert solution.density.min() >= 0
    # The modes of such a mean are not orthogonal.
    oblique = dfp.MasterEquation(dfp.SGD(table(3), 0.001, preconditioner=[1.0, 0.5, 0.3]))
    with pytest.raises(dfp.UnresolvedError, match=r"3D .*MonteCarlo"):
        dfp.solve(oblique, start, 2, [2], Transfer())


def test_mass_that_leaves_is_counted():
    """A slope drives all mass out of a given box: inside + outside stays one, and nothing is folded back."""
    equation = master(dfp.QuadraticLandscape([0.0], -1.0, dfp.GaussianNoise([1.0], [0.3])), 0.2)
    solution = dfp.solve(equation, dfp.Gaussian(0, 0.1), 8, range(9), Transfer(), dfp.Grid(-2, 2, 100))
    check_mass(solution)
    outside = solution.certificate.mass_outside
    assert np.all(np.diff(outside) >= 0)
    assert outside[-1] > 1e-3
    flat = dfp.QuadraticLandscape([0.0, 0.0], [-1.0, 0.0], dfp.GaussianNoise([1.0, 1.0], [0.3, 0.3]))
    problem = Problem.of(master(flat, 0.2), dfp.Gaussian([0, 0], 0.1), np.array([40]))
    run = UniformRun(problem, dfp.Grid([-2, -2], [2, 2], 60))  # moving boxes would follow it
    run.advance(40)
    with pytest.raises(dfp.UnresolvedError, match="left the box"):
        run.frame()


def test_gridded_start():
    """A mixture on another grid: each component moves on its own, for additive noise."""
    equation, grid = master(one_mode(), 0.2), dfp.Grid(-8, 8, 400)
    parts = [dfp.Gaussian(-1.5, 0.25), dfp.Gaussian(2.0, 0.5)]
    mixture = dfp.Density.normalised(grid, sum(part.density(grid.points) for part in parts))
    for cells in (400, 300):
        solution = dfp.solve(equation, mixture, 7, [0, 7], Transfer(), dfp.Grid(-8, 8, cells))
        moved = [recursion(equation, part, 7) for part in parts]
        expected = sum(dfp.Gaussian(*pair).density(solution.grid.points) for pair in moved) / 2
        # tails cut by the box
        assert np.abs(solution.density[1] - expected).sum() * solution.grid.cell_volume < 1e-9


def test_a_needle_needs_no_resolution():
    """A start narrower than the grid is a cloud until its first step, and has no density before it."""
    equation, needle = master(table(2), 0.2), dfp.Gaussian([0.4, 0.1], [[1e-5, 1e-5], [1e-5, 1e-5]])
    solution = dfp.solve(equation, needle, 5, [1, 5], Transfer())
    check_moments(solution, equation, needle, 1e-9)
    with pytest.raises(dfp.UnresolvedError, match=r"step 0.*no density"):
        dfp.solve(equation, dfp.Point([0.4, 0.1]), 5, [0, 5], Transfer(), solution.grid)


# --- narrow kernels and finite sums


@pytest.mark.parametrize(
    ("landscape", "rate", "start", "steps"),
    [
        (one_mode(1.0, 0.3, 0.2, 0.1), 0.001, dfp.Gaussian(0.3, 0.1), 1000),
        (one_mode(1.0, 0.0, 0.3), 0.1, dfp.Gaussian(1.0, 0.2), 20),
        (
            dfp.QuadraticLandscape([1.0, 0.5], 0.0, dfp.GaussianNoise([[1.0, 1.0], [1.0, 1.0]], [0.1, 0.0])),
            0.01,
            dfp.Gaussian([0.3, 0.0], 0.1),
            20,
        ),
    ],
    ids=["narrow", "singular at one place", "rank one"],
)
def test_narrow_and_singular_kernels(landscape, rate, start, steps):
    """No spurious diffusion: mean and covariance far below the 1e-4 asked for."""
    equation = master(landscape, rate)
    solution = dfp.solve(equation, start, steps, [steps], Transfer())
    check_moments(solution, equation, start, 1e-9)
    check_mass(solution)
    assert solution.certificate.negative_mass.max() < 1e-6


def test_narrow_kernels_agree_with_fourier():
    """Additive noise a tenth of a cell wide, 1 000 steps: L1 distance below 1e-6 (order six in the grid)."""
    equation, start, grid = master(one_mode(), 0.001), dfp.Gaussian(0.3, 0.1), dfp.Grid(-2, 2.6, 800)
    solution = dfp.solve(equation, start, 1000, [1000], Transfer(), grid)
    other = dfp.solve(equation, start, 1000, [1000], dfp.Fourier(), grid)
    assert np.abs(solution.density - other.density).sum() * grid.cell_volume < 1e-6


@pytest.mark.parametrize(("d", "batch", "steps"), [(1, 1, 3), (1, 2, 2), (2, 1, 2)])
def test_finite_sums_against_all_paths(d, batch, steps):
    """A narrow Gaussian under every path of 4 samples is a mixture of Gaussians, of known weight and place."""
    rng = np.random.default_rng(3)
    features, targets = 0.7 * rng.standard_normal((4, d)), rng.standard_normal(4)
    equation = master(dfp.QuadraticLandscape.from_regression(features, targets, batch), 0.1)
    start = dfp.Gaussian(np.full(d, 0.2), 0.1)
    grid = dfp.Grid([-3.0] * d, [3.4] * d, 600 if d == 1 else 200)
    solution = dfp.solve(equation, start, steps, [steps], Transfer(), grid)
    means, factors = [start.mean], [np.eye(d)]
    for _ in range(steps):
        moved = []
        for mean, factor in zip(means, factors, strict=True):
            for chosen in itertools.product(range(4), repeat=batch):
                x, y = features[list(chosen)], targets[list(chosen)]
                one = np.eye(d) - 0.1 * x.T @ x / batch
                moved.append((one @ mean + 0.1 * x.T @ y / batch, one @ factor))
        means, factors = [m for m, _ in moved], [f for _, f in moved]
    pairs = zip(means, factors, strict=True)
    expected = np.mean([dfp.Gaussian(m, 0.1 * f @ f.T).density(grid.points) for m, f in pairs], axis=0)
    # Images of the cells are 1 − ηh = 0.7 … 1 cells apart. The ripple this leaves is within its estimate, and so short
    # that the distribution function sees but ripple × spacing × peak = 1e-4 of it.
    error = (solution.density[0] - expected) * grid.cell_volume
    assert np.abs(error).sum() < solution.certificate.truncation[0] < 0.1
    if d == 1:
        # steps of the distribution are resolved to a cell
        assert np.abs(np.cumsum(error)).max() < 1e-4
    check_moments(solution, equation, start, 1e-10)
    check_mass(solution)


@pytest.mark.parametrize("landscape", [regression(1, 2), samples(2, 1)], ids=["1D", "2D"])
def test_moments_of_finite_sums(landscape):
    """Third and fourth moments too are kept by the weights."""
    d = landscape.dimension
    equation, start = master(landscape, 0.05), dfp.Gaussian(np.full(d, 0.5), 0.1)
    solution = dfp.solve(equation, start, 10, [10], Transfer(), dfp.Grid([-4.0] * d, [4.0] * d, 128))
    exact = dfp.solve(equation, start, 10, [10], dfp.MomentRecursion())
    for order, expected in ((3, exact.third[0]), (4, exact.fourth[0])):
        # rounding
        assert np.abs(central(solution.grid, solution.density[0], order) - expected).max() < 1e-10


def test_agrees_with_sampling():
    """Chi-square of 100 000 trajectories over bins of probability > 1e-3: p > 1e-6, the chance of a false alarm."""
    equation, start = master(one_mode(1.0, 0.3, 0.6, 0.1), 0.3), dfp.Gaussian(0.3, 0.1)
    grid = dfp.Grid(-8, 8, 640)
    solution = dfp.solve(equation, start, 12, [12], Transfer(), grid)
    bins = dfp.Grid(-8, 8, 160)
    count = 100_000
    sampled = dfp.solve(equation, start, 12, [12], dfp.MonteCarlo(count, seed=4), bins)
    from dfp.results.comparison import cell_probabilities

    expected = cell_probabilities(solution, 0, bins) * count
    observed = sampled.density[0] * bins.cell_volume * count
    # The control is the Gaussian of the same mean and covariance, which sampling must reject.
    normal = dfp.Gaussian(solution.mean[0], solution.covariance[0]).density(bins.points) * bins.cell_volume * count
    keep = expected > 100

    def p_value(model):
        return stats.chi2.sf(np.sum((observed[keep] - model[keep]) ** 2 / model[keep]), int(keep.sum()))

    assert p_value(expected) > 1e-6
    assert p_value(normal) < 1e-6


# --- kernels


def random_laws(d, cells, seed=0):
    """Resolved sources at random places, some beyond the box, with random covariances [index units]."""
    rng = np.random.default_rng(seed)
    count = 30
    place = rng.uniform(-4, cells[-1] + 4, (count, d))
    square = rng.standard_normal((count, d, d))
    covariance = square @ square.transpose(0, 2, 1) + 3 * np.eye(d)
    from dfp.methods.transfer.kernels import _narrow, _resolved

    return place, covariance, _resolved(np.arange(count), place, covariance), _narrow


@pytest.mark.parametrize("cells", [(40,), (24, 30), (14, 12, 13)])
def test_resolved_kernel_twin(cells):
    """Against a dense sum of Gaussians at all nodes: 1e-15 a node, and the mass outside by difference."""
    d = len(cells)
    place, covariance, law, _ = random_laws(d, cells)
    mass = np.random.default_rng(1).random(len(place))
    nodes = np.stack(np.meshgrid(*map(np.arange, cells), indexing="ij"), axis=-1).astype(float)
    dense = sum(m * dfp.Gaussian(p, c).density(nodes) for m, p, c in zip(mass, place, covariance, strict=True))
    result, lost = uniform.step(mass, (law,), cells)
    assert np.abs(result - dense.ravel()).max() < 1e-15
    assert abs(result.sum() + lost - mass.sum()) < 1e-13


def test_narrow_kernel_twin():
    """Against NumPy sums over the same quadrature nodes and weights."""
    rng = np.random.default_rng(2)
    cells = (40, 44)
    _, _, _, narrow = random_laws(2, cells)
    place, square = rng.uniform(15, 25, (12, 2)), 0.4 * rng.standard_normal((12, 2, 2))
    law = narrow(np.arange(12), place, square @ square.transpose(0, 2, 1))
    mass = rng.random(12)
    expected, weights = np.zeros(cells), np.empty(8)
    for s in range(12):
        one, two = (slice(*law.offsets[r : r + 2]) for r in law.rule[s])
        for i, j in itertools.product(range(one.start, one.stop), range(two.start, two.stop)):
            x = place[s] + law.root[s] @ np.array([law.nodes[i], law.nodes[j]])
            axes = []
            for a in range(2):
                first = uniform._weigh(x[a], cells[a], weights)
                axes.append(np.pad(weights, (first, cells[a] - 8 - first)))
            expected += mass[s] * law.weights[i] * law.weights[j] * np.outer(*axes)
    result, lost = uniform.step(mass, (law,), cells)
    # rounding
    assert np.abs(result.reshape(cells) - expected).max() < 1e-14
    assert lost == 0


@pytest.mark.parametrize("x", [7.0, 7.3, 7.999999, 0.2, -0.4, 19.4])
def test_weights_keep_moments_up_to_the_fifth(x):
    weights = np.empty(8)
    first = uniform._weigh(x, 20, weights)
    places = first + np.arange(8) - x
    # rounding
    assert abs(weights.sum() - 1) < 1e-14
    for order in range(1, 6):
        assert abs(weights @ places**order) < 1e-15 * 8**order
    linear = np.interp(x, np.arange(20), np.arange(20) ** 2.0)
    assert abs(x - round(x)) < 0.1 or abs(linear - x**2) > 1e-2, "linear weights would fail"


def test_exponential():
    x = np.linspace(-700, 0, 20_001)
    got = np.array([uniform._exp(v) for v in x])
    # rounding
    assert np.abs(got / np.exp(x) - 1).max() < 1e-13


@pytest.mark.parametrize("solver_case", ["resolved", "narrow", "maps"])
def test_bits_do_not_depend_on_threads(solver_case):
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("one core")
    equation = {"resolved": master(table(2)), "narrow": master(table(2), 0.001), "maps": master(samples(2, 1))}
    grid = dfp.Grid([-3.0, -3.0], [3.4, 3.4], (96, 100))
    before, results = numba.get_num_threads(), []
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            start = dfp.Gaussian([0.2, 0.1], 0.2)
            results.append(dfp.solve(equation[solver_case], start, 3, [3], Transfer(), grid))
    finally:
        numba.set_num_threads(before)
    assert np.array_equal(results[0].density, results[1].density)
    assert np.array_equal(results[0].certificate.mass_outside, results[1].certificate.mass_outside)


# --- refusals


@pytest.mark.parametrize(
    ("landscape", "reason"),
    [(rotated(4), "d <= 3")],
)
def test_refuses_what_it_cannot_do(landscape, reason):
    start = dfp.Gaussian(np.zeros(landscape.dimension), 1.0)
    with pytest.raises(dfp.UnsupportedError, match=reason):
        dfp.solve(master(landscape), start, 5, solver=Transfer())
    with pytest.raises(dfp.UnsupportedError, match="it solves T4"):
        dfp.solve(dfp.Langevin(dfp.SGD(one_mode(), 0.1)), dfp.Gaussian(0, 1), 5, solver=Transfer())
