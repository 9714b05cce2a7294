"""Figures of the results beside solutions: of stationary laws, of moments and of spectra."""

from typing import TYPE_CHECKING, Any

import numpy as np

from dfp.errors import DFPError
from dfp.results import figures, schema
from dfp.results.corner import corner
from dfp.results.kinds import kind_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(result: Any) -> "Figure":
    """Return the figure of a result.

    Raises
    ------
    DFPError
        If there is none of its kind.
    """
    kind = kind_of(result)
    if kind not in _DRAWN:
        raise DFPError(f"result={type(result).__name__}: there is no figure of it; draw what to_xarray() holds.")
    return _DRAWN[kind](result)


def _density(result: Any) -> "Figure":
    axes, seen = result.grid.axes, figures.window(result.mean[None], result.covariance[None])
    if result.grid.dimension == 1:
        return figures.curves({"density": (axes[0], result.values)}, "Where is the parameter?")
    if result.grid.dimension == 2:
        return figures.planes({"contours hold 39, 86, 99 %": (axes, result.values)}, seen, "Where are the parameters?")
    return corner(axes, result.values, seen, ["theta_1", "theta_2", "theta_3"], "Where are the parameters?")


def _moments(result: Any) -> "Figure":
    variance = np.einsum("sii->si", result.covariance)
    return figures.moments(result.steps, result.mean, variance, "How do mean and variance evolve?")


def _spectrum(result: Any) -> "Figure":
    figure, ((axis,),) = figures.canvas(1, 1, 5.4, 3.8)
    order = np.arange(1, len(result.eigenvalues) + 1)
    axis.errorbar(order, np.abs(result.eigenvalues), yerr=result.error, fmt="o", color=figures.COLOURS[0])
    axis.axhline(1.0, color="grey", linewidth=0.8)
    if np.isfinite(result.continuous_edge):
        label = "continuous below"
        axis.axhline(result.continuous_edge, color=figures.COLOURS[1], linestyle="--", label=label)
        axis.legend()
    axis.set_xticks(order)
    axis.set_xlabel(schema.label("slowness"))
    axis.set_ylabel(schema.label("multiplier"))
    axis.set_title("How fast do deviations decay?")
    return figure


def _comparison(result: Any) -> "Figure":
    figure, axes = figures.canvas(1, 4, 14.0, 3.6)
    names = list(dict.fromkeys(d.name for d in result.distances))
    for axis, quantity in zip(axes[0], ("total_variation", "wasserstein", "mean", "covariance"), strict=True):
        for name, colour in zip(names, figures.colours(len(names)), strict=True):
            own = [d for d in result.distances if d.name == name]
            value, lower, upper = (np.array([getattr(getattr(d, quantity), end) for d in own]) for end in _ENDS)
            error = np.maximum([value - lower, upper - value], 0.0)
            axis.errorbar([d.step for d in own], value, yerr=error, fmt="o-", capsize=3, label=name, color=colour)
        axis.set_ylim(bottom=0)
        axis.set_xlabel(schema.label("step"))
        axis.set_ylabel(schema.label(f"{quantity}_distance"))
    axes[0, 0].legend()
    figure.suptitle(f"How far is each from {result.distances[0].reference}?")
    return figure


_ENDS = ("value", "lower", "upper")
_DRAWN = {"density": _density, "moments": _moments, "spectrum": _spectrum, "comparison": _comparison}
