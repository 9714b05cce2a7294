"""Finite volumes for ∂_t P = −∂_i(f_i P) + ½ ∂_i∂_j(Q_ij P) on a uniform grid: rates of a Markov chain between cells.

A cell jumps by the integer offset ±e_s at the rate ½ (ρ_s x_s coth x_s ± a_s), x_s = a_s / ρ_s, where, in units of
cells,

    Q = Σ_s ρ_s e_s e_sᵀ, ρ_s >= 0        Selling's decomposition: d(d+1)/2 offsets, also for full tensors
    f = Σ_s a_s e_s, a_s = ρ_s e_s·Q⁻¹f   the drift along the same offsets

Rates are never negative and mass is conserved, whatever the grid: these are the exponential weights of Scharfetter and
Gummel (1969) and of Chang and Cooper (1970), here for a drift known at cell centres. The mean moves exactly; errors are
of second order and smooth, as Richardson extrapolation needs, up to cells as long as Q/f; longer ones are upwinded.

Selling's decomposition: Fehrenbach and Mirebeau (2014). Equations (T6) and (T7) of the theory page.
"""

import math

import numpy as np
from numpy.typing import NDArray

from dfp_solvers.arrays import Array, Integers
from dfp_solvers.jit import kernel
from dfp_solvers.markov_chain.generator import Generator

Indices = NDArray[np.int32]
# Off-diagonal entries and inner products below this, relative to the diagonal, are rounding.
_ROUNDING = 1e-14


@kernel()
def _form(left: Integers, matrix: Array, right: Integers) -> float:
    """Return leftᵀ matrix right."""
    total = 0.0
    for i in range(len(left)):
        for j in range(len(right)):
            total += left[i] * matrix[i, j] * right[j]
    return total


@kernel()
def _selling_2(matrix: Array, offsets: Integers, weights: Array) -> bool:
    """Write Selling's decomposition of a positive definite 2 × 2 ``matrix`` into offsets (3, 2) and weights (3,)."""
    base = np.array([[1, 0], [0, 1], [-1, -1]], dtype=np.int64)
    limit = _ROUNDING * (matrix[0, 0] + matrix[1, 1])
    for _ in range(10000):
        obtuse = True
        for k in range(3):
            i, j = (k + 1) % 3, (k + 2) % 3
            if _form(base[i], matrix, base[j]) > limit:
                for c in range(2):
                    base[k, c] = base[i, c] - base[j, c]
                    base[i, c] = -base[i, c]
                obtuse = False
                break
        if obtuse:
            break
    else:
        return False
    for k in range(3):
        weights[k] = max(-_form(base[(k + 1) % 3], matrix, base[(k + 2) % 3]), 0.0)
        offsets[k, 0], offsets[k, 1] = -base[k, 1], base[k, 0]
    return True


@kernel()
def _selling_3(matrix: Array, offsets: Integers, weights: Array) -> bool:
    """Write Selling's decomposition of a positive definite 3 × 3 ``matrix`` into offsets (6, 3) and weights (6,)."""
    base = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, -1, -1]], dtype=np.int64)
    pairs = np.array([[0, 1, 2, 3], [0, 2, 1, 3], [0, 3, 1, 2], [1, 2, 0, 3], [1, 3, 0, 2], [2, 3, 0, 1]])
    limit = _ROUNDING * (matrix[0, 0] + matrix[1, 1] + matrix[2, 2])
    for _ in range(10000):
        obtuse = True
        for p in range(6):
            i, j, k, m = pairs[p]
            if _form(base[i], matrix, base[j]) > limit:
                for c in range(3):
                    base[k, c] += base[i, c]
                    base[m, c] += base[i, c]
                    base[i, c] = -base[i, c]
                obtuse = False
                break
        if obtuse:
            break
    else:
        return False
    for p in range(6):
        i, j, k, m = pairs[p]
        weights[p] = max(-_form(base[i], matrix, base[j]), 0.0)
        for c in range(3):
            b, e = (c + 1) % 3, (c + 2) % 3
            offsets[p, c] = base[k, b] * base[m, e] - base[k, e] * base[m, b]
    return True


@kernel()
def _solve(matrix: Array, right: Array, solution: Array) -> None:
    """Solve the positive definite system ``matrix`` x = ``right`` by elimination; ``matrix`` is overwritten."""
    d = len(right)
    for i in range(d):
        solution[i] = right[i]
    for i in range(d):
        for j in range(i + 1, d):
            factor = matrix[j, i] / matrix[i, i]
            for c in range(i, d):
                matrix[j, c] -= factor * matrix[i, c]
            solution[j] -= factor * solution[i]
    for i in range(d - 1, -1, -1):
        for j in range(i + 1, d):
            solution[i] -= matrix[i, j] * solution[j]
        solution[i] /= matrix[i, i]


@kernel()
def decompose(drift: Array, diffusion: Array, offsets: Integers, weights: Array, along: Array) -> bool:
    """Write offsets e_s (S, d), weights ρ_s (S,) and drifts a_s (S,) of one cell, S = d(d+1)/2; tell if it succeeded.

    A diagonal ``diffusion`` may be singular; a full one must be positive definite.
    """
    d = len(drift)
    offsets[:], weights[:], along[:] = 0, 0.0, 0.0
    diagonal = True
    for i in range(d):
        for j in range(i):
            if abs(diffusion[i, j]) > _ROUNDING * np.sqrt(diffusion[i, i] * diffusion[j, j]):
                diagonal = False
    if diagonal:
        for i in range(d):
            offsets[i, i], weights[i], along[i] = 1, diffusion[i, i], drift[i]
        return True
    if not (_selling_2(diffusion, offsets, weights) if d == 2 else _selling_3(diffusion, offsets, weights)):
        return False
    slope = np.empty(d)
    _solve(diffusion.copy(), drift, slope)
    for s in range(len(weights)):
        for i in range(d):
            along[s] += weights[s] * offsets[s, i] * slope[i]
    return True


@kernel()
def _spread(weight: float, along: float) -> float:
    """Return the sum of the rates to and fro: ``weight`` x coth x, x = along / weight, at least |along|."""
    if abs(along) >= 20 * weight:
        return abs(along)
    if abs(along) < 1e-4 * weight:
        return weight + along * along / (3 * weight)
    return along / math.tanh(along / weight)


@kernel()
def _columns(
    drift: Array, diffusion: Array, shape: Integers, spacing: Array, absorbing: bool
) -> tuple[Indices, Indices, Array, NDArray[np.bool_]]:
    """Return the columns of G, rows ascending: where each begins, rows and entries; and which cells have |a_s| > ρ_s.

    If a diffusion cannot be decomposed, the first beginning is negative: −1 − cell.

    A wall is met after the fraction s of a jump: absorbing walls extrapolate P linearly to zero there (second order).
    """
    n, d = drift.shape
    count = d * (d + 1) // 2
    rows, entries = np.empty(n * (2 * count + 1), dtype=np.int32), np.empty(n * (2 * count + 1))
    offsets, weights, along = np.empty((count, d), dtype=np.int64), np.empty(count), np.empty(count)
    place, strides = np.empty(d, dtype=np.int64), np.ones(d, dtype=np.int64)
    begins, end = np.zeros(n + 1, dtype=np.int32), 0
    upwinded, moved, scaled = np.zeros(n, dtype=np.bool_), np.empty(d), np.empty((d, d))
    for i in range(d - 1, 0, -1):
        strides[i - 1] = strides[i] * shape[i]
    for cell in range(n):
        for i in range(d):
            moved[i] = drift[cell, i] / spacing[i]
            for j in range(d):
                scaled[i, j] = diffusion[min(cell, len(diffusion) - 1), i, j] / (spacing[i] * spacing[j])
        if not decompose(moved, scaled, offsets, weights, along):
            begins[0] = -1 - cell
            break
        for i in range(d):
            place[i] = cell // strides[i] % shape[i]
        begins[cell] = end
        leaving = 0.0
        for s in range(count):
            total = _spread(weights[s], along[s])
            upwinded[cell] |= abs(along[s]) > weights[s]
            for sign in (1, -1):
                rate, back = (total + sign * along[s]) / 2, (total - sign * along[s]) / 2
                target, fraction = cell, 1.0
                for i in range(d):
                    step = sign * offsets[s, i]
                    target += step * strides[i]
                    room = shape[i] - 0.5 - place[i] if step > 0 else place[i] + 0.5
                    if abs(step) > room:
                        fraction = min(fraction, room / abs(step))
                if fraction == 1.0 and rate > 0:
                    end = _insert(begins[cell], end, target, rate, rows, entries)
                    leaving += rate
                elif fraction < 1.0 and absorbing:
                    leaving += rate + back * (1 / fraction - 1)
        end = _insert(begins[cell], end, cell, -leaving, rows, entries)
    begins[n] = end
    return begins, rows[:end].copy(), entries[:end].copy(), upwinded


@kernel()
def _insert(begin: int, end: int, row: int, entry: float, rows: NDArray[np.int32], entries: Array) -> int:
    """Insert an entry into the column [begin, end), which stays ascending; return its new end."""
    at = end
    while at > begin and rows[at - 1] > row:
        rows[at], entries[at] = rows[at - 1], entries[at - 1]
        at -= 1
    rows[at], entries[at] = row, entry
    return end + 1


def generator(
    drift: Array, diffusion: Array, shape: tuple[int, ...], spacing: Array, *, absorbing: bool = False
) -> tuple[Generator, NDArray[np.bool_]]:
    """Return the matrix G of dp/dt = G p for the probabilities p of cells in C order, and which rates are upwinded.

    Parameters
    ----------
    drift
        f at the cell centres, shape (n, d) [parameter / time].
    diffusion
        Q at the cell centres, shape (n, d, d), or everywhere, shape (1, d, d) [parameter^2 / time]: positive
        semidefinite, positive definite where it is not diagonal.
    shape, spacing
        Cells per axis and their widths, d entries each.
    absorbing
        Mass that reaches a wall is lost; else walls reflect.

    Returns
    -------
    matrix
        Shape (n, n): off-diagonal entries >= 0; columns sum to zero, or with absorbing walls to minus the rate of loss.
    upwinded
        Shape (n,): where |a_s| > ρ_s for some s, so that errors near first order.

    Raises
    ------
    ValueError
        If Selling's algorithm does not end: the diffusion is not positive definite.
    """
    begins, rows, entries, upwinded = _columns(drift, diffusion, np.array(shape), spacing, absorbing)
    if begins[0] < 0:
        raise ValueError(f"diffusion[{-1 - begins[0]}]: must be positive definite; its decomposition does not end.")
    return Generator(begins, rows, entries), upwinded
