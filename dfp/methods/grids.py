"""Automatic grids: the box and the spacing that the exact moments ask for."""

import math

import numpy as np
from dfp_solvers import boxes, matrices
from scipy import fft

from dfp.checks import TINY, Array, every
from dfp.errors import UnresolvedError
from dfp.exact.moments import Moments
from dfp.problem.grid import MAX_CELLS, Grid

# Half-width of the box in standard deviations: a Gaussian leaves 6e-14 outside 7.5.
_WIDTH = 7.5
# φ of a Gaussian is 1e-12 at this many inverse standard deviations: π over it is the spacing that resolves it.
_BAND = 7.5
# Ratio of the extreme eigenvalues of a covariance at which there is no density to put on a grid.
_SINGULAR = 1e-13


def automatic(exact: Moments, *, width: float = _WIDTH, band: float = _BAND, covariances: Array | None = None) -> Grid:
    """Return a grid that holds and resolves a nearly Gaussian density at every saved step.

    Parameters
    ----------
    exact
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
    details = exact.covariance if covariances is None else covariances
    sizes = matrices.eigenvalues(details)
    largest = sizes[:, -1] if covariances is None else matrices.eigenvalues(exact.covariance)[:, -1]
    regular = sizes[:, 0] > np.maximum(_SINGULAR * largest, TINY)
    if not every(regular):
        first = int(np.argmin(regular))
        raise UnresolvedError(
            f"step {exact.steps[first]}: the covariance has the eigenvalue {sizes[first, 0]:.3g}, so there is no "
            "density to put on a grid; save later steps, start from a wider dfp.Gaussian, or use dfp.MomentRecursion()."
        )
    lower, upper, cells = boxes.around(exact.mean, exact.covariance, matrices.precisions(details), width, band)
    total_cells = math.prod(cells.tolist())
    if not total_cells <= MAX_CELLS:
        raise UnresolvedError(
            f"cells={cells.astype(float)}: resolving the narrowest saved density in the widest box needs "
            f"{total_cells:.2g} cells, more than {MAX_CELLS}; save fewer, more similar steps or give grid=..."
        )
    return Grid(lower, upper, [fft.next_fast_len(max(int(n), 32), real=True) for n in cells.tolist()])


def conditional_deviations(covariances: Array) -> Array:
    """Return deviations of each axis given the others, 1/(Σ⁻¹)_ii^½, shape (N, d); 0 where Σ is singular."""
    values = matrices.eigenvalues(covariances)
    regular = values[:, 0] > _SINGULAR * values[:, -1]
    result = np.zeros(covariances.shape[:2])
    result[regular] = matrices.precisions(covariances[regular]) ** -0.5
    return result


def bins(exact: Moments, *, width: float = 6.0) -> Grid:
    """Return the cells of a histogram: a quarter of a standard deviation or finer, as far as counts stay useful."""
    most, multiple = {1: (400, 100), 2: (120, 24), 3: (40, 10)}[exact.mean.shape[1]]
    deviation = np.sqrt(np.maximum([np.diag(c) for c in exact.covariance], 1e-300))
    lower, upper = np.min(exact.mean - width * deviation, axis=0), np.max(exact.mean + width * deviation, axis=0)
    wanted = (upper - lower) / np.min(deviation, axis=0) * 4
    cells = [min(int(np.ceil(min(n, most) / multiple)) * multiple, most) for n in wanted]
    return Grid(lower, upper, tuple(cells))
