"""Closed forms for affine dynamics with additive noise: any number of steps at the cost of one.

In the eigenbasis of the mean Hessian every entry moves on its own: means by powers a_iⁿ or exponentials e^{−a_i τ},
noise covariances by geometric sums of them (T10, T14, T15).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


def geometric_sum(x: Array, n: int) -> Array:
    """Return Σ_{s<n} (1−x)^s elementwise, without cancellation for small x.

    Parameters
    ----------
    x
        Any shape, any sign.
    n
        Number of terms, >= 0.
    """
    ratio = 1.0 - x
    safe = np.where(x == 0, 1.0, x)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        size = np.where(x < 1, np.log1p(-np.minimum(x, 1 - 1e-300)), np.log(np.abs(ratio)))
        power = np.expm1(n * size)
        if n % 2:
            power = np.where(ratio < 0, ratio**n - 1.0, power)
        return np.where(x == 0, float(n), np.where(ratio == 0, float(n > 0), -power / safe))


def exponential_sum(x: Array, time: float) -> Array:
    """Return ∫₀ᵗ e^{−xs} ds elementwise, shape of ``x``."""
    safe = np.where(x == 0, 1.0, x)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.where(x == 0, time, -np.expm1(-safe * time) / safe)


def map_transition(rates: Array, offset: Array, noise: Array, steps: int) -> tuple[Array, Array, Array]:
    """Return factor (d,), shift (d,) and noise covariance (d, d) of ``steps`` steps θ' = (1−rates)θ − offset + noise.

    Parameters
    ----------
    rates, offset
        Shape (d,), in the eigenbasis: η λ_i and η g_i.
    noise
        Covariance of one step's noise in the eigenbasis, shape (d, d).
    """
    pair = rates[:, None] + rates[None, :] - rates[:, None] * rates[None, :]
    with np.errstate(over="ignore", under="ignore"):
        factor = (1.0 - rates) ** steps
    return factor, -offset * geometric_sum(rates, steps), noise * geometric_sum(pair, steps)


def flow_transition(rates: Array, offset: Array, noise: Array, time: float) -> tuple[Array, Array, Array]:
    """Return factor (d,), shift (d,) and noise covariance (d, d) of dθ = −(rates θ + offset) dt + dW.

    Parameters
    ----------
    rates, offset
        Shape (d,), in the eigenbasis.
    noise
        Diffusion per unit of time in the eigenbasis, shape (d, d).
    time
        Elapsed slow time, >= 0.
    """
    pair = rates[:, None] + rates[None, :]
    with np.errstate(over="ignore", under="ignore"):
        factor = np.exp(-rates * time)
    sums = exponential_sum(np.vstack([rates, pair]), time)
    return factor, -offset * sums[0], noise * sums[1:]
