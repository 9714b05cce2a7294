"""Growth of a random multiplier Y = 1 − ηh: its Lyapunov exponent E log|Y|, moments E|Y|^κ and Kesten's tail index.

Y is Gaussian, N(a, s²), or has finitely many values (atoms), such as the averages of minibatches. Section 4 of the
theory page; Kesten (1973), doi:10.1007/BF02392040.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import fft
from scipy.optimize import brentq, minimize_scalar
from scipy.special import dawsn, gammaln, hyp1f1, logsumexp

from dfp_solvers import minibatches
from dfp_solvers.arrays import Array

# Beyond |a|/s = 10 the zero of Y is out of reach (e^-50), and expansions about a converge to rounding error.
_FAR = 10.0
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(48)
# Minibatches are enumerated up to this number; beyond it their average is found by convolution on this many cells.
ENUMERATED = 200_000
LATTICE = 2**18
# Rounding of one cell of a distribution that was convolved by fast Fourier transforms, relative to its mass 1.
_NOISE = 1e-16


class Atoms(NamedTuple):
    """Values of Y with their probabilities, shapes (m,); ``width`` is that of lattice cells, 0 if values are exact."""

    values: Array
    weights: Array
    width: float = 0.0


def gaussian_exponent(mean: Array | float, deviation: Array | float) -> Array:
    """Return E log|Y| for Y ~ N(a, s²), broadcast; −∞ where a = s = 0.

    Since ∂/∂a E log|Y| = (√2/s) F(a/(√2 s)) with Dawson's function F, it is log s − (γ_E + log 2)/2 + ∫ 2F over
    (0, a/(√2 s)); far from zero it is log|a| − Σ_k (2k−1)!!/(2k) (s/a)^2k.
    """
    a, s = np.broadcast_arrays(np.abs(np.asarray(mean, dtype=float)), np.asarray(deviation, dtype=float))
    far = a >= _FAR * s
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(far & (a > 0), s / a, 0.0) ** 2
        series, term = np.zeros_like(ratio), np.ones_like(ratio)
        for k in range(1, 40):
            term = term * (2 * k - 1) * ratio
            series = series + term / (2 * k)
        near = np.where(far, 0.0, a / (np.sqrt(2) * s))
        integral = near * (dawsn(near[..., None] * (1 + _NODES) / 2) @ _WEIGHTS)
        result: Array = np.where(far, np.log(a) - series, np.log(s) - (np.euler_gamma + np.log(2)) / 2 + integral)
    return result


def gaussian_log_moment(order: float, mean: float, deviation: float) -> float:
    """Return log E|Y|^κ for Y ~ N(a, s²), s > 0, κ = ``order`` >= 0.

    E|Y|^κ = s^κ 2^{κ/2} π^{−1/2} Γ((κ+1)/2) ₁F₁(−κ/2; ½; −a²/(2s²)) (Winkelbauer 2012, arXiv:1209.4340); far from zero
    by the trapezoidal rule about the peak of the integrand, which converges beyond any order.
    """
    a, s = abs(mean), deviation
    if a < _FAR * s:
        scale = order * np.log(s * np.sqrt(2)) - np.log(np.pi) / 2 + gammaln((order + 1) / 2)
        return float(scale + np.log(hyp1f1(-order / 2, 0.5, -((a / s) ** 2) / 2)))
    peak = (a + np.sqrt(a * a + 4 * order * s * s)) / 2
    y = np.linspace(max(peak - 12 * s, 1e-3 * peak), peak + 12 * s, 401)
    log_weights = np.log((y[1] - y[0]) / (s * np.sqrt(2 * np.pi))) - (((y - a) / s) ** 2) / 2
    return _log_moment(order, np.log(y), log_weights)


def gaussian_tail_index(mean: float, deviation: float) -> float:
    """Return Kesten's κ of Y ~ N(a, s²), s > 0; NaN if there is no stationary law."""

    def log_moment(order: float) -> float:
        return gaussian_log_moment(order, mean, deviation)

    return tail_index(log_moment, float(gaussian_exponent(mean, deviation)))


def continuous_edge(mean: float, deviation: float) -> float:
    """Return the least E|Y|^κ over κ, E log|Y| < 0: decay beyond it has no discrete modes if tails are power laws."""
    highest = min(gaussian_tail_index(mean, deviation), 200.0)
    found = minimize_scalar(
        lambda order: gaussian_log_moment(order, mean, deviation), bounds=(0, highest), method="bounded"
    )
    return float(np.exp(found.fun))


def _log_moment(order: float, logarithm: Array, log_weights: Array) -> float:
    """Return log Σ w exp(κ L) for Σ w = 1; about 1 if it is close, so that a small κ or a small spread keeps digits."""
    exponent = order * logarithm
    change = np.sum(np.exp(log_weights) * np.expm1(exponent)) if np.max(exponent) < 1 else np.inf
    if abs(change) < 0.5:
        return float(np.log1p(change))
    return float(logsumexp(exponent + log_weights))


def minibatch_atoms(samples: Array, batch_size: int, *, cells: int = LATTICE) -> Atoms:
    """Return the law of the average of ``batch_size`` draws, with replacement, from ``samples`` (N,).

    Exact by enumeration of all minibatches up to ``ENUMERATED`` of them, else by convolution on a lattice of ``cells``.
    """
    values, counts = np.unique(samples, return_counts=True)
    probability = counts / counts.sum()
    if batch_size == 1 or values.size == 1:
        return Atoms(values, probability)
    if minibatches.number(values.size, batch_size) <= ENUMERATED:
        return _enumerated(values, probability, batch_size)
    return _convolved(values, probability, batch_size, max(cells // batch_size, 64))


def _enumerated(values: Array, probability: Array, batch_size: int) -> Atoms:
    drawn, weights = minibatches.choices(values.size, batch_size, probability=probability)
    averages = values[drawn].mean(axis=1)
    rounding = 8 * np.finfo(float).eps * float(np.max(np.abs(values)))
    return Atoms(np.where(np.abs(averages) <= rounding, 0.0, averages), weights)


def _convolved(values: Array, probability: Array, batch_size: int, cells: int) -> Atoms:
    low, high = float(values[0]), float(values[-1])
    position = (values - low) / (high - low) * cells
    first = np.minimum(position.astype(np.int64), cells - 1)
    single = np.zeros(cells + 1)
    np.add.at(single, first, probability * (first + 1 - position))  # shared linearly: the mean is kept
    np.add.at(single, first + 1, probability * (position - first))
    total = cells * batch_size + 1
    size = fft.next_fast_len(total, real=True)
    summed = fft.irfft(fft.rfft(single, size) ** batch_size, size)[:total]
    width = (high - low) / (cells * batch_size)
    return Atoms(low + width * np.arange(total), np.maximum(summed, 0.0), width)


def atoms_exponent(atoms: Atoms) -> float:
    """Return E log|Y| of atoms: −∞ if Y can be zero; on a lattice the logarithm is averaged over each cell."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if atoms.width == 0:
            logarithm = np.log(np.abs(atoms.values))
        else:
            left, right = atoms.values - atoms.width / 2, atoms.values + atoms.width / 2
            edges = [np.where(y == 0, 0.0, y * np.log(np.abs(y))) for y in (left, right)]
            logarithm = (edges[1] - edges[0]) / atoms.width - 1
            # Far from zero that difference loses digits, and the middle of the cell is as good.
            far = np.abs(atoms.values) > 100 * atoms.width
            logarithm = np.where(far, np.log(np.abs(atoms.values)), logarithm)
    return float(np.sum(atoms.weights * logarithm))


def atoms_log_moment(order: float, atoms: Atoms) -> float:
    """Return log E|Y|^κ of atoms, κ = ``order`` >= 0."""
    with np.errstate(divide="ignore"):
        return _log_moment(order, np.log(np.abs(atoms.values)), np.log(atoms.weights)) if order > 0 else 0.0


def common_period(values: Array) -> float | None:
    """Return the greatest p of which every log|y| of ``values`` (m,) other than zero is a multiple, or None.

    Euclid's algorithm on floating numbers: p counts if all quotients are whole within 1e-9 and below 1000, which
    numbers that have no common divisor reach by chance once in some 1e6 pairs.
    """
    sizes = np.abs(np.log(np.abs(values[values != 0])))
    sizes = np.unique(sizes[sizes > 1e-12])
    if not sizes.size:
        return None
    period = float(sizes[0])
    for size in sizes[1:]:
        larger, smaller = float(size), period
        while smaller > 1e-9 * size:
            larger, smaller = smaller, abs(larger - smaller * round(larger / smaller))
        period = larger
        if period < 1e-3 * size:
            return None
    quotients = sizes / period
    whole = np.all(np.abs(quotients - np.round(quotients)) <= 1e-9 * quotients) and quotients[-1] < 1000
    return float(period) if whole else None


def largest_resolved_order(atoms: Atoms) -> float:
    """Return up to which κ the rounding of a convolved law changes E|Y|^κ by less than 1e-6; ∞ if it has none."""
    top = float(np.max(np.abs(atoms.values)))
    if atoms.width == 0 or top <= 1:
        return np.inf
    logarithm = np.log(np.maximum(np.abs(atoms.values), 1e-300))

    def excess(order: float) -> float:
        return float(logsumexp(order * logarithm) + np.log(_NOISE) - np.log(1e-6))

    return float(brentq(excess, 0.0, 1e3 / np.log(top)))


def tail_index(log_moment: Callable[[float], float], exponent: float, limit: float = np.inf) -> float:
    """Return the κ > 0 with E|Y|^κ = 1, the root of the convex function log E|Y|^κ beyond zero.

    Parameters
    ----------
    log_moment
        κ ↦ log E|Y|^κ, for Y that exceeds 1 in magnitude with positive probability.
    exponent
        E log|Y|, its slope at zero: there is a root iff it is negative.
    limit
        Largest κ to try.

    Returns
    -------
    float
        NaN if there is no stationary law (``exponent`` >= 0); ∞ if the root lies beyond ``limit``.
    """
    if not exponent < 0:
        return np.nan
    high = min(1.0, limit)
    while log_moment(high) <= 0:
        if high >= limit or high > 1e15:
            return np.inf
        high = min(2 * high, limit)
    low = high / 2
    while log_moment(low) > 0:
        low /= 2
        if low < 1e-300:
            return np.nan
    return float(brentq(log_moment, low, high, xtol=1e-300, rtol=1e-14))
