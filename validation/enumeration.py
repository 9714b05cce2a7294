"""The truth by enumeration: moments of SGD from every minibatch, without any code of dfp.

With μ the mean, a minibatch moves φ = (1, μ, θ − μ) linearly, φ' = A_ξ φ. So E[φ⊗φ⊗φ⊗φ], which holds all moments up to
the fourth, moves with the one matrix E[A_ξ⊗A_ξ⊗A_ξ⊗A_ξ], and no step subtracts large numbers (T8, T9).
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Minibatches:
    """All minibatches with their probabilities.

    Attributes
    ----------
    weights
        Probabilities, shape (M,).
    hessians
        Shape (M, d, d) [loss / parameter^2].
    gradients
        Gradients at θ = 0, shape (M, d) [loss / parameter].
    """

    weights: Array
    hessians: Array
    gradients: Array


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean (d,) and covariance (d, d), and the raw fourth moment (d, d, d, d) about a fixed point."""

    mean: Array
    covariance: Array
    fourth: Array


def normals(count: int) -> tuple[Array, Array]:
    """Return weights (3^count,) and points (3^count, count) that average polynomials of degree 5 of normals exactly."""
    points = np.array(list(product((-np.sqrt(3.0), 0.0, np.sqrt(3.0)), repeat=count)))
    weights = np.array(list(product((1 / 6, 2 / 3, 1 / 6), repeat=count))).prod(axis=1)
    return weights, points.reshape(len(weights), count)


def gaussian(hessian: Array, gradient: Array, hessian_parts: Array, gradient_parts: Array) -> Minibatches:
    """Return minibatches that stand for H + Σ_r ζ_r W_r and g + Σ_r ζ_r u_r with independent normals ζ.

    Parameters
    ----------
    hessian_parts, gradient_parts
        W_r, shape (R, d, d), and u_r, shape (R, d).
    """
    weights, points = normals(len(gradient_parts))
    hessians = hessian + np.einsum("mr,rij->mij", points, hessian_parts)
    return Minibatches(weights, hessians, gradient + points @ gradient_parts)


def regression(features: Array, targets: Array, batch_size: int) -> Minibatches:
    """Return all N^B minibatches of least squares drawn with replacement."""
    rows = np.array(list(product(range(len(targets)), repeat=batch_size)))
    x = features[rows]
    hessians = np.einsum("mbi,mbj->mij", x, x) / batch_size
    gradients = -np.einsum("mb,mbi->mi", targets[rows], x) / batch_size
    return Minibatches(np.full(len(rows), 1 / len(rows)), hessians, gradients)


def moments(
    minibatches: Minibatches, rate: float, steps: int, mean: Array, covariance: Array, centre: Array
) -> Moments:
    """Return the moments after ``steps`` steps from a Gaussian with ``mean`` (d,) and ``covariance`` (d, d).

    The fourth moment is E[(θ−centre)⊗(θ−centre)⊗(θ−centre)⊗(θ−centre)].
    """
    d = len(mean)
    step = _fourfold(_motion(minibatches, rate, centre), minibatches.weights)
    weights, points = normals(d)
    values, vectors = np.linalg.eigh(covariance)
    start = np.ones((len(weights), 1 + 2 * d, 1))
    start[:, 1 : d + 1, 0] = mean - centre
    start[:, d + 1 :, 0] = points @ (vectors * np.sqrt(values.clip(0))).T
    state = _fourfold(start, weights)[:, 0]
    for _ in range(steps):
        state = step @ state
    tensor = state.reshape((1 + 2 * d,) * 4)
    place = np.hstack([np.zeros((d, 1)), np.eye(d), np.eye(d)])
    fourth = np.einsum("ia,jb,kc,ld,abcd->ijkl", place, place, place, place, tensor, optimize=True)
    return Moments(centre + tensor[0, 0, 0, 1 : d + 1], tensor[0, 0, d + 1 :, d + 1 :], fourth)


def _motion(minibatches: Minibatches, rate: float, centre: Array) -> Array:
    """Return the matrices A_ξ of one step of φ = (1, μ − centre, θ − μ), shape (M, 1 + 2d, 1 + 2d)."""
    d = len(centre)
    hessian = np.tensordot(minibatches.weights, minibatches.hessians, 1)
    gradients = minibatches.gradients + minibatches.hessians @ centre
    gradient = minibatches.weights @ gradients
    mean, deviation = slice(1, d + 1), slice(d + 1, None)
    motion = np.zeros((len(gradients), 1 + 2 * d, 1 + 2 * d))
    motion[:, 0, 0] = 1.0
    motion[:, mean, mean] = np.eye(d) - rate * hessian
    motion[:, mean, 0] = -rate * gradient
    motion[:, deviation, deviation] = np.eye(d) - rate * minibatches.hessians
    motion[:, deviation, mean] = -rate * (minibatches.hessians - hessian)
    motion[:, deviation, 0] = -rate * (gradients - gradient)
    return motion


def _fourfold(matrices: Array, weights: Array) -> Array:
    """Return the average of A⊗A⊗A⊗A over matrices of shape (M, rows, columns)."""
    count, rows, columns = matrices.shape
    pairs = np.einsum("mia,mjb->mijab", matrices, matrices).reshape(count, -1)
    average = (pairs.T * weights @ pairs).reshape(rows**2, columns**2, rows**2, columns**2)
    return np.ascontiguousarray(average.transpose(0, 2, 1, 3)).reshape(rows**4, columns**4)
