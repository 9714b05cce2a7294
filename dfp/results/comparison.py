"""How far solutions are apart: total variation, Wasserstein distance, entropy and moments, with sampling intervals."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError
from dfp.problem.grid import Grid
from dfp.results import rebinning
from dfp.results.solution import Solution

# Two-sided 95 % intervals.
_LEVEL = 0.05
_QUANTILE = 1.959963984540054
# Cells per axis on which sampled densities are compared: their noise adds about 0.4 √(cells/trajectories) to the
# total variation, 0.01 for a million trajectories on these.
_SAMPLED_CELLS = {1: 100, 2: 24, 3: 10}
_DIRECTIONS = 24


@dataclass(frozen=True)
class Measured:
    """A number with a 95 % interval, which is the number itself where nothing is sampled."""

    value: float
    lower: float
    upper: float

    def __str__(self) -> str:
        """Return the value, and the interval where there is one."""
        if np.isnan(self.value):
            return "-"
        if self.lower == self.upper:
            return f"{self.value:.3g}"
        return f"{self.value:.3g} [{self.lower:.2g}, {self.upper:.2g}]"


@dataclass(frozen=True)
class Distance:
    """How far ``name`` is from ``reference`` at one step.

    Attributes
    ----------
    total_variation
        ``½ ∫ |p − q|`` over cells and the outside, in [0, 1].
    wasserstein
        W1 for d = 1; for d > 1 sliced: the mean W1 of projections on 24 directions [parameter].
    kl
        Kullback–Leibler divergence of ``name`` from ``reference`` [nat]; NaN if sampled or negative somewhere.
    mean
        Largest difference of a mean, in the reference's standard deviations.
    covariance
        Frobenius norm of the difference of covariances over that of the reference.
    """

    name: str
    reference: str
    step: int
    total_variation: Measured
    wasserstein: Measured
    kl: float
    mean: Measured
    covariance: Measured


@dataclass(frozen=True)
class Comparison:
    """Distances of every solution from the reference at every step they share; prints as a table."""

    distances: tuple[Distance, ...]

    def at(self, name: str, step: int) -> Distance:
        """Return one distance.

        Raises
        ------
        DFPError
            If that solution or step was not compared.
        """
        for distance in self.distances:
            if (distance.name, distance.step) == (name, step):
                return distance
        known = ", ".join(sorted({f"{d.name!r} at step {d.step}" for d in self.distances}))
        raise DFPError(f"name={name!r}, step={step}: was not compared; choose from {known}.")

    def __str__(self) -> str:
        """Return a table, one row a solution and step; brackets are 95 % intervals."""
        header = ("step", "solution", "total variation", "W1 [parameter]", "mean [σ]", "covariance")
        rows = [header] + [
            (str(d.step), d.name, str(d.total_variation), str(d.wasserstein), str(d.mean), str(d.covariance))
            for d in self.distances
        ]
        widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([f"distance from: {self.distances[0].reference} (brackets: 95 % intervals)", *lines])


def compare(solutions: Mapping[str, Solution], reference: str | None = None) -> Comparison:
    """Return the distances of solutions from one of them at all steps they share.

    Parameters
    ----------
    solutions
        Two or more, by name.
    reference
        Name of the one the others are measured against; the first if left out.

    Returns
    -------
    Comparison
        Distances between densities are NaN where a solution has only moments. Where a side is sampled, its total
        variation interval is rigorous (triangle inequality and McDiarmid's bound) and holds for the cells compared.

    Raises
    ------
    DFPError
        If there are fewer than two solutions, the reference is not among them, or they share no step.
    """
    if not isinstance(solutions, Mapping) or len(solutions) < 2:
        raise DFPError(f"solutions={checks.shown(list(solutions))}: compare needs at least two; give a dict of them.")
    for name, solution in solutions.items():
        if not isinstance(solution, Solution):
            raise DFPError(f"solutions[{name!r}]={checks.shown(solution)}: must be a Solution; give dfp.solve(...).")
    reference = next(iter(solutions)) if reference is None else reference
    checks.choice("reference", reference, tuple(solutions))
    base = solutions[reference]
    others = {name: solution for name, solution in solutions.items() if name != reference}
    shared = set(map(int, base.steps))
    for name, solution in others.items():
        shared &= set(map(int, solution.steps))
        if solution.dimension != base.dimension:
            raise DFPError(f"solutions[{name!r}] has {solution.dimension} parameters: {reference!r} {base.dimension}.")
    if not shared:
        raise DFPError("solutions: they share no saved step; solve them with the same save=[...].")
    return Comparison(
        tuple(
            _distance(name, solution, reference, base, step)
            for step in sorted(shared)
            for name, solution in others.items()
        )
    )


def _distance(name: str, solution: Solution, reference: str, base: Solution, step: int) -> Distance:
    i = int(np.flatnonzero(solution.steps == step)[0])
    j = int(np.flatnonzero(base.steps == step)[0])
    nothing = Measured(np.nan, np.nan, np.nan)
    variation, wasserstein, kl = nothing, nothing, np.nan
    if solution.density is not None and base.density is not None:
        grid = rebinning.common_grid(solution, base)
        p, q = rebinning.cell_probabilities(solution, i, grid), rebinning.cell_probabilities(base, j, grid)
        wasserstein = _wasserstein(p, q, grid, (solution.trajectories, base.trajectories))
        if not (solution.sampled or base.sampled):
            kl = _kl(p, q)
        else:
            grid = rebinning.coarsened(grid, _SAMPLED_CELLS[grid.dimension])
            p, q = rebinning.cell_probabilities(solution, i, grid), rebinning.cell_probabilities(base, j, grid)
        variation = _total_variation(p, q, (solution.trajectories, base.trajectories))
    return Distance(name, reference, step, variation, wasserstein, kl, *_moments(solution, i, base, j))


def _measured(value: float, radius: float, largest: float = np.inf) -> Measured:
    return Measured(value, max(value - radius, 0.0), min(value + radius, largest))


def _total_variation(p: Array, q: Array, trajectories: tuple[int, int]) -> Measured:
    value = 0.5 * float(np.abs(p - q).sum()) + 0.5 * abs(float(p.sum() - q.sum()))
    radius = 0.0
    for masses, count in zip((p, q), trajectories, strict=True):
        if count:
            # E TV(p̂, p) <= ½ Σ sd(p̂_i), and one trajectory moves TV by at most 1/count (McDiarmid).
            spread = np.sqrt(np.clip(masses * (1 - masses), 0, None) / count)
            radius += 0.5 * float(spread.sum()) + float(np.sqrt(np.log(1 / _LEVEL) / (2 * count)))
    return _measured(min(value, 1.0), radius, 1.0)


def _wasserstein(p: Array, q: Array, grid: Grid, trajectories: tuple[int, int]) -> Measured:
    directions = _unit_vectors(grid.dimension)
    points = grid.points.reshape(-1, grid.dimension)
    values, radii = [], []
    for direction in directions:
        place = points @ direction
        order = np.argsort(place, kind="stable")
        gaps = np.diff(place[order])
        cumulative = [np.cumsum(masses.ravel()[order])[:-1] for masses in (p, q)]
        values.append(float(np.abs(cumulative[0] - cumulative[1]) @ gaps))
        radius = 0.0
        for total, count in zip(cumulative, trajectories, strict=True):
            if count:
                # W1(p̂, p) = ∫ |F̂ − F|: mean and fluctuation are both below ∫ sd(F̂).
                spread = float(np.sqrt(np.clip(total * (1 - total), 0, None) / count) @ gaps)
                radius += (np.sqrt(2 / np.pi) + _QUANTILE) * spread
        radii.append(radius)
    return _measured(float(np.mean(values)), float(np.mean(radii)))


def _unit_vectors(dimension: int) -> Array:
    """Return evenly spread directions (K, d) of a half sphere."""
    if dimension == 1:
        return np.ones((1, 1))
    k = np.arange(_DIRECTIONS) + 0.5
    if dimension == 2:
        angle = np.pi * k / _DIRECTIONS
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)
    height, turn = k / _DIRECTIONS, np.pi * (1 + np.sqrt(5)) * k
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(turn), radius * np.sin(turn), height], axis=1)


def _kl(p: Array, q: Array) -> float:
    from scipy.special import rel_entr

    tiny = 1e-12 * max(float(p.max()), float(q.max()))
    if min(float(p.min()), float(q.min())) < -tiny:
        return float("nan")
    kept = (p > tiny) & (q > tiny)
    return max(float(np.sum(rel_entr(p[kept], q[kept]) - p[kept] + q[kept])), 0.0)


def _moments(solution: Solution, i: int, base: Solution, j: int) -> tuple[Measured, Measured]:
    deviation = np.sqrt(np.diag(base.covariance[j]))
    deviation = np.where(deviation > 0, deviation, 1.0)
    size = float(np.linalg.norm(base.covariance[j])) or 1.0
    mean_radius, covariance_radius = 0.0, 0.0
    for part, frame in ((solution, i), (base, j)):
        if part.errors:
            mean_radius += _QUANTILE * float(np.max(part.errors["mean"][frame] / deviation))
            covariance_radius += _QUANTILE * float(np.linalg.norm(part.errors["covariance"][frame])) / size
    mean = float(np.max(np.abs(solution.mean[i] - base.mean[j]) / deviation))
    covariance = float(np.linalg.norm(solution.covariance[i] - base.covariance[j])) / size
    return _measured(mean, mean_radius), _measured(covariance, covariance_radius)
