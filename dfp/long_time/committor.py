"""The committor between two wells: the probability to reach the one before the other, from anywhere (T4)."""

from dataclasses import dataclass

import numpy as np
from dfp_solvers import absorbing
from dfp_solvers.escape import line
from scipy.linalg import lu_factor, lu_solve

from dfp.checks import Array
from dfp.errors import UnresolvedError
from dfp.long_time import first_passage_line
from dfp.methods.transfer.kernels import widths
from dfp.problem.equations import MasterEquation
from dfp.problem.grid import Grid
from dfp.problem.sgd import SGD
from dfp.result import Result

_CELLS, _MOST = 400, 4000


@dataclass(frozen=True, repr=False)
class Committor(Result):
    """The probability that SGD reaches one well before the other.

    Attributes
    ----------
    grid
        Where it is given.
    values
        Probability to reach the ball around ``across`` before that around ``well``, shape ``grid.cells``.
    well, across
        The bottoms of the wells, shape (d,).
    radius
        Radius of the balls that count as the wells [parameter].
    """

    grid: Grid
    values: Array
    well: Array
    across: Array
    radius: float

    def __repr__(self) -> str:
        """Return between which wells, and on how many cells."""
        cells = "×".join(map(str, self.grid.cells))
        return f"<Committor from {self.well} to {self.across} on {cells} cells>"


def committor_between(sgd: SGD, well: Array, across: Array, box: Grid) -> Committor:
    """Return the committor of the master equation on a box that holds both wells, d = 1 or 2.

    The balls have the radius of a deviation of the law in the flatter well, at most a quarter of the way between them.

    Raises
    ------
    UnresolvedError
        If the kernel is too narrow for the box.
    """
    margin = np.maximum(box.upper - well, well - box.lower)
    lower, upper = np.minimum(well, across) - margin, np.maximum(well, across) + margin
    radius = min(_deviation(sgd, well), _deviation(sgd, across), float(np.linalg.norm(across - well)) / 4)
    solve = _on_line if sgd.dimension == 1 else _on_plane
    grid, values = solve(sgd, well, across, radius, lower, upper)
    return Committor(grid, np.clip(values, 0.0, 1.0), well, across, radius)


def _deviation(sgd: SGD, place: Array) -> float:
    """Return the largest deviation of the law of SGD in the quadratic well at ``place`` (T10)."""
    curvature = np.linalg.eigvalsh(sgd.local.hessian_at(place[None])[0])
    noise = float(np.trace(sgd.local.covariance_at(place[None])[0]))
    decay = sgd.learning_rate * curvature
    return float(np.sqrt(np.max(sgd.learning_rate * noise / np.maximum(curvature * (2 - decay), 1e-12))))


def _on_line(sgd: SGD, well: Array, across: Array, radius: float, lower: Array, upper: Array) -> tuple[Grid, Array]:
    equation = MasterEquation(sgd)
    a, b = sorted([float(well[0]), float(across[0])])
    low, high = float(lower[0]), float(upper[0])
    intervals = np.array([[low, a - radius], [a + radius, b - radius], [b + radius, high]])
    nodes, weights = line.panels(intervals, first_passage_line.width(equation, low, high))
    moved, deviation = first_passage_line.kernel(equation, nodes)
    kept = [line.between(m - radius, m + radius, moved, deviation) for m in (float(well[0]), float(across[0]))]
    away = line.between(-np.inf, low, moved, deviation) + line.between(high, np.inf, moved, deviation)
    step = line.restricted(nodes, weights, moved, deviation, kept[0] + kept[1] + away)
    inside = step.expected(kept[1])
    grid = Grid(low, high, _CELLS)
    places = grid.axes[0]
    means, spreads = first_passage_line.kernel(equation, places)
    values = line.between(across[0] - radius, across[0] + radius, means, spreads)
    values = values + line.arrivals(nodes, weights, means, spreads) @ inside
    values[np.abs(places - well[0]) < radius] = 0.0
    values[np.abs(places - across[0]) < radius] = 1.0
    return grid, values


def _on_plane(sgd: SGD, well: Array, across: Array, radius: float, lower: Array, upper: Array) -> tuple[Grid, Array]:
    """Return it on cells, those whose centres are in a ball counting as the well: first order in the spacing."""
    equation = MasterEquation(sgd)
    probes = np.stack(np.meshgrid(*np.linspace(lower, upper, 17).T, indexing="ij"), axis=-1).reshape(-1, 2)
    narrowest = np.min(widths(equation, probes, np.ones(2)), axis=0)
    with np.errstate(divide="ignore"):
        cells = np.ceil(1.4 * (upper - lower) / np.maximum(narrowest, 1e-300))
    if not np.prod(cells) <= _MOST:
        raise UnresolvedError(
            f"the box of both wells is {cells} kernels wide, more than {_MOST} cells; raise learning_rate."
        )
    grid = Grid(lower, upper, tuple(max(int(n), 40) for n in cells))
    nodes = grid.points.reshape(-1, 2)
    moved, held = nodes + equation.drift(nodes), np.full(len(nodes), grid.cell_volume)
    kernel = absorbing.gaussian_kernel(nodes, moved, equation.diffusion(nodes), held).T
    first, second = (np.linalg.norm(nodes - m, axis=1) < radius for m in (well, across))
    free = ~(first | second)
    inner = kernel[np.ix_(free, free)]
    values = second.astype(float)
    values[free] = lu_solve(lu_factor(np.eye(len(inner)) - inner), kernel[np.ix_(free, second)].sum(axis=1))
    return grid, values.reshape(grid.cells)
