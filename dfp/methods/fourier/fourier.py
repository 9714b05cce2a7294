"""Fourier: densities of linear dynamics with additive noise, in closed form in the number of steps."""

from dataclasses import dataclass

import numpy as np

from dfp.methods.fourier.any_law import AnyLawRun
from dfp.methods.fourier.closed import ClosedRun
from dfp.methods.fourier.transformed import AtomsRun, GriddedRun
from dfp.methods.solver import Problem, Solver
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid
from dfp.problem.state import State


@dataclass(frozen=True)
class Fourier(Solver):
    """Inverse FFT of the characteristic function, known in closed form for additive noise.

    Solves (T4), (T6), (T7), (T7m) for d = 1, 2, 3 from any state. With Gaussian noise 10 and 10⁶ steps cost the same;
    the additive noise of a finite sum or of another law costs one factor per step (T4). With momentum the density is
    that of θ, from velocity 0; a schedule costs a product of small matrices for every change of its value.

    Raises
    ------
    DFPError
        While solving, if the noise gained is not positive semidefinite (T7m with C off H's axes) or the state has no
        density.
    UnresolvedError
        If the atoms of a finite sum, or other details, are narrower than the grid.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.2)
    >>> solution = dfp.solve(dfp.MasterEquation(sgd), dfp.Gaussian(1.0, 0.1), 1_000_000, solver=dfp.Fourier())
    >>> print(solution.covariance[-1].round(6), bool(solution.certificate.covariance_error.max() < 1e-9))
    [[0.111111]] True
    """

    name = "Fourier"
    equations = ("T4", "T6", "T7")
    order = "spectral in the grid, exact in the number of steps"
    reference = "theory page, section 5 (closed characteristic function)"
    noise = "additive"
    cost = "cells; not with steps"
    momentum = True
    schedules = True

    def obstacle(self, equation: Equation, initial: State) -> str | None:
        """Return why the problem is not linear with additive noise, or None if it is."""
        if not equation.additive:
            return "the noise depends on θ (Var H̃ > 0), and only additive noise has a closed characteristic function"
        return equation.sgd.law.characteristic_obstacle if equation.discrete else None

    def needs_moments(self, equation: Equation) -> bool:
        """Return False for noise without a variance, whose box is found from quantiles."""
        return not equation.discrete or equation.sgd.law.finite

    def start(self, problem: Problem, grid: Grid | None = None) -> "AnyLawRun | ClosedRun | GriddedRun | AtomsRun":
        """Return a run by products of characteristic functions, or in closed form where all of them are Gaussian."""
        law = problem.equation.sgd.law
        if law.gaussian or not problem.equation.discrete:
            return (GriddedRun if problem.initial.gridded else ClosedRun)(problem, grid)
        return (AnyLawRun if np.isinf(law.minibatch_count()) else AtomsRun)(problem, grid)
