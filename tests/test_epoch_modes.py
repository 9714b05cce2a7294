"""Modes of epochs without replacement meet the enumeration of all shuffles, exact moments, and samples."""

from itertools import permutations

import numpy as np
import pytest
from scipy.optimize import brentq

import dfp

# Sums of a few thousand products of a few numbers: rounding stays far below.
EXACT = {"rtol": 1e-10, "atol": 1e-12}


def few(n, b, d=1, spread=0.8):
    """A finite sum of n losses with Hessians about the identity that differ by ``spread``."""
    rng = np.random.default_rng(4)
    square = rng.standard_normal((n, d, d))
    hessians = np.eye(d) + spread * (square + square.transpose(0, 2, 1)) / 2
    return dfp.QuadraticLandscape.from_samples(hessians, rng.standard_normal((n, d)), b)


def every_epoch(sgd):
    """Return Π (M, d, d) and c (M, d) of the epoch of every shuffle, from the definition."""
    law = sgd.law
    hessians, gradients, b = law.hessians + sgd.weight_decay * np.eye(sgd.dimension), law.gradients, law.batch_size
    products, shifts = [], []
    for order in permutations(range(len(gradients))):
        product, shift = np.eye(sgd.dimension), np.zeros(sgd.dimension)
        for k in range(len(gradients) // b):
            chosen = list(order[k * b : (k + 1) * b])
            factor = np.eye(sgd.dimension) - sgd.learning_rate * hessians[chosen].mean(axis=0)
            product, shift = factor @ product, factor @ shift - sgd.learning_rate * gradients[chosen].mean(axis=0)
        products.append(product)
        shifts.append(shift)
    return np.array(products), np.array(shifts)


def settled(products, shifts, epochs=3000):
    """Return the covariance after many epochs, by iterating mean and second moment."""
    mean, second = np.zeros(shifts.shape[1]), np.zeros((shifts.shape[1],) * 2)
    turned = np.swapaxes(products, 1, 2)
    for _ in range(epochs):
        crossed = (products @ mean)[:, :, None] * shifts[:, None]
        outer = shifts[:, :, None] * shifts[:, None]
        second = (products @ second @ turned + crossed + np.swapaxes(crossed, 1, 2) + outer).mean(axis=0)
        mean = (products @ mean + shifts).mean(axis=0)
    return second - np.outer(mean, mean)


@pytest.mark.parametrize(("n", "b", "eta", "decay"), [(4, 1, 0.5, 0.0), (4, 2, 0.5, 0.1), (5, 2, 0.7, 0.0)])
def test_one_mode_meets_all_shuffles(n, b, eta, decay):
    sgd = dfp.SGD(few(n, b), eta, weight_decay=decay, replace=False)
    products, shifts = every_epoch(sgd)
    k, flat = n // b, products[:, 0, 0]
    report = dfp.modes(sgd)
    (mode,) = report
    np.testing.assert_allclose(mode.growth, np.mean(flat**2) ** (1 / k), **EXACT)
    np.testing.assert_allclose(mode.lyapunov_exponent, np.mean(np.log(np.abs(flat))) / k, **EXACT)
    wanted = settled(products, shifts)
    np.testing.assert_allclose(mode.stationary_variance, wanted.item(), **EXACT)
    np.testing.assert_allclose(report.stationary_covariance, wanted, **EXACT)
    assert (mode.regime, report.regime, mode.tail_index) == ("confined", "confined", np.inf)
    if b == 1:
        np.testing.assert_allclose(mode.growth**k, flat[0] ** 2, **EXACT)
    redrawn = dfp.modes(sgd.redrawn)[0]  # with replacement it is another chain
    assert abs(redrawn.growth / mode.growth - 1) > 1e-3
    if b == 1:  # a single sample is drawn alike
        np.testing.assert_allclose(redrawn.lyapunov_exponent, mode.lyapunov_exponent, **EXACT)
    else:
        assert abs(redrawn.lyapunov_exponent / mode.lyapunov_exponent - 1) > 1e-3
    assert abs(redrawn.stationary_variance / mode.stationary_variance - 1) > 1e-2


def test_tail_index_meets_all_shuffles():
    sgd = dfp.SGD(few(6, 2, spread=3.0), 0.7, replace=False)
    products = every_epoch(sgd)[0][:, 0, 0]
    (mode,) = dfp.modes(sgd)
    assert np.max(np.abs(products)) > 1 > np.exp(np.mean(np.log(np.abs(products))))
    wanted = brentq(lambda order: np.log(np.mean(np.abs(products) ** order)), 0.05, 50.0, xtol=1e-14)
    np.testing.assert_allclose(mode.tail_index, wanted, rtol=1e-9)  # a root, less well determined than a mean
    assert mode.regime == ("heavy-tailed" if np.mean(products**2) >= 1 else "confined")
    assert abs(dfp.modes(sgd.redrawn)[0].tail_index / wanted - 1) > 1e-2


def test_largest_stable_learning_rate_is_where_all_shuffles_lose_stability():
    for b in (1, 2):
        limit = dfp.modes(dfp.SGD(few(4, b), 0.5, replace=False)).largest_stable_learning_rate
        radii = [np.mean(every_epoch(dfp.SGD(few(4, b), limit * x, replace=False))[0] ** 2) for x in (0.999, 1, 1.001)]
        assert radii[0] < 1 < radii[2]
        # rounding
        np.testing.assert_allclose(radii[1], 1.0, rtol=1e-10)
        for x in np.linspace(0.02, 0.98, 25):
            assert dfp.modes(dfp.SGD(few(4, b), limit * x, replace=False)).spectral_radius < 1
        assert not np.isfinite(dfp.modes(dfp.SGD(few(4, b), 1.01 * limit, replace=False))[0].stationary_variance)


@pytest.mark.parametrize("n", [4, 5])
def test_coupled_modes_meet_all_shuffles(n):
    sgd = dfp.SGD(few(n, 2, d=2, spread=0.5), 0.5, replace=False)
    products, shifts = every_epoch(sgd)
    report = dfp.modes(sgd, lyapunov_steps=1000)
    assert report.coupled
    squares = np.mean([np.kron(x, x) for x in products], axis=0)
    radius = np.max(np.abs(np.linalg.eigvals(squares))) ** (1 / (n // 2))
    np.testing.assert_allclose(report.spectral_radius, radius, **EXACT)
    np.testing.assert_allclose(report.stationary_covariance, settled(products, shifts), **EXACT)
    assert report.regime == "confined"
    assert np.isnan(report.largest_stable_learning_rate)
    assert "at learning rates not known" in str(report)
    assert abs(dfp.modes(sgd.redrawn).spectral_radius / radius - 1) > 1e-2
    # The exponent lies below half the logarithm of ρ by Jensen, and above that of the mean determinant.
    lowest = np.mean(np.log(np.abs(np.linalg.det(products)))) / (2 * (n // 2))
    assert lowest - 5 * report.lyapunov_error < report.lyapunov_exponent < np.log(radius) / 2


def test_sampled_exponent_of_one_mode_is_the_exact_one():
    report = dfp.modes(dfp.SGD(few(5, 2, spread=2.0), 0.7, replace=False))
    value, error = report.system.sampled_exponent(np.arange(1), 4000, 1)
    # z = 5: false alarm 6e-7.
    assert 0 < error < 0.01
    assert abs(value - report.lyapunov_exponent) < 5 * error


def additive(curvatures, n=10, b=3):
    rng = np.random.default_rng(5)
    axes = np.linalg.qr(rng.standard_normal((len(curvatures),) * 2))[0]
    hessian = axes @ np.diag(curvatures) @ axes.T
    gradients = rng.standard_normal((n, len(curvatures)))
    if 0.0 in curvatures:
        gradients -= gradients.mean(axis=0)
    return dfp.QuadraticLandscape.from_samples(np.tile((hessian + hessian.T) / 2, (n, 1, 1)), gradients, b)


@pytest.mark.parametrize("momentum", [0.0, 0.6])
@pytest.mark.parametrize("b", [3, 5])
def test_additive_noise_meets_the_moments_of_many_epochs(momentum, b):
    sgd = dfp.SGD(additive([0.3, 1.5], b=b), 0.5, momentum, replace=False)
    report, late = dfp.modes(sgd), 400 * sgd.epoch
    at = dfp.moments(dfp.MasterEquation(sgd), dfp.Point([0.3, -1.0]), late, [late]).covariance[0]
    np.testing.assert_allclose(report.stationary_covariance, at, **EXACT)
    along = np.diag(sgd.modes[1].T @ at @ sgd.modes[1])
    np.testing.assert_allclose([mode.stationary_variance for mode in report], along, **EXACT)
    redrawn = dfp.modes(sgd.redrawn)
    assert report.regime == "confined"
    for mode, other in zip(report, redrawn, strict=True):
        assert mode.growth == other.growth  # nothing but the noise differs
        assert mode.tail_index == np.inf
        assert mode.stationary_variance < 0.9 * other.stationary_variance


def test_regimes_of_additive_noise():
    regimes = {}
    for b in (3, 5):
        sgd = dfp.SGD(additive([-0.2, 0.0, 1.0, 6.0], b=b), 0.5, replace=False)
        report = dfp.modes(sgd)
        regimes[b] = [mode.regime for mode in report]
        flat = report[1]
        grown = flat.variance(40 * sgd.epoch) - flat.variance(10 * sgd.epoch)
        # rounding
        np.testing.assert_allclose(grown, 2 * flat.diffusion_coefficient * 0.5 * 30 * sgd.epoch, rtol=1e-10, atol=1e-13)
        assert flat.variance(1) > 0
        assert "undecided: steps of an epoch" in str(report)
    # A flat mode diffuses only by the samples that an epoch leaves out.
    assert regimes == {3: ["unstable", "diffusive", "confined", "unstable"],
                       5: ["unstable", "frozen", "confined", "unstable"]}  # fmt: skip


@pytest.mark.parametrize("landscape", [few(6, 2), additive([0.3, 1.5])], ids=["random", "additive"])
def test_variance_of_a_step_is_that_of_the_moments(landscape):
    sgd = dfp.SGD(landscape, 0.5, replace=False)
    steps = [0, 1, 2, 3, 7, 30]
    start = dfp.Gaussian(sgd.critical_point, 0.3 * np.eye(sgd.dimension))
    at = dfp.moments(dfp.MasterEquation(sgd), start, 30, steps).covariance
    for i, mode in enumerate(dfp.modes(sgd)):
        v = mode.direction
        np.testing.assert_allclose([mode.variance(n, 0.3) for n in steps], v @ at @ v, **EXACT, err_msg=str(i))


def test_samples_have_the_stationary_variance():
    sgd = dfp.SGD(few(8, 2), 0.5, replace=False)
    (mode,) = dfp.modes(sgd)
    steps = 40 * sgd.epoch  # growth ** steps is below 1e-10: settled
    assert mode.growth**steps < 1e-10
    found = dfp.solve(dfp.MasterEquation(sgd), dfp.Point([0.0]), steps, [steps], dfp.MonteCarlo(100_000, seed=2))
    error = found.errors["covariance"].item()
    # z = 5: false alarm 6e-7.
    assert abs(found.covariance.item() - mode.stationary_variance) < 5 * error
    assert abs(found.covariance.item() - dfp.modes(sgd.redrawn)[0].stationary_variance) > 10 * error


def test_what_is_not_known_is_said():
    (mode,) = report = dfp.modes(dfp.SGD(few(16, 2, spread=3.0), 0.3, replace=False))
    assert mode.lyapunov_exponent < 0
    assert np.isnan(mode.tail_index)
    assert np.isnan(mode.largest_stable_learning_rate)
    assert "tail index         not known: 16 samples can be cut into minibatches in 2027025 ways" in str(report)


def test_curvatures_that_cancel_over_an_epoch_confine():
    hessians = np.array([1.0, -1.0, 0.5, -0.5])[:, None, None]
    landscape = dfp.QuadraticLandscape.from_samples(hessians, np.arange(1.0, 5.0)[:, None], 2)
    sgd = dfp.SGD(landscape, 0.3, replace=False)
    (mode,) = dfp.modes(sgd)
    products, shifts = every_epoch(sgd)
    assert mode.curvature == 0
    assert (mode.regime, dfp.modes(sgd.redrawn).regime) == ("confined", "heavy-tailed")
    np.testing.assert_allclose(mode.stationary_variance, settled(products, shifts).item(), **EXACT)
    np.testing.assert_allclose(mode.growth, np.mean(products**2) ** 0.5, **EXACT)
    assert np.isnan(mode.largest_stable_learning_rate)


def test_one_sample():
    sgd = dfp.SGD(dfp.QuadraticLandscape.from_samples(np.ones((1, 1, 1)), np.ones((1, 1)), 1), 0.1, replace=False)
    (mode,) = dfp.modes(sgd)
    assert (mode.regime, mode.stationary_variance, mode.variance(7)) == ("confined", 0.0, 0.0)


def test_table_and_figure_and_step():
    scheduled = dfp.SGD(few(4, 2), lambda n: 0.5 / (1 + n), replace=False)
    report = dfp.modes(scheduled, step=1)
    assert report[0].growth == dfp.modes(dfp.SGD(few(4, 2), 0.25, replace=False))[0].growth
    printed = str(report)
    assert "epochs             of 2 steps, without replacement" in printed
    assert "of step 1, kept at every step" in printed
    curve = report.plot(100).axes[1].lines[0].get_xdata()
    assert np.all(np.asarray(curve) % 2 == 0)
    assert report.to_dataframe()["stationary_variance"].tolist() == [report[0].stationary_variance]


def test_an_epoch_of_one_step():
    sgd = dfp.SGD(few(4, 4), 0.5, replace=False)
    (mode,) = dfp.modes(sgd)
    # rounding
    np.testing.assert_allclose(mode.growth, (1 - 0.5 * mode.curvature) ** 2, rtol=1e-13)
    np.testing.assert_allclose(mode.stationary_variance, 0.0, atol=1e-30)
    assert mode.regime == "confined"
