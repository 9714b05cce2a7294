"""One table of variables: name -> dimensions, unit, long name. Files, xarray and the labels of axes read it.

Units count parameters and the loss as base units, so that a density in d dimensions has ``parameter-d``.
"""

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfp.errors import DFPError

VERSION = "1.2"
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


INDICES = ("parameter", "parameter_2", "parameter_3", "parameter_4")

_FIGURES = {
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
    "truncation": Variable(("step",), "1", "estimated L1 error of the density"),
    "grid_error": Variable(("step",), "1", "spectrum at the grid's largest wave number"),
}
VARIABLES = {
    "step": Variable(("step",), "1", "step n"),
    "time": Variable(("step",), "parameter2 loss-1", "slow time τ = ηn"),
    "theta_{i}": Variable(("theta_{i}",), "parameter", "parameter θ_{i}"),
    "theta_{i}_bounds": Variable(("theta_{i}", "bound"), "parameter", "cell edges along θ_{i}"),
    "bound": Variable(("bound",), "1", "lower (0) and upper (1) edge"),
    "parameter": Variable(("parameter",), "1", "index of a parameter"),
    "parameter_2": Variable(("parameter_2",), "1", "second index of a parameter"),
    "parameter_3": Variable(("parameter_3",), "1", "third index of a parameter"),
    "parameter_4": Variable(("parameter_4",), "1", "fourth index of a parameter"),
    "density": Variable(("step", "axes"), "parameter-{d}", "probability density", "{axes} {cell}"),
    "mean": Variable(("step", *INDICES[:1]), "parameter", "mean"),
    "covariance": Variable(("step", *INDICES[:2]), "parameter2", "covariance"),
    "third": Variable(("step", *INDICES[:3]), "parameter3", "third central moment"),
    "fourth": Variable(("step", *INDICES), "parameter4", "fourth central moment"),
    "mean_standard_error": Variable(("step", *INDICES[:1]), "parameter", "standard error of the mean"),
    "covariance_standard_error": Variable(("step", *INDICES[:2]), "parameter2", "standard error of the covariance"),
    "third_standard_error": Variable(
        ("step", *INDICES[:3]), "parameter3", "standard error of the third central moment"
    ),
    "fourth_standard_error": Variable(("step", *INDICES), "parameter4", "standard error of the fourth central moment"),
    **_FIGURES,
}
"""Variables of solutions."""
JOINT_VARIABLES = {
    "joint_mean": Variable(("step", "joint"), "1", "mean of (θ, v)"),
    "joint_covariance": Variable(("step", "joint", "joint_2"), "1", "covariance of (θ, v)"),
}
"""Moments with velocities; θ and v have units of their own."""
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
MODE_VARIABLES = {
    "mode": Variable((), "1", "mode, by curvature"),
    "parameter": Variable((), "1", "index of a parameter"),
    "direction": Variable((), "1", "unit eigenvector of the mean Hessian"),
    "curvature_noise": Variable((), "loss2 parameter-4", "curvature noise Γ of a step"),
    "gradient_noise": Variable((), "loss2 parameter-2", "gradient noise D of a step, at the origin"),
    "gradient": Variable((), "loss parameter-1", "mean gradient along the mode, ḡ"),
    "saturation_step": Variable((), "1", "steps in which the variance settles"),
    "diffusion_coefficient": Variable((), "loss", "diffusion coefficient in slow time, D_eff"),
    "correlation": Variable((), "loss2 parameter-3", "covariance r of curvature and gradient noise"),
    "critical_noise": Variable((), "loss2 parameter-2", "gradient noise at the critical point"),
    "lyapunov_error": Variable((), "1", "error of the Lyapunov exponent"),
    "tail_index_error": Variable((), "1", "error of the tail index"),
    "time_scale": Variable((), "1", "steps in which a distance changes by a factor e"),
    "largest_stable_learning_rate": Variable((), "parameter2 loss-1", "largest stable learning rate"),
    "langevin_largest_stable_learning_rate": Variable(
        (), "parameter2 loss-1", "largest stable learning rate of Langevin"
    ),
    "overshoots": Variable((), "1", "whether the mean map reverses the side (1)"),
    "oscillates": Variable((), "1", "whether momentum makes the mean swing (1)"),
    "embeddable": Variable((), "1", "whether a process in continuous time has these steps (1; NaN: not known)"),
}
"""Variables of modes beyond those of phase diagrams."""
DISTANCE_VARIABLES = {
    "distance": Variable((), "1", "index of a distance"),
    "step": Variable((), "1", "step n"),
    "solution": Variable((), "1", "code of the solution"),
    "total_variation_distance": Variable((), "1", "total variation"),
    "wasserstein_distance": Variable((), "parameter", "Wasserstein distance W1"),
    "mean_distance": Variable((), "1", "difference of means, in deviations"),
    "covariance_distance": Variable((), "1", "relative difference of covariances"),
    "kl": Variable((), "1", "Kullback–Leibler divergence, in nat"),
}
"""Variables of comparisons."""
ESCAPE_VARIABLES = {
    "parameter": Variable((), "1", "index of a parameter"),
    "bound": Variable((), "1", "lower (0) and upper (1) corner"),
    "path_step": Variable((), "1", "steps before the exit"),
    "langevin_path_step": Variable((), "1", "steps before the exit, of Langevin"),
    "path": Variable((), "parameter", "path of least action of SGD"),
    "langevin_path": Variable((), "parameter", "path of least action of Langevin"),
    "well": Variable((), "parameter", "bottom of the well"),
    "across": Variable((), "parameter", "bottom of the well beyond"),
    "theta": Variable((), "parameter", "parameter θ"),
    "quasi_stationary": Variable((), "parameter-{d}", "density of what has not left"),
    "quasi_stationary_box": Variable((), "parameter", "corners of its grid"),
    "committor": Variable((), "1", "probability to reach the well beyond first"),
    "committor_box": Variable((), "parameter", "corners of its grid"),
}
"""Variables of escapes; numbers are attributes."""
DRAWN_VARIABLES = {
    "direction_1": Variable((), "parameter", "direction 1"),
    "direction_2": Variable((), "parameter", "direction 2"),
    "direction_3": Variable((), "parameter", "direction 3"),
    "committor": Variable((), "1", "probability to reach the well beyond first"),
    "density_difference": Variable((), "parameter-{d}", "difference"),
    "variance": Variable((), "parameter2", "variance"),
    "relative_variance": Variable((), "%", "variance relative to exact SGD"),
    "missed_variance": Variable((), "%", "variance that Langevin misses"),
    "transient_variance": Variable((), "parameter2", "variance V(n) from a point"),
    "mode": Variable((), "1", "mode, by curvature"),
    "slowness": Variable((), "1", "mode, slowest first"),
    "multiplier": Variable((), "1", "|μ|, left of a deviation after a step"),
    "spread_curvature": Variable((), "loss parameter-2", "curvature λ ± √Γ"),
    "loss": Variable((), "loss", "loss above the critical point"),
    "loss_density": Variable((), "loss-1", "probability density"),
    "excess_risk": Variable((), "loss", "excess risk"),
    "loss_probability": Variable((), "1", "probability of no larger loss"),
    "parameter": Variable((), "1", "index of a parameter"),
    "mean_and_deviation": Variable((), "parameter", "mean ± standard deviation"),
    "survival": Variable((), "1", "probability of being inside"),
    "departure": Variable((), "1", "probability of having left"),
    "exit_probability": Variable((), "1", "probability of leaving at this step"),
    "hessian_diagonal": Variable((), "loss parameter-2", "diagonal of the Hessian"),
    "noise_diagonal": Variable((), "loss2 parameter-2", "diagonal of C"),
    "minibatch_curvature_noise": Variable((), "loss2 parameter-4", "curvature noise Γ"),
    "averaging_weight": Variable((), "1", "1 − γ of the average"),
    "log_v": Variable((), "1", "log of the second moment v"),
    "log_v_density": Variable((), "1", "probability density of log v"),
    "current": Variable((), "loss parameter-{d}", "probability current J"),
    "velocity_matrix": Variable((), "1", "velocity matrix Ω"),
    "prediction_error": Variable((), "1", "median |predicted/measured − 1| of the variance"),
    "absolute_curvature": Variable((), "loss parameter-2", "|λ|"),
    "sample_gradient_noise": Variable((), "loss2 parameter-2", "gradient noise of a sample"),
    "median_variance": Variable((), "parameter2", "median variance"),
    "runs_variance": Variable((), "parameter2", "variance over runs"),
    "predicted_variance": Variable((), "parameter2", "predicted variance"),
    "measured_variance": Variable((), "parameter2", "measured variance"),
    "epoch": Variable((), "1", "epoch"),
    "epoch_variance": Variable((), "1", "variance over that with replacement"),
    "displacement": Variable((), "parameter", "displacement along the direction"),
    "second_displacement": Variable((), "parameter", "displacement along the second direction"),
    "diffusion_coefficient": Variable((), "loss", "variance over twice the slow time"),
}
"""What figures show beyond the variables of files."""
MOMENTS = ("mean", "covariance", "third", "fourth")
FIGURES = tuple(_FIGURES)
"""The figures of the certificate."""


@dataclass(frozen=True)
class Column:
    """A variable with its values: ``dims`` name the axes of ``values``; ``attributes`` follow the CF conventions."""

    dims: tuple[str, ...]
    values: NDArray[Any]
    attributes: dict[str, str] = field(default_factory=dict)


def describe(name: str, dimension: int = 1, axes: Mapping[str, str] | None = None) -> Variable:
    """Return what is known of the variable ``name``, such as ``density`` or ``theta_2``, for d = ``dimension``.

    Parameters
    ----------
    axes
        What is on the axes, by their variables (``axes.described``); theta_1 … theta_d if left out.

    Raises
    ------
    DFPError
        If there is no such variable.
    """
    if axes is None:
        axes = {f"theta_{k}": f"parameter θ_{k}" for k in range(1, dimension + 1)}
    number = re.fullmatch(r"theta_([1-9]\d*)(_bounds)?", name)
    if number:
        axes = {f"theta_{number[1]}": f"parameter θ_{number[1]}", **axes}
    axis = name.removesuffix("_bounds")
    if axis in axes:
        found = VARIABLES[name.replace(axis, "theta_{i}", 1)]
        long_name = found.long_name.replace("parameter θ_{i}", axes[axis])
        dims = tuple(dim.replace("theta_{i}", axis) for dim in found.dims)
        return Variable(dims, found.unit, long_name.replace("θ_{i}", axes[axis].removeprefix("parameter ")))
    if name not in VARIABLES or "{" in name:
        raise DFPError(f"variable={name!r}: unknown; give one of {', '.join(VARIABLES)}.")
    found = VARIABLES[name]
    dims = tuple(one for dim in found.dims for one in (axes if dim == "axes" else (dim,)))
    methods = found.cell_methods.replace("{axes}", " ".join(f"{axis}:" for axis in axes))
    return Variable(dims, found.unit.format(d=dimension), found.long_name, methods)


def label(name: str, dimension: int = 1) -> str:
    """Return an axis label for the variable ``name`` of a solution, a phase diagram or a figure alone.

    It is the long name and, unless the variable is a pure number, its unit.
    """
    known = PHASE_VARIABLES | DISTANCE_VARIABLES | ESCAPE_VARIABLES | DRAWN_VARIABLES
    found = known.get(name) or describe(name, dimension)
    unit = re.sub(
        r"-?\d+", lambda m: m[0].translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")), found.unit.format(d=dimension)
    )
    named = re.sub(r"_(\d+)", lambda m: m[1].translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")), found.long_name)
    return named if found.unit == "1" else f"{named} [{unit}]"


def columns(
    coordinates: Mapping[str, Any], data: Mapping[str, Any], axes: Mapping[str, str], sampled: bool
) -> dict[str, Column]:
    """Return variables of parameters with what is known of them, coordinates first; what is None is left out.

    Parameters
    ----------
    coordinates, data
        Arrays by name; indices of parameters are added where data need them.
    axes
        What is on the axes, by their variables (``axes.described``).
    sampled
        Whether densities are means over cells.

    Raises
    ------
    DFPError
        If an array does not have the shape its dimensions ask for.
    """
    data = {name: values for name, values in data.items() if values is not None}
    used = {dim for name in data for dim in describe(name, len(axes), axes).dims}
    coordinates = dict(coordinates) | {name: np.arange(1, len(axes) + 1) for name in INDICES if name in used}
    sizes = {name: len(values) for name, values in coordinates.items()}
    return {name: _column(name, values, axes, sizes, sampled) for name, values in (coordinates | data).items()}


def _column(name: str, values: Any, axes: Mapping[str, str], sizes: dict[str, int], sampled: bool) -> Column:
    found = describe(name, len(axes), axes)
    integers = name in ("step", "bound", *INDICES)
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
