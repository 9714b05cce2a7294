"""py-pde: finite differences, SciPy's BDF or RK45 in time; with Numba, adaptive steps, compiled for each object."""

import numpy as np
import pde

from validation.benchmarks.ladder import climb
from validation.benchmarks.workloads import Gridded, Workload

# Where the stationary law is reached to 1e-2.
_LATE = 120.0


def rungs(workload: Workload) -> list[tuple[int, str, float]]:
    """Return (cells per axis, method, tolerance in time)."""
    if workload.name == "W5":
        return [(48, "RK23", 1e-3), (64, "RK23", 1e-3)]
    return {
        1: [(64, "BDF", 1e-4), (128, "BDF", 1e-5), (256, "BDF", 1e-5), (768, "BDF", 1e-7), (256, "numba", 1e-5)],
        2: [(48, "RK45", 1e-4), (64, "RK45", 1e-4), (128, "RK45", 1e-4), (192, "RK45", 1e-5), (64, "numba", 1e-4)],
        3: [(24, "RK45", 1e-3), (32, "RK45", 1e-3), (48, "RK45", 1e-3)],
    }[workload.dimension]


class FokkerPlanck(pde.PDEBase):  # type: ignore[misc]
    """The equation by SciPy's operators: isotropic diffusion by the Laplacian, the rest as a flux."""

    def __init__(self, workload: Workload, points: np.ndarray) -> None:
        super().__init__()
        d = workload.dimension
        self.isotropic = float(np.linalg.eigvalsh(workload.diffusion)[0])
        self.rest = workload.diffusion - self.isotropic * np.eye(d)
        self.drift = np.einsum("ij,...j->i...", workload.hessian, points)

    def evolution_rate(self, state: pde.ScalarField, t: float = 0) -> pde.ScalarField:
        """Return ∂p/∂τ."""
        options = {"bc": {"value": 0}, "backend": "scipy"}
        flux = self.drift * state.data
        if np.any(self.rest):
            flux = flux + np.einsum("ij,j...->i...", self.rest, state.gradient(**options).data)
        divergence = pde.VectorField(state.grid, flux).divergence(**options)
        return divergence + self.isotropic * state.laplace(**options)


def _expression(workload: Workload) -> pde.PDE:
    d, names, h, q = workload.dimension, "xyz", workload.hessian.tolist(), workload.diffusion.tolist()
    terms = [f"d_d{names[i]}(({'+'.join(f'{h[i][j]}*{names[j]}' for j in range(d))})*c)" for i in range(d)]
    terms += [f"{q[i][i]}*d2_d{names[i]}2(c)" for i in range(d)]
    terms += [f"{2 * q[i][j]}*d_d{names[i]}(d_d{names[j]}(c))" for i in range(d) for j in range(i) if q[i][j]]
    return pde.PDE({"c": "+".join(terms)}, bc={"value": 0})


def solve(workload: Workload, cells: int, method: str, tolerance: float) -> Gridded:
    """Set up, compile if asked to, and step to the end."""
    d = workload.dimension
    grid = pde.CartesianGrid([[-workload.half_width, workload.half_width]] * d, [cells] * d)
    axes = list(grid.axes_coords)
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    state, end = pde.ScalarField(grid, workload.initial(points)), min(workload.time, _LATE)
    if method == "numba":
        equation = _expression(workload)
        out = equation.solve(
            state, end, dt=1e-4, solver="runge-kutta", adaptive=True, tolerance=tolerance, tracker=None
        )
    else:
        options = {"method": method, "rtol": tolerance, "atol": tolerance / 10}
        equation = FokkerPlanck(workload, points)
        out = equation.solve(state, end, solver="scipy", backend="numpy", tracker=None, **options)
    return Gridded(axes, out.data)


if __name__ == "__main__":
    climb(pde.__version__, rungs, solve)
