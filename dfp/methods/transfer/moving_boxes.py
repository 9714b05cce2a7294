"""Boxes of spectral transfer: each holds and resolves the density over as many steps as one grid affords."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from dfp_solvers import matrices
from dfp_solvers.transfer import spectral
from dfp_solvers.transfer.spectral import Box

from dfp.checks import Array
from dfp.errors import UnresolvedError, UnsupportedError
from dfp.exact.moments import Moments, moments_at
from dfp.methods.grids import probes, student_beyond, student_freedom, student_width
from dfp.methods.moment_recursion import HigherMoments
from dfp.problem.equation import Equation
from dfp.problem.state import State

# Nodes per deviation of the density along an axis given the others: φ of a Gaussian is 4e-14 at the last wave, 5e-12
# in three dimensions.
_PER_DEVIATION = {1: 2.5, 2: 2.5, 3: 2.3}
# Probability beyond the box on one side, and the half-widths in deviations between which it is chosen.
_TAIL = {1: 1e-14, 2: 1e-14, 3: 1e-11}
_LEAST_WIDTH, _MOST_WIDTH = {1: 7.8, 2: 7.8, 3: 7.0}, 40.0
# Half-width, and nodes per deviation over the usual ones, after a few steps of noise that is not Gaussian.
_FEW_REACH, _DETAILED = 10.0, 1.25
# A step by which laws have settled, or their moments have no bound.
_LATE = 10**7
# Nodes of a box by dimension: a matrix between 6561 takes 344 MB and two seconds; least ones along an axis.
MOST_NODES, _LEAST_NODES = {1: 1025, 2: 6561, 3: 97**3}, 15
# Products of entries that making an entry of a matrix costs, and at how many steps boxes may change.
MADE, _TRIED = 40.0, 24
# Steps in three dimensions that cost as much as finding the sum of products of one.
FOUND = 15.0
# Least eigenvalue of a regular covariance, over the largest.
_SINGULAR = 1e-12
# Steps at which the moments ahead are looked at, and kurtosis among them.
_LOOKS, _FEW = 256, 8
# Degrees of freedom where the fourth moment is infinite or unknown.
_HEAVIEST = 4.001


@dataclass(frozen=True)
class Boxes:
    """Chooses boxes along the path of a problem's moments."""

    equation: Equation
    initial: State
    last: int
    scale: float = 1.0
    """Nodes per deviation over the usual ones; widths likewise."""
    axes: Array | None = None
    """Directions of the axes (columns) of every box, if they are not free."""
    coupled: bool = False
    """Whether steps are sums of products that have to be found (d = 3)."""
    factor: float = 1.0
    """Width and nodes in a length over those of the boxes of which they are scaled ones."""

    @cached_property
    def _freedom(self) -> tuple[Array, Array]:
        """Steps at which kurtosis is known, shape (K,), and degrees of freedom ν there, (K, d)."""
        steps = np.array(probes(max(self.last, 1), _FEW))
        try:
            moving, now, found = HigherMoments(self.equation, self.initial), 0, []
            with np.errstate(all="ignore"):
                for step in steps.tolist():
                    moving.advance(step - now)
                    now = step
                    found.append(student_freedom(moving.frame()))
            return steps, np.maximum(np.nan_to_num(np.array(found), nan=_HEAVIEST, posinf=_HEAVIEST), _HEAVIEST)
        except UnsupportedError:  # tails so heavy that there is no kurtosis
            return steps, np.full((len(steps), self.equation.dimension), _HEAVIEST)

    def freedom(self, step: int) -> Array:
        """Return degrees of freedom (d,) of Student t laws with the least kurtosis known next to ``step``."""
        steps, freedom = self._freedom
        after = int(np.searchsorted(steps, step))
        return freedom[max(after - 1, 0) : after + 1].min(axis=0)

    def width(self, step: int) -> float:
        """Return the half-width in deviations that the kurtosis at ``step`` asks for, of a Student t law."""
        d = self.equation.dimension
        wanted = student_width(self.freedom(step), _TAIL[d])
        if self.few(step):
            wanted = np.minimum(wanted, np.maximum(student_width(self._late, _TAIL[d]), _FEW_REACH))
        return float(np.clip(np.max(wanted), _LEAST_WIDTH[d], _MOST_WIDTH)) * self.scale

    @cached_property
    def _late(self) -> Array:
        """Degrees of freedom (d,) of the settled law, the least that there are where it has no kurtosis."""
        moving = HigherMoments(self.equation, self.initial)
        with np.errstate(all="ignore"):
            moving.advance(_LATE)
            return np.maximum(np.nan_to_num(student_freedom(moving.frame()), nan=_HEAVIEST), _HEAVIEST)

    def few(self, step: int) -> bool:
        """Return whether tails at ``step`` are those of few minibatches, which end, not of a power law, which grow."""
        early = self.freedom(step)
        if self.equation.sgd.noise.gaussian or not np.any(early > _HEAVIEST):
            return False
        return bool(np.any(student_width(early, 1e-14) > np.maximum(student_width(self._late, 1e-14), _FEW_REACH)))

    @cached_property
    def plan(self) -> list[tuple[Box, int]]:
        """Boxes in turn, each with the step until which it serves: of all cuts at some steps the one that costs least.

        Raises
        ------
        UnresolvedError
            If the moments overflow, or a density at one step needs more nodes than are affordable.
        """
        ahead = np.unique(np.geomspace(1, self.last, _LOOKS).round().astype(np.int64))
        if self.begun:
            ahead = np.concatenate([[0], ahead])
        path = moments_at(self.equation, self.initial, ahead)
        if not (np.all(np.isfinite(path.covariance)) and np.all(np.isfinite(path.mean))):
            raise UnresolvedError(f"step {self.last}: the moments overflow; lower learning_rate or save earlier steps.")
        first, most = regular(path), MOST_NODES[self.equation.dimension]
        cuts = np.unique(np.geomspace(1, len(ahead) - first, _TRIED).round().astype(np.int64)) + first
        begins = [first, *cuts[:-1].tolist()]
        # Of every last box, from one cut to another: the least cost so far, and the box before.
        cost: dict[tuple[int, int], float] = {}
        before: dict[tuple[int, int], tuple[int, int] | None] = {}
        boxes: dict[tuple[int, int], tuple[Box, float]] = {}
        for i, begin in enumerate(begins):
            ends_here = [key for key in cost if key[1] == i - 1]
            for j in range(i, len(cuts)):
                try:
                    box, nodes = self._around(path, begin, int(cuts[j]) - 1)
                except UnresolvedError:
                    if j == i:
                        raise
                    break
                if nodes > most and j > i:
                    break
                if nodes > most:  # what a narrower box leaves out is in the certificate
                    box, nodes = self._around(path, begin, int(cuts[j]) - 1, most)
                steps = int(ahead[cuts[j] - 1] - (ahead[begin - 1] if i else 0))
                moved = {key: cost[key] + self.moving(boxes[key][1], nodes) for key in ends_here}
                last = min(moved, key=moved.__getitem__, default=None)
                boxes[i, j], before[i, j] = (box, nodes), last
                cost[i, j] = (0.0 if last is None else moved[last]) + self.staying(
                    nodes, steps - (i > 0 or ahead[0] > 0)
                )
        key: tuple[int, int] | None = min((k for k in cost if k[1] == len(cuts) - 1), key=cost.__getitem__)
        found = []
        while key is not None:
            found.append((boxes[key][0], int(ahead[cuts[key[1]] - 1])))
            key = before[key]
        return found[::-1]

    def scaled(self, factor: float) -> "Boxes":
        """Return the same boxes, ``factor`` times as wide, with as many more nodes in a length."""
        boxes = replace(self, factor=factor)
        boxes.__dict__.update({name: value for name, value in self.__dict__.items() if name in ("_freedom", "_late")})
        boxes.__dict__["plan"] = [(spectral.scaled(box, factor), until) for box, until in self.plan]
        return boxes

    def next(self, step: int) -> tuple[Box, int]:
        """Return the box of the steps after ``step`` and the step until which it serves."""
        return next(part for part in self.plan if part[1] > step)

    @property
    def _made(self) -> float:
        return MADE * self.equation.sgd.noise.characteristic_cost

    @property
    def _found(self) -> float:
        """Steps that cost as much as to find a sum of products for one."""
        return FOUND * self.equation.sgd.noise.characteristic_cost if self.coupled else 0.0

    def finding(self, nodes: float, steps: int) -> float:
        """Return what finding the sums of products of ``steps`` into and inside a box costs (d = 3)."""
        return nodes * self._found * min(steps, 2)

    def moving(self, source: float, target: float) -> float:
        """Return what a step from one box to another costs by their nodes, in products of entries."""
        return source * (1 + self._found) if self.equation.dimension == 3 else source * target * self._made

    def staying(self, nodes: float, steps: int) -> float:
        """Return what ``steps`` steps inside a box cost."""
        if self.equation.dimension == 3:
            return nodes * (steps + (self._found if steps else 0.0))
        return nodes**2 * min(steps * self._made, (2 * self._made + steps) if steps else 0.0)

    @property
    def begun(self) -> bool:
        """Whether the first box holds the start as well: then no sum of products has to be found for a step into it."""
        values = matrices.eigenvalues(self.initial.covariance)
        return self.coupled and self.initial.gridded is None and bool(values[0] > _SINGULAR * values[-1])

    def first(self) -> tuple[Box, int]:
        """Return a box of a Gaussian start, and the last step that it serves."""
        return self.plan[0] if self.begun else (self.start(), 0)

    def outside(self, step: int) -> float:
        """Return about how much mass is outside the largest box at ``step``."""
        d = self.equation.dimension
        most = MOST_NODES[d] ** (1 / d) / (2 * _PER_DEVIATION[d])
        return float(np.max(student_beyond(self.freedom(step), min(most, self.width(step)))))

    def start(self) -> Box:
        """Return a box of a Gaussian start."""
        mean, covariance = self.initial.mean, self.initial.covariance
        box = self._around(Moments(np.zeros(1, np.int64), mean[None], covariance[None]), 0, 0)[0]
        return spectral.scaled(box, self.factor)

    def _around(self, path: Moments, first: int, last: int, most: float = np.inf) -> tuple[Box, float]:
        """Return a box for the steps from index ``first`` to ``last`` of the path, and its nodes as a real number."""
        if self.axes is None:
            axes = common_axes(path.covariance[first], path.covariance[last])
        else:
            axes = self.axes * np.sqrt(((self.axes.T @ path.covariance[last]) * self.axes.T).sum(axis=1))
        inverse = np.linalg.inv(axes)
        mean = (path.mean[first : last + 1] - path.mean[last]) @ inverse.T
        covariance = inverse @ path.covariance[first : last + 1] @ inverse.T
        variances = covariance.diagonal(axis1=1, axis2=2)
        if not np.all(variances > 0):
            raise UnresolvedError(
                f"step {path.steps[last]}: the covariance has shrunk to the rounding of that at step "
                f"{path.steps[first]}, so that no box holds both; save earlier steps."
            )
        deviation = np.sqrt(variances)
        finest = np.min(matrices.precisions(covariance) ** -0.5, axis=0)
        width = max(self.width(int(path.steps[first])), self.width(int(path.steps[last])))
        dense = _PER_DEVIATION[mean.shape[1]] * self.scale
        if self.few(int(path.steps[first])):
            dense *= _DETAILED
        for _ in range(60):
            lower, upper = np.min(mean - width * deviation, axis=0), np.max(mean + width * deviation, axis=0)
            wanted = np.maximum((upper - lower) * dense / finest, _LEAST_NODES)
            if np.prod(wanted) <= most or width <= 5:
                break
            width, dense = width * 0.95, max(dense * 0.99, 2.0)
        cells = tuple(int(np.ceil(min(n, 1e6))) // 2 * 2 + 1 for n in wanted)
        spacing = (upper - lower) / cells
        return Box(path.mean[last], axes, lower, spacing, cells), float(np.prod(wanted))


def regular(path: Moments) -> int:
    """Return the first index from which the covariance is regular."""
    values = matrices.eigenvalues(path.covariance)
    held = np.flatnonzero(values[:, 0] > _SINGULAR * values[:, -1])
    if not held.size:
        raise UnresolvedError(
            f"step {path.steps[-1]}: the covariance is singular, so there is no density to put on a grid; save later "
            "steps, start from a wider dfp.Gaussian, or use dfp.MonteCarlo(...)."
        )
    return int(held[0])


def common_axes(one: Array, other: Array) -> Array:
    """Return axes (columns) in which the first covariance is 1 and the other diagonal."""
    root = np.linalg.cholesky(one)
    whitened = np.linalg.solve(root, np.linalg.solve(root, other).T)
    return np.asarray(root @ np.linalg.eigh((whitened + whitened.T) / 2)[1])
