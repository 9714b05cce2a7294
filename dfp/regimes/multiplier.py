"""Laws of the random multiplier of one mode, Y = 1 − ηh, and what they say of its growth and its tails."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from dfp_solvers import lyapunov
from dfp_solvers.trajectories import products

from dfp.checks import Array


class Estimate(NamedTuple):
    """A number with its error: 0 where it is exact to rounding; ∞ where the number is only a lower bound."""

    value: float
    error: float = 0.0

    def __float__(self) -> float:
        """Return the value."""
        return self.value


class Sampling(NamedTuple):
    """How Lyapunov exponents without a closed form are sampled: steps of each product, and a seed."""

    steps: int
    seed: int


class Multiplier(ABC):
    """What a law of Y provides."""

    method: str
    """How its numbers are found."""

    @property
    @abstractmethod
    def exponent(self) -> Estimate:
        """Lyapunov exponent ℓ = E log|Y| [1 / step]."""

    @property
    @abstractmethod
    def tail_index(self) -> Estimate:
        """Kesten's κ with E|Y|^κ = 1: ∞ if Y never exceeds 1 in magnitude, NaN without a stationary law."""

    @property
    def log_period(self) -> float | None:
        """p if log|Y| takes only multiples of it (Y is arithmetic), so that tails are log-periodic; None otherwise."""
        return None

    @property
    def obstacle(self) -> str | None:
        """Why the tail index is not known though there may be one, or None."""
        return None


@dataclass(frozen=True)
class GaussianMultiplier(Multiplier):
    """Y ~ N(``mean``, ``deviation``²)."""

    mean: float
    deviation: float

    method = "closed form"

    @cached_property
    def exponent(self) -> Estimate:
        """E log|Y| by Dawson's function."""
        return Estimate(float(lyapunov.gaussian_exponent(self.mean, self.deviation)))

    @cached_property
    def tail_index(self) -> Estimate:
        """The root of the closed form of E|Y|^κ."""
        if self.deviation == 0:
            return Estimate(np.inf if abs(self.mean) < 1 else np.nan)
        return Estimate(lyapunov.gaussian_tail_index(self.mean, self.deviation))


@dataclass(frozen=True, eq=False)
class MinibatchMultiplier(Multiplier):
    """Y = the mean of ``batch_size`` draws, with replacement, from ``samples`` = 1 − ηh_i, shape (N,)."""

    samples: Array
    batch_size: int

    @cached_property
    def _atoms(self) -> lyapunov.Atoms:
        return lyapunov.minibatch_atoms(self.samples, self.batch_size)

    @property
    def method(self) -> str:  # type: ignore[override]
        """Whether minibatches were enumerated."""
        return "all minibatches" if self._atoms.width == 0 else "minibatches on a lattice"

    @cached_property
    def exponent(self) -> Estimate:
        """E log|Y| over all minibatches; on a lattice its error is the change when cells are halved."""
        value = lyapunov.atoms_exponent(self._atoms)
        coarse = self._coarse
        return Estimate(value, 0.0 if coarse is None else abs(value - lyapunov.atoms_exponent(coarse)))

    @cached_property
    def tail_index(self) -> Estimate:
        """κ over all minibatches: ∞ exactly if no sample exceeds 1; a lower bound where rounding hides the root."""
        value = self._tail_index(self._atoms)
        if np.max(np.abs(self.samples)) <= 1 or np.isnan(value):
            return Estimate(np.inf if value == np.inf else np.nan)
        if value == np.inf:
            return Estimate(lyapunov.largest_resolved_order(self._atoms), np.inf)
        coarse = self._coarse
        return Estimate(value, 0.0 if coarse is None else abs(value - self._tail_index(coarse)))

    @cached_property
    def log_period(self) -> float | None:
        """The greatest number whose multiples are log|Y| of all minibatches, if there is one."""
        return lyapunov.common_period(self._atoms.values) if self._atoms.width == 0 else None

    @cached_property
    def _coarse(self) -> lyapunov.Atoms | None:
        if self._atoms.width == 0:
            return None
        return lyapunov.minibatch_atoms(self.samples, self.batch_size, cells=lyapunov.LATTICE // 2)

    @staticmethod
    def _tail_index(atoms: lyapunov.Atoms) -> float:
        exponent = lyapunov.atoms_exponent(atoms)
        if exponent < 0 and np.max(np.abs(atoms.values)) <= 1:
            return np.inf
        limit = lyapunov.largest_resolved_order(atoms)
        return lyapunov.tail_index(lambda order: lyapunov.atoms_log_moment(order, atoms), exponent, limit)


@dataclass(frozen=True, eq=False)
class MomentumMultiplier(Multiplier):
    """The random 2 × 2 matrix of one mode with momentum (T19): its exponent is sampled; no tail index is known.

    Attributes
    ----------
    curvature, deviation
        λ and √Γ.
    step
        Learning rate and the coefficients of momentum.
    sampling
        How the exponent is sampled.
    samples
        The h_i, shape (N,), weight decay included, of which a minibatch averages ``batch_size``; None if h is Gaussian.
    """

    curvature: float
    deviation: float
    step: products.OptimiserStep
    sampling: Sampling
    samples: Array | None = None
    batch_size: int = 1

    method = "sampled product"

    @cached_property
    def exponent(self) -> Estimate:
        """Top exponent of the product; the error is one standard error, 0 if nothing is random."""
        if self.samples is not None:
            table = self.samples[:, None, None]
            return Estimate(*products.samples_exponent(table, self.step, self.batch_size, *self.sampling))
        if self.deviation == 0:
            return Estimate(float(np.log(np.max(np.abs(np.linalg.eigvals(mean_matrix(self.curvature, self.step)))))))
        mean, deviation = np.array([[self.curvature]]), np.array([[self.deviation]])
        return Estimate(*products.gaussian_exponent(mean, deviation, self.step, *self.sampling))

    @property
    def tail_index(self) -> Estimate:
        """∞ without curvature noise, else unknown (NaN)."""
        certain = self.samples is None and self.deviation == 0 and self.exponent.value < 0
        return Estimate(np.inf if certain else np.nan)


def mean_matrix(curvature: float, step: products.OptimiserStep) -> Array:
    """Return the mean map of one mode: 1 × 1 (plain), or 2 × 2 in (θ, v) with momentum (T19)."""
    if step.beta == 0:
        return np.array([[1 - step.learning_rate * curvature]])
    eta = step.learning_rate
    return np.array([[1 - eta * step.p * curvature, -eta * step.q], [curvature, step.beta]])


def mean_increment(curvature: float, step: products.OptimiserStep) -> Array:
    """Return ``mean_matrix`` less one, to the digits of its entries."""
    eta = step.learning_rate
    if step.beta == 0:
        return np.array([[-eta * curvature]])
    return np.array([[-eta * step.p * curvature, -eta * step.q], [curvature, step.beta - 1]])
