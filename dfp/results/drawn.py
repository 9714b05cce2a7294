"""Figures of results: ``plot`` for all of them, and how those without a way of their own are drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np

from dfp import checks
from dfp.errors import DFPError
from dfp.result import Result
from dfp.results import figures, page, schema
from dfp.results.corner import corner
from dfp.results.kinds import kind_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot(
    results: Any,
    *,
    steps: Any = None,
    at: str = "step",
    name: str | None = None,
    ax: Any = None,
    title: str | None = None,
    style: Any = None,
) -> "Figure":
    """Return a figure of a result, or of several solutions or laws by name over each other, with their differences.

    Parameters
    ----------
    results
        A result of dfp, or solutions and densities by name: then of one step, the first being the reference.
    steps
        Which of the saved steps to draw: all, or of several results the last they share, if left out.
    at
        Of several results: ``"step"``, or ``"time"`` for the same slow time, as ``dfp.compare`` has it.
    name
        Of a sweep or a phase diagram, which number to draw.
    ax, title, style
        As ``plot`` of results has them.

    Returns
    -------
    Figure
        Of Matplotlib; ``pyplot.show()`` shows it.

    Raises
    ------
    DFPError
        If there is no figure of it, or an argument is malformed.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.2)
    >>> laws = {"SGD": dfp.MasterEquation(sgd), "Langevin": dfp.Langevin(sgd)}
    >>> figure = dfp.plot({name: dfp.stationary(equation) for name, equation in laws.items()})
    >>> print(figure.axes[0].get_xlabel())
    parameter θ₁ [parameter]
    """
    checks.choice("at", at, ("step", "time"))
    if isinstance(results, Result) and "name" in signature(results.plot).parameters:
        return results.plot(name=name, steps=steps, ax=ax, title=title, style=style)  # type: ignore[call-arg]
    if name is not None:
        raise DFPError(
            f"name={checks.shown(name)}: numbers of sweeps and phase diagrams are drawn by name; leave it out."
        )
    if isinstance(results, Result):
        return results.plot(steps=steps, ax=ax, title=title, style=style)
    if not isinstance(results, Mapping):
        raise DFPError(f"results={checks.shown(results)}: must be a result of dfp, or solutions by name.")
    from dfp.results.overlay import overlay

    one = steps[0] if isinstance(steps, Sequence) and len(steps) == 1 else steps
    return page.plotted(lambda: overlay(results, one, at=at), ax=ax, title=title, style=style)


def at_steps(result: Any, steps: Any) -> Any:
    """Return a result at some of its steps.

    Raises
    ------
    DFPError
        If it has none, or not these.
    """
    chosen = [steps] if isinstance(steps, int | np.integer) else list(steps)
    if hasattr(result, "at") and hasattr(result, "steps"):
        return result.at(chosen)
    kind = kind_of(result)
    known = [d.step for d in result.distances] if kind == "comparison" else getattr(result, "steps", None)
    if known is None or kind == "exit steps":
        raise DFPError(f"steps={checks.shown(steps)}: a {type(result).__name__} has no saved steps; leave it out.")
    if not set(chosen) <= set(map(int, known)) or not chosen:
        raise DFPError(f"steps={chosen}: were not saved; choose from {sorted(set(map(int, known)))}.")
    if kind == "comparison":
        return replace(result, distances=tuple(d for d in result.distances if d.step in chosen))
    kept = [int(np.flatnonzero(result.steps == step)[0]) for step in chosen]
    return replace(result, steps=result.steps[kept], mean=result.mean[kept], covariance=result.covariance[kept],
                   joint_mean=None, joint_covariance=None)  # fmt: skip


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
        return figures.planes({"": (axes, result.values)}, seen, "Where are the parameters?")
    return corner(axes, result.values, seen, ["theta_1", "theta_2", "theta_3"], "Where are the parameters?")


def _moments(result: Any) -> "Figure":
    variance = np.einsum("sii->si", result.covariance)
    return figures.moments(result.steps, result.mean, variance, "How do mean and variance evolve?")


def _spectrum(result: Any) -> "Figure":
    figure, ((axis,),) = page.canvas(1, 1, 5.4, 3.8)
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
    figure.suptitle("How fast do deviations decay?")
    return figure


def _comparison(result: Any) -> "Figure":
    figure, axes = page.canvas(1, 4, 14.0, 3.6)
    names = list(dict.fromkeys(d.name for d in result.distances))
    for axis, quantity in zip(axes[0], ("total_variation", "wasserstein", "mean", "covariance"), strict=True):
        for name, colour in zip(names, figures.colours(len(names)), strict=True):
            own = [d for d in result.distances if d.name == name]
            value, lower, upper = (np.array([getattr(getattr(d, quantity), end) for d in own]) for end in _ENDS)
            error = np.maximum([value - lower, upper - value], 0.0)
            axis.errorbar([d.step for d in own], value, yerr=error, fmt="o-", capsize=3, label=name, color=colour)
        axis.set_ylim(bottom=0)
        page.scale_steps(axis, np.unique([d.step for d in result.distances]))
        axis.set_xlabel(schema.label("step"))
        axis.set_ylabel(schema.label(f"{quantity}_distance"))
    axes[0, 0].legend()
    figure.suptitle(f"How far is each from {result.distances[0].reference}?")
    return figure


def _committor(result: Any) -> "Figure":
    figure, ((axis,),) = page.canvas(1, 1, 5.4, 4.0)
    if result.grid.dimension == 1:
        axis.plot(result.grid.axes[0], result.values, color=figures.COLOURS[0])
        axis.set_xlabel(schema.label("theta_1"))
        axis.set_ylabel(schema.label("committor"))
    else:
        drawn = axis.contourf(*result.grid.axes, result.values.T, levels=np.linspace(0, 1, 11), cmap="viridis")
        half = result.grid.spacing / 2
        figures.frame(axis, (result.grid.lower + half, result.grid.upper - half))
        page.bar(drawn, [axis], schema.label("committor"))
    for name, place in (("well", result.well), ("across", result.across)):
        axis.plot(place[0], place[1] if len(place) > 1 else float(name == "across"), "o", label=name)
    axis.legend()
    figure.suptitle("Which well is reached first?")
    return figure


def _stationary_moments(result: Any) -> "Figure":
    figure, ((axis,),) = page.canvas(1, 1, 5.4, 3.8)
    order, variances = np.arange(1, len(result.mean) + 1), result.covariance.diagonal()
    axis.errorbar(order, result.mean, yerr=np.sqrt(variances), fmt="o", capsize=3, color=figures.COLOURS[0])
    axis.set_xlabel(schema.label("parameter"))
    axis.set_ylabel(schema.label("mean_and_deviation"))
    axis.set_xlim(0.5, len(order) + 0.5)
    axis.xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle("Where does each parameter settle, and how widely?")
    return figure


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


_ENDS = ("value", "lower", "upper")
_DRAWN = {
    "density": _density, "moments": _moments, "spectrum": _spectrum, "comparison": _comparison,
    "committor": _committor, "stationary moments": _stationary_moments, "optimal schedule": _schedule,
    "risk curve": _risk, "loss law": _loss_law,
}  # fmt: skip
