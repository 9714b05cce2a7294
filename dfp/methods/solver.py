"""What a solver is. To add one: a numerics file in ``dfp_solvers`` and an adapter in ``dfp/methods``.

A marching solver is carried from one saved step to the next by the driver in ``driver.py``; a sampling solver draws
trajectories, which the driver counts out in portions. Neither owns a loop over time, a file or a progress bar.
"""

from abc import ABC, abstractmethod
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dfp.errors import UnsupportedError
from dfp.exact.moments import Moments
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid
from dfp.problem.state import State
from dfp.results.frame import Frame

if TYPE_CHECKING:
    from dfp.results.solution import Solution


class Solver(ABC):
    """Common face of all solvers."""

    name: ClassVar[str]
    equations: ClassVar[tuple[str, ...]]
    """Numbers of the equations it solves."""
    order: ClassVar[str]
    """Declared accuracy."""
    reference: ClassVar[str]
    """Where the method comes from."""
    gridded: ClassVar[bool] = True
    """Whether it produces densities on a grid."""
    nonlinear: ClassVar[tuple[str, ...]] = ()
    """Numbers of the equations it also solves in a nonlinear landscape."""
    momentum: ClassVar[bool] = False
    """Whether it takes momentum."""
    schedules: ClassVar[bool] = False
    """Whether it takes learning rates and batch sizes that change from step to step."""
    without_replacement: ClassVar[bool] = False
    """Whether it takes minibatches drawn without replacement."""

    @abstractmethod
    def obstacle(self, equation: Equation, initial: State) -> str | None:
        """Return why it cannot solve this problem, or None if it can."""

    @abstractmethod
    def grid(self, equation: Equation, initial: State, exact: Moments) -> Grid | None:
        """Return the grid it would choose, from the exact moments at the saved steps."""

    def needs_no_moments(self, equation: Equation) -> bool:
        """Return whether it has densities where the moments do not exist, overflow or are not known."""
        return False

    def refusal(self, equation: Equation, initial: State) -> str | None:
        """Return why it cannot solve this problem, counting the equation and the kind of SGD, or None if it can."""
        sgd = equation.sgd
        if equation.number not in self.equations:
            return f"it solves {', '.join(self.equations)}"
        if not sgd.affine and equation.number not in self.nonlinear:
            return f"the landscape is nonlinear, where it solves {', '.join(self.nonlinear) or 'nothing'}"
        if sgd.momentum and not self.momentum:
            return f"it takes no momentum (momentum={sgd.momentum:g})"
        if sgd.scheduled and not self.schedules:
            return "it takes no schedule, only one learning_rate and batch_size"
        if not sgd.replace and not self.without_replacement:
            return "it takes minibatches drawn with replacement only (replace=False)"
        return self.obstacle(equation, initial)

    def require(self, equation: Equation, initial: State) -> None:
        """Raise ``UnsupportedError`` with the reason and the supported equations unless the problem is supported."""
        reason = self.refusal(equation, initial)
        if reason:
            samples = "" if equation.number == "T5" else " and dfp.MonteCarlo(...) for samples"
            raise UnsupportedError(
                f"solver={self.name} cannot solve the {equation.label} here: {reason}. Use solver='auto', or "
                f"dfp.MomentRecursion() for moments{samples}."
            )


class MarchingSolver(Solver):
    """A solver that moves a state from step to step."""

    @abstractmethod
    def prepare(self, equation: Equation, initial: State, grid: Grid | None) -> Any:
        """Return the carry at step 0."""

    @abstractmethod
    def advance(self, carry: Any, steps: int) -> Any:
        """Return the carry ``steps`` steps later."""

    @abstractmethod
    def observe(self, carry: Any) -> Frame:
        """Return what is known at the carry's step."""

    def refined(self, solution: "Solution", tolerance: float) -> "tuple[MarchingSolver, Grid | None] | None":
        """Return a solver and a grid that promise a smaller error, here a finer or wider one, or None if there is none.

        Parameters
        ----------
        solution
            By this solver, of certified error above ``tolerance``.
        tolerance
            Largest certified L1 error.
        """
        figures, (grid, _) = solution.certificate, solution.gridded()
        outside = float(np.max(np.abs(figures.mass_outside) + np.abs(figures.mass_defect)))
        inside = float(np.max(figures.truncation))
        better = grid.refined(1.5 if inside > outside / 10 else 1.0, 1.3 if outside > inside / 10 else 1.0)
        return None if better is None else (self, better)


class SamplingSolver(Solver):
    """A solver that draws independent trajectories through all saved steps."""

    trajectories: int
    seed: int

    @abstractmethod
    def prepare(self, equation: Equation, initial: State, grid: Grid | None, exact: Moments) -> Any:
        """Return the carry before any trajectory is drawn (or as stored by an interrupted run)."""

    @abstractmethod
    def pilot(self, equation: Equation, initial: State, exact: Moments) -> Moments:
        """Return rough moments from a few trajectories, to scale sums and grid by where ``exact`` are not known."""

    @abstractmethod
    def draw(self, carry: Any) -> Any:
        """Return the carry after a further portion of trajectories."""

    @abstractmethod
    def drawn(self, carry: Any) -> int:
        """Return the number of trajectories drawn so far."""

    @abstractmethod
    def observe(self, carry: Any) -> list[Frame]:
        """Return the frames of all saved steps."""

    @abstractmethod
    def warnings(self, carry: Any) -> list[str]:
        """Return what went wrong while drawing, in words."""


def dimension_obstacle(equation: Equation, largest: int) -> str | None:
    """Return why d is too large for a density solver, or None."""
    if equation.dimension > largest:
        return f"densities need d <= {largest}, and d = {equation.dimension}"
    return None


def saved_gaps(steps: NDArray[np.int64]) -> list[int]:
    """Return the number of steps from each saved step to the next, starting at step 0."""
    return [after - before for before, after in pairwise([0, *steps.tolist()])]
