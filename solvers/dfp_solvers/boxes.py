"""Boxes of cells: their centres, and the box and the spacing that densities near Gaussians ask for."""

import numpy as np

from dfp_solvers.arrays import Array
from dfp_solvers.jit import kernel


@kernel()
def around(mean: Array, covariance: Array, precision: Array, width: float, band: float) -> tuple[Array, Array, Array]:
    """Return the corners (d,) of the least box around S Gaussians, and the numbers of cells (d,) that resolve them.

    Parameters
    ----------
    mean, covariance
        Shapes (S, d) and (S, d, d).
    precision
        Diagonals (S, d) of the inverse covariances that set the spacing.
    width
        Half-width of the box in standard deviations of every axis.
    band
        Largest wave number in units of inverse conditional standard deviations.
    """
    d = mean.shape[1]
    lower, upper, finest = np.full(d, np.inf), np.full(d, -np.inf), np.zeros(d)
    for s in range(len(mean)):
        for i in range(d):
            reach = width * np.sqrt(covariance[s, i, i])
            lower[i], upper[i] = min(lower[i], mean[s, i] - reach), max(upper[i], mean[s, i] + reach)
            finest[i] = max(finest[i], precision[s, i])
    return lower, upper, np.ceil((upper - lower) * np.sqrt(finest) * band / np.pi)


@kernel()
def centres(lower: float, spacing: float, count: int) -> Array:
    """Return the centres (count,) of cells of one axis."""
    result = np.empty(count)
    for i in range(count):
        result[i] = lower + (i + 0.5) * spacing
    return result
