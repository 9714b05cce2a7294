"""Every automatic grid: how far a box reaches, how many cells it may have, and the boxes that moments ask for."""

import math
from functools import lru_cache

import numpy as np
from dfp_solvers import boxes, matrices
from numpy.typing import NDArray
from scipy import fft
from scipy.special import stdtr, stdtrit

from dfp.checks import TINY, Array, every
from dfp.errors import UnresolvedError
from dfp.exact.moments import Moments
from dfp.problem.grid import MAX_CELLS, Grid
from dfp.results.frame import Frame

# Half-widths of boxes, in standard deviations of every axis.
GAUSSIAN = 7.5  # a Gaussian leaves 6e-14 outside
PERIODIC = 8.0  # 1e-15 outside, for methods that lose it, or wrap it around, at every step
SERIES = 9.0  # polynomials times a Gaussian reach further
POWER_LAW = 12.0  # noise that depends on θ: what its tails leave outside is counted, not avoided
HISTOGRAM = 6.0  # a billion samples leave two outside
# Largest wave numbers in inverse standard deviations, at which φ has decayed to 1e-12; π over them is the spacing.
GAUSSIAN_BAND = 7.5
GRIDDED_BAND = 8.5  # errors of a gridded start are read off the last few waves
SERIES_BAND = 10.0
# Mass outside boxes that come from quantiles instead, as far as cells reach: of characteristic functions in double
# precision, of graded nodes, of the Student t law of a kurtosis by dimension, and of internal boxes of a given spacing.
OUTSIDE_LAW, OUTSIDE_GRADED, OUTSIDE_INTERNAL = 1e-10, 1e-13, 1e-9
OUTSIDE_STUDENT = {1: 1e-13, 2: 1e-9, 3: 1e-9}
# Half-widths, in standard deviations, beyond which the Student t law is not followed, for want of cells.
WIDEST_STUDENT = {1: 60.0, 2: 16.0, 3: 10.0}
# Most cells per axis, by dimension, that a grid of a method's own choice may have, and the least.
LEAST_CELLS = 32
MOST_LAW = {1: 4096, 2: 512, 3: 96}  # transforms on a box that is padded
MOST_VOLUMES = {1: 2**14, 2: 320, 3: 64}  # three chains, each with a decomposition or Krylov spaces
MOST_GRADED = 4096  # only where results are reported
MOST_UNIFORM = {1: 2**14, 2: 512, 3: 96}  # every cell is spread over its neighbours at every step
MOST_WALK = {1: 2**14, 2: 512, 3: 64}  # stored weights
MOST_INTERNAL = {1: 4096, 2: 512, 3: 96}  # derivatives at every step, twice
# Ratio of the extreme eigenvalues of a covariance at which there is no density to put on a grid.
_SINGULAR = 1e-13


def automatic(
    path: Moments, *, width: float = GAUSSIAN, band: float = GAUSSIAN_BAND, covariances: Array | None = None
) -> Grid:
    """Return a grid that holds and resolves a nearly Gaussian density at every step of ``path``.

    Parameters
    ----------
    path
        Moments at the saved steps.
    width
        Half-width of the box in standard deviations of every axis.
    band
        Largest wave number in units of inverse conditional standard deviations 1/(Σ⁻¹)_ii^{1/2}: how far φ reaches.
    covariances
        Covariances (S, d, d) that set the spacing, where details are finer than the whole density.

    Raises
    ------
    UnresolvedError
        If a covariance is singular, or more than 2^26 cells would be needed.
    """
    details = path.covariance if covariances is None else covariances
    sizes = matrices.eigenvalues(details)
    largest = sizes[:, -1] if covariances is None else matrices.eigenvalues(path.covariance)[:, -1]
    regular = sizes[:, 0] > np.maximum(_SINGULAR * largest, TINY)
    if not every(regular):
        first = int(np.argmin(regular))
        raise UnresolvedError(
            f"step {path.steps[first]}: the covariance has the eigenvalue {sizes[first, 0]:.3g}, so there is no "
            "density to put on a grid; save later steps, start from a wider dfp.Gaussian, or use dfp.moments(...)."
        )
    lower, upper, cells = boxes.around(path.mean, path.covariance, matrices.precisions(details), width, band)
    total_cells = math.prod(cells.tolist())
    if not total_cells <= MAX_CELLS:
        raise UnresolvedError(
            f"cells={cells.astype(float)}: resolving the narrowest saved density in the widest box needs "
            f"{total_cells:.2g} cells, more than {MAX_CELLS}; save fewer, more similar steps or give grid=..."
        )
    return boxed(lower, upper, tuple(fft.next_fast_len(max(int(n), LEAST_CELLS), real=True) for n in cells.tolist()))


def boxed(lower: Array, upper: Array, cells: tuple[int, ...]) -> Grid:
    """Return the grid of a chosen box; corners that rounding has moved together are refused in words."""
    return (Grid.known if every(lower < upper) else Grid)(lower, upper, cells)


def box(path: Moments, width: float | Array, spread: Array | None = None) -> tuple[Array, Array]:
    """Return the corners (d,) of the least box that holds the mean ± ``width`` deviations at every step of ``path``.

    ``spread`` (S, d) are the deviations, where they are known.
    """
    reach = width * (deviations(path) if spread is None else spread)
    return (path.mean - reach).min(axis=0), (path.mean + reach).max(axis=0)


def deviations(path: Moments) -> Array:
    """Return the standard deviation of every axis along ``path``, shape (S, d); 0 for a variance rounded below it."""
    with np.errstate(invalid="ignore"):
        return np.sqrt(np.maximum(path.covariance.diagonal(axis1=1, axis2=2), 0.0))


@lru_cache(maxsize=64)
def probes(last: int, count: int) -> tuple[int, ...]:
    """Return 0 and at most ``count`` steps up to ``last``, geometrically spaced, at which to look at a path."""
    return 0, *np.unique(np.geomspace(1, max(last, 1), count).astype(int).clip(max=last)).tolist()


def probed(last: int, count: int, saved: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ``probes`` and the ``saved`` steps (S,) together, increasing."""
    return np.array(sorted({*probes(last, count), *saved.tolist()}))


def conditional_deviations(covariances: Array) -> Array:
    """Return deviations of each axis given the others, 1/(Σ⁻¹)_ii^½, shape (N, d); 0 where Σ is singular."""
    values = matrices.eigenvalues(covariances)
    regular = values[:, 0] > _SINGULAR * values[:, -1]
    if every(regular):
        return 1 / np.sqrt(matrices.precisions(covariances))
    result = np.zeros(covariances.shape[:2])
    result[regular] = 1 / np.sqrt(matrices.precisions(covariances[regular]))
    return result


def bins(path: Moments) -> Grid:
    """Return the cells of a histogram: a quarter of a standard deviation or finer, as far as counts stay useful."""
    most, multiple = {1: (400, 100), 2: (120, 24), 3: (40, 10)}[path.mean.shape[1]]
    deviation = np.maximum(deviations(path), 1e-150)
    lower, upper = np.min(path.mean - HISTOGRAM * deviation, axis=0), np.max(path.mean + HISTOGRAM * deviation, axis=0)
    wanted = (upper - lower) / np.min(deviation, axis=0) * 4
    return Grid(lower, upper, [min(int(np.ceil(min(n, most) / multiple)) * multiple, most) for n in wanted])


# Boxes for power-law tails: a density with fourth moments is read as the Student t law of its kurtosis.


def student_freedom(frame: Frame) -> Array:
    """Return degrees of freedom ν of every axis, shape (d,), from a frame with fourth moments: kurtosis 3 + 6/(ν − 4).

    At most 6e6, a Gaussian in practice; 4 where the fourth moment is infinite, NaN where it is not known.
    """
    assert frame.fourth is not None
    kurtosis = np.einsum("iiii->i", frame.fourth) / np.diag(frame.covariance) ** 2
    return 4 + 6 / np.maximum(kurtosis - 3, 1e-6)


def student_core(freedom: Array) -> Array:
    """Return the scale of t laws over their standard deviation, √((ν − 2)/ν)."""
    return np.sqrt((freedom - 2) / freedom)


def student_width(freedom: Array, tail: float) -> Array:
    """Return how many standard deviations from the mean leave the probability ``tail`` beyond, on one side."""
    return -stdtrit(freedom, tail) * student_core(freedom)


def student_beyond(freedom: Array, width: float) -> Array:
    """Return the probability beyond ``width`` standard deviations, on both sides together."""
    return 2 * stdtr(freedom, -width / student_core(freedom))


def containing(grid: Grid, box: Grid) -> tuple[Grid, tuple[slice, ...]]:
    """Return a grid of the same cells that holds ``box`` as well, and where ``grid`` is on it."""
    below = np.ceil(np.maximum(grid.lower - box.lower, 0) / grid.spacing).astype(int)
    above = np.ceil(np.maximum(box.upper - grid.upper, 0) / grid.spacing).astype(int)
    cells = [n + a + b for n, a, b in zip(grid.cells, below, above, strict=True)]
    around = Grid(grid.lower - below * grid.spacing, grid.upper + above * grid.spacing, cells)
    return around, tuple(slice(a, a + n) for a, n in zip(below, grid.cells, strict=True))
