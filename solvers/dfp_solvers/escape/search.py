"""The cheapest path on a grid, to begin with: all jumps between its nodes, by Dijkstra's algorithm (T24).

On a grid the search is global: whichever kind of path is cheapest, it is found, up to what the spacing hides. Two
prices are looked at. Steps of SGD may go from any node to any other. Where they are shorter than the spacing, the
Langevin limit leads between neighbours at its geometric price, the action of a path taken at the best speed.
"""

import numpy as np
from numpy.typing import NDArray

from dfp_solvers.arrays import Array
from dfp_solvers.jit import kernel

# Neighbours of the Langevin limit, in cells: straight lines in more directions than eight.
_NEAR = 3.5
# What the slowest part of a path may take, as a share of its fastest speed: time near critical points is logarithmic.
_SLOWEST = 1e-3


@kernel()
def _cheapest(
    nodes: Array, moved: Array, inverse: Array, exits: NDArray[np.bool_], source: int, near: float
) -> tuple[NDArray[np.int64], int]:
    """Return who leads to each node, and the first exit reached or −1; ``near`` > 0 asks for the Langevin limit.

    Dijkstra's algorithm without a heap: every node leads to every other.
    """
    count, d = nodes.shape
    price = np.full(count, np.inf)
    parent = np.full(count, -1, dtype=np.int64)
    done = np.zeros(count, dtype=np.bool_)
    price[source] = 0.0
    for _ in range(count):
        best, at = np.inf, -1
        for i in range(count):
            if not done[i] and price[i] < best:
                best, at = price[i], i
        if at < 0:
            break
        done[at] = True
        if exits[at]:
            return parent, at
        for i in range(count):
            if done[i]:
                continue
            length, along, speed, apart = 0.0, 0.0, 0.0, 0.0
            for j in range(d):
                for k in range(d):
                    if near > 0:
                        step, other = nodes[i, j] - nodes[at, j], nodes[i, k] - nodes[at, k]
                        fall, other_fall = moved[at, j] - nodes[at, j], moved[at, k] - nodes[at, k]
                        along += fall * inverse[at, j, k] * other
                        speed += fall * inverse[at, j, k] * other_fall
                    else:
                        step, other = nodes[i, j] - moved[at, j], nodes[i, k] - moved[at, k]
                    length += step * inverse[at, j, k] * other
                apart += (nodes[i, j] - nodes[at, j]) ** 2
            if near > 0:
                if apart > near * near:
                    continue
                cost = np.sqrt(length * speed) - along
            else:
                cost = length / 2
            if price[at] + cost < price[i]:
                price[i] = price[at] + cost
                parent[i] = at
    return parent, -1


def grid_path(
    nodes: Array, moved: Array, spread: Array, exits: NDArray[np.bool_], source: int, spacing: Array, flow: bool
) -> tuple[Array | None, int]:
    """Return the cheapest path on a grid from a node to an exit, None if there is none, and the exit it leads to.

    Parameters
    ----------
    nodes
        Shape (n, d).
    moved, spread
        Where a step without noise ends, shape (n, d), and its covariance, shape (n, d, d).
    exits
        Which nodes are outside or on the way out, shape (n,).
    flow
        At the price of the Langevin limit instead of single steps.

    Returns
    -------
    path
        Shape (N + 1, d).
    reached
        Index of the exit, −1 if there is none.
    """
    near = _NEAR * float(np.max(spacing)) if flow else 0.0
    parent, at = _cheapest(nodes, moved, np.linalg.inv(spread), exits, source, near)
    if at < 0:
        return None, at
    order = [at]
    while parent[order[-1]] >= 0:
        order.append(int(parent[order[-1]]))
    return nodes[order[::-1]], at


def timed(path: Array, speed: Array, learning_rate: float) -> Array:
    """Return points of ``path`` (N + 1, d) a step apart, if it is followed at ``speed`` (N + 1,) per slow time."""
    length = np.linalg.norm(np.diff(path, axis=0), axis=1)
    floor = np.maximum(speed, _SLOWEST * np.max(speed))
    fine = np.concatenate([[0.0], np.cumsum(length / np.sqrt(floor[1:] * floor[:-1]))])
    count = max(int(np.ceil(fine[-1] / learning_rate)), 4)
    at = np.linspace(0.0, fine[-1], count + 1)
    return np.stack([np.interp(at, fine, axis) for axis in path.T], axis=1)
