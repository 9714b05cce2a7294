"""Centred stencils for P' = P + ∂_i(a_i P) + ½ ∂_i∂_j(s_ij P) on a uniform grid, a step at a time (T5).

In units of cells a is the drift ηḡ/Δ and s the raw second moment η²S/(Δ_iΔ_j). Both are polynomials in θ, so weights
are polynomials too, evaluated where they are used: a step reads the density and writes it, nothing else. Cells
send P(x) w_o(x) to x − o; what would leave the box stays where it is, so that mass is kept to rounding error (ends that
discard it can amplify: theory page, section 2). Several steps are taken while a block of planes is in cache, or, by
the stencil of order 2 in two dimensions, in a pipeline (``nine_point.py``); in three dimensions arithmetic binds, not
memory, and it has kernels of its own (``nineteen_point.py``).

Weights of order 2 match the mean and raw second moment of the step, those of order 4 all its moments up to the fourth.
"""

from collections import defaultdict

import numba
import numpy as np

from dfp_solvers import nine_point, nineteen_point
from dfp_solvers.arrays import Array, Integers
from dfp_solvers.jit import kernel

FIRST = {2: {1: 0.5}, 4: {1: 2 / 3, 2: -1 / 12}}
"""Weights of the first derivative at positive offsets; odd."""
SECOND = {2: {0: -2.0, 1: 1.0}, 4: {0: -5 / 2, 1: 4 / 3, 2: -1 / 12}}
"""Weights of the second derivative at offsets >= 0; even."""
# Where the axes of d dimensions lie among the three of the kernels: planes, lines in a plane, cells in a line.
_AXES = {1: (2,), 2: (0, 2), 3: (0, 1, 2)}
# Bytes of planes that stay in cache while several steps are taken, and the largest number of these steps.
_CACHE, _FUSED = 400_000, 4


class Stencil:
    """Weights of one step: cell x + offsets[k] contributes the polynomial ``weights[k]``, at itself, to cell x.

    Parameters
    ----------
    drift
        a_i as polynomials in φ = (1, x), x the index of a cell counted from the middle of the box, shape (d, d+1).
    second
        s_ij likewise in φ_a φ_b, shape (d, d, d+1, d+1).
    order
        2 or 4, in the spacing.
    """

    def __init__(self, drift: Array, second: Array, order: int) -> None:
        d = len(drift)
        self.reach = order // 2
        first = {o: np.sign(o) * w for m, w in FIRST[order].items() for o in (m, -m)}
        curvature = {o: w / 2 for m, w in SECOND[order].items() for o in {m, -m}}
        table: dict[tuple[int, ...], Array] = defaultdict(lambda: np.zeros((d + 1, d + 1)))
        table[(0,) * d][0, 0] = 1.0
        for i in range(d):
            for m, weight in first.items():
                table[_offset(d, {i: m})][0] += weight * drift[i]
            for m, weight in curvature.items():
                table[_offset(d, {i: m})] += weight * second[i, i]
            for j in range(i):
                for m, left in first.items():
                    for n, right in first.items():
                        table[_offset(d, {i: m, j: n})] += left * right * second[i, j]
        ordered = nineteen_point.ORDER if (d, order) == (3, 2) else sorted(table)
        self.offsets = np.zeros((len(table), 3), dtype=np.int64)
        self.offsets[:, _AXES[d]] = ordered
        self.weights = np.array([_flat(table[offset]) for offset in ordered])


def _offset(d: int, entries: dict[int, int]) -> tuple[int, ...]:
    return tuple(entries.get(i, 0) for i in range(d))


def _flat(polynomial: Array) -> Array:
    """Return the coefficients of 1, x, y, z, xx, yy, zz, xy, xz, yz for the three axes of the kernels."""
    d = len(polynomial) - 1
    square = np.zeros((4, 4))
    place = [0, *(1 + axis for axis in _AXES[d])]
    square[np.ix_(place, place)] = polynomial + polynomial.T
    i, j = np.array([1, 1, 2]), np.array([2, 3, 3])
    return np.concatenate([[square[0, 0] / 2], square[0, 1:], np.diag(square)[1:] / 2, square[i, j]])


@kernel(fast=True)
def _line_polynomial(weight: Array, u: float, v: float, shift: float, result: Array) -> None:
    """Write the coefficients of 1, z, zz of a weight at (u, v, z + shift), seen as a function of z."""
    constant = weight[0] + u * (weight[1] + u * weight[4] + v * weight[7]) + v * (weight[2] + v * weight[5])
    slope = weight[3] + u * weight[8] + v * weight[9]
    result[0] = constant + shift * (slope + shift * weight[6])
    result[1] = slope + 2 * shift * weight[6]
    result[2] = weight[6]


@kernel(fast=True)
def _add_three(target: Array, a: Array, b: Array, c: Array, q: Array, middle: float) -> None:
    """Add to each cell of a line three cells of other lines times their weights, coefficients ``q`` (3, 3)."""
    a0, a1, a2 = q[0]
    b0, b1, b2 = q[1]
    c0, c1, c2 = q[2]
    for x in range(len(target)):
        z = x - middle
        target[x] += (a0 + z * (a1 + z * a2)) * a[x] + (b0 + z * (b1 + z * b2)) * b[x] + (c0 + z * (c1 + z * c2)) * c[x]


@kernel(fast=True)
def _add_ends(target: Array, own: Array, offset: int, q: Array, middle: float) -> None:
    """Add what cells of a line would send beyond its end; ``q`` are the coefficients of this weight."""
    cells = len(target)
    for x in range(0, offset) if offset > 0 else range(cells + offset, cells):
        z = x - middle
        target[x] += (q[0] + z * (q[1] + z * q[2])) * own[x]


@kernel(fast=True)
def _line(
    source: Array, lag: int, target: Array, i: int, j: int, planes: int, offsets: Integers, weights: Array, reach: int
) -> None:
    """Write the line (i, j) after one step; plane i of the box is plane i − lag of ``source``."""
    lines, cells = source.shape[1], source.shape[2] - 2 * reach
    middle, u0, v0 = (cells - 1) / 2, (planes - 1) / 2, (lines - 1) / 2
    own = source[i - lag, j]
    target[:] = 0.0
    q, end = np.zeros((3, 3)), np.empty(3)
    rows, columns, shifts = np.empty(3, np.int64), np.empty(3, np.int64), np.empty(3, np.int64)
    count, total = 0, 2 * len(offsets)
    for entry in range(total):
        # First what comes in, then what would leave the box through planes or lines and stays.
        k, stays = entry // 2, entry % 2
        o0, o1, o2 = offsets[k, 0], offsets[k, 1], offsets[k, 2]
        leaves = not (0 <= i - o0 < planes and 0 <= j - o1 < lines)
        if stays == 1:
            if leaves:
                rows[count], columns[count], shifts[count] = i, j, 0
            elif o2 != 0:
                _line_polynomial(weights[k], i - u0, j - v0, 0.0, end)
                _add_ends(target, own[reach : reach + cells], o2, end, middle)
        elif 0 <= i + o0 < planes and 0 <= j + o1 < lines:
            rows[count], columns[count], shifts[count] = i + o0, j + o1, o2
        if (stays == 1 and leaves) or (stays == 0 and 0 <= i + o0 < planes and 0 <= j + o1 < lines):
            _line_polynomial(weights[k], rows[count] - u0, columns[count] - v0, float(shifts[count]), q[count])
            count += 1
        if count == 3 or (entry == total - 1 and count > 0):
            for rest in range(count, 3):
                q[rest] = 0.0
                rows[rest], columns[rest], shifts[rest] = i, j, 0
            a = source[rows[0] - lag, columns[0], reach + shifts[0] : reach + shifts[0] + cells]
            b = source[rows[1] - lag, columns[1], reach + shifts[1] : reach + shifts[1] + cells]
            c = source[rows[2] - lag, columns[2], reach + shifts[2] : reach + shifts[2] + cells]
            _add_three(target, a, b, c, q, middle)
            count = 0


@kernel(fast=True)
def _block(
    source: Array, target: Array, begin: int, end: int, steps: int, offsets: Integers, weights: Array, reach: int
) -> None:
    """Write the planes from ``begin`` to ``end`` after ``steps`` steps, with the neighbours these need."""
    planes, lines, cells = source.shape[0], source.shape[1], source.shape[2] - 2 * reach
    height = end - begin + 2 * reach * (steps - 1)
    scratch = np.zeros((2, height if steps > 1 else 0, lines, source.shape[2]))
    now, lag = source, 0
    for step in range(1, steps + 1):
        margin = reach * (steps - step)
        first, last = max(begin - margin, 0), min(end + margin, planes)
        after, base = (target, 0) if step == steps else (scratch[step % 2], begin - reach * (steps - 1))
        for i in range(first, last):
            for j in range(lines):
                _line(now, lag, after[i - base, j, reach : reach + cells], i, j, planes, offsets, weights, reach)
        now, lag = after, base


@kernel(parallel=True, fast=True)
def _sweep(source: Array, target: Array, block: int, steps: int, offsets: Integers, weights: Array, reach: int) -> None:
    planes = source.shape[0]
    for index in numba.prange((planes + block - 1) // block):
        begin = index * block
        _block(source, target, begin, min(begin + block, planes), steps, offsets, weights, reach)


def march(values: Array, stencil: Stencil, steps: int) -> Array:
    """Return ``values`` (n_1, ..., n_d) after ``steps`` steps of ``stencil``; same bits for any number of threads."""
    d, reach = values.ndim, stencil.reach
    shape = np.ones(3, dtype=np.int64)
    shape[list(_AXES[d])] = values.shape
    source = np.zeros((shape[0], shape[1], shape[2] + 2 * reach))
    source[:, :, reach:-reach] = values.reshape(shape)
    target = np.zeros_like(source)
    nine, nineteen = d == 2 and reach == 1, d == 3 and reach == 1
    block, fused = nine_point.blocks(*values.shape) if nine else _blocks(source, reach)
    while steps > 0:
        now = 1 if nineteen else min(fused, steps)
        if nine:
            nine_point.sweep(source[:, 0], target[:, 0], block, now, stencil.weights)
        elif nineteen:
            nineteen_point.step(source, target, block, stencil.offsets, stencil.weights)
        elif block >= len(source):  # nothing to share among threads
            _block(source, target, 0, len(source), now, stencil.offsets, stencil.weights, reach)
        else:
            _sweep(source, target, block, now, stencil.offsets, stencil.weights, reach)
        source, target, steps = target, source, steps - now
    return np.ascontiguousarray(source[:, :, reach:-reach]).reshape(values.shape)


def _blocks(source: Array, reach: int) -> tuple[int, int]:
    """Return the planes of a block and the steps taken on it while it is in cache."""
    planes, size = source.shape[0], source[0].nbytes
    room = _CACHE // size
    fused = int(np.clip(room // (4 * reach), 1, _FUSED)) if planes > 1 else 64
    return int(max(min(room, (planes + 3) // 4), 1)), fused


def amplification(drift: Array, second: Array, order: int, waves: Array) -> Array:
    """Return max |G| over ``waves`` (M, d) [radians per cell], shape (N,): the frozen growth of a wave in a step.

    Parameters
    ----------
    drift
        a at some places, shape (N, d).
    second
        s at these places, shape (N, d, d).
    """
    slope, bend = np.zeros_like(waves), np.zeros_like(waves)
    for m, weight in FIRST[order].items():
        slope += 2 * weight * np.sin(m * waves)
    for m, weight in SECOND[order].items():
        bend += (1 if m == 0 else 2) * weight * np.cos(m * waves)
    d = drift.shape[1]
    real = 1 + np.einsum("nii,mi->nm", second, bend) / 2
    for i in range(d):
        for j in range(i):
            real = real - second[:, i, j, None] * (slope[:, i] * slope[:, j])
    return np.sqrt(np.max(real**2 + (drift @ slope.T) ** 2, axis=1))


def wave_vectors(d: int) -> Array:
    """Return wave vectors that sample half of the cube |κ_i| <= π, with its boundary, shape (M, d)."""
    count = {1: 129, 2: 49, 3: 25}[d]
    half = np.linspace(0, np.pi, count // 2 + 1)
    full = np.concatenate([-half[:0:-1], half])
    return np.stack(np.meshgrid(half, *[full] * (d - 1), indexing="ij"), axis=-1).reshape(-1, d)


def sufficient_scale(drift: Array, noise: Array) -> float:
    """Return (Σ_i s_ii^⅓)^{3/2}: growing spacings by it suffices at order 2; arguments of ``smallest_scale``."""
    diagonal = np.einsum("nii->ni", noise) + drift**2
    return float(np.max(np.sum(np.cbrt(diagonal), axis=1) ** 1.5))


def smallest_scale(drift: Array, noise: Array, order: int) -> float:
    """Return by which factor all spacings must grow for |G| <= 1 everywhere; exact for order 2 and d = 1.

    Parameters
    ----------
    drift
        a at some places in units of the given spacings, shape (N, d).
    noise
        v = s − aaᵀ at these places, shape (N, d, d).

    Returns
    -------
    float
        For order 2 between (Σ_i s_ii)^½, necessary, and (Σ_i s_ii^⅓)^{3/2}, sufficient; infinite if nothing is stable.
    """
    second = noise + drift[:, :, None] * drift[:, None, :]
    low = float(np.sqrt(np.max(np.einsum("nii->n", second))))
    high, waves = sufficient_scale(drift, noise), wave_vectors(drift.shape[1])

    def stable(scale: float) -> bool:
        return bool(np.all(amplification(drift / scale, second / scale**2, order, waves) <= 1 + 1e-12))

    if order == 4:
        # Waves of one cell: 8/3 Σ_i s_ii <= 2. Waves of several cells need noise, on as coarse a grid as that takes.
        low, high = low * np.sqrt(4 / 3), 2 * high
        while not stable(high):
            high *= 1.5
            if high > 100 * low:
                return float("inf")
    if stable(low):
        return low
    while high - low > 1e-4 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if stable(middle) else (middle, high)
    return float(high)
