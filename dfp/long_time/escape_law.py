"""What is found of an escape: the path of least action, its mechanism, mean steps, and laws before and between."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dfp.checks import Array
from dfp.long_time.committor import Committor
from dfp.problem.state import Density

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Escape:
    """How SGD leaves a well (T24).

    Attributes
    ----------
    learning_rate
        η [parameter^2 / loss].
    well
        The bottom from which it leaves, shape (d,).
    across
        The bottom it falls to beyond the end of the path, shape (d,); None if there is none.
    action
        V, the least Σ (θ'−θ+ηḡ)ᵀC⁻¹(θ'−θ+ηḡ)/(2η²) of a path to the walls: mean steps grow like exp(V) [1].
    langevin_action
        The same of (T6), the Kramers exponent: 2ΔU/(ηC) on a line with constant noise [1].
    path, langevin_path
        Where they lead, one point a step, shape (N + 1, d).
    mechanism
        ``"climbs"``, or ``"thrown across"`` where one step leads from the far side of the well over more than half of
        the way out.
    mean_steps, mean_error
        Mean steps of (T4) until it is outside, from the bottom, and its estimated error; NaN if not resolved [step].
    langevin_mean_steps
        Mean exit of (T6), in steps; NaN if not resolved [step].
    quasi_stationary
        The law of what has not left after long (d = 1); None if not resolved.
    committor
        The probability to fall to ``across`` before ``well``; None if there is no other well, or it is not resolved.
    warnings
        What to know before the numbers are used.
    """

    learning_rate: float
    well: Array
    across: Array | None
    action: float
    langevin_action: float
    path: Array
    langevin_path: Array
    mechanism: str
    mean_steps: float
    mean_error: float
    langevin_mean_steps: float
    quasi_stationary: Density | None
    committor: Committor | None
    warnings: tuple[str, ...]

    @property
    def prefactor(self) -> float:
        """``mean_steps`` / exp(``action``) [step]."""
        return float(self.mean_steps * np.exp(-self.action))

    def plot(self) -> "Figure":
        """Return a figure of the paths of SGD and of its Langevin limit."""
        from dfp.results.figures import escapes

        return escapes(
            {f"SGD, η = {self.learning_rate:g}, {self.mechanism}": self.path, "Langevin": self.langevin_path}
        )

    def __str__(self) -> str:
        """Return the figures, one a line."""
        factor = self.langevin_mean_steps / self.mean_steps
        way = "climbs" if self.mechanism == "climbs" else "is thrown across"
        lines = [
            f"leaves the well at {self.well} after {self.mean_steps:.6g} steps on average, ± {self.mean_error:.1g}",
            f"  Langevin: {self.langevin_mean_steps:.6g} steps, {factor:.4g} times as many",
            f"  action {self.action:.6g}, Langevin {self.langevin_action:.6g} (ratio "
            f"{self.action / self.langevin_action:.4f}): it {way}",
            f"  prefactor {self.prefactor:.4g} steps",
        ]
        return "\n".join(lines + [f"  ! {warning}" for warning in self.warnings])
