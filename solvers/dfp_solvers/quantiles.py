"""Characteristic functions from quantile functions: ∫ e^{ikx(z)} φ(z) dz, x(z) = F⁻¹(Φ(z)), in Gaussian pieces.

A density with a kink, a zero or a pole makes x(z) rough at one place. Pieces are halved until x is a polynomial on each
of them to rounding error, so that they shrink geometrically towards such places, and are cut again so finely that no
phase turns by more than some radians within one.
"""

from collections.abc import Callable

import numpy as np
from numpy.polynomial import legendre

from dfp_solvers.arrays import Array, Complex

_NODES = 16
_AT, _WEIGHTS = legendre.leggauss(_NODES)
# Values at the nodes to Legendre coefficients: the quadrature is exact for their products.
_TO_SERIES = (legendre.legvander(_AT, _NODES - 1) * _WEIGHTS[:, None]).T * (np.arange(_NODES) + 0.5)[:, None]
# Relative size of the last coefficients of x on a piece that counts as a polynomial, and the shortest piece.
_SMOOTH, _SHORTEST = 1e-13, 1e-11
_MOST_PIECES = 512
# Radians that a phase may turn on a piece of sixteen nodes, and the most nodes in all.
_TURN, _MOST_NODES = 6.0, 60_000
# Probability in a piece that need not be followed.
_NOTHING = 1e-18


class Quantiles:
    """x(z) in polynomial pieces.

    Parameters
    ----------
    transform
        x(z), increasing, of standard normals z.
    edge
        Standard normals beyond are left out.
    """

    def __init__(self, transform: Callable[[Array], Array], edge: float) -> None:
        ends = np.linspace(-edge, edge, 35)
        open_ends = np.stack([ends[:-1], ends[1:]], axis=1)
        kept: list[Array] = []
        coefficients: list[Array] = []
        scale = float(transform(np.array(1.0)) - transform(np.array(-1.0)))
        while open_ends.size:
            middle, half = open_ends.mean(axis=1), np.diff(open_ends, axis=1)[:, 0] / 2
            values = transform((middle[:, None] + half[:, None] * _AT).ravel()).reshape(len(middle), _NODES)
            series = values @ _TO_SERIES.T
            tail = np.abs(series[:, -3:]).max(axis=1)
            size = np.maximum(np.abs(series[:, 1:]).max(axis=1), scale * np.maximum(np.exp(middle**2 / 4) - 1, 1.0))
            mass = np.exp(-0.5 * np.maximum(np.abs(middle) - half, 0.0) ** 2) * half
            done = ~np.isfinite(tail) | (tail <= _SMOOTH * size) | (half < _SHORTEST) | (mass < _NOTHING)
            done |= len(kept) + len(open_ends) > _MOST_PIECES
            usable = done & np.isfinite(tail)
            kept += list(open_ends[usable])
            coefficients += list(series[usable])
            rest = open_ends[~done]
            centre = rest.mean(axis=1)
            open_ends = np.concatenate([np.stack([rest[:, 0], centre], 1), np.stack([centre, rest[:, 1]], 1)])
        order = np.argsort([piece[0] for piece in kept])
        self._ends, self._series = np.array(kept)[order], np.array(coefficients)[order]
        self._rise = legendre.legval(1.0, self._series.T) - legendre.legval(-1.0, self._series.T)

    def nodes(self, largest: float, turn: float = _TURN) -> tuple[Array, Array]:
        """Return values x and their weights by which phases up to ``largest`` · x are integrated."""
        low, high = self._ends.T
        nearest = np.where(low * high <= 0, 0.0, np.minimum(np.abs(low), np.abs(high)))
        mass = np.exp(-0.5 * nearest**2) * (high - low)
        parts = np.ceil(np.abs(self._rise) * largest / turn)
        # Where next to nothing is, phases need not be followed.
        parts = np.clip(parts, 1, np.where(mass < 1e-13, 4, _MOST_NODES // _NODES)).astype(np.int64)
        piece = np.repeat(np.arange(len(parts)), parts)
        within = np.arange(len(piece)) - np.repeat(np.cumsum(parts) - parts, parts)
        width = 2.0 / parts[piece]
        t = (-1.0 + width * (within + 0.5))[:, None] + width[:, None] / 2 * _AT
        previous, polynomial = np.zeros_like(t), np.ones_like(t)
        x = self._series[piece, 0][:, None] * polynomial
        for order in range(1, _NODES):
            step = ((2 * order - 1) * t * polynomial - (order - 1) * previous) / order
            previous, polynomial = polynomial, step
            x = x + self._series[piece, order][:, None] * polynomial
        half = (high - low)[piece, None] / 2
        z = (high + low)[piece, None] / 2 + half * t
        weights = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi) * half * (width[:, None] / 2) * _WEIGHTS
        return x.ravel(), weights.ravel()

    def characteristic(self, waves: Array, turn: float = _TURN) -> Complex:
        """Return E e^{ikx} at ``waves`` (m,)."""
        x, weights = self.nodes(float(np.max(np.abs(waves), initial=0.0)), turn)
        result = np.empty(len(waves), dtype=np.complex128)
        for some in np.array_split(np.arange(len(waves)), 1 + len(waves) * len(x) // 2**22):
            result[some] = np.exp(1j * np.outer(waves[some], x)) @ weights
        return result


def narrowest(sample: Array) -> Array:
    """Return the deviation along each axis of a Gaussian as dense as the densest quarter of ``sample`` (N, d), (d,)."""
    ordered = np.sort(sample, axis=0)
    quarter = max(len(ordered) // 4, 1)
    # Half of a Gaussian's central quarter reaches 0.3186 deviations.
    return np.min(ordered[quarter:] - ordered[:-quarter], axis=0) / (2 * 0.3186)
