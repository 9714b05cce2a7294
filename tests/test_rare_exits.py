"""Rare exits in two dimensions: against the same exits on a line, to their digits."""

import numpy as np
import pytest
from dfp_solvers import rare_exits
from dfp_solvers.escape import line
from scipy import sparse, stats

import dfp


def test_exits_through_one_pair_of_walls_are_those_on_a_line() -> None:
    """1e13 steps on average; the other walls are 10 deviations away and let through 1e-9 as much.

    In two dimensions the rule for the kernel is good to some 1e-8, on a line to 1e-12. A difference 1 − ρ would be
    rounding: 1e-3 of itself at best.
    """
    eta = 0.8
    deviation = (eta / (2 - eta)) ** 0.5  # (T10) with unit curvature and noise
    one = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), eta))
    wall, far = 7.4 * deviation, 9.5 * deviation
    exact = dfp.exit_steps(one, (-wall, wall), dfp.Point(0.0), 3)
    plane = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape([1.0, 1.0], noise=dfp.GaussianNoise([1.0, 1.0])), eta))
    law = dfp.exit_steps(plane, ([-wall, -far], [wall, far]), dfp.Point([0.0, 0.0]), 3)
    assert exact.mean > 1e12
    assert law.mean == pytest.approx(exact.mean, rel=1e-6)
    assert law.leaving == pytest.approx(exact.leaving, rel=1e-6)


def test_what_leaves_is_known_to_its_own_digits() -> None:
    """Against one side alone, where the other is 30 deviations away, and a correlated Gaussian against quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(80)
    box = np.array([-1.0, -1.0]), np.array([1.0, 1.0])
    tiny = rare_exits.leaving(np.zeros((1, 2)), np.diag([0.01, 1e-4])[None], *box, nodes, weights)
    assert tiny == pytest.approx(2 * stats.norm.sf(10), rel=1e-12)
    covariance = np.array([[0.2, 0.1], [0.1, 0.3]])
    out = rare_exits.leaving(np.array([[0.2, 0.1]]), covariance[None], *box, nodes, weights)
    inside = stats.multivariate_normal([0.2, 0.1], covariance).cdf([1, 1], lower_limit=[-1, -1])
    assert out == pytest.approx(1 - inside, abs=1e-5)


@pytest.mark.parametrize("half", [2.0, 5.0, 9.5])
def test_rates_of_generators_in_the_plane_keep_their_digits(half):
    """Independent axes leave at the sum of their rates; on a line elimination gives each to rounding, however rare."""
    curvature, noise = np.array([1.0, 1.4]), np.array([0.5, 0.8])
    deviation = np.sqrt(0.1 * noise / (2 * curvature))
    apart = 0.0
    for c, g, s in zip(curvature, noise, deviation, strict=True):
        sgd = dfp.SGD(dfp.QuadraticLandscape([c], noise=dfp.GaussianNoise([g])), 0.1)
        one = dfp.exit_steps(dfp.Langevin(sgd), dfp.Grid(-half * s, half * s, 48), dfp.Point(0.0), 10)
        apart += -np.log1p(-one.leaving)
    sgd = dfp.SGD(dfp.QuadraticLandscape(np.diag(curvature), noise=dfp.GaussianNoise(np.diag(noise))), 0.1)
    box = dfp.Grid(-half * deviation, half * deviation, (48, 48))
    law = dfp.exit_steps(dfp.Langevin(sgd), box, dfp.Point(np.zeros(2)), 10)
    # Of three grids the logarithms are extrapolated, and those of a sum are not the sum of those: by 2e-3 at most here.
    assert -np.log1p(-law.leaving) == pytest.approx(apart, rel=5e-3)
    # What is rare is exponential, whose mean is one over its rate.
    if half > 3:
        assert law.mean * -np.log1p(-law.leaving) == pytest.approx(1.0, rel=1e-3)


def test_a_mean_time_of_a_chain_needs_no_solution_that_loses_its_digits():
    """A walk between walls whose way out is steep, at a rate of 1e-14 of the fastest: elimination against flux."""
    cells, slope = 40, 0.9
    up, down = np.exp(-slope), np.exp(slope)
    middle = (cells - 1) / 2
    out = np.where(np.arange(cells) < middle, up, down)  # to the left of each cell; to the right it is the other
    rates = np.zeros((cells, cells))
    for i in range(cells):
        left, right = out[i], up + down - out[i]
        for j, rate in ((i - 1, left), (i + 1, right)):
            if 0 <= j < cells:
                rates[j, i] = rate
        rates[i, i] = -(left + right)
    leaving = np.zeros(cells)
    leaving[[0, -1]] = up
    start = np.zeros(cells)
    start[20] = 1.0
    mean, rate = rare_exits.mean_time(sparse.csc_array(rates), start, leaving)
    band = np.stack([np.append(0.0, np.diag(rates, 1)), np.zeros(cells), np.append(np.diag(rates, -1), 0.0)], axis=1)
    exact = line.LineStep(band, 1, leaving)
    assert rate < 1e-13
    # Eigenvectors are found to 1e-10, the rest to rounding.
    assert mean == pytest.approx(exact.visits(start).sum(), rel=1e-9)
    assert rate == pytest.approx(exact.quasi_stationary[1], rel=1e-9)
    # Control: a solution has lost digits.
    solved = -np.linalg.solve(rates, start).sum()
    assert abs(solved / mean - 1) > 1e-6
