"""A run that is interrupted goes on from its checkpoint to the bits of an uninterrupted one, kills or not."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from problems import one_mode, table
from test_rerun import same

import dfp
from dfp.cli import commands
from dfp.methods.transfer.graded import GradedRun
from dfp.results import hdf5, keeper
from dfp.solving.checkpoints import Checkpoint
from validation import interrupted

RNG = np.random.default_rng(5)
X, Y = RNG.normal(size=(4, 1)), RNG.normal(size=4)
GAUSSIAN = dfp.QuadraticLandscape(1.3, 0.1, noise=dfp.GaussianNoise(0.7))
SAMPLES = dfp.QuadraticLandscape.from_samples(X[:, :, None] ** 2, X * Y[:, None], batch_size=2)
PLANE = dfp.QuadraticLandscape([[1.0, 0.3], [0.3, 2.0]], noise=dfp.GaussianNoise([0.5, 0.2]))
HEAVY = dfp.QuadraticLandscape(1.3, noise=dfp.StudentNoise(0.7, 5.0))
WELL = dfp.Landscape(lambda x: x**3 - x, lambda x: np.full((len(x), 1, 1), 0.5))
START, START_2 = dfp.Gaussian([1.0], [[0.3]]), dfp.Gaussian([1.0, 0.0], 0.2)
NEAR = dfp.Gaussian([0.3], [[0.01]])
SAVE = [0, 2, 3, 5, 8]


def master(landscape, rate=0.1, **settings):
    return dfp.MasterEquation(dfp.SGD(landscape, rate, **settings))


RUNS = {
    "Fourier": (master(GAUSSIAN), START, dfp.Fourier()),
    "Fourier, any law": (master(HEAVY), START, dfp.Fourier()),
    "Hermite": (master(one_mode()), START, dfp.Hermite()),
    "Hermite, plane": (dfp.Langevin(dfp.SGD(PLANE, 0.1)), START_2, dfp.Hermite()),
    "moments": (master(PLANE), START_2, dfp.MomentRecursion()),
    "finite volumes": (dfp.Langevin(dfp.SGD(one_mode(), 0.1)), START, dfp.FiniteVolume(cells=48)),
    "differences": (dfp.DiscreteFokkerPlanck(dfp.SGD(GAUSSIAN, 0.02)), NEAR, dfp.FiniteDifference()),
    "differences, landscape": (dfp.DiscreteFokkerPlanck(dfp.SGD(WELL, 0.002)), NEAR, dfp.FiniteDifference()),
    "transfer": (master(one_mode()), START, dfp.Transfer()),
    "transfer, plane": (master(table(2)), START_2, dfp.Transfer()),
    "transfer, samples": (master(SAMPLES), START, dfp.Transfer()),
    "transfer, landscape": (dfp.MasterEquation(dfp.SGD(WELL, 0.1)), START, dfp.Transfer()),
    "transfer, epochs": (master(SAMPLES, replace=False), START, dfp.Transfer()),
    "samples": (master(one_mode()), START, dfp.MonteCarlo(200_000, seed=3)),
    "samples, look ahead": (master(one_mode()), START, dfp.MonteCarlo(200_000, seed=3, look_ahead=True)),
}


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    """Every frame is written at once."""
    monkeypatch.setattr(keeper, "_EVERY", 0.0)
    monkeypatch.setattr(keeper, "_SHARE", 0.0)


class Stop(BaseException):
    """As Ctrl-C."""


def stopping(after):
    seen = []

    def progress(done, total):
        seen.append(done)
        if len(seen) >= after:
            raise Stop

    return progress


@pytest.mark.parametrize("name", RUNS)
def test_every_run_resumes_to_the_same_bits(name, tmp_path, monkeypatch):
    equation, initial, solver = RUNS[name]
    path = tmp_path / "run.h5"
    whole = dfp.solve(equation, initial, 8, SAVE, solver)
    if name.startswith("samples"):
        monkeypatch.setattr("dfp.methods.monte_carlo._FIRST", 1e5)
    with pytest.raises(Stop):
        dfp.solve(equation, initial, 8, SAVE, solver, checkpoint=path, progress=stopping(3))
    partial = dfp.load(path)
    xarray = pytest.importorskip("xarray")
    with xarray.open_dataset(path, engine="h5netcdf", decode_times=False) as opened:
        assert np.array_equal(opened["mean"], partial.mean, equal_nan=True)
    if not name.startswith("samples"):
        assert partial.steps.tolist() == SAVE[:3] and same(partial, whole.at(SAVE[:3]))
    else:
        assert 0 < partial.trajectories < 200_000
    found = dfp.solve(equation, initial, 8, SAVE, solver, checkpoint=path)
    assert same(found, whole) and found.certificate.warnings == whole.certificate.warnings
    for figure in ("error", "mass_outside", "mean_error"):
        left, right = getattr(found.certificate, figure), getattr(whole.certificate, figure)
        assert np.asarray(left).tobytes() == np.asarray(right).tobytes()
    assert found.provenance["resumed"] == (partial.trajectories or 3)
    assert same(dfp.load(path), whole) and same(dfp.solve(equation, initial, 8, SAVE, solver, checkpoint=path), whole)
    assert [file.name for file in tmp_path.iterdir()] == ["run.h5"]


SPACE = dfp.QuadraticLandscape(
    [[1.0, 0.3, 0.1], [0.3, 2.0, 0.2], [0.1, 0.2, 0.7]], noise=dfp.GaussianNoise([0.5, 0.2, 0.3], [0.05, 0.1, 0.02])
)
# Equation, start, solver, steps, and what has to be shorter for places in between.
LONG = {name: (*RUNS[name], 20, None) for name in (
    "Hermite", "differences, landscape", "transfer, plane", "transfer, samples", "transfer, epochs",
    "transfer, landscape",
)} | {
    "differences": (*RUNS["differences"], 300, None),
    "differences, plane": (
        dfp.DiscreteFokkerPlanck(dfp.SGD(PLANE, 0.002)), dfp.Gaussian([0.1, 0.0], 0.02), dfp.FiniteDifference(), 60,
        ("dfp.methods.finite_difference._PORTION", 7),
    ),
    "walk": (
        dfp.DiscreteFokkerPlanck(dfp.SGD(GAUSSIAN, 0.02)), dfp.Gaussian([0.3], [[0.02]]),
        dfp.FiniteDifference(scheme="matched", tolerance=0.5), 60, ("dfp.methods.lattice_walk._PORTION", 7),
    ),
    "finite volumes": (
        dfp.Langevin(dfp.SGD(SPACE, 0.1)), dfp.Gaussian([0.3, 0, 0], 0.3), dfp.FiniteVolume(cells=8), 12,
        ("dfp.methods.finite_volume._PRODUCTS", 2e4),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LONG)
def test_a_run_goes_on_from_between_saved_steps(name, tmp_path, monkeypatch):
    """With one saved step, at the end: stopped at the first, and at a later, place in between."""
    equation, initial, solver, steps, shorter = LONG[name]
    if shorter is not None:
        monkeypatch.setattr(*shorter)
    path, arguments = tmp_path / "run.h5", (equation, initial, steps, [steps], solver)
    whole = dfp.solve(*arguments)
    for after in (1, 2):
        with monkeypatch.context() as inner, pytest.raises(Stop):
            stopping_write(inner, after)
            dfp.solve(*arguments, checkpoint=Checkpoint(path, resume=False))
        with pytest.raises(dfp.FileFormatError, match="before its first saved step"):
            dfp.load(path)
        found = dfp.solve(*arguments, checkpoint=path)
        assert same(found, whole) and 0 < found.provenance["resumed"] < steps
        assert found.certificate.error.tobytes() == whole.certificate.error.tobytes()


def test_a_checkpoint_that_says_more_steps_are_left_than_there_are_is_refused(tmp_path, monkeypatch):
    arguments, path, write = (
        (master(one_mode()), START, 40, [40], dfp.Hermite()),
        tmp_path / "run.h5",
        Checkpoint._write,
    )

    def stop(keeper):
        if keeper._pending is not None:
            keeper._pending = (*keeper._pending[:2], 40)
            write(keeper)
            raise Stop

    monkeypatch.setattr(Checkpoint, "_write", stop)
    with pytest.raises(Stop):
        dfp.solve(*arguments, checkpoint=path)
    monkeypatch.setattr(Checkpoint, "_write", write)
    with pytest.raises(dfp.FileFormatError, match="what cannot be"):
        dfp.solve(*arguments, checkpoint=path)


def test_all_runs_but_one_keep_their_state_instead_of_walking_again(tmp_path):
    kinds = set()
    for equation, initial, solver in RUNS.values():
        run = solver.start(dfp.methods.solver.Problem.of(equation, initial, np.array(SAVE)))
        kinds.add((type(run), run.state() is not None))
    assert {kind for kind, known in kinds if not known} <= {GradedRun} and len(kinds) >= 11
    law = master(HEAVY)
    whole = dfp.solve(law, START, 8, SAVE, dfp.Transfer())
    with pytest.raises(Stop):
        dfp.solve(law, START, 8, SAVE, dfp.Transfer(), checkpoint=tmp_path / "run.h5", progress=stopping(2))
    assert same(dfp.solve(law, START, 8, SAVE, dfp.Transfer(), checkpoint=tmp_path / "run.h5"), whole)


def test_a_checkpoint_of_another_problem_is_refused(tmp_path):
    path, solver = tmp_path / "run.h5", dfp.Hermite()
    equation = master(one_mode())
    with pytest.raises(Stop):
        dfp.solve(equation, START, 8, SAVE, solver, checkpoint=path, progress=stopping(2))
    kept = path.read_bytes()
    steeper = dfp.Landscape(lambda x: 1.001 * x**3 - x, lambda x: np.full((len(x), 1, 1), 0.5))
    langevin = dfp.Langevin(equation.sgd)
    others = [
        ("equation.sgd.learning_rate is 0.1 there and 0.11 here", (master(one_mode(), 0.11), START, 8, SAVE, solver)),
        ("equation is 'master equation .T4.' there and 'Langevin", (langevin, START, 8, SAVE, solver)),
        ("initial.kind is 'gaussian' there and 'point' here", (equation, dfp.Point([1.0]), 8, SAVE, solver)),
        ("initial.mean differs", (equation, dfp.Gaussian([1.1], [[0.3]]), 8, SAVE, solver)),
        ("steps is 8 there and 9 here", (equation, START, 9, SAVE, solver)),
        ("save.1 is 2 there and 8 here", (equation, START, 8, [0, 8], solver)),
        ("solver.degree is ", (equation, START, 8, SAVE, dfp.Hermite(degree=20))),
        ("equation", (master(WELL), START, 8, SAVE, dfp.Transfer())),
    ]
    for said, other in others:
        with pytest.raises(
            dfp.DFPError, match=f"belongs to another problem: {said}.*name another checkpoint"
        ) as raised:
            dfp.solve(*other, checkpoint=path)
        assert not isinstance(raised.value, dfp.FileFormatError)
    others = [other for _, other in others]
    assert path.read_bytes() == kept
    with pytest.raises(Stop):  # functions are told apart by what they do to a pilot
        dfp.solve(*others[-1], checkpoint=tmp_path / "well.h5", progress=stopping(1))
    with pytest.raises(dfp.DFPError, match="another problem"):
        dfp.solve(master(steeper), START, 8, SAVE, dfp.Transfer(), checkpoint=tmp_path / "well.h5")
    assert dfp.solve(equation, START, 8, SAVE, solver, checkpoint=Checkpoint(path, resume=False)).steps.tolist() == SAVE


def test_damage_and_forgery_are_refused(tmp_path):
    path, equation = tmp_path / "run.h5", master(one_mode())
    with pytest.raises(Stop):
        dfp.solve(equation, START, 8, SAVE, dfp.Hermite(), checkpoint=path, progress=stopping(2))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(dfp.FileFormatError, match="checksum"):
        dfp.solve(equation, START, 8, SAVE, dfp.Hermite(), checkpoint=path)
    with pytest.raises(dfp.FileFormatError, match="does not hold"):
        keeper._decoded({"type": "<f8", "shape": [2**40]}, np.zeros(3))
    assert hdf5  # read by the same checks as all files


def test_layouts_keep_every_bit():
    state = {
        "a": np.array([np.nan, -0.0, 5e-324]), "b": np.array([[2**62, -1]]), "c": np.array([1 + 2j]), "n": None,
        "d": (np.array([True, False]), 3, 0.1), "e": {"f": np.zeros((0, 2))},
    }  # fmt: skip
    layout, flat = keeper._encoded(state)
    found = keeper._decoded(json.loads(json.dumps(layout)), flat)
    assert found["n"] is None and found["d"][1:] == (3, 0.1) and found["e"]["f"].shape == (0, 2)
    for key in ("a", "b", "c"):
        assert found[key].dtype == state[key].dtype and found[key].tobytes() == state[key].tobytes()
    assert found["d"][0].tolist() == [True, False]


def test_two_processes_do_not_share_a_checkpoint(tmp_path):
    pytest.importorskip("fcntl")
    path = tmp_path / "run.h5"
    with keeper.locked(path), pytest.raises(dfp.DFPError, match=f"in use by process {os.getpid()}"):
        dfp.solve(master(one_mode()), START, 8, checkpoint=path)
    dfp.solve(master(one_mode()), START, 8, checkpoint=path)


def test_a_failure_leaves_no_checkpoint(tmp_path):
    path = tmp_path / "run.h5"
    equation = dfp.DiscreteFokkerPlanck(dfp.SGD(one_mode(), 0.3))
    with pytest.raises(dfp.DFPError):
        dfp.solve(equation, START, 40, range(1, 41), dfp.Hermite(), checkpoint=path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
def test_kills_at_random_moments_leave_readable_files_and_the_same_result(tmp_path):
    """Three of them; fifty are in the evidence."""
    chance = random.Random(1)
    for kind in interrupted.KINDS:
        path = tmp_path / f"{kind}.h5"
        interrupted.killed(path, kind, chance, written=kind != "transfer")
        if path.exists():
            assert dfp.load(path).steps.size
        assert interrupted.same(interrupted.solve(kind, path), interrupted.solve(kind))


def test_changed_bits_are_seen():
    """Negative control."""
    whole = dfp.solve(master(one_mode()), START, 3)
    other = replace(whole, mean=np.nextafter(whole.mean, 1))
    assert same(whole, whole) and interrupted.same(whole, whole)
    assert not same(whole, other) and not interrupted.same(whole, other)


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C by signal")
def test_the_command_line_leaves_a_checkpoint_at_ctrl_c_and_resumes(tmp_path):
    """Also into a file that is finished: nothing is solved again."""
    toml, run = tmp_path / "problem.toml", tmp_path / "run.h5"
    toml.write_text(
        'steps = 400\nsave = [10, 20, 400]\n[landscape]\nkind = "quadratic"\nhessian = [1.0]\n'
        "noise = { gradient = [0.3] }\n"
        '[sgd]\nlearning_rate = 0.1\n[initial]\nkind = "gaussian"\nmean = [1.0]\ncovariance = [[0.1]]\n'
        '[[equation]]\nkind = "master"\nsolver = { kind = "monte_carlo", trajectories = 20_000_000 }\n'
    )
    program = (
        "import sys\nfrom dfp.results import keeper\nfrom dfp.cli import app\n"
        "keeper._EVERY = keeper._SHARE = 0.0\nsys.argv[0] = 'dfp'\napp()\n"
    )
    command = [sys.executable, "-c", program, "solve", str(toml), "-o", str(run)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        for _ in range(600):
            if run.exists():
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        told = process.stderr.read()
    assert process.returncode == 130 and "--resume goes on" in told
    before = dfp.load(run)
    assert 0 < before.trajectories < 20_000_000
    toml.write_text(toml.read_text().replace("20_000_000", "20_000_001"))
    other = subprocess.run([*command, "--resume"], capture_output=True, text=True)
    assert other.returncode == 2 and "another problem" in other.stderr


def stopping_write(monkeypatch, after, name=""):
    """Let the process stop right after so many writings to a file with ``name`` in its own."""
    write, written = Checkpoint._write, []

    def stop(keeper):
        write(keeper)
        written.extend([keeper] if name in keeper.path.name else [])
        if len(written) == after:
            raise Stop

    monkeypatch.setattr(Checkpoint, "_write", stop)


@pytest.mark.parametrize("command", ["compare", "rerun"])
def test_compare_and_rerun_go_on_as_well(command, tmp_path, monkeypatch, capsys):
    toml, out, whole = tmp_path / "problem.toml", tmp_path / "out.h5", tmp_path / "whole.h5"
    toml.write_text(
        'steps = 60\nsave = [20, 40, 60]\n[landscape]\nkind = "quadratic"\nhessian = [1.0]\n'
        "noise = { gradient = [0.3], hessian = [0.1] }\n"
        '[sgd]\nlearning_rate = 0.1\n[initial]\nkind = "gaussian"\nmean = [1.0]\ncovariance = [[0.1]]\n'
        '[[equation]]\nkind = "master"\nsolver = { kind = "hermite" }\n'
        '[[equation]]\nkind = "langevin"\nnoise = "state"\nsolver = { kind = "hermite" }\n'
    )

    def dfp_command(*words):
        return commands.app([command, *map(str, words), "--quiet"], standalone_mode=False)

    source = toml
    if command == "rerun":
        source = tmp_path / "run.h5"
        dfp.solve(master(one_mode()), START, 8, SAVE, dfp.Hermite()).save(source)
    dfp_command(source, "-o", whole)
    with monkeypatch.context() as inner:
        stopping_write(inner, 3, ".2.h5" if command == "compare" else "")
        with pytest.raises(Stop):
            dfp_command(source, "-o", out)
    left = ["out.1.h5", "out.2.h5"] if command == "compare" else ["out.h5"]
    assert sorted(file.name for file in tmp_path.glob("out*")) == left
    resumed = []
    start = Checkpoint.start
    monkeypatch.setattr(Checkpoint, "start", lambda *given: resumed.append(start(*given)) or resumed[-1])
    capsys.readouterr()
    dfp_command(source, "-o", out, "--resume")
    assert [len(frames) > 0 for frames in resumed] == [True]  # the first of two was finished
    if command == "rerun":
        assert "same bits    yes" in capsys.readouterr().out and same(dfp.load(out), dfp.load(whole))
    else:
        assert all(same(one, dfp.load_many(whole)[name]) for name, one in dfp.load_many(out).items())
    assert [file.name for file in tmp_path.glob("out*")] == ["out.h5"]


def test_an_interrupted_file_holds_its_problem_and_another_large_start_is_another_problem(tmp_path, monkeypatch):
    """Of a start beyond what is text; the other has the same moments, so that only its values tell."""
    monkeypatch.setattr("dfp.solving.recipe._TEXT", 20)
    grid, path = dfp.Grid(-4.0, 4.0, 90), tmp_path / "run.h5"
    start = dfp.Density.normalised(grid, np.exp(-((grid.axes[0] - 1) ** 2)))
    other = dfp.Density.normalised(grid, start.values * (1 + 0.1 * np.cos(grid.axes[0])))
    other = other.with_moments(start.mean, start.covariance)
    arguments = master(one_mode()), start, 8, SAVE, dfp.Transfer()
    with pytest.raises(Stop):
        dfp.solve(*arguments, checkpoint=path, progress=stopping(3))
    whole = dfp.solve(*arguments)
    assert same(dfp.rerun(path), whole)
    with pytest.raises(dfp.DFPError, match=r"another problem: initial\.values differs"):
        dfp.solve(arguments[0], other, *arguments[2:], checkpoint=path)
    assert same(dfp.solve(*arguments, checkpoint=path), whole) and same(dfp.rerun(path), whole)


@pytest.mark.parametrize("kept", [False, True])
def test_whoever_interrupts_work_in_python_is_told_of_checkpoints(kept, tmp_path):
    """Once, and not where there is one: the file is then what goes on."""

    def stop(done, total):
        raise KeyboardInterrupt

    sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), 0.1)
    named = {"checkpoint": tmp_path / "run.h5"} if kept else {}
    with pytest.raises(KeyboardInterrupt) as told:
        dfp.solve(dfp.MasterEquation(sgd), dfp.Gaussian(1.0, 0.1), 10, [5, 10], progress=stop, **named)
    notes = getattr(told.value, "__notes__", [])
    assert len(notes) == (not kept)
    assert kept or "checkpoint='run.h5'" in notes[0]
