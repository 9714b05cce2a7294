"""How measurements and predictions are drawn by themselves."""

from typing import TYPE_CHECKING, Any

import numpy as np

from dfp.results.layout import legend
from dfp.results.page import canvas
from dfp.results.schema import label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito (2008): colours that stay apart for colour-blind readers.
COLOURS = {
    "closure": "#0072B2", "authors": "#D55E00", "langevin": "#E69F00", "additive": "#56B4E9", "own": "#CC79A7",
    "table": "#009E73", "sum": "#000000",
}  # fmt: skip
"""Colours of the predictors."""


def measurement(found: Any) -> "Figure":
    """Return the gradient noise of every direction against its curvature, with the power law fitted to them."""
    figure, ((axis,),) = canvas(1, 1, 6.0, 4.2)
    curvature, noise, judged = np.abs(found.curvatures), found.gradient_noise, found.diagnostics
    groups = {"sharp": judged.sharp, "flat": judged.flat & ~judged.sharp, "other": ~judged.sharp & ~judged.flat}
    for (name, chosen), colour in zip(groups.items(), ("#0072B2", "#D55E00", "#009E73"), strict=True):
        shown = chosen & found.live & (curvature > 0) & (noise > 0)
        if shown.any():
            axis.plot(curvature[shown], noise[shown], "o", ms=4, color=colour, label=f"{name} directions")
    shown, law = found.live & (curvature > 0), judged.law
    if np.isfinite(law.exponent) and shown.any():
        line = np.geomspace(curvature[shown].min(), curvature[shown].max(), 100)
        told = f"(|λ| + {law.epsilon:.1g})^{law.exponent:.2f}"
        axis.plot(line, law.gamma * (line + law.epsilon) ** law.exponent, color="0.5", label=told)
    axis.set(xscale="log", yscale="log", xlabel=label("absolute_curvature"), ylabel=label("sample_gradient_noise"))
    legend(axis)
    figure.suptitle("Is the gradient noise larger where the loss is curved?")
    return figure


def predictions(found: Any, names: dict[str, str]) -> "Figure":
    """Return the median variance over the directions, as every predictor of ``names`` has it, against steps."""
    figure, ((axis,),) = canvas(1, 1, 7.0, 4.4)
    moving = found.steps > 0
    for name, one in found.moments.items():
        median = np.median(one.variance[moving], axis=1)
        if np.isfinite(median).any():
            axis.plot(found.steps[moving], median, "o-", ms=3, color=COLOURS[name], label=names[name])
    if 0 <= found.trusted_until < found.steps[-1]:
        axis.axvline(
            max(found.trusted_until, 1), color=COLOURS["closure"], ls=":", label="the closure trusts itself so far"
        )
    axis.set(xscale="log", yscale="log", xlabel=label("step"), ylabel=label("median_variance"))
    legend(axis)
    figure.suptitle("How far do predictions agree? Median over the directions")
    return figure
