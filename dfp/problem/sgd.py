"""SGD on a landscape: θ' = θ − η g_ξ(θ) (T1), an affine map where it is quadratic; with momentum (T19)."""

from collections.abc import Iterator
from dataclasses import dataclass
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
from dfp.problem.noise import NoiseLaw
from dfp.problem.nonlinear import Landscape
from dfp.problem.schedules import PerStep, Rule


@dataclass(frozen=True, eq=False, init=False)
class SGD:
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
    """

    landscape: QuadraticLandscape | Landscape
    learning_rates: PerStep
    momentum: float
    weight_decay: float
    replace: bool
    batches: PerStep | None
    nesterov: bool

    def __init__(
        self,
        landscape: QuadraticLandscape | Landscape,
        learning_rate: ArrayLike | Rule | PerStep,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        replace: bool = True,
        batch_size: int | ArrayLike | Rule | None = None,
        nesterov: bool = False,
    ) -> None:
        advice = "must be a landscape; give e.g. a dfp.QuadraticLandscape."
        checks.instance("landscape", landscape, QuadraticLandscape | Landscape, advice)
        values = {
            "landscape": landscape,
            "learning_rates": _rates(learning_rate),
            "momentum": checks.real("momentum", momentum, at_least=0, below=1),
            "weight_decay": checks.real("weight_decay", weight_decay, at_least=0),
            "replace": checks.boolean("replace", replace),
            "batches": None if batch_size is None else PerStep("batch_size", batch_size, whole=True),
            "nesterov": checks.boolean("nesterov", nesterov),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        if self.nesterov and self.momentum == 0:
            raise DFPError("nesterov=True: needs momentum > 0; give momentum=0.9, or leave nesterov out.")
        if not self.affine and not (self.replace and (self.batches is None or self.batches.constant)):
            raise UnsupportedError(
                f"landscape is nonlinear: {self.features} is not supported there by this version; leave it out."
            )
        if not self.replace:
            self._check_epochs()

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
    def dimension(self) -> int:
        """Number of parameters d."""
        return self.landscape.dimension

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
        return SGD(
            self.landscape, self.learning_rates, self.momentum, self.weight_decay, True, self.batch_size, self.nesterov
        )

    def record(self, last: int) -> dict[str, Any]:
        """Return its settings for steps up to ``last``, as entries of a file's provenance."""
        return {
            "learning_rate": self.learning_rates.record(last),
            "momentum": self.momentum,
            "nesterov": self.nesterov,
            "weight_decay": self.weight_decay,
            "replace": self.replace,
            "batch_size": None if self.batches is None else self.batches.record(last),
        }

    def at(self, step: int) -> "SGD":
        """Return the dynamics with the learning rate and batch size of ``step`` at every step."""
        if not self.scheduled:
            return self
        rate = PerStep("learning_rate", self.learning_rates.at(step))
        size = None if self.batches is None else self.batches.at(step)
        result = SGD(self.landscape, rate, self.momentum, self.weight_decay, self.replace, size, self.nesterov)
        # They do not depend on the step, and are the dear part.
        result.__dict__.update(hessian=self.hessian, modes=self.modes)
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
    def affine(self) -> bool:
        """Whether the landscape is quadratic, so that every step is an affine map."""
        return self.landscape.affine

    @property
    def additive(self) -> bool:
        """Whether the noise is known not to depend on θ."""
        return self.affine and self.law.additive

    @property
    def law(self) -> NoiseLaw:
        """The landscape's own noise law, at its own batch size."""
        return self._quadratic.law

    @cached_property
    def local(self) -> Landscape:
        """The landscape at this weight decay and batch size, as functions of the place, quadratic or not."""
        if isinstance(self.landscape, Landscape):
            return self.landscape.adjusted(self.weight_decay, self.batch_size)
        hessian, gradient = self.hessian, self.gradient
        return Landscape(
            lambda at: at @ hessian.T + gradient,
            self.noise.covariance,
            self.dimension,
            lambda at: np.broadcast_to(hessian, (len(at), *hessian.shape)),
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
        """Mean Hessian including weight decay, H + ωI, shape (d, d)."""
        given = self._quadratic.hessian
        return given + self.weight_decay * np.eye(len(given)) if self.weight_decay else given.copy()

    def hessian_times(self, vectors: Array) -> Array:
        """Return (H + ωI) ``vectors`` (d, k), without a matrix where the landscape's Hessian is diagonal."""
        return self._quadratic.hessian_times(vectors) + self.weight_decay * vectors

    @property
    def gradient(self) -> Array:
        """Mean gradient g at θ = 0, shape (d,)."""
        return self._quadratic.gradient

    @cached_property
    def noise(self) -> NoiseLaw:
        """Law of the minibatch fluctuations of one step; raises ``UnsupportedError`` if the batch size changes."""
        law, size = self._quadratic.law, self.batch_size
        return law if size is None else law.with_batch_size(size)

    @cached_property
    def unit_noise(self) -> NoiseLaw:
        """Law of the fluctuations whose moments over ``samples_at(n)`` are those of step n (T13)."""
        law = self._quadratic.law
        return law if self.batches is None else law.with_batch_size(1)

    def samples_at(self, step: int) -> int:
        """Return B of ``step`` if a batch size is given, else 1: the landscape's noise is then that of one step."""
        return 1 if self.batches is None else int(self.batches.at(step))

    @cached_property
    def modes(self) -> tuple[Array, Array]:
        """Eigenvalues (d,), ascending, and orthonormal eigenvectors (d, d), columns, of the mean Hessian."""
        return matrices.eigenbasis(self.hessian)

    @cached_property
    def critical_point(self) -> Array:
        """The point closest to the origin that minimises ‖Hθ + g‖, shape (d,); ``DFPError`` if it is out of range."""
        with np.errstate(over="ignore", invalid="ignore"):
            values, vectors = self.modes
            steep = values != 0
            result: Array = -vectors[:, steep] @ ((self.gradient @ vectors[:, steep]) / values[steep])
        if not checks.finite(result):
            raise DFPError(
                f"hessian has the eigenvalues {checks.shown(self.modes[0])}: so flat that the critical point "
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


def _rates(given: ArrayLike | Rule | PerStep) -> PerStep:
    """Return learning rates: a constant must be positive, while a schedule may end at 0, where steps stand still."""
    if isinstance(given, PerStep):
        return given
    if isinstance(given, np.ndarray) and given.ndim == 0:
        given = given[()]
    if not (callable(given) or isinstance(given, (list, tuple, np.ndarray))):
        checks.real("learning_rate", given, above=0)
    return PerStep("learning_rate", given)
