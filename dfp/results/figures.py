"""Figures of arrays and labels: densities as curves and contours, moments over steps, laws of exit."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from dfp_solvers import gridded_law

from dfp.checks import Array
from dfp.problem.grid import Grid
from dfp.results import axes as named
from dfp.results import page, schema
from dfp.results.page import canvas as canvas
from dfp.results.page import save as save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that stay apart for colour-blind readers (Okabe and Ito 2008).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# Contours hold these fractions of the probability: one, two and three standard deviations of a 2D Gaussian.
_HELD = (0.989, 0.865, 0.393)
HELD_IN_WORDS = "Contours hold 39, 86 and 99 %"
# Least density on a logarithmic axis, and least negative one that is hatched in the plane, over the largest.
_SEEN, _SHOWN_NEGATIVE = 1e-8, 1e-3
# Least density over the largest that a linear axis shows. Where a narrow part of the grids alone exceeds the least that
# an axis shows, as of heavy tails, it shows that part, with a margin.
_PLAIN, _WIDE, _MARGIN = 1e-3, 3.0, 0.05
# Letters in the title of a panel, sides of a plane at which it gives up equal units, cells of a smooth contour.
_PANEL_LETTERS, _NARROW, _SMOOTH_CELLS = 30, 3.0, 96
# Of a law without a variance a view shows all but this share at each side, and a part of that beyond.
_TAIL, _ROOM = 0.005, 0.4
# Steps that are marked one by one, at most.
_MARKED = 30

PLANE = ("theta_1", "theta_2")
"""What is on the axes of a plane, unless their names are given."""
Box = tuple[Array, Array]
"""Lower and upper corner of what is in view."""


def curves(
    drawn: Mapping[str, tuple[Array, Array]], title: str, order: Sequence[float] | None = None, name: str = "theta_1"
) -> "Figure":
    """Return 1D densities of a parameter, each (places, values) by its label, on a linear and a logarithmic axis.

    More than six at steps ``order`` have colours in their order, with a colour bar in place of a legend.
    """
    figure, ((linear, logarithmic),) = canvas(1, 2, 9.0, 3.8)
    ordinal = order is not None and len(drawn) > len(COLOURS)
    curves_on(linear, logarithmic, drawn, _ordered(len(drawn)) if ordinal else None, name)
    if ordinal and order is not None:
        _bar([linear, logarithmic], order)
    else:
        linear.legend()
    figure.suptitle(title)
    return figure


def curves_on(
    linear: "Axes",
    logarithmic: "Axes",
    drawn: Mapping[str, tuple[Array, Array]],
    chosen: Sequence[Any] | None = None,
    name: str = "theta_1",
) -> None:
    """Draw 1D densities on both axes; on the logarithmic one negative values as dashed lines of their size."""
    peak, negative = max(float(values.max()) for _, values in drawn.values()), False
    for (label, (places, values)), colour in zip(drawn.items(), chosen or colours(len(drawn)), strict=True):
        linear.plot(places, values, label=label, color=colour)
        logarithmic.plot(places, np.where(values > 0, values, np.nan), color=colour)
        if -float(values.min()) > peak * _SEEN:
            negative = True
            logarithmic.plot(places, np.where(values < 0, -values, np.nan), "--", color=colour)
    logarithmic.set_yscale("log")
    logarithmic.set_ylim(peak * _SEEN, peak * 3)
    if negative:
        linear.axhline(0, color="grey", linewidth=0.6)
        logarithmic.plot([], [], "--", color="grey", label="negative")
        logarithmic.legend()
    for axis, share in ((linear, _PLAIN), (logarithmic, _SEEN)):
        axis.set_xlim(_span(drawn, share))
        axis.set_xlabel(named.label(name))
        axis.set_ylabel(schema.label("density", 1))


def _span(drawn: Mapping[str, tuple[Array, Array]], share: float) -> tuple[float, float]:
    """Return the ends of an axis: of the grids, or of where curves exceed a share of their peaks if that is narrow."""
    seen = [places[np.abs(values) >= share * values.max()] for places, values in drawn.values()]
    low, high = min(part[0] for part in seen), max(part[-1] for part in seen)
    first, last = (end(places[place] for places, _ in drawn.values()) for end, place in ((min, 0), (max, -1)))
    if (high - low) * _WIDE < last - first:
        first, last = low, high
    margin = _MARGIN * (last - first)
    return first - margin, last + margin


def _ordered(count: int) -> list[Any]:
    from matplotlib import colormaps

    return [colormaps["viridis"](place) for place in np.linspace(0, 0.92, count)]


def _bar(axes: Sequence["Axes"], order: Sequence[float]) -> None:
    """Add a bar with the colour of every step, labelled at no more than eight of them."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, ListedColormap

    edges = np.arange(len(order) + 1) - 0.5
    colours = ScalarMappable(BoundaryNorm(edges, len(order)), ListedColormap(_ordered(len(order))))
    named = np.unique(np.linspace(0, len(order) - 1, min(8, len(order))).astype(int))
    bar = page.bar(colours, axes, schema.label("step"))
    bar.set_ticks(named, labels=[f"{order[i]:g}" for i in named])


def planes(
    drawn: Mapping[str, tuple[Sequence[Array], Array]],
    view: Box,
    title: str,
    palette: Sequence[str] = COLOURS,
    names: Sequence[str] = PLANE,
) -> "Figure":
    """Return 2D densities side by side, at most four in a row, as contours, each ((x, y), values) by its label."""
    columns = min(4, len(drawn))
    rows = -(-len(drawn) // columns)
    figure, axes = canvas(rows, columns, 3.7 * columns, 0.6 + panel_height(view) * rows)
    for axis in axes.flat[len(drawn) :]:
        axis.set_axis_off()
    for axis, (label, (places, values)), colour in zip(
        axes.flat, drawn.items(), colours(len(drawn), palette), strict=False
    ):
        contours(axis, places, values, colour, view, names)
        axis.set_title(fitted(label))
    figure.suptitle(f"{title}\n{HELD_IN_WORDS}")
    return figure


def panel_height(view: Box) -> float:
    """Return how many inches a panel of a plane needs beside its width of 3.7, labels included."""
    (left, low), (right, high) = view
    ratio = float((high - low) / (right - left))
    return 0.9 + 2.8 * (ratio if 1 / _NARROW < ratio < 1 else 1.0)


def fitted(text: str) -> str:
    """Return the title of a panel in lines that are no wider than it."""
    return textwrap.fill(text, _PANEL_LETTERS)


def colours(count: int, palette: Sequence[str] = COLOURS) -> list[str]:
    """Return so many colours, again from the first where there are more."""
    return [palette[i % len(palette)] for i in range(count)]


def contours(
    axis: "Axes",
    places: Sequence[Array],
    values: Array,
    colour: str,
    view: Box,
    names: Sequence[str] = PLANE,
    *,
    outline: bool = False,
) -> None:
    """Draw the contours that hold 39, 86 and 99 % of a 2D density; dashed lines alone if ``outline``.

    Parameters
    ----------
    places
        Centres of the cells along both axes, evenly spaced [parameter].
    values
        The density in the cells, shape (n_1, n_2).
    view
        Corners of what is shown.
    names
        Of the parameters on the axes.
    """
    x, y, values = _smooth(places[0], places[1], values)
    levels, peak = _levels(values, (x[1] - x[0]) * (y[1] - y[0])), float(values.max())
    if outline:
        axis.contour(x, y, values.T, levels=levels, colors=colour, linewidths=0.8, linestyles="--")
    else:
        axis.contourf(x, y, values.T, levels=[*levels, peak * 1.01], colors=colour, alpha=0.25)
        axis.contour(x, y, values.T, levels=levels, colors=colour, linewidths=1.2)
        seen = values[np.ix_((x >= view[0][0]) & (x <= view[1][0]), (y >= view[0][1]) & (y <= view[1][1]))]
        if float(seen.min(initial=0.0)) < -_SHOWN_NEGATIVE * peak:
            below = [float(values.min()) * 1.01, -_SHOWN_NEGATIVE * peak]
            axis.contourf(x, y, values.T, levels=below, colors="none", hatches=["////"])
            axis.text(0.02, 0.98, "hatched: negative", fontsize="small", va="top", transform=axis.transAxes)
    frame(axis, view, names)


def frame(axis: "Axes", view: Box, names: Sequence[str] = PLANE) -> None:
    """Show a part of the plane, in equal units unless it is too narrow for them, with labels."""
    (left, low), (right, high) = (np.asarray(corner, dtype=float) for corner in view)
    axis.set_xlim(left, right)
    axis.set_ylim(low, high)
    axis.set_xlabel(named.label(names[0]))
    axis.set_ylabel(named.label(names[1]))
    if 1 / _NARROW < (right - left) / (high - low) < _NARROW:
        axis.set_aspect("equal", adjustable="box")


def _smooth(x: Array, y: Array, values: Array) -> tuple[Array, Array, Array]:
    """Return a density on a finer grid by cubic splines, where it has few cells, so that contours have no corners."""
    factor = -(-_SMOOTH_CELLS // min(values.shape))
    if factor == 1 or min(values.shape) < 4 or not np.all(np.isfinite(values)):
        return x, y, values
    from scipy.interpolate import RectBivariateSpline

    fine = [np.linspace(axis[0], axis[-1], factor * (len(axis) - 1) + 1) for axis in (x, y)]
    found = RectBivariateSpline(x, y, values)(*fine)
    # A spline overshoots where a histogram has one full cell; it adds no negative values and no higher peaks.
    return fine[0], fine[1], np.clip(found, values.min(), values.max())


def _levels(values: Array, cell: float) -> Array:
    """Return the densities above which cells of volume ``cell`` hold the fractions ``_HELD`` of the mass, ascending.

    Those that the grid does not hold, as of heavy tails, have no contour.
    """
    ordered = np.sort(values.ravel())[::-1]
    held = np.cumsum(ordered * cell)
    reached = [fraction for fraction in _HELD if fraction <= held[-1]] or [_HELD[-1] * held[-1]]
    levels = [ordered[min(int(np.searchsorted(held, fraction)), len(ordered) - 1)] for fraction in reached]
    # Few samples, or a density in one cell, make levels coincide; contours need them to increase.
    return np.unique(np.maximum(levels, 1e-12 * ordered[0]))


def window(mean: Array, covariance: Array, law: tuple[Grid, Array] | None = None) -> Box:
    """Return the corners of a box of four standard deviations about means (S, d), with covariances (S, d, d).

    Where there are no such moments, of a ``law`` on a grid, with values (S, n_1, …), what holds 99 %, with a margin.
    """
    if law is not None and not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        lower, upper = gridded_law.bulk(law[1], law[0].lower, law[0].spacing, _TAIL)
        margin = (upper - lower) * _ROOM
        return np.maximum(lower - margin, law[0].lower), np.minimum(upper + margin, law[0].upper)
    reach = 4 * np.sqrt(np.einsum("sii->si", covariance))
    return np.min(mean - reach, axis=0), np.max(mean + reach, axis=0)


def moments(steps: Any, mean: Array, variance: Array, title: str, names: Sequence[str]) -> "Figure":
    """Return means and variances, shape (S, d), over steps; of the first eight parameters."""
    figure, ((left, right),) = canvas(1, 2, 9.0, 3.8)
    line = "o-" if len(steps) <= _MARKED else "-"
    for i, colour in enumerate(colours(min(mean.shape[1], 8))):
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
    left.legend(ncols=2, fontsize="small")
    figure.suptitle(title)
    return figure


def exits(steps: Any, survival: Array, probability: Array, mean: float, decay: float) -> "Figure":
    """Return a figure of a law of exit: the probability of being still inside, and that of leaving at each step."""
    figure, ((left, right),) = canvas(1, 2, 9.0, 3.6)
    left.semilogy(steps, np.maximum(survival, 1e-300), color=COLOURS[0], label="inside")
    if 0 < decay < 1 and survival[-1] > 0:
        tail = survival[-1] * decay ** (steps - float(steps[-1]))
        left.semilogy(steps, tail, "--", color=COLOURS[1], label=f"falls by {decay:.6g} a step")
    left.set_ylim(max(float(survival.min()) / 2, 1e-12), 1.5)
    left.set_ylabel(schema.label("survival"))
    left.legend()
    right.plot(steps, probability, color=COLOURS[0])
    if np.isfinite(mean) and mean <= steps[-1]:
        right.axvline(mean, color=COLOURS[1], linestyle="--", label=f"mean {mean:.4g}")
        right.legend()
    right.set_ylim(bottom=0)
    right.set_ylabel(schema.label("exit_probability"))
    for axis in (left, right):
        axis.set_xlabel(schema.label("step"))
    figure.suptitle("When do the parameters leave?")
    return figure


def escapes(paths: Mapping[str, Array]) -> "Figure":
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
    across, up = ("path_step", "theta") if line else ("theta_1", "theta_2")
    axis.set_xlabel(schema.label(across))
    axis.set_ylabel(schema.label(up))
    axis.legend()
    figure.suptitle("Along which path do the parameters leave?")
    return figure
