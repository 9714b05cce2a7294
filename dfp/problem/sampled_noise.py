"""Minibatch noise of a nonlinear landscape as a user draws it, where it is not Gaussian."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError
from dfp.problem.value import Value, shown

Draw = Callable[[Array, np.random.Generator], Array]
# Draws at one place that are compared with what is said of them; means may be this many standard errors off, which a
# law with a variance is in one of 1e15 cases, and variances by this factor, which tails as of a t(3) stay within.
_DRAWS, _FAR, _FACTOR = 4096, 8.0, 3.0


@dataclass(frozen=True, eq=False, repr=False)
class SampledNoise(Value):
    """Draws of g_ξ(θ) − ḡ(θ), averaged over ``batch_size`` of them.

    Attributes
    ----------
    given
        The user's function of places (N, d) and a generator, which returns one draw for each place, (N, d).
    """

    given: Draw
    batch_size: int = 1

    def __repr__(self) -> str:
        """Return the name of what was given."""
        return shown(self.given)

    def __call__(self, theta: Array, rng: np.random.Generator) -> Array:
        """Return one draw for each of ``theta`` (N, d), shape (N, d)."""
        total = self._drawn(theta, rng)
        for _ in range(self.batch_size - 1):
            total += self._drawn(theta, rng)
        return total / self.batch_size

    def averaged(self, batch_size: int) -> "SampledNoise":
        """Return the noise of the average over ``batch_size`` such minibatches."""
        return SampledNoise(self.given, self.batch_size * batch_size)

    def _drawn(self, theta: Array, rng: np.random.Generator) -> Array:
        try:  # copies, for a function may write into its argument and return one buffer at every call
            found = np.array(np.ma.filled(self.given(theta.copy(), rng), np.nan), dtype=np.float64)
        except DFPError:
            raise
        except Exception as error:
            raise DFPError(
                f"noise: raised {type(error).__name__} ({error}) for θ of shape {theta.shape}; write it as "
                "noise(theta, rng), of places (N, d) and a numpy.random.Generator."
            ) from error
        if found.shape != theta.shape:
            raise DFPError(
                f"noise: returned shape {found.shape} for θ of shape {theta.shape}: must be one draw for each place, "
                f"{theta.shape}; draw with rng.…(size=theta.shape)."
            )
        if not checks.finite(found):
            bad = theta[np.flatnonzero(~np.isfinite(found).all(axis=1))[0]]
            raise DFPError(f"noise is not finite at θ = {bad}; correct it.")
        return found


def sampled_noise(given: Any, place: Array, covariance: Array) -> SampledNoise:
    """Return ``given`` as noise, whose mean and variances at ``place`` (d,) are those that are said of it.

    Raises
    ------
    DFPError
        If it is no function, raises, returns another shape, has a mean, or not about the variances of ``covariance``.
    """
    if isinstance(given, SampledNoise):
        return given
    if not callable(given):
        raise DFPError(f"noise={checks.shown(given)}: must be a function noise(theta, rng) -> (N, d); give one.")
    noise = SampledNoise(given)
    draws = noise(np.tile(place, (_DRAWS, 1)), np.random.default_rng(0))
    mean, variances, said = draws.mean(axis=0), draws.var(axis=0), covariance.diagonal()
    if np.any(np.abs(mean) > _FAR * np.sqrt(variances / _DRAWS) + 1e-12 * np.sqrt(said)):
        raise DFPError(
            f"noise has the mean {mean} at θ = {place}: it is what minibatch gradients have beyond their mean; "
            "subtract it, or add it to gradient."
        )
    if np.any(variances > _FACTOR * said) or np.any(said > _FACTOR * variances):
        raise DFPError(
            f"noise has the variances {variances} at θ = {place}, covariance says {said}: grids and Langevin forms "
            "go by the latter; make them agree."
        )
    return noise
