"""Internal grids for (T5): wide enough for its tails, no finer than a step allows, moved along with the density."""

from dataclasses import dataclass, replace

import numpy as np
from dfp_solvers import finite_difference, pseudospectral

from dfp.checks import Array
from dfp.errors import UnresolvedError
from dfp.exact.cumulants import diffusion_polynomial
from dfp.exact.moments import moments_at
from dfp.methods.grids import (
    MOST_INTERNAL,
    OUTSIDE_INTERNAL,
    conditional_deviations,
    student_beyond,
    student_freedom,
    student_width,
)
from dfp.methods.moment_recursion import HigherMoments
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid
from dfp.problem.state import Gaussian

SCHEMES = ("spectral", "fourth", "second")
ORDERS = {"second": 2, "fourth": 4}
# Spacings over the smallest stable ones; the coarser grid of the error estimate over the finer one.
_SAFETY = {"spectral": 1.1, "fourth": 1.02, "second": 1.02}
COARSER = {"spectral": 1.15, "fourth": 1.5, "second": 1.5}
# Finest spacings in deviations: finer ones cost and do not help, or, of stencils, err by less than 1e-5 and 2e-4.
_FINEST = {"spectral": 0.3, "fourth": 0.1, "second": 0.05}
# Rough errors below rounding are all alike, so that a box does not grow for tails that nobody sees.
_NONE = 1e-15
LEAST_CELLS = 8
# Half-widths of the box to choose from, in deviations.
_WIDTHS = np.concatenate([np.arange(3.0, 12.0, 0.5), np.geomspace(12.0, 60.0, 8)])
# A window moves on when the mean moves by this many deviations or a variance changes by this factor.
_SHIFT, _RATIO = 1.0, 4.0


@dataclass(frozen=True)
class Window:
    """Some steps during which the density stays in much the same place: its moments at the first, at some and the last.

    ``means`` (N, d), ``covariances`` (N, d, d); ``freedom``: degrees of freedom ν (d,) of its tails.
    """

    steps: int
    means: Array
    covariances: Array
    freedom: Array


@dataclass(frozen=True)
class Box:
    """The internal box and how well the density is resolved in it."""

    width: float
    """Half the box in standard deviations, beside the path of the mean."""
    lower: Array
    upper: Array
    spacing: Array
    """Asked for, shape (d,)."""
    scale: float
    """Smallest stable spacing over the one asked for."""
    deviation: Array
    """Of the density along each axis given the others, shape (d,)."""
    outside: float
    """Probability beyond the box, of a Student t law."""
    resolution: float
    """Rough L1 error of derivatives at this spacing."""

    @property
    def error(self) -> float:
        """Rough L1 error of the density."""
        return 2 * self.outside + self.resolution

    def cells(self, factor: float = 1.0) -> tuple[int, ...]:
        """Return cells per axis for spacings ``factor`` times as large, never finer."""
        counts = np.floor((self.upper - self.lower) / (self.spacing * factor) * (1 + 1e-12))
        return tuple(int(n) for n in np.maximum(counts, 1))

    def near(self, other: "Box") -> bool:
        """Tell whether both boxes agree to 2 % of their size and no finer grid is asked for."""
        size = 0.02 * (self.upper - self.lower)
        moved = np.abs(np.concatenate([self.lower - other.lower, self.upper - other.upper]))
        return bool(np.all(moved < np.tile(size, 2)) and np.all(self.spacing > 0.9 * other.spacing))

    def grid(self, factor: float = 1.0) -> Grid:
        """Return the grid of ``cells(factor)``."""
        return Grid(self.lower, self.upper, self.cells(factor))


def window(equation: Equation, mean: Array, covariance: Array, steps: int) -> tuple[int, Array, Array]:
    """Return the largest power of two of steps (or all) over which the density stays in place, and moments then."""
    powers = [2**i for i in range(int(steps).bit_length()) if 2**i < steps]
    probes = [0, *powers, steps]
    ahead = moments_at(equation, Gaussian(mean, covariance), np.array(probes))
    with np.errstate(invalid="ignore"):
        start = covariance + equation.diffusion(mean)
        scale = np.sqrt(np.diag(start))
        shift = np.max(np.abs(ahead.mean - mean) / scale, axis=1)
        ratio = ahead.covariance.diagonal(axis1=1, axis2=2) / np.diag(start)
    # From a point the variance falls short of one step's noise at step 0 only.
    stays = (shift < _SHIFT) & np.all((ratio < _RATIO) & (ratio > 1 / _RATIO), axis=1)
    last = 1
    while last + 1 < len(probes) and stays[last + 1]:
        last += 1
    return probes[last], ahead.mean[: last + 1], ahead.covariance[: last + 1]


def tails(moments: HigherMoments, steps: int) -> Array:
    """Move the moments on by ``steps`` and return the degrees of freedom (d,) of the tails there."""
    with np.errstate(all="ignore"):
        moments.advance(steps)
        freedom = student_freedom(moments.frame())
        return np.where(np.isfinite(freedom), freedom, 4.0)


def choose(equation: Equation, seen: Window, scheme: str, spacing: Array | None) -> Box:
    """Return the box of the smallest rough error with a stable spacing, or one that holds all but 1e-9 for ``spacing``.

    Raises
    ------
    UnresolvedError
        If the covariance is singular or overflows.
    """
    _check_regular(equation, seen)
    if spacing is not None:
        quantile = student_width(seen.freedom, OUTSIDE_INTERNAL)
        wide = _box(equation, seen, scheme, float(np.clip(np.max(quantile), 0.0, _WIDTHS[-1])), rough=False)
        scale = wide.scale * float(np.max(wide.spacing / spacing))
        return replace(wide, spacing=spacing, scale=scale, resolution=_rough(scheme, spacing, wide.deviation))
    boxes = [_box(equation, seen, scheme, float(width), rough=True) for width in _WIDTHS]
    # A narrow start needs a box of enough cells before anything else.
    enough = [box for box in boxes if min(box.cells(COARSER[scheme])) >= LEAST_CELLS]
    best = min(enough or boxes, key=lambda box: max(box.error, _NONE))
    return _box(equation, seen, scheme, best.width, rough=False)


def largest_rate(equation: Equation, seen: Window, scheme: str, spacing: Array) -> float:
    """Return the largest learning rate at which ``spacing`` is stable from the window's start, to six digits."""
    sgd = equation.sgd
    low, high = 0.0, sgd.learning_rate
    while high - low > 1e-7 * high:
        middle = (low + high) / 2
        slow = sgd.changed(learning_rate=middle)
        slower = replace(equation, sgd=slow)
        steps, means, covariances = window(slower, seen.means[0], seen.covariances[0], seen.steps)
        start = HigherMoments(slower, Gaussian(seen.means[0], seen.covariances[0]))
        there = Window(steps, means, covariances, tails(start, steps))
        low, high = (middle, high) if choose(slower, there, scheme, spacing).scale <= 1 else (low, middle)
    return low


def in_landscape(equation: Equation, reached: list[tuple[Array, Array, float]], deviation: Array) -> Box:
    """Return the box of the smallest rough error with a stable spacing, for all steps in a nonlinear landscape.

    Parameters
    ----------
    reached
        Boxes to choose from: lower and upper corners (d,), and the probability that they leave outside.
    deviation
        Of the narrowest part of the density along each axis, shape (d,).
    """
    boxes = []
    for lower, upper, outside in reached:
        scale = _scale(equation, "spectral", lower, upper, deviation, rough=False)
        floor = (upper - lower) / MOST_INTERNAL[equation.dimension]
        spacing = np.maximum(_SAFETY["spectral"] * scale * deviation, floor)
        rough = _rough("spectral", spacing, deviation) if np.all(np.isfinite(spacing)) else 2.0
        in_spacings = float(np.max(scale * deviation / spacing)) if np.all(np.isfinite(spacing)) else np.inf
        boxes.append(Box(0.0, lower, upper, spacing, in_spacings, deviation, outside, rough))
    return min(boxes, key=lambda box: box.error)


def resolution(box: Box, deviation: Array) -> float:
    """Return the rough L1 error of spectral derivatives of a density of this ``deviation`` (d,) in a box."""
    with np.errstate(divide="ignore"):
        return _rough("spectral", box.spacing, deviation) if np.all(deviation > 0) else 2.0


def respaced(box: Box, spacing: Array) -> Box:
    """Return a box with another spacing (d,)."""
    scale = box.scale * float(np.max(box.spacing / spacing))
    return replace(box, spacing=spacing, scale=scale, resolution=_rough("spectral", spacing, box.deviation))


def _check_regular(equation: Equation, seen: Window) -> None:
    covariance = seen.covariances[-1]
    if np.all(np.isfinite(covariance)):
        values = np.linalg.eigvalsh(covariance)
        if values[0] > 1e-13 * values[-1]:
            return
    raise UnresolvedError(
        f"the covariance of the {equation.label} is singular or overflows, so there is no density to put on a grid; "
        "save later steps, start from a wider dfp.Gaussian, lower learning_rate or use dfp.moments(...)."
    )


def _box(equation: Equation, seen: Window, scheme: str, width: float, *, rough: bool) -> Box:
    d = equation.dimension
    deviations = np.sqrt(np.maximum(seen.covariances.diagonal(axis1=1, axis2=2), 0.0))
    low, high = seen.means.min(axis=0), seen.means.max(axis=0)
    # The ellipsoid in the box of (pseudo)spectral coefficients holds the density at both ends of the path.
    half = np.sqrt(d) * (high - low) / 2 + width * deviations.max(axis=0)
    centre = (low + high) / 2
    lower, upper = centre - half, centre + half
    deviation = conditional_deviations(seen.covariances[-1:])[0]
    scale = _scale(equation, scheme, lower, upper, deviation, rough=rough)
    floor = (upper - lower) / MOST_INTERNAL[d] / deviation
    finest = np.maximum(floor, _FINEST[scheme] * deviations[-1] / deviation)
    spacing = deviation * np.maximum(scale * _SAFETY[scheme], finest)
    beyond = student_beyond(seen.freedom, width)
    return Box(
        width,
        lower,
        upper,
        spacing,
        scale * float(np.max(deviation / spacing)),
        deviation,
        float(beyond.sum()),
        _rough(scheme, spacing, deviation),
    )


def _rough(scheme: str, spacing: Array, deviation: Array) -> float:
    ratio = spacing / deviation
    if scheme == "spectral":
        return float(2 * np.sum(np.exp(-((np.pi / ratio) ** 2) / 2)))
    # Measured on stationary densities.
    return float(0.05 * np.sum(ratio ** ORDERS[scheme]))


def _scale(equation: Equation, scheme: str, lower: Array, upper: Array, unit: Array, *, rough: bool) -> float:
    """Return the smallest stable spacing in the box over ``unit`` (d,); for stencils ``rough`` takes a bound."""
    d, centre, half = equation.dimension, (lower + upper) / 2, (upper - lower) / 2
    if scheme == "spectral":
        shell = _directions(d)
        radii = (0.0, 0.5, 0.75, 1.0) if equation.sgd.affine else np.linspace(0, 1, {1: 201, 2: 41}[d])
        places = np.concatenate([radius * shell for radius in radii])
    else:
        line = np.linspace(-1, 1, {1: 33, 2: 9, 3: 5}[d])
        places = np.stack(np.meshgrid(*[line] * d, indexing="ij"), axis=-1).reshape(-1, d)
    theta = centre + places * half
    drift = -equation.drift(theta) / unit
    noise = equation.diffusion(theta) / np.multiply.outer(unit, unit)
    if scheme == "spectral":
        return pseudospectral.smallest_scale(drift, noise, _directions(d))
    if rough:
        return finite_difference.sufficient_scale(drift, noise) * (1.2 if scheme == "fourth" else 1.0)
    return finite_difference.smallest_scale(drift, noise, ORDERS[scheme])


def _directions(d: int) -> Array:
    """Return unit vectors that cover the sphere, the axes and diagonals among them, shape (M, d)."""
    if d == 1:
        return np.array([[1.0], [-1.0]])
    line = np.linspace(-1, 1, {2: 17, 3: 7}[d])
    cube = np.stack(np.meshgrid(*[line] * d, indexing="ij"), axis=-1).reshape(-1, d)
    cube = cube[np.max(np.abs(cube), axis=1) == 1]
    return cube / np.linalg.norm(cube, axis=1, keepdims=True)


Operator = pseudospectral.Operator | finite_difference.Stencil


def operator(equation: Equation, box: Box, grid: Grid, scheme: str) -> Operator:
    """Return one step on ``grid``; spectral coefficients stay constant beyond the ellipsoid inscribed in the box."""
    if scheme in ORDERS:
        return finite_difference.Stencil(*index_polynomials(equation, grid), ORDERS[scheme])
    centre, half = (box.lower + box.upper) / 2, (box.upper - box.lower) / 2
    relative = (grid.points - centre) / half
    radius = np.linalg.norm(relative, axis=-1, keepdims=True)
    theta = centre + half * relative / np.maximum(radius, 1.0)
    drift, noise = (f(theta.reshape(-1, grid.dimension)) for f in (equation.drift, equation.diffusion))
    drift = -drift.reshape(theta.shape) / grid.spacing
    noise = noise.reshape(*theta.shape, grid.dimension) / np.multiply.outer(grid.spacing, grid.spacing)
    second = noise + drift[..., :, None] * drift[..., None, :]
    return pseudospectral.Operator(np.moveaxis(drift, -1, 0), np.moveaxis(second, (-2, -1), (0, 1)))


def index_polynomials(equation: Equation, grid: Grid) -> tuple[Array, Array]:
    """Return drift (d, d+1) and second moment (d, d, d+1, d+1) of a step as polynomials of a cell's index.

    In units of cells; indices count from the middle of the box.
    """
    d, h = grid.dimension, grid.spacing
    places = np.eye(d + 1)
    places[1:, 0], places[1:, 1:] = (grid.lower + grid.upper) / 2, np.diag(h)
    drift = np.column_stack([equation.constant_drift, equation.linear_drift]) @ places / h[:, None]
    noise = np.einsum("ap,ijab,bq->ijpq", places, diffusion_polynomial(equation), places)
    noise = noise / np.multiply.outer(h, h)[:, :, None, None]
    return drift, noise + drift[:, None, :, None] * drift[None, :, None, :]
