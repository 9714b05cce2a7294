"""What is on the axes of a result: how its ``parameters`` are called in files, tables and figures, by one rule each.

A parameter without a name of its own is ``theta_i``, θᵢ in print; one along a direction is ``direction i``.
"""

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from dfp.problem.parameters import NUMBERED, named, symbol, told, unnamed
from dfp.results import schema
from dfp.results.kind_table import KINDS
from dfp.results.schema import Column

ATTRIBUTE = "parameters"
"""The attribute of a file, or of a group, that has the names by their variables; theta_1 … theta_d without it."""

# Letters of a name that a variable of a file has.
_KEY = 60


def of(result: Any) -> tuple[str, ...] | None:
    """Return the names of what is on the axes of a result; None where it says nothing of them."""
    names = getattr(result, "parameters", None)
    return names if isinstance(names, tuple) and names else None


def described(names: Sequence[str]) -> dict[str, str]:
    """Return by the variable of files, and dimension of xarray, that stands for an axis what it is called at length."""
    found: dict[str, str] = {}
    for name in names:
        key = re.sub(r"\W+", "_", name)[:_KEY].strip("_")
        key = key if key and not key[0].isdigit() else f"theta_{key}"
        while key in found or key in _taken() or key.endswith(("_bounds", "_real", "_imaginary")):
            key += "_"
        numbered = re.fullmatch(r"(theta|u)_([1-9]\d*)", name)
        found[key] = name if numbered is None else f"parameter {'θ' if numbered[1] == 'theta' else 'u'}_{numbered[2]}"
    return found


@cache
def _taken() -> frozenset[str]:
    """Names of other variables and dimensions of files."""
    found = {*schema.VARIABLES, *schema.JOINT_VARIABLES, "entry", "entries"}
    for kind in KINDS.values():
        found |= {*kind.columns, *(dim for kept in kind.columns.values() for dim in kept.variable.dims)}
    return frozenset(found)


def legend(name: str) -> str:
    """Return a parameter as figures show it: Matplotlib takes ``$`` for mathematics, and hides what begins with _."""
    shown = symbol(name).replace("$", r"\$")
    return f"\u200a{shown}" if shown.startswith("_") else shown


def label(name: str) -> str:
    """Return the label of an axis: the parameter on it, and its unit."""
    return (
        schema.label(name) if name.startswith("theta_") and NUMBERED.fullmatch(name) else f"{legend(name)} [parameter]"
    )


def numbers(names: Sequence[str]) -> list[int]:
    """Return the index of every parameter: the i of theta_i; or the place, where one has another name."""
    found = [NUMBERED.fullmatch(name) for name in names]
    return [int(one[2]) for one in found if one] if all(found) else list(range(1, len(names) + 1))


def suffixes(names: Sequence[str]) -> list[str]:
    """Return what tells a parameter at the end of the name of a column: its number, or its variable."""
    return [str(i) for i in numbers(names)] if all(map(NUMBERED.fullmatch, names)) else list(described(names))


def indices(table: Mapping[str, Column], names: Sequence[str] | None) -> dict[str, Column]:
    """Return the indices of parameters in a table with their numbers; a comment says which has which name."""
    if names is None or not told(names):
        return {}
    order, comment = numbers(names), dict[str, str]()
    if not all(map(NUMBERED.fullmatch, names)):
        comment["comment"] = ", ".join(f"{number}: {name}" for number, name in zip(order, names, strict=True))
    return {
        dim: Column((dim,), np.array(order, "<i8"), {**table[dim].attributes, **comment})
        for dim in schema.INDICES
        if dim in table and len(table[dim].values) == len(order)
    }


def attribute(names: Sequence[str] | None) -> dict[str, str]:
    """Return what a file says of names, where there is anything to say."""
    if names is None or not told(names):
        return {}
    return {ATTRIBUTE: json.dumps(dict(zip(described(names), names, strict=True)), ensure_ascii=False)}


def read(home: Any, count: int | None = None) -> dict[str, str]:
    """Return the names of parameters by their variables, as a group of a file says.

    Raises
    ------
    DFPError
        If they are no names, or not of ``count`` parameters.
    """
    if home.labelled(ATTRIBUTE):
        found = home.json(ATTRIBUTE, dict)
        return dict(zip(found, named(list(found.values()), len(found) if count is None else count), strict=True))
    if count is None:  # as many as there are axes
        count = next((d for d in range(3) if f"theta_{d + 1}" not in home), 3)
    return {name: name for name in unnamed(count)}
