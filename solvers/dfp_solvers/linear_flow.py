"""Powers and exponentials of a linear operator given as a function: dense while small, else by repeated application."""

from collections.abc import Callable

import numpy as np
from scipy.linalg import expm

from dfp_solvers.arrays import Array

Operator = Callable[[Array], Array]

# Up to this size a dense matrix pays: its powers cost log(n) products, whatever the number of steps.
DENSE_SIZE = 300
# What is added to the diagonal of least squares whose solutions are right up to a constant, and the largest exponent.
_LOOSE, _FARTHEST = 1e-9, 400


def advance(
    derivative: Operator, start: Array, times: Array, *, discrete: bool, dense: bool, units: Array | None = None
) -> Array:
    """Return the states at ``times`` of v' = v + L v per step (discrete) or dv/dt = L v.

    Parameters
    ----------
    derivative
        L, acting on the last axis of arrays of shape (..., m).
    start
        State at time 0, shape (m,).
    times
        Increasing, shape (S,); integers if ``discrete``.
    dense
        Build the m × m matrix once and use its powers or exponentials.
    units
        Of the entries of a state, shape (m,), in which they are of one size: for series, while matrices tell theirs.

    Returns
    -------
    Array
        Shape (S, m).
    """
    states = np.empty((times.size, start.size))
    matrix = derivative(np.eye(start.size)).T if dense else None
    scale = np.ones(start.size) if discrete or units is None else units
    if matrix is not None and not discrete:
        scale = _units(matrix)
        matrix = matrix * (scale / scale[:, None])
    cache: dict[float, Array] = {}
    state: Array = start / scale
    now = 0.0
    for s, time in enumerate(times):
        gap = float(time) - now
        if gap > 0 and matrix is not None:
            if gap not in cache:
                cache[gap] = _transition(matrix, gap, discrete)
            state = cache[gap] @ state
        elif gap > 0 and discrete:
            for _ in range(round(gap)):
                state = state + derivative(state)
        elif gap > 0:
            state = _taylor(lambda scaled: derivative(scaled * scale) / scale, state, gap)
        states[s], now = state, float(time)
    return states * scale


def exponential(matrix: Array) -> Array:
    """Return e^A (m, m) of a matrix whose rows may be in very different units."""
    units = _units(matrix)
    ratios = units / units[:, None]
    return np.asarray(expm(matrix * ratios) / ratios)


def _units(matrix: Array) -> Array:
    """Return units of the state (m,), powers of two, in which couplings are as near as they come to the largest rate.

    The error of an exponential goes with the norm of its matrix, beside which moments in units of 1e8 are nothing. The
    units solve least squares of logarithms.
    """
    size = len(matrix)
    rate = float(np.abs(matrix.diagonal()).max())
    coupled = matrix != 0
    np.fill_diagonal(coupled, False)
    if not rate > 0 or not np.count_nonzero(coupled):
        return np.ones(size)
    logs = np.zeros_like(matrix)
    logs[coupled] = np.log2(np.abs(matrix[coupled])) - np.log2(rate)
    links = coupled.astype(float) + coupled.T
    laplacian = np.diag(links.sum(axis=1) + _LOOSE) - links
    wanted = np.linalg.solve(laplacian, logs.sum(axis=1) - logs.sum(axis=0))
    return np.asarray(np.exp2(np.clip(np.rint(wanted), -_FARTHEST, _FARTHEST)))


def _transition(matrix: Array, gap: float, discrete: bool) -> Array:
    if discrete:
        return np.linalg.matrix_power(np.eye(len(matrix)) + matrix, round(gap))
    return expm(gap * matrix)


def _taylor(derivative: Operator, state: Array, gap: float) -> Array:
    """Return exp(gap·L) state by Taylor series over pieces short enough that ‖piece·L‖ <= 1."""
    pieces = max(1, int(np.ceil(gap * _norm(derivative, state.size))))
    h = gap / pieces
    for _ in range(pieces):
        term = state
        for k in range(1, 31):
            term = derivative(term) * (h / k)
            state = state + term
            if np.max(np.abs(term)) <= 1e-17 * np.max(np.abs(state)):
                break
    return state


def _norm(derivative: Operator, size: int) -> float:
    """Return an estimate of the spectral radius of L: growth under a few power steps from a fixed random vector."""
    vector: Array = np.random.default_rng(0).standard_normal(size)
    growth = 0.0
    for _ in range(12):
        moved = derivative(vector)
        length = float(np.linalg.norm(moved))
        growth = max(growth, length / float(np.linalg.norm(vector)))
        if length == 0:
            break
        vector = moved / length
    return growth
