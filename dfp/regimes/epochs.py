"""Modes of SGD without replacement: an epoch is one random affine map, and epochs are independent of each other.

So the regimes are those of the map of an epoch. Growth and exponents are per step (an epoch's to the power 1/K),
variances those at the end of an epoch.
"""

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Self

import numpy as np
from dfp_solvers import modal, mode_moments, shuffled
from dfp_solvers.trajectories import products
from dfp_solvers.trajectories.products import OptimiserStep
from numpy.typing import NDArray
from scipy.optimize import brentq

from dfp import checks
from dfp.checks import Array
from dfp.errors import UnsupportedError
from dfp.exact import optimisers
from dfp.problem.equations import MasterEquation
from dfp.problem.sgd import SGD
from dfp.regimes.coupling import EigenSystem
from dfp.regimes.epoch_map import EpochMap, EpochMultiplier
from dfp.regimes.mode import Mode
from dfp.regimes.multiplier import Estimate, GaussianMultiplier, Multiplier, Sampling, mean_matrix

# Learning rates on which an early loss of stability is looked for, and epochs that this search takes.
_GRID = 48
_SEARCH = 128
# Products that sample a Lyapunov exponent.
_CHAINS = 256


@dataclass(frozen=True, eq=False)
class EpochSystem(EigenSystem):
    """SGD without replacement in the eigenbasis of its mean Hessian."""

    def __post_init__(self) -> None:
        """Refuse what no closed form and no dynamic programming reaches."""
        law, d = self.sgd.samples, self.sgd.dimension
        if law.additive:
            return
        remedy = "use replace=True, or sample with dfp.MonteCarlo(...)"
        if self.step.beta > 0:
            raise UnsupportedError(
                f"replace=False with momentum={self.step.beta:g} and noise that depends on θ: no modes; {remedy}."
            )
        if shuffled.effort(law.count, law.batch_size) * (d * (d + 1) // 2) > shuffled.MOST_EFFORT:
            raise UnsupportedError(
                "replace=False: no modes: with noise that depends on θ they need every set of samples an epoch can "
                f"have used, too many for {law.count} samples, batch_size={law.batch_size} and dimension {d}; {remedy}."
            )

    @property
    def spared(self) -> float:
        """(N − KB)/(N − 1): how much of its noise is left in a flat direction when an epoch ends."""
        law = self.sgd.samples
        return (law.count - self.sgd.epoch * law.batch_size) / max(law.count - 1, 1)

    @cached_property
    def transition(self) -> modal.Transition:
        """One epoch with additive noise (T18)."""
        return next(optimisers.transitions(MasterEquation(self.sgd), np.array([self.sgd.epoch])))

    @cached_property
    def epoch_map(self) -> EpochMap:
        """One epoch with noise that depends on θ."""
        law, v = self.sgd.samples, self.axes
        bends = law.sample_hessians()
        kicks = bends @ self.sgd.critical_point + law.gradients + self.sgd.sample_decay * self.sgd.critical_point
        # The mean is diagonal in its eigenbasis, and its eigenvalues are known to be zero where they are rounding.
        turned = v.T @ bends @ v
        turned = turned - turned.mean(axis=0) + np.diag(self.curvatures)
        kicks = kicks @ v
        still = self.curvatures != 0
        kicks[:, still] -= kicks[:, still].mean(axis=0)
        return EpochMap(turned, kicks, law.batch_size, self.step.learning_rate)

    def alone(self, mode: int) -> EpochMap:
        """Return one epoch of a mode by itself."""
        whole, at = self.epoch_map, slice(mode, mode + 1)
        return EpochMap(whole.hessians[:, at, at], whole.gradients[:, at], whole.batch_size, whole.learning_rate)

    def multiplier(self, mode: int, sampling: Sampling) -> Multiplier:
        """Return the law of an epoch's multiplier of a mode."""
        if self.sgd.noise.additive:
            return super().multiplier(mode, sampling)
        if self.entry_variances[mode, mode] == 0:
            return GaussianMultiplier(1 - self.step.learning_rate * float(self.curvatures[mode]), 0.0)
        alone = self.alone(mode)
        return EpochMultiplier(1 - alone.learning_rate * alone.hessians[:, 0, 0], alone.batch_size)

    @cached_property
    def spectral_radius(self) -> float:
        """ρ of the map of second moments of an epoch, per step."""
        if self.sgd.noise.additive:
            blocks = np.array([mean_matrix(curvature, self.step) for curvature in self.curvatures])
            return float(np.max(np.abs(np.linalg.eigvals(blocks))) ** 2)
        return float(self.epoch_map.radius ** (1 / self.sgd.epoch))

    def mode(self, mode: Mode, index: int) -> "EpochMode":
        """Return ``mode`` as a mode of epochs."""
        return EpochMode.of(mode, self, index)

    @property
    def largest_stable_learning_rate(self) -> float:
        """That of additive noise, which is the same with replacement; NaN, not known, with coupled modes."""
        return super().largest_stable_learning_rate if self.sgd.noise.additive else np.nan

    @cached_property
    def stationary_state(self) -> Array:
        """Covariance of θ, or of (θ, v), at the end of an epoch, in the eigenbasis; NaN if there is none."""
        if not self.spectral_radius < 1:
            return np.full((self.size, self.size), np.nan)
        if not self.sgd.noise.additive:
            return self.epoch_map.stationary
        return modal.stationary(self.transition).transpose(2, 0, 3, 1).reshape(self.size, self.size)

    def sampled_exponent(self, block: NDArray[np.int64], steps: int, seed: int) -> Estimate:
        """Return the top Lyapunov exponent of a block of modes over shuffled epochs, per step, with its error."""
        whole, k = self.epoch_map, self.sgd.epoch
        count, d = len(whole.gradients), block.size
        rng = np.random.default_rng(seed)
        settling = self.settling(block)
        assert settling.start is not None
        vectors = np.tile(settling.start[:, None], (_CHAINS, 1, 1))
        epochs = -(-steps // k)
        runs = max(epochs // 4, 1), max(epochs // 2, 1), max(epochs - epochs // 2, 1)
        growth = np.zeros((3, _CHAINS))
        factors = np.eye(d) - whole.learning_rate * whole.hessians[:, block[:, None], block]
        order = np.tile(np.arange(count), (_CHAINS, 1))
        for run, number in enumerate(runs):
            for _ in range(number):
                order = rng.permuted(order, axis=1)
                for chosen in order[:, : k * whole.batch_size].reshape(_CHAINS, k, -1).swapaxes(0, 1):
                    vectors = factors[chosen].mean(axis=1) @ vectors
                lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
                vectors = vectors / lengths
                growth[run] += np.log(lengths[:, 0, 0])
        rates = growth[1:] / (np.array(runs[1:])[:, None] * k)
        return Estimate(*products.average(rates, tuple(n * k for n in runs), settling.time))


@dataclass(frozen=True, eq=False)
class EpochMode(Mode):
    """A mode under epochs without replacement: its numbers are those of an epoch, per step or at the epoch's end.

    Attributes
    ----------
    system
        The system it belongs to.
    index
        Its place there.
    """

    system: EpochSystem | None = None
    index: int = 0

    @classmethod
    def of(cls, mode: Mode, system: EpochSystem, index: int) -> Self:
        """Return ``mode`` as the mode ``index`` of ``system``."""
        return cls(**{one.name: getattr(mode, one.name) for one in fields(mode)}, system=system, index=index)

    @property
    def _epoch(self) -> int:
        return self._epochs.sgd.epoch

    @property
    def _epochs(self) -> EpochSystem:
        assert self.system is not None
        return self.system

    @cached_property
    def _alone(self) -> EpochMap | None:
        """The epoch if the noise depends on θ."""
        return None if self._epochs.sgd.noise.additive else self._epochs.alone(self.index)

    @cached_property
    def growth(self) -> float:
        """ρ₂: factor of the second moment over an epoch, to the power 1/K."""
        if self._alone is None or self.curvature_noise == 0:
            return super().growth
        radius = _radius(self._alone)
        return 1.0 if abs(radius - 1) <= 1e-14 * self._alone.steps else float(radius ** (1 / self._alone.steps))

    @property
    def diffusion_coefficient(self) -> float:
        """D_eff of whole epochs: ηD/2 (N−KB)/(N−1), zero if an epoch takes every sample."""
        return super().diffusion_coefficient * self._epochs.spared

    @property
    def stationary_variance(self) -> float:
        """V_∞ at the end of an epoch [parameter^2]: ∞ if only the law exists, NaN if neither does."""
        if self.collapsing or not self.growth < 1:
            return super().stationary_variance
        if self._alone is not None:
            return self._alone.stationary.item()
        one, i = self._epochs.transition, slice(self.index, self.index + 1)
        if self.step.beta == 0:
            with np.errstate(divide="ignore"):  # ηλ = 1 forgets everything
                kept = np.expm1(one.steps * np.log1p(self._excess))  # (1−ηλ)^2K − 1 from an accurate difference
            return float(one.noise[self.index, self.index, 0, 0] / -kept)
        own = modal.Transition(one.factor[i], one.gain[i], one.noise[i, i], one.steps)
        return float(modal.stationary(own)[0, 0, 0, 0])

    @cached_property
    def largest_stable_learning_rate(self) -> float:
        """Where ρ₂ first passes 1; NaN, not known, if that takes too many sets of samples, or for Γ > 0 >= λ.

        There curvatures that cancel over an epoch can confine a mode: (1−ηh)(1+ηh) < 1.
        """
        alone = self._alone
        if alone is None or self.curvature_noise == 0:
            return super().largest_stable_learning_rate
        if self.curvature <= 0:
            return np.nan
        effort = shuffled.effort(len(alone.gradients), alone.batch_size) if alone.batch_size > 1 else 0.0
        if effort * _SEARCH > shuffled.MOST_EFFORT:
            return np.nan

        def excess(rate: float) -> float:
            return _radius(EpochMap(alone.hessians, alone.gradients, alone.batch_size, rate)) - 1

        limit = mode_moments.stability_limit(excess, 1 / float(np.max(np.abs(alone.hessians))))
        # Growth is a polynomial of η and can come back below 1: look for an earlier crossing.
        rates = np.linspace(0, limit, _GRID, endpoint=False)[1:]
        early = np.flatnonzero([excess(rate) >= 0 for rate in rates])
        if not early.size:
            return limit
        low = rates[early[0] - 1] if early[0] else 1e-6 * limit
        return float(brentq(excess, low, rates[early[0]], xtol=1e-300, rtol=1e-13))

    @property
    def embeddable(self) -> bool | None:
        """None: steps of an epoch depend on each other, and (T17) is about independent ones."""
        return None

    def variance(self, steps: int, initial_variance: float = 0.0) -> float:
        """Return V(n), within epochs and at their ends; parameters as in ``Mode.variance``."""
        n = checks.integer("steps", steps)
        initial = checks.real("initial_variance", initial_variance, at_least=0)
        if self._alone is not None:
            return self._alone.variance(n, initial)
        i, after = self.index, next(optimisers.transitions(MasterEquation(self._epochs.sgd), np.array([n])))
        return float(after.factor[i, 0, 0] ** 2 * initial + after.noise[i, i, 0, 0])


def _radius(alone: EpochMap) -> float:
    """Return E[Π²] of a mode by itself; with single samples every epoch has the same product."""
    if alone.batch_size == 1:
        return float(np.prod((1 - alone.learning_rate * alone.hessians) ** 2))
    return alone.radius


def system(sgd: SGD, step: OptimiserStep) -> EigenSystem:
    """Return SGD in the eigenbasis, with or without replacement."""
    return EigenSystem(sgd, step) if sgd.replace else EpochSystem(sgd, step)
