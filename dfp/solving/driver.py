"""The driver: pick a solver and a grid, march or draw, check every frame, and sign the result with a certificate."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfp import checks
from dfp.checks import Array, every, foretell, require_memory
from dfp.errors import DFPError, SeriesError, UnresolvedError, UnsupportedError
from dfp.exact.stability import growing, overshooting
from dfp.methods.patience import FRAME, MOVE, Patience, TooLong
from dfp.methods.pilot import unknown
from dfp.methods.solver import Problem, Run, SamplingRun, Solver, saved_gaps
from dfp.problem.arguments import check_problem, counted, refuse_ladder
from dfp.problem.averaged_equation import AveragedEquation, refuse
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid
from dfp.problem.state import State
from dfp.results.certificate import ROUNDING, advice, certify
from dfp.results.frame import Frame
from dfp.results.schema import versions
from dfp.results.solution import Solution
from dfp.solving.along import columns, projected
from dfp.solving.averaged import averaged, closed
from dfp.solving.checkpoints import Checkpoint
from dfp.solving.choice import BY_NAME, pick, pick_of_average, without_density
from dfp.solving.invariant import alone
from dfp.solving.recipe import recorded
from dfp.solving.refinement import to_tolerance

# Width of a box, relative to its place, that is rounding.
_NARROWEST = 64 * float(np.finfo(np.float64).eps)

# Seconds of a forecast, by operation counts, at which "auto" leaves a method for another.
_PATIENCE = 120.0

Progress = Callable[[int, int], None]
"""Called with work done and work in all."""


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
        smooth averages of the last step's kernel over 20 000 sampled trajectories (T4), from step 1.
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
    if isinstance(initial, Solution):
        initial = initial.state()
    keeper = checkpoint if checkpoint is None or isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)
    way = _Way(solver, counted(grid), tolerance, progress, directions, keeper)
    given = {
        "equation": equation, "initial": initial, "steps": steps, "save": None if save is None else list(save),
        "solver": solver, "grid": way.grid, "tolerance": tolerance,
        "directions": None if directions is None else np.asarray(directions, float),
    }  # fmt: skip

    def solved(problem: Problem | None) -> Solution:
        found = _solution(equation, initial, steps, save, way, problem)
        found.provenance["recipe"] = recorded(**given)
        return found

    if keeper is None:
        return solved(None)
    problem = _problem(equation, initial, steps, save)
    with keeper.held(problem, given) as finished:
        return keeper.finish(solved(problem)) if finished is None else finished


class _Way(NamedTuple):
    """How a problem is to be solved: arguments of ``solve``."""

    solver: Solver | str
    grid: Grid | int | None
    tolerance: float | None
    progress: Progress | None
    directions: ArrayLike | None
    keeper: Checkpoint | None


def _problem(equation: Equation | AveragedEquation, initial: State, steps: int, save: Sequence[int] | None) -> Problem:
    """Return the problem that a checkpoint is of: of an average that of the iterate."""
    process = equation.iterate if isinstance(equation, AveragedEquation) else equation
    check_problem(process, initial, None, moments=True)
    return Problem.of(process, initial, _saved_steps(initial, steps, save))


def _solution(
    equation: Equation | AveragedEquation,
    initial: State,
    steps: int,
    save: Sequence[int] | None,
    way: _Way,
    known: Problem | None = None,
) -> Solution:
    # solvers say what they do not solve
    process = equation.iterate if isinstance(equation, AveragedEquation) else equation
    on = None if way.directions is not None or isinstance(way.grid, int) else way.grid
    check_problem(process, initial, on, moments=True)
    refuse_ladder(process)
    saved = _saved_steps(initial, steps, save)
    if isinstance(equation, AveragedEquation):
        if way.tolerance is not None:
            refuse()
        return _averaged(equation, initial, saved, way._replace(solver=_known_solver(way.solver)))
    way = way._replace(solver=_known_solver(way.solver))
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
    last = checks.integer("steps", steps)
    default = [last] if initial.point else sorted({0, last})
    return checks.step_list("save", default if save is None else save, last)


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


def _along(equation: Equation, initial: State, saved: NDArray[np.int64], way: _Way) -> Solution:
    """Return the densities along directions: by any solver where they move by themselves, else by their own method."""
    assert way.directions is not None
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
        return replace(found, reason=reason, provenance=found.provenance | record)
    if not left_open:
        raise UnsupportedError(
            "directions: they have a method of their own unless they move by themselves (modes with Gaussian noise "
            "that no other shakes); leave solver and tolerance out."
        )
    return _with_cells(partial(projected, equation, initial, saved, way.directions), way.grid)


def _averaged(equation: AveragedEquation, initial: State, saved: NDArray[np.int64], way: _Way) -> Solution:
    """Return the density of an average: closed, or of sampled trajectories that carry it beside θ."""
    if way.solver == "auto" and (closed(equation) or way.directions is not None):
        return _with_cells(partial(averaged, equation, initial, saved, way.directions), way.grid)
    solver, reason = (way.solver, "asked for") if isinstance(way.solver, Solver) else pick_of_average()
    if not solver.averages or way.directions is not None:
        refuse()
    found = _solve_with(solver, reason, Problem.averaged(equation, initial, saved), way.grid, way, [])
    return replace(found, equation=equation.label, provenance=found.provenance | equation.record(int(saved[-1])))


def _by_solvers(problem: Problem, way: _Way) -> Solution:
    """Return what the first solver finds that can: the one asked for, or those picked for the problem, in turn."""
    equation, asked = problem.equation, isinstance(way.solver, Solver)
    attempts = [(way.solver, "asked for")] if isinstance(way.solver, Solver) else pick(problem)
    if way.grid is not None and len(attempts) > 1:
        attempts = [attempt for attempt in attempts if attempt[0].gridded]
    # Other ways may be quicker; whoever asks for one, or watches it, may wait.
    limit = np.inf if asked or way.progress is not None else _PATIENCE
    unstable, failures = overshooting(equation, problem.last), list[UnresolvedError | SeriesError]()
    for candidate, reason in attempts:
        notes = [f"{unstable}."] if unstable else []
        if not asked and not candidate.gridded and equation.dimension <= 3:
            notes.append(_no_density(equation, reason, failures))

        def attempt(variant: Solver, on: Grid | int | None, reason: str = reason, notes: list[str] = notes) -> Solution:
            return _solve_with(variant, reason, problem, on, way, notes, limit)

        try:
            if way.tolerance is None:
                return attempt(candidate, way.grid)
            return to_tolerance(attempt, candidate, way.grid, way.tolerance)
        except (SeriesError, UnresolvedError) as failure:
            failures.append(failure)
        except UnsupportedError:
            if not failures:
                raise
    if isinstance(failures[-1], TooLong) and way.grid is None and way.tolerance is None:
        note = _no_density(equation, "densities take long", failures)
        return _solve_with(without_density(), note, problem, None, way, [note])
    raise _named(failures[-1], growing(equation, problem.last))


def _named(failure: DFPError, unstable: str) -> DFPError:
    """Return a failure of an unstable problem, with the instability named before its consequences."""
    return type(failure)(f"{unstable}. Here: {failure}") if unstable else failure


def _no_density(equation: Equation, reason: str, failures: list[UnresolvedError | SeriesError]) -> str:
    because = f" ({failures[-1]})" if failures else ""
    other = ", or use dfp.MasterEquation(sgd), which it approximates" if equation.truncated else ""
    remedy = "wait for it with progress=..." if reason == "densities take long" else f"lower learning_rate{other}"
    return f"no density of the {equation.label} is given, only moments: {reason}{because}; {remedy}."


def _solve_with(
    solver: Solver,
    reason: str,
    problem: Problem,
    grid: Grid | int | None,
    way: _Way,
    known_notes: list[str],
    limit: float = np.inf,
) -> Solution:
    equation, sgd, began = problem.equation, problem.equation.sgd, time.perf_counter()
    solver.require(equation, problem.initial)
    if grid is not None and not solver.gridded:
        raise UnsupportedError(f"grid: {solver.name} has no density; leave grid out or choose another solver.")
    notes = [*known_notes, *problem.moments.warnings]
    if problem.failure is not None and sgd.affine:
        if solver.needs_moments(equation):
            raise _named(problem.failure, growing(equation, problem.last))
        notes.append(f"moments are not checked, mean_error and covariance_error are NaN ({problem.failure})")
    if not isinstance(grid, Grid) and solver.gridded and problem.exact:
        _check_width(problem)
    run = _started(solver, problem, grid)
    grid = run.grid
    _check_room(problem, grid)
    patience = Patience(f"{solver.name} for the {equation.label}", limit, way.progress is None)
    sampled = isinstance(run, SamplingRun)
    known = ("mean", "covariance", "density") if problem.exact else ("density",)
    remedies = advice(
        given=way.grid is not None,
        sampled=sampled,
        certified=solver.certified and solver.gridded,
        truncated=equation.truncated,
    )

    def signed(frames: list[Frame]) -> Solution:
        """The solution of as many of the first saved steps as there are frames."""
        return Solution(
            equation=equation.label,
            solver=solver.name,
            reason=reason,
            steps=problem.steps[: len(frames)],
            learning_rate=sgd.learning_rate if sgd.learning_rates.constant else float("nan"),
            grid=grid,
            density=_stacked([frame.density for frame in frames]),
            mean=np.array([frame.mean for frame in frames]),
            covariance=np.array([frame.covariance for frame in frames]),
            third=_stacked([frame.third for frame in frames]),
            fourth=_stacked([frame.fourth for frame in frames]),
            errors={name: np.array([f.errors[name] for f in frames if f.errors]) for name in frames[0].errors or {}},
            trajectories=run.drawn if isinstance(run, SamplingRun) else 0,
            certificate=certify(
                problem.steps[: len(frames)], frames, grid,
                problem.moments if sgd.affine else unknown(problem.moments),
                [*notes, *(run.warnings() if isinstance(run, SamplingRun) else ())], remedies,
            ),
            provenance=_provenance(solver, equation, problem.last, began),
            slow_time=None if sgd.learning_rates.constant else sgd.time(problem.steps[: len(frames)]),
        )  # fmt: skip

    done = [] if way.keeper is None else way.keeper.start(solver, run, problem.steps.tolist(), signed)
    if isinstance(run, SamplingRun):
        frames = _drawn(run, way.progress, patience, way.keeper)
    else:
        run.patience = patience
        frames = _marched(run, problem.steps, way.progress, done, way.keeper)
    for step, frame in zip(problem.steps, frames, strict=True):
        _check_mass(frame, int(step), grid)
        _check_finite(frame, int(step), equation, known)
    return signed(frames)


def _marched(
    run: Run, saved: NDArray[np.int64], progress: Progress | None, frames: list[Frame], keeper: Checkpoint | None
) -> list[Frame]:
    """Go on from the saved steps of which there are ``frames`` already."""
    last, before = max(int(saved[-1]), 1), int(saved[len(frames) - 1]) if frames else 0
    for done, gap in list(enumerate(saved_gaps(saved), start=1))[len(frames) :]:
        if run.patience is not None:  # half of the work is said to be steps, half frames
            run.patience.part(((done - 1) / saved.size + before / last) / 2, gap / last / 2)
        before += gap
        run.advance(gap)
        frames.append(run.frame())
        if keeper is not None:
            keeper.reached(frames, run)
        if progress is not None:
            progress(done, len(saved))
    return frames


def _drawn(run: SamplingRun, progress: Progress | None, patience: Patience, keeper: Checkpoint | None) -> list[Frame]:
    before = last = run.drawn
    patience.foretell((run.trajectories - before) * run.moves, MOVE)
    while run.drawn < run.trajectories:
        run.draw()
        patience.spend((run.drawn - last) * run.moves, MOVE)
        last = run.drawn
        patience.look(run.drawn - before, run.trajectories - before)
        if keeper is not None:
            keeper.reached([], run)
        if progress is not None:
            progress(run.drawn, run.trajectories)
    return run.frames()


def _stacked(parts: list[Array | None]) -> Array | None:
    present = [part for part in parts if part is not None]
    return np.array(present) if len(present) == len(parts) else None


def _started(solver: Solver, problem: Problem, grid: Grid | int | None) -> Run | SamplingRun:
    if not isinstance(grid, int):
        return solver.start(problem, grid)
    found = solver.start(problem, None).grid
    return solver.start(problem, None if found is None else found.resized(grid))


def _check_room(problem: Problem, grid: Grid | None) -> None:
    """Refuse results that memory does not hold: densities as they are found, and stacked."""
    count, d = problem.steps.size, problem.equation.dimension
    cells = 1 if grid is None else prod(grid.cells)
    require_memory(
        f"save: {count} steps of {cells} cells and {d} parameters", 16.0 * count * (cells + d + d * d),
        "save fewer steps, or give a grid with fewer cells",
    )  # fmt: skip


def _check_width(problem: Problem) -> None:
    """Refuse densities that are all narrower than the rounding of their place."""
    mean, variances = problem.moments.mean, problem.moments.covariance.diagonal(axis1=1, axis2=2)
    if every(variances[-1] > (_NARROWEST * float(np.abs(mean).max())) ** 2):
        return
    wide = 6 * np.sqrt(np.maximum(variances, 0.0))
    reach = np.max(mean + wide, axis=0) - np.min(mean - wide, axis=0)
    collapsed = reach <= _NARROWEST * np.max(np.abs(mean), axis=0)
    if np.any(collapsed):
        axis = int(np.flatnonzero(collapsed)[0])
        raise UnresolvedError(
            f"step {problem.last}: the law has collapsed onto θ = {checks.shown(mean[-1])}: along axis {axis} it is no "
            "wider than the rounding of its place, so no grid holds it; save earlier steps, add gradient noise, or use "
            "dfp.MomentRecursion()."
        )


def _check_mass(frame: Frame, step: int, grid: Grid | None) -> None:
    if grid is not None and frame.density is not None and frame.density.max() == 0:
        raise UnresolvedError(
            f"step {step}: no mass is on the grid, the box {grid.lower} … {grid.upper}: the density is elsewhere; move "
            "or widen it, or leave grid out."
        )


def _check_finite(frame: Frame, step: int, equation: Equation, names: tuple[str, ...]) -> None:
    for name in names:
        values = getattr(frame, name)
        if values is not None and not checks.finite(values):
            raise _named(
                DFPError(
                    f"step {step}: the {name} has entries that are not finite; the {equation.label} is unstable at "
                    f"learning_rate={equation.sgd.learning_rates}; lower it or save earlier steps."
                ),
                growing(equation, step),
            )


def _provenance(solver: Solver, equation: Equation, last: int, began: float) -> dict[str, Any]:
    settings = {key: value for key, value in vars(solver).items() if isinstance(value, (int, float, str))}
    seed = {"seed": settings["seed"]} if "seed" in settings else {}
    return {
        **equation.record(last),
        "solver": solver.name,
        "solver_settings": settings,
        **seed,
        "versions": dict(versions()),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "wall_seconds": time.perf_counter() - began,
    }
