"""HDF5 files of measurements, runs and reports: written whole or not at all, every array with its checksum."""

import io
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from dfp.errors import DFPError, FileFormatError
from dfp.results import heaps, writing
from dfp.results.hdf5 import Stored

FORMAT = 1
# Bytes to which a byte of deflated data inflates at most, and groups within groups that are written.
_MOST_INFLATED, _DEEPEST = 1032, 8


def split(values: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays and the rest of a result's attributes; None is left out."""
    arrays, rest = {}, {}
    for name, value in values.items():
        if isinstance(value, np.ndarray):
            arrays[name] = value
        elif isinstance(value, Mapping) and all(isinstance(v, np.ndarray) for v in value.values()) and value:
            arrays |= {f"{name}/{key}": array for key, array in value.items()}
        elif value is not None:
            rest[name] = value
    return arrays, rest


def flat(result: Any) -> dict[str, Any]:
    """Return the fields of a dataclass, those of nested ones under ``name/field``."""
    found: dict[str, Any] = {}
    for field in fields(result):
        value = getattr(result, field.name)
        if is_dataclass(value) and not isinstance(value, type):
            found |= {f"{field.name}/{name}": inner for name, inner in flat(value).items()}
        else:
            found[field.name] = value
    return found


def write(path: str | Path, kind: str, arrays: Mapping[str, np.ndarray], rest: Mapping[str, Any]) -> None:
    """Write arrays and attributes to ``path``: whatever happens, the file is the old one or all of the new one.

    Raises
    ------
    DFPError
        If it cannot be written; nothing is left behind.
    """
    import h5py

    buffer = io.BytesIO()  # in memory, since the HDF5 library can crash when a disk fails under it
    with h5py.File(buffer, "w", libver="latest") as file:
        label(file, kind, rest)
        for name, array in arrays.items():
            put(file, name, array)
    writing.write(path, buffer.getvalue())


def label(file: Any, kind: str, rest: Mapping[str, Any]) -> None:
    """Write what a file is and its attributes that are no arrays."""
    file.attrs.update({"format": FORMAT, "kind": kind, "attributes": json.dumps(rest, default=_plain)})


def put(file: Any, name: str, array: np.ndarray) -> None:
    """Write an array, compressed and with a checksum where it has entries."""
    kept = np.asarray(array)
    options = {"compression": "gzip", "compression_opts": 1, "fletcher32": True} if kept.size and kept.ndim else {}
    file.create_dataset(name, data=kept.astype(np.uint8) if kept.dtype == bool else kept, **options)
    file[name].attrs["boolean"] = kept.dtype == bool


def read(path: str | Path) -> tuple[str, dict[str, Any]]:
    """Return the kind of a file and its arrays and attributes by name.

    Raises
    ------
    DFPError
        If there is no such file.
    FileFormatError
        If it is no file of networks, of another format, or damaged.
    """
    import h5py

    source = Path(writing.checked(path))
    if not source.is_file():
        raise DFPError(f"path={path}: no such file; check the name.")
    try:
        content = source.read_bytes()
        with h5py.File(io.BytesIO(content), "r") as file:
            root = Stored(file, len(content), cache(lambda: heaps.check(content)))
            found = root.attribute("format", "<i8")
            if int(found) != FORMAT:
                raise FileFormatError(f"path={path}: has format {found}, this dfp reads {FORMAT}.")
            record = root.json("attributes", dict)
            _take(record, "", file, root, _MOST_INFLATED * len(content))
            return root.attribute("kind", "str"), record
    except FileFormatError as error:
        raise error if str(error).startswith("path=") else FileFormatError(f"path={path}: {error}") from error
    except Exception as error:  # hostile bytes make h5py raise almost anything
        raise FileFormatError(
            f"path={path}: is damaged, or was not written by dfp.networks ({error}); make it again."
        ) from error


def _take(record: dict[str, Any], prefix: str, group: Any, stored: Stored, room: float) -> float:
    """Add the arrays of a group, none of which is read before its links, type, storage and size are checked.

    Returns what is left of ``room``, the bytes that all arrays may have.
    """
    import h5py

    for name, inner in stored.groups().items():
        if prefix.count("/") >= _DEEPEST:
            raise FileFormatError(f"{prefix}{name}: groups lie deeper than dfp writes them; do not trust this file.")
        room = _take(record, f"{prefix}{name}/", group[name], inner, room)
    for name, item in group.items():
        if isinstance(item, h5py.Dataset):
            size = item.size * item.dtype.itemsize
            _check_storage(prefix + name, item, room - size)
            room -= size
            array = item[()]
            record[prefix + name] = array.astype(bool) if item.attrs["boolean"] else np.asarray(array)
    return room


def _check_storage(name: str, item: Any, left: float) -> None:
    """Refuse a dataset of other types or storage than ``put`` writes, or larger than the file can inflate to."""
    import h5py

    layout, kinds = item.id.get_create_plist(), (h5py.h5t.TypeFloatID, h5py.h5t.TypeIntegerID)
    if not isinstance(item.id.get_type(), kinds) or item.dtype.itemsize > 8:
        raise FileFormatError(f"{name} holds no numbers: dfp writes nothing else; make the file again.")
    if layout.get_layout() not in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT, h5py.h5d.CHUNKED):
        raise FileFormatError(f"{name} is kept in other files: dfp writes none such; do not trust it.")
    known = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_FLETCHER32}
    filters = [layout.get_filter(i)[0] for i in range(layout.get_nfilters())]
    # Deflated twice, bytes inflate without any bound that is told by the size of the file.
    if layout.get_external_count() or not set(filters) <= known or len(set(filters)) < len(filters):
        raise FileFormatError(f"{name} is stored as dfp stores nothing: do not trust it.")
    if left < 0:
        raise FileFormatError(f"{name} claims more bytes than the file can hold; do not trust it.")
    flag = item.attrs.get_id("boolean") if "boolean" in item.attrs else None
    if flag is None or flag.shape != () or not isinstance(flag.get_type(), h5py.h5t.TypeEnumID):
        raise FileFormatError(f"{name} does not say whether it is boolean: make the file again.")


def nested(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the entries of a record under ``name/``."""
    return {key[len(name) + 1 :]: value for key, value in record.items() if key.startswith(f"{name}/")}


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written")
