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


@pytest.mark.parametrize(("command", "options"), [
    ("stationary", []), ("spectrum", []), ("exit", ["--lower", "-0.3", "--upper", "0.7", "--steps", "20"]),
    ("phase", ["--x", "learning_rate:0.1:1:3", "--y", "curvature_noise:0.1:1:2"]), ("modes", []),
], ids=str)  # fmt: skip
def test_what_a_command_finds_is_kept_drawn_and_made_again(command, options, tmp_path):
    which = () if command in ("phase", "modes") else named()
    asked = (command, EXAMPLES / "one_mode.toml", *options, *which, "-o", tmp_path / "found.h5")
    assert "found.h5" in invoke(*asked).output.splitlines()[-1]
    assert invoke("plot", tmp_path / "found.h5").exit_code == 0
    again = invoke("rerun", tmp_path / "found.h5")
    assert again.exit_code == 0 and "same bits    yes" in again.output
    refused = invoke(*asked)
    assert refused.exit_code == 2 and "exists already" in refused.output


def chosen():
    return load(EXAMPLES / "one_mode.toml").build().tasks[0]


def named():
    return ("--equation", chosen().name)


EQUATION = '\n[[equation]]\nkind = "langevin"\nnoise = "state"\n'
START = '\n[initial]\nkind = "gaussian"\nmean = [0.1, 0.0]\ncovariance = 0.01\n'


@pytest.mark.parametrize(
    ("command", "options", "needs"),
    [
        ("modes", (), ""),
        ("modes", (), START),
        ("phase", (), EQUATION),
        ("stationary", (), EQUATION),
        ("spectrum", ("--count", "2"), EQUATION),
        ("exit", ("--lower", "-1,-3", "--upper", "1,3", "--steps", "30"), START + EQUATION),
    ],
)
def test_a_command_needs_what_it_uses_alone(command, options, needs, tmp_path):
    """And says so where it is missing."""
    (tmp_path / "part.toml").write_text(MOVING + needs, encoding="utf-8")
    result = invoke(command, tmp_path / "part.toml", *options)
    assert result.exit_code == 0, result.output
    for table, name in ((EQUATION, "equation"), (START, "initial")):
        if table in needs and command not in ("modes", "phase"):
            (tmp_path / "less.toml").write_text(MOVING + needs.replace(table, ""), encoding="utf-8")
            less = invoke(command, tmp_path / "less.toml", *options)
            assert less.exit_code == 2 and f"{name}: is missing; add the table [" in less.output


@pytest.mark.parametrize("command", ["stationary", "spectrum", "compare", "modes"])
def test_help_has_an_example(command):
    assert f"dfp {command} " in invoke(command, "--help").output


def test_exit_prints_the_law_of_the_box(tmp_path):
    result = invoke(
        "exit", EXAMPLES / "one_mode.toml", "--lower", "-0.3", "--upper", "0.7", "-o", tmp_path / "x.h5", *named()
    )
    assert result.exit_code == 0, result.output
    problem = load(EXAMPLES / "one_mode.toml").build()
    law = dfp.exit_steps(chosen().equation, (-0.3, 0.7), problem.initial)
    assert str(law) in result.output
    assert dfp.load(tmp_path / "x.h5").mean == law.mean
    wider = invoke("exit", EXAMPLES / "one_mode.toml", "--lower", "-0.3", "--upper", "0.8", *named())
    assert wider.exit_code == 0 and str(law) not in wider.output  # control
    for arguments in (("--lower", "-1"), ("--lower", "a", "--upper", "1")):
        assert invoke("exit", EXAMPLES / "one_mode.toml", *arguments, *named()).exit_code == 2


def test_phase_prints_counts_and_writes_table_and_figure(tmp_path):
    (tmp_path / "moving.toml").write_text(MOVING, encoding="utf-8")
    files = "--table", tmp_path / "phase.csv", "--figure", tmp_path / "phase.png"
    axes = "--x", "learning_rate:0.1:40:9", "--y", "curvature_noise:0.01:1:5"
    result = invoke("phase", tmp_path / "moving.toml", *axes, *files)
    assert result.exit_code == 0, result.output
    rates, noises = np.geomspace(0.1, 40, 9), np.geomspace(0.01, 1, 5)
    wanted = dfp.phase_diagram({"learning_rate": rates}, {"curvature_noise": noises}, curvature=0.1, gradient_noise=0.5)
    with (tmp_path / "phase.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["regime"] for row in rows] == wanted.regime.ravel().tolist()
    assert len({row["regime"] for row in rows}) > 1
    assert (tmp_path / "phase.png").read_bytes().startswith(b"\x89PNG")
    assert sum(int(line.split()[-1]) for line in result.output.splitlines()[3:-2]) == 45
    other = invoke("phase", tmp_path / "moving.toml", *axes, "--mode", "1")
    assert other.exit_code == 0 and other.output.splitlines()[0] != result.output.splitlines()[0]  # control
    for wrong in (
        ("--mode", "2"),
        ("--x", "learning_rate:1:2"),
        ("--x", "learning_rate:2:1:5"),
        ("--x", "speed:1:2:5"),
    ):
        assert invoke("phase", tmp_path / "moving.toml", *wrong).exit_code == 2


SAMPLES = """[landscape]
kind = "regression"
csv = "data.csv"
features = ["a", "b"]
target = "y"
batch_size = 8
[sgd]
learning_rate = 0.1
"""


def samples(tmp_path, sgd=""):
    rng = np.random.default_rng(1)
    rows = ["a,b,y", *(",".join(map(repr, row)) for row in rng.normal(size=(40, 3)).tolist())]
    (tmp_path / "data.csv").write_text("\n".join(rows), encoding="utf-8")
    (tmp_path / "samples.toml").write_text(SAMPLES + sgd, encoding="utf-8")
    return tmp_path / "samples.toml"


def test_a_phase_diagram_is_of_the_noise_of_a_sample(tmp_path):
    """At every place the numbers of the mode of the library, at that learning rate and batch size."""
    path = samples(tmp_path)
    axes = ("--x", "learning_rate:0.01:0.5:3", "--y", "batch_size:1:64:4")
    told = invoke("phase", path, *axes, "-o", tmp_path / "map.h5")
    assert told.exit_code == 0 and "noise is that of one sample" in told.output
    found, sgd = dfp.load(tmp_path / "map.h5"), load(path, partial=True).build().sgd
    assert found.y.tolist() == [1, 4, 16, 64]
    for i, rate in enumerate(found.x):
        for j, size in enumerate(found.y):
            mode = dfp.modes(sgd.changed(learning_rate=float(rate), batch_size=int(size)))[0]
            for name in ("growth", "stationary_variance", "langevin_stationary_variance"):
                # sums of 40 samples, in another order
                assert found.values[name][i, j] == pytest.approx(getattr(mode, name), rel=1e-10), (name, rate, size)
    fixed = invoke("phase", path, "--x", "learning_rate:0.01:0.5:3", "--y", "momentum:0.1:0.9:2").output.splitlines()[0]
    (mode, *_), numbers = dfp.modes(sgd), dict(one.split("=") for one in fixed.split(", "))
    assert numbers["batch_size"] == "8"
    assert float(numbers["curvature_noise"]) == pytest.approx(8 * mode.curvature_noise, rel=1e-4)  # five digits
    assert float(numbers["gradient_noise"]) == pytest.approx(8 * mode.critical_noise, rel=1e-4)


def test_a_phase_diagram_says_what_it_does_not_know(tmp_path):
    (tmp_path / "step.toml").write_text(MOVING, encoding="utf-8")
    axes = ("--x", "learning_rate:0.01:4:3", "--y", "curvature_noise:0.01:4:2")
    assert "noise is that of one step" in invoke("phase", tmp_path / "step.toml", *axes).output
    refused = invoke("phase", tmp_path / "step.toml", "--x", "batch_size:1:4:2")
    assert refused.exit_code == 2 and "the noise of one sample is not known" in refused.output
    (tmp_path / "sized.toml").write_text(MOVING + "batch_size = 4\n", encoding="utf-8")  # control
    assert "noise is that of one sample" in invoke("phase", tmp_path / "sized.toml", "--x", "batch_size:1:4:2").output
    for sgd, cause in (("replace = false\n", "replace=false"), ("temperature = 0.1\n", "temperature=0.1")):
        refused = invoke("phase", samples(tmp_path, sgd), *axes)
        assert refused.exit_code == 2 and cause in refused.output


def test_files_of_modes_say_of_what_their_noise_is(tmp_path):
    told = invoke("modes", samples(tmp_path), "-o", tmp_path / "modes.h5").output
    assert "Γ and D are those of a step, which averages 8 samples" in told
    (tmp_path / "step.toml").write_text(MOVING, encoding="utf-8")
    assert "averages" not in invoke("modes", tmp_path / "step.toml").output  # control
    modes = dfp.load(tmp_path / "modes.h5").to_xarray()
    assert modes["curvature_noise"].attrs["long_name"] == "curvature noise Γ of a step"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--lower -1 -1 --upper 1,1", "--lower -1 -1: several numbers are one word, with commas between and no spaces; "
         "write --lower=-1,-1."),
        ("--lower -1,-1 --upper 1 1", "write --upper=1,1."),
        ("--lower -1, -3 --upper 1,3", "write --lower=-1,-3."),
        ("--lower=-1 -3 --upper 1,3", "write --lower=-1,-3."),
        ("--lower=-1 --upper 1,3", "one number for each of the 2 parameters; write e.g. --lower=-1,-1."),
        ("--lower -1,-3 --upper 1,3 --lower 0,0", "--lower: is given twice"),
        ("--lower -1,-3 --upper 1,3 --steps 3 --steps=4", "--steps: is given twice"),
        ("--lower -1,-3 --upper 1,3 -o a.h5 -ob.h5", "-o: is given twice"),
    ],
)  # fmt: skip
def test_numbers_apart_and_options_given_twice_are_refused(words, message, tmp_path):
    (tmp_path / "part.toml").write_text(MOVING + START + EQUATION, encoding="utf-8")
    result = invoke("exit", tmp_path / "part.toml", *words.split(" "))
    assert result.exit_code == 2 and message in result.output
    known = "--lower -1,-3 --upper=1,3 --steps 3 --force --force"  # control
    assert invoke("exit", tmp_path / "part.toml", *known.split(" ")).exit_code == 0
    assert "--out: is given twice" in invoke("networks", "run", "vision", "--out", "a", "--out", "b").output


TABLES = {
    "solve": ("one_mode.toml", ["-o", "run.h5"], "step"),
    "compare": ("compare.toml", ["-o", "run.h5"], "name"),
    "modes": ("one_mode.toml", ["-o", "run.h5"], "curvature"),
    "stationary": ("one_mode.toml", ["-o", "run.h5"], "theta_1"),
    "spectrum": ("one_mode.toml", ["-o", "run.h5"], "place"),
    "exit": ("one_mode.toml", ["--lower=-0.3", "--upper=0.7", "-o", "run.h5"], "step"),
    "phase": ("one_mode.toml", ["--x", "learning_rate:0.1:1:3", "--y", "curvature_noise:0.1:1:2", "-o", "run.h5"],
              "learning_rate"),
    "sweep": ("map.toml", ["-o", "run.h5"], "learning_rate"),
}  # fmt: skip


@pytest.mark.parametrize("command", TABLES)
def test_every_command_with_a_result_writes_its_table_and_so_does_its_file(command, tmp_path, monkeypatch):
    """At once and from the file the same bytes, all digits of the data frame; a table that is there is left alone."""
    pandas = pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    text = (EXAMPLES / "one_mode.toml").read_text(encoding="utf-8")
    Path("map.toml").write_text(text + '\n[sweep]\n"sgd.learning_rate" = [0.1, 0.2, 3.0]\n', encoding="utf-8")
    file, options, first = TABLES[command]
    file = file if Path(file).exists() else EXAMPLES / file
    result = invoke(command, file, *options, "--table", "at_once.csv")
    assert result.exit_code == 0 and "written to at_once.csv" in result.output, result.output
    written = Path("at_once.csv").read_bytes()
    with Path("at_once.csv").open(encoding="utf-8", newline="") as stream:
        names, *rows = csv.reader(stream)
    assert names[0] == first and len(rows)
    kept = dfp.load("run.h5") if command != "compare" else None
    if kept is not None:
        frame = kept.to_dataframe()
        assert names == list(frame.columns)
        assert rows == [["" if cell is None else str(cell) for cell in row] for row in frame.to_dict("split")["data"]]
        assert invoke("table", "run.h5").exit_code == 0
        assert Path("run.csv").read_bytes() == written
    else:  # the file has the solutions, each a row a step
        assert invoke("table", "run.h5").exit_code == 0
        assert pandas.read_csv("run.csv").columns[:2].tolist() == ["solution", "step"]
    refused = invoke("table", "run.h5", "-o", "at_once.csv")
    assert refused.exit_code == 2 and "exists already" in refused.output
    assert Path("at_once.csv").read_bytes() == written
