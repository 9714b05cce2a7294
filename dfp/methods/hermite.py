"""Hermite: series around the exact moving Gaussian, for every equation in one and two dimensions."""

import itertools
from dataclasses import dataclass, replace
from math import factorial
from typing import Any

import numpy as np
from dfp_solvers import hermite, hermite_steps, hermite_sums
from scipy import sparse

from dfp import checks
from dfp.checks import Array
from dfp.errors import SeriesError, UnresolvedError
from dfp.exact.cumulants import diffusion_polynomial, second_order_polynomial
from dfp.exact.moments import moments_at
from dfp.methods.grids import SERIES, SERIES_BAND, automatic
from dfp.methods.patience import MULTIPLICATION
from dfp.methods.short_waves import deviations_seen, hidden, left_of
from dfp.methods.solver import Problem, Run, Solver
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid
from dfp.problem.state import Gaussian, State
from dfp.results.frame import Frame
from dfp.results.solution import Solution

# A coefficient this large is beyond any useful cut; dropping its shell keeps later arithmetic finite.
_LOST = 1e12
_HIGHEST = 40
# Steps are taken together while the moving Gaussian changes by less than this, in its own standard deviations.
_DRIFT = 0.2


@dataclass(frozen=True)
class _Series:
    """Coefficients (M,) up to ``degree`` in the frame of a Gaussian, the moments at ``step``."""

    equation: Equation
    step: int
    mean: Array
    covariance: Array
    coefficients: Array
    degree: int


@dataclass(frozen=True)
class Hermite(Solver):
    """Hermite series around the moving Gaussian with the exact mean and covariance.

    Parameters
    ----------
    degree
        Highest total degree carried, 4 … 40. The density is cut where its coefficients are smallest.
    tolerance
        Largest accepted L1 truncation error of the density, in (0, 1).

    Raises
    ------
    SeriesError
        While solving, where the series does not converge: it is asymptotic for (T5), with power-law tails, and for
        noise that depends on θ.

    Notes
    -----
    Moments up to ``degree`` are exact, wherever the density is cut, because a step is lower triangular.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.02)
    >>> start = dfp.Gaussian(1.0, 0.1)
    >>> solution = dfp.solve(dfp.DiscreteFokkerPlanck(sgd), start, 20, solver=dfp.Hermite(degree=12))
    >>> print(bool(solution.certificate.truncation.max() < 0.02))
    True
    """

    degree: int = 16
    tolerance: float = 2e-2

    name = "Hermite"
    equations = ("T4", "T5", "T6", "T7")
    order = "exact moments; asymptotic series for the density"
    reference = "theory page, section 5 (Hermite functions around the moving Gaussian)"
    starts = "`Gaussian` or `Density`"
    cost = "steps, degree"
    dimensions = 2

    def __post_init__(self) -> None:
        checks.integer("degree", self.degree, at_least=4, at_most=_HIGHEST)
        checks.real("tolerance", self.tolerance, above=0, below=1)

    def obstacle(self, equation: Equation, initial: State) -> str | None:
        """Return why there is no moving Gaussian to expand about, or None."""
        if initial.point:
            return "a point has no covariance to expand about; start from a narrow dfp.Gaussian"
        if np.linalg.eigvalsh(initial.covariance)[0] <= 0:
            return "the initial covariance is singular; start from a wider dfp.Gaussian"
        if equation.discrete and not (equation.truncated or equation.sgd.noise.every_moment):
            return "it needs every moment of the noise; for additive noise of such a law dfp.Fourier() is exact"
        return None

    def start(self, problem: Problem, grid: Grid | None = None) -> "HermiteRun":
        """Return the series of the initial state, on a grid wide and fine enough for polynomials times a Gaussian."""
        grid = automatic(problem.moments, width=SERIES, band=SERIES_BAND) if grid is None else grid
        return HermiteRun(self, problem.equation, problem.initial, grid)

    def refined(self, solution: Solution, tolerance: float) -> tuple[Solver, Grid | None] | None:
        """Return the solver with a higher degree, or None beyond the highest."""
        if self.degree >= _HIGHEST:
            return None
        return replace(self, degree=min(self.degree + 8, _HIGHEST)), solution.grid

    def settled(self, equation: Equation, moments: Gaussian, grid: Grid | None, step: int) -> "HermiteRun":
        """Return a run at the stationary series in the frame of the stationary ``moments``, at a late ``step``.

        The coefficients solve c = M c with the lower triangular operator M of a step, or 0 = L c with that of a rate.
        """
        rate = degree_operator(equation, moments, self.degree)
        if equation.discrete:
            rate = rate - np.eye(len(rate))
        coefficients, degree = hermite.fixed_point(rate, equation.dimension)
        run = self.start(Problem.late(equation, moments, step), grid)
        run.series = _Series(equation, step, moments.mean, moments.covariance, coefficients, degree)
        return run


class HermiteRun(Run):
    """A series in the frame of the exact moments, which moves along with them."""

    kept = ("series.step", "series.mean", "series.covariance", "series.coefficients", "series.degree")

    def __init__(self, solver: Hermite, equation: Equation, initial: State, grid: Grid | None = None) -> None:
        self.series, self.grid, self._solver = _expanded(equation, initial, solver.degree), grid, solver
        self._initial, self._first = initial, self.series

    def advance(self, steps: int) -> None:
        """Go on, in as few jumps as the moving frame allows."""
        left = steps
        while left:
            jump, mean, covariance = _jump(self.series, left)
            self.series = _moved(self.series, jump, mean, covariance)
            left -= jump
            if self.patience is not None:
                self.patience.spend(_multiplications(self.series, jump), MULTIPLICATION)
                self.patience.look(steps - left, steps)
            self.passing(left)

    def frame(self) -> Frame:
        """Return moments up to order four and, on a grid, the density cut where its terms are smallest."""
        at, grid = self.series, self.grid
        third, fourth = _higher_moments(at)
        if grid is None:
            return Frame(at.mean, at.covariance, third=third, fourth=fourth)
        sizes = hermite.shells(at.coefficients, at.equation.dimension, at.degree)
        cut, error = hermite.best_cut(sizes)
        error += float(np.sum(sizes[1:3]))  # none in the frame of the exact moments but by rounding, as in long jumps
        if error <= self._solver.tolerance:
            error += self._unseen(cut)
        if not error <= self._solver.tolerance:
            raise SeriesError(self._diverging(cut, error))
        kept = at.coefficients[: len(hermite.indices(at.equation.dimension, cut))]
        density = hermite.series(kept, at.mean, np.linalg.cholesky(at.covariance), grid.points, cut)
        outside = 1.0 - float(density.sum()) * grid.cell_volume
        return Frame(at.mean, at.covariance, density, third, fourth, truncation=error, outside=outside)

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from a series; the first one stays."""
        self.series = replace(self.series, **{path.removeprefix("series."): value for path, value in state.items()})

    def _unseen(self, cut: int) -> float:
        """Return the L1 error of what no coefficient up to ``cut`` can show, from what is known of the density."""
        at, first, given = self.series, self._first, self._initial.gridded
        unseen = hidden(at.equation, self._initial, at.step, at.covariance, deviations_seen(cut), gaussian=True)
        if given is not None:
            kept = first.coefficients[: len(hermite.indices(at.equation.dimension, cut))]
            shown = hermite.series(kept, first.mean, np.linalg.cholesky(first.covariance), given.grid.points, cut)
            unseen += left_of(given.values / given.mass - shown, given.grid, at.equation, given, at.step)
        return unseen

    def _diverging(self, cut: int, error: float) -> str:
        at, wanted = self.series, self._solver.degree
        sampled = " or dfp.MonteCarlo(...)" if at.equation.process else ""
        advice = (
            f"raise degree (now {wanted})"
            if cut >= at.degree - 2 and at.degree == wanted
            else f"lower learning_rate or use dfp.moments(...){sampled}"
        )
        return (
            f"step {at.step}: the Hermite series of the {at.equation.label} does not converge: its smallest terms, "
            f"near degree {cut + 1}, or waves that it cannot show leave an L1 error of {error:.2g} > tolerance="
            f"{self._solver.tolerance:g} (the density has power-law tails or is far from Gaussian); {advice}."
        )


def _expanded(equation: Equation, initial: State, degree: int) -> _Series:
    """Return the series of the initial state: its moments in its own frame."""
    coefficients = np.zeros(len(hermite.indices(equation.dimension, degree)))
    coefficients[0] = 1.0
    given = initial.gridded
    if given is not None:
        factor = np.linalg.cholesky(given.covariance)
        z = np.linalg.solve(factor, (given.grid.points.reshape(-1, equation.dimension) - given.mean).T).T
        weights = given.values.ravel() * (given.grid.cell_volume / given.mass)
        coefficients = hermite.basis(z, degree) @ weights
    return _Series(equation, 0, initial.mean, initial.covariance, coefficients, degree)


def degree_operator(equation: Equation, frame: Gaussian, degree: int) -> Array:
    """Return the operator of a step (maps) or rate in τ (generators) on coefficients in a fixed ``frame``.

    Its diagonal block of each degree is the motion of the moments of that order among themselves.
    """
    series = _Series(equation, 0, frame.mean, frame.covariance, np.zeros(0), degree)
    matrix = _operator(series, np.linalg.cholesky(frame.covariance))
    return matrix if isinstance(matrix, np.ndarray) else np.asarray(matrix.toarray())


def _jump(series: _Series, steps: int) -> tuple[int, Array, Array]:
    """Return the largest power of two of steps over which the frame hardly moves, and the moments there."""
    candidates = [2**i for i in range(int(steps).bit_length()) if 2**i <= steps]
    ahead = moments_at(series.equation, Gaussian(series.mean, series.covariance), np.array(candidates))
    factor = np.linalg.cholesky(series.covariance)
    best = 0
    for i in range(1, len(candidates)):
        shift = np.linalg.solve(factor, ahead.mean[i] - series.mean)
        ratio = np.linalg.solve(factor, np.linalg.solve(factor, ahead.covariance[i]).T)
        if not (np.max(np.abs(shift)) < _DRIFT and np.max(np.abs(ratio - np.eye(len(shift)))) < _DRIFT):
            break
        best = i
    return candidates[best], ahead.mean[best], ahead.covariance[best]


def _multiplications(series: _Series, jump: int) -> float:
    """Return how many a jump takes: the operator, its powers on the coefficients and, for them, its eigenvalues."""
    d, law, orders = series.equation.dimension, series.equation.sgd.law, series.degree + 1.0
    size, nodes = float(len(hermite.indices(d, series.degree))), orders**d
    single = 1e7 + 300 * size**2  # a millisecond goes into calls; recursions take 30 a coefficient, ten times as long
    if series.equation.discrete and not (series.equation.truncated or law.gaussian):
        # Products of series along directions, ten times as long as those of matrices, and moments of all samples,
        # of which a value of the characteristic function is a sum in units of 200.
        products = np.log2(8.0 * law.batch_size) if law.shuffles else 3.0
        single += nodes * (5.0 * orders ** (d + 1) * products + 200 * law.characteristic_cost * orders**d)
    if jump == 1:
        return single
    # Eigenvalues take some 25 size³ (Golub & Van Loan, table 7.6.1), spread over diagonal blocks.
    powers = min(jump * size**2, 2 * np.log2(jump) * size**3)
    return 2 * single + powers + 25 / max(series.degree, 1) * size**3


def _moved(series: _Series, steps: int, mean: Array, covariance: Array) -> _Series:
    try:
        factor, after = np.linalg.cholesky(series.covariance), np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        raise UnresolvedError(
            f"step {series.step + steps}: the covariance of the {series.equation.label} is singular or overflows, so "
            "there is no Gaussian to expand about; lower learning_rate or use dfp.moments(...)."
        ) from None
    equation = series.equation
    reached = replace(series, step=series.step + steps, mean=mean, covariance=covariance)
    if equation.discrete and steps == 1:
        if not equation.truncated:
            return _trimmed(reached, _map_operator(series, factor, mean, after) @ series.coefficients)
        reframed = _reframed(series, series.coefficients, mean, factor, after)
        return _trimmed(reached, _second_order(reached, after) @ reframed)
    matrix = _operator(series, factor)
    if equation.discrete:
        kept = _affordable(series, matrix, steps)
        coefficients = hermite_steps.powered(matrix[:kept, :kept], steps, series.coefficients[:kept])
    else:
        matrix = matrix * (steps * equation.sgd.learning_rate)
        kept = _affordable(series, matrix, 1)
        coefficients = hermite_steps.exponential(matrix[:kept, :kept], series.coefficients[:kept])
    degree = int(hermite.indices(equation.dimension, series.degree)[kept - 1].sum())
    reframed = _reframed(replace(series, degree=degree), coefficients, mean, factor, after)
    return _trimmed(replace(reached, degree=degree), reframed)


def _reframed(series: _Series, coefficients: Array, mean: Array, factor: Array, after: Array) -> Array:
    """Return the coefficients in the frame (``mean``, ``after``) of those in the frame (series.mean, ``factor``)."""
    d, inverse = len(mean), np.linalg.inv(after)
    certain = np.zeros((d, d, d + 1, d + 1))
    return hermite_steps.affine(inverse @ (series.mean - mean), inverse @ factor, certain, series.degree) @ coefficients


def _operator(series: _Series, factor: Array) -> Any:
    """Return the operator of a step (maps) or rate in τ (generators) in the frame (series.mean, ``factor``)."""
    if series.equation.discrete and not series.equation.truncated:
        return _map_operator(series, factor, series.mean, factor)
    return _second_order(series, factor)


def _map_operator(series: _Series, factor: Array, mean: Array, after: Array) -> Array:
    """Return the operator of one step from the frame (series.mean, ``factor``) to the frame (``mean``, ``after``)."""
    equation, inverse = series.equation, np.linalg.inv(after)
    kept = np.eye(len(mean)) - equation.linear_drift
    if equation.sgd.noise.gaussian:
        shift = inverse @ (kept @ series.mean - equation.constant_drift - mean)
        noise = _in_frame(diffusion_polynomial(equation), series.mean, factor, inverse)
        return hermite_steps.affine(shift, inverse @ kept @ factor, noise, series.degree)
    nodes, _ = hermite.quadrature(len(mean), series.degree)
    theta = series.mean + nodes @ factor.T
    scaled = -equation.sgd.learning_rate * inverse
    places = (theta @ kept.T - equation.constant_drift - mean) @ inverse.T
    return hermite_sums.operator(places, *equation.sgd.noise.draw_moments(theta, scaled, series.degree), series.degree)


def _second_order(series: _Series, factor: Array) -> sparse.csr_array:
    """Return the operator of a step of (T5) or the rate of a generator in the frame (series.mean, ``factor``)."""
    equation, inverse = series.equation, np.linalg.inv(factor)
    first = -inverse @ np.column_stack(
        [equation.constant_drift + equation.linear_drift @ series.mean, equation.linear_drift @ factor]
    )
    second = _in_frame(second_order_polynomial(equation), series.mean, factor, inverse)
    return hermite_steps.second_order(1.0 if equation.discrete else 0.0, first, second, series.degree)


def _in_frame(polynomial: Array, mean: Array, factor: Array, inverse: Array) -> Array:
    """Return second moments, [i, j, a, b] with φ_a φ_b, φ = (1, θ), in the axes of ``inverse`` and in φ = (1, z)."""
    places = np.eye(len(mean) + 1)
    places[1:, 0], places[1:, 1:] = mean, factor
    return np.einsum("ki,lj,ijab,ap,bq->klpq", inverse, inverse, polynomial, places, places, optimize=True)


def _affordable(series: _Series, matrix: Any, steps: int) -> int:
    """Return how many coefficients to keep: none that grow beyond any use, before powers or an exponential overflow.

    Modes grow by the ``steps``-th power of the eigenvalues of ``matrix`` (maps) or by their exponentials.
    """
    d, maps = series.equation.dimension, series.equation.discrete
    dense = matrix if isinstance(matrix, np.ndarray) else matrix.toarray()
    sizes = [len(hermite.indices(d, n)) for n in range(series.degree + 1)]
    for begin, end in itertools.pairwise(sizes[2:]):
        block = dense[begin:end, begin:end]
        # Discs about the diagonal hold all eigenvalues (Gershgorin); seldom these themselves are needed.
        middle = np.abs(block.diagonal()) if maps else block.diagonal()
        radii = np.abs(block) - np.diag(np.abs(block.diagonal()))
        edge = min(np.max(middle + radii.sum(axis=axis)) for axis in (0, 1))
        if (steps * np.log(max(edge, 1e-300)) if maps else edge) <= np.log(_LOST):
            continue
        values = np.linalg.eigvals(block)
        growth = steps * np.log(np.maximum(np.abs(values), 1e-300)) if maps else values.real
        if np.max(growth) > np.log(_LOST):
            return begin
    return sizes[-1]


def _trimmed(series: _Series, coefficients: Array) -> _Series:
    """Return the series with new coefficients, without shells too large to be of use."""
    d = series.equation.dimension
    sizes = hermite.shells(coefficients, d, series.degree)
    lost = np.flatnonzero(~(sizes <= _LOST))
    if not lost.size:
        return replace(series, coefficients=coefficients)
    if lost[0] <= 2:
        raise UnresolvedError(f"step {series.step}: the series overflows at degree {lost[0]}; lower learning_rate.")
    degree = int(lost[0]) - 1
    return replace(series, coefficients=coefficients[: len(hermite.indices(d, degree))], degree=degree)


def _higher_moments(series: _Series) -> tuple[Array | None, Array | None]:
    """Return third and fourth central moments (d, d, d) and (d, d, d, d), where the carried degree reaches them."""
    d = series.equation.dimension
    if series.degree < 4:
        return None, None
    position = {tuple(m): i for i, m in enumerate(hermite.indices(d, 4).tolist())}

    def coefficient(index: tuple[int, ...]) -> float:
        m = tuple(index.count(a) for a in range(d))
        return float(series.coefficients[position[m]] * np.sqrt(np.prod([factorial(x) for x in m])))

    third, fourth = np.empty((d,) * 3), np.empty((d,) * 4)
    for index in np.ndindex(*third.shape):
        third[index] = coefficient(index)
    for index in np.ndindex(*fourth.shape):
        fourth[index] = coefficient(index)
    # He_4 subtracts a Gaussian's fourth moments, which return here.
    fourth = fourth + Gaussian(np.zeros(d), np.eye(d)).central_moments()[2]
    factor = np.linalg.cholesky(series.covariance)
    return (
        np.einsum("ia,jb,kc,abc->ijk", factor, factor, factor, third),
        np.einsum("ia,jb,kc,ld,abcd->ijkl", factor, factor, factor, factor, fourth, optimize=True),
    )
