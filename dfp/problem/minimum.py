"""The nearest minimum of a landscape."""

from collections.abc import Callable

import numpy as np

from dfp.checks import Array
from dfp.errors import DFPError

# What is left of the gradient where it is at rounding: relative to its size at the start, or the curvature.
_FLAT = 1e-9


def minimised(gradient: Callable[[Array], Array], hessian: Callable[[Array], Array], start: Array) -> Array:
    """Return the nearest minimum to ``start`` (d,) of a loss with ``gradient`` (d,) and ``hessian`` (d, d).

    Raises
    ------
    DFPError
        If there is none: the search ends on a slope, on a saddle, or out of range.
    """
    from scipy.optimize import root

    place = start.copy()
    value = np.linalg.norm(gradient(place))
    for _ in range(200):  # Newton's method where the loss is convex, down the slope where it is not
        values, vectors = np.linalg.eigh(hessian(place))
        slope = vectors.T @ gradient(place)
        move = vectors @ (slope / np.maximum(np.abs(values), 1e-3 * max(float(np.abs(values).max()), 1e-300)))
        share = 1.0
        while share > 1e-6 and not np.linalg.norm(gradient(place - share * move)) < 2 * np.linalg.norm(slope):
            share /= 2
        place = place - share * move
        if np.linalg.norm(share * move) <= 1e-8 * (1 + np.linalg.norm(place)):
            break
    found = root(gradient, place, jac=hessian, tol=1e-14).x
    left = float(np.linalg.norm(gradient(found)))
    lowest = float(np.linalg.eigvalsh(hessian(found))[0])
    if not (
        left <= _FLAT * max(float(value), 1.0) and np.linalg.norm(found - place) < 1e-3 * (1 + np.linalg.norm(place))
    ):
        raise DFPError(
            f"at={start}: no minimum was found from there (the gradient is still {left:.3g} at θ = {found}); start "
            "nearer to one, or leave minimise out."
        )
    if not lowest > 0:
        raise DFPError(
            f"at={start}: leads to θ = {found}, where the Hessian has the eigenvalue {lowest:.3g}: no minimum; start "
            "nearer to one, or leave minimise out."
        )
    return found
