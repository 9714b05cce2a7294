"""Streaming least squares on Gaussian features (T21): a fresh minibatch of x ~ N(0, H) at every step."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError
from dfp.problem.landscape import QuadraticLandscape
from dfp.problem.noise import NoiseLaw
from dfp.problem.value import takes_fields

# Parameters up to which matrices of d² entries are made.
_MOST_DENSE = 2**14
# Equal parts of the law of squared features by whose means regimes of modes know it.
_PARTS = 20_000


@dataclass(frozen=True, eq=False, init=False, repr=False)
class GaussianFeatures(QuadraticLandscape):
    """Least squares on fresh Gaussian features x ~ N(0, diag(λ)) with labels x·θ* + noise (T21).

    Parameters
    ----------
    curvatures
        λ_i >= 0, the variances of the features and eigenvalues of the mean Hessian, shape (d,) [loss / parameter^2].
    noise
        Variance σ² >= 0 of the noise of labels [loss].
    batch_size
        Samples per minibatch, >= 1; every step draws fresh ones.
    optimum
        θ*, shape (d,); a number serves every axis [parameter].

    Raises
    ------
    DFPError
        If a value is out of range, or matrices of d² entries would be needed for d > 16384: ``dfp.risk_curve`` needs
        none.

    Notes
    -----
    Second moments close on the diagonal in these axes, so that ``dfp.risk_curve`` costs O(d) a step.

    Examples
    --------
    >>> import numpy as np
    >>> import dfp
    >>> features = dfp.GaussianFeatures(1 / np.arange(1, 1001), noise=0.1, batch_size=8)
    >>> curve = dfp.risk_curve(dfp.SGD(features, learning_rate=0.5), 1.0, steps=200)
    >>> print(curve.excess_risk[[0, 200]].round(3))
    [3.743 0.821]
    """

    curvatures: Array
    label_noise: float
    batch_size: int
    optimum: Array
    # What follows from these:
    _given: Array = field(init=False)
    gradient: Array = field(init=False)
    law: NoiseLaw = field(init=False)
    parameters: None = field(default=None, init=False, compare=False)

    @takes_fields(label_noise="noise")
    def __init__(
        self, curvatures: ArrayLike, noise: float = 0.0, batch_size: int = 1, optimum: ArrayLike = 0.0
    ) -> None:
        values = checks.array("curvatures", curvatures)
        if values.min() < 0:
            raise DFPError(f"curvatures has the entry {values.min():.3g}: variances of features must be >= 0.")
        place = checks.vector("optimum", optimum, values.size)
        label_noise = checks.real("noise", noise, at_least=0)
        size = checks.integer("batch_size", batch_size, at_least=1)
        vars(self).update(
            curvatures=values, label_noise=label_noise, batch_size=size, optimum=place, _given=values,
            dimension=values.size, gradient=-values * place, law=FeatureLaw(values, label_noise, place, size),
        )  # fmt: skip

    def _arguments(self) -> dict[str, Any]:
        given = {"curvatures": self.curvatures, "noise": self.label_noise}
        return {**given, "batch_size": self.batch_size, "optimum": self.optimum}

    def _state(self) -> tuple[Any, ...]:
        return tuple(self._arguments().values())

    @cached_property
    def hessian(self) -> Array:
        """Mean Hessian diag(λ), shape (d, d)."""
        if self.dimension > _MOST_DENSE:
            raise DFPError(
                f"curvatures: {self.dimension} parameters have matrices of {self.dimension**2:.2g} entries, which this "
                f"needs; at most {_MOST_DENSE} are taken here. Use dfp.risk_curve(...), which needs none."
            )
        return np.diag(self.curvatures)


@dataclass(frozen=True, eq=False, repr=False)
class FeatureLaw(NoiseLaw):
    """Noise of ``batch_size`` fresh samples of Gaussian features: H̃ = mean of x xᵀ − H, g̃ = −H̃θ* − mean of x ε."""

    curvatures: Array
    label_noise: float
    optimum: Array
    batch_size: int = 1

    additive = False
    gaussian = False

    @cached_property
    def constant(self) -> Array:  # type: ignore[override]
        """E[g̃ g̃ᵀ] = G(θ*θ*ᵀ) + σ²H/B, shape (d, d)."""
        spread = np.diag(self.curvatures * (self.label_noise / self.batch_size))
        return self.quadratic(np.outer(self.optimum, self.optimum)) + spread

    def quadratic(self, second: Array) -> Array:
        """Return (HXᵀH + H tr(HX)) / B."""
        c = self.curvatures
        turned = c[:, None] * np.swapaxes(second, -1, -2) * c
        traces = np.einsum("i,...ii->...", c, second)
        index = np.arange(c.size)
        turned[..., index, index] += traces[..., None] * c
        return turned / self.batch_size

    def cross(self, mean: Array) -> Array:
        """Return −E[H̃ m θ*ᵀH̃ᵀ]."""
        return -self.quadratic(mean[..., :, None] * self.optimum)

    def entrywise(self, axes: Array) -> tuple[Array, Array] | None:
        """Return λλᵀ/B twice where the optimum is the origin, in axes that are those of θ but for order."""
        order = np.argmax(np.abs(axes), axis=0)
        if np.any(self.optimum) or np.max(np.abs(np.abs(axes) - np.eye(self.dimension)[:, order])) > 1e-13:
            return None
        table = np.outer(self.curvatures[order], self.curvatures[order]) / self.batch_size
        return table, table

    def with_batch_size(self, batch_size: int) -> "FeatureLaw":
        """Return the law of minibatches of ``batch_size``."""
        return FeatureLaw(self.curvatures, self.label_noise, self.optimum, batch_size)

    def increments(self, theta: Array, rng: np.random.Generator) -> Array:
        """Return the noise of one fresh minibatch for each place."""
        shape = (len(theta), self.batch_size)
        features = rng.standard_normal((*shape, self.dimension)) * np.sqrt(self.curvatures)
        apart = theta - self.optimum
        errors = np.einsum("nbi,ni->nb", features, apart) - self.label_noise**0.5 * rng.standard_normal(shape)
        return np.einsum("nbi,nb->ni", features, errors) / self.batch_size - self.curvatures * apart

    def fluctuation(self, vectors: Array, rng: np.random.Generator) -> Array:
        """Return draws of H̃v: the noise of a minibatch without label noise, from the optimum at the origin."""
        return FeatureLaw(self.curvatures, 0.0, np.zeros(self.dimension), self.batch_size).increments(vectors, rng)

    def characteristic(self, waves: Array, theta: Array | None = None) -> Any:
        """Return [(1 − ic/B)² + (a/B²)(σ² + δᵀHδ)]^(−B/2) e^{−ic}, a = kᵀHk, c = kᵀHδ: a Gaussian integral."""
        apart = (np.zeros((1, self.dimension)) if theta is None else theta) - self.optimum
        batch, extra = self.batch_size, (1,) * (waves.ndim - 1)
        a = np.einsum("...i,i,...i->...", waves, self.curvatures, waves) / batch**2
        c = np.tensordot(apart * self.curvatures, waves, (1, waves.ndim - 1)) / batch
        power = self.label_noise + (apart**2 @ self.curvatures).reshape(-1, *extra)
        # The real part of the base is at least one, for (kᵀHδ)² <= kᵀHk δᵀHδ.
        values = np.exp(-0.5 * batch * np.log((1 - 1j * c) ** 2 + a * power) - 1j * batch * c)
        return values[0] if theta is None else values

    def curvature_samples(self, direction: Array) -> Array:
        """Return means of equal parts of the law of (v·x)², λ times χ² of one degree, with its mean and variance."""
        from scipy.stats import chi2

        edges = chi2.ppf(np.linspace(0, 1, _PARTS + 1), 1)
        parts = np.diff(chi2.cdf(edges, 3)) * _PARTS  # ∫ x dP of one degree is the law of three
        parts = 1 + (parts - parts.mean()) * (2 / parts.var()) ** 0.5
        return np.maximum(parts, 0.0) * float(direction**2 @ self.curvatures)
