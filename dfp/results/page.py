"""The page of a figure: a new one, or axes that are given; its style, its title, its scales, its file."""

import io
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dfp.checks import Array, shown
from dfp.errors import DFPError
from dfp.results import writing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAPER = {
    "font.size": 8, "axes.titlesize": 8, "figure.titlesize": 9, "lines.linewidth": 1.0, "lines.markersize": 3.5,
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "figure.dpi": 200,
    "mathtext.fontset": "cm",
}  # fmt: skip
"""The style ``"paper"``: figures as wide as a page of text, letters as large as its captions."""
# Figures are as large as their letters ask for: the sizes given are those for letters of so many points.
_LETTERS = 10.0
# Share of the width that lines of titles may fill.
_FILLED = 0.95
# Width of given axes below which titles are small, and side of axes that has room for many numbers [point].
_SMALL, _ROOMY = 300.0, 150.0
# Ratio of the ends of logarithmic axes below which numbers between powers of ten are named.
_FEW_DECADES = 100.0

_GIVEN: ContextVar[list[Any] | None] = ContextVar("given", default=None)
_MANAGED: ContextVar[bool] = ContextVar("managed", default=False)
_LEGENDS: ContextVar[dict[Any, Sequence[Any]] | None] = ContextVar("legends", default=None)


def canvas(rows: int, columns: int, width: float, height: float) -> tuple["Figure", Any]:
    """Return an empty figure of so many inches and its axes, shape (rows, columns).

    Axes given to ``plotted`` take the places of the first ones; the rest is drawn on a figure that nobody sees.
    """
    from matplotlib import rcParams

    given, scale = _GIVEN.get(), rcParams["font.size"] / _LETTERS
    figure = _figure((width * scale, height * scale), managed=_MANAGED.get() and given is None)
    axes = figure.subplots(rows, columns, squeeze=False)
    if given is not None:
        if len(given) > axes.size:
            raise DFPError(f"ax: has {len(given)} axes: the figure has {axes.size} panels; give no more.")
        axes.flat[: len(given)] = given
    return figure, axes


def _figure(size: tuple[float, float], *, managed: bool) -> "Figure":
    from matplotlib.figure import Figure

    class Page(Figure):
        """A figure that notebooks show once, though both pyplot and the value of a cell have it."""

        def _ipython_display_(self) -> None:
            from matplotlib import pyplot

            if "inline" not in pyplot.get_backend():
                raise NotImplementedError  # and others show it
            show: Any = import_module("IPython.display")
            tools: Any = import_module("IPython.core.pylabtools")
            pyplot.close(self)
            show.display(show.Image(tools.print_figure(self)))

    # Windows belong to the main thread; a figure that another one draws has none.
    if managed and threading.current_thread() is threading.main_thread():
        from matplotlib import pyplot

        return pyplot.figure(figsize=size, layout="constrained", FigureClass=Page)
    return Figure(figsize=size, layout="constrained")


def plotted(draw: Callable[[], "Figure"], *, ax: Any = None, title: str | None = None, style: Any = None) -> "Figure":
    """Return what ``draw`` draws, managed by pyplot, or on axes that are given.

    Parameters
    ----------
    ax
        Axes for the first panel, or several for the first ones; a new figure if left out.
    title
        Instead of the question that the figure answers.
    style
        ``"paper"``, or what ``matplotlib.style.use`` takes.

    Raises
    ------
    DFPError
        If ``ax`` is no axes, there are more than panels, or there is no such style.
    """
    given = None if ax is None else _axes(ax)
    legends: dict[Any, Sequence[Any]] = {}
    with _styled(style):
        tokens = _GIVEN.set(given), _MANAGED.set(True), _LEGENDS.set(legends)
        open_before = _open()
        try:
            figure = draw()
        except BaseException:
            _close(_open() - open_before)
            raise
        finally:
            for variable, token in zip((_GIVEN, _MANAGED, _LEGENDS), tokens, strict=True):
                variable.reset(token)
    text = figure.get_suptitle() if title is None else title
    for axis in given or figure.axes:
        _log_ticks(axis)
    if given is None:
        broken(figure.suptitle(text), 72 * figure.get_figwidth())
        _trim(figure)
        _thin(figure.axes)
        return figure
    if title is not None or not given[0].get_title():
        given[0].set_title(text, fontsize="medium" if room(given[0])[0] < _SMALL else None)
    _fit(given, legends)
    return given[0].figure


def _fit(given: Sequence["Axes"], legends: "Mapping[Axes, Sequence[Any]]") -> None:
    """Break titles and labels of axes that are given into lines, and legends into rows, as wide as these are."""
    texts = [one for axis in given for one in (axis.title, axis.yaxis.label, axis.xaxis.label)]
    whole = [one.get_text() for one in texts]
    for again in (True, True, False):  # layouts go by what is drawn, and what fits by layouts
        for i, axis in enumerate(given):
            width, height = room(axis)
            for one, text, size in zip(texts[3 * i :], whole[3 * i :], (width, height, width), strict=False):
                one.set_text(text)
                broken(one, size)
            if axis in legends:
                legend(axis, legends[axis])
        if again:
            given[0].figure.draw_without_rendering()
    _thin(given)


def room(axis: "Axes") -> tuple[float, float]:
    """Return width and height of the place of an axis, which panels of equal units do not fill [point]."""
    place, (width, height) = axis.get_position(original=True), axis.get_figure(root=True).get_size_inches()
    return 72 * float(place.width * width), 72 * float(place.height * height)


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


def _trim(figure: "Figure") -> None:
    """Take away the bands that panels of equal units leave free."""
    if all(axis.get_aspect() == "auto" for axis in figure.axes):
        return
    for _ in range(2):  # such panels find their place at the second time alone
        figure.draw_without_rendering()
        size = figure.get_size_inches()
        spare = np.zeros(2)
        for side, extent in enumerate(("width", "height")):
            rows: dict[int, list[float]] = {}
            for axis in figure.axes:
                place = axis.get_subplotspec()
                if place is not None and axis.axison:
                    free = getattr(axis.get_position(original=True), extent) - getattr(axis.get_position(), extent)
                    rows.setdefault((place.colspan, place.rowspan)[side].start, []).append(free)
            spare[side] = sum(max(min(free), 0.0) for free in rows.values()) * size[side]
        figure.set_size_inches(*(size - spare))
    figure.draw_without_rendering()


def legend(axis: "Axes", handles: Sequence[Any] | None = None) -> None:
    """Put a legend above an axis, where it hides nothing, in as few rows as the axis is wide enough for."""
    known = axis.get_legend_handles_labels()[0] if handles is None else list(handles)
    if not known:
        return
    gathered = _LEGENDS.get()
    if gathered is not None:
        gathered[axis] = known
    wide, beside = room(axis)[0] * axis.figure.dpi / 72, 0.0
    for columns in range(len(known), 0, -1):
        drawn = axis.legend(
            handles=known, loc="lower left", bbox_to_anchor=(-beside, 1.0), ncols=columns, fontsize="small",
            frameon=False, borderpad=0.2, borderaxespad=0.2, columnspacing=1.2, handlelength=1.8, handletextpad=0.5,
        )  # fmt: skip
        if drawn.get_window_extent().width <= _FILLED * wide:
            break
        if not beside:  # the space above the labels of the axis is free as well
            beside = max(axis.get_window_extent().x0 - axis.yaxis.get_tightbbox().x0, 1.0) / wide
            wide *= 1 + beside
    axis.set_title(axis.get_title(), pad=_pad(axis), fontsize=axis.title.get_fontsize())


def _pad(axis: "Axes") -> float:
    """Return the distance between an axis and its title, which a legend may be in [point]."""
    from matplotlib import rcParams

    drawn, least = axis.get_legend(), float(rcParams["axes.titlepad"])
    between = drawn is not None and drawn.get_window_extent().y0 >= axis.get_window_extent().y1
    return least + (drawn.get_window_extent().height * 72 / axis.figure.dpi if between and drawn else 0.0)


def integers(axis: Any) -> None:
    """Let a side of a figure have ticks at whole numbers alone, however few there are."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))


def broken(text: Any, width: float) -> None:
    """Break a text into lines of at most so many points, before layouts ask how high it is."""
    from matplotlib.textpath import TextPath

    def long(line: str) -> bool:
        return bool(line and TextPath((0, 0), line, size=text.get_fontsize()).get_extents().width > _FILLED * width)

    lines: list[str] = []
    whole = text.get_text()
    for unit in re.findall(r"\[[^\]]*\]", whole):
        whole = whole if long(unit) else whole.replace(unit, unit.replace(" ", "\u00a0"))
    for part in whole.split("\n"):
        lines.append("")
        for word in part.split(" "):
            wider = f"{lines[-1]} {word}".strip()
            if lines[-1] and long(wider):
                lines.append(word)
            else:
                lines[-1] = wider
    text.set_text("\n".join(lines))


def _axes(ax: Any) -> list[Any]:
    from matplotlib.axes import Axes

    found = [ax] if isinstance(ax, Axes) else list(np.ravel(ax))
    if not found or not all(isinstance(one, Axes) for one in found):
        raise DFPError(f"ax={shown(ax)}: must be axes of matplotlib; give e.g. pyplot.gca().")
    return found


@contextmanager
def _styled(style: Any) -> Iterator[None]:
    import matplotlib.style

    if style is None:
        yield
        return
    known = [PAPER if one == "paper" else one for one in (style if isinstance(style, (list, tuple)) else [style])]
    try:
        context = matplotlib.style.context(known)
        context.__enter__()
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise DFPError(f"style={shown(style)}: is no style ({error}); give 'paper' or one of matplotlib's.") from None
    try:
        yield
    finally:
        context.__exit__(None, None, None)


def _open() -> set[int]:
    from matplotlib._pylab_helpers import Gcf

    return set(Gcf.figs)


def _close(numbers: set[int]) -> None:
    from matplotlib._pylab_helpers import Gcf

    for number in numbers:
        Gcf.destroy(number)


def bar(drawn: Any, axes: Sequence["Axes"], label: str) -> Any:
    """Add a bar of colours beside those of the axes that are on the figure of what is drawn; return it."""
    owner = getattr(drawn, "axes", None) or axes[0]
    beside = [axis for axis in axes if axis.figure is owner.figure]
    found = owner.figure.colorbar(drawn, ax=beside, label=label)
    broken(found.ax.yaxis.label, room(owner)[1])
    return found


def geometric(values: Array) -> bool:
    """Tell whether values are spaced evenly on a logarithmic axis rather than on a linear one."""
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 3 or values[0] <= 0:
        return False
    even = np.ptp(np.diff(values)) / np.mean(np.diff(values))
    return bool(even > 0 and np.ptp(np.diff(np.log(values))) / np.mean(np.diff(np.log(values))) < even / 3)


def scale_steps(axis: "Axes", steps: Array) -> None:
    """Make the axis of steps logarithmic, linear from 0 to 1, where they are spaced so."""
    positive = steps[steps > 0]
    if geometric(positive):
        axis.set_xscale("symlog", linthresh=float(positive[0])) if steps[0] == 0 else axis.set_xscale("log")
        axis.margins(x=0.05)


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
    figure.savefig(buffer, dpi=max(150, figure.dpi), format=suffix[1:])
    writing.write(path, buffer.getvalue())
