"""Runs that are killed at random moments and go on: ``python -m validation.interrupted FILE KIND`` is one of them."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

import dfp
from dfp.results import keeper

KINDS = ("transfer", "samples", "differences", "exits")
ROOT = Path(__file__).parents[1]
_ARRAYS = ("steps", "mean", "covariance", "density", "third", "fourth", "survival", "mean_error")


def solve(kind: str, checkpoint: Path | None = None) -> dfp.Solution | dfp.ExitSteps:
    """Solve a problem of some seconds, with a checkpoint at every saved step, step or portion of trajectories."""
    keeper._EVERY = keeper._SHARE = 0.0
    landscape, start = dfp.QuadraticLandscape(1.0, noise=dfp.GaussianNoise(0.5, 0.4)), dfp.Gaussian(1.0, 0.1)
    if kind == "exits":
        heavy = dfp.MasterEquation(dfp.SGD(landscape, 0.1, momentum=0.5))
        return dfp.exit_steps(heavy, (-1.2, 2.0), start, 60, trajectories=40_000, seed=1, checkpoint=checkpoint)
    solver: dfp.FiniteDifference | dfp.MonteCarlo | dfp.Transfer
    if kind == "differences":
        thermal = dfp.QuadraticLandscape(1.0, noise=dfp.GaussianNoise(0.5))
        equation: dfp.MasterEquation | dfp.DiscreteFokkerPlanck = dfp.DiscreteFokkerPlanck(dfp.SGD(thermal, 0.02))
        start, solver = dfp.Gaussian(0.2, 0.02), dfp.FiniteDifference()
    else:
        equation = dfp.MasterEquation(dfp.SGD(landscape, 0.1))
        solver = dfp.MonteCarlo(300_000, seed=1) if kind == "samples" else dfp.Transfer()
    return dfp.solve(equation, start, 60, range(0, 61, 2), solver, checkpoint=checkpoint)


def same(first: dfp.Solution | dfp.ExitSteps, second: dfp.Solution | dfp.ExitSteps) -> bool:
    """Whether all arrays have the same bits."""
    pairs = [(getattr(first, name, None), getattr(second, name, None)) for name in _ARRAYS]
    return all((a is None) == (b is None) and (a is None or np.asarray(a).tobytes() == np.asarray(b).tobytes())
               for a, b in pairs)  # fmt: skip


def killed(path: Path, kind: str, chance: random.Random, *, written: bool = False) -> bool:
    """Start a run and kill it at a random moment, or soon after it has ``written``; return whether it still ran."""
    command = [sys.executable, "-m", "validation.interrupted", str(path), kind]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        run.stdout.readline()
        while written and not path.exists() and run.poll() is None:
            time.sleep(0.001)
        time.sleep(chance.uniform(0.0, 0.3 if written else 1.5))
        run.kill()
    return run.returncode == -signal.SIGKILL


def member(learning_rate: float, curvature: float, flag: str = "", parent: int = 0) -> dict[str, float]:
    """Return a stationary variance; the first worker that comes to the middle kills itself if there is a ``flag``."""
    if flag and learning_rate > 0.5 and os.getpid() != parent:
        with suppress(FileExistsError):
            Path(flag).touch(exist_ok=False)
            os.kill(os.getpid(), signal.SIGKILL)
    sgd = dfp.SGD(dfp.QuadraticLandscape(curvature, noise=dfp.GaussianNoise(1.0, 0.5)), learning_rate)
    return {"variance": dfp.stationary_moments(dfp.MasterEquation(sgd)).covariance.item()}


if __name__ == "__main__":
    print("ready", flush=True)
    solve(sys.argv[2], Path(sys.argv[1]))
