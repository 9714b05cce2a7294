"""FiniteDifference: (T5) on a grid against NumPy twins, closed forms, exact moments and Hermite series."""

import itertools
import re

import numba
import numpy as np
import pytest
from dfp_solvers import finite_difference, lattice_walk, pseudospectral
from problems import one_mode, regression, rotated, table

import dfp
from dfp.methods import difference_grids
from dfp.methods.solver import Problem

SCHEMES = ("spectral", "fourth", "second")
FIRST = {2: {-1: -1 / 2, 1: 1 / 2}, 4: {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12}}
SECOND = {2: {-1: 1, 0: -2, 1: 1}, 4: {-2: -1 / 12, -1: 4 / 3, 0: -5 / 2, 1: 4 / 3, 2: -1 / 12}}


def discrete(landscape, learning_rate=0.02):
    return dfp.DiscreteFokkerPlanck(dfp.SGD(landscape, learning_rate))


def solved(equation, start, steps, scheme="spectral", grid=None, save=None, **options):
    return dfp.solve(equation, start, steps, save or [steps], dfp.FiniteDifference(scheme, **options), grid)


def distance(solution, values):
    axes = tuple(range(1, solution.density.ndim))
    return np.abs(solution.density - values).sum(axis=axes) * solution.grid.cell_volume


def central(grid, density, order):
    """Central moment tensor of a gridded density."""
    d, probability = grid.dimension, density.ravel() * grid.cell_volume
    points = grid.points.reshape(-1, d)
    x = points - probability @ points
    letters = "abcd"[:order]
    return np.einsum(",".join(["n", *(f"n{c}" for c in letters)]) + "->" + letters, probability, *[x] * order)


# --- kernels


def random_polynomials(d, seed=0):
    """Drift and second moment of a step in units of cells, as polynomials of the index counted from the middle."""
    rng = np.random.default_rng(seed)
    drift, square = 0.03 * rng.standard_normal((d, d + 1)), rng.standard_normal((d, d))
    second = drift[:, None, :, None] * drift[None, :, None, :]
    second[:, :, 0, 0] += 0.1 * (square @ square.T / d + np.eye(d)) / d
    return drift, second


def twin(values, drift, second, order):
    """One step by sending from every cell: no polynomials of weights, no lines, no blocks."""
    d, result = values.ndim, np.zeros_like(values)
    for place in itertools.product(*map(range, values.shape)):
        phi = np.array([1.0, *(p - (n - 1) / 2 for p, n in zip(place, values.shape, strict=True))])
        a, s = drift @ phi, np.einsum("ijab,a,b->ij", second, phi, phi)
        sent = {(0,) * d: 1.0}

        def send(offset, weight, sent=sent):
            sent[offset] = sent.get(offset, 0.0) + weight

        for i in range(d):
            unit = np.eye(d, dtype=int)
            for m, w in FIRST[order].items():
                send(tuple(m * unit[i]), w * a[i])
            for m, w in SECOND[order].items():
                send(tuple(m * unit[i]), w * s[i, i] / 2)
            for j in range(i):
                for m, n in itertools.product(FIRST[order], repeat=2):
                    send(tuple(m * unit[i] + n * unit[j]), FIRST[order][m] * FIRST[order][n] * s[i, j])
        for offset, weight in sent.items():
            target = tuple(p - o for p, o in zip(place, offset, strict=True))
            inside = all(0 <= t < n for t, n in zip(target, values.shape, strict=True))
            result[target if inside else place] += weight * values[place]
    return result


@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize("shape", [(17,), (14, 9), (70, 5), (3, 40), (7, 5, 6), (2, 9, 3)])
def test_stencils_agree_with_their_twin_and_keep_mass(shape, order):
    """Thirteen steps to 1e-13 or so, ends included; at order 2 a mode off by one half must show."""
    drift, second = random_polynomials(len(shape))
    values = np.random.default_rng(1).random(shape)
    expected = values
    for _ in range(13):
        expected = twin(expected, drift, second, order)
    got = finite_difference.march(values, finite_difference.Stencil(drift, second, order), 13)
    assert np.abs(got - expected).max() < 1e-13 * np.abs(expected).max()
    assert abs(got.sum() / values.sum() - 1) < 1e-14
    second[0, 0, 0, 0] += 1e-6
    assert (
        np.abs(finite_difference.march(values, finite_difference.Stencil(drift, second, order), 13) - got).max() > 1e-8
    )


@pytest.mark.parametrize(("shape", "order"), [((200, 150), 2), ((200, 150), 4), ((20, 12, 30), 2), ((20, 12, 30), 4)])
def test_bits_do_not_depend_on_threads_or_on_how_many_steps_are_fused(shape, order):
    stencil = finite_difference.Stencil(*random_polynomials(len(shape)), order)
    values = np.random.default_rng(2).random(shape)
    at_once = finite_difference.march(values, stencil, 9)
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        alone = finite_difference.march(values, stencil, 9)
    finally:
        numba.set_num_threads(threads)
    one_by_one = values
    for _ in range(9):
        one_by_one = finite_difference.march(one_by_one, stencil, 1)
    assert at_once.tobytes() == alone.tobytes() == one_by_one.tobytes()


@pytest.mark.parametrize("shape", [(15,), (12, 9), (6, 5, 8)])
def test_spectral_step_agrees_with_dense_fourier_sums(shape):
    d, rng = len(shape), np.random.default_rng(3)
    drift, second = rng.standard_normal((d, *shape)), rng.standard_normal((d, d, *shape))
    second = second + np.swapaxes(second, 0, 1)
    values = rng.random(shape)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, d)
    kappa = np.stack(np.meshgrid(*[2 * np.pi * np.fft.fftfreq(n) for n in shape], indexing="ij"), axis=-1).reshape(
        -1, d
    )
    kappa = kappa[np.linalg.norm(kappa, axis=1) < np.pi]
    forward, weights = np.exp(-1j * kappa @ index.T), values.ravel()
    spectrum = forward @ weights
    for i in range(d):
        spectrum = spectrum + 1j * kappa[:, i] * (forward @ (drift[i].ravel() * weights))
        for j in range(d):
            spectrum = spectrum - kappa[:, i] * kappa[:, j] * (forward @ (second[i, j].ravel() * weights)) / 2
    expected = (np.conj(forward.T) @ spectrum).real.reshape(shape) / values.size
    # rounding
    assert np.abs(pseudospectral.Operator(drift, second).steps(values, 1) - expected).max() < 1e-12


def test_trigonometric_interpolation_reproduces_waves_and_nothing_outside():
    for count in (9, 10):
        nodes = -1.0 + 0.25 * (np.arange(count) + 0.5)
        points = np.concatenate([nodes[:3], np.linspace(-0.99, -1 + 0.25 * count - 0.01, 30), [-1.2, 9.0]])
        matrix = pseudospectral.interpolation(-1.0, 0.25, count, points)
        wave = 2 * np.pi * 3 / (0.25 * count)
        expected = np.where((points > -1) & (points < -1 + 0.25 * count), np.cos(wave * points + 0.3), 0.0)
        # rounding
        assert np.abs(matrix @ np.cos(wave * nodes + 0.3) - expected).max() < 1e-13


# --- stability


def test_second_order_bound_is_the_known_one():
    """One dimension: Δ² = η²S exactly. In more: above the necessary one, which lets |G| exceed one."""
    rng = np.random.default_rng(4)
    a, v = rng.standard_normal((50, 1)), rng.random((50, 1, 1))
    expected = np.sqrt(np.max(v[:, 0, 0] + a[:, 0] ** 2))
    # rounding
    assert finite_difference.smallest_scale(a, v, 2) == pytest.approx(expected, rel=1e-12)
    for d, worst in ((2, 2.4), (3, 4.2)):
        # |G|² for S = ḡḡᵀ with Σ s_ii = 1, over directions of ḡ; theory page: up to 2.4 and 4.2.
        a = np.abs(rng.standard_normal((400, d)))
        a /= np.linalg.norm(a, axis=1, keepdims=True)
        growth = finite_difference.amplification(a, a[:, :, None] * a[:, None, :], 2, finite_difference.wave_vectors(d))
        assert np.max(growth) ** 2 == pytest.approx(worst, abs=0.12)
        scale = finite_difference.smallest_scale(a, 1e-3 * np.tile(np.eye(d), (400, 1, 1)), 2)
        assert 1.1 < scale <= d * 1.01


@pytest.mark.parametrize("order", [2, 4])
def test_a_stable_matrix_does_not_grow_and_one_twice_as_fine_does(order):
    """The whole matrix, ends included, in one dimension: spectral radius 1 at the bound, above 1.5 at half of it."""
    for scale, stable in ((1.0, True), (0.5, False)):
        n, eta, edge = round(40 / scale), 0.02, 1.2
        a, v = np.array([[eta * edge]]), np.array([[[eta**2]]])
        spacing = scale * finite_difference.smallest_scale(a, v, order)
        drift = np.array([[0.0, 2 * eta * edge / n / spacing]])
        second = np.zeros((1, 1, 2, 2))
        second[0, 0, 0, 0], second[0, 0, 1, 1] = eta**2 / spacing**2, drift[0, 1] ** 2
        stencil = finite_difference.Stencil(drift, second, order)
        matrix = np.array([finite_difference.march(column, stencil, 1) for column in np.eye(n)]).T
        radius = np.max(np.abs(np.linalg.eigvals(matrix)))
        assert (radius < 1 + 1e-9) if stable else (radius > 1.5)


def test_spectral_bound_is_where_waves_start_to_grow():
    """(T5) amplifies frozen waves with κᵀsκ > 2√(κᵀvκ): at the bound the factor of the shortest wave is one."""
    a, v = np.array([[0.3, 0.1]]), np.array([[[0.2, 0.05], [0.05, 0.1]]])
    directions = difference_grids._directions(2)
    scale = pseudospectral.smallest_scale(a, v, directions)
    kappa = np.pi * directions
    gained = np.einsum("mi,ij,mj->m", kappa, v[0], kappa) / scale**2
    moved = kappa @ a[0] / scale
    size = np.abs(1 + 1j * moved - (gained + moved**2) / 2)
    # rounding
    assert np.max(size) == pytest.approx(1.0, abs=1e-12)
    assert pseudospectral.smallest_scale(a, np.zeros((1, 2, 2)), directions) == np.inf


@pytest.mark.parametrize("scheme", SCHEMES)
def test_too_fine_a_spacing_is_refused_with_the_true_boundaries(scheme):
    """The named spacing and learning rate are the boundaries: a hair to one side runs, to the other is refused."""
    equation, start = discrete(one_mode(), 0.02), dfp.Gaussian(0.0, 0.004)
    fine = 0.5 * 0.02 * np.sqrt(0.3)
    with np.printoptions(precision=3), pytest.raises(dfp.UnresolvedError, match="unstable from step 0") as caught:
        solved(equation, start, 20, scheme, spacing=fine, tolerance=0.9)
    smallest = float(re.search(r"scheme is \[([\d.e-]+)\]", str(caught.value))[1])
    rate = float(re.search(r"at most ([\d.e-]+) is stable", str(caught.value))[1])
    assert solved(equation, start, 20, scheme, spacing=smallest * 1.0001, tolerance=0.9).certificate.mass_defect < 1e-12
    with pytest.raises(dfp.UnresolvedError, match="unstable"):
        solved(equation, start, 20, scheme, spacing=smallest * 0.999, tolerance=0.9)
    solved(discrete(one_mode(), rate * 0.9999), start, 20, scheme, spacing=fine, tolerance=0.9)
    with pytest.raises(dfp.UnresolvedError, match="unstable"):
        solved(discrete(one_mode(), rate * 1.001), start, 20, scheme, spacing=fine, tolerance=0.9)


@pytest.mark.parametrize(("scheme", "most"), [("spectral", 66), ("fourth", 200), ("second", 400)])
def test_cells_do_not_grow_as_the_learning_rate_falls(scheme, most):
    """Once the density is resolved finer steps ask for no finer grid; before, stencils do (the control)."""
    cells = []
    for learning_rate in (0.1, 0.01, 1e-3, 1e-4, 1e-5):
        equation = discrete(one_mode(1.0, 0.3), learning_rate)
        settled = dfp.stationary_moments(equation).covariance
        try:
            run = dfp.FiniteDifference(scheme).start(Problem.of(equation, dfp.Gaussian(0.0, settled), np.array([1])))
            run.advance(1)
            cells.append(run._levels[0].grid.cells[0])
        except dfp.UnresolvedError:
            cells.append(0)
    # Ten deviations to both sides.
    assert cells[0] < cells[1] < 1.5 * most
    assert max(cells[-2:]) <= most
    assert cells[-1] == pytest.approx(cells[-2], rel=0.05)


def test_what_no_grid_resolves_is_refused():
    equation, start = discrete(one_mode(1.0, 1.0), 0.2), dfp.Gaussian(0.0, 0.1)
    with pytest.raises(dfp.UnresolvedError, match=r"no stable grid .*smallest stable"):
        solved(equation, start, 10)
    with pytest.raises(dfp.UnresolvedError, match=r"estimated L1 error .* > tolerance=0.01"):
        solved(discrete(one_mode(1.0, 1.0), 0.1), dfp.Gaussian(0.0, 0.05), 30, "second")
    with pytest.raises(dfp.UnresolvedError, match=r"estimated L1 error"):
        solved(discrete(one_mode(1.0, 1.0)), dfp.Gaussian(0.0, 0.01), 30, "second", spacing=0.1)
    with pytest.raises(dfp.UnresolvedError, match="a point has no density"):
        solved(discrete(one_mode()), dfp.Point(0.0), 30, grid=dfp.Grid(-1, 1, 64), save=[0, 30])
    with pytest.raises(dfp.UnsupportedError, match="d <= 3"):
        solved(discrete(rotated(4, 10.0)), dfp.Gaussian(np.zeros(4), 1.0), 3)
    with pytest.raises(dfp.DFPError, match="must be positive"):
        dfp.FiniteDifference(spacing=-1.0)
    with pytest.raises(dfp.DFPError, match="walks on the output grid"):
        dfp.FiniteDifference("matched", spacing=1.0)


# --- accuracy


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("rate", "noise"), [(0.005, 0.0), (0.02, 0.0), (0.02, 0.5)])
def test_stationary_density_is_student_t_within_the_certificate(scheme, rate, noise):
    equation = discrete(one_mode(1.0, 0.3, noise), rate)
    exact = dfp.stationary(equation)
    solution = solved(equation, dfp.Gaussian(0.0, 0.15 * rate), round(15 / rate), scheme, exact.grid, tolerance=0.1)
    error, certified = distance(solution, exact.values)[0], solution.certificate.truncation[0]
    assert error <= certified + 1e-12
    assert certified < 30 * error + 1e-12
    assert error < {"spectral": 1e-5, "fourth": 2e-3, "second": 1e-2}[scheme]
    # rounding
    assert abs(solution.certificate.mass_defect[0]) < 1e-11


@pytest.mark.parametrize(("scheme", "order"), [("second", 2), ("fourth", 4)])
def test_observed_order_is_the_declared_one(scheme, order):
    """Against the spectral scheme (1e-12 here) in 1D and 2D; spacings in the asymptotic range, order to 0.1."""
    cases = [
        (discrete(one_mode(1.0, 0.3, 0.2, 0.1), 0.002), dfp.Gaussian(0.3, 0.002), 0.008),
        (discrete(rotated(2, 8.0), 0.002), dfp.Gaussian([0.3, 0.2], 0.01), 0.02),
    ]
    for equation, start, coarse in cases:
        reference = solved(equation, start, 30)
        errors = [
            distance(solved(equation, start, 30, scheme, reference.grid, spacing=h), reference.density)[0]
            for h in (coarse, coarse / 2)
        ]
        assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.1)


def test_the_raw_second_moment_matters():
    """Negative control: with C in place of S the variance is off by ηλ/2, a thousand times the scheme's error."""
    eta, n, h = 0.02, 27, 0.0286
    x = (np.arange(n) - (n - 1) / 2) * h
    drift, noise = (eta * x / h)[None], np.full((1, 1, n), eta**2 * 0.3 / h**2)
    variances = []
    for second in (noise + drift**2, noise):
        values = np.exp(-(x**2) / (2 * 0.003))
        values = pseudospectral.march(values / values.sum(), pseudospectral.Operator(drift, second), 2000)
        variances.append(values @ x**2)
    exact = eta * 0.3 / (2 - eta)
    # the error of the scheme on this grid
    assert abs(variances[0] / exact - 1) < 1e-5
    # to the next order in η
    assert variances[1] / exact - 1 == pytest.approx(-eta / 2, rel=0.01)


@pytest.mark.parametrize("landscape", [rotated(2, 8.0), table(2), regression(2, 8)])
def test_two_dimensions_agree_with_hermite(landscape):
    """Within both certificates: the methods share only the exact mean and covariance."""
    equation, start = discrete(landscape, 0.005), dfp.Gaussian([0.7, -0.7], 0.05)
    solution = solved(equation, start, 60, save=[20, 60])
    series = dfp.solve(equation, start, 60, [20, 60], dfp.Hermite(20), solution.grid)
    certified = solution.certificate.truncation + series.certificate.truncation
    assert np.all(distance(solution, series.density) <= certified + 1e-12)
    # the certificates are of use
    assert certified.max() < 1e-5
    # the limit of the certificate
    assert solution.certificate.covariance_error.max() < 1e-6


@pytest.mark.parametrize("scheme", ["spectral", "fourth"])
def test_three_dimensions(scheme):
    """Marginals of independent axes obey (T5) in one dimension; fourth moments against the exact recursion."""
    curvature, noise = [1.0, 0.6, 0.3], [1.0, 0.5, 0.4]
    equation = discrete(dfp.QuadraticLandscape(curvature, 0.0, dfp.GaussianNoise(noise)), 0.01)
    start = dfp.Gaussian([0.2, 0.1, 0.0], [0.02, 0.02, 0.02])
    solution = solved(equation, start, 20, scheme, tolerance=0.05)
    grid = solution.grid
    for axis in range(3):
        one = discrete(one_mode(curvature[axis], noise[axis]), 0.01)
        line = dfp.Grid(grid.lower[axis], grid.upper[axis], grid.cells[axis])
        alone = solved(one, dfp.Gaussian(start.mean[axis], 0.02), 20, grid=line)
        others = tuple(k for k in range(3) if k != axis)
        marginal = solution.density[0].sum(axis=others) * grid.cell_volume / grid.spacing[axis]
        error = np.abs(marginal - alone.density[0]).sum() * line.spacing[0]
        assert error < (1e-7 if scheme == "spectral" else solution.certificate.truncation[0])
    exact = dfp.solve(equation, start, 20, [20], dfp.MomentRecursion()).fourth[0]
    wrong = np.abs(central(grid, solution.density[0], 4) - exact).max() / solution.covariance[0].max() ** 2
    # Boxes of the stencils are narrow: as wide as their own error is worth.
    assert wrong < {"spectral": 1e-4, "fourth": 0.05}[scheme]


def test_multiplicative_noise_in_three_dimensions_has_a_density():
    equation, start = discrete(table(3), 0.005), dfp.Gaussian([0.0, 0.0, 0.0], 0.05)
    solution = dfp.solve(equation, start, 20, [20])
    assert solution.solver == "FiniteDifference"
    assert solution.certificate.ok, solution.certificate
    exact = dfp.solve(equation, start, 20, [20], dfp.MomentRecursion())
    scale = solution.covariance[0].max()
    assert np.abs(central(solution.grid, solution.density[0], 3) - exact.third[0]).max() < 1e-5 * scale**1.5
    assert np.abs(central(solution.grid, solution.density[0], 4) - exact.fourth[0]).max() < 1e-4 * scale**2


def test_a_point_has_a_density_after_some_steps():
    """Its waves are damped within some steps; the mean stays exact, the variance to the waves the grid holds."""
    equation = discrete(one_mode(1.0, 1.0), 0.01)
    solution = solved(equation, dfp.Point(0.2), 300, save=[30, 300])
    assert any("is a point" in warning for warning in solution.certificate.warnings)
    assert np.all(solution.certificate.mean_error < [1e-2, 1e-3])
    assert np.all(solution.certificate.covariance_error < [1e-2, 1e-3])
    # One step from the point is a Gaussian of this variance but for its fourth moment, and 1 % off the mean.
    later = solved(equation, dfp.Gaussian(0.198, 0.0001), 299, save=[299], grid=solution.grid)
    assert distance(later, solution.density[1:])[0] < 1e-3


def test_output_grid_and_saved_steps_do_not_matter():
    """A zoom shows the same values and counts what it does not show; saving in between moves nothing."""
    equation, start = discrete(one_mode(1.0, 0.3, 0.1, 0.05), 0.005), dfp.Gaussian(0.3, 0.01)
    whole = solved(equation, start, 100)
    zoom = dfp.Grid(whole.grid.lower, whole.mean[0], 50)
    part = solved(equation, start, 100, grid=zoom, save=[0, 1, 7, 100])
    fine = dfp.Grid(whole.grid.lower, whole.mean[0], 500)
    again = solved(equation, start, 100, grid=fine)
    # the mean over ten small cells against the value in the middle, second order in the cell
    assert np.abs(part.density[-1] - again.density[0].reshape(50, 10)[:, 4:6].mean(axis=1)).max() < 0.05
    # interpolated by waves from grids of the same spacing
    assert np.abs(solved(equation, start, 100, grid=zoom).density[0] - part.density[-1]).max() < 1e-6
    # half the mass is below the mean, but for skewness
    assert part.certificate.mass_outside[-1] == pytest.approx(0.5, abs=0.02)
    # rounding
    assert abs(part.certificate.mass_defect[-1]) < 1e-12


# --- the positive walk


def test_walk_weights_match_mean_and_covariance_exactly_and_are_positive():
    """Every r at the least and the largest variance of the positive range; just outside it they are negative."""
    r = np.linspace(0, 1, 101)
    nodes = np.arange(-1, 3)
    for v in (0.25, 0.6, 1.0):
        weights = lattice_walk.line_weights(r, np.full_like(r, v))
        assert weights.min() >= -1e-17
        # rounding
        assert np.abs(weights.sum(axis=0) - 1).max() < 1e-15
        assert np.abs(nodes @ weights - r).max() < 1e-15
        assert np.abs(nodes**2 @ weights - r**2 - v).max() < 1e-15
    for v in (0.24, 1.01):
        assert lattice_walk.line_weights(r, np.full_like(r, v)).min() < -1e-4


@pytest.mark.parametrize("d", [1, 2, 3])
def test_walk_matrix_has_the_moments_of_the_step(d):
    shape, rng = (9,) * d, np.random.default_rng(5)
    count, middle = 9**d, 9**d // 2
    drift, square = rng.uniform(-2, 2, (count, d)), 0.1 * rng.standard_normal((count, d, d))
    noise = 0.7 * np.eye(d) + (square + np.swapaxes(square, 1, 2)) * (1 - np.eye(d)) / 2
    matrix = lattice_walk.walk(drift, noise, shape)
    column = matrix[:, [middle]].toarray().ravel()
    offset = np.stack(np.unravel_index(np.arange(count), shape), axis=1) - 4
    mean = column @ offset
    assert matrix.min() >= 0
    # rounding
    assert abs(column.sum() - 1) < 1e-14
    assert np.abs(mean - drift[middle]).max() < 1e-13
    assert np.abs((offset.T * column) @ offset - np.outer(mean, mean) - noise[middle]).max() < 1e-13


@pytest.mark.parametrize(
    ("equation", "start"),
    [
        (discrete(one_mode(1.0, 0.3, 0.1), 0.02), dfp.Point(0.3)),
        (discrete(rotated(2, 8.0), 0.05), dfp.Gaussian([0.3, 0.3], 0.05)),
    ],
)
def test_walk_is_positive_and_exact_in_mean_and_covariance(equation, start):
    solution = solved(equation, start, 200, "matched", save=[20, 200], tolerance=0.9)
    certificate = solution.certificate
    assert solution.density.min() >= 0
    # rounding
    assert certificate.mean_error.max() < 1e-12
    # Tails beyond 8 deviations leave the box.
    assert certificate.covariance_error.max() < 1e-11
    assert abs(certificate.mass_defect).max() < 1e-13
    accurate = solved(equation, start, 200, "fourth", solution.grid, tolerance=0.5)
    assert distance(accurate, solution.density[-1:])[0] < certificate.truncation[-1]


def test_walk_refuses_what_cannot_be_positive():
    """Too fine a grid is told the largest learning rate, which is the boundary; correlated noise the reason."""
    start, grid = dfp.Gaussian(0.0, 0.004), dfp.Grid(-0.5, 0.5, 101)
    with pytest.raises(dfp.UnresolvedError, match="too fine for a positive scheme") as caught:
        solved(discrete(one_mode(), 0.03), start, 5, "matched", grid)
    rate = float(re.search(r"to ([\d.]+)\.$", str(caught.value))[1])
    # as many digits as are printed
    assert rate == pytest.approx(1 / 101 / np.sqrt(0.3), rel=1e-5)
    solved(discrete(one_mode(), rate * 0.9999), start, 5, "matched", grid, tolerance=0.9)
    with pytest.raises(dfp.UnresolvedError, match="too fine"):
        solved(discrete(one_mode(), rate * 1.001), start, 5, "matched", grid)
    with pytest.raises(dfp.UnresolvedError, match="no positive weights match"):
        solved(discrete(table(2), 0.02), dfp.Gaussian([0.3, -0.3], 0.05), 5, "matched")
    with pytest.raises(dfp.UnresolvedError, match="cells as wide as a step's noise"):
        solved(discrete(one_mode(), 1e-5), start, 5, "matched")


# --- the automatic choice


def test_certified_errors_hold_on_random_problems():
    """Stationary t laws of random curvature, noise and rate: the truth is below the estimate, by less than 30 times."""
    rng = np.random.default_rng(6)
    for scheme in (*SCHEMES, "matched"):
        for _ in range(3):
            rate, curvature, noise = 10 ** rng.uniform([-2.3, -1, -1], [-1.6, 1, 1])
            landscape = one_mode(curvature, noise, rng.choice([0.0, 0.4]) * curvature**2)
            equation = discrete(landscape, rate / curvature)
            start = dfp.Gaussian(0.0, rate / curvature**2 * noise / 2)
            solution = solved(equation, start, round(20 / rate), scheme, tolerance=0.5)
            error = distance(solution, dfp.stationary(equation, solution.grid).values)[0]
            certified = solution.certificate.truncation[0]
            assert error < certified < 30 * error + 1e-11


def test_automatic_choice_for_the_discrete_equation():
    """A series where it needs no warning, else a stable grid, else moments, each with the reason."""
    narrow = dfp.Gaussian(0.0, 0.01)
    cases = [
        (discrete(one_mode(1.0, 1.0), 0.02), narrow, 100, "Hermite", "moving Gaussian"),
        (discrete(one_mode(1.0, 1.0), 0.02), dfp.Point(0.0), 100, "FiniteDifference", "no finer than a step"),
        (discrete(one_mode(1.0, 1.0), 0.2), dfp.Gaussian(0.0, 0.1), 50, "MomentRecursion", "no series converges"),
        (discrete(rotated(4, 10.0), 0.02), dfp.Point(np.zeros(4)), 5, "MomentRecursion", "d = 4"),
    ]
    for equation, start, steps, name, reason in cases:
        solution = dfp.solve(equation, start, steps, [steps])
        assert solution.solver == name
        assert reason in solution.reason
    with pytest.raises(dfp.UnresolvedError):
        dfp.solve(discrete(one_mode(1.0, 1.0), 0.2), dfp.Gaussian(0.0, 0.1), 50, grid=dfp.Grid(-3, 3, 64))
