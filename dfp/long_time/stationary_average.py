"""Where averages of iterates settle: the fixed point of the second moments of (θ, m) (T20)."""

import numpy as np
from dfp_solvers import averages
from scipy import linalg

from dfp.checks import Array
from dfp.errors import NoStationaryDensity
from dfp.exact.averages import factors
from dfp.problem.averaged_equation import AveragedEquation
from dfp.problem.averages import ExponentialAverage
from dfp.problem.sgd import SGD


def covariance(equation: AveragedEquation, settled: Array) -> Array:
    """Return the stationary covariance (d, d) of m from that of θ, ``settled`` (d, d).

    Raises
    ------
    NoStationaryDensity
        If the average is that of a tail, whose variance falls like 1/n.
    """
    average, d = equation.average, equation.dimension
    if not isinstance(average, ExponentialAverage):
        raise NoStationaryDensity(
            "equation: the mean of a tail collapses onto the minimum, its variance falls like 1/n; use "
            "dfp.moments(...) at a step, or dfp.ExponentialAverage."
        )
    factor = next(factors(average.sgd, 1))
    whole = settled if not average.sgd.momentum else with_velocity(average.sgd, settled, factor)
    return averages.stationary(factor, 1 - average.decay, whole, d)


def with_velocity(sgd: SGD, settled: Array, factor: Array) -> Array:
    """Return the stationary covariance of (θ, v): its noise is that of the stationary second moments of θ (T19)."""
    mean = sgd.critical_point
    noise = sgd.noise.mean_covariance(np.ones(()), mean, settled + np.outer(mean, mean))
    eye = np.eye(sgd.dimension)
    push = np.vstack([-sgd.learning_rate * (1 + sgd.momentum * sgd.nesterov) * eye, eye])
    whole: Array = linalg.solve_discrete_lyapunov(factor, push @ noise @ push.T)
    return whole
