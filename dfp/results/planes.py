"""Densities of two parameters as contours."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dfp.checks import Array
from dfp.results import axes as named
from dfp.results import layout, page, palette
from dfp.results.cells import SHOWN_NEGATIVE, Box, Cells, view

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PLANE = ("theta_1", "theta_2")
"""What is on the axes of a plane, unless their names are given."""
HELD_IN_WORDS = "Contours hold 39, 86 and 99\u00a0%"
# Letters in the title of a panel, sides of a plane at which it gives up equal units.
_PANEL_LETTERS, _NARROW = 30, 3.0
# Share of a panel that negative values have to cover to be spoken of.
_SEEN_AREA = 0.005
# Panels of a row, and about as many numbers along a side of one.
_PANELS, _NUMBERS = 4, 5


def planes(drawn: Mapping[str, Cells], title: str, colour: str | None = None, names: Sequence[str] = PLANE) -> "Figure":
    """Return 2D densities by their labels as contours side by side, four in a row; all of one colour if given."""
    columns = page.fitting(min(_PANELS, len(drawn)), sharing=True)
    rows = -(-len(drawn) // columns)
    box = seen(*drawn.values())
    figure, axes = page.canvas(rows, columns, 3.7 * columns, 0.6 + panel_height(box) * rows)
    for axis in axes.flat[len(drawn) :]:
        axis.set_axis_off()
    known = [colour] * len(drawn) if colour else palette.colours(len(drawn))
    for i, (axis, (label, cells), own) in enumerate(zip(axes.flat, drawn.items(), known, strict=False)):
        axis.set_title(fitted(label))
        contours(axis, cells.axes, cells.values, own, box, names, trajectories=cells.trajectories)
        page.share(axis, first=i % columns == 0, last=i + columns >= len(drawn))
    figure.suptitle(f"{title}\n{HELD_IN_WORDS}")
    return figure


def seen(*densities: Cells) -> Box:
    """Return corners between which the outermost contours of all densities are, with a margin."""
    return view(cells.plane().extent for cells in densities)


def panel_height(box: Box) -> float:
    """Return how many inches a panel of a plane needs beside its width of 3.7, labels included."""
    (left, low), (right, high) = box
    ratio = float((high - low) / (right - left))
    return 0.9 + 2.8 * (min(ratio, 1.4) if 1 / _NARROW < ratio < _NARROW else 1.0)


def fitted(text: str) -> str:
    """Return the title of a panel in lines that are no wider than it."""
    return textwrap.fill(text, _PANEL_LETTERS)


def contours(
    axis: "Axes",
    places: Sequence[Array],
    values: Array,
    colour: Any,
    view: Box | None = None,
    names: Sequence[str] = PLANE,
    *,
    outline: bool = False,
    trajectories: int = 0,
) -> None:
    """Draw the contours that hold 39, 86 and 99 % of a 2D density; dashed lines alone if ``outline``.

    Parameters
    ----------
    places
        Centres of the cells along both axes, evenly spaced [parameter].
    values
        The density in the cells, shape (n_1, n_2).
    view
        Corners of what is shown; the outermost contour with a margin if left out.
    names
        Of the parameters on the axes.
    trajectories
        Samples of which it is a histogram, whose noise is then smoothed; 0 if it is none.
    """
    cells = Cells(places, values, trajectories)
    plane, box = cells.plane(), seen(cells) if view is None else view
    x, y, fine, levels, peak = plane
    if outline:
        axis.contour(x, y, fine.T, levels=levels, colors=[colour], linewidths=0.8, linestyles="--")
    else:
        axis.contourf(x, y, fine.T, levels=[*levels, peak * 1.01], colors=[colour], alpha=0.25)
        axis.contour(x, y, fine.T, levels=levels, colors=[colour], linewidths=1.2)
        _negative(axis, plane, box)
    frame(axis, box, names)


def _negative(axis: "Axes", plane: Any, box: Box) -> None:
    """Hatch negative values, and say so, where they cover enough of what is shown to be seen."""
    from matplotlib.patches import Patch

    x, y, fine, _, peak = plane
    (left, low), (right, high) = box
    shown = np.multiply.outer((x >= left) & (x <= right), (y >= low) & (y <= high))
    below = shown & (fine < -SHOWN_NEGATIVE * peak)
    area = float(below.sum() * (x[1] - x[0]) * (y[1] - y[0]) / ((right - left) * (high - low)))
    if area < _SEEN_AREA:
        return
    ends = [float(fine.min()) * 1.01, -SHOWN_NEGATIVE * peak]
    axis.contourf(x, y, fine.T, levels=ends, colors="none", hatches=["////"])
    share = float(np.minimum(fine, 0.0).sum() / fine.sum())
    told = f"negative, {100 * share:.2g}\u00a0% of the mass"
    layout.legend(axis, [Patch(facecolor="none", edgecolor="black", hatch="////", label=told)])


def frame(axis: "Axes", view: Box, names: Sequence[str] = PLANE) -> None:
    """Show a part of the plane, in equal units unless it is too narrow for them, with labels.

    Its numbers go by the plane alone: layouts of equal units would not settle if they came and went with its size.
    """
    from matplotlib.ticker import MaxNLocator

    (left, low), (right, high) = (np.asarray(corner, dtype=float) for corner in view)
    axis.set_xlim(left, right)
    axis.set_ylim(low, high)
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_locator(MaxNLocator(_NUMBERS, steps=[1, 2, 5, 10]))
    axis.set_xlabel(named.label(names[0]))
    axis.set_ylabel(named.label(names[1]))
    if 1 / _NARROW < (right - left) / (high - low) < _NARROW:
        axis.set_aspect("equal", adjustable="box")
