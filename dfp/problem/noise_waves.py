"""Minibatch noise of a nonlinear landscape on a line by its characteristic function, where it is not Gaussian."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dfp import checks
from dfp.checks import Array, Complex
from dfp.errors import DFPError
from dfp.problem.sampled_noise import SampledNoise
from dfp.problem.value import Value, shown

Waves = Callable[[Array, Array], Complex]
# Waves per inverse deviation at which mean and variance are read off, where rounding and what fourth moments change are
# below this share of the variance; and by how much |χ| may exceed one.
_SHORT, _SHARE, _ROUNDING = 1e-3, 1e-2, 1e-9
# Draws that are compared with χ at waves per inverse deviation: a right one is this far off in one of 1e13 cases.
_DRAWS, _WAVES, _FAR = 16384, (0.5, 1.0, 2.0), 8.0


@dataclass(frozen=True, eq=False, repr=False)
class NoiseWaves(Value):
    """χ(k|θ) of the average over ``batch_size`` draws of g_ξ(θ) − ḡ(θ): the user's function at k/B, to the power B."""

    given: Waves
    batch_size: int = 1

    def __repr__(self) -> str:
        """Return the name of what was given."""
        return shown(self.given)

    def __call__(self, waves: Array, places: Array) -> Complex:
        """Return χ at wave numbers (m,) and places (n,), shape (n, m)."""
        k, theta = np.array(waves, dtype=np.float64) / self.batch_size, np.array(places, dtype=np.float64)[:, None]
        try:
            found: Complex = np.array(self.given(k, theta), dtype=np.complex128)
        except DFPError:
            raise
        except Exception as error:
            raise DFPError(
                f"characteristic: raised {type(error).__name__} ({error}); write it as characteristic(k, theta), of "
                "wave numbers (m,) and places (n, 1), with NumPy's functions."
            ) from error
        if found.shape == k.shape or found.shape == (1, k.size):  # noise that is the same everywhere
            found = np.broadcast_to(found, (theta.size, k.size))
        if found.shape != (theta.size, k.size):
            raise DFPError(
                f"characteristic: returned shape {found.shape} for {k.size} waves and {theta.size} places: must be "
                f"{(theta.size, k.size)}; write it entry by entry of k * theta."
            )
        size = np.abs(found)
        if not np.all(size <= 1 + _ROUNDING):  # False where NaN
            row, column = np.argwhere(~(size <= 1 + _ROUNDING))[0]
            raise DFPError(
                f"characteristic is {found[row, column]:.4g} at k = {k[column]:.4g}, θ = {theta[row, 0]:.4g}: must be "
                "finite and at most 1 in size, as E exp(ikx) is; correct it."
            )
        result = found
        for bit in bin(self.batch_size)[3:]:  # many times as fast as a complex power
            result = result * result * (found if bit == "1" else 1.0)
        return result

    def averaged(self, batch_size: int) -> "NoiseWaves":
        """Return the noise of the average over ``batch_size`` such minibatches."""
        return NoiseWaves(self.given, self.batch_size * batch_size)


def characteristic_noise(
    given: Any, dimension: int, place: Array, covariance: Array, drawn: SampledNoise | None
) -> NoiseWaves:
    """Return ``given`` as noise whose mean, variance and draws at ``place`` (1,) are those that are said of it.

    Raises
    ------
    DFPError
        If it is no function, d > 1, it raises, is no characteristic function, or disagrees with C or the draws.
    """
    if isinstance(given, NoiseWaves):
        return given
    if not callable(given):
        raise DFPError(
            f"characteristic={checks.shown(given)}: must be a function characteristic(k, theta) -> (n, m); give one."
        )
    if dimension != 1:
        raise DFPError(
            f"characteristic: dimension={dimension}, and such noise is taken for d = 1; give noise=, which is sampled."
        )
    noise, deviation = NoiseWaves(given), float(np.sqrt(covariance.item()))
    if not deviation > 0:
        return noise
    origin, short = noise(np.array([0.0, _SHORT / deviation]), place)[0]
    mean, variance = short.imag / _SHORT, 2 * (1 - short.real) / _SHORT**2
    if abs(origin - 1) > _ROUNDING or abs(mean) > _SHARE or abs(variance - 1) > _SHARE:
        raise DFPError(
            f"characteristic is {origin:.4g} at k = 0 and says mean {mean * deviation:.4g}, variance "
            f"{variance * covariance.item():.4g} at θ = {place}; must be 1, 0 and covariance, "
            f"{covariance.item():.4g}: make them agree."
        )
    if drawn is not None:
        draws = drawn(np.tile(place, (_DRAWS, 1)), np.random.default_rng(0))[:, 0]
        waves = np.array(_WAVES) / deviation
        apart = np.abs(np.exp(1j * np.outer(waves, draws)).mean(axis=1) - noise(waves, place)[0])
        if np.any(apart > _FAR / np.sqrt(_DRAWS)):
            raise DFPError(
                f"characteristic and the draws of noise differ by {apart.max():.3g} at θ = {place}: they must be of "
                "one law; correct one, or leave it out."
            )
    return noise
