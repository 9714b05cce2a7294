"""Noise of minibatches: a finite sum of samples (H_i, g_i), drawn with replacement (T13)."""

from dataclasses import dataclass, replace
from functools import cached_property
from math import log
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from dfp_solvers import minibatches

from dfp.checks import TINY, Array
from dfp.problem.noise import AxisMoments, Minibatches, NoiseLaw

if TYPE_CHECKING:
    from dfp_solvers.trajectories.products import OptimiserStep, Settling

# Up to this dimension E[δH ⊗ δH] is tabulated once (d⁴ numbers), so that steps do not touch the data.
_TABULATE_UP_TO = 12
# Up to this number of minibatches the entropy of their choice is summed, beyond it is bounded.
_MOST_SUMMED = 20_000
# Deviations of samples that are held at once, in numbers.
_MOST_HELD = 2**22


@dataclass(frozen=True, eq=False, repr=False)
class FiniteSumLaw(NoiseLaw):
    """Noise of minibatches of ``batch_size`` samples, drawn with replacement from N samples (H_i, g_i).

    Parameters
    ----------
    gradients
        Sample gradients at θ = 0, shape (N, d).
    hessians
        Sample Hessians, shape (N, d, d); ``None`` for least squares, where H_i = x_i x_iᵀ.
    features
        Rows x_i of a least-squares problem, shape (N, d); ``None`` if ``hessians`` is given.
    targets
        Targets y_i of a least-squares problem, shape (N,).
    """

    gradients: Array
    batch_size: int = 1
    hessians: Array | None = None
    features: Array | None = None
    targets: Array | None = None

    gaussian = False
    shuffles = True
    scheduled = True
    every_moment = True

    @property
    def count(self) -> int:
        """Number of samples N."""
        return int(self.gradients.shape[0])

    @cached_property
    def constant(self) -> Array:  # type: ignore[override]
        """E[g̃ g̃ᵀ], shape (d, d)."""
        centred = self.gradients - self.gradients.mean(axis=0)
        return centred.T @ centred / (self.count * self.batch_size)

    @cached_property
    def mean_hessian(self) -> Array:
        """Average of the sample Hessians, shape (d, d)."""
        if self.features is not None:
            return self.features.T @ self.features / self.count
        assert self.hessians is not None
        return self.hessians.mean(axis=0)

    @cached_property
    def additive(self) -> bool:
        """Whether all samples share one Hessian."""
        hessians = self.sample_hessians() if self.dimension <= _TABULATE_UP_TO else self.hessians
        if hessians is None:
            return False
        largest = float(np.max(np.abs(hessians - self.mean_hessian)))
        return largest <= 1e-13 * max(float(np.max(np.abs(self.mean_hessian))), TINY)

    def sample_hessians(self) -> Array:
        """Return the N sample Hessians, shape (N, d, d)."""
        if self.hessians is not None:
            return self.hessians
        assert self.features is not None
        return self.features[:, :, None] * self.features[:, None, :]

    @cached_property
    def _pair_table(self) -> Array:
        """E[δH_ik δH_jl] / B as an array [i, j, k, l]."""
        centred = self.sample_hessians() - self.mean_hessian
        d = self.dimension
        flat = centred.reshape(self.count, d * d)
        table = (flat.T @ flat / (self.count * self.batch_size)).reshape(d, d, d, d)
        return np.ascontiguousarray(table.transpose(0, 2, 1, 3))

    @cached_property
    def _cross_table(self) -> Array:
        """E[δH_ik δg_j] / B as an array [i, j, k]."""
        d = self.dimension
        flat = (self.sample_hessians() - self.mean_hessian).reshape(self.count, d * d)
        centred = self.gradients - self.gradients.mean(axis=0)
        table = (flat.T @ centred / (self.count * self.batch_size)).reshape(d, d, d)
        return np.ascontiguousarray(table.transpose(0, 2, 1))

    def quadratic(self, second: Array) -> Array:
        """Return Σ_i δH_i X δH_iᵀ / (N B)."""
        if self.dimension <= _TABULATE_UP_TO:
            return np.einsum("ijkl,...kl->...ij", self._pair_table, second)
        mean = self.mean_hessian
        if self.features is not None:
            weights = np.einsum("ni,...ij,nj->...n", self.features, second, self.features, optimize=True)
            raw = np.einsum("ni,...n,nj->...ij", self.features, weights / self.count, self.features, optimize=True)
        else:
            assert self.hessians is not None
            raw = np.einsum("nik,...kl,njl->...ij", self.hessians, second, self.hessians / self.count, optimize=True)
        return (raw - mean @ second @ mean.T) / self.batch_size

    def cross(self, mean: Array) -> Array:
        """Return Σ_i δH_i m δg_iᵀ / (N B)."""
        if self.dimension <= _TABULATE_UP_TO:
            return np.einsum("ijk,...k->...ij", self._cross_table, mean)
        if self.features is not None:
            moved = np.einsum("ni,nj,...j->...ni", self.features, self.features, mean, optimize=True)
        else:
            assert self.hessians is not None
            moved = np.einsum("nij,...j->...ni", self.hessians, mean, optimize=True)
        centred = self.gradients - self.gradients.mean(axis=0)
        return np.swapaxes(moved, -1, -2) @ centred / (self.count * self.batch_size)

    def mean_covariance(self, weight: Array | float, mean: Array, second: Array) -> Array:
        """Return it as Σ_i E[r_i²] x_i x_iᵀ / (NB) less E[ḡḡᵀ]/B for least squares, r_i = x_iᵀθ − y_i: two products."""
        if self.features is None or self.targets is None or mean.ndim > 1 or self.dimension <= _TABULATE_UP_TO:
            return super().mean_covariance(weight, mean, second)
        from scipy.linalg.blas import dtrmm

        x, y, h, g = self.features, self.targets, self.mean_hessian, self.gradients.mean(axis=0)
        # xᵀMx = 2 xᵀTx with T the lower half of M: a triangle costs half of a product.
        triangle = np.tril(second)
        np.fill_diagonal(triangle, second.diagonal() / 2)
        along = dtrmm(2.0, triangle.T, x.T, lower=0).T
        squares = np.einsum("ni,ni->n", along, x) - 2 * y * (x @ mean) + float(weight) * y**2
        moved = h @ mean
        own = h @ second @ h + np.outer(moved, g) + np.outer(g, moved) + float(weight) * np.outer(g, g)
        if squares.min() >= 0:
            scaled = x * np.sqrt(squares / self.count)[:, None]
            total = scaled.T @ scaled  # likewise a product with its own transpose
        else:
            total = (x * (squares / self.count)[:, None]).T @ x
        return (total - own) / self.batch_size

    def axis_moments(self, axes: Array) -> AxisMoments | None:
        """Return them for least squares of many parameters."""
        if self.features is None or self.targets is None or self.dimension <= _TABULATE_UP_TO:
            return None
        from dfp_solvers import least_squares

        features, targets = (axes.T @ self.features.T).T, self.targets  # in the order of BLAS

        def moments(rate: float, *motion: Any) -> tuple[Array, Array]:
            return least_squares.moments(features, targets, rate**2 / self.batch_size, *motion)

        return moments

    def covariance(self, theta: Array) -> Array:
        """Return C(θ) (T3), shape (..., d, d); at a single point from the samples' own gradients.

        Near a common minimum those are small, while the terms of the quadratic form in θ only cancel.
        """
        if theta.ndim > 1:
            return super().covariance(theta)
        gradients = self.sample_gradients(theta)
        centred = gradients - gradients.mean(axis=0)
        return centred.T @ centred / (self.count * self.batch_size)

    def variances(self, axes: Array) -> Array:
        """Return the variances of g̃ along ``axes`` (d, k), shape (k,); those that are rounding are zero."""
        centred = self.gradients - self.gradients.mean(axis=0)
        along: Array = np.mean((centred @ axes) ** 2, axis=0)
        limit = (16 * np.finfo(float).eps) ** 2 * float(np.mean(np.sum(self.gradients**2, axis=1)))
        return np.where(along > limit, along, 0.0) / self.batch_size

    def sample_gradients(self, theta: Array) -> Array:
        """Return g_i(θ) of every sample at ``theta`` (d,), shape (N, d)."""
        if self.features is not None and self.targets is not None:
            return self.features * (self.features @ theta - self.targets)[:, None]
        return self.sample_hessians() @ theta + self.gradients

    def with_batch_size(self, batch_size: int) -> Self:
        """Return the law of minibatches of ``batch_size`` samples of the same data."""
        return replace(self, batch_size=batch_size)

    @property
    def deviations(self) -> tuple[Array, Array]:
        """H_i − H, shape (N, d, d), and g_i − g, shape (N, d)."""
        return self.sample_hessians() - self.mean_hessian, self.gradients - self.gradients.mean(axis=0)

    def sample_deviations(self, theta: Array) -> Array:
        """Return g_i(θ) − ḡ(θ) of every sample at ``theta`` (..., d), shape (..., N, d)."""
        centred, gradients = self.deviations
        return np.einsum("nij,...j->...ni", centred, theta, optimize=True) + gradients

    def increments(self, theta: Array, rng: np.random.Generator) -> Array:
        """Return the averages of minibatches drawn with replacement, one for each place."""
        chosen = rng.integers(0, self.count, (len(theta), self.batch_size))
        if self.features is not None and self.targets is not None and self.dimension > _TABULATE_UP_TO:
            rows = self.features[chosen]
            left = np.einsum("nbj,nj->nb", rows, theta) - self.targets[chosen]
            mean = theta @ self.mean_hessian + self.gradients.mean(axis=0)
            return np.einsum("nb,nbi->ni", left, rows) / self.batch_size - mean
        centred, gradients = self.deviations
        parts = -(-chosen.size * self.dimension**2 // _MOST_HELD)  # of the Hessians of all minibatches
        moved = [
            np.einsum("nbij,nj->ni", centred[some], places)
            for some, places in zip(np.array_split(chosen, parts), np.array_split(theta, parts), strict=True)
        ]
        return np.concatenate(moved) / self.batch_size + gradients[chosen].mean(axis=1)

    def cumulants(self, highest: int) -> list[Array | None]:
        """Return the cumulants of one sample over B², B³ of the average."""
        d, batch, one = self.dimension, self.batch_size, (self.dimension, self.dimension + 1)
        centred, gradients = self.deviations
        flat = np.concatenate([gradients[:, :, None], centred], axis=2).reshape(self.count, -1)
        pairs = (flat[:, :, None] * flat[:, None, :]).reshape(self.count, -1)
        third = (pairs.T @ flat / self.count).reshape(one * 3) / batch**2
        found: list[Array | None] = [third.transpose(0, 2, 4, 1, 3, 5)]
        if highest > 3:
            raw = (pairs.T @ pairs / self.count).reshape((d, d + 1) * 4)
            two = (flat.T @ flat / self.count).reshape(one * 2)
            split = (
                np.einsum("iajb,kcld->iajbkcld", two, two)
                + np.einsum("iakc,jbld->iajbkcld", two, two)
                + np.einsum("iald,jbkc->iajbkcld", two, two)
            )
            found.append(((raw - split) / batch**3).transpose(0, 2, 4, 6, 1, 3, 5, 7))
        return found

    def line_cumulants(self, highest: int) -> list[Array]:
        """Return those of one sample over B^{k−1}, of any order k."""
        from dfp_solvers import raw_moments

        slopes, constants = (part.ravel() for part in self.deviations)
        single = raw_moments.to_cumulants(raw_moments.affine_moments(slopes, constants, highest))
        return [part / self.batch_size ** (k - 1) for k, part in enumerate(single[1:], start=2)]

    def draw_moments(self, theta: Array, matrix: Array, degree: int) -> tuple[Array, int]:
        """Return those of a sample over B, and B."""
        from dfp_solvers import hermite

        turn, parts = matrix.T / self.batch_size, -(-theta.size * self.count // _MOST_HELD)
        found = [hermite.sample_moments(self.sample_deviations(p) @ turn, degree) for p in np.array_split(theta, parts)]
        return np.concatenate(found, axis=1), self.batch_size

    def characteristic(self, waves: Array, theta: Array | None = None) -> Any:
        """Return [(1/N) Σ_i e^{ik·(g_i − ḡ)/B}]^B (theory page, section 5)."""
        if theta is not None and self.dimension == 1 and waves.ndim == 2 and _equally_spaced(waves[:, 0]):
            from dfp_solvers.transfer.characteristic import finite_sum

            centred, gradients = (np.ascontiguousarray(part.ravel()) for part in self.deviations)
            return finite_sum(theta[:, 0], waves[:, 0], 0.0, centred, gradients, -1.0, self.batch_size)
        if theta is None:
            return self.loaded_characteristic(waves, np.eye(self.dimension))
        if self.dimension > 1:
            from dfp_solvers import fourier
            from dfp_solvers.transfer import spectral

            steps = spectral.steps_of(waves)
            if steps is not None:
                turn, (centred, gradients) = steps / self.batch_size, self.deviations
                slopes, shifts = turn @ centred, gradients @ turn.T
                if self.dimension == 2:
                    return spectral.finite_sum(theta, slopes, shifts, self.batch_size, waves.shape[:2])
                counts = spectral.counts_of(waves)
                averages = [fourier.sample_average(counts, slopes @ place + shifts) for place in theta]
                return fourier.power(np.array(averages), self.batch_size)
        total = np.zeros((len(theta), *waves.shape[:-1]), dtype=np.complex128)
        for deviation in np.swapaxes(self.sample_deviations(theta), 0, 1) / self.batch_size:
            total += np.exp(1j * np.moveaxis(waves @ deviation.T, -1, 0))
        return (total / self.count) ** self.batch_size

    def loaded_characteristic(self, waves: Array, load: Array, theta: Array | None = None) -> Any:
        """Return it; of fewer waves than parameters from what every sample is along them, as products of matrices."""
        from dfp_solvers import fourier

        if theta is None or waves.shape[-1] == self.dimension:
            return super().loaded_characteristic(waves, load, theta)
        centred, gradients = self.deviations
        slopes, shifts = (load / self.batch_size) @ centred, gradients @ load.T / self.batch_size
        averages = [fourier.sample_average(waves, slopes @ place + shifts) for place in theta]
        return fourier.power(np.array(averages), self.batch_size)

    def wave_characteristic(self, wave: Array, centre: Array, axes: Array, lattice: list[Array]) -> Any:
        """Return it from the places of a tensor lattice, on which the phases of samples are products over the axes."""
        from dfp_solvers import fourier

        centred, gradients = self.deviations
        slopes = wave @ centred / self.batch_size
        factors = np.exp(1j * (slopes @ centre + gradients @ wave / self.batch_size))
        nodes = np.stack(np.meshgrid(*lattice, indexing="ij"), axis=-1)
        return fourier.power(fourier.sample_average(nodes, slopes @ axes, factors), self.batch_size)

    def projected(self, loads: Array) -> Array:
        """Return the deviations of all samples along ``loads`` (d, k), shape (N, k)."""
        return (self.gradients - self.gradients.mean(axis=0)) @ loads

    def projected_covariance(self, part: Array) -> Array:
        """Return the covariance of the average of B samples."""
        return part.T @ part / (len(part) * self.batch_size)

    def projected_characteristic(self, waves: Array, part: Array) -> Any:
        """Return that of the average of B samples: waves on a tensor grid stay on it."""
        from dfp_solvers import fourier

        return fourier.power(fourier.sample_average(waves, part / self.batch_size), self.batch_size)

    def minibatch_count(self, *, replace: bool = True) -> float:
        """Return the number of multisets of B samples, or of sets without replacement."""
        # A float that is finite, also where the number has more digits than any float.
        return float(min(minibatches.number(self.count, self.batch_size, replace=replace), 10**300))

    def minibatches(self, *, replace: bool = True) -> Minibatches:
        """Return every multiset of B samples or, without replacement, every set, with its probability."""
        chosen, weights = minibatches.choices(self.count, self.batch_size, replace=replace)
        return Minibatches(
            weights, self.sample_hessians()[chosen].mean(axis=1), self.gradients[chosen].mean(axis=1), chosen
        )

    @property
    def characteristic_cost(self) -> float:
        """Some products of matrices with a row for each sample."""
        return 1.0 + self.count / 200

    @property
    def choice_entropy(self) -> float:
        """Entropy of the multiset of samples in a minibatch, or the largest possible if there are very many."""
        number = minibatches.number(self.count, self.batch_size)
        if number > _MOST_SUMMED:
            return log(number)
        weights = minibatches.choices(self.count, self.batch_size)[1]
        return float(-np.sum(weights * np.log(np.where(weights > 0, weights, 1.0))))

    def trajectory_model(self, kept: Array, hessian: Array, gradient: Array, rate: float) -> Any:
        """Return the compiled model of minibatches of samples."""
        from dfp_solvers.trajectories import models

        # The samples bring their own Hessians, so that weight decay is what is left.
        linear, constant = kept - rate * (hessian - self.mean_hessian), np.zeros(self.dimension)
        if self.features is not None and self.targets is not None:
            return models.RegressionModel(linear, constant, self.features, self.targets, rate, self.batch_size)
        return models.SampleModel(linear, constant, self.sample_hessians(), self.gradients, rate, self.batch_size)

    def curvature_samples(self, direction: Array) -> Array:
        """Return vᵀH_iv of every sample, shape (N,)."""
        if self.features is not None:
            return (self.features @ direction) ** 2
        return np.einsum("i,nij,j->n", direction, self.sample_hessians(), direction, optimize=True)

    def entry_variances(self, axes: Array) -> Array:
        """Return the variances over the samples of v_iᵀH_nv_k, over B."""
        if self.features is not None:
            along = self.features @ axes
            squares = along**2
            found: Array = squares.T @ squares / self.count - (along.T @ along / self.count) ** 2
        else:
            found = np.var(axes.T @ self.sample_hessians() @ axes, axis=0)
        return np.maximum(found, 0.0) / self.batch_size

    def sampled_exponent(
        self, hessian: Array, step: "OptimiserStep", steps: int, seed: int, axes: Array, settling: "Settling"
    ) -> tuple[float, float]:
        """Return it from minibatches drawn with replacement."""
        from dfp_solvers.trajectories import products

        table = self.features @ axes if self.features is not None else axes.T @ self.sample_hessians() @ axes
        decay = float(np.trace(hessian - self.mean_hessian)) / self.dimension
        return products.samples_exponent(
            table, step, self.batch_size, steps, seed, weight_decay=decay, settling=settling
        )


@dataclass(frozen=True, eq=False, repr=False)
class SharedHessianLaw(FiniteSumLaw):
    """Additive noise of minibatches of samples that share one Hessian, diagonal (d,) or (d, d)."""

    shared: Array | None = None

    @cached_property
    def additive(self) -> bool:
        """Whether all samples share one Hessian: they do."""
        return True

    @cached_property
    def mean_hessian(self) -> Array:
        """The Hessian of every sample, shape (d, d)."""
        assert self.shared is not None
        return np.diag(self.shared) if self.shared.ndim == 1 else self.shared

    def sample_hessians(self) -> Array:
        """Return it N times, shape (N, d, d), a view."""
        return np.broadcast_to(self.mean_hessian, (self.count, self.dimension, self.dimension))

    @property
    def dimension(self) -> int:
        """Number of parameters d."""
        return int(self.gradients.shape[1])

    def quadratic(self, second: Array) -> Array:
        """Return zero: H̃ = 0."""
        return np.zeros_like(second)

    def cross(self, mean: Array) -> Array:
        """Return zero: H̃ = 0."""
        return np.zeros((*mean.shape, self.dimension))

    def increments(self, theta: Array, rng: np.random.Generator) -> Array:
        """Return the averages of minibatches drawn with replacement, one for each place."""
        chosen = rng.integers(0, self.count, (len(theta), self.batch_size))
        centred: Array = self.gradients - self.gradients.mean(axis=0)
        return centred[chosen].mean(axis=1)


def _equally_spaced(waves: Array) -> bool:
    """Return whether ``waves`` (m,) are 0, k, 2k, …"""
    step = waves[1] if waves.size > 1 else 0.0
    return bool(step != 0 and np.max(np.abs(waves - step * np.arange(waves.size))) <= 1e-12 * abs(waves[-1]))
