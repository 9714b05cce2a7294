"""First passage by numbers: kernels between nodes, and chains with absorbing walls."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from dfp_solvers import absorbing, hermite, rare_exits
from dfp_solvers.escape import line
from dfp_solvers.markov_chain import generator
from scipy.sparse.linalg import LinearOperator, eigs, gmres, splu
from scipy.special import ndtri

from dfp.checks import Array
from dfp.errors import UnresolvedError
from dfp.long_time.exit_law import ExitLaw, ExitSteps, deferred
from dfp.long_time.first_passage_line import NarrowKernel
from dfp.methods import markov_chain
from dfp.methods.transfer.kernels import widths
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid
from dfp.problem.state import State

# Nodes per width of the kernel, the most in all, and the most entries of a step's matrix (0.7 gigabytes).
_NODES, _MOST, _ENTRIES = 1.7, 60_000, 6e7
# How much closer nodes lie at walls than in the middle, at most counted on.
_CLOSEST = 0.25
# Leading eigenvalue from which exits in two dimensions are so rare that differences would lose their digits.
_RARE = 1 - 1e-3
# What nodes that resolve a kernel to rounding lose or add of the mass in a step, at most (measured: 7e-9, the coarser).
_KEPT = 2e-8
# Rate of leaving, over the fastest of a generator, below which a solution would lose as many of its digits.
_SLOW = 1e-7
_CELLS = {1: 512, 2: 96, 3: 32}
# Finer cells where drift outruns noise, and the share of the time where it may, with more cells to try and without.
_FINER, _SMEARED, _MOST_SMEARED = {1: (2048, 8192)}, 0.01, 0.5
# Factor by which differences of halved grids fall at least where errors are of order two.
_FALL = 2.5
# Error of a mean, relatively, from which the plane takes cells twice as fine.
_ROUGH = 0.1
# Largest error of a distribution function per skewness (Edgeworth): 1/(6√(2π)), for steps that err alike, twice over.
_EDGEWORTH = 2 / (6 * np.sqrt(2 * np.pi))
# Survival at which a law is long enough if its length is left open, and the longest then.
_ENOUGH, _LONGEST = 1e-3, 10_000


def node_counts(
    equation: Equation, lower: Array, upper: Array, shares: tuple[float, ...] = (1.0, 0.8)
) -> list[tuple[int, ...]]:
    """Return numbers of nodes per axis, of each of the ``shares`` of those that resolve the kernel to rounding.

    Raises
    ------
    UnresolvedError
        If that takes more nodes, or a matrix with more entries, than can be had.
    """
    lattice = np.stack(np.meshgrid(*np.linspace(lower, upper, 25).T, indexing="ij"), axis=-1)
    points = lattice.reshape(-1, len(lower))
    if equation.sgd.affine:
        points = np.concatenate([points, np.clip(equation.sgd.critical_point, lower, upper)[None]])
    reach = 8 * np.sqrt(np.einsum("nii->ni", equation.diffusion(points)))
    moved = points + equation.drift(points)
    # Where a step from a place ends outside for sure, no detail of it is left.
    inside = np.all((moved > lower - reach) & (moved < upper + reach), axis=1)
    narrow = widths(equation, points[inside], np.ones(equation.dimension))
    # Legendre's nodes lie closer towards the walls, by this factor.
    closer = np.sqrt(np.maximum(1 - ((2 * points[inside] - lower - upper) / (upper - lower)) ** 2, _CLOSEST**2))
    with np.errstate(divide="ignore"):
        kernels = np.max((upper - lower) * closer / narrow, axis=0)
    wanted = _NODES * kernels + 16
    # How many of the nodes a step may reach, on average.
    seen = np.minimum(2 * absorbing.REACH / 8 * reach[inside] / (upper - lower), 1.0).prod(axis=1).mean()
    if not (np.prod(wanted) <= _MOST and np.prod(wanted) ** 2 * seen <= _ENTRIES):
        raise NarrowKernel(
            f"{lower} … {upper} is {kernels} kernels wide, which takes {np.prod(wanted):.3g} nodes, too many for a "
            "step's matrix"
        )
    return [tuple(int(n) for n in np.ceil(share * wanted)) for share in shares]


def by_nodes(
    equation: Equation, lower: Array, upper: Array, counts: tuple[int, ...], points: Array, masses: Array
) -> ExitLaw:
    """Return the law under Gaussian kernels between Gauss–Legendre nodes."""
    axes, nodes, weights = absorbing.legendre(lower, upper, counts)
    matrix, moved, spread = step_kernel(equation, axes, nodes)
    first = step_kernel(equation, axes, points)[0] @ masses

    def out() -> Array:
        axis = absorbing.legendre(lower[:1], upper[:1], counts[:1])
        return rare_exits.leaving(moved, spread, lower, upper, axis.axes[0], axis.weights)

    return by_matrix(matrix, weights, first, float(masses.sum()), out if len(lower) == 2 else None)


def by_matrix(matrix: Any, weights: Array, first: Array, gone: float, out: Callable[[], Array] | None) -> ExitLaw:
    """Return the law of a kernel between nodes.

    Parameters
    ----------
    matrix
        Density at each node of a step from each node, shape (n, n); it is overwritten.
    weights, first
        Of the nodes, and densities there after one step, both (n,).
    gone
        Mass inside at step 0.
    out
        Returns the probabilities to leave in a step from each node, (n,), if they are known to their own digits.
    """
    matrix.data *= np.repeat(weights, np.diff(matrix.indptr))
    decay = _leading(lambda p: matrix @ p, first)

    def survival(n: int) -> Array:
        return absorbing.survival(lambda p: matrix @ p, weights, first, n, decay)

    if out is not None and decay > _RARE:
        try:
            mean, leaving = rare_exits.mean_steps(matrix, weights, first, out())
        except ArithmeticError as error:
            raise NarrowKernel(str(error)) from None

        def falling(n: int) -> Array:
            return absorbing.survival(lambda p: matrix @ p, weights, first, n, 1 - leaving, _KEPT)

        return ExitLaw(falling, gone + mean, leaving)
    mean = gone + float(weights @ _resolved(matrix, first))
    return ExitLaw(survival, mean if decay < 1 else np.inf, 1 - decay)


def step_kernel(equation: Equation, axes: list[Array], sources: Array) -> tuple[Any, Array, Array]:
    """Return the kernel from ``sources`` (m, d) to tensor nodes, (n, m), and its means and covariances."""
    moved, spread = sources + equation.drift(sources), equation.diffusion(sources)
    return absorbing.gaussian_kernel(axes, moved, spread), moved, spread


def _resolved(matrix: Any, first: Array) -> Array:
    """Return (I − M)⁻¹ ``first`` by products with M.

    Its spectrum is a few points near one and the rest near zero, which takes Krylov spaces some tens of products.
    """
    resolvent = LinearOperator(matrix.shape, matvec=lambda p: np.ravel(p) - matrix @ np.ravel(p), dtype=float)
    solved, failed = gmres(resolvent, first, rtol=1e-12, restart=120, maxiter=3)
    if failed:
        raise NarrowKernel("the mean of exits this rare does not converge")
    return solved


def _leading(step: Callable[[Array], Array], start: Array) -> float:
    """Return the leading eigenvalue of a restricted step."""
    if not np.any(start):
        return 0.0
    operator = LinearOperator((len(start), len(start)), matvec=lambda p: step(np.ravel(p)), dtype=float)
    value = eigs(operator, k=1, v0=start, which="LM", tol=1e-12, return_eigenvectors=False)[0]
    return float(min(np.abs(value), 1.0))


def _length(last: int | None, leaving: float) -> int:
    if last is not None:
        return last
    wanted = np.log(_ENOUGH) / np.log1p(-leaving) if 0 < leaving < 1 else 1.0 if leaving >= 1 else np.inf
    return int(min(np.ceil(wanted) + 10, _LONGEST))


def skewness(equation: Equation, lower: Array, upper: Array) -> float:
    """Return the largest skewness, along an axis, of the steps of a finite sum from places in the box."""
    d = len(lower)
    points = np.stack(np.meshgrid(*np.linspace(lower, upper, 9).T, indexing="ij"), axis=-1).reshape(-1, d)
    moments = equation.sgd.noise.increment_moments(points, np.eye(d), 3)
    order = hermite.indices(d, 3)
    worst = 0.0
    for axis in np.eye(d, dtype=np.int64):
        second, third = (moments[np.all(order == n * axis, axis=1)][0] for n in (2, 3))
        seen = second > 0
        worst = max(worst, float(np.max(np.abs(third[seen]) / second[seen] ** 1.5, initial=0.0)))
    return worst


def compared(
    laws: list[ExitLaw], last: int | None, inside: float, skewed: float = 0.0, details: float = 0.0
) -> ExitSteps:
    """Return the finer law, with errors from the coarser one, of ``details``, of Gaussian steps for ``skewed`` ones."""
    n, mean, warnings = _length(last, laws[0].leaving), laws[0].mean, list[str]()
    gaussian = _EDGEWORTH * skewed
    # Tails err relatively: by γz(z² − 1)/6 at z deviations, those beyond which as much is left as leaves in a step.
    far = float(-ndtri(np.clip(laws[0].leaving, 1e-300, 0.5)))
    tail = max(_EDGEWORTH, far * (far**2 - 1) / 6)
    if not np.isfinite(mean):
        warnings.append(
            "exits are too rare for a mean in double precision; of plain SGD with Gaussian noise and d <= 2 "
            "dfp.escape(...) has its exponent."
        )
    if skewed:
        warnings.append(
            f"there are too many minibatches to list: their steps, of skewness up to {skewed:.2g} ∝ 1/√batch_size, "
            f"are taken to be Gaussian, which errs by about {gaussian:.1g} in survival; give "
            "trajectories=20_000, splitting=True to sample them as they are."
        )
    with np.errstate(invalid="ignore"):
        mean_error = abs(mean - laws[1].mean) + (skewed * tail + details) * mean if np.isfinite(mean) else np.inf
    if mean < mean_error < np.inf:
        warnings.append("the error of the mean is larger than the mean; give trajectories=20_000, splitting=True.")

    def table() -> tuple[Array, float]:
        fine, rough = (np.append(inside, law.survival(n)) for law in laws)
        fine = np.minimum.accumulate(np.clip(fine, 0.0, 1.0))
        return fine, float(np.max(np.abs(fine - rough))) + gaussian + details

    return deferred(np.arange(n + 1), table, mean, laws[0].leaving, mean_error, tuple(warnings))


def by_chain(
    equation: Equation,
    lower: Array,
    upper: Array,
    cells: tuple[int, ...] | None,
    initial: State,
    inside: float,
    last: int | None,
) -> ExitSteps:
    """Return the law in continuous time, on cells with absorbing walls, extrapolated from three grids."""
    d, eta = equation.dimension, equation.sgd.learning_rate
    counts = tuple(int(np.ceil(n / 4) * 4) for n in (cells or _unsmeared(equation, lower, upper, initial)))
    grids = markov_chain.halved(Grid(lower, upper, tuple(max(n, 16) for n in counts)))
    starts = [inside * part.ravel() for part in markov_chain.start(initial, grids)]
    matrices = [markov_chain.generator(equation, grid, absorbing=True)[0].tocsc() for grid in grids]
    ways = [_slow(matrix, p, grid) for matrix, p, grid in zip(matrices, starts, grids, strict=True)]
    rates = [rate for _, rate in ways]
    n = _length(last, float(-np.expm1(-eta * rates[0])))
    mean, mean_error = _positive([time / eta for time, _ in ways])
    leaving = float(-np.expm1(-eta * _positive(rates)[0]))
    if cells is None and d == 2 and mean_error > _ROUGH * mean:
        return by_chain(equation, lower, upper, tuple(2 * n for n in counts), initial, inside, last)
    warnings = () if mean_error < mean else (
        "the error of the mean is larger than the mean; give dfp.Grid(lower, upper, cells) with more cells, or a "
        "smaller box.",
    )  # fmt: skip

    def table() -> tuple[Array, float]:
        levels = zip(matrices, starts, rates, strict=True)
        survival, error = _extrapolated([absorbing.chain_survival(m, p, eta, n, r) for m, p, r in levels])
        survival = np.minimum.accumulate(np.clip(survival, 0.0, 1.0))
        survival[0] = inside
        return survival, error

    return deferred(np.arange(n + 1), table, mean, leaving, mean_error, warnings)


def _unsmeared(equation: Equation, lower: Array, upper: Array, initial: State) -> tuple[int, ...]:
    """Return cells so short that noise, not the drift that carries mass from cell to cell, decides where it gets.

    Raises
    ------
    UnresolvedError
        If the noise is too small for any affordable number: the law would be that of the cells.
    """
    d = equation.dimension
    for count in _CELLS[d], *_FINER.get(d, ()):
        grid = Grid(lower, upper, (count,) * d)
        matrix, upwinded = markov_chain.generator(equation, grid, absorbing=True)
        visits = -splu(matrix.tocsc()).solve(markov_chain.start(initial, [grid])[0].ravel())
        share = float(visits[upwinded.ravel()].sum() / visits.sum())
        if share <= _SMEARED:
            return grid.cells
    if share <= _MOST_SMEARED:
        return (_CELLS[d],) * d
    raise UnresolvedError(
        f"domain: {share:.0%} of the time inside is spent where the drift passes a cell faster than the noise, also "
        f"with cells={grid.cells}, so that the law would be smeared by the cells; take a smaller box, raise "
        "learning_rate or the gradient noise, or use dfp.MasterEquation(sgd)."
    )


def _slow(matrix: Any, start: Array, grid: Grid) -> tuple[float, float]:
    """Return the mean time of absorption from ``start`` and the smallest rate of decay of an absorbing generator."""
    n = matrix.shape[0]
    # Cells at walls alone lose anything.
    middle = np.zeros([max(count - 2, 0) for count in grid.cells], dtype=bool)
    walls = np.pad(middle, 1, constant_values=True).ravel()
    leaving = np.where(walls, -np.asarray(matrix.sum(axis=0)).ravel(), 0.0)
    if grid.dimension == 1:  # cells hand on to their neighbours alone
        band = np.stack([np.append(0.0, matrix.diagonal(1)), np.zeros(n), np.append(matrix.diagonal(-1), 0.0)], axis=1)
        step = line.LineStep(band, 1, leaving)
        return float(step.visits(start).sum()), step.quasi_stationary[1]
    fastest = generator.fastest(matrix)
    value = eigs(matrix, k=1, sigma=1e-10 * fastest, which="LM", v0=np.ones(n), return_eigenvectors=False)[0]
    rate = float(max(-value.real, 0.0))
    if rate < _SLOW * fastest:
        return rare_exits.mean_time(matrix, start, leaving)
    return float(-splu(matrix).solve(start).sum()), rate


def _positive(levels: list[float]) -> tuple[float, float]:
    """Return a positive value free of errors of order two, those of its logarithm, and the error of it."""
    if not min(levels) > 0:
        value, error = _extrapolated([np.array([level]) for level in levels])
        return float(value[0]), error
    value, error = _extrapolated([np.log([level]) for level in levels])
    return float(np.exp(value[0])), float(np.exp(value[0]) * np.expm1(error))


def _extrapolated(levels: list[Array]) -> tuple[Array, float]:
    """Return values free of errors of order two, from three grids, and the largest error left, estimated."""
    first = levels[0] + (levels[0] - levels[1]) / 3
    second = levels[1] + (levels[1] - levels[2]) / 3
    apart = [float(np.max(np.abs(fine - rough))) for fine, rough in pairwise(levels)]
    # Errors of order two fall by four; those that do not are no smaller than the last difference.
    settled = apart[1] >= _FALL * apart[0]
    return first, max(float(np.max(np.abs(first - second))) / 3, 0.0 if settled else apart[0])
