"""Hermite series: exact moments, exact Gaussians, refusal where the series does not converge."""

import math

import numpy as np
import pytest
from dfp_solvers import hermite, hermite_steps, hermite_sums
from problems import every_equation, one_mode, regression, samples, table
from scipy.linalg import expm

import dfp
from dfp.methods.hermite import HermiteRun
from validation.cases.random_truths import true_error
from validation.truths import linear

LANDSCAPES = {
    "additive": lambda d: one_mode() if d == 1 else table(2),
    "table": lambda d: one_mode(1.0, 0.3, 0.4, 0.2) if d == 1 else table(2, basis="eigen"),
    "regression": regression,
    "samples": samples,
}


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("name", LANDSCAPES)
def test_moments_to_order_four_match_the_recursion(name, d):
    """All equations, all noise laws: third and fourth moments to 1e-10 of σ³ and σ⁴ (independent recursion)."""
    sgd = dfp.SGD(LANDSCAPES[name](d), 0.05)
    start = dfp.Gaussian(np.linspace(0.5, 1.0, d), 0.3)
    for equation in every_equation(sgd):
        run = HermiteRun(dfp.Hermite(8), equation, start)
        run.advance(60)
        frame = run.frame()
        exact = dfp.solve(equation, start, 60, [60], dfp.MomentRecursion())
        sigma = np.sqrt(np.max(np.diag(frame.covariance)))
        assert np.abs(frame.covariance - exact.covariance[0]).max() < 1e-12 * sigma**2, equation.label
        assert np.abs(frame.third - exact.third[0]).max() < 1e-10 * sigma**3, equation.label
        assert np.abs(frame.fourth - exact.fourth[0]).max() < 1e-10 * sigma**4, equation.label


@pytest.mark.parametrize("learning_rate", [0.02, 0.05, 0.1])
@pytest.mark.parametrize("degree", [4, 12, 24])
def test_fourth_moment_of_the_discrete_equation(learning_rate, degree):
    """(T5) for ηλ <= 0.1 against its scalar recursion for E[θ⁴], written out here, to 1e-10."""
    sgd = dfp.SGD(one_mode(), learning_rate)
    c = learning_rate**2 * 0.3
    m2, m4, a = 0.2, 3 * 0.2**2, learning_rate
    for _ in range(100):
        # E'[θ^n] = (1 − na + n(n−1)a²/2) m_n + n(n−1)/2 c m_{n−2}: the adjoint of (T5) on θ^n, λ = 1
        m4 = (1 - 4 * a + 6 * a**2) * m4 + 6 * c * m2
        m2 = (1 - 2 * a + a**2) * m2 + c
    run = HermiteRun(dfp.Hermite(degree), dfp.DiscreteFokkerPlanck(sgd), dfp.Gaussian(0.0, 0.2))
    run.advance(100)
    assert run.frame().fourth.item() == pytest.approx(m4, rel=1e-10)


def test_jumps_agree_with_single_steps():
    """A stretch taken in powers of two equals the same stretch step by step."""
    for equation in every_equation(dfp.SGD(table(2), 0.05)):
        start = dfp.Gaussian([1.0, 0.5], 0.1)
        long, short = (HermiteRun(dfp.Hermite(8), equation, start) for _ in range(2))
        long.advance(64)
        for _ in range(64):
            short.advance(1)
        # rounding
        assert np.abs(long.series.coefficients - short.series.coefficients).max() < 1e-11, equation.label


def test_additive_gaussian_noise_keeps_gaussians():
    """(T4), (T6), (T7m) with additive noise from a Gaussian: the density is the exact Gaussian."""
    sgd = dfp.SGD(one_mode(1.0, 0.3, gradient=0.2), 0.1)
    start = dfp.Gaussian(1.0, 0.5)
    for equation in (dfp.MasterEquation(sgd), dfp.Langevin(sgd), dfp.ModifiedLangevin(sgd)):
        solution = dfp.solve(equation, start, 20, [20], dfp.Hermite(12))
        fourier = dfp.solve(equation, start, 20, [20], dfp.Fourier(), solution.grid)
        # tails cut by the box
        assert np.abs(solution.density - fourier.density).sum() * solution.grid.cell_volume < 1e-10
        assert solution.certificate.ok, solution.certificate


def test_series_approaches_the_student_t_law():
    """(T5)'s stationary density is ∝ (D + λ²θ²)^(−1−1/(ηλ)); the error is within the certificate's estimate (×3)."""
    eta, noise = 0.02, 0.3
    sgd = dfp.SGD(one_mode(1.0, noise), eta)
    solution = dfp.solve(dfp.DiscreteFokkerPlanck(sgd), dfp.Gaussian(0.0, 0.003), 2000, [2000], dfp.Hermite(24))
    x = solution.grid.axes[0]
    log = -(1 + 1 / eta) * np.log1p(x**2 / noise)
    exact = np.exp(log)
    exact /= exact.sum() * solution.grid.cell_volume
    error = np.abs(solution.density[0] - exact).sum() * solution.grid.cell_volume
    estimate = solution.certificate.truncation[0]
    # the certificate is true, and of use
    assert error < 3 * estimate < 0.01
    gaussian = dfp.Gaussian(0.0, solution.covariance[0]).density(solution.grid.points)
    assert error < 0.2 * np.abs(gaussian - exact).sum() * solution.grid.cell_volume  # far better than no series


def test_refuses_where_the_series_does_not_converge():
    """ηλ = 0.2 for (T5), τ = 3: the coefficients grow from the start (theory page, section 5)."""
    sgd = dfp.SGD(one_mode(), 0.2)
    with pytest.raises(dfp.SeriesError, match=r"does not converge.*tolerance=0.02.*dfp\.moments"):
        dfp.solve(dfp.DiscreteFokkerPlanck(sgd), dfp.Gaussian(0.0, 0.1), 15, [15], dfp.Hermite())


def test_long_runs_stay_finite_where_high_modes_grow():
    """Beyond n ≈ 2/(ηλ) (T5) amplifies its modes; they are dropped, low moments stay exact."""
    sgd = dfp.SGD(one_mode(), 0.1)
    run = HermiteRun(dfp.Hermite(40), dfp.DiscreteFokkerPlanck(sgd), dfp.Gaussian(0.0, 0.02))
    run.advance(10**6)
    assert np.all(np.isfinite(run.series.coefficients))
    frame = run.frame()
    # the start is forgotten to this many digits
    assert frame.fourth.item() / frame.covariance.item() ** 2 == pytest.approx(3 * 1.9 / 1.7, rel=1e-8)


def test_gridded_start():
    """A skewed gridded density keeps its moments to order four through additive steps."""
    grid = dfp.Grid(-6, 8, 800)
    x = grid.axes[0]
    start = dfp.Density.normalised(grid, np.exp(-0.5 * x**2) * (1 + 0.3 * np.tanh(x)))
    equation = dfp.MasterEquation(dfp.SGD(one_mode(), 0.1))
    solution = dfp.solve(equation, start, 5, [0, 5], dfp.Hermite(20, tolerance=0.1))
    exact = dfp.solve(equation, start, 5, [0, 5], dfp.MomentRecursion())
    assert solution.third == pytest.approx(exact.third, rel=1e-10)
    assert solution.fourth == pytest.approx(exact.fourth, rel=1e-10)
    assert np.abs(
        solution.density[0] - dfp.solve(equation, start, 0, [0], dfp.Fourier(), solution.grid).density[0]
    ).sum() * (solution.grid.cell_volume) < 3 * max(solution.certificate.truncation[0], 1e-12)


def test_refuses_points_and_three_dimensions():
    sgd = dfp.SGD(table(3), 0.05)
    with pytest.raises(dfp.UnsupportedError, match="d <= 2"):
        dfp.solve(dfp.Langevin(sgd), dfp.Gaussian([0, 0, 0], 1.0), 5, solver=dfp.Hermite())
    with pytest.raises(dfp.UnsupportedError, match=r"narrow dfp\.Gaussian"):
        dfp.solve(dfp.Langevin(dfp.SGD(table(2), 0.05)), dfp.Point([0, 0]), 5, solver=dfp.Hermite())


def test_combine_kernel_against_its_plain_twin():
    """The compiled sum over (m, α) equals the formula evaluated term by term in Python."""
    rng, degree = np.random.default_rng(0), 5
    every = [tuple(m) for m in hermite.indices(2, degree).tolist()]
    increments, values = rng.standard_normal((len(every), 7)), rng.standard_normal((len(every), 7))
    result = hermite._combine(*hermite._pairs(2, degree, degree), increments, values)
    for i, m in enumerate(every):
        expected = np.zeros(7)
        for a, alpha in enumerate(every):
            if all(x <= y for x, y in zip(alpha, m, strict=True)):
                rest = tuple(y - x for x, y in zip(alpha, m, strict=True))
                weight = math.sqrt(math.prod(map(math.factorial, m)) / math.prod(map(math.factorial, rest)))
                weight /= math.prod(map(math.factorial, alpha))
                expected += weight * increments[a] * values[every.index(rest)]
        # rounding
        assert result[i] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("d", "degree"), [(1, 40), (2, 24), (3, 7)])
def test_recursions_over_degrees_agree_with_quadrature(d, degree):
    """Random affine maps with Gaussian noise that depends on the place, and (T5): projections on all nodes, 1e-12."""
    rng = np.random.default_rng(5)
    nodes, _ = hermite.quadrature(d, degree)
    phi = np.column_stack([np.ones(len(nodes)), nodes])
    for _ in range(3):
        shift, linear = 0.3 * rng.standard_normal(d), 0.5 * rng.standard_normal((d, d))
        noise = 0.2 * rng.standard_normal((d, d, d + 1, d + 1))
        noise = noise + np.swapaxes(noise, 0, 1)
        noise = noise + np.swapaxes(noise, 2, 3)
        there = np.einsum("ijab,qa,qb->qij", noise, phi, phi)
        expected = hermite.operator(shift + nodes @ linear.T, hermite.gaussian_moments(there, degree), degree)
        # rounding, of recursions and of sums over nodes
        bound = 1e-12 * np.abs(expected).max()
        assert np.abs(hermite_steps.affine(shift, linear, noise, degree) - expected).max() < bound
        first = np.column_stack([shift, linear])
        rows = [[a for a in range(d) for _ in range(m[a])] for m in hermite.indices(d, 2).tolist()]
        moved = phi @ first.T
        steps = [np.ones(len(nodes)), *(moved[:, r[0]] if len(r) == 1 else there[:, r[0], r[1]] for r in rows[1:])]
        expected = hermite.operator(nodes, np.array(steps), degree)
        found = hermite_steps.second_order(1.0, first, noise, degree).toarray()
        bound = 1e-12 * np.abs(expected).max()
        assert np.abs(found - expected).max() < bound
        # The control: a noise that depends on the place a little less is seen.
        noise[..., 1, 1] *= 1 - 1e-6
        assert np.abs(hermite_steps.second_order(1.0, first, noise, degree).toarray() - expected).max() > bound


@pytest.mark.parametrize(("d", "degree", "count"), [(1, 40, 5), (2, 16, 8), (2, 24, 7)])
def test_series_along_directions_agree_with_series_in_all_variables(d, degree, count):
    """Sums of draws of affine maps, against products pair by pair of terms: 2^{n/2} times rounding at the order n."""
    rng = np.random.default_rng(7)
    nodes, _ = hermite.quadrature(d, degree)
    every, eps = hermite.indices(d, degree).sum(axis=1), float(np.finfo(float).eps)
    slopes, shifts = 0.3 * rng.standard_normal((9, d, d)), 0.3 * rng.standard_normal((9, d))
    samples = (shifts + np.einsum("nij,qj->qni", slopes, nodes)) / count
    places = 0.1 + nodes @ (0.9 * np.eye(d) + 0.1 * rng.standard_normal((d, d))).T
    single = hermite.sample_moments(samples, degree)
    expected = hermite.operator(places, hermite.summed_moments(single, count, d, degree), degree)
    largest = np.maximum.reduceat(np.abs(expected).max(axis=1), np.searchsorted(every, np.arange(degree + 1)))
    # A handful of products, each a sum of as many terms as there are orders, none larger than the row's largest entry.
    bound = 5 * (degree + 1) * eps * (2.0 ** (every / 2) if d > 1 else np.ones(len(every))) * largest[every]

    def worst(number: int) -> float:
        found = hermite_sums.operator(places, single, number, degree)
        return float(np.max(np.abs(found - expected).max(axis=1) / bound))

    assert worst(count) < 1
    assert worst(count + 1) > 1e6  # the control: one draw more


@pytest.mark.parametrize("steps", [4, 2**20])
def test_powers_and_exponentials_of_few_and_many_steps(steps):
    """Products with the vector alone and squares of matrices, each cheaper for some numbers of steps, agree."""
    first, second = np.array([[0.01, -0.3], [0.0, -0.5]])[:, [0, 1, 1]], np.zeros((2, 2, 3, 3))
    second[[0, 1], [0, 1], 0, 0], second[0, 0, 1, 1] = 0.2, 0.01
    rate = hermite_steps.second_order(0.0, first / steps, second / steps, 6)
    one = hermite_steps.second_order(1.0, first / steps, second / steps, 6)
    vector = np.random.default_rng(6).standard_normal(rate.shape[0])
    expected = np.linalg.matrix_power(one.toarray(), steps) @ vector
    for matrix in (one, one.toarray()):
        # rounding of a million steps
        assert hermite_steps.powered(matrix, steps, vector) == pytest.approx(expected, abs=1e-8)
    assert hermite_steps.exponential(rate * steps, vector) == pytest.approx(expm(rate.toarray() * steps) @ vector)
    many = rate * (steps * 100.0)
    assert hermite_steps.exponential(many, vector) == pytest.approx(expm(many.toarray()) @ vector)


def test_gaussian_and_batch_increments():
    """Stein's recursion and the moments of sums of draws against direct expectations."""
    covariance = np.array([[[0.5, 0.2], [0.2, 0.3]]])
    found = hermite.gaussian_moments(covariance, 4)[:, 0]
    every = [tuple(m) for m in hermite.indices(2, 4).tolist()]
    assert found[every.index((2, 2))] == pytest.approx(0.5 * 0.3 + 2 * 0.2**2)
    assert found[every.index((4, 0))] == pytest.approx(3 * 0.25)
    draws = np.random.default_rng(1).standard_normal((1, 3, 2))
    found = hermite.summed_moments(hermite.sample_moments(draws, 4), 3, 2, 4)[:, 0]
    sums = np.array([draws[0, i] + draws[0, j] + draws[0, k] for i in range(3) for j in range(3) for k in range(3)])
    for i, m in enumerate(every):
        # rounding
        assert found[i] == pytest.approx(np.mean(sums[:, 0] ** m[0] * sums[:, 1] ** m[1]), abs=1e-12)


def test_rounding_of_long_jumps_is_counted():
    """A narrow start that is blurred a hundredfold in one step: coefficients cancel, until nothing is left of them."""
    truth = linear(np.random.default_rng(1000116))
    try:
        found = dfp.solve(truth.equation, truth.initial, truth.steps, [truth.steps], dfp.Hermite())
        assert true_error(truth, found) <= found.certificate.error[-1]
    except dfp.SeriesError as refusal:
        assert "does not converge" in str(refusal)
    # The control: where the start is as wide as what becomes of it, the series is exact, and says so.
    wide = dfp.Gaussian(truth.initial.mean, 0.5)
    close = dfp.solve(truth.equation, wide, truth.steps, [truth.steps], dfp.Hermite())
    assert close.certificate.error[-1] < 1e-8
