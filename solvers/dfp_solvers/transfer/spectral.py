"""The master equation (T4) by spectral transfer (T22): grids that resolve the density, whatever the kernel's width.

The characteristic function of one step, φ(k|θ) = E e^{ik·θ'}, is known for every noise law here, so that
φ_{n+1}(k) = Σ_θ P_n(θ) φ(k|θ) ΔV at the waves of the next box; the sum over a uniform grid is exact to the spectrum of P
beyond its waves. A box moves with the density: places are θ = centre + axes·u with u on a uniform lattice.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from dfp_solvers.jit import kernel

Array = NDArray[np.floating[Any]]
Complex = NDArray[np.complex128]

_BLOCK = 256  # sources whose characteristic functions are held at once


class Box(NamedTuple):
    """A lattice u = lower + (j + ½) spacing of odd size along d <= 2 axes, at the places θ = centre + axes·u."""

    centre: Array
    axes: Array
    lower: Array
    spacing: Array
    cells: tuple[int, ...]

    @property
    def lattice(self) -> list[Array]:
        """Coordinates u of the nodes along each axis."""
        return [a + (np.arange(n) + 0.5) * h for a, h, n in zip(self.lower, self.spacing, self.cells, strict=True)]

    @property
    def places(self) -> Array:
        """Places θ of all nodes, shape (N, d)."""
        nodes = np.stack(np.meshgrid(*self.lattice, indexing="ij"), axis=-1)
        return self.centre + nodes.reshape(-1, len(self.cells)) @ self.axes.T

    @property
    def waves(self) -> list[Array]:
        """Wave numbers in u along each axis, in the order of the transform; none negative along the last."""
        pairs = list(zip(self.cells, self.spacing, strict=True))
        axes = [2 * np.pi * fft.fftfreq(n, h) for n, h in pairs[:-1]]
        return [*axes, 2 * np.pi * fft.rfftfreq(pairs[-1][0], pairs[-1][1])]

    @property
    def cell_volume(self) -> float:
        """Volume of a cell in θ."""
        return float(np.prod(self.spacing) * abs(np.linalg.det(self.axes)))

    def inside(self, theta: Array) -> Array:
        """Return coordinates u of places (M, d)."""
        return np.linalg.solve(self.axes, (theta - self.centre).T).T


Characteristic = Callable[[Array, Box], Complex]
"""φ(k|θ) at places (n, d) and the waves k of the box in its coordinates u, shape (n, *waves)."""


def gaussian(mean: Array, covariance: Array, waves: list[Array]) -> Complex:
    """Return exp(ik·mean − ½ kᵀ covariance k) for means (n, d) and covariances (n, d, d) in u, shape (n, *waves)."""
    padded_mean, padded, first = _padded(mean, waves)
    full = np.zeros((len(mean), 2, 2))
    full[:, -mean.shape[1] :, -mean.shape[1] :] = covariance
    out = _gaussian(padded_mean, full, first, padded)
    return out.reshape(len(mean), *(w.size for w in waves))


def shifted(mean: Array, factor: Complex, waves: list[Array]) -> Complex:
    """Return e^{ik·mean} times ``factor`` (*waves), additive noise of any law, shape (n, *waves)."""
    phases = [np.exp(1j * np.multiply.outer(mean[:, axis], wave)) for axis, wave in enumerate(waves)]
    return phases[0] * factor if len(waves) == 1 else phases[0][:, :, None] * phases[1][:, None, :] * factor


def finite_sum(mean: Array, places: Array, slopes: Array, shifts: Array, batch: int, waves: list[Array]) -> Complex:
    """Return e^{ik·mean} [(1/N) Σ_i e^{ik·(slopes_i θ + shifts_i)}]^batch, shape (n, *waves).

    Parameters
    ----------
    mean
        Mean image of every place in u, shape (n, d).
    places
        θ, shape (n, d).
    slopes, shifts
        Deviations of the samples' parts of a step in u, means zero, shapes (N, d, d) and (N, d).

    Notes
    -----
    Along tensor waves the mean over samples is a product of two real matrices, whatever ``batch`` is.
    """
    padded_mean, last, first = _padded(mean, waves)
    d, count = mean.shape[1], len(shifts)
    g, h, x = np.zeros((count, 2)), np.zeros((count, 2, 2)), np.zeros((len(places), 2))
    g[:, -d:], h[:, -d:, -d:], x[:, -d:] = shifts, slopes, places
    step = first[1] if first.size > 1 else 0.0
    out = _finite_sum(padded_mean, x, h, g, batch, first.size // 2 + 1, step, last.size, last[1])
    return out.reshape(len(mean), *(w.size for w in waves))


def _padded(mean: Array, waves: list[Array]) -> tuple[Array, Array, Array]:
    """Return means with a first axis of one wave where d = 1, the last waves and the first."""
    if len(waves) == 2:
        return np.ascontiguousarray(mean), waves[1], waves[0]
    return np.column_stack([np.zeros(len(mean)), mean]), waves[0], np.zeros(1)


@kernel()
def _phases(place: float, waves: Array, out: Complex) -> None:
    for j in range(waves.size):
        out[j] = complex(np.cos(waves[j] * place), np.sin(waves[j] * place))


@kernel(parallel=True)
def _gaussian(mean: Array, covariance: Array, first: Array, last: Array) -> Complex:
    out = np.empty((len(mean), first.size, last.size), np.complex128)
    for n in numba.prange(len(mean)):
        left, right = np.empty(first.size, np.complex128), np.empty(last.size, np.complex128)
        _phases(mean[n, 0], first, left)
        _phases(mean[n, 1], last, right)
        c = covariance[n]
        for i in range(first.size):
            for j in range(last.size):
                size = c[0, 0] * first[i] ** 2 + 2 * c[0, 1] * first[i] * last[j] + c[1, 1] * last[j] ** 2
                out[n, i, j] = left[i] * right[j] * np.exp(-0.5 * size)
    return out


@kernel()
def _turns(angle: float, sample: int, waves: int, table: Array) -> None:
    """Write cosines and sines of 0, 1, … times ``angle`` into ``table`` (2 waves, N)."""
    c, s, x, y = np.cos(angle), np.sin(angle), 1.0, 0.0
    for j in range(waves):
        table[j, sample], table[waves + j, sample] = x, y
        x, y = x * c - y * s, x * s + y * c


@kernel(parallel=True)
def _finite_sum(
    mean: Array,
    places: Array,
    slopes: Array,
    shifts: Array,
    batch: int,
    half: int,
    first: float,
    last_waves: int,
    last: float,
) -> Complex:
    count, rows = len(shifts), 2 * half - 1
    out = np.empty((len(mean), rows, last_waves), np.complex128)
    for n in numba.prange(len(mean)):
        left, right = np.empty((2 * half, count)), np.empty((2 * last_waves, count))
        for i in range(count):
            a = slopes[i, 0, 0] * places[n, 0] + slopes[i, 0, 1] * places[n, 1] + shifts[i, 0]
            b = slopes[i, 1, 0] * places[n, 0] + slopes[i, 1, 1] * places[n, 1] + shifts[i, 1]
            _turns(first * a, i, half, left)
            _turns(last * b, i, last_waves, right)
        # Rows and columns: cosines, then sines.
        product = np.dot(left, right.T) / count
        own = complex(np.cos(first * mean[n, 0]), np.sin(first * mean[n, 0]))
        other = complex(np.cos(last * mean[n, 1]), np.sin(last * mean[n, 1]))
        along = 1.0 + 0.0j
        for i in range(half):
            across = 1.0 + 0.0j
            for j in range(last_waves):
                cc, ss = product[i, j], product[half + i, last_waves + j]
                cs, sc = product[i, last_waves + j], product[half + i, j]
                out[n, i, j] = along * across * _power(complex(cc - ss, cs + sc), batch)
                if i > 0:
                    out[n, rows - i, j] = along.conjugate() * across * _power(complex(cc + ss, cs - sc), batch)
                across *= other
            along *= own
    return out


@kernel()
def _power(base: complex, exponent: int) -> complex:
    result = 1.0 + 0.0j
    while exponent > 0:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result


def transition(target: Box, sources: Array, characteristic: Characteristic, seen: Any) -> Array:
    """Return the masses that one step from ``sources`` (N, d) brings to the nodes: a matrix (N, nodes).

    Parameters
    ----------
    seen
        Waves of the target that the sources resolve (see ``resolved``), an array of 0 and 1; 1.0 for all.
    """
    result = np.empty((len(sources), int(np.prod(target.cells))))
    phase, axes = _offset(target) * seen, tuple(range(1, 1 + len(target.cells)))
    for begin in range(0, len(sources), _BLOCK):
        coefficients = np.conj(characteristic(sources[begin : begin + _BLOCK], target) * phase)
        moved = fft.irfftn(coefficients, s=target.cells, axes=axes, workers=2)
        result[begin : begin + _BLOCK] = moved.reshape(len(moved), -1)
    return result


def spectrum(target: Box, sources: Array, masses: Array, characteristic: Characteristic, seen: Any) -> Complex:
    """Return φ after one step from masses (N,) at ``sources`` (N, d), at the waves of the box."""
    shape = tuple(wave.size for wave in target.waves)
    total = np.zeros(int(np.prod(shape)), np.complex128)
    for begin in range(0, len(sources), _BLOCK):
        some = characteristic(sources[begin : begin + _BLOCK], target)
        total += masses[begin : begin + _BLOCK] @ some.reshape(len(some), -1)
    return total.reshape(shape) * seen


def masses(box: Box, phi: Complex) -> Array:
    """Return masses of the nodes, flat, from φ at the waves of the box."""
    return np.asarray(fft.irfftn(np.conj(phi * _offset(box)), s=box.cells)).ravel()


def waves_of(box: Box, mass: Array) -> Complex:
    """Return φ at the waves of the box from the masses of its nodes."""
    result: Complex = np.conj(fft.rfftn(mass.reshape(box.cells))) * np.conj(_offset(box))
    return result


def _offset(box: Box) -> Complex:
    """Return e^{−ik·u} at the first node."""
    first = box.lower + box.spacing / 2
    phases = [np.exp(-1j * wave * u) for wave, u in zip(box.waves, first, strict=True)]
    return phases[0] if len(phases) == 1 else phases[0][:, None] * phases[1]


def resolved(source: Box, target: Box, factor: Array) -> Array:
    """Return 1 at the waves k of ``target`` for which the source's grid knows Aᵀk, else 0 (A: mean slope of a step)."""
    moved = np.linalg.solve(target.axes, factor @ source.axes)
    waves = np.stack(np.meshgrid(*target.waves, indexing="ij"), axis=-1) @ moved
    return np.all(np.abs(waves) <= np.pi / source.spacing, axis=-1).astype(float)


def density(box: Box, phi: Complex, theta: Array) -> Array:
    """Return the density at ``theta`` (M, d): the trigonometric series of the box, zero beyond it."""
    u = box.inside(theta)
    upper = box.lower + box.spacing * np.array(box.cells)
    held = np.flatnonzero(np.all((u >= box.lower) & (u <= upper), axis=1))
    weights = np.conj(phi)
    weights[..., 1:] *= 2
    volume = np.prod(box.spacing * np.array(box.cells)) * abs(np.linalg.det(box.axes))
    result = np.zeros(len(theta))
    for begin in range(0, held.size, 8192):
        some = held[begin : begin + 8192]
        phases = [np.exp(1j * np.multiply.outer(u[some, axis], wave)) for axis, wave in enumerate(box.waves)]
        inner = phases[0] @ (weights if weights.ndim == 2 else weights[:, None])
        result[some] = (inner[:, 0] if weights.ndim == 1 else (inner * phases[1]).sum(axis=1)).real / volume
    return result


def powers(matrix: Array, mass: Array, steps: int) -> tuple[Array, Array, int]:
    """Return masses after ``steps`` products mass·matrix, the largest power of the matrix made, and its exponent.

    Squaring pays while it costs less than the products it saves; a product runs at the speed of memory, about
    30 times below that of a matrix product.
    """
    done, power = 1, matrix
    while steps // done > 2 * len(matrix) / 15:
        power, done = power @ power, 2 * done
    for _ in range(steps // done):
        mass = mass @ power
    for _ in range(steps % done):
        mass = mass @ matrix
    return mass, power, done


def stationary(matrix: Array) -> Array:
    """Return the masses with mass·matrix = mass and sum one, by one factorisation of 1 − matrix."""
    size = len(matrix)
    # The last equation, which the others imply, gives way to the sum.
    system = np.eye(size) - matrix
    system[:, -1] = 1.0
    right = np.zeros(size)
    right[-1] = 1.0
    return np.asarray(np.linalg.solve(system.T, right))
