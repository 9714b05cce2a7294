"""A PyTorch model at a checkpoint, its loss per sample and its data, as one problem (extra ``dfp[networks]``)."""

import copy
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError
from dfp.networks.source import ArraySource, Source

try:
    import torch
except ImportError:
    raise DFPError("PyTorch is not installed: networks need it; run pip install 'dfp[networks]'.") from None

from dfp.networks.derivatives import Derivatives

Loss = Callable[[Any, Any], Any]
_STILL = (torch.nn.modules.dropout._DropoutNd, torch.nn.modules.batchnorm._NormBase)


class Problem(Source):
    """The landscape of a network about its present parameters: (T1) with real minibatches.

    Parameters
    ----------
    model
        A torch module; its trainable parameters are θ. It is copied, so that nothing of yours changes.
    loss
        Function of the model's output and the targets that returns one loss per sample, shape (n,): give
        ``reduction="none"`` to losses of ``torch.nn.functional``.
    data
        Inputs and targets, two tensors (or arrays) whose first axis counts the N samples.
    weight_decay
        L2 weight decay ω >= 0: ``½ω|θ|²`` is added to the loss of every sample.
    dtype
        ``"float64"``, or ``"float32"`` at half the cost, with a warning.

    Raises
    ------
    DFPError
        If the loss is one number for the whole batch, not finite or independent of the parameters, if samples of a
        batch influence each other, if an evaluation is random, or if shapes or devices disagree.

    Notes
    -----
    Dropout and batch normalisation make a step something else than a sum over samples: they are put in evaluation mode,
    with a warning.

    Examples
    --------
    >>> import torch
    >>> problem = dfp.networks.Problem(torch.nn.Linear(2, 1), lambda out, y: ((out - y) ** 2).mean(1), data)
    >>> print(problem.dimension, problem.samples)
    3 32
    """

    def __init__(self, model: Any, loss: Loss, data: Any, *, weight_decay: float = 0.0, dtype: str = "float64") -> None:
        if not isinstance(model, torch.nn.Module):
            raise DFPError(f"model={checks.shown(model)}: must be a torch.nn.Module.")
        if not callable(loss):
            raise DFPError(f"loss={checks.shown(loss)}: must be a function of outputs and targets.")
        precision = getattr(torch, checks.choice("dtype", dtype, ("float64", "float32")))
        decay = checks.real("weight_decay", weight_decay, at_least=0)
        if dtype == "float32":
            warnings.warn(
                "dtype='float32': variances below about 1e-14 of a squared parameter are rounding, not noise; use "
                "float64 to measure flat directions.",
                stacklevel=2,
            )
        inputs, targets = _data(model, data, precision)
        self.derivatives = Derivatives(_still(model).to(precision), loss, inputs, targets, decay)
        self.samples = self.derivatives.samples
        self._check()
        self.checkpoint = self.derivatives.checkpoint.cpu().numpy().astype(np.float64)

    @staticmethod
    def from_arrays(
        gradients: ArrayLike,
        hessians: ArrayLike | None = None,
        products: Callable[[Array], ArrayLike] | None = None,
        checkpoint: ArrayLike | None = None,
    ) -> ArraySource:
        """Return the same from per-sample gradients (N, d) and Hessians, or their products, of any framework."""
        return ArraySource(gradients, hessians, products, checkpoint)

    @property
    def movable(self) -> bool:
        """Whether gradients are known away from the checkpoint."""
        return True

    def gradients(self, theta: Array | None = None) -> Array:
        """Return the gradient of every sample at ``theta``, or at the checkpoint, shape (N, d)."""
        return self.derivatives.gradients(theta)

    def mean_gradient(self, theta: Array | None = None) -> Array:
        """Return the gradient averaged over the samples, shape (d,)."""
        return self.derivatives.mean_gradient(theta)

    def products(self, directions: Array, theta: Array | None = None) -> Array:
        """Return the mean Hessian times ``directions`` (d, k), shape (d, k)."""
        return self.derivatives.products(directions, theta)

    def sample_products(self, directions: Array) -> Iterator[Array]:
        """Yield H_i U at the checkpoint for blocks of samples, shapes (n, k, d)."""
        return self.derivatives.sample_products(directions, self.block(directions))

    def mean_loss(self, theta: Array | None = None) -> float:
        """Return the loss averaged over all samples."""
        return float(self.derivatives.losses(theta).mean())

    def _check(self) -> None:
        """Refuse what is not a sum of independent, differentiable, finite losses."""
        with _named("model or loss"):
            first = self.derivatives.raw(slice(0, min(3, self.samples)))
        _check_shape(first, min(3, self.samples))
        losses = self.derivatives.losses(None)
        if not np.all(np.isfinite(losses)):
            bad = int(np.flatnonzero(~np.isfinite(losses))[0])
            raise DFPError(
                f"loss of sample {bad} is {losses[bad]}: must be finite; check the data, or go back to a checkpoint "
                "before training diverged."
            )
        if not first.requires_grad:
            raise DFPError(
                "loss does not depend on the model's parameters: no gradient reaches them; remove detach() and "
                "no_grad() from the model and the loss."
            )
        self._check_samples(losses)

    def _check_samples(self, losses: Array) -> None:
        """Refuse batches whose samples influence each other, or whose evaluation is random."""
        scale = 1e-9 if self.derivatives.precise else 1e-4
        bound = scale * max(float(np.max(np.abs(losses))), checks.TINY)
        if np.max(np.abs(self.derivatives.losses(None) - losses)) > bound:
            raise DFPError("loss is random: two evaluations differ; make the model and the loss deterministic.")
        count = min(3, self.samples)
        alone = [self.derivatives.raw(slice(i, i + 1)).detach().cpu().numpy()[0] for i in range(count)]
        together = self.derivatives.raw(slice(0, count)).detach().cpu().numpy()
        if np.max(np.abs(together - alone)) > bound:
            raise DFPError(
                "loss of a sample depends on the other samples of its batch, so there are no per-sample gradients; "
                "replace normalisation over the batch by one over features."
            )
        with _named("model or loss under torch.func"):
            gradient = self.derivatives.gradients(None)
        if not np.all(np.isfinite(gradient)):
            bad = int(np.argwhere(~np.isfinite(gradient))[0, 0])
            raise DFPError(f"gradient of sample {bad} is not finite; check the data and the loss.")


def _data(model: Any, data: Any, precision: Any) -> tuple[Any, Any]:
    """Return inputs and targets as tensors on the model's device, floats in its precision."""
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise DFPError("data: must be inputs and targets, two tensors; give (x, y).")
    tensors = []
    for name, value in zip(("inputs", "targets"), data, strict=True):
        if not isinstance(value, (torch.Tensor, np.ndarray)) or value.ndim == 0:
            raise DFPError(f"{name}={checks.shown(value)}: must be a tensor whose first axis counts the samples.")
        tensor = torch.as_tensor(value)
        tensors.append(tensor.to(precision) if tensor.is_floating_point() else tensor)
    inputs, targets = tensors
    if len(inputs) != len(targets) or len(inputs) < 2:
        raise DFPError(
            f"inputs and targets have {len(inputs)} and {len(targets)} samples: must be as many, at least 2."
        )
    devices = {str(p.device) for p in model.parameters()} | {str(inputs.device), str(targets.device)}
    if len(devices) > 1:
        raise DFPError(f"model and data are on different devices ({', '.join(sorted(devices))}); move all to one.")
    return inputs, targets


def _still(model: Any) -> Any:
    """Return a copy of the model in evaluation mode, with a warning if that changes what it computes."""
    if not any(p.requires_grad for p in model.parameters()):
        raise DFPError("model has no trainable parameter: none requires a gradient; call model.requires_grad_(True).")
    moving = sorted({type(m).__name__ for m in model.modules() if isinstance(m, _STILL) and m.training})
    if moving:
        warnings.warn(
            f"{', '.join(moving)}: put in evaluation mode, because in training mode a step is no sum over samples; "
            "what is measured and run is the network in evaluation mode.",
            stacklevel=3,
        )
    return copy.deepcopy(model).eval()


def _check_shape(losses: Any, count: int) -> None:
    shape = tuple(losses.shape) if isinstance(losses, torch.Tensor) else None
    if shape == (count,):
        return
    if shape == ():
        raise DFPError(
            "loss returns one number for the whole batch: must be one per sample; give reduction='none', e.g. "
            "lambda out, y: torch.nn.functional.cross_entropy(out, y, reduction='none')."
        )
    raise DFPError(
        f"loss has shape {shape} for {count} samples: must be ({count},); average what belongs to one sample, e.g. "
        "losses.flatten(1).mean(1)."
    )


class _named:
    """Turns an error inside a user's model into one that says where it arose."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, Exception) and not isinstance(error, DFPError):
            raise DFPError(f"{self.what} fails on the data: {type(error).__name__}: {error}") from error
