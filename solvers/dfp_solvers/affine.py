"""Closed forms for affine dynamics with additive noise: any number of steps at the cost of one.

In the eigenbasis of the mean Hessian every entry moves on its own: means by powers a_iⁿ or exponentials e^{−a_i τ},
noise covariances by geometric sums of them (T10, T14, T15).
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.floating[Any]]


def geometric_sum(x: Array, n: ArrayLike) -> Array:
    """Return Σ_{s<n} (1−x)^s elementwise, without cancellation for small x.

    Parameters
    ----------
    x
        Any shape, any sign.
    n
        Number of terms, integers >= 0 of a shape that broadcasts with ``x``.
    """
    n = np.asarray(n)
    ratio = 1.0 - x
    safe = np.where(x == 0, 1.0, x)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        size = np.where(x < 1, np.log1p(-np.minimum(x, 1 - 1e-300)), np.log(np.abs(ratio)))
        power = np.expm1(n * size)
        odd = n % 2 == 1
        if odd.any():
            power = np.where(odd & (ratio < 0), ratio**n - 1.0, power)
        return np.where(x == 0, n * 1.0, np.where(ratio == 0, (n > 0) * 1.0, -power / safe))


def exponential_sum(x: Array, time: ArrayLike) -> Array:
    """Return ∫₀ᵗ e^{−xs} ds elementwise; shapes broadcast."""
    time = np.asarray(time)
    safe = np.where(x == 0, 1.0, x)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.where(x == 0, time, -np.expm1(-safe * time) / safe)


def map_transition(rates: Array, offset: Array, noise: Array, steps: ArrayLike) -> tuple[Array, Array, Array]:
    """Return factor (d,), shift (d,) and noise covariance (d, d) of ``steps`` steps θ' = (1−rates)θ − offset + noise.

    Several numbers of steps, shape (S,), give each result a first axis of S.

    Parameters
    ----------
    rates, offset
        Shape (d,), in the eigenbasis: η λ_i and η g_i.
    noise
        Covariance of one step's noise in the eigenbasis, shape (d, d).
    """
    pair = rates[:, None] + rates[None, :] - rates[:, None] * rates[None, :]
    with np.errstate(over="ignore", under="ignore"):
        count = np.asarray(steps)[..., None]
        factor = (1.0 - rates) ** count
    return factor, -offset * geometric_sum(rates, count), noise * geometric_sum(pair, count[..., None])


def flow_transition(rates: Array, offset: Array, noise: Array, time: ArrayLike) -> tuple[Array, Array, Array]:
    """Return factor (d,), shift (d,) and noise covariance (d, d) of dθ = −(rates θ + offset) dt + dW.

    Several times, shape (S,), give each result a first axis of S.

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
        elapsed = np.asarray(time)[..., None]
        factor = np.exp(-rates * elapsed)
    sums = exponential_sum(np.concatenate([rates[None], pair]), elapsed[..., None])
    return factor, -offset * sums[..., 0, :], noise * sums[..., 1:, :]
