"""What an equation is: its drift and how its noise enters, as arrays and as linear functions of moments; no solver.

The equations themselves are maps that act once per step (``maps.py``: T4, T5) and generators that act in slow time
τ = ηn (``generators.py``: T6, T7, T7m).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self

import numpy as np

from dfp import checks
from dfp.carried import Carried, outer, transposed
from dfp.checks import Array
from dfp.errors import DFPError, UnsupportedError
from dfp.sgd import SGD


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
        origin, spread = np.zeros(self.dimension), np.zeros((self.dimension, self.dimension))
        return self.mean_diffusion(Carried(np.ones(()), origin, spread, spread))

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
        crossed = outer(offset, at.mean)
        rate_outer = -(k @ at.outer) - at.outer @ k.T - crossed - transposed(crossed)
        rate = -(k @ at.covariance) - at.covariance @ k.T + self.mean_diffusion(at)
        if self.discrete:
            # (I−K)X(I−K)ᵀ − X = −KX − XKᵀ + KXKᵀ, and likewise for the outer product of the shifted mean
            rate = rate + k @ at.covariance @ k.T
            crossed = (k @ at.mean[..., None]) * offset
            rate_outer = rate_outer + k @ at.outer @ k.T + crossed + transposed(crossed)
            rate_outer = rate_outer + at.mass[..., None, None] * np.outer(offset, offset)
        return Carried(np.zeros_like(at.mass), motion, rate_outer, rate)


def refuse_epochs(equation: Equation) -> None:
    """Refuse sampling without replacement where the equation needs steps that are independent of the past."""
    if not equation.sgd.replace:
        raise UnsupportedError(
            f"replace=False: the {equation.label} describes steps independent of the past, and the minibatches of an "
            "epoch exclude each other; use dfp.MasterEquation(sgd), or replace=True."
        )
