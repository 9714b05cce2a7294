"""The choice of a solver: what ``solver="auto"`` tries, in which order, and why."""

import numpy as np

from dfp.errors import UnresolvedError, UnsupportedError
from dfp.methods.finite_difference import FiniteDifference
from dfp.methods.finite_volume import FiniteVolume
from dfp.methods.fourier.fourier import Fourier
from dfp.methods.hermite import Hermite
from dfp.methods.moment_recursion import MomentRecursion
from dfp.methods.monte_carlo import MonteCarlo
from dfp.methods.solver import Problem, Solver
from dfp.methods.transfer.spectral import SpectralRun
from dfp.methods.transfer.transfer import Transfer
from dfp.problem.arguments import summary
from dfp.problem.equation import Equation
from dfp.problem.state import State
from dfp.results.certificate import TRUNCATION_LIMIT

# Solvers whose settings all have defaults, by their names in configuration files.
BY_NAME: dict[str, type[Solver]] = {
    "fourier": Fourier, "hermite": Hermite, "transfer": Transfer, "finite_volume": FiniteVolume,
    "finite_difference": FiniteDifference, "moment_recursion": MomentRecursion,
}  # fmt: skip
# Seconds beyond which a transfer operator leaves the field to sampling.
_PATIENCE = 120.0


def pick(problem: Problem) -> list[tuple[Solver, str]]:
    """Return the solvers ``solver="auto"`` tries in turn, each with the reason in words."""
    equation, initial, d = problem.equation, problem.initial, problem.equation.dimension
    if not equation.sgd.affine:
        return _pick_nonlinear(equation)
    if summary(equation, initial):
        return [(MomentRecursion(), "of the start, velocities included, moments alone are known")]
    sampled = equation.discrete and np.isfinite(equation.sgd.law.minibatch_count())
    if Fourier().refusal(equation, initial) is None and not sampled:
        return [(Fourier(), "additive noise has a closed characteristic function")]
    if equation.truncated and d <= 3:
        return _pick_discrete(equation, initial)
    sampler = MonteCarlo(1_000_000, seed=0)
    can_sample = sampler.refusal(equation, initial) is None
    attempts: list[tuple[Solver, str]] = []
    heavy = Transfer().refusal(equation, initial) is None and not Transfer().needs_moments(equation)
    series = Hermite().refusal(equation, initial) is None and problem.exact and not heavy
    near = "the density stays near its moving Gaussian"
    if series:  # if it needs no warning: others may be exact
        attempts.append((Hermite(tolerance=TRUNCATION_LIMIT), near))
    slow = _pick_transfer(problem, attempts)
    volume = FiniteVolume()
    chain = d <= 2 and volume.refusal(equation, initial) is None
    if chain:
        attempts.append((volume, "far from Gaussian, a diffusion is solved as a Markov chain on cells"))
    if series:
        attempts.append((Hermite(), near))
    if can_sample and d <= 3 and not chain:
        attempts.append((sampler, f"no deterministic solver converges or applies here{slow}"))
    if not attempts:
        why = "from a point" if initial.point and d <= 2 else f"for d = {d}"
        attempts.append((MomentRecursion(), f"no solver has densities of this equation {why}: moments only"))
    return attempts


def pick_of_average() -> tuple[Solver, str]:
    """Return the solver for averages of iterates that have no closed law, with the reason in words."""
    return MonteCarlo(1_000_000, seed=0), "the noise depends on θ, so that no average has a closed law"


def without_density() -> Solver:
    """Return what is left where every density would take too long."""
    return MomentRecursion()


def _pick_transfer(problem: Problem, attempts: list[tuple[Solver, str]]) -> str:
    """Add ``Transfer`` to the attempts where it is exact enough and affordable; else return why not, in words."""
    solver, equation, law = Transfer(), problem.equation, problem.equation.sgd.law
    if solver.refusal(equation, problem.initial):
        return ""
    if not problem.exact and not equation.sgd.replace:
        return f": a transfer operator chooses its grid by exact moments ({problem.failure})"
    try:
        method = solver.method(problem)
        # In more dimensions the steps of a finite sum would else be taken to be Gaussian.
        if equation.dimension > 1 and not (method is SpectralRun or (law.gaussian and equation.dimension == 2)):
            return ""
        seconds = method.seconds(problem)
    except UnresolvedError:
        return ": no affordable grid holds the kernels of a transfer operator"
    if seconds > _PATIENCE:
        return f": a transfer operator would take some {seconds:.0f} s"
    if method is SpectralRun and not law.gaussian and equation.dimension == 2:
        # A series errs by the third cumulants of minibatches, often beyond what a certificate lets pass.
        attempts.insert(0, (solver, "characteristic functions of a finite sum make the master equation exact"))
        return ""
    where = "far from Gaussian" if attempts else "no series applies"
    attempts.append((solver, f"{where}, the master equation is solved by transition matrices"))
    return ""


def _pick_nonlinear(equation: Equation) -> list[tuple[Solver, str]]:
    why = "the landscape is nonlinear"
    if equation.truncated:
        if equation.dimension <= 2:
            return [(FiniteDifference(), "a grid no finer than a step resolves the density in a nonlinear landscape")]
        raise UnsupportedError(
            f"the {equation.label} is solved in a nonlinear landscape for d <= 2, and d = {equation.dimension}; use "
            "dfp.MasterEquation, which it approximates, with dfp.MonteCarlo(...)."
        )
    drawn = not equation.sgd.local.gaussian and equation.sgd.local.characteristic is None
    if equation.discrete and (drawn or (equation.sgd.momentum and equation.sgd.local.noise is not None)):
        return [(MonteCarlo(1_000_000, seed=0), f"{why}, and its noise is given as draws")]
    if equation.dimension <= 2:
        return [(Transfer() if equation.discrete else FiniteVolume(), why)]
    return [(MonteCarlo(1_000_000, seed=0), why)]


def _pick_discrete(equation: Equation, initial: State) -> list[tuple[Solver, str]]:
    """Return the attempts for (T5): what needs no warning first, a series before a grid."""
    attempts: list[tuple[Solver, str]] = [
        (Hermite(tolerance=TRUNCATION_LIMIT), "the density stays near its moving Gaussian"),
        (FiniteDifference(tolerance=TRUNCATION_LIMIT), "a grid no finer than a step resolves the density"),
        (Hermite(), "the density stays near its moving Gaussian, and no stable grid resolves it better"),
        (FiniteDifference(), "a grid no finer than a step resolves the density roughly"),
        (FiniteDifference("fourth"), "only a stencil is stable on a grid that resolves the density"),
    ]
    attempts = [attempt for attempt in attempts if attempt[0].refusal(equation, initial) is None]
    return [*attempts, (MomentRecursion(), "no series converges and no stable grid resolves the density: moments only")]


def drawn_by(solver: Solver | str) -> tuple[int, int] | None:
    """Return how many trajectories a solver draws, and with which seed, where it is one that does."""
    return (solver.trajectories, solver.seed) if isinstance(solver, MonteCarlo) else None
