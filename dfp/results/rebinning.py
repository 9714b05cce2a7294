"""Probability of cells: how densities on different grids, or histograms, are brought onto one partition."""

import numpy as np
from scipy.interpolate import PchipInterpolator, make_interp_spline

from dfp.checks import Array
from dfp.problem.grid import Grid
from dfp.results.solution import Solution

# Cells into which the finer of two spacings is divided for a comparison, by dimension, and the most cells in all.
_REFINEMENT = {1: 8, 2: 2, 3: 1}
_MOST_CELLS = 2**21


def cell_probabilities(solution: Solution, frame: int, target: Grid) -> Array:
    """Return the probability of every cell of ``target`` at one frame, shape ``target.cells``.

    Densities at cell centres are integrated by quintic splines along each axis; histograms are summed, or interpolated
    monotonically in their cumulative sums where the cells differ.
    """
    grid, density = solution.gridded()
    values: Array = density[frame]
    for axis in range(grid.dimension):
        old, new = grid.edges[axis], target.edges[axis]
        if solution.sampled:
            values = _rebinned(values * grid.spacing[axis], old, new, axis)
        else:
            values = _integrated(values, grid.axes[axis], float(grid.spacing[axis]), new, axis)
    return values


def _integrated(values: Array, centres: Array, spacing: float, edges: Array, axis: int) -> Array:
    """Return integrals between ``edges`` of the spline through ``values``, taken as zero beyond the grid."""
    pad = np.arange(1, 7) * spacing
    nodes = np.concatenate([centres[0] - pad[::-1], centres, centres[-1] + pad])
    width = [(0, 0)] * values.ndim
    width[axis] = (len(pad), len(pad))
    spline = make_interp_spline(nodes, np.pad(values, width), k=5, axis=axis)
    within = np.clip(edges, nodes[0], nodes[-1])
    return np.diff(spline.antiderivative()(within), axis=axis)


def _rebinned(masses: Array, old: Array, new: Array, axis: int) -> Array:
    """Return masses of cells between ``new`` edges from masses of cells between ``old`` edges."""
    width = [(0, 0)] * masses.ndim
    width[axis] = (1, 0)
    cumulative = np.cumsum(np.pad(masses, width), axis=axis)
    factor, rest = divmod(len(old) - 1, len(new) - 1)
    if rest == 0 and np.allclose(old[::factor], new, rtol=0, atol=1e-9 * (old[1] - old[0])):
        kept = np.take(cumulative, np.arange(0, len(old), factor), axis=axis)
    else:
        kept = PchipInterpolator(old, cumulative, axis=axis)(np.clip(new, old[0], old[-1]))
    return np.diff(kept, axis=axis)


def common_grid(first: Solution, second: Solution) -> Grid:
    """Return a partition both solutions can be compared on: the sampled one's cells, else the wider box, finely.

    Cells in which two densities cross hide part of their distance, so deterministic ones are compared on finer cells.
    """
    a, b = first.gridded()[0], second.gridded()[0]
    if first.sampled or second.sampled:
        return a if first.sampled else b
    lower, upper = np.minimum(a.lower, b.lower), np.maximum(a.upper, b.upper)
    wanted = np.ceil((upper - lower) / np.minimum(a.spacing, b.spacing)) * _REFINEMENT[a.dimension]
    shrink = min(1.0, (_MOST_CELLS / float(np.prod(wanted))) ** (1 / a.dimension))
    return Grid(lower, upper, tuple(max(int(n * shrink), 4) for n in wanted))


def coarsened(grid: Grid, most: int) -> Grid:
    """Return the grid with cells merged in equal groups until no axis has more than ``most``, where counts divide."""
    return Grid(grid.lower, grid.upper, tuple(_divided(n, most) for n in grid.cells))


def _divided(cells: int, most: int) -> int:
    for factor in range(1, cells // 4 + 1):
        if cells % factor == 0 and cells // factor <= most:
            return cells // factor
    return cells
