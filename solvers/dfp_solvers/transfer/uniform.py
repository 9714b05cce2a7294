"""Transfer operators: one step of the master equation (T4) as a sum over the cells of a uniform grid.

Densities are carried as probabilities of lattice nodes (cell centres), in flat order. Places are in index units: node j
of an axis sits at j, so the box ends at −½ and n − ½. Three kinds of sources occur:

* ``Resolved``: the next place is Gaussian and no narrower than the lattice. The trapezoidal rule over sources is then
  spectrally accurate, every weight is positive, and the lattice weights of one source add up to one to 1e-13 or better.
* ``Narrow``: the next place is Gaussian and narrower than the lattice in some direction. Quadrature nodes of the noise
  are put on the lattice by twice differentiable weights that keep all moments up to the fifth (the family Λ of Cottet,
  Etancelin, Perignon & Picard 2014).
* ``Maps``: the next place is one of M affine maps (a finite sum); each image is put on the lattice in the same way.

What leaves the box is returned, never folded back. Bits do not depend on threads: resolved sources are gathered by
bands of targets, each summed in the order of the sources; narrow ones are scattered by fixed blocks, added in order.
"""

import math
from typing import NamedTuple

import numba
import numpy as np

from dfp_solvers.arrays import Array, Integers
from dfp_solvers.jit import kernel

FLOOR = 1e-20  # weights below this are left out: 1e5 sources then lose 1e-15 of the mass a step, as much as rounding
BANDS = 16  # most target bands of the gather; neighbours go to different threads
BLOCKS = 8  # source blocks of the scatter and of the losses
LANES = 8  # nodes of a row are taken in vectors of this many
SMALL = 4096  # sources up to which a step runs on one thread
STENCIL = 8  # nodes per axis on which a place is put

_LOG2E = 1.0 / math.log(2.0)
_LN2 = math.log(2.0)
_SHIFT = 2.0**52 + 1023.0  # its sum with an integer n has the low bits of n + 1023


def _tail_of_exp(degree: int) -> tuple[float, ...]:
    """Return the coefficients in x of a nearly minimax polynomial for (eˣ − 1 − x)/x² on |x| <= ½ ln 2."""
    taylor = [1.0 / math.factorial(k + 2) for k in range(18)]
    fit = np.polynomial.Chebyshev.interpolate(
        lambda x: np.polynomial.polynomial.polyval(x, taylor), degree, domain=[-0.35, 0.35]
    )
    return tuple(float(c) for c in fit.convert(kind=np.polynomial.Polynomial).coef)


_C = _tail_of_exp(8)  # leaves 2e-16 of eˣ


class Resolved(NamedTuple):
    """Sources whose next place is Gaussian and resolved; axes that are absent come first, with one node each."""

    source: Integers  # (M,) which entry of the masses it moves
    place: Array  # (M, 3) mean of the next place [index]
    whitening: Array  # (M, 6) lower triangle W, row by row, with W (j − place) standard normal [1 / index]
    reach: Array  # (M, 3) standard deviations [index]
    peak: Array  # (M,) weight of a node at the mean


class Narrow(NamedTuple):
    """Sources whose next place is Gaussian and narrow: place + root z, with quadrature rules for z."""

    source: Integers  # (M,)
    place: Array  # (M, 2) [index]
    root: Array  # (M, 2, 2) columns times standard normals [index]
    rule: Integers  # (M, 2) rule of either normal
    nodes: Array  # of all rules, end to end
    weights: Array
    offsets: Integers  # (rules + 1,)


class Maps(NamedTuple):
    """A mixture of affine maps j → matrix j + shift, the same for all sources."""

    at: Array  # (N, 2) where the masses are [index]
    matrix: Array  # (M, 2, 2)
    shift: Array  # (M, 2) [index]
    weight: Array  # (M,) probabilities


@kernel(fast=True)
def _exp(x: float) -> float:
    """Return eˣ for −700 <= x <= 0 to two units in the last place, without a branch, so that loops vectorise."""
    n = np.floor(x * _LOG2E + 0.5)
    f = x - n * _LN2
    p = (((_C[8] * f + _C[7]) * f + _C[6]) * f + _C[5]) * f + _C[4]
    p = (((p * f + _C[3]) * f + _C[2]) * f + _C[1]) * f + _C[0]
    p = (p * f + 1.0) * f + 1.0
    bits = np.float64(n + _SHIFT).view(np.uint64) << np.uint64(52)
    return p * np.uint64(bits).view(np.float64)


@kernel()
def _window(centre: float, half: float, low: int, high: int) -> tuple[int, int]:
    """Return the range of integers within ``half`` of ``centre`` and in [low, high)."""
    first = max(np.ceil(centre - half), float(low))
    last = min(np.floor(centre + half), float(high - 1))
    if not first <= last:
        return low, low
    return int(first), int(last) + 1


@kernel(fast=True)
def _add_row(part: Array, start: float, inverse: float, depth: float, weight: float) -> None:
    for k in range(part.size):
        z = inverse * (start + k)
        part[k] += weight * _exp(depth - 0.5 * z * z)


@kernel(fast=True)
def _row_sum(count: int, start: float, inverse: float, depth: float) -> float:
    total = 0.0
    for k in range(count):
        z = inverse * (start + k)
        total += _exp(depth - 0.5 * z * z)
    return total


@kernel()
def _spread(s: int, weight: float, r: float, law: Resolved, low: Integers, high: Integers, out: Array) -> float:
    """Add source ``s`` to the nodes of a box within ``r`` deviations; only sum its weights if ``out`` is empty."""
    w, place, total = law.whitening[s], law.place[s], 0.0
    inverse1, inverse2 = 1.0 / w[2], 1.0 / w[5]
    slope10, slope20, slope21 = w[1] * inverse1, w[3] * inverse2, w[4] * inverse2
    first0, last0 = _window(place[0], r / w[0], low[0], high[0])
    for j0 in range(first0, last0):
        u0 = j0 - place[0]
        z0 = w[0] * u0
        left0 = r * r - z0 * z0
        if left0 < 0.0:
            continue
        centre1 = place[1] - slope10 * u0
        first1, last1 = _window(centre1, math.sqrt(left0) * inverse1, low[1], high[1])
        for j1 in range(first1, last1):
            z1 = w[2] * (j1 - centre1)
            left1 = left0 - z1 * z1
            if left1 < 0.0:
                continue
            centre2 = place[2] - slope20 * u0 - slope21 * (j1 - place[1])
            first2, last2 = _window(centre2, math.sqrt(left1) * inverse2, low[2], high[2])
            depth = -0.5 * (z0 * z0 + z1 * z1)
            if out.size:
                # Whole vectors are faster than the exact window: nodes beyond it get weights below the floor.
                wanted = (last2 - first2 + LANES - 1) // LANES * LANES
                if wanted <= high[2] - low[2]:
                    first2 = min(first2, high[2] - wanted)
                    last2 = first2 + wanted
                _add_row(out[j0, j1, first2:last2], first2 - centre2, w[5], depth, weight)
            else:
                total += _row_sum(last2 - first2, first2 - centre2, w[5], depth)
    return weight * total


@kernel()
def _gather(axis: int, low: Integers, high: Integers, mass: Array, radius: Array, law: Resolved, out: Array) -> None:
    """Add all sources, in their order, to the nodes low <= j < high of ``out``."""
    for s in range(law.source.size):
        r = radius[s]
        half = r * law.reach[s, axis] + 1.0
        centre = law.place[s, axis]
        if r > 0.0 and centre + half > low[axis] and centre - half < high[axis]:
            _spread(s, mass[law.source[s]] * law.peak[s], r, law, low, high, out)


@kernel()
def _measure(first: int, last: int, mass: Array, law: Resolved, shape: Integers, radius: Array) -> float:
    """Fill ``radius`` with how many deviations of every source matter; return the mass these sources lose."""
    lost = 0.0
    low, nothing = np.zeros(3, np.int64), np.empty((0, 1, 1))
    for s in range(first, last):
        p = mass[law.source[s]]
        if not abs(p) > FLOOR:
            radius[s] = 0.0
            lost += p
            continue
        r = math.sqrt(2.0 * math.log(abs(p) / FLOOR))
        radius[s] = r
        inside, touches = True, True
        for a in range(3):
            half, centre = r * law.reach[s, a], law.place[s, a]
            inside &= centre - half >= -0.5 and centre + half <= shape[a] - 0.5
            touches &= centre + half >= 0.0 and centre - half <= shape[a] - 1.0
        if not touches:
            radius[s] = 0.0
            lost += p
        elif not inside:
            left = p - _spread(s, p * law.peak[s], r, law, low, shape, nothing)
            lost += left if left / p > 0.0 else 0.0
    return lost


@kernel(parallel=True)
def spread_resolved(mass: Array, law: Resolved, bands: int, out: Array) -> float:
    """Add one step of all resolved sources to ``out`` (n0, n1, n2) and return the mass that leaves the box.

    The number of ``bands``, which is even, only decides the speed where n0 or n1 is above 1.
    """
    shape = np.array(out.shape)
    radius, losses = np.empty(law.source.size), np.zeros(BLOCKS)
    for b in numba.prange(BLOCKS):
        count = law.source.size
        losses[b] = _measure(b * count // BLOCKS, (b + 1) * count // BLOCKS, mass, law, shape, radius)
    axis = 0 if shape[0] > 1 else (1 if shape[1] > 1 else 2)
    for t in numba.prange(bands):
        # Even bands first: a thread's contiguous share of t then holds every other band.
        band = 2 * t if 2 * t < bands else 2 * t - bands + 1
        low, high = np.zeros(3, np.int64), shape.copy()
        low[axis] = band * shape[axis] // bands
        high[axis] = (band + 1) * shape[axis] // bands
        _gather(axis, low, high, mass, radius, law, out)
    lost = 0.0
    for b in range(BLOCKS):
        lost += losses[b]
    return lost


def _pieces() -> Array:
    """Return the coefficients [node, power] of the weights Λ in t, the place past the fourth of eight nodes.

    Where t = 0 or 1, a weight and its derivatives in t are those of the centred formulas of order six for f, f', f'';
    in between it is the polynomial of degree five that joins them.
    """
    first = np.array([-1 / 60, 3 / 20, -3 / 4, 0, 3 / 4, -3 / 20, 1 / 60])
    second = np.array([1 / 90, -3 / 20, 3 / 2, -49 / 18, 3 / 2, -3 / 20, 1 / 90])
    centred = np.stack([np.eye(7)[3], first, second])
    left, right = np.pad(centred, ((0, 0), (0, 1))), np.pad(centred, ((0, 0), (1, 0)))
    k = np.arange(6.0)
    ends = np.stack([*(np.eye(6)[:3] * [[1], [1], [2]]), k**0, k, k * (k - 1)])
    return np.ascontiguousarray(np.linalg.solve(ends, np.concatenate([left, right])).T)


_PIECES = _pieces()
_POLES = np.array([np.prod([float(k - m) for m in range(STENCIL) if m != k]) for k in range(STENCIL)])


def ripple(factors: Array) -> float:
    """Return the largest relative ripple left by sources that a map brings ``factors`` spacings apart: |Λ̂(2π/factor)|.

    It is not smaller on a finer grid, only shorter: moments and probabilities of many cells do not see it.
    """
    t, weights = np.polynomial.legendre.leggauss(40)
    t = (t + 1) / 2
    values = np.array([np.polyval(piece[::-1], t) for piece in _PIECES]) * weights / 2
    places = t - (np.arange(STENCIL)[:, None] - STENCIL // 2 + 1)
    waves = 2 * np.pi / np.maximum(np.ravel(factors), 0.1)
    return float(np.max([abs(np.sum(values * np.cos(wave * places))) for wave in waves], initial=0.0))


def blur(density: Array) -> float:
    """Return the sum of |change| over the nodes that one step on the weights Λ makes beyond the exact step.

    A place between nodes is equally likely anywhere, so that waves k are damped by Λ̂(k) = 1 − O(k⁶) on each axis.
    """
    t, weights = np.polynomial.legendre.leggauss(40)
    t = (t + 1) / 2
    values = np.array([np.polyval(piece[::-1], t) for piece in _PIECES]) * weights / 2
    places = (t - (np.arange(STENCIL)[:, None] - STENCIL // 2 + 1)).ravel()
    damping = np.ones(())
    for n in density.shape:
        waves = 2 * np.pi * np.fft.fftfreq(n)
        damping = damping[..., None] * (np.cos(np.outer(waves, places)) @ values.ravel())
    return float(np.sum(np.abs(np.fft.ifftn(np.fft.fftn(density) * (1 - damping)))))


@kernel()
def _weigh(x: float, n: int, weights: Array) -> int:
    """Fill ``weights`` for a place x and return the first node: Λ, or Lagrange's where it would leave the box."""
    if n == 1:
        weights[0] = 1.0
        return 0
    centred = math.floor(x) - STENCIL // 2 + 1
    first = min(max(centred, 0), n - STENCIL)
    t = x - first
    for k in range(STENCIL):
        if first == centred:
            u, w = t - (STENCIL // 2 - 1), 0.0
            for m in range(5, -1, -1):
                w = w * u + _PIECES[k, m]
        else:
            w = 1.0 / _POLES[k]
            for m in range(STENCIL):
                w *= 1.0 if m == k else t - m
        weights[k] = w
    return first


@kernel()
def _deposit(x0: float, x1: float, mass: float, w0: Array, w1: Array, out: Array) -> float:
    """Put ``mass`` at a place on the nodes around it, and return it if the place is outside the box."""
    n0, n1 = out.shape
    if not (-0.5 <= x0 <= n0 - 0.5 and -0.5 <= x1 <= n1 - 0.5):
        return mass
    first0, first1 = _weigh(x0, n0, w0), _weigh(x1, n1, w1)
    for i in range(min(STENCIL, n0)):
        for j in range(STENCIL):
            out[first0 + i, first1 + j] += mass * w0[i] * w1[j]
    return 0.0


@kernel()
def _push_narrow(first: int, last: int, mass: Array, law: Narrow, out: Array) -> float:
    lost, w0, w1 = 0.0, np.empty(STENCIL), np.empty(STENCIL)
    for s in range(first, last):
        p, (a, b) = mass[law.source[s]], (law.rule[s, 0], law.rule[s, 1])
        if not abs(p) > FLOOR:
            lost += p
            continue
        for i in range(law.offsets[a], law.offsets[a + 1]):
            x0 = law.place[s, 0] + law.root[s, 0, 0] * law.nodes[i]
            x1 = law.place[s, 1] + law.root[s, 1, 0] * law.nodes[i]
            for k in range(law.offsets[b], law.offsets[b + 1]):
                y0 = x0 + law.root[s, 0, 1] * law.nodes[k]
                y1 = x1 + law.root[s, 1, 1] * law.nodes[k]
                lost += _deposit(y0, y1, p * law.weights[i] * law.weights[k], w0, w1, out)
    return lost


@kernel(parallel=True)
def push_narrow(mass: Array, law: Narrow, out: Array) -> float:
    """Add one step of all narrow sources to ``out`` (n1, n2) and return the mass that leaves the box."""
    n0, n1 = out.shape
    parts, losses, count = np.zeros((BLOCKS, n0, n1)), np.zeros(BLOCKS), law.source.size
    for b in numba.prange(BLOCKS):
        losses[b] = _push_narrow(b * count // BLOCKS, (b + 1) * count // BLOCKS, mass, law, parts[b])
    lost = 0.0
    for b in range(BLOCKS):
        lost += losses[b]
        out += parts[b]
    return lost


def push_maps(mass: Array, law: Maps, out: Array) -> float:
    """Add one step of a mixture of affine maps to ``out`` (n1, n2) and return the mass that leaves the box."""
    count, lost = mass.size, 0.0
    root, rule = np.zeros((count, 2, 2)), np.tile(np.array([0, 1]), (count, 1))
    for matrix, shift, weight in zip(law.matrix, law.shift, law.weight, strict=True):
        place, weights = law.at @ matrix.T + shift, np.array([weight, 1.0])
        one = Narrow(np.arange(count), place, root, rule, np.zeros(2), weights, np.arange(3))
        lost += push_narrow(mass, one, out)
    return lost


def step(mass: Array, laws: tuple[Resolved | Narrow | Maps, ...], cells: tuple[int, ...]) -> tuple[Array, float]:
    """Return the masses of the nodes one step later, flat, and the mass that has left the box.

    Parameters
    ----------
    mass
        Masses of the sources, flat; those of the nodes, unless the laws belong to other sources.
    laws
        Of all sources together: each source in one law.
    cells
        Number of nodes per axis, (d,).
    """
    shape = (1,) * (3 - len(cells)) + tuple(cells)
    out, lost = np.zeros(shape), 0.0
    threads = numba.get_num_threads()
    # Waking threads costs more than a small step.
    numba.set_num_threads(1 if mass.size < SMALL else threads)
    # Kernels reach into several bands, and begin anew in each: no more than it takes to share them out evenly.
    bands = BANDS if len(cells) == 1 else min(BANDS, 4 * threads)
    try:
        for law in laws:
            if isinstance(law, Resolved):
                lost += spread_resolved(mass, law, bands, out)
            elif isinstance(law, Narrow):
                lost += push_narrow(mass, law, out[0])
            else:
                lost += push_maps(mass, law, out[0])
    finally:
        numba.set_num_threads(threads)
    return out.ravel(), lost
