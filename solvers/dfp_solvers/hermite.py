"""Hermite series around a moving Gaussian: P(θ) = N(θ; μ, LLᵀ) Σ_m c_m h_m(z), z = L⁻¹(θ − μ), h_m = He_m / √m!.

The coefficients are moments, c_m = E[h_m(z)], so a step is the adjoint of the evolution acting on polynomials: lower
triangular in the degree, and exact wherever the series is cut. Gauss–Hermite quadrature projects, exactly for the
polynomials that occur. Theory page, section 5.
"""

from functools import cache
from itertools import product

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from scipy.special import gammaln

from dfp_solvers.arrays import Array, Integers
from dfp_solvers.jit import kernel

# Powers of samples at once, in numbers.
_AT_ONCE = 2**17


@cache
def indices(dimension: int, degree: int) -> Integers:
    """Return the multi-indices m of total degree up to ``degree``, by degree, shape (K, d)."""
    every = [m for m in product(range(degree + 1), repeat=dimension) if sum(m) <= degree]
    return np.array(sorted(every, key=lambda m: (sum(m), *(-i for i in m))), dtype=np.int64)


@cache
def quadrature(dimension: int, degree: int) -> tuple[Array, Array]:
    """Return nodes (Q, d) and weights (Q,) that integrate products of two polynomials of ``degree`` over N(0, I)."""
    nodes, weights = hermegauss(degree + 1)
    weights = weights / weights.sum()
    grid = np.stack(np.meshgrid(*[nodes] * dimension, indexing="ij"), axis=-1).reshape(-1, dimension)
    tensor = np.prod(np.meshgrid(*[weights] * dimension, indexing="ij"), axis=0).ravel()
    return grid, tensor


@cache
def _pairs(dimension: int, degree: int, increments: int) -> tuple[Integers, Integers, Integers, Array]:
    """Return m, α, m − α as positions and √m! / (α! √(m−α)!) for all α <= m with |α| <= ``increments``."""
    every = indices(dimension, degree)
    position = {tuple(m): i for i, m in enumerate(every.tolist())}
    rows = [
        (i, position[alpha], position[tuple(x - a for x, a in zip(m, alpha, strict=True))])
        for i, m in enumerate(every.tolist())
        for alpha in product(*(range(x + 1) for x in m))
        if sum(alpha) <= increments
    ]
    target, shift, source = np.array(rows, dtype=np.int64).T
    factorials = gammaln(every + 1.0).sum(axis=1)
    weight = np.exp(0.5 * factorials[target] - factorials[shift] - 0.5 * factorials[source])
    return np.ascontiguousarray(target), np.ascontiguousarray(shift), np.ascontiguousarray(source), weight


def polynomials(z: Array, degree: int) -> Array:
    """Return h_n(z) for n = 0 … ``degree``, shape (degree + 1, *z.shape)."""
    result = np.empty((degree + 1, *z.shape))
    result[0] = 1.0
    if degree:
        result[1] = z
    for n in range(1, degree):
        result[n + 1] = (z * result[n] - np.sqrt(n) * result[n - 1]) / np.sqrt(n + 1)
    return result


def basis(z: Array, degree: int) -> Array:
    """Return h_m at the points ``z`` (Q, d), shape (K, Q)."""
    every = indices(z.shape[1], degree)
    result = np.ones((len(every), len(z)))
    for axis in range(z.shape[1]):
        result *= polynomials(z[:, axis], degree)[every[:, axis]]
    return result


@kernel()
def _combine(
    target: Integers, shift: Integers, source: Integers, weight: Array, increments: Array, values: Array
) -> Array:
    """Return Σ_α weight · increments[α] · values[m − α] for every m and node: the adjoint applied to each h_m."""
    result = np.zeros((values.shape[0], values.shape[1]))
    for p in range(len(target)):
        m, a, s, w = target[p], shift[p], source[p], weight[p]
        for q in range(values.shape[1]):
            result[m, q] += w * increments[a, q] * values[s, q]
    return result


def operator(places: Array, increments: Array, degree: int) -> Array:
    """Return the matrix (K, K) that takes coefficients before to coefficients after.

    Parameters
    ----------
    places
        For every quadrature node z, the place y in the frame afterwards about which increments act, shape (Q, d).
    increments
        E[δ^α] of the increment δ in the frame afterwards, given the node, for the first multi-indices α, shape (A, Q).
    """
    nodes, weights = quadrature(places.shape[1], degree)
    every = indices(places.shape[1], degree)
    highest = int(every[len(increments) - 1].sum())
    applied = _combine(*_pairs(places.shape[1], degree, highest), increments, basis(places, degree))
    matrix: Array = applied @ (basis(nodes, degree) * weights).T
    total = every.sum(axis=1)
    matrix[total[:, None] < total[None, :]] = 0.0
    return matrix


def gaussian_moments(covariance: Array, degree: int) -> Array:
    """Return E[δ^α] of δ ~ N(0, ``covariance`` (Q, d, d)) for |α| <= ``degree``, shape (K, Q), by Stein's recursion."""
    q, d = covariance.shape[:2]
    every = indices(d, degree)
    position = {tuple(m): i for i, m in enumerate(every.tolist())}
    result = np.zeros((len(every), q))
    result[0] = 1.0
    for i, m in enumerate(every.tolist()[1:], start=1):
        axis = next(a for a in range(d) if m[a])
        lower = [x - (a == axis) for a, x in enumerate(m)]
        for j in range(d):
            if lower[j]:
                key = tuple(x - (a == j) for a, x in enumerate(lower))
                result[i] += covariance[:, axis, j] * lower[j] * result[position[key]]
    return result


def sample_moments(samples: Array, degree: int) -> Array:
    """Return E[δ^α] of a draw δ from ``samples`` (Q, N, d), shape (K, Q)."""
    q, n, d = samples.shape
    every = indices(d, degree)
    # Sums over samples are products of matrices: powers of all axes but the last by powers of the last.
    leads, lead = np.unique(every[:, :-1], axis=0, return_inverse=True)
    result: Array = np.empty((len(every), q))
    some = max(_AT_ONCE // (n * len(leads)), 1)
    room = np.ones((d, degree + 1, some, n))
    for begin in range(0, q, some):
        here = np.ascontiguousarray(np.moveaxis(samples[begin : begin + some], 2, 0))
        powers = room[:, :, : here.shape[1]]
        for k in range(1, degree + 1):
            np.multiply(powers[:, k - 1], here, out=powers[:, k])
        others = powers[0, :1] if d == 1 else powers[0]
        if d > 2:
            others = np.prod([powers[a][leads[:, a]] for a in range(d - 1)], axis=0)
        table = others.transpose(1, 0, 2) @ powers[-1].transpose(1, 2, 0) / n
        result[:, begin : begin + some] = table[:, lead.ravel(), every[:, -1]].T
    return result


def summed_moments(single: Array, count: int, dimension: int, degree: int) -> Array:
    """Return E[δ^α] of the sum δ of ``count`` independent draws with the moments ``single``, each (K, Q)."""
    result: Array | None = None
    base, left = single, count
    while left:
        if left % 2:
            result = base if result is None else _convolved(result, base, dimension, degree)
        left //= 2
        if left:
            base = _convolved(base, base, dimension, degree)
    assert result is not None
    return result


def _convolved(a: Array, b: Array, dimension: int, degree: int) -> Array:
    """Return the moments of the sum of two independent vectors with moments ``a`` and ``b``, each (K, Q)."""
    target, shift, source, _ = _pairs(dimension, degree, degree)
    factorials = gammaln(indices(dimension, degree) + 1.0).sum(axis=1)
    weight = np.exp(factorials[target] - factorials[shift] - factorials[source])
    return _combine(target, shift, source, weight, a, b)


def displaced(moments: Array, shift: Array, degree: int) -> Array:
    """Return the raw moments (K, Q) of δ + ``shift`` (Q, d) from those of δ, ``moments`` (K, Q)."""
    every = indices(shift.shape[1], degree)
    certain = np.prod(shift.T[None] ** every[:, :, None], axis=1)
    return _convolved(moments, certain, shift.shape[1], degree)


def to_powers(dimension: int, degree: int) -> Array:
    """Return the matrix (K, K) that takes E h_m(z) to E z^α."""
    nodes, weights = quadrature(dimension, degree)
    powers = np.prod(nodes.T[None] ** indices(dimension, degree)[:, :, None], axis=1)
    return (powers * weights) @ basis(nodes, degree).T


def fixed_point(rate: Array, dimension: int) -> tuple[Array, int]:
    """Return the coefficients c, c_0 = 1, with ``rate`` c = 0, and their degree.

    Parameters
    ----------
    rate
        Lower triangular change of the coefficients per step or unit of time, shape (K, K).

    Notes
    -----
    It ends below the first degree whose moments do not decay: they do not exist.
    """
    total = next(t for t in (indices(dimension, n).sum(axis=1) for n in range(len(rate) + 1)) if len(t) == len(rate))
    degree = int(total[-1])
    for n in range(1, degree + 1):
        # Eigenvalues of a step, less one, or of a rate: both decay left of the imaginary axis; a step also needs
        # more, which its second moments, bounded by assumption, ensure at low degree.
        block = np.linalg.eigvals(rate[np.ix_(total == n, total == n)])
        if np.max(block.real) >= 0:
            degree = n - 1
            break
    keep = int(np.sum(total <= degree))
    result = np.zeros(keep)
    result[0] = 1.0
    result[1:] = np.linalg.solve(rate[1:keep, 1:keep], -rate[1:keep, 0])
    return result, degree


def shells(coefficients: Array, dimension: int, degree: int) -> Array:
    """Return the Euclidean norm of the coefficients of each total degree, shape (degree + 1,)."""
    total = indices(dimension, degree).sum(axis=1)
    return np.sqrt(np.bincount(total, weights=coefficients**2, minlength=degree + 1))


def best_cut(sizes: Array) -> tuple[int, float]:
    """Return the degree to cut at, and the L1 error estimate: the size of the next four shells.

    Four, because every second one of a symmetric density vanishes, and mixtures have more that nearly do. Shells 1 and
    2 vanish in the frame of the exact mean and covariance, so the cut is at degree 2 or above.
    """
    if len(sizes) < 5:
        return len(sizes) - 1, float("inf")
    following = np.lib.stride_tricks.sliding_window_view(sizes[3:], min(4, len(sizes) - 3))
    norms = np.sqrt(np.sum(following**2, axis=1))
    cut = int(np.argmin(norms))
    return cut + 2, float(norms[cut])


def series(coefficients: Array, mean: Array, factor: Array, points: Array, degree: int) -> Array:
    """Return the density at ``points`` (..., d) of the series in the frame (``mean``, ``factor``)."""
    d = points.shape[-1]
    z = np.linalg.solve(factor, (points.reshape(-1, d) - mean).T)
    every = indices(d, degree)
    envelope = np.exp(-0.5 * np.sum(z * z, axis=0)) / (np.prod(np.diag(factor)) * (2 * np.pi) ** (d / 2))
    tables = [polynomials(z[axis], degree) for axis in range(d)]
    total = np.zeros(z.shape[1])
    for lead in {tuple(m[:-1]) for m in every.tolist()}:
        rows = np.flatnonzero(np.all(every[:, :-1] == np.array(lead, dtype=np.int64), axis=1))
        term = coefficients[rows] @ tables[-1][every[rows, -1]]
        for axis, power in enumerate(lead):
            term = term * tables[axis][power]
        total += term
    return (total * envelope).reshape(points.shape[:-1])
