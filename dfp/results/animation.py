"""Densities over steps as films: GIF by Pillow, MP4 by the program ffmpeg."""

import io
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dfp.errors import DFPError
from dfp.results import axes as named
from dfp.results import figures, layout, page, palette, planes, schema, writing
from dfp.results.cells import PLAIN, Cells

FORMATS = (".gif", ".mp4")


def animate(
    path: str | Path, densities: Sequence[Cells], titles: Sequence[str], frames_per_second: int, names: Sequence[str]
) -> None:
    """Write densities of d <= 2 parameters, with these names, as the frames of a film, whole or not at all.

    The suffix says of which kind.

    Raises
    ------
    DFPError
        If the suffix is neither .gif nor .mp4, ffmpeg is not there for the latter, or the file cannot be written.
    """
    suffix = Path(writing.checked(path)).suffix.lower()
    if suffix not in FORMATS:
        raise DFPError(f"path={path}: a film cannot be written as {suffix!r}; use {' or '.join(FORMATS)}.")
    make = _gif if suffix == ".gif" else _mp4
    writing.write(path, make(_frames(densities, titles, names), frames_per_second))


def _frames(densities: Sequence[Cells], titles: Sequence[str], names: Sequence[str]) -> Iterator[Any]:
    """Yield pictures, arrays of shape (height, width, 3) of bytes, with even sides, as MP4 needs them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure, ((axis,),) = page.canvas(1, 1, 5.0, 4.4)
    # The figure has no window, so it needs a canvas of its own to be drawn on.
    sheet = FigureCanvasAgg(figure)
    flat = len(densities[0].axes) == 1
    if flat:
        ends = figures.span(densities, PLAIN)
        lines = [cells.line(*ends) for cells in densities]
        low = min(0.0, *(float(values.min()) for _, values in lines))
        high = max(float(values.max()) for _, values in lines)
    else:
        view = planes.seen(*densities)
    for i, (cells, title) in enumerate(zip(densities, titles, strict=True)):
        axis.clear()
        if flat:
            axis.plot(*lines[i], color=palette.COLOURS[0], drawstyle=cells.style)
            axis.set_xlim(*ends)
            axis.set_ylim(1.05 * low, 1.05 * high)
            axis.set_xlabel(named.label(names[0]))
            axis.set_ylabel(schema.label("density", 1))
        else:
            own = cells.trajectories
            planes.contours(axis, cells.axes, cells.values, palette.COLOURS[0], view, names, trajectories=own)
        held = "" if flat else f"\n{planes.HELD_IN_WORDS}"
        layout.broken(figure.suptitle(title + held), 72 * figure.get_figwidth())
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
