"""Schedules of least final risk for streaming least squares, by the adjoint of its recursion (T21)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from dfp_solvers import descent, schedule_adjoint
from numpy.typing import ArrayLike

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError, UnsupportedError
from dfp.problem.gaussian_features import GaussianFeatures
from dfp.problem.state import Ending, State, started
from dfp.result import Result, remembered

# Steps of a search, the decrease of log R that ends it, and decades over which the best constant rate is looked for.
_MOST, _DECREASE, _DECADES = 200, 1e-12, 4
# Momenta that are tried first, and the largest; shares of a bound where a search may begin.
_MOMENTA, _HEAVIEST, _INSIDE = (0.05, 0.5, 0.8, 0.9, 0.95, 0.98), 0.999, 1e-9


@dataclass(frozen=True, eq=False, repr=False)
class OptimalSchedule(Result):
    """Learning rates, batch sizes and momenta of least risk after the last step.

    Attributes
    ----------
    learning_rates
        η_n, shape (n,) [parameter^2 / loss].
    batch_sizes
        B_n, shape (n,); not whole where they were varied: round them, and look at ``dfp.risk_curve``.
    momenta
        β_n <= .999, shape (n,): v' = β_n v + g, θ' = θ − η_n v'; 0 unless varied.
    risk
        Excess risk after the last step [loss].
    gradient_norm
        Largest size of η_n ∂log risk/∂η_n that is left where η_n is not the largest allowed: 0 at an optimum.

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
    momenta: Array
    risk: float
    gradient_norm: float


@remembered
def optimal_schedule(
    landscape: GaussianFeatures,
    steps: int,
    initial: State | Ending | ArrayLike,
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
        State at step 0, a ``Solution`` to go on from, or E (θ_i − θ*_i)² of shape (d,) or a number [parameter^2].
    vary
        ``"learning_rate"``, and with it ``"batch_size"``, ``"momentum"`` or both.
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
    The gradient in all η_n, B_n and β_n costs one run forth and back; the search is L-BFGS in angles, η_n the sine
    squared of one times the bound 2/λ_max, with momentum 4/λ_max. It finds a local minimum, from the best constant
    rate or its linear decay, with momentum the best constant β. Where η_n beyond 1/λ_max is worth it, schedules that
    alternate between large and small steps (as Chebyshev's) are a per cent better than the smooth one, which is found
    first; after 200 steps the search ends between them, and ``gradient_norm`` says so.

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
    states = (3 if "momentum" in names else 1) * count * landscape.dimension
    checks.require_memory(f"steps={count}: states of all steps", 8.0 * states, "take fewer steps")
    return _Search(landscape, _second_moments(landscape, initial), count, budget, names).best()


def _names(vary: Sequence[str]) -> tuple[str, ...]:
    names = (vary,) if isinstance(vary, str) else tuple(vary)
    for name in names:
        checks.choice("vary", name, ("learning_rate", "batch_size", "momentum"))
    if "learning_rate" not in names:
        raise DFPError(f"vary={names}: learning rates are always optimised; add 'learning_rate'.")
    return names


def _second_moments(landscape: GaussianFeatures, initial: State | Ending | ArrayLike) -> Array:
    d = landscape.dimension
    start: Any = started(initial, moments=True)
    if getattr(start, "joint", None) is not None:
        raise UnsupportedError("initial: it has velocities, and schedules begin at rest; give a dfp.Gaussian.")
    if isinstance(start, State):
        mean = checks.matching("initial.mean", start.mean, (d,))
        variances = np.zeros(d) if start.point else start.covariance.diagonal()
        return (mean - landscape.optimum) ** 2 + variances
    given = checks.vector("initial", initial, d)
    if given.min() < 0:
        raise DFPError(f"initial has the entry {given.min():.3g}: mean squares must be >= 0.")
    return given


class _Search:
    """The logarithm of the final risk as a function of a schedule, and its minimisation."""

    def __init__(
        self, landscape: GaussianFeatures, start: Array, steps: int, budget: float, names: tuple[str, ...]
    ) -> None:
        self.c, self.start, self.variance = np.ascontiguousarray(landscape.curvatures), start, landscape.label_noise
        self.steps, self.batch, self.budget = steps, float(landscape.batch_size), budget
        self.heavy, self.shared = "momentum" in names, "batch_size" in names
        largest = float(self.c.max())
        if not (largest > 0 and float(self.c @ start) > 0):
            raise DFPError(
                "initial: the risk is zero at step 0, so that there is nothing to optimise; start elsewhere."
            )
        self.most = (4 if self.heavy else 2) / largest

    def log_risk(self, rates: Array, batches: Array, momenta: Array) -> tuple[float, Array, Array, Array]:
        """Return log R and its gradients; infinite where R is out of range."""
        given = self.start, self.c, rates, batches
        if self.heavy:
            risk, *slopes = schedule_adjoint.heavy_risk_gradient(*given, momenta, self.variance)
        else:
            risk, *slopes = schedule_adjoint.risk_gradient(*given, self.variance)
            slopes.append(np.zeros_like(rates))
        if not (0 < risk < np.inf):
            nothing = np.zeros_like(rates)
            return np.inf, nothing, nothing, nothing
        first, second, third = (slope / risk for slope in slopes)
        return float(np.log(risk)), first, second, third

    def best(self) -> OptimalSchedule:
        """Return the best schedule: of learning rates for equal batches first, then of all that is varied."""
        rates, momentum = self._simple()
        n, equal = self.steps, np.full(self.steps, self.batch)
        momenta = np.full(n, momentum)
        angles = np.arcsin(np.sqrt(np.clip(rates / self.most, _INSIDE, 1 - _INSIDE)))
        turned = np.arcsin(np.sqrt(np.clip(momenta / _HEAVIEST, _INSIDE, 1 - _INSIDE)))

        def settings(x: Array) -> tuple[Array, Array]:
            return self.most * np.sin(x[:n]) ** 2, _HEAVIEST * np.sin(x[n : 2 * n]) ** 2 if self.heavy else momenta

        def objective(x: Array) -> tuple[float, Array]:
            value, in_rates, _, in_momenta = self.log_risk(settings(x)[0], equal, settings(x)[1])
            slopes = np.concatenate([self.most * in_rates, _HEAVIEST * in_momenta])[: x.size]
            return value, slopes * np.sin(2 * x)

        begun = np.concatenate([angles, turned]) if self.heavy else angles
        found = self._minimised(objective, begun)
        if not self.shared:
            return self._result(settings(found)[0], equal, settings(found)[1])
        spare = self.budget - n

        def shares(z: Array) -> Array:
            weights = np.exp(z - z.max())
            return weights / weights.sum()

        def whole(x: Array) -> tuple[float, Array]:
            rest, part = x[:-n], shares(x[-n:])
            value, in_rates, steep, in_momenta = self.log_risk(settings(rest)[0], 1 + spare * part, settings(rest)[1])
            slopes = np.concatenate([self.most * in_rates, _HEAVIEST * in_momenta])[: rest.size] * np.sin(2 * rest)
            return value, np.concatenate([slopes, spare * part * (steep - part @ steep)])

        found = self._minimised(whole, np.concatenate([found, np.zeros(n)]))
        return self._result(settings(found)[0], 1 + spare * shares(found[-n:]), settings(found)[1])

    def _minimised(self, objective: Callable[[Array], tuple[float, Array]], start: Array) -> Array:
        with np.errstate(over="ignore", invalid="ignore"):
            return descent.minimise(objective, start, most=_MOST, decrease=_DECREASE, slope=1e-10)

    def _simple(self) -> tuple[Array, float]:
        """Return the best constant or linearly falling learning rates, and the best constant momentum with them."""
        n, equal = self.steps, np.full(self.steps, self.batch)
        shapes = np.ones(n), 1 - np.arange(n) / n
        trials = []
        with np.errstate(over="ignore", invalid="ignore"):
            for momentum in _MOMENTA if self.heavy else (0.0,):
                for height in self.most * (1 - momentum) * np.geomspace(10.0**-_DECADES, 0.5, 4 * _DECADES):
                    for shape in shapes:
                        value = self.log_risk(height * shape, equal, np.full(n, momentum))[0]
                        trials.append((value, height * shape, momentum))
        return min(trials, key=lambda trial: trial[0])[1:]

    def _result(self, rates: Array, batches: Array, momenta: Array) -> OptimalSchedule:
        value, slope, _, _ = self.log_risk(rates, batches, momenta)
        left = np.abs(rates * slope) * (rates < self.most * (1 - 1e-9))
        return OptimalSchedule(rates, batches, momenta, float(np.exp(value)), float(left.max()))
