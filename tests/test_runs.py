"""The protocol of solvers and runs: a solver from outside, one walk per run, and what is not known beforehand."""

from dataclasses import dataclass

import numpy as np
import pytest
from dfp_solvers.transfer import graded
from problems import one_mode, table

import dfp
from dfp.exact.moments import moments_at
from dfp.methods.solver import Problem, Run, Solver
from dfp.results.frame import Frame

START = dfp.Gaussian(0.5, 0.1)


def heavy(learning_rate=0.3):
    return dfp.MasterEquation(dfp.SGD(one_mode(1.0, 0.3, 0.4), learning_rate))


class _GaussianRun(Run):
    def __init__(self, problem, grid):
        self.problem, self.step = problem, 0
        self.grid = grid or dfp.Grid(-3.0, 3.0, 400)

    def advance(self, steps):
        self.step += steps

    def frame(self):
        at = moments_at(self.problem.equation, self.problem.initial, np.array([self.step]))
        mean, covariance = at.mean[0], at.covariance[0]
        return Frame(mean, covariance, dfp.Gaussian(mean, covariance).on(self.grid))


@dataclass(frozen=True)
class Toy(Solver):
    """The Gaussian with the exact moments: all that a solver must be."""

    name = "Toy"
    equations = ("T4",)
    order = "exact for additive Gaussian noise"
    reference = "none"
    dimensions = 1

    def start(self, problem, grid=None):
        return _GaussianRun(problem, grid)


def test_a_solver_from_outside_is_driven_like_any_other():
    """Frames at the saved steps, progress and a certificate, whose figures hold for the Gaussian that is exact here."""
    equation, seen = dfp.MasterEquation(dfp.SGD(one_mode(), 0.1)), []
    solution = dfp.solve(equation, START, 20, [0, 5, 20], Toy(), progress=lambda *at: seen.append(at))
    fourier = dfp.solve(equation, START, 20, [0, 5, 20], dfp.Fourier(), solution.grid)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    # Both are values of the same Gaussian: a few units of rounding.
    np.testing.assert_allclose(solution.density, fourier.density, rtol=1e-12, atol=1e-14)
    assert solution.certificate.ok
    for other, reason in [
        (dfp.Langevin(equation.sgd), "it solves T4"),
        (dfp.MasterEquation(dfp.SGD(one_mode(), 0.1, momentum=0.5)), "no momentum"),
        (dfp.MasterEquation(dfp.SGD(table(2), 0.1)), "d <= 1, and d = 2"),
    ]:
        with pytest.raises(dfp.UnsupportedError, match=f"solver=Toy cannot solve.*{reason}"):
            dfp.solve(other, dfp.Gaussian(np.zeros(other.dimension), 0.1), 3, [3], Toy())


def walked(monkeypatch, run):
    """Steps between graded nodes that ``run()`` takes."""
    taken, powers = [], graded.powers
    with monkeypatch.context() as patch:
        patch.setattr(graded, "powers", lambda matrix, mass, steps: taken.append(steps) or powers(matrix, mass, steps))
        run()
    return sum(taken)


def test_the_walk_that_finds_a_grid_is_the_run(monkeypatch):
    """A grid of its own costs no step twice, and gives the same bits as the same grid when it is given."""
    saved, transfer = [10, 100, 400], dfp.Transfer()
    own = dfp.solve(heavy(), START, 400, saved, transfer)
    given = dfp.solve(heavy(), START, 400, saved, transfer, own.grid)
    assert np.array_equal(own.density, given.density)
    alone = walked(monkeypatch, lambda: dfp.solve(heavy(), START, 400, saved, transfer))
    assert alone == walked(monkeypatch, lambda: dfp.solve(heavy(), START, 400, saved, transfer, own.grid))
    # The control: two runs walk twice as far.
    assert 2 * alone == walked(monkeypatch, lambda: [dfp.solve(heavy(), START, 400, saved, transfer) for _ in "ab"])


def test_a_run_goes_where_it_is_told():
    """Steps other than the saved ones are walked: the moments are the exact ones there."""
    problem = Problem.of(heavy(), START, np.array([10, 40]))
    run = dfp.Transfer().start(problem)
    for gap, step in [(7, 7), (3, 10), (13, 23), (17, 40)]:
        run.advance(gap)
        exact = dfp.moments(heavy(), START, step, [step])
        # Sums of some hundred masses in double precision, over so few steps.
        np.testing.assert_allclose(run.frame().mean, exact.mean[0], rtol=0, atol=1e-12)
        np.testing.assert_allclose(run.frame().covariance, exact.covariance[0], rtol=1e-10)


def test_moments_that_overflow_stop_solvers_that_need_them():
    """With E(1 − ηh)² > 1 on a line Transfer follows quantiles; others say that the moments overflow."""
    wild = heavy(1.9)
    with np.errstate(all="ignore"):
        problem = Problem.of(wild, START, np.array([8000]))
    assert not problem.exact
    assert not dfp.Transfer().needs_moments(wild)
    for solver in (dfp.Hermite(), dfp.MonteCarlo(1024)):
        with pytest.raises(dfp.DFPError, match="overflow"):
            dfp.solve(wild, START, 8000, [8000], solver)
