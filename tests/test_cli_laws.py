"""Commands of laws and modes, with no more of a configuration than they need."""

import csv
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import dfp
from dfp.cli.commands import app
from dfp.config.config import load

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
MOVING = """[landscape]
kind = "quadratic"
hessian = [1.0, 0.1]
noise.gradient = [1.0, 0.5]

[sgd]
learning_rate = 0.1
"""


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_modes_need_landscape_and_sgd_alone(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    (tmp_path / "moving.toml").write_text(MOVING, encoding="utf-8")
    result = invoke("modes", tmp_path / "moving.toml", "--table", tmp_path / "modes.csv")
    assert result.exit_code == 0, result.output
    with (tmp_path / "modes.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    # (T12): V = ηD / (2λ − ηλ²)
    wanted = [0.1 * 0.5 / (0.2 - 0.001), 0.1 / (2 - 0.1)]
    np.testing.assert_allclose([float(row["stationary_variance"]) for row in rows], wanted, rtol=1e-12)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("learning_rate = 0.1", "learning_rat = 0.1", "learning_rate"),
        ("[1.0, 0.5]", "[1.0, 0.5, 2.0]", "landscape"),
        ("[sgd]", "[sdg]", "sgd"),
    ],
)
def test_what_is_wrong_is_named(old, new, message, tmp_path):
    (tmp_path / "moving.toml").write_text(MOVING.replace(old, new), encoding="utf-8")
    result = invoke("modes", tmp_path / "moving.toml")
    assert result.exit_code == 2 and message in result.output


def test_stationary_prints_and_keeps_the_law(tmp_path):
    result = invoke("stationary", EXAMPLES / "one_mode.toml", "-o", tmp_path / "law.h5", *named())
    assert result.exit_code == 0, result.output
    law = dfp.load(tmp_path / "law.h5")
    wanted = dfp.stationary(chosen().equation)
    np.testing.assert_array_equal(law.values, wanted.values)
    assert "covariance" in result.output
    again = invoke("stationary", EXAMPLES / "one_mode.toml", "-o", tmp_path / "law.h5", *named())
    assert again.exit_code == 2 and "exists already" in again.output


def test_spectrum_prints_the_table():
    result = invoke("spectrum", EXAMPLES / "one_mode.toml", "--count", "3", *named())
    assert result.exit_code == 0, result.output
    assert str(dfp.spectrum(chosen().equation, 3)) in result.output


def chosen():
    return load(EXAMPLES / "one_mode.toml").build().tasks[0]


def named():
    return ("--equation", chosen().name)


@pytest.mark.parametrize("command", ["stationary", "spectrum", "compare", "modes"])
def test_help_has_an_example(command):
    assert f"dfp {command} " in invoke(command, "--help").output
