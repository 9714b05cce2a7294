"""The certificate: what each solution says of its own accuracy, frame by frame, and in plain words."""

import math
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
from dfp_solvers import resolution, summary
from numpy.typing import NDArray

from dfp.checks import Array
from dfp.exact.moments import Moments
from dfp.problem.grid import Grid, grid_moments
from dfp.results.frame import Frame
from dfp.results.schema import FIGURES

# Limits beyond which a figure becomes a warning. They are far above what a resolved density shows (1e-10) and far
# below what changes a plot or a distance (1e-3).
MASS_LIMIT = 1e-6
NEGATIVE_LIMIT = 1e-6
OUTSIDE_LIMIT = 1e-6
MOMENT_LIMIT = 1e-6
GRID_LIMIT = 1e-6
TRUNCATION_LIMIT = 1e-3
# Sampling error of a smooth density in L1, where it is measured: what two halves of the samples are apart. Of 20 000
# trajectories it is some percents in the plane, which is what a histogram of them shows too.
SAMPLED_LIMIT = 0.1
# What estimates are multiplied by to bound errors, and what rounding adds to a density in L1.
SAFETY = 3.0
ROUNDING = 1e-13
# A sampled moment off by five standard errors has probability 6e-7 if the sampling is right.
Z_LIMIT = 5.0


@dataclass(frozen=True)
class Certificate:
    """Accuracy of a solution at its saved steps; each array has shape (S,), NaN where a figure does not apply.

    Attributes
    ----------
    mass_defect
        1 minus the mass on the grid and outside it.
    most_negative
        Most negative density over the largest one; 0 if none is negative.
    negative_mass
        Mass of the negative part.
    mass_outside
        Mass outside the grid.
    mean_error
        Largest error of the mean against the exact recursion, in standard deviations (sampled: standard errors).
    covariance_error
        Largest error of the covariance, relative to σ_i σ_j (sampled: in standard errors).
    truncation
        Estimated L1 error of the density: from truncating a series or a spectrum, or from the spacing of cells; along
        sampled directions the sampling error, from two halves of the trajectories.
    grid_error
        Largest amplitude of the density's spectrum at the grid's largest wave number (unresolved detail).
    sampled
        Whether moment errors are in standard errors.
    warnings
        What to worry about: cause, value, remedy. Empty if nothing.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.2)
    >>> solution = dfp.solve(dfp.MasterEquation(sgd), dfp.Gaussian(1.0, 0.1), steps=10)
    >>> certificate = solution.certificate
    >>> print(certificate.ok, bool(certificate.error.max() < 1e-6), certificate.warnings)
    True True ()
    """

    mass_defect: Array
    most_negative: Array
    negative_mass: Array
    mass_outside: Array
    mean_error: Array
    covariance_error: Array
    truncation: Array
    grid_error: Array
    sampled: bool
    warnings: tuple[str, ...]

    @property
    def error(self) -> Array:
        """Certified L1 error of the density against the exact one, mass outside the grid included, shape (S,).

        Estimates are trebled, and rounding is added: of random problems with known densities, the true error is below
        in more than 99 of 100.
        """
        outside = np.abs(self.mass_outside) + np.abs(self.mass_defect)
        return SAFETY * (self.truncation + outside) + self.negative_mass + ROUNDING

    @property
    def ok(self) -> bool:
        """Whether there are no warnings."""
        return not self.warnings

    @property
    def doubted(self) -> tuple[str, ...]:
        """Names of the figures that are beyond their limits at some step."""
        return tuple(name for name, most in _limits(self.sampled).items() if np.any(np.abs(getattr(self, name)) > most))

    def at(self, frames: list[int]) -> "Certificate":
        """Return the certificate of some frames; warnings stay, for they concern the whole run."""
        arrays: dict[str, Any] = {k: v[frames] for k, v in vars(self).items() if isinstance(v, np.ndarray)}
        return replace(self, **arrays)

    def __str__(self) -> str:
        """Return the worst figures, one a line, and the warnings."""
        unit = "standard errors" if self.sampled else "standard deviations"
        lines = ["certificate: " + ("pass" if self.ok else "WARNINGS")]
        for name, note in (
            ("mass_defect", ""),
            ("most_negative", " of the peak"),
            ("mass_outside", ""),
            ("mean_error", f" {unit}"),
            ("covariance_error", " standard errors" if self.sampled else " relative"),
            ("truncation", " in L1 (estimate)"),
            ("grid_error", " of the spectrum"),
            ("error", " in L1 at most, all of this counted"),
        ):
            values = getattr(self, name)
            if np.any(np.isfinite(values)):
                worst = values[np.nanargmax(np.abs(values))]
                lines.append(f"  {name.replace('_', ' '):17s} {worst: .1e}{note}")
        if np.all(np.isnan(self.mean_error)):
            lines.append("  moment errors     unknown: no exact moments exist here to compare with")
        return "\n".join(lines + [f"  ! {warning}" for warning in self.warnings])


class Advice(NamedTuple):
    """What can be done about a density that is not good enough."""

    finer: str
    """About cells or a series that are too coarse."""
    wider: str
    """About a box that is too small."""
    positive: str
    """About negative parts."""


@cache
def advice(*, given: bool, sampled: bool, certified: bool, truncated: bool) -> Advice:
    """Return what fits a solver, an equation and a grid.

    Parameters
    ----------
    given
        Whether the grid is the user's, rather than one chosen here.
    sampled
        Whether trajectories were drawn.
    certified
        Whether the solver can refine to a tolerance.
    truncated
        Whether the equation is (T5), which is not positive and whose grids cannot be refined.
    """
    if sampled:
        wider = "give a wider grid" if given else "give a wider grid=dfp.Grid(lower, upper, cells)"
        more = "draw more trajectories, with dfp.MonteCarlo(trajectories)"
        return Advice(more, wider, more)
    if truncated:
        other = "lower learning_rate, or use dfp.MasterEquation(sgd), which this equation approximates"
        return Advice(other, "give a wider grid" if given else other, other)
    if given:
        return Advice(
            "give a grid with more cells", "give a wider grid", "give a grid with more cells, or save later steps"
        )
    if certified:
        refine = "ask for a smaller error by tolerance=..., which refines or picks another solver"
        return Advice(refine, refine, f"{refine}, or save later steps")
    return Advice("use another solver", "give a wider grid=dfp.Grid(lower, upper, cells)", "use another solver")


def advice_alone(*, given: bool, sampled: bool) -> Advice:
    """Return what fits where there is one method, without tolerance."""
    finer, wider = (
        ("give a grid with more cells", "give a wider grid")
        if given
        else (
            "give grid=dfp.Grid(lower, upper, cells) with more cells",
            "give a wider grid=dfp.Grid(lower, upper, cells)",
        )
    )
    more = "draw more trajectories, with solver=dfp.MonteCarlo(trajectories)"
    if sampled:
        return Advice("go by dfp.moments(...), which is exact", wider, more)
    return Advice(finer, wider, finer)


def certify(
    steps: NDArray[np.int64],
    frames: list[Frame],
    grid: Grid | None,
    exact: Moments,
    notes: list[str],
    remedies: Advice | None = None,
) -> Certificate:
    """Return the certificate of ``frames`` against the exact moments at the same steps."""
    rows = [_figures(frame, grid, exact.mean[s], exact.covariance[s]) for s, frame in enumerate(frames)]
    table = np.array([[row.get(name, np.nan) for row in rows] for name in FIGURES])
    columns = dict(zip(FIGURES, table, strict=True))
    sampled = frames[0].errors is not None
    if any(frame.warnings for frame in frames):  # those that worry about the same say so once
        notes = [*notes, *dict.fromkeys(warning for frame in frames for warning in frame.warnings)]
    known = remedies or advice(given=True, sampled=sampled, certified=False, truncated=False)
    if told := next((frame.remedy for frame in frames if frame.remedy), ""):
        known = known._replace(finer=told, positive=told)
    return Certificate(**columns, sampled=sampled, warnings=(*notes, *_warnings(steps, table, sampled, known)))


def _figures(frame: Frame, grid: Grid | None, mean: Array, covariance: Array) -> dict[str, float]:
    row: dict[str, float] = {}
    if frame.errors is None:
        row["truncation"] = frame.truncation
        row["mean_error"], row["covariance_error"] = summary.moment_errors(
            frame.mean, frame.covariance, mean, covariance
        )
    else:
        row["truncation"] = frame.truncation or np.nan
        row["mean_error"] = _largest(frame.mean - mean, frame.errors["mean"])
        row["covariance_error"] = _largest(frame.covariance - covariance, frame.errors["covariance"])
    if frame.density is None or grid is None:
        return row
    total, lowest, highest, negative = summary.extremes(frame.density.ravel())
    mass = total * grid.cell_volume
    outside = frame.outside
    if outside is None:
        outside = summary.gaussian_beyond(grid.lower, grid.upper, mean, covariance)
    # Rounding can make an empty outside slightly negative; more than that is shown as it is.
    row["mass_outside"] = 0.0 if -1e-9 < outside < 0 else outside
    # Solvers that measure what is outside account for all mass; a periodic grid holds what wraps around.
    row["mass_defect"] = 1.0 - mass - (0.0 if frame.outside is None else outside)
    row["most_negative"] = min(lowest / highest, 0.0)
    row["negative_mass"] = abs(negative) * grid.cell_volume
    if frame.errors is None:
        row["grid_error"] = resolution.unresolved(frame.density) / abs(total)
        if math.isfinite(frame.truncation) and math.isfinite(mass) and not frame.gridded_moments:
            row.update(_grid_moment_errors(frame, grid, mean, covariance, row))
    return row


def _grid_moment_errors(
    frame: Frame, grid: Grid, mean: Array, covariance: Array, row: dict[str, float]
) -> dict[str, float]:
    """Return the larger of the solver's and the gridded density's moment errors."""
    assert frame.density is not None
    _, grid_mean, grid_covariance = grid_moments(grid, frame.density)
    errors = summary.moment_errors(grid_mean, grid_covariance, mean, covariance)
    return {
        "mean_error": max(row["mean_error"], errors[0]),
        "covariance_error": max(row["covariance_error"], errors[1]),
    }


def _largest(difference: Array, scale: Array) -> float:
    return summary.largest_ratio(difference.ravel(), scale.ravel())


@cache
def _limits(sampled: bool) -> dict[str, float]:
    """Return the limits of figures, of those that have one."""
    moment, l1 = (Z_LIMIT, SAMPLED_LIMIT) if sampled else (MOMENT_LIMIT, TRUNCATION_LIMIT)
    return {
        "mass_defect": MASS_LIMIT, "negative_mass": NEGATIVE_LIMIT, "mass_outside": 1e-3 if sampled else OUTSIDE_LIMIT,
        "mean_error": moment, "covariance_error": moment, "truncation": l1, "grid_error": GRID_LIMIT,
    }  # fmt: skip


@lru_cache(maxsize=16)
def _words(sampled: bool, remedies: Advice) -> dict[str, tuple[str, str]]:
    """Return cause and remedy of figures beyond their limits."""
    unit, relative = ("in standard errors",) * 2 if sampled else ("in standard deviations", "relative")
    return {
        "mass_defect": ("mass is lost", remedies.wider),
        "negative_mass": ("mass of the negative part", remedies.positive),
        "mass_outside": ("mass lies outside the grid", remedies.wider),
        "mean_error": (f"mean off the exact recursion, {unit}", remedies.finer),
        "covariance_error": (f"covariance off the recursion, {relative}", remedies.finer),
        "truncation": ("estimated L1 error of the density", remedies.positive if sampled else remedies.finer),
        "grid_error": ("spectrum not decayed at the grid's largest wave number", remedies.finer),
    }


def _bounds(sampled: bool) -> Array:
    """Return the limits of all figures, shape (F, 1), infinite where there is none."""
    return np.array([[_limits(sampled).get(name, np.inf)] for name in FIGURES])


def _warnings(steps: NDArray[np.int64], table: Array, sampled: bool, remedies: Advice) -> list[str]:
    """Return what to say of the figures ``table``, shape (F, S)."""
    limits, words = _bounds(sampled), _words(sampled, remedies)
    exceeded = np.abs(table) > limits  # a figure that is NaN does not apply
    if not np.count_nonzero(exceeded):
        return []
    causes: dict[str, list[str]] = {}  # by remedy, so that what has the same cure is told once
    for row, name in enumerate(FIGURES):
        if exceeded[row].any():
            cause, remedy = words[name]
            worst = int(np.argmax(np.where(exceeded[row], np.abs(table[row]), -1.0)))
            found, limit = table[row, worst], limits[row, 0]
            told = f"step {steps[worst]}: {cause} ({name} = {found:.2g}, limit {limit:g})"
            causes.setdefault(remedy, []).append(told)
    return [f"{'; '.join(told)}; {remedy}." for remedy, told in causes.items()]
