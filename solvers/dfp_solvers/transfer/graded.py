"""The master equation (T4) on a line with Gaussian steps: graded nodes, transition matrices and how far mass reaches.

One step takes x to ax + b + √(Γx² + D) ζ. In the coordinate u of x = c sinh u, c² = D/Γ, all steps are equally wide
from the bulk out into power-law tails, so that nodes equally spaced in u resolve them all, and the trapezoidal rule in
u is spectrally accurate. Densities elsewhere follow from the masses one step before (Nyström's interpolation).
"""

from collections.abc import Callable
from math import comb, prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import gammaln, hyp1f1

from dfp_solvers.arrays import Array

REACH = 8.7  # deviations after which a kernel is cut: 4e-17 of its peak
CELLS = 2.0  # nodes per deviation of a kernel: the trapezoidal rule then errs by exp(−π² 2²) = 7e-18
# Far out the next place is multiplied by a random factor; in log x the spectrum of a Gaussian factor falls like
# exp(−π|k|/4), which at k = 2π / this spacing is 5e-15.
LOGARITHMIC = 0.15
_EVEN = tuple(range(2, 34, 2))
_FRACTIONAL = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 1.0)
_DENSE = 0.25  # share of entries from which a full matrix is faster
# Nodes up to which a sparse matrix is worth its full squares: 30 of them take a minute.
_SQUARED = 3000


class Step(NamedTuple):
    """One step x → slope x + shift + √(slope_variance x² + shift_variance) ζ with ζ standard normal."""

    slope: float
    shift: float
    slope_variance: float
    shift_variance: float

    def mean(self, x: Array) -> Array:
        """Return the mean of the next place."""
        return self.slope * x + self.shift

    def deviation(self, x: Array) -> Array:
        """Return the standard deviation of the next place."""
        return np.sqrt(self.slope_variance * x**2 + self.shift_variance)


class GradedNodes(NamedTuple):
    """Nodes c sinh((j + ½) spacing) for first <= j < last."""

    scale: float
    spacing: float
    first: int
    last: int

    @property
    def nodes(self) -> Array:
        """Places of the nodes, increasing."""
        return self.scale * np.sinh((np.arange(self.first, self.last) + 0.5) * self.spacing)

    @property
    def weights(self) -> Array:
        """Weights of the trapezoidal rule: mass = density × weight."""
        u = (np.arange(self.first, self.last) + 0.5) * self.spacing
        return self.scale * self.spacing * np.cosh(u)

    def reaching(self, reach: float) -> "GradedNodes":
        """Return the nodes extended, if need be, to −reach … reach."""
        count = int(np.ceil(np.arcsinh(reach / self.scale) / self.spacing)) + 1
        return self._replace(first=min(self.first, -count), last=max(self.last, count))


def graded_nodes(step: Step) -> GradedNodes:
    """Return no nodes yet, whose spacing resolves ``step`` (shift_variance > 0), as function of both its ends."""
    width = np.sqrt(step.shift_variance)
    scale = 1e9 * width if step.slope_variance <= 1e-18 else width / np.sqrt(step.slope_variance)
    spacing = min(width / scale / max(1.0, abs(step.slope)) / CELLS, LOGARITHMIC)
    return GradedNodes(float(scale), float(spacing), 0, 0)


def transition(targets: Array, sources: Array, step: Step) -> Any:
    """Return the densities at ``targets`` (M,), increasing, of one step from ``sources`` (N,): a matrix (M, N)."""
    mean, deviation = step.mean(sources), step.deviation(sources)
    first = np.searchsorted(targets, mean - REACH * deviation)
    count = np.searchsorted(targets, mean + REACH * deviation) - first
    ends = np.concatenate([[0], np.cumsum(count)])
    rows = np.arange(ends[-1]) - np.repeat(ends[:-1] - first, count)
    z = (targets[rows] - np.repeat(mean, count)) / np.repeat(deviation, count)
    values = np.exp(-0.5 * z * z) * np.repeat(1 / (np.sqrt(2 * np.pi) * deviation), count)
    matrix = sparse.csc_array((values, rows, ends), shape=(targets.size, sources.size))
    return matrix.toarray() if ends[-1] > _DENSE * targets.size * sources.size else matrix.tocsr()


def powers(matrix: Any, mass: Array, steps: int, passed: Callable[[Array, int], None] | None = None) -> Array:
    """Return ``matrix``^steps @ ``mass``; matrices are squared, as full ones, where that is faster.

    ``passed`` is told of the mass, and of the steps left, after every step that is one of its own.
    """
    n, thin = mass.size, sparse.issparse(matrix)
    share = matrix.nnz / mass.size**2 if thin else 1.0
    if steps > 64 and steps * 20 * share > 2 * n * np.log2(steps) and (n <= _SQUARED or not thin):
        matrix = matrix.toarray() if thin else matrix
        while steps:
            if steps & 1:
                mass = matrix @ mass
            steps >>= 1
            matrix = matrix @ matrix if steps else matrix
        return mass
    for left in reversed(range(steps)):
        mass = matrix @ mass
        if passed is not None:
            passed(mass, left)
    return mass


def reach(step: Step, start: dict[float, float], steps: NDArray[np.int64], epsilon: float) -> float:
    """Return a distance from 0 beyond which there is less than ``epsilon`` of the mass at each of ``steps``.

    Markov's inequality with the exact moments of even order up to 32, and with bounds on the moments E|x|^p, p <= 1,
    which exist where tails are too heavy for the former.

    Parameters
    ----------
    start
        E|x|^p at step 0 for all p of ``orders()``.
    """
    unit = np.sqrt(step.shift_variance) + start[2] ** 0.5
    widest = np.zeros(len(steps))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        even = _even_moments(step, start, steps, unit)
        best = np.min(unit * (even / epsilon) ** (1 / np.array(_EVEN)), axis=1, initial=np.inf, where=np.isfinite(even))
        for p in _FRACTIONAL:
            ratio = absolute_moment(step.slope, step.slope_variance, p)
            source = absolute_moment(step.shift, step.shift_variance, p)
            series = steps if ratio == 1 else (ratio**steps - 1) / (ratio - 1)
            bound = ((ratio**steps * start[p] + series * source) / epsilon) ** (1 / p)
            best = np.where(bound < best, bound, best)
        widest = np.maximum(widest, best)
    return float(np.max(widest))


def orders() -> tuple[float, ...]:
    """Return the orders of the absolute moments that ``reach`` asks for."""
    return (*_FRACTIONAL, *_EVEN)


def absolute_moment(mean: float, variance: float, p: float) -> float:
    """Return E|x|^p of a Gaussian (theory page, section 4), p <= 1, or a bound from above."""
    if variance <= 1e-3 * mean * mean:
        return float((mean * mean + variance) ** (p / 2))
    constant = gammaln((p + 1) / 2) - gammaln(0.5) + p / 2 * np.log(2 * variance)
    return float(np.exp(constant) * hyp1f1(-p / 2, 0.5, -mean * mean / (2 * variance)))


def _even_moments(step: Step, start: dict[float, float], steps: NDArray[np.int64], unit: float) -> Array:
    """Return E(x/unit)^m at each of ``steps`` for the even m of ``_EVEN``; odd moments are bounded by even ones."""
    n = _EVEN[-1] + 1
    matrix, shift = np.zeros((n, n)), abs(step.shift) / unit
    variance = np.polynomial.Polynomial([step.shift_variance / unit**2, 0.0, step.slope_variance])
    mean = np.polynomial.Polynomial([shift, abs(step.slope)])
    for m in range(n):
        total = np.polynomial.Polynomial([0.0])
        for even in range(0, m + 1, 2):
            total += comb(m, even) * prod(range(1, even, 2)) * mean ** (m - even) * variance ** (even // 2)
        # Polynomials lose their leading coefficients where these vanish, as all do at ηλ = 1.
        matrix[m, : min(m + 1, len(total.coef))] = total.coef[: m + 1]
    values = np.empty(n)
    for m in range(n):
        # E|x|^m of odd order by Cauchy and Schwarz
        low, high = start.get(m - 1, 1.0), start.get(m + 1, 0.0)
        values[m] = 1.0 if m == 0 else (start[m] if m % 2 == 0 else np.sqrt(low * high)) / unit**m
    result = np.empty((len(steps), len(_EVEN)))
    for row, count in enumerate(steps):
        result[row] = (np.linalg.matrix_power(matrix, int(count)) @ values)[list(_EVEN)]
    return result
