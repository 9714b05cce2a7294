"""Spectral transfer in three dimensions: axes along which the mean moves by itself, and a step as a sum of products."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from dfp_solvers.arrays import Array, Complex
from dfp_solvers.transfer import cross, spectral, split
from dfp_solvers.transfer.spectral import Box

from dfp.errors import UnresolvedError
from dfp.exact.moments import moments_at
from dfp.methods.grids import probes
from dfp.methods.transfer.moving_boxes import Boxes
from dfp.problem.equation import Equation
from dfp.problem.noise import NoiseLaw

_Columns: TypeAlias = Callable[[Any], Any]
_Row: TypeAlias = Callable[[int], Any]
# Error of φ that sums of products may have: those that have to be found, of Gaussian noise and of finite sums, whose
# terms are many; and those of Gaussian noise of axes, whose terms are few: there it is below what certificates tell.
SPLIT, _ALIGNED = {True: 1e-10, False: 1e-9}, 1e-11
# The mass at a node, to a power and of a density broader by this, is what its errors count.
_POWER, _BROADER = 0.7, 1.1
# Steps at which moments ahead are looked at.
_LOOKS = 12
# Entries of a diagonal matrix off its diagonal, over the largest, in other axes.
_ROUNDED = 1e-13
# Bytes that the terms of a step may take, where noise couples all waves with all places.
_MOST_BYTES = 2.6e9


def axes_of(equation: Equation) -> Array | None:
    """Return directions (columns) along which the mean moves by itself, or None where they are not orthogonal."""
    hessian = equation.sgd.hessian
    if not equation.sgd.commutes:
        return None
    diagonal = not np.any(hessian - np.diag(np.diag(hessian)))
    axes = np.eye(len(hessian)) if diagonal else equation.sgd.modes[1]
    moved = axes.T @ equation.linear_drift @ axes
    return axes if np.max(np.abs(moved - np.diag(np.diag(moved)))) <= _ROUNDED * np.max(np.abs(moved)) else None


def aligned(equation: Equation, axes: Array) -> bool:
    """Return whether noise is Gaussian and, in ``axes``, that of each is a sum of what the others bring."""
    law = equation.sgd.noise
    tables = law.entrywise(axes) if law.gaussian else None
    return tables is not None and not np.any(tables[1])


def step(boxes: Boxes, source: Box, target: Box, now: int, until: int) -> split.Split | cross.Cross:
    """Return one step from the nodes of one box to the waves of another, for masses of the steps ``now`` to ``until``.

    Raises
    ------
    UnresolvedError
        If the sum has more terms than memory holds.
    """
    equation, axes = boxes.equation, boxes.axes
    assert axes is not None
    stretch, scale = (axes.T @ source.axes).diagonal(), (axes.T @ target.axes).diagonal()
    places = [a + b * u for a, b, u in zip(axes.T @ source.centre, stretch, source.lattice, strict=True)]
    slope = 1 - (axes.T @ equation.linear_drift @ axes).diagonal()
    shift = -axes.T @ (equation.constant_drift + target.centre)
    images = [(a * x + b) / h for a, x, b, h in zip(slope, places, shift, scale, strict=True)]
    seen = spectral.resolved(source, target, np.eye(3) - equation.linear_drift)
    weights = _weights(boxes, source, now, until)
    if aligned(equation, axes):
        return _aligned(equation, axes, target, (places, images, scale), weights, seen)
    return _crossed(equation, source, target, images, weights, seen, until)


def spectrum(mass: Array, step: split.Split | cross.Cross) -> Complex:
    """Return φ at the waves of the next box from the masses (*cells) of this one."""
    return split.spectrum(mass, step) if isinstance(step, split.Split) else cross.spectrum(mass, step)


def _weights(boxes: Boxes, source: Box, now: int, until: int) -> list[Array]:
    """Return about how much mass may be at the nodes along each axis, at most one: a power of Student's t densities."""
    path = moments_at(boxes.equation, boxes.initial, now + np.array(probes(until - now, _LOOKS)))
    inverse, freedom = np.linalg.inv(source.axes), boxes.freedom(until)
    middles = (path.mean - source.centre) @ inverse.T
    deviations = np.sqrt((inverse @ path.covariance @ inverse.T).diagonal(axis1=1, axis2=2))
    found = []
    for axis, u in enumerate(source.lattice):
        apart = (u[:, None] - middles[:, axis]) / (_BROADER * deviations[:, axis])
        nearest = np.min(np.abs(apart), axis=1)
        found.append((1 + nearest**2 / (freedom[axis] - 2)) ** (-_POWER * (freedom[axis] + 1) / 2))
    return found


def _aligned(
    equation: Equation,
    axes: Array,
    target: Box,
    motion: tuple[list[Array], list[Array], Array],
    weights: list[Array],
    seen: Array,
) -> split.Split:
    law, rate, (places, images, scale) = equation.sgd.noise, equation.learning_rate, motion
    tables, inverse = law.entrywise(axes), np.linalg.inv(target.axes)
    assert tables is not None
    waves = np.stack(np.meshgrid(*target.waves, indexing="ij"), axis=-1)
    constant = rate**2 * inverse @ law.constant @ inverse.T
    fixed = np.exp(-0.5 * np.einsum("...i,ij,...j->...", waves, constant, waves)) * seen
    table = rate**2 * tables[0] / scale[:, None] ** 2
    return split.split(fixed, target.waves, images, places, table, weights, _ALIGNED)


def _crossed(
    equation: Equation,
    source: Box,
    target: Box,
    images: list[Array],
    weights: list[Array],
    seen: Array,
    until: int,
) -> cross.Cross:
    law, places = equation.sgd.noise, source.places
    waves = np.stack(np.meshgrid(*target.waves, indexing="ij"), axis=-1)
    waves, held = -equation.learning_rate * waves @ np.linalg.inv(target.axes), np.flatnonzero(seen)
    columns, row = (_gaussian if law.gaussian else _of_any)(law, waves, held, source)
    size = len(places) + len(held)
    most = int(_MOST_BYTES / (size * (8 if law.gaussian else 16)))
    weight = weights[0][:, None, None] * weights[1][:, None] * weights[2]
    try:
        found = cross.separated(columns, row, weight.ravel(), SPLIT[law.gaussian], most)
    except cross.TooLongError:
        raise UnresolvedError(
            f"step {until}: the noise couples waves and places by more than {most} products on {len(places)} nodes, "
            f"which would take more than {_MOST_BYTES:.2g} bytes; lower learning_rate, or use dfp.MonteCarlo(...)."
        ) from None
    mean = [np.exp(1j * np.outer(wave, image)) for wave, image in zip(target.waves, images, strict=True)]
    parts = []
    for alpha, beta in found:
        filled = np.zeros((len(alpha), seen.size), alpha.dtype)
        filled[:, held] = alpha
        parts.append((filled.reshape(-1, *seen.shape), beta.reshape(-1, *source.cells)))
    return cross.Cross(mean, parts)


def _of_any(law: NoiseLaw, waves: Array, held: Any, source: Box) -> tuple[_Columns, _Row]:
    """Return the characteristic function at the ``held`` waves from some places, and at one of these from all."""
    places = source.places

    def columns(some: Array) -> Complex:
        return np.asarray(law.characteristic(waves, places[some])).reshape(len(some), -1)[:, held]

    def row(wave: int) -> Complex:
        at = waves.reshape(-1, 3)[held[wave]]
        return np.asarray(law.wave_characteristic(at, source.centre, source.axes, source.lattice)).ravel()

    return columns, row


def _gaussian(law: NoiseLaw, waves: Array, held: Any, source: Box) -> tuple[_Columns, _Row]:
    """Return the same, exp(−½ kᵀC(θ)k): products of the pairs of k with the entries of C."""
    flat = waves.reshape(-1, 3)[held]
    pairs = (flat[:, :, None] * flat[:, None, :]).reshape(-1, 9)
    half = -0.5 * law.covariance(source.places).reshape(-1, 9)

    def columns(some: Array) -> Array:
        return np.exp(half[some] @ pairs.T)

    def row(wave: int) -> Array:
        return np.exp(half @ pairs[wave])

    return columns, row
