"""How near memory's speed do the stencils of (T5) step? ``python -m validation.benchmarks.stencil [--cells N]``.

Counted is one read and one write of the density a step, 16 bytes a cell, whatever the caches move; the triad
a = b + s c on arrays too large for them counts its 24 bytes likewise. Both run in turns, so that a slow spell of the
machine meets both; the ratio is of medians. Coefficients are full: every drift and moment depends on all of θ.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

import numba
import numpy as np
from dfp_solvers import finite_difference
from dfp_solvers.jit import kernel
from numpy.typing import NDArray

Array = NDArray[np.float64]
_TRIAD = 2**25
_STEPS = 24


@kernel(parallel=True)
def _triad(a: Array, b: Array, c: Array, s: float) -> None:
    for i in numba.prange(len(a)):
        a[i] = b[i] + s * c[i]


def stencil(d: int, cells: int, order: int) -> finite_difference.Stencil:
    """Return a stable stencil with every coefficient different from zero."""
    rng = np.random.default_rng(0)
    drift = rng.uniform(0.5, 1.0, (d, d + 1)) * 0.1 / cells
    second = drift[:, None, :, None] * drift[None, :, None, :]
    second[:, :, 0, 0] += 0.02 + 0.1 * np.eye(d)
    return finite_difference.Stencil(drift, second, order)


def timed(run: Callable[[], object]) -> float:
    """Return the seconds that ``run`` takes."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def measure(d: int, cells: int, order: int, rounds: int = 7) -> tuple[float, float]:
    """Return the bandwidths [bytes/s] of the triad and of the stencil of ``order`` on ``cells`` per axis, medians."""
    a, b, c = (np.ones(_TRIAD) for _ in range(3))
    step = stencil(d, cells, order)
    values = np.full((cells,) * d, 1.0 / cells**d)
    few, many = [], []
    triads = []
    for turn in range(rounds + 1):
        triad = timed(lambda: _triad(a, b, c, 0.5))
        # Copies in and out of the padded array are not steps: the difference of two runs has none.
        short = timed(lambda: finite_difference.march(values, step, 4))
        long = timed(lambda: finite_difference.march(values, step, 4 + _STEPS))
        if turn:
            triads.append(24 * _TRIAD / triad)
            few.append(short)
            many.append(long)
    seconds = (statistics.median(many) - statistics.median(few)) / _STEPS
    return statistics.median(triads), 16 * cells**d / seconds


def main() -> None:
    """Print cells per second, bandwidth and ratio for some grids."""
    parser = argparse.ArgumentParser(description="Stencils of (T5) against the memory's triad bandwidth.")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--cells", type=int, default=2048, help="per axis in two dimensions")
    options = parser.parse_args()
    numba.set_num_threads(options.threads)
    print(f"{options.threads} threads, 16 bytes a cell and step")
    print(f"{'grid':>14}{'order':>7}{'Gcell/s':>10}{'GB/s':>8}{'triad GB/s':>12}{'ratio':>8}")
    for d, cells, order in ((2, options.cells, 2), (2, options.cells, 4), (3, 128, 2)):
        triad, own = measure(d, cells, order)
        label = "x".join([str(cells)] * d)
        print(f"{label:>14}{order:>7}{own / 16e9:>10.2f}{own / 1e9:>8.1f}{triad / 1e9:>12.1f}{own / triad:>8.0%}")


if __name__ == "__main__":
    main()
