"""Schedules of least final risk for streaming least squares, by the adjoint of its recursion (T21)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from dfp_solvers import schedule_adjoint, streaming
from numpy.typing import ArrayLike

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError, UnsupportedError
from dfp.problem.gaussian_features import GaussianFeatures
from dfp.problem.state import State

# Iterations of a search, and decades over which the best constant rate is looked for.
_MOST, _DECADES = 400, 4


@dataclass(frozen=True)
class OptimalSchedule:
    """Learning rates and batch sizes of least risk after the last step.

    Attributes
    ----------
    learning_rates
        η_n, shape (n,) [parameter^2 / loss].
    batch_sizes
        B_n, shape (n,); not whole where they were varied: round them, and look at ``dfp.risk_curve``.
    risk
        Excess risk after the last step [loss].
    gradient_norm
        Largest size of η_n ∂log risk/∂η_n that is left where η_n > 0: 0 at an optimum.

    Examples
    --------
    >>> import dfp
    >>> features = dfp.GaussianFeatures([1.0, 0.3, 0.1], noise=0.3, batch_size=4)
    >>> best = dfp.optimal_schedule(features, steps=40, initial=1.0)
    >>> print(best.learning_rates.shape, round(best.risk, 3))
    (40,) 0.006
    """

    learning_rates: Array
    batch_sizes: Array
    risk: float
    gradient_norm: float


def optimal_schedule(
    landscape: GaussianFeatures,
    steps: int,
    initial: State | ArrayLike,
    vary: Sequence[str] = ("learning_rate",),
    *,
    samples: int | None = None,
) -> OptimalSchedule:
    """Return the schedule of least excess risk after ``steps`` steps of SGD on ``landscape``.

    Parameters
    ----------
    landscape
        Streaming least squares, whose batch size is that of every step unless varied.
    steps
        Number of steps, >= 1.
    initial
        State at step 0, or E (θ_i − θ*_i)² of shape (d,) or a number [parameter^2].
    vary
        ``"learning_rate"``, and with it ``"batch_size"``.
    samples
        Σ_n B_n >= ``steps`` that batch sizes share out when they are varied; ``steps`` × the landscape's if left out.

    Raises
    ------
    DFPError
        If a value is out of range.
    UnsupportedError
        If the landscape is another one.

    Notes
    -----
    The gradient in all η_n and B_n costs one run forth and back; the search is L-BFGS-B. It finds a local minimum,
    from the best constant rate and its linear decay.

    Examples
    --------
    >>> import dfp
    >>> features = dfp.GaussianFeatures([1.0, 0.3, 0.1], noise=0.3, batch_size=4)
    >>> best = dfp.optimal_schedule(features, steps=40, initial=1.0)
    >>> constant = dfp.risk_curve(dfp.SGD(features, learning_rate=0.3), 1.0, steps=40).excess_risk[-1]
    >>> print(bool(best.risk < constant), bool(best.learning_rates[0] > best.learning_rates[-1]))
    True True
    """
    if not isinstance(landscape, GaussianFeatures):
        raise UnsupportedError(
            f"landscape={checks.shown(landscape)}: schedules are optimised for streaming least squares; give a "
            "dfp.GaussianFeatures(...)."
        )
    count, names = checks.integer("steps", steps, at_least=1), _names(vary)
    batch = float(landscape.batch_size)
    if samples is not None and "batch_size" not in names:
        raise DFPError(f"samples={samples}: is shared out by batch sizes; add 'batch_size' to vary, or leave it out.")
    budget = batch * count if samples is None else float(checks.integer("samples", samples, at_least=count))
    checks.require_memory(f"steps={count}: states of all steps", 8.0 * count * landscape.dimension, "take fewer steps")
    search = _Search(landscape, _second_moments(landscape, initial), np.full(count, batch), budget)
    found = search.rates()
    return search.both(found) if "batch_size" in names else found


def _names(vary: Sequence[str]) -> tuple[str, ...]:
    names = (vary,) if isinstance(vary, str) else tuple(vary)
    for name in names:
        checks.choice("vary", name, ("learning_rate", "batch_size"))
    if "learning_rate" not in names:
        raise DFPError(f"vary={names}: learning rates are always optimised; add 'learning_rate'.")
    return names


def _second_moments(landscape: GaussianFeatures, initial: State | ArrayLike) -> Array:
    d = landscape.dimension
    if isinstance(initial, State):
        mean = checks.matching("initial.mean", initial.mean, (d,))
        variances = np.zeros(d) if initial.point else initial.covariance.diagonal()
        return (mean - landscape.optimum) ** 2 + variances
    given = checks.vector("initial", initial, d)
    if given.min() < 0:
        raise DFPError(f"initial has the entry {given.min():.3g}: mean squares must be >= 0.")
    return given


class _Search:
    """The logarithm of the final risk as a function of a schedule, and its minimisation."""

    def __init__(self, landscape: GaussianFeatures, start: Array, batches: Array, budget: float) -> None:
        self.c, self.start, self.variance = np.ascontiguousarray(landscape.curvatures), start, landscape.label_noise
        self.batches, self.budget = batches, budget
        largest = float(self.c.max())
        if not (largest > 0 and float(self.c @ start) > 0):
            raise DFPError(
                "initial: the risk is zero at step 0, so that there is nothing to optimise; start elsewhere."
            )
        self.most = 2 / largest

    def log_risk(self, rates: Array, batches: Array) -> tuple[float, Array, Array]:
        """Return log R and its gradients; a large number where R is out of range."""
        risk, in_rates, in_batches = schedule_adjoint.risk_gradient(self.start, self.c, rates, batches, self.variance)
        if not (0 < risk < np.inf):
            return 1e3, np.zeros_like(rates), np.zeros_like(rates)
        return float(np.log(risk)), in_rates / risk, in_batches / risk

    def rates(self) -> OptimalSchedule:
        """Return the best learning rates for the batch sizes as they are."""
        from scipy import optimize

        shapes = np.ones(self.batches.size), 1 - np.arange(self.batches.size) / self.batches.size
        heights = self.most * np.geomspace(10.0**-_DECADES, 0.5, 4 * _DECADES)
        trials = [height * shape for shape in shapes for height in heights]
        with np.errstate(over="ignore", invalid="ignore"):
            values = [streaming.risks(self.start.copy(), self.c, t, self.batches, self.variance)[-1] for t in trials]
            best = trials[int(np.nanargmin(values))]
            unit = float(best.max())

            def objective(x: Array) -> tuple[float, Array]:
                value, slope, _ = self.log_risk(x * unit, self.batches)
                return value, slope * unit

            bounds = optimize.Bounds(0.0, self.most / unit)
            # Differences of log R are rounding from here on.
            options = {"maxiter": _MOST, "ftol": 1e-15, "gtol": 1e-10, "maxcor": 20}
            found = optimize.minimize(
                objective, best / unit, jac=True, method="L-BFGS-B", bounds=bounds, options=options
            )
        return self._result(found.x * unit, self.batches)

    def both(self, begun: OptimalSchedule) -> OptimalSchedule:
        """Return the best learning rates and batch sizes B_n = 1 + (S − n) softmax(z)_n, S the samples."""
        from scipy import optimize

        n, unit = self.batches.size, float(begun.learning_rates.max())
        spare = self.budget - n

        def shares(z: Array) -> Array:
            weights = np.exp(z - z.max())
            return weights / weights.sum()

        def objective(x: Array) -> tuple[float, Array]:
            part = shares(x[n:])
            value, slope, steep = self.log_risk(x[:n] * unit, 1 + spare * part)
            return value, np.concatenate([slope * unit, spare * part * (steep - part @ steep)])

        bounds = [(0.0, self.most / unit)] * n + [(-30.0, 30.0)] * n
        options = {"maxiter": 4 * _MOST, "maxfun": 10 * _MOST, "ftol": 1e-15, "gtol": 1e-10, "maxcor": 20}
        first = np.concatenate([begun.learning_rates / unit, np.zeros(n)])
        found = optimize.minimize(objective, first, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        return self._result(found.x[:n] * unit, 1 + spare * shares(found.x[n:]))

    def _result(self, rates: Array, batches: Array) -> OptimalSchedule:
        value, slope, _ = self.log_risk(rates, batches)
        return OptimalSchedule(rates, batches.copy(), float(np.exp(value)), float(np.max(np.abs(rates * slope))))
