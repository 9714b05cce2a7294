"""Hermite: series around the exact moving Gaussian, for every equation in one and two dimensions."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import factorial
from typing import Any

import numpy as np
from dfp_solvers import hermite
from scipy.linalg import expm

from dfp import checks
from dfp.checks import Array
from dfp.errors import SeriesError, UnresolvedError
from dfp.exact.moments import Moments, moments_at
from dfp.methods.grids import automatic
from dfp.methods.moment_recursion import central_tensors
from dfp.methods.solver import MarchingSolver, dimension_obstacle
from dfp.problem.equation import Equation
from dfp.problem.finite_sum import FiniteSumLaw
from dfp.problem.grid import Grid
from dfp.problem.noise import GaussianLaw
from dfp.problem.state import Density, Gaussian, Point, State
from dfp.results.frame import Frame
from dfp.results.solution import Solution

# A coefficient this large is beyond any useful cut; dropping its shell keeps later arithmetic finite.
_LOST = 1e12
_HIGHEST = 40
# Steps are taken together while the moving Gaussian changes by less than this, in its own standard deviations.
_DRIFT = 0.2


@dataclass(frozen=True)
class _Carry:
    equation: Equation
    grid: Grid | None
    step: int
    mean: Array
    covariance: Array
    coefficients: Array
    degree: int


@dataclass(frozen=True)
class Hermite(MarchingSolver):
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
    """

    degree: int = 16
    tolerance: float = 2e-2

    name = "Hermite"
    equations = ("T4", "T5", "T6", "T7")
    order = "exact moments; asymptotic series for the density"
    reference = "theory page, section 5 (Hermite functions around the moving Gaussian)"

    def __post_init__(self) -> None:
        checks.integer("degree", self.degree, at_least=4, at_most=_HIGHEST)
        checks.real("tolerance", self.tolerance, above=0, below=1)

    def obstacle(self, equation: Equation, initial: State) -> str | None:
        """Return why there is no moving Gaussian to expand about, or None."""
        if isinstance(initial, Point):
            return "a point has no covariance to expand about; start from a narrow dfp.Gaussian"
        if np.linalg.eigvalsh(initial.covariance)[0] <= 0:
            return "the initial covariance is singular; start from a wider dfp.Gaussian"
        if equation.number == "T4" and not isinstance(equation.sgd.noise, GaussianLaw | FiniteSumLaw):
            return "it needs every moment of the noise; for additive noise of such a law dfp.Fourier() is exact"
        return dimension_obstacle(equation, 2)

    def grid(self, equation: Equation, initial: State, exact: Moments) -> Grid:
        """Return a grid wide and fine enough for polynomials times a Gaussian."""
        return automatic(exact, width=9.0, band=10.0)

    def prepare(self, equation: Equation, initial: State, grid: Grid | None) -> _Carry:
        """Return the coefficients of the initial state: its moments in its own frame."""
        size = len(hermite.indices(equation.dimension, self.degree))
        coefficients = np.zeros(size)
        coefficients[0] = 1.0
        if isinstance(initial, Density):
            factor = np.linalg.cholesky(initial.covariance)
            z = np.linalg.solve(factor, (initial.grid.points.reshape(-1, equation.dimension) - initial.mean).T).T
            weights = initial.values.ravel() * (initial.grid.cell_volume / initial.mass)
            coefficients = hermite.basis(z, self.degree) @ weights
        return _Carry(equation, grid, 0, initial.mean, initial.covariance, coefficients, self.degree)

    def advance(self, carry: _Carry, steps: int) -> _Carry:
        """Return the coefficients ``steps`` later, in the frame of the exact moments there."""
        while steps:
            jump, mean, covariance = _jump(carry, steps)
            carry = _moved(carry, jump, mean, covariance)
            steps -= jump
        return carry

    def observe(self, carry: _Carry) -> Frame:
        """Return moments up to order four and, on a grid, the density cut where its terms are smallest."""
        d = carry.equation.dimension
        third, fourth = _higher_moments(carry)
        if carry.grid is None:
            return Frame(carry.mean, carry.covariance, third=third, fourth=fourth)
        cut, error = hermite.best_cut(hermite.shells(carry.coefficients, d, carry.degree))
        if not error <= self.tolerance:
            advice = (
                f"raise degree (now {self.degree})"
                if cut >= carry.degree - 2 and carry.degree == self.degree
                else "lower learning_rate or use dfp.MomentRecursion()"
                + ("" if carry.equation.number == "T5" else " or dfp.MonteCarlo(...)")
            )
            raise SeriesError(
                f"step {carry.step}: the Hermite series of the {carry.equation.label} does not converge: its smallest "
                f"terms, near degree {cut + 1}, leave an L1 error of {error:.2g} > tolerance={self.tolerance:g} (the "
                f"density has power-law tails or is far from Gaussian); {advice}."
            )
        kept = carry.coefficients[: len(hermite.indices(d, cut))]
        factor = np.linalg.cholesky(carry.covariance)
        density = hermite.series(kept, carry.mean, factor, carry.grid.points, cut)
        outside = 1.0 - float(density.sum()) * carry.grid.cell_volume
        return Frame(carry.mean, carry.covariance, density, third, fourth, truncation=error, outside=outside)

    def refined(self, solution: Solution, tolerance: float) -> tuple[MarchingSolver, Grid | None] | None:
        """Return the solver with a higher degree, or None beyond the highest."""
        if self.degree >= _HIGHEST:
            return None
        return replace(self, degree=min(self.degree + 8, _HIGHEST)), solution.grid

    def settled(self, equation: Equation, moments: Gaussian, grid: Grid, step: int) -> Frame:
        """Return the stationary series in the frame of the stationary ``moments``; ``step`` is named in errors.

        The coefficients solve c = M c with the lower triangular operator M of a step, or 0 = L c with that of a rate.
        """
        rate = degree_operator(equation, moments, self.degree)
        if equation.discrete:
            rate = rate - np.eye(len(rate))
        coefficients, degree = hermite.fixed_point(rate, equation.dimension)
        return self.observe(_Carry(equation, grid, step, moments.mean, moments.covariance, coefficients, degree))


def degree_operator(equation: Equation, frame: Gaussian, degree: int) -> Array:
    """Return the operator of a step (maps) or rate in τ (generators) on coefficients in a fixed ``frame``.

    Its diagonal block of each degree is the motion of the moments of that order among themselves.
    """
    carry = _Carry(equation, None, 0, frame.mean, frame.covariance, np.zeros(0), degree)
    factor = np.linalg.cholesky(frame.covariance)
    return _map_operator(carry, factor, carry.mean, factor) if equation.discrete else _generator_operator(carry, factor)


def _jump(carry: _Carry, steps: int) -> tuple[int, Array, Array]:
    """Return the largest power of two of steps over which the frame hardly moves, and the moments there."""
    candidates = [2**i for i in range(int(steps).bit_length()) if 2**i <= steps]
    ahead = moments_at(carry.equation, Gaussian(carry.mean, carry.covariance), np.array(candidates))
    factor = np.linalg.cholesky(carry.covariance)
    best = 0
    for i in range(1, len(candidates)):
        shift = np.linalg.solve(factor, ahead.mean[i] - carry.mean)
        ratio = np.linalg.solve(factor, np.linalg.solve(factor, ahead.covariance[i]).T)
        if not (np.max(np.abs(shift)) < _DRIFT and np.max(np.abs(ratio - np.eye(len(shift)))) < _DRIFT):
            break
        best = i
    return candidates[best], ahead.mean[best], ahead.covariance[best]


def _moved(carry: _Carry, steps: int, mean: Array, covariance: Array) -> _Carry:
    try:
        factor, after = np.linalg.cholesky(carry.covariance), np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        raise UnresolvedError(
            f"step {carry.step + steps}: the covariance of the {carry.equation.label} is singular or overflows, so "
            "there is no Gaussian to expand about; lower learning_rate or use dfp.MomentRecursion()."
        ) from None
    if carry.equation.discrete and steps == 1:
        matrix = _map_operator(carry, factor, mean, after)
        return _trimmed(replace(carry, step=carry.step + 1, mean=mean, covariance=covariance), matrix)
    if carry.equation.discrete:
        matrix = _map_operator(carry, factor, carry.mean, factor)
        carry, matrix = _affordable(carry, matrix, lambda values: steps * np.log(np.maximum(np.abs(values), 1e-300)))
        matrix = np.linalg.matrix_power(matrix, steps)
    else:
        rate = _generator_operator(carry, factor) * (steps * carry.equation.sgd.learning_rate)
        carry, rate = _affordable(carry, rate, np.real)
        matrix = expm(rate)
    nodes, _ = hermite.quadrature(len(mean), carry.degree)
    places = np.linalg.solve(after, (carry.mean + nodes @ factor.T - mean).T).T
    reframe = hermite.operator(places, np.ones((1, len(nodes))), carry.degree)
    return _trimmed(replace(carry, step=carry.step + steps, mean=mean, covariance=covariance), reframe @ matrix)


def _map_operator(carry: _Carry, factor: Array, mean: Array, after: Array) -> Array:
    """Return the operator of one step from the frame (carry.mean, factor) to the frame (mean, after)."""
    equation, d = carry.equation, carry.equation.dimension
    inverse = np.linalg.inv(after)
    nodes, _ = hermite.quadrature(d, carry.degree)
    theta = carry.mean + nodes @ factor.T
    motion = -(theta @ equation.linear_drift.T + equation.constant_drift)
    if equation.number == "T5":
        first = motion @ inverse.T
        second = inverse @ equation.diffusion(theta) @ inverse.T + first[:, :, None] * first[:, None, :]
        return hermite.operator((theta - mean) @ inverse.T, hermite.second_order(first, second, 1.0), carry.degree)
    noise = equation.sgd.noise
    if isinstance(noise, FiniteSumLaw):
        scale = -equation.sgd.learning_rate / noise.batch_size
        samples = scale * noise.sample_deviations(theta) @ inverse.T
        increments = hermite.average_moments(samples, noise.batch_size, carry.degree)
    else:
        increments = hermite.gaussian_moments(inverse @ equation.diffusion(theta) @ inverse.T, carry.degree)
    return hermite.operator((theta + motion - mean) @ inverse.T, increments, carry.degree)


def _generator_operator(carry: _Carry, factor: Array) -> Array:
    equation = carry.equation
    inverse = np.linalg.inv(factor)
    nodes, _ = hermite.quadrature(equation.dimension, carry.degree)
    theta = carry.mean + nodes @ factor.T
    first = -(theta @ equation.linear_drift.T + equation.constant_drift) @ inverse.T
    second = inverse @ equation.diffusion(theta) @ inverse.T
    return hermite.operator(nodes, hermite.second_order(first, second, 0.0), carry.degree)


def _affordable(carry: _Carry, matrix: Array, growth: Callable[[Any], Array]) -> tuple[_Carry, Array]:
    """Drop the shells that grow beyond any use, before a power or exponential of ``matrix`` overflows.

    ``growth`` returns, for eigenvalues of ``matrix``, the logarithm of the factor by which their modes grow.
    """
    d = carry.equation.dimension
    total = hermite.indices(d, carry.degree).sum(axis=1)
    for degree in range(3, carry.degree + 1):
        block = matrix[np.ix_(total == degree, total == degree)]
        if np.max(growth(np.linalg.eigvals(block))) > np.log(_LOST):
            keep = len(hermite.indices(d, degree - 1))
            return replace(carry, coefficients=carry.coefficients[:keep], degree=degree - 1), matrix[:keep, :keep]
    return carry, matrix


def _trimmed(carry: _Carry, matrix: Array) -> _Carry:
    """Return the carry with new coefficients, without shells too large to be of use."""
    d = carry.equation.dimension
    coefficients = matrix @ carry.coefficients
    sizes = hermite.shells(coefficients, d, carry.degree)
    lost = np.flatnonzero(~(sizes <= _LOST))
    if not lost.size:
        return replace(carry, coefficients=coefficients)
    if lost[0] <= 2:
        raise UnresolvedError(f"step {carry.step}: the series overflows at degree {lost[0]}; lower learning_rate.")
    degree = int(lost[0]) - 1
    return replace(carry, coefficients=coefficients[: len(hermite.indices(d, degree))], degree=degree)


def _higher_moments(carry: _Carry) -> tuple[Array | None, Array | None]:
    """Return third and fourth central moments (d, d, d) and (d, d, d, d), where the carried degree reaches them."""
    d = carry.equation.dimension
    if carry.degree < 4:
        return None, None
    position = {tuple(m): i for i, m in enumerate(hermite.indices(d, 4).tolist())}

    def coefficient(index: tuple[int, ...]) -> float:
        m = tuple(index.count(a) for a in range(d))
        return float(carry.coefficients[position[m]] * np.sqrt(np.prod([factorial(x) for x in m])))

    third, fourth = np.empty((d,) * 3), np.empty((d,) * 4)
    for index in np.ndindex(*third.shape):
        third[index] = coefficient(index)
    for index in np.ndindex(*fourth.shape):
        fourth[index] = coefficient(index)
    # He_4 subtracts a Gaussian's fourth moments, which return here.
    fourth = fourth + central_tensors(Gaussian(np.zeros(d), np.eye(d)))[2]
    factor = np.linalg.cholesky(carry.covariance)
    return (
        np.einsum("ia,jb,kc,abc->ijk", factor, factor, factor, third),
        np.einsum("ia,jb,kc,ld,abcd->ijkl", factor, factor, factor, factor, fourth, optimize=True),
    )
