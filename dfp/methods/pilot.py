"""Where a density goes: exact moments where they close, else those of a pilot sample, good enough to choose a grid."""

import numpy as np
from numpy.typing import NDArray

from dfp.checks import Array
from dfp.errors import UnresolvedError
from dfp.exact.moments import Moments, moments_at
from dfp.problem.equation import Equation
from dfp.problem.sgd import SGD
from dfp.problem.state import Density, State

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
    theta, begin = draw(initial, _TRAJECTORIES, rng), 0
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
    return Moments(saved, np.array(means), np.array(covariances), unknown="the landscape is nonlinear")


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


def draw(initial: State, count: int, rng: np.random.Generator) -> Array:
    """Return ``count`` points drawn from a state, shape (count, d); uniform inside the cells of a gridded density."""
    if isinstance(initial, Density):
        masses = initial.values.ravel() / initial.values.sum()
        cells = np.stack(np.unravel_index(rng.choice(masses.size, count, p=masses), initial.grid.cells), axis=-1)
        return initial.grid.lower + (cells + rng.random(cells.shape)) * initial.grid.spacing
    factor = roots(initial.covariance[None])[0]
    return initial.mean + rng.standard_normal((count, initial.dimension)) @ factor.T
