"""Densities of MonteCarlo by looking a step ahead: the known law of a step, averaged over samples of the one before."""

from typing import Any

import numpy as np
from dfp_solvers.trajectories import ensemble, look_ahead
from dfp_solvers.trajectories.models import GaussianModel, Start
from numpy.typing import NDArray

from dfp.checks import Array
from dfp.errors import UnresolvedError
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid

# Numbers of places that are kept at a time.
_ENTRIES = 2**22


def obstacle(equation: Equation) -> str | None:
    """Return why no step is looked ahead of, or None."""
    sgd = equation.sgd
    if not (equation.number == "T4" and sgd.affine and sgd.plain and sgd.replace and sgd.law.gaussian):
        return "look_ahead=True needs steps of plain SGD (T4) whose noise is Gaussian given θ; leave it out"
    if equation.dimension > 3:
        return f"look_ahead=True needs d <= 3, and d = {equation.dimension}; leave it out, or give directions=..."
    return None


class LookAhead:
    """Sums over trajectories of the density of a step given the one before, at the saved steps from 1 on."""

    def __init__(
        self, model: GaussianModel, start: Start, saved: NDArray[np.int64], grid: Grid, trajectories: int, seed: int
    ) -> None:
        self._model, self._start, self._grid, self._drawn = model, start, grid, (trajectories, seed)
        self._saved = saved
        self.sums: Array = np.zeros((len(saved), *grid.cells))

    def add(self, first: int, end: int) -> None:
        """Add the trajectories of the blocks ``first`` to ``end``.

        Raises
        ------
        UnresolvedError
            If the law of a step has no density.
        """
        begun = int(self._saved[0] == 0)  # there is no step before step 0
        before = self._saved[begun:] - 1
        if not before.size:
            return
        portion = max(_ENTRIES // (before.size * self._grid.dimension * ensemble.BLOCK), 1)
        for at in range(first, end, portion):
            last = min(at + portion, end)
            places = ensemble.states(self._model, self._start, before, at, last, *self._drawn)
            for s, theta in enumerate(places, begun):
                try:
                    look_ahead.add(self._model, theta, self._grid.lower, self._grid.spacing, self.sums[s])
                except np.linalg.LinAlgError:
                    raise UnresolvedError(
                        f"look_ahead: step {self._saved[s]} has no density given the one before, because its noise "
                        "does not reach all directions; leave look_ahead out."
                    ) from None

    def density(self, s: int, histogram: Array) -> Array:
        """Return the density at saved step ``s``, of cells that a ``histogram`` gives at step 0."""
        density: Any = histogram if self._saved[s] == 0 else self.sums[s] / self._drawn[0]
        return np.asarray(density)
