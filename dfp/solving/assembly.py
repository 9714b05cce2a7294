"""How frames, a certificate and what is known of a run become a solution, whoever has made them."""

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfp.checks import Array
from dfp.problem.averaged_equation import AveragedEquation
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid
from dfp.problem.parameters import directions
from dfp.problem.sgd import SGD
from dfp.problem.state import State
from dfp.results.certificate import Certificate
from dfp.results.frame import Frame
from dfp.results.schema import versions
from dfp.results.solution import Solution

# Moments that every solution has.
_TWO = ("mean", "covariance")


def assembled(
    equation: Equation | AveragedEquation,
    sgd: SGD,
    steps: NDArray[np.int64],
    frames: list[Frame],
    certificate: Certificate,
    *,
    last: int,
    solver: str,
    reason: str,
    grid: Grid | None,
    began: float,
    details: dict[str, Any],
    trajectories: int = 0,
) -> Solution:
    """Return the solution at ``steps`` (S,) of a run up to ``last`` that ``began`` at so many counted seconds.

    ``details`` are further entries of its provenance.
    """
    constant, names = sgd.learning_rates.constant, equation.parameters
    if "directions" in details:
        names = directions(len(frames[0].mean))
    return Solution(
        equation=equation.label,
        solver=solver,
        reason=reason,
        steps=steps,
        learning_rate=sgd.learning_rate if constant else float("nan"),
        grid=grid,
        density=_stacked([frame.density for frame in frames]),
        mean=np.array([frame.mean for frame in frames]),
        covariance=np.array([frame.covariance for frame in frames]),
        third=_stacked([frame.third for frame in frames]),
        fourth=_stacked([frame.fourth for frame in frames]),
        errors={name: np.array([f.errors[name] for f in frames if f.errors]) for name in frames[0].errors or {}},
        trajectories=trajectories,
        certificate=certificate,
        provenance={
            **equation.record(last),
            "solver": solver,
            **details,
            "versions": dict(versions()),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "wall_seconds": time.perf_counter() - began,
        },
        slow_time=None if constant else sgd.time(steps),
        parameters=names or (),
    )


def without_moments(solution: Solution, initial: State, sgd: SGD) -> Solution:
    """Return a solution from a state without a mean or variance: no parameter has one that such a one has reached."""
    k, d = solution.dimension, sgd.dimension
    # Directions mix what they are made of.
    coupled = np.linalg.matrix_power(np.eye(d) + (sgd.hessian != 0), d) if k == d else np.ones((k, d))
    mean, covariance = solution.mean.copy(), solution.covariance.copy()
    undefined, heavy = ~np.isfinite(initial.mean), ~np.isfinite(initial.covariance.diagonal())
    for s, step in enumerate(solution.steps):
        reached = coupled if step or k < d else np.eye(d)
        mean[s, reached @ undefined > 0] = np.nan
        lost = reached @ heavy > 0
        covariance[s, lost | lost[:, None]] = np.nan
        covariance[s, lost, lost] = np.inf
    certificate, told = solution.certificate, getattr(initial, "warnings", ()) or ("which have none",)
    note = f"mean or covariance do not exist, like those of the initial state: {told[0]}"
    return replace(
        solution,
        mean=mean,
        covariance=covariance,
        third=None,
        fourth=None,
        errors={name: np.full_like(values, np.nan) for name, values in solution.errors.items() if name in _TWO},
        joint_mean=None,
        joint_covariance=None,
        certificate=replace(certificate, warnings=(*certificate.warnings, note)),
    )


def _stacked(parts: list[Array | None]) -> Array | None:
    present = [part for part in parts if part is not None]
    return np.array(present) if len(present) == len(parts) else None
