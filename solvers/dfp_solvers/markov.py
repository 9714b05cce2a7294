"""Time integration of dp/dt = G p for sparse Markov generators: mass and sign to round-off, cost that stops growing.

Three ways, each to a tolerance of about 1e-10 in L1; ``propagate`` takes the cheapest:

    uniformise   Poisson mixture of powers of I + G/rate (Jensen 1953): positive by construction; ends once the chain is
                 stationary; cost ∝ rate × time until then
    transition   the dense matrix exp(tG) by scaling and squaring of stochastic matrices: positive by construction; cost
                 ∝ log(rate × time), for small chains
    arnoldi      Krylov space of (I − γG)⁻¹ (van den Eshof and Hochbruck 2006): a sparse factorisation and some tens of
                 solves for any time; entries negative by less than the tolerance are set to zero
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import expm
from scipy.sparse.linalg import splu

from dfp_solvers.jit import kernel

Array = NDArray[np.floating[Any]]
Integers = NDArray[np.int32]
TOLERANCE = 1e-10
# Squaring dense matrices beyond this size costs minutes.
DENSE_SIZE = 2000
# γ = time / _SHIFT: ten is near the optimum for errors of 1e-10 (van den Eshof and Hochbruck 2006, section 4).
_SHIFT = 10.0
# Longest time of one factorisation over the shortest time to leave a cell: rounding grows with it, to 1e-11 here.
_LONGEST = 1e7
# Jumps between looks at how fast changes decay, and the L1 norm below which changes are rounding.
_WINDOW = 512
_FLOOR = 1e-14


class Generator(NamedTuple):
    """A generator in compressed columns; wherever one is asked for, a ``csc_array`` of SciPy's will do.

    This is what it holds, without its checks, which take longer than the evolution of a small chain.
    """

    indptr: Integers
    """Where each column begins, shape (n + 1,)."""
    indices: Integers
    """Rows, ascending in each column."""
    data: Array
    """Entries."""

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return len(self.indptr) - 1, len(self.indptr) - 1

    @property
    def nnz(self) -> int:
        """Number of entries."""
        return len(self.data)

    def tocsc(self) -> sparse.csc_array:
        """Return it as an array of SciPy's."""
        result = sparse.csc_array((self.data, self.indices, self.indptr), shape=self.shape)
        result.has_sorted_indices = True
        return result


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
def _balance(pointers: Integers, rows: Integers, entries: Array) -> tuple[float, float]:
    """Return the largest rate of leaving a cell and the largest |sum| of a column, of a generator in columns."""
    fastest, imbalance = -np.inf, 0.0
    for j in range(len(pointers) - 1):
        total, diagonal = 0.0, 0.0
        for p in range(pointers[j], pointers[j + 1]):
            total += entries[p]
            if rows[p] == j:
                diagonal = entries[p]
        fastest, imbalance = max(fastest, -diagonal), max(imbalance, abs(total))
    return fastest, imbalance


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
    result: Array = _uniformised(matrix.indptr, matrix.indices, matrix.data, start, time, rate, tolerance)
    return result


def fastest(matrix: Generator) -> float:
    """Return the largest rate of leaving a cell."""
    return float(_balance(matrix.indptr, matrix.indices, matrix.data)[0])


def transition(matrix: Generator, time: float) -> Array:
    """Return the dense matrix exp(time·G), shape (n, n), non-negative, by scaling and squaring.

    Columns that must sum to one are rescaled after every squaring, so that rounding does not accumulate.
    """
    n = matrix.shape[0]
    mean = fastest(matrix) * time
    result: Array = np.eye(n)
    if mean == 0:
        return result
    squarings = max(0, int(np.ceil(np.log2(mean))))
    short = mean / 2**squarings
    jumps = sparse.eye_array(n, format="csr") + matrix.tocsc().tocsr() / fastest(matrix)
    term = np.exp(-short) * np.eye(n)
    result = term.copy()
    for k in range(1, 25):
        term = (jumps @ term) * (short / k)
        result += term
    conserving = conserves(matrix)
    for s in range(squarings + 1):
        if s:
            result = result @ result
        # Numbers this small slow products down and matter to no result.
        result[result < 1e-200] = 0.0
        if conserving:
            result /= result.sum(axis=0)
    return result


def factorise(matrix: Generator, time: float) -> Any:
    """Return the sparse factors of I − γG, γ = time/10, for ``arnoldi``; an M-matrix, so that no pivoting is needed."""
    return _factors(sparse.eye_array(matrix.shape[0], format="csc") - time / _SHIFT * matrix.tocsc())


def _factors(matrix: sparse.csc_array) -> Any:
    return splu(matrix.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})


def arnoldi(factors: Any, start: Array, tolerance: float = TOLERANCE, largest: int = 100) -> Array | None:
    """Return exp(time·G) start from the Krylov space of (I − γG)⁻¹, or None if it does not converge.

    Parameters
    ----------
    factors
        From ``factorise(G, time)``.
    start
        Shape (n,).
    largest
        Largest dimension of the space.

    Notes
    -----
    The error is estimated by the difference from a space smaller by five, in L1.
    """
    size = float(np.linalg.norm(start))
    if size == 0:
        return start.copy()
    basis = np.empty((largest + 1, len(start)))
    basis[0] = start / size
    projected = np.zeros((largest + 1, largest))
    previous: Array | None = None
    for m in range(1, largest + 1):
        vector = factors.solve(basis[m - 1])
        for _ in range(2):
            overlap = basis[:m] @ vector
            vector -= overlap @ basis[:m]
            projected[:m, m - 1] += overlap
        projected[m, m - 1] = np.linalg.norm(vector)
        closed = m == len(start) or projected[m, m - 1] <= 1e-15
        if m % 5 == 0 or closed:
            inverse = np.linalg.inv(projected[:m, :m])
            result: Array = size * (expm((np.eye(m) - inverse) * _SHIFT)[:, 0] @ basis[:m])
            if closed or (previous is not None and np.abs(result - previous).sum() <= tolerance / 2):
                return result
            previous = result
        basis[m] = vector / projected[m, m - 1]
    return None


def conserves(matrix: Generator) -> bool:
    """Tell whether every column sums to zero."""
    rate, imbalance = _balance(matrix.indptr, matrix.indices, matrix.data)
    return bool(imbalance <= 1e-12 * rate)


def propagate(
    matrix: Generator,
    start: Array,
    time: float,
    dimension: int,
    cache: dict[float, Any] | None = None,
    tolerance: float = TOLERANCE,
) -> Array:
    """Return exp(time·G) start by uniformisation or, where that costs more, from a rational Krylov space.

    Parameters
    ----------
    matrix
        Generator G, shape (n, n).
    start
        Non-negative, shape (n,).
    time
        Elapsed time, >= 0.
    dimension
        Of the grid, which decides what factors cost: from 3 on they fill up and are not used.
    cache
        Keeps factors for later calls with the same matrix and time.
    tolerance
        L1 error, about.

    Returns
    -------
    Array
        Shape (n,), non-negative; of the same sum as ``start`` if the columns of G sum to zero.
    """
    n = len(start)
    mean = fastest(matrix) * time
    # Seconds, measured: what matters is where they cross.
    direct = (mean + 8 * np.sqrt(mean)) * (1.6e-9 * matrix.nnz + 1e-7)
    factored = 1e-3 + 1e-6 * n if dimension == 1 else 1e-7 * n**1.5 if dimension == 2 else np.inf
    kept: dict[float, Any] = {} if cache is None else cache
    result = _krylov(matrix, start, time, kept, tolerance) if direct > factored else None
    if result is None:
        result = uniformise(matrix, start, time, tolerance)
    _repair(result, start, conserves(matrix))
    return result


@kernel()
def _repair(moved: Array, start: Array, conserving: bool) -> None:
    """Remove in place what is negative in ``moved`` and, with ``conserving``, give it the sum of ``start``."""
    before, after = 0.0, 0.0
    for i in range(len(moved)):
        if moved[i] < 0:
            moved[i] = 0.0
        before += start[i]
        after += moved[i]
    if conserving:
        for i in range(len(moved)):
            moved[i] *= before / after


def _krylov(matrix: Generator, start: Array, time: float, cache: dict[float, Any], tolerance: float) -> Array | None:
    """Return exp(time·G) start by ``arnoldi`` in equal pieces until one changes nothing; None if it fails."""
    pieces = int(np.ceil(fastest(matrix) * time / _LONGEST))
    piece = time / pieces
    if piece not in cache:
        cache.clear()
        cache[piece] = factorise(matrix, piece)
    for _ in range(pieces):
        result = arnoldi(cache[piece], start, tolerance / pieces)
        if result is None or -float(np.minimum(result, 0).sum()) > tolerance * float(start.sum()):
            return None
        if conserves(matrix):
            result *= start.sum() / result.sum()
        if float(np.abs(result - start).sum()) <= TOLERANCE / 10:
            return result
        start = result
    return start


def _inverse_iteration(matrix: sparse.csc_array, rate: float) -> Array | None:
    """Return the stationary probabilities by implicit steps of 10⁸ jumps each, or None if they do not converge fast.

    A step multiplies what is not stationary by 1/(1 + 10⁸ gap/rate); slower chains, and reducible ones, are left to the
    pivoted system.
    """
    vector = np.full(matrix.shape[0], 1.0 / matrix.shape[0])
    factors = factorise(matrix, 1e8 / rate * _SHIFT)
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
    quick = _inverse_iteration(columns, rate) if rate > 0 else None
    if quick is not None:
        return quick
    # One implicit step from the uniform density, long enough to be nearly stationary.
    pivot = int(np.argmax(factorise(matrix, 1e9 / rate).solve(np.ones(n)))) if rate > 0 else 0
    for _ in range(5 if rate > 0 else 0):
        rest = np.flatnonzero(np.arange(n) != pivot)
        try:
            factors = _factors(-columns[rest][:, rest])
        except RuntimeError:
            break
        weights = np.ones(n)
        weights[rest] = factors.solve(columns[rest][:, [pivot]].toarray()[:, 0])
        if not np.all(np.isfinite(weights)) or weights.min() < -1e-9 * weights.max():
            break
        weights = np.maximum(weights, 0.0)
        pivot = int(np.argmax(weights))
        if weights[pivot] < 1e8:
            result: Array = weights / weights.sum()
            return result
    raise ValueError("generator: has no unique stationary vector; every cell must be reachable from every other.")
