"""Optimal schedules of streaming least squares (T21): differences, dynamic programming, and simple schedules."""

import numpy as np
import pytest
from dfp_solvers import schedule_adjoint

import dfp

CURVATURES = 1.0 / np.arange(1, 31) ** 1.5


def final(landscape, rates, start=1.0, batches=None):
    curve = dfp.risk_curve(dfp.SGD(landscape, rates, batch_size=batches), start, len(rates), save=[len(rates)])
    return curve.excess_risk[0]


def test_the_adjoint_is_the_gradient_of_the_risk():
    """Central differences err by O(h²), here 1e-10, and by rounding, 1e-16 / h."""
    rng = np.random.default_rng(3)
    start, rates, batches = rng.random(30), 0.3 * rng.random(12), 1 + 5 * rng.random(12)
    risk, in_rates, in_batches = schedule_adjoint.risk_gradient(start, CURVATURES, rates, batches, 0.2)

    def at(rates, batches):
        m = start.copy()
        for x, b in zip(rates, batches, strict=True):
            m = ((1 - x * CURVATURES) ** 2 + x * x * CURVATURES**2 / b) * m + x * x / b * CURVATURES * (
                CURVATURES @ m + 0.2
            )
        return m @ CURVATURES / 2

    assert risk == pytest.approx(at(rates, batches), rel=1e-13)  # rounding
    for given, found, h in ((0, in_rates, 1e-5), (1, in_batches, 1e-4)):
        for n in range(12):
            step = np.zeros(12)
            step[n] = h
            up = at(rates + step, batches) if given == 0 else at(rates, batches + step)
            down = at(rates - step, batches) if given == 0 else at(rates, batches - step)
            # 1e-7 of the largest derivative: what the two errors of differences leave
            assert found[n] == pytest.approx((up - down) / (2 * h), abs=1e-7 * np.max(np.abs(found)))


def heavy_risk(start, rates, batches, momenta, variance):
    """Risk by the second moments of (δ, v) of all modes written out, E of the pair by pair matrix of each mode."""
    pairs = np.zeros((start.size, 2, 2))
    pairs[:, 0, 0] = start
    for eta, batch, beta in zip(rates, batches, momenta, strict=True):
        excess = CURVATURES @ pairs[:, 0, 0] + variance
        for i, c in enumerate(CURVATURES):
            noise = (c * c * pairs[i, 0, 0] + c * excess) / batch
            step, push = np.array([[1 - eta * c, -eta * beta], [c, beta]]), np.array([-eta, 1.0])
            pairs[i] = step @ pairs[i] @ step.T + noise * np.outer(push, push)
    return CURVATURES @ pairs[:, 0, 0] / 2


def test_the_adjoint_with_momentum_is_the_gradient_of_the_risk():
    """As above, against differences of matrices written out; a momentum that is too small by 1 % must fail."""
    rng = np.random.default_rng(3)
    start, settings = rng.random(30), [0.3 * rng.random(12), 1 + 5 * rng.random(12), 0.9 * rng.random(12)]
    risk, *slopes = schedule_adjoint.heavy_risk_gradient(start, CURVATURES, *settings, 0.2)
    assert risk == pytest.approx(heavy_risk(start, *settings, 0.2), rel=1e-13)  # rounding
    assert abs(heavy_risk(start, *settings[:2], 0.99 * settings[2], 0.2) / risk - 1) > 1e-5
    for given, h in enumerate((1e-5, 1e-4, 1e-5)):
        for n in range(12):
            ends = []
            for sign in (1, -1):
                moved = [part.copy() for part in settings]
                moved[given][n] += sign * h
                ends.append(heavy_risk(start, *moved, 0.2))
            difference = (ends[0] - ends[1]) / (2 * h)
            assert slopes[given][n] == pytest.approx(difference, abs=1e-7 * np.max(np.abs(slopes[given])))


def test_momentum_helps_and_is_that_of_an_optimiser():
    """Constant momentum is the one of ``SGD``; none of them, with its best rates of two shapes, is better."""
    landscape = dfp.GaussianFeatures(CURVATURES, 0.3, 8)
    found = dfp.optimal_schedule(landscape, 100, 1.0, vary=("learning_rate", "momentum"))
    assert found.risk < dfp.optimal_schedule(landscape, 100, 1.0).risk
    assert found.momenta.min() >= 0 and found.momenta.max() < 1
    arguments = (np.ones(30), found.learning_rates, found.batch_sizes, found.momenta, 0.3)
    assert found.risk == pytest.approx(heavy_risk(*arguments), rel=1e-11)  # rounding of 100 steps
    fall = 1 - np.arange(100) / 100
    for beta in (0.0, 0.5, 0.9):
        for shape in (np.ones(100), fall):
            for height in np.geomspace(0.01, 1.0, 15):
                sgd = dfp.SGD(landscape, height * shape, momentum=beta)
                curve = dfp.risk_curve(sgd, 1.0, 100, save=[100])
                assert not curve.excess_risk[0] < found.risk
    all_three = dfp.optimal_schedule(landscape, 40, 1.0, vary=("learning_rate", "batch_size", "momentum"))
    assert all_three.batch_sizes.sum() == pytest.approx(320, rel=1e-12)  # rounding
    assert all_three.risk <= dfp.optimal_schedule(landscape, 40, 1.0, vary=("learning_rate", "momentum")).risk


def test_one_mode_is_dynamic_programming():
    """The best η minimises each E δ² in turn, in closed form; the risk is flat there, so that rounding is left."""
    found = dfp.optimal_schedule(dfp.GaussianFeatures([1.3], 0.4, 2), 50, 2.0)
    m, c, b, v = 2.0, 1.3, 2, 0.4
    for _ in range(50):
        eta = c * m / (c * c * m * (1 + 1 / b) + (c * c * m + c * v) / b)
        m = ((1 - eta * c) ** 2 + eta**2 * c * c / b) * m + eta**2 / b * c * (c * m + v)
    assert found.risk == pytest.approx(c * m / 2, rel=1e-12)


def test_two_hundred_modes_and_a_thousand_steps():
    """λ_i = i^-1.2, B = 4, σ² = 1/4 from E δ² = 1: the optimum and the best constant another program found, digits as
    printed; its .02498 and .02793 of the best line and cosine, on a grid of peaks, are the best ones to 0.6 %."""
    landscape, fall = dfp.GaussianFeatures(1 / np.arange(1, 201) ** 1.2, 0.25, 4), 1 - np.arange(1000) / 1000
    found = dfp.optimal_schedule(landscape, 1000, 1.0)
    assert found.risk == pytest.approx(0.02245, abs=5e-6)
    assert found.gradient_norm < 1e-6  # 0.1 per cent of the mean share of a step in d log R / d log η
    constant = min(final(landscape, np.full(1000, height)) for height in np.linspace(0.1, 0.5, 101))
    assert constant == pytest.approx(0.05845, abs=1e-5)
    for shape, printed in ((fall, 0.02498), ((1 + np.cos(np.pi * (1 - fall))) / 2, 0.02793)):
        best = min(final(landscape, height * shape) for height in np.linspace(0.8, 1.2, 41))
        assert 0.994 * printed < best < printed


def test_no_simple_schedule_is_better_and_risk_is_that_of_the_curve():
    landscape = dfp.GaussianFeatures(CURVATURES, 0.3, 4)
    found = dfp.optimal_schedule(landscape, 200, dfp.Point(np.ones(30)))
    assert found.risk == pytest.approx(final(landscape, found.learning_rates), rel=1e-12)  # rounding
    assert found.gradient_norm < 1e-5  # of 200 entries whose sum is of order one
    heights, fall = np.geomspace(0.01, 1.0, 40), 1 - np.arange(200) / 200
    linear = min(final(landscape, height * fall) for height in heights)
    cosine = min(final(landscape, height * (1 + np.cos(np.pi * (1 - fall))) / 2) for height in heights)
    constant = min(final(landscape, np.full(200, height)) for height in heights)
    assert found.risk < linear < constant
    assert found.risk < cosine


def test_batch_sizes_share_out_the_samples():
    landscape = dfp.GaussianFeatures(CURVATURES, 0.3, 4)
    rates = dfp.optimal_schedule(landscape, 60, 1.0)
    both = dfp.optimal_schedule(landscape, 60, 1.0, vary=("learning_rate", "batch_size"), samples=240)
    assert both.batch_sizes.sum() == pytest.approx(240, rel=1e-12)  # rounding
    assert both.batch_sizes.min() >= 1
    assert both.risk < rates.risk
    assert both.batch_sizes[-1] > both.batch_sizes[0]


def test_above_the_threshold_risks_grow_and_below_they_settle():
    landscape = dfp.GaussianFeatures(CURVATURES, 0.3, 4)
    edge = dfp.largest_learning_rate(landscape)
    assert np.isfinite(dfp.stationary_risk(dfp.SGD(landscape, edge * (1 - 1e-9))))
    assert not np.isfinite(dfp.stationary_risk(dfp.SGD(landscape, edge * (1 + 1e-9))))
    above = dfp.risk_curve(dfp.SGD(landscape, 1.02 * edge), 1.0, 4000).excess_risk
    assert above[4000] > 2 * above[2000]
    # one mode: (1 − ηλ)² + 2η²λ²/B = 1
    assert dfp.largest_learning_rate(dfp.GaussianFeatures([2.0], 0.1, 4)) == pytest.approx(1 / 1.5, rel=1e-12)


def test_refusals_say_why():
    landscape = dfp.GaussianFeatures(CURVATURES, 0.3, 4)
    with pytest.raises(dfp.UnsupportedError, match="GaussianFeatures"):
        dfp.optimal_schedule(dfp.QuadraticLandscape([1.0]), 10, 1.0)
    with pytest.raises(dfp.DFPError, match="vary"):
        dfp.optimal_schedule(landscape, 10, 1.0, vary=("temperature",))
    with pytest.raises(dfp.DFPError, match="samples"):
        dfp.optimal_schedule(landscape, 10, 1.0, samples=100)
    with pytest.raises(dfp.DFPError, match="initial"):
        dfp.optimal_schedule(landscape, 10, 0.0)
    with pytest.raises(dfp.DFPError, match="zero"):
        dfp.largest_learning_rate(dfp.GaussianFeatures([0.0]))
