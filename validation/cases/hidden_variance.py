"""EXP 1A: with strong curvature noise the variance grows without end, and no affordable ensemble can see it.

x' = x (1 − η(λ + 5z)), η = 0.05, λ = 0.1, has E(1 − ηh)² > 1 and a negative Lyapunov exponent: every run dies out,
while the ensemble's second moment, carried by runs that never occur among thousands, grows like ρ₂ⁿ.

Source: authors' experiment 1A; theory page (T11) and section 4, after Kesten (1973).

Tolerance: sampled numbers within four standard errors; after 2000 steps the sampled second moment must fall short of
the exact one by a factor of at least 1e20, for its logarithm is typically 2ℓn and not n log ρ₂.

Control: that 4096 runs see the exact second moment after 2000 steps must fail.
"""

import numpy as np

import dfp
from validation.case import Case, Picture, Result, Table, Verdict, at_most, sampled
from validation.figures import COLOURS, canvas, keys, label
from validation.sampling import ensemble, mean, shown

ETA, CURVATURE, NOISE, STEPS, RUNS = 0.05, 0.1, 25.0, 2000, 4096
PROBLEM = "EXP 1A"


def run(quick: bool) -> Result:
    """Compare exact moments and the Lyapunov exponent with the authors' ensemble and a larger, shorter one."""
    sgd = dfp.SGD(dfp.QuadraticLandscape([CURVATURE], 0.0, dfp.GaussianNoise(0.0, [NOISE])), ETA)
    second = dfp.moments(dfp.MasterEquation(sgd), dfp.Point([1.0]), STEPS)
    exact = second.covariance[:, 0, 0] + second.mean[:, 0] ** 2
    exponent = dfp.modes(sgd)[0].lyapunov_exponent
    states = ensemble(np.ones((RUNS, 1)), _step, range(STEPS + 1), seed=1)
    seen = np.array([np.mean(x**2) for x in states])
    early = ensemble(np.ones((200_000 if quick else 4_000_000, 1)), _step, [10], seed=2)[0][:, 0]
    late = mean(np.log(np.abs(states[-1][:, 0])) / STEPS)
    short = mean(early**2)
    missing = float(np.log10(seen[-1] / exact[-1]))
    verdicts = [
        sampled((PROBLEM, "master equation", "E x² at step 10"), *short, exact[10]),
        sampled((PROBLEM, "dfp.modes", "Lyapunov exponent [1/step]"), *late, exponent),
        at_most((PROBLEM, "4096 runs", "log₁₀ of their x² over E x² at step 2000"), missing, -20.0),
        _control(seen[-1], exact[-1]),
    ]
    rows = [
        ("E x² at step 10", float(exact[10]), shown(*short), None, "both; the last step at which sampling is easy"),
        (
            "E x² at step 2000",
            f"{exact[-1]:.2e}",
            f"{seen[-1]:.1e}",
            "late slopes ≈ 0",
            "theory: the runs that carry the moment do not occur among 4096",
        ),
        (
            "E log|x| per step",
            exponent,
            shown(*late),
            None,
            "both: every run dies out, so W₁ and slopes show only that",
        ),
        (
            "verdict on stationarity",
            "no finite variance",
            "all runs near 0",
            "failed (W₁ 1.97)",
            "their test could not pass: it looks for growth in an ensemble that shows decay",
        ),
    ]
    tables = [Table("Exact, sampled, reported.", ("quantity", "exact", "Monte Carlo", "authors", "who is right"), rows)]
    return Result(verdicts, {"exact": exact, "seen": seen}, [_picture(exact, seen, exponent)], tables)


def _step(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return x * (1 - ETA * (CURVATURE + np.sqrt(NOISE) * rng.standard_normal(x.shape)))


def _control(seen: float, exact: float) -> Verdict:
    what = (PROBLEM, "control: 4096 runs suffice", "x² over E x² at step 2000")
    return Verdict(*what, "between 0.5 and 2", f"{seen / exact:.1e}", 0.5 < seen / exact < 2, control=True)


def _picture(exact: np.ndarray, seen: np.ndarray, exponent: float) -> Picture:
    figure, axes = canvas(1, 1, 7.5, 4.2)
    steps = np.arange(len(exact))
    axes[0][0].semilogy(steps, exact, color=COLOURS[0], label="exact, ρ₂ⁿ")
    axes[0][0].semilogy(steps, seen, color=COLOURS[1], linewidth=0.8, label="mean over 4096 runs")
    axes[0][0].semilogy(steps, np.exp(2 * exponent * steps), color="0.4", linestyle="--", label="typical run, exp(2ℓn)")
    label(axes[0][0], "step n", "E x² [parameter²]")
    keys(axes[0][0])
    caption = (
        "The exact second moment grows by a factor of 1.05 a step. The mean over 4096 runs follows it for some tens of "
        "steps, then falls with the typical run: sampling error here is not small noise but the whole answer."
    )
    return Picture("", caption, figure)


CASE = Case("exp-1a", __doc__, run)
