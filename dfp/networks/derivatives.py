"""Derivatives of a model's per-sample losses by ``torch.func``, with parameters as one vector; arrays in and out."""

import warnings
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.func import functional_call, grad, jvp, vjp, vmap

from dfp.checks import Array

# Numbers that a call may hold; a model's activations, whose number is not known, are taken to be as many as its
# parameters.
_BUDGET = 2**23


class Derivatives:
    """Losses, gradients and Hessian products of a model that has been checked.

    Parameters
    ----------
    model
        A module in evaluation mode.
    loss
        Per-sample loss of outputs and targets.
    inputs, targets
        Tensors with one entry per sample.
    decay
        ω of the term ½ω|θ|² in every sample's loss.
    """

    def __init__(self, model: Any, loss: Callable[[Any, Any], Any], inputs: Any, targets: Any, decay: float) -> None:
        self.model, self.loss, self.inputs, self.targets, self.decay = model, loss, inputs, targets, decay
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self.names = [name for name, _ in named]
        self.shapes = [p.shape for _, p in named]
        self.sizes = [p.numel() for _, p in named]
        self.checkpoint = torch.cat([p.detach().reshape(-1) for _, p in named])
        self.samples = len(inputs)

    @property
    def dimension(self) -> int:
        """Number of parameters d."""
        return int(self.checkpoint.numel())

    @property
    def precise(self) -> bool:
        """Whether numbers are float64."""
        return bool(self.checkpoint.dtype == torch.float64)

    def raw(self, chosen: slice) -> Any:
        """Return the losses of some samples at the checkpoint, on a graph that reaches the parameters."""
        return self.loss(self.model(self.inputs[chosen]), self.targets[chosen])

    def losses(self, theta: Array | None) -> Array:
        """Return every sample's loss, without weight decay, shape (N,)."""
        at, size = self._at(theta), max(1, _BUDGET // max(self.inputs[0].numel(), 64) // 8)
        with torch.no_grad():
            parts = [
                self._losses(at, x, y) for x, y in zip(self.inputs.split(size), self.targets.split(size), strict=True)
            ]
        return _array(torch.cat(parts))

    def gradients(self, theta: Array | None) -> Array:
        """Return every sample's gradient, shape (N, d)."""
        at = self._at(theta)
        size = max(1, _BUDGET // 8 // self.dimension)
        one = vmap(grad(self._single), (None, 0, 0))
        parts = [one(at, x, y).detach() for x, y in zip(self.inputs.split(size), self.targets.split(size), strict=True)]
        return _array(torch.cat(parts))

    def mean_gradient(self, theta: Array | None) -> Array:
        """Return the gradient averaged over the samples, shape (d,)."""
        at, size = self._at(theta), max(1, min(self.samples, 2**22 // max(self.inputs[0].numel(), 64)))
        total = torch.zeros_like(at)
        for x, y in zip(self.inputs.split(size), self.targets.split(size), strict=True):
            total += grad(self._total(x, y))(at).detach()
        return _array(total / self.samples + self.decay * at)

    def products(self, directions: Array, theta: Array | None) -> Array:
        """Return the mean Hessian times ``directions`` (d, k), shape (d, k)."""
        at, columns = self._at(theta), self._tensor(directions.T)
        together = max(1, min(64, _BUDGET // (self.samples * max(self.dimension, 256))))
        size = max(1, min(self.samples, 2**22 // max(self.inputs[0].numel(), 64)))
        total = torch.zeros_like(columns)
        for x, y in zip(self.inputs.split(size), self.targets.split(size), strict=True):
            product = self._product(self._total(x, y), at)
            parts = [vmap(product)(some).detach() for some in columns.split(together)]
            total += torch.cat(parts)
        return _array(total / self.samples + self.decay * columns).T

    def sample_products(self, directions: Array, block: int) -> Iterator[Array]:
        """Yield H_i U at the checkpoint for blocks of samples, shapes (n, k, d)."""
        columns = self._tensor(directions.T)

        def one(x: Any, y: Any) -> Any:
            return vmap(self._product(lambda t: self._single(t, x, y), self.checkpoint))(columns)

        for x, y in zip(self.inputs.split(block), self.targets.split(block), strict=True):
            yield _array(vmap(one)(x, y).detach())

    def run_gradients(self) -> Callable[[Any, Any], Any]:
        """Return the function of parameters (R, d) and samples (R, B) that gives minibatch gradients, shape (R, d)."""
        minibatch = vmap(grad(self._mean))

        def gradients(theta: Any, chosen: Any) -> Any:
            return minibatch(theta, self.inputs[chosen], self.targets[chosen]).detach()

        return gradients

    def _losses(self, theta: Any, x: Any, y: Any) -> Any:
        parts = (part.view(shape) for part, shape in zip(theta.split(self.sizes), self.shapes, strict=True))
        return self.loss(functional_call(self.model, dict(zip(self.names, parts, strict=True)), (x,)), y)

    def _total(self, x: Any, y: Any) -> Callable[[Any], Any]:
        """Return the sum of some samples' losses, without weight decay, as a function of the parameters."""
        return lambda theta: self._losses(theta, x, y).sum()

    def _mean(self, theta: Any, x: Any, y: Any) -> Any:
        decay = self.decay / 2 * (theta * theta).sum() if self.decay else 0.0
        return self._losses(theta, x, y).mean() + decay

    def _single(self, theta: Any, x: Any, y: Any) -> Any:
        return self._mean(theta, x[None], y[None])

    def _product(self, loss: Callable[[Any], Any], at: Any) -> Callable[[Any], Any]:
        """Return v ↦ Hv of a loss: forward over reverse where all operations have forward derivatives."""
        if self._forward:
            return lambda v: jvp(grad(loss), (at,), (v,))[1]
        pulled = vjp(grad(loss), at)[1]
        return lambda v: pulled(v)[0]

    @cached_property
    def _forward(self) -> bool:
        """Whether forward derivatives work; PyTorch warns of itself when they are first used."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                at = self.checkpoint
                jvp(grad(lambda t: self._single(t, self.inputs[0], self.targets[0])), (at,), (at,))
            except (NotImplementedError, RuntimeError):
                return False
        return True

    def _at(self, theta: Array | None) -> Any:
        return self.checkpoint if theta is None else self._tensor(theta)

    def _tensor(self, values: Array) -> Any:
        contiguous = np.ascontiguousarray(values)
        return torch.as_tensor(contiguous, dtype=self.checkpoint.dtype, device=self.checkpoint.device)


def _array(tensor: Any) -> Array:
    result: Array = tensor.detach().cpu().numpy().astype(np.float64)
    return result
