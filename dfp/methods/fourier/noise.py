"""The characteristic function of additive noise that is not Gaussian (T4): a product with one factor for every step."""

import numpy as np
from dfp_solvers import fourier

from dfp.checks import Array, Complex
from dfp.exact.optimisers import loads
from dfp.methods.fourier.closed import in_theta
from dfp.problem.equation import Equation
from dfp.problem.noise import NoiseLaw

# Phases of this size are Gaussian to rounding error: their third powers are lost beside one.
_TINY = 1e-6


def gained(equation: Equation, step: int, waves: Array) -> Complex:
    """Return Π_s χ_s(k) at the wave vectors ``waves`` (..., d), χ_s for what step s of so many adds to θ_n."""
    return (_of_steps if equation.sgd.plain else _of_loads)(equation, step, waves)


def _of_steps(equation: Equation, step: int, waves: Array) -> Complex:
    """Return Π_{s<n} χ(−η Aˢk), A = I − ηH."""
    sgd, law, result = equation.sgd, equation.sgd.noise, np.ones(waves.shape[:-1], dtype=np.complex128)
    identity, reach = np.eye(sgd.dimension), _reach(waves)
    one_step, load = identity - sgd.learning_rate * sgd.hessian, -sgd.learning_rate * identity
    for s in range(step):
        if reach * _deviation(law, load) < _TINY:
            rest = in_theta(equation, step)[2] - in_theta(equation, s)[2]
            return result * fourier.gaussian(waves, np.zeros(sgd.dimension), rest)
        result *= law.loaded_characteristic(waves, load)
        load = one_step @ load
    return result


def _of_loads(equation: Equation, step: int, waves: Array) -> Complex:
    """Return the product with momentum or a schedule, where the gradient of step s enters θ_n by a matrix (T19)."""
    sgd, law, result = equation.sgd, equation.sgd.law, np.ones(waves.shape[:-1], dtype=np.complex128)
    left, reach = np.zeros((sgd.dimension,) * 2), _reach(waves)
    for load, batch_size in loads(sgd, step):
        here = law.with_batch_size(batch_size)
        if reach * _deviation(here, load) < _TINY:
            left += load @ here.constant @ load.T
        else:
            result *= here.loaded_characteristic(waves, load)
    return result * fourier.gaussian(waves, np.zeros(sgd.dimension), left)


def _reach(waves: Array) -> float:
    return float(np.sqrt(np.max(np.sum(waves**2, axis=-1))))


def _deviation(law: NoiseLaw, load: Array) -> float:
    """Return at least the largest standard deviation of ``load`` times the gradient; infinite where there is none."""
    return float(np.linalg.norm(load, 2) * np.linalg.norm(law.constant, 2) ** 0.5) if law.finite else np.inf
