"""Noise of minibatches: a finite sum of samples (H_i, g_i), drawn with replacement (T13)."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from dfp.checks import TINY, Array
from dfp.problem.noise import NoiseLaw

# Up to this dimension E[δH ⊗ δH] is tabulated once (d⁴ numbers), so that steps do not touch the data.
_TABULATE_UP_TO = 12


@dataclass(frozen=True, eq=False)
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
    batch_size: int
    hessians: Array | None = None
    features: Array | None = None
    targets: Array | None = None

    gaussian = False

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
        spread = float(np.max(np.abs(hessians - self.mean_hessian)))
        return spread <= 1e-13 * max(float(np.max(np.abs(self.mean_hessian))), TINY)

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

    def sample_deviations(self, theta: Array) -> Array:
        """Return g_i(θ) − ḡ(θ) of every sample at ``theta`` (..., d), shape (..., N, d)."""
        centred = self.sample_hessians() - self.mean_hessian
        gradients = self.gradients - self.gradients.mean(axis=0)
        return np.einsum("nij,...j->...ni", centred, theta, optimize=True) + gradients
