"""First and second moments of one mode, plain (θ) or with momentum (θ, v): x' = A x + c + b·noise(θ) (T11, T19).

The noise has the variance Γθ² + 2rθ + D at θ, the first entry of x.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq

from dfp_solvers import matrices
from dfp_solvers.arrays import Array


class ModeNoise(NamedTuple):
    """Γ, r and D of the noise's variance Γθ² + 2rθ + D."""

    curvature: float
    correlation: float
    gradient: float


def pair_map(matrix: Array, kick: Array, curvature_noise: float) -> Array:
    """Return the map of vec E[x xᵀ] without sources: A ⊗ A + Γ (b ⊗ b) e_θθᵀ, shape (k², k²)."""
    result: Array = np.kron(matrix, matrix)
    result[:, 0] += curvature_noise * np.kron(kick, kick)
    return result


def pair_increment(increment: Array, kick: Array, curvature_noise: float) -> Array:
    """Return ``pair_map`` less one from A − 1 = ``increment``, without the difference that loses small rates."""
    one = np.eye(len(increment))
    result: Array = np.kron(increment, one) + np.kron(one, increment) + np.kron(increment, increment)
    result[:, 0] += curvature_noise * np.kron(kick, kick)
    return result


def stationary_variance(increment: Array, kick: Array, curvature_noise: float, source: float) -> float:
    """Return the fixed point of Var θ with the variance ``source`` of the gradient at the stationary mean."""
    change = pair_increment(increment, kick, curvature_noise)
    return float(matrices.solve_graded(-change, np.kron(kick, kick) * source)[0])


def excess_growth(increment: Array, kick: Array, curvature_noise: float) -> float:
    """Return the spectral radius of ``pair_map`` less one; near zero it is found from the inverse, to its digits."""
    change = pair_increment(increment, kick, curvature_noise)
    excess = float(np.max(np.abs(1 + np.linalg.eigvals(change)))) - 1
    if abs(excess) > 1e-8:
        return excess
    try:
        inverse = matrices.solve_graded(np.broadcast_to(change, (len(change), *change.shape)), np.eye(len(change))).T
    except np.linalg.LinAlgError:
        return 0.0
    values = np.linalg.eigvals(inverse)
    return float((1 / values[np.argmax(np.abs(values))]).real)


def moments(
    matrix: Array, kick: Array, noise: ModeNoise, push: float, steps: int, initial: Array
) -> tuple[Array, Array]:
    """Return mean (k,) and covariance (k, k) after ``steps`` from mean 0 and covariance ``initial``, with c = b·push.

    (1, μ, μμᵀ, Π) moves linearly; the cost is that of log ``steps`` products of small matrices.
    """
    k = len(kick)
    pair, constant = np.kron(kick, kick), kick * push
    mean, outer, spread = slice(1, 1 + k), slice(1 + k, 1 + k + k * k), slice(1 + k + k * k, 1 + k + 2 * k * k)
    linear = np.zeros((1 + k + 2 * k * k,) * 2)
    linear[0, 0] = 1.0
    linear[mean, 0], linear[mean, mean] = constant, matrix
    linear[outer, 0], linear[outer, outer] = np.kron(constant, constant), np.kron(matrix, matrix)
    linear[outer, mean] = np.kron(matrix, constant[:, None]) + np.kron(constant[:, None], matrix)
    linear[spread, 0], linear[spread, spread] = pair * noise.gradient, pair_map(matrix, kick, noise.curvature)
    linear[spread, 1] += 2 * noise.correlation * pair
    linear[spread, 1 + k] += noise.curvature * pair
    start = np.zeros(len(linear))
    start[0], start[spread] = 1.0, initial.ravel()
    with np.errstate(over="ignore", invalid="ignore"):
        end = np.linalg.matrix_power(linear, steps) @ start
    return end[mean], end[spread].reshape(k, k)


def stability_limit(excess: Callable[[float], float], start: float) -> float:
    """Return the η at which ``excess``, negative for small η, changes sign; the first such above ``start``/2^k."""
    low = start
    while excess(low) >= 0:
        low /= 2
    high = 2 * low
    while excess(high) < 0:
        low, high = high, 2 * high
    return float(brentq(excess, low, high, xtol=1e-300, rtol=1e-13))
