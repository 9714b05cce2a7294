"""Second moments of streaming Gaussian least squares (T21): O(d) a step, any schedule, with momentum.

Per mode the state (δ, v) moves by A = [[1 − ηpλ, −ηq], [λ, β]] and gains b = [−ηp, 1] times noise of the variance
(λ² m + λ (Σ_j λ_j m_j + σ²)) / B, with m = E δ²; p = 1, q = β, or p = 1 + β, q = β² for Nesterov's form (T19).
"""

import numpy as np

from dfp_solvers.arrays import Array
from dfp_solvers.jit import kernel


@kernel(fast=True)
def _plain(m: Array, curvature: Array, rate: float, share: float, excess: float) -> float:
    """Move m (n,) by one step; return Σ λ m after it."""
    total = 0.0
    source, kick = share * excess, 1.0 + share / (rate * rate) if rate > 0 else 1.0
    for i in range(m.size):
        x = rate * curvature[i]
        m[i] = (1.0 - 2.0 * x + x * x * kick) * m[i] + source * curvature[i]
        total += curvature[i] * m[i]
    return total


@kernel(fast=True)
def _heavy(
    state: Array, curvature: Array, rate: float, share: float, excess: float, p: float, q: float, beta: float
) -> float:
    """Move E δ², E δv, E v² (3, n) by one step of momentum, ``share`` = 1/B; return Σ λ m after it."""
    m, crossed, speed, total = state[0], state[1], state[2], 0.0
    for i in range(m.size):
        c = curvature[i]
        noise = share * c * (c * m[i] + excess)
        a, b = 1.0 - rate * p * c, -rate * q
        one = a * a * m[i] + 2 * a * b * crossed[i] + b * b * speed[i] + rate * rate * p * p * noise
        two = a * c * m[i] + (a * beta + b * c) * crossed[i] + b * beta * speed[i] - rate * p * noise
        three = c * c * m[i] + 2 * c * beta * crossed[i] + beta * beta * speed[i] + noise
        m[i], crossed[i], speed[i] = one, two, three
        total += c * one
    return total


@kernel()
def risks(m: Array, curvature: Array, rates: Array, batches: Array, variance: float) -> Array:
    """Move m (d,) through all steps in place; return ½ Σ λ m before each step and after the last, (n + 1,).

    Parameters
    ----------
    m
        E δ_i² along the modes, shape (d,); changed.
    curvature
        λ_i >= 0, shape (d,).
    rates, batches
        η_n and B_n, shape (n,).
    variance
        σ² of the labels.

    Notes
    -----
    On one thread, at the speed of memory: a step is over before others have started.
    """
    out, total = np.empty(rates.size + 1), np.dot(m, curvature)
    out[0] = total / 2
    for n in range(rates.size):
        total = _plain(m, curvature, rates[n], rates[n] ** 2 / batches[n], total + variance)
        out[n + 1] = total / 2
    return out


@kernel()
def heavy_risks(
    state: Array, curvature: Array, rates: Array, batches: Array, variance: float, p: float, q: float, beta: float
) -> Array:
    """Return the same with momentum; ``state`` (3, d), E δ², E δv and E v², is changed."""
    out, total = np.empty(rates.size + 1), np.dot(state[0], curvature)
    out[0] = total / 2
    for n in range(rates.size):
        total = _heavy(state, curvature, rates[n], 1.0 / batches[n], total + variance, p, q, beta)
        out[n + 1] = total / 2
    return out


def amplification(curvature: Array, rate: float, batch: int) -> float:
    """Return κ with Σ λ m = κ (Σ λ m + σ²) in the stationary state; infinite where a mode alone is unstable.

    Second moments are bounded iff κ < 1.
    """
    x = rate * curvature[curvature > 0]
    room = 2 - x * (1 + 1 / batch)
    return float(np.sum(x / (batch * room))) if x.size and room.min() > 0 else (np.inf if x.size else 0.0)
