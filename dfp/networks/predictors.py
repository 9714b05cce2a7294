"""Quadratic landscapes of a measured network, from the authors' formula to the exact finite sum (T8–T18)."""

from typing import Any, NamedTuple

import numpy as np

import dfp
from dfp.checks import Array
from dfp.errors import DFPError
from dfp.networks.measurement import Measurement

LABELS = {
    "authors": "authors' formula",
    "langevin": "Langevin (T6)",
    "additive": "additive noise",
    "own": "own curvature noise",
    "table": "table of curvature noise",
    "sum": "finite sum in the subspace",
    "closure": "Gaussian closure",
}
"""Predictors by key, from the crudest to the finest, with the names figures use."""
# The authors add this to 2|λ|.
AUTHORS_EPSILON = 1e-6


# Without replacement, curvature noise below this share of the variance is small beside sampling errors.
SMALL_SHARE = 0.05


class Rule(NamedTuple):
    """How SGD is run."""

    learning_rate: float
    batch_size: int
    momentum: float = 0.0
    nesterov: bool = False
    replace: bool = True


class Predicted(NamedTuple):
    """Mean and variance along each direction at saved steps, shapes (S, k); NaN where a predictor does not reach."""

    mean: Array
    variance: Array
    note: str = ""


def landscape(measured: Measurement, predictor: str, batch_size: int) -> "dfp.QuadraticLandscape":
    """Return the quadratic landscape of a predictor in the coordinates x = Uᵀ(θ − checkpoint).

    Parameters
    ----------
    measured
        The measurement.
    predictor
        ``"additive"``: noise as at the checkpoint; ``"own"``: with Var(H̃_ii); ``"table"``: with all Var(H̃_ik);
        ``"sum"``: the exact finite sum, in the measurement's subspace; ``"authors"``: curvatures |λ| + 5e-7.
    batch_size
        B.
    """
    if predictor == "sum":
        inside = measured.subspace
        return dfp.QuadraticLandscape.from_samples(
            measured.sample_hessians, measured.sample_gradients[:, inside], batch_size
        )
    noise = measured.covariance / batch_size
    if predictor == "authors":
        curvatures = np.abs(measured.curvatures) + AUTHORS_EPSILON / 2
        return dfp.QuadraticLandscape(curvatures, 0.0, dfp.GaussianNoise(np.diag(measured.gradient_noise) / batch_size))
    table = measured.table / batch_size
    spreads: dict[str, Array | float] = {"additive": 0.0, "own": np.diag(table), "table": table}
    return dfp.QuadraticLandscape(measured.hessian, measured.gradient, dfp.GaussianNoise(noise, spreads[predictor]))


def moments(measured: Measurement, predictor: str, rule: Rule, saved: np.ndarray) -> Predicted:
    """Return what one of the quadratic predictors says, from the checkpoint at step 0."""
    if predictor == "authors":
        return _authors(measured, rule, saved)
    if not rule.replace and predictor != "langevin":
        return _without_replacement(measured, predictor, rule, saved)
    if predictor == "own" and _diagonal(measured):
        return _mode_by_mode(measured, rule, saved)
    kind = "additive" if predictor == "langevin" else predictor
    bowl = landscape(measured, kind, rule.batch_size)
    sgd = dfp.SGD(bowl, rule.learning_rate, rule.momentum, nesterov=rule.nesterov)
    if predictor == "langevin":
        return _solved(measured, dfp.Langevin(sgd, noise="frozen"), saved)
    inside = measured.subspace if predictor == "sum" else np.arange(len(measured.curvatures))
    return _solved(measured, dfp.MasterEquation(sgd), saved, inside)


def _solved(measured: Measurement, equation: Any, saved: np.ndarray, inside: np.ndarray | None = None) -> Predicted:
    start = dfp.Point(np.zeros(equation.dimension))
    found = dfp.moments(equation, start, int(saved[-1]), [int(n) for n in saved])
    variance = np.einsum("sii->si", found.covariance)
    if inside is None or len(inside) == len(measured.curvatures):
        return Predicted(found.mean, variance)
    nothing: Array = np.full((len(saved), len(measured.curvatures)), np.nan)
    result = Predicted(nothing.copy(), nothing)
    result.mean[:, inside], result.variance[:, inside] = found.mean, variance
    return result


def _diagonal(measured: Measurement) -> bool:
    """Tell whether the directions are eigenvectors of the mean Hessian, but for rounding."""
    off = measured.hessian - np.diag(measured.curvatures)
    return bool(np.abs(off).max() <= 1e-9 * np.abs(measured.hessian).max())


def _mode_by_mode(measured: Measurement, rule: Rule, saved: np.ndarray) -> Predicted:
    """Return the moments with own curvature noise, whose variances close mode by mode: many small problems."""
    found = []
    for i, curvature in enumerate(measured.curvatures):
        noise = dfp.GaussianNoise(measured.covariance[i, i] / rule.batch_size, [measured.table[i, i] / rule.batch_size])
        sgd = dfp.SGD(
            dfp.QuadraticLandscape([curvature], measured.gradient[i], noise), rule.learning_rate, rule.momentum,
            nesterov=rule.nesterov,
        )  # fmt: skip
        found.append(_solved(measured, dfp.MasterEquation(sgd), saved))
    return Predicted(np.hstack([one.mean for one in found]), np.hstack([one.variance for one in found]))


def _authors(measured: Measurement, rule: Rule, saved: np.ndarray) -> Predicted:
    """Return η Var(G)/(2|λ| + 1e-6) at every step, the stationary variance of (T6): no time enters."""
    noise, curvatures = measured.gradient_noise / rule.batch_size, np.abs(measured.curvatures)
    variance = rule.learning_rate * noise / (2 * curvatures + AUTHORS_EPSILON)
    return Predicted(np.zeros((len(saved), len(noise))), np.tile(variance, (len(saved), 1)))


def _without_replacement(measured: Measurement, predictor: str, rule: Rule, saved: np.ndarray) -> Predicted:
    """Return (T18) mode by mode, and the exact finite sum where its sets of samples are few."""
    k = len(measured.curvatures)
    nothing = np.full((len(saved), k), np.nan)
    if predictor == "sum":
        sgd = dfp.SGD(landscape(measured, "sum", rule.batch_size), rule.learning_rate, rule.momentum, replace=False)
        try:
            return _solved(measured, dfp.MasterEquation(sgd), saved, measured.subspace)
        except DFPError as error:
            return Predicted(nothing, nothing, str(error))
    if predictor != "additive":
        return Predicted(nothing, nothing, "needs independent minibatches: no closed recursion within an epoch")
    if not _diagonal(measured):
        return Predicted(nothing, nothing, "directions are no eigenvectors of the mean Hessian")
    mean, variance = nothing.copy(), nothing.copy()
    for i in range(k):
        curvature = np.full((measured.samples, 1, 1), measured.curvatures[i])
        bowl = dfp.QuadraticLandscape.from_samples(curvature, measured.sample_gradients[:, i : i + 1], rule.batch_size)
        sgd = dfp.SGD(bowl, rule.learning_rate, rule.momentum, replace=False, nesterov=rule.nesterov)
        found = dfp.moments(dfp.MasterEquation(sgd), dfp.Point([0.0]), int(saved[-1]), [int(n) for n in saved])
        mean[:, i], variance[:, i] = found.mean[:, 0], found.covariance[:, 0, 0]
    return Predicted(mean, variance)


def curvature_share(measured: Measurement, rule: Rule, steps: np.ndarray) -> Array:
    """Return the share of curvature noise in the variance within an epoch without replacement, shape (S, k).

    Step m of an epoch leaves (N − mB)/(N − 1) of additive noise (T18); curvature noise, which does not cancel as the
    epoch ends, is η²m/(2B) Σ_k Var(H̃_ik) C_kk/C_ii of what there would be with replacement (tables of single samples).
    """
    within = (steps[:, None] - 1) % (measured.samples // rule.batch_size) + 1
    loud = ~measured.diagnostics.silent
    noise = np.where(loud, measured.gradient_noise, np.inf)
    fed = measured.table @ np.where(loud, measured.gradient_noise, 0.0) / noise
    left = np.maximum(measured.samples - within * rule.batch_size, 0) / (measured.samples - 1)
    curved = rule.learning_rate**2 * within / (2 * rule.batch_size) * fed
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(left > 0, curved / left, np.inf)
    return np.where(steps[:, None] > 0, share, 0.0)
