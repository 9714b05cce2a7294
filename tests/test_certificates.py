"""Certificates that can be trusted: certified against true errors, and refinement until a tolerance holds."""

import numpy as np
import pytest
from problems import one_mode, table
from truths import KINDS, random_truth

import dfp
from dfp.results.certificate import ROUNDING
from validation.solvers import made

MADE = made(10_000) | {"FiniteVolume": dfp.FiniteVolume(tolerance=1e-4)}
SOLVERS = tuple(solver for name, solver in MADE.items() if name not in ("MomentRecursion", "MonteCarlo"))
COUNT = 180
# What the truths themselves round to: exponentials and inverses of matrices, sums of thousands of Gaussians.
TRUTH = 1e-11


def true_error(truth, solution):
    """L1 distance from the known density on the grid, and the mass of the latter beyond it."""
    grid = solution.grid
    exact = truth.density(grid.points)
    beyond = max(0.0, 1 - float(exact.sum()) * grid.cell_volume)
    return float(np.abs(solution.density[-1] - exact).sum()) * grid.cell_volume + beyond


def solved(truth, solver):
    """The solution, or None where this solver refuses, in words, what it cannot do, or would take seconds."""
    narrow = solver == "auto" or solver.name in ("Hermite", "FiniteDifference")
    if truth.equation.dimension > (1 if narrow and solver != "auto" else 2) and (
        solver == "auto" or solver.name != "Fourier"
    ):
        return None
    try:
        return dfp.solve(truth.equation, truth.initial, truth.steps, [truth.steps], solver, truth.grid)
    except dfp.DFPError as refusal:
        assert len(str(refusal)) > 40
        return None


def test_certified_errors_bound_true_ones():
    """In 99.5 % of random problems of all kinds the true error is below the certified one, typically 1/30 of it."""
    rows = []
    for seed in range(COUNT):
        truth = random_truth(seed)
        # What is picked and, in turn, one solver among those that take the problem.
        ordered = [SOLVERS[(seed // len(KINDS) + i) % len(SOLVERS)] for i in range(len(SOLVERS))]
        asked = next((s for s in (solved(truth, solver) for solver in ordered) if s is not None), None)
        for solution in (solved(truth, "auto"), asked):
            if solution is None or solution.density is None or solution.trajectories:
                continue
            certified = float(solution.certificate.error[-1])
            if np.isfinite(certified):
                rows.append((truth.kind, true_error(truth, solution), certified, solution.certificate.ok))
            else:
                # Cell averages, which have no error as a density, come with a warning.
                assert solution.certificate.warnings
    true, certified, ok = (np.array(column) for column in list(zip(*rows, strict=True))[1:])
    covered = true <= certified + TRUTH
    assert {row[0] for row in rows} == {kind.__name__ for kind in KINDS}
    assert len(rows) >= 1.2 * COUNT
    assert np.mean(covered) >= 0.995
    assert not np.any(~covered & ok)
    assert np.median(certified / np.maximum(true, ROUNDING)) <= 30
    # The controls: estimates a hundred times smaller would be caught, and the truths are not all the same.
    assert np.mean(true <= certified / 100 + TRUTH) < 0.9
    assert true.max() > 1e6 * true.min()


@pytest.mark.parametrize(
    ("equation", "start", "solver", "tolerance"),
    [
        (dfp.Langevin(dfp.SGD(one_mode(1.0, 0.3, 0.4), 0.1)), dfp.Gaussian(0.3, 0.1), dfp.FiniteVolume(), 1e-7),
        (dfp.MasterEquation(dfp.SGD(table(2), 0.1)), dfp.Gaussian([0.3, 0.1], 0.1), dfp.Transfer(), 1e-6),
        (dfp.Langevin(dfp.SGD(table(2), 0.05)), dfp.Gaussian([0.3, 0.1], 0.1), "auto", 1e-2),
        (dfp.MasterEquation(dfp.SGD(one_mode(), 0.1)), dfp.Gaussian(0.3, 0.1), "auto", 1e-10),
    ],
)
def test_a_tolerance_is_held(equation, start, solver, tolerance):
    solution = dfp.solve(equation, start, 20, [10, 20], solver, tolerance=tolerance)
    assert solution.certificate.error.max() <= tolerance
    finer = solution.grid.refined(2.0, 1.0)
    other = dfp.solve(equation, start, 20, [10, 20], solver, None, tolerance=tolerance / 3)
    assert other.certificate.error.max() <= tolerance / 3
    assert finer.cells[0] >= 2 * solution.grid.cells[0]


def test_a_given_grid_is_kept_and_found_wanting():
    equation = dfp.Langevin(dfp.SGD(one_mode(1.0, 0.3, 0.4), 0.1))
    grid = dfp.Grid(-3, 3, 40)
    with pytest.raises(
        dfp.UnresolvedError, match=r"tolerance=1e-06: FiniteVolume certifies .* 40 cells .*grid was given"
    ):
        dfp.solve(equation, dfp.Gaussian(0.3, 0.1), 20, [20], dfp.FiniteVolume(), grid, tolerance=1e-6)
    loose = dfp.solve(equation, dfp.Gaussian(0.3, 0.1), 20, [20], dfp.FiniteVolume(), grid, tolerance=0.5)
    assert loose.grid.matches(grid)


def test_what_cannot_be_held_is_refused_with_the_reason():
    equation = dfp.DiscreteFokkerPlanck(dfp.SGD(one_mode(1.0, 0.3), 0.3))
    with pytest.raises(dfp.DFPError, match=r"certifies|does not converge"):
        dfp.solve(equation, dfp.Gaussian(0.3, 0.1), 20, [20], dfp.Hermite(), tolerance=1e-8)
    master = dfp.MasterEquation(dfp.SGD(one_mode(), 0.1))
    for solver in (dfp.MonteCarlo(2000), dfp.MomentRecursion()):
        with pytest.raises(dfp.UnsupportedError, match="certifies no density"):
            dfp.solve(master, dfp.Gaussian(0.3, 0.1), 5, [5], solver, tolerance=0.1)
    with pytest.raises(dfp.DFPError, match="tolerance=2"):
        dfp.solve(master, dfp.Gaussian(0.3, 0.1), 5, tolerance=2)


def test_grids_are_refined_within_bounds():
    grid = dfp.Grid([-1.0, -2.0], [1.0, 2.0], (10, 20))
    better = grid.refined(1.5, 2.0)
    assert better.cells == (32, 60)
    assert better.lower.tolist() == [-2.0, -4.0] and better.upper.tolist() == [2.0, 4.0]
    assert dfp.Grid([-1.0, -2.0], [1.0, 2.0], 1400).refined(1.5, 1.0) is None
