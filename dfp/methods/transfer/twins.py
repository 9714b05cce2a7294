"""Twins of spectral transfer: the same problem in coarser boxes, whose errors are known, tells how errors fall."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from dfp_solvers.transfer.spectral import Box
from numpy.typing import NDArray

from dfp.checks import Array
from dfp.errors import UnresolvedError
from dfp.problem.grid import Grid

# Width, and nodes in a length, over those of the run.
FACTORS = (0.9, 0.8)
# Cells of an axis at which twins are compared, about: their differences are sums of few waves.
_COMPARED = 64


class Twin(Protocol):
    """A run in boxes of its own."""

    step: int
    box: Box | None

    def advance(self, steps: int) -> None:
        """Go on by ``steps``."""

    def settle(self) -> None:
        """Go to the fixed point of a step."""

    def estimated(self) -> float:
        """Return its L1 error by what its tails and last waves add up to."""

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
    """

    def __init__(self, make: Callable[[float], Twin], saved: NDArray[np.int64]) -> None:
        self._make, self._saved = make, saved
        self._found: list[Twin] | None = None
        self._lost = False

    def error(self, run: Twin, grid: Grid, *, settled: bool) -> float:
        """Return the L1 error of ``run`` on the grid by those of its twins, infinite where a twin is refused."""
        if self._lost:
            return np.inf
        strides = [max(n // _COMPARED, 1) for n in grid.cells]
        axes = [axis[::stride] for axis, stride in zip(grid.axes, strides, strict=True)]
        values, volume, apart = run.values(axes), grid.cell_volume * float(np.prod(strides)), []
        try:
            if self._found is None:
                self._found = [self._make(factor) for factor in FACTORS]
            for twin in self._found:
                self._follow(twin, run.step, settled)
                apart.append(float(np.abs(twin.values(axes) - values).sum()) * volume)
            return _judged(apart, [_scale(twin, run) for twin in self._found], run.estimated(), self._found[0].estimated())
        except UnresolvedError:
            self._lost, self._found = True, None
            return np.inf

    def _follow(self, twin: Twin, step: int, settled: bool) -> None:
        if settled:
            twin.settle()
        else:
            for stop in [*self._saved[(self._saved > twin.step) & (self._saved < step)].tolist(), step]:
                twin.advance(stop - twin.step)


def _scale(twin: Twin, run: Twin) -> float:
    """Return width and nodes in a length over those of the run, with odd numbers of nodes."""
    assert twin.box is not None and run.box is not None
    return float(np.prod(twin.box.cells) / np.prod(run.box.cells)) ** (0.5 / len(run.box.cells))


def _judged(apart: list[float], scales: list[float], estimate: float, coarse: float) -> float:
    """Return the error of a run from the differences of two twins to it, their scales, and estimates for it and one.

    Parameters
    ----------
    apart, scales
        Of the finer twin, and of the coarser one.
    estimate, coarse
        For the run, and for its finer twin.
    """
    near, far = apart
    # What errors fall by from twin to twin they fall by again, as power laws of the scale do; Gaussians fall faster.
    power = np.log(scales[0]) / np.log(scales[1] / scales[0])
    fallen = near * min(near / far, 1.0) ** power if far > 0 else near
    # What the estimate of the twin is off by, that of the run is off by too.
    return float(np.sqrt(fallen * estimate * near / coarse))
