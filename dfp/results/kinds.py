"""The kinds of results: one table of their variables, or of who knows them, by which all are written and read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dfp.errors import DFPError, FileFormatError
from dfp.problem.grid import Grid
from dfp.result import Result
from dfp.results import apart, hdf5, schema, tables
from dfp.results.gridded import axes_of, grid_in
from dfp.results.schema import Column, Variable

if TYPE_CHECKING:
    import pandas
    import xarray


class Kept(NamedTuple):
    """How a field of a result is kept."""

    field: str
    variable: Variable
    """``dims`` of its column; ``axes`` stands for those of the grid."""
    type: str = "<f8"
    """``<f8``, ``<i8``, or ``complex``, which becomes two columns."""
    fallback: bool = False
    """Whether it may be None, and is then left out."""


@dataclass(frozen=True)
class Kind:
    """What is kept of a class: columns, numbers (as attributes), and whether it has a grid and warnings."""

    home: str
    columns: Mapping[str, Kept]
    numbers: tuple[str, ...] = ()
    gridded: bool = False
    optional_grid: bool = False
    warnings: bool = False
    later: tuple[str, ...] = ()
    """Numbers that files of earlier versions lack."""
    made: str = ""
    """The method of the class that makes it of what a file holds, if not the class itself."""

    @property
    def maker(self) -> Any:
        """The class."""
        module, _, name = self.home.rpartition(".")
        return getattr(import_module(module), name)


def _variable(dims: str, unit: str, long_name: str) -> Variable:
    return Variable(tuple(dims.split()), unit, long_name)


_STEP = Kept("steps", schema.VARIABLES["step"], "<i8")
KINDS = {
    "density": Kind(
        "dfp.problem.state.Density",
        {
            "density": Kept("values", _variable("axes", "parameter-{d}", "probability density")),
            "mean": Kept("mean", _variable("parameter", "parameter", "mean"), fallback=True),
            "covariance": Kept(
                "covariance", _variable("parameter parameter_2", "parameter2", "covariance"), fallback=True
            ),
        },
        ("outside", "error"),
        gridded=True,
        made="_restored",
    ),
    "moments": Kind(
        "dfp.exact.moments.Moments",
        {
            "step": _STEP,
            "mean": Kept("mean", schema.VARIABLES["mean"]),
            "covariance": Kept("covariance", schema.VARIABLES["covariance"]),
            "joint_mean": Kept("joint_mean", _variable("step joint", "1", "mean of (θ, v)"), fallback=True),
            "joint_covariance": Kept(
                "joint_covariance", _variable("step joint joint_2", "1", "covariance of (θ, v)"), fallback=True
            ),
        },
        warnings=True,
    ),
    "exit steps": Kind(
        "dfp.long_time.exit_law.ExitSteps",
        {"step": _STEP, "survival": Kept("survival", _variable("step", "1", "probability of being inside"))},
        ("mean", "decay", "error", "mean_error", "leaving", "trajectories"),
        warnings=True,
    ),
    "spectrum": Kind(
        "dfp.long_time.relaxation.Spectrum",
        {
            "eigenvalue": Kept("eigenvalues", _variable("place", "1", "eigenvalue of a step"), "complex"),
            "relaxation_steps": Kept("relaxation_steps", _variable("place", "1", "relaxation steps")),
            "degree": Kept("degrees", _variable("place", "1", "degree of the moment that decays"), "<i8"),
            "error": Kept("error", _variable("place", "1", "estimated error of the eigenvalue")),
            "mode": Kept("modes", _variable("place axes", "1", "eigenfunction"), "complex", fallback=True),
        },
        ("continuous_edge",),
        optional_grid=True,
        warnings=True,
    ),
    "stationary moments": Kind(
        "dfp.long_time.stationary_moments.StationaryMoments",
        {
            "mean": Kept("mean", _variable("parameter", "parameter", "mean")),
            "covariance": Kept("covariance", _variable("parameter parameter_2", "parameter2", "covariance")),
        },
    ),
    "optimal schedule": Kind(
        "dfp.exact.best_schedule.OptimalSchedule",
        {
            "learning_rate": Kept("learning_rates", _variable("update", "parameter2 loss-1", "learning rate η")),
            "batch_size": Kept("batch_sizes", _variable("update", "1", "batch size B")),
            "momentum": Kept("momenta", _variable("update", "1", "momentum β")),
        },
        ("risk", "gradient_norm"),
    ),
    "risk curve": Kind(
        "dfp.exact.risk.RiskCurve",
        {
            "step": _STEP,
            "excess_risk": Kept("excess_risk", _variable("step", "loss", "excess risk")),
            "second_moment": Kept("second_moments", _variable("parameter", "parameter2", "mean square of θ − θ*")),
        },
    ),
    "loss law": Kind(
        "dfp.long_time.losses.LossLaw",
        {
            "weight": Kept("weights", _variable("place", "loss", "weight σ of a square"), fallback=True),
            "shift": Kept("shifts", _variable("place", "1", "shift m of a square"), fallback=True),
            "loss": Kept("losses", _variable("sample", "loss", "sampled loss"), fallback=True),
        },
        ("step", "mean", "variance", "offset"),
        made="_restored",
    ),
    "committor": Kind(
        "dfp.long_time.committor.Committor",
        {
            "committor": Kept("values", _variable("axes", "1", "probability to reach the well beyond first")),
            "well": Kept("well", _variable("parameter", "parameter", "bottom of the well")),
            "across": Kept("across", _variable("parameter", "parameter", "bottom of the well beyond")),
        },
        ("radius", "error"),
        gridded=True,
        later=("error",),
    ),
}
# Kinds that are kept in a way of their own: the class, and the module that has its columns, attributes and reader.
ROOMS = {
    "solution": ("dfp.results.solution.Solution", "dfp.results.solution"),
    "comparison": ("dfp.results.comparison.Comparison", "dfp.results.comparison_files"),
    "sweep": ("dfp.results.cube.Sweep", "dfp.results.cube"),
    "modes": ("dfp.regimes.mode_report.Modes", "dfp.solving.mode_files"),
    "phase diagram": ("dfp.regimes.phases.PhaseDiagram", "dfp.regimes.phases"),
    "escape": ("dfp.long_time.escape_law.Escape", "dfp.long_time.escape_files"),
    "network runs": ("dfp.networks.runs.Runs", "dfp.networks.storage"),
    "network report": ("dfp.networks.reporting.Report", "dfp.networks.storage"),
}
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


def columns(result: Any) -> dict[str, Column]:
    """Return every variable of ``result`` by name, coordinates first."""
    name = kind_of(result)
    if name in ROOMS:
        told: dict[str, Column] = _room(name).columns(result)
        return told if name == "solution" else told | _call(result)[1]
    kind, grid = KINDS[name], getattr(result, "grid", None)
    table = {} if grid is None else axes_of(grid)
    axes = () if grid is None else tuple(f"theta_{i}" for i in range(1, grid.dimension + 1))
    found: dict[str, Column] = {}
    for name, kept in kind.columns.items():
        values = getattr(result, kept.field)
        if kept.fallback and (values is None or not np.size(values)):
            continue
        dims = tuple(dim for given in kept.variable.dims for dim in (axes if given == "axes" else (given,)))
        unit = kept.variable.unit.format(d=len(axes))
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
    return table | found | _call(result)[1]


def attributes(result: Any) -> dict[str, Any]:
    """Return kind, numbers and warnings."""
    name = kind_of(result)
    if name in ROOMS:
        told: dict[str, Any] = _room(name).attributes(result)
        return told if name == "solution" else {"kind": name} | told | _call(result)[0] | _made_with()
    kind = KINDS[name]
    found: dict[str, Any] = {"kind": name} | {number: np.float64(getattr(result, number)) for number in kind.numbers}
    if kind.warnings:
        found["warnings"] = json.dumps(result.warnings, ensure_ascii=False)
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
    """Return the rows of ``result``, or its columns along the first axis; matrices as one column an entry."""
    if hasattr(result, "rows"):
        return tables.data_frame(result.rows())
    name = kind_of(result)
    if name == "escape" or (name in KINDS and KINDS[name].gridded):
        raise DFPError("result is a function on a grid and no table; use to_xarray().")
    table, rows = columns(result), dict[str, Any]()
    first = "step" if name in ROOMS else next(table[one].dims[0] for one in KINDS[name].columns if one in table)
    for name, column in table.items():
        if column.dims[0] != first or any(dim.startswith("theta_") for dim in column.dims):
            continue
        for index in np.ndindex(column.values.shape[1:]):
            rows["_".join([name, *(str(i + 1) for i in index)])] = column.values[(slice(None), *index)]
    return tables.data_frame(rows)


def read(root: hdf5.Stored, name: str) -> Any:
    """Return the result of the kind ``name`` in the root of a file, bit for bit, with the call that made it.

    Raises
    ------
    FileFormatError
        As of ``_read``.
    """
    found = _read(root, name)
    if root.labelled("call"):
        object.__setattr__(found, "_made_by", apart.put_back(root.json("call", dict), root))
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
    gridded = kind.gridded or (kind.optional_grid and "theta_1" in root)
    grid = _grid(root) if gridded else None
    sizes = {} if grid is None else {f"theta_{i}": n for i, n in enumerate(grid.cells, start=1)}
    axes = tuple(sizes)
    sizes |= {} if grid is None else {"parameter": grid.dimension, "parameter_2": grid.dimension}
    given: dict[str, Any] = {"grid": grid} if kind.gridded or kind.optional_grid else {}
    for column, kept in kind.columns.items():
        stored = f"{column}_real" if kept.type == "complex" else column
        if kept.fallback and stored not in root:
            given[kept.field] = None
            continue
        dims = [dim for wanted in kept.variable.dims for dim in (axes if wanted == "axes" else (wanted,))]
        shape = tuple(sizes.get(dim) for dim in dims)
        if kept.type == "complex":
            values = root.array(stored, shape) + 1j * root.array(f"{column}_imaginary", shape)
        else:
            values = root.array(stored, shape, kept.type)
        sizes |= dict(zip(dims, values.shape, strict=True))
        given[kept.field] = values
    numbers = [number for number in kind.numbers if number not in kind.later or root.labelled(number)]
    given |= {number: float(root.attribute(number, "<f8")) for number in numbers}
    if kind.warnings:
        given["warnings"] = tuple(root.json("warnings", list))
        if not all(isinstance(warning, str) for warning in given["warnings"]):
            raise FileFormatError("the attribute 'warnings' must hold a list of text; make the file again.")
    make = getattr(kind.maker, kind.made) if kind.made else kind.maker
    return make(**given)


def _grid(root: hdf5.Stored) -> Grid:
    dimension = 1
    while dimension < 3 and f"theta_{dimension + 1}" in root:
        dimension += 1
    return grid_in(root, dimension)
