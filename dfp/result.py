"""What every result can do: be saved, become a labelled dataset or a table, be drawn, and show itself in a notebook."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache, wraps
from html import escape
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, TypeVar

import numpy as np

if TYPE_CHECKING:
    import pandas
    import xarray
    from matplotlib.figure import Figure


# Letters of a repr that a field may have, and all of them.
_FIELD, _LINE = 40, 110
# What says nothing.
_BARE = ("None", "()", "[]", "{}")


class Short:
    """What shows itself in one line: numbers, shapes of arrays, and nothing that takes more room."""

    def __repr__(self) -> str:
        """Return name and fields, in a few words each."""
        shown: Any = import_module("dfp.problem.value").shown
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        told = {name: f"{one:.5g}" if isinstance(one, float) else shown(one) for name, one in values.items()}
        line = ", ".join(f"{name}={text}" for name, text in told.items() if text not in _BARE and len(text) <= _FIELD)
        return f"<{type(self).__name__}: {line if len(line) <= _LINE else line[:_LINE].rpartition(', ')[0] + ', …'}>"

    def _repr_html_(self) -> str:
        """Return what notebooks show: the text."""
        return f"<pre>{escape(str(self))}</pre>"


class Result(Short):
    """Common face of results whose variables are listed in ``dfp/results/kind_table.py``.

    That table names classes of every room, those below it included. It is therefore looked up by name, when first used.
    """

    _parts: ClassVar[tuple[str, ...]] = ()
    """Fields that are results themselves, made by the same call."""

    def __getstate__(self) -> dict[str, Any]:
        """Return all but the call that made it: not every argument can be sent elsewhere."""
        return {name: value for name, value in vars(self).items() if name != "_made_by"}

    def _call(self) -> dict[str, Any] | None:
        """Return function and arguments that made it, by value, as its file holds them; None where it is not known."""
        made_by = getattr(self, "_made_by", None)
        return None if made_by is None else made_by()

    def _remember(self, call: Callable[[], dict[str, Any]]) -> None:
        """Keep the call that made it, and so its parts."""
        object.__setattr__(self, "_made_by", call)
        for name in self._parts:
            part = getattr(self, name)
            if part is not None:
                part._remember(lambda name=name: call() | {"part": name})

    def save(self, path: str | Path) -> None:
        """Write an HDF5 file that xarray opens as it is and ``dfp.load`` reads back, whole or not at all.

        Examples
        --------
        >>> solution.save("run.h5")
        >>> print(dfp.load("run.h5").solver)
        Fourier
        """
        _table().save(self, path)

    def to_xarray(self) -> "xarray.Dataset":
        """Return a labelled ``xarray.Dataset`` with the variables, units and names of the file (extra ``xarray``).

        Examples
        --------
        >>> print(dict(solution.to_xarray()["density"].sizes))
        {'step': 3, 'theta_1': 45}
        """
        dataset: xarray.Dataset = _table().to_xarray(self)
        return dataset

    def to_dataframe(self) -> "pandas.DataFrame":
        """Return the variables along the first axis of the file, one row an entry (extra ``pandas``).

        Of what is a function on a grid, such as a stationary density, one row a cell.

        Raises
        ------
        DFPError
            If pandas is not installed, or the result is no table.

        Examples
        --------
        >>> print(list(moments.to_dataframe().columns))
        ['step', 'mean_1', 'covariance_1_1']
        """
        frame: pandas.DataFrame = _table().to_dataframe(self)
        return frame

    def plot(
        self,
        *,
        steps: Any = None,
        ax: Any = None,
        title: str | None = None,
        style: Any = None,
        width: float | None = None,
    ) -> "Figure":
        """Return a figure of the result, which ``pyplot.show()`` shows.

        Parameters
        ----------
        steps
            Which of the saved steps to draw; all if left out.
        ax
            Axes of Matplotlib for its first panel, or several for the first ones; a new figure if left out. Where
            their titles and labels would be cut, axes of ``subplots`` are made smaller, as ``tight_layout`` does.
        title
            Instead of the question that the figure answers.
        style
            ``"paper"``, with letters as large as captions, or a style of Matplotlib. Axes that are given take it
            if nothing is on them; figures with several are best made in ``matplotlib.style.context``.
        width
            Of a new figure [inch], such as 3.3 for a column of a paper and 7 for a page: exactly so wide, in the style
            ``"paper"`` unless another is given, with panels below each other that have no room side by side.

        Raises
        ------
        DFPError
            If there is no figure of its kind, it has no such steps, or an argument is malformed.

        Examples
        --------
        >>> figure = solution.plot(steps=[10], title="After ten steps")
        >>> print(figure.axes[0].get_xlabel())
        parameter θ₁ [parameter]
        """
        found = self if steps is None else self._at_steps(steps)
        return found._plotted(found._figure, ax, title, style, width)

    def _at_steps(self, steps: Any) -> "Result":
        """Return the result at some of its steps."""
        found: Result = import_module("dfp.results.drawn").at_steps(self, steps)
        return found

    def _figure(self) -> "Figure":
        """Draw the result."""
        figure: Figure = import_module("dfp.results.drawn").draw(self)
        return figure

    def _plotted(
        self, draw: Callable[[], "Figure"], ax: Any, title: str | None, style: Any, width: float | None
    ) -> "Figure":
        figure: Figure = import_module("dfp.results.page").plotted(draw, ax=ax, title=title, style=style, width=width)
        return figure


_Arguments = ParamSpec("_Arguments")
_Made = TypeVar("_Made", bound=Result)


def remembered(function: Callable[_Arguments, _Made]) -> Callable[_Arguments, _Made]:
    """Let what a public function returns know the call that made it, which its file holds for ``dfp.rerun``."""

    @wraps(function)
    def made(*given: _Arguments.args, **named: _Arguments.kwargs) -> _Made:
        found = function(*given, **named)
        told = {name: one for name, one in named.items() if name != "checkpoint"}  # no file says where one is
        found._remember(call_of(function, *_held((given, told))))
        return found

    return made


def call_of(function: Callable[..., Any], given: tuple[Any, ...], named: Mapping[str, Any]) -> Callable[[], Any]:
    """Return what writes a call down by value, when it is first asked to."""

    @cache
    def call() -> dict[str, Any]:
        recipe: Any = import_module("dfp.solving.recipe")
        arguments = signature(function).bind(*given, **named).arguments
        return {"function": function.__name__, "arguments": recipe.recorded(arguments, whole=arguments)}

    return call


class Origin:
    """An argument that is a result: not its numbers, but the call that made it."""

    def __init__(self, result: Result) -> None:
        self.name, self.call = type(result).__name__, getattr(result, "_made_by", None)


def _held(value: Any) -> Any:
    """Return a value that nobody changes later: a copy of arrays, lists and tables of them."""
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, Mapping):
        return {name: _held(one) for name, one in value.items()}
    return type(value)(map(_held, value)) if type(value) in (list, tuple) else value


def _table() -> Any:
    return import_module("dfp.results.kinds")
