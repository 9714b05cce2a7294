"""Every minibatch that can be drawn from N samples, with its probability: multisets with replacement, sets without.

Within an epoch minibatches exclude each other: there the sets of samples used, as bit masks, say what can follow.
"""

from collections.abc import Iterator
from itertools import chain, combinations, combinations_with_replacement
from math import comb

import numpy as np
from numpy.typing import NDArray

from dfp_solvers.arrays import Array, Integers


def number(count: int, batch_size: int, *, replace: bool = True) -> int:
    """Return how many there are."""
    return comb(count + batch_size - 1, batch_size) if replace else comb(count, batch_size)


def choices(
    count: int, batch_size: int, *, replace: bool = True, probability: Array | None = None
) -> tuple[Integers, Array]:
    """Return the samples of each, shape (M, B), increasing, and its probability (M,).

    Parameters
    ----------
    count, batch_size
        N and B.
    probability
        Of each sample in a single draw with replacement, > 0, shape (N,); alike if left out.
    """
    every = (combinations_with_replacement if replace else combinations)(range(count), batch_size)
    chosen = np.fromiter(chain.from_iterable(every), dtype=np.int64).reshape(-1, batch_size)
    if not replace:
        return chosen, np.full(len(chosen), 1.0 / len(chosen))
    logarithm = np.log(np.full(count, 1.0 / count) if probability is None else probability)
    total, run = logarithm[chosen[:, 0]], np.ones(len(chosen))
    for k in range(1, batch_size):  # the product of run lengths is that of the factorials of the multiplicities
        run = np.where(chosen[:, k] == chosen[:, k - 1], run + 1, 1.0)
        total = total + logarithm[chosen[:, k]] + np.log((k + 1) / run)
    weights = np.exp(total)
    return chosen, weights / weights.sum()


def masks(chosen: Integers) -> Integers:
    """Return the sets of samples ``chosen`` (M, B) as bit masks, shape (M,)."""
    return (1 << chosen).sum(axis=1)


def moves(used: Integers, batches: Integers) -> tuple[Integers, Iterator[tuple[NDArray[np.bool_], Integers]]]:
    """Return the sets to which those that an epoch has used can grow, and how: one step of a programme over sets.

    Parameters
    ----------
    used
        The sets before the step as bit masks, distinct, shape (S,).
    batches
        The minibatches as bit masks, shape (M,).

    Returns
    -------
    following
        The sets after it, increasing, shape (S',).
    moves
        For each minibatch in turn which of ``used`` it can join, (S,), and the places in ``following`` of what they
        become. Distinct sets stay distinct when one minibatch joins them, so that plain indexing adds to each once.
    """
    following = np.unique(np.concatenate([used[(used & batch) == 0] | batch for batch in batches]))

    def each() -> Iterator[tuple[NDArray[np.bool_], Integers]]:
        for batch in batches:
            free = (used & batch) == 0
            yield free, np.searchsorted(following, used[free] | batch)

    return following, each()
