"""Transfer on a line for finite sums and additive noise of any law: band-limited transition matrices."""

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from dfp_solvers.transfer import characteristic as waves
from dfp_solvers.transfer import graded
from scipy import fft

from dfp.checks import Array, Complex
from dfp.errors import UnresolvedError
from dfp.exact.moments import moments_at
from dfp.methods.grids import POWER_LAW, box, deviations
from dfp.methods.solver import Problem
from dfp.methods.transfer.graded import cloud, counted, node_moments, start_density
from dfp.methods.transfer.run import TransferRun
from dfp.methods.transfer.singular import density_warning
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid
from dfp.problem.state import State
from dfp.results.frame import Frame

# Nodes across the box, and the most an extension of it may lead to.
_NODES, _MOST_NODES = 1024, 4096
# Nodes beyond the box: images of single nodes ring that far.
_MARGIN = 48
_PER_DEVIATION = 12.0
# The upper waves from which an error is judged, as shares of all; below, the filter of every step is 1.
_EDGE = (0.45, 0.6)
# Spectra that reach the edge with more than this belong to measures whose details are finer than the nodes.
_UNRESOLVED = 1e-3


class CharacteristicRun(TransferRun):
    """Masses of nodes on a line, moved by matrices from the characteristic function of a step.

    Raises
    ------
    UnresolvedError
        If the moments overflow, or the box becomes too wide for its nodes.
    """

    kept: ClassVar[tuple[str, ...]] = ("step", "nodes", "mass")

    def __init__(self, problem: Problem, grid: Grid | None) -> None:
        self.grid = line_grid(problem) if grid is None else grid
        self.equation, self.initial, self.step = problem.equation, problem.initial, 0
        self.nodes: waves.Nodes | None = None
        self.mass: Array | None = None
        """None at step 0, where the state is a cloud of points."""
        self._matrix: Array | None = None

    @classmethod
    def seconds(cls, problem: Problem) -> float:
        """Return about how long it takes."""
        return 10.0 + 1e-3 * min(problem.last, 20_000)

    def advance(self, steps: int) -> None:
        """Go on, on nodes that hold the mass at all these steps."""
        if steps == 0:
            return
        step = characteristic(self.equation)
        nodes = self.extend(self.step + steps)
        if self._matrix is None:
            self._matrix = waves.transition(nodes, nodes.places, step)
        goal = self.step + steps
        if self.mass is None:
            places, masses = self.cloud()
            self.mass = waves.transition(nodes, places, step) @ masses
            steps -= 1

        def passed(mass: Array, left: int) -> None:
            self.mass, self.step = mass, goal - left
            self.passing(left)

        self.mass, self.step = graded.powers(self._matrix, self.mass, steps, passed), goal

    def frame(self) -> Frame:
        """Return the density on the grid or, where there is none, cell averages; moments; what is outside."""
        grid, nodes, mass = self.grid, self.nodes, self.mass
        if mass is None or nodes is None:
            density, outside = start_density(self.initial, grid)
            return Frame(self.initial.mean, self.initial.covariance, density, outside=outside)
        found = resolved_frame(nodes, mass, grid, self.step)
        if found is not None:
            return found
        # There is no density to have an error: cell averages come with a warning instead.
        phi, places, half = waves.spectrum(nodes, mass), nodes.places, nodes.spacing / 2
        edges = np.clip(grid.edges[0], places[0] - half, places[-1] + half)
        below = waves.distribution(nodes, phi, edges)
        start = waves.distribution(nodes, phi, places[:1] - half)
        density = np.diff(waves.monotone(np.clip(below - start, 0.0, mass.sum()))) / grid.spacing
        outside = 1.0 - float(density.sum()) * grid.cell_volume
        warnings = (density_warning(self.equation, self.step),)
        return Frame(*node_moments(places, mass), density, truncation=np.nan, outside=outside, warnings=warnings)

    def resume(self, state: dict[str, Any]) -> None:
        """Go on on the nodes of the state."""
        super().resume(state)
        self.nodes = None if state["nodes"] is None else waves.Nodes(*state["nodes"])

    def cloud(self) -> tuple[Array, Array]:
        """Return points (N,) and their masses (N,) for the state at step 0, so close that the nodes do not see them.

        After one step the points are no further apart than the nodes, whose waves end before the period of such a comb.
        """
        assert self.nodes is not None
        apart = self.nodes.spacing / max(1.0, float(np.max(np.abs(slopes(self.equation)))))
        return cloud(self.initial, apart)

    def extend(self, last: int) -> waves.Nodes:
        """Return nodes that hold the mass at all steps up to ``last``; the matrix is forgotten where they change."""
        lower, upper, deviation = _box(self.equation, self.initial, 1, last)
        steepest, old = float(np.max(np.abs(slopes(self.equation)))), self.nodes
        if old is None:
            finest = (upper - lower) / _NODES / max(1.0, (1 + steepest) / 2.8)
            spacing = min(finest, max(min(self.grid.spacing.item(), deviation / 6), finest / 2))
            old = waves.Nodes(spacing, int(np.floor(lower / spacing)), int(np.floor(lower / spacing)), 0)
        first = min(old.first, int(np.floor(lower / old.spacing)) - _MARGIN)
        end = max(old.last, int(np.ceil(upper / old.spacing)) + _MARGIN)
        if (first, end) == (old.first, old.last):
            return old
        if end - first > _MOST_NODES:
            raise UnresolvedError(
                f"step {last}: the box from {lower:.4g} to {upper:.4g} is {end - first} nodes wide, more than "
                f"{_MOST_NODES}; save earlier steps, start from a wider state, or use dfp.MonteCarlo(...)."
            )
        # Images of the box beyond it must not wrap around into it.
        single = replace(self.equation, sgd=self.equation.sgd.redrawn)
        noise = float(np.sqrt(single.diffusion(np.array([max(abs(lower), abs(upper))])).item()))
        middle, half = (lower + upper) / 2, (upper - lower) / 2
        place = abs(float(single.drift(np.array([middle])).item()))
        images = 2 * (place + steepest * half + POWER_LAW * noise)
        count = int(np.ceil(max(images, upper - lower) / old.spacing)) + 64
        if self.mass is not None:
            self.mass = np.pad(self.mass, (old.first - first, end - old.last))
        self._matrix = None
        size = 2 * fft.next_fast_len((count + end - first) // 2 + 1, real=True)
        self.nodes = waves.Nodes(old.spacing, first, end, size)
        return self.nodes


def resolved_frame(nodes: waves.Nodes, mass: Array, grid: Grid, step: int) -> Frame | None:
    """Return the density of masses of ``nodes`` on ``grid``, or None where its details are finer than the nodes."""
    phi, places, half = waves.spectrum(nodes, mass), nodes.places, nodes.spacing / 2
    edge = slice(*(int(share * phi.size) for share in _EDGE))
    if not float(np.max(np.abs(phi[edge]))) < _UNRESOLVED:
        return None
    edges = np.clip(grid.edges[0], places[0] - half, places[-1] + half)
    below = waves.distribution(nodes, phi, edges)
    targets = grid.axes[0]
    density = waves.density(nodes, phi, targets) * ((targets >= edges[0]) & (targets <= edges[-1]))
    # The L1 norm of what the waves beyond the edge carry, by Cauchy and Schwarz.
    beyond = np.sqrt(2 * float(np.sum(np.abs(phi[edge.start :]) ** 2)))
    error = beyond + 2 * abs(1.0 - float(mass.sum())) + 1e-13 * step**0.5
    outside = counted(density, grid, 1.0 - float(below[-1] - below[0]))
    return Frame(*node_moments(places, mass), density, truncation=error, outside=outside)


def line_grid(problem: Problem) -> Grid:
    """Return a grid over the box of the saved steps, finer than the least deviation there."""
    exact = problem.moments
    ends = [_box(problem.equation, problem.initial, int(n), int(n)) for n in exact.steps if n > 0]
    if exact.steps[0] == 0:
        deviation = deviations(exact)[0, 0]
        reach = graded.REACH * deviation
        ends.append((exact.mean[0, 0] - reach, exact.mean[0, 0] + reach, deviation))
    lower, upper = min(end[0] for end in ends), max(end[1] for end in ends)
    least = min(end[2] for end in ends if end[2] > 0)
    cells = np.clip(np.ceil((upper - lower) / least * _PER_DEVIATION), 128, _NODES)
    return Grid(lower, upper, int(cells))


def characteristic(equation: Equation) -> waves.Characteristic:
    """Return φ(k|x), the characteristic function of one step from x."""
    law, rate = equation.sgd.noise, equation.sgd.learning_rate
    slope, shift = 1 - equation.linear_drift.item(), -equation.constant_drift.item()

    def step(x: Array, k: Array) -> Complex:
        moved = np.exp(1j * np.outer(slope * x + shift, k))
        noise: Complex = law.characteristic(-rate * k[:, None], x[:, None])
        return moved * noise

    return step


def _box(equation: Equation, initial: State, first: int, last: int) -> tuple[float, float, float]:
    """Return the ends of a box that holds the mass at the steps ``first`` … ``last``, and the least deviation there."""
    steps = np.unique(np.geomspace(first, last, 256).round().astype(np.int64))
    path = moments_at(equation, initial, steps)
    least = deviations(path)
    if not np.all(np.isfinite(least)):
        raise UnresolvedError(f"step {last}: the moments overflow; lower learning_rate or save earlier steps.")
    lower, upper = (float(corner.item()) for corner in box(path, POWER_LAW))
    centre = equation.sgd.critical_point.item()
    radius = _support(equation, initial, centre)
    lower, upper = max(lower, centre - radius), min(upper, centre + radius)
    middle, half = (lower + upper) / 2, max((upper - lower) / 2, 1e-9 * (1 + abs(lower + upper)))
    return middle - half, middle + half, float(np.min(least))


def slopes(equation: Equation) -> Array:
    """Return 1 − ηh of every sample, or of the mean where the noise is additive or has no samples."""
    sgd, samples = equation.sgd, equation.sgd.noise.curvature_samples(np.ones(1))
    if samples is None:
        return np.asarray(1 - equation.linear_drift[0])
    return 1 - sgd.learning_rate * (samples + sgd.sample_decay)


def _support(equation: Equation, initial: State, centre: float) -> float:
    """Return the radius about ``centre`` that no minibatch leaves, or infinity."""
    sgd, contraction = equation.sgd, float(np.max(np.abs(slopes(equation))))
    single = sgd.noise.with_batch_size(1)
    if not (np.isfinite(single.minibatch_count()) and contraction < 1):
        return np.inf
    samples = single.minibatches()
    moved = samples.hessians[:, 0, 0] * centre + samples.gradients[:, 0] + sgd.sample_decay * centre
    radius = sgd.learning_rate * float(np.max(np.abs(moved))) / (1 - contraction)
    if initial.gridded is not None:
        start = float(np.max(np.abs(initial.gridded.grid.edges[0] - centre)))
    else:
        start = float(abs(initial.mean.item() - centre) + graded.REACH * np.sqrt(initial.covariance.item()))
    return max(radius, start) * (1 + 1e-9)
