"""First passage of finite sums with many minibatches, however rare: kernels from the characteristic function of a step.

On a line nodes are those of panels, in the plane Gauss–Legendre ones, as for Gaussian noise; nodes of a frame around
the box tell, to its own digits, what leaves in a step.
"""

from typing import Any

import numpy as np
from dfp_solvers import absorbing, absorbing_waves
from dfp_solvers.absorbing_waves import Cut
from dfp_solvers.escape import line

from dfp.checks import Array
from dfp.long_time import first_passage_line
from dfp.long_time.exit_law import ExitLaw, ExitSteps
from dfp.long_time.first_passage_line import NarrowKernel
from dfp.long_time.first_passage_numeric import by_matrix, compared, node_counts
from dfp.problem.equation import Equation

# The law and a coarser one: nodes and waves over those of Gaussian steps, and what is left out of kernels. Last waves
# are those over the deviation of a kernel, at which those of a Gaussian are e^−26.
_SMOOTH, _LAST = ((1.0, 8.5, 8.0, 0), (0.8, 7.5, 40.0, 0)), 7.2
# Where steps have details, by dimension, in turn until matrices are small enough: the last waves fade out.
_DETAILED = {
    1: (((4.0, 9.0, 2.0, 12), (2.0, 8.5, 8.0, 12)),),
    2: (((1.5, 8.75, 4.0, 12), (1.2, 8.0, 8.0, 12)), ((1.2, 8.75, 4.0, 12), (1.0, 8.0, 8.0, 12))),
}
# Largest series at the last wave of steps that have none.
_DECAYED = 1e-9
# Means of which neither is more than so many times the other say something.
_TRUSTED = 1.2
# How far beyond the last waves details of steps are looked for, by dimension, over those of Gaussian steps: where noise
# is narrow in some direction waves are many, and as far as they are affordable.
_BEYOND = {1: (40.0,), 2: (6.0, 3.0, 1.5)}
# Nodes of a frame per width of the kernel, and besides.
_NODES, _MORE = 1.7, 16
# What a step may lose between box and frame before what leaves it is what does not stay.
_LOST = 1e-6


def law(equation: Equation, lower: Array, upper: Array, points: Array, masses: Array, last: int | None) -> ExitSteps:
    """Return the law of exit from ``masses`` (m,) at ``points`` (m, d).

    Raises
    ------
    NarrowKernel
        If steps are too narrow for the box, exits rarer than ripples of few minibatches, or d = 3.
    """
    if equation.dimension > 2:
        raise NarrowKernel("d = 3 takes too many nodes")
    try:
        laws, finer = by_waves(equation, lower, upper, points, masses), details(equation, lower, upper)
    except ArithmeticError as error:
        raise NarrowKernel(str(error)) from None
    fine, rough = (found.mean for found in laws)
    if not max(fine, rough) <= _TRUSTED * min(fine, rough):
        raise NarrowKernel(
            f"means of {fine:.3g} and, with fewer nodes, {rough:.3g} steps say nothing, as ripples of few minibatches "
            "hide exits this rare"
        )
    return compared(laws, last, float(masses.sum()), details=finer)


def by_waves(equation: Equation, lower: Array, upper: Array, points: Array, masses: Array) -> list[ExitLaw]:
    """Return the law and a coarser one.

    Raises
    ------
    ArithmeticError
        If series take too many waves, or matrices too many entries.
    """
    by = _on_a_line if equation.dimension == 1 else _in_the_plane
    smooth = _beyond(equation, lower, upper, 1.0)[1] < _DECAYED
    for pair in (_SMOOTH,) if smooth else _DETAILED[equation.dimension]:
        try:
            return [
                by(equation, lower, upper, share, Cut(reach, ripples, _LAST * share, fading), points, masses)
                for share, reach, ripples, fading in pair
            ]
        except ArithmeticError as error:
            failure = error
    raise failure


def details(equation: Equation, lower: Array, upper: Array) -> float:
    """Return about how much, relatively, steps between a few values change a mean exit that are taken for smooth ones.

    Values of spacing δ deviations move walls by δ²/24 variances, to first order, as |φ|/(kσ)² at the waves k beyond all
    that are followed tells, of other details too.
    """
    for share in _BEYOND[equation.dimension]:
        try:
            return _beyond(equation, lower, upper, share)[0]
        except ArithmeticError as error:
            failure = error
    raise failure


def _beyond(equation: Equation, lower: Array, upper: Array, share: float) -> tuple[float, float]:
    """Return the largest |φ|/(kσ)² and |φ| beyond the last waves of Gaussian steps, up to ``share`` times as many."""
    places = lower + (upper - lower) * np.array([[0.3], [0.5], [0.8]])
    law, spread, found = equation.sgd.noise, equation.diffusion(places), np.zeros(2)
    for some, length, counts in absorbing_waves.groups(spread, Cut(*_SMOOTH[0][1:3], _LAST * share)):
        waves = absorbing_waves.waves(length, counts)
        size = np.sqrt(np.einsum("...i,nij,...j->n...", waves, spread[some], waves))
        phi = np.abs(law.characteristic(-equation.learning_rate * waves, places[some])) * (size > _LAST)
        found = np.maximum(found, [np.max(phi / np.maximum(size, 1.0) ** 2), np.max(phi)])
    return float(found[0]), float(found[1])


def _on_a_line(
    equation: Equation, lower: Array, upper: Array, share: float, cut: Cut, points: Array, masses: Array
) -> ExitLaw:
    narrow = first_passage_line.width(equation, lower.item(), upper.item())
    nodes, weights = line.panels(np.array([[lower.item(), upper.item()]]), narrow, line.LENGTH / share)
    inside, leaving = _split(equation, (lower, upper), [nodes], [weights], [narrow], cut)
    row, column = inside.indices, np.repeat(np.arange(len(nodes)), np.diff(inside.indptr))
    below, above = (max(int(np.max(sign * (row - column), initial=1)), 1) for sign in (-1, 1))
    band = np.zeros((len(nodes), below + above + 1))
    band[column, row - column + below] = weights[row] * inside.data
    step = line.LineStep(band, below, leaving)
    first = weights * (_kernel(equation, [nodes], points, cut) @ masses)
    rate = step.quasi_stationary[1]

    def survival(n: int) -> Array:
        return absorbing.survival(step.step, np.ones(len(nodes)), first, n, 1 - rate)

    return ExitLaw(survival, float(masses.sum() + first @ step.expected(np.ones(len(nodes)))), rate)


def _in_the_plane(
    equation: Equation, lower: Array, upper: Array, share: float, cut: Cut, points: Array, masses: Array
) -> ExitLaw:
    counts = node_counts(equation, lower, upper, (share,))[0]
    rules = [absorbing.legendre(lower[[i]], upper[[i]], (counts[i],)) for i in range(2)]
    axes, along = [rule.axes[0] for rule in rules], [rule.weights for rule in rules]
    narrow = [_NODES * (upper[i] - lower[i]) / (counts[i] - _MORE) * share for i in range(2)]
    inside, leaving = _split(equation, (lower, upper), axes, along, narrow, cut)
    first = _kernel(equation, axes, points, cut) @ masses
    weights = np.multiply.outer(*along).ravel()
    return by_matrix(inside, weights, first, float(masses.sum()), lambda: leaving)


def _split(
    equation: Equation, box: tuple[Array, Array], axes: list[Array], weights: list[Array], narrow: list[float],
    cut: Cut,
) -> tuple[Any, Array]:  # fmt: skip
    """Return the kernel between the nodes of a box, (n, n), and the probability to leave in a step from each, (n,)."""
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
    reach = cut.reach * np.sqrt(np.einsum("nii->ni", equation.diffusion(nodes))).max(axis=0)
    wide, wider, within = [], [], []
    for low, high, axis, weight, step, far in zip(*box, axes, weights, narrow, reach, strict=True):
        place, share = line.panels(np.array([[0.0, far]]), step)
        wide.append(np.concatenate([low - place[::-1], axis, high + place]))
        wider.append(np.concatenate([share[::-1], weight, share]))
        within.append(np.repeat([False, True, False], [len(place), len(axis), len(place)]))
    whole = _kernel(equation, wide, nodes, cut).tocsr()
    held = np.logical_and.reduce(np.meshgrid(*within, indexing="ij")).ravel()
    volume = np.multiply.reduce(np.meshgrid(*wider, indexing="ij")).ravel()
    inside = whole[held].tocsc()
    stays, leaves = inside.T @ volume[held], whole[~held].T @ volume[~held]
    return inside, np.where(stays + leaves < 1 - _LOST, np.clip(1 - stays, 0.0, 1.0), leaves)


def _kernel(equation: Equation, axes: list[Array], sources: Array, cut: Cut) -> Any:
    """Return the density at tensor nodes (n) of a step from ``sources`` (m, d), shape (n, m)."""
    law, rate = equation.sgd.noise, equation.learning_rate

    def characteristic(some: Any, waves: Array) -> Any:
        return law.characteristic(-rate * waves, sources[some])

    moved, spread = sources + equation.drift(sources), equation.diffusion(sources)
    return absorbing_waves.matrix(axes, moved, spread, characteristic, cut)
