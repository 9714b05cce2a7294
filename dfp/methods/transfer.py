"""Transfer: the master equation on a grid, for noise that may depend on θ."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from math import comb, factorial, prod

import numpy as np
from dfp_solvers import fourier, transfer
from numpy.typing import NDArray

from dfp.checks import Array
from dfp.equation import Equation
from dfp.errors import UnresolvedError
from dfp.exact import Moments, moments
from dfp.finite_sum import FiniteSumLaw
from dfp.solver import Frame, MarchingSolver, dimension_obstacle
from dfp.state import Density, Gaussian, Grid, State, grid_moments

Laws = tuple[transfer.Resolved | transfer.Narrow | transfer.Maps, ...]

# The trapezoidal rule for (T4) is spectrally accurate where a kernel spans this many cells (theory page, section 5).
_RESOLVED = 1 / 0.6
# With this many the rule still errs by exp(−2π² 1.25²) = 4e-14 only: grids aim at the former and accept the latter.
_ACCEPTED = 1.25
# Cells per deviation of the density that resolve it to 1e-12 (its spectrum is below that at the largest wave number).
_PER_DEVIATION = 2.4
# The same where kernels are narrower than the grid, and each step puts places on it with an error of order six.
_PER_DEVIATION_NARROW = {1: 20.0, 2: 10.0}
_MOST_CELLS = {1: 2**14, 2: 512, 3: 96}
_LEAST_CELLS = 32
_MOST_MAPS = {1: 4096, 2: 512}
# Half-width of the box in deviations: Gaussian tails, and the power-law tails of noise that depends on θ.
_WIDTH, _WIDTH_HEAVY = 8.0, 12.0
# Largest deviations [cells] a quadrature rule of the noise serves, and its nodes: Gauss–Hermite, then trapezoidal.
_GAUSS = ((1e-9, 1), (0.7, 5), (2.0, 11))
_TRAPEZOIDAL = (4.0, 8.0, 16.0, 32.0, 64.0, np.inf)


@dataclass(frozen=True)
class _Carry:
    equation: Equation
    grid: Grid
    step: int
    mass: Array
    outside: float
    cloud: Array | None
    """Places of the masses while they are not yet on the grid, shape (N, d); None once they are."""
    laws: Laws


@dataclass(frozen=True)
class Transfer(MarchingSolver):
    """The master equation on a uniform grid: every cell is spread by its own transition kernel.

    Where Gaussian kernels span the grid's cells the result is spectrally accurate and non-negative, for d = 1, 2, 3.
    Kernels narrower than the grid, singular ones and the samples of a finite sum are put on it by weights that keep all
    moments up to the fifth, for d = 1, 2; the density can then be slightly negative and, where a step contracts or
    expands much (``|1 − ηh| < 0.9``), ripple from cell to cell: the certificate reports both.

    Raises
    ------
    UnresolvedError
        While solving, where no affordable grid resolves the kernel in 3D, or a state has no density on the grid yet.
    """

    name = "Transfer"
    equations = ("T4",)
    order = "spectral where the grid resolves the kernel; else order 6 in the grid, moments to order 5 exact"
    reference = "theory page, section 5 (trapezoidal rule, push-forward)"

    def obstacle(self, equation: Equation, initial: State) -> str | None:
        """Return why the transition kernel is out of reach, or None."""
        law, d = equation.sgd.noise, equation.dimension
        if not isinstance(law, FiniteSumLaw):
            return dimension_obstacle(equation, 3)
        if d > 2:
            return f"finite sums need d <= 2, and d = {d}"
        count = comb(law.count + law.batch_size - 1, law.batch_size)
        if count > _MOST_MAPS[d]:
            return (
                f"batches of {law.batch_size} out of {law.count} samples are {count:.2g} different maps, more than "
                f"{_MOST_MAPS[d]} for d = {d}"
            )
        return None

    def grid(self, equation: Equation, initial: State, exact: Moments) -> Grid:
        """Return a grid that holds the density at every step and resolves the kernel or, where it cannot, the density.

        Raises
        ------
        UnresolvedError
            If the moments overflow, or d = 3 and the kernel is finer than the largest grid.
        """
        d, last = equation.dimension, int(exact.steps[-1])
        steps = np.unique(np.geomspace(1, max(last, 1), 512).astype(np.int64) - 1)
        steps = np.unique(np.concatenate([steps, exact.steps]))
        path = moments(equation, initial, last, steps.tolist())
        with np.errstate(invalid="ignore"):
            deviation = np.sqrt(np.maximum(path.covariance.diagonal(axis1=1, axis2=2), 0.0))
        width = _WIDTH if equation.additive else _WIDTH_HEAVY
        lower, upper = np.min(path.mean - width * deviation, axis=0), np.max(path.mean + width * deviation, axis=0)
        if not np.all(np.isfinite(upper - lower)):
            raise UnresolvedError("the moments overflow before the last step; lower learning_rate or save fewer steps.")
        centre, half = (lower + upper) / 2, np.maximum((upper - lower) / 2, 1e-12 * (1 + np.abs(lower + upper)))
        lower, upper = centre - half, centre + half
        density = np.full(d, np.inf)
        for n, covariance in zip(path.steps, path.covariance, strict=True):
            if n > 0 or exact.steps[0] == 0:
                density = np.minimum(density, _conditional(covariance[None])[0])
        kernel = np.zeros(d)
        if equation.sgd.noise.gaussian:
            lattice = np.stack(np.meshgrid(*np.linspace(lower, upper, 33).T, indexing="ij"), axis=-1).reshape(-1, d)
            points = np.concatenate([lattice, path.mean, equation.sgd.critical_point[None]])
            kernel = np.min(_widths(equation, points, np.ones(d)), axis=0)
        with np.errstate(divide="ignore"):
            wanted = 2 * half * np.maximum(_RESOLVED / kernel, _PER_DEVIATION / density)
            if not np.all(wanted <= _MOST_CELLS[d]):
                if d == 3:
                    raise _unresolved_kernel(wanted)
                wanted = 2 * half * _PER_DEVIATION_NARROW[d] / density
        return Grid(lower, upper, tuple(int(n) for n in np.ceil(np.clip(wanted, _LEAST_CELLS, _MOST_CELLS[d]))))

    def prepare(self, equation: Equation, initial: State, grid: Grid | None) -> _Carry:
        """Return the masses of the cells at step 0 or, where the grid does not resolve them, of a cloud of points."""
        assert grid is not None
        if min(grid.cells) < transfer.STENCIL:
            raise UnresolvedError(f"grid.cells={grid.cells}: Transfer needs {transfer.STENCIL} per axis; use more.")
        cloud: Array | None = None
        if isinstance(initial, Density):
            mass = _on_grid(initial, grid) * grid.cell_volume
        elif np.all(_conditional(initial.covariance[None])[0] >= 1.2 * grid.spacing):
            mass = Gaussian(initial.mean, initial.covariance).density(grid.points) * grid.cell_volume
        else:
            cloud, mass = _cloud(initial.mean, initial.covariance, grid)
        laws = _laws(equation, grid, grid.points.reshape(-1, grid.dimension))
        mass = np.ascontiguousarray(mass.ravel())
        return _Carry(equation, grid, 0, mass, max(1.0 - float(mass.sum()), 0.0), cloud, laws)

    def advance(self, carry: _Carry, steps: int) -> _Carry:
        """Return the masses ``steps`` later, and what has left the box."""
        mass, outside, cloud = carry.mass, carry.outside, carry.cloud
        for _ in range(steps):
            laws = carry.laws if cloud is None else _laws(carry.equation, carry.grid, cloud)
            mass, lost = transfer.step(mass, laws, carry.grid.cells)
            outside, cloud = outside + lost, None
        return replace(carry, step=carry.step + steps, mass=mass, outside=outside, cloud=cloud)

    def observe(self, carry: _Carry) -> Frame:
        """Return the density, its mean and covariance by the trapezoidal rule, and the mass that has left the box.

        Raises
        ------
        UnresolvedError
            At step 0, if the initial state is narrower than the grid; or if nothing is left in the box.
        """
        grid = carry.grid
        if carry.cloud is not None:
            raise UnresolvedError(
                f"step {carry.step}: the initial state is narrower than the grid's spacing {grid.spacing}, so it has "
                "no density there; save later steps, start from a wider dfp.Gaussian, or give a finer grid."
            )
        density = (carry.mass / grid.cell_volume).reshape(grid.cells)
        if not carry.outside < 0.5:
            raise UnresolvedError(
                f"step {carry.step}: {carry.outside:.2g} of the mass has left the box from {grid.lower} to "
                f"{grid.upper}; give a wider grid."
            )
        _, mean, covariance = grid_moments(grid, density)
        return Frame(mean, covariance, density, truncation=_ripple(carry), outside=carry.outside)


def _ripple(carry: _Carry) -> float:
    """Return how much sources that are put on the grid one by one leave a ripple; 0 if all kernels are resolved."""
    factors = [law.matrix for law in carry.laws if isinstance(law, transfer.Maps)]
    if any(isinstance(law, transfer.Narrow) for law in carry.laws):
        factors.append(_factor(carry.equation, carry.grid.spacing)[None])
    d = carry.grid.dimension
    values = [np.linalg.svd(factor[:, -d:, -d:], compute_uv=False) for factor in factors]
    return transfer.ripple(np.concatenate(values)) if carry.step and values else 0.0


def _conditional(covariances: Array) -> Array:
    """Return deviations of each axis given the others, 1/(Σ⁻¹)_ii^½, shape (N, d); 0 where Σ is singular."""
    values = np.linalg.eigvalsh(covariances)
    regular = values[:, 0] > 1e-13 * values[:, -1]
    result = np.zeros(covariances.shape[:2])
    result[regular] = np.linalg.inv(covariances[regular]).diagonal(axis1=1, axis2=2) ** -0.5
    return result


def _widths(equation: Equation, points: Array, spacing: Array) -> Array:
    """Return how wide the kernel from ``points`` is as a function of where it ends and of where it starts, (N, d)."""
    covariance = equation.diffusion(points) / np.outer(spacing, spacing)
    values = np.linalg.eigvalsh(covariance)
    regular = values[:, 0] > 1e-13 * values[:, -1]
    result = np.zeros(points.shape)
    inverse = np.linalg.inv(covariance[regular])
    factor = _factor(equation, spacing)
    seen = factor.T @ inverse @ factor
    largest = np.maximum(inverse.diagonal(axis1=1, axis2=2), seen.diagonal(axis1=1, axis2=2))
    result[regular] = largest**-0.5
    return result


def _factor(equation: Equation, spacing: Array) -> Array:
    """Return A = I − ηH in index units, shape (d, d)."""
    factor: Array = (np.eye(equation.dimension) - equation.linear_drift) * spacing / spacing[:, None]
    return factor


def _unresolved_kernel(wanted: Array) -> UnresolvedError:
    return UnresolvedError(
        f"cells={np.ceil(wanted)}: resolving the transition kernel in 3D needs more than {_MOST_CELLS[3]} cells on an "
        "axis, and only resolved kernels are supported there; raise learning_rate, give a smaller or finer grid=..., "
        "or use dfp.MonteCarlo(...)."
    )


def _laws(equation: Equation, grid: Grid, points: Array) -> Laws:
    """Return the transition kernels from ``points`` (N, d) to the nodes of ``grid``."""
    d, origin = grid.dimension, grid.lower + grid.spacing / 2
    noise = equation.sgd.noise
    if isinstance(noise, FiniteSumLaw):
        return (_maps(equation, noise, grid, (points - origin) / grid.spacing),)
    moved = points - points @ equation.linear_drift.T - equation.constant_drift
    place = (moved - origin) / grid.spacing
    resolved = np.all(_widths(equation, points, grid.spacing) >= _ACCEPTED, axis=1)
    if d == 3 and not np.all(resolved):
        narrowest = np.min(_widths(equation, points, np.ones(d)), axis=0)
        with np.errstate(divide="ignore"):
            raise _unresolved_kernel((grid.upper - grid.lower) * _RESOLVED / narrowest)
    covariance = equation.diffusion(points) / np.outer(grid.spacing, grid.spacing)
    parts: list[transfer.Resolved | transfer.Narrow] = []
    if np.any(resolved):
        parts.append(_resolved(np.flatnonzero(resolved), place[resolved], covariance[resolved]))
    if not np.all(resolved):
        parts.append(_narrow(np.flatnonzero(~resolved), place[~resolved], covariance[~resolved]))
    return tuple(parts)


def _resolved(source: NDArray[np.int64], place: Array, covariance: Array) -> transfer.Resolved:
    count, d = place.shape
    whitening = np.tile(np.eye(3) * 1e3, (count, 1, 1))
    whitening[:, 3 - d :, 3 - d :] = np.linalg.inv(np.linalg.cholesky(covariance))
    three, reach = np.zeros((count, 3)), np.zeros((count, 3))
    three[:, 3 - d :], reach[:, 3 - d :] = place, np.sqrt(covariance.diagonal(axis1=1, axis2=2))
    peak = np.prod(whitening.diagonal(axis1=1, axis2=2)[:, 3 - d :], axis=1) / (2 * np.pi) ** (d / 2)
    return transfer.Resolved(source, three, np.ascontiguousarray(whitening[:, *np.tril_indices(3)]), reach, peak)


def _narrow(source: NDArray[np.int64], place: Array, covariance: Array) -> transfer.Narrow:
    count, d = place.shape
    values, vectors = np.linalg.eigh(covariance)
    deviations = np.sqrt(np.maximum(values, 0.0))
    two, root, rule = np.zeros((count, 2)), np.zeros((count, 2, 2)), np.zeros((count, 2), np.int64)
    two[:, 2 - d :], root[:, 2 - d :, 2 - d :] = place, vectors * deviations[:, None, :]
    rule[:, 2 - d :] = np.searchsorted([most for most, _ in _GAUSS] + list(_TRAPEZOIDAL), deviations)
    rules: list[tuple[Array, Array]] = [np.polynomial.hermite_e.hermegauss(n) for _, n in _GAUSS]
    rules += [_trapezoidal(0.6 * min(1.0, 4.0 / min(most, 128.0))) for most in _TRAPEZOIDAL]
    nodes, weights = (np.concatenate(part) for part in zip(*rules, strict=True))
    sizes = [len(part) for part, _ in rules]
    weights = weights / np.repeat([w.sum() for _, w in rules], sizes)
    return transfer.Narrow(source, two, root, rule, nodes, weights, np.cumsum([0, *sizes]))


def _trapezoidal(spacing: float) -> tuple[Array, Array]:
    """Return nodes and weights (not normalised) for a standard normal."""
    nodes = spacing * np.arange(-int(8.5 / spacing), int(8.5 / spacing) + 1)
    return nodes, np.exp(-0.5 * nodes**2)


def _maps(equation: Equation, law: FiniteSumLaw, grid: Grid, places: Array) -> transfer.Maps:
    """Return the affine maps of all minibatches, as multisets with their probabilities, in index units."""
    sgd, d, batch = equation.sgd, grid.dimension, law.batch_size
    hessians = law.sample_hessians()
    matrix, shift, weight = [], [], []
    for chosen, probability in _minibatches(law.count, batch):
        factor = np.eye(d) - sgd.learning_rate * (hessians[chosen].mean(axis=0) + sgd.weight_decay * np.eye(d))
        offset = -sgd.learning_rate * law.gradients[chosen].mean(axis=0)
        origin = grid.lower + grid.spacing / 2
        matrix.append(factor * grid.spacing / grid.spacing[:, None])
        shift.append((factor @ origin + offset - origin) / grid.spacing)
        weight.append(probability)
    at, square, offsets = np.zeros((len(places), 2)), np.tile(np.eye(2), (len(matrix), 1, 1)), np.zeros((len(shift), 2))
    at[:, 2 - d :], square[:, 2 - d :, 2 - d :], offsets[:, 2 - d :] = places, matrix, shift
    return transfer.Maps(at, square, offsets, np.array(weight))


def _minibatches(count: int, batch: int) -> Iterator[tuple[list[int], float]]:
    for chosen in combinations_with_replacement(range(count), batch):
        orders = factorial(batch) // prod(factorial(chosen.count(i)) for i in set(chosen))
        yield list(chosen), orders / count**batch


def _on_grid(initial: Density, grid: Grid) -> Array:
    """Return the density at the cells of ``grid``, by band-limited interpolation where the cells differ."""
    if initial.grid.matches(grid):
        return initial.values
    waves = fourier.wave_numbers(grid.spacing, grid.cells)
    phi = fourier.gridded(initial.values, initial.grid.lower, initial.grid.spacing, waves, separable=True)
    values, edge = fourier.invert(phi, grid.lower, grid.spacing, grid.cells)
    if edge > 1e-3:
        raise UnresolvedError(
            f"step 0: details of initial are finer than the grid, cells={grid.cells}; use more cells."
        )
    return np.maximum(values, 0.0)


def _cloud(mean: Array, covariance: Array, grid: Grid) -> tuple[Array, Array]:
    """Return points (N, d) and their masses (N,): a trapezoidal rule for a Gaussian, finer than the grid."""
    values, vectors = np.linalg.eigh(covariance / np.outer(grid.spacing, grid.spacing))
    points, mass = np.zeros((1, grid.dimension)), np.ones(1)
    for value, vector in zip(values, vectors.T, strict=True):
        deviation = np.sqrt(max(value, 0.0))
        if deviation > 1e-12:
            nodes, weights = _trapezoidal(min(0.3, 0.5 / deviation))
            points = (points[:, None, :] + (deviation * nodes)[:, None] * vector).reshape(-1, grid.dimension)
            mass = np.outer(mass, weights / weights.sum()).ravel()
    return mean + points * grid.spacing, mass
