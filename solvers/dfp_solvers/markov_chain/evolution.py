"""Time integration of dp/dt = G p for sparse Markov generators: mass and sign to round-off, cost that stops growing.

Three ways, each to a tolerance of about 1e-10 in L1; ``propagate`` takes the cheapest:

    uniformise   Poisson mixture of powers of I + G/rate (``uniformisation.py``): positive by construction; ends once
                 the chain is stationary; cost ∝ rate × time until then
    transition   the dense matrix exp(tG) by scaling and squaring of stochastic matrices: positive by construction; cost
                 ∝ log(rate × time), for small chains
    arnoldi      Krylov space of (I − γG)⁻¹ (van den Eshof and Hochbruck 2006): a sparse factorisation and some tens of
                 solves for any time; entries negative by less than the tolerance are set to zero
"""

from typing import Any

import numpy as np
from scipy import sparse
from scipy.linalg import expm
from scipy.sparse.linalg import splu

from dfp_solvers.arrays import Array
from dfp_solvers.jit import kernel
from dfp_solvers.markov_chain.generator import Generator, conserves, fastest
from dfp_solvers.markov_chain.uniformisation import TOLERANCE, uniformise

# Squaring dense matrices beyond this size costs minutes.
DENSE_SIZE = 2000
# γ = time / _SHIFT: ten is near the optimum for errors of 1e-10 (van den Eshof and Hochbruck 2006, section 4).
_SHIFT = 10.0
# Longest time of one factorisation over the shortest time to leave a cell: rounding grows with it, to 1e-11 here.
_LONGEST = 1e7
# Two Krylov spaces never agree better than this, by rounding.
_FINEST = 1e-13
# Into how many parts a time is cut where it is too long for a Krylov space, and how often.
_PARTS, _CUTS = 8, 4


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
    """Return the factors of I − γG, γ = time/10, for ``arnoldi``."""
    return implicit(matrix, time / _SHIFT)


def implicit(matrix: Generator, time: float) -> Any:
    """Return the sparse factors of I − time·G, an implicit step."""
    return lu(sparse.eye_array(matrix.shape[0], format="csc") - time * matrix.tocsc())


def lu(matrix: sparse.csc_array) -> Any:
    """Return the sparse factors of an M-matrix, which needs no pivoting."""
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
    for _ in range(pieces):
        result = _piece(matrix, start, time / pieces, cache, (tolerance / pieces, tolerance), _CUTS)
        if result is None:
            return None
        if conserves(matrix):
            result *= start.sum() / result.sum()
        if float(np.abs(result - start).sum()) <= TOLERANCE / 10:
            return result
        start = result
    return start


def _piece(
    matrix: Generator, start: Array, time: float, cache: dict[float, Any], tolerances: tuple[float, float], shorter: int
) -> Array | None:
    """Return exp(time·G) start, where ``arnoldi`` fails from shorter and shorter times; None if it fails in all.

    Down a steep wall mass moves as a pulse, which no small space holds for long. ``tolerances`` are those of this time
    and of what may be negative.
    """
    tolerance, negative = tolerances
    if time not in cache:
        if len(cache) > _CUTS:
            cache.clear()
        cache[time] = factorise(matrix, time)
    result = arnoldi(cache[time], start, max(tolerance, _FINEST))
    if result is not None and -float(np.minimum(result, 0).sum()) <= negative * float(start.sum()):
        return result
    if not shorter:
        return None
    state: Array | None = start
    for _ in range(_PARTS):
        if state is not None:
            state = _piece(matrix, state, time / _PARTS, cache, (tolerance / _PARTS, negative), shorter - 1)
    return state
