"""Optimal schedules of streaming least squares have the published shapes, and its risk tends to Volterra's limit.

For curvatures j^−β and a signal whose risk falls like τ^−s in slow time, theory (a flow whose noise is forgotten like
K(τ) = Σ λ² e^{−2λτ}) says of the best learning rates of N steps: η ∝ K^{−1/2} of the slow time that is left, so that
η ∝ (1 − n/N)^{2β−1}; their height falls like N^{−(s−1+1/β)/(s+1/β)} where s > 1 − 1/β and the last risk like
N^{−sβ/(1+sβ)}; where s < 1 − 1/β they stay up until a vanishing share of the steps is left. Momentum does better still.

Source: Li et al. 2026 (arXiv:2602.06797) for the schedules; Paquette et al. 2021 (arXiv:2102.04396) for the limit;
theory page (T21).

Tolerance: exponents within 5 %: at these N the next powers of N bend them by 2 or 3 %; K^{−1/2} within 3 % while more
than 20 units of slow time are left, for a flow neglects terms of order ηλ and 1/τ; slopes of the limit's error in 1/d
within 0.02, bent by 1/d²; the adjoint's gradient 1e-7 of the largest entry, what central differences can tell.

Control: the published shape of another β must fail, and so must the schedule's risk with one step left out.
"""

from itertools import pairwise

import numpy as np
from dfp_solvers import schedule_adjoint

import dfp
from dfp.checks import Array
from validation import convergence
from validation.case import Case, Picture, Result, Table, Verdict, at_least, at_most, close
from validation.figures import COLOURS, canvas, keys, label

_BETA, _SOURCE, _BATCH = 1.5, 1.0, 30
_HARD = 3.0, 0.3
Found = dict[int, dfp.OptimalSchedule]
"""Best schedules by the number of steps."""
# Slow time that is left where the flow's law is looked at.
_LEFT = 20.0


def problem(beta: float, source: float, modes: int, batch: int = _BATCH) -> tuple[dfp.GaussianFeatures, Array]:
    """Return curvatures j^−β with unit label noise, and E δ² at step 0 such that λ E δ² is j^−(1 + sβ)."""
    j = np.arange(1, modes + 1.0)
    return dfp.GaussianFeatures(j**-beta, 1.0, batch), j ** -(1 + source * beta - beta)


def best(beta: float, source: float, steps: int, batch: int = _BATCH) -> dfp.OptimalSchedule:
    """Return the best learning rates, with ten times as many modes as are learnt."""
    landscape, start = problem(beta, source, int(10 * steps ** (1 / beta)), batch)
    return dfp.optimal_schedule(landscape, steps, start)


def run(quick: bool) -> Result:
    """Fit exponents to best schedules of rising length, and compare exact risks with their limit."""
    lengths = (500, 1000, 2000) if quick else (1000, 2000, 4000, 8000)
    easy = {n: best(_BETA, _SOURCE, n) for n in lengths}
    hard = {n: best(*_HARD, n, 1) for n in lengths}
    verdicts, rows = _exponents(easy)
    shape, curves = _shape(easy[lengths[-1]], lengths[-1])
    verdicts += shape + _hard(hard) + _gradient() + _momentum()
    limit, errors = _volterra((10, 100, 1000, 10_000) if quick else (10, 100, 1000, 10_000, 100_000))
    verdicts += limit
    numbers = {"steps": list(lengths), "risk": [easy[n].risk for n in lengths], "volterra": errors}
    tables = [Table("Exponents in N of the best schedules, between neighbouring N; published: on the right.",
                    ("quantity", "fitted", "smallest", "largest", "published"), rows)]  # fmt: skip
    return Result(verdicts, numbers, [_picture(easy, hard, curves), _limit_picture(errors)], tables)


def _exponents(found: Found) -> tuple[list[Verdict], list[tuple[object, ...]]]:
    steps = np.array(list(found), dtype=float)
    middle = np.array([np.exp(np.mean(np.log(f.learning_rates[n // 5 : 3 * n // 5]))) for n, f in found.items()])
    published = {
        "height of the schedule": (middle, (_SOURCE - 1 + 1 / _BETA) / (_SOURCE + 1 / _BETA)),
        "last risk": (np.array([f.risk for f in found.values()]), _SOURCE * _BETA / (1 + _SOURCE * _BETA)),
    }
    verdicts, rows = [], list[tuple[object, ...]]()
    for name, (values, wanted) in published.items():
        between = -convergence.pairwise(steps, values)
        fitted = -float(np.polyfit(np.log(steps), np.log(values), 1)[0])
        rows.append((name, fitted, float(between.min()), float(between.max()), wanted))
        verdicts.append(close((f"β = {_BETA}, s = {_SOURCE}", name, "exponent of 1/N"), fitted, wanted, 0.05 * wanted))
    return verdicts, rows


def _shape(found: dfp.OptimalSchedule, steps: int) -> tuple[list[Verdict], dict[str, Array]]:
    """Compare the schedule with K^{−1/2} of the slow time left, and the power of that time with the published one."""
    rates = found.learning_rates
    left = np.cumsum(rates[::-1])[::-1] - rates / 2
    curvatures = problem(_BETA, _SOURCE, int(10 * steps ** (1 / _BETA)))[0].curvatures
    kernel = np.array([np.sum(curvatures**2 * np.exp(-2 * curvatures * t)) for t in left])
    inside = (left > _LEFT) & (left < 0.8 * left[0])
    ratio = rates[inside] * np.sqrt(kernel[inside])
    what = f"β = {_BETA}, s = {_SOURCE}, N = {steps}"
    verdicts = [
        at_most((what, "η √K", "largest deviation from a constant"), float(np.ptp(ratio) / 2 / ratio.mean()), 0.03)
    ]
    power = float(np.polyfit(np.log(left[inside]), np.log(rates[inside]), 1)[0])
    for beta, control in ((_BETA, False), (2.0, True)):
        # (1 − n/N)^{2β−1} has the slow time (1 − n/N)^{2β} left
        wanted, name = 1 - 1 / (2 * beta), f"{'control: ' if control else ''}β = {beta}"
        verdicts.append(
            close((what, name, "power of the slow time left"), power, wanted, 0.05 * wanted, control=control)
        )
    return verdicts, {"left": left, "law": ratio.mean() / np.sqrt(kernel), "rates": rates}


def _hard(found: Found) -> list[Verdict]:
    """Judge that the share of steps below half the plateau falls with N, and the plateau does not."""
    shares, plateaus = [], []
    for n, schedule in found.items():
        plateau = float(np.median(schedule.learning_rates[: n // 2]))
        plateaus.append(plateau)
        shares.append(float(np.mean(schedule.learning_rates < plateau / 2)))
    beta, source = _HARD
    what = f"β = {beta}, s = {source} (hard)"
    ratio = [b / a for a, b in pairwise(shares)]
    return [
        at_most((what, "steps below half the plateau", "share, at twice the N over at N"), max(ratio), 0.95),
        at_least((what, "plateau", "at the largest N over at the smallest"), plateaus[-1] / plateaus[0], 0.9),
    ]


def _gradient() -> list[Verdict]:
    """Compare the adjoint at d = 200, N = 1000 with central differences of the risk in some of its entries."""
    landscape, start = dfp.GaussianFeatures(1 / np.arange(1, 201) ** 1.2, 0.25, 4), np.ones(200)
    found = dfp.optimal_schedule(landscape, 1000, start)
    what = "λ = i^−1.2, d = 200, N = 1000"
    verdicts = [close((what, "best learning rates", "last risk"), found.risk, 0.02245, 5e-6)]
    shorter = dfp.risk_curve(dfp.SGD(landscape, found.learning_rates[:-1]), start, 999, [999]).excess_risk[0]
    verdicts.append(close((what, "control: a step left out", "last risk"), float(shorter), 0.02245, 5e-6, control=True))
    rates, momenta = 0.7 * found.learning_rates, np.full(1000, 0.3)
    settings = [rates, np.full(1000, 4.0), momenta]

    def derivatives(settings: list[Array]) -> tuple[float, list[Array]]:
        rates, batches, momenta = settings
        arguments = (start, landscape.curvatures, rates, batches, momenta, 0.25)
        risk, *slopes = schedule_adjoint.heavy_risk_gradient(*arguments)
        return risk, slopes

    for place, name in enumerate(("η_n", "B_n", "β_n")):
        slope, wrong = derivatives(settings)[1][place], []
        for n in range(3, 1000, 111):
            ends = []
            for sign in (1, -1):
                moved = [part.copy() for part in settings]
                moved[place][n] *= 1 + 1e-4 * sign
                ends.append(derivatives(moved)[0])
            wrong.append(slope[n] - (ends[0] - ends[1]) / (2e-4 * settings[place][n]))
        error = float(np.max(np.abs(wrong)) / np.max(np.abs(slope)))
        verdicts.append(at_most((what, f"adjoint in {name}", "largest error of the gradient"), error, 1e-7))
    return verdicts


def _momentum() -> list[Verdict]:
    landscape, start = problem(*_HARD, 200, 8)
    plain = dfp.optimal_schedule(landscape, 300, start)
    heavy = dfp.optimal_schedule(landscape, 300, start, vary=("learning_rate", "momentum"))
    what = ("β = 3, s = 0.3 (hard), N = 300", "momentum varied too", "last risk over that of learning rates alone")
    return [at_most(what, heavy.risk / plain.risk, 0.99)]


def _volterra(dimensions: tuple[int, ...]) -> tuple[list[Verdict], dict[str, list[float]]]:
    """Return verdicts on the largest relative error of the limit over 4 d steps of η = 1/d, which falls like 1/d."""
    errors = []
    for d in dimensions:
        sgd = dfp.SGD(dfp.GaussianFeatures(0.2 + (np.arange(d) + 0.5) / d, 0.4, 2), 1.0 / d)
        saved = np.unique(np.linspace(0, 4 * d, 9).astype(int)).tolist()
        exact, limit = (f(sgd, 1.0 / d, 4 * d, saved).excess_risk for f in (dfp.risk_curve, dfp.volterra_curve))
        errors.append(float(np.max(np.abs(limit / exact - 1))))
    slope = convergence.pairwise(1 / np.array(dimensions[1:], dtype=float), np.array(errors[1:]))
    what = ("Volterra's limit", "largest relative error of the risk")
    verdicts = [close((*what, "order in 1/d"), float(np.mean(slope)), 1.0, 0.02)]
    verdicts.append(at_least((*what, "at d = 10: a limit, not the risk"), errors[0], 1e-3))
    return verdicts, {"dimension": [float(d) for d in dimensions], "error": errors}


def _picture(
    easy: dict[int, dfp.OptimalSchedule], hard: dict[int, dfp.OptimalSchedule], curves: dict[str, Array]
) -> Picture:
    figure, ((one, two, three),) = canvas(1, 3, 13.0, 4.0)
    for axis, found, title in ((one, easy, "Easy: a power of what is left?"), (two, hard, "Hard: up until the end?")):
        for colour, (n, schedule) in zip(COLOURS, found.items(), strict=False):
            axis.plot(np.arange(n) / n, schedule.learning_rates, color=colour, label=f"N = {n}")
        label(axis, "share of the steps n / N [1]", "learning rate η [parameter² / loss]", title)
        keys(axis)
    three.loglog(curves["left"], curves["rates"], color=COLOURS[0], label="best schedule")
    three.loglog(curves["left"], curves["law"], "--", color=COLOURS[1], label="∝ K^(−1/2)")
    label(three, "slow time left [parameter² / loss]", "learning rate η [parameter² / loss]", "Is η²K constant?")
    keys(three)
    caption = (
        "Schedules of streaming least squares: in the easy phase a power of the steps left; in the hard one, after "
        "a first large step, a plateau with a fall at the end; on the right against the published law of the time left."
    )
    return Picture("schedules", caption, figure)


def _limit_picture(errors: dict[str, list[float]]) -> Picture:
    figure, ((axis,),) = canvas(1, 1, 5.5, 4.0)
    d = np.array(errors["dimension"])
    axis.loglog(d, errors["error"], "o-", color=COLOURS[0], label="exact against limit")
    axis.loglog(d, errors["error"][-1] * d[-1] / d, color="0.6", linewidth=0.9, label="∝ 1/d")
    label(axis, "parameters d [1]", "largest relative error of the risk [1]", "How high is high dimension?")
    keys(axis)
    return Picture("volterra", "Volterra's limit of the risk errs by 1/d, at η = 1/d over 4d steps.", figure)


CASE = Case("schedules", __doc__, run)
