"""Importing dfp stays light: compilers, SciPy and Matplotlib load only for what needs them."""

import inspect
import pkgutil
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import dfp

ROOT = Path(__file__).parents[1]
HEAVY = ("numba", "scipy", "matplotlib", "h5py", "xarray", "pydantic")


def loaded_after(statement):
    code = f"import sys; {statement}; print([m for m in {HEAVY} if m in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_import_loads_nothing_heavy():
    assert loaded_after("import dfp") == "[]"


def test_describing_a_problem_needs_numpy_alone():
    assert loaded_after("import dfp; dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape([1.0]), 0.1))") == "[]"


def test_no_module_hides_a_public_name():
    """Importing ``dfp.modes`` would put the module in the place of the function."""
    modules = {module.name for module in pkgutil.iter_modules(dfp.__path__)}
    assert "regimes" in modules
    assert not modules & {name for name in dfp.__all__ if not inspect.ismodule(getattr(dfp, name))}


def test_the_version_is_one_everywhere():
    """That of the package, of the project's file and of the citation; the installed one may be older in a clone."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["version"])
    assert dfp.__version__ == version("dfp")
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(rf"^version: {re.escape(project['version'])}$", citation, re.MULTILINE)
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[(Unreleased|{re.escape(project['version'])})\]", changes, re.MULTILINE)
