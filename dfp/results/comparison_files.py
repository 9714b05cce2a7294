"""Files of comparisons: one entry for every solution and step, with the ends of intervals."""

import json
from typing import Any

import numpy as np

from dfp.errors import FileFormatError
from dfp.results import hdf5, schema
from dfp.results.comparison import Comparison, Distance, Measured
from dfp.results.schema import Column

_MEASURED = ("total_variation", "wasserstein", "mean", "covariance")


def columns(found: Comparison) -> dict[str, Column]:
    """Return steps, codes of solutions and distances with their intervals, each of shape (number of distances,)."""
    names = _names(found)
    table = {
        "distance": _column("distance", np.arange(1, len(found.distances) + 1)),
        "step": _column("step", np.array([d.step for d in found.distances])),
        "solution": _column("solution", np.array([names.index(d.name) for d in found.distances])),
    }
    table["solution"].attributes["comment"] = ", ".join(f"{code}: {name}" for code, name in enumerate(names))
    for name in _MEASURED:
        for end in ("value", "lower", "upper"):
            numbers = np.array([getattr(getattr(d, name), end) for d in found.distances])
            column = _column(f"{name}_distance", numbers)
            suffix = "" if end == "value" else f", {end} end of its 95 % interval"
            column.attributes["long_name"] += suffix
            table[f"{name}_distance" if end == "value" else f"{name}_distance_{end}"] = column
    return table | {"kl": _column("kl", np.array([d.kl for d in found.distances]))}


def _column(name: str, values: Any) -> Column:
    known = schema.DISTANCE_VARIABLES[name]
    kind = "<i8" if values.dtype.kind == "i" else "<f8"
    return Column(("distance",), values.astype(kind), {"units": known.unit, "long_name": known.long_name})


def attributes(found: Comparison) -> dict[str, Any]:
    """Return the names of the solutions, what they are compared with, and the warnings."""
    told = {"warnings": json.dumps(found.warnings, ensure_ascii=False)} if found.warnings else {}
    return {"solutions": json.dumps(_names(found)), "reference": found.distances[0].reference, **told}


def _names(found: Comparison) -> list[str]:
    return list(dict.fromkeys(d.name for d in found.distances))


def read(root: hdf5.Stored) -> Comparison:
    """Return the comparison in the root of a file."""
    names, reference = root.json("solutions", list), root.attribute("reference", "str")
    steps = root.array("step", (None,), "<i8")
    codes = root.array("solution", (len(steps),), "<i8")
    if not len(steps) or not all(isinstance(name, str) for name in names) or set(codes) != set(range(len(names))):
        raise FileFormatError("the codes of solutions have no names: dfp writes no such file; make it again.")

    def numbers(name: str) -> list[float]:
        found: list[float] = root.array(name, (len(steps),)).tolist()
        return found

    measured = {
        name: [
            Measured(*three)
            for three in zip(*(numbers(f"{name}_distance{end}") for end in ("", "_lower", "_upper")), strict=True)
        ]
        for name in _MEASURED
    }
    kl = numbers("kl")
    return Comparison(
        tuple(
            Distance(names[code], reference, step, kl=kl[i], **{name: values[i] for name, values in measured.items()})
            for i, (code, step) in enumerate(zip(codes.tolist(), steps.tolist(), strict=True))
        ),
        tuple(map(str, root.json("warnings", list))) if root.labelled("warnings") else (),
    )
