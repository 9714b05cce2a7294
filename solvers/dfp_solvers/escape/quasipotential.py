"""The quasi-potential of an exit: the least action from a well to the walls of a box, for SGD and its Langevin limit.

Discrete Freidlin–Wentzell theory (T24; Kifer 1988): the mean number of steps to leave is exp(V + o(V)) as the noise
vanishes. Paths of several kinds are each a local minimum of the action, so a search on a grid finds the kinds, and
Newton's method makes each exact.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline

from dfp_solvers.arrays import Array
from dfp_solvers.escape.costs import Fields, FlowCost, StepCost
from dfp_solvers.escape.least_action import Cost, LeastPath, least_path, lengthened
from dfp_solvers.escape.search import grid_path, timed

# Nodes of the grid per axis, by dimension; times a box may grow by half before a well counts as one without exit.
_NODES, _GROWTH = {1: 1200, 2: 72}, 14
# Rounds of more time at rest, and the change of the action by which they end, relatively.
_ROUNDS, _SETTLED = 14, 1e-10
# Share of the way from the well to the exit which the drift of a step must reach for other paths than the flow's.
_LEAP = 0.2
# Points of a path in the Langevin limit.
_FLOW_POINTS = 400


class Exit(NamedTuple):
    """A path that leaves at least action, as long as it takes to the accuracy of rounding."""

    path: Array
    """Shape (N + 1, d), from the well to the wall."""
    action: float
    converged: bool
    time: float
    """Slow time between its points."""


class Domain(NamedTuple):
    """Where exits are looked for: the walls given, and reaches in place of those at infinity."""

    lower: Array
    upper: Array
    walls: NDArray[np.bool_]
    """Shape (2, d): which faces are walls."""


def box_of(lower: Array, upper: Array, well: Array, scale: float, growth: int = 0) -> Domain:
    """Return the box with finite reaches where walls are at infinity, ``growth`` times half as long again."""
    walls = np.array([np.isfinite(lower), np.isfinite(upper)])
    distances = np.abs(np.where(walls, np.array([lower, upper]) - well, 0.0))
    reach = np.maximum(distances.max(axis=0), distances.max() if distances.max() > 0 else scale) * 1.5 ** (growth + 1)
    return Domain(np.where(walls[0], lower, well - reach), np.where(walls[1], upper, well + reach), walls)


def least_exit(
    fields: Fields, learning_rate: float, well: Array, lower: Array, upper: Array, scale: float
) -> tuple[Exit, Exit]:
    """Return the paths by which SGD and its Langevin limit (T6) leave a box at least action, from ``well`` (d,).

    Parameters
    ----------
    well
        A stable fixed point of SGD without noise, inside the box.
    lower, upper
        Corners of the box, shape (d,); infinite where there is no wall.
    scale
        Length over which the landscape changes.

    Raises
    ------
    ValueError
        If no path leads out.
    """
    cost = StepCost(fields, learning_rate)
    flow, free = _least_flow(cost, well, lower, upper, scale)
    # Short steps follow the flow; its path at theirs begins a search near the end.
    times = flow.time * np.arange(len(flow.path))
    count = int(np.ceil(times[-1] / learning_rate))
    shortened = make_interp_spline(times, flow.path, k=3)(np.linspace(0.0, times[-1], count + 1))
    found = [_settled(cost, shortened, free, scale)]
    if _leaps(cost, flow.path, lower, upper, scale):
        seed, wall = _seed(cost, well, lower, upper, scale, flow=False)
        found.append(_settled(cost, seed, _free(well, wall), scale))
    return min(found, key=lambda one: one.action)._replace(time=learning_rate), flow


def _least_flow(
    cost: StepCost, well: Array, lower: Array, upper: Array, scale: float
) -> tuple[Exit, NDArray[np.bool_]]:
    """Return the path of the Langevin limit in continuous time, and which coordinates of its end are free."""
    seed, wall = _seed(cost, well, lower, upper, scale, flow=True)
    speed, free = np.linalg.norm(cost.fields.gradient_at(seed), axis=1), _free(well, wall)
    span = len(timed(seed, speed, cost.learning_rate)) * cost.learning_rate
    rough, fine = (
        _settled(FlowCost(cost.fields, cost.learning_rate, time), timed(seed, speed, time), free, scale)
        for time in (span / _FLOW_POINTS, span / _FLOW_POINTS / 2)
    )
    # The midpoint rule errs in second order of the time between points.
    action = fine.action + (fine.action - rough.action) / 3
    settled = fine.converged and rough.converged
    return Exit(fine.path, action, settled, span / _FLOW_POINTS / 2), free


def _leaps(cost: StepCost, flow: Array, lower: Array, upper: Array, scale: float) -> bool:
    """Tell whether the drift of one step can go a fair part of the way out: where not, paths follow the flow."""
    box = box_of(lower, upper, flow[0], scale)
    axes = np.linspace(box.lower, box.upper, 33).T
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
    leap = np.linalg.norm(cost.moved(nodes) - nodes, axis=1)
    return bool(np.max(leap) > _LEAP * np.linalg.norm(flow[-1] - flow[0]))


def _settled(cost: Cost, seed: Array, free: NDArray[np.bool_], scale: float) -> Exit:
    """Return the least path near ``seed``, given more and more time where it rests until that gains nothing."""
    best = least_path(cost, lengthened(seed, 8), free, scale)
    for _ in range(_ROUNDS):
        longer: LeastPath = least_path(cost, lengthened(best.path, max(len(seed) // 4, 12)), free, scale)
        gained = best.action - longer.action
        best = longer if gained > 0 else best
        if not gained > _SETTLED * best.action:
            return Exit(best.path, best.action, best.converged, np.nan)
    return Exit(best.path, best.action, False, np.nan)


def _free(well: Array, wall: int) -> NDArray[np.bool_]:
    """Return which coordinates of an exit through the face ``wall`` (axis, + d for the upper one) may move."""
    free = np.ones(len(well), dtype=bool)
    free[wall % len(well)] = False
    return free


def _seed(cost: StepCost, well: Array, lower: Array, upper: Array, scale: float, flow: bool) -> tuple[Array, int]:
    """Return the cheapest path on a grid, and the face it leaves by: axis, + d for the upper one."""
    d = len(well)
    for growth in range(_GROWTH):
        box = box_of(lower, upper, well, scale, growth)
        axes = [np.linspace(a, b, _NODES[d]) for a, b in zip(box.lower, box.upper, strict=True)]
        nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, d)
        faces = np.concatenate([np.equal(nodes, box.lower), np.equal(nodes, box.upper)], axis=1)
        outer = np.asarray(faces.any(axis=1))
        source = int(np.argmin(np.sum((nodes - well) ** 2, axis=1) + np.where(outer, np.inf, 0.0)))
        nodes[source] = well
        spacing = np.array([axis[1] - axis[0] for axis in axes])
        path, at = grid_path(nodes, cost.moved(nodes), cost.spread(nodes), outer, source, spacing, flow)
        if path is None:
            break
        crossed = faces[at] & box.walls.ravel()
        if np.any(crossed):
            wall = int(np.argmax(crossed))
            return (_finer(path) if flow else path), wall
    raise ValueError("no path leads out of the box: it costs less to go ever further inside than to reach a wall")


def _finer(path: Array, times: int = 8) -> Array:
    at = np.linspace(0, len(path) - 1, times * (len(path) - 1) + 1)
    return np.stack([np.interp(at, np.arange(len(path)), axis) for axis in path.T], axis=1)


def thrown(path: Array) -> bool:
    """Tell whether a path leaves by a single step from the far side of the well over more than half of the way."""
    along = (path - path[0]) @ (path[-1] - path[0])
    return bool(np.any((along[:-1] < 0) & (along[1:] > along[-1] / 2)))
