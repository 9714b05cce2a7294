"""Kernels of one step between nodes from its characteristic function: Fourier series in a window about each mean.

p(x|θ) = (1/P) Σ_k φ(k|θ) e^{−ik·(x−m)} over the waves k of a window of volume P about the mean m of the step from θ. A
series leaves ripples where the density is smaller than they are, as far as some are below zero: such values are zero,
so that the kernel is positive, and a product of many steps keeps the digits of what is rare although no single step is.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from dfp_solvers import absorbing, matrices
from dfp_solvers.arrays import Array, Complex
from dfp_solvers.jit import kernel

# Deviations beyond those to which a step is followed on either side, before its series repeats itself.
_APART = 2.0
# Waves are the same for deviations this near to each other.
_ALIKE = 1.25
# Waves of a source that are affordable, and sources whose series are held at once.
_MOST, _HELD = 120_000, 64
# Entries of a matrix that are affordable: 0.7 gigabytes.
_ENTRIES = 6e7
# Ripples of rounding, over the largest value in a window.
_ROUNDING = 1e-14
# Rings of half a deviation around the mean, in which ripples are measured.
_RINGS = 40


class Cut(NamedTuple):
    """What is left out of a kernel."""

    reach: float
    """Deviations beyond which a step is not followed."""
    ripples: float
    """Multiple of the most negative value, as far from the mean or further, below which values are none."""
    last: float
    """Last wave, over the deviation of the kernel in its narrowest direction; those of a Gaussian are e^−26 at 7.2."""
    fading: int = 0
    """Power with which the last waves fade out, so that ripples stay where details are; 0 if they do not."""


def groups(covariances: Array, cut: Cut) -> list[tuple[NDArray[np.int64], Array, list[int]]]:
    """Return sources whose series have the same waves: indices, the lengths (d,) of a wave, and waves along each axis.

    Raises
    ------
    ArithmeticError
        If a covariance is so narrow in some direction that its waves are too many.
    """
    deviations = np.sqrt(np.einsum("nii->ni", covariances))
    if not np.all(matrices.eigenvalues(covariances)[:, 0] > 0):
        raise ArithmeticError("steps from some places are certain in some direction")
    narrow = matrices.precisions(covariances) ** -0.5
    alike = np.round(np.log(np.concatenate([deviations, narrow], axis=1)) / np.log(_ALIKE))
    _, kind = np.unique(alike, axis=0, return_inverse=True)
    found = []
    for k in range(int(kind.max(initial=-1)) + 1):
        these = np.flatnonzero(kind.ravel() == k)
        length = 2 * np.pi / ((2 * cut.reach + _APART) * deviations[these].max(axis=0))
        last = np.ceil(cut.last / narrow[these].min(axis=0) / length).astype(int)
        counts = [*(2 * last[:-1] + 1).tolist(), int(last[-1]) + 1]
        if np.prod(counts) > _MOST:
            raise ArithmeticError(f"the series of a step takes {counts} waves along its axes")
        found.append((these, length, counts))
    return found


def waves(length: Array, counts: list[int]) -> Array:
    """Return wave vectors, shape (*counts, d), in the order of a transform: none negative along the last axis."""
    return np.stack(np.meshgrid(*_along(counts), indexing="ij"), axis=-1) * length


def _along(counts: list[int]) -> list[Array]:
    return [np.fft.fftfreq(n, 1 / n) for n in counts[:-1]] + [np.arange(float(counts[-1]))]


def _kept(counts: list[int], fading: int) -> Array:
    """Return what is kept of each wave, shape ``counts``."""
    one = [np.exp(-36 * (np.abs(n) / n.max()) ** fading) if fading else np.ones(n.size) for n in _along(counts)]
    return np.multiply.reduce(np.meshgrid(*one, indexing="ij"))


def matrix(axes: list[Array], means: Array, covariances: Array, characteristic: Any, cut: Cut) -> sparse.csc_array:
    """Return the density at tensor nodes (n) of one step from each of m sources, shape (n, m).

    Parameters
    ----------
    axes
        Ascending nodes along each of d = 1 or 2 axes.
    means, covariances
        Of where steps end, shapes (m, d) and (m, d, d).
    characteristic
        Returns φ(k) of the steps of some sources about their means, from their indices (s,) and waves (*counts, d), of
        shape (s, *counts).

    Raises
    ------
    ArithmeticError
        If steps are so narrow that series take too many waves, or the matrix too many entries.
    """
    d, seen = means.shape[1], absorbing.windows(axes, means, covariances, cut.reach)
    pointers = np.concatenate([[0], np.cumsum(np.prod(seen[1], axis=1))])
    if not pointers[-1] <= _ENTRIES:
        raise ArithmeticError(f"a step's matrix would have {pointers[-1]:.2g} entries")
    two, whitening = [np.zeros(1)] * (2 - d) + axes, np.zeros((len(means), 2, 2))
    whitening[:, 2 - d :, 2 - d :] = matrices.whitening(covariances)
    shape = len(means), 2
    first, number, middles = np.zeros(shape, np.int64), np.ones(shape, np.int64), np.zeros(shape)
    first[:, 2 - d :], number[:, 2 - d :], middles[:, 2 - d :] = *seen, means
    rows, entries = np.empty(pointers[-1], np.int32), np.empty(pointers[-1])
    reached = np.flatnonzero(np.diff(pointers))
    for among, length, counts in groups(covariances[reached], cut):
        these, lengths = reached[among], np.ones(2)
        lengths[2 - d :] = length
        volume, kept = float(np.prod(2 * np.pi / length)), _kept(counts, cut.fading)
        for begin in range(0, len(these), _HELD):
            some = these[begin : begin + _HELD]
            phi = characteristic(some, waves(length, counts)) * kept
            phi = np.ascontiguousarray(phi.reshape(len(some), -1, counts[-1]) / volume)
            _series(
                two[0], two[1], phi, lengths, some, middles, whitening, first, number,
                pointers, rows, entries, cut.ripples,
            )  # fmt: skip
    return sparse.csc_array((entries, rows, pointers.astype(np.int64)), shape=(len(two[0]) * len(two[1]), len(means)))


@kernel(fast=True)
def _ring(whitening: Array, x: float, y: float) -> int:
    """Return how many half deviations a place is from the mean."""
    u, v = whitening[0, 0] * x, whitening[1, 0] * x + whitening[1, 1] * y
    return min(int(2 * np.sqrt(u * u + v * v)), _RINGS - 1)


@kernel(parallel=True, fast=True)
def _series(
    one: Array, two: Array, phi: Complex, lengths: Array, sources: NDArray[np.int64], means: Array,
    whitening: Array, first: NDArray[np.int64], number: NDArray[np.int64], pointers: NDArray[np.int64],
    rows: NDArray[np.int32], entries: Array, ripples: float,
) -> None:  # fmt: skip
    """Write the columns of some sources: sums over the first axis of waves, then over the last."""
    for s in numba.prange(len(sources)):
        source = sources[s]
        at, wide, high = pointers[source], number[source, 0], number[source, 1]
        others, last = phi.shape[1], phi.shape[2]
        turns = np.empty((last, high), np.complex128)
        for b in range(high):
            angle = -lengths[1] * (two[first[source, 1] + b] - means[source, 1])
            for j in range(last):
                turns[j, b] = (1.0 if j == 0 else 2.0) * complex(np.cos(j * angle), np.sin(j * angle))
        below, highest = np.zeros(_RINGS), 0.0
        line = np.empty(last, np.complex128)
        for a in range(wide):
            x = one[first[source, 0] + a] - means[source, 0]
            angle = -lengths[0] * x
            line[:] = 0.0
            for i in range(others):
                k = i if 2 * i < others + 1 else i - others
                turn = complex(np.cos(k * angle), np.sin(k * angle))
                for j in range(last):
                    line[j] += turn * phi[s, i, j]
            for b in range(high):
                value = 0.0
                for j in range(last):
                    value += line[j].real * turns[j, b].real - line[j].imag * turns[j, b].imag
                entries[at + a * high + b] = value
                rows[at + a * high + b] = (first[source, 0] + a) * len(two) + first[source, 1] + b
                highest = max(highest, value)
                if value < 0.0:
                    ring = _ring(whitening[source], x, two[first[source, 1] + b] - means[source, 1])
                    below[ring] = max(below[ring], -value)
        for ring in range(_RINGS - 2, -1, -1):
            below[ring] = max(below[ring], below[ring + 1])
        for a in range(wide):
            x = one[first[source, 0] + a] - means[source, 0]
            for b in range(high):
                ring = _ring(whitening[source], x, two[first[source, 1] + b] - means[source, 1])
                e = at + a * high + b
                if entries[e] < ripples * max(below[max(ring - 1, 0)], _ROUNDING * highest):
                    entries[e] = 0.0
