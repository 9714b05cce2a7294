"""Currents and entropy production of stationary states: linear maps and flows in closed form, others on a grid.

Linear: x' = (I − K)x + noise of covariance Q per step, or dx = −Kx dt + noise of diffusion Q, with the stationary
covariance Σ: Godrèche and Luck (2019), doi:10.1088/1751-8121/aaf190, for flows. Any drift and diffusion: from the
stationary density of a Markov chain on cells.
"""

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from dfp_solvers.arrays import Array

_ROUNDING = 1e-11
# Densities below this fraction of their maximum are left out of velocities.
_RESOLVED = 1e-12


def velocity(drift: Array, noise: Array, covariance: Array, *, discrete: bool) -> Array:
    """Return Ω of the velocity Ωx of the stationary current: ½QΣ⁻¹ − K of a flow, ½(A − ΣAᵀΣ⁻¹) of a map, A = I − K."""
    if discrete:
        return (_backward(drift, covariance) - drift) / 2
    return np.linalg.solve(covariance, noise).T / 2 - drift


def _backward(drift: Array, covariance: Array) -> Array:
    """Return ΣKᵀΣ⁻¹: the drift of the reversed chain is I − ΣAᵀΣ⁻¹ for A = I − K."""
    return np.linalg.solve(covariance, drift @ covariance).T


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


def stationary(matrix: sparse.csc_array, cell: int) -> Array:
    """Return the probabilities p with ``matrix`` p = 0 of an irreducible chain, solved from p = 1 in ``cell``."""
    kept = np.delete(np.arange(matrix.shape[0]), cell)
    rest = matrix[kept][:, kept].tocsc()
    values = np.ones(matrix.shape[0])
    values[kept] = splu(rest).solve(-matrix[kept][:, [cell]].toarray()[:, 0])
    # Rounding leaves entries of far tails below zero.
    values = np.maximum(values, 0.0)
    return values / values.sum()


def gridded_velocity(density: Array, drift: Array, diffusion: Array, spacing: Array) -> Array:
    """Return v = J/P = f − ½∇·Q − ½Q∇log P at the cells of a grid; zero where the density is rounding.

    Not from the chain's own jumps: where Selling's offsets change from cell to cell some jumps are one-way, and what
    they seem to produce does not vanish with the cells.

    Parameters
    ----------
    density
        P, shape (n_1, …, n_d).
    drift, diffusion
        f, shape (n_1, …, n_d, d), and Q, shape (n_1, …, n_d, d, d).
    spacing
        Widths of the cells, shape (d,).

    Returns
    -------
    Array
        Shape (n_1, …, n_d, d). Central differences, exact for the divergence of a quadratic Q.
    """
    held = density > _RESOLVED * density.max()
    logarithm = np.log(np.maximum(density, _RESOLVED * density.max()))
    axes = range(len(spacing))
    slope = np.stack([np.gradient(logarithm, spacing[i], axis=i, edge_order=2) for i in axes], axis=-1)
    spread = sum(np.gradient(diffusion[..., :, j], spacing[j], axis=j, edge_order=2) for j in axes)
    result: Array = drift - spread / 2 - (diffusion @ slope[..., None])[..., 0] / 2
    return np.where(held[..., None], result, 0.0)


def gridded_entropy(probability: Array, velocity: Array, diffusion: Array) -> float:
    """Return 2 E[vᵀQ⁻¹v] per unit of time over the probabilities of cells (n_1, …, n_d)."""
    weighed = np.linalg.solve(diffusion, velocity[..., None])[..., 0]
    return float(2 * np.sum(probability[..., None] * velocity * weighed))
