"""Densities in cells as figures show them: as smooth as the cells resolve them, and where there is something to see."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from dfp_solvers import gridded_law, refinement
from numpy.typing import NDArray

from dfp.checks import Array

Box = tuple[Array, Array]
"""Lower and upper corner of what is in view."""

# Contours hold these fractions of the probability: one, two and three standard deviations of a 2D Gaussian.
HELD = (0.989, 0.865, 0.393)
# The share of the peak above which linear axes show a density, and that below which negative values are not seen.
PLAIN, SHOWN_NEGATIVE = 1e-3, 1e-3
# Places along an axis of a figure, of a line and of a plane, and margins around what is shown, over its size.
_LINE, _PLANE, MARGIN = 400, 160, 0.06


class Plane(NamedTuple):
    """A density of two parameters, around what its contours hold: places, values (n_1, n_2), densities of contours."""

    x: Array
    y: Array
    values: Array
    levels: Array
    peak: float

    @property
    def extent(self) -> Box:
        """Corners of the outermost contour."""
        held = self.values >= self.levels[0]
        ends = [places[np.flatnonzero(held.any(axis=other))[[0, -1]]] for places, other in ((self.x, 1), (self.y, 0))]
        # One place of the figure more, as contours lie between.
        steps = [places[1] - places[0] for places in (self.x, self.y)]
        return np.array([e[0] - s for e, s in zip(ends, steps, strict=True)]), np.array(
            [e[1] + s for e, s in zip(ends, steps, strict=True)]
        )


class Cells(NamedTuple):
    """A density in cells."""

    axes: Sequence[Array]
    """Centres of the cells along each axis, evenly spaced [parameter]."""
    values: Array
    """Shape (n_1, …, n_d); at the centres, or means over cells if sampled."""
    trajectories: int = 0
    """Samples of which it is a histogram; 0 if it is none."""

    @classmethod
    def last(cls, solved: Any) -> "Cells":
        """Return the last density of a solution."""
        grid, density = solved.gridded()
        return cls(grid.axes, density[-1], solved.trajectories)

    def span(self, share: float) -> tuple[float, float]:
        """Return the ends of the part of a 1D density whose size is above a share of its peak."""
        (places,), seen = self.axes, np.flatnonzero(np.abs(self.values) >= share * self.values.max())
        return (float(places[0]), float(places[-1])) if not seen.size else _ends(places, seen)

    def line(self, low: float, high: float) -> tuple[Array, Array]:
        """Return a 1D density at enough places for what is between two ends to be smooth; a histogram in its cells."""
        (centres,) = self.axes
        if self.trajectories:
            return centres, self.values
        shown = max(int(np.sum((centres >= low) & (centres <= high))), 1)
        wanted = -(-_LINE // shown) * len(centres)
        (places,), values = refinement.refined(self.axes, self.values, [centres[0]], [centres[-1]], wanted)
        return places, values

    def at(self, points: Array) -> Array:
        """Return the density at points (..., d); of a histogram of two parameters, smoothed as contours show it."""
        lower, spacing = np.transpose([(axis[0] - (axis[1] - axis[0]) / 2, axis[1] - axis[0]) for axis in self.axes])
        return gridded_law.interpolated(self._smooth(), lower, spacing, points, steps=False)

    def _smooth(self) -> Array:
        cell = float(np.prod([places[1] - places[0] for places in self.axes]))
        return refinement.smoothed(self.values, cell, self.trajectories) if self.trajectories else self.values

    @property
    def style(self) -> str:
        """How lines are drawn: histograms in steps."""
        return "steps-mid" if self.trajectories else "default"

    def plane(self) -> Plane:
        """Return a 2D density as its contours show it; a histogram by a kernel that keeps mass, mean and covariance."""
        cell = float(np.prod([places[1] - places[0] for places in self.axes]))
        values = self._smooth()
        least = min(_level(values, cell, 1 - (1 - HELD[0]) / 4), SHOWN_NEGATIVE * float(values.max()))
        seen = np.abs(values) >= max(least, np.finfo(float).tiny)
        ends = [_ends(places, np.flatnonzero(seen.any(axis=1 - i))) for i, places in enumerate(self.axes)]
        lower, upper = zip(*ends, strict=True)
        (x, y), fine = refinement.refined(self.axes, values, lower, upper, _PLANE)
        finer = float((x[1] - x[0]) * (y[1] - y[0]))
        # What the grid does not hold, as of heavy tails, has no contour.
        total = float(fine.sum()) * finer
        held = [share for share in HELD if share <= total] or HELD
        levels = np.array([_level(fine, finer, share) for share in held])
        # Few samples, a density in one cell or one that is flat make levels coincide; contours need them to increase.
        peak = float(fine.max())
        return Plane(x, y, fine, np.unique(np.clip(levels, 1e-12 * peak, (1 - 1e-6) * peak)), peak)


def _ends(places: Array, seen: NDArray[np.int64]) -> tuple[float, float]:
    return float(places[seen[0]]), float(places[seen[-1]])


def _level(values: Array, cell: float, share: float) -> float:
    """Return the density above which cells of volume ``cell`` hold a share of the mass."""
    ordered = np.sort(values, axis=None)[::-1]
    held = np.cumsum(ordered * cell)
    return float(ordered[min(int(np.searchsorted(held, share)), len(ordered) - 1)])


def view(extents: Iterable[Box]) -> Box:
    """Return corners that have all extents between them, with a margin."""
    lower, upper = zip(*extents, strict=True)
    low, high = np.min(lower, axis=0), np.max(upper, axis=0)
    margin = MARGIN * (high - low)
    return low - margin, high + margin
