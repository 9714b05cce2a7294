"""The landscape: mean Hessian, mean gradient, and the law of their minibatch fluctuations (T2)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError
from dfp.problem.finite_sum import FiniteSumLaw, SharedHessianLaw
from dfp.problem.from_loss import sample_losses
from dfp.problem.minimum import minimised
from dfp.problem.noise import GaussianNoise, Noise, NoiseLaw
from dfp.problem.parameters import named, of_columns
from dfp.problem.value import Value, takes_fields

_NO_NOISE = GaussianNoise(0.0)


@dataclass(frozen=True, eq=False, init=False, repr=False)
class QuadraticLandscape(Value):
    """A quadratic landscape with gradient ḡ(θ) = Hθ + g and minibatch noise (T2).

    Parameters
    ----------
    hessian
        Mean Hessian H: diagonal (d,) or symmetric (d, d); may be singular or indefinite [loss / parameter^2].
    gradient
        Mean gradient g at θ = 0, shape (d,); a number serves every axis [loss / parameter].
    noise
        Such as ``GaussianNoise``, or the law of a finite sum (made by the class methods); none if left out.
    parameters
        Names of the parameters, d: labels of results, files and figures, on which no number and no equality depends.

    Raises
    ------
    DFPError
        If shapes disagree, an entry is not finite, the Hessian is not symmetric, or a name is none or is there twice.

    Examples
    --------
    >>> import numpy as np
    >>> import dfp
    >>> rng = np.random.default_rng(0)
    >>> features = rng.standard_normal((50, 2))
    >>> landscape = dfp.QuadraticLandscape.from_regression(features, features @ [1.0, 0.5], batch_size=8)
    >>> print(landscape.dimension, landscape.hessian.diagonal().round(2))
    2 [0.86 1.  ]
    """

    _given: Array
    gradient: Array
    law: NoiseLaw
    parameters: tuple[str, ...] | None = field(default=None, compare=False)
    dimension: int = field(init=False, compare=False)
    """Number of parameters d."""

    affine = True

    @takes_fields(_given="hessian", law="noise")
    def __init__(
        self,
        hessian: ArrayLike,
        gradient: ArrayLike = 0.0,
        noise: Noise = _NO_NOISE,
        parameters: Sequence[str] | None = None,
    ) -> None:
        given = checks.array("hessian", hessian, dimensions=(0, 1, 2))
        if given.ndim == 2 and given.shape[0] != given.shape[1]:
            raise DFPError(f"hessian has shape {given.shape}: must be square; give (d,) or (d, d).")
        mean = checks.symmetric("hessian", given) if given.ndim == 2 else np.atleast_1d(given)
        checks.instance("noise", noise, Noise, "must be a noise law; give dfp.GaussianNoise(...).")
        vars(self).update(_given=mean, dimension=len(mean), gradient=checks.vector("gradient", gradient, len(mean)))
        vars(self)["parameters"] = None if parameters is None else named(parameters, len(mean))
        # A law that is one already needs no matrix.
        vars(self)["law"] = noise if isinstance(noise, NoiseLaw) else noise.law(self.hessian)

    def _arguments(self) -> dict[str, Any]:
        return {"hessian": self._given, "gradient": self.gradient, "noise": self.law, "parameters": self.parameters}

    def _state(self) -> tuple[Any, ...]:
        given = self._given
        if given.ndim == 2 and not np.any(given - np.diag(np.diag(given))):
            given = np.diag(given)
        return given, self.gradient, self.law

    @cached_property
    def hessian(self) -> Array:
        """Mean Hessian, shape (d, d)."""
        given = self._given
        return np.diag(given) if given.ndim == 1 else given

    def hessian_times(self, vectors: Array) -> Array:
        """Return H ``vectors`` (d, k), without a matrix where the Hessian is diagonal."""
        given = self._given
        return given[:, None] * vectors if given.ndim == 1 else given @ vectors

    @classmethod
    def from_samples(
        cls,
        hessians: ArrayLike,
        gradients: ArrayLike,
        batch_size: int = 1,
        *,
        at: ArrayLike = 0.0,
        parameters: Sequence[str] | None = None,
    ) -> Self:
        """Return the landscape of N sample losses ½ (θ−θ°)ᵀH_i(θ−θ°) + g_iᵀ(θ−θ°), minibatches with replacement.

        Parameters
        ----------
        hessians
            Shape (N, d, d), each symmetric; or one that all samples share, (d, d) or diagonal (d,): the noise is then
            additive, and a diagonal takes any d [loss / parameter^2].
        gradients
            Gradients at θ°, shape (N, d) [loss / parameter].
        batch_size
            Samples per minibatch, >= 1.
        at
            θ°, the place where Hessians and gradients were taken, shape (d,); the origin if left out [parameter].
        parameters
            Names of the parameters, d.
        """
        h = checks.array("hessians", hessians, dimensions=(1, 2, 3))
        g = checks.array("gradients", gradients, dimensions=(2,))
        if h.ndim < 3:
            return cls._from_shared(h, g, batch_size, at, parameters)
        checks.matching("hessians", h, (g.shape[0], g.shape[1], g.shape[1]))
        skew = float(np.max(np.abs(h - h.transpose(0, 2, 1))))
        if skew > 2e-6 * float(np.max(np.abs(h))):  # rounding in single precision, as in checks.symmetric
            raise DFPError(
                f"hessians differ from their transposes by {skew:.3g}: each must be symmetric; use (H + H.T) / 2."
            )
        g = g - h @ checks.vector("at", at, g.shape[1])  # as they are at the origin
        law = FiniteSumLaw(g, checks.integer("batch_size", batch_size, at_least=1), hessians=h)
        return cls(law.mean_hessian, g.mean(axis=0), law, parameters)

    @classmethod
    def _from_shared(
        cls, hessian: Array, gradients: Array, batch_size: int, at: ArrayLike, parameters: Sequence[str] | None
    ) -> Self:
        checks.matching("hessians", hessian, (gradients.shape[1],) * hessian.ndim)
        h = checks.symmetric("hessians", hessian) if hessian.ndim == 2 else hessian
        place = checks.vector("at", at, gradients.shape[1])
        g = gradients - (h * place if h.ndim == 1 else h @ place)
        law = SharedHessianLaw(g, checks.integer("batch_size", batch_size, at_least=1), shared=h)
        return cls(h, g.mean(axis=0), law, parameters)

    @classmethod
    def from_loss(
        cls,
        loss: Any,
        data: Any,
        batch_size: int = 1,
        *,
        at: ArrayLike,
        minimise: bool = False,
        gradient: Any = None,
        hessian: Any = None,
        parameters: Sequence[str] | None = None,
    ) -> Self:
        """Return the finite sum of the second-order expansions of every sample's loss at a place, any d.

        Parameters
        ----------
        loss
            ``loss(theta, data)`` -> (N,): one loss per sample, at one θ of shape (d,), in NumPy, PyTorch or JAX.
        data
            Handed to ``loss`` as it is: an array, or a tuple, list or mapping of arrays.
        batch_size
            Samples per minibatch, >= 1, drawn with replacement.
        at
            Where it is expanded, shape (d,), such as the trained parameters [parameter].
        minimise
            Look for the nearest minimum of the mean loss first, from ``at``.
        gradient, hessian
            Derivatives of a loss in NumPy, called alike, (N, d) and (N, d, d); numerical ones if left out.
        parameters
            Names of the parameters, d.

        Raises
        ------
        DFPError
            If the loss is not one per sample, no minimum is found, or a name is none or is there twice.
        """
        place = checks.array("at", at, dimensions=(0, 1)).reshape(-1)
        names = None if parameters is None else named(parameters, len(place))
        samples = sample_losses(loss, data, len(place), gradient, hessian)
        if minimise:
            place = minimised(
                lambda x: samples.gradients(x[None])[0].mean(axis=0), lambda x: samples.hessians(x).mean(axis=0), place
            )
        gradients = samples.gradients(place[None])[0]
        return cls.from_samples(samples.hessians(place), gradients, batch_size, at=place, parameters=names)

    def expanded(self, at: ArrayLike, *, minimise: bool = False) -> "QuadraticLandscape":
        """Return the landscape itself: it is its own expansion at every place ``at`` (d,)."""
        checks.vector("at", at, self.dimension)
        checks.boolean("minimise", minimise)
        return self

    @classmethod
    def from_regression(
        cls,
        features: ArrayLike,
        targets: ArrayLike,
        batch_size: int = 1,
        *,
        standardise: bool = False,
        parameters: Sequence[str] | None = None,
    ) -> Self:
        """Return the landscape of least squares, ½ (x_i·θ − y_i)² averaged over minibatches drawn with replacement.

        Parameters
        ----------
        features
            Rows x_i, shape (N, d); of a data frame, whose columns then name the parameters.
        targets
            y_i, shape (N,).
        batch_size
            Samples per minibatch, >= 1.
        standardise
            Whether every column of the features, and the targets, are shifted and scaled to mean 0 and variance 1 over
            the rows (divisor N); files of results hold them so.
        parameters
            Names of the parameters, d, instead of those of the columns.

        Raises
        ------
        DFPError
            If shapes disagree, a name is none or is there twice, or a column to be standardised is constant.

        Examples
        --------
        >>> import numpy as np
        >>> import dfp
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(100, 2)) * [1.0, 20.0] + [50.0, 0.0]
        >>> names = {"standardise": True, "parameters": ["age", "dose"]}
        >>> landscape = dfp.QuadraticLandscape.from_regression(x, x @ [1.0, 2.0], batch_size=8, **names)
        >>> print(landscape.parameters, landscape.hessian.diagonal().round(12))
        ('age', 'dose') [1. 1.]
        """
        x = checks.array("features", features, dimensions=(2,))
        y = checks.matching("targets", checks.array("targets", targets), (x.shape[0],), "row of features")
        batch = checks.integer("batch_size", batch_size, at_least=1)
        given = of_columns(features) if parameters is None else parameters
        target = getattr(targets, "name", None)
        if target is not None and target in (of_columns(features) or ()):
            raise DFPError(f"targets: the column {target!r} is among the features, which would tell it; leave it out.")
        names = None if given is None else named(given, x.shape[1], "columns" if parameters is None else "parameters")
        if checks.boolean("standardise", standardise):
            called = [*(names or map(str, range(x.shape[1]))), "targets"]
            table = standardised(np.column_stack([x, y]), called, "standardise=True")
            x, y = np.ascontiguousarray(table[:, :-1]), np.ascontiguousarray(table[:, -1])
        law = FiniteSumLaw(-y[:, None] * x, batch, features=x, targets=y)
        return cls(law.mean_hessian, law.gradients.mean(axis=0), law, names)

    @classmethod
    def from_curvatures(
        cls,
        curvatures: ArrayLike,
        gamma: float,
        epsilon: float = 0.0,
        *,
        gradient: ArrayLike = 0.0,
        curvature_noise: ArrayLike = 0.0,
        parameters: Sequence[str] | None = None,
    ) -> Self:
        """Return uncoupled modes whose gradient noise grows with their curvature, ``D_i = γ(|λ_i| + ε)`` (section 3).

        Sharp modes (λ ≫ ε, ηλ ≪ 1) then settle at the variance ηγ/2 whatever their curvature, and flat ones diffuse
        with D = γε: ε is the noise that is left where the curvature vanishes; with ε = 0 flat modes stand still.

        Parameters
        ----------
        curvatures
            λ_i of the modes, shape (d,), of either sign [loss / parameter^2].
        gamma
            γ >= 0 [loss].
        epsilon
            ε >= 0 [loss / parameter^2].
        gradient
            Mean gradient at θ = 0, shape (d,) or a number [loss / parameter].
        curvature_noise
            Γ_i = Var H̃_ii, shape (d,) or a number [(loss / parameter^2)^2].
        parameters
            Names of the parameters, d.
        """
        values = checks.array("curvatures", curvatures)
        scale = checks.real("gamma", gamma, at_least=0)
        floor = checks.real("epsilon", epsilon, at_least=0)
        noise = GaussianNoise(scale * (np.abs(values) + floor), checks.vector("noise", curvature_noise, values.size))
        return cls(values, gradient, noise, parameters)


def standardised(table: Array, columns: Sequence[str], label: str) -> Array:
    """Return ``table`` with every column shifted and scaled to mean 0 and variance 1 over the rows (divisor N).

    Raises
    ------
    DFPError
        If a column is constant.
    """
    deviations = table.std(axis=0)
    for name, deviation, column in zip(columns, deviations, table.T, strict=True):
        if not deviation > 1e-12 * np.max(np.abs(column)):
            raise DFPError(f"{label}, column {name!r}: is constant; remove it, or set standardise = false.")
    found: Array = (table - table.mean(axis=0)) / deviations
    return found
