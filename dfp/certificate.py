"""The certificate: what each solution says of its own accuracy, frame by frame, and in plain words."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.special import ndtr

from dfp.checks import Array
from dfp.exact import Moments
from dfp.solver import Frame
from dfp.state import Grid, grid_moments

# Limits beyond which a figure becomes a warning. They are far above what a resolved density shows (1e-10) and far
# below what changes a plot or a distance (1e-3).
MASS_LIMIT = 1e-6
NEGATIVE_LIMIT = 1e-6
OUTSIDE_LIMIT = 1e-6
MOMENT_LIMIT = 1e-6
GRID_LIMIT = 1e-6
TRUNCATION_LIMIT = 1e-3
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
        Estimated L1 error of the density: from truncating a series or a spectrum, or from the spacing of cells.
    grid_error
        Largest amplitude of the density's spectrum at the grid's largest wave number (unresolved detail).
    sampled
        Whether moment errors are in standard errors.
    warnings
        What to worry about: cause, value, remedy. Empty if nothing.
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
        result: Array = SAFETY * (self.truncation + outside) + self.negative_mass + ROUNDING
        return result

    @property
    def ok(self) -> bool:
        """Whether there are no warnings."""
        return not self.warnings

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
            lines.append("  moment errors     unknown: in a nonlinear landscape no exact moments exist to compare with")
        return "\n".join(lines + [f"  ! {warning}" for warning in self.warnings])


def certify(
    steps: NDArray[np.int64], frames: list[Frame], grid: Grid | None, exact: Moments, notes: list[str]
) -> Certificate:
    """Return the certificate of ``frames`` against the exact moments at the same steps."""
    rows = [_figures(frame, grid, exact.mean[s], exact.covariance[s]) for s, frame in enumerate(frames)]
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    sampled = frames[0].errors is not None
    # Frames that worry about the same say so once.
    notes = [*notes, *dict.fromkeys(warning for frame in frames for warning in frame.warnings)]
    return Certificate(**columns, sampled=sampled, warnings=(*notes, *_warnings(steps, columns, sampled)))


def _figures(frame: Frame, grid: Grid | None, mean: Array, covariance: Array) -> dict[str, float]:
    row = dict.fromkeys(
        ("mass_defect", "most_negative", "negative_mass", "mass_outside", "truncation", "grid_error"), float("nan")
    )
    row["truncation"] = frame.truncation if frame.errors is None else float("nan")
    if frame.errors is None:
        deviation = np.sqrt(np.maximum(covariance.diagonal(), np.finfo(float).tiny))
        scale, pair = deviation, np.outer(deviation, deviation)
    else:
        scale, pair = frame.errors["mean"], frame.errors["covariance"]
    with np.errstate(divide="ignore", invalid="ignore"):
        row["mean_error"] = _largest(frame.mean - mean, scale)
        row["covariance_error"] = _largest(frame.covariance - covariance, pair)
    if frame.density is None or grid is None:
        return row
    mass = float(frame.density.sum()) * grid.cell_volume
    outside = _gaussian_outside(grid, mean, covariance) if frame.outside is None else frame.outside
    lowest = float(frame.density.min())
    # Rounding can make an empty outside slightly negative; more than that is shown as it is.
    row["mass_outside"] = 0.0 if -1e-9 < outside < 0 else outside
    # Solvers that measure what is outside account for all mass; a periodic grid holds what wraps around.
    row["mass_defect"] = 1.0 - mass - (0.0 if frame.outside is None else outside)
    row["most_negative"] = min(lowest / float(frame.density.max()), 0.0)
    row["negative_mass"] = 0.0 if lowest >= 0 else -float(np.minimum(frame.density, 0).sum()) * grid.cell_volume
    if frame.errors is None:
        row["grid_error"] = _unresolved(frame.density)
        if np.isfinite(frame.truncation) and np.isfinite(mass) and not frame.gridded_moments:
            row.update(_grid_moment_errors(frame, grid, mean, covariance, row))
    return row


def _grid_moment_errors(
    frame: Frame, grid: Grid, mean: Array, covariance: Array, row: dict[str, float]
) -> dict[str, float]:
    """Return the larger of the solver's and the gridded density's moment errors."""
    assert frame.density is not None
    _, grid_mean, grid_covariance = grid_moments(grid, frame.density)
    deviation = np.sqrt(np.maximum(covariance.diagonal(), np.finfo(float).tiny))
    return {
        "mean_error": max(row["mean_error"], _largest(grid_mean - mean, deviation)),
        "covariance_error": max(
            row["covariance_error"], _largest(grid_covariance - covariance, np.outer(deviation, deviation))
        ),
    }


def _largest(difference: Array, scale: Array) -> float:
    """Return the largest |difference| / scale; 0/0 counts as no error."""
    size = np.abs(difference)
    return float(np.where(size == 0, 0.0, size / scale).max())


def _gaussian_outside(grid: Grid, mean: Array, covariance: Array) -> float:
    deviation = np.sqrt(np.maximum(covariance.diagonal(), np.finfo(float).tiny))
    return float(ndtr((mean - grid.upper) / deviation).sum() + ndtr((grid.lower - mean) / deviation).sum())


def _unresolved(density: Array) -> float:
    """Return the largest amplitude of the spectrum at the largest wave number of any axis, over that at zero."""
    largest = 0.0
    for axis, n in enumerate(density.shape):
        planes = np.tensordot(_edge_waves(n), density, axes=(1, axis))
        spectrum = planes[0::2] + 1j * planes[1::2]
        if density.ndim > 1:
            spectrum = fft.fftn(spectrum, axes=range(1, density.ndim))
        largest = max(largest, float(np.abs(spectrum).max()))
    return largest / abs(float(density.sum()))


@lru_cache(maxsize=32)
def _edge_waves(n: int) -> Array:
    """Return real and imaginary parts of the last two waves of n cells, shape (4, n)."""
    # The very last wave number can vanish by symmetry, so its neighbour counts too.
    angles = 2 * np.pi / n * (np.multiply.outer([n // 2 - 1, n // 2], np.arange(n)) % n)
    return np.stack([np.cos(angles), -np.sin(angles)], axis=1).reshape(4, n)


@lru_cache(maxsize=2)
def _limits(sampled: bool) -> tuple[tuple[str, float, str, str], ...]:
    """Return of every figure its name, its limit, what it says beyond, and the remedy."""
    moment_limit = Z_LIMIT if sampled else MOMENT_LIMIT
    unit = "standard errors" if sampled else "standard deviations"
    return (
        ("mass_defect", MASS_LIMIT, "mass is lost", "use a wider or finer grid"),
        ("negative_mass", NEGATIVE_LIMIT, "mass of the negative part", "the equation is not positive or is truncated: "
         "lower learning_rate or use the master equation"),
        ("mass_outside", OUTSIDE_LIMIT, "mass lies outside the grid", "widen the grid"),
        ("mean_error", moment_limit, f"mean off the exact recursion, in {unit}", "refine or widen the grid"),
        ("covariance_error", moment_limit, f"covariance off the recursion, in {unit}", "refine or widen the grid"),
        ("truncation", TRUNCATION_LIMIT, "estimated L1 error of the density",
         "lower learning_rate, use another solver or grid, or accept it"),
        ("grid_error", GRID_LIMIT, "spectrum not decayed at the grid's largest wave number", "use more cells"),
    )  # fmt: skip


def _warnings(steps: NDArray[np.int64], columns: dict[str, Array], sampled: bool) -> list[str]:
    result, table = [], _limits(sampled)
    limits = np.array([1e-3 if sampled and name == "mass_outside" else limit for name, limit, _, _ in table])
    figures = np.abs([columns[name] for name, _, _, _ in table])
    exceeded = figures > limits[:, None]  # a figure that is NaN does not apply
    if not exceeded.any():
        return []
    for (name, _, cause, remedy), limit, values, bad in zip(table, limits, figures, exceeded, strict=True):
        if bad.any():
            worst = int(np.argmax(np.where(bad, values, -1.0)))
            result.append(
                f"step {steps[worst]}: {cause} ({name} = {columns[name][worst]:.2g}, limit {limit:g}); {remedy}."
            )
    return result
