"""Refinement: the same problem on better grids until the certificate holds a tolerance, or the reason why it cannot."""

from collections.abc import Callable

import numpy as np

from dfp.errors import UnresolvedError, UnsupportedError
from dfp.methods.solver import Solver
from dfp.problem.grid import Grid
from dfp.results.solution import Solution

Attempt = Callable[[Solver, Grid | int | None], Solution]
"""Solves the problem with a solver on a grid; the solver chooses the grid if it is None."""

# Refinements before giving up, and by how much the error must fall in each.
_MOST, _PROGRESS = 8, 0.7


def to_tolerance(attempt: Attempt, solver: Solver, given: Grid | int | None, tolerance: float) -> Solution:
    """Return the first solution whose certified L1 error is at most ``tolerance`` at every saved step.

    Parameters
    ----------
    attempt
        Solves the problem.
    solver
        The solver to start with; refinement may change its settings.
    given
        The grid that was asked for, which is kept; None lets grids be refined.
    tolerance
        Largest certified L1 error.

    Raises
    ------
    UnsupportedError
        If the solver certifies no density.
    UnresolvedError
        If refinement ends, or stops helping, above the tolerance.
    """
    if not (solver.gridded and solver.certified):
        raise UnsupportedError(
            f"tolerance={tolerance:g}: {solver.name} certifies no density; use another solver, or leave tolerance out."
        )
    solution, improved = attempt(solver, given), solver
    for _ in range(_MOST):
        error = worst(solution)
        if error <= tolerance:
            return solution
        better = None if given is not None else improved.refined(solution, tolerance)
        if better is None:
            if given is not None:
                raise _failure(solution, tolerance, "the grid was given", "leave grid out, which lets it be refined")
            raise _failure(solution, tolerance, "no affordable grid is finer")
        improved, grid = better
        try:
            solution, before = attempt(improved, grid), solution
        except UnresolvedError as reason:
            raise _failure(solution, tolerance, f"cannot be refined: {reason}") from None
        if not worst(solution) <= max(_PROGRESS * error, tolerance):
            raise _failure(before, tolerance, "refining no longer helps")
    raise _failure(solution, tolerance, f"{_MOST} refinements did not suffice")


def worst(solution: Solution) -> float:
    """Return the largest certified L1 error of the saved steps."""
    return float(np.max(solution.certificate.error))


def _failure(solution: Solution, tolerance: float, why: str, other: str = "use another solver") -> UnresolvedError:
    figures = solution.certificate
    step = int(solution.steps[int(np.argmax(figures.error))])
    parts = {"truncation": figures.truncation, "mass outside": figures.mass_outside, "mass defect": figures.mass_defect}
    listed = ", ".join(f"{name} {np.nanmax(np.abs(values)):.1g}" for name, values in parts.items())
    cells = "×".join(map(str, solution.gridded()[0].cells))
    return UnresolvedError(
        f"tolerance={tolerance:g}: {solution.solver} certifies an L1 error of {worst(solution):.2g} at step {step} "
        f"with {cells} cells ({listed}), and {why}; raise tolerance, or {other}."
    )
