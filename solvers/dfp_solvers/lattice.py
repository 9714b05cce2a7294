"""Values on uniform lattices of cell centres: put on one, interpolated between two, multiplied along axes."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import sparse

from dfp_solvers.arrays import Array, Integers
from dfp_solvers.jit import kernel

# Entries of a matrix below which dense products are faster than sparse ones.
_SMALL = 2**13

_REACH = 8.5  # deviations at which a Gaussian is cut: 2e-17 of it is beyond


@kernel()
def _spline(position: float, count: int, nodes: Integers, shares: Array) -> None:
    """Write the four nodes around ``position`` [index], the nearest ones at the ends, and their cubic B-splines."""
    first = int(np.floor(position))
    t = position - first
    shares[0], shares[3] = (1 - t) ** 3 / 6, t**3 / 6
    shares[1] = (3 * t**3 - 6 * t**2 + 4) / 6
    shares[2] = 1 - shares[0] - shares[1] - shares[3]
    for k in range(4):
        nodes[k] = min(max(first + k - 1, 0), count - 1)


@kernel()
def _deposit(places: Array, weights: Array, shape: Integers, out: Array) -> None:
    """Add ``weights`` (m,) at ``places`` (m, 3) [index] to ``out`` (n1, n2, n3)."""
    nodes, shares = np.zeros((3, 4), dtype=np.int64), np.zeros((3, 4))
    for m in range(len(weights)):
        for axis in range(3):
            _spline(places[m, axis], shape[axis], nodes[axis], shares[axis])
        for i in range(4):
            for j in range(4):
                for k in range(4):
                    share = shares[0, i] * shares[1, j] * shares[2, k]
                    out[nodes[0, i], nodes[1, j], nodes[2, k]] += weights[m] * share


def deposit(points: Array, weights: Array, lower: Array, spacing: Array, shape: tuple[int, ...]) -> Array:
    """Return probabilities of cells, shape ``shape``, of ``weights`` (m,) at ``points`` (m, d), by cubic B-splines.

    The mean is kept and the variance along each axis grows by a third of a squared cell, wherever the points lie, so
    that lattices of different spacing differ smoothly. What falls beyond the outermost centres goes to the nearest one.
    """
    places, counts = np.zeros((len(weights), 3)), np.ones(3, dtype=np.int64)
    d = len(shape)
    places[:, :d], counts[:d] = (points - lower) / spacing - 0.5, shape
    out = np.zeros(counts)
    _deposit(places, weights, counts, out)
    return out.reshape(shape)


def normal_rule(spacing: float) -> tuple[Array, Array]:
    """Return nodes and weights, one in all, of the trapezoidal rule for a standard normal variable, to 2e-17 of it."""
    half = int(_REACH / spacing)
    nodes = spacing * np.arange(-half, half + 1)
    weights = np.exp(-0.5 * nodes**2)
    return nodes, weights / weights.sum()


def cloud(mean: Array, covariance: Array, spacing: Array) -> tuple[Array, Array]:
    """Return points (m, d) and weights (m,) that stand for a Gaussian with directions narrower than cells.

    A trapezoidal rule of 0.3 deviations or half a cell: its moments are the Gaussian's to rounding.
    """
    values, vectors = np.linalg.eigh(covariance / np.multiply.outer(spacing, spacing))
    points, weights = np.zeros((1, len(mean))), np.ones(1)
    for deviation, vector in zip(np.sqrt(np.maximum(values, 0.0)), vectors.T, strict=True):
        if deviation > 1e-12:
            nodes, shares = normal_rule(min(0.3, 0.5 / deviation))
            points = (points[:, None, :] + (deviation * nodes)[:, None] * vector).reshape(-1, len(mean))
            weights = np.outer(weights, shares).ravel()
    return mean + points * spacing, weights


def few(root: Array, reach: Array, most: int) -> tuple[Array, Array] | None:
    """Return points (m, d) and weights (m,) that stand for a Gaussian of mean zero, or None where they are many.

    Parameters
    ----------
    root
        M with the covariance MMᵀ, shape (d, d).
    reach
        For each normal, the largest s at which the rule has to have e^{−s²/2}, shape (d,).
    most
        Most points for each.

    Notes
    -----
    Gauss–Hermite rules, the shortest that are right to rounding.
    """
    points, weights = np.zeros((1, len(root))), np.ones(1)
    for column, end in zip(root.T, reach, strict=True):
        s = np.linspace(0, end, 16)
        for count in range(1, most + 1):
            nodes, shares = np.polynomial.hermite_e.hermegauss(count)
            shares = shares / shares.sum()
            if np.max(np.abs(np.cos(np.outer(s, nodes)) @ shares - np.exp(-(s**2) / 2))) < 1e-15:
                break
        else:
            return None
        points = (points[:, None, :] + nodes[:, None] * column).reshape(-1, len(root))
        weights = np.outer(weights, shares).ravel()
    return points, weights


def interpolation(old: Array, new: Array, points: int = 4) -> sparse.csr_array:
    """Return the matrix that takes values at the uniform nodes ``old`` to interpolants through ``points`` nodes, even.

    It is zero at new nodes more than half a cell beyond the old ones.
    """
    return _interpolation(len(old), (new - old[0]) / (old[1] - old[0]), points)


@lru_cache(maxsize=64)
def regridding(count: int, other: int, points: int) -> Any:
    """Return the matrix from ``count`` cells to ``other`` cells of the same box, dense if small; do not change it."""
    matrix = _interpolation(count, (np.arange(other) + 0.5) * (count / other) - 0.5, points)
    return matrix.toarray() if count * other <= _SMALL else matrix


def _interpolation(count: int, places: Array, points: int) -> sparse.csr_array:
    points = min(points, count // 2 * 2)
    first = np.clip(np.floor(places).astype(np.int64) - points // 2 + 1, 0, count - points)
    position = places - first
    inside = (places >= -0.5 - 1e-9) & (places <= count - 0.5 + 1e-9)
    nodes = np.arange(points)
    pairs = [(a, nodes[nodes != a]) for a in range(points)]
    entries = np.array([np.prod((position - b[:, None]) / (a - b)[:, None], axis=0) * inside for a, b in pairs])
    columns = (first + nodes[:, None]).T.ravel().astype(np.int32)
    begins = np.arange(0, points * len(places) + 1, points, dtype=np.int32)
    return sparse.csr_array((entries.T.ravel(), columns, begins), shape=(len(places), count))


def apply(matrices: Sequence[Any], values: Array) -> Array:
    """Return ``values`` (n_1, ..., n_d) multiplied along each axis by the matrix (m_i, n_i) of that axis."""
    if len(matrices) == 1:
        return np.asarray(matrices[0] @ values)
    for axis, matrix in enumerate(matrices):
        front = np.moveaxis(values, axis, 0)
        moved = matrix @ front.reshape(front.shape[0], -1)
        values = np.moveaxis(moved.reshape(-1, *front.shape[1:]), 0, axis)
    return values
