"""From a loss function to per-sample gradients and Hessians: NumPy, PyTorch or JAX, whichever it is written in.

PyTorch and JAX differentiate themselves, and neither is imported unless the loss or the data are theirs. Losses in
NumPy are differentiated by differences of order eight, to about 1e-11, unless derivatives are given.
"""

import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import numpy as np
from dfp_solvers import differences

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError

Loss = Callable[[Any, Any], Any]
# Points at which all samples are differentiated at once: this many numbers fit into the memory easily.
_AT_ONCE = 2_000_000
# Places at which Hessians by differences have a step in common.
_TOGETHER = 64
# Error of a numerical derivative that is refused, relative to the largest.
_ROUGH = 1e-6
# Seconds after which it is told how long Hessians at many places will take.
_SEEN = 3.0


class SampleLosses(ABC):
    """Losses of N samples as functions of θ, with their derivatives; θ is an array (d,) of NumPy."""

    def __init__(self, loss: Loss, data: Any, dimension: int) -> None:
        self.loss, self.data, self.dimension = loss, data, dimension
        none: Array = np.empty((0, dimension))
        self._last = none, none, none[..., None]
        self.count = len(self.losses(np.full(dimension, 1e-3)))

    def losses(self, theta: Array) -> Array:
        """Return the losses at ``theta`` (d,), shape (N,)."""
        try:
            found = np.asarray(self._number(theta))
        except DFPError:
            raise
        except Exception as error:
            raise DFPError(
                f"loss: raised {type(error).__name__} ({error}) for θ of shape ({self.dimension},); it is called as "
                "loss(theta, data) and returns one loss per sample; give dimension= if d is another."
            ) from error
        if found.ndim != 1 or found.dtype.kind not in "iuf":
            raise DFPError(
                f"loss: returned {found.dtype} of shape {found.shape}: must be one real loss per sample, shape (N,); "
                "leave the average over samples out."
            )
        if not np.all(np.isfinite(found)):
            raise DFPError(f"loss is not finite at θ = {theta}, sample {np.argmax(~np.isfinite(found))}; correct it.")
        return found.astype(np.float64)

    def mean(self, theta: Array) -> float:
        """Return the mean loss at ``theta`` (d,)."""
        return float(self.losses(theta).mean())

    def gradients(self, points: Array) -> Array:
        """Return the gradients of every sample at ``points`` (P, d), shape (P, N, d)."""
        return self._finite("gradient", self._gradients(points), points)

    def hessians(self, theta: Array) -> Array:
        """Return the Hessian of every sample at ``theta`` (d,), shape (N, d, d)."""
        found = self._finite("hessian", self._hessians(theta)[None], theta[None])[0]
        return (found + found.transpose(0, 2, 1)) / 2

    def _finite(self, name: str, found: Array, points: Array) -> Array:
        if not np.all(np.isfinite(found)):
            bad = points[np.argwhere(~np.isfinite(found))[0][0]]
            raise DFPError(
                f"{name} of the loss is not finite at θ = {bad}; correct the loss, or keep θ away from there."
            )
        return found

    def moments(self, points: Array) -> tuple[Array, Array]:
        """Return mean (P, d) and covariance (P, d, d) over the samples of the gradients at ``points`` (P, d).

        Those of the points that were asked for last are kept: a mean is mostly followed by the covariance there.
        """
        last = self._last  # other threads may ask for other points meanwhile
        if not np.array_equal(points, last[0]):
            self._last = last = points.copy(), *self._moments(points)
        return last[1], last[2]

    def _moments(self, points: Array) -> tuple[Array, Array]:
        portion = max(1, _AT_ONCE // (self.count * self.dimension))
        means, covariances = np.empty_like(points), np.empty((*points.shape, self.dimension))
        for begin in range(0, len(points), portion):
            part = slice(begin, begin + portion)
            gradients = self.gradients(points[part])
            means[part] = gradients.mean(axis=1)
            centred = gradients - means[part][:, None]
            covariances[part] = np.swapaxes(centred, 1, 2) @ centred / self.count
        return means, covariances

    def mean_hessians(self, points: Array) -> Array:
        """Return the mean Hessian at ``points`` (P, d), shape (P, d, d)."""
        return np.stack([self.hessians(theta).mean(axis=0) for theta in points])

    @abstractmethod
    def _number(self, theta: Array) -> Any: ...

    @abstractmethod
    def _gradients(self, points: Array) -> Array: ...

    @abstractmethod
    def _hessians(self, theta: Array) -> Array: ...


class NumPyLosses(SampleLosses):
    """Losses in NumPy that change over the length ``scale``; derivatives are given, or found by differences."""

    def __init__(
        self,
        loss: Loss,
        data: Any,
        dimension: int,
        gradient: Loss | None = None,
        hessian: Loss | None = None,
        scale: float = 1.0,
    ) -> None:
        self.gradient, self.hessian, self.scale = gradient, hessian, scale
        super().__init__(loss, data, dimension)

    def _number(self, theta: Array) -> Any:
        return self.loss(theta, self.data)

    def _given(self, name: str, function: Loss, theta: Array, axes: int) -> Array:
        found = np.asarray(function(theta, self.data), dtype=np.float64)
        return checks.matching(name, found, (self.count, *(self.dimension,) * axes), "sample and parameter")

    def _gradients(self, points: Array) -> Array:
        if self.gradient is not None:
            return np.stack([self._given("gradient", self.gradient, theta, 1) for theta in points])
        return _checked("gradient", differences.gradients(self._raw, points, self.scale))

    def _hessians(self, theta: Array) -> Array:
        if self.hessian is not None:
            return self._given("hessian", self.hessian, theta, 2)
        return _checked("hessian", differences.hessians(self._raw, theta[None], self.scale))[0]

    def mean_hessians(self, points: Array) -> Array:
        """Return the mean Hessian at ``points`` (P, d), shape (P, d, d)."""
        if self.hessian is not None:
            return super().mean_hessians(points)

        def mean(theta: Array) -> Array:
            return self._raw(theta).mean(keepdims=True)

        found, began, told = np.empty((len(points), self.dimension, self.dimension)), time.perf_counter(), False
        for begin in range(0, len(points), _TOGETHER):
            some = slice(begin, begin + _TOGETHER)
            found[some] = _checked("hessian", differences.hessians(mean, points[some], self.scale))[:, 0]
            elapsed, share = time.perf_counter() - began, min(begin + _TOGETHER, len(points)) / len(points)
            if elapsed > _SEEN and not told:
                whole = f"Hessians of the loss by differences, at {len(points)} places,"
                told = checks.foretell(whole, elapsed / share, "give hessian=, or a loss in PyTorch")
        return found

    def _raw(self, theta: Array) -> Array:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            return np.asarray(self.loss(theta, self.data), dtype=np.float64)


def _checked(name: str, found: differences.Found) -> Array:
    if not found.error <= _ROUGH and np.all(np.isfinite(found.values)):
        raise DFPError(
            f"loss: its {name} by differences changes by {found.error:.1g} with their step; give gradient= and "
            "hessian=, smooth the loss, or give the scale over which it changes."
        )
    return found.values


class TorchLosses(SampleLosses):
    """Losses in PyTorch, differentiated by ``torch.func`` in double precision."""

    def __init__(self, loss: Loss, data: Any, dimension: int) -> None:
        self.torch = import_module("torch")
        super().__init__(loss, _mapped(data, self._double), dimension)

    def _double(self, leaf: Any) -> Any:
        if not isinstance(leaf, self.torch.Tensor):
            return leaf
        leaf = leaf.detach()
        return leaf.double() if leaf.is_floating_point() else leaf

    def _tensor(self, theta: Array) -> Any:
        return self.torch.tensor(theta, dtype=self.torch.float64)

    def _number(self, theta: Array) -> Any:
        return self.loss(self._tensor(theta), self.data).detach().numpy()

    def _gradients(self, points: Array) -> Array:
        func = self.torch.func
        one = func.jacfwd(lambda theta: self.loss(theta, self.data))
        return self._called(func.vmap(one), points)

    def _hessians(self, theta: Array) -> Array:
        func = self.torch.func
        return self._called(func.jacfwd(func.jacfwd(lambda at: self.loss(at, self.data))), theta)

    def _called(self, function: Callable[[Any], Any], theta: Array) -> Array:
        with warnings.catch_warnings():
            # PyTorch warns of parts of itself that it compiles on first use.
            warnings.simplefilter("ignore", FutureWarning)
            return np.asarray(function(self._tensor(theta)).detach().numpy())


class JaxLosses(SampleLosses):
    """Losses in JAX, differentiated by itself in double precision."""

    def __init__(self, loss: Loss, data: Any, dimension: int) -> None:
        self.jax = import_module("jax")
        super().__init__(loss, data, dimension)

    def _double(self) -> Any:
        # A public name since version 0.8, experimental before.
        if hasattr(self.jax, "enable_x64"):
            return self.jax.enable_x64(True)
        return import_module("jax.experimental").enable_x64()

    def _number(self, theta: Array) -> Any:
        with self._double():
            return np.asarray(self.loss(self.jax.numpy.asarray(theta), self._data))

    @property
    def _data(self) -> Any:
        numpy = self.jax.numpy

        def double(leaf: Any) -> Any:
            if isinstance(leaf, (np.ndarray, self.jax.Array)):
                return (
                    numpy.asarray(leaf, dtype=np.float64) if np.asarray(leaf).dtype.kind == "f" else numpy.asarray(leaf)
                )
            return leaf

        return _mapped(self.data, double)

    def _gradients(self, points: Array) -> Array:
        with self._double():
            data = self._data
            one = self.jax.jacfwd(lambda theta: self.loss(theta, data))
            return np.asarray(self.jax.jit(self.jax.vmap(one))(self.jax.numpy.asarray(points)))

    def _hessians(self, theta: Array) -> Array:
        with self._double():
            data = self._data
            twice = self.jax.jacfwd(self.jax.jacfwd(lambda at: self.loss(at, data)))
            return np.asarray(twice(self.jax.numpy.asarray(theta)))


def _mapped(data: Any, change: Callable[[Any], Any]) -> Any:
    """Return ``data`` with every leaf of its tuples, lists and mappings changed."""
    if isinstance(data, Mapping):
        return {key: _mapped(part, change) for key, part in data.items()}
    if isinstance(data, (tuple, list)):
        return type(data)(_mapped(part, change) for part in data) if type(data) in (tuple, list) else data
    return change(data)


def _leaves(data: Any) -> list[Any]:
    found: list[Any] = []
    _mapped(data, found.append)
    return found


def sample_losses(
    loss: Any,
    data: Any,
    dimension: int,
    gradient: Loss | None = None,
    hessian: Loss | None = None,
    scale: float = 1.0,
) -> SampleLosses:
    """Return the losses of the samples, in the framework of the data or of what ``loss`` returns.

    Parameters
    ----------
    loss
        ``loss(theta, data)`` -> (N,): one loss per sample at one θ of shape (d,).
    data
        Handed to ``loss`` as it is: an array, or a tuple, list or mapping of arrays; floating point data of PyTorch and
        JAX are taken in double precision.
    dimension
        Number of parameters d.
    gradient, hessian
        For losses in NumPy: their derivatives, called alike, (N, d) and (N, d, d).
    scale
        Length over which a loss in NumPy changes, for differences.
    """
    if not callable(loss):
        raise DFPError(f"loss={checks.shown(loss)}: must be a function of θ and the data, one loss per sample.")
    for name, given in (("gradient", gradient), ("hessian", hessian)):
        if given is not None and not callable(given):
            raise DFPError(f"{name}={checks.shown(given)}: must be a function of θ and the data, or left out.")
    kinds = {type(leaf).__module__.split(".")[0] for leaf in _leaves(data)}
    if "torch" in kinds:
        return TorchLosses(loss, data, dimension)
    if {"jax", "jaxlib"} & kinds:
        return JaxLosses(loss, data, dimension)
    found = NumPyLosses(loss, data, dimension, gradient, hessian, scale)
    returned = type(found._number(np.full(dimension, 1e-3))).__module__.split(".")[0]
    return JaxLosses(loss, data, dimension) if returned in ("jax", "jaxlib") else found
