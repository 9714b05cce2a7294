"""Where a density goes: exact moments where they close, else those of a pilot sample, good enough to choose a grid."""

import numpy as np
from dfp_solvers.quantiles import narrowest
from numpy.typing import NDArray

from dfp.checks import TINY, Array
from dfp.errors import UnresolvedError
from dfp.exact.moments import Moments, moments_at
from dfp.problem.equation import Equation
from dfp.problem.sgd import SGD
from dfp.problem.state import State

# Errors of a few per cent only shift the edge of a box, so that few trajectories will do.
_TRAJECTORIES = 2048
# Trajectories with twice the noise, the share of them that counts as seen, and the least half-width of boxes in
# deviations.
_HOT, _SEEN, _BOX = 512, 0.995, 7.0
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
    sample = _Sample(equation.sgd, initial.draw(_TRAJECTORIES, rng), rng)
    hot = _Sample(equation.sgd, initial.draw(_HOT, rng), rng, louder=2.0)
    means, covariances = [], []
    for step in saved.tolist():
        sample.advance(step)
        if len(sample.theta) < _TRAJECTORIES / 2:
            raise UnresolvedError(
                f"step {step}: most trajectories have diverged at learning_rate="
                f"{equation.sgd.learning_rates.at(max(step - 1, 0)):g}; lower it or save earlier steps."
            )
        hot.advance(step)
        mean, covariance = sample.theta.mean(axis=0), np.atleast_2d(np.cov(sample.theta, rowvar=False))
        means.append(mean)
        covariances.append(_widened(mean, covariance, hot.theta))
    return Moments(saved, np.array(means), np.array(covariances))


def _widened(mean: Array, covariance: Array, hot: Array) -> Array:
    """Return the covariance with axes stretched so far that boxes hold where louder noise leads: to other wells.

    Escapes are too rare for the sample itself, and a box that ends at a barrier reflects them. Where there is one well
    alone, twice the noise leads no further than boxes go anyway.
    """
    if len(hot) < _HOT / 2:
        return covariance
    deviation = np.sqrt(covariance.diagonal())
    reach = np.quantile(np.abs(hot - mean), _SEEN, axis=0) / _BOX
    stretch = np.maximum(reach / np.maximum(deviation, TINY), 1.0)
    stretch[deviation == 0] = 1.0
    return covariance * np.outer(stretch, stretch)


class Visits:
    """Where ``count`` trajectories go whose noise and spread at the start are ``louder``."""

    def __init__(self, equation: Equation, initial: State, louder: float, count: int) -> None:
        rng = np.random.default_rng(1)
        start = initial.mean + louder * (initial.draw(count, rng) - initial.mean)
        self._sample, self._count = _Sample(equation.sgd, start, rng, louder), count

    def through(self, last: int) -> tuple[Array, Array, Array]:
        """Return the corners (d,) of the box that they visit from the step they are at up to ``last``.

        The third is the deviation of the densest part at the end, shape (d,).

        Raises
        ------
        UnresolvedError
            If more than half of them diverge.
        """
        sample = self._sample
        lower, upper = sample.theta.min(axis=0), sample.theta.max(axis=0)
        for step in range(sample.step + 1, last + 1):
            sample.advance(step)
            if len(sample.theta) < self._count / 2:
                raise UnresolvedError(f"step {step}: with {sample.louder:g} times the noise most trajectories diverge.")
            lower, upper = np.minimum(lower, sample.theta.min(axis=0)), np.maximum(upper, sample.theta.max(axis=0))
        return lower, upper, narrowest(sample.theta)


class _Sample:
    """Trajectories of SGD, with noise ``louder`` times as large; those that diverge are left out."""

    def __init__(self, sgd: SGD, theta: Array, rng: np.random.Generator, louder: float = 1.0) -> None:
        self.sgd, self.theta, self.rng, self.louder = sgd, theta, rng, louder
        self.velocity = np.zeros_like(theta)
        self.step = 0

    def advance(self, step: int) -> None:
        """Take all to a later ``step``."""
        sgd, local = self.sgd, self.sgd.local
        rates = sgd.learning_rates.values(self.step, step) if step > self.step else np.empty(0)
        for rate in rates:
            gradient = local.gradient_at(self.theta) + self.louder * local.draw(self.theta, self.rng)
            self.velocity = sgd.momentum * self.velocity + gradient
            self.theta = self.theta - rate * (
                gradient + sgd.momentum * self.velocity if sgd.nesterov else self.velocity
            )
            kept = np.all(np.abs(self.theta) < _DIVERGED, axis=1)
            self.theta, self.velocity = self.theta[kept], self.velocity[kept]
        self.step = step


def unknown(path: Moments) -> Moments:
    """Return moments that say nothing, at the same steps: those of a pilot are no reference for a certificate."""
    return Moments(path.steps, np.full_like(path.mean, np.nan), np.full_like(path.covariance, np.nan))


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
