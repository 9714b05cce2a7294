"""Gradient of the final risk of streaming least squares (T21) in every setting of every step, by the adjoint."""

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
    All states are kept, n d numbers. The adjoint p of the state moves back by the transposed step, from p = λ/2; while
    it moves to a step, the sums that the derivatives of that step need are taken, so that each way is one loop.
    """
    steps, d = rates.size, m.size
    states, totals = np.empty((steps, d)), np.empty(steps)
    now, total = m.copy(), np.dot(m, curvature)
    for n in range(steps):
        x, share, row = rates[n], rates[n] ** 2 / batches[n], states[n]
        kick, totals[n] = x * x + share, total + variance
        source, total = share * totals[n], 0.0
        for i in range(d):
            c = curvature[i]
            row[i] = now[i]
            now[i] = (1.0 - c * (2 * x - kick * c)) * now[i] + source * c
            total += c * now[i]
    in_rates, in_batches, p = np.empty(steps), np.empty(steps), curvature / 2
    along = np.dot(p, curvature)
    moved = np.dot(p * curvature, states[steps - 1])
    own = np.dot(p * curvature**2, states[steps - 1])
    for n in range(steps - 1, -1, -1):
        x, share, row = rates[n], rates[n] ** 2 / batches[n], states[max(n - 1, 0)]
        noise = own + totals[n] * along
        in_rates[n] = 2.0 * (x / batches[n] * noise - moved + x * own)
        in_batches[n] = -share / batches[n] * noise
        kick, carried = x * x + share, share * along
        along, moved, own = 0.0, 0.0, 0.0
        for i in range(d):
            c = curvature[i]
            p[i] = (1.0 - c * (2 * x - kick * c)) * p[i] + carried * c
            weight = p[i] * c
            along += weight
            moved += weight * row[i]
            own += weight * row[i] * c
    return total / 2, in_rates, in_batches


@kernel(fast=True)
def heavy_risk_gradient(
    m: Array, curvature: Array, rates: Array, batches: Array, momenta: Array, variance: float
) -> tuple[float, Array, Array, Array]:
    """Return the same with momentum, v' = β_n v + g, θ' = θ − η_n v' from v = 0, and the derivatives in β_n too.

    Notes
    -----
    The state of a mode is E δ², E δv and E v²; the step is that of ``streaming`` with β of its own (T19).
    """
    steps, d = rates.size, m.size
    states, totals = np.empty((steps, 3, d)), np.empty(steps)
    now, total = np.zeros((3, d)), np.dot(m, curvature)
    now[0] = m
    for n in range(steps):
        x, beta, share = rates[n], momenta[n], 1.0 / batches[n]
        states[n], totals[n], total = now, total + variance, 0.0
        b = -x * beta
        for i in range(d):
            c, place, crossed, speed = curvature[i], now[0, i], now[1, i], now[2, i]
            a, noise = 1.0 - x * c, share * c * (c * place + totals[n])
            now[0, i] = a * a * place + 2 * a * b * crossed + b * b * speed + x * x * noise
            now[1, i] = a * c * place + (a * beta + b * c) * crossed + b * beta * speed - x * noise
            now[2, i] = c * c * place + 2 * c * beta * crossed + beta * beta * speed + noise
            total += c * now[0, i]
    in_rates, in_batches, in_momenta, p = np.empty(steps), np.empty(steps), np.empty(steps), np.zeros((3, d))
    p[0] = curvature / 2
    for n in range(steps - 1, -1, -1):
        x, beta, share, row = rates[n], momenta[n], 1.0 / batches[n], states[n]
        b, excess, in_noise, rate, momentum = -x * beta, 0.0, 0.0, 0.0, 0.0
        for i in range(d):
            c, place, crossed, speed = curvature[i], row[0, i], row[1, i], row[2, i]
            one, two, three, a = p[0, i], p[1, i], p[2, i], 1.0 - x * c
            noise, heard = share * c * (c * place + totals[n]), x * x * one - x * two + three
            # the derivatives of a, b and the noise's loads in η are −λ, −β and (2η, −1), that of b in β is −η
            rate += one * (
                -2 * a * c * place - 2 * (b * c + a * beta) * crossed - 2 * b * beta * speed + 2 * x * noise
            ) - two * (c * c * place + 2 * beta * c * crossed + beta * beta * speed + noise)
            momentum += one * (-2 * a * x * crossed - 2 * b * x * speed) + two * (
                (a - x * c) * crossed + (b - x * beta) * speed
            )
            momentum += three * 2 * (c * crossed + beta * speed)
            in_noise += heard * noise
            excess += heard * share * c
        in_rates[n], in_momenta[n], in_batches[n] = rate, momentum, -share * in_noise
        for i in range(d):
            c, one, two, three = curvature[i], p[0, i], p[1, i], p[2, i]
            a, heard = 1.0 - x * c, x * x * one - x * two + three
            p[0, i] = a * a * one + a * c * two + c * c * three + share * c * c * heard + excess * c
            p[1, i] = 2 * a * b * one + (a * beta + b * c) * two + 2 * c * beta * three
            p[2, i] = b * b * one + b * beta * two + beta * beta * three
    return total / 2, in_rates, in_batches, in_momenta
