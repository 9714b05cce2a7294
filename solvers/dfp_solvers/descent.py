"""Minimisation of smooth functions of many variables by limited-memory BFGS (Nocedal and Wright 2006, algorithm 7.5).

SciPy's L-BFGS-B keeps bounds, and takes for a thousand variables several times as long as the gradients it is made for.
"""

from collections import deque
from collections.abc import Callable

import numpy as np

from dfp_solvers.arrays import Array

# Share of the decrease that a slope promises, and halvings of a step, before a direction is given up.
_ARMIJO, _HALVINGS = 1e-4, 40
# Steps in a row without a decrease that counts, after which values are rounding.
_IDLE = 4


def minimise(
    objective: Callable[[Array], tuple[float, Array]],
    start: Array,
    *,
    most: int,
    decrease: float,
    slope: float,
    memory: int = 10,
) -> Array:
    """Return the best x found from ``start`` (n,).

    Parameters
    ----------
    objective
        Value and gradient (n,) at x; values where there is none may be infinite.
    most
        Steps at most.
    decrease, slope
        Ends where four steps together lower the value by less than ``decrease``, or no entry of the gradient is larger
        than ``slope``.
    memory
        Pairs of steps and differences of gradients that are kept.
    """
    x, (value, gradient) = start, objective(start)
    pairs: deque[tuple[Array, Array, float]] = deque(maxlen=memory)
    values = [value]
    for _ in range(most):
        if np.max(np.abs(gradient)) <= slope:
            break
        direction = _direction(gradient, pairs)
        downhill = float(direction @ gradient)
        length = 1.0 if pairs else min(1.0, 1.0 / float(np.sqrt(gradient @ gradient)))
        for _ in range(_HALVINGS):
            ahead = x + length * direction
            found, steeper = objective(ahead)
            if found <= value + _ARMIJO * length * downhill:
                break
            length /= 2
        else:
            if not pairs:
                break
            pairs.clear()
            continue
        moved, changed = ahead - x, steeper - gradient
        curvature = float(moved @ changed)
        if curvature > 1e-12 * float(changed @ changed) > 0:
            pairs.append((moved, changed, curvature))
        x, value, gradient = ahead, found, steeper
        values.append(value)
        if len(values) > _IDLE and values[-1 - _IDLE] - value < decrease:
            break
    return x


def _direction(gradient: Array, pairs: deque[tuple[Array, Array, float]]) -> Array:
    """Return minus the inverse Hessian of the ``pairs`` times ``gradient``, by the loop forth and back."""
    q, shares = gradient.copy(), []
    for moved, changed, curvature in reversed(pairs):
        share = float(moved @ q) / curvature
        shares.append(share)
        q -= share * changed
    if pairs:
        _, changed, curvature = pairs[-1]
        q *= curvature / float(changed @ changed)
    for (moved, changed, curvature), share in zip(pairs, reversed(shares), strict=True):
        q += (share - float(changed @ q) / curvature) * moved
    return -q
