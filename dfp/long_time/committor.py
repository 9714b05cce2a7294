"""The committor between two wells: the probability to reach the one before the other, from anywhere (T4)."""

from dataclasses import dataclass

import numpy as np
from dfp_solvers import absorbing
from dfp_solvers.escape import committor, line

from dfp.checks import Array
from dfp.long_time import first_passage_line, first_passage_numeric
from dfp.methods.transfer.kernels import widths
from dfp.problem.equations import MasterEquation
from dfp.problem.grid import Grid
from dfp.problem.parameters import either
from dfp.problem.sgd import SGD
from dfp.result import Result

# Places in a ball, in radii, at which the kernel is looked at.
_AROUND = np.array([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
# Shares of the nodes that reach rounding: the second one tells the error of the first.
_SHARES = 1.0, 0.8
# Lengths of panels on a line, in those that reach rounding in rare exits.
_LENGTHS = 1.3, 1.8
# Cells per axis on which it is given.
_CELLS = {1: 400, 2: 64}


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
    error
        Estimated largest error of ``values``, from a coarser rule; NaN in files of earlier versions.
    parameters
        What is on the axes, d names; theta_1 … if left out.

    Examples
    --------
    >>> import numpy as np
    >>> import dfp
    >>> well = dfp.Landscape(lambda t: t**3 - t, 0.1, hessian=lambda t: 3 * t**2 - 1)
    >>> found = dfp.escape(dfp.SGD(well, 0.2), start=-1.0, domain=(-np.inf, 0.0))
    >>> middle = np.abs(found.committor.grid.axes[0]).argmin()
    >>> print(found.committor.values[middle].round(1))  # on the barrier either well is as likely
    0.5
    """

    grid: Grid
    values: Array
    well: Array
    across: Array
    radius: float
    error: float = np.nan
    parameters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", either(self.parameters, self.grid.dimension))

    def __repr__(self) -> str:
        """Return between which wells, and on how many cells."""
        cells = "×".join(map(str, self.grid.cells))
        return f"<Committor from {self.well} to {self.across} on {cells} cells>"


def committor_between(sgd: SGD, well: Array, across: Array, box: Grid) -> Committor:
    """Return the committor of the master equation on a box that holds both wells, d = 1 or 2.

    What leaves the box counts as falling to neither well. The balls have the radius of a deviation of the law in the
    flatter well, at most a quarter of the way between them.

    Raises
    ------
    NarrowKernel
        If the kernel is too narrow for the box.
    """
    margin = np.maximum(box.upper - well, well - box.lower)
    radius = min(_deviation(sgd, well), _deviation(sgd, across), float(np.linalg.norm(across - well)) / 4)
    margin = np.maximum(margin, radius)
    lower, upper = np.minimum(well, across) - margin, np.maximum(well, across) + margin
    grid = Grid(lower, upper, _CELLS[sgd.dimension])
    solve = _on_line if sgd.dimension == 1 else _on_plane
    fine, rough = (np.clip(part, 0.0, 1.0) for part in solve(MasterEquation(sgd), well, across, radius, grid))
    for place, inside in ((well, 0.0), (across, 1.0)):
        ball = np.linalg.norm(grid.points - place, axis=-1) < radius
        fine[ball] = rough[ball] = inside
    return Committor(grid, fine, well, across, radius, float(np.max(np.abs(fine - rough))), sgd.parameters or ())


def _deviation(sgd: SGD, place: Array) -> float:
    """Return the largest deviation of the law of SGD in the quadratic well at ``place`` (T10)."""
    curvature = np.linalg.eigvalsh(sgd.local.hessian_at(place[None])[0])
    noise = float(np.trace(sgd.local.covariance_at(place[None])[0]))
    decay = sgd.learning_rate * curvature
    return float(np.sqrt(np.max(sgd.learning_rate * noise / np.maximum(curvature * (2 - decay), 1e-12))))


def _on_line(equation: MasterEquation, well: Array, across: Array, radius: float, grid: Grid) -> list[Array]:
    """Return it on two sets of panels, the finer one first."""
    a, b = sorted([float(well[0]), float(across[0])])
    low, high = float(grid.lower[0]), float(grid.upper[0])
    intervals = np.array([[low, a - radius], [a + radius, b - radius], [b + radius, high]])
    means, spreads = first_passage_line.kernel(equation, grid.axes[0])
    at_once = line.between(across[0] - radius, across[0] + radius, means, spreads)
    levels: list[Array] = []
    for share in _LENGTHS:
        width = first_passage_line.width(equation, low, high)
        nodes, weights = line.panels(intervals, width, share * line.LENGTH)
        moved, deviation = first_passage_line.kernel(equation, nodes)
        kept = [line.between(m - radius, m + radius, moved, deviation) for m in (float(well[0]), float(across[0]))]
        away = line.between(-np.inf, low, moved, deviation) + line.between(high, np.inf, moved, deviation)
        step = line.restricted(nodes, weights, moved, deviation, kept[0] + kept[1] + away)
        levels.append(at_once + line.arrivals(nodes, weights, means, spreads) @ step.expected(kept[1]))
    return levels


def _on_plane(equation: MasterEquation, well: Array, across: Array, radius: float, grid: Grid) -> list[Array]:
    """Return it on two rules of quadrature, the finer one first."""
    wells = np.stack([well, across])
    narrow = [float(np.min(widths(equation, m + radius * _AROUND, np.ones(2)))) for m in wells]
    levels: list[Array] = []
    for counts in first_passage_numeric.node_counts(equation, grid.lower, grid.upper, _SHARES):
        box = absorbing.legendre(grid.lower, grid.upper, counts)
        coarser = 1.0 if not levels else 1.25
        discs = [committor.disc(m, radius, coarser * width) for m, width in zip(wells, narrow, strict=True)]
        try:
            found = committor.reached(
                lambda at: (at + equation.drift(at), equation.diffusion(at)), box, discs, grid.points.reshape(-1, 2)
            )
        except ArithmeticError as failure:
            raise first_passage_line.NarrowKernel(str(failure)) from None
        levels.append(found.reshape(grid.cells))
    return levels
