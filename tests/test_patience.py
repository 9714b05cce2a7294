"""What "auto" leaves as too long is told by operation counts: a slow clock or a loaded machine changes no choice."""

import itertools
import time

import pytest
from problems import one_mode

import dfp
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
