"""Raw moments E θ^j in one dimension of truncated and whole maps (T25), by polynomial algebra in θ.

Polynomials are arrays of coefficients in ascending powers of θ; lists of cumulants start at order one.
"""

from math import comb

import numpy as np
from numpy.polynomial import polynomial

from dfp_solvers.arrays import Array


def from_cumulants(cumulants: list[Array]) -> list[Array]:
    """Return the moments of order 0 … n of a variable whose cumulants of order 1 … n are polynomials in θ."""
    moments: list[Array] = [np.ones(1)]
    for order in range(1, len(cumulants) + 1):
        total: Array = np.zeros(1)
        for j in range(1, order + 1):
            part = polynomial.polymul(cumulants[j - 1], moments[order - j])
            total = polynomial.polyadd(total, comb(order - 1, j - 1) * part)
        moments.append(total)
    return moments


def to_cumulants(moments: list[Array]) -> list[Array]:
    """Return the cumulants of order 1 … n of a variable whose moments of order 0 … n are polynomials in θ."""
    cumulants: list[Array] = []
    for order in range(1, len(moments)):
        total = moments[order]
        for j in range(1, order):
            part = polynomial.polymul(cumulants[j - 1], moments[order - j])
            total = polynomial.polysub(total, comb(order - 1, j - 1) * part)
        cumulants.append(total)
    return cumulants


def affine_moments(slopes: Array, constants: Array, highest: int) -> list[Array]:
    """Return the averages over i of (slope_i θ + constant_i)^k, k = 0 … ``highest``, as polynomials in θ."""
    return [
        np.array([comb(k, a) * np.mean(slopes**a * constants ** (k - a)) for a in range(k + 1)])
        for k in range(highest + 1)
    ]


def step_matrix(increments: list[Array], highest: int) -> Array:
    """Return the matrix of one step on E θ^j, j = 0 … ``highest``, shape (highest + 1, highest + 1).

    Parameters
    ----------
    increments
        E[δ^k | θ] of the step δ for k = 0 … m, polynomials of degree k at most; later ones do not act (T25).
    """
    matrix = np.zeros((highest + 1, highest + 1))
    for j in range(highest + 1):
        for k, moment in enumerate(increments[: j + 1]):
            matrix[j, j - k : j - k + len(moment)] += comb(j, k) * moment
    return matrix


def gaussian(mean: float, variance: float, highest: int) -> Array:
    """Return the raw moments of order 0 … ``highest`` of a Gaussian."""
    moments = [1.0, mean]
    for order in range(2, highest + 1):
        moments.append(mean * moments[-1] + (order - 1) * variance * moments[-2])
    return np.array(moments[: highest + 1])
