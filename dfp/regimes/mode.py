"""One mode of SGD: an eigendirection of the mean Hessian, its regime and the numbers that decide it (section 4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from dfp_solvers import embedding, mode_moments
from dfp_solvers.trajectories.products import OptimiserStep

from dfp import checks
from dfp.checks import Array
from dfp.problem.parameters import told, unnamed
from dfp.regimes.multiplier import Estimate, Multiplier, mean_increment, mean_matrix
from dfp.result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REGIMES = ("confined", "heavy-tailed", "diffusive", "unstable", "borderline", "frozen", "interpolating")
# Numbers that should vanish, relative to what they are differences of.
_ROUNDING = 1e-14
# Share of its gradient noise at the origin that a mode nearly interpolates with: a tenth of a per cent of the size.
_NEARLY = 1e-6
LEAST = 0.05
"""Components of a direction below this are not told."""
COLUMNS = (
    ("curvature", "λ"),
    ("curvature_noise", "Γ"),
    ("gradient_noise", "D"),
    ("gradient", "ḡ"),
    ("growth", "ρ₂"),
    ("lyapunov_exponent", "ℓ"),
    ("tail_index", "κ"),
    ("langevin_tail_index", "κ_L"),
    ("stationary_variance", "V_∞"),
    ("langevin_stationary_variance", "V_∞ (T6)"),
    ("saturation_step", "steps"),
    ("diffusion_coefficient", "D_eff"),
)
"""Numbers of a mode that printed tables show, with their symbols."""
_MORE = (
    "correlation", "critical_noise", "lyapunov_error", "tail_index_error", "time_scale", "largest_stable_learning_rate",
    "langevin_largest_stable_learning_rate", "overshoots", "oscillates", "embeddable", "regime", "langevin_regime",
)  # fmt: skip
NUMBERS = (*dict(COLUMNS), *_MORE)
"""Numbers of a mode that tables and files have, regimes included."""


@dataclass(frozen=True, eq=False, repr=False)
class Mode(Result):
    """An eigendirection of the mean Hessian, as if uncoupled from the others; ``Modes.coupled`` tells if it is.

    Attributes
    ----------
    direction
        Unit eigenvector v, shape (d,).
    curvature
        λ, weight decay included [loss / parameter^2].
    curvature_noise
        Γ = Var h̃, h̃ = vᵀH̃v, at this batch size [(loss / parameter^2)^2].
    gradient_noise
        D = Var vᵀg̃ at the origin [(loss / parameter)^2].
    gradient
        Mean gradient v·g at the origin [loss / parameter].
    correlation
        r = Cov(h̃, vᵀg̃) [loss^2 / parameter^3].
    critical_noise
        Variance of the gradient along v at the critical point θ*: D + Γg²/λ² − 2rg/λ if modes are uncoupled (T12); if
        not, the mean of other modes counts as well [(loss / parameter)^2].
    step
        Learning rate η and the coefficients of momentum.
    multiplier
        Law of 1 − ηh, or of its 2 × 2 matrix with momentum.
    horizon
        Steps of interest: a mode that saturates later is called diffusive; None for no such limit.
    gaussian
        Whether the noise is Gaussian, rather than that of minibatches or of another law.
    collapsing
        Whether curvature noise is all the noise: every minibatch has the same minimum, and nothing else drives it.
    noise_tail_index
        α of the gradient noise along v, ``P(|vᵀg̃| > x)`` ~ x^−α; ∞ for lighter tails.

    Examples
    --------
    >>> import dfp
    >>> noise = dfp.GaussianNoise([0.2], [0.5])
    >>> (mode,) = dfp.modes(dfp.SGD(dfp.QuadraticLandscape([1.0], noise=noise), learning_rate=0.3))
    >>> print(mode.regime, round(mode.stationary_variance, 4), round(mode.tail_index, 2))
    confined 0.0387 15.89
    """

    direction: Array
    curvature: float
    curvature_noise: float
    gradient_noise: float
    gradient: float
    correlation: float
    critical_noise: float
    step: OptimiserStep
    multiplier: Multiplier
    horizon: float | None = None
    gaussian: bool = True
    collapsing: bool = False
    noise_tail_index: float = np.inf

    def rows(self) -> list[dict[str, Any]]:
        """Return one dictionary of names and numbers, as tables and CSV files have it.

        Where parameters have names, ``mostly`` and ``direction`` say what the mode is made of.
        """
        found, names = {name: getattr(self, name) for name in NUMBERS}, self.parameters
        return [found | ({"mostly": self.mostly, "direction": along(self.direction, names)} if told(names) else {})]

    @property
    def parameters(self) -> tuple[str, ...]:
        """What the direction is made of, d names, as ``Modes.parameters``; theta_1 … of a mode of no report."""
        report, _ = getattr(self, "_origin", (None, 0))
        return unnamed(len(self.direction)) if report is None else tuple(report.parameters)

    @property
    def mostly(self) -> str:
        """The name of the parameter with the largest component of the direction; of equal ones, the first."""
        return self.parameters[int(np.argmax(np.abs(self.direction)))]

    def plot(
        self,
        steps: int | None = None,
        *,
        ax: Any = None,
        title: str | None = None,
        style: Any = None,
        width: float | None = None,
    ) -> "Figure":
        """Return a figure: curvature with its spread, coloured by regime, and V(n) up to ``steps``."""
        drawn: Any = import_module("dfp.regimes.mode_plot")  # which knows modes
        settings = self.learning_rate, self.regime, self._epoch, steps
        return self._plotted(lambda: drawn.figure((self,), *settings), ax, title, style, width)

    @property
    def _epoch(self) -> int:
        """Steps of an epoch without replacement, or 0."""
        return 0

    @property
    def learning_rate(self) -> float:
        """η [parameter^2 / loss]."""
        return self.step.learning_rate

    @property
    def effective_rate(self) -> float:
        """η/(1−β), the learning rate that a Langevin equation knows of; η without momentum [parameter^2 / loss]."""
        return self.step.learning_rate / (1 - self.step.beta)

    @cached_property
    def _mean(self) -> Array:
        return mean_matrix(self.curvature, self.step)

    @property
    def _kick(self) -> Array:
        """How the noise of the gradient moves θ, or (θ, v)."""
        kick = np.array([-self.step.learning_rate * self.step.p, 1.0])
        return kick[: len(self._mean)]

    @property
    def _excess(self) -> float:
        """ρ₂ − 1 without momentum: η(η(λ²+Γ) − 2λ), zero within rounding."""
        eta, gain = self.step.learning_rate, self.step.learning_rate * (self.curvature**2 + self.curvature_noise)
        difference = gain - 2 * self.curvature
        return 0.0 if abs(difference) <= _ROUNDING * gain else eta * difference

    @cached_property
    def growth(self) -> float:
        """ρ₂: factor per step of the second moment; E(1−ηh)² = (1−ηλ)² + η²Γ without momentum (T11)."""
        if self.step.beta == 0:
            return 1 + self._excess
        if self.curvature == self.curvature_noise == 0:
            return 1.0
        increment = mean_increment(self.curvature, self.step)
        return 1 + mode_moments.excess_growth(increment, self._kick, self.curvature_noise)

    @property
    def lyapunov_exponent(self) -> float:
        """ℓ = ``E log|1−ηh|``: growth of the size of a typical θ [1 / step]."""
        return self.multiplier.exponent.value

    @property
    def lyapunov_error(self) -> float:
        """Standard or discretisation error of ``lyapunov_exponent``; 0 if exact."""
        return self.multiplier.exponent.error

    @property
    def tail_index(self) -> float:
        """κ, ``P(|θ| > x)`` ~ x^−κ: ∞ if nothing ever grows, NaN without a law that has a width, or if unknown.

        Kesten's, which curvature noise makes, or that of the gradient noise if it is less.
        """
        return self._tail.value

    @property
    def tail_index_error(self) -> float:
        """Error of ``tail_index``; 0 if exact, ∞ if it is a lower bound."""
        return self._tail.error

    @property
    def _tail(self) -> Estimate:
        made = self.multiplier.tail_index
        if self.collapsing:
            return Estimate(np.nan)
        return Estimate(self.noise_tail_index) if made.value > self.noise_tail_index else made

    @property
    def log_period(self) -> float | None:
        """Period p of the tail in ``log|θ|``, if it is no pure power: ``x^κ P(|θ| > x)`` swings; None if it is one.

        So it is if ``log|1−ηh|`` takes multiples of p alone, as it can for few samples (Goldie 1991 excludes it).
        """
        return self.multiplier.log_period if 0 < self.tail_index < np.inf else None

    @property
    def langevin_tail_index(self) -> float:
        """κ_L = 1 + 2λ/(ηΓ) of (T6): ∞ for Γ = 0 < λ, NaN if Langevin has no law with a width either."""
        return np.nan if self.collapsing or not np.isfinite(self.gradient_noise) else self._langevin_index

    @property
    def _langevin_index(self) -> float:
        if self.curvature_noise == 0:
            return np.inf if self.curvature > 0 else np.nan
        index = 1 + 2 * self.curvature / (self.effective_rate * self.curvature_noise)
        return index if index > 0 else np.nan

    @cached_property
    def regime(self) -> str:
        """One of ``REGIMES``.

        ``confined`` (ρ₂ < 1), ``heavy-tailed`` (ρ₂ >= 1, ℓ < 0), ``diffusive`` (ρ₂ = 1, ℓ = 0, or saturation beyond the
        horizon), ``unstable`` (ℓ > 0), ``borderline`` (ℓ = 0 within its error, with Γ > 0), ``frozen`` (ρ₂ = 1, no
        noise: the mode keeps its distance from θ*, or drifts if the gradient is not zero), ``interpolating`` (ℓ < 0,
        and noise that vanishes at θ*: the law collapses onto it). Gradient noise without a variance makes a mode that
        settles heavy-tailed.
        """
        if self.growth < 1:
            if self.collapsing:
                return "interpolating"
            if not np.isfinite(self.gradient_noise):
                return "heavy-tailed"
            late = self.horizon is not None and self.saturation_step > self.horizon
            return "diffusive" if late else "confined"
        if self.curvature_noise == 0:
            if self.growth > 1:
                return "unstable"
            return "diffusive" if self.diffusion_coefficient > 0 else "frozen"
        exponent, error = self.multiplier.exponent
        if abs(exponent) <= max(3 * error, _ROUNDING):
            return "borderline"
        if exponent > 0:
            return "unstable"
        return "interpolating" if self.collapsing else "heavy-tailed"

    @property
    def near_interpolation(self) -> bool:
        """Whether nearly all of the gradient noise at the origin is gone at θ*, but not all of it."""
        left = self.critical_noise < _NEARLY * self.gradient_noise
        return bool(left and self.curvature_noise > 0 and not self.collapsing)

    @property
    def langevin_regime(self) -> str:
        """The regime that Langevin (T6) believes in, of the same names; it has no noise without a variance."""
        if not np.isfinite(self.gradient_noise):
            return self.regime
        if self.collapsing and self._langevin_index > 0:
            return "interpolating"
        if 2 * self.curvature > self.effective_rate * self.curvature_noise * (1 + _ROUNDING):
            return "confined"
        if self.langevin_tail_index > 0:
            return "heavy-tailed"
        if self.curvature == 0:
            return "diffusive" if self.gradient_noise > 0 else "frozen"
        return "unstable"

    @property
    def overshoots(self) -> bool:
        """Whether the mean map reverses the side, ηλ > 1 (with momentum: has a negative eigenvalue)."""
        values = np.linalg.eigvals(mean_matrix(self.curvature, self.step))
        return bool(np.any((values.real < 0) & (values.imag == 0)))

    @property
    def oscillates(self) -> bool:
        """Whether momentum makes the mean swing: complex eigenvalues of the mean map."""
        return bool(np.any(np.linalg.eigvals(mean_matrix(self.curvature, self.step)).imag != 0))

    @property
    def stationary_variance(self) -> float:
        """V_∞ (T12) with the noise at θ* [parameter^2]: ∞ if only the law exists, NaN if neither does.

        It is 0 where the law collapses, though the variance over runs grows all the same if ρ₂ >= 1.
        """
        if self.collapsing:
            return 0.0 if self.regime == "interpolating" else np.nan
        if self.growth < 1:
            if self.step.beta == 0:
                return float(self.step.learning_rate**2 * self.critical_noise / -self._excess)
            increment = mean_increment(self.curvature, self.step)
            return mode_moments.stationary_variance(increment, self._kick, self.curvature_noise, self.critical_noise)
        return np.inf if self.regime == "heavy-tailed" else np.nan

    @property
    def langevin_stationary_variance(self) -> float:
        """ηD/(2λ − ηΓ) of (T6) [parameter^2]; ∞ and NaN as for ``stationary_variance``."""
        if self.langevin_regime == "interpolating":
            return 0.0
        if self.langevin_regime == "confined":
            eta = self.effective_rate
            return eta * self.critical_noise / (2 * self.curvature - eta * self.curvature_noise)
        return np.inf if self.langevin_regime == "heavy-tailed" else np.nan

    @property
    def saturation_step(self) -> float:
        """Steps in which the variance settles, 1/(1−ρ₂); ∞ if it does not [step]."""
        return 1 / (1 - self.growth) if self.growth < 1 else np.inf

    @property
    def time_scale(self) -> float:
        """Steps in which a typical distance from θ* changes by a factor e, ``1/|ℓ|``; ∞ where ℓ = 0 [step]."""
        exponent = abs(self.lyapunov_exponent)
        return 1 / exponent if exponent > 0 else np.inf

    @property
    def diffusion_coefficient(self) -> float:
        """D_eff = ηD/2 in slow time, V = 2 D_eff τ while the mode does not feel its curvature [parameter^2 / τ]."""
        return self.step.learning_rate * self.gradient_noise / (2 * (1 - self.step.beta) ** 2)

    @cached_property
    def largest_stable_learning_rate(self) -> float:
        """Supremum of η with a finite stationary variance, 2λ/(λ²+Γ) without momentum; 0 if none has one."""
        if self.curvature <= 0 or not np.isfinite(self.gradient_noise):
            return 0.0
        plain = 2 * self.curvature / (self.curvature**2 + self.curvature_noise)
        if self.step.beta == 0:
            return plain

        def excess(learning_rate: float) -> float:
            step = self.step._replace(learning_rate=learning_rate)
            kick = np.array([-learning_rate * step.p, 1.0])
            pair = mode_moments.pair_map(mean_matrix(self.curvature, step), kick, self.curvature_noise)
            return float(np.max(np.abs(np.linalg.eigvals(pair)))) - 1

        return mode_moments.stability_limit(excess, plain)

    @property
    def langevin_largest_stable_learning_rate(self) -> float:
        """The same for (T6), 2λ(1−β)/Γ: ∞ for Γ = 0 < λ."""
        if self.curvature <= 0 or not np.isfinite(self.gradient_noise):
            return 0.0
        factor = 1 - self.step.beta
        return np.inf if self.curvature_noise == 0 else 2 * self.curvature * factor / self.curvature_noise

    @cached_property
    def embeddable(self) -> bool | None:
        """Whether a process in continuous time has exactly these steps (T17): ηλ < 1; None if that is not known.

        It is known for additive Gaussian noise. Otherwise ηλ >= 1 rules it out, and ηλ < 1 decides nothing.
        """
        found = embedding.embed(self._mean, np.outer(self._kick, self._kick) * self.gradient_noise)
        if self.curvature_noise == 0 and self.gaussian:
            return found.exists
        return False if found.exists is False and np.isnan(found.smallest) else None

    def variance(self, steps: int, initial_variance: float = 0.0) -> float:
        """Return V(n) of (T11), started at the critical point, or at the origin if the mode is a slope (λ = 0).

        Parameters
        ----------
        steps
            n >= 0.
        initial_variance
            Of θ at step 0 [parameter^2], >= 0.
        """
        n = checks.integer("steps", steps)
        initial = np.zeros((len(self._mean),) * 2)
        initial[0, 0] = checks.real("initial_variance", initial_variance, at_least=0)
        if n > 0 and not np.isfinite(self.critical_noise):
            return np.inf
        sloped = self.curvature == 0
        correlation = self.correlation if sloped else 0.0  # about θ* it meets a mean of zero
        noise = mode_moments.ModeNoise(self.curvature_noise, correlation, self.critical_noise)
        push = self.gradient if sloped else 0.0
        return float(mode_moments.moments(self._mean, self._kick, noise, push, n, initial)[1][0, 0])


def along(direction: Array, names: Sequence[str]) -> str:
    """Return the largest three components, of either sign as a whole, such as 0.71 age − 0.70 dose."""
    order = np.argsort(-np.abs(direction), kind="stable")
    sign, found = np.sign(direction[order[0]]), ""
    for i in order[:3]:
        if abs(direction[i]) >= LEAST:
            join = " − " if sign * direction[i] < 0 else " + " if found else ""
            found += f"{join}{abs(direction[i]):.2f} {names[i]}"
    return found + " …" * bool(np.any(np.abs(direction[order[3:]]) >= LEAST))
