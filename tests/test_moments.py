"""Exact moments against independent truths: brute-force expectations, ODE solvers, sampling-free limits."""

import tracemalloc

import numpy as np
import pytest
from problems import every_equation, one_mode, regression, rotated, samples, table
from scipy.integrate import solve_ivp

import dfp

LANDSCAPES = {
    "additive": rotated(2, 20.0),
    "table": table(2),
    "symmetric table": table(2, symmetric=True),
    "eigenbasis": table(2, basis="eigen"),
    "symmetric, three dimensions": table(3, symmetric=True, basis="eigen"),
    "regression": regression(2),
    "regression, d = 13": regression(13, 8),
    "samples": samples(2),
    "samples, d = 13": samples(13, 4),
}


def draws(landscape, count, seed):
    """Return minibatch Hessians and gradients drawn from the law of a landscape (independent of its formulas)."""
    rng, law, d = np.random.default_rng(seed), landscape.law, landscape.dimension
    if hasattr(law, "sample_hessians"):
        pick = rng.integers(0, law.count, (count, law.batch_size))
        return law.sample_hessians()[pick].mean(axis=1), law.gradients[pick].mean(axis=1)
    entries = rng.standard_normal((count, d, d)) * np.sqrt(law.table)
    if law.symmetric:
        entries = np.triu(entries) + np.swapaxes(np.triu(entries, 1), 1, 2)
    if law.axes is not None:
        entries = law.axes @ entries @ law.axes.T
    gradients = rng.multivariate_normal(np.zeros(d), law.constant, count)
    return landscape.hessian + entries, landscape.gradient + gradients


@pytest.mark.parametrize("name", LANDSCAPES)
def test_gradient_covariance_matches_drawn_minibatches(name):
    """C(θ) of (T3) against 200 000 drawn minibatches; 4d² entries at |z| < 5: false alarms below 1e-3 in all."""
    landscape = LANDSCAPES[name]
    d, count = landscape.dimension, 200_000 if landscape.dimension < 5 else 20_000
    theta = np.linspace(-1, 1.5, d)
    hessians, gradients = draws(landscape, count, seed=3)
    noise = hessians @ theta + gradients - landscape.hessian @ theta - landscape.gradient
    products = noise[:, :, None] * noise[:, None, :]
    z = (products.mean(axis=0) - landscape.law.covariance(theta)) / (products.std(axis=0) / np.sqrt(count))
    assert np.abs(z).max() < 5
    doubled = (products.mean(axis=0) - 1.05 * landscape.law.covariance(theta)) / (products.std(axis=0) / np.sqrt(count))
    assert np.abs(doubled).max() > 5  # negative control: a covariance off by 5 % is seen


@pytest.mark.parametrize("name", LANDSCAPES)
def test_master_equation_moments_close_from_a_point(name):
    """One step from a point has mean θ − ηḡ and covariance η²C(θ)."""
    landscape = LANDSCAPES[name]
    sgd, theta = dfp.SGD(landscape, 0.1), np.linspace(1, -1, landscape.dimension)
    result = dfp.moments(dfp.MasterEquation(sgd), dfp.Point(theta), 1)
    mean = theta - 0.1 * (landscape.hessian @ theta + landscape.gradient)
    # rounding
    assert result.mean[1] == pytest.approx(mean, abs=1e-14)
    assert result.covariance[1] == pytest.approx(0.01 * landscape.law.covariance(theta), abs=1e-14)


@pytest.mark.parametrize("name", LANDSCAPES)
def test_maps_against_the_plain_recursion(name):
    """(T14) written out step by step, and its closed or dense form, agree; (T4) and (T5) agree exactly."""
    landscape = LANDSCAPES[name]
    eta, d = 0.1, landscape.dimension
    sgd = dfp.SGD(landscape, eta, weight_decay=0.05)
    h = landscape.hessian + 0.05 * np.eye(d)
    mean, covariance = np.linspace(1, -1, d), 0.2 * np.eye(d)
    result = dfp.moments(dfp.MasterEquation(sgd), dfp.Gaussian(mean, covariance), 30)
    other = dfp.moments(dfp.DiscreteFokkerPlanck(sgd), dfp.Gaussian(mean, covariance), 30)
    for n in range(30):
        average = landscape.law.mean_covariance(1.0, mean, covariance + np.outer(mean, mean))
        mean = mean - eta * (h @ mean + landscape.gradient)
        a = np.eye(d) - eta * h
        covariance = a @ covariance @ a.T + eta**2 * average
        # rounding
        assert result.mean[n + 1] == pytest.approx(mean, abs=1e-12)
        assert result.covariance[n + 1] == pytest.approx(covariance, abs=1e-12)
    assert np.array_equal(result.covariance, other.covariance)


@pytest.mark.parametrize("name", LANDSCAPES)
def test_generators_against_an_ode_solver(name):
    """(T15) for every generator against DOP853; its tolerance, 1e-12, sets ours."""
    landscape = LANDSCAPES[name]
    d, eta, last = landscape.dimension, 0.1, 20
    sgd = dfp.SGD(landscape, eta)
    start = dfp.Gaussian(np.linspace(1, -1, d), 0.2)
    for equation in every_equation(sgd)[2:]:

        def rate(_, flat, equation=equation):
            mean, covariance = flat[:d], flat[d:].reshape(d, d)
            pulled = -equation.linear_drift @ covariance
            # The diffusion is quadratic in θ: its mean is its value at μ plus that of its quadratic part.
            spread = np.linalg.cholesky(covariance)
            around = [equation.diffusion(mean + s) + equation.diffusion(mean - s) for s in spread.T]
            centre = equation.diffusion(mean)
            diffusion = centre + sum(a - 2 * centre for a in around) / 2
            drift = -equation.linear_drift @ mean - equation.constant_drift
            return np.concatenate([drift, (pulled + pulled.T + diffusion).ravel()])

        flat = np.concatenate([start.mean, start.covariance.ravel()])
        reference = solve_ivp(rate, (0, eta * last), flat, "DOP853", rtol=1e-12, atol=1e-13).y[:, -1]
        result = dfp.moments(equation, start, last, [last])
        assert result.mean[0] == pytest.approx(reference[:d], abs=1e-10), equation.label
        assert result.covariance[0].ravel() == pytest.approx(reference[d:], abs=1e-10), equation.label


@pytest.mark.parametrize("curvature", [-0.5, 0.0, 1e-9, 1.0, 10.0, 15.0, 20.0])
def test_closed_form_at_any_curvature(curvature):
    """Flat, unstable, exactly annihilated (ηλ = 1), overshooting and marginal (ηλ = 2) modes; η = 0.1."""
    sgd = dfp.SGD(one_mode(curvature, 0.3, gradient=0.2), 0.1)
    result = dfp.moments(dfp.MasterEquation(sgd), dfp.Gaussian(1.0, 0.5), 41)
    mean, variance = 1.0, 0.5
    for n in range(41):
        mean = mean - 0.1 * (curvature * mean + 0.2)
        variance = (1 - 0.1 * curvature) ** 2 * variance + 0.01 * 0.3
        # rounding
        assert result.mean[n + 1, 0] == pytest.approx(mean, rel=1e-12, abs=1e-14)
        assert result.covariance[n + 1, 0, 0] == pytest.approx(variance, rel=1e-12)


def test_far_start_keeps_the_digits_of_the_variance():
    """A mean 1e6 deviations away costs no digits: nothing of order μ² is subtracted."""
    sgd = dfp.SGD(one_mode(1.0, 0.3, 1e-16), 0.1)
    far = dfp.moments(dfp.MasterEquation(sgd), dfp.Point(1e6), 300, [300]).covariance.item()
    near = dfp.moments(dfp.MasterEquation(sgd), dfp.Point(0.0), 300, [300]).covariance.item()
    assert far == pytest.approx(near, rel=1e-4)


def test_two_hundred_parameters_need_no_large_matrix():
    """Additive noise with d = 200: a d² × d² matrix would take 12.8 GB; less than 40 MB are used."""
    sgd = dfp.SGD(rotated(200, 100.0), 0.5)
    tracemalloc.start()
    result = dfp.moments(dfp.MasterEquation(sgd), dfp.Point(np.ones(200)), 10**6, [1, 1000, 10**6])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6
    h, sigma = sgd.hessian, result.covariance[-1]
    # rounding
    assert np.abs(h @ sigma + sigma @ h - 0.5 * h @ sigma @ h - 0.5 * np.eye(200)).max() < 1e-10


@pytest.mark.parametrize("landscape", [regression(200, 8), table(200)], ids=["regression", "table"])
def test_two_hundred_parameters_with_multiplicative_noise(landscape):
    """d = 200: one step of each equation from a point agrees with C(θ); several generators run."""
    sgd, theta = dfp.SGD(landscape, 1e-3), np.linspace(-1, 1, 200)
    one = dfp.moments(dfp.MasterEquation(sgd), dfp.Point(theta), 1, [1]).covariance[0]
    # rounding
    assert np.allclose(one, 1e-6 * landscape.law.covariance(theta), rtol=1e-10, atol=1e-12)
    flow = dfp.moments(dfp.Langevin(sgd), dfp.Point(theta), 1, [1]).covariance[0]
    assert np.trace(flow) == pytest.approx(np.trace(one), rel=0.5)


def test_truncated_langevin_step_can_lose_positivity():
    """(T6') lacks η²bbᵀ: its variance from a point off the minimum is negative, (T5)'s is not (theory, section 2)."""
    sgd = dfp.SGD(one_mode(1.0, 0.01), 0.5)
    exact = dfp.moments(dfp.DiscreteFokkerPlanck(sgd), dfp.Point(1.0), 1, [1]).covariance.item()
    assert exact == pytest.approx(0.25 * 0.01)
    assert exact - 0.25 * 1.0**2 < 0


@pytest.mark.parametrize("landscape", [table(2), table(3, symmetric=True), regression(2), samples(3)])
def test_late_steps_stay_at_the_fixed_point(landscape):
    """What rounding makes asymmetric must not grow: 20 000 steps on, the covariance is that of step 1000, symmetric."""
    for equation in every_equation(dfp.SGD(landscape, 0.2)):
        early, late = dfp.moments(equation, dfp.Point(np.zeros(equation.dimension)), 20_000, [1000, 20_000]).covariance
        assert np.allclose(late, early, rtol=1e-9, atol=1e-12), equation.label
        assert np.allclose(late, late.T, rtol=1e-12, atol=1e-15), equation.label


def test_least_squares_of_many_parameters_follow_the_plain_recursion():
    """Two products of triangles a step, with weight decay and mean gradient, against (T14) sample by sample."""
    rng = np.random.default_rng(4)
    x, y, eta, d = rng.standard_normal((60, 15)), rng.standard_normal(60), 0.05, 15
    landscape = dfp.QuadraticLandscape.from_regression(x, y, 4)
    sgd = dfp.SGD(landscape, eta, weight_decay=0.3)
    root = 0.3 * rng.standard_normal((d, d))
    mean, covariance = rng.standard_normal(d), root @ root.T
    result = dfp.moments(dfp.MasterEquation(sgd), dfp.Gaussian(mean, covariance), 12)
    a = np.eye(d) - eta * (x.T @ x / 60 + 0.3 * np.eye(d))
    for n in range(12):
        squares = np.einsum("ni,ij,nj->n", x, covariance, x) + (x @ mean - y) ** 2
        average = x.T @ (x @ mean - y) / 60
        own = np.outer(average, average) + (x.T @ x / 60) @ covariance @ (x.T @ x / 60)
        covariance = a @ covariance @ a.T + eta**2 / 4 * ((x * squares[:, None]).T @ x / 60 - own)
        mean = a @ mean + eta * x.T @ y / 60
        # rounding
        assert result.mean[n + 1] == pytest.approx(mean, abs=1e-12)
        assert result.covariance[n + 1] == pytest.approx(covariance, abs=1e-12)
