"""Currents and entropy production of stationary states: how far SGD is from equilibrium.

Where modes are hit by noise along other axes than their own, the stationary state carries a current that circulates,
although its density stands still; it vanishes iff there is detailed balance.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from dfp_solvers import currents as circulation

from dfp.checks import Array
from dfp.errors import DFPError, UnresolvedError, UnsupportedError
from dfp.exact.moments import Moments
from dfp.long_time import nonlinear_law
from dfp.long_time.law_moments import with_exact_moments
from dfp.long_time.stationary_moments import StationaryMoments, stationary_moments
from dfp.methods import markov_chain
from dfp.methods.grids import POWER_LAW, box
from dfp.methods.heavy_tails import wall_tails
from dfp.problem.arguments import check_equation
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid
from dfp.problem.parameters import either, labelled
from dfp.problem.state import Density, Gaussian
from dfp.regimes.multiplier import Estimate
from dfp.result import Result, remembered

_CELLS = {2: 192, 3: 32}
# Mass beyond the walls of a grid from which its currents are not those of the law.
_BEYOND = 0.05


@dataclass(frozen=True, eq=False, repr=False)
class Current(Result):
    """The stationary current J = v P of a linear equation with additive Gaussian noise: P is Gaussian, v is linear.

    Attributes
    ----------
    matrix
        Ω of the velocity v(θ) = Ω(θ − θ*), shape (d, d) [1 / step for the master equation, else 1 / slow time].
    law
        The stationary Gaussian.
    parameters
        What is on its axes, d names: ``theta_1``, … or those that the landscape gives.

    Examples
    --------
    >>> import dfp
    >>> noise = dfp.GaussianNoise([[0.5, 0.3], [0.3, 0.3]])
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0, 0.2], noise=noise), learning_rate=0.4)
    >>> current = dfp.probability_current(dfp.MasterEquation(sgd))
    >>> print(current.matrix.round(3))
    [[ 0.067 -0.078]
     [ 0.194 -0.067]]
    """

    matrix: Array
    law: Gaussian
    parameters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", either(self.parameters, len(self.matrix)))

    @classmethod
    def _restored(cls, *, matrix: Array, law: dict[str, Any], parameters: tuple[str, ...]) -> "Current":
        """Return what a file holds."""
        return cls(matrix, Gaussian(**law), parameters)

    def velocity(self, theta: Array) -> Array:
        """Return v at ``theta`` (..., d), shape (..., d)."""
        return (theta - self.law.mean) @ self.matrix.T

    def __call__(self, theta: Array) -> Array:
        """Return J = v P at ``theta`` (..., d), shape (..., d)."""
        return self.velocity(theta) * self.law.density(theta)[..., None]


@dataclass(frozen=True, eq=False, repr=False)
class GriddedCurrent(Result):
    """The stationary current of a generator on a grid.

    Attributes
    ----------
    density
        The stationary density of the finite volumes.
    values
        J at the cells, shape (n_1, …, n_d, d) [parameter^(1−d) / slow time].

    Examples
    --------
    >>> import dfp
    >>> noise = dfp.GaussianNoise([[0.5, 0.3], [0.3, 0.3]], [0.05, 0.05])
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0, 0.4], noise=noise), learning_rate=0.2)
    >>> current = dfp.probability_current(dfp.Langevin(sgd), dfp.Grid([-1.5, -1.5], [1.5, 1.5], 24))
    >>> print(current.values.shape, bool(abs(current.values).max() > 0.01))
    (24, 24, 2) True
    """

    _parts = ("density",)

    density: Density
    values: Array

    @property
    def parameters(self) -> tuple[str, ...]:
        """What is on the axes, d names."""
        return self.density.parameters

    @classmethod
    def _restored(cls, *, density: dict[str, Any], values: Array) -> "GriddedCurrent":
        """Return what a file holds."""
        return cls(Density._restored(**density), values)


@remembered
def probability_current(equation: Equation, grid: Grid | None = None) -> Current | GriddedCurrent:
    """Return the probability current of the stationary state; zero everywhere iff there is detailed balance.

    Parameters
    ----------
    equation
        The master equation with additive Gaussian noise, where the velocity at θ is half the mean step forward minus
        half the mean step of the reversed chain; or a generator (T6), (T7): closed for additive noise, else (d = 1, 2,
        3) from the density of finite volumes.
    grid
        Takes the density on this grid, for a generator of any noise; chosen where it is needed if left out.

    Raises
    ------
    NoStationaryDensity
        If there is no stationary variance.
    UnresolvedError
        If the grid does not hold the law.
    UnsupportedError
        For (T5), which is no process, and the master equation with noise that depends on θ or is not Gaussian.

    Examples
    --------
    >>> import dfp
    >>> noise = dfp.GaussianNoise([[0.5, 0.3], [0.3, 0.3]])
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0, 0.2], noise=noise), learning_rate=0.4)
    >>> print(dfp.probability_current(dfp.Langevin(sgd)).matrix.round(3))
    [[ 0.2 -0.2]
     [ 0.6 -0.2]]
    """
    _check(equation, grid)
    if grid is None and equation.additive:
        state = _settled(equation)
        matrix = circulation.velocity(*_linear(equation, state), discrete=equation.discrete)
        return labelled(Current(matrix, Gaussian(state.mean, state.covariance)), equation)
    chosen = _grid(equation) if grid is None else grid
    probability, velocity, _ = _circulation(equation, chosen)
    density = labelled(Density.normalised(chosen, probability, error=2 * _beyond(chosen, probability)), equation)
    density = with_exact_moments(equation, density)
    return GriddedCurrent(density, velocity * density.values[..., None])


def entropy_production(equation: Equation, grid: Grid | None = None) -> Estimate:
    """Return the rate of entropy production of the stationary state, in units of Boltzmann's constant.

    Parameters
    ----------
    equation
        A generator (T6), (T7): 2 E[vᵀQ⁻¹v] per unit of slow time, v the velocity of the current and Q the diffusion
        (Seifert 2012, doi:10.1088/0034-4885/75/12/126001). The master equation with additive Gaussian noise: the
        Kullback–Leibler divergence of two successive steps, (θ_n, θ_{n+1}), from the same in reverse order, per step.
    grid
        As of ``probability_current``.

    Returns
    -------
    Estimate
        ``value`` >= 0, zero iff there is detailed balance, ∞ if the current leaves the directions of the noise;
        ``error``: 0 for closed forms, else the change when the cells per axis are halved, and what the walls turn
        back.

    Raises
    ------
    NoStationaryDensity, UnresolvedError, UnsupportedError
        As ``probability_current``.

    Examples
    --------
    >>> import dfp
    >>> noise = dfp.GaussianNoise([[0.5, 0.3], [0.3, 0.3]])
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0, 0.2], noise=noise), learning_rate=0.4)
    >>> print(round(dfp.entropy_production(dfp.MasterEquation(sgd)).value, 4))
    0.3429
    """
    _check(equation, grid)
    if grid is None and equation.additive:
        state = _settled(equation)
        rate = circulation.chain_entropy if equation.discrete else circulation.flow_entropy
        return Estimate(rate(*_linear(equation, state)))
    if equation.dimension == 1 or markov_chain.separable(equation):
        if equation.sgd.affine:
            stationary_moments(equation)
        else:
            nonlinear_law.stationary(equation, grid)
        return Estimate(0.0)  # on a line a current has nowhere to turn
    chosen = _grid(equation) if grid is None else grid
    half = Grid(chosen.lower, chosen.upper, tuple(n // 2 for n in chosen.cells))
    found = [_circulation(equation, g) for g in (chosen, half)]
    beyond = _beyond(chosen, found[0][0])
    fine, coarse = (circulation.gridded_entropy(*one) for one in found)
    return Estimate(fine, abs(fine - coarse) + 2 * beyond * fine)


def _check(equation: Equation, grid: Grid | None) -> None:
    check_equation(equation, grid)
    if not equation.process:
        raise UnsupportedError(
            f"the {equation.label} is no process, with no paths to reverse; use dfp.MasterEquation(sgd)."
        )
    if equation.discrete and (grid is not None or not equation.additive or not equation.sgd.noise.gaussian):
        raise UnsupportedError(
            "the master equation: currents and entropy are known for additive Gaussian noise, without a grid; use "
            "dfp.Langevin(sgd) or dfp.ModifiedLangevin(sgd) for other noise."
        )
    if not equation.additive and equation.dimension > 3:
        raise UnsupportedError(
            f"d = {equation.dimension}: currents on a grid need d <= 3; use dfp.Langevin(sgd, noise='frozen')."
        )


def _settled(equation: Equation) -> StationaryMoments:
    state = stationary_moments(equation)
    spectrum = np.linalg.eigvalsh(state.covariance)
    if not spectrum[0] > 1e-13 * spectrum[-1]:
        raise DFPError(
            "noise: the stationary covariance is singular, so the law lies on a subspace, with no density; "
            "give gradient noise to every mode."
        )
    return state


def _linear(equation: Equation, state: StationaryMoments) -> tuple[Array, Array, Array]:
    """Return the drift K per step or slow time, the noise of a step or the diffusion Q, and Σ."""
    return equation.linear_drift, equation.diffusion(np.zeros(equation.dimension)), state.covariance


def _grid(equation: Equation) -> Grid:
    if not equation.sgd.affine:
        return nonlinear_law.automatic_grid(equation)
    d, state = equation.dimension, stationary_moments(equation)
    # With additive noise nothing is gridded.
    path = Moments(np.zeros(1, np.int64), state.mean[None], state.covariance[None])
    return Grid(*box(path, POWER_LAW), _CELLS.get(d, 2000))


def _circulation(equation: Equation, grid: Grid) -> tuple[Array, Array, Array]:
    """Return the stationary probabilities of the cells, the velocity (…, d) and the diffusion (…, d, d) at them."""
    matrix, _ = markov_chain.generator(equation, grid)
    if equation.sgd.affine:
        centre = np.ravel_multi_index(tuple(np.array(grid.cells) // 2), grid.cells)
        probability = circulation.stationary(matrix.tocsc(), int(centre)).reshape(grid.cells)
    else:
        probability = nonlinear_law.null_vector(equation, grid)
    drift, diffusion = markov_chain.coefficients(equation, grid.points.reshape(-1, grid.dimension))
    diffusion = np.broadcast_to(diffusion, (*drift.shape, grid.dimension))
    drift, diffusion = drift.reshape(*grid.cells, -1), diffusion.reshape(*grid.cells, grid.dimension, -1)
    velocity = circulation.gridded_velocity(probability, drift, diffusion, grid.spacing)
    return probability, velocity, diffusion


def _beyond(grid: Grid, probability: Array) -> float:
    """Return about how much of the law is beyond the walls of a grid, which turn its currents back."""
    mean = np.tensordot(probability, grid.points, grid.dimension)
    beyond = wall_tails(grid, probability / grid.cell_volume, mean)
    if beyond > _BEYOND:
        raise UnresolvedError(
            f"grid: {min(beyond, 1.0):.2g} of the law may be beyond its walls, which turn currents back; give a wider "
            "dfp.Grid(lower, upper, cells), or leave it out."
        )
    return beyond
