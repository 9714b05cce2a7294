"""Large arrays in a record of JSON, such as a start on a grid: one variable of the file, put back when it is read.

Its dimension has no values: an index would be as large as the entries themselves.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dfp.checks import Array
from dfp.errors import FileFormatError
from dfp.results import hdf5
from dfp.results.schema import Column

_ENTRIES = {"units": "1", "long_name": "entries of large arrays of the problem, one behind the other"}


def taken(record: Any) -> tuple[Any, list[Array]]:
    """Return the record with the place of every array in place of its values, and the arrays, each flat."""
    found: list[Array] = []

    def walked(value: Any) -> Any:
        if isinstance(value, list):
            return [walked(one) if isinstance(one, (Mapping, list)) else one for one in value]
        if not isinstance(value, Mapping):
            return value
        if value.get("kind") != "array":
            return {key: walked(one) for key, one in value.items()}
        if not isinstance(value["values"], np.ndarray):
            return value
        at = sum(one.size for one in found)
        found.append(value["values"].ravel())
        return {key: one for key, one in value.items() if key != "values"} | {"at": at}

    return walked(record), found


def columns(record: Any) -> dict[str, Column]:
    """Return the variables that hold the entries of the arrays of a record; none where it has none."""
    arrays = taken(record)[1]
    if not arrays:
        return {}
    return {"entries": Column(("entry",), np.concatenate(arrays), _ENTRIES)}


def put_back(record: Any, group: hdf5.Stored) -> Any:
    """Return a record that was read from ``group`` with its arrays.

    Raises
    ------
    FileFormatError
        If an array is not in the file.
    """
    entries = group.array("entries", (None,)) if "entries" in group else np.zeros(0)

    def walked(value: Any) -> Any:
        if isinstance(value, list):
            return [walked(one) if isinstance(one, (dict, list)) else one for one in value]
        if not isinstance(value, dict):
            return value
        if value.get("kind") != "array" or "at" not in value:
            return {key: walked(one) for key, one in value.items()}
        shape, at = tuple(int(n) for n in value["shape"]), int(value["at"])
        count = int(np.prod(shape, dtype=object))
        if min((at, *shape)) < 0 or at + count > len(entries):
            raise FileFormatError("an array of the problem is not in the file; make the file again.")
        told = {key: one for key, one in value.items() if key != "at"}
        return told | {"values": entries[at : at + count].reshape(shape)}

    return walked(record)
