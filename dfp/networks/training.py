"""Training to a plateau: minibatches first, then the whole data until the loss has stopped falling."""

from collections.abc import Callable
from typing import Any

import torch

from dfp.errors import DFPError


def train(
    model: Any, loss: Any, inputs: Any, targets: Any, *, epochs: int, learning_rate: float, batch_size: int,
    polish: int = 0, weight_decay: float = 0.0, seed: int = 0, progress: Callable[[int, int], None] | None = None,
) -> float:  # fmt: skip
    """Train ``model`` in place by Adam, then by ``polish`` steps of L-BFGS on all data; return the last loss.

    The learning rate falls to zero along a cosine. Raises ``DFPError`` if the loss is not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, epochs))
    model.train()

    def value(x: Any, y: Any) -> Any:
        penalty = sum((p * p).sum() for p in model.parameters()) * (weight_decay / 2)
        return loss(model(x), y).mean() + penalty

    for epoch in range(epochs):
        for chosen in torch.randperm(len(inputs), generator=generator).split(batch_size):
            optimiser.zero_grad()
            value(inputs[chosen], targets[chosen]).backward()
            optimiser.step()
        schedule.step()
        if progress is not None:
            progress(epoch + 1, epochs)
    if polish:
        _polish(model, value, inputs, targets, polish)
    with torch.no_grad():
        last = float(value(inputs, targets))
    if last != last or last == float("inf"):
        raise DFPError(f"training ends with the loss {last}: lower the learning rate.")
    model.eval()
    return last


def _polish(model: Any, value: Any, inputs: Any, targets: Any, steps: int) -> None:
    optimiser = torch.optim.LBFGS(
        model.parameters(), max_iter=steps, max_eval=2 * steps, history_size=30, line_search_fn="strong_wolfe",
        tolerance_grad=1e-7, tolerance_change=1e-12,
    )  # fmt: skip

    def closure() -> Any:
        optimiser.zero_grad()
        result = value(inputs, targets)
        result.backward()
        return result

    optimiser.step(closure)
