"""No compile time hidden: import, first call and warm call, in a process without and in one with a cache of kernels."""

import json
import os
import subprocess
import sys
import tempfile

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
    return verdicts
