"""How many SGD steps a second: this package against the usual ways to write the same loop, in one run.

    python -m validation.benchmarks.throughput [--trajectories N] [--steps N] [--rounds N] [--threads N]

Two cases, both with fresh noise at every step: one parameter with a random curvature and a random gradient (two
normals), and two parameters with a full matrix and a full noise covariance (two normals). Every contender draws its own
normals, is checked against the stationary variance, and first chooses, among a few ways to cut the work, the one that
is fastest for it; compilation and choice are not timed. NumPy runs in one thread, as such loops do; the others may use
all. Rounds are interleaved, so that a slow spell of the machine meets all, but run it on an idle machine: a busy core
slows what uses every core most. PyTorch and JAX compute in single precision, the others in double. A contender that is
not installed is left out.
"""

import argparse
import importlib
import itertools
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numba
import numpy as np
from dfp_solvers.jit import kernel
from dfp_solvers.trajectories import ensemble, models
from numpy.typing import NDArray

from validation.benchmarks.verdict import Verdict

Array = NDArray[np.float64]
Run = Callable[[], Array]  # runs all trajectories once, returns final parameters (some, d) or (some,) for a check

# One parameter: θ' = DECAY θ + CURVATURE ζ1 θ + GRADIENT ζ2.  Two: θ' = LINEAR θ + ROOT ζ.
DECAY, CURVATURE, GRADIENT = 0.9, 0.05, 0.1
LINEAR = np.array([[0.9, 0.03], [0.02, 0.95]])
ROOT = np.array([[0.1, 0.0], [0.04, 0.08]])
_CASES = ((1, "one parameter, two normals a step"), (2, "two parameters, full covariance"))


def stationary_second(dimension: int) -> float:
    """Return E[θ_1²] of the stationary law, which every contender must reproduce."""
    if dimension == 1:
        return GRADIENT**2 / (1 - DECAY**2 - CURVATURE**2)
    moments = np.linalg.solve(np.eye(4) - np.kron(LINEAR, LINEAR), (ROOT @ ROOT.T).ravel())
    return float(moments[0])


def dfp_kernel(dimension: int, trajectories: int, steps: int) -> list[Run]:
    """Return the Monte Carlo kernel of this package."""
    if dimension == 1:
        model = models.GaussianModel([[DECAY]], [0.0], [0, 0], [0, -1], [0, 1], [CURVATURE, GRADIENT], 2)
    else:
        rows, normals = np.nonzero(ROOT)
        model = models.GaussianModel(LINEAR, np.zeros(2), rows, [-1] * 3, normals, ROOT[rows, normals], 2)
    return [_sampled(model, trajectories, steps)]


def normals_alone(trajectories: int, steps: int) -> Run:
    """Return the kernel where it draws as many normals, four at a time, and does nothing with them: the least it takes.

    ``_normals`` of the kernels makes them, whose time is that of its arithmetic: some sixty operations on vectors of
    eight lanes for sixteen normals, at two a cycle.
    """
    return _sampled(models.GaussianModel([[1.0]], [0.0], [], [], [], [], 4), trajectories, steps // 2)


def no_normals(dimension: int, trajectories: int, steps: int) -> Run:
    """Return the kernel where it steps without noise, as a control: no verdict may take this for a bound generator."""
    linear = np.full((1, 1), DECAY) if dimension == 1 else LINEAR
    return _sampled(models.GaussianModel(linear, np.zeros(dimension), [], [], [], [], 0), trajectories, steps)


def _sampled(model: models.GaussianModel, trajectories: int, steps: int) -> Run:
    dimension = model.dimension
    start = models.Start(np.zeros(dimension), np.zeros((dimension, 0)))
    powers, zero = ensemble.factors(dimension, 2), np.zeros((1, dimension))
    blocks = -(-trajectories // ensemble.BLOCK)

    def run() -> Array:
        sums = ensemble.empty([steps], powers)
        sums = ensemble.sample(
            model,
            start,
            [steps],
            sums,
            trajectories,
            1,
            factors=powers,
            centre=zero,
            scale=zero + 1,
            blocks=blocks,
        )
        return np.sqrt(sums.mean[0, [dimension]])  # the check squares it: E[θ_1²]

    return run


def numpy_loop(dimension: int, trajectories: int, steps: int) -> list[Run]:
    """Return the vectorised NumPy loop, for several portions of trajectories."""

    def portion(count: int, seed: int) -> Array:
        rng = np.random.default_rng(seed)
        theta = np.zeros((dimension, count))
        for _ in range(steps):
            zeta = rng.standard_normal((2, count))
            if dimension == 1:
                theta = DECAY * theta + CURVATURE * zeta[0] * theta + GRADIENT * zeta[1]
            else:
                theta = LINEAR @ theta + ROOT @ zeta
        return theta[0]

    def run(count: int) -> Array:
        return np.concatenate([portion(count, seed) for seed in range(trajectories // count)])

    return [partial(run, count) for count in (2048, 8192, trajectories)]


@kernel(parallel=True)
def _numba_line(count: int, steps: int) -> Array:
    """Return one parameter after all steps, shape (count,)."""
    result = np.empty(count)
    for i in numba.prange(count):
        theta = 0.0
        for _ in range(steps):
            theta = DECAY * theta + CURVATURE * np.random.normal() * theta + GRADIENT * np.random.normal()  # noqa: NPY002
        result[i] = theta
    return result


@kernel(parallel=True)
def _numba_plane(count: int, steps: int, a: Array, root: Array) -> Array:
    """Return the first of two parameters after all steps, shape (count,)."""
    result = np.empty(count)
    for i in numba.prange(count):
        x, y = 0.0, 0.0
        for _ in range(steps):
            p, q = np.random.normal(), np.random.normal()  # noqa: NPY002
            x, y = (
                a[0, 0] * x + a[0, 1] * y + root[0, 0] * p,
                a[1, 0] * x + a[1, 1] * y + root[1, 0] * p + root[1, 1] * q,
            )
        result[i] = x
    return result


def numba_loop(dimension: int, trajectories: int, steps: int) -> list[Run]:
    """Return the compiled scalar loop with Numba's own normals, trajectories in parallel."""
    if dimension == 1:
        return [lambda: np.asarray(_numba_line(trajectories, steps))]
    return [lambda: np.asarray(_numba_plane(trajectories, steps, LINEAR, ROOT))]


def pytorch_loop(dimension: int, trajectories: int, steps: int) -> list[Run]:
    """Return the PyTorch loop: in place, normals drawn for several steps at once, one or several Python threads."""
    torch: Any = importlib.import_module("torch")
    threads = numba.get_num_threads()
    linear = torch.tensor(LINEAR, dtype=torch.float32)
    root = torch.tensor(ROOT, dtype=torch.float32)

    def portion(count: int, batch: int, seed: int) -> Array:
        generator = torch.Generator().manual_seed(seed)
        theta, zeta = torch.zeros(dimension, count), torch.empty(batch, 2, count)
        for step in range(steps):
            if step % batch == 0:
                zeta.normal_(generator=generator)
            z = zeta[step % batch]
            if dimension == 1:
                theta.mul_(z[0].mul_(CURVATURE).add_(DECAY)).add_(z[1], alpha=GRADIENT)
            else:
                theta = torch.addmm(root @ z, linear, theta)
        return np.asarray(theta[0].numpy(), dtype=np.float64)

    def run(count: int, batch: int, workers: int) -> Array:
        torch.set_num_threads(threads if workers == 1 else 1)
        seeds = range(trajectories // count)
        with torch.inference_mode(), ThreadPoolExecutor(workers) as pool:
            return np.concatenate(list(pool.map(torch.inference_mode()(partial(portion, count, batch)), seeds)))

    cuts = itertools.product((4096, 16384, trajectories), (1, 10), sorted({1, threads}))
    return [partial(run, *cut) for cut in cuts if cut[0] * cut[1] * 8 < 2**28]


def jax_loop(dimension: int, trajectories: int, steps: int) -> list[Run]:
    """Return the JAX loop: jitted, with both of its fast generators, one or several Python threads."""
    jax: Any = importlib.import_module("jax")
    jnp: Any = importlib.import_module("jax.numpy")
    threads = numba.get_num_threads()
    linear, root = jnp.asarray(LINEAR, jnp.float32), jnp.asarray(ROOT, jnp.float32)

    def portion(count: int, key: Any) -> Any:
        def step(n: Any, theta: Any) -> Any:
            zeta = jax.random.normal(jax.random.fold_in(key, n), (2, count), jnp.float32)
            if dimension == 1:
                return DECAY * theta + CURVATURE * zeta[0] * theta + GRADIENT * zeta[1]
            x = linear[0, 0] * theta[0] + linear[0, 1] * theta[1] + root[0, 0] * zeta[0]
            y = linear[1, 0] * theta[0] + linear[1, 1] * theta[1] + root[1, 0] * zeta[0] + root[1, 1] * zeta[1]
            return jnp.stack([x, y])

        return jax.lax.fori_loop(0, steps, step, jnp.zeros((dimension, count), jnp.float32))[0]

    compiled = jax.jit(portion, static_argnums=0)

    def run(count: int, generator: str, workers: int) -> Array:
        def one(seed: int) -> Array:
            return np.asarray(compiled(count, jax.random.key(seed, impl=generator)), dtype=np.float64)

        with ThreadPoolExecutor(workers) as pool:
            return np.concatenate(list(pool.map(one, range(trajectories // count))))

    cuts = itertools.product((4096, 16384, trajectories), ("threefry2x32", "rbg"), sorted({1, threads}))
    return [partial(run, *cut) for cut in cuts]


NORMALS, NO_NORMALS = "dfp, its normals alone", "dfp, steps without normals"
# Of a step, where its normals bind it: the rest hides behind them or is a few multiplications.
BOUND = 0.8
CONTENDERS: dict[str, Callable[[int, int, int], list[Run]]] = {
    "dfp, float64": dfp_kernel,
    "NumPy loop, float64": numpy_loop,
    "Numba np.random.normal, float64": numba_loop,
    "PyTorch, float32": pytorch_loop,
    "JAX, float32": jax_loop,
}


def timed(run: Run) -> float:
    """Return the seconds that ``run`` takes, begun when the idle threads of the one before have gone to sleep."""
    time.sleep(0.3)
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def best(runs: list[Run], expected: float, name: str) -> Run:
    """Return the fastest of ``runs``, each warmed up once and checked against E[θ_1²] = ``expected``."""
    for run in runs:
        second = float(np.mean(np.square(run())))
        if not abs(second / expected - 1) < 0.1:
            raise RuntimeError(f"{name} gives E[θ_1²] = {second:.4g} instead of {expected:.4g}")
    return min(runs, key=timed) if len(runs) > 1 else runs[0]


def measure(dimension: int, trajectories: int, steps: int, rounds: int) -> dict[str, float]:
    """Print the table of one case and return the median seconds of each contender."""
    chosen: dict[str, Run] = {}
    for name, make in CONTENDERS.items():
        try:
            runs = make(dimension, trajectories, steps)
        except ImportError:
            print(f"  {name:<34}not installed")
            continue
        chosen[name] = best(runs, stationary_second(dimension), name)
    chosen[NORMALS] = normals_alone(trajectories, steps)
    chosen[NO_NORMALS] = no_normals(dimension, trajectories, steps)
    seconds: dict[str, list[float]] = {name: [] for name in chosen}
    for _ in range(rounds):
        for name, run in chosen.items():
            seconds[name].append(timed(run))
    reference = seconds[next(iter(chosen))]
    print(f"  {'':<34}{'million steps/s':>16}{'dfp is faster by (range over rounds)':>42}")
    for name, times in seconds.items():
        ratios = [other / own for other, own in zip(times, reference, strict=True)]
        rate = trajectories * steps / statistics.median(times) / 1e6
        print(f"  {name:<34}{rate:>16.1f}{statistics.median(ratios):>18.1f}  ({min(ratios):.1f} to {max(ratios):.1f})")
    return {name: statistics.median(times) for name, times in seconds.items()}


def contest(*, quick: bool) -> list[Verdict]:
    """Print W4 and return the verdicts: 20 times plain NumPy, 6 times the faster of PyTorch and JAX, or the limit.

    The limit is what the normals alone would reach, if the rest of a step took no time: four fifths of that will do
    where it is less than the goal. The control sees to it that this says something of the normals: a step without them
    takes less than half as long.
    """
    trajectories, steps, rounds = (2**14, 100, 1) if quick else (2**16, 500, 7)
    numba.set_num_threads(os.cpu_count() or 1)
    verdicts = []
    for dimension, title in _CASES[: 1 if quick else None]:
        print(f"\nW4, {title}; {trajectories} trajectories, {steps} steps, medians of rounds")
        seconds = measure(dimension, trajectories, steps, rounds)
        own, normals = seconds["dfp, float64"], seconds[NORMALS]
        for goal, peers, names in (
            (20.0, "plain NumPy", ("NumPy loop, float64",)),
            (6.0, "PyTorch and JAX", ("PyTorch, float32", "JAX, float32")),
        ):
            other = min((seconds.get(name, float("inf")) for name in names), default=float("inf"))
            limit, what = other / normals, f"W4, {dimension}D: {goal:g}× {peers}"
            if limit < goal:
                what += f", of which normals alone leave {limit:.1f}×: {BOUND} of it"
            verdicts.append(Verdict.at_least(what, other, own, min(goal, BOUND * limit)))
        verdicts.append(
            Verdict.at_least(f"W4, {dimension}D: twice as fast without normals", own, seconds[NO_NORMALS], 2)
        )
    return verdicts


def main() -> None:
    """Run both cases with the options of the command line."""
    parser = argparse.ArgumentParser(description="SGD steps a second, against the usual ways to write the loop.")
    parser.add_argument("--trajectories", type=int, default=2**16, help="a multiple of 16384")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    if options.trajectories % 16384:
        parser.error("--trajectories must be a multiple of 16384")
    numba.set_num_threads(options.threads)
    print(f"{options.trajectories} trajectories, {options.steps} steps, {options.threads} threads, medians of rounds")
    for dimension, title in _CASES:
        print(title)
        measure(dimension, options.trajectories, options.steps, options.rounds)


if __name__ == "__main__":
    main()
