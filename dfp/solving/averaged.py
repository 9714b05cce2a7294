"""Densities of averages of iterates under additive noise, of which they hold a known share of every step (T20)."""

import time
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfp import checks
from dfp.checks import Array, Complex
from dfp.errors import UnsupportedError
from dfp.exact.moments import Moments, moments
from dfp.exact.optimisers import mean_map
from dfp.problem.averaged_equation import AveragedEquation
from dfp.problem.averages import Average
from dfp.problem.grid import Grid
from dfp.problem.state import State
from dfp.results.certificate import advice_alone, certify
from dfp.results.frame import Frame
from dfp.results.solution import Solution
from dfp.solving.along import Path, along, columns, normal_frames, spectra, transformed_frames
from dfp.solving.assembly import assembled


def closed(equation: AveragedEquation) -> bool:
    """Return whether its densities have a closed form."""
    sgd = equation.average.sgd
    return sgd.additive and (sgd.law.gaussian or sgd.batches is None or sgd.batches.constant)


def averaged(
    equation: AveragedEquation,
    initial: State,
    saved: NDArray[np.int64],
    directions: ArrayLike | None,
    grid: Grid | None,
) -> Solution:
    """Return the solution for the average, or for Uᵀ times it, at the steps ``saved`` (S,).

    Raises
    ------
    UnsupportedError
        If the noise depends on θ, or d > 3 without directions.
    """
    began, sgd = time.perf_counter(), equation.average.sgd
    if not closed(equation):
        sampled = "solver=dfp.MonteCarlo(...)" if directions is None else "dfp.MonteCarlo(...) without directions"
        raise UnsupportedError(
            f"equation: the density of an average is closed for additive noise of one law; use {sampled}, or "
            "dfp.moments(...) for its exact mean and covariance."
        )
    if equation.dimension > 3 and directions is None:
        raise UnsupportedError(
            f"d = {equation.dimension}: densities need d <= 3; give directions=..., or use dfp.moments(...)."
        )
    u = None if directions is None else columns(directions, equation.dimension)
    exact = moments(equation, initial, int(saved[-1]), saved.tolist())
    exact = exact if u is None else along(exact, u)
    if sgd.law.gaussian and initial.gridded is None:
        reason = "the average of a Gaussian process is Gaussian"
        chosen, frames = normal_frames(exact, grid)
    else:
        reason = "additive noise has a closed characteristic function in every average"
        chosen, frames = _transformed(equation, initial, exact, np.eye(equation.dimension) if u is None else u, grid)
    remedies = advice_alone(given=grid is not None, sampled=False)
    found = assembled(
        equation, sgd, saved, frames, certify(saved, frames, chosen, exact, [], remedies), last=int(saved[-1]),
        solver="Average", reason=reason, grid=chosen, began=began,
        details={} if u is None else {"directions": u.tolist()},
    )  # fmt: skip
    return replace(found, mean=exact.mean, covariance=exact.covariance)


def _transformed(
    equation: AveragedEquation, initial: State, exact: Moments, u: Array, grid: Grid | None
) -> tuple[Grid, list[Frame]]:
    paths = []
    for s, step in enumerate(exact.steps.tolist()):
        at = Moments(exact.steps[s : s + 1], exact.mean[s : s + 1], exact.covariance[s : s + 1])
        paths.append(_shares(equation.average, at, step, u))

    def found(waves: Array) -> list[Complex]:
        return [spectra(equation.iterate, initial, path, waves)[0] for path in paths]

    return transformed_frames(exact, found, grid)


def _shares(average: Average, exact: Moments, last: int, u: Array) -> Path:
    """Return what Uᵀm after ``last`` steps holds of the start and of each step's gradient noise, from the last back."""
    sgd, weights, d, k = average.sgd, average.weights(last), average.dimension, u.shape[1]
    law, rates = sgd.noise, sgd.learning_rates.values(0, last)
    size = law.projected(u).size
    checks.require_memory(f"steps={last}: noise of every step", 8.0 * last * size, "take fewer steps")
    row, own, loads = np.zeros((d * (2 if sgd.momentum else 1), k)), u, list[Array]()
    for n in reversed(range(last)):
        factor, push = mean_map(sgd, float(rates[n]))
        row[:d] += weights[n] * own
        loads.append(push.T @ row)
        row, own = factor.T @ row, (1 - weights[n]) * own
    loads.reverse()
    shift = sum((sgd.gradient @ load for load in loads), np.zeros(k))
    noises = np.split(law.projected(np.concatenate(loads, axis=1)), last, axis=1) if loads else []
    return Path(exact, (row[:d] + own)[None], shift[None], noises)
