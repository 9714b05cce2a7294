"""Stationary densities that have no closed form: null vectors of chains, fixed points of maps, limits of series."""

from collections.abc import Callable
from typing import Any

import numpy as np
from dfp_solvers import kesten, lyapunov, richardson
from dfp_solvers.markov_chain import generator, null_vector, uniformisation
from dfp_solvers.transfer import uniform
from scipy.sparse.linalg import ArpackNoConvergence, eigs

from dfp.checks import Array, foretell
from dfp.errors import NoStationaryDensity, UnresolvedError, UnsupportedError
from dfp.exact.averages import factors
from dfp.exact.moments import Moments
from dfp.long_time.recurrence import require_settling, settled_moments
from dfp.methods import markov_chain
from dfp.methods.finite_difference import FiniteDifference
from dfp.methods.finite_volume import FiniteVolume
from dfp.methods.fourier.fourier import Fourier
from dfp.methods.grids import automatic, containing
from dfp.methods.heavy_tails import wall_tails
from dfp.methods.hermite import Hermite
from dfp.methods.solver import Problem, Run, Solver
from dfp.methods.transfer import spectral
from dfp.methods.transfer import uniform as transfer_lattice
from dfp.methods.transfer.error import lattice_error
from dfp.methods.transfer.graded import step_of
from dfp.methods.transfer.transfer import Transfer
from dfp.problem.additive import AdditiveNoise
from dfp.problem.averaged_equation import AveragedEquation
from dfp.problem.averages import ExponentialAverage
from dfp.problem.equation import Equation
from dfp.problem.equations import MasterEquation
from dfp.problem.grid import Grid
from dfp.problem.landscape import QuadraticLandscape
from dfp.problem.sgd import SGD
from dfp.problem.state import Density, Gaussian, Point
from dfp.regimes.mode_report import lyapunov_exponent
from dfp.solving.averaged import closed
from dfp.solving.driver import solve

# Relaxation times of the slowest mode after which a law has settled to rounding.
_LATE = 40.0
# Cells per axis of automatic grids in 3D, and the most multiplications its iteration may take.
_CELLS_3D, _WORK = 40, 4e10
# The same in 2D for steps of the master equation, for finite sums and for Gaussian noise, and the accuracy of their
# leading eigenvector.
_CELLS_2D, _EIGEN = {False: 64, True: 128}, 1e-9


def settling_steps(equation: Equation) -> int:
    """Return the number of steps after which the mean has settled to rounding."""
    values = np.linalg.eigvals(equation.linear_drift)
    if equation.discrete:
        with np.errstate(divide="ignore"):
            slowest = float(np.min(-np.log(np.abs(1 - values))))
    else:
        slowest = float(np.min(values.real)) * equation.sgd.learning_rate
    return int(np.ceil(min(_LATE / max(slowest, 1e-12), 1e9)))


def by_chain(equation: Equation, grid: Grid | None, solver: FiniteVolume) -> Density:
    """Return the null vector of a generator's chain on a grid (T6, T7), extrapolated from three grids."""
    moments = settled_moments(equation)
    require_settling(equation, moments is not None)
    assert moments is not None
    if grid is None:
        if equation.dimension == 3 and solver.cells is None and not markov_chain.separable(equation):
            solver = FiniteVolume(solver.boundary, solver.tolerance, _CELLS_3D)
        last = settling_steps(equation)
        grid = solver.automatic_grid(Problem.late(equation, moments, last))
    levels: list[Array] = []
    upwinded = 0.0
    for g in markov_chain.halved(grid):
        parts, flags = markov_chain.generators(equation, g)
        found = _null(parts, moments, g)
        upwinded = upwinded if levels else float((flags * found).sum())
        levels.append(found / g.cell_volume)
    values, error = richardson.best(levels, upwinded)
    density = values / (float(values.sum()) * grid.cell_volume)
    tails = wall_tails(grid, density, moments.mean)
    error = error * float(np.prod(grid.upper - grid.lower)) + 2 * tails
    return Density(grid, density, error=min(error, 2.0))


def _null(parts: tuple[Any, ...], moments: Gaussian, grid: Grid) -> Array:
    """Return the stationary probabilities of one generator, or of one per axis, shape ``grid.cells``."""
    if len(parts) > 1 or grid.dimension < 3:
        vectors = [null_vector.stationary_vector(part) for part in parts]
        if len(parts) == 1:
            return vectors[0].reshape(grid.cells)
        result: Array = vectors[0]
        for vector in vectors[1:]:
            result = np.multiply.outer(result, vector)
        return result
    matrix = parts[0]
    width = np.sqrt(np.linalg.eigvalsh(moments.covariance)[-1])
    jumps = 25 * (float(width) / float(np.min(grid.spacing))) ** 2 * grid.dimension * 2
    if jumps * matrix.nnz > _WORK:
        raise UnresolvedError(
            f"cells={grid.cells}: the stationary density would take about {jumps:.2g} products with {matrix.nnz} "
            "rates; give dfp.Grid(lower, upper, cells) with fewer cells, or use dfp.solve to a late step."
        )
    start = markov_chain.start(moments, [grid])[0].ravel()
    return uniformisation.uniformise(matrix, start, 1e9 / generator.fastest(matrix)).reshape(grid.cells)


def by_kesten(equation: Equation, grid: Grid | None) -> Density:
    """Return the stationary density of one mode with Gaussian noise that depends on θ (T4), power-law tails and all."""
    a, b, gamma, v = step_of(equation)
    s = gamma**0.5
    exponent = lyapunov_exponent(equation.sgd).value
    curvature = float(equation.sgd.hessian.item())
    if not exponent < 0:
        raise NoStationaryDensity(
            f"the mode of curvature {curvature:.4g} is {'borderline' if exponent == 0 else 'unstable'}: its Lyapunov "
            f"exponent is ℓ = {exponent:.4g} >= 0, so |θ| grows without bound; lower learning_rate."
        )
    if not v > 0 and b != 0:
        raise UnsupportedError(
            f"the mode of curvature {curvature:.4g} has no gradient noise at θ = 0, where its steps do not vanish: it "
            "has a stationary density, but no method here resolves steps that are sharp at one place; use dfp.solve "
            "for a late step, or add gradient noise."
        )
    if not v > 0:
        raise NoStationaryDensity(
            f"the mode of curvature {curvature:.4g} has no gradient noise: the law collapses where the step vanishes; "
            "add gradient noise."
        )
    index = lyapunov.gaussian_tail_index(a, s)
    spread = np.sqrt(v / max(1 - a**2 - s**2, min(2 * abs(exponent), 1.0))) + abs(b) / max(1 - a, abs(exponent))
    reach = float(np.arcsinh(9 * spread * s / np.sqrt(v))) + min(24 / index, 250.0)
    spacing = 0.5 / max(1.0, abs(a))
    reach = min(reach, kesten.farthest(s, spacing))
    law = kesten.Fixed(a, b, s, v, reach, spacing)
    coarse = kesten.Fixed(a, b, s, v, reach, 1.4 * spacing)
    tails = float(sum(abs(law.density[i] * law.theta[i]) for i in (0, -1))) / index
    if not tails < 0.1:
        raise UnresolvedError(
            f"the tails of the mode of curvature {curvature:.4g} fall like x^(-{index:.3g}): {tails:.2g} of the mass "
            f"is beyond any place that can be reached; {'raise' if curvature < 0 else 'lower'} learning_rate or add "
            "weight_decay."
        )
    if grid is None:
        grid = _kesten_grid(law, spread)
    values = np.maximum(law.at(grid.axes[0]), 0.0)
    error = float(np.abs(values - coarse.at(grid.axes[0])).sum()) * grid.cell_volume + 2 * tails
    # Nodes may be negative by rounding.
    below, above = max(law.below(float(grid.lower[0])), 0.0), max(law.above(float(grid.upper[0])), 0.0)
    outside = min(below + above, 1 - 1e-12)
    check_cells(values, outside, grid)
    return Density(grid, values, outside=outside, error=min(error, 2.0), above=min(above, outside))


def check_cells(values: Array, outside: float, grid: Grid, tolerance: float = 1e-6) -> None:
    """Raise where the sum over cells is not what the grid holds: it would pass for mass outside."""
    defect = float(values.sum()) * grid.cell_volume + outside - 1
    if not abs(defect) < tolerance:
        raise UnresolvedError(
            f"grid.cells={grid.cells}: the cells are too long for the density (its sum is off by {defect:.2g}); "
            "give dfp.Grid(lower, upper, cells) with more cells, or a smaller box."
        )


def _kesten_grid(law: kesten.Fixed, spread: float) -> Grid:
    middle = float(law.theta[int(np.argmax(law.density))])
    width = 0.4 * np.sqrt(law.v) / max(1.0, abs(law.a))
    reach = 9.0 * spread
    while law.below(middle - reach) + law.above(middle + reach) > 1e-8 and reach < width * 2**15 / 2:
        reach *= 1.5
    cells = int(np.clip(2 * reach / width, 256, 2**16))
    return Grid(middle - reach, middle + reach, cells)


def by_transfer(equation: Equation, grid: Grid | None, solver: Transfer) -> Density:
    """Return the fixed point of one step of the master equation on a grid, for second moments that are bounded."""
    moments = settled_moments(equation)
    require_settling(equation, moments is not None)
    assert moments is not None or equation.dimension == 1
    if moments is None:
        raise UnsupportedError(
            f"the {equation.label}: the law settles, but its variance is infinite (heavy tails of a finite sum), which "
            "no grid holds; use dfp.solve to a late step, with dfp.MonteCarlo(...), for its distribution function."
        )
    _refuse_singular(equation)
    solver.require(equation, moments, "Use dfp.solve to a late step, with dfp.MonteCarlo(...).")
    last = settling_steps(equation)
    problem = Problem.late(equation, moments, last)
    if equation.dimension == 1:
        return _signed(_walked(solver, problem, grid))  # any number of steps
    factorised = _settled(problem, grid)
    if isinstance(factorised, spectral.SpectralRun):
        return _signed(factorised)
    if grid is None:
        grid = transfer_lattice.automatic_grid(problem)
        most = _CELLS_2D[equation.sgd.noise.gaussian] if equation.dimension == 2 else max(grid.cells)
        grid = Grid(grid.lower, grid.upper, tuple(min(n, most) for n in grid.cells))
    try:
        fine, leak = _fixed_point(equation, moments, grid)
    except UnresolvedError as refused:
        raise factorised or refused from None
    kernels = transfer_lattice.kernels_between_cells(equation, grid)
    if all(isinstance(kernel, uniform.Resolved) for kernel in kernels) and equation.sgd.noise.gaussian:
        # A coarser grid may not resolve all kernels any more, which says nothing of this one.
        error, _ = lattice_error(equation, moments, last, kernels, grid, fine)
    else:
        coarse = Grid(grid.lower, grid.upper, tuple(max(3 * n // 4, uniform.STENCIL) for n in grid.cells))
        rough = _fixed_point(equation, moments, coarse)[0]
        error = float(np.abs(richardson.regridded(fine, coarse.cells) - rough).sum()) * coarse.cell_volume
    return Density.normalised(grid, np.maximum(fine, 0.0), error=min(error + leak, 2.0))


def _settled(problem: Problem, grid: Grid | None) -> spectral.SpectralRun | UnresolvedError | None:
    """Return the spectral fixed point, or why there is none: then cells with kernels of their own may still do."""
    if not (spectral.applies(problem) and spectral.holds_tails(problem)):
        return None
    run = spectral.SpectralRun(problem, grid)
    foretell("stationary(...) in three dimensions", run.settling_seconds(), "dfp.MonteCarlo(...) samples a late step")
    try:
        run.settle()
    except UnresolvedError as refused:
        return refused
    return run


def _walked(solver: Solver, problem: Problem, grid: Grid | None) -> Run:
    """Return a run at the last step of ``problem``."""
    run = solver.start(problem, grid)
    assert isinstance(run, Run)
    run.advance(problem.last)
    return run


def _fixed_point(equation: Equation, moments: Gaussian, grid: Grid) -> tuple[Array, float]:
    """Return the leading eigenvector of one step, as a density, and the error from what leaves the box."""
    start = markov_chain.start(moments, [grid])[0].ravel()
    operator = transfer_lattice.step_operator(equation, grid)
    try:
        value, vector = eigs(operator, k=1, v0=start, which="LM", tol=_EIGEN, ncv=min(12, start.size - 1))
    except ArpackNoConvergence as failure:
        raise UnresolvedError(
            f"grid.cells={grid.cells}: the fixed point of the {equation.label} does not converge ({failure}); give "
            "dfp.Grid(lower, upper, cells) with fewer cells, or use dfp.solve to a late step."
        ) from None
    mass = np.real(vector[:, 0] / vector[:, 0].sum())
    # What leaves the box in a step, times the steps it would take to come back: at most the settling of the mean.
    leak = 2 * abs(1 - float(np.real(value[0]))) * settling_steps(equation) / _LATE
    return (mass / grid.cell_volume).reshape(grid.cells), leak + _EIGEN


def _refuse_singular(equation: Equation) -> None:
    """Raise if a finite sum in one dimension has a singular stationary law: entropy of a step below |ℓ|."""
    entropy = equation.sgd.noise.choice_entropy
    if entropy == np.inf or equation.dimension > 1:
        return
    exponent = lyapunov_exponent(equation.sgd).value
    if entropy < abs(exponent):
        raise NoStationaryDensity(
            f"the stationary law is singular: a minibatch chooses with entropy <= {entropy:.3g}, less than the "
            f"contraction |ℓ| = {abs(exponent):.3g} of a step, so it lives on a fractal and has no density; use "
            "dfp.MonteCarlo(...) for its distribution function at a late step."
        )


def by_fourier(equation: Equation, grid: Grid | None, solver: Fourier) -> Density:
    """Return the limit of the product of characteristic functions: additive noise that is not Gaussian (T4)."""
    moments = settled_moments(equation)
    assert moments is not None
    _refuse_singular(equation)
    start = Gaussian(moments.mean, np.zeros_like(moments.covariance))
    problem = Problem.late(equation, moments, settling_steps(equation), start)
    if np.isinf(equation.sgd.law.minibatch_count()):
        found = _signed(_walked(solver, problem, grid))
    else:  # its atoms have no width of their own, and what is beyond the box of their transforms wraps around
        box = automatic(Moments(np.zeros(1, np.int64), moments.mean[None], moments.covariance[None]), band=15.0)
        chosen = box if grid is None else grid
        around, inside = containing(chosen, box)
        frame = _walked(solver, problem, around).frame()
        assert frame.density is not None
        found = _positive(frame.density[inside], chosen, frame.truncation)
    return found.with_moments(moments.mean, moments.covariance)


def by_late_step(equation: Equation, grid: Grid | None) -> Density:
    """Return the density under noise without a variance (T4): of a stable law the closed form, else of a late step."""
    last, start = settling_steps(equation), Point(equation.sgd.critical_point)
    law = _stable(equation)
    if law is None:
        solution = solve(equation, start, last, [last], Fourier(), grid)
    else:
        # A step of ηλ = 1 from anywhere draws from it.
        landscape = QuadraticLandscape([1.0], -start.theta, AdditiveNoise(law))
        solution = solve(MasterEquation(SGD(landscape, 1.0)), start, 1, [1], Fourier(), grid)
    assert solution.density is not None and solution.grid is not None
    density, where = solution.density[-1], solution.grid
    outside, error = max(float(solution.certificate.mass_outside[-1]), 0.0), float(solution.certificate.error[-1])
    above = None
    if law is not None and law.dist.name == "cauchy":
        place = law.dist(start.theta.item(), law.kwds["scale"])
        density, error = place.pdf(where.axes[0]), 0.0
        above = float(place.sf(where.upper[0]))
        outside = float(place.cdf(where.lower[0])) + above
    negative = -float(np.minimum(density, 0).sum()) * where.cell_volume
    return Density(where, np.maximum(density, 0.0), outside, min(error + 2 * negative, 2.0), above=above)


def _stable(equation: Equation) -> Any:
    """Return the stable law of θ* − θ in the stationary state, or None."""
    if equation.dimension > 1 or not equation.sgd.plain:
        return None
    return equation.sgd.noise.settled(1 - float(equation.linear_drift.item()), equation.sgd.learning_rate)


def of_average(equation: AveragedEquation, settled: Gaussian, grid: Grid | None) -> Density:
    """Return the density of an exponential average under additive noise at a late step."""
    average = equation.average
    assert isinstance(average, ExponentialAverage)
    if not closed(equation):
        raise UnsupportedError(
            "equation: where an average settles is closed for additive noise; use dfp.stationary_moments(...), or "
            "dfp.solve(..., solver=dfp.MonteCarlo(...)) at a late step."
        )
    slowest = max(np.max(np.abs(np.linalg.eigvals(next(factors(average.sgd, 1))))), average.decay)
    last = int(np.ceil(_LATE / -np.log(slowest))) if slowest else 1
    solution = solve(equation, settled, last, [last], grid=grid)
    assert solution.density is not None and solution.grid is not None
    return _positive(solution.density[-1], solution.grid, float(solution.certificate.truncation[-1]))


def by_series(equation: Equation, grid: Grid | None, solver: Hermite) -> Density:
    """Return the stationary Hermite series (T4, T5, T6, T7; d = 1, 2), cut where its terms are smallest."""
    moments = _bounded(equation)
    solver.require(equation, moments, "Use dfp.solve to a late step.")
    return _signed(solver.settled(equation, moments, grid, settling_steps(equation)))


def by_steps(equation: Equation, grid: Grid | None, solver: FiniteDifference) -> Density:
    """Return (T5) at a late step, from the Gaussian with its stationary mean and covariance.

    What is left to settle are moments of order three and more, which decay at three times the rate of the mean.
    """
    moments = _bounded(equation)
    step = -(-settling_steps(equation) // 3)
    return _signed(_walked(solver, Problem.late(equation, moments, step), grid))


def _bounded(equation: Equation) -> Gaussian:
    """Return the Gaussian with the stationary moments of an equation whose operator is not positive."""
    moments = settled_moments(equation)
    if moments is None:
        raise UnsupportedError(
            f"the {equation.label}: its stationary second moments are unbounded, so there is no Gaussian to start "
            "from, and it is not a positive operator that could be iterated; use dfp.MasterEquation(sgd)."
        )
    return moments


def _signed(run: Run) -> Density:
    """Return the density of a run without its negative part, which counts as error."""
    frame, grid = run.frame(), run.grid
    assert frame.density is not None and grid is not None
    return _positive(frame.density, grid, frame.truncation)


def _positive(density: Array, grid: Grid, truncation: float) -> Density:
    values = np.maximum(density, 0.0)
    mass = float(values.sum()) * grid.cell_volume
    error = truncation + 2 * float((values - density).sum()) * grid.cell_volume + max(mass - 1, 0.0)
    # What is beyond the grid, up to the error.
    return Density(grid, values / max(mass, 1.0), outside=max(1 - mass, 0.0), error=min(error, 2.0))


BY_SOLVER: dict[type[Solver], Callable[[Equation, Grid | None, Any], Density]] = {
    FiniteVolume: by_chain,
    Transfer: by_transfer,
    Fourier: by_fourier,
    Hermite: by_series,
    FiniteDifference: by_steps,
}
"""What finds the stationary density with each solver."""
EQUATIONS: dict[type[Solver], tuple[str, ...]] = {Fourier: ("T4",)}
"""Numbers of the equations for which it does, where they are not those that the solver solves."""
