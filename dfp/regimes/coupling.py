"""SGD in the eigenbasis of its mean Hessian: how modes drive each other, and how all grow together (T16)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ParamSpec, TypeVar

import numpy as np
from dfp_solvers import mode_moments, second_moment
from dfp_solvers.trajectories.products import OptimiserStep, Settling
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from dfp.checks import TINY, Array
from dfp.errors import DFPError
from dfp.problem.sgd import SGD
from dfp.regimes.mode import Mode
from dfp.regimes.multiplier import (
    Estimate,
    GaussianMultiplier,
    MinibatchMultiplier,
    MomentumMultiplier,
    Multiplier,
    Sampling,
    mean_increment,
    mean_matrix,
)

P = ParamSpec("P")
T = TypeVar("T")

# Curvature noise between two modes, relative to the largest, below which they count as uncoupled.
_ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class EigenSystem:
    """SGD seen from the eigenbasis of its mean Hessian.

    Attributes
    ----------
    sgd
        The dynamics, with constant learning rate and replacement.
    step
        Learning rate and the coefficients of momentum.
    """

    sgd: SGD
    step: OptimiserStep

    @cached_property
    def curvatures(self) -> Array:
        """Eigenvalues, ascending, shape (d,); those that are rounding are zero."""
        values = self.sgd.modes[0]
        limit = 4 * len(values) * np.finfo(float).eps * float(np.max(np.abs(values)))
        return np.where(np.abs(values) <= limit, 0.0, values)

    @property
    def axes(self) -> Array:
        """Eigenvectors, columns, shape (d, d)."""
        return self.sgd.modes[1]

    @cached_property
    def entry_variances(self) -> Array:
        """Variances of the entries of H̃ in the eigenbasis, E[(v_iᵀH̃v_k)²], shape (d, d)."""
        table = self.sgd.noise.entry_variances(self.axes)
        # Squares of rounding, of the mean or of fluctuations, are no fluctuations; an entry is as wrong as those of the
        # coordinates that it mixes, whatever units others have.
        given = self.sgd.hessian**2 + self.sgd.noise.entry_variances(np.eye(len(table)))
        mixing = self.axes**2
        scale = len(table) * (mixing.T @ given @ mixing)
        return np.where(table > (16 * np.finfo(float).eps) ** 2 * scale, table, 0.0)

    @cached_property
    def coupled(self) -> bool:
        """Whether curvature noise between modes makes their second moments depend on each other."""
        table = self.entry_variances
        off = table - np.diag(np.diag(table))
        return bool(np.max(off, initial=0.0) > _ROUNDING * np.max(table, initial=TINY))

    @cached_property
    def gradient_noise(self) -> Array:
        """Variances D of g̃ along the modes, shape (d,); ∞ where there is none."""
        return self.sgd.noise.variances(self.axes)

    @cached_property
    def gradient(self) -> Array:
        """Mean gradient at the origin along the modes, shape (d,); what is rounding is zero."""
        along = self.axes.T @ self.sgd.gradient
        limit = 4 * len(along) * np.finfo(float).eps * float(np.linalg.norm(self.sgd.gradient))
        return np.where(np.abs(along) <= limit, 0.0, along)

    @cached_property
    def correlations(self) -> Array:
        """r = Cov(v·H̃v, v·g̃) along the modes, shape (d,)."""
        law = self.sgd.noise
        pairs = [v @ law.cross(v) @ v for v in self.axes.T]
        return np.array(pairs)

    @cached_property
    def critical_covariance(self) -> Array:
        """C(θ*) in the eigenbasis: the noise of the gradient at the critical point, where the mean settles, (d, d)."""
        if not self.sgd.noise.finite:
            return np.diag(self.gradient_noise)
        covariance: Array = self.axes.T @ self.sgd.noise.covariance(self.sgd.critical_point) @ self.axes
        return covariance

    @property
    def collapsing(self) -> NDArray[np.bool_]:
        """Modes that fluctuate, but about one minimum that all minibatches share, shape (d,)."""
        return ~self.driven & (np.diag(self.entry_variances) > 0)

    @cached_property
    def driven(self) -> NDArray[np.bool_]:
        """Modes with gradient noise left at the critical point, their own or that of modes coupled to them, (d,)."""
        law, point, table = self.sgd.noise, self.sgd.critical_point, self.entry_variances
        # Along a flat mode every point is critical: the one where its noise is least.
        for i in np.flatnonzero((self.curvatures == 0) & (self.gradient == 0) & (np.diag(table) > 0)):
            v = self.axes[:, i]
            pull = float(v @ (law.quadratic(np.outer(v, point)) + law.cross(v)) @ v)
            point = point - v * (pull / table[i, i])
        noisy = ~law.collapses_at(point, self.axes)
        for _ in range(len(table)):
            noisy = noisy | (table @ noisy > 0)
        return noisy

    @cached_property
    def moving(self) -> NDArray[np.bool_]:
        """Modes that a step can change at all, shape (d,): flat ones without noise or gradient keep their place."""
        table = self.entry_variances
        still = (self.curvatures == 0) & (self.gradient == 0) & (self.gradient_noise == 0)
        return ~(still & ~table.any(axis=0) & ~table.any(axis=1))

    def samples(self, mode: int) -> Array | None:
        """Return the curvatures vᵀH_iv of the samples, weight decay included, shape (N,); None if h is Gaussian."""
        along = None if self.sgd.noise.additive else self.sgd.noise.curvature_samples(self.axes[:, mode])
        return None if along is None else along + self.sgd.sample_decay

    def multiplier(self, mode: int, sampling: Sampling) -> Multiplier:
        """Return the law of 1 − ηh of a mode, or of its 2 × 2 matrix with momentum."""
        curvature, eta, samples = float(self.curvatures[mode]), self.step.learning_rate, self.samples(mode)
        deviation = float(np.sqrt(self.entry_variances[mode, mode]))
        batch = self.sgd.noise.batch_size
        if self.step.beta > 0:
            return MomentumMultiplier(curvature, deviation, self.step, sampling, samples, batch)
        if samples is not None:
            return MinibatchMultiplier(1 - eta * samples, batch)
        return GaussianMultiplier(1 - eta * curvature, eta * deviation)

    def mode(self, mode: Mode, index: int) -> Mode:
        """Return ``mode``, taken for that of number ``index`` here, as these dynamics see it."""
        return mode

    @property
    def size(self) -> int:
        """Dimension of the state that moves: d, or 2d with momentum."""
        return len(self.curvatures) * (1 if self.step.beta == 0 else 2)

    @cached_property
    def mean(self) -> Array:
        """Mean map A of θ, or of (θ, v) with momentum (T19), in the eigenbasis, shape (size, size)."""
        return self._mean_at(self.step)

    def _mean_at(self, step: OptimiserStep) -> Array:
        blocks = [mean_matrix(curvature, step) for curvature in self.curvatures]
        return np.block([[np.diag([block[i, j] for block in blocks]) for j in range(len(blocks[0]))]
                         for i in range(len(blocks[0]))])  # fmt: skip

    def noise_map(self, second: Array) -> Array:
        """Return E[H̃XH̃ᵀ] in the eigenbasis for X of shape (..., d, d)."""
        v = self.axes
        return v.T @ self.sgd.noise.quadratic(v @ second @ v.T) @ v

    def moment_map(self, second: Array, step: OptimiserStep | None = None) -> Array:
        """Return the second moments one step later, without sources, of ``second`` (..., size, size) (T16)."""
        used = self.step if step is None else step
        mean, d = self.mean if step is None else self._mean_at(step), len(self.curvatures)
        result: Array = mean @ second @ mean.T
        return result + self.kicked(self.noise_map(second[..., :d, :d]), used)

    def moment_change(self, second: Array) -> Array:
        """Return ``moment_map`` less its argument, without the difference that loses small rates."""
        blocks, d = [mean_increment(curvature, self.step) for curvature in self.curvatures], len(self.curvatures)
        k = len(blocks[0])
        change = np.block([[np.diag([block[i, j] for block in blocks]) for j in range(k)] for i in range(k)])
        moved = change @ second
        result: Array = moved + second @ change.T + moved @ change.T
        return result + self.kicked(self.noise_map(second[..., :d, :d]), self.step)

    def kicked(self, covariance: Array, step: OptimiserStep) -> Array:
        """Return b C bᵀ: how a covariance (..., d, d) of the gradient moves θ, or (θ, v)."""
        kick = np.array([-step.learning_rate * step.p, 1.0])[: 1 if step.beta == 0 else 2]
        return np.block([[covariance * (x * y) for y in kick] for x in kick])

    @cached_property
    def spectral_radius(self) -> float:
        """ρ of the map of second moments of what moves (T16): they stay bounded iff it is below one."""
        return self._radius(self.step)

    def _radius(self, step: OptimiserStep) -> float:
        if np.all(self.moving):
            return _checked(second_moment.largest_real, lambda x: self.moment_map(x, step), self.size)
        kept = np.flatnonzero(np.tile(self.moving, self.size // len(self.moving)))

        def restricted(second: Array) -> Array:
            whole = np.zeros((*second.shape[:-2], self.size, self.size))
            whole[..., kept[:, None], kept] = second
            return self.moment_map(whole, step)[..., kept[:, None], kept]

        return _checked(second_moment.largest_real, restricted, kept.size)

    @cached_property
    def largest_stable_learning_rate(self) -> float:
        """η below which second moments stay bounded, 1/ρ(L⁻¹M) with L(X) = HX + XH, M(X) = HXH + G(X); 0 if none.

        For both maps keep matrices positive, so that ρ(η) passes one there and nowhere else. With momentum it is where
        ρ of the map of (θ, v) first does (T19).
        """
        plain = self._limit(self.curvatures)
        if self.step.beta == 0 or not 0 < plain < np.inf:
            return plain
        return mode_moments.stability_limit(
            lambda rate: self._radius(self.step._replace(learning_rate=rate)) - 1, plain
        )

    @cached_property
    def langevin_largest_stable_learning_rate(self) -> float:
        """The same for Langevin (T6): 1/ρ(L⁻¹G), times 1 − β; ∞ without curvature noise."""
        return self._limit(np.zeros_like(self.curvatures)) * (1 - self.step.beta)

    def _limit(self, kept: Array) -> float:
        at = np.flatnonzero(self.moving)
        curvatures, kept = self.curvatures[at], kept[at]
        if not curvatures.size or curvatures[0] <= 0:
            return 0.0
        decay = curvatures[:, None] + curvatures

        def ratio(second: Array) -> Array:
            whole = np.zeros((*second.shape[:-2], *[len(self.curvatures)] * 2))
            whole[..., at[:, None], at] = second
            gained = self.noise_map(whole)[..., at[:, None], at]
            return (kept[:, None] * second * kept + gained) / decay

        # Symmetrically scaled, it has the same eigenvalues; a positive map stays one.
        radius = _checked(second_moment.largest_real, ratio, len(decay))
        return 1 / radius if radius > 0 else np.inf

    @property
    def stationary_covariance(self) -> Array:
        """Covariance of θ in the eigenbasis in the stationary state, shape (d, d); NaN if there is none."""
        d = len(self.curvatures)
        return self.stationary_state[:d, :d]

    @cached_property
    def stationary_state(self) -> Array:
        """Covariance of θ, or of (θ, v), in the eigenbasis: full solve of (T14), shape (size, size); NaN if none."""
        if not (self.spectral_radius < 1 and self.sgd.noise.finite and np.all(self.moving)):
            return np.full((self.size, self.size), np.nan)
        diagonal = np.diag(self.mean)
        return _checked(
            second_moment.solve,
            self.moment_change,
            self.kicked(self.critical_covariance, self.step),
            np.maximum(1 - np.outer(diagonal, diagonal), 1e-3),
        )

    @cached_property
    def blocks(self) -> list[NDArray[np.int64]]:
        """Modes that drive each other, in turn: the growth of all is that of the block that grows fastest."""
        count, labels = connected_components(self.entry_variances > 0, directed=True, connection="strong")
        found = [np.flatnonzero((labels == i) & self.moving) for i in range(count)]
        return [block for block in found if block.size]

    def settling(self, block: NDArray[np.int64]) -> Settling:
        """Return the direction of the mode of a block that grows fastest in the mean, and how fast others die away.

        So do they at the gap to the second mode; where both are alike, noise mixes them.
        """
        factors = [np.max(np.abs(np.linalg.eigvals(mean_matrix(c, self.step)))) for c in self.curvatures[block]]
        if block.size == 1:
            return Settling(0.0, np.ones(1))
        order = np.argsort(factors)
        first, second = block[order[-1]], block[order[-2]]
        start = np.eye(block.size)[order[-1]]
        if factors[order[-2]] == 0:
            return Settling(0.0, start)
        mixing = self.step.learning_rate**2 * float(
            self.entry_variances[first, second] + self.entry_variances[second, first]
        )
        rate = float(np.log(factors[order[-1]] / factors[order[-2]])) + mixing
        return Settling(1 / rate if rate > 0 else np.inf, start)

    def sampled_exponent(self, block: NDArray[np.int64], steps: int, seed: int) -> Estimate:
        """Return the top Lyapunov exponent of the random matrix product of a block of modes, with its error."""
        axes, settling = self.axes[:, block], self.settling(block)
        return Estimate(*self.sgd.noise.sampled_exponent(self.sgd.hessian, self.step, steps, seed, axes, settling))


def _checked(function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Call a numerical routine; what it could not do becomes a ``DFPError``."""
    try:
        return function(*arguments, **options)
    except ArithmeticError as error:
        raise DFPError(f"modes: {error}; follow dfp.moments(...), which needs no such search.") from None
