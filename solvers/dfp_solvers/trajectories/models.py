"""Models of one step for the kernels of Monte Carlo: what moves, which noise it gets, the optimiser and the start.

Each checks its arrays and packs them for ``lockstep.py``.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfp_solvers.arrays import Array, Integers
from dfp_solvers.trajectories import lockstep
from dfp_solvers.trajectories import packed as packing
from dfp_solvers.trajectories.packed import Model

MAX_SAMPLES = 2**24  # a 32-bit draw picks one of N samples with a relative bias of at most N / 2^32


def numbers(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Return a C-ordered writable copy: a read-only or strided array would compile the kernels once more."""
    array = np.array(value, dtype=np.float64, order="C")
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"{name} has shape {array.shape}: need finite numbers of shape {shape}")
    return array


def integers(name: str, value: ArrayLike, shape: tuple[int, ...], least: int, below: int) -> Integers:
    """Return a checked copy: integers of this shape, ``least`` <= value < ``below``."""
    array = np.array(value, order="C")
    if array.shape != shape or not (array.size == 0 or np.issubdtype(array.dtype, np.integer)):
        raise ValueError(f"{name} has shape {array.shape} and type {array.dtype}: need integers of shape {shape}")
    if array.size and not (least <= array.min() and array.max() < below):
        raise ValueError(f"{name} spans {array.min()} to {array.max()}: need {least} <= {name} < {below}")
    return array.astype(np.int64)


@dataclass(frozen=True, eq=False)
class Affine:
    """The deterministic part of a step: θ' = linear (d, d) @ θ + constant (d,)."""

    linear: ArrayLike
    constant: ArrayLike

    def __post_init__(self) -> None:
        self.packed()

    @property
    def dimension(self) -> int:
        """Number of parameters d."""
        return int(np.size(self.constant))

    def packed(self) -> Model:
        """Return the checked arrays for the kernels."""
        d, none = self.dimension, np.empty(0)
        nothing, still = np.empty((0, 0)), np.zeros(d)
        linear = numbers("linear", self.linear, (d, d))
        constant = numbers("constant", self.constant, (d,))
        loadings, monomials = np.empty((3, 0), dtype=np.int64), np.empty((2, 0), dtype=np.int64)
        no_law = nothing, np.zeros(1, dtype=np.int64), np.empty((0, 0), dtype=np.int64)
        covariance = nothing, none, monomials, nothing, still, nothing
        return Model(lockstep.GAUSSIAN, linear, constant, loadings, none, *covariance, 0, 1.0, 0, 1, *no_law)


@dataclass(frozen=True, eq=False)
class GaussianModel(Affine):
    """Gaussian noise: Σ_e value[e] ζ[normal[e]] (θ[column[e]], or 1 if column[e] < 0) is added to component row[e].

    ``row``, ``column``, ``normal`` and ``value`` have shape (E,); ``normals`` fresh ζ are drawn at every step.
    """

    row: ArrayLike
    column: ArrayLike
    normal: ArrayLike
    value: ArrayLike
    normals: int

    def packed(self) -> Model:  # noqa: D102
        d, shape = self.dimension, (np.size(self.value),)
        row = integers("row", self.row, shape, 0, d)
        column = integers("column", self.column, shape, -1, d)
        normal = integers("normal", self.normal, shape, 0, self.normals)
        values, loadings, fixed = numbers("value", self.value, shape), np.array([row, column, normal]), column < 0
        base, additive = super().packed(), np.zeros((d, int(self.normals)))
        np.add.at(additive, (row[fixed], normal[fixed]), values[fixed])
        base = base._replace(linear=np.concatenate([base.linear, additive], axis=1), draws=int(self.normals))
        return base._replace(loadings=loadings[:, ~fixed].copy(), values=values[~fixed])

    def noise(self) -> Array:
        """Return what multiplies θ_c, or 1 where c = d, and ζ_n in every component, shape (d, d + 1, normals)."""
        noise = np.zeros((self.dimension, self.dimension + 1, self.normals))
        np.add.at(noise, (np.asarray(self.row), np.asarray(self.column), np.asarray(self.normal)), self.value)
        return noise


@dataclass(frozen=True, eq=False)
class IndependentModel(GaussianModel):
    """Like ``GaussianModel`` with noise of independent components added: axes · (sqrt(v) ζ), v = base + table · y².

    y = axesᵀθ − place. One fresh ζ a component comes after the ``normals`` of the loadings; ``base`` (d,) and ``table``
    (d, d) are at least 0, ``axes`` (d, d) is orthogonal, or None for those of θ.
    """

    base: ArrayLike
    table: ArrayLike
    place: ArrayLike
    axes: ArrayLike | None = None

    def packed(self) -> Model:  # noqa: D102
        d, base = self.dimension, super().packed()
        offset, table = numbers("base", self.base, (d,)), numbers("table", self.table, (d, d))
        if min(offset.min(), table.min()) < 0:
            raise ValueError("base and table are variances: need numbers >= 0")
        used = np.flatnonzero(table.any(axis=0))
        base = base._replace(kind=lockstep.CONDITIONAL, draws=int(self.normals) + d, offset=offset)
        base = base._replace(covariance=table[:, used].copy(), monomials=np.array([used, used], dtype=np.int64))
        base = base._replace(place=numbers("place", self.place, (d,)))
        if self.axes is None:
            return base
        axes = numbers("axes", self.axes, (d, d))
        return base._replace(axes=axes, frame=axes.T.copy())

    def noise(self) -> Array:
        """Return the same of noise of one law: √base_i ζ_i and, one by one, √table_ik y_k ζ_ik along the axes."""
        d, roots = self.dimension, np.sqrt(np.asarray(self.table))
        axes = np.eye(d) if self.axes is None else np.asarray(self.axes)
        fixed = np.concatenate([np.zeros((d, d, d)), (axes * np.sqrt(np.asarray(self.base)))[:, None, :]], axis=1)
        along = np.concatenate([axes, -np.asarray(self.place)[None]])  # y_k by components of θ, and 1
        moving = np.einsum("ai,ik,ck->acik", axes, roots, along).reshape(d, d + 1, d * d)
        return np.concatenate([super().noise(), fixed, moving], axis=2)


def turned(model: GaussianModel, left: Array, right: Array, heat: Array) -> GaussianModel:
    """Return the model whose noise is L ∘ noise ∘ R, L and R (d, d), and F ζ of ζ of its own, F = ``heat`` (d, m)."""
    d, noise = model.dimension, model.noise()
    n = noise.shape[2]
    whole = np.zeros((d, d + 1, n + heat.shape[1]))
    whole[:, :, :n] = np.einsum("ar,rcn->acn", left, noise)
    whole[:, :d, :n] = np.einsum("arn,rc->acn", whole[:, :d, :n], right)
    whole[:, d, n:] = heat
    row, column, normal = np.nonzero(whole)
    entries = row, np.where(column == d, -1, column), normal, whole[row, column, normal], whole.shape[2]
    if isinstance(model, TransformedModel):
        return replace(model, **dict(zip(("row", "column", "normal", "value", "normals"), entries, strict=True)))
    return GaussianModel(model.linear, model.constant, *entries)


@dataclass(frozen=True, eq=False)
class TransformedModel(GaussianModel):
    """Like ``GaussianModel`` with each ζ, in turn, replaced by x(ζ), increasing: noise of any univariate laws.

    ``pieces`` (one array (K, 5) per law) hold the start of each piece of x(z) and its cubic coefficients, ``guide``
    (laws, cells) the piece at equally spaced z from −lockstep.EDGE to lockstep.EDGE.
    """

    pieces: list[Array]
    guide: ArrayLike

    def packed(self) -> Model:  # noqa: D102
        ends = np.cumsum([0, *(len(part) for part in self.pieces)])
        laws = len(self.pieces)
        guide = integers("guide", self.guide, (laws, np.shape(self.guide)[-1]), 0, 2**31) + ends[:-1, None]
        pieces = np.ascontiguousarray(np.concatenate(self.pieces))
        return super().packed()._replace(kind=lockstep.TRANSFORMED, pieces=pieces, ends=ends, guide=guide)


def _minibatch_model(base: Model, kind: int, table: Array, learning_rate: float, batch_size: int) -> Model:
    if not (1 <= len(table) <= MAX_SAMPLES and batch_size >= 1):
        raise ValueError(f"{len(table)} samples, batch_size={batch_size}: need 1 to {MAX_SAMPLES} and at least 1")
    weight = -float(learning_rate) / batch_size
    values = table.ravel()
    return base._replace(kind=kind, values=values, samples=len(table), weight=weight, draws=int(batch_size))


@dataclass(frozen=True, eq=False)
class RegressionModel(Affine):
    """Least squares on minibatches drawn with replacement: − (η/B) Σ_b x_b (x_b·θ − y_b) is added.

    ``features`` (N, d), ``targets`` (N,), ``learning_rate`` η, ``batch_size`` B.
    """

    features: ArrayLike
    targets: ArrayLike
    learning_rate: float
    batch_size: int

    def packed(self) -> Model:  # noqa: D102
        count = np.size(self.targets)
        features = numbers("features", self.features, (count, self.dimension))
        table = np.column_stack([features, -numbers("targets", self.targets, (count,))])
        base = super().packed()
        return _minibatch_model(base, lockstep.REGRESSION, table, self.learning_rate, self.batch_size)


@dataclass(frozen=True, eq=False)
class SampleModel(Affine):
    """Quadratic samples, minibatches drawn with replacement: − (η/B) Σ_b (H_b θ + g_b) is added.

    ``hessians`` (N, d, d), ``gradients`` (N, d), ``learning_rate`` η, ``batch_size`` B.
    """

    hessians: ArrayLike
    gradients: ArrayLike
    learning_rate: float
    batch_size: int

    def packed(self) -> Model:  # noqa: D102
        d, count = self.dimension, len(np.asarray(self.gradients))
        hessians = numbers("hessians", self.hessians, (count, d, d))
        gradients = numbers("gradients", self.gradients, (count, d))
        table = np.concatenate([hessians, gradients[:, :, None]], axis=2).reshape(count, d * (d + 1))
        return _minibatch_model(super().packed(), lockstep.SAMPLES, table, self.learning_rate, self.batch_size)


@dataclass(frozen=True, eq=False)
class ConditionalModel(Affine):
    """Gaussian noise of covariance V(θ)_ij = V0_ij + Σ_k V1_ijk θ_k + Σ_kl V2_ijkl θ_k θ_l.

    ``covariance0`` (d, d), ``covariance1`` (d, d, d), ``covariance2`` (d, d, d, d); by Cholesky if they are not
    diagonal, with negative pivots counted as zero. ``substeps`` such moves make one step.
    """

    covariance0: ArrayLike
    covariance1: ArrayLike
    covariance2: ArrayLike
    substeps: int = 1

    def packed(self) -> Model:  # noqa: D102
        d = self.dimension
        if self.substeps < 1:
            raise ValueError(f"substeps={self.substeps}: need at least 1")
        constant = numbers("covariance0", self.covariance0, (d, d))
        first = numbers("covariance1", self.covariance1, (d, d, d))
        second = numbers("covariance2", self.covariance2, (d, d, d, d))
        k, m = np.tril_indices(d)
        second = (second + second.transpose(0, 1, 3, 2))[:, :, k, m] * np.where(k == m, 0.5, 1.0)
        table = np.concatenate([first, second], axis=2)
        monomials = np.array([[*range(d), *k], [*([-1] * d), *m]], dtype=np.int64)
        correlated = ~np.eye(d, dtype=bool)
        rows, columns = (k, m) if constant[correlated].any() or table[correlated].any() else np.diag_indices(d)
        used = np.flatnonzero(table[rows, columns].any(axis=0))
        base = super().packed()._replace(kind=lockstep.CONDITIONAL, draws=d, substeps=int(self.substeps))
        base = base._replace(offset=constant[rows, columns], covariance=table[rows, columns][:, used].copy())
        return base._replace(monomials=np.ascontiguousarray(monomials[:, used]))


@dataclass(frozen=True, eq=False)
class Optimiser:
    """What turns gradients into steps: v' = βv + g, θ' = θ − η_n v' from v = 0, or Nesterov's θ − η_n(g + βv').

    The affine part and the noise of the model are then the gradient itself: H and g with loadings of H̃ and g̃; or, with
    ``learning_rate`` −1, the samples.

    Parameters
    ----------
    learning_rates
        η_n of the first steps, shape (n,); the last one holds from then on.
    sizes
        Batch sizes likewise, or empty: those of the model. Gaussian noise is divided by their square roots.
    momentum, nesterov
        β and the form.
    epoch
        Steps of an epoch in which minibatches exclude each other, each a fresh shuffle; 0 with replacement.
    averaging
        w of the running average m' = m + w(θ' − m) that is observed in place of θ, m = θ at step 0; likewise, or empty.
    """

    learning_rates: ArrayLike
    sizes: ArrayLike = ()
    momentum: float = 0.0
    nesterov: bool = False
    epoch: int = 0
    averaging: ArrayLike = ()

    def packed(self, model: Model) -> packing.Optimiser:
        """Return the checked arrays for the kernels."""
        learning_rates = numbers("learning_rates", self.learning_rates, (np.size(self.learning_rates),))
        sizes = integers("sizes", self.sizes, (np.size(self.sizes),), 1, 2**31)
        if not learning_rates.size or model.substeps != 1:
            raise ValueError("an optimiser needs at least one rate and a model of gradients")
        if self.epoch and (sizes.size or model.kind == lockstep.GAUSSIAN or self.epoch * model.draws > model.samples):
            raise ValueError(f"epoch={self.epoch}: needs as many minibatches of one size as the samples hold")
        averaging = numbers("averaging", self.averaging, (np.size(self.averaging),))
        settings = float(self.momentum), bool(self.nesterov), int(self.epoch)
        return packing.Optimiser(learning_rates, sizes, *settings, averaging)

    def moved(self, theta: Array, velocity: Array, gradient: Array, step: int) -> tuple[Array, Array]:
        """Return θ' and v', shapes (N, d), after a step along gradients of one batch size, with replacement."""
        learning_rates = np.asarray(self.learning_rates)
        velocity = self.momentum * velocity + gradient
        ahead = gradient + self.momentum * velocity if self.nesterov else velocity
        return theta - learning_rates[min(step, len(learning_rates) - 1)] * ahead, velocity


NO_OPTIMISER = packing.Optimiser(np.empty(0), np.empty(0, dtype=np.int64), 0.0, False, 0, np.empty(0))


@dataclass(frozen=True, eq=False)
class Start:
    """Initial states: mean (d,) + factor (d, q) @ ζ; or uniform inside cells drawn by mass, if ``cumulative`` is given.

    ``cumulative`` holds the running sums of the masses of the cells, in C order of ``shape``; the cells begin at
    ``lower`` (d,) and measure ``spacing`` (d,).
    """

    mean: ArrayLike
    factor: ArrayLike
    cumulative: ArrayLike | None = None
    lower: ArrayLike | None = None
    spacing: ArrayLike | None = None
    shape: tuple[int, ...] | None = None

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return ``count`` initial states, shape (count, d), from a generator of NumPy's."""
        if self.cumulative is None:
            factor = np.asarray(self.factor)
            return np.asarray(self.mean) + rng.standard_normal((count, factor.shape[1])) @ factor.T
        assert self.shape is not None and self.lower is not None and self.spacing is not None
        chosen = np.searchsorted(np.asarray(self.cumulative), rng.random(count), side="right")
        cells = np.stack(np.unravel_index(np.minimum(chosen, np.prod(self.shape) - 1), self.shape), axis=-1)
        return np.asarray(self.lower) + (cells + rng.random(cells.shape)) * np.asarray(self.spacing)

    def packed(self, d: int) -> packing.Start:
        """Return the checked arrays for the kernels."""
        none, no_shape = np.empty(0), np.empty(0, dtype=np.int64)
        mean = numbers("mean", self.mean, (d,))
        factor = numbers("factor", self.factor, (d, np.shape(self.factor)[-1]))
        if self.cumulative is None:
            return packing.Start(mean, factor, none, none, none, no_shape)
        if self.lower is None or self.spacing is None or self.shape is None:
            raise ValueError("a gridded start needs lower, spacing and shape as well")
        shape = integers("shape", self.shape, (d,), 1, 2**31)
        cumulative = numbers("cumulative", self.cumulative, (int(np.prod(shape)),))
        if not (cumulative[0] >= 0 and cumulative[-1] > 0 and (np.diff(cumulative) >= 0).all()):
            raise ValueError("cumulative must not decrease, from at least 0 to more than 0")
        lower, spacing = numbers("lower", self.lower, (d,)), numbers("spacing", self.spacing, (d,))
        return packing.Start(mean, factor, cumulative, lower, spacing, shape)
