"""Plain NumPy Monte Carlo, which shares no code with the library, and estimates with their standard errors."""

from collections.abc import Callable, Sequence

import numpy as np

from dfp.checks import Array

Step = Callable[[Array, np.random.Generator], Array]


def ensemble(start: Array, step: Step, saved: Sequence[int], seed: int) -> list[Array]:
    """Return the states of all runs at the ``saved`` steps, from ``start`` (runs, d) by ``step(states, generator)``."""
    rng, states, done, found = np.random.default_rng(seed), start, 0, []
    for last in saved:
        for _ in range(last - done):
            states = step(states, rng)
        done = last
        found.append(states)
    return found


def mean(values: Array) -> tuple[float, float]:
    """Return the mean of independent values (runs,) and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(values.size))


def variance(values: Array) -> tuple[float, float]:
    """Return the variance of independent values (runs,) and its standard error, from the fourth moment."""
    return mean((values - values.mean()) ** 2)


def mean_covariance(states: Array) -> tuple[Array, Array]:
    """Return the covariance of states (runs, d) and the standard errors of its entries, both (d, d)."""
    deviations = states - states.mean(axis=0)
    first = deviations.T @ deviations / len(states)
    second = (deviations**2).T @ (deviations**2) / len(states)
    return first, np.sqrt(np.maximum(second - first**2, 0.0) / len(states))


def shown(value: float, error: float) -> str:
    """Return a sampled number with its standard error, as text."""
    return f"{value:.5g} ± {error:.1g}"
