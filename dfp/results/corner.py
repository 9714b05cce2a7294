"""Corner plots: marginals of one direction on the diagonal, of two below it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dfp.checks import Array
from dfp.results import axes as named
from dfp.results import figures, schema

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def corner(places: Sequence[Array], density: Array, view: figures.Box, names: Sequence[str], title: str) -> "Figure":
    """Return a figure of all marginals of a density in 2 or 3 dimensions.

    Parameters
    ----------
    places
        Centres of the cells along each axis, evenly spaced [parameter].
    density
        Shape (n_1, …, n_d) [1 / parameter^d].
    view
        Corners of what is shown.
    names
        What is on the axes, such as ``theta_1``.
    """
    d = len(places)
    widths = [float(axis[1] - axis[0]) for axis in places]
    figure, axes = figures.canvas(d, d, 2.8 * d, 2.6 * d)
    for row in range(d):
        for column in range(d):
            axis, kept = axes[row, column], (column, row)
            if column > row:
                axis.set_axis_off()
                continue
            marginal = _marginal(density, widths, set(kept))
            if row == column:
                axis.plot(places[row], marginal, color=figures.COLOURS[0])
                axis.set_xlim(view[0][row], view[1][row])
                axis.set_ylim(bottom=0)
                axis.set_ylabel(schema.label("density", 1), fontsize="small")
            else:
                part, shown = (places[column], places[row]), (names[column], names[row])
                figures.contours(axis, part, marginal, figures.COLOURS[0], _part(view, kept), shown)
                axis.set_aspect("auto")
            _name(axis, names, row, column, last=row == d - 1)
    figure.suptitle(title)
    return figure


def _marginal(density: Array, widths: Sequence[float], kept: set[int]) -> Array:
    """Return the density of the axes ``kept``, in their order."""
    result = density
    for axis in reversed(range(density.ndim)):
        if axis not in kept:
            result = result.sum(axis=axis) * widths[axis]
    return result


def _part(view: figures.Box, axes: tuple[int, int]) -> figures.Box:
    return view[0][list(axes)], view[1][list(axes)]


def _name(axis: "Axes", names: Sequence[str], row: int, column: int, *, last: bool) -> None:
    axis.set_xlabel(named.label(names[column]) if last else "")
    if row != column:
        axis.set_ylabel(named.label(names[row]) if column == 0 else "")
