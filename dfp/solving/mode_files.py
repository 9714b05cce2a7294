"""Files of modes, or of one: every number for other programs, and SGD by value, from which modes are read back."""

import json
from typing import Any

import numpy as np

from dfp.errors import DFPError, FileFormatError
from dfp.problem.sgd import SGD
from dfp.regimes.mode import NUMBERS, REGIMES, Mode
from dfp.regimes.mode_report import Modes, system_of
from dfp.results import apart, axes, hdf5, schema
from dfp.results.schema import Column
from dfp.solving.recipe import built, recorded


def columns(found: Modes | Mode) -> dict[str, Column]:
    """Return the numbers of modes, shape (m,), and their directions, shape (m, d), a mode a row."""
    report, place = _origin(found)
    rows, d = found.rows(), len(report)
    chosen = slice(None) if place is None else slice(place, place + 1)
    table = {"mode": _column("mode", ("mode",), np.arange(1, d + 1)[chosen])}
    table["parameter"] = _column("parameter", ("parameter",), np.arange(1, d + 1))
    for name in NUMBERS:
        values = [row[name] for row in rows]
        if isinstance(values[0], str):
            table[name] = _column(name, ("mode",), np.array([REGIMES.index(value) for value in values]))
            meanings = ", ".join(f"{code}: {regime}" for code, regime in enumerate(REGIMES))
            table[name].attributes["comment"] = meanings
        else:  # yes and no as 1 and 0, what is not known as NaN
            numbers = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
            table[name] = _column(name, ("mode",), numbers)
    table["direction"] = _column("direction", ("mode", "parameter"), report.system.axes.T[chosen])
    return table | axes.indices(table, report.parameters) | apart.columns(_recipe(report))


def _column(name: str, dims: tuple[str, ...], values: Any) -> Column:
    known = (schema.PHASE_VARIABLES | schema.MODE_VARIABLES)[name]
    kind = "<i8" if values.dtype.kind == "i" else "<f8"
    return Column(dims, np.ascontiguousarray(values, kind), {"units": known.unit, "long_name": known.long_name})


def attributes(found: Modes | Mode) -> dict[str, Any]:
    """Return SGD and the settings of the report, by value, and the place of a mode in it, from 0."""
    report, place = _origin(found)
    told: dict[str, Any] = axes.attribute(report.parameters)
    told |= {} if place is None else {"place": np.int64(place)}
    return told | {"recipe": json.dumps(apart.taken(_recipe(report))[0], ensure_ascii=False)}


def _origin(found: Modes | Mode) -> tuple[Modes, int | None]:
    """Return the report, and the place in it of what is one of its modes."""
    if isinstance(found, Modes):
        return found, None
    report, place = getattr(found, "_origin", (None, 0))
    if report is None:
        raise DFPError("mode: it is no mode of a report, and its file holds the report's SGD; keep one of dfp.modes.")
    return report, place


def _recipe(report: Modes) -> dict[str, Any]:
    """Return SGD and the settings of the report."""
    given: dict[str, Any] = {
        "sgd": report.system.sgd, "horizon": report.horizon, "lyapunov_steps": report.lyapunov_steps,
        "seed": report.seed, "at_step": report.at_step, "root": report.root,
        "expansion": None if report.expansion is None else list(report.expansion),
    }  # fmt: skip
    return recorded(given, whole=given)


def read(root: hdf5.Stored) -> Modes | Mode:
    """Return the modes, or the mode, in the root of a file: those of its SGD.

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
    report = Modes(system_of(sgd), **given, expansion=None if expansion is None else tuple(expansion))
    if not root.labelled("place"):
        return report
    place = int(root.attribute("place", "<i8"))
    if not 0 <= place < len(report):
        raise FileFormatError(f"place={place}: there are {len(report)} modes; make the file again.")
    return report[place]
