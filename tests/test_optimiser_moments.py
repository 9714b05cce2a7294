"""Exact moments of SGD with momentum, schedules and epochs against the enumeration of every minibatch sequence."""

from itertools import combinations, product

import numpy as np
import pytest
from problems import one_mode, regression, rotated, table
from scipy import linalg

import dfp

OPTIMISERS = {
    "plain": {},
    "heavy ball": {"momentum": 0.8},
    "nesterov": {"momentum": 0.8, "nesterov": True},
    "decay": {"momentum": 0.6, "nesterov": True, "weight_decay": 0.3},
}
RATES = {"constant": 0.2, "schedule": [0.2, 0.05, 0.0, 0.3, 0.3, 0.1, 0.2]}


def finite_sum(additive, d=2, count=4):
    """A sum small enough for all its minibatch sequences to be listed."""
    rng = np.random.default_rng(1)
    square = rng.standard_normal((count, d, d))
    hessians = np.eye(d) + 0.3 * (square + square.transpose(0, 2, 1))
    gradients = rng.standard_normal((count, d))
    return (np.tile(hessians[0], (count, 1, 1)) if additive else hessians), gradients


def sequences(count, size, steps, replace):
    """Yield every sequence of minibatches; all are equally likely."""
    if replace:
        yield from product(product(range(count), repeat=size), repeat=steps)
        return
    if steps == 0:
        yield ()
        return

    def rest(left, more):
        if not more:
            yield ()
            return
        # The remainder of a shuffle that does not fill a minibatch is left out, and the next epoch begins.
        pool = left if len(left) >= size else tuple(range(count))
        for chosen in combinations(pool, size):
            for tail in rest(tuple(i for i in pool if i not in chosen), more - 1):
                yield (chosen, *tail)

    yield from rest(tuple(range(count)), steps)


def optimise(theta, batches, hessians, gradients, rates, momentum=0.0, nesterov=False, weight_decay=0.0):
    """The loop of PyTorch's SGD, written out."""
    velocity = np.zeros_like(theta)
    for batch, rate in zip(batches, rates, strict=True):
        gradient = np.mean([hessians[i] @ theta + gradients[i] for i in batch], axis=0) + weight_decay * theta
        velocity = momentum * velocity + gradient
        theta = theta - rate * (gradient + momentum * velocity if nesterov else velocity)
    return np.concatenate([theta, velocity])


def enumerated(theta, hessians, gradients, size, steps, replace, rates, **settings):
    """Return the mean and covariance of (θ, v) after ``steps`` from a point, over all sequences."""
    ends = np.array(
        [
            optimise(theta, batches, hessians, gradients, rates, **settings)
            for batches in sequences(len(gradients), size, steps, replace)
        ]
    )
    mean = ends.mean(axis=0)
    return mean, (ends - mean).T @ (ends - mean) / len(ends)


@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize("additive", [True, False])
@pytest.mark.parametrize("rates", RATES)
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_moments_equal_the_enumeration_of_all_minibatches(optimiser, rates, additive, replace):
    hessians, gradients = finite_sum(additive)
    # Without replacement 5 steps of one sample reach into a second epoch; 3 of 3 samples are three epochs.
    for size, steps in ((1, 5), (2, 3) if replace else (3, 3)):
        landscape = dfp.QuadraticLandscape.from_samples(hessians, gradients, size)
        sgd = dfp.SGD(landscape, RATES[rates], replace=replace, **OPTIMISERS[optimiser])
        theta = np.array([0.7, -0.4])
        found = dfp.moments(dfp.MasterEquation(sgd), dfp.Point(theta), steps)
        for n in range(1, steps + 1):
            etas = sgd.learning_rates.values(0, n)
            mean, covariance = enumerated(theta, hessians, gradients, size, n, replace, etas, **OPTIMISERS[optimiser])
            # Sums of at most 4096 equally likely ends of order one: a few hundred roundings.
            np.testing.assert_allclose(found.mean[n], mean[:2], rtol=0, atol=1e-13)
            np.testing.assert_allclose(found.covariance[n], covariance[:2, :2], rtol=0, atol=1e-13)
            if sgd.momentum:
                # rounding
                np.testing.assert_allclose(found.joint_mean[n], mean, rtol=0, atol=1e-13)
                np.testing.assert_allclose(found.joint_covariance[n], covariance, rtol=0, atol=1e-13)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_batch_sizes_that_change_equal_the_enumeration(optimiser):
    hessians, gradients = finite_sum(additive=False)
    sizes, rates = [1, 3, 2], [0.2, 0.1, 0.1]
    landscape = dfp.QuadraticLandscape.from_samples(hessians, gradients)
    sgd = dfp.SGD(landscape, rates, batch_size=sizes, **OPTIMISERS[optimiser])
    theta = np.array([0.7, -0.4])
    found = dfp.moments(dfp.MasterEquation(sgd), dfp.Point(theta), 3)
    every = product(*(product(range(4), repeat=size) for size in sizes))
    ends = np.array([optimise(theta, b, hessians, gradients, rates, **OPTIMISERS[optimiser])[:2] for b in every])
    # rounding
    np.testing.assert_allclose(found.mean[3], ends.mean(axis=0), rtol=0, atol=1e-13)
    np.testing.assert_allclose(found.covariance[3], np.cov(ends.T, bias=True), rtol=0, atol=1e-13)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize(
    "landscape", [table(symmetric=True), table(basis="eigen"), regression()], ids=["sym", "eigen", "sum"]
)
def test_momentum_with_noise_of_every_kind_moves_as_the_doubled_state(landscape, nesterov):
    """(T19), with E[A_ξ ⊗ A_ξ] built from the law's second moments entry by entry."""
    d, eta, beta = 2, 0.1, 0.7
    sgd = dfp.SGD(landscape, eta, momentum=beta, nesterov=nesterov)
    p, q = (1 + beta, beta**2) if nesterov else (1.0, beta)
    eye = np.eye(d)
    a = np.block([[eye - eta * p * sgd.hessian, -eta * q * eye], [sgd.hessian, beta * eye]])
    b = np.concatenate([-eta * p * eye, eye])
    mean, covariance = np.array([0.5, -0.2, 0.0, 0.0]), np.zeros((4, 4))
    covariance[:2, :2] = [[0.3, 0.1], [0.1, 0.2]]
    start = dfp.Gaussian(mean[:2], covariance[:2, :2])
    steps = 30
    for _ in range(steps):
        second = covariance[:2, :2] + np.outer(mean[:2], mean[:2])
        noise = sgd.noise.mean_covariance(1.0, mean[:2], second)
        mean, covariance = a @ mean + b @ sgd.gradient, a @ covariance @ a.T + b @ noise @ b.T
    for equation in (dfp.MasterEquation(sgd), dfp.DiscreteFokkerPlanck(sgd)):
        found = dfp.moments(equation, start, steps, [steps])
        # A power of a 4² matrix by squaring against 30 products: roundings.
        np.testing.assert_allclose(found.joint_mean[0], mean, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(found.joint_covariance[0], covariance, rtol=1e-12, atol=1e-14)


def stationary_variance(rate, momentum, curvature=0.8, noise=0.3):
    sgd = dfp.SGD(one_mode(curvature, noise), rate, momentum=momentum)
    return dfp.moments(dfp.MasterEquation(sgd), dfp.Point([0.0]), 10**6, [10**6]).covariance[0, 0, 0]


@pytest.mark.parametrize("momentum", [0.5, 0.9, 0.99])
def test_stationary_variance_of_heavy_ball(momentum):
    """ηD(1+β) / (λ(1−β)(2(1+β) − ηλ)), the fixed point of the 2 × 2 Lyapunov equation."""
    rate, curvature, noise = 0.3, 0.8, 0.3
    wanted = rate * noise * (1 + momentum) / (curvature * (1 - momentum) * (2 * (1 + momentum) - rate * curvature))
    a = np.array([[1 - rate * curvature, -rate * momentum], [curvature, momentum]])
    b = np.array([-rate, 1.0])
    by_scipy = linalg.solve_discrete_lyapunov(a, noise * np.outer(b, b))[0, 0]
    # Condition of the equation: about 1/(1−β).
    assert by_scipy == pytest.approx(wanted, rel=1e-11)
    assert stationary_variance(rate, momentum) == pytest.approx(wanted, rel=1e-11)


def test_momentum_is_a_learning_rate_of_eta_over_one_minus_beta_to_first_order():
    """Heavy ball of rate η(1−β) has the stationary variance of rate η times 1 − ηλβ/(1+β) + O(η²)."""
    beta, curvature = 0.9, 0.8
    rates = np.array([0.1, 0.05, 0.025])
    ratio = np.array([stationary_variance(r * (1 - beta), beta) / stationary_variance(r, 0.0) for r in rates])
    slopes = (ratio - 1) / (rates * curvature)
    extrapolated = 2 * slopes[2] - slopes[1]  # removes the order η
    assert extrapolated == pytest.approx(-beta / (1 + beta), rel=1e-3)
    assert slopes[0] == pytest.approx(-beta / (1 + beta), rel=0.1)


def test_nothing_grows_with_steps_or_the_square_of_d():
    """d = 200, 10⁹ steps: a mode against its own 2 × 2 recursion."""
    landscape = rotated(200)
    sgd = dfp.SGD(landscape, 0.5, momentum=0.9, nesterov=True)
    found = dfp.moments(dfp.MasterEquation(sgd), dfp.Point(np.zeros(200)), 10**9, [50, 10**9])
    values, vectors = sgd.modes
    a = np.array([[1 - 0.5 * 1.9 * values[-1], -0.5 * 0.81], [values[-1], 0.9]])
    b = np.array([-0.5 * 1.9, 1.0])
    covariance = np.zeros((2, 2))
    for _ in range(50):
        covariance = a @ covariance @ a.T + np.outer(b, b)
    top = vectors[:, -1]
    # rounding
    assert top @ found.covariance[0] @ top == pytest.approx(covariance[0, 0], rel=1e-10)
    assert np.isfinite(found.covariance[1]).all()


# --- epochs


def test_noise_without_replacement_is_t18():
    """(T18) as the theory page writes it, j = 1 … K steps."""
    hessians, gradients = finite_sum(additive=True, count=12)
    landscape = dfp.QuadraticLandscape.from_samples(hessians, gradients, 2)
    eta, count, batch = 0.1, 12, 2
    sgd = dfp.SGD(landscape, eta, replace=False)
    found = dfp.moments(dfp.MasterEquation(sgd), dfp.Point([0.3, 0.1]), 6)
    a = np.eye(2) - eta * sgd.hessian
    deviations = gradients - gradients.mean(axis=0)
    spread = deviations.T @ deviations / count
    for j in range(1, 7):
        powers = [np.linalg.matrix_power(a, s) for s in range(j)]
        total = sum(powers)
        bracket = sum(p @ spread @ p.T for p in powers) / batch - total @ spread @ total.T / count
        wanted = eta**2 * count / (count - 1) * bracket
        # rounding
        np.testing.assert_allclose(found.covariance[j], wanted, rtol=0, atol=1e-15)


def test_an_epoch_leaves_no_noise_as_the_learning_rate_vanishes():
    """For jηλ → 0: (N−jB)/(N−1) of the variance with replacement, and order η² of it at the end."""
    hessians, gradients = finite_sum(additive=True, d=1, count=10)
    landscape = dfp.QuadraticLandscape.from_samples(hessians, gradients, 2)

    def ratio(eta, j):
        runs = [dfp.SGD(landscape, eta, replace=replace) for replace in (False, True)]
        end = [dfp.moments(dfp.MasterEquation(s), dfp.Point([0.0]), j, [j]).covariance[0, 0, 0] for s in runs]
        return end[0] / end[1]

    for j in range(1, 5):
        assert ratio(1e-7, j) == pytest.approx((10 - 2 * j) / 9, rel=1e-5)
    ends = [ratio(eta, 5) for eta in (1e-3, 1e-4, 1e-5)]
    # Σ (s − 2)² η²λ² over 5 steps of the epoch, and 5/… of the variance with replacement: (10/9)(10/5) η²λ².
    curvature = float(landscape.hessian[0, 0])
    np.testing.assert_allclose(ends, 20 / 9 * (curvature * np.array([1e-3, 1e-4, 1e-5])) ** 2, rtol=5e-2)
    np.testing.assert_allclose(ends[2], 20 / 9 * (curvature * 1e-5) ** 2, rtol=1e-3)


def test_a_large_sum_has_exact_moments_if_noise_is_additive_and_refuses_otherwise():
    rng = np.random.default_rng(3)
    gradients = rng.standard_normal((5000, 2))
    additive = dfp.QuadraticLandscape.from_samples(np.tile(np.diag([1.0, 0.3]), (5000, 1, 1)), gradients)
    sgd = dfp.SGD(additive, 0.01, momentum=0.5, replace=False)
    found = dfp.moments(dfp.MasterEquation(sgd), dfp.Point([0.0, 0.0]), 10**7, [5000 * 3 + 17, 10**7])
    assert np.linalg.eigvalsh(found.covariance[0])[0] > 0
    sgd = dfp.SGD(regression(), 0.01, replace=False)
    with pytest.raises(dfp.UnsupportedError, match=r"no exact moments.*30 samples.*MonteCarlo"):
        dfp.moments(dfp.MasterEquation(sgd), dfp.Point([0.0, 0.0]), 10)


# --- schedules


def every_form(sgd):
    return [
        dfp.MasterEquation(sgd),
        dfp.DiscreteFokkerPlanck(sgd),
        dfp.Langevin(sgd),
        dfp.Langevin(sgd, noise="frozen"),
        dfp.ModifiedLangevin(sgd, matched=False),
        dfp.ModifiedLangevin(sgd, positive=True),
    ]


@pytest.mark.parametrize("form", range(6))
@pytest.mark.parametrize("landscape", [rotated(condition=10), table(), regression()], ids=["additive", "table", "sum"])
def test_a_schedule_is_its_segments_chained_by_hand(landscape, form):
    segments = [(0.2, 1, 3), (0.05, 4, 4), (0.1, 4, 2)]
    rates = np.concatenate([[eta] * count for eta, _, count in segments])
    sizes = np.concatenate([[size] * count for _, size, count in segments])
    start = dfp.Gaussian([0.5, -0.3], 0.1)
    scheduled = every_form(dfp.SGD(landscape, rates, batch_size=sizes))[form]
    found = dfp.moments(scheduled, start, 9, [2, 9])
    state, n = start, 0
    for eta, size, count in segments:
        part = every_form(dfp.SGD(landscape, eta, batch_size=size))[form]
        moved = dfp.moments(part, state, count, [count])
        state, n = dfp.Gaussian(moved.mean[0], moved.covariance[0]), n + count
    # The same exponentials and products in another order; Gaussian() symmetrises.
    np.testing.assert_allclose(found.mean[1], state.mean, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(found.covariance[1], state.covariance, rtol=1e-11, atol=1e-13)
    first = dfp.moments(every_form(dfp.SGD(landscape, 0.2, batch_size=1))[form], start, 2, [2])
    np.testing.assert_allclose(found.covariance[0], first.covariance[0], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("landscape", [rotated(condition=10), table(), regression()], ids=["additive", "table", "sum"])
def test_a_long_schedule_is_its_steps_one_by_one(landscape, optimiser):
    """61 steps that all differ, taken many at a time, against the recursion (T19) written out."""
    settings = OPTIMISERS[optimiser]
    sgd = dfp.SGD(landscape, dfp.WarmUp(5, lambda n: 0.2 / (n + 1)), batch_size=lambda n: n + 1, **settings)
    rates = np.concatenate([0.2 * np.arange(1, 6) / 5, 0.2 / np.arange(1, 57)])
    beta, nesterov = settings.get("momentum", 0.0), settings.get("nesterov", False)
    p, q = (1 + beta, beta**2) if nesterov else (1.0, beta)
    eye, one = np.eye(2), dfp.SGD(landscape, 0.1, batch_size=1).noise
    mean, covariance = np.array([0.5, -0.2, 0.0, 0.0]), np.zeros((4, 4))
    covariance[:2, :2] = 0.1 * eye
    for eta, size in zip(rates, range(1, 62), strict=True):
        a = np.block([[eye - eta * p * sgd.hessian, -eta * q * eye], [sgd.hessian, beta * eye]])
        b = np.concatenate([-eta * p * eye, eye])
        noise = one.mean_covariance(1.0, mean[:2], covariance[:2, :2] + np.outer(mean[:2], mean[:2])) / size
        mean, covariance = a @ mean + b @ sgd.gradient, a @ covariance @ a.T + b @ noise @ b.T
    found = dfp.moments(dfp.MasterEquation(sgd), dfp.Gaussian([0.5, -0.2], 0.1), 61, [7, 61])
    # Sixty products in another order.
    np.testing.assert_allclose(found.mean[1], mean[:2], rtol=0, atol=1e-13)
    np.testing.assert_allclose(found.covariance[1], covariance[:2, :2], rtol=0, atol=1e-13)
