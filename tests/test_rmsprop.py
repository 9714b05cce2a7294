"""RMSProp in one parameter: its stationary law against samples, limits, units, and what it refuses."""

import numpy as np
import pytest

import dfp

ETA, DECAY = 0.05, 0.9
# A z-score beyond 4.5 has a chance of 7e-6.
SIGMAS = 4.5


def bowl(curvature=1.0, gradient_noise=1.0, curvature_noise=0.0, gradient=0.0, at=None):
    noise = dfp.GaussianNoise([gradient_noise], [curvature_noise], at=at)
    return dfp.QuadraticLandscape([curvature], gradient, noise)


def sampled(order, decay=DECAY, eta=ETA, gamma=0.0, chains=4000, steps=1500, seed=2):
    """Mean and standard error of θ² and of v over chains that have settled, with either order of updates."""
    rng = np.random.default_rng(seed)
    theta, v = np.zeros(chains), np.ones(chains)
    sums = np.zeros((2, chains))
    for n in range(steps + 300):
        g = theta + np.sqrt(1 + gamma * theta**2) * rng.standard_normal(chains)
        after = decay * v + (1 - decay) * g**2
        theta = theta - eta * g / np.sqrt(after if order == "v first" else v)
        v = after
        if n >= 300:
            sums += theta**2, v
    values = sums / steps
    return values.mean(axis=1), values.std(axis=1) / np.sqrt(chains)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_the_law_is_that_of_samples(gamma):
    law = dfp.RMSProp(bowl(curvature_noise=gamma), ETA, DECAY).stationary()
    mean, error = sampled("v first", gamma=gamma)
    assert np.all(np.abs(mean - [law.variance, law.mean_v]) < SIGMAS * error)
    # Negative controls: the other order of updates, and a frozen v where it matters.
    other = sampled("θ first", gamma=gamma)[0][0]
    assert abs(other - law.variance) > SIGMAS * error[0]
    if not gamma:
        assert abs(law.frozen_variance - mean[0]) > SIGMAS * error[0]


def test_the_known_number_is_met_by_two_grids():
    law = dfp.RMSProp(bowl(), ETA, DECAY).stationary()
    # Known from an independent grid to 1e-9; two grids of one's own agree to 1e-8, relatively.
    assert law.variance == pytest.approx(0.0245743843, abs=2e-9)
    assert law.error <= 1e-8
    assert law.frozen_error == pytest.approx(0.030, abs=5e-4)  # 3.0 % high, as printed
    assert law.density.covariance.item() == pytest.approx(law.variance, rel=1e-8)  # the same masses
    # Exactly: E v = E g² = D + λ² Var θ in the stationary state.
    assert law.mean_v == pytest.approx(1 + law.variance, rel=1e-8)


def test_a_long_memory_freezes_v():
    errors = [dfp.RMSProp(bowl(), ETA, decay).stationary().frozen_error for decay in (0.9, 0.99, 0.999)]
    assert errors[0] > 5 * errors[1] > 25 * errors[2] > 0  # ∝ Var v ∝ 1 − β


def test_units_and_place_do_not_matter():
    here = dfp.RMSProp(bowl(), ETA, DECAY).stationary()
    scale = 1e3
    there = bowl(2.0 / scale**2, 4.0 / scale**2, gradient=-2.0 / scale**2 * 5.0)
    # θ in other units and D, λ larger: η in units of √D/λ is the same.
    law = dfp.RMSProp(there, ETA * scale, DECAY).stationary()
    assert law.variance == pytest.approx(here.variance * scale**2, rel=1e-9)  # rounding
    assert law.density.mean.item() == pytest.approx(5.0, abs=1e-9 * scale)
    floor = dfp.RMSProp(bowl(), ETA, DECAY, epsilon=1e3).stationary()
    # A large ε takes over: SGD with the rate η/ε, up to (√v)/ε = 1e-3.
    assert floor.variance == pytest.approx(ETA / 1e3 / 2, rel=2e-3)


def test_what_has_no_law_or_is_not_exact_is_refused():
    with pytest.raises(dfp.NoStationaryDensity, match="curvature"):
        dfp.RMSProp(bowl(-1.0), ETA).stationary()
    with pytest.raises(dfp.NoStationaryDensity, match="noise"):
        dfp.RMSProp(bowl(gradient_noise=0.0), ETA).stationary()
    with pytest.raises(dfp.UnsupportedError, match="one"):
        dfp.RMSProp(bowl(curvature_noise=1.0, gradient=1.0), ETA).stationary()
    assert dfp.RMSProp(bowl(curvature_noise=1.0, gradient=-1.0, at=[1.0]), ETA).stationary().variance > 0
    with pytest.raises(dfp.UnsupportedError, match="2 parameters"):
        dfp.RMSProp(dfp.QuadraticLandscape([1.0, 1.0], 0.0, dfp.GaussianNoise([1.0, 1.0])), ETA)
    with pytest.raises(dfp.UnsupportedError, match="Gaussian"):
        dfp.RMSProp(dfp.QuadraticLandscape([1.0], 0.0, dfp.StudentNoise([1.0], degrees_of_freedom=5)), ETA)
    with pytest.raises(dfp.UnresolvedError, match="decay"):
        dfp.RMSProp(bowl(), ETA, decay=0.3).stationary()
    for wrong in ({"learning_rate": -1.0}, {"learning_rate": ETA, "decay": 1.0}, {"learning_rate": ETA, "epsilon": -1}):
        with pytest.raises(dfp.DFPError, match=next(reversed(wrong))):
            dfp.RMSProp(bowl(), **wrong)
