"""Spectral transfer (T22) in three dimensions: the sum over places is done axis by axis.

In axes along which the mean motion of a step is diagonal and its noise covariance is constant + diag(Σ_j V_ij θ_j²),
the characteristic function of a step is exp(−½ kᵀCk) times a product over pairs of axes of factors of k_i and θ_j::

    φ(k|θ) = exp(−½ kᵀCk) Π_ij exp(i δ_ij k_i (a_i θ_i + b_i) − ½ k_i² V_ij θ_j²)

Summing over θ_3, then θ_2, then θ_1, the factors of waves that are already there with places that still are cost a
product of entries. Only those of (k_1, k_2) with θ_3 and of k_1 with θ_2 have to be split, into short sums
Σ_r α_r(k) β_r(θ): the fewer, the smaller the learning rate.
"""

from typing import NamedTuple

import numpy as np
from numpy.polynomial import chebyshev

from dfp_solvers.arrays import Array, Complex

_DEGREE = 40  # of polynomials in s: exp(−½ s x²) for exponents up to 60 to 1e-13


class Split(NamedTuple):
    """One step from the nodes of one box to the waves of another."""

    constant: Array
    """exp(−½ kᵀ C k) of the constant noise, 0 where the source does not resolve a wave, shape (*waves)."""
    own: list[Complex]
    """Factors of k_i and θ_i of each axis, shape (waves, cells)."""
    across: dict[tuple[int, int], Array]
    """Factors of k_i and θ_j for i > j, shape (waves, cells)."""
    last: tuple[Array, Array]
    """α (R, waves of axis 0, waves of axis 1) and β (R, cells of axis 2)."""
    middle: tuple[Array, Array]
    """α (R, waves of axis 0) and β (R, cells of axis 1)."""


def split(
    constant: Array,
    waves: list[Array],
    images: list[Array],
    places: list[Array],
    table: Array,
    weights: list[Array],
    tolerance: float,
) -> Split:
    """Return one step from places on a lattice.

    Parameters
    ----------
    constant
        As in ``Split``.
    waves
        k along each axis, shape (m,).
    images
        Mean images a_i θ_i + b_i of the nodes along each axis, shape (n,).
    places
        θ_i of the nodes along each axis, shape (n,).
    table
        V_ij: the noise of axis i gains V_ij θ_j², shape (3, 3).
    weights
        How much mass there is at the nodes along each axis, at most about one, shape (n,).
    tolerance
        Largest error of φ, about.
    """

    def pair(i: int, j: int) -> Array:
        return np.exp(-0.5 * np.outer(waves[i] ** 2, table[i, j] * places[j] ** 2))

    own = [np.exp(1j * np.outer(waves[i], images[i])) * pair(i, i) for i in range(3)]
    across = {(i, j): pair(i, j) for i, j in ((1, 0), (2, 0), (2, 1))}
    joint = np.add.outer(waves[0] ** 2 * table[0, 2], waves[1] ** 2 * table[1, 2])
    last = separated(joint, places[2] ** 2, weights[2], tolerance)
    middle = separated(waves[0] ** 2 * table[0, 1], places[1] ** 2, weights[1], tolerance)
    return Split(constant, own, across, last, middle)


def separated(s: Array, x: Array, weight: Array, tolerance: float) -> tuple[Array, Array]:
    """Return α (R, *s.shape) and β (R, n) with exp(−½ s x) = Σ_r α_r(s) β_r(x), to ``tolerance`` over ``weight``.

    Parameters
    ----------
    s, x
        Not negative; x of shape (n,).
    weight
        Shape (n,).
    """
    top = float(np.max(s, initial=0.0))
    if top == 0:
        return np.ones((1, *s.shape)), np.ones((1, x.size))
    nodes = chebyshev.chebpts1(_DEGREE + 1)
    values = np.exp(-0.25 * np.outer(1 + nodes, x) * top)
    left, sizes, _ = np.linalg.svd(values * weight, full_matrices=False)
    basis = left[:, : max(int(np.sum(sizes > tolerance)), 1)]
    series = chebyshev.chebfit(nodes, basis, _DEGREE)
    return chebyshev.chebval(2 * s / top - 1, series), basis.T @ values


def spectrum(mass: Array, step: Split) -> Complex:
    """Return φ at the waves of the next box from the masses (*cells) of this one."""
    n0, n1, n2 = mass.shape
    alpha, beta = step.last
    m0, m1, half = step.constant.shape
    # Real and imaginary parts of the last axis side by side: one real product for all ranks.
    third = np.concatenate([step.own[2].real, step.own[2].imag])
    lines = mass.reshape(n0 * n1, n2) @ (third * beta[:, None, :]).reshape(-1, n2).T
    lines = lines.reshape(n0, n1, len(beta), 2, half)
    held = step.across[2, 0].T[:, None, :] * step.across[2, 1].T[None, :, :]
    second = step.own[1] * step.middle[1][:, None, :]
    first = step.own[0] * step.middle[0][:, :, None]
    result = np.zeros(step.constant.shape, np.complex128)
    for r in range(len(beta)):
        line = (lines[:, :, r, 0] + 1j * lines[:, :, r, 1]) * held
        plane = (second.reshape(-1, n1) @ line).reshape(n0, len(second), m1, half)
        plane *= step.across[1, 0].T[:, None, :, None]
        stacked = np.moveaxis(first, 0, 1).reshape(m0, -1)
        moved = stacked @ np.moveaxis(plane, 0, 1).reshape(-1, m1 * half)
        result += alpha[r][:, :, None] * moved.reshape(m0, m1, half)
    return result * step.constant
