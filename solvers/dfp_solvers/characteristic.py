"""Univariate laws of ``scipy.stats``: centred, with cumulants, characteristic function, and tabulated sampling.

Characteristic functions are closed where a formula is known, sums for discrete laws, and otherwise integrals
∫ e^{ikx(z)} φ(z) dz over a standard normal z, x(z) = F⁻¹(Φ(z)): the trapezoidal rule converges exponentially, also for
laws that end abruptly, since x(z) nears the end of the support smoothly.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from scipy import interpolate, special

Array = NDArray[np.floating[Any]]
Complex = NDArray[np.complex128]

_EDGE = 8.3  # standard normals beyond have probability 1e-16
_LEAST = 1e-16  # probability of atoms that are left out
_CELLS_PER_UNIT = 64  # of the table of x(z)
_KNOTS = 4000  # of the table of a characteristic function found by quadrature
_MOST_NODES = 40_000
# Probabilities at which a tail is looked at, and how much its steepness may change there if it is that of a power law:
# for t with 20 degrees of freedom it changes by 1 %, for a log-normal law by 20 %.
_FAR, _STEADY = np.array([1e-40, 1e-60, 1e-80]), 0.04


class Table(NamedTuple):
    """x(z) in pieces: c₀ + c₁t + c₂t² + c₃t³, t = z − start, from each start on; ``guide`` finds the piece."""

    pieces: Array  # (K, 5): start, c₀, c₁, c₂, c₃
    guide: NDArray[np.int64]  # piece at each of equally spaced z from −_EDGE to _EDGE


class Univariate:
    """A frozen distribution with its mean (or median) taken off."""

    def __init__(self, law: Any) -> None:
        self.law = law
        self.name = str(law.dist.name)
        self.discrete = not hasattr(law.dist, "pdf")
        mean, variance, skewness, excess = (float(value) for value in law.stats("mvsk"))
        self.centre = mean if np.isfinite(mean) else float(law.median())
        self._known, self._unit, self._spline = -1.0, 1.0, cast(Any, None)
        deviation = variance**0.5 if np.isfinite(variance) else np.nan
        self.cumulants = (
            variance if np.isfinite(variance) else np.inf,
            skewness * deviation**3 if np.isfinite(skewness) else np.inf,
            excess * deviation**4 if np.isfinite(excess) else np.inf,
        )

    @cached_property
    def tail_index(self) -> float:
        """α of P(|x| > size) ~ size^−α, read off far quantiles where no formula is known; ∞ for lighter tails."""
        if self.name in _TAILS:
            return float(_TAILS[self.name](_shapes(self.law)))
        return np.inf if self.discrete else min(self._tail(self.law.isf), self._tail(self.law.ppf))

    def _tail(self, quantile: Callable[[Array], Array]) -> float:
        size = np.log(np.maximum(np.abs(quantile(_FAR) - self.centre), 1e-300))
        steep = np.diff(size) / np.diff(-np.log(_FAR))  # 1/α between far quantiles of a power law, falling for others
        if not (np.all(np.isfinite(steep)) and steep[-1] > 0 and abs(steep[0] / steep[-1] - 1) < _STEADY):
            return np.inf
        return float(1 / steep[-1])

    @property
    def stable(self) -> tuple[float, float, float] | None:
        """α, β and scale of a stable law whose place is its centre: α > 1, or symmetric; None otherwise."""
        if self.discrete or self.name not in ("cauchy", "levy_stable"):
            return None
        (alpha, beta), scale = (
            ((1.0, 0.0) if self.name == "cauchy" else _parameters(self.law)[0]),
            _parameters(self.law)[2],
        )
        return (alpha, beta, scale) if alpha > 1 or beta == 0 else None

    def transform(self, z: Array) -> Array:
        """Return the centred x(z) = F⁻¹(Φ(z)), increasing, of the law where z is standard normal."""
        tail = special.ndtr(-np.abs(z))
        return np.where(z < 0, self.law.ppf(tail), self.law.isf(tail)) - self.centre

    @property
    def closed(self) -> bool:
        """Whether the characteristic function is known as a formula or a sum."""
        return self.discrete or self.name in _CLOSED

    def characteristic(self, waves: Array) -> Complex:
        """Return E e^{ikx} of the centred law at ``waves``, of any shape."""
        if self.discrete:
            return self._sum(waves)
        if self.name in _CLOSED:
            shapes, location, scale = _parameters(self.law)
            phase = np.exp(1j * waves * (location - self.centre))
            return _CLOSED[self.name](scale * waves, *shapes) * phase
        return self._tabulated(waves)

    @cached_property
    def atoms(self) -> tuple[Array, Array]:
        """Places and probabilities of a discrete law."""
        low, high = self.law.ppf(_LEAST), self.law.isf(_LEAST)
        places = np.arange(low - 1, high + 2)
        mass = self.law.pmf(places)
        keep = mass > _LEAST
        return places[keep] - self.centre, mass[keep] / mass[keep].sum()

    def _sum(self, waves: Array) -> Complex:
        result = np.zeros(np.shape(waves), dtype=np.complex128)
        for place, mass in zip(*self.atoms, strict=True):
            result += mass * np.exp(1j * place * waves)
        return result

    def _tabulated(self, waves: Array) -> Complex:
        largest = float(np.max(np.abs(waves), initial=0.0))
        if not largest <= self._known:
            self._tabulate(largest)
        size = np.arcsinh(np.abs(waves) / self._unit)
        real, imaginary = self._spline(size).T if np.ndim(waves) == 1 else np.moveaxis(self._spline(size), -1, 0)
        return real + 1j * np.sign(waves) * imaginary

    def _tabulate(self, largest: float) -> None:
        """Find the characteristic function at knots up to ``largest``, graded towards 0, and join them by a spline."""
        width = float(self.transform(np.array(1.0)) - self.transform(np.array(-1.0)))
        self._unit, self._known = 0.05 / width, max(2 * largest, 40 / width)
        knots = self._unit * np.sinh(np.linspace(0, np.arcsinh(self._known / self._unit), _KNOTS))
        smooth = interpolate.make_interp_spline(*self._places, k=5)
        values = np.empty(_KNOTS, dtype=np.complex128)
        for some in np.array_split(np.arange(_KNOTS), 100):
            values[some] = _quadrature(smooth, knots[some])
        pair = np.stack([values.real, values.imag], axis=1)
        self._spline = interpolate.make_interp_spline(np.arcsinh(knots / self._unit), pair, k=5)

    @cached_property
    def _places(self) -> tuple[Array, Array]:
        """Standard normals, equally spaced, and x(z) there, where finite."""
        z = np.linspace(-_EDGE, _EDGE, int(2 * _EDGE * _CELLS_PER_UNIT) + 1)
        x = self.transform(z)
        return z[np.isfinite(x)], x[np.isfinite(x)]

    @cached_property
    def table(self) -> Table:
        """Pieces of x(z), by which a standard normal becomes a draw of the law."""
        count = int(2 * _EDGE * _CELLS_PER_UNIT)
        z = np.linspace(-_EDGE, _EDGE, count + 1)
        if self.discrete:
            places, mass = self.atoms
            below = np.concatenate([[0.0], np.cumsum(mass)[:-1]])
            above = np.cumsum(mass[::-1])[::-1]
            starts = np.where(below < 0.5, special.ndtri(below), -special.ndtri(np.minimum(above, 1.0)))
            starts[0] = -_EDGE - 1
            pieces = np.zeros((places.size, 5))
            pieces[:, 0], pieces[:, 1] = starts, places
        else:
            cubic = interpolate.PchipInterpolator(*self._places)
            pieces = np.column_stack([cubic.x[:-1], cubic.c[::-1].T])
        return Table(pieces, np.maximum(np.searchsorted(pieces[:, 0], z[:-1], side="right") - 1, 0))

    def draw(self, z: Array) -> Array:
        """Return x(z) by the table, for standard normals of any shape."""
        pieces = self.table.pieces
        k = np.maximum(np.searchsorted(pieces[:, 0], z, side="right") - 1, 0)
        t = z - pieces[k, 0]
        return pieces[k, 1] + t * (pieces[k, 2] + t * (pieces[k, 3] + t * pieces[k, 4]))


def _quadrature(transform: Callable[[Array], Array], waves: Array) -> Complex:
    """Return ∫ e^{ikx(z)} φ(z) dz by a trapezoidal rule fine enough for the fastest phase where φ(z) counts."""
    z = np.linspace(-_EDGE, _EDGE, 1661)
    slope = np.abs(np.gradient(transform(z), z))
    # Where φ is below 1e-13 of its peak phases need not be followed.
    fastest = float(np.max(slope[np.abs(z) < 7.7])) * float(np.max(np.abs(waves)))
    nodes = int(np.clip(2 * _EDGE * (fastest + 12.0) / (2 * np.pi) * 1.2, 400, _MOST_NODES))
    z = np.linspace(-_EDGE, _EDGE, nodes + 1)
    weights = np.exp(-0.5 * z**2) * (2 * _EDGE / nodes / np.sqrt(2 * np.pi))
    return np.exp(1j * np.outer(waves, transform(z))) @ weights


def _shapes(law: Any) -> dict[str, float]:
    """Return the shape parameters of a frozen distribution by name."""
    names = [name.strip() for name in (law.dist.shapes or "").split(",") if name.strip()]
    values = {**dict(zip(names, law.args, strict=False)), **law.kwds}
    return {name: float(values[name]) for name in names}


def _parameters(law: Any) -> tuple[list[float], float, float]:
    """Return the shape parameters, location and scale of a frozen continuous distribution."""
    shapes = _shapes(law)
    rest = {"loc": 0.0, "scale": 1.0, **dict(zip(["loc", "scale"], law.args[len(shapes) :], strict=False)), **law.kwds}
    return list(shapes.values()), float(rest["loc"]), float(rest["scale"])


def _student(k: Array, nu: float) -> Array:
    x = np.sqrt(nu) * np.abs(k)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.exp(nu / 2 * np.log(x) - x - (nu / 2 - 1) * np.log(2) - special.gammaln(nu / 2))
        value = value * special.kve(nu / 2, x)
    return np.where(x < 1e-150, 1.0, np.where(np.isfinite(value), value, 1.0))


def _stable(k: Array, alpha: float, beta: float) -> Complex:
    size = np.abs(k)
    with np.errstate(divide="ignore", invalid="ignore"):
        turn = np.tan(np.pi * alpha / 2) if alpha != 1 else np.where(size > 0, -2 / np.pi * np.log(size), 0.0)
    return np.exp(-(size**alpha) * (1 - 1j * beta * np.sign(k) * turn))


_CLOSED: dict[str, Callable[..., Any]] = {
    "norm": lambda k: np.exp(-0.5 * k**2),
    "cauchy": lambda k: np.exp(-np.abs(k)),
    "laplace": lambda k: 1 / (1 + k**2),
    "uniform": lambda k: np.sinc(k / (2 * np.pi)) * np.exp(0.5j * k),
    "expon": lambda k: 1 / (1 - 1j * k),
    "gamma": lambda k, a: (1 - 1j * k) ** -a,
    "logistic": lambda k: np.where(np.abs(k) < 1e-8, 1.0, np.pi * k / np.sinh(np.clip(np.pi * k, -700, 700) + 1e-300)),
    "t": _student,
    "levy_stable": _stable,
}

# Tail indices of laws whose far quantiles are slow or inexact.
_TAILS: dict[str, Callable[[dict[str, float]], float]] = {
    "cauchy": lambda shapes: 1.0,
    "t": lambda shapes: shapes["df"],
    "levy": lambda shapes: 0.5,
    "levy_l": lambda shapes: 0.5,
    "levy_stable": lambda shapes: shapes["alpha"] if shapes["alpha"] < 2 else np.inf,
    "pareto": lambda shapes: shapes["b"],
    "lomax": lambda shapes: shapes["c"],
    "f": lambda shapes: shapes["dfd"] / 2,
    "betaprime": lambda shapes: shapes["b"],
    "skewcauchy": lambda shapes: 1.0,
    "zipf": lambda shapes: shapes["a"] - 1,
    "yulesimon": lambda shapes: shapes["alpha"],
}
