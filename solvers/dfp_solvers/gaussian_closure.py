"""A Gaussian carried by a landscape that is not quadratic: its expectations by points, its motion by affine segments.

Between two renewals the mean gradient is affine and the noise additive, so that mean and covariance move in closed
form, mode by mode of the segment's own mean Hessian (``modal``); with momentum each mode carries two numbers (T19).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dfp_solvers import modal
from dfp_solvers.arrays import Array


class Joint(NamedTuple):
    """Mean and covariance of d parameters, each with m = 1 number (θ) or m = 2 (θ and velocity)."""

    mean: Array
    """Shape (d, m)."""
    covariance: Array
    """Shape (d, d, m, m)."""


class Coefficients(NamedTuple):
    """An affine mean gradient Hθ + g and a noise covariance; averages of such are such again."""

    hessian: Array
    """Shape (d, d)."""
    gradient: Array
    """g, shape (d,)."""
    noise: Array
    """Covariance of single samples' gradients, shape (d, d)."""


class Rule(NamedTuple):
    """How steps are taken."""

    learning_rate: float
    momentum: float
    nesterov: bool
    batch_size: int
    population: int
    """N without replacement, where the minibatches of an epoch exclude each other (T18); 0 with replacement."""


def point(d: int, momentum: bool) -> Joint:
    """Return the state that is at the origin with certainty, and at rest."""
    m = 2 if momentum else 1
    return Joint(np.zeros((d, m)), np.zeros((d, d, m, m)))


def blend(first: Coefficients, second: Coefficients, weight: float) -> Coefficients:
    """Return (1 − w) ``first`` + w ``second``."""
    return Coefficients(*((1 - weight) * a + weight * b for a, b in zip(first, second, strict=True)))


def advance(state: Joint, coefficients: Coefficients, rule: Rule, counts: Sequence[int]) -> list[Joint]:
    """Return the states after ``counts`` equal steps; without replacement from the start of an epoch."""
    values, axes = np.linalg.eigh(coefficients.hessian)
    start = _turned(state, axes)
    push, noise = axes.T @ coefficients.gradient, axes.T @ coefficients.noise @ axes
    result = []
    for count in counts:
        taken = _taken(values, noise, rule, count)
        mean = (taken.factor @ start.mean[..., None])[..., 0] + taken.gain * push[:, None]
        result.append(_turned(Joint(mean, modal.propagated(taken.factor, start.covariance) + taken.noise), axes.T))
    return result


def _taken(values: Array, noise: Array, rule: Rule, count: int) -> modal.Transition:
    one = modal.step(values, noise / rule.batch_size, rule.learning_rate, rule.momentum, rule.nesterov)
    if not rule.population:
        return modal.power(one, count)

    def epoch(steps: int) -> modal.Transition:
        run = modal.epoch_run(one, steps, noise)
        return modal.within_epoch([run], noise, rule.population, rule.batch_size)

    length = rule.population // rule.batch_size
    whole = modal.power(epoch(length), count // length)
    return modal.compose(whole, epoch(count % length)) if count % length else whole


def _turned(state: Joint, axes: Array) -> Joint:
    """Return the components along orthonormal ``axes`` (d, d), columns."""
    blocks = np.moveaxis(state.covariance, (2, 3), (0, 1))
    return Joint(axes.T @ state.mean, np.moveaxis(axes.T @ blocks @ axes, (0, 1), (2, 3)))


def points(covariances: Sequence[Array], pairs: int, rng: np.random.Generator) -> list[Array]:
    """Return, for each covariance (d, d), points of mean zero that stand for a Gaussian, shape (2 pairs, d).

    Pairs of opposite points along orthonormal directions of the whitened space, √d long: odd moments vanish, and with
    d pairs or more mean and covariance are exact, so that expectations of cubic polynomials are. The directions of
    different covariances are orthogonal to each other as far as d allows.
    """
    d = len(covariances[0])
    wanted = pairs * len(covariances)
    directions: list[Array] = []
    while len(directions) < wanted:
        directions += list(np.linalg.qr(rng.standard_normal((d, min(d, wanted))))[0].T)
    result = []
    for index, covariance in enumerate(covariances):
        values, axes = np.linalg.eigh(covariance)
        root = axes * np.sqrt(np.maximum(values, 0.0))
        half = np.sqrt(d) * np.array(directions[index * pairs : (index + 1) * pairs]) @ root.T
        result.append(np.concatenate([half, -half]))
    return result
