"""Averages of the iterates of SGD: exponential (EMA), and of the tail (Polyak–Ruppert) (T20)."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from dfp import checks
from dfp.checks import Array
from dfp.errors import UnsupportedError
from dfp.problem.sgd import SGD


@dataclass(frozen=True, eq=False)
class Average(ABC):
    """A running average m' = m + w(θ' − m) of the iterates of ``sgd``; m = θ at step 0."""

    sgd: SGD

    def __post_init__(self) -> None:
        checks.instance("sgd", self.sgd, SGD, f"must be a dfp.SGD; give dfp.{type(self).__name__}(sgd, ...).")
        if not self.sgd.affine:
            raise UnsupportedError(
                "landscape is nonlinear: the moments of an average do not close there; use a dfp.QuadraticLandscape."
            )
        if not self.sgd.replace:
            raise UnsupportedError(
                "replace=False: an average remembers which samples of the epoch were used, so its moments need more "
                "than those of the iterates; use replace=True."
            )

    @property
    def iterate(self) -> SGD:
        """The dynamics whose iterates are averaged."""
        return self.sgd

    @property
    def dimension(self) -> int:
        """Number of parameters d."""
        return self.sgd.dimension

    @abstractmethod
    def weights(self, last: int) -> Array:
        """Return w of the steps 0 … ``last`` − 1, shape (last,)."""


@dataclass(frozen=True, eq=False)
class ExponentialAverage(Average):
    """The exponential moving average of the iterates, m' = γm + (1−γ)θ', with m = θ at step 0 (T20).

    Parameters
    ----------
    sgd
        The dynamics, with replacement, on a quadratic landscape.
    decay
        γ, 0 <= γ < 1; 0 is the last iterate.

    Raises
    ------
    DFPError
        If a value is out of range.
    UnsupportedError
        If the landscape is nonlinear, or sampling without replacement.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.2)
    >>> averaged = dfp.ExponentialAverage(sgd, decay=0.9)
    >>> for what in (sgd, averaged):
    ...     print(dfp.stationary_moments(dfp.MasterEquation(what)).covariance.round(4))
    [[0.1111]]
    [[0.0359]]
    """

    decay: float = 0.999

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "decay", checks.real("decay", self.decay, at_least=0, below=1))

    def weights(self, last: int) -> Array:
        """Return 1 − γ for every step."""
        return np.full(last, 1 - self.decay)


@dataclass(frozen=True, eq=False)
class TailAverage(Average):
    """The mean of the iterates after step ``start`` (Polyak–Ruppert): m' = m + (θ'−m)/k, k = n − start (T20).

    Parameters
    ----------
    sgd
        The dynamics, with replacement, on a quadratic landscape.
    start
        Last step left out, >= 0: at step n > start, m is the mean of θ at the steps start + 1 … n; before, it is θ.

    Raises
    ------
    DFPError
        If a value is out of range.
    UnsupportedError
        If the landscape is nonlinear, or sampling without replacement.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.2)
    >>> mean = dfp.MasterEquation(dfp.TailAverage(sgd, start=50))
    >>> print(dfp.moments(mean, dfp.Point(1.0), 500, [50, 500]).covariance.ravel().round(4))
    [0.1111 0.0022]
    """

    start: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "start", checks.integer("start", self.start))

    def weights(self, last: int) -> Array:
        """Return 1/k, and 1 where the tail has not begun."""
        return 1.0 / np.maximum(np.arange(1, last + 1) - self.start, 1)
