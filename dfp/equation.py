"""The equations: what is solved. Maps act once per step (T4, T5); generators act in slow time τ = ηn (T6, T7, T7m).

An equation knows its drift and how its noise enters, as arrays and as linear functions of moments; it knows no solver.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from dfp import checks, nonlinear
from dfp.checks import Array
from dfp.errors import DFPError, UnsupportedError
from dfp.sgd import SGD


class Carried(NamedTuple):
    """Moments in the form in which every equation moves them linearly; arrays may carry leading axes.

    The mean's outer product is carried beside the covariance, so that no step subtracts large numbers (T14, T15).
    """

    mass: Array
    """Shape (...)."""
    mean: Array
    """Shape (..., d)."""
    outer: Array
    """μ μᵀ, shape (..., d, d)."""
    covariance: Array
    """Π, shape (..., d, d)."""

    @property
    def second(self) -> Array:
        """Raw second moment E[θθᵀ], shape (..., d, d)."""
        return self.outer + self.covariance


def unpacked(flat: Array, d: int) -> Carried:
    """Return moments from one vector per entry of the leading axes, shape (..., 1 + d + 2d²)."""
    square = (*flat.shape[:-1], d, d)
    mass, mean, outer, covariance = np.split(flat, [1, 1 + d, 1 + d + d * d], axis=-1)
    return Carried(mass[..., 0], mean, outer.reshape(square), covariance.reshape(square))


def packed(at: Carried) -> Array:
    """Return moments as one vector per entry of the leading axes, shape (..., 1 + d + 2d²)."""
    square = (*at.mean.shape[:-1], -1)
    return np.concatenate(
        [at.mass[..., None], at.mean, at.outer.reshape(square), at.covariance.reshape(square)], axis=-1
    )


def transposed(matrix: Array) -> Array:
    """Return ``matrix`` with its last two axes exchanged."""
    return np.swapaxes(matrix, -1, -2)


@dataclass(frozen=True, eq=False)
class Equation(ABC):
    """An evolution equation for the density of the parameters of ``sgd``."""

    sgd: SGD

    title: ClassVar[str]
    """What users call it."""
    number: ClassVar[str]
    """Its number on the theory page."""
    discrete: ClassVar[bool]
    """Whether it is a map acting once per step, rather than a generator in slow time."""

    def __post_init__(self) -> None:
        if not isinstance(self.sgd, SGD):
            raise DFPError(f"sgd={checks.shown(self.sgd)}: must be a dfp.SGD; give dfp.{type(self).__name__}(sgd).")

    @property
    def dimension(self) -> int:
        """Number of parameters d."""
        return self.sgd.dimension

    @property
    def additive(self) -> bool:
        """Whether the noise is known not to depend on θ."""
        return self.sgd.additive

    @property
    def label(self) -> str:
        """Title and number, for tables and files."""
        return f"{self.title} ({self.number})"

    @property
    def rate(self) -> float:
        """Learning rate η of a plain step.

        Raises
        ------
        UnsupportedError
            If SGD is not plain, where the drift and diffusion of θ alone do not say how it moves.
        """
        if not self.sgd.plain:
            raise UnsupportedError(
                f"SGD has {self.sgd.features}: this needs one learning rate, no momentum, and sampling with "
                "replacement; use dfp.moments(...), or dfp.MonteCarlo(...) for samples."
            )
        return self.sgd.learning_rate

    def at(self, step: int) -> Self:
        """Return the equation with the learning rate and batch size of ``step`` at every step."""
        return replace(self, sgd=self.sgd.at(step))

    @abstractmethod
    def mean_diffusion(self, at: Carried) -> Array:
        """Return the mean over P of the second cumulant gained per step (maps) or per unit of τ (generators)."""

    def diffusion(self, theta: Array) -> Array:
        """Return that second cumulant at ``theta`` (..., d), shape (..., d, d)."""
        if not self.sgd.affine:
            return self.local_diffusion(theta)
        outer = theta[..., :, None] * theta[..., None, :]
        return self.mean_diffusion(Carried(np.ones(theta.shape[:-1]), theta, outer, np.zeros_like(outer)))

    @cached_property
    def additive_diffusion(self) -> Array:
        """The diffusion at every place where the noise is additive, shape (d, d)."""
        none = np.zeros(self.dimension)
        square = np.zeros((self.dimension, self.dimension))
        return self.mean_diffusion(Carried(np.ones(()), none, square, square))

    def motion(self, theta: Array) -> Array:
        """Return the mean motion at ``theta`` (..., d) per step (maps) or per unit of τ (generators), (..., d)."""
        if not self.sgd.affine:
            return self.local_motion(theta)
        return -(theta @ self.linear_drift.T + self.constant_drift)

    @abstractmethod
    def local_motion(self, theta: Array) -> Array:
        """Return ``motion`` in a nonlinear landscape."""

    @abstractmethod
    def local_diffusion(self, theta: Array) -> Array:
        """Return ``diffusion`` in a nonlinear landscape."""

    @abstractmethod
    def drift(self, eigenvalues: Array) -> Array:
        """Return the multipliers of the modes: of Hθ + g per step (η) or per unit of τ (eigenvalues of J)."""

    @cached_property
    def _drift_matrix(self) -> Array:
        values, vectors = self.sgd.modes
        result: Array = (vectors * self.drift(values)) @ vectors.T
        return result

    @cached_property
    def linear_drift(self) -> Array:
        """Matrix K of the mean motion −Kθ − k per step (maps) or per unit of τ (generators), shape (d, d)."""
        result: Array = self._drift_matrix @ self.sgd.hessian
        return result

    @cached_property
    def constant_drift(self) -> Array:
        """Vector k of the mean motion −Kθ − k, shape (d,)."""
        result: Array = self._drift_matrix @ self.sgd.gradient
        return result

    def derivative(self, at: Carried) -> Carried:
        """Return the increment of the moments per step (maps, T14) or their rate in τ (generators, T15); linear."""
        k, offset = self.linear_drift, self.constant_drift
        motion = -at.mean @ k.T - at.mass[..., None] * offset
        # −kX − Xkᵀ, not −kX − (kX)ᵀ: rounding that is not symmetric would grow with the latter.
        crossed = _outer(offset, at.mean)
        rate_outer = -(k @ at.outer) - at.outer @ k.T - crossed - transposed(crossed)
        rate = -(k @ at.covariance) - at.covariance @ k.T + self.mean_diffusion(at)
        if self.discrete:
            # (I−K)X(I−K)ᵀ − X = −KX − XKᵀ + KXKᵀ, and likewise for the outer product of the shifted mean
            rate = rate + k @ at.covariance @ k.T
            crossed = (k @ at.mean[..., None]) * offset
            rate_outer = rate_outer + k @ at.outer @ k.T + crossed + transposed(crossed)
            rate_outer = rate_outer + at.mass[..., None, None] * np.outer(offset, offset)
        return Carried(np.zeros_like(at.mass), motion, rate_outer, rate)


def _outer(left: Array, right: Array) -> Array:
    result: Array = left[:, None] * right[..., None, :]
    return result


class _Map(Equation):
    discrete = True

    def drift(self, eigenvalues: Array) -> Array:
        """Return η for every mode: one step moves the mean by −η(Hθ + g)."""
        return np.full_like(eigenvalues, self.rate)

    def local_motion(self, theta: Array) -> Array:
        """Return −ηḡ."""
        return -self.rate * self.sgd.local.gradient_at(theta)

    def local_diffusion(self, theta: Array) -> Array:
        """Return η²C."""
        return self.rate**2 * self.sgd.local.covariance_at(theta)

    def mean_diffusion(self, at: Carried) -> Array:
        """Return η² C̄, the mean covariance of one step's noise (T14)."""
        return self.rate**2 * self.sgd.noise.mean_covariance(at.mass, at.mean, at.second)


@dataclass(frozen=True, eq=False)
class MasterEquation(_Map):
    """The master equation (T4): the exact law of SGD itself."""

    title = "master equation"
    number = "T4"


@dataclass(frozen=True, eq=False)
class DiscreteFokkerPlanck(_Map):
    """The discrete Fokker–Planck equation (T5): the master equation to order η², with the raw second moment S."""

    title = "discrete Fokker-Planck"
    number = "T5"

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_epochs(self)


class _Generator(Equation):
    discrete = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_epochs(self)
        if self.sgd.momentum:
            raise UnsupportedError(
                f"momentum={self.sgd.momentum:g}: the {self.label} is a diffusion of θ alone, and momentum moves "
                "(θ, v); use dfp.MasterEquation(sgd), or for slow motion an SGD with momentum=0 and "
                f"learning_rate=η/{1 - self.sgd.momentum:.3g}, its effective learning rate."
            )


def _refuse_epochs(equation: Equation) -> None:
    """Refuse sampling without replacement where the equation needs steps that are independent of the past."""
    if not equation.sgd.replace:
        raise UnsupportedError(
            f"replace=False: the {equation.label} describes steps independent of the past, and the minibatches of an "
            "epoch exclude each other; use dfp.MasterEquation(sgd), or replace=True."
        )


@dataclass(frozen=True, eq=False)
class Langevin(_Generator):
    """The standard Langevin (Fokker–Planck) form (T6).

    Parameters
    ----------
    sgd
        The dynamics.
    noise
        ``"state"``: the covariance C(θ) of the place; ``"frozen"``: C at ``reference``.
    reference
        Where C is frozen, shape (d,); the critical point if left out [parameter].
    """

    noise: str = "state"
    reference: ArrayLike | None = None

    title = "Langevin"
    number = "T6"

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.choice("noise", self.noise, ("state", "frozen"))
        if self.reference is not None:
            object.__setattr__(self, "reference", checks.vector("reference", self.reference, self.dimension))

    @property
    def additive(self) -> bool:
        """Whether the noise does not depend on θ."""
        return self.sgd.affine and (self.noise == "frozen" or self.sgd.additive)

    @property
    def label(self) -> str:
        """Title, number and, for the additive reading, the word frozen."""
        return "Langevin, frozen noise (T6)" if self.noise == "frozen" else "Langevin (T6)"

    @cached_property
    def _frozen(self) -> Array:
        if self.sgd.additive:
            return self.sgd.noise.constant  # whatever the place
        place = self.sgd.critical_point if self.reference is None else np.asarray(self.reference)
        return self.sgd.noise.covariance(place)

    def drift(self, eigenvalues: Array) -> Array:
        """Return J = 1 for every mode."""
        return np.ones_like(eigenvalues)

    def local_motion(self, theta: Array) -> Array:
        """Return −ḡ."""
        return -self.sgd.local.gradient_at(theta)

    def local_diffusion(self, theta: Array) -> Array:
        """Return ηC, at the reference if the noise is frozen."""
        if self.noise == "frozen":
            if self.reference is None:
                raise DFPError("reference=None: a nonlinear landscape has no one critical point; give reference=θ.")
            theta = np.broadcast_to(np.asarray(self.reference), theta.shape)
        return self.rate * self.sgd.local.covariance_at(theta)

    def mean_diffusion(self, at: Carried) -> Array:
        """Return η C̄ (T15), or ηC(reference) if the noise is frozen."""
        if self.noise == "frozen":
            return self.rate * at.mass[..., None, None] * self._frozen
        return self.rate * self.sgd.noise.mean_covariance(at.mass, at.mean, at.second)


@dataclass(frozen=True, eq=False)
class ModifiedLangevin(_Generator):
    """The modified Langevin form: the logarithm of one SGD step as a Fokker–Planck equation.

    Parameters
    ----------
    sgd
        The dynamics.
    matched
        True: drift and diffusion matched to order η³ a step (T7m); False: drift alone (T7).
    positive
        With ``matched``: the form (T7m⁺) whose diffusion is never indefinite, equal to the same order.
    """

    matched: bool = True
    positive: bool = False

    title = "modified Langevin"
    number = "T7"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("matched", "positive"):
            checks.boolean(name, getattr(self, name))
        if self.positive and not self.matched:
            raise DFPError("positive=True: only the matched form has a positive variant; give matched=True.")

    @property
    def label(self) -> str:
        """Title and the number of the variant."""
        variant = "T7" if not self.matched else "T7m+" if self.positive else "T7m"
        return f"modified Langevin ({variant})"

    def drift(self, eigenvalues: Array) -> Array:
        """Return J = 1 + ηλ/2, plus η²λ²/3 if matched (T15)."""
        x = self.rate * eigenvalues
        return 1 + x / 2 + (x**2 / 3 if self.matched else 0.0)

    def local_motion(self, theta: Array) -> Array:
        """Return minus the modified drift, with the terms in ∂∂ḡ if matched (T7m)."""
        return -nonlinear.modified_drift(self.sgd.local, theta, self.rate, self.matched)

    def local_diffusion(self, theta: Array) -> Array:
        """Return ηC (T7), or η times the covariance of (T7m) or (T7m⁺)."""
        if not self.matched:
            return self.rate * self.sgd.local.covariance_at(theta)
        return self.rate * nonlinear.matched_covariance(self.sgd.local, theta, self.rate, self.positive)

    def mean_diffusion(self, at: Carried) -> Array:
        """Return ηQ̄ of (T15)."""
        eta, noise = self.rate, self.sgd.noise
        if self.positive:
            return eta * self._positive_diffusion(at)
        average = noise.mean_covariance(at.mass, at.mean, at.second)
        if not self.matched:
            return eta * average
        h, g = self.sgd.hessian, self.sgd.gradient
        gradient = at.mean @ h.T + at.mass[..., None] * g
        # Z of (T15): how the noise changes along the mean motion
        along = noise.quadratic(h @ at.second + _outer(g, at.mean)) + noise.cross(gradient)
        turned = h @ average + along
        return eta * (average + eta / 2 * (turned + transposed(turned)))

    def _positive_diffusion(self, at: Carried) -> Array:
        half = self.rate / 2
        factor = np.eye(self.dimension) + half * self.sgd.hessian
        g = half * self.sgd.gradient
        moved = at.mean @ factor.T
        crossed = _outer(g, moved)
        second = factor @ at.second @ factor.T + crossed + transposed(crossed)
        second = second + at.mass[..., None, None] * np.outer(g, g)
        mean = moved + at.mass[..., None] * g
        return factor @ self.sgd.noise.mean_covariance(at.mass, mean, second) @ factor.T
