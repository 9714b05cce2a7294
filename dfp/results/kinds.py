"""The kinds of results: how all are written and read, by the one table of what is kept of each."""

import json
from collections.abc import Mapping
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dfp.errors import DFPError, FileFormatError
from dfp.problem.parameters import unnamed
from dfp.result import Result
from dfp.results import apart, axes, hdf5, schema, tables
from dfp.results.gridded import cells_of, grid_in
from dfp.results.kind_table import KINDS as KINDS
from dfp.results.kind_table import ROOMS as ROOMS
from dfp.results.schema import Column

if TYPE_CHECKING:
    import pandas
    import xarray


_INDICES = ("place", "joint", "joint_2", "parameter", "parameter_2", "update", "sample")


def kind_of(result: object) -> str:
    """Return the kind of a result.

    Raises
    ------
    DFPError
        If there is no such kind.
    """
    home = f"{type(result).__module__}.{type(result).__qualname__}"
    homes = {kind.home: name for name, kind in KINDS.items()} | {made: name for name, (made, _) in ROOMS.items()}
    if home in homes:
        return homes[home]
    known = ", ".join(homes.values())
    raise DFPError(f"result={type(result).__name__}: is of no kind that files hold; give one of {known}.")


def _room(name: str) -> Any:
    return import_module(ROOMS[name][1])


def _at(result: Any, path: str) -> Any:
    return reduce(lambda part, name: None if part is None else getattr(part, name), path.split("."), result)


def _in_parts(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table by dotted names as tables of tables."""
    found: dict[str, Any] = {}
    for path, value in given.items():
        *parts, name = path.split(".")
        reduce(lambda table, part: table.setdefault(part, {}), parts, found)[name] = value
    return found


def columns(result: Any) -> dict[str, Column]:
    """Return every variable of ``result`` by name, coordinates first."""
    name = kind_of(result)
    if name in ROOMS:
        told: dict[str, Column] = _room(name).columns(result)
        return told if name == "solution" else told | _call(result)[1]
    kind = KINDS[name]
    grid = _at(result, kind.grid) if kind.gridded or kind.optional_grid else None
    names = axes.of(result)
    on = {} if grid is None else axes.described(names or unnamed(grid.dimension))
    table = {} if grid is None else schema.columns(cells_of(grid, on), {}, on, False)
    found: dict[str, Column] = {}
    for name, kept in kind.columns.items():
        values = _at(result, kept.field)
        if kept.fallback and (values is None or not np.size(values)):
            continue
        dims = tuple(dim for given in kept.variable.dims for dim in (on if given == "axes" else (given,)))
        unit = kept.variable.unit.format(d=len(on), above=len(on) + 1)
        about = {"units": unit, "long_name": kept.variable.long_name}
        if kept.type == "complex":
            for part in ("real", "imaginary"):
                half = np.asarray(values.real if part == "real" else values.imag, "<f8")
                found[f"{name}_{part}"] = Column(
                    dims, half, about | {"long_name": f"{about['long_name']}, {part} part"}
                )
        else:
            found[name] = Column(dims, np.asarray(values, kept.type), about)
    sizes = {dim: n for column in found.values() for dim, n in zip(column.dims, column.values.shape, strict=True)}
    for dim in (*_INDICES,):
        if dim in sizes:
            about = {"units": "1", "long_name": f"index, {dim.replace('_', ' ')}"}
            table[dim] = Column((dim,), np.arange(1, sizes[dim] + 1, dtype="<i8"), about)
    return table | axes.indices(table, names) | found | _call(result)[1]


def attributes(result: Any) -> dict[str, Any]:
    """Return kind, numbers and warnings."""
    name = kind_of(result)
    if name in ROOMS:
        told: dict[str, Any] = _room(name).attributes(result)
        return told if name == "solution" else {"kind": name} | told | _call(result)[0] | _made_with()
    kind = KINDS[name]
    numbers = {number.replace(".", "_"): np.float64(_at(result, number)) for number in kind.numbers}
    found: dict[str, Any] = {"kind": name} | numbers
    if kind.warnings:
        found["warnings"] = json.dumps(result.warnings, ensure_ascii=False)
    found |= axes.attribute(axes.of(result))
    return found | _call(result)[0] | _made_with()


def _call(result: Any) -> tuple[dict[str, str], dict[str, Column]]:
    """Return as attribute and columns the call that made a result."""
    call = result._call() if isinstance(result, Result) else None
    if call is None:
        return {}, {}
    return {"call": json.dumps(apart.taken(call)[0], ensure_ascii=False)}, apart.columns(call)


def _made_with() -> dict[str, str]:
    return {"versions": ", ".join(f"{name} {version}" for name, version in schema.versions().items())}


def save(result: Any, path: str | Path) -> None:
    """Write ``result`` to ``path``, sealed, whole or not at all; refuse what could not be read back."""
    found = attributes(result)
    missing = json.loads(found.get("recipe", "{}")).get("missing")
    if missing:
        raise DFPError(f"{kind_of(result)}: their file holds SGD by value, and {missing}; keep to_dataframe() instead.")
    hdf5.save(path, columns(result), found)


def to_xarray(result: Any) -> "xarray.Dataset":
    """Return the labelled dataset of ``result``."""
    return hdf5.to_xarray(columns(result), attributes(result))


def to_dataframe(result: Any) -> "pandas.DataFrame":
    """Return the table of ``result`` as a data frame."""
    return tables.data_frame(table(result))


def table(result: Any) -> dict[str, list[Any]]:
    """Return the columns of ``result`` by name, all of the same length; matrices as one column an entry.

    Those of its rows, where it has such; one row a cell, of what is on a grid; else what is along its first axis.

    Raises
    ------
    DFPError
        If it is no table.
    """
    if hasattr(result, "rows"):
        return tables.turned(result.rows())
    if isinstance(result, Result) and type(result).to_dataframe is not Result.to_dataframe:  # one of its own
        return {str(name): column.tolist() for name, column in result.to_dataframe().items()}
    name, found, names = kind_of(result), columns(result), axes.of(result)
    if name == "escape":
        raise DFPError("result is two paths and what is on grids, and no table; use to_xarray().")
    ends, grid = [] if names is None else axes.suffixes(names), axes.described(names or unnamed(3))
    if name in KINDS and KINDS[name].gridded:
        first = tuple(dim for dim in grid if dim in found)
        along = np.meshgrid(*(found[dim].values for dim in first), indexing="ij")
        told = {dim: places.ravel().tolist() for dim, places in zip(first, along, strict=True)}
    else:
        first = ("step" if name in ROOMS else next(found[one].dims[0] for one in KINDS[name].columns if one in found),)
        told = {}
    for one, column in found.items():
        dims, rest = column.dims[: len(first)], column.dims[len(first) :]
        if dims != first or one in told or "bound" in rest or not grid.keys().isdisjoint(rest):
            continue
        for index in np.ndindex(column.values.shape[len(first) :]):
            which = [
                ends[i] if ends and dim in schema.INDICES else str(i + 1) for dim, i in zip(rest, index, strict=True)
            ]
            told["_".join([one, *which])] = column.values[(*[slice(None)] * len(first), *index)].ravel().tolist()
    return told


def read(root: hdf5.Stored, name: str) -> Any:
    """Return the result of the kind ``name`` in the root of a file, bit for bit, with the call that made it.

    Raises
    ------
    FileFormatError
        As of ``_read``.
    """
    found = _read(root, name)
    if root.labelled("call"):
        call = apart.put_back(root.json("call", dict), root)
        found._remember(lambda: call)
    return found


def _read(root: hdf5.Stored, name: str) -> Any:
    """Return the result of the kind ``name`` in the root of a file.

    Raises
    ------
    FileFormatError
        If a variable is missing or has another type or shape, or the class refuses what it is given.
    """
    if name in ROOMS and name != "solution":  # a file of a solution names no kind
        return _room(name).read(root)
    if name == "checkpoint":
        raise FileFormatError("holds a run before its first saved step; solve the problem again with this checkpoint.")
    if name not in KINDS:
        raise FileFormatError("holds what this dfp does not know; update dfp, or make the file again.")
    kind = KINDS[name]
    named = axes.read(root) if kind.gridded or kind.optional_grid else {}
    grid = grid_in(root, named) if kind.gridded or any(axis in root for axis in named) else None
    on = () if grid is None else tuple(named)
    sizes = {} if grid is None else dict(zip(on, grid.cells, strict=True))
    sizes |= {} if grid is None else {"parameter": grid.dimension, "parameter_2": grid.dimension}
    given: dict[str, Any] = {kind.grid: grid} if kind.gridded or kind.optional_grid else {}
    for column, kept in kind.columns.items():
        stored = f"{column}_real" if kept.type == "complex" else column
        if kept.fallback and stored not in root:
            given[kept.field] = None
            continue
        dims = [dim for wanted in kept.variable.dims for dim in (on if wanted == "axes" else (wanted,))]
        shape = tuple(sizes.get(dim) for dim in dims)
        if kept.type == "complex":
            values = root.array(stored, shape) + 1j * root.array(f"{column}_imaginary", shape)
        else:
            values = root.array(stored, shape, kept.type)
        sizes |= dict(zip(dims, values.shape, strict=True))
        given[kept.field] = values
    numbers = [number for number in kind.numbers if number not in kind.later or root.labelled(number)]
    given |= {number: float(root.attribute(number.replace(".", "_"), "<f8")) for number in numbers}
    if kind.warnings and ("warnings" not in kind.later or root.labelled("warnings")):
        given["warnings"] = tuple(root.json("warnings", list))
        if not all(isinstance(warning, str) for warning in given["warnings"]):
            raise FileFormatError("the attribute 'warnings' must hold a list of text; make the file again.")
    if kind.parameters:
        told = named if kind.gridded or kind.optional_grid else axes.read(root, sizes.get("parameter", 0))
        given[kind.parameters] = tuple(told.values())
    make = getattr(kind.maker, kind.made) if kind.made else kind.maker
    return make(**_in_parts(given))
