"""Monte Carlo where a step, or a gradient that an optimiser turns into one, is given by a function of whole arrays.

Bundles of trajectories are drawn from generators keyed by the seed and the bundle alone, so that a result depends on
neither portions nor threads. Counterpart of ``monte_carlo.sample``, with the same accumulators.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfp_solvers.arrays import Array
from dfp_solvers.trajectories.ensemble import Accumulators, Portion, added, empty
from dfp_solvers.trajectories.lockstep import BLOCK
from dfp_solvers.trajectories.models import Optimiser, Start

BUNDLE = 16
"""Blocks drawn together: long enough arrays for NumPy, short enough for the cache."""


@dataclass(frozen=True, eq=False)
class FunctionModel:
    """One step from states (N, d): ``step`` draws the next from a generator; with an optimiser it draws gradients."""

    dimension: int
    step: Callable[[Array, np.random.Generator], Array]


def sample(
    model: FunctionModel,
    start: Start,
    saved: NDArray[np.int64],
    accumulators: Accumulators,
    trajectories: int,
    seed: int,
    *,
    blocks: int,
    **settings: Any,
) -> Accumulators:
    """Return ``accumulators`` with at least ``blocks`` further blocks added, until ``trajectories`` are done.

    Parameters are those of ``portions``, which are rounded up to whole bundles.
    """
    result, first = accumulators, accumulators.next_block
    for portion in portions(model, start, saved, first, first + blocks, trajectories, seed, **settings):
        result = added(result, portion, trajectories)
    return result


def portions(
    model: FunctionModel,
    start: Start,
    saved: NDArray[np.int64],
    first: int,
    end: int,
    trajectories: int,
    seed: int,
    *,
    factors: NDArray[np.int64],
    centre: Array,
    scale: Array,
    lower: Array,
    upper: Array,
    cells: tuple[int, ...],
    optimiser: Optimiser | None = None,
) -> Iterator[Portion]:
    """Yield the bundles of the blocks ``first`` to ``end``; parameters are those of ``ensemble.portions``."""
    last = -(-trajectories // BLOCK)
    end = min(-(-end // BUNDLE) * BUNDLE, last)
    for at in range(first, end, BUNDLE):
        count = min(BUNDLE * BLOCK, trajectories - at * BLOCK)
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(at // BUNDLE,))))
        # All of a bundle is drawn even if only its beginning counts, so that trajectories do not depend on how many.
        theta: Array = start.draw(BUNDLE * BLOCK, rng)
        done, sums = 0, empty(saved, factors, cells)
        velocity, weights = np.zeros_like(theta), np.empty(0) if optimiser is None else np.asarray(optimiser.averaging)
        seen = theta.copy() if weights.size else theta  # what is observed: the running average, or θ
        for s, last_step in enumerate(saved.tolist()):
            for step in range(done, last_step):
                drawn = model.step(theta, rng)
                if optimiser is None:
                    theta = drawn
                else:
                    theta, velocity = optimiser.moved(theta, velocity, drawn, step)
                seen = seen + weights[min(step, weights.size - 1)] * (theta - seen) if weights.size else theta
            done = last_step
            _add_moments(sums, s, (seen[:count] - centre[s]) / scale[s], factors)
            _add_counts(sums, s, seen[:count], lower, upper, cells)
        counts = sums.histogram, sums.outside, sums.nonfinite, 0
        yield Portion(at, min(at + BUNDLE, last), sums.total[None], sums.total_square[None], *counts)


def _add_moments(result: Accumulators, s: int, x: Array, factors: NDArray[np.int64]) -> None:
    values = np.stack([np.prod(x[:, axes[axes >= 0]], axis=1) for axes in factors], axis=1)
    begins = np.arange(0, len(x), BLOCK)
    sums = np.add.reduceat(values, begins, axis=0)
    sizes = np.diff(begins, append=len(x))
    result.total[s] += sums.sum(axis=0)
    result.total_square[s] += (sums**2 / sizes[:, None]).sum(axis=0)
    result.nonfinite[s] += np.count_nonzero(~np.all(np.isfinite(x), axis=1))


def _add_counts(result: Accumulators, s: int, theta: Array, lower: Array, upper: Array, cells: tuple[int, ...]) -> None:
    if not len(cells):
        return
    place = (theta - lower) / (upper - lower) * np.array(cells)
    inside = np.all((place >= 0) & (place < cells), axis=1)
    index = np.ravel_multi_index(tuple(place[inside].astype(np.int64).T), cells)
    result.histogram[s] += np.bincount(index, minlength=int(np.prod(cells)))
    result.outside[s] += len(theta) - np.count_nonzero(inside)
