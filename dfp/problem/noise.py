"""Laws of the minibatch fluctuations H̃ and g̃ of an affine gradient (T2).

Everything the first two moments of SGD need of the noise are three maps (T13)::

    quadratic(X) = E[H̃ X H̃ᵀ]        cross(m) = E[H̃ m g̃ᵀ]        constant = E[g̃ g̃ᵀ]

Laws provide them for batches of arguments; solvers that need more ask for Gaussian loadings or, of a finite sum
(``finite_sum.py``), for the samples.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfp import checks
from dfp.checks import TINY, Array
from dfp.errors import DFPError

# Share of the variance of minibatch gradients that is rounding where they agree: 1e-9 of their size, so that it is
# reached at the minimum of a regression with a condition number of up to 1e12, and by no measured residual.
_VANISHED = 1e-18


@dataclass(frozen=True)
class GaussianNoise:
    """Gaussian minibatch fluctuations, independent between H̃ and g̃.

    Parameters
    ----------
    gradient
        Covariance of g̃: a number, variances (d,) or a matrix (d, d) [(loss / parameter)^2].
    hessian
        Variances of H̃: Var H̃_ii of shape (d,), or a table Var H̃_ik of shape (d, d) with independent entries; 0
        for additive noise [(loss / parameter^2)^2].
    basis
        ``"theta"``: both are given in the axes of θ; ``"eigen"``: in the eigenbasis of the mean Hessian, in
        ascending order of eigenvalues (in the order given if the mean Hessian is diagonal).
    symmetric
        H̃ is a symmetric matrix whose entries i <= k are independent (the table must be symmetric).

    Notes
    -----
    The moments it implies are (T13) of the theory page.
    """

    gradient: ArrayLike
    hessian: ArrayLike = 0.0
    basis: str = "theta"
    symmetric: bool = False

    def law(self, hessian: Array) -> "GaussianLaw":
        """Return the law in the axes of θ for the mean Hessian ``hessian`` (d, d).

        Raises
        ------
        DFPError
            If shapes disagree with d, a variance is negative or the covariance is not positive semidefinite.
        """
        d = hessian.shape[0]
        checks.choice("noise.basis", self.basis, ("theta", "eigen"))
        checks.boolean("noise.symmetric", self.symmetric)
        constant = checks.covariance("noise.gradient", self.gradient, d)
        table = checks.square("noise.hessian", checks.array("noise.hessian", self.hessian, dimensions=(0, 1, 2)), d)
        if table.min() < 0:
            raise DFPError(f"noise.hessian has the entry {table.min():.3g}: variances must be >= 0; give variances.")
        if self.symmetric:
            table = checks.symmetric("noise.hessian", table)
        axes = None if self.basis == "theta" else eigenbasis(hessian)
        if axes is not None:
            constant = axes @ constant @ axes.T
        return GaussianLaw(constant, table, axes, bool(self.symmetric))


def eigenbasis(hessian: Array) -> Array:
    """Return the orthonormal eigenvectors (columns) of ``hessian``; the unit vectors, in order, if it is diagonal."""
    if not np.any(hessian - np.diag(np.diag(hessian))):
        return np.eye(hessian.shape[0])
    return np.linalg.eigh(hessian)[1]


class NoiseLaw(ABC):
    """What every law of (H̃, g̃) provides; arrays may carry leading axes."""

    constant: Array

    @property
    def dimension(self) -> int:
        """Number of parameters d."""
        return int(self.constant.shape[0])

    @property
    @abstractmethod
    def additive(self) -> bool:
        """Whether H̃ = 0, so that the noise does not depend on θ."""

    @property
    @abstractmethod
    def gaussian(self) -> bool:
        """Whether the gradient noise given θ is Gaussian."""

    @property
    def finite(self) -> bool:
        """Whether its covariance is finite."""
        return True

    @abstractmethod
    def quadratic(self, second: Array) -> Array:
        """Return E[H̃ X H̃ᵀ] for X = ``second`` of shape (..., d, d)."""

    @abstractmethod
    def cross(self, mean: Array) -> Array:
        """Return E[H̃ m g̃ᵀ] for m = ``mean`` of shape (..., d), shape (..., d, d)."""

    @abstractmethod
    def with_batch_size(self, batch_size: int) -> "NoiseLaw":
        """Return the law of the average of ``batch_size`` samples."""

    def mean_covariance(self, weight: Array | float, mean: Array, second: Array) -> Array:
        """Return the mean of C(θ) from the mass, mean (..., d) and raw second moment (..., d, d) of θ (T13)."""
        constant: Array = np.asarray(weight)[..., None, None] * self.constant
        if self.additive:
            return constant
        cross = self.cross(mean)
        return self.quadratic(second) + cross + np.swapaxes(cross, -1, -2) + constant

    def covariance(self, theta: Array) -> Array:
        """Return the minibatch gradient covariance C(θ) (T3), shape (..., d, d)."""
        return self.mean_covariance(np.ones(theta.shape[:-1]), theta, theta[..., :, None] * theta[..., None, :])

    def variances(self, axes: Array) -> Array:
        """Return the variances of g̃ along ``axes`` (d, k), columns, shape (k,); ∞ where there is none."""
        along: Array = np.einsum("ji,jk,ki->i", axes, self.constant, axes, optimize=True)
        return np.maximum(along, 0.0)

    def tail_index(self, axes: Array) -> Array:
        """Return the α of g̃ along ``axes`` (d, k), P(|g̃| > x) ~ x^−α, shape (k,); ∞ where tails are lighter."""
        return np.full(axes.shape[1], np.inf)

    def settled(self, factor: float, learning_rate: float) -> Any:
        """Return the distribution of θ* − θ in the stationary state for d = 1 if it is a closed stable law, else None.

        θ' − θ* = ``factor`` (θ − θ*) − ``learning_rate`` g̃.
        """
        return None

    def collapses_at(self, theta: Array, axes: Array) -> NDArray[np.bool_]:
        """Return along which ``axes`` (d, k) all minibatches have the same gradient at ``theta`` (d,), shape (k,)."""
        if not self.finite:
            return np.zeros(axes.shape[1], dtype=bool)
        moved = self.quadratic(np.outer(theta, theta))
        left = np.einsum("ji,jk,ki->i", axes, self.covariance(theta), axes, optimize=True)
        scale = np.einsum("ji,jk,ki->i", axes, moved, axes, optimize=True) + self.variances(axes)
        return left <= _VANISHED * scale + (16 * np.finfo(float).eps) ** 2 * np.max(scale)


class GaussianLaw(NoiseLaw):
    """Gaussian H̃, with independent entries of variances ``table`` in the basis ``axes``, and Gaussian g̃."""

    gaussian = True

    def __init__(self, constant: Array, table: Array, axes: Array | None, symmetric: bool) -> None:
        self.constant = constant
        self.table = table
        self.axes = axes
        self.symmetric = symmetric
        self._additive = not table.any()

    @property
    def additive(self) -> bool:
        """Whether every curvature variance is zero."""
        return self._additive

    def quadratic(self, second: Array) -> Array:
        """Return E[H̃ X H̃ᵀ] = δ_ij Σ_k V_ik X_kk, plus (1 − δ_ij) V_ij X_ji if H̃ is symmetric."""
        if self.additive:
            return np.zeros_like(second)
        rotated = second if self.axes is None else self.axes.T @ second @ self.axes
        diagonal = np.einsum("ik,...kk->...i", self.table, rotated)
        result = self.table * np.swapaxes(rotated, -1, -2) if self.symmetric else np.zeros_like(second)
        index = np.arange(self.dimension)
        result[..., index, index] = diagonal
        return result if self.axes is None else self.axes @ result @ self.axes.T

    def cross(self, mean: Array) -> Array:
        """Return zero: H̃ and g̃ are independent."""
        return np.zeros((*mean.shape, self.dimension))

    def with_batch_size(self, batch_size: int) -> "GaussianLaw":
        """Return the law with all variances divided by ``batch_size``."""
        return GaussianLaw(self.constant / batch_size, self.table / batch_size, self.axes, self.symmetric)

    def loadings(self) -> tuple[Array, Array]:
        """Return how standard normals ζ enter: g̃ = Σ_r ζ_r u_r and H̃ = Σ_r ζ_r W_r.

        Returns
        -------
        u
            Shape (R, d).
        W
            Shape (R, d, d).
        """
        d = self.dimension
        vectors = [(column, np.zeros((d, d))) for column in square_root(self.constant).T]
        axes = np.eye(d) if self.axes is None else self.axes
        for i in range(d):
            for k in range(i if self.symmetric else 0, d):
                deviation = np.sqrt(self.table[i, k])
                matrix = deviation * np.outer(axes[:, i], axes[:, k])
                if self.symmetric and i != k:
                    matrix = matrix + matrix.T
                if deviation > 0:
                    vectors.append((np.zeros(d), matrix))
        return np.array([u for u, _ in vectors]).reshape(-1, d), np.array([w for _, w in vectors]).reshape(-1, d, d)


def square_root(covariance: Array) -> Array:
    """Return F of shape (d, rank) with F Fᵀ = ``covariance``: its Cholesky factor, or eigenvectors if singular."""
    try:
        return np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(covariance)
        keep = values > 1e-14 * max(values[-1], TINY)
        return vectors[:, keep] * np.sqrt(values[keep])
