"""A file holds its problem by value: solved again from it, every bit is the same."""

import copy
import hashlib
import math
import operator
import random
import re
import shutil
import tomllib
from dataclasses import replace
from functools import partial, reduce

import numpy as np
import pytest
import tomli_w
from scipy import stats
from test_config import EXAMPLES

import dfp

RNG = np.random.default_rng(7)
X, Y = RNG.normal(size=(6, 1)), RNG.normal(size=6)
ADDITIVE = {
    "gaussian": dfp.QuadraticLandscape(1.3, 0.1, noise=dfp.GaussianNoise(0.7)),
    "student": dfp.QuadraticLandscape(1.3, noise=dfp.StudentNoise(0.7, 5.0)),
    "scipy": dfp.QuadraticLandscape(1.3, noise=dfp.AdditiveNoise(stats.skewnorm(4, scale=0.5))),
    "shared": dfp.QuadraticLandscape.from_samples(np.array([1.3]), RNG.normal(size=(6, 1)), batch_size=2),
}
OTHERS = {
    "multiplicative": dfp.QuadraticLandscape(1.3, noise=dfp.GaussianNoise(0.7, 0.2, at=0.1)),
    "samples": dfp.QuadraticLandscape.from_samples(X[:, :, None] ** 2, X * Y[:, None], batch_size=2),
    "features": dfp.GaussianFeatures([1.0], noise=0.5, batch_size=4),
}
START = dfp.Gaussian([1.0], [[0.3]])
SOLVERS = [dfp.Fourier(), dfp.Hermite(), dfp.Transfer(), dfp.MomentRecursion(), dfp.MonteCarlo(2000, seed=5)]


def same(a, b):
    """Whether two solutions agree bit for bit."""
    names = ("steps", "mean", "covariance", "density", "third", "fourth")
    return all(np.asarray(getattr(a, n)).tobytes() == np.asarray(getattr(b, n)).tobytes()
               for n in names if getattr(a, n) is not None)  # fmt: skip


def again(solution, tmp_path):
    """Return what a rerun of its file gives."""
    solution.save(tmp_path / "run.h5")
    return dfp.rerun(tmp_path / "run.h5")


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: s.name)
@pytest.mark.parametrize("name", [*ADDITIVE, *OTHERS])
def test_every_law_by_every_solver_gives_the_same_bits(name, solver, tmp_path):
    equation = dfp.MasterEquation(dfp.SGD((ADDITIVE | OTHERS)[name], 0.2))
    try:
        first = dfp.solve(equation, START, 5, solver=solver)
    except dfp.DFPError as error:
        pytest.skip(str(error))
    found = again(first, tmp_path)
    assert same(first, found)
    assert found.provenance["rerun"] == []


@pytest.mark.parametrize("options", [
    {"momentum": 0.5, "nesterov": True}, {"learning_rate": dfp.CosineSchedule(0.3, 9)}, {"preconditioner": [0.5]},
    {"learning_rate": dfp.WarmUp(3, dfp.StepSchedule(0.3, 4))}, {"temperature": 0.1}, {"learning_rate": [0.2] * 6},
    {"weight_decay": 0.1, "batch_size": 3},
], ids=str)  # fmt: skip
def test_options_of_sgd_are_kept(options, tmp_path):
    sgd = dfp.SGD(ADDITIVE["gaussian"], **({"learning_rate": 0.2} | options))
    first = dfp.solve(dfp.MasterEquation(sgd), START, 6)
    assert same(first, again(first, tmp_path))


def test_two_parameters_a_grid_and_a_start_from_a_solution(tmp_path):
    land = dfp.QuadraticLandscape([[1.0, 0.3], [0.3, 2.0]], noise=dfp.GaussianNoise([0.5, 0.2]))
    equation = dfp.Langevin(dfp.SGD(land, 0.1))
    first = dfp.solve(equation, dfp.Gaussian([1.0, 0.0], 0.2), 4, grid=dfp.Grid([-4, -4], [4, 4], 32))
    assert same(first, again(first, tmp_path))
    second = dfp.solve(equation, first, 4, [2, 4])
    assert same(second, again(second, tmp_path))


def test_what_a_file_cannot_hold_is_named(tmp_path):
    sgd = dfp.SGD(ADDITIVE["gaussian"], lambda n: 0.2 / (n + 1))
    with pytest.raises(dfp.DFPError, match="learning_rate"):
        again(dfp.solve(dfp.MasterEquation(sgd), START, 3), tmp_path)
    curved = dfp.SGD(dfp.Landscape(lambda t: t**3 + t, 0.3), 0.1)
    with pytest.raises(dfp.DFPError, match="landscape"):
        again(dfp.solve(dfp.DiscreteFokkerPlanck(curved), START, 3), tmp_path)


@pytest.mark.parametrize(("equation", "solver"), [
    (dfp.Langevin, dfp.FiniteVolume()), (dfp.ModifiedLangevin, dfp.FiniteVolume(cells=48)),
    (dfp.DiscreteFokkerPlanck, dfp.FiniteDifference()), (dfp.DiscreteFokkerPlanck, dfp.Hermite()),
    (dfp.Langevin, dfp.MonteCarlo(2000)), (dfp.Langevin, "auto"),
], ids=str)  # fmt: skip
def test_other_equations_and_solvers(equation, solver, tmp_path):
    start = dfp.Gaussian([0.2], [[0.02]])
    first = dfp.solve(equation(dfp.SGD(ADDITIVE["gaussian"], 0.02)), start, 4, [2, 4], solver)
    assert same(first, again(first, tmp_path))


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_files_that_hold_their_configuration_alone(example, tmp_path):
    """As the command line wrote them before; data files are sought beside them."""
    from dfp.cli.commands import _solved
    from dfp.config.config import load

    for path in EXAMPLES.iterdir():
        shutil.copy(path, tmp_path)
    data = tomllib.loads(example.read_text(encoding="utf-8")) | {"steps": 4, "save": [2, 4]}
    data["equation"] = [{"kind": "master", "solver": {"kind": "moment_recursion"}}]
    (tmp_path / "small.toml").write_text(tomli_w.dumps(data), encoding="utf-8")
    config = load(tmp_path / "small.toml")
    first = _solved(config, config.build(), 0, None)
    del first.provenance["recipe"]
    assert same(first, again(first, tmp_path))
    first.provenance["recipe"] = {"missing": "all"}
    assert same(first, again(first, tmp_path))
    first.provenance["configuration"]["steps"] = "four"
    with pytest.raises(dfp.FileFormatError, match="configuration is malformed"):
        again(first, tmp_path)


def test_options_that_solvers_gained_later_have_their_defaults(tmp_path):
    solver = dfp.MonteCarlo(2000, seed=3)
    first = dfp.solve(dfp.MasterEquation(dfp.SGD(ADDITIVE["gaussian"], 0.2)), START, 2, solver=solver)
    told = first.provenance["recipe"]["solver"]
    del told["look_ahead"]
    assert same(first, again(first, tmp_path))
    told["unknown"] = 1
    with pytest.raises(dfp.FileFormatError, match="recipe"):
        again(first, tmp_path)


@pytest.mark.parametrize("forged", [
    7, {}, {"equation": {"kind": "os.system"}}, {"equation": {}}, {"equation": {"kind": "grid", "lower": 0}},
    {"grid": {"kind": "array", "type": "|O", "shape": [1], "values": [1]}},
    {"grid": {"kind": "array", "type": "<f8", "shape": [9], "values": [1]}},
    {"equation": {"kind": ["grid"]}},
], ids=str)  # fmt: skip
def test_forged_recipes_are_refused(forged, tmp_path):
    first = dfp.solve(dfp.MasterEquation(dfp.SGD(ADDITIVE["gaussian"], 0.2)), START, 2)
    first.provenance["recipe"] = forged
    with pytest.raises(dfp.FileFormatError, match="recipe"):
        again(first, tmp_path)


def test_a_law_of_another_shape_is_refused(tmp_path):
    first = dfp.solve(dfp.MasterEquation(dfp.SGD(ADDITIVE["gaussian"], 0.2)), START, 2)
    local = first.provenance["recipe"]["equation"]["sgd"]["landscape"]["noise"]["local"]
    local |= {"shape": [2, 2], "values": [1.0, 0.0, 0.0, 1.0]}
    with pytest.raises(dfp.FileFormatError, match="recipe"):
        again(first, tmp_path)


PUT = [None, True, 0, -1, 7, 1e300, math.nan, 0.5, "x", [], [1.0, 2.0], {}, {"kind": "grid"}, 2**40,
       {"kind": "array", "type": "<f8", "shape": [2], "values": [2.0, 1.0]},
       {"kind": "array", "type": "<f8", "shape": [0], "values": []}]  # fmt: skip


def places(part, at=()):
    """Every place of a recipe, as the keys that lead to it."""
    pairs = part.items() if isinstance(part, dict) else enumerate(part[:6]) if isinstance(part, list) else ()
    return [at, *(found for key, one in pairs for found in places(one, (*at, key)))]


@pytest.mark.parametrize("name", ["gaussian", "shared", "multiplicative", "samples"])
def test_altered_recipes_are_solved_or_refused(name, monkeypatch):
    """Forty of each: one entry replaced, or one by another; no error but those of the library."""
    first = dfp.solve(dfp.MasterEquation(dfp.SGD((ADDITIVE | OTHERS)[name], 0.2)), START, 2, [2])
    outcomes = set()
    for seed in range(40):
        chance, recipe = random.Random(seed), copy.deepcopy(first.provenance["recipe"])
        *way, last = chance.choice(places(recipe)[1:])
        part = reduce(operator.getitem, way, recipe)
        part[last] = copy.deepcopy(chance.choice(PUT) if seed % 3 else reduce(operator.getitem, way, recipe))
        forged = replace(first, provenance=first.provenance | {"recipe": recipe})
        monkeypatch.setattr("dfp.config.rerun.load", lambda path, forged=forged: forged)
        try:
            dfp.rerun("forged.h5")
            outcomes.add("solved")
        except dfp.DFPError as error:
            outcomes.add(type(error).__name__)
    assert {"solved", "FileFormatError"} <= outcomes


def test_arrays_of_an_odd_kind_are_refused_where_they_are_met(monkeypatch):
    first = dfp.solve(dfp.MasterEquation(dfp.SGD(ADDITIVE["shared"], 0.2)), START, 2)
    first.provenance["recipe"]["equation"]["sgd"]["landscape"]["noise"]["shared"] = "x"
    monkeypatch.setattr("dfp.config.rerun.load", lambda path: first)
    with pytest.raises(dfp.FileFormatError, match="recipe is malformed"):
        dfp.rerun("forged.h5")


def test_no_file_says_where_a_checkpoint_is_written(tmp_path):
    """Neither one that was asked for, nor one that a forged file asks for."""
    asked, forged = tmp_path / "asked.h5", tmp_path / "forged.h5"
    equation = dfp.MasterEquation(dfp.SGD(ADDITIVE["gaussian"], 0.2))
    first = dfp.solve(equation, START, 2, solver=dfp.MonteCarlo(2000, seed=5, checkpoint=asked))
    asked.unlink()
    assert same(first, again(first, tmp_path)) and not asked.exists()
    first.provenance["recipe"]["solver"]["checkpoint"] = str(forged)
    with pytest.raises(dfp.FileFormatError, match="recipe"):
        again(first, tmp_path)
    assert not forged.exists()


def test_the_command_line_reruns_a_file(tmp_path, capsys):
    from dfp.cli.commands import app

    first = dfp.solve(dfp.MasterEquation(dfp.SGD(ADDITIVE["gaussian"], 0.2)), START, 2)
    first.save(tmp_path / "run.h5")
    app(["rerun", str(tmp_path / "run.h5"), "-o", str(tmp_path / "again.h5")], standalone_mode=False)
    assert "same bits    yes" in capsys.readouterr().out
    assert same(first, dfp.load(tmp_path / "again.h5"))


def test_a_file_of_several_solutions_is_made_again(tmp_path, capsys):
    from dfp.cli.commands import app

    sgd = dfp.SGD(ADDITIVE["gaussian"], 0.2)
    first = {kind.__name__: dfp.solve(kind(sgd), START, 2) for kind in (dfp.MasterEquation, dfp.Langevin)}
    dfp.save_many(first, tmp_path / "both.h5")
    found = dfp.rerun(tmp_path / "both.h5")
    assert [*found] == [*first] and all(same(one, found[name]) for name, one in first.items())
    app(["rerun", str(tmp_path / "both.h5"), "-o", str(tmp_path / "again.h5")], standalone_mode=False)
    assert capsys.readouterr().out.count("same bits    yes") == 2
    assert all(same(one, first[name]) for name, one in dfp.load_many(tmp_path / "again.h5").items())
    with pytest.raises(dfp.DFPError, match="holds 2 solutions, and one can go on"):
        dfp.rerun(tmp_path / "both.h5", checkpoint=tmp_path / "kept.h5")


def _stored(folder, **arrays):
    np.savez(folder / "data.npz", **arrays)
    return dfp.StoredLandscape(folder / "data.npz", batch_size=3 if "targets" in arrays else 1)


LARGE = {
    "regression": {"features": (x := RNG.normal(size=(60_000, 3))), "targets": x @ [1.0, 0.5, 0.2]},
    "samples": {"hessians": np.ones((70_000, 2, 2)) + np.eye(2), "gradients": RNG.normal(size=(70_000, 2))},
    "matrix": {"hessian": np.diag(np.linspace(0.1, 1, 520)) + 1e-4, "gradient_noise": np.linspace(0, 1, 520)},
}


@pytest.mark.parametrize("name", LARGE)
def test_large_data_are_kept_by_path_and_digest(name, tmp_path):
    landscape = _stored(tmp_path, **LARGE[name])
    equation = dfp.MasterEquation(dfp.SGD(landscape, 0.1))
    start = dfp.Point(np.ones(landscape.dimension))
    first = dfp.solve(equation, start, 4, solver=dfp.MomentRecursion())
    held = first.provenance["recipe"]["equation"]["sgd"]["landscape"]
    assert held["kind"] == "stored" and [*LARGE[name]] == [one for one, *_ in held["shapes"]]
    found = again(first, tmp_path)
    assert same(first, found) and found.provenance["rerun"] == []

    moved = tmp_path / "moved"  # both together
    moved.mkdir()
    for file in ("run.h5", "data.npz"):
        (tmp_path / file).rename(moved / file)
    assert same(first, dfp.rerun(moved / "run.h5"))
    content = dict(np.load(moved / "data.npz"))
    content[next(iter(content))].flat[7] += 1e-9
    np.savez(moved / "data.npz", **content)
    with pytest.raises(dfp.DFPError, match=r"run\.h5.*data\.npz.*holds other data.*SHA-256.*solve anew"):
        dfp.rerun(moved / "run.h5")
    (moved / "data.npz").unlink()
    with pytest.raises(dfp.DFPError, match=r"run\.h5.*data\.npz.*there is no file"):
        dfp.rerun(moved / "run.h5")


TABLE = """steps = 3
landscape = {kind = "regression", csv = "points.csv", features = ["a", "b"], target = "y", standardise = true}
sgd = {learning_rate = 0.1}
initial = {kind = "point", theta = [1.0, 1.0]}
equation = [{kind = "master", solver = {kind = "moment_recursion"}}]
"""


def _table(folder, shift=0.0):
    rows = "\n".join(f"{a!r},{b!r},{a + b + c + shift!r}" for a, b, c in RNG.normal(size=(9, 3)).tolist())
    (folder / "points.csv").write_text(f"a,b,y\n{rows}\n", encoding="utf-8")


def test_a_large_table_of_a_configuration_is_kept_by_path_and_digest(tmp_path, monkeypatch, capsys):
    from dfp.cli.commands import app

    def run(*words):
        app([str(word) for word in words], standalone_mode=False)

    (tmp_path / "data").mkdir()
    _table(tmp_path / "data")
    (tmp_path / "data" / "problem.toml").write_text(TABLE, encoding="utf-8")
    monkeypatch.setattr("dfp.solving.recipe._TEXT", 20)
    run("solve", tmp_path / "data" / "problem.toml", "-o", tmp_path / "run.h5")
    first = dfp.load(tmp_path / "run.h5")
    held = first.provenance["recipe"]["equation"]["sgd"]["landscape"]
    assert (held["kind"], held["features"], held["standardise"]) == ("stored", ["a", "b"], True)
    run("rerun", tmp_path / "run.h5")
    assert "same bits    yes" in capsys.readouterr().out
    _table(tmp_path / "data", shift=1.0)
    now = hashlib.sha256((tmp_path / "data" / "points.csv").read_bytes()).hexdigest()[:16]
    told = (
        f"points.csv': holds other data than it did: its SHA-256 begins with {now}, and not with {held['sha256'][:16]};"
    )
    with pytest.raises(dfp.DFPError, match=rf"run\.h5.*{re.escape(told)}"):
        dfp.rerun(tmp_path / "run.h5")


def test_a_sweep_of_a_configuration_does_not_go_on_with_other_data(tmp_path):
    from dfp.config.sweeps import load

    _table(tmp_path)
    sweep = '[sweep]\n"sgd.learning_rate" = [0.1, 0.2]\n'
    (tmp_path / "problem.toml").write_text(TABLE + sweep, encoding="utf-8")
    function, axes = load(tmp_path / "problem.toml", "stationary")
    whole = dfp.sweep(function, axes, save=tmp_path / "cube.h5", quiet=True)
    again, _ = load(tmp_path / "problem.toml", "stationary")
    assert not whole.failures and again.__qualname__ == function.__qualname__
    _table(tmp_path, shift=1.0)
    with pytest.raises(dfp.DFPError, match="holds other data"):
        function(learning_rate=0.2)
    with pytest.raises(dfp.DFPError, match="holds a sweep of"):
        dfp.sweep(load(tmp_path / "problem.toml", "stationary")[0], axes, save=tmp_path / "cube.h5", quiet=True)


def test_small_data_of_a_file_are_kept_by_value(tmp_path):
    landscape = _stored(tmp_path, features=X, targets=Y)
    assert landscape.law == dfp.QuadraticLandscape.from_regression(X, Y, 3).law
    first = dfp.solve(dfp.MasterEquation(dfp.SGD(landscape, 0.2)), START, 5)
    (tmp_path / "data.npz").unlink()
    assert same(first, again(first, tmp_path))


def test_a_stored_landscape_says_what_its_file_lacks(tmp_path):
    for arrays, said in [
        ({"features": X}, "no array 'targets', only 'features'"), ({"other": X}, "no array 'features', 'hessians' or"),
    ]:  # fmt: skip
        with pytest.raises(dfp.DFPError, match=said):
            _stored(tmp_path, **arrays)
    landscape = _stored(tmp_path, hessian=np.ones(2))
    assert dfp.StoredLandscape(landscape.path, sha256=landscape.sha256) == landscape
    with pytest.raises(dfp.DFPError, match="holds other data"):
        dfp.StoredLandscape(landscape.path, sha256="0" * 64)
    with pytest.raises(dfp.DFPError, match="holds no samples"):
        dfp.StoredLandscape(landscape.path, 2)
    for columns in ({"features": ["a"]}, {"features": [], "target": "y"}, {"standardise": True}):
        with pytest.raises(dfp.DFPError, match="must name the columns of a table"):
            dfp.StoredLandscape(landscape.path, **columns)


def _starts():
    """States at step 0 of more entries than fit as text, once that is 20."""
    equation = dfp.MasterEquation(dfp.SGD(ADDITIVE["gaussian"], 0.2))
    grid = dfp.Grid(-4.0, 4.0, 90)
    return {
        "density": dfp.Density.normalised(grid, np.exp(-((grid.axes[0] - 1) ** 2) - 0.1 * grid.axes[0] ** 4)),
        "solution": dfp.solve(equation, START, 3),
        "stationary": dfp.stationary(equation),
    }


@pytest.mark.parametrize(("start", "solver"), [
    *(("density", solver) for solver in SOLVERS), ("solution", "auto"), ("stationary", "auto")], ids=str)  # fmt: skip
def test_starts_of_any_size_are_held(start, solver, tmp_path, monkeypatch):
    monkeypatch.setattr("dfp.solving.recipe._TEXT", 20)
    equation = dfp.MasterEquation(dfp.SGD(ADDITIVE["gaussian"], 0.2))
    first = dfp.solve(equation, _starts()[start], 3, solver=solver)
    assert "entries" in first.to_xarray()
    found = again(first, tmp_path)
    assert same(first, found) and found.provenance["rerun"] == []
    dfp.load(tmp_path / "run.h5").save(tmp_path / "copy.h5")
    found.save(tmp_path / "second.h5")
    for name in ("copy.h5", "second.h5"):
        assert same(first, dfp.rerun(tmp_path / name))
    dfp.save_many({"one": first, "other": dfp.solve(equation, START, 3, solver=solver)}, tmp_path / "two.h5")
    dfp.load_many(tmp_path / "two.h5")["one"].save(tmp_path / "one.h5")
    assert same(first, dfp.rerun(tmp_path / "one.h5"))


def test_a_start_on_a_large_grid(tmp_path):
    """270 400 cells, beyond what is text as it is; and one entry that is altered is another start."""
    grid = dfp.Grid([-2, -2], [2, 2], 520)
    start = dfp.Density.normalised(grid, np.exp(-((grid.points**4).sum(axis=-1))))
    equation = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape([1.0, 0.5], noise=dfp.GaussianNoise(0.3)), 0.2))
    first = dfp.solve(equation, start, 2, solver=dfp.MonteCarlo(2000))
    assert same(first, again(first, tmp_path))
    loaded = dfp.load(tmp_path / "run.h5")
    loaded.provenance["recipe"]["initial"]["values"]["values"][260, 250:270] *= 0.9999
    assert not same(first, again(loaded, tmp_path))


def test_how_far_a_rerun_is_from_its_file_is_said(tmp_path):
    """A file whose numbers are others than its problem gives; by hand, to the two digits that are said."""
    solution = dfp.solve(dfp.MasterEquation(dfp.SGD(ADDITIVE["gaussian"], 0.2)), START, 2)
    moved = replace(solution, mean=solution.mean + 1e-3 * np.sqrt(solution.covariance[:, 0]),
                    covariance=solution.covariance * (1 + 2e-4), density=solution.density * (1 + 3e-5))  # fmt: skip
    *_, said = again(moved, tmp_path).provenance["rerun"]
    assert "1.0e-03 standard deviations" in said and "2.0e-04 of the variances" in said and "3.0e-05 in L1" in said


def test_large_matrices_are_held(tmp_path, monkeypatch):
    """Of the landscape up to a size, of the start in any case."""
    d = 520
    landscape = dfp.QuadraticLandscape(np.linspace(0.1, 1.0, d), noise=dfp.GaussianNoise(np.ones(d)))
    start = dfp.Gaussian(np.ones(d), np.diag(np.linspace(0.1, 0.2, d)))
    first = dfp.solve(dfp.MasterEquation(dfp.SGD(landscape, 0.1)), start, 2, solver=dfp.MomentRecursion())
    assert same(first, again(first, tmp_path))
    monkeypatch.setattr("dfp.solving.recipe._MOST", 1000)
    with pytest.raises(dfp.DFPError, match=r"landscape.*more than 1000 entries.*StoredLandscape"):
        again(dfp.solve(dfp.MasterEquation(dfp.SGD(landscape, 0.1)), start, 2, solver=dfp.MomentRecursion()), tmp_path)


def _two():
    """Exact SGD and Langevin, solved, and laws of both: as such, and by value."""
    sgd = dfp.SGD(ADDITIVE["gaussian"], 0.2)
    solved = {"SGD": dfp.MasterEquation(sgd), "Langevin": dfp.Langevin(sgd)}
    found = {name: dfp.solve(equation, START, 4, [2, 4]) for name, equation in solved.items()}
    law = dfp.stationary(solved["SGD"])
    return found | {"law": law, "moments": dfp.moments(solved["SGD"], START, 4), "given": replace(law, error=0.1)}


def test_comparisons_are_made_again_from_their_sides(tmp_path, monkeypatch):
    """Also where large arrays lie beside the record; a side that cannot be made again is named."""
    monkeypatch.setattr("dfp.solving.recipe._TEXT", 20)
    sides, path = _two(), tmp_path / "distances.h5"
    first = dfp.compare(sides, "law")
    first.save(path)
    assert "entries" in first.to_xarray() and not hasattr(first, "solutions")
    assert str(dfp.rerun(path).distances) == str(first.distances)
    dfp.rerun(path).save(tmp_path / "again.h5")
    assert str(dfp.rerun(tmp_path / "again.h5").distances) == str(first.distances)
    dfp.compare({"a": replace(sides["moments"], mean=sides["moments"].mean + 1), "b": sides["SGD"]}).save(path)
    with pytest.raises(dfp.DFPError, match=r"solutions\.a: this Moments does not say how it was made"):
        dfp.rerun(path)


def test_forged_calls_within_calls_are_refused(tmp_path):
    first = dfp.compare(_two())
    call, written = first._call(), tmp_path / "written.h5"
    solved = call["arguments"]["solutions"]["entries"]["SGD"]
    more = solved["arguments"] | {"checkpoint": str(written)}
    for forged in (
        solved | {"function": "save_many"}, solved | {"arguments": more}, solved | {"part": "grid"}, {"kind": "call"},
        {"kind": "function", "name": "load"}, {"kind": "configured function", "text": "[1, 2]"},
    ):  # fmt: skip
        entries = {"entries": {"SGD": forged, "law": forged}}
        first._remember(lambda told=entries: call | {"arguments": {"solutions": {"kind": "table"} | told}})
        first.save(tmp_path / "forged.h5")
        with pytest.raises(dfp.DFPError, match=r"forged\.h5"):
            dfp.rerun(tmp_path / "forged.h5")
    assert not written.exists()


def test_sweeps_of_files_and_of_functions_of_dfp_are_made_again(tmp_path):
    """Not of a function of the user's own, which is named."""
    from dfp.config.rerun import same_bits
    from dfp.config.sweeps import load

    data = {
        "steps": 4, "landscape": {"kind": "quadratic", "hessian": [1.0], "noise": {"gradient": [0.5]}},
        "sgd": {"learning_rate": 0.1}, "initial": {"kind": "gaussian", "mean": [1.0], "covariance": [0.1]},
        "equation": [{"kind": "master"}, {"kind": "langevin"}], "sweep": {"sgd.learning_rate": [0.1, 0.2, 0.4]},
    }  # fmt: skip
    (tmp_path / "problem.toml").write_text(tomli_w.dumps(data), encoding="utf-8")
    equation = dfp.MasterEquation(dfp.SGD(ADDITIVE["gaussian"], 0.2))
    spread = partial(dfp.mean_squared_displacement, equation, START, save=[2])
    tasks = {quantity: load(tmp_path / "problem.toml", quantity) for quantity in ("stationary", "moments")}
    for name, (function, axes) in (tasks | {"spread": (spread, {"steps": [2, 3]})}).items():
        path = tmp_path / f"{name}.h5"
        first = dfp.sweep(function, axes, quiet=True, save=path)
        before = path.read_bytes()
        assert same_bits(first, dfp.rerun(path)) and np.isfinite(next(iter(first.values.values()))).all()
        assert path.read_bytes() == before
    dfp.sweep(lambda x: 2 * x, {"x": [1.0, 2.0]}, quiet=True).save(path)
    with pytest.raises(dfp.DFPError, match="is a function of your own, which no file holds"):
        dfp.rerun(path)


def test_parts_of_escapes_know_the_call_that_made_the_whole(tmp_path):
    """Of a landscape of functions, which no file holds: the file says so; the call is that of the escape."""
    well = dfp.Landscape(lambda t: t**3 - t, 0.1, hessian=lambda t: 3 * t**2 - 1)
    found = dfp.escape(dfp.SGD(well, 0.3), start=-1.0, domain=(-2.0, 0.0))
    assert found.committor._call()["part"] == "committor" and found.quasi_stationary._call()["function"] == "escape"
    found.committor.save(tmp_path / "committor.h5")
    with pytest.raises(dfp.DFPError, match=r"whole problem: sgd\.landscape"):
        dfp.rerun(tmp_path / "committor.h5")
    found.save(tmp_path / "escape.h5")
    assert dfp.load(tmp_path / "escape.h5").committor._call()["part"] == "committor"
    current = dfp.probability_current(dfp.Langevin(dfp.SGD(OTHERS["multiplicative"], 0.1)), dfp.Grid(-4.0, 4.0, 64))
    current.density.save(tmp_path / "density.h5")
    assert dfp.rerun(tmp_path / "density.h5") == current.density
