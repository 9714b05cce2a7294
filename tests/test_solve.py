"""The driver: one parametrised check of every solver with every equation, automatic choice, and the certificate."""

import numpy as np
import pytest
from problems import every_equation, one_mode, regression, rotated, table

import dfp
from validation.solvers import made

SOLVERS = made(20_000, seed=6)
SOLVERS |= {"Hermite": dfp.Hermite(16, tolerance=0.1), "FiniteDifference": dfp.FiniteDifference(tolerance=0.1)}
PROBLEMS = {
    "additive 1D": (one_mode(), dfp.Gaussian(0.3, 0.1)),
    "multiplicative 1D": (one_mode(1.0, 0.3, 0.2, 0.1), dfp.Gaussian(0.3, 0.1)),
    "regression 2D": (regression(2, 8), dfp.Gaussian([0.9, -0.9], 0.05)),
}


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("name", SOLVERS)
def test_every_supported_pair(name, problem):
    """Mass, positivity where promised, moments against the exact recursion; unsupported pairs are refused in words."""
    landscape, start = PROBLEMS[problem]
    for equation in every_equation(dfp.SGD(landscape, 0.02)):
        try:
            solution = dfp.solve(equation, start, 30, [0, 30], SOLVERS[name])
        except dfp.UnsupportedError as error:
            assert name in str(error)
            assert name != "MomentRecursion"
            continue
        certificate = solution.certificate
        # Standard errors; boxes of the finite volumes cut tails of some 1e-8 of a variance; spacings of differences are
        # no finer than a step, and so err by what their tolerance is; the rest errs by rounding and cut tails.
        limit = {"MonteCarlo": 5, "FiniteVolume": 1e-6, "FiniteDifference": 0.1}.get(name, 1e-9)
        if name == "FiniteVolume" and certificate.warnings:
            continue  # one box for a wide start and a narrow end can be too coarse, and it says so
        assert np.nanmax(np.abs(certificate.mean_error)) < limit
        assert np.nanmax(np.abs(certificate.covariance_error)) < limit
        if solution.density is not None:
            # rounding, and tails cut by the box
            assert np.abs(certificate.mass_defect).max() < 1e-9
            # A truncated equation has negative tails, of less than what the density errs by.
            assert certificate.negative_mass.max() < max(1e-3, certificate.truncation.max())
            assert solution.density.shape == (2, *solution.grid.cells)
        assert solution.reason == "asked for"
        assert equation.label in repr(solution)


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_solvers_declare_what_they_are(solver):
    assert solver.order and solver.reference and solver.equations


def test_automatic_choice_says_why():
    additive, start = dfp.SGD(one_mode(), 0.02), dfp.Gaussian(0.3, 0.1)
    multiplicative = dfp.SGD(one_mode(1.0, 0.3, 0.2), 0.02)
    cases = [
        (dfp.MasterEquation(additive), start, "Fourier", "closed characteristic function"),
        (dfp.DiscreteFokkerPlanck(additive), start, "Hermite", "moving Gaussian"),
        (dfp.Langevin(multiplicative), start, "Hermite", "moving Gaussian"),
        (dfp.Langevin(multiplicative, noise="frozen"), start, "Fourier", "closed characteristic function"),
        (dfp.Langevin(multiplicative), dfp.Point(0.3), "FiniteVolume", "Markov chain"),
        (dfp.MasterEquation(multiplicative), dfp.Point(0.3), "Transfer", "no series applies"),
        (dfp.MasterEquation(dfp.SGD(regression(2), 0.02)), dfp.Point([0, 0]), "MonteCarlo", "no deterministic solver"),
        (dfp.DiscreteFokkerPlanck(dfp.SGD(table(3), 0.02)), dfp.Point([0, 0, 0]), "MomentRecursion", "moments only"),
    ]
    for equation, initial, name, reason in cases:
        solution = dfp.solve(equation, initial, 5, [5])
        assert solution.solver == name, equation.label
        assert reason in solution.reason


def test_automatic_choice_falls_back_to_matrices_where_the_series_fails():
    sgd = dfp.SGD(one_mode(1.0, 0.3, 0.8), 0.2)
    solution = dfp.solve(dfp.MasterEquation(sgd), dfp.Gaussian(0.3, 0.1), 40)
    assert solution.solver == "Transfer"
    assert "transition matrices" in solution.reason


def test_moment_recursion_in_many_dimensions():
    sgd = dfp.SGD(rotated(20, 10.0), 0.1)
    solution = dfp.solve(dfp.ModifiedLangevin(sgd), dfp.Point(np.ones(20)), 50, [10, 50], dfp.MomentRecursion())
    assert solution.density is None
    assert solution.third is None
    assert solution.certificate.ok
    with pytest.raises(dfp.DFPError, match="no density"):
        solution.gridded()
    with pytest.raises(dfp.UnsupportedError, match="order 4 need d <= 3"):
        dfp.solve(dfp.Langevin(sgd), dfp.Point(np.ones(20)), 5, solver=dfp.MomentRecursion(4))


def test_progress_is_reported():
    seen = []
    equation = dfp.MasterEquation(dfp.SGD(one_mode(), 0.1))
    dfp.solve(equation, dfp.Gaussian(0, 1), 9, [1, 2, 9], progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_solution_at_some_steps():
    solution = dfp.solve(dfp.MasterEquation(dfp.SGD(one_mode(), 0.1)), dfp.Gaussian(0, 1), 9, [1, 2, 9])
    part = solution.at([2, 9])
    assert part.steps.tolist() == [2, 9]
    assert np.array_equal(part.density, solution.density[1:])
    assert part.time.tolist() == pytest.approx([0.2, 0.9])
    with pytest.raises(dfp.DFPError, match=r"\[3\].*choose from \[1, 2, 9\]"):
        solution.at([3])


def test_certificate_reads_as_text():
    solution = dfp.solve(dfp.MasterEquation(dfp.SGD(one_mode(), 0.1)), dfp.Gaussian(0, 1), 9)
    text = str(solution.certificate)
    assert text.startswith("certificate: pass")
    assert "mass defect" in text


def test_public_names_exist_and_are_listed():
    for name in dfp.__all__:
        assert getattr(dfp, name) is not None
    assert set(dfp.__all__) <= set(dir(dfp))
    with pytest.raises(AttributeError, match="dfp attribute nothing"):
        _ = dfp.nothing
