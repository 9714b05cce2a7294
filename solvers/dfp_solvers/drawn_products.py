"""Lyapunov exponents of random matrices that are known by what they make of vectors, of many runs at once."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from dfp_solvers.arrays import Array

if TYPE_CHECKING:
    from dfp_solvers.trajectories.products import OptimiserStep

# Runs at once, and the share of their steps in which directions settle, which is not counted.
_RUNS, _SETTLING = 256, 0.1


def exponent(
    multiplied: Callable[[Array, np.random.Generator], Array],
    step: "OptimiserStep",
    steps: int,
    seed: int,
    axes: Array,
) -> tuple[float, float]:
    """Return the top Lyapunov exponent per step and its standard error over the runs (T19).

    Parameters
    ----------
    multiplied
        Draws H_ξv for vectors (n, d).
    steps
        Steps in all, shared among the runs, of which each takes at least 100.
    axes
        Columns (d, m) that span the block from which vectors start.
    """
    rng, each = np.random.default_rng(seed), max(steps // _RUNS, 100)
    place = rng.standard_normal((_RUNS, axes.shape[1])) @ axes.T
    velocity = np.zeros_like(place)
    first, logs = int(_SETTLING * each), np.zeros(_RUNS)
    for n in range(each):
        pushed = multiplied(place, rng)
        place = place - step.learning_rate * (step.p * pushed + step.q * velocity)
        velocity = step.beta * velocity + pushed
        size = np.sqrt(np.sum(place**2, axis=1) + (np.sum(velocity**2, axis=1) if step.beta else 0.0))
        place, velocity = place / size[:, None], velocity / size[:, None]
        if n >= first:
            logs += np.log(size)
    rates = logs / (each - first)
    return float(rates.mean()), float(rates.std(ddof=1) / np.sqrt(_RUNS))
