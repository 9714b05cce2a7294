"""The figure of a phase diagram: regimes with the boundaries of SGD and of Langevin, and the error of Langevin."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dfp.checks import Array
from dfp.regimes.mode import REGIMES
from dfp.regimes.mode_plot import REGIME_COLOURS
from dfp.results import layout, page, schema

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def figure(
    names: tuple[str, str], axes: tuple[Array, Array], fixed: Mapping[str, float], values: Mapping[str, NDArray[Any]]
) -> "Figure":
    """Return the figure.

    Parameters
    ----------
    names, axes
        The two parameters on the axes and their values, (X,) and (Y,).
    fixed
        The other parameters.
    values
        Those of a ``PhaseDiagram``, its ``variance_difference`` and its ``gap``, shapes (X, Y).
    """
    drawn, ((left, right),) = page.canvas(1, 2, 11.0, 4.4)
    wide, arrays = _widened(axes, {**values, "langevin": _langevin(names, axes, fixed)})
    _regimes(left, wide, arrays)
    _difference(right, wide, arrays)
    _labelled([left, right], names, axes)
    symbols = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in fixed.items())
    drawn.suptitle(f"Where does SGD settle, and where does Langevin believe it does? {symbols}", fontsize="medium")
    return drawn


def regimes(
    names: tuple[str, str], axes: tuple[Array, Array], fixed: Mapping[str, float], values: Mapping[str, NDArray[Any]]
) -> "Figure":
    """Return the panel of regimes alone, of the same arguments: of whatever stands for ``regime``."""
    drawn, ((axis,),) = page.canvas(1, 1, 5.6, 4.2)
    _regimes(axis, *_widened(axes, {**values, "langevin": _langevin(names, axes, fixed)}))
    _labelled([axis], names, axes)
    return drawn


def _labelled(drawn: "list[Axes]", names: tuple[str, str], axes: tuple[Array, Array]) -> None:
    for axis in drawn:
        axis.set_xlabel(schema.label(names[0]))
        axis.set_ylabel(schema.label(names[1]))
        if page.geometric(axes[0]):
            axis.set_xscale("log")
        if page.geometric(axes[1]):
            axis.set_yscale("log")
        for values, ticks in zip(axes, (axis.set_xticks, axis.set_yticks), strict=True):
            if len(values) == 1:
                ticks(values)
        layout.from_zero(axis, axes)


def _widened(
    axes: tuple[Array, Array], values: Mapping[str, NDArray[Any]]
) -> tuple[tuple[Array, Array], dict[str, NDArray[Any]]]:
    """Return the axes and what is on them, where one of a single value has a width."""
    wide, found = list(axes), dict(values)
    for k, given in enumerate(axes):
        if len(given) == 1:
            half = 0.05 * abs(given[0]) or 0.5
            wide[k] = np.array([given[0] - half, given[0] + half])
            found = {name: np.repeat(array, 2, axis=k) for name, array in found.items()}
    return (wide[0], wide[1]), found


def _regimes(axis: "Axes", axes: tuple[Array, Array], values: Mapping[str, NDArray[Any]]) -> None:
    from matplotlib.colors import ListedColormap
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    colours = ListedColormap([REGIME_COLOURS[name] for name in REGIMES])
    axis.pcolormesh(
        *axes, values["regime"].T, cmap=colours, vmin=-0.5, vmax=len(REGIMES) - 0.5, alpha=0.45,
        shading="nearest", rasterized=True,
    )  # fmt: skip
    handles: list[Patch | Line2D] = [
        Patch(facecolor=REGIME_COLOURS[name], alpha=0.45, label=name)
        for code, name in enumerate(REGIMES)
        if code in values["regime"]
    ]
    wanted = {"SGD: ρ₂ = 1": (values["growth"] - 1, "-"), "Langevin: ηΓ = 2λ": (values["langevin"], "--")}
    if np.all(np.isfinite(values["lyapunov_exponent"])):
        wanted["SGD: ℓ = 0"] = (values["lyapunov_exponent"], ":")
    for label, (level, style) in wanted.items():
        if np.min(level) < 0 < np.max(level):
            axis.contour(*axes, level.T, levels=[0.0], colors="black", linestyles=style, linewidths=1.2)
            handles.append(Line2D([], [], color="black", linestyle=style, linewidth=1.2, label=label))
    gap = values["gap"]
    if np.any(gap):
        cells = [_ends(values) for values in axes]
        whole = np.repeat(np.repeat(gap, 2, axis=0), 2, axis=1).astype(float)
        hatched = axis.contourf(*cells, whole.T, levels=[0.5, 1.5], colors="none", hatches=["///"])
        hatched.set_edgecolor("#333333")
        hatched.set_linewidth(0.0)
        handles.append(Patch(facecolor="none", edgecolor="#333333", hatch="///", label="finite for Langevin only"))
    axis.set_title("regime of SGD")
    layout.legend(axis, handles)


def _ends(values: Array) -> Array:
    """Return both ends of every cell around ``values``, as ``pcolormesh`` has them, shape (2 n,)."""
    between = (values[1:] + values[:-1]) / 2
    edges = np.concatenate([[2 * values[0] - between[0]], between, [2 * values[-1] - between[-1]]])
    return np.repeat(edges, 2)[1:-1]


def _langevin(names: tuple[str, str], axes: tuple[Array, Array], fixed: Mapping[str, float]) -> Array:
    """Return ηΓ − 2λ of Langevin, with η/(1−β) for η."""
    x, y = np.meshgrid(*axes, indexing="ij")
    at = {name: np.full_like(x, value) for name, value in fixed.items()} | dict(zip(names, (x, y), strict=True))
    rate = at["learning_rate"] / (1 - at["momentum"])
    return rate * at["curvature_noise"] / at["batch_size"] - 2 * at["curvature"]


def _difference(axis: "Axes", axes: tuple[Array, Array], values: Mapping[str, NDArray[Any]]) -> None:
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = 100 * values["variance_difference"] / values["stationary_variance"]
    shown = np.ma.masked_invalid(relative)
    axis.set_facecolor("#DDDDDD")
    if shown.count():
        limit = float(np.abs(shown).max()) or 1.0
        mesh = axis.pcolormesh(
            *axes, shown.T, cmap="RdBu_r", vmin=-limit, vmax=limit, shading="nearest", rasterized=True
        )
        page.bar(mesh, [axis], schema.label("missed_variance"))
    axis.set_title("share of the variance that Langevin misses")
