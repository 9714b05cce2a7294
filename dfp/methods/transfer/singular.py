"""Whether the stationary measure of a finite sum has a density: entropy of the minibatch choice against contraction."""

from itertools import combinations_with_replacement
from math import comb, lgamma, log

import numpy as np

from dfp.problem.equation import Equation
from dfp.problem.finite_sum import FiniteSumLaw
from dfp.regimes.mode_report import lyapunov_exponent

_ENUMERATED = 20_000


def density_warning(equation: Equation, step: int) -> str:
    """Return why the values at ``step`` are averages over cells and not a density, and whether a finer grid helps."""
    text = (
        f"step {step}: details of the law are finer than the nodes of the solver, so that values are averages over "
        "cells: probabilities of cells and distribution functions are meaningful, peaks are not"
    )
    law = equation.sgd.noise
    if equation.dimension > 1 or not isinstance(law, FiniteSumLaw) or not equation.sgd.plain:
        return f"{text}; the law may have no density at all."
    entropy, exponent = choice_entropy(law), lyapunov_exponent(equation.sgd).value
    if exponent < 0 and entropy < -exponent:
        return (
            f"{text}; the stationary law has no density on any grid: the entropy of the choice of a minibatch, "
            f"{entropy:.3g}, is below |E log|1 − ηh|| = {-exponent:.3g}."
        )
    return f"{text}; the stationary law of a finite sum may have no density at all."


def choice_entropy(law: FiniteSumLaw) -> float:
    """Return the entropy of the multiset of samples in a minibatch, or an upper bound if there are very many."""
    n, batch = law.count, law.batch_size
    choices = comb(n + batch - 1, batch)
    if choices > _ENUMERATED:
        return log(choices)
    total = 0.0
    for chosen in combinations_with_replacement(range(n), batch):
        orders = lgamma(batch + 1) - sum(lgamma(chosen.count(i) + 1) for i in set(chosen))
        weight = orders - batch * log(n)
        total -= np.exp(weight) * weight
    return float(total)
