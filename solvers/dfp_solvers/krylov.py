"""Krylov spaces of a large symmetric matrix that is known by its products alone, in blocks of vectors."""

from collections.abc import Callable

import numpy as np

from dfp_solvers.arrays import Array

Product = Callable[[Array], Array]
# Directions that are new by less than this share of the largest are rounding.
_NEW = 1e-10


def complement(vectors: Array, basis: Array) -> Array:
    """Return orthonormal directions that ``vectors`` (d, k) add to orthonormal ``basis`` (d, m), shape (d, <= k)."""
    left, sizes, _ = np.linalg.svd(vectors - basis @ (basis.T @ vectors), full_matrices=False)
    added = left[:, sizes > _NEW * max(np.linalg.norm(vectors, axis=0).max(initial=0.0), np.finfo(float).tiny)]
    for _ in range(2):  # once leaves rounding of the size of the overlap
        added = np.linalg.qr(added - basis @ (basis.T @ added))[0]
    return added


def space(product: Product, start: Array, avoided: Array, depth: int) -> tuple[Array, Array]:
    """Return an orthonormal basis of span(S, PHS, …, (PH)^depth S), and H times it, shapes (d, <= k (depth + 1)).

    Functions of PHP times vectors of the span of S are exact in it for polynomials of degree ``depth``, bilinear forms
    of such vectors for degree 2 ``depth`` + 1 (Golub and Meurant, *Matrices, Moments and Quadrature*, 2010).

    Parameters
    ----------
    product
        V ↦ HV for V of shape (d, k).
    start
        S, orthonormal columns, shape (d, k); the basis begins with them.
    avoided
        Orthonormal columns orthogonal to S, shape (d, m); P projects them out.
    depth
        Number of products.
    """
    basis, newest = np.hstack([avoided, start]), start
    moved = [product(start)]
    for _ in range(depth):
        newest = complement(moved[-1], basis)
        if not newest.shape[1]:
            break
        basis = np.hstack([basis, newest])
        moved.append(product(newest))
    return basis[:, avoided.shape[1] :], np.hstack(moved)
