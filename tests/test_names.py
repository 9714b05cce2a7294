"""What is on an axis goes with the result: which parameters are left, directions, and names that users give."""

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot
from solutions import made
from test_cli_laws import invoke
from test_forged import forge

import dfp

RNG = np.random.default_rng(3)
FEATURES = RNG.normal(size=(40, 3)) * [1.0, 20.0, 0.1] + [50.0, 0.0, 3.0]
TARGETS = FEATURES @ [0.1, 0.02, 1.0] + RNG.normal(size=40)
NAMES = ("age", "dose (mg)", "mean")
# Names that are taken, or that files, tables or Matplotlib do not take as they are.
ODD = ("step", "_a $ of \\alpha", "2020/density", "mean", "mean_", "größe", "x" * 300, "x" * 299 + "y", "a_bounds")


def regression(**options):
    given = {"batch_size": 4, "standardise": True} | options
    return dfp.QuadraticLandscape.from_regression(FEATURES, TARGETS, **given)


def named(d=3, names=NAMES):
    """A solution of random numbers whose parameters have names."""
    return dataclasses.replace(drawable(d), parameters=tuple(names[:d]))


def drawable(d):
    solution = made(d, sampled=True)
    frames = len(solution.steps)
    finite = {"mean": np.zeros((frames, d)), "covariance": np.broadcast_to(np.eye(d), (frames, d, d))}
    return dataclasses.replace(solution, density=np.ones_like(solution.density), **finite)


def directed():
    bowl = dfp.QuadraticLandscape([1.0, 0.5, 0.2], noise=dfp.GaussianNoise([1.0, 1.0, 0.5]))
    start, along = dfp.Gaussian([1.0, 0.0, 0.0], 0.1), np.eye(3)[:, [0, 2]]
    return dfp.solve(dfp.MasterEquation(dfp.SGD(bowl, 0.1)), start, 10, directions=along, grid=16)


KEPT = {
    "all": (lambda: drawable(2), ("theta_1", "theta_2"), ["theta_1", "theta_2"], [1, 2], "parameter θ₁ [parameter]"),
    "second": (lambda: drawable(2).marginal(1), ("theta_2",), ["theta_2"], [2], "parameter θ₂ [parameter]"),
    "first and third": (
        lambda: drawable(3).marginal((0, 2)), ("theta_1", "theta_3"), ["theta_1", "theta_3"], [1, 3],
        "parameter θ₁ [parameter]",
    ),
    "exchanged": (
        lambda: drawable(2).marginal((1, 0)), ("theta_2", "theta_1"), ["theta_2", "theta_1"], [2, 1],
        "parameter θ₂ [parameter]",
    ),
    "of a marginal": (
        lambda: drawable(3).marginal((0, 2)).marginal(1), ("theta_3",), ["theta_3"], [3], "parameter θ₃ [parameter]"
    ),
    "direction": (lambda: directed().marginal(1), ("direction 2",), ["direction_2"], [2], "direction 2 [parameter]"),
    "named": (lambda: named().marginal(1), ("dose (mg)",), ["dose_mg"], [1], "dose (mg) [parameter]"),
    "a name that is taken": (lambda: named().marginal(2), ("mean",), ["mean_"], [1], "mean [parameter]"),
}  # fmt: skip


@pytest.mark.parametrize("case", KEPT)
@pytest.mark.parametrize("law", [False, True], ids=["solution", "density"])
def test_what_is_left_keeps_its_name_everywhere(case, law, tmp_path):
    make, names, axes, numbers, label = KEPT[case]
    result = make()
    if law:
        values = result.density[-1] / (result.density[-1].sum() * result.grid.cell_volume)
        result = dfp.Density(result.grid, values, parameters=result.parameters)
    assert result.parameters == names
    dataset = result.to_xarray()
    assert list(dataset["density"].dims)[not law :] == axes
    for axis, centres in zip(axes, result.grid.axes, strict=True):
        np.testing.assert_array_equal(dataset[axis], centres)
    index = dataset["parameter"]
    assert index.values.tolist() == numbers
    assert index.attrs.get("comment") == (f"1: {names[0]}" if case in ("named", "a name that is taken") else None)
    result.save(tmp_path / "kept.h5")
    found = dfp.load(tmp_path / "kept.h5")
    assert found.parameters == names and repr(found) == repr(result)
    xarray = pytest.importorskip("xarray")
    for engine in ("h5netcdf", "netcdf4"):
        with xarray.open_dataset(tmp_path / "kept.h5", engine=engine) as opened:
            xarray.testing.assert_identical(opened.load(), dataset)
    figure = found.plot() if law else found.plot(steps=[int(found.steps[-1])])
    assert label in {axis.get_xlabel() for axis in figure.axes}
    pyplot.close("all")
    shown = {"theta_1": "θ₁", "theta_2": "θ₂", "theta_3": "θ₃"}.get(names[-1], names[-1])
    assert (shown in repr(result)) == (case != "all")


def test_columns_of_data_frames_end_with_what_they_are_of():
    pytest.importorskip("pandas")
    assert list(drawable(2).marginal(1).to_dataframe().columns)[2:4] == ["mean_2", "covariance_2_2"]
    assert list(named(2).to_dataframe().columns)[2:5] == ["mean_age", "mean_dose_mg", "covariance_age_age"]
    assert list(drawable(2).to_dataframe().columns)[2:5] == ["mean_1", "mean_2", "covariance_1_1"]  # control


def test_directions_of_a_marginal_are_its_own():
    np.testing.assert_array_equal(directed().marginal(1).directions, np.eye(3)[:, [2]])


def test_solutions_of_other_parameters_share_a_file(tmp_path):
    solutions = {"a": drawable(2).marginal(0), "b": drawable(2).marginal(1), "age": named(1)}
    dfp.save_many(solutions, tmp_path / "many.h5")
    found = dfp.load_many(tmp_path / "many.h5")
    assert {name: one.parameters for name, one in found.items()} == {"a": ("theta_1",), "b": ("theta_2",),
                                                                      "age": ("age",)}  # fmt: skip
    for name, one in found.items():
        np.testing.assert_array_equal(one.grid.axes[0], solutions[name].grid.axes[0])


@pytest.mark.parametrize("make", [
    lambda equation: dfp.moments(equation, dfp.Point(np.zeros(3)), 5),
    dfp.stationary_moments,
    lambda equation: dfp.solve(equation, dfp.Point(np.zeros(3)), 5, solver="moment_recursion"),
    lambda equation: dfp.modes(equation.sgd),
], ids=["moments", "stationary moments", "solution", "modes"])  # fmt: skip
def test_names_go_with_results_and_their_files_and_are_made_again(make, tmp_path):
    result = make(dfp.MasterEquation(dfp.SGD(regression(parameters=NAMES), 0.1)))
    plain = make(dfp.MasterEquation(dfp.SGD(regression(), 0.1)))
    assert result.parameters == NAMES and plain.parameters == ("theta_1", "theta_2", "theta_3")
    result.save(tmp_path / "run.h5")
    assert dfp.load(tmp_path / "run.h5").parameters == NAMES
    again = dfp.load(tmp_path / "run.h5") if isinstance(result, dfp.Modes) else dfp.rerun(tmp_path / "run.h5")
    assert again.parameters == NAMES
    result.plot()
    pyplot.close("all")
    table, bare = result.to_xarray(), plain.to_xarray()
    assert "1: age, 2: dose (mg), 3: mean" in table["parameter"].attrs["comment"]
    for name in bare.data_vars:  # labels change no bit
        assert table[name].values.tobytes() == bare[name].values.tobytes(), name


@pytest.mark.parametrize("kind", [dfp.MasterEquation, dfp.Langevin])
def test_laws_and_currents_have_the_names_of_the_landscape(kind, tmp_path):
    bowl = dfp.QuadraticLandscape([1.0, 0.4], noise=dfp.GaussianNoise([[0.5, 0.3], [0.3, 0.3]]), parameters=NAMES[:2])
    equation = kind(dfp.SGD(bowl, 0.2))
    law, current = dfp.stationary(equation, 24), dfp.probability_current(equation)
    for result in (law, current):
        result.save(tmp_path / "law.h5")
        assert dfp.load(tmp_path / "law.h5").parameters == dfp.rerun(tmp_path / "law.h5").parameters == NAMES[:2]
        (tmp_path / "law.h5").unlink()
        assert result.plot().axes[0].get_ylabel() == "dose (mg) [parameter]"
        pyplot.close("all")
    later = dfp.solve(equation, law, 3)
    assert later.state().parameters == later.marginal((0, 1)).parameters == NAMES[:2]
    overlaid = dfp.plot({"late": later, "law": law}).axes[0]
    assert (overlaid.get_xlabel(), overlaid.get_ylabel()) == ("age [parameter]", "dose (mg) [parameter]")
    pyplot.close("all")


def test_axes_in_another_order_are_not_taken_for_the_same():
    bowl = dfp.QuadraticLandscape([1.0, 0.4], noise=dfp.GaussianNoise([0.5, 0.3]))
    equation = dfp.MasterEquation(dfp.SGD(bowl, 0.2))
    law = dfp.stationary(equation, 24)
    turned = law.marginal((1, 0))
    with pytest.raises(dfp.DFPError, match=r"initial is of θ₂, θ₁: must be of θ₁, θ₂.*marginal\(\(1, 0\)\)"):
        dfp.solve(equation, turned, 3)
    for function in (dfp.compare, dfp.plot):
        with pytest.raises(dfp.DFPError, match=r"solutions\['b'\] is of θ₂, θ₁"):
            function({"a": law, "b": turned})
    # The controls: turned back; and other names, which may be compared.
    assert dfp.compare({"a": law, "b": turned.marginal((1, 0))}).distances[0].total_variation.value == 0
    dfp.compare({"a": law, "b": dataclasses.replace(law, parameters=NAMES[:2])})


@pytest.mark.parametrize("axes", [1, (1, 0)])
def test_a_marginal_is_made_again_as_one(axes, tmp_path):
    bowl = dfp.QuadraticLandscape([1.0, 0.4], noise=dfp.GaussianNoise([0.5, 0.3]))
    solution = dfp.solve(dfp.MasterEquation(dfp.SGD(bowl, 0.2)), dfp.Gaussian([1.0, 0.0], 0.1), 5, grid=16)
    left = solution.marginal(axes)
    left.save(tmp_path / "left.h5")
    again = dfp.rerun(tmp_path / "left.h5")
    assert again.parameters == left.parameters and again.provenance["rerun"] == []
    assert again.density.tobytes() == left.density.tobytes()
    told = invoke("rerun", tmp_path / "left.h5", "-o", tmp_path / "again.h5")
    assert told.exit_code == 0 and "same bits    yes" in told.output
    assert dfp.load(tmp_path / "again.h5").parameters == left.parameters


def test_equality_and_hashes_know_no_names():
    one, other = regression(parameters=NAMES), regression()
    assert one == other and hash(one) == hash(other)
    assert dfp.SGD(one, 0.1) == dfp.SGD(other, 0.1)
    assert one != regression(parameters=NAMES, standardise=False)  # control
    assert dataclasses.replace(one, gradient=[0.0, 1.0, 2.0]).parameters == NAMES
    assert "parameters" not in repr(other)


def test_columns_of_a_data_frame_name_the_parameters():
    pandas = pytest.importorskip("pandas")

    def made_of(columns, **options):
        return dfp.QuadraticLandscape.from_regression(pandas.DataFrame(FEATURES, columns=columns), TARGETS, **options)

    assert made_of(NAMES).parameters == NAMES
    assert made_of(None).parameters is None  # numbers are no names
    assert made_of(NAMES, parameters=["a", "b", "c"]).parameters == ("a", "b", "c")
    with pytest.raises(dfp.DFPError, match=r"columns\[2\]=3: must be text"):
        made_of(["age", "dose", 3])
    with pytest.raises(dfp.DFPError, match="'age' is there twice"):
        made_of(["age", "dose", "age"])


def test_other_landscapes_take_names_as_well(tmp_path):
    for hessians in (np.ones((4, 2, 2)), [1.0, 0.5]):
        made_of = dfp.QuadraticLandscape.from_samples(hessians, np.ones((4, 2)), parameters=["a", "b"])
        assert made_of.parameters == ("a", "b")
    text = '[landscape]\nkind = "quadratic"\nhessian = [1.0, 0.5]\nparameters = ["weight", "bias"]\n'
    text += "[sgd]\nlearning_rate = 0.1\n"
    (tmp_path / "named.toml").write_text(text, encoding="utf-8")
    assert "1.00 bias" in invoke("modes", tmp_path / "named.toml").output
    (tmp_path / "named.toml").write_text(text.replace(', "bias"', ""), encoding="utf-8")
    refused = invoke("modes", tmp_path / "named.toml")
    assert refused.exit_code == 2 and "landscape.parameters has 1 names: there are 2 parameters" in refused.output


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        (["a", "b"], "has 2 names: there are 3"),
        (["a", "b", " a"], "'a' is there twice"),
        (["a", "b", ""], "must be text that can be printed"),
        (["a", "b", "c\n"], None),
        (["a", "b", "c\nd"], "must be text that can be printed"),
        (["a", "b", 3], r"parameters\[2\]=3"),
        ("abc", "must be a list of names"),
        (3, "must be a list of names"),
    ],
)
def test_what_is_no_name_is_refused(given, cause):
    if cause is None:
        assert regression(parameters=given).parameters == ("a", "b", "c")
        return
    with pytest.raises(dfp.DFPError, match=cause):
        regression(parameters=given)


@pytest.mark.parametrize("chosen", [ODD[:3], ODD[3:6], ODD[6:]])
def test_odd_and_long_names_break_no_file_figure_or_table(chosen, tmp_path):
    solution = named(3, chosen)
    xarray = pytest.importorskip("xarray")
    solution.save(tmp_path / "odd.h5")
    assert dfp.load(tmp_path / "odd.h5").parameters == chosen
    for engine in ("h5netcdf", "netcdf4"):
        with xarray.open_dataset(tmp_path / "odd.h5", engine=engine) as opened:
            xarray.testing.assert_identical(opened.load(), solution.to_xarray())
            assert len(set(opened["density"].dims)) == 4
            assert [opened[axis].attrs["long_name"] for axis in opened["density"].dims[1:]] == list(chosen)
    assert len(repr(solution)) < 200
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Matplotlib warns of labels that it does not draw
        for one in (solution.marginal((0, 1)), solution.marginal(2)):
            one.plot(steps=[1000]).savefig(tmp_path / "odd.png")
    pyplot.close("all")
    report = str(dfp.modes(dfp.SGD(regression(parameters=chosen), 0.1)))
    assert max(map(len, report.splitlines())) < 220


def test_forged_names_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for text in ('{"theta_1": "a"}', '{"theta_1": "a", "theta_2": "a"}', '{"x": "a", "y": "b"}', "[]",
                 '{"theta_1": "a", "theta_2": 3}'):  # fmt: skip
        forge(lambda file, text=text: file.attrs.__setitem__("parameters", text))
        with pytest.raises(dfp.FileFormatError):
            dfp.load("run.h5")
    forge(lambda file: file.attrs.__setitem__("parameters", '{"theta_1": "a", "theta_2": "b"}'))  # control
    assert dfp.load("run.h5").parameters == ("a", "b")


def test_directions_of_a_file_of_layout_1_1():
    found = dfp.load(Path(__file__).parent / "data" / "directions-1.1.h5")
    assert found.parameters == ("direction 1", "direction 2") and found.grid.cells == (12, 12)
    assert found.mean.round(6).tolist() == [[0.348678, 0.0]]  # 0.9¹⁰


# Standardised features

ROUNDING = 1e-12  # sums of 40 numbers, the largest ones of size 100


def test_standardised_columns_have_mean_0_and_deviation_1(tmp_path):
    landscape = regression()
    for columns in (landscape.law.features, landscape.law.targets):
        np.testing.assert_allclose(columns.mean(axis=0), 0, atol=ROUNDING)
        np.testing.assert_allclose(columns.std(axis=0), 1, rtol=ROUNDING)
    assert abs(regression(standardise=False).law.features.mean()) > 1  # control
    header = ",".join(["a", "b", "c", "y"])
    rows = [",".join(repr(float(one)) for one in (*x, y)) for x, y in zip(FEATURES, TARGETS, strict=True)]
    (tmp_path / "data.csv").write_text("\n".join([header, *rows]), encoding="utf-8")
    columns = {"features": ["a", "b", "c"], "target": "y", "standardise": True}
    stored = dfp.StoredLandscape(tmp_path / "data.csv", 4, **columns)
    assert stored.parameters == ("a", "b", "c")
    assert stored.law.features.tobytes() == landscape.law.features.tobytes()  # one place in the code
    assert stored.law.targets.tobytes() == landscape.law.targets.tobytes()
    solution = dfp.solve(dfp.MasterEquation(dfp.SGD(stored, 0.1)), dfp.Point(np.zeros(3)), 3, solver="moment_recursion")
    solution.save(tmp_path / "run.h5")
    again = dfp.rerun(tmp_path / "run.h5")
    assert again.parameters == ("a", "b", "c") and again.covariance.tobytes() == solution.covariance.tobytes()


def test_constant_columns_cannot_be_standardised():
    constant = np.column_stack([FEATURES[:, :2], np.full(40, 0.1)])
    with pytest.raises(dfp.DFPError, match="column 'mean': is constant"):
        dfp.QuadraticLandscape.from_regression(constant, TARGETS, standardise=True, parameters=NAMES)
    with pytest.raises(dfp.DFPError, match="column 'targets': is constant"):
        dfp.QuadraticLandscape.from_regression(FEATURES, np.full(40, 3.0), standardise=True)
    dfp.QuadraticLandscape.from_regression(constant, TARGETS)  # control
    with pytest.raises(dfp.DFPError, match="standardise=1: must be True or False"):
        regression(standardise=1)


# The command line

TABLE = """steps = 3
[landscape]
kind = "regression"
csv = "data.csv"
features = ["age", "dose"]
target = "y"
batch_size = 8
standardise = true
[sgd]
learning_rate = 0.1
[initial]
kind = "gaussian"
mean = [0.0, 0.0]
covariance = 0.02
[grid]
lower = [-1, -1]
upper = [1, 1]
cells = [12, 12]
[[equation]]
kind = "master"
solver = { kind = "monte_carlo", trajectories = 2000 }
"""


@pytest.fixture
def table(tmp_path):
    lines = [f"{x[0]!r},{x[1]!r},{y!r}" for x, y in zip(FEATURES.tolist(), TARGETS.tolist(), strict=True)]
    (tmp_path / "data.csv").write_text("\n".join(["age,dose,y", *lines]), encoding="utf-8")
    (tmp_path / "table.toml").write_text(TABLE, encoding="utf-8")
    return tmp_path / "table.toml"


def test_commands_name_columns(table, tmp_path):
    report = invoke("modes", table).output
    assert " age" in report and "θ₁" not in report
    output = tmp_path / "run.h5"
    told = invoke("solve", table, "-o", output, "-q")
    assert told.exit_code == 0 and "parameters   age, dose" in told.output
    assert dfp.load(output).to_xarray()["density"].dims == ("step", "age", "dose")
    assert "same bits    yes" in invoke("rerun", output).output
    assert invoke("plot", output).exit_code == 0
    table.write_text(TABLE.replace('"dose"]', '"age"]'), encoding="utf-8")
    twice = invoke("modes", table)
    assert twice.exit_code == 2 and "'age' is there twice" in twice.output
