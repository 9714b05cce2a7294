"""Moments of stationary laws: the exact ones, not those of a grid, and in words which of them do not exist."""

from dataclasses import replace

import numpy as np
from dfp_solvers import pearson

from dfp.checks import Array
from dfp.errors import NoStationaryDensity
from dfp.exact.cumulants import second_order_polynomial
from dfp.exact.heavy import bounded, without
from dfp.exact.moments import lacking
from dfp.long_time.stationary_moments import stationary_moments
from dfp.problem.equation import Equation
from dfp.problem.state import Density
from dfp.regimes.mode_report import modes


def with_exact_moments(equation: Equation, law: Density) -> Density:
    """Return the stationary law with its exact mean and covariance: NaN or inf where they do not exist, with a warning.

    Those of nonlinear landscapes stay, which are known by their cells alone.
    """
    if not equation.sgd.affine:
        return law
    if not equation.sgd.noise.finite:
        settled = stationary_moments(bounded(equation))
        mean, covariance = without(equation, equation.dimension, settled.mean, settled.covariance)
        return _warned(law, mean, covariance, lacking(equation))
    try:
        settled = stationary_moments(equation)
    except NoStationaryDensity:  # on a line alone, see ``recurrence``
        index = tail_index(equation)
        undefined = index <= 1
        mean = np.full(1, np.nan) if undefined else equation.sgd.critical_point
        what, most = ("no mean and no variance", 1) if undefined else ("no variance", 2)
        why = f"the law has {what}: its tails P(|θ| > x) fall like x^-κ, κ = {index:.3g} <= {most}"
        return _warned(law, mean, np.full((1, 1), np.inf), why)
    return law.with_moments(settled.mean, settled.covariance)


def tail_index(equation: Equation) -> float:
    """Return κ, P(|θ| > x) ~ x^-κ, of the stationary law of one parameter under noise that depends on θ."""
    if equation.discrete and not equation.truncated:
        return float(modes(equation.sgd)[0].tail_index)
    coefficients = second_order_polynomial(equation)[0, 0]
    diffusion = float(coefficients[0, 0]), 2 * float(coefficients[0, 1]), float(coefficients[1, 1])
    return pearson.tail_index(float(equation.linear_drift.item()), diffusion)


def _warned(law: Density, mean: Array, covariance: Array, why: str) -> Density:
    return told(law, f"{why}; go by law.quantile(...) and law.probability(...).").with_moments(mean, covariance)


def told(law: Density, warning: str) -> Density:
    """Return the law with a further warning."""
    return replace(law, warnings=(*law.warnings, warning))
