"""Every kind of result is saved, read back bit for bit by one loader, and labelled."""

import operator
import pickle
import shutil
import subprocess
from dataclasses import fields, is_dataclass, replace

import h5py
import numpy as np
import pytest
from matplotlib import pyplot
from scipy import stats
from solutions import made
from test_labels import labels

import dfp
from dfp.cli.commands import app
from dfp.config.rerun import same_bits
from dfp.results import hdf5
from dfp.results.kinds import KINDS, ROOMS, attributes, columns, kind_of
from dfp.results.schema import Column


def _results():
    sgd = dfp.SGD(dfp.QuadraticLandscape(1.0, 0.0, dfp.GaussianNoise(0.5, 0.1)), 0.1)
    master, start = dfp.MasterEquation(sgd), dfp.Gaussian(1.0, 0.1)
    well = dfp.Landscape(lambda x: x**3 - x, lambda x: np.full((len(x), 1, 1), 0.5))
    heavy = dfp.SGD(dfp.QuadraticLandscape(1.0, 0.0, dfp.GaussianNoise(0.5)), 0.1, momentum=0.5)
    bowl = dfp.QuadraticLandscape([2.0, 0.5], noise=dfp.GaussianNoise(0.3))
    features = dfp.GaussianFeatures([1.0, 0.3, 0.1], noise=0.3, batch_size=4)
    plane = dfp.Grid([-1.0, -1.0], [1.0, 1.0], (8, 12))
    return {
        "density": dfp.stationary(master),
        "density, moments": dfp.Density(plane, np.full(plane.cells, 0.25)).with_moments(np.ones(2), np.eye(2)),
        "density, plane": dfp.Density.normalised(plane, np.exp(-np.sum(plane.points**2, axis=-1))),
        "moments": dfp.moments(master, start, 5),
        "moments, momentum": dfp.moments(dfp.MasterEquation(heavy), start, 5),
        "exit steps": dfp.exit_steps(dfp.Langevin(sgd), (-1.0, 1.0), dfp.Point([0.0]), 20),
        "spectrum": dfp.spectrum(master),
        "spectrum, grid": dfp.spectrum(dfp.Langevin(dfp.SGD(well, 0.1)), 3, dfp.Grid(-3, 3, 64)),
        "solution": (solution := dfp.solve(master, start, 5)),
        "comparison": dfp.compare({"exact": solution, "T6": dfp.solve(dfp.Langevin(sgd), start, 5)}),
        "modes": dfp.modes(sgd),
        "modes, momentum": dfp.modes(heavy, horizon=10),
        "phase diagram": dfp.phase_diagram(
            {"learning_rate": [0.1, 1.0]}, {"curvature": [0.5, 1.0, 2.0]}, gradient_noise=1.0
        ),
        "sweep": dfp.sweep(_squares, {"x": [1.0, 2.0], "y": [0.5, 1.5, 2.5]}, quiet=True),
        "escape": dfp.escape(dfp.SGD(well, 0.3), [-1.0], (-2.0, 0.0)),
        "stationary moments": dfp.stationary_moments(dfp.MasterEquation(heavy)),
        "optimal schedule": dfp.optimal_schedule(features, 4, 1.0, ("learning_rate", "momentum")),
        "risk curve": dfp.risk_curve(dfp.SGD(features, 0.3), 1.0, 9),
        "loss law": dfp.loss_law(dfp.MasterEquation(dfp.SGD(bowl, 0.2)), dfp.Point([1.0, 1.0]), 5),
        "loss law, sampled": dfp.loss_law(master, start, 5, samples=1000),
        "committor": dfp.Committor(plane, np.ones(plane.cells) / 3, np.zeros(2), np.ones(2), 0.1),
        "comparison of moments": dfp.compare(
            {"exact": dfp.moments(master, start, 5), "at last": dfp.stationary_moments(master), "solved": solution}
        ),
        "mode": dfp.modes(dfp.SGD(bowl, 0.2))[1],
        "fit": dfp.fit(_walk(), 0.5),
        "fit, every other step": dfp.fit(_walk()[::2], 0.5, every=2),
        "best decay": dfp.best_decay(sgd, start, 20),
        "current": dfp.probability_current(dfp.MasterEquation(dfp.SGD(_turning(0.0), 0.4))),
        "gridded current": dfp.probability_current(dfp.Langevin(dfp.SGD(_turning(0.05), 0.2)), plane),
        "rmsprop law": dfp.RMSProp(
            dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), 0.3, 0.99
        ).stationary(),
    }


def _walk():
    """Recorded parameters of SGD on a line of two parameters."""
    rng, theta, found = np.random.default_rng(5), np.zeros(2), []
    for _ in range(200):
        theta = theta - 0.5 * (np.array([1.2, 0.4]) * theta + rng.standard_normal(2))
        found.append(theta)
    return np.array(found)


def _turning(curvature_noise):
    """Noise along other axes than those of the Hessian, which makes a current turn."""
    return dfp.QuadraticLandscape([1.0, 0.4], noise=dfp.GaussianNoise([[0.5, 0.3], [0.3, 0.3]], [curvature_noise] * 2))


def _squares(x, y):
    return {"sum": x + y, "pair": [x**2, y**2]}


RESULTS = _results()


@pytest.mark.parametrize("name", RESULTS)
def test_round_trip_is_bit_exact(name, tmp_path):
    result, path = RESULTS[name], tmp_path / "result.h5"
    result.save(path)
    found = dfp.load(path)
    assert type(found) is type(result)
    if isinstance(result, dfp.Modes | dfp.Mode):  # numbers are made again from SGD, some of them sampled
        assert str(found) == str(result) and str(found.rows()) == str(result.rows())
        return
    if isinstance(result, dfp.Comparison):
        assert str(found.distances) == str(result.distances)
        return
    if isinstance(result, dfp.Density):
        assert found == result
    for path in _paths(result):
        before, after = (operator.attrgetter(path)(one) for one in (result, found))
        if isinstance(before, dfp.Grid):
            assert before.matches(after)
        elif isinstance(before, np.ndarray):
            assert before.dtype == after.dtype and before.tobytes() == after.tobytes(), path
        elif isinstance(before, np.ndarray | int | float | str | None) or path == "warnings":
            assert before == after or (before != before and after != after), path


def _paths(result):
    """The fields of a result, and those of its parts."""
    for field in fields(result):
        value = getattr(result, field.name)
        part = is_dataclass(value) and not isinstance(value, dfp.Grid)
        yield from (f"{field.name}.{path}" for path in _paths(value)) if part else [field.name]


@pytest.mark.parametrize("name", RESULTS)
@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4"])
def test_xarray_opens_the_file_as_it_is(name, engine, tmp_path):
    xarray = pytest.importorskip("xarray")
    RESULTS[name].save(tmp_path / "result.h5")
    with xarray.open_dataset(tmp_path / "result.h5", engine=engine, decode_times=False) as found:
        xarray.testing.assert_identical(found.load(), RESULTS[name].to_xarray())
        # what a function of the user's gives has a unit that nobody knows
        assert name == "sweep" or all(
            found[variable].attrs["units"] for variable in found.data_vars if not variable.endswith("_bounds")
        )


@pytest.mark.parametrize("name", RESULTS)
def test_reprs_are_one_short_line_and_notebooks_show_text(name):
    assert len(repr(RESULTS[name])) < 140 and "\n" not in repr(RESULTS[name])
    assert RESULTS[name]._repr_html_().startswith("<pre>")


@pytest.mark.parametrize("name", RESULTS)
def test_every_figure_takes_axes_a_title_and_a_style(name):
    _, ax = pyplot.subplots()
    options = {"name": "sum"} if name == "sweep" else {}
    figure = RESULTS[name].plot(ax=ax, title="Own", style="paper", **options)
    assert figure is ax.figure and ax.get_title() == "Own" and ax.has_data()
    assert {ax.get_xlabel(), ax.get_ylabel()} <= labels() | {"x", "y"}
    pyplot.close("all")


def test_figures_at_some_steps_are_of_what_has_steps():
    for name in ("moments", "risk curve", "comparison", "solution"):
        assert RESULTS[name].plot(steps=[0, 5]).axes[0].has_data()
        with pytest.raises(dfp.DFPError, match="were not saved"):
            RESULTS[name].plot(steps=[99])
    for name in ("fit", "current", "density", "exit steps", "best decay"):
        with pytest.raises(dfp.DFPError, match="no saved steps"):
            RESULTS[name].plot(steps=[0])
    pyplot.close("all")


def test_modes_of_any_size_load_and_those_that_would_not_are_not_saved(tmp_path, monkeypatch):
    """Arrays that are too many for the recipe lie beside it; what is no value is refused before it is written."""
    monkeypatch.setattr("dfp.solving.recipe._TEXT", 30)
    samples = np.random.default_rng(3).normal(size=(20, 3))
    landscape = dfp.QuadraticLandscape.from_regression(samples, samples.sum(axis=1), 4)
    report, path = dfp.modes(dfp.SGD(landscape, 0.1, weight_decay=0.1)), tmp_path / "modes.h5"
    report.save(path)
    assert "entries" in report.to_xarray() and "entries" not in RESULTS["modes"].to_xarray()
    found = dfp.load(path)
    assert str(found.rows()) == str(report.rows()) and found.system.sgd == report.system.sgd
    table, attrs = columns(report), attributes(report)
    table["entries"] = replace(table["entries"], values=table["entries"].values[:-1])
    hdf5.save(path, table, attrs)
    with pytest.raises(dfp.FileFormatError, match="an array of the problem is not in the file"):
        dfp.load(path)
    law = stats.rv_histogram((np.ones(3), np.arange(4.0)))()
    custom = dfp.modes(dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.AdditiveNoise(law)), 0.1))
    with pytest.raises(dfp.DFPError, match=r"sgd\.landscape\.noise.*to_dataframe"):
        custom.save(tmp_path / "custom.h5")
    assert not (tmp_path / "custom.h5").exists() and custom.to_xarray()


def test_large_arrays_lie_in_the_file_once(tmp_path, monkeypatch):
    """Every reader sees their dimension, which has no values; files of earlier versions, with an index, load."""
    xarray, netcdf = pytest.importorskip("xarray"), pytest.importorskip("netCDF4")
    monkeypatch.setattr("dfp.solving.recipe._TEXT", 30)
    grid, sgd = dfp.Grid(-6.0, 6.0, 4000), dfp.SGD(dfp.QuadraticLandscape(1.0, noise=dfp.GaussianNoise(0.5)), 0.1)
    start = dfp.Density.normalised(grid, np.exp(-np.abs(grid.axes[0])))
    found, path = dfp.moments(dfp.MasterEquation(sgd), start, 1), tmp_path / "large.h5"
    found.save(path)
    assert 8 * 4000 < path.stat().st_size < 8 * 4000 * 1.5  # with an index it would be twice as much
    for engine in ("h5netcdf", "netcdf4"):
        with xarray.open_dataset(path, engine=engine) as opened:
            xarray.testing.assert_identical(opened.load(), found.to_xarray())
            assert opened.sizes["entry"] == 4000 and "entry" not in opened.variables
    assert same_bits(found, dfp.rerun(path))
    older = columns(found) | {"entry": Column(("entry",), np.arange(4000), {"units": "1", "long_name": "entry"})}
    hdf5.save(tmp_path / "older.h5", older, attributes(found))
    assert same_bits(found, dfp.rerun(tmp_path / "older.h5")) and "entry" in older
    with netcdf.Dataset(path, "a") as file:  # other programs can add to it
        file.createVariable("doubled", "f8", ("entry",))[:] = 2 * file["entries"][:]
    with h5py.File(path) as file:
        assert np.array_equal(file["doubled"][:], 2 * file["entries"][:])


CALLED = {
    "density", "moments", "moments, momentum", "exit steps", "spectrum", "solution", "modes", "modes, momentum",
    "phase diagram", "stationary moments", "optimal schedule", "risk curve", "loss law", "loss law, sampled", "mode",
    "best decay", "current", "gridded current", "comparison", "comparison of moments",
}  # fmt: skip


@pytest.mark.parametrize("name", RESULTS)
def test_results_are_made_again_from_their_files(name, tmp_path, capsys):
    """To the bits, from a copy of the file as well; of what cannot be, it is said what is missing."""
    RESULTS[name].save(tmp_path / "first.h5")
    dfp.load(tmp_path / "first.h5").save(tmp_path / "result.h5")
    if name not in CALLED:
        with pytest.raises(
            dfp.DFPError, match=r"not how it was made|does not hold the whole problem.*(landscape|your own)"
        ):
            dfp.rerun(tmp_path / "result.h5")
        return
    found = dfp.rerun(tmp_path / "result.h5")
    assert type(found) is type(RESULTS[name]) and same_bits(RESULTS[name], found)
    app(["rerun", str(tmp_path / "result.h5"), "-o", str(tmp_path / "again.h5")], standalone_mode=False)
    assert "same bits    yes" in capsys.readouterr().out and same_bits(dfp.load(tmp_path / "again.h5"), found)


def test_calls_are_kept_by_value(tmp_path, monkeypatch):
    """Starts that are solutions, all options, large arrays; a forged name is not called, other bits are told."""
    monkeypatch.setattr("dfp.solving.recipe._TEXT", 20)
    sgd = dfp.SGD(dfp.QuadraticLandscape(1.0, noise=dfp.GaussianNoise(0.5)), 0.1)
    first = dfp.moments(dfp.DiscreteFokkerPlanck(sgd, order=4), RESULTS["solution"], 5, save=[1, 5])
    first.save(tmp_path / "moments.h5")
    assert "entries" in first.to_xarray() and same_bits(first, dfp.rerun(tmp_path / "moments.h5"))
    rates = np.array([0.1, 1.0])
    diagram = dfp.phase_diagram({"learning_rate": rates}, {"curvature": [0.5, 1.0]}, gradient_noise=1.0)
    rates += 1  # later, which the file does not see
    diagram.save(tmp_path / "phases.h5")
    assert same_bits(diagram, dfp.rerun(tmp_path / "phases.h5"))
    moved = pickle.loads(pickle.dumps(first))
    moved.save(tmp_path / "moved.h5")
    with pytest.raises(dfp.DFPError, match="not how it was made"):
        dfp.rerun(tmp_path / "moved.h5")
    assert not same_bits(first, replace(first, mean=first.mean + 1e-16))
    call = first._call()
    for forged in ({"function": "save_many"}, {"arguments": {"equation": 1}}, {"arguments": {"steps": 3}}):
        first._remember(lambda forged=forged: call | forged)
        first.save(tmp_path / "forged.h5")
        with pytest.raises(dfp.DFPError, match=r"forged\.h5|equation="):
            dfp.rerun(tmp_path / "forged.h5")


def test_tables():
    pytest.importorskip("pandas")
    frame = RESULTS["moments, momentum"].to_dataframe()
    assert list(frame["step"]) == [0, 1, 2, 3, 4, 5]
    assert frame["joint_covariance_1_2"][3] == RESULTS["moments, momentum"].joint_covariance[3, 0, 1]
    assert len(RESULTS["spectrum"].to_dataframe()) == len(RESULTS["spectrum"].eigenvalues)
    lengths = {"solution": 2, "comparison": 2, "modes": 1, "phase diagram": 6, "sweep": 6, "exit steps": 21}
    for name, length in lengths.items():
        assert len(RESULTS[name].to_dataframe()) == length, name
    assert RESULTS["sweep"].to_dataframe()["pair_2"][5] == 2.5**2
    density, cells = RESULTS["density"], RESULTS["density"].to_dataframe()
    assert list(cells.columns) == ["theta_1", "density"]  # one row a cell
    assert np.array_equal(cells["density"], density.values) and np.array_equal(cells["theta_1"], density.grid.axes[0])
    moved = RESULTS["gridded current"]
    cells = moved.to_dataframe()
    assert np.array_equal(cells["current_2"], moved.values[..., 1].ravel())
    assert np.array_equal(cells[["theta_1", "theta_2"]], moved.density.grid.points.reshape(-1, 2))
    with pytest.raises(dfp.DFPError, match="no table"):
        RESULTS["escape"].to_dataframe()


def test_files_of_modes_say_all_numbers_and_forged_ones_are_refused(tmp_path):
    modes, path = RESULTS["modes"], tmp_path / "modes.h5"
    modes.save(path)
    table = modes.to_xarray()
    assert float(table["stationary_variance"][0]) == modes[0].stationary_variance
    assert float(table["direction"][0, 0]) == modes[0].direction[0]
    hdf5.save(path, columns(modes), attributes(modes) | {"recipe": '{"sgd": 1}'})
    with pytest.raises(dfp.FileFormatError, match="none of modes"):
        dfp.load(path)


def test_damage_is_refused(tmp_path):
    path = tmp_path / "result.h5"
    RESULTS["density"].save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(dfp.FileFormatError, match="checksum"):
        dfp.load(path)


def test_every_kind_is_tested_and_names_its_class():
    networks = {name for name in ROOMS if name.startswith("network ")}  # of an extra, which has tests of its own
    assert {kind_of(result) for result in RESULTS.values()} == {*KINDS, *ROOMS} - networks
    with pytest.raises(dfp.DFPError, match="no kind"):
        kind_of(object())


def _interrupted(path, steps):
    """Write the checkpoint of a run that is stopped in its first half."""

    def stop(done, total):
        if 2 * done >= total:
            raise KeyboardInterrupt

    sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0], [0.2])), 0.2)
    with pytest.raises(KeyboardInterrupt):
        dfp.solve(
            dfp.MasterEquation(sgd), dfp.Gaussian(1.0, 0.1), 60, steps, "transfer", progress=stop, checkpoint=path
        )


def _stopped_sweep(path):
    def member(x):
        if x > 1:
            raise KeyboardInterrupt
        return x

    with pytest.raises(KeyboardInterrupt):
        dfp.sweep(member, {"x": [0.0, 1.0, 2.0]}, save=path, quiet=True)


FILES = {name: result.save for name, result in RESULTS.items()} | {
    "solutions": lambda path: dfp.save_many({"a": made(), "η = 0.1": made(seed=1)}, path),
    "solutions, other grids": lambda path: dfp.save_many({"a": made(), "b": made(d=3, upper=3.0)}, path),
    "checkpoint": lambda path: _interrupted(path, [20, 40, 60]),
    "checkpoint, early": lambda path: _interrupted(path, [50, 60]),
    "sweep, unfinished": _stopped_sweep,
}


@pytest.mark.parametrize("name", FILES)
def test_other_programs_read_all_of_the_file(name, tmp_path):
    """``h5dump`` and ``ncdump`` where they are installed, and the libraries they are made of: without a complaint."""
    path = tmp_path / "result.h5"
    FILES[name](path)
    for program in filter(shutil.which, ("h5dump", "ncdump")):
        told = subprocess.run([program, str(path)], capture_output=True, text=True)
        assert told.returncode == 0 and not told.stderr and len(told.stdout) > 500
    seen = []

    def count(name, item):
        if isinstance(item, h5py.Dataset) and item.id.get_storage_size():  # bare dimensions hold nothing
            seen.append(item[()].size)

    with h5py.File(path) as file:
        file.visititems(count)
    netcdf = pytest.importorskip("netCDF4")
    with netcdf.Dataset(path) as file:
        places = [file, *file.groups.values()]
        tables = [place.variables for place in places]
        assert sum(np.asarray(one[...]).size for table in tables for one in table.values()) == sum(seen) > 0
        # what a variable says are its coordinates is there, in its group or above
        for table in tables:
            told = {word for one in table.values() for word in getattr(one, "coordinates", "").split()}
            assert told <= {*table, *file.variables}
