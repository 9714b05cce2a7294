"""Densities of averages of iterates under additive Gaussian noise: Gaussians with the moments of (T20)."""

import time
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from dfp.errors import UnsupportedError
from dfp.exact.moments import moments
from dfp.problem.averaged_equation import AveragedEquation
from dfp.problem.grid import Grid
from dfp.problem.state import State
from dfp.results.certificate import certify
from dfp.results.schema import versions
from dfp.results.solution import Solution
from dfp.solving.along import normal_frames


def averaged(equation: AveragedEquation, initial: State, saved: NDArray[np.int64], grid: Grid | None) -> Solution:
    """Return the solution for the average at the steps ``saved`` (S,).

    Raises
    ------
    UnsupportedError
        If the law is no Gaussian, or d > 3.
    """
    began, sgd = time.perf_counter(), equation.average.sgd
    if not (sgd.additive and sgd.law.gaussian and initial.gridded is None):
        raise UnsupportedError(
            "equation: the density of an average is known for additive Gaussian noise, from a dfp.Gaussian or a "
            "dfp.Point; use dfp.moments(...) for its exact mean and covariance."
        )
    if equation.dimension > 3:
        raise UnsupportedError(f"d = {equation.dimension}: densities need d <= 3; use dfp.moments(...).")
    exact = moments(equation, initial, int(saved[-1]), saved.tolist())
    chosen, frames = normal_frames(exact, grid)
    return Solution(
        equation=equation.label,
        solver="Average",
        reason="the average of a Gaussian process is Gaussian",
        steps=saved,
        learning_rate=sgd.learning_rate if sgd.learning_rates.constant else float("nan"),
        grid=chosen,
        density=np.array([frame.density for frame in frames]),
        mean=exact.mean,
        covariance=exact.covariance,
        certificate=certify(saved, frames, chosen, exact, []),
        provenance={
            **equation.record(int(saved[-1])),
            "solver": "Average",
            "versions": dict(versions()),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "wall_seconds": time.perf_counter() - began,
        },
        slow_time=None if sgd.learning_rates.constant else sgd.time(saved),
    )
