"""An ensemble of SGD runs of a network from its checkpoint, seen along directions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError
from dfp.networks import stored
from dfp.results import figures
from dfp.results.tables import data_frame

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

KIND = "network runs"


@dataclass(frozen=True, eq=False, repr=False)
class Runs(stored.Labelled):
    """Displacements of R runs from the checkpoint at saved steps.

    Attributes
    ----------
    steps
        Saved steps, shape (S,).
    positions
        Displacements along the directions, or of all parameters, shape (S, R, k) [parameter].
    directions
        Columns, shape (d, k); None if all parameters are kept.
    final
        Displacement of all parameters at the last step, shape (R, d).
    samples
        Number of samples N.

    Notes
    -----
    The other attributes say how they were made, under the names of the arguments of ``trajectories``.

    Examples
    --------
    >>> print(runs.count, runs.mean.shape)
    64 (18, 3)
    """

    steps: np.ndarray
    positions: Array
    directions: Array | None
    final: Array
    learning_rate: float
    batch_size: int
    momentum: float
    nesterov: bool
    replace: bool
    samples: int
    seed: int

    @property
    def count(self) -> int:
        """Number of runs R."""
        return int(self.positions.shape[1])

    @property
    def mean(self) -> Array:
        """Mean over runs, shape (S, k)."""
        result: Array = self.positions.mean(axis=1)
        return result

    @property
    def variance(self) -> Array:
        """Variance over runs, without bias, shape (S, k)."""
        result: Array = self.positions.var(axis=1, ddof=1)
        return result

    @property
    def variance_error(self) -> Array:
        """Standard error of ``variance`` from the fourth moments of the runs, shape (S, k)."""
        return variance_error(self.positions)

    def at(self, steps: int | Sequence[int]) -> "Runs":
        """Return the runs at one of their saved steps, or some.

        Raises
        ------
        DFPError
            If a step was not saved.
        """
        kept = checks.places_of(steps, self.steps)
        return replace(self, steps=self.steps[kept], positions=self.positions[kept])

    def to_dataframe(self) -> "pandas.DataFrame":
        """Return a row for every step and direction: mean and variance over the runs, and its standard error."""
        spread = {"variance": self.variance} if self.count > 1 else {}
        spread |= {"variance_error": self.variance_error} if self.count > 3 else {}
        columns = stored.long_form(self.steps, self.positions.shape[2])
        return data_frame(columns | {name: part.ravel() for name, part in ({"mean": self.mean} | spread).items()})

    def _figure(self) -> "Figure":
        """Mean and variance over the runs."""
        axis = "parameter" if self.directions is None else "direction"
        names = [f"{axis} {i + 1}" for i in range(self.positions.shape[2])]
        spread = self.variance if self.count > 1 else np.zeros_like(self.mean)
        return figures.moments(self.steps, self.mean, spread, f"How do {self.count} runs move and spread?", names)

    def along(self, directions: Array) -> "Runs":
        """Return the runs along ``directions`` (d, k).

        Raises
        ------
        DFPError
            If only other directions have been kept.

        Examples
        --------
        >>> print(runs.along(measured.directions[:, :1]).positions.shape)
        (18, 64, 1)
        """
        if self.directions is None:
            return Runs(**{**self.__dict__, "positions": self.positions @ directions, "directions": directions})
        if self.directions.shape != directions.shape or not np.array_equal(self.directions, directions):
            raise DFPError(
                "runs were kept along other directions than those measured; give directions=measured.directions to "
                "dfp.networks.trajectories."
            )
        return self

    def _maker(self) -> str:
        named = {name: getattr(self, name) for name in ("replace", "seed", "momentum", "nesterov")}
        told = ", ".join(f"{name}={value!r}" for name, value in named.items())
        last, save = int(self.steps[-1]), self.steps.tolist()
        along = "" if self.directions is None else ", directions=runs.directions"
        return (
            f"trajectories(problem, {self.learning_rate!r}, {self.batch_size}, runs={self.count}, steps={last}, "
            f"save={save}, {told}{along})"
        )

    def kept(self) -> tuple[str, dict[str, stored.Entry], dict[str, Any]]:
        """Return the kind of the file, its variables, and the record of the rest."""
        record = {name: getattr(self, name) for name in stored.RUN_NUMBERS}
        return KIND, stored.ALL if self.directions is None else stored.RUNS, record

    def __repr__(self) -> str:
        """Return how the runs were made."""
        how = "with" if self.replace else "without"
        return (
            f"<Runs: {self.count} x {int(self.steps[-1])} steps, learning rate {self.learning_rate:g}, batch size "
            f"{self.batch_size} {how} replacement, seed {self.seed}>"
        )


def variance_error(positions: Array) -> Array:
    """Return standard errors of the variances over the middle axis of ``positions`` (S, R, k), shape (S, k)."""
    runs = positions.shape[1]
    if runs < 4:
        raise DFPError(f"runs={runs}: intervals of variances need at least 4.")
    centred = positions - positions.mean(axis=1, keepdims=True)
    second = (centred**2).mean(axis=1)
    fourth = (centred**4).mean(axis=1)
    result: Array = np.sqrt(np.maximum(fourth - second**2 * (runs - 3) / (runs - 1), 0.0) / runs)
    return result


def default_steps(last: int) -> np.ndarray:
    """Return some twenty steps from 0 to ``last``, evenly spaced in their logarithm."""
    checks.integer("steps", last, at_least=1)
    grid = np.concatenate([[0], np.geomspace(1, last, 22)])
    result: np.ndarray = np.unique(np.round(grid).astype(np.int64))
    return result
