"""Fits to recorded parameters: 95 % intervals hold the truth in 95 % of data sets, and Langevin's reading is biased.

The exact likelihood of SGD's steps tells H, C and θ* at every η; whoever takes the same record for a Langevin process
finds curvatures −log(1 − ηλ)/η, too large by ηλ²/2 to lowest order.

Source: theory page, section 4; `dfp.fit`.

Tolerance: the coverage of 200 data sets has a standard deviation of 1.5 %, so that the mean over the entries must be
95 ± 3 % and a single entry 95 ± 5.5 %; the predicted bias within four standard errors of that found.

Control: the Langevin reading must lie outside the intervals, and its bias must not be zero.
"""

import numpy as np
from scipy.linalg import solve_discrete_lyapunov

import dfp
from dfp.checks import Array
from validation.case import Case, Picture, Result, Table, at_most, close, sampled
from validation.figures import COLOURS, canvas, keys, label
from validation.sampling import mean

_HESSIAN = np.array([[2.0, 0.6], [0.6, 1.0]])
_NOISE = np.array([[1.0, 0.5], [0.5, 2.0]])
_MINIMUM = np.array([0.3, -0.7])
_RATES = (0.05, 0.1, 0.2, 0.4)


def run(quick: bool) -> Result:
    """Fit 200 synthetic data sets, and find the bias of Langevin's reading at several learning rates."""
    length = 1500 if quick else 6000
    held = np.array([_held(dfp.fit(path, 0.1)) for path in _recorded(200, length, 0.1)])
    shares = held.mean(axis=0)
    what = ("200 data sets, d = 2, η = .1", "share of 95 % intervals that hold the truth")
    verdicts = [
        close((what[0], "mean over 10 entries", what[1]), float(shares.mean()), 0.95, 0.03),
        close((what[0], "the worst entry", what[1]), float(shares[np.argmax(np.abs(shares - 0.95))]), 0.95, 0.055),
    ]
    rows, found = list[tuple[float, ...]](), []
    for rate in _RATES:
        fits = [dfp.fit(path, rate) for path in _recorded(20, 4000, rate)]
        curvature = float(np.linalg.eigvalsh(_HESSIAN)[-1])
        exact = -np.log1p(-rate * curvature) / (rate * curvature) - 1
        bias = np.array([np.linalg.eigvalsh(fit.langevin.hessian)[-1] / curvature - 1 for fit in fits])
        found.append(mean(bias))
        rows.append((rate, rate * curvature / 2, float(exact), *mean(bias)))
        place = (f"η = {rate}, λ = {curvature:.3g}", "Langevin's λ over the true one, less 1")
        verdicts.append(sampled((place[0], "Langevin fit", place[1]), *mean(bias), float(exact)))
        if rate == _RATES[-1]:
            verdicts.append(sampled((place[0], "control: no bias", place[1]), *mean(bias), 0.0, control=True))
    inside = [_holds(fit.intervals.hessian, fit.langevin.hessian)[0, 0] for fit in fits]
    outside = (f"η = {_RATES[-1]}", "control: Langevin's H in the intervals", "share outside them")
    verdicts.append(at_most(outside, 1 - float(np.mean(inside)), 0.1, control=True))
    table = Table("Bias of the largest curvature that a Langevin fit reads off 4000 steps, 20 data sets.",
                  ("η", "ηλ/2", "−log(1 − ηλ)/(ηλ) − 1", "found", "standard error"), rows)  # fmt: skip
    return Result(verdicts, {"coverage": shares}, [_picture(rows, found)], [table])


def _recorded(runs: int, steps: int, eta: float) -> Array:
    """Return settled paths (runs, steps, 2) of SGD with additive Gaussian noise, in plain NumPy."""
    rng, step = np.random.default_rng(8), np.eye(2) - eta * _HESSIAN
    settled = np.linalg.cholesky(solve_discrete_lyapunov(step, eta**2 * _NOISE))
    theta, root = rng.standard_normal((runs, 2)) @ settled.T, np.linalg.cholesky(_NOISE)
    path = np.empty((runs, steps, 2))
    for n in range(steps):
        path[:, n] = theta
        theta = theta @ step.T - eta * rng.standard_normal((runs, 2)) @ root.T
    return path + _MINIMUM


def _holds(ends: Array, truth: Array) -> Array:
    held: Array = (ends[0] <= truth) & (truth <= ends[1])
    return held


def _held(fit: dfp.Fit) -> Array:
    """Return whether each interval holds the truth: H, C, θ*."""
    ends = fit.intervals
    pairs = ((ends.hessian, _HESSIAN), (ends.covariance, _NOISE), (ends.minimum, _MINIMUM))
    return np.concatenate([_holds(found, truth).ravel() for found, truth in pairs])


def _picture(rows: list[tuple[float, ...]], found: list[tuple[float, float]]) -> Picture:
    figure, ((axis,),) = canvas(1, 1, 5.5, 4.0)
    rates, decay = np.array([row[0] for row in rows]), np.linspace(0.01, 2 * rows[-1][1], 200)
    line = decay * rows[-1][0] / decay[-1]
    axis.plot(line, -np.log1p(-decay) / decay - 1, color=COLOURS[1], label="−log(1 − ηλ)/(ηλ) − 1")
    axis.plot(line, decay / 2, "--", color="0.5", label="ηλ/2")
    values, errors = np.array(found).T
    axis.errorbar(rates, values, 2 * errors, fmt="o", color=COLOURS[0], label="found, two standard errors")
    label(axis, "learning rate η [parameter² / loss]", "bias of the curvature [1]", "How wrong is a Langevin fit?")
    keys(axis)
    return Picture("", "Bias of the curvature that a Langevin equation reads off SGD's steps.", figure)


CASE = Case("inference", __doc__, run)
