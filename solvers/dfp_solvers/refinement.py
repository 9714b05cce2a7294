"""Densities on finer grids, as smooth as figures need them: through their values, and positive where these are.

Splines of fifth order, of logarithms unless there are negative values: of a Gaussian they are exact. Where splines of
third order differ, as beside jumps, cells do not resolve the density: its values are left alone on a line, and joined
without overshoots in more dimensions, where contours would have corners.
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from dfp_solvers.arrays import Array

# Over the largest value: density that counts as none, negative values that are rounding, how much splines may differ.
_NONE, _ROUNDING, _RESOLVED = 1e-13, 1e-9, 0.01
# Cells of padding by which what is in view is surrounded, and the fewest cells along an axis of a spline.
_PADDING, _FEWEST = 2, 6
# Share of the peak at which smoothed histograms are still to be told from noise; the relative noise there.
_OUTER, _NOISE = 0.011, 0.12
# The widest smoothing, in deviations of a Gaussian of the same peak, and the narrowest that does anything, in cells.
_WIDEST, _NARROWEST = 0.3, 0.4


def refined(
    axes: Sequence[Array], values: Array, lower: Sequence[float], upper: Sequence[float], wanted: int
) -> tuple[list[Array], Array]:
    """Return places along each axis, some ``wanted`` or more in a box and no fewer than cells, and the density there.

    Parameters
    ----------
    axes
        Centres of the cells, evenly spaced [parameter].
    values
        The density in the cells, shape (n_1, …, n_d).
    lower, upper
        Corners of the box; centres in it are among the places, and some beyond it.
    """
    kept, factors = [], []
    for centres, low, high in zip(axes, lower, upper, strict=True):
        inside = np.flatnonzero((centres >= low) & (centres <= high))
        first, last = (inside[0], inside[-1]) if inside.size else (0, len(centres) - 1)
        kept.append(slice(max(first - _PADDING, 0), min(last + _PADDING + 1, len(centres))))
        factors.append(max(-(-wanted // (last - first + 1)), 1))
    coarse: list[Array] = [
        np.asarray(centres[part], dtype=np.float64) for centres, part in zip(axes, kept, strict=True)
    ]
    if max(factors) > 1 and min(values.shape) >= _FEWEST and np.all(np.isfinite(values)):
        indices = [
            np.arange(part.start * factor, (part.stop - 1) * factor + 1) / factor
            for part, factor in zip(kept, factors, strict=True)
        ]
        between = _between(values, np.meshgrid(*indices, indexing="ij"))
        if between is not None:
            fine: list[Array] = [
                np.linspace(part[0], part[-1], len(index)) for part, index in zip(coarse, indices, strict=True)
            ]
            return fine, between
    return coarse, values[tuple(kept)]


def _between(values: Array, places: Sequence[Array]) -> Array | None:
    """Return values at fractional indices by splines; None on a line that they do not resolve."""
    peak = float(values.max())
    if not peak > 0:
        return None
    positive = float(values.min()) >= -_ROUNDING * peak
    known = np.log(np.maximum(values, _NONE * peak)) if positive else values
    fifth, third = (ndimage.map_coordinates(known, places, order=order, mode="nearest") for order in (5, 3))
    if positive:
        with np.errstate(over="ignore"):
            fifth, third = np.exp(fifth), np.exp(third)
    if np.all(np.abs(fifth - third) <= _RESOLVED * peak):
        return fifth
    if values.ndim == 1:
        return None
    return np.clip(ndimage.map_coordinates(values, places, order=3, mode="nearest"), values.min(), peak)


def smoothed(histogram: Array, cell: float, count: int) -> Array:
    """Return a 2D histogram of ``count`` samples, in cells of volume ``cell``, by a kernel of fourth order.

    It keeps mass, mean and covariance, and is as wide as noise at a hundredth of the peak asks for, but not wider than
    a third of the density.
    """
    most = float(histogram.max()) * cell
    if not most > 0:
        return histogram
    width = np.sqrt(1 / (4 * np.pi * _NOISE**2 * _OUTER * most * count))
    width = min(width, _WIDEST / np.sqrt(2 * np.pi * most))
    if width < _NARROWEST:
        return histogram
    near, far = (ndimage.gaussian_filter(histogram, s, mode="constant") for s in (width, np.sqrt(2) * width))
    return np.maximum(2 * near - far, 0.0)
