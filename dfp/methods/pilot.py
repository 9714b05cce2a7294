"""Where a density goes: exact moments where they close, else those of a pilot sample, good enough to choose a grid."""

import numpy as np
from numpy.typing import NDArray

from dfp.checks import TINY, Array
from dfp.errors import UnresolvedError
from dfp.exact.moments import Moments, moments_at
from dfp.problem.equation import Equation
from dfp.problem.sgd import SGD
from dfp.problem.state import State

# Errors of a few per cent only shift the edge of a box, so that few trajectories will do.
_TRAJECTORIES = 2048
# Beyond this a trajectory counts as diverged: no scale of a problem is so large, and its powers do not overflow yet.
_DIVERGED = 1e30


def moments_along(equation: Equation, initial: State, saved: NDArray[np.int64]) -> Moments:
    """Return mean and covariance at the steps ``saved`` (S,): exact, or sampled if the landscape is nonlinear.

    The pilot samples SGD itself, which all equations approximate.

    Raises
    ------
    UnresolvedError
        If more than half of the pilot's trajectories diverge.
    """
    if equation.sgd.affine:
        return moments_at(equation, initial, saved)
    rng = np.random.default_rng(0)
    theta: Array = initial.draw(_TRAJECTORIES, rng)
    begin = 0
    means, covariances = [], []
    for step in saved.tolist():
        for n in range(begin + 1, step + 1):
            theta = _moved(equation.sgd, theta, rng)
            theta = theta[np.all(np.abs(theta) < _DIVERGED, axis=1)]
            if len(theta) < _TRAJECTORIES / 2:
                raise UnresolvedError(
                    f"step {n}: most trajectories have diverged at learning_rate={equation.sgd.learning_rate:g}; "
                    "lower it or save earlier steps."
                )
        begin = step
        means.append(theta.mean(axis=0))
        covariances.append(np.atleast_2d(np.cov(theta, rowvar=False)))
    return Moments(saved, np.array(means), np.array(covariances))


def unknown(path: Moments) -> Moments:
    """Return moments that say nothing, at the same steps: those of a pilot are no reference for a certificate."""
    return Moments(path.steps, np.full_like(path.mean, np.nan), np.full_like(path.covariance, np.nan))


def _moved(sgd: SGD, theta: Array, rng: np.random.Generator) -> Array:
    noise = np.einsum("nij,nj->ni", roots(sgd.local.covariance_at(theta)), rng.standard_normal(theta.shape))
    return theta - sgd.learning_rate * (sgd.local.gradient_at(theta) + noise)


def roots(covariances: Array) -> Array:
    """Return F with F Fᵀ = C for each C of ``covariances`` (N, d, d); negative eigenvalues count as zero."""
    if covariances.shape[-1] == 1:
        return np.sqrt(np.maximum(covariances, 0.0))
    values, vectors = np.linalg.eigh(covariances)
    return vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]


def quantiles(equation: Equation, initial: State, saved: NDArray[np.int64], count: int, seed: int) -> Moments:
    """Return middles and squared widths of the bulk in place of moments that noise without a variance has not.

    They come from ``count`` trajectories.
    """
    sgd, law = equation.sgd, equation.sgd.noise
    rng = np.random.default_rng(seed)
    theta = initial.draw(count, rng)
    velocity = np.zeros_like(theta)
    middle, covariance, now = [], [], 0
    for n in saved.tolist():
        for step in range(now, n):
            gradient = theta @ sgd.hessian + sgd.gradient + law.increments(theta, rng)
            velocity = sgd.momentum * velocity + gradient
            theta = theta - sgd.learning_rates.at(step) * (
                gradient + sgd.momentum * velocity if sgd.nesterov else velocity
            )
        low, high = np.quantile(theta, [0.005, 0.995], axis=0)
        middle.append((low + high) / 2)
        covariance.append(np.diag(((high - low) / 6) ** 2 + TINY))
        now = n
    return Moments(saved, np.array(middle), np.array(covariance))
