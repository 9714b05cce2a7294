"""FiniteVolume: positive, conservative densities of the generators in one to three dimensions."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
from dfp_solvers import lattice, richardson
from dfp_solvers.markov_chain import evolution
from numpy.typing import NDArray
from scipy.special import ndtri

from dfp import checks
from dfp.checks import Array, every
from dfp.errors import DFPError, UnresolvedError
from dfp.exact.moments import Moments
from dfp.methods import chain, gridded_start, student
from dfp.methods.grids import conditional_deviations
from dfp.methods.moment_recursion import MomentRecursion
from dfp.methods.pilot import moments_along
from dfp.methods.solver import MarchingSolver, dimension_obstacle
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid, grid_moments
from dfp.problem.state import Density, State
from dfp.results.frame import Frame
from dfp.results.solution import Solution

# Per dimension: most cells per axis of automatic grids, the tail probability they cut off, their largest half-width in
# standard deviations.
_CELLS = {1: 2**14, 2: 320, 3: 64}
_LEAST_CELLS = 32
_TAIL = {1: 1e-13, 2: 1e-9, 3: 1e-9}
_WIDEST = {1: 60.0, 2: 16.0, 3: 10.0}
# A Gaussian is found to the L1 error _FOURTH (spacing / deviation)⁴, measured for d = 1, 2, 3.
_FOURTH = 0.2
# The same with this many times Q/|drift|, the scale on which drift carries away, in place of the deviation.
_PECLET = 6.0
# Integration in time is more accurate than cells by this factor, and than moments need to be for their certificate.
_TIME, _COARSEST = 1e-3, 1e-9


@dataclass(frozen=True)
class _Level:
    """The chain on one grid: one generator, or one per axis where they add up; probabilities of cells."""

    grid: Grid
    generators: tuple[Any, ...]
    probability: Array
    cache: dict[float, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Carry:
    equation: Equation
    levels: tuple[_Level, ...]
    """From fine to coarse."""
    upwinded: NDArray[np.bool_]
    """Whether the rates of the finest cells are of first order."""
    started: float
    """Estimated L1 error of the start on the finest cells."""
    step: int


@dataclass(frozen=True)
class FiniteVolume(MarchingSolver):
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
    """

    boundary: str = "reflecting"
    tolerance: float = 1e-6
    cells: int | Sequence[int] | None = None

    name = "FiniteVolume"
    equations = ("T6", "T7")
    nonlinear = ("T6", "T7")
    order = "fourth in the spacing where cells divide by four, else second; to a tolerance in time"
    reference = "Chang and Cooper (1970); Fehrenbach and Mirebeau (2014); van den Eshof and Hochbruck (2006)"

    def __post_init__(self) -> None:
        checks.choice("boundary", self.boundary, ("reflecting", "absorbing"))
        checks.real("tolerance", self.tolerance, above=0, below=0.1)

    def obstacle(self, equation: Equation, initial: State) -> str | None:
        """Return why the dimension is too large, or None."""
        return dimension_obstacle(equation, 3 if equation.sgd.affine else 2)

    def grid(self, equation: Equation, initial: State, exact: Moments) -> Grid:
        """Return the widest box any step up to the last saved one asks for, with cells for the narrowest saved density.

        Where noise depends on θ, the kurtosis sets the width, read as that of a Student t law.
        """
        d, last = equation.dimension, int(exact.steps[-1])
        probes = np.array(sorted({*_probes(last), *exact.steps.tolist()}))
        path = moments_along(equation, initial, probes)
        deviation = np.sqrt(path.covariance.diagonal(axis1=1, axis2=2))
        if not every(deviation[-1] > 0):
            raise UnresolvedError(
                f"step {last}: the covariance is singular, so there is no density to put on a grid; save later steps, "
                "start from a wider dfp.Gaussian, or use dfp.MomentRecursion()."
            )
        width, core = _widths(equation, initial, probes)
        reach = width * deviation
        lower, upper = (path.mean - reach).min(axis=0), (path.mean + reach).max(axis=0)
        if self.cells is not None:
            return Grid(lower, upper, self.cells)
        narrowest = core * _narrowest(exact.covariance)
        if isinstance(initial, Density):
            narrowest = np.minimum(narrowest, gridded_start.detail(initial.values) * initial.grid.spacing)
        spacing = np.minimum(narrowest, _PECLET * _carried_scale(equation, path))
        wanted = np.ceil((upper - lower) / (spacing * min((self.tolerance / _FOURTH) ** 0.25, 1.0)) / 4) * 4
        return Grid(lower, upper, [int(min(max(n, _LEAST_CELLS), _CELLS[d])) for n in wanted.tolist()])

    def prepare(self, equation: Equation, initial: State, grid: Grid | None) -> _Carry:
        """Return the chains on ``grid`` and on coarser ones, at step 0.

        Raises
        ------
        DFPError
            If the grid has fewer than 8 cells on an axis, or does not hold the initial state.
        UnsupportedError
            If the diffusion is indefinite somewhere on the grid (T7m with C off H's axes).
        UnresolvedError
            If it is too close to singular for a monotone stencil.
        """
        assert grid is not None
        if min(grid.cells) < 8:
            raise DFPError(f"grid.cells={grid.cells}: the error estimate needs at least 8 per axis; use more.")
        grids = chain.halved(grid)
        built = [chain.generators(equation, g, absorbing=self.boundary == "absorbing") for g in grids]
        starts = chain.start(initial, grids)
        levels = (_Level(g, made[0], first) for g, made, first in zip(grids, built, starts, strict=True))
        return _Carry(equation, tuple(levels), built[0][1], chain.start_error(initial, grid), 0)

    def advance(self, carry: _Carry, steps: int) -> _Carry:
        """Return all chains ``steps`` later."""
        time = steps * carry.equation.sgd.learning_rate
        tolerance = min(_TIME * self.tolerance, _COARSEST)
        levels = tuple(_advanced(level, time, tolerance) if steps else level for level in carry.levels)
        return replace(carry, levels=levels, step=carry.step + steps)

    def observe(self, carry: _Carry) -> Frame:
        """Return the density at the cell centres, its moments and its estimated L1 error."""
        grid, fine = carry.levels[0].grid, carry.levels[0].probability
        levels = [level.probability / level.grid.cell_volume for level in carry.levels]
        if carry.step == 0:
            # The initial state is known: there is nothing to extrapolate.
            levels = levels[:2]
        density, error = richardson.best(levels, float((carry.upwinded * fine).sum()))
        error = error * float(np.prod(grid.upper - grid.lower)) + carry.started
        if self.boundary == "absorbing":
            _, mean, covariance = grid_moments(grid, density)
            outside = max(1.0 - float(density.sum()) * grid.cell_volume, 0.0)
            return Frame(mean, covariance, density, truncation=min(error, 2.0), outside=outside, gridded_moments=True)
        density = density / (float(density.sum()) * grid.cell_volume)
        _, mean, covariance = grid_moments(grid, density)
        error = min(error + 2 * wall_tails(grid, density, mean), 2.0)
        return Frame(mean, covariance, density, truncation=error, gridded_moments=True)

    def refined(self, solution: Solution, tolerance: float) -> tuple[MarchingSolver, Grid | None]:
        """Return the solver with a smaller tolerance, which automatic grids aim at."""
        aim = self.tolerance * min(tolerance / float(solution.certificate.error.max()), 0.5) / 2
        return replace(self, tolerance=aim), None


@lru_cache(maxsize=64)
def _probes(last: int) -> tuple[int, ...]:
    """Return some steps from 0 to ``last``, geometrically spaced."""
    return 0, *np.unique(np.geomspace(1, max(last, 1), 24).astype(int).clip(max=last)).tolist()


def _narrowest(covariances: Array) -> Array:
    """Return the smallest conditional standard deviation of every axis, shape (d,); infinite if all are singular."""
    deviations = conditional_deviations(covariances)
    return np.where(deviations > 0, deviations, np.inf).min(axis=0)


def _carried_scale(equation: Equation, path: Moments) -> Array:
    """Return the least Q/|drift| of every axis, shape (d,), up to two standard deviations from the path of the mean."""
    deviations = np.sqrt(path.covariance.diagonal(axis1=1, axis2=2))
    points = path.mean[:, None] + _shifts(equation.dimension) * deviations[:, None]
    drift, diffusion = chain.coefficients(equation, points.reshape(-1, equation.dimension))
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = diffusion.diagonal(axis1=1, axis2=2) / np.abs(drift)
    return np.where(scale > 0, scale, np.inf).min(axis=0)


@lru_cache(maxsize=3)
def _shifts(d: int) -> Array:
    """Return the places, in standard deviations, where the drift is looked at: the mean and two along each axis."""
    return 2 * np.concatenate([np.zeros((1, d)), np.eye(d), -np.eye(d)])


def _widths(equation: Equation, initial: State, probes: Array) -> tuple[Array, float]:
    """Return half-widths of the box and the least width of its peak, in standard deviations.

    Half-widths (d,) are the largest over some of the probed steps.
    """
    d, tail = equation.dimension, _TAIL[equation.dimension]
    widths = np.full(d, -float(ndtri(tail)))
    if not equation.sgd.affine or (equation.additive and not isinstance(initial, Density)):
        return widths, 1.0
    recursion, core = MomentRecursion(4), 1.0
    carry = recursion.prepare(equation, initial, None)
    some = probes[:: -max(len(probes) // 6, 1)][::-1]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for gap in np.diff(some, prepend=0):
            carry = recursion.advance(carry, int(gap))
            freedom = student.freedom(recursion.observe(carry))
            wanted = student.half_width(freedom, tail)
            # A point has no kurtosis yet, an overflowing moment none any more.
            wanted = np.where(np.isfinite(wanted), wanted, widths if carry.step == 0 else _WIDEST[d])
            widths = np.clip(wanted, widths, _WIDEST[d])
            core = min(core, float(np.nanmin(student.core(freedom), initial=1.0)))
    return widths, core


def _advanced(level: _Level, time: float, tolerance: float) -> _Level:
    if len(level.generators) == 1:
        flat = level.probability.ravel()
        moved = evolution.propagate(level.generators[0], flat, time, level.grid.dimension, level.cache, tolerance)
        return replace(level, probability=moved.reshape(level.grid.cells))
    if time not in level.cache:
        level.cache.clear()
        level.cache[time] = [evolution.transition(matrix, time) for matrix in level.generators]
    return replace(level, probability=lattice.apply(level.cache[time], level.probability))


def wall_tails(grid: Grid, density: Array, mean: Array) -> float:
    """Return the mass that power-law tails with a finite variance would have beyond walls, from the density at them."""
    total = 0.0
    for axis in range(grid.dimension):
        area = grid.cell_volume / grid.spacing[axis]
        for index, distance in ((0, mean[axis] - grid.lower[axis]), (-1, grid.upper[axis] - mean[axis])):
            total += float(np.take(density, index, axis=axis).sum()) * area * max(float(distance), 0.0) / 2
    return total
