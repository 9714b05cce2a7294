"""Directions that move by themselves: invariant subspaces of the mean Hessian whose noise knows no other direction.

There Uᵀθ obeys an equation of its own, the same one in k dimensions (D): derivatives along the other directions vanish
when they are integrated out, and drift and noise along U depend on Uᵀθ alone.
"""

from dataclasses import replace

import numpy as np

from dfp.checks import Array
from dfp.problem.equation import Equation
from dfp.problem.landscape import QuadraticLandscape
from dfp.problem.noise import GaussianLaw, GaussianNoise
from dfp.problem.state import Gaussian, Point, State

# Parameters up to which modes are looked for, and what is rounding of unit vectors.
_MOST, _ROUNDED = 4096, 1e-12


def alone(equation: Equation, initial: State, u: Array) -> tuple[Equation, State] | None:
    """Return the equation of Uᵀθ and its start, for orthonormal columns of ``u`` (d, k); None where there is none.

    Additive Gaussian noise moves in every invariant subspace by itself, multiplicative Gaussian noise along a single
    eigenvector whose curvature no other mode shakes.
    """
    sgd, given = equation.sgd, equation.sgd.landscape
    if not isinstance(given, QuadraticLandscape) or sgd.moves or initial.gridded is not None:
        return None
    d, k = u.shape
    if d > _MOST or np.abs(u.T @ u - np.eye(k)).max() > _ROUNDED:
        return None
    hessian = given.hessian
    turned = u.T @ hessian @ u
    if np.abs(hessian @ u - u @ turned).max() > _ROUNDED * max(float(np.abs(hessian).max()), 1e-300):
        return None
    noise = _along(given.law, u) if isinstance(given.law, GaussianLaw) else None
    if noise is None:
        return None
    landscape = QuadraticLandscape((turned + turned.T) / 2, given.gradient @ u, noise)
    if initial.point:
        start: State = Point(initial.mean @ u)
    else:
        start = Gaussian(initial.mean @ u, u.T @ initial.covariance @ u)
    return replace(equation, sgd=sgd.changed(landscape=landscape)), start


def _along(law: GaussianLaw, u: Array) -> GaussianNoise | None:
    local = u.T @ law.local @ u
    if law.additive:
        return GaussianNoise(local)
    if u.shape[1] > 1:
        return None
    own = np.eye(len(u)) if law.axes is None else law.axes
    shares = np.abs(own.T @ u[:, 0])
    mode = int(np.argmax(shares))
    others = np.delete(law.table[mode], mode)
    if shares[mode] < 1 - _ROUNDED or others.any():
        return None
    place = None if law.place is None else law.place @ u
    return GaussianNoise(local, law.table[mode, mode], at=place)
