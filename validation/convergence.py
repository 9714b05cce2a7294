"""Orders of convergence: slopes of errors on logarithmic axes, and how to draw them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfp.checks import Array


def pairwise(sizes: Array, errors: Array) -> Array:
    """Return the order between neighbouring sizes (falling), one fewer than sizes; nan where an error is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Array = np.diff(np.log(errors)) / np.diff(np.log(sizes))
    return result


def slope(sizes: Array, errors: Array, resolved: NDArray[np.bool_], points: int) -> float:
    """Return the slope of log error over log size at the ``points`` smallest sizes whose error is ``resolved``.

    Parameters
    ----------
    sizes, errors
        Falling sizes and the errors there, shape (K,).
    resolved
        Whether an error stands out of rounding, shape (K,).

    Raises
    ------
    ValueError
        If fewer than three errors are resolved.
    """
    kept = np.flatnonzero(resolved)[-points:]
    if kept.size < 3:
        raise ValueError(f"{kept.size} errors stand out of rounding: a slope needs 3; use larger sizes.")
    return float(np.polyfit(np.log(sizes[kept]), np.log(errors[kept]), 1)[0])


def key(axis: Any, sizes: Array, smallest: float, orders: Sequence[int], name: str) -> None:
    """Draw a small fan of lines of slope ``orders``, from ``smallest`` up, each with its power of ``name``."""
    ends = np.array([sizes.max() / 5, sizes.max()])
    for order in orders:
        axis.plot(ends, smallest * (ends / ends[0]) ** order, color="0.6", linewidth=0.9)
        power = "" if order == 1 else "⁰¹²³⁴⁵⁶⁷⁸⁹"[order]
        place = (ends[1], smallest * 5**order)
        axis.annotate(name + power, place, (4, 0), textcoords="offset points", va="center", color="0.35")
