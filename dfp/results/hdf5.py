"""HDF5 files of columns, which xarray, netCDF and h5py open as they are: written whole or not at all, read with care.

Every axis is a dimension scale with values, attached exactly once, and creation order is tracked throughout: netCDF
readers then see named dimensions and can append. A checksum guards the file against accidents (``checksum.py``); a
forged file meets checks of every link, type, shape and storage layout, but that is no sandbox.
"""

import contextlib
import io
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py

from dfp.checks import shown
from dfp.errors import DFPError, FileFormatError
from dfp.results import checksum, schema
from dfp.results.schema import Column

if TYPE_CHECKING:
    import xarray

_TYPES = {"<f8": h5py.h5t.IEEE_F64LE, "<i8": h5py.h5t.STD_I64LE, "|i1": h5py.h5t.STD_I8LE}

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
        file.attrs.update(attributes)
        _write(file, columns, {})

    checksum.write(path, _image(fill))


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
            group.attrs.update(attributes)
            _write(group, {key: column for key, column in columns.items() if key not in shared}, scales)

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
        file.attrs.update(schema.FILE_ATTRIBUTES)
        fill(file)
    return buffer.getvalue()


def _write(group: Any, columns: Mapping[str, Column], inherited: dict[str, Any]) -> dict[str, Any]:
    """Write ``columns`` into ``group`` and return the dimension scales, own and inherited, by name."""
    scales = dict(inherited)
    datasets = {
        name: group.create_dataset(name, data=column.values, track_order=True) for name, column in columns.items()
    }
    for name, dataset in datasets.items():
        dataset.attrs.update(columns[name].attributes)
        if columns[name].dims == (name,):
            dataset.make_scale(name)
            scales[name] = dataset
    for name, dataset in datasets.items():
        if columns[name].dims == (name,):
            continue
        for axis, dim in enumerate(columns[name].dims):
            dataset.dims[axis].attach_scale(scales[dim])
        if "step" in columns[name].dims and name != "time":
            dataset.attrs["coordinates"] = "time"
    return scales


@contextlib.contextmanager
def opened(path: str | Path) -> Iterator[Any]:
    """Check the seal of a file and yield its root group; whatever goes wrong inside is blamed on the file."""
    content = checksum.read(path)
    try:
        with h5py.File(io.BytesIO(content), "r") as root:
            check_links(root)
            version = attribute(root, "dfp_schema", "str")
            if version.partition(".")[0] != schema.VERSION.partition(".")[0]:
                raise FileFormatError(f"dfp_schema={shown(version)}: this dfp reads {schema.VERSION}; update dfp.")
            yield root
    except DFPError as error:
        raise FileFormatError(f"path={path}: {error}") from error
    except Exception as error:  # hostile bytes make h5py raise almost anything
        raise FileFormatError(f"path={path}: is damaged, or not written by dfp ({error}); make it again.") from error


def groups(root: Any) -> dict[str, Any]:
    """Return the groups of a file that ``save_groups`` wrote, by name and in their order; none for other files."""
    return {name: member for name, member in root.items() if isinstance(member, h5py.Group)}


def check_links(group: Any) -> None:
    """Refuse soft and external links before any is followed: they reach into other files."""
    for name in group:
        if group.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
            raise FileFormatError(f"{shown(name)} is a link to elsewhere: dfp writes none; do not trust this file.")


def attribute(group: Any, name: str, kind: str) -> Any:
    """Return a scalar attribute of the given kind: a dtype, or ``str``."""
    if name not in group.attrs:
        raise FileFormatError(f"has no attribute {name!r}: not a complete dfp file.")
    identifier = group.attrs.get_id(name)
    stored = identifier.get_type()
    if kind == "str":
        fits = isinstance(stored, h5py.h5t.TypeStringID) and stored.is_variable_str()
    else:
        fits = stored.equal(_TYPES[kind])
    if not fits or identifier.shape != ():
        raise FileFormatError(f"the attribute {name!r} has another type than dfp writes; make the file again.")
    return group.attrs[name]


def json_attribute(group: Any, name: str, kind: type) -> Any:
    """Return the value of an attribute that holds JSON of the given kind."""
    value = json.loads(attribute(group, name, "str"))
    if not isinstance(value, kind):
        raise FileFormatError(f"the attribute {name!r} must hold a JSON {kind.__name__}; make the file again.")
    return value


def array(home: Any, name: str, shape: tuple[int | None, ...], kind: str = "<f8") -> Any:
    """Return the values of a dataset after checking type, shape (None: any length) and that they lie in this file."""
    if name not in home:
        raise FileFormatError(f"has no variable {name!r}: not a complete dfp file.")
    dataset = home[name]
    if not isinstance(dataset, h5py.Dataset) or not dataset.id.get_type().equal(_TYPES[kind]):
        raise FileFormatError(f"{name} must be a dataset of type {kind}; make the file again.")
    found = dataset.shape or ()
    if len(found) != len(shape) or any(w not in (None, n) for n, w in zip(found, shape, strict=True)):
        raise FileFormatError(f"{name} has shape {found}: must be {shape}; make the file again.")
    layout = dataset.id.get_create_plist()
    size = math.prod(found) * 8
    # Chunked storage may inflate without limit, and virtual or external storage reads other files: dfp writes neither.
    if layout.get_layout() not in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT) or layout.get_external_count():
        raise FileFormatError(f"{name} is not stored plainly in the file: dfp writes no such data; do not trust it.")
    if dataset.id.get_storage_size() != size or size > home.file.id.get_filesize():
        raise FileFormatError(f"{name} claims {size} bytes that the file does not hold; do not trust it.")
    return dataset[()]
