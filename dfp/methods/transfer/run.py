"""What the four methods behind ``Transfer`` have in common: they say how long they take before they start."""

from abc import abstractmethod

from dfp.methods.solver import Problem, Run
from dfp.problem.grid import Grid


class TransferRun(Run):
    """A run of the master equation on a grid."""

    grid: Grid

    @abstractmethod
    def __init__(self, problem: Problem, grid: Grid | None) -> None:
        """Begin at step 0 on ``grid`` or, if it is None, on one of its own choice."""

    @classmethod
    @abstractmethod
    def seconds(cls, problem: Problem) -> float:
        """Return about how long it takes on an ordinary core, by the size of its kernels."""
