"""Random walks on a lattice that match the mean and raw second moment of a step: P' = W P with W >= 0 (T5).

Along one axis, in cells, a step of mean n + r (n an integer, 0 <= r < 1) and variance v goes to the nodes n − 1 … n + 2
with the weights

    (1−r)(v−r(1−r))/2,   (1−r)(1−v−r²) + r(v+(1−r)²+(1−r))/2,   … and the same read from the other end, r ↔ 1 − r:

the three-node weights (v+r²∓r)/2 and 1−v−r² about n and about n + 1 in the shares 1 − r and r, so that they
are continuous where n changes. They are positive if r(1−r) <= v <= 1, for all r if ¼ <= v <= 1. In d dimensions
independent steps along the axes and jumps ±(e_i ± e_j) for the off-diagonal entries of the covariance add up:
V = diag(V_ii − Σ_j |V_ij|) + Σ_{i<j} |V_ij| (e_i ± e_j)(e_i ± e_j)ᵀ.
"""

from collections.abc import Iterator
from itertools import combinations, product

import numpy as np
from scipy import sparse

from dfp_solvers.arrays import Array, Integers


def line_weights(r: Array, v: Array) -> Array:
    """Return the weights of the nodes n − 1 … n + 2, shape (4, ...)."""
    s = 1 - r
    below, above = v + r * r, v + s * s
    return np.array(
        [
            s * (below - r) / 2,
            s * (1 - below) + r * (above + s) / 2,
            s * (below + r) / 2 + r * (1 - above),
            r * (above - s) / 2,
        ]
    )


def variances(covariance: Array) -> Array:
    """Return what is left for the steps along the axes, V_ii − Σ_j |V_ij|, shape (N, d)."""
    diagonal = np.einsum("nii->ni", covariance)
    return 2 * np.abs(diagonal) - np.abs(covariance).sum(axis=2)


def moves(drift: Array, covariance: Array) -> Iterator[tuple[Integers, Array]]:
    """Yield offsets (N, d) and their weights (N,) for steps of mean ``drift`` (N, d) and ``covariance`` (N, d, d)."""
    count, d = drift.shape
    whole = np.floor(drift).astype(np.int64)
    lines = line_weights(drift - whole, variances(covariance))
    jumps = [(np.zeros((count, d), dtype=np.int64), 1 - np.abs(np.triu(covariance, 1)).sum(axis=(1, 2)))]
    for i, j in combinations(range(d), 2):
        if np.any(covariance[:, i, j]):
            jump = np.zeros((count, d), dtype=np.int64)
            jump[:, i], jump[:, j] = 1, np.sign(covariance[:, i, j])
            jumps += [(sign * jump, np.abs(covariance[:, i, j]) / 2) for sign in (1, -1)]
    for nodes in product(range(4), repeat=d):
        weight = np.prod([lines[node, :, axis] for axis, node in enumerate(nodes)], axis=0)
        for jump, share in jumps:
            yield whole + np.array(nodes) - 1 + jump, weight * share


def walk(drift: Array, covariance: Array, shape: tuple[int, ...]) -> sparse.csr_array:
    """Return the matrix of one step on the cells of a box, in C order.

    Parameters
    ----------
    drift
        Mean steps in units of cells, shape (N, d), N = Π ``shape``.
    covariance
        Their covariances V, shape (N, d, d).

    Returns
    -------
    scipy.sparse.csr_array
        Shape (N, N); columns sum to one, less the weight that leaves the box. Entries are negative where V is too large
        or too small for positive weights.
    """
    count = len(drift)
    source = np.arange(count)
    place = np.stack(np.unravel_index(source, shape), axis=1)
    matrix = sparse.csr_array((count, count))
    for offset, weight in moves(drift, covariance):
        target = place + offset
        inside = np.all((target >= 0) & (target < np.array(shape)), axis=1) & (weight != 0)
        row = np.ravel_multi_index(tuple(target[inside].T), shape)
        matrix = matrix + sparse.csr_array((weight[inside], (row, source[inside])), shape=(count, count))
    return matrix


def march(values: Array, matrix: sparse.csr_array, steps: int) -> Array:
    """Return the masses ``values`` (n_1, ..., n_d) after ``steps`` steps of the walk."""
    flat = values.ravel()
    for _ in range(steps):
        flat = matrix @ flat
    return flat.reshape(values.shape)
