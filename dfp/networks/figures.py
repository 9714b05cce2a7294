"""Figures of a report, for papers: the title of each is the question it answers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError
from dfp.networks.drawings import COLOURS
from dfp.networks.predictors import LABELS
from dfp.networks.tables import chosen_steps
from dfp.results import palette
from dfp.results.layout import legend
from dfp.results.page import canvas
from dfp.results.schema import label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dfp.networks.compared import Compared

_LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
# Lines of predictors where points are the runs.
_STYLES = {"closure": "-", "authors": ":"}


def errors(report: "Compared") -> "Figure":
    """Return the median error of every predictor against steps, over the band of perfect predictions."""
    figure, axes = canvas(1, 1, 7.0, 4.4)
    axis, moving = axes[0, 0], report.steps > 0
    steps = report.steps[moving]
    high = np.maximum(report.floor.high[moving], 1.3 * report.floor.expected[moving])
    axis.fill_between(steps, 1e-3, high, color="0.88", label="as good as perfect")
    axis.plot(steps, report.floor.expected[moving], "--", color="0.5", label="sampling floor")
    for name, own in report.scores.items():
        if np.isfinite(own.error[moving]).any():
            axis.plot(steps, own.error[moving], "o-", ms=3, color=COLOURS[name], label=LABELS[name])
    until = report.predictions.trusted_until
    if 0 <= until < report.steps[-1]:
        axis.axvline(max(until, 1), color=COLOURS["closure"], ls=":", label="the closure trusts itself so far")
    axis.set(xscale="log", yscale="log", xlabel=label("step"), ylabel=label("prediction_error"))
    axis.set_ylim(bottom=max(1e-3, 0.3 * float(report.floor.expected[moving].min())))
    legend(axis)
    figure.suptitle("How far is each prediction from the runs?")
    return figure


def spectrum(report: "Compared", count: int = 8) -> "Figure":
    """Return variance against steps for directions from sharp to flat, confined and diffusive on one figure."""
    figure, axes = canvas(1, 1, 8.0, 4.6)
    axis, moving = axes[0, 0], report.steps > 0
    steps, live = report.steps[moving], np.flatnonzero(report.live & (report.runs.variance[-1] > 0))
    order = live[np.argsort(report.measured.curvatures[live])[::-1]]
    chosen = order[np.unique(np.linspace(0, len(order) - 1, count).astype(int))]
    lines = []
    for colour, place in zip(palette.ramp(len(chosen)), chosen, strict=True):
        measured, error = report.runs.variance[moving, place], report.runs.variance_error[moving, place]
        lowest = np.minimum(1.96 * error, 0.9 * measured)
        bars = axis.errorbar(
            steps, measured, yerr=[lowest, 1.96 * error], fmt="o", ms=3, lw=1, color=colour,
            label=f"λ = {report.measured.curvatures[place]:.2g}",
        )  # fmt: skip
        lines.append(bars.lines[0])
        for name, style in _STYLES.items():
            if name in report.predictions.moments:
                axis.plot(steps, report.predictions.moments[name].variance[moving, place], style, color=colour, lw=1.2)
    axis.set(xscale="log", yscale="log", xlabel=label("step"), ylabel=label("runs_variance"))
    told = {"runs": "o"} | {LABELS[name]: s for name, s in _STYLES.items() if name in report.predictions.moments}
    others = [axis.plot([], [], style, color="0.4", ms=3, label=name)[0] for name, style in told.items()]
    labels = [f"{report.measured.curvatures[place]:.2g}" for place in chosen]
    palette.key([axis], lines, labels, label("curvature"), others)
    figure.suptitle("Which directions are confined, and which diffuse?")
    return figure


def scatter(report: "Compared", predictors: Sequence[str] = ("authors", "langevin", "table", "closure")) -> "Figure":
    """Return predicted against measured variances of all directions at several steps."""
    shown = [name for name in predictors if name in report.predictions.moments]
    figure, axes = canvas(1, len(shown), 3.4 * len(shown), 3.9)
    places = chosen_steps(report, 4)
    measured = report.runs.variance[:, report.live]
    low, high = np.quantile(measured[places][measured[places] > 0], [0.0, 1.0])
    for axis, name in zip(axes[0], shown, strict=True):
        predicted = report.predictions.moments[name].variance[:, report.live]
        for colour, place in zip(_LINES, places, strict=False):
            axis.plot(predicted[place], measured[place], ".", ms=3, color=colour, label=f"step {report.steps[place]}")
        axis.plot([low / 3, high * 3], [low / 3, high * 3], "-", color="0.6", lw=0.8, zorder=0)
        axis.set(xscale="log", yscale="log", xlabel=label("predicted_variance"), title=LABELS[name])
        axis.set_ylim(low / 3, high * 3)
    axes[0, 0].set_ylabel(label("measured_variance"))
    legend(axes[0, 0])
    figure.suptitle(f"Do predictions match the runs, direction by direction? {int(report.live.sum())} directions")
    return figure


def epoch(report: "Compared") -> "Figure":
    """Return the variance within epochs without replacement, over that of independent minibatches."""
    rule = report.predictions.rule
    if rule.replace:
        raise DFPError("runs were made with replacement: there are no epochs to draw; run with replace=False.")
    figure, axes = canvas(1, 1, 7.0, 4.2)
    axis, length = axes[0, 0], report.measured.samples // rule.batch_size
    moving = report.steps > 0
    steps, live = report.steps[moving], report.live
    alone = 1 - rule.learning_rate * report.measured.curvatures[live]
    drawn = rule.learning_rate**2 * report.measured.gradient_noise[live] / rule.batch_size
    # The sum of a geometric series, which a curvature of zero turns into n.
    fresh = drawn * np.array([np.sum(alone[None] ** (2 * np.arange(n)[:, None]), axis=0) for n in steps])
    groups = {"sharp": report.measured.diagnostics.sharp[live], "flat": report.measured.diagnostics.flat[live]}
    for (name, chosen), colour in zip(groups.items(), _LINES, strict=False):
        if chosen.any():
            ratio = np.median(report.runs.variance[moving][:, live][:, chosen] / fresh[:, chosen], axis=1)
            axis.plot(steps / length, ratio, "o", ms=4, color=colour, label=f"{name} directions, runs (median)")
            for predictor, style in (("additive", "-"), ("closure", "--")):
                found = report.predictions.moments.get(predictor)
                if found is not None and np.isfinite(found.variance).any():
                    median = np.median(found.variance[moving][:, live][:, chosen] / fresh[:, chosen], axis=1)
                    text = "(T18)" if predictor == "additive" else "Gaussian closure"
                    axis.plot(steps / length, median, style, color=colour, lw=1.2, label=f"{name}, {text}")
    axis.axhline(1.0, color="0.6", lw=0.8)
    axis.set(xlabel=label("epoch"), ylabel=label("epoch_variance"))
    legend(axis)
    figure.suptitle(f"Does the noise cancel within an epoch of {length} steps without replacement?")
    return figure


def density(report: "Compared", modes: Sequence[int] = (0,), step: int | None = None) -> "Figure":
    """Return the Gaussian that a predictor gives to one or two directions, over the histogram of the runs."""
    wanted = [checks.integer("modes", m, at_most=len(report.measured.curvatures) - 1) for m in modes]
    if len(wanted) not in (1, 2):
        raise DFPError(f"modes={list(modes)}: give one or two directions.")
    at = int(report.steps[-1]) if step is None else step
    if at not in report.steps:
        raise DFPError(f"step={at}: was not saved; choose from {report.steps.tolist()}.")
    frame = int(np.flatnonzero(report.steps == at)[0])
    figure, axes = canvas(1, 1, 5.6, 4.4)
    axis, places = axes[0, 0], report.runs.positions[frame][:, wanted]
    (_one if len(wanted) == 1 else _two)(axis, report, frame, wanted, places)
    curvatures = ", ".join(f"{report.measured.curvatures[m]:.2g}" for m in wanted)
    figure.suptitle(f"How are the runs distributed at step {at}? λ = {curvatures}", fontsize="medium")
    return figure


def _one(axis: Any, report: "Compared", frame: int, wanted: list[int], places: Array) -> None:
    axis.hist(places[:, 0], bins="fd", density=True, color="0.8", label="runs")
    middle, spread = places.mean(), places.std()
    line = np.linspace(middle - 4.5 * spread, middle + 4.5 * spread, 400)
    for name in ("closure", "table", "langevin"):
        found = report.predictions.moments.get(name)
        if found is None or not found.variance[frame, wanted[0]] > 0:
            continue
        mean, variance = found.mean[frame, wanted[0]], found.variance[frame, wanted[0]]
        values = np.exp(-((line - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)
        axis.plot(line, values, color=COLOURS[name], label=LABELS[name])
    axis.set(xlabel=label("displacement"), ylabel=label("density"))
    legend(axis)


def _two(axis: Any, report: "Compared", frame: int, wanted: list[int], places: Array) -> None:
    axis.plot(*places.T, ".", ms=3, color="0.6", label="runs")
    closure = report.predictions.closure
    if closure is not None:
        inner = closure.covariance[frame][np.ix_(wanted, wanted)]
        values, vectors = np.linalg.eigh(inner)
        angle = np.linspace(0, 2 * np.pi, 200)
        circle = vectors @ (np.sqrt(np.maximum(values, 0))[:, None] * np.array([np.cos(angle), np.sin(angle)]))
        for radius, held in ((1.0, "39 %"), (2.0, "86 %"), (3.0, "99 %")):
            x, y = closure.mean[frame, wanted][:, None] + radius * circle
            axis.plot(x, y, color=COLOURS["closure"], lw=1, label=f"closure, {held}" if radius == 1 else None)
    axis.set(xlabel=label("displacement"), ylabel=label("second_displacement"))
    legend(axis)
