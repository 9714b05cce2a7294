"""One epoch of SGD without replacement as a random affine map: its moments, and the law of its multiplier (T18)."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import factorial

import numpy as np
from dfp_solvers import lyapunov, minibatches, second_moment, shuffled
from numpy.typing import NDArray

from dfp.checks import Array
from dfp.regimes.multiplier import Estimate, Multiplier


@dataclass(frozen=True, eq=False)
class EpochMap:
    """The moments of θ, about the critical point, over one epoch of a finite sum (T18).

    Attributes
    ----------
    hessians
        Of the samples, weight decay included, shape (N, d, d).
    gradients
        Of the samples, at the critical point, shape (N, d).
    batch_size
        B.
    learning_rate
        η.
    """

    hessians: Array
    gradients: Array
    batch_size: int
    learning_rate: float

    @property
    def steps(self) -> int:
        """K = ⌊N/B⌋."""
        return len(self.gradients) // self.batch_size

    def after(self, mean: Array, covariance: Array, *, noise: bool = True, steps: int | None = None) -> list[Array]:
        """Return mean (d,) and covariance (d, d) after an epoch or its first ``steps``, without gradients on demand."""
        eye = np.eye(len(mean))
        one = shuffled.MeanStep(eye - self.learning_rate * self.hessians.mean(axis=0), -self.learning_rate * eye)
        gradients = self.gradients if noise else np.zeros_like(self.gradients)
        count = self.steps if steps is None else steps
        return list(shuffled.epoch([one] * count, self.hessians, gradients, self.batch_size, mean, covariance)[-1])

    def second(self, covariance: Array) -> Array:
        """Return E[Π X Πᵀ] of a symmetric X (d, d), Π the product of the epoch's matrices."""
        return self.after(np.zeros(len(covariance)), covariance, noise=False)[1]

    @cached_property
    def second_matrix(self) -> Array:
        """Its matrix on packed symmetric matrices, shape (d(d+1)/2, d(d+1)/2)."""
        d = self.gradients.shape[1]
        basis = second_moment.unpacked(np.eye(d * (d + 1) // 2), d)
        return np.array([second_moment.packed(self.second(x)) for x in basis]).T

    @cached_property
    def radius(self) -> float:
        """Spectral radius of the map of second moments, of a whole epoch."""
        return float(np.max(np.abs(np.linalg.eigvals(self.second_matrix))))

    @cached_property
    def stationary(self) -> Array:
        """Covariance at the end of an epoch that an epoch leaves as it is, shape (d, d); the radius must be below 1."""
        d = self.gradients.shape[1]
        none = np.zeros((d, d))
        factor = np.array([self.after(x, none, noise=False)[0] for x in np.eye(d)]).T
        # The steps of an epoch are correlated, so that the mean does not settle at the critical point.
        mean = np.linalg.solve(np.eye(d) - factor, self.after(np.zeros(d), none)[0])
        gained = second_moment.packed(self.after(mean, none)[1])
        solved = np.linalg.solve(np.eye(len(gained)) - self.second_matrix, gained)
        return second_moment.unpacked(solved, d)

    @cached_property
    def _moments(self) -> Array:
        """How (1, μ, μ², V) moves over an epoch for d = 1, shape (4, 4)."""
        none, zero = np.zeros((1, 1)), np.zeros(1)
        shift, gained = (x.item() for x in self.after(zero, none))
        factor = self.after(np.ones(1), none, noise=False)[0].item()
        plus, minus = (self.after(np.array([x]), none)[1].item() for x in (1.0, -1.0))
        linear = np.zeros((4, 4))
        linear[0, 0], linear[1, :2] = 1.0, (shift, factor)
        linear[2, :3] = shift**2, 2 * shift * factor, factor**2
        linear[3] = gained, (plus - minus) / 2, (plus + minus) / 2 - gained, self.second_matrix.item()
        return linear

    def variance(self, steps: int, initial: float) -> float:
        """Return V(n) for d = 1, from the critical point with variance ``initial``."""
        epochs, rest = divmod(steps, self.steps)
        with np.errstate(over="ignore", invalid="ignore"):
            state = np.linalg.matrix_power(self._moments, epochs) @ [1.0, 0.0, 0.0, initial]
        if rest == 0:
            return float(state[3])
        return self.after(state[1:2], state[3:, None], steps=rest)[1].item()


@dataclass(frozen=True, eq=False)
class EpochMultiplier(Multiplier):
    """Π = Π_j (1 − ηh_{S_j}) over one epoch, from ``samples`` = 1 − ηh_i, shape (N,); the order does not matter."""

    samples: Array
    batch_size: int

    @cached_property
    def _minibatches(self) -> Array:
        return _averages(self.samples, minibatches.choices(self.samples.size, self.batch_size, replace=False)[0])

    @cached_property
    def _cuts(self) -> int:
        """Number of ways to cut the samples into the minibatches of an epoch, in any order."""
        n, b = self.samples.size, self.batch_size
        k = n // b
        return factorial(n) // (int(factorial(b) ** k) * factorial(k) * factorial(n - k * b))

    @property
    def obstacle(self) -> str | None:
        """Why the tail index is not known, or None."""
        settled = not self.exponent.value < 0 or np.max(np.abs(self._minibatches)) <= 1
        if settled or self._cuts <= lyapunov.ENUMERATED:
            return None
        return f"{self.samples.size} samples can be cut into minibatches in {self._cuts} ways"

    @property
    def method(self) -> str:  # type: ignore[override]
        """What was enumerated."""
        return "all minibatches of an epoch" if self.obstacle else "all epochs"

    @cached_property
    def exponent(self) -> Estimate:
        """E log|1 − ηh_S| over all B-subsets S of the samples: that of an epoch divided by K."""
        values = self._minibatches
        return Estimate(lyapunov.atoms_exponent(lyapunov.Atoms(values, np.full(values.size, 1 / values.size))))

    @cached_property
    def tail_index(self) -> Estimate:
        """κ with E|Π|^κ = 1 over all epochs: ∞ if no epoch lets θ grow; NaN without a law, or with an ``obstacle``."""
        if not self.exponent.value < 0 or self.obstacle:
            return Estimate(np.nan)
        if np.max(np.abs(self._minibatches)) <= 1:
            return Estimate(np.inf)
        k, values = self.samples.size // self.batch_size, self._products
        if np.max(np.abs(values)) <= 1:
            return Estimate(np.inf)
        atoms = lyapunov.Atoms(values, np.full(len(values), 1 / len(values)))
        exponent = self.exponent.value * k
        return Estimate(lyapunov.tail_index(lambda order: lyapunov.atoms_log_moment(order, atoms), exponent))

    @cached_property
    def _products(self) -> Array:
        """Π of every way to cut the samples into minibatches."""
        everyone, k = tuple(range(self.samples.size)), self.samples.size // self.batch_size
        cuts = np.array(list(_cut(everyone, self.batch_size, len(everyone) - k * self.batch_size)))
        values: Array = np.prod(_averages(self.samples, cuts), axis=1)
        return values

    @cached_property
    def log_period(self) -> float | None:
        """The greatest number whose multiples are log|Π| of all epochs, if there is one."""
        known = self.exponent.value < 0 and not self.obstacle
        return lyapunov.common_period(self._products) if known else None


def _averages(values: Array, chosen: NDArray[np.int64]) -> Array:
    """Return averages over the last axis of indices; those that are rounding are zero."""
    averages = values[chosen].mean(axis=-1)
    return np.where(np.abs(averages) <= 8 * np.finfo(float).eps * np.max(np.abs(values)), 0.0, averages)


def _cut(left: tuple[int, ...], size: int, spare: int) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Yield every way to cut indices into sets of ``size`` with ``spare`` left out, each once, in no order."""
    if len(left) < size:
        yield ()
        return
    first, others = left[0], left[1:]
    for mates in combinations(others, size - 1):
        for more in _cut(tuple(i for i in others if i not in mates), size, spare):
            yield ((first, *mates), *more)
    if spare:
        yield from _cut(others, size, spare - 1)
