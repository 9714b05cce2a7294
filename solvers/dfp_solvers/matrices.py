"""Symmetric matrices of few rows: NumPy's linear algebra, but without its overhead where a matrix is one number."""

import numpy as np

from dfp_solvers.arrays import Array

# Ratio of the extreme eigenvalues down to which they are found to enough digits in any case.
_WELL = 1e-6


def eigenvalues(matrices: Array) -> Array:
    """Return the eigenvalues (..., d), ascending, of symmetric ``matrices`` (..., d, d)."""
    return matrices[..., 0] if matrices.shape[-1] == 1 else np.linalg.eigvalsh(matrices)


def eigenbasis(matrix: Array) -> tuple[Array, Array]:
    """Return eigenvalues (d,), ascending, and orthonormal eigenvectors (d, d), columns, of a symmetric ``matrix``.

    Eigenvalues that are rounding, in any units of the axes, are zero; small ones of a positive definite matrix keep
    their digits where that is so only because its axes have different units.
    """
    if len(matrix) == 1:
        return matrix[0].copy(), np.ones((1, 1))
    values, vectors = np.linalg.eigh(matrix)
    if np.abs(values).min() > _WELL * np.abs(values).max() or not np.count_nonzero(matrix - np.diag(matrix.diagonal())):
        return values, vectors
    scale, null = _nullity(matrix)
    if null:
        values[np.argsort(np.abs(values))[:null]] = 0.0
    elif values[0] < _WELL * values[-1] and scale.min() > 0:
        return _graded(matrix, values, vectors)
    order = np.argsort(values, kind="stable")
    return values[order], vectors[:, order]


def _nullity(matrix: Array) -> tuple[Array, int]:
    """Return the units of the axes, |diagonal|^½, and how many eigenvalues are zero, to rounding, in these units.

    A change of units moves eigenvalues but neither creates nor removes zeros (Sylvester's law of inertia).
    """
    scale = np.sqrt(np.abs(matrix.diagonal()))
    units = np.where(scale > 0, scale, max(float(scale.max()), np.finfo(float).tiny))
    scaled = np.abs(np.linalg.eigvalsh(matrix / units[:, None] / units))
    return scale, int(np.count_nonzero(scaled <= 4 * len(matrix) * np.finfo(float).eps * scaled.max()))


def _graded(matrix: Array, values: Array, vectors: Array) -> tuple[Array, Array]:
    """Return the eigenvalues of a positive definite matrix to their own digits, by Jacobi rotations of its factor.

    Cholesky factors and one-sided rotations do not depend on units (Demmel & Veselić 1992); what ``eigh`` found is
    returned if there is no factor.
    """
    try:
        factor = np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return values, vectors
    from scipy.linalg import lapack  # here, for it loads slowly and is needed rarely

    # Job numbers: accurate where columns differ in size, no left vectors, right ones.
    singular, _, right, work, _, failed = lapack.dgejsv(factor.T, joba=0, jobu=3, jobv=0)
    if failed or not np.all(np.isfinite(right)):
        return values, vectors
    return (singular[::-1] * (work[0] / work[1])) ** 2, np.ascontiguousarray(right[:, ::-1])


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


def solve_graded(matrix: Array, right: Array) -> Array:
    """Return x with ``matrix`` (..., n, n) x = ``right`` (..., n), where rows differ in size for their units do."""
    sizes = np.abs(matrix).max(axis=-1)
    sizes = np.where(sizes > 0, sizes, 1.0)
    solved: Array = np.linalg.solve(matrix / sizes[..., None], (right / sizes)[..., None])[..., 0]
    return solved
