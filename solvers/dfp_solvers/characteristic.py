"""Univariate laws of ``scipy.stats``: centred, with cumulants, characteristic function, and tabulated sampling.

Characteristic functions are closed where a formula is known, sums for discrete laws, and otherwise integrals
over their quantile functions (``quantiles.py``).
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import interpolate, special

from dfp_solvers.arrays import Array, Complex
from dfp_solvers.quantiles import Quantiles

_EDGE = 8.3  # standard normals beyond have probability 1e-16
_LEAST = 1e-16  # probability of atoms that are left out
_MOST_ATOMS = 100_000  # of a discrete law
_MISSING = 1e-9  # probability that listed atoms may lack
_CELLS_PER_UNIT = 64  # of the table of x(z)
_KNOTS = 4000  # of the table of a characteristic function found by quadrature
_MOST_KNOTS = 16_000
# Places between the knots at which a table is tested, and the error that is as good as none.
_TESTED, _ENOUGH = 64, 1e-12
_LARGE = 200.0  # degrees of freedom from which four terms of Debye's expansion are exact to 1e-13
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
        self._tables: dict[int, tuple[float, Any]] = {}
        self.table_error = 0.0  # largest known error of the tabulated characteristic function
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

    @property
    def summed(self) -> bool:
        """Whether the sum over the values of a discrete law is known as a formula, so that none of them is listed."""
        return self.name in _LATTICE

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
    def flaw(self) -> str:
        """Why the atoms of a discrete law cannot be listed, in words; empty if they can."""
        if not self.discrete:
            return ""
        places, mass = self._listed
        if places.size > _MOST_ATOMS:
            return f"more than {_MOST_ATOMS} of its values have a probability above {_LEAST:g}"
        missing = 1 - float(mass.sum())
        return f"values of probability {missing:.3g} are not on integers" if not abs(missing) <= _MISSING else ""

    @cached_property
    def _listed(self) -> tuple[Array, Array]:
        """Places and probabilities of a discrete law: those it was given, or integers from the middle outwards.

        Quantiles are not asked for: far out SciPy finds them by sums over all integers on the way.
        """
        dist = self.law.dist
        if hasattr(dist, "xk"):  # values of one's own, which need not be integers
            shift = {"loc": 0.0, **dict(zip(["loc"], self.law.args, strict=False)), **self.law.kwds}["loc"]
            places, mass = np.ravel(dist.xk) + float(shift), np.ravel(dist.pk)
            return places[mass > _LEAST], mass[mass > _LEAST]
        low, high = (float(end) for end in self.law.support())
        base = float(self.law.median())
        parts = [(base + np.zeros(1), self.law.pmf(base + np.zeros(1)))]
        for direction, end in ((1.0, high), (-1.0, low)):
            block, reached = 64, 0.0
            while abs(end - base) > reached and sum(len(part) for part, _ in parts) <= _MOST_ATOMS:
                places = base + direction * np.arange(reached + 1, min(reached + block, abs(end - base)) + 1)
                mass = self.law.pmf(places)
                keep = mass > _LEAST
                parts.append((places[keep], mass[keep]))
                if not keep.any():
                    break
                block, reached = 2 * block, reached + block
        places, mass = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.argsort(places)
        return places[order], mass[order]

    @cached_property
    def atoms(self) -> tuple[Array, Array]:
        """Places and probabilities of a discrete law.

        Raises
        ------
        ValueError
            If they cannot be listed (``flaw``).
        """
        if self.flaw:
            raise ValueError(f"{self.name}: {self.flaw}.")
        places, mass = self._listed
        return places - self.centre, mass / mass.sum()

    def _sum(self, waves: Array) -> Complex:
        if self.name in _LATTICE:
            shapes, location, _ = _parameters(self.law)
            return _LATTICE[self.name](np.expm1(1j * waves), *shapes) * np.exp(1j * waves * (location - self.centre))
        places, mass = self.atoms
        flat = np.ravel(waves)
        result = np.zeros(flat.shape, dtype=np.complex128)
        for some in np.array_split(np.arange(flat.size), 1 + flat.size * places.size // 2**20):
            result[some] = np.exp(1j * np.outer(flat[some], places)) @ mass
        return result.reshape(np.shape(waves))

    def _tabulated(self, waves: Array) -> Complex:
        largest = float(np.max(np.abs(waves), initial=0.0))
        width = float(self.transform(np.array(1.0)) - self.transform(np.array(-1.0)))
        # A table depends on nothing but the law and its size, and is kept once it is done: whoever asks first, alone or
        # with other threads, is given the same.
        size = max(0, int(np.ceil(np.log2(max(largest * width / 40, 1.0)))))
        if size not in self._tables:
            self._tables[size] = self._tabulate(0.05 / width, 40 / width * 2.0**size)
        unit, spline = self._tables[size]
        found = spline(np.arcsinh(np.abs(waves) / unit))
        return found[..., 0] + 1j * np.sign(waves) * found[..., 1]

    def _tabulate(self, unit: float, largest: float) -> tuple[float, Any]:
        """Find the characteristic function at knots up to ``largest``, graded towards 0, and join them by a spline.

        Knots are doubled until the spline agrees with the integral between them.
        """
        end, count = float(np.arcsinh(largest / unit)), _KNOTS
        tested = unit * np.sinh(end * np.sort(np.random.default_rng(0).random(_TESTED)))
        truth = self._quantiles.characteristic(tested)
        while True:
            knots = unit * np.sinh(np.linspace(0, end, count))
            parts = np.array_split(knots, 64)
            values = np.concatenate([self._quantiles.characteristic(part) for part in parts])
            pair = np.stack([values.real, values.imag], axis=1)
            spline = interpolate.make_interp_spline(np.arcsinh(knots / unit), pair, k=5)
            found = spline(np.arcsinh(tested / unit))
            error = float(np.max(np.abs(found[:, 0] + 1j * found[:, 1] - truth)))
            if error < _ENOUGH or count >= _MOST_KNOTS:
                break
            count *= 4
        finer = float(np.max(np.abs(self._quantiles.characteristic(tested, 3.0) - truth)))
        self.table_error = max(self.table_error, error, finer)
        return unit, spline

    @cached_property
    def _quantiles(self) -> Quantiles:
        return Quantiles(self.transform, _EDGE)

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


def _shapes(law: Any) -> dict[str, float]:
    """Return the shape parameters of a frozen distribution by name."""
    names = [name.strip() for name in (law.dist.shapes or "").split(",") if name.strip()]
    values = {**dict(zip(names, law.args, strict=False)), **law.kwds}
    return {name: float(values[name]) for name in names}


def _parameters(law: Any) -> tuple[list[float], float, float]:
    """Return the shape parameters, location and scale (1 if discrete) of a frozen distribution."""
    shapes = _shapes(law)
    rest = {"loc": 0.0, "scale": 1.0, **dict(zip(["loc", "scale"], law.args[len(shapes) :], strict=False)), **law.kwds}
    return list(shapes.values()), float(rest["loc"]), float(rest["scale"])


def student(k: Array, nu: float) -> Array:
    """Return E e^{ikx} of Student's t with ν = ``nu`` degrees of freedom, at ``k`` of any shape.

    It is x^μ K_μ(x) 2^{1−μ}/Γ(μ), x = √ν|k|, μ = ν/2; for large ν by Debye's expansion of K_μ, which stays in range.
    """
    x, mu = np.sqrt(nu) * np.abs(k), nu / 2
    if nu >= _LARGE:
        return _debye(x / mu, mu)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        value = np.exp(mu * np.log(x) - x - (mu - 1) * np.log(2) - special.gammaln(mu)) * special.kve(mu, x)
        # Where K_μ overflows, x is so small that three terms of its series are exact to rounding.
        series = 1 + x**2 / (4 * (1 - mu)) * (1 + x**2 / (8 * (2 - mu)) * (1 + x**2 / (12 * (3 - mu))))
        series = np.where(x < 1e-150, 1.0, series)
    return np.where((x >= 1e-150) & np.isfinite(value), value, series)


def _debye(z: Array, mu: float) -> Array:
    """Return x^μ K_μ(x) 2^{1−μ}/Γ(μ) at x = μz (Abramowitz and Stegun 9.7.8, divided by Stirling's series)."""
    root = np.sqrt(1 + z**2)
    t = z**2 / (1 + root)  # root − 1
    ratio = _debye_sum(1 / root, mu) / _debye_sum(1.0, mu)
    return np.exp(mu * (np.log1p(t / 2) - t)) / np.sqrt(root) * ratio


def _debye_sum(p: Any, mu: float) -> Any:
    """Return Σ_{k<=4} (−1)^k u_k(p)/μ^k; what follows is below 1e-3/μ^5."""
    q = p * p
    u1 = p * (3 - 5 * q) / 24
    u2 = q * (81 + q * (-462 + 385 * q)) / 1152
    u3 = p * q * (30375 + q * (-369603 + q * (765765 - 425425 * q))) / 414720
    u4 = q * q * (4465125 + q * (-94121676 + q * (349922430 + q * (-446185740 + 185910725 * q)))) / 39813120
    return 1 - u1 / mu + u2 / mu**2 - u3 / mu**3 + u4 / mu**4


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
    "t": student,
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

# E e^{ikx} of laws on integers, of w = e^{ik} − 1, so that small waves keep their digits.
_LATTICE: dict[str, Callable[..., Any]] = {
    "bernoulli": lambda w, p: 1 + p * w,
    "binom": lambda w, n, p: (1 + p * w) ** n,
    "poisson": lambda w, mu: np.exp(mu * w),
    "geom": lambda w, p: (1 + w) * p / (p - (1 - p) * w),
    "nbinom": lambda w, n, p: (p / (p - (1 - p) * w)) ** n,
}
