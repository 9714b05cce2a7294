"""Derivatives of smooth functions by central differences of order eight, at the step that serves best.

Differences of neighbouring steps tell truncation, which falls like h⁸, from rounding, which grows like 1/h or 1/h²: the
step with the smallest one is taken. First derivatives come out to some 1e-13, second ones to some 1e-11, relatively.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dfp_solvers.arrays import Array

Function = Callable[[Array], Array]
Derivative = Callable[[Function, Array, float], Array]
# Weights of f(h k) − f(−h k), k = 1 … 4, over h, of the first derivative; of f(h k) + f(−h k) − 2 f(0) of the second.
_FIRST = np.array([4 / 5, -1 / 5, 4 / 105, -1 / 280])
_SECOND = np.array([8 / 5, -1 / 5, 8 / 315, -1 / 560])
# Steps that are tried, in units of the length over which the function changes.
_STEPS = 0.4 * 0.5 ** np.arange(6)
# Places, of many, on which the step is chosen.
_PLACES = 3


class Found(NamedTuple):
    """Derivatives, and how much they change with the step, relative to the largest or, if more, to what is usual.

    Usual is what the function varies by over its length, over that length or its square: where it is stationary or flat
    its derivatives are zero but for rounding.
    """

    values: Array
    error: float


def gradients(function: Function, places: Array, scale: float) -> Found:
    """Return the derivatives of ``function``: (d,) -> (n,) at ``places`` (P, d), shape (P, n, d).

    ``scale`` is the length over which it changes.
    """
    step, error = _best(_gradient, function, places, scale, 1)
    return Found(np.stack([_gradient(function, theta, step) for theta in places]), error)


def hessians(function: Function, places: Array, scale: float) -> Found:
    """Return the second derivatives of ``function``: (d,) -> (n,) at ``places`` (P, d), shape (P, n, d, d)."""
    step, error = _best(_hessian, function, places, scale, 2)
    return Found(np.stack([_hessian(function, theta, step) for theta in places]), error)


def _best(derivative: Derivative, function: Function, places: Array, scale: float, order: int) -> tuple[float, float]:
    """Return the step with the least change to the next shorter one, and that change, relatively."""
    few = places[np.unique(np.linspace(0, len(places) - 1, _PLACES).round().astype(np.int64))]
    found = [np.stack([derivative(function, theta, h) for theta in few]) for h in _STEPS * scale]
    with np.errstate(invalid="ignore"):
        usual = max(_variation(function, theta, scale) for theta in few) / scale**order
        size = max(float(np.nanmax(np.abs(found[-1]))), usual, 1e-300)
        changes = [float(np.max(np.abs(a - b))) / size for a, b in itertools.pairwise(found)]
    best = int(np.nanargmin(changes)) if np.any(np.isfinite(changes)) else len(changes) - 1
    # The shorter of the two errs less by truncation, and not much more by rounding.
    return float(_STEPS[best + 1] * scale), changes[best]


def _variation(function: Function, theta: Array, scale: float) -> float:
    """Return by how much a function changes within ``scale`` along the axes, the least of both directions."""
    middle, shifts = function(theta), scale * np.eye(len(theta))
    sides = [[float(np.max(np.abs(function(theta + sign * s) - middle))) for sign in (1, -1)] for s in shifts]
    return max((min(pair) for pair in sides if np.all(np.isfinite(pair))), default=0.0)


def _gradient(function: Function, theta: Array, h: float) -> Array:
    shifts = h * np.eye(len(theta))
    columns = [
        sum(w * (function(theta + k * s) - function(theta - k * s)) for k, w in enumerate(_FIRST, start=1)) / h
        for s in shifts
    ]
    return np.stack(columns, axis=-1)


def _hessian(function: Function, theta: Array, h: float) -> Array:
    """Return second derivatives; mixed ones are what those along diagonals have beyond those along both axes."""
    d, middle, axes = len(theta), function(theta), np.eye(len(theta))

    def along(shift: Array) -> Array:
        pairs = [function(theta + k * h * shift) + function(theta - k * h * shift) - 2 * middle for k in range(1, 5)]
        return np.tensordot(_SECOND, np.array(pairs), 1) / h**2

    result = np.empty((len(middle), d, d))
    for i in range(d):
        result[:, i, i] = along(axes[i])
        for j in range(i):
            both = along(axes[i] + axes[j]) - result[:, i, i] - result[:, j, j]
            result[:, i, j] = result[:, j, i] = both / 2
    return result
