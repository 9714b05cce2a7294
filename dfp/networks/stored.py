"""How runs and reports are kept in files: labelled variables, and a record of the rest; ``storage`` reads them."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from dfp.result import Result
from dfp.results import hdf5, schema
from dfp.results.schema import Column


class Entry(NamedTuple):
    """Where a variable is found in a result, and what it is."""

    path: str
    dims: str
    unit: str
    long_name: str
    type: str = "<f8"


def variables(prefix: str, *rows: tuple[str, ...]) -> dict[str, Entry]:
    """Return variables from rows of name, place below ``prefix``, dimensions, unit, long name and perhaps type."""
    return {row[0]: Entry(f"{prefix}{row[1]}", *row[2:]) for row in rows}


def of_runs(prefix: str, axis: str) -> dict[str, Entry]:
    """Return the variables of runs below ``prefix`` whose positions are along ``axis``."""
    return variables(
        prefix,
        ("step", "steps", "step", "1", "step n", "<i8"),
        ("position", "positions", f"step run {axis}", "parameter", "displacement of a run"),
        ("final", "final", "run parameter", "parameter", "last displacement of a run"),
    )


PART = variables(
    "",
    ("positions", "positions", "frame run column", "parameter", "displacements"),
    ("final", "final", "run parameter", "parameter", "last displacements"),
    ("theta", "theta", "run parameter", "parameter", "parameters"),
    ("velocity", "velocity", "run parameter", "loss parameter-1", "velocities"),
)
"""Variables of part of an ensemble."""
RUNS = of_runs("", "direction") | {"directions": Entry("directions", "parameter direction", "1", "directions")}
ALL = of_runs("", "parameter")
"""Variables of runs along directions, and of all parameters."""
RUN_NUMBERS = ("learning_rate", "batch_size", "momentum", "nesterov", "replace", "samples", "seed")


def columns(result: Any, table: Mapping[str, Entry]) -> dict[str, Column]:
    """Return the variables of a result, coordinates first; what it has not is left out."""
    found: dict[str, Column] = {}
    for name, kept in table.items():
        values = _value(result, kept.path)
        if values is not None and values.size:
            about = {"units": kept.unit, "long_name": kept.long_name}
            found[name] = Column(tuple(kept.dims.split()), np.asarray(values, kept.type), about)
    sizes = {dim: n for column in found.values() for dim, n in zip(column.dims, column.values.shape, strict=True)}
    indices = {
        dim: Column((dim,), np.arange(1, n + 1, dtype="<i8"), {"units": "1", "long_name": f"index, {dim}"})
        for dim, n in sizes.items()
        if dim not in found
    }
    return indices | found


def _value(result: Any, path: str) -> Any:
    for part in path.split("."):
        result = result.get(part) if isinstance(result, Mapping) else getattr(result, part, None)
    return result


def long_form(steps: np.ndarray, directions: int) -> dict[str, np.ndarray]:
    """Return step and direction of the rows of a table of arrays (S, k)."""
    counted = np.arange(1, directions + 1)
    return {"step": np.repeat(steps, directions), "direction": np.tile(counted, len(steps))}


def attributes(kind: str, record: Mapping[str, Any]) -> dict[str, str]:
    """Return the attributes of a file: its kind, and as JSON what is no array."""
    return {"kind": kind, "record_json": json.dumps(record, ensure_ascii=False, default=_plain)}


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written")


def read(root: hdf5.Stored, table: Mapping[str, Entry], needed: Iterable[str] = ()) -> dict[str, Any]:
    """Return the arrays of a file by their paths; those of ``table`` that it lacks are left out, unless ``needed``."""
    found: dict[str, Any] = {}
    sizes: dict[str, int] = {}
    for name, kept in table.items():
        if name in root or name in needed:
            dims = kept.dims.split()
            values = root.array(name, tuple(sizes.get(dim) for dim in dims), kept.type)
            sizes |= dict(zip(dims, values.shape, strict=True))
            found[kept.path] = values
    return found


def packed(result: Any, kind: str, table: Mapping[str, Entry], record: Mapping[str, Any]) -> hdf5.Group:
    """Return what a file of ``result`` holds: columns and attributes."""
    found = columns(result, table)
    if "step" in found and "learning_rate" in record:
        known = schema.VARIABLES["time"]
        slow = record["learning_rate"] * found["step"].values
        time = Column(known.dims, slow, {"units": known.unit, "long_name": known.long_name})
        found = {"step": found["step"], "time": time} | found
    return found, attributes(kind, record)


class Labelled(Result):
    """Results whose files hold labelled variables, and a record of the rest."""

    @property
    def _by_hand(self) -> str:
        """Return how it is made again, since no file holds a network and its data."""
        return (
            "and neither the network nor its data; make them again, and call dfp.networks."
            f"{self._maker()}, or dfp networks run FILE.toml for the experiment of a file."
        )

    def _maker(self) -> str:
        """Return the call that makes it, as far as is known."""
        raise NotImplementedError

    def kept(self) -> tuple[str, dict[str, Entry], dict[str, Any]]:
        """Return the kind of the file, its variables, and the record of the rest."""
        raise NotImplementedError
