"""Files of escapes: what was found, read back bit for bit, and labelled datasets of it."""

from pathlib import Path

import numpy as np

from dfp.checks import Array
from dfp.errors import FileFormatError
from dfp.long_time.committor import Committor
from dfp.long_time.escape_law import MECHANISMS, NUMBERS, Escape, attributes, columns
from dfp.problem.grid import Grid
from dfp.problem.state import Density
from dfp.results import axes, hdf5
from dfp.results.files import load_kind

__all__ = ["attributes", "columns", "load_escape", "read"]


def load_escape(path: str | Path) -> Escape:
    """Return the escape that ``Escape.save`` wrote to ``path``, bit for bit.

    Raises
    ------
    DFPError
        If there is no such file, or it cannot be read.
    FileFormatError
        If it is no escape of dfp, is damaged, or needs a newer dfp.

    Examples
    --------
    >>> import numpy as np
    >>> import dfp
    >>> well = dfp.Landscape(lambda t: t**3 - t, 0.1, hessian=lambda t: 3 * t**2 - 1)
    >>> found = dfp.escape(dfp.SGD(well, 0.2), start=-1.0, domain=(-np.inf, 0.0))
    >>> found.save("escape.h5")
    >>> print(dfp.load_escape("escape.h5").action == found.action)
    True
    """
    found: Escape = load_kind(path, "escape")
    return found


def read(root: hdf5.Stored) -> Escape:
    """Return the escape in the root of a file."""
    mechanism, warnings = root.attribute("mechanism", "str"), root.json("warnings", list)
    if mechanism not in MECHANISMS or not all(isinstance(warning, str) for warning in warnings):
        raise FileFormatError(f"mechanism or warnings are none that dfp writes (mechanism={mechanism!r}).")
    well = root.array("well", (None,))
    d = len(well)
    if not 1 <= d <= 2:
        raise FileFormatError(f"has d = {d}: escapes have d <= 2; make the file again.")
    names = tuple(axes.read(root, d).values())
    across = root.array("across", (d,)) if "across" in root else None
    law = None
    if "quasi_stationary" in root:
        grid, values = _read_on_grid(root, "quasi_stationary", d)
        law = Density(grid, values, parameters=names)
    committor = None
    if "committor" in root and across is not None:
        grid, values = _read_on_grid(root, "committor", d)
        radius = float(root.attribute("committor_radius", "<f8"))
        # Versions before had no estimate of its error.
        error = float(root.attribute("committor_error", "<f8")) if root.labelled("committor_error") else np.nan
        committor = Committor(grid, values, well, across, radius, error, names)
    return Escape(
        **{name: float(root.attribute(name, "<f8")) for name in NUMBERS},
        well=well,
        across=across,
        path=root.array("path", (None, d)),
        langevin_path=root.array("langevin_path", (None, d)),
        mechanism=mechanism,
        quasi_stationary=law,
        committor=committor,
        warnings=tuple(warnings),
        parameters=names,
    )


def _read_on_grid(root: hdf5.Stored, name: str, d: int) -> tuple[Grid, Array]:
    corners = root.array(f"{name}_box", (2, d))
    values = root.array(name, (None,) * d)
    return Grid(corners[0], corners[1], values.shape), values
