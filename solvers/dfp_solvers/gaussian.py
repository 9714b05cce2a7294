"""Gaussian densities on tensor grids, one exponential per axis where axes are independent; how fine they are."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


def on_grid(axes: Sequence[Array], mean: Array, factor: Array) -> Array:
    """Return the Gaussian density at the points of a tensor grid, shape (n_1, …, n_d) [1 / parameter^d].

    Parameters
    ----------
    axes
        Coordinates, one array of n_i values per axis [parameter].
    mean
        Shape (d,).
    factor
        Cholesky factor L of the covariance LLᵀ, lower triangular, shape (d, d).

    Notes
    -----
    With z = L⁻¹(θ − mean), z_i depends on the axes up to i alone, and on the fewer the more zeros L⁻¹ has: each factor
    e^{−z_i²/2} is computed on no more axes than it needs.
    """
    d = len(axes)
    inverse = np.linalg.inv(factor)
    shifted = np.meshgrid(*(axis - m for axis, m in zip(axes, mean, strict=True)), indexing="ij", sparse=True)
    result: Array = np.array((2 * np.pi) ** (-d / 2) / np.prod(np.diagonal(factor)))
    for i in range(d):
        z = inverse[i, i] * shifted[i]
        for j in range(i):
            if inverse[i, j] != 0:
                z = z + inverse[i, j] * shifted[j]
        result = result * np.exp(-0.5 * z * z)
    return result


def largest_beyond(covariance: Array, spacing: Array) -> float:
    """Return the largest |φ| = e^{−½kᵀΣk} among wave vectors with some |k_i| = π / spacing_i, the grid's largest."""
    narrowest = 1.0 / np.diagonal(np.linalg.inv(covariance))
    return float(np.exp(-0.5 * np.min((np.pi / spacing) ** 2 * narrowest)))
