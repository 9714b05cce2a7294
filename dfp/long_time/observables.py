"""What one measures: loss, effective temperature, displacement and memory, from exact moments of any equation."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError, UnsupportedError
from dfp.exact.moments import Moments, moments
from dfp.exact.optimisers import mean_map
from dfp.long_time import nonlinear_law, stationary_average
from dfp.long_time.stationary_moments import stationary_moments
from dfp.problem.arguments import check_problem
from dfp.problem.equation import Equation
from dfp.problem.sgd import SGD
from dfp.problem.state import Density, Ending, State, started
from dfp.results.solution import Solution


def expected_loss(sgd: SGD, over: Moments | Solution | Density) -> Array:
    """Return E[½ θᵀHθ + gᵀθ], the mean loss relative to that of θ = 0, at every saved step.

    Parameters
    ----------
    sgd
        Its mean Hessian H includes weight decay, so that the penalty ½ω‖θ‖² counts.
    over
        Moments of ``dfp.moments``, a solution of ``dfp.solve``, or a density such as ``dfp.stationary`` returns. On a
        nonlinear landscape a density is needed: the loss is the integral of ḡ along the straight line from the origin.

    Returns
    -------
    Array
        Shape (S,) [loss]; (1,) for a density. Infinite where a variance is and H is positive definite; NaN where that
        leaves it open.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], [-1.0], dfp.GaussianNoise([1.0])), learning_rate=0.2)
    >>> path = dfp.moments(dfp.MasterEquation(sgd), dfp.Point(0.0), 40, [0, 10, 40])
    >>> print(dfp.expected_loss(sgd, path).round(4))
    [ 0.     -0.4393 -0.4444]
    """
    _check_sgd(sgd)
    if not sgd.affine:
        return _nonlinear_loss(sgd, over)
    if isinstance(over, Density):
        over = Moments(np.zeros(1, dtype=np.int64), over.mean[None], over.covariance[None])
    mean, covariance = _given(sgd, over)
    found = _curved(sgd.loss_hessian, mean, covariance)
    return np.where(np.isposinf(found), found, found + mean @ sgd.loss_gradient)


def _nonlinear_loss(sgd: SGD, over: Moments | Solution | Density) -> Array:
    """Return E L over the densities of a solution, or over one density, L from the gradient along rays."""
    if isinstance(over, Density):
        grid, values = over.grid, over.values[None]
    elif isinstance(over, Solution) and over.density is not None and over.grid is not None:
        grid, values = over.grid, over.density
    else:
        raise UnsupportedError(
            "over has no density: on a nonlinear landscape the mean loss is no function of moments; give a solution "
            "with a density, or dfp.stationary(...)."
        )
    checks.alike("over", grid.dimension, sgd.dimension, "give a law of this SGD's own parameters")
    points = grid.points.reshape(-1, sgd.dimension)
    # Exact for losses that are polynomials of degree up to 32 along a ray.
    place, weight = np.polynomial.legendre.leggauss(16)
    loss = np.zeros(len(points))
    for share, w in zip((place + 1) / 2, weight / 2, strict=True):
        loss += w * np.einsum("ni,ni->n", sgd.local.gradient_at(share * points), points)
    flat = values.reshape(len(values), -1)
    return flat @ loss / flat.sum(axis=1)


def excess_loss(sgd: SGD, over: Moments | Solution) -> Array:
    """Return the mean loss above that of the critical point, ½ E[(θ−θ*)ᵀH(θ−θ*)], at every saved step.

    Parameters and shape as of ``expected_loss``. It is negative on a saddle.

    Raises
    ------
    DFPError
        If the mean loss slopes along a flat direction, so that there is no critical point.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.2)
    >>> path = dfp.moments(dfp.MasterEquation(sgd), dfp.Point(1.0), 40, [0, 10, 40])
    >>> print(dfp.excess_loss(sgd, path).round(4))
    [0.5    0.0607 0.0556]
    """
    _check_sgd(sgd)
    mean, covariance = _given(sgd, over)
    slope = sgd.loss_hessian @ sgd.critical_point + sgd.loss_gradient
    if np.linalg.norm(slope) > 1e-10 * np.linalg.norm(sgd.loss_gradient):
        raise DFPError(
            f"gradient: the mean loss falls along a flat direction (slope {np.linalg.norm(slope):.3g}), so it has no "
            "critical point to compare with; use dfp.expected_loss, or give weight_decay > 0."
        )
    return _curved(sgd.loss_hessian, mean - sgd.critical_point, covariance)


def _check_sgd(sgd: SGD) -> None:
    checks.instance("sgd", sgd, SGD, "must be a dfp.SGD, whose loss it is; of an average give average.iterate.")


def _given(sgd: SGD, over: Moments | Solution) -> tuple[Array, Array]:
    if not isinstance(over, (Moments, Solution)):
        raise DFPError(f"over={checks.shown(over)}: must be moments or a solution; give dfp.moments(...).")
    checks.alike("over", over.mean.shape[1], sgd.dimension, "give moments of this SGD's own parameters")
    return over.mean, over.covariance


def _curved(hessian: Array, mean: Array, covariance: Array) -> Array:
    """Return ½ E[xᵀHx], shape (S,)."""
    found = (np.einsum("ij,sji->s", hessian, covariance) + np.einsum("si,ij,sj->s", mean, hessian, mean)) / 2
    return np.where(_diverges(hessian, mean, covariance), np.inf, found)


def _diverges(hessian: Array, mean: Array, covariance: Array) -> Any:
    """Tell where mean squares are infinite and enter with positive weight alone, shape (S,).

    A linear term is smaller than the square far out, so that it changes nothing, even where there is no mean.
    """
    lacking = ~(np.isfinite(mean).all(axis=1) & np.isfinite(covariance).all(axis=(1, 2)))
    return lacking & bool(np.linalg.eigvalsh((hessian + hessian.T) / 2)[0] > 0)


def stationary_excess_loss(equation: Equation) -> float:
    """Return ½ tr(HΣ), the mean loss above the minimum in the stationary state [loss].

    Raises
    ------
    NoStationaryDensity
        If there is no stationary variance.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.2)
    >>> print(round(dfp.stationary_excess_loss(dfp.MasterEquation(sgd)), 4))
    0.0556
    """
    return float(np.sum(equation.sgd.loss_hessian * stationary_moments(equation).covariance) / 2)


def effective_temperature(equation: Equation) -> Array:
    """Return λ_i Var θ_i of every mode in the stationary state, shape (d,), in the order of ``dfp.modes`` [loss].

    In equilibrium each mode would hold ½T, whatever its curvature (equipartition). Langevin with noise C = D·1 has
    T = ηD/2 for every mode; SGD has ηD/(2 − ηλ), hotter where it is sharp.

    Raises
    ------
    NoStationaryDensity
        If there is no stationary variance.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([0.1, 1.0], noise=dfp.GaussianNoise(1.0)), learning_rate=0.2)
    >>> print(dfp.effective_temperature(dfp.MasterEquation(sgd)).round(4))  # sharp modes are hotter
    [0.101  0.1111]
    >>> print(dfp.effective_temperature(dfp.Langevin(sgd)).round(4))
    [0.1 0.1]
    """
    values, _, inverse = equation.sgd.modes_of_map
    covariance = stationary_moments(equation).covariance
    return values * np.einsum("ij,jk,ik->i", inverse, covariance, inverse)


def _heavy(equation: Equation) -> bool:
    """Tell whether momentum carries memory beside θ."""
    return equation.discrete and equation.sgd.momentum > 0


def _power(matrix: Array, count: float) -> Array:
    return np.linalg.matrix_power(matrix, int(count))


def _memory(equation: Equation, steps: Array) -> Array:
    """Return the mean propagators F_n, E[θ_n | θ_0] = F_n θ_0 + const, at ``steps`` (S,), shape (S, d, d).

    With momentum v = 0 at step 0 (T19).
    """
    if _heavy(equation):
        d, (step, _) = equation.dimension, mean_map(equation.sgd, equation.sgd.learning_rate)
        return np.array([_power(step, n)[:d, :d] for n in steps])
    values, vectors, inverse = equation.sgd.modes_of_map
    rates = equation.mode_rates(values) * values
    if equation.discrete:
        factors = (1 - rates) ** np.asarray(steps)[:, None]
    else:
        factors = np.exp(-rates * (np.asarray(steps)[:, None] * equation.sgd.learning_rate))
    return (vectors * factors[:, None, :]) @ inverse


def mean_squared_displacement(
    equation: Equation, initial: State | Ending, steps: int, save: Sequence[int] | None = None
) -> Array:
    """Return E‖θ_n − θ_0‖² at the saved steps, exactly, for every equation.

    Parameters
    ----------
    equation, initial, steps, save
        As of ``dfp.moments``.

    Returns
    -------
    Array
        Shape (S,) [parameter^2].

    Examples
    --------
    >>> import dfp
    >>> flat = dfp.SGD(dfp.QuadraticLandscape([0.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.1)
    >>> print(dfp.mean_squared_displacement(dfp.MasterEquation(flat), dfp.Point(0.0), 100, [1, 10, 100]).round(4))
    [0.01 0.1  1.  ]
    """
    initial = started(initial, moments=True)
    check_problem(equation, initial)
    path = moments(equation, initial, steps, save)
    memory = _memory(equation, path.steps.astype(float))
    shared = memory @ initial.covariance  # Cov(θ_n, θ_0)
    spread = np.trace(path.covariance - 2 * shared, axis1=1, axis2=2) + np.trace(initial.covariance)
    return spread + np.sum((path.mean - initial.mean) ** 2, axis=1)


def autocorrelation(equation: Equation, lags: Sequence[int]) -> Array:
    """Return the correlations of θ_i at step s + n with θ_j at step s, in the stationary state.

    Parameters
    ----------
    equation
        Any equation with a stationary variance.
    lags
        n >= 0, increasing [step].

    Returns
    -------
    Array
        Shape (S, d, d), ones on the diagonal at lag 0. One mode alone: (1 − ηλ)ⁿ for SGD.

    Raises
    ------
    NoStationaryDensity
        If there is no stationary variance.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.2)
    >>> print(dfp.autocorrelation(dfp.MasterEquation(sgd), [0, 1, 2]).ravel().round(4))
    [1.   0.8  0.64]
    """
    counted = checks.step_list("lags", lags, 2**53)
    if not equation.sgd.affine:
        return nonlinear_law.autocorrelation(equation, counted)
    covariance = stationary_moments(equation).covariance
    deviation = np.sqrt(np.diag(covariance))
    if not np.all(deviation > 0):
        raise DFPError("noise vanishes along an axis, so nothing correlates there; give noise to every parameter.")
    if _heavy(equation):
        d, (step, _) = equation.dimension, mean_map(equation.sgd, equation.sgd.learning_rate)
        whole = stationary_average.with_velocity(equation.sgd, covariance, step)
        lagged = np.array([(_power(step, n) @ whole)[:d, :d] for n in counted])
    else:
        lagged = _memory(equation, counted.astype(float)) @ covariance
    return lagged / np.outer(deviation, deviation)
