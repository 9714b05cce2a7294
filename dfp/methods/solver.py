"""What a solver is: ``start`` turns a problem into a run, and the driver takes the run from saved step to saved step.

A ``Run`` moves a density; a ``SamplingRun`` draws trajectories through all saved steps, in portions. Both own their
state, and neither a loop over time, a file or a progress bar. How to add one: ``CONTRIBUTING.md``.
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from dfp import checks
from dfp.errors import DFPError, UnsupportedError
from dfp.exact.moments import Moments, moments, moments_at
from dfp.methods.grids import probed
from dfp.methods.patience import Patience
from dfp.methods.pilot import moments_along
from dfp.problem.arguments import summary
from dfp.problem.averaged_equation import AveragedEquation
from dfp.problem.averages import Average
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid
from dfp.problem.state import Gaussian, State
from dfp.results.frame import Frame

if TYPE_CHECKING:
    from dfp.results.solution import Solution


@dataclass(frozen=True, eq=False)
class Problem:
    """What a solver is given: an equation, the state at step 0, and the moments at the steps to save."""

    equation: Equation
    initial: State
    moments: Moments
    """Exact at the saved steps; of a pilot, or not finite, where ``failure`` says why."""
    failure: DFPError | None = None
    """Why the exact moments are not known, to be raised by solvers that need them."""
    average: Average | None = None
    """The average of the iterates whose law and ``moments`` are asked for, where it is that."""

    @classmethod
    def of(cls, equation: Equation, initial: State, saved: NDArray[np.int64]) -> Self:
        """Return the problem of the densities at the steps ``saved`` (S,), increasing."""
        if not equation.sgd.affine:
            failure = UnsupportedError("the landscape is nonlinear, where moments do not close")
            return cls(equation, initial, moments_along(equation, initial, saved), failure)
        try:
            exact = moments_at(equation, initial, saved)
        except UnsupportedError as error:
            mean = np.full((saved.size, equation.dimension), np.nan)
            return cls(equation, initial, Moments(saved, mean, mean[:, :, None] * mean[:, None, :]), error)
        if checks.finite(exact.mean) and checks.finite(exact.covariance):
            return cls(equation, initial, exact)
        finite = np.isfinite(exact.mean).all(axis=1) & np.isfinite(exact.covariance).all(axis=(1, 2))
        overflow = DFPError(
            f"step {saved[np.argmin(finite)]}: the moments of the {equation.label} overflow; it is unstable at "
            f"learning_rate={equation.sgd.learning_rates}; lower it or save earlier steps."
        )
        return cls(equation, initial, exact, overflow)

    @classmethod
    def late(cls, equation: Equation, settled: Gaussian, step: int, initial: State | None = None) -> Self:
        """Return the problem of the density at a late ``step``, where the moments are those of ``settled``."""
        moments = Moments(np.array([step]), settled.mean[None], settled.covariance[None])
        return cls(equation, settled if initial is None else initial, moments)

    @classmethod
    def averaged(cls, equation: AveragedEquation, initial: State, saved: NDArray[np.int64]) -> Self:
        """Return the problem of the densities of an average."""
        exact = moments(equation, initial, int(saved[-1]), saved.tolist())
        return cls(equation.iterate, initial, exact, average=equation.average)

    @property
    def exact(self) -> bool:
        """Whether the moments are the exact ones."""
        return self.failure is None

    @cached_property
    def path(self) -> Moments:
        """The way there: moments at step 0, at some geometrically spaced steps, and at the saved ones."""
        return moments_along(self.equation, self.initial, probed(self.last, 24, self.steps))

    @property
    def steps(self) -> NDArray[np.int64]:
        """Steps to save, shape (S,)."""
        return self.moments.steps

    @property
    def last(self) -> int:
        """The last of them."""
        return int(self.moments.steps[-1])


def _part(owner: Any, name: str) -> Any:
    return owner[int(name)] if name.isdigit() else getattr(owner, name)


def _expanded(owner: Any, path: str) -> list[str]:
    """Return the paths that one with a ``*`` stands for."""
    above, star, below = path.partition(".*.")
    if not star:
        return [path]
    return [f"{above}.{i}.{below}" for i in range(len(functools.reduce(_part, above.split("."), owner)))]


class Run(ABC):
    """A density on its way: it owns its state, and the driver tells it how far to go."""

    grid: Grid | None
    """Where densities are returned; None where there are none."""
    patience: Patience | None = None
    """Whom to tell how far it is, where a single ``advance`` may take minutes."""
    passed: Callable[[int], None] | None = None
    """Whom to tell on the way through a gap, see ``passing``."""
    kept: ClassVar[tuple[str, ...] | None] = None
    """All that advancing changes: attributes, dotted within parts, ``*`` for all of a list; None if not known."""

    @abstractmethod
    def advance(self, steps: int) -> None:
        """Go on by ``steps`` >= 0."""

    @abstractmethod
    def frame(self) -> Frame:
        """Return what is known at the present step."""

    def forecast(self) -> float:
        """Return about how many seconds it takes on an ordinary core, where that is known before it begins; else 0."""
        return 0.0

    def passing(self, left: int) -> None:
        """Say, within ``advance``, that ``advance(left)`` would now go on from the state to the same bits."""
        if self.passed is not None and left:
            self.passed(left)

    def state(self) -> dict[str, Any] | None:
        """Return what a new run of the same problem goes on from, to the same bits; None if that is not known."""
        if self.kept is None:
            return None
        paths = [path for given in self.kept for path in _expanded(self, given)]
        return {path: functools.reduce(_part, path.split("."), self) for path in paths}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from the ``state`` of another run of the same problem."""
        for path, value in state.items():
            *above, last = path.split(".")
            setattr(functools.reduce(_part, above, self), last, value)


class SamplingRun(ABC):
    """Independent trajectories through all saved steps, drawn in portions."""

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold, while trajectories are drawn, what no other process may write: nothing, of most."""
        yield

    grid: Grid | None
    """Cells of the histograms; None where there are none."""
    trajectories: int
    """How many to draw in all."""
    moves: float
    """Numbers that one trajectory draws or moves in all its steps."""

    @property
    @abstractmethod
    def drawn(self) -> int:
        """Number of trajectories drawn so far, those of an interrupted run included."""

    @abstractmethod
    def draw(self) -> None:
        """Draw a further portion of the trajectories."""

    @abstractmethod
    def frames(self) -> list[Frame]:
        """Return what the trajectories so far say of every saved step."""

    @abstractmethod
    def warnings(self) -> list[str]:
        """Return what went wrong while drawing, in words."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return what a new run of the same problem goes on from, to the same bits."""

    @abstractmethod
    def resume(self, state: dict[str, Any]) -> None:
        """Go on from the ``state`` of another run of the same problem."""


class Solver(ABC):
    """Common face of all solvers: what they take, and how a run begins."""

    name: ClassVar[str]
    equations: ClassVar[tuple[str, ...]]
    """Numbers of the equations it solves."""
    order: ClassVar[str]
    """Declared accuracy."""
    reference: ClassVar[str]
    """Where the method comes from."""
    noise: ClassVar[str] = "any"
    """The noise it takes, in words."""
    starts: ClassVar[str] = "any"
    """The initial states it takes, in words."""
    cost: ClassVar[str]
    """What its cost grows with, in words."""
    gridded: ClassVar[bool] = True
    """Whether it produces densities on a grid."""
    certified: ClassVar[bool] = True
    """Whether it estimates the error of its densities, so that they can be refined to a tolerance."""
    dimensions: ClassVar[int | None] = 3
    """Largest number of parameters; None for any."""
    nonlinear: ClassVar[tuple[str, ...]] = ()
    """Numbers of the equations it also solves in a nonlinear landscape."""
    nonlinear_dimensions: ClassVar[int | None] = 2
    """Largest number of parameters there."""
    momentum: ClassVar[bool] = False
    """Whether it takes momentum."""
    schedules: ClassVar[bool] = False
    """Whether it takes learning rates and batch sizes that change from step to step."""
    averages: ClassVar[bool] = False
    """Whether it takes averages of iterates, which it carries beside θ."""
    without_replacement: ClassVar[bool] = False
    """Whether it takes minibatches drawn without replacement."""

    @abstractmethod
    def start(self, problem: Problem, grid: Grid | None = None) -> Run | SamplingRun:
        """Return a run at step 0, on ``grid`` or one of its own choice; here one of several methods is chosen."""

    def obstacle(self, equation: Equation, initial: State) -> str | None:
        """Return why it cannot solve a problem of which the attributes say that it can, or None."""
        return None

    def needs_moments(self, equation: Equation) -> bool:
        """Return whether it needs the exact moments, to find its grid or its start by."""
        return True

    def refusal(self, equation: Equation, initial: State) -> str | None:
        """Return why it cannot solve this problem, by its attributes or its ``obstacle``, or None if it can."""
        sgd, d = equation.sgd, equation.dimension
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
        if self.gridded and summary(equation, initial):
            return "of the start, velocities included, moments alone are known"
        obstacle = self.obstacle(equation, initial)
        if obstacle is not None:
            return obstacle
        most = self.dimensions if sgd.affine else self.nonlinear_dimensions
        return None if most is None or d <= most else f"densities need d <= {most}, and d = {d}"

    def require(self, equation: Equation, initial: State, instead: str | None = None) -> None:
        """Raise ``UnsupportedError`` with the reason and what to do ``instead`` unless the problem is supported."""
        reason = self.refusal(equation, initial)
        if reason:
            raise UnsupportedError(
                f"solver={self.name} cannot solve the {equation.label} here: {reason}. "
                f"{instead or self._instead(equation)}"
            )

    def _instead(self, equation: Equation) -> str:
        """Return which solvers take an equation that this one refuses."""
        sgd = equation.sgd
        if not sgd.affine and equation.dimension > 2:
            own = equation.discrete and self.name == "MonteCarlo"
            return "No other solver takes it." if own else "Use dfp.MonteCarlo(...) with dfp.MasterEquation(sgd)."
        closed = sgd.affine and sgd.law.finite and (sgd.replace or sgd.additive)
        drawn = equation.discrete or (sgd.affine and not sgd.scheduled)
        others = ["dfp.MomentRecursion() for moments"] if closed and self.name != "MomentRecursion" else []
        others += (
            ["dfp.MonteCarlo(...) for samples"] if equation.process and drawn and self.name != "MonteCarlo" else []
        )
        return f"Use solver='auto'{', or ' if others else ''}{' and '.join(others)}."

    def refined(self, solution: "Solution", tolerance: float) -> "tuple[Solver, Grid | None] | None":
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


def saved_gaps(steps: NDArray[np.int64]) -> list[int]:
    """Return the number of steps from each saved step to the next, starting at step 0."""
    return [after - before for before, after in pairwise([0, *steps.tolist()])]
