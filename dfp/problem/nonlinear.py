"""A nonlinear landscape: mean gradient, minibatch covariance and Hessian as functions of θ, and corrections from them.

Far from a critical point nothing is affine any more: moments do not close, but the densities of (T4), (T6), (T7) and
(T7m) need only the fields below at the points of a grid.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from dfp import checks
from dfp.checks import TINY, Array
from dfp.errors import DFPError

Field = Callable[[Array], Array]

# Steps of central differences, in units of the landscape's scale: they balance truncation, h², against rounding, which
# is 1e-16/h for first derivatives and 1e-16/h² for second ones.
_FIRST, _SECOND = 6e-6, 2e-4
# Rounding of a covariance, relative to its largest entry.
_SKEW = 1e-10


@dataclass(frozen=True, eq=False)
class Landscape:
    """A landscape of any shape, with Gaussian minibatch noise whose covariance may depend on the place.

    Parameters
    ----------
    gradient
        Mean gradient ḡ: points (N, d) to (N, d) [loss / parameter]. NumPy functions of whole arrays, or compiled by
        Numba; called with C-ordered float64 arrays.
    covariance
        Minibatch covariance C of the gradient: points (N, d) to (N, d, d), positive semidefinite
        [(loss / parameter)^2].
    dimension
        Number of parameters d.
    hessian
        H = ∇ḡ: points (N, d) to (N, d, d) [loss / parameter^2]; central differences of ``gradient`` if left out.
    scale
        Length over which the fields change, > 0 [parameter]; it sets the steps of finite differences.

    Raises
    ------
    DFPError
        If a function is not callable, or returns another shape or values that are not finite: at the origin when the
        landscape is made, anywhere else while solving; while solving also if a covariance is not symmetric or not
        positive.
    """

    gradient: Field
    covariance: Field
    dimension: int = 1
    hessian: Field | None = None
    scale: float = 1.0

    affine = False

    def __post_init__(self) -> None:
        checks.integer("dimension", self.dimension, at_least=1)
        checks.real("scale", self.scale, above=0)
        for name in ("gradient", "covariance", "hessian"):
            given = getattr(self, name)
            if not callable(given) and not (name == "hessian" and given is None):
                raise DFPError(f"{name}={checks.shown(given)}: must be a function of points (N, d); give one.")
        origin = np.zeros((2, self.dimension))
        self.gradient_at(origin)
        self.hessian_at(origin)
        self._called("covariance", self.covariance, origin, 2)

    def gradient_at(self, theta: Array) -> Array:
        """Return ḡ at ``theta`` (..., d), shape (..., d)."""
        return self._called("gradient", self.gradient, theta, 1)

    def covariance_at(self, theta: Array) -> Array:
        """Return C at ``theta`` (..., d), shape (..., d, d)."""
        found = self._called("covariance", self.covariance, theta, 2)
        _check_covariances(theta.reshape(-1, self.dimension), found.reshape(-1, self.dimension, self.dimension))
        return found

    def hessian_at(self, theta: Array) -> Array:
        """Return H = ∇ḡ at ``theta`` (..., d), shape (..., d, d)."""
        if self.hessian is not None:
            return self._called("hessian", self.hessian, theta, 2)
        return self._differences(self.gradient_at, theta, _FIRST)

    def covariance_along(self, theta: Array, direction: Array) -> Array:
        """Return (v·∇)C at ``theta`` for v = ``direction``, both (..., d), shape (..., d, d)."""
        return np.einsum("...ijk,...k->...ij", self.covariance_slopes(theta), direction)

    def covariance_slopes(self, theta: Array) -> Array:
        """Return ∂_k C_ij at ``theta`` (..., d), shape (..., d, d, d), k last."""
        return self._differences(self.covariance_at, theta, _FIRST)

    def curved(self, theta: Array, weights: Array) -> Array:
        """Return w_jk ∂_j∂_kḡ at ``theta`` (..., d) for w = ``weights`` (..., d, d), shape (..., d)."""

        def hessian(at: Array) -> Array:
            return self.hessian_at(at) if self.hessian else self._differences(self.gradient_at, at, _SECOND)

        slopes = self._differences(hessian, theta, _FIRST if self.hessian else _SECOND)
        return np.einsum("...ijk,...jk->...i", slopes, weights)

    def _differences(self, field: Field, theta: Array, step: float) -> Array:
        """Return the derivatives of ``field`` along each parameter, as a further last axis."""
        shifts = step * self.scale * np.eye(self.dimension)
        pairs = [(field(theta + shift) - field(theta - shift)) / (2 * step * self.scale) for shift in shifts]
        return np.stack(pairs, axis=-1)

    def _called(self, name: str, field: Field, theta: Array, axes: int) -> Array:
        points = np.ascontiguousarray(theta, dtype=np.float64).reshape(-1, self.dimension)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            # Copies both ways: a function may write into its argument, or return one buffer at every call.
            values = np.array(np.ma.filled(field(points.copy()), np.nan), dtype=np.float64)
        wanted = (len(points), *(self.dimension,) * axes)
        if values.shape != wanted:
            raise DFPError(
                f"{name}: returned shape {values.shape} for points of shape {points.shape}: must be {wanted}; "
                "write it for whole arrays of points."
            )
        if not np.all(np.isfinite(values)):
            bad = points[np.argwhere(~np.isfinite(values))[0][0]]
            raise DFPError(
                f"{name} is not finite at θ = {bad}; correct it or, if the dynamics gets there by diverging, lower "
                "learning_rate."
            )
        return values.reshape(*theta.shape[:-1], *wanted[1:])

    def adjusted(self, weight_decay: float, batch_size: int | None) -> "Landscape":
        """Return the landscape with ωθ added to ḡ, ωI to H, and C divided by the batch size."""
        if weight_decay == 0 and batch_size is None:
            return self
        plain, size = self, batch_size or 1
        decay = weight_decay * np.eye(self.dimension)
        return replace(
            self,
            gradient=lambda at: plain.gradient_at(at) + weight_decay * at,
            covariance=lambda at: plain.covariance_at(at) / size,
            hessian=None if self.hessian is None else lambda at: plain.hessian_at(at) + decay,
        )


def _check_covariances(theta: Array, covariances: Array) -> None:
    """Refuse matrices (N, d, d) at ``theta`` (N, d) that are not symmetric and positive semidefinite, to 1e-10."""
    scale = np.abs(covariances).max(axis=(1, 2))
    skew = np.abs(covariances - covariances.transpose(0, 2, 1)).max(axis=(1, 2))
    if np.any(skew > _SKEW * scale):
        worst = int(np.argmax(skew - _SKEW * scale))
        raise DFPError(
            f"covariance differs from its transpose by {skew[worst]:.3g} at θ = {theta[worst]}: must be symmetric; "
            "return (C + C.T) / 2."
        )
    if theta.shape[1] == 1:
        lowest = covariances[:, 0, 0]
    else:
        try:  # cheaper than eigenvalues
            np.linalg.cholesky(covariances + (_SKEW * scale[:, None, None] + TINY) * np.eye(theta.shape[1]))
            return
        except np.linalg.LinAlgError:
            lowest = np.linalg.eigvalsh(covariances)[:, 0]
    if np.any(lowest < -_SKEW * scale):
        worst = int(np.argmin(lowest + _SKEW * scale))
        raise DFPError(
            f"covariance has the eigenvalue {lowest[worst]:.3g} at θ = {theta[worst]}: must be positive semidefinite "
            "wherever θ gets; check signs, or project it with numpy.linalg.eigh."
        )
