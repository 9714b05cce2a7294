"""First passage under a few affine maps drawn at random: positive masses on cells, leaving where the maps say.

A cell sends its mass along every map to the cells around the image, by linear weights: they are positive, so nothing
that leaves is made up for elsewhere, and err by order two in the spacing. Whether an image is outside the box is
decided before it is put on cells. In the end the law inside keeps its shape and loses the same share every step; that
share is a sum of what leaves, never one less a number next to one.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from dfp_solvers.arrays import Array, Integers
from dfp_solvers.jit import kernel

# The share that leaves has settled where it changes by less in a window of steps.
_SETTLED, _WINDOW = 1e-9, 16


@dataclass(frozen=True)
class Restricted:
    """One step on the cells of a box.

    Attributes
    ----------
    matrix
        Sends the masses of cells to cells, shape (n, n).
    leaving
        Probability to leave in a step from each cell, shape (n,).
    """

    matrix: sparse.csr_array
    leaving: Array


@kernel()
def _images(
    points: Array, factor: Array, shift: Array, weight: float, lower: Array, spacing: Array, cells: Integers,
    index: Integers, entries: Array, leaving: Array,
) -> None:  # fmt: skip
    """Write where one map sends ``points`` (m, d): flat indices and weights (m, 2^d), and what leaves (m,)."""
    m, d = points.shape
    for s in range(m):
        inside = True
        for i in range(d):
            to = shift[i]
            for j in range(d):
                to += factor[i, j] * points[s, j]
            place = (to - lower[i]) / spacing[i]
            inside = inside and 0.0 <= place <= cells[i]
        if not inside:
            leaving[s] += weight
        for corner in range(1 << d):
            flat, share = 0, weight if inside else 0.0
            for i in range(d):
                to = shift[i]
                for j in range(d):
                    to += factor[i, j] * points[s, j]
                place = min(max((to - lower[i]) / spacing[i] - 0.5, 0.0), cells[i] - 1.0) if inside else 0.0
                first = min(int(place), cells[i] - 2)
                upper = corner >> i & 1
                share *= place - first if upper else 1.0 - (place - first)
                flat = flat * cells[i] + first + upper
            index[s, corner], entries[s, corner] = flat, share


def _spread(
    points: Array, factors: Array, shifts: Array, weights: Array, lower: Array, upper: Array, cells: tuple[int, ...]
) -> Restricted:
    """Return how ``points`` (m, d) are sent to the cells, as a matrix (n, m), and what leaves, (m,)."""
    m, d = points.shape
    counts, leaving = np.array(cells, dtype=np.int64), np.zeros(m)
    spacing, size = (upper - lower) / counts, int(np.prod(counts))
    index, entries = np.zeros((len(weights), m, 2**d), np.int64), np.zeros((len(weights), m, 2**d))
    for k, (factor, shift, weight) in enumerate(zip(factors, shifts, weights, strict=True)):
        _images(points, factor, shift, weight, lower, spacing, counts, index[k], entries[k], leaving)
    sources = np.broadcast_to(np.arange(m)[None, :, None], index.shape)
    kept = entries > 0
    matrix = sparse.csr_array((entries[kept], (index[kept], sources[kept])), shape=(size, m))
    return Restricted(matrix, leaving)


def restricted(
    factors: Array, shifts: Array, weights: Array, lower: Array, upper: Array, cells: tuple[int, ...]
) -> Restricted:
    """Return one step of θ' = F_k θ + s_k, drawn with probability w_k, between the cells of a box.

    Parameters
    ----------
    factors, shifts, weights
        Shapes (M, d, d), (M, d) and (M,).
    lower, upper
        Corners, shape (d,).
    cells
        Per axis, >= 2.
    """
    axes = [a + (b - a) * (np.arange(n) + 0.5) / n for a, b, n in zip(lower, upper, cells, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(cells))
    return _spread(points, factors, shifts, weights, lower, upper, cells)


def arrival(
    points: Array, masses: Array, maps: tuple[Array, Array, Array], lower: Array, upper: Array, cells: tuple[int, ...]
) -> Array:
    """Return the masses of the cells after the first step from ``points`` (m, d) of ``masses`` (m,), shape (n,)."""
    result: Array = _spread(points, *maps, lower, upper, cells).matrix @ masses
    return result


def survival(step: Restricted, first: Array, least: float, most: int) -> tuple[Array, float]:
    """Return the mass inside after 1, 2, … steps, until it falls geometrically, and the share that leaves then.

    Parameters
    ----------
    first
        Masses after one step.
    least
        Mass at which to stop.
    most
        Longest run, >= 1.

    Raises
    ------
    ArithmeticError
        If the share has not settled in ``most`` steps while more than ``least`` is inside.
    """
    masses, left = [float(first.sum())], first
    shares: list[float] = []
    for n in range(most):
        if not masses[-1] > least:
            return np.array(masses), shares[-1] if shares else 1.0
        shares.append(float(step.leaving @ left) / masses[-1])
        if n >= 2 * _WINDOW and n % _WINDOW == 0:
            recent = np.array(shares[-_WINDOW:])
            if np.ptp(recent) <= _SETTLED * recent.max() or recent.max() == 0.0:
                return np.array(masses), shares[-1]
        left = step.matrix @ left
        masses.append(float(left.sum()))
    raise ArithmeticError(f"what leaves in a step still changes after {most} steps")
