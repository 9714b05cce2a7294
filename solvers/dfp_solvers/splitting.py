"""Splitting: trajectories that come near what is rare go on as many lighter ones, those in the bulk as few heavy ones.

A cloud of places with weights is divided into groups (an interval of a score, a level, in one replicate), and each
group is drawn anew from its own as so many of equal weight: its total stays as it is, so every average stays unbiased,
whatever the score and the levels are (Huber and Kim, Biophys. J. 70 (1996) 97; Zhang, Jasnow and Zuckerman, J. Chem.
Phys. 132 (2010) 054107). These decide only how much is learnt from so many places.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Indices = NDArray[np.int64]

# Places beyond a level from which it is known.
_LEAST = 8


def nearness(theta: Array, centre: Array, deviation: Array, lower: Array, upper: Array) -> Array:
    """Return how near places are to leaving a box, shape (m,): 0 at a wall, and below inside.

    Were the law Gaussian with this ``centre`` and ``deviation``, shape (d,) each, by axis, e to it would be how much
    rarer the nearest wall is than the place; walls may be infinite.
    """
    with np.errstate(all="ignore"):
        at, walls = (theta - centre) / deviation, [(centre - lower) / deviation, (upper - centre) / deviation]
        left = [wall**2 - np.maximum(side, 0.0) ** 2 for wall, side in zip(walls, (-at, at), strict=True)]
        nearest: Array = -0.5 * np.fmin(*left).min(axis=1)
    return nearest


def levels(score: Array, weights: Array, share: float) -> Array:
    """Return the scores beyond which ``share``, share², … of the weight is, ascending, as far as places tell them."""
    order = np.argsort(-score)
    beyond = np.cumsum(weights[order])
    if len(beyond) <= _LEAST:
        return np.empty(0)
    most = int(np.log(beyond[0] / beyond[-1]) / np.log(share)) + 1
    places = np.searchsorted(beyond / beyond[-1], share ** np.arange(1.0, most + 1))
    found: Array = np.unique(score[order][places[(places >= _LEAST) & (places < len(order))]])
    return found


def resampled(
    group: Indices, score: Array, weights: Array, count: int, rng: np.random.Generator
) -> tuple[Indices, Array]:
    """Return which places to keep, ``count`` of every group that has any, and their weights.

    Parameters
    ----------
    group, score, weights
        Of every place, shape (m,); weights are positive.
    count
        Of places that a group has afterwards.
    rng
        One number for each group: systematic draws in the order of scores, which vary less than independent ones.

    Returns
    -------
    tuple
        Indices of places, and their weights: those of a group are alike and keep its total.
    """
    order = np.lexsort((score, group))
    first = np.flatnonzero(np.diff(group[order], prepend=-1))
    last = np.append(first[1:], len(order)) - 1
    total = np.add.reduceat(weights[order], first) if len(first) else np.empty(0)
    # Weights of groups differ by tens of orders of magnitude: each is one unit long in the sum.
    summed = np.cumsum(weights[order] / np.repeat(total, last - first + 1))
    points = (rng.random(len(first))[:, None] + np.arange(count)) / count + np.arange(len(first))[:, None]
    found = np.clip(np.searchsorted(summed, points), first[:, None], last[:, None])
    return order[found.ravel()], np.repeat(total / count, count)
