"""Climb a contender's ladder of resolutions; every rung's error and time is printed as a line of JSON. NumPy alone.

A contender is a module run as ``python -m validation.benchmarks.peers.NAME W1``, perhaps by another interpreter; it
calls ``climb`` with a function that solves one workload at one rung, all included: mesh, matrices, time stepping.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from validation.benchmarks.workloads import TOLERANCES, WORKLOADS, Gridded, Sampled, Workload

Rungs = Callable[[Workload], Iterable[tuple[Any, ...]]]
Solve = Callable[..., Sampled | Gridded]
_REPETITIONS = 3
"""Warm runs at least, if the budget allows; more while they are short."""
_SHORT = 0.2


def climb(version: str, rungs: Rungs, solve: Solve, arguments: list[str] | None = None) -> None:
    """Print the rows of the workload of the command line, as soon as each is known.

    Parameters
    ----------
    version
        Of the library, for the record.
    rungs
        Returns, coarse to fine, the arguments of ``solve`` that follow the workload; none if it cannot be solved.
    solve
        Returns the density at the workload's time, solved from scratch.
    arguments
        In place of the command line's.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("workload", choices=sorted(WORKLOADS))
    parser.add_argument("--budget", type=float, default=60.0, help="seconds for all rungs but the first")
    options = parser.parse_args(arguments)
    workload = WORKLOADS[options.workload]
    print(json.dumps({"version": version}), flush=True)
    end = float("inf")
    for rung in rungs(workload):
        row = measured(workload, solve, rung, end)
        print(json.dumps(row), flush=True)
        # The budget begins after the first rung, which pays for imports and compilation.
        end = min(end, time.perf_counter() + options.budget)
        if row["error"] <= min(TOLERANCES) or time.perf_counter() > end:
            break


def measured(workload: Workload, solve: Solve, rung: tuple[Any, ...], end: float) -> dict[str, Any]:
    """Return error, seconds of the first run and of the best warm one; no run but the second begins after ``end``."""
    begin = time.perf_counter()
    error = workload.error(solve(workload, *rung))
    first = time.perf_counter() - begin
    warm: list[float] = []
    while not warm or ((len(warm) < _REPETITIONS or sum(warm) < _SHORT) and time.perf_counter() < end):
        begin = time.perf_counter()
        solve(workload, *rung)
        warm.append(time.perf_counter() - begin)
    # An error that is not a number counts as larger than any tolerance.
    shown = error if np.isfinite(error) else 9.0
    return {"rung": " ".join(map(str, rung)), "error": shown, "first": first, "seconds": min(warm)}
