"""How far a density on a lattice is from the truth: ripple, blur, aliasing, and skewness that was left out, in L1."""

import numpy as np
from dfp_solvers import matrices
from dfp_solvers.transfer import uniform
from scipy import fft

from dfp.checks import Array
from dfp.methods.gridded_start import detail
from dfp.methods.grids import conditional_deviations
from dfp.methods.moment_recursion import HigherMoments
from dfp.methods.transfer.kernels import ON_GRID, Kernels, enumerated, factor_of, widths
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid
from dfp.problem.state import State

# Rounding errors of a step, in L1: sums of some thousand kernels.
_ROUNDING = 3e-14
# Estimates of first order were 0.3 to 2.3 times the true error on random problems: this makes them bounds in practice.
_SAFETY = 8.0
_SKEWNESS_LIMIT = 1e-3


def lattice_error(
    equation: Equation, initial: State, step: int, kernels: Kernels, grid: Grid, density: Array
) -> tuple[float, tuple[str, ...]]:
    """Return the estimated L1 error of ``density`` at ``step``, without what has left the box, and warnings."""
    if step == 0:
        return 0.0, ()
    factors = factor_of(equation, grid.spacing, _fullest_cells(grid, density)[0])
    factor = _strongest(factors)
    error = _resampling(initial, grid)
    for kernel in kernels:
        if isinstance(kernel, uniform.Resolved):
            error += _remembered_steps(factor, step, 2) * _aliasing(equation, initial, grid, density)
        else:
            matrix = (
                kernel.matrix[:, -grid.dimension :, -grid.dimension :] if isinstance(kernel, uniform.Maps) else factors
            )
            error += uniform.ripple(np.linalg.svd(matrix, compute_uv=False))
            error += _remembered_steps(factor, step, 6) * uniform.blur(density) * grid.cell_volume
    noise = equation.sgd.noise if equation.sgd.affine else None
    if noise is None or noise.gaussian or enumerated(equation):
        return _SAFETY * error + _ROUNDING * step**0.5, ()
    skewness = 2 * _left_out(equation, initial, step, grid, density)
    note = (
        f"step {step}: the steps, of minibatches of {noise.batch_size} that are too many to enumerate, are taken to be "
        f"Gaussian; skewness and kurtosis, left out, change the density by about {skewness:.2g} in L1: "
        "use dfp.MonteCarlo(...) if that is too much."
    )
    return _SAFETY * error + _ROUNDING * step**0.5 + skewness, (note,) if skewness > _SKEWNESS_LIMIT else ()


def _fullest_cells(grid: Grid, density: Array) -> tuple[Array, Array]:
    """Return the points (N, d) of the cells with most of the mass, and their masses (N,)."""
    mass = np.abs(density.ravel()) * grid.cell_volume
    chosen = np.argsort(mass)[-4096:]
    return grid.points.reshape(-1, grid.dimension)[chosen], mass[chosen]


def _strongest(factors: Array) -> Array:
    """Return the factor, (d, d), that remembers errors longest, of one or many (..., d, d)."""
    flat = factors.reshape(-1, *factors.shape[-2:])
    return flat[int(np.argmax(np.linalg.norm(flat, ord=2, axis=(1, 2))))]


def _resampling(initial: State, grid: Grid) -> float:
    """Return how much of a gridded initial state is outside the box of ``grid`` or beyond its largest wave number."""
    given = initial.gridded
    if given is None or given.grid.matches(grid):
        return 0.0
    own = given.grid
    size = np.abs(fft.rfftn(given.values)) * own.cell_volume
    beyond = 0.0
    for axis, (n, h) in enumerate(zip(own.cells, own.spacing, strict=True)):
        waves = fft.rfftfreq(n, h) if axis == own.dimension - 1 else np.abs(fft.fftfreq(n, h))
        kept = np.take(size, np.flatnonzero(waves >= min(0.5 / grid.spacing[axis], 0.5 / h) * (1 - 1e-9)), axis=axis)
        beyond = max(beyond, float(np.max(kept, initial=0.0)))
    inside = [(x >= a) & (x <= b) for x, a, b in zip(own.axes, grid.lower, grid.upper, strict=True)]
    outside = 1.0 - float(given.values[np.ix_(*inside)].sum()) / float(given.values.sum())
    # What is outside wraps around.
    return 2.0**own.dimension * beyond + 2 * max(outside, 0.0)


def _remembered_steps(factor: Array, step: int, order: int) -> float:
    """Return for how many steps an error in the moments of ``order`` is remembered, at most ``step``."""
    kept = min(float(np.linalg.svd(factor, compute_uv=False)[0]), 1.0) ** order
    return step if kept == 1.0 else min((1 - kept**step) / (1 - kept), float(step))


def _aliasing(equation: Equation, initial: State, grid: Grid, density: Array) -> float:
    """Return the relative error of the trapezoidal rule for one step, averaged over the density.

    For a Gaussian density of v cells per deviation under a kernel of w it is 2 exp(−2π² v²w²/(v² + w²)); v is that of
    the finest part of the density, at first or now.
    """
    points, mass = _fullest_cells(grid, density)
    kernel = widths(equation, points, grid.spacing)
    whole = detail(density)
    if initial.gridded is not None:
        whole = np.minimum(whole, detail(initial.gridded.values) * initial.gridded.grid.spacing / grid.spacing)
    elif np.all(np.diag(initial.covariance) > 0):
        first = conditional_deviations(initial.covariance[None])[0] / grid.spacing
        # Narrower ones are put on the grid by the kernel of their first step.
        whole = np.minimum(whole, first) if np.all(first >= ON_GRID) else whole
    seen = kernel**2 * whole**2 / (kernel**2 + whole**2)
    return float(2 * np.sum(mass[:, None] * np.exp(-2 * np.pi**2 * seen)))


def _left_out(equation: Equation, initial: State, step: int, grid: Grid, density: Array) -> float:
    """Return the L1 norm of what the exact third and fourth moments add to the density, to first order in both.

    The Edgeworth terms κ₃:He₃/6 and κ₄:He₄/24 have root mean squares |κ₃|/√6 and |κ₄|/√24 under the Gaussian.
    """
    moments = HigherMoments(equation, initial)
    moments.advance(step)
    exact = moments.frame()
    assert exact.third is not None and exact.fourth is not None
    d, probability = grid.dimension, (density * grid.cell_volume).ravel()
    inverse = matrices.whitening(exact.covariance)
    z = (grid.points.reshape(-1, d) - exact.mean) @ inverse.T
    pairs = (z[:, :, None] * z[:, None, :]).reshape(-1, d * d)
    third = ((pairs * probability[:, None]).T @ z).reshape(d, d, d)
    fourth = ((pairs * probability[:, None]).T @ pairs).reshape((d,) * 4)
    third -= np.einsum("ia,jb,kc,abc->ijk", inverse, inverse, inverse, exact.third)
    fourth -= np.einsum("ia,jb,kc,ld,abcd->ijkl", inverse, inverse, inverse, inverse, exact.fourth, optimize=True)
    return float(np.linalg.norm(third) / 6**0.5 + np.linalg.norm(fourth) / 24**0.5)
