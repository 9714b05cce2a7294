"""The benchmarks: their exact answers are right, errors are measured, and the comparison runs without alternatives."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dfp
from validation.benchmarks import contest, ours, plain
from validation.benchmarks.ladder import measured
from validation.benchmarks.verdict import Verdict
from validation.benchmarks.workloads import WORKLOADS, Gridded, gaussian

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["W1", "W2", "W3"])
def test_exact_answers_are_the_moments(name):
    """The workloads' own formula, in NumPy alone, against the moments: both exact, so equal to rounding."""
    workload = WORKLOADS[name]
    start = dfp.Gaussian(workload.mean, workload.covariance)
    exact = dfp.moments(ours.equation(workload), start, workload.steps, [workload.steps])
    mean, covariance = workload.exact()
    np.testing.assert_allclose(mean, exact.mean[0], rtol=0, atol=1e-14)
    np.testing.assert_allclose(covariance, exact.covariance[0], rtol=0, atol=1e-14)


def test_exact_stationary_answer_solves_the_lyapunov_equation():
    workload = WORKLOADS["W5"]
    mean, covariance = workload.exact()
    residual = workload.hessian @ covariance + covariance @ workload.hessian - 2 * workload.diffusion
    # rounding
    np.testing.assert_allclose(residual, 0, atol=1e-15)
    np.testing.assert_allclose(mean, 0, atol=1e-15)


@pytest.mark.parametrize("name", list(WORKLOADS))
def test_no_workload_leaves_its_box(name):
    """5e-7 of the mass would show in an error of 1e-6; W1's box is the narrowest, at its start."""
    workload = WORKLOADS[name]
    ends = [workload.exact()]
    if np.isfinite(workload.time):
        ends.append((workload.mean, workload.covariance))
    for mean, covariance in ends:
        assert np.all(np.abs(mean) + 4.9 * np.sqrt(np.diag(covariance)) < workload.half_width)


@pytest.mark.parametrize("name", list(WORKLOADS))
def test_errors_are_l1_distances(name):
    """Zero for the exact density, the shift's distance (2Φ(δ/2) − 1) · 2 = 0.798 δ for a shift of δ deviations."""
    workload = WORKLOADS[name]
    axes = workload.axes(64)
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    mean, covariance = workload.exact()
    assert workload.error(Gridded(axes, gaussian(points, mean, covariance))) < 1e-12
    shift = 0.01 * np.linalg.cholesky(covariance)[:, 0]
    error = workload.error(Gridded(axes, gaussian(points, mean + shift, covariance)))
    # The sum over cells replaces an integral of a function with a kink.
    assert error == pytest.approx(0.01 * np.sqrt(2 / np.pi), rel=0.02)


@pytest.mark.parametrize("name", list(WORKLOADS))
def test_automatic_solutions_reach_the_tightest_tolerance(name):
    row = measured(WORKLOADS[name], ours.auto, (), end=0.0)
    # rounding
    assert row["error"] < 1e-10


def test_times_count_only_within_the_tolerance():
    rows = [{"error": 1e-2, "seconds": 1.0}, {"error": 1e-4, "seconds": 3.0}, {"error": 9.0, "seconds": 0.1}]
    contender = contest.Contender("any", "", rows)
    assert [contender.seconds(t) for t in (1e-1, 1e-2, 1e-3, 1e-6)] == [1.0, 1.0, 3.0, np.inf]


def test_verdicts():
    assert Verdict.at_least("", 3.0, 1.0, 3).holds
    assert Verdict.at_least("", 2.9, 1.0, 3).holds is False
    assert Verdict.at_least("", 1.0, np.inf, 3).holds is False
    assert Verdict.at_least("", np.inf, 1.0, 3).holds is None
    assert Verdict.at_most("", 0.6, 0.5, "ms").holds is False


def test_missing_and_failing_contenders_are_reported():
    absent = contest.run("validation.benchmarks.peers.absent", "absent", "W1", sys.executable, 0.1)
    assert absent.trouble == "not installed"
    wrong = contest.run("validation.benchmarks.peers.by_hand", "wrong", "W9", sys.executable, 0.1)
    assert "invalid choice" in wrong.trouble


def test_the_smoke_mode_runs():
    command = [sys.executable, "-m", "validation.benchmarks", "--quick", "--only", "W1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for label in (*contest.PEERS.values(), *contest.BY_HAND.values(), *contest.OURS.values()):
        assert label in done.stdout
    assert "W1 at 1e-03, dfp, auto: 10× the fastest peer" in done.stdout


def test_plain_numpy_agrees_with_what_is_timed_against_it(monkeypatch):
    """One step more is refused."""
    assert len(plain.plain(quick=True)) == len(plain._CASES)
    right = plain.table_moments

    def wrong(d, steps):
        return right(d, steps + 1)[0], right(d, steps)[1]

    monkeypatch.setattr(plain, "_CASES", (("one step more", wrong, (8, 5), 1e-11, 1),))
    with pytest.raises(RuntimeError, match="one step more: apart by"):
        plain.plain(quick=True)
