"""Moments under gradient noise without a variance: which exist, and these; NaN where undefined, inf at infinity.

A parameter has no variance once noise without one has reached it: at the first step along its own axis, later along
what the Hessian has coupled to it. It has a mean where the tails of all that has reached it fall faster than |x|^-1.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dfp.checks import Array
from dfp.exact.moments import Moments, moments_at
from dfp.problem.equation import Equation
from dfp.problem.landscape import QuadraticLandscape
from dfp.problem.noise import GaussianNoise
from dfp.problem.state import State


def moments_that_exist(equation: Equation, initial: State, saved: NDArray[np.int64]) -> Moments:
    """Return mean and covariance at the steps ``saved`` (S,) under additive noise without a variance."""
    found = moments_at(bounded(equation), initial, saved)
    means, covariances = found.mean.copy(), found.covariance.copy()
    for s, step in enumerate(saved.tolist()):
        means[s], covariances[s] = without(equation, step, means[s], covariances[s])
    return Moments(saved, means, covariances)


def bounded(equation: Equation) -> Equation:
    """Return the equation with Gaussian noise of the same covariance, without the components that have none."""
    sgd = equation.sgd
    landscape = sgd.landscape
    assert isinstance(landscape, QuadraticLandscape)
    noise = GaussianNoise(landscape.law.finite_part)
    return replace(
        equation, sgd=sgd.changed(landscape=QuadraticLandscape(landscape.hessian, landscape.gradient, noise))
    )


def without(equation: Equation, step: int, mean: Array, covariance: Array) -> tuple[Array, Array]:
    """Return mean (d,) and covariance (d, d) of ``step`` with what does not exist as NaN and inf."""
    tails = [_tail(equation, axis, step) for axis in range(equation.dimension)]
    heavy = np.array([not tail > 2 for tail in tails])
    undefined = np.array([not tail > 1 for tail in tails])
    found = np.where(heavy[:, None] | heavy, np.nan, covariance)
    np.fill_diagonal(found, np.where(heavy, np.inf, covariance.diagonal()))
    return np.where(undefined, np.nan, mean), found


def _tail(equation: Equation, axis: int, step: int) -> float:
    """Return κ, P(|θ_i| > x) ~ x^-κ, of a parameter at ``step``: of all noise along its axis e and (PH)ᵀe, …"""
    along, matrix = [np.eye(equation.dimension)[axis]], equation.sgd.hessian.T
    for _ in range(min(step, equation.dimension) - 1):
        moved = matrix @ along[-1]
        size = float(np.linalg.norm(moved))
        if not size:
            break
        along.append(moved / size)
    if step == 0:
        return np.inf
    return float(np.min(equation.sgd.noise.tail_index(np.array(along).T)))
