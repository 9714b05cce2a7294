"""pychangcooper: Chang and Cooper's scheme, implicit Euler, in 1D on its logarithmic grid starting at 1."""

from importlib.metadata import version

import numpy as np
import pychangcooper

from validation.benchmarks.ladder import climb
from validation.benchmarks.workloads import Sampled, Workload

# The grid begins at 1, so the box is moved there; far to the right a logarithmic grid is nearly uniform.
_SHIFT = 8.0


def rungs(workload: Workload) -> list[tuple[int, int]]:
    """Return (grid points, time steps)."""
    return [(200, 100), (400, 400), (800, 1000), (1600, 4000)] if workload.name == "W1" else []


def solve(workload: Workload, points: int, steps: int) -> Sampled:
    """Step to the end on a grid from −half_width."""
    offset = _SHIFT + workload.half_width
    top = (_SHIFT + 2 * workload.half_width) / _SHIFT

    class Problem(pychangcooper.ChangCooper):  # type: ignore[misc]
        def _define_terms(self) -> None:
            # The grid starts at 1: θ = _SHIFT x − offset
            half = _SHIFT * np.append(self._half_grid, self._grid[-1]) - offset
            self._heating_term = workload.hessian[0, 0] * half / _SHIFT
            self._dispersion_term = np.full(points, workload.diffusion[0, 0] / _SHIFT**2)

    grid = top ** (np.arange(points) / points)
    start = workload.initial((_SHIFT * grid - offset)[:, None])
    problem = Problem(points, top, workload.time / steps, start, False)
    for _ in range(steps):
        problem.solve_time_step()
    theta = _SHIFT * problem.grid - offset
    return Sampled(theta[:, None], np.asarray(problem.n), np.gradient(theta))


if __name__ == "__main__":
    climb(version("pychangcooper"), rungs, solve)
