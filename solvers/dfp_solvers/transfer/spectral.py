"""The master equation (T4) by spectral transfer (T22): grids that resolve the density, whatever the kernel's width.

The characteristic function of one step, φ(k|θ) = E e^{ik·θ'}, is known for every noise law here, so that
φ_{n+1}(k) = Σ_θ P_n(θ) φ(k|θ) ΔV at the waves of the next box; the sum over a uniform grid is exact to the spectrum
of P beyond its waves. A box moves with the density: places are θ = centre + axes·u with u on a uniform lattice.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from scipy import fft, linalg
from scipy.sparse.linalg import LinearOperator, eigs

from dfp_solvers.arrays import Array, Complex
from dfp_solvers.jit import kernel

_BLOCK = 32  # sources whose characteristic functions are held at once, in cache
_SLOWEST = 0.9  # ratio of neighbouring pairs of waves by which spectra are continued at most
_FLATTEST = 0.75  # the same of nodes and tails: flatter is what has wrapped around from a tail at the other end
_NOTHING = 1e-150  # sums whose squares are no numbers any more
_NEGLIGIBLE = 1e-14  # mass that may be left out of a sum over places
_FADING = 12  # power of an exponential filter
_CONTINUED = 100  # terms of such a continuation
_TRIED, _RESTARTS, _FOUND = 12, 100, 1e-11  # directions in which a fixed point is sought at once, how often, to what
_SHARED = 8  # blocks after which threads wait for each other


class Box(NamedTuple):
    """A lattice u = lower + (j + ½) spacing of odd size along d axes, at the places θ = centre + axes·u."""

    centre: Array
    axes: Array
    lower: Array
    spacing: Array
    cells: tuple[int, ...]

    @property
    def lattice(self) -> list[Array]:
        """Coordinates u of the nodes along each axis."""
        return [a + (np.arange(n) + 0.5) * h for a, h, n in zip(self.lower, self.spacing, self.cells, strict=True)]

    @property
    def places(self) -> Array:
        """Places θ of all nodes, shape (N, d)."""
        nodes = np.stack(np.meshgrid(*self.lattice, indexing="ij"), axis=-1)
        return self.centre + nodes.reshape(-1, len(self.cells)) @ self.axes.T

    @property
    def upper(self) -> Array:
        """Upper ends of the lattice in u."""
        return np.asarray(self.lower + self.spacing * np.array(self.cells))

    @property
    def waves(self) -> list[Array]:
        """Wave numbers in u along each axis, in the order of the transform; none negative along the last."""
        pairs = list(zip(self.cells, self.spacing, strict=True))
        axes = [2 * np.pi * fft.fftfreq(n, h) for n, h in pairs[:-1]]
        return [*axes, 2 * np.pi * fft.rfftfreq(pairs[-1][0], pairs[-1][1])]

    @property
    def cell_volume(self) -> float:
        """Volume of a cell in θ."""
        return float(np.prod(self.spacing) * abs(np.linalg.det(self.axes)))

    def inside(self, theta: Array) -> Array:
        """Return coordinates u of places (M, d)."""
        return np.linalg.solve(self.axes, (theta - self.centre).T).T


Characteristic = Callable[[Array, Box], Complex]
"""φ(k|θ) at places (n, d) and the waves k of the box in its coordinates u, shape (n, *waves)."""


def phases(mean: Array, waves: list[Array]) -> Complex:
    """Return e^{ik·mean} for means (n, d) in u at the tensor grid of ``waves``, shape (n, *waves)."""
    result: Complex = np.exp(1j * np.multiply.outer(mean[:, 0], waves[0]))
    for axis, wave in enumerate(waves[1:], start=1):
        along = np.exp(1j * np.multiply.outer(mean[:, axis], wave))
        result = result[..., None] * along.reshape(len(mean), *[1] * axis, -1)
    return result


def steps_of(waves: Array) -> Array | None:
    """Return the vectors (d, d) of which wave vectors (..., d) are multiples 0, 1, … −1, the last 0, 1, …; or None."""
    d = waves.shape[-1]
    if waves.ndim != d + 1 or min(waves.shape[:-1]) < 2 or any(n % 2 == 0 for n in waves.shape[: d - 1]):
        return None
    steps = np.array([waves[tuple(int(i == axis) for i in range(d))] for axis in range(d)])
    return steps if np.max(np.abs(waves - counts_of(waves) @ steps)) <= 1e-12 * np.max(np.abs(waves)) else None


def counts_of(waves: Array) -> Array:
    """Return the numbers of steps (..., d) to every wave vector (..., d) of a box."""
    *others, last = waves.shape[:-1]
    counts = [*(fft.fftfreq(n, 1 / n) for n in others), np.arange(last, dtype=float)]
    return np.stack(np.meshgrid(*counts, indexing="ij"), axis=-1)


def finite_sum(places: Array, slopes: Array, shifts: Array, batch: int, shape: tuple[int, int]) -> Complex:
    """Return [(1/N) Σ_i e^{i(j_1 a_i1 + j_2 a_i2)}]^batch, a_i = slopes_i θ + shifts_i, for the waves of a box.

    Parameters
    ----------
    places
        θ, shape (n, 2).
    slopes, shifts
        Shapes (N, 2, 2) and (N, 2).
    shape
        How many j_1, in the order of the transform, and j_2 = 0, 1, …

    Notes
    -----
    Along tensor waves the mean over samples is a product of two real matrices, whatever ``batch`` is.
    """
    return _finite_sum(np.ascontiguousarray(places), slopes, shifts, batch, shape[0] // 2 + 1, shape[1])


@kernel(fast=True)
def _turns(angles: Array, table: Array) -> None:
    """Write cosines and sines of 0, 1, … times the ``angles`` (N,) into ``table`` (2 waves, N)."""
    waves = len(table) // 2
    c, s = np.cos(angles), np.sin(angles)
    table[0], table[waves] = 1.0, 0.0
    for j in range(1, waves):
        for i in range(len(angles)):
            x, y = table[j - 1, i], table[waves + j - 1, i]
            table[j, i], table[waves + j, i] = x * c[i] - y * s[i], x * s[i] + y * c[i]


@kernel(fast=True)
def _product(left: Array, right: Array) -> Array:
    """Return the means over samples, shape (2 waves, 2 waves), four rows by two columns at a time.

    A library's product has threads of its own, and those of the caller would wait for each other.
    """
    out, count, end = np.empty((len(left), len(right))), left.shape[1], len(left) - 2
    for i in range(0, len(left), 4):
        k = min(i + 2, end)  # the last two rows once more where there are no four
        a, b, c, d = left[i], left[i + 1], left[k], left[k + 1]
        for j in range(0, len(right), 2):
            x, y = right[j], right[j + 1]
            ax, ay, bx, by, cx, cy, dx, dy = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for n in range(count):
                ax += a[n] * x[n]
                ay += a[n] * y[n]
                bx += b[n] * x[n]
                by += b[n] * y[n]
                cx += c[n] * x[n]
                cy += c[n] * y[n]
                dx += d[n] * x[n]
                dy += d[n] * y[n]
            out[i, j], out[i, j + 1] = ax / count, ay / count
            out[i + 1, j], out[i + 1, j + 1] = bx / count, by / count
            out[k, j], out[k, j + 1] = cx / count, cy / count
            out[k + 1, j], out[k + 1, j + 1] = dx / count, dy / count
    return out


@kernel(parallel=True, fast=True)
def _finite_sum(places: Array, slopes: Array, shifts: Array, batch: int, half: int, last: int) -> Complex:
    count, rows = len(shifts), 2 * half - 1
    out = np.empty((len(places), rows, last), np.complex128)
    for n in numba.prange(len(places)):
        left, right = np.empty((2 * half, count)), np.empty((2 * last, count))
        _turns(slopes[:, 0, 0] * places[n, 0] + slopes[:, 0, 1] * places[n, 1] + shifts[:, 0], left)
        _turns(slopes[:, 1, 0] * places[n, 0] + slopes[:, 1, 1] * places[n, 1] + shifts[:, 1], right)
        # Rows and columns: cosines, then sines.
        product = _product(left, right)
        real, imaginary = np.empty((rows, last)), np.empty((rows, last))
        for i in range(half):
            for j in range(last):
                cc, ss = product[i, j], product[half + i, last + j]
                cs, sc = product[i, last + j], product[half + i, j]
                real[i, j], imaginary[i, j] = cc - ss, cs + sc
                if i > 0:
                    real[rows - i, j], imaginary[rows - i, j] = cc + ss, cs - sc
        _raise(real.ravel(), imaginary.ravel(), batch, out[n].reshape(-1))
    return out


@kernel(fast=True)
def _raise(x: Array, y: Array, exponent: int, out: Complex) -> None:
    """Set ``out`` to (x + iy)^exponent, by squares of ``x`` and ``y``, which are lost."""
    a, b = np.ones(len(x)), np.zeros(len(x))
    while exponent > 0:
        odd = exponent & 1
        for i in range(len(x)):
            if odd:
                a[i], b[i] = a[i] * x[i] - b[i] * y[i], a[i] * y[i] + b[i] * x[i]
            x[i], y[i] = x[i] * x[i] - y[i] * y[i], 2 * x[i] * y[i]
        exponent >>= 1
    for i in range(len(x)):
        out[i] = complex(a[i], b[i])


def transition(target: Box, sources: Array, characteristic: Characteristic, seen: Any) -> Array:
    """Return the masses that one step from ``sources`` (N, d) brings to the nodes: a matrix (N, nodes).

    Parameters
    ----------
    seen
        Waves of the target that the sources resolve (see ``resolved``), an array of 0 and 1; 1.0 for all.
    """
    result = np.empty((len(sources), int(np.prod(target.cells))))
    # A few hundred sums along each axis: products of matrices, which cost less than transforms of odd lengths.
    first, last = target.waves[0], target.waves[-1]
    turn = np.exp(-1j * np.outer(target.lattice[0], first)) if len(target.cells) == 2 else None
    weights = np.where(last > 0, 2.0, 1.0)[:, None] / result.shape[1]
    ends = np.conj(weights * np.exp(-1j * np.outer(last, target.lattice[-1])))
    ends = np.stack([ends.real, ends.imag], axis=1).reshape(2 * last.size, -1)
    block = _SHARED * _BLOCK
    for begin in range(0, len(sources), block):
        phi = characteristic(sources[begin : begin + block], target) * seen
        phi = np.ascontiguousarray(phi if turn is None else turn @ phi)
        moved = phi.view(np.float64).reshape(-1, 2 * last.size) @ ends
        result[begin : begin + block] = moved.reshape(len(phi), -1)
    return result


def spectrum(target: Box, sources: Array, masses: Array, characteristic: Characteristic, seen: Any) -> Complex:
    """Return φ after one step from masses (N,) at ``sources`` (N, d), at the waves of the box."""
    shape = tuple(wave.size for wave in target.waves)
    total = np.zeros(int(np.prod(shape)), np.complex128)
    block = _SHARED * _BLOCK if len(shape) < 3 else 4
    rising = np.argsort(np.abs(masses))
    counted = np.sort(rising[np.cumsum(np.abs(masses[rising])) > _NEGLIGIBLE])
    sources, masses = sources[counted], masses[counted]
    for begin in range(0, len(sources), block):
        some = characteristic(sources[begin : begin + block], target)
        total += masses[begin : begin + block] @ some.reshape(len(some), -1)
    return total.reshape(shape) * seen


def masses(box: Box, phi: Complex) -> Array:
    """Return masses of the nodes, flat, from φ at the waves of the box."""
    return np.asarray(fft.irfftn(np.conj(phi * _offset(box)), s=box.cells)).ravel()


def waves_of(box: Box, mass: Array) -> Complex:
    """Return φ at the waves of the box from the masses of its nodes."""
    result: Complex = np.conj(fft.rfftn(mass.reshape(box.cells))) * np.conj(_offset(box))
    return result


def smoothed(box: Box, mass: Array) -> Array:
    """Return masses without what is in the last waves, which fade out: what is in the others stays to rounding.

    A law with details finer than the box would else ripple as far as its ends. Steps damp details, and moments do not
    know of them: the filter is one at small waves.
    """
    phi = waves_of(box, mass)
    for axis, (wave, spacing) in enumerate(zip(box.waves, box.spacing, strict=True)):
        fading = np.exp(-36 * (np.abs(wave) * spacing / np.pi) ** _FADING)
        phi = phi * fading.reshape([-1 if i == axis else 1 for i in range(phi.ndim)])
    return masses(box, phi)


def _offset(box: Box) -> Complex:
    """Return e^{−ik·u} at the first node."""
    first = box.lower + box.spacing / 2
    result = np.ones((), np.complex128)
    for wave, u in zip(box.waves, first, strict=True):
        result = result[..., None] * np.exp(-1j * wave * u)
    return result


def resolved(source: Box, target: Box, factor: Array) -> Array:
    """Return 1 at the waves k of ``target`` for which the source's grid knows Aᵀk, else 0 (A: mean slope of a step)."""
    moved = np.linalg.solve(target.axes, factor @ source.axes)
    waves = np.stack(np.meshgrid(*target.waves, indexing="ij"), axis=-1) @ moved
    return np.all(np.abs(waves) <= np.pi / source.spacing, axis=-1).astype(float)


def density(box: Box, phi: Complex, axes: list[Array]) -> Array:
    """Return the density on the lattice of ``axes`` in θ: the trigonometric series of the box, zero beyond it."""
    weights = phi.conj() / (box.cell_volume * np.prod(box.cells))
    weights[..., 1:] *= 2
    if not np.any(box.axes - np.diag(np.diag(box.axes))):
        return _on_lattice(box, weights, axes)
    shape = tuple(axis.size for axis in axes)
    u = box.inside(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes)))
    held = np.flatnonzero(np.all((u >= box.lower) & (u <= box.upper), axis=1))
    result = np.zeros(len(u))
    block = max(2**22 // (weights.size // len(weights)), 1)
    for begin in range(0, held.size, block):
        some = held[begin : begin + block]
        series: Complex = weights
        for axis, wave in enumerate(box.waves):
            phases = np.exp(1j * np.multiply.outer(u[some, axis], wave))
            if axis == 0:
                series = (phases @ weights.reshape(len(weights), -1)).reshape(-1, *weights.shape[1:])
            else:
                series = np.einsum("mk...,mk->m...", series, phases)
        result[some] = (series if series.ndim == 1 else series[:, 0]).real
    return result.reshape(shape)


def _on_lattice(box: Box, weights: Complex, axes: list[Array]) -> Array:
    """Return the same where the axes of the box are those of θ: one product of matrices along each."""
    series, d = weights, len(axes)
    for axis, wave in enumerate(box.waves):
        u = (axes[axis] - box.centre[axis]) / box.axes[axis, axis]
        held = (u >= box.lower[axis]) & (u <= box.upper[axis])
        phases = np.exp(1j * np.multiply.outer(u, wave)) * held[:, None]
        series = np.moveaxis(np.tensordot(phases, series, (1, axis)), 0, axis)
    assert series.ndim == d
    return np.ascontiguousarray(series.real)


def powers(matrix: Array, mass: Array, steps: int) -> Array:
    """Return masses after ``steps`` products mass·matrix.

    Squaring pays while it costs less than the products it saves: as much as an eighth of its rows of them (measured).
    """
    while 4 * steps > len(matrix):
        if steps % 2:
            mass = mass @ matrix
        matrix, steps = matrix @ matrix, steps // 2
    for _ in range(steps):
        mass = mass @ matrix
    return mass


def continued(last: list[float], slowest: float, skipped: int = 0) -> float:
    """Return what a series goes on to sum to, from three ``last`` terms, the outermost first, without the first few.

    Ratios of neighbours, at most ``slowest``, go on to fall by as much as they have (of Gaussians that is so), and stay
    where they rise.
    """
    term, before, first = last
    if not (before > _NOTHING and first > _NOTHING):
        return 0.0
    ratio = min(term / before, slowest)
    falling = min(term * first / before**2, 1.0)
    ratios = ratio * falling ** np.arange(1, _CONTINUED)
    return term * float(np.sum(np.cumprod(ratios)[skipped:]))


def beyond(box: Box, mass: Array) -> float:
    """Return about how much mass is outside the box, from pairs of nodes at the ends of every axis.

    Not from the outermost ones, to which what has wrapped around adds.
    """
    total, values = 0.0, np.abs(mass.reshape(box.cells))
    for axis in range(values.ndim):
        rows = values.sum(axis=tuple(i for i in range(values.ndim) if i != axis))
        for end in (rows, rows[::-1]):
            total += continued([float(end[2 * j : 2 * j + 2].sum()) for j in (1, 2, 3)], _FLATTEST, 1)
    return total


def cut(box: Box, phi: Complex) -> float:
    """Return about how much of the density, in L1, is in waves beyond the box's, from the last pairs of each axis."""
    total = 0.0
    for axis, (cells, waves) in enumerate(zip(box.cells, box.waves, strict=True)):
        number = np.abs(np.rint(waves * (cells * box.spacing[axis] / (2 * np.pi))))
        shape = tuple(-1 if i == axis else 1 for i in range(phi.ndim))
        pairs = [(number > cells // 2 - 2 * j - 2) & (number <= cells // 2 - 2 * j) for j in range(3)]
        last = [float(np.abs(masses(box, phi * pair.reshape(shape))).sum()) for pair in pairs]
        total += continued(last, _SLOWEST)
    return total


class Settled:
    """The law that a step between the nodes of a box leaves as it is, and how others approach it: one factorisation.

    With M = 1 − T, whose last equation, which the others imply, gives way to the sum, the stationary masses solve
    mM = (0, …, 0, 1). Masses of sum zero with mT = μm have mM = (1 − μ)(m_1, …, m_{N−1}, 0): the slowest are the
    leading ones of an inverse.
    """

    def __init__(self, matrix: Array) -> None:
        system = np.eye(len(matrix)) - matrix
        system[:, -1] = 1.0
        self._matrix, self._factors = matrix, linalg.lu_factor(system.T, overwrite_a=True, check_finite=False)

    @property
    def law(self) -> Array:
        """Masses m (N,) with m = mT and sum one."""
        right = np.zeros(len(self._matrix))
        right[-1] = 1.0
        return np.asarray(linalg.lu_solve(self._factors, right, check_finite=False))

    def modes(self, count: int, *, alternating: bool) -> tuple[Complex, Complex]:
        """Return the ``count`` largest eigenvalues μ of T but for 1, in order, and their masses, shape (N, count).

        Parameters
        ----------
        alternating
            Whether some μ may be nearer to −1 than others to 1: then products with T itself are iterated.
        """
        size = len(self._matrix)

        def inverse(mass: Array) -> Array:
            return np.asarray(linalg.lu_solve(self._factors, np.append(mass[:-1], 0.0), check_finite=False))

        def step(mass: Array) -> Array:
            return np.asarray(mass @ self._matrix)

        operator = LinearOperator((size, size), matvec=step if alternating else inverse, dtype=float)
        # A start without symmetries, in which no mode is missing.
        start = np.random.default_rng(0).standard_normal(size)
        values, vectors = eigs(operator, k=count + alternating, v0=start, ncv=min(4 * count + 20, size))
        values = values if alternating else 1 - 1 / values
        order = np.argsort(-np.abs(values))[int(alternating) :]
        return values[order], vectors[:, order]


def fixed(step: Callable[[Array], Array], start: Array) -> Array:
    """Return the masses (N,), of sum one, that a step known by its products alone leaves as they are.

    Raises
    ------
    scipy.sparse.linalg.ArpackNoConvergence
        If some thousand products from ``start`` do not find them.
    """
    operator = LinearOperator((start.size, start.size), matvec=step, dtype=float)
    _, vectors = eigs(operator, k=1, v0=start, ncv=_TRIED, maxiter=_RESTARTS, tol=_FOUND)
    mass = vectors[:, 0].real
    return np.asarray(mass / mass.sum())


def scaled(box: Box, factor: float) -> Box:
    """Return a box about the same middle, ``factor`` times as wide, with as many more nodes in a length.

    Numbers of nodes are odd: what is nearest along an axis is shared by width and spacing.
    """
    cells = tuple(2 * round((factor**2 * n - 1) / 2) + 1 for n in box.cells)
    half = np.sqrt(np.array(cells) / box.cells) * (box.upper - box.lower) / 2
    return box._replace(lower=(box.lower + box.upper) / 2 - half, spacing=2 * half / np.array(cells), cells=cells)
