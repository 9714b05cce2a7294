"""MomentRecursion: exact moments, of order up to four for d <= 3 and up to two in any dimension."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from dfp_solvers import moment_operator
from scipy.linalg import expm

from dfp import checks
from dfp.checks import Array
from dfp.errors import UnsupportedError
from dfp.exact.cumulants import diffusion_polynomial, step_cumulants
from dfp.exact.moments import Moments, moments_at
from dfp.methods.solver import MarchingSolver
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid
from dfp.problem.state import Density, State
from dfp.results.frame import Frame


@dataclass(frozen=True)
class _Carry:
    equation: Equation
    initial: State
    matrix: Array
    values: Array
    step: int


@dataclass(frozen=True)
class MomentRecursion(MarchingSolver):
    """Exact moments: mean and covariance in any dimension, third and fourth central moments for d <= 3 of plain SGD.

    Parameters
    ----------
    highest
        Highest order, 2, 3 or 4; ``None`` takes 4 for plain SGD with d <= 3, else 2.

    Notes
    -----
    The moments of random affine maps close order by order (T8, T9), and so do those of the generators (T15).
    """

    highest: int | None = None

    name = "MomentRecursion"
    equations = ("T4", "T5", "T6", "T7")
    order = "exact"
    reference = "theory page, section 3"
    gridded = False
    momentum = True
    schedules = True
    without_replacement = True

    def __post_init__(self) -> None:
        if self.highest is not None:
            checks.integer("highest", self.highest, at_least=2, at_most=4)

    def obstacle(self, equation: Equation, initial: State) -> str | None:
        """Return why orders above two are out of reach, or None."""
        if (self.highest or 2) > 2 and equation.dimension > 3:
            return f"moments of order {self.highest} need d <= 3, and d = {equation.dimension}"
        if (self.highest or 2) > 2 and not equation.sgd.plain:
            return f"with {equation.sgd.features} moments are of order two; give highest=2"
        return None

    def grid(self, equation: Equation, initial: State, exact: Moments) -> Grid | None:
        """Return None: there is no density."""
        return None

    def prepare(self, equation: Equation, initial: State, grid: Grid | None) -> Any:
        """Return the recursion's matrix and the moments at step 0."""
        if grid is not None:
            raise UnsupportedError("grid: MomentRecursion has no density; leave grid out or choose another solver.")
        if not _to_fourth(equation):
            return _Carry(equation, initial, np.empty(0), np.empty(0), 0)
        n = self.highest or 4
        values = moment_operator.start(initial.mean, central_tensors(initial), n)
        if equation.discrete:
            matrix = moment_operator.map_matrix(
                equation.linear_drift,
                equation.constant_drift,
                step_cumulants(equation, 2 if equation.number == "T5" else n)[
                    : 1 if equation.number == "T5" else n - 1
                ],
                n,
                truncated=equation.number == "T5",
            )
        else:
            matrix = moment_operator.generator_matrix(
                equation.linear_drift, equation.constant_drift, diffusion_polynomial(equation), n
            )
        return _Carry(equation, initial, matrix, values, 0)

    def advance(self, carry: _Carry, steps: int) -> _Carry:
        """Return the moments ``steps`` later by one matrix power or exponential."""
        if not _to_fourth(carry.equation) or steps == 0:
            return _Carry(carry.equation, carry.initial, carry.matrix, carry.values, carry.step + steps)
        if carry.equation.discrete:
            moved = np.linalg.matrix_power(carry.matrix, steps)
        else:
            moved = expm(steps * carry.equation.sgd.learning_rate * carry.matrix)
        return _Carry(carry.equation, carry.initial, carry.matrix, moved @ carry.values, carry.step + steps)

    def observe(self, carry: _Carry) -> Frame:
        """Return mean and covariance and, for d <= 3, third and fourth central moments."""
        d = carry.equation.dimension
        if not _to_fourth(carry.equation):
            exact = moments_at(carry.equation, carry.initial, np.array([carry.step]))
            return Frame(exact.mean[0], exact.covariance[0])
        n = self.highest or 4
        parts = moment_operator.central_moments(carry.values, d, n)
        return Frame(parts[0], parts[1], third=parts[2] if n > 2 else None, fourth=parts[3] if n > 3 else None)


def _to_fourth(equation: Equation) -> bool:
    """Tell whether the recursion of higher moments applies; where not, mean and covariance alone are known."""
    return equation.dimension <= 3 and equation.sgd.plain


def central_tensors(initial: State) -> list[Array]:
    """Return the central moment tensors of order 2, 3, 4 of a state with d <= 3."""
    d, covariance = initial.dimension, initial.covariance
    if not isinstance(initial, Density):
        fourth = (
            np.einsum("ij,kl->ijkl", covariance, covariance)
            + np.einsum("ik,jl->ijkl", covariance, covariance)
            + np.einsum("il,jk->ijkl", covariance, covariance)
        )
        return [covariance, np.zeros((d, d, d)), fourth]
    probability = (initial.values * (initial.grid.cell_volume / initial.mass)).ravel()
    x = (initial.grid.points - initial.mean).reshape(-1, d)
    pairs = (x[:, :, None] * x[:, None, :]).reshape(-1, d * d)
    third = ((pairs * probability[:, None]).T @ x).reshape(d, d, d)
    fourth = ((pairs * probability[:, None]).T @ pairs).reshape(d, d, d, d)
    return [covariance, third, fourth]
