"""What the paper, and this library, claim about networks, each with a number from the runs and a verdict."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dfp.checks import Array
from dfp.networks.predictors import LABELS, SMALL_SHARE, curvature_share
from dfp.networks.scores import variance_z

if TYPE_CHECKING:
    from dfp.networks.compared import Compared

# A predictor describes the runs if its error is within this factor of the floor, and its log-correlation at least this,
# or what perfect predictions reach where that is less; it fails if perfect ones would hardly ever be as bad.
FACTOR, CORRELATION = 1.3, 0.999
# Intervals that decide hold 99 %, so that one verdict in a hundred is wrong by chance.
_RESAMPLES, _TAILS = 400, (0.005, 0.995)
# What curvature noise, some per cent of the gradient noise, bends a power law.
_BENT = 0.05


@dataclass(frozen=True)
class Claim:
    """A claim and what became of it.

    Attributes
    ----------
    claim
        In words.
    promised, measured
        What it promises, and what was found.
    verdict
        ``"holds"``, ``"fails"`` or ``"undecided"``.
    cause
        Why it fails, or is undecided; empty if it holds.
    """

    claim: str
    promised: str
    measured: str
    verdict: str
    cause: str = ""

    def __str__(self) -> str:
        """Return one line, and the cause on another."""
        line = f"{self.verdict:9}  {self.claim}: {self.measured} (promised {self.promised})"
        return line if not self.cause else f"{line}\n           {self.cause}"


def judge(report: "Compared") -> list[Claim]:
    """Return all claims that the report can decide."""
    found = [_described(report, "closure"), _described(report, "authors"), _described(report, "langevin")]
    if report.predictions.rule.replace:
        found += [_diffusion(report), _saturation(report)]
    else:
        found.append(_epoch(report))
    found += [_proportional(report), *_diagonal(report), _independent(report)]
    return [claim for claim in found if claim is not None]


def _described(report: "Compared", name: str) -> Claim | None:
    """The variances of all directions are described, at every saved step that the predictor trusts."""
    if name not in report.scores:
        return None
    own, steps = report.scores[name], report.steps
    judged = np.isfinite(own.error) & (steps > 0)
    if name == "closure":
        judged &= steps <= report.predictions.trusted_until
    label = f"{LABELS[name]} describes the variance of every direction with noise"
    wanted = float(np.fmin(CORRELATION, report.floor.correlation))
    promised = f"median error within {FACTOR} of the sampling floor, log-correlation at least {wanted:.4f}"
    if not judged.any():
        return Claim(label, promised, "no step to judge", "undecided", f"{report.predictions}.")
    ratio = np.where(judged, own.error / report.floor.expected, 0.0)
    worst, correlation = int(np.argmax(ratio)), float(np.nanmin(own.correlation[judged]))
    measured = (
        f"error {own.error[worst]:.3g} against a floor of {report.floor.expected[worst]:.3g} at step {steps[worst]}, "
        f"the worst; log-correlation at least {correlation:.4f}, where perfect predictions have "
        f"{_typical(report, own.correlation, judged):.4f}"
    )
    beyond = judged & (ratio > FACTOR)
    sure = (judged & (ratio > max(FACTOR, report.floor.worst))) | (judged & (own.correlation < wanted))
    verdict = "fails" if sure.any() else "undecided" if beyond.any() else "holds"
    cause = "" if verdict == "holds" else _why_not(report, name, sure)
    if name == "closure" and report.predictions.trusted_until < steps[-1]:
        cause = " ".join(part for part in (cause, f"It said beforehand: {report.predictions}.") if part)
    return Claim(label, promised, measured, verdict, cause)


def _typical(report: "Compared", correlations: Array, judged: np.ndarray) -> float:
    """Return the log-correlation of perfect predictions at the step where a predictor's is smallest."""
    known = judged & np.isfinite(correlations)
    return float(report.floor.correlations[np.argmin(np.where(known, correlations, np.inf))])


def _why_not(report: "Compared", name: str, sure: np.ndarray) -> str:
    steps = report.steps
    if not sure.any():
        return "Perfect predictions are as bad at one step or another: more runs would decide."
    if name == "authors":
        return (
            "It is Langevin's stationary variance: flat directions, which are far from stationary, are wrong by orders."
        )
    first, quadratic = int(steps[sure][0]), report.quadratic_until
    moved = (
        f"the quadratic form itself holds up to step {quadratic}" if quadratic < steps[-1]
        else "the quadratic form holds throughout"
    )  # fmt: skip
    left_out = "; curvature noise and finite ηλ are left out" if name == "langevin" else ""
    return f"From step {first}; {moved}{left_out}."


def _diffusion(report: "Compared") -> Claim | None:
    """Flat directions diffuse: V ∝ n."""
    chosen = report.flat
    steps = report.steps
    late = (steps > 0) & (report.runs.variance[:, chosen].min(axis=1, initial=np.inf) > 0)
    claim, promised = "flat directions diffuse, V ∝ n", f"an exponent of 1, within {_BENT}"
    if not chosen.any() or late.sum() < 3:
        return Claim(claim, promised, f"{int(chosen.sum())} flat directions", "undecided", "There are too few of them.")
    value, (low, high) = growth_exponent(steps[late], report.runs.positions[late][:, :, chosen])
    measured = f"{value:.3f} ({low:.3f} to {high:.3f}), {int(chosen.sum())} directions"
    holds = low < 1 + _BENT and high > 1 - _BENT
    cause = (
        "" if holds
        else "Their noise is not that of the checkpoint: sharp directions feed curvature noise into them, and it grows "
        "as the runs spread." if value > 1 else "Their curvature is felt within the horizon, or their noise shrinks."
    )  # fmt: skip
    return Claim(claim, promised, measured, "holds" if holds else "fails", cause)


def growth_exponent(steps: np.ndarray, positions: Array, seed: int = 0) -> tuple[float, tuple[float, float]]:
    """Return p of V ∝ n^p, fitted to the median of V over directions, with a 99 % interval over runs."""
    rng = np.random.default_rng((seed, 6))
    runs = positions.shape[1]
    squares = (positions - positions.mean(axis=1, keepdims=True)) ** 2
    scale = squares.mean(axis=1, keepdims=True)

    def slope(weights: Array) -> float:
        variance = np.einsum("r,srk->sk", weights, squares)
        level = np.median(np.log(variance / scale[0]), axis=1)
        return float(np.polyfit(np.log(steps), level, 1)[0])

    value = slope(np.full(runs, 1 / runs))
    others = [slope(rng.multinomial(runs, np.full(runs, 1 / runs)) / runs) for _ in range(_RESAMPLES)]
    low, high = np.quantile(others, _TAILS)
    return value, (float(low), float(high))


def _saturation(report: "Compared") -> Claim | None:
    """Sharp directions settle at (T12)."""
    claim, promised = "sharp directions settle at V_∞ of (T12)", "a median ratio of 1"
    settled = report.confined
    if settled.sum() < 3:
        return Claim(claim, promised, f"{int(settled.sum())} have had time to", "undecided", "Run more steps.")
    stationary = report.stationary[settled]
    last = report.runs.positions[-1][:, settled]
    ratios = last.var(axis=0, ddof=1) / stationary
    rng = np.random.default_rng(7)
    medians = [
        np.median(last[rng.integers(0, len(last), len(last))].var(axis=0, ddof=1) / stationary)
        for _ in range(_RESAMPLES)
    ]
    low, high = np.quantile(medians, _TAILS)
    measured = (
        f"{np.median(ratios):.3f} ({low:.3f} to {high:.3f}) over {int(settled.sum())} directions at the last step"
    )
    holds = bool(low <= 1 <= high)
    cause = "" if holds else _unsettled(report, settled, stationary)
    return Claim(claim, promised, measured, "holds" if holds else "fails", cause)


def _unsettled(report: "Compared", settled: np.ndarray, stationary: Array) -> str:
    """Say which predictor that leaves (T12) behind explains the difference."""
    parts = []
    for name in ("own", "table", "closure"):
        if name in report.predictions.moments:
            predicted = report.predictions.moments[name].variance[-1, settled] / stationary
            parts.append(f"{np.median(predicted):.3f} by the {LABELS[name]}")
    return (
        "(T12) takes each direction alone, with noise as at the checkpoint. Predicted ratio: " + ", ".join(parts) + "."
    )


def _proportional(report: "Compared") -> Claim:
    law = report.measured.diagnostics.law
    low, high = law.exponent_interval
    holds = bool(low <= 1 <= high)
    cause = "" if holds else f"γ_i = Var(G_i)/|λ_i| spreads by a factor of {law.spread:.3g} between directions."
    return Claim(
        "gradient noise is proportional to curvature, Var(G) ∝ |λ| + ε", "an exponent of 1",
        f"{law.exponent:.2f} ({low:.2f} to {high:.2f}), ε = {law.epsilon:.2g}", "holds" if holds else "fails", cause,
    )  # fmt: skip


def _diagonal(report: "Compared") -> list[Claim]:
    found, diagnostics = [], report.measured.diagnostics
    for name, chosen in (("sharp", diagnostics.sharp & report.live), ("flat", report.flat)):
        if not chosen.any():
            continue
        value = float(np.median(diagnostics.off_diagonal[chosen]))
        own = float(np.median(diagnostics.own_share[chosen]))
        holds = value < 1
        cause = (
            ""
            if holds
            else f"Only {own:.1%} of their curvature noise is their own: the rest comes from other directions."
        )
        found.append(
            Claim(
                f"⟨H̃²⟩ is diagonal for {name} directions",
                "off-diagonal below diagonal",
                f"a ratio of {value:.2f} (median)",
                "holds" if holds else "fails",
                cause,
            )
        )
    return found


def _independent(report: "Compared") -> Claim:
    values = np.abs(report.measured.diagnostics.correlation[report.live])
    bound = 3 / np.sqrt(report.measured.samples)
    share = float(np.mean(values > bound))
    holds = share < 0.05
    return Claim(
        "H̃ and g̃ are independent", f"|correlation| below {bound:.2f} in 95 % of directions",
        f"median {np.median(values):.2f}, largest {values.max():.2f}, above in {share:.0%}",
        "holds" if holds else "fails",
        "" if holds else "A sample's gradient and Hessian come from the same error of the network.",
    )  # fmt: skip


def _epoch(report: "Compared") -> Claim | None:
    """(T18) within the first epoch, where curvature noise is small beside what the epoch has not yet cancelled."""
    predicted = report.predictions.moments.get("additive")
    rule, steps = report.predictions.rule, report.steps
    first = (steps > 0) & (steps <= report.measured.samples // rule.batch_size)
    chosen = first[:, None] & report.live & (curvature_share(report.measured, rule, steps) < SMALL_SHARE)
    claim, promised = "within an epoch without replacement the variance is that of (T18)", "every |z| ≤ 5"
    if predicted is None or not chosen.any() or not np.isfinite(predicted.variance).any():
        return Claim(claim, promised, "not compared", "undecided", "" if predicted is None else predicted.note)
    moving = steps > 0
    z = np.zeros(predicted.variance.shape)
    seen = report.runs.positions[:, :, report.live][moving]
    z[np.ix_(moving, report.live)] = variance_z(seen, predicted.variance[:, report.live][moving])
    worst, last = float(np.abs(z[chosen]).max()), int(steps[chosen.any(axis=1)][-1])
    measured = f"largest |z| {worst:.2f} of {int(chosen.sum())} (directions and steps up to {last})"
    return Claim(
        claim, promised, measured, "holds" if worst <= 5 else "fails", "" if worst <= 5 else "Noise depends on θ."
    )
