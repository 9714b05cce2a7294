"""Threads, forks, other starts of processes, interpreters with unusual switches, terminals of other code pages."""

import copy
import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import dfp
from dfp.cli import terminal

ROOT = Path(__file__).parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "solvers")))}
SAMPLE = """
import dfp
def variance(seed):
    sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], 0.0, dfp.GaussianNoise([1.0], [0.3])), 0.1)
    solver = dfp.MonteCarlo(20_000, seed=seed)
    return dfp.solve(dfp.MasterEquation(sgd), dfp.Gaussian(0.1, 0.01), 20, [20], solver).covariance.item()
"""
# A few small kernels, for tests that compile them anew.
SERIES = """
import dfp
sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], 0.0, dfp.GaussianNoise([1.0], [0.3])), 0.1)
print(dfp.solve(dfp.MasterEquation(sgd), dfp.Gaussian(0.1, 0.01), 5, [5], dfp.Hermite()).density.max())
"""
CONFIGURATION = """
steps = {steps}
[landscape]
kind = "quadratic"
hessian = [1.0]
[landscape.noise]
gradient = [1.0]
hessian = [0.3]
[sgd]
learning_rate = 0.1
[initial]
kind = "gaussian"
mean = [0.3]
covariance = 0.05
[[equation]]
kind = "master"
{solver}
[[equation]]
kind = "langevin"
"""


def run(code, *switches, cwd=None, **environment):
    """Run Python code with the repository in its path; a limit of time turns a hang into a failure."""
    return subprocess.run(
        [sys.executable, *switches, "-c", code], env=ENVIRONMENT | environment, cwd=cwd, capture_output=True, text=True,
        encoding="utf-8", timeout=300,
    )  # fmt: skip


def succeeded(result):
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def peak(landscape, variance, steps=1):
    start = dfp.Gaussian(0.3, variance)
    return dfp.solve(dfp.MasterEquation(dfp.SGD(landscape, 0.1)), start, steps, [steps], dfp.Fourier()).density.max()


def test_threads_that_share_a_law_get_what_one_gets_alone():
    """A table of the characteristic function is whole before anyone reads it, whoever asked for which before."""

    def fresh():
        return dfp.QuadraticLandscape([1.0], 0.0, dfp.AdditiveNoise(stats.beta(2, 1.5)))

    alone = peak(fresh(), 1e-3)
    for warm in (False, True):
        landscape = fresh()
        if warm:
            peak(landscape, 1.0, 4)
        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(lambda _, on=landscape: peak(on, 1e-3), range(8))) == {alone}


@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_threads_and_forks_with_every_threading_layer(layer):
    """Python threads at once, then a fork after threads were started: the same bits, and an end."""
    code = (
        SAMPLE
        + """
import multiprocessing, sys
from concurrent.futures import ThreadPoolExecutor
alone = variance(0)
with ThreadPoolExecutor(4) as pool:
    together = set(pool.map(variance, [0] * 8))
with multiprocessing.get_context("fork").Pool(2) as pool:
    forked = pool.map_async(variance, [0, 0]).get(timeout=200)
print(together == {alone}, set(forked) == {alone})
"""
    )
    if not hasattr(os, "fork"):
        pytest.skip("no fork on this system")
    assert succeeded(run(code, NUMBA_THREADING_LAYER=layer)).split() == ["True", "True"]


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_starts_of_processes_give_the_same_bits(method, tmp_path):
    (tmp_path / "sample.py").write_text(SAMPLE, encoding="utf-8")
    code = f"""
import multiprocessing, sys
sys.path.insert(0, {str(tmp_path)!r})
from sample import variance
if __name__ == "__main__":
    with multiprocessing.get_context({method!r}).Pool(1) as pool:
        print(pool.map(variance, [0])[0] == variance(0))
"""
    if method == "forkserver" and not hasattr(os, "fork"):
        pytest.skip("no fork on this system")
    assert (
        succeeded(run(code, PYTHONPATH=os.pathsep.join([ENVIRONMENT["PYTHONPATH"], str(tmp_path)]))).strip() == "True"
    )


@pytest.mark.parametrize("switches", [["-OO"], ["-W", "error"], ["-X", "dev"]], ids=" ".join)
def test_unusual_switches_of_the_interpreter(switches):
    code = SAMPLE + "print(variance(0) > 0, dfp.modes(dfp.SGD(dfp.QuadraticLandscape([1.0]), 0.1)).regime)"
    assert succeeded(run(code, *switches)).split() == ["True", "confined"]


def test_kernels_without_a_compiler():
    """NUMBA_DISABLE_JIT=1: the same numbers to rounding, from Python itself."""
    plain, compiled = (float(succeeded(run(SERIES, **extra))) for extra in ({"NUMBA_DISABLE_JIT": "1"}, {}))
    assert plain == pytest.approx(compiled, rel=1e-12)


def test_modules_of_ones_own_called_solvers_do_not_matter(tmp_path):
    for name in ("solvers", "landscape", "methods"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('mine')", encoding="utf-8")
    assert succeeded(run(SAMPLE + "print(variance(0) > 0)", cwd=tmp_path)).strip() == "True"


def test_a_cache_that_cannot_be_written(tmp_path):
    """A folder below a file can be made by nobody, not even by those whom permissions do not bind."""
    (tmp_path / "file").touch()
    assert float(succeeded(run(SERIES, NUMBA_CACHE_DIR=str(tmp_path / "file" / "below")))) > 0


OLD, NEW = "    return x + 1\n", "    return x + 2000\n"
SLOW = """
import sys
from numba.core.caching import IndexDataCacheFile as File
write = File._save_data
def slow(self, name, data):
    print("compiled", flush=True)
    sys.stdin.read()
    write(self, name, data)
File._save_data = slow
"""
RUN = "import kernels; print(kernels.f(1.0))"


@pytest.mark.parametrize("guarded", [True, False])
def test_processes_that_share_a_cache_run_no_kernel_of_an_older_version(guarded, tmp_path):
    """Another process while the first is writing, and one after the first was killed there; without turns both err."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    decorator = "kernel()" if guarded else "numba.njit(cache=True)"
    head = f"import numba\nfrom dfp_solvers.jit import kernel\n@{decorator}\ndef f(x):\n"

    def started(code):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        return subprocess.Popen([sys.executable, "-c", code], env=environment, **pipes, text=True)

    for killed in (False, True):
        (tmp_path / "kernels.py").write_text(head + OLD)
        assert started(RUN).communicate()[0] == "2.0\n"
        (tmp_path / "kernels.py").write_text(head + NEW)
        first = started(SLOW + RUN)
        assert first.stdout.readline() == "compiled\n"
        if killed:
            first.kill()
            first.wait()
        second = started(RUN)
        if guarded:  # it waits for its turn, while the first writes
            time.sleep(2)
            assert killed or second.poll() is None
            first.communicate()
        told = second.communicate()[0]
        first.communicate()
        assert told == ("2001.0\n" if guarded else "2.0\n")


def test_loky_carries_problems_to_other_processes():
    joblib = pytest.importorskip("joblib")
    landscape = dfp.QuadraticLandscape([1.0], 0.0, dfp.AdditiveNoise(stats.beta(2, 1.5)))
    found = joblib.Parallel(n_jobs=1, backend="loky")([joblib.delayed(peak)(landscape, 1e-3)])
    assert found[0] == peak(landscape, 1e-3)


def public_objects():
    bowl = dfp.QuadraticLandscape([1.0], 0.0, dfp.GaussianNoise([1.0], [0.3]))
    sgd = dfp.SGD(bowl, 0.1)
    equation, start = dfp.MasterEquation(sgd), dfp.Gaussian(0.3, 0.05)
    solution = dfp.solve(equation, start, 5, [5])
    line = dfp.QuadraticLandscape.from_regression(np.eye(2), [1.0, 2.0])
    beta = dfp.QuadraticLandscape([1.0], 0.0, dfp.AdditiveNoise(stats.beta(2, 1.5)))
    return {
        "noise": dfp.GaussianNoise([1.0]), "landscape": bowl, "sum": line, "law": beta, "sgd": sgd,
        "schedule": dfp.CosineSchedule(0.1, 10), "equation": equation, "Langevin": dfp.Langevin(sgd),
        "grid": dfp.Grid(-1, 1, 8), "state": start, "point": dfp.Point(0.1), "solver": dfp.MonteCarlo(2048),
        "solution": solution, "certificate": solution.certificate, "moments": dfp.moments(equation, start, 3),
        "modes": dfp.modes(sgd), "stationary": dfp.stationary(equation), "spectrum": dfp.spectrum(equation),
        "exit": dfp.exit_steps(equation, (-1.0, 1.0), start, 20),
    }  # fmt: skip


def arrays(value, depth=0):
    """Return every number an object holds, in order."""
    if isinstance(value, np.ndarray):
        return [value]
    if isinstance(value, (int, float, complex, str)):
        return [np.asarray(value)]
    if isinstance(value, (tuple, list)):
        return [a for part in value for a in arrays(part, depth)]
    held = vars(value) if hasattr(value, "__dict__") and depth < 4 else {}
    return [a for key in sorted(held) if not key.startswith("_") for a in arrays(held[key], depth + 1)]


def test_public_objects_survive_pickling_and_copying():
    for name, given in public_objects().items():
        for made in (pickle.loads(pickle.dumps(given)), copy.copy(given), copy.deepcopy(given)):
            assert type(made) is type(given), name
            before, after = arrays(given), arrays(made)
            assert len(before) == len(after) > 0 or name in ("noise", "solver"), name
            for a, b in zip(before, after, strict=True):
                np.testing.assert_array_equal(a, b, err_msg=name)
            assert (given == given) is True, name


def test_letters_that_a_code_page_lacks_are_spelled():
    assert terminal.spelled("ηλ = 2 ≤ κ₂ → ∞") == "etalambda = 2 <= kappa2 -> inf"
    assert "Δ".encode("ascii", "ignore") == b""
    assert terminal.spelled("Δθ") == "Deltatheta"
    assert terminal.spelled("plain +-1e-3") == "plain +-1e-3"


@pytest.mark.parametrize("page", ["cp1252", "ascii", "utf-8"])
def test_commands_print_on_any_code_page(page, tmp_path):
    (tmp_path / "a.toml").write_text(CONFIGURATION.format(steps=5, solver=""), encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "-m", "dfp", "modes", "a.toml"], cwd=tmp_path, capture_output=True, timeout=300,
        env=ENVIRONMENT | {"PYTHONIOENCODING": page},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    text = result.stdout.decode(page)
    assert ("lambda" in text) == (page != "utf-8")


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals there")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"])
def test_commands_end_soon_when_interrupted(number, status, tmp_path):
    solver = 'solver = {kind = "monte_carlo", trajectories = 100_000_000, seed = 1}'
    (tmp_path / "a.toml").write_text(CONFIGURATION.format(steps=20_000, solver=solver), encoding="utf-8")
    words = [sys.executable, "-m", "dfp", "solve", "a.toml", "--equation", "master equation", "-o", "a.h5"]
    process = subprocess.Popen(words, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    time.sleep(15)  # compiled or not: it would take hours
    assert process.poll() is None
    began = time.perf_counter()
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    # Two seconds are promised on a machine of its own; shared ones are given more, and a hang fails all the same.
    assert time.perf_counter() - began < 10
    assert process.returncode == status
    *announced, last = errors.splitlines()
    assert last.startswith("interrupted")
    # how long it would take, told to who sees no progress
    assert [line for line in announced if "will take some" not in line] == []
    # What was done is a solution, and nothing else is left.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "a.toml"]
    assert 0 < dfp.load(tmp_path / "a.h5").trajectories < 100_000_000


# Work that is in a finalizer when it is interrupted: what is raised there goes no further.
FINALIZER = """
import os, signal, time, weakref
from pathlib import Path
from dfp.cli import terminal

class Handle:
    pass

def finalize(_reference):
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(10):
        time.sleep(0.05)

def work():
    handle = Handle()
    reference = weakref.ref(handle, finalize)
    try:
        del handle
        for _ in range(600):
            time.sleep(0.05)
    except KeyboardInterrupt:
        Path("kept").touch()

terminal.interruptible(work)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals there")
def test_an_interrupt_in_a_finalizer_is_not_lost(tmp_path):
    result = run(FINALIZER, cwd=tmp_path)
    assert result.returncode == 143
    assert [line.split(" ")[0] for line in result.stderr.splitlines()] == ["interrupted"]
    assert (tmp_path / "kept").exists()


def test_work_that_cannot_be_held_or_awaited_is_refused_before():
    equation = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape([1.0], 0.0, dfp.GaussianNoise([1.0], [0.3])), 0.1))
    start = dfp.Gaussian(0.3, 0.05)
    with pytest.raises(dfp.DFPError, match=r"steps=100000000000: .* GiB are there; save some steps"):
        dfp.moments(equation, start, 10**11)
    # rounding of a map that is squared thirty times, for a billion steps
    assert dfp.moments(equation, start, 10**9, [10**9]).covariance.item() == pytest.approx(
        dfp.stationary_moments(equation).covariance.item(), rel=1e-6
    )
    grid = dfp.Grid(-3, 3, 2**20)
    with pytest.raises(dfp.DFPError, match=r"save: 100000 steps of 1048576 cells .* GiB are there"):
        dfp.solve(equation, start, 10**5, range(10**5), grid=grid, solver=dfp.Hermite())
