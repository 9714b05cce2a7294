"""What a problem is by value, as tables of JSON: written into the files of solutions, and built again from them.

Every object is ``{"kind": name, field: value, …}``; arrays are ``{"kind": "array", "shape": …, "values": …}``. Numbers
keep every bit in JSON. Large arrays stay arrays, which files keep beside the JSON (``results/apart.py``), but those of
a ``StoredLandscape``, named by path and digest. Only the constructors listed here are ever called on what a file says.
"""

import functools
import inspect
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dfp.errors import DFPError, FileFormatError
from dfp.methods.monte_carlo import MonteCarlo
from dfp.problem import (
    additive,
    averages,
    equations,
    finite_sum,
    gaussian_features,
    noise,
    schedules,
    sgd,
    state,
    student,
)
from dfp.problem.averaged_equation import AveragedEquation
from dfp.problem.grid import Grid
from dfp.problem.landscape import QuadraticLandscape
from dfp.problem.parameters import told
from dfp.result import Origin
from dfp.solving.choice import BY_NAME
from dfp.solving.stored_landscape import DataError, StoredLandscape

# Entries of all arrays together that are text, 2 MiB: some 6 MB as such; and that are held as arrays, 32 MiB.
_TEXT, _MOST = 2**18, 2**22
# Arguments whose arrays are held whatever their size.
_WHOLE = ("initial", "directions")
# Functions of dfp that sweeps are made again of: they compute, and write no file.
SWEPT = (
    "stationary", "moments", "stationary_moments", "risk_curve", "volterra_curve", "stationary_risk", "best_decay",
    "largest_learning_rate", "entropy_production", "autocorrelation", "effective_temperature", "excess_loss",
    "expected_loss", "mean_squared_displacement", "stationary_excess_loss", "raw_moments",
)  # fmt: skip
_LARGE = "dfp.StoredLandscape is held whatever its size"


class Made(NamedTuple):
    """How objects of a class are made: by which arguments, each with the attribute that holds it."""

    maker: type
    arguments: Mapping[str, str]


class _NotHeld(Exception):
    """Says which part of a problem has no form by value."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.path: list[str] = []
        """Names of the arguments that lead to the part."""


def _by_name(maker: type, names: str, **others: str) -> Made:
    return Made(maker, {name: name for name in names.split()} | others)


# Who works changes no bit, nor does a checkpoint, and no file is to say which other one is written.
_IDLE = ("checkpoint", "executor", "retries")
_SOLVERS: dict[str, type] = {**BY_NAME, "monte_carlo": MonteCarlo}
_MADE = {
    "quadratic": _by_name(QuadraticLandscape, "gradient parameters", hessian="_given", noise="law"),
    "stored": _by_name(StoredLandscape, "path batch_size sha256 shapes features target standardise"),
    "gaussian features": _by_name(
        gaussian_features.GaussianFeatures, "curvatures batch_size optimum", noise="label_noise"
    ),
    "gaussian law": _by_name(noise.GaussianLaw, "local table axes symmetric place"),
    "finite sum": _by_name(finite_sum.FiniteSumLaw, "gradients batch_size hessians features targets"),
    "shared hessian": _by_name(finite_sum.SharedHessianLaw, "gradients batch_size shared"),
    "student": _by_name(student.StudentLaw, "scale degrees_of_freedom batch_size"),
    "features": _by_name(gaussian_features.FeatureLaw, "curvatures label_noise optimum batch_size"),
    "sgd": _by_name(
        sgd.SGD,
        "landscape momentum weight_decay replace nesterov preconditioner temperature",
        learning_rate="learning_rates", batch_size="batches",
    ),
    "values": _by_name(schedules.Schedule, "values"),
    "step": _by_name(schedules.StepSchedule, "initial every factor"),
    "cosine": _by_name(schedules.CosineSchedule, "initial steps final"),
    "warm-up": _by_name(schedules.WarmUp, "steps then"),
    "master": _by_name(equations.MasterEquation, "sgd"),
    "averaged": _by_name(AveragedEquation, "average iterate"),
    "exponential average": _by_name(averages.ExponentialAverage, "sgd decay"),
    "tail average": _by_name(averages.TailAverage, "sgd start"),
    "discrete": _by_name(equations.DiscreteFokkerPlanck, "sgd order"),
    "langevin": _by_name(equations.Langevin, "sgd noise reference per_step"),
    "modified langevin": _by_name(equations.ModifiedLangevin, "sgd matched positive"),
    "gaussian": _by_name(state.Gaussian, "mean covariance"),
    "point": _by_name(state.Point, "theta"),
    "density": _by_name(
        state.Density,
        "grid values outside error parameters warnings above unplaced",
        moments="_moments",
        joint="joint",
    ),
    "state moments": _by_name(state.StateMoments, "mean covariance joint"),
    "grid": _by_name(Grid, "lower upper cells"),
    **{f"solver {name}": _by_name(kind, " ".join(p for p in inspect.signature(kind).parameters if p not in _IDLE))
       for name, kind in _SOLVERS.items()},
}  # fmt: skip
_PLAIN = {type(None), bool, str, int, float}
_KINDS = {made.maker: kind for kind, made in _MADE.items()}


class Recipe(Mapping[str, Any]):
    """The arguments of ``solve`` by value; or, as ``missing``, the part that has no such form.

    They are written down when first looked at, for most solutions are never saved.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._arguments = arguments

    @cached_property
    def entries(self) -> dict[str, Any]:
        """All of it, as tables of JSON."""
        return recorded(self._arguments)

    def __getitem__(self, name: str) -> Any:
        return self.entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __repr__(self) -> str:
        return repr(self.entries)

    def __reduce__(self) -> tuple[type, tuple[dict[str, Any]]]:
        return dict, (self.entries,)


@dataclass
class _Room:
    """Room for entries of arrays: as text, as arrays, and whether arrays are held in any case."""

    text: int
    arrays: int
    whole: bool = False


def recorded(arguments: Mapping[str, Any], whole: Collection[str] = _WHOLE) -> dict[str, Any]:
    """Return the arguments of ``solve`` by value; or, as ``missing``, the part that has no such form.

    Of the arguments named by ``whole``, arrays of any size are held.
    """
    room, found = _Room(_TEXT, _MOST), dict[str, Any]()
    try:
        for name, value in arguments.items():
            room.whole = name in whole
            found |= _entries([(name, value)], room)
        return found
    except _NotHeld as error:
        return {"missing": f"{'.'.join(error.path)}: {error}"}


def _entries(pairs: Iterable[tuple[str, Any]], room: _Room) -> dict[str, Any]:
    """Return what ``pairs`` of names and values are by value; what cannot be written is told by its path."""
    found, name = {}, ""
    try:
        for name, value in pairs:
            found[name] = value if type(value) in _PLAIN else _written(value, room)
    except _NotHeld as error:
        error.path.insert(0, name)
        raise
    return found


def _written(value: Any, room: _Room) -> Any:
    kind = _KINDS.get(type(value))
    if kind is None:
        return _written_otherwise(value, room)
    if kind == "stored":
        own = replace(room, arrays=0, whole=False)
        try:
            found = _written(QuadraticLandscape(value._given, value.gradient, value.law, value.parameters), own)
        except _NotHeld:
            pass
        else:
            room.text = own.text
            return found
    pairs = [(key, getattr(value, at)) for key, at in _MADE[kind].arguments.items()]
    # Names that say nothing are left out, so that earlier versions read what has none.
    pairs = [(key, one) for key, one in pairs if key != "parameters" or (one is not None and told(one))]
    return {"kind": kind} | _entries(pairs, room)


def _written_otherwise(value: Any, room: _Room) -> Any:
    """Return numbers, arrays, lists, schedules and additive laws by value, which have no table of arguments."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, (np.integer, np.floating, np.bool_)):
        return value.item()
    if isinstance(value, np.ndarray):
        return _written_array(value, room)
    if isinstance(value, (list, tuple)):
        return list(_entries(((str(i), one) for i, one in enumerate(value)), room).values())
    if isinstance(value, Origin):
        return _written_origin(value)
    if isinstance(value, functools.partial) or inspect.isfunction(value) or callable(getattr(value, "by_value", None)):
        return _written_function(value, room)
    if isinstance(value, Mapping):
        return {"kind": "table", "entries": _entries(((str(name), one) for name, one in value.items()), room)}
    if callable(getattr(value, "state", None)):  # of a solution that is a start
        return _written(value.state(), room)
    if isinstance(value, schedules.PerStep):
        given = value.given
        return given if type(given) in _PLAIN else _written(given, room)
    if isinstance(value, additive.AdditiveLaw):
        laws = [_written_univariate(one.law, room) for one in value.laws]
        rest = _entries(((key, getattr(value, key)) for key in ("axes", "batch_size")), room)
        return {"kind": "additive", "laws": laws, **rest}
    raise _NotHeld(f"{type(value).__name__} is a function, or of a class that files do not hold")


def _written_origin(value: Origin) -> dict[str, Any]:
    call = None if value.call is None else value.call()
    if call is None:
        raise _NotHeld(f"this {value.name} does not say how it was made")
    if "missing" in call["arguments"]:
        raise _NotHeld(call["arguments"]["missing"])
    return {"kind": "call", **call}


def _written_function(value: Any, room: _Room) -> dict[str, Any]:
    """Return a function of dfp by its name, one with some arguments given, or one that says what it is by value."""
    if callable(getattr(value, "by_value", None)):
        return {"kind": "configured function", "text": value.by_value()}
    inner = value.func if isinstance(value, functools.partial) else value
    name, public = getattr(inner, "__name__", ""), import_module("dfp")
    if name not in SWEPT or getattr(public, name) is not inner:
        told = getattr(inner, "__qualname__", type(inner).__name__)
        raise _NotHeld(f"{told} is a function of your own, which no file holds")
    if inner is value:
        return {"kind": "function", "name": name}
    given = _entries(value.keywords.items(), room)
    return {"kind": "function", "name": name, "given": _written(list(value.args), room), "named": given}


def _written_array(value: Any, room: _Room) -> dict[str, Any]:
    found = {"kind": "array", "type": value.dtype.str, "shape": list(value.shape)}
    if value.size <= room.text:
        room.text -= value.size
        return found | {"values": value.ravel().tolist()}
    room.arrays -= 0 if room.whole else value.size
    if room.arrays < 0 or value.dtype != np.dtype("<f8"):
        raise _NotHeld(f"its arrays have more than {_MOST} entries in all ({_LARGE})")
    return found | {"values": value}


def _written_univariate(law: Any, room: _Room) -> dict[str, Any]:
    from scipy import stats

    family = law.dist.name
    if type(getattr(stats, family, None)) is not type(law.dist):
        raise _NotHeld(f"{family!r} is no distribution of scipy.stats")
    parameters = _entries(law.kwds.items(), room)
    return {"family": family, "args": _written(law.args, room), "parameters": parameters}


def built(recipe: Any, folder: Path = Path()) -> dict[str, Any]:
    """Return the arguments of ``solve`` that ``recorded`` has written; data are sought in ``folder`` as well.

    Raises
    ------
    DFPError
        If the file does not hold the whole problem, or data that it names are not there, or others.
    FileFormatError
        If the recipe is malformed.
    """
    if not isinstance(recipe, Mapping):
        raise FileFormatError("the recipe must be a table; make the file again.")
    if "missing" in recipe:
        raise DFPError(f"the file does not hold the whole problem: {recipe['missing']}; solve it where it was made.")
    try:
        return {str(name): _read(_placed(value, folder)) for name, value in recipe.items()}
    except DataError:
        raise
    except (DFPError, TypeError, ValueError, KeyError, AttributeError, IndexError, OverflowError, RecursionError) as e:
        raise FileFormatError(f"the recipe is malformed ({type(e).__name__}: {e}); make the file again.") from None


def _placed(value: Any, folder: Path) -> Any:
    """Return the entry with data files where they are: at their paths or, under the same names, in ``folder``."""
    if isinstance(value, list):
        return [_placed(one, folder) for one in value]
    if not isinstance(value, Mapping):
        return value
    if value.get("kind") != "stored" or Path(value["path"]).exists():
        return {key: _placed(one, folder) for key, one in value.items()}
    parts = Path(value["path"]).parts
    near = [folder.joinpath(*parts[first:]) for first in range(len(parts))]
    return {**value, "path": str(next((place for place in near if place.exists()), value["path"]))}


def _read(value: Any) -> Any:
    if isinstance(value, list):
        return [_read(one) for one in value]
    if not isinstance(value, dict):
        return value
    kind, given = value["kind"], {key: one for key, one in value.items() if key != "kind"}
    if kind == "array":
        return _array(**given)
    if kind == "table":
        return {name: _read(one) for name, one in given["entries"].items()}
    if kind == "additive":
        laws = [additive._univariate(f"laws[{i}]", _univariate(**one)) for i, one in enumerate(given["laws"])]
        axes = _read(given["axes"])
        if not isinstance(axes, np.ndarray) or axes.shape != (len(laws), len(laws)):
            raise ValueError("axes and laws disagree")
        return additive.AdditiveLaw(tuple(laws), axes, int(given["batch_size"]))
    made = _MADE[kind]
    # Options that a class has gained since have their defaults.
    if set(given) - set(made.arguments):
        raise ValueError(f"{kind} has the entries {sorted(given)}")
    arguments = {key: _read(one) for key, one in given.items() if (kind, key) != ("stored", "shapes")}
    if kind == "state moments":
        return state.StateMoments(arguments["mean"], arguments["covariance"], _joint(arguments["joint"]))
    if kind != "density":
        result = made.maker(**arguments)
        if isinstance(result, QuadraticLandscape) and result.dimension <= 64:
            _check_law(result.law, result.dimension)
        return result
    (mass, mean, covariance), joint = arguments.pop("moments"), _joint(arguments.pop("joint", None))
    density = state.Density(**arguments)
    return density if mass != density.mass else density.with_moments(mean, covariance, joint)


def _joint(given: list[Any] | None) -> state.Joint | None:
    """Return the moments of (θ, v)."""
    if given is None:
        return None
    mean, covariance = given
    if covariance.shape != (mean.size, mean.size):
        raise ValueError("moments of (θ, v) disagree")
    return state.Joint(mean, covariance)


def _check_law(law: noise.NoiseLaw, d: int) -> None:
    """Refuse a law whose arrays disagree with the landscape, before a solver meets them."""
    square = np.eye(d)
    if law.constant.shape != (d, d) or law.quadratic(square).shape != (d, d) or law.cross(square[0]).shape != (d, d):
        raise ValueError(f"the noise law is not one of {d} parameters")


def _array(shape: list[int], values: Any, type: str = "<f8") -> Any:
    if isinstance(values, np.ndarray):
        return values.reshape(shape)
    if type not in ("<f8", "<i8", "|b1") or not isinstance(values, list) or len(values) > _TEXT:
        raise ValueError("an array has another type or too many entries")
    if not all(isinstance(one, (int, float)) for one in values):
        raise ValueError("an array has entries that are no numbers")
    return np.array(values, dtype=type).reshape([int(n) for n in shape if n >= 0])


def _univariate(family: str, args: list[Any], parameters: dict[str, Any]) -> Any:
    from scipy import stats

    found = getattr(stats, family)
    if not isinstance(found, (stats.rv_continuous, stats.rv_discrete)):
        raise ValueError(f"{family!r} is no distribution")
    return found(*_read(args), **{key: _read(one) for key, one in parameters.items()})
