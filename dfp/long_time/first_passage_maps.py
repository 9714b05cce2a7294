"""First passage of a finite sum with few minibatches, each a map of its own, and of paths without noise."""

import numpy as np
from dfp_solvers import absorbing_maps

from dfp.checks import Array
from dfp.errors import UnresolvedError
from dfp.long_time.exit_law import ExitSteps
from dfp.problem.equation import Equation

# Entries of a step's matrix, and of all steps together, that are affordable: a few hundred megabytes, some ten seconds.
_ENTRIES, _WORK = 1.2e7, 3e10
_MOST_CELLS = {1: 2**13, 2: 384}
# Survival at which a law is long enough if its length is left open, and the longest then.
_ENOUGH, _LONGEST = 1e-3, 10_000
# Points of a path within a step of slow time η.
_SUBSTEPS = 64


def by_maps(
    equation: Equation, lower: Array, upper: Array, cells: tuple[int, ...] | None, points: Array, masses: Array,
    last: int | None,
) -> ExitSteps:  # fmt: skip
    """Return the law from two grids: the finer one, freed of its error of order two, and what they differ by.

    Raises
    ------
    UnresolvedError
        If the law takes too many steps to settle.
    """
    maps, d = _maps(equation), len(lower)
    affordable = int((_ENTRIES / (2**d * len(maps[2]))) ** (1 / d))
    fine = cells or (min(max(affordable, 16), _MOST_CELLS[d]),) * d
    levels = []
    for counts in (fine, tuple(max(n // 2, 2) for n in fine)):
        step = absorbing_maps.restricted(*maps, lower, upper, counts)
        first = absorbing_maps.arrival(points, masses, maps, lower, upper, counts)
        try:
            levels.append(absorbing_maps.survival(step, first, 1e-14, int(min(_WORK / step.matrix.nnz, 1e6))))
        except ArithmeticError as failure:
            raise UnresolvedError(
                f"domain: {failure}; raise learning_rate, take fewer cells, dfp.Grid(lower, upper, cells), or "
                "dfp.Langevin(sgd)."
            ) from None
    inside = float(masses.sum())
    n = _length(last, *levels[0])
    survivals = [np.append(inside, _continued(*level, n)) for level in levels]
    survival, error = _extrapolated(*survivals)
    means = [np.array([inside + _sum(*level)]) for level in levels]
    mean, mean_error = _extrapolated(*means) if all(np.isfinite(m[0]) for m in means) else (means[0], np.inf)
    survival = np.minimum.accumulate(np.clip(survival, 0.0, inside))
    return ExitSteps(np.arange(n + 1), survival, float(mean[0]), 1 - levels[0][1], error, mean_error)


def _maps(equation: Equation) -> tuple[Array, Array, Array]:
    """Return factors (M, d, d), shifts (M, d) and probabilities (M,) of the minibatches."""
    sgd, drawn = equation.sgd, equation.sgd.noise.minibatches()
    curved = drawn.hessians + sgd.sample_decay * np.eye(equation.dimension)
    return (
        np.eye(equation.dimension) - sgd.learning_rate * curved,
        -sgd.learning_rate * drawn.gradients,
        drawn.weights,
    )


def _length(last: int | None, masses: Array, leaving: float) -> int:
    if last is not None:
        return last
    done = np.flatnonzero(masses <= _ENOUGH)
    if done.size:
        return int(done[0]) + 1
    more = np.log(_ENOUGH / masses[-1]) / np.log1p(-leaving) if 0 < leaving < 1 else np.inf if leaving == 0 else 1.0
    return int(min(len(masses) + np.ceil(more), _LONGEST))


def _continued(masses: Array, leaving: float, steps: int) -> Array:
    """Return the first ``steps`` masses, by the share that leaves where they are no longer given."""
    beyond = masses[-1] * (1 - leaving) ** np.arange(1.0, max(steps - len(masses), 0) + 1)
    return np.concatenate([masses, beyond])[:steps]


def _sum(masses: Array, leaving: float) -> float:
    """Return the sum of all masses."""
    if masses[-1] <= 1e-14:
        return float(masses.sum())
    return float(masses.sum()) + float(masses[-1]) * (1 - leaving) / leaving if leaving > 0 else np.inf


def _extrapolated(fine: Array, rough: Array) -> tuple[Array, float]:
    return fine + (fine - rough) / 3, float(np.max(np.abs(fine - rough)))


def without_noise(
    equation: Equation, lower: Array, upper: Array, points: Array, masses: Array, last: int | None
) -> ExitSteps:
    """Return the law of paths that are certain: each starting point leaves at a step of its own, or never."""
    values, vectors, inverse = equation.sgd.modes_of_map
    sub = 1 if equation.discrete else _SUBSTEPS
    rates, centre = equation.mode_rates(values) * values, equation.sgd.critical_point
    factors = 1 - rates if equation.discrete else np.exp(-equation.sgd.learning_rate * rates / sub)
    slope = inverse @ (equation.sgd.hessian @ centre + equation.sgd.gradient)  # along flat modes alone
    push = -equation.sgd.learning_rate * slope / sub
    along, inside, survival = (points - centre) @ inverse.T, np.ones(len(points), bool), [float(masses.sum())]
    for _ in range(max(_LONGEST, last or 0)):
        before = along
        for _ in range(sub):
            along = along * factors + push
            theta = centre + along @ vectors.T
            inside = inside & np.all((theta >= lower) & (theta <= upper), axis=1)
        survival.append(float(masses[inside].sum()))
        if survival[-1] == 0 or np.array_equal(along, before):
            break
    gone = survival[-1] == 0
    mean, decay = (float(np.sum(survival)), 0.0) if gone else (np.inf, 1.0)
    n = len(survival) - 1 if last is None else last
    shown = np.append(survival, np.full(max(n + 1 - len(survival), 0), survival[-1]))[: n + 1]
    return ExitSteps(np.arange(n + 1), shown, mean, decay, 0.0, 0.0)
