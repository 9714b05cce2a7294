"""First passage on a line with heavy-ball momentum, from rest (T19): Gaussian kernels between pairs of places."""

import numpy as np
from dfp_solvers import absorbing, absorbing_pairs, rare_exits

from dfp.checks import Array
from dfp.errors import UnresolvedError
from dfp.long_time import first_passage_line
from dfp.long_time.exit_law import ExitLaw
from dfp.problem.equation import Equation
from dfp.problem.equations import MasterEquation

# Nodes per width of the kernel of a plane, fine and coarse, and the most: a matrix of half a gigabyte.
_NODES, _MOST = (1.7, 1.4), 500
_PROBES = 401


def supported(equation: Equation) -> bool:
    """Tell whether the law can be computed: one parameter, heavy-ball momentum alone, Gaussian noise."""
    sgd = equation.sgd
    if equation.dimension != 1 or not sgd.momentum or sgd.nesterov or sgd.changed(momentum=0.0).features:
        return False
    return bool(sgd.noise.gaussian if sgd.affine else sgd.local.gaussian)


def by_pairs(equation: Equation, lower: Array, upper: Array, points: Array, masses: Array) -> list[ExitLaw]:
    """Return the laws of exit from ``masses`` (m,) at ``points`` (m, 1) at rest, of a fine and a coarse rule.

    Raises
    ------
    UnresolvedError
        If the box takes too many nodes, or an iteration does not converge.
    """
    plain, beta = MasterEquation(equation.sgd.changed(momentum=0.0)), equation.sgd.momentum
    low, high = float(lower[0]), float(upper[0])
    places = np.linspace(low, high, _PROBES)
    means, deviation = first_passage_line.kernel(plain, places)
    steep = np.maximum(np.abs(np.gradient(means, places) + beta), 1.0)
    # Legendre's nodes lie closer towards the walls; from where steps end far outside, no detail is left.
    closer = np.sqrt(np.maximum(1 - np.linspace(-1, 1, _PROBES) ** 2, 1 / 16))
    reach = 9 * deviation + beta * (high - low)
    near = (means > low - reach) & (means < high + reach)
    with np.errstate(divide="ignore"):
        kernels = float(np.max((high - low) * (closer * steep / deviation)[near]))
    counts = [int(min(share * kernels, 1e9)) + 20 for share in _NODES]
    if not counts[0] <= _MOST:
        raise UnresolvedError(
            f"domain: it is {kernels:.3g} kernels wide, which takes {counts[0]} nodes for each place of a pair, more "
            f"than {_MOST}; take a smaller box, a larger learning_rate, or sample it: "
            "trajectories=20_000, splitting=True."
        )
    return [_law(plain, beta, low, high, count, points[:, 0], masses) for count in counts]


def _law(plain: Equation, beta: float, low: float, high: float, count: int, starts: Array, masses: Array) -> ExitLaw:
    pairs = absorbing_pairs.restricted(
        lambda at: first_passage_line.kernel(plain, at), beta, low, high, count, starts, masses
    )
    try:
        mean, leaving = rare_exits.mean_steps(pairs.matrix, pairs.weights, pairs.first, pairs.out)
    except ArithmeticError as error:
        raise UnresolvedError(
            f"domain: {error}; take a smaller box, or sample it: trajectories=20_000, splitting=True."
        ) from None

    def survival(n: int) -> Array:
        rest = absorbing.survival(lambda p: pairs.matrix @ p, pairs.weights, pairs.first, max(n - 1, 0), 1 - leaving)
        return np.concatenate([[pairs.inside], rest])[:n]

    return ExitLaw(survival, float(masses.sum() + pairs.inside + mean), float(leaving))
