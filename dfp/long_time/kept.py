"""Results of sampled trajectories that go on after an interruption."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dfp.checks import Array
from dfp.errors import UnsupportedError
from dfp.methods.draws import Walk
from dfp.problem.equation import Equation
from dfp.problem.equations import MasterEquation
from dfp.problem.sgd import SGD
from dfp.problem.state import State
from dfp.result import Result
from dfp.results.keeper import Keeper, unkept
from dfp.solving.checkpoints import fingerprint
from dfp.solving.recipe import recorded

# Trajectories and steps by which functions are told apart.
_FEW, _STEPS = 64, 4

Made = TypeVar("Made", bound=Result)


def carried(
    checkpoint: str | Path | Keeper | None,
    function: str,
    equation: Equation,
    initial: State,
    asked: Mapping[str, Any],
    last: int,
    run: Callable[[Keeper | None], Made],
) -> Made:
    """Return what ``run`` gives, which goes on from a checkpoint if there is one; the result takes its place.

    Parameters
    ----------
    checkpoint
        The file, or nothing.
    function
        The public function that is called.
    equation, initial, asked
        Its arguments.
    last
        Last step that it takes.
    run
        Makes the result, and tells whom it is given.
    """
    if checkpoint is None:
        with unkept():
            return run(None)
    keeper = checkpoint if isinstance(checkpoint, Keeper) else Keeper(checkpoint)
    arguments = {"equation": equation, "initial": initial, **asked}
    written = recorded(arguments, whole=arguments)
    effect = _effect(equation.sgd, initial, last) if "missing" in written else []
    owner = {"function": function} | fingerprint(equation, arguments, effect)
    return keeper.carried(owner, lambda: {"function": function, "arguments": written}, run)


def _effect(sgd: SGD, initial: State, last: int) -> list[Array]:
    """Return what functions do: schedules at every step, and the rest to some trajectories in their first steps."""
    found = list[Array]()
    for given in (sgd.learning_rates, sgd.batches):
        values = list[float]()
        if given is not None and callable(given.given):
            with suppress(Exception):  # of a step that no trajectory may reach
                values.extend(given.at(n) for n in range(last))
        found.append(np.array(values))
    try:
        walk = Walk(MasterEquation(sgd), initial, _FEW, np.random.default_rng(0))
    except UnsupportedError as error:
        raise UnsupportedError(
            f"checkpoint: the problem has functions, which nothing tells from others ({error}); leave it out."
        ) from None
    with np.errstate(all="ignore"):
        for _ in range(min(last, _STEPS)):
            walk.advance()
    return [*found, walk.theta]
