"""Monte Carlo kernels against pure Python integers, NumPy twins of every model, and closed forms.

Statistical checks fix their seed and reject beyond z = 5: a correct kernel fails one with probability 6e-7.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numba
import numpy as np
import pytest
from dfp_solvers.trajectories import ensemble as mc
from dfp_solvers.trajectories import lockstep
from dfp_solvers.trajectories import models as tm
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]
WORD = 2**64 - 1
ALL = 10**9


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = numba.get_num_threads()
    yield
    numba.set_num_threads(before)


# --- references: nothing here uses the module under test


def python_mix(word: int) -> int:
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 & WORD
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB & WORD
    return word ^ (word >> 31)


def python_seed(keys: list[int], block: int, lane: int) -> list[int]:
    counters = [(block * mc.BLOCK + lane) * 4 + word + 1 for word in range(4)]
    return [python_mix(python_mix((keys[0] + 0x9E3779B97F4A7C15 * c) & WORD) ^ keys[1]) for c in counters]


def python_next(s: list[int]) -> int:
    def rotate(x: int, k: int) -> int:
        return ((x << k) | (x >> (64 - k))) & WORD

    result = (rotate((s[0] + s[3]) & WORD, 23) + s[0]) & WORD
    shifted = (s[1] << 17) & WORD
    s[2] ^= s[0]
    s[3] ^= s[1]
    s[1] ^= s[2]
    s[0] ^= s[3]
    s[2] ^= shifted
    s[3] = rotate(s[3], 45)
    return result


def box_muller(words: NDArray[np.uint64], precision: type = np.float64) -> Any:
    def mantissa(w: NDArray[np.uint64]) -> Any:
        return ((w >> np.uint64(12)).astype(np.float64) * 2.0**-52).astype(precision)

    radius = np.sqrt(-2 * np.log(1 - mantissa(words[0::2])))
    angle = (2 * mantissa(words[1::2]) - 1) * (2 * np.arctan(precision(1)))
    sign = np.where(words[1::2] & np.uint64(1), -1, 1)
    return np.stack([radius * np.cos(angle) * sign, radius * np.sin(angle)], axis=1).reshape(words.shape)


class Stream:
    """The words of some lanes of block 0, as NumPy arrays (n, lanes)."""

    def __init__(self, seed: int, lanes: int) -> None:
        keys = np.random.SeedSequence(seed).generate_state(2, np.uint64).tolist()
        self.states = [python_seed(keys, lane // mc.BLOCK, lane % mc.BLOCK) for lane in range(lanes)]

    def words(self, count: int) -> NDArray[np.uint64]:
        return np.array([[python_next(s) for s in self.states] for _ in range(count)], dtype=np.uint64)

    def normals(self, count: int) -> Array:
        return box_muller(self.words(count + count % 2))


def twin(model: Any, start: tm.Start, steps: int, seed: int, lanes: int) -> Array:
    """Return θ after ``steps``, shape (d, lanes), from the model's definition."""
    stream = Stream(seed, lanes)
    factor = np.asarray(start.factor)
    columns = factor.shape[1]
    theta = np.asarray(start.mean)[:, None] + factor @ stream.normals(columns)[:columns]
    linear, constant = np.asarray(model.linear), np.asarray(model.constant)[:, None]
    left: Array = np.empty((0, lanes))
    for _ in range(steps * getattr(model, "substeps", 1)):
        after = linear @ theta + constant
        if isinstance(model, tm.RegressionModel | tm.SampleModel):
            after += minibatch_twin(model, theta, stream)
        else:
            conditional = isinstance(model, tm.ConditionalModel | tm.IndependentModel)
            count = getattr(model, "normals", 0) + len(theta) * conditional
            if len(left) < count:
                left = stream.normals(2 * count if count % 2 else count)
            zeta, left = left[:count], left[count:]
            after += loads(model, theta, zeta) if hasattr(model, "row") else conditional_twin(model, theta, zeta)
        theta = after
    return theta


def loads(model: Any, theta: Array, zeta: Array) -> Array:
    added = np.zeros_like(theta)
    for row, column, normal, value in zip(model.row, model.column, model.normal, model.value, strict=True):
        added[row] += value * zeta[normal] * (theta[column] if column >= 0 else 1.0)
    if isinstance(model, tm.IndependentModel):
        axes = np.eye(len(theta)) if model.axes is None else np.asarray(model.axes)
        y = axes.T @ theta - np.asarray(model.place)[:, None]
        variances = np.asarray(model.base)[:, None] + np.asarray(model.table) @ y**2
        added += axes @ (np.sqrt(variances) * zeta[model.normals :])
    return added


def minibatch_twin(model: Any, theta: Array, stream: Stream) -> Array:
    added, size = np.zeros_like(theta), model.batch_size
    count = len(model.targets) if hasattr(model, "targets") else len(model.gradients)
    words = stream.words((size + 1) // 2)
    for b in range(size):
        half = (words[b // 2] >> np.uint64(32 * (b % 2))) & np.uint64(0xFFFFFFFF)
        index = (half * np.uint64(count)) >> np.uint64(32)
        if hasattr(model, "targets"):
            x = model.features[index].T
            added -= model.learning_rate / size * x * (np.sum(x * theta, axis=0) - model.targets[index])
        else:
            gradient = np.einsum("lij,jl->il", model.hessians[index], theta) + model.gradients[index].T
            added -= model.learning_rate / size * gradient
    return added


def conditional_twin(model: Any, theta: Array, zeta: Array) -> Array:
    v = model.covariance0 + np.einsum("ijk,kl->lij", model.covariance1, theta)
    v = v + np.einsum("ijkm,kl,ml->lij", model.covariance2, theta, theta)
    return np.einsum("lij,jl->il", np.linalg.cholesky(v), zeta)


# --- the models under test


def models(d: int) -> dict[str, Any]:
    rng = np.random.default_rng(d)
    linear = 0.8 * np.eye(d) + 0.05 * rng.standard_normal((d, d))
    constant = 0.1 * rng.standard_normal(d)
    rows, columns = rng.integers(0, d, 5), rng.integers(-1, d, 5)
    root = 0.3 * rng.standard_normal((d, d))
    hessians, gradients = rng.standard_normal((11, d, d)), rng.standard_normal((11, d))
    features, targets = rng.standard_normal((13, d)), rng.standard_normal(13)
    state = np.einsum("ik,jm->ijkm", np.eye(d), np.eye(d)) * 0.04  # covariance += 0.04 θ θᵀ, positive
    drift = np.zeros((d, d, d))
    drift[0, 0] = 0.01
    table, axes = (
        rng.uniform(0.0, 0.05, (d, d)) * (rng.random((d, d)) < 0.7),
        np.linalg.qr(rng.standard_normal((d, d)))[0],
    )
    squares = np.einsum("ik,ij,km->ijkm", table, np.eye(d), np.eye(d))
    return {
        "gaussian-even": tm.GaussianModel(
            linear, constant, rows, columns, [0, 1, 1, 0, 1], rng.uniform(0.1, 0.3, 5), 2
        ),
        "gaussian-fixed": tm.GaussianModel(
            linear, constant, rows, np.full(5, -1), [0, 1, 1, 0, 1], rng.uniform(0.1, 0.3, 5), 2
        ),
        "gaussian-odd": tm.GaussianModel(linear, constant, rows, columns, [0, 1, 2, 0, 2], rng.uniform(0.1, 0.3, 5), 3),
        "regression": tm.RegressionModel(linear, constant, features, targets, 0.1, 3),
        "samples": tm.SampleModel(linear, constant, hessians, gradients, 0.1, 4),
        "conditional": tm.ConditionalModel(linear, constant, root @ root.T + np.eye(d), drift, state, 2),
        "diagonal": tm.ConditionalModel(linear, constant, np.diag(rng.uniform(0.1, 1, d)), drift, squares, 3),
        "independent": tm.IndependentModel(
            linear, constant, [], [], [], [], 0, rng.uniform(0, 0.1, d), table, np.zeros(d)
        ),
        "turned": tm.IndependentModel(
            linear,
            constant,
            rows,
            columns,
            [0, 1, 1, 0, 1],
            root.ravel()[:1].repeat(5),
            2,
            np.zeros(d),
            table,
            rng.standard_normal(d),
            axes,
        ),
    }


def run(
    model: Any, start: tm.Start, saved: Any, trajectories: int, seed: int = 7, order: int = 2, **options: Any
) -> Any:
    d, cells = model.dimension, options.pop("cells", ())
    powers, accumulators = mc.factors(d, order), options.pop("accumulators", None)
    units = {"centre": np.zeros((len(saved), d)), "scale": np.ones((len(saved), d))} | options
    units.setdefault("blocks", ALL)
    accumulators = mc.empty(saved, powers, cells) if accumulators is None else accumulators
    return mc.sample(model, start, saved, accumulators, trajectories, seed, factors=powers, cells=cells, **units)


def same(a: mc.Accumulators, b: mc.Accumulators) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(vars(a).values(), vars(b).values(), strict=True))


LINE = tm.Start([1.0], [[0.5]])
NOISY = tm.GaussianModel([[0.9]], [0.05], [0, 0], [-1, 0], [0, 1], [0.3, 0.2], 2)


# --- random numbers


def test_generator_matches_python_integers() -> None:
    # The published state (1, 2, 3, 4) begins with these words.
    state = [1, 2, 3, 4]
    assert [python_next(state) for _ in range(4)] == [41943041, 58720359, 3588806011781223, 3591011842654386]
    keys = np.array([3, WORD], dtype=np.uint64)
    states, out = np.empty(4 * mc.BLOCK, dtype=np.uint64), np.empty((6, mc.BLOCK), dtype=np.uint64)
    lockstep._seed(keys, 2**33, states)
    reference = [python_seed(keys.tolist(), 2**33, lane) for lane in range(mc.BLOCK)]
    assert states.reshape(4, -1).T.tolist() == reference
    assert len(set(states.tolist())) == len(states)
    lockstep._words(states, out)
    assert out.T.tolist() == [[python_next(s) for _ in range(6)] for s in reference]
    assert states.reshape(4, -1).T.tolist() == reference


def test_normals_are_accurate_also_in_the_tails() -> None:
    words = np.random.default_rng(1).integers(0, WORD, (2000, mc.BLOCK), dtype=np.uint64, endpoint=True)
    words[0, :4] = [0, WORD, 1 << 12, (1 << 62) + (1 << 12)]  # u = 1, 2^-52, 1 - 2^-52, below 3/4
    words[1, 4:8] = [0, WORD, 1 << 63, (1 << 63) - 1]
    pairs = [lockstep._pair(*two) for two in zip(words[0::2].ravel(), words[1::2].ravel(), strict=True)]
    out = np.array(pairs).reshape(-1, mc.BLOCK, 2).swapaxes(1, 2).reshape(words.shape)
    # The polynomials err by 3e-11 relative to the largest possible radius, 8.5.
    assert np.max(np.abs(out - box_muller(words, np.longdouble))) < 3e-10
    assert np.all(np.abs(out[:2, 0]) == 0.0)
    assert math.isclose(np.hypot(*out[:2, 1]), math.sqrt(104 * math.log(2)), rel_tol=1e-10)
    assert stats.kstest(out.ravel(), "norm").pvalue > 1e-6
    assert stats.kstest(np.hypot(out[0::2], out[1::2]).ravel(), "rayleigh").pvalue > 1e-6
    for power, variance in ((1, 1.0), (2, 2.0), (3, 15.0), (4, 96.0)):
        expected = {1: 0.0, 2: 1.0, 3: 0.0, 4: 3.0}[power]
        assert abs(np.mean(out**power) - expected) < 5 * math.sqrt(variance / out.size)


# --- trajectories


@pytest.mark.parametrize("d", [1, 2, 3, 5])  # from 4 on trajectories of minibatches run alone
@pytest.mark.parametrize("name", models(1))
def test_trajectories_match_numpy(name: str, d: int) -> None:
    model, steps, lanes = models(d)[name], 5, mc.BLOCK + 3
    start = tm.Start(np.arange(1.0, d + 1), 0.3 * np.eye(d)[:, : max(1, d - 1)])
    theta = twin(model, start, steps, 11, lanes)
    centre, scale = np.full((1, d), 0.2), np.full((1, d), 1.7)
    units, cells, middle = {"centre": centre, "scale": scale}, (3, 4, 5, 2, 1)[:d], theta.mean(axis=1)
    low, high = middle - 0.9 * theta.std(axis=1), middle + 1.1 * theta.std(axis=1)
    result = run(model, start, [steps], lanes, 11, 4, **units, lower=low, upper=high, cells=cells)
    scaled = (theta - centre.T) / scale.T
    values = np.array([np.prod(scaled[axes[axes >= 0]], axis=0) for axes in mc.factors(d, 4)])
    blocks = values[:, : mc.BLOCK].sum(axis=1), values[:, mc.BLOCK :].sum(axis=1)
    # Normals err by 3e-10, and a fourth power by four times as much, in each of 5 steps.
    size = np.abs(values).sum(axis=1)
    assert np.all(np.abs(result.total[0] - values.sum(axis=1)) < 1e-8 * size)
    expected = blocks[0] ** 2 / mc.BLOCK + blocks[1] ** 2 / 3
    assert np.all(np.abs(result.total_square[0] - expected) < 1e-8 * size**2)
    counts, _ = np.histogramdd(theta.T, bins=cells, range=list(zip(low, high, strict=True)))
    assert np.array_equal(result.histogram[0], counts.ravel())
    assert result.outside[0] == lanes - counts.sum() > 0
    assert result.trajectories == lanes and result.next_block == 2 and result.indefinite == 0


def test_single_trajectories_match_numpy() -> None:
    theta = twin(NOISY, LINE, 40, 3, mc.BLOCK + 1)
    sums = [run(NOISY, LINE, [40], n, 3).total[0, 0] for n in (1, mc.BLOCK, mc.BLOCK + 1)]
    assert math.isclose(sums[0], theta[0, 0], rel_tol=1e-8)
    assert math.isclose(sums[2] - sums[1], theta[0, -1], rel_tol=1e-7)  # a difference of sums of many terms


# --- moments against closed forms


def exact(first: Callable[[float, float], float], second: Callable[[float, float], float], steps: int) -> Array:
    m, q = 1.0, 1.25  # of LINE
    for _ in range(steps):
        m, q = first(m, q), second(m, q)
    return np.array([m, q])


def closed_forms() -> dict[str, tuple[Any, Any, Any]]:
    rng = np.random.default_rng(5)
    x, y, eta, size = rng.uniform(0.5, 1.5, 40), rng.standard_normal(40), 0.4, 3
    h, g = x * x, -x * y
    vh, vg, cross = np.var(h) / size, np.var(g) / size, np.mean((h - h.mean()) * (g - g.mean())) / size
    f, s = 1 - eta * h.mean(), -eta * g.mean()

    def finite_sum(m: float, q: float) -> float:
        return float(f * f * q + 2 * f * s * m + s * s + eta**2 * (vh * q + 2 * cross * m + vg))

    conditional = tm.ConditionalModel([[0.9]], [0.1], [[0.1]], [[[0.02]]], [[[[0.05]]]])
    return {
        "gaussian": (
            NOISY,
            lambda m, q: 0.9 * m + 0.05,
            lambda m, q: 0.81 * q + 0.09 * m + 0.0025 + 0.09 + 0.04 * q,
        ),
        "regression": (
            tm.RegressionModel([[1.0]], [0.0], x[:, None], y, eta, size),
            lambda m, q: f * m + s,
            finite_sum,
        ),
        "samples": (
            tm.SampleModel([[1.0]], [0.0], h[:, None, None], g[:, None], eta, size),
            lambda m, q: f * m + s,
            finite_sum,
        ),
        "conditional": (
            conditional,
            lambda m, q: 0.9 * m + 0.1,
            lambda m, q: 0.81 * q + 0.18 * m + 0.01 + 0.1 + 0.02 * m + 0.05 * q,
        ),
    }


@pytest.mark.parametrize("name", ["gaussian", "regression", "samples", "conditional"])
def test_moments_match_closed_forms(name: str) -> None:
    model, first, second = closed_forms()[name]
    saved = [0, 1, 20]
    result = run(model, LINE, saved, 2**18)
    expected = np.array([exact(first, second, n) for n in saved])
    assert np.all(np.abs(result.mean - expected) < 5 * result.standard_error)


@pytest.mark.parametrize("fields", [{"value": [0.31, 0.2]}, {"linear": [[0.91]]}, {"constant": [0.06]}])
def test_wrong_coefficients_are_rejected(fields: dict[str, Any]) -> None:
    _, first, second = closed_forms()["gaussian"]
    result = run(replace(NOISY, **fields), LINE, [20], 2**18)
    assert np.any(np.abs(result.mean - exact(first, second, 20)) > 5 * result.standard_error)


def test_standard_error_matches_the_known_variance() -> None:
    # θ ~ N(1, 1/4): Var θ = 1/4, Var θ² = 2/16 + 4/4; with 2000 blocks the estimate has a relative error of 1.6 %.
    n = 2000 * mc.BLOCK - 100
    error = run(NOISY, LINE, [0], n).standard_error[0]
    assert np.all(np.abs(error / np.sqrt(np.array([0.25, 1.125]) / n) - 1) < 5 * 0.016)


# --- the same bits however the work is cut


@pytest.mark.parametrize(("name", "d"), [("gaussian-odd", 2), ("turned", 3), ("samples", 4)])
def test_bits_do_not_depend_on_threads_or_portions(name: str, d: int) -> None:
    model, start, n = models(d)[name], tm.Start(np.ones(d), 0.1 * np.eye(d)), 20 * mc.BLOCK + 17
    box = {"lower": [-2.0] * d, "upper": [2.0] * d, "cells": (8, 9, 1, 2)[:d]}
    numba.set_num_threads(1)
    reference = run(model, start, [0, 3, 9], n, order=4, **box)
    for threads in (1, 2):
        if threads > numba.config.NUMBA_NUM_THREADS:
            continue
        numba.set_num_threads(threads)
        for blocks in (1, 7, ALL):
            result = None
            while result is None or result.trajectories < n:
                result = run(model, start, [0, 3, 9], n, order=4, accumulators=result, blocks=blocks, **box)
            assert same(result, reference)
    assert not same(run(model, start, [0, 3, 9], n, 8, 4, **box), reference)  # another seed


def test_resuming_leaves_the_given_sums_alone_and_refuses_another_goal() -> None:
    begun = run(NOISY, LINE, [4], 1000, blocks=2)
    before = begun.total.copy()
    done = run(NOISY, LINE, [4], 1000, accumulators=begun)
    assert np.array_equal(begun.total, before) and begun.trajectories == 2 * mc.BLOCK
    assert same(done, run(NOISY, LINE, [4], 1000)) and done.trajectories == 1000
    assert same(run(NOISY, LINE, [4], 1000, accumulators=done), done)
    with pytest.raises(ValueError, match="do not lead to 2000"):
        run(NOISY, LINE, [4], 2000, accumulators=done)


# --- what must not pass silently


def test_divergence_is_counted_and_visible() -> None:
    wild = tm.GaussianModel([[1e200]], [0.0], [0], [-1], [0], [1.0], 1)
    result = run(wild, LINE, [0, 4], 300, lower=[-9.0], upper=[9.0], cells=(6,))
    assert result.nonfinite.tolist() == [0, 300]
    assert result.outside.tolist() == [0, 300]
    assert np.isfinite(result.total[0]).all() and not np.isfinite(result.total[1]).any()
    assert (result.histogram.sum(axis=1) + result.outside).tolist() == [300, 300]


def test_indefinite_covariances_are_counted() -> None:
    zero1, zero2 = np.zeros((2, 2, 2)), np.zeros((2, 2, 2, 2))
    start = tm.Start([0.0, 0.0], np.zeros((2, 0)))

    def count(v: Any) -> int:
        model = tm.ConditionalModel(np.eye(2), [0.0, 0.0], v, zero1, zero2, 3)
        return int(run(model, start, [5], 300).indefinite)

    assert count([[1.0, 2.0], [2.0, 1.0]]) == 300 * 5 * 3
    assert count([[1.0, 1.0], [1.0, 1.0]]) == 0
    assert count([[-1.0, 0.0], [0.0, -1.0]]) == 2 * 300 * 5 * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"linear": [[1.0, 0.0]]}, "linear has shape"),
        ({"constant": [np.nan]}, "constant"),
        ({"row": [0, 1]}, "row spans"),
        ({"column": [0.0, 0.0]}, "column"),
        ({"normals": 1}, "normal spans"),
    ],
)
def test_wrong_models_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(NOISY, **change)


def test_wrong_plans_are_refused() -> None:
    for saved in ([3, 1], [-1, 2], [0.5]):
        with pytest.raises(ValueError, match="saved_steps"):
            run(NOISY, LINE, saved, 100)
    with pytest.raises(ValueError, match="scale"):
        run(NOISY, LINE, [1], 100, scale=[[0.0]])
    with pytest.raises(ValueError, match="cumulative"):
        run(NOISY, tm.Start([0.0], [[0.0]], [1.0, 0.5], [0.0], [1.0], (2,)), [1], 100)
    with pytest.raises(ValueError, match="samples"):
        tm.RegressionModel([[1.0]], [0.0], np.empty((0, 1)), [], 0.1, 1)


# --- starts


def test_gridded_start_has_the_masses_of_its_cells() -> None:
    masses = np.array([[0.0, 3.0, 1.0], [2.0, 0.0, 2.0]])
    lower, spacing, n = np.array([-1.0, 2.0]), np.array([0.5, 0.25]), 2**16
    start = tm.Start([0.0, 0.0], np.zeros((2, 1)), np.cumsum(masses), lower, spacing, masses.shape)
    still = tm.GaussianModel(np.eye(2), [0.0, 0.0], [], [], [], [], 0)
    cells = (8, 12)  # every cell of the start is cut into 4 × 4
    result = run(still, start, [0, 1], n, lower=lower, upper=lower + spacing * masses.shape, cells=cells)
    assert np.array_equal(result.histogram[0], result.histogram[1])
    assert result.histogram.sum(axis=1).tolist() == [n, n]
    expected = np.kron(masses, np.ones((4, 4))) * n / (16 * masses.sum())
    counts = result.histogram[0].reshape(cells)
    assert np.all(counts[expected == 0] == 0)
    occupied = expected > 0
    assert stats.chisquare(counts[occupied], expected[occupied]).pvalue > 1e-6


def test_exponents_are_graded() -> None:
    assert mc.factors(1, 3).tolist() == [[0, -1, -1], [0, 0, -1], [0, 0, 0]]
    assert mc.factors(2, 2).tolist() == [[0, -1], [1, -1], [0, 0], [0, 1], [1, 1]]
    assert mc.places(2, 2).tolist() == [[2, 3], [3, 4]]
    assert len(mc.factors(3, 4)) == 34


def test_noise_of_independent_rows_one_by_one_has_their_covariance() -> None:
    """V(θ) of the rows, and that of all that multiplies a normal of its own; rounding. Rows left out must fail."""
    model = models(3)["turned"]
    theta = np.array([0.7] * model.dimension) + np.arange(model.dimension)
    axes = np.asarray(model.axes)
    y = axes.T @ theta - np.asarray(model.place)
    rows = (axes * (np.asarray(model.base) + np.asarray(model.table) @ y**2)) @ axes.T
    loadings = np.einsum("acn,c->an", tm.GaussianModel.noise(model), [*theta, 1.0])
    whole = np.einsum("acn,c->an", model.noise(), [*theta, 1.0])
    assert np.allclose(whole @ whole.T, loadings @ loadings.T + rows, rtol=1e-12)
    assert not np.allclose(whole @ whole.T, loadings @ loadings.T, rtol=1e-2)
