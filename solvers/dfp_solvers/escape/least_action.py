"""The path of least action between a point and an exit: Newton's method on all its points at once (T24).

The action is a sum over steps, so its second derivatives are a band: one Newton step costs O(N). They come from central
differences of exact first derivatives. Where the action is not convex, the band is shifted until it is
(Levenberg–Marquardt), so that every step descends.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_solve_banded, cholesky_banded

from dfp_solvers.arrays import Array
from dfp_solvers.escape.costs import Price

Cost = Callable[[Array, Array], Price]
# Step of central differences, in units of the landscape's scale: h² against 1e-10/h of first derivatives that may be
# differences themselves.
_STEP = 1e-4
# A predicted descent below this share of the action ends the search; what is left is of that order.
_DONE, _ITERATIONS = 1e-13, 200
# Iterations that together gain less than a share of the action slide along a valley: a path with more time does not.
_PATIENCE, _SLIDES = 10, 1e-6


class LeastPath(NamedTuple):
    """A path (N + 1, d) that costs least, its action, and whether the search has converged."""

    path: Array
    action: float
    converged: bool


def least_path(cost: Cost, path: Array, free: NDArray[np.bool_], scale: float) -> LeastPath:
    """Return the path of least action near ``path``, with the same first point and number of steps.

    Parameters
    ----------
    path
        Shape (N + 1, d), N >= 2.
    free
        Which coordinates of the last point may move, shape (d,); the others are where the exit is.
    scale
        Length over which the landscape changes.
    """
    held = np.concatenate([np.zeros((len(path) - 2, len(free)), dtype=bool), ~free[None]]).ravel()
    action, shift = float(np.sum(cost(path[:-1], path[1:]).cost)), 0.0
    past = [np.inf] * _PATIENCE
    for n in range(_ITERATIONS):
        if past[n] - action < _SLIDES * action:
            break
        past.append(action)
        slope, band = _derivatives(cost, path, held, _STEP * scale)
        largest = float(np.max(band[0]))
        while True:
            move = _solved(band, slope, held, shift)
            if move is not None:
                predicted = float(slope @ move) / 2
                if not predicted > _DONE * action:
                    return LeastPath(path, action, True)
                trial = path.copy()
                trial[1:] -= move.reshape(-1, path.shape[1])
                with np.errstate(over="ignore", invalid="ignore"):
                    price = float(np.sum(cost(trial[:-1], trial[1:]).cost))
                if price <= action - 1e-2 * predicted:
                    break
            shift = max(4 * shift, 1e-6 * largest)
            if shift > 1e8 * largest:
                return LeastPath(path, action, predicted_small(slope, band, action))
        path, action = trial, price
        shift = 0.0 if shift < 1e-5 * largest else shift / 8
    return LeastPath(path, action, False)


def predicted_small(slope: Array, band: Array, action: float) -> bool:
    """Tell whether no step of any length can lower the action by more than rounding."""
    return float(np.max(slope**2 / np.abs(band[0]))) < 1e-9 * max(action, 1e-300)


def _derivatives(cost: Cost, path: Array, held: NDArray[np.bool_], h: float) -> tuple[Array, Array]:
    """Return the gradient (N·d,) of the action by all points but the first, and its second derivatives: a band."""
    d = path.shape[1]
    start, end = path[:-1], path[1:]
    price = cost(start, end)
    slope = price.by_end.copy()
    slope[:-1] += price.by_start[1:]
    count = len(end)
    own, next_ = np.zeros((count, d, d)), np.zeros((count, d, d))
    for k in range(d):
        step = h * np.eye(d)[k]
        up, down = cost(start, end + step), cost(start, end - step)
        own[:, :, k] += (up.by_end - down.by_end) / (2 * h)
        up, down = cost(start + step, end), cost(start - step, end)
        own[:-1, :, k] += (up.by_start - down.by_start)[1:] / (2 * h)
        next_[:, :, k] = (up.by_end - down.by_end) / (2 * h)  # by the end of a step, then by its start
    own = (own + np.swapaxes(own, 1, 2)) / 2
    band = np.zeros((2 * d, count * d))
    for i in range(d):
        for k in range(d):
            if i >= k:
                band[i - k, k::d] = own[:, i, k]
            band[d + i - k, k : (count - 1) * d : d] = next_[1:, i, k]
    flat = slope.ravel().copy()
    flat[held] = 0.0
    for row in range(1, 2 * d):
        band[row, held] = 0.0
        into = np.flatnonzero(held) - row
        band[row, into[into >= 0]] = 0.0
    return flat, band


def _solved(band: Array, slope: Array, held: NDArray[np.bool_], shift: float) -> Array | None:
    """Return (B + shift)⁻¹ slope, or None if that is not positive definite."""
    shifted = band.copy()
    shifted[0] += shift
    shifted[0, held] = np.max(np.abs(band[0])) or 1.0
    try:
        return cho_solve_banded((cholesky_banded(shifted, lower=True), True), slope)
    except LinAlgError:
        return None


def lengthened(path: Array, count: int) -> Array:
    """Return the path with ``count`` more steps of rest at its first point and wherever it hardly moves.

    Near a critical point time costs nothing, and the least action takes all there is.
    """
    stride = np.linalg.norm(np.diff(path, axis=0), axis=1)
    slow = np.flatnonzero(stride < 0.05 * np.max(stride))
    repeats = np.ones(len(path), dtype=int)
    repeats[0] += count
    for group in np.split(slow, np.flatnonzero(np.diff(slow) > 1) + 1):
        if group.size and group[0] > 0:
            slowest = int(group[np.argmin(stride[group])])
            repeats[slowest + (slowest == len(stride) - 1)] += count
    return np.repeat(path, repeats, axis=0)
