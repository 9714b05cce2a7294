"""What the command line says of remedies: what a file or an option has, for no one there writes Python."""

import ast
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import dfp
from dfp.cli.commands import app
from dfp.cli.wording import in_a_file

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
    "ask dfp.escape(sgd, start, domain) for it": "ask dfp.escape(sgd, start, domain) (in Python) for it",
    "h=0.5 must be below 2/λ (see docs).": "h=0.5 must be below 2/λ (see docs).",
}


@pytest.mark.parametrize("message", SAID)
def test_calls_are_said_as_tables_and_options(message):
    assert in_a_file(message) == SAID[message]


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
    assert "exit after " in split.output and "too many to tell" not in split.output


def test_a_file_of_a_sweep_is_no_problem_of_its_own(tmp_path):
    file = tmp_path / "sweep.toml"
    text = FLAT.format(kind="master", second=1.0, momentum=0.0) + '\n[sweep]\n"sgd.learning_rate" = [0.1, 0.2]\n'
    file.write_text(text, encoding="utf-8")
    result = CliRunner().invoke(app, ["stationary", str(file)])
    assert result.exit_code == 2 and "dfp sweep FILE varies" in result.stderr and "did you mean" not in result.stderr
