"""Stationary densities: where the dynamics settles, or the reason why it does not (theory page, sections 2–4)."""

import numpy as np
from dfp_solvers import modal, zero_flux

from dfp import checks
from dfp.checks import Array
from dfp.equation import Equation
from dfp.errors import DFPError, NoStationaryDensity, UnsupportedError
from dfp.exact import Moments
from dfp.grids import automatic
from dfp.methods.cumulants import diffusion_polynomial
from dfp.state import Density, Gaussian, Grid

# Heavy tails are followed until this much mass is outside, or as far as the largest grid reaches.
_OUTSIDE = 1e-8
_CELLS = 2**16
_CELLS_PER_WIDTH = 12


def stationary(equation: Equation, grid: Grid | None = None) -> Density:
    """Return the stationary density of an equation.

    Parameters
    ----------
    equation
        With additive Gaussian noise (d <= 3): the Gaussian of (T10), with momentum that of θ in (T19), or its Langevin
        counterpart. In one dimension also
        (T5), (T6), (T7) with noise that depends on θ: closed forms of Pearson's family, Student's t among them.
    grid
        Where it is returned; chosen to hold all but 1e-8 of the mass, as far as it can, if left out.

    Returns
    -------
    Density
        Its ``outside`` is the mass beyond the grid, exact even for power-law tails.

    Raises
    ------
    NoStationaryDensity
        If there is none: the message names the mode, its regime and the numbers that decide.
    UnsupportedError
        If no closed form is known: for the master equation with noise that depends on θ or that is a finite sum, and
        for d > 1 with noise that depends on θ.
    """
    if not isinstance(equation, Equation):
        raise DFPError(f"equation={checks.shown(equation)}: must be an equation; give e.g. dfp.Langevin(sgd).")
    if equation.dimension > 3:
        raise UnsupportedError(f"d = {equation.dimension}: densities need d <= 3; use dfp.moments for covariances.")
    if grid is not None and grid.dimension != equation.dimension:
        raise DFPError(f"grid has {grid.dimension} axes: the landscape has {equation.dimension}; make them equal.")
    if equation.dimension == 1 and equation.number != "T4":
        return _one_dimensional(equation, grid)
    if not equation.additive or equation.number == "T5" or (equation.discrete and not equation.sgd.noise.gaussian):
        raise UnsupportedError(
            f"the {equation.label}: no closed stationary density is known for this noise and d = {equation.dimension}; "
            "solve to a late step with dfp.solve(...), or sample with dfp.MonteCarlo(...)."
        )
    return _gaussian(equation, grid)


def _gaussian(equation: Equation, grid: Grid | None) -> Density:
    """Return the Gaussian of a linear equation with additive noise; every mode must contract."""
    if equation.sgd.momentum:
        return _with_momentum(equation, grid)
    values, vectors = equation.sgd.modes
    eta = equation.sgd.learning_rate
    rates = equation.drift(values) * values
    for curvature, rate in zip(values, rates, strict=True):
        if not (0 < rate < 2 if equation.discrete else rate > 0):
            raise NoStationaryDensity(
                f"the mode of curvature {curvature:.4g} {_regime(eta * curvature, equation.discrete)}; use dfp.solve "
                "or dfp.moments for its law at a given step, or change learning_rate or weight_decay."
            )
    noise = vectors.T @ equation.diffusion(np.zeros(equation.dimension)) @ vectors
    pair = rates[:, None] + rates[None, :] - (np.outer(rates, rates) if equation.discrete else 0.0)
    offset = equation.drift(values) * (vectors.T @ equation.sgd.gradient)
    return _gridded(Gaussian(vectors @ (-offset / rates), vectors @ (noise / pair) @ vectors.T), grid)


def _with_momentum(equation: Equation, grid: Grid | None) -> Density:
    """Return the Gaussian of θ where (θ, v) settles (T19); the matrix of every mode must contract."""
    sgd = equation.sgd
    values, vectors = sgd.modes
    one = modal.step(values, vectors.T @ sgd.noise.constant @ vectors, sgd.learning_rate, sgd.momentum, sgd.nesterov)
    for curvature, factor in zip(values, one.factor, strict=True):
        radius = float(np.max(np.abs(np.linalg.eigvals(factor))))
        if not radius < 1 - 1e-12:
            raise NoStationaryDensity(
                f"the mode of curvature {curvature:.4g} is {'diffusive' if radius < 1 + 1e-12 else 'unstable'} with "
                f"momentum={sgd.momentum:g} (its matrix has the spectral radius {radius:.6g}); use dfp.solve or "
                "dfp.moments for its law at a given step, or change learning_rate, momentum or weight_decay."
            )
    covariance = modal.stationary(one)[:, :, 0, 0]
    return _gridded(Gaussian(sgd.critical_point, vectors @ covariance @ vectors.T), grid)


def _gridded(state: Gaussian, grid: Grid | None) -> Density:
    exact = Moments(np.zeros(1, dtype=np.int64), state.mean[None], state.covariance[None])
    chosen = automatic(exact) if grid is None else grid
    density = state.density(chosen.points)
    return Density(chosen, density, outside=max(0.0, 1.0 - float(density.sum()) * chosen.cell_volume))


def _regime(step: float, discrete: bool) -> str:
    if step == 0:
        return "is diffusive (λ = 0): its variance grows without bound"
    if step < 0:
        return f"is unstable (ηλ = {step:.4g} < 0)"
    if discrete and step == 2:
        return "is diffusive (ηλ = 2: it alternates and its variance grows without bound)"
    return f"is unstable (ηλ = {step:.4g} > 2)"


def _one_dimensional(equation: Equation, grid: Grid | None) -> Density:
    drift, offset = float(equation.linear_drift.item()), float(equation.constant_drift.item())
    coefficients = diffusion_polynomial(equation)[0, 0]
    diffusion = [float(coefficients[0, 0]), 2 * float(coefficients[0, 1]), float(coefficients[1, 1])]
    if equation.number == "T5":
        # The raw second moment: S = C + ḡ², times η² (T3).
        diffusion = [diffusion[0] + offset**2, diffusion[1] + 2 * drift * offset, diffusion[2] + drift**2]
    law = (drift, offset, (diffusion[0], diffusion[1], diffusion[2]))
    _check_law(equation, *law)
    centre, width = zero_flux.mode(*law), zero_flux.scale(*law)
    total = zero_flux.mass(-np.inf, np.inf, *law)

    def outside(lower: float, upper: float) -> float:
        return (zero_flux.mass(-np.inf, lower, *law) + zero_flux.mass(upper, np.inf, *law)) / total

    if grid is None:
        reach = 8.0 * width
        while outside(centre - reach, centre + reach) > _OUTSIDE and reach < width * _CELLS / _CELLS_PER_WIDTH / 4:
            reach *= 1.5
        cells = int(np.clip(2 * reach / width * _CELLS_PER_WIDTH, 256, _CELLS))
        grid = Grid(centre - reach, centre + reach, cells)
    theta = grid.axes[0]
    top = zero_flux.log_density(np.array(centre), *law)
    values: Array = np.exp(zero_flux.log_density(theta, *law) - top) / total
    return Density(grid, values, outside=outside(float(grid.lower[0]), float(grid.upper[0])))


def _check_law(equation: Equation, drift: float, offset: float, diffusion: tuple[float, float, float]) -> None:
    curvature = float(equation.sgd.hessian.item())
    q0, q1, q2 = diffusion
    if not (q0 > 0 and (q1 == q2 == 0 or 4 * q0 * q2 > q1**2 * (1 + 1e-12))):
        raise NoStationaryDensity(
            f"the noise of the {equation.label} vanishes or is negative somewhere (Q = {q0:.3g} + {q1:.3g} θ + "
            f"{q2:.3g} θ²): the law may collapse onto that point; add gradient noise, or use positive=True for (T7m)."
        )
    index = zero_flux.tail_index(drift, diffusion)
    if not index > 0:
        regime = "diffusive" if curvature == 0 else "unstable"
        raise NoStationaryDensity(
            f"the mode of curvature {curvature:.4g} is {regime} in the {equation.label}: its tails would fall like "
            f"x^(-κ) with κ = {index:.3g} <= 0, which has no finite mass; change learning_rate or weight_decay."
        )
