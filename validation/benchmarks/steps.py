"""Costs of our own: does it grow with the number of steps, what does a step of ``Transfer`` take, what checks add?"""

import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

import dfp
from dfp.methods.solver import Problem
from validation.benchmarks import ours
from validation.benchmarks.machine import best
from validation.benchmarks.verdict import Verdict
from validation.benchmarks.workloads import WORKLOADS

LADDER = (10, 1_000, 100_000, 1_000_000)
_REPETITIONS = 15

Run = Callable[[int], object]


def _fourier(hessian: ArrayLike, noise: ArrayLike, start: dfp.Gaussian, grid: dfp.Grid) -> Run:
    """Return what solves the master equation, additive noise, to a given step on a grid that serves every step."""
    equation = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape(hessian, 0.0, dfp.GaussianNoise(noise)), 0.1))
    return lambda steps: dfp.solve(equation, start, steps, [steps], dfp.Fourier(), grid)


def problems(cells: int) -> dict[str, Run]:
    """Return problems whose grid does not depend on the number of steps, so that only the steps differ."""
    plane, solid = np.array([[0.6, 0.4], [0.4, 0.6]]), np.diag([1.0, 0.5, 0.3])
    flat, wide = dfp.Gaussian(0.0, 1.0), dfp.Grid(-500, 500, 2**16)
    square, cube = dfp.Grid([-6, -6], [6, 6], 4 * cells), dfp.Grid([-2.5] * 3, [2.5] * 3, cells)
    return {
        "1D, 2^16 cells": _fourier([1e-7], 0.3, flat, wide),
        f"2D, {4 * cells} squared": _fourier(plane, 1.0, dfp.Gaussian([0.0, 0.0], 0.2), square),
        f"3D, {cells} cubed": _fourier(solid, np.ones(3), dfp.Gaussian([0.1, 0.0, 0.0], 0.2), cube),
    }


def against_steps(*, quick: bool) -> list[Verdict]:
    """Print, for each problem, the time of every rung over that of the first, and return the verdicts."""
    print(f"\nFourier, time relative to {LADDER[0]} steps (medians of interleaved repetitions)")
    print("  problem".ljust(22) + f"{'seconds':>10}" + "".join(f"{n:>12,}" for n in LADDER))
    verdicts = []
    for name, run in problems(32 if quick else 128).items():
        times: dict[int, list[float]] = {n: [] for n in LADDER}
        for repetition in range((2 if quick else _REPETITIONS) + 1):
            for n in LADDER:
                began = time.perf_counter()
                run(n)
                if repetition:  # the first one warms up
                    times[n].append(time.perf_counter() - began)
        medians = [statistics.median(times[n]) for n in LADDER]
        ratios = [median / medians[0] for median in medians]
        print(f"  {name}".ljust(22) + f"{medians[0]:>10.2g}" + "".join(f"{ratio:>12.2f}" for ratio in ratios))
        verdicts.append(Verdict.at_most(f"Fourier, {name}: 10⁶ steps at most 1.5 times 10 steps", ratios[-1], 1.5, ""))
        if name.startswith("3D"):
            goal = f"Fourier, {name}: within 2 s whatever the number of steps"
            verdicts.append(Verdict.at_most(goal, max(medians), 2.0, "s"))
    return verdicts


def transfer(*, quick: bool) -> list[Verdict]:
    """Return the verdict on a step of ``Transfer`` in 2D, noise that depends on θ, on a grid like its automatic one.

    The learning rate is such that this grid has 256² cells, give or take a tenth; cells finer than the kernel asks for
    cost more, as the square of the cells it spans. What a run costs at its start and end is subtracted.
    """
    noise = dfp.GaussianNoise([[0.5, 0.2], [0.2, 0.4]], [[0.2, 0.1], [0.1, 0.2]])
    rate, cells, more = (0.4, 112, 4) if quick else (0.058, 256, 20)
    equation = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape([[0.6, 0.4], [0.4, 0.6]], 0.0, noise), rate))
    start, solver = dfp.Gaussian([0.0, 0.0], 0.05), dfp.Transfer()
    found = solver.start(Problem.of(equation, start, np.arange(2 + more))).grid
    grid = dfp.Grid(found.lower, found.upper, cells)

    def run(steps: int) -> object:
        return dfp.solve(equation, start, steps, [steps], solver, grid)

    seconds = (best(lambda: run(1 + more), 5) - best(lambda: run(1), 5)) / more
    shown = " x ".join(str(n) for n in found.cells)
    goal = f"Transfer, 2D, {cells} squared ({shown} would be automatic), Γ > 0: a step within 20 ms"
    return [Verdict.at_most(goal, seconds * 1e3, 20.0, "ms")]


def overhead(*, quick: bool) -> list[Verdict]:
    """Print what ``dfp.solve`` adds to the solver's own work, certificate included, and return the verdict."""
    print("\nWhat dfp.solve adds to the solver (grid, exact moments, checks, certificate); ms")
    verdicts = []
    for name in ("W1", "W2"):
        workload = WORKLOADS[name]
        equation, start = ours.equation(workload), dfp.Gaussian(workload.mean, workload.covariance)
        solver, steps = dfp.Fourier(), workload.steps
        grid = dfp.solve(equation, start, steps, [steps]).gridded()[0]

        problem = Problem.of(equation, start, np.array([steps]))

        def bare() -> object:
            run = solver.start(problem, grid)  # noqa: B023
            run.advance(steps)  # noqa: B023
            return run.frame()

        repetitions = 20 if quick else 300
        whole = best(lambda: dfp.solve(equation, start, steps, [steps]), repetitions)  # noqa: B023
        own = best(bare, repetitions)
        print(f"  {name}{whole * 1e3:>10.3f} in all{own * 1e3:>10.3f} in the solver")
        goal = f"{name}: dfp.solve adds at most 0.5 ms"
        verdicts.append(Verdict.at_most(goal, (whole - own) * 1e3, 0.5, "ms"))
    return verdicts


def costs(*, quick: bool) -> list[Verdict]:
    """Print all tables of this file and return the verdicts."""
    return [*against_steps(quick=quick), *transfer(quick=quick), *overhead(quick=quick)]
