"""Orders of convergence: slopes of errors on logarithmic axes, and how to draw them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dfp.checks import Array


def pairwise(sizes: Array, errors: Array) -> Array:
    """Return the order between neighbouring sizes (falling), one fewer than sizes; nan where an error is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Array = np.diff(np.log(errors)) / np.diff(np.log(sizes))
    return result


def slope(sizes: Array, errors: Array, resolved: Array, points: int) -> float:
    """Return the slope of log error over log size at the ``points`` smallest sizes whose error is ``resolved``.

    Parameters
    ----------
    sizes, errors
        Falling sizes and the errors there, shape (K,).
    resolved
        Whether an error stands out of rounding, shape (K,).

    Returns
    -------
    float
        nan with fewer than three points.
    """
    kept = np.flatnonzero(resolved)[-points:]
    if kept.size < 3:
        return float("nan")
    return float(np.polyfit(np.log(sizes[kept]), np.log(errors[kept]), 1)[0])


def guide(axis: Any, sizes: Array, anchor: float, order: int) -> None:
    """Draw a thin line of slope ``order`` that passes ``anchor`` at the largest size, and write the order beside it."""
    ends = np.array([sizes.max(), sizes.min()])
    values = anchor * (ends / ends[0]) ** order
    axis.plot(ends, values, color="0.75", linewidth=0.8, zorder=0)
    axis.annotate(
        f"η{'⁰¹²³⁴'[order]}" if order > 1 else "η",
        (ends[1], values[1]),
        xytext=(-3, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize="small",
        color="0.45",
    )


def spread(values: Sequence[Array]) -> tuple[float, float]:
    """Return the smallest and largest positive finite number in some arrays."""
    flat = np.concatenate([np.ravel(v) for v in values])
    flat = flat[np.isfinite(flat) & (flat > 0)]
    return float(flat.min()), float(flat.max())
