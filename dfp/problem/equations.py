"""The four equations: maps that act once per step (T4, T5), generators that act in slow time τ = ηn (T6, T7)."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError, UnsupportedError
from dfp.problem.averaged_equation import AveragedEquation
from dfp.problem.averages import Average
from dfp.problem.equation import Equation, MomentVector, outer, refuse_epochs, transposed
from dfp.problem.nonlinear import Landscape
from dfp.problem.sgd import SGD


class _Map(Equation):
    discrete = True

    def mode_rates(self, eigenvalues: Array) -> Array:
        """Return η for every mode: one step moves the mean by −η(Hθ + g)."""
        return np.full_like(eigenvalues, self.learning_rate)

    def local_drift(self, theta: Array) -> Array:
        """Return −ηḡ."""
        return -self.learning_rate * self.sgd.local.gradient_at(theta)

    def local_diffusion(self, theta: Array) -> Array:
        """Return η²C."""
        return self.learning_rate**2 * self.sgd.local.covariance_at(theta)

    def mean_diffusion(self, at: MomentVector) -> Array:
        """Return η² C̄, the mean covariance of one step's noise (T14)."""
        return self.learning_rate**2 * self.sgd.noise.mean_covariance(at.mass, at.mean, at.second)


@dataclass(frozen=True, eq=False, repr=False)
class MasterEquation(_Map):
    """The master equation (T4): the exact law of SGD itself; of an average of its iterates, that of (θ, m) (T20).

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.2)
    >>> equation = dfp.MasterEquation(sgd)
    >>> print(equation.label, dfp.moments(equation, dfp.Point(1.0), 3).mean.ravel().round(3))
    master equation (T4) [1.    0.8   0.64  0.512]
    """

    title = "master equation"
    number = "T4"

    def __new__(cls, sgd: SGD | Average) -> Any:
        """Return the law of an average where one is given."""
        if isinstance(sgd, Average):
            return AveragedEquation(sgd, cls(sgd.sgd))
        return super().__new__(cls)

    if TYPE_CHECKING:  # which knows a dataclass by its fields

        def __init__(self, sgd: SGD | Average) -> None: ...

    def __getnewargs__(self) -> tuple[SGD]:
        """Return what copies and pickles are made with."""
        return (self.sgd,)


@dataclass(frozen=True, eq=False, repr=False)
class DiscreteFokkerPlanck(_Map):
    """The discrete Fokker–Planck equation (T5): the master equation to order η², with the raw second moment S.

    Parameters
    ----------
    sgd
        The dynamics.
    order
        Kramers–Moyal terms kept, m >= 1 (T25); 2 is (T5), m → ∞ the master equation. Moments up to order m are those
        of SGD. Of other orders than 2 only moments are known, by ``dfp.moments`` and ``dfp.raw_moments``.

    Raises
    ------
    DFPError
        If ``order`` is not a whole number from 1 on.
    UnsupportedError
        Without replacement; with order 1, if SGD is not plain.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.2)
    >>> law = dfp.stationary(dfp.DiscreteFokkerPlanck(sgd))  # Student's t, with the variance of SGD
    >>> print(law.covariance.round(4), dfp.stationary_moments(dfp.MasterEquation(sgd)).covariance.round(4))
    [[0.1111]] [[0.1111]]
    """

    order: int = 2

    title = "discrete Fokker-Planck"
    number = "T5"
    truncated = True
    process = False

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_epochs(self)
        object.__setattr__(self, "order", checks.integer("order", self.order, at_least=1))
        if self.order != 2:
            object.__setattr__(self, "number", "T25")
            object.__setattr__(self, "moments_only", True)
        if self.order == 1 and not self.sgd.plain:
            raise UnsupportedError(
                f"order=1: SGD has {self.sgd.features}, and the drift alone is the same step every time; give one "
                "learning_rate and batch_size, or order=2."
            )

    @property
    def label(self) -> str:
        """Title, number and, where it is not (T5), the order."""
        return super().label + ("" if self.order == 2 else f" of order {self.order}")

    def record(self, last: int) -> dict[str, Any]:
        """Return also the order where it is not two."""
        return {**super().record(last), **({} if self.order == 2 else {"order": self.order})}

    @property
    def indefinite(self) -> bool:
        """Whether it is the drift alone, a step of which loses the variance of ηḡ."""
        return self.order == 1

    @property
    def additive(self) -> bool:
        """Whether the second cumulant of its steps does not depend on θ; −η²ḡḡᵀ of order 1 does."""
        return self.order > 1 and super().additive

    def local_diffusion(self, theta: Array) -> Array:
        """Return η²C; −η²ḡḡᵀ of order 1, which has no second moment."""
        if self.order > 1:
            return super().local_diffusion(theta)
        drift = self.local_drift(theta)
        return -drift[..., :, None] * drift[..., None, :]

    def mean_diffusion(self, at: MomentVector) -> Array:
        """Return η² C̄ (T14); of order 1 minus the mean of η²ḡḡᵀ, for a step has no second moment."""
        return super().mean_diffusion(at) if self.order > 1 else -_squared_drift(self, at)


def _squared_drift(equation: Equation, at: MomentVector) -> Array:
    """Return the mean of η²ḡḡᵀ = η²(H M Hᵀ + Hμgᵀ + gμᵀHᵀ + ggᵀ)."""
    k, offset = equation.linear_drift, equation.constant_drift
    crossed = outer(offset, at.mean @ k.T)
    return (
        k @ at.second @ k.T + crossed + transposed(crossed)
        + at.mass[..., None, None] * np.outer(offset, offset)
    )  # fmt: skip


class _Generator(Equation):
    discrete = False

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_epochs(self)
        if self.sgd.momentum:
            raise UnsupportedError(
                f"momentum={self.sgd.momentum:g}: the {self.label} is a diffusion of θ alone, and momentum moves "
                "(θ, v); use dfp.MasterEquation(sgd), or for slow motion an SGD with momentum=0 and "
                f"learning_rate=η/{1 - self.sgd.momentum:.3g}, its effective learning rate."
            )


# What (T6') is, unlike (T6).
_PER_STEP = {"number": "T6'", "discrete": True, "truncated": True, "process": False, "moments_only": True}


@dataclass(frozen=True, eq=False, repr=False)
class Langevin(_Generator):
    """The standard Langevin (Fokker–Planck) form (T6).

    Parameters
    ----------
    sgd
        The dynamics.
    noise
        ``"state"``: the covariance C(θ) of the place; ``"frozen"``: C at ``reference``.
    reference
        Where C is frozen, shape (d,); the critical point if left out [parameter].
    per_step
        True: its increment over one step, truncated, as the step itself (T6'), for plain SGD. Only its moments are
        known (``dfp.moments``, ``MomentRecursion``): its variances can be negative.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.2)
    >>> for equation in (dfp.Langevin(sgd), dfp.MasterEquation(sgd)):
    ...     print(equation.label, dfp.stationary_moments(equation).covariance.round(4))
    Langevin (T6) [[0.1]]
    master equation (T4) [[0.1111]]
    """

    noise: str = "state"
    reference: ArrayLike | None = None
    per_step: bool = False

    title = "Langevin"
    number = "T6"

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.choice("noise", self.noise, ("state", "frozen"))
        if self.reference is not None:
            object.__setattr__(self, "reference", checks.vector("reference", self.reference, self.dimension))
        checks.boolean("per_step", self.per_step)
        if self.per_step:
            if not self.sgd.plain:
                raise UnsupportedError(
                    f"per_step=True: SGD has {self.sgd.features}, and (T6') is the same step every time; give one "
                    "learning_rate and batch_size, or use dfp.Langevin(sgd)."
                )
            # What is fixed for every other equation depends on this choice.
            for name, value in _PER_STEP.items():
                object.__setattr__(self, name, value)

    @cached_property
    def rotated(self) -> "Langevin":
        """The equation of u, with C frozen at the same place."""
        place = None if self.reference is None else np.linalg.solve(self.sgd.root, np.asarray(self.reference))
        return replace(self, sgd=self.sgd.rotated, reference=place)

    @property
    def indefinite(self) -> bool:
        """Whether it is (T6'), of whose diffusion ḡḡᵀ is taken."""
        return self.per_step

    @property
    def additive(self) -> bool:
        """Whether the second cumulant of its steps does not depend on θ; that of (T6') always does, through ḡ."""
        return not self.per_step and self.sgd.affine and (self.noise == "frozen" or self.sgd.additive)

    @property
    def label(self) -> str:
        """Title, number and, for the additive reading, the word frozen."""
        parts = ["Langevin"] + ["frozen noise"] * (self.noise == "frozen") + ["per step"] * self.per_step
        return f"{', '.join(parts)} ({self.number})"

    def record(self, last: int) -> dict[str, Any]:
        """Return also whether it is taken per step."""
        return {**super().record(last), **({"per_step": True} if self.per_step else {})}

    @cached_property
    def _frozen(self) -> Array:
        if self.sgd.additive:
            return self.sgd.noise.constant  # whatever the place
        place = self.sgd.critical_point if self.reference is None else np.asarray(self.reference)
        return self.sgd.noise.covariance(place)

    def mode_rates(self, eigenvalues: Array) -> Array:
        """Return J = 1 for every mode; η per step."""
        return np.full_like(eigenvalues, self.learning_rate if self.per_step else 1.0)

    def local_drift(self, theta: Array) -> Array:
        """Return −ḡ; −ηḡ per step."""
        return -self.sgd.local.gradient_at(theta) * (self.learning_rate if self.per_step else 1.0)

    def local_diffusion(self, theta: Array) -> Array:
        """Return ηC, at the reference if the noise is frozen; η²(C − ḡḡᵀ) per step."""
        if self.per_step:
            drift = self.local_drift(theta)
            flow = replace(self, per_step=False).local_diffusion(theta)
            return self.learning_rate * flow - drift[..., :, None] * drift[..., None, :]
        if self.noise == "frozen":
            if self.reference is None:
                raise DFPError("reference=None: a nonlinear landscape has no one critical point; give reference=θ.")
            theta = np.broadcast_to(np.asarray(self.reference), theta.shape)
        return self.learning_rate * self.sgd.local.covariance_at(theta)

    def mean_diffusion(self, at: MomentVector) -> Array:
        """Return η C̄ (T15), or ηC(reference) if the noise is frozen; η times that, less the mean of η²ḡḡᵀ, per step.

        The second raw moment of a step of (T6') is η²C, where (T5) has η²(C + ḡḡᵀ).
        """
        if not self.per_step:
            return self._flow_diffusion(at)
        return self.learning_rate * self._flow_diffusion(at) - _squared_drift(self, at)

    def _flow_diffusion(self, at: MomentVector) -> Array:
        if self.noise == "frozen":
            return self.learning_rate * at.mass[..., None, None] * self._frozen
        return self.learning_rate * self.sgd.noise.mean_covariance(at.mass, at.mean, at.second)


@dataclass(frozen=True, eq=False, repr=False)
class ModifiedLangevin(_Generator):
    """The modified Langevin form: the logarithm of one SGD step as a Fokker–Planck equation.

    Parameters
    ----------
    sgd
        The dynamics.
    matched
        True: drift and diffusion matched to order η³ a step (T7m); False: drift alone (T7).
    positive
        With ``matched``: the form (T7m⁺) whose diffusion is never indefinite, equal to the same order.

    Notes
    -----
    ``local_drift`` and ``local_diffusion`` hold in any landscape; ``mode_rates`` and ``mean_diffusion`` are the same
    for affine gradients, as linear functions of moments (T15).

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.2)
    >>> for equation in (dfp.ModifiedLangevin(sgd), dfp.MasterEquation(sgd)):
    ...     print(equation.label, dfp.stationary_moments(equation).covariance.round(4))
    modified Langevin (T7m) [[0.1078]]
    master equation (T4) [[0.1111]]
    """

    matched: bool = True
    positive: bool = False

    title = "modified Langevin"
    number = "T7"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("matched", "positive"):
            checks.boolean(name, getattr(self, name))
        if self.positive and not self.matched:
            raise DFPError("positive=True: only the matched form has a positive variant; give matched=True.")

    @property
    def indefinite(self) -> bool:
        """Whether it is (T7m), matched but not in its positive form."""
        return self.matched and not self.positive

    def record(self, last: int) -> dict[str, Any]:
        """Return also the variant."""
        return {**super().record(last), "matched": bool(self.matched), "positive": bool(self.positive)}

    @property
    def label(self) -> str:
        """Title and the number of the variant."""
        variant = "T7" if not self.matched else "T7m+" if self.positive else "T7m"
        return f"modified Langevin ({variant})"

    def mode_rates(self, eigenvalues: Array) -> Array:
        """Return J = 1 + ηλ/2, plus η²λ²/3 if matched (T15)."""
        x = self.learning_rate * eigenvalues
        return 1 + x / 2 + (x**2 / 3 if self.matched else 0.0)

    def local_drift(self, theta: Array) -> Array:
        """Return minus the modified drift, with the terms in ∂∂ḡ if matched (T7m)."""
        return -modified_drift(self.sgd.local, theta, self.learning_rate, self.matched)

    def local_diffusion(self, theta: Array) -> Array:
        """Return ηC (T7), or η times the covariance of (T7m) or (T7m⁺)."""
        if not self.matched:
            return self.learning_rate * self.sgd.local.covariance_at(theta)
        return self.learning_rate * matched_covariance(self.sgd.local, theta, self.learning_rate, self.positive)

    def mean_diffusion(self, at: MomentVector) -> Array:
        """Return ηQ̄ of (T15)."""
        eta, noise = self.learning_rate, self.sgd.noise
        if self.positive:
            return eta * self._positive_diffusion(at)
        average = noise.mean_covariance(at.mass, at.mean, at.second)
        if not self.matched:
            return eta * average
        h, g = self.sgd.hessian, self.sgd.gradient
        gradient = at.mean @ h.T + at.mass[..., None] * g
        # Z of (T15): how the noise changes along the mean motion
        along = noise.quadratic(h @ at.second + outer(g, at.mean)) + noise.cross(gradient)
        product = h @ average + along
        return eta * (average + eta / 2 * (product + transposed(product)))

    def _positive_diffusion(self, at: MomentVector) -> Array:
        half = self.learning_rate / 2
        factor = np.eye(self.dimension) + half * self.sgd.hessian
        g = half * self.sgd.gradient
        moved = at.mean @ factor.T
        crossed = outer(g, moved)
        second = factor @ at.second @ factor.T + crossed + transposed(crossed)
        second = second + at.mass[..., None, None] * np.outer(g, g)
        mean = moved + at.mass[..., None] * g
        return factor @ self.sgd.noise.mean_covariance(at.mass, mean, second) @ factor.T


def modified_drift(local: Landscape, theta: Array, eta: float, matched: bool) -> Array:
    """Return ḡ + (η/2)Hḡ (T7), plus (η²/3)H²ḡ + η²(ḡ_jḡ_k/12 − C_jk/4) ∂_j∂_kḡ if matched (T7m), at ``theta``."""
    gradient, hessian = local.gradient_at(theta), local.hessian_at(theta)
    product = _times(hessian, gradient)
    if not matched:
        return gradient + eta / 2 * product
    weights = gradient[..., :, None] * gradient[..., None, :] / 12 - local.covariance_at(theta) / 4
    second = _times(hessian, product) / 3 + local.curved(theta, weights)
    return gradient + eta / 2 * product + eta**2 * second


def matched_covariance(local: Landscape, theta: Array, eta: float, positive: bool) -> Array:
    """Return C + (η/2)[HC + CH + (ḡ·∇)C] of (T7m) or, if ``positive``, its form (T7m⁺), at ``theta``."""
    gradient, hessian = local.gradient_at(theta), local.hessian_at(theta)
    if positive:
        factor = np.eye(local.dimension) + eta / 2 * hessian
        return factor @ local.covariance_at(theta + eta / 2 * gradient) @ np.swapaxes(factor, -1, -2)
    covariance = local.covariance_at(theta)
    product = hessian @ covariance
    along = local.covariance_along(theta, gradient)
    return covariance + eta / 2 * (product + np.swapaxes(product, -1, -2) + along)


def _times(matrix: Array, vector: Array) -> Array:
    return (matrix @ vector[..., None])[..., 0]
