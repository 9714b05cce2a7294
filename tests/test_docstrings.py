"""The docstrings: every public name has an example, which runs and prints what it says."""

import dataclasses
import doctest
import functools
import importlib
import inspect
import types
from collections.abc import Mapping

import numpy as np
import pytest

import dfp


def examples(name):
    """Return the example of a public name, or None."""
    public = getattr(dfp, name)
    home = public.__name__ if isinstance(public, types.ModuleType) else public.__module__
    found = doctest.DocTestParser().get_doctest(public.__doc__ or "", {}, f"dfp.{name}", home, 0)
    return found if found.examples else None


def failures(test):
    """Return what went wrong, in doctest's words."""
    said = []
    # Results are read back as printed: white space of arrays aside, to the digit.
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=said.append, clear_globs=False)
    return "".join(said)


@pytest.mark.parametrize("name", dfp.__all__)
def test_every_public_name_has_an_example_that_runs(name, tmp_path, monkeypatch):
    """In a folder of its own, for some write files; ``dataclasses.replace`` copies whatever data class they make."""
    if name == "networks":
        pytest.importorskip("torch", reason="the extra dfp[networks] is not installed")
    monkeypatch.chdir(tmp_path)
    test = examples(name)
    assert test is not None, f"the docstring of dfp.{name} has no example"
    assert "import dfp" in test.examples[0].source or "import dfp" in test.examples[1].source
    assert any(example.want for example in test.examples), f"the example of dfp.{name} shows nothing"
    made = noted(getattr(dfp, name), monkeypatch)
    assert not failures(test)
    made += [value for value in test.globs.values() if type(value) is getattr(dfp, name)]  # of a cache
    assert made or not dataclasses.is_dataclass(getattr(dfp, name)), f"the example of dfp.{name} makes none"
    copied([made[:20], test.globs])


def copied(values):
    """Copy all data classes of dfp that ``values`` lead to, three of each: with the same fields."""
    counts, seen = {}, {}
    waiting = [values]
    while waiting:
        value = waiting.pop()
        own = type(value).__module__.startswith("dfp.")
        if id(value) in seen or not (own or isinstance(value, list | tuple | Mapping)):
            continue
        seen[id(value)] = value  # kept: another object may not take its place
        waiting += (
            [*value.values()] if isinstance(value, Mapping) else [*value][:20] if hasattr(value, "__len__") else []
        )
        waiting += vars(value).values() if hasattr(value, "__dict__") else []
        if own and dataclasses.is_dataclass(value) and counts.setdefault(type(value), 0) < 3:
            counts[type(value)] += 1
            same(value, dataclasses.replace(value))
    return {kind.__name__ for kind in counts}


def noted(public, monkeypatch):
    """Return a list that all instances enter that are made from now on."""
    made = []
    if inspect.isclass(public):
        construct = public.__init__

        @functools.wraps(construct)
        def noting(self, *given, **named):
            construct(self, *given, **named)
            made.append(self)

        monkeypatch.setattr(public, "__init__", noting)
    return made


def same(one, copy):
    assert type(copy) is type(one) and copy is not one
    for field in dataclasses.fields(one):
        before, after = getattr(one, field.name), getattr(copy, field.name)
        if isinstance(before, np.ndarray):
            assert np.array_equal(before, after, equal_nan=True), field.name
        else:
            assert before is after or not field.compare or str(before) == str(after) or before == after, field.name


def test_results_and_what_they_hold_are_copied():
    found = copied([shared(), shared_networks()])
    assert {"Report", "Measurement", "Runs", "Predictions", "Diffusion", "Closure", "Distance", "Certificate"} <= found


RESULTS = ["Solution", "Density", "Moments", "Spectrum", "ExitSteps", "Modes", "PhaseDiagram", "Comparison"]


@functools.cache
def shared():
    """One result of each kind, which the examples of methods speak of by name."""
    sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.2)
    master, langevin, start = dfp.MasterEquation(sgd), dfp.Langevin(sgd), dfp.Gaussian(1.0, 0.1)
    solution = dfp.solve(master, start, steps=10, save=[0, 5, 10])
    bowl = dfp.QuadraticLandscape([1.0, 0.5], noise=dfp.GaussianNoise([1.0, 0.2]))
    return {
        "dfp": dfp, "np": np, "sgd": sgd, "solution": solution, "law": dfp.stationary(master),
        "moments": dfp.moments(master, start, 10), "spectrum": dfp.spectrum(master), "modes": dfp.modes(sgd),
        "exits": dfp.exit_steps(langevin, (-0.5, 0.5), dfp.Point(0.0), 50),
        "plane": dfp.solve(dfp.MasterEquation(dfp.SGD(bowl, 0.2)), dfp.Gaussian([1.0, 0.5], 0.1), steps=10),
        "diagram": dfp.phase_diagram(
            {"learning_rate": [0.1, 1.0]}, {"curvature_noise": [0.5, 4.0]}, curvature=1.0, gradient_noise=1.0
        ),
        "comparison": dfp.compare({"SGD": solution, "Langevin": dfp.solve(langevin, start, 10, save=[0, 5, 10])}),
    }  # fmt: skip


@functools.cache
def shared_networks():
    """A small network measured and run, by the names that the examples of ``dfp.networks`` give to it."""
    torch = pytest.importorskip("torch", reason="the extra dfp[networks] is not installed")
    torch.manual_seed(0)
    x = torch.randn(32, 2, dtype=torch.float64)
    data = x, x.sum(1, keepdim=True) + 0.1 * torch.randn(32, 1, dtype=torch.float64)
    problem = dfp.networks.Problem(torch.nn.Linear(2, 1), lambda out, y: ((out - y) ** 2).mean(1), data)
    measured = dfp.networks.measure(problem, batch_size=8)
    runs = dfp.networks.trajectories(problem, 0.05, batch_size=8, runs=64, steps=40, seed=1)
    predicted = dfp.networks.predict(measured, 0.05, steps=40)
    report = dfp.networks.report(measured, runs)
    slow = [dfp.networks.trajectories(problem, rate, 8, runs=64, steps=20, save=[0, 20]) for rate in (1e-4, 2e-4)]
    return {"dfp": dfp, "np": np, "data": data, "problem": problem, "measured": measured, "runs": runs,
            "predicted": predicted, "report": report, "spread": dfp.networks.diffusion(measured, slow)}  # fmt: skip


def methods(name):
    """Return the public methods of a class of results, of the homes it has them from."""
    known = {"Moments": "dfp.exact.moments"}
    public = getattr(dfp, name) if name in dfp.__all__ else getattr(importlib.import_module(known[name]), name)
    found = {key: inspect.getattr_static(public, key) for key in dir(public) if not key.startswith("_")}
    plain = {key: getattr(value, "__func__", value) for key, value in found.items()}
    own = {key: value for key, value in plain.items() if inspect.isfunction(value)}
    return {key: value for key, value in own.items() if value.__module__.startswith("dfp.")}


def check(text, name, known):
    """Run the example of a docstring, which may speak of what is ``known``."""
    test = doctest.DocTestParser().get_doctest(text or "", dict(known), name, None, 0)
    assert test.examples, f"the docstring of {name} has no example"
    assert not failures(test)


@pytest.mark.parametrize("name", RESULTS)
def test_every_method_of_a_result_has_an_example_that_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = methods(name)
    assert {"save", "to_xarray", "to_dataframe", "plot"} <= set(found)
    for key, method in found.items():
        check(method.__doc__, f"{name}.{key}", shared())


@pytest.mark.parametrize("name", sorted(set(dfp.networks.__all__) - {"LABELS"}))
def test_every_name_of_networks_has_an_example_that_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    known = shared_networks()
    check(getattr(dfp.networks, name).__doc__, f"dfp.networks.{name}", known)


def test_an_example_that_is_wrong_is_noticed():
    """Negative control: a number that is not what comes out, and an example that raises."""
    for text in (">>> 1 + 1\n3\n", ">>> 1 / 0\n"):
        assert failures(doctest.DocTestParser().get_doctest(text, {}, "wrong", None, 0))
