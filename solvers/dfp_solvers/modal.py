"""Affine dynamics with additive noise, mode by mode: each mode carries m = 1 number (θ) or m = 2 (θ and velocity).

In the eigenbasis of the mean Hessian the state of mode i moves by its own matrix, z_i' = A_i z_i + b_i (g_i + g̃_i),
and covariances of two modes by one matrix on each side (T19): no matrix is ever larger than the covariance itself. Runs
of equal steps cost the logarithm of their length, by doubling.
"""

from typing import NamedTuple

import numpy as np

from dfp_solvers import matrices
from dfp_solvers.arrays import Array


class Transition(NamedTuple):
    """Some steps taken together; arrays may carry a leading axis of many such."""

    factor: Array
    """How the state of each mode is carried on, shape (d, m, m)."""
    gain: Array
    """Response to a unit gradient at every one of the steps, Σ_s A^s b, shape (d, m)."""
    noise: Array
    """Covariance gained, shape (d, d, m, m): modes, then their states."""
    steps: int
    """Number of steps."""


def identity(d: int, m: int) -> Transition:
    """Return no steps at all."""
    return Transition(np.tile(np.eye(m), (d, 1, 1)), np.zeros((d, m)), np.zeros((d, d, m, m)), 0)


def step(curvatures: Array, noise: Array, learning_rate: Array | float, momentum: float, nesterov: bool) -> Transition:
    """Return one step of SGD (T1), in the doubled state (θ, v) if there is momentum (T19).

    Parameters
    ----------
    curvatures
        Eigenvalues λ of the mean Hessian, weight decay included, shape (d,).
    noise
        Covariance of g̃ in the eigenbasis, shape (d, d) or (n, d, d).
    learning_rate
        η, a number; or of n steps that are not yet joined, shape (n,).
    momentum
        β.
    nesterov
        Nesterov's form, as in PyTorch; otherwise heavy ball.
    """
    eta = np.asarray(learning_rate)[..., None] * np.ones_like(curvatures)
    if momentum == 0:
        factor, gain = (1 - eta * curvatures)[..., None, None], -eta[..., None]
    else:
        p, q = (1 + momentum, momentum**2) if nesterov else (1.0, momentum)
        ones = np.ones_like(eta)
        rows = [[1 - eta * p * curvatures, -eta * q], [curvatures * ones, momentum * ones]]
        factor = np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
        gain = np.stack([-eta * p, ones], axis=-1)
    return Transition(factor, gain, _pairs(gain, noise), 1)


def compose(first: Transition, then: Transition) -> Transition:
    """Return the steps of ``first`` followed by those of ``then``, whose noises are independent."""
    gain = _applied(then.factor, first.gain) + then.gain
    return Transition(
        then.factor @ first.factor, gain, propagated(then.factor, first.noise) + then.noise, first.steps + then.steps
    )


def power(one: Transition, count: int) -> Transition:
    """Return ``count`` >= 0 times the same steps, by doubling."""
    result = identity(*one.gain.shape)
    while count:
        if count % 2:
            result = compose(result, one)
        count //= 2
        if count:
            one = compose(one, one)
    return result


def product(steps: Transition) -> Transition:
    """Return all steps of a leading axis one after the other, joined pair by pair."""
    last = None
    while len(steps.factor) > 1:
        count = len(steps.factor)
        if count % 2:
            odd = _some(steps, count - 1)
            last = odd if last is None else compose(odd, last)
        steps = compose(_some(steps, slice(0, count - 1, 2)), _some(steps, slice(1, count, 2)))
    first = _some(steps, 0)
    return first if last is None else compose(first, last)


def _some(steps: Transition, which: int | slice) -> Transition:
    return Transition(steps.factor[which], steps.gain[which], steps.noise[which], steps.steps)


def stationary(one: Transition) -> Array:
    """Return the covariance that steps leave as it is, Σ_ij = F_i Σ_ij F_jᵀ + N_ij, shape (d, d, m, m)."""
    return _left_alone(one.factor - np.eye(one.factor.shape[-1]), one.noise)


def stationary_step(curvatures: Array, noise: Array, rate: float, momentum: float, nesterov: bool) -> Array:
    """Return the same of a single step, of the arguments of ``step``, to the digits of its rates however small."""
    one = step(curvatures, noise, rate, momentum, nesterov)
    if momentum == 0:
        return _left_alone((-rate * curvatures)[:, None, None], one.noise)
    p, q = (1 + momentum, momentum**2) if nesterov else (1.0, momentum)
    ones = np.ones_like(curvatures)
    rows = [[-rate * p * curvatures, -rate * q * ones], [curvatures, (momentum - 1) * ones]]
    return _left_alone(np.stack([np.stack(row, axis=-1) for row in rows], axis=-2), one.noise)


def largest_decay(momentum: float, nesterov: bool) -> float:
    """Return the ηλ below which a mode is stable: 2(1 + β), with Nesterov 2(1 + β)/(1 + 2β); 2 without momentum."""
    return 2 * (1 + momentum) / (1 + 2 * momentum if nesterov else 1)


def _left_alone(increment: Array, noise: Array) -> Array:
    """Return Σ with F Σ Fᵀ + N = Σ for F = 1 + ``increment`` (d, m, m)."""
    d, m = len(increment), increment.shape[-1]
    one = np.broadcast_to(np.eye(m), increment.shape)
    change = sum(np.einsum("iab,jcd->ijacbd", a, b) for a, b in ((increment, one), (one, increment), (increment,) * 2))
    change = np.asarray(change).reshape(d, d, m * m, m * m)
    return matrices.solve_graded(-change, noise.reshape(d, d, m * m)).reshape(d, d, m, m)


def propagated(factor: Array, covariance: Array) -> Array:
    """Return F_i Σ_ij F_jᵀ for all pairs of modes, shapes (..., d, m, m) and (..., d, d, m, m)."""
    if factor.shape[-1] == 1:
        flat = factor[..., 0, 0]
        return covariance * (flat[..., :, None] * flat[..., None, :])[..., None, None]
    return factor[..., :, None, :, :] @ covariance @ np.swapaxes(factor, -1, -2)[..., None, :, :, :]


def within_epoch(runs: list[Transition], spread: Array, population: int, batch_size: int) -> Transition:
    """Return consecutive steps of one epoch, from its beginning, with minibatches that exclude each other (T18).

    Parameters
    ----------
    runs
        Runs of equal steps as ``epoch_run`` makes them, in order.
    spread
        Covariance σ² = Σ_i δg_i δg_iᵀ / N of single samples in the eigenbasis, shape (d, d).
    population, batch_size
        N and B; all steps together take at most N samples.

    Notes
    -----
    With M_s the response at the end to the gradient of step s, and j steps, (T18) is N/((N−1)B) times
    Σ (M_s − M̄) σ² (M_s − M̄)ᵀ + (1/j − B/N) G σ² Gᵀ, G = Σ M_s: no term is negative, so that nothing cancels as the
    epoch ends. ``noise`` of the runs is that first sum.
    """
    total = runs[0]
    for part in runs[1:]:
        total = _joined(total, part, spread)
    if total.steps == 0:
        return total
    left = max(1.0 / total.steps - batch_size / population, 0.0)
    noise = (total.noise + left * _pairs(total.gain, spread)) * (population / (max(population - 1, 1) * batch_size))
    return total._replace(noise=noise)


def epoch_run(one: Transition, count: int, spread: Array) -> Transition:
    """Return ``count`` equal steps as a part for ``within_epoch``."""
    one = one._replace(noise=np.zeros_like(one.noise))
    result = identity(*one.gain.shape)
    while count:
        if count % 2:
            result = _joined(result, one, spread)
        count //= 2
        if count:
            one = _joined(one, one, spread)
    return result


def _joined(first: Transition, then: Transition, spread: Array) -> Transition:
    """Return both parts; ``noise`` is the sum of squares about the mean response (Chan, Golub & LeVeque 1983)."""
    both = compose(first, then)
    if first.steps and then.steps:
        apart = _applied(then.factor, first.gain) / first.steps - then.gain / then.steps
        both = both._replace(noise=both.noise + first.steps * then.steps / both.steps * _pairs(apart, spread))
    return both


def _applied(factor: Array, vectors: Array) -> Array:
    return (factor @ vectors[..., None])[..., 0]


def _pairs(vectors: Array, covariance: Array) -> Array:
    """Return b_i C_ij b_jᵀ, shape (..., d, d, m, m)."""
    return vectors[..., :, None, :, None] * covariance[..., None, None] * vectors[..., None, :, None, :]
