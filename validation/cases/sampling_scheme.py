"""Without replacement the noise of an epoch cancels at its end, and only there; batch size enters as 1/B and 1/√B.

Within an epoch additive noise has the exact covariance (T18), at small ηλ the fraction (N − jB)/(N − 1) of that with
replacement after j steps. The covariance falls like 1/B; the Gaussian approximation of a finite sum errs like 1/√B.

Source: authors' experiments 3 and 35 (N = 1024, B = 64, η = 0.03), theory page (T18), section 5.

Tolerance: sampled variances within four standard errors; the fraction within jηλ, the order it neglects; slopes in B
to 1e-9 for covariances and 0.02 for skewness, whose exact law has corrections of order ηλ that do not depend on B.

Control: the variance with replacement must fail in the middle of an epoch.
"""

import numpy as np

import dfp
from validation.case import Case, Picture, Result, Table, Verdict, at_most, close, sampled
from validation.figures import COLOURS, canvas, keys, label
from validation.sampling import shown, variance

COUNT, BATCH, ETA, CURVATURE = 1024, 64, 0.03, 0.1
EPOCH = COUNT // BATCH
REPORTED = {8: 0.54, 12: 0.25, 14: 0.14}


def run(quick: bool) -> Result:
    """Follow two epochs both ways, then vary the batch size."""
    samples = np.random.default_rng(3).normal(size=COUNT)
    landscape = dfp.QuadraticLandscape.from_samples(np.full((COUNT, 1, 1), CURVATURE), samples[:, None], BATCH)
    curves = {}
    for replace in (True, False):
        sgd = dfp.SGD(landscape, ETA, replace=replace)
        curves[replace] = dfp.moments(dfp.MasterEquation(sgd), dfp.Point([0.0]), 2 * EPOCH).covariance[:, 0, 0]
    ratio = curves[False][1:] / curves[True][1:]
    found = _shuffled(samples, 4000 if quick else 60_000)
    verdicts: list[Verdict] = []
    for j in (1, 4, 8, 12, 15, 24):
        what = ("one mode, N = 1024, B = 64", "without replacement", f"variance after {j} steps")
        verdicts.append(sampled(what, *found[j], curves[False][j]))
    middle = ("one mode, N = 1024, B = 64", "control: with replacement", "variance after 12 steps")
    verdicts.append(sampled(middle, *found[12], curves[True][12], control=True))
    inside = np.arange(1, EPOCH)
    limit = (COUNT - inside * BATCH) / (COUNT - 1)
    off = float(np.max(np.abs(ratio[: EPOCH - 1] - limit) / (inside * ETA * CURVATURE)))
    verdicts.append(
        at_most(("one mode, N = 1024, B = 64", "(N − jB)/(N − 1)", "deviation of the ratio, in jηλ"), off, 1.0)
    )
    verdicts += _batches(samples[:32])
    rows = []
    for k in (1, 4, 8, 12, 14, 15, 16):
        drawn = shown(found[k][0] / curves[True][k], found[k][1] / curves[True][k])
        rows.append((k, ratio[k - 1], (COUNT - k * BATCH) / (COUNT - 1), drawn, REPORTED.get(k)))
    table = Table(
        "Variance without over with replacement within the first epoch. The authors' network agrees in the middle of "
        "the epoch (0.54, 0.25, 0.14); their headline 4.5e-4 and 0.104 are the cancellation at its end, which says "
        "little.",
        ("step j", "exact", "(N − jB)/(N − 1)", "Monte Carlo", "authors, a network"),
        rows,
    )
    return Result(verdicts, {"with": curves[True], "without": curves[False]}, [_picture(curves, found)], [table])


def _shuffled(samples: np.ndarray, runs: int) -> dict[int, tuple[float, float]]:
    """Return sampled variances after every step of two epochs, each a fresh shuffle, in plain NumPy."""
    rng, theta, found = np.random.default_rng(12), np.zeros(runs), {}
    for step in range(2 * EPOCH):
        if step % EPOCH == 0:
            means = np.concatenate(
                [
                    rng.permuted(np.tile(samples, (500, 1)), axis=1).reshape(500, EPOCH, BATCH).mean(axis=2)
                    for _ in range(runs // 500)
                ]
            )
        theta = theta - ETA * (CURVATURE * theta + means[:, step % EPOCH])
        found[step + 1] = variance(theta)
    return found


def _batches(samples: np.ndarray) -> list[Verdict]:
    """Return verdicts on how covariance and skewness of a finite sum fall with the batch size."""
    sizes, covariance, skewness = np.array([1, 2, 4, 8, 16]), [], []
    skewed = np.exp(samples)
    for size in sizes:
        landscape = dfp.QuadraticLandscape.from_samples(np.ones((32, 1, 1)), skewed[:, None], int(size))
        equation = dfp.MasterEquation(dfp.SGD(landscape, 0.2))
        solved = dfp.solve(equation, dfp.Point([0.0]), 100, [100], dfp.MomentRecursion())
        assert solved.third is not None
        covariance.append(solved.covariance.item())
        skewness.append(abs(solved.third.item()) / solved.covariance.item() ** 1.5)
    slopes = [float(np.polyfit(np.log(sizes), np.log(values), 1)[0]) for values in (covariance, skewness)]
    return [
        close(("32 skewed samples", "master equation", "slope of the covariance in B"), slopes[0], -1.0, 1e-9),
        close(("32 skewed samples", "master equation", "slope of the skewness in B"), slopes[1], -0.5, 0.02),
    ]


def _picture(curves: dict[bool, np.ndarray], found: dict[int, tuple[float, float]]) -> Picture:
    figure, axes = canvas(1, 1, 7.5, 4.0)
    axis, steps = axes[0][0], np.arange(2 * EPOCH + 1)
    axis.plot(steps, curves[True], color=COLOURS[0], label="with replacement, exact")
    axis.plot(steps, curves[False], color=COLOURS[1], label="without, exact")
    axis.errorbar(
        list(found),
        [v for v, _ in found.values()],
        [2 * e for _, e in found.values()],
        fmt=".",
        color="k",
        label="without, sampled",
    )
    label(axis, "step j", "variance [parameter²]", "two epochs of 16 steps")
    keys(axis)
    caption = (
        "Variance over two epochs: with replacement it grows, without it returns almost to zero at the end of each, "
        "so that a comparison made only there shows the largest difference there is."
    )
    return Picture("", caption, figure)


CASE = Case("sampling-scheme", __doc__, run)
