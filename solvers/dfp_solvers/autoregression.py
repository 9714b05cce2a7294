"""First-order autoregression with a symmetric matrix, y = Mx + c + e: maximum likelihood, influence, and small bias.

The likelihood is that of Gaussian e with any covariance, given the first state of every run (Hamilton 1994, chapter
11), restricted to symmetric M. With V that takes the covariance Q of e to one and the scatter S of x to diag(s),
QVVᵀ = 1 and VᵀSV = diag(s), M = V̂BV̂ᵀ has independent entries B_ij of information s_i + s_j (i = j: s_i).
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh
from scipy.signal import lfilter

from dfp_solvers.arrays import Array

# The likelihood is convex in M for given Q: alternating ends at rounding.
_ROUNDS, _RELATIVE = 200, 1e-13
# Numbers in memory at a time while influences are summed.
_CHUNK = 2**22


class Autoregression(NamedTuple):
    """What N transitions say: M (d, d), the fixed point (d,), residuals (N, d), their covariance Q (d, d)."""

    matrix: Array
    fixed_point: Array
    residuals: Array
    noise: Array


class Influence(NamedTuple):
    """Standard deviations of the estimates: M or its root (d, d), fixed point (d,), noise of a step (d, d)."""

    matrix: Array
    fixed_point: Array
    noise: Array


def estimate(before: Array, after: Array) -> Autoregression:
    """Return the maximum of the likelihood for transitions (N, d) -> (N, d); the noise is freed of its small bias.

    Raises
    ------
    numpy.linalg.LinAlgError
        If states or residuals leave out a direction.
    """
    count, d = before.shape
    centre, image = before.mean(0), after.mean(0)
    x, y = before - centre, after - image
    scatter, crossed, spread = x.T @ x, y.T @ x, y.T @ y
    matrix = np.linalg.solve(scatter, crossed.T).T  # least squares, not yet symmetric
    for _ in range(_ROUNDS):
        noise = (spread - matrix @ crossed.T - crossed @ matrix.T + matrix @ scatter @ matrix.T) / count
        previous, matrix = matrix, _symmetric(scatter, crossed, noise)
        if np.abs(matrix - previous).max() <= _RELATIVE * np.abs(matrix).max():
            break
    residuals = y - x @ matrix.T
    used = 1 + (d + 1) / 2  # parameters per component: of a symmetric matrix, and the offset
    noise = residuals.T @ residuals / (count - used)
    fixed_point = np.linalg.solve(np.eye(d) - matrix, image - matrix @ centre)
    return Autoregression(matrix, fixed_point, residuals, (noise + noise.T) / 2)


def _basis(scatter: Array, noise: Array) -> tuple[Array, Array]:
    """Return s (d,) and W with WᵀQ⁻¹W = 1, WᵀSW = diag(s)."""
    precision = np.linalg.inv(noise)
    values, vectors = eigh(scatter, (precision + precision.T) / 2)
    return values, vectors


def _symmetric(scatter: Array, crossed: Array, noise: Array) -> Array:
    """Return the symmetric M that minimises tr Q⁻¹(MSM − MX' − XM), X = Σ y xᵀ."""
    values, basis = _basis(scatter, noise)
    right = basis.T @ np.linalg.solve(noise, crossed) @ basis
    entries = (right + right.T) / (values[:, None] + values)
    return basis @ entries @ basis.T


def asymmetry(before: Array, after: Array, fitted: Autoregression) -> tuple[float, int]:
    """Return the statistic χ² of all matrices against symmetric ones, and its degrees of freedom d(d−1)/2."""
    count, d = before.shape
    x, y = before - before.mean(0), after - after.mean(0)
    free = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    restricted = np.linalg.slogdet(fitted.residuals.T @ fitted.residuals)[1]
    return float(count * (restricted - np.linalg.slogdet(free.T @ free)[1])), d * (d - 1) // 2


def root(matrix: Array, power: int) -> Array:
    """Return the symmetric A with A^power = M; of two real roots the positive one; NaN where there is none."""
    values, vectors = np.linalg.eigh(matrix)
    with np.errstate(invalid="ignore"):
        roots = np.sign(values) * np.abs(values) ** (1 / power) if power % 2 else values ** (1 / power)
    return (vectors * roots) @ vectors.T


def noise_of_a_step(step: Array, noise: Array, power: int) -> Array:
    """Return Q with Σ_{s<power} AˢQAˢ = ``noise``, for symmetric A."""
    values, vectors = np.linalg.eigh(step)
    turned = vectors.T @ noise @ vectors / _geometric(values, power)
    return vectors @ turned @ vectors.T


def _geometric(values: Array, power: int) -> Array:
    """Return Σ_{s<power} (a_i a_j)ˢ."""
    product = np.outer(values, values)
    return sum((product**s for s in range(power)), np.zeros_like(product))


def _divided(values: Array, power: int) -> Array:
    """Return Σ_{t<power} a_i^t a_j^(power−1−t), the divided difference of a^power."""
    total = np.zeros((values.size, values.size))
    for t in range(power):
        total += np.outer(values**t, values ** (power - 1 - t))
    return total


def influence(before: Array, fitted: Autoregression, step: Array, power: int = 1) -> Influence:
    """Return standard deviations from the influence of every transition, valid for any law of e, also where it varies.

    Parameters
    ----------
    before
        States x, shape (N, d).
    fitted
        Of ``estimate``.
    step, power
        A with A^power = M: deviations are those of A and of the noise of one step.
    """
    count, d = before.shape
    centre, values = before.mean(0), np.linalg.eigh(step)[0]
    vectors, x = np.linalg.eigh(step)[1], before - before.mean(0)
    scale, basis = _basis(x.T @ x, fitted.noise)
    inverse = np.linalg.inv(np.eye(d) - fitted.matrix)
    noise = vectors.T @ noise_of_a_step(step, fitted.noise, power) @ vectors
    sums = np.zeros((d, d)), np.zeros(d), np.zeros((d, d))
    size = max(_CHUNK // (d * d), 1)
    for first in range(0, count, size):
        e, part = fitted.residuals[first : first + size], x[first : first + size]
        pair = np.einsum("ni,nj->nij", np.linalg.solve(fitted.noise, e.T).T @ basis, part @ basis)
        moved = basis @ ((pair + pair.transpose(0, 2, 1)) / (scale[:, None] + scale)) @ basis.T
        centred = (e / count + moved @ (centre - fitted.fixed_point)) @ inverse.T
        turned = vectors.T @ moved @ vectors / _divided(values, power)
        spread = e @ vectors
        squares = (np.einsum("ni,nj->nij", spread, spread) - vectors.T @ fitted.noise @ vectors) / count
        for s in range(1, power):  # the noise of a step depends on A as well
            bent = turned * _divided(values, s) @ noise * values**s
            squares -= bent + bent.transpose(0, 2, 1)
        squares /= _geometric(values, power)
        sums[0][...] += np.sum((vectors @ turned @ vectors.T) ** 2, axis=0)
        sums[1][...] += np.sum(centred**2, axis=0)
        sums[2][...] += np.sum((vectors @ squares @ vectors.T) ** 2, axis=0)
    return Influence(*map(np.sqrt, sums))


def bias(
    fitted: Autoregression, starts: Array, transitions: int, replicates: int, seed: int = 0
) -> tuple[Array, Array]:
    """Return the bias of M and of the noise, from data sets drawn like the given one (parametric bootstrap).

    Parameters
    ----------
    starts
        First state of every run, shape (R, d).
    transitions
        Of every run.
    replicates
        Data sets drawn: the bias errs by standard error / √replicates.
    seed
        Nothing else decides what is drawn.
    """
    values, vectors = np.linalg.eigh(fitted.matrix)
    values = np.clip(values, -1.0, 1.0)  # data sets do not explode
    factor = np.linalg.cholesky(fitted.noise)
    rng = np.random.default_rng(seed)
    matrix, noise = np.zeros_like(fitted.matrix), np.zeros_like(fitted.matrix)
    begin = (starts - fitted.fixed_point) @ vectors
    runs, d = starts.shape
    truth = (vectors * values) @ vectors.T
    for _ in range(replicates):
        driven = rng.standard_normal((runs, transitions, d)) @ factor.T @ vectors
        path = np.empty((runs, transitions + 1, d))
        path[:, 0] = begin
        for i, value in enumerate(values):
            state = (value * begin[:, i])[:, None]
            path[:, 1:, i] = lfilter([1.0], [1.0, -value], driven[:, :, i], axis=1, zi=state)[0]
        path = path @ vectors.T
        again = estimate(path[:, :-1].reshape(-1, d), path[:, 1:].reshape(-1, d))
        matrix += again.matrix - truth
        noise += again.noise - fitted.noise
    return matrix / replicates, noise / replicates


def variances(position: Array, squares: Array) -> tuple[Array, Array]:
    """Fit squares of residuals by D + 2rx + Γx²: quasi-likelihood, weights 1/(D + 2rx + Γx²)².

    Parameters
    ----------
    position
        x, shape (N,).
    squares
        Squared residuals, shape (N,).

    Returns
    -------
    tuple
        (D, 2r, Γ) and their covariance (3, 3) for any law of the residuals (sandwich).
    """
    unit = float(np.sqrt(np.mean(position**2)))
    columns = np.stack([np.ones_like(position), position / unit, (position / unit) ** 2], axis=1)
    level = float(squares.mean())
    predicted: Array = np.full_like(squares, level)
    coefficients: Array = np.zeros(3)
    for _ in range(50):
        weighted = columns / predicted[:, None] ** 2
        previous, coefficients = coefficients, np.linalg.solve(weighted.T @ columns, weighted.T @ squares)
        predicted = np.maximum(columns @ coefficients, 0.05 * level)
        if np.abs(coefficients - previous).max() <= 1e-10 * np.abs(coefficients).max():
            break
    bread = np.linalg.inv(weighted.T @ columns)
    score = weighted * (squares - columns @ coefficients)[:, None]
    units = np.array([1.0, unit, unit**2])
    return coefficients / units, bread @ (score.T @ score) @ bread / np.outer(units, units)
