"""The positive scheme for (T5): a random walk between cells with the mean and covariance of the step."""

from math import prod

import numpy as np
from dfp_solvers import lattice_walk
from scipy import sparse

from dfp.checks import Array
from dfp.errors import DFPError, UnresolvedError
from dfp.exact.moments import moments_at
from dfp.methods import markov_chain
from dfp.methods.grids import MOST_WALK, PERIODIC, box, probed
from dfp.methods.moment_recursion import HigherMoments
from dfp.methods.solver import Problem, Run
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid
from dfp.problem.state import Density, State
from dfp.results.frame import Frame

# Rounding in weights.
_TINY = 1e-12
# Steps between two places at which a checkpoint may be made.
_PORTION = 1000
REMEDY = (
    "save later steps if it starts narrow, lower learning_rate, raise tolerance, or use dfp.Hermite() or "
    "dfp.moments(...)"
)


class WalkRun(Run):
    """The masses of cells, and the exact moments up to the fourth beside them.

    Raises
    ------
    UnresolvedError
        If no positive weights match the step somewhere on the grid.
    """

    kept = ("_mass", "_step", "_moments._values")

    grid: Grid

    def __init__(self, problem: Problem, grid: Grid | None, tolerance: float) -> None:
        self.grid = _finest(problem) if grid is None else grid
        self._initial, self._tolerance, self._step = problem.initial, tolerance, 0
        self._matrix = _weights(problem.equation, self.grid)
        self._mass = _start(problem.initial, self.grid)
        self._moments = HigherMoments(problem.equation, problem.initial)

    def advance(self, steps: int) -> None:
        """Walk on."""
        while steps:
            now = min(steps, _PORTION)
            self._mass = lattice_walk.march(self._mass, self._matrix, now)
            with np.errstate(all="ignore"):
                self._moments.advance(now)
            self._step, steps = self._step + now, steps - now
            self.passing(steps)

    def frame(self) -> Frame:
        """Return the density; its error is estimated from the exact third and fourth moments, which the walk misses.

        Raises
        ------
        DFPError
            If nothing is left on the grid.
        UnresolvedError
            If the estimated error exceeds the tolerance, or the state is a point.
        """
        if self._step == 0 and self._initial.point:
            raise UnresolvedError(
                "step 0: a point has no density; save later steps or start from a narrow dfp.Gaussian."
            )
        inside = float(self._mass.sum())
        if not inside > 0.5:
            raise DFPError(f"step {self._step}: {1 - inside:.2g} of the mass has left the grid; widen it.")
        walked = Density.normalised(self.grid, self._mass / self.grid.cell_volume)
        error = min(_moment_error(walked, self._moments.frame()) + 2 * (1 - inside), 2.0)
        if not error <= self._tolerance:
            raise UnresolvedError(
                f"step {self._step}: estimated L1 error {error:.2g} of the walk > tolerance={self._tolerance:g}; "
                f"{REMEDY}."
            )
        density, outside = walked.values * inside, max(1 - inside, 0.0)
        return Frame(walked.mean, walked.covariance, density, truncation=error, outside=outside)


def _moment_error(walked: Density, exact: Frame) -> float:
    """Return the L1 error that third and fourth moments other than the exact ones make of a density."""
    assert exact.third is not None and exact.fourth is not None
    _, third, fourth = walked.central_moments()
    deviation = np.sqrt(np.diag(exact.covariance))
    skew = np.abs(np.einsum("iii->i", third - exact.third)) / deviation**3
    tails = np.abs(np.einsum("iiii->i", fourth - exact.fourth)) / deviation**4
    # E|He_3|/6 and E|He_4|/24 of a standard normal, with a margin of two.
    return float(2 * np.sum(0.27 * skew + 0.14 * tails))


def _finest(problem: Problem) -> Grid:
    """Return the finest grid on which the walk can be positive, a point on a cell's centre."""
    equation, initial, d = problem.equation, problem.initial, problem.equation.dimension
    lower, upper = box(moments_at(equation, initial, probed(problem.last, 24, problem.steps)), PERIODIC)
    corners = np.stack(np.meshgrid(*np.linspace(lower, upper, 9).T, indexing="ij"), axis=-1).reshape(-1, d)
    spacing = 1.02 * np.sqrt(np.max(equation.diffusion(corners).diagonal(axis1=1, axis2=2), axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        cells = np.ceil((upper - lower) / spacing)
    if not np.all(cells <= MOST_WALK[d]) or not np.all(cells >= 4):
        raise UnresolvedError(
            f"cells={cells}: a walk with the step's covariance needs cells as wide as a step's noise, {spacing}, in "
            f"the box {lower} … {upper}, and 4 to {MOST_WALK[d]} of them per axis; use scheme='spectral' or raise "
            "learning_rate."
        )
    centre = np.round((initial.mean - lower) / spacing - 0.5) + 0.5
    corner = initial.mean - centre * spacing
    return Grid(corner, corner + cells * spacing, tuple(int(n) for n in cells))


def _weights(equation: Equation, on: Grid) -> sparse.csr_array:
    """Return the weights of a step from every cell of ``on``; raise ``UnresolvedError`` if any is negative."""
    points = on.points.reshape(-1, on.dimension)
    drift = -(points @ equation.linear_drift.T + equation.constant_drift) / on.spacing
    noise = equation.diffusion(points) / np.multiply.outer(on.spacing, on.spacing)
    if prod(on.cells) * 4**on.dimension * 3 > 2**28:
        raise UnresolvedError(
            f"grid.cells={on.cells}: too many for stored weights; use scheme='second' or fewer cells."
        )
    _check_positive(equation, points, noise, drift)
    return lattice_walk.walk(drift, noise, on.cells)


def _check_positive(equation: Equation, points: Array, noise: Array, drift: Array) -> None:
    rest, r = lattice_walk.variances(noise), drift - np.floor(drift)
    eta = equation.sgd.learning_rate
    largest = float(np.max(noise.diagonal(axis1=1, axis2=2)))
    if largest > 1 + _TINY:
        raise UnresolvedError(
            f"grid: too fine for a positive scheme: the variance of a step reaches {largest:.4g} squared cells, more "
            f"than 1; widen the cells by {np.sqrt(largest):.4g} or lower learning_rate from {eta:g} to "
            f"{eta / np.sqrt(largest):.6g}."
        )
    short = r * (1 - r) - rest
    worst = int(np.argmax(np.max(short, axis=1)))
    if np.max(short) > _TINY:
        raise UnresolvedError(
            f"grid: no positive weights match the step at θ = {points[worst].round(4)}: V_ii − Σ_j |V_ij| = "
            f"{rest[worst]} squared cells falls short of r(1 − r) = {(r * (1 - r))[worst]} for the mean step "
            f"{drift[worst]}; noise that varies or correlates less, narrower cells or scheme='spectral' would do."
        )


def _start(initial: State, on: Grid) -> Array:
    """Return the masses at step 0; of a start narrower than a cell with its mean and covariance, where that can be."""
    if initial.gridded is not None:
        return markov_chain.start(initial, [on])[0]
    place = ((initial.mean - on.lower) / on.spacing - 0.5)[None]
    spread = (initial.covariance / np.multiply.outer(on.spacing, on.spacing))[None]
    options = [(offset[0], float(weight[0])) for offset, weight in lattice_walk.moves(np.round(place, 9), spread)]
    inside = all(np.all((at >= 0) & (at < on.cells)) for at, weight in options if weight)
    if not inside or min(weight for _, weight in options) < -_TINY:
        return markov_chain.start(initial, [on])[0]
    mass = np.zeros(on.cells)
    for at, weight in options:
        if weight:
            mass[tuple(at)] += weight
    return mass
