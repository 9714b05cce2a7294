"""The classes of dfp that public functions, and methods and properties of public classes, say that they return."""

import functools
import inspect
import typing
from importlib.util import find_spec
from unittest import mock

import dfp
from dfp.result import Result
from dfp.results.drawings import DRAWN
from dfp.results.kinds import KINDS, ROOMS

HOMES = [dfp, *([dfp.networks] if find_spec("torch") else [])]
"""What has public names; networks need an extra."""


class _Names(dict):
    """Names of a module; those that are known to type checkers alone, such as of Matplotlib, stand for anything."""

    def __missing__(self, name):
        return getattr(dfp, name, None) or mock.MagicMock()


def _classes(annotation):
    """The classes of dfp in an annotation, unions and containers opened."""
    if inspect.isclass(annotation) and annotation.__module__.partition(".")[0] == "dfp":
        yield annotation
    for part in typing.get_args(annotation):
        yield from _classes(part)


def of(function):
    """What a function says that it returns; a variable of types stands for its bound."""
    plain = inspect.unwrap(function)
    annotation = inspect.signature(plain).return_annotation
    if isinstance(annotation, str):
        annotation = eval(annotation, _Names(vars(inspect.getmodule(plain))))
    return set(_classes(getattr(annotation, "__bound__", annotation)))


def _functions(public):
    """The public functions of what is public: itself, or its methods and properties."""
    if not inspect.isclass(public):
        return [public] if inspect.isfunction(inspect.unwrap(public)) else []
    own = {name: inspect.getattr_static(public, name) for name in dir(public) if not name.startswith("_")}
    for key in ("fget", "func", "__func__"):  # of properties, of cached ones, of methods of the class
        own = {name: getattr(one, key, None) or one for name, one in own.items()}
    return [one for one in own.values() if inspect.isfunction(one) and one.__module__.startswith("dfp")]


def returned(homes):
    """By class, the public names that return it."""
    found = {}
    for home in homes:
        for name in home.__all__:
            for function in _functions(getattr(home, name)):
                for kind in of(function):
                    found.setdefault(kind, set()).add(f"{name}: {function.__qualname__}")
    return found


@functools.cache
def all_returned():
    """Of all homes."""
    return returned(HOMES)


def first_class(kind):
    """Assert that results of a class are kept, labelled, drawn and shown as all others are."""
    homes = {one.home: name for name, one in KINDS.items()} | {home: name for name, (home, _) in ROOMS.items()}
    assert issubclass(kind, Result), f"{kind.__name__} does not derive from dfp.result.Result"
    home = f"{kind.__module__}.{kind.__qualname__}"
    assert home in homes, f"{kind.__name__} is in no row of dfp/results/kind_table.py"
    own = {name for base in kind.__mro__[: kind.__mro__.index(Result)] for name in vars(base)}
    assert own & {"plot", "_figure"} or homes[home] in DRAWN, f"{kind.__name__} has no figure"
    assert {"ax", "title", "style"} <= set(inspect.signature(kind.plot).parameters)
    assert "__repr__" not in vars(kind) or kind.__repr__.__qualname__.startswith(kind.__qualname__)
    assert not kind.__dataclass_params__.repr, f"{kind.__name__} shows all its numbers"
    for name in ("save", "to_xarray", "to_dataframe", "plot", "_repr_html_"):
        assert callable(getattr(kind, name, None)), f"{kind.__name__} has no {name}"
