"""Relaxation: the slowest modes in which a density approaches its stationary law, and how many steps they take."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from dfp_solvers import hermite, lyapunov, second_moment
from numpy.typing import NDArray
from scipy.sparse.linalg import eigs

from dfp import checks
from dfp.checks import Array, Complex
from dfp.errors import UnsupportedError
from dfp.exact.cumulants import diffusion_polynomial
from dfp.long_time import nonlinear_law
from dfp.long_time.recurrence import settled_moments
from dfp.long_time.stationary_moments import covariance_motion
from dfp.long_time.stationary_numeric import settling_steps
from dfp.methods import markov_chain
from dfp.methods.hermite import degree_operator
from dfp.methods.solver import Problem
from dfp.methods.transfer import spectral
from dfp.methods.transfer import uniform as transfer_lattice
from dfp.methods.transfer.graded import step_of
from dfp.methods.transfer.transfer import Transfer
from dfp.problem.arguments import check_equation
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid
from dfp.problem.parameters import unnamed
from dfp.problem.state import Gaussian
from dfp.result import Result, remembered
from dfp.results.tables import aligned

# Highest degree of polynomials whose decay is looked at, by dimension, where noise depends on θ.
_DEGREE = {1: 24, 2: 8, 3: 6}


@dataclass(frozen=True, repr=False)
class Spectrum(Result):
    """Eigenvalues of one step, slowest first, without the stationary 1.

    Attributes
    ----------
    eigenvalues
        μ of one step, complex, shape (k,): deviations from the stationary law shrink like ``|μ|ⁿ``.
    relaxation_steps
        ``−1 / log|μ|``, shape (k,) [step]; infinite where ``|μ|`` is 1, negative where a moment grows.
    degrees
        Degree of the polynomial (the order of the moments) that decays with μ, shape (k,); 0 if found on a grid.
    continuous_edge
        Decay per step at which a continuous part of the spectrum begins, where power-law tails have one and it is
        known (d = 1); NaN elsewhere.
    error
        Estimated error of the eigenvalues, shape (k,); 0 where they are exact.
    grid
        Where the modes are given, if they are.
    modes
        Eigenfunctions as densities, largest value 1, shape ``(k, *cells)``; complex ones come in pairs.
    warnings
        What to know before the numbers are used.
    parameters
        What is on the axes of the grid, if there is one.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.2)
    >>> found = dfp.spectrum(dfp.MasterEquation(sgd), count=3)
    >>> print(found.eigenvalues.real.round(4), found.relaxation_steps.round(2))
    [0.8   0.64  0.512] [4.48 2.24 1.49]
    """

    eigenvalues: NDArray[np.complex128]
    relaxation_steps: Array
    degrees: NDArray[np.int64]
    continuous_edge: float
    error: Array
    grid: Grid | None
    modes: NDArray[np.complex128] | None
    warnings: tuple[str, ...]
    parameters: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Return how many modes, and the slowest."""
        slowest = f", the slowest of {self.relaxation_steps[0]:.6g} steps" if len(self.eigenvalues) else ""
        return f"<Spectrum: {len(self.eigenvalues)} modes{slowest}>"

    def __str__(self) -> str:
        """Return a table, one mode a line, and the warnings."""
        rows = [("  eigenvalue of a step", "relaxation steps", "degree")]
        for value, steps, degree in zip(self.eigenvalues, self.relaxation_steps, self.degrees, strict=True):
            shown = f"{value.real:.8g}" + (f" {value.imag:+.4g}i" if abs(value.imag) > 1e-12 else "")
            rows.append((f"  {shown}", f"{steps:.6g}", str(degree or "")))
        lines = aligned(rows, right=(1, 2))
        if np.isfinite(self.continuous_edge):
            lines.append(f"  continuous below {self.continuous_edge:.6g}")
        return "\n".join(lines + [f"  ! {warning}" for warning in self.warnings])


@remembered
def spectrum(equation: Equation, count: int = 6, grid: Grid | None = None) -> Spectrum:
    """Return the slowest relaxation modes of an equation.

    Parameters
    ----------
    equation
        Any equation: for additive noise any d, else d <= 3.
    count
        Number of modes, 1 … 50; fewer are returned where fewer are known.
    grid
        Compute the modes on this grid (d <= 2, not (T5)), with eigenfunctions, rather than exactly by moments; those of
        (T4) in two dimensions, on affine landscapes, are found in a box of its own (T22) and shown there. For nonlinear
        landscapes one that holds the stationary law is found if left out.

    Raises
    ------
    UnsupportedError
        If the dimension is too large, or (T5) is asked for on a grid.

    Notes
    -----
    Without a grid eigenvalues are exact: a step maps polynomials of degree n to polynomials of degree n, so moments of
    order n decay with eigenvalues of their own. For additive noise these are products of the multipliers of the mean,
    but for (T5), whose modes in 1D are 1 − nηλ + ½n(n−1)η²λ² (theory page, section 2). They belong to the density
    while moments of twice the order exist; beyond, power-law tails make the spectrum continuous, and only the others
    are returned.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.2)
    >>> for equation in (dfp.MasterEquation(sgd), dfp.DiscreteFokkerPlanck(sgd)):
    ...     print(dfp.spectrum(equation, count=3).eigenvalues.real.round(4))
    [0.8   0.64  0.512]
    [0.8  0.64 0.52]
    """
    check_equation(equation, grid)
    count = checks.integer("count", count, at_least=1, at_most=50)
    if equation.dimension > 2 and not equation.sgd.affine:
        raise UnsupportedError(
            f"d = {equation.dimension}: nonlinear landscapes need d <= 2; use dfp.modes(sgd, at=θ) near a minimum."
        )
    if grid is None and not equation.sgd.affine:
        grid = nonlinear_law.automatic_grid(equation)
        grid = grid.with_cells((512,) if grid.dimension == 1 else (80, 80))
    if grid is not None:
        return _on_grid(equation, count, grid)
    if equation.additive and not equation.truncated:
        logarithms, degrees = _products(equation, count)
        return _sorted(logarithms, degrees, count, np.nan, [])
    if equation.dimension > 3:
        raise UnsupportedError(f"d = {equation.dimension}: modes of this noise need d <= 3; use dfp.modes(sgd).")
    return _polynomial(equation, count)


def _products(equation: Equation, count: int) -> tuple[NDArray[np.complex128], NDArray[np.int64]]:
    """Return log Π μ_i^{n_i} of the multipliers of the mean and n = Σ n_i, by far enough for the ``count`` largest.

    Logarithms, for a multiplier next to one has lost the digits that tell its relaxation.
    """
    products, degrees = np.zeros(1, dtype=np.complex128), np.zeros(1, dtype=np.int64)
    for logarithm in _logarithms(equation, -_decays(equation)):
        powers = np.arange(count + 1)
        with np.errstate(invalid="ignore"):
            more = np.where(powers > 0, powers * logarithm, 0.0)
        products = (products[:, None] + more).ravel()
        degrees = (degrees[:, None] + powers).ravel()
        # Each axis keeps its best, so that no d is too large; the unit is one of them.
        kept = np.lexsort((degrees, -products.real))[: count + 1]
        products, degrees = products[kept], degrees[kept]
    moving = degrees > 0
    return products[moving], degrees[moving]


def _decays(equation: Equation) -> Array:
    values = equation.sgd.modes_of_map[0]
    return equation.mode_rates(values) * values


def _logarithms(equation: Equation, increments: NDArray[np.inexact[Any]]) -> NDArray[np.complex128]:
    """Return log μ of a step from what is gained in it (maps, μ − 1) or in a unit of τ (generators)."""
    given = np.asarray(increments, dtype=np.complex128)
    if not equation.discrete:
        return equation.sgd.learning_rate * given
    # NumPy's complex log1p is log(1 + z), and loses what this is about.
    with np.errstate(divide="ignore"):
        size = np.log1p(given.real * (2 + given.real) + given.imag**2) / 2
    return size + 1j * np.arctan2(given.imag, 1 + given.real)


def _polynomial(equation: Equation, count: int) -> Spectrum:
    """Return the eigenvalues of moments of every degree, while moments of twice the degree stay bounded."""
    d, highest = equation.dimension, _DEGREE[equation.dimension]
    rate = degree_operator(equation, settled_moments(equation) or _frame(equation), highest)
    total = hermite.indices(d, highest).sum(axis=1)
    # The first two degrees are known as increments, without a difference from one.
    blocks = [-_decays(equation), second_moment.eigenvalues(covariance_motion(equation), d)]
    one = 1.0 if equation.discrete else 0.0
    blocks += [np.linalg.eigvals(rate[np.ix_(total == n, total == n)]) - one for n in range(3, highest + 1)]
    rounding = [0.0, 0.0, *[4 * np.finfo(float).eps * n * one for n in range(3, highest + 1)]]
    logarithms = [_logarithms(equation, block) for block in blocks]
    growing = [
        n
        for n, (block, error) in enumerate(zip(logarithms, rounding, strict=True), start=1)
        if np.max(block.real) >= (error or -1e-13 * np.max(np.abs(block)))
    ]
    last = (growing[0] - 1) // 2 if growing else highest // 2
    edge, notes = _edge(equation), []
    if growing:
        notes.append(
            f"moments of order {growing[0]} do not settle, so the density has power-law tails or no stationary law: "
            f"only modes of degree <= {max(last, 1)} are discrete, and the spectrum has a continuous part."
        )
    kept = logarithms[: max(last, 1)]
    values = np.concatenate(kept)
    degrees = np.concatenate([np.full(len(block), n + 1) for n, block in enumerate(kept)])
    errors = np.concatenate([np.full(len(block), error) for block, error in zip(kept, rounding, strict=False)])
    if np.isfinite(edge):
        keep = np.exp(values.real) > edge
        if not np.all(keep):
            notes.append(f"the spectrum is continuous below {edge:.6g} a step: modes beyond it are left out.")
        values, degrees, errors = values[keep], degrees[keep], errors[keep]
    return _sorted(values, degrees, count, edge, notes, errors)


def _frame(equation: Equation) -> Gaussian:
    """Return a Gaussian as wide as the law, by its noises or curvatures, where no covariance is settled."""
    noise, hessian = equation.sgd.noise, equation.sgd.hessian
    constant, units = np.diag(noise.constant), np.eye(equation.dimension)
    curvature_noise = np.array([noise.quadratic(np.outer(unit, unit))[i, i] for i, unit in enumerate(units)])
    steepness = np.where(curvature_noise > 0, curvature_noise, np.diag(hessian) ** 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        widths = np.where((constant > 0) & (steepness > 0), constant / steepness, 1.0)
    return Gaussian(equation.sgd.critical_point, np.diag(widths))


def _edge(equation: Equation) -> float:
    """Return where the continuous spectrum of one mode with power-law tails begins: the least E|A|^p over p."""
    if equation.dimension > 1 or equation.truncated or not equation.sgd.noise.gaussian:
        return np.nan
    if equation.discrete:
        step = step_of(equation)
        a, s = step.slope, step.slope_variance**0.5
        return lyapunov.continuous_edge(a, s) if s > 0 and lyapunov.gaussian_exponent(a, s) < 0 else np.nan
    drift = float(equation.linear_drift.item())
    spread = float(diffusion_polynomial(equation)[0, 0, 1, 1])
    if not (spread > 0 and 2 * drift + spread > 0):
        return np.nan
    # E|θ|^p decays at pK − ½p(p−1)q₂, fastest at p = ½ + K/q₂: half the tail index.
    power = 0.5 + drift / spread
    return float(np.exp(-equation.sgd.learning_rate * (power * drift - power * (power - 1) * spread / 2)))


def _sorted(
    logarithms: NDArray[np.complex128],
    degrees: NDArray[np.int64],
    count: int,
    edge: float,
    notes: list[str],
    error: Array | None = None,
) -> Spectrum:
    order = np.lexsort((degrees, -logarithms.real))[:count]
    size = logarithms.real[order]
    if np.any(size >= 0):
        notes = [*notes, "some moments do not decay: there is no stationary law with these moments to relax to."]
    with np.errstate(divide="ignore"):
        steps = np.where(size == 0, np.inf, -1 / size)
    errors = np.zeros(len(order)) if error is None else error[order]
    with np.errstate(invalid="ignore"):
        values = np.where(np.isneginf(size), 0.0, np.exp(logarithms[order]))
    values = np.where(np.abs(values.imag) <= 1e-15 * np.abs(values), values.real, values)  # of negative ones: sin π
    return Spectrum(values, steps, degrees[order], edge, errors, None, None, tuple(notes))


def _on_grid(equation: Equation, count: int, grid: Grid) -> Spectrum:
    if equation.dimension > 2:
        raise UnsupportedError(
            f"grid: modes on a grid need d = 1 or 2, and d = {equation.dimension}; leave grid out for exact modes."
        )
    if not equation.process:
        raise UnsupportedError(
            f"grid: the {equation.label} is not a positive operator and is unstable on fine grids; "
            + ("leave grid out for its exact modes." if equation.sgd.affine else "use dfp.MasterEquation(sgd).")
        )
    values, modes, error = _spectral_modes(equation, count, grid) or _cell_modes(equation, count, grid)
    edge = _edge(equation) if equation.sgd.affine else np.nan
    notes = []
    if np.isfinite(edge) and np.any(np.abs(values) <= edge):
        notes.append(f"the spectrum is continuous below {edge:.6g} a step: modes there are the grid's, not the law's.")
    with np.errstate(divide="ignore"):
        logarithms = np.log(values.astype(np.complex128))
    found = _sorted(logarithms, np.zeros(len(values), dtype=np.int64), count, edge, notes, error)
    order = np.lexsort((np.zeros(len(values)), -logarithms.real))[:count]
    shaped = modes[order]
    largest = np.abs(shaped).reshape(len(shaped), -1).max(axis=1)
    shaped = shaped / largest.reshape(-1, *(1,) * grid.dimension)
    names = equation.parameters or unnamed(grid.dimension)
    return replace(found, grid=grid, modes=shaped.astype(np.complex128), parameters=names)


_Modes = tuple[Array | Complex, Array | Complex, Array]


def _spectral_modes(equation: Equation, count: int, grid: Grid) -> _Modes | None:
    """Return eigenvalues, modes (k, *cells) and errors by spectral transfer (T22) in boxes of its own, where it serves.

    What the user's grid cuts off or does not resolve is none of their errors: it is only where modes are given.
    """
    if not (equation.discrete and equation.dimension == 2 and equation.sgd.affine):
        return None
    moments = settled_moments(equation)
    if moments is None or Transfer().refusal(equation, moments):
        return None
    problem = Problem.late(equation, moments, settling_steps(equation))
    return spectral.SpectralRun(problem, grid).modes(count) if spectral.applies(problem) else None


def _cell_modes(equation: Equation, count: int, grid: Grid) -> _Modes:
    """Return eigenvalues, modes (k, *cells) and errors, from cells with kernels or rates of their own."""
    solve = _step_modes if equation.discrete else _chain_modes
    values, modes = solve(equation, count, grid)
    half = Grid(grid.lower, grid.upper, tuple(n // 2 for n in grid.cells))
    middle, cells = (grid.lower + grid.upper) / 2, tuple(7 * n // 8 for n in half.cells)
    reach = np.array(cells) * half.spacing / 2
    inner = Grid(middle - reach, middle + reach, cells)
    rough, narrow = solve(equation, count, half)[0], solve(equation, count, inner)[0]
    matched = rough[np.argmin(np.abs(rough - values[:, None]), axis=1)]
    error = np.abs(values - matched)
    if not equation.discrete:
        # Eigenvalues of the chain are of second order.
        values, error = values + (values - matched) / 3, 2 * error / 3
    # What is outside of the box may fall with its width alone: seven eighths of it show a seventh of that, or more.
    error = error + 7 * np.min(np.abs(narrow - matched[:, None]), axis=1)
    return values, modes.T.reshape(-1, *grid.cells), error


def _chain_modes(equation: Equation, count: int, grid: Grid) -> tuple[Array, Array]:
    """Return eigenvalues of a step and modes of the finite-volume chain, nearest to zero rate, by shift and invert."""
    matrix = markov_chain.generator(equation, grid)[0].tocsc()
    # Just right of zero, where the stationary law would make the shifted matrix singular.
    shift = 1e-8 * float(-matrix.diagonal().min())
    rates, vectors = eigs(matrix, k=count + 1, sigma=shift, which="LM", v0=np.ones(matrix.shape[0]))
    values = np.exp(equation.sgd.learning_rate * rates)
    keep = np.argsort(-np.abs(values))[1:]
    return values[keep], vectors[:, keep]


def _step_modes(equation: Equation, count: int, grid: Grid) -> tuple[Array, Array]:
    """Return eigenvalues and modes of the transfer operator of the master equation."""
    middle = Gaussian((grid.lower + grid.upper) / 2, np.diag(((grid.upper - grid.lower) / 8) ** 2))
    Transfer().require(equation, middle, "Leave grid out." if equation.sgd.affine else "Use dfp.modes(sgd, at=θ).")
    start, ncv = middle.on(grid).ravel(), min(4 * count + 20, int(np.prod(grid.cells)))
    operator = transfer_lattice.step_operator(equation, grid)
    values, vectors = eigs(operator, k=count + 1, v0=start, which="LM", tol=1e-10, ncv=ncv)
    keep = np.argsort(-np.abs(values))[1:]
    return values[keep], vectors[:, keep]
