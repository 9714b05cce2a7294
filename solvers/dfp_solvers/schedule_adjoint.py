"""Gradient of the final risk of streaming least squares (T21) in every learning rate and batch size, by the adjoint."""

import numpy as np

from dfp_solvers.arrays import Array
from dfp_solvers.jit import kernel


@kernel(fast=True)
def risk_gradient(
    m: Array, curvature: Array, rates: Array, batches: Array, variance: float
) -> tuple[float, Array, Array]:
    """Return the risk ½ Σ λ m after the last step, and its derivatives in η_n and B_n, shape (n,) each.

    Parameters
    ----------
    m
        E δ_i² at step 0, shape (d,).
    curvature
        λ_i >= 0, shape (d,).
    rates, batches
        η_n and B_n, shape (n,); batch sizes need not be whole.
    variance
        σ² of the labels.

    Notes
    -----
    All states are kept, n d numbers. The adjoint p of the state moves back by the transposed step, from p = λ/2.
    """
    steps, d = rates.size, m.size
    states, totals = np.empty((steps, d)), np.empty(steps)
    now, total = m.copy(), np.dot(m, curvature)
    for n in range(steps):
        x, share = rates[n], rates[n] ** 2 / batches[n]
        states[n], totals[n] = now, total + variance
        after = 0.0
        for i in range(d):
            c = curvature[i]
            now[i] = ((1.0 - x * c) ** 2 + share * c * c) * now[i] + share * c * totals[n]
            after += c * now[i]
        total = after
    in_rates, in_batches, p = np.empty(steps), np.empty(steps), curvature / 2
    for n in range(steps - 1, -1, -1):
        x, share = rates[n], rates[n] ** 2 / batches[n]
        along, moved, own = 0.0, 0.0, 0.0
        for i in range(d):
            weight = p[i] * curvature[i]
            along += weight
            moved += weight * (1.0 - x * curvature[i]) * states[n, i]
            own += weight * curvature[i] * states[n, i]
        noise = own + totals[n] * along
        in_rates[n] = 2.0 * (x / batches[n] * noise - moved)
        in_batches[n] = -share / batches[n] * noise
        for i in range(d):
            c = curvature[i]
            p[i] = ((1.0 - x * c) ** 2 + share * c * c) * p[i] + share * along * c
    return total / 2, in_rates, in_batches
