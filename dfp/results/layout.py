"""What fits on a figure: legends above axes, titles and labels in lines, numbers apart, panels without bands."""

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Share of the width that lines of titles may fill.
_FILLED = 0.95
# Width of given axes below which titles are small, and side of axes that has room for many numbers [point].
_SMALL, _ROOMY = 300.0, 150.0
# Height of a line over that of its letters.
_LINE = 1.4
# Rows of a legend, and lines of the label of a height, up to which letters are not made smaller.
_ROWS, _LINES = 2, 2
# Times that a figure is made smaller at most, and what it may have to spare [inch].
_ROUNDS, _SPARE = 5, 0.1
# Ratio of the ends of logarithmic axes below which numbers between powers of ten are named.
_FEW_DECADES = 100.0

_LEGENDS: ContextVar[dict[Any, Sequence[Any]] | None] = ContextVar("legends", default=None)


@contextmanager
def gathered() -> Iterator[dict[Any, Sequence[Any]]]:
    """Gather what legends explain, by their axes."""
    legends: dict[Any, Sequence[Any]] = {}
    token = _LEGENDS.set(legends)
    try:
        yield legends
    finally:
        _LEGENDS.reset(token)


def own(figure: "Figure", title: str, legends: Mapping[Any, Sequence[Any]] | None = None) -> None:
    """Break title and labels of a new figure into lines that fit, and take away what panels of equal units leave free.

    Such panels find their place when a figure is drawn, and again when its size has changed. A figure whose width was
    asked for keeps it, and its ``legends`` are given.
    """
    for axis in figure.axes:
        _log_ticks(axis)
    equal = any(axis.get_aspect() != "auto" for axis in figure.axes)
    broken(figure.suptitle(title), 72 * figure.get_figwidth())
    for _ in range(_ROUNDS if equal else 0):
        figure.draw_without_rendering()
        if not _trim(figure, keeps_width=legends is not None):
            break
        broken(figure.suptitle(title), 72 * figure.get_figwidth())
    if legends is not None:
        shown = [axis for axis in figure.axes if axis.axison]
        _fit(shown, legends, _written(shown))
        return
    for axis in figure.axes:
        broken(axis.yaxis.label, 72 * float(axis.get_position().height) * figure.get_figheight())
    if equal:
        figure.draw_without_rendering()
        _thin(figure.axes)


def given(axes: Sequence["Axes"], legends: Mapping[Any, Sequence[Any]], title: str) -> None:
    """Break titles and labels of axes that are given into lines, and legends into rows, as wide as these are."""
    axes[0].set_title(title, fontsize="medium" if room(axes[0])[0] < _SMALL else None)
    for axis in axes:
        _log_ticks(axis)
    figure, written = root(axes[0]), _written(axes)
    _fit(axes, legends, written)
    if figure.get_layout_engine() is None and axes[0].get_subplotspec() and not _whole(figure):
        from matplotlib.layout_engine import ConstrainedLayoutEngine

        for _ in range(_ROUNDS):  # what is broken goes by places, and these by what is broken
            _fit(axes, legends, written)
            ConstrainedLayoutEngine().execute(figure)
            if _whole(figure):
                break


def _whole(figure: Any) -> bool:
    """Tell whether all that is on the axes of a figure is within it."""
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()  # which chooses the numbers
    boxes = [axis.get_tightbbox() for axis in figure.axes]
    found, page = Bbox.union([box for box in boxes if box is not None]), figure.bbox
    return bool(found.x0 >= page.x0 and found.y0 >= page.y0 and found.x1 <= page.x1 and found.y1 <= page.y1)


def _written(axes: Sequence["Axes"]) -> dict[Any, str]:
    """Return titles and labels of axes, three of each, with what they say."""
    return {one: one.get_text() for axis in axes for one in (axis.title, axis.yaxis.label, axis.xaxis.label)}


def _fit(axes: Sequence["Axes"], legends: Mapping[Any, Sequence[Any]], written: Mapping[Any, str]) -> None:
    """Break titles and labels of axes into lines, and legends into rows, as wide as these are; thin their numbers."""
    texts, whole = list(written), list(written.values())
    for again in (True, True, False):  # layouts go by what is drawn, and what fits by layouts
        for i, axis in enumerate(axes):
            width, height = room(axis)
            for one, text, size in zip(texts[3 * i :], whole[3 * i :], (width, height, width), strict=False):
                one.set_text(text)
                broken(one, size)
                if one.get_text().count("\n") >= _LINES and one is axis.yaxis.label:
                    one.set(text=text, fontsize="small")
                    broken(one, size)
            if axis in legends:
                legend(axis, legends[axis])
        if again:
            with warnings.catch_warnings():  # that axes are too small, as they are until their labels are broken
                warnings.simplefilter("ignore", UserWarning)
                root(axes[0]).draw_without_rendering()
    _thin(axes)


def _trim(figure: "Figure", *, keeps_width: bool) -> bool:
    """Make a figure that is drawn smaller by what its panels of equal units leave free; return whether that is much."""
    spare, size = [0.0, 0.0], figure.get_size_inches()
    for side, extent in enumerate(("width", "height")):
        rows: dict[int, list[float]] = {}
        for axis in figure.axes:
            place = axis.get_subplotspec()
            if place is not None and axis.axison:
                free = getattr(axis.get_position(original=True), extent) - getattr(axis.get_position(), extent)
                rows.setdefault((place.colspan, place.rowspan)[side].start, []).append(free)
        spare[side] = max(sum(max(min(free), 0.0) for free in rows.values()) * float(size[side]) - _SPARE, 0.0)
    spare[0] *= not keeps_width
    much = max(spare) > 0
    if much:
        figure.set_size_inches(size[0] - spare[0], size[1] - spare[1])
    return much


def legend(axis: "Axes", handles: Sequence[Any] | None = None) -> None:
    """Put a legend above an axis, where it hides nothing, in as few rows as the axis is wide enough for."""
    known = axis.get_legend_handles_labels()[0] if handles is None else list(handles)
    if not known:
        return
    legends = _LEGENDS.get()
    if legends is not None:
        legends[axis] = known
    wide, beside = room(axis)[0] * axis.figure.dpi / 72, 0.0
    above = 1.0 + _factor(axis) / room(axis)[1]
    counts = range(1, len(known) + 1)
    for letters, rows in [*product(["small"], counts[:_ROWS]), *product(["x-small"], counts)]:
        drawn = axis.legend(
            handles=known, loc="lower left", bbox_to_anchor=(-beside, above), ncols=-(-len(known) // rows),
            fontsize=letters, frameon=False, borderpad=0.2, borderaxespad=0.2, columnspacing=1.2, handlelength=1.8,
            handletextpad=0.5,
        )  # fmt: skip
        if drawn.get_window_extent().width <= _FILLED * wide:
            break
        if not beside:  # the space above the labels of the axis is free as well, above its highest number
            labels = axis.yaxis.get_tightbbox()
            beside = max(axis.get_window_extent().x0 - labels.x0, 1.0) / wide if labels else 0.0
            wide *= 1 + beside
            above += _LINE / 2 * float(axis.yaxis.offsetText.get_fontsize()) / room(axis)[1]
    axis.set_title(axis.get_title(), pad=_pad(axis), fontsize=axis.title.get_fontsize())


def _factor(axis: "Axes") -> float:
    """Return the height of the power of ten by which the numbers of an axis are multiplied, above it [point]."""
    side = axis.yaxis
    formatter = side.get_major_formatter()
    formatter.set_locs(list(side.get_majorticklocs()))
    return _LINE * float(side.offsetText.get_fontsize()) if formatter.get_offset() else 0.0


def _pad(axis: "Axes") -> float:
    """Return the distance between an axis and its title, which a legend may be in [point]."""
    from matplotlib import rcParams

    drawn, least = axis.get_legend(), float(rcParams["axes.titlepad"])
    between = drawn is not None and drawn.get_window_extent().y0 >= axis.get_window_extent().y1
    return least + (drawn.get_window_extent().y1 - axis.bbox.y1) * 72 / axis.figure.dpi if between and drawn else least


def room(axis: "Axes") -> tuple[float, float]:
    """Return width and height of the place of an axis, which panels of equal units do not fill [point]."""
    place, whole, scale = axis.get_position(original=True), axis.figure.bbox, 72 / axis.figure.dpi
    return scale * float(place.width * whole.width), scale * float(place.height * whole.height)


def root(axis: "Axes") -> Any:
    """Return the figure of an axis, even if it is on a part of one."""
    return axis.figure.canvas.figure


def _thin(axes: Sequence["Axes"]) -> None:
    """Make the numbers below panels of equal units smaller, and then fewer, where they would overlap."""
    from matplotlib.ticker import MaxNLocator

    for axis in axes:
        locator = axis.xaxis.get_major_locator()
        if axis.get_aspect() == "auto" or not isinstance(locator, MaxNLocator):
            continue
        if _crowded(axis):
            axis.tick_params(labelsize="x-small")
        if _crowded(axis):
            locator.set_params(nbins=2)


def _crowded(axis: "Axes") -> bool:
    boxes = [label.get_window_extent() for label in axis.get_xticklabels() if label.get_text()]
    boxes = sorted((box for box in boxes if box.width > 0), key=lambda box: box.x0)
    return any(left.x1 + 2 > right.x0 for left, right in pairwise(boxes))


def _log_ticks(axis: "Axes") -> None:
    """Let logarithmic axes name powers of ten alone, or others between where there are hardly two of them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for side in (axis.xaxis, axis.yaxis):
        low, high = side.get_view_interval()
        if side.get_scale() != "log" or not 0 < low < high:
            continue
        if high < _FEW_DECADES * low:
            long = room(axis)[0 if side is axis.xaxis else 1]
            side.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if long > _ROOMY else (1.0, 3.0)))
            side.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        side.set_minor_formatter(NullFormatter())


def integers(axis: Any) -> None:
    """Let a side of a figure have ticks at whole numbers alone, however few there are."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))


def from_zero(axis: "Axes", values: Sequence[Any]) -> None:
    """Let sides of a map of parameters that are not negative begin at zero, where its cells go beyond."""
    (left, right), (low, high) = axis.get_xlim(), axis.get_ylim()
    if min(values[0]) >= 0 > left:
        axis.set_xlim(0, right)
    if min(values[1]) >= 0 > low:
        axis.set_ylim(0, high)


def broken(text: Any, width: float) -> None:
    """Break a text into lines of at most so many points, before layouts ask how high it is."""
    from matplotlib.textpath import text_to_path

    def long(line: str) -> bool:
        wide = text_to_path.get_text_width_height_descent(line, text.get_fontproperties(), ismath=False)[0]
        return bool(wide > _FILLED * width)

    def words(part: str) -> Iterator[str]:
        for word in re.findall(r"\[[^\]]*\]|[^ ]+", part):  # a unit is one, unless it is too long
            yield from word.split(" ") if long(word) else [word]

    lines: list[str] = []
    for part in text.get_text().split("\n"):
        lines.append("")
        for word in words(part):
            wider = f"{lines[-1]} {word}".strip()
            if lines[-1] and long(wider):
                lines.append(word)
            else:
                lines[-1] = wider
    text.set_text("\n".join(lines))
