"""Symmetric matrices of few rows: NumPy's linear algebra, but without its overhead where a matrix is one number."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


def eigenvalues(matrices: Array) -> Array:
    """Return the eigenvalues (..., d), ascending, of symmetric ``matrices`` (..., d, d)."""
    return matrices[..., 0] if matrices.shape[-1] == 1 else np.linalg.eigvalsh(matrices)


def eigenbasis(matrix: Array) -> tuple[Array, Array]:
    """Return eigenvalues (d,), ascending, and orthonormal eigenvectors (d, d), columns, of a symmetric ``matrix``."""
    if len(matrix) == 1:
        return matrix[0].copy(), np.ones((1, 1))
    values, vectors = np.linalg.eigh(matrix)
    return values, vectors


def rotated(axes: Array, vectors: Array, matrices: Array) -> tuple[Array, Array]:
    """Return the components of ``vectors`` (..., d) and ``matrices`` (..., d, d) along orthonormal ``axes`` (d, d).

    Columns are the new axes; the transpose turns back. One parameter has but one axis: its arguments are returned as
    they are. Moments that have overflowed turn into others that are not finite.
    """
    if len(axes) == 1:
        return vectors, matrices
    with np.errstate(over="ignore", invalid="ignore"):
        return vectors @ axes, axes.T @ matrices @ axes


def propagated(factor: Array, covariance: Array) -> Array:
    """Return F Σ Fᵀ, the covariance after the map F = ``factor`` (d, d)."""
    if len(factor) == 1:
        return factor * covariance * factor
    return factor @ covariance @ factor.T


def precisions(covariances: Array) -> Array:
    """Return the diagonal (..., d) of the inverse of positive definite ``covariances`` (..., d, d)."""
    if covariances.shape[-1] == 1:
        return 1.0 / covariances[..., 0]
    return np.linalg.inv(covariances).diagonal(axis1=-2, axis2=-1)


def whitening(covariances: Array) -> Array:
    """Return L⁻¹, lower triangular, of the Cholesky factors L of ``covariances`` (..., d, d).

    Raises
    ------
    numpy.linalg.LinAlgError
        If one is not positive definite.
    """
    if covariances.shape[-1] > 1:
        return np.linalg.inv(np.linalg.cholesky(covariances))
    if not covariances.min() > 0:
        raise np.linalg.LinAlgError("Matrix is not positive definite")
    return 1.0 / np.sqrt(covariances)


def square_root(covariance: Array) -> Array:
    """Return F of shape (d, rank) with F Fᵀ = ``covariance``: its Cholesky factor, or eigenvectors if singular."""
    try:
        return np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(covariance)
        keep = values > 1e-14 * max(values[-1], np.finfo(float).tiny)
        return vectors[:, keep] * np.sqrt(values[keep])
