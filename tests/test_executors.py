"""Trajectories drawn by workers: the same bits for any number of any kind, dead ones included."""

import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
from dfp_solvers.trajectories import ensemble
from problems import one_mode
from test_rerun import same

import dfp

SPAWN = multiprocessing.get_context("spawn")
EQUATION, START = dfp.MasterEquation(dfp.SGD(one_mode(), 0.1)), dfp.Gaussian([1.0], [[0.3]])
COUNT = 150_001


class Dying(ProcessPoolExecutor):
    """Its second task ends the process that has it."""

    handed = 0

    def submit(self, function, *arguments):
        self.handed += 1
        return super().submit(os._exit, 1) if self.handed == 2 else super().submit(function, *arguments)


def drawn(executor, equation=EQUATION, **settings):
    solver = dfp.MonteCarlo(COUNT, seed=7, executor=executor, **settings)
    return dfp.solve(equation, START, 6, [0, 2, 6], solver)


@pytest.fixture(scope="module")
def serial():
    return drawn(None)


@pytest.mark.parametrize("workers", [1, 3])
def test_threads(serial, workers):
    with ThreadPoolExecutor(workers) as pool:
        assert same(drawn(pool), serial)


def test_processes_and_a_dead_one(serial, tmp_path):
    with Dying(2, mp_context=SPAWN) as pool:
        found = drawn(pool)
    assert same(found, serial)
    found.save(tmp_path / "run.h5")  # who worked is no part of the problem
    assert dfp.load(tmp_path / "run.h5").provenance["recipe"]["solver"]["trajectories"] == COUNT


def test_retries_are_bounded():
    with Dying(1, mp_context=SPAWN) as pool, pytest.raises(dfp.DFPError, match="workers died 1 times"):
        drawn(pool, retries=0)


def bent(x):
    return x**3 - x


def spread(x):
    return np.full((len(x), 1, 1), 0.5)


@pytest.mark.parametrize("settings", [{}, {"weight_decay": 0.1}], ids=str)
def test_functions_of_modules_go_to_processes(settings, monkeypatch):
    """Those of a weight decay are made within a function: they go by value."""
    equation = dfp.MasterEquation(dfp.SGD(dfp.Landscape(bent, spread), 0.1, **settings))
    if settings:
        pytest.importorskip("cloudpickle", reason="Dask brings it")
    else:
        monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with ProcessPoolExecutor(1, mp_context=SPAWN) as pool:
        assert same(drawn(pool, equation), drawn(None, equation))


def test_functions_without_a_name_go_to_threads_and_without_cloudpickle_to_no_process(monkeypatch):
    well = dfp.Landscape(lambda x: x**3 - x, lambda x: np.full((len(x), 1, 1), 0.5))
    equation = dfp.MasterEquation(dfp.SGD(well, 0.1))
    with ThreadPoolExecutor(2) as pool:
        assert same(drawn(pool, equation), drawn(None, equation))
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with ProcessPoolExecutor(1, mp_context=SPAWN) as pool:
        refused = pytest.raises(dfp.UnsupportedError, match=r"cannot be sent.*at the top of a module.*dfp\[dask\]")
        with refused:
            drawn(pool, equation)
        with refused:
            dfp.sweep(lambda x: x, {"x": np.arange(64.0)}, pool, quiet=True)


def test_what_is_no_executor_is_refused():
    with pytest.raises(dfp.DFPError, match="executor="):
        dfp.MonteCarlo(2000, executor=4)
    with pytest.raises(dfp.DFPError, match="retries"):
        dfp.MonteCarlo(2000, retries=-1)


def test_portions_are_added_in_their_order():
    """Negative control: sums in another order have other bits, so they are refused."""
    run = dfp.MonteCarlo(4096, seed=1).start(dfp.methods.solver.Problem.of(EQUATION, START, np.array([1])))
    (model, start, saved), named = run._settings()
    (second,) = ensemble.portions(model, start, saved, 8, 16, **named)
    with pytest.raises(ValueError, match="not the next"):
        ensemble.added(run.sums, second, 4096)
