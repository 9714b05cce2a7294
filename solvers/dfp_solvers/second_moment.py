"""Linear maps of symmetric matrices, such as X ↦ AXAᵀ + η²G(X) of (T14), given as functions: growth and fixed points.

Symmetric matrices are packed into their d(d+1)/2 entries, off-diagonal ones times √2, so that inner products are kept.
Up to ``DENSE_SIZE`` unknowns a matrix is built; beyond it Arnoldi's method and GMRES apply the map alone.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigs, gmres

from dfp_solvers import matrices
from dfp_solvers.arrays import Array

SymmetricMap = Callable[[Array], Array]

DENSE_SIZE = 500
_TOLERANCE = 1e-12


def packed(matrix: Array) -> Array:
    """Return symmetric matrices (..., d, d) as vectors (..., d(d+1)/2)."""
    rows, columns = np.tril_indices(matrix.shape[-1])
    return matrix[..., rows, columns] * np.where(rows == columns, 1.0, np.sqrt(2))


def unpacked(vector: Array, dimension: int) -> Array:
    """Return vectors (..., d(d+1)/2) as symmetric matrices (..., d, d)."""
    rows, columns = np.tril_indices(dimension)
    scaled = vector * np.where(rows == columns, 1.0, np.sqrt(0.5))
    result = np.empty((*vector.shape[:-1], dimension, dimension))
    result[..., rows, columns] = scaled
    result[..., columns, rows] = scaled
    return result


def size(dimension: int) -> int:
    """Return the number of entries of a packed symmetric matrix."""
    return dimension * (dimension + 1) // 2


def _matrix(apply: SymmetricMap, dimension: int) -> Array:
    size = dimension * (dimension + 1) // 2
    return packed(apply(unpacked(np.eye(size), dimension))).T


def _operator(apply: SymmetricMap, dimension: int) -> LinearOperator:
    size = dimension * (dimension + 1) // 2
    return LinearOperator(
        (size, size), matvec=lambda vector: packed(apply(unpacked(np.ravel(vector), dimension))), dtype=float
    )


def eigenvalues(apply: SymmetricMap, dimension: int) -> NDArray[np.complex128]:
    """Return all eigenvalues of a map of symmetric matrices (..., d, d), of few dimensions."""
    return np.linalg.eigvals(_matrix(apply, dimension)).astype(np.complex128)


def largest_real(apply: SymmetricMap, dimension: int, tolerance: float = _TOLERANCE) -> float:
    """Return the largest real part of the map's eigenvalues; of a positive map that is its spectral radius.

    Parameters
    ----------
    apply
        The map, of symmetric matrices (..., d, d).
    dimension
        d.
    tolerance
        Relative error, where Arnoldi's method is used.

    Raises
    ------
    ArithmeticError
        If Arnoldi's method does not converge.
    """
    if dimension * (dimension + 1) // 2 <= DENSE_SIZE:
        return float(np.max(np.linalg.eigvals(_matrix(apply, dimension)).real))
    operator = _operator(apply, dimension)
    # A positive map has a positive semidefinite eigenvector (Krein and Rutman 1948), which the identity overlaps with.
    start = packed(np.eye(dimension))
    ncv = min(start.size, 60)
    try:
        return float(
            eigs(operator, k=1, which="LR", v0=start, tol=tolerance, ncv=ncv, return_eigenvectors=False)[0].real
        )
    except (ArpackError, ArpackNoConvergence) as error:
        raise ArithmeticError(f"the growth of second moments was not found (Arnoldi: {error})") from None


def solve(apply: SymmetricMap, source: Array, diagonal: Array) -> Array:
    """Return the symmetric X with −apply(X) = ``source``, shape (d, d).

    Parameters
    ----------
    apply
        An invertible map of symmetric matrices (..., d, d).
    source
        Shape (d, d).
    diagonal
        An approximation of −apply, entry by entry, shape (d, d): the preconditioner where GMRES is used.

    Raises
    ------
    ArithmeticError
        If GMRES does not converge.
    """
    d = len(source)
    right = packed(source)
    if right.size <= DENSE_SIZE:
        return unpacked(matrices.solve_graded(-_matrix(apply, d), right), d)
    scale = np.sqrt(np.abs(diagonal[np.tril_indices(d)]))
    operator = _operator(lambda x: -apply(x), d)
    # Scaled on both sides, so that the residual that GMRES sees is not dominated by stiff entries.
    scaled = LinearOperator(operator.shape, matvec=lambda v: operator.matvec(np.ravel(v) / scale) / scale, dtype=float)
    solution, failed = gmres(scaled, right / scale, rtol=_TOLERANCE, atol=0.0, restart=100, maxiter=50)
    if failed:
        raise ArithmeticError("the stationary second moments were not found (GMRES does not converge)")
    return unpacked(solution / scale, d)
