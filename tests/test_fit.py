"""``dfp.fit``: intervals cover, the Langevin reading is biased as predicted, wrong input is refused."""

import numpy as np
import pytest
from scipy.linalg import solve_discrete_lyapunov

import dfp

ETA = 0.1
# Share of 200 intervals of 95 % that cover: standard deviation 1.5 %, and ± 3 % is what is promised of the mean over
# the entries below; single entries may miss by 3.5 standard deviations.
COVERED, ALL, ONE = 0.95, 0.03, 0.055
HESSIAN = np.array([[2.0, 0.6], [0.6, 1.0]])
NOISE = np.array([[1.0, 0.5], [0.5, 2.0]])
MINIMUM = np.array([0.3, -0.7])


def recorded(runs, steps, hessian=HESSIAN, seed=3, gamma=0.0, eta=ETA, settled=True):
    """Paths (runs, steps, d) of SGD with Gaussian noise, Γ along the first axis, around MINIMUM."""
    rng, d = np.random.default_rng(seed), len(hessian)
    step, root = np.eye(d) - eta * hessian, np.linalg.cholesky(NOISE[:d, :d])
    start = np.linalg.cholesky(solve_discrete_lyapunov(step, eta**2 * NOISE[:d, :d]))
    x = rng.standard_normal((runs, d)) @ start.T if settled else np.full((runs, d), 2.0)
    path = np.empty((runs, steps, d))
    for n in range(steps):
        path[:, n] = x
        shaken = rng.standard_normal((runs, d)) @ root.T
        shaken[:, 0] += np.sqrt(gamma) * rng.standard_normal(runs) * x[:, 0]
        x = x @ step.T - eta * shaken
    return path + MINIMUM[:d]


def covers(ends, truth):
    return (ends[0] <= truth) & (truth <= ends[1])


def coverage(every=1):
    """Share of 200 data sets whose intervals hold H, C and θ*, by entry."""
    held = []
    for path in recorded(200, 1500 * every)[:, ::every]:
        ends = dfp.fit(path, ETA, every=every).intervals
        held.append(
            np.concatenate(
                [
                    covers(e, t).ravel()
                    for e, t in ((ends.hessian, HESSIAN), (ends.covariance, NOISE), (ends.minimum, MINIMUM))
                ]
            )
        )
    return np.mean(held, axis=0)


@pytest.mark.parametrize("every", [1, 3])
def test_intervals_of_200_data_sets_cover_95_percent(every):
    shares = coverage(every)
    assert abs(shares.mean() - COVERED) <= ALL
    assert np.all(np.abs(shares - COVERED) <= ONE), shares


def test_the_check_of_coverage_fails_where_the_langevin_reading_is_taken():
    """Negative control: H of Langevin lies outside most intervals of long runs."""
    inside = []
    for path in recorded(20, 40_000, seed=4):
        found = dfp.fit(path, ETA)
        inside.append(covers(found.intervals.hessian, found.langevin.hessian)[0, 0])
    assert np.mean(inside) < COVERED - 2 * ONE


def test_langevin_is_biased_by_half_eta_lambda():
    found = dfp.fit(recorded(50, 4000, np.array([[2.0]])), ETA)
    relative = found.langevin.hessian.item() / found.hessian.item() - 1
    decay = ETA * found.hessian.item()
    # −log(1 − x)/x − 1 = x/2 + x²/3 + …: the second term is 13 % of the first at x = .2.
    assert relative == pytest.approx(decay / 2, rel=0.2)
    assert relative == pytest.approx(-np.log1p(-decay) / decay - 1, rel=1e-9)  # rounding
    with pytest.raises(dfp.UnsupportedError, match="alternates"):
        _ = dfp.fit(recorded(1, 2000, np.array([[1.4]]), eta=1.0), 1.0).langevin


def test_starts_far_from_the_minimum_tell_more():
    far = dfp.fit(recorded(4, 300, settled=False), ETA)
    width = np.ptp(dfp.fit(recorded(4, 300), ETA).intervals.hessian[:, 0, 0])
    assert np.ptp(far.intervals.hessian[:, 0, 0]) < width
    assert np.all(covers(far.intervals.hessian, HESSIAN))


def test_curvature_noise_is_found_where_it_is():
    hessian = np.diag([1.0, 2.0])  # ascending, so that directions are the axes
    found = dfp.fit(recorded(20, 5000, hessian, gamma=0.8), ETA)
    assert found.intervals.curvature_noise is not None
    low, high = found.intervals.curvature_noise
    assert low[0] > 0 and low[0] <= 0.8 <= high[0]
    assert low[1] < 0 < high[1]
    axes, shaken = found.directions, found.landscape.law.quadratic(np.eye(2))
    assert np.diag(axes.T @ shaken @ axes) == pytest.approx([found.curvature_noise[0], 0.0], abs=1e-12)  # rounding
    variance = dfp.stationary_moments(dfp.MasterEquation(found.sgd)).covariance
    exact = dfp.SGD(dfp.QuadraticLandscape(hessian, 0.0, dfp.GaussianNoise(NOISE, np.diag([0.8, 0.0]))), ETA)
    truth = dfp.stationary_moments(dfp.MasterEquation(exact)).covariance
    # 10⁵ steps of some 10 memories each: a relative error of √(2·10/10⁵) = 1.4 %, times 4.
    assert variance == pytest.approx(truth, rel=0.06)


def test_intervals_of_curvature_noise_cover():
    held = [
        covers(dfp.fit(path, ETA).intervals.curvature_noise[:, 0], 0.8)
        for path in recorded(200, 4000, np.diag([1.0, 2.0]), gamma=0.8, seed=6)
    ]
    assert abs(np.mean(held) - COVERED) <= ONE


def test_units_do_not_matter():
    path = recorded(2, 500)
    here, there = dfp.fit(path, ETA), dfp.fit(1e6 * path, 1e12 * ETA)
    assert there.hessian == pytest.approx(1e-12 * here.hessian, rel=1e-7)  # rounding of sums of squares
    assert there.minimum == pytest.approx(1e6 * here.minimum, rel=1e-7)


def test_even_gaps_say_which_branch_was_taken():
    found = dfp.fit(recorded(5, 2000)[:, ::2], ETA, every=2)
    assert any("2 − ηλ" in warning for warning in found.warnings)
    assert found.curvature_noise is None
    with pytest.raises(dfp.DFPError, match="every=2"):
        dfp.fit(recorded(1, 400, np.array([[1.4]]), eta=1.0), 1.0, every=2)


def test_few_relaxation_times_and_asymmetry_are_warned_of():
    slow = dfp.fit(recorded(1, 300, np.array([[0.2]])), ETA)
    assert any("relaxation times" in warning for warning in slow.warnings)
    skewed = recorded(5, 4000, np.array([[2.0, 0.9], [-0.9, 1.0]]), settled=False)
    assert any("not symmetric" in warning for warning in dfp.fit(skewed, ETA).warnings)
    assert not dfp.fit(recorded(5, 4000), ETA).warnings


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (np.full((100, 2), np.nan), "finite"),
        (np.arange(100.0), "dimensions"),
        (np.zeros((100, 2)), "parameter 0 is constant"),
        (recorded(1, 5)[0], "too few"),
        (recorded(1, 100)[0].T, "time before parameters"),
        (recorded(1, 100)[0][:, [0, 0]], "combination"),
        ((0.9 ** np.arange(100))[:, None], "without noise"),
        ("path", "real numbers"),
    ],
)
def test_wrong_paths_are_refused(paths, words):
    with pytest.raises(dfp.DFPError, match=words):
        dfp.fit(paths, ETA)


def test_wrong_numbers_are_refused():
    for wrong in ({"learning_rate": 0.0}, {"learning_rate": ETA, "every": 0}, {"learning_rate": np.nan}):
        with pytest.raises(dfp.DFPError, match=r"learning_rate|every"):
            dfp.fit(recorded(1, 100), **wrong)
