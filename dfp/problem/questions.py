"""What is asked of densities on a grid, frame by frame: the arguments, checked, and the numerics, called."""

from collections.abc import Sequence

import numpy as np
from dfp_solvers import gridded_law
from numpy.typing import ArrayLike

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError
from dfp.problem.grid import Grid

# Mass outside the grid over that in a tail, from which quantiles there are not known.
_MUCH = 0.01


def kept_axes(axes: int | Sequence[int], dimension: int) -> list[int]:
    """Return the axes of a marginal, counted from 0, in the order asked for.

    Raises
    ------
    DFPError
        If one is out of range or named twice.
    """
    given = list(axes) if isinstance(axes, (list, tuple, np.ndarray)) else [axes]
    kept = [checks.integer(f"axes[{i}]", axis, at_most=dimension - 1) for i, axis in enumerate(given)]
    if not kept or len(set(kept)) < len(kept):
        raise DFPError(f"axes={checks.shown(axes)}: must name axes, each once; give e.g. [0].")
    return kept


def marginal(grid: Grid, values: Array, axes: list[int]) -> tuple[Grid, Array]:
    """Return grid and density of the parameters ``axes``; ``values`` may have leading axes of frames."""
    frames = values.ndim - grid.dimension
    gone = [axis for axis in range(grid.dimension) if axis not in axes]
    summed = values.sum(axis=tuple(frames + axis for axis in gone)) * np.prod(grid.spacing[gone])
    order = [frames + sorted(axes).index(axis) for axis in axes]
    cells = tuple(grid.cells[axis] for axis in axes)
    return Grid(grid.lower[axes], grid.upper[axes], cells), np.transpose(summed, [*range(frames), *order])


def probability(grid: Grid, values: Array, lower: ArrayLike, upper: ArrayLike, *, steps: bool) -> float:
    """Return the probability of a box; corners may be infinite.

    Raises
    ------
    DFPError
        If a corner has another dimension or is NaN, or the lower one is above the upper one.
    """
    corners = []
    for name, given in (("lower", lower), ("upper", upper)):
        try:
            corner = np.broadcast_to(np.asarray(given, dtype=np.float64), (grid.dimension,))
        except (TypeError, ValueError):
            raise DFPError(
                f"{name}={checks.shown(given)}: must have one number per parameter, {grid.dimension}."
            ) from None
        corners.append(corner)
    if not np.all(corners[0] <= corners[1]):
        raise DFPError(
            f"lower={checks.shown(lower)}: must be at most upper={checks.shown(upper)}; give numbers in order."
        )
    return gridded_law.box_probability(values, grid.axes, grid.spacing, *corners, steps=steps)


def quantile(grid: Grid, values: Array, q: ArrayLike, axis: int, outside: float, *, steps: bool) -> Array:
    """Return the quantiles ``q`` of one parameter, of the shape of ``q``.

    Raises
    ------
    DFPError
        If a share is not in (0, 1), there is no such axis, or the mass ``outside`` of the grid is much of a tail.
    """
    shares = checks.array("q", q, dimensions=(0, 1))
    if np.any((shares <= 0) | (shares >= 1)):
        raise DFPError(f"q={checks.shown(q)}: must be between 0 and 1; give e.g. 0.95.")
    tails = np.minimum(shares, 1 - shares).ravel()
    if outside > _MUCH * np.min(tails, initial=1.0):
        raise DFPError(
            f"q={shares.ravel()[np.argmin(tails)]:g}: {outside:.2g} of the mass is outside the grid, which is much of "
            f"the {tails.min():.2g} in the tail; give a wider grid=dfp.Grid(lower, upper, cells), or a q nearer 0.5."
        )
    kept = kept_axes(axis, grid.dimension)
    line, along = marginal(grid, values, kept)
    width = float(line.spacing[0])
    found = [gridded_law.quantile(along, line.axes[0], width, float(share), steps=steps) for share in shares.ravel()]
    return np.array(found).reshape(shares.shape)


def interpolated(grid: Grid, values: Array, points: ArrayLike, *, steps: bool) -> Array:
    """Return the density at ``points`` (..., d), or (...) for d = 1; zero outside the grid."""
    given = checks.array("points", points, dimensions=tuple(range(5)))
    if grid.dimension == 1 and (given.ndim == 0 or given.shape[-1] != 1):
        given = given[..., None]
    if given.shape[-1] != grid.dimension:
        raise DFPError(
            f"points has shape {given.shape}: the last axis must have {grid.dimension} entries, one a parameter."
        )
    return gridded_law.interpolated(values, grid.lower, grid.spacing, given, steps=steps)


def drawn(grid: Grid, values: Array, n: int, seed: int, *, steps: bool) -> Array:
    """Return ``n`` independent points, shape (n, d)."""
    count, rng = checks.integer("n", n, at_least=1), np.random.default_rng(checks.integer("seed", seed))
    if not values.max() > 0:
        raise DFPError("density: nothing of it is on the grid, so nothing can be drawn; widen the grid.")
    return gridded_law.drawn(values, grid.lower, grid.spacing, count, rng, steps=steps)
