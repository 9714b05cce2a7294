"""Weak order: moments of (T6) approach SGD's at first order in η, of (T5) and (T7) at second, of (T7m) at third.

Relative to the noise-induced covariance they lose one order; (T4), and mean and covariance of (T5), are exact. SGD's
own moments come from the enumeration of its minibatches, so that the master equation is tested as well.

Source: theory page, end of section 2; Li, Tai and E (2017) for (T7).

Tolerance: slopes over the four smallest learning rates fall short of the order by at most 0.1, since the next order
still bends the curve by a few per cent at η = 0.025; exact quantities err by less than 1e-12, rounding of 320 steps.

Control: (T7) with the wrong sign, (T7m) with a drift cut short and (T5) with noise 1e-9 too loud must fail.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from typing import Any

import numpy as np

import dfp
from dfp.checks import Array
from dfp.problem.equation import Equation, MomentVector
from dfp.results.figures import COLOURS
from validation import convergence, enumeration
from validation.case import Case, Picture, Result, Table, Verdict
from validation.problems import Problem, problems

LADDER = tuple(0.2 / 2**k for k in range(7))
"""Learning rates [parameter^2 / loss], falling."""
TIME = 1.0
"""Slow time τ = ηn at which moments are compared [parameter^2 / loss]."""
FITTED = 4
"""Slopes are fitted to this many of the smallest learning rates: there the leading error dominates."""
ROUNDING = 1e-11
"""Relative errors below this may be rounding and are left out of fits."""
EXACT = 1e-12
"""Relative error of an exact quantity: 320 steps that round by 1e-16 each, and some 10 terms a step."""
SLACK = 0.1
"""A slope may fall this short of its order: at η = 0.025 the next order still bends the curve by a few per cent."""

MEAN, COVARIANCE, FOURTH, SPREAD = "mean", "covariance", "fourth moment", "noise-induced covariance"
QUANTITIES = {
    MEAN: "error of the mean\n[parameter]",
    COVARIANCE: "error of the covariance\n[parameter²]",
    FOURTH: "error of the fourth moment\n[parameter⁴]",
    SPREAD: "relative error of the covariance\nfrom a point [1]",
}
"""The first three start from a Gaussian; the last starts from a point, so that all of it is of order η."""

Errors = dict[tuple[str, str], tuple[Array, Array]]
"""Norms of errors and of the true values, each of shape (K,), by model and quantity."""


@dataclass(frozen=True)
class Model:
    """An equation under test, held to the orders promised for ``number``."""

    name: str
    number: str
    make: Callable[[dfp.SGD], Equation]
    style: dict[str, Any] | None = None
    """How it is drawn; None if it is not."""
    judged: tuple[str, ...] = tuple(QUANTITIES)
    control: bool = False


class WrongSign(dfp.ModifiedLangevin):
    """(T7) with the sign of the drift correction (η/2)Hḡ turned round."""

    def mode_rates(self, eigenvalues: Array) -> Array:
        """Return 1 − ηλ/2."""
        return 1 - self.sgd.learning_rate * eigenvalues / 2


class ShortDrift(dfp.ModifiedLangevin):
    """(T7m) without the last term (η²/3)H²ḡ of its drift."""

    def mode_rates(self, eigenvalues: Array) -> Array:
        """Return 1 + ηλ/2."""
        return 1 + self.sgd.learning_rate * eigenvalues / 2


class LouderNoise(dfp.DiscreteFokkerPlanck):
    """(T5) with the covariance of its noise too large by one part in 10⁹."""

    def mean_diffusion(self, at: MomentVector) -> Array:
        """Return η² C̄ (1 + 1e-9)."""
        return super().mean_diffusion(at) * (1 + 1e-9)


def _line(colour: str, marker: str, **rest: Any) -> dict[str, Any]:
    return {"color": colour, "marker": marker, "markersize": 4.5, "linewidth": 1.3, **rest}


MODELS = (
    Model("master equation (T4)", "T4", dfp.MasterEquation),
    Model("discrete Fokker-Planck (T5)", "T5", dfp.DiscreteFokkerPlanck, _line(COLOURS[1], "s")),
    Model("Langevin (T6)", "T6", dfp.Langevin, _line(COLOURS[2], "o")),
    Model("modified Langevin (T7)", "T7", partial(dfp.ModifiedLangevin, matched=False), _line(COLOURS[3], "^")),
    Model("matched (T7m)", "T7m", dfp.ModifiedLangevin, _line(COLOURS[0], "D")),
    Model(
        "matched, positive (T7m⁺)",
        "T7m⁺",
        partial(dfp.ModifiedLangevin, positive=True),
        _line(COLOURS[4], "v", linestyle="--", markerfacecolor="white"),
    ),
    Model(
        "control: (T7), wrong sign",
        "T7",
        partial(WrongSign, matched=False),
        _line("0.45", "x", linestyle=":"),
        (MEAN, COVARIANCE, FOURTH),
        True,
    ),
    Model("control: (T7m), drift cut short", "T7m", ShortDrift, None, (MEAN, COVARIANCE), True),
    Model("control: (T5), noise 1e-9 louder", "T5", LouderNoise, None, (COVARIANCE, SPREAD), True),
)


def promised(number: str, quantity: str, skewed: bool) -> int | None:
    """Return the weak order that the theory page promises (end of its section 2), or None for exact."""
    if number == "T4" or (number == "T5" and quantity != FOURTH):
        return None
    if number == "T6":
        return 1
    order = 2 if number in ("T5", "T7") or (skewed and quantity == FOURTH) else 3
    return order - 1 if quantity == SPREAD else order


def about(centre: Array, solved: dfp.Solution) -> enumeration.Moments:
    """Return the last moments of a solution, the fourth about ``centre`` instead of the mean."""
    assert solved.third is not None and solved.fourth is not None
    shift, covariance, outer = solved.mean[-1] - centre, solved.covariance[-1], np.multiply.outer
    # E[(x + s)⁴] = E[x⁴] + 4 E[x³]s + 6 E[x²]s² + s⁴, symmetrised over the places of the factors
    parts = 4 * outer(solved.third[-1], shift) + outer(6 * covariance + outer(shift, shift), outer(shift, shift))
    fourth = np.mean([(solved.fourth[-1] + parts).transpose(places) for places in permutations(range(4))], axis=0)
    return enumeration.Moments(solved.mean[-1], covariance, fourth)


def measure(problem: Problem, ladder: Sequence[float]) -> Errors:
    """Return errors and true sizes of the moments at slow time ``TIME`` for every learning rate of the ladder."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {(m.name, q): [] for m in MODELS for q in m.judged}
    for rate in ladder:
        steps, sgd = round(TIME / rate), dfp.SGD(problem.landscape, rate)
        centre = sgd.critical_point
        for start in (problem.start, dfp.Point(problem.start.mean)):
            truth = enumeration.moments(problem.minibatches, rate, steps, start.mean, start.covariance, centre)
            for model in MODELS:
                wanted = [q for q in model.judged if (q == SPREAD) == isinstance(start, dfp.Point)]
                if not wanted:
                    continue
                solved = dfp.solve(model.make(sgd), start, steps, [steps], dfp.MomentRecursion())
                moments = about(centre, solved)
                for quantity in wanted:
                    field = {MEAN: "mean", FOURTH: "fourth"}.get(quantity, "covariance")
                    true = getattr(truth, field)
                    error = np.linalg.norm(getattr(moments, field) - true)
                    found[model.name, quantity].append((float(error), float(np.linalg.norm(true))))
    return {key: (np.array(pairs)[:, 0], np.array(pairs)[:, 1]) for key, pairs in found.items()}


def judge(
    problem: Problem, model: Model, quantity: str, ladder: Array, errors: Errors
) -> tuple[Verdict, dict[str, Any]]:
    """Return the verdict on one quantity of one model, and the numbers it rests on."""
    absolute, size = errors[model.name, quantity]
    relative = absolute / size
    shown = relative if quantity == SPREAD else absolute
    order, slope, deviation = promised(model.number, quantity, problem.skewed), None, None
    if order is None:
        if not np.all(np.isfinite(relative)):
            raise ValueError(f"{model.name}, {quantity}: not finite; use smaller learning rates.")
        measured, passed = f"{relative.max():.0e}", bool(relative.max() < EXACT)
    else:
        slope = convergence.slope(ladder, shown, relative > ROUNDING, FITTED)
        pairs = convergence.pairwise(ladder, shown)[-FITTED + 1 :]
        measured = f"{slope:.2f} [{pairs.min():.2f}, {pairs.max():.2f}]"
        passed, deviation = slope >= order - SLACK, round(slope - order, 4)
    target = "exact" if order is None else str(order)
    value = float(relative.max()) if slope is None else slope
    verdict = Verdict(
        problem.name, model.name, quantity, target, measured, passed, value, deviation=deviation, control=model.control
    )
    evidence = {
        "promised": target,
        "slope": slope,
        "absolute_error": absolute.tolist(),
        "relative_error": relative.tolist(),
        "pairwise_order": None if order is None else convergence.pairwise(ladder, shown).tolist(),
        "absolute_order": None if order is None else convergence.pairwise(ladder, absolute)[-FITTED + 1 :].tolist(),
    }
    return verdict, evidence


def run(quick: bool, ladder: Sequence[float] = LADDER) -> Result:
    """Measure every model on every problem, judge it and draw it; both modes are the same."""
    rates, verdicts = np.array(ladder), []
    numbers: dict[str, Any] = {"slow_time": TIME, "learning_rate": rates, "errors": {}}
    measured = {problem: measure(problem, ladder) for problem in problems()}
    for problem, errors in measured.items():
        found: dict[str, Any] = numbers["errors"].setdefault(problem.name, {})
        for model in MODELS:
            for quantity in model.judged:
                verdict, evidence = judge(problem, model, quantity, rates, errors)
                verdicts.append(verdict)
                found.setdefault(model.name, {})[quantity] = evidence
    off = max(abs(v.deviation) for v in verdicts if v.deviation is not None and not v.control)
    notes = (
        f"Orders in η at slow time τ = {TIME:g} are slopes over the {FITTED} smallest learning rates, none off by more "
        f"than {off:.2f}; in brackets, the smallest and largest order between neighbouring learning rates there.",
        f"The {SPREAD} starts from a point and its errors are relative; all else starts from a Gaussian.",
    )
    return Result(verdicts, numbers, [picture(measured, rates)], [slopes(numbers["errors"])], notes)


def slopes(errors: dict[str, Any]) -> Table:
    """Return the orders from a point with their ranges, absolute and relative to the noise-induced covariance."""
    rows = []
    for problem, models in errors.items():
        for model in MODELS:
            found = models[model.name].get(SPREAD)
            if found is not None and found["slope"] is not None and not model.control:
                absolute, relative = found["absolute_order"], found["pairwise_order"][-FITTED + 1 :]
                rows.append(
                    (
                        problem,
                        model.name,
                        *(f"{np.mean(o):.2f} [{min(o):.2f}, {max(o):.2f}]" for o in (absolute, relative)),
                    )
                )
    return Table(
        "Order of the covariance's error from a point, with the range over neighbouring learning rates: relative to "
        "the noise-induced covariance, itself of order η, every equation loses one order.",
        ("problem", "equation", "absolute", "relative to the noise"),
        rows,
    )


def picture(measured: dict[Problem, Errors], rates: Array) -> Picture:
    """Return the figure with what it shows."""
    caption = (
        "Errors of the moments against the learning rate at fixed slow time: each line falls with the slope its "
        "equation promises; the dotted control, with the wrong sign in its drift, falls one order too slowly."
    )
    return Picture("", caption, figure(measured, rates))


def figure(measured: dict[Problem, Errors], rates: Array) -> Any:
    """Return errors against the learning rate: a row for each problem, a column for each quantity."""
    from matplotlib.figure import Figure

    page = Figure(figsize=(13, 9.6), layout="constrained")
    axes = page.subplots(len(measured), len(QUANTITIES), sharex=True, squeeze=False)
    for row, (problem, errors) in zip(axes, measured.items(), strict=True):
        for axis, (quantity, label) in zip(row, QUANTITIES.items(), strict=True):
            _panel(axis, problem, quantity, errors, rates)
            axis.set_ylabel(label)
        row[0].set_title(problem.name, loc="left", fontweight="bold")
    for axis in axes[-1]:
        axis.set_xlabel("learning rate η [parameter² / loss]")
    handles, labels = axes[0][list(QUANTITIES).index(FOURTH)].get_legend_handles_labels()
    page.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    page.suptitle(
        f"How fast does each equation approach SGD as the learning rate falls? Moments at slow time τ = {TIME:g}"
    )
    return page


def _panel(axis: Any, problem: Problem, quantity: str, errors: Errors, rates: Array) -> None:
    exact, smallest = [], np.inf
    for model in (m for m in MODELS if quantity in m.judged):
        absolute, size = errors[model.name, quantity]
        values = absolute / size if quantity == SPREAD else absolute
        if promised(model.number, quantity, problem.skewed) is None:
            exact += [] if model.control else [model.number]
        elif model.style is not None:
            axis.loglog(rates, values, label=model.name, **model.style)
            smallest = min(smallest, float(values.min()))
    convergence.key(axis, rates, smallest, (1, 2) if quantity == SPREAD else (1, 2, 3), "η")
    axis.set_xlim(rates.min() / 1.3, rates.max() * 1.7)
    axis.text(0.04, 0.96, f"exact: {' and '.join(exact)}", transform=axis.transAxes, va="top")


CASE = Case("weak-order", __doc__, run)
