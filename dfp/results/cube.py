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
from dfp.result import Result
from dfp.results import hdf5, maps, schema
from dfp.results.files import load_kind
from dfp.results.schema import Column

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Members of which it is printed why they failed.
_FAILED = 3
DONE = "finished"
"""Name of the variable that counts which members are there."""


@dataclass(frozen=True, eq=False, repr=False)
class Sweep(Result):
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

    @property
    def failed(self) -> list[dict[str, Any]]:
        """Where members ended in a ``DFPError``, and its message, one dictionary a member: what ``failures`` say."""
        found = []
        for place, message in self.failures.items():
            index = np.unravel_index(place, self.finished.shape)
            where = {name: float(values[i]) for (name, values), i in zip(self.axes.items(), index, strict=True)}
            found.append(where | {"message": message})
        return found

    def rows(self) -> list[dict[str, Any]]:
        """Return one dictionary of axes and values for every member, as tables and CSV files have it."""
        found = []
        numbers = self._entries()
        for index in np.ndindex(*self.finished.shape):
            row = {name: float(values[i]) for (name, values), i in zip(self.axes.items(), index, strict=True)}
            found.append(row | {name: float(array[index]) for name, array in numbers.items()})
        return found

    def plot(
        self,
        name: str | None = None,
        *,
        steps: Any = None,
        ax: Any = None,
        title: str | None = None,
        style: Any = None,
        width: float | None = None,
    ) -> "Figure":
        """Return a figure of a number over one axis or two: ``name``, the only one if left out.

        Entries of vectors and matrices are named as in tables, such as ``covariance_1_1``.
        """
        if steps is not None:
            raise DFPError(f"steps={steps}: a sweep has no saved steps; leave it out.")
        return self._plotted(lambda: self._map(name), ax, title, style, width)

    def _entries(self) -> dict[str, Array]:
        """Return the numbers of every member by name: entries of vectors and matrices one by one."""
        return {
            "_".join([name, *(str(i + 1) for i in index)]): array[(..., *index)]
            for name, array in self.values.items()
            for index in np.ndindex(*array.shape[self.finished.ndim :])
        }

    def _map(self, name: str | None) -> "Figure":
        if not self.values:
            raise DFPError("no member has an answer to draw; print the sweep: it says why.")
        whole = {one: array for one, array in self.values.items() if array.size == self.finished.size}
        # A variance may have come as a matrix of one entry.
        known = {one: array.reshape(self.finished.shape) for one, array in whole.items()} | self._entries()
        chosen = next(iter(known)) if name is None and len(self.values) == len(whole) == 1 else name
        listed = ", ".join(map(repr, known))
        if chosen is None:
            raise DFPError(f"name: there are {listed}; say which to draw, as .plot({next(iter(known))!r}).")
        if chosen not in known:
            raise DFPError(f"name={chosen!r}: must be one of {listed}; give one of these.")
        numbers, names = known[chosen], tuple(self.axes)
        if len(names) > 2:
            raise DFPError(f"axes: there are {len(names)}, and numbers over one or two can be drawn; fix the others.")
        return maps.over_parameters(self.axes, numbers, chosen)

    def __repr__(self) -> str:
        """Return axes, names and how many members are there."""
        axes = ", ".join(f"{name} ({len(values)})" for name, values in self.axes.items())
        failed = f", {len(self.failures)} failed" if self.failures else ""
        done = f"{int(self.finished.sum())} of {self.finished.size} members{failed}"
        return f"<Sweep of {self.function} over {axes}: {', '.join(self.values)}; {done}>"

    def __str__(self) -> str:
        """Return the line, and where the first members failed, and why."""
        told = []
        for one in self.failed[:_FAILED]:
            where = ", ".join(f"{name} = {value:g}" for name, value in one.items() if name != "message")
            told.append(f"  ! {where}: {one['message']}")
        left = len(self.failures) - len(told)
        return "\n".join([repr(self), *told, *[f"  ! and {left} more, in .failed"] * (left > 0)])


def columns(sweep: Sweep) -> dict[str, Column]:
    """Return axes, values and which members are finished."""
    found = {name: Column((name,), values, _about(name)) for name, values in sweep.axes.items()}
    for name, array in sweep.values.items():
        extra = []
        for i, size in enumerate(array.shape[len(sweep.axes) :]):
            dim, about = f"{name}_{i}", {"units": "1", "long_name": f"index of {name}"}
            found[dim] = Column((dim,), np.arange(size, dtype="<i8"), about)
            extra.append(dim)
        found[name] = Column((*sweep.axes, *extra), array.astype("<f8"), _about(name))
    told = {"units": "1", "long_name": "whether the member is finished (1)"}
    return found | {DONE: Column(tuple(sweep.axes), sweep.finished.astype("<i8"), told)}


def attributes(sweep: Sweep) -> dict[str, Any]:
    """Return names, shapes, failures and the name of the function."""
    return {
        "axes": json.dumps(list(sweep.axes)),
        "shapes": json.dumps({name: array.shape[len(sweep.axes) :] for name, array in sweep.values.items()}),
        "failures": json.dumps({str(place): message for place, message in sweep.failures.items()}),
        "function": sweep.function,
    }


def _about(name: str) -> dict[str, str]:
    found = schema.PHASE_VARIABLES.get(name)
    return {"long_name": name} if found is None else {"units": found.unit, "long_name": found.long_name}


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
    found: Sweep = load_kind(path, "sweep")
    return found


def read(root: hdf5.Stored) -> Sweep:
    """Return the sweep in the root of a file."""
    names, shapes, failures = root.json("axes", list), root.json("shapes", dict), root.json("failures", dict)
    if not all(isinstance(name, str) for name in names) or not isinstance(shapes, Mapping):
        raise FileFormatError("the attribute 'axes' must name the axes; make it again.")
    axes = {name: root.array(name, (None,)) for name in names}
    shape = tuple(len(values) for values in axes.values())
    values = {name: root.array(name, (*shape, *map(int, extra))) for name, extra in shapes.items()}
    finished = root.array(DONE, shape, "<i8").astype(bool)
    told = {int(place): str(message) for place, message in failures.items()}
    return Sweep(axes, values, finished, told, root.attribute("function", "str"))
