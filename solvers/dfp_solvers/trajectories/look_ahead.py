"""Look-ahead estimates of densities: the one-step kernel, Gaussian given θ, averaged over samples of the step before.

Its expectation is the density of the next step, whatever the samples' number, and it is as smooth as a step.
"""

import math

import numba
import numpy as np

from dfp_solvers.arrays import Array
from dfp_solvers.jit import kernel
from dfp_solvers.trajectories.models import GaussianModel

_REACH = 75.0
"""−2 log of what is left out, relative to the peak of a kernel: 5e-17."""


def conditional(model: GaussianModel, theta: Array) -> tuple[Array, Array]:
    """Return mean (N, d) and covariance (N, d, d) of the next step given ``theta`` (N, d)."""
    noise, d = model.noise(), model.dimension
    mean = theta @ np.asarray(model.linear, dtype=float).T + np.asarray(model.constant, dtype=float)
    loads = np.einsum("acn,kc->kan", noise[:, :d], theta) + noise[:, d]
    return mean, loads @ np.swapaxes(loads, 1, 2)


@kernel()
def _along(values: Array, weight: float, curvature: float, at: float) -> None:
    """Add ``weight`` exp(−½ a (i − at)²) to ``values`` (n,), i their index and a the ``curvature``.

    By ratios, from the cell nearest to the peak to both sides: they err by rounding times the square of the distance.
    """
    n = len(values)
    middle = min(max(math.floor(at + 0.5), 0), n - 1)
    apart, factor = middle - at, math.exp(-curvature)
    begun = weight * math.exp(-0.5 * curvature * apart * apart)
    most = min(n, middle + 1 + int(math.sqrt(_REACH / curvature)) + 1)
    value, ratio = begun, math.exp(-curvature * (apart + 0.5))
    for i in range(middle, most):
        values[i] += value
        value *= ratio
        ratio *= factor
    least = max(-1, middle - 2 - int(math.sqrt(_REACH / curvature)))
    ratio = math.exp(curvature * (apart - 0.5))
    value = begun * ratio
    for i in range(middle - 1, least, -1):
        ratio *= factor
        values[i] += value
        value *= ratio


@kernel(parallel=True)
def _add(mean: Array, precision: Array, peak: Array, lower: Array, spacing: Array, values: Array) -> None:
    """Add the Gaussians to ``values`` (n_1, n_2, n_3), one after the other in every cell, whatever the threads.

    ``mean`` (N, 3) and ``precision`` (N, 3, 3) of three axes; ``peak`` (N,) the densities there. The exponent is
    quadratic along the last axis, about a place that moves with the others.
    """
    for first in numba.prange(values.shape[0]):
        for k in range(len(mean)):
            p, x = precision[k], lower[0] + (first + 0.5) * spacing[0] - mean[k, 0]
            for second in range(values.shape[1]):
                y = lower[1] + (second + 0.5) * spacing[1] - mean[k, 1]
                slope = p[0, 2] * x + p[1, 2] * y
                shift = -slope / p[2, 2]
                form = p[0, 0] * x * x + 2 * p[0, 1] * x * y + p[1, 1] * y * y - slope * slope / p[2, 2]
                if form < _REACH:
                    at = (mean[k, 2] + shift - lower[2]) / spacing[2] - 0.5
                    curvature = p[2, 2] * spacing[2] * spacing[2]
                    _along(values[first, second], peak[k] * math.exp(-0.5 * form), curvature, at)


def add(model: GaussianModel, theta: Array, lower: Array, spacing: Array, values: Array) -> None:
    """Add the densities of the next step given each of ``theta`` (N, d), d <= 3, at the centres of cells.

    Parameters
    ----------
    model
        Of one step.
    theta
        Samples before it.
    lower, spacing
        Of the grid, shapes (d,).
    values
        What they are added to, in place, shape (n_1, …, n_d).

    Raises
    ------
    numpy.linalg.LinAlgError
        If a kernel has no density: its noise does not reach all directions.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        mean, covariance = conditional(model, theta)
    known = np.isfinite(mean).all(axis=1) & np.isfinite(covariance).all(axis=(1, 2))  # others are outside every grid
    mean, covariance = mean[known], covariance[known]
    d = mean.shape[1]
    root = np.linalg.cholesky(covariance)
    if not np.all(root.diagonal(axis1=1, axis2=2) > 1e-10 * np.sqrt(np.trace(covariance, axis1=1, axis2=2))[:, None]):
        raise np.linalg.LinAlgError("a kernel is singular")
    peak = (2 * np.pi) ** (-d / 2) / np.prod(root.diagonal(axis1=1, axis2=2), axis=1)
    # Axes that are not there have one cell, at the mean.
    means, precision = np.zeros((len(mean), 3)), np.tile(np.eye(3), (len(mean), 1, 1))
    means[:, 3 - d :], precision[:, 3 - d :, 3 - d :] = mean, np.linalg.inv(covariance)
    begin, step = np.full(3, -0.5), np.ones(3)
    begin[3 - d :], step[3 - d :] = lower, spacing
    _add(means, precision, peak, begin, step, values.reshape((1,) * (3 - d) + values.shape))
