"""Exact mean and covariance of every equation, in any dimension (T8–T15)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from dfp_solvers import affine, linear_flow
from numpy.typing import NDArray

from dfp import checks
from dfp.checks import Array
from dfp.equation import Carried, Equation
from dfp.errors import DFPError
from dfp.state import State


@dataclass(frozen=True)
class Moments:
    """Exact moments at saved steps.

    Attributes
    ----------
    steps
        Shape (S,) [step].
    mean
        Shape (S, d) [parameter].
    covariance
        Shape (S, d, d) [parameter^2].
    """

    steps: NDArray[np.int64]
    mean: Array
    covariance: Array


def moments(equation: Equation, initial: State, steps: int, save: Sequence[int] | None = None) -> Moments:
    """Return the exact mean and covariance of ``equation`` from ``initial``.

    Parameters
    ----------
    equation
        Any equation; its cost grows with the number of steps only where noise is multiplicative and d > 11.
    initial
        State at step 0; only its mean and covariance matter.
    steps
        Last step, >= 0.
    save
        Steps to return; every step 0…``steps`` if left out.

    Returns
    -------
    Moments
        ``steps`` (S,), ``mean`` (S, d), ``covariance`` (S, d, d). Entries overflow to infinity where moments do.

    Raises
    ------
    DFPError
        If the dimension of the state differs from the equation's or a step is out of range.

    Notes
    -----
    (T14) for the maps (T4) and (T5), (T15) for the generators (T6), (T7), (T7m).
    """
    check_problem(equation, initial)
    last = checks.integer("steps", steps)
    saved = np.arange(last + 1) if save is None else checks.step_list("save", save, last)
    if equation.additive:
        means, covariances = _closed_form(equation, initial, saved)
    else:
        means, covariances = _carried(equation, initial, saved)
    return Moments(saved, means, covariances)


def check_problem(equation: Equation, initial: State) -> None:
    """Raise ``DFPError`` unless both arguments have the right type and the same dimension."""
    if not isinstance(equation, Equation):
        raise DFPError(f"equation={checks.shown(equation)}: must be an equation; give e.g. dfp.MasterEquation(sgd).")
    if not isinstance(initial, State):
        raise DFPError(f"initial={checks.shown(initial)}: must be a dfp.Gaussian, dfp.Point or dfp.Density.")
    if initial.dimension != equation.dimension:
        raise DFPError(
            f"initial has {initial.dimension} parameters: the landscape has {equation.dimension}; make them equal."
        )


def transition(equation: Equation) -> Callable[[int], tuple[Array, Array, Array]]:
    """Return a function of n: factor (d,), shift (d,) and noise covariance (d, d) of n steps, in H's eigenbasis.

    Only for additive noise, where θ_n = Fθ_0 + shift + noise exactly.
    """
    values, vectors = equation.sgd.modes
    drift = equation.drift(values)
    rates, offset = drift * values, drift * (vectors.T @ equation.sgd.gradient)
    noise = vectors.T @ equation.diffusion(np.zeros(equation.dimension)) @ vectors
    if equation.discrete:
        return lambda n: affine.map_transition(rates, offset, noise, n)
    return lambda n: affine.flow_transition(rates, offset, noise, n * equation.sgd.learning_rate)


def _closed_form(equation: Equation, initial: State, saved: NDArray[np.int64]) -> tuple[Array, Array]:
    vectors = equation.sgd.modes[1]
    mean = vectors.T @ initial.mean
    covariance = vectors.T @ initial.covariance @ vectors
    after = transition(equation)
    means = np.empty((saved.size, mean.size))
    covariances = np.empty((saved.size, mean.size, mean.size))
    for s, n in enumerate(saved):
        factor, shift, noise = after(int(n))
        means[s] = vectors @ (factor * mean + shift)
        covariances[s] = vectors @ (factor[:, None] * covariance * factor + noise) @ vectors.T
    return means, covariances


def _carried(equation: Equation, initial: State, saved: NDArray[np.int64]) -> tuple[Array, Array]:
    d = equation.dimension
    size = 1 + d + 2 * d * d

    def unpack(flat: Array) -> Carried:
        lead = flat.shape[:-1]
        return Carried(
            flat[..., 0],
            flat[..., 1 : 1 + d],
            flat[..., 1 + d : 1 + d + d * d].reshape(*lead, d, d),
            flat[..., 1 + d + d * d :].reshape(*lead, d, d),
        )

    def derivative(flat: Array) -> Array:
        rate = equation.derivative(unpack(flat))
        square = (*flat.shape[:-1], d * d)
        return np.concatenate(
            [rate.mass[..., None], rate.mean, rate.outer.reshape(square), rate.covariance.reshape(square)], axis=-1
        )

    mean = initial.mean
    start = np.concatenate([[1.0], mean, np.outer(mean, mean).ravel(), initial.covariance.ravel()])
    times = saved * (1.0 if equation.discrete else equation.sgd.learning_rate)
    dense = size <= linear_flow.DENSE_SIZE
    states = unpack(linear_flow.advance(derivative, start, times, discrete=equation.discrete, dense=dense))
    return states.mean, states.covariance
