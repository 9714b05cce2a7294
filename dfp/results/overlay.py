"""Several solutions in one figure: densities over each other at one step, and how far they are from the reference."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dfp import checks
from dfp.errors import DFPError
from dfp.problem.state import Density
from dfp.results import axes as named
from dfp.results import figures, page, schema
from dfp.results.clock import apart, matched, nothing_shared, on_one_clock, slow_time
from dfp.results.solution import Solution

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
        return _planes(frames, f"How does SGD distribute the parameters at {shown}? {figures.HELD_IN_WORDS}")
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
    (name, base), *others = frames.items()
    drawn = {n: (s.gridded()[0].axes[0], s.gridded()[1][0]) for n, s in frames.items()}
    figures.curves_on(panels[0], panels[1], drawn, name=base.parameters[0])
    for (label, solved), colour in zip(others, figures.colours(len(frames))[1:], strict=True):
        grid, density = solved.gridded()
        difference = density[0] - base.interpolate(grid.points)[0]
        panels[2].plot(grid.axes[0], difference, color=colour, label=f"{label} − {name}")
    panels[2].axhline(0, color="grey", linewidth=0.8)
    panels[2].set_xlabel(named.label(base.parameters[0]))
    panels[2].set_ylabel(schema.label("density_difference", 1))
    panels[0].legend()
    if others:
        panels[2].legend(fontsize="small")
    figure.suptitle(title)
    return figure


def _planes(frames: Mapping[str, Solution], title: str) -> "Figure":
    """Contours in the first row, those of the reference dashed over each; maps of the differences below."""
    base = next(iter(frames.values()))
    view = figures.window(base.mean, base.covariance, base.gridded())
    figure, axes = page.canvas(2, len(frames), 3.7 * len(frames), 0.6 + 2 * figures.panel_height(view))
    (grid, density), maps = base.gridded(), []
    for column, ((name, solved), colour) in enumerate(zip(frames.items(), figures.colours(len(frames)), strict=True)):
        own, values = solved.gridded()
        figures.contours(axes[0, column], own.axes, values[0], colour, view, base.parameters)
        axes[0, column].set_title(figures.fitted(name))
        if solved is not base:
            figures.contours(axes[0, column], grid.axes, density[0], "black", view, base.parameters, outline=True)
            maps.append((axes[1, column], own, values[0] - base.interpolate(own.points)[0]))
    axes[1, 0].set_axis_off()
    reference = f"dashed and below:\nagainst {figures.fitted(next(iter(frames)))}"
    axes[1, 0].text(0.5, 0.5, reference, ha="center", va="center", transform=axes[1, 0].transAxes)
    largest = max((float(np.abs(difference).max()) for *_, difference in maps), default=0.0) or 1.0
    for axis, own, difference in maps:
        drawn = axis.pcolormesh(
            *own.axes, difference.T, cmap="RdBu_r", vmin=-largest, vmax=largest, shading="nearest", rasterized=True
        )
        figures.frame(axis, view, base.parameters)
    if maps:
        page.bar(drawn, axes.ravel(), schema.label("density_difference", 2))
    figure.suptitle(title)
    return figure


def _marginals(frames: Mapping[str, Solution], title: str) -> "Figure":
    figure, (panels,) = page.canvas(1, 3, 12.0, 3.6)
    names = next(iter(frames.values())).parameters
    for i, axis in enumerate(panels):
        for (name, solved), colour in zip(frames.items(), figures.colours(len(frames)), strict=True):
            grid, density = solved.marginal(i).gridded()
            axis.plot(grid.axes[0], density[0], label=name, color=colour)
        axis.set_xlabel(named.label(names[i]))
        axis.set_ylabel(schema.label("density", 1))
        ends = [figures.window(s.mean, s.covariance, s.gridded()) for s in frames.values()]
        axis.set_xlim(min(lower[i] for lower, _ in ends), max(upper[i] for _, upper in ends))
    panels[0].legend()
    figure.suptitle(title)
    return figure
