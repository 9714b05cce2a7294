"""Streaming least squares (T21): against the d² recursion (T14), a NumPy twin, samples, and what must fail."""

import numpy as np
import pytest
from dfp_solvers import streaming

import dfp

CURVATURES = 1.0 / np.arange(1, 21) ** 1.3


def features(**changes: object) -> dfp.GaussianFeatures:
    values: dict = {"noise": 0.3, "batch_size": 4, "optimum": np.linspace(-1, 1, 20)} | changes
    return dfp.GaussianFeatures(CURVATURES, **values)


@pytest.mark.parametrize(
    "options",
    [
        {"learning_rate": 0.3},
        {"learning_rate": 0.2, "momentum": 0.7},
        {"learning_rate": 0.15, "momentum": 0.6, "nesterov": True},
        {"learning_rate": dfp.CosineSchedule(0.4, 50), "batch_size": [1, 2, 3, 4, 5] * 10},
        {"learning_rate": 0.1, "momentum": 0.8, "batch_size": [1, 8] * 25},
    ],
)
def test_diagonal_recursion_is_that_of_whole_matrices(options: dict) -> None:
    """O(d) and O(d²) differ by rounding alone: 50 steps of some 1e-15."""
    sgd = dfp.SGD(features(), **options)
    start = dfp.Gaussian(np.full(20, 0.5), np.linspace(0.1, 2, 20))
    exact = dfp.moments(dfp.MasterEquation(sgd), start, 50)
    apart = exact.mean - features().optimum
    squares = exact.covariance.diagonal(axis1=1, axis2=2) + apart**2
    curve = dfp.risk_curve(sgd, squares[0], 50)
    assert curve.excess_risk == pytest.approx(squares @ CURVATURES / 2, rel=1e-12)
    assert curve.second_moments == pytest.approx(squares[-1], rel=1e-12)
    assert dfp.risk_curve(sgd, squares[0], 50, save=[0, 7, 50]).excess_risk == pytest.approx(
        curve.excess_risk[[0, 7, 50]], rel=0
    )


def test_kernel_is_its_twin() -> None:
    rng = np.random.default_rng(0)
    c, m = rng.random(30_000), rng.random(30_000)
    rates, batches = rng.random(5) * 1e-4, np.array([1.0, 2, 3, 4, 5])
    twin, risks = m.copy(), [m @ c / 2]
    for rate, batch in zip(rates, batches, strict=True):
        total = twin @ c + 0.1
        twin = ((1 - rate * c) ** 2 + rate**2 * c**2 / batch) * twin + rate**2 / batch * c * total
        risks.append(twin @ c / 2)
    got = streaming.risks(m, c, rates, batches, 0.1)
    # Sums of 30 000 terms in other orders.
    assert got == pytest.approx(risks, rel=1e-12)
    assert m == pytest.approx(twin, rel=1e-12)


def test_samples_agree_and_a_law_without_its_trace_does_not() -> None:
    """Fresh minibatches by NumPy, 20 000 runs; |z| > 5 in 20 variances has a false alarm rate of 1e-5."""
    sgd, rng = dfp.SGD(features(batch_size=2), 0.25), np.random.default_rng(1)
    theta, law = np.zeros((20_000, 20)), sgd.noise
    for _ in range(25):
        theta = theta - 0.25 * (CURVATURES * (theta - features().optimum) + law.increments(theta, rng))
    squares = (theta - features().optimum) ** 2
    curve = dfp.risk_curve(sgd, features().optimum ** 2, 25)
    error = squares.std(axis=0) / 20_000**0.5
    assert np.max(np.abs((squares.mean(axis=0) - curve.second_moments) / error)) < 5
    without = features().optimum ** 2
    for _ in range(25):
        without = ((1 - 0.25 * CURVATURES) ** 2 + 0.25**2 * CURVATURES**2 / 2) * without + 0.25**2 * 0.15 * CURVATURES
    assert np.max(np.abs((squares.mean(axis=0) - without) / error)) > 20


def test_stationary_risk_is_where_curves_settle_and_ends_where_they_grow() -> None:
    sgd = dfp.SGD(features(), 0.5)
    settled = dfp.risk_curve(sgd, 1.0, 20_000, save=[20_000]).excess_risk[0]
    # rounding
    assert dfp.stationary_risk(sgd) == pytest.approx(settled, rel=1e-10)
    exact = dfp.stationary_excess_loss(dfp.MasterEquation(sgd))
    assert dfp.stationary_risk(sgd) == pytest.approx(exact, rel=1e-9)
    low, high = 0.5, 2.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if np.isfinite(dfp.stationary_risk(dfp.SGD(features(), middle))) else (low, middle)
    below = dfp.risk_curve(dfp.SGD(features(), 0.98 * low), 1.0, 4000).excess_risk
    above = dfp.risk_curve(dfp.SGD(features(), 1.02 * high), 1.0, 4000).excess_risk
    assert above[4000] > 2 * above[2000]
    assert below[4000] < 1.05 * below[2000]


def test_a_million_parameters_need_no_matrix() -> None:
    million = dfp.GaussianFeatures(1.0 / np.arange(1, 10**6 + 1) ** 1.5, 0.1, 8)
    sgd = dfp.SGD(million, dfp.WarmUp(5, 0.3), momentum=0.5)
    curve = dfp.risk_curve(sgd, 1.0, 20)
    assert np.all(np.isfinite(curve.excess_risk))
    assert curve.excess_risk[-1] < curve.excess_risk[0]
    with pytest.raises(dfp.DFPError, match="risk_curve"):
        _ = million.hessian


def test_refusals_say_why() -> None:
    with pytest.raises(dfp.DFPError, match="curvatures"):
        dfp.GaussianFeatures([1.0, -0.1])
    with pytest.raises(dfp.UnsupportedError, match="weight_decay"):
        dfp.risk_curve(dfp.SGD(features(), 0.1, weight_decay=0.1), 1.0, 3)
    with pytest.raises(dfp.UnsupportedError, match="GaussianFeatures"):
        dfp.risk_curve(dfp.SGD(dfp.QuadraticLandscape([1.0]), 0.1), 1.0, 3)
    with pytest.raises(dfp.UnsupportedError, match="momentum"):
        dfp.stationary_risk(dfp.SGD(features(), 0.1, momentum=0.5))


def test_modes_know_the_law_of_squared_features() -> None:
    """ℓ of h = λ(1 + χ²-fluctuations) by quadrature; 20 000 parts give it to 1e-4."""
    from scipy import integrate, stats

    (mode,) = dfp.modes(dfp.SGD(dfp.GaussianFeatures([1.0], 0.1), 0.4))
    by_hand = (
        integrate.quad(lambda x: np.log(abs(1 - 0.4 * x)) * stats.chi2.pdf(x, 1), 0, 2.5, limit=400)[0]
        + integrate.quad(lambda x: np.log(abs(1 - 0.4 * x)) * stats.chi2.pdf(x, 1), 2.5, 60, limit=400)[0]
    )
    assert mode.lyapunov_exponent == pytest.approx(by_hand, abs=2e-3)


def test_volterra_is_its_integral_equation() -> None:
    """Against the equation itself by the trapezoidal rule, extrapolated from two meshes: fourth order, 1e-9 here."""
    c, m, eta, batch, noise = np.array([1.0, 0.5, 0.1]), np.array([1.0, 2.0, 3.0]), 0.3, 2, 0.4
    sgd = dfp.SGD(dfp.GaussianFeatures(c, noise, batch), eta)

    def trapezoidal(count: int) -> np.ndarray:
        tau, h = np.linspace(0, 6.0, count + 1), 6.0 / count
        forced = np.exp(-2 * np.outer(tau, c)) @ (c * m) / 2
        kernel, risk = eta / batch * np.exp(-2 * np.outer(tau, c)) @ c**2, np.empty(count + 1)
        risk[0] = forced[0]
        for n in range(1, count + 1):
            past = kernel[n] * (risk[0] + noise / 2) / 2 + kernel[n - 1 : 0 : -1] @ (risk[1:n] + noise / 2)
            risk[n] = (forced[n] + h * (past + kernel[0] * noise / 4)) / (1 - h * kernel[0] / 2)
        return risk

    coarse, fine = trapezoidal(1000), trapezoidal(2000)[::2]
    wanted = fine + (fine - coarse) / 3
    found = dfp.volterra_curve(sgd, m, 20)
    assert found.excess_risk == pytest.approx(wanted[:: 1000 // 20], rel=1e-8)
    assert np.max(np.abs(found.excess_risk / dfp.risk_curve(sgd, m, 20).excess_risk - 1)) > 0.02
    late = dfp.volterra_curve(sgd, m, 2000, save=[2000])
    kappa = eta * c.sum() / (2 * batch)
    assert late.excess_risk[0] == pytest.approx(noise / 2 * kappa / (1 - kappa), rel=1e-9)
    assert late.second_moments @ c / 2 == pytest.approx(late.excess_risk[0], rel=1e-12)  # one sum


def test_the_error_of_volterra_falls_like_one_over_d() -> None:
    errors = []
    for d in (50, 100, 200):
        landscape = dfp.GaussianFeatures(0.2 + (np.arange(d) + 0.5) / d, 0.4, 2)
        sgd = dfp.SGD(landscape, 1.0 / d)
        saved = [0, d, 4 * d]
        exact, limit = (f(sgd, 1.0 / d, 4 * d, saved).excess_risk for f in (dfp.risk_curve, dfp.volterra_curve))
        assert limit[0] == pytest.approx(exact[0], rel=1e-14)  # one sum
        errors.append(np.max(np.abs(limit / exact - 1)))
    # the next order, 1/d², bends the slope by a per cent
    assert np.log2(np.array(errors[:-1]) / errors[1:]) == pytest.approx([1, 1], abs=0.03)


def test_an_unstable_limit_grows_until_it_overflows() -> None:
    sgd = dfp.SGD(dfp.GaussianFeatures([1.0, 0.5], 0.1, 1), 3.9)
    found = dfp.volterra_curve(sgd, 1.0, 3000, [0, 10, 3000])
    assert np.array_equal(np.isfinite(found.excess_risk), [True, True, False])
    assert found.excess_risk[1] > found.excess_risk[0]
    assert not np.isfinite(dfp.volterra_curve(sgd, 1.0, 3000, [3000]).excess_risk[0])


def test_volterra_refuses_what_is_not_plain() -> None:
    with pytest.raises(dfp.UnsupportedError, match="momentum"):
        dfp.volterra_curve(dfp.SGD(features(), 0.1, momentum=0.5), 1.0, 5)
