"""SGD leaves a well sooner than Langevin says: beyond a learning rate it is thrown across the barrier (T24).

Double well ḡ = θ³ − θ with constant noise, exit over 0. The action of the least path over Kramers' exponent is 1.000,
.984, .839, .551, .367 at η = .1, .4, .5, .6, .7; at Kramers' exponent 10 Langevin's mean exit is .87, 1.2, 4.2, 38 and
199 times that of SGD.

Source: discrete Freidlin–Wentzell theory (Kifer 1988); theory page (T24).

Tolerance: ratios ± .002, times ± 5 %, the η of the change 1 % (the digits promised); sampled means within four
standard errors.

Control: Langevin's mean must be told from the sample, η = .45 from that of the change.
"""

from time import perf_counter

import numba
import numpy as np
from scipy.optimize import brentq, minimize

import dfp
from validation.case import Case, Picture, Result, Table, Verdict, close, sampled
from validation.figures import COLOURS, canvas, keys, label
from validation.sampling import mean

PROMISED = {0.1: (1.000, 0.87), 0.4: (0.984, 1.2), 0.5: (0.839, 4.2), 0.6: (0.551, 38.0), 0.7: (0.367, 199.0)}


def leaves(rate: float, exponent: float) -> dfp.Escape:
    """Return the escape at Kramers' exponent ½/(ηD)."""
    noise = 0.5 / (rate * exponent)
    well = dfp.Landscape(lambda at: at**3 - at, noise, hessian=lambda at: 3 * at[:, 0] ** 2 - 1)
    return dfp.escape(dfp.SGD(well, rate), 1.2, (0.0, np.inf))


def run(quick: bool) -> Result:
    """Compare actions, mean exits and sampled exits."""
    verdicts, rows = [], []
    leaves(0.4, 10.0)  # compiles
    for rate, (ratio, longer) in PROMISED.items():
        begin = perf_counter()
        found = leaves(rate, 10.0)
        rows.append((rate, found.action / 10, found.mechanism, found.mean_steps, found.langevin_mean_steps,
                     perf_counter() - begin))  # fmt: skip
        verdicts.append(close((f"η = {rate}", "(T24)", "action / Kramers"), found.action / 10, ratio, 0.002))
        times = found.langevin_mean_steps / found.mean_steps
        verdicts.append(close((f"η = {rate}", "(T6) / (T4)", "mean exit"), times, longer, 0.05 * longer))
    verdicts += _change()
    for rate in (0.5, 0.7):
        found, drawn = (
            leaves(rate, 6.0),
            mean(_exits(20_000 if quick else 1_000_000, rate, np.sqrt(0.5 / (6 * rate)), 1)),
        )
        verdicts.append(sampled((f"η = {rate}", "(T4)", "mean exit, Kramers 6"), *drawn, found.mean_steps))
        what = (f"η = {rate}", "control: (T6)", "mean exit, Kramers 6")
        verdicts.append(sampled(what, *drawn, found.langevin_mean_steps, control=True))
    header = ("η", "action / Kramers", "mechanism", "mean steps (T4)", "mean steps (T6)", "seconds")
    table = Table("Escape at Kramers' exponent 10.", header, rows)
    return Result(verdicts, {"rates": list(PROMISED)}, [_picture(quick)], [table])


def _change() -> list[Verdict]:
    """Compare the η from which SGD is thrown with where the minima of both kinds of paths cross, by another method."""
    low, high = 0.4, 0.5
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (middle, high) if leaves(middle, 10.0).mechanism == "climbs" else (low, middle)
    climb = np.concatenate([np.ones(12), np.linspace(0.97, 0, 26)])
    throw = np.concatenate([np.ones(12), [0.99, 1.02, 0.95, 1.76], 0.12 * 0.6 ** np.arange(20), [0.0]])
    crossing = float(brentq(lambda rate: _least(rate, climb) - _least(rate, throw), 0.455, 0.48, xtol=1e-4))
    what = "change of the least path", "(T24)", "η"
    control = "change of the least path", "control: η = .45", "η"
    tolerance = 0.01 * crossing
    return [close(what, (low + high) / 2, crossing, tolerance), close(control, 0.45, crossing, tolerance, control=True)]


def _least(rate: float, path: np.ndarray) -> float:
    """Return the least action near ``path`` (N,) with fixed ends, by a method that knows nothing of bands."""

    def action(inner: np.ndarray) -> tuple[float, np.ndarray]:
        whole = np.concatenate([path[:1], inner, path[-1:]])
        noise = whole[1:] - whole[:-1] + rate * (whole[:-1] ** 3 - whole[:-1])
        slope = noise[:-1] - noise[1:] * (1 - rate * (3 * whole[1:-1] ** 2 - 1))
        return float(np.sum(noise**2) / (2 * rate**2)), slope / rate**2

    return float(minimize(action, path[1:-1], jac=True, method="BFGS", options={"gtol": 1e-9, "maxiter": 5000}).fun)


@numba.njit
def _exits(runs, rate, deviation, seed):  # type: ignore[no-untyped-def]
    np.random.seed(seed)  # noqa: NPY002 (all that compiled code has)
    result = np.empty(runs)
    for r in range(runs):
        theta, n = 1.0, 0
        while theta > 0:
            theta -= rate * (theta**3 - theta + deviation * np.random.standard_normal())  # noqa: NPY002
            n += 1
        result[r] = n
    return result


def _picture(quick: bool) -> Picture:
    figure, ((left, right),) = canvas(1, 2, 10.0, 4.2)
    rates = np.linspace(0.05, 0.75, 8 if quick else 29)
    found = [leaves(float(rate), 10.0) for rate in rates]
    for way, colour in zip(("climbs", "thrown across"), COLOURS, strict=False):
        chosen = [(rate, one.action / 10) for rate, one in zip(rates, found, strict=True) if one.mechanism == way]
        left.plot(*np.array(chosen).T, "o-", color=colour, label=way)
    label(left, "learning rate η [parameter² / loss]", "action / Langevin's [1]", "How much less does leaving cost?")
    for rate, colour in zip((0.1, 0.4, 0.5, 0.7), COLOURS, strict=False):
        path = leaves(rate, 10.0).path[:, 0]
        moved = int(np.argmax(np.abs(path - 1) > 0.01))
        ends = int(np.argmax(path < 0.02)) + 1
        shown = path[max(moved - 2, 0) : ends]
        right.plot(np.arange(1.0 - len(shown), 1.0), shown, ".-", color=colour, label=f"η = {rate}")
    label(right, "steps before the barrier", "θ [parameter]", "Along which path?")
    keys(left)
    keys(right)
    caption = "Action of the least path over the learning rate, and the paths: SGD climbs, then is thrown across."
    return Picture("", caption, figure)


CASE = Case("escape", __doc__, run)
