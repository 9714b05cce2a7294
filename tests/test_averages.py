"""Averages of iterates (T20): against closed forms, the joint recursion of (θ, m) written out, and sampling."""

import copy
import pickle

import numpy as np
import pytest

import dfp

STEPS = 40
START = dfp.Gaussian([1.0, -0.5], [[0.3, 0.1], [0.1, 0.2]])
HESSIAN = np.array([[1.0, 0.3], [0.3, 0.5]])
NOISE = np.array([[0.4, -0.1], [-0.1, 0.2]])
VALLEY = dfp.QuadraticLandscape(HESSIAN, [0.2, -0.1], dfp.GaussianNoise(NOISE))
RNG = np.random.default_rng(5)
FEATURES = RNG.normal(size=(30, 2))
LEAST_SQUARES = dfp.QuadraticLandscape.from_regression(FEATURES, FEATURES @ [1.0, 2.0] + RNG.normal(size=30), 4)


def averages_of(sgd):
    return [dfp.ExponentialAverage(sgd, decay=0.8), dfp.TailAverage(sgd, start=15), dfp.TailAverage(sgd)]


def weight(average, n):
    if isinstance(average, dfp.ExponentialAverage):
        return 1 - average.decay
    return 1.0 if n < average.start else 1 / (n + 1 - average.start)


def brute(average, hessian, gradient, noise_at, rates, beta=0.0, nesterov=False):
    """Mean and covariance of m by the raw second moments of (1, θ, v, m), one matrix a step."""
    d = len(hessian)
    eye, zero, column = np.eye(d), np.zeros((d, d)), np.zeros((d, 1))
    mean = np.concatenate([[1.0], START.mean, np.zeros(d), START.mean])
    second = np.outer(mean, mean)
    for rows in (slice(1, 1 + d), slice(1 + 2 * d, None)):
        for columns in (slice(1, 1 + d), slice(1 + 2 * d, None)):
            second[rows, columns] += START.covariance
    yield START.mean, START.covariance
    for n, eta in enumerate(rates):
        w, g = weight(average, n), gradient[:, None]
        speed = np.hstack([g, hessian, beta * eye, zero])
        move = np.hstack([g, hessian, zero, zero]) + beta * speed if nesterov else speed
        theta = np.hstack([column, eye, zero, zero]) - eta * move
        keep = np.hstack([column, zero, zero, eye])
        whole = np.vstack([np.eye(1 + 3 * d)[:1], theta, speed, (1 - w) * keep + w * theta])
        push = np.vstack(
            [np.zeros((1, d)), -eta * (1 + beta * nesterov) * eye, eye, -w * eta * (1 + beta * nesterov) * eye]
        )
        second = whole @ second @ whole.T + push @ noise_at(second[0, 1 : 1 + d], second[1 : 1 + d, 1 : 1 + d]) @ push.T
        at = second[0, 1 + 2 * d :]
        yield at, second[1 + 2 * d :, 1 + 2 * d :] - np.outer(at, at)


def agrees(found, expected, tolerance=1e-11):
    """Rounding of 40 steps of raw moments of order 1."""
    for n, (mean, covariance) in enumerate(expected):
        assert np.abs(found.mean[n] - mean).max() < tolerance
        assert np.abs(found.covariance[n] - covariance).max() < tolerance


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize(
    "settings",
    [{}, {"momentum": 0.7}, {"momentum": 0.7, "nesterov": True}, {"learning_rate": dfp.CosineSchedule(0.4, STEPS)}],
)
def test_moments_follow_the_joint_recursion_for_additive_noise(which, settings):
    sgd = dfp.SGD(VALLEY, **({"learning_rate": 0.3} | settings))
    average = averages_of(sgd)[which]
    rates = sgd.learning_rates.values(0, STEPS)
    found = dfp.moments(dfp.MasterEquation(average), START, STEPS)
    expected = brute(average, HESSIAN, np.array([0.2, -0.1]), lambda *_: NOISE, rates, sgd.momentum, sgd.nesterov)
    agrees(found, expected)


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("beta", [0.0, 0.6])
def test_moments_follow_the_joint_recursion_for_minibatches(which, beta):
    sgd = dfp.SGD(LEAST_SQUARES, 0.1, momentum=beta)
    average = averages_of(sgd)[which]

    def noise(mean, second):
        return sgd.noise.mean_covariance(np.ones(()), mean, second)

    found = dfp.moments(dfp.MasterEquation(average), START, STEPS, save=range(STEPS + 1))
    agrees(found, brute(average, sgd.hessian, sgd.gradient, noise, np.full(STEPS, 0.1), beta))


def test_a_preconditioner_turns_nothing_wrong():
    matrix = np.array([[0.5, 0.1], [0.1, 1.0]])
    sgd = dfp.SGD(VALLEY, 0.3, preconditioner=matrix, momentum=0.5)
    average = dfp.ExponentialAverage(sgd, 0.8)
    found = dfp.moments(dfp.MasterEquation(average), START, STEPS)
    noise = matrix @ NOISE @ matrix
    agrees(found, brute(average, matrix @ HESSIAN, matrix @ [0.2, -0.1], lambda *_: noise, np.full(STEPS, 0.3), 0.5))


@pytest.mark.parametrize("which", range(3))
def test_moments_agree_with_samples(which):
    """z below 5 in each of 5 figures: false alarms 3e-6; the iterate's own covariance is the control."""
    sgd, count = dfp.SGD(LEAST_SQUARES, 0.1), 20_000
    average, rng = averages_of(sgd)[which], np.random.default_rng(11)
    theta = START.draw(count, rng)
    mean = theta.copy()
    for n in range(STEPS):
        theta = theta - 0.1 * (theta @ sgd.hessian.T + sgd.gradient + sgd.law.increments(theta, rng))
        mean += weight(average, n) * (theta - mean)

    def scores(exact):
        centred = mean - exact.mean[0]
        first = centred.mean(axis=0) / (centred.std(axis=0) / np.sqrt(count))
        products = np.stack([centred[:, i] * centred[:, j] for i, j in ((0, 0), (0, 1), (1, 1))], axis=1)
        wanted = exact.covariance[0][[0, 0, 1], [0, 1, 1]]
        return np.concatenate([first, (products.mean(axis=0) - wanted) / (products.std(axis=0) / np.sqrt(count))])

    assert np.abs(scores(dfp.moments(dfp.MasterEquation(average), START, STEPS, save=[STEPS]))).max() < 5
    assert np.abs(scores(dfp.moments(dfp.MasterEquation(sgd), START, STEPS, save=[STEPS]))).max() > 10


def test_the_mean_of_the_tail_has_covariance_one_over_n():
    """n Cov → H⁻¹CH⁻¹ with an error of order 1/n."""
    wanted = np.linalg.inv(HESSIAN) @ NOISE @ np.linalg.inv(HESSIAN)
    found = dfp.moments(dfp.MasterEquation(dfp.TailAverage(dfp.SGD(VALLEY, 0.5))), START, 8000, save=[4000, 8000])
    errors = [np.abs(n * c - wanted).max() for n, c in zip(found.steps, found.covariance, strict=True)]
    assert errors[1] < 2e-3 * np.abs(wanted).max()
    assert np.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.01)


def test_the_wrong_process_is_never_answered_for():
    sgd = dfp.SGD(VALLEY, 0.3)
    average = dfp.ExponentialAverage(sgd)
    equation = dfp.MasterEquation(average)
    assert average.iterate is sgd
    grid = dfp.Grid([-1, -1], [1, 1], 8)
    for ask in (
        lambda: dfp.spectrum(equation),
        lambda: dfp.entropy_production(equation),
        lambda: dfp.probability_current(equation, grid),
        lambda: dfp.autocorrelation(equation, [5]),
        lambda: dfp.effective_temperature(equation),
        lambda: dfp.mean_squared_displacement(equation, START, 5),
        lambda: dfp.loss_law(equation, START, 5),
        lambda: dfp.exit_steps(equation, grid, START),
        lambda: dfp.DiscreteFokkerPlanck(average),
        lambda: dfp.Langevin(average),
        lambda: dfp.ModifiedLangevin(average),
        lambda: dfp.solve(equation, START, 3, solver=dfp.Fourier()),
        lambda: dfp.solve(equation, START, 3, directions=[[1.0], [0.0]]),
        lambda: equation.sgd,
    ):
        with pytest.raises(dfp.UnsupportedError):
            ask()
    for ask in (lambda: dfp.modes(average), lambda: dfp.MasterEquation(3), lambda: dfp.excess_loss(average, None)):
        with pytest.raises((dfp.DFPError, AttributeError)):
            ask()


def test_equations_still_copy():
    equation = dfp.MasterEquation(dfp.SGD(VALLEY, 0.3))
    for other in (copy.deepcopy(equation), pickle.loads(pickle.dumps(equation))):
        assert isinstance(other, dfp.MasterEquation)
        assert np.array_equal(dfp.moments(other, START, 3).mean, dfp.moments(equation, START, 3).mean)


def test_malformed_arguments():
    sgd = dfp.SGD(VALLEY, 0.3)
    for make in (
        lambda: dfp.ExponentialAverage(3),
        lambda: dfp.ExponentialAverage(sgd, 1.0),
        lambda: dfp.ExponentialAverage(sgd, -0.1),
        lambda: dfp.ExponentialAverage(sgd, np.nan),
        lambda: dfp.TailAverage(sgd, -1),
        lambda: dfp.TailAverage(sgd, 1.5),
        lambda: dfp.TailAverage(None),
        lambda: dfp.moments(dfp.MasterEquation(dfp.TailAverage(sgd)), dfp.Point([0.0]), 3),
        lambda: dfp.moments(dfp.MasterEquation(dfp.TailAverage(sgd)), START, -3),
    ):
        with pytest.raises(dfp.DFPError):
            make()
    with pytest.raises(dfp.UnsupportedError, match="replace=False"):
        dfp.TailAverage(dfp.SGD(LEAST_SQUARES, 0.1, replace=False))
