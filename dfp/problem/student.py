"""Heavy-tailed additive gradient noise: a multivariate Student's t, whose components become large together."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from dfp_solvers import matrices
from numpy.typing import ArrayLike

from dfp import checks
from dfp.checks import Array
from dfp.errors import UnsupportedError
from dfp.problem.noise import Noise, NoiseLaw, eigenbasis


@dataclass(frozen=True, eq=False, repr=False)
class StudentNoise(Noise):
    """Gradient noise g̃ of a multivariate Student's t law; the Hessian does not fluctuate.

    One draw is ``Σ^{1/2} z √(ν / χ²_ν)``: a Gaussian whose size is drawn anew each time, so that components that are
    not correlated still grow large in the same minibatches. Independent components are ``AdditiveNoise``.

    Parameters
    ----------
    scale
        Σ: a number, its diagonal (d,) or a matrix (d, d) [(loss / parameter)^2]. The covariance of g̃ is Σ ν/(ν − 2).
    degrees_of_freedom
        ν > 0: moments exist below the order ν, tails fall like ``|g̃|^−ν``; ν → ∞ is Gaussian.
    basis
        ``"theta"``: Σ is given in the axes of θ; ``"eigen"``: in the eigenbasis of the mean Hessian, in ascending order
        of eigenvalues (in the order given if the mean Hessian is diagonal).

    Raises
    ------
    DFPError
        If Σ is not positive semidefinite, or ν is not positive.

    Notes
    -----
    Its characteristic function is known (Kotz and Nadarajah 2004, section 1.2), so that the master equation is solved
    exactly, without a variance too. ``SGD(batch_size=B)`` averages B independent draws.

    Examples
    --------
    >>> import dfp
    >>> noise = dfp.StudentNoise(scale=0.1, degrees_of_freedom=3.0)
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=noise), learning_rate=0.2)
    >>> print(dfp.stationary_moments(dfp.MasterEquation(sgd)).covariance.round(5))
    [[0.03333]]
    """

    scale: ArrayLike
    degrees_of_freedom: float
    basis: str = "theta"

    def __post_init__(self) -> None:
        checks.choice("noise.basis", self.basis, ("theta", "eigen"))
        checks.semidefinite("noise.scale", self.scale)
        checks.real("noise.degrees_of_freedom", self.degrees_of_freedom, above=0)

    def law(self, hessian: Array) -> "StudentLaw":
        """Return the law in the axes of θ for the mean Hessian ``hessian`` (d, d).

        Raises
        ------
        DFPError
            If shapes disagree with d.
        """
        scale = checks.covariance("noise.scale", self.scale, len(hessian))
        if self.basis == "eigen":
            axes = eigenbasis(hessian)
            scale = axes @ scale @ axes.T
        return StudentLaw(scale, checks.real("noise.degrees_of_freedom", self.degrees_of_freedom, above=0))


@dataclass(frozen=True, eq=False, repr=False)
class StudentLaw(NoiseLaw):
    """The average of ``batch_size`` draws of a multivariate Student's t of scale Σ (d, d) with ν degrees of freedom."""

    scale: Array
    degrees_of_freedom: float
    batch_size: int = 1

    additive = True
    gaussian = False

    @property
    def highest_order(self) -> float:
        """The largest whole number below ν."""
        return float(np.ceil(self.degrees_of_freedom) - 1)

    @cached_property
    def constant(self) -> Array:  # type: ignore[override]
        """Σ ν/((ν − 2) B), shape (d, d); not finite for ν <= 2."""
        nu = self.degrees_of_freedom
        with np.errstate(invalid="ignore"):
            return self.scale * (nu / (nu - 2) if nu > 2 else np.inf) / self.batch_size

    @property
    def finite_part(self) -> Array:
        """The covariance, zero for ν <= 2, shape (d, d)."""
        return self.constant if self.finite else np.zeros_like(self.scale)

    def variances(self, axes: Array) -> Array:
        """Return the variances of g̃ along ``axes`` (d, k), columns, shape (k,); ∞ for ν <= 2."""
        along = np.maximum(np.einsum("ji,jk,ki->i", axes, self.scale, axes, optimize=True), 0.0) / self.batch_size
        nu = self.degrees_of_freedom
        return along * (nu / (nu - 2)) if nu > 2 else np.where(along > 0, np.inf, 0.0)

    def tail_index(self, axes: Array) -> Array:
        """Return ν, the same along all ``axes`` (d, k) with noise, shape (k,)."""
        return np.where(self.variances(axes) > 0, self.degrees_of_freedom, np.inf)

    def quadratic(self, second: Array) -> Array:
        """Return zero: H̃ = 0."""
        return np.zeros_like(second)

    def cross(self, mean: Array) -> Array:
        """Return zero: H̃ = 0."""
        return np.zeros((*mean.shape, self.dimension))

    def with_batch_size(self, batch_size: int) -> "StudentLaw":
        """Return the law of the average of ``batch_size`` draws."""
        return StudentLaw(self.scale, self.degrees_of_freedom, batch_size)

    def increments(self, theta: Array, rng: np.random.Generator) -> Array:
        """Return averages of draws, the same law at every place."""
        shape, nu = (self.batch_size, len(theta)), self.degrees_of_freedom
        root = matrices.square_root(self.scale)
        normals = rng.standard_normal((*shape, root.shape[1]))
        sizes = np.sqrt(nu / rng.chisquare(nu, shape))
        return np.einsum("bnr,bn->nr", normals, sizes) @ root.T / self.batch_size

    def cumulants(self, highest: int) -> list[Array | None]:
        """Return None, by symmetry, and 2/(ν − 4) (C_ij C_kl + C_ik C_jl + C_il C_jk), C the covariance of a draw.

        Raises
        ------
        UnsupportedError
            If ν is not above ``highest``.
        """
        if highest > self.highest_order:
            raise UnsupportedError(
                f"noise.degrees_of_freedom={self.degrees_of_freedom:g}: there is no finite moment of order {highest}; "
                "ask for lower orders (dfp.MomentRecursion(highest=2)), or for the density with dfp.Fourier()."
            )
        found: list[Array | None] = [None]
        if highest == 4:
            d, c = self.dimension, self.constant * self.batch_size
            pairs = np.einsum("ij,kl->ijkl", c, c)
            tensor = np.zeros((d,) * 4 + (d + 1,) * 4)
            tensor[..., 0, 0, 0, 0] = pairs + pairs.transpose(0, 2, 1, 3) + pairs.transpose(0, 3, 2, 1)
            found.append(tensor * (2 / (self.degrees_of_freedom - 4) / self.batch_size**3))
        return found[: highest - 2]

    def characteristic(self, waves: Array, theta: Array | None = None) -> Any:
        """Return [φ_ν(√(kᵀΣk)/B)]^B, φ_ν that of a univariate t (a Bessel function); the same from every place."""
        from dfp_solvers.characteristic import student

        size = np.sqrt(np.maximum(np.einsum("...i,ij,...j->...", waves, self.scale, waves), 0.0))
        values = student(size / self.batch_size, self.degrees_of_freedom) ** self.batch_size
        return values if theta is None else np.broadcast_to(values, (len(theta), *values.shape))
