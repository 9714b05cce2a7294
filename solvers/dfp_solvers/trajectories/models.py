"""Models of one step for the kernels of Monte Carlo: what moves, which noise it gets, the optimiser and the start.

Each checks its arrays and packs them for ``lockstep.py``.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfp_solvers.arrays import Array, Integers
from dfp_solvers.trajectories import lockstep

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

    def packed(self) -> lockstep.Model:
        """Return the checked arrays for the kernels."""
        d, none = self.dimension, np.empty(0)
        nothing = np.empty((0, 0))
        linear = numbers("linear", self.linear, (d, d))
        constant = numbers("constant", self.constant, (d,))
        loadings = np.empty((3, 0), dtype=np.int64)
        no_law = nothing, np.zeros(1, dtype=np.int64), np.empty((0, 0), dtype=np.int64)
        return lockstep.Model(lockstep.GAUSSIAN, linear, constant, loadings, none, nothing, none, 0, 1.0, 0, 1, *no_law)


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

    def packed(self) -> lockstep.Model:  # noqa: D102
        d, shape = self.dimension, (np.size(self.value),)
        row = integers("row", self.row, shape, 0, d)
        column = integers("column", self.column, shape, -1, d)
        normal = integers("normal", self.normal, shape, 0, self.normals)
        values, loadings = numbers("value", self.value, shape), np.array([row, column, normal])
        return super().packed()._replace(loadings=loadings, values=values, draws=int(self.normals))


def turned(model: GaussianModel, left: Array, right: Array, heat: Array) -> GaussianModel:
    """Return the model whose noise is L ∘ noise ∘ R, L and R (d, d), and F ζ of ζ of its own, F = ``heat`` (d, m)."""
    d, m = model.dimension, heat.shape[1]
    noise = np.zeros((d, d + 1, model.normals))  # the last column multiplies 1
    np.add.at(noise, (np.asarray(model.row), np.asarray(model.column), np.asarray(model.normal)), model.value)
    whole = np.zeros((d, d + 1, model.normals + m))
    whole[:, :, : model.normals] = np.einsum("ar,rcn->acn", left, noise)
    whole[:, :d, : model.normals] = np.einsum("arn,rc->acn", whole[:, :d, : model.normals], right)
    whole[:, d, model.normals :] = heat
    row, column, normal = np.nonzero(whole)
    return replace(
        model, row=row, column=np.where(column == d, -1, column), normal=normal, value=whole[row, column, normal],
        normals=model.normals + m,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class TransformedModel(GaussianModel):
    """Like ``GaussianModel`` with each ζ, in turn, replaced by x(ζ), increasing: noise of any univariate laws.

    ``pieces`` (one array (K, 5) per law) hold the start of each piece of x(z) and its cubic coefficients, ``guide``
    (laws, cells) the piece at equally spaced z from −lockstep.EDGE to lockstep.EDGE.
    """

    pieces: list[Array]
    guide: ArrayLike

    def packed(self) -> lockstep.Model:  # noqa: D102
        ends = np.cumsum([0, *(len(part) for part in self.pieces)])
        laws = len(self.pieces)
        guide = integers("guide", self.guide, (laws, np.shape(self.guide)[-1]), 0, 2**31) + ends[:-1, None]
        pieces = np.ascontiguousarray(np.concatenate(self.pieces))
        return super().packed()._replace(kind=lockstep.TRANSFORMED, pieces=pieces, ends=ends, guide=guide)


def _minibatch_model(
    base: lockstep.Model, kind: int, table: Array, learning_rate: float, batch_size: int
) -> lockstep.Model:
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

    def packed(self) -> lockstep.Model:  # noqa: D102
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

    def packed(self) -> lockstep.Model:  # noqa: D102
        d, count = self.dimension, len(np.asarray(self.gradients))
        hessians = numbers("hessians", self.hessians, (count, d, d))
        gradients = numbers("gradients", self.gradients, (count, d))
        table = np.concatenate([hessians, gradients[:, :, None]], axis=2).reshape(count, d * (d + 1))
        return _minibatch_model(super().packed(), lockstep.SAMPLES, table, self.learning_rate, self.batch_size)


@dataclass(frozen=True, eq=False)
class ConditionalModel(Affine):
    """Gaussian noise of covariance V(θ)_ij = V0_ij + Σ_k V1_ijk θ_k + Σ_kl V2_ijkl θ_k θ_l, by Cholesky.

    ``covariance0`` (d, d), ``covariance1`` (d, d, d), ``covariance2`` (d, d, d, d); negative pivots count as zero.
    ``substeps`` such moves make one step.
    """

    covariance0: ArrayLike
    covariance1: ArrayLike
    covariance2: ArrayLike
    substeps: int = 1

    def packed(self) -> lockstep.Model:  # noqa: D102
        d = self.dimension
        if self.substeps < 1:
            raise ValueError(f"substeps={self.substeps}: need at least 1")
        rows, columns = np.tril_indices(d)
        offset = numbers("covariance0", self.covariance0, (d, d))[rows, columns]
        first = numbers("covariance1", self.covariance1, (d, d, d))[rows, columns]
        second = numbers("covariance2", self.covariance2, (d, d, d, d))[rows, columns]
        second = (second + second.transpose(0, 2, 1))[:, rows, columns] * np.where(rows == columns, 0.5, 1.0)
        covariance, substeps = np.concatenate([first, second], axis=1), int(self.substeps)
        base = super().packed()._replace(kind=lockstep.CONDITIONAL, draws=d, substeps=substeps)
        return base._replace(offset=offset, covariance=covariance)


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

    def packed(self, model: lockstep.Model) -> lockstep.Optimiser:
        """Return the checked arrays for the kernels."""
        learning_rates = numbers("learning_rates", self.learning_rates, (np.size(self.learning_rates),))
        sizes = integers("sizes", self.sizes, (np.size(self.sizes),), 1, 2**31)
        if not learning_rates.size or model.substeps != 1 or model.kind == lockstep.CONDITIONAL:
            raise ValueError("an optimiser needs at least one rate and a model of gradients")
        if self.epoch and (sizes.size or model.kind == lockstep.GAUSSIAN or self.epoch * model.draws > model.samples):
            raise ValueError(f"epoch={self.epoch}: needs as many minibatches of one size as the samples hold")
        averaging = numbers("averaging", self.averaging, (np.size(self.averaging),))
        settings = float(self.momentum), bool(self.nesterov), int(self.epoch)
        return lockstep.Optimiser(learning_rates, sizes, *settings, averaging)

    def moved(self, theta: Array, velocity: Array, gradient: Array, step: int) -> tuple[Array, Array]:
        """Return θ' and v', shapes (N, d), after a step along gradients of one batch size, with replacement."""
        learning_rates = np.asarray(self.learning_rates)
        velocity = self.momentum * velocity + gradient
        ahead = gradient + self.momentum * velocity if self.nesterov else velocity
        return theta - learning_rates[min(step, len(learning_rates) - 1)] * ahead, velocity


NO_OPTIMISER = lockstep.Optimiser(np.empty(0), np.empty(0, dtype=np.int64), 0.0, False, 0, np.empty(0))


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

    def packed(self, d: int) -> lockstep.Start:
        """Return the checked arrays for the kernels."""
        none, no_shape = np.empty(0), np.empty(0, dtype=np.int64)
        mean = numbers("mean", self.mean, (d,))
        factor = numbers("factor", self.factor, (d, np.shape(self.factor)[-1]))
        if self.cumulative is None:
            return lockstep.Start(mean, factor, none, none, none, no_shape)
        if self.lower is None or self.spacing is None or self.shape is None:
            raise ValueError("a gridded start needs lower, spacing and shape as well")
        shape = integers("shape", self.shape, (d,), 1, 2**31)
        cumulative = numbers("cumulative", self.cumulative, (int(np.prod(shape)),))
        if not (cumulative[0] >= 0 and cumulative[-1] > 0 and (np.diff(cumulative) >= 0).all()):
            raise ValueError("cumulative must not decrease, from at least 0 to more than 0")
        lower, spacing = numbers("lower", self.lower, (d,)), numbers("spacing", self.spacing, (d,))
        return lockstep.Start(mean, factor, cumulative, lower, spacing, shape)
