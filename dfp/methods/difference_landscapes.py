"""(T5) in a nonlinear landscape: two grids in the box that a pilot of louder noise visits, moved as it moves."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from dfp.checks import Array
from dfp.errors import UnresolvedError
from dfp.methods import difference_grids as internal
from dfp.methods import gridded_start
from dfp.methods.difference_levels import (
    FROM_POINT,
    ROUNDING,
    Level,
    regridded,
    spectral_error,
    started,
    starting_frame,
)
from dfp.methods.grids import PERIODIC, automatic
from dfp.methods.pilot import Visits
from dfp.methods.solver import Problem, Run
from dfp.problem.grid import Grid, grid_moments
from dfp.problem.state import State
from dfp.results.frame import Frame

# Trajectories of the pilot, and by how much louder their noise is: boxes of three to nine deviations.
_TRAJECTORIES, _LOUDER = 512, (1.0, 1.25, 1.5, 2.0, 2.5, 3.0)
# Deviations that the furthest of them is away, of a Gaussian law.
_FURTHEST = -float(ndtri(1 / _TRAJECTORIES))
# Rough L1 error of derivatives up to which a box for all steps serves.
_SHOWN = 1e-7
# Steps after which the mass beyond the ellipse is looked at.
_LOOKS = 64
# The share of short waves of a start that are cut, above which the grid does not hold it.
_CUT = 1e-6
REMEDY = "use dfp.MasterEquation, which it approximates, dfp.ModifiedLangevin, or lower learning_rate"


class LandscapeRun(Run):
    """Densities on a fine and a coarse grid; their difference is the error, moments are theirs.

    One box holds all steps where its spacing shows the density from the start. Else those up to 1, 2, 4, 8, … have
    a box of their own each, finer where the density is still narrow.
    """

    kept = ("_step", "_levels.*.values", "_outside")

    grid: Grid

    def __init__(self, problem: Problem, grid: Grid | None, spacing: ArrayLike | None, tolerance: float) -> None:
        self._equation, self._initial, self._tolerance, self._step = problem.equation, problem.initial, tolerance, 0
        self._last, self._spacing, self._levels = problem.last, spacing, list[Level]()
        self._visits, self._narrow = self._pilots(), _narrowest(self._initial)
        self._until, self._outside = 0, 0.0
        self._stride = max(problem.last // _LOOKS, 1)
        self._whole: internal.Box | None = None
        try:
            self._whole = self._chosen(self._pilots(), problem.last)
        except UnresolvedError:
            if self._spacing is not None:
                raise
        self._place(1)
        if grid is None:
            whole = self._whole
            grid = automatic(problem.moments, width=PERIODIC) if whole is None else whole.grid()
        self.grid = grid
        self._cut = 1.0 if self._initial.point else _cut(self._initial, self._box)
        # Waves of a start narrower than the grid shows ring all over the box until the noise has damped them.
        self._looked_from = problem.last // 2 if self._cut > _CUT else 0
        self._outside = self._seen_beyond()

    def _pilots(self) -> list[tuple[float, Visits]]:
        return [(louder, Visits(self._equation, self._initial, louder, _TRAJECTORIES)) for louder in _LOUDER]

    def _place(self, until: int) -> None:
        """Put the densities on grids that suit the steps up to ``until``, or all of them."""
        whole, self._until = self._whole, until
        serves = whole is not None and internal.resolution(whole, self._narrow) <= _SHOWN
        try:
            box = None if serves else self._chosen(self._visits, until)
        except UnresolvedError:
            if whole is None:
                raise
            box = None
        if box is None:
            assert whole is not None
            self._box, self._until = whole, self._last
        else:
            self._box, self._narrow = box, box.deviation
        grids = [self._box.grid(factor) for factor in (1.0, internal.COARSER["spectral"])]
        levels = []
        for i, grid in enumerate(grids):
            if self._levels:
                old = self._levels[i]
                values = regridded(old.values / old.grid.cell_volume, old.grid, grid)
                # What is beyond the new box is lost.
                self._outside = max(self._outside, abs(float(values.sum() - old.values.sum())))
            else:
                values = started(self._initial, grid)
            levels.append(Level(grid, internal.operator(self._equation, self._box, grid, "spectral"), values))
        self._levels = levels
        relative = (grids[0].points - (self._box.lower + self._box.upper) / 2) / (self._box.upper - self._box.lower) * 2
        self._beyond = np.linalg.norm(relative, axis=-1) > 1 - 2 / min(grids[0].cells)

    def advance(self, steps: int) -> None:
        """Go on with the densities on both grids, and look at what is beyond the ellipse now and then."""
        while steps:
            if self._step == self._until:
                self._place(min(2 * self._until, self._last))
            now = min(steps, self._stride, self._until - self._step)
            for level in self._levels:
                level.advance(now)
            self._step, steps = self._step + now, steps - now
            self._outside = max(self._outside, self._seen_beyond())
            self.passing(steps)

    def frame(self) -> Frame:
        """Return the density on the output grid, and the moments of the internal one.

        Raises
        ------
        UnresolvedError
            If the estimated error exceeds the tolerance, or the state is a point.
        """
        if self._step == 0:
            return starting_frame(self._initial, self.grid)
        level = self._levels[0]
        mass, mean, covariance = grid_moments(level.grid, level.values / level.grid.cell_volume)
        # On the finer internal grid, which holds all of the density, whatever the output grid shows.
        coarse = self._levels[1].on(level.grid) * level.grid.cell_volume
        error = spectral_error(float(np.abs(level.values - coarse).sum())) + 2 * self._outside
        if not error <= self._tolerance:
            raise UnresolvedError(
                f"step {self._step}: spacing={self._box.spacing} does not resolve the density of the "
                f"{self._equation.label} in this landscape: estimated L1 error {error:.2g} > tolerance="
                f"{self._tolerance:g}, of which {2 * self._outside:.1g} is mass where coefficients are cut, and "
                f"spacings below {self._box.spacing * self._box.scale} are unstable in the box {self._box.lower} … "
                f"{self._box.upper}; {REMEDY}."
            )
        density = level.on(self.grid)
        outside = mass - float(density.sum()) * self.grid.cell_volume
        notes = (FROM_POINT,) if self._initial.point else ()
        if not notes and self._cut > _CUT:
            notes = (
                f"initial has waves shorter than the smallest stable spacing {self._box.spacing * self._box.scale}, "
                "which (T5) amplifies: they are left out; start from a wider dfp.Gaussian.",
            )
        return Frame(mean, covariance, density, truncation=error, outside=outside, warnings=notes)

    def _chosen(self, pilots: list[tuple[float, Visits]], until: int) -> internal.Box:
        """Return a box with a stable spacing for the steps from where ``pilots`` are to ``until``.

        Raises
        ------
        UnresolvedError
            If there is none, or none with enough cells.
        """
        equation = self._equation
        boxes, deviation = [], np.full(equation.dimension, np.inf)
        for n, (louder, visits) in enumerate(pilots):
            try:
                lower, upper, densest = visits.through(until)
            except UnresolvedError:
                del pilots[n:]
                break
            if np.all(densest > 0):
                deviation = np.minimum(deviation, densest)
                boxes.append((lower, upper, 2 * equation.dimension * float(ndtr(-_FURTHEST * louder))))
        if not boxes:
            raise UnresolvedError(
                f"most trajectories diverge or stay at a point at learning_rate={equation.sgd.learning_rate:g}; lower "
                "it, save later steps, or start from a dfp.Gaussian."
            )
        box = internal.in_landscape(equation, boxes, deviation)
        stable = box.spacing * box.scale
        if self._spacing is not None:
            asked = np.broadcast_to(np.asarray(self._spacing, dtype=np.float64), stable.shape)
            if np.any(asked < stable):
                raise UnresolvedError(
                    f"spacing={asked}: unstable: the {equation.label} amplifies waves shorter than a step, and in the "
                    f"box {box.lower} … {box.upper} the smallest stable spacing is {stable}; coarsen it, lower "
                    "learning_rate, or leave spacing out to have it chosen."
                )
            box = internal.respaced(box, asked)
        if not (
            np.all(np.isfinite(box.spacing)) and min(box.cells(internal.COARSER["spectral"])) >= internal.LEAST_CELLS
        ):
            raise UnresolvedError(
                f"no stable grid resolves the {equation.label} in this landscape at learning_rate="
                f"{equation.sgd.learning_rate:g}: spacings of {box.spacing} (smallest stable ones: {stable}) are too "
                f"coarse for the box {box.lower} … {box.upper}; {REMEDY}."
            )
        return box

    def _seen_beyond(self) -> float:
        """Return the mass where coefficients are cut; rounding errors of cells are none."""
        if self._step < self._looked_from:
            return 0.0
        found = float(np.abs(self._levels[0].values[self._beyond]).sum())
        return found if found > ROUNDING else 0.0


def _cut(initial: State, box: internal.Box) -> float:
    """Return the share of a start at the shortest waves of the grid."""
    return float(np.max(np.exp(-((np.pi * _narrowest(initial) / box.spacing) ** 2) / 2)))


def _narrowest(initial: State) -> Array:
    """Return the deviation (d,) of the narrowest part of a start, along each axis; 0 of a point."""
    given = initial.gridded
    if given is not None:
        return np.asarray(gridded_start.detail(given.values) * given.grid.spacing)
    if initial.point:
        return np.zeros(initial.dimension)
    return np.asarray(np.sqrt(1 / np.linalg.inv(initial.covariance).diagonal()))
