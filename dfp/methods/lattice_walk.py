"""The positive scheme for (T5): a random walk between cells with the mean and covariance of the step."""

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from dfp_solvers import lattice_walk

from dfp.checks import Array
from dfp.errors import DFPError, UnresolvedError
from dfp.exact.moments import Moments, moments_at
from dfp.methods import chain
from dfp.methods.moment_recursion import MomentRecursion, central_tensors
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid
from dfp.problem.state import Density, Point, State
from dfp.results.frame import Frame

# Half-width of the automatic box in standard deviations.
_WIDTH = 8.0
_MOST_CELLS = {1: 2**14, 2: 512, 3: 64}
# Rounding in weights.
_TINY = 1e-12


@dataclass(frozen=True)
class Carry:
    """The masses of cells, and the exact moments up to the fourth beside them."""

    equation: Equation
    grid: Grid
    step: int
    matrix: Any
    mass: Array
    moments: Any


def grid(equation: Equation, initial: State, exact: Moments) -> Grid:
    """Return the finest grid on which the walk can be positive, a point on a cell's centre."""
    d, last = equation.dimension, int(exact.steps[-1])
    probes = np.unique([0, *exact.steps, *np.geomspace(1, max(last, 1), 24).astype(int).clip(max=last)])
    path = moments_at(equation, initial, probes)
    deviation = np.sqrt(np.maximum(path.covariance.diagonal(axis1=1, axis2=2), 0.0))
    lower, upper = np.min(path.mean - _WIDTH * deviation, axis=0), np.max(path.mean + _WIDTH * deviation, axis=0)
    corners = np.stack(np.meshgrid(*np.linspace(lower, upper, 9).T, indexing="ij"), axis=-1).reshape(-1, d)
    spacing = 1.02 * np.sqrt(np.max(equation.diffusion(corners).diagonal(axis1=1, axis2=2), axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        cells = np.ceil((upper - lower) / spacing)
    if not np.all(cells <= _MOST_CELLS[d]) or not np.all(cells >= 4):
        raise UnresolvedError(
            f"cells={cells}: a walk with the step's covariance needs cells as wide as a step's noise, {spacing}, in "
            f"the box {lower} … {upper}, and 4 to {_MOST_CELLS[d]} of them per axis; use scheme='spectral' or raise "
            "learning_rate."
        )
    centre = np.round((initial.mean - lower) / spacing - 0.5) + 0.5
    corner = initial.mean - centre * spacing
    return Grid(corner, corner + cells * spacing, tuple(int(n) for n in cells))


def prepare(equation: Equation, initial: State, on: Grid) -> Carry:
    """Return the walk on the cells of ``on`` and the masses at step 0.

    Raises
    ------
    UnresolvedError
        If no positive weights match the step somewhere on the grid.
    """
    points = on.points.reshape(-1, on.dimension)
    drift = -(points @ equation.linear_drift.T + equation.constant_drift) / on.spacing
    noise = equation.diffusion(points) / np.multiply.outer(on.spacing, on.spacing)
    if prod(on.cells) * 4**on.dimension * 3 > 2**28:
        raise UnresolvedError(
            f"grid.cells={on.cells}: too many for stored weights; use scheme='second' or fewer cells."
        )
    _check_positive(equation, points, noise, drift)
    matrix = lattice_walk.walk(drift, noise, on.cells)
    recursion = MomentRecursion(4).prepare(equation, initial, None)
    return Carry(equation, on, 0, matrix, _start(initial, on), recursion)


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
    if isinstance(initial, Density):
        return chain.start(initial, [on])[0]
    place = ((initial.mean - on.lower) / on.spacing - 0.5)[None]
    spread = (initial.covariance / np.multiply.outer(on.spacing, on.spacing))[None]
    options = [(offset[0], float(weight[0])) for offset, weight in lattice_walk.moves(np.round(place, 9), spread)]
    inside = all(np.all((at >= 0) & (at < on.cells)) for at, weight in options if weight)
    if not inside or min(weight for _, weight in options) < -_TINY:
        return chain.start(initial, [on])[0]
    mass = np.zeros(on.cells)
    for at, weight in options:
        if weight:
            mass[tuple(at)] += weight
    return mass


def advance(carry: Carry, steps: int) -> Carry:
    """Return the masses ``steps`` later."""
    mass = lattice_walk.march(carry.mass, carry.matrix, steps)
    with np.errstate(all="ignore"):
        ahead = MomentRecursion(4).advance(carry.moments, steps)
    return replace(carry, step=carry.step + steps, mass=mass, moments=ahead)


def observe(carry: Carry, initial: State) -> Frame:
    """Return the density; its error is estimated from the exact third and fourth moments, which the walk misses.

    Raises
    ------
    DFPError
        If nothing is left on the grid.
    """
    if carry.step == 0 and isinstance(initial, Point):
        raise UnresolvedError("step 0: a point has no density; save later steps or start from a narrow dfp.Gaussian.")
    inside = float(carry.mass.sum())
    if not inside > 0.5:
        raise DFPError(f"step {carry.step}: {1 - inside:.2g} of the mass has left the grid; widen it.")
    walked = Density.normalised(carry.grid, carry.mass / carry.grid.cell_volume)
    exact = MomentRecursion(4).observe(carry.moments)
    assert exact.third is not None and exact.fourth is not None
    _, third, fourth = central_tensors(walked)
    deviation = np.sqrt(np.diag(exact.covariance))
    skew = np.abs(np.einsum("iii->i", third - exact.third)) / deviation**3
    tails = np.abs(np.einsum("iiii->i", fourth - exact.fourth)) / deviation**4
    # E|He_3|/6 and E|He_4|/24 of a standard normal, with a margin of two.
    error = float(2 * np.sum(0.27 * skew + 0.14 * tails)) + 2 * (1 - inside)
    return Frame(
        walked.mean, walked.covariance, walked.values * inside, truncation=min(error, 2.0), outside=max(1 - inside, 0.0)
    )
