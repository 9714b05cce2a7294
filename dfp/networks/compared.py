"""What claims, tables, figures and files take of a report: predictions and runs side by side, and what follows."""

from typing import Any, Protocol

import numpy as np

from dfp.checks import Array
from dfp.networks.measurement import Measurement
from dfp.networks.prediction import Predictions
from dfp.networks.runs import Runs
from dfp.networks.scores import Floor, Score


class Compared(Protocol):
    """A report, as those see it that do not make one."""

    @property
    def measured(self) -> Measurement: ...  # noqa: D102
    @property
    def predictions(self) -> Predictions: ...  # noqa: D102
    @property
    def runs(self) -> Runs: ...  # noqa: D102
    @property
    def steps(self) -> np.ndarray: ...  # noqa: D102
    @property
    def live(self) -> np.ndarray: ...  # noqa: D102
    @property
    def flat(self) -> np.ndarray: ...  # noqa: D102
    @property
    def confined(self) -> np.ndarray: ...  # noqa: D102
    @property
    def groups(self) -> dict[str, np.ndarray]: ...  # noqa: D102
    @property
    def floor(self) -> Floor: ...  # noqa: D102
    @property
    def scores(self) -> dict[str, Score]: ...  # noqa: D102
    @property
    def regimes(self) -> list[str]: ...  # noqa: D102
    @property
    def stationary(self) -> Array: ...  # noqa: D102
    @property
    def quadratic_until(self) -> int: ...  # noqa: D102
    @property
    def fails_from(self) -> dict[str, int | None]: ...  # noqa: D102
    @property
    def claims(self) -> list[Any]: ...  # noqa: D102

    def scores_of(self, chosen: np.ndarray) -> dict[str, Score]:
        """Return the scores over some directions."""
        ...
