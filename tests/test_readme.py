"""The README's Python and its commands run as printed."""

import re
import tomllib
from pathlib import Path

from typer.testing import CliRunner

from dfp.cli.commands import app

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_python_examples_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    codes = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(codes) == 2
    for code in codes:
        exec(compile(code, "README.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "distance from: SGD" in printed and str(names["dfp"].modes(names["sgd"])) in printed
    assert (tmp_path / "run.h5").exists()


def test_commands_run_without_a_warning(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    commands = [line.split() for line in re.findall(r"^dfp (.*docs/examples.*|plot .*)$", TEXT, re.MULTILINE)]
    assert {command[0] for command in commands} >= {"solve", "plot", "compare", "modes", "exit", "phase"}
    for command in commands:
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        assert command[0] != "solve" or "certificate: pass" in result.output, result.output


def test_extras_are_named():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert not [extra for extra in project["optional-dependencies"] if f"`{extra}`" not in TEXT]


def test_named_commands_and_files_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", TEXT, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for name in re.findall(r"docs/examples/\w+\.toml|\w+\.md", TEXT):
        assert (ROOT / name).exists(), name
