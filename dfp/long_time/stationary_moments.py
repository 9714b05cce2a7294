"""Mean and covariance of the stationary state of every equation, in any dimension, all couplings kept (T10, T16)."""

from dataclasses import dataclass

import numpy as np
from dfp_solvers import second_moment

from dfp.checks import Array
from dfp.errors import DFPError, NoStationaryDensity
from dfp.long_time import stationary_average
from dfp.problem.arguments import check_equation
from dfp.problem.averaged_equation import AveragedEquation
from dfp.problem.equation import Equation, MomentVector
from dfp.problem.parameters import either, labelled, listed, symbol, told
from dfp.regimes.mode_report import modes
from dfp.result import Result, remembered
from dfp.results.tables import aligned

_ROUNDING = 1e-13
# Lines of a printed table, at most.
_LINES = 30


@dataclass(frozen=True, eq=False, repr=False)
class StationaryMoments(Result):
    """Moments of a stationary state.

    Attributes
    ----------
    mean
        Shape (d,) [parameter].
    covariance
        Shape (d, d) [parameter^2].
    parameters
        What is on its axes, d names: ``theta_1``, … or those that the landscape gives.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.2)
    >>> settled = dfp.stationary_moments(dfp.MasterEquation(sgd))
    >>> print(abs(settled.mean), settled.covariance.round(6))  # ηD / (2λ − ηλ²)
    [0.] [[0.111111]]
    """

    mean: Array
    covariance: Array
    parameters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", either(self.parameters, len(self.mean)))

    @property
    def _deviation(self) -> Array:
        return np.sqrt(np.maximum(self.covariance.diagonal(), 0.0))

    def __repr__(self) -> str:
        """Return of how many parameters, and between what their deviations are."""
        least, most = float(self._deviation.min()), float(self._deviation.max())
        wide = f"{least:.4g}" if least == most else f"{least:.4g} to {most:.4g}"
        of = f": {listed(self.parameters)}" if told(self.parameters) else ""
        return f"<StationaryMoments of {len(self.mean)} parameter(s){of}; deviations {wide}>"

    def __str__(self) -> str:
        """Return a table of means and deviations, one parameter a line."""
        known = zip(self.parameters, self.mean, self._deviation, strict=True)
        rows = [(symbol(name), f"{mean:.6g}", f"{deviation:.6g}") for name, mean, deviation in known]
        lines = aligned([("parameter", "mean", "standard deviation"), *rows[:_LINES]], right=(1, 2))
        more = [f"… {len(rows) - _LINES} more"] if len(rows) > _LINES else []
        return "\n".join([*lines, *more])


@remembered
def stationary_moments(equation: Equation | AveragedEquation) -> StationaryMoments:
    """Return the mean and covariance in which an equation settles, exactly: the fixed point of (T14) or (T15).

    Parameters
    ----------
    equation
        Any equation, with any noise; the maps (T4), (T5) with momentum as well; that of an ``ExponentialAverage``.

    Returns
    -------
    StationaryMoments
        ``mean`` (d,), ``covariance`` (d, d).

    Raises
    ------
    NoStationaryDensity
        If second moments grow without bound; a heavy-tailed law may exist all the same (``dfp.modes`` tells).

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0], [0.5])), learning_rate=0.2)
    >>> print(dfp.stationary_moments(dfp.MasterEquation(sgd)).covariance.round(6))  # ηD / (2λ − η(λ² + Γ))
    [[0.117647]]
    """
    return labelled(_found(equation), equation)


def _found(equation: Equation | AveragedEquation) -> StationaryMoments:
    if isinstance(equation, AveragedEquation):
        iterate = stationary_moments(equation.iterate)
        return StationaryMoments(iterate.mean, stationary_average.covariance(equation, iterate.covariance))
    check_equation(equation)
    if not equation.sgd.noise.finite:
        raise NoStationaryDensity(
            f"the {equation.label}: the gradient noise has no variance, and so no stationary state has one; its law "
            "may exist all the same (dfp.stationary, and dfp.modes for its tails)."
        )
    if not equation.sgd.commutes:
        found, root = stationary_moments(equation.rotated), equation.sgd.root
        return StationaryMoments(root @ found.mean, root @ found.covariance @ root)
    if equation.discrete and equation.sgd.momentum > 0:
        return _with_momentum(equation)
    d = equation.dimension
    values = equation.sgd.modes[0]
    rates = equation.mode_rates(values) * values
    _check_mean(equation, rates)
    if equation.discrete and second_moment.size(d) > second_moment.DENSE_SIZE:
        return _in_eigenbasis(equation, rates)
    growth = moment_growth(equation)
    # Of additive noise the growth is that of the slowest mode, to its own digits.
    if not growth < (0.0 if equation.additive else -_ROUNDING * float(np.max(np.abs(rates)))):
        raise NoStationaryDensity(
            f"the {equation.label}: second moments change by the factor 1 + {growth:.3g} per "
            f"{'step' if equation.discrete else 'unit of slow time'}, so no stationary variance exists; lower "
            "learning_rate, add weight_decay, or look at dfp.modes(sgd) for the regime."
        )
    mean = equation.sgd.critical_point
    source = _noise_at(equation, mean)
    if not np.any(source):
        return StationaryMoments(mean, np.zeros((d, d)))
    pair = np.abs(rates[:, None] + rates - (np.outer(rates, rates) if equation.discrete else 0.0))
    axes = equation.sgd.modes[1]
    diagonal = np.maximum(axes @ pair @ axes.T, pair.min())
    try:
        covariance = second_moment.solve(covariance_motion(equation), source, diagonal)
    except ArithmeticError as error:
        raise _unsolved(equation, error) from None
    return StationaryMoments(mean, covariance)


def _in_eigenbasis(equation: Equation, rates: Array) -> StationaryMoments:
    """Return them of a map where d is large: in H's eigenbasis all but the fluctuations of the Hessian is diagonal.

    With decay(X)_ij = (r_i + r_j − r_i r_j) X_ij, r = ηλ, and N(X) = η²G(X), X = decay⁻¹(source + N(X)) has a positive
    solution iff ρ(decay⁻¹N) < 1: stability in mean square (T16).
    """
    d, (_, axes), mean = equation.dimension, equation.sgd.modes, equation.sgd.critical_point
    decay = rates[:, None] + rates - np.outer(rates, rates)
    nothing, empty = np.zeros(d), np.zeros((d, d))

    def noise(second: Array) -> Array:
        whole = axes @ second @ axes.T
        return axes.T @ equation.mean_diffusion(MomentVector(np.zeros(()), nothing, empty, whole)) @ axes

    source = axes.T @ _noise_at(equation, mean) @ axes
    if equation.additive:
        return StationaryMoments(mean, axes @ (source / decay) @ axes.T)
    try:
        radius = second_moment.largest_real(lambda x: noise(x) / decay, d, tolerance=1e-8)
        if not radius < 1:
            raise NoStationaryDensity(
                f"the {equation.label}: fluctuations of the Hessian renew {radius:.6g} times what decays of second "
                "moments in a step, so no stationary variance exists; lower learning_rate, add weight_decay, or look "
                "at dfp.modes(sgd) for the regime."
            )
        covariance = second_moment.solve(lambda x: noise(x) - decay * x, source, decay)
    except ArithmeticError as error:
        raise _unsolved(equation, error) from None
    return StationaryMoments(mean, axes @ covariance @ axes.T)


def _noise_at(equation: Equation, mean: Array) -> Array:
    """Return what a step or a unit of slow time adds to the covariance where the mean settles; zero where nothing does.

    Of a map it is η²C, which the noise law may know without the cancellation of a quadratic form near a minimum that
    nearly all minibatches share.
    """
    law, d = equation.sgd.noise, len(mean)
    if not equation.additive and np.all(law.collapses_at(mean, np.eye(d))):
        return np.zeros((d, d))
    if equation.discrete:
        return equation.sgd.learning_rate**2 * law.covariance(mean)
    return equation.mean_diffusion(MomentVector(np.ones(()), mean, np.outer(mean, mean), np.zeros((d, d))))


def moment_growth(equation: Equation) -> float:
    """Return how fast second moments grow: the factor of a step less one (maps, T16), or a rate in τ (generators)."""
    if equation.additive:
        rates = equation.mode_rates(equation.sgd.modes[0]) * equation.sgd.modes[0]
        return float(np.max(rates * (rates - 2) if equation.discrete else -2 * rates))
    try:
        return second_moment.largest_real(covariance_motion(equation), equation.dimension)
    except ArithmeticError as error:
        raise _unsolved(equation, error) from None


def covariance_motion(equation: Equation) -> second_moment.SymmetricMap:
    """Return how a covariance moves by itself, but for what the constant mean contributes to the noise."""

    def change(second: Array) -> Array:
        zeros = np.zeros(second.shape[:-2])
        nothing = np.zeros(second.shape[:-1])
        return equation.derivative(MomentVector(zeros, nothing, np.zeros_like(second), second)).covariance

    return change


def _unsolved(equation: Equation, error: ArithmeticError) -> DFPError:
    other = "read dfp.modes(sgd).stationary_covariance, or " if equation.discrete else ""
    return DFPError(
        f"stationary moments of the {equation.label}: {error}; {other}follow dfp.moments(equation, initial, steps) "
        "until they settle."
    )


def _with_momentum(equation: Equation) -> StationaryMoments:
    report = modes(equation.sgd)
    covariance = report.stationary_covariance
    if not np.all(np.isfinite(covariance)):
        raise NoStationaryDensity(
            f"the {equation.label} with momentum={equation.sgd.momentum:g}: second moments change by the factor "
            f"{report.spectral_radius:.6g} per step, so no stationary variance exists; lower learning_rate or momentum."
        )
    return StationaryMoments(equation.sgd.critical_point, covariance)


def _check_mean(equation: Equation, rates: Array) -> None:
    """Refuse a mean that does not settle."""
    settled = (rates > 0) & (rates < 2) if equation.discrete else rates > 0
    if not np.all(settled):
        worst = int(np.flatnonzero(~settled)[0])
        raise NoStationaryDensity(
            f"the {equation.label}: the mode of curvature {equation.sgd.modes[0][worst]:.4g} does not contract, so "
            "there is no stationary variance; change learning_rate or weight_decay, or use dfp.moments."
        )
