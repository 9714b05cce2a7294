"""First passage: how much mass is still inside a box, step by step, when what is outside never comes back.

Maps with Gaussian kernels (T4) are taken to Gauss–Legendre nodes of the box, on which the restricted kernel, smooth
inside and cut at the walls, is integrated with spectral accuracy. Generators (T6, T7) are taken as Markov chains on
cells with absorbing walls; one sequence of jumps gives their survival at all times (uniformisation, Jensen 1953).

After many steps one mode is left and survival falls geometrically, by the leading eigenvalue: then it is continued in
closed form. The eigenvalue must be known: survival that does not fall yet looks geometric as well.
"""

from collections.abc import Callable

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from dfp_solvers import matrices
from dfp_solvers.arrays import Array
from dfp_solvers.jit import kernel
from dfp_solvers.markov_chain import generator, uniformisation

# Survival has become geometric where it falls by the leading eigenvalue to this, relatively, over two windows.
_SETTLED, _WINDOW = 1e-8, 128


def legendre(lower: Array, upper: Array, counts: tuple[int, ...]) -> tuple[Array, Array]:
    """Return nodes (n, d) and weights (n,) of the tensor Gauss–Legendre rule of a box."""
    rules = [np.polynomial.legendre.leggauss(n) for n in counts]
    axes = [(a + b) / 2 + (b - a) / 2 * x for a, b, (x, _) in zip(lower, upper, rules, strict=True)]
    sides = [(b - a) / 2 * w for a, b, (_, w) in zip(lower, upper, rules, strict=True)]
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(counts))
    weights = np.prod(np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, len(counts)), axis=1)
    return nodes, weights


def gaussian_kernel(places: Array, means: Array, covariances: Array, masses: Array) -> Array:
    """Return the density at ``places`` (m, d) of Gaussians of ``masses`` (n,) at ``means`` (n, d): shape (m, n).

    Their ``covariances`` have the shape (n, d, d).
    """
    factors = matrices.whitening(covariances)
    peaks = np.prod(np.einsum("nii->ni", factors), axis=1) / (2 * np.pi) ** (places.shape[1] / 2)
    return _gaussians(places, means, np.ascontiguousarray(factors), peaks * masses)


@kernel(parallel=True, fast=True)
def _gaussians(places: Array, means: Array, factors: Array, peaks: Array) -> Array:
    d, result = places.shape[1], np.empty((len(places), len(means)))
    for m in numba.prange(len(places)):
        for n in range(len(means)):
            square = 0.0
            for i in range(d):
                z = 0.0
                for j in range(i + 1):
                    z += factors[n, i, j] * (places[m, j] - means[n, j])
                square += z * z
            result[m, n] = peaks[n] * np.exp(-0.5 * square)
    return result


@kernel()
def _settled(remaining: Array, k: int, decay: float) -> bool:
    """Tell whether the masses up to index ``k`` have fallen by the factor ``decay`` each over the last two windows."""
    if k < 2 * _WINDOW or not remaining[k] > 0.0:
        return not remaining[k] > 0.0
    wanted = np.log(decay)
    for end in (k, k - _WINDOW):
        if not abs(np.log(remaining[end] / remaining[end - _WINDOW]) / _WINDOW - wanted) <= -_SETTLED * wanted:
            return False
    return True


def survival(advance: Callable[[Array], Array], weights: Array, first: Array, steps: int, decay: float) -> Array:
    """Return the mass Σ weights·p inside after 1 … ``steps`` steps, from p = ``first`` after one.

    Parameters
    ----------
    advance
        One restricted step.
    decay
        Its leading eigenvalue.
    """
    result = np.zeros(steps)
    state = first
    for n in range(steps):
        result[n] = max(float(weights @ state), 0.0)
        if n % 16 == 0 and _settled(result, n, decay):
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
        if k % _WINDOW == 0 and _settled(remaining, k, decay):
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
    rows = matrix.tocsr()
    mean = rate * period * steps
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
