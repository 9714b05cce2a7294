"""How far predictions are from an ensemble of runs, and how far they would be if they were perfect."""

import warnings
from typing import NamedTuple

import numpy as np

from dfp.checks import Array
from dfp.networks.runs import variance_error

_RESAMPLES = 200


class Floor(NamedTuple):
    """Median relative error of the variances that a perfect prediction would have, at each saved step, shape (S,)."""

    expected: Array
    high: Array
    """Exceeded by a perfect prediction in one case of twenty."""
    worst: float
    """What the largest of error/expected over all steps stays below in 98 of 100 perfect predictions."""
    correlations: Array
    """Log-correlation that a perfect prediction would have, at each saved step, shape (S,)."""
    correlation: float
    """What the smallest log-correlation over all steps exceeds in 98 of 100."""


class Score(NamedTuple):
    """A predictor against the runs, at each saved step, shape (S,); NaN where it does not reach or nothing moves."""

    error: Array
    """Median over the directions of |predicted/measured − 1| of the variance."""
    correlation: Array
    """Of the logarithms of predicted and measured variances."""
    mean_z: Array
    """Median |z| of the means; .67 for a perfect prediction."""
    worst_mean_z: Array
    worst_variance_z: Array


def floor(positions: Array, seed: int = 0) -> Floor:
    """Return the floor by resampling the runs; ``positions`` (S, R, k) of directions with noise.

    Directions share the few sources of noise, so that their errors are alike: the floor is not that of independent
    ones, and it scatters.
    """
    rng = np.random.default_rng((seed, 5))
    runs = positions.shape[1]
    variance = positions.var(axis=1, ddof=1)
    medians, correlations = [], []
    for _ in range(_RESAMPLES):
        # Counts rather than copies of the runs: two products of matrices.
        weights = rng.multinomial(runs, np.full(runs, 1 / runs)) / runs
        mean = np.einsum("r,srk->sk", weights, positions)
        second = np.einsum("r,srk->sk", weights, positions**2) - mean**2
        ratio = np.divide(second * runs / (runs - 1), variance, out=np.ones_like(variance), where=variance > 0)
        ratio = np.maximum(ratio * runs / (runs - 1), 1e-300)  # a resample lacks another 1/R of the variance
        medians.append(np.median(np.abs(ratio - 1), axis=1))
        correlations.append([_log_correlation(r * v, v) for r, v in zip(ratio, variance, strict=True)])
    expected = np.mean(medians, axis=0)
    moving = expected > 0
    worst = np.max(np.array(medians)[:, moving] / expected[moving], axis=1, initial=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # too few directions for a correlation
        lowest = np.nanquantile(np.nanmin(np.array(correlations), axis=1), 0.02)
        typical = np.nanmean(correlations, axis=0)
    high = np.quantile(medians, 0.95, axis=0)
    return Floor(expected, high, float(np.quantile(worst, 0.98)), typical, float(lowest))


def _log_correlation(predicted: Array, measured: Array) -> float:
    """Return the correlation of logarithms; NaN for fewer than three directions, or constants."""
    if len(measured) < 3 or not measured.min() > 0 or not np.ptp(np.log(predicted)) > 0:
        return float("nan")
    return float(np.corrcoef(np.log(predicted), np.log(measured))[0, 1])


def variance_z(positions: Array, predicted: Array) -> Array:
    """Return z-scores of the variances of runs (S, R, k) against ``predicted`` ones (S, k).

    The standard error is that of the predicted variance, with the kurtosis of the runs: with the runs' own variance in
    its place, samples that happen to be small would also look precise.
    """
    measured = positions.var(axis=1, ddof=1)
    relative = variance_error(positions) / measured
    result: Array = (measured / predicted - 1) / relative
    return result


def score(mean: Array, variance: Array, positions: Array) -> Score:
    """Compare predicted ``mean`` and ``variance`` (S, k) with runs (S, R, k)."""
    runs = positions.shape[1]
    measured = positions.var(axis=1, ddof=1)
    off = positions.mean(axis=1) - mean
    steps = len(measured)
    columns = np.full((5, steps), np.nan)
    for s in range(steps):
        known = np.isfinite(variance[s]) & (variance[s] > 0) & (measured[s] > 0)
        if not known.any():
            continue
        theirs, ours = variance[s, known], measured[s, known]
        mean_z = np.abs(off[s, known]) / np.sqrt(ours / runs)
        worst = np.abs(variance_z(positions[s : s + 1, :, known], theirs[None])).max()
        columns[:, s] = (
            np.median(np.abs(theirs / ours - 1)), _log_correlation(theirs, ours), np.median(mean_z), mean_z.max(),
            worst,
        )  # fmt: skip
    return Score(*columns)
