"""Monte Carlo: many independent trajectories of SGD or of a Langevin equation, and the sums and counts they leave.

To use it: make a model (``GaussianModel``, ``RegressionModel``, ``SampleModel``, ``ConditionalModel``), a ``Start`` and
``empty`` accumulators, and call ``sample`` until ``accumulators.trajectories`` reaches the number wanted. The kernels
are in ``lanes.py``.
"""

from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from typing import Any

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfp_solvers import lanes
from dfp_solvers.lanes import BLOCK as BLOCK

Array = NDArray[np.floating[Any]]
Integers = NDArray[np.int64]

MAX_SAMPLES = 2**24  # a 32-bit draw picks one of N samples with a relative bias of at most N / 2^32


def _numbers(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Return a C-ordered writable copy: a read-only or strided array would compile the kernels once more."""
    array = np.array(value, dtype=np.float64, order="C")
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"{name} has shape {array.shape}: need finite numbers of shape {shape}")
    return array


def _integers(name: str, value: ArrayLike, shape: tuple[int, ...], least: int, below: int) -> Integers:
    array = np.array(value, order="C")
    if array.shape != shape or not (array.size == 0 or np.issubdtype(array.dtype, np.integer)):
        raise ValueError(f"{name} has shape {array.shape} and type {array.dtype}: need integers of shape {shape}")
    if array.size and not (least <= array.min() and array.max() < below):
        raise ValueError(f"{name} spans {array.min()} to {array.max()}: need {least} <= {name} < {below}")
    return array.astype(np.int64)


@dataclass(frozen=True, eq=False)
class _Affine:
    """The deterministic part of a step: θ' = linear (d, d) @ θ + constant (d,)."""

    linear: ArrayLike
    constant: ArrayLike

    def __post_init__(self) -> None:
        self.packed()

    @property
    def dimension(self) -> int:
        """Number of parameters d."""
        return int(np.size(self.constant))

    def packed(self) -> lanes.Model:
        """Return the checked arrays for the kernels."""
        d, none = self.dimension, np.empty(0)
        nothing = np.empty((0, 0))
        linear = _numbers("linear", self.linear, (d, d))
        constant = _numbers("constant", self.constant, (d,))
        loadings = np.empty((3, 0), dtype=np.int64)
        no_law = nothing, np.zeros(1, dtype=np.int64), np.empty((0, 0), dtype=np.int64)
        return lanes.Model(lanes.GAUSSIAN, linear, constant, loadings, none, nothing, none, 0, 1.0, 0, 1, *no_law)


@dataclass(frozen=True, eq=False)
class GaussianModel(_Affine):
    """Gaussian noise: Σ_e value[e] ζ[normal[e]] (θ[column[e]], or 1 if column[e] < 0) is added to component row[e].

    ``row``, ``column``, ``normal`` and ``value`` have shape (E,); ``normals`` fresh ζ are drawn at every step.
    """

    row: ArrayLike
    column: ArrayLike
    normal: ArrayLike
    value: ArrayLike
    normals: int

    def packed(self) -> lanes.Model:  # noqa: D102
        d, shape = self.dimension, (np.size(self.value),)
        row = _integers("row", self.row, shape, 0, d)
        column = _integers("column", self.column, shape, -1, d)
        normal = _integers("normal", self.normal, shape, 0, self.normals)
        values, loadings = _numbers("value", self.value, shape), np.array([row, column, normal])
        return super().packed()._replace(loadings=loadings, values=values, draws=int(self.normals))


@dataclass(frozen=True, eq=False)
class TransformedModel(GaussianModel):
    """Like ``GaussianModel`` with each ζ, in turn, replaced by x(ζ), increasing: noise of any univariate laws.

    ``pieces`` (one array (K, 5) per law) hold the start of each piece of x(z) and its cubic coefficients, ``guide``
    (laws, cells) the piece at equally spaced z from −lanes.EDGE to lanes.EDGE.
    """

    pieces: list[Array]
    guide: ArrayLike

    def packed(self) -> lanes.Model:  # noqa: D102
        ends = np.cumsum([0, *(len(part) for part in self.pieces)])
        laws = len(self.pieces)
        guide = _integers("guide", self.guide, (laws, np.shape(self.guide)[-1]), 0, 2**31) + ends[:-1, None]
        pieces = np.ascontiguousarray(np.concatenate(self.pieces))
        return super().packed()._replace(kind=lanes.TRANSFORMED, pieces=pieces, ends=ends, guide=guide)


def _minibatch_model(base: lanes.Model, kind: int, table: Array, learning_rate: float, batch_size: int) -> lanes.Model:
    if not (1 <= len(table) <= MAX_SAMPLES and batch_size >= 1):
        raise ValueError(f"{len(table)} samples, batch_size={batch_size}: need 1 to {MAX_SAMPLES} and at least 1")
    weight = -float(learning_rate) / batch_size
    values = table.ravel()
    return base._replace(kind=kind, values=values, samples=len(table), weight=weight, draws=int(batch_size))


@dataclass(frozen=True, eq=False)
class RegressionModel(_Affine):
    """Least squares on minibatches drawn with replacement: − (η/B) Σ_b x_b (x_b·θ − y_b) is added.

    ``features`` (N, d), ``targets`` (N,), ``learning_rate`` η, ``batch_size`` B.
    """

    features: ArrayLike
    targets: ArrayLike
    learning_rate: float
    batch_size: int

    def packed(self) -> lanes.Model:  # noqa: D102
        count = np.size(self.targets)
        features = _numbers("features", self.features, (count, self.dimension))
        table = np.column_stack([features, -_numbers("targets", self.targets, (count,))])
        base = super().packed()
        return _minibatch_model(base, lanes.REGRESSION, table, self.learning_rate, self.batch_size)


@dataclass(frozen=True, eq=False)
class SampleModel(_Affine):
    """Quadratic samples, minibatches drawn with replacement: − (η/B) Σ_b (H_b θ + g_b) is added.

    ``hessians`` (N, d, d), ``gradients`` (N, d), ``learning_rate`` η, ``batch_size`` B.
    """

    hessians: ArrayLike
    gradients: ArrayLike
    learning_rate: float
    batch_size: int

    def packed(self) -> lanes.Model:  # noqa: D102
        d, count = self.dimension, len(np.asarray(self.gradients))
        hessians = _numbers("hessians", self.hessians, (count, d, d))
        gradients = _numbers("gradients", self.gradients, (count, d))
        table = np.concatenate([hessians, gradients[:, :, None]], axis=2).reshape(count, d * (d + 1))
        return _minibatch_model(super().packed(), lanes.SAMPLES, table, self.learning_rate, self.batch_size)


@dataclass(frozen=True, eq=False)
class ConditionalModel(_Affine):
    """Gaussian noise of covariance V(θ)_ij = V0_ij + Σ_k V1_ijk θ_k + Σ_kl V2_ijkl θ_k θ_l, by Cholesky.

    ``covariance0`` (d, d), ``covariance1`` (d, d, d), ``covariance2`` (d, d, d, d); negative pivots count as zero.
    ``substeps`` such moves make one step.
    """

    covariance0: ArrayLike
    covariance1: ArrayLike
    covariance2: ArrayLike
    substeps: int = 1

    def packed(self) -> lanes.Model:  # noqa: D102
        d = self.dimension
        if self.substeps < 1:
            raise ValueError(f"substeps={self.substeps}: need at least 1")
        rows, columns = np.tril_indices(d)
        offset = _numbers("covariance0", self.covariance0, (d, d))[rows, columns]
        first = _numbers("covariance1", self.covariance1, (d, d, d))[rows, columns]
        second = _numbers("covariance2", self.covariance2, (d, d, d, d))[rows, columns]
        second = (second + second.transpose(0, 2, 1))[:, rows, columns] * np.where(rows == columns, 0.5, 1.0)
        covariance, substeps = np.concatenate([first, second], axis=1), int(self.substeps)
        base = super().packed()._replace(kind=lanes.CONDITIONAL, draws=d, substeps=substeps)
        return base._replace(offset=offset, covariance=covariance)


@dataclass(frozen=True, eq=False)
class Optimiser:
    """What turns gradients into steps: v' = βv + g, θ' = θ − η_n v' from v = 0, or Nesterov's θ − η_n(g + βv').

    The affine part and the noise of the model are then the gradient itself: H and g with loadings of H̃ and g̃; or, with
    ``learning_rate`` −1, the samples.

    Parameters
    ----------
    rates
        η_n of the first steps, shape (n,); the last one holds from then on.
    sizes
        Batch sizes likewise, or empty: those of the model. Gaussian noise is divided by their square roots.
    momentum, nesterov
        β and the form.
    epoch
        Steps of an epoch in which minibatches exclude each other, each a fresh shuffle; 0 with replacement.
    """

    rates: ArrayLike
    sizes: ArrayLike = ()
    momentum: float = 0.0
    nesterov: bool = False
    epoch: int = 0

    def packed(self, model: lanes.Model) -> lanes.Optimiser:
        """Return the checked arrays for the kernels."""
        rates = _numbers("rates", self.rates, (np.size(self.rates),))
        sizes = _integers("sizes", self.sizes, (np.size(self.sizes),), 1, 2**31)
        if not rates.size or model.substeps != 1 or model.kind == lanes.CONDITIONAL:
            raise ValueError("an optimiser needs at least one rate and a model of gradients")
        if self.epoch and (sizes.size or model.kind == lanes.GAUSSIAN or self.epoch * model.draws > model.samples):
            raise ValueError(f"epoch={self.epoch}: needs as many minibatches of one size as the samples hold")
        return lanes.Optimiser(rates, sizes, float(self.momentum), bool(self.nesterov), int(self.epoch))


_NONE = lanes.Optimiser(np.empty(0), np.empty(0, dtype=np.int64), 0.0, False, 0)


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

    def packed(self, d: int) -> lanes.Start:
        """Return the checked arrays for the kernels."""
        none, no_shape = np.empty(0), np.empty(0, dtype=np.int64)
        mean = _numbers("mean", self.mean, (d,))
        factor = _numbers("factor", self.factor, (d, np.shape(self.factor)[-1]))
        if self.cumulative is None:
            return lanes.Start(mean, factor, none, none, none, no_shape)
        if self.lower is None or self.spacing is None or self.shape is None:
            raise ValueError("a gridded start needs lower, spacing and shape as well")
        shape = _integers("shape", self.shape, (d,), 1, 2**31)
        cumulative = _numbers("cumulative", self.cumulative, (int(np.prod(shape)),))
        if not (cumulative[0] >= 0 and cumulative[-1] > 0 and (np.diff(cumulative) >= 0).all()):
            raise ValueError("cumulative must not decrease, from at least 0 to more than 0")
        lower, spacing = _numbers("lower", self.lower, (d,)), _numbers("spacing", self.spacing, (d,))
        return lanes.Start(mean, factor, cumulative, lower, spacing, shape)


@dataclass
class Accumulators:
    """Sums and counts over the trajectories done so far, at S saved steps, for K exponents.

    Parameters
    ----------
    total
        T = Σ over trajectories of Π_i ((θ_i − centre_i) / scale_i)^α_i, shape (S, K); T / n estimates the mean.
    total_square
        Q = Σ over blocks of (block sum)² / (trajectories in the block), shape (S, K). For B blocks and n trajectories
        (Q − T² / n) / (B − 1) is an unbiased estimate of the variance of one trajectory's value, also if the last block
        is partial; divided by n it is the squared standard error of T / n.
    histogram
        Trajectories per cell of the half-open box [lower, upper), cells in C order, shape (S, number of cells).
    outside
        Trajectories outside the box, non-finite ones among them, shape (S,); 0 without a histogram.
    nonfinite
        Trajectories with a component that is not finite, shape (S,). If any, ``total`` is not finite either.
    indefinite
        Pivots of V(θ) that were below −1e-12 trace V(θ) and were set to zero.
    trajectories
        Number n done so far.
    next_block
        Block to run next.
    """

    total: Array
    total_square: Array
    histogram: Integers
    outside: Integers
    nonfinite: Integers
    indefinite: int = 0
    trajectories: int = 0
    next_block: int = 0

    @property
    def mean(self) -> Array:
        """Estimated moments T / n, shape (S, K)."""
        return self.total / self.trajectories

    @property
    def standard_error(self) -> Array:
        """Standard error of ``mean``, from the spread between blocks, shape (S, K); needs two blocks."""
        between = self.total_square - self.total**2 / self.trajectories
        return np.sqrt(np.maximum(between, 0.0) / ((self.next_block - 1) * self.trajectories))


def exponents(dimension: int, order: int) -> Integers:
    """Return all multi-indices α with 1 <= |α| <= order, shape (K, dimension), by degree and then θ_1 first."""
    rows = [
        [axes.count(i) for i in range(dimension)]
        for degree in range(1, order + 1)
        for axes in combinations_with_replacement(range(dimension), degree)
    ]
    return np.array(rows, dtype=np.int64).reshape(-1, dimension)


def empty(saved: ArrayLike, exponents: Integers, cells: tuple[int, ...] = ()) -> Accumulators:
    """Return accumulators for ``saved`` (S,), ``exponents`` (K, d) and a histogram of ``cells`` (none if empty)."""
    steps, ncells = np.size(saved), int(np.prod(cells)) if len(cells) else 0
    sums, zeros = np.zeros((steps, len(exponents))), np.zeros(steps, dtype=np.int64)
    return Accumulators(sums, sums.copy(), np.zeros((steps, ncells), dtype=np.int64), zeros, zeros.copy())


def sample(
    model: _Affine,
    start: Start,
    saved_steps: ArrayLike,
    accumulators: Accumulators,
    trajectories: int,
    seed: int,
    *,
    exponents: Integers,
    centre: ArrayLike,
    scale: ArrayLike,
    lower: ArrayLike = (),
    upper: ArrayLike = (),
    cells: tuple[int, ...] = (),
    blocks: int,
    optimiser: Optimiser | None = None,
) -> Accumulators:
    """Return ``accumulators`` with the next ``blocks`` blocks added, at most until ``trajectories`` are done.

    Parameters
    ----------
    saved_steps
        Steps at which to observe, strictly increasing, >= 0, shape (S,).
    exponents
        Multi-indices of the moments, shape (K, d).
    centre, scale
        Units of the moments at every saved step, shape (S, d).
    lower, upper, cells
        Box (d,), (d,) and cells per axis of the histogram; without ``cells`` there is none.
    optimiser
        What turns the model's gradients into steps; without it the model is the step itself.

    Raises
    ------
    ValueError
        If a shape or a value does not fit, or ``accumulators`` were begun for another number of trajectories.
    """
    d, size, done = model.dimension, np.size(saved_steps), accumulators.next_block
    if not len(cells):
        lower, upper, cells = np.zeros(d), np.ones(d), (0,) * d
    saved = _integers("saved_steps", saved_steps, (size,), 0, 2**62)
    scales, counted = _numbers("scale", scale, (size, d)), _integers("cells", cells, (d,), 0, 2**31)
    low, high = _numbers("lower", lower, (d,)), _numbers("upper", upper, (d,))
    powers = _integers("exponents", exponents, (len(exponents), d), 0, 2**31)
    if (np.diff(saved) <= 0).any() or not (scales > 0).all() or not (high > low).all():
        raise ValueError("saved_steps must increase, scale must be > 0 and upper > lower")
    if trajectories < 1 or blocks < 1:
        raise ValueError(f"trajectories={trajectories}, blocks={blocks}: need at least 1")
    ncells = int(np.prod(counted))
    if accumulators.total.shape != (size, len(powers)) or accumulators.histogram.shape != (size, ncells):
        raise ValueError("accumulators were made for other steps, exponents or cells")
    if accumulators.trajectories != min(done * BLOCK, trajectories):
        raise ValueError(f"{accumulators.trajectories} trajectories in {done} blocks do not lead to {trajectories}")
    plan = lanes.Plan(
        saved, powers, _numbers("centre", centre, (size, d)), 1 / scales, low, counted / (high - low), counted
    )
    result = replace(accumulators, total=accumulators.total.copy(), total_square=accumulators.total_square.copy())
    packed, begin = model.packed(), start.packed(d)
    steps = _NONE if optimiser is None else optimiser.packed(packed)
    keys = np.random.SeedSequence(seed).generate_state(2, np.uint64)
    end = max(done, min(done + blocks, -(-trajectories // BLOCK)))
    slots = max(1, min(numba.get_num_threads(), end - done))
    counts, indefinite = np.zeros((slots, size, ncells + 2), dtype=np.int64), np.zeros(slots, dtype=np.int64)
    group = max(slots, 2**22 // max(1, size * len(powers)))  # bounds the memory of the sums by block
    for first in range(done, end, group):
        sums = np.empty((min(group, end - first), size, len(powers)))
        lanes.run(packed, steps, begin, plan, keys, first, trajectories, sums, counts, indefinite)
        lanes.fold(sums, first, trajectories, result.total, result.total_square)
    histogram, outside, nonfinite = np.split(counts.sum(axis=0), [ncells, ncells + 1], axis=1)
    result.histogram = accumulators.histogram + histogram
    result.outside = accumulators.outside + (outside[:, 0] if ncells else 0)
    result.nonfinite = accumulators.nonfinite + nonfinite[:, 0]
    result.indefinite += int(indefinite.sum())
    result.next_block, result.trajectories = end, min(end * BLOCK, trajectories)
    return result
