"""Measurements, predictions, diffusions and runs are first-class results: kept, labelled, drawn and tabled."""

from dataclasses import fields, is_dataclass

import numpy as np
import pytest
from matplotlib import pyplot
from networks_models import problem
from test_labels import labels
from texts_drawn import cut, overlapping

import dfp


@pytest.fixture(scope="module")
def results():
    made = problem()
    measured = dfp.networks.measure(made, 4)
    arrays = dfp.networks.Problem.from_arrays(made.gradients(), _hessians(made), checkpoint=made.checkpoint)
    options = {"batch_size": 4, "runs": 8, "steps": 6, "save": [0, 3, 6]}
    runs = dfp.networks.trajectories(made, 0.02, **options)
    slow = [dfp.networks.trajectories(made, rate, **options) for rate in (1e-4, 2e-4)]
    return {
        "measurement": measured,
        "measurement of arrays": dfp.networks.measure(arrays, 4),
        "predictions": dfp.networks.predict(measured, 0.02, 4, 6, [0, 3, 6]),
        "predictions without a closure": dfp.networks.predict(measured, 0.02, 4, 6, only=["table", "authors"]),
        "diffusion": dfp.networks.diffusion(measured, slow),
        "runs": runs,
        "report": dfp.networks.report(measured, runs, only=["table"]),
    }


def _hessians(made):
    return np.concatenate(list(made.sample_products(np.eye(made.dimension))))


NAMES = ["measurement", "measurement of arrays", "predictions", "predictions without a closure", "diffusion", "runs",
         "report"]  # fmt: skip


def same(before, after, path=""):
    """Assert that all fields have the same type and bits, but the source of a measurement, which no file holds."""
    if is_dataclass(before):
        assert type(before) is type(after)
        for field in fields(before):
            if field.name != "source":
                same(getattr(before, field.name), getattr(after, field.name), f"{path}.{field.name}")
    elif isinstance(before, dict):
        assert before.keys() == after.keys(), path
        for name, value in before.items():
            same(value, after[name], f"{path}.{name}")
    elif isinstance(before, np.ndarray):
        assert before.dtype == after.dtype and before.tobytes() == after.tobytes(), path
    elif isinstance(before, tuple):
        assert type(before) is type(after) and len(before) == len(after), path
        for i, (one, other) in enumerate(zip(before, after, strict=True)):
            same(one, other, f"{path}.{i}")
    else:
        assert type(before) is type(after) and (before == after or before != before), path


@pytest.mark.parametrize("name", NAMES)
def test_files_give_back_every_bit_and_open_in_xarray(name, results, tmp_path):
    xarray, path = pytest.importorskip("xarray"), tmp_path / "result.h5"
    results[name].save(path)
    found = dfp.load(path)
    same(results[name], found)
    for engine in ("h5netcdf", "netcdf4"):
        with xarray.open_dataset(path, engine=engine, decode_times=False) as opened:
            xarray.testing.assert_equal(opened.load(), found.to_xarray())
            assert all(opened[one].attrs["units"] for one in opened.data_vars)
    with pytest.raises(dfp.DFPError, match=r"dfp\.networks\."):
        dfp.rerun(path)


def test_a_bit_that_differs_is_noticed(results):
    """Negative control."""
    one = results["diffusion"]
    with pytest.raises(AssertionError, match="slopes"):
        same(one, type(one)(**{**vars(one), "slopes": one.slopes * (1 + 1e-15)}))


@pytest.mark.parametrize("name", NAMES)
def test_they_show_draw_and_table_themselves(name, results):
    pytest.importorskip("pandas")
    found = results[name]
    assert len(repr(found)) < 200 and "\n" not in repr(found) and found._repr_html_().startswith("<pre>")
    frame = found.to_dataframe()
    k = 2 if name == "diffusion" else len(results["measurement"].curvatures)
    steps = len(found.steps) if hasattr(found, "steps") else 1
    rows = {"runs": k * steps, "predictions": k * steps * 7, "predictions without a closure": k * steps * 2}
    assert len(frame) == rows.get(name, k)
    _, ax = pyplot.subplots()
    assert found.plot(ax=ax, title="Own", style="paper") is ax.figure and ax.get_title() == "Own" and ax.has_data()
    assert {ax.get_xlabel(), ax.get_ylabel()} <= labels()
    pyplot.close("all")


def test_tables_have_the_numbers_of_their_rows(results):
    pytest.importorskip("pandas")
    runs, predicted = results["runs"], results["predictions"]
    row = runs.to_dataframe().query("step == 3 and direction == 2").iloc[0]
    assert row["mean"] == runs.mean[1, 1] and row["variance_error"] == runs.variance_error[1, 1]
    row = predicted.to_dataframe().query("predictor == 'table' and step == 6 and direction == 2").iloc[0]
    assert row["variance"] == predicted.moments["table"].variance[2, 1]
    assert runs.plot(steps=[0, 6]).axes and runs.at([3]).positions.shape[0] == 1
    with pytest.raises(dfp.DFPError, match="were not saved"):
        runs.at([4])
    with pytest.raises(dfp.DFPError, match="no saved steps"):
        predicted.plot(steps=[3])
    pyplot.close("all")


@pytest.mark.parametrize("width", [3.3, 7.0])
def test_figures_are_as_wide_as_a_column_or_a_page(width, results):
    drawn = {name: results[name].plot for name in NAMES}
    for one in ("spectrum", "scatter", "density"):
        drawn[one] = lambda one=one, **options: results["report"].plot(one, **options)
    for name, draw in drawn.items():
        figure = draw(width=width)
        assert figure.get_figwidth() == width and (cut(figure), overlapping(figure)) == ([], []), name
        pyplot.close("all")
