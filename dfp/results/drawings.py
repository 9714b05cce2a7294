"""How each kind of result is drawn that has no way of its own."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from dfp.errors import DFPError
from dfp.problem.grid import Grid
from dfp.problem.parameters import told
from dfp.results import axes as named
from dfp.results import figures, layout, page, palette, planes, schema
from dfp.results.cells import PLAIN, Cells
from dfp.results.corner import corner

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _density(result: Any) -> "Figure":
    cells, names = Cells(result.grid.axes, result.values), result.parameters
    if result.grid.dimension == 1:
        return figures.curves({"density": cells}, "Where is the parameter?", None, names[0])
    if result.grid.dimension == 2:
        return planes.planes({"": cells}, "Where are the parameters?", names=names)
    return corner(cells, names, "Where are the parameters?")


def _moments(result: Any) -> "Figure":
    variance = np.einsum("sii->si", result.covariance)
    asked = "How do mean and variance evolve?"
    return figures.moments(result.steps, result.mean, variance, asked, result.parameters)


def _spectrum(result: Any) -> "Figure":
    figure, ((axis,),) = page.canvas(1, 1, 5.4, 3.8)
    order = np.arange(1, len(result.eigenvalues) + 1)
    axis.errorbar(order, np.abs(result.eigenvalues), yerr=result.error, fmt="o", color=figures.COLOURS[0])
    axis.axhline(1.0, color="grey", linewidth=0.8)
    if np.isfinite(result.continuous_edge):
        label = "continuous below"
        layout.legend(
            axis, [axis.axhline(result.continuous_edge, color=figures.COLOURS[1], linestyle="--", label=label)]
        )
    layout.integers(axis.xaxis)
    axis.set_xlabel(schema.label("slowness"))
    axis.set_ylabel(schema.label("multiplier"))
    figure.suptitle("How fast do deviations decay?")
    return figure


def _comparison(result: Any) -> "Figure":
    known = [name for name in _DISTANCES if any(np.isfinite(getattr(d, name).value) for d in result.distances)]
    figure, axes = page.canvas(1, max(len(known), 1), 3.5 * max(len(known), 1), 3.6)
    names = list(dict.fromkeys(d.name for d in result.distances))
    for axis, quantity in zip(axes[0], known or _DISTANCES[:1], strict=True):
        for name, colour in zip(names, palette.colours(len(names)), strict=True):
            own = [d for d in result.distances if d.name == name]
            value, lower, upper = (np.array([getattr(getattr(d, quantity), end) for d in own]) for end in _ENDS)
            error = np.maximum([value - lower, upper - value], 0.0)
            axis.errorbar([d.step for d in own], value, yerr=error, fmt="o-", capsize=3, label=name, color=colour)
        axis.set_ylim(bottom=0)
        page.scale_steps(axis, np.unique([d.step for d in result.distances]))
        axis.set_xlabel(schema.label("step"))
        axis.set_ylabel(schema.label(f"{quantity}_distance"))
    layout.legend(axes[0, 0])
    figure.suptitle(f"How far is each from {result.distances[0].reference}?")
    return figure


def _committor(result: Any) -> "Figure":
    figure, ((axis,),) = page.canvas(1, 1, 5.4, 4.0)
    if result.grid.dimension == 1:
        axis.plot(result.grid.axes[0], result.values, color=figures.COLOURS[0])
        axis.set_xlabel(named.label(result.parameters[0]))
        axis.set_ylabel(schema.label("committor"))
    else:
        drawn = axis.contourf(*result.grid.axes, result.values.T, levels=np.linspace(0, 1, 11), cmap="viridis")
        half = result.grid.spacing / 2
        planes.frame(axis, (result.grid.lower + half, result.grid.upper - half), result.parameters)
        page.bar(drawn, [axis], schema.label("committor"))
    for name, place in (("well", result.well), ("across", result.across)):
        axis.plot(place[0], place[1] if len(place) > 1 else float(name == "across"), "o", label=name)
    layout.legend(axis)
    figure.suptitle("Which well is reached first?")
    return figure


def _stationary_moments(result: Any) -> "Figure":
    figure, ((axis,),) = page.canvas(1, 1, 5.4, 3.8)
    order, variances = np.arange(1, len(result.mean) + 1), result.covariance.diagonal()
    axis.errorbar(order, result.mean, yerr=np.sqrt(variances), fmt="o", capsize=3, color=figures.COLOURS[0])
    axis.set_ylabel(schema.label("mean_and_deviation"))
    _by_parameter(axis, result.parameters)
    figure.suptitle("Where does each parameter settle, and how widely?")
    return figure


def _by_parameter(axis: Any, names: Sequence[str]) -> None:
    """Label an axis of parameters, by number or, where they have names and there is room, by name."""
    axis.set_xlim(0.5, len(names) + 0.5)
    if told(names) and len(names) <= _NAMED:
        axis.set_xticks(range(1, len(names) + 1), [named.legend(name) for name in names], rotation=30, ha="right")
        return
    axis.set_xlabel(schema.label("parameter"))
    layout.integers(axis.xaxis)


def _schedule(result: Any) -> "Figure":
    series = {"learning_rate": result.learning_rates, "batch_size": result.batch_sizes, "momentum": result.momenta}
    told = {name: values for name, values in series.items() if name == "learning_rate" or np.ptp(values) > 0}
    figure, axes = page.canvas(1, len(told), 4.6 * len(told), 3.6)
    for axis, (name, values) in zip(axes[0], told.items(), strict=True):
        axis.stairs(values, np.arange(len(values) + 1), baseline=None, color=figures.COLOURS[0])
        axis.set_xlabel(schema.label("step"))
        axis.set_ylabel(schema.label(name))
    figure.suptitle(f"Which schedule leaves the least risk, {result.risk:.3g}?")
    return figure


def _risk(result: Any) -> "Figure":
    figure, ((axis,),) = page.canvas(1, 1, 5.4, 3.8)
    axis.plot(result.steps, result.excess_risk, ".-", color=figures.COLOURS[0])
    if np.all(result.excess_risk > 0):
        axis.set_yscale("log")
    page.scale_steps(axis, result.steps)
    axis.set_xlabel(schema.label("step"))
    axis.set_ylabel(schema.label("excess_risk"))
    figure.suptitle("How fast does the risk fall?")
    return figure


def _loss_law(result: Any) -> "Figure":
    figure, ((left, right),) = page.canvas(1, 2, 9.0, 3.6)
    low, high = (result.quantile(share) for share in (1e-3, 1 - 1e-3))
    x = np.linspace(low, high, 400)
    left.plot(x, result.density(x), color=figures.COLOURS[0])
    right.plot(x, result.cdf(x), color=figures.COLOURS[0])
    for axis, name in ((left, "loss_density"), (right, "loss_probability")):
        axis.set_xlabel(schema.label("loss"))
        axis.set_ylabel(schema.label(name))
    figure.suptitle(f"How is the loss distributed at step {result.step}?")
    return figure


def _fit(result: Any) -> "Figure":
    told = {"hessian_diagonal": (result.hessian.diagonal(), result.intervals.hessian.diagonal(axis1=1, axis2=2))}
    told["noise_diagonal"] = result.covariance.diagonal(), result.intervals.covariance.diagonal(axis1=1, axis2=2)
    if result.curvature_noise is not None:
        told["minibatch_curvature_noise"] = result.curvature_noise, result.intervals.curvature_noise
    figure, (axes,) = page.canvas(1, len(told), 4.2 * len(told), 4.0)
    order = np.arange(1, len(result.minimum) + 1)
    for axis, (name, (value, ends)) in zip(axes, told.items(), strict=True):
        axis.errorbar(order, value, yerr=np.abs(ends - value), fmt="o", capsize=3, color=figures.COLOURS[0])
        axis.axhline(0, color="grey", linewidth=0.6)
        axis.set_xlabel(schema.label("mode" if "curvature" in name else "parameter"))
        axis.set_ylabel(schema.label(name))
        axis.set_xlim(0.5, len(order) + 0.5)
        layout.integers(axis.xaxis)
    figure.suptitle(f"What do {result.transitions} steps say of the loss and its noise? Bars: 95\u00a0% intervals")
    return figure


def _best_decay(result: Any) -> "Figure":
    if result.decays is None or result.risks is None:
        raise DFPError("result: it does not hold the decays that were compared; take that of dfp.best_decay.")
    figure, ((axis,),) = page.canvas(1, 1, 5.4, 3.8)
    axis.plot(1 - result.decays, result.risks, color=figures.COLOURS[0], label="average")
    axis.axhline(result.last_risk, color=figures.COLOURS[1], linestyle="--", label="last iterate")
    axis.plot(1 - result.decay, result.risk, "o", color=figures.COLOURS[0], label=f"best, γ = {result.decay:.4g}")
    axis.set(xscale="log", yscale="log")
    axis.set_xlabel(schema.label("averaging_weight"))
    axis.set_ylabel(schema.label("excess_risk"))
    layout.legend(axis)
    figure.suptitle("Which average of the iterates has the least risk?")
    return figure


def _rmsprop(result: Any) -> "Figure":
    figure, ((left, right),) = page.canvas(1, 2, 9.0, 3.6)
    law, known = Cells(result.density.grid.axes, result.density.values), Cells([result.log_v], result.log_v_density)
    for axis, cells, name in ((left, law, "RMSProp"), (right, known, None)):
        ends = figures.span([cells], PLAIN)
        places, values = cells.line(*ends)
        axis.plot(places, values, color=figures.COLOURS[0], label=name)
        axis.set_xlim(*ends)
    if np.isfinite(result.frozen_variance):
        places = np.linspace(*figures.span([law], PLAIN), 400)
        z = (places - result.density.mean.item()) / np.sqrt(result.frozen_variance)
        frozen = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi * result.frozen_variance)
        left.plot(places, frozen, "--", color=figures.COLOURS[1], label="v held fixed, Gaussian")
    layout.legend(left)
    for axis, (x, y) in ((left, ("theta_1", "density")), (right, ("log_v", "log_v_density"))):
        axis.set_xlabel(schema.label(x))
        axis.set_ylabel(schema.label(y))
    figure.suptitle(f"Where does RMSProp settle? Holding v fixed errs by {100 * result.frozen_error:+.2g}\u00a0%")
    return figure


def _current(result: Any) -> "Figure":
    law = result.law
    if law.dimension == 2:
        grid = Grid(*figures.window(law.mean[None], law.covariance[None]), 96)
        return _flow({(0, 1): (grid, law.on(grid), result(grid.points))}, result.parameters)
    figure, ((axis,),) = page.canvas(1, 1, 5.0, 4.2)
    size, order = float(np.abs(result.matrix).max()) or 1.0, np.arange(1, law.dimension + 1)
    drawn = axis.pcolormesh(
        order, order, result.matrix, cmap="RdBu_r", vmin=-size, vmax=size, shading="nearest", rasterized=True
    )
    axis.invert_yaxis()
    for one, set_label in ((axis.xaxis, axis.set_xlabel), (axis.yaxis, axis.set_ylabel)):
        layout.integers(one)
        set_label(schema.label("parameter"))
    page.bar(drawn, [axis], schema.label("velocity_matrix"))
    figure.suptitle("Which parameters drive the current?")
    return figure


def _gridded_current(result: Any) -> "Figure":
    law, grid = result.density, result.density.grid
    if grid.dimension == 1:
        figure, ((axis,),) = page.canvas(1, 1, 5.4, 3.8)
        axis.plot(grid.axes[0], result.values[:, 0], color=figures.COLOURS[0])
        axis.set_xlabel(named.label(result.parameters[0]))
        axis.set_ylabel(schema.label("current", 2))
        figure.suptitle("Does probability flow?")
        return figure
    panels = {}
    for pair in combinations(range(grid.dimension), 2):
        rest = tuple(i for i in range(grid.dimension) if i not in pair)
        width, kept = float(np.prod(grid.spacing[list(rest)])), list(pair)
        plane = Grid(grid.lower[kept], grid.upper[kept], tuple(grid.cells[i] for i in pair))
        flow = result.values[..., kept].sum(axis=rest) * width
        panels[pair] = plane, law.values.sum(axis=rest) * width, flow
    return _flow(panels, result.parameters)


def _flow(panels: Mapping[tuple[int, int], Any], names: Sequence[str]) -> "Figure":
    """Return contours of densities in planes of two parameters, with arrows of the current, some 16 an axis."""
    figure, (axes,) = page.canvas(1, len(panels), 4.6 * len(panels), 4.4)
    longest = [float(np.linalg.norm(flow, axis=-1).max()) for _, _, flow in panels.values()]
    for axis, (pair, (grid, density, flow)), most in zip(axes, panels.items(), longest, strict=True):
        places = grid.axes
        low, high = box = planes.seen(Cells(places, density))
        planes.contours(axis, places, density, figures.COLOURS[0], box, [names[i] for i in pair])
        inside = [np.flatnonzero((x > a) & (x < b)) for x, a, b in zip(places, low, high, strict=True)]
        chosen = [one[:: max(1, len(one) // _ARROWS)] for one in inside]
        x, y = (line[one] for line, one in zip(places, chosen, strict=True))
        arrows = flow[np.ix_(*chosen)].swapaxes(0, 1)
        arrows = np.where(np.linalg.norm(arrows, axis=-1, keepdims=True) < _SHORTEST * most, np.nan, arrows)
        apart = min(x[1] - x[0], y[1] - y[0]) if min(x.size, y.size) > 1 else 1.0
        axis.quiver(
            x, y, arrows[..., 0], arrows[..., 1], pivot="mid", angles="xy", scale_units="xy",
            scale=(most or 1.0) / (1.8 * apart), width=0.006,
        )  # fmt: skip
    sizes = ", ".join(f"{most:.2g}" for most in longest)
    unit = schema.label("current", 2).partition(" [")[2].rstrip("]")
    told = f"Arrows: the current, up to {sizes} {unit}" if max(longest) else "It does not: there is detailed balance"
    figure.suptitle(f"Which way does probability flow? {told}")
    return figure


# Names that an axis has room for.
_NAMED = 20
# Arrows of a current along an axis; shorter ones than this share of the longest are left out.
_ARROWS, _SHORTEST = 16, 0.03
_DISTANCES = ("total_variation", "wasserstein", "mean", "covariance")
_ENDS = ("value", "lower", "upper")
DRAWN: dict[str, Callable[[Any], "Figure"]] = {
    "density": _density, "moments": _moments, "spectrum": _spectrum, "comparison": _comparison,
    "committor": _committor, "stationary moments": _stationary_moments, "optimal schedule": _schedule,
    "risk curve": _risk, "loss law": _loss_law, "fit": _fit,
    "best decay": _best_decay, "current": _current, "gridded current": _gridded_current, "rmsprop law": _rmsprop,
}  # fmt: skip
"""How kinds are drawn that have no way of their own."""
