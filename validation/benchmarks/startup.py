"""No compile time hidden: first and warm calls, and the demo, in a process without and in one with a cache."""

import json
import os
import subprocess
import sys
import tempfile
import time

from validation.benchmarks.verdict import Verdict

_CODE = """
import json, time
begin = time.perf_counter()
import dfp
seconds = [time.perf_counter() - begin]
landscape = dfp.QuadraticLandscape([1.0], 0.0, dfp.GaussianNoise([0.3], [0.1]))
equation = dfp.{equation}(dfp.SGD(landscape, 0.1))
for _ in range(3):
    begin = time.perf_counter()
    dfp.solve(equation, dfp.Gaussian(1.0, 0.04), 10, [10], dfp.{solver})
    seconds.append(time.perf_counter() - begin)
print(json.dumps(seconds))
"""
_CASES = {
    "FiniteVolume": ("Langevin", "FiniteVolume()"),
    "Transfer": ("MasterEquation", "Transfer()"),
    "MonteCarlo": ("MasterEquation", "MonteCarlo(100_000, seed=0)"),
}
_LIBRARIES = "numpy, scipy.linalg, scipy.sparse.linalg, scipy.stats, numba, h5py, matplotlib.pyplot, typer"
# A second process may pay this much more for its first call than a warm one, for imports and reading the cache [s].
_MOST = 3.0


def startup(*, quick: bool) -> list[Verdict]:
    """Print the table and return a verdict on the second process of each solver."""
    print("\nFirst call, warm call, second process; seconds")
    print(
        f"  {'1D, noise depends on θ':<24}{'import':>8}{'first':>8}{'warm':>8}   from a cache:{'first':>8}{'warm':>8}"
    )
    verdicts = []
    for name, (equation, solver) in list(_CASES.items())[: 1 if quick else None]:
        with tempfile.TemporaryDirectory() as cache:
            environment = os.environ | {"NUMBA_CACHE_DIR": cache, "DFP_NUMBA_CACHE": "1"}
            code = _CODE.format(equation=equation, solver=solver)
            runs = []
            for _ in range(2):
                done = subprocess.run(
                    [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
                )
                load, first, *warm = json.loads(done.stdout)
                runs.append((load, first, min(warm)))
        (load, first, warm_one), (_, second, warm_two) = runs
        print(f"  {name:<24}{load:>8.2f}{first:>8.2f}{warm_one:>8.3f}{'':>16}{second:>8.2f}{warm_two:>8.3f}")
        goal = f"{name}: a second process starts from the cache, within {_MOST:g} s"
        verdicts.append(Verdict.at_most(goal, second - warm_two, _MOST, "s"))
    if not quick:
        _demo()
    return verdicts


def _demo() -> None:
    """Print how long ``dfp demo`` takes without and with a cache of kernels, beside a bare import of its libraries."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"NUMBA_CACHE_DIR": f"{folder}/cache", "DFP_NUMBA_CACHE": "1"}
        demo = ["-m", "dfp", "demo", "--out", f"{folder}/demo.h5", "--quiet", "--force"]
        commands = {"import": ["-c", f"import {_LIBRARIES}"], "cold": demo, "warm": demo}
        seconds = {}
        for name, command in commands.items():
            begin = time.perf_counter()
            subprocess.run([sys.executable, *command], env=environment, capture_output=True, check=True)
            seconds[name] = time.perf_counter() - begin
    bare = seconds["import"]
    print(f"\ndfp demo, and a bare import of {_LIBRARIES}; seconds, and ratios to the latter")
    print("  " + ", ".join(f"{name} {value:.2f} ({value / bare:.1f}×)" for name, value in seconds.items()))
