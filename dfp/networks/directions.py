"""The directions in which a network is looked at: all eigenvectors of its mean Hessian, or sharp ones and flat ones."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from dfp_solvers import krylov

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError
from dfp.networks.source import Source
from dfp.result import Short

if TYPE_CHECKING:
    from dfp.networks.runs import Runs

FULL_UP_TO = 2000
"""Number of parameters up to which the whole mean Hessian is computed."""


@dataclass(frozen=True, eq=False, repr=False)
class Directions(Short):
    """Orthonormal directions, sharp ones first.

    Attributes
    ----------
    vectors
        Columns, shape (d, k).
    hessian
        Mean Hessian between them, shape (k, k).
    residuals
        |Hu − λu| of each, λ = uᵀHu, shape (k,): zero for eigenvectors.
    outside
        Part of H times each that lies outside of all, shape (d, k).
    flat
        Which were chosen as flat, shape (k,).
    helpers
        Which were added because the mean Hessian takes flat ones there, shape (k,).
    method
        How they were found, in words.
    """

    vectors: Array
    hessian: Array
    residuals: Array
    outside: Array
    flat: np.ndarray
    helpers: np.ndarray
    method: str


def find(source: Source, modes: int | str, flat: int, depth: int, runs: "Runs | None", seed: int) -> Directions:
    """Return all eigenvectors, or the ``modes`` sharpest, ``flat`` others orthogonal to them, and their helpers."""
    d = source.dimension
    if isinstance(modes, str):
        checks.choice("modes", modes, ("all",))
        if d > FULL_UP_TO:
            raise DFPError(
                f"modes='all': the model has {d} parameters, and the whole Hessian is computed up to {FULL_UP_TO}; "
                "give a number of sharp modes, such as modes=32, and flat=32."
            )
        if flat:
            raise DFPError(f"flat={flat}: all modes are taken, flat ones included; leave it out, or give modes=k.")
        vectors, method = _dense(source), "all eigenvectors of the mean Hessian"
        return _described(vectors, source.products(vectors), d, 0, method)
    count = checks.integer("modes", modes, at_least=1, at_most=d)
    checks.integer("flat", flat, at_most=d - count)
    if d <= FULL_UP_TO and 10 * count > d:
        vectors = _dense(source)
        sharp, method = vectors[:, :count], f"the {count} sharpest eigenvectors of the mean Hessian"
    else:
        sharp, method = _lanczos(source, count, seed), f"the {count} sharpest eigenvectors by Lanczos"
    moved = source.products(sharp)
    if not flat:
        return _described(sharp, moved, count, 0, method)
    others, how = _flat(sharp, flat, runs, seed)
    others = others @ np.linalg.eigh(_symmetric(others.T @ source.products(others)))[1][:, ::-1]
    more, theirs = krylov.space(source.products, others, sharp, checks.integer("depth", depth))
    method = f"{method}, and {flat} {how}"
    return _described(np.hstack([sharp, more]), np.hstack([moved, theirs]), count, flat, method)


def _described(vectors: Array, moved: Array, sharp: int, flat: int, method: str) -> Directions:
    """Return directions, ``sharp`` ones, ``flat`` ones and helpers, with H times them in ``moved``, shape (d, k)."""
    hessian = _symmetric(vectors.T @ moved)
    residuals = np.linalg.norm(moved - vectors * np.diag(hessian), axis=0)
    outside, place = moved - vectors @ (vectors.T @ moved), np.arange(vectors.shape[1])
    chosen = (place >= sharp) & (place < sharp + flat)
    return Directions(vectors, hessian, residuals, outside, chosen, place >= sharp + flat, method)


def _symmetric(matrix: Array) -> Array:
    result: Array = (matrix + matrix.T) / 2
    return result


def _dense(source: Source) -> Array:
    """Return the eigenvectors of the mean Hessian, columns, the sharpest first."""
    vectors: Array = np.linalg.eigh(_symmetric(source.products(np.eye(source.dimension))))[1]
    return vectors[:, ::-1]


def _lanczos(source: Source, count: int, seed: int) -> Array:
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    d = source.dimension

    def product(vector: Array) -> Array:
        return source.products(vector.reshape(d, 1))[:, 0]

    operator = LinearOperator((d, d), matvec=product, dtype=np.float64)
    start = np.random.default_rng(seed).standard_normal(d)
    try:
        values, vectors = eigsh(operator, count, which="LA", v0=start, tol=1e-6, maxiter=50 * count)
    except ArpackNoConvergence as error:
        raise DFPError(f"modes={count}: Lanczos found {len(error.eigenvalues)} of them; ask for fewer.") from None
    result: Array = vectors[:, np.argsort(values)[::-1]]
    return result


def _flat(sharp: Array, count: int, runs: "Runs | None", seed: int) -> tuple[Array, str]:
    """Return orthonormal directions (d, count) orthogonal to ``sharp``, and how they were chosen.

    Lanczos is not used at this end of the spectrum: the smallest curvatures in modulus lie inside it, crowded, and do
    not converge.
    """
    if runs is None:
        drawn, how = (
            np.random.default_rng((seed, 1)).standard_normal((len(sharp), count)),
            "random ones orthogonal to them",
        )
    else:
        if runs.final.shape[1] != len(sharp):
            raise DFPError(
                f"runs have {runs.final.shape[1]} parameters: the model has {len(sharp)}; give its own runs."
            )
        moved = runs.final - runs.final.mean(axis=0)
        moved = moved - (moved @ sharp) @ sharp.T
        found = np.linalg.svd(moved, full_matrices=False)[2]
        if count >= len(moved):
            raise DFPError(f"flat={count}: {len(moved)} runs span only {len(moved) - 1} directions; give more runs.")
        drawn, how = (
            found[:count].T,
            f"in which {len(moved)} other runs (seed {runs.seed}) moved most, orthogonal to them",
        )
    return krylov.complement(drawn, sharp), how
