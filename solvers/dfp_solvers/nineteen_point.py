"""One step of the nineteen-point stencil of ``finite_difference.py``, order 2 in three dimensions, line by line.

A line gathers what comes from its own plane and from those before and after it, while it stays in the nearest cache.
Weights are polynomials of the place: what does not change along a plane is prepared once a plane, what does not change
along a line once a line, and 57 multiplications with additions a cell are left.
"""

import numba
import numpy as np

from dfp_solvers.arrays import Array, Integers
from dfp_solvers.jit import kernel

# Of a plane what comes from the line before, along the line and from the line after; then from the corners.
_CROSS = ((-1, 0), (0, -1), (0, 0), (0, 1), (1, 0))
_CORNERS = ((-1, -1), (-1, 1), (1, -1), (1, 1))
ORDER = [(-1, *o) for o in _CROSS] + [(0, *o) for o in _CROSS] + [(1, *o) for o in _CROSS] + [(0, *o) for o in _CORNERS]
"""Offsets in the order in which the kernels expect them."""


@kernel(fast=True)
def _moved(weight: Array, u: float, across: float, along: float, result: Array) -> None:
    """Write the coefficients of 1, v, vv, z, vz, zz of a weight at (u, v + ``across``, z + ``along``)."""
    slope, bend = weight[2] + u * weight[7], weight[3] + u * weight[8]
    constant = weight[0] + u * (weight[1] + u * weight[4]) + across * (slope + across * weight[5])
    result[0] = constant + along * (bend + along * weight[6] + across * weight[9])
    result[1] = slope + 2 * across * weight[5] + along * weight[9]
    result[2] = weight[5]
    result[3] = bend + 2 * along * weight[6] + across * weight[9]
    result[4], result[5] = weight[9], weight[6]


@kernel(fast=True)
def _at_line(plane: Array, v: float, q: Array) -> None:
    """Write the coefficients of 1, z, zz at v, shape (3, 19), from those of 1, v, vv, z, vz, zz, shape (6, 19)."""
    for k in range(q.shape[1]):
        q[0, k] = plane[0, k] + v * (plane[1, k] + v * plane[2, k])
        q[1, k] = plane[3, k] + v * plane[4, k]
        q[2, k] = plane[5, k]


@kernel(fast=True)
def _cross(plane: Array, left: int, j: int, right: int, q: Array, k: int, middle: float, target: Array) -> None:
    """Add to a line five cells of a plane (m, n + 2) times their weights, those from number ``k`` on."""
    a0, a1, a2 = q[0, k], q[1, k], q[2, k]
    b0, b1, b2 = q[0, k + 1], q[1, k + 1], q[2, k + 1]
    c0, c1, c2 = q[0, k + 2], q[1, k + 2], q[2, k + 2]
    d0, d1, d2 = q[0, k + 3], q[1, k + 3], q[2, k + 3]
    e0, e1, e2 = q[0, k + 4], q[1, k + 4], q[2, k + 4]
    for x in range(len(target)):
        z = x - middle
        target[x] += (
            (a0 + z * (a1 + z * a2)) * plane[left, x + 1]
            + (b0 + z * (b1 + z * b2)) * plane[j, x]
            + (c0 + z * (c1 + z * c2)) * plane[j, x + 1]
            + (d0 + z * (d1 + z * d2)) * plane[j, x + 2]
            + (e0 + z * (e1 + z * e2)) * plane[right, x + 1]
        )


@kernel(fast=True)
def _corners(plane: Array, left: int, right: int, q: Array, middle: float, target: Array) -> None:
    """Add to a line the four cells on the diagonals of its plane times their weights."""
    a0, a1, a2 = q[0, 15], q[1, 15], q[2, 15]
    b0, b1, b2 = q[0, 16], q[1, 16], q[2, 16]
    c0, c1, c2 = q[0, 17], q[1, 17], q[2, 17]
    d0, d1, d2 = q[0, 18], q[1, 18], q[2, 18]
    for x in range(len(target)):
        z = x - middle
        target[x] += (
            (a0 + z * (a1 + z * a2)) * plane[left, x]
            + (b0 + z * (b1 + z * b2)) * plane[left, x + 2]
            + (c0 + z * (c1 + z * c2)) * plane[right, x]
            + (d0 + z * (d1 + z * d2)) * plane[right, x + 2]
        )


@kernel(fast=True)
def _keep(
    own: Array, q: Array, offsets: Integers, i: int, j: int, planes: int, lines: int, middle: float, target: Array
) -> None:
    """Add to line (i, j) what it would send out of the box: beyond its ends or, of outermost lines, beyond them."""
    cells = len(target)
    for k in range(19):
        along = offsets[k, 2]
        leaves = not (0 <= i - offsets[k, 0] < planes and 0 <= j - offsets[k, 1] < lines)
        if leaves or along != 0:
            begin, end = (0, cells) if leaves else (0, 1) if along > 0 else (cells - 1, cells)
            for x in range(begin, end):
                z = x - middle
                target[x] += (q[0, k] + z * (q[1, k] + z * q[2, k])) * own[x + 1]


@kernel(fast=True)
def _ends(here: Array, offsets: Integers, middle: float) -> Array:
    """Return the coefficients of 1, v, vv of all that leaves through the first and the last cell of lines, (2, 3)."""
    result = np.zeros((2, 3))
    for k in range(19):
        if offsets[k, 2] != 0:
            z = -middle * offsets[k, 2]
            side = 0 if z < 0 else 1
            result[side, 0] += here[0, k] + z * (here[3, k] + z * here[5, k])
            result[side, 1] += here[1, k] + z * here[4, k]
            result[side, 2] += here[2, k]
    return result


@kernel(fast=True)
def _plane(source: Array, target: Array, i: int, offsets: Integers, weights: Array) -> None:
    """Write plane ``i`` of ``target`` one step after ``source``, each (n_1, n_2, n_3 + 2), zero at the ends of lines.

    ``offsets`` (19, 3) and ``weights`` (19, 10) are those of a ``Stencil``, in ``ORDER``.
    """
    planes, lines, cells = source.shape[0], source.shape[1], source.shape[2] - 2
    middle, u, v0 = (cells - 1) / 2, i - (planes - 1) / 2, (lines - 1) / 2
    # Weights of what comes, none from beyond the box, and of what goes.
    there, here, q = np.zeros((6, 19)), np.empty((6, 19)), np.empty((3, 19))
    for k in range(19):
        if 0 <= i + offsets[k, 0] < planes:
            _moved(weights[k], u + offsets[k, 0], float(offsets[k, 1]), float(offsets[k, 2]), there[:, k])
        _moved(weights[k], u, 0.0, 0.0, here[:, k])
    ends = _ends(here, offsets, middle)
    before, after = max(i - 1, 0), min(i + 1, planes - 1)
    for j in range(lines):
        v, left, right, line = j - v0, max(j - 1, 0), min(j + 1, lines - 1), target[i, j, 1 : 1 + cells]
        outermost = i in (0, planes - 1) or j in (0, lines - 1)
        _at_line(there, v, q)
        if outermost:
            for k in range(19):
                if not 0 <= j + offsets[k, 1] < lines:
                    q[:, k] = 0.0
        line[:] = 0.0
        _cross(source[before], left, j, right, q, 0, middle, line)
        _cross(source[i], left, j, right, q, 5, middle, line)
        _cross(source[after], left, j, right, q, 10, middle, line)
        _corners(source[i], left, right, q, middle, line)
        if outermost:
            _at_line(here, v, q)
            _keep(source[i, j], q, offsets, i, j, planes, lines, middle, line)
        else:
            line[0] += (ends[0, 0] + v * (ends[0, 1] + v * ends[0, 2])) * source[i, j, 1]
            line[cells - 1] += (ends[1, 0] + v * (ends[1, 1] + v * ends[1, 2])) * source[i, j, cells]


@kernel(parallel=True, fast=True)
def step(source: Array, target: Array, block: int, offsets: Integers, weights: Array) -> None:
    """Write ``target`` one step after ``source``, as ``_plane``; each ``block`` of planes is one thread's."""
    planes = source.shape[0]
    for index in numba.prange((planes + block - 1) // block):
        for i in range(index * block, min((index + 1) * block, planes)):
            _plane(source, target, i, offsets, weights)
