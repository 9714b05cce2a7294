"""Instability by its name: which modes of the mean grow, by ηλ, and below which learning rate they would not."""

import numpy as np
from dfp_solvers import modal

from dfp.checks import Array
from dfp.problem.equation import Equation

# Steps of a schedule that are looked at, and modes that are listed.
_LOOKED_AT, _LISTED = 100_000, 3


def overshooting(equation: Equation, steps: int) -> str:
    """Return in words which modes of a map grow because ηλ is too large, in ``steps`` steps; empty if none does."""
    sgd = equation.sgd
    if not (sgd.affine and equation.discrete) or steps == 0:
        return ""
    limit, curvatures = modal.largest_decay(sgd.momentum, sgd.nesterov), sgd.modes_of_map[0]
    rates = sgd.learning_rates.values(0, min(steps, _LOOKED_AT) if sgd.scheduled else 1)
    decays = np.outer(curvatures, rates)
    grows = (decays > limit).mean(axis=1) > 0.5 if sgd.momentum else _gained(decays) > 0
    grows &= decays.max(axis=1) > limit * (1 + 1e-12)
    if not grows.any():
        return ""
    worst = decays.max(axis=1)[grows][::-1]
    largest = limit / float(curvatures[-1])
    return (
        f"ηλ = {_listed(worst)} > {limit:.4g}: {_modes(curvatures[grows][::-1])} unstable; the largest stable "
        f"learning_rate is {largest:.4g}"
    )


def growing(equation: Equation, steps: int) -> str:
    """Return in words which modes grow, for ηλ or because they are no minimum; empty if none does."""
    found = [overshooting(equation, steps)]
    curvatures = equation.sgd.modes_of_map[0] if equation.sgd.affine else np.empty(0)
    if np.any(curvatures < 0):
        found.append(f"λ < 0: {_modes(curvatures[curvatures < 0])} unstable at every learning_rate")
    return "; ".join(filter(None, found))


def _gained(decays: Array) -> Array:
    """Return Σ log|1 − η_nλ| of every mode."""
    with np.errstate(divide="ignore"):
        return np.log(np.abs(1 - decays)).sum(axis=1)


def _listed(values: Array) -> str:
    more = f" and {values.size - _LISTED} more" if values.size > _LISTED else ""
    return ", ".join(f"{value:.4g}" for value in values[:_LISTED]) + more


def _modes(curvatures: Array) -> str:
    noun, verb = ("mode", "is") if curvatures.size == 1 else ("modes", "are")
    return f"the {noun} of curvature {_listed(curvatures)} {verb}"
