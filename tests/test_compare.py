"""Distances against closed forms, and sampling intervals against their promised coverage."""

import numpy as np
import pytest
from problems import one_mode, rotated
from scipy.stats import norm, wasserstein_distance

import dfp
from dfp.results.comparison import cell_probabilities

EQUATION = dfp.MasterEquation(dfp.SGD(one_mode(), 0.1))


def frozen(mean, variance, solver="auto", grid=None):
    """A solution at step 0: the initial Gaussian itself."""
    return dfp.solve(EQUATION, dfp.Gaussian(mean, variance), 0, [0], solver, grid)


def test_gaussians_of_equal_width():
    """TV = 2Φ(δ/2) − 1, W1 = δ, KL = δ²/2 for N(0, 1) and N(δ, 1); cells straddle the crossing, an O(Δ²) effect."""
    delta = 0.7
    distance = dfp.compare({"a": frozen(0.0, 1.0), "b": frozen(delta, 1.0)}).at("b", 0)
    assert distance.total_variation.value == pytest.approx(2 * norm.cdf(delta / 2) - 1, rel=2e-4)
    assert distance.wasserstein.value == pytest.approx(delta, rel=1e-8)
    assert distance.kl == pytest.approx(delta**2 / 2, rel=2e-2)
    assert distance.mean.value == pytest.approx(delta, rel=1e-8)
    assert distance.covariance.value < 1e-10
    assert distance.total_variation.lower == distance.total_variation.upper


def test_sliced_wasserstein_in_the_plane():
    """Shift by s: the projections move by s·u, whose mean size over directions is 2|s|/π (24 of them: 0.3 %)."""
    equation = dfp.MasterEquation(dfp.SGD(rotated(2, 5.0), 0.1))
    a = dfp.solve(equation, dfp.Gaussian([0.0, 0.0], 1.0), 0, [0])
    b = dfp.solve(equation, dfp.Gaussian([0.3, 0.4], 1.0), 0, [0])
    distance = dfp.compare({"a": a, "b": b}).at("b", 0)
    assert distance.wasserstein.value == pytest.approx(2 * 0.5 / np.pi, rel=3e-3)


def test_identical_solutions_are_at_distance_zero():
    a = frozen(0.2, 0.5)
    distance = dfp.compare({"a": a, "again": a}).at("again", 0)
    assert distance.total_variation.value == 0
    assert distance.wasserstein.value == 0
    assert distance.kl == 0


def test_cell_probabilities_integrate_densities():
    """Quintic splines through cell centres reproduce normal cell probabilities to 1e-7 on cells of σ/4."""
    solution = frozen(0.1, 1.0, grid=dfp.Grid(-8, 8.2, 64))
    target = dfp.Grid(-7, 7.5, 31)
    found = cell_probabilities(solution, 0, target)
    assert np.abs(found - np.diff(norm.cdf(target.edges[0], 0.1))).max() < 1e-7


def test_samples_against_their_own_law_stay_within_the_noise():
    """Both sides are N(0, 1): zero lies in every interval, for 20 seeds (the intervals are conservative)."""
    exact = frozen(0.0, 1.0)
    for seed in range(20):
        sampled = frozen(0.0, 1.0, dfp.MonteCarlo(5000, seed=seed))
        distance = dfp.compare({"exact": exact, "sampled": sampled}).at("sampled", 0)
        assert distance.total_variation.lower == 0
        assert distance.wasserstein.lower == 0
        assert np.isnan(distance.kl)


def test_intervals_cover_the_true_distance():
    """N(0, 1) sampled against N(0.3, 1): the 95 % intervals hold TV and W1 for 20 seeds of 20."""
    other, truth = frozen(0.3, 1.0), 2 * norm.cdf(0.15) - 1
    for seed in range(20):
        sampled = frozen(0.0, 1.0, dfp.MonteCarlo(20_000, seed=seed))
        distance = dfp.compare({"other": other, "sampled": sampled}).at("sampled", 0)
        assert distance.total_variation.lower <= truth <= distance.total_variation.upper
        assert distance.wasserstein.lower <= 0.3 <= distance.wasserstein.upper
        assert distance.total_variation.lower > 0  # the difference is seen


def test_one_dimensional_w1_agrees_with_scipy():
    sampled = frozen(0.0, 1.0, dfp.MonteCarlo(5000, seed=1), dfp.Grid(-6, 6, 240))
    other = frozen(0.4, 2.0, grid=dfp.Grid(-12, 12, 480))
    found = dfp.compare({"other": other, "sampled": sampled}).at("sampled", 0).wasserstein.value
    x = sampled.grid.axes[0]
    target = cell_probabilities(other, 0, sampled.grid)
    expected = wasserstein_distance(x, x, sampled.density[0], target)
    # W1 of masses at centres of cells differs from that of the cells by their squared width
    assert found == pytest.approx(expected, rel=1e-3)


def test_moments_alone_are_compared_without_densities():
    recursion = dfp.solve(EQUATION, dfp.Gaussian(0.0, 1.0), 0, [0], dfp.MomentRecursion())
    comparison = dfp.compare({"recursion": recursion, "density": frozen(0.0, 1.0)})
    distance = comparison.at("density", 0)
    assert np.isnan(distance.total_variation.value)
    # rounding, and tails cut by the box
    assert distance.covariance.value < 1e-9
    assert "distance from: recursion" in str(comparison)
    assert " - " in str(comparison)


def test_reference_and_shared_steps():
    start = dfp.Gaussian(0.0, 1.0)
    a = dfp.solve(EQUATION, start, 9, [0, 4, 9])
    b = dfp.solve(EQUATION, start, 9, [4, 9])
    comparison = dfp.compare({"a": a, "b": b}, reference="b")
    assert [(d.name, d.step) for d in comparison.distances] == [("a", 4), ("a", 9)]
    with pytest.raises(dfp.DFPError, match=r"step=5.*choose from"):
        comparison.at("a", 5)


def test_steps_of_other_slow_times_are_told(tmp_path):
    """Slow time is Σ η, with momentum Σ η/(1−β): a step of Langevin at η/(1−β) takes as much of it."""
    start, heavy = dfp.Gaussian(1.0, 0.05), dfp.SGD(one_mode(1.0, 1.0), 0.002, momentum=0.9)
    momentum = dfp.solve(dfp.MasterEquation(heavy), start, 300, [100, 300])
    flows = {eta: dfp.solve(dfp.Langevin(dfp.SGD(one_mode(1.0, 1.0), eta)), start, 3000, [100, 300, 1000, 3000])
             for eta in (0.002, 0.02)}  # fmt: skip
    right = dfp.compare({"momentum": momentum, "Langevin": flows[0.02]})
    assert not right.warnings and right.at("Langevin", 300).total_variation.value < 0.02  # 6 relaxation times: .008
    found = dfp.compare({"momentum": momentum, "Langevin": flows[0.002]})
    assert found.at("Langevin", 300).total_variation.value > 0.9  # the control: a tenth as far
    assert "slow time 0.6 at step 300" in found.warnings[0] and 'at="time"' in found.warnings[0]
    assert found.warnings[0] in str(found) and "1 warning(s)" in repr(found)
    found.save(tmp_path / "found.h5")
    assert dfp.load(tmp_path / "found.h5").warnings == found.warnings
    late = dfp.compare({"momentum": momentum, "Langevin": flows[0.002]}, at="time")
    assert [d.step for d in late.distances] == [100, 300] and not late.warnings
    mean = momentum.mean[1] - flows[0.002].mean[3]  # τ = 6 of both
    assert late.at("Langevin", 300).mean.value == pytest.approx(abs(mean[0]) / momentum.covariance[1, 0, 0] ** 0.5)
    law = dfp.stationary(dfp.MasterEquation(heavy))
    for at in ("step", "time"):
        settled = dfp.compare({"momentum": momentum, "law": law, "Langevin": flows[0.02]}, at=at)
        assert not settled.warnings and len(settled.distances) == 4  # a law stands at every step
    assert "slow times 6, 0.6" in dfp.plot({"momentum": momentum, "Langevin": flows[0.002]}).get_suptitle()
    assert "slow times" not in dfp.plot({"momentum": momentum, "Langevin": flows[0.02]}).get_suptitle()


def test_laws_without_a_variance_have_no_distances_of_moments():
    sgd = dfp.SGD(one_mode(1.0, 1.0, 1.0), 1.1)
    found = dfp.compare({"SGD": dfp.stationary(dfp.MasterEquation(sgd)), "T6": dfp.stationary(dfp.Langevin(sgd))})
    (distance,) = found.distances
    assert np.isnan(distance.mean.value) and np.isnan(distance.covariance.value)
    assert 0.1 < distance.total_variation.value < 1 and "'SGD' has no variance" in found.warnings[0]
    worse = dfp.stationary(dfp.MasterEquation(dfp.SGD(one_mode(1.0, 1.0, 1.0), 1.3)))  # κ = .79: no mean
    assert np.isnan(dfp.compare({"a": worse, "b": worse}).distances[0].wasserstein.value)


def test_moments_are_compared_with_solutions_and_laws():
    """Means in deviations and covariances by their norm, by hand; densities are none of theirs."""
    landscape = dfp.QuadraticLandscape([1.0, 0.4], noise=dfp.GaussianNoise([1.0, 0.3], 0.1))
    sgd = dfp.SGD(landscape, 0.2)
    start, master = dfp.Gaussian([1.0, 0.5], 0.1), dfp.MasterEquation(sgd)
    sides = {
        "exact": dfp.moments(master, start, 20, save=[0, 5, 20]),
        "T6": dfp.moments(dfp.Langevin(sgd), start, 20),
        "solved": dfp.solve(master, start, 20, [5, 20], solver=dfp.MomentRecursion()),
        "settled": dfp.stationary_moments(master),
    }
    found = dfp.compare(sides)
    assert {d.step for d in found.distances} == {5, 20}
    other, base = (sides[name] for name in ("T6", "exact"))
    told = found.at("T6", 5)
    mean, covariance = other.mean[5] - base.mean[1], other.covariance[5] - base.covariance[1]
    deviations = np.sqrt(base.covariance[1].diagonal())
    assert told.mean.value == pytest.approx(np.max(np.abs(mean) / deviations), rel=1e-12)  # a few roundings
    size = np.linalg.norm(covariance) / np.linalg.norm(base.covariance[1])
    assert told.covariance.value == pytest.approx(size, rel=1e-12) and size > 0.01
    assert np.isnan(told.total_variation.value) and np.isnan(told.kl)
    assert found.at("solved", 20).covariance.value < 1e-12 < found.at("settled", 20).covariance.value
    assert "-" in str(found) and len(found.plot().axes) == 2
    alone = dfp.compare({"SGD": sides["settled"], "Langevin": dfp.stationary_moments(dfp.Langevin(sgd))})
    assert alone.distances[0].step == 0 and alone.distances[0].covariance.value > 0.01
    with pytest.raises(dfp.DFPError, match="no slow time"):
        dfp.compare(sides, at="time")
    with pytest.raises(dfp.DFPError, match="must be a Solution, Moments or a law"):
        dfp.compare({"a": sides["exact"], "b": found})
