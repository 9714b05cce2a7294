"""FiPy: finite volumes, exponential convection, implicit Euler."""

from typing import Any

import fipy
import numpy as np

from validation.benchmarks.ladder import climb
from validation.benchmarks.workloads import Sampled, Workload

_GRIDS = {1: fipy.Grid1D, 2: fipy.Grid2D, 3: fipy.Grid3D}


def rungs(workload: Workload) -> list[tuple[int, int]]:
    """Return (cells per axis, time steps)."""
    if np.isinf(workload.time):
        return []
    return {1: [(100, 60), (200, 300), (400, 2000)], 2: [(48, 40), (96, 100)], 3: [(24, 10), (48, 20)]}[
        workload.dimension
    ]


def solve(workload: Workload, cells: int, steps: int) -> Sampled:
    """Step to the end; walls have no flux, as is FiPy's default."""
    d, width = workload.dimension, 2 * workload.half_width / cells
    names = ("x", "y", "z")[:d]
    sizes: dict[str, Any] = {f"n{a}": cells for a in names} | {f"d{a}": width for a in names}
    mesh = _GRIDS[d](**sizes) + [[-workload.half_width]] * d
    points = np.asarray(mesh.cellCenters.value).T
    density = fipy.CellVariable(mesh=mesh, value=workload.initial(points))
    drift = fipy.FaceVariable(mesh=mesh, rank=1, value=workload.hessian @ np.asarray(mesh.faceCenters.value))
    diffusion = workload.diffusion[0, 0] if d == 1 else [workload.diffusion.tolist()]
    equation = fipy.TransientTerm() == fipy.DiffusionTerm(coeff=diffusion) + fipy.ExponentialConvectionTerm(coeff=drift)
    for _ in range(steps):
        equation.solve(var=density, dt=workload.time / steps)
    return Sampled(points, np.asarray(density.value), np.asarray(mesh.cellVolumes))


if __name__ == "__main__":
    climb(fipy.__version__, rungs, solve)
