"""What the command line says of remedies: what a file or an option has, for no one there writes Python."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
import tomli_w
from typer.testing import CliRunner

import dfp
from dfp.cli.commands import app
from dfp.cli.wording import in_a_file
from dfp.config.config import load

ROOT = Path(dfp.__file__).parent
SAID = {
    "use dfp.MasterEquation(sgd).": 'use kind = "master" in [[equation]].',
    "dfp.ModifiedLangevin(sgd, positive=True).": 'kind = "modified_langevin" and positive = true in [[equation]].',
    "solver=dfp.MomentRecursion(highest=2).": 'kind = "moment_recursion" and highest = 2 in [equation.solver].',
    "give a wider grid=dfp.Grid(lower, upper, cells).": "give a wider [grid].",
    "use dfp.moments(...) of it": 'use kind = "moment_recursion" in [equation.solver] of it',
    "or give trajectories=20_000, splitting=True to": "or give --trajectories 20000 --splitting to",
    "raise steps, or give splitting=True.": "raise steps, or give --splitting.",
    "dfp.stationary(dfp.Langevin(sgd))": 'dfp stationary with kind = "langevin" in [[equation]]',
    "use dfp.solve to a late step": "use dfp solve to a late step",
    "ask dfp.escape(sgd, start, domain) for it": "ask dfp.escape (in Python) for it",
    "go by law.quantile(...).": "go by law.quantile (in Python).",
    "use dfp.exit_steps.": "use dfp exit.",
    "use dfp.MasterEquation, or dfp.moments of it": (
        'use kind = "master" in [[equation]], or kind = "moment_recursion" in [equation.solver] of it'
    ),
    "start from a wider dfp.Gaussian.": 'start from a wider [initial] of kind "gaussian".',
    "start from a dfp.Gaussian.": 'start from [initial] of kind "gaussian".',
    "give grid=... with more cells": "give [grid] with more cells",
    "wait for it with progress=....": "wait for it in a terminal, without --quiet.",
    "replace=False: no; use replace=True or scheme='spectral'": (
        'replace = false: no; use replace = true or scheme = "spectral"'
    ),
    "momentum=0.9: no; give momentum=0 and replace=True": "momentum=0.9: no; give momentum = 0 and replace = true",
    'save fewer, as with save=[0, 10], or at="time"': "save fewer, as with save = [0, 10], or --at time",
    "solver=Fourier cannot; use solver='auto'": (
        'solver.kind = "fourier" cannot; use kind = "auto" in [equation.solver]'
    ),
    "give grid=...": "give [grid].",
    "sgd.replace=False: no": "sgd.replace = false: no",
    "--lower=-1: must": "--lower=-1: must",
    "h=0.5 must be below 2/λ (see docs).": "h=0.5 must be below 2/λ (see docs).",
}


@pytest.mark.parametrize("message", SAID)
def test_calls_are_said_as_tables_and_options(message):
    assert in_a_file(message) == SAID[message] == in_a_file(SAID[message])  # and what is said already stays


def messages():
    """Yield every text of the package, docstrings aside, that names a call."""
    for path in sorted(ROOT.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        aside = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in aside:
                yield node.value


def test_no_message_keeps_the_name_of_what_a_file_can_have():
    kinds = re.compile(
        r"dfp\.(MasterEquation|DiscreteFokkerPlanck|Langevin|ModifiedLangevin|MonteCarlo|Hermite)\(\S*\)"
    )
    found = [text for text in messages() if kinds.search(text)]
    assert len(found) > 50  # the control: there is much to say otherwise
    assert not [text for text in found if kinds.search(in_a_file(text))]


START = """steps = 20
[landscape]
kind = "quadratic"
hessian = [1.0, 0.5]
noise.gradient = [1.0, 1.0]
[sgd]
learning_rate = 0.1
[initial]
kind = "gaussian"
mean = [1.0, 1.0]
covariance = 0.5
[equation]
kind = "master"
"""
FLAT = """[landscape]
kind = "quadratic"
hessian = [1.0, {second}]
noise.gradient = [1.0, 0.5]

[sgd]
learning_rate = 0.1
momentum = {momentum}

[initial]
kind = "point"
theta = [0.0, 0.0]

[[equation]]
kind = "{kind}"
"""
ASKED = {
    "no positive operator": ("discrete_fokker_planck", 1.0, 0.0, ["exit", "--lower=-1,-1", "--upper=1,1"]),
    "too many kernels": ("master", 1.0, 0.9, ["exit", "--lower=-40,-40", "--upper=40,40"]),
    "splitting alone": ("master", 1.0, 0.0, ["exit", "--lower=-1,-1", "--upper=1,1", "--splitting"]),
    "nothing settles": ("master", 0.0, 0.0, ["stationary"]),
    "a diffusion with momentum": ("langevin", 1.0, 0.5, ["stationary"]),
}


# What a script has and a file has not: calls, arguments whose value is left open, values and numbers of Python.
PYTHON = re.compile(r"dfp\.\w+\(|\bdfp\.[A-Z]\w*(?! \(in Python\))|=\.\.\.|=(True|False|None)\b|\d_\d{3}|\blambda ")
POINT = {"kind": "point", "theta": [0.0, 0.0]}
WALK = {"kind": "finite_difference", "scheme": "matched", "spacing": 0.1}
FIVE = {"landscape": {"hessian": [1.0] * 5, "noise": {"gradient": [1.0] * 5}}, "initial": {"mean": [1.0] * 5}}
VALUES = {"sgd": {"learning_rate": {"schedule": "values", "values": [0.1] * 20}}}
BOX = ["exit", "--lower=-1,-1", "--upper=1,1"]
WRONG = [
    (BOX[:2], {}),
    (["exit"], {}),
    ([*BOX, "--splitting"], {}),
    (BOX, {"sgd": {"momentum": 0.9}}),
    (BOX, {"sgd": {"momentum": 0.9}, "equation": {"kind": "langevin"}}),
    (BOX, {"equation": {"kind": "discrete_fokker_planck"}}),
    ([*BOX, "--trajectories", "1000"], {"equation": {"kind": "modified_langevin"}}),
    (BOX, VALUES),
    (BOX, {"landscape": {"additive": {"laws": ["t(3)"]}, "noise": None}}),
    (BOX, {"initial": {"kind": "point", "theta": [3.0, 3.0], "mean": None, "covariance": None}}),
    (["exit", "--lower=-9,-9", "--upper=9,9"], {}),
    (["exit", "--lower=2,2", "--upper=1,1"], {}),
    (["exit", "--lower=-1,-1,-1,-1,-1", "--upper=1,1,1,1,1"], FIVE),
    (["stationary"], VALUES),
    (["stationary"], {"sgd": {"learning_rate": 2.5}}),
    (["stationary"], {"landscape": {"hessian": [1.0, 0.0]}}),
    (["stationary"], {"landscape": {"noise": {"hessian": [8.0, 8.0]}}, "sgd": {"learning_rate": 0.6}}),
    (["stationary", "--equation", "other"], {}),
    (["stationary", "-o", "law.h5"], FIVE),
    (["stationary", "-o", "law.h5"], {"landscape": {"noise": None}}),
    (["spectrum"], VALUES),
    (["spectrum", "--count", "0"], {}),
    (["modes"], VALUES),
    (["modes", "--horizon", "-1"], {}),
    (["phase"], VALUES),
    (["phase", "--x", "temperature:1:2:3"], {}),
    (["phase", "--mode", "7"], {}),
    (["phase"], {"landscape": {"additive": {"laws": ["t(1.5)"]}, "noise": None}}),
    (["phase"], {"sgd": {"momentum": 0.5, "nesterov": True}}),
    (["compare"], {}),
    (["plot"], {}),
    (["rerun"], {}),
    (["sweep", "-o", "cube.h5"], {}),
    *(
        (["solve", "-o", "run.h5"], changes)
        for changes in (
            {"equation": {"kind": "modified_langevin", "positive": True, "matched": False}},
            {"equation": {"kind": "langevin", "per_step": True}, **VALUES},
            {"equation": {"kind": "fokker_planck"}},
            {"equation": {"solver": {"kind": "finite_volume"}}},
            {"equation": {"solver": {"kind": "hermite"}}, "initial": POINT | {"mean": None, "covariance": None}},
            {"equation": {"solver": {"kind": "monte_carlo"}}},
            {"equation": {"solver": {"kind": "moment_recursion", "highest": 4}}, **FIVE},
            {"equation": {"solver": {"kind": "fourier"}}, **FIVE},
            {"equation": {"kind": "discrete_fokker_planck", "solver": WALK}},
            {"sgd": {"replace": False}},
            {"sgd": {"nesterov": True}},
            {"sgd": {"momentum": 0.5, "temperature": 0.1}},
            {"sgd": {"learning_rate": [0.1, 0.2]}},
            {"sgd": {"learning_rate": -1.0}},
            {"sgd": {"preconditioner": [1.0, -1.0]}},
            {"landscape": {"hessian": [[1.0, 0.5], [0.2, 1.0]]}},
            {"grid": {"lower": [-1.0], "upper": [1.0], "cells": [10]}},
            {"grid": {"lower": [-1.0, -1.0], "upper": [1.0, 1.0], "cells": [4, 4]}, "equation": {"tolerance": 1e-4}},
            {"directions": [[1.0], [1.0]], "equation": {"solver": {"kind": "hermite"}}},
            {"initial": {"covariance": 0.0}},
        )
    ),
]  # fmt: skip


def changed(table, changes):
    """Return a table with entries changed, and those left out that are None."""
    merged = {
        key: changed(table[key], value) if isinstance(value, dict) and isinstance(table.get(key), dict) else value
        for key, value in changes.items()
    }
    return {key: value for key, value in {**table, **merged}.items() if value is not None}


@pytest.mark.parametrize("case", range(len(WRONG)))
def test_no_command_answers_a_file_in_python(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (command, *options), changes = WRONG[case]
    whole = changed(tomllib.loads(START), changes)
    Path("problem.toml").write_bytes(tomli_w.dumps(whole | {"equation": [whole["equation"]]}).encode())
    result = CliRunner().invoke(app, [command, "problem.toml", *options])
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ") and not PYTHON.search(result.stderr), result.stderr


def test_that_check_knows_python():
    """The control: what errors say to scripts."""
    for said in ("use dfp.Langevin(sgd)", "a dfp.Gaussian.", "give grid=...", "replace=False: no", "n=100_000"):
        assert PYTHON.search(said) and not PYTHON.search(in_a_file(said.replace("n=100", "trajectories=100")))


def test_moments_that_are_not_exact_are_marked(tmp_path, monkeypatch):
    """Where second moments grow without bound those on a grid lack what is far out, and looked like any others."""
    monkeypatch.chdir(tmp_path)
    for share, marked in ((2.0, True), (0.1, False)):
        one = {"hessian": [1.0], "noise": {"gradient": [1.0], "hessian": [share]}}
        changes = {"steps": 60, "landscape": one, "sgd": {"learning_rate": 0.8}, "initial": {"mean": [1.0]}}
        whole = changed(tomllib.loads(START), changes)
        Path("problem.toml").write_bytes(tomli_w.dumps(whole | {"equation": [whole["equation"]]}).encode())
        told = CliRunner().invoke(app, ["solve", "problem.toml", "-o", "run.h5", "--force"]).output
        assert ("]]  ! not the exact one, see below" in told) is marked, told
        problem = load(Path("problem.toml")).build()
        exact = dfp.moments(problem.tasks[0].equation, problem.initial, 60, [60]).covariance.item()
        assert (f"the variance of all is {exact:.4g} at step 60: look at quantiles, or at kind" in told) is marked
        assert not PYTHON.search(told)


@pytest.mark.parametrize("name", ASKED)
def test_errors_of_commands_name_no_python(name, tmp_path):
    kind, second, momentum, (command, *options) = ASKED[name]
    file = tmp_path / "problem.toml"
    file.write_text(FLAT.format(kind=kind, second=second, momentum=momentum), encoding="utf-8")
    result = CliRunner().invoke(app, [command, str(file), *options])
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert not re.search(r"dfp\.[A-Z]\w*\(|=\d+_\d+|splitting=True", result.stderr), result.stderr


def test_rare_exits_are_split_from_a_file(tmp_path):
    file = tmp_path / "problem.toml"
    file.write_text(FLAT.format(kind="master", second=1.0, momentum=0.0), encoding="utf-8")
    box = ["exit", str(file), "--lower=-1.1,-1.1", "--upper=1.1,1.1", "--steps", "200", "--trajectories", "2000"]
    plain, split = (CliRunner().invoke(app, [*box, *more]) for more in ([], ["--splitting"]))
    assert plain.exit_code == split.exit_code == 0, split.output
    assert "or give --splitting" in plain.output and "too many to tell" in plain.output
    assert (
        "exit from −1.1 < θ₁ < 1.1, −1.1 < θ₂ < 1.1 after " in split.output and "too many to tell" not in split.output
    )


def test_a_file_of_a_sweep_is_no_problem_of_its_own(tmp_path):
    file = tmp_path / "sweep.toml"
    text = FLAT.format(kind="master", second=1.0, momentum=0.0) + '\n[sweep]\n"sgd.learning_rate" = [0.1, 0.2]\n'
    file.write_text(text, encoding="utf-8")
    result = CliRunner().invoke(app, ["stationary", str(file)])
    assert result.exit_code == 2 and "dfp sweep FILE varies" in result.stderr and "did you mean" not in result.stderr
