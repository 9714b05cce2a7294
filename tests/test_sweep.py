"""``dfp.sweep``: the same bits on every executor, also when workers die; files that grow and go on."""

import functools
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
from typer.testing import CliRunner

import dfp
from dfp.cli import commands
from dfp.cli.commands import app
from tests import sweeps

AXES = {"learning_rate": np.linspace(0.05, 1.0, 20), "curvature": np.linspace(0.5, 1.4, 10)}


def same(one, two):
    return one.values.keys() == two.values.keys() and all(
        one[name].tobytes() == two[name].tobytes() for name in one.values
    )


@pytest.fixture(scope="module")
def serial():
    return dfp.sweep(sweeps.variance, AXES, quiet=True)


def test_values_lie_on_the_axes(serial):
    assert serial["exact"].shape == (20, 10)
    assert serial["exact"][3, 4] == sweeps.variance(AXES["learning_rate"][3], AXES["curvature"][4])["exact"]
    found = dfp.sweep(sweeps.array, {"x": [0.5, 1.5], "n": [1, 2, 3]}, quiet=True)
    assert found["value"].shape == (2, 3, 3)
    assert found["value"][1, 2].tolist() == [3.0, 4.5, 6.0]
    labelled = found.to_xarray()
    assert labelled["value"].dims[:2] == ("x", "n")
    assert labelled["value"].sel(x=1.5, n=3).values.tolist() == [3.0, 4.5, 6.0]


def test_threads_give_the_bits_of_a_serial_run(serial):
    with ThreadPoolExecutor(3) as pool:
        assert same(dfp.sweep(sweeps.variance, AXES, pool, quiet=True), serial)


def test_a_killed_process_costs_no_result(serial, tmp_path, monkeypatch):
    monkeypatch.setenv("DFP_TEST_MAIN", str(os.getpid()))
    function = functools.partial(sweeps.fatal, flag=str(tmp_path / "killed"))
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = dfp.sweep(function, AXES, pool, quiet=True)
    assert (tmp_path / "killed").exists()
    assert same(found, serial)


def test_a_killed_dask_worker_costs_no_result(serial, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed", reason="the extra dfp[dask] is not installed")
    monkeypatch.setenv("DFP_TEST_MAIN", str(os.getpid()))
    monkeypatch.chdir(tmp_path)
    function = functools.partial(sweeps.fatal, flag=str(tmp_path / "killed"))
    with (
        distributed.LocalCluster(
            n_workers=4, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        found = dfp.sweep(function, AXES, client, quiet=True)
    assert (tmp_path / "killed").exists()
    assert same(found, serial)


def test_retries_are_bounded_and_what_is_finished_stays(tmp_path):
    """Negative control: workers that always die end the sweep, and the file holds what was there."""
    path = tmp_path / "cube.h5"
    with (
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool,
        pytest.raises(dfp.DFPError, match="workers died 2 times"),
    ):
        dfp.sweep(sweeps.always_fatal, {"learning_rate": [0.1, 0.1, 0.3]}, pool, save=path, retries=1, quiet=True)
    assert dfp.load_sweep(path).finished.tolist() == [True, True, False]


def test_an_interrupted_sweep_goes_on_where_it_was(serial, tmp_path):
    path, calls = tmp_path / "cube.h5", []

    @functools.wraps(sweeps.variance)
    def watched(**point):
        calls.append(point)
        if len(calls) == 70:
            raise KeyboardInterrupt
        return sweeps.variance(**point)

    with pytest.raises(KeyboardInterrupt):
        dfp.sweep(watched, AXES, save=path, quiet=True)
    before = int(dfp.load_sweep(path).finished.sum())
    assert 0 < before < 70
    calls[:] = [None] * 100
    found = dfp.sweep(watched, AXES, save=path, quiet=True)
    assert len(calls) - 100 == 200 - before
    assert same(found, serial)
    assert same(dfp.load_sweep(path), serial)
    calls.clear()
    assert same(dfp.sweep(watched, AXES, save=path, quiet=True), serial)
    assert not calls
    with pytest.raises(dfp.DFPError, match="another function"):
        dfp.sweep(sweeps.array, AXES, save=path, quiet=True)


def test_members_without_an_answer_say_why():
    found = dfp.sweep(sweeps.variance, {"learning_rate": [0.1, 3.0], "curvature": [1.0]}, quiet=True)
    assert np.isfinite(found["exact"][0, 0])
    assert np.isnan(found["exact"][1, 0]) == (1 in found.failures)
    assert found.failures or np.isinf(found["exact"][1, 0])


def test_the_cost_is_told_before(capsys):
    dfp.sweep(sweeps.variance, {"learning_rate": [0.1, 0.2], "curvature": [1.0]})
    told = capsys.readouterr().err
    assert "2 of 2 members" in told and "s of work" in told and "bytes" in told


def test_figures_have_labels(serial):
    figure = serial.plot("exact")
    assert "learning rate" in figure.axes[0].get_xlabel() and "curvature" in figure.axes[0].get_ylabel()
    with pytest.raises(dfp.DFPError, match="which"):
        serial.plot()


def test_what_is_no_sweep_is_refused():
    for axes in ({}, [1], {"a b": [1]}, {"x": [np.nan]}, {"x": []}):
        with pytest.raises(dfp.DFPError, match="axes"):
            dfp.sweep(sweeps.array, axes)
    with pytest.raises(dfp.DFPError, match="function"):
        dfp.sweep(3, AXES)
    with pytest.raises(dfp.DFPError, match="executor"):
        dfp.sweep(sweeps.variance, AXES, executor=3, quiet=True)
    with pytest.raises(dfp.DFPError, match="same"):
        dfp.sweep(lambda x: np.zeros(x), {"x": [1, 2]}, quiet=True)
    with pytest.raises(TypeError, match="numbers"):
        dfp.sweep(lambda x: object(), {"x": [1, 2]}, quiet=True)


CONFIGURED = """
steps = 20
[landscape]
kind = "quadratic"
hessian = [1.0]
[landscape.noise]
gradient = [1.0]
hessian = [0.5]
[sgd]
learning_rate = 0.1
[initial]
kind = "point"
theta = [0.0]
[[equation]]
kind = "master"
name = "exact"
[[equation]]
kind = "langevin"
name = "Langevin"
[sweep]
"sgd.learning_rate" = [0.1, 0.2, 0.4]
"landscape.noise.gradient" = [1.0, 2.0]
"""


def commanded(*arguments):
    return CliRunner().invoke(commands.app, ["sweep", *map(str, arguments)])


def test_the_command_makes_a_cube(tmp_path):
    file, cube = tmp_path / "map.toml", tmp_path / "map.h5"
    file.write_text(CONFIGURED, encoding="utf-8")
    done = commanded(file, "-o", cube)
    assert done.exit_code == 0, done.output
    found = dfp.load_sweep(cube)
    assert found["exact_covariance"].shape == (3, 2, 1, 1)
    wanted = dfp.stationary_moments(
        dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape([1.0], 0.0, dfp.GaussianNoise([2.0], [0.5])), 0.4))
    )
    assert found["exact_covariance"][2, 1] == wanted.covariance
    again = commanded(file, "-o", cube, "--quantity", "moments")
    assert again.exit_code == 2 and "another function" in again.stderr
    moments = commanded(file, "-o", tmp_path / "other.h5", "--quantity", "moments")
    assert moments.exit_code == 0 and dfp.load_sweep(tmp_path / "other.h5")["Langevin_mean"].shape[:2] == (3, 2)


def test_whole_numbers_stay_whole(tmp_path):
    """A batch size that arrived as 4.0 would be refused at every member."""
    file, cube = tmp_path / "map.toml", tmp_path / "map.h5"
    text = CONFIGURED.replace('"landscape.noise.gradient" = [1.0, 2.0]', '"sgd.batch_size" = [1, 4]')
    file.write_text(text.replace("[sgd]", "[sgd]\nbatch_size = 1"), encoding="utf-8")
    assert commanded(file, "-o", cube).exit_code == 0
    found = dfp.load_sweep(cube)
    noise = dfp.GaussianNoise([1.0], [0.5])
    sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], 0.0, noise), 0.2, batch_size=4)
    assert not found.failures
    assert found.plot("exact_covariance").axes[0].get_xlabel()
    assert found["exact_covariance"][1, 1] == dfp.stationary_moments(dfp.MasterEquation(sgd)).covariance


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[sweep]", "[swept]", "sweep: is missing"),
        ('"sgd.learning_rate"', '"sdg.learning_rate"', "dotted key"),
        ("[0.1, 0.2, 0.4]", '"a"', "real numbers"),
        ("[0.1, 0.2, 0.4]", "[]", "must not be empty"),
        ("steps = 20", "", "steps: is missing"),
        ("[0.1, 0.2, 0.4]", "[-0.1, 0.2]", "must be above 0"),
    ],
)
def test_wrong_tables_are_refused(tmp_path, old, new, words):
    file = tmp_path / "map.toml"
    file.write_text(CONFIGURED.replace(old, new), encoding="utf-8")
    done = commanded(file, "-o", tmp_path / "map.h5")
    assert done.exit_code == 2 and words in done.stderr
    assert not (tmp_path / "map.h5").exists()
    assert not (tmp_path / "map.h5").exists()


def test_every_number_of_a_sweep_is_drawn_by_name(tmp_path):
    """Also from the command line, entries of vectors as tables name them."""
    found = dfp.sweep(lambda x, y: {"sum": x + y, "pair": [x, y]}, {"x": [1.0, 2.0], "y": [1.0, 3.0]}, quiet=True)
    drawn = found.plot("pair_2").axes[0].collections[0].get_array().reshape(2, 2)
    assert drawn.T.tolist() == found["pair"][..., 1].tolist() == [[1.0, 3.0], [1.0, 3.0]]
    found.save(tmp_path / "cube.h5")
    for words, code, said in [
        (("--name", "pair_1"), 0, "written"),
        (("--force", "--name", "pair"), 2, "must be one of 'sum', 'pair_1', 'pair_2'"),
        (("--force",), 2, "there are 'sum', 'pair_1', 'pair_2'; say which to draw"),
    ]:
        result = CliRunner().invoke(app, ["plot", str(tmp_path / "cube.h5"), *words])
        assert result.exit_code == code and said in result.output
    with pytest.raises(dfp.DFPError, match="numbers of sweeps"):
        dfp.plot(dfp.Density.normalised(dfp.Grid(0, 1, 4), [0, 1, 1, 0]), name="x")


def test_what_failed_is_told_where_and_left_grey_with_a_word():
    def root(rate, noise):
        if rate > 2:
            raise dfp.DFPError(f"rate={rate}: is too large.")
        return rate * noise

    found = dfp.sweep(root, {"rate": [1.0, 2.0, 3.0, 4.0], "noise": [0.5, 1.0]}, quiet=True)
    assert found.failed[1] == {"rate": 3.0, "noise": 1.0, "message": "rate=3: is too large."}
    told = str(found)
    assert "! rate = 3, noise = 0.5: rate=3: is too large." in told and told.endswith("! and 1 more, in .failed")
    (legend,) = [axis.get_legend() for axis in found.plot().axes if axis.get_legend()]
    assert [text.get_text() for text in legend.get_texts()] == ["no value there"]
    whole = dfp.sweep(root, {"rate": [1.0, 2.0], "noise": [0.5, 1.0]}, quiet=True)
    assert str(whole) == repr(whole) and not any(axis.get_legend() for axis in whole.plot().axes)
