"""Figures of the suite: one canvas, one way to draw densities over time."""

import io
from collections.abc import Callable, Sequence
from typing import Any

from dfp.results.figures import COLOURS as COLOURS


def canvas(rows: int, columns: int, width: float = 11.0, height: float = 4.0) -> tuple[Any, Any]:
    """Return a figure without a window and its axes, shape (rows, columns)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def label(axis: Any, x: str, y: str, title: str = "") -> None:
    """Name both axes of a panel and give it a title."""
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    if title:
        axis.set_title(title, loc="left", fontsize="medium")


def movie(figure: Any, draw: Callable[[int], None], frames: int, pause: int = 120) -> bytes:
    """Return an animated GIF of ``frames`` pictures made by ``draw(frame)`` on ``figure``, ``pause`` ms apart."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas, pictures = FigureCanvasAgg(figure), []
    for frame in range(frames):
        draw(frame)
        canvas.draw()
        image = Image.frombuffer("RGBA", canvas.get_width_height(), bytes(canvas.buffer_rgba()))
        pictures.append(image.convert("RGB").quantize(colors=64))
    buffer = io.BytesIO()
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:], duration=pause, loop=0)
    return buffer.getvalue()


def keys(axis: Any, **options: Any) -> None:
    """Draw the legend of a panel, without a frame."""
    axis.legend(frameon=False, fontsize="small", **options)


def shades(count: int) -> Sequence[Any]:
    """Return ``count`` colours from dark to light."""
    from matplotlib import colormaps

    return [colormaps["viridis"](0.05 + 0.85 * k / max(count - 1, 1)) for k in range(count)]


def ticks(axis: Any, values: Sequence[float]) -> None:
    """Mark a short logarithmic x axis at ``values``, written as plain numbers."""
    axis.set_xticks(list(values), [f"{value:g}" for value in values])
    axis.minorticks_off()
