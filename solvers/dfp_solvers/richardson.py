"""Richardson extrapolation: values on cells of width h, 2h, 4h of one box, whose errors are c₂h² + c₄h⁴ + …

Two lattices remove c₂; with the third c₄ goes too, and its size tells the error. Corrections are taken where coarser
values are, and only they are interpolated, so that interpolation adds no error of the order removed. They are cut to
half the value they correct, which keeps signs and matters only far out in tails, where coarse values mean nothing.
"""

import numpy as np

from dfp_solvers import lattice
from dfp_solvers.arrays import Array

# Estimates of order two, one and four are multiplied by these, to bound the error before it settles.
_SECOND, _FIRST, _FOURTH = 1.5, 2.0, 2.0
_POINTS = 6


def nested(cells: tuple[int, ...]) -> bool:
    """Tell whether so many cells per axis can be halved twice, with enough of them left."""
    return all(n % 4 == 0 and n >= 16 for n in cells)


def regridded(values: Array, cells: tuple[int, ...]) -> Array:
    """Return densities interpolated from the centres of their cells to those of ``cells`` of the same box."""
    pairs = zip(values.shape, cells, strict=True)
    return lattice.apply([lattice.regridding(*pair, _POINTS) for pair in pairs], values)


def corrected(fine: Array, difference: Array, factor: float) -> Array:
    """Return ``fine`` plus ``factor`` times a ``difference`` known on coarser cells."""
    half = np.abs(fine) / 2
    return fine + np.minimum(np.maximum(regridded(difference, fine.shape) * factor, -half), half)


def best(levels: list[Array], first_order: float) -> tuple[Array, float]:
    """Return the best values on the finest cells and their mean absolute error, estimated.

    Parameters
    ----------
    levels
        Densities, from fine to coarse: two, or three of ``nested`` cells, which are then extrapolated unless that helps
        nothing.
    first_order
        The share of the mass, in [0, 1], where rates are upwinded, so that errors are of order one.
    """
    fine, coarse = levels[0], levels[1]
    second = regridded(fine, coarse.shape) - coarse
    apart = float(np.abs(second).sum()) / second.size
    ratio = min(m / n for m, n in zip(fine.shape, coarse.shape, strict=True))
    plain = apart * (_SECOND * (1 - first_order) / (ratio**2 - 1) + _FIRST * first_order / (ratio - 1))
    if len(levels) < 3:
        return fine, plain
    coarser = regridded(coarse, levels[2].shape) - levels[2]
    better, worse = corrected(fine, second, 1 / 3), corrected(coarse, coarser, 1 / 3)
    fourth = regridded(better, coarse.shape) - worse
    size = float(np.abs(fourth).sum()) / fourth.size
    # Orders show where the second correction is much smaller than the first; an error of order one is not removed.
    left = size * _FOURTH / 15 * (1 + 3 * size / max(apart, 1e-300)) + apart * first_order * _FIRST
    return (corrected(better, fourth, 1 / 15), left) if left < plain else (fine, plain)
