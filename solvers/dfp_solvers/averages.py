"""Moments of a running average m' = m + w(s' − m) of the first d entries of a linear process s' = As + noise (T20)."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


def follow(
    factors: Iterable[Array], weights: Iterable[Array], means: Array, covariances: Array, start: tuple[Array, Array]
) -> Iterator[tuple[Array, Array]]:
    """Yield mean (…, d) and covariance (…, d, d) of m after 0, 1, … steps; averages may be many, along leading axes.

    Parameters
    ----------
    factors
        A of every step, (D, D).
    weights
        w of every step, (…).
    means, covariances
        Those of s, (n + 1, D) and (n + 1, D, D). Noise must be uncorrelated with the past, and may depend on it.
    start
        Mean and covariance of m at step 0, where m is the first d entries of s.
    """
    mean, own = start
    d = mean.shape[-1]
    cross = np.broadcast_to(covariances[0][:, :d], (*mean.shape[:-1], len(covariances[0]), d))
    yield mean, own
    for factor, weight, centre, covariance in zip(factors, weights, means[1:], covariances[1:], strict=True):
        w = np.asarray(weight)[..., None, None]
        carried = factor @ cross  # Cov(s', m): the step's noise is uncorrelated with m
        mixed = carried[..., :d, :] + np.swapaxes(carried[..., :d, :], -1, -2)
        own = (1 - w) ** 2 * own + w * (1 - w) * mixed + w**2 * covariance[:d, :d]
        cross = (1 - w) * carried + w * covariance[:, :d]
        mean = (1 - w[..., 0]) * mean + w[..., 0] * centre[:d]
        yield mean, own


def stationary(factor: Array, weight: float, covariance: Array, d: int) -> Array:
    """Return the covariance (d, d) of m in which it settles, w and A fixed, Cov(s) = ``covariance`` (D, D)."""
    kept = 1 - weight
    source: Array = weight * covariance[:, :d]
    cross = np.linalg.solve(np.eye(len(factor)) - kept * factor, source)
    carried = (factor @ cross)[:d]
    settled: Array = (kept * (carried + carried.T) + weight * covariance[:d, :d]) / (2 - weight)
    return settled
