"""Monte Carlo: many independent trajectories of SGD or of a Langevin equation, and the sums and counts they leave.

To use it: make a model and a ``Start`` (``models.py``) and ``empty`` accumulators, and call ``sample`` until
``accumulators.trajectories`` reaches the number wanted. The kernels are in ``lockstep.py``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement, permutations
from math import comb
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfp_solvers.arrays import Array, Integers
from dfp_solvers.trajectories import lockstep
from dfp_solvers.trajectories.lockstep import BLOCK as BLOCK
from dfp_solvers.trajectories.models import NO_OPTIMISER, Affine, Optimiser, Start, integers, numbers
from dfp_solvers.trajectories.packed import Plan


@dataclass
class Accumulators:
    """Sums and counts over the trajectories done so far, at S saved steps, for K moments.

    Parameters
    ----------
    total
        T = Σ over trajectories of Π_i (θ_i − centre_i) / scale_i, i the factors of the moment, shape (S, K); T / n
        estimates the mean.
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


def factors(dimension: int, order: int) -> Integers:
    """Return the axes whose product each moment of degree 1 … ``order`` is, shape (K, order), filled up with −1.

    By degree, and then θ_1 first.
    """
    rows: Integers = np.full((comb(dimension + order, order) - 1, order), -1, dtype=np.int64)
    for degree in range(1, order + 1):
        axes = combinations_with_replacement(range(dimension), degree)
        rows[_before(dimension, degree) : _before(dimension, degree + 1), :degree] = list(axes)
    return rows


def _before(dimension: int, degree: int) -> int:
    """Return how many moments have a lower degree."""
    return comb(dimension + degree - 1, dimension) - 1


@lru_cache(maxsize=4)
def places(dimension: int, order: int) -> Integers:
    """Return where in ``factors`` the moments of this order stand, shape (dimension,) * order, read-only."""
    axes = np.array(list(combinations_with_replacement(range(dimension), order)))
    result = np.empty((dimension,) * order, dtype=np.int64)
    for turned in permutations(axes.T):
        result[turned] = _before(dimension, order) + np.arange(len(axes))
    result.flags.writeable = False
    return result


def empty(saved: ArrayLike, factors: Integers, cells: tuple[int, ...] = ()) -> Accumulators:
    """Return accumulators for ``saved`` (S,), ``factors`` (K, order) and a histogram of ``cells`` (none if empty)."""
    steps, ncells = np.size(saved), int(np.prod(cells)) if len(cells) else 0
    sums, zeros = np.zeros((steps, len(factors))), np.zeros(steps, dtype=np.int64)
    return Accumulators(sums, sums.copy(), np.zeros((steps, ncells), dtype=np.int64), zeros, zeros.copy())


class Portion(NamedTuple):
    """What some blocks leave: sums for every block, or of them together, and counts of all."""

    first: int
    end: int
    sums: Array
    """Shape (blocks, S, K); with ``squares`` (1, S, K)."""
    squares: Array | None
    """(block sum)² / trajectories of the blocks together, shape (1, S, K); None if ``sums`` are of single blocks."""
    histogram: Integers
    outside: Integers
    nonfinite: Integers
    indefinite: int


def added(accumulators: Accumulators, portion: Portion, trajectories: int) -> Accumulators:
    """Return ``accumulators`` with the next ``portion``: to the same bits whoever drew it, and how many at a time.

    Raises
    ------
    ValueError
        If it is not the next one.
    """
    if portion.first != accumulators.next_block:
        raise ValueError(f"block {portion.first} is not the next one, {accumulators.next_block}")
    total, square = accumulators.total.copy(), accumulators.total_square.copy()
    if portion.squares is None:
        lockstep.fold(portion.sums, portion.first, trajectories, total, square)
    else:
        total, square = total + portion.sums[0], square + portion.squares[0]
    return Accumulators(
        total, square, accumulators.histogram + portion.histogram, accumulators.outside + portion.outside,
        accumulators.nonfinite + portion.nonfinite, accumulators.indefinite + portion.indefinite,
        min(portion.end * BLOCK, trajectories), portion.end,
    )  # fmt: skip


def sample(
    model: Affine,
    start: Start,
    saved_steps: ArrayLike,
    accumulators: Accumulators,
    trajectories: int,
    seed: int,
    *,
    blocks: int,
    **settings: Any,
) -> Accumulators:
    """Return ``accumulators`` with the next ``blocks`` blocks added, at most until ``trajectories`` are done.

    Parameters are those of ``portions``.

    Raises
    ------
    ValueError
        If a shape or a value does not fit, or ``accumulators`` were begun for another number of trajectories.
    """
    done, result = accumulators.next_block, accumulators
    if blocks < 1:
        raise ValueError(f"blocks={blocks}: need at least 1")
    if accumulators.trajectories != min(done * BLOCK, trajectories):
        raise ValueError(f"{accumulators.trajectories} trajectories in {done} blocks do not lead to {trajectories}")
    end = max(done, min(done + blocks, -(-trajectories // BLOCK)))
    for portion in portions(model, start, saved_steps, done, end, trajectories, seed, **settings):
        if result.total.shape != portion.sums.shape[1:] or result.histogram.shape != portion.histogram.shape:
            raise ValueError("accumulators were made for other steps, moments or cells")
        result = added(result, portion, trajectories)
    return result


def portions(
    model: Affine,
    start: Start,
    saved_steps: ArrayLike,
    first: int,
    end: int,
    trajectories: int,
    seed: int,
    *,
    factors: Integers,
    centre: ArrayLike,
    scale: ArrayLike,
    lower: ArrayLike = (),
    upper: ArrayLike = (),
    cells: tuple[int, ...] = (),
    optimiser: Optimiser | None = None,
) -> Iterator[Portion]:
    """Yield the blocks ``first`` to ``end`` in portions that bound the memory of their sums.

    Parameters
    ----------
    saved_steps
        Steps at which to observe, strictly increasing, >= 0, shape (S,).
    factors
        Axes whose product each moment is, shape (K, order), filled up with −1.
    centre, scale
        Units of the moments at every saved step, shape (S, d).
    lower, upper, cells
        Box (d,), (d,) and cells per axis of the histogram; without ``cells`` there is none.
    optimiser
        What turns the model's gradients into steps; without it the model is the step itself.

    Raises
    ------
    ValueError
        If a shape or a value does not fit.
    """
    d, size = model.dimension, np.size(saved_steps)
    if not len(cells):
        lower, upper, cells = np.zeros(d), np.ones(d), (0,) * d
    saved = integers("saved_steps", saved_steps, (size,), 0, 2**62)
    scales, counted = numbers("scale", scale, (size, d)), integers("cells", cells, (d,), 0, 2**31)
    low, high = numbers("lower", lower, (d,)), numbers("upper", upper, (d,))
    axes = integers("factors", factors, (len(factors), np.shape(factors)[-1]), -1, d)
    if (np.diff(saved) <= 0).any() or not (scales > 0).all() or not (high > low).all():
        raise ValueError("saved_steps must increase, scale must be > 0 and upper > lower")
    if trajectories < 1:
        raise ValueError(f"trajectories={trajectories}: need at least 1")
    ncells = int(np.prod(counted))
    plan = Plan(saved, axes, numbers("centre", centre, (size, d)), 1 / scales, low, counted / (high - low), counted)
    packed, begin = model.packed(), start.packed(d)
    steps = NO_OPTIMISER if optimiser is None else optimiser.packed(packed)
    keys = _keys(seed)
    slots = max(1, min(numba.get_num_threads(), end - first))
    group = max(slots, 2**22 // max(1, size * len(axes)))
    for at in range(first, end, group):
        last = min(at + group, end)
        sums = np.empty((last - at, size, len(axes)))
        counts, indefinite = np.zeros((slots, size, ncells + 2), dtype=np.int64), np.zeros(slots, dtype=np.int64)
        nowhere = np.empty((last - at, 0, 0, 0))
        lockstep.run(packed, steps, begin, plan, keys, at, trajectories, sums, counts, indefinite, nowhere)
        histogram, outside, nonfinite = np.split(counts.sum(axis=0), [ncells, ncells + 1], axis=1)
        beyond = outside[:, 0] if ncells else np.zeros_like(outside[:, 0])
        yield Portion(at, last, sums, None, histogram, beyond, nonfinite[:, 0], int(indefinite.sum()))


def _keys(seed: int) -> NDArray[np.uint64]:
    return np.random.SeedSequence(seed).generate_state(2, np.uint64).astype(np.uint64)


def states(
    model: Affine, start: Start, saved_steps: ArrayLike, first: int, end: int, trajectories: int, seed: int
) -> Array:
    """Return where the trajectories of the blocks ``first`` to ``end`` are, shape (S, n, d): those of ``portions``."""
    d, size, blocks = model.dimension, np.size(saved_steps), end - first
    zeros, nothing = np.zeros((size, d)), np.zeros(d, dtype=np.int64)
    saved = integers("saved_steps", saved_steps, (size,), 0, 2**62)
    plan = Plan(saved, np.empty((0, 1), dtype=np.int64), zeros, zeros + 1, zeros[0].copy(), zeros[0] + 1, nothing)
    slots = max(1, min(numba.get_num_threads(), blocks))
    counts, indefinite = np.zeros((slots, size, 2), dtype=np.int64), np.zeros(slots, dtype=np.int64)
    sums, places = np.empty((blocks, size, 0)), np.empty((blocks, size, d, BLOCK))
    lockstep.run(
        model.packed(), NO_OPTIMISER, start.packed(d), plan, _keys(seed), first, trajectories, sums, counts, indefinite,
        places,
    )  # fmt: skip
    flat = places.transpose(1, 0, 3, 2).reshape(size, -1, d)
    return np.ascontiguousarray(flat[:, : min(end * BLOCK, trajectories) - first * BLOCK])
