"""First passage of sampled trajectories: with momentum, schedules, any noise law, in any dimension."""

import numpy as np

from dfp.checks import Array
from dfp.errors import DFPError
from dfp.long_time.exit_law import ExitSteps
from dfp.methods.draws import stepper
from dfp.problem.equation import Equation
from dfp.problem.state import State

# Trajectories that walk together: what they hold fits into a cache.
_TOGETHER = 16_384
# The longest walk if its length is left open.
_LONGEST = 10_000


def by_trajectories(
    equation: Equation, lower: Array, upper: Array, initial: State, last: int | None, trajectories: int, seed: int
) -> ExitSteps:
    """Return the law of exit from the box, corners may be infinite, that independent trajectories show.

    Beyond the last step survival goes on by the share that left in the second half of the steps, which is said.
    """
    rng, steps = np.random.default_rng(seed), _LONGEST if last is None else last
    left = np.zeros(steps + 2)  # how many were outside for the first time at step n; at the end: never
    for begun in range(0, trajectories, _TOGETHER):
        left += _walked(equation, lower, upper, initial, min(_TOGETHER, trajectories - begun), steps, rng)
    inside = trajectories - np.cumsum(left)[:-1]
    if inside[0] == 0:
        raise DFPError(f"domain: {lower} … {upper} holds none of {trajectories} draws of the initial state; widen it.")
    if last is None and inside[-1] == 0:
        steps = int(np.argmax(inside == 0))
        inside = inside[: steps + 1]
    times, survivors = np.arange(steps + 1.0), float(inside[-1])
    gone = left[: steps + 1]
    exits = float(inside[steps // 2] - survivors)
    rate = exits / float(inside[steps // 2 : -1].sum()) if exits else 0.0
    counted = np.append(times @ gone, survivors * (steps + 1)).sum() / trajectories
    squares = (times**2 @ gone + survivors * (steps + 1.0) ** 2) / trajectories
    variance, share = max(squares - counted**2, 0.0), survivors / trajectories
    warnings: tuple[str, ...] = ()
    mean, mean_error = counted, np.sqrt(variance / trajectories)
    if survivors:
        # A survivor of step n leaves at n + 1/rate on average if the rate has settled.
        beyond, relative = (share / rate, np.sqrt(1 / exits + 1 / survivors)) if rate else (np.nan, np.nan)
        mean, mean_error = counted - share + beyond, float(np.hypot(mean_error, beyond * relative))
        known = (
            f"the mean takes it that they go on to leave as in the second half, {rate:.3g} a step"
            if rate
            else f"and none left in the second half: the mean, at least {counted:.6g}, is unknown (NaN)"
        )
        warnings = (
            f"{int(survivors)} of {trajectories} trajectories have not left by step {steps}; {known}; raise steps.",
        )
    survival = inside / trajectories
    error = float(np.max(np.sqrt(survival * (1 - survival) / trajectories), initial=1 / trajectories))
    return ExitSteps(
        np.arange(steps + 1), survival, float(mean), 1 - rate, error, float(mean_error), rate, warnings, trajectories
    )


def _walked(
    equation: Equation, lower: Array, upper: Array, initial: State, count: int, steps: int, rng: np.random.Generator
) -> Array:
    """Return how many of ``count`` left at each step 0 … ``steps`` and, at the end, how many never did."""
    step, theta, left = stepper(equation), initial.draw(count, rng), np.zeros(steps + 2)
    speed = np.zeros_like(theta)
    for n in range(steps + 1):
        if n:
            theta, speed = step(theta, speed, n - 1, rng)
        within = np.all((theta >= lower) & (theta <= upper), axis=1)
        left[n] = len(within) - np.count_nonzero(within)
        theta, speed = theta[within], speed[within]
        if not len(theta):
            break
    left[-1] = len(theta)
    return left
