"""Gaussian densities on tensor grids, one exponential per axis where axes are independent; how fine they are."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


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
    shifted = np.meshgrid(*(axis - m for axis, m in zip(axes, mean, strict=True)), indexing="ij", sparse=True)
    result: Array = np.array((2 * np.pi) ** (-d / 2) * inverse.diagonal().prod())
    for i in range(d):
        z = inverse[i, i] * shifted[i]
        for j in range(i):
            if inverse[i, j] != 0:
                z = z + inverse[i, j] * shifted[j]
        result = result * np.exp(-0.5 * z * z)
    return result


def largest_beyond(inverse: Array, spacing: Array) -> float:
    """Return the largest |φ| = e^{−½kᵀΣk} among wave vectors with some |k_i| = π / spacing_i, the grid's largest.

    ``inverse`` is L⁻¹ as in ``on_grid``: over the other components, kᵀΣk is at least k_i² / (Σ⁻¹)_ii.
    """
    precision = (inverse * inverse).sum(axis=0)
    return float(np.exp(-0.5 * (np.pi**2 / (spacing * spacing * precision)).min()))
