"""A problem solved again from the file of its solution."""

from dataclasses import replace
from pathlib import Path

from dfp.errors import DFPError, FileFormatError
from dfp.results.files import load
from dfp.results.schema import versions
from dfp.results.solution import Solution
from dfp.solving.driver import Progress, solve
from dfp.solving.recipe import built

_ARGUMENTS = {"equation", "initial", "steps", "save", "solver", "grid", "tolerance", "directions"}
# What arrays and numbers of odd kinds end in.
_PLAIN = (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, AssertionError, RecursionError)


def rerun(path: str | Path, *, progress: Progress | None = None) -> Solution:
    """Solve the problem of a file of ``Solution.save`` again: the same bits on the same platform and versions.

    Parameters
    ----------
    path
        File of one solution.
    progress
        Called with work done and work in all.

    Returns
    -------
    Solution
        Where versions or the picked solver differ from the file's, ``provenance["rerun"]`` says so.

    Raises
    ------
    DFPError
        If the file does not hold the whole problem, such as a landscape of functions: it says which part is missing.
    FileFormatError
        If the file, or its record of the problem, is malformed.
    """
    before = load(path)
    if not isinstance(before, Solution):
        raise DFPError(f"{path}: holds a {type(before).__name__} and no solution; rerun takes files of dfp.solve.")
    if "recipe" not in before.provenance:
        if "configuration" in before.provenance:
            raise DFPError(f"{path}: was made before files held problems by value; use dfp solve on its configuration.")
        raise DFPError(f"{path}: does not hold its problem: an older dfp made it; solve it where it was made.")
    try:
        given = built(before.provenance["recipe"])
    except FileFormatError as error:
        raise FileFormatError(f"{path}: {error}") from None
    except DFPError as error:
        raise DFPError(f"{path}: {error}") from None
    if set(given) != _ARGUMENTS:
        raise FileFormatError(f"{path}: the recipe has other entries than dfp.solve takes; make the file again.")
    try:
        again = solve(**given, progress=progress)
    except DFPError:
        raise
    except _PLAIN as error:  # a record that was altered may hold what no constructor would have let pass
        raise FileFormatError(
            f"{path}: the recipe is malformed ({type(error).__name__}: {error}); make the file again."
        ) from error
    kept = {key: before.provenance[key] for key in ("configuration",) if key in before.provenance}
    return replace(again, provenance=again.provenance | kept | {"rerun": _differences(before, again)})


def _differences(before: Solution, again: Solution) -> list[str]:
    """Return in words why bits may differ."""
    found, old = [], before.provenance.get("versions")
    for name, now in versions().items():
        was = old.get(name) if isinstance(old, dict) else None
        if was != now:
            found.append(f"made with {name} {was}, rerun with {now}: last bits may differ")
    if before.solver != again.solver:
        found.append(f"made by {before.solver}, rerun by {again.solver}: give the solver by name to keep it")
    return found
