"""Transfer on a line for finite sums and additive noise of any law: band-limited transition matrices."""

from dataclasses import dataclass, field, replace

import numpy as np
from dfp_solvers import lattice
from dfp_solvers.transfer import characteristic as band
from dfp_solvers.transfer import graded
from scipy import fft

from dfp.checks import Array
from dfp.errors import UnresolvedError
from dfp.exact.moments import Moments, moments_at
from dfp.methods.transfer.graded import counted, node_moments, on_grid, start_density
from dfp.methods.transfer.singular import density_warning
from dfp.problem.additive import AdditiveLaw
from dfp.problem.equation import Equation
from dfp.problem.finite_sum import FiniteSumLaw
from dfp.problem.grid import Grid
from dfp.problem.state import Density, State
from dfp.results.frame import Frame

# Nodes across the box, and the most an extension of it may lead to.
_NODES, _MOST_NODES = 1024, 4096
# Nodes beyond the box: images of single nodes ring that far.
_MARGIN = 48
_WIDTH = 12.0
_PER_DEVIATION = 12.0
# The upper waves from which an error is judged, as shares of all; below, the filter of every step is 1.
_EDGE = (0.45, 0.6)
# Spectra that reach the edge with more than this belong to measures whose details are finer than the nodes.
_UNRESOLVED = 1e-3


@dataclass(frozen=True)
class BandCarry:
    """Masses of the nodes; none at step 0."""

    equation: Equation
    initial: State
    grid: Grid
    step: int
    nodes: band.Nodes | None = None
    mass: Array | None = field(default=None, repr=False)
    matrix: Array | None = field(default=None, repr=False)
    lost: float = 0.0

    def advanced(self, steps: int) -> "BandCarry":
        """Return the carry ``steps`` later."""
        if steps == 0:
            return self
        carry = extended(self, self.step + steps)
        assert carry.nodes is not None
        if carry.matrix is None:
            matrix = band.transition(carry.nodes, carry.nodes.places, characteristic(carry.equation))
            carry = replace(carry, matrix=matrix)
        assert carry.matrix is not None
        if carry.mass is None:
            places, masses = cloud(carry)
            assert carry.nodes is not None
            mass: Array = band.transition(carry.nodes, places, characteristic(carry.equation)) @ masses
            steps, step = steps - 1, carry.step + 1
        else:
            mass, step = carry.mass, carry.step
        mass = graded.powers(carry.matrix, mass, steps)
        return replace(carry, step=step + steps, mass=mass, lost=1.0 - float(mass.sum()))

    def frame(self) -> Frame:
        """Return the density on the grid or, where there is none, cell averages; moments; what is outside."""
        if self.mass is None or self.nodes is None:
            density, outside = start_density(self.initial, self.grid)
            return Frame(self.initial.mean, self.initial.covariance, density, outside=outside)
        phi = band.spectrum(self.nodes, self.mass)
        edge = slice(*(int(share * phi.size) for share in _EDGE))
        resolved = float(np.max(np.abs(phi[edge]))) < _UNRESOLVED
        places, half = self.nodes.places, self.nodes.spacing / 2
        edges = np.clip(self.grid.edges[0], places[0] - half, places[-1] + half)
        below = band.distribution(self.nodes, phi, edges)
        inside = float(below[-1] - below[0])
        if resolved:
            targets = self.grid.axes[0]
            density = band.density(self.nodes, phi, targets) * ((targets >= edges[0]) & (targets <= edges[-1]))
        else:
            start = band.distribution(self.nodes, phi, places[:1] - half)
            density = np.diff(band.monotone(np.clip(below - start, 0.0, self.mass.sum()))) / self.grid.spacing
        mean, covariance = node_moments(places, self.mass)
        # The L1 norm of what the waves beyond the edge carry, by Cauchy and Schwarz.
        beyond = np.sqrt(2 * float(np.sum(np.abs(phi[edge.start :]) ** 2)))
        error = beyond + 2 * abs(self.lost) + 1e-13 * self.step**0.5
        if resolved:
            outside = counted(density, self.grid, 1.0 - inside)
            return Frame(mean, covariance, density, truncation=error, outside=outside)
        # There is no density to have an error: cell averages come with a warning instead.
        outside = 1.0 - float(density.sum()) * self.grid.cell_volume
        warnings = (density_warning(self.equation, self.step),)
        return Frame(mean, covariance, density, truncation=np.nan, outside=outside, warnings=warnings)


def prepare(equation: Equation, initial: State, grid: Grid) -> BandCarry:
    """Return the carry at step 0."""
    return BandCarry(equation, initial, grid, 0)


def cloud(carry: BandCarry) -> tuple[Array, Array]:
    """Return points (N,) and their masses (N,) for the state at step 0, so close that the nodes do not see them.

    After one step the points are no further apart than the nodes, whose waves end before the period of such a comb.
    """
    initial = carry.initial
    assert carry.nodes is not None
    apart = carry.nodes.spacing / max(1.0, float(np.max(np.abs(slopes(carry.equation)))))
    if isinstance(initial, Density):
        given = initial.grid
        dense = Grid(given.lower, given.upper, given.cells[0] * int(np.ceil(given.spacing.item() / apart)))
        try:
            return dense.axes[0], on_grid(initial, dense) * dense.cell_volume
        except UnresolvedError:  # a density with jumps is what its cells are
            return given.axes[0], initial.values * given.cell_volume
    points, weights = lattice.cloud(initial.mean, initial.covariance, np.full(1, 2 * apart))
    return points[:, 0], weights


def grid(equation: Equation, initial: State, exact: Moments) -> Grid:
    """Return a grid over the box of the saved steps, finer than the least deviation there."""
    ends = [box(equation, initial, int(n), int(n)) for n in exact.steps if n > 0]
    deviation = np.sqrt(np.maximum(exact.covariance[:, 0, 0], 0.0))
    if exact.steps[0] == 0:
        reach = graded.REACH * deviation[0]
        ends.append((exact.mean[0, 0] - reach, exact.mean[0, 0] + reach, deviation[0]))
    lower, upper = min(end[0] for end in ends), max(end[1] for end in ends)
    least = min(end[2] for end in ends if end[2] > 0)
    cells = np.clip(np.ceil((upper - lower) / least * _PER_DEVIATION), 128, _NODES)
    return Grid(lower, upper, int(cells))


def characteristic(equation: Equation) -> band.Characteristic:
    """Return φ(k|x), the characteristic function of one step from x."""
    sgd, law = equation.sgd, equation.sgd.noise
    rate = sgd.learning_rate
    if isinstance(law, FiniteSumLaw):
        kept, hessians = 1 - rate * sgd.weight_decay, np.ascontiguousarray(law.sample_hessians()[:, 0, 0])
        gradients = np.ascontiguousarray(law.gradients[:, 0])
        return lambda x, waves: band.finite_sum(x, waves, kept, hessians, gradients, rate, law.batch_size)
    slope, shift = 1 - equation.linear_drift.item(), -equation.constant_drift.item()
    assert isinstance(law, AdditiveLaw)
    return lambda x, waves: np.exp(1j * np.outer(slope * x + shift, waves)) * law.characteristic(-rate * waves[:, None])


def box(equation: Equation, initial: State, first: int, last: int) -> tuple[float, float, float]:
    """Return the ends of a box that holds the mass at the steps ``first`` … ``last``, and the least deviation there."""
    steps = np.unique(np.geomspace(first, last, 256).round().astype(np.int64))
    path = moments_at(equation, initial, steps)
    mean, deviation = path.mean[:, 0], np.sqrt(np.maximum(path.covariance[:, 0, 0], 0.0))
    if not np.all(np.isfinite(deviation)):
        raise UnresolvedError(f"step {last}: the moments overflow; lower learning_rate or save fewer steps.")
    lower, upper = float(np.min(mean - _WIDTH * deviation)), float(np.max(mean + _WIDTH * deviation))
    centre = equation.sgd.critical_point.item()
    radius = _support(equation, initial, centre)
    lower, upper = max(lower, centre - radius), min(upper, centre + radius)
    middle, half = (lower + upper) / 2, max((upper - lower) / 2, 1e-9 * (1 + abs(lower + upper)))
    return middle - half, middle + half, float(np.min(deviation))


def slopes(equation: Equation) -> Array:
    """Return 1 − ηh of every sample, or of the mean where the noise is additive."""
    law, rate = equation.sgd.noise, equation.sgd.learning_rate
    if not isinstance(law, FiniteSumLaw):
        return np.asarray(1 - equation.linear_drift[0])
    return 1 - rate * (law.sample_hessians()[:, 0, 0] + equation.sgd.weight_decay)


def _support(equation: Equation, initial: State, centre: float) -> float:
    """Return the radius about ``centre`` that no minibatch leaves, or infinity."""
    law, contraction = equation.sgd.noise, float(np.max(np.abs(slopes(equation))))
    if not (isinstance(law, FiniteSumLaw) and contraction < 1):
        return np.inf
    moved = law.sample_hessians()[:, 0, 0] * centre + law.gradients[:, 0] + equation.sgd.weight_decay * centre
    radius = equation.sgd.learning_rate * float(np.max(np.abs(moved))) / (1 - contraction)
    if isinstance(initial, Density):
        start = float(np.max(np.abs(initial.grid.edges[0] - centre)))
    else:
        start = float(abs(initial.mean.item() - centre) + graded.REACH * np.sqrt(initial.covariance.item()))
    return max(radius, start) * (1 + 1e-9)


def extended(carry: BandCarry, last: int) -> BandCarry:
    """Return the carry on nodes that hold the mass at all steps up to ``last``, without a matrix where they change."""
    lower, upper, deviation = box(carry.equation, carry.initial, 1, last)
    spread = slopes(carry.equation)
    if carry.nodes is None:
        finest = (upper - lower) / _NODES / max(1.0, (1 + float(np.max(np.abs(spread)))) / 2.8)
        spacing = min(finest, max(min(carry.grid.spacing.item(), deviation / 6), finest / 2))
        old = band.Nodes(spacing, int(np.floor(lower / spacing)), int(np.floor(lower / spacing)), 0)
    else:
        old = carry.nodes
    first = min(old.first, int(np.floor(lower / old.spacing)) - _MARGIN)
    end = max(old.last, int(np.ceil(upper / old.spacing)) + _MARGIN)
    if (first, end) == (old.first, old.last):
        return carry
    if end - first > _MOST_NODES:
        raise UnresolvedError(
            f"step {last}: the box from {lower:.4g} to {upper:.4g} is {end - first} nodes wide, more than "
            f"{_MOST_NODES}; save fewer steps, start from a wider state, or use dfp.MonteCarlo(...)."
        )
    # Images of the box beyond it must not wrap around into it.
    single = replace(carry.equation, sgd=carry.equation.sgd.redrawn)
    noise = float(np.sqrt(single.diffusion(np.array([max(abs(lower), abs(upper))])).item()))
    middle, half = (lower + upper) / 2, (upper - lower) / 2
    place = abs(float(single.drift(np.array([middle])).item()))
    images = 2 * (place + float(np.max(np.abs(spread))) * half + _WIDTH * noise)
    count = int(np.ceil(max(images, upper - lower) / old.spacing)) + 64
    nodes = band.Nodes(old.spacing, first, end, 2 * fft.next_fast_len((count + end - first) // 2 + 1, real=True))
    mass = None if carry.mass is None else np.pad(carry.mass, (old.first - first, end - old.last))
    return replace(carry, nodes=nodes, mass=mass, matrix=None)
