"""Configuration files: what they build, and what they say when they are wrong."""

import inspect
import tomllib
from pathlib import Path

import numpy as np
import pytest
import tomli_w

import dfp
from dfp.config import problem_tables as tables
from dfp.config import solver_tables
from dfp.config.config import MAX_BYTES, load

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"


def document(**changes):
    """A small valid file as a dict; keyword arguments replace tables."""
    return {
        "steps": 20,
        "landscape": {"kind": "quadratic", "hessian": [1.0, 0.5], "noise": {"gradient": [1.0, 1.0]}},
        "sgd": {"learning_rate": 0.1},
        "initial": {"kind": "gaussian", "mean": [1.0, 1.0], "covariance": 0.5},
        "equation": [{"kind": "master"}],
    } | changes


def written(folder, **changes):
    path = folder / "problem.toml"
    path.write_bytes(tomli_w.dumps(document(**changes)).encode())
    return path


def message(path):
    with pytest.raises(dfp.DFPError) as caught:
        load(path).build()
    return str(caught.value)


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_examples_build_and_survive_a_round_trip(example, tmp_path):
    config = load(example)
    assert config.build().tasks
    copy = tmp_path / "copy.toml"
    copy.write_bytes(tomli_w.dumps(config.model_dump(mode="json", exclude_none=True)).encode())
    assert load(copy).model_dump() == config.model_dump()


def test_laws_of_scipy_reach_the_noise(tmp_path):
    additive = {"laws": ["skewnorm(4)", "t(3, scale=0.5)"], "basis": "eigen"}
    path = written(tmp_path, landscape={"kind": "quadratic", "hessian": [1.0, 0.5], "additive": additive})
    law = load(path).build().sgd.noise
    assert [part.name for part in law.laws] == ["skewnorm", "t"]
    assert law.constant[1, 1] == pytest.approx(3 * 0.5**2)


@pytest.mark.parametrize("text", ["skewnorm", "system('ls')", "t(3).rvs(2)", "t(x)", "multivariate_normal([0])", "t("])
def test_laws_are_names_with_numbers_only(text, tmp_path):
    path = written(tmp_path, landscape={"kind": "quadratic", "hessian": [1.0, 0.5], "additive": {"laws": [text]}})
    assert "landscape.additive.laws[0]=" in message(path)
    assert "skewnorm(4)" in message(path)


def test_noise_is_given_once(tmp_path):
    both = {"kind": "quadratic", "hessian": [1.0], "noise": {"gradient": [1.0]}, "additive": {"laws": ["t(3)"]}}
    assert "given twice" in message(written(tmp_path, landscape=both))


def test_every_table_reaches_its_object(tmp_path):
    problem = load(
        written(
            tmp_path,
            save=[0, 20],
            sgd={"learning_rate": 0.1, "weight_decay": 0.25, "batch_size": 4},
            grid={"lower": [-3.0, -3.0], "upper": 3, "cells": [16, 32]},
            initial={"kind": "point", "theta": [1, -1]},
        )
    ).build()
    np.testing.assert_array_equal(problem.sgd.hessian, np.diag([1.25, 0.75]))
    np.testing.assert_array_equal(problem.sgd.noise.constant, np.eye(2) / 4)
    assert (problem.steps, problem.save) == (20, [0, 20])
    assert problem.grid.cells == (16, 32)
    np.testing.assert_array_equal(problem.grid.upper, [3.0, 3.0])
    assert isinstance(problem.initial, dfp.Point)
    np.testing.assert_array_equal(problem.initial.theta, [1.0, -1.0])


def test_optimisers_reach_sgd(tmp_path):
    cosine = {"schedule": "cosine", "initial": 0.1, "steps": 10}
    table = {
        "learning_rate": {"schedule": "warm_up", "steps": 5, "then": cosine},
        "batch_size": {"schedule": "step", "initial": 2, "every": 4, "factor": 2},
        "momentum": 0.9,
        "nesterov": True,
    }
    path = written(tmp_path, sgd=table)
    sgd = load(path).build().sgd
    wanted = dfp.WarmUp(5, dfp.CosineSchedule(0.1, 10))
    np.testing.assert_array_equal(sgd.learning_rates.values(0, 20), [wanted(n) for n in range(20)])
    assert [sgd.samples_at(n) for n in (0, 4, 8)] == [2, 4, 8]
    assert (sgd.momentum, sgd.nesterov, sgd.replace) == (0.9, True, True)
    assert load(path).model_dump()["sgd"]["learning_rate"]["then"] == cosine
    listed = load(written(tmp_path, sgd={"learning_rate": [0.1] * 20})).build().sgd
    np.testing.assert_array_equal(listed.rates.values(0, 20), np.full(20, 0.1))


def test_a_list_of_rates_must_reach_the_last_step(tmp_path):
    problem = load(written(tmp_path, sgd={"learning_rate": [0.1, 0.2, 0.1]})).build()
    with pytest.raises(dfp.DFPError, match="learning_rate has 3 entries: step 3 needs another"):
        dfp.solve(problem.tasks[0].equation, problem.initial, problem.steps)


def test_preconditioner_and_temperature_are_keys_and_rates_per_parameter_are_asked_for(tmp_path):
    given = {"learning_rate": 1.0, "preconditioner": [0.1, 0.2], "temperature": 0.01}
    sgd = load(written(tmp_path, sgd=given)).build().sgd
    np.testing.assert_array_equal(sgd.preconditioner, np.diag([0.1, 0.2]))
    assert sgd.temperature == 0.01
    assert sgd.record(1)["preconditioner"] == [[0.1, 0.0], [0.0, 0.2]]
    with pytest.raises(dfp.DFPError, match="two readings"):
        load(written(tmp_path, sgd={"learning_rate": [0.1, 0.2]})).build()
    named = {"schedule": "values", "values": [0.1, 0.2]}
    assert load(written(tmp_path, sgd={"learning_rate": named})).build().sgd.learning_rates.at(1) == 0.2


@pytest.mark.parametrize(
    ("table", "kind", "attributes"),
    [
        ({"kind": "master"}, dfp.MasterEquation, {}),
        ({"kind": "discrete_fokker_planck"}, dfp.DiscreteFokkerPlanck, {}),
        ({"kind": "langevin"}, dfp.Langevin, {"noise": "state"}),
        ({"kind": "langevin", "noise": "frozen", "reference": [0.0, 0.0]}, dfp.Langevin, {"noise": "frozen"}),
        ({"kind": "modified_langevin"}, dfp.ModifiedLangevin, {"matched": True, "positive": False}),
        ({"kind": "modified_langevin", "matched": False}, dfp.ModifiedLangevin, {"matched": False}),
    ],
)
def test_equations(table, kind, attributes, tmp_path):
    (task,) = load(written(tmp_path, equation=[table])).build().tasks
    assert type(task.equation) is kind
    assert {name: getattr(task.equation, name) for name in attributes} == attributes
    assert task.solver == "auto"


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"kind": "fourier"}, dfp.Fourier()),
        ({"kind": "hermite", "degree": 8, "tolerance": 0.1}, dfp.Hermite(8, 0.1)),
        ({"kind": "moment_recursion", "highest": 2}, dfp.MomentRecursion(2)),
        ({"kind": "monte_carlo", "trajectories": 5000, "seed": 3}, dfp.MonteCarlo(5000, 3)),
    ],
)
def test_solvers(table, expected, tmp_path):
    (task,) = load(written(tmp_path, equation=[{"kind": "master", "solver": table}])).build().tasks
    assert task.solver == expected


def test_finite_volume(tmp_path):
    table = {"kind": "finite_volume", "tolerance": 1e-4, "cells": [40, 48], "boundary": "absorbing"}
    (task,) = load(written(tmp_path, equation=[{"kind": "langevin", "solver": table}])).build().tasks
    assert task.solver == dfp.FiniteVolume("absorbing", 1e-4, [40, 48])


def test_a_tolerance_reaches_the_solver(tmp_path):
    """As a number of the task; out of range it is refused with its path."""
    file = written(tmp_path, equation=[{"kind": "master", "tolerance": 1e-8}])
    assert load(file).build().tasks[0].tolerance == 1e-8
    with pytest.raises(dfp.DFPError, match=r"equation\[0\]\.tolerance=2"):
        load(written(tmp_path, equation=[{"kind": "master", "tolerance": 2}]))


@pytest.mark.parametrize(
    ("table", "described"),
    [
        (tables.NoiseTable, dfp.GaussianNoise),
        (tables.SGDTable, dfp.SGD),
        (solver_tables.HermiteTable, dfp.Hermite),
        (solver_tables.MomentRecursionTable, dfp.MomentRecursion),
        (solver_tables.FiniteDifferenceTable, dfp.FiniteDifference),
        (solver_tables.FiniteVolumeTable, dfp.FiniteVolume),
        (solver_tables.MonteCarloTable, dfp.MonteCarlo),
        (tables.LangevinTable, dfp.Langevin),
        (tables.ModifiedLangevinTable, dfp.ModifiedLangevin),
    ],
)
def test_defaults_are_those_of_the_classes(table, described):
    parameters = inspect.signature(described).parameters
    for name, field in table.model_fields.items():
        own = name == "sgd" and field.default is None  # of an equation that takes the file's
        if name in parameters and not field.is_required() and not own:
            assert field.default == parameters[name].default, name


@pytest.mark.parametrize("standardise", [False, True])
def test_regression_reads_columns_relative_to_the_file(standardise, tmp_path, monkeypatch):
    rows = np.random.default_rng(0).standard_normal((12, 3)) + 2.0
    text = "y,unused,x 2,x1\n\n" + "".join(f"{y},word, {b},{a}\n" for a, b, y in rows.tolist())
    (tmp_path / "points.csv").write_text(text, encoding="utf-8-sig")
    table = {"kind": "regression", "csv": "points.csv", "features": ["x1", "x 2"], "target": "y", "batch_size": 3}
    path = written(tmp_path, landscape=table | {"standardise": standardise})
    monkeypatch.chdir("/")
    landscape = load(path).build().sgd.landscape
    x, y = rows[:, :2], rows[:, 2]
    if standardise:
        x, y = (x - x.mean(axis=0)) / x.std(axis=0), (y - y.mean()) / y.std()
    wanted = dfp.QuadraticLandscape.from_regression(x, y, batch_size=3)
    # Sums of 12 products of order one: a few roundings.
    for name in ("hessian", "gradient"):
        # rounding
        np.testing.assert_allclose(getattr(landscape, name), getattr(wanted, name), rtol=0, atol=1e-13)
    np.testing.assert_allclose(landscape.law.constant, wanted.law.constant, rtol=1e-12)


def test_samples_come_from_an_archive(tmp_path):
    rng = np.random.default_rng(1)
    factors, gradients = rng.standard_normal((6, 2, 2)), rng.standard_normal((6, 2))
    hessians = factors @ factors.transpose(0, 2, 1)
    np.savez(tmp_path / "samples.npz", hessians=hessians, gradients=gradients)
    table = {"kind": "samples", "npz": "samples.npz", "batch_size": 2}
    landscape = load(written(tmp_path, landscape=table)).build().sgd.landscape
    np.testing.assert_array_equal(landscape.hessian, hessians.mean(axis=0))
    assert landscape.law.batch_size == 2


def test_names_default_to_titles_and_must_differ(tmp_path):
    kinds = [{"kind": "master"}, {"kind": "langevin", "noise": "frozen"}, {"kind": "modified_langevin"}]
    names = [task.name for task in load(written(tmp_path, equation=kinds)).build().tasks]
    assert names == ["master equation", "Langevin frozen noise", "modified Langevin"]
    text = message(written(tmp_path, equation=[{"kind": "master"}, {"kind": "master"}]))
    assert "equation[1].name='master equation': is also the name of equation[0]; give each its own name." in text


def test_all_errors_are_reported_at_once(tmp_path):
    path = written(
        tmp_path,
        steps=True,
        colour=3,
        landscape={"kind": "quadratic", "hessian": [1.0, float("nan")], "noise": {"gradeint": 1.0}},
        sgd={"learning_rate": -0.1, "momentum": float("inf"), "weight_decay": "none"},
        initial={"kind": "gausian"},
        equation=[{"kind": "langevin", "noise": "cold", "solver": {"kind": "hermite", "degree": 2, "degrees": 3}}, {}],
        grid={"lower": [0.0], "upper": [0.0], "cells": [8]},
    )
    text = message(path)
    for part in (
        "steps=True: must be a whole number",
        "colour=3: is not a known key; remove it.",
        "landscape.hessian[1]=nan: must be finite",
        "landscape.noise.gradient: is missing; add e.g. gradient = [1.0, 1.0].",
        "landscape.noise.gradeint=1.0: is not a known key; did you mean 'gradient'?",
        "sgd.learning_rate=-0.1: must be above 0",
        "sgd.momentum=inf: must be finite",
        "sgd.weight_decay='none': must be a number",
        "initial.kind='gausian': must be one of 'gaussian', 'point'; did you mean 'gaussian'?",
        "equation[0].noise='cold': must be 'state' or 'frozen'",
        "equation[0].solver.degree=2: must be at least 4",
        "equation[0].solver.degrees=3: is not a known key; did you mean 'degree'?",
        "equation[1].kind: must be one of 'master', 'discrete_fokker_planck'",
        "grid.upper[0]=0: must exceed grid.lower[0]=0",
    ):
        assert part in text
    assert text.startswith(f"{path}: 14 problems\n")
    assert len(text.splitlines()) == 15


def test_errors_of_several_equations_are_reported_at_once(tmp_path):
    text = message(
        written(
            tmp_path,
            equation=[
                {"kind": "modified_langevin", "matched": False, "positive": True},
                {"kind": "discrete_fokker_planck", "solver": {"kind": "fourier"}},
                {"kind": "langevin", "noise": "frozen", "reference": [0.0]},
            ],
        )
    )
    assert "equation[0].positive=True: only the matched form" in text
    assert "equation[1].solver=Fourier cannot solve the discrete Fokker-Planck (T5)" in text
    assert "equation[2].reference has shape (1,): must be (2,)" in text


def test_a_key_in_the_wrong_table_is_sent_home(tmp_path):
    text = message(written(tmp_path, sgd={"learning_rate": 0.1, "steps": 20}))
    assert "sgd.steps=20: is not a known key; it belongs at the top of the file" in text
    text = message(written(tmp_path, learning_rate=0.1))
    assert "learning_rate=0.1: is not a known key; it belongs in [sgd]." in text


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"steps = 1\nsave = [0,\n", "is not valid TOML: Invalid value (at line 2, the end of the file)"),
        (b"steps = 1\nsteps = 2\n", "is not valid TOML: Cannot overwrite a value (at line 2"),
        (b"steps = 1\nname = '\xff'\n", "line 2: is not UTF-8 text; save the file as UTF-8."),
        (b"#" * (MAX_BYTES + 1), "is larger than 1048576 bytes; keep data in CSV or NPZ files"),
        (b"a = " + b"[" * 5000 + b"]" * 5000, "is nested too deep; write it flat."),
        (b".".join([b"a"] * 5000) + b" = 1", "is nested more than 10 deep; write it flat."),
        (b"steps = 99999999999999999999", "steps=99999999999999999999: must fit into 64 bits"),
        (b"save = [0x" + b"f" * 6000 + b"]", "save[0]=0xffffffffffffffff...: must fit into 64 bits"),
        (b"steps = " + b"9" * 5000, "is not valid TOML"),
    ],
)
def test_files_that_are_not_what_they_should_be(content, part, tmp_path):
    path = tmp_path / "problem.toml"
    path.write_bytes(content)
    assert part in message(path)


def test_a_byte_order_mark_and_windows_lines_are_harmless(tmp_path):
    path = written(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert load(path).model_dump() == load(written(tmp_path)).model_dump()
    assert tomllib.loads(path.read_text(encoding="utf-8"))["steps"] == 20
