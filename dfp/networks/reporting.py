"""Predictions beside what SGD really did: intervals, regimes, where descriptions stop holding, claims with verdicts."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import dfp
from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError
from dfp.networks import claims, scores, stored
from dfp.networks.claims import Claim
from dfp.networks.measurement import Measurement
from dfp.networks.prediction import Predictions, predict
from dfp.networks.predictors import LABELS
from dfp.networks.report_variables import REPORT
from dfp.networks.runs import Runs
from dfp.networks.scores import Floor, Score

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

KIND = "network report"
# A flat direction has moved by less than this share of its relaxation; a confined one has had this many times.
_FLAT, _CONFINED = 0.05, 3.0
# The quadratic form holds while what it leaves out changes variances and curvatures by less than this.
_QUADRATIC = 0.1


@dataclass(frozen=True, eq=False, repr=False)
class Report(stored.Labelled):
    """Predictions and runs side by side, along the measured directions.

    Attributes
    ----------
    measured, predictions, runs
        What is compared; ``runs`` are along ``measured.directions``.

    Examples
    --------
    >>> print(report.regimes)
    ['confined', 'confined', 'confined']
    """

    measured: Measurement
    predictions: Predictions
    runs: Runs

    @property
    def steps(self) -> np.ndarray:
        """Saved steps, shape (S,)."""
        return self.runs.steps

    @property
    def live(self) -> np.ndarray:
        """Which directions have noise, shape (k,)."""
        return self.measured.live

    @cached_property
    def _relaxation(self) -> Array:
        rule = self.predictions.rule
        return rule.learning_rate / (1 - rule.momentum) * self.measured.curvatures * int(self.steps[-1])

    @property
    def flat(self) -> np.ndarray:
        """Which directions with noise feel no curvature within the horizon: ``2η|λ|n`` below 0.1 at the last step."""
        return self.live & (np.abs(self._relaxation) < _FLAT)

    @property
    def confined(self) -> np.ndarray:
        """Which eigenvectors with noise have had time to settle: ηλn above 3 at the last step."""
        return self.live & ~self.measured.flat & (self._relaxation > _CONFINED)

    @property
    def groups(self) -> dict[str, np.ndarray]:
        """Sharp and flat directions with noise: as chosen, or, of all eigenvectors, flat ones as above."""
        chosen = self.measured.flat
        flat, sharp = (chosen, ~chosen) if chosen.any() else (self.flat, self.measured.diagnostics.sharp)
        return {"sharp": sharp & self.live, "flat": flat & self.live}

    @cached_property
    def floor(self) -> Floor:
        """Median relative error that a perfect prediction of the variances would have."""
        return scores.floor(self.runs.positions[:, :, self.live])

    @cached_property
    def scores(self) -> dict[str, Score]:
        """Every predictor against the runs, over all directions with noise."""
        return self.scores_of(self.live)

    def scores_of(self, chosen: np.ndarray) -> dict[str, Score]:
        """Return the scores over some directions, such as ``report.flat``."""
        positions = self.runs.positions[:, :, chosen]
        return {
            name: scores.score(found.mean[:, chosen], found.variance[:, chosen], positions)
            for name, found in self.predictions.moments.items()
        }

    @cached_property
    def regimes(self) -> list[str]:
        """Regime of every direction taken alone, up to the last step; ``"silent"`` without noise, or ``"helper"``."""
        order = np.argsort(self.measured.curvatures, kind="stable")
        result = ["helper" if helper else "silent" for helper in self.measured.helpers]
        for place, mode in zip(order, self._modes, strict=True):
            if self.live[place]:
                result[place] = mode.regime
        return result

    @cached_property
    def stationary(self) -> Array:
        """V_∞ of (T12) of every direction taken alone, shape (k,); NaN where none."""
        order = np.argsort(self.measured.curvatures, kind="stable")
        result = np.full(len(order), np.nan)
        result[order] = [mode.stationary_variance for mode in self._modes]
        return result

    @cached_property
    def _modes(self) -> "dfp.Modes":
        measured, rule = self.measured, self.predictions.rule
        noise = dfp.GaussianNoise(measured.gradient_noise / rule.batch_size, np.diag(measured.table) / rule.batch_size)
        bowl = dfp.QuadraticLandscape(measured.curvatures, 0.0, noise)
        sgd = dfp.SGD(bowl, rule.learning_rate, rule.momentum, nesterov=rule.nesterov)
        return dfp.modes(sgd, horizon=float(self.steps[-1]))

    @cached_property
    def quadratic_until(self) -> int:
        """Last saved step at which the quadratic form holds, as predicted without the runs; the last where unknown.

        Until there the closure and the finest quadratic predictor of all directions, the table (additive noise without
        replacement), agree within a tenth (median over directions), and the mean Hessian has changed by less.
        """
        closure, found = self.predictions.closure, self.predictions.moments
        quadratic = found.get("table" if self.predictions.rule.replace else "additive")
        if closure is None or quadratic is None or not np.isfinite(quadratic.variance).any():
            return int(self.steps[-1])
        ours, theirs = closure.variance[:, self.live], quadratic.variance[:, self.live]
        apart = np.abs(np.divide(ours, theirs, out=np.ones_like(ours), where=theirs > 0) - 1)
        changed = np.maximum(np.median(apart, axis=1), closure.curvature_change)
        bad = np.flatnonzero(changed > _QUADRATIC)
        return int(self.steps[-1] if not bad.size else self.steps[max(bad[0] - 1, 0)])

    @cached_property
    def departure(self) -> Array:
        """How far the motion along each direction alone leaves the quadratic form, relative, shape (S, k).

        From the third and fourth derivatives along it, at the deviation predicted; NaN where they are not known.
        """
        closure, measured = self.predictions.closure, self.measured
        if closure is None:
            return np.full((len(self.steps), len(self.live)), np.nan)
        deviation = np.sqrt(np.maximum(closure.variance, 0.0)) + np.abs(closure.mean)
        rate = self.predictions.rule.learning_rate
        return measured.diagnostics.departure(deviation, measured.curvatures, rate, self.steps)

    @cached_property
    def fails_from(self) -> dict[str, int | None]:
        """First saved step at which each predictor is worse than 1.3 times the floor and than 95 % of perfect ones."""
        found: dict[str, int | None] = {}
        for name, own in self.scores.items():
            bad = (own.error > claims.FACTOR * self.floor.expected) & (own.error > self.floor.high) & (self.steps > 0)
            found[name] = int(self.steps[np.flatnonzero(bad)[0]]) if bad.any() else None
        return found

    @cached_property
    def claims(self) -> list[Claim]:
        """What the paper and this library claim, with verdicts."""
        return claims.judge(self)

    def to_dataframe(self) -> "pandas.DataFrame":
        """Return one row per direction: curvature, noise, regime, measured and predicted variance at the last step."""
        from dfp.results.tables import data_frame

        columns = {
            "curvature": self.measured.curvatures, "gradient_noise": self.measured.gradient_noise,
            "curvature_noise": np.diag(self.measured.table), "regime": self.regimes,
            "mean": self.runs.mean[-1], "variance": self.runs.variance[-1],
            "variance_error": self.runs.variance_error[-1],
        }  # fmt: skip
        columns |= {name: found.variance[-1] for name, found in self.predictions.moments.items()}
        return data_frame(columns)

    def plot(
        self,
        name: str | None = None,
        *,
        steps: Any = None,
        ax: Any = None,
        title: str | None = None,
        style: Any = None,
        width: float | None = None,
        **options: object,
    ) -> "Figure":
        """Return a figure: ``"errors"`` if left out, ``"spectrum"``, ``"scatter"``, ``"epoch"`` or ``"density"``.

        ``"density"`` takes ``modes``, one or two indices of directions, and ``step``; others as for any result.
        """
        if steps is not None:
            raise DFPError(
                f"steps={steps}: figures of reports are over all steps; leave it out, or give a density step."
            )
        return self._plotted(lambda: self._drawn(name or "errors", options), ax, title, style, width)

    def _drawn(self, name: str, options: dict[str, Any]) -> "Figure":
        from dfp.networks import figures

        drawn: dict[str, Any] = {
            "errors": figures.errors, "spectrum": figures.spectrum, "scatter": figures.scatter, "epoch": figures.epoch,
            "density": figures.density,
        }  # fmt: skip
        return drawn[checks.choice("name", name, tuple(drawn))](self, **options)

    def to_html(self, path: str | Path) -> None:
        """Write one page with verdicts, tables and figures; it needs no other file."""
        from dfp.networks import page

        page.write(path, "SGD of a network: what was predicted, and what it did", [page.section(self)])

    def _maker(self) -> str:
        return f"report(measured, runs), of {self.measured._maker()} and {self.runs._maker()}"

    def kept(self) -> tuple[str, dict[str, stored.Entry], dict[str, Any]]:
        """Return the kind of the file, its variables, and the record of the rest."""
        record = self.measured.kept()[2] | self.predictions.kept()[2]
        record |= {name: getattr(self.runs, name) for name in stored.RUN_NUMBERS}
        record["claims"] = [list(claim.__dict__.values()) for claim in self.claims]
        return KIND, REPORT, record

    def __str__(self) -> str:
        """Return the table of errors, and the claims with their verdicts."""
        from dfp.networks import tables

        return tables.text(self)

    def __repr__(self) -> str:
        """Return what was compared."""
        return f"<Report: {len(self.measured.curvatures)} directions of {self.measured.dimension}, {self.runs!r}>"


def report(measured: Measurement, runs: Runs, predictions: Predictions | None = None, **options: object) -> Report:
    """Set what was predicted beside what SGD did.

    Parameters
    ----------
    measured
        Measurement at the checkpoint from which the runs start.
    runs
        The runs, along all parameters or ``measured.directions``.
    predictions
        Made beforehand by ``predict`` for the same learning rate, batch size and steps; made now if left out, without a
        look at the runs.
    options
        Of ``predict``: ``only``, ``replicates``, ``pairs``, ``curved``, ``ratio``, ``seed``.

    Raises
    ------
    DFPError
        If the predictions are for another way of running SGD, or the runs for other directions or data.

    Examples
    --------
    >>> print(dfp.networks.report(measured, runs).scores["table"].error.shape)
    (18,)
    """
    if not isinstance(measured, Measurement):
        raise DFPError(f"measured={checks.shown(measured)}: must be what dfp.networks.measure returned.")
    if not isinstance(runs, Runs):
        raise DFPError(f"runs={checks.shown(runs)}: must be what dfp.networks.trajectories returned.")
    if runs.samples != measured.samples or runs.final.shape[1] != measured.dimension:
        raise DFPError(
            f"runs are of {runs.final.shape[1]} parameters and {runs.samples} samples, the measurement of "
            f"{measured.dimension} and {measured.samples}: give runs of the same problem."
        )
    if runs.count < 4:
        raise DFPError(f"runs={runs.count}: intervals of variances need at least 4; give more runs.")
    seen = runs.along(measured.directions)
    if predictions is None:
        predictions = predict(
            measured, runs.learning_rate, runs.batch_size, int(runs.steps[-1]), runs.steps.tolist(), runs.replace,
            momentum=runs.momentum, nesterov=runs.nesterov, **options,  # type: ignore[arg-type]
        )  # fmt: skip
    rule = predictions.rule
    theirs = (runs.learning_rate, runs.batch_size, runs.momentum, runs.nesterov, runs.replace)
    if tuple(rule) != theirs or not np.array_equal(predictions.steps, runs.steps):
        raise DFPError(
            f"predictions are for {rule} at {len(predictions.steps)} steps: the runs are another way of running SGD; "
            "predict with the same learning_rate, batch_size and save."
        )
    return Report(measured, predictions, seen)


def label(name: str) -> str:
    """Return the name of a predictor as tables and figures use it."""
    return LABELS[name]
