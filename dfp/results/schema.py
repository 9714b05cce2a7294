"""One table of output variables: name -> dimensions, unit, long name. Files, xarray and axis labels read it.

Units count parameters and the loss as base units, so that a density in d dimensions has ``parameter-d``.
"""

import json
import platform
import re
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dfp.checks import shown
from dfp.errors import DFPError

if TYPE_CHECKING:
    from dfp.results.solution import Solution

VERSION = "1.0"
"""Version of the file layout: readers refuse another major number and ignore members a later minor one adds."""

FILE_ATTRIBUTES = {"Conventions": "CF-1.11", "dfp_schema": VERSION}
"""What the root of every file says."""


@dataclass(frozen=True)
class Variable:
    """What is known of an output variable before it has values.

    Attributes
    ----------
    dims
        Names of its axes; ``axes`` stands for theta_1 … theta_d.
    unit
        In the notation of UDUNITS; ``{d}`` stands for the number of parameters.
    long_name
        For axis labels; ``{i}`` stands for the number of an axis.
    cell_methods
        Along which dimensions a value is a mean or a point value (CF); ``{cell}`` stands for the one or the other.
    """

    dims: tuple[str, ...]
    unit: str
    long_name: str
    cell_methods: str = ""


_INDICES = ("parameter", "parameter_2", "parameter_3", "parameter_4")

VARIABLES = {
    "step": Variable(("step",), "1", "step"),
    "time": Variable(("step",), "parameter2 loss-1", "slow time τ = ηn"),
    "theta_{i}": Variable(("theta_{i}",), "parameter", "parameter θ_{i}"),
    "theta_{i}_bounds": Variable(("theta_{i}", "bound"), "parameter", "cell edges along θ_{i}"),
    "bound": Variable(("bound",), "1", "lower (0) and upper (1) edge"),
    "parameter": Variable(("parameter",), "1", "index of a parameter"),
    "parameter_2": Variable(("parameter_2",), "1", "second index of a parameter"),
    "parameter_3": Variable(("parameter_3",), "1", "third index of a parameter"),
    "parameter_4": Variable(("parameter_4",), "1", "fourth index of a parameter"),
    "density": Variable(("step", "axes"), "parameter-{d}", "probability density", "{axes} {cell}"),
    "mean": Variable(("step", *_INDICES[:1]), "parameter", "mean"),
    "covariance": Variable(("step", *_INDICES[:2]), "parameter2", "covariance"),
    "third": Variable(("step", *_INDICES[:3]), "parameter3", "third central moment"),
    "fourth": Variable(("step", *_INDICES), "parameter4", "fourth central moment"),
    "mean_standard_error": Variable(("step", *_INDICES[:1]), "parameter", "standard error of the mean"),
    "covariance_standard_error": Variable(("step", *_INDICES[:2]), "parameter2", "standard error of the covariance"),
    "third_standard_error": Variable(
        ("step", *_INDICES[:3]), "parameter3", "standard error of the third central moment"
    ),
    "fourth_standard_error": Variable(("step", *_INDICES), "parameter4", "standard error of the fourth central moment"),
    "mass_defect": Variable(("step",), "1", "1 minus the mass on and outside the grid"),
    "most_negative": Variable(("step",), "1", "most negative density over the largest"),
    "negative_mass": Variable(("step",), "1", "mass of the negative part"),
    "mass_outside": Variable(("step",), "1", "mass outside the grid"),
    "mean_error": Variable(
        ("step",), "1", "largest error of the mean, in standard deviations (sampled: standard errors)"
    ),
    "covariance_error": Variable(
        ("step",), "1", "largest error of the covariance, relative to σ_i σ_j (sampled: in standard errors)"
    ),
    "truncation": Variable(("step",), "1", "estimated L1 error of the truncated series"),
    "grid_error": Variable(("step",), "1", "spectrum at the grid's largest wave number"),
}
PHASE_VARIABLES = {
    "learning_rate": Variable((), "parameter2 loss-1", "learning rate η"),
    "curvature": Variable((), "loss parameter-2", "curvature λ"),
    "curvature_noise": Variable((), "loss2 parameter-4", "curvature noise Γ of a sample"),
    "gradient_noise": Variable((), "loss2 parameter-2", "gradient noise D of a sample"),
    "batch_size": Variable((), "1", "batch size B"),
    "momentum": Variable((), "1", "momentum β"),
    "growth": Variable((), "1", "growth of the second moment per step, ρ₂"),
    "lyapunov_exponent": Variable((), "1", "Lyapunov exponent per step, ℓ"),
    "tail_index": Variable((), "1", "tail index of SGD, κ"),
    "langevin_tail_index": Variable((), "1", "tail index of Langevin, κ_L"),
    "stationary_variance": Variable((), "parameter2", "stationary variance of SGD"),
    "langevin_stationary_variance": Variable((), "parameter2", "stationary variance of Langevin"),
    "variance_difference": Variable((), "parameter2", "stationary variance of SGD minus that of Langevin"),
    "regime": Variable((), "1", "regime of SGD"),
    "langevin_regime": Variable((), "1", "regime of Langevin"),
}
"""Variables of phase diagrams; all lie on the two axes chosen."""
MOMENTS = ("mean", "covariance", "third", "fourth")
FIGURES = (
    "mass_defect", "most_negative", "negative_mass", "mass_outside",
    "mean_error", "covariance_error", "truncation", "grid_error",
)  # fmt: skip
"""The figures of the certificate."""


@dataclass(frozen=True)
class Column:
    """A variable with its values: ``dims`` name the axes of ``values``; ``attributes`` follow the CF conventions."""

    dims: tuple[str, ...]
    values: NDArray[Any]
    attributes: dict[str, str] = field(default_factory=dict)


def describe(name: str, dimension: int = 1) -> Variable:
    """Return what is known of the variable ``name``, such as ``density`` or ``theta_2``, for d = ``dimension``.

    Raises
    ------
    DFPError
        If there is no such variable.
    """
    number = re.fullmatch(r"theta_([1-9]\d*)(_bounds)?", name)
    key = f"theta_{{i}}{number[2] or ''}" if number else name
    if key not in VARIABLES or "{" in name:
        raise DFPError(f"variable={name!r}: unknown; give one of {', '.join(VARIABLES)}.")
    found, i = VARIABLES[key], number[1] if number else ""
    axes = tuple(f"theta_{k}" for k in range(1, dimension + 1))
    dims: list[str] = []
    for dim in found.dims:
        dims += axes if dim == "axes" else [dim.replace("{i}", i)]
    methods = found.cell_methods.replace("{axes}", " ".join(f"{axis}:" for axis in axes))
    return Variable(tuple(dims), found.unit.format(d=dimension), found.long_name.replace("{i}", i), methods)


def label(name: str, dimension: int = 1) -> str:
    """Return an axis label for the variable ``name``: its long name and, unless it is a pure number, its unit."""
    return _labelled(describe(name, dimension))


def phase_label(name: str) -> str:
    """Return an axis label for a variable of a phase diagram."""
    return _labelled(PHASE_VARIABLES[name])


def _labelled(found: Variable) -> str:
    unit = re.sub(r"-?\d+", lambda m: m[0].translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")), found.unit)
    return found.long_name if found.unit == "1" else f"{found.long_name} [{unit}]"


def table(solution: "Solution") -> dict[str, Column]:
    """Return every variable of ``solution`` by name, coordinates first.

    Raises
    ------
    DFPError
        If an array does not have the shape its dimensions ask for, or a standard error belongs to no moment.
    """
    d = solution.dimension
    figures = {name: getattr(solution.certificate, name) for name in FIGURES}
    data: dict[str, Any] = {"time": solution.time, "density": solution.density}
    data |= {name: getattr(solution, name) for name in MOMENTS}
    for name, values in solution.errors.items():
        if name not in MOMENTS:
            raise DFPError(f"errors has the entry {name!r}: standard errors are of {', '.join(MOMENTS)}; remove it.")
        data[f"{name}_standard_error"] = values
    data = {name: values for name, values in (data | figures).items() if values is not None}
    if "density" in data and solution.grid is None:
        raise DFPError("density is given without a grid: it says where the values are; set solution.grid.")

    coordinates: dict[str, Any] = {"step": solution.steps}
    if solution.grid is not None:
        for i, (axis, edges) in enumerate(zip(solution.grid.axes, solution.grid.edges, strict=True), start=1):
            coordinates |= {f"theta_{i}": axis, f"theta_{i}_bounds": np.stack([edges[:-1], edges[1:]], axis=1)}
        coordinates["bound"] = np.arange(2)
    used = {dim for name in data for dim in describe(name, d).dims}
    coordinates |= {name: np.arange(1, d + 1) for name in _INDICES if name in used}

    sizes = {name: len(values) for name, values in coordinates.items()}
    sampled = solution.sampled
    return {name: _column(name, values, d, sizes, sampled) for name, values in (coordinates | data).items()}


def attributes(solution: "Solution") -> dict[str, Any]:
    """Return what is known of ``solution`` as a whole: text and scalars, none of them boolean (netCDF has no such).

    ``config_json`` holds its provenance and ``warnings`` those of its certificate, both as JSON.

    Raises
    ------
    DFPError
        If the provenance does not fit in JSON.
    """
    try:
        config = json.dumps(solution.provenance, ensure_ascii=False, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise DFPError(f"provenance cannot be written as JSON ({error}); use numbers, text, lists and dicts.") from None
    made_with = solution.provenance.get("versions")
    libraries = made_with if isinstance(made_with, dict) else versions()
    result = {
        "equation": solution.equation,
        "solver": solution.solver,
        "reason": solution.reason,
        "learning_rate": np.float64(solution.learning_rate),
        "trajectories": np.int64(solution.trajectories),
        "gridded": np.int8(solution.grid is not None),
        "certificate_sampled": np.int8(solution.certificate.sampled),
        "warnings": json.dumps(solution.certificate.warnings, ensure_ascii=False),
        "versions": ", ".join(f"{name} {version}" for name, version in libraries.items()),
        "config_json": config,
    }
    if "seed" in solution.provenance:
        result["seed"] = str(solution.provenance["seed"])  # as text: seeds may exceed 64 bits
    return result


def _plain(value: object) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"{shown(value)} is no number, text, list or dict")


def _column(name: str, values: Any, d: int, sizes: dict[str, int], sampled: bool) -> Column:
    found = describe(name, d)
    integers = name in ("step", "bound", *_INDICES)
    array = np.asarray(values, dtype="<i8" if integers else "<f8")
    wanted = tuple(sizes.get(dim, -1) for dim in found.dims)
    if array.shape != wanted:
        raise DFPError(f"{name} has shape {array.shape}: must be {wanted}, as {found.dims}; reshape it.")
    attributes = {"units": found.unit, "long_name": found.long_name}
    if found.cell_methods:
        attributes["cell_methods"] = found.cell_methods.format(cell="mean" if sampled else "point")
    if f"{name}_bounds" in sizes:
        attributes["bounds"] = f"{name}_bounds"
    return Column(found.dims, array, attributes)


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python, dfp and the libraries it computes with."""
    result = {"python": platform.python_version()}
    for name in ("dfp", "numpy", "scipy", "numba", "h5py"):
        try:
            result[name] = version(name)
        except PackageNotFoundError:
            result[name] = "not installed"
    return result
