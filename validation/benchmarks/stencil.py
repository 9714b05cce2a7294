"""How near memory's speed do the stencils of (T5) step? ``python -m validation.benchmarks.stencil [--cells N]``.

Counted is one read and one write of the density a step, 16 bytes a cell, whatever the caches move; the triad
a = b + s c on arrays too large for them counts its 24 bytes likewise. Both run in turns, so that a slow spell of the
machine meets both; the ratio is of medians. Coefficients are full: every drift and moment depends on all of θ.

In three dimensions the arithmetic of nineteen weights that are polynomials, 57 multiplications with additions a cell,
takes longer than memory: the bound is what the machine takes for as many on numbers in its nearest cache.
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

from validation.benchmarks.verdict import Verdict, report

Array = NDArray[np.float64]
_TRIAD = 2**25
_STEPS = 24
# Cells per axis in three dimensions, as many as an internal grid may have, and the least share of the bound there.
_CUBE, _SHARE = 96, 0.4


@kernel(parallel=True)
def _triad(a: Array, b: Array, c: Array, s: float) -> None:
    for i in numba.prange(len(a)):
        a[i] = b[i] + s * c[i]


@kernel(fast=True)
def _three(z: float, s: float) -> float:
    return 0.1 + z * (0.2 + z * (0.3 + z * s))


@kernel(fast=True)
def _nineteen(z: float, s: float) -> float:
    s = _three(z, _three(z, _three(z, s + z * 0.1)))
    return _three(z, _three(z, _three(z, s)))


@kernel(parallel=True, fast=True)
def _multiply_adds(values: Array, rounds: int) -> None:
    """Spend 57 multiplications with additions ``rounds`` times on each number of each row, one row a thread."""
    for row in numba.prange(len(values)):
        for _ in range(rounds):
            for x in range(values.shape[1]):
                z = values[row, x]
                values[row, x] = 0.1 * (_nineteen(z, 0.1) + _nineteen(z, 0.2) + _nineteen(z, 0.3))


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


def cube(cells: int = _CUBE, rounds: int = 7) -> Verdict:
    """Return the verdict on three dimensions: the share of what arithmetic and memory allow, whichever binds."""
    triad, own = measure(3, cells, 2, rounds)
    rows = np.full((numba.get_num_threads(), 1024), 0.1)
    turns = cells**3 // rows.size
    _multiply_adds(rows, 1)
    seconds = statistics.median(timed(lambda: _multiply_adds(rows, turns)) for _ in range(rounds))
    taken, arithmetic, memory = (1e9 * x for x in (16 / own, seconds / (turns * rows.size), 16 / triad))
    bound = max(arithmetic, memory)
    return Verdict(
        f"stencil of (T5), {cells} cubed: {_SHARE:.0%} of what arithmetic and memory allow",
        f"{bound / taken:.0%}: {taken:.2f} ns a cell; arithmetic {arithmetic:.2f}, memory {memory:.2f}",
        bound >= _SHARE * taken,
    )


def main() -> None:
    """Print cells per second, bandwidth and ratio for some grids."""
    parser = argparse.ArgumentParser(description="Stencils of (T5) against the memory's triad bandwidth.")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--cells", type=int, default=2048, help="per axis in two dimensions")
    options = parser.parse_args()
    numba.set_num_threads(options.threads)
    print(f"{options.threads} threads, 16 bytes a cell and step")
    print(f"{'grid':>14}{'order':>7}{'Gcell/s':>10}{'GB/s':>8}{'triad GB/s':>12}{'ratio':>8}")
    for d, cells, order in ((2, options.cells, 2), (2, options.cells, 4), (3, _CUBE, 4)):
        triad, own = measure(d, cells, order)
        label = "x".join([str(cells)] * d)
        print(f"{label:>14}{order:>7}{own / 16e9:>10.2f}{own / 1e9:>8.1f}{triad / 1e9:>12.1f}{own / triad:>8.0%}")
    report([cube()])


if __name__ == "__main__":
    main()
