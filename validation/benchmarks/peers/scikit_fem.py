"""scikit-fem: finite elements of order 1 to 3, Crank–Nicolson with one sparse LU; stationary by inverse iteration."""

from typing import Any

import numpy as np
import skfem
from scipy.sparse.linalg import splu

from validation.benchmarks.ladder import climb
from validation.benchmarks.workloads import Sampled, Workload

_ELEMENTS: dict[tuple[int, int], Any] = {
    (1, 1): skfem.ElementLineP1,
    (1, 2): skfem.ElementLineP2,
    (1, 3): lambda: skfem.ElementLinePp(3),
    (2, 1): skfem.ElementQuad1,
    (2, 2): skfem.ElementQuad2,
    (2, 3): lambda: skfem.ElementQuadP(3),
    (3, 1): skfem.ElementHex1,
    (3, 2): skfem.ElementHex2,
}
_MESHES = {1: skfem.MeshLine, 2: skfem.MeshQuad.init_tensor, 3: skfem.MeshHex.init_tensor}


def rungs(workload: Workload) -> list[tuple[int, int, int]]:
    """Return (cells per axis, order, time steps)."""
    if workload.name == "W5":
        return [(16, 1, 0), (16, 2, 0), (24, 2, 0), (32, 2, 0), (48, 2, 0), (64, 2, 0), (32, 3, 0), (48, 3, 0)]
    return {
        1: [(64, 1, 20), (32, 2, 20), (24, 3, 30), (48, 2, 50), (32, 3, 50), (64, 3, 160), (128, 3, 500)],
        2: [(16, 2, 10), (20, 3, 20), (32, 2, 20), (24, 3, 50), (32, 3, 60), (48, 2, 40), (48, 3, 100), (64, 3, 160)],
        3: [(16, 1, 8), (24, 1, 10), (8, 2, 10), (12, 2, 10)],
    }[workload.dimension]


def solve(workload: Workload, cells: int, order: int, steps: int) -> Sampled:
    """Assemble, step and evaluate at the quadrature points."""
    edges = np.linspace(-workload.half_width, workload.half_width, cells + 1)
    mesh = _MESHES[workload.dimension](*[edges] * workload.dimension)
    basis = skfem.Basis(mesh, _ELEMENTS[workload.dimension, order](), intorder=2 * order + 1)
    hessian, diffusion = workload.hessian, workload.diffusion

    @skfem.BilinearForm
    def transport(u: Any, v: Any, w: Any) -> Any:
        flux = u * np.einsum("ij,j...->i...", hessian, w.x) + np.einsum("ij,j...->i...", diffusion, u.grad)
        return np.einsum("i...,i...->...", flux, v.grad)

    @skfem.BilinearForm
    def mass(u: Any, v: Any, _: Any) -> Any:
        return u * v

    stiffness, weight = transport.assemble(basis).tocsc(), mass.assemble(basis).tocsc()
    where = np.moveaxis(np.asarray(basis.global_coordinates()), 0, -1)
    if np.isinf(workload.time):
        p = np.ones(stiffness.shape[0])
        factored = splu(stiffness + 1e-9 * weight)
        for _ in range(3):
            p = factored.solve(weight @ p)
            p /= np.abs(p).max()
        p /= (weight @ p).sum()
    else:
        load = skfem.LinearForm(lambda v, w: workload.initial(np.moveaxis(w.x, 0, -1)) * v).assemble(basis)
        p = splu(weight).solve(load)
        half = workload.time / steps / 2
        factored, right = splu(weight + half * stiffness), (weight - half * stiffness).tocsr()
        for _ in range(steps):
            p = factored.solve(right @ p)
    values = np.asarray(basis.interpolate(p))
    return Sampled(where.reshape(-1, workload.dimension), values.ravel(), basis.dx.ravel())


if __name__ == "__main__":
    climb(skfem.__version__, rungs, solve)
