"""Runs that are killed go on to the same bits, and workers that are killed cost no result.

Every run is killed by SIGKILL at a random moment, two in three after their first checkpoint, and started again. What is
on disk then must be a readable result, or nothing yet; what the second run returns must have the bits of a run that
nobody killed. Sweeps and trajectories on four Dask workers, one of which kills itself, must have the bits of a serial
run.

Source: reliability of files and runs, as the library promises it.

Tolerance: none; all bits.

Control: the result of another learning rate must differ.
"""

import functools
import os
import random
import tempfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import dfp
from validation import interrupted
from validation.case import Case, Result, Table, Verdict, at_least, close

KILLS = 50
RATES, CURVATURES = np.linspace(0.02, 0.9, 20), np.linspace(0.5, 1.5, 10)


def run(quick: bool) -> Result:
    """Kill fifty runs, then a worker of a sweep and a worker of a sampling run."""
    verdicts, rows = _kills()
    table = Table("Killed runs", ("run", "killed", "had a file", "readable", "same bits after resuming"), rows)
    if not find_spec("distributed"):
        return Result(verdicts, tables=[table], notes=["Dask is not installed: its workers were not killed."])
    return Result(verdicts + _dask(), tables=[table])


def _kills() -> tuple[list[Verdict], list[tuple[object, ...]]]:
    chance, counts = random.Random(0), {kind: [0, 0, 0, 0] for kind in interrupted.KINDS}
    whole = {kind: interrupted.solve(kind) for kind in interrupted.KINDS}
    total = [0, 0]
    with tempfile.TemporaryDirectory() as folder:
        for number in range(KILLS):
            kind = interrupted.KINDS[number // 3 % len(interrupted.KINDS)]
            path = Path(folder) / f"{number}.h5"
            killed = interrupted.killed(path, kind, chance, written=number % 3 < 2)
            there = path.exists()
            readable = not there or bool(dfp.load(path).steps.size)
            again = interrupted.same(interrupted.solve(kind, path), whole[kind])
            for i, true in enumerate((killed, there, readable, again)):
                counts[kind][i] += true
            total[0], total[1] = total[0] + readable, total[1] + again
    what = f"{KILLS} runs, killed at random moments"
    first = whole["transfer"]
    assert isinstance(first, dfp.Solution)
    control = float(interrupted.same(replace(first, mean=np.nextafter(first.mean, np.inf)), first))
    verdicts = [
        at_least((what, "kills", "of runs that had not ended"), sum(n[0] for n in counts.values()), KILLS // 2),
        at_least((what, "kills", "of runs that had written a checkpoint"), sum(n[1] for n in counts.values()), 10),
        close((what, "files", "readable, or not there yet"), total[0], KILLS, 0.0),
        close((what, "resumed runs", "with the bits of an uninterrupted one"), total[1], KILLS, 0.0),
        close((what, "control: last bits changed", "counts as the same"), control, 1.0, 0.0, control=True),
    ]
    return verdicts, [(kind, *numbers) for kind, numbers in counts.items()]


def _dask() -> list[Verdict]:
    import distributed

    axes = {"learning_rate": RATES, "curvature": CURVATURES}
    serial = dfp.sweep(interrupted.member, axes, quiet=True)
    solver = dfp.MonteCarlo(400_000, seed=2)
    equation = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape(1.0, noise=dfp.GaussianNoise(0.5, 0.4)), 0.1))
    alone = dfp.solve(equation, dfp.Point([1.0]), 40, [20, 40], solver)
    with (
        tempfile.TemporaryDirectory() as folder,
        distributed.LocalCluster(n_workers=4, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        flag = Path(folder) / "killed"
        fatal = functools.partial(interrupted.member, flag=str(flag), parent=os.getpid())
        found = dfp.sweep(fatal, axes, client, quiet=True)
        died = float(flag.exists())
        drawn = dfp.solve(equation, dfp.Point([1.0]), 40, [20, 40], replace(solver, executor=client))
    cube = float(found["variance"].tobytes() == serial["variance"].tobytes() and bool(found.finished.all()))
    what = "4 Dask workers, one killed"
    shifted = serial["variance"].tobytes() == (serial["variance"] * (1 + 1e-15)).tobytes()
    return [
        close((what, "sweep of 200 members", "workers killed"), died, 1.0, 0.0),
        close((what, "sweep of 200 members", "cube of a serial run, to the bit"), cube, 1.0, 0.0),
        close((what, "400 000 trajectories", "bits of a run alone"), float(interrupted.same(drawn, alone)), 1.0, 0.0),
        close((what, "control: last bits changed", "cube counts as the same"), float(shifted), 1.0, 0.0, control=True),
    ]


CASE = Case("survival", __doc__, run)
