"""SGD on a landscape: θ' = θ − η g_ξ(θ) (T1), an affine map where it is quadratic; with momentum (T19)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from dfp_solvers import matrices
from numpy.typing import ArrayLike

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError, UnsupportedError
from dfp.problem.finite_sum import FiniteSumLaw
from dfp.problem.landscape import QuadraticLandscape
from dfp.problem.moved_law import moved
from dfp.problem.noise import NoiseLaw
from dfp.problem.nonlinear import Landscape
from dfp.problem.schedules import PerStep, Rule
from dfp.problem.value import Value, takes_fields

_LANDSCAPES = QuadraticLandscape | Landscape


@dataclass(frozen=True, eq=False, init=False, repr=False)
class SGD(Value):
    """Stochastic gradient descent, as optimisers run it.

    Parameters
    ----------
    landscape
        The landscape it moves in: a ``QuadraticLandscape``, or a nonlinear ``Landscape``, there without epochs and
        schedules of batch sizes; with momentum or a schedule of learning rates it is sampled (``MonteCarlo``).
    learning_rate
        η > 0 [parameter^2 / loss]; or a schedule, >= 0: an array with one entry per step or a function of the step
        n = 0, 1, …, such as ``dfp.CosineSchedule``.
    momentum
        β, 0 <= β < 1: v' = βv + g_ξ(θ), θ' = θ − ηv' (heavy ball, as in PyTorch; v = 0 at step 0).
    weight_decay
        L2 weight decay ω >= 0, added to the Hessian as ωI [loss / parameter^2].
    replace
        True: every minibatch is drawn afresh with replacement. False (finite sums only): in epochs, each a fresh
        shuffle of the N samples cut into ⌊N/B⌋ minibatches; the rest of the shuffle is left out.
    batch_size
        Samples B per minibatch; replaces the landscape's for a finite sum, divides the variances of Gaussian noise.
        ``None`` keeps the landscape's noise as it is. With replacement also a schedule.
    nesterov
        Nesterov's form of momentum, θ' = θ − η(g_ξ(θ) + βv'), as in PyTorch; needs ``momentum`` > 0.
    preconditioner
        P, symmetric and positive definite, (d,) or (d, d): gradients are multiplied by it, θ' = θ − ηP g_ξ(θ), weight
        decay too, as of frozen Adam or RMSProp, or of one learning rate for each parameter, ηP_ii.
    temperature
        T >= 0 of Langevin dynamics in steps (SGLD): every step adds √(2ηT) P^{1/2} ε, ε standard normal, as gradient
        noise of covariance 2T/η would (at P = 1); minibatches do not average it [loss]. Without momentum, schedules
        and epochs.

    Attributes
    ----------
    learning_rates
        η of every step, as given.
    batches
        B of every step, as given.

    Raises
    ------
    DFPError
        If a value is out of range.
    UnsupportedError
        If sampling without replacement is asked of noise that is no finite sum, or with a schedule of batch sizes.

    Examples
    --------
    >>> import dfp
    >>> bowl = dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0]))
    >>> heavy = dfp.SGD(bowl, learning_rate=0.02, momentum=0.9)
    >>> cooled = dfp.SGD(bowl, learning_rate=dfp.CosineSchedule(0.2, steps=50))
    >>> for sgd in (heavy, cooled):
    ...     print(dfp.moments(dfp.MasterEquation(sgd), dfp.Point(1.0), 50, [50]).covariance.round(4))
    [[[0.0998]]]
    [[[0.0316]]]
    """

    landscape: QuadraticLandscape | Landscape
    learning_rates: PerStep
    momentum: float
    weight_decay: float
    replace: bool
    batches: PerStep | None
    nesterov: bool
    preconditioner: Array | None
    temperature: float
    dimension: int = field(init=False, compare=False)
    """Number of parameters d."""
    affine: bool = field(init=False, compare=False)
    """Whether the landscape is quadratic, so that every step is an affine map."""

    @takes_fields(learning_rates="learning_rate", batches="batch_size")
    def __init__(
        self,
        landscape: QuadraticLandscape | Landscape,
        learning_rate: ArrayLike | Rule | PerStep,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        replace: bool = True,
        batch_size: int | ArrayLike | Rule | PerStep | None = None,
        nesterov: bool = False,
        preconditioner: ArrayLike | None = None,
        temperature: float = 0.0,
    ) -> None:
        advice = "must be a landscape; give e.g. a dfp.QuadraticLandscape."
        checks.instance("landscape", landscape, _LANDSCAPES, advice)
        vars(self).update(
            landscape=landscape,
            learning_rates=_rates(learning_rate, landscape.dimension),
            momentum=checks.real("momentum", momentum, at_least=0, below=1),
            weight_decay=checks.real("weight_decay", weight_decay, at_least=0),
            replace=checks.boolean("replace", replace),
            batches=_sizes(batch_size),
            nesterov=checks.boolean("nesterov", nesterov),
            preconditioner=_preconditioner(preconditioner, landscape.dimension),
            temperature=checks.real("temperature", temperature, at_least=0),
            dimension=landscape.dimension,
            affine=landscape.affine,
        )
        if self.nesterov and self.momentum == 0:
            raise DFPError("nesterov=True: needs momentum > 0; give momentum=0.9, or leave nesterov out.")
        if not self.affine and not (self.replace and (self.batches is None or self.batches.constant)):
            raise UnsupportedError(
                f"landscape is nonlinear: {self.features} is not supported there by this version; leave it out."
            )
        if self.temperature and not self.plain:
            raise UnsupportedError(
                f"temperature={self.temperature:g}: with {self.features} its noise would differ from step to step, or "
                "have several readings; give one learning_rate and batch_size, no momentum and replace=True."
            )
        if not self.replace:
            self._check_epochs()

    def changed(self, **changes: Any) -> "SGD":
        """Return the dynamics with other settings, such as ``sgd.changed(learning_rate=0.2)``; so ``copy.replace``."""
        return SGD(**(self._arguments() | changes))

    def _arguments(self) -> dict[str, Any]:
        return {
            "landscape": self.landscape,
            "learning_rate": self.learning_rates,
            "momentum": self.momentum,
            "weight_decay": self.weight_decay,
            "replace": self.replace,
            "batch_size": self.batches,
            "nesterov": self.nesterov,
            "preconditioner": self.preconditioner,
            "temperature": self.temperature,
        }

    def _check_epochs(self) -> None:
        law = _samples(self._quadratic.law)
        if self.batches is not None and not self.batches.constant:
            raise UnsupportedError(
                "batch_size is a schedule: an epoch without replacement is cut into equal minibatches; give one "
                "batch_size, or use replace=True."
            )
        size = law.batch_size if self.batches is None else self.batches.value
        if size > law.count:
            raise DFPError(
                f"batch_size={size}: must be at most the {law.count} samples without replacement; give a smaller one."
            )

    @property
    def parameters(self) -> tuple[str, ...] | None:
        """Names that the landscape gives its parameters, d; None where they have none."""
        names = self.landscape.parameters
        return None if names is None else tuple(names)

    @property
    def learning_rate(self) -> float:
        """η [parameter^2 / loss]; raises ``UnsupportedError`` if it is a schedule."""
        return float(self.learning_rates.value)

    @property
    def rates(self) -> PerStep:
        """``learning_rates`` under their former name."""
        return self.learning_rates

    @property
    def batch_size(self) -> int | None:
        """B, or None as given; raises ``UnsupportedError`` if it is a schedule."""
        return None if self.batches is None else int(self.batches.value)

    @property
    def averaged_samples(self) -> int | None:
        """Samples that a step averages; None where the noise is given as that of a step, of whatever it averages."""
        if self.batch_size is None and self.noise.batch_size == 1 and not self.noise.shuffles:
            return None
        return self.batch_size or self.noise.batch_size

    @cached_property
    def scheduled(self) -> bool:
        """Whether learning rate or batch size change from step to step."""
        return not self.learning_rates.constant or not (self.batches is None or self.batches.constant)

    @cached_property
    def plain(self) -> bool:
        """Whether every step is the same random affine map of θ alone, independent of the others (T1)."""
        return self.momentum == 0 and self.replace and not self.scheduled

    @property
    def features(self) -> str:
        """What makes it more than plain, in words for messages; empty if plain."""
        parts = [f"momentum={self.momentum:g}"] if self.momentum else []
        parts += ["a schedule"] if self.scheduled else []
        return ", ".join(parts if self.replace else [*parts, "replace=False"])

    @property
    def epoch(self) -> int:
        """Number of steps K = ⌊N/B⌋ of an epoch without replacement; 0 with replacement."""
        if self.replace:
            return 0
        return self.samples.count // self.samples.batch_size

    @property
    def samples(self) -> FiniteSumLaw:
        """``noise`` as a finite sum, where it is one (``noise.shuffles``); else ``UnsupportedError``."""
        return _samples(self.noise)

    @property
    def redrawn(self) -> "SGD":
        """The same dynamics with every minibatch drawn afresh with replacement."""
        if self.replace:
            return self
        return self.changed(replace=True)

    def record(self, last: int) -> dict[str, Any]:
        """Return its settings for steps up to ``last``, as entries of a file's provenance."""
        return {
            "learning_rate": self.learning_rates.record(last),
            "momentum": self.momentum,
            "nesterov": self.nesterov,
            "weight_decay": self.weight_decay,
            "replace": self.replace,
            "batch_size": None if self.batches is None else self.batches.record(last),
            **({} if self.preconditioner is None else {"preconditioner": self.preconditioner.tolist()}),
            **({"temperature": self.temperature} if self.temperature else {}),
            **({"epoch": self.epoch} if self.epoch else {}),
        }

    def at(self, step: int) -> "SGD":
        """Return the dynamics with the learning rate and batch size of ``step`` at every step."""
        if not self.scheduled:
            return self
        rate = PerStep("learning_rate", self.learning_rates.at(step))
        size = None if self.batches is None else self.batches.at(step)
        result = self.changed(learning_rate=rate, batch_size=size)
        # They do not depend on the step, and are the dear part.
        result.__dict__.update(hessian=self.hessian, modes_of_map=self.modes_of_map)
        return result

    def runs(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Yield the runs of steps alike in learning rate and batch size: the first step of each, and its length."""
        if not self.scheduled or first == last:
            yield first, last - first
            return
        rates = self.learning_rates.values(first, last)
        sizes = np.ones_like(rates) if self.batches is None else self.batches.values(first, last)
        changes = np.flatnonzero((np.diff(rates) != 0) | (np.diff(sizes) != 0)) + 1
        edges = [0, *changes.tolist(), last - first]
        for begin, end in pairwise(edges):
            yield first + begin, end - begin

    def time(self, steps: ArrayLike) -> Array:
        """Return slow time τ_n = Σ_{s<n} η_s at ``steps`` (S,), shape (S,)."""
        wanted = np.asarray(steps, dtype=np.int64)
        if self.learning_rates.constant:
            return wanted * self.learning_rate
        sums: Array = np.concatenate([[0.0], np.cumsum(self.learning_rates.values(0, int(wanted.max())))])
        return sums[wanted]

    @property
    def additive(self) -> bool:
        """Whether the noise is known not to depend on θ."""
        return self.affine and self.law.additive

    @property
    def law(self) -> NoiseLaw:
        """Law of the noise of P g_ξ, and of the heat, at the landscape's own batch size."""
        return self._moved_law if self.moves else self._quadratic.law

    @property
    def moves(self) -> bool:
        """Whether a preconditioner or a temperature makes steps of more than minibatch gradients."""
        return self.preconditioner is not None or self.temperature > 0

    @cached_property
    def preconditioning(self) -> Array:
        """P, shape (d, d); the identity if left out."""
        return np.eye(self.dimension) if self.preconditioner is None else self.preconditioner

    @cached_property
    def heat(self) -> Array:
        """(2T/η) P, the covariance that the temperature adds to that of P g_ξ, shape (d, d)."""
        if not self.temperature:
            return np.zeros((self.dimension, self.dimension))
        return 2 * self.temperature / self.learning_rate * self.preconditioning

    @cached_property
    def _moved_law(self) -> NoiseLaw:
        eye = np.eye(self.dimension)
        return moved(self._sampled, self.preconditioning, eye, self.heat, self.weight_decay)

    @property
    def _sampled(self) -> NoiseLaw:
        """The law of minibatch gradients; at this batch size where heat, which it does not average, is to be added."""
        law, size = self._quadratic.law, self.batch_size if self.temperature else None
        return law if size is None else law.with_batch_size(size)

    @property
    def sample_decay(self) -> float:
        """Weight decay that the samples of ``law`` lack: they have it where they are preconditioned or heated."""
        return 0.0 if self.moves else self.weight_decay

    @property
    def commutes(self) -> bool:
        """Whether PH is symmetric, so that modes are orthogonal: always without a preconditioner."""
        return self.preconditioner is None or self._symmetric

    @cached_property
    def _symmetric(self) -> bool:
        hessian = self.hessian
        return bool(np.max(np.abs(hessian - hessian.T)) <= 1e-14 * np.max(np.abs(hessian), initial=0.0))

    @cached_property
    def _roots(self) -> tuple[Array, Array]:
        """P^{1/2} and P^{-1/2}."""
        values, vectors = matrices.eigenbasis(self.preconditioning)
        return (vectors * np.sqrt(values)) @ vectors.T, (vectors / np.sqrt(values)) @ vectors.T

    @property
    def root(self) -> Array:
        """P^{1/2}, by which θ = P^{1/2}u, shape (d, d)."""
        return self._roots[0]

    @cached_property
    def rotated(self) -> "SGD":
        """The same dynamics for u, θ = P^{1/2}u: without preconditioner, of P^{1/2}HP^{1/2} and P^{1/2}g̃."""
        if self.preconditioner is None:
            return self
        root, landscape = self._roots[0], self._quadratic
        heat = self.heat if not self.temperature else 2 * self.temperature / self.learning_rate * np.eye(self.dimension)
        law = moved(self._sampled, root, root, heat, self.weight_decay)
        hessian = root @ self.loss_hessian @ root
        turned = QuadraticLandscape((hessian + hessian.T) / 2, root @ landscape.gradient, law)
        plain = self.changed(landscape=turned, preconditioner=None, temperature=0.0, weight_decay=0.0)
        return plain.changed(batch_size=None) if self.temperature else plain

    @cached_property
    def loss_hessian(self) -> Array:
        """Mean Hessian of the loss that is minimised, H + ωI, before any preconditioner, shape (d, d)."""
        given = self._quadratic.hessian
        return given + self.weight_decay * np.eye(len(given)) if self.weight_decay else given.copy()

    @property
    def loss_gradient(self) -> Array:
        """Mean gradient of the loss at θ = 0, before any preconditioner, shape (d,)."""
        return self._quadratic.gradient

    @cached_property
    def loss_landscape(self) -> Landscape:
        """A nonlinear landscape at this weight decay and batch size, before any preconditioner."""
        assert isinstance(self.landscape, Landscape)
        return self.landscape.adjusted(self.weight_decay, self.batch_size)

    @cached_property
    def local(self) -> Landscape:
        """The landscape at this weight decay and batch size, as functions of the place, quadratic or not."""
        if isinstance(self.landscape, Landscape):
            adjusted = self.loss_landscape
            return adjusted.preconditioned(self.preconditioning, self.heat) if self.moves else adjusted
        hessian, gradient = self.hessian, self.gradient
        return Landscape(
            lambda at: at @ hessian.T + gradient,
            self.noise.covariance,
            self.dimension,
            lambda at: np.broadcast_to(hessian, (len(at), *hessian.shape)),
            parameters=self.parameters,
        )

    @property
    def _quadratic(self) -> QuadraticLandscape:
        if isinstance(self.landscape, QuadraticLandscape):
            return self.landscape
        raise UnsupportedError(
            "landscape is nonlinear: it has no one Hessian, so moments do not close and nothing is affine; solve for "
            "densities with dfp.solve(...), or expand it about a point as a dfp.QuadraticLandscape."
        )

    @cached_property
    def hessian(self) -> Array:
        """What moves the mean: P(H + ωI), weight decay included, shape (d, d); not symmetric unless P commutes."""
        return self.loss_hessian if self.preconditioner is None else self.preconditioner @ self.loss_hessian

    def pulled_back(self, vectors: Array) -> Array:
        """Return (P(H + ωI))ᵀ ``vectors`` (d, k), without a matrix where the landscape's Hessian is diagonal."""
        moved = vectors if self.preconditioner is None else self.preconditioner @ vectors
        return self._quadratic.hessian_times(moved) + self.weight_decay * moved

    @property
    def gradient(self) -> Array:
        """Mean gradient at θ = 0, Pg, shape (d,)."""
        return self.loss_gradient if self.preconditioner is None else self.preconditioner @ self.loss_gradient

    @cached_property
    def noise(self) -> NoiseLaw:
        """Law of the minibatch fluctuations of one step; raises ``UnsupportedError`` if the batch size changes."""
        law, size = self.law, None if self.temperature else self.batch_size
        return law if size is None else law.with_batch_size(size)

    @cached_property
    def unit_noise(self) -> NoiseLaw:
        """Law of the fluctuations whose moments over ``samples_at(n)`` are those of step n (T13)."""
        if self.temperature:  # which no batch size averages
            return self.noise
        return self.law if self.batches is None else self.law.with_batch_size(1)

    def samples_at(self, step: int) -> int:
        """Return B of ``step`` if a batch size is given, else 1: the landscape's noise is then that of one step."""
        return 1 if self.batches is None or self.temperature else int(self.batches.at(step))

    @cached_property
    def modes(self) -> tuple[Array, Array]:
        """Eigenvalues (d,), ascending, and orthonormal eigenvectors (d, d), columns, of the mean Hessian.

        Raises
        ------
        UnsupportedError
            If a preconditioner makes them oblique: those of ``rotated`` are not.
        """
        if not self.commutes:
            raise UnsupportedError(
                "preconditioner does not commute with the Hessian: the modes of PH are oblique, and this needs "
                "orthogonal ones; use dfp.moments, dfp.stationary_moments, dfp.modes or dfp.MonteCarlo(...), or give a "
                "preconditioner in the eigenbasis of the Hessian."
            )
        return matrices.eigenbasis(self.hessian if self.preconditioner is None else (self.hessian + self.hessian.T) / 2)

    @cached_property
    def modes_of_map(self) -> tuple[Array, Array, Array]:
        """Eigenvalues (d,) of ``hessian``, its right eigenvectors W (d, d), columns, and W⁻¹; W = P^{1/2}V (D)."""
        if self.commutes:
            values, vectors = self.modes
            return values, vectors, vectors.T
        values, vectors = self.rotated.modes
        root, inverse = self._roots
        return values, root @ vectors, vectors.T @ inverse

    @cached_property
    def critical_point(self) -> Array:
        """The point closest to the origin that minimises ‖Hθ + g‖, shape (d,); ``DFPError`` if it is out of range."""
        with np.errstate(over="ignore", invalid="ignore"):
            values, vectors = self.modes if self.preconditioner is None else matrices.eigenbasis(self.loss_hessian)
            steep = values != 0
            result: Array = -vectors[:, steep] @ ((self.loss_gradient @ vectors[:, steep]) / values[steep])
        if not checks.finite(result):
            raise DFPError(
                f"hessian has the eigenvalues {checks.shown(values)}: so flat that the critical point "
                "overflows; set curvatures this small to 0."
            )
        return result


def _samples(law: NoiseLaw) -> FiniteSumLaw:
    if isinstance(law, FiniteSumLaw) and law.shuffles:
        return law
    raise UnsupportedError(
        "replace=False: only a finite sum has samples to shuffle; make the landscape with from_regression or "
        "from_samples, or use replace=True."
    )


def _sizes(given: int | ArrayLike | Rule | PerStep | None) -> PerStep | None:
    return given if given is None or isinstance(given, PerStep) else PerStep("batch_size", given, whole=True)


def _rates(given: ArrayLike | Rule | PerStep, dimension: int) -> PerStep:
    """Return learning rates: a constant must be positive, while a schedule may end at 0, where steps stand still.

    Raises
    ------
    DFPError
        If there are as many numbers as parameters, d > 1: they could be one for each of these.
    """
    if isinstance(given, PerStep):
        return given
    if isinstance(given, np.ndarray) and given.ndim == 0:
        given = given[()]
    if isinstance(given, (list, tuple, np.ndarray)):
        if dimension > 1 and len(given) == dimension and np.ndim(given) == 1:
            raise DFPError(
                f"learning_rate has {dimension} entries, as many as there are parameters, so that it has two readings; "
                "give learning_rate=1.0 and preconditioner=rates for one rate per parameter, or "
                "learning_rate=dfp.Schedule(rates) for one per step."
            )
    elif not callable(given):
        checks.real("learning_rate", given, above=0)
    return PerStep("learning_rate", given)


def _preconditioner(given: ArrayLike | None, dimension: int) -> Array | None:
    """Return P (d, d), symmetric and positive definite, or None."""
    if given is None:
        return None
    matrix = checks.covariance("preconditioner", given, dimension)
    lowest, highest = np.linalg.eigvalsh(matrix)[[0, -1]]
    if not lowest > 1e-14 * highest:
        raise DFPError(
            f"preconditioner has the eigenvalue {lowest:.3g}: must be positive definite; give positive factors, as "
            "1 / (sqrt(v) + eps) of Adam."
        )
    return matrix
