"""Top Lyapunov exponent of SGD's random matrix product: how fast |θ_n − θ'_n| of two runs with the same noise grows.

Independent lanes move a vector and renormalise it; each lane's mean log growth after a burn-in is one estimate, and the
spread between lanes gives the standard error. Heavy ball and Nesterov momentum move (θ, v) (T19).

With the step u ↦ m + w, m its mean and w its noise given u, the linear part m·w/|m|² of log|m + w| has the mean zero
and nearly all of the variance if steps are small: it is taken off. Lengths, and one component of the vector, grow alike
in the end, but where directions settle slowly a component along the mean's own fastest direction does so much sooner.
Of these four estimates the one with the smallest error is returned. What is left of the burn-in is judged from the
drift between two halves of the run and the time in which the direction settles.
"""

from collections.abc import Callable
from typing import NamedTuple

import numba
import numpy as np

from dfp_solvers.arrays import Array, Integers
from dfp_solvers.jit import kernel

# The most and the fewest lanes, and the work that decides in between: a few seconds, in multiplications.
LANES, _FEWEST, _WORK = 256, 16, 2e9
# A random number costs as much as so many multiplications.
_DRAW = 20
# Random numbers drawn at a time.
_PORTION = 2**22
# |m|² of a vector of length one, and that of its component, below which linear parts are damped: they keep a variance.
_DAMPED, _SMALL = 0.25, 0.01


class OptimiserStep(NamedTuple):
    """θ' = θ − η(p u + q v), v' = βv + u with u = H_ξ θ (T19); plain SGD has p = 1, q = β = 0."""

    learning_rate: float
    p: float = 1.0
    q: float = 0.0
    beta: float = 0.0


class Settling(NamedTuple):
    """How the directions of the lanes start and settle."""

    time: float = 0.0
    """Steps in which a direction forgets its start by a factor e; 0 if at once."""
    start: Array | None = None
    """Direction at the start, and of the component that is watched, shape (d,); random, and none, if left out."""


_AT_ONCE = Settling()


@kernel(fast=True)
def _finish(
    theta: Array, velocity: Array, pull: Array, noise: Array, step: Array, watched: Array, growth: Array
) -> None:
    """Move (θ, v) by u = ``pull`` + ``noise`` and scale it to length one.

    Adds to ``growth`` (4,) the logarithm of its length before, the part of that which is linear in the noise, and the
    same of the component of θ along ``watched``.
    """
    total, mean, cross = 0.0, 0.0, 0.0
    before, expected, shift = 0.0, 0.0, 0.0
    momentum = step[2] != 0.0
    for i in range(len(theta)):
        m = theta[i] - step[0] * (step[1] * pull[i] + step[2] * velocity[i])
        w = -step[0] * step[1] * noise[i]
        before, expected, shift = before + watched[i] * theta[i], expected + watched[i] * m, shift + watched[i] * w
        theta[i] = m + w
        total, mean, cross = total + theta[i] * theta[i], mean + m * m, cross + m * w
        if momentum:
            m, w = step[3] * velocity[i] + pull[i], noise[i]
            velocity[i] = m + w
            total, mean, cross = total + velocity[i] * velocity[i], mean + m * m, cross + m * w
    if total == 0.0:
        growth[0] = -np.inf
        return
    length = np.sqrt(total)
    for i in range(len(theta)):
        theta[i] /= length
        velocity[i] /= length
    growth[0] += np.log(length)
    growth[1] += cross / max(mean, _DAMPED)
    growth[2] += np.log(abs(expected + shift)) - np.log(abs(before))
    growth[3] += expected * shift / max(expected * expected, _SMALL)


@kernel(fast=True)
def _gaussian(
    hessian: Array, variances: Array, normals: Array, step: Array, theta: Array, velocity: Array, watched: Array,
    growth: Array,
) -> None:  # fmt: skip
    """Take steps with H_ξ = ``hessian`` + H̃, entries of H̃ independent: so are those of H̃u, by ``normals`` (n, d)."""
    d = len(theta)
    pull, noise = np.empty(d), np.empty(d)
    for n in range(len(normals)):
        for i in range(d):
            first, second = 0.0, 0.0
            for k in range(d):
                first += hessian[i, k] * theta[k]
                second += variances[i, k] * theta[k] * theta[k]
            pull[i], noise[i] = first, np.sqrt(second) * normals[n, i]
        _finish(theta, velocity, pull, noise, step, watched, growth)


@kernel(fast=True)
def _symmetric(
    hessian: Array, variances: Array, normals: Array, step: Array, theta: Array, velocity: Array, watched: Array,
    growth: Array,
) -> None:  # fmt: skip
    """The same with symmetric H̃, whose entries i <= k are independent: ``normals`` (n, d(d+1)/2), row by row."""
    d = len(theta)
    pull, noise, deviations = np.empty(d), np.empty(d), np.sqrt(variances)
    for n in range(len(normals)):
        at = 0
        for i in range(d):
            noise[i] = 0.0
            pull[i] = 0.0
            for k in range(d):
                pull[i] += hessian[i, k] * theta[k]
        for i in range(d):
            for k in range(i, d):
                drawn = deviations[i, k] * normals[n, at]
                at += 1
                noise[i] += drawn * theta[k]
                if k > i:
                    noise[k] += drawn * theta[i]
        _finish(theta, velocity, pull, noise, step, watched, growth)


@kernel(fast=True)
def _samples(
    table: Array, rank_one: bool, mean: Array, decay: float, picks: Integers, step: Array, theta: Array,
    velocity: Array, watched: Array, growth: Array,
) -> None:  # fmt: skip
    """Take steps with H_ξ the mean of the picked samples plus ω, about ``mean`` (d, d), ω included.

    ``table`` (N, d) holds x_i, or (N, d²) H_i.
    """
    d = len(theta)
    pull, noise = np.empty(d), np.empty(d)
    for n in range(len(picks)):
        for i in range(d):
            noise[i] = 0.0
            pull[i] = 0.0
            for k in range(d):
                pull[i] += mean[i, k] * theta[k]
        for b in range(picks.shape[1]):
            row = table[picks[n, b]]
            if rank_one:
                product = 0.0
                for k in range(d):
                    product += row[k] * theta[k]
                for i in range(d):
                    noise[i] += row[i] * product
            else:
                for i in range(d):
                    for k in range(d):
                        noise[i] += row[i * d + k] * theta[k]
        for i in range(d):
            noise[i] = noise[i] / picks.shape[1] + decay * theta[i] - pull[i]
        _finish(theta, velocity, pull, noise, step, watched, growth)


@kernel(parallel=True)
def _gaussian_lanes(
    hessian: Array, variances: Array, symmetric: bool, normals: Array, step: Array, theta: Array, velocity: Array,
    watched: Array, growth: Array,
) -> None:  # fmt: skip
    for lane in numba.prange(len(theta)):
        at, v, grown = theta[lane], velocity[lane], growth[lane]
        if symmetric:
            _symmetric(hessian, variances, normals[lane], step, at, v, watched, grown)
        else:
            _gaussian(hessian, variances, normals[lane], step, at, v, watched, grown)


@kernel(parallel=True)
def _sample_lanes(
    table: Array, rank_one: bool, mean: Array, decay: float, picks: Integers, step: Array, theta: Array,
    velocity: Array, watched: Array, growth: Array,
) -> None:  # fmt: skip
    for lane in numba.prange(len(theta)):
        at, v, grown = theta[lane], velocity[lane], growth[lane]
        _samples(table, rank_one, mean, decay, picks[lane], step, at, v, watched, grown)


def gaussian_exponent(
    hessian: Array, deviations: Array, step: OptimiserStep, steps: int, seed: int, *, symmetric: bool = False,
    settling: Settling = _AT_ONCE,
) -> tuple[float, float]:  # fmt: skip
    """Return the exponent per step and its error, for H_ξ = H + S∘ζ with independent normals ζ.

    Parameters
    ----------
    hessian, deviations
        H and S, shape (d, d), in axes in which the entries of H̃ are independent.
    step
        The optimiser.
    steps
        Counted steps of each of up to ``LANES`` lanes, fewer where d is large; a quarter as many are taken before.
    seed
        Of the normals.
    symmetric
        Entries i <= k of H̃ are independent, and H̃ is symmetric.
    settling
        How the lanes start, and how long they take to forget it.

    Returns
    -------
    exponent, error
        One standard error, and what may be left of the transient.
    """
    d, packed = len(hessian), np.array(step)
    arrays = np.ascontiguousarray(hessian), np.ascontiguousarray(deviations) ** 2
    draws = d * (d + 1) // 2 if symmetric else d

    def move(count: int, random: np.random.Generator, state: tuple[Array, Array, Array], growth: Array) -> None:
        normals = random.standard_normal((len(state[0]), count, draws))
        _gaussian_lanes(*arrays, symmetric, normals, packed, *state, growth)

    return _lanes(d, steps, seed, draws, 2 * d * d + _DRAW * draws, move, settling)


def samples_exponent(
    table: Array, step: OptimiserStep, batch_size: int, steps: int, seed: int, *, weight_decay: float = 0.0,
    settling: Settling = _AT_ONCE,
) -> tuple[float, float]:  # fmt: skip
    """Return the exponent per step and its error, for minibatches drawn with replacement.

    Parameters
    ----------
    table
        Features x_i, shape (N, d), for H_i = x_i x_iᵀ; or Hessians H_i, shape (N, d, d).
    step, steps, seed, settling
        As above.
    batch_size
        Samples of a minibatch.
    weight_decay
        ω, added to the Hessian as ωI.
    """
    count, d = table.shape[:2]
    rank_one = table.ndim == 2
    flat, packed = np.ascontiguousarray(table.reshape(count, -1)), np.array(step)
    mean = (table.T @ table / count if rank_one else table.mean(axis=0)) + weight_decay * np.eye(d)
    mean = np.ascontiguousarray(mean)

    def move(number: int, random: np.random.Generator, state: tuple[Array, Array, Array], growth: Array) -> None:
        picks = random.integers(0, count, (len(state[0]), number, batch_size))
        _sample_lanes(flat, rank_one, mean, weight_decay, picks, packed, *state, growth)

    work = d * d + batch_size * (2 * d if rank_one else d * d) + _DRAW * batch_size
    return _lanes(d, steps, seed, batch_size, work, move, settling)


def _lanes(
    d: int, steps: int, seed: int, draws: int, work: float, move: Callable[..., None], settling: Settling
) -> tuple[float, float]:
    """Burn in, run and average: the mean over lanes of the log growth per step, and its error."""
    random = np.random.default_rng(seed)
    lanes = int(np.clip(_WORK / (1.25 * steps * work), _FEWEST, LANES))
    start = settling.start
    theta = random.standard_normal((lanes, d)) if start is None else np.tile(start, (lanes, 1))
    theta /= np.linalg.norm(theta, axis=1, keepdims=True)
    watched = np.ones(d) if start is None else np.ascontiguousarray(start)
    state = theta, np.zeros((lanes, d)), watched
    portion = max(1, _PORTION // (lanes * draws))
    runs = steps // 4, steps // 2, steps - steps // 2
    growth = np.zeros((3, lanes, 4))
    for number, grown in zip(runs, growth, strict=True):
        for first in range(0, number, portion):
            move(min(portion, number - first), random, state, grown)
    length, linear, component, part = np.moveaxis(growth[1:] / np.array(runs[1:])[:, None, None], -1, 0)
    if not np.all(np.isfinite(length)):
        return -np.inf, 0.0
    estimates = [length, length - linear]
    if start is not None and np.all(np.isfinite(component)):
        estimates += [component, component - part]
    return min((average(rates, runs, settling.time) for rates in estimates), key=lambda found: found[1])


def average(rates: Array, runs: tuple[int, ...], time: float) -> tuple[float, float]:
    """Return the mean of the rates of two halves, shape (2, lanes), and its error.

    Parameters
    ----------
    rates
        Growth per step of every lane in each half.
    runs
        Steps of the burn-in and of the halves.
    time
        Steps in which the start is forgotten by a factor e.
    """
    whole = rates.mean(axis=0)
    error = float(whole.std(ddof=1) / np.sqrt(len(whole)))
    return float(whole.mean()), float(np.hypot(error, _unsettled(rates, runs, time)))


def _unsettled(rates: Array, runs: tuple[int, ...], time: float) -> float:
    """Return how far a transient c e^{−n/T} may have moved the mean of two halves (2, lanes); 0 if it is over.

    The drift between the halves, and its own error, say how large c may be.
    """
    if runs[0] > 5 * time:
        return 0.0
    ends = np.cumsum((0, *runs)) / time if np.isfinite(time) else np.zeros(4)
    left = -np.diff(np.exp(-ends))[1:] / np.diff(ends)[1:] if np.isfinite(time) else np.ones(2)
    drift = rates[0] - rates[1]
    size = abs(float(drift.mean())) + float(drift.std(ddof=1) / np.sqrt(len(drift)))
    fallen = left[0] - left[1]
    return size * float(left.mean()) / float(fallen) if fallen > 0 else np.inf
