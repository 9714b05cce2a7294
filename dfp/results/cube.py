"""Sweeps: what a function gave at every point of a grid of parameters, as one cube that grows, is saved and goes on."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dfp.checks import Array
from dfp.errors import DFPError, FileFormatError
from dfp.results import hdf5, schema
from dfp.results.schema import Column, versions

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

_KIND = "sweep"
DONE = "finished"
"""Name of the variable that counts which members are there."""


@dataclass(frozen=True, eq=False)
class Sweep:
    """Values of a function on a grid of parameters.

    Attributes
    ----------
    axes
        Values by the name of the parameter, each of shape (P_i,).
    values
        Arrays by name, of shape (P_1, P_2, …, and that of one result); NaN where a member is not finished or failed.
    finished
        Which members have been tried, shape (P_1, P_2, …).
    failures
        Messages of members that ended in a ``DFPError``, by their index in C order.
    function
        Name of what was called.

    Examples
    --------
    >>> import dfp
    >>> found = dfp.sweep(lambda a, b: a * b, {"a": [1.0, 2.0], "b": [3.0, 4.0, 5.0]}, quiet=True)
    >>> print(found.values["value"], bool(found.finished.all()))
    [[ 3.  4.  5.]
     [ 6.  8. 10.]] True
    """

    axes: dict[str, Array]
    values: dict[str, Array]
    finished: NDArray[np.bool_]
    failures: dict[int, str]
    function: str

    def __getitem__(self, name: str) -> Array:
        """Return the array ``name``."""
        if name not in self.values:
            raise DFPError(f"name={name!r}: must be one of {', '.join(map(repr, self.values))}; give one of these.")
        return self.values[name]

    def save(self, path: str | Path) -> None:
        """Write an HDF5 file that xarray opens as it is, whole or not at all; ``dfp.load_sweep`` reads it back."""
        hdf5.save(path, self._columns(), self._attributes())

    def to_xarray(self) -> "xarray.Dataset":
        """Return a labelled ``xarray.Dataset`` whose dimensions are the axes (extra ``xarray``)."""
        return hdf5.to_xarray(self._columns(), self._attributes())

    def plot(self, name: str | None = None) -> "Figure":
        """Return a figure of a number over one axis or two: ``name``, the only one if left out."""
        chosen = next(iter(self.values)) if name is None and len(self.values) == 1 else name
        if chosen is None:
            raise DFPError(f"name: there are {', '.join(map(repr, self.values))}; say which to draw.")
        numbers, names = self[chosen], tuple(self.axes)
        if numbers.shape != self.finished.shape or len(names) > 2:
            raise DFPError(f"name={chosen!r}: has shape {numbers.shape}: a number over one or two axes can be drawn.")
        from dfp.results.figures import canvas

        figure, ((axis,),) = canvas(1, 1, 5.6, 4.2)
        axis.set_xlabel(_label(names[0]))
        if len(names) == 1:
            axis.plot(self.axes[names[0]], numbers, marker=".")
            axis.set_ylabel(_label(chosen))
        else:
            drawn = axis.pcolormesh(*self.axes.values(), numbers.T, shading="nearest")
            axis.set_ylabel(_label(names[1]))
            figure.colorbar(drawn, label=_label(chosen))
        for place, values in zip((axis.set_xscale, axis.set_yscale), self.axes.values(), strict=False):
            if (
                len(values) > 2
                and values.min() > 0
                and np.ptp(np.diff(np.log(values))) < np.ptp(np.log(values)) / len(values)
            ):
                place("log")  # for values that are spaced so
        axis.set_title(
            f"How does {_label(chosen).partition(' [')[0]} depend on\n{' and '.join(names)}?",
            fontsize="medium",
            wrap=True,
        )
        return figure

    def __repr__(self) -> str:
        """Return axes, names and how many members are there."""
        axes = ", ".join(f"{name} ({len(values)})" for name, values in self.axes.items())
        failed = f", {len(self.failures)} failed" if self.failures else ""
        done = f"{int(self.finished.sum())} of {self.finished.size} members{failed}"
        return f"<Sweep of {self.function} over {axes}: {', '.join(self.values)}; {done}>"

    def _columns(self) -> dict[str, Column]:
        columns = {name: Column((name,), values, _about(name)) for name, values in self.axes.items()}
        for name, array in self.values.items():
            extra = []
            for i, size in enumerate(array.shape[len(self.axes) :]):
                dim = f"{name}_{i}"
                columns[dim] = Column(
                    (dim,), np.arange(size, dtype="<i8"), {"units": "1", "long_name": f"index of {name}"}
                )
                extra.append(dim)
            columns[name] = Column((*self.axes, *extra), array.astype("<f8"), _about(name))
        told = {"units": "1", "long_name": "whether the member is finished (1)"}
        return columns | {DONE: Column(tuple(self.axes), self.finished.astype("<i8"), told)}

    def _attributes(self) -> dict[str, Any]:
        return {
            "kind": _KIND,
            "axes": json.dumps(list(self.axes)),
            "shapes": json.dumps({name: array.shape[len(self.axes) :] for name, array in self.values.items()}),
            "failures": json.dumps({str(place): message for place, message in self.failures.items()}),
            "function": self.function,
            "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
        }


def _about(name: str) -> dict[str, str]:
    found = schema.PHASE_VARIABLES.get(name)
    return {"long_name": name} if found is None else {"units": found.unit, "long_name": found.long_name}


def _label(name: str) -> str:
    return schema.label(name) if name in schema.PHASE_VARIABLES else name


def load_sweep(path: str | Path) -> Sweep:
    """Return the sweep that ``Sweep.save`` wrote to ``path``, bit for bit, finished or not.

    Raises
    ------
    DFPError
        If there is no such file, or it cannot be read.
    FileFormatError
        If it is no sweep of dfp, is damaged, or needs a newer dfp.

    Examples
    --------
    >>> import dfp
    >>> found = dfp.sweep(lambda a: a**2, {"a": [1.0, 2.0]}, quiet=True, save="squares.h5")
    >>> print(dfp.load_sweep("squares.h5").values["value"])
    [1. 4.]
    """
    with hdf5.opened(path) as root:
        if not root.labelled("kind") or root.attribute("kind", "str") != _KIND:
            raise FileFormatError("holds no sweep; use dfp.load(path) for solutions.")
        names, shapes, failures = root.json("axes", list), root.json("shapes", dict), root.json("failures", dict)
        if not all(isinstance(name, str) for name in names) or not isinstance(shapes, Mapping):
            raise FileFormatError("the attribute 'axes' must name the axes; make it again.")
        axes = {name: root.array(name, (None,)) for name in names}
        shape = tuple(len(values) for values in axes.values())
        values = {name: root.array(name, (*shape, *map(int, extra))) for name, extra in shapes.items()}
        finished = root.array(DONE, shape, "<i8").astype(bool)
        told = {int(place): str(message) for place, message in failures.items()}
        return Sweep(axes, values, finished, told, root.attribute("function", "str"))
