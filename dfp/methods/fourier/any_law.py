"""Fourier for additive noise of any law (T4): products of characteristic functions, boxes from quantiles."""

import numpy as np
from dfp_solvers import fourier
from scipy import fft

from dfp.checks import Array, Complex
from dfp.errors import UnresolvedError
from dfp.methods.fourier.closed import check_edge, in_theta
from dfp.methods.fourier.noise import gained
from dfp.methods.grids import LEAST_CELLS, MOST_LAW, OUTSIDE_LAW
from dfp.methods.solver import Problem, Run
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid, grid_moments
from dfp.problem.state import State
from dfp.results.frame import Frame

# Where |φ| is below this for good, details end.
_DECAYED = 1e-12
_MARGINAL = 2**17  # cells of a marginal density from which quantiles are read
# Densities are computed on a box this many times as wide, so that tails wrap around far away.
_PADDING = {1: 16, 2: 3, 3: 1}
# How much shorter waves are looked at beyond those of a grid, and how many of them.
_LOOKED, _WAVES = 8.0, 1500
# L1 norm of a density whose φ is off by one everywhere, measured: waves of a law decay, and errors with them.
_SPREAD = 8.0


class AnyLawRun(Run):
    """The master equation with additive noise of any law, from characteristic functions of the present step."""

    kept = ("_step",)

    grid: Grid

    def __init__(self, problem: Problem, grid: Grid | None) -> None:
        self._equation, self._initial, self._step = problem.equation, problem.initial, 0
        self.grid = _grid(problem) if grid is None else grid

    def advance(self, steps: int) -> None:
        """Go on: nothing is computed until a frame is asked for."""
        self._step += steps

    def frame(self) -> Frame:
        """Return the density, computed on a wider box, and the mass outside the grid; moments as far as they exist."""
        grid, d, law = self.grid, self.grid.dimension, self._equation.sgd.law
        extra = [(_PADDING[d] - 1) * n // 2 for n in grid.cells]
        cells = [n + 2 * more for n, more in zip(grid.cells, extra, strict=True)]
        lower = grid.lower - np.array(extra) * grid.spacing
        waves = fourier.wave_numbers(grid.spacing, cells)
        phi = _characteristic(self._equation, self._initial, self._step, waves)
        wide, edge = fourier.invert(phi, lower, grid.spacing, cells)
        check_edge(edge, self._step, grid, ", save later steps, or use dfp.MonteCarlo(...)")
        density = wide[tuple(slice(more, more + n) for n, more in zip(grid.cells, extra, strict=True))]
        outside = 1.0 - float(density.sum()) * grid.cell_volume
        # What is beyond the wider box has wrapped around into it.
        wrapped = fourier.wrapped(wide, grid.cell_volume)
        mean, covariance = np.full(d, np.nan), np.full((d, d), np.nan)
        if law.finite:
            _, mean, covariance = grid_moments(Grid(lower, lower + np.array(cells) * grid.spacing, cells), wide)
        error = edge + wrapped + self._beyond_waves() + self._table_error()
        return Frame(mean, covariance, np.ascontiguousarray(density), truncation=error, outside=outside)

    def _beyond_waves(self) -> float:
        """Return the L1 norm of what waves shorter than those of the grid carry, by Cauchy and Schwarz, axis by axis.

        They are looked at, because |φ| of a lattice comes back and that of a law with an edge falls like a power.
        """
        grid, total = self.grid, 0.0
        for axis, (length, h) in enumerate(zip(grid.upper - grid.lower, grid.spacing, strict=True)):
            k = np.pi / h * np.geomspace(1.0, _LOOKED, _WAVES)
            phi = _characteristic(self._equation, self._initial, self._step, k[:, None] * np.eye(len(grid.cells))[axis])
            total += np.sqrt(length / np.pi * float(np.trapezoid(np.abs(phi) ** 2, k)))
        return float(total)

    def _table_error(self) -> float:
        """Return what errors of tabulated characteristic functions, one a step, do to the density."""
        sgd = self._equation.sgd
        slowest = float(np.min(np.abs(sgd.learning_rate * sgd.modes_of_map[0]))) if sgd.plain else 0.0
        steps = min(self._step, 1 / slowest) if slowest > 0 else self._step
        worst = max((part.table_error for part in getattr(sgd.law, "laws", ())), default=0.0)
        return _SPREAD * worst * steps


def _characteristic(equation: Equation, initial: State, step: int, waves: Array) -> Complex:
    """Return φ_n(k) = φ_0(Mᵀk) e^{ik·m} Π_s χ_s(k) at the wave vectors ``waves`` (..., d)."""
    with np.errstate(invalid="ignore"):  # a variance may be infinite
        factor, shift, _ = in_theta(equation, step)
    phi: Complex = initial.characteristic(waves @ factor) * np.exp(1j * (waves @ shift))
    return phi * gained(equation, step, waves)


def _grid(problem: Problem) -> Grid:
    """Return a grid whose box comes from quantiles of the marginals and whose spacing from where |φ| has decayed."""
    equation, d = problem.equation, problem.equation.dimension
    lower, upper, spacing = np.full(d, np.inf), np.full(d, -np.inf), np.full(d, np.inf)
    for step in problem.steps.tolist():
        for a in range(d):
            low, high, fine = _extent(equation, problem.initial, step, a)
            lower[a], upper[a], spacing[a] = min(lower[a], low), max(upper[a], high), min(spacing[a], fine)
    cells = np.clip(np.ceil((upper - lower) / spacing), LEAST_CELLS, MOST_LAW[d])
    return Grid(lower, upper, tuple(fft.next_fast_len(int(n), real=True) for n in cells))


def _extent(equation: Equation, initial: State, step: int, axis: int) -> tuple[float, float, float]:
    """Return the ends between which a marginal has all but 1e-10 of its mass, or what is affordable, and a spacing."""
    direction = np.eye(equation.dimension)[axis]

    def along(k: Array) -> Complex:
        return _characteristic(equation, initial, step, k[:, None] * direction)

    half = 1e-12
    while abs(along(np.array([half]))[0]) > 0.5 and half < 1e12:
        half *= 1.5
    if half >= 1e12:
        raise UnresolvedError(
            f"step {step}: the law has no density yet; save later steps or start from a wider dfp.Gaussian."
        )
    fine = half * np.geomspace(1, 60, 600)
    above = np.flatnonzero(np.abs(along(fine)) > _DECAYED)
    spacing = np.pi / (fine[min(above[-1] + 1, fine.size - 1)] if above.size else half)
    # The bulk is somewhere near where the phase of φ says at the scale of the bulk.
    centre = float(np.angle(along(np.array([half / 50])))[0] / (half / 50))
    lower = np.array([centre - _MARGINAL / 2 * spacing])
    phi = along(fourier.wave_numbers(np.array([spacing]), [_MARGINAL])[:, 0])
    density, _ = fourier.invert(phi, lower, np.array([spacing]), [_MARGINAL])
    mass = np.maximum(density, 0.0) * spacing
    places = lower[0] + spacing * (np.arange(_MARGINAL) + 0.5)
    below, above_mass = np.cumsum(mass), np.cumsum(mass[::-1])[::-1]
    affordable = 0.9 * MOST_LAW[equation.dimension] * spacing
    for exponent in np.arange(np.log10(OUTSIDE_LAW), -0.5, 0.25):
        low = places[min(int(np.searchsorted(below, 10**exponent)), _MARGINAL - 1)] - 2 * spacing
        high = places[max(int(np.sum(above_mass > 10**exponent)) - 1, 0)] + 2 * spacing
        if high - low <= affordable:
            break
    return float(low), float(high), float(spacing)
