"""Files of modes: every number of every mode for other programs, and SGD by value, from which modes are read back."""

import json
from typing import Any

import numpy as np

from dfp.errors import FileFormatError
from dfp.problem.sgd import SGD
from dfp.regimes.mode import REGIMES
from dfp.regimes.mode_report import Modes, system_of
from dfp.results import apart, hdf5, schema
from dfp.results.schema import Column
from dfp.solving.recipe import built, recorded


def columns(report: Modes) -> dict[str, Column]:
    """Return the numbers of every mode, shape (d,), and their directions, shape (d, d), a mode a row."""
    rows, d = report.rows(), len(report)
    table = {name: _column(name, (name,), np.arange(1, d + 1)) for name in ("mode", "parameter")}
    for name in rows[0]:
        values = [row[name] for row in rows]
        if isinstance(values[0], str):
            table[name] = _column(name, ("mode",), np.array([REGIMES.index(value) for value in values]))
            meanings = ", ".join(f"{code}: {regime}" for code, regime in enumerate(REGIMES))
            table[name].attributes["comment"] = meanings
        else:  # yes and no as 1 and 0, what is not known as NaN
            numbers = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
            table[name] = _column(name, ("mode",), numbers)
    table["direction"] = _column("direction", ("mode", "parameter"), report.system.axes.T)
    return table | apart.columns(_recipe(report))


def _column(name: str, dims: tuple[str, ...], values: Any) -> Column:
    known = (schema.PHASE_VARIABLES | schema.MODE_VARIABLES)[name]
    kind = "<i8" if values.dtype.kind == "i" else "<f8"
    return Column(dims, np.ascontiguousarray(values, kind), {"units": known.unit, "long_name": known.long_name})


def attributes(report: Modes) -> dict[str, Any]:
    """Return SGD and the settings of the report, by value."""
    return {"recipe": json.dumps(apart.taken(_recipe(report))[0], ensure_ascii=False)}


def _recipe(report: Modes) -> dict[str, Any]:
    """Return SGD and the settings of the report."""
    given: dict[str, Any] = {
        "sgd": report.system.sgd, "horizon": report.horizon, "lyapunov_steps": report.lyapunov_steps,
        "seed": report.seed, "at_step": report.at_step, "root": report.root,
        "expansion": None if report.expansion is None else list(report.expansion),
    }  # fmt: skip
    return recorded(given, whole=given)


def read(root: hdf5.Stored) -> Modes:
    """Return the modes in the root of a file: those of its SGD.

    Raises
    ------
    DFPError
        If the file does not hold all of SGD, such as a Hessian beyond the size that is kept.
    """
    given = built(apart.put_back(root.json("recipe", dict), root))
    sgd, expansion = given.pop("sgd", None), given.pop("expansion", None)
    counts = (given.get("lyapunov_steps"), given.get("seed"))
    settings = set(given) == {"horizon", "lyapunov_steps", "seed", "at_step", "root"}
    if not isinstance(sgd, SGD) or not settings or not all(isinstance(count, int) for count in counts):
        raise FileFormatError("the recipe is none of modes: dfp writes no such file; make it again.")
    return Modes(system_of(sgd), **given, expansion=None if expansion is None else tuple(expansion))
