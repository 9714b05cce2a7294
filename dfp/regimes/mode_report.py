"""Modes of SGD: eigendirections of the mean Hessian, their regimes, and the system they form (theory page, 3 and 4)."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from dfp_solvers import embedding
from dfp_solvers.trajectories.products import OptimiserStep
from numpy.typing import ArrayLike

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError, UnsupportedError
from dfp.problem.parameters import listed, symbol, told, unnamed
from dfp.problem.sgd import SGD
from dfp.regimes import epochs
from dfp.regimes.coupling import EigenSystem
from dfp.regimes.mode import COLUMNS, LEAST, Mode, along
from dfp.regimes.multiplier import Estimate, Sampling
from dfp.result import Result
from dfp.results.tables import aligned

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Rows of the printed table; the rest is counted by regime.
_SHOWN = 30


@dataclass(frozen=True, eq=False, repr=False)
class Modes(Result, Sequence[Mode]):
    """The modes of SGD in ascending order of curvature, and the system they form.

    Attributes
    ----------
    system
        SGD in the eigenbasis of the mean Hessian.
    horizon
        Steps of interest, or None.
    lyapunov_steps
        Steps of sampled Lyapunov exponents.
    seed
        Of the same.
    at_step
        The step of a schedule whose learning rate and batch size are kept; None without a schedule.
    expansion
        Of a nonlinear landscape: the minimum it is expanded at (d,), and the distance at which its Hessian has changed
        by half [parameter]; else None.
    root
        P^{1/2} where a preconditioner makes the modes those of u, θ = P^{1/2}u; else None.

    Examples
    --------
    >>> import dfp
    >>> bowl = dfp.QuadraticLandscape([0.0, 1.0], noise=dfp.GaussianNoise([0.1, 0.2]))
    >>> for mode in dfp.modes(dfp.SGD(bowl, learning_rate=0.1)):
    ...     print(mode.curvature, mode.regime)
    0.0 diffusive
    1.0 confined
    """

    system: EigenSystem
    horizon: float | None
    lyapunov_steps: int
    seed: int
    at_step: int | None = None
    expansion: tuple[Array, float] | None = None
    root: Array | None = None

    @cached_property
    def _modes(self) -> tuple[Mode, ...]:
        system, sampling = self.system, Sampling(self.lyapunov_steps, self.seed)
        tails = system.sgd.noise.tail_index(system.axes)
        found = (
            Mode(
                system.axes[:, i], float(system.curvatures[i]), float(system.entry_variances[i, i]),
                float(system.gradient_noise[i]), float(system.gradient[i]), float(system.correlations[i]),
                float(system.critical_covariance[i, i]), system.step, system.multiplier(i, sampling), self.horizon,
                system.sgd.noise.gaussian, bool(system.collapsing[i]), float(tails[i]),
            )
            for i in range(len(system.curvatures))
        )  # fmt: skip
        modes = tuple(system.mode(mode, i) for i, mode in enumerate(found))
        for i, mode in enumerate(modes):
            object.__setattr__(mode, "_origin", (self, i))
        return modes

    @overload
    def __getitem__(self, index: int) -> Mode: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Mode]: ...
    def __getitem__(self, index: int | slice) -> Mode | Sequence[Mode]:
        """Return a mode, or several."""
        return self._modes[index]

    def __len__(self) -> int:
        """Return the number of modes d."""
        return len(self.system.curvatures)

    def __iter__(self) -> Iterator[Mode]:
        """Go through the modes in ascending order of curvature."""
        return iter(self._modes)

    @property
    def parameters(self) -> tuple[str, ...]:
        """What directions are made of, d names: of θ, or u_1, … of u where a preconditioner makes the modes those."""
        if self.root is not None:
            return tuple(f"u_{i}" for i in range(1, len(self) + 1))
        return self.system.sgd.parameters or unnamed(len(self))

    @property
    def coupled(self) -> bool:
        """Whether curvature noise couples modes: then single modes only approximate the system."""
        return self.system.coupled

    @property
    def coupling(self) -> Array:
        """Variances of the entries of H̃ in the eigenbasis, shape (d, d): entry (i, k) lets mode k drive mode i."""
        return self.system.entry_variances

    @cached_property
    def spectral_radius(self) -> float:
        """ρ of the map of second moments (T16): they are bounded iff ρ < 1; the largest ρ₂ if nothing is coupled."""
        return self.system.spectral_radius if self.coupled else max(mode.growth for mode in self)

    @cached_property
    def _exponent(self) -> Estimate:
        if not self.coupled:
            return max(mode.multiplier.exponent for mode in self)
        found = max(
            self[int(block[0])].multiplier.exponent
            if block.size == 1
            else self.system.sampled_exponent(block, self.lyapunov_steps, self.seed)
            for block in self.system.blocks
        )
        # Jensen's inequality: sizes typically grow no faster than their root mean square.
        limit = np.log(self.spectral_radius) / 2 if self.spectral_radius > 0 else -np.inf
        return found if found.value <= limit else Estimate(limit, found.error)

    @property
    def lyapunov_exponent(self) -> float:
        """Top Lyapunov exponent of the random matrix product: sampled if modes are coupled [1 / step]."""
        return self._exponent.value

    @property
    def lyapunov_error(self) -> float:
        """Error of ``lyapunov_exponent``, what may be left of a transient included; 0 if exact."""
        return self._exponent.error

    @cached_property
    def regime(self) -> str:
        """The regime of the whole: of the most unruly mode, or of the coupled system.

        ``interpolating`` if every minibatch has the same minimum, or minima, onto which the law collapses.
        """
        settled = "interpolating" if self.collapses else ""
        if not self.coupled:
            order = ("interpolating", "confined", "frozen", "diffusive", "heavy-tailed", "borderline", "unstable")
            found = max((mode.regime for mode in self), key=order.index)
            return settled or found if found in ("interpolating", "confined", "frozen") else found
        if self.spectral_radius < 1:
            return settled or "confined"
        if abs(self.lyapunov_exponent) <= 3 * self.lyapunov_error:
            return "borderline"
        return settled or "heavy-tailed" if self.lyapunov_exponent < 0 else "unstable"

    @property
    def collapses(self) -> bool:
        """Whether nothing but curvature noise moves what moves: all minibatches have the same minimum, or minima."""
        return bool(np.any(self.system.collapsing) and not np.any(self.system.driven))

    @cached_property
    def largest_stable_learning_rate(self) -> float:
        """Supremum of the η with bounded second moments of all modes together; 0 if none has, NaN if not known."""
        if self.coupled:
            return self.system.largest_stable_learning_rate
        return float(np.min([mode.largest_stable_learning_rate for mode in self._moving]))

    @cached_property
    def langevin_largest_stable_learning_rate(self) -> float:
        """The same as Langevin (T6) sees it."""
        if self.coupled:
            return self.system.langevin_largest_stable_learning_rate
        return min(mode.langevin_largest_stable_learning_rate for mode in self._moving)

    @property
    def _moving(self) -> list[Mode]:
        """Modes that a step can change, or all if there are none."""
        return [mode for mode, moves in zip(self, self.system.moving, strict=True) if moves] or list(self)

    @property
    def stationary_covariance(self) -> Array:
        """Covariance of θ in the stationary state, shape (d, d) [parameter^2]: all couplings kept; NaN if none."""
        v = self.system.axes if self.root is None else self.root @ self.system.axes
        return v @ self.system.stationary_covariance @ v.T

    @cached_property
    def diagonal_error(self) -> Array:
        """Relative error, mode by mode, of the variance (T12) of a mode taken alone, shape (d,); NaN if none settles.

        What it leaves out: the curvature noise by which other modes, and their correlations with it, drive a mode.
        """
        alone = np.array([mode.stationary_variance for mode in self])
        with np.errstate(divide="ignore", invalid="ignore"):
            result: Array = alone / np.diag(self.system.stationary_covariance) - 1
        return result

    @cached_property
    def _embedding(self) -> embedding.Embedding:
        system, law = self.system, self.system.sgd.noise
        constant = law.constant if law.finite else np.eye(law.dimension)
        noise = system.kicked(system.axes.T @ constant @ system.axes, system.step)
        return embedding.embed(system.mean, noise)

    @property
    def embeddable(self) -> bool | None:
        """Whether a process in continuous time has exactly SGD's steps (T17), Q ⪰ 0 included; None if not known."""
        if not self.system.sgd.replace:
            return None
        if self.system.sgd.noise.additive and self.system.sgd.noise.gaussian:
            return self._embedding.exists
        return False if self._embedding.exists is False and np.isnan(self._embedding.smallest) else None

    @property
    def embedding(self) -> str:
        """The answer of ``embeddable`` and its reason, in words."""
        if not self.system.sgd.replace:
            return "undecided: steps of an epoch depend on each other"
        found, words = self._embedding, {True: "yes", False: "no", None: "undecided"}[self.embeddable]
        if self.embeddable is found.exists:
            return f"{words}: {found.reason}"
        if not self.system.sgd.noise.finite:
            return f"{words}: noise without a variance leaves it open"
        kind = "curvature noise" if not self.system.sgd.noise.additive else "noise that is not Gaussian"
        alone = {True: "yes", False: "no", None: "undecided"}[found.exists]
        return f"{words}: {kind} leaves it open (with the noise at the origin, Gaussian: {alone})"

    def rows(self) -> list[dict[str, Any]]:
        """Return one dictionary of names and numbers for every mode, as tables and CSV files have it.

        Where parameters have names, ``mostly`` has that of the largest component of the direction, which is in words.

        Examples
        --------
        >>> print([(row["regime"], round(row["stationary_variance"], 4)) for row in modes.rows()])
        [('confined', 0.1111)]
        """
        return [row for mode in self for row in mode.rows()]

    def plot(
        self,
        steps: int | None = None,
        *,
        ax: Any = None,
        title: str | None = None,
        style: Any = None,
        width: float | None = None,
    ) -> "Figure":
        """Return a figure: curvatures coloured by regime, and V(n) of up to eight modes up to ``steps``.

        Examples
        --------
        >>> figure = modes.plot()
        >>> print(len(figure.axes))
        2
        """
        from dfp.regimes import mode_plot

        settings = self.learning_rate, self.regime, self.system.sgd.epoch, steps
        return self._plotted(lambda: mode_plot.figure(self, *settings), ax, title, style, width)

    def __str__(self) -> str:
        """Return a table of the modes and a summary of the system."""
        return _text(self)

    def __repr__(self) -> str:
        """Return the number of modes and the regime of the whole."""
        of = f" of {listed(self.parameters)}" if told(self.parameters) else ""
        together = "coupled" if self.coupled else "uncoupled"
        return f"<Modes{of}: {len(self)}, {together}, learning rate {self.learning_rate:g}>"

    @property
    def learning_rate(self) -> float:
        """η [parameter^2 / loss]."""
        return self.system.step.learning_rate


def modes(
    sgd: SGD,
    *,
    step: int | None = None,
    horizon: float | None = None,
    lyapunov_steps: int = 4000,
    seed: int = 0,
    at: ArrayLike | None = None,
) -> Modes:
    """Return the modes of SGD: per eigendirection of the mean Hessian its regime and the numbers that decide it.

    Parameters
    ----------
    sgd
        Quadratic landscape; momentum of either kind. Without replacement the modes are those of an epoch of K steps:
        growth and exponents per step (an epoch's to the power 1/K), variances at the end of an epoch. Where a
        preconditioner does not commute with the Hessian, modes are those of u, θ = P^{1/2}u, with directions and
        variances in u; ``stationary_covariance`` is that of θ.
    step
        With a schedule, the step n >= 0 whose learning rate and batch size are kept for ever; without one all steps are
        alike, and it changes nothing.
    horizon
        Steps of interest, > 0: confined modes that saturate later are called diffusive.
    lyapunov_steps
        Steps of each of 256 sampled products where a Lyapunov exponent has no closed form (coupled modes, momentum with
        curvature noise); its error falls with the square root.
    seed
        Of these products.
    at
        Near which minimum of a nonlinear landscape, shape (d,): its modes are those of the expansion there, and the
        report says how far it holds [parameter].

    Returns
    -------
    Modes
        A sequence of ``Mode``, ascending in curvature; costly numbers are computed when first asked for.

    Raises
    ------
    UnsupportedError
        If learning rate or batch size change from step to step and no ``step`` is chosen; or, without replacement and
        with noise that depends on θ, if there is momentum or too many sets of samples.
    DFPError
        If a value is out of range, or the learning rate of ``step`` is zero.

    Examples
    --------
    >>> import dfp
    >>> noise = dfp.GaussianNoise([0.2, 0.2], [0.0, 8.0])
    >>> bowl = dfp.QuadraticLandscape([0.5, 1.0], noise=noise)
    >>> print([mode.regime for mode in dfp.modes(dfp.SGD(bowl, learning_rate=0.3))])
    ['confined', 'heavy-tailed']
    """
    checks.instance("sgd", sgd, SGD, "must be a dfp.SGD; give dfp.SGD(landscape, learning_rate).")
    sgd, expansion = _expanded(sgd, at)
    sgd, root = (sgd, None) if sgd.commutes else (sgd.rotated, sgd.root)
    at_step = None
    if sgd.scheduled:
        sgd, at_step = _frozen(sgd, step)
    elif step is not None:
        checks.integer("step", step)
    if horizon is not None:
        checks.real("horizon", horizon, above=0)
    counted = checks.integer("lyapunov_steps", lyapunov_steps, at_least=100, at_most=10**8)
    return Modes(system_of(sgd), horizon, counted, checks.integer("seed", seed), at_step, expansion, root)


def system_of(sgd: SGD) -> EigenSystem:
    """Return SGD of constant learning rate in a quadratic landscape in the eigenbasis of the mean Hessian."""
    beta = sgd.momentum
    p, q = (1 + beta, beta**2) if sgd.nesterov else (1.0, beta)
    return epochs.system(sgd, OptimiserStep(sgd.learning_rate, p, q, beta))


def _expanded(sgd: SGD, at: ArrayLike | None) -> tuple[SGD, tuple[Array, float] | None]:
    """Return SGD on the expansion of a nonlinear landscape at the minimum near ``at``; the minimum, and its reach."""
    if sgd.affine:
        return sgd, None
    if at is None:
        raise UnsupportedError(
            "landscape is nonlinear: it has modes near a minimum only; give at=θ, a place near one, or use "
            "dfp.stationary(...)."
        )
    quadratic = sgd.loss_landscape.expanded(at, minimise=True)
    settings = sgd.learning_rates, sgd.momentum, 0.0, sgd.replace, None, sgd.nesterov
    found = SGD(quadratic, *settings, preconditioner=sgd.preconditioner, temperature=sgd.temperature)
    return found, (found.critical_point, sgd.local.reach(found.critical_point))


def _frozen(sgd: SGD, step: int | None) -> tuple[SGD, int]:
    """Return the dynamics that keeps the learning rate and batch size of ``step``, and that step."""
    if step is None:
        raise UnsupportedError(
            "learning_rate or batch_size is a schedule: regimes are limits of many equal steps; give step=n for the "
            "dynamics that keeps the learning rate and batch size of step n, or use dfp.moments for the schedule."
        )
    chosen = checks.integer("step", step)
    if sgd.learning_rates.at(chosen) == 0:
        raise DFPError(f"step={chosen}: the learning rate is zero there and nothing moves; give another step.")
    return sgd.at(chosen), chosen


def lyapunov_exponent(sgd: SGD) -> Estimate:
    """Return ℓ of the master equation (T4) per step; with a standard error where it is sampled (coupled modes)."""
    report = modes(sgd)
    return Estimate(report.lyapunov_exponent, report.lyapunov_error)


def _shown(value: float, error: float = 0.0) -> str:
    if np.isnan(value):
        return "none"
    if error == np.inf:
        return f"> {value:.3g}"
    text = "∞" if value == np.inf else "−∞" if value == -np.inf else f"{value:.4g}"
    return f"{text} ± {error:.0e}" if error > 0 else text


def _notes(mode: Mode) -> list[tuple[str, bool]]:
    collapsed = mode.regime == "interpolating"
    return [
        ("overshoots", mode.overshoots),
        ("oscillates", mode.oscillates),
        ("collapses in mean square", collapsed and mode.growth < 1),
        ("collapses, not in mean square", collapsed and not mode.growth < 1),
        ("nearly interpolates", mode.near_interpolation),
        ("noise without a variance", not np.isfinite(mode.gradient_noise)),
        ("log-periodic tail", mode.log_period is not None),
    ]


def _below(limit: float) -> str:
    if np.isnan(limit):
        return "at learning rates not known"
    return "at none" if limit == 0 else "at any" if limit == np.inf else f"below {limit:.4g}"


def _text(report: Modes) -> str:
    """Return one line per mode, at most ``_SHOWN``, and a summary of the system."""
    errors = {"lyapunov_exponent": "lyapunov_error", "tail_index": "tail_index_error"}
    names = report.parameters
    shown = [symbol(name) for name in names]
    turned = told(names) or any(abs(mode.direction[i]) < 1 - LEAST**2 for i, mode in enumerate(report[:_SHOWN]))
    rows = [[head for _, head in COLUMNS] + ["regime", "direction" if turned else "", ""]]
    for mode in report[:_SHOWN]:
        cells = [_shown(getattr(mode, name), getattr(mode, errors[name]) if name in errors else 0.0)
                 for name, _ in COLUMNS]  # fmt: skip
        notes = [note for note, true in _notes(mode) if true]
        rows.append([*cells, mode.regime, along(mode.direction, shown) if turned else "", ", ".join(notes)])
    lines = aligned(rows, right=range(len(COLUMNS)))
    if len(report) > _SHOWN:
        counts = Counter(mode.regime for mode in report)
        lines.append(
            f"… {len(report) - _SHOWN} more; of all: " + ", ".join(f"{n} {name}" for name, n in counts.items())
        )
    return "\n".join(lines + _summary(report) + _expansion(report))


def _expansion(report: Modes) -> list[str]:
    """Return a line on how far the expansion of a nonlinear landscape holds, beside how far its law goes."""
    if report.expansion is None:
        return []
    place, reach = report.expansion
    widest = max(float(np.sqrt(mode.stationary_variance)) for mode in report)
    text = f"expansion          at θ = {place}: the Hessian has changed by half {reach:.3g} away"
    if not 3 * widest < reach:
        text += f"; deviations of {widest:.3g} reach there, so it does not hold: use dfp.stationary or dfp.solve"
    return [text]


def _summary(report: Modes) -> list[str]:
    coupling = "coupled by curvature noise" if report.coupled else "uncoupled"
    lines = [
        f"modes              {len(report)}, {coupling}: the whole is {report.regime}",
        f"second moments     ρ = {report.spectral_radius:.6g} per step",
        f"Lyapunov exponent  {_shown(report.lyapunov_exponent, report.lyapunov_error)} per step",
        f"learning rate      {report.learning_rate:.4g}; variances are finite "
        f"{_below(report.largest_stable_learning_rate)}, in Langevin (T6) "
        f"{_below(report.langevin_largest_stable_learning_rate)}",
        f"continuous time    {report.embedding}",
    ]
    samples = report.system.sgd.averaged_samples
    if samples is not None and samples > 1:
        lines.append(f"noise              Γ and D are those of a step, which averages {samples} samples")
    if report.collapses:
        lines.append("interpolation      every minibatch has the same minimum θ*, so that no noise is left there")
    if report.at_step is not None:
        size = report.system.sgd.batch_size
        kept = f"learning rate {report.learning_rate:.4g}" + ("" if size is None else f" and batch size {size}")
        lines.insert(0, f"schedule           the {kept} of step {report.at_step}, kept at every step")
    lines += _epochs(report)
    if report.coupled and report.spectral_radius < 1 and not report.collapses:
        worst = float(np.nanmax(np.abs(report.diagonal_error)))
        lines.append(f"diagonal formula   off by up to {100 * worst:.2g} % in the stationary variances")
    return lines


def _epochs(report: Modes) -> list[str]:
    steps = report.system.sgd.epoch
    if not steps:
        return []
    count = f"{steps} step{'s' * (steps > 1)}"
    lines = [f"epochs             of {count}, without replacement: ρ₂ and ℓ are per step, V_∞ at an epoch's end"]
    reasons = {mode.multiplier.obstacle for mode in report}
    return lines + [f"tail index         not known: {reason}" for reason in reasons if reason]
