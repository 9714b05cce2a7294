"""Does a law settle? Stationary moments where they exist, and the reasons where no stationary density does."""

import numpy as np
from dfp_solvers import kesten

from dfp.checks import Array
from dfp.equation import Carried, Equation
from dfp.errors import NoStationaryDensity, UnsupportedError
from dfp.finite_sum import FiniteSumLaw
from dfp.state import Gaussian

# Random products of matrices drawn to find the Lyapunov exponent: trajectories, steps before it is looked at, steps.
_LANES, _FORGET, _DRAWN = 2000, 100, 400
_REMEDY = "change learning_rate or weight_decay, or use dfp.solve or dfp.moments for its law at a given step"


def moment_growth(equation: Equation) -> Array:
    """Return the eigenvalues of the motion of covariances: factors per step (maps, T16) or rates in τ (generators)."""
    result: Array = np.asarray(np.linalg.eigvals(_covariance_motion(equation))) + float(equation.discrete)
    return result


def _covariance_motion(equation: Equation) -> Array:
    """Return how the entries i <= j of a covariance move per step or unit of τ, shape (m, m), m = d(d+1)/2."""
    d = equation.dimension
    rows, columns = np.triu_indices(d)
    units = np.zeros((len(rows), d, d))
    units[np.arange(len(rows)), rows, columns] = units[np.arange(len(rows)), columns, rows] = 1.0
    at = Carried(np.zeros(len(rows)), np.zeros((len(rows), d)), np.zeros_like(units), units)
    result: Array = equation.derivative(at).covariance[:, rows, columns].T
    return result


def stationary_moments(equation: Equation) -> Gaussian | None:
    """Return the mean and covariance of the stationary law, as a Gaussian, or None if they are unbounded."""
    growth = moment_growth(equation)
    bounded = np.max(np.abs(growth)) < 1 - 1e-12 if equation.discrete else np.max(growth.real) < 0
    if not bounded:
        return None
    mean = -np.linalg.solve(equation.linear_drift, equation.constant_drift)
    outer = np.outer(mean, mean)
    source = equation.mean_diffusion(Carried(np.ones(()), mean, outer, np.zeros_like(outer)))
    rows, columns = np.triu_indices(equation.dimension)
    covariance = np.zeros_like(outer)
    covariance[rows, columns] = np.linalg.solve(_covariance_motion(equation), -source[rows, columns])
    covariance[columns, rows] = covariance[rows, columns]
    return Gaussian(mean, covariance)


def lyapunov_exponent(equation: Equation) -> tuple[float, float]:
    """Return ℓ of the master equation (T4) per step, and its standard error (0 where it is known in closed form).

    For d > 1 it is the growth of random products of A_ξ, drawn with a fixed seed.
    """
    sgd, noise = equation.sgd, equation.sgd.noise
    if equation.dimension == 1 and not isinstance(noise, FiniteSumLaw):
        a, s = scalar_law(equation)[0], scalar_law(equation)[2]
        return kesten.lyapunov_exponent(a, s), 0.0
    rng = np.random.default_rng(0)
    direction = rng.standard_normal((_LANES, equation.dimension))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    growth = np.zeros(_LANES)
    for n in range(_FORGET + _DRAWN):
        kicked = np.einsum("nij,nj->ni", _draw_hessians(equation, rng, _LANES), direction)
        direction = direction - sgd.learning_rate * (direction @ sgd.hessian + kicked)
        length = np.linalg.norm(direction, axis=1)
        direction /= length[:, None]
        growth += np.log(length) if n >= _FORGET else 0.0
    rates = growth / _DRAWN
    return float(rates.mean()), float(rates.std() / np.sqrt(_LANES))


def _draw_hessians(equation: Equation, rng: np.random.Generator, count: int) -> Array:
    """Return draws of H̃, shape (count, d, d)."""
    noise = equation.sgd.noise
    if isinstance(noise, FiniteSumLaw):
        chosen = rng.integers(0, noise.count, (count, noise.batch_size))
        result: Array = (noise.sample_hessians()[chosen] - noise.mean_hessian).mean(axis=1)
        return result
    loadings = noise.loadings()[1]  # type: ignore[attr-defined]
    result = np.einsum("nr,rij->nij", rng.standard_normal((count, len(loadings))), loadings)
    return result


def scalar_law(equation: Equation) -> tuple[float, float, float, float]:
    """Return a, b, s, v of one mode: a step is θ' = aθ + b + noise of variance v + s²θ² (Gaussian noise, d = 1)."""
    eta, noise = equation.sgd.learning_rate, equation.sgd.noise
    gamma = float(noise.quadratic(np.ones((1, 1))).item())
    a, b = 1 - float(equation.linear_drift.item()), -float(equation.constant_drift.item())
    return a, b, eta * np.sqrt(gamma), eta**2 * float(noise.constant.item())


def require_settling(equation: Equation, bounded: bool) -> None:
    """Raise unless a law with θ-dependent noise settles; ``bounded`` says whether its second moments do.

    Raises
    ------
    NoStationaryDensity
        If the Lyapunov exponent is not negative.
    UnsupportedError
        If its sign is not known: within five standard errors of zero, or for another equation than (T4) with d > 1.
    """
    if bounded:
        return
    values = equation.sgd.modes[0]
    mode = f"the modes of curvature {np.array2string(values, precision=4)} in the {equation.label}"
    if equation.number != "T4":
        raise UnsupportedError(
            f"{mode}: second moments grow (rate {np.max(moment_growth(equation).real):.3g} > 0), so the law, if it "
            f"settles, has power-law tails without a variance, which no grid holds for d > 1; {_REMEDY}."
        )
    exponent, error = lyapunov_exponent(equation)
    if exponent >= 5 * error:
        kind = "borderline" if exponent == 0 else "unstable"
        raise NoStationaryDensity(
            f"{mode}: {kind}, with Lyapunov exponent ℓ = {exponent:.4g} ± {error:.1g} >= 0: |θ| grows without bound; "
            f"{_REMEDY}."
        )
    if exponent > -5 * error:
        raise UnsupportedError(
            f"{mode}: the Lyapunov exponent ℓ = {exponent:.2g} ± {error:.1g} may have either sign, so whether a "
            f"stationary law exists is not known; {_REMEDY}."
        )
    if equation.dimension > 1:
        raise UnsupportedError(
            f"{mode}: ℓ = {exponent:.3g} < 0, so the law settles, but with power-law tails without a variance "
            f"(ρ₂ = {np.max(np.abs(moment_growth(equation))):.4g} >= 1), which no grid holds for d > 1; {_REMEDY}."
        )
