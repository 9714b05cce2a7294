"""Figures of arrays and labels: densities as curves, moments over steps, laws of exit."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dfp.checks import Array
from dfp.results import axes as named
from dfp.results import layout, page, palette, schema
from dfp.results.cells import MARGIN, PLAIN, Box, Cells
from dfp.results.page import canvas as canvas
from dfp.results.page import save as save
from dfp.results.palette import COLOURS as COLOURS
from dfp.results.planes import contours as contours

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Least density on a logarithmic axis over the largest.
_SEEN = 1e-8
# Probability of having left within the steps below which that is drawn, not that of being inside.
_HARDLY = 0.1
# Steps that are marked one by one, and parameters that are drawn, at most.
_MARKED, _PARAMETERS = 30, 8


def curves(
    drawn: Mapping[str, Cells], title: str, order: Sequence[float] | None = None, name: str = "theta_1"
) -> "Figure":
    """Return 1D densities of a parameter by their labels on a linear and on a logarithmic axis.

    Those at steps ``order`` have colours in their order, with a colour bar in place of a legend where they are many.
    """
    figure, ((linear, logarithmic),) = canvas(1, 2, 9.0, 3.8)
    curves_on(linear, logarithmic, drawn, None if order is None else palette.ramp(len(drawn)), name)
    if order is not None:
        both, lines = [linear, logarithmic], linear.get_legend_handles_labels()[0]
        palette.key(both, lines, [f"{step:g}" for step in order], schema.label("step"))
    elif len(drawn) > 1:
        layout.legend(linear)
    figure.suptitle(title)
    return figure


def curves_on(
    linear: "Axes",
    logarithmic: "Axes",
    drawn: Mapping[str, Cells],
    chosen: Sequence[Any] | None = None,
    name: str = "theta_1",
) -> None:
    """Draw 1D densities on both axes; on the logarithmic one negative values as dashed lines of their size."""
    peak, negative = 0.0, False
    for axis, share in ((linear, PLAIN), (logarithmic, _SEEN)):
        low, high = ends = span(drawn.values(), share)
        for (label, cells), colour in zip(drawn.items(), chosen or palette.colours(len(drawn)), strict=True):
            places, values = cells.line(low, high)
            if axis is linear:
                axis.plot(places, values, label=label, color=colour, drawstyle=cells.style)
                peak = max(peak, float(values.max()))
                continue
            axis.plot(places, np.where(values > 0, values, np.nan), color=colour, drawstyle=cells.style)
            if -float(values.min()) > peak * _SEEN:
                negative = True
                axis.plot(places, np.where(values < 0, -values, np.nan), "--", color=colour)
        axis.set_xlim(*ends)
        axis.set_xlabel(named.label(name))
        axis.set_ylabel(schema.label("density", 1))
    logarithmic.set_yscale("log")
    logarithmic.set_ylim(peak * _SEEN, peak * 3)
    if negative:
        linear.axhline(0, color="grey", linewidth=0.6)
        (dashed,) = logarithmic.plot([], [], "--", color="grey", label="negative")
        layout.legend(logarithmic, [dashed])


def span(drawn: Iterable[Cells], share: float) -> tuple[float, float]:
    """Return the ends of an axis, between which 1D densities exceed a share of their peaks, with a margin."""
    ends = np.array([cells.span(share) for cells in drawn])
    first, last = float(ends[:, 0].min()), float(ends[:, 1].max())
    margin = MARGIN * (last - first)
    return first - margin, last + margin


def window(mean: Array, covariance: Array) -> Box:
    """Return the corners of a box of four standard deviations about means (S, d), with covariances (S, d, d)."""
    reach = 4 * np.sqrt(np.einsum("sii->si", covariance))
    return np.min(mean - reach, axis=0), np.max(mean + reach, axis=0)


def moments(steps: Any, mean: Array, variance: Array, title: str, names: Sequence[str]) -> "Figure":
    """Return means and variances, shape (S, d), over steps; of the first eight parameters."""
    figure, ((left, right),) = canvas(1, 2, 9.0, 3.8)
    line = "o-" if len(steps) <= _MARKED else "-"
    for i, colour in enumerate(palette.colours(min(mean.shape[1], _PARAMETERS))):
        left.plot(steps, mean[:, i], line, label=named.legend(names[i]), color=colour)
        right.plot(steps, variance[:, i], line, color=colour)
    left.set_ylabel(schema.label("mean"))
    right.set_ylabel(schema.label("variance"))
    positive = variance[variance > 0]
    if positive.size and positive.max() > 1e3 * positive.min():
        right.set_yscale("log")
    for axis in (left, right):
        page.scale_steps(axis, np.asarray(steps))
        axis.set_xlabel(schema.label("step"))
    layout.legend(left)
    figure.suptitle(title)
    return figure


def exits(steps: Any, survival: Array, probability: Array, mean: float, leaving: float, box: str) -> "Figure":
    """Return a figure of a law of exit from a box: the probability to be still inside, and to leave at each step.

    Where hardly any leave within the steps, that of having left is drawn for the former, which would be a line at one.
    """
    figure, ((left, right),) = canvas(1, 2, 9.0, 3.6)
    if 0 < 1 - survival[-1] < _HARDLY:
        left.semilogy(steps, np.where(survival < 1, 1 - survival, np.nan), color=COLOURS[0], label="has left")
        tail = (1 - survival[-1]) - leaving * (float(steps[-1]) - steps)
        left.semilogy(steps, np.where(tail > 0, tail, np.nan), "--", color=COLOURS[1], label=f"{leaving:.4g} a step")
        left.set_ylabel(schema.label("departure"))
    else:
        left.semilogy(steps, np.maximum(survival, 1e-300), color=COLOURS[0], label="inside")
        if 0 < leaving < 1 and survival[-1] > 0:
            tail = survival[-1] * np.exp(np.log1p(-leaving) * (steps - float(steps[-1])))
            left.semilogy(steps, tail, "--", color=COLOURS[1], label=f"falls by {1 - leaving:.6g} a step")
        left.set_ylim(max(float(survival[survival > 0].min(initial=1.0)) / 2, 1e-12), 1.5)
        left.set_ylabel(schema.label("survival"))
    layout.legend(left)
    right.plot(steps, probability, color=COLOURS[0])
    if np.isfinite(mean) and mean <= steps[-1]:
        right.axvline(mean, color=COLOURS[1], linestyle="--", label=f"mean {mean:.4g}")
        layout.legend(right)
    right.set_ylim(bottom=0)
    right.set_ylabel(schema.label("exit_probability"))
    for axis in (left, right):
        axis.set_xlabel(schema.label("step"))
    figure.suptitle(f"When does SGD leave {box}?" if box else "When do the parameters leave?")
    return figure


def escapes(paths: Mapping[str, Array], names: Sequence[str]) -> "Figure":
    """Return a figure of paths (N + 1, d), d <= 2, out of a well: over the steps before the exit, or in the plane."""
    figure, ((axis,),) = canvas(1, 1, 6.4, 4.2)
    line = next(iter(paths.values())).shape[1] == 1
    for (name, path), colour in zip(paths.items(), COLOURS, strict=False):
        near = 1e-2 * np.ptp(path, axis=0).max()
        begun = int(np.argmax(np.any(np.abs(path - path[0]) > near, axis=1)))
        arrived = int(np.flatnonzero(np.any(np.abs(path - path[-1]) > near, axis=1))[-1]) + 1
        moving = path[max(begun - 3, 0) : arrived + 1]
        along = (np.arange(1.0 - len(moving), 1.0), moving[:, 0]) if line else moving.T
        axis.plot(*along, ".-", color=colour, label=name)
    axis.set_xlabel(schema.label("path_step") if line else named.label(names[0]))
    axis.set_ylabel(named.label(names[-1]))
    layout.legend(axis)
    figure.suptitle("Along which path do the parameters leave?")
    return figure
