"""Exact moments over an epoch without replacement, by dynamic programming over the sets of samples used.

Within an epoch the minibatches exclude each other, so the state alone does not tell what comes next; the state together
with the set of samples used does. Sets are bit masks, and their number bounds what is feasible.
"""

from math import comb
from typing import NamedTuple

import numpy as np

from dfp_solvers import minibatches
from dfp_solvers.arrays import Array

MOST_SAMPLES = 24  # sets are bit masks; more samples are hardly ever within MOST_EFFORT
MOST_EFFORT = 5_000_000  # in moves from set to set: seconds


class MeanStep(NamedTuple):
    """One step z' = A z + b (H_S θ + g_S − H θ) with θ the first d entries of z: A is the mean map."""

    matrix: Array
    """A, shape (D, D)."""
    load: Array
    """b, shape (D, d)."""


def effort(population: int, batch_size: int) -> float:
    """Return the cost of an epoch, in moves from one set to another by a minibatch; infinite for too many samples."""
    if population > MOST_SAMPLES:
        return float("inf")
    batches, total, used = comb(population, batch_size), 0.0, 0
    while used + batch_size <= population:
        sets = comb(population, used)
        # Every minibatch is also compared with every set (a tenth of a move), and starts some array operations.
        total += sets * comb(population - used, batch_size) + batches * (sets / 10 + 50)
        used += batch_size
    return total


def epoch(
    steps: list[MeanStep], hessians: Array, gradients: Array, batch_size: int, mean: Array, covariance: Array
) -> list[tuple[Array, Array]]:
    """Return mean (D,) and covariance (D, D) of the state after 0, 1, … len(steps) steps of an epoch.

    Parameters
    ----------
    steps
        At most ⌊N/B⌋.
    hessians, gradients
        Of the samples, shapes (N, d, d) and (N, d).
    mean, covariance
        Of the state at the epoch's beginning, which does not depend on its shuffle.
    """
    count, d = gradients.shape
    average = gradients.mean(axis=0)
    chosen = minibatches.choices(count, batch_size, replace=False)[0]
    bends = hessians[chosen].mean(axis=1) - hessians.mean(axis=0)
    kicks, batches = gradients[chosen].mean(axis=1) - average, minibatches.masks(chosen)
    # Moments are about the path of the mean gradient, so that no large numbers are subtracted.
    path, used = np.array(mean), np.zeros(1, dtype=np.int64)
    weight, first, second = np.ones(1), np.zeros((1, mean.size)), covariance[None].copy()
    result = [(np.array(mean), np.array(covariance))]
    for j, (matrix, load) in enumerate(steps):
        chance = 1.0 / comb(count - j * batch_size, batch_size)
        following, moves = minibatches.moves(used, batches)
        weights, firsts = np.zeros(following.size), np.zeros((following.size, mean.size))
        seconds = np.zeros((following.size, mean.size, mean.size))
        for (free, target), bend, kick in zip(moves, bends, kicks, strict=True):
            w, m, q = weight[free] * chance, first[free] * chance, second[free] * chance
            moved = matrix.copy()
            moved[:, :d] += load @ bend
            shift = load @ (bend @ path[:d] + kick)
            pushed = m @ moved.T
            weights[target] += w
            firsts[target] += pushed + w[:, None] * shift
            crossed = pushed[:, :, None] * shift
            seconds[target] += (
                moved @ q @ moved.T + crossed + np.swapaxes(crossed, 1, 2) + w[:, None, None] * np.outer(shift, shift)
            )
        used, weight, first, second = following, weights, firsts, seconds
        path = matrix @ path + load @ average
        off = first.sum(axis=0)
        result.append((path + off, second.sum(axis=0) - np.outer(off, off)))
    return result
