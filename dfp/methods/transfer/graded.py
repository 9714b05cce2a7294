"""Transfer on a line: Gaussian steps on graded nodes, reported on any grid with the mass beyond it."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from dfp_solvers import fourier, lattice
from dfp_solvers.transfer import graded
from scipy.special import ndtr

from dfp.checks import Array
from dfp.errors import UnresolvedError
from dfp.methods import gridded_start
from dfp.methods.grids import MOST_GRADED, OUTSIDE_GRADED
from dfp.methods.solver import Problem, saved_gaps
from dfp.methods.transfer.run import TransferRun
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid
from dfp.problem.state import Density, Gaussian, State
from dfp.results.frame import Frame

# Mass beyond the nodes at any step.
_BEYOND = 1e-15
# Most nodes between which steps are taken, and entries of the table that interpolates a gridded start.
_MOST_NODES, _MOST_ENTRIES = 2**18, 2**25
# Most masses kept of all saved steps while the grid is not known; beyond, they are walked again.
_MOST_KEPT = 2**26
_LEAST_CELLS = 128
# Cells per deviation of what is left of the density without its tails: at least this many resolve it to 1e-12.
_PER_DEVIATION = {True: 2.4, False: 6.0}
# L1 error of sums of kernels in double precision: of the last one, and of those before, which average.
_LAST, _ROUNDING = 1e-13, 1e-14


def applies(equation: Equation) -> bool:
    """Return whether the equation is one-dimensional with Gaussian noise that vanishes nowhere, H̃ and g̃ apart."""
    if not (equation.sgd.affine and equation.dimension == 1):
        return False
    law = equation.sgd.noise
    return law.gaussian and law.constant.item() > 0 and law.cross(np.ones(1)).item() == 0


def heavy(equation: Equation) -> bool:
    """Return whether this file applies and the variance grows without bound, E(1 − ηh)² >= 1 with fluctuating h."""
    if not (equation.sgd.plain and applies(equation)):
        return False
    law = step_of(equation)
    return law.slope_variance > 0 and law.slope**2 + law.slope_variance >= 1


def step_of(equation: Equation) -> graded.Step:
    """Return one step of an equation to which this file applies."""
    eta, law = equation.sgd.learning_rate, equation.sgd.noise
    slope, shift = 1 - equation.linear_drift.item(), -equation.constant_drift.item()
    return graded.Step(slope, shift, eta**2 * law.quadratic(np.eye(1)).item(), eta**2 * law.constant.item())


@dataclass(frozen=True)
class _Masses:
    """Masses at places now and one step before, from which densities between the nodes follow."""

    step: int
    now: tuple[Array, Array] = field(repr=False)
    before: tuple[Array, Array] | None = field(default=None, repr=False)
    lost: float = 0.0


class GradedRun(TransferRun):
    """Gaussian steps on a line, between graded nodes that hold the mass at every step up to the last saved one.

    Raises
    ------
    UnresolvedError
        If the moments overflow, steps are so narrow that too many nodes are needed, or details of a gridded start are
        finer than its own cells.
    """

    def __init__(self, problem: Problem, grid: Grid | None) -> None:
        self.equation, self._initial = problem.equation, problem.initial
        self._law = step_of(problem.equation)
        self._exact = f"the variance of all is {problem.moments.covariance[-1].item():.4g} at step {problem.last}"
        self._at = _Masses(0, _cloud(problem.initial, self._law))
        self._nodes = self._reaching(problem.last)
        self._known: dict[int, _Masses] = {}
        self.grid = self._walked(problem) if grid is None else grid

    @classmethod
    def seconds(cls, problem: Problem) -> float:
        """Return about how long it takes: nodes to 50 scales, 35 entries a node, a nanosecond an entry."""
        nodes = 2 * np.arcsinh(50.0) / graded.graded_nodes(step_of(problem.equation)).spacing
        return 1.0 + (0.0 if nodes < 400 else float(problem.last * nodes * 35e-9))

    def advance(self, steps: int) -> None:
        """Go on, to what is known already of a saved step."""
        wanted = self._at.step + steps
        self._at = self._known.pop(wanted) if wanted in self._known else self._moved(self._at, steps)

    def frame(self) -> Frame:
        """Return the density on the grid, the moments of all mass on the nodes, and the mass outside the grid."""
        at = self._at
        if at.before is None:
            density, outside = start_density(self._initial, self.grid)
        else:
            density, outside = self._spread(*at.before)
        mean, covariance = node_moments(*at.now)
        error = 2 * abs(at.lost) + _LAST + _ROUNDING * np.sqrt(at.step + 1.0) + self._comb() if at.step else 0.0
        outside = counted(density, self.grid, outside + at.lost)
        return Frame(mean, covariance, density, truncation=error, outside=outside, warnings=self._notes())

    def _comb(self) -> float:
        """Return how much of the comb of points that stands for a start with jumps is seen after its first step."""
        given = self._initial.gridded
        if given is None or gridded_start.resolved(given):
            return 0.0
        moved = _first_step(given, self._law)
        cut = gridded_start.largest_cut(given, (np.eye(1), np.zeros(1), np.zeros((1, 1))))
        return gridded_start.comb(given, moved) if gridded_start.as_points(given, moved) else 2 * cut

    def _reaching(self, last: int) -> graded.GradedNodes:
        """Return nodes that hold the mass at all steps up to ``last``."""
        x, mass = self._at.now
        start = {p: float(np.abs(x) ** p @ mass) for p in graded.orders()}
        steps = np.unique(np.geomspace(1, last + 1, 64).astype(np.int64) - 1)
        far = graded.reach(self._law, start, steps, _BEYOND)
        if not np.isfinite(far):
            raise UnresolvedError(f"step {last}: the moments overflow; lower learning_rate or save earlier steps.")
        nodes = graded.graded_nodes(self._law).reaching(far)
        _refuse_many(nodes.last - nodes.first, self._law)
        return nodes

    @cached_property
    def _matrix(self) -> Any:
        """One step from masses at the nodes to masses at the nodes, dense or sparse."""
        return self._weighted(graded.transition(self._nodes.nodes, self._nodes.nodes, self._law))

    def _weighted(self, matrix: Any) -> Any:
        """Return the matrix from masses to masses for one from masses to densities."""
        weights = self._nodes.weights[:, None]
        return matrix * weights if isinstance(matrix, np.ndarray) else matrix.multiply(weights).tocsr()

    def _moved(self, at: _Masses, steps: int) -> _Masses:
        """Return the masses ``steps`` later."""
        if steps == 0:
            return at
        nodes, (places, mass) = self._nodes.nodes, at.now
        # The first step leads from the cloud of the start to the nodes.
        first = self._matrix if at.step else self._weighted(graded.transition(nodes, places, self._law))
        before, now = at.now, (nodes, first @ mass)
        if steps > 1:
            before = nodes, graded.powers(self._matrix, now[1], steps - 2)
            now = nodes, self._matrix @ before[1]
        return _Masses(at.step + steps, now, before, at.lost + float(mass.sum()) - float(now[1].sum()))

    def _notes(self) -> tuple[str, ...]:
        """Return a warning where the second moment grows without bound, so that no mass on nodes can show it."""
        growth = self._law.slope**2 + self._law.slope_variance
        if not (growth >= 1 and self._law.slope_variance > 0):
            return ()
        return (
            f"E(1 − ηh)² = {growth:.4g} >= 1: the variance grows without bound, carried by ever rarer excursions; the "
            f"density and the mass outside are right, mean and covariance are those of the mass followed, and "
            f"{self._exact}: look at quantiles, or at dfp.moments(...), which is exact.",
        )

    def _spread(self, sources: Array, mass: Array) -> tuple[Array, float]:
        """Return the density on the grid one step from ``sources``, and the mass that lands outside."""
        density: Array = graded.transition(self.grid.axes[0], sources, self._law) @ mass
        mean, deviation = self._law.mean(sources), self._law.deviation(sources)
        below, above = (self.grid.lower.item() - mean) / deviation, (mean - self.grid.upper.item()) / deviation
        return density, float((ndtr(below) + ndtr(above)) @ mass)

    def _walked(self, problem: Problem) -> Grid:
        """Return a grid that holds all but 1e-13 of the mass at every saved step or, of heavy tails, what cells reach.

        Its box comes from quantiles, for the variance may not exist, and its spacing from the bulk; so all saved steps
        are walked to find it, and kept.
        """
        at, edges, widths = self._at, [], []
        kept = problem.steps.size * (self._nodes.last - self._nodes.first) <= _MOST_KEPT
        for gap in saved_gaps(problem.steps):
            at = self._moved(at, gap)
            if kept:
                self._known[at.step] = at
            if at.step > 0 or not self._initial.point:
                edges.append(_quantiles(*at.now))
                widths.append(self._bulk_width(at))
        if not edges:
            raise UnresolvedError(
                "step 0: a point has no density; save later steps or start from a wider dfp.Gaussian."
            )
        spacing = min(widths) / _PER_DEVIATION[self._law.slope_variance == 0]
        lower, upper = np.min([low for low, _ in edges], axis=0), np.max([high for _, high in edges], axis=0)
        fits = np.flatnonzero(upper - lower <= MOST_GRADED * spacing)
        end = fits[0] if fits.size else -1
        middle, half = (lower[end] + upper[end]) / 2, max((upper[end] - lower[end]) / 2, 8 * spacing)
        cells = int(np.clip(np.ceil(2 * half / spacing), _LEAST_CELLS, MOST_GRADED))
        return Grid(middle - half, middle + half, cells)

    def _bulk_width(self, at: _Masses) -> float:
        """Return the narrowest that the bulk of the density can be: its width if the curvature did not fluctuate."""
        law, (x, mass) = self._law, at.now
        below = np.cumsum(mass)
        bulk = x[(below > 0.01) & (below < 0.99)]
        ratio = min(law.slope**2, 1e6)
        sum_of_powers = at.step if ratio == 1 else (ratio ** min(at.step, 10_000) - 1) / (ratio - 1)
        start = ratio ** min(at.step, 10_000) * self._initial.covariance.item()
        width = np.sqrt(start + law.shift_variance * min(sum_of_powers, 1e12))
        if at.step == 0 or not bulk.size:
            return float(width)
        return float(max(width, np.min(law.deviation(bulk))))


def _quantiles(x: Array, mass: Array) -> tuple[Array, Array]:
    """Return the places beyond which there is more and more of the mass, from 1e-13 on, on either side."""
    wanted = OUTSIDE_GRADED * 10.0 ** np.arange(0, 12, 0.25)
    order = np.argsort(x)
    x, mass = x[order], np.maximum(mass[order], 0.0)
    low = np.minimum(np.searchsorted(np.cumsum(mass), wanted), x.size - 1)
    high = np.minimum(np.searchsorted(np.cumsum(mass[::-1]), wanted), x.size - 1)
    return x[low], x[::-1][high]


def _cloud(initial: State, law: graded.Step) -> tuple[Array, Array]:
    """Return points and masses that stand for the initial state under kernels as narrow as those of ``law``."""
    if initial.point:
        return initial.mean.copy(), np.ones(1)
    narrow = float(np.sqrt(law.shift_variance)) / max(1.0, abs(law.slope)) / graded.CELLS
    given = initial.gridded
    if given is not None and gridded_start.as_points(given, _first_step(given, law)):
        return given.grid.axes[0], given.values * given.grid.cell_volume  # a jump is what its cells are: their centres
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


def _first_step(given: Density, law: graded.Step) -> gridded_start.Moved:
    """Return the map and the least blur of one step from the cells of a gridded start."""
    noise = float(law.deviation(given.grid.axes[0]).min()) ** 2
    return np.array([[law.slope]]), np.zeros(1), np.array([[noise]])


def _refuse_many(nodes: float, law: graded.Step) -> None:
    """Raise if steps are so narrow beside the density that they would need too many ``nodes``."""
    if nodes > _MOST_NODES:
        raise UnresolvedError(
            f"a step spreads by {np.sqrt(law.shift_variance):.3g}, so little beside the density that {nodes:.2g} nodes "
            f"would be needed, more than {_MOST_NODES}; use dfp.Hermite(), dfp.MonteCarlo(...), or for many small "
            "steps dfp.ModifiedLangevin(sgd)."
        )


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
    if initial.gridded is not None:
        values = on_grid(initial.gridded, grid)
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


def cloud(initial: State, apart: float) -> tuple[Array, Array]:
    """Return points (N,) on a line and their masses (N,) for a state, about ``apart`` from each other [parameter]."""
    if initial.gridded is not None:
        given = initial.gridded.grid
        dense = Grid(given.lower, given.upper, given.cells[0] * int(np.ceil(given.spacing.item() / apart)))
        try:
            return dense.axes[0], on_grid(initial.gridded, dense) * dense.cell_volume
        except UnresolvedError:  # a density with jumps is what its cells are
            return given.axes[0], initial.gridded.values * given.cell_volume
    points, weights = lattice.cloud(initial.mean, initial.covariance, np.full(1, 2 * apart))
    return points[:, 0], weights
