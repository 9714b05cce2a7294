"""Cumulants of the noise as polynomials in φ = (1, θ), for solvers of densities and of higher moments."""

import numpy as np

from dfp.checks import Array
from dfp.problem.equation import Equation, MomentVector


def diffusion_polynomial(equation: Equation) -> Array:
    """Return the second cumulant per step or unit of τ as an array [i, j, a, b] with θ-dependence φ_a φ_b."""
    d = equation.dimension
    zero = MomentVector(np.zeros(()), np.zeros(d), np.zeros((d, d)), np.zeros((d, d)))
    result = np.zeros((d, d, d + 1, d + 1))
    result[:, :, 0, 0] = equation.mean_diffusion(zero._replace(mass=np.ones(())))
    for k in range(d):
        unit = np.eye(d)[k]
        half = equation.mean_diffusion(zero._replace(mean=unit)) / 2
        result[:, :, 0, k + 1] = result[:, :, k + 1, 0] = half
        for m in range(d):
            # Only the symmetric part of θθᵀ ever occurs.
            pair = (np.outer(unit, np.eye(d)[m]) + np.outer(np.eye(d)[m], unit)) / 2
            result[:, :, k + 1, m + 1] = equation.mean_diffusion(zero._replace(outer=pair))
    return result


def second_order_polynomial(equation: Equation) -> Array:
    """Return what stands under ½ ∂_i∂_j in the equation likewise: the second cumulant or, of (T5), η²S (T3)."""
    result = diffusion_polynomial(equation)
    if equation.truncated:
        drift = np.concatenate([equation.constant_drift[:, None], equation.linear_drift], axis=1)
        result = result + np.einsum("ia,jb->ijab", drift, drift)
    return result


def step_cumulants(equation: Equation, highest: int = 4) -> list[Array | None]:
    """Return the cumulants of order 2 … ``highest`` of one step's noise −η(g_ξ − ḡ); None where they vanish."""
    eta = equation.learning_rate
    higher = equation.sgd.noise.cumulants(highest)
    scaled = [None if part is None else (-eta) ** order * part for order, part in enumerate(higher, start=3)]
    return [diffusion_polynomial(equation), *scaled]


def unpolynomial(polynomial: Array) -> tuple[Array, Array, Array]:
    """Return the constant (d, d), linear (d, d, d) and quadratic (d, d, d, d) parts of a polynomial in φ = (1, θ)."""
    return (
        np.ascontiguousarray(polynomial[:, :, 0, 0]),
        np.ascontiguousarray(2 * polynomial[:, :, 0, 1:]),
        np.ascontiguousarray(polynomial[:, :, 1:, 1:]),
    )
