"""The committor of Gaussian steps in the plane: to which of two discs they come first, from anywhere in a box (T4).

With q the probability to reach the second disc first, u = Kq is smooth everywhere, also where q jumps. What is not in
the discs is the box less both, so that u = K(u over the box) − K(u over the discs) + K(1 over the second): three
integrals of smooth functions, by Gauss–Legendre nodes in the box and polar ones in the discs.
"""

from collections.abc import Callable

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, gmres

from dfp_solvers import matrices
from dfp_solvers.absorbing import REACH, Quadrature, gaussian_kernel
from dfp_solvers.arrays import Array
from dfp_solvers.jit import kernel

# Means (n, d) and covariances (n, d, d) of where steps from places (n, d) end.
Step = Callable[[Array], tuple[Array, Array]]
# Nodes of a disc per width of the kernel: along a radius, and around.
_RADIAL, _AROUND, _LEAST = 1.6, 1.2, 6


def disc(centre: Array, radius: float, width: float) -> tuple[Array, Array]:
    """Return polar nodes (m, 2) and weights (m,) that integrate what is smooth on the scale ``width`` over a disc."""
    place, weight = np.polynomial.legendre.leggauss(int(np.ceil(_RADIAL * radius / width)) + _LEAST)
    count = int(np.ceil(_AROUND * 2 * np.pi * radius / width)) + 2 * _LEAST
    distance, angle = radius * (1 + place) / 2, 2 * np.pi * np.arange(count) / count
    around = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    nodes = (centre + distance[:, None, None] * around).reshape(-1, 2)
    return nodes, np.repeat(radius / 2 * weight * distance * 2 * np.pi / count, count)


def reached(step: Step, box: Quadrature, discs: list[tuple[Array, Array]], places: Array) -> Array:
    """Return the probability (m,) to be in the second disc before the first, a step or more after ``places`` (m, 2).

    Parameters
    ----------
    step
        Where steps end.
    box
        A rule that resolves them in a box that holds both discs; what leaves it comes to neither.
    discs
        Nodes and weights of both.

    Raises
    ------
    ArithmeticError
        If the iteration does not converge.
    """
    rings = np.concatenate([nodes for nodes, _ in discs])
    weights = np.concatenate([box.weights, *(-part for _, part in discs)])
    count, known = len(box.weights), len(weights)
    means, covariances = step(np.concatenate([box.nodes, rings, places]))
    flat, round_ = gaussian_kernel(box.axes, means, covariances).T, _gaussians(rings, means, covariances)

    def moved(values: Array) -> Array:
        weighed = weights * values
        result: Array = flat @ weighed[:count] + round_ @ weighed[count:]
        return result

    arriving = round_[:, len(discs[0][1]) :] @ discs[1][1]
    operator = LinearOperator((known, known), matvec=lambda u: np.ravel(u) - moved(np.ravel(u))[:known], dtype=float)
    solved, failed = gmres(operator, arriving[:known], rtol=1e-11, restart=120, maxiter=5)
    if failed:
        raise ArithmeticError("the committor did not converge")
    result: Array = (arriving + moved(solved))[known:]
    return result


def _gaussians(nodes: Array, means: Array, covariances: Array) -> sparse.csr_array:
    """Return the density at scattered ``nodes`` (n, 2) of each of m Gaussians, (m, n)."""
    result = np.zeros((len(means), len(nodes)))
    _fill(nodes, means, matrices.whitening(covariances), result)
    return sparse.csr_array(result)


@kernel(fast=True)
def _fill(nodes: Array, means: Array, factors: Array, result: Array) -> None:
    for s in range(len(means)):
        peak = factors[s, 0, 0] * factors[s, 1, 1] / (2 * np.pi)
        for j in range(len(nodes)):
            x, y = nodes[j, 0] - means[s, 0], nodes[j, 1] - means[s, 1]
            first, second = factors[s, 0, 0] * x, factors[s, 1, 0] * x + factors[s, 1, 1] * y
            square = first * first + second * second
            if square < REACH * REACH:
                result[s, j] = peak * np.exp(-0.5 * square)
