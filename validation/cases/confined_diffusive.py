"""Sharp modes are confined at a variance set by η, flat ones diffuse with a coefficient proportional to η.

For gradient noise D = γ(λ + ε) the variance of every mode with λ ≫ ε saturates at ηγ/2 after 1/(2ηλ) steps, whatever
its curvature, while a flat one grows like η²Dn; D_eff = ηD/2 follows the learning rate over two decades.

Source: the paper's abstract and closed form; theory page (T11), (T12), section 4.

Tolerance: sampled variances within 4.5 standard errors (six modes at six steps); saturated variances to 1e-9,
rounding, of their closed form; the slope of D_eff in η to 1e-9 in theory, and within four standard errors as sampled.

Control: the saturated variance in place of that of a flat mode must fail.
"""

from functools import partial

import numpy as np

import dfp
from validation.case import Case, Picture, Result, Verdict, at_most, close, sampled
from validation.figures import COLOURS, canvas, keys, label, movie, shades
from validation.sampling import ensemble, mean, variance

ETA, GAMMA, EPSILON = 0.1, 1.0, 1e-3
CURVATURES = np.array([1.0, 0.3, 0.1, 0.03, 0.01, 0.0])
NOISES = GAMMA * (CURVATURES + EPSILON)
SAVED = [1, 10, 30, 100, 300, 1000]


def run(quick: bool) -> Result:
    """Follow a spectrum of modes, vary the learning rate, and film a valley."""
    sgd = dfp.SGD(dfp.QuadraticLandscape(CURVATURES, 0.0, dfp.GaussianNoise(NOISES)), ETA)
    steps = np.unique(np.geomspace(1, 30_000, 200).astype(int))
    exact = dfp.moments(dfp.MasterEquation(sgd), dfp.Point(np.zeros(6)), 30_000, steps.tolist())
    theory = np.einsum("sii->si", exact.covariance)
    runs = 4000 if quick else 100_000
    states = ensemble(np.zeros((runs, 6)), _step, SAVED, seed=6)
    found = np.array([[variance(x[:, k]) for k in range(6)] for x in states])
    at = dfp.moments(dfp.MasterEquation(sgd), dfp.Point(np.zeros(6)), 1000, SAVED).covariance
    z = (found[..., 0] - np.einsum("sii->si", at)) / found[..., 1]
    stationary = ETA * NOISES[:3] / (2 * CURVATURES[:3] - ETA * CURVATURES[:3] ** 2)
    saturated = float(np.max(np.abs(theory[-1, :3] / stationary - 1)))
    flat = variance(states[-1][:, -1])
    verdicts = [
        Verdict("spectrum", "master equation", "largest z of 36 sampled variances", "≤ 4.5",
                f"{np.abs(z).max():.1f}", bool(np.abs(z).max() <= 4.5), float(np.abs(z).max()), 1.0),
        at_most(("spectrum", "master equation", "saturated variances, relative error"), saturated, 1e-9),
        at_most(("spectrum", "ηγ/2", "saturated variances of λ = 0.1 … 1 against it"),
                float(np.max(np.abs(theory[-1, :3] / (ETA * GAMMA / 2) - 1))), ETA / 2 / (1 - ETA / 2) + EPSILON / 0.1),
        sampled(("flat mode", "η²Dn", "variance after 1000 steps"), *flat, ETA**2 * NOISES[-1] * 1000),
        sampled(("flat mode", "control: ηγ/2", "variance after 1000 steps"), *flat, ETA * GAMMA / 2, control=True),
    ]  # fmt: skip
    more, rates, effective = _effective(4000 if quick else 100_000)
    pictures = [_spectrum(steps, theory, found), _diffusion(rates, effective), _valley()]
    numbers = {"step": steps, "variance": theory, "sampled": found, "rates": rates, "effective": effective}
    return Result(verdicts + more, numbers, pictures)


def _step(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return x - ETA * (CURVATURES * x + np.sqrt(NOISES) * rng.standard_normal(x.shape))


def _kick(x: np.ndarray, rng: np.random.Generator, eta: float) -> np.ndarray:
    return x - eta * rng.standard_normal(x.shape)


def _effective(runs: int) -> tuple[list[Verdict], np.ndarray, np.ndarray]:
    """Return verdicts on D_eff = V/(2τ) of a flat mode over two decades of η, the rates, and sampled values (K, 2)."""
    rates, noise, steps, found, exact = np.geomspace(0.003, 0.3, 5), 1.0, 50, [], []
    for k, eta in enumerate(rates):
        states = ensemble(np.zeros(runs), partial(_kick, eta=eta), [steps], seed=20 + k)
        found.append(np.array(mean(states[0] ** 2)) / (2 * eta * steps))
        sgd = dfp.SGD(dfp.QuadraticLandscape([0.0], 0.0, dfp.GaussianNoise([noise])), eta)
        exact.append(dfp.modes(sgd)[0].diffusion_coefficient)
    slope = float(np.polyfit(np.log(rates), np.log(exact), 1)[0])
    verdicts = [close(("flat mode", "dfp.modes", "slope of log D_eff in log η"), slope, 1.0, 1e-9)]
    for eta, value, true in zip(rates, found, exact, strict=True):
        verdicts.append(sampled(("flat mode", "dfp.modes", f"D_eff at η = {eta:.3g}"), value[0], value[1], true))
    return verdicts, rates, np.array(found)


def _spectrum(steps: np.ndarray, theory: np.ndarray, found: np.ndarray) -> Picture:
    figure, axes = canvas(1, 1, 8.0, 4.6)
    axis = axes[0][0]
    for k, colour in enumerate(shades(6)):
        axis.loglog(steps, theory[:, k], color=colour, label=f"λ = {CURVATURES[k]:g}")
        axis.errorbar(SAVED, found[:, k, 0], 2 * found[:, k, 1], fmt="o", markersize=4, color=colour)
    axis.axhline(ETA * GAMMA / 2, color="0.6", linewidth=0.8)
    axis.annotate("ηγ/2", (1.1, ETA * GAMMA / 2 * 1.1), color="0.4")
    axis.set_ylim(5e-6, 0.2)
    label(axis, "step n", "variance of the mode [parameter²]")
    keys(axis, loc="lower right")
    caption = (
        "Variance of modes with gradient noise γ(λ + ε): lines are exact, dots sampled with two standard errors. Sharp "
        "modes saturate at ηγ/2, the flatter the later; λ = 0 diffuses for ever."
    )
    return Picture("spectrum", caption, figure)


def _diffusion(rates: np.ndarray, found: np.ndarray) -> Picture:
    figure, axes = canvas(1, 1, 6.0, 3.8)
    axes[0][0].loglog(rates, rates / 2, color=COLOURS[0], label="ηD/2")
    axes[0][0].errorbar(rates, found[:, 0], 2 * found[:, 1], fmt="o", color=COLOURS[1], label="sampled")
    label(axes[0][0], "learning rate η", "D_eff = V/(2τ) [parameter² / slow time]")
    keys(axes[0][0])
    return Picture("diffusion", "Diffusion of a flat mode in slow time: proportional to the learning rate.", figure)


def _valley() -> Picture:
    """Return the density of a valley, sharp across and flat along, as it spreads: an animation."""
    landscape = dfp.QuadraticLandscape([1.0, 0.0], 0.0, dfp.GaussianNoise([1.0, 1.0]))
    steps = np.unique(np.geomspace(1, 400, 16).astype(int)).tolist()
    equation = dfp.MasterEquation(dfp.SGD(landscape, 0.2))
    grid = dfp.Grid([-1.6, -6.0], [1.6, 6.0], (96, 240))
    solved = dfp.solve(equation, dfp.Gaussian([1.0, 0.0], 0.005), 400, steps, dfp.Fourier(), grid)
    assert solved.density is not None
    figure, axes = canvas(1, 1, 5.6, 2.8)
    axis, density = axes[0][0], solved.density

    def draw(frame: int) -> None:
        axis.clear()
        axis.imshow(density[frame], aspect="auto", cmap="viridis", extent=(-6, 6, 1.6, -1.6))
        label(axis, "along the valley (λ = 0)", "across (λ = 1)", f"step {steps[frame]}")

    caption = (
        "The density of a valley under the master equation: it falls to the floor and settles across within some "
        "steps, then spreads along the floor without end."
    )
    return Picture("valley", caption, movie(figure, draw, len(steps), 300))


CASE = Case("confined-diffusive", __doc__, run)
