"""Closed forms for affine dynamics with additive noise: any number of steps at the cost of one.

In the eigenbasis of the mean Hessian every entry moves on its own: means by powers a_iⁿ or exponentials e^{−a_i τ},
noise covariances by geometric sums of them (T10, T14, T15). Compiled, because a density of one parameter takes less
time than the calls of NumPy that this would need.
"""

import math

import numpy as np
from numpy.typing import NDArray

from dfp_solvers.arrays import Array
from dfp_solvers.jit import kernel

AffineTransition = tuple[Array, Array, Array]


@kernel()
def _power(ratio: float, n: int) -> float:
    """Return ratioⁿ; ``n`` may be too large for its parity to survive in a float."""
    size = math.pow(abs(ratio), n)
    return -size if ratio < 0 and n % 2 == 1 else size


@kernel()
def geometric_sum(x: float, n: int) -> float:
    """Return Σ_{s<n} (1−x)^s, without cancellation for small x, for any x and n >= 0."""
    if x == 0 or n == 0:
        return float(n)
    if x < 1:
        return -math.expm1(n * math.log1p(-x)) / x
    return (1.0 - _power(1.0 - x, n)) / x


@kernel()
def exponential_sum(x: float, time: float) -> float:
    """Return ∫₀ᵗ e^{−xs} ds for any x and time >= 0."""
    return time if x == 0 else -math.expm1(-x * time) / x


@kernel()
def moments(transition: AffineTransition, mean: Array, covariance: Array) -> tuple[Array, Array]:
    """Return means (S, d) and covariances (S, d, d) after a ``transition`` from a mean (d,) and a covariance (d, d)."""
    factor, shift, noise = transition
    means, covariances = np.empty_like(shift), np.empty_like(noise)
    for s in range(len(factor)):
        for i in range(len(mean)):
            means[s, i] = factor[s, i] * mean[i] + shift[s, i]
            for j in range(len(mean)):
                covariances[s, i, j] = factor[s, i] * covariance[i, j] * factor[s, j] + noise[s, i, j]
    return means, covariances


@kernel()
def map_transition(decay: Array, offset: Array, noise: Array, steps: NDArray[np.int64]) -> AffineTransition:
    """Return what ``steps`` (S,) steps θ' = (1−decay)θ − offset + noise do: factor, shift and noise covariance.

    Parameters
    ----------
    decay, offset
        Shape (d,), in the eigenbasis: η λ_i and η g_i.
    noise
        Covariance of one step's noise in the eigenbasis, shape (d, d).

    Returns
    -------
    factor, shift
        Shape (S, d).
    noise
        Shape (S, d, d).
    """
    d = len(decay)
    factor, shift = np.empty((len(steps), d)), np.empty((len(steps), d))
    gained = np.empty((len(steps), d, d))
    for s in range(len(steps)):
        for i in range(d):
            factor[s, i] = _power(1 - decay[i], steps[s])
            shift[s, i] = -offset[i] * geometric_sum(decay[i], steps[s])
            for j in range(d):
                pair = decay[i] + decay[j] - decay[i] * decay[j]
                gained[s, i, j] = noise[i, j] * geometric_sum(pair, steps[s])
    return factor, shift, gained


@kernel()
def flow_transition(decay: Array, offset: Array, noise: Array, times: Array) -> AffineTransition:
    """Return what the time ``times`` (S,) of dθ = −(decay θ + offset) dt + dW does: factor, shift and noise covariance.

    Parameters
    ----------
    decay, offset
        Shape (d,), in the eigenbasis.
    noise
        Diffusion per unit of time in the eigenbasis, shape (d, d).

    Returns
    -------
    factor, shift
        Shape (S, d).
    noise
        Shape (S, d, d).
    """
    d = len(decay)
    factor, shift = np.empty((len(times), d)), np.empty((len(times), d))
    gained = np.empty((len(times), d, d))
    for s in range(len(times)):
        for i in range(d):
            factor[s, i] = math.exp(-decay[i] * times[s])
            shift[s, i] = -offset[i] * exponential_sum(decay[i], times[s])
            for j in range(d):
                gained[s, i, j] = noise[i, j] * exponential_sum(decay[i] + decay[j], times[s])
    return factor, shift, gained
