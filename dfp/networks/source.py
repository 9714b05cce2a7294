"""What is measured: samples with gradients and Hessians at a checkpoint, from a network or from arrays."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError

# Numbers of a block of per-sample products: 16 MiB, and as much for every intermediate result.
_BLOCK = 2**21


class Source(ABC):
    """N samples with d parameters: per-sample gradients and products of per-sample Hessians with directions.

    Attributes
    ----------
    checkpoint
        The parameters θ about which everything is measured, shape (d,).
    samples
        Number of samples N.
    """

    checkpoint: Array
    samples: int

    @property
    def dimension(self) -> int:
        """Number of parameters d."""
        return int(self.checkpoint.size)

    @property
    def movable(self) -> bool:
        """Whether gradients are known away from the checkpoint."""
        return False

    @abstractmethod
    def gradients(self, theta: Array | None = None) -> Array:
        """Return the gradient of every sample at ``theta``, or at the checkpoint, shape (N, d)."""

    def mean_gradient(self, theta: Array | None = None) -> Array:
        """Return the gradient averaged over the samples, shape (d,)."""
        result: Array = self.gradients(theta).mean(axis=0)
        return result

    @abstractmethod
    def products(self, directions: Array, theta: Array | None = None) -> Array:
        """Return the mean Hessian times ``directions`` (d, k), shape (d, k)."""

    @abstractmethod
    def sample_products(self, directions: Array) -> Iterator[Array]:
        """Yield H_i U at the checkpoint for blocks of consecutive samples, shapes (n, k, d), U = ``directions``."""

    def block(self, directions: Array) -> int:
        """Return how many samples' products with ``directions`` (d, k) are held at a time."""
        return int(max(1, min(self.samples, _BLOCK // max(1, directions.size))))


class ArraySource(Source):
    """Samples given as arrays, from any framework: gradients (N, d), and Hessians (N, d, d) or their products.

    Parameters
    ----------
    gradients
        Per-sample gradients at the checkpoint, shape (N, d) [loss / parameter].
    hessians
        Per-sample Hessians, shape (N, d, d) [loss / parameter^2]; or leave out and give ``products``.
    products
        Function of directions (d, k) that returns H_i U of every sample, shape (N, d, k).
    checkpoint
        θ, shape (d,); the origin if left out.

    Raises
    ------
    DFPError
        If shapes disagree, an entry is not finite, a Hessian is not symmetric, or both or neither of them are given.
    """

    def __init__(
        self,
        gradients: ArrayLike,
        hessians: ArrayLike | None = None,
        products: Callable[[Array], ArrayLike] | None = None,
        checkpoint: ArrayLike | None = None,
    ) -> None:
        self._gradients = checks.array("gradients", gradients, dimensions=(2,))
        self.samples, d = self._gradients.shape
        if (hessians is None) == (products is None):
            raise DFPError("hessians and products: give exactly one of the two.")
        self._hessians = None if hessians is None else _hessians(hessians, self.samples, d)
        self._products = products
        self.checkpoint = checks.vector("checkpoint", 0.0 if checkpoint is None else checkpoint, d)

    def gradients(self, theta: Array | None = None) -> Array:
        """Return the given gradients; they are known at the checkpoint alone."""
        if theta is not None:
            raise DFPError("gradients: arrays hold them at the checkpoint alone; give a dfp.networks.Problem instead.")
        return self._gradients

    def products(self, directions: Array, theta: Array | None = None) -> Array:
        """Return the mean Hessian times ``directions``."""
        if theta is not None:
            raise DFPError("hessians: arrays hold them at the checkpoint alone; give a dfp.networks.Problem instead.")
        total = sum(block.sum(axis=0) for block in self.sample_products(directions))
        result: Array = np.asarray(total).T / self.samples
        return result

    def sample_products(self, directions: Array) -> Iterator[Array]:
        """Yield the products block by block."""
        if self._hessians is not None:
            size = self.block(directions)
            for begin in range(0, self.samples, size):
                yield np.swapaxes(self._hessians[begin : begin + size] @ directions, 1, 2)
            return
        assert self._products is not None
        given = checks.array("products(directions)", self._products(directions), dimensions=(3,))
        shape = (self.samples, self.dimension, directions.shape[1])
        yield np.swapaxes(
            checks.matching("products(directions)", given, shape, "sample, parameter and direction"), 1, 2
        )


def _hessians(given: ArrayLike, samples: int, d: int) -> Array:
    array = checks.array("hessians", given, dimensions=(3,))
    checks.matching("hessians", array, (samples, d, d), "sample and pair of parameters")
    skew = float(np.max(np.abs(array - np.swapaxes(array, 1, 2))))
    if skew > 1e-10 * max(float(np.max(np.abs(array))), checks.TINY):
        raise DFPError(
            f"hessians differ from their transposes by {skew:.3g}: each must be symmetric; use (H + H.mT) / 2."
        )
    return array
