"""Figures of arrays and labels: densities as curves and contours, moments over steps, laws of exit; and their files."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dfp.checks import Array
from dfp.errors import DFPError
from dfp.results import schema, writing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that stay apart for colour-blind readers (Okabe and Ito 2008).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# Contours hold these fractions of the probability: one, two and three standard deviations of a 2D Gaussian.
_HELD = (0.989, 0.865, 0.393)

Box = tuple[Array, Array]
"""Lower and upper corner of what is in view."""


def canvas(rows: int, columns: int, width: float, height: float) -> tuple["Figure", Any]:
    """Return an empty figure of so many inches and its axes, shape (rows, columns)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def curves(drawn: Mapping[str, tuple[Array, Array]], title: str, order: Sequence[float] | None = None) -> "Figure":
    """Return 1D densities, each (places, values) by its label, on a linear and on a logarithmic axis.

    More than six at steps ``order`` have colours in their order, with a colour bar in place of a legend.
    """
    figure, ((linear, logarithmic),) = canvas(1, 2, 9.0, 3.8)
    ordinal = order is not None and len(drawn) > len(COLOURS)
    chosen = _ordered(len(drawn)) if ordinal else colours(len(drawn))
    for (label, (places, values)), colour in zip(drawn.items(), chosen, strict=True):
        linear.plot(places, values, label=label, color=colour)
        logarithmic.plot(places, np.where(values > 0, values, np.nan), color=colour)
    peak = max(float(values.max()) for _, values in drawn.values())
    logarithmic.set_yscale("log")
    logarithmic.set_ylim(peak * 1e-8, peak * 3)
    for axis in (linear, logarithmic):
        axis.set_xlabel(schema.label("theta_1"))
        axis.set_ylabel(schema.label("density", 1))
    if ordinal and order is not None:
        _bar(figure, [linear, logarithmic], order)
    else:
        linear.legend()
    figure.suptitle(title)
    return figure


def _ordered(count: int) -> list[Any]:
    from matplotlib import colormaps

    return [colormaps["viridis"](place) for place in np.linspace(0, 0.92, count)]


def _bar(figure: "Figure", axes: Any, order: Sequence[float]) -> None:
    """Add a bar with the colour of every step, labelled at no more than eight of them."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, ListedColormap

    edges = np.arange(len(order) + 1) - 0.5
    colours = ScalarMappable(BoundaryNorm(edges, len(order)), ListedColormap(_ordered(len(order))))
    named = np.unique(np.linspace(0, len(order) - 1, min(8, len(order))).astype(int))
    bar = figure.colorbar(colours, ax=axes, label=schema.label("step"), ticks=named)
    bar.set_ticklabels([f"{order[i]:g}" for i in named])


def planes(
    drawn: Mapping[str, tuple[Sequence[Array], Array]], view: Box, title: str, palette: Sequence[str] = COLOURS
) -> "Figure":
    """Return 2D densities side by side as contours, each ((x, y), values) by its label."""
    figure, axes = canvas(1, len(drawn), 3.7 * len(drawn), 4.1)
    for axis, (label, (places, values)), colour in zip(
        axes[0], drawn.items(), colours(len(drawn), palette), strict=True
    ):
        contours(axis, places, values, colour, view)
        axis.set_title(label)
    figure.suptitle(title)
    return figure


def colours(count: int, palette: Sequence[str] = COLOURS) -> list[str]:
    """Return so many colours, again from the first where there are more."""
    return [palette[i % len(palette)] for i in range(count)]


def contours(
    axis: "Axes", places: Sequence[Array], values: Array, colour: str, view: Box, *, outline: bool = False
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
    """
    x, y = places
    levels = _levels(values, (x[1] - x[0]) * (y[1] - y[0]))
    if outline:
        axis.contour(x, y, values.T, levels=levels, colors=colour, linewidths=0.8, linestyles="--")
    else:
        axis.contourf(x, y, values.T, levels=[*levels, float(values.max()) * 1.01], colors=colour, alpha=0.25)
        axis.contour(x, y, values.T, levels=levels, colors=colour, linewidths=1.2)
    axis.set_xlim(view[0][0], view[1][0])
    axis.set_ylim(view[0][1], view[1][1])
    axis.set_xlabel(schema.label("theta_1"))
    axis.set_ylabel(schema.label("theta_2"))
    axis.set_aspect("equal", adjustable="box")


def _levels(values: Array, cell: float) -> Array:
    """Return the densities above which cells of volume ``cell`` hold the fractions ``_HELD`` of the mass, ascending."""
    ordered = np.sort(values.ravel())[::-1]
    held = np.cumsum(ordered * cell)
    levels = [ordered[min(int(np.searchsorted(held, fraction)), len(ordered) - 1)] for fraction in _HELD]
    # Few samples, or a density in one cell, make levels coincide; contours need them to increase.
    return np.unique(np.maximum(levels, 1e-12 * ordered[0]))


def window(mean: Array, covariance: Array) -> Box:
    """Return the corners of a box of four standard deviations about means (S, d), with covariances (S, d, d)."""
    reach = 4 * np.sqrt(np.einsum("sii->si", covariance))
    return np.min(mean - reach, axis=0), np.max(mean + reach, axis=0)


def moments(steps: Any, mean: Array, variance: Array, title: str) -> "Figure":
    """Return means and variances, shape (S, d), over steps; of the first eight parameters."""
    figure, ((left, right),) = canvas(1, 2, 9.0, 3.8)
    for i, colour in enumerate(colours(min(mean.shape[1], 8))):
        left.plot(steps, mean[:, i], "o-", label=rf"$\theta_{{{i + 1}}}$", color=colour)
        right.plot(steps, variance[:, i], "o-", color=colour)
    left.set_ylabel(schema.label("mean"))
    right.set_ylabel(schema.label("variance"))
    for axis in (left, right):
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


def save(figure: "Figure", path: str | Path) -> None:
    """Write a figure, whole or not at all; the suffix chooses the format.

    Raises
    ------
    DFPError
        If the suffix names no format, or the file cannot be written.
    """
    suffix = Path(writing.checked(path)).suffix.lower()
    if suffix[1:] not in figure.canvas.get_supported_filetypes():
        raise DFPError(f"path={path}: the figure cannot be written as {suffix!r}; use .png, .pdf or .svg.")
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=150, format=suffix[1:])
    writing.write(path, buffer.getvalue())


def animate(
    path: str | Path, places: Sequence[Array], density: Array, titles: Sequence[str], view: Box, frames_per_second: int
) -> None:
    """Write densities (S, n_1, …), d <= 2, as the frames of an animated GIF, whole or not at all."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure, ((axis,),) = canvas(1, 1, 5.0, 4.4)
    # The figure has no window, so it needs a canvas of its own to be drawn on.
    page, pictures = FigureCanvasAgg(figure), []
    for values, title in zip(density, titles, strict=True):
        axis.clear()
        if len(places) == 2:
            contours(axis, places, values, COLOURS[0], view)
        else:
            axis.plot(places[0], values, color=COLOURS[0])
            axis.set_xlim(view[0][0], view[1][0])
            axis.set_ylim(0, float(density.max()) * 1.05)
            axis.set_xlabel(schema.label("theta_1"))
            axis.set_ylabel(schema.label("density", 1))
        axis.set_title(title)
        page.draw()
        pictures.append(Image.fromarray(np.asarray(page.buffer_rgba())).convert("RGB"))
    buffer = io.BytesIO()
    pictures[0].save(
        buffer, format="GIF", save_all=True, append_images=pictures[1:], duration=1000 // frames_per_second, loop=0
    )
    writing.write(path, buffer.getvalue())


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
    axis.set_xlabel("steps before the exit" if line else "θ₁ [parameter]")
    axis.set_ylabel("θ [parameter]" if line else "θ₂ [parameter]")
    axis.legend()
    figure.suptitle("Along which path do the parameters leave?")
    return figure
