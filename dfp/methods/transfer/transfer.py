"""Transfer: the master equation on a grid, for noise that may depend on θ."""

from dataclasses import dataclass

import numpy as np

from dfp.exact.moments import Moments
from dfp.methods.solver import MarchingSolver, dimension_obstacle
from dfp.methods.transfer import characteristic as transfer_band
from dfp.methods.transfer import epoch as transfer_epoch
from dfp.methods.transfer import graded as transfer_line
from dfp.methods.transfer import uniform as transfer_lattice
from dfp.methods.transfer.characteristic import BandCarry
from dfp.methods.transfer.epoch import EpochCarry
from dfp.methods.transfer.graded import LineCarry
from dfp.methods.transfer.uniform import LatticeCarry
from dfp.problem.equation import Equation
from dfp.problem.finite_sum import FiniteSumLaw
from dfp.problem.grid import Grid
from dfp.problem.noise import GaussianLaw
from dfp.problem.state import State
from dfp.results.frame import Frame

Carry = LineCarry | BandCarry | LatticeCarry | EpochCarry

# Samples times waves times nodes that a characteristic function of a finite sum on a line may cost.
_MOST_PHASES = 4e9


@dataclass(frozen=True)
class Transfer(MarchingSolver):
    """The master equation by transition matrices between the nodes of a grid.

    On a line, Gaussian steps are taken on graded nodes of their own, which follow power-law tails to 1e-15 of the mass;
    the grid is only where the result is reported. Finite sums and additive noise of other laws are taken through their
    characteristic functions: exactly, for any batch size. Both cost little more for a million steps than for thousands
    where the matrix is full.

    In two and three dimensions every cell of the grid is spread by its own kernel. Where Gaussian kernels span the
    cells the result is spectrally accurate and non-negative. For d = 2, kernels narrower than that, singular ones and
    the samples of a small finite sum are put on the grid by weights that keep all moments up to the fifth; the density
    can then be slightly negative and, where a step contracts or expands much (``|1 − ηh| < 0.9``), ripple from cell to
    cell. The steps of a large finite sum are taken to be Gaussian. The certificate estimates what each of these costs.

    Epochs without replacement are exact for small sums and d <= 2: a density is carried for each set of samples that
    the epoch has used. On a line twelve single samples are affordable, in two dimensions eight.

    Raises
    ------
    UnresolvedError
        While solving, where no affordable grid resolves the kernel in 3D, or a state has no density on the grid yet.
    """

    name = "Transfer"
    equations = ("T4",)
    nonlinear = ("T4",)
    without_replacement = True
    order = "spectral where the grid resolves the kernel; else order 6 in the grid, moments to order 5 exact"
    reference = "theory page, section 5 (trapezoidal rule, characteristic function, push-forward)"

    def obstacle(self, equation: Equation, initial: State) -> str | None:
        """Return why the transition kernel is out of reach, or None."""
        if not equation.sgd.affine:
            return dimension_obstacle(equation, 2)
        if not isinstance(equation.sgd.noise, GaussianLaw | FiniteSumLaw) and equation.dimension > 1:
            return "additive noise of such a law needs d = 1 here; dfp.Fourier() is exact for it"
        if not equation.sgd.noise.finite:
            return "a component of the noise has no variance, by which its box is found; dfp.Fourier() needs none"
        return dimension_obstacle(equation, 3) if equation.sgd.replace else transfer_epoch.obstacle(equation)

    def needs_no_moments(self, equation: Equation) -> bool:
        """Return whether tails are heavy on a line, where graded nodes follow them by quantiles."""
        return equation.number in self.equations and equation.sgd.plain and transfer_line.heavy(equation)

    def seconds(self, equation: Equation, initial: State, exact: Moments) -> float:
        """Return about how long a run takes on an ordinary core, by the size of its kernels."""
        steps = int(exact.steps[-1])
        if not equation.sgd.replace:
            cells = transfer_epoch.grid(equation, initial, exact).cells
            return transfer_epoch.seconds(equation, int(np.prod(cells)), steps)
        if transfer_line.applies(equation):
            return transfer_line.seconds(equation, steps)
        if _banded(equation):
            return 10.0 + 1e-3 * min(steps, 20_000)
        return transfer_lattice.seconds(equation, transfer_lattice.grid(equation, initial, exact), steps)

    def grid(self, equation: Equation, initial: State, exact: Moments) -> Grid:
        """Return a grid that holds the density at every saved step and resolves it.

        Raises
        ------
        UnresolvedError
            If the moments overflow, or d = 3 and the kernel is finer than the largest grid.
        """
        if not equation.sgd.replace:
            return transfer_epoch.grid(equation, initial, exact)
        if transfer_line.applies(equation):
            return transfer_line.grid(transfer_line.prepare(equation, initial, None), exact.steps)
        if _banded(equation):
            return transfer_band.grid(equation, initial, exact)
        return transfer_lattice.grid(equation, initial, exact)

    def prepare(self, equation: Equation, initial: State, grid: Grid | None) -> Carry:
        """Return the carry at step 0."""
        assert grid is not None
        if not equation.sgd.replace:
            return transfer_epoch.prepare(equation, initial, grid)
        if transfer_line.applies(equation):
            return transfer_line.prepare(equation, initial, grid)
        if _banded(equation):
            return transfer_band.prepare(equation, initial, grid)
        return transfer_lattice.prepare(equation, initial, grid)

    def advance(self, carry: Carry, steps: int) -> Carry:
        """Return the carry ``steps`` later."""
        return carry.advanced(steps)

    def observe(self, carry: Carry) -> Frame:
        """Return the density on the grid, mean and covariance, the mass outside, and an estimate of the L1 error.

        Raises
        ------
        UnresolvedError
            At step 0, if the initial state has no density on the grid; or if nothing is left in the grid's box.
        """
        return carry.frame()


def _banded(equation: Equation) -> bool:
    """Return whether characteristic functions of a step on a line are known and affordable."""
    if not equation.sgd.affine:
        return False
    law = equation.sgd.noise
    if equation.dimension > 1 or isinstance(law, GaussianLaw):
        return False
    return not isinstance(law, FiniteSumLaw) or law.count * 2048 * 1024 <= _MOST_PHASES
