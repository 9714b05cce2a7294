"""The docstrings: every public name has an example, which runs and prints what it says."""

import doctest
import types

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
    runner.run(test, out=said.append)
    return "".join(said)


@pytest.mark.parametrize("name", dfp.__all__)
def test_every_public_name_has_an_example_that_runs(name, tmp_path, monkeypatch):
    """In a folder of its own, for some write files."""
    if name == "networks":
        pytest.importorskip("torch", reason="the extra dfp[networks] is not installed")
    monkeypatch.chdir(tmp_path)
    test = examples(name)
    assert test is not None, f"the docstring of dfp.{name} has no example"
    assert "import dfp" in test.examples[0].source or "import dfp" in test.examples[1].source
    assert any(example.want for example in test.examples), f"the example of dfp.{name} shows nothing"
    assert not failures(test)


def test_an_example_that_is_wrong_is_noticed():
    """Negative control: a number that is not what comes out, and an example that raises."""
    for text in (">>> 1 + 1\n3\n", ">>> 1 / 0\n"):
        assert failures(doctest.DocTestParser().get_doctest(text, {}, "wrong", None, 0))
