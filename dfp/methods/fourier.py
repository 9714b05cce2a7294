"""Fourier: densities of linear dynamics with additive noise, in closed form in the number of steps."""

from dataclasses import dataclass

import numpy as np
from dfp_solvers import fourier, gaussian, matrices

from dfp.checks import Array
from dfp.errors import DFPError, UnresolvedError
from dfp.exact.moments import Moments, transition
from dfp.exact.optimisers import loads
from dfp.methods import fourier_law, gridded_start
from dfp.methods.grids import automatic
from dfp.methods.solver import MarchingSolver, dimension_obstacle
from dfp.problem.equation import Equation
from dfp.problem.equations import ModifiedLangevin
from dfp.problem.finite_sum import FiniteSumLaw
from dfp.problem.grid import Grid, grid_moments
from dfp.problem.state import Density, State
from dfp.results.frame import Frame


@dataclass(frozen=True)
class _Carry:
    equation: Equation
    initial: State
    grid: Grid
    step: int


@dataclass(frozen=True)
class Fourier(MarchingSolver):
    """Inverse FFT of the characteristic function, known in closed form for additive noise.

    Solves (T4), (T6), (T7), (T7m) for d = 1, 2, 3 from any state. With Gaussian noise 10 and 10⁶ steps cost the same;
    the additive noise of a finite sum or of another law costs one factor per step (T4). With momentum the density is
    that of θ, from velocity 0; a schedule costs a product of small matrices for every change of its value.
    """

    name = "Fourier"
    equations = ("T4", "T6", "T7")
    order = "spectral in the grid, exact in the number of steps"
    reference = "theory page, section 5 (closed characteristic function)"
    momentum = True
    schedules = True

    def obstacle(self, equation: Equation, initial: State) -> str | None:
        """Return why the problem is not linear with additive noise, or None if it is."""
        if not equation.additive:
            return "the noise depends on θ (Var H̃ > 0), and only additive noise has a closed characteristic function"
        if fourier_law.applies(equation) and fourier_law.obstacle(equation):
            return fourier_law.obstacle(equation)
        return dimension_obstacle(equation, 3)

    def needs_no_moments(self, equation: Equation) -> bool:
        """Return whether the noise is of a law by which the box is found from quantiles."""
        return fourier_law.applies(equation)

    def grid(self, equation: Equation, initial: State, exact: Moments) -> Grid:
        """Return a grid on which a Gaussian of every saved covariance is resolved to 1e-12."""
        if fourier_law.applies(equation):
            return fourier_law.grid(equation, initial, exact)
        steps = exact.steps.tolist()
        for n in steps:
            _check_definite(equation, n, transition(equation, n)[2])
        if not _sampled(equation):
            if isinstance(initial, Density):
                return gridded_start.around(initial, steps, [_in_theta(equation, n) for n in steps])
            return automatic(exact)
        # Atoms of a finite sum are as wide as what is left of the initial state.
        vectors = equation.sgd.modes[1]
        kernel = [vectors * transition(equation, n)[0] @ vectors.T for n in steps]
        detail = np.array([f @ initial.covariance @ f.T for f in kernel])
        return automatic(exact, covariances=detail)

    def prepare(self, equation: Equation, initial: State, grid: Grid | None) -> _Carry:
        """Return the problem at step 0."""
        assert grid is not None
        return _Carry(equation, initial, grid, 0)

    def advance(self, carry: _Carry, steps: int) -> _Carry:
        """Return the problem ``steps`` later: nothing is computed until it is observed."""
        return _Carry(carry.equation, carry.initial, carry.grid, carry.step + steps)

    def observe(self, carry: _Carry) -> Frame:
        """Return the density, its mean and covariance by the trapezoidal rule, and ``|φ|`` at the grid's edge.

        Raises
        ------
        DFPError
            If the noise gained is not positive semidefinite (T7m with C off H's axes) or the state has no density.
        UnresolvedError
            If the atoms of a finite sum are narrower than the grid.
        """
        if fourier_law.applies(carry.equation):
            return fourier_law.frame(carry.equation, carry.initial, carry.grid, carry.step)
        if carry.step == 0 and isinstance(carry.initial, Density):
            return gridded_start.as_given(carry.initial, carry.grid)
        moved = _in_theta(carry.equation, carry.step)
        total = _checked_covariance(carry, moved[0], moved[2])
        outside = None
        if isinstance(carry.initial, Density):
            outside = gridded_start.outside(carry.initial, carry.grid, moved)
        if isinstance(carry.initial, Density) or _sampled(carry.equation):
            density, edge, error = _inverted(carry, *moved)
        else:
            # A Gaussian stays one: no transform is needed, nor is anything wrapped around.
            inverse = matrices.whitening(total)
            density = gaussian.on_grid(carry.grid.axes, moved[0] @ carry.initial.mean + moved[1], inverse)
            edge = error = gaussian.largest_beyond(inverse, carry.grid.spacing)
        if edge > 1e-3:
            raise UnresolvedError(
                f"step {carry.step}: |φ| = {edge:.2g} at the largest wave number of the grid with "
                f"cells={carry.grid.cells}: details are finer than the grid; use more cells, a smaller box or "
                "dfp.MonteCarlo(...)."
            )
        _, mean, covariance = grid_moments(carry.grid, density)
        return Frame(mean, covariance, density, truncation=error, outside=outside, gridded_moments=True)


def _inverted(carry: _Carry, factor: Array, shift: Array, noise: Array) -> tuple[Array, float, float]:
    """Return the density by an inverse FFT of its characteristic function φ, |φ| at the edge, and its error."""
    grid, initial = carry.grid, carry.initial
    waves = fourier.wave_numbers(grid.spacing, grid.cells)
    interpolated = 0.0
    if isinstance(initial, Density):
        separable = not np.any(factor - np.diag(np.diag(factor)))
        own = initial.grid
        interpolated = 0.0 if separable else fourier.interpolation_error(initial.values)
        phi = fourier.gridded(initial.values, own.lower, own.spacing, waves @ factor, separable=separable)
        phi = phi * fourier.gaussian(waves, shift, np.zeros_like(noise))
    else:
        phi = fourier.gaussian(waves, factor @ initial.mean + shift, factor @ initial.covariance @ factor.T)
    phi = phi * _noise(carry, waves, noise)
    density, edge = fourier.invert(phi, grid.lower, grid.spacing, grid.cells)
    beyond = edge
    if isinstance(initial, Density):
        beyond = fourier.largest_at_edge(phi, grid.cells, gridded_start.SHELL)
        beyond += gridded_start.largest_cut(initial, (factor, shift, noise))
    # Waves are cut at a face of the grid of wave numbers, not at one of them.
    return density, edge, 2.0**grid.dimension * beyond + interpolated


def _sampled(equation: Equation) -> bool:
    return equation.discrete and not equation.sgd.law.gaussian


def _in_theta(equation: Equation, step: int) -> tuple[Array, Array, Array]:
    vectors, hessian = equation.sgd.modes[1], equation.sgd.hessian
    factor, shift, noise = transition(equation, step)
    if len(factor) == 1:
        return factor[None], shift, noise
    matrix = (vectors * factor) @ vectors.T
    if np.count_nonzero(hessian) == np.count_nonzero(hessian.diagonal()):
        matrix *= np.eye(len(factor))  # rounding must not couple axes that are not
    return matrix, *matrices.turned(vectors.T, shift, noise)


def _noise(
    carry: _Carry, waves: Array, covariance: Array
) -> Array | np.ndarray[tuple[int, ...], np.dtype[np.complex128]]:
    equation, sgd = carry.equation, carry.equation.sgd
    if not _sampled(equation):
        return fourier.gaussian(waves, np.zeros(equation.dimension), covariance)
    law = sgd.law
    assert isinstance(law, FiniteSumLaw)
    deviations = law.gradients - law.gradients.mean(axis=0)
    if not sgd.plain:
        return fourier.finite_sum_noise_by_steps(waves, deviations, loads(sgd, carry.step))
    assert isinstance(sgd.noise, FiniteSumLaw)
    one_step = np.eye(equation.dimension) - sgd.learning_rate * sgd.hessian

    def rest(done: int) -> Array:
        return covariance - _in_theta(equation, done)[2]

    return fourier.finite_sum_noise(
        waves, deviations, sgd.noise.batch_size, sgd.learning_rate, one_step, carry.step, rest
    )


def _check_definite(equation: Equation, step: int, noise: Array) -> None:
    if not isinstance(equation, ModifiedLangevin):
        return  # any other equation gains a covariance
    smallest = float(matrices.eigenvalues(noise)[0])
    if smallest < -1e-12 * float(np.max(np.abs(noise))):
        raise DFPError(
            f"step {step}: the {equation.label} has gained noise with the eigenvalue {smallest:.3g}: its diffusion is "
            "indefinite here; use dfp.ModifiedLangevin(sgd, positive=True)."
        )


def _checked_covariance(carry: _Carry, factor: Array, noise: Array) -> Array:
    """Return the covariance at the carry's step."""
    _check_definite(carry.equation, carry.step, noise)
    total: Array = matrices.spread(factor, carry.initial.covariance) + noise
    values = matrices.eigenvalues(total)
    if not values[0] > 1e-14 * values[-1]:
        raise DFPError(
            f"step {carry.step}: the covariance has the eigenvalue {values[0]:.3g}, so there is no density yet; save "
            "later steps, start from a wider dfp.Gaussian, or use dfp.MomentRecursion()."
        )
    return total
