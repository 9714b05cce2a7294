"""Finite volumes for ∂_t P = −∂_i(f_i P) + ½ ∂_i∂_j(Q_ij P) on a uniform grid: rates of a Markov chain between cells.

A cell jumps by the integer offset ±e_s at the rate ½ (max(ρ_s, |a_s|) ± a_s), where, in units of cells,

    Q = Σ_s ρ_s e_s e_sᵀ, ρ_s >= 0        Selling's decomposition: d(d+1)/2 offsets, also for full tensors
    f = Σ_s a_s e_s, a_s = ρ_s e_s·Q⁻¹f   the drift along the same offsets

Rates are never negative and mass is conserved, whatever the grid. Where |a_s| <= ρ_s (cells shorter than the scale
Q/f) they are centred and second order, and move mean and covariance exactly; elsewhere they are upwinded by no more
than positivity needs, which is less than the exponential weights of Scharfetter and Gummel (1969) add. Written as
fluxes along an axis they are those of Chang and Cooper (1970) with this weight.

Selling's decomposition: Fehrenbach and Mirebeau (2014). Equations (T6) and (T7) of the theory page.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from dfp_solvers.jit import kernel

Array = NDArray[np.floating[Any]]
Integers = NDArray[np.int64]
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
def _rates(
    drift: Array, diffusion: Array, shape: Integers, absorbing: bool, targets: Integers, rates: Array, exits: Array
) -> int:
    """Fill targets (n, 2S; −1 for none), rates (n, 2S) and rates of absorption (n,); return a cell that failed or −1.

    A wall is met after the fraction s of a jump: absorbing walls extrapolate P linearly to zero there (second order).
    """
    n, d = drift.shape
    count = d * (d + 1) // 2
    offsets, weights, along = np.empty((count, d), dtype=np.int64), np.empty(count), np.empty(count)
    place, strides = np.empty(d, dtype=np.int64), np.ones(d, dtype=np.int64)
    for i in range(d - 1, 0, -1):
        strides[i - 1] = strides[i] * shape[i]
    for cell in range(n):
        if not decompose(drift[cell], diffusion[cell], offsets, weights, along):
            return cell
        for i in range(d):
            place[i] = cell // strides[i] % shape[i]
        for s in range(count):
            for side in range(2):
                sign = 1 - 2 * side
                total = max(weights[s], abs(along[s]))
                rate, back = (total + sign * along[s]) / 2, (total - sign * along[s]) / 2
                target, fraction = cell, 1.0
                for i in range(d):
                    step = sign * offsets[s, i]
                    target += step * strides[i]
                    room = shape[i] - 0.5 - place[i] if step > 0 else place[i] + 0.5
                    if abs(step) > room:
                        fraction = min(fraction, room / abs(step))
                if fraction == 1.0:
                    targets[cell, 2 * s + side], rates[cell, 2 * s + side] = target, rate
                elif absorbing:
                    exits[cell] += rate + back * (1 / fraction - 1)
    return -1


def generator(
    drift: Array, diffusion: Array, shape: tuple[int, ...], spacing: Array, *, absorbing: bool = False
) -> sparse.csc_array:
    """Return the matrix G of dp/dt = G p for the probabilities p of cells in C order.

    Parameters
    ----------
    drift
        f at the cell centres, shape (n, d) [parameter / time].
    diffusion
        Q at the cell centres, shape (n, d, d) [parameter^2 / time]: positive semidefinite, positive definite where it
        is not diagonal.
    shape, spacing
        Cells per axis and their widths, d entries each.
    absorbing
        Mass that reaches a wall is lost; else walls reflect.

    Returns
    -------
    scipy.sparse.csc_array
        Shape (n, n): off-diagonal entries >= 0; columns sum to zero, or with absorbing walls to minus the rate of loss.

    Raises
    ------
    ValueError
        If Selling's algorithm does not end: the diffusion is not positive definite.
    """
    n, d = drift.shape
    width = d * (d + 1)
    targets, rates, exits = np.full((n, width), -1, dtype=np.int64), np.zeros((n, width)), np.zeros(n)
    scaled = np.ascontiguousarray(diffusion / np.multiply.outer(spacing, spacing))
    moved = np.ascontiguousarray(drift / spacing)
    failed = _rates(moved, scaled, np.array(shape, dtype=np.int64), absorbing, targets, rates, exits)
    if failed >= 0:
        raise ValueError(f"diffusion[{failed}]: must be positive definite; its decomposition does not end.")
    kept = rates > 0
    source = np.broadcast_to(np.arange(n)[:, None], rates.shape)[kept]
    everyone = np.arange(n)
    entries = np.concatenate([rates[kept], -(rates.sum(axis=1) + exits)])
    rows, columns = np.concatenate([targets[kept], everyone]), np.concatenate([source, everyone])
    return sparse.coo_array((entries, (rows, columns)), shape=(n, n)).tocsc()


@kernel()
def upwinded(drift: Array, diffusion: Array) -> NDArray[np.bool_]:
    """Tell for which cells |a_s| > ρ_s for some s, so that rates are of first order; arguments in units of cells."""
    n, d = drift.shape
    count = d * (d + 1) // 2
    offsets, weights, along = np.empty((count, d), dtype=np.int64), np.empty(count), np.empty(count)
    result = np.zeros(n, dtype=np.bool_)
    for cell in range(n):
        decompose(drift[cell], diffusion[cell], offsets, weights, along)
        for s in range(count):
            if abs(along[s]) > weights[s]:
                result[cell] = True
    return result


def deposit(points: Array, weights: Array, lower: Array, spacing: Array, shape: tuple[int, ...]) -> Array:
    """Return probabilities of cells, shape ``shape``, of ``weights`` (m,) at ``points`` (m, d), shared multilinearly.

    The mean is kept exactly; the variance grows by at most a quarter of a squared cell. Points beyond the outermost
    centres go to the nearest one.
    """
    limits = np.array(shape) - 1
    position = np.clip((points - lower) / spacing - 0.5, 0, limits)
    first = np.minimum(np.floor(position).astype(np.int64), np.maximum(limits - 1, 0))
    share = position - first
    result = np.zeros(shape)
    for corner in np.ndindex(*(2,) * len(shape)):
        factor = np.prod(np.where(np.array(corner) == 1, share, 1 - share), axis=1)
        np.add.at(result, tuple((first + np.array(corner)).T), factor * weights)
    return result


def cloud(mean: Array, covariance: Array, spacing: Array) -> tuple[Array, Array]:
    """Return points (m, d) and weights (m,) that stand for a Gaussian with directions narrower than cells."""
    values, vectors = np.linalg.eigh(covariance / np.multiply.outer(spacing, spacing))
    deviations = np.sqrt(np.maximum(values, 0.0))
    axes = [np.linspace(-7.5, 7.5, 2 * int(np.ceil(15 + 20 * s)) + 1) if s > 0 else np.zeros(1) for s in deviations]
    normal = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(mean))
    weights = np.exp(-0.5 * np.sum(normal**2, axis=1))
    return mean + (normal * deviations) @ vectors.T * spacing, weights / weights.sum()


def interpolation(old: Array, new: Array) -> sparse.csr_array:
    """Return the matrix that takes values at the uniform nodes ``old`` to cubic interpolants at ``new``.

    It is zero at new nodes more than half a cell beyond the old ones.
    """
    step = old[1] - old[0]
    first = np.clip(np.floor((new - old[0]) / step).astype(np.int64) - 1, 0, len(old) - 4)
    position = (new - old[0]) / step - first
    inside = (new >= old[0] - step / 2) & (new <= old[-1] + step / 2)
    entries = np.array(
        [np.prod([(position - b) / (a - b) for b in range(4) if b != a], axis=0) * inside for a in range(4)]
    )
    rows = np.broadcast_to(np.arange(len(new)), entries.shape)
    columns = first + np.arange(4)[:, None]
    return sparse.coo_array((entries.ravel(), (rows.ravel(), columns.ravel())), shape=(len(new), len(old))).tocsr()


def apply(matrices: Sequence[Any], values: Array) -> Array:
    """Return ``values`` (n_1, ..., n_d) multiplied along each axis by the matrix (m_i, n_i) of that axis."""
    for axis, matrix in enumerate(matrices):
        front = np.moveaxis(values, axis, 0)
        moved = matrix @ front.reshape(front.shape[0], -1)
        values = np.moveaxis(moved.reshape(-1, *front.shape[1:]), 0, axis)
    return values
