"""Climb a contender's ladder of resolutions and print error and time of every rung as JSON, in NumPy alone.

A contender is a module run as ``python -m validation.benchmarks.peers.NAME W1``, perhaps by another interpreter; it
calls ``climb`` with a function that solves one workload at one rung, everything included: mesh, matrices, time stepping.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from validation.benchmarks.workloads import TOLERANCES, WORKLOADS, Sampled, Workload

Solve = Callable[..., Sampled]
REPETITIONS = 3
"""Warm runs at least; more while they are short."""
_SHORT = 0.2


def climb(version: str, rungs: Callable[[Workload], Iterable[tuple[Any, ...]]], solve: Solve) -> None:
    """Print the rows of the workload of the command line.

    Parameters
    ----------
    version
        Of the library, for the record.
    rungs
        Returns, coarse to fine, the arguments of ``solve`` that follow the workload; none if it cannot be solved.
    solve
        Returns the density at the workload's time, solved from scratch.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("workload", choices=sorted(WORKLOADS))
    parser.add_argument("--budget", type=float, default=60.0, help="seconds after which no further rung is begun")
    options = parser.parse_args()
    workload = WORKLOADS[options.workload]
    began = time.perf_counter()
    rows: list[dict[str, Any]] = []
    for rung in rungs(workload):
        if time.perf_counter() - began > options.budget:
            break
        rows.append(measured(workload, solve, rung))
        if rows[-1]["error"] <= min(TOLERANCES):
            break
    print(json.dumps({"version": version, "rows": rows}))


def measured(workload: Workload, solve: Solve, rung: tuple[Any, ...]) -> dict[str, Any]:
    """Return error, seconds of the first run and of the best warm one."""
    begin = time.perf_counter()
    error = workload.error(solve(workload, *rung))
    first = time.perf_counter() - begin
    warm: list[float] = []
    while len(warm) < REPETITIONS or sum(warm) < _SHORT:
        begin = time.perf_counter()
        solve(workload, *rung)
        warm.append(time.perf_counter() - begin)
    # An error that is not a number compares as worse than any tolerance.
    shown = error if np.isfinite(error) else 9.0
    return {"rung": " ".join(map(str, rung)), "error": shown, "first": first, "seconds": min(warm)}
