"""Transfer on a lattice: every cell of a uniform grid is spread by its own kernel, in one, two and three dimensions."""

from typing import ClassVar

import numpy as np
from dfp_solvers import lattice
from dfp_solvers.transfer import uniform
from scipy.sparse.linalg import LinearOperator

from dfp.checks import Array
from dfp.errors import UnresolvedError
from dfp.methods import gridded_start
from dfp.methods.grids import (
    LEAST_CELLS,
    MOST_UNIFORM,
    PERIODIC,
    POWER_LAW,
    box,
    conditional_deviations,
    probed,
)
from dfp.methods.pilot import moments_along
from dfp.methods.solver import Problem
from dfp.methods.transfer.error import lattice_error
from dfp.methods.transfer.kernels import (
    ON_GRID,
    RESOLVED,
    Kernels,
    enumerated,
    factor_of,
    kernels_of,
    unresolved_kernel,
    widths,
)
from dfp.methods.transfer.run import TransferRun
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid, grid_moments
from dfp.problem.state import Gaussian
from dfp.results.frame import Frame

# Cells per deviation of the density that resolve it to 1e-12 (its spectrum is below that at the largest wave number).
_PER_DEVIATION = 2.4
# The same where kernels are narrower than the grid, and each step puts places on it with an error of order six.
_PER_DEVIATION_NARROW = {1: 20.0, 2: 10.0}


class UniformRun(TransferRun):
    """Masses of the cells of the grid itself, each spread over the others by its own kernel.

    Raises
    ------
    UnresolvedError
        If the moments overflow, no affordable grid holds and resolves the density, or d = 3 and the kernel is finer
        than the largest grid.
    """

    kept: ClassVar[tuple[str, ...]] = ("mass", "outside", "step", "cloud")

    def __init__(self, problem: Problem, grid: Grid | None) -> None:
        self.grid = automatic_grid(problem) if grid is None else grid
        _check_stencil(self.grid)
        self.equation, self.initial, self.step = problem.equation, problem.initial, 0
        self.kernels = self._first_kernels()
        self.cloud: Array | None = None
        """Places of the masses while they are not yet on the grid, shape (N, d); None once they are."""
        self.mass, self._started = self._start()
        self.outside = max(1.0 - float(self.mass.sum()), 0.0)

    @classmethod
    def seconds(cls, problem: Problem) -> float:
        """Return about how long it takes: half a nanosecond an entry, 50 a quadrature node."""
        grid = automatic_grid(problem)
        middle = ((grid.lower + grid.upper) / 2)[None]
        covariance = problem.equation.diffusion(middle)[0] / np.outer(grid.spacing, grid.spacing)
        volume = float(np.prod(np.maximum(17 * np.sqrt(np.diag(covariance)), 1.0)))
        narrow = not np.all(widths(problem.equation, middle, grid.spacing) >= 1)
        return problem.last * float(np.prod(grid.cells)) * (25 * 50e-9 if narrow else volume * 0.5e-9)

    def advance(self, steps: int) -> None:
        """Go on step by step, and count what leaves the box."""
        for left in reversed(range(steps)):
            kernels = self.kernels if self.cloud is None else kernels_of(self.equation, self.grid, self.cloud)
            self.mass, lost = uniform.step(self.mass, kernels, self.grid.cells)
            self.outside, self.cloud, self.step = self.outside + lost, None, self.step + 1
            self.passing(left)

    def frame(self) -> Frame:
        """Return the density, its mean and covariance by the trapezoidal rule, and the mass that has left the box.

        Raises
        ------
        UnresolvedError
            At step 0, if the initial state is narrower than the grid; or if nothing is left in the box.
        """
        grid = self.grid
        if self.cloud is not None and self.initial.gridded is not None:
            return gridded_start.as_given(self.initial.gridded, grid)
        if self.cloud is not None:
            raise UnresolvedError(
                f"step {self.step}: the initial state is narrower than the grid's spacing {grid.spacing}, so it has "
                "no density there; save later steps, start from a wider dfp.Gaussian, or give grid=... with "
                "more cells."
            )
        density = (self.mass / grid.cell_volume).reshape(grid.cells)
        if not self.outside < 0.5:
            raise UnresolvedError(
                f"step {self.step}: {self.outside:.2g} of the mass has left the box from {grid.lower} to "
                f"{grid.upper}; give a wider grid=dfp.Grid(lower, upper, cells)."
            )
        _, mean, covariance = grid_moments(grid, density)
        error, notes = lattice_error(self._single(), self.initial, self.step, self.kernels, grid, density)
        error += 2 * self.outside + self._started
        return Frame(mean, covariance, density, truncation=min(error, 2.0), outside=self.outside, warnings=notes)

    def _single(self) -> Equation:
        """Return the equation of a step that does not depend on those before."""
        return self.equation

    def _first_kernels(self) -> Kernels:
        """Return how every cell is spread over the others in one step."""
        return kernels_between_cells(self.equation, self.grid)

    def _start(self) -> tuple[Array, float]:
        """Return the masses of the cells at step 0, or of a cloud where the grid does not resolve them; their error."""
        initial, given, grid, started = self.initial, self.initial.gridded, self.grid, 0.0
        mass: Array
        if given is not None:
            d, here, equation = grid.dimension, given.mean[None], self._single()
            factor = np.broadcast_to(factor_of(equation, np.ones(d), here), (1, d, d))[0]
            moved = factor, np.zeros(d), equation.diffusion(here)[0]
            if given.grid.matches(grid) or not gridded_start.as_points(given, moved):
                values, started = gridded_start.resampled(given, grid)
                mass = values * grid.cell_volume
                started += abs(1.0 - float(mass.sum()))
            else:
                # A jump is what its cells are: their centres are spread by the first step.
                mass = given.values * given.grid.cell_volume
                self.cloud = given.grid.points.reshape(-1, d)
                started = gridded_start.comb(given, moved)
        elif np.all(conditional_deviations(initial.covariance[None])[0] >= ON_GRID * grid.spacing):
            mass = Gaussian(initial.mean, initial.covariance).on(grid) * grid.cell_volume
        else:
            self.cloud, mass = lattice.cloud(initial.mean, initial.covariance, grid.spacing)
        return np.ascontiguousarray(mass.ravel()), started


def automatic_grid(problem: Problem) -> Grid:
    """Return a grid that holds the density at every step and resolves the kernel or, where it cannot, the density."""
    equation, d = problem.equation, problem.equation.dimension
    path = moments_along(equation, problem.initial, probed(problem.last, 512, problem.steps))
    lower, upper = box(path, PERIODIC if equation.additive or not equation.sgd.affine else POWER_LAW)
    if not np.all(np.isfinite(upper - lower)):
        raise UnresolvedError("the moments overflow before the last step; lower learning_rate or save earlier steps.")
    centre, half = (lower + upper) / 2, np.maximum((upper - lower) / 2, 1e-12 * (1 + np.abs(lower + upper)))
    lower, upper = centre - half, centre + half
    shown = (path.steps > 0) | (problem.steps[0] == 0)
    density: Array = np.min(conditional_deviations(path.covariance[shown]), axis=0, initial=np.inf)
    kernel: Array = np.zeros(d)
    if not enumerated(equation):
        places = np.stack(np.meshgrid(*np.linspace(lower, upper, 33).T, indexing="ij"), axis=-1).reshape(-1, d)
        settled = equation.sgd.critical_point[None] if equation.sgd.affine else path.mean[-1:]
        points = np.concatenate([places, path.mean, settled])
        kernel = np.min(widths(equation, points, np.ones(d)), axis=0)
    most = MOST_UNIFORM[d]
    with np.errstate(divide="ignore"):
        wanted = 2 * half * np.maximum(RESOLVED / kernel, _PER_DEVIATION / density)
        if not np.all(wanted <= most):
            if d == 3:
                raise unresolved_kernel(wanted)
            wanted = 2 * half * _PER_DEVIATION_NARROW[d] / density
        least = 2 * half * _PER_DEVIATION / density
    if not np.all(least <= most):
        raise UnresolvedError(
            f"cells={np.ceil(least)}: the box of the moments is too wide for its narrowest density, as with heavy "
            f"tails; at most {most} cells an axis are affordable: save earlier steps, give a smaller grid=..., or use "
            "dfp.MonteCarlo(...)."
        )
    return Grid(lower, upper, tuple(int(n) for n in np.ceil(np.clip(wanted, LEAST_CELLS, most))))


def step_operator(equation: Equation, grid: Grid) -> LinearOperator:
    """Return one step as an operator on the masses of all cells, flat, without what leaves the box."""
    kernels, size = kernels_between_cells(equation, grid), int(np.prod(grid.cells))

    def step(mass: Array) -> Array:
        return uniform.step(np.ascontiguousarray(mass).ravel(), kernels, grid.cells)[0]

    return LinearOperator((size, size), matvec=step, dtype=float)


def kernels_between_cells(equation: Equation, grid: Grid) -> Kernels:
    """Return how every cell of ``grid`` is spread over the others in one step."""
    _check_stencil(grid)
    return kernels_of(equation, grid, grid.points.reshape(-1, grid.dimension))


def _check_stencil(grid: Grid) -> None:
    if min(grid.cells) < uniform.STENCIL:
        raise UnresolvedError(f"grid.cells={grid.cells}: Transfer needs at least {uniform.STENCIL} per axis; use more.")
