"""FiniteVolume: positive, conservative densities of the generators in one to three dimensions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from dfp_solvers import lattice, richardson
from dfp_solvers.markov_chain import evolution
from dfp_solvers.markov_chain.generator import Generator, fastest
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from dfp import checks
from dfp.checks import TINY, Array, every
from dfp.errors import DFPError, UnresolvedError
from dfp.methods import gridded_start, markov_chain
from dfp.methods.grids import (
    LEAST_CELLS,
    MOST_VOLUMES,
    OUTSIDE_STUDENT,
    WIDEST_STUDENT,
    box,
    boxed,
    conditional_deviations,
    deviations,
    student_core,
    student_freedom,
    student_width,
)
from dfp.methods.heavy_tails import HEAVY, bulk_of, heavy_box, tail_index, wall_tails
from dfp.methods.moment_recursion import HigherMoments
from dfp.methods.solver import Problem, Run, Solver
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid, grid_moments
from dfp.problem.state import State
from dfp.results.frame import Frame
from dfp.results.solution import Solution

# A Gaussian is found to the L1 error _FOURTH (spacing / deviation)⁴, measured for d = 1, 2, 3.
_FOURTH = 0.2
# The same with this many times Q/|drift|, the scale on which drift carries away, in place of the deviation.
_PECLET = 6.0
# Integration in time is more accurate than cells by this factor, and than moments need to be for their certificate; it
# does not ask for less than rounding leaves.
_TIME, _COARSEST, _FINEST = 1e-3, 1e-9, 1e-13
# Multiplications between two places at which a checkpoint may be made, half a minute.
_PRODUCTS = 2e10
# Cells per deviation of a density, of the Gaussian with its slopes, below which it is not resolved at all.
_LEAST_DETAIL = 0.7


@dataclass
class _Level:
    """The chain on one grid: one generator, or one per axis where they add up; probabilities of cells."""

    grid: Grid
    generators: tuple[Generator, ...]
    probability: Array
    _known: dict[float, Any] = field(default_factory=dict)
    """Exponentials of the generators by time."""

    def portion(self, rate: float) -> int:
        """Return steps between two places at which a checkpoint may be made, all where factors take any number."""
        if len(self.generators) > 1 or self.grid.dimension < 3:
            return 2**62
        (matrix,) = self.generators
        return max(int(_PRODUCTS / (matrix.nnz * fastest(matrix) * rate)), 1)

    def advance(self, time: float, tolerance: float) -> None:
        """Go on by slow ``time``."""
        if len(self.generators) == 1:
            flat, (matrix,), d = self.probability.ravel(), self.generators, self.grid.dimension
            moved = evolution.propagate(matrix, flat, time, d, self._known, tolerance)
            self.probability = moved.reshape(self.grid.cells)
            return
        if time not in self._known:
            self._known.clear()
            self._known[time] = [evolution.transition(matrix, time) for matrix in self.generators]
        self.probability = lattice.apply(self._known[time], self.probability)


@dataclass(frozen=True)
class FiniteVolume(Solver):
    """Finite volumes whose rates form a Markov chain between cells: no negative densities, mass to round-off.

    Solves (T6), (T7), (T7m) with noise of any kind for d = 1, 2, 3 from any state. Every run repeats itself on grids
    with half and a quarter of the cells per axis: together they give a density of fourth order and the certificate's
    truncation, its estimated L1 error, plus, for reflecting boundaries, the mass that power-law tails would have
    outside.

    Parameters
    ----------
    boundary
        ``"reflecting"``: walls round the grid keep all mass; ``"absorbing"``: what reaches them is lost, and moments
        and the certificate's mass outside speak of the rest.
    tolerance
        L1 error that automatic grids aim at, in (0, 0.1); the certificate says what was reached. Integration in time
        is a thousand times more accurate.
    cells
        Cells per axis of automatic grids instead, one number or one per axis.

    Notes
    -----
    Grids whose numbers of cells are not multiples of four give densities of second order. Mean and covariance are
    exact, up to what reaches the walls, where cells are shorter than the scale ``Q/|drift|``.
    Cost hardly grows with the number of steps for d = 1, 2; for d = 3 it does until the density is stationary.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0], [0.5])), learning_rate=0.1)
    >>> start = dfp.Gaussian(0.5, 0.1)
    >>> solution = dfp.solve(dfp.Langevin(sgd), start, 20, solver=dfp.FiniteVolume(), grid=400)
    >>> print(solution.solver, bool((solution.density >= 0).all()))
    FiniteVolume True
    """

    boundary: str = "reflecting"
    tolerance: float = 1e-6
    cells: int | Sequence[int] | None = None

    name = "FiniteVolume"
    equations = ("T6", "T7")
    nonlinear = ("T6", "T7")
    order = "fourth in the spacing where cells divide by four, else second; to a tolerance in time"
    reference = "Chang and Cooper (1970); Fehrenbach and Mirebeau (2014); van den Eshof and Hochbruck (2006)"
    cost = "cells; hardly steps for d ≤ 2"

    def __post_init__(self) -> None:
        checks.choice("boundary", self.boundary, ("reflecting", "absorbing"))
        checks.real("tolerance", self.tolerance, above=0, below=0.1)

    def start(self, problem: Problem, grid: Grid | None = None) -> "FiniteVolumeRun":
        """Return the chains on ``grid`` and on coarser ones.

        Raises
        ------
        DFPError
            If the grid has fewer than 8 cells on an axis, or does not hold the initial state.
        UnsupportedError
            If the diffusion is indefinite somewhere on the grid (T7m with C off H's axes).
        UnresolvedError
            If it is too close to singular for a monotone stencil.
        """
        return FiniteVolumeRun(self, problem, self.automatic_grid(problem) if grid is None else grid)

    def automatic_grid(self, problem: Problem) -> Grid:
        """Return the widest box any step up to the last saved one asks for, with cells for the narrowest saved density.

        Where noise depends on θ, the kurtosis sets the width, read as that of a Student t law.
        """
        equation, initial, d = problem.equation, problem.initial.gridded, problem.equation.dimension
        path, spread = problem.path, deviations(problem.path)
        if not every(spread[-1] > 0):
            moments = ", or use dfp.MomentRecursion()" if equation.sgd.affine else ""
            raise UnresolvedError(
                f"step {problem.last}: the covariance is singular, so there is no density to put on a grid; save later "
                f"steps, or start from a wider dfp.Gaussian{moments}."
            )
        width, core = _widths(equation, problem.initial, path.steps)
        lower, upper = box(path, width, spread)
        heavy = heavy_box(problem, lower, upper) if self.cells is None else None
        if heavy is not None:
            return heavy
        if self.cells is not None:
            return Grid(lower, upper, self.cells)
        narrowest = core * _narrowest(problem.moments.covariance)
        if initial is not None:
            narrowest = np.minimum(narrowest, gridded_start.detail(initial.values) * initial.grid.spacing)
        spacing = np.minimum(narrowest, _PECLET * _peclet_length(equation, path.mean, spread))
        wanted = np.ceil((upper - lower) / (spacing * min((self.tolerance / _FOURTH) ** 0.25, 1.0)) / 4) * 4
        cells = tuple(int(min(max(n, LEAST_CELLS), MOST_VOLUMES[d])) for n in wanted.tolist())
        return boxed(lower, upper, cells)

    def refined(self, solution: Solution, tolerance: float) -> tuple[Solver, Grid | None]:
        """Return the solver with a smaller tolerance, which grids aim at, or a wider grid where walls meet mass."""
        figures, (grid, _) = solution.certificate, solution.gridded()
        met = 2 * float(np.max(figures.mass_outside))
        if self.cells is None and met > float(np.max(figures.truncation)) / 2:
            wider = grid.refined(1.5, 2.0)  # beyond a wall may be another well, whose near side meets more mass
            if wider is not None:
                most = MOST_VOLUMES[grid.dimension]
                cells = [min(-(-n // 4) * 4, most) for n in wider.cells]
                return self, Grid(wider.lower, wider.upper, cells)
        aim = self.tolerance * min(tolerance / float(solution.certificate.error.max()), 0.5) / 2
        return replace(self, tolerance=aim), None


class FiniteVolumeRun(Run):
    """The chains on the cells of ``grid`` and on cells twice and four times as long."""

    kept = ("_step", "_levels.*.probability")

    grid: Grid

    def __init__(self, solver: FiniteVolume, problem: Problem, grid: Grid) -> None:
        if min(grid.cells) < 8:
            raise DFPError(f"grid.cells={grid.cells}: the error estimate needs at least 8 per axis; use more.")
        self.grid, self._step, self._absorbing = grid, 0, solver.boundary == "absorbing"
        self._rate = problem.equation.sgd.learning_rate
        self._tolerance = max(min(_TIME * solver.tolerance, _COARSEST), _FINEST)
        grids = markov_chain.halved(grid)
        built = [markov_chain.generators(problem.equation, g, absorbing=self._absorbing) for g in grids]
        starts = markov_chain.start(problem.initial, grids)
        # From fine to coarse; rates of the finest cells may be of first order.
        self._levels = [_Level(g, made[0], first) for g, made, first in zip(grids, built, starts, strict=True)]
        self._upwinded, self._portion = built[0][1], self._levels[0].portion(self._rate)
        self._started = markov_chain.start_error(problem.initial, grid)
        self._problem, self._index = problem, tail_index(problem.equation)
        bulk = bulk_of(problem)
        self._coarse = bulk is not None and bool(np.any(grid.spacing > bulk.core))

    def advance(self, steps: int) -> None:
        """Go on with all chains."""
        while steps:
            now = min(steps, self._portion)
            for level in self._levels:
                level.advance(now * self._rate, self._tolerance)
            self._step, steps = self._step + now, steps - now
            self.passing(steps)

    def frame(self) -> Frame:
        """Return the density at the cell centres, its moments and its estimated L1 error."""
        grid, fine = self.grid, self._levels[0].probability
        # The initial state is known: there is nothing to extrapolate.
        levels = self._levels if self._step else self._levels[:2]
        densities = [level.probability / level.grid.cell_volume for level in levels]
        density, error = richardson.best(densities, float((self._upwinded * fine).sum()))
        error = error * grid.cell_volume * math.prod(grid.cells) + self._started
        if self._step and (self._coarse or gridded_start.detail(density).min() < _LEAST_DETAIL):
            error = 2.0  # three grids none of which shows the density, or its bulk, agree on nothing
        if self._absorbing:
            _, mean, covariance = grid_moments(grid, density)
            outside = max(1.0 - float(density.sum()) * grid.cell_volume, 0.0)
            return Frame(mean, covariance, density, truncation=min(error, 2.0), outside=outside, gridded_moments=True)
        density = density / (float(density.sum()) * grid.cell_volume)
        _, mean, covariance = grid_moments(grid, density)
        tails = wall_tails(grid, density, mean, self._index)
        met = self._met()
        # Gaussian tails beyond a wall are less than those of a power law, by which the error counts them as well.
        outside = min(met + (0.0 if self._problem.equation.additive else tails), 1.0)
        error = min(error + 2 * (met + tails), 2.0)
        # What walls have kept inside is outside: it counts there too.
        return Frame(mean, covariance, density * (1 - outside), truncation=error, outside=outside, gridded_moments=True)

    def _met(self) -> float:
        """Return the mass that walls have kept inside, at any step so far."""
        grid, initial, met = self.grid, self._problem.initial, 0.0
        given = initial.gridded
        if given is not None:
            inside = [(x >= a) & (x <= b) for x, a, b in zip(given.grid.axes, grid.lower, grid.upper, strict=True)]
            met = max(1.0 - float(given.values[np.ix_(*inside)].sum()) / float(given.values.sum()), 0.0)
            met = met if met > 1e-9 else 0.0
        if not self._problem.exact or self._index < HEAVY:
            return met  # moments say nothing of the bulk
        # A path in continuous time touches a wall about twice as often as it ends beyond it.
        return max(met, 2 * float(self._beyond[self._problem.path.steps <= self._step].max()))

    @cached_property
    def _beyond(self) -> Array:
        """Mass of a Gaussian beyond the walls along the path."""
        path = self._problem.path
        spread = np.maximum(deviations(path), TINY)
        beyond = ndtr((self.grid.lower - path.mean) / spread) + ndtr((path.mean - self.grid.upper) / spread)
        return np.asarray(beyond.sum(axis=1))


def _narrowest(covariances: Array) -> Array:
    """Return the smallest conditional standard deviation of every axis, shape (d,); infinite if all are singular."""
    deviations = conditional_deviations(covariances)
    return np.where(deviations > 0, deviations, np.inf).min(axis=0)


def _peclet_length(equation: Equation, mean: Array, spread: Array) -> Array:
    """Return the least Q/|drift| of every axis, shape (d,), up to two deviations ``spread`` (S, d) from ``mean``."""
    points = mean[:, None] + _shifts(equation.dimension) * spread[:, None]
    drift, diffusion = markov_chain.coefficients(equation, points.reshape(-1, equation.dimension))
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = diffusion.diagonal(axis1=1, axis2=2) / np.abs(drift)
    return np.where(scale > 0, scale, np.inf).min(axis=0)


@lru_cache(maxsize=3)
def _shifts(d: int) -> Array:
    """Return the places, in standard deviations, where the drift is looked at: the mean and two along each axis."""
    return 2 * np.concatenate([np.zeros((1, d)), np.eye(d), -np.eye(d)])


def _widths(equation: Equation, initial: State, steps: NDArray[np.int64]) -> tuple[Array, float]:
    """Return half-widths of the box and the least width of its peak, in standard deviations.

    Half-widths (d,) are the largest over some of the probed ``steps``.
    """
    d, tail = equation.dimension, OUTSIDE_STUDENT[equation.dimension]
    widths = np.full(d, -float(ndtri(tail)))
    if not equation.sgd.affine or (equation.additive and initial.gridded is None):
        return widths, 1.0
    moments, core = HigherMoments(equation, initial), 1.0
    some = steps[:: -max(len(steps) // 6, 1)][::-1]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for step, gap in zip(some, np.diff(some, prepend=0), strict=True):
            moments.advance(int(gap))
            freedom = student_freedom(moments.frame())
            wanted = student_width(freedom, tail)
            # A point has no kurtosis yet, an overflowing moment none any more.
            wanted = np.where(np.isfinite(wanted), wanted, widths if step == 0 else WIDEST_STUDENT[d])
            widths = np.clip(wanted, widths, WIDEST_STUDENT[d])
            core = min(core, float(np.nanmin(student_core(freedom), initial=1.0)))
    return widths, core
