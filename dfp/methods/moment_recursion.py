"""MomentRecursion: exact moments, of order up to four for d <= 3 and up to two in any dimension."""

from dataclasses import dataclass

import numpy as np
from dfp_solvers import linear_flow, moment_operator

from dfp import checks
from dfp.errors import UnsupportedError
from dfp.exact.cumulants import diffusion_polynomial, step_cumulants
from dfp.exact.moments import moments_at
from dfp.methods.solver import Problem, Run, Solver
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid
from dfp.problem.state import State
from dfp.results.frame import Frame


@dataclass(frozen=True)
class MomentRecursion(Solver):
    """Exact moments: mean and covariance in any dimension, third and fourth central moments for d <= 3 of plain SGD.

    Parameters
    ----------
    highest
        Highest order, 2, 3 or 4; ``None`` takes 4 for plain SGD with d <= 3, else 2.

    Notes
    -----
    The moments of random affine maps close order by order (T8, T9), and so do those of the generators (T15).

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0], [0.2])), learning_rate=0.2)
    >>> equation, start = dfp.MasterEquation(sgd), dfp.Gaussian(0.0, 0.1)
    >>> solution = dfp.solve(equation, start, 100, solver=dfp.MomentRecursion())
    >>> kurtosis = solution.fourth[-1].item() / solution.covariance[-1].item() ** 2
    >>> print(round(kurtosis, 4))
    3.1105
    """

    highest: int | None = None

    name = "MomentRecursion"
    equations = ("T4", "T5", "T6", "T6'", "T7")
    order = "exact"
    reference = "theory page, section 3"
    cost = "hardly with steps"
    gridded = False
    dimensions = None
    momentum = True
    schedules = True
    without_replacement = True

    def __post_init__(self) -> None:
        if self.highest is not None:
            checks.integer("highest", self.highest, at_least=2, at_most=4)

    def obstacle(self, equation: Equation, initial: State) -> str | None:
        """Return why orders above two are out of reach, or None."""
        if (self.highest or 2) > 2 and equation.dimension > 3:
            return f"moments of order {self.highest} need d <= 3, and d = {equation.dimension}; give highest=2"
        if (self.highest or 2) > 2 and initial.moments_only:
            return "of the start moments of order two are known; give highest=2"
        if (self.highest or 2) > 2 and not equation.sgd.plain:
            return f"with {equation.sgd.features} moments are of order two; give highest=2"
        return None

    def start(self, problem: Problem, grid: Grid | None = None) -> "HigherMoments | SecondMoments":
        """Return the recursion at step 0: of higher moments or, where they do not close, of mean and covariance."""
        if grid is not None:
            raise UnsupportedError("grid: MomentRecursion has no density; leave grid out or choose another solver.")
        if problem.equation.dimension <= 3 and problem.equation.sgd.plain and not problem.initial.moments_only:
            return HigherMoments(problem.equation, problem.initial, self.highest or 4)
        return SecondMoments(problem)


class SecondMoments(Run):
    """Mean and covariance of any equation, known at every step at once."""

    kept = ("_step",)

    grid = None

    def __init__(self, problem: Problem) -> None:
        self._problem, self._step = problem, 0

    def advance(self, steps: int) -> None:
        """Go on: nothing is computed until a frame is asked for."""
        self._step += steps

    def frame(self) -> Frame:
        """Return mean and covariance."""
        exact = moments_at(self._problem.equation, self._problem.initial, np.array([self._step]))
        return Frame(exact.mean[0], exact.covariance[0])


class HigherMoments(Run):
    """Moments up to order ``highest`` of plain SGD, d <= 3, moved by powers or exponentials of one matrix."""

    kept = ("_values",)

    grid = None

    def __init__(self, equation: Equation, initial: State, highest: int = 4) -> None:
        self._equation, self._highest = equation, highest
        self._values = moment_operator.start(initial.mean, initial.central_moments(), highest)
        drift = equation.linear_drift, equation.constant_drift
        truncated = equation.truncated
        if not equation.discrete:
            self._matrix = moment_operator.generator_matrix(*drift, diffusion_polynomial(equation), highest)
            return
        cumulants = step_cumulants(equation, 2 if truncated else highest)[: 1 if truncated else highest - 1]
        self._matrix = moment_operator.map_matrix(*drift, cumulants, highest, truncated=truncated)

    def advance(self, steps: int) -> None:
        """Go on by one matrix power or exponential."""
        if steps == 0:
            return
        if self._equation.discrete:
            moved = np.linalg.matrix_power(self._matrix, steps)
        else:
            moved = linear_flow.exponential(steps * self._equation.sgd.learning_rate * self._matrix)
        self._values = moved @ self._values

    def frame(self) -> Frame:
        """Return mean, covariance and, as far as ``highest`` reaches, third and fourth central moments."""
        n = self._highest
        parts = moment_operator.central_moments(self._values, self._equation.dimension, n)
        return Frame(parts[0], parts[1], third=parts[2] if n > 2 else None, fourth=parts[3] if n > 3 else None)
