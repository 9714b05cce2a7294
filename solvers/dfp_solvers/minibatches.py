"""Every minibatch that can be drawn from N samples, with its probability: multisets with replacement, sets without."""

from itertools import chain, combinations, combinations_with_replacement
from math import comb

import numpy as np
from numpy.typing import NDArray

from dfp_solvers.arrays import Array


def number(count: int, batch_size: int, *, replace: bool = True) -> int:
    """Return how many there are."""
    return comb(count + batch_size - 1, batch_size) if replace else comb(count, batch_size)


def choices(
    count: int, batch_size: int, *, replace: bool = True, probability: Array | None = None
) -> tuple[NDArray[np.int64], Array]:
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
