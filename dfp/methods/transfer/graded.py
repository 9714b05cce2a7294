"""Transfer on a line: Gaussian steps on graded nodes, reported on any grid with the mass beyond it."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from dfp_solvers import fourier, lattice
from dfp_solvers.transfer import graded as line
from numpy.typing import NDArray
from scipy.special import ndtr

from dfp.checks import Array
from dfp.errors import UnresolvedError
from dfp.methods.solver import saved_gaps
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid
from dfp.problem.noise import GaussianLaw
from dfp.problem.state import Density, Gaussian, Point, State
from dfp.results.frame import Frame

# Mass beyond the nodes at any step, and beyond an automatic grid if that many cells reach so far.
_BEYOND, _OUTSIDE = 1e-15, 1e-13
# Most nodes between which steps are taken, and entries of the table that interpolates a gridded start.
_MOST_NODES, _MOST_ENTRIES = 2**18, 2**25
_CELLS, _LEAST_CELLS = 4096, 128
# Cells per deviation of what is left of the density without its tails: at least this many resolve it to 1e-12.
_PER_DEVIATION = {True: 2.4, False: 6.0}
# L1 error of sums of kernels in double precision: of the last one, and of those before, which average.
_LAST, _ROUNDING = 1e-13, 1e-14


def applies(equation: Equation) -> bool:
    """Return whether the equation is one-dimensional with Gaussian noise that vanishes nowhere."""
    if not equation.sgd.affine:
        return False
    law = equation.sgd.noise
    return equation.dimension == 1 and isinstance(law, GaussianLaw) and law.constant.item() > 0


def heavy(equation: Equation) -> bool:
    """Return whether this file applies and the variance grows without bound, E(1 − ηh)² >= 1 with fluctuating h."""
    if not (equation.sgd.plain and applies(equation)):
        return False
    law = step_of(equation)
    return law.slope_variance > 0 and law.slope**2 + law.slope_variance >= 1


def seconds(equation: Equation, steps: int) -> float:
    """Return about how long ``steps`` take: nodes to 50 scales, 35 entries a node, a nanosecond an entry."""
    nodes = 2 * np.arcsinh(50.0) / line.lattice(step_of(equation)).spacing
    return 1.0 + (0.0 if nodes < 400 else float(steps * nodes * 35e-9))


def step_of(equation: Equation) -> line.Step:
    """Return one step of an equation to which this file applies."""
    eta, law = equation.sgd.learning_rate, equation.sgd.noise
    assert isinstance(law, GaussianLaw)
    slope, shift = 1 - equation.linear_drift.item(), -equation.constant_drift.item()
    return line.Step(slope, shift, eta**2 * law.table.item(), eta**2 * law.constant.item())


@dataclass(frozen=True)
class LineCarry:
    """Masses at the nodes now and one step before, from which densities between the nodes follow."""

    equation: Equation
    initial: State
    grid: Grid | None
    law: line.Step
    step: int
    lattice: line.Lattice
    now: tuple[Array, Array]
    before: tuple[Array, Array] | None = None
    lost: float = 0.0
    matrix: Any = field(default=None, repr=False)

    def advanced(self, steps: int) -> "LineCarry":
        """Return the carry ``steps`` later."""
        if steps == 0:
            return self
        carry = _extended(self, self.step + steps)
        at, nodes = carry.now, carry.lattice.nodes
        first = carry.matrix
        if carry.step == 0:
            first = _weighted(line.transition(nodes, at[0], self.law), carry.lattice)
        if steps > 1:
            mass = line.powers(carry.matrix, first @ at[1], steps - 2)
            before = (nodes, mass)
            now = (nodes, carry.matrix @ mass)
        else:
            before, now = at, (nodes, first @ at[1])
        lost = carry.lost + float(at[1].sum()) - float(now[1].sum())
        return replace(carry, step=self.step + steps, now=now, before=before, lost=lost)

    def frame(self) -> Frame:
        """Return the density on the grid, the moments of all mass on the nodes, and the mass outside the grid."""
        grid = self.grid
        assert grid is not None
        if self.before is None:
            density, outside = start_density(self.initial, grid)
        else:
            density, outside = self._spread(grid, *self.before)
        x, mass = self.now
        mean, covariance = node_moments(x, mass)
        error = 2 * abs(self.lost) + _LAST + _ROUNDING * np.sqrt(self.step + 1.0) if self.step else 0.0
        outside = counted(density, grid, outside + self.lost)
        return Frame(mean, covariance, density, truncation=error, outside=outside, warnings=self._notes())

    def _notes(self) -> tuple[str, ...]:
        """Return a warning where the second moment grows without bound, so that no mass on nodes can show it."""
        growth = self.law.slope**2 + self.law.slope_variance
        if not (growth >= 1 and self.law.slope_variance > 0):
            return ()
        return (
            f"E(1 − ηh)² = {growth:.4g} >= 1: the variance grows without bound, carried by ever rarer excursions; the "
            "density and the mass outside are right, mean and covariance are those of the mass followed: look at "
            "quantiles instead.",
        )

    def _spread(self, grid: Grid, sources: Array, mass: Array) -> tuple[Array, float]:
        """Return the density on the grid one step from ``sources``, and the mass that lands outside."""
        density: Array = line.transition(grid.axes[0], sources, self.law) @ mass
        mean, deviation = self.law.mean(sources), self.law.deviation(sources)
        below, above = (grid.lower.item() - mean) / deviation, (mean - grid.upper.item()) / deviation
        return density, float((ndtr(below) + ndtr(above)) @ mass)


def grid(carry: LineCarry, saved: NDArray[np.int64]) -> Grid:
    """Return a grid that holds all but 1e-13 of the mass at every saved step or, of heavy tails, what 4096 cells do.

    Its box comes from quantiles, for the variance may not exist, and its spacing from the bulk.
    """
    edges, widths = [], []
    for gap in saved_gaps(saved):
        carry = carry.advanced(int(gap))
        if not (carry.step == 0 and isinstance(carry.initial, Point)):
            edges.append(_quantiles(*carry.now))
            widths.append(_bulk_width(carry))
    if not edges:
        raise UnresolvedError("step 0: a point has no density; save later steps or start from a wider dfp.Gaussian.")
    spacing = min(widths) / _PER_DEVIATION[carry.law.slope_variance == 0]
    lower, upper = np.min([low for low, _ in edges], axis=0), np.max([high for _, high in edges], axis=0)
    fits = np.flatnonzero(upper - lower <= _CELLS * spacing)
    at = fits[0] if fits.size else -1
    middle, half = (lower[at] + upper[at]) / 2, max((upper[at] - lower[at]) / 2, 8 * spacing)
    cells = int(np.clip(np.ceil(2 * half / spacing), _LEAST_CELLS, _CELLS))
    return Grid(middle - half, middle + half, cells)


def prepare(equation: Equation, initial: State, grid: Grid | None) -> LineCarry:
    """Return the carry at step 0: a cloud of points and their masses.

    Raises
    ------
    UnresolvedError
        If details of a gridded start are finer than its own cells.
    """
    law = step_of(equation)
    return LineCarry(equation, initial, grid, law, 0, line.lattice(law), _cloud(initial, law))


def _quantiles(x: Array, mass: Array) -> tuple[Array, Array]:
    """Return the places beyond which there is more and more of the mass, from _OUTSIDE on, on either side."""
    wanted = _OUTSIDE * 10.0 ** np.arange(0, 12, 0.25)
    order = np.argsort(x)
    x, mass = x[order], np.maximum(mass[order], 0.0)
    low = np.minimum(np.searchsorted(np.cumsum(mass), wanted), x.size - 1)
    high = np.minimum(np.searchsorted(np.cumsum(mass[::-1]), wanted), x.size - 1)
    return x[low], x[::-1][high]


def _bulk_width(carry: LineCarry) -> float:
    """Return the narrowest that the bulk of the density can be: its width if the curvature did not fluctuate."""
    law, x = carry.law, carry.now[0]
    below = np.cumsum(carry.now[1])
    bulk = x[(below > 0.01) & (below < 0.99)]
    ratio = min(law.slope**2, 1e6)
    sum_of_powers = carry.step if ratio == 1 else (ratio ** min(carry.step, 10_000) - 1) / (ratio - 1)
    start = ratio ** min(carry.step, 10_000) * carry.initial.covariance.item()
    width = np.sqrt(start + law.shift_variance * min(sum_of_powers, 1e12))
    if carry.step == 0 or not bulk.size:
        return float(width)
    return float(max(width, np.min(law.deviation(bulk))))


def _cloud(initial: State, law: line.Step) -> tuple[Array, Array]:
    """Return points and masses that stand for the initial state under kernels as narrow as those of ``law``."""
    if isinstance(initial, Point):
        return initial.theta.copy(), np.ones(1)
    narrow = float(np.sqrt(law.shift_variance)) / max(1.0, abs(law.slope)) / line.CELLS
    given = initial.gridded
    if given is None:
        _refuse_many(17 * float(np.sqrt(initial.covariance.item())) / narrow, law)
        places, mass = lattice.cloud(initial.mean, initial.covariance, np.array([2 * narrow]))
        return places[:, 0], mass
    factor = int(np.ceil(given.grid.spacing.item() / narrow))
    cells = given.grid.cells[0]
    entries = factor * cells**2 if factor > 1 else 0  # the same cells need no table
    _refuse_many(max(factor * cells, entries / _MOST_ENTRIES * _MOST_NODES), law)
    fine = Grid(given.grid.lower, given.grid.upper, factor * cells)
    values = on_grid(given, fine)
    return fine.axes[0], values * fine.cell_volume


def _refuse_many(nodes: float, law: line.Step) -> None:
    """Raise if steps are so narrow beside the density that they would need too many ``nodes``."""
    if nodes > _MOST_NODES:
        raise UnresolvedError(
            f"a step spreads by {np.sqrt(law.shift_variance):.3g}, so little beside the density that {nodes:.2g} nodes "
            f"would be needed, more than {_MOST_NODES}; use dfp.Hermite(), dfp.MonteCarlo(...), or for many small "
            "steps dfp.ModifiedLangevin(sgd)."
        )


def _extended(carry: LineCarry, last: int) -> LineCarry:
    """Return the carry on nodes that hold the mass at all steps up to ``last``, with the matrix between them."""
    x, mass = _cloud(carry.initial, carry.law)
    start = {p: float(np.abs(x) ** p @ mass) for p in line.orders()}
    steps = np.unique(np.geomspace(1, last + 1, 64).astype(np.int64) - 1)
    far = line.reach(carry.law, start, steps, _BEYOND)
    if not np.isfinite(far):
        raise UnresolvedError(f"step {last}: the moments overflow; lower learning_rate or save fewer steps.")
    wider = carry.lattice.reaching(far)
    _refuse_many(wider.last - wider.first, carry.law)
    if wider == carry.lattice:
        return carry
    nodes, at = wider.nodes, carry.now
    if carry.step:
        shift = carry.lattice.first - wider.first
        at = nodes, np.pad(at[1], (shift, nodes.size - at[1].size - shift))
    return replace(carry, lattice=wider, now=at, matrix=_weighted(line.transition(nodes, nodes, carry.law), wider))


def _weighted(matrix: Any, nodes: line.Lattice) -> Any:
    """Return the matrix from masses to masses for one from masses to densities."""
    weights = nodes.weights[:, None]
    return matrix * weights if isinstance(matrix, np.ndarray) else matrix.multiply(weights).tocsr()


def node_moments(x: Array, mass: Array) -> tuple[Array, Array]:
    """Return mean (1,) and covariance (1, 1) of masses at places ``x``."""
    total = float(mass.sum())
    mean = float(x @ mass) / total
    return np.array([mean]), np.array([[float((x - mean) ** 2 @ mass) / total]])


def counted(density: Array, grid: Grid, outside: float) -> float:
    """Return the mass outside; where the grid cuts the density, what the midpoint rule leaves, so that all is one."""
    left = 1.0 - float(density.sum()) * grid.cell_volume
    return left if outside > 1e-6 and abs(left - outside) < 0.02 * outside else outside


def start_density(initial: State, grid: Grid) -> tuple[Array, float]:
    """Return the initial density on ``grid`` and what is outside."""
    if isinstance(initial, Density):
        values = on_grid(initial, grid)
    elif initial.covariance.item() > 0:
        values = Gaussian(initial.mean, initial.covariance).on(grid)
    else:
        raise UnresolvedError("step 0: the initial state has no density; save later steps, or start from a wider one.")
    return values, max(1.0 - float(values.sum()) * grid.cell_volume, 0.0)


def on_grid(initial: Density, grid: Grid) -> Array:
    """Return the density at the cells of ``grid``, by band-limited interpolation where the cells differ."""
    if initial.grid.matches(grid):
        return initial.values
    start = initial.grid
    values, edge = fourier.regridded(initial.values, start.lower, start.spacing, grid.lower, grid.spacing, grid.cells)
    if edge > 1e-3:
        raise UnresolvedError(
            f"step 0: details of initial are finer than the grid, cells={grid.cells}; use more cells."
        )
    return np.maximum(values, 0.0)
