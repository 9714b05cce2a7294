"""How frames, a certificate and what is known of a run become a solution, whoever has made them."""

import time
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
from dfp.results.certificate import Certificate
from dfp.results.frame import Frame
from dfp.results.schema import versions
from dfp.results.solution import Solution


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


def _stacked(parts: list[Array | None]) -> Array | None:
    present = [part for part in parts if part is not None]
    return np.array(present) if len(present) == len(parts) else None
