"""EXP 17 = 21: (T5) has SGD's covariance exactly, so that the reported error of its recursion is sampling noise alone.

Langevin's (T6) misses the factor 1/(1 − ηλ/2) of every mode, whatever the sample; the reported gain of 6.46 is the
ratio of that error to the noise of 50 000 runs, and would be 65 with a hundred times as many.

Source: authors' experiments 17 and 21, bit-identical; theory page (T6'), (T10), (T14).

Tolerance: traces of the recursion per step (T6') to 1e-12 of their closed form, rounding; sampled traces within four
standard errors; reported traces to their last digit; the reported error of the exact recursion within four of the
spread it has between samples of 50 000 (chi-squared, 20 % here).

Control: Langevin's covariance must be told from the sample, and (T5) from the recursion per step.
"""

import numpy as np
from scipy.linalg import solve_discrete_lyapunov

import dfp
from validation.case import Case, Picture, Result, Table, Verdict, at_most, close, sampled
from validation.figures import COLOURS, canvas, keys, label
from validation.problems import AUTHORS_CURVATURES as CURVATURES
from validation.problems import authors_point
from validation.sampling import ensemble, mean, shown

ETA, NOISE, STEPS, RUNS = 0.15, 0.25, 1000, 50_000
PROBLEM = "EXP 17 = 21"


def run(quick: bool) -> Result:
    """Compare both recursions, a sample, and the authors' figures."""
    hessian, sgd, start = _problem()
    discrete = dfp.moments(dfp.DiscreteFokkerPlanck(sgd), start, STEPS, [STEPS]).covariance[0]
    langevin = dfp.moments(dfp.Langevin(sgd), start, STEPS, [STEPS]).covariance[0]
    counts = [500, 2000, 8000] if quick else [500, 2000, 8000, 32_000, 128_000]
    errors = {runs: _sampled(hessian, runs) for runs in counts}
    trace = errors[counts[-1]][0]
    # E ‖sample − Σ‖² = ((tr Σ)² + tr Σ²)/runs for Gaussian samples
    size, spread = np.linalg.norm(discrete), np.trace(discrete) ** 2 + np.sum(discrete**2)
    noise = float(np.sqrt(spread / RUNS) / size)
    truncated = float(np.linalg.norm(discrete - langevin) / size)
    lyapunov = solve_discrete_lyapunov(np.eye(10) - ETA * hessian, ETA**2 * NOISE * np.eye(10))
    verdicts = [
        *per_step(),
        at_most(
            (PROBLEM, "(T5)", "error against SciPy's discrete Lyapunov solver"),
            np.abs(discrete - lyapunov).max(),
            1e-14,
        ),
        sampled((PROBLEM, "(T5)", "trace"), *trace, np.trace(discrete)),
        sampled((PROBLEM, "control: (T6)", "trace"), *trace, np.trace(langevin), control=True),
        close((PROBLEM, "authors", "trace, discrete"), 0.19920, np.trace(discrete), 5e-6),
        close((PROBLEM, "authors", "trace, truncated"), 0.18306, np.trace(langevin), 5e-6),
        close((PROBLEM, "authors", "error, truncated"), 0.0631, truncated, 4 * 0.2 * noise),
        close((PROBLEM, "authors", "error, discrete, is sampling noise"), 0.00978, noise, 4 * 0.2 * noise),
    ]
    rows = [
        ("trace, discrete", np.trace(discrete), shown(*trace), 0.19920, "both: it is exact"),
        ("trace, truncated", np.trace(langevin), None, 0.18306, "both: it is Langevin's, 8 % too small"),
        ("error, truncated", truncated, None, 0.0631, "both: bias with a little noise"),
        (
            "error, discrete",
            0.0,
            f"{noise:.4f} expected of noise",
            0.00978,
            "exact is 0: they report the noise of 50 000 runs",
        ),
        (
            "gain",
            "∞",
            f"{truncated / noise:.1f} at 50 000 runs",
            6.46,
            "no property of the equations: it grows like √runs",
        ),
    ]
    table = Table("Exact, sampled, reported.", ("quantity", "exact", "Monte Carlo", "authors", "who is right"), rows)
    numbers = {"runs": counts, "error": [errors[n][1] for n in counts], "truncated": truncated, "noise": noise}
    return Result(verdicts, numbers, [_picture(counts, errors, spread / size**2, truncated)], [table])


def _problem() -> tuple[np.ndarray, dfp.SGD, dfp.Gaussian]:
    hessian, _ = authors_point()
    sgd = dfp.SGD(dfp.QuadraticLandscape(hessian, 0.0, dfp.GaussianNoise(NOISE)), ETA)
    return hessian, sgd, dfp.Gaussian(np.zeros(10), np.eye(10))


def per_step() -> list[Verdict]:
    """Return verdicts on (T6'), Π' = Π − η(HΠ + ΠH) + η²C from Π = I: of each mode a geometric series."""
    _, sgd, start = _problem()
    steps, kept = [1, 10, 100, STEPS], 1 - 2 * ETA * CURVATURES
    found = {
        equation.number: np.trace(dfp.moments(equation, start, STEPS, steps).covariance, axis1=1, axis2=2)
        for equation in (dfp.Langevin(sgd, per_step=True), dfp.DiscreteFokkerPlanck(sgd))
    }
    rows = []
    for k, step in enumerate(steps):
        exact = float(np.sum(kept**step + ETA**2 * NOISE * (1 - kept**step) / (1 - kept)))
        rows.append(close((PROBLEM, "(T6')", f"trace at step {step}"), found["T6'"][k], exact, 1e-12 * exact))
        what = (PROBLEM, "control: (T5) as (T6')", f"trace at step {step}")
        rows.append(close(what, found["T5"][k], exact, 1e-12 * exact, control=True))
    return rows


def _sampled(hessian: np.ndarray, runs: int) -> tuple[tuple[float, float], float]:
    """Return the trace with its error, and the relative error of the covariance against the exact one, of a sample."""

    def step(w: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return w - ETA * (w @ hessian + np.sqrt(NOISE) * rng.standard_normal(w.shape))

    # 150 steps settle the slowest mode to (1 − 0.045)³⁰⁰ = 1e-6.
    start = np.random.default_rng(runs).standard_normal((runs, 10))
    states = ensemble(start, step, [150], seed=runs + 1)[0]
    exact = np.linalg.eigh(hessian)[1] * (ETA * NOISE / (2 * CURVATURES - ETA * CURVATURES**2))
    exact = exact @ np.linalg.eigh(hessian)[1].T
    centred = states - states.mean(axis=0)
    error = np.linalg.norm(np.cov(states, rowvar=False) - exact) / np.linalg.norm(exact)
    return mean(np.sum(centred**2, axis=1)), float(error)


def _picture(
    counts: list[int], errors: dict[int, tuple[tuple[float, float], float]], spread: float, bias: float
) -> Picture:
    figure, axes = canvas(1, 1, 7.5, 4.2)
    axis, line = axes[0][0], np.array([300.0, 200_000.0])
    axis.loglog(line, np.sqrt(spread / line), color=COLOURS[0], label="(T5): sampling noise, expected")
    axis.loglog(counts, [errors[n][1] for n in counts], "o", color=COLOURS[0], label="(T5), samples here")
    axis.loglog([RUNS], [0.00978], "*", markersize=12, color=COLOURS[1], label="(T5), authors: 0.00978")
    axis.loglog(line, np.full(2, bias), color=COLOURS[2], label="(T6): bias")
    axis.loglog([RUNS], [0.0631], "*", markersize=12, color=COLOURS[4], label="(T6), authors: 0.0631")
    label(axis, "runs in the sample", "relative error of the covariance [1]")
    keys(axis)
    caption = (
        "Distance between a sample's covariance and the recursions: Langevin's is a bias, that of (T5) is the noise "
        "of the sample, which the authors' 50 000 runs sit on as well."
    )
    return Picture("", caption, figure)


CASE = Case("exp-17-21", __doc__, run)
