"""Averages, temperature, preconditioners and RMSProp: what is exact of each agrees with closed forms and with samples.

An exponential average settles at (T20), the mean of n iterates has n Cov → H⁻¹CH⁻¹ for every stable η, and at a horizon
there is a best decay. Langevin dynamics in steps (SGLD) is hotter than T by the noise of minibatches and by the step. A
preconditioner is the rotated problem. RMSProp settles at a variance that a frozen v misses by 3 %.

Source: theory page (T20), section 3; Mandt, Hoffman and Blei 2017 for SGLD's bias; RMSProp's variance is known from an
independent grid.

Tolerance: closed forms to 1e-12, rounding; densities of averages 1e-10 in L1; slopes in 1/n within 0.01; sampled
numbers within four standard errors.

Control: the variance of the last iterate, T/λ, the problem that is not rotated, and frozen v must fail.
"""

import numba
import numpy as np

import dfp
from dfp.checks import Array
from validation.case import Case, Picture, Result, Table, Verdict, at_least, at_most, close, sampled
from validation.figures import canvas, keys, label, shades
from validation.sampling import mean

_HESSIAN = np.array([[1.0, 0.3], [0.3, 0.5]])
_NOISE = np.array([[0.4, -0.1], [-0.1, 0.2]])
_TURN = np.array([[0.7, 0.2], [0.2, 1.4]])
_ETAS, _BATCHES, _HEAT = (0.02, 0.1, 0.5), (1, 4, 16), 0.3
_CURVATURE, _GRADIENT_NOISE = 0.8, 0.6


def run(quick: bool) -> Result:
    """Judge every closed form, and draw samples: 4 million steps of RMSProp, or 100 million."""
    verdicts = _settled() + _tails() + _rotated()
    horizons, table, picture = _horizons()
    heat, rows = _heat(40_000 if quick else 400_000)
    adaptive = _adaptive(4_000_000 if quick else 100_000_000)
    bias = Table("Stationary variance of SGLD over T/λ, exact: (1 + ηD/(2TB)) / (1 − ηλ/2).",
                 ("η", *(f"B = {batch}" for batch in _BATCHES)), rows)  # fmt: skip
    return Result(verdicts + horizons + heat + adaptive, {"sgld": [row[1:] for row in rows]}, [picture], [table, bias])


def _bowl(noise: float = 0.5) -> dfp.QuadraticLandscape:
    return dfp.QuadraticLandscape([1.0], 0.0, dfp.GaussianNoise([noise]))


def _settled() -> list[Verdict]:
    """Compare stationary variances and densities of exponential averages with (T20)."""
    worst, apart, missed = 0.0, 0.0, np.inf
    for step in (0.1, 0.9, 1.7):
        sgd, a = dfp.SGD(_bowl(), step), 1 - step
        last = step * 0.5 / (2 - step)
        for decay in (0.5, 0.9, 0.99):
            equation = dfp.MasterEquation(dfp.ExponentialAverage(sgd, decay))
            wanted = last * (1 - decay) * (1 + decay * a) / ((1 + decay) * (1 - decay * a))
            worst = max(worst, abs(dfp.stationary_moments(equation).covariance.item() / wanted - 1))
            missed = min(missed, abs(last / wanted - 1))
            law = dfp.stationary(equation)
            exact = np.exp(-(law.grid.axes[0] ** 2) / (2 * wanted)) / np.sqrt(2 * np.pi * wanted)
            apart = max(apart, float(np.abs(law.values - exact).sum() * law.grid.cell_volume))
    what = ("one mode, ηλ = .1 … 1.7, γ = .5 … .99", "exponential average")
    return [
        at_most((*what, "stationary variance off (T20)"), worst, 1e-12),
        at_most((*what, "L1 of its stationary density"), apart, 1e-10),
        at_most(
            (what[0], "control: last iterate", "stationary variance off (T20)"), float(missed), 1e-12, control=True
        ),
    ]


def _tails() -> list[Verdict]:
    """Compare n Cov of the mean of n iterates with its limit."""
    inverse = np.linalg.inv(_HESSIAN)
    limit, verdicts = inverse @ _NOISE @ inverse, list[Verdict]()
    landscape = dfp.QuadraticLandscape(_HESSIAN, 0.0, dfp.GaussianNoise(_NOISE))
    for eta in (0.1, 0.5, 1.5):
        equation = dfp.MasterEquation(dfp.TailAverage(dfp.SGD(landscape, eta)))
        found = dfp.moments(equation, dfp.Point([0.0, 0.0]), 8000, save=[4000, 8000])
        errors = [float(np.abs(n * c - limit).max()) for n, c in zip(found.steps, found.covariance, strict=True)]
        what = (f"d = 2, η = {eta}", "mean of the iterates")
        verdicts.append(
            close((*what, "power of 1/n in n Cov − H⁻¹CH⁻¹"), float(np.log2(errors[0] / errors[1])), 1, 0.01)
        )
        verdicts.append(at_most((*what, "n Cov off H⁻¹CH⁻¹ at n = 8000"), errors[1] / float(np.abs(limit).max()), 0.02))
    return verdicts


def _rotated() -> list[Verdict]:
    """Compare moments of every equation, and growth of modes, under P with those of the problem of P^{1/2}HP^{1/2}."""
    values, vectors = np.linalg.eigh(_TURN)
    root = (vectors * np.sqrt(values)) @ vectors.T
    inverse, start = np.linalg.inv(root), dfp.Gaussian([1.0, -1.0], 0.2)
    turned = dfp.Gaussian(inverse @ start.mean, inverse @ start.covariance @ inverse)
    noise = dfp.GaussianNoise(_NOISE)
    given = dfp.SGD(dfp.QuadraticLandscape(_HESSIAN, [0.1, -0.2], noise), 0.1, preconditioner=_TURN)
    law = dfp.GaussianNoise(root @ _NOISE @ root)
    plain = dfp.SGD(dfp.QuadraticLandscape(root @ _HESSIAN @ root, root @ [0.1, -0.2], law), 0.1)
    verdicts = []
    for form in (dfp.MasterEquation, dfp.DiscreteFokkerPlanck, dfp.Langevin, dfp.ModifiedLangevin):
        here, there = (dfp.moments(form(s), at, 30, [30]) for s, at in ((given, start), (plain, turned)))
        scale = float(np.abs(here.covariance).max())
        apart = float(np.abs(here.covariance - root @ there.covariance @ root).max()) / scale
        verdicts.append(at_most(("P full, d = 2", form(given).label, "covariance off the rotated one"), apart, 1e-12))
    missed = float(np.abs(here.covariance - there.covariance).max()) / scale
    what = ("P full, d = 2", "control: not turned back", "covariance off the rotated one")
    return [*verdicts, at_most(what, missed, 1e-12, control=True)]


def _horizons() -> tuple[list[Verdict], Table, Picture]:
    """Compare the risk of averages with that of the last iterate, and look for the best decay by a scan."""
    rng = np.random.default_rng(5)
    features = rng.normal(size=(30, 2))
    landscape = dfp.QuadraticLandscape.from_regression(features, features @ [1.0, 2.0] + rng.normal(size=30), 4)
    sgd, start = dfp.SGD(landscape, 0.2), dfp.Point([0.0, 0.0])
    figure, ((axis,),) = canvas(1, 1, 6.5, 4.2)
    rows, verdicts, decays = [], list[Verdict](), 1 - np.geomspace(1, 1e-3, 60)
    horizons = (10, 30, 100, 300, 1000)
    for colour, horizon in zip(shades(len(horizons)), horizons, strict=True):
        best = dfp.best_decay(sgd, start, horizon)
        risks = np.array([_risk(sgd, start, decay, horizon) for decay in decays.tolist()])
        tail = _of(sgd, dfp.TailAverage(sgd, horizon // 2), start, horizon)
        rows.append((horizon, best.last_risk, tail, best.decay, best.risk))
        axis.loglog(1 / (1 - decays), risks, color=colour, label=f"{horizon} steps")
        axis.plot(1 / (1 - best.decay), best.risk, "o", color=colour)
        what = (f"least squares, {horizon} steps", "best decay", "its risk over the least of a scan of 60")
        verdicts.append(at_most(what, best.risk / float(risks.min()), 1 + 1e-9))
    label(axis, "memory of the average 1/(1 − γ) [step]", "excess risk [loss]", "How long should an average look back?")
    keys(axis)
    verdicts.append(at_least(("least squares, 1000 steps", "best decay", "last iterate's risk over its"),
                             rows[-1][1] / rows[-1][4], 3.0))  # fmt: skip
    table = Table("Excess risk of averages at a horizon: the last iterate, the mean of the last half, the best decay.",
                  ("steps", "last iterate", "last half", "best γ", "its risk"), rows)  # fmt: skip
    return verdicts, table, Picture("averages", "Excess risk of exponential averages; dots: dfp.best_decay.", figure)


def _risk(sgd: dfp.SGD, start: dfp.Point, decay: float, horizon: int) -> float:
    return _of(sgd, dfp.ExponentialAverage(sgd, decay), start, horizon)


def _of(sgd: dfp.SGD, average: dfp.ExponentialAverage | dfp.TailAverage, start: dfp.Point, horizon: int) -> float:
    return float(dfp.excess_loss(sgd, dfp.moments(dfp.MasterEquation(average), start, horizon, [horizon])).item())


def _heat(runs: int) -> tuple[list[Verdict], list[tuple[float, ...]]]:
    """Compare stationary variances of SGLD with (2T + ηD/B)/(2λ − ηλ²), and one of them with samples."""
    landscape = dfp.QuadraticLandscape([_CURVATURE], 0.0, dfp.GaussianNoise([_GRADIENT_NOISE]))
    worst, rows = 0.0, []
    for eta in _ETAS:
        row = [eta]
        for batch in _BATCHES:
            sgd = dfp.SGD(landscape, eta, batch_size=batch, temperature=_HEAT)
            found = dfp.stationary_moments(dfp.MasterEquation(sgd)).covariance.item()
            closed = (2 * _HEAT + eta * _GRADIENT_NOISE / batch) / (_CURVATURE * (2 - eta * _CURVATURE))
            worst = max(worst, abs(found / closed - 1))
            row.append(found * _CURVATURE / _HEAT)
        rows.append(tuple(row))
    rng, theta = np.random.default_rng(3), np.zeros(runs)
    eta, batch = 0.5, 4
    for _ in range(60):
        noise = np.sqrt(_GRADIENT_NOISE / batch) * rng.standard_normal(runs)
        kick = np.sqrt(2 * eta * _HEAT) * rng.standard_normal(runs)
        theta = theta - eta * (_CURVATURE * theta + noise) + kick
    exact = rows[2][2] * _HEAT / _CURVATURE
    what = ("SGLD, T = .3, λ = .8, D = .6", "stationary variance")
    verdicts = [
        at_most((*what, "off its closed form, nine η and B"), worst, 1e-12),
        sampled((*what, "η = .5, B = 4"), *mean(theta**2), exact),
        sampled((what[0], "control: T/λ", "η = .5, B = 4"), *mean(theta**2), _HEAT / _CURVATURE, control=True),
    ]
    return verdicts, rows


@numba.njit(parallel=True)  # type: ignore[untyped-decorator]
def _rmsprop(seeds: Array, steps: int, eta: float, decay: float) -> Array:  # pragma: no cover
    """Return the mean of θ² of chains from one seed each, λ = D = 1, after 500 steps."""
    found = np.zeros(len(seeds))
    for i in numba.prange(len(seeds)):
        np.random.seed(seeds[i])  # noqa: NPY002  (the generator of Numba's threads)
        theta, v, total = 0.0, 1.0, 0.0
        for n in range(-500, steps):
            g = theta + np.random.standard_normal()  # noqa: NPY002
            v = decay * v + (1 - decay) * g * g
            theta -= eta * g / np.sqrt(v)
            if n >= 0:
                total += theta * theta
        found[i] = total / steps
    return found


def _adaptive(samples: int) -> list[Verdict]:
    """Compare RMSProp at λ = D = 1, η = .05, β = .9 with the known variance and with samples."""
    law = dfp.RMSProp(_bowl(1.0), 0.05, 0.9).stationary()
    chains = 2000
    drawn = _rmsprop(np.arange(chains), samples // chains, 0.05, 0.9)
    what = ("RMSProp, λ = D = 1, η = .05, β = .9", "stationary variance")
    return [
        close((*what, "of the grid"), law.variance, 0.0245743843, 2e-9),
        at_most((*what, "two grids apart, relatively"), law.error, 1e-8),
        close((*what, "with v frozen, less 1"), law.frozen_error, 0.030, 5e-4),
        sampled((*what, "sampled"), *mean(drawn), law.variance),
        sampled((what[0], "control: frozen v", "sampled"), *mean(drawn), law.frozen_variance, control=True),
    ]


CASE = Case("optimisers", __doc__, run)
