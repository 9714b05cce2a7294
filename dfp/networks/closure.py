"""The Gaussian closure: SGD's mean and covariance with expectations over N(μ, Π) instead of a Taylor form.

μ' = μ − η E[ḡ],  Π' = AΠAᵀ + η² E[C(θ)],  A = I − η E[H]. Expectations are renewed at steps some ratio apart, and
carried between two renewals by their average (Heun), in closed form. Independent replicates, each with its own points
and its own state, give the error; the checkpoint's coefficients, which are exact, begin all of them.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from dfp_solvers import gaussian_closure as engine
from dfp_solvers import krylov
from dfp_solvers.gaussian_closure import Coefficients, Joint

from dfp.checks import Array
from dfp.networks.measurement import Measurement
from dfp.networks.predictors import SMALL_SHARE, Rule, curvature_share
from dfp.networks.source import Source
from dfp.result import Short

# Trust ends where the closure's own relative error of the variance (median over directions) exceeds this: about what
# 256 runs can tell. The error stays near 0.01 where closures describe the runs, and passes 0.08 before they fail.
TOLERANCE = 0.05
# The mean Hessian carries motion from outside of the measured directions into them, at the rate η leak per step: what
# comes in changes their deviation by half of this share. With helpers it is the share by which the last ones change
# their variance.
LEAK = 0.1
# Products with the mean Hessian for what happens outside: exact for polynomials of (I − ηH) of this degree, which is
# enough for ηλn up to its square over two.
_OUTSIDE = 10


@dataclass(frozen=True, eq=False, repr=False)
class Closure(Short):
    """Moments by the closure, with its own judgement of them.

    Attributes
    ----------
    mean, variance
        Shape (S, k).
    covariance
        Shape (S, k, k).
    error
        Relative standard error of ``variance`` between replicates, shape (S, k).
    noise_growth
        Median over directions of E[C_ii]/C_ii(checkpoint), shape (S,): 1 while noise is additive.
    curvature_change
        |E[H] − H| over |H| (Frobenius), shape (S,): 0 while the form is quadratic.
    trusted_until
        Last saved step up to which the prediction is to be trusted; −1 if none.
    reason
        Why not further; empty if all steps are.
    """

    mean: Array
    variance: Array
    covariance: Array
    error: Array
    noise_growth: Array
    curvature_change: Array
    trusted_until: int
    reason: str


class _Judged(NamedTuple):
    step: int
    growth: float
    change: float


class Engine:
    """Carries replicates of the closure through renewals.

    Parameters
    ----------
    measured
        Measurement of a source whose gradients are known everywhere.
    rule
        How SGD is run.
    replicates, pairs, curved
        Number of replicates, of pairs of points of each, and of these pairs the number at which the Hessian is taken.
    ratio
        Of the steps of consecutive renewals.
    seed
        Of the points.
    """

    def __init__(
        self, measured: Measurement, rule: Rule, replicates: int, pairs: int, curved: int, ratio: float, seed: int
    ) -> None:
        assert measured.source is not None
        self.measured, self.source, self.rule = measured, measured.source, rule
        self.rng = np.random.default_rng((seed, 4))
        k = len(measured.curvatures)
        # Few directions: d pairs are exact for cubic polynomials.
        self.replicates, self.ratio = replicates, ratio
        self.pairs, self.curved = (k, k) if k <= pairs * replicates and curved else (pairs, curved)
        population = 0 if rule.replace else measured.samples
        self.engine_rule = engine.Rule(rule.learning_rate, rule.momentum, rule.nesterov, rule.batch_size, population)
        self.start = Coefficients(measured.hessian, measured.gradient, measured.covariance)
        self.outside = None
        if not measured.complete:
            self.outside = _Outside(self.source, measured, rule, self.pairs * replicates, self.rng)

    def renewals(self, last: int) -> list[int]:
        """Return the steps at which expectations are renewed: whole epochs without replacement."""
        unit = 1 if self.rule.replace else self.measured.samples // self.rule.batch_size
        steps = [0]
        while steps[-1] < last:
            steps.append(max(steps[-1] + unit, round(steps[-1] * self.ratio / unit) * unit))
        return steps

    def run(self, saved: np.ndarray) -> tuple[list[list[Joint]], list[_Judged]]:
        """Return the states of all replicates at each saved step, and how far the coefficients have moved."""
        last = int(saved[-1])
        states = [engine.point(len(self.measured.curvatures), self.rule.momentum > 0)] * self.replicates
        coefficients = [self.start] * self.replicates
        frames, judged = [states], [_Judged(0, 1.0, 0.0)]
        if saved[0] != 0:
            frames = []
        steps = self.renewals(last)
        for begin, end in pairwise(steps):
            inner = [int(n) - begin for n in saved if begin < n <= min(end, last)]
            predicted = [
                engine.advance(s, c, self.engine_rule, [end - begin])[0]
                for s, c in zip(states, coefficients, strict=True)
            ]
            # After a last renewal nothing is left to be carried, but the correction needs its coefficients.
            following = self._expectations(predicted, end) if end - begin > 1 or end < last else coefficients
            weight = (end - begin - 1) / (2 * (end - begin))
            reached = [
                engine.advance(s, engine.blend(c, f, weight), self.engine_rule, [*inner, end - begin])
                for s, c, f in zip(states, coefficients, following, strict=True)
            ]
            frames += [[states[i] for states in reached] for i in range(len(inner))]
            states, coefficients = [r[-1] for r in reached], following
            judged.append(self._judged(end, coefficients))
        return frames, judged

    def _expectations(self, states: list[Joint], step: int) -> list[Coefficients]:
        measured, source = self.measured, self.source
        spread = engine.points([s.covariance[:, :, 0, 0] for s in states], self.pairs, self.rng)
        result = []
        elsewhere = None if self.outside is None else self.outside.displacements(step)
        for index, (state, offsets) in enumerate(zip(states, spread, strict=True)):
            middle = state.mean[:, 0]
            places = [measured.checkpoint + measured.directions @ (middle + offset) for offset in offsets]
            if elsewhere is not None:
                drift, spreads = elsewhere
                own = spreads[index * self.pairs : (index + 1) * self.pairs]
                places = [place + drift + moved for place, moved in zip(places, [*own, *(-own)], strict=True)]
            averages, noise = [], np.zeros_like(measured.hessian)
            for place in places:
                sampled = source.gradients(place) @ measured.directions
                averages.append(sampled.mean(axis=0))
                deviations = sampled - averages[-1]
                noise += deviations.T @ deviations / (len(sampled) * len(places))
            hessian = self._hessian(places) if self.curved else self._scaled(offsets, np.array(averages))
            result.append(Coefficients(hessian, np.mean(averages, axis=0) - hessian @ middle, noise))
        return result

    def _scaled(self, offsets: Array, gradients: Array) -> Array:
        """Return the Hessian of the checkpoint times what opposite points tell: vᵀ(ḡ₊ − ḡ₋) over 2vᵀHv of all pairs."""
        half = len(offsets) // 2
        ahead, rise = offsets[:half], (gradients[:half] - gradients[half:]) / 2
        return self.start.hessian * (np.sum(ahead * rise) / np.sum(ahead * (ahead @ self.start.hessian)))

    def _hessian(self, places: list[Array]) -> Array:
        """Return the mean Hessian between the directions, averaged over the first pairs of opposite points."""
        half, vectors = len(places) // 2, self.measured.directions
        curved = [*places[: self.curved], *places[half : half + self.curved]]
        total = np.zeros_like(self.start.hessian)
        for place in curved:
            total += vectors.T @ self.source.products(vectors, place) / len(curved)
        return (total + total.T) / 2

    def _judged(self, step: int, coefficients: list[Coefficients]) -> _Judged:
        live = self.measured.live
        noise = np.mean([np.diag(c.noise) for c in coefficients], axis=0)[live]
        hessian = np.mean([c.hessian for c in coefficients], axis=0)
        change = np.linalg.norm(hessian - self.start.hessian) / np.linalg.norm(self.start.hessian)
        return _Judged(step, float(np.median(noise / self.measured.gradient_noise[live])), float(change))


class _Outside:
    """What happens outside the measured directions: the motion of the checkpoint's quadratic form, by Krylov spaces.

    The noise of a step is a random combination w of the samples' gradients, whose covariance needs no matrix. What n
    steps leave has the covariance Σ_s AˢCAˢ, A = I − ηH; displacements (Σ_s A²ˢ)^½ w have it where HC = CH, and nearly
    so else. Momentum enters by η/(1 − β).
    """

    def __init__(self, source: Source, measured: Measurement, rule: Rule, pairs: int, rng: np.random.Generator) -> None:
        gradients = source.gradients()
        outside = gradients - (gradients @ measured.directions) @ measured.directions.T
        drift = outside.mean(axis=0)
        weights = rng.standard_normal((pairs, len(outside))) / np.sqrt(len(outside) * rule.batch_size)
        vectors = np.vstack([drift, weights @ (outside - drift)])
        start = krylov.complement(vectors.T, measured.directions)
        basis, moved = krylov.space(source.products, start, measured.directions, _OUTSIDE)
        inner = basis.T @ moved
        curvatures, axes = np.linalg.eigh((inner + inner.T) / 2)
        self.axes = basis @ axes
        self.rate = rule.learning_rate / (1 - rule.momentum)
        self.factors, self.vectors = 1 - self.rate * curvatures, vectors @ self.axes

    def displacements(self, step: int) -> tuple[Array, Array]:
        """Return the mean displacement (d,) after ``step`` steps, and one random displacement of each pair."""
        factors = self.factors[:, None] ** np.arange(step)
        gains = np.vstack([-factors.sum(axis=1), *[np.sqrt((factors**2).sum(axis=1))] * (len(self.vectors) - 1)])
        moved: Array = self.rate * (gains * self.vectors) @ self.axes.T
        return moved[0], moved[1:]


def closure(
    measured: Measurement,
    rule: Rule,
    saved: np.ndarray,
    *,
    replicates: int,
    pairs: int,
    curved: int,
    ratio: float,
    seed: int,
) -> Closure:
    """Return mean and covariance by the Gaussian closure, and from which step it is not to be trusted."""
    frames, judged = Engine(measured, rule, replicates, pairs, curved, ratio, seed).run(saved)
    means = np.array([[s.mean[:, 0] for s in states] for states in frames])
    covariances = np.array([np.mean([s.covariance[:, :, 0, 0] for s in states], axis=0) for states in frames])
    variances = np.array([[np.diag(s.covariance[:, :, 0, 0]) for s in states] for states in frames])
    variance = variances.mean(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = variances.std(axis=1, ddof=1) / np.sqrt(replicates) / variance
    error = np.where(variance > 0, error, 0.0)
    steps = np.array([j.step for j in judged])
    growth = np.interp(saved, steps, [j.growth for j in judged])
    change = np.interp(saved, steps, [j.change for j in judged])
    until, reason = _trust(measured, rule, saved, error)
    return Closure(means.mean(axis=1), variance, covariances, error, growth, change, until, reason)


def _trust(measured: Measurement, rule: Rule, saved: np.ndarray, error: Array) -> tuple[int, str]:
    """Return the last saved step to be trusted, and why not further."""
    median = np.median(error[:, measured.live], axis=1)
    torn = ~(median <= TOLERANCE)
    leaking = _leaking(measured, rule, saved)
    share = np.zeros(len(saved))
    if not rule.replace:
        share = np.median(curvature_share(measured, rule, saved)[:, measured.live], axis=1)
    bad = np.flatnonzero(torn | leaking | (share > SMALL_SHARE))
    if not bad.size:
        return int(saved[-1]), ""
    first = int(bad[0])
    if torn[first]:
        reason = (
            f"at step {saved[first]} the closure's own replicates differ by {median[first]:.0%} (median over "
            "directions): the noise where the Gaussian reaches is quite different from place to place"
        )
    elif leaking[first]:
        reason = (
            f"at step {saved[first]} the flat directions, no eigenvectors, have been driven by others outside of "
            "the measured ones, whose curvature is not known; a larger depth of measure includes them"
        )
    else:
        reason = (
            f"at step {saved[first]} the epoch ends: additive noise has cancelled, and what is left is curvature "
            "noise, which the closure keeps constant within an epoch"
        )
    return (int(saved[first - 1]) if first else -1), reason


def _leaking(measured: Measurement, rule: Rule, saved: np.ndarray) -> np.ndarray:
    """Tell at which saved steps flat directions feel what is outside of all measured ones, shape (S,)."""
    if not measured.flat.any():
        return np.zeros(len(saved), dtype=bool)
    count, k = int(measured.flat.sum()), len(measured.flat)
    rate = rule.learning_rate / (1 - rule.momentum)
    leaking: np.ndarray = saved * rate * np.median(measured.leak[measured.flat]) > LEAK
    if measured.helpers.sum() >= count:
        every, fewer = (_additive(measured, rule, saved, kept)[1:] for kept in (k, k - count))
        leaking[1:] |= np.median(np.abs(every / fewer - 1), axis=1) > LEAK
    return leaking


def _additive(measured: Measurement, rule: Rule, saved: np.ndarray, kept: int) -> Array:
    """Return the variance of flat directions by additive noise among the first ``kept`` directions, shape (S, ·)."""
    start = Coefficients(measured.hessian[:kept, :kept], measured.gradient[:kept], measured.covariance[:kept, :kept])
    plain = engine.Rule(rule.learning_rate, rule.momentum, rule.nesterov, rule.batch_size, 0)
    states = engine.advance(engine.point(kept, rule.momentum > 0), start, plain, [int(n) for n in saved])
    return np.array([np.diag(state.covariance[:, :, 0, 0])[measured.flat[:kept]] for state in states])
