"""Diffusions whose tails are too heavy for a box of deviations: the bulk, boxes for it, and what walls keep inside."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dfp.checks import TINY, Array
from dfp.exact.cumulants import diffusion_polynomial, unpolynomial
from dfp.methods.grids import GAUSSIAN, MOST_VOLUMES
from dfp.methods.solver import Problem
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid

# Tail index below which boxes of deviations do not hold a density, the inverse of the mass that a box may leave outside
# then, and the least index that is told from zero; cells per width of the bulk, and in all, for d = 1, 2, 3.
HEAVY, _FAR, _LEAST_INDEX = 3.0, 1e9, 0.05
_PER_CORE, _LEAST_HEAVY = {1: 16.0, 2: 4.0, 3: 4.0}, {1: 256, 2: 32, 3: 16}


def tail_index(equation: Equation) -> float:
    """Return the least tail index 1 + 2λ/Γ' of the modes, Q = D' + Γ'θ² along each; ∞ where the noise is additive.

    It is that of one mode (theory page, section 4), and a guide where noise couples several.
    """
    if equation.additive or not equation.sgd.affine:
        return np.inf
    values, vectors, inverse = equation.sgd.modes_of_map
    rates = equation.mode_rates(values) * values
    polynomial = diffusion_polynomial(equation)[:, :, 1:, 1:]
    spread = np.einsum("mi,mj,am,bm,ijab->m", inverse, inverse, vectors, vectors, polynomial, optimize=True)
    with np.errstate(divide="ignore"):
        index = 1 + 2 * rates / np.where(spread > 0, spread, TINY)
    return float(max(np.min(np.where(spread > 0, index, np.inf)), _LEAST_INDEX))


class Bulk(NamedTuple):
    """A law whose tails are too heavy for a box of deviations, along each axis, each (d,)."""

    centre: Array
    core: Array
    """Width of the bulk: what it is without curvature noise, or the width √(D/Γ) at which that noise takes over."""
    start: Array
    """How far from ``centre`` the start reaches."""
    heavy: NDArray[np.bool_]
    """Whether any curvature noise acts along the axis."""


def bulk_of(problem: Problem) -> Bulk | None:
    """Return the bulk where the tails of a mode are heavy; None elsewhere."""
    equation, initial, d = problem.equation, problem.initial, problem.equation.dimension
    if not (tail_index(equation) < HEAVY and problem.last):
        return None
    times = problem.steps[problem.steps > 0, None] * equation.sgd.learning_rate
    i = np.arange(d)
    first, linear, square = (np.asarray(part) for part in unpolynomial(diffusion_polynomial(equation)))
    constant, slope, own = first[i, i], linear[i, i, i], square[i, i, i, i]
    spread = np.einsum("iikk->ik", square).max(axis=1)
    curved = np.where(own > 0, own, 1.0)
    centre = np.where(own > 0, -slope / (2 * curved), initial.mean)
    least = np.maximum(constant - np.where(own > 0, slope**2 / (4 * curved), 0.0), 0.0)
    if not np.all(least > 0):
        return None
    drift, variance = equation.linear_drift.diagonal(), np.zeros((d, d)) + initial.covariance
    kept = np.exp(-2 * drift * times)
    gained = least * np.where(drift == 0, times, (1 - kept) / np.where(drift == 0, 1.0, 2 * drift))
    core = np.sqrt(np.min(kept * variance.diagonal() + gained, axis=0))
    core = np.where(spread > 0, np.minimum(core, np.sqrt(least / np.where(spread > 0, spread, 1.0))), core)
    start = np.abs(initial.mean - centre) + GAUSSIAN * np.sqrt(variance.diagonal())
    return Bulk(centre, core, start, spread > 0)


def heavy_box(problem: Problem, lower: Array, upper: Array) -> Grid | None:
    """Return a grid whose cells resolve the bulk of a law with heavy tails, as wide as they reach; None elsewhere.

    Axes without curvature noise have the box from ``lower`` to ``upper`` (d,). What is outside is counted.
    """
    bulk, d = bulk_of(problem), problem.equation.dimension
    if bulk is None:
        return None
    most, per = MOST_VOLUMES[d], _PER_CORE[d]
    reach = np.maximum(bulk.core * _FAR ** (1 / tail_index(problem.equation)), 2 * bulk.start)
    half = np.maximum(np.minimum(reach, most * bulk.core / per / 2), 1.2 * bulk.start)
    lower = np.where(bulk.heavy, bulk.centre - half, lower)
    upper = np.where(bulk.heavy, bulk.centre + half, upper)
    cells = np.clip(np.ceil((upper - lower) / bulk.core * per / 4) * 4, _LEAST_HEAVY[d], most)
    return Grid(lower, upper, cells.astype(int).tolist())


def wall_tails(grid: Grid, density: Array, mean: Array, power: float = 2.0) -> float:
    """Return the mass that power-law tails x^−κ, κ <= 2 at worst, would have beyond walls, from the density at them."""
    total = 0.0
    walls = zip((mean - grid.lower).tolist(), (grid.upper - mean).tolist(), grid.spacing.tolist(), strict=True)
    for axis, (below, above, spacing) in enumerate(walls):
        along = density.swapaxes(0, axis)
        at_walls = float(along[0].sum()) * max(below, 0.0) + float(along[-1].sum()) * max(above, 0.0)
        total += at_walls * grid.cell_volume / spacing / min(power, 2.0)
    return total
