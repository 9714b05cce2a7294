"""Files: solutions as HDF5 that xarray, netCDF and h5py open as it is, written whole or not at all.

Every axis is a dimension scale with values, attached exactly once, and creation order is tracked throughout: netCDF
readers then see named dimensions and can append. A checksum guards the file against accidents (``sealed.py``); a
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
import numpy as np

from dfp.checks import Array, shown
from dfp.errors import DFPError, FileFormatError
from dfp.problem.grid import Grid
from dfp.results import checksum as sealed
from dfp.results import schema
from dfp.results.certificate import Certificate
from dfp.results.solution import Solution

if TYPE_CHECKING:
    import xarray

_TYPES = {"<f8": h5py.h5t.IEEE_F64LE, "<i8": h5py.h5t.STD_I64LE, "|i1": h5py.h5t.STD_I8LE}


def save(solution: Solution, path: str | Path) -> None:
    """Write ``solution`` to ``path``; an existing file is replaced, and stays as it is if anything fails.

    Raises
    ------
    DFPError
        If the file cannot be written, an array has the wrong shape, or the provenance does not fit in JSON.
    """

    def fill(file: Any) -> None:
        file.attrs.update(schema.attributes(solution))
        _write(file, schema.table(solution), {})

    sealed.write(path, _image(fill))


def save_many(solutions: Mapping[str, Solution], path: str | Path) -> None:
    """Write several solutions to one file, a group for each name; a grid they all share lies in the root group.

    Raises
    ------
    DFPError
        As for ``save``, and if there is no solution or a name cannot be the name of a group.
    """
    if not solutions:
        raise DFPError("solutions is empty: a file needs at least one; give e.g. {'langevin': solution}.")
    tables = {_group_name(name): schema.table(solution) for name, solution in solutions.items()}
    grids = [solution.grid for solution in solutions.values() if solution.grid is not None]
    one_dimension = len({solution.dimension for solution in solutions.values()}) == 1
    shared: dict[str, schema.Column] = {}
    # A group may not give a dimension of the root another length, so the root holds all grids or none.
    if one_dimension and all(grid.matches(grids[0]) for grid in grids):
        for table in tables.values():
            shared |= {name: column for name, column in table.items() if column.dims[0] != "step"}

    def fill(file: Any) -> None:
        scales = _write(file, shared, {})
        for name, table in tables.items():
            group = file.create_group(name, track_order=True)
            group.attrs.update(schema.attributes(solutions[name]))
            _write(group, {key: column for key, column in table.items() if key not in shared}, scales)

    sealed.write(path, _image(fill))


def load(path: str | Path) -> Solution:
    """Return the solution that ``save`` wrote to ``path``, bit for bit.

    Raises
    ------
    DFPError
        If there is no such file, or it cannot be read.
    FileFormatError
        If dfp did not write it, it is damaged, or it needs a newer dfp.
    """
    with _opened(path) as root:
        if "kind" in root.attrs:
            raise FileFormatError("holds a phase diagram; use dfp.load_phase_diagram(path).")
        if "solver" not in root.attrs:
            raise FileFormatError("holds several solutions; use dfp.results.hdf5.load_many(path).")
        return _read(root, root)


def load_many(path: str | Path) -> dict[str, Solution]:
    """Return the solutions that ``save_many`` wrote to ``path``, by name and in their order.

    Raises
    ------
    DFPError, FileFormatError
        As for ``load``.
    """
    with _opened(path) as root:
        if "solver" in root.attrs:
            raise FileFormatError("holds one solution; use dfp.load(path).")
        groups = {name: member for name, member in root.items() if isinstance(member, h5py.Group)}
        if not groups:
            raise FileFormatError("holds no solution.")
        return {name: _read(group, root) for name, group in groups.items()}


def to_xarray(solution: Solution) -> "xarray.Dataset":
    """Return ``solution`` as a dataset equal to what ``xarray.open_dataset`` reads from its file.

    Raises
    ------
    DFPError
        If xarray is not installed, an array has the wrong shape, or the provenance does not fit in JSON.
    """
    try:
        import xarray
    except ImportError:
        raise DFPError("xarray is not installed: labelled datasets need it; run pip install 'dfp[xarray]'.") from None
    table = schema.table(solution)
    data = {name: (column.dims, column.values, column.attributes) for name, column in table.items()}
    dataset = xarray.Dataset(data, attrs=schema.FILE_ATTRIBUTES | schema.attributes(solution)).set_coords("time")
    return dataset.copy(deep=True)  # or writing to the dataset would change the solution


def _group_name(name: object) -> str:
    """Return ``name`` if HDF5, netCDF and xarray all take it as the name of a group."""
    taken = isinstance(name, str) and (name in schema.VARIABLES or name.startswith("theta_"))
    if taken or not isinstance(name, str) or not re.fullmatch(r"\w([\w .+=-]{0,98}\w)?", name):
        raise DFPError(
            f"solutions has the name {shown(name)}: must consist of letters, digits, '_', '-', '+', '=', '.' and "
            "spaces, begin and end with a letter or digit, and not be the name of a variable; rename it."
        )
    return name


def _image(fill: Callable[[Any], None]) -> bytes:
    """Return the bytes of a file; built in memory, since the HDF5 library can crash when a disk fails under it."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", track_order=True) as file:
        file.attrs.update(schema.FILE_ATTRIBUTES)
        fill(file)
    return buffer.getvalue()


def _write(group: Any, table: dict[str, schema.Column], inherited: dict[str, Any]) -> dict[str, Any]:
    """Write ``table`` into ``group`` and return the dimension scales, own and inherited, by name."""
    scales = dict(inherited)
    datasets = {
        name: group.create_dataset(name, data=column.values, track_order=True) for name, column in table.items()
    }
    for name, dataset in datasets.items():
        dataset.attrs.update(table[name].attributes)
        if table[name].dims == (name,):
            dataset.make_scale(name)
            scales[name] = dataset
    for name, dataset in datasets.items():
        if table[name].dims == (name,):
            continue
        for axis, dim in enumerate(table[name].dims):
            dataset.dims[axis].attach_scale(scales[dim])
        if "step" in table[name].dims and name != "time":
            dataset.attrs["coordinates"] = "time"
    return scales


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    """Check the seal of a file and yield its root group; whatever goes wrong inside is blamed on the file."""
    content = sealed.read(path)
    try:
        with h5py.File(io.BytesIO(content), "r") as root:
            _check_links(root)
            version = _attribute(root, "dfp_schema", "str")
            if version.partition(".")[0] != schema.VERSION.partition(".")[0]:
                raise FileFormatError(f"dfp_schema={shown(version)}: this dfp reads {schema.VERSION}; update dfp.")
            yield root
    except DFPError as error:
        raise FileFormatError(f"path={path}: {error}") from error
    except Exception as error:  # hostile bytes make h5py raise almost anything
        raise FileFormatError(f"path={path}: is damaged, or not written by dfp ({error}); make it again.") from error


def _check_links(group: Any) -> None:
    """Refuse soft and external links before any is followed: they reach into other files."""
    for name in group:
        if group.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
            raise FileFormatError(f"{shown(name)} is a link to elsewhere: dfp writes none; do not trust this file.")


def _attribute(group: Any, name: str, kind: str) -> Any:
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


def _json(group: Any, name: str, kind: type) -> Any:
    value = json.loads(_attribute(group, name, "str"))
    if not isinstance(value, kind):
        raise FileFormatError(f"the attribute {name!r} must hold a JSON {kind.__name__}; make the file again.")
    return value


def _array(home: Any, name: str, shape: tuple[int | None, ...], kind: str = "<f8") -> Any:
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


def _read(group: Any, root: Any) -> Solution:
    """Return the solution in ``group``; coordinates it lacks are those of the root."""
    _check_links(group)
    steps = _array(group, "step", (None,), "<i8")
    d = _array(group, "mean", (len(steps), None)).shape[1]
    if len(steps) == 0 or d == 0:
        raise FileFormatError("has no steps or no parameters: dfp writes no such file; make it again.")
    grid = _grid(group if "theta_1" in group else root, d) if _attribute(group, "gridded", "|i1") else None
    sizes = {"step": len(steps)} | {f"theta_{i}": n for i, n in enumerate(grid.cells if grid else (), start=1)}

    def read(name: str) -> Array:
        shape = tuple(sizes.get(dim, d) for dim in schema.describe(name, d).dims)
        return _array(group, name, shape)

    warnings = _json(group, "warnings", list)
    if not all(isinstance(warning, str) for warning in warnings):
        raise FileFormatError("the attribute 'warnings' must hold a list of text; make the file again.")
    certificate = Certificate(
        **{name: read(name) for name in schema.FIGURES},
        sampled=bool(_attribute(group, "certificate_sampled", "|i1")),
        warnings=tuple(warnings),
    )
    if grid is None and "density" in group:
        raise FileFormatError("has a density without a grid: dfp writes no such file; make it again.")
    rate = float(_attribute(group, "learning_rate", "<f8"))
    optional = {name: read(name) if name in group else None for name in ("density", "third", "fourth")}
    return Solution(
        equation=_attribute(group, "equation", "str"),
        solver=_attribute(group, "solver", "str"),
        reason=_attribute(group, "reason", "str"),
        steps=steps,
        learning_rate=rate,
        grid=grid,
        mean=read("mean"),
        covariance=read("covariance"),
        **optional,
        errors={name: read(f"{name}_standard_error") for name in schema.MOMENTS if f"{name}_standard_error" in group},
        trajectories=int(_attribute(group, "trajectories", "<i8")),
        certificate=certificate,
        provenance=_json(group, "config_json", dict),
        slow_time=read("time") if math.isnan(rate) else None,
    )


def _grid(home: Any, d: int) -> Grid:
    axes, edges = [], []
    for i in range(1, d + 1):
        axes.append(_array(home, f"theta_{i}", (None,)))
        edges.append(_array(home, f"theta_{i}_bounds", (len(axes[-1]), 2)))
    grid = Grid(
        np.array([edge[0, 0] for edge in edges]), np.array([edge[-1, 1] for edge in edges]), tuple(map(len, axes))
    )
    for axis, wanted, width in zip(axes, grid.axes, grid.spacing, strict=True):
        # Centres are derived from the corners; rounding may differ between machines.
        if not np.allclose(axis, wanted, rtol=1e-12, atol=1e-6 * width):
            raise FileFormatError("the grid's cells are not uniform: dfp writes no such grid; make the file again.")
    return grid
