"""HDF5 files of columns, which xarray, netCDF and h5py open as they are: written whole or not at all, read with care.

Every axis is a dimension scale, a bare one where it has no values, attached exactly once, and creation order is tracked
throughout: netCDF readers then see named dimensions and can append. A checksum guards the file against accidents
(``checksum.py``); a forged file meets checks of every link, type, shape and storage layout, but that is no sandbox.
"""

import contextlib
import io
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from dfp.checks import shown
from dfp.errors import DFPError, FileFormatError
from dfp.results import checksum, heaps, schema
from dfp.results.schema import Column

if TYPE_CHECKING:
    import xarray

_TYPES = {"<f8": h5py.h5t.IEEE_F64LE, "<i8": h5py.h5t.STD_I64LE, "|i1": h5py.h5t.STD_I8LE}

# Names that say they are something else.
_NO_HDF5 = {".csv", ".tsv", ".txt", ".json", ".xlsx", ".parquet", ".npz", ".npy", ".pkl", ".png", ".pdf", ".svg"}

# What netCDF-4 calls dimensions without values; ten places of their size follow.
_NO_VALUES = "This is a netCDF dimension but not a netCDF variable."

Group = tuple[Mapping[str, Column], Mapping[str, Any]]
"""Columns and attributes."""


def save(path: str | Path, columns: Mapping[str, Column], attributes: Mapping[str, Any]) -> None:
    """Write columns and attributes to the root of ``path``; an existing file is replaced, or stays if anything fails.

    Raises
    ------
    DFPError
        If the file cannot be written.
    """

    def fill(file: Any) -> None:
        _label(file, attributes)
        _write(file, columns, {})

    _save(path, fill)


def save_groups(path: str | Path, groups: Mapping[str, Group], shared: Mapping[str, Column]) -> None:
    """Write a group for each name; columns that are ``shared`` lie in the root alone.

    Raises
    ------
    DFPError
        If the file cannot be written, or a name cannot be that of a group.
    """
    for name in groups:
        _check_group_name(name)

    def fill(file: Any) -> None:
        scales = _write(file, shared, {})
        for name, (columns, attributes) in groups.items():
            group = file.create_group(name, track_order=True)
            _label(group, attributes)
            _write(group, {key: column for key, column in columns.items() if key not in shared}, scales)

    _save(path, fill)


def _save(path: str | Path, fill: Callable[[Any], None]) -> None:
    if Path(str(path)).suffix.lower() in _NO_HDF5:
        raise DFPError(
            f"path={shown(path)}: results are HDF5; give 'run.h5', or write result.to_dataframe() for a table."
        )
    checksum.write(path, _image(fill))


def to_xarray(columns: Mapping[str, Column], attributes: Mapping[str, Any]) -> "xarray.Dataset":
    """Return a dataset equal to what ``xarray.open_dataset`` reads from the file that ``save`` writes.

    Raises
    ------
    DFPError
        If xarray is not installed.
    """
    try:
        import xarray
    except ImportError:
        raise DFPError("xarray is not installed: labelled datasets need it; run pip install 'dfp[xarray]'.") from None
    data = {name: (column.dims, column.values, column.attributes) for name, column in columns.items()}
    dataset = xarray.Dataset(data, attrs=schema.FILE_ATTRIBUTES | dict(attributes))
    # A deep copy, or writing to the dataset would change what it was made from.
    return dataset.set_coords([name for name in ("time",) if name in columns]).copy(deep=True)


def _check_group_name(name: object) -> None:
    """Refuse what HDF5, netCDF and xarray do not all take as the name of a group."""
    taken = isinstance(name, str) and (name in schema.VARIABLES or name.startswith("theta_"))
    if taken or not isinstance(name, str) or not re.fullmatch(r"\w([\w .+=-]{0,98}\w)?", name):
        raise DFPError(
            f"solutions has the name {shown(name)}: must consist of letters, digits, '_', '-', '+', '=', '.' and "
            "spaces, begin and end with a letter or digit, and not be the name of a variable; rename it."
        )


def _image(fill: Callable[[Any], None]) -> bytes:
    """Return the bytes of a file; built in memory, since the HDF5 library can crash when a disk fails under it."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", track_order=True) as file:
        _label(file, schema.FILE_ATTRIBUTES)
        fill(file)
    return buffer.getvalue()


def _write(group: Any, columns: Mapping[str, Column], inherited: dict[str, Any]) -> dict[str, Any]:
    """Write ``columns`` into ``group`` and return the dimension scales, own and inherited, by name."""
    scales = dict(inherited)
    datasets = {
        name: group.create_dataset(name, data=column.values, track_order=True) for name, column in columns.items()
    }
    for name, dataset in datasets.items():
        _label(dataset, columns[name].attributes)
        if columns[name].dims == (name,):
            dataset.make_scale(name)
            scales[name] = dataset
    for name, dataset in datasets.items():
        if columns[name].dims == (name,):
            continue
        for axis, dim in enumerate(columns[name].dims):
            if dim not in scales:
                scales[dim] = _bare(group, dim, dataset.shape[axis])
            dataset.dims[axis].attach_scale(scales[dim])
        if "step" in columns[name].dims and name != "time" and "time" in columns:
            _label(dataset, {"coordinates": "time"})
    return scales


def _bare(group: Any, name: str, size: int) -> Any:
    """Return a dimension without values, of which nothing is stored, as the netCDF library writes it."""
    scale = group.create_dataset(name, (size,), ">f4", track_order=True)
    scale.make_scale(f"{_NO_VALUES}{size:10d}")
    return scale


def _label(target: Any, attributes: Mapping[str, Any]) -> None:
    """Write attributes; text in a fixed length, for what has a variable one can hang the library that reads it."""
    for name, value in attributes.items():
        if isinstance(value, str):
            encoded = value.encode() or b"\0"  # HDF5 has no empty text
            kind = h5py.string_dtype("utf-8", len(encoded))
            target.attrs.create(name, np.array(encoded, kind), dtype=kind)
        else:
            target.attrs[name] = value


@contextlib.contextmanager
def opened(path: str | Path) -> Iterator["Stored"]:
    """Check the seal of a file and yield its root group; whatever goes wrong inside is blamed on the file."""
    content = checksum.read(path)
    try:
        with h5py.File(io.BytesIO(content), "r") as file:
            root = Stored(file, len(content), cache(lambda: heaps.check(content)))
            version = root.attribute("dfp_schema", "str")
            if version.partition(".")[0] != schema.VERSION.partition(".")[0]:
                raise FileFormatError(f"dfp_schema={shown(version)}: this dfp reads {schema.VERSION}; update dfp.")
            yield root
    except DFPError as error:
        raise FileFormatError(f"path={path}: {error}") from error
    except Exception as error:  # hostile bytes make h5py raise almost anything
        raise FileFormatError(f"path={path}: is damaged, or not written by dfp ({error}); make it again.") from error


class Stored:
    """A group of an open file, of which nothing is read before its type, its size and its place have been checked.

    Parameters
    ----------
    group
        The group of h5py.
    size
        Bytes of the file: nothing in it is larger.
    check_heaps
        What must be called before text of variable length is read.
    """

    def __init__(self, group: Any, size: int, check_heaps: Callable[[], None]) -> None:
        self._group, self._size, self._check_heaps = group, size, check_heaps
        for name in group:  # soft and external links reach into other files
            if group.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
                raise FileFormatError(f"{shown(name)} is a link to elsewhere: dfp writes none; do not trust this file.")

    def __contains__(self, name: str) -> bool:
        return name in self._group

    def labelled(self, name: str) -> bool:
        """Tell whether there is an attribute ``name``."""
        return name in self._group.attrs

    def groups(self) -> dict[str, "Stored"]:
        """Return the groups in this one, by name and in their order."""
        members = ((name, member) for name, member in self._group.items() if isinstance(member, h5py.Group))
        return {name: Stored(member, self._size, self._check_heaps) for name, member in members}

    def attribute(self, name: str, kind: str) -> Any:
        """Return a scalar attribute of the given kind: a dtype, or ``str``."""
        if not self.labelled(name):
            raise FileFormatError(f"has no attribute {name!r}: not a complete dfp file.")
        identifier = self._group.attrs.get_id(name)
        stored = identifier.get_type()
        text = isinstance(stored, h5py.h5t.TypeStringID)
        fits = text if kind == "str" else stored.equal(_TYPES[kind])
        if not fits or identifier.shape != () or stored.get_size() > self._size:
            raise FileFormatError(f"the attribute {name!r} has another type than dfp writes; make the file again.")
        if text and stored.is_variable_str():  # of versions before 0.2
            self._check_heaps()
        value = self._group.attrs[name]
        return value.decode() if isinstance(value, bytes) else value

    def json(self, name: str, kind: type) -> Any:
        """Return the value of an attribute that holds JSON of the given kind."""
        value = json.loads(self.attribute(name, "str"))
        if not isinstance(value, kind):
            raise FileFormatError(f"the attribute {name!r} must hold a JSON {kind.__name__}; make the file again.")
        return value

    def array(self, name: str, shape: tuple[int | None, ...], kind: str = "<f8") -> Any:
        """Return the values of a dataset of a type and shape (None: any length) that lie in this file."""
        if name not in self:
            raise FileFormatError(f"has no variable {name!r}: not a complete dfp file.")
        dataset = self._group[name]
        if not isinstance(dataset, h5py.Dataset) or not dataset.id.get_type().equal(_TYPES[kind]):
            raise FileFormatError(f"{name} must be a dataset of type {kind}; make the file again.")
        found = dataset.shape or ()
        if len(found) != len(shape) or any(w not in (None, n) for n, w in zip(found, shape, strict=True)):
            raise FileFormatError(f"{name} has shape {found}: must be {shape}; make the file again.")
        layout = dataset.id.get_create_plist()
        # Chunks may inflate without limit, and virtual or external storage reads other files: dfp writes neither.
        if layout.get_layout() not in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT) or layout.get_external_count():
            raise FileFormatError(f"{name} is not stored plainly in the file: dfp writes none such; do not trust it.")
        size = math.prod(found) * 8
        if dataset.id.get_storage_size() != size or size > self._size:
            raise FileFormatError(f"{name} claims {size} bytes that the file does not hold; do not trust it.")
        return dataset[()]
