"""FiniteVolume: positive, conservative densities of the generators in one to three dimensions."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from dfp_solvers import finite_volume, markov
from scipy.special import ndtri, stdtrit

from dfp import checks
from dfp.checks import Array
from dfp.equation import Equation, ModifiedLangevin
from dfp.errors import DFPError, UnresolvedError, UnsupportedError
from dfp.exact import Moments, moments
from dfp.methods.cumulants import diffusion_polynomial
from dfp.methods.moment_recursion import MomentRecursion
from dfp.solver import Frame, MarchingSolver, dimension_obstacle
from dfp.state import Density, Gaussian, Grid, Point, State, grid_moments

# Per dimension: cells per axis of automatic grids, the tail probability they cut off, their largest half-width in
# standard deviations.
_CELLS = {1: 4000, 2: 256, 3: 64}
_TAIL = {1: 1e-13, 2: 1e-9, 3: 1e-7}
_WIDEST = {1: 60.0, 2: 16.0, 3: 10.0}
# Beyond this ratio of eigenvalues of the diffusion, in units of cells, offsets become as long as the grid.
_CONDITION = 1e4
# A Gaussian wider than this many cells is integrated by its values at the cell centres to 1e-12.
_RESOLVED = 1.2
# Richardson's estimates of second and first order are multiplied by these, to bound the error before it settles.
_SECOND, _FIRST = 1.5, 2.0


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
    fine: _Level
    coarse: _Level
    first_order: Array
    """1 for fine cells with upwinded rates, else 0."""
    step: int


@dataclass(frozen=True)
class FiniteVolume(MarchingSolver):
    """Finite volumes whose rates form a Markov chain between cells: no negative densities, mass to round-off.

    Solves (T6), (T7), (T7m) with noise of any kind for d = 1, 2, 3 from any state. Every run repeats itself on a grid
    with half the cells per axis; the certificate's truncation is the L1 error estimated from the two, plus, for
    reflecting boundaries, the mass that power-law tails would have outside.

    Parameters
    ----------
    boundary
        ``"reflecting"``: walls round the grid keep all mass; ``"absorbing"``: what reaches them is lost, and moments
        and the certificate's mass outside speak of the rest.

    Notes
    -----
    Mean and covariance are exact, up to what reaches the walls, where cells are shorter than the scale Q over drift.
    Cost hardly grows with the number of steps for d = 1, 2; for d = 3 it does until the density is stationary.
    """

    boundary: str = "reflecting"

    name = "FiniteVolume"
    equations = ("T6", "T7")
    order = "second in the spacing; 1e-10 in time"
    reference = "Chang and Cooper (1970); Fehrenbach and Mirebeau (2014); van den Eshof and Hochbruck (2006)"

    def __post_init__(self) -> None:
        checks.choice("boundary", self.boundary, ("reflecting", "absorbing"))

    def obstacle(self, equation: Equation, initial: State) -> str | None:
        """Return why the dimension is too large, or None."""
        return dimension_obstacle(equation, 3)

    def grid(self, equation: Equation, initial: State, exact: Moments) -> Grid:
        """Return the widest box any step up to the last saved one asks for, with a fixed number of cells.

        Where noise depends on θ, the kurtosis sets the width, read as that of a Student t law. A point lies on a cell
        centre.
        """
        d, last = equation.dimension, int(exact.steps[-1])
        probes = np.unique([0, *exact.steps, *np.geomspace(1, max(last, 1), 24).astype(int).clip(max=last)])
        path = moments(equation, initial, last, probes.tolist())
        deviation = np.sqrt(np.array([np.diag(c) for c in path.covariance]))
        if not np.all(deviation[-1] > 0):
            raise UnresolvedError(
                f"step {last}: the covariance is singular, so there is no density to put on a grid; save later steps, "
                "start from a wider dfp.Gaussian, or use dfp.MomentRecursion()."
            )
        width = _widths(equation, initial, probes)
        lower = np.min(path.mean - width * deviation, axis=0)
        upper = np.max(path.mean + width * deviation, axis=0)
        cells = _CELLS[d]
        if isinstance(initial, Point):
            position = (initial.theta - lower) / (upper - lower) * cells
            shift = (position - np.floor(position) - 0.5) * (upper - lower) / cells
            lower, upper = lower + shift, upper + shift
        return Grid(lower, upper, cells)

    def prepare(self, equation: Equation, initial: State, grid: Grid | None) -> _Carry:
        """Return the chains on ``grid`` and on one of half the cells per axis, at step 0.

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
        half = Grid(grid.lower, grid.upper, tuple(n // 2 for n in grid.cells))
        fine, coarse = (
            _Level(g, _generators(equation, g, self.boundary == "absorbing"), _start(initial, g)) for g in (grid, half)
        )
        return _Carry(equation, fine, coarse, _first_order(equation, grid), 0)

    def advance(self, carry: _Carry, steps: int) -> _Carry:
        """Return both chains ``steps`` later."""
        time = steps * carry.equation.sgd.learning_rate
        fine, coarse = (_advanced(level, time) if steps else level for level in (carry.fine, carry.coarse))
        return replace(carry, fine=fine, coarse=coarse, step=carry.step + steps)

    def observe(self, carry: _Carry) -> Frame:
        """Return the density at the cell centres, its moments and its estimated L1 error."""
        grid = carry.fine.grid
        density = carry.fine.probability / grid.cell_volume
        _, mean, covariance = grid_moments(grid, density)
        error = _halving_error(carry)
        if self.boundary == "absorbing":
            outside = max(1.0 - float(carry.fine.probability.sum()), 0.0)
            return Frame(mean, covariance, density, truncation=min(error, 2.0), outside=outside)
        return Frame(mean, covariance, density, truncation=min(error + 2 * _tails(grid, density, mean), 2.0))


def _widths(equation: Equation, initial: State, probes: Array) -> Array:
    """Return half-widths of the box in standard deviations, shape (d,): the largest over some of the probed steps."""
    d, tail = equation.dimension, _TAIL[equation.dimension]
    widths = np.full(d, -float(ndtri(tail)))
    if equation.additive and not isinstance(initial, Density):
        return widths
    recursion = MomentRecursion(4)
    carry = recursion.prepare(equation, initial, None)
    some = probes[:: -max(len(probes) // 6, 1)][::-1]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for gap in np.diff(some, prepend=0):
            carry = recursion.advance(carry, int(gap))
            frame = recursion.observe(carry)
            assert frame.fourth is not None
            kurtosis = np.einsum("iiii->i", frame.fourth) / np.diag(frame.covariance) ** 2
            # A t law with ν degrees of freedom has the kurtosis 3 + 6/(ν − 4).
            freedom = 4 + 6 / np.maximum(kurtosis - 3, 1e-6)
            student = -stdtrit(freedom, tail) * np.sqrt((freedom - 2) / freedom)
            # A point has no kurtosis yet, an overflowing moment none any more.
            student = np.where(np.isfinite(student), student, widths if carry.step == 0 else _WIDEST[d])
            widths = np.clip(student, widths, _WIDEST[d])
    return widths


def _generators(equation: Equation, grid: Grid, absorbing: bool) -> tuple[Any, ...]:
    """Return one generator, or one per axis where the axes are independent and small enough for dense matrices."""
    d, points = grid.dimension, grid.points.reshape(-1, grid.dimension)
    diffusion = equation.diffusion(points)
    _check_diffusion(equation, points, diffusion, grid)
    drift = -(points @ equation.linear_drift.T + equation.constant_drift)
    if d == 1 or max(grid.cells) > markov.DENSE_SIZE or not separable(equation):
        return (finite_volume.generator(drift, diffusion, grid.cells, grid.spacing, absorbing=absorbing),)
    result = []
    for i, axis in enumerate(grid.axes):
        line = np.zeros((len(axis), d))
        line[:, i] = axis
        along = -(line @ equation.linear_drift.T + equation.constant_drift)[:, i : i + 1]
        spread = equation.diffusion(line)[:, i : i + 1, i : i + 1]
        result.append(
            finite_volume.generator(along, spread, grid.cells[i : i + 1], grid.spacing[i : i + 1], absorbing=absorbing)
        )
    return tuple(result)


def _first_order(equation: Equation, grid: Grid) -> Array:
    points, h = grid.points.reshape(-1, grid.dimension), grid.spacing
    drift = -(points @ equation.linear_drift.T + equation.constant_drift) / h
    scaled = equation.diffusion(points) / np.multiply.outer(h, h)
    flags = finite_volume.upwinded(np.ascontiguousarray(drift), np.ascontiguousarray(scaled))
    result: Array = flags.astype(float).reshape(grid.cells)
    return result


def separable(equation: Equation) -> bool:
    """Tell whether the axes of a generator are independent: K diagonal, Q diagonal and Q_ii a function of θ_i alone."""
    d = equation.dimension
    allowed = np.zeros((d, d, d + 1, d + 1), dtype=bool)
    for i in range(d):
        allowed[i, i][np.ix_([0, i + 1], [0, i + 1])] = True
    off = equation.linear_drift - np.diag(np.diag(equation.linear_drift))
    return not np.any(off) and not np.any(diffusion_polynomial(equation)[~allowed])


def _check_diffusion(equation: Equation, points: Array, diffusion: Array, grid: Grid) -> None:
    scaled = diffusion / np.multiply.outer(grid.spacing, grid.spacing)
    values = np.linalg.eigvalsh(scaled)
    worst = int(np.argmin(values[:, 0] / np.maximum(values[:, -1], np.finfo(float).tiny)))
    smallest, largest = float(values[worst, 0]), float(values[worst, -1])
    if smallest < -1e-10 * abs(largest):
        remedy = (
            "use dfp.ModifiedLangevin(sgd, positive=True)" if isinstance(equation, ModifiedLangevin) else "check it"
        )
        raise UnsupportedError(
            f"solver=FiniteVolume: the diffusion of the {equation.label} is indefinite at θ = {points[worst].round(4)} "
            f"(eigenvalue {np.linalg.eigvalsh(diffusion[worst])[0]:.3g}), so it is no process; {remedy}."
        )
    full = np.abs(scaled).sum(axis=(1, 2)) - np.abs(np.einsum("nii->ni", scaled)).sum(axis=1) > 1e-12 * values[:, -1]
    bad = np.flatnonzero(full & (values[:, 0] * _CONDITION < values[:, -1]))
    if bad.size:
        raise UnresolvedError(
            f"solver=FiniteVolume: the diffusion of the {equation.label} is nearly singular at θ = "
            f"{points[bad[0]].round(4)} (eigenvalues {values[bad[0]]} in units of cells), and no monotone stencil "
            "resolves it; use dfp.Hermite(), dfp.Fourier() or dfp.MonteCarlo(...)."
        )


def _start(initial: State, grid: Grid) -> Array:
    """Return the probabilities of the cells at step 0, shape ``grid.cells``."""
    if np.any(initial.mean < grid.lower) or np.any(initial.mean > grid.upper):
        raise DFPError(
            f"grid: its box {grid.lower} … {grid.upper} does not hold the initial mean {initial.mean}; widen it."
        )
    if isinstance(initial, Density):
        values = _resampled(initial, grid)
    elif isinstance(initial, Gaussian) and _narrowest(initial, grid) >= _RESOLVED:
        values = initial.density(grid.points)
    else:
        values = finite_volume.deposit(
            *finite_volume.cloud(initial.mean, initial.covariance, grid.spacing), grid.lower, grid.spacing, grid.cells
        )
    total = float(values.sum())
    if not total > 0:
        raise DFPError("grid: the initial state has no mass on it; widen or refine it.")
    return values / total


def _narrowest(initial: Gaussian, grid: Grid) -> float:
    """Return the smallest standard deviation in units of cells, in any direction."""
    scaled = initial.covariance / np.multiply.outer(grid.spacing, grid.spacing)
    return float(np.sqrt(max(np.linalg.eigvalsh(scaled)[0], 0.0)))


def _resampled(initial: Density, grid: Grid) -> Array:
    """Return the density at the centres of ``grid`` by cubic interpolation, zero beyond its own box."""
    if initial.grid.matches(grid):
        return initial.values
    pairs = zip(initial.grid.axes, grid.axes, strict=True)
    return np.maximum(finite_volume.apply([finite_volume.interpolation(*pair) for pair in pairs], initial.values), 0.0)


def _advanced(level: _Level, time: float) -> _Level:
    if len(level.generators) == 1:
        flat = level.probability.ravel()
        moved = markov.propagate(level.generators[0], flat, time, level.grid.dimension, level.cache)
        return replace(level, probability=moved.reshape(level.grid.cells))
    if time not in level.cache:
        level.cache.clear()
        level.cache[time] = [markov.transition(matrix, time) for matrix in level.generators]
    return replace(level, probability=finite_volume.apply(level.cache[time], level.probability))


def _halving_error(carry: _Carry) -> float:
    """Return the L1 error of the fine density estimated from the coarse one, of first order where upwinded."""
    fine, coarse = carry.fine.grid, carry.coarse.grid
    matrices = [finite_volume.interpolation(*pair) for pair in zip(fine.axes, coarse.axes, strict=True)]
    expected = finite_volume.apply(matrices, carry.fine.probability) * (coarse.cell_volume / fine.cell_volume)
    difference = float(np.abs(expected - carry.coarse.probability).sum())
    ratio = float(np.min(coarse.spacing / fine.spacing))
    upwinded = float((carry.first_order * carry.fine.probability).sum())
    return difference * (_SECOND * (1 - upwinded) / (ratio**2 - 1) + _FIRST * upwinded / (ratio - 1))


def _tails(grid: Grid, density: Array, mean: Array) -> float:
    """Return the mass that power-law tails with a finite variance would have beyond walls, from the density at them."""
    total = 0.0
    for axis in range(grid.dimension):
        area = grid.cell_volume / grid.spacing[axis]
        for index, distance in ((0, mean[axis] - grid.lower[axis]), (-1, grid.upper[axis] - mean[axis])):
            total += float(np.take(density, index, axis=axis).sum()) * area * max(float(distance), 0.0) / 2
    return total
