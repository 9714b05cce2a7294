"""Mean exits from a box in several dimensions, however rare: the flux out of the quasi-stationary law, and the rest.

With M the restricted step on nodes, π its leading eigenvector and l that of its transpose, the mean number of steps
inside is Σ_n M^n = π lᵀ / (1 − ρ) + a part on the complement, which is well conditioned. 1 − ρ is not a difference: it
is the probability to leave in a step from π, summed over places from which it is known in closed form, and positive
products give π its digits where it is small, near the walls.
"""

from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, eigs, gmres, splu
from scipy.special import ndtr

from dfp_solvers.arrays import Array

# Products until the flux out is settled, and the relative change that says so, over as many.
_MOST, _SETTLED, _EVERY = 4000, 1e-10, 16
# Of generators: digits of a vector that one factorisation gives beside its largest entry, entries below which nothing
# counts, most factorisations, inverse iterations with each, and their shift over the fastest rate.
_DIGITS, _NOTHING, _ROUNDS, _TURNS, _SHIFT = 1e-12, 1e-60, 8, 4, 1e-12


def leaving(means: Array, covariances: Array, lower: Array, upper: Array, nodes: Array, weights: Array) -> Array:
    """Return the probabilities (n,) that Gaussians are outside a box, small ones to their own digits.

    Parameters
    ----------
    means, covariances
        Shapes (n, 2) and (n, 2, 2).
    lower, upper
        Corners of the box, shape (2,).
    nodes, weights
        A rule on the first side of the box that resolves the Gaussians, shape (m,).
    """
    first = np.sqrt(covariances[:, 0, 0])
    slope = covariances[:, 0, 1] / covariances[:, 0, 0]
    second = np.sqrt(covariances[:, 1, 1] - slope * covariances[:, 0, 1])
    total = ndtr((lower[0] - means[:, 0]) / first) + ndtr((means[:, 0] - upper[0]) / first)
    apart = nodes - means[:, 0, None]
    inside = weights * np.exp(-0.5 * (apart / first[:, None]) ** 2) / (np.sqrt(2 * np.pi) * first[:, None])
    middle = means[:, 1, None] + slope[:, None] * apart
    beyond = ndtr((lower[1] - middle) / second[:, None]) + ndtr((middle - upper[1]) / second[:, None])
    return np.asarray(total + (inside * beyond).sum(axis=1))


def mean_steps(matrix: Any, weights: Array, first: Array, out: Array) -> tuple[float, float]:
    """Return Σ_n weights·Mⁿ·first, and the probability to leave in a step in the end.

    Parameters
    ----------
    matrix
        M: densities at the nodes one step later, inside the box, (n, n); dense or sparse.
    weights
        Of the nodes, shape (n,).
    first
        Densities at the nodes, shape (n,).
    out
        Probability to leave in a step from each node, shape (n,).

    Raises
    ------
    ArithmeticError
        If an iteration does not converge.
    """
    law = np.abs(eigs(matrix, k=1, v0=np.ones(len(weights)), which="LM", tol=1e-12)[1][:, 0])
    flux = _flux(law, weights, out)
    for n in range(1, _MOST + 1):
        law = matrix @ law
        law /= weights @ law
        if n % _EVERY == 0:
            before, flux = flux, _flux(law, weights, out)
            if abs(flux - before) <= _SETTLED * flux:
                break
    else:
        raise ArithmeticError("the quasi-stationary law did not settle")
    # Chances to be inside in the end, by place, times the weights of the nodes.
    backward = LinearOperator(matrix.shape, matvec=lambda h: matrix.T @ np.ravel(h), dtype=float)
    chance = np.abs(eigs(backward, k=1, v0=weights, which="LM", tol=1e-12)[1][:, 0])
    chance /= chance @ law
    share = float(chance @ first)
    rest = first - share * law

    def complement(p: Array) -> Array:
        flat = np.ravel(p)
        return flat - matrix @ flat + law * float(chance @ flat)

    operator = LinearOperator(matrix.shape, matvec=complement, dtype=float)
    solved, failed = gmres(operator, rest, rtol=1e-11, restart=120, maxiter=5)
    if failed:
        raise ArithmeticError("the part of the mean that is not quasi-stationary did not converge")
    return share * float(weights @ law) / flux + float(weights @ solved), flux


def mean_time(generator: sparse.csc_array, start: Array, leaving: Array) -> tuple[float, float]:
    """Return the mean time inside of a Markov chain with absorbing walls, and the rate at which it leaves in the end.

    Parameters
    ----------
    generator
        Rates from cell to cell (columns), and less those of leaving each on the diagonal, (n, n).
    start
        Masses of the cells, shape (n,).
    leaving
        Rates at which each cell is left for good, to their own digits, shape (n,).

    Notes
    -----
    A vector from a factorisation has the digits of its largest entry alone. Entries are measured by what is known of
    them, which makes a vector of ones of the law, until all of them have digits.
    """
    scale, fastest = np.ones(len(start)), float(np.max(-generator.diagonal()))
    for _ in range(_ROUNDS):
        scaled = (sparse.diags_array(1 / scale) @ generator @ sparse.diags_array(scale)).tocsc()
        factors = splu(scaled - _SHIFT * fastest * sparse.eye_array(len(start), format="csc"))
        law = np.ones(len(start))
        for _ in range(_TURNS):
            law = np.abs(factors.solve(law))
            law /= law.max()
        if np.all((law > _DIGITS) | (scale <= _NOTHING)):
            break
        scale = np.maximum(scale * np.maximum(law, _DIGITS), _NOTHING)
    chance = scale.copy()  # to be inside in the end, times the law
    for _ in range(_TURNS):
        chance = np.abs(factors.solve(chance, trans="T"))
        chance /= chance.max()
    first, chance = start / scale, chance / (chance @ law)
    total, share = float(scale @ law), float(chance @ first)
    rest = factors.solve(share * law - first)
    rest -= law * float(chance @ rest)
    rate = float((leaving * scale) @ law) / total
    return share * total / rate + float(scale @ rest), rate


def _flux(law: Array, weights: Array, out: Array) -> float:
    """Return the probability to leave in a step from a law."""
    return float((weights * out) @ law / (weights @ law))
