"""The command line: what it prints, writes and refuses."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from test_config import EXAMPLES, written
from typer.testing import CliRunner

import dfp
from dfp.cli import commands
from dfp.config.config import load

COMMANDS = ("demo", "solve", "compare", "modes", "stationary", "spectrum", "exit", "phase", "plot", "sweep")
PAIR = [{"kind": "master", "name": "exact"}, {"kind": "langevin"}]
FOURIER = [{"kind": "master", "solver": {"kind": "fourier"}}]


def invoke(*arguments):
    return CliRunner().invoke(commands.app, [str(argument) for argument in arguments])


def refused(folder, *arguments):
    """Run a command that must fail with a message, without touching a file; return the message."""
    before = contents(folder)
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.output
    assert contents(folder) == before
    return result.stderr


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def python(*arguments):
    root = Path(__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (root, root / "solvers")))}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, encoding="utf-8", timeout=60
    )


def small_copy(example, folder):
    """Copy the examples and make one quick: few steps, few trajectories."""
    for path in EXAMPLES.iterdir():
        shutil.copy(path, folder)
    content = tomllib.loads(example.read_text(encoding="utf-8")) | {"steps": 10, "save": [2, 10]}
    for equation in content["equation"]:
        if equation.get("solver", {}).get("kind") == "monte_carlo":
            equation["solver"]["trajectories"] = 4096
    (folder / example.name).write_bytes(tomli_w.dumps(content).encode())
    return folder / example.name


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_an_example(command):
    result = invoke(command, "--help")
    assert result.exit_code == 0
    assert f"Example:\n    dfp {command}" in result.output


def test_help_is_light():
    # 0.1 s on the machine it was written on; heavy libraries alone would take longer than this limit.
    before = os.times()
    result = python("-X", "importtime", "-m", "dfp", "--help")
    after = os.times()
    assert result.returncode == 0
    assert all(f"  {command} " in result.stdout for command in COMMANDS)
    loaded = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "dfp.cli" in loaded
    assert not loaded & {"numpy", "scipy", "numba", "pydantic", "matplotlib", "h5py", "tqdm", "rich"}
    assert after.children_user + after.children_system - before.children_user - before.children_system < 0.7


def test_version():
    result = invoke("--version")
    assert result.exit_code == 0
    assert "dfp " in result.output
    assert f"numpy {np.__version__}" in result.output


def test_solve_writes_what_the_library_returns_and_how_to_make_it_again(tmp_path):
    path, run = written(tmp_path, equation=FOURIER), tmp_path / "run.h5"
    result = invoke("solve", path, "-o", run)
    assert result.exit_code == 0, result.output
    for part in ("master equation (T4)", "Fourier: asked for", "last step    20", "certificate: pass", f"to {run}"):
        assert part in result.stdout
    assert result.stderr == ""
    solution, problem = dfp.load(run), load(path).build()
    again = dfp.solve(problem.tasks[0].equation, problem.initial, problem.steps, solver=dfp.Fourier())
    np.testing.assert_array_equal(solution.density, again.density)
    copy = tmp_path / "again.toml"
    copy.write_bytes(tomli_w.dumps(solution.provenance["configuration"]).encode())
    assert load(copy).model_dump() == load(path).model_dump()
    json.dumps(solution.provenance)


def test_solve_refines_to_the_tolerance_of_the_file(tmp_path):
    loose = {"kind": "langevin", "solver": {"kind": "finite_volume", "tolerance": 0.05}}
    table = loose | {"tolerance": 1e-2}
    errors = []
    for i, equation in enumerate((table, loose)):
        result = invoke("solve", written(tmp_path, equation=[equation]), "-o", tmp_path / f"run{i}.h5")
        assert result.exit_code == 0, result.output  # warnings alone are no failure
        errors.append(dfp.load(tmp_path / f"run{i}.h5").certificate.error.max())
    assert errors[0] <= 1e-2 < errors[1]


def test_instability_ends_with_a_status_of_its_own(tmp_path):
    """What warns is written, and told from what passes: the control is half of the largest stable learning rate."""
    statuses = {}
    for rate in (1.0, 3.0):
        equation = [{"kind": "master", "solver": {"kind": "moment_recursion"}}]
        path = written(tmp_path, equation=equation, sgd={"learning_rate": rate})
        result = invoke("solve", path, "-o", tmp_path / f"run{rate}.h5")
        statuses[rate] = result.exit_code, "unstable" in result.output
        assert (tmp_path / f"run{rate}.h5").exists()
    assert statuses == {1.0: (0, False), 3.0: (1, True)}


def test_solve_needs_to_know_which_equation(tmp_path):
    path, run = written(tmp_path, equation=PAIR), tmp_path / "run.h5"
    text = refused(tmp_path, "solve", path, "-o", run)
    assert "'exact', 'Langevin'; choose one with --equation NAME, or use dfp compare." in text
    text = refused(tmp_path, "solve", path, "-o", run, "--equation", "Langevim")
    assert "--equation='Langevim': must be one of 'exact', 'Langevin'; did you mean 'Langevin'?" in text
    assert invoke("solve", path, "-o", run, "--equation", "Langevin").exit_code == 0
    solution = dfp.load(run)
    assert solution.equation == "Langevin (T6)"
    assert solution.provenance["configuration"]["equation"] == [
        {"kind": "langevin", "noise": "state", "per_step": False, "solver": {"kind": "auto"}}
    ]


def test_compare_prints_a_table_and_writes_every_solution(tmp_path):
    path, run, figure = written(tmp_path, equation=PAIR), tmp_path / "all.h5", tmp_path / "all.png"
    result = invoke("compare", path, "-o", run, "--figure", figure)
    assert result.exit_code == 0, result.output
    assert "total variation" in result.stdout
    assert "Langevin" in result.stdout
    assert list(dfp.load_many(run)) == ["exact", "Langevin"]
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert invoke("plot", run, "-o", tmp_path / "plot.svg").exit_code == 0
    assert "<svg" in (tmp_path / "plot.svg").read_text(encoding="utf-8")


def test_several_sgds_are_compared_at_equal_slow_times(tmp_path):
    """Momentum β at η beside Langevin at 2η/(1−β): as far in τ = ηn/(1−β) after half as many steps."""
    path, table, run = tmp_path / "two.toml", tmp_path / "two.csv", tmp_path / "two.h5"
    text = (
        'steps = 40\nsave = [20, 40]\n[landscape]\nkind = "quadratic"\nhessian = [1.0]\nnoise = { gradient = [0.3] }\n'
        '[sgd]\nlearning_rate = 0.05\nmomentum = 0.5\n[initial]\nkind = "gaussian"\nmean = [1.0]\ncovariance = 0.1\n'
        '[[equation]]\nkind = "master"\nname = "momentum"\nsolver = { kind = "monte_carlo", trajectories = 20000 }\n'
        '[[equation]]\nkind = "langevin"\nsteps = 20\nsave = [10, 20]\n[equation.sgd]\nlearning_rate = 0.2\n'
    )
    path.write_text(text)
    result = invoke("compare", path, "--at", "time", "-o", run, "--figure", tmp_path / "two.png", "--table", table)
    assert result.exit_code == 0, result.output
    assert [line.split(",")[2] for line in table.read_text().splitlines()] == ["step", "20", "40"]
    found = dfp.load_many(run)
    np.testing.assert_allclose(found["momentum"].time / 0.5, found["Langevin"].time)  # rounding
    assert found["Langevin"].learning_rate == 0.2 and found["momentum"].learning_rate == 0.05
    path.write_text(text.replace("[10, 20]", "[10, 21]"))
    assert "equation[1].save" in refused(tmp_path, "compare", path)
    path.write_text(text.replace("learning_rate = 0.2\n", "learning_rte = 0.2\n"))
    assert "equation[1].sgd.learning_rte" in refused(tmp_path, "compare", path)
    path.write_text(text)
    assert "--at='place'" in refused(tmp_path, "compare", path, "--at", "place")


def test_default_names_can_be_stored(tmp_path):
    kinds = [
        {"kind": "master", "solver": {"kind": "moment_recursion"}},
        {"kind": "discrete_fokker_planck", "solver": {"kind": "moment_recursion"}},
        {"kind": "langevin", "noise": "frozen", "solver": {"kind": "moment_recursion"}},
        {"kind": "modified_langevin", "solver": {"kind": "moment_recursion"}},
    ]
    result = invoke("compare", written(tmp_path, equation=kinds), "-o", tmp_path / "all.h5")
    assert result.exit_code == 0, result.output
    assert len(dfp.load_many(tmp_path / "all.h5")) == 4


def test_compare_refuses_before_it_works(tmp_path, monkeypatch):
    monkeypatch.setattr("dfp.cli.commands._solved", lambda *_: pytest.fail("work began"))
    path = written(tmp_path, equation=FOURIER)
    assert "equation has 1 entry: compare needs at least two" in refused(tmp_path, "compare", path)
    moments = [*FOURIER, {"kind": "langevin", "solver": {"kind": "moment_recursion"}}]
    path, figure = written(tmp_path, equation=moments), tmp_path / "figure.png"
    text = refused(tmp_path, "compare", path, "-o", tmp_path / "all.h5", "--figure", figure)
    assert "--figure: MomentRecursion of 'Langevin' has no density; leave out one or the other." in text


def test_plot_names_the_figure_after_the_run(tmp_path):
    run = tmp_path / "run.h5"
    assert invoke("solve", written(tmp_path, equation=FOURIER), "-o", run).exit_code == 0
    assert invoke("plot", run).exit_code == 0
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")
    assert "run.png: exists already; give --force" in refused(tmp_path, "plot", run)
    assert invoke("plot", run, "--force").exit_code == 0
    run.write_bytes(run.read_bytes()[:-1])
    assert "changed by another program" in refused(tmp_path, "plot", run, "-o", tmp_path / "other.png")


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("run.txt", "run.txt: must end in .h5; give e.g. run.h5."),
        ("nowhere/run.h5", "nowhere; create it or choose another."),
        ("folder.h5", "folder.h5: is not a regular file; choose another name."),
        ("old.h5", "old.h5: exists already; give --resume to go on if a run was interrupted, --force to replace it"),
        ("x" * 300 + ".h5", "choose another name or place."),
    ],
)
def test_an_output_that_cannot_be_written_stops_the_work_before_it_begins(name, part, tmp_path, monkeypatch):
    monkeypatch.setattr("dfp.cli.commands._solved", lambda *_: pytest.fail("work began"))
    work = tmp_path / "work"
    work.mkdir()
    (work / "old.h5").write_bytes(b"precious")
    path = written(tmp_path, equation=FOURIER)
    (work / "folder.h5").mkdir()
    result = invoke("solve", path, "-o", work / name)
    assert result.exit_code == 2
    assert part in result.stderr
    assert {entry.name for entry in work.iterdir()} == {"old.h5", "folder.h5"}
    assert (work / "old.h5").read_bytes() == b"precious"


def test_force_replaces_and_a_failing_run_keeps_the_old_file(tmp_path):
    run = tmp_path / "run.h5"
    run.write_bytes(b"old")
    unsupported = written(tmp_path, equation=FOURIER, sgd={"learning_rate": 0.1, "replace": False})
    refused(tmp_path, "solve", unsupported, "-o", run, "--force")
    assert invoke("solve", written(tmp_path, equation=FOURIER), "-o", run, "--force").exit_code == 0
    assert dfp.load(run).solver == "Fourier"


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_examples_run(example, tmp_path):
    path, run = small_copy(example, tmp_path), tmp_path / "run.h5"
    several = len(load(path).equation) > 1
    result = invoke("compare" if several else "solve", path, "-o", run)
    assert result.exit_code == 0, result.output
    solutions = dfp.load_many(run).values() if several else [dfp.load(run)]
    for solution in solutions:
        assert solution.steps.tolist() == [2, 10]
        assert solution.density is not None
    assert invoke("plot", run).exit_code == 0


def test_demo_passes_its_options_on(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("dfp.demo.run", lambda *arguments: calls.append(arguments))
    assert invoke("demo", "--out", tmp_path / "demo.h5", "--trajectories", "20_000").exit_code == 0
    assert calls == [(tmp_path / "demo.h5", 20_000, None)]
    (tmp_path / "demo.png").write_bytes(b"old")
    assert "demo.png: exists already" in refused(tmp_path, "demo", "--out", tmp_path / "demo.h5")
    assert len(calls) == 1


def test_progress_is_shown_on_a_terminal_only(monkeypatch, capsys):
    with commands._progress("work", quiet=False) as progress:
        assert progress is None
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with commands._progress("work", quiet=True) as progress:
        assert progress is None
    with commands._progress("work", quiet=False) as progress:
        progress(1, 4)
        progress(4, 4)
    assert "work" in capsys.readouterr().err


def test_modes_prints_the_table_and_writes_what_is_asked(tmp_path):
    file = small_copy(EXAMPLES / "regression.toml", tmp_path)
    result = invoke("modes", file, "--table", tmp_path / "modes.csv", "--figure", tmp_path / "modes.png")
    assert result.exit_code == 0, result.output
    assert result.output.startswith(str(dfp.modes(load(file).build().sgd)))
    rows = (tmp_path / "modes.csv").read_text(encoding="utf-8").splitlines()
    assert rows[0].startswith("curvature,") and len(rows) == 3
    assert (tmp_path / "modes.png").read_bytes().startswith(b"\x89PNG")
    assert "exists already" in refused(tmp_path, "modes", file, "--table", tmp_path / "modes.csv")
    assert "must be above 0" in refused(tmp_path, "modes", file, "--horizon", "-1")


def test_modes_takes_a_step_of_a_schedule(tmp_path):
    file = EXAMPLES / "schedule.toml"
    result = invoke("modes", file, "--step", "150")
    assert result.exit_code == 0
    assert result.output.startswith(str(dfp.modes(load(file).build().sgd, step=150)))
    assert "give --step n" in refused(tmp_path, "modes", file)
