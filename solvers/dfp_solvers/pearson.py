"""Stationary densities in one dimension: where no probability flows, (Kθ + k) P + ½ (Q P)' = 0 has a closed solution.

With Q quadratic the solution is log P = −log Q − 2 ∫ (Kθ + k) / Q: a Gaussian for constant Q, a Student t or a skewed
relative of it otherwise (Pearson's family). It serves generators (T6, T7) and, with the raw second moment in place of
the covariance, the discrete Fokker–Planck equation (T5).
"""

from itertools import pairwise

import numpy as np
from scipy.integrate import quad

from dfp_solvers.arrays import Array


def log_density(theta: Array, drift: float, offset: float, diffusion: tuple[float, float, float]) -> Array:
    """Return log P up to a constant.

    Parameters
    ----------
    theta
        Where, any shape [parameter].
    drift, offset
        K and k.
    diffusion
        (q0, q1, q2) of Q = q0 + q1 θ + q2 θ², positive everywhere.
    """
    q0, q1, q2 = diffusion
    if q2 == 0:
        return -(drift * theta**2 + 2 * offset * theta) / q0
    # Written about the vertex of Q, log Q stays accurate far out.
    vertex, least = -q1 / (2 * q2), q0 - q1**2 / (4 * q2)
    x = theta - vertex
    width = np.sqrt(least / q2)
    at_vertex = drift * vertex + offset
    return -(1 + drift / q2) * np.log1p((x / width) ** 2) - 2 * at_vertex / (q2 * width) * np.arctan(x / width)


def tail_index(drift: float, diffusion: tuple[float, float, float]) -> float:
    """Return κ of P(|θ| > x) ~ x^(−κ): infinite for constant Q and K > 0; not positive where P has no finite mass."""
    q2 = diffusion[2]
    if q2 == 0:
        return np.inf if drift > 0 else -np.inf
    return 1 + 2 * drift / q2


def mode(drift: float, offset: float, diffusion: tuple[float, float, float]) -> float:
    """Return the most probable θ: there 2 (Kθ + k) + Q' = 0."""
    _, q1, q2 = diffusion
    return -(2 * offset + q1) / (2 * (drift + q2))


def scale(drift: float, offset: float, diffusion: tuple[float, float, float]) -> float:
    """Return the width of the peak, from the curvature of log P at the mode: Q / (2K + Q'') under the root."""
    q0, q1, q2 = diffusion
    top = mode(drift, offset, diffusion)
    return float(np.sqrt((q0 + q1 * top + q2 * top**2) / (2 * (drift + q2))))


def mass(lower: float, upper: float, drift: float, offset: float, diffusion: tuple[float, float, float]) -> float:
    """Return ∫ P from ``lower`` to ``upper`` (infinite ends allowed), with P = 1 at its mode."""
    centre, width = mode(drift, offset, diffusion), scale(drift, offset, diffusion)
    top = float(log_density(np.array(centre), drift, offset, diffusion))

    def integrand(t: float) -> float:
        # θ = centre + width·sinh t turns power laws into exponentials, which quadrature resolves to any distance.
        theta = np.array(centre + width * np.sinh(t))
        return float(np.exp(log_density(theta, drift, offset, diffusion) - top) * np.cosh(t))

    ends = [np.clip(np.arcsinh((end - centre) / width), -300.0, 300.0) for end in (lower, upper)]
    breaks = np.clip([-20.0, -5.0, 0.0, 5.0, 20.0], *ends)
    edges = np.unique([ends[0], *breaks, ends[1]])
    parts = [quad(integrand, a, b, epsabs=1e-14, epsrel=1e-12, limit=200)[0] for a, b in pairwise(edges)]
    return width * float(sum(parts))  # the integrals have no unit, and their tolerance holds in any
