"""Several solutions in one figure: densities over each other at one step, and how far they are from the reference."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dfp import checks
from dfp.errors import DFPError
from dfp.problem.grid import Grid
from dfp.problem.state import Density
from dfp.results import axes as named
from dfp.results import figures, layout, page, palette, planes, schema
from dfp.results.cells import PLAIN, Cells
from dfp.results.clock import apart, matched, nothing_shared, on_one_clock, slow_time
from dfp.results.solution import Solution

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Places along an axis of a map of differences.
_PLACES = 160


def overlay(solutions: Mapping[str, Solution | Density], step: int | None = None, *, at: str = "step") -> "Figure":
    """Return a figure of solutions at one step: d = 1 curves and differences, d = 2 contours and maps, d = 3 marginals.

    Parameters
    ----------
    solutions
        By name; the first is the reference of the differences. Laws stand at every step.
    step
        Of the first; the last that all share if left out.
    at
        ``"step"`` or ``"time"``, as ``dfp.compare`` has it.

    Raises
    ------
    DFPError
        If a solution has no density, dimensions differ, or no step is shared.
    """
    frames, shown = _frames(solutions, step, at)
    first = next(iter(frames.values()))
    if first.dimension == 1:
        return _lines(frames, f"Where is the parameter at {shown}? The models compared")
    if first.dimension == 2:
        return _planes(frames, f"How does SGD distribute the parameters at {shown}? {planes.HELD_IN_WORDS}")
    return _marginals(frames, f"How does SGD distribute the parameters at {shown}? Marginals")


def _frames(solutions: Mapping[str, Any], step: int | None, at: str) -> tuple[dict[str, Solution], str]:
    """Return solutions of one frame each, and which it is."""
    if not isinstance(solutions, Mapping) or not solutions:
        raise DFPError(f"solutions={checks.shown(solutions)}: must be solutions by name; give a dict of them.")
    for name, solved in solutions.items():
        if not isinstance(solved, Solution | Density):
            raise DFPError(f"solutions[{name!r}]={checks.shown(solved)}: must be a Solution; give dfp.solve(...).")
        if isinstance(solved, Solution) and solved.density is None:
            raise DFPError(f"solutions[{name!r}]: has no density to draw; leave it out or use another solver.")
    clocked = on_one_clock(solutions)
    if len({solved.dimension for solved in clocked.values()}) > 1:
        raise DFPError("solutions: they have different numbers of parameters; compare those that have the same.")
    base = next(iter(clocked.values()))
    pairs = {name: matched(solved, base, at) for name, solved in clocked.items()}
    shared = {int(base.steps[j]): j for j in sorted(set.intersection(*(set(found) for found in pairs.values())))}
    if not shared:
        raise DFPError(nothing_shared(at))
    chosen = max(shared) if step is None else step
    if chosen not in shared:
        raise DFPError(f"steps={checks.shown(step)}: is not a step that all have saved; give one of {list(shared)}.")
    settled = all(isinstance(solved, Density) for solved in solutions.values())
    frames = {name: s.at([int(s.steps[pairs[name][shared[chosen]]])]) for name, s in clocked.items()}
    times = [f"{float(slow_time(s)[0]):.3g}" for s in frames.values()]
    where = f"step {chosen}" if at == "step" else f"slow time {float(slow_time(base)[shared[chosen]]):.4g}"
    if at == "step" and any(apart("", s, "", base, {shared[chosen]: 0}) for s in frames.values()):
        where += f" (slow times {', '.join(times)})"
    return frames, "the end" if settled else where


def _lines(frames: Mapping[str, Solution], title: str) -> "Figure":
    figure, (panels,) = page.canvas(1, 3, 13.2, 3.8)
    known = {name: Cells.last(solved) for name, solved in frames.items()}
    (name, base), *others = frames.items()
    figures.curves_on(panels[0], panels[1], known, name=base.parameters[0])
    for (label, _), colour in zip(others, palette.colours(len(frames))[1:], strict=True):
        places, values = known[label].line(*panels[0].get_xlim())
        difference = values - base.interpolate(places)[0]
        panels[2].plot(places, difference, color=colour, label=f"{label} − {name}", drawstyle=known[label].style)
    panels[2].axhline(0, color="grey", linewidth=0.8)
    panels[2].set_xlim(*panels[0].get_xlim())
    panels[2].set_xlabel(named.label(base.parameters[0]))
    panels[2].set_ylabel(schema.label("density_difference", 1))
    layout.legend(panels[0])
    layout.legend(panels[2])
    figure.suptitle(title)
    return figure


def _planes(frames: Mapping[str, Solution], title: str) -> "Figure":
    """Contours in the first row, those of the reference dashed over each; maps of the differences below.

    Where these have no room side by side, contours are in the first column, and maps beside them.
    """
    first, names = next(iter(frames)), next(iter(frames.values())).parameters
    known = {name: Cells.last(solved) for name, solved in frames.items()}
    view = planes.seen(*known.values())
    count, turned = len(frames), page.fitting(len(frames)) < len(frames)
    rows, columns = (count, 2) if turned else (min(count, 2), count)
    figure, axes = page.canvas(rows, columns, 3.7 * columns + min(count, 2) - 1, 0.6 + rows * planes.panel_height(view))
    axes = axes.T if turned else axes
    grid, maps = Grid(*view, _PLACES), []
    for i, (name, colour) in enumerate(zip(frames, palette.colours(len(frames)), strict=True)):
        axes[0, i].set_title(planes.fitted(name))
        for one, outline in ((name, False), (first, True))[: 1 + (i > 0)]:
            cells, line = known[one], "black" if outline else colour
            planes.contours(
                axes[0, i], cells.axes, cells.values, line, view, names, outline=outline,
                trajectories=cells.trajectories,
            )  # fmt: skip
        if i > 0:
            maps.append((axes[1, i], known[name].at(grid.points) - known[first].at(grid.points)))
        page.share(axes[0, i], first=i == 0 or turned, last=not turned or i == count - 1)
    largest = max((float(np.abs(difference).max()) for _, difference in maps), default=0.0) or 1.0
    for axis, difference in maps:
        drawn = axis.pcolormesh(
            *grid.axes, difference.T, cmap="RdBu_r", vmin=-largest, vmax=largest, shading="nearest", rasterized=True
        )
        planes.frame(axis, view, names)
        page.share(axis, first=axis is axes[1, 1] and not turned, last=not turned or axis is axes[1, -1])
    if maps:
        planes.frame(axes[1, 0], view)  # as large as the others, so that layouts settle
        axes[1, 0].set_axis_off()
        reference = f"dashed and below:\nagainst {planes.fitted(first)}"
        told = axes[1, 0].text(0.5, 0.5, reference, ha="center", va="center", transform=axes[1, 0].transAxes)
        layout.broken(told, layout.room(axes[1, 0])[0])
        page.bar(drawn, axes.ravel(), schema.label("density_difference", 2), below=turned)
    figure.suptitle(title)
    return figure


def _marginals(frames: Mapping[str, Solution], title: str) -> "Figure":
    figure, (panels,) = page.canvas(1, 3, 12.0, 3.6)
    names = next(iter(frames.values())).parameters
    for i, axis in enumerate(panels):
        known = {name: Cells.last(solved.marginal(i)) for name, solved in frames.items()}
        ends = figures.span(known.values(), PLAIN)
        for (name, cells), colour in zip(known.items(), palette.colours(len(frames)), strict=True):
            axis.plot(*cells.line(*ends), label=name, color=colour, drawstyle=cells.style)
        axis.set_xlim(*ends)
        axis.set_xlabel(named.label(names[i]))
        axis.set_ylabel(schema.label("density", 1))
    layout.legend(panels[0])
    figure.suptitle(title)
    return figure
