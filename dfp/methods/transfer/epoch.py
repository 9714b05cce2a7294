"""Transfer over epochs without replacement: one density for each set of samples that the epoch has used so far.

Within an epoch the density alone does not tell what comes next; together with the set of samples used it does. From
each set, every minibatch of unused samples is equally likely, and moves the density by an affine map of its own. When
the epoch ends the next shuffle is independent of the past, and the densities of all sets add up to one.

On a line the maps are band-limited matrices (``characteristic``), in two dimensions images of the cells on a lattice
(``uniform``). The moments over the same sets are in ``dfp_solvers.shuffled``.
"""

from collections.abc import Callable
from dataclasses import replace
from math import comb
from typing import Any

import numpy as np
from dfp_solvers import minibatches
from dfp_solvers.transfer import characteristic, uniform
from numpy.typing import NDArray
from scipy import sparse

from dfp.checks import Array
from dfp.methods.solver import Problem
from dfp.methods.transfer.characteristic import CharacteristicRun, line_grid
from dfp.methods.transfer.kernels import Kernels, enumerated, maps
from dfp.methods.transfer.uniform import UniformRun, automatic_grid
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid

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
    law, d = equation.sgd.samples, equation.dimension
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


class LineEpochs(CharacteristicRun):
    """A density for each set on the nodes of a line, and a matrix for each minibatch."""

    kept = (*CharacteristicRun.kept, "sets.used", "sets.masses")

    def __init__(self, problem: Problem, grid: Grid | None) -> None:
        super().__init__(problem, grid)
        self.sets = Sets(problem.equation)
        self._matrices: list[sparse.csr_array] = []

    @classmethod
    def seconds(cls, problem: Problem) -> float:
        """Return about how long it takes."""
        return problem.equation.sgd.samples.minibatch_count(replace=False) * _SECONDS_MATRIX + _seconds(
            problem, line_grid(problem)
        )

    def advance(self, steps: int) -> None:
        """Go on, on nodes that hold these steps and the rest of their epoch."""
        if steps == 0:
            return
        epoch, old = self.equation.sgd.epoch, self.nodes
        nodes = self.extend(-(-(self.step + steps) // epoch) * epoch)
        if nodes != old:
            self._matrices = self._between(nodes.places)
            if old is not None and self.mass is not None:
                self.sets.masses = np.pad(self.sets.masses, ((0, 0), (old.first - nodes.first, nodes.last - old.last)))
        for left in reversed(range(steps)):
            matrices = self._matrices
            if self.mass is None:
                places, start = self.cloud()
                self.sets.masses, matrices = start[None], self._between(places)
            self.sets.step([_matrix_push(matrix) for matrix in matrices], nodes.last - nodes.first)
            self.mass, self.step = self.sets.masses.sum(axis=0), self.step + 1
            self.passing(left)

    def resume(self, state: dict[str, Any]) -> None:
        """Go on on the nodes of the state, with maps between them."""
        super().resume(state)
        self._matrices = [] if self.nodes is None else self._between(self.nodes.places)

    def _between(self, sources: Array) -> list[sparse.csr_array]:
        """Return the map of each minibatch from ``sources`` (N,) to the nodes, sparse (n, N)."""
        sgd, every = self.equation.sgd, self.sets.minibatches
        assert self.nodes is not None
        hessians = every.hessians[:, 0, 0] + sgd.sample_decay
        moved = sources - sgd.learning_rate * (np.outer(hessians, sources) + every.gradients)
        return [characteristic.images(self.nodes, places) for places in moved]


class LatticeEpochs(UniformRun):
    """A density for each set on the cells of a grid in two dimensions."""

    kept = (*UniformRun.kept, "sets.used", "sets.masses")

    def __init__(self, problem: Problem, grid: Grid | None) -> None:
        super().__init__(problem, grid)
        self.sets = Sets(problem.equation)
        self.sets.masses = self.mass[None]

    @classmethod
    def seconds(cls, problem: Problem) -> float:
        """Return about how long it takes."""
        return _seconds(problem, automatic_grid(problem))

    def advance(self, steps: int) -> None:
        """Go on step by step."""
        for left in reversed(range(steps)):
            grid, (kernel,) = self.grid, self.kernels
            assert isinstance(kernel, uniform.Maps)
            at = kernel.at if self.cloud is None else (self.cloud - grid.lower) / grid.spacing - 0.5
            pairs = zip(kernel.matrix, kernel.shift, strict=True)
            singles = [uniform.Maps(at, matrix[None], shift[None], np.ones(1)) for matrix, shift in pairs]
            lost = self.sets.step([_lattice_push(single, grid) for single in singles], int(np.prod(grid.cells)))
            self.mass, self.outside, self.cloud = self.sets.masses.sum(axis=0), self.outside + lost, None
            self.step += 1
            self.passing(left)

    def _single(self) -> Equation:
        return replace(self.equation, sgd=self.equation.sgd.redrawn)

    def _first_kernels(self) -> Kernels:
        every = self.equation.sgd.samples.minibatches(replace=False)
        return (maps(self._single(), self.grid, self.grid.points.reshape(-1, 2), every),)


def _seconds(problem: Problem, grid: Grid) -> float:
    """Return about how long the moves between sets take on a grid."""
    law, d = problem.equation.sgd.samples, problem.equation.dimension
    epochs = problem.last / problem.equation.sgd.epoch
    return moves(law.count, law.batch_size) * epochs * float(np.prod(grid.cells)) * _SECONDS[d]


class Sets:
    """The sets of samples that the epoch under way has used, and a density for each; their sum is the law."""

    def __init__(self, equation: Equation) -> None:
        law = equation.sgd.samples
        self._count, self._batch = law.count, law.batch_size
        self.minibatches = law.minibatches(replace=False)
        self._masks = minibatches.masks(self.minibatches.chosen)
        self.used: NDArray[np.int64] = np.zeros(1, np.int64)
        """The sets as bit masks, increasing, shape (S,); the empty set alone where an epoch begins."""
        self.masses: Array = np.ones((1, 1))
        """Shape (S, n)."""

    def step(self, pushes: list[Push], nodes: int) -> float:
        """Take one step and return what has left the box.

        Parameters
        ----------
        pushes
            For each minibatch, in the order of ``minibatches``; they lead to so many ``nodes``.
        """
        used, done, lost = self.used, int(self.used[0]).bit_count(), 0.0
        chance = 1.0 / comb(self._count - done, self._batch)
        last = done + 2 * self._batch > self._count
        following, moves = minibatches.moves(used, self._masks)
        following = np.zeros(1, np.int64) if last else following
        masses = np.zeros((following.size, nodes))
        for (free, target), push in zip(moves, pushes, strict=True):
            if not free.any():
                continue
            if last:
                # The next epoch does not remember the sets, and a push is linear.
                pushed, gone = push(self.masses[free].sum(axis=0, keepdims=True))
                target = np.zeros(1, np.int64)
            else:
                pushed, gone = push(self.masses[free])
            masses[target] += chance * pushed
            lost += chance * gone
        self.used, self.masses = following, masses
        return lost


def _matrix_push(matrix: sparse.csr_array) -> Push:
    return lambda masses: ((matrix @ masses.T).T, 0.0)


def _lattice_push(law: uniform.Maps, grid: Grid) -> Push:
    def push(masses: Array) -> tuple[Array, float]:
        moved = [uniform.step(mass, (law,), grid.cells) for mass in masses]
        return np.array([mass for mass, _ in moved]), sum(lost for _, lost in moved)

    return push
