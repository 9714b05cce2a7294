"""Files of results, read back bit for bit: one result of any kind, or several solutions."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dfp.checks import Array
from dfp.errors import DFPError, FileFormatError
from dfp.problem.parameters import directions
from dfp.results import apart, axes, hdf5, kinds, schema
from dfp.results.certificate import Certificate
from dfp.results.gridded import grid_in
from dfp.results.solution import Solution, attributes, columns


def save_many(solutions: Mapping[str, Solution], path: str | Path) -> None:
    """Write several solutions to one file, a group for each name; a grid they all share lies in the root group.

    Raises
    ------
    DFPError
        As for ``Solution.save``, and if there is no solution or a name cannot be the name of a group.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.2)
    >>> start, kinds = dfp.Gaussian(1.0, 0.1), {"SGD": dfp.MasterEquation, "Langevin": dfp.Langevin}
    >>> dfp.save_many({name: dfp.solve(kind(sgd), start, 10) for name, kind in kinds.items()}, "both.h5")
    >>> print(list(dfp.load_many("both.h5")))
    ['SGD', 'Langevin']
    """
    if not solutions:
        raise DFPError("solutions is empty: a file needs at least one; give e.g. {'langevin': solution}.")
    groups = {name: (columns(solution), attributes(solution)) for name, solution in solutions.items()}
    grids = [solution.grid for solution in solutions.values() if solution.grid is not None]
    alike = len({solution.parameters for solution in solutions.values()}) == 1
    taken = set(groups) & set(axes.described(next(iter(solutions.values())).parameters))
    shared: dict[str, schema.Column] = {}
    # A group may not give a dimension of the root another length, so the root holds all grids or none.
    if alike and not taken and all(grid.matches(grids[0]) for grid in grids):
        for table, _ in groups.values():
            shared |= {name: column for name, column in table.items() if column.dims[0] not in ("step", "entry")}
    hdf5.save_groups(path, groups, shared)


def load(path: str | Path) -> Any:
    """Return the result that ``save`` wrote to ``path``, bit for bit: a solution, or another kind of result.

    Raises
    ------
    DFPError
        If there is no such file, or it cannot be read.
    FileFormatError
        If dfp did not write it, it is damaged, or it needs a newer dfp.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.2)
    >>> solution = dfp.solve(dfp.MasterEquation(sgd), dfp.Gaussian(1.0, 0.1), steps=10)
    >>> solution.save("run.h5")
    >>> print(bool((dfp.load("run.h5").density == solution.density).all()))
    True
    """
    with hdf5.opened(path) as root:
        if root.labelled("kind"):
            return kinds.read(root, root.attribute("kind", "str"))
        return read_solution(root)


def load_kind(path: str | Path, kind: str) -> Any:
    """Return the result in the file ``path``, which must be of one kind.

    Raises
    ------
    DFPError, FileFormatError
        As for ``load``.
    """
    with hdf5.opened(path) as root:
        if not root.labelled("kind") or root.attribute("kind", "str") != kind:
            raise FileFormatError(f"holds no {kind}; use dfp.load(path) for other results.")
        return kinds.read(root, kind)


def load_many(path: str | Path) -> dict[str, Solution]:
    """Return the solutions that ``save_many`` wrote to ``path``, by name and in their order.

    Raises
    ------
    DFPError, FileFormatError
        As for ``load``.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.2)
    >>> start = dfp.Gaussian(1.0, 0.1)
    >>> dfp.save_many({"SGD": dfp.solve(dfp.MasterEquation(sgd), start, 10)}, "runs.h5")
    >>> print(list(dfp.load_many("runs.h5")))
    ['SGD']
    """
    with hdf5.opened(path) as root:
        found = _found(root)
        if isinstance(found, Solution):
            raise FileFormatError("holds one solution; use dfp.load(path).")
        return found


def load_any(path: str | Path) -> Any:
    """Return the one result in the file ``path``, or several solutions by name.

    Raises
    ------
    DFPError, FileFormatError
        As for ``load``.
    """
    with hdf5.opened(path) as root:
        return kinds.read(root, root.attribute("kind", "str")) if root.labelled("kind") else _found(root)


def read_solution(root: hdf5.Stored) -> Solution:
    """Return the solution in the root of a file.

    Raises
    ------
    FileFormatError
        If there is none, or it is malformed.
    """
    found = _found(root)
    if not isinstance(found, Solution):
        raise FileFormatError("holds several solutions; use dfp.load_many(path).")
    return found


def _found(root: hdf5.Stored) -> Solution | dict[str, Solution]:
    if root.labelled("kind"):
        raise FileFormatError(f"holds a result of kind {root.attribute('kind', 'str')!r}; use dfp.load(path).")
    if root.labelled("solver"):
        return _read(root, root)
    groups = root.groups()
    if not groups:
        raise FileFormatError("holds no solution.")
    return {name: _read(group, root) for name, group in groups.items()}


def _read(group: hdf5.Stored, root: hdf5.Stored) -> Solution:
    """Return the solution in ``group``; coordinates it lacks are those of the root."""
    steps = group.array("step", (None,), "<i8")
    mean = group.array("mean", (len(steps), None))
    d = mean.shape[1]
    if len(steps) == 0 or d == 0:
        raise FileFormatError("has no steps or no parameters: dfp writes no such file; make it again.")
    covariance = group.array("covariance", (len(steps), d, d))  # before anything else is done d times
    named, known, provenance = axes.read(group, d), group.labelled(axes.ATTRIBUTE), _provenance(group)
    home = group if all(axis in group for axis in named) else root
    grid = grid_in(home, named) if group.attribute("gridded", "|i1") else None
    sizes = {"step": len(steps)} | (dict(zip(named, grid.cells, strict=True)) if grid else {})

    def read(name: str) -> Array:
        shape = tuple(sizes.get(dim, d) for dim in schema.describe(name, d, named).dims)
        return group.array(name, shape)

    if grid is None and "density" in group:
        raise FileFormatError("has a density without a grid: dfp writes no such file; make it again.")
    rate = float(group.attribute("learning_rate", "<f8"))
    optional = {name: read(name) if name in group else None for name in ("density", "third", "fourth")}
    # A figure that an older version did not know is not known of its files.
    figures = {name: read(name) if name in group else np.full(len(steps), np.nan) for name in schema.FIGURES}
    return Solution(
        equation=group.attribute("equation", "str"),
        solver=group.attribute("solver", "str"),
        reason=group.attribute("reason", "str"),
        steps=steps,
        learning_rate=rate,
        grid=grid,
        mean=mean,
        covariance=covariance,
        **optional,
        errors={name: read(f"{name}_standard_error") for name in schema.MOMENTS if f"{name}_standard_error" in group},
        trajectories=int(group.attribute("trajectories", "<i8")),
        certificate=Certificate(
            **figures,
            sampled=bool(group.attribute("certificate_sampled", "|i1")),
            warnings=_warnings(group),
        ),
        provenance=provenance,
        slow_time=read("time") if math.isnan(rate) else None,
        joint_mean=group.array("joint_mean", (len(steps), 2 * d)) if "joint_mean" in group else None,
        joint_covariance=(
            group.array("joint_covariance", (len(steps), 2 * d, 2 * d)) if "joint_covariance" in group else None
        ),
        parameters=tuple(named.values()) if known or "directions" not in provenance else directions(d),
    )


def _provenance(group: hdf5.Stored) -> dict[str, Any]:
    found: dict[str, Any] = group.json("config_json", dict)
    return found | {"recipe": apart.put_back(found["recipe"], group)} if "recipe" in found else found


def _warnings(group: hdf5.Stored) -> tuple[str, ...]:
    warnings = group.json("warnings", list)
    if not all(isinstance(warning, str) for warning in warnings):
        raise FileFormatError("the attribute 'warnings' must hold a list of text; make the file again.")
    return tuple(warnings)
