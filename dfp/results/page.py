"""The page of a figure: a new one, or axes that are given; its style, its title, its scales, its file."""

import io
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dfp import checks
from dfp.checks import Array, shown
from dfp.errors import DFPError
from dfp.results import layout, writing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAPER = {
    "font.size": 8, "axes.titlesize": 8, "figure.titlesize": 9, "lines.linewidth": 1.0, "lines.markersize": 3.5,
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "figure.dpi": 200,
    "mathtext.fontset": "cm",
}  # fmt: skip
"""The style ``"paper"``: letters as large as captions; figures keep what room their panels ask for."""
# Figures are as large as their letters ask for: the sizes given are those for letters of so many points.
_LETTERS = 10.0
# Least and largest width of a figure; room of a panel beside others, and where they share their labels [inch].
_WIDTHS, _BESIDE, _SHARING = (3.0, 40.0), 2.2, 1.6
# Inches of the height of a panel that labels and legends take, whatever its width.
_LABELS = 1.0
# Height of a bar of colours below a panel, its numbers and label included [inch].
_BAR = 0.6

_GIVEN: ContextVar[list[Any] | None] = ContextVar("given", default=None)
_MANAGED: ContextVar[bool] = ContextVar("managed", default=False)
_WIDTH: ContextVar[float | None] = ContextVar("width", default=None)


def canvas(rows: int, columns: int, width: float, height: float) -> tuple["Figure", Any]:
    """Return an empty figure of so many inches and its axes, shape (rows, columns).

    Axes given to ``plotted`` take the places of the first ones; the rest is drawn on a figure that nobody sees. Where
    ``plotted`` has a width, a row of panels becomes several if they have no room side by side.
    """
    from matplotlib import rcParams

    given, scale, asked = _GIVEN.get(), rcParams["font.size"] / _LETTERS, _WIDTH.get()
    beside = fitting(columns) if rows == 1 else columns
    lines = rows * -(-columns // beside)
    size = (width * scale, height * scale)
    if asked is not None:
        narrower = min(asked * columns / (beside * width * scale), 1.0)
        size = asked, scale * lines * (_LABELS + (height / rows - _LABELS) * narrower)
    figure = _figure(size, managed=_MANAGED.get() and given is None)
    axes = figure.subplots(lines, beside, squeeze=False)
    for axis in axes.flat:
        _numbers(axis)
    for axis in axes.flat[rows * columns :]:
        axis.remove()
    axes = axes.ravel()[: rows * columns].reshape(rows, columns)
    if given is not None:
        if len(given) > axes.size:
            raise DFPError(f"ax: has {len(given)} axes: the figure has {axes.size} panels; give no more.")
        axes.flat[: len(given)] = given
    return figure, axes


def fitting(panels: int, *, sharing: bool = False) -> int:
    """Return how many panels have room side by side, ``sharing`` labels or not: all, unless ``plotted`` has a width."""
    asked = _WIDTH.get()
    return panels if asked is None else min(panels, max(int(asked / (_SHARING if sharing else _BESIDE)), 1))


def share(axis: "Axes", *, first: bool, last: bool) -> None:
    """Leave labels to the ``first`` panels of rows and the ``last`` of columns, where a width was asked for."""
    if _WIDTH.get() is None:
        return
    if not first:
        axis.set_ylabel("")
        axis.tick_params(axis="y", labelleft=False)
    if not last:
        axis.set_xlabel("")
        axis.tick_params(axis="x", labelbottom=False)


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


def plotted(
    draw: Callable[[], "Figure"], *, ax: Any = None, title: str | None = None, style: Any = None, width: Any = None
) -> "Figure":
    """Return what ``draw`` draws, managed by pyplot, or on axes that are given.

    Parameters
    ----------
    ax
        Axes for the first panel, or several for the first ones; a new figure if left out.
    title
        Instead of the question that the figure answers.
    style
        ``"paper"``, or what ``matplotlib.style.use`` takes. Axes that are given take it if nothing is on them.
    width
        Of a new figure [inch], in the style ``"paper"`` if none is given; what its panels ask for if left out.

    Raises
    ------
    DFPError
        If ``ax`` is no axes, there are more than panels, there is no such style, or no figure of such a width.
    """
    given = None if ax is None else _axes(ax)
    if width is not None:
        width, style = _wide(width, given), "paper" if style is None else style
    with _styled(style), layout.gathered() as legends:
        for axis in given or ():
            if style is not None and not axis.has_data():
                _anew(axis)
        tokens = _GIVEN.set(given), _MANAGED.set(True), _WIDTH.set(width)
        open_before = _open()
        try:
            figure = draw()
        except BaseException:
            _close(_open() - open_before)
            raise
        finally:
            _GIVEN.reset(tokens[0])
            _MANAGED.reset(tokens[1])
            _WIDTH.reset(tokens[2])
        if given is None:
            layout.own(figure, figure.get_suptitle() if title is None else title, None if width is None else legends)
            return figure
        asked, panel = figure.get_suptitle(), given[0].get_title()
        if panel:  # a panel alone asks the question too, and says which it is
            asked = panel if len(given) > 1 else f"{asked.partition('?')[0]}? {panel}"
        layout.given(given, legends, asked if title is None else title)
        found: Figure = layout.root(given[0])
        return found


def check_look(width: Any, style: Any) -> None:
    """Refuse a width or style that no figure can have; both as ``plotted`` has them.

    Raises
    ------
    DFPError
        If they are malformed.
    """
    if width is not None:
        _wide(width, None)
    with _styled(style):
        pass


def _wide(width: Any, given: list[Any] | None) -> float:
    if given is not None:
        raise DFPError(f"width={shown(width)}: axes have the width of their figure; leave it out, or leave out ax.")
    least, most = _WIDTHS
    found = checks.real("width", width)
    if not least <= found <= most:
        raise DFPError(
            f"width={found:g}: must be inches from {least:g} to {most:g}; a column of a paper has some 3.3, a page 7."
        )
    return found


def _anew(axis: Any) -> None:
    """Make axes anew, in the style that is set; clearing them leaves their frame as it was."""
    from matplotlib import rcParams

    axis.clear()
    for side, spine in axis.spines.items():
        spine.set_visible(rcParams.get(f"axes.spines.{side}", True))
    _numbers(axis)


def _numbers(axis: Any) -> None:
    """Let the numbers of axes keep their size, by which they are as many, where the style is no longer set."""
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties

    for side in ("x", "y"):
        size = FontProperties(size=rcParams[f"{side}tick.labelsize"]).get_size_in_points()
        axis.tick_params(axis=side, labelsize=size)


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


def bar(drawn: Any, axes: Sequence["Axes"], label: str, *, below: bool | None = None) -> Any:
    """Add a bar of colours beside those of the axes that are on the figure of what is drawn; return it.

    It is ``below`` them, if nothing else is said, where a width was asked for that has no room for two panels.
    """
    owner = getattr(drawn, "axes", None) or axes[0]
    beside = [axis for axis in axes if axis.figure is owner.figure]
    if below is None and (below := fitting(2) == 1):
        figure = layout.root(owner)
        figure.set_figheight(figure.get_figheight() + _BAR)
    found = owner.figure.colorbar(drawn, ax=beside, label=label, location="bottom" if below else "right")
    if not below:
        layout.broken(found.ax.yaxis.label, layout.room(owner)[1])
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
