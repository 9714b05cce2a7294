"""The truth by enumeration: moments of SGD from every minibatch, without any code of dfp.

With μ the mean, a minibatch moves φ = (1, μ, θ − μ) linearly, φ' = A_ξ φ. So E[φ⊗φ⊗φ⊗φ], which holds all moments up to
the fourth, moves with the one matrix E[A_ξ⊗A_ξ⊗A_ξ⊗A_ξ], and no step subtracts large numbers (T8, T9).
"""

from dataclasses import dataclass
from itertools import product
from typing import Any

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
    gained = _fourfold(_increments(minibatches, rate, centre), minibatches.weights)
    weights, points = normals(d)
    values, vectors = np.linalg.eigh(covariance)
    start = np.ones((len(weights), 1 + 2 * d))
    start[:, 1 : d + 1] = mean - centre
    start[:, d + 1 :] = points @ (vectors * np.sqrt(values.clip(0))).T
    state = np.einsum("m,ma,mb,mc,md->abcd", weights, start, start, start, start, optimize=True).ravel()
    for _ in range(steps):
        state = state + gained @ state
    tensor = state.reshape((1 + 2 * d,) * 4)
    place = np.hstack([np.zeros((d, 1)), np.eye(d), np.eye(d)])
    fourth = np.einsum("ia,jb,kc,ld,abcd->ijkl", place, place, place, place, tensor, optimize=True)
    return Moments(centre + tensor[0, 0, 0, 1 : d + 1], tensor[0, 0, d + 1 :, d + 1 :], fourth)


def _increments(minibatches: Minibatches, rate: float, centre: Array) -> Array:
    """Return A_ξ − I of one step of φ = (1, μ − centre, θ − μ), shape (M, 1 + 2d, 1 + 2d)."""
    d = len(centre)
    hessian = np.tensordot(minibatches.weights, minibatches.hessians, 1)
    gradients = minibatches.gradients + minibatches.hessians @ centre
    gradient = minibatches.weights @ gradients
    mean, deviation = slice(1, d + 1), slice(d + 1, None)
    result = np.zeros((len(gradients), 1 + 2 * d, 1 + 2 * d))
    result[:, mean, mean] = -rate * hessian
    result[:, mean, 0] = -rate * gradient
    result[:, deviation, deviation] = -rate * minibatches.hessians
    result[:, deviation, mean] = -rate * (minibatches.hessians - hessian)
    result[:, deviation, 0] = -rate * (gradients - gradient)
    return result


def _fourfold(increments: Array, weights: Array) -> Array:
    """Return E[A⊗A⊗A⊗A] − I from A − I of shape (M, n, n): what is left of rounding shrinks with the learning rate."""
    count, n = increments.shape[:2]
    one = np.eye(n)
    pairs = np.einsum("mia,jb->mijab", increments, one) + np.einsum("ia,mjb->mijab", one, increments)
    pairs = (pairs + np.einsum("mia,mjb->mijab", increments, increments)).reshape(count, n**4)
    products = (pairs.T * weights @ pairs).reshape((n * n,) * 4).transpose(0, 2, 1, 3).reshape(n**4, n**4)
    mean, one = (weights @ pairs).reshape(n * n, n * n), np.eye(n * n)
    return products + np.kron(mean, one) + np.kron(one, mean)
