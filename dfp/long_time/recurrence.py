"""Does a law settle? Stationary moments where they exist, and the reasons where no stationary density does."""

import numpy as np

from dfp.errors import NoStationaryDensity, UnsupportedError
from dfp.long_time.stationary_moments import moment_growth, stationary_moments
from dfp.problem.equation import Equation
from dfp.problem.state import Gaussian
from dfp.regimes.mode_report import lyapunov_exponent

_REMEDY = "change learning_rate or weight_decay, or use dfp.solve or dfp.moments for its law at a given step"


def settled_moments(equation: Equation) -> Gaussian | None:
    """Return the mean and covariance of the stationary law, as a Gaussian, or None if they are unbounded."""
    try:
        moments = stationary_moments(equation)
    except NoStationaryDensity:
        return None
    return Gaussian(moments.mean, moments.covariance)


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
    values = equation.sgd.modes_of_map[0]
    mode = f"the modes of curvature {np.array2string(values, precision=4)} in the {equation.label}"
    if equation.number != "T4":
        raise UnsupportedError(
            f"{mode}: second moments grow (rate {moment_growth(equation):.3g} > 0), so the law, if it "
            f"settles, has power-law tails without a variance, which no grid holds for d > 1; {_REMEDY}."
        )
    exponent, error = lyapunov_exponent(equation.sgd)
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
            f"(ρ₂ = {1 + moment_growth(equation):.4g} >= 1), which no grid holds for d > 1; {_REMEDY}."
        )
