"""The high-dimensional limit of streaming least squares: a Volterra equation for its risk, in slow time."""

import numpy as np
from scipy.integrate import solve_ivp

from dfp_solvers.arrays import Array

# Tolerance of the integrator relative to the risk at the start, or to where it settles.
_TOLERANCE = 1e-11


def risks(m: Array, curvature: Array, rate: float, batch: float, variance: float, times: Array) -> tuple[Array, Array]:
    """Return the risk R at slow times τ, shape (S,), and E δ_i² at the last of them, shape (d,); ∞ where they overflow.

    R(τ) = ½ Σ λ_i m_i e^{−2λ_i τ} + ∫ K(τ − s) (R(s) + σ²/2) ds, K(τ) = (η/B) Σ λ_i² e^{−2λ_i τ}.

    Parameters
    ----------
    m
        E δ_i² at τ = 0, shape (d,).
    curvature
        λ_i >= 0, shape (d,).
    rate, batch, variance
        η, B and σ² of the labels.
    times
        τ, not decreasing, shape (S,).

    Notes
    -----
    The kernel is a sum of exponentials, so that the equation is the linear flow dm_i/dτ = −2λ_i m_i + (η/B) λ_i
    (Σ_j λ_j m_j + σ²), integrated to 1e-11 by a Runge–Kutta method of order 8 at O(d) an evaluation.
    """

    def flow(_: float, now: Array) -> Array:
        return curvature * ((curvature @ now + variance) * rate / batch - 2 * now)

    times, places = np.unique(times, return_inverse=True)
    if times[-1] == 0:
        return np.full(places.size, curvature @ m / 2), m
    scale = max(float(m.max()), rate * variance / (2 * batch))
    with np.errstate(over="ignore", invalid="ignore"):  # of what grows without end
        solved = solve_ivp(flow, (0.0, float(times[-1])), m, "DOP853", times, rtol=_TOLERANCE, atol=_TOLERANCE * scale)
        states = np.full((m.size, times.size), np.inf)
        states[:, : len(solved.t)] = np.reshape(solved.y, (m.size, len(solved.t)))
        return (curvature @ states / 2)[places], states[:, -1]
