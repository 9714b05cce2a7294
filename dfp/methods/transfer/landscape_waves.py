"""The master equation of a nonlinear landscape on a line, with noise known by its characteristic function (T22)."""

from dataclasses import dataclass, field

import numpy as np
from dfp_solvers.transfer import characteristic as waves
from dfp_solvers.transfer import graded
from scipy import fft
from scipy.sparse.linalg import eigs

from dfp.checks import Array, Complex
from dfp.errors import UnresolvedError
from dfp.methods.grids import POWER_LAW
from dfp.methods.solver import Problem
from dfp.methods.transfer.characteristic import resolved_frame
from dfp.methods.transfer.graded import cloud, start_density
from dfp.methods.transfer.run import TransferRun
from dfp.methods.transfer.uniform import automatic_grid
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid
from dfp.problem.state import State
from dfp.results.frame import Frame

# The filter of a step leaves a third of the waves as they are: those at which |χ| is larger than this.
_KEPT, _DECAYED = 3.0, 1e-13
_LEAST, _MOST = 512, 2048
# The coarser nodes that tell the error, and the factor on what they differ by.
_COARSER, _SAFETY = 0.75, 2.0
_ROUNDING = 1e-13


@dataclass
class _Level:
    """Masses of equally spaced nodes, and the matrix of a step between them."""

    equation: Equation
    nodes: waves.Nodes
    mass: Array | None = None
    matrix: Array = field(init=False)

    def __post_init__(self) -> None:
        self.matrix = waves.transition(self.nodes, self.nodes.places, self.one_step)

    def one_step(self, x: Array, k: Array) -> Complex:
        """Return φ(k|θ) = e^{ik(θ − ηḡ)} χ(−ηk|θ), shape (n, m)."""
        local, rate = self.equation.sgd.local, self.equation.sgd.learning_rate
        moved = x - rate * local.gradient_at(x[:, None])[:, 0]
        result: Complex = np.exp(1j * np.outer(moved, k)) * local.characteristic(-rate * k, x)
        return result

    def advance(self, initial: State, steps: int) -> None:
        """Go on; the first step leaves a cloud of points, so close that the nodes do not see them."""
        if self.mass is None:
            places, masses = _cloud(self.equation, initial, self.nodes)
            self.mass = waves.transition(self.nodes, places, self.one_step) @ masses
            steps -= 1
        self.mass = graded.powers(self.matrix, self.mass, steps)


class LandscapeWavesRun(TransferRun):
    """Masses of nodes moved by matrices from the characteristic function of a step, on two sets of nodes.

    Raises
    ------
    UnresolvedError
        If no box holds the density, or its details are finer than the nodes.
    """

    kept = ("step", "levels.*.mass")

    def __init__(self, problem: Problem, grid: Grid | None) -> None:
        box = automatic_grid(problem)
        self.grid = box if grid is None else grid
        self.equation, self.initial, self.step = problem.equation, problem.initial, 0
        self.levels = _levels(self.equation, box)

    @classmethod
    def seconds(cls, problem: Problem) -> float:
        """Return about how long it takes."""
        return 10.0 + 1e-3 * min(problem.last, 20_000)

    def advance(self, steps: int) -> None:
        """Take both sets of nodes on."""
        if steps:
            for level in self.levels:
                level.advance(self.initial, steps)
        self.step += steps

    def frame(self) -> Frame:
        """Return the density of the finer nodes, with what the coarser ones differ by as its error.

        Raises
        ------
        UnresolvedError
            If details of the law are finer than the nodes: it may have no density.
        """
        if self.step == 0:
            density, outside = start_density(self.initial, self.grid)
            return Frame(self.initial.mean, self.initial.covariance, density, outside=outside)
        return _compared(self.levels, self.grid, self.step)


def settled(equation: Equation, box: Grid, grid: Grid) -> tuple[Frame, float]:
    """Return the fixed point of a step between nodes in ``box``, on ``grid``, and what leaves the box in a step."""
    levels, lost = _levels(equation, box), 0.0
    for level in levels:
        values, vectors = eigs(level.matrix, k=1, v0=np.ones(len(level.matrix)))
        level.mass = vectors[:, 0].real / vectors[:, 0].real.sum()
        lost = max(lost, 1 - float(values[0].real))
    return _compared(levels, grid, 1, "use dfp.solve to a late step"), lost


def _levels(equation: Equation, box: Grid) -> list[_Level]:
    count = _nodes(equation, box)
    return [_Level(equation, _placed(equation, box, n)) for n in (count, int(_COARSER * count))]


def _compared(
    levels: list[_Level], grid: Grid, step: int, remedy: str = "save later steps, start from a wider state"
) -> Frame:
    """Return the density of the finer nodes on ``grid``, with what the coarser ones differ by as its error."""
    fine, coarse = (resolved_frame(level.nodes, _masses(level), grid, step) for level in levels)
    if fine is None or coarse is None or fine.density is None or coarse.density is None:
        raise UnresolvedError(
            f"step {step}: details of the law are finer than {levels[0].nodes.spacing:.3g}, the spacing of the nodes; "
            f"{remedy}, or sample it with noise=... by dfp.MonteCarlo(...)."
        )
    differ = float(np.abs(fine.density - coarse.density).sum()) * grid.cell_volume
    error = (fine.truncation or 0.0) + _SAFETY * differ + _ROUNDING * step**0.5
    return Frame(fine.mean, fine.covariance, fine.density, truncation=error, outside=fine.outside)


def _masses(level: _Level) -> Array:
    assert level.mass is not None
    return level.mass


def _nodes(equation: Equation, box: Grid) -> int:
    """Return how many nodes across ``box`` resolve the kernels of steps from it, as far as nodes are affordable."""
    span = (box.upper - box.lower).item()
    waves_seen = np.pi / span * np.geomspace(_LEAST, _MOST, 64) / _KEPT
    places = np.linspace(box.lower.item(), box.upper.item(), 65)
    sizes = np.abs(equation.sgd.local.characteristic(-equation.sgd.learning_rate * waves_seen, places)).max(axis=0)
    seen = np.flatnonzero(sizes > _DECAYED)
    return _LEAST if seen.size == 0 else int(np.ceil(_KEPT * waves_seen[seen[-1]] * span / np.pi))


def _placed(equation: Equation, box: Grid, count: int) -> waves.Nodes:
    """Return ``count`` nodes across ``box``, in a period into which no image of a node wraps around."""
    lower, upper = box.lower.item(), box.upper.item()
    spacing = (upper - lower) / count
    places = np.linspace(box.lower, box.upper, 257)
    moved = places[:, 0] + equation.drift(places)[:, 0]
    reach = POWER_LAW * np.sqrt(equation.diffusion(places)[:, 0, 0])
    apart = max(upper, float(np.max(moved + reach))) - min(lower, float(np.min(moved - reach)))
    period = 2 * fft.next_fast_len(int(np.ceil(apart / spacing)) + 32, real=True)
    first = int(np.floor(lower / spacing))
    return waves.Nodes(spacing, first, first + count, period)


def _cloud(equation: Equation, initial: State, nodes: waves.Nodes) -> tuple[Array, Array]:
    """Return points (N,) and their masses (N,) for the state at step 0, which one step puts closer than the nodes."""
    places = nodes.places[:, None]
    slope = 1 - equation.sgd.learning_rate * equation.sgd.local.hessian_at(places)[:, 0, 0]
    apart = nodes.spacing / max(1.0, float(np.max(np.abs(slope))))
    return cloud(initial, apart)
