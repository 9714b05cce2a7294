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
_CHUNK = 2**22  # numbers of intermediate results that are held at once


class TooLongError(Exception):
    """A sum of products would have more terms than are affordable."""


class Cross(NamedTuple):
    """One step from the nodes of one box to the waves of another."""

    mean: list[Complex]
    """e^{ik_i m_i(θ_i)} of each axis, shape (waves, cells)."""
    waves: Any
    """α_r, zero where the source does not resolve a wave, shape (R, *waves)."""
    places: Any
    """β_r, shape (R, *cells)."""


class Terms:
    """The rows α or β of a growing sum."""

    def __init__(self) -> None:
        self._rows: Any = np.empty((0, 0))
        self.count = 0

    @property
    def rows(self) -> Any:
        """Those that there are, shape (R, n)."""
        return self._rows[: self.count]

    def add(self, row: Any) -> None:
        """Append one, in memory that doubles."""
        if self.count == len(self._rows):
            more = np.empty((self.count + 8, row.size), row.dtype)
            self._rows = np.concatenate([self.rows.reshape(-1, row.size), more])
        self._rows[self.count] = row
        self.count += 1


def separated(
    column: Callable[[int], Any],
    row: Callable[[int], Any],
    weight: Array,
    tolerance: float,
    most: int,
) -> tuple[Any, Any]:
    """Return α (R, M) and β (R, N) with χ(k, θ) = Σ_r α_r(k) β_r(θ).

    Parameters
    ----------
    column
        χ at all waves, shape (M,), from the place of an index.
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
    waves, places = Terms(), Terms()
    rng = np.random.default_rng(0)  # of the places that are checked

    def left(place: int) -> tuple[Any, int, float]:
        """Return what is left of a column, its largest entry and how large that is."""
        found = column(place)
        if waves.count:
            found = found - places.rows[:, place] @ waves.rows
        largest = int(np.argmax(np.abs(found)))
        return found, largest, float(np.abs(found[largest])) * float(weight[place])

    place = int(np.argmax(weight))
    while True:
        found, wave, size = left(place)
        if size <= tolerance:
            drawn = rng.choice(len(weight), _DRAWN).tolist()
            place = max(drawn, key=lambda p: left(p)[2])
            found, wave, size = left(place)
        if size <= tolerance:
            return waves.rows, places.rows
        if waves.count == most:
            raise TooLongError
        across = row(wave)
        if waves.count:
            across = across - waves.rows[:, wave] @ places.rows
        across = across / found[wave]
        waves.add(found)
        places.add(across)
        rest = np.abs(across) * weight
        rest[place] = 0.0
        place = int(np.argmax(rest))


def spectrum(mass: Array, step: Cross) -> Complex:
    """Return φ at the waves of the next box from the masses (*cells) of this one."""
    n0, n1, n2 = mass.shape
    m0, m1, half = step.waves.shape[1:]
    first, second, third = step.mean
    result = np.zeros((m0, m1, half), np.complex128)
    # Real and imaginary parts of the last axis side by side: one real product where the terms are real.
    sides = np.concatenate([third.real, third.imag]).T if np.isrealobj(step.places) else third.T
    some = max(_CHUNK // (n0 * n1 * half), 1)
    for begin in range(0, len(step.places), some):
        lines = (mass * step.places[begin : begin + some]).reshape(-1, n2) @ sides
        if np.isrealobj(lines):
            lines = lines[:, :half] + 1j * lines[:, half:]
        planes = second @ lines.reshape(-1, n1, half)
        moved = first @ planes.reshape(-1, n0, m1 * half)
        result += np.einsum("rabc,rabc->abc", step.waves[begin : begin + some], moved.reshape(-1, m0, m1, half))
    return result
