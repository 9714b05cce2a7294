"""Modes: closed forms of the theory page (sections 3 and 4), coupled systems, momentum, and sampled tails."""

import sys
from itertools import product

import numpy as np
import pytest
from dfp_solvers import second_moment
from problems import one_mode, regression, rotated, samples, table
from scipy.linalg import expm

import dfp
from dfp.problem.noise import GaussianLaw

LATE = 20_000


def mode_of(curvature, noise=0.2, gamma=0.0, gradient=0.0, eta=0.6, **options):
    (mode,) = dfp.modes(dfp.SGD(one_mode(curvature, noise, gamma, gradient), eta, **options))
    return mode


@pytest.mark.parametrize(
    ("curvature", "gamma", "eta"), [(1.0, 0.0, 0.6), (1.0, 0.8, 0.6), (2.5, 0.3, 0.5), (0.1, 0.02, 1.0)]
)
def test_confined_modes(curvature, gamma, eta):
    """(T12), the saturation step, and the same for Langevin."""
    mode = mode_of(curvature, 0.2, gamma, eta=eta)
    assert mode.regime == mode.langevin_regime == "confined"
    # rounding
    assert mode.growth == pytest.approx((1 - eta * curvature) ** 2 + eta**2 * gamma, rel=1e-14)
    assert mode.stationary_variance == pytest.approx(
        eta * 0.2 / (2 * curvature - eta * (curvature**2 + gamma)), rel=1e-12
    )
    assert mode.langevin_stationary_variance == pytest.approx(eta * 0.2 / (2 * curvature - eta * gamma), rel=1e-12)
    assert mode.saturation_step == pytest.approx(1 / (2 * eta * curvature - eta**2 * (curvature**2 + gamma)), rel=1e-12)
    assert mode.diffusion_coefficient == eta * 0.2 / 2
    assert mode.largest_stable_learning_rate == pytest.approx(2 * curvature / (curvature**2 + gamma), rel=1e-14)
    assert mode.overshoots == (eta * curvature > 1)
    assert mode.tail_index > 2
    assert mode.langevin_tail_index == (1 + 2 * curvature / (eta * gamma) if gamma else np.inf)


def test_regimes_over_curvature_noise():
    """(λ, D, η) = (1, 0.2, 0.6): SGD loses its variance at Γ = λ(2−ηλ)/η = 7/3, Langevin believes in it up to 10/3."""
    for gamma in (0.5, 1.0, 2.0, 2.3333, 2.3334, 3.0, 3.3333, 3.3334, 5.0, 8.0):
        mode = mode_of(1.0, 0.2, gamma)
        assert mode.regime == ("confined" if gamma < 7 / 3 else "heavy-tailed")
        assert mode.langevin_regime == ("confined" if gamma < 10 / 3 else "heavy-tailed")
        assert (mode.tail_index > 2) == (mode.regime == "confined")
        assert np.isfinite(mode.stationary_variance) == (gamma < 7 / 3)
        assert (mode.langevin_tail_index > 2) == (mode.langevin_regime == "confined")
    boundary = mode_of(1.0, 0.2, 7 / 3)
    # rounding
    assert boundary.growth == pytest.approx(1, abs=1e-15)
    assert boundary.tail_index == pytest.approx(2, abs=1e-10)
    assert mode_of(1.0, 0.2, 12.0).regime == "unstable"


@pytest.mark.parametrize(
    ("curvature", "noise", "gamma", "eta", "regime"),
    [
        (0.0, 0.2, 0.0, 0.6, "diffusive"),
        (4.0, 0.2, 0.0, 0.5, "diffusive"),  # ηλ = 2
        (0.0, 0.0, 0.0, 0.6, "frozen"),
        (0.0, 0.2, 0.5, 0.6, "heavy-tailed"),
        (0.0, 0.2, 7.0, 0.6, "unstable"),  # η√Γ = 1.59 > 1.556
        (-0.1, 0.2, 0.5, 0.6, "heavy-tailed"),  # |λ| < ηΓ/2
        (-0.3, 0.2, 0.5, 0.6, "unstable"),
        (-0.3, 0.2, 0.0, 0.6, "unstable"),
        (5.0, 0.2, 0.0, 0.6, "unstable"),
    ],
)  # fmt: skip
def test_other_regimes(curvature, noise, gamma, eta, regime):
    mode = mode_of(curvature, noise, gamma, eta=eta)
    assert mode.regime == regime
    assert mode.stationary_variance == np.inf if regime == "heavy-tailed" else np.isnan(mode.stationary_variance)
    assert mode.saturation_step == np.inf
    if regime == "heavy-tailed":
        assert 0 < mode.tail_index <= 1 + 1e-12
    if curvature <= 0:
        assert mode.largest_stable_learning_rate == 0


def test_flat_mode_with_curvature_noise():
    """Section 4: ℓ ≈ −η²Γ/2 and κ <= 1; V = η²Dn only for n ≪ 1/(η²Γ)."""
    eta, gamma = 0.1, 0.04
    mode = mode_of(0.0, 0.2, gamma, eta=eta)
    # the next order in η²Γ
    assert mode.lyapunov_exponent == pytest.approx(-(eta**2) * gamma / 2, rel=1e-3)
    # rounding
    assert mode.tail_index == pytest.approx(1, abs=1e-9)
    # n η²Γ is 8e-3
    assert mode.variance(20) == pytest.approx(eta**2 * 0.2 * 20, rel=1e-2)
    assert mode.variance(20_000) > 2 * eta**2 * 0.2 * 20_000


def test_slope_spreads_like_the_cube_of_time():
    """g ≠ 0, λ = 0: V = η²Dn + η⁴Γg²n³/3 for n ≪ 1/(η²Γ)."""
    eta, gamma, g, n = 0.1, 1e-6, 0.5, 4000
    mode = mode_of(0.0, 1e-5, gamma, g, eta=eta)
    # Sums of squares are n³/3 to 1/n; the growth of V itself is η²Γn.
    assert mode.variance(n) == pytest.approx(eta**2 * 1e-5 * n + eta**4 * gamma * g**2 * n**3 / 3, rel=1e-3)


@pytest.mark.parametrize("momentum", [0.0, 0.8])
@pytest.mark.parametrize("curvature", [1.0, 0.0, -0.1, 5.0])
def test_variance_of_a_step_is_that_of_the_moments(curvature, momentum):
    """V(n) from the critical point (or the origin of a slope) against the moment recursion, least squares included."""
    landscapes = [one_mode(curvature, 0.2, 0.5, 0.3)]
    if curvature == 1.0:
        landscapes.append(regression(1, 4))
    for landscape in landscapes:
        sgd = dfp.SGD(landscape, 0.3, momentum=momentum)
        (mode,) = dfp.modes(sgd)
        start = dfp.Gaussian(sgd.critical_point, 0.07)
        path = dfp.moments(dfp.MasterEquation(sgd), start, 25)
        mine = [mode.variance(n, 0.07) for n in (0, 1, 2, 7, 25)]
        # rounding
        assert mine == pytest.approx(path.covariance[[0, 1, 2, 7, 25], 0, 0], rel=1e-10)


def test_saddle_grows_at_its_rate():
    """V(n) = η²D(ρ₂ⁿ−1)/(ρ₂−1), and a typical distance by the factor e in 1/ℓ steps."""
    mode = mode_of(-0.5, 0.2, 0.0, eta=0.4)
    rho = 1.2**2
    # rounding
    assert mode.variance(30) == pytest.approx(0.16 * 0.2 * (rho**30 - 1) / (rho - 1), rel=1e-12)
    assert mode.time_scale == pytest.approx(1 / np.log(1.2), rel=1e-12)


def test_correlated_noise_of_least_squares():
    """(T12) with D → D + Γg²/λ² − 2rg/λ, against the stationary limit of the moments; r matters."""
    sgd = dfp.SGD(regression(1, 4), 0.2)
    (mode,) = dfp.modes(sgd)
    late = dfp.moments(dfp.MasterEquation(sgd), dfp.Point(0.0), LATE, [LATE]).covariance.item()
    shift = mode.gradient / mode.curvature
    source = mode.gradient_noise + mode.curvature_noise * shift**2 - 2 * mode.correlation * shift
    formula = 0.2 * source / (2 * mode.curvature - 0.2 * (mode.curvature**2 + mode.curvature_noise))
    # rounding
    assert mode.stationary_variance == pytest.approx(formula, rel=1e-10)
    assert mode.stationary_variance == pytest.approx(late, rel=1e-10)
    without = mode.gradient_noise + mode.curvature_noise * shift**2
    assert abs(without / source - 1) > 0.1


def test_gradient_noise_that_follows_curvature():
    """D_i = γ(|λ_i| + ε): sharp modes settle at ηγ/2, flat ones diffuse with γε."""
    eta, gamma, epsilon = 1e-3, 0.3, 1e-4
    report = dfp.modes(dfp.SGD(dfp.QuadraticLandscape.from_curvatures([0.0, 1.0, 3.0], gamma, epsilon), eta))
    flat, *sharp = report
    assert flat.regime == "diffusive"
    # rounding
    assert flat.diffusion_coefficient == pytest.approx(eta * gamma * epsilon / 2, rel=1e-12)
    assert flat.variance(1000) == pytest.approx(eta**2 * gamma * epsilon * 1000, rel=1e-10)
    for mode in sharp:
        # the next order in ηλ, and the share of ε
        assert mode.stationary_variance == pytest.approx(eta * gamma / 2, rel=3e-3)
    still, _ = dfp.modes(dfp.SGD(dfp.QuadraticLandscape.from_curvatures([0.0, 1.0], gamma), eta))
    assert still.regime == "frozen"
    for bad in ({"gamma": -1.0}, {"gamma": 1.0, "epsilon": -0.1}):
        with pytest.raises(dfp.DFPError, match="at least 0"):
            dfp.QuadraticLandscape.from_curvatures([1.0], **bad)


def test_minibatches_that_contract_have_no_tail():
    """0 < ηh_i < 2 for every sample: compact support, κ = ∞; one sample beyond makes it finite."""
    features, targets = np.array([[0.5], [1.0], [1.5]]), np.array([1.0, 0.0, 2.0])
    bounded = mode_of_regression(features, targets, 0.8, 2)
    assert bounded.tail_index == np.inf
    assert bounded.tail_index_error == 0
    (wild,) = dfp.modes(dfp.SGD(dfp.QuadraticLandscape.from_regression(features, targets, 1), 1.1))
    values = np.abs(1 - 1.1 * features[:, 0] ** 2)
    # rounding
    assert np.mean(values**wild.tail_index) == pytest.approx(1, abs=1e-12)
    assert wild.lyapunov_exponent == pytest.approx(np.mean(np.log(values)), rel=1e-12)


def mode_of_regression(features, targets, eta, batch):
    (mode,) = dfp.modes(dfp.SGD(dfp.QuadraticLandscape.from_regression(features, targets, batch), eta))
    return mode


def test_unresolved_tails_are_bounded():
    """Where a convolution's rounding hides κ, a lower bound is given, and printed as one."""
    rng = np.random.default_rng(5)
    features = np.sqrt(np.concatenate([0.5 + 0.1 * rng.random(200), [4.5]]))[:, None]
    landscape = dfp.QuadraticLandscape.from_regression(features, rng.standard_normal(201), 12)
    report = dfp.modes(dfp.SGD(landscape, 1.0))
    assert report[0].tail_index_error == np.inf
    assert 2 < report[0].tail_index < np.inf
    assert f"> {report[0].tail_index:.3g}" in str(report)


def brute_pair(sgd):
    """Return E[A ⊗ A] of one step in θ's axes, (d², d²), by all minibatches or by the table's definition."""
    law, d = sgd.noise, sgd.dimension
    eye = np.eye(d)
    if isinstance(law, GaussianLaw):
        _, loadings = law.loadings()
        mean = eye - sgd.learning_rate * sgd.hessian
        return np.kron(mean, mean) + sgd.learning_rate**2 * sum(np.kron(w, w) for w in loadings)
    hessians = law.sample_hessians()
    total, count = np.zeros((d * d, d * d)), 0
    for chosen in product(range(law.count), repeat=law.batch_size):
        step = eye - sgd.learning_rate * (hessians[list(chosen)].mean(axis=0) + sgd.weight_decay * eye)
        total += np.kron(step, step)
        count += 1
    return total / count


COUPLED = {
    "table": (table(2), {}),
    "symmetric": (table(3, symmetric=True), {}),
    "eigen": (table(3, basis="eigen"), {}),
    "regression": (regression(2, 2), {"weight_decay": 0.1}),
    "samples": (samples(2, 2), {}),
}


@pytest.mark.parametrize("name", COUPLED)
def test_coupled_second_moments(name):
    """(T16) against the d² × d² matrix, and the largest stable η: there its spectral radius is one."""
    landscape, options = COUPLED[name]
    sgd = dfp.SGD(landscape, 0.3, **options)
    report = dfp.modes(sgd)
    assert report.coupled
    radius = np.max(np.abs(np.linalg.eigvals(brute_pair(sgd))))
    # rounding
    assert report.spectral_radius == pytest.approx(radius, rel=1e-10)
    limit = report.largest_stable_learning_rate
    at_limit = np.max(np.abs(np.linalg.eigvals(brute_pair(dfp.SGD(landscape, limit, **options)))))
    assert at_limit == pytest.approx(1, abs=1e-10)
    assert dfp.modes(dfp.SGD(landscape, 1.001 * limit, **options)).regime != "confined"
    assert limit < min(mode.largest_stable_learning_rate for mode in report) * (1 + 1e-12)


@pytest.mark.parametrize("name", COUPLED)
def test_langevin_limit_of_coupled_modes(name):
    """At its limit the largest eigenvalue of −(1⊗H + H⊗1) + ηE[H̃⊗H̃] passes zero."""
    landscape, options = COUPLED[name]
    sgd = dfp.SGD(landscape, 1.0, **options)
    h, eye = sgd.hessian, np.eye(sgd.dimension)
    mean = eye - h
    noise = brute_pair(sgd) - np.kron(mean, mean)
    limit = dfp.modes(sgd).langevin_largest_stable_learning_rate
    abscissa = np.max(np.linalg.eigvals(-np.kron(eye, h) - np.kron(h, eye) + limit * noise).real)
    # rounding
    assert abscissa == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("name", COUPLED)
def test_arnoldi_and_gmres_agree_with_dense(name, monkeypatch):
    landscape, options = COUPLED[name]
    sgd = dfp.SGD(landscape, 0.3, **options)
    dense = dfp.modes(sgd)
    expected = dense.spectral_radius, dense.largest_stable_learning_rate, dense.stationary_covariance
    monkeypatch.setattr(second_moment, "DENSE_SIZE", 0)
    if sgd.dimension * (sgd.dimension + 1) // 2 <= 3:
        pytest.skip("Arnoldi's method needs more than three unknowns")
    sparse = dfp.modes(sgd)
    # iterative solvers stop there
    assert sparse.spectral_radius == pytest.approx(expected[0], rel=1e-9)
    assert sparse.largest_stable_learning_rate == pytest.approx(expected[1], rel=1e-9)
    # iterated until it changes by less
    assert sparse.stationary_covariance == pytest.approx(expected[2], rel=1e-8)


def test_many_parameters():
    """d = 40: neither spectral radius nor covariance needs a matrix of d² × d² entries."""
    rng = np.random.default_rng(4)
    features = rng.standard_normal((400, 40)) * np.where(np.arange(40) == 0, 0.6, 1.0)  # one slow mode stands apart
    landscape = dfp.QuadraticLandscape.from_regression(features, features.sum(axis=1) + rng.standard_normal(400), 20)
    sgd = dfp.SGD(landscape, 0.1)
    report = dfp.modes(sgd)
    # The recursion (T14) about the critical point, by sums over the samples, until it stands still.
    hessian, eta, theta = sgd.hessian, 0.1, sgd.critical_point
    deviations = features * (features @ theta - landscape.law.targets)[:, None]
    constant = deviations.T @ deviations / (400 * 20)
    mean, covariance, change = np.eye(40) - eta * hessian, np.zeros((40, 40)), np.inf
    while change > 1e-12 * covariance.max():
        weights = np.sum((features @ covariance) * features, axis=1)
        noise = (features.T @ (features * weights[:, None]) / 400 - hessian @ covariance @ hessian) / 20
        moved = mean @ covariance @ mean.T + eta**2 * (noise + constant)
        change, covariance = np.abs(moved - covariance).max(), moved
    assert report.stationary_covariance == pytest.approx(covariance, rel=1e-8, abs=1e-9 * covariance.max())
    # From there on a change dies out by the spectral radius.
    shape = np.eye(40)
    for _ in range(300):
        weights = np.sum((features @ shape) * features, axis=1)
        noise = (features.T @ (features * weights[:, None]) / 400 - hessian @ shape @ hessian) / 20
        moved = mean @ shape @ mean.T + eta**2 * noise
        growth, shape = np.trace(moved) / np.trace(shape), moved / np.trace(moved)
    assert report.spectral_radius == pytest.approx(growth, rel=1e-6)


@pytest.mark.parametrize("name", COUPLED)
def test_stationary_covariance_and_the_diagonal_formula(name):
    landscape, options = COUPLED[name]
    sgd = dfp.SGD(landscape, 0.2, **options)
    report = dfp.modes(sgd)
    late = dfp.moments(dfp.MasterEquation(sgd), dfp.Point(np.zeros(sgd.dimension)), LATE, [LATE]).covariance[0]
    # rounding
    assert report.stationary_covariance == pytest.approx(late, rel=1e-9)
    axes = sgd.modes[1]
    alone = np.array([mode.stationary_variance for mode in report])
    error = alone / np.diag(axes.T @ late @ axes) - 1
    # iterated until it changes by less
    assert report.diagonal_error == pytest.approx(error, rel=1e-8)
    assert np.max(np.abs(error)) > 1e-3  # negative control: coupling matters


def test_uncoupled_modes_need_no_coupling():
    sgd = dfp.SGD(rotated(3, 10.0), 0.5)
    report = dfp.modes(sgd)
    assert not report.coupled
    assert report.lyapunov_error == 0
    # rounding
    assert np.max(np.abs(report.diagonal_error)) < 1e-12
    assert report.spectral_radius == max(mode.growth for mode in report)
    assert [mode.curvature for mode in report] == sorted(mode.curvature for mode in report)


def test_sampled_exponent_of_modes_known_exactly():
    """An uncoupled system, sampled as if coupled: the top exponent is that of its slowest mode."""
    noise = dfp.GaussianNoise([0.1, 0.1], [0.3, 0.1])
    report = dfp.modes(dfp.SGD(dfp.QuadraticLandscape([0.3, 1.0], 0, noise), 0.5))
    value, error = report.system.sampled_exponent(np.arange(2), 2000, 3)
    assert abs(value - report.lyapunov_exponent) < 4.5 * error
    # the estimate is of use
    assert error < 1e-3
    assert (value, error) == report.system.sampled_exponent(np.arange(2), 2000, 3)


def test_tails_of_samples_have_the_index():
    """Hill's estimator on the largest of 3 million samples of the stationary law, Γ = 3: κ = 1.6."""
    eta, gamma = 0.6, 3.0
    mode = mode_of(1.0, 0.2, gamma, eta=eta)
    rng, lanes, kept = np.random.default_rng(11), 150_000, []
    theta = np.zeros(lanes)
    for step in range(180):
        h = 1 + np.sqrt(gamma) * rng.standard_normal(lanes)
        theta = (1 - eta * h) * theta - eta * np.sqrt(0.2) * rng.standard_normal(lanes)
        # ℓ = −0.3: after 40 steps the start is forgotten to 1e-5, after 7 a sample is nearly new.
        if step >= 40 and step % 7 == 0:
            kept.append(np.abs(theta))
    sizes = np.sort(np.concatenate(kept))[::-1]
    used = 3000
    hill = 1 / np.mean(np.log(sizes[:used] / sizes[used]))
    # κ/√3000 = 1.8 %; clusters in time widen it, so twice that, at 4 deviations.
    assert abs(hill / mode.tail_index - 1) < 4 * 2 / np.sqrt(used)
    assert abs(hill / mode.langevin_tail_index - 1) > 4 * 2 / np.sqrt(used)  # Langevin's tail is another


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("curvature", [0.5, 2.0])
def test_momentum(curvature, nesterov):
    """(T19): ρ₂ by the 4 × 4 matrix of all products, V_∞ by the late moments, and the heavy ball's closed form."""
    eta, beta, noise, gamma = 0.3, 0.7, 0.2, 0.1
    sgd = dfp.SGD(one_mode(curvature, noise, gamma, 0.3), eta, momentum=beta, nesterov=nesterov)
    (mode,) = dfp.modes(sgd)
    p, q = (1 + beta, beta**2) if nesterov else (1.0, beta)
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    pair = np.zeros((4, 4))
    for z, w in zip(nodes, weights / weights.sum(), strict=True):
        h = curvature + np.sqrt(gamma) * z
        a = np.array([[1 - eta * p * h, -eta * q], [h, beta]])
        pair += w * np.kron(a, a)
    # rounding
    assert mode.growth == pytest.approx(np.max(np.abs(np.linalg.eigvals(pair))), rel=1e-12)
    late = dfp.moments(dfp.MasterEquation(sgd), dfp.Point(0.0), 2000, [2000]).covariance.item()
    assert mode.stationary_variance == pytest.approx(late, rel=1e-9)
    assert dfp.modes(sgd).stationary_covariance.item() == pytest.approx(late, rel=1e-9)
    assert mode.lyapunov_exponent < np.log(mode.growth) / 2 + 4.5 * mode.lyapunov_error  # Jensen
    limit = mode.largest_stable_learning_rate
    at_limit = dfp.modes(dfp.SGD(one_mode(curvature, noise, gamma), limit, momentum=beta, nesterov=nesterov))[0]
    assert at_limit.growth == pytest.approx(1, abs=1e-10)


def test_heavy_ball_closed_forms():
    """Additive noise: V_∞ = ηD(1+β)/(λ(1−β)(2(1+β)−ηλ)), stable for ηλ < 2(1+β); the mean swings for (1−√β)² < ηλ."""
    eta, beta, curvature, noise = 0.4, 0.6, 1.5, 0.2
    mode = mode_of(curvature, noise, eta=eta, momentum=beta)
    exact = eta * noise * (1 + beta) / (curvature * (1 - beta) * (2 * (1 + beta) - eta * curvature))
    # rounding
    assert mode.stationary_variance == pytest.approx(exact, rel=1e-12)
    assert mode.largest_stable_learning_rate == pytest.approx(2 * (1 + beta) / curvature, rel=1e-9)
    assert mode.lyapunov_exponent == pytest.approx(np.log(beta) / 2, rel=1e-12)
    assert mode.oscillates
    assert not mode.overshoots
    assert not mode_of(curvature, noise, eta=0.9 * (1 - np.sqrt(beta)) ** 2 / curvature, momentum=beta).oscillates
    flat = mode_of(0.0, noise, eta=eta, momentum=beta)
    assert flat.regime == "diffusive"
    # the transient of 1/(1 − β) steps, of a million
    assert flat.variance(10**6) / (2 * flat.diffusion_coefficient * eta * 10**6) == pytest.approx(1, rel=1e-4)


def test_horizon_turns_slow_modes_diffusive():
    sgd = dfp.SGD(one_mode(1e-4, 0.2), 0.1)
    assert dfp.modes(sgd)[0].regime == "confined"
    assert dfp.modes(sgd, horizon=1000)[0].regime == "diffusive"
    assert dfp.modes(sgd, horizon=10**6)[0].regime == "confined"


def test_embedding_in_continuous_time():
    """(T17): ηλ < 1, and Q ⪰ 0: true if HC = CH, false for rank-one C off H's axes."""
    good = dfp.modes(dfp.SGD(rotated(2, 10.0), 0.5))
    assert good.embeddable is True
    assert all(mode.embeddable for mode in good)
    assert dfp.modes(dfp.SGD(rotated(2, 10.0), 1.2)).embeddable is False
    one_sided = dfp.QuadraticLandscape([0.3, 1.0], 0, dfp.GaussianNoise(np.ones((2, 2))))
    assert dfp.modes(dfp.SGD(one_sided, 0.5)).embeddable is False
    double = dfp.QuadraticLandscape([1.0, 1.0], 0, dfp.GaussianNoise(np.eye(2)))
    assert dfp.modes(dfp.SGD(double, 1.5)).embeddable is None
    assert "rotates" in dfp.modes(dfp.SGD(double, 1.5)).embedding
    assert mode_of(1.0, 0.2, 0.3).embeddable is None
    minibatches = dfp.QuadraticLandscape.from_samples([[[1.0]]] * 3, [[0.0], [1.0], [5.0]])  # additive, not Gaussian
    skewed = dfp.modes(dfp.SGD(minibatches, 0.5))
    assert skewed.embeddable is skewed[0].embeddable is None
    assert mode_of(2.0, 0.2, 0.3).embeddable is False


def test_embedding_matches_the_exact_candidate():
    """The verdict flips where the Q of (T17), from the stationary covariance, turns indefinite."""
    h, eta = np.diag([0.3, 1.0]), 0.8
    verdicts = []
    for correlation in (0.8, 0.9, 0.95, 0.99):
        c = np.array([[1.0, correlation], [correlation, 1.0]])
        sgd = dfp.SGD(dfp.QuadraticLandscape(h, 0, dfp.GaussianNoise(c)), eta)
        covariance = dfp.stationary_moments(dfp.MasterEquation(sgd)).covariance
        k = np.diag(-np.log(1 - eta * np.diag(h)))
        assert np.allclose(expm(-k), np.eye(2) - eta * h)
        q = k @ covariance + covariance @ k
        verdicts.append(dfp.modes(sgd).embeddable)
        assert verdicts[-1] == (np.linalg.eigvalsh(q)[0] >= 0)
    assert set(verdicts) == {True, False}


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_a_step_of_a_schedule_is_that_of_constant_sgd(momentum):
    sizes = dfp.StepSchedule(2, every=3, factor=2)
    scheduled = dfp.SGD(regression(2), lambda n: 0.3 / (1 + n), momentum, 0.01, batch_size=sizes)
    constant = dfp.SGD(regression(2), 0.06, momentum, 0.01, batch_size=4)
    found = dfp.modes(scheduled, step=4, horizon=50, lyapunov_steps=100)
    wanted = dfp.modes(constant, horizon=50, lyapunov_steps=100)
    assert found.to_dataframe().equals(wanted.to_dataframe())
    assert found.spectral_radius == wanted.spectral_radius
    np.testing.assert_array_equal(found.stationary_covariance, wanted.stationary_covariance)
    assert "the learning rate 0.06 and batch size 4 of step 4, kept at every step" in str(found)
    assert "kept" not in str(wanted)
    assert dfp.modes(scheduled, step=0).spectral_radius != wanted.spectral_radius
    assert str(dfp.modes(constant, step=7, horizon=50, lyapunov_steps=100)) == str(wanted)


def test_what_has_no_regime_is_refused():
    with pytest.raises(dfp.UnsupportedError, match=r"is a schedule.*give step=n"):
        dfp.modes(dfp.SGD(one_mode(), lambda n: 0.1 / (1 + n)))
    with pytest.raises(dfp.DFPError, match="step=1: the learning rate is zero"):
        dfp.modes(dfp.SGD(one_mode(), [0.1, 0.0]), step=1)
    with pytest.raises(dfp.DFPError, match="step 2 needs another"):
        dfp.modes(dfp.SGD(one_mode(), [0.1, 0.0]), step=2)
    for step in (-1, 1.5):
        with pytest.raises(dfp.DFPError, match="step="):
            dfp.modes(dfp.SGD(one_mode(), 0.1), step=step)
    with pytest.raises(dfp.UnsupportedError, match=r"too many for 30 samples.*dfp\.MonteCarlo"):
        dfp.modes(dfp.SGD(regression(1, 3), 0.1, replace=False))
    with pytest.raises(dfp.UnsupportedError, match=r"momentum=0\.5 and noise that depends on θ"):
        dfp.modes(dfp.SGD(samples(1, 3), 0.1, 0.5, replace=False))
    with pytest.raises(dfp.DFPError, match=r"must be a dfp\.SGD"):
        dfp.modes(one_mode())
    with pytest.raises(dfp.DFPError, match="horizon"):
        dfp.modes(dfp.SGD(one_mode(), 0.1), horizon=0)


def test_table_and_data_frame(monkeypatch):
    report = dfp.modes(dfp.SGD(table(2), 0.1))
    printed = str(report)
    assert "coupled by curvature noise" in printed
    assert "diagonal formula" in printed
    assert printed.count("confined") == 3
    frame = report.to_dataframe()
    assert frame.shape[0] == 2
    assert frame["stationary_variance"].tolist() == [mode.stationary_variance for mode in report]
    many = str(dfp.modes(dfp.SGD(dfp.QuadraticLandscape(np.linspace(0.1, 1, 100), 0, dfp.GaussianNoise(0.1)), 0.1)))
    assert "70 more; of all: 100 confined" in many
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(dfp.DFPError, match=r"pip install 'dfp\[pandas\]'"):
        report.to_dataframe()


def test_figure_has_both_panels():
    noise = dfp.GaussianNoise([0.1, 0.1, 0.1, 0.2], [0.0, 0.0, 0.05, 0.2])
    figure = dfp.modes(dfp.SGD(dfp.QuadraticLandscape([-0.2, 0.0, 0.0, 1.0], 0, noise), 0.5)).plot(200)
    left, right = figure.axes
    assert {text.get_text() for text in left.get_legend().get_texts()} == {
        "unstable", "diffusive", "heavy-tailed", "confined"
    }  # fmt: skip
    assert len(right.get_legend().get_texts()) == 4
    growing = [line for line in right.lines if len(line.get_ydata()) > 1 and line.get_ydata()[-1] > 1e10]
    assert len(growing) == 1


def test_degenerate_and_tiny_problems():
    """No noise at all, one sample, and a Hessian that is singular but for rounding."""
    (mode,) = dfp.modes(dfp.SGD(one_mode(1.0, 0.0), 0.5))
    assert (mode.regime, mode.stationary_variance) == ("confined", 0.0)
    (single,) = dfp.modes(dfp.SGD(dfp.QuadraticLandscape.from_regression([[1.0]], [2.0], 5), 0.5))
    assert (single.curvature_noise, single.tail_index, single.regime) == (0.0, np.inf, "confined")
    shared = np.outer([0.6, 0.8], [0.6, 0.8]) / 3
    gradients = np.random.default_rng(6).standard_normal((9, 2))
    common = dfp.modes(dfp.SGD(dfp.QuadraticLandscape.from_samples([shared] * 9, gradients), 0.5))
    assert [mode.curvature_noise for mode in common] == [0.0, 0.0]
    assert common[0].regime == "diffusive"
    direction = np.array([0.6, 0.8])
    flat, _ = dfp.modes(dfp.SGD(dfp.QuadraticLandscape(np.outer(direction, direction), 0, dfp.GaussianNoise(0.1)), 0.5))
    assert (flat.curvature, flat.regime) == (0.0, "diffusive")


def test_the_largest_learning_rate_needs_no_sgd():
    """That of the report at any learning rate; where second moments grow by a factor of one a step."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((40, 2)) @ [[1.0, 0.5], [0.0, 0.3]]
    data = dfp.QuadraticLandscape.from_regression(x, x.sum(axis=1) + rng.standard_normal(40), batch_size=4)
    edge = dfp.largest_learning_rate(data)
    assert edge == dfp.modes(dfp.SGD(data, 0.01)).largest_stable_learning_rate
    # ρ crosses one there, to what rounding leaves of an iteration for an eigenvalue
    below, above = (dfp.modes(dfp.SGD(data, edge * factor)).spectral_radius for factor in (1 - 1e-6, 1 + 1e-6))
    assert below < 1 < above
    noise = dfp.GaussianNoise([0.2], [0.5])
    assert dfp.largest_learning_rate(dfp.QuadraticLandscape([1.0], noise=noise)) == pytest.approx(2 / 1.5, rel=1e-12)
    assert dfp.largest_learning_rate(data, 8) > edge
    with pytest.raises(dfp.DFPError, match="expanded"):
        dfp.largest_learning_rate(dfp.Landscape(lambda t: t**3 - t, 0.5))


def test_the_report_says_along_what_a_mode_is():
    """Largest components first, small ones left out; nothing is said where modes are the parameters in order."""
    noise = dfp.GaussianNoise(0.2)
    report = str(dfp.modes(dfp.SGD(dfp.QuadraticLandscape([[1.0, 0.6], [0.6, 1.5]], noise=noise), 0.1)))
    # tan 2φ = 2 · 0.6 / (1.5 − 1)
    assert "0.83 θ₁ − 0.55 θ₂" in report and "0.83 θ₂ + 0.55 θ₁" in report
    assert "θ" not in str(dfp.modes(dfp.SGD(dfp.QuadraticLandscape([1.0, 1.5], noise=noise), 0.1)))
    many = np.eye(12) + 0.5
    assert "…" in str(dfp.modes(dfp.SGD(dfp.QuadraticLandscape(many, noise=noise), 0.1)))
