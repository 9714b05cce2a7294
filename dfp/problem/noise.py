"""Laws of the minibatch fluctuations H̃ and g̃ of an affine gradient (T2).

Everything the first two moments of SGD need of the noise are three maps (T13)::

    quadratic(X) = E[H̃ X H̃ᵀ]        cross(m) = E[H̃ m g̃ᵀ]        constant = E[g̃ g̃ᵀ]

What solvers need beyond these, a law answers as well (``NoiseLaw``): no one asks which law it is.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from dfp_solvers import matrices
from numpy.typing import ArrayLike, NDArray

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError, UnsupportedError
from dfp.problem.value import Value

if TYPE_CHECKING:
    from dfp_solvers.trajectories.products import OptimiserStep, Settling

# Share of the variance of minibatch gradients that is rounding where they agree: 1e-9 of their size, so that it is
# reached at the minimum of a regression with a condition number of up to 1e12, and by no measured residual.
_VANISHED = 1e-18
# Correlations of gradient noise that are rounding where it is turned into other axes.
_ROUNDED = 1e-14


AxisMoments = Callable[..., tuple[Array, Array]]


class Noise(Value, ABC):
    """What a landscape can be given as ``noise``: whatever makes a law once the mean Hessian is known."""

    @abstractmethod
    def law(self, hessian: Array) -> "NoiseLaw":
        """Return the law in the axes of θ for the mean Hessian ``hessian`` (d, d)."""


@dataclass(frozen=True, eq=False, repr=False)
class GaussianNoise(Noise):
    """Gaussian minibatch fluctuations, independent between H̃ and g̃.

    Parameters
    ----------
    gradient
        Covariance of g̃: a number, variances (d,) or a matrix (d, d) [(loss / parameter)^2].
    hessian
        Variances of H̃: Var H̃_ii of shape (d,), or a table Var H̃_ik of shape (d, d) with independent entries, which
        no Hessian has unless the table is diagonal: see ``symmetric``; 0 for additive noise [(loss / parameter^2)^2].
    basis
        ``"theta"``: both are given in the axes of θ; ``"eigen"``: in the eigenbasis of the mean Hessian, in
        ascending order of eigenvalues (in the order given if the mean Hessian is diagonal).
    symmetric
        H̃ is a symmetric matrix whose entries i <= k are independent (the table must be symmetric).
    at
        Place θ° at which g̃ is measured, shape (d,): the gradient noise is H̃(θ − θ°) + g̃; the origin if left out
        [parameter].

    Raises
    ------
    DFPError
        If a variance is negative, the covariance is not positive semidefinite, or shapes disagree.

    Notes
    -----
    The moments it implies are (T13) of the theory page.

    Examples
    --------
    >>> import dfp
    >>> noise = dfp.GaussianNoise(gradient=[0.3, 0.1], hessian=[0.05, 0.0])  # Var g̃_i, Var H̃_ii
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0, 0.2], noise=noise), learning_rate=0.2)
    >>> print(dfp.stationary_moments(dfp.MasterEquation(sgd)).covariance.diagonal().round(4))
    [0.0335 0.051 ]
    """

    gradient: ArrayLike
    hessian: ArrayLike = 0.0
    basis: str = "theta"
    symmetric: bool = False
    at: ArrayLike | None = None

    def __post_init__(self) -> None:
        checks.choice("noise.basis", self.basis, ("theta", "eigen"))
        checks.boolean("noise.symmetric", self.symmetric)
        checks.semidefinite("noise.gradient", self.gradient)
        self._table()
        if self.at is not None:
            checks.array("noise.at", self.at, dimensions=(0, 1))

    def _table(self) -> Array:
        """Return the variances of H̃ as they are given: a number, (d,) or (d, d)."""
        given = checks.array("noise.hessian", self.hessian, dimensions=(0, 1, 2))
        if given.min() < 0:
            raise DFPError(f"noise.hessian has the entry {given.min():.3g}: variances must be >= 0; give variances.")
        if given.ndim < 2:
            return given
        checks.matching("noise.hessian", given, (len(given), len(given)))
        return checks.symmetric("noise.hessian", given) if self.symmetric else given

    def law(self, hessian: Array) -> "GaussianLaw":
        """Return the law in the axes of θ for the mean Hessian ``hessian`` (d, d).

        Raises
        ------
        DFPError
            If shapes disagree with d.
        """
        d = hessian.shape[0]
        constant = checks.covariance("noise.gradient", self.gradient, d)
        table = checks.square("noise.hessian", self._table(), d)
        axes = None if self.basis == "theta" else eigenbasis(hessian)
        if axes is not None:
            constant = axes @ constant @ axes.T
        place = None if self.at is None or not table.any() else checks.vector("noise.at", self.at, d)
        if place is not None and not place.any():
            place = None
        return GaussianLaw(constant, table, axes, bool(self.symmetric), place)


def eigenbasis(hessian: Array) -> Array:
    """Return the orthonormal eigenvectors (columns) of ``hessian``; the unit vectors, in order, if it is diagonal."""
    if not np.any(hessian - np.diag(np.diag(hessian))):
        return np.eye(hessian.shape[0])
    return np.linalg.eigh(hessian)[1]


class Minibatches(NamedTuple):
    """All minibatches that a law chooses among, each with the gradient H_ξθ + g_ξ it leads to."""

    weights: Array
    """Probabilities, shape (M,)."""
    hessians: Array
    """H_ξ, shape (M, d, d)."""
    gradients: Array
    """g_ξ, the gradients at θ = 0, shape (M, d)."""
    chosen: NDArray[np.int64]
    """The samples of each, shape (M, B)."""


class NoiseLaw(Noise):
    """What every law of (H̃, g̃) answers, about g_ξ(θ) − ḡ(θ) = H̃θ + g̃; arrays may carry leading axes.

    A new law gives the abstract members, ``increments``, and of the others those that it knows better than by default.
    """

    constant: Array
    """E[g̃ g̃ᵀ], shape (d, d)."""
    batch_size: int = 1
    """Draws of which a minibatch is the average."""
    shuffles: bool = False
    """Whether it is that of minibatches of a finite sum alone, which an epoch can shuffle (``SGD.samples``)."""
    scheduled: bool = False
    """Whether sampled steps can take a batch size that changes: averages are of the same kind as single draws."""

    def law(self, hessian: Array) -> "NoiseLaw":
        """Return the law itself, given as noise as it is."""
        return self

    @property
    def dimension(self) -> int:
        """Number of parameters d."""
        return int(self.constant.shape[0])

    @property
    @abstractmethod
    def additive(self) -> bool:
        """Whether H̃ = 0, so that the noise does not depend on θ."""

    @property
    def atomic(self) -> bool:
        """Whether it takes single values alone, so that a step smooths nothing."""
        return False

    @property
    @abstractmethod
    def gaussian(self) -> bool:
        """Whether the gradient noise given θ is Gaussian."""

    @property
    def highest_order(self) -> float:
        """Order up to which its moments exist; infinite if all do."""
        return np.inf

    @property
    def flaw(self) -> str | None:
        """Why neither waves nor draws of it can be had, or None."""
        return None

    @property
    def finite(self) -> bool:
        """Whether its covariance is finite."""
        return self.highest_order >= 2

    @property
    def finite_part(self) -> Array:
        """The covariance of g̃ without components that have no variance, shape (d, d)."""
        return self.constant

    @property
    def every_moment(self) -> bool:
        """Whether ``increment_moments`` knows the moments of every order."""
        return self.gaussian

    @property
    def characteristic_obstacle(self) -> str | None:
        """Why ``characteristic`` is out of reach, or None."""
        return None

    @property
    def characteristic_cost(self) -> float:
        """What a value of ``characteristic`` on a lattice of waves costs, over one of a Gaussian law."""
        return 1.0

    @property
    def choice_entropy(self) -> float:
        """Entropy of the choice of a minibatch, or a bound above it; infinite if it is not among finitely many."""
        return np.inf

    @abstractmethod
    def quadratic(self, second: Array) -> Array:
        """Return E[H̃ X H̃ᵀ] for X = ``second`` of shape (..., d, d)."""

    @abstractmethod
    def cross(self, mean: Array) -> Array:
        """Return E[H̃ m g̃ᵀ] for m = ``mean`` of shape (..., d), shape (..., d, d)."""

    @abstractmethod
    def with_batch_size(self, batch_size: int) -> "NoiseLaw":
        """Return the law of the average of ``batch_size`` samples."""

    @abstractmethod
    def increments(self, theta: Array, rng: np.random.Generator) -> Array:
        """Return draws of H̃θ + g̃, one for each of ``theta`` (n, d), shape (n, d)."""

    def fluctuation(self, vectors: Array, rng: np.random.Generator) -> Array:
        """Return draws of H̃v, without g̃, one for each of ``vectors`` (n, d), shape (n, d)."""
        raise UnsupportedError("products of this noise's matrices are not sampled; look at the modes one by one.")

    def mean_covariance(self, weight: Array | float, mean: Array, second: Array) -> Array:
        """Return the mean of C(θ) from the mass, mean (..., d) and raw second moment (..., d, d) of θ (T13)."""
        constant: Array = np.asarray(weight)[..., None, None] * self.constant
        if self.additive:
            return constant
        cross = self.cross(mean)
        return self.quadratic(second) + cross + np.swapaxes(cross, -1, -2) + constant

    def covariance(self, theta: Array) -> Array:
        """Return the minibatch gradient covariance C(θ) (T3), shape (..., d, d)."""
        return self.mean_covariance(np.ones(theta.shape[:-1]), theta, theta[..., :, None] * theta[..., None, :])

    def variances(self, axes: Array) -> Array:
        """Return the variances of g̃ along ``axes`` (d, k), columns, shape (k,); ∞ where there is none."""
        along: Array = np.einsum("ji,jk,ki->i", axes, self.constant, axes, optimize=True)
        return np.maximum(along, 0.0)

    def tail_index(self, axes: Array) -> Array:
        """Return the α of g̃ along ``axes`` (d, k), P(|g̃| > x) ~ x^−α, shape (k,); ∞ where tails are lighter."""
        return np.full(axes.shape[1], np.inf)

    def settled(self, factor: float, learning_rate: float) -> Any:
        """Return the distribution of θ* − θ in the stationary state for d = 1 if it is a closed stable law, else None.

        θ' − θ* = ``factor`` (θ − θ*) − ``learning_rate`` g̃.
        """
        return None

    def collapses_at(self, theta: Array, axes: Array) -> NDArray[np.bool_]:
        """Return along which ``axes`` (d, k) all minibatches have the same gradient at ``theta`` (d,), shape (k,)."""
        if not self.finite:
            return np.zeros(axes.shape[1], dtype=bool)
        moved = self.quadratic(np.outer(theta, theta))
        left = np.einsum("ji,jk,ki->i", axes, self.covariance(theta), axes, optimize=True)
        scale = np.einsum("ji,jk,ki->i", axes, moved, axes, optimize=True) + self.variances(axes)
        return left <= _VANISHED * scale + (16 * np.finfo(float).eps) ** 2 * np.max(scale)

    def cumulants(self, highest: int) -> list[Array | None]:
        """Return the cumulants of order 3 … ``highest`` <= 4 as polynomials in φ = (1, θ); None where they vanish.

        That of order n is an array [i_1 … i_n, a_1 … a_n] whose dependence on θ is φ_{a_1} … φ_{a_n}.

        Raises
        ------
        UnsupportedError
            If the tails are too heavy to have it, or it is not known.
        """
        if not self.gaussian:
            raise UnsupportedError(f"moments of order {highest} are not known of this noise; use dfp.MonteCarlo(...).")
        return [None] * (highest - 2)

    def line_cumulants(self, highest: int) -> list[Array]:
        """Return the cumulants of order 2 … ``highest`` of H̃θ + g̃ for d = 1, coefficients in ascending powers of θ.

        Raises
        ------
        UnsupportedError
            If the tails are too heavy to have them, or they are not known.
        """
        if highest > 4 and not self.gaussian:
            raise UnsupportedError(f"order={highest}: moments of this noise are known up to order 4; ask for order=4.")
        zero, one = np.zeros((1, 1)), np.ones((1, 1))
        constant = float(self.constant[0, 0])
        second = [constant] if self.additive else [
            constant, 2 * float(self.cross(one[0])[0, 0]), float(self.quadratic(one)[0, 0])
        ]  # fmt: skip
        higher = self.cumulants(min(highest, 4)) if highest > 2 else []
        found = [np.array(second), *(zero[0] if part is None else _by_powers(part) for part in higher)]
        return found + [zero[0]] * (highest - 1 - len(found))

    def increment_moments(self, theta: Array, matrix: Array, degree: int) -> Array:
        """Return E[δ^α], (K, n), of δ = ``matrix`` (d, d) @ (H̃θ + g̃) at ``theta`` (n, d), up to order ``degree``."""
        from dfp_solvers import hermite

        return hermite.summed_moments(*self.draw_moments(theta, matrix, degree), self.dimension, degree)

    def draw_moments(self, theta: Array, matrix: Array, degree: int) -> tuple[Array, int]:
        """Return those of one of the independent draws whose sum δ is, (K, n), and how many these are."""
        from dfp_solvers import hermite

        return hermite.gaussian_moments(matrix @ self.covariance(theta) @ matrix.T, degree), 1

    def characteristic(self, waves: Array, theta: Array | None = None) -> Any:
        """Return E e^{ik·(H̃θ + g̃)} at the wave vectors ``waves`` (..., d), from every place ``theta`` (n, d).

        Shape (n, ...); additive noise needs no ``theta``, and without it the shape is (...).
        """
        flat = waves.reshape(-1, self.dimension)
        pairs = (flat[:, :, None] * flat[:, None, :]).reshape(len(flat), -1)
        covariance = self.constant if theta is None else self.covariance(theta)
        values = np.exp(-0.5 * (covariance.reshape(-1, pairs.shape[1]) @ pairs.T))
        return values.reshape(*(() if theta is None else (len(theta),)), *waves.shape[:-1])

    def projected(self, loads: Array) -> Array:
        """Return what the next two take of the gradient noise along ``loads`` (d, k): of any law these themselves."""
        return loads

    def projected_covariance(self, part: Array) -> Array:
        """Return the covariance along the loads of a ``projected`` part, shape (k, k)."""
        return part.T @ self.constant @ part

    def projected_characteristic(self, waves: Array, part: Array) -> Any:
        """Return E e^{ik·Lᵀg̃} of additive noise at ``waves`` (..., k), L the loads of a ``projected`` part."""
        return self.characteristic(waves @ part.T)

    def wave_characteristic(self, wave: Array, centre: Array, axes: Array, lattice: list[Array]) -> Any:
        """Return it at one ``wave`` (d,) from the places centre + axes·u of the tensor ``lattice`` of u, (*cells)."""
        nodes = np.stack(np.meshgrid(*lattice, indexing="ij"), axis=-1)
        places = centre + nodes.reshape(-1, self.dimension) @ axes.T
        return self.characteristic(wave[None], places).reshape(nodes.shape[:-1])

    def loaded_characteristic(self, waves: Array, load: Array, theta: Array | None = None) -> Any:
        """Return E e^{ik·Mg̃} of additive noise that ``load`` M (k, d) carries on, at ``waves`` (..., k).

        With places ``theta`` (m, d) that of M(H̃θ + g̃), shape (m, ...).
        """
        if theta is not None:
            return self.characteristic(waves @ load, theta)
        return self.projected_characteristic(waves, self.projected(load.T))

    def minibatch_count(self, *, replace: bool = True) -> float:
        """Return among how many minibatches it chooses, with replacement or without; infinite if not finitely many."""
        return np.inf

    def minibatches(self, *, replace: bool = True) -> Minibatches:
        """Return all of them, where ``minibatch_count`` is finite."""
        raise UnsupportedError("this noise has no samples, so no minibatches to enumerate.")

    def trajectory_model(self, kept: Array, hessian: Array, gradient: Array, rate: float) -> Any:
        """Return what Monte Carlo samples: θ' = ``kept`` θ − ``rate`` (Hθ + g + H̃θ + g̃), a model of ``dfp_solvers``.

        Parameters
        ----------
        kept
            Shape (d, d): the identity for a step; zero with ``rate`` −1 for a gradient.
        hessian, gradient
            Mean Hessian H, weight decay included, (d, d), and mean gradient g (d,).
        """
        from dfp_solvers.trajectories.functions import FunctionModel

        linear, constant = kept - rate * hessian, -rate * gradient
        return FunctionModel(
            self.dimension, lambda theta, rng: theta @ linear.T + constant - rate * self.increments(theta, rng)
        )

    def entrywise(self, axes: Array) -> tuple[Array, Array] | None:
        """Return V, W (d, d) with E[H̃XH̃ᵀ] = diag(V diag X) + W ∘ X for X = Xᵀ in ``axes`` (columns), R = 0; or None."""
        return (np.zeros_like(axes), np.zeros_like(axes)) if self.additive else None

    def axis_moments(self, axes: Array) -> "AxisMoments | None":
        """Return a function of the moments of many steps in the eigenvectors ``axes`` of H, if they cost less so.

        It takes η, then factor and shift (d,) of the mean's motion in these axes, mean and covariance there at step 0,
        and steps (S,), and returns means and covariances at those.
        """
        return None

    def curvature_samples(self, direction: Array) -> Array | None:
        """Return vᵀH_iv of the samples, (N,), of which minibatches are averages; None if vᵀH̃v is Gaussian."""
        return None

    def entry_variances(self, axes: Array) -> Array:
        """Return E[(v_iᵀH̃v_k)²] for the columns v of ``axes`` (d, d), shape (d, d)."""
        if self.additive:
            return np.zeros_like(axes)
        spreads = (self.quadratic(np.outer(column, column)) for column in axes.T)
        return np.stack([np.einsum("ji,jl,li->i", axes, one, axes, optimize=True) for one in spreads], axis=1)

    def sampled_exponent(
        self, hessian: Array, step: "OptimiserStep", steps: int, seed: int, axes: Array, settling: "Settling"
    ) -> tuple[float, float]:
        """Return the top Lyapunov exponent of steps with H_ξ = ``hessian`` (d, d) + H̃, and its error.

        Along the eigenvectors ``axes`` (d, m), a block of modes that others do not drive, as it is settled.
        """
        raise UnsupportedError("products of this noise's matrices are not sampled; look at the modes one by one.")


def _by_powers(tensor: Array) -> Array:
    """Return a cumulant tensor for d = 1 as coefficients of powers of θ: φ_a is 1 or θ."""
    n = tensor.ndim // 2
    powers = np.indices((2,) * n).sum(axis=0).ravel()
    return np.bincount(powers, weights=tensor.reshape(-1), minlength=n + 1).astype(np.float64)


def _entries(vectors: Array, bends: Array, factor: float) -> tuple[Any, ...]:
    """Return rows, columns, normals and values of the entries of loadings, times ``factor``, and how many normals."""
    entries = [(r, i, -1, value) for (r, i), value in np.ndenumerate(vectors) if value]
    entries += [(*index, value) for index, value in np.ndenumerate(bends) if value]
    normals, rows, columns = np.array([entry[:3] for entry in entries], dtype=np.int64).reshape(-1, 3).T.copy()
    return rows, columns, normals, factor * np.array([entry[3] for entry in entries], dtype=np.float64), len(vectors)


class GaussianLaw(NoiseLaw):
    """Gaussian H̃, with independent entries of variances ``table`` in the basis ``axes``, and Gaussian noise at a place.

    The gradient noise is H̃(θ − θ°) plus a Gaussian of covariance ``local``, θ° = ``place``, the origin if it is None.
    """

    gaussian = True
    scheduled = True

    def __init__(
        self, local: Array, table: Array, axes: Array | None, symmetric: bool, place: Array | None = None
    ) -> None:
        self.table = table
        self.axes = axes
        self.symmetric = symmetric
        self.local = local
        self.place = place
        self._additive = not table.any()
        self.constant = local
        if place is not None:
            self.constant = local + self.quadratic(np.outer(place, place))

    def _arguments(self) -> dict[str, Any]:
        names = ("local", "table", "axes", "symmetric", "place")
        return {name: getattr(self, name) for name in names}

    @property
    def additive(self) -> bool:
        """Whether every curvature variance is zero."""
        return self._additive

    def quadratic(self, second: Array) -> Array:
        """Return E[H̃ X H̃ᵀ] = δ_ij Σ_k V_ik X_kk, plus (1 − δ_ij) V_ij X_ji if H̃ is symmetric."""
        if self.additive:
            return np.zeros_like(second)
        rotated = second if self.axes is None else self.axes.T @ second @ self.axes
        diagonal = np.einsum("ik,...kk->...i", self.table, rotated)
        result = self.table * np.swapaxes(rotated, -1, -2) if self.symmetric else np.zeros_like(second)
        index = np.arange(self.dimension)
        result[..., index, index] = diagonal
        return result if self.axes is None else self.axes @ result @ self.axes.T

    def cross(self, mean: Array) -> Array:
        """Return −E[H̃ m θ°ᵀ H̃ᵀ]: at the origin g̃ holds what H̃ makes of the way from θ°."""
        if self.place is None:
            return np.zeros((*mean.shape, self.dimension))
        return -self.quadratic(mean[..., :, None] * self.place)

    def entrywise(self, axes: Array) -> tuple[Array, Array] | None:
        """Return the table and, for symmetric H̃, the table off its diagonal, in axes that are its own but for order."""
        own = np.eye(self.dimension) if self.axes is None else self.axes
        turned = np.abs(own.T @ axes)
        order = np.argmax(turned, axis=0)
        if not self.additive and np.max(np.abs(turned - np.eye(self.dimension)[:, order])) > 1e-13:
            return None
        table = self.table[np.ix_(order, order)]
        off = np.where(np.eye(self.dimension, dtype=bool), 0.0, table)
        return table, off if self.symmetric else np.zeros_like(table)

    def with_batch_size(self, batch_size: int) -> "GaussianLaw":
        """Return the law with all variances divided by ``batch_size``."""
        return GaussianLaw(self.local / batch_size, self.table / batch_size, self.axes, self.symmetric, self.place)

    def increments(self, theta: Array, rng: np.random.Generator) -> Array:
        """Return Σ_r ζ_r (u_r + W_rθ) for standard normals ζ."""
        vectors, bends = self.loadings()
        normals = rng.standard_normal((len(theta), len(vectors)))
        return normals @ vectors + np.einsum("nr,rij,nj->ni", normals, bends, theta, optimize=True)

    def fluctuation(self, vectors: Array, rng: np.random.Generator) -> Array:
        """Return Σ_r ζ_r W_rv."""
        bends = self.loadings()[1]
        return np.einsum(
            "nr,rij,nj->ni", rng.standard_normal((len(vectors), len(bends))), bends, vectors, optimize=True
        )

    def trajectory_model(self, kept: Array, hessian: Array, gradient: Array, rate: float) -> Any:
        """Return the compiled model: one normal a row of independent entries of H̃, given θ; loadings for the rest."""
        from dfp_solvers.trajectories import models

        d, map_ = self.dimension, (kept - rate * hessian, -rate * gradient)
        coupled = self.symmetric and np.any(self.table[~np.eye(d, dtype=bool)])
        if (
            coupled or np.count_nonzero(self.table) <= d
        ):  # else a square root a row costs less than the normals it saves
            return models.GaussianModel(*map_, *_entries(*self.loadings(), -rate))
        axes, place = np.eye(d) if self.axes is None else self.axes, np.zeros(d) if self.place is None else self.place
        local = axes.T @ self.local @ axes
        base = np.diag(local)
        if np.any(np.abs(local - np.diag(base)) > _ROUNDED * np.max(base)):  # normals of their own
            vectors, base = matrices.square_root(self.local).T, np.zeros(d)
        else:
            vectors = np.zeros((0, d))
        loadings = _entries(vectors, np.zeros((len(vectors), d, d)), -rate)
        rows = rate**2 * np.maximum(base, 0.0), rate**2 * self.table
        noise: Any = (*loadings, *rows, axes.T @ place, self.axes)
        return models.IndependentModel(*map_, *noise)

    def sampled_exponent(
        self, hessian: Array, step: "OptimiserStep", steps: int, seed: int, axes: Array, settling: "Settling"
    ) -> tuple[float, float]:
        """Return it in the axes in which the entries of H̃ are independent."""
        from dfp_solvers.trajectories import products

        own = np.eye(self.dimension) if self.axes is None else self.axes
        place, deviations = np.abs(own.T @ axes), np.sqrt(self.table)
        at = np.argmax(place, axis=0)
        if np.all(place[at, np.arange(len(at))] > 1 - 1e-12):
            hessian, deviations = axes.T @ hessian @ axes, deviations[np.ix_(at, at)]
        else:  # entries are independent in axes that are not those of modes
            hessian = own.T @ hessian @ own
            start = settling.start if len(at) == len(own) else None
            settling = settling._replace(start=None if start is None else own.T @ axes @ start)
        return products.gaussian_exponent(
            hessian, deviations, step, steps, seed, symmetric=self.symmetric, settling=settling
        )

    def loadings(self) -> tuple[Array, Array]:
        """Return how standard normals ζ enter: g̃ = Σ_r ζ_r u_r and H̃ = Σ_r ζ_r W_r, g̃ at the origin.

        Returns
        -------
        u
            Shape (R, d).
        W
            Shape (R, d, d).
        """
        d = self.dimension
        place = np.zeros(d) if self.place is None else self.place
        vectors = [(column, np.zeros((d, d))) for column in matrices.square_root(self.local).T]
        axes = np.eye(d) if self.axes is None else self.axes
        for i in range(d):
            for k in range(i if self.symmetric else 0, d):
                deviation = np.sqrt(self.table[i, k])
                matrix = deviation * np.outer(axes[:, i], axes[:, k])
                if self.symmetric and i != k:
                    matrix = matrix + matrix.T
                if deviation > 0:
                    vectors.append((-matrix @ place, matrix))
        return np.array([u for u, _ in vectors]).reshape(-1, d), np.array([w for _, w in vectors]).reshape(-1, d, d)
