"""This package on the workloads: ``python -m validation.benchmarks.ours auto|general W1``.

``auto`` is what users call, ``dfp.solve`` or ``dfp.stationary`` with everything left to it; ``general`` is
``FiniteVolume``, which makes no use of the noise being additive. Both with their certificates.
"""

import sys
from typing import Any

import numpy as np

import dfp
from dfp.results.schema import versions
from validation.benchmarks.ladder import Rungs, Solve, climb
from validation.benchmarks.workloads import Gridded, Workload

_TOLERANCES = (0.05, 2e-2, 1e-2, 5e-3, 2e-3, 1e-3, 5e-4, 2e-4, 1e-4, 1e-5, 1e-6)


def equation(workload: Workload) -> dfp.Langevin:
    """Return the Langevin form (T6) of the workload, made from scratch."""
    landscape = dfp.QuadraticLandscape(workload.hessian, 0.0, dfp.GaussianNoise(workload.noise))
    return dfp.Langevin(dfp.SGD(landscape, workload.rate))


def auto_rungs(_: Workload) -> list[tuple[()]]:
    """Return one rung: nothing is left to choose."""
    return [()]


def auto(workload: Workload) -> Gridded:
    """Return what ``dfp.solve`` or ``dfp.stationary`` gives."""
    problem = equation(workload)
    if np.isinf(workload.time):
        law = dfp.stationary(problem)
        return Gridded(law.grid.axes, law.values)
    return _solved(problem, workload, "auto")


def general_rungs(_: Workload) -> list[tuple[float]]:
    """Return (tolerance of the automatic grid,)."""
    return [(tolerance,) for tolerance in _TOLERANCES]


def general(workload: Workload, tolerance: float) -> Gridded:
    """Return what ``dfp.FiniteVolume`` gives."""
    problem, solver = equation(workload), dfp.FiniteVolume(tolerance=tolerance)
    if np.isinf(workload.time):
        law = dfp.stationary(problem, solver=solver)
        return Gridded(law.grid.axes, law.values)
    return _solved(problem, workload, solver)


def _solved(problem: dfp.Langevin, workload: Workload, solver: Any) -> Gridded:
    start, steps = dfp.Gaussian(workload.mean, workload.covariance), workload.steps
    found, density = dfp.solve(problem, start, steps, [steps], solver).gridded()
    return Gridded(found.axes, density[0])


if __name__ == "__main__":
    methods: dict[str, tuple[Rungs, Solve]] = {"auto": (auto_rungs, auto), "general": (general_rungs, general)}
    climb(versions()["dfp"], *methods[sys.argv[1]], sys.argv[2:])
