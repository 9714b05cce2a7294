"""What is asked of densities on a grid, frame by frame: the arguments, checked, and the numerics, called."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from dfp_solvers import gridded_law
from numpy.typing import ArrayLike

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError
from dfp.problem.grid import Grid

# Mass outside the grid over what is asked for, a tail or a box, from which the answer is not known, and the mass that
# is let pass all the same in boxes: the certificate does not speak of so little either, but where the sides of a line
# are known only rounding is.
_MUCH, _LITTLE, _ROUNDED = 0.01, 1e-6, 1e-12


Axes: TypeAlias = int | str | Sequence[int | str]
"""Parameters by their places, from 0, or by their names."""


class Outside(NamedTuple):
    """What is known of the mass outside a grid."""

    mass: float
    above: float | None = None
    """How much of it is above, on a line, where the sides are known."""
    unplaced: bool = False
    """Whether it may be anywhere along the axes of the grid, as that of marginals."""

    def within(self, grid: Grid, lower: Array, upper: Array) -> tuple[float, float]:
        """Return how much of it is known to be in a box, and how much more may be."""
        if np.all(np.isneginf(lower)) and np.all(np.isposinf(upper)):
            return self.mass, 0.0
        below_too, above_too = lower < grid.lower, upper > grid.upper
        if self.above is not None and not self.unplaced:
            # All of a side counts if the box holds it whole, from the end of the grid on; else some of it may.
            sides = (
                (self.mass - self.above, below_too, np.isneginf(lower) & (upper >= grid.lower)),
                (self.above, above_too, np.isposinf(upper) & (lower <= grid.upper)),
            )
            known = sum(mass for mass, _, whole in sides if whole.item())
            return known, sum(mass for mass, reached, _ in sides if reached.item()) - known
        return 0.0, self.mass if self.unplaced or np.any(below_too | above_too) else 0.0


def kept_axes(axes: Axes, names: Sequence[str]) -> list[int]:
    """Return the axes of a marginal, counted from 0 or by the ``names`` of all parameters, in the order asked for.

    Raises
    ------
    DFPError
        If one is out of range, is no name, or is there twice.
    """
    given = list(axes) if isinstance(axes, (list, tuple, np.ndarray)) else [axes]
    kept = [
        _named_axis(axis, names)
        if isinstance(axis, str)
        else checks.integer(f"axes[{i}]", axis, at_most=len(names) - 1)
        for i, axis in enumerate(given)
    ]
    if not kept or len(set(kept)) < len(kept):
        raise DFPError(f"axes={checks.shown(axes)}: must name axes, each once; give e.g. [0].")
    return kept


def _named_axis(name: str, names: Sequence[str]) -> int:
    if name not in names:
        known = ", ".join(map(repr, names))
        raise DFPError(f"axes={checks.shown(name)}: is no parameter; give one of {known}, or its place from 0.")
    return list(names).index(name)


def marginal(grid: Grid, values: Array, axes: list[int]) -> tuple[Grid, Array]:
    """Return grid and density of the parameters ``axes``; ``values`` may have leading axes of frames."""
    frames = values.ndim - grid.dimension
    gone = [axis for axis in range(grid.dimension) if axis not in axes]
    summed = values.sum(axis=tuple(frames + axis for axis in gone)) * np.prod(grid.spacing[gone])
    order = [frames + sorted(axes).index(axis) for axis in axes]
    cells = tuple(grid.cells[axis] for axis in axes)
    return Grid(grid.lower[axes], grid.upper[axes], cells), np.transpose(summed, [*range(frames), *order])


def probability(
    grid: Grid, values: Array, lower: ArrayLike, upper: ArrayLike, outside: Outside, *, steps: bool
) -> float:
    """Return the probability of a box, with what of the mass ``outside`` the grid is known to be in it.

    Raises
    ------
    DFPError
        If a corner has another dimension or is NaN, the lower one is above the upper one, or what may be in the box of
        the mass outside is much of the answer.
    """
    corners = [checks.corner(name, part, grid.dimension) for name, part in (("lower", lower), ("upper", upper))]
    if not np.all(corners[0] <= corners[1]):
        raise DFPError(
            f"lower={checks.shown(lower)}: must be at most upper={checks.shown(upper)}; give numbers in order."
        )
    known, unknown = outside.within(grid, *corners)
    found = gridded_law.box_probability(values, grid.axes, grid.spacing, *corners, steps=steps) + known
    if unknown > max(_MUCH * found, _LITTLE if outside.above is None else _ROUNDED):
        raise DFPError(
            f"lower={checks.shown(lower)}, upper={checks.shown(upper)}: some of what is outside may be in "
            f"the box: {_lost(outside.mass, f'the {found:.2g} on the grid')}, or corners on it."
        )
    return found


def _lost(outside: float, of: str) -> str:
    """Return what to say of mass outside the grid that is much of what is asked for."""
    return (
        f"{outside:.2g} of the mass is outside the grid, which is much of {of}; give a wider "
        "grid=dfp.Grid(lower, upper, cells)"
    )


def each_share(q: ArrayLike, of: Callable[[float], float], name: str = "q") -> Any:
    """Return a function ``of`` each of the shares ``q`` in (0, 1): a number for one, an array (Q,) for a list.

    Errors call them by ``name``.

    Raises
    ------
    DFPError
        If a share is not in (0, 1).
    """
    shares = checks.array(name, q, dimensions=(0, 1))
    if np.any((shares <= 0) | (shares >= 1)):
        raise DFPError(f"{name}={checks.shown(q)}: must be between 0 and 1; give e.g. 0.95.")
    found = [of(float(share)) for share in shares.ravel()]
    return np.array(found) if shares.ndim else found[0]


def quantile(grid: Grid, values: Array, q: ArrayLike, axis: list[int], outside: Outside, *, steps: bool) -> Any:
    """Return the quantiles ``q`` of one parameter, of the shape of ``q``: of the whole law where its sides are known.

    Raises
    ------
    DFPError
        If a share is not in (0, 1), there is no such axis, or the mass ``outside`` of the grid is much of a tail, or
        all of it where the sides are known.
    """
    line, along = marginal(grid, values, axis)

    def at(share: float) -> float:
        tail, beyond, held = min(share, 1 - share), outside.mass, share
        if outside.above is not None and not outside.unplaced:
            below = outside.mass - outside.above
            held = (share - below) / (1 - outside.mass)
            beyond = 0.0 if 0 < held < 1 else outside.mass
        if beyond > _MUCH * tail:
            raise DFPError(f"q={share:g}: {_lost(beyond, f'the {tail:.2g} in the tail')}, or a q nearer 0.5.")
        return gridded_law.quantile(along, line.axes[0], float(line.spacing[0]), held, steps=steps)

    return each_share(q, at)


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
