"""Does the cost of a Fourier density grow with the number of steps? ``python -m validation.benchmarks.steps``."""

import statistics
import time

import numpy as np

import dfp

LADDER = (10, 1_000, 100_000, 1_000_000)
REPETITIONS = 15


def landscapes() -> dict[str, tuple[dfp.SGD, dfp.Gaussian, dfp.Grid]]:
    """Return problems whose grid does not depend on the number of steps, so that only the steps differ."""
    flat, rotated = np.array([1e-7]), np.array([[0.6, 0.4], [0.4, 0.6]])
    one = dfp.SGD(dfp.QuadraticLandscape(flat, 0.0, dfp.GaussianNoise(0.3)), 0.1)
    two = dfp.SGD(dfp.QuadraticLandscape(rotated, 0.0, dfp.GaussianNoise(1.0)), 0.1)
    return {
        "1D, 2^16 cells": (one, dfp.Gaussian(0.0, 1.0), dfp.Grid(-500, 500, 2**16)),
        "2D, 512 x 512 cells": (two, dfp.Gaussian([0.0, 0.0], 0.2), dfp.Grid([-6, -6], [6, 6], (512, 512))),
    }


def main() -> None:
    """Print, for each problem, the time of every rung over that of the first, all measured in this run."""
    print(f"Fourier, time relative to {LADDER[0]} steps (medians of {REPETITIONS} interleaved repetitions)")
    print("problem".ljust(22) + "".join(f"{n:>12,}" for n in LADDER))
    for name, (sgd, start, grid) in landscapes().items():
        times: dict[int, list[float]] = {n: [] for n in LADDER}
        for repetition in range(REPETITIONS + 1):
            for n in LADDER:
                began = time.perf_counter()
                dfp.solve(dfp.MasterEquation(sgd), start, n, [n], dfp.Fourier(), grid)
                if repetition:  # the first one warms up
                    times[n].append(time.perf_counter() - began)
        medians = [statistics.median(times[n]) for n in LADDER]
        print(name.ljust(22) + "".join(f"{median / medians[0]:>12.2f}" for median in medians))


if __name__ == "__main__":
    main()
