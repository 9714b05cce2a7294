"""Transfer on a lattice: every cell of a uniform grid is spread by its own kernel, in one, two and three dimensions."""

from dataclasses import dataclass, replace

import numpy as np
from dfp_solvers import lattice
from dfp_solvers.transfer import uniform as transfer
from scipy.sparse.linalg import LinearOperator

from dfp.checks import Array
from dfp.errors import UnresolvedError
from dfp.exact.moments import Moments
from dfp.methods import gridded_start
from dfp.methods.grids import conditional_deviations
from dfp.methods.pilot import moments_along
from dfp.methods.transfer.error import lattice_error
from dfp.methods.transfer.kernels import (
    MOST_CELLS,
    ON_GRID,
    RESOLVED,
    Laws,
    enumerated,
    factor_of,
    laws_of,
    unresolved_kernel,
    widths,
)
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid, grid_moments
from dfp.problem.state import Density, Gaussian, State
from dfp.results.frame import Frame

# Cells per deviation of the density that resolve it to 1e-12 (its spectrum is below that at the largest wave number).
_PER_DEVIATION = 2.4
# The same where kernels are narrower than the grid, and each step puts places on it with an error of order six.
_PER_DEVIATION_NARROW = {1: 20.0, 2: 10.0}
_LEAST_CELLS = 32
# Half-width of the box in deviations: Gaussian tails, and the power-law tails of noise that depends on θ.
_WIDTH, _WIDTH_HEAVY = 8.0, 12.0


@dataclass(frozen=True)
class LatticeCarry:
    """Masses of the cells, and how each is spread."""

    equation: Equation
    grid: Grid
    step: int
    mass: Array
    outside: float
    initial: State
    cloud: Array | None
    """Places of the masses while they are not yet on the grid, shape (N, d); None once they are."""
    laws: Laws
    started: float
    """Estimated L1 error of a gridded start on these cells."""

    def advanced(self, steps: int) -> "LatticeCarry":
        """Return the masses ``steps`` later, and what has left the box."""
        mass, outside, cloud = self.mass, self.outside, self.cloud
        for _ in range(steps):
            laws = self.laws if cloud is None else laws_of(self.equation, self.grid, cloud)
            mass, lost = transfer.step(mass, laws, self.grid.cells)
            outside, cloud = outside + lost, None
        return replace(self, step=self.step + steps, mass=mass, outside=outside, cloud=cloud)

    def frame(self) -> Frame:
        """Return the density, its mean and covariance by the trapezoidal rule, and the mass that has left the box.

        Raises
        ------
        UnresolvedError
            At step 0, if the initial state is narrower than the grid; or if nothing is left in the box.
        """
        grid = self.grid
        if self.cloud is not None and isinstance(self.initial, Density):
            return gridded_start.as_given(self.initial, grid)
        if self.cloud is not None:
            raise UnresolvedError(
                f"step {self.step}: the initial state is narrower than the grid's spacing {grid.spacing}, so it has "
                "no density there; save later steps, start from a wider dfp.Gaussian, or give a finer grid."
            )
        density = (self.mass / grid.cell_volume).reshape(grid.cells)
        if not self.outside < 0.5:
            raise UnresolvedError(
                f"step {self.step}: {self.outside:.2g} of the mass has left the box from {grid.lower} to "
                f"{grid.upper}; give a wider grid."
            )
        _, mean, covariance = grid_moments(grid, density)
        error, notes = lattice_error(self.equation, self.initial, self.step, self.laws, grid, density)
        error += 2 * self.outside + self.started
        return Frame(mean, covariance, density, truncation=error, outside=self.outside, warnings=notes)


def seconds(equation: Equation, grid: Grid, steps: int) -> float:
    """Return about how long ``steps`` take: half a nanosecond an entry, 50 a quadrature node."""
    middle = ((grid.lower + grid.upper) / 2)[None]
    covariance = equation.diffusion(middle)[0] / np.outer(grid.spacing, grid.spacing)
    volume = float(np.prod(np.maximum(17 * np.sqrt(np.diag(covariance)), 1.0)))
    narrow = not np.all(widths(equation, middle, grid.spacing) >= 1)
    return steps * float(np.prod(grid.cells)) * (25 * 50e-9 if narrow else volume * 0.5e-9)


def grid(equation: Equation, initial: State, exact: Moments) -> Grid:
    """Return a grid that holds the density at every step and resolves the kernel or, where it cannot, the density.

    Raises
    ------
    UnresolvedError
        If the moments overflow, or d = 3 and the kernel is finer than the largest grid.
    """
    d, last = equation.dimension, int(exact.steps[-1])
    steps = np.unique(np.geomspace(1, max(last, 1), 512).astype(np.int64) - 1)
    steps = np.unique(np.concatenate([steps, exact.steps]))
    path = moments_along(equation, initial, steps)
    with np.errstate(invalid="ignore"):
        deviation = np.sqrt(np.maximum(path.covariance.diagonal(axis1=1, axis2=2), 0.0))
    width = _WIDTH if equation.additive or not equation.sgd.affine else _WIDTH_HEAVY
    lower, upper = np.min(path.mean - width * deviation, axis=0), np.max(path.mean + width * deviation, axis=0)
    if not np.all(np.isfinite(upper - lower)):
        raise UnresolvedError("the moments overflow before the last step; lower learning_rate or save fewer steps.")
    centre, half = (lower + upper) / 2, np.maximum((upper - lower) / 2, 1e-12 * (1 + np.abs(lower + upper)))
    lower, upper = centre - half, centre + half
    density = np.full(d, np.inf)
    for n, covariance in zip(path.steps, path.covariance, strict=True):
        if n > 0 or exact.steps[0] == 0:
            density = np.minimum(density, conditional_deviations(covariance[None])[0])
    kernel = np.zeros(d)
    if not enumerated(equation):
        places = np.stack(np.meshgrid(*np.linspace(lower, upper, 33).T, indexing="ij"), axis=-1).reshape(-1, d)
        centre = equation.sgd.critical_point[None] if equation.sgd.affine else path.mean[-1:]
        points = np.concatenate([places, path.mean, centre])
        kernel = np.min(widths(equation, points, np.ones(d)), axis=0)
    with np.errstate(divide="ignore"):
        wanted = 2 * half * np.maximum(RESOLVED / kernel, _PER_DEVIATION / density)
        if not np.all(wanted <= MOST_CELLS[d]):
            if d == 3:
                raise unresolved_kernel(wanted)
            wanted = 2 * half * _PER_DEVIATION_NARROW[d] / density
    least = 2 * half * _PER_DEVIATION / density
    if not np.all(least <= MOST_CELLS[d]):
        raise UnresolvedError(
            f"cells={np.ceil(least)}: the box of the moments is too wide for its narrowest density, as with heavy "
            f"tails; at most {MOST_CELLS[d]} cells an axis are affordable: save fewer steps, give a smaller grid, or "
            "use dfp.MonteCarlo(...)."
        )
    return Grid(lower, upper, tuple(int(n) for n in np.ceil(np.clip(wanted, _LEAST_CELLS, MOST_CELLS[d]))))


def prepare(equation: Equation, initial: State, grid: Grid) -> LatticeCarry:
    """Return the masses of the cells at step 0 or, where the grid does not resolve them, of a cloud of points."""
    laws = laws_between_cells(equation, grid)
    cloud: Array | None = None
    started = 0.0
    if isinstance(initial, Density):
        if initial.grid.matches(grid) or gridded_start.resolved(initial):
            values, started = gridded_start.resampled(initial, grid)
            mass = values * grid.cell_volume
        else:
            # A jump is what its cells are: their centres are spread by the first step.
            cloud, mass = initial.grid.points.reshape(-1, grid.dimension), initial.values * initial.grid.cell_volume
            here, d = initial.mean[None], grid.dimension
            factor = np.broadcast_to(factor_of(equation, np.ones(d), here), (1, d, d))[0]
            moved = factor, np.zeros(d), equation.diffusion(here)[0]
            started = 2.0**d * gridded_start.largest_cut(initial, moved)
    elif np.all(conditional_deviations(initial.covariance[None])[0] >= ON_GRID * grid.spacing):
        mass = Gaussian(initial.mean, initial.covariance).on(grid) * grid.cell_volume
    else:
        cloud, mass = lattice.cloud(initial.mean, initial.covariance, grid.spacing)
    mass = np.ascontiguousarray(mass.ravel())
    return LatticeCarry(equation, grid, 0, mass, max(1.0 - float(mass.sum()), 0.0), initial, cloud, laws, started)


def step_operator(equation: Equation, grid: Grid) -> LinearOperator:
    """Return one step as an operator on the masses of all cells, flat, without what leaves the box."""
    laws, size = laws_between_cells(equation, grid), int(np.prod(grid.cells))

    def step(mass: Array) -> Array:
        return transfer.step(np.ascontiguousarray(mass).ravel(), laws, grid.cells)[0]

    return LinearOperator((size, size), matvec=step, dtype=float)


def laws_between_cells(equation: Equation, grid: Grid) -> Laws:
    """Return how every cell of ``grid`` is spread over the others in one step."""
    if min(grid.cells) < transfer.STENCIL:
        raise UnresolvedError(f"grid.cells={grid.cells}: Transfer needs {transfer.STENCIL} per axis; use more.")
    return laws_of(equation, grid, grid.points.reshape(-1, grid.dimension))
