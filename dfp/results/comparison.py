"""How far solutions are apart: total variation, Wasserstein distance, entropy and moments, with sampling intervals."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from dfp_solvers import distances, rebinning

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError
from dfp.exact.moments import Moments
from dfp.problem.grid import Grid
from dfp.problem.state import Density
from dfp.result import Origin, Result, call_of
from dfp.results import tables
from dfp.results.clock import apart, is_law, matched, nothing_shared, on_one_clock
from dfp.results.solution import Solution

# Cells per axis on which sampled densities are compared: their noise adds about 0.4 √(cells/trajectories) to the
# total variation, 0.01 for a million trajectories on these.
_SAMPLED_CELLS = {1: 100, 2: 24, 3: 10}
# Cells into which the finer of two spacings is divided for a comparison, by dimension, and the most cells in all.
_REFINEMENT = {1: 8, 2: 2, 3: 1}
_MOST_CELLS = 2**21


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


@dataclass(frozen=True, repr=False)
class Comparison(Result):
    """Distances of every solution from the reference at every step they share; prints as a table.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.2)
    >>> laws = {"SGD": dfp.stationary(dfp.MasterEquation(sgd)), "Langevin": dfp.stationary(dfp.Langevin(sgd))}
    >>> comparison = dfp.compare(laws)
    >>> print(round(comparison.distances[0].total_variation.value, 3))
    0.025
    """

    distances: tuple[Distance, ...]
    warnings: tuple[str, ...] = ()
    """What to worry about: frames of the same step but not of the same slow time, distances that do not exist."""

    def at(self, name: str, step: int) -> Distance:
        """Return one distance.

        Raises
        ------
        DFPError
            If that solution or step was not compared.

        Examples
        --------
        >>> print(round(comparison.at("Langevin", 10).total_variation.value, 3))
        0.041
        """
        for distance in self.distances:
            if (distance.name, distance.step) == (name, step):
                return distance
        known = ", ".join(sorted({f"{d.name!r} at step {d.step}" for d in self.distances}))
        raise DFPError(f"name={name!r}, step={step}: was not compared; choose from {known}.")

    def rows(self) -> list[dict[str, Any]]:
        """Return one dictionary of names and numbers for every distance, as tables and CSV files have it.

        Examples
        --------
        >>> print([row["step"] for row in comparison.rows()])
        [0, 5, 10]
        """
        result = []
        for distance in self.distances:
            row: dict[str, Any] = {}
            for name, value in vars(distance).items():
                ends = vars(value) if isinstance(value, Measured) else {}
                row |= {name if end == "value" else f"{name}_{end}": number for end, number in ends.items()} or {
                    name: value
                }
            result.append(row)
        return result

    def __repr__(self) -> str:
        """Return how many distances from what, and how many warnings."""
        told = f", {len(self.warnings)} warning(s)" if self.warnings else ""
        return f"<Comparison: {len(self.distances)} distances from {self.distances[0].reference}{told}>"

    def __str__(self) -> str:
        """Return a table, one row a solution and step; brackets are 95 % intervals."""
        header = ("step", "solution", "total variation", "W1 [parameter]", "mean [σ]", "covariance")
        rows = [header] + [
            (str(d.step), d.name, str(d.total_variation), str(d.wasserstein), str(d.mean), str(d.covariance))
            for d in self.distances
        ]
        lines = tables.aligned(rows)
        told = [f"! {warning}" for warning in self.warnings]
        return "\n".join([f"distance from: {self.distances[0].reference} (brackets: 95 % intervals)", *lines, *told])


def compare(
    solutions: Mapping[str, Solution | Moments | Result], reference: str | None = None, *, at: str = "step"
) -> Comparison:
    """Return the distances of solutions from one of them at all steps, or slow times, they share.

    Parameters
    ----------
    solutions
        Two or more, by name: solutions, or ``Moments``, which have no slow time. A ``Density``, such as a stationary
        law, and ``StationaryMoments`` are compared at every step of the others; of these alone the step is 0.
    reference
        Name of the one the others are measured against; the first if left out.
    at
        ``"step"``, or ``"time"``: frames of the same slow time τ = Σ η, with momentum Σ η/(1−β), to 1e-9; the steps are
        then those of the reference. Steps of which slow times differ are compared with a warning.

    Returns
    -------
    Comparison
        Distances between densities are NaN where a side has only moments. Where a side is sampled, its total
        variation interval is rigorous (triangle inequality and McDiarmid's bound) and holds for the cells compared.
        Where a side has no mean, W1 is NaN; where it has no variance, W1 is that of what is on the cells, and means in
        its deviations and its covariance are NaN, all with a warning.

    Raises
    ------
    DFPError
        If there are fewer than two solutions, the reference is not among them, or they share no step.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.2)
    >>> start = dfp.Gaussian(1.0, 0.1)
    >>> exact, langevin = (dfp.solve(kind(sgd), start, 20, [20]) for kind in (dfp.MasterEquation, dfp.Langevin))
    >>> (distance,) = dfp.compare({"SGD": exact, "Langevin": langevin}).distances
    >>> print(round(distance.total_variation.value, 3))
    0.026
    """
    if not isinstance(solutions, Mapping) or len(solutions) < 2:
        names = list(solutions) if isinstance(solutions, Mapping) else solutions
        raise DFPError(
            f"solutions={checks.shown(names)}: compare needs at least two, by name; give a dict of them, as "
            '{"SGD": exact, "Langevin": langevin}.'
        )
    checks.choice("at", at, ("step", "time"))
    for name, given in solutions.items():
        if not (isinstance(given, Solution | Moments) or is_law(given)):
            raise DFPError(
                f"solutions[{name!r}]={checks.shown(given)}: must be a Solution, Moments or a law; give dfp.solve(...)."
            )
        if isinstance(given, Moments) and at == "time":
            raise DFPError(f'solutions[{name!r}]: Moments have steps and no slow time; leave at="time" out.')
    reference = next(iter(solutions)) if reference is None else reference
    checks.choice("reference", reference, tuple(solutions))
    origins = {name: _origin(given) for name, given in solutions.items()}
    solutions = on_one_clock(solutions)
    base = solutions[reference]
    others = {name: solution for name, solution in solutions.items() if name != reference}
    for name, solution in others.items():
        if solution.dimension != base.dimension:
            raise DFPError(
                f"solutions[{name!r}] has {solution.dimension} parameters: {reference!r} has {base.dimension}; compare "
                "those that have the same."
            )
    pairs = {name: matched(solution, base, at) for name, solution in others.items()}
    shared = sorted(set.intersection(*(set(found) for found in pairs.values())))
    if not shared:
        raise DFPError(nothing_shared(at))
    found = Comparison(
        tuple(
            _distance(name, solution, pairs[name][j], reference, base, j)
            for j in shared
            for name, solution in others.items()
        ),
        tuple(
            _worries(others, {name: {j: found[j] for j in shared} for name, found in pairs.items()}, reference, base)
        ),
    )
    found._remember(call_of(compare, (origins, reference), {"at": at}))
    return found


def _worries(
    others: Mapping[str, Solution], pairs: Mapping[str, Mapping[int, int]], reference: str, base: Solution
) -> Iterator[str]:
    """Say where slow times differ, and which sides have no moments."""
    for name, solution in others.items():
        told = apart(name, solution, reference, base, pairs[name])
        if told:
            yield told
    for name, solution in {reference: base, **others}.items():
        if not checks.finite(solution.mean) or not checks.finite(solution.covariance):
            yield (
                f"{name!r} has no variance or mean: distances of moments from it, and W1 without a mean, are NaN, and "
                "W1 is that of what is on the grids; go by the total variation."
            )


def _origin(given: Result) -> Result | Origin:
    """Return how a side is made again: by its call, or as a density by value."""
    by_value = isinstance(given, Density) and given._call() is None
    return given if by_value else Origin(given)


def _distance(name: str, solution: Solution, i: int, reference: str, base: Solution, j: int) -> Distance:
    step = int(base.steps[j])
    trajectories = solution.trajectories, base.trajectories
    variation = wasserstein = Measured(np.nan, np.nan, np.nan)
    kl = np.nan
    if solution.density is not None and base.density is not None:
        grid = _common_grid(solution, base)
        p, q = cell_probabilities(solution, i, grid), cell_probabilities(base, j, grid)
        points = grid.points.reshape(-1, grid.dimension)
        if checks.finite(solution.mean[i]) and checks.finite(base.mean[j]):
            wasserstein = _measured(distances.wasserstein(p, q, points, trajectories))
        if not any(trajectories):
            kl = distances.kullback_leibler(p, q)
        else:
            grid = _coarsened(grid, _SAMPLED_CELLS[grid.dimension])
            p, q = cell_probabilities(solution, i, grid), cell_probabilities(base, j, grid)
        variation = _measured(distances.total_variation(p, q, trajectories), 1.0)
    mean, covariance = distances.mean_and_covariance(
        (solution.mean[i], base.mean[j]),
        (solution.covariance[i], base.covariance[j]),
        (_errors(solution, i), _errors(base, j)),
    )
    return Distance(name, reference, step, variation, wasserstein, kl, _measured(mean), _measured(covariance))


def _errors(solution: Solution, frame: int) -> dict[str, Array]:
    return {name: values[frame] for name, values in solution.errors.items()}


def _measured(found: tuple[float, float], largest: float = np.inf) -> Measured:
    value, radius = found
    return Measured(value, max(value - radius, 0.0), min(value + radius, largest))


def cell_probabilities(solution: Solution, frame: int, target: Grid) -> Array:
    """Return the probability of every cell of ``target`` at one frame, shape ``target.cells``.

    Densities at cell centres are integrated by quintic splines along each axis; histograms are summed, or interpolated
    monotonically in their cumulative sums where the cells differ.
    """
    grid, density = solution.gridded()
    values: Array = density[frame]
    for axis in range(grid.dimension):
        old, new, width = grid.edges[axis], target.edges[axis], float(grid.spacing[axis])
        if solution.sampled:
            values = rebinning.rebinned(values * width, old, new, axis)
        else:
            values = rebinning.integrated(values, grid.axes[axis], width, new, axis)
    return values


def _common_grid(first: Solution, second: Solution) -> Grid:
    """Return a partition both solutions can be compared on: the sampled one's cells, else the wider box, finely.

    Cells in which two densities cross hide part of their distance, so deterministic ones are compared on finer cells.
    """
    a, b = first.gridded()[0], second.gridded()[0]
    if first.sampled or second.sampled:
        return a if first.sampled else b
    lower, upper = np.minimum(a.lower, b.lower), np.maximum(a.upper, b.upper)
    wanted = np.ceil((upper - lower) / np.minimum(a.spacing, b.spacing)) * _REFINEMENT[a.dimension]
    shrink = min(1.0, (_MOST_CELLS / float(np.prod(wanted))) ** (1 / a.dimension))
    return Grid(lower, upper, tuple(max(int(n * shrink), 4) for n in wanted))


def _coarsened(grid: Grid, most: int) -> Grid:
    """Return the grid with cells merged in equal groups until no axis has more than ``most``, where counts divide."""
    return Grid(grid.lower, grid.upper, tuple(_divided(n, most) for n in grid.cells))


def _divided(cells: int, most: int) -> int:
    for factor in range(1, cells // 4 + 1):
        if cells % factor == 0 and cells // factor <= most:
            return cells // factor
    return cells
