"""Everything that dfp writes, each as a function of a path; and, by hand, faults of the operating system under it.

``python tests/written.py`` injects errors and signals into every system call of a write, by strace.
"""

import dataclasses
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from solutions import made
from typer.testing import CliRunner

import dfp
from dfp import cli
from dfp.results import figures

PROBLEM = """
steps = 1
[landscape]
kind = "quadratic"
hessian = [1.0]
[sgd]
learning_rate = 0.1
[initial]
kind = "point"
theta = [1.0]
[[equation]]
kind = "master"
"""


def _drawing(path):
    figure, ((axis,),) = figures.canvas(1, 1, 1.0, 1.0)
    axis.plot([0, 1])
    figures.save(figure, path)


def _animation(path):
    solution = made(1, steps=(0,))
    density = np.ones_like(solution.density)
    dataclasses.replace(solution, density=density, mean=np.zeros((1, 1)), covariance=np.ones((1, 1, 1))).animate(path)


def _table(path):
    with tempfile.TemporaryDirectory() as folder:
        problem = Path(folder) / "problem.toml"
        problem.write_text(PROBLEM, encoding="utf-8")
        result = CliRunner().invoke(cli.app, ["modes", str(problem), "--table", str(path), "--force"])
    if result.exit_code:
        raise dfp.DFPError(result.output)


def _checkpoint(path):
    path.unlink(missing_ok=True)  # or it would be read
    sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([0.3])), 0.1)
    dfp.solve(dfp.MasterEquation(sgd), dfp.Point(0.0), 2, solver=dfp.MonteCarlo(1024, checkpoint=path))


def _phases(path):
    axes = {"learning_rate": [0.1, 0.5]}, {"curvature_noise": [0.0, 0.5]}
    dfp.phase_diagram(*axes, curvature=1.0, gradient_noise=0.3).save(path)


WRITERS = {
    "solution.h5": lambda path: made().save(path),
    "solutions.h5": lambda path: dfp.save_many({"a": made(), "b": made(seed=1)}, path),
    "phases.h5": _phases,
    "figure.png": _drawing,
    "figure.pdf": _drawing,
    "figure.svg": _drawing,
    "animation.gif": _animation,
    "modes.csv": _table,
    "checkpoint.npz": _checkpoint,
}
ERRORS = ("ENOSPC", "EIO", "EROFS", "EDQUOT", "EACCES")
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGKILL")
# What a write calls, in order, by the names of Python and of the operating system.
CALLS = {"open": "openat", "write": "write", "fsync": "fsync", "replace": "rename"}
# Named temporary files, so that strace can tell their calls from all others.
PROGRAM = """
import secrets, sys
secrets.token_hex = lambda _: "test"
from dfp.results import writing
writing.write(sys.argv[1], b"n" * 100_000, b"w" * 1000)
"""


def _injected(call, fault, old, calls):
    """Write with a fault in one of the system calls of a kind; return what is there then, in a word."""
    with tempfile.TemporaryDirectory() as folder:
        path, temporary = Path(folder) / "run.h5", Path(folder) / ".dfp-test.tmp"
        if old:
            path.write_bytes(b"old")
        inject = f"inject={call}:{'signal' if fault.startswith('SIG') else 'error'}={fault}:when={calls}"
        traced = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", str(temporary), "-e", f"trace={call}", "-e", inject]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        command = [*traced, sys.executable, "-c", PROGRAM, str(path)]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True)
        rest = {file.name for file in Path(folder).iterdir()}
        content = path.read_bytes() if path.exists() else None
    error = (ended.stderr.strip().splitlines() or [""])[-1]
    state = {None: "no file", b"old": "old file", b"n" * 100_000 + b"w" * 1000: "new file"}.get(content, "BROKEN FILE")
    if old and content is None:
        state = "LOST FILE"
    if rest - {"run.h5"} and fault != "SIGKILL":
        state += ", LEFT TEMPORARY"
    if ended.returncode == 1 and "DFPError" not in error:
        state += f", BARE {error[:60]}"
    return f"{state}, status {ended.returncode}"


def main():
    """Inject every fault into every system call of a write, with and without an older file; print the counts."""
    found = Counter()
    for call in CALLS.values():
        for fault in ERRORS + SIGNALS:
            for calls in (1, 2) if call == "write" else (1,):
                for old in (False, True):
                    found[fault[:3] + ": " + _injected(call, fault, old, calls)] += 1
    for outcome, count in sorted(found.items()):
        print(f"{count:4d}  {outcome}")


if __name__ == "__main__":
    main()
