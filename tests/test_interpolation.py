"""Interpolation: where all minibatches share a minimum the law collapses onto it: no width, tail or density is left."""

import numpy as np
import pytest

import dfp

SPREAD = np.array([0.2, 0.3, 0.5, 7.7])


def common(minimum=0.7, eta=0.3, curvatures=SPREAD):
    samples = dfp.QuadraticLandscape.from_samples(curvatures[:, None, None], -minimum * curvatures[:, None])
    return dfp.SGD(samples, eta)


def regression(residual=0.0, count=20, d=3, eta=0.1, batch_size=2):
    rng = np.random.default_rng(4)
    features, weights = rng.standard_normal((count, d)), rng.standard_normal(d)
    targets = features @ weights + residual * rng.standard_normal(count)
    return dfp.SGD(dfp.QuadraticLandscape.from_regression(features, targets, batch_size), eta)


@pytest.mark.parametrize(
    ("sgd", "mean_square"),
    [
        (common(), False),
        (common(eta=0.1), True),
        (common(curvatures=np.array([1.0, -1.0])), False),  # a flat mode: any point is critical, one is common
        (dfp.SGD(dfp.QuadraticLandscape([1.0], 0, dfp.GaussianNoise([0], [8])), 0.3), False),
        (dfp.SGD(dfp.QuadraticLandscape([1.0], 0, dfp.GaussianNoise([0], [8])), 0.1), True),
        (dfp.SGD(dfp.QuadraticLandscape([0.0], 0, dfp.GaussianNoise([0], [8])), 0.3), False),
        (dfp.SGD(dfp.QuadraticLandscape([1.0], 0, dfp.GaussianNoise([0], [1])), 0.1, momentum=0.5), True),
        (dfp.SGD(common(eta=0.1).landscape, 0.1, replace=False, batch_size=2), True),
        (regression(), True),
        (regression(d=30, eta=0.01), True),  # more parameters than samples: what does not move keeps its place
    ],
)
def test_a_common_minimum_is_a_regime_of_its_own(sgd, mean_square):
    report = dfp.modes(sgd)
    moving = [mode for mode in report if mode.curvature_noise > 0]
    assert moving
    for mode in moving:
        assert mode.regime == mode.langevin_regime == "interpolating"
        assert mode.stationary_variance == mode.langevin_stationary_variance == 0
        assert np.isnan(mode.tail_index) and np.isnan(mode.langevin_tail_index)
        assert (mode.growth < 1) == mean_square
    assert report.regime == "interpolating"
    assert ("collapses in mean square" if mean_square else "not in mean square") in str(report)
    assert "every minibatch has the same minimum" in str(report)


def test_the_law_collapses_though_its_variance_grows():
    """ρ₂ > 1 > e^ℓ: the 99.9 % quantile of |θ − 0.7| falls as long as one looks, and a second moment grows."""
    (mode,) = dfp.modes(common())
    rng, theta = np.random.default_rng(1), np.full(20_000, 1.7)
    sizes = []
    for step in range(1, 3001):
        h = SPREAD[rng.integers(0, 4, theta.size)]
        theta = 0.7 + (1 - 0.3 * h) * (theta - 0.7)
        if step % 1000 == 0:
            sizes.append(np.quantile(np.abs(theta - 0.7), 0.999))
    assert mode.growth > 1.03 and mode.lyapunov_exponent < -0.01
    assert sizes[2] < 1e-2 and sizes[0] > sizes[1] > sizes[2]
    moments = dfp.moments(dfp.MasterEquation(common()), dfp.Point(1.7), 300, [300])
    assert moments.covariance.item() > 1e3


def test_noise_that_is_left_is_no_interpolation():
    """The control: the smallest residual that is not rounding makes another regime, and is named."""
    for residual in (1e-7, 1e-4):
        report = dfp.modes(regression(residual))
        assert report.regime == "confined"
        assert all(mode.regime == "confined" and mode.near_interpolation for mode in report)
        assert "nearly interpolates" in str(report)
        # V ~ residual²: of a regression with unit features, within the couplings of modes.
        variances = np.array([mode.stationary_variance for mode in report])
        assert np.all((0.01 * residual**2 < variances) & (variances < residual**2))
    wide = dfp.modes(regression(0.3))
    assert not any(mode.near_interpolation for mode in wide)
    (tailed,) = dfp.modes(dfp.SGD(dfp.QuadraticLandscape([1.0], 0, dfp.GaussianNoise([1e-20], [8])), 0.3))
    assert (tailed.regime, tailed.stationary_variance) == ("heavy-tailed", np.inf)
    assert 0 < tailed.tail_index < 2


def test_a_silent_mode_that_others_drive_does_not_collapse():
    """Mode 0 has no gradient noise of its own, and mode 1 shakes it through the couplings, unless it is silent too."""
    table = [[0.2, 0.1], [0.1, 0.2]]
    for noise, regimes in (([0.0, 0.3], ["confined", "confined"]), ([0.0, 0.0], ["interpolating"] * 2)):
        sgd = dfp.SGD(dfp.QuadraticLandscape([1.0, 0.5], 0, dfp.GaussianNoise(noise, table)), 0.2)
        report = dfp.modes(sgd)
        assert [mode.regime for mode in report] == regimes
        assert (report.stationary_covariance[0, 0] > 0) == (regimes[0] == "confined")
    apart = dfp.modes(
        dfp.SGD(dfp.QuadraticLandscape([1.0, 0.5], 0, dfp.GaussianNoise([0.0, 0.3], np.diag([0.2, 0.2]))), 0.2)
    )
    assert [mode.regime for mode in apart] == ["confined", "interpolating"]
    assert apart.regime == "confined"


@pytest.mark.parametrize("sgd", [common(), common(eta=0.1), regression(), regression(d=2)])
def test_no_stationary_density(sgd):
    with pytest.raises(dfp.NoStationaryDensity, match="same minimum"):
        dfp.stationary(dfp.MasterEquation(sgd))
    with pytest.raises(dfp.NoStationaryDensity):
        dfp.stationary(dfp.Langevin(sgd))


def test_gaussian_noise_without_gradient_noise_has_no_density():
    sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], 0, dfp.GaussianNoise([0], [8])), 0.3)
    for equation in (dfp.MasterEquation(sgd), dfp.DiscreteFokkerPlanck(sgd), dfp.Langevin(sgd)):
        with pytest.raises(dfp.NoStationaryDensity):
            dfp.stationary(equation)


def test_a_phase_diagram_without_gradient_noise():
    rates, spread = np.linspace(0.1, 1.5, 8), np.array([0.0, 1.0, 8.0])
    silent = dfp.phase_diagram({"learning_rate": rates}, {"curvature_noise": spread}, curvature=1.0, gradient_noise=0.0)
    noisy = dfp.phase_diagram({"learning_rate": rates}, {"curvature_noise": spread}, curvature=1.0, gradient_noise=0.1)
    settled = np.isin(noisy.regime, ["confined", "heavy-tailed"])
    assert np.all(silent.regime[:, 1:][settled[:, 1:]] == "interpolating")
    assert np.all(silent.regime[:, 1:][~settled[:, 1:]] == noisy.regime[:, 1:][~settled[:, 1:]])
    assert np.all(silent.regime[:, 0] == "confined")
    assert "interpolating" in {patch.get_label() for patch in silent.plot().axes[0].get_legend().get_patches()}
