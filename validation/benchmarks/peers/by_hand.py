"""A careful one-off script in NumPy and SciPy: Fourier derivatives with a dense exponential (1D) or RK4 (2D, 3D)."""

from collections.abc import Sequence

import numpy as np
import scipy
from scipy import fft, linalg, sparse
from scipy.sparse.linalg import splu

from validation.benchmarks.ladder import climb
from validation.benchmarks.workloads import Array, Gridded, Workload


def rungs(workload: Workload) -> Sequence[tuple[int, ...]]:
    """Return (grid points per axis[, time steps])."""
    if np.isinf(workload.time):
        return [(48,), (64,), (128,), (192,), (256,)]
    return {
        1: [(24,), (32,), (48,), (64,), (96,)],
        2: [(24, 14), (24, 18), (28, 20), (32, 25), (48, 64), (64, 300)],
        3: [(24, 14), (24, 18), (28, 20), (32, 25), (48, 64)],
    }[workload.dimension]


def solve(workload: Workload, points: int, steps: int = 0) -> Gridded:
    """Solve on the box, periodic; the stationary law by finite differences and inverse iteration."""
    if np.isinf(workload.time):
        return _stationary(workload, points)
    axes = workload.axes(points, ends=True)
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    start = workload.initial(grid)
    return Gridded(axes, _dense(workload, axes[0], start) if workload.dimension == 1 else _rk4(workload, start, steps))


def _dense(workload: Workload, axis: Array, start: Array) -> Array:
    n = len(axis)
    k = 2 * np.pi * fft.fftfreq(n, axis[1] - axis[0])
    k[n // 2] = 0.0
    first = fft.ifft(1j * k[:, None] * fft.fft(np.eye(n), axis=0), axis=0).real
    matrix = first * (workload.hessian[0, 0] * axis) + workload.diffusion[0, 0] * first @ first
    return linalg.expm(workload.time * matrix) @ start


def _rk4(workload: Workload, p: Array, steps: int) -> Array:
    """Return ``p`` at the end: all derivatives by real FFTs, the products with the drift on the grid."""
    d, n = p.ndim, p.shape[0]
    width = 2 * workload.half_width / n
    axes = [2 * np.pi * fft.fftfreq(n, width)] * (d - 1) + [2 * np.pi * fft.rfftfreq(n, width)]
    k = np.stack(np.meshgrid(*axes, indexing="ij"))
    spread = -np.einsum("i...,ij,j...->...", k, workload.diffusion, k)
    grid = np.stack(np.meshgrid(*workload.axes(n, ends=True), indexing="ij"))
    # Where the periodic drift jumps and no density is, its mean, so that its largest wave number vanishes.
    grid[grid == -workload.half_width] = 0.0
    drift = np.einsum("ij,j...->i...", workload.hessian, grid)
    over = tuple(range(1, d + 1))

    def derivative(p: Array) -> Array:
        flux = fft.rfftn(drift * p, axes=over)
        total = spread * fft.rfftn(p) + (1j * k * flux).sum(axis=0)
        return fft.irfftn(total, s=p.shape)

    h = workload.time / steps
    for _ in range(steps):
        a = derivative(p)
        b = derivative(p + h / 2 * a)
        c = derivative(p + h / 2 * b)
        p = p + h / 6 * (a + 2 * b + 2 * c + derivative(p + h * c))
    return p


def _stationary(workload: Workload, n: int) -> Gridded:
    axis = workload.axes(n)[0]
    h = axis[1] - axis[0]
    one, x = sparse.identity(n, format="csr"), sparse.diags(axis)
    first = sparse.diags([-0.5 / h, 0.5 / h], [-1, 1], shape=(n, n))
    second = sparse.diags([1 / h**2, -2 / h**2, 1 / h**2], [-1, 0, 1], shape=(n, n))
    (a, b), (_, c) = workload.hessian
    q = workload.diffusion
    drift = sparse.kron(first, one) @ (a * sparse.kron(x, one) + b * sparse.kron(one, x))
    drift += sparse.kron(one, first) @ (b * sparse.kron(x, one) + c * sparse.kron(one, x))
    spread = q[0, 0] * sparse.kron(second, one) + q[1, 1] * sparse.kron(one, second)
    matrix = (drift + spread + 2 * q[0, 1] * sparse.kron(first, first)).tocsc()
    factored = splu(matrix - 1e-9 * sparse.identity(n * n, format="csc"))
    p = np.ones(n * n)
    for _ in range(3):
        p = factored.solve(p)
        p /= p.sum() * h**2
    return Gridded([axis, axis], p)


if __name__ == "__main__":
    climb(f"SciPy {scipy.__version__}", rungs, solve)
