"""Names of parameters of modes, in tables, files of tables and figures, and of losses and nonlinear landscapes."""

import csv

import numpy as np
import pytest
from matplotlib import pyplot
from test_cli_laws import invoke

import dfp

TEXT = """[landscape]
kind = "quadratic"
hessian = [[1.0, 0.5], [0.5, 2.0]]
parameters = ["age", "dose"]
[landscape.noise]
gradient = [1.0, 0.5]
[sgd]
learning_rate = 0.1
"""
SAID = [("age", "0.92 age − 0.38 dose"), ("dose", "0.92 dose + 0.38 age")]


def modes(names=("age", "dose"), **options):
    noise = dfp.GaussianNoise([1.0, 0.5])
    landscape = dfp.QuadraticLandscape([[1.0, 0.5], [0.5, 2.0]], noise=noise, parameters=names)
    return dfp.modes(dfp.SGD(landscape, 0.1, **options))


def test_tables_say_what_modes_are_made_of(tmp_path):
    report = modes()
    assert [(mode.mostly, mode.rows()[0]["direction"]) for mode in report] == SAID
    (tmp_path / "modes.toml").write_text(TEXT, encoding="utf-8")
    told = invoke("modes", tmp_path / "modes.toml", "--table", tmp_path / "modes.csv")
    assert told.exit_code == 0 and SAID[0][1] in told.output
    rows = list(csv.DictReader((tmp_path / "modes.csv").read_text("utf-8").splitlines()))
    assert [(row["mostly"], row["direction"]) for row in rows] == SAID
    pytest.importorskip("pandas")
    for found in (report, report[1]):
        found.save(tmp_path / "modes.h5")
        for one in (found, dfp.load(tmp_path / "modes.h5")):
            frame = one.to_dataframe()
            assert list(zip(frame["mostly"], frame["direction"], strict=True)) == SAID[-len(frame) :]
        (tmp_path / "modes.h5").unlink()


def test_modes_without_names_say_nothing_of_them():
    report = modes(None)
    assert not {"mostly", "direction"} & set(report.rows()[0])
    assert [mode.mostly for mode in report] == ["theta_1", "theta_2"]
    turned = modes(preconditioner=[4.0, 1.0])  # modes of u, which is of no parameter alone
    assert [mode.mostly for mode in turned] == ["u_2", "u_1"]


@pytest.mark.parametrize("count", [2, 8])
def test_figures_say_what_modes_are_made_of(count):
    names = [f"a_{i} $" for i in range(count)]
    noise = dfp.GaussianNoise(np.ones(count))
    landscape = dfp.QuadraticLandscape(1.0 + np.arange(count), noise=noise, parameters=names)
    report = dfp.modes(dfp.SGD(landscape, 0.1))
    figure = report.plot()
    legend = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert legend == [f"λ\u00a0=\u00a0{i + 1}, mostly a_{i} \\$" for i in range(count)]
    assert len(figure.axes) == 2  # no bar of colours
    (one,) = report[1].plot().axes[1].get_legend().get_texts()
    assert one.get_text() == legend[1]
    pyplot.close("all")


def losses(theta, data):
    return np.sum((data - theta) ** 2 * [1.0, 2.0], axis=1) / 2


def test_names_of_losses_and_nonlinear_landscapes_reach_what_is_found(tmp_path):
    data, names = np.random.default_rng(0).normal(size=(20, 2)), ("age", "dose")
    well = dfp.Landscape(lambda t: t, np.eye(2), dimension=2, parameters=names)
    lossy = dfp.Landscape.from_loss(losses, data, batch_size=4, dimension=2, parameters=names)
    bowl = dfp.QuadraticLandscape.from_loss(losses, data, batch_size=4, at=[0.0, 0.0], parameters=names)
    for landscape in (well, lossy, bowl, lossy.expanded([0.0, 0.0]), well.expanded([0.0, 0.0])):
        assert dfp.SGD(landscape, 0.2, weight_decay=0.1).landscape.parameters == names
    for landscape in (well, bowl):
        found = dfp.solve(dfp.MasterEquation(dfp.SGD(landscape, 0.3)), dfp.Gaussian([0.0, 0.0], 0.1), 2)
        found.save(tmp_path / "run.h5")
        assert found.parameters == dfp.load(tmp_path / "run.h5").parameters == names
    assert dfp.rerun(tmp_path / "run.h5").parameters == names
    assert well == dfp.Landscape(well.gradient, np.eye(2), dimension=2, hessian=well.hessian)  # labels are no numbers
    for wrong in (["age"], ["age", "age"], ["", "dose"]):
        with pytest.raises(dfp.DFPError, match="parameters"):
            dfp.Landscape(lambda t: t, np.eye(2), dimension=2, parameters=wrong)
