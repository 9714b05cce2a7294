"""Spectral transfer (T22) in three dimensions for any noise: what couples waves and places is a short sum of products.

In axes along which the mean motion of a step is diagonal, φ(k|θ) = e^{ik·m(θ)} χ(k, θ) with m_i of θ_i alone. Waves and
places are coupled by χ, the characteristic function of the noise: χ(k, θ) = Σ_r α_r(k) β_r(θ) to a tolerance, the terms
found by crosses of rows and columns of the matrix χ (adaptive cross approximation, Bebendorf 2000), each where what is
left is largest. With them the sum over places is three short sums along axes for each term.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dfp_solvers.arrays import Array, Complex

_DRAWN = 24  # places at which a sum that seems complete is checked
_CHUNK = 4  # terms at once, whose intermediate results stay in cache
_SMALL = 1e5  # size of a term, over the tolerance, from which single precision serves: it rounds to a hundredth of that


class TooLongError(Exception):
    """A sum of products would have more terms than are affordable."""


class Cross(NamedTuple):
    """One step from the nodes of one box to the waves of another."""

    mean: list[Complex]
    """e^{ik_i m_i(θ_i)} of each axis, shape (waves, cells)."""
    parts: list[tuple[Any, Any]]
    """α_r (R, *waves), zero where nothing is, and β_r (R, *cells), in double and in single precision."""


class Terms:
    """The rows α or β of a growing sum: large ones in double precision, then small ones in single."""

    def __init__(self, size: int, kind: Any) -> None:
        single = np.complex64 if np.issubdtype(kind, np.complexfloating) else np.float32
        self._rows: list[Any] = [np.empty((0, size), kind), np.empty((0, size), single)]
        self._counts = [0, 0]

    def add(self, row: Any, small: int) -> None:
        """Append one, in memory that doubles."""
        count, rows = self._counts[small], self._rows[small]
        if count == len(rows):
            self._rows[small] = np.concatenate([rows, np.empty((count + 8, rows.shape[1]), rows.dtype)])
        self._rows[small][count] = row
        self._counts[small] += 1

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(self._counts)

    @property
    def parts(self) -> list[Any]:
        """Those of both kinds, each (R, n)."""
        return [rows[:count] for rows, count in zip(self._rows, self._counts, strict=True)]


def separated(
    columns: Callable[[Any], Any],
    row: Callable[[int], Any],
    weight: Array,
    tolerance: float,
    most: int,
) -> list[tuple[Any, Any]]:
    """Return α (R, M) and β (R, N) with χ(k, θ) = Σ_r α_r(k) β_r(θ), in parts: of double and of single precision.

    Parameters
    ----------
    columns
        χ at all waves from the places of some indices (n,), shape (n, M).
    row
        χ from all places, shape (N,), at the wave of an index.
    weight
        Of the places: errors count times it, shape (N,).
    tolerance
        Largest error.
    most
        Most terms.

    Raises
    ------
    TooLongError
        If more would be needed.
    """
    place = int(np.argmax(weight))
    found = columns([place])
    waves, places = Terms(found.shape[1], found.dtype), Terms(len(weight), found.dtype)
    rng = np.random.default_rng(0)  # of the places that are checked

    def left(some: list[int]) -> tuple[Any, int, float, int]:
        """Return what is left of the columns where most is: it, its largest entry, how large that is, and the place."""
        rest = columns(some)
        for alpha, beta in zip(waves.parts, places.parts, strict=True):
            rest = rest - beta[:, some].T @ alpha
        sizes = np.abs(rest)
        largest = sizes.argmax(axis=1)
        worst = sizes[np.arange(len(some)), largest] * weight[some]
        n = int(np.argmax(worst))
        return rest[n], int(largest[n]), float(worst[n]), some[n]

    while True:
        found, wave, size, _ = left([place])
        if size <= tolerance:
            found, wave, size, place = left(rng.choice(len(weight), _DRAWN).tolist())
        if size <= tolerance:
            return [part for part in zip(waves.parts, places.parts, strict=True) if len(part[0])]
        if waves.count == most:
            raise TooLongError
        across = row(wave)
        for alpha, beta in zip(waves.parts, places.parts, strict=True):
            across = across - alpha[:, wave] @ beta
        across = across / found[wave]
        rest = np.abs(across) * weight
        small = int(np.abs(found[wave]) * rest.max() <= _SMALL * tolerance)
        waves.add(found, small)
        places.add(across, small)
        rest[place] = 0.0
        place = int(np.argmax(rest))


def spectrum(mass: Array, step: Cross) -> Complex:
    """Return φ at the waves of the next box from the masses (*cells) of this one."""
    n0, n1, n2 = mass.shape
    m0, m1, half = (len(along) for along in step.mean)
    result = np.zeros((m0, m1, half), np.complex128)
    for waves, places in step.parts:
        held, real = np.result_type(waves, np.complex64), np.isrealobj(places)
        first, second, third = (along.astype(held) for along in step.mean)
        own, sides = mass.astype(np.real(places[:0]).dtype), np.ascontiguousarray(third.T)
        if real:  # real and imaginary parts side by side: one real product
            sides = sides.view(own.dtype)
        for begin in range(0, len(places), _CHUNK):
            some = slice(begin, begin + _CHUNK)
            lines = (own * places[some]).reshape(-1, n2) @ sides
            planes = second @ lines.view(held).reshape(-1, n1, half)
            moved = first @ planes.reshape(-1, n0, m1 * half)
            for factor, part in zip(waves[some], moved, strict=True):
                result += factor * part.reshape(m0, m1, half)
    return result
