"""FiniteDifference: the discrete Fokker–Planck equation on a grid, in one to three dimensions, for any noise."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from dfp_solvers import finite_difference, fourier, pseudospectral
from numpy.typing import ArrayLike

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError, UnresolvedError
from dfp.exact.moments import Moments
from dfp.methods import difference_grids as grids
from dfp.methods import lattice_walk
from dfp.methods.gridded_start import by_waves
from dfp.methods.grids import automatic
from dfp.methods.moment_recursion import MomentRecursion
from dfp.methods.solver import MarchingSolver, dimension_obstacle
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid, grid_moments
from dfp.problem.state import Density, Gaussian, Point, State
from dfp.results.frame import Frame
from dfp.results.solution import Solution

# Differences between two grids are multiplied by these for the error of the finer one: Richardson's factors 1/(r^p − 1)
# for r = 1.5, and a margin before they settle.
_RICHARDSON = {"second": 1.5 * 0.8, "fourth": 3.0 * 0.246}
# Rounding errors of thousands of steps.
_ROUNDING = 1e-12
# A spectrum that falls as slowly as an exponential has, at r = 1.15 times the wave number, the power r of its error.
_POWER = grids.COARSER["spectral"]

_FROM_POINT = (
    "initial is a point, whose derivatives (T5) keeps at every step, so that it has no density: these are its waves as "
    "long as steps allow, and the error counts only those; start from a dfp.Gaussian as wide as a step."
)


@dataclass(frozen=True)
class _Level:
    """The density on one internal grid, and its step."""

    grid: Grid
    operator: Any
    values: Array

    def advanced(self, steps: int) -> "_Level":
        solver = finite_difference if isinstance(self.operator, finite_difference.Stencil) else pseudospectral
        return replace(self, values=solver.march(self.values, self.operator, steps))


@dataclass(frozen=True)
class _Carry:
    equation: Equation
    initial: State
    grid: Grid
    step: int
    mean: Array
    covariance: Array
    moments: Any
    """Of the moment recursion, for the tails."""
    box: grids.Box | None
    levels: tuple[_Level, ...]
    """Fine and coarse; none at step 0."""
    lost: float
    """Probability beyond the boxes so far."""


@dataclass(frozen=True)
class _Walk:
    initial: State
    walk: lattice_walk.Carry


@dataclass(frozen=True)
class FiniteDifference(MarchingSolver):
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
    """

    scheme: str = "spectral"
    tolerance: float = 1e-2
    spacing: ArrayLike | None = None

    name = "FiniteDifference"
    equations = ("T5",)
    order = "spectral, or second or fourth in the spacing, down to the smallest stable one"
    reference = "theory page, sections 2 (stability) and 5 ((T5) on a grid)"

    def __post_init__(self) -> None:
        checks.choice("scheme", self.scheme, (*grids.SCHEMES, "matched"))
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
        """Return why the dimension is too large, or None."""
        return dimension_obstacle(equation, 3)

    def grid(self, equation: Equation, initial: State, exact: Moments) -> Grid:
        """Return a grid on which nearly Gaussian densities are resolved at every saved step, or the walk's own."""
        if self.scheme == "matched":
            return lattice_walk.grid(equation, initial, exact)
        return automatic(exact, width=8.0)

    def prepare(self, equation: Equation, initial: State, grid: Grid | None) -> Any:
        """Return the problem at step 0; internal grids follow once steps are asked for."""
        assert grid is not None
        if self.scheme == "matched":
            return _Walk(initial, lattice_walk.prepare(equation, initial, grid))
        recursion = MomentRecursion(4).prepare(equation, initial, None)
        return _Carry(equation, initial, grid, 0, initial.mean, initial.covariance, recursion, None, (), 0.0)

    def advance(self, carry: Any, steps: int) -> Any:
        """Return the densities on both internal grids, or the walk, ``steps`` later."""
        if isinstance(carry, _Walk):
            return replace(carry, walk=lattice_walk.advance(carry.walk, steps))
        while steps:
            carry, seen = self._looked_ahead(carry, steps)
            carry = self._placed(carry, seen)
            levels = tuple(level.advanced(seen.steps) for level in carry.levels)
            carry = replace(
                carry,
                step=carry.step + seen.steps,
                mean=seen.means[-1],
                covariance=seen.covariances[-1],
                levels=levels,
            )
            steps -= seen.steps
        return carry

    def observe(self, carry: Any) -> Frame:
        """Return the density on the output grid, with moments by the trapezoidal rule on the internal one.

        Raises
        ------
        UnresolvedError
            If the estimated error exceeds the tolerance, or the state is a point.
        """
        if isinstance(carry, _Walk):
            frame = lattice_walk.observe(carry.walk, carry.initial)
            if not frame.truncation <= self.tolerance:
                raise UnresolvedError(
                    f"step {carry.walk.step}: estimated L1 error {frame.truncation:.2g} of the walk > "
                    f"tolerance={self.tolerance:g}; {self._remedy()}."
                )
            return frame
        if not carry.levels:
            return _initial_frame(carry)
        fine, coarse = (_on(carry.grid, level) for level in carry.levels)
        volume = carry.grid.cell_volume
        level = carry.levels[0]
        mass, mean, covariance = grid_moments(level.grid, level.values / level.grid.cell_volume)
        error = self._error(float(np.abs(fine - coarse).sum()) * volume) + 2 * carry.lost
        error += _moment_error(mean - carry.mean, covariance - carry.covariance, carry.covariance)
        if not error <= self.tolerance:
            raise UnresolvedError(self._too_coarse(carry, error))
        outside = mass - float(fine.sum()) * volume
        notes = (_FROM_POINT,) if isinstance(carry.initial, Point) else ()
        return Frame(mean, covariance, fine, truncation=error, outside=outside, warnings=notes)

    def refined(self, solution: Solution, tolerance: float) -> None:
        """Return None: the internal grids are as fine as steps allow, or as rounding errors do."""
        return None

    def _error(self, difference: float) -> float:
        """Return the L1 error of the finer density from its difference to the coarser one."""
        if self.scheme == "spectral":
            return 2.0 * float((difference / 2) ** _POWER) + _ROUNDING
        return _RICHARDSON[self.scheme] * difference

    def _looked_ahead(self, carry: _Carry, steps: int) -> tuple[_Carry, grids.Window]:
        """Return a window of some of the next steps, and the carry with its moments at the window's end."""
        taken, means, covariances = grids.window(carry.equation, carry.mean, carry.covariance, steps)
        ahead, freedom = grids.tails(carry.moments, taken)
        return replace(carry, moments=ahead), grids.Window(taken, means, covariances, freedom)

    def _placed(self, carry: _Carry, seen: grids.Window) -> _Carry:
        """Return the carry with its densities on grids that suit the window."""
        spacing = None if self.spacing is None else np.broadcast_to(self.spacing, carry.mean.shape).astype(float)
        box = grids.choose(carry.equation, seen, self.scheme, spacing)
        self._check(carry, seen, box)
        lost = max(carry.lost, box.outside)
        if carry.box is not None and box.near(carry.box):
            return replace(carry, lost=lost)
        levels = []
        for i, factor in enumerate((1.0, grids.COARSER[self.scheme])):
            grid = box.grid(factor)
            if carry.levels:
                level = carry.levels[i]
                values = _regridded(level.values / level.grid.cell_volume, level.grid, grid)
            else:
                values = _started(carry.initial, grid)
            levels.append(_Level(grid, grids.operator(carry.equation, box, grid, self.scheme), values))
        return replace(carry, box=box, levels=tuple(levels), lost=lost)

    def _check(self, carry: _Carry, seen: grids.Window, box: grids.Box) -> None:
        """Refuse spacings that amplify short waves or leave too few cells."""
        eta, label = carry.equation.sgd.learning_rate, carry.equation.label
        spacing, stable = _digits(box.spacing), _digits(box.spacing * box.scale)
        if not box.scale <= 1:
            largest = grids.largest_rate(carry.equation, seen, self.scheme, box.spacing)
            raise UnresolvedError(
                f"spacing={spacing}: unstable from step {carry.step}: the {label} amplifies waves shorter than a "
                f"step, and in the box {box.lower} … {box.upper} the smallest stable spacing of the {self.scheme} "
                f"scheme is {stable}; coarsen it to between that and the standard deviation {box.deviation}, or lower "
                f"learning_rate from {eta:g}: at most {largest:.6g} is stable on this spacing; leave spacing out to "
                "have it chosen."
            )
        if self.spacing is not None and min(box.cells(grids.COARSER[self.scheme])) < grids.LEAST_CELLS:
            raise UnresolvedError(
                f"spacing={spacing}: too coarse at step {carry.step}: it leaves cells={box.cells()} in the box "
                f"{box.lower} … {box.upper}; refine it to between {stable}, the smallest stable one, and "
                f"{_digits(box.deviation)}, the standard deviation, or leave spacing out to have it chosen."
            )
        if min(box.cells(grids.COARSER[self.scheme])) < grids.LEAST_CELLS:
            raise UnresolvedError(
                f"step {carry.step}: no stable grid resolves the {label} at learning_rate={eta:g}: spacings of "
                f"{spacing} (smallest stable ones: {stable}) leave cells={box.cells()} in the box {box.lower} … "
                f"{box.upper}, for standard deviations {box.deviation}; {self._remedy()}."
            )

    def _too_coarse(self, carry: _Carry, error: float) -> str:
        box = carry.box
        assert box is not None
        return (
            f"step {carry.step}: spacing={box.spacing} does not resolve the density of the {carry.equation.label}, "
            f"with standard deviations {box.deviation}: estimated L1 error {error:.2g} > tolerance={self.tolerance:g}, "
            f"and spacings below {box.spacing * box.scale} are unstable; {self._remedy()}."
        )

    def _remedy(self) -> str:
        return (
            "save later steps if it starts narrow, lower learning_rate, raise tolerance, or use dfp.Hermite() or "
            "dfp.MomentRecursion()"
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


def _started(initial: State, grid: Grid) -> Array:
    """Return the masses of the initial state's waves that the grid holds, shape ``grid.cells``."""
    if isinstance(initial, Density):
        return _regridded(initial.values / initial.mass, initial.grid, grid)
    phi = fourier.gaussian(fourier.wave_numbers(grid.spacing, grid.cells), initial.mean, initial.covariance)
    return fourier.invert(phi, grid.lower, grid.spacing, grid.cells)[0] * grid.cell_volume


def _regridded(density: Array, old: Grid, grid: Grid) -> Array:
    """Return the masses of a density on another grid: the waves that both hold."""
    moved = fourier.regridded(density, old.lower, old.spacing, grid.lower, grid.spacing, grid.cells)
    return moved[0] * grid.cell_volume


def _on(grid: Grid, level: _Level) -> Array:
    """Return the density's trigonometric interpolant at the cell centres of ``grid``."""
    return by_waves(level.grid, level.values, grid) / level.grid.cell_volume


def _initial_frame(carry: _Carry) -> Frame:
    """Return the state at step 0 as it is given."""
    initial, grid = carry.initial, carry.grid
    if isinstance(initial, Point):
        raise UnresolvedError("step 0: a point has no density; save later steps or start from a narrow dfp.Gaussian.")
    given = initial.gridded
    density = (
        Gaussian(initial.mean, initial.covariance).on(grid)
        if given is None
        else by_waves(given.grid, given.values, grid)
    )
    outside = 1.0 - float(density.sum()) * grid.cell_volume
    return Frame(initial.mean, initial.covariance, density, outside=outside)
