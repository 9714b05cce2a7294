"""Raw moments of any order in one dimension, of the master equation and of the ladder of its truncations (T25)."""

from collections.abc import Sequence

import numpy as np
from dfp_solvers import raw_moments as algebra

from dfp import checks
from dfp.checks import Array
from dfp.errors import UnsupportedError
from dfp.problem.arguments import check_problem
from dfp.problem.equation import Equation
from dfp.problem.equations import DiscreteFokkerPlanck, MasterEquation
from dfp.problem.state import Density, State


def raw_moments(
    equation: Equation, initial: State, steps: int, order: int = 4, save: Sequence[int] | None = None
) -> Array:
    """Return E θ^j, j = 0 … ``order``, in one dimension at the saved steps.

    Parameters
    ----------
    equation
        A ``MasterEquation``, or a ``DiscreteFokkerPlanck`` of any order m: its moments up to order m are those of SGD.
    initial
        State at step 0.
    steps
        Last step, >= 0.
    order
        Highest order, >= 1.
    save
        Steps to return, increasing; every step 0 … ``steps`` if left out.

    Returns
    -------
    Array
        Shape (S, order + 1) [parameter^j]; entries are not finite where moments overflow. They are taken about θ = 0:
        far from it, central moments computed from them lose digits.

    Raises
    ------
    DFPError
        If an argument is malformed.
    UnsupportedError
        If d > 1, the landscape is nonlinear, SGD is not plain, the equation is another, or the noise has or knows no
        moments of that order: Gaussian noise and finite sums know all, ``AdditiveNoise`` those of its laws.

    Notes
    -----
    M_j' = Σ_k (−η)^k C(j,k) E[θ^{j−k} g_ξ(θ)^k] with k up to j, and up to m where truncated (T25).

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.2)
    >>> print(dfp.raw_moments(dfp.MasterEquation(sgd), dfp.Point(1.0), 10, order=4, save=[0, 10]).round(4))
    [[1.     1.     1.     1.     1.    ]
     [1.     0.1074 0.1214 0.0366 0.0439]]
    """
    check_problem(equation, initial, moments=True)
    last, highest = checks.integer("steps", steps), checks.integer("order", order, at_least=1, at_most=64)
    _check_supported(equation)
    if save is None:
        checks.require_memory(f"steps={last}: moments of every step", 8.0 * (last + 1) * (highest + 1), "give save=[…]")
    saved = np.arange(last + 1) if save is None else checks.step_list("save", save, last)
    matrix = algebra.step_matrix(_increments(equation, highest), highest)
    values, at, found = _start(initial, highest), 0, []
    with np.errstate(over="ignore", invalid="ignore"):
        for step in saved.tolist():
            values, at = np.linalg.matrix_power(matrix, step - at) @ values, step
            found.append(values)
    return np.array(found)


def _check_supported(equation: Equation) -> None:
    if not isinstance(equation, DiscreteFokkerPlanck | MasterEquation):
        raise UnsupportedError(
            f"equation: raw moments are of maps, and this is the {equation.label}; use dfp.MasterEquation(sgd), "
            "dfp.DiscreteFokkerPlanck(sgd, order=m), or dfp.MomentRecursion() for central moments."
        )
    if equation.dimension > 1:
        raise UnsupportedError(
            f"landscape: raw moments need d = 1, and d = {equation.dimension}; use dfp.moments(...) for mean and "
            "covariance, or dfp.MomentRecursion() for moments up to the fourth of (T4) and (T5)."
        )
    if not equation.sgd.affine:
        raise UnsupportedError(
            "landscape is nonlinear: moments do not close (each order needs the next); use dfp.solve(...)."
        )
    _ = equation.learning_rate  # refuses SGD that is not plain


def _increments(equation: Equation, highest: int) -> list[Array]:
    """Return E[δ^k | θ] of a step δ = −ηg_ξ(θ) for the k that act on moments up to ``highest``."""
    most = min(highest, equation.order) if isinstance(equation, DiscreteFokkerPlanck) else highest
    eta, noise = equation.learning_rate, equation.sgd.noise
    motion = -np.array([equation.constant_drift[0], equation.linear_drift[0, 0]])
    higher = noise.line_cumulants(most) if most > 1 else []
    cumulants = [motion, *((-eta) ** k * part for k, part in enumerate(higher, start=2))]
    return algebra.from_cumulants(cumulants)


def _start(initial: State, highest: int) -> Array:
    if isinstance(initial, Density):
        theta, weights = initial.grid.points.ravel(), initial.values.ravel() * initial.grid.cell_volume / initial.mass
        return np.array([weights @ theta**j for j in range(highest + 1)])
    return algebra.gaussian(float(initial.mean[0]), float(initial.covariance[0, 0]), highest)
