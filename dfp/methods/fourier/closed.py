"""Fourier for Gaussian noise: a Gaussian stays one, so that no transform is needed, nor is anything wrapped around."""

from collections.abc import Sequence

import numpy as np
from dfp_solvers import gaussian, matrices

from dfp.checks import Array
from dfp.errors import DFPError, UnresolvedError
from dfp.exact.moments import transition
from dfp.methods.grids import automatic
from dfp.methods.solver import Problem, Run
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid, grid_moments
from dfp.problem.state import State
from dfp.results.frame import Frame


class ClosedRun(Run):
    """A Gaussian with Gaussian noise, in closed form at every step."""

    kept = ("_step",)

    grid: Grid

    def __init__(self, problem: Problem, grid: Grid | None) -> None:
        self.equation, self.initial, self._step = problem.equation, problem.initial, 0
        if grid is None:
            check_definite(problem.equation, problem.steps.tolist())
            grid = automatic(problem.moments)
        self.grid = grid

    def advance(self, steps: int) -> None:
        """Go on: nothing is computed until a frame is asked for."""
        self._step += steps

    def frame(self) -> Frame:
        """Return the density, its mean and covariance by the trapezoidal rule, and ``|φ|`` at the grid's edge."""
        factor, shift, noise = in_theta(self.equation, self._step)
        inverse = matrices.whitening(total_covariance(self.equation, self.initial, self._step, factor, noise))
        density = gaussian.on_grid(self.grid.axes, factor @ self.initial.mean + shift, inverse)
        edge = gaussian.largest_beyond(inverse, self.grid.spacing)
        # Values at the centres are exact on any grid; the certificate tells what cells that are too wide hide.
        _, mean, covariance = grid_moments(self.grid, density)
        return Frame(mean, covariance, density, truncation=edge, gridded_moments=True)


def in_theta(equation: Equation, step: int) -> tuple[Array, Array, Array]:
    """Return the matrix (d, d), the shift (d,) and the noise covariance (d, d) of so many steps, in the axes of θ."""
    factor, shift, noise = transition(equation, step)
    if len(factor) == 1:
        return factor[None], shift, noise  # the mode of one parameter is the parameter
    _, vectors, inverse = equation.sgd.modes_of_map
    hessian = equation.sgd.hessian
    matrix = (vectors * factor) @ inverse
    if np.count_nonzero(hessian) == np.count_nonzero(hessian.diagonal()):
        matrix *= np.eye(len(factor))  # rounding must not couple axes that are not
    return matrix, *matrices.rotated(vectors.T, shift, noise)


def check_definite(equation: Equation, steps: Sequence[int]) -> None:
    """Raise ``DFPError`` if the noise gained after any of ``steps`` is no covariance."""
    if not equation.indefinite:
        return
    for step in steps:
        noise = transition(equation, step)[2]
        smallest = float(matrices.eigenvalues(noise)[0])
        if smallest < -1e-12 * float(np.max(np.abs(noise))):
            raise DFPError(
                f"step {step}: the {equation.label} has gained noise with the eigenvalue {smallest:.3g}: its diffusion "
                "is indefinite here; use dfp.ModifiedLangevin(sgd, positive=True)."
            )


def total_covariance(equation: Equation, initial: State, step: int, factor: Array, noise: Array) -> Array:
    """Return the covariance at ``step``, and raise ``DFPError`` where it leaves no density."""
    check_definite(equation, [step])
    total: Array = matrices.propagated(factor, initial.covariance) + noise
    values = matrices.eigenvalues(total)
    if not values[0] > 1e-14 * values[-1]:
        raise DFPError(
            f"step {step}: the covariance has the eigenvalue {values[0]:.3g}, so there is no density yet; save "
            "later steps, start from a wider dfp.Gaussian, or use dfp.MomentRecursion()."
        )
    return total


def check_edge(edge: float, step: int, grid: Grid, remedy: str = " or a smaller box") -> None:
    """Raise ``UnresolvedError`` if |φ| has not decayed at the largest wave number of the grid."""
    if edge > 1e-3:
        raise UnresolvedError(
            f"step {step}: |φ| = {edge:.2g} at the largest wave number of the grid with cells={grid.cells}: details "
            f"are finer than the grid; give grid=... with more cells{remedy}."
        )
