"""What is asked of a law given by its density on a uniform grid: probabilities, quantiles, values between, samples.

A smooth density is the quintic spline through its values; a histogram (``steps``) is constant in every cell.
"""

from collections.abc import Sequence

import numpy as np
from scipy.interpolate import make_interp_spline
from scipy.ndimage import map_coordinates
from scipy.optimize import brentq

from dfp_solvers.arrays import Array


def box_probability(
    values: Array, axes: Sequence[Array], spacing: Array, lower: Array, upper: Array, *, steps: bool
) -> float:
    """Return the integral of ``values`` (n_1, …, n_d) over the box from ``lower`` to ``upper`` (d,), zero beyond.

    Along an axis that the box holds whole it is the sum over cells, by which mass and what is outside are known too.
    """
    for centres, width, a, b in reversed(list(zip(axes, spacing, lower, upper, strict=True))):
        first, last = centres[0] - width / 2, centres[-1] + width / 2
        edges = np.clip([a, b], first, last)
        if a <= first and b >= last:
            values = values.sum(axis=-1) * width
        elif steps:
            cumulative = np.concatenate(
                [np.zeros((*values.shape[:-1], 1)), np.cumsum(values, axis=-1) * width], axis=-1
            )
            place = (edges - first) / width
            cell = np.minimum(place.astype(int), len(centres) - 1)
            at = cumulative[..., cell] + (place - cell) * values[..., cell] * width
            values = at[..., 1] - at[..., 0]
        else:
            # Not through zeros beyond the cells: a law that a wall cuts does not fall there.
            spline = make_interp_spline(centres, values, k=min(5, len(centres) - 1 - len(centres) % 2), axis=-1)
            values = np.diff(spline.antiderivative()(edges), axis=-1)[..., 0]
    return float(values)


def quantile(values: Array, centres: Array, width: float, share: float, *, steps: bool) -> float:
    """Return where a 1D law, taken as one on its cells, has ``share`` below; what is negative counts as zero."""
    kept = np.maximum(values, 0.0)
    edges = np.concatenate([centres - width / 2, centres[-1:] + width / 2])
    cumulative = np.concatenate([[0.0], np.cumsum(kept)]) * width
    target = share * cumulative[-1]
    if not steps:
        pad = np.arange(1, 7) * width
        nodes = np.concatenate([centres[0] - pad[::-1], centres, centres[-1] + pad])
        below = make_interp_spline(nodes, np.pad(kept, len(pad)), k=5).antiderivative()
        start = float(below(edges[0]))
        target = share * (float(below(edges[-1])) - start)
        return float(brentq(lambda x: float(below(x)) - start - target, edges[0], edges[-1], xtol=1e-14 * width))
    cell = min(int(np.searchsorted(cumulative, target, side="left")), len(kept)) - 1
    cell = max(cell, 0)
    return float(edges[cell] + (target - cumulative[cell]) / max(kept[cell], np.finfo(float).tiny))


def interpolated(values: Array, lower: Array, spacing: Array, points: Array, *, steps: bool) -> Array:
    """Return the density at ``points`` (..., d), shape (...); zero outside the cells."""
    places = ((points - lower) / spacing - 0.5).reshape(-1, values.ndim).T
    sizes = np.array(values.shape)[:, None]
    inside = np.all((places >= -0.5) & (places <= sizes - 0.5), axis=0)
    order = 0 if steps else 5
    result: Array = np.where(inside, map_coordinates(values, places, order=order, mode="nearest"), 0.0)
    return result.reshape(points.shape[:-1])


def drawn(values: Array, lower: Array, spacing: Array, count: int, rng: np.random.Generator, *, steps: bool) -> Array:
    """Return ``count`` independent points, shape (count, d); negative values count as zero.

    A cell is drawn by its mass, and the place in it by a density that is constant (``steps``) or linear along each
    axis, which leaves errors of fourth order in the spacing in mean and covariance.
    """
    kept = np.maximum(values, 0.0)
    masses = kept.ravel()
    if not steps:  # mean of the cell, from its centre and its neighbours
        masses = kept.copy()
        for axis in range(kept.ndim):
            padded = np.pad(kept, [(1, 1) if k == axis else (0, 0) for k in range(kept.ndim)])
            masses += np.diff(padded, n=2, axis=axis) / 24
        masses = np.where(kept > 0, np.maximum(masses, 0.0), 0.0).ravel()
    cumulative = np.cumsum(masses)
    cells = np.searchsorted(cumulative, rng.random(count) * cumulative[-1], side="right")
    index = np.array(np.unravel_index(np.minimum(cells, masses.size - 1), kept.shape))
    inside = rng.random((kept.ndim, count))
    if steps:
        inside -= 0.5
    else:
        for axis in range(kept.ndim):
            padded = np.pad(kept, [(1, 1) if k == axis else (0, 0) for k in range(kept.ndim)])
            slope = (
                np.take(padded, range(2, padded.shape[axis]), axis) - np.take(padded, range(kept.shape[axis]), axis)
            ) / 2
            at = tuple(index)
            s = np.clip(slope[at] / np.maximum(kept[at], np.finfo(float).tiny), -2.0, 2.0)
            c = 0.5 - s / 8 - inside[axis]  # the root of s u²/2 + u + c = 0 in [−½, ½]
            inside[axis] = -2 * c / (1 + np.sqrt(np.maximum(1 - 2 * s * c, 0.0)))
    points: Array = lower + spacing * (index.T + 0.5 + inside.T)
    return points
