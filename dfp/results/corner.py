"""Corner plots: marginals of one direction on the diagonal, of two below it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dfp.results import axes as named
from dfp.results import figures, layout, page, schema
from dfp.results.cells import PLAIN, Cells
from dfp.results.palette import COLOURS
from dfp.results.planes import HELD_IN_WORDS, contours

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def corner(cells: Cells, names: Sequence[str], title: str) -> "Figure":
    """Return a figure of all marginals of a density in 2 or 3 dimensions.

    Parameters
    ----------
    cells
        The density.
    names
        What is on the axes, such as ``theta_1``.
    """
    d = len(cells.axes)
    lines = [_marginal(cells, (i,)) for i in range(d)]
    ends = np.array([figures.span([line], PLAIN) for line in lines])
    figure, axes = page.canvas(d, d, 2.8 * d, 2.6 * d)
    for row in range(d):
        for column in range(d):
            axis, kept = axes[row, column], [column, row]
            if column > row:
                axis.set_axis_off()
                continue
            if row == column:
                axis.plot(*lines[row].line(*ends[row]), color=COLOURS[0], drawstyle=cells.style)
                axis.set_xlim(*ends[row])
                axis.set_ylim(bottom=0)
                axis.set_ylabel(schema.label("density", 1), fontsize="small")
            else:
                plane = _marginal(cells, (column, row))
                box, shown = (ends[kept, 0], ends[kept, 1]), [names[i] for i in kept]
                contours(axis, plane.axes, plane.values, COLOURS[0], box, shown, trajectories=plane.trajectories)
                axis.set_aspect("auto")
            _name(axis, names, row, column, last=row == d - 1)
            page.share(axis, first=column == 0, last=row == d - 1)
    told = axes[0, -1].text(0.5, 0.5, HELD_IN_WORDS, ha="center", va="center", transform=axes[0, -1].transAxes)
    layout.broken(told, layout.room(axes[0, -1])[0])
    figure.suptitle(title)
    return figure


def _marginal(cells: Cells, kept: tuple[int, ...]) -> Cells:
    """Return the density of the axes ``kept``, in their order."""
    gone = tuple(axis for axis in range(cells.values.ndim) if axis not in kept)
    width = float(np.prod([cells.axes[axis][1] - cells.axes[axis][0] for axis in gone]))
    return Cells([cells.axes[axis] for axis in kept], cells.values.sum(axis=gone) * width, cells.trajectories)


def _name(axis: "Axes", names: Sequence[str], row: int, column: int, *, last: bool) -> None:
    axis.set_xlabel(named.label(names[column]) if last else "")
    if row != column:
        axis.set_ylabel(named.label(names[row]) if column == 0 else "")
