"""First passage on a line: Gaussian kernels of any landscape between panels of nodes, however rare an exit is."""

import numpy as np
from dfp_solvers import absorbing
from dfp_solvers.escape import line

from dfp.checks import Array
from dfp.errors import UnresolvedError
from dfp.long_time.exit_law import ExitLaw
from dfp.problem.equation import Equation

# The most nodes, and the most multiplications of one elimination: some seconds.
_MOST, _WORK = 400_000, 6e9
# Places at which the kernel is looked at to choose how long panels are.
_PROBES = 2001


class NarrowKernel(UnresolvedError):
    """A step is too narrow for a box; says why alone, for the remedy depends on who asks."""


def kernel(equation: Equation, places: Array) -> tuple[Array, Array]:
    """Return mean and deviation of where a step from ``places`` (n,) ends, both (n,)."""
    points = places[:, None]
    variance = equation.diffusion(points)[:, 0, 0]
    if not np.all(variance >= 0):
        worst = float(places[np.argmin(variance)])
        raise UnresolvedError(f"covariance is negative at θ = {worst:.6g}: it must be >= 0; correct it.")
    return (points + equation.drift(points))[:, 0], np.sqrt(variance)


def width(equation: Equation, lower: float, upper: float) -> float:
    """Return the least width of the kernel in a box, as a function of where it ends or of where it starts.

    Raises
    ------
    NarrowKernel
        If noise vanishes somewhere.
    """
    places = np.linspace(lower, upper, _PROBES)
    moved, deviation = kernel(equation, places)
    with np.errstate(divide="ignore"):
        steep = np.maximum(np.abs(np.gradient(moved, places)), 1.0)
    # From where steps end far outside, no detail is left.
    far = (moved < lower - 14 * deviation) | (moved > upper + 14 * deviation)
    result = float(np.min(deviation / np.where(far, 1.0, steep)))
    if not (upper - lower) / max(result, 1e-300) * line.NODES / line.LENGTH <= _MOST:
        raise _unresolved(lower, upper, max(result, 1e-300))
    return result


def _unresolved(lower: float, upper: float, width: float) -> NarrowKernel:
    kernels = (upper - lower) / width
    return NarrowKernel(f"{lower:.6g} … {upper:.6g} is {kernels:.3g} kernels wide, which takes too many nodes")


def restricted(equation: Equation, lower: float, upper: float, length: float) -> tuple[line.LineStep, Array, Array]:
    """Return the step inside a box on panels ``length`` kernels long, the nodes and their weights."""
    narrowest = width(equation, lower, upper)
    nodes, weights = line.panels(np.array([[lower, upper]]), narrowest, length)
    moved, deviation = kernel(equation, nodes)
    if len(nodes) * float(np.prod(line.bandwidth(nodes, moved, deviation))) > _WORK:
        raise _unresolved(lower, upper, narrowest)
    leaving = line.between(-np.inf, lower, moved, deviation) + line.between(upper, np.inf, moved, deviation)
    return line.restricted(nodes, weights, moved, deviation, leaving), nodes, weights


def by_panels(equation: Equation, lower: Array, upper: Array, length: float, points: Array, masses: Array) -> ExitLaw:
    """Return the law of exit from ``masses`` (m,) at ``points`` (m, 1) for panels ``length`` kernels long."""
    step, nodes, weights = restricted(equation, float(lower[0]), float(upper[0]), length)
    first = masses @ line.arrivals(nodes, weights, *kernel(equation, points[:, 0]))
    rate = step.quasi_stationary[1]
    mean = float(masses.sum()) + float(first @ step.expected(np.ones(len(nodes))))

    def survival(n: int) -> Array:
        return absorbing.survival(step.step, np.ones(len(nodes)), first, n, 1 - rate)

    return ExitLaw(survival, mean, rate)
