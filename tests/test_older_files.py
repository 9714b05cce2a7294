"""Files of earlier versions, which lie in ``tests/data``, are read as they were meant."""

from pathlib import Path

import numpy as np
import pytest

import dfp

DATA = Path(__file__).parent / "data"
ROUNDING = 1e-8  # the numbers below have nine digits


def test_a_solution_of_0_1_0():
    solution = dfp.load(DATA / "solution-0.1.0.h5")
    assert (solution.equation, solution.solver) == ("master equation (T4)", "Hermite")
    assert solution.provenance["versions"]["dfp"] == "0.1.0"
    np.testing.assert_array_equal(solution.steps, [0, 20])
    np.testing.assert_allclose(solution.mean[:, 0], [0.5, 0.06078833], rtol=0, atol=ROUNDING)
    found = solution.density[1, 14:18]
    np.testing.assert_allclose(found, [2.67386454, 2.19721574, 0.34596673, 0.01367637], rtol=0, atol=ROUNDING)
    assert len(solution.certificate.warnings) == 4
    assert "mass_outside = 4.1e-05" in solution.certificate.warnings[0]


def test_several_solutions_of_0_1_0():
    solutions = dfp.load_many(DATA / "solutions-0.1.0.h5")
    assert list(solutions) == ["moments", "master"]
    assert solutions["moments"].grid is None
    np.testing.assert_allclose(solutions["moments"].fourth.ravel(), [0.03, 0.0009365], rtol=0, atol=ROUNDING)
    np.testing.assert_array_equal(solutions["master"].density, dfp.load(DATA / "solution-0.1.0.h5").density)


def test_a_phase_diagram_of_0_1_0():
    diagram = dfp.load_phase_diagram(DATA / "phases-0.1.0.h5")
    assert diagram.names == ("learning_rate", "curvature_noise")
    np.testing.assert_array_equal(diagram.values["regime"], [[0, 0], [0, 0], [0, 1]])


def test_a_figure_that_an_older_version_did_not_know_is_not_known(tmp_path, monkeypatch):
    """As if a later version had added ``grid_error`` to the certificate."""
    from test_forged import forge

    monkeypatch.chdir(tmp_path)
    forge(lambda file: file.__delitem__("grid_error"))
    assert np.all(np.isnan(dfp.load("run.h5").certificate.grid_error))
    forge(lambda file: file.__delitem__("mean"))
    with pytest.raises(dfp.FileFormatError, match="no variable 'mean'"):
        dfp.load("run.h5")
