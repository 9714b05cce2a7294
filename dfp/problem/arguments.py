"""Checks of what functions take together: an equation, a state and a grid of the same dimension."""

import numbers
from typing import Any

from dfp import checks
from dfp.errors import UnsupportedError
from dfp.problem.averaged_equation import AveragedEquation, refuse
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid
from dfp.problem.parameters import check_order, unnamed
from dfp.problem.state import State

_AT_REST = "A start at rest is dfp.Density(state.grid, state.values), or a dfp.Gaussian."


def check_equation(equation: Equation, grid: Grid | None = None, *, moments: bool = False, waves: bool = False) -> None:
    """Raise ``DFPError`` unless ``equation`` is one and ``grid``, if given, has as many axes as it has parameters.

    Equations that have moments alone are refused unless these are all that is asked for, ``moments``; noise of
    nonlinear landscapes that is given by its characteristic function, unless it is taken, ``waves``.
    """
    if isinstance(equation, AveragedEquation):
        refuse()
    checks.instance("equation", equation, Equation, "must be an equation; give e.g. dfp.MasterEquation(sgd).")
    if not moments:
        refuse_ladder(equation)
    if equation.moments_only and not moments:
        raise UnsupportedError(
            f"equation: the {equation.label} is followed through its moments alone, for its variances can be negative; "
            "use dfp.moments(...), or dfp.Langevin(sgd) for laws."
        )
    if not (moments or (waves and not equation.sgd.affine and equation.sgd.local.characteristic is not None)):
        check_kernel(equation)
    if grid is None:
        return
    checks.instance("grid", grid, Grid, "must be a dfp.Grid; give dfp.Grid(lower, upper, cells), or a number of cells.")
    d = equation.dimension
    checks.alike("grid", grid.dimension, d, f"give lower and upper of {d} numbers")


def refuse_ladder(equation: Equation) -> None:
    """Refuse truncations at another order than the second, of which moments alone are known (T25)."""
    if equation.number == "T25":
        raise UnsupportedError(
            f"equation: the {equation.label} has no density solver; dfp.moments / dfp.raw_moments have its moments. "
            "Use order=2 or dfp.MasterEquation(sgd) for laws."
        )


def counted(grid: Any) -> Grid | int | None:
    """Return ``grid`` as it is, or as the number of cells per axis, at least 4, that an integer of any kind says."""
    whole: Any = numbers.Integral  # of Python or of NumPy
    grid = checks.scalar(grid)
    return checks.integer("grid", grid, at_least=4) if isinstance(grid, whole) else grid


def check_kernel(equation: Equation) -> None:
    """Raise ``UnsupportedError`` where steps of a nonlinear landscape are known by draws alone."""
    if equation.discrete and not (equation.sgd.affine or equation.sgd.local.gaussian):
        raise UnsupportedError(
            "noise: it is given as draws or by its characteristic function, and this needs the density of a step; "
            "dfp.solve(...) takes both, dfp.stationary(...) a characteristic function; leave them out for Gaussian "
            "noise of the same covariance."
        )


def summary(equation: Equation, initial: State) -> bool:
    """Tell whether of the state of an equation at step 0, velocities included, moments alone are known."""
    return initial.moments_only or (initial.joint is not None and equation.sgd.momentum > 0)


def check_problem(
    equation: Equation,
    initial: State,
    grid: Grid | None = None,
    *,
    moments: bool = False,
    moving: bool = False,
    average: bool = False,
) -> None:
    """Raise ``DFPError`` unless all arguments have the right type and the same dimension; ``moments`` as above.

    States with velocities, and those of which moments alone are known, are refused unless these are taken, ``moving``;
    states that are not whole where the equation moves more than θ, as that of an ``average`` does.
    """
    check_equation(equation, grid, moments=moments)
    checks.instance(
        "initial",
        initial,
        State,
        "must be a dfp.Gaussian, dfp.Point, dfp.Density or a solution; give e.g. dfp.Point(0.5).",
    )
    d = equation.dimension
    checks.alike("initial", initial.dimension, d, f"give a mean, or a point, of {d} numbers")
    if initial.parameters is not None:
        check_order("initial", initial.parameters, equation.parameters or unnamed(equation.dimension))
    if not initial.whole and (equation.sgd.momentum or average or equation.sgd.epoch):
        raise UnsupportedError(
            "initial: it ends a run with momentum, of an average, or within an epoch, of which the law of θ alone is "
            f"known, not what else moves; solve in one go with save=[...]. {_AT_REST}"
        )
    if not moving and initial.joint is not None and equation.sgd.momentum:
        raise UnsupportedError(
            "initial: it has velocities, whose moments are known, and this starts at rest; use dfp.moments(...), or "
            f"dfp.solve(...) for moments. {_AT_REST}"
        )
    if not moving and initial.moments_only:
        raise UnsupportedError(
            "initial: its mean and covariance alone are known, and this needs a law; use dfp.moments(...), or give "
            "dfp.Gaussian(mean, covariance) if it is one."
        )
