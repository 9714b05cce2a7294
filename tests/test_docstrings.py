"""The docstrings: every public name has an example, which runs and prints what it says."""

import dataclasses
import doctest
import functools
import inspect
import types

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
    """In a folder of its own, for some write files; ``dataclasses.replace`` copies what those of classes make."""
    if name == "networks":
        pytest.importorskip("torch", reason="the extra dfp[networks] is not installed")
    monkeypatch.chdir(tmp_path)
    test = examples(name)
    assert test is not None, f"the docstring of dfp.{name} has no example"
    assert "import dfp" in test.examples[0].source or "import dfp" in test.examples[1].source
    assert any(example.want for example in test.examples), f"the example of dfp.{name} shows nothing"
    made = noted(getattr(dfp, name), monkeypatch)
    assert not failures(test)
    if dataclasses.is_dataclass(getattr(dfp, name)):
        made += [value for value in test.globs.values() if type(value) is getattr(dfp, name)]  # of a cache
        assert made, f"the example of dfp.{name} makes none"
        for one in made[:20]:
            same(one, dataclasses.replace(one))


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
            assert before is after or before == after or before != before or not field.compare, field.name


def test_an_example_that_is_wrong_is_noticed():
    """Negative control: a number that is not what comes out, and an example that raises."""
    for text in (">>> 1 + 1\n3\n", ">>> 1 / 0\n"):
        assert failures(doctest.DocTestParser().get_doctest(text, {}, "wrong", None, 0))
