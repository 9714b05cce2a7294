"""What every result can do: be saved, become a labelled dataset or a table, be drawn, and show itself in a notebook."""

from html import escape
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas
    import xarray
    from matplotlib.figure import Figure


class Result:
    """Common face of results whose variables are listed in ``dfp/results/kinds.py``.

    That table names classes of every room, those below it included. It is therefore looked up by name, when first used.
    """

    def save(self, path: str | Path) -> None:
        """Write an HDF5 file that xarray opens as it is and ``dfp.load`` reads back, whole or not at all."""
        _table().save(self, path)

    def to_xarray(self) -> "xarray.Dataset":
        """Return a labelled ``xarray.Dataset`` with the variables, units and names of the file (extra ``xarray``)."""
        dataset: xarray.Dataset = _table().to_xarray(self)
        return dataset

    def to_dataframe(self) -> "pandas.DataFrame":
        """Return the variables along the first axis of the file, one row an entry (extra ``pandas``).

        Raises
        ------
        DFPError
            If pandas is not installed, or the result is on a grid and no table.
        """
        frame: pandas.DataFrame = _table().to_dataframe(self)
        return frame

    def plot(self) -> "Figure":
        """Return a figure of the result.

        Raises
        ------
        DFPError
            If there is none of its kind.
        """
        figure: Figure = import_module("dfp.results.drawn").draw(self)
        return figure

    def _repr_html_(self) -> str:
        """Return what notebooks show: the text."""
        return f"<pre>{escape(str(self))}</pre>"


def _table() -> Any:
    return import_module("dfp.results.kinds")
