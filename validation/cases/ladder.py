"""The ladder of truncations (T25): order m has moments up to the m-th exactly, and errs in the next one like η^m.

Each further order asks for one more moment of the minibatch noise and gains a power of η; as densities the members are
no better than (T5), for none is positive.

Source: theory page, section 2 (T25).

Tolerance: moments up to the order agree to 1e-12 (relative, rounding of a few steps) with those of every path of
minibatches; slopes of the next moment's error over the four smallest learning rates at which it stands out of rounding
are within 8.5 % of the order m, for the next power, some m²η times the first, still bends them.

Control: the moment after the order must not be exact, and order m must not fall like η^(m+1).
"""

import time
from functools import partial

import numpy as np

import dfp
from dfp.checks import Array
from validation import convergence
from validation.case import Case, Picture, Result, Table, Verdict, at_least, at_most, close
from validation.figures import COLOURS, canvas, keys, label

_ORDERS, _TIME = (1, 2, 3, 4, 5, 6), 1.0
_RATES = 0.1 / 2.0 ** np.arange(7)
# Relative errors below this may be rounding; steps that are enumerated.
_ROUNDED, _ENUMERATED = 1e-11, 6
_SLOPES, _GRADIENTS = np.array([0.4, 1.0, 1.9]), np.array([0.3, -0.5, 0.45])


def problems() -> dict[str, tuple[dfp.QuadraticLandscape, dfp.Point]]:
    """Return landscapes, and places to start from."""
    noise = dfp.GaussianNoise([0.3, 0.2], [[0.3, 0.0], [0.1, 0.2]])
    return {
        "three samples, d = 1": (_samples(), dfp.Point([0.7])),
        "Gaussian H̃ and g̃, d = 2": (
            dfp.QuadraticLandscape([[1.2, 0.2], [0.2, 0.6]], [0.1, 0.2], noise), dfp.Point([0.7, -0.4]),
        ),
    }  # fmt: skip


def _samples() -> dfp.QuadraticLandscape:
    return dfp.QuadraticLandscape.from_samples(_SLOPES[:, None, None], _GRADIENTS[:, None])


def run(quick: bool) -> Result:
    """Measure every order on both problems; both modes are the same."""
    verdicts, rows = _enumerated(), list[tuple[object, ...]]()
    drawn = {name: {m: _errors(*problem, m) for m in _ORDERS} for name, problem in problems().items()}
    for name, errors in drawn.items():
        base = _seconds(*problems()[name], 2)
        for m in _ORDERS:
            verdicts += _judged(name, m, errors[m])
            cost = _seconds(*problems()[name], m) / base
            rows.append((name, m, f"1 … {m}", cost, *(float(errors[m][k]) for k in (0, 2, 4))))
    header = ("problem", "order", "moments of the noise", "time over that of order 2",
              *(f"error at η = {_RATES[k]:g}" for k in (0, 2, 4)))  # fmt: skip
    caption = "What each order costs, moments up to it of 100 steps, and gains: the relative error of the next moment."
    numbers = {name: {str(m): errors[m] for m in _ORDERS} for name, errors in drawn.items()}
    return Result(verdicts, {"learning_rate": _RATES} | numbers, [_picture(drawn)], [Table(caption, header, rows)])


def _enumerated() -> list[Verdict]:
    """Compare all orders with every path of minibatches at η = 0.2."""
    theta = np.array([0.7])
    for _ in range(_ENUMERATED):
        theta = (theta[:, None] * (1 - 0.2 * _SLOPES) - 0.2 * _GRADIENTS).ravel()
    truth = np.array([np.mean(theta**j) for j in range(max(_ORDERS) + 2)])
    verdicts = []
    for m in _ORDERS:
        equation = dfp.DiscreteFokkerPlanck(dfp.SGD(_samples(), 0.2), m)
        found = dfp.raw_moments(equation, dfp.Point([0.7]), _ENUMERATED, m + 1)[-1]
        apart = np.abs(found / truth[: m + 2] - 1)
        what = (f"three samples, {3**_ENUMERATED} paths", f"order {m}")
        verdicts.append(at_most((*what, "moments up to the order, relative error"), float(apart[: m + 1].max()), 1e-12))
        verdicts.append(at_least((*what, "the next moment, relative error"), float(apart[m + 1]), 1e-6))
    return verdicts


def _errors(landscape: dfp.QuadraticLandscape, start: dfp.Point, order: int) -> Array:
    """Return the largest relative error of the moments of the next order at every learning rate."""
    found = []
    for rate in _RATES.tolist():
        sgd, steps = dfp.SGD(landscape, rate), round(_TIME / rate)
        ask = partial(dfp.raw_moments, initial=start, steps=steps, order=order + 1, save=[steps])
        exact, cut = (ask(equation)[0] for equation in (dfp.MasterEquation(sgd), dfp.DiscreteFokkerPlanck(sgd, order)))
        next_ones = np.sum(np.indices(exact.shape), axis=0) == order + 1
        found.append(np.max(np.abs(cut - exact)[next_ones]) / np.max(np.abs(exact)[next_ones]))
    return np.array(found)


def _judged(name: str, order: int, errors: Array) -> list[Verdict]:
    slope = convergence.slope(_RATES, errors, errors > _ROUNDED, 4)
    asked = "power of η in the error of the next moment"
    return [
        close((name, f"order {order}", asked), slope, order, 0.085 * order),
        close((name, f"control: order {order}", asked), slope, order + 1, 0.085 * order, control=True),
    ]


def _seconds(landscape: dfp.QuadraticLandscape, start: dfp.Point, order: int) -> float:
    """Return the shortest time of ten for the moments of a hundred steps."""
    equation, times = dfp.DiscreteFokkerPlanck(dfp.SGD(landscape, 0.1), order), []
    for _ in range(10):
        began = time.perf_counter()
        dfp.raw_moments(equation, start, 100, order, save=[100])
        times.append(time.perf_counter() - began)
    return min(times)


def _picture(drawn: dict[str, dict[int, Array]]) -> Picture:
    figure, (axes,) = canvas(1, len(drawn), 11.0, 4.6)
    for axis, (name, errors) in zip(axes, drawn.items(), strict=True):
        for colour, m in zip((*COLOURS, "0.3"), _ORDERS, strict=False):
            values = np.where(errors[m] > _ROUNDED, errors[m], np.nan)
            axis.loglog(_RATES, values, "o-", color=colour, markersize=4, label=f"order {m}{' (T5)' * (m == 2)}")
            axis.loglog(_RATES, errors[m][0] * (_RATES / _RATES[0]) ** m, ":", color=colour, linewidth=0.8)
        label(axis, "learning rate η [parameter² / loss]", "relative error of the moment of order m + 1 [1]", name)
        keys(axis)
    figure.suptitle("What does each order m of the ladder gain? Moments at slow time τ = 1; dotted: η^m")
    caption = "Members of the ladder: moments up to the order are exact, errors of the next one fall like η^m."
    return Picture("", caption, figure)


CASE = Case("ladder", __doc__, run)
