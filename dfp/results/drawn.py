"""Figures of results: ``plot`` for all of them; how each kind without a way of its own is drawn is in ``drawings``."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np

from dfp import checks
from dfp.errors import DFPError
from dfp.result import Result
from dfp.results import page
from dfp.results.drawings import DRAWN
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
    width: float | None = None,
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
    ax, title, style, width
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
        return results.plot(name=name, steps=steps, ax=ax, title=title, style=style, width=width)  # type: ignore[call-arg]
    if name is not None:
        raise DFPError(
            f"name={checks.shown(name)}: numbers of sweeps and phase diagrams are drawn by name; leave it out."
        )
    if isinstance(results, Result):
        return results.plot(steps=steps, ax=ax, title=title, style=style, width=width)
    if not isinstance(results, Mapping):
        raise DFPError(f"results={checks.shown(results)}: must be a result of dfp, or solutions by name.")
    from dfp.results.overlay import overlay

    one = steps[0] if isinstance(steps, Sequence) and len(steps) == 1 else steps
    return page.plotted(lambda: overlay(results, one, at=at), ax=ax, title=title, style=style, width=width)


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
    if known is None or (kind != "comparison" and kind not in _BY_STEP):
        raise DFPError(f"steps={checks.shown(steps)}: a {type(result).__name__} has no saved steps; leave it out.")
    if not set(chosen) <= set(map(int, known)) or not chosen:
        raise DFPError(f"steps={chosen}: were not saved; choose from {sorted(set(map(int, known)))}.")
    if kind == "comparison":
        return replace(result, distances=tuple(d for d in result.distances if d.step in chosen))
    kept = [int(np.flatnonzero(result.steps == step)[0]) for step in chosen]
    return replace(result, **{name: getattr(result, name)[kept] for name in _BY_STEP[kind]}, **_LEFT_OUT.get(kind, {}))


# What kinds without ``at`` have for every step, and what their figures do not show.
_BY_STEP = {"moments": ("steps", "mean", "covariance"), "risk curve": ("steps", "excess_risk")}
_LEFT_OUT = {"moments": {"joint_mean": None, "joint_covariance": None}}


def draw(result: Any) -> "Figure":
    """Return the figure of a result.

    Raises
    ------
    DFPError
        If there is none of its kind.
    """
    kind = kind_of(result)
    if kind not in DRAWN:
        raise DFPError(f"result={type(result).__name__}: there is no figure of it; draw what to_xarray() holds.")
    return DRAWN[kind](result)
