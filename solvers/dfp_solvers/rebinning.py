"""Probabilities of cells from densities at cell centres, or from masses of other cells, along one axis."""

import numpy as np
from scipy.interpolate import PchipInterpolator, make_interp_spline

from dfp_solvers.arrays import Array


def integrated(values: Array, centres: Array, spacing: float, edges: Array, axis: int) -> Array:
    """Return integrals between ``edges`` of the quintic spline through ``values``, taken as zero beyond the cells."""
    pad = np.arange(1, 7) * spacing
    nodes = np.concatenate([centres[0] - pad[::-1], centres, centres[-1] + pad])
    spline = make_interp_spline(nodes, np.pad(values, _along(axis, values.ndim, len(pad), len(pad))), k=5, axis=axis)
    within = np.clip(edges, nodes[0], nodes[-1])
    return np.diff(spline.antiderivative()(within), axis=axis)


def rebinned(masses: Array, old: Array, new: Array, axis: int) -> Array:
    """Return masses of cells between ``new`` edges from masses of cells between ``old`` edges.

    Sums where every new edge is an old one, else monotone interpolation of the cumulative masses.
    """
    cumulative = np.cumsum(np.pad(masses, _along(axis, masses.ndim, 1, 0)), axis=axis)
    factor, rest = divmod(len(old) - 1, len(new) - 1)
    if rest == 0 and np.allclose(old[::factor], new, rtol=0, atol=1e-9 * (old[1] - old[0])):
        kept = np.take(cumulative, np.arange(0, len(old), factor), axis=axis)
    else:
        kept = PchipInterpolator(old, cumulative, axis=axis)(np.clip(new, old[0], old[-1]))
    return np.diff(kept, axis=axis)


def _along(axis: int, dimensions: int, before: int, after: int) -> list[tuple[int, int]]:
    width = [(0, 0)] * dimensions
    width[axis] = (before, after)
    return width
