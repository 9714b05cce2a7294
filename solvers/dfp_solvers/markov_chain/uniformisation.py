"""Uniformisation of dp/dt = G p: a Poisson mixture of powers of I + G/rate, positive by construction (Jensen 1953)."""

import math

import numpy as np
from numpy.typing import NDArray

from dfp_solvers.arrays import Array
from dfp_solvers.jit import kernel
from dfp_solvers.markov_chain.generator import Generator, fastest

Integers = NDArray[np.int32]
TOLERANCE = 1e-10
# Jumps between looks at how fast changes decay, and the L1 norm below which changes are rounding.
_WINDOW = 512
_FLOOR = 1e-14


@kernel(fast=True)
def _jump(pointers: Integers, columns: Integers, entries: Array, share: float, start: Array, moved: Array) -> float:
    """Write ``moved`` = (I + share·G) ``start`` for G in compressed rows; return the L1 norm of the change."""
    change = 0.0
    for i in range(len(start)):
        total = 0.0
        for p in range(pointers[i], pointers[i + 1]):
            total += entries[p] * start[columns[p]]
        moved[i] = start[i] + share * total
        change += abs(total)
    return change * share


@kernel()
def _rows(pointers: Integers, rows: Integers, entries: Array) -> tuple[Integers, Integers, Array]:
    """Return a square matrix in compressed rows from one in columns; SciPy takes longer to check a small one."""
    begins = np.zeros(len(pointers), dtype=np.int32)
    for p in range(len(rows)):
        begins[rows[p] + 1] += 1
    for i in range(len(pointers) - 1):
        begins[i + 1] += begins[i]
    ends, columns, moved = begins[:-1].copy(), np.empty(len(rows), dtype=np.int32), np.empty(len(rows))
    for j in range(len(pointers) - 1):
        for p in range(pointers[j], pointers[j + 1]):
            at = ends[rows[p]]
            columns[at], moved[at] = j, entries[p]
            ends[rows[p]] += 1
    return begins, columns, moved


@kernel()
def _settled(change: float, earlier: float, remaining: int, tolerance: float) -> bool:
    """Tell whether the ``remaining`` jumps matter, from the L1 norm of the last change and of one _WINDOW jumps before.

    The norm never grows, so together they move by at most ``remaining`` times the last. Less if it decays
    geometrically, as it does when one mode is left; if it no longer does, it is rounding.
    """
    if change * remaining <= tolerance / 4:
        return True
    if not np.isfinite(earlier):
        return False
    if change < 0.9 * earlier:
        return change / (1 - math.pow(change / earlier, 1 / _WINDOW)) <= tolerance / 100
    return change < _FLOOR


@kernel()
def _mixture(
    pointers: Integers,
    columns: Integers,
    entries: Array,
    share: float,
    start: Array,
    first: int,
    weights: Array,
    tolerance: float,
) -> tuple[Array, int]:
    """Return Σ_k weights[k] (I + share·G)^(first + k) ``start`` and the number of jumps made."""
    vector, moved, total = start.copy(), np.empty_like(start), np.zeros_like(start)
    last, earlier, left = first + len(weights) - 1, np.inf, 1.0
    for k in range(last + 1):
        if k >= first:
            for i in range(len(start)):
                total[i] += weights[k - first] * vector[i]
            left -= weights[k - first]
        if k == last:
            return total, k
        change = _jump(pointers, columns, entries, share, vector, moved)
        vector, moved = moved, vector
        if _settled(change, earlier if k % _WINDOW == 0 else np.inf, last - k, tolerance):
            return total + left * vector, k + 1
        if k % _WINDOW == 0:
            earlier = change
    return total, last


@kernel()
def poisson(mean: float, tolerance: float) -> tuple[int, Array]:
    """Return the first index and the Poisson probabilities of ``mean`` that hold all but ``tolerance`` of the mass.

    By recurrence from the mode, normalised (Fox and Glynn 1988): no factorial, no underflow.
    """
    mode = int(mean)
    reach = int(np.ceil(np.sqrt(-2 * np.log(tolerance / 4)) * np.sqrt(mean + 1) - np.log(tolerance))) + 1
    first = max(mode - reach, 0)
    weights = np.empty(mode + reach + 1 - first)
    weights[mode - first] = 1.0
    for k in range(mode + 1, mode + reach + 1):
        weights[k - first] = weights[k - first - 1] * mean / k
    for k in range(mode, first, -1):
        weights[k - first - 1] = weights[k - first] * k / mean
    return first, weights / weights.sum()


@kernel()
def _uniformised(
    pointers: Integers, rows: Integers, entries: Array, start: Array, time: float, rate: float, tolerance: float
) -> Array:
    first, weights = poisson(rate * time, tolerance / 2)
    begins, columns, moved = _rows(pointers, rows, entries)
    return _mixture(begins, columns, moved, 1 / rate, start, first, weights, tolerance)[0]


def uniformise(matrix: Generator, start: Array, time: float, tolerance: float = TOLERANCE) -> Array:
    """Return exp(time·G) start, a Poisson mixture of jumps; stops where the remaining jumps change nothing.

    Parameters
    ----------
    matrix
        Generator G, shape (n, n).
    start
        Non-negative, shape (n,).
    time
        Elapsed time, >= 0.
    """
    # Above the fastest rate, so that jumps to and fro, with an eigenvalue near −1, die out as well.
    rate = 1.1 * fastest(matrix)
    if rate * time == 0:
        return start.copy()
    return _uniformised(matrix.indptr, matrix.indices, matrix.data, start, time, rate, tolerance)
