"""Yaida's identity (T23) holds for the law of SGD on any landscape, and Itô's reading of Langevin is the right one.

E[θ·∇L] = (η/2) E tr S in the stationary state of (T4), whatever the loss and the noise; (T6) has C in place of S. On a
double well with noise that depends on the place, Itô's stationary law P ∝ C⁻¹ exp(−∫ 2ḡ/(ηC)) is the limit of small η,
because a minibatch is drawn before the move; Stratonovich's has √C⁻¹ in front, and is not.

Source: Yaida 2019 (arXiv:1810.00004), equation (FDR1); theory page (T23), section 6.

Tolerance: identities of computed laws 1e-10; variances within four standard errors of independent runs.

Control: (T6) and (T7m) must miss the identity of (T4); Stratonovich's law must be told from the sample.
"""

import numpy as np

import dfp
from validation.case import Case, Picture, Result, at_least, at_most, sampled
from validation.figures import COLOURS, canvas, keys, label
from validation.sampling import mean

RATES = (0.025, 0.05, 0.1, 0.2)
_EQUATIONS = {"(T4)": dfp.MasterEquation, "(T6)": dfp.Langevin, "(T7m)": dfp.ModifiedLangevin}


def landscape() -> dfp.Landscape:
    """Return a double well whose noise grows outwards."""
    return dfp.Landscape(
        lambda at: at**3 - at, lambda at: 0.3 + 0.2 * at[:, 0] ** 2, hessian=lambda at: 3 * at[:, 0] ** 2 - 1
    )


def run(quick: bool) -> Result:
    """Compare both sides of the identity, and sampled variances with both readings."""
    verdicts, missed = [], {}
    for rate in RATES:
        sgd = dfp.SGD(landscape(), rate)
        for name, kind in _EQUATIONS.items():
            law = dfp.stationary(kind(sgd))
            missed[name, rate] = _identity(sgd, law)
            with_s, with_c = missed[name, rate]
            if name == "(T4)":
                verdicts.append(at_most((f"η = {rate}", name, "E[θ·ḡ] over (η/2) E tr S, less 1"), abs(with_s), 1e-10))
            elif name == "(T6)":
                verdicts.append(at_most((f"η = {rate}", name, "E[θ·ḡ] over (η/2) E tr C, less 1"), abs(with_c), 1e-10))
            if name != "(T4)":
                what = (f"η = {rate}", f"control: {name}", "the identity with S is missed")
                verdicts.append(at_most(what, abs(with_s), 1e-4, control=True))
    rate = 0.05
    drawn = _sampled(rate, 4000 if quick else 40_000)
    exact = dfp.stationary(dfp.MasterEquation(dfp.SGD(landscape(), rate)))
    verdicts.append(sampled((f"η = {rate}", "(T4)", "variance"), *drawn, float(exact.covariance[0, 0])))
    ito, stratonovich = (_reading(rate, power) for power in (1.0, 0.5))
    verdicts.append(sampled((f"η = {rate}", "control: Stratonovich", "variance"), *drawn, stratonovich, control=True))
    apart = abs(stratonovich - exact.covariance[0, 0]) / abs(ito - exact.covariance[0, 0])
    verdicts.append(at_least((f"η = {rate}", "Itô", "times nearer to (T4) than Stratonovich"), float(apart), 5.0))
    numbers = {"rates": RATES, "missed": [[missed[name, rate][0] for rate in RATES] for name in _EQUATIONS]}
    return Result(verdicts, numbers, [_picture(missed)])


def _identity(sgd: dfp.SGD, law: dfp.Density) -> tuple[float, float]:
    """Return by how much E[θ·ḡ] misses (η/2) E tr S and (η/2) E tr C, relatively."""
    theta, masses = law.grid.points.reshape(-1, 1), law.values.ravel() * law.grid.cell_volume
    gradient, noise = sgd.local.gradient_at(theta)[:, 0], sgd.local.covariance_at(theta)[:, 0, 0]
    left, half = masses @ (theta[:, 0] * gradient), sgd.learning_rate / 2
    return float(left / (half * (masses @ (noise + gradient**2))) - 1), float(left / (half * (masses @ noise)) - 1)


def _reading(rate: float, power: float) -> float:
    """Return the variance of C^−power exp(−∫ 2ḡ/(ηC)), the integral in closed form."""
    theta = np.linspace(-4.0, 4.0, 8001)
    noise = 0.3 + 0.2 * theta**2
    exponent = theta**2 / 0.4 - (0.3 / 0.2 + 1) / 0.4 * np.log(noise)
    density = np.exp(-2 / rate * (exponent - exponent.min())) * noise**-power
    return float(density @ theta**2 / density.sum())


def _sampled(rate: float, runs: int) -> tuple[float, float]:
    """Return the mean of θ² and its error over independent runs in two wells that mirror each other."""
    rng, theta = np.random.default_rng(5), np.ones(runs)
    total, steps = np.zeros(runs), 2000
    for n in range(steps + 400):
        noise = np.sqrt(0.3 + 0.2 * theta**2) * rng.standard_normal(runs)
        theta = theta - rate * (theta**3 - theta + noise)
        if n >= 400:  # 40 relaxation times of a well
            total += theta**2
    return mean(total / steps)


def _picture(missed: dict[tuple[str, float], tuple[float, float]]) -> Picture:
    figure, ((axis,),) = canvas(1, 1, 7.0, 4.2)
    for name, colour in zip(_EQUATIONS, COLOURS, strict=False):
        axis.loglog(RATES, [max(abs(missed[name, r][0]), 1e-16) for r in RATES], "o-", color=colour, label=name)
    label(axis, "learning rate η [parameter² / loss]", "relative gap in E[θ·ḡ] = (η/2) E tr S [1]")
    keys(axis)
    return Picture("", "Yaida's identity in the stationary laws: rounding for (T4), truncation for the others.", figure)


CASE = Case("yaida", __doc__, run)
