"""SGD on a landscape: the random affine map θ' = θ − η g_ξ(θ) (T1)."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError, UnsupportedError
from dfp.landscape import QuadraticLandscape
from dfp.noise import NoiseLaw


@dataclass(frozen=True, eq=False)
class SGD:
    """Stochastic gradient descent with a constant learning rate.

    Parameters
    ----------
    landscape
        The quadratic landscape it moves in.
    learning_rate
        η > 0 [parameter^2 / loss].
    momentum
        Only 0 is supported by this version.
    weight_decay
        L2 weight decay ω >= 0, added to the Hessian as ωI [loss / parameter^2].
    replace
        Minibatches are drawn with replacement; only True is supported by this version.
    batch_size
        Samples per minibatch; replaces the landscape's for a finite sum, divides the variances of Gaussian noise.
        ``None`` keeps the landscape's noise as it is.

    Raises
    ------
    DFPError
        If a value is out of range.
    """

    landscape: QuadraticLandscape
    learning_rate: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    replace: bool = True
    batch_size: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.landscape, QuadraticLandscape):
            raise DFPError(f"landscape={checks.shown(self.landscape)}: must be a dfp.QuadraticLandscape; make one.")
        object.__setattr__(self, "learning_rate", checks.real("learning_rate", self.learning_rate, above=0))
        object.__setattr__(self, "weight_decay", checks.real("weight_decay", self.weight_decay, at_least=0))
        if checks.real("momentum", self.momentum, at_least=0, below=1) != 0:
            raise UnsupportedError(f"momentum={self.momentum:g}: not supported by this version; use momentum=0.")
        if not checks.boolean("replace", self.replace):
            raise UnsupportedError(f"replace={self.replace}: only sampling with replacement is supported; use True.")
        if self.batch_size is not None:
            checks.integer("batch_size", self.batch_size, at_least=1)

    @property
    def dimension(self) -> int:
        """Number of parameters d."""
        return self.landscape.dimension

    @cached_property
    def hessian(self) -> Array:
        """Mean Hessian including weight decay, H + ωI, shape (d, d)."""
        result: Array = self.landscape.hessian + self.weight_decay * np.eye(self.dimension)
        return result

    @property
    def gradient(self) -> Array:
        """Mean gradient g at θ = 0, shape (d,)."""
        return self.landscape.gradient

    @cached_property
    def noise(self) -> NoiseLaw:
        """Law of the minibatch fluctuations at this batch size."""
        law = self.landscape.law
        return law if self.batch_size is None else law.with_batch_size(self.batch_size)

    @cached_property
    def modes(self) -> tuple[Array, Array]:
        """Eigenvalues (d,), ascending, and orthonormal eigenvectors (d, d), columns, of the mean Hessian."""
        values, vectors = np.linalg.eigh(self.hessian)
        return values, vectors

    @cached_property
    def critical_point(self) -> Array:
        """The point closest to the origin that minimises ‖Hθ + g‖, shape (d,)."""
        result: Array = -np.linalg.pinv(self.hessian, rcond=1e-12) @ self.gradient
        return result
