"""Gaussian densities on tensor grids, one exponential per axis where axes are independent; how fine they are."""

import math
from collections.abc import Sequence

import numpy as np

from dfp_solvers.arrays import Array
from dfp_solvers.jit import kernel


def on_grid(axes: Sequence[Array], mean: Array, inverse: Array) -> Array:
    """Return the Gaussian density at the points of a tensor grid, shape (n_1, …, n_d) [1 / parameter^d].

    Parameters
    ----------
    axes
        Coordinates, one array of n_i values per axis [parameter].
    mean
        Shape (d,).
    inverse
        L⁻¹, the inverse of the Cholesky factor of the covariance LLᵀ, lower triangular, shape (d, d).

    Notes
    -----
    With z = L⁻¹(θ − mean), z_i depends on the axes up to i alone, and on the fewer the more zeros L⁻¹ has: each factor
    e^{−z_i²/2} is computed on no more axes than it needs.
    """
    d = len(axes)
    if d == 1:
        return _on_line(axes[0], mean[0], inverse[0, 0])
    shifted = [(axis - mean[i]).reshape(-1, *[1] * (d - 1 - i)) for i, axis in enumerate(axes)]
    result: Array = np.array((2 * np.pi) ** (-d / 2) * inverse.diagonal().prod())
    for i in range(d):
        z = inverse[i, i] * shifted[i]
        for j in range(i):
            if inverse[i, j] != 0:
                z = z + inverse[i, j] * shifted[j]
        result = result * np.exp(-0.5 * z * z)
    return result


@kernel()
def _on_line(axis: Array, mean: float, inverse: float) -> Array:
    """Return the same for one axis, where calls of NumPy would take longer than the exponentials."""
    peak, result = inverse / np.sqrt(2 * np.pi), np.empty_like(axis)
    for i in range(len(axis)):
        z = inverse * (axis[i] - mean)
        result[i] = peak * np.exp(-0.5 * z * z)
    return result


@kernel()
def largest_beyond(inverse: Array, spacing: Array) -> float:
    """Return the largest |φ| = e^{−½kᵀΣk} among wave vectors with some |k_i| = π / spacing_i, the grid's largest.

    ``inverse`` is L⁻¹ as in ``on_grid``: over the other components, kᵀΣk is at least k_i² / (Σ⁻¹)_ii.
    """
    slowest = np.inf
    for i in range(len(spacing)):
        precision = 0.0
        for row in range(i, len(spacing)):
            precision += inverse[row, i] ** 2
        slowest = min(slowest, np.pi**2 / (spacing[i] ** 2 * precision))
    return math.exp(-0.5 * slowest)
