"""Malformed input of every kind: the message names the key, the value and a remedy, and no file is touched."""

import copy

import numpy as np
import pytest
import tomli_w
from test_cli import contents, refused
from test_config import document

import dfp

NAN = float("nan")
REMOVED = object()


def changed(path, value):
    """The small valid document with one key (a dotted path, numbers index lists) set to ``value`` or removed."""
    result = copy.deepcopy(document())
    *tables, key = [int(part) if part.isdigit() else part for part in path.split(".")]
    place = result
    for table in tables:
        place = place[table] if isinstance(table, int) else place.setdefault(table, {})
    if value is REMOVED:
        del place[key]
    else:
        place[key] = value
    return result


# Key to change, value given, and what the message must contain: key with value, and remedy.
CONFIGURATIONS = [
    ("steps", -1, "steps=-1: must be at least 0", "give a larger number"),
    ("steps", 20.0, "steps=20.0: must be a whole number", "e.g. 200"),
    ("steps", True, "steps = true: must be a whole number", "e.g. 200"),
    ("steps", 2**63, "steps=9223372036854775808: must fit into 64 bits", "give a smaller number"),
    ("steps", REMOVED, "steps: is missing", "add e.g. steps = 200"),
    ("save", 5, "save=5: must be a list", "e.g. [0, 200]"),
    ("save", [0, 21], "save[1]=21: must be at most 20", "give a smaller integer"),
    ("save", [5, 3], "save=[5, 3]: must increase", "sort it"),
    ("save", [], "save=[]: must name at least one step", "give e.g. [0, 20]"),
    ("save", [0, "x"], "save[1]='x': must be a whole number", "without quotes"),
    ("stpes", 20, "stpes=20: is not a known key", "did you mean 'steps'?"),
    ("sgd", REMOVED, "sgd: is missing", "add the table [sgd]"),
    ("sgd", 3, "sgd=3: must be a table", "write the header [sgd]"),
    ("sgd.learning_rate", 0, "sgd.learning_rate=0: must be above 0", "give a value in that range"),
    ("sgd.learning_rate", "0.1", "sgd.learning_rate='0.1': must be a number", "without quotes"),
    ("sgd.learning_rate", NAN, "sgd.learning_rate=nan: must be finite", "give a finite float"),
    ("sgd.learning_rate", [0.1, -0.1], "sgd.learning_rate[1]=-0.1: must be at least 0", "give a value in that range"),
    ("sgd.learning_rate", {"schedule": "sine"}, "sgd.learning_rate.schedule='sine': must be one of", "give one of"),
    ("sgd.learning_rate", {"schedule": "step", "initial": 1.0}, "sgd.learning_rate.every: is missing", "add it"),
    (
        "sgd.learning_rate",
        {"schedule": "cosine", "initial": -1.0, "steps": 5},
        "sgd.learning_rate.initial=-1: must be above 0",
        "give a value in that range",
    ),
    (
        "sgd.learning_rate",
        {"schedule": "warm_up", "steps": 5, "then": {"schedule": "step", "initial": 0.1, "each": 3}},
        "sgd.learning_rate.then.each: is not a known key",
        "give initial, every, factor",
    ),
    ("sgd.lerning_rate", 0.1, "sgd.lerning_rate=0.1: is not a known key", "did you mean 'learning_rate'?"),
    ("sgd.weight_decay", -1.0, "sgd.weight_decay=-1.0: must be at least 0", "give a larger number"),
    ("sgd.nesterov", True, "sgd.nesterov = true: needs momentum > 0", "give momentum = 0.9"),
    ("sgd.replace", False, "sgd.replace = false: only a finite sum", "use replace = true"),
    ("sgd.momentum", 1, "sgd.momentum=1: must be below 1", "give a smaller number"),
    ("sgd.replace", "no", "sgd.replace='no': must be true or false", "write one of them without quotes"),
    ("sgd.batch_size", 0, "sgd.batch_size=0: must be at least 1", "give a larger integer"),
    ("sgd.batch_size", [4, 2.5], "sgd.batch_size[1]=2.5: must be an integer", "give a whole number"),
    ("landscape.kind", "quadric", "landscape.kind='quadric': must be one of", "did you mean 'quadratic'?"),
    ("landscape.hessian", [1.0, float("inf")], "landscape.hessian[1]=inf: must be finite", "give a finite"),
    ("landscape.hessian", [True, 1.0], "landscape.hessian[0] = true: must be a real number", "give a float"),
    ("landscape.hessian", [[1.0, 2.0], [3.0]], "landscape.hessian=[[1.0, 2.0], [3.0]]: rows differ", "same number"),
    (
        "landscape.hessian",
        [[1, 2], [3, 4]],
        "landscape.hessian differs from its transpose by 1",
        "i, j and j, i equal",
    ),
    ("landscape.hessian", [[[1.0]]], "landscape.hessian has shape (1, 1, 1)", "reshape it"),
    ("landscape.hessian", "big", "landscape.hessian='big': must be a real number", "give a float"),
    ("landscape.noise.gradient", [1.0], "landscape.noise.gradient has shape (1,)", "give one entry per parameter"),
    ("landscape.noise.gradient", -1.0, "landscape.noise.gradient has the eigenvalue -1", "check signs"),
    ("landscape.noise.hessian", [-1, 0], "landscape.noise.hessian has the entry -1", "give variances"),
    ("landscape.noise.basis", "x", "landscape.noise.basis='x': must be 'theta' or 'eigen'", "give one of these"),
    ("initial.covariance", [[1, 2], [2, 1]], "initial.covariance has the eigenvalue -1", "check signs"),
    ("initial.mean", [1.0], "initial has 1 parameter: the landscape has 2", "theta, of 2 numbers"),
    ("initial.theta", [1.0, 2.0], "initial.theta=[1.0, 2.0]: is not a known key", "remove it"),
    ("equation", [], "equation=[]", "header [[equation]]"),
    ("equation", {"kind": "master"}, "equation={'kind': 'master'}: must be a table", "header [[equation]]"),
    ("equation.0.kind", "langvin", "equation[0].kind='langvin': must be one of", "did you mean 'langevin'?"),
    ("equation.0.name", "a/b", "equation[0].name='a/b': must be", "rename it"),
    ("equation.0.solver", "fourier", "equation[0].solver='fourier': must be a table", "header [equation.solver]"),
    (
        "equation.0.solver",
        {"kind": "hermite", "degree": 99},
        "equation[0].solver.degree=99: must be at most 40",
        "give",
    ),
    ("equation.0.solver", {"kind": "monte_carlo"}, "equation[0].solver.trajectories: is missing", "1000000"),
    (
        "equation.0.solver",
        {"kind": "monte_carlo", "trajectories": 0},
        "equation[0].solver.trajectories=0: must be at least",
        "give a larger integer",
    ),
    ("grid", {"lower": [0, 0], "upper": [1, 0], "cells": 8}, "grid.upper[1]=0: must exceed grid.lower[1]=0", "width"),
    ("grid", {"lower": [0, 0], "upper": [1, 1], "cells": 8.5}, "grid.cells[0]=8.5: must be an integer", "whole number"),
    ("grid", {"lower": [0, 0], "upper": [1, 1], "cells": 10**5}, "10000000000 cells exceed the limit", "use fewer"),
    (
        "grid",
        {"lower": [0], "upper": [1], "cells": 8},
        "grid has 1 parameter: the landscape has 2",
        "lower and upper of 2 numbers",
    ),
]


@pytest.mark.parametrize(("key", "value", "cause", "remedy"), CONFIGURATIONS)
def test_malformed_configuration(key, value, cause, remedy, tmp_path):
    path = tmp_path / "problem.toml"
    path.write_bytes(tomli_w.dumps(changed(key, value)).encode())
    text = refused(tmp_path, "solve", path, "-o", tmp_path / "run.h5")
    assert f"error: {path}: " in text
    assert cause in text
    assert remedy in text
    assert len(text.splitlines()) == 1


def test_the_unchanged_document_is_accepted(tmp_path):
    """Negative control: nothing above is refused for another reason than its one change."""
    from dfp.config.config import Config

    assert Config.model_validate(document()).build().tasks


CSV = "landscape.csv='points.csv'"
TABLES = [
    (None, f"{CSV}: there is no file", "correct or move it"),
    ("x1,x3,y\n1,2,3\n", f"{CSV}, column 'x2': is not in the header", "did you mean"),
    ("x1,x2,x2,y\n1,2,3,4\n", f"{CSV}, column 'x2': appears 2 times", "give every column its own name"),
    ("x1,x2,y\n1,2,3\n1,two,3\n", f"{CSV}, column 'x2', row 3: 'two' is not a number", "correct it"),
    ("x1,x2,y\n1,,3\n", f"{CSV}, column 'x2', row 2: '' is not a number", "remove the row"),
    ("x1,x2,y\n\n1,2,nan\n", f"{CSV}, column 'y', row 3: nan is not finite", "remove NaN"),
    ("x1,x2,y\n1,2\n", f"{CSV}, column 'y', row 2: the row has only 2 entries", "fill it in"),
    ("x1,x2,y\n", f"{CSV}: has no rows", "give at least one"),
    ("", f"{CSV}, column 'x1': is not in the header", "give one of its names"),
    ("x1,x2,y\n1,2,3\n1,3,4\n", f"{CSV}, column 'x1': is constant", "set standardise = false"),
    ("x1,x2,y\n1,2,\xff\n".encode("latin-1"), f"{CSV}: is not UTF-8 text", "save it as CSV in UTF-8"),
]


@pytest.mark.parametrize(("content", "cause", "remedy"), TABLES)
def test_malformed_table_of_data(content, cause, remedy, tmp_path):
    if content is not None:
        (tmp_path / "points.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    table = {"kind": "regression", "csv": "points.csv", "features": ["x1", "x2"], "target": "y", "standardise": True}
    path = tmp_path / "problem.toml"
    path.write_bytes(tomli_w.dumps(document(landscape=table)).encode())
    text = refused(tmp_path, "solve", path, "-o", tmp_path / "run.h5")
    assert cause in text
    assert remedy in text


NPZ = "landscape.npz='samples.npz'"


@pytest.mark.parametrize(
    ("arrays", "cause", "remedy"),
    [
        (None, f"{NPZ}: there is no file", "correct or move it"),
        (b"PK\x03\x04 not an archive", f"{NPZ}: ", "check the file"),
        (b"words", f"{NPZ}: is not an archive of plain arrays", "write it with numpy.savez"),
        ({"hessians": np.ones((2, 2, 2))}, f"{NPZ}: has no array 'gradients'", "add it"),
        (
            {"hessians": np.array([None, {}]), "gradients": np.ones((2, 2))},
            f"{NPZ}: is not an archive of plain arrays",
            "write it with numpy.savez",
        ),
    ],
)
def test_malformed_archive_of_data(arrays, cause, remedy, tmp_path):
    if isinstance(arrays, bytes):
        (tmp_path / "samples.npz").write_bytes(arrays)
    elif arrays is not None:
        np.savez(tmp_path / "samples.npz", **arrays)
    path = tmp_path / "problem.toml"
    path.write_bytes(tomli_w.dumps(document(landscape={"kind": "samples", "npz": "samples.npz"})).encode())
    text = refused(tmp_path, "solve", path, "-o", tmp_path / "run.h5")
    assert cause in text
    assert remedy in text


def bowl():
    return dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([0.3]))


def sgd(**settings):
    return dfp.SGD(bowl(), **({"learning_rate": 0.1} | settings))


def solve(steps=10, initial=None, equation=None, **settings):
    start = dfp.Gaussian([0.0], [0.1]) if initial is None else initial
    return dfp.solve(dfp.MasterEquation(sgd()) if equation is None else equation, start, steps, **settings)


# What to call, and what the message must contain: key with value, and remedy.
ARGUMENTS = {
    "learning rate": (lambda: sgd(learning_rate=-0.1), "learning_rate=-0.1: must be above 0", "give a value in that"),
    "rate as text": (lambda: sgd(learning_rate="0.1"), "learning_rate='0.1': must be a real number", "give a float"),
    "rate nan": (lambda: sgd(learning_rate=NAN), "learning_rate=nan: must be finite", "give a finite float"),
    "momentum": (lambda: sgd(momentum=1.0), "momentum=1: must be at least 0 and below 1", "give a value in that range"),
    "nesterov": (lambda: sgd(nesterov=True), "nesterov=True: needs momentum > 0", "give momentum=0.9"),
    "replace": (lambda: sgd(replace=False), "replace=False: only a finite sum has samples", "use replace=True"),
    "schedule": (lambda: sgd(learning_rate=[0.1, -0.1]), "learning_rate[1]=-0.1: must be at least 0", "give a value"),
    "rule": (lambda: sgd(learning_rate=lambda n: "a"), "learning_rate at step 0='a': must be a real", "give a float"),
    "sizes": (lambda: sgd(batch_size=[4, 2.0]), "batch_size[1]=2.0: must be an integer", "give a whole number"),
    "batch size": (lambda: sgd(batch_size=2.5), "batch_size=2.5: must be an integer", "give a whole number"),
    "hessian": (lambda: dfp.QuadraticLandscape([1.0, NAN]), "hessian[1]=nan: must be finite", "remove NaN"),
    "asymmetric": (
        lambda: dfp.QuadraticLandscape([[1, 2], [3, 4]]),
        "hessian differs from its transpose by 1",
        "use (",
    ),
    "noise law": (lambda: dfp.QuadraticLandscape([1.0], noise=0.3), "noise=0.3: must be a noise law", "give dfp.Gauss"),
    "covariance": (lambda: dfp.Gaussian([0.0], [-1.0]), "initial.covariance has the eigenvalue -1", "check signs"),
    "grid": (lambda: dfp.Grid([0.0], [-1.0], 8), "grid.upper[0]=-1: must exceed grid.lower[0]=0", "swap them"),
    "cells": (lambda: dfp.Grid([0.0], [1.0], 8.0), "grid.cells[0]=8.0: must be an integer", "give a whole number"),
    "too many cells": (lambda: dfp.Grid([0, 0], [1, 1], 10**5), "grid.cells=(100000, 100000)", "use fewer per axis"),
    "density": (
        lambda: dfp.Density(dfp.Grid(0.0, 1.0, 4), [1, 1, -1, 3]),
        "initial.values has the entry -1",
        "clip it",
    ),
    "mass": (
        lambda: dfp.Density(dfp.Grid(0.0, 1.0, 4), [1, 1, 1, 3]),
        "initial.values integrates to 1.5: must be 1",
        "use Density.normalised",
    ),
    "frozen": (lambda: dfp.Langevin(sgd(), noise="cold"), "noise='cold': must be one of 'state', 'frozen'", "give one"),
    "degree": (lambda: dfp.Hermite(41), "degree=41: must be at most 40", "give a smaller integer"),
    "tolerance": (lambda: dfp.Hermite(8, tolerance=0.0), "tolerance=0: must be above 0 and below 1", "give a value"),
    "order": (lambda: dfp.MomentRecursion(5), "highest=5: must be at most 4", "give a smaller integer"),
    "trajectories": (lambda: dfp.MonteCarlo(1e6), "trajectories=1000000.0: must be an integer", "give a whole number"),
    "seed": (lambda: dfp.MonteCarlo(10**6, seed=-1), "seed=-1: must be at least 0", "give a larger integer"),
    "steps": (lambda: solve(steps=-1), "steps=-1: must be at least 0", "give a larger integer"),
    "several steps": (
        lambda: solve(steps=[1, 5]),
        "steps=[1, 5]: must be the last step alone",
        "steps=5 and the others",
    ),
    "steps bool": (lambda: solve(steps=True), "steps=True: must be an integer", "give a whole number"),
    "save": (lambda: solve(save=[0, 11]), "save[1]=11: must be at most 10", "give a smaller integer"),
    "save order": (lambda: solve(save=[5, 3]), "save=[5, 3]: must increase", "sort it"),
    "solver": (lambda: solve(solver=3), "solver=3: must be 'auto' or a solver", "give e.g. dfp.Fourier()"),
    "grid type": (lambda: solve(grid="8"), "grid='8': must be a dfp.Grid", "give dfp.Grid(lower, upper, cells)"),
    "dimensions": (lambda: solve(initial=dfp.Point([0.0, 0.0])), "initial has 2 parameters", "point, of 1 numbers"),
    "equation": (lambda: solve(equation=3), "equation=3: must be an equation", "give e.g. dfp.MasterEquation(sgd)"),
    "unsupported": (
        lambda: solve(equation=dfp.DiscreteFokkerPlanck(sgd()), solver=dfp.Fourier()),
        "solver=Fourier cannot solve the discrete Fokker-Planck (T5)",
        "dfp.MomentRecursion() for moments",
    ),
    "compare two": (lambda: dfp.compare(solve(), solve()), "by Fourier", "give a dict of them"),
    "compare": (lambda: dfp.compare({}), "solutions=[]: compare needs at least two", "give a dict of them"),
    "load": (lambda: dfp.load("nowhere.h5"), "path=nowhere.h5: no such file", "check the name"),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_malformed_argument(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, cause, remedy = ARGUMENTS[name]
    with pytest.raises(dfp.DFPError) as caught:
        call()
    assert cause in str(caught.value)
    assert remedy in str(caught.value)
    assert contents(tmp_path) == {}


def test_a_critical_point_out_of_range_is_refused():
    """A curvature so small that 1/λ overflows: neither infinity nor a warning of NumPy's."""
    noise = dfp.GaussianNoise(1.0, 0.3)
    sgd = dfp.SGD(dfp.QuadraticLandscape([1e-320], 0.1, noise), 0.1)
    with pytest.raises(dfp.DFPError, match="critical point overflows; set curvatures this small to 0"):
        dfp.solve(dfp.Langevin(sgd, noise="frozen"), dfp.Gaussian(0.0, 1.0), 5)


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        ({"gradient": [[1.0, 2.0], [2.0, 1.0]]}, "gradient has the eigenvalue -1"),
        ({"gradient": [0.1, -0.1]}, "gradient has the eigenvalue -0.1"),
        ({"gradient": [[1.0, 0.5], [0.0, 1.0]]}, "gradient differs from its transpose"),
        ({"gradient": [[1.0, 2.0, 3.0], [2.0, 1.0, 0.0]]}, r"gradient has shape \(2, 3\)"),
        ({"gradient": 1.0, "hessian": [[1.0, -0.1], [0.0, 1.0]]}, "hessian has the entry -0.1"),
        ({"gradient": 1.0, "hessian": [[1.0, 0.5], [0.0, 1.0]], "symmetric": True}, "hessian differs"),
        ({"gradient": 1.0, "basis": "own"}, "basis='own'"),
        ({"gradient": 1.0, "at": [np.nan]}, "noise.at"),
    ],
)
def test_noise_that_is_none_is_refused_where_it_is_made(given, cause):
    with pytest.raises(dfp.DFPError, match=cause):
        dfp.GaussianNoise(**given)


def test_a_constant_covariance_is_looked_at_where_the_landscape_is_made():
    with pytest.raises(dfp.DFPError, match="has the eigenvalue -1"):
        dfp.Landscape(lambda theta: theta, [[1.0, 2.0], [2.0, 1.0]], 2)
    # the controls: on the edge of what is a covariance, to rounding
    edge = [[1.0, 1.0], [1.0, 1.0 - 1e-13]]
    dfp.Landscape(lambda theta: theta, edge, 2)
    dfp.GaussianNoise(edge)
