"""Random affine maps in one dimension, θ' = A θ + c with Gaussian A and c: the stationary density, tails and all.

With A ~ N(a, s²) and independent noise of variance v, the law settles iff ℓ = E log|A| < 0 (Kesten 1973); its tails
then fall like x^(−κ), E|A|^κ = 1 (``lyapunov.py``). Theory page, section 4.

In the coordinate t = arcsinh(θ s / √v) every transition is about s wide, from the peak to any distance in the tails, so
that the trapezoidal rule for the fixed point P = ∫ W P is spectrally accurate with few nodes even where no variance
exists.
"""

import numpy as np
from scipy.special import ndtr

from dfp_solvers.arrays import Array

# Spacing of nodes in widths of a transition, or of a wide one in units of arcsinh: there the noise's deviation has
# branch points at a distance of π/2 from the real axis. The trapezoidal rule then errs by 1e-9 at most.
_SPACING, _WIDEST = 0.5, 0.24
# Largest number of nodes: a dense system of this size takes seconds.
MOST_NODES = 4000


def farthest(s: float, spacing: float = _SPACING) -> float:
    """Return the largest reach that the most nodes cover; beyond 300 numbers overflow."""
    return min((MOST_NODES // 2 - 2) * spacing * min(s, _WIDEST), 300.0)


class Fixed:
    """The stationary law of θ' = a θ + b + noise of variance v + s² θ², all parts Gaussian; ℓ < 0, v > 0.

    Parameters
    ----------
    a, b, s, v
        As above; ``s`` > 0 [1], ``b`` [parameter], ``v`` [parameter^2].
    reach
        Half-width of the nodes in t.
    spacing
        Of the nodes, in widths of a transition.
    """

    def __init__(self, a: float, b: float, s: float, v: float, reach: float, spacing: float = _SPACING) -> None:
        self.a, self.b, self.s, self.v = a, b, s, v
        half = int(np.ceil(reach / (spacing * min(s, _WIDEST))))
        if 2 * half + 1 > MOST_NODES:
            raise ValueError(f"nodes: {2 * half + 1} are needed, more than {MOST_NODES}.")
        t = np.arange(-half, half + 1) * (reach / half)
        self.theta = np.sqrt(v) / s * np.sinh(t)
        self.weights = np.sqrt(v) / s * np.cosh(t) * (reach / half)
        kernel = self.transition(self.theta) * self.weights
        # Mass is conserved up to what leaves the last nodes; it is put back where it came from, in proportion.
        mass = self.weights @ kernel / self.weights
        kernel /= mass
        system = kernel - np.eye(len(t))
        system[half] = self.weights
        right = np.zeros(len(t))
        right[half] = 1.0
        self.density = np.linalg.solve(system, right)

    def transition(self, theta: Array) -> Array:
        """Return the density of getting from the nodes to ``theta`` (m,), shape (m, nodes)."""
        mean, deviation = self._moments()
        z = (theta[:, None] - mean) / deviation
        return np.exp(-0.5 * z * z) / (deviation * np.sqrt(2 * np.pi))

    def _moments(self) -> tuple[Array, Array]:
        return self.a * self.theta + self.b, np.sqrt(self.v + (self.s * self.theta) ** 2)

    def at(self, theta: Array) -> Array:
        """Return the density at ``theta`` (m,), one transition away from the nodes."""
        parts = [self.transition(part) @ (self.weights * self.density) for part in np.array_split(theta, 16)]
        return np.concatenate(parts)

    def below(self, place: float) -> float:
        """Return the mass below a place."""
        mean, deviation = self._moments()
        return float(ndtr((place - mean) / deviation) @ (self.weights * self.density))

    def above(self, place: float) -> float:
        """Return the mass above a place."""
        mean, deviation = self._moments()
        return float(ndtr((mean - place) / deviation) @ (self.weights * self.density))
