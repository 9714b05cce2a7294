"""Dedalus 3: Chebyshev polynomials in 1D, Fourier series in 2D and 3D, RK443; one thread is its best here."""

import logging

import numpy as np

logging.disable(logging.WARNING)

import dedalus.public as d3  # noqa: E402
from dedalus import __version__  # noqa: E402

from validation.benchmarks.ladder import climb  # noqa: E402
from validation.benchmarks.workloads import Sampled, Workload  # noqa: E402


def rungs(workload: Workload) -> list[tuple[int, int]]:
    """Return (modes per axis, time steps)."""
    if np.isinf(workload.time):
        return []
    return {
        1: [(48, 8), (48, 12), (64, 16), (64, 25), (64, 50), (96, 100), (96, 400)],
        2: [(24, 18), (28, 22), (28, 28), (32, 32), (48, 70), (64, 120)],
        3: [(24, 18), (28, 24), (32, 32)],
    }[workload.dimension]


def solve(workload: Workload, modes: int, steps: int) -> Sampled:
    """Build the problem with diffusion implicit and, but for 1D, drift explicit; step to the end."""
    d, bounds = workload.dimension, (-workload.half_width, workload.half_width)
    coordinates = d3.CartesianCoordinates(*"xyz"[:d])
    distributor = d3.Distributor(coordinates, dtype=np.float64)
    kind = d3.ChebyshevT if d == 1 else d3.RealFourier
    bases = [kind(coordinates[a], size=modes, bounds=bounds, dealias=1) for a in "xyz"[:d]]
    grids = np.broadcast_arrays(*distributor.local_grids(*bases))
    points = np.stack([np.asarray(g) for g in grids], axis=-1)
    p = distributor.Field(name="p", bases=bases)
    p["g"] = workload.initial(points)
    solver = (_line if d == 1 else _box)(workload, distributor, coordinates, bases, p, points)
    for _ in range(steps):
        solver.step(workload.time / steps)
    p.change_scales(1)
    if d == 1:  # Fejér's weights of the Chebyshev grid
        angles = np.pi * (np.arange(modes) + 0.5) / modes
        even = np.arange(1, modes // 2 + 1)
        weights = 2 / modes * (1 - 2 * (np.cos(2 * np.outer(angles, even)) / (4 * even**2 - 1)).sum(axis=1))
        weights = weights * workload.half_width
    else:
        weights = np.full(points.shape[:-1], (2 * workload.half_width / modes) ** d)
    return Sampled(points.reshape(-1, d), np.asarray(p["g"]).ravel(), weights.ravel())


def _line(workload, distributor, coordinates, bases, p, points):  # type: ignore[no-untyped-def]
    x = distributor.Field(name="x", bases=bases)
    x["g"] = points[..., 0]
    h, q = float(workload.hessian[0, 0]), float(workload.diffusion[0, 0])
    tau_1, tau_2 = distributor.Field(name="tau_1"), distributor.Field(name="tau_2")
    names = {"p": p, "x": x, "h": h, "q": q, "tau_1": tau_1, "tau_2": tau_2, "end": workload.half_width}
    names["dx"] = lambda f: d3.Differentiate(f, coordinates["x"])
    lifted = bases[0].derivative_basis(1)
    names["lift"] = lambda f: d3.Lift(f, lifted, -1)
    names["flux"] = h * x * p + q * (names["dx"](p) + names["lift"](tau_1))
    problem = d3.IVP([p, tau_1, tau_2], namespace=names)
    problem.add_equation("dt(p) - dx(flux) + lift(tau_2) = 0")
    problem.add_equation("p(x=-end) = 0")
    problem.add_equation("p(x=end) = 0")
    return problem.build_solver(d3.RK443)


def _box(workload, distributor, coordinates, bases, p, points):  # type: ignore[no-untyped-def]
    d, q = workload.dimension, workload.diffusion
    names = {"p": p}
    # Where the periodic drift jumps and no density is, its mean: Dedalus drops the largest wave number.
    points = np.where(points == -workload.half_width, 0.0, points)
    explicit, implicit = [], []
    for i, a in enumerate("xyz"[:d]):
        field = distributor.Field(name=f"f{a}", bases=bases)
        field["g"] = points @ workload.hessian[i]
        names[f"f{a}"] = field
        names[f"d{a}"] = lambda f, a=a: d3.Differentiate(f, coordinates[a])
        explicit.append(f"d{a}(f{a}*p)")
        implicit += [f"{float(q[i, j])}*d{a}(d{b}(p))" for j, b in enumerate("xyz"[:d]) if q[i, j]]
    problem = d3.IVP([p], namespace=names)
    problem.add_equation(f"dt(p) - ({' + '.join(implicit)}) = {' + '.join(explicit)}")
    return problem.build_solver(d3.RK443)


if __name__ == "__main__":
    climb(__version__, rungs, solve)
