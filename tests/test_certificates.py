"""Certificates that can be trusted: certified against true errors, and refinement until a tolerance holds."""

from pathlib import Path

import pytest
from problems import one_mode, table

import dfp
from dfp.results import certificate
from validation.cases import random_truths

COUNT = 176


def test_certified_errors_bound_true_ones():
    """In 99.5 % of random problems of all kinds the true error is below the certified one, typically 1/10 of it."""
    found = random_truths.examine(range(COUNT))
    verdicts = random_truths.judged(found, COUNT)
    assert [verdict.quantity for verdict in verdicts if not verdict.as_expected] == []
    assert any(verdict.control for verdict in verdicts)
    # the truths are not all the same
    true = [row.true for row in found.rows]
    assert max(true) > 1e6 * min(true)


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


def test_the_limits_on_the_page_are_those_of_the_certificate():
    page = (Path(__file__).parent.parent / "docs" / "faq.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:4] for line in page.splitlines() if line.startswith("| `")]
    digits = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
    told = {name: row for row in rows for name in row[0].split("`")[1::2]}
    for column, sampled in ((1, False), (2, True)):
        for name, limit in certificate._limits(sampled).items():
            written = told[name][column].strip()
            exponent = written.removeprefix("10").split(",")[0].translate(digits)
            number = 10.0 ** int(exponent) if written.startswith("10") else float(written.split()[0].rstrip(","))
            assert number == pytest.approx(limit, rel=1e-12), name  # the same number, read from text
