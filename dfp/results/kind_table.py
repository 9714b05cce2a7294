"""The table of results: what is kept of each kind, or who knows it."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

from dfp.results import schema
from dfp.results.schema import Variable


class Kept(NamedTuple):
    """How a field of a result is kept."""

    field: str
    """Dotted where it is that of a part, which the maker is then given as a table."""
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
    """Attributes of the result, dotted likewise: in files with underscores."""
    gridded: bool = False
    optional_grid: bool = False
    grid: str = "grid"
    """Where its grid is."""
    warnings: bool = False
    later: tuple[str, ...] = ()
    """Numbers, or the warnings, that files of earlier versions lack."""
    parameters: str = ""
    """Where it has the names of what is on its axes, dotted likewise, if it has any."""
    made: str = ""
    """The method of the class that makes it of what a file holds, if not the class itself."""

    @property
    def maker(self) -> Any:
        """The class."""
        module, _, name = self.home.rpartition(".")
        return getattr(import_module(module), name)


def _variable(dims: str, unit: str, long_name: str) -> Variable:
    return Variable(tuple(dims.split()), unit, long_name)


def _density(part: str = "") -> dict[str, Kept]:
    """Return what is kept of a density, of the part of that name."""
    covariance = _variable("parameter parameter_2", "parameter2", "covariance")
    return {
        "density": Kept(f"{part}values", _variable("axes", "parameter-{d}", "probability density")),
        "mean": Kept(f"{part}mean", _variable("parameter", "parameter", "mean"), fallback=True),
        "covariance": Kept(f"{part}covariance", covariance, fallback=True),
        "joint_mean": Kept(f"{part}joint.mean", _variable("joint", "1", "mean of (θ, v)"), fallback=True),
        "joint_covariance": Kept(
            f"{part}joint.covariance", _variable("joint joint_2", "1", "covariance of (θ, v)"), fallback=True
        ),
    }


_STEP = Kept("steps", schema.VARIABLES["step"], "<i8")
_CURVATURE, _NOISE, _SPREAD = "loss parameter-2", "loss2 parameter-2", "loss2 parameter-4"
KINDS = {
    "density": Kind(
        "dfp.problem.state.Density",
        _density(),
        ("outside", "error", "above", "unplaced"),
        gridded=True,
        parameters="parameters",
        warnings=True,
        later=("above", "unplaced", "warnings"),
        made="_restored",
    ),
    "moments": Kind(
        "dfp.exact.moments.Moments",
        {
            "step": _STEP,
            "mean": Kept("mean", schema.VARIABLES["mean"]),
            "covariance": Kept("covariance", schema.VARIABLES["covariance"]),
            **{name: Kept(name, known, fallback=True) for name, known in schema.JOINT_VARIABLES.items()},
        },
        warnings=True,
        parameters="parameters",
    ),
    "exit steps": Kind(
        "dfp.long_time.exit_law.ExitSteps",
        {
            "step": _STEP,
            "survival": Kept("survival", _variable("step", "1", "probability of being inside")),
            "survival_standard_error": Kept(
                "spread", _variable("step", "1", "standard error of the probability of being inside"), fallback=True
            ),
            "lower": Kept("lower", _variable("parameter", "parameter", "lower corner of the box"), fallback=True),
            "upper": Kept("upper", _variable("parameter", "parameter", "upper corner of the box"), fallback=True),
        },
        ("mean", "decay", "error", "mean_error", "leaving", "trajectories"),
        warnings=True,
        parameters="parameters",
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
        parameters="parameters",
    ),
    "stationary moments": Kind(
        "dfp.long_time.stationary_moments.StationaryMoments",
        {
            "mean": Kept("mean", _variable("parameter", "parameter", "mean")),
            "covariance": Kept("covariance", _variable("parameter parameter_2", "parameter2", "covariance")),
        },
        parameters="parameters",
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
        parameters="parameters",
        later=("error",),
    ),
    "fit": Kind(
        "dfp.exact.inference.Fit",
        {
            "hessian": Kept("hessian", _variable("parameter parameter_2", _CURVATURE, "mean Hessian")),
            "covariance": Kept("covariance", _variable("parameter parameter_2", _NOISE, "gradient noise C")),
            "minimum": Kept("minimum", _variable("parameter", "parameter", "minimum θ*")),
            "direction": Kept("directions", _variable("parameter mode", "1", "eigenvectors of the mean Hessian")),
            "curvature_noise": Kept("curvature_noise", _variable("mode", _SPREAD, "curvature noise Γ"), fallback=True),
            "gradient_noise": Kept(
                "gradient_noise", _variable("mode", _NOISE, "gradient noise D at θ*"), fallback=True
            ),
            "hessian_interval": Kept(
                "intervals.hessian", _variable("bound parameter parameter_2", _CURVATURE, "95 % interval of H")
            ),
            "covariance_interval": Kept(
                "intervals.covariance", _variable("bound parameter parameter_2", _NOISE, "95 % interval of C")
            ),
            "minimum_interval": Kept(
                "intervals.minimum", _variable("bound parameter", "parameter", "95 % interval of θ*")
            ),
            "curvature_noise_interval": Kept(
                "intervals.curvature_noise", _variable("bound mode", _SPREAD, "95 % interval of Γ"), fallback=True
            ),
        },
        ("learning_rate", "every", "transitions"),
        warnings=True,
        made="_restored",
    ),
    "best decay": Kind(
        "dfp.long_time.best_decay.BestDecay",
        {
            "compared_decay": Kept("decays", _variable("compared_decay", "1", "decay γ compared"), fallback=True),
            "excess_risk": Kept(
                "risks", _variable("compared_decay", "loss", "excess risk of the average"), fallback=True
            ),
        },
        ("decay", "risk", "last_risk"),
    ),
    "current": Kind(
        "dfp.long_time.irreversibility.Current",
        {
            "velocity_matrix": Kept(
                "matrix", _variable("parameter parameter_2", "1", "velocity matrix Ω, of a step or of slow time")
            ),
            "mean": Kept("law.mean", _variable("parameter", "parameter", "mean")),
            "covariance": Kept("law.covariance", _variable("parameter parameter_2", "parameter2", "covariance")),
        },
        parameters="parameters",
        made="_restored",
    ),
    "gridded current": Kind(
        "dfp.long_time.irreversibility.GriddedCurrent",
        {
            **_density("density."),
            "current": Kept("values", _variable("axes parameter", "loss parameter-{above}", "probability current J")),
        },
        ("density.outside", "density.error"),
        gridded=True,
        grid="density.grid",
        parameters="density.parameters",
        made="_restored",
    ),
    "rmsprop law": Kind(
        "dfp.long_time.rmsprop.RMSPropLaw",
        {
            **_density("density."),
            "log_v": Kept("log_v", _variable("log_v", "1", "log of the second moment v")),
            "log_v_density": Kept("log_v_density", _variable("log_v", "1", "probability density of log v")),
        },
        ("density.outside", "density.error", "variance", "frozen_variance", "mean_v", "error"),
        gridded=True,
        grid="density.grid",
        made="_restored",
    ),
}
# Kinds that are kept in a way of their own: the class, and the module that has its columns, attributes and reader.
ROOMS = {
    "solution": ("dfp.results.solution.Solution", "dfp.results.solution"),
    "comparison": ("dfp.results.comparison.Comparison", "dfp.results.comparison_files"),
    "sweep": ("dfp.results.cube.Sweep", "dfp.results.cube"),
    "modes": ("dfp.regimes.mode_report.Modes", "dfp.solving.mode_files"),
    "mode": ("dfp.regimes.mode.Mode", "dfp.solving.mode_files"),
    "phase diagram": ("dfp.regimes.phases.PhaseDiagram", "dfp.regimes.phases"),
    "escape": ("dfp.long_time.escape_law.Escape", "dfp.long_time.escape_files"),
    "network runs": ("dfp.networks.runs.Runs", "dfp.networks.storage"),
    "network report": ("dfp.networks.reporting.Report", "dfp.networks.storage"),
    "network measurement": ("dfp.networks.measurement.Measurement", "dfp.networks.storage"),
    "network predictions": ("dfp.networks.prediction.Predictions", "dfp.networks.storage"),
    "network diffusion": ("dfp.networks.rates.Diffusion", "dfp.networks.storage"),
}
