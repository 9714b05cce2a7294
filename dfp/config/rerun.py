"""A problem solved again from the file of its solution."""

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

import dfp
from dfp import checks
from dfp.config.config import Config, explained
from dfp.config.sweeps import Member
from dfp.errors import DFPError, FileFormatError
from dfp.regimes.mode import Mode
from dfp.regimes.mode_report import Modes
from dfp.result import Result
from dfp.results import kinds
from dfp.results.files import load_any as load
from dfp.results.keeper import Keeper
from dfp.results.schema import versions
from dfp.results.solution import Solution
from dfp.solving.driver import solve
from dfp.solving.recipe import SWEPT, built
from dfp.solving.running import Progress

# Functions whose results know the call that made them.
_CALLS = (
    "stationary", "moments", "stationary_moments", "exit_steps", "spectrum", "loss_law", "risk_curve",
    "optimal_schedule", "phase_diagram", "escape", "best_decay", "probability_current", "compare", "sweep",
)  # fmt: skip
_ARGUMENTS = {"equation", "initial", "steps", "save", "solver", "grid", "tolerance", "directions"}
# What arrays and numbers of odd kinds end in.
_PLAIN = (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, AssertionError, RecursionError)


def rerun(path: str | Path, *, progress: Progress | None = None, checkpoint: str | Path | Keeper | None = None) -> Any:
    """Make the result of a file again, such as by ``Solution.save``: the same bits on the same platform and versions.

    Parameters
    ----------
    path
        File of one solution or several, also of the command line before files held problems by value; or of a result of
        ``stationary``, ``moments``, ``exit_steps``, ``spectrum``, ``modes``, ``phase_diagram`` and other functions; of
        ``compare``, whose sides are made again; of ``sweep`` of a file, or of a function of dfp, but no other.
    progress
        Called with work done and work in all.
    checkpoint
        HDF5 file from which an interrupted rerun goes on, as of ``dfp.solve`` or the function that made the result; of
        functions without one it is left alone.

    Returns
    -------
    Solution, or several by name, or a result of the other kind
        Of a solution: where versions or the picked solver differ from the file's, ``provenance["rerun"]`` says so, and
        where bits do, how far it is from the file.

    Raises
    ------
    DFPError
        If the file does not hold the whole problem, such as a landscape of functions: it says which part is missing,
        and of networks what to call instead;
        or if data that it names by path and digest are not there, or have changed.
    FileFormatError
        If the file, or its record of the problem, is malformed.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.2)
    >>> solution = dfp.solve(dfp.MasterEquation(sgd), dfp.Gaussian(1.0, 0.1), steps=10)
    >>> solution.save("run.h5")
    >>> print(bool((dfp.rerun("run.h5").density == solution.density).all()))
    True
    """
    before = load(path)
    if isinstance(before, dict):
        if checkpoint is not None:
            raise DFPError(f"checkpoint: {path} holds {len(before)} solutions, and one can go on; leave it out.")
        return {name: _solved(one, path, progress, None) for name, one in before.items()}
    if isinstance(before, Solution):
        return _solved(before, path, progress, checkpoint)
    # Modes are read by computing them.
    return before if isinstance(before, Modes | Mode) else _called(before, Path(path), checkpoint)


def _solved(
    before: Solution, path: str | Path, progress: Progress | None, checkpoint: str | Path | Keeper | None
) -> Solution:
    """Return the solution of the problem of one that is in the file ``path``."""
    recipe, configuration = (before.provenance.get(name) for name in ("recipe", "configuration"))
    if recipe is None and configuration is None:
        raise DFPError(f"{path}: does not hold its problem: an older dfp made it; solve it where it was made.")
    by_value, run = isinstance(recipe, Mapping) and "missing" not in recipe, Path(path)
    with _blamed(path):
        given = _configured(configuration, run) if configuration and not by_value else built(recipe, run.parent)
    if set(given) != _ARGUMENTS:
        raise FileFormatError(f"{path}: the recipe has other entries than dfp.solve takes; make the file again.")
    with _altered(path):
        again = solve(**given | {"progress": progress, "checkpoint": checkpoint})
    if before.parameters != again.parameters and set(before.parameters) <= set(again.parameters):  # a marginal
        again = again.marginal([again.parameters.index(name) for name in before.parameters])
        if checkpoint is not None:  # which holds the whole
            again.save(checkpoint.path if isinstance(checkpoint, Keeper) else checkpoint)
    kept = {key: before.provenance[key] for key in ("configuration",) if key in before.provenance}
    return replace(again, provenance=again.provenance | kept | {"rerun": _differences(before, again)})


def _called(before: Any, path: Path, checkpoint: str | Path | Keeper | None) -> Any:
    """Return what the call gives that made the result in the file ``path``."""
    call = before._call() if isinstance(before, Result) else None
    if call is not None:
        with _blamed(path), _altered(path):
            return _made(call, path, checkpoint)
    made_there = getattr(before, "_by_hand", None)
    if made_there is not None:
        raise DFPError(f"{path}: holds a {type(before).__name__}, {made_there}")
    raise DFPError(
        f"{path}: holds a {type(before).__name__}, and not how it was made; rerun takes files of dfp.solve and of "
        f"what {', '.join(_CALLS)} return."
    )


def _made(call: Mapping[str, Any], path: Path, checkpoint: str | Path | Keeper | None = None) -> Any:
    """Return what a call by value gives, or the part of it that is asked for."""
    name, part = call.get("function"), call.get("part")
    if name not in (*_CALLS, "solve"):
        raise FileFormatError("the recipe names a function that makes no result; make the file again.")
    given = built(_with_results(call.get("arguments"), path), path.parent)
    if set(given) != {"solve": _ARGUMENTS, "sweep": {"function", "axes"}}.get(name, set(given)):
        raise FileFormatError(f"the recipe has other entries than dfp.{name} takes; make the file again.")
    if "checkpoint" in given:
        raise FileFormatError("the recipe names a checkpoint, which no file does; make the file again.")
    function = getattr(dfp, name)
    if checkpoint is not None and part is None and "checkpoint" in signature(function).parameters:
        given["checkpoint"] = checkpoint
    found = function(**given, **({"quiet": True} if name == "sweep" else {}))
    if part is None:
        return found
    if part not in found._parts or getattr(found, part) is None:
        raise FileFormatError(
            f"the recipe asks for a part {checks.shown(part)} that is not there; make the file again."
        )
    return getattr(found, part)


def _with_results(value: Any, path: Path) -> Any:
    """Return arguments by value with the results and functions of dfp among them in place of how these are made."""
    if isinstance(value, list):
        return [_with_results(one, path) for one in value]
    if not isinstance(value, Mapping):
        return value
    kind = value.get("kind")
    if kind == "call":
        return _made(value, path)
    if kind == "configured function":
        return Member.of(value["text"], path)
    if kind == "function":
        if value["name"] not in SWEPT:
            raise FileFormatError("the recipe names what is no function of dfp; make the file again.")
        named = built(value.get("named", {}), path.parent)
        return functools.partial(getattr(dfp, value["name"]), *built({"": value.get("given", [])})[""], **named)
    return {key: _with_results(one, path) for key, one in value.items()}


@contextmanager
def _blamed(path: str | Path) -> Iterator[None]:
    """Name the file in errors."""
    try:
        yield
    except FileFormatError as error:
        raise FileFormatError(f"{path}: {error}") from None
    except DFPError as error:
        raise DFPError(f"{path}: {error}") from None


@contextmanager
def _altered(path: str | Path) -> Iterator[None]:
    """Say that a record was altered, which may hold what no constructor would have let pass."""
    try:
        yield
    except DFPError:
        raise
    except _PLAIN as error:
        raise FileFormatError(
            f"{path}: the recipe is malformed ({type(error).__name__}: {error}); make the file again."
        ) from error


def _configured(configuration: object, path: Path) -> dict[str, Any]:
    """Return the arguments of ``solve`` by the configuration of a command; data files are sought beside ``path``.

    Raises
    ------
    DFPError
        If a data file is not there, or the problem cannot be built.
    FileFormatError
        If it is no configuration.
    """
    try:
        config = Config.model_validate(configuration)
    except ValidationError as error:
        told = "; ".join(explained(item) for item in error.errors())
        raise FileFormatError(f"the configuration is malformed ({told}); make the file again.") from None
    config._source = path
    problem = config.build()
    (task,) = problem.tasks
    return {
        "equation": task.equation, "initial": problem.initial, "steps": task.steps, "save": task.save,
        "solver": task.solver, "grid": problem.grid, "tolerance": task.tolerance, "directions": problem.directions,
    }  # fmt: skip


def _differences(before: Solution, again: Solution) -> list[str]:
    """Return in words why bits may differ."""
    found, old = [], before.provenance.get("versions")
    for name, now in versions().items():
        was = old.get(name) if isinstance(old, dict) else None
        if was != now:
            found.append(f"made with {name} {was}, rerun with {now}: last bits may differ")
    if before.solver != again.solver:
        found.append(f"made by {before.solver}, rerun by {again.solver}: give the solver by name to keep it")
    if same_bits(before, again):
        return found
    if not found:
        found.append("other bits than in the file, by the same versions: another platform or processor")
    return [*found, _distance(before, again)]


def _distance(before: Solution, again: Solution) -> str:
    """Return in words how far two solutions are from each other, at the step where they are farthest."""
    if before.steps.tolist() != again.steps.tolist() or before.mean.shape != again.mean.shape:
        return "other steps or parameters than in the file"
    with np.errstate(invalid="ignore"):  # moments of heavy tails are infinite, or not known
        scale = np.sqrt(np.maximum(np.einsum("sii->si", before.covariance), checks.TINY))
        mean = (again.mean - before.mean) / scale
        covariance = (again.covariance - before.covariance) / (scale[:, :, None] * scale[:, None, :])
    most, more = (float(np.nan_to_num(np.abs(part), posinf=np.inf).max()) for part in (mean, covariance))
    found = f"from the file, means are at most {most:.1e} standard deviations, covariances {more:.1e}"
    if before.grid is None or again.grid is None or before.density is None or again.density is None:
        return f"{found} of the variances away"
    if not before.grid.matches(again.grid):
        return f"{found} of the variances away; densities are on another grid"
    l1 = np.abs(again.density - before.density).sum(axis=tuple(range(1, again.density.ndim))) * again.grid.cell_volume
    return f"{found} of the variances, densities {l1.max():.1e} in L1 away"


def same_bits(before: Any, after: Any) -> bool:
    """Return whether mean, covariance and density of solutions, or all variables of others, have the same bits."""
    if isinstance(before, dict):
        return before.keys() == after.keys() and all(same_bits(one, after[name]) for name, one in before.items())
    if not isinstance(before, Solution):
        tables = [kinds.columns(one) for one in (before, after)]
        first, second = ({name: one.values.tobytes() for name, one in table.items()} for table in tables)
        return first == second
    pairs = [(getattr(before, name), getattr(after, name)) for name in ("steps", "mean", "covariance", "density")]
    return all((a is None and b is None) or (a is not None and b is not None and a.tobytes() == b.tobytes())
               for a, b in pairs)  # fmt: skip
