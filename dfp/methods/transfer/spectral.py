"""Spectral transfer (T22): characteristic functions of one step on moving boxes that resolve the density."""

from typing import Any

import numpy as np
from dfp_solvers import lattice, matrices
from dfp_solvers.transfer import cross, spectral, split
from dfp_solvers.transfer.spectral import Box
from scipy.sparse.linalg import ArpackNoConvergence

from dfp.checks import Array, Complex
from dfp.errors import UnresolvedError
from dfp.methods import gridded_start, grids
from dfp.methods.solver import Problem
from dfp.methods.transfer import solid
from dfp.methods.transfer.moving_boxes import MADE, Boxes
from dfp.methods.transfer.run import TransferRun
from dfp.methods.transfer.twins import Twins, factors
from dfp.problem.grid import Grid
from dfp.problem.state import Density, Gaussian
from dfp.results.certificate import SAFETY
from dfp.results.frame import Frame

# A matrix is built for at least this many steps in one box: it costs as much as so many single steps.
_WORTH = 3
# An estimated error beyond which there is no density to speak of.
_HOPELESS = 0.05
# True errors over what tails and last waves add up to, at most, and what sums over places and waves leave behind: three
# times these bound the errors of all random problems (validation case spectral-certificates).
_JUDGED, _LEFT = 2.5, 1e-13
# Steps of a finite sum after which a rare minibatch may still be wider or narrower than tails and last waves tell, and
# what they then tell is multiplied by.
_EARLY, _RARE = 2, 8.0
# Estimated error above which twins are asked: below is rounding.
_MEASURED = 6e-13
# Places along an axis that may stand for a narrow start.
_FEW = 12
# Error by waves beyond the last above which ripples are told from rounding, and the law of few minibatches is smoothed
# before it moves to another box: smoothing would add to smaller ones.
_DETAILED = 1e-7
# Steps in which mass wraps around, at most: of excursions beyond eight deviations.
_LONGEST = 64.0
# Rounding of the sums over nodes at every step; a power multiplies that of its base.
_ROUNDING = 5e-16
# Largest wave number of reported densities in inverse deviations, and most cells of an axis of an automatic grid.
_BAND, _MOST_CELLS = 8.2, {1: 4096, 2: 512, 3: 96}
# Mass outside the widest affordable box beyond which another method is preferred.
_OUTSIDE = 1e-9
# Width and nodes in a length of the box beside which eigenvalues are judged, what their difference is multiplied by, as
# the tails of a law may fall with the cube of the width, and what they round to.
_COARSER, _BESIDE, _MODE_ROUNDING = 0.88, 3.0, 1e-13
# L1 error of a step over the tolerance of a sum of products that had to be found, of Gaussian noise and of finite sums
# (measured).
_FOUND = {True: 0.25, False: 0.6}
# Seconds of a product with an entry of a matrix, and of a wave in three dimensions; terms of sums of products of finite
# sums over those of Gaussian noise, and steps in which a fixed point is found (measured).
_MULTIPLIED, _WAVE = 1e-9, 8e-7
_TERMS, _SOUGHT = 5.0, 30


class SpectralRun(TransferRun):
    """Masses of the nodes of a box that moves with the density; the grid is only where it is reported.

    Raises
    ------
    UnresolvedError
        If the moments overflow, the law has details finer than the nodes of the largest box, or tails that it does not
        hold.
    """

    kept = ("step", "until", "box", "places", "mass", "_beyond")

    def __init__(self, problem: Problem, grid: Grid | None, scale: float = 1.0, boxes: Boxes | None = None) -> None:
        """Begin at step 0; boxes, if not given, are ``scale`` times as wide as usual, with as many more nodes."""
        self.boxes = own = boxes or boxes_of(problem, scale)
        self.grid = shown = automatic_grid(problem, self.boxes) if grid is None else grid
        self._twins = Twins(
            lambda factor: SpectralRun(problem, shown, boxes=own.scaled(factor)),
            problem.steps,
            gaussian=problem.equation.sgd.noise.gaussian,
        )
        self._settled = False
        self.equation, self.initial, self.step = problem.equation, problem.initial, 0
        self.box: Box | None = None
        """The lattice of the masses, if they are on one."""
        self.until = 0
        """Last step that the box serves."""
        self.places, self.mass = self._start()
        self._begun = 0.0 if self.box is None else spectral.cut(self.box, spectral.waves_of(self.box, self.mass))
        """Of the start what is in waves that its places do not see."""
        self._matrix: Array | None = None
        self._goal = self._origin = 0
        self._sum: split.Split | cross.Cross | None = None
        """One step within the box (d = 3)."""
        self._beyond = 0.0
        """The largest mass that was outside of a box so far. What was in waves beyond the last is damped by a step."""

    @classmethod
    def seconds(cls, problem: Problem) -> float:
        """Return about how long it takes, by the entries of its matrices."""
        return cls._seconds(boxes_of(problem))

    @classmethod
    def _seconds(cls, boxes: Boxes) -> float:
        total, before, d = 0.0, 0, boxes.equation.dimension
        for box, until in boxes.plan:
            nodes, steps, before = float(np.prod(box.cells)), until - before, until
            if d == 3:
                total += (boxes.moving(nodes, nodes) + boxes.staying(nodes, max(steps - 1, 0))) * _WAVE
            else:
                made = MADE * boxes.equation.sgd.noise.characteristic_cost
                total += _MULTIPLIED * nodes**2 * min(steps * made, 2 * made + steps)
        return total * cls._over(boxes)

    def forecast(self) -> float:
        """Return about how many seconds pass until sums of products are found (d = 3), which no step tells."""
        boxes, total, before = self.boxes, 0.0, 0
        for box, until in boxes.plan:
            total += boxes.finding(float(np.prod(box.cells)), until - before)
            before = until
        return total * _WAVE * self._over(boxes)

    def settling_seconds(self) -> float:
        """Return about how long ``settle`` takes in three dimensions, and 0 in two, where it is seconds at most."""
        boxes = self.boxes
        nodes = float(np.prod(boxes.plan[-1][0].cells))
        return boxes.staying(nodes, _SOUGHT) * _WAVE * self._over(boxes) if self.equation.dimension == 3 else 0.0

    @classmethod
    def _over(cls, boxes: Boxes) -> float:
        """Return the cost of a run with its twins over that of a run alone, of one term where noise is Gaussian."""
        law = boxes.equation.sgd.noise
        if not cls._twinned(boxes):
            return _TERMS
        return 1.0 if law.gaussian and law.additive else 1 + sum(factor**7 for factor in factors(law.gaussian))

    @staticmethod
    def _twinned(boxes: Boxes) -> bool:
        """Return whether twins are affordable: not where they have to find sums of many products."""
        return not boxes.coupled or boxes.equation.sgd.noise.gaussian

    def advance(self, steps: int) -> None:
        """Go on, to a new box whenever the present one no longer serves."""
        self._goal, self._origin = self.step + steps, self.step
        goal = self._goal
        while self.step < goal:
            if self.step >= self.until:
                self._move()
            else:
                self._stay(min(goal, self.until))
            self.passing(goal - self.step)

    def settle(self) -> None:
        """Go to the fixed point of a step in the box of the last step (d = 2, 3).

        By one factorisation of its matrix, or, where a step is a sum of products, by products with it.
        """
        self.box = box = self.boxes.plan[-1][0]
        self.mass = spectral.Settled(self._transition(box)).law if len(box.cells) < 3 else self._sought(box)
        self.places, self.step, self.until, self._matrix = box.places, self.boxes.last, self.boxes.last, None
        self._settled = True
        phi = spectral.waves_of(box, self.mass)
        self._judge(phi)
        self._cut(phi)

    def _sought(self, box: Box) -> Array:
        """Return the masses that a step leaves as they are, from the Gaussian with their mean and covariance."""
        step = solid.step(self.boxes, box, box, self.boxes.last, self.boxes.last)

        def moved(mass: Array) -> Array:
            return spectral.masses(box, solid.spectrum(mass.reshape(box.cells), step))

        try:
            return spectral.fixed(moved, Gaussian(self.initial.mean, self.initial.covariance).density(box.places))
        except ArpackNoConvergence as failure:
            raise UnresolvedError(
                f"the fixed point of a step is not found ({failure}); use dfp.solve to a late step."
            ) from None

    def modes(self, count: int) -> tuple[Complex, Complex, Array]:
        """Return the slowest eigenvalues of a step, their modes on the grid, (count, *cells), and errors (d = 2).

        Errors are estimated by a narrower and coarser box of the law of the last step.
        """
        alternating = bool(np.min(np.linalg.eigvals(self._slope).real) < 0)
        box = self.boxes.plan[-1][0]
        values, masses = spectral.Settled(self._transition(box)).modes(count, alternating=alternating)
        rough_box = spectral.scaled(box, _COARSER)
        rough = spectral.Settled(self._transition(rough_box)).modes(count, alternating=alternating)[0]
        error = _MODE_ROUNDING + _BESIDE * np.min(np.abs(rough - values[:, None]), axis=1)
        parts = [
            spectral.density(box, spectral.waves_of(box, part), list(self.grid.axes))
            for column in masses.T for part in (column.real, column.imag)
        ]  # fmt: skip
        return values, np.array(parts[::2]) + 1j * np.array(parts[1::2]), error

    def frame(self) -> Frame:
        """Return the density on the grid, the moments of the nodes and the estimated L1 error.

        Raises
        ------
        UnresolvedError
            At step 0, if the initial state has no density on the grid.
        """
        if self.step == 0:
            return self._start_frame()
        assert self.box is not None
        cut = spectral.cut(self.box, spectral.waves_of(self.box, self.mass))
        detailed = cut > _DETAILED and not self.equation.sgd.noise.gaussian
        error, density = self._error(), self.values(list(self.grid.axes))
        # Below zero by no more than the error is zero; of ripples, whose far ends moments see, only by rounding.
        below = max(0.0 if detailed else error, 1e-12) * float(density.max())
        density[(density < 0) & (density > -below)] = 0.0
        inside = float(density.sum()) * self.grid.cell_volume
        if 1 < inside < 1 + max(10 * error, 1e-11):
            density /= inside
        total = float(self.mass.sum())
        mean = self.mass @ self.places / total
        apart = self.places - mean
        covariance = (apart * self.mass[:, None]).T @ apart / total
        outside = 1.0 - float(density.sum()) * self.grid.cell_volume
        if not outside < 0.5:
            raise UnresolvedError(
                f"step {self.step}: {outside:.2g} of the mass has left the box from {self.grid.lower} to "
                f"{self.grid.upper}; give a wider grid=dfp.Grid(lower, upper, cells)."
            )
        remedy = self._against_details() if detailed else ""
        return Frame(mean, covariance, density, truncation=error, outside=outside, remedy=remedy)

    def values(self, axes: list[Array]) -> Array:
        """Return the density on the lattice of ``axes``."""
        assert self.box is not None
        return spectral.density(self.box, spectral.waves_of(self.box, self.mass), axes)

    def estimated(self) -> tuple[float, float]:
        """Return the L1 error by how tails go on, and by how start and last waves do."""
        assert self.box is not None
        return 2 * self._wrapped, self._begun + self._cut(spectral.waves_of(self.box, self.mass))

    def _error(self) -> float:
        """Return a third of the bound of the L1 error: what is estimated, or twins measured of it, and rounding."""
        estimate, law = sum(self.estimated()), self.equation.sgd.noise
        if not (law.gaussian or estimate < 2 * _HOPELESS):
            raise UnresolvedError(
                f"step {self.step}: about {min(estimate, 1.0):.2g} of the density is outside the box, or in details "
                "finer than its nodes, as where few minibatches are possible; use dfp.MonteCarlo(...), or save later "
                "steps."
            )
        error = _JUDGED * estimate * (_RARE if self.step <= _EARLY and not law.gaussian else 1)
        if estimate > _MEASURED and self._twinned(self.boxes):
            error = min(error, self._twins.error(self, self.grid, settled=self._settled) / SAFETY)
        return error + self._lacking + _LEFT + _ROUNDING * self.step**0.5 * (1 if law.gaussian else law.batch_size)

    def state(self) -> dict[str, Any] | None:
        """Return it; a matrix in use is made again."""
        found = super().state()
        return None if found is None else found | {"matrix": self._matrix is not None}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on in the box of the state."""
        state = dict(state)
        made = state.pop("matrix")
        super().resume(state)
        self.box = None if state["box"] is None else Box(*state["box"])
        self._matrix = self._transition(self.box) if made and self.box is not None else None

    def _transition(self, box: Box) -> Array:
        """Return the matrix of a step within the box."""
        return spectral.transition(box, box.places, self._characteristic, spectral.resolved(box, box, self._slope))

    def _move(self) -> None:
        """Take one step to a box of its own."""
        box, until = self.boxes.next(self.step)
        if self.box is not None and self._detailed(spectral.cut(self.box, spectral.waves_of(self.box, self.mass))):
            self.mass = spectral.smoothed(self.box, self.mass)
        phi = self._spectrum(box)
        self.mass, self.places, self.box = spectral.masses(box, phi), box.places, box
        self.step, self._matrix, self._sum = self.step + 1, None, None
        self.until = max(until, self.step)
        self._judge(phi)

    def _stay(self, goal: int) -> None:
        """Go on to step ``goal`` in the same box."""
        assert self.box is not None
        box, steps = self.box, goal - self.step
        if self._matrix is None and steps >= _WORTH and len(box.cells) < 3:
            self._matrix = self._transition(box)
        if self._matrix is not None:
            self.mass = spectral.powers(self._matrix, self.mass, steps)
        else:
            if self._sum is None and len(box.cells) == 3:
                self._sum = solid.step(self.boxes, box, box, self.step, self.until)
            for _ in range(steps):
                self.passing(self._goal - self.step)
                if self.patience is not None and len(box.cells) == 3:
                    self.patience.look(self.step - self._origin, self._goal - self._origin)
                self.mass, self.step = spectral.masses(box, self._spectrum(box, self._sum)), self.step + 1
        self.step = goal
        self._judge(spectral.waves_of(box, self.mass))

    def _spectrum(self, target: Box, step: split.Split | cross.Cross | None = None) -> Complex:
        """Return φ after one more step at the waves of ``target``."""
        if len(target.cells) == 3 and self.box is not None:
            step = step or solid.step(self.boxes, self.box, target, self.step, self.step + 1)
            return solid.spectrum(self.mass.reshape(self.box.cells), step)
        seen: Array | float = 1.0 if self.box is None else spectral.resolved(self.box, target, self._slope)
        return spectral.spectrum(target, self.places, self.mass, self._characteristic, seen)

    @property
    def _wrapped(self) -> float:
        """Mass that has wrapped around and not been forgotten: at every step a part of what is outside of the box.

        Excursions beyond w deviations last 1/(ηλw²) steps, and the law forgets in 1/(ηλ) steps where they began.
        """
        return self._beyond * (1 + min(self._remembered, _LONGEST) / 4)

    @property
    def _remembered(self) -> float:
        """Steps that have not been forgotten."""
        forgotten = float(np.trace(self.equation.linear_drift)) / self.equation.dimension
        return min(self.step, 1 / forgotten if forgotten > 0 else np.inf)

    @property
    def _slope(self) -> Array:
        return np.eye(self.equation.dimension) - self.equation.linear_drift

    def _characteristic(self, places: Array, box: Box) -> Complex:
        """Return φ(k|θ) of one step, at the waves of a box in its own coordinates."""
        law = self.equation.sgd.noise
        waves = np.stack(np.meshgrid(*box.waves, indexing="ij"), axis=-1) @ np.linalg.inv(box.axes)
        noise = law.characteristic(-self.equation.learning_rate * waves, None if law.additive else places)
        return spectral.phases(box.inside(places + self.equation.drift(places)), box.waves) * noise

    def _judge(self, phi: Complex) -> None:
        """Note how much mass is outside of the box."""
        assert self.box is not None
        cut = spectral.cut(self.box, phi)
        # The ripples of details reach the ends of the box, and are no mass outside.
        seen = spectral.smoothed(self.box, self.mass) if self._detailed(cut) else self.mass
        beyond = spectral.beyond(self.box, seen)
        if not beyond < _HOPELESS:
            self._cut(phi)
            raise UnresolvedError(
                f"step {self.step}: about {min(beyond, 1.0):.2g} of the mass is outside the widest affordable box, as "
                "with power-law tails; lower learning_rate, or use dfp.MonteCarlo(...)."
            )
        self._beyond = max(self._beyond, beyond)

    def _detailed(self, cut: float) -> bool:
        """Return whether few minibatches have left details that the box does not resolve: their ripples cross it."""
        return cut > _DETAILED and self.boxes.few(self.step)

    def _cut(self, phi: Complex) -> float:
        """Return how much of the density is in waves beyond those of the box, if that leaves a density to speak of."""
        assert self.box is not None
        cut = spectral.cut(self.box, phi)
        if not cut < _HOPELESS:
            raise UnresolvedError(
                f"step {self.step}: the law has details finer than {np.max(self.box.spacing):.2g} deviations (its "
                f"characteristic function is {cut:.2g} at the last wave), as where few minibatches are possible; use "
                "dfp.MonteCarlo(...), or save later steps."
            )
        return cut

    def _against_details(self) -> str:
        """Return what helps against details, and where they come from."""
        law, alone = self.equation.sgd.noise.with_batch_size(1), ""
        if np.isfinite(law.minibatch_count()):
            steepest = float(np.max(np.linalg.norm(law.minibatches().hessians, 2, axis=(1, 2))))
            share = self.equation.learning_rate * steepest / self.equation.sgd.noise.batch_size
            alone = f" (ηh of one sample, over batch_size, is up to {share:.2g})"
        return (
            "the law has details finer than any nodes, of few minibatches or of some that flatten a direction"
            f"{alone}: lower learning_rate, raise batch_size, or go by dfp.moments(...), which is exact"
        )

    @property
    def _lacking(self) -> float:
        """What sums of products that had to be found lack, in L1: of steps by the same sum errors add up."""
        if not self.boxes.coupled:
            return 0.0
        gaussian = self.equation.sgd.noise.gaussian
        return _FOUND[gaussian] * solid.SPLIT[gaussian] * (1 + self._remembered)

    def _start(self) -> tuple[Array, Array]:
        """Return places so close that the waves of the first box do not see between them, and their masses."""
        initial, d = self.initial, self.equation.dimension
        if isinstance(initial, Density):
            own = initial.grid
            box = Box(np.zeros(d), np.eye(d), own.lower, own.spacing, own.cells)
            # A jump is what its cells are: their centres are spread by the first step.
            self.box = box if d == 3 or gridded_start.resolved(initial) else None
            return box.places, initial.values.ravel() * own.cell_volume
        root = matrices.square_root(initial.covariance)
        first = self.boxes.plan[0][0]
        # Phases of the first step between places may turn by twice what the mean makes of them.
        reach = 2 * (np.pi / first.spacing) @ np.abs(np.linalg.solve(first.axes, root))
        few = lattice.few(root, reach, _FEW)
        if few is not None:
            return initial.mean + few[0], few[1]
        if np.all(grids.conditional_deviations(initial.covariance[None]) > 0):
            self.box, self.until = self.boxes.first()
            places = self.box.places
            mass = Gaussian(initial.mean, initial.covariance).density(places)
            return places, mass / mass.sum()
        widest = max(float(np.max(np.diag(initial.covariance))), 1e-300) ** 0.5
        return lattice.cloud(initial.mean, initial.covariance, np.full(d, widest))

    def _start_frame(self) -> Frame:
        initial, grid = self.initial, self.grid
        if isinstance(initial, Density):
            return gridded_start.as_given(initial, grid)
        if not np.all(grids.conditional_deviations(initial.covariance[None])[0] > grid.spacing / 2):
            raise UnresolvedError(
                f"step 0: the initial state is narrower than the grid's spacing {grid.spacing}, so it has no density "
                "there; save later steps, start from a wider dfp.Gaussian, or give grid=... with more cells."
            )
        density = Gaussian(initial.mean, initial.covariance).on(grid)
        outside = max(1.0 - float(density.sum()) * grid.cell_volume, 0.0)
        return Frame(initial.mean, initial.covariance, density, outside=outside)


def applies(problem: Problem) -> bool:
    """Return whether characteristic functions of a step are known and boxes hold and resolve the density."""
    equation, d = problem.equation, problem.equation.dimension
    sgd = equation.sgd
    if not (sgd.affine and sgd.plain and problem.exact) or d == 1 or d > 3:
        return False
    law = sgd.noise
    if law.characteristic_obstacle is not None or not law.finite:
        return False
    if d == 3 and solid.axes_of(equation) is None:
        return False
    # A gridded start is a lattice in the axes of θ.
    diagonal = not np.any(sgd.hessian - np.diag(np.diag(sgd.hessian)))
    return d < 3 or diagonal or not isinstance(problem.initial, Density)


def holds_tails(problem: Problem) -> bool:
    """Return whether the largest affordable boxes hold all but 1e-9 of the mass."""
    return boxes_of(problem).outside(problem.last) < _OUTSIDE


def boxes_of(problem: Problem, scale: float = 1.0) -> Boxes:
    """Return what chooses the boxes of a problem."""
    axes = solid.axes_of(problem.equation) if problem.equation.dimension == 3 else None
    coupled = axes is not None and not solid.aligned(problem.equation, axes)
    return Boxes(problem.equation, problem.initial, problem.last, scale, axes, coupled)


def automatic_grid(problem: Problem, boxes: Boxes) -> Grid:
    """Return a grid over the box of the saved steps that resolves the densities there."""
    width = max(boxes.width(int(n)) for n in problem.steps)
    grid = grids.automatic(problem.moments, width=min(width, 16.0), band=_BAND)
    most = _MOST_CELLS[grid.dimension]
    return grid if max(grid.cells) <= most else Grid(grid.lower, grid.upper, [min(n, most) for n in grid.cells])
