"""Weak order: how fast moments of each equation approach SGD's as the learning rate falls at fixed slow time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

import dfp
from dfp.checks import Array
from dfp.equation import Carried, Equation
from dfp.plot import COLOURS
from validation import enumeration
from validation.case import Case, Result, Verdict

LADDER = tuple(0.2 / 2**k for k in range(7))
"""Learning rates [parameter^2 / loss], falling."""
TIME = 1.0
"""Slow time τ = ηn at which moments are compared [parameter^2 / loss]."""
FITTED = 4
"""Slopes are fitted to this many of the smallest learning rates: there the leading error dominates."""
ROUNDING = 1e-11
"""Relative errors below this are left out of fits: they may be rounding."""
EXACT = 1e-12
"""An exact quantity has a smaller relative error: some 10^3 roundings of 640 steps."""
SLACK = 0.1
"""A slope may fall this short of its order: the next order still bends the curve by a few per cent at η = 0.025."""

MEAN, COVARIANCE, FOURTH, SPREAD = "mean", "covariance", "fourth moment", "noise-induced covariance"
QUANTITIES = (MEAN, COVARIANCE, FOURTH, SPREAD)
"""The first three start from a Gaussian; the last starts from a point, and its error is relative: all of it is O(η)."""
LABELS = {
    MEAN: "error of the mean\n[parameter]",
    COVARIANCE: "error of the covariance\n[parameter²]",
    FOURTH: "error of the fourth moment\n[parameter⁴]",
    SPREAD: "relative error of the noise-\ninduced covariance [1]",
}
Errors = dict[tuple[str, str], tuple[Array, Array]]
"""Norms of errors and of the true values, each of shape (K,), by model and quantity."""


@dataclass(frozen=True, eq=False)
class Problem:
    """A landscape, where SGD starts, and all its minibatches."""

    name: str
    landscape: dfp.QuadraticLandscape
    minibatches: enumeration.Minibatches
    start: dfp.Gaussian
    skewed: bool
    """Whether the third cumulant T of the minibatch gradient differs from 0."""


@dataclass(frozen=True)
class Model:
    """An equation under test, under the number whose orders it is held to."""

    name: str
    number: str
    make: Callable[[dfp.SGD], Equation]
    judged: tuple[str, ...] = QUANTITIES
    control: bool = False


class WrongSign(dfp.ModifiedLangevin):
    """(T7) with the sign of the drift correction (η/2)Hḡ turned round."""

    def drift(self, eigenvalues: Array) -> Array:
        """Return 1 − ηλ/2."""
        return 1 - self.sgd.learning_rate * eigenvalues / 2


class ShortDrift(dfp.ModifiedLangevin):
    """(T7m) without the last term (η²/3)H²ḡ of its drift."""

    def drift(self, eigenvalues: Array) -> Array:
        """Return 1 + ηλ/2."""
        return 1 + self.sgd.learning_rate * eigenvalues / 2


class LouderNoise(dfp.DiscreteFokkerPlanck):
    """(T5) with the covariance of its noise too large by one part in 10⁹."""

    def mean_diffusion(self, at: Carried) -> Array:
        """Return η² C̄ (1 + 1e-9)."""
        return super().mean_diffusion(at) * (1 + 1e-9)


MODELS = (
    Model("master equation (T4)", "T4", dfp.MasterEquation),
    Model("discrete Fokker-Planck (T5)", "T5", dfp.DiscreteFokkerPlanck),
    Model("Langevin (T6)", "T6", dfp.Langevin),
    Model("modified Langevin (T7)", "T7", lambda sgd: dfp.ModifiedLangevin(sgd, matched=False)),
    Model("modified Langevin (T7m)", "T7m", dfp.ModifiedLangevin),
    Model("modified Langevin (T7m⁺)", "T7m⁺", lambda sgd: dfp.ModifiedLangevin(sgd, positive=True)),
    Model("control: (T7), wrong sign", "T7", lambda sgd: WrongSign(sgd, matched=False), QUANTITIES[:3], True),
    Model("control: (T7m), drift cut short", "T7m", ShortDrift, (MEAN, COVARIANCE), True),
    Model("control: (T5), noise 1e-9 louder", "T5", LouderNoise, (COVARIANCE, SPREAD), True),
)


def promised(number: str, quantity: str, skewed: bool) -> int | None:
    """Return the weak order that section 2 of the theory page promises, None for exact."""
    if number == "T4" or (number == "T5" and quantity != FOURTH):
        return None
    absolute = {"T5": 2, "T6": 1, "T7": 2}.get(number, 2 if skewed and quantity == FOURTH else 3)
    # From (T7) on, one order is lost relative to a covariance that is itself of order η; (T6) has it to spare.
    return absolute - 1 if quantity == SPREAD and number != "T6" else absolute


def problems() -> list[Problem]:
    """Return one mode with Γ > 0 and g ≠ 0, least squares with correlated H̃ and g̃, and additive noise with HC ≠ CH."""
    noise = dfp.GaussianNoise(gradient=[0.3], hessian=[0.8])
    one_mode = Problem(
        "one mode, curvature noise, tilted",
        dfp.QuadraticLandscape([1.0], 0.5, noise),
        enumeration.gaussian(
            np.eye(1), np.array([0.5]), np.sqrt([[[0.8]], [[0.0]]]), np.sqrt([[0.0], [0.3]])
        ),
        dfp.Gaussian(2.0, 1.0),
        skewed=False,
    )
    rng = np.random.default_rng(9)
    features = rng.standard_normal((16, 2))
    targets = features @ [1.0, -1.0] + rng.exponential(size=16)
    least_squares = Problem(
        "least squares, 16 rows, batch size 2",
        dfp.QuadraticLandscape.from_regression(features, targets, 2),
        enumeration.regression(features, targets, 2),
        dfp.Gaussian([-0.5, 0.8], [[1.0, 0.2], [0.2, 0.6]]),
        skewed=True,
    )
    hessian, gradient = np.array([[1.2, 0.4], [0.4, 0.6]]), np.array([0.3, -0.2])
    factor = np.array([[0.7, 0.0], [-0.3, 0.4]])
    additive = Problem(
        "two modes, additive noise, HC ≠ CH",
        dfp.QuadraticLandscape(hessian, gradient, dfp.GaussianNoise(factor @ factor.T)),
        enumeration.gaussian(hessian, gradient, np.zeros((2, 2, 2)), factor.T),
        dfp.Gaussian([1.0, 0.7], [[0.8, 0.2], [0.2, 0.5]]),
        skewed=False,
    )
    return [one_mode, least_squares, additive]


def about(centre: Array, solved: dfp.Solution) -> enumeration.Moments:
    """Return the last moments of a solution, the fourth raw about ``centre`` instead of central."""
    assert solved.third is not None and solved.fourth is not None
    shift, covariance, outer = solved.mean[-1] - centre, solved.covariance[-1], np.multiply.outer
    square = outer(shift, shift)
    # E[(x + s)⁴] = E[x⁴] + 4 E[x³]s + 6 E[x²]s² + s⁴, symmetrised over the places of the factors
    tensor = solved.fourth[-1] + 4 * outer(solved.third[-1], shift) + 6 * outer(covariance, square) + outer(square, square)
    fourth = np.mean([tensor.transpose(places) for places in permutations(range(4))], axis=0)
    return enumeration.Moments(solved.mean[-1], covariance, fourth)


def measure(problem: Problem, ladder: Sequence[float]) -> Errors:
    """Return errors and sizes of the moments at slow time ``TIME`` for every learning rate of the ladder."""
    starts = {name: problem.start for name in QUANTITIES[:3]} | {SPREAD: dfp.Point(problem.start.mean)}
    found: dict[tuple[str, str], list[tuple[float, float]]] = {(m.name, q): [] for m in MODELS for q in m.judged}
    for rate in ladder:
        steps, sgd = round(TIME / rate), dfp.SGD(problem.landscape, rate)
        centre = sgd.critical_point
        for start in (problem.start, starts[SPREAD]):
            truth = enumeration.moments(problem.minibatches, rate, steps, start.mean, start.covariance, centre)
            for model in MODELS:
                solved = about(centre, dfp.solve(model.make(sgd), start, steps, [steps], dfp.MomentRecursion()))
                for quantity in model.judged:
                    if starts[quantity] is start:
                        true, value = (_pick(moments, quantity) for moments in (truth, solved))
                        size = float(np.linalg.norm(true))
                        found[model.name, quantity].append((float(np.linalg.norm(value - true)), size))
    return {key: (np.array(pairs)[:, 0], np.array(pairs)[:, 1]) for key, pairs in found.items()}
