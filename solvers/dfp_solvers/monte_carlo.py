"""Monte Carlo: many independent trajectories of SGD or of a Langevin equation, and the sums and counts they leave.

Trajectories run in blocks of ``BLOCK`` lanes. A block takes all its steps while it sits in cache, and every inner loop
runs over the lanes, so that the compiler vectorises it. Each lane has its own stream of xoshiro256++ (Blackman and
Vigna 2021, doi:10.1145/3460772), seeded from the seed, the block and the lane alone; normals come from Box-Muller. Sums
of blocks are added in the order of the blocks, so no bit depends on the threads or on how the work is cut into calls.

To use it: make a model (``GaussianModel``, ``RegressionModel``, ``SampleModel``, ``ConditionalModel``), a ``Start`` and
``empty`` accumulators, and call ``sample`` until ``accumulators.trajectories`` reaches the number wanted.
"""

import math
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfp_solvers.jit import kernel

Array = NDArray[np.floating[Any]]
Integers = NDArray[np.int64]
Words = NDArray[np.uint64]

BLOCK = 256  # trajectories per block: state, parameters and normals of a block stay in the first-level cache
MAX_SAMPLES = 2**24  # a 32-bit draw picks one of N samples with a relative bias of at most N / 2^32
GAUSSIAN, REGRESSION, SAMPLES, CONDITIONAL = range(4)

# uint64 throughout: mixed with a signed integer, Numba would turn a word into a float.
_ONE = np.uint64(0x3FF0000000000000)  # bits of 1.0
_MANTISSA = np.uint64(0x000FFFFFFFFFFFFF)
_ROOT_HALF = np.uint64(0x3FE6A09E00000000)  # bits of sqrt(1/2), rounded
_LOW = np.uint64(0xFFFFFFFF)


class _Model(NamedTuple):
    """One step, packed for the kernels: a deterministic affine map plus noise of one of four kinds."""

    kind: int
    linear: Array  # (d, d)
    constant: Array  # (d,)
    loadings: Integers  # (3, E): row, column and normal of every Gaussian loading
    values: Array  # loadings (E,), or samples (N * width,)
    covariance: Array  # conditional covariance: coefficients (entries of the lower triangle, monomials)
    offset: Array  # its constant part (entries,)
    samples: int  # N
    weight: float  # -learning rate / batch size
    draws: int  # normals per substep, or batch size
    substeps: int


class _Start(NamedTuple):
    """Initial states, packed: gridded if ``cumulative`` is not empty."""

    mean: Array
    factor: Array
    cumulative: Array
    lower: Array
    spacing: Array
    shape: Integers


class _Plan(NamedTuple):
    """What is observed when: moments about ``centre`` in units of 1 / ``inverse_scale``, and a histogram."""

    saved: Integers  # (S,)
    exponents: Integers  # (K, d)
    centre: Array  # (S, d)
    inverse_scale: Array  # (S, d)
    lower: Array  # (d,)
    cells_per_unit: Array  # (d,)
    cells: Integers  # (d,), all zero without a histogram


@kernel()
def _mix(word: Any) -> Any:
    """Return the splitmix64 finaliser of ``word``: a bijection of 64-bit words."""
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


@kernel()
def _seed(keys: Words, block: int, state: Words) -> None:
    """Set the generators of a block, ``state`` (4 * BLOCK,): distinct words for distinct (block, lane, word)."""
    for lane in range(BLOCK):
        for word in range(4):
            counter = np.uint64((block * BLOCK + lane) * 4 + word + 1)
            state[word * BLOCK + lane] = _mix(_mix(keys[0] + np.uint64(0x9E3779B97F4A7C15) * counter) ^ keys[1])


@kernel()
def _words(state: Words, out: Words) -> None:
    """Fill ``out`` (n, BLOCK) with the next n words of every lane's xoshiro256++."""
    for r in range(out.shape[0]):
        row = out[r]
        for lane in range(BLOCK):
            a, b = state[lane], state[lane + BLOCK]
            c, d = state[lane + 2 * BLOCK], state[lane + 3 * BLOCK]
            sum_ = a + d
            row[lane] = ((sum_ << np.uint64(23)) | (sum_ >> np.uint64(41))) + a
            shifted = b << np.uint64(17)
            c ^= a
            d ^= b
            state[lane] = a ^ d
            state[lane + BLOCK] = b ^ c
            state[lane + 2 * BLOCK] = c ^ shifted
            state[lane + 3 * BLOCK] = (d << np.uint64(45)) | (d >> np.uint64(19))


@kernel(fast=True)
def _normals(words: Words, out: Array) -> None:
    """Turn pairs of rows of ``words`` (2p, BLOCK) into standard normals: sqrt(-2 log u) times (±cos, sin)(π t / 2).

    u in (0, 1] is 2 minus a mantissa in [1, 2) from the first word; t in [-1, 1) and the sign come from the second. The
    polynomials interpolate at Chebyshev points: -2 log(m) / s in s², s = (m - 1) / (m + 1), and sine and cosine in t².
    """
    for p in range(0, words.shape[0], 2):
        first, second, cosines, sines = words[p], words[p + 1], out[p], out[p + 1]
        for lane in range(BLOCK):
            u = 2.0 - np.uint64((first[lane] >> np.uint64(12)) | _ONE).view(np.float64)
            bits = np.float64(u).view(np.uint64) + (_ONE - _ROOT_HALF)
            exponent = np.float64(np.int64(bits >> np.uint64(52)) - 1023)
            m = np.uint64((bits & _MANTISSA) + _ROOT_HALF).view(np.float64)
            s = (m - 1.0) / (m + 1.0)
            z = s * s
            log = -0.4444686984281641 + z * (-0.36243844007787285 + z * -0.33675627137797287)
            log = -4.000000000000001 + z * (
                -1.333333333331057 + z * (-0.8000000012354611 + z * (-0.571428320319513 + z * log))
            )
            radius = math.sqrt(exponent * -1.3862943611198906 + s * log)
            t = 2.0 * np.uint64((second[lane] >> np.uint64(12)) | _ONE).view(np.float64) - 3.0
            q = t * t
            sine = -3.5988107063136794e-06 + q * (5.688318064017795e-08 + q * -6.449471237809134e-10)
            sine = 0.07969262624568337 + q * (-0.004681754131447062 + q * (0.0001604411695631063 + q * sine))
            sine = t * (1.5707963267948963 + q * (-0.6459640975062232 + q * sine))
            cosine = 4.7108307433635577e-07 + q * (-6.382235924529259e-09 + q * 6.3317327178079e-11)
            cosine = -0.02086348076317886 + q * (0.0009192602739434877 + q * (-2.5202039782228713e-05 + q * cosine))
            cosine = radius * (1.0 + q * (-1.233700550136169 + q * (0.25366950790103104 + q * cosine)))
            flipped = np.float64(cosine).view(np.uint64) ^ (second[lane] << np.uint64(63))
            cosines[lane] = np.uint64(flipped).view(np.float64)
            sines[lane] = radius * sine


@kernel(fast=True)
def _add_product(weight: float, left: Array, right: Array, target: Array) -> None:
    """Add weight * left * right to ``target``, lane by lane."""
    for lane in range(BLOCK):
        target[lane] += weight * left[lane] * right[lane]


@kernel(fast=True)
def _affine(matrix: Array, shift: Array, source: Array, target: Array) -> None:
    """Set ``target`` (m, BLOCK) to shift + matrix @ source, skipping zeros of the (m, n) ``matrix``."""
    for i in range(matrix.shape[0]):
        row = target[i]
        for lane in range(BLOCK):
            row[lane] = shift[i]
        for j in range(matrix.shape[1]):
            entry, column = matrix[i, j], source[j]
            if entry != 0.0:
                for lane in range(BLOCK):
                    row[lane] += entry * column[lane]


@kernel(fast=True)
def _gaussian(loadings: Integers, values: Array, theta: Array, normals: Array, target: Array) -> None:
    """Add the Gaussian loadings to ``target`` (d, BLOCK)."""
    for e in range(len(values)):
        value, column = values[e], loadings[1, e]
        row, normal = target[loadings[0, e]], normals[loadings[2, e]]
        if column >= 0:
            _add_product(value, normal, theta[column], row)
        else:
            for lane in range(BLOCK):
                row[lane] += value * normal[lane]


@kernel(fast=True)
def _minibatch(model: _Model, theta: Array, words: Words, target: Array) -> None:
    """Add the gradients of a minibatch to ``target``; a sample is a row of forms [a | b] that stand for a·θ + b."""
    d, forms, values = theta.shape[0], 1 if model.kind == REGRESSION else theta.shape[0], model.values
    picked, form = np.empty(BLOCK, np.uint64), np.empty(BLOCK)
    for b in range(model.draws):
        source, shift, width = words[b // 2], np.uint64(32 * (b % 2)), np.uint64(forms * (d + 1))
        for lane in range(BLOCK):
            draw = (source[lane] >> shift) & _LOW
            picked[lane] = ((draw * np.uint64(model.samples)) >> np.uint64(32)) * width
        for f in range(forms):
            for lane in range(BLOCK):
                form[lane] = 0.0
            for j in range(d + 1):
                column, factor = np.uint64(f * (d + 1) + j), theta[min(j, d - 1)]
                for lane in range(BLOCK):
                    form[lane] += values[picked[lane] + column] * (factor[lane] if j < d else 1.0)
            for i in range(d if forms == 1 else 1):
                row = target[f + i]
                for lane in range(BLOCK):
                    along = values[picked[lane] + np.uint64(i)] if model.kind == REGRESSION else 1.0
                    row[lane] += model.weight * along * form[lane]


@kernel(fast=True)
def _conditional(table: Array, offset: Array, theta: Array, normals: Array, target: Array, valid: int) -> int:
    """Add chol(V(θ)) ζ to ``target``; return how many pivots of the first ``valid`` lanes were negative."""
    d, indefinite = theta.shape[0], 0
    monomials, v = np.empty((table.shape[1], BLOCK)), np.empty((table.shape[0], BLOCK))
    trace, inverse = np.zeros(BLOCK), np.empty(BLOCK)
    for k in range(d):
        for lane in range(BLOCK):
            monomials[k, lane] = theta[k, lane]
        for m in range(k + 1):
            product = monomials[d + k * (k + 1) // 2 + m]
            for lane in range(BLOCK):
                product[lane] = theta[k, lane] * theta[m, lane]
    _affine(table, offset, monomials, v)
    for j in range(d):
        diagonal = v[j * (j + 1) // 2 + j]
        for lane in range(BLOCK):
            trace[lane] += diagonal[lane]
    for j in range(d):
        column = j * (j + 1) // 2
        diagonal = v[column + j]
        for k in range(j):
            _add_product(-1.0, v[column + k], v[column + k], diagonal)
        for lane in range(BLOCK):
            pivot = diagonal[lane]
            indefinite += lane < valid and pivot < -1e-12 * trace[lane]
            root = math.sqrt(pivot if pivot > 0.0 else 0.0)
            diagonal[lane] = root
            inverse[lane] = 1.0 / root if root > 0.0 else 0.0
        _add_product(1.0, diagonal, normals[j], target[j])
        for i in range(j + 1, d):
            row = i * (i + 1) // 2
            below = v[row + j]
            for k in range(j):
                _add_product(-1.0, v[row + k], v[column + k], below)
            for lane in range(BLOCK):
                below[lane] *= inverse[lane]
            _add_product(1.0, below, normals[j], target[i])
    return indefinite


@kernel(fast=True)
def _begin(start: _Start, state: Words, theta: Array) -> None:
    """Draw the initial states ``theta`` (d, BLOCK)."""
    d, columns = start.factor.shape
    gridded = len(start.cumulative) > 0
    words = np.empty((d + 1 if gridded else columns + columns % 2, BLOCK), np.uint64)
    _words(state, words)
    if not gridded:
        normals = np.empty(words.shape)
        _normals(words, normals)
        _affine(start.factor, start.mean, normals, theta)
        return
    for lane in range(BLOCK):
        mass = np.float64(words[d, lane] >> np.uint64(11)) * 2.0**-53 * start.cumulative[-1]
        cell, end = 0, len(start.cumulative) - 1
        while cell < end:  # the first cell whose cumulative mass exceeds `mass`, so never one without mass
            middle = (cell + end) // 2
            if start.cumulative[middle] > mass:
                end = middle
            else:
                cell = middle + 1
        for i in range(d - 1, -1, -1):
            inside = np.float64(words[i, lane] >> np.uint64(11)) * 2.0**-53
            theta[i, lane] = start.lower[i] + (cell % start.shape[i] + inside) * start.spacing[i]
            cell //= start.shape[i]


@kernel(fast=True)
def _observe(theta: Array, valid: int, s: int, plan: _Plan, sums: Array, counts: Integers) -> None:
    """Set the block's moment sums (K,) and add to the counts (cells + 2): histogram, outside, non-finite."""
    d, ncells, product, scaled = theta.shape[0], len(counts) - 2, np.empty(BLOCK), np.empty(theta.shape)
    for i in range(d):
        centre, unit, row, source = plan.centre[s, i], plan.inverse_scale[s, i], scaled[i], theta[i]
        for lane in range(BLOCK):
            row[lane] = (source[lane] - centre) * unit if lane < valid else 0.0
    for k in range(plan.exponents.shape[0]):
        for lane in range(BLOCK):
            product[lane] = 1.0 if lane < valid else 0.0
        for i in range(d):
            row = scaled[i]
            for _ in range(plan.exponents[k, i]):
                for lane in range(BLOCK):
                    product[lane] *= row[lane]
        total = 0.0
        for lane in range(BLOCK):
            total += product[lane]
        sums[k] = total
    for lane in range(valid):
        finite, inside, cell = True, True, 0
        for i in range(d):
            finite &= math.isfinite(theta[i, lane])
            position = (theta[i, lane] - plan.lower[i]) * plan.cells_per_unit[i]
            inside &= position >= 0.0 and position < plan.cells[i]  # false for NaN
            cell = cell * plan.cells[i] + (np.int64(position) if inside else 0)
        counts[ncells + 1] += not finite
        counts[cell if inside else ncells] += 1


@kernel(fast=True)
def _run_block(
    model: _Model, start: _Start, plan: _Plan, keys: Words, block: int, valid: int, sums: Array, counts: Integers
) -> int:
    """Run one block through all steps; set its sums (S, K), add to counts (S, cells + 2), return negative pivots."""
    d, minibatch = len(model.constant), model.kind in (REGRESSION, SAMPLES)
    period = 1 if minibatch else 1 + model.draws % 2  # normals come in pairs: an odd number is drawn for two steps
    rows = (model.draws + 1) // 2 if minibatch else model.draws * period
    state, words = np.empty(4 * BLOCK, np.uint64), np.empty((rows, BLOCK), np.uint64)
    normals, theta, target = np.empty((0 if minibatch else rows, BLOCK)), np.empty((d, BLOCK)), np.empty((d, BLOCK))
    _seed(keys, block, state)
    _begin(start, state, theta)
    indefinite, time, step = 0, 0, 0
    for s in range(len(plan.saved)):
        for _ in range((plan.saved[s] - step) * model.substeps):
            phase = time % period
            if phase == 0:
                _words(state, words)
                _normals(words[: len(normals)], normals)
            _affine(model.linear, model.constant, theta, target)
            fresh = normals[phase * model.draws :]
            if model.kind == GAUSSIAN:
                _gaussian(model.loadings, model.values, theta, fresh, target)
            elif model.kind == CONDITIONAL:
                indefinite += _conditional(model.covariance, model.offset, theta, fresh, target, valid)
            else:
                _minibatch(model, theta, words, target)
            theta, target = target, theta
            time += 1
        step = plan.saved[s]
        _observe(theta, valid, s, plan, sums[s], counts[s])
    return indefinite


@kernel(parallel=True)
def _run(
    model: _Model,
    start: _Start,
    plan: _Plan,
    keys: Words,
    first: int,
    trajectories: int,
    sums: Array,
    counts: Integers,
    indefinite: Integers,
) -> None:
    """Run the blocks ``first`` ... first + len(sums) - 1; each slot counts for itself, each block sums for itself."""
    for slot in numba.prange(counts.shape[0]):
        for b in range(slot, sums.shape[0], counts.shape[0]):
            valid = min(BLOCK, trajectories - (first + b) * BLOCK)
            indefinite[slot] += _run_block(model, start, plan, keys, first + b, valid, sums[b], counts[slot])


@kernel()
def _fold(sums: Array, first: int, trajectories: int, total: Array, total_square: Array) -> None:
    """Add the blocks' ``sums`` (blocks, S, K) to the totals (S, K), one block after the other."""
    for b in range(sums.shape[0]):
        valid = min(BLOCK, trajectories - (first + b) * BLOCK)
        for s in range(sums.shape[1]):
            for k in range(sums.shape[2]):
                total[s, k] += sums[b, s, k]
                total_square[s, k] += sums[b, s, k] * sums[b, s, k] / valid


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

    def packed(self) -> _Model:
        """Return the checked arrays for the kernels."""
        d, none = self.dimension, np.empty(0)
        nothing = np.empty((0, 0))
        linear = _numbers("linear", self.linear, (d, d))
        constant = _numbers("constant", self.constant, (d,))
        loadings = np.empty((3, 0), dtype=np.int64)
        return _Model(GAUSSIAN, linear, constant, loadings, none, nothing, none, 0, 1.0, 0, 1)


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

    def packed(self) -> _Model:  # noqa: D102
        d, shape = self.dimension, (np.size(self.value),)
        row = _integers("row", self.row, shape, 0, d)
        column = _integers("column", self.column, shape, -1, d)
        normal = _integers("normal", self.normal, shape, 0, self.normals)
        values, loadings = _numbers("value", self.value, shape), np.array([row, column, normal])
        return super().packed()._replace(loadings=loadings, values=values, draws=int(self.normals))


def _minibatch_model(base: _Model, kind: int, table: Array, learning_rate: float, batch_size: int) -> _Model:
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

    def packed(self) -> _Model:  # noqa: D102
        count = np.size(self.targets)
        features = _numbers("features", self.features, (count, self.dimension))
        table = np.column_stack([features, -_numbers("targets", self.targets, (count,))])
        base = super().packed()
        return _minibatch_model(base, REGRESSION, table, self.learning_rate, self.batch_size)


@dataclass(frozen=True, eq=False)
class SampleModel(_Affine):
    """Quadratic samples, minibatches drawn with replacement: − (η/B) Σ_b (H_b θ + g_b) is added.

    ``hessians`` (N, d, d), ``gradients`` (N, d), ``learning_rate`` η, ``batch_size`` B.
    """

    hessians: ArrayLike
    gradients: ArrayLike
    learning_rate: float
    batch_size: int

    def packed(self) -> _Model:  # noqa: D102
        d, count = self.dimension, len(np.asarray(self.gradients))
        hessians = _numbers("hessians", self.hessians, (count, d, d))
        gradients = _numbers("gradients", self.gradients, (count, d))
        table = np.concatenate([hessians, gradients[:, :, None]], axis=2).reshape(count, d * (d + 1))
        return _minibatch_model(super().packed(), SAMPLES, table, self.learning_rate, self.batch_size)


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

    def packed(self) -> _Model:  # noqa: D102
        d = self.dimension
        if self.substeps < 1:
            raise ValueError(f"substeps={self.substeps}: need at least 1")
        rows, columns = np.tril_indices(d)
        offset = _numbers("covariance0", self.covariance0, (d, d))[rows, columns]
        first = _numbers("covariance1", self.covariance1, (d, d, d))[rows, columns]
        second = _numbers("covariance2", self.covariance2, (d, d, d, d))[rows, columns]
        second = (second + second.transpose(0, 2, 1))[:, rows, columns] * np.where(rows == columns, 0.5, 1.0)
        covariance, substeps = np.concatenate([first, second], axis=1), int(self.substeps)
        base = super().packed()._replace(kind=CONDITIONAL, draws=d, substeps=substeps)
        return base._replace(offset=offset, covariance=covariance)


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

    def packed(self, d: int) -> _Start:
        """Return the checked arrays for the kernels."""
        none, no_shape = np.empty(0), np.empty(0, dtype=np.int64)
        mean = _numbers("mean", self.mean, (d,))
        factor = _numbers("factor", self.factor, (d, np.shape(self.factor)[-1]))
        if self.cumulative is None:
            return _Start(mean, factor, none, none, none, no_shape)
        if self.lower is None or self.spacing is None or self.shape is None:
            raise ValueError("a gridded start needs lower, spacing and shape as well")
        shape = _integers("shape", self.shape, (d,), 1, 2**31)
        cumulative = _numbers("cumulative", self.cumulative, (int(np.prod(shape)),))
        if not (cumulative[0] >= 0 and cumulative[-1] > 0 and (np.diff(cumulative) >= 0).all()):
            raise ValueError("cumulative must not decrease, from at least 0 to more than 0")
        lower, spacing = _numbers("lower", self.lower, (d,)), _numbers("spacing", self.spacing, (d,))
        return _Start(mean, factor, cumulative, lower, spacing, shape)


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
    plan = _Plan(saved, powers, _numbers("centre", centre, (size, d)), 1 / scales, low, counted / (high - low), counted)
    result = replace(accumulators, total=accumulators.total.copy(), total_square=accumulators.total_square.copy())
    packed, begin = model.packed(), start.packed(d)
    keys = np.random.SeedSequence(seed).generate_state(2, np.uint64)
    end = max(done, min(done + blocks, -(-trajectories // BLOCK)))
    slots = max(1, min(numba.get_num_threads(), end - done))
    counts, indefinite = np.zeros((slots, size, ncells + 2), dtype=np.int64), np.zeros(slots, dtype=np.int64)
    group = max(slots, 2**22 // max(1, size * len(powers)))  # bounds the memory of the sums by block
    for first in range(done, end, group):
        sums = np.empty((min(group, end - first), size, len(powers)))
        _run(packed, begin, plan, keys, first, trajectories, sums, counts, indefinite)
        _fold(sums, first, trajectories, result.total, result.total_square)
    histogram, outside, nonfinite = np.split(counts.sum(axis=0), [ncells, ncells + 1], axis=1)
    result.histogram = accumulators.histogram + histogram
    result.outside = accumulators.outside + (outside[:, 0] if ncells else 0)
    result.nonfinite = accumulators.nonfinite + nonfinite[:, 0]
    result.indefinite += int(indefinite.sum())
    result.next_block, result.trajectories = end, min(end * BLOCK, trajectories)
    return result
