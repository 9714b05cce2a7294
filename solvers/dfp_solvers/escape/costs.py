"""What a step of a path costs: the price of the noise it needs, for SGD (T24) and for its Langevin limit.

A path θ_0, …, θ_N has the probability exp(−Σ L(θ_n, θ_{n+1})) to leading order in small noise, where L is the square of
the noise it takes, in units of its covariance. SGD takes its drift and noise where a step begins; the Langevin equation
is read at the middle of a short time, which errs in second order.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from dfp_solvers.arrays import Array


class Fields(Protocol):
    """A landscape as numerics see it, at points (N, d)."""

    def gradient_at(self, theta: Array) -> Array:
        """Return ḡ, shape (N, d)."""

    def hessian_at(self, theta: Array) -> Array:
        """Return ∇ḡ, shape (N, d, d)."""

    def covariance_at(self, theta: Array) -> Array:
        """Return C, shape (N, d, d)."""

    def covariance_slopes(self, theta: Array) -> Array:
        """Return ∂_k C_ij, shape (N, d, d, d), k last."""


class Price(NamedTuple):
    """The costs (N,) of N steps, their derivatives by where each begins and ends, and the noise they need, (N, d)."""

    cost: Array
    by_start: Array
    by_end: Array
    noise: Array


@dataclass(frozen=True)
class StepCost:
    """(θ' − θ + ηḡ)ᵀ C⁻¹ (θ' − θ + ηḡ) / (2η²), ḡ and C at θ: the cost of a step of SGD (T24)."""

    fields: Fields
    learning_rate: float

    def moved(self, start: Array) -> Array:
        """Return where steps end without noise, shape (N, d)."""
        return start - self.learning_rate * self.fields.gradient_at(start)

    def spread(self, start: Array) -> Array:
        """Return the covariance η²C of a step, shape (N, d, d)."""
        return self.learning_rate**2 * self.fields.covariance_at(start)

    def __call__(self, start: Array, end: Array) -> Price:
        """Return the price of the steps from ``start`` to ``end``, both (N, d)."""
        noise = end - self.moved(start)
        force = _solved(self.spread(start), noise)
        slope = np.eye(start.shape[1]) - self.learning_rate * self.fields.hessian_at(start)
        louder = np.einsum("ni,nijk,nj->nk", force, self.fields.covariance_slopes(start), force)
        by_start = -np.einsum("nij,ni->nj", slope, force) - self.learning_rate**2 / 2 * louder
        return Price(np.sum(noise * force, axis=1) / 2, by_start, force, noise)


@dataclass(frozen=True)
class FlowCost:
    """|θ' − θ + δḡ|² in units of δηC, halved, ḡ and C at the middle: a time δ of the Langevin equation (T6)."""

    fields: Fields
    learning_rate: float
    time: float

    def __call__(self, start: Array, end: Array) -> Price:
        """Return the price of the steps from ``start`` to ``end``, both (N, d)."""
        middle = (start + end) / 2
        noise = end - start + self.time * self.fields.gradient_at(middle)
        scale = self.time * self.learning_rate
        force = _solved(scale * self.fields.covariance_at(middle), noise)
        turn = self.time / 2 * np.einsum("nij,ni->nj", self.fields.hessian_at(middle), force)
        louder = scale / 4 * np.einsum("ni,nijk,nj->nk", force, self.fields.covariance_slopes(middle), force)
        return Price(np.sum(noise * force, axis=1) / 2, turn - force - louder, force + turn - louder, noise)


def _solved(matrices: Array, vectors: Array) -> Array:
    """Return M⁻¹v for each of N; LAPACK is slow where all it does is divide."""
    if vectors.shape[1] == 1:
        return vectors / matrices[:, 0]
    return np.linalg.solve(matrices, vectors[..., None])[..., 0]
