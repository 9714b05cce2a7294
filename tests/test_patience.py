"""What is too long is told by operation counts, before it begins, and a slow clock changes no choice."""

import itertools
import logging
import time

import numpy as np
import pytest
from problems import one_mode

import dfp
from dfp import checks
from dfp.methods import patience as patient
from dfp.methods.patience import MULTIPLICATION, Patience, TooLong
from dfp.solving import driver


def slow_clock(monkeypatch, seconds):
    """Let every look at the clock be ``seconds`` after the one before."""
    ticks = itertools.count(0.0, seconds)
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))


@pytest.mark.parametrize(("seconds", "given_up"), [(1.0, False), (1e5, True)])
def test_forecasts_are_counted(monkeypatch, seconds, given_up):
    """A tenth done for a tenth of ``seconds``' operations: given up by that number alone, however late the clock."""
    slow_clock(monkeypatch, 1e4)
    watch = Patience("it", 120.0)
    for done in range(1, 4):
        watch.spend(seconds / 10 * 1e9 / MULTIPLICATION, MULTIPLICATION)
        if given_up:
            with pytest.raises(TooLong, match=r"it would take some 27\.8 hours"):
                watch.look(done, 10)
        else:
            watch.look(done, 10)


def test_the_same_problem_picks_the_same_solver(monkeypatch):
    """However slow the clock; with a dearer operation (the control) another is picked."""
    equation = dfp.MasterEquation(dfp.SGD(one_mode(1.0, 1.0, 0.1), 0.05))
    problem = equation, dfp.Gaussian(3.0, 0.01), 60

    def solver():
        return dfp.solve(*problem).solver

    quick = solver()
    assert quick == "Hermite"
    with monkeypatch.context() as slowed:
        slow_clock(slowed, 1e4)
        assert solver() == quick
    monkeypatch.setattr(driver, "_PATIENCE", 1e-9)
    monkeypatch.setattr(patient, "_SEEN", 0.0)
    assert solver() != quick


class Told(Exception):
    """The announcement, in place of the work that would follow."""


@pytest.fixture
def told(monkeypatch):
    """End work at its announcement, as if it were refused; and let memory be that of a small computer."""

    class Ending(logging.Handler):
        def emit(self, record):
            raise Told(record.getMessage())

    handler = Ending()
    logging.getLogger("dfp").addHandler(handler)
    monkeypatch.setattr(checks, "available_memory", lambda: 8 * 2**30)
    yield
    logging.getLogger("dfp").removeHandler(handler)


def long_work():
    """Work of which nobody sees the end, by its name; each with what is said of it."""
    line, many = one_mode(), 10**6
    wide = dfp.QuadraticLandscape(np.ones(12), 0.0, dfp.GaussianNoise(np.ones(12), 0.1 * np.eye(12)))
    master, spread = dfp.MasterEquation(dfp.SGD(line, 0.1)), dfp.MasterEquation(dfp.SGD(one_mode(1.0, 0.3, 0.4), 0.1))
    start, billion = dfp.Gaussian(0.3, 0.1), 10**9
    rng = np.random.default_rng(5)
    patients = dfp.QuadraticLandscape.from_regression(rng.normal(size=(1000, 3)), rng.standard_t(4, size=1000))
    solid = dfp.MasterEquation(dfp.SGD(patients, 0.3, batch_size=8))
    falling = dfp.MasterEquation(dfp.SGD(line, lambda n: 0.1 / (1 + n)))
    every = {
        f"every step, {name}": (lambda e=equation, s=solver: dfp.solve(e, start, many, range(many), s), "save: 1000000")
        for name, equation, solver in (
            ("auto", master, "auto"), ("series", spread, "auto"), ("transfer", spread, dfp.Transfer()),
            ("sampled", master, dfp.MonteCarlo(2000)), ("moments", master, dfp.MomentRecursion()),
        )
    }  # fmt: skip
    return every | {
        "a trillion steps": (lambda: dfp.solve(master, start, many, [many], dfp.MonteCarlo(many)), "50 minutes"),
        "one of 1e12": (lambda: dfp.solve(master, start, many * many, [many**2], dfp.MonteCarlo(2000)), "days"),
        "all digits": (lambda: dfp.solve(master, start, 9, [9], tolerance=1e-15), "rounding alone"),
        "moments of all": (lambda: dfp.moments(master, start, billion), r"steps=1000000000: .* GiB"),
        "moments of a range": (lambda: dfp.moments(master, start, billion, range(billion)), "save: 1000000000 .* GiB"),
        "moments, d = 12": (
            lambda: dfp.moments(
                dfp.MasterEquation(dfp.SGD(wide, 0.1)), dfp.Gaussian(np.zeros(12), 1.0), billion, [billion]
            ),
            "2.82 hours",
        ),
        "minibatches in 3D": (
            lambda: dfp.solve(solid, dfp.Gaussian([0.3, 0.1, 0.2], 0.05), 40, [40], dfp.Transfer()),
            "hours; progress",
        ),
        "their settled law": (lambda: dfp.stationary(solid, solver=dfp.Transfer()), "in three dimensions .* minutes"),
        "a schedule": (lambda: dfp.moments(falling, start, billion, [billion]), "learning_rate: its values"),
        "an average": (
            lambda: dfp.moments(dfp.MasterEquation(dfp.ExponentialAverage(master.sgd)), start, billion, [billion]),
            "every iterate",
        ),
    }


@pytest.mark.parametrize("name", list(long_work()))
def test_long_work_is_refused_or_announced_before_it_begins(told, name):
    work, words = long_work()[name]
    with pytest.raises((Told, dfp.DFPError), match=words):
        work()


def test_work_of_a_moment_is_not_announced(told):
    """The controls: many steps that cost nothing, and few saved ones."""
    master, start = dfp.MasterEquation(dfp.SGD(one_mode(), 0.1)), dfp.Gaussian(0.3, 0.1)
    assert dfp.moments(master, start, 10**9, [10**9]).covariance.size == 1
    assert dfp.solve(master, start, 1000, range(1001)).steps.size == 1001
    # a tolerance that rounding leaves room for
    assert dfp.solve(master, start, 10, [10], tolerance=2e-12).certificate.error[-1] <= 2e-12


@pytest.mark.parametrize(
    ("equation", "solver"),
    [
        (dfp.MasterEquation(dfp.SGD(one_mode(1.0, 0.3, 0.4), 0.1)), dfp.Transfer()),
        (dfp.Langevin(dfp.SGD(one_mode(1.0, 0.3, 0.4), 0.1)), dfp.FiniteVolume()),
    ],
)
def test_a_billion_steps_end_where_nothing_changes_any_more(equation, solver):
    late = dfp.solve(equation, dfp.Gaussian(0.3, 0.1), 10**9, [10**9], solver)
    settled = dfp.stationary(equation, late.grid)
    apart = float(np.abs(late.density[-1] - settled.values).sum()) * late.grid.cell_volume
    assert apart <= late.certificate.error[-1] + settled.error
    early = dfp.solve(equation, dfp.Gaussian(0.3, 0.1), 5, [5], solver, late.grid)
    # the control: after a few steps it is another law, by far more than any certificate here
    assert float(np.abs(early.density[-1] - settled.values).sum()) * late.grid.cell_volume > 0.01
