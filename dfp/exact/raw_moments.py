"""Raw moments of any order, d <= 3, of the master equation and of the ladder of its truncations (T25)."""

from collections.abc import Sequence

import numpy as np
from dfp_solvers import hermite
from dfp_solvers import raw_moments as algebra

from dfp import checks
from dfp.checks import Array
from dfp.errors import UnsupportedError
from dfp.problem.arguments import check_problem
from dfp.problem.equation import Equation
from dfp.problem.equations import DiscreteFokkerPlanck, MasterEquation
from dfp.problem.state import Density, Ending, State, started


def raw_moments(
    equation: Equation, initial: State | Ending, steps: int, order: int = 4, save: Sequence[int] | None = None
) -> Array:
    """Return E θ^j, j = 0 … ``order``, at the saved steps; for d <= 3 the moments E Π_i θ_i^{j_i} up to that order.

    Parameters
    ----------
    equation
        A ``MasterEquation``, or a ``DiscreteFokkerPlanck`` of any order m: its moments up to order m are those of SGD.
    initial
        State at step 0, or a ``Solution`` to go on from.
    steps
        Last step, >= 0.
    order
        Highest order, >= 1.
    save
        Steps to return, increasing; every step 0 … ``steps`` if left out.

    Returns
    -------
    Array
        Shape (S, order + 1) [parameter^j], or (S, order + 1, …) with an axis for each parameter, NaN where exponents
        add up to more than ``order``; entries are not finite where moments overflow. They are taken about θ = 0: far
        from it, central moments computed from them lose digits.

    Raises
    ------
    DFPError
        If an argument is malformed.
    UnsupportedError
        If d > 3, the landscape is nonlinear, SGD is not plain, the equation is another, or the noise has or knows no
        moments of that order: Gaussian noise and finite sums know all, ``AdditiveNoise`` with d = 1 those of its laws.

    Notes
    -----
    M_j' = Σ_k (−η)^k C(j,k) E[θ^{j−k} g_ξ(θ)^k] with k up to j, and up to m where truncated (T25). For d > 1 the
    same step acts on Hermite polynomials about 0.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.2)
    >>> print(dfp.raw_moments(dfp.MasterEquation(sgd), dfp.Point(1.0), 10, order=4, save=[0, 10]).round(4))
    [[1.     1.     1.     1.     1.    ]
     [1.     0.1074 0.1214 0.0366 0.0439]]
    """
    initial = started(initial, moments=True)
    check_problem(equation, initial, moments=True)
    last, highest = checks.last_step(steps), checks.integer("order", order, at_least=1, at_most=64)
    _check_supported(equation)
    if save is None:
        checks.require_memory(f"steps={last}: moments of every step", 8.0 * (last + 1) * (highest + 1), "give save=[…]")
    saved = np.arange(last + 1) if save is None else checks.step_list("save", save, last)
    if equation.dimension > 1:
        return _of_several(equation, initial, highest, saved.tolist())
    matrix = algebra.step_matrix(_increments(equation, highest), highest)
    return np.array(_carried(matrix, _start(initial, highest), saved.tolist()))


def _carried(matrix: Array, values: Array, saved: list[int]) -> list[Array]:
    at, found = 0, []
    with np.errstate(over="ignore", invalid="ignore"):
        for step in saved:
            values, at = np.linalg.matrix_power(matrix, step - at) @ values, step
            found.append(values)
    return found


def _of_several(equation: Equation, initial: State, highest: int, saved: list[int]) -> Array:
    """Return E Π θ_i^{j_i}, (S, highest + 1, …), by one step on the Hermite polynomials of θ in units of the start."""
    d, noise = equation.dimension, equation.sgd.noise
    unit = float(np.sqrt(np.max(initial.mean**2 + np.diag(initial.covariance)))) or 1.0
    nodes, weights = hermite.quadrature(d, highest)
    motion = -(nodes @ equation.linear_drift.T + equation.constant_drift / unit)
    shaken = noise.increment_moments(nodes * unit, -equation.learning_rate / unit * np.eye(d), highest)
    every = hermite.indices(d, highest)
    kept = equation.order if isinstance(equation, DiscreteFokkerPlanck) else highest
    steps = hermite.displaced(shaken, motion, highest)[every.sum(axis=1) <= kept]
    if isinstance(initial, Density):
        places, shares = initial.grid.points.reshape(-1, d), initial.values.ravel() * initial.grid.cell_volume
        start = hermite.basis(places / unit, highest) @ (shares / initial.mass)
    else:
        values, vectors = np.linalg.eigh(initial.covariance)
        places = initial.mean + nodes @ (vectors * np.sqrt(np.maximum(values, 0.0))).T
        start = hermite.basis(places / unit, highest) @ weights
    powers = hermite.to_powers(d, highest) * unit ** every.sum(axis=1)[:, None]
    result = np.full((len(saved), *(highest + 1,) * d), np.nan)
    for s, values in enumerate(_carried(hermite.operator(nodes, steps, highest), start, saved)):
        result[s][tuple(every.T)] = powers @ values
    return result


def _check_supported(equation: Equation) -> None:
    if not isinstance(equation, DiscreteFokkerPlanck | MasterEquation):
        raise UnsupportedError(
            f"equation: raw moments are of maps, and this is the {equation.label}; use dfp.MasterEquation(sgd), "
            "dfp.DiscreteFokkerPlanck(sgd, order=m), or dfp.MomentRecursion() for central moments."
        )
    if equation.dimension > 3:
        raise UnsupportedError(
            f"landscape: raw moments need d <= 3, and d = {equation.dimension}; use dfp.moments(...) for mean and "
            "covariance."
        )
    if not equation.sgd.affine:
        raise UnsupportedError(
            "landscape is nonlinear: moments do not close (each order needs the next); use dfp.solve(...)."
        )
    _ = equation.learning_rate  # refuses SGD that is not plain
    if equation.dimension > 1 and not equation.sgd.noise.every_moment:
        raise UnsupportedError(
            "noise: for d > 1 raw moments are known of Gaussian noise and of finite sums; use dfp.MomentRecursion() "
            "for moments up to the fourth."
        )


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
