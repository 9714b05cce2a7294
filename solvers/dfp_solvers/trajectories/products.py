"""Top Lyapunov exponent of SGD's random matrix product: how fast |θ_n − θ'_n| of two runs with the same noise grows.

Independent lanes move a vector and renormalise it; each lane's mean log growth after a burn-in is one estimate, and the
spread between lanes gives the standard error. Heavy ball and Nesterov momentum move (θ, v) (T19).
"""

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from dfp_solvers.jit import kernel

Array = NDArray[np.floating[Any]]
Integers = NDArray[np.int64]

LANES = 256
# Random numbers drawn at a time.
_PORTION = 2**22


class Step(NamedTuple):
    """θ' = θ − η(p u + q v), v' = βv + u with u = H_ξ θ (T19); plain SGD has p = 1, q = β = 0."""

    learning_rate: float
    p: float = 1.0
    q: float = 0.0
    beta: float = 0.0


@kernel(fast=True)
def _finish(theta: Array, velocity: Array, pull: Array, step: Array) -> float:
    """Move (θ, v) by u = ``pull`` and scale it to length one; return the logarithm of its length before."""
    total = 0.0
    for i in range(len(theta)):
        theta[i] -= step[0] * (step[1] * pull[i] + step[2] * velocity[i])
        velocity[i] = step[3] * velocity[i] + (pull[i] if step[2] != 0.0 else 0.0)
        total += theta[i] * theta[i] + velocity[i] * velocity[i]
    if total == 0.0:
        return -np.inf
    length = np.sqrt(total)
    for i in range(len(theta)):
        theta[i] /= length
        velocity[i] /= length
    return np.log(length)


@kernel(fast=True)
def _gaussian(
    hessian: Array, deviations: Array, symmetric: bool, normals: Array, step: Array, theta: Array, velocity: Array
) -> float:
    """Take steps with H_ξ = ``hessian`` + ``deviations`` ∘ ζ, ζ from ``normals`` (n, d, d); return the log growth."""
    d, growth, pull = len(theta), 0.0, np.empty(len(theta))
    for n in range(len(normals)):
        for i in range(d):
            pull[i] = 0.0
            for k in range(d):
                drawn = normals[n, k, i] if symmetric and k < i else normals[n, i, k]
                pull[i] += (hessian[i, k] + deviations[i, k] * drawn) * theta[k]
        growth += _finish(theta, velocity, pull, step)
    return growth


@kernel(fast=True)
def _samples(
    table: Array, rank_one: bool, decay: float, picks: Integers, step: Array, theta: Array, velocity: Array
) -> float:
    """Take steps with H_ξ the mean of the picked samples plus ω; ``table`` (N, d) holds x_i, or (N, d²) H_i."""
    d, growth, pull = len(theta), 0.0, np.empty(len(theta))
    for n in range(len(picks)):
        for i in range(d):
            pull[i] = 0.0
        for b in range(picks.shape[1]):
            row = table[picks[n, b]]
            if rank_one:
                product = 0.0
                for k in range(d):
                    product += row[k] * theta[k]
                for i in range(d):
                    pull[i] += row[i] * product
            else:
                for i in range(d):
                    for k in range(d):
                        pull[i] += row[i * d + k] * theta[k]
        for i in range(d):
            pull[i] = pull[i] / picks.shape[1] + decay * theta[i]
        growth += _finish(theta, velocity, pull, step)
    return growth


@kernel(parallel=True)
def _gaussian_lanes(
    hessian: Array, deviations: Array, symmetric: bool, normals: Array, step: Array, theta: Array, velocity: Array,
    growth: Array,
) -> None:  # fmt: skip
    for lane in numba.prange(len(theta)):
        growth[lane] += _gaussian(hessian, deviations, symmetric, normals[lane], step, theta[lane], velocity[lane])


@kernel(parallel=True)
def _sample_lanes(
    table: Array, rank_one: bool, decay: float, picks: Integers, step: Array, theta: Array, velocity: Array,
    growth: Array,
) -> None:  # fmt: skip
    for lane in numba.prange(len(theta)):
        growth[lane] += _samples(table, rank_one, decay, picks[lane], step, theta[lane], velocity[lane])


def gaussian_exponent(
    hessian: Array, deviations: Array, step: Step, steps: int, seed: int, *, symmetric: bool = False
) -> tuple[float, float]:
    """Return the exponent per step and its standard error, for H_ξ = H + S∘ζ with independent normals ζ.

    Parameters
    ----------
    hessian, deviations
        H and S, shape (d, d), in axes in which the entries of H̃ are independent.
    step
        The optimiser.
    steps
        Counted steps of each of the ``LANES`` lanes; a quarter as many are taken before.
    seed
        Of the normals.
    symmetric
        Entries i <= k of H̃ are independent, and H̃ is symmetric.
    """
    d, packed = len(hessian), np.array(step)
    arrays = np.ascontiguousarray(hessian), np.ascontiguousarray(deviations)

    def move(count: int, random: np.random.Generator, state: tuple[Array, Array], growth: Array) -> None:
        normals = random.standard_normal((LANES, count, d, d))
        _gaussian_lanes(*arrays, symmetric, normals, packed, *state, growth)

    return _lanes(d, steps, seed, d * d, move)


def samples_exponent(
    table: Array, step: Step, batch_size: int, steps: int, seed: int, *, weight_decay: float = 0.0
) -> tuple[float, float]:
    """Return the exponent per step and its standard error, for minibatches drawn with replacement.

    Parameters
    ----------
    table
        Features x_i, shape (N, d), for H_i = x_i x_iᵀ; or Hessians H_i, shape (N, d, d).
    step, steps, seed
        As above.
    batch_size
        Samples of a minibatch.
    weight_decay
        ω, added to the Hessian as ωI.
    """
    count, d = table.shape[:2]
    flat, packed = np.ascontiguousarray(table.reshape(count, -1)), np.array(step)

    def move(number: int, random: np.random.Generator, state: tuple[Array, Array], growth: Array) -> None:
        picks = random.integers(0, count, (LANES, number, batch_size))
        _sample_lanes(flat, table.ndim == 2, weight_decay, picks, packed, *state, growth)

    return _lanes(d, steps, seed, batch_size, move)


def _lanes(d: int, steps: int, seed: int, draws: int, move: Any) -> tuple[float, float]:
    """Burn in, run and average: the mean over lanes of the log growth per step, and its standard error."""
    random = np.random.default_rng(seed)
    theta = random.standard_normal((LANES, d))
    state = theta / np.linalg.norm(theta, axis=1, keepdims=True), np.zeros((LANES, d))
    portion = max(1, _PORTION // (LANES * draws))
    growth = np.zeros(LANES)
    for number in (steps // 4, steps):
        growth[:] = 0.0
        for first in range(0, number, portion):
            move(min(portion, number - first), random, state, growth)
    rates = growth / steps
    if not np.all(np.isfinite(rates)):
        return -np.inf, 0.0
    return float(rates.mean()), float(rates.std(ddof=1) / np.sqrt(LANES))
