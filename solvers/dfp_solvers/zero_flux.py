"""The stationary density of a diffusion on a line: zero flux, P ∝ Q⁻¹ exp(∫ 2f/Q), Itô (theory page, section 6)."""

from collections.abc import Callable

import numpy as np

from dfp_solvers.arrays import Array

# Gauss–Legendre nodes between two neighbouring places, a fraction of a deviation apart.
_NODES = 8


def log_density(coefficients: Callable[[Array], tuple[Array, Array]], places: Array) -> Array:
    """Return log P, up to a constant, at ascending ``places`` (n,).

    ``coefficients`` returns drift f and diffusion Q > 0 at places (m,), both (m,).
    """
    node, weight = np.polynomial.legendre.leggauss(_NODES)
    half = np.diff(places) / 2
    between = (places[:-1] + half)[:, None] + half[:, None] * node
    drift, diffusion = coefficients(between.ravel())
    climbed = half * ((2 * drift / diffusion).reshape(between.shape) @ weight)
    logarithm = np.concatenate([[0.0], np.cumsum(climbed)])
    result: Array = logarithm - np.log(coefficients(places)[1])
    return result - result.max()
