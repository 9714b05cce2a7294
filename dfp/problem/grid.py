"""The grid of densities: uniform cells on a box, and the moments of values on them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np
from dfp_solvers import boxes, summary
from numpy.typing import ArrayLike

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError
from dfp.problem.value import Value

MAX_CELLS = 2**26
# Refinement stops at this many cells, by dimension.
_AFFORDABLE = {1: 2**18, 2: 2**21, 3: 2**22}


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Grid(Value):
    """A uniform grid of cells on a box in parameter space.

    Parameters
    ----------
    lower, upper
        Corners of the box, shape (d,) or a number for d = 1 [parameter].
    cells
        Number of cells per axis, shape (d,); one integer serves every axis.

    Raises
    ------
    DFPError
        If a corner is not finite, lower >= upper, or a count is not a positive integer.

    Examples
    --------
    >>> import dfp
    >>> grid = dfp.Grid(lower=[-1.0, -2.0], upper=[1.0, 2.0], cells=[4, 8])
    >>> print(grid.axes[0], grid.cell_volume)
    [-0.75 -0.25  0.25  0.75] 0.25
    """

    lower: Array
    upper: Array
    cells: tuple[int, ...]
    spacing: Array = field(init=False, compare=False)
    """Cell widths, shape (d,) [parameter]."""
    cell_volume: float = field(init=False, compare=False)
    """Volume of one cell [parameter^d]."""

    def __init__(self, lower: ArrayLike, upper: ArrayLike, cells: int | Sequence[int]) -> None:
        lower = checks.array("grid.lower", lower, dimensions=(0, 1)).reshape(-1)
        upper = checks.vector("grid.upper", upper, lower.size)
        if not 1 <= lower.size <= 3:
            raise DFPError(
                f"grid.lower has {lower.size} entries: densities live in 1, 2 or 3 dimensions; use dfp.moments(...)."
            )
        for i in range(lower.size):
            if not lower[i] < upper[i]:
                remedy = "swap them" if lower[i] > upper[i] else "give the box a width above rounding"
                raise DFPError(f"grid.upper[{i}]={upper[i]:g}: must exceed grid.lower[{i}]={lower[i]:g}; {remedy}.")
        counts: Any = checks.scalar(cells)
        counts = counts if isinstance(counts, (tuple, list, np.ndarray)) else (counts,) * lower.size
        if len(counts) != lower.size:
            raise DFPError(f"grid.cells={checks.shown(cells)}: must have {lower.size} entries; give one per axis.")
        cells = tuple(checks.integer(f"grid.cells[{i}]", n, at_least=4) for i, n in enumerate(counts))
        total = math.prod(cells)
        if total > MAX_CELLS:
            raise DFPError(f"grid.cells={cells}: {total} cells exceed the limit of {MAX_CELLS}; use fewer per axis.")
        self._set(lower, upper, cells)

    def _set(self, lower: Array, upper: Array, cells: tuple[int, ...]) -> None:
        spacing = (upper - lower) / np.array(cells)
        volume = float(math.prod(spacing.tolist()))
        vars(self).update(lower=lower, upper=upper, cells=cells, spacing=spacing, cell_volume=volume)

    @classmethod
    def known(cls, lower: Array, upper: Array, cells: tuple[int, ...]) -> Self:
        """Return the grid of corners (d,) and counts that are known to be right, which are not checked again."""
        result = object.__new__(cls)
        result._set(lower, upper, cells)
        return result

    def with_cells(self, cells: tuple[int, ...]) -> "Grid":
        """Return the box with other numbers of ``cells``, which are not checked again."""
        return self.known(self.lower, self.upper, cells)

    def resized(self, cells: int) -> "Grid":
        """Return the box with so many cells per axis."""
        return Grid(self.lower, self.upper, checks.integer("grid", cells, at_least=4))

    @property
    def dimension(self) -> int:
        """Number of axes d."""
        return len(self.cells)

    @property
    def edges(self) -> tuple[Array, ...]:
        """Cell boundaries, one array of n_i + 1 values per axis."""
        return tuple(np.linspace(a, b, n + 1) for a, b, n in zip(self.lower, self.upper, self.cells, strict=True))

    @cached_property
    def axes(self) -> tuple[Array, ...]:
        """Cell centres, one array of n_i values per axis."""
        return tuple(boxes.centres(self.lower[i], self.spacing[i], n) for i, n in enumerate(self.cells))

    @property
    def points(self) -> Array:
        """Cell centres as an array of shape (n_1, ..., n_d, d)."""
        if self.dimension == 1:
            return self.axes[0][:, None]
        return np.stack(np.meshgrid(*self.axes, indexing="ij"), axis=-1)

    def refined(self, finer: float, wider: float) -> "Grid | None":
        """Return the grid with more cells per length and a wider box, by factors >= 1; None if that is unaffordable."""
        centre, half = (self.lower + self.upper) / 2, (self.upper - self.lower) / 2 * wider
        # Multiples of four, which can be halved twice.
        wanted = np.ceil(np.array(self.cells) * finer * wider / 4) * 4
        if float(np.prod(wanted)) > _AFFORDABLE[self.dimension]:
            return None
        return Grid(centre - half, centre + half, tuple(int(n) for n in wanted))

    def matches(self, other: "Grid") -> bool:
        """Tell whether both grids have the same cells."""
        return (
            self.cells == other.cells
            and np.array_equal(self.lower, other.lower)
            and np.array_equal(self.upper, other.upper)
        )


def grid_moments(grid: Grid, values: Array) -> tuple[float, Array, Array]:
    """Return mass, mean (d,) and covariance (d, d) of the density ``values`` on ``grid`` by the trapezoidal rule."""
    d = grid.dimension
    if d == 1:
        mass, place, variance = summary.line_moments(values, grid.axes[0])
        return mass * grid.cell_volume, np.array([place]), np.array([[variance]])
    # The whole array is summed once for every pair of axes; the rest follows from these.
    pairs = {(i, j): values.sum(axis=tuple({0, 1, 2}.difference((i, j)))) if d == 3 else values
             for i in range(d) for j in range(i)}  # fmt: skip
    marginals = [pairs[1, 0].sum(axis=1), pairs[1, 0].sum(axis=0)]
    if d == 3:
        marginals.append(pairs[2, 0].sum(axis=0))
    along = [summary.line_moments(marginal, axis) for marginal, axis in zip(marginals, grid.axes, strict=True)]
    total, mean, covariance = along[0][0], np.array([line[1] for line in along]), np.empty((d, d))
    for i in range(d):
        covariance[i, i] = along[i][2]
        for j in range(i):
            left, right = grid.axes[j] - mean[j], grid.axes[i] - mean[i]
            covariance[i, j] = covariance[j, i] = left @ pairs[i, j] @ right / total
    return total * grid.cell_volume, mean, covariance
