"""Files: bit-exact round trips, and what xarray, netCDF and h5py see in them."""

import json
import warnings

import h5py
import numpy as np
import pytest
from solutions import assert_same, made

import dfp
from dfp.results import schema
from dfp.results.solution import columns

xarray = pytest.importorskip("xarray")
netCDF4 = pytest.importorskip("netCDF4")
pytest.importorskip("h5netcdf")

ENGINES = [None, "h5netcdf", "netcdf4"]
ALL = {"d": 2, "sampled": True, "gridded": True, "higher": True}
CASES = {
    "1d": {"d": 1},
    "2d": {"d": 2, "higher": True},
    "3d": {"d": 3},
    "moments only": {"d": 5, "gridded": False},
    "sampled": ALL,
    "point, one frame": {"d": 2, "gridded": False, "steps": (7,)},
}


@pytest.fixture
def strict():
    """Every warning is an error, those that libraries silence by default included."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("case", CASES)
def test_round_trip_is_bit_exact(case, tmp_path):
    solution, path = made(**CASES[case]), tmp_path / "run.h5"
    solution.save(path)
    assert_same(dfp.load(path), solution)
    assert_same(dfp.load(str(path)), solution)
    assert [file.name for file in tmp_path.iterdir()] == ["run.h5"]


def test_same_solution_gives_the_same_bytes(tmp_path):
    made(**ALL).save(tmp_path / "a.h5")
    made(**ALL).save(tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_many_round_trip_keeps_names_and_order(tmp_path):
    path = tmp_path / "demo.h5"
    many = {
        "monte_carlo": made(**ALL),
        "moments": made(gridded=False, seed=1, steps=(0, 1)),
        "langevin η=0.1": made(seed=2),
    }
    dfp.save_many(many, path)
    found = dfp.load_many(path)
    assert list(found) == list(many)
    for name in many:
        assert_same(found[name], many[name])
    with h5py.File(path) as file:
        assert "theta_1" in file
        assert "theta_1" not in file["monte_carlo"]


@pytest.mark.parametrize("other", [{"upper": 3.0}, {"d": 3}, {"d": 3, "gridded": False}])
def test_many_with_different_grids_keep_their_own(other, tmp_path, strict):
    path, many = tmp_path / "demo.h5", {"a": made(), "b": made(**other)}
    dfp.save_many(many, path)
    for name, found in dfp.load_many(path).items():
        assert_same(found, many[name])
    for engine in ENGINES:
        with xarray.open_datatree(path, engine=engine) as tree:
            for name, solution in many.items():
                xarray.testing.assert_identical(reduced(tree[name].to_dataset().load()), reduced(solution.to_xarray()))


def reduced(dataset):
    """A dataset without what the file says only in its root group."""
    return dataset.drop_attrs(deep=False).assign_attrs(
        {name: value for name, value in dataset.attrs.items() if name not in schema.FILE_ATTRIBUTES}
    )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", CASES)
def test_xarray_reads_what_to_xarray_returns(case, engine, tmp_path, strict):
    solution = made(**CASES[case])
    solution.save(tmp_path / "run.h5")
    with xarray.open_dataset(tmp_path / "run.h5", engine=engine) as dataset:
        xarray.testing.assert_identical(dataset.load(), solution.to_xarray())
        assert {"step", "time"} <= set(dataset.coords)
        assert not any(dim.startswith("phony") for dim in dataset.dims)


@pytest.mark.parametrize("engine", ENGINES)
def test_values_and_units_through_xarray(engine, tmp_path, strict):
    solution = made(**ALL)
    solution.save(tmp_path / "run.h5")
    with xarray.open_dataset(tmp_path / "run.h5", engine=engine) as dataset:
        for name in ("density", *schema.MOMENTS):
            np.testing.assert_array_equal(dataset[name].values, getattr(solution, name))
        for name in schema.MOMENTS:
            np.testing.assert_array_equal(dataset[f"{name}_standard_error"].values, solution.errors[name])
        for name in schema.FIGURES:
            np.testing.assert_array_equal(dataset[name].values, getattr(solution.certificate, name))
        np.testing.assert_array_equal(dataset.step, solution.steps)
        np.testing.assert_array_equal(dataset.time, solution.time)
        np.testing.assert_array_equal(dataset.parameter, [1, 2])
        for i in range(2):
            edges = dataset[dataset[f"theta_{i + 1}"].attrs["bounds"]]
            np.testing.assert_array_equal(dataset[f"theta_{i + 1}"], solution.grid.axes[i])
            np.testing.assert_array_equal(edges[:, 0], solution.grid.edges[i][:-1])
            np.testing.assert_array_equal(edges[:, 1], solution.grid.edges[i][1:])
        units = {name: dataset[name].attrs["units"] for name in ("step", "time", "theta_2", "density", "fourth")}
        assert units == {
            "step": "1",
            "time": "parameter2 loss-1",
            "theta_2": "parameter",
            "density": "parameter-2",
            "fourth": "parameter4",
        }
        assert dataset.density.dims == ("step", "theta_1", "theta_2")
        assert dataset.density.attrs["cell_methods"] == "theta_1: theta_2: mean"
        assert all(dataset[name].attrs["long_name"] for name in dataset.variables)
        assert dataset.attrs["Conventions"] == "CF-1.11"
        assert json.loads(dataset.attrs["config_json"]) == solution.provenance
        assert dataset.attrs["seed"] == str(2**70)
        assert dataset.attrs["versions"] == "python 3.11, dfp 0.1"


def test_densities_at_points_are_labelled_so():
    assert made().to_xarray().density.attrs["cell_methods"] == "theta_1: theta_2: point"


def test_dataset_is_independent_of_the_solution():
    solution = made()
    solution.to_xarray()["density"][:] = 0
    assert np.any(solution.density != 0)


@pytest.mark.parametrize("engine", ENGINES)
def test_datatree_has_the_shared_grid_in_every_group(engine, tmp_path, strict):
    many = {"moments": made(gridded=False, steps=(0, 1)), "monte_carlo": made(**ALL), "langevin": made(seed=2)}
    dfp.save_many(many, tmp_path / "demo.h5")
    with xarray.open_datatree(tmp_path / "demo.h5", engine=engine) as tree:
        assert list(tree.children) == list(many)
        assert tree.attrs == schema.FILE_ATTRIBUTES
        for name, solution in many.items():
            expected, node = solution.to_xarray(), tree[name]
            for variable in columns(solution):
                where = node if variable in node.variables or variable in node.coords else tree
                xarray.testing.assert_identical(where[variable].variable.load(), expected[variable].variable)
        assert np.isfinite(tree["langevin"]["density"].sel(theta_1=0.0, method="nearest").isel(step=2)).all()


def test_h5py_sees_plain_types_and_one_scale_an_axis(tmp_path):
    made(**ALL).save(tmp_path / "run.h5")
    with h5py.File(tmp_path / "run.h5") as file:
        assert {dataset.dtype.str for dataset in file.values()} == {"<f8", "<i8"}
        for dataset in file.values():
            if not dataset.is_scale:
                assert [len(dim) for dim in dataset.dims] == [1] * dataset.ndim
        assert not any(np.asarray(value).dtype.kind in "bc" for value in file.attrs.values())


@pytest.mark.parametrize("many", [False, True])
def test_netcdf_can_append_and_the_change_is_noticed(many, tmp_path, strict):
    path = tmp_path / "run.h5"
    dfp.save_many({"a": made(), "b": made(seed=1)}, path) if many else made().save(path)
    with netCDF4.Dataset(path, "a") as file:
        place = file["b"] if many else file
        place.createVariable("extra", "f8", ("step", "theta_1"))[:] = 4.0
        place["density"].note = "seen"
        file.note = "seen"
    with xarray.open_datatree(path) as tree:
        place = tree["b"] if many else tree
        assert float(place["extra"].sum()) == 4.0 * 3 * 6
        assert place["density"].attrs["note"] == "seen"
    with pytest.raises(dfp.FileFormatError, match="changed by another program"):
        (dfp.load_many if many else dfp.load)(path)


def test_single_and_many_name_each_other(tmp_path):
    made().save(tmp_path / "one.h5")
    dfp.save_many({"a": made()}, tmp_path / "many.h5")
    with pytest.raises(dfp.FileFormatError, match="load_many"):
        dfp.load(tmp_path / "many.h5")
    with pytest.raises(dfp.FileFormatError, match=r"dfp\.load"):
        dfp.load_many(tmp_path / "one.h5")


@pytest.mark.parametrize("name", ["", "a/b", ".", "..", "theta_1", "density", " a", "a ", "a\0", "a" * 101, 3])
def test_bad_group_names_are_refused(name, tmp_path):
    with pytest.raises(dfp.DFPError, match="has the name"):
        dfp.save_many({name: made()}, tmp_path / "many.h5")
    assert not any(tmp_path.iterdir())


def test_empty_many_is_refused(tmp_path):
    with pytest.raises(dfp.DFPError, match="empty"):
        dfp.save_many({}, tmp_path / "many.h5")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": np.zeros((2, 2))}, "mean has shape"),
        ({"density": np.zeros((3, 6, 6))}, "density has shape"),
        ({"grid": None}, "without a grid"),
        ({"errors": {"mode": np.zeros((3, 2))}}, "errors has the entry 'mode'"),
        ({"provenance": {"function": made}}, "provenance cannot be written"),
    ],
)
def test_inconsistent_solutions_are_refused(change, message, tmp_path):
    solution = made()
    for name, value in change.items():
        object.__setattr__(solution, name, value)
    with pytest.raises(dfp.DFPError, match=message):
        solution.save(tmp_path / "run.h5")
    assert not any(tmp_path.iterdir())


def test_numpy_numbers_in_the_provenance_become_plain(tmp_path):
    solution = made()
    solution.provenance["array"] = np.arange(3) / 3
    solution.provenance["count"] = np.int64(3)
    solution.save(tmp_path / "run.h5")
    found = dfp.load(tmp_path / "run.h5").provenance
    assert found["array"] == [0.0, 1 / 3, 2 / 3]
    assert found["count"] == 3
