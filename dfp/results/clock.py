"""Solutions, moments and laws on one clock, and the frames that they share."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dfp.checks import Array
from dfp.exact.moments import Moments
from dfp.problem.grid import Grid
from dfp.problem.parameters import check_order
from dfp.problem.state import Density
from dfp.result import Result
from dfp.results import schema
from dfp.results.certificate import Certificate
from dfp.results.kinds import kind_of
from dfp.results.solution import Solution

# Kinds of results that stand at every step.
_LAWS = ("density", "stationary moments")
# Relative difference of slow times that is rounding.
_SAME = 1e-9


def is_law(given: object) -> bool:
    """Tell whether a result stands at every step."""
    return isinstance(given, Result) and kind_of(given) in _LAWS


def on_one_clock(given: Mapping[str, Any]) -> dict[str, Solution]:
    """Return solutions and moments, with laws as solutions at all the steps of the first that has any."""
    timed = {name: _timed(s) if isinstance(s, Moments) else s for name, s in given.items()}
    clock = next((s for s in timed.values() if isinstance(s, Solution)), None)
    found = {name: s if isinstance(s, Solution) else _as_solution(s, clock) for name, s in timed.items()}
    for name, solution in found.items():
        check_order(f"solutions[{name!r}]", solution.parameters, next(iter(found.values())).parameters)
    return found


def _timed(moments: Moments) -> Solution:
    unknown = np.full(len(moments.steps), np.nan)
    return _without_a_solver(moments.steps, unknown, None, None, moments.mean, moments.covariance, moments.parameters)


def _as_solution(law: Any, clock: Solution | None) -> Solution:
    steps = np.zeros(1, dtype=np.int64) if clock is None else clock.steps
    time, count, d = np.zeros(1) if clock is None else slow_time(clock), len(steps), len(law.mean)
    grid = law.grid if isinstance(law, Density) else None
    density = np.broadcast_to(law.values, (count, *law.values.shape)) if isinstance(law, Density) else None
    moments = np.broadcast_to(law.mean, (count, d)), np.broadcast_to(law.covariance, (count, d, d))
    return _without_a_solver(steps, time, grid, density, *moments, law.parameters)


def _without_a_solver(
    steps: Any,
    time: Array,
    grid: Grid | None,
    density: Array | None,
    mean: Array,
    covariance: Array,
    parameters: tuple[str, ...],
) -> Solution:
    unknown = np.full(len(steps), np.nan)
    return Solution(
        equation="law",
        solver="given",
        reason="given",
        steps=steps,
        learning_rate=np.nan,
        grid=grid,
        density=density,
        mean=mean,
        covariance=covariance,
        certificate=Certificate(**dict.fromkeys(schema.FIGURES, unknown), sampled=False, warnings=()),
        slow_time=time,
        parameters=parameters,
    )


def nothing_shared(at: str) -> str:
    """Return what to say of solutions without a common frame."""
    if at == "step":
        return 'solutions: they share no saved step; give the same save=[...], or at="time" if learning rates differ.'
    return (
        "solutions: they share no saved time; give save=[...] that makes the slow times equal, learning_rate × step, "
        "with momentum over 1 − β."
    )


def slow_time(solution: Solution) -> Array:
    """Return how far the mean has been driven at the saved steps, shape (S,): Σ η, with momentum Σ η/(1−β)."""
    momentum = solution.provenance.get("momentum")
    return solution.time / (1 - momentum) if isinstance(momentum, float) and 0 <= momentum < 1 else solution.time


def apart(name: str, solution: Solution, reference: str, base: Solution, pairs: Mapping[int, int]) -> str | None:
    """Say in words where frames of the same step, by ``pairs``, are not of the same slow time; None if they are."""
    own, other = slow_time(solution)[list(pairs.values())], slow_time(base)[list(pairs)]
    differ = np.abs(own - other) > _SAME * np.abs(other)  # moments have no slow time, NaN
    if _settled(solution) or _settled(base) or not differ.any():
        return None
    last = int(np.flatnonzero(differ)[-1])
    return (
        f"{name!r} is at slow time {own[last]:.4g} at step {base.steps[list(pairs)[last]]}, {reference!r} at "
        f"{other[last]:.4g} (learning_rate × steps, with momentum over 1 − β): they have not gone equally far; compare "
        'at="time", or at rates whose slow times agree.'
    )


def _settled(solution: Solution) -> bool:
    """Tell whether it is a law on a clock of ``on_one_clock``, the same at every time."""
    return solution.equation == "law" and bool(np.isfinite(solution.time).all())


def matched(solution: Solution, base: Solution, at: str) -> dict[int, int]:
    """Return the frames of ``solution`` by the frames of ``base`` that are at the same step, or slow time."""
    if at == "step":
        places = {int(step): i for i, step in enumerate(solution.steps)}
        return {j: places[int(step)] for j, step in enumerate(base.steps) if int(step) in places}
    if _settled(solution):
        return dict.fromkeys(range(len(base.steps)), 0)
    own, other = slow_time(solution), slow_time(base)[:, None]
    close = np.abs(other - own) <= _SAME * np.abs(other)
    return {int(j): int(np.argmax(close[j])) for j in np.flatnonzero(close.any(axis=1))}
