"""Initial densities given on a grid: on other cells, and the grids that hold and resolve what becomes of them."""

import math
from collections.abc import Sequence

import numpy as np
from dfp_solvers import lattice, matrices, pseudospectral
from scipy import fft
from scipy.special import ndtr

from dfp.checks import TINY, Array
from dfp.errors import UnresolvedError
from dfp.methods.grids import GAUSSIAN, GRIDDED_BAND, LEAST_CELLS
from dfp.problem.grid import MAX_CELLS, Grid, grid_moments
from dfp.problem.state import Density
from dfp.results.frame import Frame

# Points through which values are interpolated, and through which once more to see how well.
_POINTS, _MORE = 6, 8
# |φ| at the end of the waves of a grid that resolves a density.
_RESOLVED = 1e-8
# How many of the last waves tell what is beyond them: φ of a density with jumps oscillates, and may vanish at the last.
SHELL = 4
# What the waves of a start leave out at least where it is taken to have jumps, which interpolation would make ring.
_JUMP = 1e-4

Moved = tuple[Array, Array, Array]
"""Matrix (d, d), shift (d,) and noise covariance (d, d) of a number of steps."""


def resampled(initial: Density, grid: Grid) -> tuple[Array, float]:
    """Return the density at the centres of ``grid``, zero beyond its own box, and an estimate of its L1 error.

    A density that its grid resolves is interpolated by its waves; any other through six points, and not at all where
    centres coincide.
    """
    if initial.grid.matches(grid):
        return initial.values, 0.0
    own, cut = initial.grid, _largest_of_start(initial)
    if cut < _RESOLVED:
        return np.maximum(by_waves(own, initial.values, grid), 0.0), 2.0**own.dimension * cut
    values, better = (_interpolated(initial, grid, points) for points in (_POINTS, _MORE))
    return np.maximum(values, 0.0), float(np.abs(values - better).sum()) * grid.cell_volume


def by_waves(own: Grid, values: Array, grid: Grid) -> Array:
    """Return the trigonometric interpolant of ``values`` on the grid ``own`` at the centres of ``grid``."""
    matrices_of_axes = [
        pseudospectral.interpolation(float(own.lower[i]), float(own.spacing[i]), own.cells[i], axis)
        for i, axis in enumerate(grid.axes)
    ]
    return lattice.apply(matrices_of_axes, values)


def as_given(initial: Density, grid: Grid) -> Frame:
    """Return the frame at step 0."""
    density, error = resampled(initial, grid)
    mass, mean, covariance = grid_moments(grid, density)
    return Frame(mean, covariance, density, truncation=error, outside=max(1.0 - mass, 0.0), gridded_moments=True)


def resolved(initial: Density) -> bool:
    """Tell whether the initial grid resolves the density, so that it is known between the centres."""
    return _largest_of_start(initial) < _RESOLVED


def _largest_of_start(initial: Density) -> float:
    d = initial.dimension
    return largest_cut(initial, (np.eye(d), np.zeros(d), np.zeros((d, d))))


def _interpolated(initial: Density, grid: Grid, points: int) -> Array:
    pairs = zip(initial.grid.axes, grid.axes, strict=True)
    return lattice.apply([lattice.interpolation(*pair, points) for pair in pairs], initial.values)


def detail(density: Array) -> Array:
    """Return the deviation of a Gaussian with the mean squared slope of ``density``, along each axis [cells].

    It falls to zero at the ends of its box.
    """
    size, found = float(np.vdot(density, density)), []
    for axis in range(density.ndim):
        along = density.swapaxes(0, axis)
        slope, first, last = along[1:] - along[:-1], along[0], along[-1]
        found.append(size / (2 * float(np.vdot(slope, slope) + np.vdot(first, first) + np.vdot(last, last))))
    return np.sqrt(found)


def outside(initial: Density, grid: Grid, moved: Moved) -> float:
    """Return the mass that is mapped and blurred to places beyond ``grid``, summed over the axes."""
    factor, shift, noise = moved
    places = initial.grid.points.reshape(-1, initial.dimension) @ factor.T + shift
    deviation = np.sqrt(np.maximum(noise.diagonal(), TINY))
    beyond = ndtr((grid.lower - places) / deviation) + ndtr((places - grid.upper) / deviation)
    return float(initial.values.ravel() @ beyond.sum(axis=1)) * initial.grid.cell_volume


def largest_cut(initial: Density, moved: Moved) -> float:
    """Return the largest |φ| among the last waves along the axes of the initial grid, which knows no shorter ones."""
    factor, _, noise = moved
    own, largest = initial.grid, 0.0
    try:
        inverse = np.linalg.inv(factor)
    except np.linalg.LinAlgError:
        return 0.0  # nothing is left of the initial density
    for axis, (h, n) in enumerate(zip(own.spacing, own.cells, strict=True)):
        # Half a step of the transform apart: at whole ones all waves of a uniform density vanish.
        last = np.pi / h * (1 - np.arange(2 * SHELL) / n)
        rest = tuple(i for i in range(own.dimension) if i != axis)
        mass = initial.values.sum(axis=rest) * own.cell_volume
        waves = np.outer(last, inverse[axis])
        left = np.exp(-0.5 * np.einsum("wi,ij,wj->w", waves, noise, waves))
        largest = max(largest, float((np.abs(np.exp(1j * np.outer(last, own.axes[axis])) @ mass) * left).max()))
    return largest


def comb(initial: Density, moved: Moved) -> float:
    """Return the L1 error of taking every cell for a point at its centre, after the map and the blur ``moved``.

    Points are the density with its waves repeated beyond those its grid holds, at multiples of 2π over the spacing.
    """
    factor, _, noise = moved
    try:
        inverse = np.linalg.inv(factor)
    except np.linalg.LinAlgError:
        return 0.0  # nothing is left of the initial density
    waves = 2 * np.pi / initial.grid.spacing[:, None] * inverse
    images = float(np.exp(-0.5 * np.einsum("ai,ij,aj->a", waves, noise, waves)).max())
    return 2.0**initial.dimension * (largest_cut(initial, moved) + images)


def as_points(initial: Density, moved: Moved) -> bool:
    """Tell whether cells are better taken for points, because the density has jumps and the first step blurs them."""
    cut = 2.0**initial.dimension * _largest_of_start(initial)
    return not resolved(initial) and (comb(initial, moved) < cut or cut > _JUMP)


def around(initial: Density, steps: Sequence[int], moved: Sequence[Moved]) -> Grid:
    """Return a grid for a density that is mapped and blurred by Gaussian noise, at each of ``steps``.

    Its box holds the image of the initial box with the noise; its spacing resolves the waves that the noise or, where
    it is narrower, the initial grid lets through. If step 0 is among them, cells have the initial centres among theirs.

    Raises
    ------
    UnresolvedError
        If more than 2^26 cells would be needed.
    """
    own = initial.grid
    centre, half = (own.lower + own.upper) / 2, (own.upper - own.lower) / 2
    lower, upper = np.full(own.dimension, np.inf), np.full(own.dimension, -np.inf)
    finest = np.zeros(own.dimension)
    for factor, shift, noise in moved:
        reach = np.abs(factor) @ half + GAUSSIAN * np.sqrt(noise.diagonal())
        lower = np.minimum(lower, factor @ centre + shift - reach)
        upper = np.maximum(upper, factor @ centre + shift + reach)
        finest = np.maximum(finest, np.minimum(_noise_band(noise), _own_band(factor, own)))
    wanted = np.pi / finest
    if 0 in steps:
        parts = 2 * np.ceil((own.spacing / wanted * (1 - 1e-12) - 1) / 2).clip(min=0) + 1  # odd: centres coincide
        spacing = own.spacing / parts
        lower = own.lower - np.ceil((own.lower - lower) / spacing - 1e-9) * spacing
    else:
        spacing = wanted
    needed = np.ceil((upper - lower) / spacing - 1e-9)
    if not math.prod(needed.tolist()) <= MAX_CELLS:
        raise UnresolvedError(
            f"cells={needed}: resolving what becomes of the initial density at steps {list(steps)} needs more than "
            f"{MAX_CELLS} cells; save fewer steps or give grid=..."
        )
    cells = [fft.next_fast_len(max(int(n), LEAST_CELLS), real=True) for n in needed]
    return Grid(lower, lower + spacing * np.array(cells), cells)


def _noise_band(noise: Array) -> Array:
    """Return the largest wave number that Gaussian noise lets through along each axis, infinite where there is none."""
    values = matrices.eigenvalues(noise)
    if not values[0] > 1e-13 * values[-1]:
        return np.full(len(noise), np.inf)
    return GRIDDED_BAND * np.sqrt(matrices.precisions(noise))


def _own_band(factor: Array, own: Grid) -> Array:
    """Return the largest wave number along each axis that the initial grid knows, after the map ``factor``."""
    try:
        inverse = np.abs(np.linalg.inv(factor)).T
    except np.linalg.LinAlgError:
        return np.full(len(factor), np.inf)
    return inverse @ (np.pi / own.spacing)
