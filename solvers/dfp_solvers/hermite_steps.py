"""Steps of Hermite series degree by degree: polynomials of the next degree from those of the last two.

Row m of an operator holds the coefficients over h_k(z) of what h_m of the state afterwards is on average, given z.
Multiplying by a coordinate, z_a h_k = √(k_a+1) h_{k+e_a} + √k_a h_{k−e_a}, leads from one degree to the next.
"""

from functools import cache

import numpy as np
from scipy import sparse

from dfp_solvers.arrays import Array, Integers
from dfp_solvers.hermite import indices
from dfp_solvers.jit import kernel


@cache
def _ladder(dimension: int, degree: int) -> tuple[Integers, Integers]:
    """Return where m + e_a and m − e_a are in ``indices``, each (K, d), −1 where they are not."""
    every = indices(dimension, degree)
    position = {tuple(m): i for i, m in enumerate(every.tolist())}
    unit = np.eye(dimension, dtype=np.int64)
    up, down = (
        np.array([[position.get(tuple(m + sign * unit[a]), -1) for a in range(dimension)] for m in every], np.int64)
        for sign in (1, -1)
    )
    return up, down


@kernel(fast=True)
def _multiply(
    row: Array, size: int, axis: int, root: Array, up: Integers, down: Integers, factor: float, out: Array
) -> None:
    """Add ``factor`` z_axis times a polynomial, whose first ``size`` coefficients are not zero, to ``out``."""
    for k in range(size):
        value = factor * row[k]
        out[up[k, axis]] += root[up[k, axis], axis] * value
        if down[k, axis] >= 0:
            out[down[k, axis]] += root[k, axis] * value


@kernel(fast=True)
def _rows(
    every: Integers, root: Array, up: Integers, down: Integers, shift: Array, linear: Array, noise: Array
) -> Array:
    """Return the matrix of ``affine``; ``noise`` is less the identity, ``root`` √m (K, d)."""
    count, d = every.shape
    result, inner = np.zeros((count, count)), np.zeros(count)
    result[0, 0] = 1.0
    sizes = np.searchsorted(every.sum(axis=1), np.arange(every[-1].sum() + 2))
    for m in range(1, count):
        i = 0
        while every[m, i] == 0:
            i += 1
        last, out = down[m, i], result[m]
        size = sizes[every[last].sum() + 1]
        out[:size] = shift[i] * result[last, :size]
        for a in range(d):
            _multiply(result[last], size, a, root, up, down, linear[i, a], out)
        # Stein: E ε_i f(ε) = Σ_j C_ij E ∂_j f, and ∂_j h_m = √m_j h_{m−e_j}; C_ij = c + Σ_a z_a (c_a + Σ_b c_ab z_b).
        lower = sizes[every[last].sum()]
        for j in range(d):
            if down[last, j] >= 0:
                out[:lower] += root[last, j] * noise[i, j, 0, 0] * result[down[last, j], :lower]
        for a in range(d):
            inner[:size] = 0.0
            for j in range(d):
                if down[last, j] >= 0 and np.any(noise[i, j, :, a + 1] != 0.0):
                    row = result[down[last, j]]
                    inner[:lower] += 2 * root[last, j] * noise[i, j, 0, a + 1] * row[:lower]
                    for b in range(d):
                        _multiply(row, lower, b, root, up, down, root[last, j] * noise[i, j, a + 1, b + 1], inner)
            if np.any(inner[:size] != 0.0):
                _multiply(inner, size, a, root, up, down, 1.0, out)
        out /= root[m, i]
    return result


def affine(shift: Array, linear: Array, covariance: Array, degree: int) -> Array:
    """Return the operator (K, K) of z ↦ ``shift`` + ``linear`` z + ε with Gaussian ε given z.

    Parameters
    ----------
    shift, linear
        Shapes (d,) and (d, d), in the frame afterwards.
    covariance
        Of ε, as polynomials in φ = (1, z): [i, j, a, b] with φ_a φ_b, symmetric, shape (d, d, d+1, d+1).

    Notes
    -----
    By √(m_i+1) h_{m+e_i}(y + ε) = (y_i + ε_i) h_m − √m_i h_{m−e_i} and Stein's lemma; of K ~ D² polynomials in two
    dimensions each takes O(K), so D⁴ in all.
    """
    d = len(shift)
    every = indices(d, degree)
    noise = covariance.copy()
    noise[range(d), range(d), 0, 0] -= 1.0
    return _rows(every, np.sqrt(every), *_ladder(d, degree), shift, linear, noise)


@cache
def _terms(dimension: int, degree: int) -> tuple[Integers, Integers, Array, Integers]:
    """Return rows, columns, values and numbers of the terms 1, ∂_i φ_a and ½ ∂_i∂_j φ_a φ_b, φ = (1, z)."""
    every = indices(dimension, degree)
    root, (up, down) = np.sqrt(every), _ladder(dimension, degree)
    k = np.arange(len(every))

    def ladder(where: Integers, a: int, values: Array) -> sparse.csr_array:
        there = where[:, a] >= 0
        return sparse.csr_array((values[there], (k[there], where[there, a])), shape=(len(k), len(k)))

    one = sparse.eye_array(len(k), format="csr")
    lower = [ladder(down, a, root[:, a]) for a in range(dimension)]
    times = [one] + [lower[a] + ladder(up, a, root[up[:, a], a]) for a in range(dimension)]
    products = [one] + [lower[i] @ z for i in range(dimension) for z in times]
    products += [0.5 * (a @ b @ (y @ z)) for a in lower for b in lower for y in times for z in times]
    found = [product.tocoo() for product in products]
    number = np.concatenate([np.full(term.nnz, n) for n, term in enumerate(found)])
    rows, columns, values = (np.concatenate([getattr(term, name) for term in found]) for name in ("row", "col", "data"))
    return rows, columns, values, number


def second_order(weight: float, first: Array, second: Array, degree: int) -> sparse.csr_array:
    """Return the operator (K, K) of ``weight`` + a_i ∂_i + ½ s_ij ∂_i∂_j on functions of z, in one frame.

    Parameters
    ----------
    first, second
        a_i and s_ij as polynomials in φ = (1, z), shapes (d, d+1) and (d, d, d+1, d+1).
    """
    rows, columns, values, number = _terms(len(first), degree)
    coefficients = np.concatenate([[weight], first.ravel(), second.ravel()])
    size = len(indices(len(first), degree))
    return sparse.csr_array((values * coefficients[number], (rows, columns)), shape=(size, size))


def powered(matrix: Array | sparse.csr_array, steps: int, vector: Array) -> Array:
    """Return ``matrix`` to the power ``steps``, a power of two, times ``vector``: by squares while these cost less."""
    size = len(vector)
    while steps * (size**2 if isinstance(matrix, np.ndarray) else matrix.nnz) > 2 * size**3:
        dense = matrix if isinstance(matrix, np.ndarray) else matrix.toarray()
        matrix, steps = dense @ dense, steps // 2
    for _ in range(steps):
        vector = matrix @ vector
    return vector


def exponential(rate: sparse.csr_array, vector: Array) -> Array:
    """Return the exponential of ``rate`` times ``vector``: of the vector alone where that costs less."""
    from scipy.linalg import expm
    from scipy.sparse.linalg import expm_multiply

    size = len(vector)
    # Some two products for each unit of the norm; a dense exponential takes some fifteen of matrices.
    if 2 * sparse.linalg.norm(rate, 1) * rate.nnz < 15 * size**3:
        return np.asarray(expm_multiply(rate, vector))
    return np.asarray(expm(rate.toarray()) @ vector)
