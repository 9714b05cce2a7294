"""One solver at work: march or draw, check every frame, and sign the result with a certificate."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfp import checks
from dfp.checks import LITTLE, require_memory
from dfp.errors import DFPError, UnresolvedError, UnsupportedError
from dfp.exact.heavy import moments_that_exist
from dfp.exact.stability import growing
from dfp.methods.patience import MOVE, Patience
from dfp.methods.pilot import unknown
from dfp.methods.solver import Problem, Run, SamplingRun, Solver, saved_gaps
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid
from dfp.results.certificate import advice, certify
from dfp.results.frame import Frame
from dfp.results.solution import Solution
from dfp.solving.assembly import assembled
from dfp.solving.checkpoints import Checkpoint

# Width of a box, relative to its place, that is rounding.
_NARROWEST = 64 * float(np.finfo(np.float64).eps)

Progress = Callable[[int, int], None]
"""Called with work done and work in all."""


class Way(NamedTuple):
    """How a problem is to be solved: arguments of ``solve``."""

    solver: Solver | str
    grid: Grid | int | None
    tolerance: float | None
    progress: Progress | None
    directions: ArrayLike | None
    keeper: Checkpoint | None


def solve_with(
    solver: Solver,
    reason: str,
    problem: Problem,
    grid: Grid | int | None,
    way: Way,
    known_notes: list[str],
    limit: float = np.inf,
) -> Solution:
    """Return what one solver finds on ``grid``, signed.

    Parameters
    ----------
    solver, reason
        Who, and why it was picked.
    problem, grid
        What it solves, and where densities are returned; an integer chooses the box alike, with so many cells an axis.
    way
        What was asked for.
    known_notes
        Warnings of the certificate that are known beforehand.
    limit
        Seconds of a forecast beyond which it gives up with ``TooLong``.
    """
    equation, sgd, began = problem.equation, problem.equation.sgd, time.perf_counter()
    solver.require(equation, problem.initial)
    if grid is not None and not solver.gridded:
        raise UnsupportedError(f"grid: {solver.name} has no density; leave grid out or choose another solver.")
    notes = [*known_notes, *problem.moments.warnings]
    if problem.failure is not None and sgd.affine:
        if solver.needs_moments(equation):
            raise named(problem.failure, growing(equation, problem.last))
        notes.append(f"moments are not checked, mean_error and covariance_error are NaN ({problem.failure})")
    existing = (
        None
        if not sgd.affine or sgd.unit_noise.finite
        else moments_that_exist(equation, problem.initial, problem.steps)
    )
    if not isinstance(grid, Grid) and solver.gridded and problem.exact:
        _check_width(problem)
    run = _started(solver, problem, grid)
    grid = run.grid
    _check_room(problem, grid)
    instead = ", or for moments with dfp.moments(...)" if sgd.affine else ""
    patience = Patience(f"{solver.name} for the {equation.label}", limit, way.progress is None, instead)
    drawn = run if isinstance(run, SamplingRun) else None
    known = ("mean", "covariance", "density") if problem.exact else ("density",)
    remedies = advice(
        given=way.grid is not None,
        sampled=drawn is not None,
        certified=solver.certified and solver.gridded,
        truncated=equation.truncated,
    )

    def signed(frames: list[Frame]) -> Solution:
        """The solution of as many of the first saved steps as there are frames."""
        steps = problem.steps[: len(frames)]
        told = [*notes, *(drawn.warnings() if drawn else ())]
        exact = problem.moments if sgd.affine else unknown(problem.moments)
        found = assembled(
            equation, sgd, steps, frames, certify(steps, frames, grid, exact, told, remedies), last=problem.last,
            solver=solver.name, reason=reason, grid=grid, began=began, details=_settings(solver),
            trajectories=drawn.drawn if drawn else 0,
        )  # fmt: skip
        if existing is not None:
            found = replace(found, mean=existing.mean[: len(frames)], covariance=existing.covariance[: len(frames)])
        if exact.joint_mean is None or exact.joint_covariance is None or problem.average is not None:
            return found
        moving = exact.joint_mean[: len(frames)], exact.joint_covariance[: len(frames)]
        return replace(found, joint_mean=moving[0], joint_covariance=moving[1])

    done = [] if way.keeper is None else way.keeper.start(solver, run, problem.steps.tolist(), signed)
    if isinstance(run, SamplingRun):
        with run.held():
            frames = _drawn(run, way.progress, patience, way.keeper)
    else:
        run.patience = patience
        patience.foretell(run.forecast(), 1e9)
        frames = _marched(run, problem.steps, way.progress, done, way.keeper)
    for step, frame in zip(problem.steps, frames, strict=True):
        _check_mass(frame, int(step), grid, way.grid is not None)
        _check_finite(frame, int(step), equation, known)
    return signed(frames)


def _marched(
    run: Run, saved: NDArray[np.int64], progress: Progress | None, frames: list[Frame], keeper: Checkpoint | None
) -> list[Frame]:
    """Go on from the saved steps of which there are ``frames`` already."""
    last, before = max(int(saved[-1]), 1), int(saved[len(frames) - 1]) if frames else 0
    left = 0
    if keeper is not None:
        run.passed, left = partial(keeper.passed, frames, run), keeper.left
    for done, gap in list(enumerate(saved_gaps(saved), start=1))[len(frames) :]:
        if run.patience is not None:  # half of the work is said to be steps, half frames
            run.patience.part(((done - 1) / saved.size + before / last) / 2, gap / last / 2)
        before += gap
        run.advance(left or gap)
        left = 0
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


def _started(solver: Solver, problem: Problem, grid: Grid | int | None) -> Run | SamplingRun:
    if not isinstance(grid, int):
        return solver.start(problem, grid)
    found = solver.start(problem, None).grid
    return solver.start(problem, None if found is None else found.resized(grid))


def _check_room(problem: Problem, grid: Grid | None) -> None:
    """Refuse results that memory does not hold: densities as they are found, and stacked."""
    count, d = problem.steps.size, problem.equation.dimension
    cells = 1 if grid is None else prod(grid.cells)
    needed = 16.0 * count * (cells + d + d * d)
    if needed >= LITTLE:
        require_memory(
            f"save: {count} steps of {cells} cells and {d} parameters", needed,
            "save fewer steps" if grid is None else "save fewer steps, or give a grid with fewer cells",
        )  # fmt: skip


def _check_width(problem: Problem) -> None:
    """Refuse densities that are all narrower than the rounding of their place."""
    mean, covariance = problem.moments.mean, problem.moments.covariance
    if min(covariance[-1].diagonal().tolist()) > _NARROWEST**2 * np.vdot(mean, mean):  # more than the largest square
        return
    variances = covariance.diagonal(axis1=1, axis2=2)
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


def _check_mass(frame: Frame, step: int, grid: Grid | None, given: bool) -> None:
    if grid is not None and frame.density is not None and not np.count_nonzero(frame.density):
        remedy = "move or widen it, or leave grid out" if given else "give grid=dfp.Grid(lower, upper, cells)"
        raise UnresolvedError(
            f"step {step}: no mass is on the grid, the box {grid.lower} … {grid.upper}: the density is elsewhere; "
            f"{remedy}."
        )


def _check_finite(frame: Frame, step: int, equation: Equation, names: tuple[str, ...]) -> None:
    for name in names:
        values = getattr(frame, name)
        if values is not None and not checks.finite(values):
            raise named(
                DFPError(
                    f"step {step}: the {name} has entries that are not finite; the {equation.label} is unstable at "
                    f"learning_rate={equation.sgd.learning_rates}; lower it or save earlier steps."
                ),
                growing(equation, step),
            )


def _settings(solver: Solver) -> dict[str, Any]:
    """Return the settings of a solver as entries of a file's provenance, its seed by itself."""
    settings = {key: value for key, value in vars(solver).items() if isinstance(value, (int, float, str))}
    return {"solver_settings": settings} | ({"seed": settings["seed"]} if "seed" in settings else {})


def named(failure: DFPError, unstable: str) -> DFPError:
    """Return a failure of an unstable problem, with the instability named before its consequences."""
    return type(failure)(f"{unstable}. Here: {failure}") if unstable else failure
