"""The tour of the code in CONTRIBUTING: its solver runs as printed, and the files it names exist."""

import re
from pathlib import Path

import numpy as np
import pytest

import dfp

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
(CODE,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(scope="module")
def tour():
    names = {"__name__": "tour"}
    exec(compile(CODE, "CONTRIBUTING.md", "exec"), names)
    return names


def apart(names, landscape):
    """Largest difference of the printed solver's density from that of ``auto``, relative to the peak."""
    equation, start = dfp.MasterEquation(dfp.SGD(landscape, 0.1)), dfp.Gaussian([1, 0], 0.1)
    found = dfp.solve(equation, start, 20, solver=names["Matched"]())
    truth = dfp.solve(equation, start, 20, grid=found.grid)
    return float(np.abs(found.density - truth.density).max() / truth.density.max())


def test_printed_solver_is_exact_where_it_says(tour):
    assert apart(tour, tour["landscape"]) < 1e-12  # rounding: both are one Gaussian
    assert tour["matched"].solver == "Matched" and not tour["matched"].certificate.warnings


def test_printed_solver_is_wrong_where_it_does_not():
    """Negative control: noise that grows with θ leaves no Gaussian."""
    names = {"__name__": "tour"}
    exec(compile(CODE, "CONTRIBUTING.md", "exec"), names)
    noise = dfp.GaussianNoise([0.4, 0.2], [[1.0, 0.0], [0.0, 1.0]])
    assert apart(names, dfp.QuadraticLandscape([0.5, 1.0], noise=noise)) > 1e-3


def test_named_files_exist():
    numerics = ROOT / "solvers/dfp_solvers"
    inside = [ROOT, ROOT / "dfp", numerics, numerics / "trajectories", ROOT / "tests", ROOT / "validation/benchmarks"]
    names = set(re.findall(r"`([\w/]+\.(?:pyi?|md))`", TEXT)) - {"solvers.py"}
    rooms = [*inside, *(path for path in (ROOT / "dfp").iterdir() if path.is_dir())]
    missing = {name for name in names if not any((room / name).exists() for room in rooms)}
    assert len(names) > 20 and not missing
