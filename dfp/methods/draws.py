"""Places of independent trajectories of SGD after some steps, in any dimension, where single places are needed."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfp.checks import Array
from dfp.errors import UnsupportedError
from dfp.problem.equation import Equation
from dfp.problem.state import State


class Walk:
    """Independent trajectories of SGD that walk together, from draws of the initial state, at rest.

    Parameters
    ----------
    equation, initial
        What they follow, and from where.
    count
        How many.
    rng
        All that they depend on.

    Attributes
    ----------
    step
        At which they are.
    theta, speed
        Places θ and speeds v, shape (m, d) each; never written to, but replaced.

    Raises
    ------
    UnsupportedError
        If the equation is not that of SGD's own steps with replacement.
    """

    def __init__(self, equation: Equation, initial: State, count: int, rng: np.random.Generator) -> None:
        self._move, self._count, self._rng, self.step = stepper(equation), count, rng, 0
        self.theta = initial.draw(count, rng)
        self.speed = np.zeros_like(self.theta)

    def advance(self) -> None:
        """Go on by a step."""
        self.theta, self.speed = self._move(self.theta, self.speed, self.step, self._rng)
        self.step += 1

    def only(self, kept: NDArray[np.bool_] | NDArray[np.int64]) -> None:
        """Let those go that are not ``kept``, shape (m,), or go on as those of these indices."""
        self.theta, self.speed = self.theta[kept], self.speed[kept]

    def state(self) -> dict[str, Any]:
        """Return what another walk goes on from, to the same bits."""
        return {"step": self.step, "theta": self.theta, "speed": self.speed, "rng": self._rng.bit_generator.state}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from the ``state`` of another walk of the same problem."""
        theta, speed, step = state["theta"], state["speed"], int(state["step"])
        if theta.shape != speed.shape or theta[:0].shape != self.theta[:0].shape or len(theta) > self._count:
            raise ValueError("other trajectories")
        self.theta, self.speed, self.step = theta, speed, step
        self._rng.bit_generator.state = state["rng"]


def stepper(equation: Equation) -> Callable[[Array, Array, int, np.random.Generator], tuple[Array, Array]]:
    """Return what moves places θ and speeds v, both (m, d), from step n to n + 1 (T1, T19).

    Raises
    ------
    UnsupportedError
        If the equation is not that of SGD's own steps with replacement.
    """
    sgd = equation.sgd
    if equation.number != "T4" or not sgd.replace:
        raise UnsupportedError(
            f"equation: places are drawn of the master equation with replacement, and this is the {equation.label}; "
            "use dfp.MasterEquation(sgd), or additive Gaussian noise, whose laws are closed."
        )
    if sgd.affine and sgd.law.flaw:
        raise UnsupportedError(f"noise: it cannot be drawn, because {sgd.law.flaw}.")
    beta = sgd.momentum

    def gradients(theta: Array, n: int, rng: np.random.Generator) -> Array:
        if not sgd.affine:
            return sgd.local.gradient_at(theta) + sgd.local.draw(theta, rng)
        law = sgd.law if sgd.batches is None else sgd.law.with_batch_size(sgd.samples_at(n))
        result: Array = theta @ sgd.hessian.T + sgd.gradient + law.increments(theta, rng)
        return result

    def step(theta: Array, speed: Array, n: int, rng: np.random.Generator) -> tuple[Array, Array]:
        gradient = gradients(theta, n, rng)
        speed = beta * speed + gradient
        move = gradient + beta * speed if sgd.nesterov else speed
        return theta - sgd.learning_rates.at(n) * move, speed

    return step
