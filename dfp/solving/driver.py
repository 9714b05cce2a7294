"""The driver: what is asked, checked, and the solvers for it in turn; ``running`` has what is done with one."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfp import checks
from dfp.checks import foretell
from dfp.errors import DFPError, SeriesError, UnresolvedError, UnsupportedError
from dfp.exact.stability import growing, overshooting
from dfp.methods.patience import FRAME, TooLong
from dfp.methods.solver import Problem, Solver
from dfp.problem.arguments import check_problem, counted, refuse_ladder, summary
from dfp.problem.averaged_equation import AveragedEquation, refuse
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid
from dfp.problem.parameters import directions as named_along
from dfp.problem.state import State, started
from dfp.results.certificate import ROUNDING
from dfp.results.keeper import unkept
from dfp.results.solution import Solution
from dfp.solving.along import Draws, columns, projected
from dfp.solving.assembly import without_moments
from dfp.solving.averaged import averaged, closed
from dfp.solving.checkpoints import Checkpoint
from dfp.solving.choice import BY_NAME, drawn_by, pick, pick_of_average, without_density
from dfp.solving.invariant import alone
from dfp.solving.recipe import Recipe
from dfp.solving.refinement import to_tolerance
from dfp.solving.running import Progress, Way, named, solve_with

# Seconds of a forecast, by operation counts, at which "auto" leaves a method for another.
_PATIENCE = 120.0


def solve(
    equation: Equation | AveragedEquation,
    initial: State | Solution,
    steps: int,
    save: Sequence[int] | None = None,
    solver: Solver | str = "auto",
    grid: Grid | int | None = None,
    *,
    tolerance: float | None = None,
    progress: Progress | None = None,
    directions: ArrayLike | None = None,
    checkpoint: str | Path | Checkpoint | None = None,
) -> Solution:
    """Return densities and moments of ``equation`` from ``initial`` at the saved steps.

    Parameters
    ----------
    equation
        What to solve.
    initial
        State at step 0: ``Gaussian``, ``Point`` or ``Density``; or a ``Solution``, to go on from its last step.
    steps
        Last step, >= 0.
    save
        Steps to return, increasing, in 0 … ``steps``; step 0 and the last if left out (only the last from a point).
    solver
        A solver, its name in configuration files such as ``"fourier"`` (with its defaults), or ``"auto"``: the solution
        says which one was picked and why.
    grid
        Where densities are returned; chosen from the exact moments if left out. An integer chooses the box alike, with
        so many cells per axis.
    tolerance
        Largest certified L1 error of the densities, in (0, 1): grids are refined until ``certificate.error`` is below
        it at every saved step. A ``grid`` that is given is kept.
    progress
        Called with work done and work in all.
    directions
        U, shape (d, k), k <= 3: the densities are those of Uᵀθ, for any d; see ``solution.directions``. Closed for
        additive noise; modes that move by themselves are solved as such, by any solver, (T5) among them; otherwise
        smooth averages of the last step's kernel over sampled trajectories (T4), 20 000 unless ``solver`` is a
        ``MonteCarlo(trajectories, seed)``.
    checkpoint
        HDF5 file that holds the saved steps so far as a solution, written every few seconds. A run that finds it goes
        on from there, to the bits of an uninterrupted one; the finished solution takes its place, and is returned if it
        is there. Ctrl-C leaves it.

    Returns
    -------
    Solution
        With a certificate; look at ``solution.certificate.warnings``.

    Raises
    ------
    UnsupportedError
        If the solver cannot solve this equation, noise law or dimension.
    UnresolvedError, SeriesError
        If no affordable grid resolves the density, a series does not converge, or the tolerance cannot be held.
    DFPError
        If an argument is malformed, or a frame has entries that are not finite.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.2)
    >>> solution = dfp.solve(dfp.MasterEquation(sgd), dfp.Gaussian(1.0, 0.1), steps=10, save=[0, 5, 10])
    >>> print(solution.solver, solution.mean.ravel().round(3), solution.certificate.ok)
    Fourier [1.    0.328 0.107] True
    """
    initial = started(initial)
    if progress is not None and not callable(progress):
        raise DFPError(
            f"progress={checks.shown(progress)}: must be a function of work done and work in all; give "
            "progress=lambda done, total: print(done, total)."
        )
    held = getattr(initial, "bulk", initial)  # a State, or refused below
    keeper = checkpoint if checkpoint is None or isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)
    way = Way(_known_solver(solver), counted(grid), tolerance, progress, directions, keeper)
    given: dict[str, Any] = {
        "equation": equation, "initial": initial, "steps": steps, "save": list(save) if np.iterable(save) else save,
        "solver": solver, "grid": way.grid, "tolerance": tolerance,
        "directions": None if directions is None else np.array(directions, float),
    }  # fmt: skip

    process = equation.iterate if isinstance(equation, AveragedEquation) else equation

    def solved(problem: Problem | None) -> Solution:
        found = _solution(equation, held, steps, save, way, problem)
        if held is not initial:
            found = without_moments(found, initial, process.sgd)
        found.provenance["recipe"] = Recipe(given)
        return found

    if keeper is None:
        with unkept() if getattr(solver, "checkpoint", None) is None else nullcontext():  # a sampler's own keeps sums
            return solved(None)
    problem = _problem(equation, held, steps, save)
    with keeper.held(problem, given) as finished:
        return keeper.finish(solved(problem)) if finished is None else finished


def _problem(equation: Equation | AveragedEquation, initial: State, steps: int, save: Sequence[int] | None) -> Problem:
    """Return the problem that a checkpoint is of: of an average that of the iterate."""
    process = equation.iterate if isinstance(equation, AveragedEquation) else equation
    check_problem(process, initial, None, moments=True, moving=True, average=process is not equation)
    return Problem.of(process, initial, _saved_steps(initial, steps, save))


def _solution(
    equation: Equation | AveragedEquation,
    initial: State,
    steps: int,
    save: Sequence[int] | None,
    way: Way,
    known: Problem | None = None,
) -> Solution:
    # solvers say what they do not solve
    process = equation.iterate if isinstance(equation, AveragedEquation) else equation
    on = None if way.directions is not None or isinstance(way.grid, int) else way.grid
    alone = process is equation and way.directions is None
    check_problem(process, initial, on, moments=True, moving=alone, average=process is not equation)
    refuse_ladder(process)
    saved = _saved_steps(initial, steps, save)
    if isinstance(equation, AveragedEquation):
        if way.tolerance is not None:
            refuse()
        return _averaged(equation, initial, saved, way)
    if way.tolerance is not None and checks.real("tolerance", way.tolerance, above=0, below=1) <= ROUNDING:
        raise UnresolvedError(
            f"tolerance={way.tolerance:g}: rounding alone adds {ROUNDING:g} to a certified error; raise it, e.g. to "
            "1e-12."
        )
    if way.progress is None:
        foretell(f"save: {saved.size} steps", 1e-9 * FRAME * saved.size)
    if way.directions is not None:
        return _along(equation, initial, saved, way)
    return _by_solvers(Problem.of(equation, initial, saved) if known is None else known, way)


def _saved_steps(initial: State, steps: int, save: Sequence[int] | None) -> NDArray[np.int64]:
    last = checks.last_step(steps)
    if save is None:
        save = [last] if initial.point else sorted({0, last})
    elif not np.iterable(save):
        raise DFPError(f"save={checks.shown(save)}: must be a list of steps; give save=[{checks.shown(save)}].")
    return checks.step_list("save", save, last)


def _known_solver(solver: Solver | str) -> Solver | str:
    """Return a solver by its name, or ``"auto"`` as it is."""
    if isinstance(solver, str) and solver in BY_NAME:
        return BY_NAME[solver]()
    if solver != "auto":
        names = ", ".join(map(repr, BY_NAME))
        checks.instance(
            "solver", solver, Solver, f"must be 'auto' or a solver, or one of {names}; give e.g. dfp.Fourier()."
        )
    return solver


def _with_cells(method: Callable[[Grid | None], Solution], grid: Grid | int | None) -> Solution:
    """Return what ``method`` gives on ``grid``: on its own box, where only the number of cells is given."""
    if isinstance(grid, int):
        found = method(None).grid
        grid = None if found is None else found.resized(grid)
    return method(grid)


def _along(equation: Equation, initial: State, saved: NDArray[np.int64], way: Way) -> Solution:
    """Return the densities along directions: by any solver where they move by themselves, else by their own method."""
    assert way.directions is not None
    asked = drawn_by(way.solver)
    u = columns(way.directions, equation.dimension)
    closed_here, left_open = (
        equation.additive and not equation.truncated,
        way.solver == "auto" and way.tolerance is None,
    )
    own = None if closed_here and left_open else alone(equation, initial, u)
    if own is not None:
        last = int(saved[-1])
        found = _solution(*own, last, saved.tolist(), way._replace(directions=None))
        reason = f"these directions move by themselves: {found.reason}"
        record = equation.record(last) | {"directions": u.tolist()}
        return replace(found, reason=reason, provenance=found.provenance | record, parameters=named_along(u.shape[1]))
    sampled = way.solver == "auto" or (asked is not None and not closed_here)
    if not sampled or way.tolerance is not None:
        raise UnsupportedError(
            "directions: they have a method of their own unless they move by themselves (modes with Gaussian noise "
            "that no other shakes); leave solver and tolerance out, or give dfp.MonteCarlo(trajectories, seed) where "
            "they are sampled."
        )
    return _with_cells(
        partial(projected, equation, initial, saved, way.directions, way.keeper, Draws(*asked or ())), way.grid
    )


def _averaged(equation: AveragedEquation, initial: State, saved: NDArray[np.int64], way: Way) -> Solution:
    """Return the density of an average: closed, or of sampled trajectories that carry it beside θ."""
    if way.solver == "auto" and (closed(equation) or way.directions is not None):
        return _with_cells(partial(averaged, equation, initial, saved, way.directions), way.grid)
    solver, reason = (way.solver, "asked for") if isinstance(way.solver, Solver) else pick_of_average()
    if not solver.averages or way.directions is not None:
        refuse()
    found = solve_with(solver, reason, Problem.averaged(equation, initial, saved), way.grid, way, [])
    return replace(found, equation=equation.label, provenance=found.provenance | equation.record(int(saved[-1])))


def _by_solvers(problem: Problem, way: Way) -> Solution:
    """Return what the first solver finds that can: the one asked for, or those picked for the problem, in turn."""
    equation, asked = problem.equation, way.solver if isinstance(way.solver, Solver) else None
    attempts = pick(problem) if asked is None else [(asked, "asked for")]
    if way.grid is not None and len(attempts) > 1:
        attempts = [attempt for attempt in attempts if attempt[0].gridded]
    # Other ways may be quicker; whoever asks for one, or watches it, may wait.
    limit = np.inf if asked is not None or way.progress is not None else _PATIENCE
    unstable = overshooting(equation, problem.last)
    failures: list[UnresolvedError | SeriesError] = []
    for candidate, reason in attempts:
        notes = [f"{unstable}."] if unstable else []
        if asked is None and not candidate.gridded and equation.dimension <= 3:
            notes.append(_no_density(problem, reason, failures))

        def attempt(variant: Solver, on: Grid | int | None, reason: str = reason, notes: list[str] = notes) -> Solution:
            return solve_with(variant, reason, problem, on, way, notes, limit)

        try:
            if way.tolerance is None:
                return attempt(candidate, way.grid)
            return to_tolerance(attempt, candidate, way.grid, way.tolerance)
        except (SeriesError, UnresolvedError) as failure:
            failures.append(failure)
        except UnsupportedError:
            if not failures:
                raise
    if isinstance(failures[-1], TooLong) and equation.sgd.affine and way.grid is None and way.tolerance is None:
        note = _no_density(problem, "densities take long", failures)
        return solve_with(without_density(), note, problem, None, way, [note])
    raise named(failures[-1], growing(equation, problem.last))


def _no_density(problem: Problem, reason: str, failures: list[UnresolvedError | SeriesError]) -> str:
    equation = problem.equation
    because = f" ({failures[-1]})" if failures else ""
    other = ", or use dfp.MasterEquation(sgd), which it approximates" if equation.truncated else ""
    remedy = f"lower learning_rate{other}"
    if summary(equation, problem.initial):
        remedy = "solve in one go, with save=[...]"
    elif not failures:
        remedy = "start from a dfp.Gaussian" if problem.initial.point else "use dfp.MasterEquation(sgd)"
    elif reason == "densities take long":
        remedy = "wait for it with progress=..."
    return f"no density of the {equation.label} is given, only moments: {reason}{because}; {remedy}."
