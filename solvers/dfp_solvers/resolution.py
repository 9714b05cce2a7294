"""Whether cells resolve a density: what is left of its spectrum at the largest wave number."""

from functools import lru_cache

import numpy as np
from scipy import fft

from dfp_solvers import summary
from dfp_solvers.arrays import Array


def unresolved(density: Array) -> float:
    """Return the largest amplitude of the spectrum at the largest wave number of any axis; that at zero is the sum."""
    if density.ndim == 1:
        return summary.edge_amplitude(_edge_waves(density.size), density)
    largest = 0.0
    for axis, n in enumerate(density.shape):
        planes = _edge_waves(n) @ (density if axis == 0 else np.moveaxis(density, axis, 0)).reshape(n, -1)
        spectrum = planes[0::2] + 1j * planes[1::2]
        rest = density.shape[:axis] + density.shape[axis + 1 :]
        spectrum = fft.fftn(spectrum.reshape(2, *rest), axes=range(1, density.ndim))
        largest = max(largest, float(np.abs(spectrum).max()))
    return largest


@lru_cache(maxsize=32)
def _edge_waves(n: int) -> Array:
    """Return real and imaginary parts of the last two waves of n cells, shape (4, n)."""
    # The very last wave number can vanish by symmetry, so its neighbour counts too.
    angles = 2 * np.pi / n * (np.multiply.outer([n // 2 - 1, n // 2], np.arange(n)) % n)
    return np.stack([np.cos(angles), -np.sin(angles)], axis=1).reshape(4, n)
