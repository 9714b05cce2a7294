"""Files of phase diagrams: HDF5 as of solutions, two dimension scales and one variable per quantity."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dfp.errors import FileFormatError
from dfp.regimes.mode import REGIMES
from dfp.regimes.phases import CODES, NUMBERS, PARAMETERS, PhaseDiagram
from dfp.results import hdf5, schema
from dfp.results.schema import Column, versions

if TYPE_CHECKING:
    import xarray

_KIND = "phase diagram"


def _table(diagram: PhaseDiagram) -> dict[str, Column]:
    """Return the axes, the stored quantities and two that follow from them."""
    axes = {name: Column((name,), values, _about(name)) for name, values in zip(diagram.names, (diagram.x, diagram.y),
                                                                                strict=True)}  # fmt: skip
    numbers = {name: diagram.values[name] for name in NUMBERS} | {"variance_difference": diagram.variance_difference}
    codes = {name: diagram.values[name] for name in CODES}
    columns = {name: Column(diagram.names, np.asarray(v, "<f8"), _about(name)) for name, v in numbers.items()}
    meanings = ", ".join(f"{code}: {name}" for code, name in enumerate(REGIMES))
    for name, values in codes.items():
        about = _about(name) | {"comment": meanings}
        columns[name] = Column(diagram.names, np.asarray(values, "<i8"), about)
    return axes | columns


def _about(name: str) -> dict[str, str]:
    found = schema.PHASE_VARIABLES[name]
    return {"units": found.unit, "long_name": found.long_name}


def _attributes(diagram: PhaseDiagram) -> dict[str, Any]:
    return {
        "kind": _KIND,
        "axes": json.dumps(diagram.names),
        "fixed": json.dumps(diagram.fixed),
        "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
    }


def save(diagram: PhaseDiagram, path: str | Path) -> None:
    """Write ``diagram`` to ``path``; an existing file is replaced, and stays as it is if anything fails."""
    hdf5.save(path, _table(diagram), _attributes(diagram))


def load_phase_diagram(path: str | Path) -> PhaseDiagram:
    """Return the phase diagram that ``PhaseDiagram.save`` wrote to ``path``, bit for bit.

    Raises
    ------
    DFPError
        If there is no such file, or it cannot be read.
    FileFormatError
        If it is no phase diagram of dfp, is damaged, or needs a newer dfp.
    """
    with hdf5.opened(path) as root:
        if "kind" not in root.attrs or hdf5.attribute(root, "kind", "str") != _KIND:
            raise FileFormatError("holds no phase diagram; use dfp.load(path) for solutions.")
        names, fixed = hdf5.json_attribute(root, "axes", list), hdf5.json_attribute(root, "fixed", dict)
        known = len(names) == 2 and names[0] != names[1] and set(names) | set(fixed) == set(PARAMETERS)
        if not known or not all(isinstance(value, (int, float)) for value in fixed.values()):
            raise FileFormatError("the attributes 'axes' and 'fixed' must name every parameter once; make it again.")
        x, y = (hdf5.array(root, name, (None,)) for name in names)
        shape = (len(x), len(y))
        values = {name: hdf5.array(root, name, shape) for name in NUMBERS}
        values |= {name: hdf5.array(root, name, shape, "<i8") for name in CODES}
        for name in CODES:
            if values[name].size and not (values[name].min() >= 0 and values[name].max() < len(REGIMES)):
                raise FileFormatError(f"{name} has a code that is no regime: dfp writes none; make the file again.")
        return PhaseDiagram((names[0], names[1]), x, y, {k: float(v) for k, v in fixed.items()}, values)


def to_xarray(diagram: PhaseDiagram) -> "xarray.Dataset":
    """Return ``diagram`` as a dataset equal to what ``xarray.open_dataset`` reads from its file."""
    return hdf5.to_xarray(_table(diagram), _attributes(diagram))
