"""EXP 29: on a tilted flat mode with curvature noise the variance grows like n³, faster than diffusion.

Its exact value has a closed recursion; the authors' prediction leaves out η²ΓV, the noise that the spread itself
feeds, and is 7 % too small after 900 steps.

Source: authors' experiment 29; theory page (T11) and section 4.

Tolerance: sampled variances within four standard errors; the reported one within four of its own, from the exact
fourth moment at 50 000 runs; the cubic law within the next terms, n⁻¹ and η²Γn, of its own expansion.

Control: the prediction without η²ΓV must differ from the exact variance by more than one per cent.
"""

import numpy as np

import dfp
from validation.case import Case, Picture, Result, Table, at_most, close, sampled
from validation.figures import COLOURS, canvas, keys, label
from validation.sampling import ensemble, shown, variance

ETA, GAMMA, NOISE, TILT, STEPS = 0.02, 0.8, 0.02, 0.5, 900
PROBLEM = "EXP 29"


def run(quick: bool) -> Result:
    """Compare the exact variance with a sample, the authors' numbers and the cubic law."""
    landscape = dfp.QuadraticLandscape([0.0], [TILT], dfp.GaussianNoise([NOISE], [GAMMA]))
    equation = dfp.MasterEquation(dfp.SGD(landscape, ETA))
    found = dfp.moments(equation, dfp.Point([0.0]), STEPS)
    exact, n = found.covariance[:, 0, 0], np.arange(STEPS + 1)
    means = -ETA * TILT * n
    without = np.concatenate([[0.0], np.cumsum(ETA**2 * (NOISE + GAMMA * means[:-1] ** 2))])
    runs = 50_000 if quick else 500_000
    sample = variance(ensemble(np.zeros(runs), _step, [STEPS], seed=5)[0])
    fourth = dfp.solve(equation, dfp.Point([0.0]), STEPS, [STEPS], dfp.MomentRecursion()).fourth
    assert fourth is not None
    error = float(np.sqrt((fourth.item() - exact[-1] ** 2) / 50_000))
    cubic = ETA**2 * NOISE * n + ETA**4 * GAMMA * TILT**2 * n.astype(float) ** 3 / 3
    slope = float(np.polyfit(np.log(n[STEPS // 2 :]), np.log(exact[STEPS // 2 :]), 1)[0])
    # Σ m² for m < n is n³/3 (1 − 3/(2n) + …); V feeds on itself by η²Γ a step, a quarter of η²Γn for a cubic.
    early = 50
    verdicts = [
        sampled((PROBLEM, "master equation", "variance after 900 steps"), *sample, exact[-1]),
        close((PROBLEM, "authors", "variance after 900 steps"), 8.14, exact[-1], 4 * error),
        close((PROBLEM, "authors", "prediction"), 7.77, without[-1], 0.01),
        at_most(
            (PROBLEM, "cubic law", f"relative error at step {early}"),
            abs(cubic[early] / exact[early] - 1),
            1.5 * 1.5 / early + ETA**2 * GAMMA * early,
        ),
        close(
            (PROBLEM, "control: without η²ΓV", "variance after 900 steps"),
            without[-1],
            exact[-1],
            0.01 * exact[-1],
            control=True,
        ),
    ]
    rows = [
        (
            "variance after 900 steps",
            exact[-1],
            shown(*sample),
            8.14,
            f"exact; theirs is right within its error of {error:.2f}",
        ),
        ("their prediction", without[-1], None, 7.77, f"{without[-1] / exact[-1] - 1:.1%}: η²ΓV is missing"),
        ("log-log slope, second half", slope, None, 3.04, "both: 3, and a little more from η²ΓV"),
        (
            "kurtosis",
            fourth.item() / exact[-1] ** 2,
            None,
            None,
            "heavy tails: sampled variances scatter more than Gaussian ones",
        ),
    ]
    table = Table("Exact, sampled, reported.", ("quantity", "exact", "Monte Carlo", "authors", "who is right"), rows)
    numbers = {"step": n, "exact": exact, "without": without, "cubic": cubic}
    return Result(verdicts, numbers, [_picture(n, exact, without, cubic, error)], [table])


def _step(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    h, g = rng.standard_normal((2, *x.shape))
    return (1 - ETA * np.sqrt(GAMMA) * h) * x - ETA * (TILT + np.sqrt(NOISE) * g)


def _picture(n: np.ndarray, exact: np.ndarray, without: np.ndarray, cubic: np.ndarray, error: float) -> Picture:
    figure, axes = canvas(1, 2, 11.0, 4.2)
    axis = axes[0][0]
    axis.loglog(n[1:], exact[1:], color=COLOURS[0], label="exact")
    axis.loglog(n[1:], without[1:], color=COLOURS[1], linestyle="--", label="authors' prediction, without η²ΓV")
    axis.loglog(n[1:], cubic[1:], color="0.4", linestyle=":", label="η²Dn + η⁴Γg²n³/3")
    axis.loglog(n[1:], ETA**2 * NOISE * n[1:], color=COLOURS[2], linewidth=0.9, label="diffusion alone, η²Dn")
    axis.plot(STEPS, 8.14, "*", color=COLOURS[4], markersize=12, label="authors: 8.14")
    label(axis, "step n", "variance of the flat mode [parameter²]")
    keys(axis)
    for values, colour, line in ((without, COLOURS[1], "--"), (cubic, "0.4", ":")):
        axes[0][1].plot(n[1:], values[1:] / exact[1:], color=colour, linestyle=line)
    axes[0][1].errorbar(STEPS, 8.14 / exact[-1], 2 * error / exact[-1], fmt="*", markersize=12, color=COLOURS[4])
    label(axes[0][1], "step n", "over the exact variance")
    caption = (
        "Variance of a flat mode with a slope: first diffusion, then n³. The dashed prediction falls short at the "
        "end, where the spread feeds the noise."
    )
    return Picture("", caption, figure)


CASE = Case("exp-29", __doc__, run)
