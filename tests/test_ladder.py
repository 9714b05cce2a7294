"""The ladder of truncations (T25): moments up to order m are those of SGD, the next one is not."""

import itertools

import numpy as np
import pytest
from scipy import stats

import dfp

# Rounding of a few steps with coefficients of order one.
ROUNDING = 1e-12
START, STEPS, RATE, DECAY = 0.7, 3, 0.4, 0.05
SLOPES = np.array([0.4, 1.0, 1.9])
GRADIENTS = np.array([0.3, -0.5, 0.45])


def finite_sum(batch_size=2):
    landscape = dfp.QuadraticLandscape.from_samples(SLOPES[:, None, None], GRADIENTS[:, None])
    return dfp.SGD(landscape, RATE, batch_size=batch_size)


def gaussian(hessian=0.3):
    return dfp.SGD(dfp.QuadraticLandscape([1.2], [0.1], dfp.GaussianNoise([0.5], hessian)), RATE)


def additive(law, batch_size=1):
    return dfp.SGD(dfp.QuadraticLandscape([1.2], [0.1], dfp.AdditiveNoise(law)), RATE, batch_size=batch_size)


def raw(weights, theta, highest):
    return np.array([weights @ theta**j for j in range(highest + 1)])


def enumerated(batch_size, highest):
    """Return the raw moments by following every sequence of draws of samples."""
    weights, theta = np.ones(1), np.array([START])
    choices = np.array(np.meshgrid(*[range(len(SLOPES))] * batch_size)).reshape(batch_size, -1)
    slope, gradient = SLOPES[choices].mean(axis=0), GRADIENTS[choices].mean(axis=0)
    for _ in range(STEPS):
        theta = (theta[:, None] * (1 - RATE * slope) - RATE * gradient).ravel()
        weights = np.repeat(weights, slope.size) / slope.size
    return raw(weights, theta, highest)


def by_quadrature(nodes, weights, highest, slope=None):
    """Return those of products of quadratures, exact for polynomials, over g̃ and, with ``slope``, over H̃."""
    slopes, shares = (np.zeros(1), np.ones(1)) if slope is None else slope
    h, g = (part.ravel() for part in np.meshgrid(slopes, nodes))
    share = np.outer(weights, shares).ravel()
    mass, theta = np.ones(1), np.array([START])
    for _ in range(STEPS):
        theta = (theta[:, None] - RATE * ((1.2 + h) * theta[:, None] + 0.1 + g)).ravel()
        mass = np.outer(mass, share).ravel()
    return raw(mass, theta, highest)


def hermite(variance):
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    return nodes * variance**0.5, weights / weights.sum()


def gauss_legendre(order=5):
    nodes, weights = np.polynomial.legendre.leggauss(order)
    return nodes, weights / 2


def averaged_atoms(highest):
    """Return those of averages of two draws of a skewed law of three values."""
    values, mass = np.arange(3.0), stats.binom(2, 0.2).pmf([0, 1, 2])
    pairs = (values[:, None] + values).ravel() / 2 - 0.4
    return by_quadrature(pairs, np.outer(mass, mass).ravel(), highest)


# Five nodes are exact up to the ninth power in every variable.
TRUTHS = {
    "finite sum": (finite_sum, lambda n: enumerated(2, n)),
    "finite sum, one sample": (lambda: finite_sum(1), lambda n: enumerated(1, n)),
    "Gaussian": (gaussian, lambda n: by_quadrature(*hermite(0.5), n, hermite(0.3))),
    "binomial, two draws": (lambda: additive(stats.binom(2, 0.2), 2), averaged_atoms),
    "uniform": (lambda: additive(stats.uniform(-1, 2)), lambda n: by_quadrature(*gauss_legendre(), n)),
}


@pytest.mark.parametrize("name", TRUTHS)
@pytest.mark.parametrize("order", [1, 2, 3, 4, 5, 6])
def test_moments_up_to_the_order_are_those_of_sgd_and_the_next_is_not(name, order):
    make, truth = TRUTHS[name]
    exact = truth(order + 1)
    found = dfp.raw_moments(dfp.DiscreteFokkerPlanck(make(), order), dfp.Point([START]), STEPS, order + 1)
    assert found.shape == (STEPS + 1, order + 2)
    np.testing.assert_allclose(found[-1, : order + 1], exact[: order + 1], rtol=ROUNDING, atol=ROUNDING)
    assert abs(found[-1, -1] - exact[-1]) > 1e-6


@pytest.mark.parametrize("name", TRUTHS)
def test_the_master_equation_has_them_all(name):
    make, truth = TRUTHS[name]
    found = dfp.raw_moments(dfp.MasterEquation(make()), dfp.Point([START]), STEPS, 8, save=[0, STEPS])
    np.testing.assert_allclose(found[0], START ** np.arange(9), rtol=ROUNDING)
    np.testing.assert_allclose(found[1], truth(8), rtol=ROUNDING, atol=ROUNDING)


def plane_of(noise):
    return dfp.SGD(dfp.QuadraticLandscape([1.0, 2.0], 0, noise), 0.1)


PLANE = np.random.default_rng(8).normal(size=(3, 2, 2)) * 0.3 + np.eye(2)
PLANE_GRADIENTS = np.array([[0.3, -0.2], [-0.5, 0.1], [0.45, 0.3]])


def plane(kind):
    """SGD of two parameters, and E Π θ^j after three steps by every sequence of samples, or of nodes of normals."""
    if kind == "samples":
        hessians = (PLANE + PLANE.swapaxes(1, 2)) / 2
        landscape = dfp.QuadraticLandscape.from_samples(hessians, PLANE_GRADIENTS)
        steps, shares = list(zip(hessians, PLANE_GRADIENTS, strict=True)), np.full(3, 1 / 3)
    else:
        hessian, table = np.array([[1.2, 0.2], [0.2, 0.6]]), np.array([[0.2, 0.0], [0.1, 0.0]])
        noise = dfp.GaussianNoise([0.3, 0.0], table)
        landscape = dfp.QuadraticLandscape(hessian, [0.1, 0.2], noise)
        nodes, weights = hermite(1.0)
        steps, shares = [], []
        for (a, wa), (b, wb), (c, wc) in itertools.product(zip(nodes, weights, strict=True), repeat=3):
            shaken = np.array([[a * 0.2**0.5, 0.0], [b * 0.1**0.5, 0.0]])
            steps.append((hessian + shaken, np.array([0.1 + c * 0.3**0.5, 0.2])))
            shares.append(wa * wb * wc)
    return dfp.SGD(landscape, RATE), steps, np.array(shares)


@pytest.mark.parametrize("kind", ["samples", "normals"])
@pytest.mark.parametrize("order", [1, 2, 3, 4, 5, 6])
def test_two_parameters_climb_the_same_ladder(kind, order):
    """Moments up to the order are those of every path written out, the next ones are not; two steps, for there are
    125 nodes of normals in each."""
    sgd, steps, shares = plane(kind)
    mass, theta = np.ones(1), np.array([[0.7, -0.4]])
    for _ in range(2):
        theta = np.concatenate([theta - RATE * (theta @ h.T + g) for h, g in steps])
        mass = np.outer(shares, mass).ravel()
    found = dfp.raw_moments(dfp.DiscreteFokkerPlanck(sgd, order), dfp.Point([0.7, -0.4]), 2, order + 1)[-1]
    whole = dfp.raw_moments(dfp.MasterEquation(sgd), dfp.Point([0.7, -0.4]), 2, order + 1)[-1]
    apart = []
    for i, j in itertools.product(range(order + 2), repeat=2):
        exact = mass @ (theta[:, 0] ** i * theta[:, 1] ** j)
        if i + j > order + 1:
            assert np.isnan(found[i, j])
            continue
        assert whole[i, j] == pytest.approx(exact, rel=ROUNDING, abs=10 * ROUNDING)
        if i + j <= order:
            assert found[i, j] == pytest.approx(exact, rel=ROUNDING, abs=10 * ROUNDING)
        else:
            apart.append(abs(found[i, j] - exact))
    assert max(apart) > 1e-6


@pytest.mark.parametrize("start", [dfp.Gaussian([0.5, -0.3], [[0.3, 0.1], [0.1, 0.2]]), dfp.Point([0.5, -0.3])])
def test_raw_moments_of_two_parameters_are_the_central_ones(start):
    sgd, _, _ = plane("normals")
    for equation in (dfp.MasterEquation(sgd), dfp.DiscreteFokkerPlanck(sgd)):
        found = dfp.raw_moments(equation, start, 7, 4)[-1]
        central = dfp.solve(equation, start, 7, [7], dfp.MomentRecursion())
        mean = central.mean[-1]
        assert np.allclose([found[1, 0], found[0, 1]], mean, rtol=0, atol=ROUNDING)
        assert found[1, 1] - mean[0] * mean[1] == pytest.approx(central.covariance[-1, 0, 1], abs=ROUNDING)
        m = found[:, 0]
        fourth = m[4] - 4 * m[1] * m[3] + 6 * m[1] ** 2 * m[2] - 3 * m[1] ** 4
        assert fourth == pytest.approx(
            central.fourth[-1, 0, 0, 0, 0], rel=1e-10
        )  # the difference cancels a digit or two


def test_two_is_the_default_and_the_same_to_the_bit():
    sgd, start = gaussian(), dfp.Gaussian([0.3], 0.2)
    plain, two = dfp.DiscreteFokkerPlanck(sgd), dfp.DiscreteFokkerPlanck(sgd, order=2)
    assert plain.order == 2 and plain.number == "T5" and plain.label == "discrete Fokker-Planck (T5)"
    assert plain.record(3) == two.record(3) and "order" not in plain.record(3)
    for run in (lambda e: dfp.moments(e, start, 9), lambda e: dfp.solve(e, start, 9, solver=dfp.MomentRecursion())):
        first, second = run(plain), run(two)
        assert np.array_equal(first.mean, second.mean) and np.array_equal(first.covariance, second.covariance)


def test_truncated_fourth_moments_agree_with_the_central_recursion():
    equation, start = dfp.DiscreteFokkerPlanck(gaussian()), dfp.Gaussian([0.3], 0.2)
    found = dfp.solve(equation, start, 9, [9], solver=dfp.MomentRecursion())
    _, m1, m2, m3, m4 = dfp.raw_moments(equation, start, 9, 4)[-1]
    fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
    # The last difference cancels a digit or two.
    assert fourth == pytest.approx(found.fourth[-1].item(), rel=1e-10)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("hessian", [0.0, 0.3])
def test_mean_and_covariance_are_those_of_the_truncated_equation(order, hessian):
    equation = dfp.DiscreteFokkerPlanck(gaussian(hessian), order)
    start = dfp.Gaussian([0.8], 0.5)
    found, m = dfp.moments(equation, start, 6), dfp.raw_moments(equation, start, 6, 2)
    np.testing.assert_allclose(found.mean[:, 0], m[:, 1], rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(found.covariance[:, 0, 0], m[:, 2] - m[:, 1] ** 2, rtol=0, atol=ROUNDING)
    exact = dfp.moments(dfp.MasterEquation(equation.sgd), start, 6).covariance
    assert np.allclose(found.covariance, exact, rtol=0, atol=ROUNDING) == (order > 1)
    assert bool(found.warnings) == (found.covariance.min() < 0)


def test_drift_alone_moves_moments_of_two_modes_by_hand():
    hessian, gradient = np.array([[1.0, 0.3], [0.3, 0.6]]), np.array([0.1, -0.2])
    sgd = dfp.SGD(dfp.QuadraticLandscape(hessian, gradient, dfp.GaussianNoise([0.4, 0.2])), 0.3)
    mean, second = np.array([0.5, -0.4]), 0.3 * np.eye(2) + np.outer([0.5, -0.4], [0.5, -0.4])
    found = dfp.moments(dfp.DiscreteFokkerPlanck(sgd, 1), dfp.Gaussian(mean, 0.3 * np.eye(2)), 4)
    for _ in range(4):
        crossed = second @ hessian + np.outer(mean, gradient)
        mean, second = mean - 0.3 * (hessian @ mean + gradient), second - 0.3 * (crossed + crossed.T)
    np.testing.assert_allclose(found.mean[-1], mean, rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(found.covariance[-1], second - np.outer(mean, mean), rtol=0, atol=ROUNDING)


def test_heat_and_a_preconditioner_are_followed():
    """Heat is Gaussian noise beside that of the finite sum: the sixth moment of a step by independent quadratures."""
    landscape = dfp.QuadraticLandscape.from_samples(SLOPES[:, None, None], GRADIENTS[:, None])
    sgd = dfp.SGD(landscape, RATE, preconditioner=[2.0], temperature=0.3)
    found = dfp.raw_moments(dfp.MasterEquation(sgd), dfp.Point([START]), 1, 6)[-1]
    mean = START - RATE * 2.0 * (SLOPES * START + GRADIENTS)
    variance = float(dfp.moments(dfp.MasterEquation(sgd), dfp.Point([START]), 1).covariance[-1, 0, 0] - np.var(mean))
    assert variance > 0.01
    nodes, weights = hermite(variance)
    theta = (mean[:, None] + nodes).ravel()
    np.testing.assert_allclose(found, raw(np.tile(weights, 3) / 3, theta, 6), rtol=ROUNDING, atol=ROUNDING)


def test_a_density_starts_it():
    state = dfp.Gaussian([0.3], 0.2)
    grid = dfp.Grid([-5.0], [5.6], [400])
    density = dfp.Density(grid, state.on(grid))
    equation = dfp.DiscreteFokkerPlanck(gaussian(), 5)
    one, other = (dfp.raw_moments(equation, start, 3, 5) for start in (state, density))
    # The trapezoidal rule is exact to rounding for a Gaussian that has fallen to e^-70 at the edges.
    np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("order", [0, -1, 1.5, True, "x", None])
def test_malformed_orders(order):
    with pytest.raises(dfp.DFPError, match="order"):
        dfp.DiscreteFokkerPlanck(gaussian(), order)
    with pytest.raises(dfp.DFPError, match="order"):
        dfp.raw_moments(dfp.MasterEquation(gaussian()), dfp.Point([0.0]), 1, order)


SOLVERS = ["auto", dfp.MomentRecursion(), dfp.FiniteDifference(), dfp.Hermite(), dfp.Fourier()]


@pytest.mark.parametrize("solver", SOLVERS, ids=str)
@pytest.mark.parametrize("order", [1, 3])
def test_densities_are_refused(solver, order):
    equation = dfp.DiscreteFokkerPlanck(gaussian(), order)
    assert equation.label == f"discrete Fokker-Planck (T25) of order {order}"
    with pytest.raises(dfp.UnsupportedError, match=r"dfp\.moments / dfp\.raw_moments have its moments"):
        dfp.solve(equation, dfp.Gaussian([0.3], 0.2), 3, solver=solver)
    for ask in (dfp.stationary, lambda e: dfp.spectrum(e, 2)):
        with pytest.raises(dfp.UnsupportedError, match="have its moments"):
            ask(equation)


def test_what_is_out_of_reach_is_refused():
    point = dfp.Point([0.3])
    student = dfp.SGD(dfp.QuadraticLandscape([1.0], 0, dfp.StudentNoise(1.0, 9)), 0.1)
    cases = {
        "generators": (dfp.Langevin(gaussian()), point, 4),
        "dimension": (dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape(np.ones(4)), 0.1)), dfp.Point(np.zeros(4)), 4),
        "laws": (dfp.MasterEquation(plane_of(dfp.AdditiveNoise(stats.expon()))), dfp.Point([0.0, 0.0]), 4),
        "momentum": (dfp.MasterEquation(dfp.SGD(gaussian().landscape, 0.1, momentum=0.5)), point, 4),
        "tails": (dfp.MasterEquation(additive(stats.t(5.5))), point, 6),
        "unknown": (dfp.MasterEquation(student), point, 6),
    }
    for equation, start, order in cases.values():
        with pytest.raises(dfp.UnsupportedError):
            dfp.raw_moments(equation, start, 3, order)
    with pytest.raises(dfp.UnsupportedError, match="order=1"):
        dfp.DiscreteFokkerPlanck(dfp.SGD(gaussian().landscape, 0.1, momentum=0.5), 1)
