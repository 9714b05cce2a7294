"""Grids in files: the columns of one, and the grid that columns stand for."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from dfp.errors import FileFormatError
from dfp.problem.grid import Grid
from dfp.results import hdf5


def cells_of(grid: Grid, axes: Iterable[str]) -> dict[str, Any]:
    """Return centres and edges of the cells along every axis, by the variables that stand for these."""
    found: dict[str, Any] = {}
    for name, axis, edges in zip(axes, grid.axes, grid.edges, strict=True):
        found |= {name: axis, f"{name}_bounds": np.stack([edges[:-1], edges[1:]], axis=1)}
    return found | {"bound": np.arange(2)}


def grid_in(home: hdf5.Stored, names: Iterable[str]) -> Grid:
    """Return the grid whose cells are in a group, by the variables that stand for its axes.

    Raises
    ------
    FileFormatError
        If its cells are not uniform.
    """
    axes, edges = [], []
    for name in names:
        axes.append(home.array(name, (None,)))
        edges.append(home.array(f"{name}_bounds", (len(axes[-1]), 2)))
    grid = Grid(
        np.array([edge[0, 0] for edge in edges]), np.array([edge[-1, 1] for edge in edges]), tuple(map(len, axes))
    )
    for axis, wanted, width in zip(axes, grid.axes, grid.spacing, strict=True):
        # Centres are derived from the corners; rounding may differ between machines.
        if not np.allclose(axis, wanted, rtol=1e-12, atol=1e-6 * width):
            raise FileFormatError("the grid's cells are not uniform: dfp writes no such grid; make the file again.")
    return grid
