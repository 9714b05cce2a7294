"""Densities over steps as films: GIF by Pillow, MP4 by the program ffmpeg."""

import io
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dfp.checks import Array
from dfp.errors import DFPError
from dfp.results import axes as named
from dfp.results import figures, page, schema, writing

FORMATS = (".gif", ".mp4")


def animate(
    path: str | Path,
    places: Sequence[Array],
    density: Array,
    titles: Sequence[str],
    view: figures.Box,
    frames_per_second: int,
    names: Sequence[str],
) -> None:
    """Write densities (S, n_1, …) of d <= 2 parameters as the frames of a film, whole or not at all.

    The suffix says of which kind; ``names`` are those of the parameters.

    Raises
    ------
    DFPError
        If the suffix is neither .gif nor .mp4, ffmpeg is not there for the latter, or the file cannot be written.
    """
    suffix = Path(writing.checked(path)).suffix.lower()
    if suffix not in FORMATS:
        raise DFPError(f"path={path}: a film cannot be written as {suffix!r}; use {' or '.join(FORMATS)}.")
    make = _gif if suffix == ".gif" else _mp4
    writing.write(path, make(_frames(places, density, titles, view, names), frames_per_second))


def _frames(
    places: Sequence[Array], density: Array, titles: Sequence[str], view: figures.Box, names: Sequence[str]
) -> Iterator[Any]:
    """Yield pictures, arrays of shape (height, width, 3) of bytes, with even sides, as MP4 needs them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure, ((axis,),) = page.canvas(1, 1, 5.0, 4.4)
    # The figure has no window, so it needs a canvas of its own to be drawn on.
    sheet = FigureCanvasAgg(figure)
    for values, title in zip(density, titles, strict=True):
        axis.clear()
        if len(places) == 2:
            figures.contours(axis, places, values, figures.COLOURS[0], view, names)
        else:
            axis.plot(places[0], values, color=figures.COLOURS[0])
            axis.set_xlim(view[0][0], view[1][0])
            axis.set_ylim(min(0.0, float(density.min())) * 1.05, float(density.max()) * 1.05)
            axis.set_xlabel(named.label(names[0]))
            axis.set_ylabel(schema.label("density", 1))
        page.broken(figure.suptitle(title), 72 * figure.get_figwidth())
        sheet.draw()
        picture = np.asarray(sheet.buffer_rgba())[..., :3]
        yield picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2].copy()


def _gif(frames: Iterator[Any], rate: int) -> bytes:
    from PIL import Image

    first, *rest = (Image.fromarray(frame) for frame in frames)
    buffer = io.BytesIO()
    first.save(buffer, format="GIF", save_all=True, append_images=rest, duration=1000 // rate, loop=0)
    return buffer.getvalue()


def _mp4(frames: Iterator[Any], rate: int) -> bytes:
    program = shutil.which("ffmpeg")
    if program is None:
        raise DFPError("path: MP4 needs the program ffmpeg, which is not installed; install it, or write a .gif.")
    pictures = list(frames)
    height, width, _ = pictures[0].shape
    command = [program, "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
    # In fragments, so that it needs no file to go back in, but a pipe.
    command += ["-r", str(rate), "-i", "-", "-pix_fmt", "yuv420p", "-movflags", "frag_keyframe+empty_moov"]
    ended = subprocess.run(
        [*command, "-f", "mp4", "-"], input=b"".join(picture.tobytes() for picture in pictures), capture_output=True
    )
    if ended.returncode or not ended.stdout:
        why = ended.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"status {ended.returncode}"]
        raise DFPError(f"path: ffmpeg made no film ({why[0]}); write a .gif.")
    return ended.stdout
