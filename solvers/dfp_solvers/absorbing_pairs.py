"""First passage on a line with heavy-ball momentum: the state is a pair of places, (θ_{n−1}, θ_n), since v = −Δθ/η.

The next place is Gaussian about θ_n + β(θ_n − θ_{n−1}) − ηḡ(θ_n), so that a step takes the density of pairs on nodes
(x_i, x_j) to (x_j, y): an integral over x_i alone, of functions that are smooth inside the walls (T19).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import sparse

from dfp_solvers.absorbing import gaussian_kernel, legendre
from dfp_solvers.arrays import Array
from dfp_solvers.escape.line import between

# Mean and deviation of where plain steps from places (n,) end.
Step = Callable[[Array], tuple[Array, Array]]


class Pairs(NamedTuple):
    """A restricted step between pairs of nodes."""

    matrix: sparse.csc_array
    """Densities of pairs one step later, (n², n²)."""
    weights: Array
    """Of the pairs, shape (n²,)."""
    out: Array
    """Probability to leave in a step from each pair, shape (n²,)."""
    first: Array
    """Densities of the pairs of places after steps one and two, shape (n²,)."""
    inside: float
    """Mass inside after step one."""


def restricted(
    step: Step, momentum: float, lower: float, upper: float, count: int, starts: Array, masses: Array
) -> Pairs:
    """Return the step of SGD with ``momentum`` inside an interval, on ``count`` nodes, from ``starts`` (m,) at rest."""
    (axis,), _, weights = legendre(np.array([lower]), np.array([upper]), (count,))
    plain, deviation = step(axis)

    def moved(before: Array) -> tuple[Array, Array]:
        """Return means and variances of the step after pairs (m, n), ``before`` (m,) and every node."""
        means = plain + momentum * (axis - before[:, None])
        return means.reshape(-1, 1), np.tile(deviation**2, len(before)).reshape(-1, 1, 1)

    means, variances = moved(axis)
    kernel = gaussian_kernel([axis], means, variances)
    number = np.diff(kernel.indptr)
    # From the pair (i, j) to (j, y), summed over i.
    rows = np.repeat(np.tile(np.arange(count), count) * count, number) + kernel.indices
    entries = kernel.data * np.repeat(np.repeat(weights, count), number)
    matrix = sparse.csc_array((entries, rows.astype(np.int32), kernel.indptr), shape=(count**2, count**2))
    spread = np.sqrt(variances[:, 0, 0])
    out = between(-np.inf, lower, means[:, 0], spread) + between(upper, np.inf, means[:, 0], spread)
    first, inside = np.zeros((count, count)), 0.0
    for start, mass in zip(starts, masses, strict=True):
        at, width = step(np.array([start]))
        once = gaussian_kernel([axis], at[:, None], width[:, None, None] ** 2).toarray()[:, 0]
        twice = gaussian_kernel([axis], *moved(np.array([start]))).toarray()
        first += mass * once[:, None] * twice.T
        inside += mass * float(between(lower, upper, at, width)[0])
    return Pairs(matrix, np.outer(weights, weights).ravel(), out, first.ravel(), inside)
