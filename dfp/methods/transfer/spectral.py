"""Spectral transfer (T22): characteristic functions of one step on moving boxes that resolve the density."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from dfp_solvers import lattice
from dfp_solvers.transfer import spectral, split
from dfp_solvers.transfer.spectral import Box

from dfp.checks import Array
from dfp.errors import UnresolvedError
from dfp.exact.moments import Moments
from dfp.methods import gridded_start, grids
from dfp.methods.transfer.moving_boxes import Boxes
from dfp.problem.additive import AdditiveLaw
from dfp.problem.equation import Equation
from dfp.problem.finite_sum import FiniteSumLaw
from dfp.problem.grid import Grid
from dfp.problem.noise import GaussianLaw
from dfp.problem.state import Density, Gaussian, State
from dfp.results.frame import Frame

# A matrix is built for at least this many steps in one box: it costs as much as so many single steps.
_WORTH = 3
# An estimated error beyond which there is no density to speak of.
_HOPELESS = 0.05
# Rounding of the sums over nodes at every step.
_ROUNDING = 1e-15
# Error of φ that sums of products may have in three dimensions.
_SPLIT = 1e-9


@dataclass(frozen=True)
class SpectralCarry:
    """The density at a step: masses of the nodes of a box or, at step 0, of a cloud of places."""

    boxes: Boxes
    grid: Grid
    step: int
    places: Array
    mass: Array
    box: Box | None = None
    """The lattice that the places are, if they are one."""
    until: int = 0
    """Last step that the box serves."""
    matrix: Array | None = None
    error: float = 0.0
    """Largest estimated L1 error of any step so far."""

    @property
    def equation(self) -> Equation:
        """The equation it solves."""
        return self.boxes.equation

    def advanced(self, steps: int, last: int | None = None) -> "SpectralCarry":
        """Return the carry ``steps`` later; ``last`` is the last step anyone will ask for."""
        goal = self.step + steps
        carry, horizon = self, max(goal, last or goal)
        while carry.step < goal:
            carry = carry._moved(horizon) if carry.step >= carry.until else carry._stayed(min(goal, carry.until))
        return carry

    def _moved(self, last: int) -> "SpectralCarry":
        """Return the carry one step later in a box of its own."""
        box, until = self.boxes.next(self.step, last)
        phi = self._spectrum(box)
        mass, until = spectral.masses(box, phi), max(until, self.step + 1)
        carry = replace(self, step=self.step + 1, places=box.places, mass=mass, box=box, until=until, matrix=None)
        return carry.judged(phi)

    def _stayed(self, goal: int) -> "SpectralCarry":
        """Return the carry at step ``goal`` in the same box."""
        assert self.box is not None
        box, carry, steps = self.box, self, goal - self.step
        if self.matrix is None and steps >= _WORTH and len(box.cells) < 3:
            seen = spectral.resolved(box, box, self._slope)
            carry = replace(carry, matrix=spectral.transition(box, box.places, self._characteristic, seen))
        if carry.matrix is not None:
            mass = spectral.powers(carry.matrix, carry.mass, steps)
            return replace(carry, step=goal, mass=mass).judged(spectral.waves_of(box, mass))
        step = split_step(self.boxes, box, box, goal) if len(box.cells) == 3 else None
        for _ in range(steps):
            phi = carry._spectrum(box, step)
            carry = replace(carry, step=carry.step + 1, mass=spectral.masses(box, phi))
        return carry.judged(phi)

    def _spectrum(self, target: Box, step: split.Split | None = None) -> spectral.Complex:
        """Return φ after one more step at the waves of ``target``."""
        seen: Array | float = 1.0 if self.box is None else spectral.resolved(self.box, target, self._slope)
        if len(target.cells) == 3 and self.box is not None:
            step = step or split_step(self.boxes, self.box, target, self.step + 1)
            return split.spectrum(self.mass.reshape(self.box.cells), step)
        return spectral.spectrum(target, self.places, self.mass, self._characteristic, seen)

    @property
    def _slope(self) -> Array:
        return np.eye(self.equation.dimension) - self.equation.linear_drift

    @cached_property
    def _characteristic(self) -> spectral.Characteristic:
        return characteristic(self.equation)

    def judged(self, phi: spectral.Complex) -> "SpectralCarry":
        """Return the carry with the error of its step, estimated by what is at the edges of the box and its waves.

        Raises
        ------
        UnresolvedError
            If that is so much that nothing is known of the density.
        """
        assert self.box is not None
        beyond, cut = spectral.beyond(self.box, self.mass), spectral.cut(self.box, phi)
        if not beyond < _HOPELESS:
            raise UnresolvedError(
                f"step {self.step}: about {beyond:.2g} of the mass is outside the widest affordable box, as with "
                "power-law tails; lower learning_rate, or use dfp.MonteCarlo(...)."
            )
        if not cut < _HOPELESS:
            raise UnresolvedError(
                f"step {self.step}: the law has details finer than {np.max(self.box.spacing):.2g} deviations (its "
                f"characteristic function is {cut:.2g} at the last wave), as where few minibatches are possible; use "
                "dfp.MonteCarlo(...), or save later steps."
            )
        return replace(self, error=max(self.error, 2 * beyond + cut))

    def frame(self) -> Frame:
        """Return the density on the grid, the moments of the nodes and the estimated L1 error.

        Raises
        ------
        UnresolvedError
            At step 0, if the initial state has no density on the grid.
        """
        if self.step == 0:
            return self._start()
        assert self.box is not None
        density = spectral.density(self.box, spectral.waves_of(self.box, self.mass), list(self.grid.axes))
        total = float(self.mass.sum())
        mean = self.mass @ self.places / total
        apart = self.places - mean
        covariance = (apart * self.mass[:, None]).T @ apart / total
        outside = 1.0 - float(density.sum()) * self.grid.cell_volume
        return Frame(mean, covariance, density, truncation=self.error + _ROUNDING * self.step**0.5, outside=outside)

    def _start(self) -> Frame:
        if isinstance(self.boxes.initial, Density):
            return gridded_start.as_given(self.boxes.initial, self.grid)
        if not np.all(grids.conditional_deviations(self.boxes.initial.covariance[None])[0] > self.grid.spacing / 2):
            raise UnresolvedError(
                f"step {self.step}: the initial state is narrower than the grid's spacing {self.grid.spacing}, so it "
                "has no density there; save later steps, start from a wider dfp.Gaussian, or give a finer grid."
            )
        density = Gaussian(self.boxes.initial.mean, self.boxes.initial.covariance).on(self.grid)
        outside = max(1.0 - float(density.sum()) * self.grid.cell_volume, 0.0)
        return Frame(self.boxes.initial.mean, self.boxes.initial.covariance, density, outside=outside)


def prepare(equation: Equation, initial: State, grid: Grid, scale: float = 1.0) -> SpectralCarry:
    """Return the carry at step 0: places so close that the waves of the first box do not see between them."""
    d = equation.dimension
    boxes = Boxes(equation, initial, scale, aligned_axes(equation) if d == 3 else None)
    if isinstance(initial, Density):
        own = initial.grid
        box = Box(np.zeros(d), np.eye(d), own.lower, own.spacing, own.cells)
        # A jump is what its cells are: their centres are spread by the first step.
        smooth = gridded_start.resolved(initial)
        mass = initial.values.ravel() * own.cell_volume
        return SpectralCarry(boxes, grid, 0, box.places, mass, box if smooth or d == 3 else None)
    regular = np.all(grids.conditional_deviations(initial.covariance[None]) > 0)
    if d == 3 and regular:
        box = boxes.start()
        from_mean = box.places - initial.mean
        exponent = np.einsum("ni,ij,nj->n", from_mean, np.linalg.inv(initial.covariance), from_mean)
        mass = np.exp(-0.5 * exponent)
        return SpectralCarry(boxes, grid, 0, box.places, mass / mass.sum(), box)
    deviation = np.sqrt(np.maximum(np.diag(equation.diffusion(initial.mean)), 1e-300))
    places, mass = lattice.cloud(initial.mean, initial.covariance, deviation)
    return SpectralCarry(boxes, grid, 0, places, mass)


def grid(equation: Equation, initial: State, exact: Moments) -> Grid:
    """Return a grid over the box of the saved steps that resolves the densities there."""
    boxes = Boxes(equation, initial, axes=aligned_axes(equation) if equation.dimension == 3 else None)
    width = max(boxes.width(int(n)) for n in {int(exact.steps[0]), int(exact.steps[-1])})
    return grids.automatic(exact, width=width, band=8.2)


def characteristic(equation: Equation) -> spectral.Characteristic:
    """Return φ(k|θ) of one step, at the waves of a box in its own coordinates."""
    sgd, law = equation.sgd, equation.sgd.noise
    rate = sgd.learning_rate

    def gaussian(places: Array, box: Box) -> spectral.Complex:
        inverse = np.linalg.inv(box.axes)
        return spectral.gaussian(
            _image(equation, places, box), inverse @ equation.diffusion(places) @ inverse.T, box.waves
        )

    def additive(places: Array, box: Box) -> spectral.Complex:
        assert isinstance(law, AdditiveLaw)
        waves = np.stack(np.meshgrid(*box.waves, indexing="ij"), axis=-1) @ np.linalg.inv(box.axes)
        return spectral.shifted(_image(equation, places, box), law.characteristic(-rate * waves), box.waves)

    if isinstance(law, GaussianLaw):
        return gaussian
    if isinstance(law, AdditiveLaw):
        return additive
    assert isinstance(law, FiniteSumLaw)
    slopes = law.sample_hessians() - law.mean_hessian
    shifts = law.gradients - law.gradients.mean(axis=0)

    def finite_sum(places: Array, box: Box) -> spectral.Complex:
        turn = -rate / law.batch_size * np.linalg.inv(box.axes)
        mean = _image(equation, places, box)
        return spectral.finite_sum(mean, places, turn @ slopes, shifts @ turn.T, law.batch_size, box.waves)

    return finite_sum


def _image(equation: Equation, places: Array, box: Box) -> Array:
    """Return the mean image of places in the coordinates of the box."""
    return box.inside(places + equation.drift(places))


def aligned_axes(equation: Equation) -> Array | None:
    """Return axes in which mean motion and fluctuations of the Hessian are both diagonal, or None if there are none."""
    law, hessian = equation.sgd.noise, equation.sgd.hessian
    if not isinstance(law, GaussianLaw) or (law.symmetric and not law.additive):
        return None
    axes = equation.sgd.modes[1] if law.additive else np.eye(len(hessian)) if law.axes is None else law.axes
    turned = axes.T @ hessian @ axes
    off = turned - np.diag(np.diag(turned))
    return axes if np.max(np.abs(off)) <= 1e-13 * np.max(np.abs(turned)) else None


def split_step(boxes: Boxes, source: Box, target: Box, step: int) -> split.Split:
    """Return one step in three dimensions from the nodes of one box to the waves of another, in aligned axes."""
    equation, axes = boxes.equation, boxes.axes
    law, rate = equation.sgd.noise, equation.sgd.learning_rate
    assert axes is not None and isinstance(law, GaussianLaw)
    inverse = np.linalg.inv(target.axes)
    stretch, scale = (axes.T @ source.axes).diagonal(), (axes.T @ target.axes).diagonal()
    places = [a + b * u for a, b, u in zip(axes.T @ source.centre, stretch, source.lattice, strict=True)]
    slope = 1 - (axes.T @ equation.linear_drift @ axes).diagonal()
    shift = -axes.T @ (equation.constant_drift + target.centre)
    images = [(a * x + b) / h for a, x, b, h in zip(slope, places, shift, scale, strict=True)]
    waves = np.stack(np.meshgrid(*target.waves, indexing="ij"), axis=-1)
    constant = rate**2 * inverse @ law.constant @ inverse.T
    fixed = np.exp(-0.5 * np.einsum("...i,ij,...j->...", waves, constant, waves))
    fixed *= spectral.resolved(source, target, np.eye(3) - equation.linear_drift)
    table = rate**2 * law.table / scale[:, None] ** 2
    freedom = boxes.freedom(step - 1)
    weights = [
        (1 + (u / 1.1) ** 2 / (nu - 2)) ** (-(nu + 1) / 4) for u, nu in zip(source.lattice, freedom, strict=True)
    ]
    return split.split(fixed, target.waves, images, places, table, weights, _SPLIT)
