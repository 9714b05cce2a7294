"""Exits on a line, however rare: maps with Gaussian kernels (T4) on panels of nodes, solved without a subtraction.

The kernel restricted to a domain is taken to Gauss–Legendre nodes of panels a few kernels long, so that its matrix M is
a band. What leaves a node is known in closed form, so every row of I − M is given by non-negative numbers: what goes to
each other node, and what leaves. Elimination then only adds, multiplies and divides such numbers (Grassmann, Taksar
and Heyman 1985; Alfa, Xue and Ye 2002), and a mean of 10¹⁷ steps keeps the digits that a mean of ten has.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import ndtr

from dfp_solvers.absorbing import gaussian_kernel
from dfp_solvers.arrays import Array
from dfp_solvers.jit import kernel

# Nodes of a panel, and its length in widths of the kernel: rounding is reached (tried: 1e-13 in mean exits).
NODES, LENGTH = 16, 4.0
# Deviations to which a kernel is followed: all there are in double precision where matrices are small, else e^−98.
_ALL, _FAR, _SMALL = 38.0, 14.0, 900
# What leaves a step at least, so that a law that nothing leaves is a limit and no special case.
_LEAST = 1e-200
# Inverse iterations for the quasi-stationary law, and the change that ends them.
_ITERATIONS, _SETTLED = 500, 1e-13


def panels(intervals: Array, width: float, length: float = LENGTH) -> tuple[Array, Array]:
    """Return nodes (n,) and weights (n,) on disjoint ``intervals`` (m, 2), ascending, for kernels of this ``width``."""
    place, weight = np.polynomial.legendre.leggauss(NODES)
    nodes, weights = [], []
    for lower, upper in intervals:
        count = max(int(np.ceil((upper - lower) / (length * width))), 1)
        half = (upper - lower) / count / 2
        middles = lower + half * (2 * np.arange(count) + 1)
        nodes.append((middles[:, None] + half * place).ravel())
        weights.append(np.tile(half * weight, count))
    return np.concatenate(nodes), np.concatenate(weights)


def between(lower: Array | float, upper: Array | float, moved: Array, deviation: Array) -> Array:
    """Return the masses that Gaussians of means ``moved`` and ``deviation``, both (n,), have in an interval, (n,)."""
    a, b = (lower - moved) / deviation, (upper - moved) / deviation
    # Both tails are small numbers: taken on the side where they are.
    right = a > 0
    return np.where(right, ndtr(-a) - ndtr(-b), ndtr(b) - ndtr(a))


@kernel(fast=True)
def _fill(nodes: Array, weights: Array, moved: Array, deviation: Array, below: int, band: Array) -> None:
    """Write the weighted kernel from each node to those in its band."""
    n, width = band.shape
    for i in range(n):
        peak = 1 / (np.sqrt(2 * np.pi) * deviation[i])
        for c in range(max(below - i, 0), min(width, n + below - i)):
            j = i - below + c
            z = (nodes[j] - moved[i]) / deviation[i]
            band[i, c] = weights[j] * peak * np.exp(-0.5 * z * z)


@kernel(fast=True)
def _eliminate(band: Array, leaving: Array, below: int) -> Array:
    """Censor the last node, then the one before, …: write the factors over ``band`` and return the pivots.

    ``leaving`` becomes what leaves each node for good before a node of smaller index is met.
    """
    n, width = band.shape
    above = width - 1 - below
    pivots = np.empty(n)
    for k in range(n - 1, -1, -1):
        first = max(k - below, 0)
        total = leaving[k]
        for j in range(first, k):
            total += band[k, j - k + below]
        pivots[k] = total
        for i in range(max(k - above, 0), k):
            share = band[i, k - i + below] / total
            if share == 0.0:
                continue
            leaving[i] += share * leaving[k]
            to, origin = below - i, below - k
            for j in range(first, k):
                band[i, j + to] += share * band[k, j + origin]
    return pivots


@kernel(fast=True)
def _backward(band: Array, pivots: Array, below: int, right: Array) -> Array:
    """Return u with (I − M) u = ``right``."""
    n, width = band.shape
    above = width - 1 - below
    u = right.copy()
    for k in range(n - 1, -1, -1):
        scaled = u[k] / pivots[k]
        for i in range(max(k - above, 0), k):
            u[i] += band[i, k - i + below] * scaled
    for k in range(n):
        total = u[k]
        for j in range(max(k - below, 0), k):
            total += band[k, j - k + below] * u[j]
        u[k] = total / pivots[k]
    return u


@kernel(fast=True)
def _forward(band: Array, pivots: Array, below: int, left: Array) -> Array:
    """Return p with p (I − M) = ``left``."""
    n, width = band.shape
    above = width - 1 - below
    p = left.copy()
    for k in range(n - 1, -1, -1):
        p[k] /= pivots[k]
        for j in range(max(k - below, 0), k):
            p[j] += p[k] * band[k, j - k + below]
    for k in range(n):
        total = 0.0
        for i in range(max(k - above, 0), k):
            total += p[i] * band[i, k - i + below]
        p[k] += total / pivots[k]
    return p


@kernel(fast=True)
def _pushed(band: Array, below: int, masses: Array) -> Array:
    """Return the masses after one restricted step."""
    n, width = band.shape
    result = np.zeros(n)
    for i in range(n):
        for c in range(max(below - i, 0), min(width, n + below - i)):
            result[i - below + c] += masses[i] * band[i, c]
    return result


@dataclass(frozen=True)
class LineStep:
    """One step on a line, restricted to a domain: what goes from node to node, and what leaves.

    Attributes
    ----------
    band
        M[i, j] at [i, j − i + below], shape (n, width).
    leaving
        Probability to leave from each node, shape (n,).
    """

    band: Array
    below: int
    leaving: Array

    @cached_property
    def _factors(self) -> tuple[Array, Array]:
        band = self.band.copy()
        # Where what leaves is below all numbers, visits stay finite.
        return band, _eliminate(band, np.maximum(self.leaving, _LEAST), self.below)

    def expected(self, rewards: Array) -> Array:
        """Return the mean sum of ``rewards`` (n,) >= 0 over the steps until it leaves, from each node, (n,)."""
        return _backward(*self._factors, self.below, rewards)

    def visits(self, masses: Array) -> Array:
        """Return the mean number of visits of each node from ``masses`` (n,) on them, shape (n,)."""
        return _forward(*self._factors, self.below, masses)

    def step(self, masses: Array) -> Array:
        """Return the masses after one step, shape (n,)."""
        return _pushed(self.band, self.below, masses)

    @cached_property
    def quasi_stationary(self) -> tuple[Array, float]:
        """The law (n,) of what has not left after long, as masses, and the probability with which it leaves a step."""
        law = np.full(len(self.leaving), 1.0 / len(self.leaving))
        for _ in range(_ITERATIONS):
            found = self.visits(law)
            found /= found.sum()
            change = float(np.abs(found - law).sum())
            law = found
            if change < _SETTLED:
                break
        return law, float(law @ self.leaving)


def bandwidth(nodes: Array, moved: Array, deviation: Array) -> tuple[int, int]:
    """Return how many nodes below and above its own a step may reach; elimination takes n times their product."""
    n = len(nodes)
    far = _ALL if n <= _SMALL else _FAR
    first = np.searchsorted(nodes, moved - far * deviation)
    last = np.searchsorted(nodes, moved + far * deviation) - 1
    index = np.arange(n)
    return int(np.clip(np.max(index - first), 1, n - 1)), int(np.clip(np.max(last - index), 1, n - 1))


def restricted(nodes: Array, weights: Array, moved: Array, deviation: Array, leaving: Array) -> LineStep:
    """Return one step between ``nodes`` (n,) with ``weights`` (n,).

    Parameters
    ----------
    moved, deviation
        Mean and deviation of where a step from each node ends, shape (n,).
    leaving
        Probability that it ends outside, shape (n,).
    """
    below, above = bandwidth(nodes, moved, deviation)
    band = np.zeros((len(nodes), below + above + 1))
    _fill(nodes, weights, moved, deviation, below, band)
    return LineStep(band, below, leaving)


def arrived(axis: Array, masses: Array, moved: Array, deviation: Array) -> Array:
    """Return the density at places ``axis`` (m,), ascending, of ``masses`` (n,) that a step has taken there, (m,)."""
    kernel_ = gaussian_kernel(
        [axis], moved[:, None], deviation[:, None, None] ** 2, _ALL if len(moved) <= _SMALL else _FAR
    )
    result: Array = kernel_ @ masses
    return result


def arrivals(nodes: Array, weights: Array, moved: Array, deviation: Array) -> Array:
    """Return the masses on ``nodes`` (n,) after a step from m places with these means and deviations, (m, n)."""
    z = (nodes - moved[:, None]) / deviation[:, None]
    return weights * np.exp(-0.5 * z * z) / (np.sqrt(2 * np.pi) * deviation[:, None])
