"""Exact moments over an epoch without replacement, by dynamic programming over the sets of samples used.

Within an epoch the minibatches exclude each other, so the state alone does not tell what comes next; the state together
with the set of samples used does. Sets are bit masks, and their number bounds what is feasible.
"""

from itertools import combinations
from math import comb
from typing import NamedTuple

import numpy as np

from dfp_solvers.arrays import Array

MOST_SAMPLES = 24  # bit masks index a table of 2^N entries
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
    batches = [(sum(1 << i for i in chosen), list(chosen)) for chosen in combinations(range(count), batch_size)]
    bends = np.array([hessians[chosen].mean(axis=0) for _, chosen in batches]) - hessians.mean(axis=0)
    kicks = np.array([gradients[chosen].mean(axis=0) for _, chosen in batches]) - average
    masks = np.array([mask for mask, _ in batches], dtype=np.int64)
    # Moments are about the path of the mean gradient, so that no large numbers are subtracted.
    path, used = np.array(mean), np.zeros(1, dtype=np.int64)
    weight, first, second = np.ones(1), np.zeros((1, mean.size)), covariance[None].copy()
    result = [(np.array(mean), np.array(covariance))]
    for j, (matrix, load) in enumerate(steps):
        chance = 1.0 / comb(count - j * batch_size, batch_size)
        following = np.unique(np.concatenate([used[(used & mask) == 0] | mask for mask in masks]))
        place = np.full(1 << count, -1, dtype=np.int64)
        place[following] = np.arange(following.size)
        weights, firsts = np.zeros(following.size), np.zeros((following.size, mean.size))
        seconds = np.zeros((following.size, mean.size, mean.size))
        for mask, bend, kick in zip(masks, bends, kicks, strict=True):
            free = (used & mask) == 0
            # Distinct sets stay distinct when the same minibatch joins them, so plain indexing adds each once.
            target = place[used[free] | mask]
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
