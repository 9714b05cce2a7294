"""Transfer over epochs without replacement: one density for each set of samples that the epoch has used so far.

Within an epoch the density alone does not tell what comes next; together with the set of samples used it does. From
each set, every minibatch of unused samples is equally likely, and moves the density by an affine map of its own. When
the epoch ends the next shuffle is independent of the past, and the densities of all sets add up to one.

On a line the maps are band-limited matrices (``transfer_band``), in two dimensions images of the cells on a lattice
(``transfer_lattice``). The moments over the same sets are in ``dfp_solvers.shuffled``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import combinations
from math import comb

import numpy as np
from dfp_solvers.transfer import characteristic, uniform
from numpy.typing import NDArray
from scipy import sparse

from dfp.checks import Array
from dfp.exact.moments import Moments
from dfp.methods.transfer import characteristic as transfer_band
from dfp.methods.transfer import uniform as transfer_lattice
from dfp.methods.transfer.characteristic import BandCarry
from dfp.methods.transfer.kernels import enumerated, maps
from dfp.methods.transfer.uniform import LatticeCarry
from dfp.problem.equation import Equation
from dfp.problem.finite_sum import FiniteSumLaw
from dfp.problem.grid import Grid
from dfp.problem.state import State
from dfp.results.frame import Frame

Push = Callable[[Array], tuple[Array, float]]
"""Moves the masses of some sets, (sets, n), by the map of one minibatch; returns also what leaves the box."""

# Moves from one set to another in an epoch, by dimension, and minibatches on a line, where each has a matrix.
_MOST_MOVES = {1: 30_000, 2: 1_200}
_MOST_MATRICES = 128
# Seconds of a move from set to set for each node, by dimension, and of making a matrix.
_SECONDS = {1: 1e-6, 2: 1e-6}
_SECONDS_MATRIX = 0.03


def moves(count: int, batch: int) -> int:
    """Return in how many ways an epoch of ``count`` samples goes from a set of used samples to the next."""
    return sum(comb(count, used) * comb(count - used, batch) for used in range(0, count - batch + 1, batch))


def obstacle(equation: Equation) -> str | None:
    """Return why the sets of an epoch are out of reach, or None."""
    law, d = equation.sgd.noise, equation.dimension
    assert isinstance(law, FiniteSumLaw)
    n, size = law.count, law.batch_size
    exact = ", and dfp.moments(...) is exact for additive noise" if law.additive else ""
    instead = f"dfp.MonteCarlo(...) samples any number{exact}"
    if d > 2:
        return f"without replacement densities need d <= 2, and d = {d}; {instead}"
    if moves(n, size) > _MOST_MOVES[d]:
        sets = sum(comb(n, used) for used in range(0, n - size + 1, size))
        return (
            f"without replacement it carries a density for each set of samples an epoch can have used, and {n} samples "
            f"with batch_size={size} have {sets} sets and {moves(n, size)} moves between them, more than "
            f"{_MOST_MOVES[d]} for d = {d}; {instead}"
        )
    if (d == 1 and comb(n, size) > _MOST_MATRICES) or (d == 2 and not enumerated(equation)):
        return (
            f"without replacement every minibatch is a map of its own, and {n} samples with batch_size={size} have "
            f"{comb(n, size)} minibatches, too many; {instead}"
        )
    return None


def seconds(equation: Equation, cells: int, steps: int) -> float:
    """Return about how long ``steps`` take on a grid of so many cells."""
    law, d = equation.sgd.noise, equation.dimension
    assert isinstance(law, FiniteSumLaw)
    made = comb(law.count, law.batch_size) * _SECONDS_MATRIX if d == 1 else 0.0
    return made + moves(law.count, law.batch_size) * steps / equation.sgd.epoch * cells * _SECONDS[d]


@dataclass(frozen=True)
class EpochCarry:
    """Masses for each set of samples used in the epoch under way; their sum is the law."""

    whole: BandCarry | LatticeCarry
    """The law as the sum over the sets, and the nodes it is on."""
    used: NDArray[np.int64]
    """The sets as bit masks, increasing, shape (S,); the empty set alone where an epoch begins."""
    masses: Array = field(repr=False)
    """Shape (S, n)."""
    matrices: tuple[sparse.csr_array, ...] | None = field(default=None, repr=False)
    """On a line, the maps of the minibatches between the nodes."""

    def advanced(self, steps: int) -> "EpochCarry":
        """Return the carry ``steps`` later."""
        carry = _widened(self, steps) if isinstance(self.whole, BandCarry) and steps else self
        for _ in range(steps):
            carry = _line_step(carry) if isinstance(carry.whole, BandCarry) else _lattice_step(carry)
        return carry

    def frame(self) -> Frame:
        """Return what the sum over the sets is on the grid.

        Raises
        ------
        UnresolvedError
            At step 0, if the initial state has no density on the grid; or if nothing is left in the grid's box.
        """
        return self.whole.frame()


def grid(equation: Equation, initial: State, exact: Moments) -> Grid:
    """Return a grid that holds the density at every saved step and resolves it."""
    if equation.dimension == 1:
        return transfer_band.grid(equation, initial, exact)
    return transfer_lattice.grid(equation, initial, exact)


def prepare(equation: Equation, initial: State, grid: Grid) -> EpochCarry:
    """Return the carry at step 0: no sample is used."""
    if equation.dimension == 1:
        return EpochCarry(transfer_band.prepare(equation, initial, grid), np.zeros(1, np.int64), np.ones((1, 1)))
    # The frames of a lattice need the equation of a single step.
    single = replace(equation, sgd=equation.sgd.redrawn)
    lattice = transfer_lattice.prepare(single, initial, grid)
    laws = (maps(single, grid, grid.points.reshape(-1, 2), [(chosen, 1.0) for chosen in _minibatches(equation)]),)
    return EpochCarry(replace(lattice, laws=laws), np.zeros(1, np.int64), lattice.mass[None])


def _minibatches(equation: Equation) -> list[tuple[int, ...]]:
    law = equation.sgd.noise
    assert isinstance(law, FiniteSumLaw)
    return list(combinations(range(law.count), law.batch_size))


def _step(carry: EpochCarry, pushes: list[Push], nodes: int) -> tuple[NDArray[np.int64], Array, float]:
    """Return the sets after one step, their masses (S, ``nodes``) and what has left the box.

    Parameters
    ----------
    pushes
        For each minibatch, in the order of ``_minibatches``.
    """
    equation, used = carry.whole.equation, carry.used
    law = equation.sgd.noise
    assert isinstance(law, FiniteSumLaw)
    done, lost = int(used[0]).bit_count(), 0.0
    chance = 1.0 / comb(law.count - done, law.batch_size)
    masks = np.array([sum(1 << i for i in chosen) for chosen in _minibatches(equation)], dtype=np.int64)
    last = done + 2 * law.batch_size > law.count
    following = np.unique(np.concatenate([used[(used & mask) == 0] | mask for mask in masks]))
    following = np.zeros(1, np.int64) if last else following
    masses = np.zeros((following.size, nodes))
    for mask, push in zip(masks, pushes, strict=True):
        free = (used & mask) == 0
        if not free.any():
            continue
        if last:
            # The next epoch does not remember the sets, and a push is linear.
            pushed, gone = push(carry.masses[free].sum(axis=0, keepdims=True))
            target: NDArray[np.int64] = np.zeros(1, np.int64)
        else:
            pushed, gone = push(carry.masses[free])
            # Distinct sets stay distinct when the same minibatch joins them, so plain indexing adds each once.
            target = np.searchsorted(following, used[free] | mask)
        masses[target] += chance * pushed
        lost += chance * gone
    return following, masses, lost


def _widened(carry: EpochCarry, steps: int) -> EpochCarry:
    """Return the carry on nodes that hold the next steps and the rest of their epoch, with the maps between them."""
    old = carry.whole
    assert isinstance(old, BandCarry)
    epoch = old.equation.sgd.epoch
    line = transfer_band.extended(old, -(-(old.step + steps) // epoch) * epoch)
    nodes, masses = line.nodes, carry.masses
    if nodes == old.nodes:
        return carry
    assert nodes is not None
    if old.nodes is not None and old.mass is not None:
        masses = np.pad(masses, ((0, 0), (old.nodes.first - nodes.first, nodes.last - old.nodes.last)))
    return replace(carry, whole=line, masses=masses, matrices=_matrices(line.equation, nodes, nodes.places))


def _line_step(carry: EpochCarry) -> EpochCarry:
    line, matrices = carry.whole, carry.matrices
    assert isinstance(line, BandCarry) and line.nodes is not None and matrices is not None
    if line.mass is None:
        places, start = transfer_band.cloud(line)
        carry, matrices = replace(carry, masses=start[None]), _matrices(line.equation, line.nodes, places)
    pushes = [_matrix_push(matrix) for matrix in matrices]
    used, masses, _ = _step(carry, pushes, line.nodes.last - line.nodes.first)
    mass: Array = masses.sum(axis=0)
    line = replace(line, step=line.step + 1, mass=mass, lost=1.0 - float(mass.sum()))
    return replace(carry, whole=line, used=used, masses=masses)


def _matrices(equation: Equation, nodes: characteristic.Nodes, sources: Array) -> tuple[sparse.csr_array, ...]:
    """Return the map of each minibatch from ``sources`` (N,) to the nodes, sparse (n, N)."""
    sgd, law = equation.sgd, equation.sgd.noise
    assert isinstance(law, FiniteSumLaw)
    hessians, gradients = law.sample_hessians()[:, 0, 0] + sgd.weight_decay, law.gradients[:, 0]
    result = []
    for chosen in map(list, _minibatches(equation)):
        moved = sources - sgd.learning_rate * (hessians[chosen].mean() * sources + gradients[chosen].mean())
        result.append(characteristic.images(nodes, moved))
    return tuple(result)


def _matrix_push(matrix: sparse.csr_array) -> Push:
    return lambda masses: ((matrix @ masses.T).T, 0.0)


def _lattice_step(carry: EpochCarry) -> EpochCarry:
    lattice = carry.whole
    assert isinstance(lattice, LatticeCarry)
    (law,) = lattice.laws
    assert isinstance(law, uniform.Maps)
    at = law.at if lattice.cloud is None else _places(lattice.cloud, lattice.grid)
    singles = [
        uniform.Maps(at, matrix[None], shift[None], np.ones(1))
        for matrix, shift in zip(law.matrix, law.shift, strict=True)
    ]
    pushes = [_lattice_push(single, lattice.grid) for single in singles]
    used, masses, lost = _step(carry, pushes, int(np.prod(lattice.grid.cells)))
    lattice = replace(
        lattice, step=lattice.step + 1, mass=masses.sum(axis=0), outside=lattice.outside + lost, cloud=None
    )
    return EpochCarry(lattice, used, masses)


def _places(points: Array, grid: Grid) -> Array:
    return (points - grid.lower) / grid.spacing - 0.5


def _lattice_push(law: uniform.Maps, grid: Grid) -> Push:
    def push(masses: Array) -> tuple[Array, float]:
        moved = [uniform.step(mass, (law,), grid.cells) for mass in masses]
        return np.array([mass for mass, _ in moved]), sum(lost for _, lost in moved)

    return push
