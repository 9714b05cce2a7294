"""How the noise of flat and sharp directions depends on the learning rate (D_eff = ηD/2, section 3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dfp.checks import Array
from dfp.errors import DFPError
from dfp.networks import stored
from dfp.networks.claims import Claim
from dfp.networks.measurement import Measurement
from dfp.networks.runs import Runs
from dfp.results import layout, page, schema
from dfp.results.tables import data_frame

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

_RESAMPLES = 400
# Curvature noise adds some per cent at the largest learning rate.
_BENT = 0.05
# The exponent of the variance's slope in η that the authors report for flat directions; theory says 2.
AUTHORS_EXPONENT = 3.07
DIFFUSION = stored.variables(
    "",
    ("learning_rate", "learning_rates", "learning_rate", "parameter2 loss-1", "learning rate η"),
    ("slope", "slopes", "learning_rate", "parameter2", "growth of the variance per step"),
    ("slope_interval", "intervals", "learning_rate end", "parameter2", "95 % interval of the slope"),
    ("predicted_slope", "predicted", "learning_rate", "parameter2", "growth predicted by the noise at the checkpoint"),
    ("taken_at", "steps", "learning_rate", "1", "step n", "<i8"),
)
"""What is kept of a diffusion."""


@dataclass(frozen=True, eq=False, repr=False)
class Diffusion(stored.Labelled):
    """How fast flat directions spread, at several learning rates.

    Attributes
    ----------
    learning_rates
        η, ascending, shape (E,).
    slopes
        Growth of the variance per step: median over the flat directions of V(n)/n [parameter^2 / step], shape (E,).
    intervals
        95 % over runs, shape (E, 2).
    predicted
        Median over the same directions of η²C_ii/B, shape (E,).
    exponent, interval
        Of slope ~ η^p, with 99 %: 2 per step, 1 per unit of time.
    directions
        How many are flat at every learning rate.
    steps
        Steps at which the slopes were taken, shape (E,).

    Examples
    --------
    >>> print(spread.learning_rates, spread.directions)
    [0.0001 0.0002] 3
    """

    learning_rates: Array
    slopes: Array
    intervals: Array
    predicted: Array
    exponent: float
    interval: tuple[float, float]
    directions: int
    steps: np.ndarray

    @property
    def coefficients(self) -> Array:
        """D_eff = slope/(2η): the diffusion coefficient in slow time, V = 2 D_eff τ, shape (E,)."""
        return self.slopes / (2 * self.learning_rates)

    @property
    def claims(self) -> list[Claim]:
        """Verdicts on the exponent."""
        low, high = self.interval
        holds = low < 2 + _BENT and high > 2 - _BENT
        return [
            Claim(
                "flat directions spread at a rate proportional to η² a step (D_eff ∝ η)",
                f"an exponent of 2, within {_BENT} for curvature noise, which bends the line",
                f"{self.exponent:.3f} ({low:.3f} to {high:.3f}) over η = {self.learning_rates[0]:g} … "
                f"{self.learning_rates[-1]:g}; the authors report {AUTHORS_EXPONENT}",
                "holds" if holds else "fails",
                ""
                if holds
                else "At large η the runs spread so far that the noise is no longer that of the checkpoint.",
            )
        ]

    def to_dataframe(self) -> "pandas.DataFrame":
        """Return one row per learning rate: the slope with its interval, what was predicted, and D_eff."""
        columns = {
            "learning_rate": self.learning_rates, "slope": self.slopes, "slope_lower": self.intervals[:, 0],
            "slope_upper": self.intervals[:, 1], "predicted": self.predicted, "coefficient": self.coefficients,
            "step": self.steps,
        }  # fmt: skip
        return data_frame(columns)

    def _maker(self) -> str:
        return f"diffusion(measured, ensembles), of runs at {self.learning_rates.tolist()}"

    def kept(self) -> tuple[str, dict[str, stored.Entry], dict[str, Any]]:
        """Return the kind of the file, its variables, and the record of the rest."""
        record = {"exponent": self.exponent, "interval": self.interval, "directions": self.directions}
        return "network diffusion", DIFFUSION, record

    def _figure(self) -> "Figure":
        """D_eff against η with its interval, and what the noise at the checkpoint predicts."""
        figure, axes = page.canvas(1, 1, 6.0, 4.2)
        axis, rates = axes[0, 0], self.learning_rates
        middle = self.coefficients
        bars = np.abs(self.intervals / (2 * rates[:, None]) - middle[:, None]).T
        axis.errorbar(
            rates, middle, yerr=bars, fmt="o", color="#0072B2", label=f"runs: D_eff ~ η^{self.exponent - 1:.2f}"
        )
        axis.plot(
            rates, self.predicted / (2 * rates), "-", color="#009E73", label="ηD/2 with the noise at the checkpoint"
        )
        theirs = middle[0] * (rates / rates[0]) ** (AUTHORS_EXPONENT - 1)
        axis.plot(rates, theirs, ":", color="#D55E00", label=f"authors' exponent, {AUTHORS_EXPONENT} per step")
        axis.set(xscale="log", yscale="log", xlabel=schema.label("learning_rate"))
        axis.set_xticks(rates, [f"{rate:g}" for rate in rates])
        axis.minorticks_off()
        axis.set_ylabel(schema.label("diffusion_coefficient"))
        layout.legend(axis)
        figure.suptitle(f"Is diffusion proportional to the learning rate? {self.directions} flat directions")
        return figure


def diffusion(measured: Measurement, ensembles: Sequence[Runs], *, step: int | None = None, seed: int = 0) -> Diffusion:
    """Return how the diffusion of flat directions depends on the learning rate.

    Parameters
    ----------
    measured
        Measurement at the checkpoint from which all runs start.
    ensembles
        Runs at several learning rates, otherwise alike, with replacement.
    step
        Saved step at which slopes are taken; the last that all have, if left out.
    seed
        Of the resampling.

    Raises
    ------
    DFPError
        If there are fewer than two learning rates, the runs differ otherwise, or no direction is flat at all of them.

    Examples
    --------
    >>> settings = dict(batch_size=8, runs=64, steps=20, save=[0, 20])
    >>> slow = [dfp.networks.trajectories(problem, rate, **settings) for rate in (1e-4, 2e-4)]
    >>> print(round(dfp.networks.diffusion(measured, slow).exponent))
    2
    """
    found = sorted((runs.along(measured.directions) for runs in ensembles), key=lambda runs: runs.learning_rate)
    rates = np.array([runs.learning_rate for runs in found])
    if len(set(rates.tolist())) < 2 or len(set(rates.tolist())) < len(found):
        raise DFPError(f"learning rates {rates.tolist()}: give at least two, each once.")
    if (
        len({(runs.batch_size, runs.momentum, runs.nesterov, runs.replace) for runs in found}) > 1
        or not found[0].replace
    ):
        raise DFPError("runs differ in more than the learning rate, or are without replacement; make them alike.")
    shared = set.intersection(*(set(runs.steps.tolist()) for runs in found)) - {0}
    at = max(shared, default=0) if step is None else step
    if at not in shared:
        raise DFPError(f"step={at}: was not saved by all runs; choose from {sorted(shared)}.")
    chosen = measured.live & (rates[-1] * np.abs(measured.curvatures) * at < 0.05)
    if not chosen.any():
        raise DFPError(f"no direction is flat up to step {at} at η = {rates[-1]:g}; take an earlier step.")
    places = [runs.positions[int(np.flatnonzero(runs.steps == at)[0])][:, chosen] for runs in found]
    slopes = np.array([_slope(place, at) for place in places])
    rng = np.random.default_rng((seed, 8))
    others = np.array([[_slope(p[rng.integers(0, len(p), len(p))], at) for p in places] for _ in range(_RESAMPLES)])
    exponents = [np.polyfit(np.log(rates), np.log(sample), 1)[0] for sample in others]
    low, high = np.quantile(exponents, [0.005, 0.995])
    noise = np.median(measured.gradient_noise[chosen]) / found[0].batch_size
    return Diffusion(
        learning_rates=rates,
        slopes=slopes,
        intervals=np.quantile(others, [0.025, 0.975], axis=0).T,
        predicted=rates**2 * noise,
        exponent=float(np.polyfit(np.log(rates), np.log(slopes), 1)[0]),
        interval=(float(low), float(high)),
        directions=int(chosen.sum()),
        steps=np.full(len(rates), at),
    )


def _slope(places: Array, step: int) -> float:
    return float(np.median(places.var(axis=0, ddof=1))) / step
