"""First passage of sampled trajectories: with momentum, schedules, any noise law, in any dimension."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from dfp.checks import Array
from dfp.errors import DFPError
from dfp.long_time.exit_law import ExitSteps
from dfp.methods.draws import Walk
from dfp.problem.equation import Equation
from dfp.problem.state import State
from dfp.results.keeper import Keeper

# Trajectories that walk together: what they hold fits into a cache.
_TOGETHER = 16_384
# Of an event that n trials never saw, 3/n is the upper bound at 95 % (Hanley and Lippman-Hand 1983).
_RULE = 3.0
# The longest walk if its length is left open.
LONGEST = 10_000


class Exits:
    """How many of independent trajectories have left a box, whose corners may be infinite, at each step.

    Of all portions of them so far, and of the one that walks.
    """

    def __init__(
        self,
        equation: Equation,
        lower: Array,
        upper: Array,
        initial: State,
        last: int | None,
        trajectories: int,
        seed: int,
    ) -> None:
        self._problem, self._lower, self._upper = (equation, initial), lower, upper
        self._cut, self._steps, self._trajectories = last is None, LONGEST if last is None else last, trajectories
        self._rng = np.random.default_rng(seed)
        self.done, self.left = 0, np.zeros(self._steps + 2)  # outside for the first time at step n; at the end: never
        self._begin()

    def law(self, keeper: Keeper | None) -> ExitSteps:
        """Return the law of exit that they show.

        Beyond the last step survival goes on by the share that left in the second half of the steps, which is said.
        """
        self._walk_all(keeper)
        law = _law(self.left, self._trajectories, self._cut)
        if law is None:
            raise DFPError(
                f"domain: {self._lower} … {self._upper} holds none of {self._trajectories} draws of the initial state; "
                "widen it."
            )
        return law

    def _begin(self) -> None:
        """Let the next portion start."""
        self._count = min(_TOGETHER, self._trajectories - self.done)
        self._walk = Walk(*self._problem, self._count, self._rng)
        self._here = np.zeros_like(self.left)
        self._leave()

    def _leave(self) -> None:
        """Count those who are outside, and let them go."""
        theta = self._walk.theta
        within = np.all((theta >= self._lower) & (theta <= self._upper), axis=1)
        self._here[self._walk.step] = len(within) - np.count_nonzero(within)
        self._walk.only(within)

    def _walk_all(self, keeper: Keeper | None) -> None:
        """Let all portions walk, from where a checkpoint has left them."""
        if keeper is not None:
            keeper.resume(self._resume)
        while True:
            while len(self._walk.theta) and self._walk.step < self._steps:
                self._walk.advance()
                self._leave()
                if keeper is not None:
                    keeper.keep(self._state(), self._so_far)
            self._here[-1] = len(self._walk.theta)
            self.done, self.left = self.done + self._count, self.left + self._here
            if self.done >= self._trajectories:
                return
            self._begin()

    def _state(self) -> dict[str, Any]:
        """Return what another run goes on from; entries of ``here`` beyond the step of the walk do not count."""
        return {"done": self.done, "left": self.left, "here": self._here, "walk": self._walk.state()}

    def _resume(self, state: Mapping[str, Any]) -> str:
        if state["left"].shape != self.left.shape or state["here"].shape != self.left.shape:
            raise ValueError("other steps")
        self.done, self.left = int(state["done"]), state["left"]
        self._begin()
        self._walk.resume(state["walk"])
        self._here = state["here"]
        return f"trajectory {self.done}, step {self._walk.step}"

    def _so_far(self, state: Mapping[str, Any]) -> ExitSteps | None:
        """Return what finished portions show, or the first on its way; None where that is nothing."""
        if state["done"]:
            law = _law(state["left"], state["done"], self._cut)
        else:
            gone, walking = state["here"][: state["walk"]["step"] + 1], len(state["walk"]["theta"])
            law = _law(np.append(gone, walking), int(gone.sum()) + walking, self._cut)
        if law is None:
            return None
        note = f"a run on its way: {law.trajectories} of {self._trajectories} trajectories so far."
        return replace(law, warnings=(note, *law.warnings))


def _law(left: Array, trajectories: int, cut: bool) -> ExitSteps | None:
    """Return the law that ``left`` at each step, shape (n + 2,), at the end never, show; None if all were outside.

    If it may be ``cut``, the steps end where all have left.
    """
    steps = len(left) - 2
    inside = trajectories - np.cumsum(left)[:-1]
    if inside[0] == 0:
        return None
    if cut and inside[-1] == 0:
        steps = int(np.argmax(inside == 0))
        inside = inside[: steps + 1]
    times, survivors = np.arange(steps + 1.0), float(inside[-1])
    gone = left[: steps + 1]
    exits = float(inside[steps // 2] - survivors)
    exposed = float(inside[steps // 2 : -1].sum())
    rate = exits / exposed if exits else 0.0
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
            else f"and none left in the second half, which is fewer than {_RULE / max(exposed, 1):.2g} a step with "
            f"95 % confidence: the mean, at least {counted:.6g}, is unknown (NaN)"
        )
        warnings = (
            f"{int(survivors)} of {trajectories} trajectories have not left by step {steps}; {known}; raise "
            "steps, or give splitting=True.",
        )
    survival = inside / trajectories
    error = float(np.max(np.sqrt(survival * (1 - survival) / trajectories), initial=1 / trajectories))
    return ExitSteps(
        np.arange(steps + 1), survival, float(mean), 1 - rate, error, float(mean_error), rate, warnings,
        trajectories,
    )  # fmt: skip
