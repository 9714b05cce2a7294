"""Places of independent trajectories of SGD after some steps, in any dimension, where single places are needed."""

from collections.abc import Callable

import numpy as np

from dfp.checks import Array
from dfp.errors import UnsupportedError
from dfp.problem.equation import Equation
from dfp.problem.state import State


def drawn(equation: Equation, initial: State, step: int, count: int, seed: int) -> tuple[Array, Array]:
    """Return ``count`` places θ and speeds v after ``step`` steps, (count, d) each; they depend on the seed alone.

    Raises
    ------
    UnsupportedError
        If the equation is not that of SGD's own steps with replacement.
    """
    step_once = stepper(equation)
    rng = np.random.default_rng(seed)
    theta = initial.draw(count, rng)
    speed = np.zeros_like(theta)
    for n in range(step):
        theta, speed = step_once(theta, speed, n, rng)
    return theta, speed


def stepper(equation: Equation) -> Callable[[Array, Array, int, np.random.Generator], tuple[Array, Array]]:
    """Return what moves places θ and speeds v, both (m, d), from step n to n + 1 (T1, T19).

    Raises
    ------
    UnsupportedError
        As ``drawn``.
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
