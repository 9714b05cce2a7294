"""Figures: densities of solutions, solutions side by side, variances of modes over steps."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError
from dfp.results.solution import Solution

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dfp.long_time.exit_law import ExitSteps

# Colours that stay apart for colour-blind readers (Okabe and Ito 2008).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# Contours hold these fractions of the probability: one, two and three standard deviations of a 2D Gaussian.
_HELD = (0.989, 0.865, 0.393)


def _canvas(rows: int, columns: int, width: float, height: float) -> tuple["Figure", Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def solution(solved: Solution) -> "Figure":
    """Return a figure of a solution: its densities at the saved steps, or its mean and deviations if it has none."""
    if solved.density is None or solved.dimension > 2:
        return _moments_figure(solved)
    if solved.dimension == 1:
        return curves({solved.equation: solved})
    chosen = np.unique(np.linspace(0, len(solved.steps) - 1, min(4, len(solved.steps))).astype(int))
    figure, axes = _canvas(1, len(chosen), 3.6 * len(chosen), 4.0)
    view = window(solved)
    for axis, frame in zip(axes[0], chosen, strict=True):
        contours(axis, solved, int(frame), COLOURS[0], view)
        axis.set_title(f"step {solved.steps[frame]}")
    figure.suptitle(f"Where are the parameters? {solved.equation}, by {solved.solver}")
    return figure


def comparison(solutions: Mapping[str, Solution]) -> "Figure":
    """Return solutions side by side at the last step they share: curves (d = 1) or contours (d = 2)."""
    for name, solved in solutions.items():
        if solved.density is None:
            raise DFPError(f"solutions[{name!r}]: has no density to draw; leave it out or use another solver.")
        if solved.dimension > 2:
            raise DFPError(f"solutions[{name!r}] has {solved.dimension} parameters: figures need 1 or 2.")
    last = max(set.intersection(*(set(map(int, s.steps)) for s in solutions.values())))
    if next(iter(solutions.values())).dimension == 1:
        return curves(solutions, last)
    figure, axes = _canvas(1, len(solutions), 3.8 * len(solutions), 4.2)
    view = window(next(iter(solutions.values())), last)
    for axis, (name, solved), colour in zip(axes[0], solutions.items(), COLOURS * 9, strict=False):
        contours(axis, solved, _frame(solved, last), colour, view)
        axis.set_title(name)
    figure.suptitle(f"How does SGD distribute the parameters at step {last}? Contours hold 39, 86 and 99 %")
    return figure


def curves(solutions: Mapping[str, Solution], step: int | None = None) -> "Figure":
    """Return 1D densities on a linear and on a logarithmic axis, of all saved steps or of one."""
    figure, axes = _canvas(1, 2, 9.0, 3.8)
    peak, drawn = 0.0, 0
    for name, solved in solutions.items():
        grid, density = solved.gridded()
        frames = range(len(solved.steps)) if step is None else [_frame(solved, step)]
        for frame in frames:
            label = name if step is not None else f"step {solved.steps[frame]}"
            for axis in axes[0]:
                values = np.where(density[frame] > 0, density[frame], np.nan) if axis is axes[0][1] else density[frame]
                axis.plot(grid.axes[0], values, label=label, color=COLOURS[drawn % len(COLOURS)])
            peak, drawn = max(peak, float(density[frame].max())), drawn + 1
    axes[0][1].set_yscale("log")
    axes[0][1].set_ylim(peak * 1e-8, peak * 3)
    for axis in axes[0]:
        axis.set_xlabel("θ [parameter]")
        axis.set_ylabel("density [1 / parameter]")
    axes[0][0].legend()
    when = "" if step is None else f" at step {step}"
    title = next(iter(solutions)) if len(solutions) == 1 else "the models compared"
    figure.suptitle(f"Where is the parameter{when}? {title}")
    return figure


def contours(
    axis: "Axes", solved: Solution, frame: int, colour: str, view: tuple[Array, Array], *, outline: bool = False
) -> None:
    """Draw the contours that hold 39, 86 and 99 % of a 2D density; dashed lines alone if ``outline``."""
    grid, density = solved.gridded()
    values = density[frame]
    levels = _levels(values * grid.cell_volume) / grid.cell_volume
    x, y = grid.axes
    if outline:
        axis.contour(x, y, values.T, levels=levels, colors=colour, linewidths=0.8, linestyles="--")
    else:
        axis.contourf(x, y, values.T, levels=[*levels, float(values.max()) * 1.01], colors=colour, alpha=0.25)
        axis.contour(x, y, values.T, levels=levels, colors=colour, linewidths=1.2)
    axis.set_xlim(view[0][0], view[1][0])
    axis.set_ylim(view[0][1], view[1][1])
    axis.set_xlabel("θ₁ [parameter]")
    axis.set_ylabel("θ₂ [parameter]")
    axis.set_aspect("equal", adjustable="box")


def _levels(masses: Array) -> Array:
    """Return the cell masses above which cells hold the fractions ``_HELD`` of the probability, ascending."""
    ordered = np.sort(masses.ravel())[::-1]
    held = np.cumsum(ordered)
    levels = [ordered[min(int(np.searchsorted(held, fraction)), len(ordered) - 1)] for fraction in _HELD]
    # Few samples, or a density in one cell, make levels coincide; contours need them to increase.
    return np.unique(np.maximum(levels, 1e-12 * ordered[0]))


def window(solved: Solution, step: int | None = None) -> tuple[Array, Array]:
    """Return the corners of a box of four standard deviations about the means, at one step or at all."""
    frames = range(len(solved.steps)) if step is None else [_frame(solved, step)]
    deviation = np.array([np.sqrt(np.diag(solved.covariance[f])) for f in frames])
    mean = np.array([solved.mean[f] for f in frames])
    return np.min(mean - 4 * deviation, axis=0), np.max(mean + 4 * deviation, axis=0)


def _frame(solved: Solution, step: int) -> int:
    found = np.flatnonzero(solved.steps == step)
    if not found.size:
        raise DFPError(f"step={step}: was not saved; choose from {solved.steps.tolist()}.")
    return int(found[0])


def _moments_figure(solved: Solution) -> "Figure":
    figure, axes = _canvas(1, 2, 9.0, 3.8)
    shown = min(solved.dimension, 8)
    for i in range(shown):
        axes[0][0].plot(solved.steps, solved.mean[:, i], "o-", label=f"θ_{i + 1}", color=COLOURS[i % len(COLOURS)])
        axes[0][1].plot(solved.steps, solved.covariance[:, i, i], "o-", color=COLOURS[i % len(COLOURS)])
    axes[0][0].set_ylabel("mean [parameter]")
    axes[0][1].set_ylabel("variance [parameter²]")
    for axis in axes[0]:
        axis.set_xlabel("step n")
    axes[0][0].legend(ncols=2, fontsize="small")
    figure.suptitle(f"How do mean and variance evolve? {solved.equation}, by {solved.solver}")
    return figure


def save(figure: "Figure", path: str | Path) -> None:
    """Write a figure; the suffix chooses the format."""
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise DFPError(
            f"path={Path(path).name}: the figure cannot be written ({error}); use .png, .pdf or .svg."
        ) from None


def animate(solved: Solution, path: str | Path, frames_per_second: int) -> None:
    """Write the densities as an animated GIF, one frame per saved step."""
    from matplotlib.animation import FuncAnimation, PillowWriter

    grid, density = solved.gridded()
    checks.integer("frames_per_second", frames_per_second, at_least=1, at_most=60)
    if solved.dimension > 2:
        raise DFPError(f"solution has {solved.dimension} parameters: animations need 1 or 2.")
    figure, axes = _canvas(1, 1, 5.0, 4.4)
    axis, view = axes[0][0], window(solved)

    def draw(frame: int) -> None:
        axis.clear()
        if solved.dimension == 2:
            contours(axis, solved, frame, COLOURS[0], view)
        else:
            axis.plot(grid.axes[0], density[frame], color=COLOURS[0])
            axis.set_xlim(view[0][0], view[1][0])
            axis.set_ylim(0, float(density.max()) * 1.05)
            axis.set_xlabel("θ [parameter]")
            axis.set_ylabel("density [1 / parameter]")
        axis.set_title(f"{solved.equation}, step {solved.steps[frame]}")

    # The figure has no window, so it needs a canvas of its own to be drawn on.
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    FuncAnimation(figure, draw, frames=len(solved.steps), init_func=lambda: None).save(
        str(path), writer=PillowWriter(fps=frames_per_second)
    )


def exits(law: "ExitSteps") -> "Figure":
    """Return a figure of a law of exit: the probability of being still inside, and that of leaving at each step."""
    figure, ((left, right),) = _canvas(1, 2, 9.0, 3.6)
    left.semilogy(law.steps, np.maximum(law.survival, 1e-300), color=COLOURS[0], label="inside")
    if 0 < law.decay < 1 and law.survival[-1] > 0:
        tail = law.survival[-1] * law.decay ** (law.steps - float(law.steps[-1]))
        left.semilogy(law.steps, tail, "--", color=COLOURS[1], label=f"falls by {law.decay:.6g} a step")
    left.set_ylim(max(float(law.survival.min()) / 2, 1e-12), 1.5)
    left.set_xlabel("step n")
    left.set_ylabel("probability of being inside")
    left.legend()
    right.plot(law.steps, law.probability, color=COLOURS[0])
    if np.isfinite(law.mean) and law.mean <= law.steps[-1]:
        right.axvline(law.mean, color=COLOURS[1], linestyle="--", label=f"mean {law.mean:.4g}")
        right.legend()
    right.set_ylim(bottom=0)
    right.set_xlabel("step n")
    right.set_ylabel("probability of leaving at n")
    figure.suptitle("When do the parameters leave?")
    return figure


def escapes(paths: Mapping[str, Array]) -> "Figure":
    """Return a figure of paths (N + 1, d), d <= 2, out of a well: over the steps before the exit, or in the plane."""
    figure, ((axis,),) = _canvas(1, 1, 6.4, 4.2)
    line = next(iter(paths.values())).shape[1] == 1
    for (name, path), colour in zip(paths.items(), COLOURS, strict=False):
        near = 1e-2 * np.ptp(path, axis=0).max()
        begun = int(np.argmax(np.any(np.abs(path - path[0]) > near, axis=1)))
        arrived = int(np.flatnonzero(np.any(np.abs(path - path[-1]) > near, axis=1))[-1]) + 1
        moving = path[max(begun - 3, 0) : arrived + 1]
        along = (np.arange(1.0 - len(moving), 1.0), moving[:, 0]) if line else moving.T
        axis.plot(*along, ".-", color=colour, label=name)
    axis.set_xlabel("steps before the exit" if line else "θ₁ [parameter]")
    axis.set_ylabel("θ [parameter]" if line else "θ₂ [parameter]")
    axis.legend()
    figure.suptitle("Along which path do the parameters leave?")
    return figure
