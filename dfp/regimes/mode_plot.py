"""The figure of a report of modes: the spectrum coloured by regime, and the variances V(n) of single modes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dfp import checks
from dfp.problem.parameters import told
from dfp.regimes.mode import Mode
from dfp.results import axes, layout, page, palette, schema
from dfp.results.palette import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REGIME_COLOURS = {
    "confined": COLOURS[0],
    "heavy-tailed": COLOURS[4],
    "diffusive": COLOURS[2],
    "unstable": COLOURS[1],
    "borderline": COLOURS[3],
    "frozen": "#666666",
    "interpolating": COLOURS[5],
}
_CURVES = 8


def figure(modes: Sequence[Mode], learning_rate: float, regime: str, epoch: int, steps: int | None) -> "Figure":
    """Return the figure of ``modes``, ascending in curvature.

    Parameters
    ----------
    regime
        Of the whole.
    epoch
        Steps of an epoch without replacement, or 0.
    steps
        V(n) runs so far, or until most modes have settled.
    """
    drawn, ((left, right),) = page.canvas(1, 2, 10.5, 3.9)
    _spectrum(left, modes, learning_rate)
    last = _reach(modes) if steps is None else checks.integer("steps", steps, at_least=1)
    _variances(right, modes, last, max(epoch, 1))
    asked, told = ("Does the mode settle?", "it") if len(modes) == 1 else ("Which modes settle?", "the whole")
    drawn.suptitle(f"{asked} η\u00a0=\u00a0{learning_rate:.4g}, {told} is {regime}")
    return drawn


def _reach(modes: Sequence[Mode]) -> int:
    settling = [mode.saturation_step for mode in modes if np.isfinite(mode.saturation_step)]
    return int(np.clip(30 * max(settling, default=100.0), 100, 1e6))


def _spectrum(axis: "Axes", modes: Sequence[Mode], learning_rate: float) -> None:
    """Draw λ by rank, with the spread √Γ of the curvature as bars."""
    curvature = np.array([mode.curvature for mode in modes])
    spread = np.sqrt([mode.curvature_noise for mode in modes])
    regimes = np.array([mode.regime for mode in modes])
    rank = np.arange(1, len(modes) + 1)
    for regime, colour in REGIME_COLOURS.items():
        here = regimes == regime
        if np.any(here):
            axis.errorbar(
                rank[here], curvature[here], yerr=spread[here], fmt="o", markersize=4, color=colour, elinewidth=0.8,
                label=regime,
            )  # fmt: skip
    limit = 2 / learning_rate
    if limit < 3 * np.max(np.abs(curvature) + spread):
        axis.axhline(limit, color="#666666", linewidth=0.8, linestyle=":")
        place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "va": "top"}
        axis.annotate("2/η", (0.01, limit), (2, -2), **place)
    axis.axhline(0, color="#666666", linewidth=0.6)
    axis.set_xlim(min(0.5, 1 - 0.05 * len(modes)), max(len(modes) + 0.5, 1.05 * len(modes)))
    layout.integers(axis.xaxis)
    axis.set_xlabel(schema.label("mode"))
    axis.set_ylabel(schema.label("spread_curvature"))
    layout.legend(axis)


def _variances(axis: "Axes", modes: Sequence[Mode], steps: int, epoch: int) -> None:
    """Draw V(n) from a point, of at most ``_CURVES`` modes spread over the spectrum, with its limit if it has one.

    The legend says which parameter each is mostly along, where these have names.
    """
    chosen = np.unique(np.linspace(0, len(modes) - 1, min(_CURVES, len(modes))).astype(int))
    # V_∞ is that at the end of an epoch.
    times = np.unique(-(-np.geomspace(1, steps, 80).astype(int) // epoch)) * epoch
    top, early, highest, bottom = 0.0, 0.0, 0.0, np.inf
    lines, labels, named = [], [], told(modes[0].parameters)
    for index, colour in zip(chosen, palette.ramp(len(chosen)), strict=True):
        mode = modes[int(index)]
        variance = np.array([mode.variance(int(n)) for n in times])
        if not np.any(variance > 0):
            continue
        mostly = f", mostly {axes.legend(mode.mostly)}" if named else ""
        lines += axis.plot(times, variance, color=colour, label=f"λ\u00a0=\u00a0{mode.curvature:.3g}{mostly}")
        labels.append(f"{mode.curvature:.3g}")
        settled = mode.stationary_variance
        if np.isfinite(settled):
            axis.plot(times[-1], settled, marker="_", markersize=12, color=colour)
            top = max(top, settled)
        early = max(early, float(variance[np.searchsorted(times, min(100, steps))]))
        highest = max(highest, float(variance[np.isfinite(variance)].max()))
        bottom = min(bottom, float(variance[variance > 0].min()))
    axis.set_xscale("log")
    axis.set_yscale("log")
    if early > 0:  # what diverges leaves the figure, so that what settles is seen to
        axis.set_ylim(bottom / 3, min(1e3 * (top or early), 3 * highest))
    axis.set_xlabel(schema.label("step"))
    axis.set_ylabel(schema.label("transient_variance"))
    if named:  # beside a bar names would leave the curves no room
        layout.legend(axis)
    else:
        palette.key([axis], lines, labels, schema.label("curvature"))
