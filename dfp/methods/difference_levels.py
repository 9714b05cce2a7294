"""One internal grid of (T5): the masses of its cells, how they start, move, and are read elsewhere."""

from dataclasses import dataclass

from dfp_solvers import finite_difference, fourier, pseudospectral

from dfp.checks import Array
from dfp.errors import UnresolvedError
from dfp.methods import difference_grids as internal
from dfp.methods.gridded_start import by_waves
from dfp.problem.grid import Grid
from dfp.problem.state import Gaussian, State
from dfp.results.frame import Frame

# Rounding errors of thousands of steps.
ROUNDING = 1e-12
# A spectrum that falls as slowly as an exponential has, at r = 1.15 times the wave number, the power r of its error.
_POWER = internal.COARSER["spectral"]

FROM_POINT = (
    "initial is a point, whose derivatives (T5) keeps at every step, so that it has no density: these are its waves as "
    "long as steps allow, and the error counts only those; start from a dfp.Gaussian as wide as a step."
)


@dataclass
class Level:
    """The masses of the cells of one internal grid, and its step."""

    grid: Grid
    operator: internal.Operator
    values: Array

    def advance(self, steps: int) -> None:
        """Go on by ``steps``."""
        solver = finite_difference if isinstance(self.operator, finite_difference.Stencil) else pseudospectral
        self.values = solver.march(self.values, self.operator, steps)

    def on(self, grid: Grid) -> Array:
        """Return the density's trigonometric interpolant at the cell centres of ``grid``."""
        return by_waves(self.grid, self.values, grid) / self.grid.cell_volume


def started(initial: State, grid: Grid) -> Array:
    """Return the masses of the initial state's waves that the grid holds, shape ``grid.cells``."""
    given = initial.gridded
    if given is not None:
        return regridded(given.values / given.mass, given.grid, grid)
    phi = fourier.gaussian(fourier.wave_numbers(grid.spacing, grid.cells), initial.mean, initial.covariance)
    return fourier.invert(phi, grid.lower, grid.spacing, grid.cells)[0] * grid.cell_volume


def regridded(density: Array, old: Grid, grid: Grid) -> Array:
    """Return the masses of a density on another grid: the waves that both hold."""
    moved = fourier.regridded(density, old.lower, old.spacing, grid.lower, grid.spacing, grid.cells)
    return moved[0] * grid.cell_volume


def spectral_error(difference: float) -> float:
    """Return the L1 error of the finer density from its difference to the coarser one."""
    return 2.0 * float((difference / 2) ** _POWER) + ROUNDING


def starting_frame(initial: State, grid: Grid) -> Frame:
    """Return the state at step 0 as it is given.

    Raises
    ------
    UnresolvedError
        If it is a point.
    """
    if initial.point:
        raise UnresolvedError("step 0: a point has no density; save later steps or start from a narrow dfp.Gaussian.")
    given = initial.gridded
    gaussian = Gaussian(initial.mean, initial.covariance)
    density = gaussian.on(grid) if given is None else by_waves(given.grid, given.values, grid)
    outside = 1.0 - float(density.sum()) * grid.cell_volume
    return Frame(initial.mean, initial.covariance, density, outside=outside)
