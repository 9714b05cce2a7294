"""What MonteCarlo samples: the model of one step of an equation; its optimiser; arrays or functions."""

from typing import Any

import numpy as np
from dfp_solvers.trajectories import functions as function_sampling
from dfp_solvers.trajectories import models
from numpy.typing import NDArray

from dfp.checks import Array
from dfp.errors import DFPError
from dfp.exact.cumulants import unpolynomial
from dfp.exact.moments import Moments, conditional
from dfp.methods.pilot import roots
from dfp.problem.additive import AdditiveLaw
from dfp.problem.equation import Equation
from dfp.problem.finite_sum import FiniteSumLaw
from dfp.problem.noise import GaussianLaw, NoiseLaw
from dfp.problem.sgd import SGD


def model_of(equation: Equation, substeps: int) -> Any:
    """Return the model of one step or, where SGD is not plain, of the gradient."""
    sgd, d = equation.sgd, equation.dimension
    if not sgd.affine:
        return _function_model(equation)
    if not equation.discrete:
        count = 1 if equation.additive else substeps
        factor, shift, covariance = conditional(equation, sgd.learning_rate / count)
        return models.ConditionalModel(factor, shift, *unpolynomial(covariance), count)
    # Plain steps are the model itself; otherwise it is the gradient, as for η = −1, and the optimiser takes the step.
    rate, law = (sgd.learning_rate, sgd.noise) if sgd.plain else (-1.0, sgd.unit_noise)
    kept = np.eye(d) if sgd.plain else np.zeros((d, d))
    if isinstance(law, GaussianLaw):
        vectors, matrices = law.loadings()
        entries = [(r, i, -1, vectors[r, i]) for r in range(len(vectors)) for i in range(d)]
        entries += [(r, *ij, matrices[(r, *ij)]) for r in range(len(matrices)) for ij in np.ndindex(d, d)]
        entries = [entry for entry in entries if entry[3] != 0]
        columns = np.array([entry[:3] for entry in entries], dtype=np.int64).reshape(-1, 3)
        return models.GaussianModel(
            kept - rate * sgd.hessian,
            -rate * sgd.gradient,
            normal=columns[:, 0].copy(),
            row=columns[:, 1].copy(),
            column=columns[:, 2].copy(),
            value=-rate * np.array([entry[3] for entry in entries], dtype=np.float64),
            normals=len(vectors),
        )
    if isinstance(sgd.law, AdditiveLaw):
        return _transformed(sgd, sgd.noise, rate, kept)
    assert isinstance(law, FiniteSumLaw)
    size = law.batch_size if sgd.batches is None else sgd.samples_at(0)
    kept = kept - rate * sgd.weight_decay * np.eye(d)
    if law.features is not None and law.targets is not None:
        return models.RegressionModel(kept, np.zeros(d), law.features, law.targets, rate, size)
    return models.SampleModel(kept, np.zeros(d), law.sample_hessians(), law.gradients, rate, size)


def _transformed(sgd: SGD, law: NoiseLaw, rate: float, kept: Array) -> models.TransformedModel:
    """Return the model of additive noise of any law: draw r of component a has number r d + a."""
    assert isinstance(law, AdditiveLaw)
    d, batch = sgd.dimension, law.batch_size
    index = np.array([(row, draw * d + a) for draw in range(batch) for a in range(d) for row in range(d)])
    value = -rate / batch * np.array([law.axes[row, number % d] for row, number in index])
    tables = [part.table for part in law.laws]
    return models.TransformedModel(
        kept - rate * sgd.hessian,
        -rate * sgd.gradient,
        normal=index[:, 1].copy(),
        row=index[:, 0].copy(),
        column=np.full(len(index), -1),
        value=value,
        normals=d * batch,
        pieces=[table.pieces for table in tables],
        guide=np.array([table.guide for table in tables]),
    )


def optimiser_of(sgd: SGD, steps: int) -> models.Optimiser:
    """Return what makes steps of gradients, for so many of them."""
    rates = sgd.learning_rates.values(0, 1 if sgd.learning_rates.constant else max(steps, 1))
    sizes: NDArray[np.int64] = np.empty(0, dtype=np.int64)
    if sgd.batches is not None and sgd.replace and not isinstance(sgd.law, AdditiveLaw):
        sizes = sgd.batches.values(0, 1 if sgd.batches.constant else max(steps, 1)).astype(np.int64)
    return models.Optimiser(rates, sizes, sgd.momentum, sgd.nesterov, sgd.epoch)


def identity_of(model: Any, exact: Moments, scale: Array) -> list[Any]:
    """Return what tells one model from another: of functions, values at some places."""
    if not isinstance(model, function_sampling.FunctionModel):
        return [model]
    places = np.concatenate([exact.mean, exact.mean + scale, exact.mean - scale])
    return [model.mean(places), model.factor(places)]


def _function_model(equation: Equation) -> function_sampling.FunctionModel:
    def factor(theta: Array) -> Array:
        covariance = equation.diffusion(theta)
        smallest = np.linalg.eigvalsh(covariance)[:, 0] if equation.dimension > 1 else covariance[:, 0, 0]
        if smallest.min() < -1e-12 * float(np.abs(covariance).max()):
            place = theta[int(np.argmin(smallest))]
            raise DFPError(f"covariance has a negative eigenvalue at θ = {place}: it must be positive semidefinite.")
        return roots(covariance)

    def mean(theta: Array) -> Array:
        return theta + equation.drift(theta)

    return function_sampling.FunctionModel(equation.dimension, mean, factor)
