"""Risk of streaming least squares, exact in any dimension at O(d) a step (T21)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from dfp_solvers import streaming, volterra
from numpy.typing import ArrayLike, NDArray

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError, UnsupportedError
from dfp.problem.gaussian_features import GaussianFeatures
from dfp.problem.sgd import SGD
from dfp.result import Result, remembered


@dataclass(frozen=True, eq=False, repr=False)
class RiskCurve(Result):
    """Excess risk of streaming least squares at saved steps.

    Attributes
    ----------
    steps
        Shape (S,) [step].
    excess_risk
        ½ Σ_i λ_i E δ_i², δ = θ − θ*, shape (S,) [loss]; not finite where it overflows.
    second_moments
        E δ_i² at the last step, shape (d,) [parameter^2].

    Examples
    --------
    >>> import dfp
    >>> features = dfp.GaussianFeatures([1.0, 0.3, 0.1], noise=0.3, batch_size=4)
    >>> curve = dfp.risk_curve(dfp.SGD(features, learning_rate=0.3), 1.0, steps=40, save=[0, 10, 40])
    >>> print(curve.steps, curve.excess_risk.round(3))
    [ 0 10 40] [0.7   0.066 0.015]
    """

    steps: NDArray[np.int64]
    excess_risk: Array
    second_moments: Array


@remembered
def risk_curve(sgd: SGD, second_moments: ArrayLike, steps: int, save: Sequence[int] | None = None) -> RiskCurve:
    """Return the exact excess risk of SGD on ``GaussianFeatures``.

    Parameters
    ----------
    sgd
        On a ``dfp.GaussianFeatures``, with replacement, without weight decay; momentum and schedules of learning rate
        and batch size are taken.
    second_moments
        E (θ_i − θ*_i)² at step 0, shape (d,), or a number for every axis [parameter^2]; v = 0 at step 0.
    steps
        Last step, >= 0.
    save
        Steps to return; every step 0 … ``steps`` if left out.

    Raises
    ------
    DFPError
        If a value is out of range.
    UnsupportedError
        If the landscape is another one, or there is weight decay.

    Examples
    --------
    >>> import dfp
    >>> features = dfp.GaussianFeatures([1.0, 0.3, 0.1], noise=0.3, batch_size=4)
    >>> print(dfp.risk_curve(dfp.SGD(features, learning_rate=0.3), 1.0, 40, [0, 10, 40]).excess_risk.round(4))
    [0.7    0.0659 0.0148]
    """
    landscape = _streaming(sgd)
    last, saved = _steps(steps, save)
    m = _squares(second_moments, landscape)
    rates = np.ascontiguousarray(sgd.learning_rates.values(0, last), dtype=np.float64)
    batches = np.full(last, float(landscape.batch_size))
    if sgd.batches is not None:
        batches = np.ascontiguousarray(sgd.batches.values(0, last), dtype=np.float64)
    c, beta = np.ascontiguousarray(landscape.curvatures), sgd.momentum
    if beta == 0:
        risks = streaming.risks(m, c, rates, batches, landscape.label_noise)
    else:
        p, q = (1 + beta, beta**2) if sgd.nesterov else (1.0, beta)
        state = np.array([m, np.zeros_like(m), np.zeros_like(m)])
        risks = streaming.heavy_risks(state, c, rates, batches, landscape.label_noise, p, q, beta)
        m = state[0]
    return RiskCurve(saved, risks[saved], m)


def volterra_curve(sgd: SGD, second_moments: ArrayLike, steps: int, save: Sequence[int] | None = None) -> RiskCurve:
    """Return the excess risk in the limit of high dimension, where it solves a Volterra equation in slow time τ = ηn.

    R(τ) = ½ Σ λ_i E δ_i(0)² e^{−2λ_i τ} + ∫ K(τ − s) (R(s) + σ²/2) ds with K(τ) = (η/B) Σ λ_i² e^{−2λ_i τ}. With
    η = γ/d and d → ∞ at a given law of curvatures, ``risk_curve`` differs from it by O(1/d): the limit lacks the
    curvature noise that a mode makes for itself, and takes steps for a flow.

    Parameters
    ----------
    sgd
        Plain, on a ``dfp.GaussianFeatures``, with one learning rate and batch size.
    second_moments, steps, save
        As of ``risk_curve``.

    Raises
    ------
    DFPError
        If a value is out of range.
    UnsupportedError
        If the landscape is another one, or SGD is not plain.

    Notes
    -----
    C. Paquette, K. Lee, F. Pedregosa, E. Paquette, "SGD in the Large" (2021), arXiv:2102.04396.

    Examples
    --------
    >>> import dfp
    >>> features = dfp.GaussianFeatures([1.0] * 200, noise=0.3, batch_size=8)
    >>> sgd = dfp.SGD(features, learning_rate=0.02)
    >>> for curve in (dfp.volterra_curve, dfp.risk_curve):
    ...     print(curve(sgd, 1.0, 100, save=[0, 10, 100]).excess_risk.round(2))
    [100.    74.09   5.03]
    [100.    74.1    5.03]
    """
    landscape = _streaming(sgd)
    if not sgd.plain:
        raise UnsupportedError(f"SGD has {sgd.features}: the limit is that of plain SGD; use dfp.risk_curve(...).")
    last, saved = _steps(steps, save)
    m = _squares(second_moments, landscape)
    batch = float(landscape.batch_size if sgd.batch_size is None else sgd.batch_size)
    times = sgd.learning_rate * np.append(saved, last)
    risks, m = volterra.risks(m, landscape.curvatures, sgd.learning_rate, batch, landscape.label_noise, times)
    return RiskCurve(saved, risks[:-1], m)


def _steps(steps: int, save: Sequence[int] | None) -> tuple[int, NDArray[np.int64]]:
    last = checks.last_step(steps)
    return last, np.arange(last + 1) if save is None else checks.step_list("save", save, last)


def _squares(second_moments: ArrayLike, landscape: GaussianFeatures) -> Array:
    m = checks.vector("second_moments", second_moments, landscape.dimension).copy()
    if m.min() < 0:
        raise DFPError(f"second_moments has the entry {m.min():.3g}: mean squares must be >= 0.")
    return m


def stationary_risk(sgd: SGD) -> float:
    """Return the excess risk in the stationary state, ½σ²κ/(1 − κ); infinite where second moments grow for ever.

    κ = Σ_i ηλ_i / (B(2 − ηλ_i) − ηλ_i) must be below one, with every term positive: stability in mean square.

    Raises
    ------
    UnsupportedError
        If the landscape is another one, or there is momentum, weight decay or a schedule.

    Examples
    --------
    >>> import dfp
    >>> features = dfp.GaussianFeatures([1.0, 0.3, 0.1], noise=0.3, batch_size=4)
    >>> print(round(dfp.stationary_risk(dfp.SGD(features, learning_rate=0.3)), 4))
    0.0099
    """
    landscape = _streaming(sgd)
    if sgd.momentum or sgd.scheduled:
        raise UnsupportedError(
            f"SGD has {sgd.features}: the closed form is that of plain SGD; run dfp.risk_curve(...) until it settles."
        )
    batch = landscape.batch_size if sgd.batch_size is None else sgd.batch_size
    kappa = streaming.amplification(landscape.curvatures, sgd.learning_rate, batch)
    return landscape.label_noise / 2 * kappa / (1 - kappa) if kappa < 1 else np.inf


def _streaming(sgd: SGD) -> GaussianFeatures:
    if not isinstance(sgd, SGD) or not isinstance(sgd.landscape, GaussianFeatures):
        raise UnsupportedError(
            f"sgd={checks.shown(sgd)}: this is the risk of streaming least squares; give a dfp.SGD on "
            "dfp.GaussianFeatures(...), or use dfp.moments(...) and dfp.excess_loss(...)."
        )
    if sgd.moves:
        raise UnsupportedError("preconditioner or temperature: risk curves do not take them; use dfp.moments(...).")
    if sgd.weight_decay:
        raise UnsupportedError(
            f"weight_decay={sgd.weight_decay:g}: moves the minimum, so that second moments about it do not close on "
            "the diagonal; use dfp.moments(...)."
        )
    return sgd.landscape


def threshold(landscape: GaussianFeatures, batch: int) -> float:
    """Return the learning rate at which κ of (T21) reaches 1 with ``batch`` samples a step.

    Raises
    ------
    DFPError
        If no curvature is positive: every learning rate is then stable.
    """
    from scipy import optimize

    largest = float(landscape.curvatures.max())
    if largest == 0:
        raise DFPError("curvatures are all zero: no learning rate is too large; give a positive curvature.")
    # Each mode alone is stable below, and κ grows from 0 without end on the way there.
    end = 2 / (largest * (1 + 1 / batch))

    def missing(share: float) -> float:
        return 1 - 1 / streaming.amplification(landscape.curvatures, share * end, batch)

    return end * float(optimize.brentq(missing, 1e-16, 1 - 1e-15, xtol=1e-15, rtol=1e-14))
