"""The driver: pick a solver and a grid, march or draw, check every frame, and sign the result with a certificate."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError, SeriesError, UnresolvedError, UnsupportedError
from dfp.exact.moments import Moments, moments_at
from dfp.methods.pilot import moments_along, unknown
from dfp.methods.solver import MarchingSolver, SamplingSolver, Solver, saved_gaps
from dfp.methods.transfer.transfer import Transfer
from dfp.problem.arguments import check_problem
from dfp.problem.equation import Equation
from dfp.problem.equations import ModifiedLangevin
from dfp.problem.grid import Grid
from dfp.problem.state import Point, State
from dfp.results.certificate import certify
from dfp.results.frame import Frame
from dfp.results.schema import versions
from dfp.results.solution import Solution
from dfp.solving.choice import pick
from dfp.solving.refinement import to_tolerance

Progress = Callable[[int, int], None]
"""Called with work done and work in all."""


def solve(
    equation: Equation,
    initial: State,
    steps: int,
    save: Sequence[int] | None = None,
    solver: Solver | str = "auto",
    grid: Grid | None = None,
    *,
    tolerance: float | None = None,
    progress: Progress | None = None,
) -> Solution:
    """Return densities and moments of ``equation`` from ``initial`` at the saved steps.

    Parameters
    ----------
    equation
        What to solve.
    initial
        State at step 0: ``Gaussian``, ``Point`` or ``Density``.
    steps
        Last step, >= 0.
    save
        Steps to return, increasing, in 0 … ``steps``; step 0 and the last if left out (only the last from a point).
    solver
        A solver, or ``"auto"``: the solution says which one was picked and why.
    grid
        Where densities are returned; chosen from the exact moments if left out.
    tolerance
        Largest certified L1 error of the densities, in (0, 1): grids are refined until ``certificate.error`` is below
        it at every saved step. A ``grid`` that is given is kept.
    progress
        Called with work done and work in all.

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
    """
    check_problem(equation, initial)
    last = checks.integer("steps", steps)
    default = [last] if isinstance(initial, Point) else sorted({0, last})
    saved = checks.step_list("save", default if save is None else save, last)
    if grid is not None and not isinstance(grid, Grid):
        raise DFPError(f"grid={checks.shown(grid)}: must be a dfp.Grid; give dfp.Grid(lower, upper, cells).")
    if grid is not None and grid.dimension != equation.dimension:
        raise DFPError(f"grid has {grid.dimension} axes: the landscape has {equation.dimension}; make them equal.")
    exact = _exact(equation, initial, saved)
    if solver != "auto" and not isinstance(solver, Solver):
        raise DFPError(f"solver={checks.shown(solver)}: must be 'auto' or a solver; give e.g. dfp.Fourier().")
    if tolerance is not None:
        checks.real("tolerance", tolerance, above=0, below=1)
    attempts = [(solver, "asked for")] if isinstance(solver, Solver) else pick(equation, initial, exact)
    if grid is not None and len(attempts) > 1:
        attempts = [attempt for attempt in attempts if attempt[0].gridded]
    failures: list[UnresolvedError | SeriesError] = []
    for candidate, reason in attempts:

        def attempt(variant: Solver, on: Grid | None, reason: str = reason) -> Solution:
            return _solve_with(variant, reason, equation, initial, saved, on, exact, progress)

        try:
            if tolerance is None:
                return attempt(candidate, grid)
            return to_tolerance(attempt, candidate, grid, tolerance)
        except (SeriesError, UnresolvedError) as failure:
            failures.append(failure)
        except UnsupportedError:
            if not failures:
                raise
    raise failures[-1]


def _solve_with(
    solver: Solver,
    reason: str,
    equation: Equation,
    initial: State,
    saved: NDArray[np.int64],
    grid: Grid | None,
    exact: Moments,
    progress: Progress | None,
) -> Solution:
    solver.require(equation, initial)
    if grid is not None and not solver.gridded:
        raise UnsupportedError(f"grid: {solver.name} has no density; leave grid out or choose another solver.")
    began, sgd = time.perf_counter(), equation.sgd
    notes: list[str] = []
    known = exact
    if exact.unknown and sgd.affine:
        if not (isinstance(solver, SamplingSolver) or solver.needs_no_moments(equation)):
            raise UnsupportedError(exact.unknown)
        notes.append(f"moments are not checked, mean_error and covariance_error are NaN ({exact.unknown})")
        known = solver.pilot(equation, initial, exact) if isinstance(solver, SamplingSolver) else exact
    grid = solver.grid(equation, initial, known) if grid is None else grid
    if isinstance(solver, SamplingSolver):
        frames = _sample(solver, equation, initial, grid, known, notes, progress)
    else:
        assert isinstance(solver, MarchingSolver)
        frames = _march(solver, equation, initial, grid, saved, progress)
    for step, frame in zip(saved, frames, strict=True):
        _check_mass(frame, int(step), grid)
        _check_finite(frame, int(step), equation, ("density",) if exact.unknown else ("mean", "covariance", "density"))
    return Solution(
        equation=equation.label,
        solver=solver.name,
        reason=reason,
        steps=saved,
        learning_rate=sgd.learning_rate if sgd.learning_rates.constant else float("nan"),
        grid=grid,
        density=_stacked([frame.density for frame in frames]),
        mean=np.array([frame.mean for frame in frames]),
        covariance=np.array([frame.covariance for frame in frames]),
        third=_stacked([frame.third for frame in frames]),
        fourth=_stacked([frame.fourth for frame in frames]),
        errors={name: np.array([f.errors[name] for f in frames if f.errors]) for name in frames[0].errors or {}},
        trajectories=solver.trajectories if isinstance(solver, SamplingSolver) else 0,
        certificate=certify(saved, frames, grid, exact if sgd.affine else unknown(exact), notes),
        provenance=_provenance(solver, equation, int(saved[-1]), began),
        slow_time=None if sgd.learning_rates.constant else sgd.time(saved),
    )


def _march(
    solver: MarchingSolver,
    equation: Equation,
    initial: State,
    grid: Grid | None,
    saved: NDArray[np.int64],
    progress: Progress | None,
) -> list[Frame]:
    carry: Any = solver.prepare(equation, initial, grid)
    frames = []
    for done, gap in enumerate(saved_gaps(saved), start=1):
        carry = solver.advance(carry, gap)
        frames.append(solver.observe(carry))
        if progress is not None:
            progress(done, len(saved))
    return frames


def _sample(
    solver: SamplingSolver,
    equation: Equation,
    initial: State,
    grid: Grid | None,
    exact: Moments,
    notes: list[str],
    progress: Progress | None,
) -> list[Frame]:
    carry: Any = solver.prepare(equation, initial, grid, exact)
    while solver.drawn(carry) < solver.trajectories:
        carry = solver.draw(carry)
        if progress is not None:
            progress(solver.drawn(carry), solver.trajectories)
    notes += solver.warnings(carry)
    return solver.observe(carry)


def _stacked(parts: list[Array | None]) -> Array | None:
    present = [part for part in parts if part is not None]
    return np.array(present) if len(present) == len(parts) else None


def _exact(equation: Equation, initial: State, saved: NDArray[np.int64]) -> Moments:
    """Return the exact moments, checked to be finite; else NaN or those of a pilot, with the reason."""
    if not equation.sgd.affine:
        return moments_along(equation, initial, saved)
    try:
        exact = moments_at(equation, initial, saved)
    except UnsupportedError as error:
        mean = np.full((saved.size, equation.dimension), np.nan)
        return Moments(saved, mean, mean[:, :, None] * mean[:, None, :], unknown=str(error))
    if checks.finite(exact.mean) and checks.finite(exact.covariance):
        return exact
    finite = np.isfinite(exact.mean).all(axis=1) & np.isfinite(exact.covariance).all(axis=(1, 2))
    overflow = (
        f"step {exact.steps[np.argmin(finite)]}: the moments of the {equation.label} overflow; it is unstable at "
        f"learning_rate={equation.sgd.learning_rates}; lower it or save earlier steps."
    )
    if not Transfer().needs_no_moments(equation):
        raise DFPError(overflow)
    return replace(exact, unknown=overflow)


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
            raise DFPError(
                f"step {step}: the {name} has entries that are not finite; the {equation.label} is unstable at "
                f"learning_rate={equation.sgd.learning_rates}; lower it or save earlier steps."
            )


def _provenance(solver: Solver, equation: Equation, last: int, began: float) -> dict[str, Any]:
    sgd = equation.sgd
    settings = {key: value for key, value in vars(solver).items() if isinstance(value, (int, float, str))}
    record: dict[str, Any] = {
        "equation": equation.label,
        "solver": solver.name,
        "solver_settings": settings,
        "learning_rate": sgd.learning_rates.record(last),
        "momentum": sgd.momentum,
        "nesterov": sgd.nesterov,
        "weight_decay": sgd.weight_decay,
        "replace": sgd.replace,
        "batch_size": None if sgd.batches is None else sgd.batches.record(last),
        "versions": dict(versions()),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "wall_seconds": time.perf_counter() - began,
    }
    if isinstance(solver, SamplingSolver):
        record["seed"] = solver.seed
    if isinstance(equation, ModifiedLangevin):
        record["matched"], record["positive"] = bool(equation.matched), bool(equation.positive)
    return record
