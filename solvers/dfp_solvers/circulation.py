"""Currents and entropy production of stationary states: linear maps and flows in closed form, Markov chains by fluxes.

Linear: x' = (I − K)x + noise of covariance Q per step, or dx = −Kx dt + noise of diffusion Q, with the stationary
covariance Σ. Godrèche and Luck (2019), doi:10.1088/1751-8121/aaf190, for flows; Schnakenberg (1976),
doi:10.1103/RevModPhys.48.571, for chains.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

Array = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]

_ROUNDING = 1e-11


def velocity(drift: Array, noise: Array, covariance: Array, *, discrete: bool) -> Array:
    """Return Ω of the velocity Ωx of the stationary current: ½QΣ⁻¹ − K of a flow, ½(A − ΣAᵀΣ⁻¹) of a map, A = I − K."""
    if discrete:
        result: Array = (_backward(drift, covariance) - drift) / 2
        return result
    return np.linalg.solve(covariance, noise).T / 2 - drift


def _backward(drift: Array, covariance: Array) -> Array:
    """Return ΣKᵀΣ⁻¹: the drift of the reversed chain is I − ΣAᵀΣ⁻¹ for A = I − K."""
    result: Array = np.linalg.solve(covariance, drift @ covariance).T
    return result


def flow_entropy(drift: Array, noise: Array, covariance: Array) -> float:
    """Return 2 tr(Q⁻¹ΩΣΩᵀ) per unit of time; ∞ if the velocity leaves the range of Q."""
    omega = velocity(drift, noise, covariance, discrete=False)
    return _weighed(omega, 2.0, noise, covariance, float(np.max(np.abs(drift))))


def chain_entropy(drift: Array, noise: Array, covariance: Array) -> float:
    """Return the Kullback–Leibler divergence of (x_n, x_{n+1}) from (x_{n+1}, x_n), per step; ∞ where it diverges.

    The reversed chain is x' = Bx + noise of C_b with B = ΣAᵀΣ⁻¹, C_b = Σ − BΣBᵀ, so the divergence is that of two
    Gaussians averaged over x: ½[tr(C_b⁻¹Q) − d + tr(C_b⁻¹(A−B)Σ(A−B)ᵀ)]; their determinants are equal.
    """
    difference = _backward(drift, covariance) - drift
    if np.max(np.abs(difference)) <= _ROUNDING * np.max(np.abs(drift)):
        return 0.0
    backward = np.eye(len(drift)) - _backward(drift, covariance)
    reverse = covariance - backward @ covariance @ backward.T
    spectrum = np.linalg.eigvalsh(reverse)
    if not spectrum[0] > _ROUNDING * spectrum[-1]:
        return np.inf
    spread = noise + difference @ covariance @ difference.T
    return float((np.trace(np.linalg.solve(reverse, spread)) - len(drift)) / 2)


def _weighed(omega: Array, factor: float, noise: Array, covariance: Array, scale: float) -> float:
    values, vectors = np.linalg.eigh(noise)
    along = vectors.T @ omega
    silent = values <= _ROUNDING * values[-1]
    if np.max(np.abs(along[silent]), initial=0.0) > _ROUNDING * scale * 10:
        return np.inf
    moving = along[~silent]
    return float(factor * np.sum((moving @ covariance) * moving / values[~silent][:, None]))


class Fluxes(NamedTuple):
    """Jumps between pairs of cells that are counted once: cells, forward and backward flow of probability per time."""

    source: Integers
    target: Integers
    forward: Array
    backward: Array


def stationary(matrix: sparse.csc_array, cell: int) -> Array:
    """Return the probabilities p with ``matrix`` p = 0 of an irreducible chain, solved from p = 1 in ``cell``."""
    kept = np.delete(np.arange(matrix.shape[0]), cell)
    rest = matrix[kept][:, kept].tocsc()
    values = np.ones(matrix.shape[0])
    values[kept] = splu(rest).solve(-matrix[kept][:, [cell]].toarray()[:, 0])
    # Rounding leaves entries of far tails below zero.
    values = np.maximum(values, 0.0)
    result: Array = values / values.sum()
    return result


def fluxes(matrix: sparse.csc_array, probability: Array) -> Fluxes:
    """Return the flows of probability between cells in the stationary state."""
    n = matrix.shape[0]
    flows = (matrix @ sparse.diags_array(probability)).tocoo()
    off = flows.row != flows.col
    target, source, flow = flows.row[off].astype(np.int64), flows.col[off].astype(np.int64), flows.data[off]
    upward = source < target
    pair = np.minimum(source, target) * n + np.maximum(source, target)
    keys, place = np.unique(pair, return_inverse=True)
    forward, backward = np.zeros(keys.size), np.zeros(keys.size)
    np.add.at(forward, place[upward], flow[upward])
    np.add.at(backward, place[~upward], flow[~upward])
    return Fluxes(keys // n, keys % n, forward, backward)


def chain_rate(source: Integers, target: Integers, forward: Array, backward: Array) -> float:
    """Return Σ 2 (f − b)²/(f + b) over pairs, per time: to second order in the cells the entropy produced.

    Schnakenberg's (f − b) log(f/b) is never smaller, but infinite where upwinding makes a jump one-way.
    """
    total = forward + backward
    used = total > 0
    return float(np.sum(2 * (forward[used] - backward[used]) ** 2 / total[used]))


def cell_current(
    source: Integers, target: Integers, forward: Array, backward: Array, shape: tuple[int, ...], spacing: Array
) -> Array:
    """Return the current density at the cells, shape (*shape, d): half of the net flow of every jump at either end."""
    d, volume = len(shape), float(np.prod(spacing))
    ends = [np.array(np.unravel_index(index, shape)).T for index in (source, target)]
    moved = ((forward - backward) / (2 * volume))[:, None] * (ends[1] - ends[0]) * spacing
    result = np.zeros((int(np.prod(shape)), d))
    np.add.at(result, source, moved)
    np.add.at(result, target, moved)
    return result.reshape(*shape, d)
