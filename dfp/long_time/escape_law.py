"""What is found of an escape: the path of least action, its mechanism, mean steps, and laws before and between."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dfp.checks import Array
from dfp.long_time.committor import Committor
from dfp.problem.grid import Grid
from dfp.problem.parameters import either, symbol
from dfp.problem.state import Density
from dfp.result import Result
from dfp.results import axes, schema
from dfp.results.schema import Column

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUMBERS = ("learning_rate", "action", "langevin_action", "mean_steps", "mean_error", "langevin_mean_steps")
MECHANISMS = ("climbs", "thrown across")


@dataclass(frozen=True, repr=False)
class Escape(Result):
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
    parameters
        Names of the parameters, theta_1 … without.

    Examples
    --------
    >>> import numpy as np
    >>> import dfp
    >>> well = dfp.Landscape(lambda t: t**3 - t, 0.1, hessian=lambda t: 3 * t**2 - 1)
    >>> found = dfp.escape(dfp.SGD(well, 0.2), start=-1.0, domain=(-np.inf, 0.0))
    >>> print(found.mechanism, round(found.action, 2), round(found.langevin_action, 2))
    climbs 24.91 25.0
    """

    _parts = ("quasi_stationary", "committor")

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
    parameters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", either(self.parameters, len(self.well)))

    @property
    def prefactor(self) -> float:
        """``mean_steps`` / exp(``action``) [step]."""
        return float(self.mean_steps * np.exp(-self.action))

    def _figure(self) -> "Figure":
        """Paths of SGD and of its Langevin limit."""
        from dfp.results.figures import escapes

        paths = {f"SGD, η = {self.learning_rate:g}, {self.mechanism}": self.path, "Langevin": self.langevin_path}
        return escapes(paths, self.parameters)

    def __repr__(self) -> str:
        """Return where it leaves from, how, and after how many steps."""
        return (
            f"<Escape from {self._well} at η = {self.learning_rate:g}: {self.mechanism}, action {self.action:.4g}, "
            f"mean steps {self.mean_steps:.4g} (Langevin {self.langevin_mean_steps:.4g})>"
        )

    @property
    def _well(self) -> str:
        return ", ".join(f"{symbol(name)} = {at:.4g}" for name, at in zip(self.parameters, self.well, strict=True))

    def __str__(self) -> str:
        """Return the figures, one a line."""
        factor = self.langevin_mean_steps / self.mean_steps
        way = "climbs" if self.mechanism == "climbs" else "is thrown across"
        lines = [
            f"leaves the well at {self._well} after {self.mean_steps:.6g} steps on average, ± {self.mean_error:.1g}",
            f"  Langevin: {self.langevin_mean_steps:.6g} steps, {factor:.4g} times as many",
            f"  action {self.action:.6g}, Langevin {self.langevin_action:.6g} (ratio "
            f"{self.action / self.langevin_action:.4f}): it {way}",
            f"  prefactor {self.prefactor:.4g} steps",
        ]
        return "\n".join(lines + [f"  ! {warning}" for warning in self.warnings])


def columns(found: Escape) -> dict[str, Column]:
    """Return the paths, the wells, and what lies on grids, coordinates first."""
    d = len(found.well)
    table = {"parameter": _column("parameter", ("parameter",), np.arange(1, d + 1)), "bound": _column(
        "bound", ("bound",), np.arange(2))}  # fmt: skip
    for name, path in (("path", found.path), ("langevin_path", found.langevin_path)):
        steps = f"{name}_step"
        table[steps] = _column(steps, (steps,), np.arange(1 - len(path), 1))
        table[name] = _column(name, (steps, "parameter"), path)
    table["well"] = _column("well", ("parameter",), found.well)
    if found.across is not None:
        table["across"] = _column("across", ("parameter",), found.across)
    law, committor = found.quasi_stationary, found.committor
    if law is not None:
        table |= _on_grid("quasi_stationary", law.grid, law.values)
    if committor is not None:
        table |= _on_grid("committor", committor.grid, committor.values)
    return table | axes.indices(table, found.parameters)


def _on_grid(name: str, grid: Grid, values: Array) -> dict[str, Column]:
    along = {f"{name}_theta_{i}": axis for i, axis in enumerate(grid.axes, start=1)}
    theta = {axis: _column("theta", (axis,), places) for axis, places in along.items()}
    box = _column(f"{name}_box", ("bound", "parameter"), np.array([grid.lower, grid.upper]))
    found = _column(name, tuple(along), values)
    unit = found.attributes["units"].format(d=grid.dimension)
    return theta | {f"{name}_box": box, name: Column(found.dims, found.values, found.attributes | {"units": unit})}


def _column(name: str, dims: tuple[str, ...], values: Any) -> Column:
    known = schema.ESCAPE_VARIABLES[name]
    kind = "<i8" if np.asarray(values).dtype.kind == "i" else "<f8"
    return Column(dims, np.asarray(values, kind), {"units": known.unit, "long_name": known.long_name})


def attributes(found: Escape) -> dict[str, Any]:
    """Return the numbers, the mechanism and the warnings."""
    between = found.committor
    radius = {}
    if between is not None:
        radius = {"committor_radius": float(between.radius), "committor_error": float(between.error)}
    return {
        "mechanism": found.mechanism,
        **{name: float(getattr(found, name)) for name in NUMBERS},
        **radius,
        "warnings": json.dumps(found.warnings, ensure_ascii=False),
        **axes.attribute(found.parameters),
    }
