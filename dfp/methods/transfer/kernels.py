"""Transition kernels on a lattice: which one each source has, resolved, narrow, or one of a few maps."""

import numpy as np
from dfp_solvers import lattice, matrices
from dfp_solvers.transfer import uniform
from numpy.typing import NDArray

from dfp.checks import Array
from dfp.errors import UnresolvedError
from dfp.methods.grids import MOST_UNIFORM
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid
from dfp.problem.noise import Minibatches

Kernels = tuple[uniform.Resolved | uniform.Narrow | uniform.Maps, ...]

# The trapezoidal rule for (T4) is spectrally accurate where a kernel spans this many cells (theory page, section 5).
RESOLVED = 1 / 0.6
# The rule errs by exp(−2π² v²w²/(v² + w²)) for a kernel and a density w and v cells wide. At this width that is 2e-7
# where the density is as narrow, 4e-14 where it is wide: grids aim at the former width and accept the latter.
_ACCEPTED = 1.25
# Conditional deviations [cells] from which a Gaussian is given by its values on the grid.
ON_GRID = 1.2
_MOST_MAPS = 512
# Largest deviations [cells] a quadrature rule of the noise serves, and its nodes: Gauss–Hermite, then trapezoidal.
_GAUSS = ((1e-9, 1), (0.7, 5), (2.0, 11))
_TRAPEZOIDAL = (4.0, 8.0, 16.0, 32.0, 64.0, np.inf)


def widths(equation: Equation, points: Array, spacing: Array) -> Array:
    """Return how wide the kernel from ``points`` is as a function of where it ends and of where it starts, (N, d)."""
    covariance = equation.diffusion(points) / np.outer(spacing, spacing)
    values = np.linalg.eigvalsh(covariance)
    regular = values[:, 0] > 1e-13 * values[:, -1]
    result = np.zeros(points.shape)
    inverse = np.linalg.inv(covariance[regular])
    factor = factor_of(equation, spacing, points[regular])
    seen = np.swapaxes(factor, -1, -2) @ inverse @ factor
    largest = np.maximum(inverse.diagonal(axis1=1, axis2=2), seen.diagonal(axis1=1, axis2=2))
    result[regular] = largest**-0.5
    return result


def factor_of(equation: Equation, spacing: Array, points: Array) -> Array:
    """Return A = I − ηH at ``points`` (N, d) in index units, shape (N, d, d), or (d, d) where it is one for all."""
    sgd = equation.sgd
    moved = equation.linear_drift if sgd.affine else sgd.learning_rate * sgd.local.hessian_at(points)
    return (np.eye(equation.dimension) - moved) * spacing / spacing[:, None]


def unresolved_kernel(wanted: Array) -> UnresolvedError:
    """Return the error that says how many cells would resolve the kernel in 3D."""
    return UnresolvedError(
        f"resolving the transition kernel takes cells={tuple(np.ceil(wanted).astype(int).tolist())}, and in 3D at most "
        f"{MOST_UNIFORM[3]} on an axis are possible; raise learning_rate, give grid=... with a smaller box, or sample "
        "dfp.solve(...) to a late step with dfp.MonteCarlo(...)."
    )


def kernels_of(equation: Equation, grid: Grid, points: Array) -> Kernels:
    """Return the transition kernels from ``points`` (N, d) to the nodes of ``grid``."""
    d, origin = grid.dimension, grid.lower + grid.spacing / 2
    if enumerated(equation):
        return (maps(equation, grid, points, equation.sgd.noise.minibatches()),)
    place = (points + equation.drift(points) - origin) / grid.spacing
    resolved = np.all(widths(equation, points, grid.spacing) >= _ACCEPTED, axis=1)
    if d == 3 and not np.all(resolved):
        narrowest = np.min(widths(equation, points, np.ones(d)), axis=0)
        with np.errstate(divide="ignore"):
            raise unresolved_kernel((grid.upper - grid.lower) * RESOLVED / narrowest)
    covariance = equation.diffusion(points) / np.outer(grid.spacing, grid.spacing)
    parts: list[uniform.Resolved | uniform.Narrow] = []
    if np.any(resolved):
        parts.append(_resolved(np.flatnonzero(resolved), place[resolved], covariance[resolved]))
    if not np.all(resolved):
        parts.append(_narrow(np.flatnonzero(~resolved), place[~resolved], covariance[~resolved]))
    return tuple(parts)


def _resolved(source: NDArray[np.int64], place: Array, covariance: Array) -> uniform.Resolved:
    count, d = place.shape
    whitening = np.tile(np.eye(3) * 1e3, (count, 1, 1))
    whitening[:, 3 - d :, 3 - d :] = matrices.whitening(covariance)
    three, reach = np.zeros((count, 3)), np.zeros((count, 3))
    three[:, 3 - d :], reach[:, 3 - d :] = place, np.sqrt(covariance.diagonal(axis1=1, axis2=2))
    peak = np.prod(whitening.diagonal(axis1=1, axis2=2)[:, 3 - d :], axis=1) / (2 * np.pi) ** (d / 2)
    return uniform.Resolved(source, three, np.ascontiguousarray(whitening[:, *np.tril_indices(3)]), reach, peak)


def _narrow(source: NDArray[np.int64], place: Array, covariance: Array) -> uniform.Narrow:
    count, d = place.shape
    values, vectors = np.linalg.eigh(covariance)
    deviations = np.sqrt(np.maximum(values, 0.0))
    two, root, rule = np.zeros((count, 2)), np.zeros((count, 2, 2)), np.zeros((count, 2), np.int64)
    two[:, 2 - d :], root[:, 2 - d :, 2 - d :] = place, vectors * deviations[:, None, :]
    rule[:, 2 - d :] = np.searchsorted([most for most, _ in _GAUSS] + list(_TRAPEZOIDAL), deviations)
    rules: list[tuple[Array, Array]] = [np.polynomial.hermite_e.hermegauss(n) for _, n in _GAUSS]
    rules += [lattice.normal_rule(0.6 * min(1.0, 4.0 / min(most, 128.0))) for most in _TRAPEZOIDAL]
    nodes, weights = (np.concatenate(part) for part in zip(*rules, strict=True))
    sizes = [len(part) for part, _ in rules]
    weights = weights / np.repeat([w.sum() for _, w in rules], sizes)
    return uniform.Narrow(source, two, root, rule, nodes, weights, np.cumsum([0, *sizes]))


def enumerated(equation: Equation) -> bool:
    """Return whether there are so few minibatches that each is taken as a map of its own (d <= 2)."""
    law = equation.sgd.noise if equation.sgd.affine else None
    return law is not None and law.dimension < 3 and law.minibatch_count() <= _MOST_MAPS


def maps(equation: Equation, grid: Grid, points: Array, chosen: Minibatches) -> uniform.Maps:
    """Return the affine maps of ``chosen`` minibatches, by their weights, from ``points`` (N, d), in index units."""
    sgd, d, origin = equation.sgd, grid.dimension, grid.lower + grid.spacing / 2
    factor = np.eye(d) - sgd.learning_rate * (chosen.hessians + sgd.sample_decay * np.eye(d))
    offset = -sgd.learning_rate * chosen.gradients
    count = len(chosen.weights)
    at, square, shift = np.zeros((len(points), 2)), np.tile(np.eye(2), (count, 1, 1)), np.zeros((count, 2))
    at[:, 2 - d :] = (points - origin) / grid.spacing
    square[:, 2 - d :, 2 - d :] = factor * grid.spacing / grid.spacing[:, None]
    shift[:, 2 - d :] = (factor @ origin + offset - origin) / grid.spacing
    return uniform.Maps(at, square, shift, chosen.weights)
