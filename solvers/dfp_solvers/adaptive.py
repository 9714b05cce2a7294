"""RMSProp in one parameter as a Markov chain of (θ, u = log v): its stationary law on a grid.

A step draws g = λθ + noise, then v' = βv + (1 − β)g² and θ' = θ − ηg/(√v' + ε). The expectation of f(θ', u') is a
quadrature over g of f interpolated by polynomials of degree DEGREE; the transposed matrix moves mass, and keeps its
moments up to that degree. The law is even in θ, so that half of the line is kept; nodes are (i + ½)h.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.sparse import coo_array, csr_array

from dfp_solvers.arrays import Array, Integers

DEGREE = 7
"""Moments up to this order are kept where mass goes between nodes."""
# Probability that log v leaves the box, by Chernoff's bound.
_BEYOND = 1e-12
# Terms of v = (1 − β) Σ βᵏ g²: the rest is beyond rounding.
_ROUNDING = 1e-17


class Chain(NamedTuple):
    """Curvature λ, curvature noise Γ, gradient noise D, learning rate η, decay β, ε."""

    curvature: float
    curvature_noise: float
    gradient_noise: float
    learning_rate: float
    decay: float
    epsilon: float


class Rectangle(NamedTuple):
    """|θ| < reach; log v between lower and upper."""

    reach: float
    lower: float
    upper: float


class Law(NamedTuple):
    """Masses (T, U) at θ = (i + ½)h > 0, which stand for −θ as well, and log v."""

    theta: Array
    log_v: Array
    mass: Array


def log_v_range(decay: float, second_moment: float) -> tuple[float, float]:
    """Return bounds that log v leaves with probability 1e-12, for g² = ``second_moment`` times a χ² of one freedom."""
    terms = int(np.ceil(np.log(_ROUNDING) / np.log(decay))) + 1
    shares = (1 - decay) * decay ** np.arange(terms)
    steep = np.geomspace(1e-2, 1e12, 200)[:, None]
    below = (np.log(_BEYOND) + 0.5 * np.log1p(2 * steep * shares).sum(1)) / steep[:, 0]
    gentle = np.linspace(0, 0.5 / shares[0], 202)[1:-1, None]
    above = (-np.log(_BEYOND) - 0.5 * np.log1p(-2 * gentle * shares).sum(1)) / gentle[:, 0]
    return float(np.log(below.max() * second_moment)), float(np.log(above.min() * second_moment))


def frozen_variance(chain: Chain) -> float:
    """Return the stationary variance of SGD with v held at E g² = D + (λ² + Γ)V; infinite where there is none."""
    lam, noise = chain.curvature, chain.gradient_noise
    square = lam**2 + chain.curvature_noise

    def excess(variance: float) -> float:
        rate = chain.learning_rate / (np.sqrt(noise + square * variance) + chain.epsilon)
        return float(variance * (2 * lam - rate * square) - rate * noise)

    high = chain.learning_rate**2
    for _ in range(2000):  # the excess grows without bound, if slowly
        if excess(high) > 0:
            break
        high *= 2
    else:
        return np.inf
    return float(brentq(excess, 0.0, high, xtol=1e-300, rtol=1e-14))


def stationary(chain: Chain, box: Rectangle, nodes: tuple[int, int], quadrature: int) -> Law:
    """Return the fixed point of the chain on a grid of ``nodes`` (T, U), g by ``quadrature`` Gauss–Hermite nodes."""
    step = box.reach / nodes[0]
    theta = (np.arange(nodes[0]) + 0.5) * step
    log_v = np.linspace(box.lower, box.upper, nodes[1])
    moved = _transition(chain, theta, log_v, quadrature)
    size = nodes[0] * nodes[1]
    system = moved.T.toarray() - np.eye(size)
    # The mass is one; one of the equations follows from the others, best that of a node where there is much of it.
    spare = int(np.argmin(np.abs(np.exp(log_v) - chain.gradient_noise)))
    system[spare] = 1.0
    right = np.zeros(size)
    right[spare] = 1.0
    return Law(theta, log_v, np.linalg.solve(system, right).reshape(nodes))


def _transition(chain: Chain, theta: Array, log_v: Array, quadrature: int) -> csr_array:
    """Return the matrix of expectations, (TU, TU): row (θ, u), column (θ', u')."""
    count, span = len(theta), DEGREE + 1
    unit, weight = np.polynomial.hermite_e.hermegauss(quadrature)
    weight = weight / weight.sum()
    place, level, normal = np.meshgrid(theta, log_v, unit, indexing="ij")
    spread = np.sqrt(chain.gradient_noise + chain.curvature_noise * place**2)
    gradient = chain.curvature * place + spread * normal
    second = chain.decay * np.exp(level) + (1 - chain.decay) * gradient**2
    after = place - chain.learning_rate * gradient / (np.sqrt(second) + chain.epsilon)
    across, column = _shares(after / (theta[1] - theta[0]) - 0.5, -count, count - 1)
    along, row = _shares((np.log(second) - log_v[0]) / (log_v[1] - log_v[0]), 0, len(log_v) - 1)
    column = np.where(column < 0, -1 - column, column)  # the law is even
    target = column[..., :, None] * len(log_v) + row[..., None, :]
    shares = across[..., :, None] * along[..., None, :] * weight[:, None, None]
    source = np.repeat(np.arange(count * len(log_v)), quadrature * span**2)
    size = count * len(log_v)
    return coo_array((shares.ravel(), (source, target.ravel())), shape=(size, size)).tocsr()


def _shares(position: Array, lowest: int, highest: int) -> tuple[Array, Integers]:
    """Return Lagrange weights (..., DEGREE + 1) of the nodes around a position, and these nodes."""
    inside = np.clip(position, lowest, highest)
    first = np.floor(inside).astype(np.int64) - (DEGREE - 1) // 2
    offset, weights = inside - first, np.ones((*position.shape, DEGREE + 1))
    for i in range(DEGREE + 1):
        for j in range(DEGREE + 1):
            if i != j:
                weights[..., i] *= (offset - j) / (i - j)
    # Nodes beyond the box have no mass: one-sided weights instead would be unstable where steps are short.
    nodes = first[..., None] + np.arange(DEGREE + 1)
    outside = (nodes < lowest) | (nodes > highest)
    return np.where(outside, 0.0, weights), np.where(outside, highest, nodes)
