"""What MonteCarlo samples: the model of one step of an equation; its optimiser; arrays or functions."""

from functools import partial
from typing import Any

import numpy as np
from dfp_solvers.trajectories import functions as function_sampling
from dfp_solvers.trajectories import models
from numpy.typing import NDArray

from dfp.checks import Array
from dfp.errors import DFPError
from dfp.exact.cumulants import unpolynomial
from dfp.exact.moments import Moments, conditional
from dfp.problem.averages import Average
from dfp.problem.equation import Equation
from dfp.problem.nonlinear import Landscape, roots
from dfp.problem.sgd import SGD


def model_of(equation: Equation, substeps: int, *, gradient: bool) -> Any:
    """Return the model of one step or, for an optimiser, of the ``gradient``."""
    sgd, d = equation.sgd, equation.dimension
    if not sgd.affine:
        return _gradient_model(sgd) if gradient else _function_model(equation)
    if not equation.discrete:
        count = 1 if equation.additive else substeps
        factor, shift, covariance = conditional(equation, sgd.learning_rate / count)
        return models.ConditionalModel(factor, shift, *unpolynomial(covariance), count)
    # Steps are the model itself or it is the gradient, as for η = −1, and the optimiser takes the step.
    law = sgd.noise if _one_batch_size(sgd) else sgd.unit_noise
    if not gradient:
        return law.trajectory_model(np.eye(d), sgd.hessian, sgd.gradient, sgd.learning_rate)
    return law.trajectory_model(np.zeros((d, d)), sgd.hessian, sgd.gradient, -1.0)


def _one_batch_size(sgd: SGD) -> bool:
    return sgd.batches is None or sgd.batches.constant


def optimiser_of(sgd: SGD, steps: int, average: Average | None) -> models.Optimiser:
    """Return what makes steps of gradients, for so many of them, and of the steps an average."""
    rates = sgd.learning_rates.values(0, 1 if sgd.learning_rates.constant else max(steps, 1))
    sizes: NDArray[np.int64] = np.empty(0, dtype=np.int64)
    if sgd.batches is not None and not _one_batch_size(sgd):
        sizes = sgd.batches.values(0, max(steps, 1)).astype(np.int64)
    weights = () if average is None else average.weights(max(steps, 1))
    return models.Optimiser(rates, sizes, sgd.momentum, sgd.nesterov, sgd.epoch, weights)


def identity_of(model: Any, exact: Moments, scale: Array) -> list[Any]:
    """Return what tells one model from another: of functions, values at some places."""
    if not isinstance(model, function_sampling.FunctionModel):
        return [model]
    places = np.concatenate([exact.mean, exact.mean + scale, exact.mean - scale])
    return [model.step(places, np.random.default_rng(0))]


# Functions of the module, with what they work on as first argument: processes can be sent them.


def _gradient_model(sgd: SGD) -> function_sampling.FunctionModel:
    """Return the model of a minibatch gradient of a nonlinear landscape, of which an optimiser makes steps."""
    return function_sampling.FunctionModel(sgd.dimension, partial(_gradient, sgd.local))


def _gradient(local: Landscape, theta: Array, rng: np.random.Generator) -> Array:
    return local.gradient_at(theta) + local.draw(theta, rng)


def _function_model(equation: Equation) -> function_sampling.FunctionModel:
    # Of noise that is not Gaussian there is the master equation alone, whose steps are those of SGD.
    step = _gaussian_step if equation.sgd.local.gaussian else _drawn_step
    return function_sampling.FunctionModel(equation.dimension, partial(step, equation))


def _drawn_step(equation: Equation, theta: Array, rng: np.random.Generator) -> Array:
    return theta + equation.drift(theta) - equation.learning_rate * equation.sgd.local.draw(theta, rng)


def _gaussian_step(equation: Equation, theta: Array, rng: np.random.Generator) -> Array:
    noise = rng.standard_normal(theta.shape)
    covariance = equation.diffusion(theta)
    smallest = np.linalg.eigvalsh(covariance)[:, 0] if equation.dimension > 1 else covariance[:, 0, 0]
    if smallest.min() < -1e-12 * float(np.abs(covariance).max()):
        place = theta[int(np.argmin(smallest))]
        raise DFPError(f"covariance has a negative eigenvalue at θ = {place}: it must be positive semidefinite.")
    return theta + equation.drift(theta) + np.einsum("nij,nj->ni", roots(covariance), noise)
