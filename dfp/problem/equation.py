"""What an equation is: its drift and how its noise enters, as arrays and as linear functions of moments; no solver.

The equations themselves are maps that act once per step (T4, T5) and generators that act in slow time τ = ηn (T6, T7,
T7m), all in ``equations.py``.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np

from dfp import checks
from dfp.checks import Array
from dfp.errors import UnsupportedError
from dfp.problem.averages import Average
from dfp.problem.sgd import SGD
from dfp.problem.value import Value

if TYPE_CHECKING:
    from dfp_solvers.affine import AffineTransition


class MomentVector(NamedTuple):
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


def unpacked(flat: Array, d: int) -> MomentVector:
    """Return moments from one vector per entry of the leading axes, shape (..., 1 + d + 2d²)."""
    square = (*flat.shape[:-1], d, d)
    mass, mean, outer, covariance = np.split(flat, [1, 1 + d, 1 + d + d * d], axis=-1)
    return MomentVector(mass[..., 0], mean, outer.reshape(square), covariance.reshape(square))


def packed(at: MomentVector) -> Array:
    """Return moments as one vector per entry of the leading axes, shape (..., 1 + d + 2d²)."""
    square = (*at.mean.shape[:-1], -1)
    return np.concatenate(
        [at.mass[..., None], at.mean, at.outer.reshape(square), at.covariance.reshape(square)], axis=-1
    )


def units(equation: "Equation", start: Array) -> Array:
    """Return units of packed moments, shape (1 + d + 2d²,): powers of a length about that of start and noise."""
    at, rate = unpacked(start, equation.dimension), float(np.abs(equation.linear_drift).max())
    squares = [np.abs(at.outer).max(), np.abs(at.covariance).max()]
    if rate > 0:
        still = MomentVector(np.ones(()), np.zeros_like(at.mean), np.zeros_like(at.outer), np.zeros_like(at.outer))
        squares += [
            np.abs(equation.mean_diffusion(still)).max() / rate,
            np.abs(equation.constant_drift / rate).max() ** 2,
        ]
    square = float(max(squares))
    length = 2.0 ** round(np.log2(square) / 2) if 0 < square < np.inf else 1.0  # scales without rounding
    parts = np.full_like(at.mean, length), np.full_like(at.outer, length**2), np.full_like(at.outer, length**2)
    return packed(MomentVector(np.ones(()), *parts))


def transposed(matrix: Array) -> Array:
    """Return ``matrix`` with its last two axes exchanged."""
    return np.swapaxes(matrix, -1, -2)


def outer(left: Array, right: Array) -> Array:
    """Return the outer product of ``left`` (d,) with ``right`` (..., d), shape (..., d, d)."""
    return left[:, None] * right[..., None, :]


@dataclass(frozen=True, eq=False, repr=False)
class Equation(Value, ABC):
    """An evolution equation for the density of the parameters of ``sgd``."""

    sgd: SGD

    title: ClassVar[str]
    """What users call it."""
    number: ClassVar[str]
    """Its number on the theory page."""
    discrete: ClassVar[bool]
    """Whether it is a map acting once per step, rather than a generator in slow time."""
    truncated: ClassVar[bool] = False
    """Whether it is a map cut after its second term, with the raw second moment S in place of all that follows."""
    process: ClassVar[bool] = True
    """Whether it is the law of a process: its operator keeps densities positive, and there are paths to sample."""
    moments_only: ClassVar[bool] = False
    """Whether it is followed through its moments alone, for its variances can be negative."""

    def __post_init__(self) -> None:
        if isinstance(self.sgd, Average):
            raise UnsupportedError(
                f"sgd: the {self.title} equation does not take averages; use dfp.MasterEquation(average)."
            )
        checks.instance("sgd", self.sgd, SGD, f"must be a dfp.SGD; give dfp.{type(self).__name__}(sgd).")

    @property
    def dimension(self) -> int:
        """Number of parameters d."""
        return self.sgd.dimension

    @property
    def parameters(self) -> tuple[str, ...] | None:
        """Names of the parameters, d; None where they have none."""
        return self.sgd.parameters

    @property
    def additive(self) -> bool:
        """Whether the noise is known not to depend on θ."""
        return self.sgd.additive

    @property
    def indefinite(self) -> bool:
        """Whether its diffusion can fail to be positive semidefinite, though C never does."""
        return False

    @property
    def label(self) -> str:
        """Title and number, for tables and files."""
        return f"{self.title} ({self.number})"

    @property
    def learning_rate(self) -> float:
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

    def record(self, last: int) -> dict[str, Any]:
        """Return what it is and of which dynamics, for steps up to ``last``, as entries of a file's provenance."""
        return {"equation": self.label, **self.sgd.record(last)}

    @cached_property
    def rotated(self) -> Self:
        """The equation of u, θ = P^{1/2}u, where a preconditioner makes the modes of θ oblique (D)."""
        return replace(self, sgd=self.sgd.rotated)

    @cached_property
    def transitions(self) -> "dict[int, AffineTransition]":
        """What so many steps do, of the step counts that were asked for: kept by ``dfp.exact.moments``."""
        return {}

    def at(self, step: int) -> Self:
        """Return the equation with the learning rate and batch size of ``step`` at every step."""
        return replace(self, sgd=self.sgd.at(step))

    @abstractmethod
    def mean_diffusion(self, at: MomentVector) -> Array:
        """Return the mean over P of the second cumulant gained per step (maps) or per unit of τ (generators)."""

    def diffusion(self, theta: Array) -> Array:
        """Return that second cumulant at ``theta`` (..., d), shape (..., d, d)."""
        if not self.sgd.affine:
            return self.local_diffusion(theta)
        outer = theta[..., :, None] * theta[..., None, :]
        return self.mean_diffusion(MomentVector(np.ones(theta.shape[:-1]), theta, outer, np.zeros_like(outer)))

    @cached_property
    def additive_diffusion(self) -> Array:
        """The diffusion at every place where the noise is additive, shape (d, d)."""
        origin, square = np.zeros(self.dimension), np.zeros((self.dimension, self.dimension))
        return self.mean_diffusion(MomentVector(np.ones(()), origin, square, square))

    def drift(self, theta: Array) -> Array:
        """Return the mean motion at ``theta`` (..., d) per step (maps) or per unit of τ (generators), (..., d)."""
        if not self.sgd.affine:
            return self.local_drift(theta)
        return -(theta @ self.linear_drift.T + self.constant_drift)

    @abstractmethod
    def local_drift(self, theta: Array) -> Array:
        """Return ``drift`` in a nonlinear landscape."""

    @abstractmethod
    def local_diffusion(self, theta: Array) -> Array:
        """Return ``diffusion`` in a nonlinear landscape."""

    @abstractmethod
    def mode_rates(self, eigenvalues: Array) -> Array:
        """Return the multipliers of the modes: of Hθ + g per step (η) or per unit of τ (eigenvalues of J)."""

    @cached_property
    def _drift_matrix(self) -> Array:
        values, vectors, inverse = self.sgd.modes_of_map
        return (vectors * self.mode_rates(values)) @ inverse

    @cached_property
    def linear_drift(self) -> Array:
        """Matrix K of the mean motion −Kθ − k per step (maps) or per unit of τ (generators), shape (d, d)."""
        return self._drift_matrix @ self.sgd.hessian

    @cached_property
    def constant_drift(self) -> Array:
        """Vector k of the mean motion −Kθ − k, shape (d,)."""
        return self._drift_matrix @ self.sgd.gradient

    def derivative(self, at: MomentVector) -> MomentVector:
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
        return MomentVector(np.zeros_like(at.mass), motion, rate_outer, rate)


def refuse_epochs(equation: Equation) -> None:
    """Refuse sampling without replacement where the equation needs steps that are independent of the past."""
    if not equation.sgd.replace:
        raise UnsupportedError(
            f"replace=False: the {equation.label} describes steps independent of the past, and the minibatches of an "
            "epoch exclude each other; use dfp.MasterEquation(sgd), or replace=True."
        )
