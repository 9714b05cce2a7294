"""Grids in files: the columns of one, and the grid that columns stand for."""

from typing import Any

import numpy as np

from dfp.errors import FileFormatError
from dfp.problem.grid import Grid
from dfp.results import hdf5, schema
from dfp.results.schema import Column


def axes_of(grid: Grid) -> dict[str, Column]:
    """Return centres and edges of the cells along every axis."""
    coordinates: dict[str, Any] = {}
    for i, (axis, edges) in enumerate(zip(grid.axes, grid.edges, strict=True), start=1):
        coordinates |= {f"theta_{i}": axis, f"theta_{i}_bounds": np.stack([edges[:-1], edges[1:]], axis=1)}
    return schema.columns(coordinates | {"bound": np.arange(2)}, {}, grid.dimension, False)


def grid_in(home: hdf5.Stored, d: int) -> Grid:
    """Return the grid whose cells are in a group.

    Raises
    ------
    FileFormatError
        If its cells are not uniform.
    """
    axes, edges = [], []
    for i in range(1, d + 1):
        axes.append(home.array(f"theta_{i}", (None,)))
        edges.append(home.array(f"theta_{i}_bounds", (len(axes[-1]), 2)))
    grid = Grid(
        np.array([edge[0, 0] for edge in edges]), np.array([edge[-1, 1] for edge in edges]), tuple(map(len, axes))
    )
    for axis, wanted, width in zip(axes, grid.axes, grid.spacing, strict=True):
        # Centres are derived from the corners; rounding may differ between machines.
        if not np.allclose(axis, wanted, rtol=1e-12, atol=1e-6 * width):
            raise FileFormatError("the grid's cells are not uniform: dfp writes no such grid; make the file again.")
    return grid
