"""Fourier for gridded starts and finite sums: inverse transforms of products of characteristic functions."""

import numpy as np
from dfp_solvers import fourier

from dfp.checks import Array, Complex
from dfp.errors import UnresolvedError
from dfp.exact.moments import transition
from dfp.methods import gridded_start
from dfp.methods.fourier.closed import ClosedRun, check_definite, check_edge, in_theta, total_covariance
from dfp.methods.fourier.noise import gained
from dfp.methods.grids import automatic
from dfp.methods.solver import Problem
from dfp.problem.grid import Grid, grid_moments
from dfp.results.frame import Frame


class GriddedRun(ClosedRun):
    """A gridded density with Gaussian noise."""

    def __init__(self, problem: Problem, grid: Grid | None) -> None:
        steps = problem.steps.tolist()
        if grid is None:
            check_definite(problem.equation, steps)
            assert problem.initial.gridded is not None
            grid = gridded_start.around(problem.initial.gridded, steps, [in_theta(problem.equation, n) for n in steps])
        super().__init__(problem, grid)

    def frame(self) -> Frame:
        """Return the density, its mean and covariance by the trapezoidal rule, and ``|φ|`` at the grid's edge."""
        given = self.initial.gridded
        if self._step == 0 and given is not None:
            return gridded_start.as_given(given, self.grid)
        moved = in_theta(self.equation, self._step)
        total_covariance(self.equation, self.initial, self._step, moved[0], moved[2])
        density, edge, error = self._inverted(*moved)
        check_edge(edge, self._step, self.grid)
        outside = None if given is None else gridded_start.outside(given, self.grid, moved)
        _, mean, covariance = grid_moments(self.grid, density)
        return Frame(mean, covariance, density, truncation=error, outside=outside, gridded_moments=True)

    def _inverted(self, factor: Array, shift: Array, noise: Array) -> tuple[Array, float, float]:
        """Return the density by an inverse FFT of its characteristic function φ, |φ| at the edge, and its error."""
        grid, initial = self.grid, self.initial.gridded
        waves = fourier.wave_numbers(grid.spacing, grid.cells)
        if initial is None:
            mean, covariance = factor @ self.initial.mean + shift, factor @ self.initial.covariance @ factor.T
            phi = fourier.gaussian(waves, mean, covariance)
            density, edge = fourier.invert(phi * self._noise(waves, noise), grid.lower, grid.spacing, grid.cells)
            return density, edge, 2.0**grid.dimension * edge
        separable = not np.any(factor - np.diag(np.diag(factor)))
        own = initial.grid
        phi = fourier.gridded(initial.values, own.lower, own.spacing, waves @ factor, separable=separable)
        phi = phi * fourier.gaussian(waves, shift, np.zeros_like(noise)) * self._noise(waves, noise)
        density, edge = fourier.invert(phi, grid.lower, grid.spacing, grid.cells)
        beyond = fourier.largest_at_edge(phi, grid.cells, gridded_start.SHELL)
        beyond += gridded_start.largest_cut(initial, (factor, shift, noise))
        interpolated = 0.0 if separable else fourier.interpolation_error(initial.values)
        if beyond > 0.25:
            raise UnresolvedError(
                f"step {self._step}: details of the initial density are shorter than its cells, and the noise has not "
                f"blurred them yet (|φ| = {beyond:.2g} at its shortest waves); save later steps, or give a finer one."
            )
        # Waves are cut at a face of the grid of wave numbers, not at one of them.
        return density, edge, 2.0**grid.dimension * beyond + interpolated

    def _noise(self, waves: Array, covariance: Array) -> Complex:
        """Return the characteristic function of the noise gained so far."""
        return fourier.gaussian(waves, np.zeros(self.grid.dimension), covariance)


class AtomsRun(GriddedRun):
    """Any start with the additive noise of a finite sum: one factor per step."""

    def __init__(self, problem: Problem, grid: Grid | None) -> None:
        if grid is None:
            # Atoms of a finite sum are as wide as what is left of the initial state.
            _, vectors, inverse = problem.equation.sgd.modes_of_map
            kernel = [vectors * transition(problem.equation, n)[0] @ inverse for n in problem.steps.tolist()]
            detail = np.array([f @ problem.initial.covariance @ f.T for f in kernel])
            grid = automatic(problem.moments, covariances=detail)
        super().__init__(problem, grid)

    def _noise(self, waves: Array, covariance: Array) -> Complex:
        return gained(self.equation, self._step, waves)
