"""Whether the stationary measure of a finite sum has a density: entropy of the minibatch choice against contraction."""

import numpy as np

from dfp.problem.equation import Equation
from dfp.regimes.mode_report import lyapunov_exponent


def density_warning(equation: Equation, step: int) -> str:
    """Return why the values at ``step`` are averages over cells and not a density, and whether a finer grid helps."""
    text = (
        f"step {step}: details of the law are finer than the nodes of the solver, so that values are averages over "
        "cells: probabilities of cells and distribution functions are meaningful, peaks are not"
    )
    law = equation.sgd.noise
    if equation.dimension > 1 or np.isinf(law.choice_entropy) or not equation.sgd.plain:
        return f"{text}; the law may have no density at all."
    entropy, exponent = law.choice_entropy, lyapunov_exponent(equation.sgd).value
    if exponent < 0 and entropy < -exponent:
        return (
            f"{text}; the stationary law has no density on any grid: the entropy of the choice of a minibatch, "
            f"{entropy:.3g}, is below |E log|1 − ηh|| = {-exponent:.3g}."
        )
    return f"{text}; the stationary law of a finite sum may have no density at all."
