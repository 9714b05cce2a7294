"""HDF5 files of measurements, runs and reports: written whole or not at all, every array with its checksum."""

import contextlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dfp import checks
from dfp.errors import DFPError, FileFormatError

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

    target = _checked(path)
    if not target.parent.is_dir():
        raise DFPError(f"path={path}: the directory {target.parent} does not exist; create it or choose another.")
    if target.exists() and not target.is_file():
        raise DFPError(f"path={path}: is not a regular file; give the name of a file, such as report.h5.")
    temporary = target.with_name(f".dfp-{secrets.token_hex(8)}.tmp")
    try:
        with h5py.File(temporary, "w", libver="latest") as file:
            label(file, kind, rest)
            for name, array in arrays.items():
                put(file, name, array)
        temporary.replace(target)
    except OSError as error:
        raise DFPError(
            f"path={path}: cannot be written ({error}); check free space and permissions, or choose another place."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


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

    source = _checked(path)
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


def _checked(path: object) -> Path:
    if not isinstance(path, (str, Path)) or "\0" in str(path):
        raise DFPError(f"path={checks.shown(path)}: must be the name of a file; give e.g. 'report.h5'.")
    return Path(os.path.realpath(path))
