"""Twins of spectral transfer: the same problem in other boxes tells how far a run is from the truth.

Coarser boxes, whose errors are known, tell how errors fall with the box: cheap, and right for Gaussian noise. Few
minibatches leave details whose waves fall unevenly, and coarser twins may share an error with the run: a finer one,
nearer the truth than the run, tells it, at twice the cost of the run.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from dfp_solvers.transfer.spectral import Box
from numpy.typing import NDArray

from dfp.checks import Array
from dfp.errors import UnresolvedError
from dfp.problem.grid import Grid

# Width, and nodes in a length, over those of the run: of the coarser twins of Gaussian noise, and of the finer one.
_COARSER, _FINER = (0.9, 0.7), (1.1,)
# True errors over what twins say, at most (validation case spectral-certificates).
_JUDGED = 1.25
# Error of a run over that of its finer twin, at most: where it falls more slowly, little is known of either.
_SLOWEST = 0.8
# Cells of an axis at which twins are compared, about, by dimension: their differences are sums of few waves.
_COMPARED = {2: 64, 3: 24}


class Twin(Protocol):
    """A run in boxes of its own."""

    step: int
    box: Box | None

    def advance(self, steps: int) -> None:
        """Go on by ``steps``."""

    def settle(self) -> None:
        """Go to the fixed point of a step."""

    def estimated(self) -> tuple[float, float]:
        """Return its L1 error by what is in tails, and in waves beyond the last."""

    def values(self, axes: list[Array]) -> Array:
        """Return its density on the lattice of ``axes``."""


class Twins:
    """Twins of a run, made where the first frame asks for them.

    Parameters
    ----------
    make
        Returns a twin at step 0, by a factor < 1.
    saved
        Steps of all frames: twins stop at each, so that theirs are the same bits whichever frame is the first.
    gaussian
        Whether noise is Gaussian.
    """

    def __init__(self, make: Callable[[float], Twin], saved: NDArray[np.int64], *, gaussian: bool) -> None:
        self._make, self._saved, self._gaussian = make, saved, gaussian
        self._found: list[Twin] | None = None

    def error(self, run: Twin, grid: Grid, *, settled: bool) -> float:
        """Return a bound of the L1 error of ``run`` on the grid by its twins, infinite where one of them is refused."""
        strides = [max(n // _COMPARED[grid.dimension], 1) for n in grid.cells]
        axes = [axis[::stride] for axis, stride in zip(grid.axes, strides, strict=True)]
        values, volume = run.values(axes), grid.cell_volume * float(np.prod(strides))
        try:
            found = self._at(run.step, settled)
            apart = [float(np.abs(twin.values(axes) - values).sum()) * volume for twin in found]
            if not found:
                return np.inf
            # Of a finer twin: what it differs by, and what is estimated of the twin itself.
            error = _by_falls(apart, [run, *found]) if self._gaussian else apart[0] + sum(found[0].estimated())
            return _JUDGED * error
        except UnresolvedError:
            return np.inf

    def _at(self, step: int, settled: bool) -> list[Twin]:
        """Return the twins at a step, none once one of them was refused on the way."""
        try:
            if self._found is None:
                self._found = [self._make(factor) for factor in factors(self._gaussian)]
            for twin in self._found:
                if settled:
                    twin.settle()
                    continue
                for stop in [*self._saved[(self._saved > twin.step) & (self._saved < step)].tolist(), step]:
                    twin.advance(stop - twin.step)
        except UnresolvedError:
            self._found = []
        return self._found


def factors(gaussian: bool) -> tuple[float, ...]:
    """Return width, and nodes in a length, of twins over those of their run."""
    return _COARSER if gaussian else _FINER


def _by_falls(apart: list[float], runs: list[Twin]) -> float:
    """Return the error of a run from the differences of its coarser twins to it; ``runs`` are it and they.

    Notes
    -----
    What errors fell by from twin to twin they fall by again, as powers of the scale (of Gaussians faster); and what the
    estimate of the finer twin is off by, that of the run is off by too. Each is right to a factor of about two, and
    their geometric mean to less.
    """
    near, far = apart
    first, second = (_scale(twin, runs[0]) for twin in runs[1:])
    fallen = min(near / far, 1.0) ** (np.log(first) / np.log(second / first)) if far > 0 else 1.0
    by_falls = near * _rest(fallen)
    tails, waves = runs[1].estimated()
    estimate = sum(runs[0].estimated())
    by_estimates = near * _rest(estimate / max(tails + waves, estimate))
    return float(np.sqrt(by_falls * by_estimates))


def _rest(fall: float) -> float:
    """Return the error of a run over the difference of its twin to it, from the error over that of the twin."""
    fall = min(fall, _SLOWEST)
    return fall / (1 - fall)


def _scale(twin: Twin, run: Twin) -> float:
    """Return width and nodes in a length over those of the run, with odd numbers of nodes."""
    assert twin.box is not None and run.box is not None
    return float(np.prod(twin.box.cells) / np.prod(run.box.cells)) ** (0.5 / len(run.box.cells))
