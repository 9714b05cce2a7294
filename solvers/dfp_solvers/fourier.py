"""Densities from characteristic functions φ(k) = E[e^{ik·θ}], evaluated in closed form and inverted by one FFT.

Accuracy is spectral: the error is what lies outside the box (it wraps around) plus |φ| beyond the grid's largest wave
number. Theory page, section 5.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from dfp_solvers.arrays import Array, Complex

# Deviations of a gridded density to which its box is padded before φ is interpolated by quintic splines: wave numbers
# then lie closer than 0.1 standard deviations of φ, and splines err by this much; the least and the most cells of it.
_PADDED, _SPLINE = 64.0, 3e-9
_LEAST, _MOST = 4, 2**24


def wave_numbers(spacing: Array, cells: Sequence[int]) -> Array:
    """Return the wave vectors of a real FFT over the box, shape (n_1, ..., n_d // 2 + 1, d) [1 / parameter]."""
    axes = [2 * np.pi * fft.fftfreq(n, h) for n, h in zip(cells[:-1], spacing[:-1], strict=True)]
    axes.append(2 * np.pi * fft.rfftfreq(cells[-1], spacing[-1]))
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def gaussian(waves: Array, mean: Array, covariance: Array) -> Complex:
    """Return e^{ik·mean − ½ kᵀ covariance k} at the wave vectors ``waves`` (..., d)."""
    decay = -0.5 * np.einsum("...i,ij,...j->...", waves, covariance, waves, optimize=True)
    return np.exp(decay + 1j * (waves @ mean))


def invert(characteristic: Complex, lower: Array, spacing: Array, cells: Sequence[int]) -> tuple[Array, float]:
    """Return the density at the cell centres and the largest |φ| at the grid's largest wave numbers.

    Parameters
    ----------
    characteristic
        φ at ``wave_numbers(spacing, cells)``.
    lower, spacing
        Corner of the box and cell widths, shape (d,) [parameter].
    """
    waves = wave_numbers(spacing, cells)
    phase = np.exp(1j * (waves @ (lower + spacing / 2)))
    coefficients = np.conj(characteristic) * phase
    density = fft.irfftn(coefficients, s=tuple(cells), workers=2) / np.prod(spacing)
    return density, largest_at_edge(characteristic, cells)


def largest_at_edge(characteristic: Complex, cells: Sequence[int], shell: int = 1) -> float:
    """Return the largest |φ| among the last ``shell`` wave numbers of each axis of a grid."""
    edge, size = 0.0, np.abs(characteristic)
    for axis, n in enumerate(cells):
        last = np.arange(max(n // 2 - shell + 1, 0), n // 2 + 1)
        edge = max(edge, float(np.max(np.take(size, last, axis=axis))))
    return edge


def wrapped(wide: Array, volume: float) -> float:
    """Return an estimate of the mass that has wrapped around: the density at the ends of each axis, all along it."""
    total = 0.0
    for axis in range(wide.ndim):
        ends = np.take(wide, [0, -1], axis=axis)
        total += float(np.mean(np.abs(ends)) * 2) * volume * wide.size
    return total


def gridded(values: Array, lower: Array, spacing: Array, waves: Array, *, separable: bool) -> Complex:
    """Return the characteristic function of a gridded density at the wave vectors ``waves`` (n_1, ..., m, d).

    Parameters
    ----------
    values
        Density at cell centres, shape (m_1, ..., m_d).
    separable
        ``waves`` is a tensor grid, so that the sum factors into one exact product of matrices per axis; otherwise a
        padded FFT is interpolated by quintic splines (``interpolation_error``).
    """
    weights = values * np.prod(spacing)
    if separable:
        return _separable(weights, lower, spacing, waves)
    d = values.ndim
    centres = [a + h * (np.arange(n) + 0.5) for a, h, n in zip(lower, spacing, values.shape, strict=True)]
    # Indices are taken relative to the mean, about which φ varies slowest.
    origin = [int(np.argmin(np.abs(c - _mean(weights, c, i)))) for i, c in enumerate(centres)]
    padded = _padded(values)[0]
    big = np.zeros(padded)
    big[tuple(slice(0, n) for n in values.shape)] = weights
    big = np.roll(big, [-o for o in origin], axis=tuple(range(d)))
    spectrum = fft.fftshift(np.conj(fft.fftn(big, workers=2)))
    place = [waves[..., i] * spacing[i] * n / (2 * np.pi) + n // 2 for i, n in enumerate(padded)]
    phase = np.exp(1j * (waves @ np.array([c[o] for c, o in zip(centres, origin, strict=True)])))
    parts = [ndimage.map_coordinates(p, place, order=5, mode="constant") for p in (spectrum.real, spectrum.imag)]
    return (parts[0] + 1j * parts[1]) * phase


def interpolation_error(values: Array) -> float:
    """Return the error of ``gridded`` where waves are no tensor grid: of sixth order in the spacing of wave numbers."""
    cells, wanted = _padded(values)
    short = max(float(w) / n for n, w in zip(cells, wanted, strict=True))
    return float(_SPLINE * max(short, 1.0) ** 6)


def _padded(values: Array) -> tuple[list[int], Array]:
    """Return the numbers of cells of the padded box, and those that splines want."""
    wanted = np.empty(values.ndim)
    for axis, n in enumerate(values.shape):
        marginal = values.sum(axis=tuple(k for k in range(values.ndim) if k != axis))
        x = np.arange(n) - marginal @ np.arange(n) / marginal.sum()
        wanted[axis] = max(_PADDED * np.sqrt(marginal @ x**2 / marginal.sum()), _LEAST * n)
    least = _LEAST * np.array(values.shape)
    shrink = min((_MOST / float(np.prod(wanted))) ** (1 / values.ndim), 1.0)
    return [fft.next_fast_len(int(np.ceil(n))) for n in np.maximum(wanted * shrink, least)], wanted


def _mean(weights: Array, centres: Array, axis: int) -> float:
    others = tuple(k for k in range(weights.ndim) if k != axis)
    return float(weights.sum(axis=others) @ centres)


def _separable(weights: Array, lower: Array, spacing: Array, waves: Array) -> Complex:
    result: NDArray[np.complex128] = weights.astype(np.complex128)
    for axis in range(weights.ndim):
        index: list[int | slice] = [0] * weights.ndim
        index[axis] = slice(None)
        k = waves[(*index, axis)]
        centres = lower[axis] + spacing[axis] * (np.arange(weights.shape[axis]) + 0.5)
        band = np.abs(k) <= np.pi / spacing[axis] * (1 + 1e-12)
        basis = np.exp(1j * np.outer(k, centres)) * band[:, None]
        result = np.moveaxis(np.tensordot(basis, result, axes=(1, axis)), 0, axis)
    return result


def regridded(
    values: Array, lower: Array, spacing: Array, new_lower: Array, new_spacing: Array, cells: Sequence[int]
) -> tuple[Array, float]:
    """Return a gridded density on other cells, by the waves that both hold, and the largest |φ| at the edge of these.

    Parameters are those of ``gridded`` for the old cells and of ``invert`` for the new ones.
    """
    phi = gridded(values, lower, spacing, wave_numbers(new_spacing, cells), separable=True)
    return invert(phi, new_lower, new_spacing, cells)


def sample_average(waves: Array, deviations: Array, factors: Complex | None = None) -> Complex:
    """Return the characteristic function of one sample at ``waves`` (..., d), of all ``deviations`` (N, d).

    The phase of each sample is multiplied by its own of ``factors`` (N,), if there are any. On a tensor grid of waves
    e^{ik·g} is a product over the axes, so that the sum over samples is one of matrices.
    """
    axes = _tensor_axes(waves)
    weights = (np.ones(1) if factors is None else factors) / len(deviations)
    if axes is None:
        flat = waves.reshape(-1, waves.shape[-1])
        total = np.empty(len(flat), dtype=np.complex128)
        block = max(2**22 // len(deviations), 1)
        for begin in range(0, len(flat), block):
            phases = np.exp(1j * (flat[begin : begin + block] @ deviations.T))
            total[begin : begin + block] = (phases * weights).sum(axis=1)
        return total.reshape(waves.shape[:-1])
    along = [_phases(axis, deviations[:, i]) for i, axis in enumerate(axes)]
    last = along[-1].T * weights[:, None]
    if len(along) == 1:
        return np.asarray(last.sum(axis=0))
    if len(along) == 2:
        return np.asarray(along[0] @ last)
    return np.array([(first * along[1]) @ last for first in along[0]])


def _phases(waves: Array, values: Array) -> Complex:
    """Return e^{ikg} for ``waves`` k (K,) and ``values`` g (N,), shape (K, N): sooner than by np.exp."""
    angles = np.outer(waves, values)
    result = np.empty(angles.shape, dtype=np.complex128)
    np.cos(angles, out=result.real)
    np.sin(angles, out=result.imag)
    return result


def _tensor_axes(waves: Array) -> list[Array] | None:
    """Return the axes of which the wave vectors (n_1, ..., n_d, d) are the tensor grid, or None."""
    d = waves.shape[-1]
    if waves.ndim != d + 1:
        return None
    axes = [np.moveaxis(waves[..., i], i, -1)[(0,) * (d - 1)] for i in range(d)]
    held = all(
        np.array_equal(
            np.broadcast_to(axis.reshape([-1 if j == i else 1 for j in range(d)]), waves.shape[:-1]), waves[..., i]
        )
        for i, axis in enumerate(axes)
    )
    return axes if held else None


def power(base: Complex, exponent: int) -> Complex:
    """Return ``base`` to a natural power, by squaring: NumPy's power of complex numbers takes a logarithm of each."""
    result = np.ones_like(base) if exponent % 2 == 0 else base.copy()
    while exponent > 1:
        exponent //= 2
        base = base * base
        if exponent % 2:
            result *= base
    return result
