"""All predictors side by side for one way of running SGD; made before, and without, the runs they are compared with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError
from dfp.networks import drawings, predictors, stored
from dfp.networks.closure import Closure, closure
from dfp.networks.measurement import Measurement
from dfp.networks.predictors import LABELS, Predicted, Rule
from dfp.networks.report_variables import PREDICTIONS
from dfp.networks.runs import default_steps
from dfp.results.tables import data_frame

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False, repr=False)
class Predictions(stored.Labelled):
    """What every predictor says about mean and variance along the measured directions.

    Attributes
    ----------
    rule
        Learning rate, batch size, momentum, sampling.
    steps
        Saved steps, shape (S,).
    moments
        By predictor: ``.mean`` and ``.variance`` of shape (S, k), NaN where it does not reach, and ``.note``, why.
    closure
        The Gaussian closure with its own error, or None where gradients are known at the checkpoint alone.

    Examples
    --------
    >>> print(predicted.moments["additive"].variance.shape)
    (18, 3)
    """

    rule: Rule
    steps: np.ndarray
    moments: dict[str, Predicted]
    closure: Closure | None

    @property
    def trusted_until(self) -> int:
        """Last saved step up to which the closure trusts itself; −1 if none, or if there is no closure."""
        return -1 if self.closure is None else self.closure.trusted_until

    def to_dataframe(self) -> "pandas.DataFrame":
        """Return a row for every predictor, step and direction: mean and variance."""
        shape, parts = next(iter(self.moments.values())).mean.shape, self.moments.items()
        rows = stored.long_form(self.steps, shape[1])
        columns = {name: np.tile(values, len(parts)) for name, values in rows.items()}
        columns |= {"predictor": np.repeat(list(self.moments), shape[0] * shape[1])}
        for name in ("mean", "variance"):
            columns[name] = np.concatenate([getattr(found, name).ravel() for _, found in parts])
        return data_frame(columns)

    def _figure(self) -> "Figure":
        return drawings.predictions(self, LABELS)

    def _maker(self) -> str:
        told = ", ".join(f"{name}={value!r}" for name, value in self.rule._asdict().items())
        return f"predict(measured, steps={int(self.steps[-1])}, save={self.steps.tolist()}, {told})"

    def kept(self) -> tuple[str, dict[str, stored.Entry], dict[str, Any]]:
        """Return the kind of the file, its variables, and the record of the rest."""
        closure, notes = self.closure, {name: found.note for name, found in self.moments.items()}
        told = closure and {"trusted_until": closure.trusted_until, "reason": closure.reason}
        return "network predictions", PREDICTIONS, self.rule._asdict() | {"notes": notes, "closure": told}

    def __str__(self) -> str:
        """Return how far the prediction is to be trusted."""
        last = int(self.steps[-1])
        if self.closure is None:
            return "no Gaussian closure: gradients are known at the checkpoint alone"
        if not self.closure.reason:
            return f"the Gaussian closure trusts itself up to step {last}, the last"
        return f"not to be trusted beyond step {self.trusted_until}: {self.closure.reason}"


def predict(
    measured: Measurement,
    learning_rate: float,
    batch_size: int | None = None,
    steps: int = 1000,
    save: Sequence[int] | None = None,
    replace: bool = True,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    only: Sequence[str] | None = None,
    replicates: int = 3,
    pairs: int = 4,
    curved: int = 1,
    ratio: float = 1.5,
    seed: int = 0,
) -> Predictions:
    """Predict how the mean and variance of every measured direction evolve from the checkpoint.

    Parameters
    ----------
    measured
        The measurement.
    learning_rate, batch_size, steps, save, replace, momentum, nesterov
        As in ``trajectories``; ``batch_size`` is the measurement's if left out.
    only
        Names of the predictors wanted (keys of ``LABELS``); all if left out.
    replicates, pairs, curved, ratio, seed
        Of the Gaussian closure: independent replicates, 2 or more, whose spread is its error; pairs of points of each,
        and at how many of them the Hessian is taken (0, where it is dear: it is that of the checkpoint, scaled by what
        gradients at opposite points tell); the ratio of the steps at which expectations are renewed, above 1; and the
        seed of the points.

    Raises
    ------
    DFPError
        If a value is out of range.

    Examples
    --------
    >>> found = dfp.networks.predict(measured, learning_rate=0.05, steps=20, save=[0, 20])
    >>> print(found.trusted_until, sorted(found.moments)[:2])
    20 ['additive', 'authors']
    """
    last = checks.last_step(steps, at_least=1)
    saved = default_steps(last) if save is None else checks.step_list("save", save, last)
    size = checks.integer("batch_size", measured.batch_size if batch_size is None else batch_size, at_least=1)
    if size > measured.samples:
        raise DFPError(f"batch_size={size}: must be at most the {measured.samples} samples; give a smaller one.")
    beta = checks.real("momentum", momentum, at_least=0, below=1)
    rule = Rule(
        checks.real("learning_rate", learning_rate, above=0), size, beta, checks.boolean("nesterov", nesterov),
        checks.boolean("replace", replace),
    )  # fmt: skip
    wanted = list(LABELS if only is None else (checks.choice("only", name, tuple(LABELS)) for name in only))
    found = {name: _moments(measured, name, rule, saved) for name in wanted if name != "closure"}
    carried = None
    if "closure" in wanted and measured.source is not None and measured.source.movable:
        carried = closure(
            measured, rule, saved,
            replicates=checks.integer("replicates", replicates, at_least=2),
            pairs=checks.integer("pairs", pairs, at_least=1),
            curved=checks.integer("curved", curved, at_most=pairs),
            ratio=checks.real("ratio", ratio, above=1), seed=checks.integer("seed", seed),
        )  # fmt: skip
        found["closure"] = Predicted(carried.mean, carried.variance)
    return Predictions(rule, saved, found, carried)


def _moments(measured: Measurement, name: str, rule: Rule, saved: np.ndarray) -> Predicted:
    """Return a predictor's moments; where it has none, NaN and the reason."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            return predictors.moments(measured, name, rule, saved)
    except DFPError as error:
        nothing: Array = np.full((len(saved), len(measured.curvatures)), np.nan)
        return Predicted(nothing, nothing, str(error))
