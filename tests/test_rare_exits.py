"""Rare exits in two dimensions: against the same exits on a line, to their digits."""

import numpy as np
import pytest
from dfp_solvers import rare_exits
from scipy import stats

import dfp


def test_exits_through_one_pair_of_walls_are_those_on_a_line() -> None:
    """1e13 steps on average; the other walls are 10 deviations away and let through 1e-9 as much.

    In two dimensions the rule for the kernel is good to some 1e-8, on a line to 1e-12. A difference 1 − ρ would be
    rounding: 1e-3 of itself at best.
    """
    eta = 0.8
    deviation = (eta / (2 - eta)) ** 0.5  # (T10) with unit curvature and noise
    line = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), eta))
    wall, far = 7.4 * deviation, 9.5 * deviation
    exact = dfp.exit_steps(line, (-wall, wall), dfp.Point(0.0), 3)
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
