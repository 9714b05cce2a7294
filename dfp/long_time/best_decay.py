"""The decay of an exponential average with the least excess risk at a step."""

from dataclasses import dataclass, field

import numpy as np
from dfp_solvers import averages
from numpy.typing import NDArray

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError
from dfp.exact.averages import factors
from dfp.exact.moments import Moments, path
from dfp.long_time.observables import excess_loss
from dfp.problem.arguments import check_problem
from dfp.problem.averages import ExponentialAverage
from dfp.problem.equations import MasterEquation
from dfp.problem.sgd import SGD
from dfp.problem.state import Ending, State, started
from dfp.result import Result, remembered

# Values of 1 − γ compared at a time, evenly on a logarithmic axis, and how often the best neighbourhood is divided.
_VALUES, _DIVISIONS = 48, 4
# Largest number of steps that an average looks back, in units of the horizon.
_LONGEST = 100.0


@dataclass(frozen=True, repr=False)
class BestDecay(Result):
    """What ``dfp.best_decay`` returns.

    Attributes
    ----------
    decay
        γ; 0 where no average is better than the last iterate.
    risk
        Excess risk of that average at the horizon [loss].
    last_risk
        That of the last iterate [loss].
    decays, risks
        What was compared: decays, ascending, and the excess risks of their averages, shapes (G,).

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.2)
    >>> best = dfp.best_decay(sgd, dfp.Point([1.0]), steps=100)
    >>> print(f"γ = {best.decay:.2f}, risk {best.risk:.4f} in place of {best.last_risk:.4f}")
    γ = 0.97, risk 0.0081 in place of 0.0556
    """

    decay: float
    risk: float
    last_risk: float
    decays: Array | None = field(default=None, compare=False)
    risks: Array | None = field(default=None, compare=False)


@remembered
def best_decay(sgd: SGD, initial: State | Ending, steps: int) -> BestDecay:
    """Return the decay γ with the least excess risk ½E[(m−θ*)ᵀH(m−θ*)] of the average at step ``steps`` (T20).

    Parameters
    ----------
    sgd
        The dynamics, with replacement, on a quadratic landscape; any noise with a variance.
    initial
        State at step 0, or a ``Solution`` to go on from, where the average starts too.
    steps
        Horizon, >= 1.

    Returns
    -------
    BestDecay
        ``decay``, ``risk`` and ``last_risk``, and the curve they are of. Decays from 0 to
        1 − 1/(100 ``steps``) are compared, 48 at a time.

    Raises
    ------
    DFPError
        If an argument is malformed, or the moments overflow.
    UnsupportedError
        If the landscape is nonlinear, sampling without replacement, or the noise has no variance.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.2)
    >>> print(round(dfp.best_decay(sgd, dfp.Point([1.0]), steps=100).decay, 2))
    0.97
    """
    initial = started(initial, moments=True)
    sgd = ExponentialAverage(sgd, 0.0).sgd  # checked there
    equation = MasterEquation(sgd)
    check_problem(equation, initial, moving=True, average=True)
    horizon = checks.integer("steps", steps, at_least=1)
    size = sgd.dimension**2 * (2 if sgd.momentum else 1)
    checks.require_memory(
        f"sgd: {_VALUES} averages of {sgd.dimension} parameters",
        8.0 * 8 * _VALUES * size,
        "follow a few with dfp.moments(...)",
    )
    states = path(equation, initial, horizon)
    lower, upper, compared = -np.log(_LONGEST * horizon), 0.0, []
    for division in range(_DIVISIONS):
        logarithms = np.linspace(lower, upper, _VALUES)
        risks = _risks(sgd, states, np.exp(logarithms))
        compared.append(np.stack([logarithms, risks]))
        if division == 0:
            last = float(risks[-1])  # 1 − γ = 1
        best = int(np.argmin(risks))
        lower, upper = logarithms[max(best - 1, 0)], logarithms[min(best + 1, _VALUES - 1)]
    if not checks.finite(risks):
        raise DFPError(f"step {horizon}: the excess risk overflows; lower learning_rate or steps.")
    curve = np.concatenate(compared, axis=1)
    curve = curve[:, np.unique(curve[0], return_index=True)[1][::-1]]
    return BestDecay(
        float(0.0 - np.expm1(logarithms[best])), float(risks[best]), last, 0.0 - np.expm1(curve[0]), curve[1]
    )


def _risks(sgd: SGD, states: tuple[Array, Array], weights: Array) -> Array:
    """Return the excess risks of averages with 1 − γ = ``weights`` (G,) at the last step of the path, shape (G,)."""
    horizon, d, many = len(states[0]) - 1, sgd.dimension, weights.size
    start = np.broadcast_to(states[0][0, :d], (many, d)), np.broadcast_to(states[1][0][:d, :d], (many, d, d))
    for at in averages.follow(factors(sgd, horizon), (weights for _ in range(horizon)), *states, start):
        mean, covariance = at
    steps: NDArray[np.int64] = np.full(many, horizon)
    return excess_loss(sgd, Moments(steps, mean, covariance))
