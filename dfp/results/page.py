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
"""The style ``"paper"``: figures as wide as a page of text, letters as large as its captions."""
# Figures are as large as their letters ask for: the sizes given are those for letters of so many points.
_LETTERS = 10.0

_GIVEN: ContextVar[list[Any] | None] = ContextVar("given", default=None)
_MANAGED: ContextVar[bool] = ContextVar("managed", default=False)


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
    with _styled(style), layout.gathered() as legends:
        tokens = _GIVEN.set(given), _MANAGED.set(True)
        open_before = _open()
        try:
            figure = draw()
        except BaseException:
            _close(_open() - open_before)
            raise
        finally:
            _GIVEN.reset(tokens[0])
            _MANAGED.reset(tokens[1])
        if given is None:
            layout.own(figure, figure.get_suptitle() if title is None else title)
            return figure
        asked, panel = figure.get_suptitle(), given[0].get_title()
        if panel:  # a panel alone asks the question too, and says which it is
            asked = panel if len(given) > 1 else f"{asked.partition('?')[0]}? {panel}"
        layout.given(given, legends, asked if title is None else title)
        found: Figure = layout.root(given[0])
        return found


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
