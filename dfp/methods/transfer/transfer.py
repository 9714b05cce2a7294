"""Transfer: the master equation on a grid, for noise that may depend on θ."""

from dataclasses import dataclass

import numpy as np

from dfp.errors import UnresolvedError
from dfp.methods.solver import Problem, Solver
from dfp.methods.transfer import epoch, graded, spectral
from dfp.methods.transfer.characteristic import CharacteristicRun
from dfp.methods.transfer.graded import GradedRun
from dfp.methods.transfer.kernels import enumerated
from dfp.methods.transfer.landscape_waves import LandscapeWavesRun
from dfp.methods.transfer.run import TransferRun
from dfp.methods.transfer.spectral import SpectralRun
from dfp.methods.transfer.uniform import UniformRun
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid
from dfp.problem.state import State

# Samples times waves times nodes that a characteristic function of a finite sum on a line may cost.
_MOST_PHASES = 4e9
# Seconds that a lattice over power-law tails may take where the boxes of spectral transfer do not hold them.
_AFFORDABLE = 60.0


@dataclass(frozen=True)
class Transfer(Solver):
    """The master equation by transition matrices between the nodes of a grid.

    On a line, Gaussian steps are taken on graded nodes of their own, which follow power-law tails to 1e-15 of the mass;
    the grid is only where the result is reported. Finite sums and additive noise of other laws are taken through their
    characteristic functions: exactly, for any batch size. Both cost little more for a million steps than for thousands
    where the matrix is full.

    In two and three dimensions the characteristic function of a step moves the density between boxes of its own, which
    resolve the density and not the kernel (spectral transfer): Gaussian noise and finite sums of any size are exact,
    and small learning rates cost least. In three dimensions a step is a sum of products, of 4 to 100 for Gaussian noise
    and of 70 to 1200 for finite sums; one that memory does not hold is refused. The grid is only where the result is
    reported.

    Where that costs more, or its boxes do not hold the tails, every cell of the grid is spread by its own kernel.
    Where Gaussian kernels span the cells the result is spectrally accurate and non-negative. For d = 2, kernels
    narrower than that, singular ones and the samples of a small finite sum are put on the grid by weights that keep
    all moments up to the fifth; the density can then be slightly negative and, where a step contracts or expands much
    (``|1 − ηh| < 0.9``), ripple from cell to cell. The steps of a large finite sum are taken to be Gaussian. The
    certificate estimates what each of these costs.

    Epochs without replacement are exact for small sums and d <= 2: a density is carried for each set of samples that
    the epoch has used. On a line twelve single samples are affordable, in two dimensions eight.

    Raises
    ------
    UnresolvedError
        While solving, where no affordable grid resolves the kernel in 3D, or a state has no density on the grid yet.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([0.3], [0.5])), learning_rate=0.2)
    >>> solution = dfp.solve(dfp.MasterEquation(sgd), dfp.Gaussian(1.0, 0.1), 10, solver=dfp.Transfer())
    >>> print(solution.certificate.ok)
    True
    """

    name = "Transfer"
    equations = ("T4",)
    nonlinear = ("T4",)
    without_replacement = True
    order = "spectral where a grid resolves density or kernel; else order 6 in the grid, moments to order 5 exact"
    reference = "theory page, sections 5 and 6 (trapezoidal rule, characteristic function, push-forward; T22)"
    noise = "any for d <= 2; Gaussian or a finite sum for d = 3"
    cost = "nodes; for d = 1 hardly with steps where tails are heavy, for d = 2 the less the smaller the learning rate"

    def obstacle(self, equation: Equation, initial: State) -> str | None:
        """Return why the transition kernel is out of reach, or None."""
        if not equation.sgd.affine:
            drawn = "the landscape's noise is given as draws alone; give its characteristic=... too"
            local = equation.sgd.local
            return None if local.gaussian or local.characteristic is not None else drawn
        law = equation.sgd.noise
        if equation.dimension > 2 and law.additive and not law.gaussian and np.isinf(law.minibatch_count()):
            return "additive noise of such a law needs d <= 2 here; dfp.Fourier() is exact for it"
        if law.characteristic_obstacle:
            return law.characteristic_obstacle
        if not law.finite:
            return "a component of the noise has no variance, by which its box is found; dfp.Fourier() needs none"
        return None if equation.sgd.replace else epoch.obstacle(equation)

    def needs_moments(self, equation: Equation) -> bool:
        """Return False where tails are heavy on a line, where graded nodes follow them by quantiles."""
        return not graded.heavy(equation)

    def method(self, problem: Problem, grid: Grid | None = None) -> type[TransferRun]:
        """Return which of its methods serves: the only place where one is chosen."""
        equation, sgd = problem.equation, problem.equation.sgd
        if not sgd.replace:
            return epoch.LineEpochs if equation.dimension == 1 else epoch.LatticeEpochs
        if not sgd.affine and sgd.local.characteristic is not None:
            return LandscapeWavesRun
        if graded.applies(equation):
            return GradedRun
        if sgd.affine and equation.dimension == 1 and not (sgd.noise.gaussian and sgd.noise.constant.item() == 0):
            samples = sgd.noise.curvature_samples(np.ones(1))
            affordable = samples is None or samples.size * 2048 * 1024 <= _MOST_PHASES
            return CharacteristicRun if affordable else UniformRun
        if not spectral.applies(problem):
            return UniformRun
        if not sgd.noise.gaussian and not enumerated(equation):
            return SpectralRun
        held = spectral.holds_tails(problem)
        if grid is not None and not held:
            return UniformRun
        try:
            with np.errstate(divide="ignore"):  # a start without a width has no grid that resolves it
                seconds = UniformRun.seconds(problem)
        except UnresolvedError:
            return SpectralRun
        if seconds < _AFFORDABLE and not held:
            return UniformRun
        return SpectralRun if SpectralRun.seconds(problem) < seconds else UniformRun

    def start(self, problem: Problem, grid: Grid | None = None) -> TransferRun:
        """Return a run by the method that serves.

        Raises
        ------
        UnresolvedError
            If the moments overflow, or no affordable grid holds the density and resolves the kernel.
        """
        return self.method(problem, grid)(problem, grid)
