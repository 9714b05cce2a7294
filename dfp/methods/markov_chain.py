"""The Markov chain of a generator on the cells of a grid: its rates, their checks, and the states it starts from."""

import math

import numpy as np
from dfp_solvers import finite_volume, gaussian, lattice, matrices, richardson
from dfp_solvers.markov_chain import evolution
from dfp_solvers.markov_chain.generator import Generator
from numpy.typing import NDArray

from dfp.checks import TINY, Array, every
from dfp.errors import DFPError, UnresolvedError, UnsupportedError
from dfp.exact.cumulants import diffusion_polynomial
from dfp.methods import gridded_start
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid
from dfp.problem.state import State

# Beyond this ratio of eigenvalues of the diffusion, in units of cells, offsets become as long as the grid.
_CONDITION = 1e4
# A Gaussian wider than this many cells is integrated by its values at the cell centres to 1e-5, and to 1e-20 on
# a grid with half the spacing.
_RESOLVED = 0.75


def coefficients(equation: Equation, points: Array) -> tuple[Array, Array]:
    """Return the drift (n, d) and the diffusion (n, d, d) at ``points`` (n, d): (1, d, d) if it is one and the same."""
    diffusion = equation.additive_diffusion[None] if equation.additive else equation.diffusion(points)
    return equation.drift(points), diffusion


def generator(equation: Equation, grid: Grid, *, absorbing: bool = False) -> tuple[Generator, NDArray[np.bool_]]:
    """Return the sparse generator on all cells, and 1 for cells whose rates are upwinded, shape ``grid.cells``.

    Raises
    ------
    UnsupportedError
        If the diffusion is indefinite somewhere on the grid (T7m with C off H's axes).
    UnresolvedError
        If it is too close to singular for a monotone stencil.
    """
    points = grid.points.reshape(-1, grid.dimension)
    drift, diffusion = coefficients(equation, points)
    _check_diffusion(equation, points, diffusion, grid)
    matrix, flags = finite_volume.generator(drift, diffusion, grid.cells, grid.spacing, absorbing=absorbing)
    return matrix, flags.reshape(grid.cells)


def generators(
    equation: Equation, grid: Grid, *, absorbing: bool = False
) -> tuple[tuple[Generator, ...], NDArray[np.bool_]]:
    """Return one generator, or one per axis where they are independent and small enough for dense matrices; and flags.

    The flags are those of ``generator``, which also says what is raised.
    """
    d = grid.dimension
    if d == 1 or max(grid.cells) > evolution.DENSE_SIZE or not separable(equation):
        matrix, flags = generator(equation, grid, absorbing=absorbing)
        return (matrix,), flags
    result, upwinded = [], np.zeros(grid.cells, dtype=bool)
    for i, axis in enumerate(grid.axes):
        line = np.zeros((len(axis), d))
        line[:, i] = axis
        drift, diffusion = coefficients(equation, line)
        drift, diffusion = drift[:, i : i + 1], np.ascontiguousarray(diffusion[:, i : i + 1, i : i + 1])
        _check_diffusion(equation, line, diffusion, grid)
        cells, spacing = grid.cells[i : i + 1], grid.spacing[i : i + 1]
        matrix, flags = finite_volume.generator(drift, diffusion, cells, spacing, absorbing=absorbing)
        result.append(matrix)
        upwinded |= flags.reshape([-1 if k == i else 1 for k in range(d)])
    return tuple(result), upwinded


def separable(equation: Equation) -> bool:
    """Tell whether the axes of a generator are independent: K diagonal, Q diagonal and Q_ii a function of θ_i alone."""
    d = equation.dimension
    if not equation.sgd.affine:
        return False
    if np.any(equation.linear_drift - np.diag(np.diag(equation.linear_drift))):
        return False
    allowed = np.zeros((d, d, d + 1, d + 1), dtype=bool)
    for i in range(d):
        allowed[i, i][np.ix_([0, i + 1], [0, i + 1])] = True
    return not np.any(diffusion_polynomial(equation)[~allowed])


def _check_diffusion(equation: Equation, points: Array, diffusion: Array, grid: Grid) -> None:
    one = diffusion.shape[1] == 1
    if one and diffusion.min() >= 0:
        return
    scaled = diffusion / (np.ones((1, 1)) if one else np.multiply.outer(grid.spacing, grid.spacing))
    values = matrices.eigenvalues(scaled)
    worst = int(np.argmin(values[:, 0] / np.maximum(np.abs(values[:, -1]), TINY)))
    smallest = float(values[worst, 0])
    if smallest < -1e-10 * float(np.abs(values).max()):
        remedy = (
            "use dfp.ModifiedLangevin(sgd, positive=True)"
            if equation.indefinite
            else "check the landscape's covariance"
        )
        raise UnsupportedError(
            f"solver=FiniteVolume: the diffusion of the {equation.label} is indefinite at θ = {points[worst].round(4)} "
            f"(eigenvalue {np.linalg.eigvalsh(diffusion[worst])[0]:.3g}), so it is no process; {remedy}."
        )
    full = np.abs(scaled).sum(axis=(1, 2)) - np.abs(np.einsum("nii->ni", scaled)).sum(axis=1) > 1e-12 * values[:, -1]
    bad = np.flatnonzero(full & (values[:, 0] * _CONDITION < values[:, -1]))
    if bad.size:
        own = "dfp.Fourier() or " if equation.additive else "dfp.Hermite() or " if equation.sgd.affine else ""
        raise UnresolvedError(
            f"solver=FiniteVolume: the diffusion of the {equation.label} is nearly singular at θ = "
            f"{points[bad[0]].round(4)} (eigenvalues {values[bad[0]]} in units of cells), and no monotone stencil "
            f"resolves it; use {own}dfp.MasterEquation(sgd), which it approximates."
        )


def start(initial: State, grids: list[Grid]) -> list[Array]:
    """Return the probabilities of the cells at step 0 on each grid, in the same manner on all of them.

    Raises
    ------
    DFPError
        If a grid does not hold the initial state.
    """
    grid = grids[0]
    if not every((grid.lower <= initial.mean) & (initial.mean <= grid.upper)):
        raise DFPError(
            f"grid: its box {grid.lower} … {grid.upper} does not hold the initial mean {initial.mean}; widen it."
        )
    wide = initial.gridded is None and _narrowest(initial, grids[-1]) >= _RESOLVED  # the coarsest
    inverse = matrices.whitening(initial.covariance) if wide else np.empty((0, 0))
    result = []
    for g in grids:
        if initial.gridded is not None:
            values = gridded_start.resampled(initial.gridded, g)[0]
        elif wide:
            values = gaussian.on_grid(g.axes, initial.mean, inverse)
        else:
            values = lattice.deposit(
                *lattice.cloud(initial.mean, initial.covariance, g.spacing), g.lower, g.spacing, g.cells
            )
        total = float(values.sum())
        if not total > 0:
            raise DFPError("grid: the initial state has no mass on it; widen or refine it.")
        result.append(values / total)
    return result


def start_error(initial: State, grid: Grid) -> float:
    """Return the estimated L1 error of a gridded start on other cells, which no chain makes larger."""
    given = initial.gridded
    if given is None:
        return 0.0
    values, error = gridded_start.resampled(given, grid)
    return error + abs(given.mass - float(values.sum()) * grid.cell_volume)


def _narrowest(initial: State, grid: Grid) -> float:
    """Return the smallest standard deviation in units of cells, in any direction."""
    scaled = initial.covariance / (grid.spacing[:, None] * grid.spacing)
    return math.sqrt(max(matrices.eigenvalues(scaled)[0], 0.0))


def halved(grid: Grid) -> list[Grid]:
    """Return the grid and one with half the cells per axis, and one with a quarter if they divide evenly."""
    counts = [2, 4] if richardson.nested(grid.cells) else [2]
    return [grid, *(grid.with_cells(tuple(n // c for n in grid.cells)) for c in counts)]
