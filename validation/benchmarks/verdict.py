"""Verdicts: a goal, what was measured, and whether it holds."""

from typing import NamedTuple, Self

import numpy as np


class Verdict(NamedTuple):
    """One line at the end of the report."""

    goal: str
    measured: str
    holds: bool | None
    """None where what it takes is not installed, or not of this machine."""

    @classmethod
    def at_least(cls, goal: str, other: float, own: float, least: float) -> Self:
        """Return the verdict on ``other`` / ``own`` >= ``least``, times in seconds, infinite where not reached."""
        if np.isinf(other) and np.isinf(own):
            return cls(goal, "reached by none", None)
        if np.isinf(own):
            return cls(goal, "not reached by us", False)
        if np.isinf(other):
            return cls(goal, f"{own * 1e3:.3g} ms; reached by no peer here", None)
        return cls(goal, f"{other / own:.3g}× ({other * 1e3:.3g} ms / {own * 1e3:.3g} ms)", other / own >= least)

    @classmethod
    def at_most(cls, goal: str, value: float, most: float, unit: str) -> Self:
        """Return the verdict on ``value`` <= ``most``."""
        return cls(goal, f"{value:.3g} {unit}".rstrip(), value <= most)


def report(verdicts: list[Verdict]) -> None:
    """Print all verdicts, aligned."""
    words = {True: "holds", False: "does not hold", None: "undecided"}
    width = max((len(v.goal) for v in verdicts), default=0)
    print("\nVerdicts")
    for verdict in verdicts:
        print(f"  {verdict.goal:<{width}}  {words[verdict.holds]:<13}  {verdict.measured}")
