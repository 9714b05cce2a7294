"""Fourier derivatives for P' = P + ∂_i(a_i P) + ½ ∂_i∂_j(s_ij P) on a uniform periodic grid, a step at a time (T5).

In units of cells a is the drift ηḡ/Δ, s the raw second moment η²S/(Δ_iΔ_j) and v = s − aaᵀ the noise. A step with
constant coefficients multiplies the wave e^{iκ·x} by 1 + iκ·a − ½κᵀsκ, which amplifies it exactly if
κᵀsκ > 2 √(κᵀvκ): (T5) itself amplifies what is shorter than a step. Waves outside the ellipsoid |κ| <= π are cut, so
that the bound on the spacing is that of one dimension, Δ >= (π/2) η S/√C (theory page, section 2), in every direction.
"""

from itertools import combinations_with_replacement

import numpy as np
from scipy import fft

from dfp_solvers.arrays import Array

# A matrix of one step is taken to a power at once where it has at most this many rows.
_DENSE = 600
# Two threads share transforms of at least this many cells.
_SHARED = 2**15


class Operator:
    """One step on a grid.

    Parameters
    ----------
    drift
        a at the nodes, shape (d, n_1, ..., n_d).
    second
        s at the nodes, shape (d, d, n_1, ..., n_d).
    """

    def __init__(self, drift: Array, second: Array) -> None:
        d, self.shape = len(drift), drift.shape[1:]
        kappa = waves(self.shape)
        self.kept = np.sum((kappa / np.pi) ** 2, axis=0) < 1
        pairs = list(combinations_with_replacement(range(d), 2))
        factors = [1j * kappa[i] for i in range(d)]
        factors += [-(0.5 if i == j else 1.0) * kappa[i] * kappa[j] for i, j in pairs]
        self.coefficients = np.concatenate([drift, [second[pair] for pair in pairs]])
        self.factors = np.array(factors) * self.kept

    def steps(self, values: Array, count: int) -> Array:
        """Return ``values`` (n_1, ..., n_d) ``count`` steps later, without the waves that are cut."""
        axes, workers = tuple(range(1, values.ndim + 1)), 2 if values.size >= _SHARED else 1
        spectrum = self.kept * fft.rfftn(values, workers=workers)
        for _ in range(count):
            products = fft.rfftn(self.coefficients * values, axes=axes, workers=workers)
            spectrum = spectrum + np.sum(self.factors * products, axis=0)
            values = fft.irfftn(spectrum, s=self.shape, workers=workers)
        return values

    def matrix(self) -> Array:
        """Return one step in one dimension as a matrix (n, n)."""
        return np.array([self.steps(column, 1) for column in np.eye(self.shape[0])]).T


def waves(shape: tuple[int, ...]) -> Array:
    """Return the wave vectors of a real FFT in radians per cell, shape (d, n_1, ..., n_d // 2 + 1)."""
    axes = [2 * np.pi * fft.fftfreq(n) for n in shape[:-1]]
    axes.append(2 * np.pi * fft.rfftfreq(shape[-1]))
    return np.array(np.meshgrid(*axes, indexing="ij"))


def march(values: Array, operator: Operator, steps: int) -> Array:
    """Return ``values`` (n_1, ..., n_d) after ``steps`` steps."""
    size = values.size
    if values.ndim == 1 and size <= _DENSE and steps > 2 * size:
        return np.linalg.matrix_power(operator.matrix(), steps) @ values
    return operator.steps(values, steps)


def smallest_scale(drift: Array, noise: Array, directions: Array) -> float:
    """Return by which factor all spacings must grow so that no wave that is kept is amplified, at ``scale`` 1.

    Parameters
    ----------
    drift
        a at some places, shape (N, d).
    noise
        v at these places, shape (N, d, d).
    directions
        Unit vectors of the waves to try, shape (M, d).

    Returns
    -------
    float
        The largest (π/2) uᵀsu/√(uᵀvu); infinite where a direction has drift and no noise.
    """
    gained = np.einsum("mi,nij,mj->nm", directions, noise, directions)
    total = gained + (drift @ directions.T) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(total > 0, total / np.sqrt(np.maximum(gained, 0.0)), 0.0)
    return float(np.pi / 2 * np.max(ratio))


def interpolation(lower: float, spacing: float, count: int, points: Array) -> Array:
    """Return the matrix (m, count) from values at nodes to their trigonometric interpolant at ``points``.

    Nodes are the centres of ``count`` cells from ``lower``; the interpolant is zero outside these cells.
    """
    offset = (points[:, None] - lower) / spacing - (np.arange(count) + 0.5)
    # Dirichlet's kernel; for even counts the highest wave is shared between both signs. |offset| < count.
    below = count * (np.tan(np.pi * offset / count) if count % 2 == 0 else np.sin(np.pi * offset / count))
    at_node = np.abs(offset) < 1e-9
    kernel = np.where(at_node, 1.0, np.sin(np.pi * offset) / np.where(at_node, 1.0, below))
    inside = (points >= lower) & (points <= lower + count * spacing)
    return kernel * inside[:, None]
