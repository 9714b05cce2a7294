"""The master equation (T4) on a line by characteristic functions: transition matrices that are band-limited, not local.

The characteristic function of one step from a place x, φ(k|x), is known in closed form for finite sums and for additive
noise of any law (theory page, section 5). Its values at the waves of a periodic box make a matrix from masses of nodes
to masses of nodes. Where steps contract, φ at |k| <= K depends on φ one step before at |k| <= K alone, so nothing is
lost by cutting at K = π/Δ, smooth density or not.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numba
import numpy as np
from scipy import fft, sparse

from dfp_solvers.arrays import Array, Complex
from dfp_solvers.jit import kernel

Characteristic = Callable[[Array, Array], Complex]
"""φ(k|x) for places (n,) and waves (m,), equally spaced from 0: shape (n, m)."""

_BLOCK = 512  # sources whose characteristic functions are held at once
_REACH, _DEGREE = 100, 22  # nodes to which a single place rings by 1e-14, and of polynomials between nodes
_ORDER, _DECAY = 16, 36.0  # of the filter exp(−36 (k/K)^16), which keeps images of single nodes local


class Nodes(NamedTuple):
    """Nodes (j + ½) spacing for first <= j < last, inside a periodic box of ``period`` of them."""

    spacing: float
    first: int
    last: int
    period: int

    @property
    def places(self) -> Array:
        """Places of the nodes, increasing."""
        return (np.arange(self.first, self.last) + 0.5) * self.spacing

    @property
    def waves(self) -> Array:
        """Wave numbers of the periodic box up to π / spacing."""
        return 2 * np.pi / (self.period * self.spacing) * np.arange(self.period // 2 + 1)


def taper(waves: int) -> Array:
    """Return the filter applied at every step: 1 to rounding error up to a third of the waves, 1e-3 away at half."""
    return np.exp(-_DECAY * (np.arange(waves) / (waves - 1)) ** _ORDER)


def transition(nodes: Nodes, sources: Array, characteristic: Characteristic) -> Array:
    """Return the masses that one step from ``sources`` (N,) brings to the nodes (n,): a matrix (n, N)."""
    waves, count = nodes.waves, nodes.last - nodes.first
    phase = np.exp(1j * waves * ((nodes.first + 0.5) * nodes.spacing)) * taper(waves.size)
    result = np.empty((count, sources.size))
    for begin in range(0, sources.size, _BLOCK):
        some = slice(begin, begin + _BLOCK)
        coefficients = np.conj(characteristic(sources[some], waves)) * phase
        result[:, some] = fft.irfft(coefficients, n=nodes.period, axis=1, workers=2)[:, :count].T
    return result


def images(nodes: Nodes, places: Array) -> sparse.csr_array:
    """Return the masses that unit masses at ``places`` (N,) bring to the nodes (n,): a sparse matrix (n, N).

    It is the ``transition`` of a step that is an affine map, where sources have these places as their images.
    """
    index = places / nodes.spacing - 0.5 - nodes.first
    nearest = np.floor(index + 0.5).astype(np.int64)
    values = np.polynomial.chebyshev.chebvander(2 * (index - nearest), _DEGREE) @ _ringing()
    row = nearest[:, None] + np.arange(-_REACH, _REACH + 1)
    column = np.broadcast_to(np.arange(places.size)[:, None], row.shape)
    inside = (row >= 0) & (row < nodes.last - nodes.first)
    shape = (nodes.last - nodes.first, places.size)
    return sparse.csr_array((values[inside], (row[inside], column[inside])), shape=shape)


@cache
def _ringing() -> Array:
    """Return Chebyshev coefficients (degree + 1, nodes) of ∫₀¹ exp(−36 x^16) cos(π(j − f)x) dx in 2f, |f| <= ½."""
    # The trapezoidal rule repeats the kernel after 1024 nodes, where it has decayed.
    x, weights = np.linspace(0.0, 1.0, 513), np.full(513, 1 / 512)
    weights[[0, -1]] /= 2
    angles = np.pi * (np.arange(_DEGREE + 1) + 0.5) / (_DEGREE + 1)
    apart = np.arange(-_REACH, _REACH + 1) - np.cos(angles)[:, None] / 2
    values = np.cos(np.pi * apart[:, :, None] * x) @ (weights * np.exp(-_DECAY * x**_ORDER))
    share = np.full(_DEGREE + 1, 2.0 / (_DEGREE + 1))
    share[0] /= 2
    return share[:, None] * (np.cos(np.outer(np.arange(_DEGREE + 1), angles)) @ values)


def spectrum(nodes: Nodes, mass: Array) -> Complex:
    """Return the characteristic function of the masses at the waves of the box."""
    transform = fft.rfft(mass, n=nodes.period)
    return np.conj(transform) * np.exp(1j * nodes.waves * ((nodes.first + 0.5) * nodes.spacing))


def density(nodes: Nodes, phi: Complex, targets: Array) -> Array:
    """Return the density at ``targets`` (n,) inside the box."""
    weights: Complex = np.asarray(2.0 * np.conj(phi) / (nodes.period * nodes.spacing), dtype=np.complex128)
    weights[0] /= 2
    return _series(nodes, weights, targets)


def distribution(nodes: Nodes, phi: Complex, targets: Array) -> Array:
    """Return the distribution function at ``targets`` (n,) inside the box, up to a constant; it may ripple."""
    weights = 2.0 * np.conj(phi[1:]) / (1j * nodes.waves[1:] * nodes.period * nodes.spacing)
    slope = phi[0].real / (nodes.period * nodes.spacing)
    return slope * targets + _series(nodes, np.concatenate([np.zeros(1, complex), weights]), targets)


def monotone(values: Array) -> Array:
    """Return the mean of the least increasing majorant and the largest minorant: ``values`` where they increase."""
    above, below = np.maximum.accumulate(values), np.minimum.accumulate(values[::-1])[::-1]
    return (above + below) / 2


def _series(nodes: Nodes, weights: Complex, targets: Array) -> Array:
    result = np.empty(targets.size)
    for begin in range(0, targets.size, _BLOCK):
        some = targets[begin : begin + _BLOCK]
        result[begin : begin + _BLOCK] = (np.exp(1j * np.outer(some, nodes.waves)) @ weights).real
    return result


@kernel()
def _characteristic(
    place: float, wave: float, kept: float, hessians: Array, gradients: Array, scale: float, batch: int, out: Complex
) -> None:
    count = hessians.size
    factor = np.exp(1j * (scale * wave * (hessians * place + gradients)))
    power = np.ones(count, np.complex128)
    own, turned = np.exp(1j * kept * wave * place), 1.0 + 0.0j
    for k in range(out.size):
        average = 0.0 + 0.0j
        for i in range(count):
            average += power[i]
            power[i] *= factor[i]
        out[k] = turned * (average / count) ** batch
        turned *= own


@kernel(parallel=True)
def finite_sum(
    places: Array, waves: Array, kept: float, hessians: Array, gradients: Array, learning_rate: float, batch: int
) -> Complex:
    """Return e^{ik kept x} [(1/N) Σ_i e^{−i (learning_rate/batch) k (h_i x + g_i)}]^batch, shape (n, m)."""
    result = np.empty((places.size, waves.size), np.complex128)
    for j in numba.prange(places.size):
        _characteristic(places[j], waves[1], kept, hessians, gradients, -learning_rate / batch, batch, result[j])
    return result
