"""Additive gradient noise of any law: one distribution of ``scipy.stats`` per axis."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError, UnsupportedError
from dfp.problem.noise import Noise, NoiseLaw, eigenbasis
from dfp.problem.value import shown

if TYPE_CHECKING:
    from dfp_solvers.characteristic import Univariate

# Squared cosine between axes that is rounding.
_UNSEEN = 1e-28


@dataclass(frozen=True, eq=False, repr=False)
class AdditiveNoise(Noise):
    """Gradient noise g̃ with independent components, each of a law of its own; the Hessian does not fluctuate.

    Parameters
    ----------
    laws
        Frozen univariate distributions of ``scipy.stats``, continuous or discrete, one per axis, e.g.
        ``scipy.stats.skewnorm(4)``; a single one serves every axis, independently [loss / parameter]. The mean of each
        is taken off, so that E g̃ = 0; where there is no mean (Cauchy), the median.
    basis
        ``"theta"``: the axes are those of θ; ``"eigen"``: the eigenvectors of the mean Hessian, in ascending order of
        eigenvalues (in the order given if the mean Hessian is diagonal).

    Raises
    ------
    DFPError
        If an entry is not a frozen univariate distribution with parameters in range.

    Notes
    -----
    The master equation is solved for the law itself, by its characteristic function (theory page, section 5); the
    other equations know its covariance only. Laws without a variance (Cauchy, Student's t with ν <= 2) have densities,
    but no moments: see ``Fourier`` and ``MonteCarlo``. ``SGD(batch_size=B)`` averages B independent draws.

    Examples
    --------
    >>> import dfp
    >>> from scipy import stats
    >>> noise = dfp.AdditiveNoise(stats.expon())
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=noise), learning_rate=0.2)
    >>> solution = dfp.solve(dfp.MasterEquation(sgd), dfp.Gaussian(0.0, 0.05), steps=10)
    >>> print(solution.solver, solution.probability(-0.5, 0.5).round(3))
    Fourier [0.975 0.892]
    """

    laws: Any
    basis: str = "theta"

    def __post_init__(self) -> None:
        checks.choice("noise.basis", self.basis, ("theta", "eigen"))
        if not self._given:
            raise DFPError("noise.laws is empty: give one distribution per axis, or a single one.")
        for i, law in enumerate(self._given):
            _check_univariate(f"noise.laws[{i}]", law)

    @property
    def _given(self) -> list[Any]:
        return list(self.laws) if isinstance(self.laws, Sequence) else [self.laws]

    def law(self, hessian: Array) -> "AdditiveLaw":
        """Return the law in the axes of θ for the mean Hessian ``hessian`` (d, d).

        Raises
        ------
        DFPError
            If the number of laws is not d.
        """
        d = len(hessian)
        given = self._given if isinstance(self.laws, Sequence) else self._given * d
        if len(given) != d:
            raise DFPError(f"noise.laws has {len(given)} entries: must be one per axis, {d} here, or a single one.")
        laws = [_univariate(f"noise.laws[{i}]", law) for i, law in enumerate(given)]
        axes = np.eye(d) if self.basis == "theta" else eigenbasis(hessian)
        return AdditiveLaw(tuple(laws), axes)


def stable_law(alpha: float, beta: float, scale: float) -> Any:
    """Return the frozen stable distribution with these parameters, by its simplest name."""
    from scipy import stats

    return stats.cauchy(scale=scale) if alpha == 1 else stats.levy_stable(alpha, beta, scale=scale)


def _check_univariate(name: str, law: Any) -> None:
    if not all(hasattr(law, method) for method in ("dist", "ppf", "isf", "stats")) or hasattr(law, "dim"):
        raise DFPError(
            f"{name}={shown(law)}: must be a frozen univariate distribution; give e.g. scipy.stats.skewnorm(4)."
        )
    if np.any(np.isnan(law.support())):
        raise DFPError(f"{name}={shown(law)}: has parameters out of range; mend them.")


def _univariate(name: str, law: object) -> "Univariate":
    from dfp_solvers.characteristic import Univariate

    _check_univariate(name, law)
    result = Univariate(law)
    if not np.isfinite(result.centre):
        raise DFPError(f"{name}={shown(law)}: has parameters out of range (its median is not finite); mend them.")
    return result


@dataclass(frozen=True, eq=False, repr=False)
class AdditiveLaw(NoiseLaw):
    """Independent components along ``axes`` (columns), each the average of ``batch_size`` draws of its law."""

    laws: "tuple[Univariate, ...]"
    axes: Array
    batch_size: int = 1

    additive = True

    @property
    def atomic(self) -> bool:
        """Whether every component is discrete."""
        return all(law.discrete for law in self.laws)

    @property
    def gaussian(self) -> bool:
        """Whether every component is Gaussian."""
        return all(law.name == "norm" for law in self.laws)

    @property
    def highest_order(self) -> float:
        """Order, up to four, to which moments of every component exist; infinite beyond."""
        known = [
            min(np.inf if np.isfinite(c) else order - 1 for order, c in enumerate(law.cumulants, 2))
            for law in self.laws
        ]
        return min(known)

    @property
    def characteristic_obstacle(self) -> str | None:
        """The component whose characteristic function is neither closed nor found by quadrature, or None."""
        for law in self.laws:
            if not (law.closed or np.isfinite(law.cumulants[0])):
                return f"no closed characteristic function is known of {law.name}, whose variance is infinite"
        return self.flaw if any(law.flaw and not law.summed for law in self.laws) else None

    @cached_property
    def constant(self) -> Array:  # type: ignore[override]
        """E[g̃ g̃ᵀ], shape (d, d); not finite where a variance is missing."""
        variances = np.array([law.cumulants[0] for law in self.laws]) / self.batch_size
        with np.errstate(invalid="ignore"):
            result: Array = (self.axes * variances) @ self.axes.T
        return result

    @property
    def finite_part(self) -> Array:
        """E[g̃ g̃ᵀ] of the components that have a variance, shape (d, d)."""
        variances = np.array([law.cumulants[0] for law in self.laws]) / self.batch_size
        result: Array = (self.axes * np.where(np.isfinite(variances), variances, 0.0)) @ self.axes.T
        return result

    def variances(self, axes: Array) -> Array:
        """Return the variances of g̃ along ``axes`` (d, k), shape (k,); ∞ where a law that enters has none."""
        shares = (self.axes.T @ axes) ** 2
        shares[shares <= _UNSEEN] = 0.0
        single = np.array([law.cumulants[0] for law in self.laws])
        with np.errstate(invalid="ignore"):
            along: Array = np.where(shares > 0, shares * single[:, None], 0.0).sum(axis=0) / self.batch_size
        return along

    def tail_index(self, axes: Array) -> Array:
        """Return the least α, P(|g̃| > x) ~ x^−α, of the laws that enter along ``axes`` (d, k), shape (k,)."""
        single = np.array([law.tail_index for law in self.laws])
        seen = (self.axes.T @ axes) ** 2 > _UNSEEN
        return np.min(np.where(seen, single[:, None], np.inf), axis=0)

    def settled(self, factor: float, learning_rate: float) -> Any:
        """Return the stable law of η Σ_s aˢ g̃_s, a = ``factor``; None if the noise is no stable law about its centre.

        Scales add by their powers α; for a < 0 terms of both orientations enter.
        """
        stable = self.laws[0].stable
        if self.dimension > 1 or stable is None:
            return None
        alpha, beta, scale = stable
        kept = abs(factor) ** alpha
        scale *= learning_rate * (self.batch_size / (1 - kept)) ** (1 / alpha) / self.batch_size
        return stable_law(alpha, beta * ((1 - kept) / (1 + kept) if factor < 0 else 1.0), scale)

    def quadratic(self, second: Array) -> Array:
        """Return zero: H̃ = 0."""
        return np.zeros_like(second)

    def cross(self, mean: Array) -> Array:
        """Return zero: H̃ = 0."""
        return np.zeros((*mean.shape, self.dimension))

    def with_batch_size(self, batch_size: int) -> "AdditiveLaw":
        """Return the law of the average of ``batch_size`` draws."""
        return AdditiveLaw(self.laws, self.axes, batch_size)

    def increments(self, theta: Array, rng: np.random.Generator) -> Array:
        """Return averages of draws along the axes, the same law at every place."""
        normals = rng.standard_normal((self.batch_size, self.dimension, len(theta)))
        return np.array([law.draw(normals[:, a]).mean(axis=0) for a, law in enumerate(self.laws)]).T @ self.axes.T

    def cumulants(self, highest: int) -> list[Array | None]:
        """Return those of the components, rotated into θ's axes; nothing depends on θ."""
        if self.gaussian:
            return super().cumulants(highest)
        d, found = self.dimension, list[Array | None]()
        for order in range(3, highest + 1):
            values = np.array([law.cumulants[order - 2] for law in self.laws]) / self.batch_size ** (order - 1)
            if not np.all(np.isfinite(values)):
                name = self.laws[int(np.flatnonzero(~np.isfinite(values))[0])].name
                raise UnsupportedError(
                    f"noise.laws: {name} has no finite moment of order {order}; ask for lower orders "
                    "(dfp.MomentRecursion(highest=2)), or for the density with dfp.Fourier()."
                )
            letters, tensor = "ijkl"[:order], np.zeros((d,) * order + (d + 1,) * order)
            tensor.reshape((d,) * order + (-1,))[..., 0] = np.einsum(
                ",".join(f"{c}a" for c in letters) + ",a->" + letters, *[self.axes] * order, values
            )
            found.append(tensor)
        return found

    def line_cumulants(self, highest: int) -> list[Array]:
        """Return those of the one component: of order five and up from the raw moments of its distribution."""
        if highest <= 4 or self.gaussian:
            return super().line_cumulants(highest)
        from dfp_solvers import raw_moments

        found, (law,) = super().line_cumulants(4), self.laws
        if highest >= law.tail_index:
            raise UnsupportedError(
                f"noise.laws: {law.name} has no finite moment of order {highest}, for its tails fall like "
                f"|x|^-{law.tail_index:.3g}; ask for lower orders."
            )
        raw = np.array([float(law.law.moment(k)) if k else 1.0 for k in range(highest + 1)])
        if not np.all(np.isfinite(raw)):
            raise UnsupportedError(f"noise.laws: {law.name} has no finite moment of order {highest}; ask for less.")
        single = raw_moments.to_cumulants([np.array([moment]) for moment in raw])
        scale = float(self.axes[0, 0])
        return found + [scale**k * single[k - 1] / self.batch_size ** (k - 1) for k in range(5, highest + 1)]

    @cached_property
    def flaw(self) -> str | None:
        """Why neither waves nor draws of a component can be had, or None."""
        flaws = [f"of {law.name}, {law.flaw}" for law in self.laws if law.flaw]
        return f"{flaws[0]}: a law of lighter tails or a finite list of values is needed" if flaws else None

    def characteristic(self, waves: Array, theta: Array | None = None) -> Any:
        """Return E e^{ik·g̃} at the wave vectors ``waves`` (..., d), the same from every place."""
        along = waves @ self.axes / self.batch_size
        result = np.ones(along.shape[:-1], dtype=np.complex128)
        for a, law in enumerate(self.laws):
            result *= law.characteristic(along[..., a]) ** self.batch_size
        return result if theta is None else np.broadcast_to(result, (len(theta), *result.shape))

    def trajectory_model(self, kept: Array, hessian: Array, gradient: Array, rate: float) -> Any:
        """Return the compiled model of transformed normals: draw r of component a has number r d + a."""
        from dfp_solvers.trajectories.models import TransformedModel

        d, batch = self.dimension, self.batch_size
        index = np.array([(row, draw * d + a) for draw in range(batch) for a in range(d) for row in range(d)])
        tables = [law.table for law in self.laws]
        return TransformedModel(
            kept - rate * hessian,
            -rate * gradient,
            normal=index[:, 1].copy(),
            row=index[:, 0].copy(),
            column=np.full(len(index), -1),
            value=-rate / batch * np.array([self.axes[row, number % d] for row, number in index]),
            normals=d * batch,
            pieces=[table.pieces for table in tables],
            guide=np.array([table.guide for table in tables]),
        )
