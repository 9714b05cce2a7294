"""EXP 27: SGD's variance stays finite only below η(λ² + Γ) = 2λ; Langevin believes in ηΓ = 2λ.

At seven of 28 points Langevin predicts a finite variance where SGD has none; the authors' ensembles flag six of them.
A finite ensemble cannot decide: near the boundary tails are so heavy that its variance says little, on either side.
Infinite variance is not absence of a stationary law, which all these points have: their Lyapunov exponents are
negative.

Source: authors' experiment 27; theory page (T12) and section 4.

Tolerance: growth of the exact second moment per step equals ρ₂ to 1e-12, rounding; sampled Lyapunov exponents within
four standard errors.

Control: Langevin's boundary must miss SGD's.
"""

import numpy as np

import dfp
from validation.case import Case, Picture, Result, Table, Verdict, at_most, sampled
from validation.figures import COLOURS, canvas, keys, label
from validation.sampling import ensemble, mean

RATES = (0.2, 0.6, 0.7, 0.8)
NOISES = (0.5, 1.0, 2.0, 2.4, 2.8, 4.0, 8.0)
GRADIENT_NOISE, PROBLEM = 0.2, "EXP 27"
POINTS = [(eta, gamma) for eta in RATES for gamma in NOISES]


def mode(eta: float, gamma: float) -> dfp.Mode:
    """Return the one mode at a point of the plane."""
    landscape = dfp.QuadraticLandscape([1.0], 0.0, dfp.GaussianNoise([GRADIENT_NOISE], [gamma]))
    return dfp.modes(dfp.SGD(landscape, eta))[0]


def run(quick: bool) -> Result:
    """Classify all points by three criteria, and ask many ensembles of the authors' size what they would say."""
    modes = {point: mode(*point) for point in POINTS}
    finite = {point: m.growth < 1 for point, m in modes.items()}
    believed = {point: m.langevin_regime == "confined" for point, m in modes.items()}
    gap = [point for point in POINTS if believed[point] and not finite[point]]
    wrong = max(abs(m.growth - (1 - eta) ** 2 - eta**2 * gamma) for (eta, gamma), m in modes.items())
    stable = max(abs(m.largest_stable_learning_rate - 2 / (1 + gamma)) for (_, gamma), m in modes.items())
    repeats = 2 if quick else 40
    flagged = {point: float(np.mean([_flag(*point, seed) for seed in range(repeats)])) for point in POINTS}
    verdicts = [
        at_most((PROBLEM, "dfp.modes", "growth of E θ² per step against (1 − ηλ)² + η²Γ"), wrong, 1e-12),
        at_most((PROBLEM, "dfp.modes", "largest η with finite variance against 2λ/(λ² + Γ)"), stable, 1e-9),
        Verdict(PROBLEM, "dfp.modes", "points in the gap", "7 (authors: 7)", str(len(gap)), len(gap) == 7, len(gap)),
        Verdict(
            PROBLEM,
            "control: Langevin's boundary",
            "points classified as SGD's",
            "28",
            str(sum(believed[p] == finite[p] for p in POINTS)),
            believed == finite,
            control=True,
        ),
        Verdict(
            PROBLEM,
            "dfp.modes",
            "points of the gap with a stationary law (ℓ < 0)",
            "7",
            str(sum(modes[p].lyapunov_exponent < 0 for p in gap)),
            all(modes[p].lyapunov_exponent < 0 for p in gap),
        ),
    ]
    for point in gap[:2] if quick else gap:
        exponent = modes[point].lyapunov_exponent
        verdicts.append(sampled((PROBLEM, f"η = {point[0]}, Γ = {point[1]}", "ℓ"), *_exponent(*point), exponent))
    rows = [
        (
            eta,
            gamma,
            modes[eta, gamma].growth,
            modes[eta, gamma].lyapunov_exponent,
            modes[eta, gamma].tail_index,
            "yes" if finite[eta, gamma] else "no",
            "yes" if believed[eta, gamma] else "no",
            f"{flagged[eta, gamma]:.0%}",
            "gap" if (eta, gamma) in gap else "",
        )
        for eta, gamma in POINTS
        if (eta, gamma) in gap or 0 < flagged[eta, gamma] < 1 or (flagged[eta, gamma] == 1) == finite[eta, gamma]
    ]
    table = Table(
        "Points in the gap, and points where ensembles of 16 000 runs × 500 steps with the authors' criterion "
        "disagree with each other or with the exact answer: who is right is the exact ρ₂; the share flagged unstable "
        "depends on the seed.",
        ("η", "Γ", "ρ₂", "ℓ", "κ", "finite variance", "Langevin", "ensembles that flag it", ""),
        rows,
    )
    numbers = {
        "eta": [p[0] for p in POINTS],
        "gamma": [p[1] for p in POINTS],
        "flagged": list(flagged.values()),
        "growth": [modes[p].growth for p in POINTS],
        "tail_index": [modes[p].tail_index for p in POINTS],
    }
    return Result(verdicts, numbers, [_picture(flagged)], [table])


def _walk(eta: float, gamma: float, start: np.ndarray, noise: float, saved: list[int], seed: int) -> list[np.ndarray]:
    def step(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        h, g = rng.standard_normal((2, *x.shape))
        return (1 - eta * (1 + np.sqrt(gamma) * h)) * x - eta * np.sqrt(noise) * g

    return ensemble(start, step, saved, seed)


def _flag(eta: float, gamma: float, seed: int) -> bool:
    """Return whether an ensemble of the authors' size calls the point unstable, by their criterion."""
    times = [*range(0, 500, 5), 500]
    trace = [x.var(ddof=1) for x in _walk(eta, gamma, np.zeros(16_000), GRADIENT_NOISE, times, seed)]
    return bool(max(trace) > 20 or trace[-1] > 10 * max(trace[1], 1e-12))


def _exponent(eta: float, gamma: float) -> tuple[float, float]:
    last = _walk(eta, gamma, np.ones(4000), 0.0, [200], seed=9)[0]
    return mean(np.log(np.abs(last)) / 200)


def _picture(flagged: dict[tuple[float, float], float]) -> Picture:
    figure, axes = canvas(1, 1, 7.5, 4.6)
    axis, rates = axes[0][0], np.linspace(0.1, 0.95, 200)
    axis.plot(rates, 2 / rates - 1, color=COLOURS[0], label="SGD: η(λ² + Γ) = 2λ")
    axis.plot(rates, 2 / rates, color=COLOURS[2], label="Langevin: ηΓ = 2λ")
    axis.fill_between(rates, 2 / rates - 1, 2 / rates, color="0.9", label="gap")
    places = np.array(list(flagged))
    dots = axis.scatter(*places.T, c=list(flagged.values()), cmap="Oranges", vmin=0, vmax=1, edgecolors="k", zorder=3)
    figure.colorbar(dots, ax=axis, label="share of ensembles that flag it")
    axis.set_ylim(0, 10)
    label(axis, "learning rate η [1/λ]", "curvature noise Γ [λ²]")
    keys(axis)
    caption = (
        "Where the variance is finite: below the blue line for SGD, below the green one for Langevin. Dots: what "
        "ensembles of 16 000 runs over 500 steps conclude; near the lines they contradict each other, since tails "
        "are heavy there."
    )
    return Picture("", caption, figure)


CASE = Case("exp-27", __doc__, run)
