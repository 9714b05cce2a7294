"""Monte Carlo where a step, or a gradient that an optimiser turns into one, is given by a function of whole arrays.

Bundles of trajectories are drawn from generators keyed by the seed and the bundle alone, so that a result depends on
neither portions nor threads. Counterpart of ``monte_carlo.sample``, with the same accumulators.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dfp_solvers.arrays import Array
from dfp_solvers.trajectories.ensemble import Accumulators
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
    exponents: NDArray[np.int64],
    centre: Array,
    scale: Array,
    lower: Array,
    upper: Array,
    cells: tuple[int, ...],
    blocks: int,
    optimiser: Optimiser | None = None,
) -> Accumulators:
    """Return ``accumulators`` with at least ``blocks`` further blocks added, until ``trajectories`` are done.

    Parameters are those of ``monte_carlo.sample``; portions are rounded up to whole bundles.
    """
    names = ("total", "total_square", "histogram", "outside", "nonfinite")
    result = replace(accumulators, **{name: getattr(accumulators, name).copy() for name in names})
    last = -(-trajectories // BLOCK)
    end = min(-(-(accumulators.next_block + blocks) // BUNDLE) * BUNDLE, last)
    for first in range(accumulators.next_block, end, BUNDLE):
        count = min(BUNDLE * BLOCK, trajectories - first * BLOCK)
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(first // BUNDLE,))))
        # All of a bundle is drawn even if only its beginning counts, so that trajectories do not depend on how many.
        theta: Array = start.draw(BUNDLE * BLOCK, rng)
        done = 0
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
            _add_moments(result, s, (seen[:count] - centre[s]) / scale[s], exponents)
            _add_counts(result, s, seen[:count], lower, upper, cells)
    result.next_block, result.trajectories = end, min(end * BLOCK, trajectories)
    return result


def _add_moments(result: Accumulators, s: int, x: Array, exponents: NDArray[np.int64]) -> None:
    values = np.stack([np.prod(x**powers, axis=1) for powers in exponents], axis=1)
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
