"""Cumulants of the noise as polynomials in φ = (1, θ), for solvers of densities and of higher moments."""

import numpy as np

from dfp.checks import Array
from dfp.problem.additive import AdditiveLaw
from dfp.problem.equation import Equation, MomentVector
from dfp.problem.finite_sum import FiniteSumLaw


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


def step_cumulants(equation: Equation, highest: int = 4) -> list[Array | None]:
    """Return the cumulants of order 2 … ``highest`` of one step's noise −η(g_ξ − ḡ); None where they vanish."""
    second = diffusion_polynomial(equation)
    noise = equation.sgd.noise
    d, eta = equation.dimension, equation.sgd.learning_rate
    if isinstance(noise, AdditiveLaw) and not noise.gaussian:
        higher = []
        for order in range(3, highest + 1):
            tensor = np.zeros((d,) * order + (d + 1,) * order)
            tensor.reshape((d,) * order + (-1,))[..., 0] = (-eta) ** order * noise.cumulant(order)
            higher.append(tensor)
        return [second, *higher]
    if not isinstance(noise, FiniteSumLaw):
        return [second, None, None]
    batch = noise.batch_size
    gradients = noise.gradients - noise.gradients.mean(axis=0)
    rows = np.concatenate([gradients[:, :, None], noise.sample_hessians() - noise.mean_hessian], axis=2)
    flat = rows.reshape(noise.count, -1)
    pairs = (flat[:, :, None] * flat[:, None, :]).reshape(noise.count, -1)
    one = (d, d + 1)
    third = (pairs.T @ flat / noise.count).reshape(one * 3) * (-eta) ** 3 / batch**2
    raw = (pairs.T @ pairs / noise.count).reshape(one * 4)
    two = (flat.T @ flat / noise.count).reshape(one * 2)
    split = (
        np.einsum("iajb,kcld->iajbkcld", two, two)
        + np.einsum("iakc,jbld->iajbkcld", two, two)
        + np.einsum("iald,jbkc->iajbkcld", two, two)
    )
    fourth = (raw - split) * eta**4 / batch**3
    return [second, third.transpose(0, 2, 4, 1, 3, 5), fourth.transpose(0, 2, 4, 6, 1, 3, 5, 7)]


def unpolynomial(polynomial: Array) -> tuple[Array, Array, Array]:
    """Return the constant (d, d), linear (d, d, d) and quadratic (d, d, d, d) parts of a polynomial in φ = (1, θ)."""
    return (
        np.ascontiguousarray(polynomial[:, :, 0, 0]),
        np.ascontiguousarray(2 * polynomial[:, :, 0, 1:]),
        np.ascontiguousarray(polynomial[:, :, 1:, 1:]),
    )
