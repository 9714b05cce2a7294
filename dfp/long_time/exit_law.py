"""The law of the number of steps after which the parameters leave a box."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, ndtri

from dfp.checks import Array
from dfp.problem import questions
from dfp.problem.parameters import either, symbol
from dfp.result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Of bounds on what was rarely or never seen.
_CONFIDENCE = 0.95
# Sides of a box that are told in words.
_SIDES = 3
# Probability to leave in a step below which its factor is told by what it lacks to one.
_RARE = 1e-6


class ExitLaw(NamedTuple):
    """What one discretisation says of the number of steps inside."""

    survival: Callable[[int], Array]
    """P(N > 0), … P(N > n), of a number of steps n."""
    mean: float
    leaving: float
    """Probability to leave in a step, in the end."""


@dataclass(frozen=True, repr=False)
class ExitSteps(Result):
    """The law of N, the first step at which the parameters are outside.

    Attributes
    ----------
    steps
        0 … n, shape (n + 1,) [step].
    survival
        P(N > step), the probability of being inside from step 0 to this step, shape (n + 1,).
    mean
        E[N] [step], infinite if some never leave.
    decay
        Factor by which survival falls per step in the end: the leading eigenvalue of the restricted step.
    error
        Estimated absolute error of ``survival``, from a coarser grid.
    mean_error
        Estimated error of ``mean`` [step].
    leaving
        1 − ``decay``, to its own digits where that is rounding; taken from ``decay`` if left out.
    warnings
        What the errors do not say, in words.
    trajectories
        How many were drawn, of which ``error`` and ``mean_error`` are standard errors; 0 where nothing was.
    spread
        Standard errors of ``survival`` by splitting, shape (n + 1,), from the spread of replicates; None without.
    lower, upper
        Corners of the box, shape (d,) [parameter], infinite where there is no wall; None in files of dfp 0.1.
    parameters
        Names of the parameters, theta_1 … without.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.2)
    >>> law = dfp.exit_steps(dfp.MasterEquation(sgd), (-0.6, 0.6), dfp.Point(0.0))
    >>> print(round(law.mean, 1), law.survival[:3].round(3))
    29.5 [1.    0.997 0.979]
    """

    steps: NDArray[np.int64]
    survival: Array
    mean: float
    decay: float
    error: float
    mean_error: float
    leaving: float = np.nan
    warnings: tuple[str, ...] = ()
    trajectories: float = 0
    spread: Array | None = None
    lower: Array | None = None
    upper: Array | None = None
    parameters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.lower is not None:
            object.__setattr__(self, "parameters", either(self.parameters, len(self.lower)))
        if np.isnan(self.leaving):
            object.__setattr__(self, "leaving", 1 - self.decay)

    def __getattr__(self, name: str) -> Any:
        """Make the table of survival when it, or its error, is first asked for (see ``deferred``)."""
        if name not in ("survival", "error") or "_tabulate" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        # What makes the table holds the matrices of a step: it is let go.
        survival, error = self.__dict__["_tabulate"]()
        object.__setattr__(self, "survival", survival)
        object.__setattr__(self, "error", error)
        self.__dict__.pop("_tabulate", None)
        return self.__dict__[name]

    def __getstate__(self) -> dict[str, Any]:
        """Return what pickles and copies keep: the table, not the way to it."""
        self.survival  # noqa: B018 (makes the table)
        return super().__getstate__()

    def _box(self, called: Callable[[str], str] = symbol) -> str:
        """Return the box in words, such as ``−1 < θ₁ < 1, θ₂ < 3``; nothing where it is not known."""
        if self.lower is None or self.upper is None:
            return ""
        sides = list[str]()
        for name, low, high in zip(self.parameters, self.lower.tolist(), self.upper.tolist(), strict=True):
            below, above = f"{_number(low)} < " * (low > -np.inf), f" < {_number(high)}" * (high < np.inf)
            sides += [f"{below}{called(name)}{above}"] * bool(below or above)
        return ", ".join([*sides[:_SIDES], *["…"] * (len(sides) > _SIDES)])

    @property
    def probability(self) -> Array:
        """P(N = step), shape (n + 1,); at step 0 what starts outside."""
        return -np.diff(self.survival, prepend=1.0)

    @property
    def standard_error(self) -> Array:
        """Standard errors of ``survival``, shape (n + 1,); 0 where no trajectories were drawn."""
        if self.spread is not None:
            return self.spread
        if not self.trajectories:
            return np.zeros(len(self.steps))
        near = np.clip(self.survival, 1 / self.trajectories, 1 - 1 / self.trajectories)
        return np.sqrt(near * (1 - near) / self.trajectories)

    @property
    def upper_bound(self) -> Array:
        """What ``survival`` is below with 95 % confidence, shape (n + 1,), of k survivors among n trajectories.

        The bound of Clopper and Pearson (1934), for k = 0 the rule of three, 3/n (Hanley and Lippman-Hand 1983);
        ``survival`` itself where no trajectories were drawn, and so many standard errors above it by splitting.
        """
        if self.spread is not None:
            return np.minimum(self.survival + ndtri(_CONFIDENCE) * self.spread, 1.0)
        if not self.trajectories:
            return self.survival
        kept = np.round(self.survival * self.trajectories)
        with np.errstate(invalid="ignore"):
            bound = betaincinv(kept + 1, self.trajectories - kept, _CONFIDENCE)
        return np.where(kept < self.trajectories, bound, 1.0)

    def quantile(self, share: ArrayLike) -> Any:
        """Return the first steps by which a ``share`` in (0, 1), or each of several, has left [step].

        A number for one share, an array (Q,) for a list. Beyond the last step they are extrapolated by ``decay``; NaN
        where none of the trajectories left late enough to tell it.

        Examples
        --------
        >>> print(exits.quantile(0.5), exits.quantile([0.5, 0.9]))
        8.0 [ 8. 22.]
        """
        return questions.each_share(share, self._by, "share")

    def _by(self, share: float) -> float:
        left = 1 - share
        done = np.flatnonzero(self.survival <= left)
        if done.size:
            return float(self.steps[done[0]])
        if not self.leaving > 0:
            return np.nan if self.trajectories else np.inf
        return float(self.steps[-1] + np.ceil(np.log(left / self.survival[-1]) / np.log1p(-self.leaving)))

    def _in_words(self, share: float) -> str:
        step = self.quantile(share)
        if np.isnan(step):
            return f"{share:.0%} after step {self.steps[-1]}"
        # What is within the table is as well known as that is; what is beyond, as the mean.
        return f"{share:.0%} by {self._told(step) if step > self.steps[-1] else f'{step:.6g}'}"

    def _told(self, number: float) -> str:
        """Return a number of steps with the digits that the error of the mean leaves it, and the next, six at most."""
        known = np.log10(self.mean / self.mean_error) if self.mean_error > 0 else np.inf
        digits = int(np.clip(np.nan_to_num(np.ceil(known), posinf=6) + 1, 1, 6))
        return f"{float(f'{number:.{digits}g}'):.6g}"

    @property
    def _at_the_end(self) -> str:
        if not self.trajectories:
            return f"{self.survival[-1]:.4g} (error {self.error:.1g})"
        count, kept = int(self.trajectories), self.survival[-1]
        if kept:
            return f"{kept:.4g} (error {self.standard_error[-1]:.1g}) of {count} trajectories"
        return f"none of {count} trajectories, so below {self.upper_bound[-1]:.2g} (95 % confidence)"

    def _figure(self) -> "Figure":
        """Survival, and the probability of leaving at each step."""
        from dfp.results.axes import legend
        from dfp.results.figures import exits

        return exits(self.steps, self.survival, self.probability, self.mean, self.leaving, self._box(legend))

    @property
    def _factor(self) -> str:
        return f"{self.decay:.8g}" if self.leaving > _RARE else f"1 − {self.leaving:.4g}"

    def __repr__(self) -> str:
        """Return box, mean and last step in one line."""
        told = f"{self._told(self.mean)} ± {self.mean_error:.1g}"
        where = f" from {self._box()}" if self._box() else ""
        return f"<ExitSteps{where}: {told} steps on average, known up to {self.steps[-1]}>"

    def __str__(self) -> str:
        """Return the figures, one a line."""
        where = f" from {self._box()}" if self._box() else ""
        unseen = self.trajectories and not self.leaving  # nobody left in the second half, as a warning says
        return "\n".join(
            [
                f"exit{where} after {self._told(self.mean)} steps on average (error {self.mean_error:.1g})"
                if not np.isnan(self.mean)
                else f"exit{where} after more than {self.steps[-1]} steps for too many to tell the mean",
                "  " + ", ".join(self._in_words(share) for share in (0.5, 0.9, 0.99)),
                f"  inside after {self.steps[-1]} steps: {self._at_the_end}",
                *([] if unseen else [f"  in the end survival falls by the factor {self._factor} a step"]),
                *(f"  {warning}" for warning in self.warnings),
            ]
        )


def _number(value: float) -> str:
    return f"{value:.4g}".replace("-", "−")


def deferred(
    steps: NDArray[np.int64],
    tabulate: Callable[[], tuple[Array, float]],
    mean: float,
    leaving: float,
    mean_error: float,
    warnings: tuple[str, ...] = (),
) -> ExitSteps:
    """Return a law whose survival and its error are made by ``tabulate`` when they are first asked for."""
    law = object.__new__(ExitSteps)
    fields = {"steps": steps, "mean": mean, "decay": 1 - leaving, "mean_error": mean_error, "leaving": leaving}
    law.__dict__.update(fields, warnings=warnings, trajectories=0, spread=None, _tabulate=tabulate)
    law.__dict__.update(lower=None, upper=None, parameters=())
    return law


def of_box(law: ExitSteps, lower: Array, upper: Array, parameters: tuple[str, ...] | None) -> ExitSteps:
    """Return the same law, which knows its box (d,) and what the parameters are called; nothing is tabulated."""
    found = object.__new__(ExitSteps)
    names = either(parameters or (), len(lower))
    found.__dict__.update(law.__dict__, lower=lower, upper=upper, parameters=names)
    return found
