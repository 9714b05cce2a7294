"""What the machine can do (W6), and how near the explicit stencil of (T5) comes to it."""

import importlib
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from dfp_solvers.jit import kernel
from numpy.typing import NDArray
from scipy import fft

from validation.benchmarks.verdict import Verdict

Array = NDArray[np.float64]
# Least share of the triad's bandwidth for the stencil, counting one read and one write a cell.
_SHARE = 0.7


@kernel(parallel=True)
def _triad(a: Array, b: Array, c: Array) -> None:
    for i in numba.prange(len(a)):
        a[i] = b[i] + 0.5 * c[i]


def best(run: Callable[[], object], repetitions: int = 5) -> float:
    """Return the least seconds of some runs after a first one."""
    run()
    seconds = []
    for _ in range(repetitions):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def limits(*, quick: bool) -> None:
    """Print triad bandwidth, FFT pairs, matrix products and normal deviates."""
    size = 2**20 if quick else 2**25
    a, b, c = (np.ones(size) for _ in range(3))
    print(f"  triad, {size:.1e} numbers         {24 * size / best(lambda: _triad(a, b, c)) / 1e9:10.1f} GB/s")
    for n in (256,) if quick else (256, 512, 1024):
        field = np.ones((n, n))
        pair = best(lambda x=field: fft.irfftn(fft.rfftn(x, workers=2), s=x.shape, workers=2))  # type: ignore[misc]
        print(f"  FFT and inverse, {n:>4} squared       {pair * 1e3:10.2f} ms")
    n = 256 if quick else 2048
    square = np.ones((n, n))
    print(f"  matrix product, {n:>4}              {2 * n**3 / best(lambda: square @ square) / 1e9:10.1f} GFLOP/s")
    rng, draws = np.random.Generator(np.random.SFC64(0)), np.empty(10**5 if quick else 10**7)
    seconds = best(lambda: rng.standard_normal(out=draws))
    print(f"  normal deviates, NumPy SFC64        {draws.size / seconds / 1e6:10.0f} M/s")


def machine(*, quick: bool) -> list[Verdict]:
    """Print W6 and return the verdicts on the stencils."""
    print("\nW6: the machine")
    limits(quick=quick)
    goal = f"explicit stencil of (T5), 2048 squared: {_SHARE:.0%} of triad"
    try:
        stencil: Any = importlib.import_module("validation.benchmarks.stencil")
    except ModuleNotFoundError:
        return [Verdict(goal, "no stencil here", None)]
    cells = 256 if quick else 2048
    triad, own = stencil.measure(2, cells, 2)
    print(f"  stencil, {cells:>4} squared               {own / 16e9:10.2f} Gcell/s, {own / triad:.0%} of triad")
    square = Verdict(goal, f"{own / triad:.0%} at {cells} squared", None if quick else own >= _SHARE * triad)
    return [square, stencil.cube(24, 1)._replace(holds=None) if quick else stencil.cube()]
