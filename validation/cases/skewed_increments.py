"""EXP 41, 42: one step of skewed noise is far from any Gaussian; over many steps the difference fades like n^(-1/2).

Skewness, kurtosis and entropy of the increments are known exactly; the reported entropy is biased by empty bins. That
a Poisson surrogate wins is no discovery, since the truth is Poisson; over 20 steps both reach the noise of the
sample.

Source: authors' experiments 41 and 42; exponential and Poisson laws in closed form; theory page, section 5.

Tolerance: reported skewness and kurtosis within four standard errors at 200 000 samples; reported entropy and
distances, biased by binning, fitting and sampling, within the range of forty repeats of their procedure or four
deviations of them; skewness of n steps to 1e-9, rounding.

Control: a Gaussian with the same variance must be told from the increments by its skewness.
"""

import numpy as np
from scipy.stats import norm, poisson

import dfp
from validation.case import Case, Picture, Result, Table, Verdict, at_most, close, sampled
from validation.figures import COLOURS, canvas, keys, label
from validation.sampling import shown

SAMPLES, JUMP, MEAN = 200_000, 0.04, 0.7


def run(quick: bool) -> Result:
    """Compute what one and many steps of both laws give, exactly and sampled."""
    verdicts, rows = _exponential(12 if quick else 64)
    more, others, numbers = _poisson(40 if quick else 1000)
    header = ("EXP", "quantity", "exact", "Monte Carlo", "authors", "who is right")
    table = Table("Exact, sampled, reported.", header, rows + others)
    return Result(verdicts + more + [_fading()], numbers, [_picture()], [table])


def _exponential(repeats: int) -> tuple[list[Verdict], list[tuple[object, ...]]]:
    """Return verdicts and rows on the increment −η(ḡ + σ(E − 1)), E exponential: skewness −2, kurtosis 9."""
    draws = 1 - np.random.default_rng(41).exponential(size=SAMPLES)
    z = (draws - draws.mean()) / draws.std()
    skew, kurt = float(np.mean(z**3)), float(np.mean(z**4))
    # Standard errors by the delta method from the cumulants (n−1)! of the exponential law, checked by simulation.
    spread = np.random.default_rng(0).exponential(size=(200, 2000))
    spread = (spread - spread.mean(axis=1)[:, None]) / spread.std(axis=1)[:, None]
    errors = [float(np.std(np.mean(spread**k, axis=1)) * np.sqrt(2000 / SAMPLES)) for k in (3, 4)]
    entropy = 0.5 * np.log(2 * np.pi * np.e) - 1
    histograms = [_histogram_entropy(seed) for seed in range(repeats)]
    biased, width = float(np.mean(histograms)), float(np.std(histograms, ddof=1))
    what = ("EXP 41", "authors")
    verdicts = [
        sampled(("EXP 41", "closed form", "skewness"), skew, errors[0], -2.0),
        sampled(("EXP 41", "control: Gaussian", "skewness"), skew, errors[0], 0.0, control=True),
        sampled((*what, "skewness"), -2.03, errors[0] * 2, -2.0),
        sampled((*what, "kurtosis"), 9.22, errors[1] * 2, 9.0),
        close((*what, "entropy by histogram, as biased as here"), 0.489, biased, 4 * width),
    ]
    rows: list[tuple[object, ...]] = [
        ("41", "skewness", -2.0, shown(skew, errors[0]), -2.03, "exact; theirs within its error"),
        ("41", "kurtosis", 9.0, shown(kurt, errors[1]), 9.22, "exact; theirs within its error"),
        ("41", "KL(increment, Gaussian)", entropy, f"{biased:.3f} ± {width:.1g} (sd) by 120 bins", 0.489,
         "exact ½ log 2πe − 1; empty bins, filled with 1e-12, add the rest"),
    ]  # fmt: skip
    return verdicts, rows


def _histogram_entropy(seed: int) -> float:
    """Return the entropy of increments relative to a Gaussian by 120 bins, empty ones filled, as the authors do."""
    rng = np.random.default_rng(seed)
    first, second = 1 - rng.exponential(size=SAMPLES), rng.normal(size=SAMPLES)
    low, high = min(first.min(), second.min()), max(first.max(), second.max())
    p, q = (np.histogram(x, 120, (low, high))[0] + 1e-12 for x in (first, second))
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum(p * np.log(p / q)))


def _distance(count: float, second: str) -> float:
    """Return W₁ between JUMP·Poisson(count) and the Gaussian of its mean and variance, by quadrature over F."""
    x = np.linspace(-12, 12, 400_001) * np.sqrt(max(count, 1.0)) + count
    difference = np.abs(poisson.cdf(np.floor(x), count) - norm.cdf(x, count, np.sqrt(count)))
    return float(np.trapezoid(difference, x) * JUMP) if second == "gaussian" else 0.0


def _poisson(repeats: int) -> tuple[list[Verdict], list[tuple[object, ...]], dict[str, object]]:
    verdicts: list[Verdict] = []
    rows: list[tuple[object, ...]] = []
    numbers: dict[str, object] = {}
    reported = {(1, "gaussian"): 0.0130, (20, "gaussian"): 0.0124, (1, "poisson"): 0.0005, (20, "poisson"): 0.0059}
    for (steps, second), theirs in reported.items():
        exact = _distance(MEAN * steps, second)
        values = [_sampled_distance(steps, second, seed) for seed in range(repeats)]
        numbers[f"{second}_{steps}"] = values
        mid, width = float(np.mean(values)), float(np.std(values, ddof=1))
        what = ("EXP 42", f"authors, {second} surrogate", f"W₁ after {steps} step{'s' * (steps > 1)}")
        right = "both" if second == "gaussian" else "exact is 0: what is left is the noise of fitting and sampling"
        rows.append(("42", f"W₁, {second}, {steps} steps", exact, f"{mid:.4f} ± {width:.1g} (sd)", theirs, right))
        verdicts.append(
            Verdict(*what, f"{min(values):.4f} to {max(values):.4f}", str(theirs), min(values) < theirs < max(values))
        )
    return verdicts, rows, numbers


def _sampled_distance(steps: int, second: str, seed: int) -> float:
    """Return W₁ between two samples, as the authors do: sums of increments, and of a surrogate fitted to one step."""
    rng = np.random.default_rng(seed)
    one = JUMP * rng.poisson(MEAN, SAMPLES)
    deviations = one - one.mean()
    var, third = np.mean(deviations**2), np.mean(deviations**3)
    scale = third / var
    # Sums of Poisson and of Gaussian increments are drawn as what they are: Poisson and Gaussian again.
    sums = one if steps == 1 else JUMP * rng.poisson(MEAN * steps, SAMPLES)
    if second == "gaussian":
        fitted = rng.normal(steps * one.mean(), np.sqrt(steps * var), SAMPLES)
    else:
        count = steps * var / scale**2
        fitted = steps * one.mean() + scale * (rng.poisson(count, SAMPLES) - count)
    return float(np.mean(np.abs(np.sort(sums) - np.sort(fitted))))


def _fading() -> Verdict:
    """Return the verdict that skewness fades like n^(-1/2) on a flat mode, from the exact third moments of (T4)."""
    draws = np.array([-1.0, -1.0, -1.0, 3.0])
    landscape = dfp.QuadraticLandscape.from_samples(np.zeros((4, 1, 1)), draws[:, None])
    steps = [1, 4, 16, 64]
    equation = dfp.MasterEquation(dfp.SGD(landscape, 0.05))
    found = dfp.solve(equation, dfp.Point([0.0]), 64, steps, dfp.MomentRecursion())
    assert found.third is not None
    skew = found.third[:, 0, 0, 0] / found.covariance[:, 0, 0] ** 1.5
    exact = -np.mean(draws**3) / np.mean(draws**2) ** 1.5 / np.sqrt(steps)
    what = ("skewed finite sum", "master equation", "skewness of n = 1 … 64 steps against n^(-1/2)")
    return at_most(what, float(np.max(np.abs(skew - exact))), 1e-9)


def _picture() -> Picture:
    figure, axes = canvas(1, 2, 10.0, 3.8)
    steps = np.arange(1, 201)
    axes[0][0].loglog(
        steps, [_distance(MEAN * n, "gaussian") / JUMP / np.sqrt(MEAN * n) for n in steps], color=COLOURS[0]
    )
    label(axes[0][0], "steps", "W₁ to the Gaussian [deviations]", "how long the law of one step is remembered")
    axis, x, fine, count = axes[0][1], np.arange(0, 40), np.linspace(0, 35, 300), MEAN * 20
    axis.bar(x, poisson.pmf(x, count), color=COLOURS[5], label="20 steps, exact")
    axis.plot(fine, norm.pdf(fine, count, np.sqrt(count)), color=COLOURS[1], label="Gaussian")
    label(axis, "jumps", "probability", "20 steps of Poisson(0.7) jumps")
    keys(axis)
    caption = (
        "Left: exact distance between n steps of Poisson jumps and the Gaussian of the same mean and variance; the "
        "lattice of jumps and the skewness both fade like n^(-1/2). Right: after 20 steps."
    )
    return Picture("", caption, figure)


CASE = Case("exp-41-42", __doc__, run)
