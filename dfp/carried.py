"""Moments as they are carried from step to step: linear in the density, so that every equation moves them linearly."""

from typing import NamedTuple

import numpy as np

from dfp.checks import Array


class Carried(NamedTuple):
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


def unpacked(flat: Array, d: int) -> Carried:
    """Return moments from one vector per entry of the leading axes, shape (..., 1 + d + 2d²)."""
    square = (*flat.shape[:-1], d, d)
    mass, mean, outer, covariance = np.split(flat, [1, 1 + d, 1 + d + d * d], axis=-1)
    return Carried(mass[..., 0], mean, outer.reshape(square), covariance.reshape(square))


def packed(at: Carried) -> Array:
    """Return moments as one vector per entry of the leading axes, shape (..., 1 + d + 2d²)."""
    square = (*at.mean.shape[:-1], -1)
    return np.concatenate(
        [at.mass[..., None], at.mean, at.outer.reshape(square), at.covariance.reshape(square)], axis=-1
    )


def transposed(matrix: Array) -> Array:
    """Return ``matrix`` with its last two axes exchanged."""
    return np.swapaxes(matrix, -1, -2)


def outer(left: Array, right: Array) -> Array:
    """Return the outer product of ``left`` (d,) with ``right`` (..., d), shape (..., d, d)."""
    result: Array = left[:, None] * right[..., None, :]
    return result
