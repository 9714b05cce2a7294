"""``fit``: curvature and noise from recorded parameters, by the exact likelihood of SGD's steps, not Langevin's."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from dfp_solvers import autoregression as numerics
from numpy.typing import ArrayLike
from scipy.stats import chi2

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError, UnsupportedError
from dfp.problem.landscape import QuadraticLandscape
from dfp.problem.noise import GaussianNoise
from dfp.problem.sgd import SGD
from dfp.result import Result, Short

# Standard deviations of a 95 % interval.
_WIDTH = 1.959964
# Data sets that tell the bias; it matters, beyond 2 % of a standard deviation, up to this many relaxation times.
_REPLICATES, _BIASED = 50, 20_000.0
# Relaxation times below which the first correction of the bias is not enough.
_FEW = 15.0
# A direction that varies less than this, relative to the others, is constant up to rounding.
_CONSTANT = 1e-12
# Chance of a false alarm of the test that H is symmetric.
_ALARM = 1e-6


@dataclass(frozen=True, eq=False, repr=False)
class Intervals(Short):
    """95 % intervals, each for itself: lower and upper ends along the first axis.

    Attributes
    ----------
    hessian, covariance
        Shape (2, d, d).
    minimum
        Shape (2, d).
    curvature_noise
        Shape (2, d); None where parameters were not recorded at every step.
    """

    hessian: Array
    covariance: Array
    minimum: Array
    curvature_noise: Array | None


@dataclass(frozen=True, eq=False, repr=False)
class LangevinFit(Short):
    """What the same data say of H and C to whoever takes SGD for a Langevin equation (T6) with additive noise.

    Attributes
    ----------
    hessian
        H of the Ornstein–Uhlenbeck process, −log(1 − ηH)/η: too large by ηλ²/2, and more, shape (d, d).
    covariance
        C of it, shape (d, d).
    """

    hessian: Array
    covariance: Array


@dataclass(frozen=True, eq=False, repr=False)
class Fit(Result):
    """Mean Hessian and minibatch noise that recorded parameters speak for.

    Attributes
    ----------
    hessian
        H, symmetric, shape (d, d) [loss / parameter^2].
    covariance
        C of the minibatch gradient, the mean over the places visited, shape (d, d) [(loss / parameter)^2].
    minimum
        θ*, shape (d,) [parameter].
    intervals
        95 % intervals of all of these.
    directions
        Eigenvectors of H as columns, shape (d, d), by ascending curvature.
    curvature_noise
        Γ_i along each direction, from squared residuals on (u_i·(θ − θ*))²: an estimate may be negative where there
        is none; None unless recorded at every step, shape (d,) [(loss / parameter^2)^2].
    gradient_noise
        D_i along each direction at θ*, likewise, shape (d,).
    learning_rate
        As given.
    every
        As given, steps.
    transitions
        Number of recorded steps used.
    warnings
        What makes the numbers doubtful, in words.

    Examples
    --------
    >>> import numpy as np
    >>> import dfp
    >>> rng, theta, recorded = np.random.default_rng(0), 0.0, []
    >>> for _ in range(2000):
    ...     theta -= 0.5 * (1.2 * theta + rng.standard_normal())
    ...     recorded.append([theta])
    >>> found = dfp.fit(np.array(recorded), learning_rate=0.5)
    >>> lower, upper = found.intervals.hessian
    >>> print(bool(lower.item() < 1.2 < upper.item()), found.curvatures.round(1))
    True [1.2]
    """

    hessian: Array
    covariance: Array
    minimum: Array
    intervals: Intervals
    directions: Array
    curvature_noise: Array | None
    gradient_noise: Array | None
    learning_rate: float
    every: int
    transitions: int
    warnings: tuple[str, ...]

    @classmethod
    def _restored(cls, *, intervals: dict[str, Any], every: float, transitions: float, **given: Any) -> "Fit":
        """Return what a file holds."""
        return cls(intervals=Intervals(**intervals), every=int(every), transitions=int(transitions), **given)

    @property
    def curvatures(self) -> Array:
        """Eigenvalues of H, ascending, shape (d,)."""
        return np.linalg.eigvalsh(self.hessian)

    @cached_property
    def landscape(self) -> QuadraticLandscape:
        """A landscape with this H, minimum and Gaussian noise; Γ_i counts where its interval is above zero.

        Raises
        ------
        DFPError
            If D and C, estimated one by one, make no covariance.
        """
        gradient = self.directions.T @ self.covariance @ self.directions
        noise = np.zeros(len(self.minimum))
        if self.curvature_noise is not None and self.intervals.curvature_noise is not None:
            assert self.gradient_noise is not None
            found = (self.intervals.curvature_noise[0] > 0) & (self.gradient_noise > 0)
            noise = np.where(found, self.curvature_noise, 0.0)
            scale = np.sqrt(np.where(found, self.gradient_noise / gradient.diagonal(), 1.0))
            gradient = gradient * np.outer(scale, scale)
        law = GaussianNoise(gradient=gradient, hessian=noise, basis="eigen", at=self.minimum)
        return QuadraticLandscape(self.hessian, -self.hessian @ self.minimum, law)

    @cached_property
    def sgd(self) -> SGD:
        """SGD on ``landscape`` at the learning rate given: what the data say, ready for every equation."""
        return SGD(self.landscape, self.learning_rate)

    @cached_property
    def langevin(self) -> LangevinFit:
        """What a Langevin equation fitted to the same data would say: biased by ηλ/2.

        Raises
        ------
        UnsupportedError
            If θ alternates along a direction, ηλ >= 1, which no such Langevin process does.
        """
        eta, (values, vectors) = self.learning_rate, np.linalg.eigh(self.hessian)
        factors = 1 - eta * values
        if factors.min() <= 0:
            raise UnsupportedError(
                f"a direction has ηλ = {1 - factors.min():.4g} >= 1: SGD alternates along it, and a Langevin equation "
                "cannot; lower learning_rate to compare."
            )
        rates = -np.log(factors) / eta
        pairs = eta * (rates[:, None] + rates)
        gained = np.where(pairs == 0, 1.0, -np.expm1(-pairs) / np.where(pairs == 0, 1.0, pairs))
        noise = vectors.T @ self.covariance @ vectors / gained
        return LangevinFit((vectors * rates) @ vectors.T, vectors @ noise @ vectors.T)

    def __repr__(self) -> str:
        """Return what was fitted to what, and the range of curvatures."""
        values = self.curvatures
        return (
            f"<Fit of {len(values)} parameters to {self.transitions} steps: curvatures {values[0]:.4g} … "
            f"{values[-1]:.4g}{f', {len(self.warnings)} warnings' if self.warnings else ''}>"
        )


def fit(trajectories: ArrayLike, learning_rate: float, *, every: int = 1) -> Fit:
    """Return mean Hessian, minimum and minibatch noise from parameters recorded while SGD ran near a minimum.

    Parameters
    ----------
    trajectories
        θ of one run, shape (T, d), or of several, (runs, T, d), from any start, not necessarily settled [parameter].
    learning_rate
        η > 0 of plain SGD [parameter^2 / loss].
    every
        Steps from one record to the next, k >= 1. For even k, A^k does not tell ηλ from 2 − ηλ: ηλ < 1 is taken.

    Returns
    -------
    Fit
        Look at its ``warnings``.

    Raises
    ------
    DFPError
        If the shape is none of these, values are not finite, there are too few steps, or a direction never moves.
    UnresolvedError
        If ``every`` steps leave too little memory to tell H.

    Notes
    -----
    A step is θ' = (I − ηH)θ + ηHθ* + noise, so that the likelihood under additive Gaussian noise is that of a vector
    autoregression, given the first state of every run; its maximum over symmetric H is exact at every η. The bias of
    short runs, −(1 + 3a)/T in one dimension (Kendall 1954), is measured on data sets drawn from the fit and taken off.
    Intervals rest on the influence of every step and hold for any law of the noise, also if it depends on θ.

    Examples
    --------
    >>> import numpy as np
    >>> import dfp
    >>> rng, theta, recorded = np.random.default_rng(0), 0.0, []
    >>> for _ in range(2000):
    ...     theta -= 0.5 * (1.2 * (theta - 1.0) + rng.standard_normal())
    ...     recorded.append([theta])
    >>> found = dfp.fit(np.array(recorded), learning_rate=0.5)
    >>> print(found.hessian.round(1), found.minimum.round(1), found.covariance.round(1))
    [[1.2]] [1.] [[1.]]
    """
    eta, power = checks.real("learning_rate", learning_rate, above=0), checks.integer("every", every, at_least=1)
    paths = _checked(trajectories)
    before, after = (part.reshape(-1, paths.shape[2]) for part in (paths[:, :-1], paths[:, 1:]))
    _require_motion(before, "is constant")
    try:
        raw = numerics.estimate(before, after)
    except np.linalg.LinAlgError:
        raise DFPError(
            "trajectories: along some direction θ moves without noise, so that nothing random is left to fit; leave "
            "parameters without noise out."
        ) from None
    _require_motion(raw.residuals, "moves without noise, so that nothing random is left to fit")
    found, warnings, share = _unbiased(raw, paths, before, after)
    step = numerics.root(found.matrix, power)
    if not checks.finite(step):
        smallest = float(np.linalg.eigvalsh(found.matrix)[0])
        raise DFPError(
            f"every={power}: (I − ηH)^{power} has the eigenvalue {smallest:.3g} < 0, which no real H has for even "
            "every: a direction forgets within so many steps; record more often, best every step."
        )
    if power % 2 == 0:
        warnings.append(f"every={power} is even, and does not tell ηλ from 2 − ηλ: ηλ < 1 was taken.")
    noise = numerics.noise_of_a_step(step, found.noise, power)
    deviation = numerics.influence(before, found, step, power)
    hessian = (np.eye(len(step)) - step) / eta
    directions = np.linalg.eigh(hessian)[1]
    level, slope, ends = _curvature_noise(before, found, directions, eta) if power == 1 else (None, None, None)
    widths = (np.sqrt(1 + share) * deviation.matrix / eta, deviation.noise / eta**2, deviation.fixed_point)
    values = (hessian, noise / eta**2, found.fixed_point)
    h, c, place = (_ends(value, width) for value, width in zip(values, widths, strict=True))
    intervals = Intervals(h, c, place, ends)
    return Fit(
        hessian, noise / eta**2, found.fixed_point, intervals, directions, slope, level, eta, power, len(before),
        tuple(warnings),
    )  # fmt: skip


def _ends(value: Array, deviation: Array) -> Array:
    return np.stack([value - _WIDTH * deviation, value + _WIDTH * deviation])


def _checked(trajectories: ArrayLike) -> Array:
    """Return recorded parameters of shape (runs, T, d), enough of them."""
    given = checks.array("trajectories", trajectories, dimensions=(2, 3))
    paths = given[None] if given.ndim == 2 else given
    runs, length, d = paths.shape
    needed = 4 * (d + 2)
    if length < 2 or runs * (length - 1) < needed:
        raise DFPError(
            f"trajectories has shape {given.shape}: {runs * max(length - 1, 0)} steps of {d} parameters are too few, "
            f"at least {needed} are needed; give (T, d) or (runs, T, d) with time before parameters."
        )
    return paths


def _require_motion(values: Array, fault: str) -> None:
    """Raise where a parameter, or a combination of them, does not vary at all."""
    spread = values.std(axis=0)
    still = np.flatnonzero(spread <= 1e-14 * np.abs(values).max(axis=0))
    if still.size:
        raise DFPError(f"trajectories: parameter {still[0]} {fault}; leave it out.")
    if values.shape[1] > 1:
        lowest, vectors = np.linalg.eigh(np.corrcoef(values.T))
        if lowest[0] <= _CONSTANT:
            parts = np.flatnonzero(np.abs(vectors[:, 0]) > 0.1).tolist()
            raise DFPError(f"trajectories: a combination of the parameters {parts} {fault}; leave one of them out.")


def _unbiased(
    raw: numerics.Autoregression, paths: Array, before: Array, after: Array
) -> tuple[numerics.Autoregression, list[str], float]:
    """Return the estimate without the bias of short runs, warnings, and the share of variance that its removal adds."""
    warnings = []
    statistic, freedom = numerics.asymmetry(before, after, raw)
    if freedom and chi2.sf(statistic, freedom) < _ALARM:
        warnings.append(
            f"I − ηH is not symmetric (χ² = {statistic:.4g} for {freedom} degrees of freedom): these are no runs of "
            "plain SGD at one learning rate near a minimum; momentum or a preconditioner would do this."
        )
    times = len(before) * float(1 - np.abs(np.linalg.eigvalsh(raw.matrix)).max())
    if not times < _BIASED:
        return raw, warnings, 0.0
    if times < _FEW:
        warnings.append(
            f"the runs hold {max(times, 0.0):.3g} relaxation times of the slowest direction: its curvature is hardly "
            "told from zero, and its interval may cover less than 95 %; record longer runs."
        )
    shift, noise = numerics.bias(raw, paths[:, 0], paths.shape[1] - 1, _REPLICATES)
    d = raw.matrix.shape[0]
    matrix = raw.matrix - shift
    centre, image = before.mean(0), after.mean(0)
    place = np.linalg.solve(np.eye(d) - matrix, image - matrix @ centre)
    residuals = after - image - (before - centre) @ matrix.T
    spread = raw.noise - noise
    safe = spread if np.linalg.eigvalsh(spread)[0] > 0 else raw.noise
    return numerics.Autoregression(matrix, place, residuals, safe), warnings, 1 / _REPLICATES


def _curvature_noise(
    before: Array, found: numerics.Autoregression, directions: Array, eta: float
) -> tuple[Array, Array, Array]:
    """Return D and Γ along each direction, and the intervals of Γ."""
    position, residuals = (before - found.fixed_point) @ directions, found.residuals @ directions
    fits = [numerics.variances(x, e**2) for x, e in zip(position.T, residuals.T, strict=True)]
    level = np.array([coefficients[0] for coefficients, _ in fits]) / eta**2
    slope = np.array([coefficients[2] for coefficients, _ in fits]) / eta**2
    deviation = np.array([np.sqrt(spread[2, 2]) for _, spread in fits]) / eta**2
    return level, slope, _ends(slope, deviation)
