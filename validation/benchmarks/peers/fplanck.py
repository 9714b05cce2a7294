"""fplanck: a Markov chain on a grid, sparse matrix exponential; diagonal diffusion only, so 2D turns into C's basis."""

from importlib.metadata import version

import numpy as np
from fplanck.solver import FokkerPlanck
from scipy import constants

from validation.benchmarks.ladder import climb
from validation.benchmarks.workloads import Gridded, Sampled, Workload


def rungs(workload: Workload) -> list[tuple[int]]:
    """Return (cells per axis,)."""
    if workload.name == "W5":
        return [(32,), (48,), (64,), (128,)]
    return {1: [(64,), (128,), (256,), (512,), (1024,)], 2: [(32,), (64,), (128,), (192,)], 3: [(24,), (32,), (48,)]}[
        workload.dimension
    ]


def solve(workload: Workload, cells: int) -> Sampled:
    """Build the chain, in coordinates in which the diffusion is diagonal, and propagate."""
    values, vectors = np.linalg.eigh(workload.diffusion)
    hessian = vectors.T @ workload.hessian @ vectors
    d, width = workload.dimension, 2 * workload.half_width / cells

    def force(*y: np.ndarray) -> np.ndarray:
        return -np.einsum("ij,j...->i...", hessian, np.array(y))

    problem = FokkerPlanck(
        temperature=values / constants.k,
        drag=1.0 if d == 1 else [1.0] * d,
        extent=[width * cells - 1e-9] * d,
        resolution=[width] * d,
        force=force,
    )
    if np.isinf(workload.time):
        probability = problem.steady_state()
    else:

        def start(*y: np.ndarray) -> np.ndarray:
            return workload.initial(np.stack(y, axis=-1) @ vectors.T)

        probability = problem.propagate(start, workload.time)
    result = Gridded(problem.axes, probability / width**d).sampled()
    return result._replace(points=result.points @ vectors.T)


if __name__ == "__main__":
    climb(version("fplanck"), rungs, solve)
