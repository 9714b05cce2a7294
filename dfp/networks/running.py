"""Real SGD of a network: an ensemble of runs from its checkpoint, vectorised over runs.

Runs move in blocks of a fixed size, and the minibatches of a run depend on the seed, its number and the step alone. So
its bits depend neither on how many other runs there are nor on interruptions.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from dfp import checks
from dfp.checks import Array
from dfp.errors import DFPError
from dfp.networks.directions import FULL_UP_TO
from dfp.networks.ensemble import Block, Ensemble
from dfp.networks.problem import Problem
from dfp.networks.runs import Runs, default_steps
from dfp.networks.source import Source

# Minibatches drawn at once with replacement; runs of a block, and the parameters that all of them have together.
_SEGMENT, _LARGEST_BLOCK, _BLOCK_PARAMETERS = 256, 64, 2**18


class _Plan(NamedTuple):
    """What decides the bits of runs."""

    problem: Problem
    learning_rate: float
    batch_size: int
    momentum: float
    nesterov: bool
    replace: bool
    seed: int
    saved: np.ndarray
    directions: Array | None

    @property
    def width(self) -> int:
        """Numbers kept of a run at a step."""
        return self.problem.dimension if self.directions is None else int(self.directions.shape[1])

    @property
    def block(self) -> int:
        """Number of runs that move together; a power of two that depends on the problem alone."""
        fitting = max(1, _BLOCK_PARAMETERS // self.problem.dimension)
        return int(min(_LARGEST_BLOCK, 2 ** int(np.log2(fitting))))

    @property
    def fingerprint(self) -> str:
        """Hash of everything but the number of runs."""
        torch_data = (self.problem.derivatives.inputs, self.problem.derivatives.targets)
        numbers = [t.detach().cpu().numpy() for t in torch_data]
        numbers += [self.problem.checkpoint, self.saved]
        numbers += [] if self.directions is None else [self.directions]
        digest = hashlib.sha256(repr(self[1:7]).encode() + repr(self.problem.derivatives.decay).encode())
        for array in numbers:
            digest.update(repr((array.shape, array.dtype.str)).encode() + np.ascontiguousarray(array).tobytes())
        digest.update(f"{self.problem.mean_loss():.6g}".encode())  # the model itself has no hash
        return digest.hexdigest()


def trajectories(
    problem: Problem,
    learning_rate: float,
    batch_size: int,
    runs: int = 256,
    steps: int = 1000,
    save: Sequence[int] | None = None,
    replace: bool = True,
    seed: int = 0,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    directions: Array | None = None,
    path: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Runs:
    """Run SGD many times from the checkpoint, with real minibatches (T1).

    Parameters
    ----------
    problem
        The network.
    learning_rate
        η > 0.
    batch_size
        B, 1 to N.
    runs
        Number of runs R.
    steps
        Last step.
    save
        Steps to keep, increasing; some twenty, evenly spaced in their logarithm, if left out.
    replace
        True: minibatches drawn with replacement. False: epochs, each a fresh shuffle cut into ⌊N/B⌋ minibatches.
    seed
        Of the minibatches; run r with this seed is the same whatever ``runs`` is.
    momentum, nesterov
        As in ``dfp.SGD``.
    directions
        Columns along which displacements are kept, shape (d, k), as in ``measured.directions``; all parameters if left
        out, up to d = 2000.
    path
        HDF5 file. Runs are streamed to the folder PATH.part while they are made; if that exists they go on where it
        ends, and what is in a finished file is returned.
    progress
        Called with the number of finished run-steps and of all.

    Raises
    ------
    DFPError
        If a value is out of range, a run diverges to infinity, or ``path`` holds other runs.

    Examples
    --------
    >>> some = dfp.networks.trajectories(problem, 0.05, batch_size=8, runs=16, steps=20, save=[0, 20])
    >>> print(some.positions.shape)
    (2, 16, 3)
    """
    plan = _plan(problem, learning_rate, batch_size, steps, save, replace, seed, momentum, nesterov, directions)
    count, last = checks.integer("runs", runs, at_least=1), int(plan.saved[-1])
    about = {
        "learning_rate": plan.learning_rate, "batch_size": plan.batch_size, "momentum": plan.momentum,
        "nesterov": plan.nesterov, "replace": plan.replace, "samples": problem.samples, "seed": plan.seed,
    }  # fmt: skip
    store = Ensemble(None if path is None else Path(path), plan.fingerprint, count)
    found = store.finished()
    if found is not None:
        return found
    blocks = []
    for first in range(0, count, plan.block):

        def tell(step: int, first: int = first) -> None:
            if progress is not None:
                made = first * last + step * min(plan.block, count - first)
                progress(made, count * last)

        block = store.block(first)
        blocks.append(_move(plan, first, store, tell) if block is None else block)
    positions = np.concatenate([block["positions"] for block in blocks], axis=1)[:, :count]
    final = np.concatenate([block["final"] for block in blocks])[:count]
    return store.close(Runs(plan.saved, positions, plan.directions, final, **about))  # type: ignore[arg-type]


def _plan(
    problem: Any, rate: Any, batch: Any, steps: Any, save: Any, replace: Any, seed: Any, momentum: Any, nesterov: Any,
    directions: Any,
) -> _Plan:  # fmt: skip
    if not isinstance(problem, Problem):
        raise DFPError(f"problem={checks.shown(problem)}: only a dfp.networks.Problem can be run; arrays do not move.")
    last = checks.last_step(steps, at_least=1)
    saved = default_steps(last) if save is None else checks.step_list("save", save, last)
    size = checks.integer("batch_size", batch, at_least=1)
    if size > problem.samples:
        raise DFPError(f"batch_size={size}: must be at most the {problem.samples} samples; give a smaller one.")
    beta = checks.real("momentum", momentum, at_least=0, below=1)
    if checks.boolean("nesterov", nesterov) and beta == 0:
        raise DFPError("nesterov=True: needs momentum > 0; give momentum=0.9, or leave nesterov out.")
    if directions is None:
        if problem.dimension > FULL_UP_TO:
            raise DFPError(
                f"directions: the model has {problem.dimension} parameters, too many to keep all; give "
                "directions=measured.directions."
            )
    else:
        directions = checks.array("directions", directions, dimensions=(2,))
        checks.matching("directions", directions, (problem.dimension, directions.shape[1]))
    return _Plan(
        problem, checks.real("learning_rate", rate, above=0), size, beta, bool(nesterov),
        checks.boolean("replace", replace), checks.integer("seed", seed), saved, directions,
    )  # fmt: skip


def minibatch_gradients(source: Source, chosen: np.ndarray) -> Array:
    """Return the gradients of minibatches ``chosen`` (R, B) at the checkpoint, by the code that runs SGD."""
    assert isinstance(source, Problem)
    gradient, start = source.derivatives.run_gradients(), source.derivatives.checkpoint
    parts = []
    for begin in range(0, len(chosen), 16):
        some = torch.as_tensor(chosen[begin : begin + 16], device=start.device)
        parts.append(gradient(start.expand(len(some), -1).contiguous(), some).cpu().numpy())
    return np.concatenate(parts).astype(np.float64)


def _minibatches(plan: _Plan, first: int, step: int) -> Iterator[np.ndarray]:
    """Yield the samples of each run of a block, shape (block, B), from ``step`` on."""
    population, size = plan.problem.samples, plan.batch_size
    length = _SEGMENT if plan.replace else population // size
    segment = step // length
    while True:
        drawn = []
        for run in range(first, first + plan.block):
            rng = np.random.default_rng(np.random.SeedSequence(plan.seed, spawn_key=(run, segment)))
            if plan.replace:
                drawn.append(rng.integers(0, population, (length, size)))
            else:
                drawn.append(rng.permutation(population)[: length * size].reshape(length, size))
        minibatches = np.stack(drawn, axis=1)
        yield from minibatches[max(0, step - segment * length) :]
        segment += 1
        step = segment * length


def _move(plan: _Plan, first: int, store: Ensemble, tell: Callable[[int], None]) -> Block:
    """Take a block of runs from where it stands to the last step."""
    gradient, start = plan.problem.derivatives.run_gradients(), plan.problem.derivatives.checkpoint
    axes = None if plan.directions is None else torch.as_tensor(plan.directions, device=start.device)
    frames, step, theta, velocity = _standing(plan, store.standing(first))
    minibatches = _minibatches(plan, first, step)
    last = int(plan.saved[-1])
    while True:
        if step in plan.saved:
            moved = (theta - start).to(torch.float64)
            _check_finite(moved, first, step, plan)
            if len(frames) == 0 or step > plan.saved[len(frames) - 1]:
                frames.append((moved if axes is None else moved @ axes).cpu().numpy())
            tell(step)
            if step == last:
                return store.keep(first, np.array(frames), moved.cpu().numpy())
            store.stand(first, step, np.array(frames), theta.cpu().numpy(), velocity.cpu().numpy())
        force = gradient(theta, torch.as_tensor(next(minibatches), device=start.device))
        if plan.momentum:
            velocity = plan.momentum * velocity + force
            force = force + plan.momentum * velocity if plan.nesterov else velocity
        theta = theta - plan.learning_rate * force
        step += 1


def _standing(plan: _Plan, found: Block | None) -> tuple[list[Array], int, Any, Any]:
    """Return the saved frames, step, parameters and velocity from which a block goes on."""
    start = plan.problem.derivatives.checkpoint
    if found is None:
        theta = start.expand(plan.block, -1).clone()
        return [], 0, theta, torch.zeros_like(theta)
    theta, velocity = (torch.as_tensor(found[name], device=start.device) for name in ("theta", "velocity"))
    return list(found["positions"]), int(found["step"]), theta, velocity


def _check_finite(moved: Any, first: int, step: int, plan: _Plan) -> None:
    bad = torch.nonzero(~torch.isfinite(moved).all(dim=1))
    if len(bad):
        raise DFPError(
            f"run {first + int(bad[0, 0])} is no longer finite at step {step}: it diverged; lower "
            f"learning_rate={plan.learning_rate:g} or raise batch_size={plan.batch_size}."
        )
