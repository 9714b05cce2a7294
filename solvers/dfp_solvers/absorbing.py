"""First passage: how much mass is still inside a box, step by step, when what is outside never comes back.

Maps with Gaussian kernels (T4) are taken to Gauss–Legendre nodes of the box, on which the restricted kernel, smooth
inside and cut at the walls, is integrated with spectral accuracy. Generators (T6, T7) are taken as Markov chains on
cells with absorbing walls; one sequence of jumps gives their survival at all times (uniformisation, Jensen 1953).

After many steps one mode is left and survival falls geometrically, by the leading eigenvalue: then it is continued in
closed form. The eigenvalue must be known: survival that does not fall yet looks geometric as well.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from dfp_solvers import matrices
from dfp_solvers.arrays import Array
from dfp_solvers.jit import kernel
from dfp_solvers.markov_chain import evolution, generator, uniformisation

# Survival has become geometric where it falls by the leading eigenvalue to this, relatively or a step, over two
# windows: what is rare falls by less than rounding, or than what is known of an eigenvalue that was iterated.
_SETTLED, _ROUNDED, _ITERATED, _WINDOW = 1e-8, 2e-16, 1e-11, 128
# Jumps times entries of a generator, some seconds, beyond which a small one is exponentiated instead.
_MANY = 3e9


# Deviations to which kernels are followed: a row has no digits beyond, e^−40.
REACH = 9.0


class Quadrature(NamedTuple):
    """A tensor rule of quadrature on a box."""

    axes: list[Array]
    """Ascending, one per axis."""
    nodes: Array
    """Shape (n, d)."""
    weights: Array
    """Shape (n,)."""


def legendre(lower: Array, upper: Array, counts: tuple[int, ...]) -> Quadrature:
    """Return the tensor Gauss–Legendre rule of a box."""
    rules = [np.polynomial.legendre.leggauss(n) for n in counts]
    axes = [(a + b) / 2 + (b - a) / 2 * x for a, b, (x, _) in zip(lower, upper, rules, strict=True)]
    sides = [(b - a) / 2 * w for a, b, (_, w) in zip(lower, upper, rules, strict=True)]
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(counts))
    weights = np.prod(np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, len(counts)), axis=1)
    return Quadrature(axes, nodes, weights)


def windows(
    axes: list[Array], means: Array, covariances: Array, deviations: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return per axis the first node within so many ``deviations`` of a Gaussian and how many are, both (m, d)."""
    reach = deviations * np.sqrt(np.einsum("nii->ni", covariances))
    first = [np.searchsorted(axis, means[:, i] - reach[:, i]) for i, axis in enumerate(axes)]
    beyond = [np.searchsorted(axis, means[:, i] + reach[:, i]) for i, axis in enumerate(axes)]
    return np.stack(first, axis=1), np.stack(beyond, axis=1) - np.stack(first, axis=1)


def gaussian_kernel(axes: list[Array], means: Array, covariances: Array, deviations: float = REACH) -> sparse.csc_array:
    """Return the density at tensor nodes (n) of Gaussians of ``means`` (m, d), ``covariances`` (m, d, d): (n, m).

    It is left out beyond so many ``deviations``.
    """
    (count, d), sizes = means.shape, [len(axis) for axis in axes]
    first, number = np.zeros((count, 3), dtype=np.int64), np.ones((count, 3), dtype=np.int64)
    first[:, 3 - d :], number[:, 3 - d :] = windows(axes, means, covariances, deviations)
    three, factors = np.zeros((count, 3)), np.tile(np.eye(3), (count, 1, 1))
    three[:, 3 - d :], factors[:, 3 - d :, 3 - d :] = means, matrices.whitening(covariances)
    peaks = np.prod(np.einsum("nii->ni", factors), axis=1) / (2 * np.pi) ** (d / 2)
    pointers = np.concatenate([[0], np.cumsum(np.prod(number, axis=1))])
    rows, entries = np.empty(pointers[-1], dtype=np.int32), np.empty(pointers[-1])
    one, two, last = [np.zeros(1)] * (3 - d) + axes
    _gaussians(one, two, last, three, factors, peaks, first, number, pointers, rows, entries)
    return sparse.csc_array((entries, rows, pointers.astype(np.int32)), shape=(int(np.prod(sizes)), count))


@kernel(fast=True)
def _gaussians(
    one: Array, two: Array, three: Array, means: Array, factors: Array, peaks: Array, first: NDArray[np.int64],
    number: NDArray[np.int64], pointers: NDArray[np.int64], rows: NDArray[np.int32], entries: Array,
) -> None:  # fmt: skip
    """Write the columns of a kernel, each over its window of nodes."""
    for s in range(len(means)):
        at = pointers[s]
        for a in range(first[s, 0], first[s, 0] + number[s, 0]):
            x = one[a] - means[s, 0]
            u = factors[s, 0, 0] * x
            for b in range(first[s, 1], first[s, 1] + number[s, 1]):
                y = two[b] - means[s, 1]
                v = factors[s, 1, 0] * x + factors[s, 1, 1] * y
                middle = factors[s, 2, 0] * x + factors[s, 2, 1] * y
                row = (a * len(two) + b) * len(three)
                for c in range(first[s, 2], first[s, 2] + number[s, 2]):
                    w = middle + factors[s, 2, 2] * (three[c] - means[s, 2])
                    entries[at] = peaks[s] * np.exp(-0.5 * (u * u + v * v + w * w))
                    rows[at] = row + c
                    at += 1


@kernel()
def _settled(remaining: Array, k: int, decay: float, rounded: float) -> bool:
    """Tell whether the masses up to index ``k`` have fallen by the factor ``decay`` each over the last two windows.

    Its logarithm is known to ``rounded``.
    """
    if k < 2 * _WINDOW or not remaining[k] > 0.0:
        return not remaining[k] > 0.0
    wanted = np.log(decay)
    for end in (k, k - _WINDOW):
        fall = np.log(remaining[end] / remaining[end - _WINDOW]) / _WINDOW
        if not abs(fall - wanted) <= max(-_SETTLED * wanted, rounded):
            return False
    return True


def survival(
    advance: Callable[[Array], Array], weights: Array, first: Array, steps: int, decay: float, digits: float = _ITERATED
) -> Array:
    """Return the mass Σ weights·p inside after 1 … ``steps`` steps, from p = ``first`` after one.

    Parameters
    ----------
    advance
        One restricted step.
    decay
        Its leading eigenvalue.
    digits
        What is known of it or, where it is known better, what a step keeps of the mass.
    """
    result = np.zeros(steps)
    state = first
    for n in range(steps):
        result[n] = max(float(weights @ state), 0.0)
        if n % 16 == 0 and _settled(result, n, decay, digits):
            result[n + 1 :] = result[n] * decay ** np.arange(1.0, steps - n)
            break
        state = advance(state)
    return result


@kernel(fast=True)
def _remaining(
    pointers: NDArray[np.int32],
    columns: NDArray[np.int32],
    entries: Array,
    share: float,
    start: Array,
    remaining: Array,
    decay: float,
) -> int:
    """Fill the mass left after 0, 1, … jumps of I + share·G; stop once it falls by ``decay``, and return how many."""
    vector, moved = start.copy(), np.empty_like(start)
    for k in range(len(remaining)):
        total = 0.0
        for i in range(len(vector)):
            total += vector[i]
        remaining[k] = total
        if k % _WINDOW == 0 and _settled(remaining, k, decay, _ROUNDED):
            return k + 1
        for i in range(len(vector)):
            change = 0.0
            for p in range(pointers[i], pointers[i + 1]):
                change += entries[p] * vector[columns[p]]
            moved[i] = vector[i] + share * change
        vector, moved = moved, vector
    return len(remaining)


def chain_survival(matrix: sparse.csc_array, start: Array, period: float, steps: int, slowest: float) -> Array:
    """Return the mass left at the times 0, ``period``, … ``steps`` periods under an absorbing generator.

    Parameters
    ----------
    matrix
        Generator G, shape (n, n).
    start
        Probabilities of the cells, shape (n,).
    slowest
        Smallest rate of decay of G.
    """
    rate = 1.1 * generator.fastest(matrix)
    mean = rate * period * steps
    if mean * matrix.nnz > _MANY and matrix.shape[0] <= evolution.DENSE_SIZE:
        step = evolution.transition(matrix, period)
        ones, decay = np.ones(len(start)), float(np.exp(-slowest * period))
        rest = survival(lambda p: step @ p, ones, step @ start, steps, decay)
        return np.concatenate([[float(start.sum())], rest])
    rows = matrix.tocsr()
    remaining = np.empty(int(mean + 12 * np.sqrt(mean + 1) + 60))
    pointers, columns = rows.indptr.astype(np.int32), rows.indices.astype(np.int32)
    ratio = 1 - slowest / rate
    known = int(_remaining(pointers, columns, rows.data, 1 / rate, start, remaining, ratio))
    result = np.empty(steps + 1)
    for n in range(steps + 1):
        jumps = rate * period * n
        first, weights = uniformisation.poisson(jumps, 1e-13)
        if first >= known:
            # A Poisson mixture of a geometric sequence is an exponential.
            last = remaining[known - 1]
            result[n] = np.exp(np.log(last) - (known - 1) * np.log(ratio) - jumps * (1 - ratio)) if last > 0 else 0.0
            continue
        index = first + np.arange(len(weights))
        inside = index < known
        beyond = remaining[known - 1] * ratio ** (index[~inside] - known + 1.0)
        result[n] = weights[inside] @ remaining[index[inside]] + weights[~inside] @ beyond
    return result
