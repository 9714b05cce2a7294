"""Sums and extremes of gridded densities in one compiled pass, so that looking at a density costs less than making it.

Sums are taken over blocks first: rounding then grows with the number of blocks and not of cells.
"""

import math

import numpy as np

from dfp_solvers.arrays import Array
from dfp_solvers.jit import kernel

_BLOCK = 128
_TINY = float(np.finfo(np.float64).tiny)


@kernel()
def extremes(values: Array) -> tuple[float, float, float, float]:
    """Return the sum of flat ``values`` (n,), the smallest, the largest, and the sum of the negative ones."""
    total, negative, lowest, highest = 0.0, 0.0, np.inf, -np.inf
    for begin in range(0, len(values), _BLOCK):
        part = 0.0
        for i in range(begin, min(begin + _BLOCK, len(values))):
            part += values[i]
            lowest, highest = min(lowest, values[i]), max(highest, values[i])
            if values[i] < 0:
                negative += values[i]
        total += part
    return total, lowest, highest, negative


@kernel(fast=True)
def _weighted(weights: Array, places: Array, centre: float, power: int) -> float:
    """Return Σ_i w_i (x_i − centre)^power for ``power`` 1 or 2."""
    total = 0.0
    for begin in range(0, len(weights), _BLOCK):
        part = 0.0
        for i in range(begin, min(begin + _BLOCK, len(weights))):
            shifted = places[i] - centre
            part += weights[i] * (shifted if power == 1 else shifted * shifted)
        total += part
    return total


@kernel()
def line_moments(weights: Array, places: Array) -> tuple[float, float, float]:
    """Return the sum of ``weights`` (n,) at ``places`` (n,), their mean and their variance about it."""
    total = extremes(weights)[0]
    # About a place near the mean, so that nothing large cancels.
    middle = places[len(places) // 2]
    mean = middle + _weighted(weights, places, middle, 1) / total
    return total, mean, _weighted(weights, places, mean, 2) / total


@kernel()
def edge_amplitude(waves: Array, values: Array) -> float:
    """Return the largest |Σ_i values_i e^{−ikx_i}| of m waves, whose real and imaginary parts are ``waves`` (2m, n)."""
    largest = 0.0
    for wave in range(0, len(waves), 2):
        real, imaginary = 0.0, 0.0
        for i in range(len(values)):
            real += waves[wave, i] * values[i]
            imaginary += waves[wave + 1, i] * values[i]
        largest = max(largest, np.hypot(real, imaginary))
    return largest


@kernel()
def _worse(error: float, difference: float, scale: float) -> float:
    """Return the larger of ``error`` and |difference| / scale; 0/0 counts as no error, and NaN is kept."""
    if difference == 0:
        return error
    ratio = abs(difference) / scale
    return ratio if ratio > error or np.isnan(ratio) else error


@kernel()
def largest_ratio(difference: Array, scale: Array) -> float:
    """Return the largest |difference| / scale of flat arrays (n,)."""
    error = 0.0
    for i in range(len(difference)):
        error = _worse(error, difference[i], scale[i])
    return error


@kernel()
def moment_errors(mean: Array, covariance: Array, exact_mean: Array, exact_covariance: Array) -> tuple[float, float]:
    """Return the largest error of a mean (d,) in standard deviations σ_i, and of a covariance (d, d) in σ_i σ_j."""
    d = len(mean)
    first, second, deviation = 0.0, 0.0, np.empty(d)
    for i in range(d):
        deviation[i] = np.sqrt(max(exact_covariance[i, i], _TINY))
    for i in range(d):
        first = _worse(first, mean[i] - exact_mean[i], deviation[i])
        for j in range(d):
            second = _worse(second, covariance[i, j] - exact_covariance[i, j], deviation[i] * deviation[j])
    return first, second


@kernel()
def gaussian_beyond(lower: Array, upper: Array, mean: Array, covariance: Array) -> float:
    """Return the mass of a Gaussian below ``lower`` or above ``upper`` (d,), summed over the axes."""
    total = 0.0
    for i in range(len(mean)):
        deviation = np.sqrt(2 * max(covariance[i, i], _TINY))
        total += math.erfc((upper[i] - mean[i]) / deviation) / 2 + math.erfc((mean[i] - lower[i]) / deviation) / 2
    return total
