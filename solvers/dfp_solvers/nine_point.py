"""Several steps of the nine-point stencil of ``finite_difference.py`` in one sweep over memory, as a pipeline.

A line of the density enters the first step, which keeps what it sends to its neighbours; the line before it is then
complete and enters the second step, and so on. Only the lines on their way are in cache: memory is read and written
once in all, and the arithmetic of 23 multiplications with additions per cell and step is what limits the speed. Of the
nine weights in ``Stencil``, ordered by their offsets, the four on the diagonals are ±¼ s_01: what the lines before and
after get from them differs in sign alone.
"""

import numba
import numpy as np

from dfp_solvers.arrays import Array
from dfp_solvers.jit import kernel

# Bytes of lines on their way that stay in cache, and the largest number of steps of a pipeline.
_CACHE, _LONGEST = 800_000, 12


def blocks(lines: int, cells: int) -> tuple[int, int]:
    """Return the lines of a block, two blocks a thread if they are not too short, and the steps taken at a time."""
    steps = min(max(_CACHE // (3 * 8 * cells), 1), _LONGEST)
    return max(-(-lines // (2 * numba.get_num_threads())), 4 * steps), steps


@kernel(fast=True)
def _polynomial(weight: Array, u: float, shift: float, result: Array) -> None:
    """Write the coefficients of 1, z, zz of a weight at (u, z + shift), seen as a function of z."""
    constant, slope = weight[0] + u * (weight[1] + u * weight[4]), weight[3] + u * weight[8]
    result[0] = constant + shift * (slope + shift * weight[6])
    result[1] = slope + 2 * shift * weight[6]
    result[2] = weight[6]


@kernel(fast=True)
def _value(weight: Array, u: float, z: float) -> float:
    """Return a weight at (u, z)."""
    slope = weight[3] + u * weight[8] + z * weight[6]
    return weight[0] + u * (weight[1] + u * weight[4]) + z * slope


@kernel(fast=True)
def _send(own: Array, q: Array, middle: float, done: Array, half: Array, new: Array) -> None:
    """Send one line to itself and to the lines before and after it.

    Parameters
    ----------
    own
        The line between two cells that are zero, shape (n + 2,).
    q
        Coefficients of 1, z, zz, shape (7, 3): of the weights at the offsets −1, 0, 1 along the line, of that to the
        line before, of that to the line after, and of ¼ s_01 at the offsets −1 and 1.
    done
        The line before, complete, is written here, shape (n,).
    half, new
        On entry the line before and this one, as far as they are known; on return this one and the line after it.
    """
    a0, a1, a2 = q[0]
    b0, b1, b2 = q[1]
    c0, c1, c2 = q[2]
    d0, d1, d2 = q[3]
    e0, e1, e2 = q[4]
    f0, f1, f2 = q[5]
    g0, g1, g2 = q[6]
    for x in range(len(done)):
        z = x - middle
        slanted = (f0 + z * (f1 + z * f2)) * own[x] - (g0 + z * (g1 + z * g2)) * own[x + 2]
        done[x] = half[x] + (d0 + z * (d1 + z * d2)) * own[x + 1] - slanted
        half[x] = (
            new[x]
            + (a0 + z * (a1 + z * a2)) * own[x]
            + (b0 + z * (b1 + z * b2)) * own[x + 1]
            + (c0 + z * (c1 + z * c2)) * own[x + 2]
        )
        new[x] = (e0 + z * (e1 + z * e2)) * own[x + 1] + slanted


@kernel(fast=True)
def _keep(own: Array, weights: Array, i: int, lines: int, line: Array) -> None:
    """Add to line ``i`` what it would send out of the box: beyond its ends and, of the outermost lines, beyond them."""
    cells, u = len(line), i - (lines - 1) / 2
    middle = (cells - 1) / 2
    for k in range(9):
        before, along = k // 3 - 1, k % 3 - 1
        if not 0 <= i - before < lines:
            for x in range(cells):
                line[x] += _value(weights[k], u, x - middle) * own[x + 1]
        elif along != 0:
            x = 0 if along > 0 else cells - 1
            line[x] += _value(weights[k], u, x - middle) * own[x + 1]


@kernel(fast=True)
def _block(source: Array, target: Array, begin: int, end: int, steps: int, weights: Array) -> None:
    """Write the lines from ``begin`` to ``end`` after ``steps`` steps.

    Step s takes the lines from steps − s before the block to as many after it, and completes a line less on each side.
    When it has taken line i, ``half[s]`` lacks what line i + 1 will send to line i, and ``new[s]`` holds what has come
    to line i + 1 so far. The first line it completes lacks what came before, and is not taken by the next step.
    """
    lines, cells = source.shape[0], source.shape[1] - 2
    middle, u0 = (cells - 1) / 2, (lines - 1) / 2
    between = np.zeros((steps, cells + 2))
    half, new, nowhere = np.zeros((steps, cells)), np.zeros((steps, cells)), np.empty(cells)
    q = np.empty((7, 3))
    for tick in range(max(begin - steps, 0), end + 2 * steps):
        for s in range(steps):
            i, reach = tick - s, steps - s
            if not max(begin - reach, 0) <= i < end + reach or i > lines:
                continue
            if s < steps - 1:
                done = between[s + 1, 1 : 1 + cells]
            else:
                done = target[i - 1, 1 : 1 + cells] if begin < i <= end else nowhere
            if i == lines:  # beyond the box there is nothing to wait for
                done[:] = half[s]
                continue
            own = source[i] if s == 0 else between[s]
            for k in range(3):
                _polynomial(weights[3 + k], i - u0, k - 1.0, q[k])
            _polynomial(weights[7], i - u0, 0.0, q[3])
            _polynomial(weights[1], i - u0, 0.0, q[4])
            _polynomial(weights[8], i - u0, -1.0, q[5])
            _polynomial(weights[8], i - u0, 1.0, q[6])
            _send(own, q, middle, done, half[s], new[s])
            _keep(own, weights, i, lines, half[s])


@kernel(parallel=True, fast=True)
def sweep(source: Array, target: Array, block: int, steps: int, weights: Array) -> None:
    """Write ``target`` (n_1, n_2 + 2), ``steps`` steps after ``source``: lines between two cells that are zero.

    Each ``block`` of lines is one thread's; the numbers do not depend on it.
    """
    lines = source.shape[0]
    for index in numba.prange((lines + block - 1) // block):
        _block(source, target, index * block, min((index + 1) * block, lines), steps, weights)
