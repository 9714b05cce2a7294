"""What Langevin misses at finite ηλ: variance, stability, tails, overshooting, skewness, and embedding in time at all.

The drift correction alone (T7) doubles the error of the variance; the matched form (T7m) removes it to its order;
(T5) has the variance exactly and tails that SGD lacks. Past ηλ = 1 no process in continuous time follows.

Source: theory page (T10), (T12), (T16), (T17), sections 2 and 4; Kesten (1973) for tails; Culver (1966) for
embedding.

Tolerance: closed forms to 1e-9; κ solves E|1 − ηh|^κ = 1 to 1e-8 by fine quadrature; sampled correlations and tails
within four standard errors; total variation on grids to 1e-4.

Control: Langevin's tail index must miss Kesten's.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

import dfp
from dfp.problem.equation import Equation
from validation.case import Case, Picture, Result, Table, Verdict, at_most, close, sampled
from validation.figures import COLOURS, canvas, keys, label, ticks
from validation.sampling import ensemble, mean

STEPS_OF: dict[str, Callable[[dfp.SGD], Equation]] = {
    "(T6)": dfp.Langevin,
    "(T7)": partial(dfp.ModifiedLangevin, matched=False),
    "(T7m)": dfp.ModifiedLangevin,
    "(T5)": dfp.DiscreteFokkerPlanck,
}
GRID = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


def additive(x: float) -> dfp.SGD:
    """Return one mode of unit curvature and additive noise at ηλ = x."""
    return dfp.SGD(dfp.QuadraticLandscape([1.0], 0.0, dfp.GaussianNoise([1.0])), x)


def run(quick: bool) -> Result:
    """Gather one verdict or more on each thing that Langevin misses."""
    distances = {name: [_variation(name, x) for x in GRID] for name in STEPS_OF}
    slopes = {name: float(np.polyfit(np.log(GRID[:3]), np.log(distances[name][:3]), 1)[0]) for name in STEPS_OF}
    verdicts = [
        close(("additive noise", name, "order of the stationary total variation in ηλ"), slopes[name], order, 0.1)
        for name, order in (("(T6)", 1), ("(T7)", 1), ("(T7m)", 2), ("(T5)", 1))
    ]
    verdicts += [
        *_variances(),
        *_tails(40_000 if quick else 2_000_000),
        *_overshooting(quick),
        *_embedding(),
        *_skewness(),
    ]
    numbers = {"eta_lambda": GRID, "total_variation": distances}
    return Result(verdicts, numbers, [_picture(distances)], [_stability()])


def _variance(name: str, x: float) -> float:
    """Return the stationary variance of an equation, in closed form."""
    closed = {"(T6)": x / 2, "(T7)": x / 2 / (1 + x / 2), "(T5)": x / (2 - x), "(T4)": x / (2 - x)}
    return closed[name] if name in closed else x * (1 + x) / (2 * (1 + x / 2 + x**2 / 3))


def _variances() -> list[Verdict]:
    found = []
    for name, make in {**STEPS_OF, "(T4)": dfp.MasterEquation}.items():
        moments = [dfp.moments(make(additive(x)), dfp.Point([0.0]), 3000, [3000]).covariance.item() for x in GRID]
        exact = np.array([_variance(name, x) for x in GRID])
        found.append(
            at_most(
                ("additive noise", name, "stationary variance, relative error of its closed form"),
                float(np.max(np.abs(moments / exact - 1))),
                1e-9,
            )
        )
    errors = [_variance(name, 0.02) / _variance("(T4)", 0.02) - 1 for name in ("(T6)", "(T7)")]
    found.append(
        close(
            ("additive noise", "(T7) over (T6)", "error of the variance at ηλ = 0.02"), errors[1] / errors[0], 2.0, 0.03
        )
    )
    return found


def _variation(name: str, x: float) -> float:
    """Return the total variation between the stationary densities of an equation and of SGD."""
    width = np.sqrt(_variance("(T4)", x))
    theta = np.linspace(-60, 60, 400_001) * width
    exact = norm.pdf(theta, scale=width)
    if name == "(T5)":
        freedom = 1 + 2 / x
        other = student.pdf(theta, freedom, scale=width * np.sqrt((freedom - 2) / freedom))
    else:
        other = norm.pdf(theta, scale=np.sqrt(_variance(name, x)))
    return float(0.5 * np.abs(other - exact).sum() * (theta[1] - theta[0]))


def _multiplicative() -> dfp.Mode:
    landscape = dfp.QuadraticLandscape([1.0], 0.0, dfp.GaussianNoise([1.0], [3.0]))
    return dfp.modes(dfp.SGD(landscape, 0.4))[0]


def _tails(runs: int) -> list[Verdict]:
    """Return verdicts on the tail index: by quadrature, and by the share of a sample beyond two thresholds."""
    mode, eta, gamma = _multiplicative(), 0.4, 3.0
    x = np.linspace(-12, 12, 200_001)
    factor = np.abs(1 - eta * (1 + np.sqrt(gamma) * x))
    moment = float(np.sum(norm.pdf(x) * factor**mode.tail_index) * (x[1] - x[0]))

    def step(theta: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        h, g = rng.standard_normal((2, *theta.shape))
        return (1 - eta * (1 + np.sqrt(gamma) * h)) * theta - eta * g

    last = np.abs(ensemble(np.zeros(runs), step, [60], seed=8)[0])
    low, high = 4.0, 8.0
    near, far = np.count_nonzero(last > low), np.count_nonzero(last > high)
    index = float(np.log(near / far) / np.log(high / low))
    error = float(np.sqrt(1 / far - 1 / near) / np.log(high / low))
    what = ("curvature noise, ηλ = 0.4, Γ = 3λ²", "Kesten's κ")
    return [
        at_most((*what, "E|1 − ηh|^κ − 1"), abs(moment - 1), 1e-8),
        # The power law holds only far out: between these thresholds it may still bend by a tenth.
        sampled(
            (*what, f"index between |θ| = {low:g} and {high:g}"), index, float(np.hypot(error, 0.1)), mode.tail_index
        ),
        close(
            ("curvature noise, ηλ = 0.4, Γ = 3λ²", "control: Langevin's κ_L", "against Kesten's"),
            mode.langevin_tail_index,
            mode.tail_index,
            0.01,
            control=True,
        ),
    ]


def _walk(theta: np.ndarray, rng: np.random.Generator, x: float) -> np.ndarray:
    return (1 - x) * theta - x * rng.standard_normal(theta.shape)


def _overshooting(quick: bool) -> list[Verdict]:
    """Return verdicts on the correlation of neighbouring steps, 1 − ηλ: negative past 1, as in no Langevin process."""
    found = []
    for x in (0.5, 1.5):
        start = np.zeros(20_000 if quick else 400_000)
        first, second = ensemble(start, partial(_walk, x=x), [60, 61], seed=11)
        value, error = mean(first * second)
        exact = (1 - x) * _variance("(T4)", x)
        found.append(
            sampled(("overshooting", f"SGD at ηλ = {x}", "covariance of neighbouring steps"), value, error, exact)
        )
    mode = dfp.modes(additive(1.5))[0]
    found.append(
        Verdict(
            "overshooting",
            "dfp.modes",
            "says so at ηλ = 1.5",
            "yes",
            "yes" if mode.overshoots else "no",
            mode.overshoots,
        )
    )
    return found


def _embedding() -> list[Verdict]:
    """Return verdicts on (T17): noise of rank one off the axes of H is no process in time, noise on them is."""
    rank_one = dfp.QuadraticLandscape([1.0, 0.1], 0.0, dfp.GaussianNoise([[1.0, 1.0], [1.0, 1.0]]))
    aligned = dfp.QuadraticLandscape([1.0, 0.1], 0.0, dfp.GaussianNoise([1.0, 1.0]))
    found = []
    for name, landscape, wanted in (("rank one, off the axes", rank_one, False), ("on the axes", aligned, True)):
        says = dfp.modes(dfp.SGD(landscape, 0.3)).embeddable
        rates = -np.log(1 - 0.3 * np.array([1.0, 0.1]))
        pair = rates[:, None] + rates[None, :]
        smallest = np.linalg.eigvalsh(landscape.law.constant * pair / (1 - np.exp(-pair)))[0]
        found.append(
            Verdict(
                "embedding in time",
                name,
                "dfp.modes, and the least eigenvalue of Q by hand",
                str(wanted),
                f"{says}, {smallest:.2g}",
                bool(says) == wanted == bool(smallest >= 0),
            )
        )
    return found


def _skewness() -> list[Verdict]:
    """Return verdicts on cumulants three and four of skewed noise: (T4) has them, no Fokker–Planck equation does."""
    x, draws = 0.3, np.array([-1.0, -1.0, -1.0, 3.0])
    landscape = dfp.QuadraticLandscape.from_samples(np.ones((4, 1, 1)), draws[:, None])
    sgd, found = dfp.SGD(landscape, x), []
    third, fourth = np.mean(-(draws**3)), np.mean(draws**4) - 3 * np.mean(draws**2) ** 2
    exact = {"third cumulant": x**3 * third / (1 - (1 - x) ** 3), "fourth cumulant": x**4 * fourth / (1 - (1 - x) ** 4)}
    for name, equation in (("(T4)", dfp.MasterEquation(sgd)), ("(T7m)", dfp.ModifiedLangevin(sgd))):
        solved = dfp.solve(equation, dfp.Point([0.0]), 200, [200], dfp.MomentRecursion())
        assert solved.third is not None and solved.fourth is not None
        values = (solved.third.item(), solved.fourth.item() - 3 * solved.covariance.item() ** 2)
        for (quantity, true), value in zip(exact.items(), values, strict=True):
            wanted = true if name == "(T4)" else 0.0
            found.append(close(("skewed noise, ηλ = 0.3", name, quantity), value, wanted, 1e-9))
    return found


def _stability() -> Table:
    rows = []
    for gamma in (0.0, 1.0, 4.0, 16.0):
        mode = dfp.modes(dfp.SGD(dfp.QuadraticLandscape([1.0], 0.0, dfp.GaussianNoise([1.0], [gamma])), 0.1))[0]
        rows.append(
            (
                gamma,
                mode.largest_stable_learning_rate,
                mode.langevin_largest_stable_learning_rate,
                mode.tail_index,
                mode.langevin_tail_index,
            )
        )
    return Table(
        "Largest learning rate with a finite variance, 2λ/(λ² + Γ) against Langevin's 2λ/Γ, and tail indices at η = "
        "0.1.",
        ("Γ [λ²]", "largest η λ", "Langevin's", "κ", "Langevin's κ_L"),
        rows,
    )


def _picture(distances: dict[str, list[float]]) -> Picture:
    figure, axes = canvas(1, 2, 11.0, 4.0)
    for colour, (name, values) in zip(COLOURS, distances.items(), strict=False):
        axes[0][0].loglog(GRID, values, "o-", color=colour, label=name)
        x = np.linspace(0.01, 1.5, 200)
        ratio = [_variance(name, v) / _variance("(T4)", v) for v in x]
        axes[0][1].plot(x, ratio, color=colour, label=name)
    ticks(axes[0][0], (0.02, 0.05, 0.1, 0.2, 0.5))
    label(axes[0][0], "ηλ", "total variation from SGD's stationary density")
    label(axes[0][1], "ηλ", "stationary variance over SGD's")
    keys(axes[0][0])
    keys(axes[0][1])
    caption = (
        "Additive Gaussian noise. Left: how far stationary densities are from SGD's; (T5), exact in variance, pays "
        "with its tails. Right: variances; the drift correction (T7) alone is twice as wrong as Langevin (T6)."
    )
    return Picture("", caption, figure)


CASE = Case("beyond-langevin", __doc__, run)
