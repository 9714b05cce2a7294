"""The workloads: what every contender computes, the exact answer and its distance, in NumPy alone.

Each is the Langevin form (T6) of one landscape with additive noise, from a Gaussian or to its stationary law; the
solution is then a Gaussian, which a contender must not make use of unless it says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


class Sampled(NamedTuple):
    """A density at points with quadrature weights, as a contender returns it."""

    points: Array
    """Shape (N, d)."""
    density: Array
    """Shape (N,)."""
    weights: Array
    """Volume of each point's cell, shape (N,)."""


class Gridded(NamedTuple):
    """A density on a uniform tensor grid; its points are made only when its error is computed."""

    axes: Sequence[Array]
    """One array per axis."""
    density: Array
    """Shape (n_1, …, n_d)."""

    def sampled(self) -> Sampled:
        """Return it as points with weights."""
        points = np.stack(np.meshgrid(*self.axes, indexing="ij"), axis=-1).reshape(-1, len(self.axes))
        volume = float(np.prod([axis[1] - axis[0] for axis in self.axes]))
        return Sampled(points, np.asarray(self.density, dtype=np.float64).ravel(), np.full(len(points), volume))


@dataclass(frozen=True)
class Workload:
    """∂_τ P = ∂_i((Hθ)_i P) + (η/2) C_ij ∂_i∂_j P (T6) on a box that the density does not leave."""

    name: str
    title: str
    hessian: Array
    """H, shape (d, d)."""
    noise: Array
    """C, shape (d, d)."""
    mean: Array
    """Mean at τ = 0, shape (d,)."""
    covariance: Array
    """Covariance at τ = 0, shape (d, d)."""
    half_width: float
    """The box is [−half_width, half_width]^d."""
    time: float = 1.0
    """Slow time τ; infinite for the stationary law."""
    rate: float = 0.1
    """η."""

    @property
    def dimension(self) -> int:
        """Number of parameters d."""
        return len(self.mean)

    @property
    def steps(self) -> int:
        """Number of steps n = τ/η."""
        return round(self.time / self.rate)

    @property
    def diffusion(self) -> Array:
        """ηC/2, the tensor in front of the second derivatives, shape (d, d)."""
        return self.rate / 2 * self.noise

    def exact(self) -> tuple[Array, Array]:
        """Return mean (d,) and covariance (d, d) of the Gaussian solution at ``time``."""
        rates, vectors = np.linalg.eigh(self.hessian)
        pair = rates[:, None] + rates
        decay = np.exp(-rates * self.time)
        gained = vectors.T @ (2 * self.diffusion) @ vectors * -np.expm1(-pair * self.time) / pair
        start = vectors.T @ self.covariance @ vectors
        covariance: Array = vectors @ (decay[:, None] * start * decay + gained) @ vectors.T
        return vectors @ (decay * (vectors.T @ self.mean)), covariance

    def initial(self, points: Array) -> Array:
        """Return the density at τ = 0 at ``points`` (..., d)."""
        return gaussian(points, self.mean, self.covariance)

    def error(self, result: Sampled | Gridded) -> float:
        """Return the L1 distance of ``result`` from the exact density."""
        if isinstance(result, Gridded):
            result = result.sampled()
        difference = np.abs(result.density - gaussian(result.points, *self.exact()))
        return float(difference @ result.weights)

    def axes(self, cells: int, *, ends: bool = False) -> list[Array]:
        """Return per axis the centres of ``cells`` cells, or with ``ends`` the left ends (periodic grids)."""
        width = 2 * self.half_width / cells
        axis = -self.half_width + width * (np.arange(cells) + (0.0 if ends else 0.5))
        return [axis] * self.dimension


def gaussian(points: Array, mean: Array, covariance: Array) -> Array:
    """Return the Gaussian density at ``points`` (..., d)."""
    shifted = points - mean
    form = np.einsum("...i,ij,...j->...", shifted, np.linalg.inv(covariance), shifted)
    return np.exp(-0.5 * form) / np.sqrt(np.linalg.det(2 * np.pi * covariance))


def _rotated(degrees: float, eigenvalues: list[float]) -> Array:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    rotation = np.array([[c, -s], [s, c]])
    return rotation @ np.diag(eigenvalues) @ rotation.T


_PLANE = (_rotated(30.0, [1.0, 0.05]), np.array([[1.0, 0.3], [0.3, 0.5]]), np.array([0.4, 0.3]), 0.09 * np.eye(2))

WORKLOADS = {
    w.name: w
    for w in (
        Workload("W1", "1D", np.eye(1), np.eye(1), np.array([1.0]), 0.04 * np.eye(1), 2.0),
        Workload("W2", "2D, rotated, full noise", *_PLANE, 3.0),
        Workload("W3", "3D", np.diag([1.0, 0.3, 0.01]), np.eye(3), np.full(3, 0.25), 0.09 * np.eye(3), 2.6),
        Workload("W5", "stationary law of W2", *_PLANE, 4.5, np.inf),
    )
}
"""By name; W4 (Monte Carlo) is in ``throughput``, W6 (the machine) in ``machine``."""

TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-6, 1e-10)
"""L1 errors at which times are compared."""
