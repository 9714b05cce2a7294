"""HDF5 files of measurements, runs and reports: written whole or not at all, every array with its checksum."""

import io
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dfp.errors import DFPError, FileFormatError
from dfp.results import writing

FORMAT = 1


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
        with h5py.File(source, "r") as file:
            if int(file.attrs["format"]) != FORMAT:
                raise FileFormatError(f"path={path}: has format {file.attrs['format']}, this dfp reads {FORMAT}.")
            record = dict(json.loads(file.attrs["attributes"]))
            file.visititems(lambda name, item: _take(record, name, item))
            return str(file.attrs["kind"]), record
    except FileFormatError:
        raise
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise FileFormatError(
            f"path={path}: is damaged, or was not written by dfp.networks ({error}); make it again."
        ) from error


def _take(record: dict[str, Any], name: str, item: Any) -> None:
    import h5py

    if isinstance(item, h5py.Dataset):
        array = item[()]
        record[name] = array.astype(bool) if item.attrs["boolean"] else np.asarray(array)


def nested(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the entries of a record under ``name/``."""
    return {key[len(name) + 1 :]: value for key, value in record.items() if key.startswith(f"{name}/")}


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written")
