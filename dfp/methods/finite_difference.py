"""FiniteDifference: the discrete Fokker–Planck equation on a grid, in one to three dimensions, for any noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError, UnresolvedError
from dfp.methods import difference_grids as internal
from dfp.methods.difference_landscapes import LandscapeRun
from dfp.methods.difference_levels import (
    FROM_POINT,
    Level,
    regridded,
    spectral_error,
    started,
    starting_frame,
)
from dfp.methods.grids import PERIODIC, automatic
from dfp.methods.lattice_walk import REMEDY, WalkRun
from dfp.methods.moment_recursion import HigherMoments
from dfp.methods.short_waves import hidden
from dfp.methods.solver import Problem, Run, Solver
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid, grid_moments
from dfp.problem.state import State
from dfp.results.frame import Frame
from dfp.results.solution import Solution

# Differences between two grids are multiplied by these for the error of the finer one: Richardson's factors 1/(r^p − 1)
# for r = 1.5, and a margin before they settle.
# Steps between two places at which a checkpoint may be made.
_PORTION = 1000
_RICHARDSON = {"second": 1.5 * 0.8, "fourth": 3.0 * 0.246}


@dataclass(frozen=True)
class FiniteDifference(Solver):
    """The discrete Fokker–Planck equation (T5) stepped on a grid no finer than its steps allow.

    (T5) amplifies waves shorter than a step, so a grid cannot be refined at will: the internal grid is the finest
    stable one, or coarser where that is fine enough, in a box that follows the density; its band-limited interpolant is
    returned on ``grid``. Every run repeats itself on a coarser internal grid; the certificate's truncation is the L1
    error estimated from the two and from the exact moments, plus the probability beyond the boxes.

    Parameters
    ----------
    scheme
        ``"spectral"``: Fourier derivatives; ``"second"``, ``"fourth"``: centred stencils of this order; ``"matched"``:
        a random walk between the cells of ``grid`` itself with the mean and covariance of the step, never negative and
        exact in both. Its cells must be about as wide as a step's noise; third and fourth moments tell its error.
    tolerance
        Largest accepted L1 error estimate, in (0, 1).
    spacing
        Of the internal grid, a number or (d,) [parameter]; chosen if left out. Not for ``"matched"``.

    Raises
    ------
    UnresolvedError
        Before a step is taken, where ``spacing`` is unstable there, no stable grid has enough cells or the walk cannot
        be positive; after it, where the estimated error exceeds ``tolerance``.

    Notes
    -----
    Mass is kept to rounding error, and so are mean and covariance up to what reaches the ends of the box. A start
    narrower than the smallest stable spacing, a ``Point`` in particular, is represented by the waves the grid holds;
    (T5) damps these within some steps, while what it makes of shorter ones is no density.
    In a nonlinear landscape moments are those of the grid, and nothing but the second grid tells the error. Boxes are
    what trajectories with louder noise visit: one for all steps or, for a start too narrow for that one, new ones after
    1, 2, 4, 8, … steps. Beyond the ellipse in a box coefficients stay constant, and the mass found there counts as
    outside.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.02)
    >>> start = dfp.Gaussian(0.5, 0.02)
    >>> solution = dfp.solve(dfp.DiscreteFokkerPlanck(sgd), start, 50, solver=dfp.FiniteDifference())
    >>> print(solution.solver, bool(solution.certificate.covariance_error.max() < 1e-3))
    FiniteDifference True
    """

    scheme: str = "spectral"
    tolerance: float = 1e-2
    spacing: ArrayLike | None = None

    name = "FiniteDifference"
    equations = ("T5",)
    nonlinear = ("T5",)
    order = "spectral, or second or fourth in the spacing, down to the smallest stable one"
    reference = "theory page, sections 2 (stability) and 5 ((T5) on a grid)"
    starts = "any; from a `Point` after some steps"
    cost = "cells × steps"

    def __post_init__(self) -> None:
        checks.choice("scheme", self.scheme, (*internal.SCHEMES, "matched"))
        checks.real("tolerance", self.tolerance, above=0, below=1)
        if self.spacing is not None:
            given = np.atleast_1d(checks.array("spacing", self.spacing, dimensions=(0, 1)))
            if not given.min() > 0:
                raise DFPError(f"spacing has the entry {given.min():g}: must be positive; give widths of cells.")
            if self.scheme == "matched":
                raise DFPError(
                    "spacing: scheme='matched' walks on the output grid; leave spacing out and give grid=..."
                )

    def obstacle(self, equation: Equation, initial: State) -> str | None:
        """Return that stencils and walks take coefficients that are polynomials in θ, where they are not."""
        if equation.sgd.affine or self.scheme == "spectral":
            return None
        return f"the landscape is nonlinear, where scheme='spectral' is stable alone (scheme={self.scheme!r})"

    def start(self, problem: Problem, grid: Grid | None = None) -> "WalkRun | DifferenceRun | LandscapeRun":
        """Return a walk on its own grid, or a run on internal grids, reported on one for nearly Gaussian densities.

        In a nonlinear landscape the run reports on the grid that holds all steps, if there is one.
        """
        if self.scheme == "matched":
            return WalkRun(problem, grid, self.tolerance)
        if not problem.equation.sgd.affine:
            return LandscapeRun(problem, grid, self.spacing, self.tolerance)
        return DifferenceRun(self, problem, automatic(problem.moments, width=PERIODIC) if grid is None else grid)

    def refined(self, solution: Solution, tolerance: float) -> None:
        """Return None: the internal grids are as fine as steps allow, or as rounding errors do."""
        return None


class DifferenceRun(Run):
    """Densities on a fine and a coarse internal grid, which follow the exact moments from window to window."""

    grid: Grid

    def __init__(self, solver: FiniteDifference, problem: Problem, grid: Grid) -> None:
        self.grid, self._scheme, self._tolerance = grid, solver.scheme, solver.tolerance
        self._equation, self._initial = problem.equation, problem.initial
        self._spacing = solver.spacing
        self._step, self._mean, self._covariance = 0, problem.initial.mean, problem.initial.covariance
        self._moments = HigherMoments(problem.equation, problem.initial)  # for the tails
        self._box: internal.Box | None = None
        self._levels: list[Level] = []
        self._lost = 0.0  # probability beyond the boxes so far
        self._left = 0  # steps to the end of the window, where mean and covariance are those kept

    def advance(self, steps: int) -> None:
        """Go on with the densities on both internal grids."""
        while steps:
            if self._left == 0:
                taken, means, covariances = internal.window(self._equation, self._mean, self._covariance, steps)
                self._place(internal.Window(taken, means, covariances, internal.tails(self._moments, taken)))
                self._left, self._mean, self._covariance = taken, means[-1], covariances[-1]
            # Matrices of lines are squared, which has no places in between.
            now = self._left if self._mean.size == 1 else min(self._left, _PORTION)
            for level in self._levels:
                level.advance(now)
            self._step, self._left, steps = self._step + now, self._left - now, steps - now
            self.passing(steps)

    def state(self) -> dict[str, Any] | None:
        """Return moments, box and densities."""
        return {
            "step": self._step, "mean": self._mean, "covariance": self._covariance, "lost": self._lost,
            "left": self._left, "powers": self._moments.state(), "box": None if self._box is None else vars(self._box),
            "levels": [level.values for level in self._levels],
        }  # fmt: skip

    def resume(self, state: dict[str, Any]) -> None:
        """Go on in the box of the state, with operators made again."""
        self._step, self._mean, self._covariance = state["step"], state["mean"], state["covariance"]
        self._lost, self._left = state["lost"], state["left"]
        self._moments.resume(state["powers"])
        if state["box"] is not None:
            self._box = internal.Box(**state["box"])
            self._levels = self._levels_of(self._box, state["levels"])

    def _levels_of(self, box: internal.Box, given: Sequence[Array | None]) -> list[Level]:
        """Return the fine and the coarse grid in a box, with these masses or, without any, those there now or first."""
        levels = []
        for i, factor in enumerate((1.0, internal.COARSER[self._scheme])):
            grid, values = box.grid(factor), given[i]
            if values is None and self._levels:
                level = self._levels[i]
                values = regridded(level.values / level.grid.cell_volume, level.grid, grid)
            elif values is None:
                values = started(self._initial, grid)
            levels.append(Level(grid, internal.operator(self._equation, box, grid, self._scheme), values))
        return levels

    def frame(self) -> Frame:
        """Return the density on the output grid, with moments by the trapezoidal rule on the internal one.

        Raises
        ------
        UnresolvedError
            If the estimated error exceeds the tolerance, or the state is a point.
        """
        if not self._levels:
            return starting_frame(self._initial, self.grid)
        level, volume = self._levels[0], self.grid.cell_volume
        fine, coarse = (level.on(self.grid) for level in self._levels)
        mass, mean, covariance = grid_moments(level.grid, level.values / level.grid.cell_volume)
        error = self._error(float(np.abs(fine - coarse).sum()) * volume) + 2 * self._lost
        error += _moment_error(mean - self._mean, covariance - self._covariance, self._covariance)
        amplified = self._amplified(level.grid)
        if not amplified <= 2.0:  # more than all waves that are not amplified can hold
            raise UnresolvedError(
                f"step {self._step}: the {self._equation.label} has no density here: it has amplified waves of the "
                f"initial state that are shorter than a step, to {amplified:.2g} in L1; lower learning_rate, start "
                "from a wider state, or use dfp.MasterEquation(sgd), which it approximates."
            )
        error += amplified
        if not error <= self._tolerance:
            raise UnresolvedError(self._too_coarse(error))
        outside = mass - float(fine.sum()) * volume
        notes = (FROM_POINT,) if self._initial.point else ()
        return Frame(mean, covariance, fine, truncation=error, outside=outside, warnings=notes)

    def _amplified(self, grid: Grid) -> float:
        """Return what has become of waves that the internal ``grid`` does not hold; of a point all waves are short."""
        if self._initial.point:
            return 0.0
        seen = float(np.min(np.pi * np.sqrt(self._covariance.diagonal()) / grid.spacing))
        return hidden(self._equation, self._initial, self._step, self._covariance, seen)

    def _error(self, difference: float) -> float:
        """Return the L1 error of the finer density from its difference to the coarser one."""
        if self._scheme == "spectral":
            return spectral_error(difference)
        return _RICHARDSON[self._scheme] * difference

    def _place(self, seen: internal.Window) -> None:
        """Put the densities on grids that suit the window."""
        spacing = None if self._spacing is None else np.broadcast_to(self._spacing, self._mean.shape).astype(float)
        box = internal.choose(self._equation, seen, self._scheme, spacing)
        self._check(seen, box)
        self._lost = max(self._lost, box.outside)
        if self._box is not None and box.near(self._box):
            return
        self._box, self._levels = box, self._levels_of(box, (None, None))

    def _check(self, seen: internal.Window, box: internal.Box) -> None:
        """Refuse spacings that amplify short waves or leave too few cells."""
        eta, label, scheme = self._equation.sgd.learning_rate, self._equation.label, self._scheme
        spacing, stable = _digits(box.spacing), _digits(box.spacing * box.scale)
        if not box.scale <= 1:
            largest = internal.largest_rate(self._equation, seen, scheme, box.spacing)
            raise UnresolvedError(
                f"spacing={spacing}: unstable from step {self._step}: the {label} amplifies waves shorter than a "
                f"step, and in the box {box.lower} … {box.upper} the smallest stable spacing of the {scheme} "
                f"scheme is {stable}; coarsen it to between that and the standard deviation {box.deviation}, or lower "
                f"learning_rate from {eta:g}: at most {largest:.6g} is stable on this spacing; leave spacing out to "
                "have it chosen."
            )
        if min(box.cells(internal.COARSER[scheme])) >= internal.LEAST_CELLS:
            return
        if self._spacing is not None:
            raise UnresolvedError(
                f"spacing={spacing}: too coarse at step {self._step}: it leaves cells={box.cells()} in the box "
                f"{box.lower} … {box.upper}; refine it to between {stable}, the smallest stable one, and "
                f"{_digits(box.deviation)}, the standard deviation, or leave spacing out to have it chosen."
            )
        raise UnresolvedError(
            f"step {self._step}: no stable grid resolves the {label} at learning_rate={eta:g}: spacings of "
            f"{spacing} (smallest stable ones: {stable}) leave cells={box.cells()} in the box {box.lower} … "
            f"{box.upper}, for standard deviations {box.deviation}; {REMEDY}."
        )

    def _too_coarse(self, error: float) -> str:
        box = self._box
        assert box is not None
        return (
            f"step {self._step}: spacing={box.spacing} does not resolve the density of the {self._equation.label}, "
            f"with standard deviations {box.deviation}: estimated L1 error {error:.2g} > tolerance="
            f"{self._tolerance:g}, and spacings below {box.spacing * box.scale} are unstable; {REMEDY}."
        )


def _digits(values: Array) -> str:
    """Return boundaries with the digits that tell them from their neighbours, however arrays are printed elsewhere."""
    return np.array2string(values, precision=8, suppress_small=False)


def _moment_error(shift: Array, spread: Array, covariance: Array) -> float:
    """Return the L1 distance of two Gaussians whose moments differ a little by ``shift`` and ``spread``."""
    deviation = np.sqrt(np.diag(covariance))
    # E|z| = 0.8 and E|z² − 1|/2 = 0.48, E|z z'| = 0.64 for standard normal z, z'.
    relative = np.abs(spread) / np.outer(deviation, deviation)
    return float(0.8 * np.sum(np.abs(shift) / deviation) + 0.5 * np.sum(relative))
