"""Distances between two laws given as probabilities of the same cells, with radii of 95 % sampling intervals.

A side that is sampled has a number of trajectories, one that is not has 0.
"""

import numpy as np
from scipy.special import rel_entr

from dfp_solvers.arrays import Array

# Two-sided 95 % intervals.
LEVEL = 0.05
QUANTILE = 1.959963984540054
_DIRECTIONS = 24


def total_variation(p: Array, q: Array, trajectories: tuple[int, int]) -> tuple[float, float]:
    """Return ½ Σ |p − q|, the mass outside the cells included, and the radius of its interval."""
    value = 0.5 * float(np.abs(p - q).sum()) + 0.5 * abs(float(p.sum() - q.sum()))
    radius = 0.0
    for masses, count in zip((p, q), trajectories, strict=True):
        if count:
            # E TV(p̂, p) <= ½ Σ sd(p̂_i), and one trajectory moves TV by at most 1/count (McDiarmid).
            spread = np.sqrt(np.clip(masses * (1 - masses), 0, None) / count)
            radius += 0.5 * float(spread.sum()) + float(np.sqrt(np.log(1 / LEVEL) / (2 * count)))
    return min(value, 1.0), radius


def wasserstein(p: Array, q: Array, points: Array, trajectories: tuple[int, int]) -> tuple[float, float]:
    """Return W1 for d = 1, else its mean over 24 directions (sliced), and the radius of its interval.

    Parameters
    ----------
    p, q
        Probabilities of the cells, any shape with n entries.
    points
        Centres of the cells, shape (n, d).
    """
    values, radii = [], []
    for direction in _unit_vectors(points.shape[1]):
        place = points @ direction
        order = np.argsort(place, kind="stable")
        gaps = np.diff(place[order])
        cumulative = [np.cumsum(masses.ravel()[order])[:-1] for masses in (p, q)]
        values.append(float(np.abs(cumulative[0] - cumulative[1]) @ gaps))
        radius = 0.0
        for total, count in zip(cumulative, trajectories, strict=True):
            if count:
                # W1(p̂, p) = ∫ |F̂ − F|: mean and fluctuation are both below ∫ sd(F̂).
                spread = float(np.sqrt(np.clip(total * (1 - total), 0, None) / count) @ gaps)
                radius += (np.sqrt(2 / np.pi) + QUANTILE) * spread
        radii.append(radius)
    return float(np.mean(values)), float(np.mean(radii))


def _unit_vectors(dimension: int) -> Array:
    """Return evenly spread directions (K, d) of a half sphere."""
    if dimension == 1:
        return np.ones((1, 1))
    k = np.arange(_DIRECTIONS) + 0.5
    if dimension == 2:
        angle = np.pi * k / _DIRECTIONS
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)
    height, turn = k / _DIRECTIONS, np.pi * (1 + np.sqrt(5)) * k
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(turn), radius * np.sin(turn), height], axis=1)


def kullback_leibler(p: Array, q: Array) -> float:
    """Return KL(p ‖ q) [nat]; NaN if a probability is negative beyond rounding."""
    tiny = 1e-12 * max(float(p.max()), float(q.max()))
    if min(float(p.min()), float(q.min())) < -tiny:
        return float("nan")
    kept = (p > tiny) & (q > tiny)
    return max(float(np.sum(rel_entr(p[kept], q[kept]) - p[kept] + q[kept])), 0.0)


def mean_and_covariance(
    mean: tuple[Array, Array], covariance: tuple[Array, Array], errors: tuple[dict[str, Array], dict[str, Array]]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return how far the first mean and covariance are from the second, each with the radius of its interval.

    Parameters
    ----------
    mean, covariance
        Shapes (d,) and (d, d); means differ in the second side's standard deviations, covariances in its norm. NaN
        where the second side has no variance.
    errors
        Standard errors ``mean`` and ``covariance`` of each side; empty where nothing is sampled.
    """
    deviation = np.sqrt(np.diag(covariance[1]))
    deviation = np.where(deviation > 0, deviation, 1.0)
    deviation = np.where(np.isinf(deviation), np.nan, deviation)  # of a law without a variance nothing is a part
    size = float(np.linalg.norm(covariance[1])) or 1.0
    sampled = [side for side in errors if side]
    mean_radius = QUANTILE * sum(float(np.max(side["mean"] / deviation)) for side in sampled)
    covariance_radius = QUANTILE * sum(float(np.linalg.norm(side["covariance"])) for side in sampled) / size
    off = float(np.max(np.abs(mean[0] - mean[1]) / deviation))
    with np.errstate(invalid="ignore"):
        wide = float(np.linalg.norm(covariance[0] - covariance[1])) / size
    return (off, mean_radius), (wide, covariance_radius)
