"""The stationary probabilities of a Markov generator: its null vector, by implicit steps or from an M-matrix."""

import numpy as np

from dfp_solvers.arrays import Array
from dfp_solvers.markov_chain.evolution import implicit, lu
from dfp_solvers.markov_chain.generator import Generator, fastest

_LONG = 1e8  # jumps of one implicit step


def _inverse_iteration(matrix: Generator, rate: float) -> Array | None:
    """Return the stationary probabilities by implicit steps of 10⁸ jumps each, or None if they do not converge fast.

    A step multiplies what is not stationary by 1/(1 + 10⁸ gap/rate); slower chains, and reducible ones, are left to the
    pivoted system.
    """
    vector = np.full(matrix.shape[0], 1.0 / matrix.shape[0])
    factors = implicit(matrix, _LONG / rate)
    for _ in range(4):
        moved = factors.solve(vector)
        moved = np.maximum(moved, 0.0) / moved.sum()
        change = float(np.abs(moved - vector).sum())
        vector = moved
        if change < 1e-12:
            return vector if float(vector.min()) > 0 else None
    return None


def stationary_vector(matrix: Generator) -> Array:
    """Return the probabilities p >= 0, Σp = 1, with G p = 0, of a generator with reflecting walls, shape (n,).

    One cell is given weight one and the others follow from an M-matrix, whose factors need no pivoting; the solution is
    repeated from the most probable cell, so that no weight overflows.

    Raises
    ------
    ValueError
        If there is no unique stationary vector: some cells cannot be reached from others.
    """
    columns = matrix.tocsc()
    n, rate = columns.shape[0], fastest(matrix)
    quick = _inverse_iteration(matrix, rate) if rate > 0 else None
    if quick is not None:
        return quick
    # One implicit step from the uniform density, long enough to be nearly stationary.
    pivot = int(np.argmax(implicit(matrix, _LONG / rate).solve(np.ones(n)))) if rate > 0 else 0
    for _ in range(5 if rate > 0 else 0):
        rest = np.flatnonzero(np.arange(n) != pivot)
        try:
            factors = lu(-columns[rest][:, rest])
        except RuntimeError:
            break
        weights = np.ones(n)
        weights[rest] = factors.solve(columns[rest][:, [pivot]].toarray()[:, 0])
        if not np.all(np.isfinite(weights)) or weights.min() < -1e-9 * weights.max():
            break
        weights = np.maximum(weights, 0.0)
        pivot = int(np.argmax(weights))
        if weights[pivot] < 1e8:
            return weights / weights.sum()
    raise ValueError("generator: has no unique stationary vector; every cell must be reachable from every other.")
