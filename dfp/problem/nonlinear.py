"""A nonlinear landscape: mean gradient, minibatch covariance and Hessian as functions of θ, and corrections from them.

Far from a critical point nothing is affine any more: moments do not close, but the densities of (T4), (T6), (T7) and
(T7m) need only the fields below at the points of a grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from dfp import checks
from dfp.checks import TINY, Array
from dfp.errors import DFPError, UnsupportedError
from dfp.problem.field import Field, vectorised
from dfp.problem.from_loss import SampleLosses, sample_losses
from dfp.problem.landscape import QuadraticLandscape
from dfp.problem.minimum import minimised
from dfp.problem.noise import GaussianNoise
from dfp.problem.noise_waves import characteristic_noise
from dfp.problem.parameters import named
from dfp.problem.sampled_noise import sampled_noise
from dfp.problem.value import Value

# Steps of central differences, in units of the landscape's scale: they balance truncation, h², against rounding, which
# is 1e-16/h for first derivatives and 1e-16/h² for second ones.
_FIRST, _SECOND = 6e-6, 2e-4
# Rounding of a covariance, relative to its largest entry.
_SKEW = 1e-10


@dataclass(frozen=True, eq=False, repr=False)
class Landscape(Value):
    """A landscape of any shape, with minibatch noise whose covariance may depend on the place.

    Parameters
    ----------
    gradient
        Mean gradient ḡ: points (N, d) to (N, d) [loss / parameter]; faster than a function of one θ (d,), which serves
        as well. NumPy functions, or compiled by Numba; called with C-ordered float64 arrays.
    covariance
        Minibatch covariance C of the gradient, positive semidefinite: points (N, d) to (N, d, d), (N, d) for
        independent components or (N,) for equal ones; or a function of one θ, or constant: a number, (d,) or (d, d)
        [(loss / parameter)^2].
    dimension
        Number of parameters d.
    hessian
        H = ∇ḡ, of the same shapes [loss / parameter^2]; central differences of ``gradient`` if left out.
    scale
        Length over which the fields change, > 0 [parameter]; it sets the steps of finite differences.
    samples
        The losses it was made of by ``from_loss``; None where fields were given.
    batch_size
        The samples per minibatch in its covariance, where it was made by ``from_loss``.
    weight_decay
        What its fields have beyond these losses.
    noise
        Where minibatch noise is not Gaussian: ``noise(theta, rng)``, which draws g_ξ − ḡ, of mean 0 and covariance C,
        once for each of the places (N, d), shape (N, d), with the ``numpy.random.Generator`` it is given. The
        master equation is then sampled (``MonteCarlo``); Langevin forms know C alone.
    characteristic
        On a line, the characteristic function of such noise, ``characteristic(k, theta)`` = E e^{ik(g_ξ − ḡ)} at θ:
        wave numbers (m,) [parameter / loss] and places (n, 1) to complex (n, m). ``Transfer`` then solves the master
        equation (T22).
    parameters
        Names of the parameters, d, which results, files and figures have.

    Raises
    ------
    DFPError
        If a function is not callable, raises, or returns another shape or values that are not finite: at the origin
        when the landscape is made, anywhere else while solving; if ``noise`` disagrees with the covariance at the
        origin; while solving also if a covariance is not symmetric or not positive. If a name is none or there twice.

    Examples
    --------
    >>> import dfp
    >>> well = dfp.Landscape(lambda t: t**3 - t, 0.25, hessian=lambda t: 3 * t**2 - 1)
    >>> law = dfp.stationary(dfp.MasterEquation(dfp.SGD(well, learning_rate=0.3)))
    >>> print(law.covariance.round(3), round(law.probability(0.0, 10.0), 3))
    [[0.937]] 0.5
    """

    gradient: Field
    covariance: Any
    dimension: int = 1
    hessian: Any = None
    scale: float = 1.0
    samples: SampleLosses | None = field(default=None, repr=False)
    batch_size: int = 1
    weight_decay: float = 0.0
    noise: Any = None
    characteristic: Any = None
    parameters: Sequence[str] | None = field(default=None, compare=False)

    affine = False

    def __post_init__(self) -> None:
        checks.integer("dimension", self.dimension, at_least=1)
        checks.real("scale", self.scale, above=0)
        if self.parameters is not None:
            object.__setattr__(self, "parameters", named(self.parameters, self.dimension))
        for name, axes in (("gradient", 1), ("covariance", 2), ("hessian", 2)):
            given = getattr(self, name)
            if name != "hessian" or given is not None:
                object.__setattr__(self, name, vectorised(name, given, self.dimension, axes, self.scale))
        origin = np.zeros((2, self.dimension))
        self.gradient_at(origin)
        self.hessian_at(origin)
        covariance = self._called("covariance", self.covariance, origin, 2)[0]
        if not callable(self.covariance.given):  # the same everywhere
            _check_covariances(origin[:1], covariance[None])
        if self.noise is not None:
            object.__setattr__(self, "noise", sampled_noise(self.noise, origin[0], covariance))
        if self.characteristic is not None:
            wave = characteristic_noise(self.characteristic, self.dimension, origin[0], covariance, self.noise)
            object.__setattr__(self, "characteristic", wave)

    def _arguments(self) -> dict[str, Any]:
        return super()._arguments() | {"parameters": self.parameters}

    def _state(self) -> tuple[Any, ...]:
        return tuple(super()._arguments().values())

    @classmethod
    def from_loss(
        cls,
        loss: Any,
        data: Any,
        batch_size: int = 1,
        dimension: int = 1,
        *,
        gradient: Any = None,
        hessian: Any = None,
        scale: float = 1.0,
        parameters: Sequence[str] | None = None,
    ) -> Self:
        """Return the landscape of a loss over samples: mean gradient, Hessian, and covariance of minibatches.

        Parameters
        ----------
        loss
            ``loss(theta, data)`` -> (N,): one loss per sample, at one θ of shape (d,), in NumPy, PyTorch or JAX.
        data
            Handed to ``loss`` as it is: an array, or a tuple, list or mapping of arrays.
        batch_size
            Samples B per minibatch, drawn with replacement: the covariance is that of one sample over B. The noise is
            taken to be Gaussian, which errs by a skewness of order 1/√B.
        dimension
            Number of parameters d.
        gradient, hessian
            Derivatives of a loss in NumPy, called alike, (N, d) and (N, d, d); numerical ones if left out.
        scale
            Length over which the loss changes, > 0 [parameter].
        parameters
            Names of the parameters, d.
        """
        checks.integer("dimension", dimension, at_least=1)
        size = checks.integer("batch_size", batch_size, at_least=1)
        samples = sample_losses(loss, data, dimension, gradient, hessian, scale)
        return cls(
            lambda at: samples.moments(at)[0],
            lambda at: samples.moments(at)[1] / size,
            dimension,
            samples.mean_hessians,
            scale,
            samples,
            size,
            parameters=parameters,
        )

    def expanded(self, at: ArrayLike, *, minimise: bool = False) -> QuadraticLandscape:
        """Return its second-order expansion at a place: the quadratic landscape that looks alike there.

        Parameters
        ----------
        at
            Shape (d,) [parameter].
        minimise
            Look for the nearest minimum first, from ``at``.

        Notes
        -----
        Of a landscape made ``from_loss`` every sample is expanded, so that the noise is exact to second order. Else
        the noise is additive and Gaussian, with the covariance of the place.

        Raises
        ------
        DFPError
            If no minimum is found.
        UnsupportedError
            If the noise is not Gaussian.
        """
        if not self.gaussian:
            raise UnsupportedError(
                "noise: an expansion of noise that is drawn would be Gaussian; expand the landscape without noise= and "
                "characteristic=, or make a dfp.QuadraticLandscape with dfp.AdditiveNoise(...)."
            )
        place = checks.vector("at", at, self.dimension)
        if minimise:
            place = minimised(self.gradient_at, self.hessian_at, place)
        if self.samples is not None:
            gradients, hessians = self.samples.gradients(place[None])[0], self.samples.hessians(place)
            hessians = hessians + self.weight_decay * np.eye(self.dimension)
            gradients = gradients + self.weight_decay * place
            return QuadraticLandscape.from_samples(
                hessians, gradients, self.batch_size, at=place, parameters=self.parameters
            )
        hessian = self.hessian_at(place)
        noise = GaussianNoise(self.covariance_at(place))
        return QuadraticLandscape(hessian, self.gradient_at(place) - hessian @ place, noise, self.parameters)

    @property
    def gaussian(self) -> bool:
        """Whether its minibatch noise is Gaussian."""
        return self.noise is None and self.characteristic is None

    def draw(self, theta: Array, rng: np.random.Generator) -> Array:
        """Return a draw of g_ξ − ḡ for each of ``theta`` (N, d), shape (N, d); Gaussian where none are given."""
        if self.noise is not None:
            result: Array = self.noise(theta, rng)
            return result
        return np.einsum("nij,nj->ni", roots(self.covariance_at(theta)), rng.standard_normal(theta.shape))

    def reach(self, at: Array) -> float:
        """Return how far from ``at`` (d,) its expansion holds: where H first differs by half of its size there.

        Looked for along every axis, both ways, at distances that double; infinite if it holds everywhere [parameter].
        """
        here = self.hessian_at(at[None])[0]
        size = float(np.linalg.norm(here))
        for distance in self.scale * 2.0 ** np.arange(-12.0, 11.0):
            around = at + distance * np.concatenate([np.eye(self.dimension), -np.eye(self.dimension)])
            change = np.linalg.norm(self.hessian_at(around) - here, axis=(1, 2))
            if np.any(change > size / 2):
                return float(distance)
        return np.inf

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
        if not callable(self.covariance.given):
            return np.zeros((*theta.shape, self.dimension, self.dimension))
        return self._differences(lambda at: self._called("covariance", self.covariance, at, 2), theta, _FIRST)

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
        values = field(points)
        if not np.all(np.isfinite(values)):
            bad = points[np.argwhere(~np.isfinite(values))[0][0]]
            raise DFPError(
                f"{name} is not finite at θ = {bad}; correct it or, if the dynamics gets there by diverging, lower "
                "learning_rate."
            )
        return values.reshape(*theta.shape[:-1], *(self.dimension,) * axes)

    def adjusted(self, weight_decay: float, batch_size: int | None) -> "Landscape":
        """Return the landscape with ωθ added to ḡ, ωI to H, and C divided by the batch size."""
        if weight_decay == 0 and batch_size is None:
            return self
        plain, size, fixed = self, batch_size or 1, not callable(self.covariance.given)
        decay = weight_decay * np.eye(self.dimension)
        return replace(
            self,
            batch_size=self.batch_size * size,
            weight_decay=self.weight_decay + weight_decay,
            gradient=lambda at: plain.gradient_at(at) + weight_decay * at,
            covariance=plain.covariance.given / size if fixed else lambda at: plain.covariance_at(at) / size,
            hessian=None if self.hessian is None else lambda at: plain.hessian_at(at) + decay,
            noise=None if self.noise is None else self.noise.averaged(size),
            characteristic=None if self.characteristic is None else self.characteristic.averaged(size),
        )

    def preconditioned(self, matrix: Array, heat: Array) -> "Landscape":
        """Return the landscape with P = ``matrix`` (d, d) times its gradients, and ``heat`` (d, d) added to P C P."""
        plain, root = self, roots(heat)

        def drawn(theta: Array, rng: np.random.Generator) -> Array:
            return plain.draw(theta, rng) @ matrix + rng.standard_normal(theta.shape) @ root.T

        return Landscape(
            lambda at: plain.gradient_at(at) @ matrix,
            lambda at: matrix @ plain.covariance_at(at) @ matrix + heat,
            self.dimension,
            lambda at: matrix @ plain.hessian_at(at),
            self.scale,
            noise=None if self.noise is None else drawn,
            parameters=self.parameters,
        )


def roots(covariances: Array) -> Array:
    """Return F with F Fᵀ = C for each C of ``covariances`` (N, d, d); negative eigenvalues count as zero."""
    if covariances.shape[-1] == 1:
        return np.sqrt(np.maximum(covariances, 0.0))
    values, vectors = np.linalg.eigh(covariances)
    return vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]


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
