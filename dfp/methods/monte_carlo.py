"""MonteCarlo: sampled trajectories of SGD itself (T4), with every noise law, and of the Langevin forms (T6, T7)."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from dfp_solvers.trajectories import ensemble as kernels
from dfp_solvers.trajectories import functions, models

from dfp import checks
from dfp.checks import TINY, Array
from dfp.errors import DFPError
from dfp.exact.moments import Moments, moments_at
from dfp.methods.grids import bins
from dfp.methods.monte_carlo_checkpoint import fingerprint_of, restored, store
from dfp.methods.monte_carlo_models import identity_of, model_of, optimiser_of
from dfp.methods.solver import SamplingSolver
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid
from dfp.problem.state import State
from dfp.results.frame import Frame

# Moments of the generators' steps come from a dense matrix of size 1 + d + 2d².
_LARGEST_GENERATOR = 8
# A run is drawn in about this many portions, none shorter than the least: progress and checkpoints come between them.
_PORTIONS = 50
_LEAST_BLOCKS = 64
# Trajectories of a pilot: its standard deviations err by 1 %.
_PILOT = 16_384


@dataclass(frozen=True)
class _Carry:
    model: Any
    optimiser: models.Optimiser | None
    start: models.Start
    sums: kernels.Accumulators
    exact: Moments
    grid: Grid | None
    exponents: Any
    scale: Array
    fingerprint: str
    highest: float = np.inf
    """Order up to which moments exist."""


@dataclass(frozen=True)
class MonteCarlo(SamplingSolver):
    """Independent trajectories, with moments and histograms accumulated as they run.

    Parameters
    ----------
    trajectories
        How many, >= 1024. Memory does not grow with trajectories × steps.
    seed
        The result depends on nothing else: not on threads, nor on the portions it is drawn in.
    substeps
        For the Langevin forms with noise that depends on θ: steps of length η/substeps whose conditional mean and
        covariance are exact; the third and fourth moments err by O(η/substeps).
    threads
        Number of threads; all cores if None.
    checkpoint
        File for the sums so far: an interrupted run that finds it goes on from there, to the same bits.

    Notes
    -----
    A finite sum draws minibatches with replacement, or in epochs without (``SGD(replace=False)``), each trajectory and
    epoch by a shuffle of its own. Random numbers are xoshiro256++, one stream per trajectory of a
    block (Blackman & Vigna 2021), normals by Box–Muller.
    """

    trajectories: int
    seed: int = 0
    substeps: int = 4
    threads: int | None = None
    checkpoint: str | Path | None = None

    name = "MonteCarlo"
    equations = ("T4", "T6", "T7")
    nonlinear = ("T4",)
    order = "standard error ∝ trajectories^(-1/2); the law of each SGD step is exact"
    reference = "theory page, section 5; generator: Blackman and Vigna 2021"
    momentum = True
    schedules = True
    without_replacement = True

    def __post_init__(self) -> None:
        # Standard errors come from the spread between blocks, so there must be a few.
        checks.integer("trajectories", self.trajectories, at_least=1024, at_most=10**12)
        checks.integer("seed", self.seed, at_least=0)
        checks.integer("substeps", self.substeps, at_least=1, at_most=10_000)
        if self.threads is not None:
            import numba

            checks.integer("threads", self.threads, at_least=1, at_most=numba.config.NUMBA_NUM_THREADS)

    def obstacle(self, equation: Equation, initial: State) -> str | None:
        """Return why trajectories cannot be drawn, or None."""
        if not equation.sgd.affine:
            return None
        law = equation.sgd.law
        if law.flaw:
            return law.flaw
        if not (equation.discrete or law.finite):
            return "a component of the noise has no variance, and Langevin forms know the noise by its covariance alone"
        if not (law.scheduled or equation.sgd.batches is None or equation.sgd.batches.constant):
            return "noise of such a law takes one batch_size, not a schedule of it"
        if not equation.discrete and equation.dimension > _LARGEST_GENERATOR:
            return f"Langevin trajectories need d <= {_LARGEST_GENERATOR}, and d = {equation.dimension}"
        if not equation.discrete and equation.sgd.scheduled:
            return "Langevin trajectories need one learning_rate and batch_size"
        return None

    def grid(self, equation: Equation, initial: State, exact: Moments) -> Grid | None:
        """Return histogram cells of a quarter of a standard deviation or less; None for d > 3."""
        return bins(exact) if equation.dimension <= 3 else None

    def prepare(self, equation: Equation, initial: State, grid: Grid | None, exact: Moments) -> _Carry:
        """Return empty sums, or those of the checkpoint.

        Raises
        ------
        DFPError
            If the checkpoint belongs to another problem or seed.
        """
        d = equation.dimension
        model, start = model_of(equation, self.substeps), initial.sampler()
        optimiser = None if equation.sgd.plain else optimiser_of(equation.sgd, int(exact.steps[-1]))
        exponents = kernels.exponents(d, 4 if d <= 3 and equation.sgd.affine else 2)
        deviation = np.sqrt(np.array([np.diag(c) for c in exact.covariance]))
        scale = np.where((deviation > 0) & np.isfinite(deviation), deviation, 1.0)
        cells = () if grid is None else grid.cells
        sums = kernels.empty(exact.steps, exponents, cells)
        identity = identity_of(model, exact, scale)
        parts = (*identity, start) if optimiser is None else (*identity, optimiser, start)
        fingerprint = fingerprint_of(*parts, exact.steps, exact.mean, scale, grid, self.seed)
        if self.checkpoint is not None and Path(self.checkpoint).exists():
            sums = restored(Path(self.checkpoint), sums, fingerprint, self.trajectories)
        return _Carry(model, optimiser, start, sums, exact, grid, exponents, scale, fingerprint, _highest(equation))

    def pilot(self, equation: Equation, initial: State, exact: Moments) -> Moments:
        """Return the moments of a few trajectories, scaled by those of sampling with replacement."""
        sgd = equation.sgd
        if not sgd.noise.finite:
            return _quantiles(equation, initial, exact, self.seed)
        if sgd.plain:
            raise DFPError(exact.unknown)
        like = moments_at(replace(equation, sgd=sgd.redrawn), initial, exact.steps)
        few = replace(self, trajectories=_PILOT, seed=(self.seed + 2**61) % 2**62, checkpoint=None)
        carry = few.prepare(equation, initial, None, replace(like, unknown=exact.unknown))
        while few.drawn(carry) < _PILOT:
            carry = few.draw(carry)
        frames = few.observe(carry)
        mean, covariance = np.array([f.mean for f in frames]), np.array([f.covariance for f in frames])
        return Moments(exact.steps, mean, covariance, unknown=exact.unknown)

    def draw(self, carry: _Carry) -> _Carry:
        """Return the sums after a further fiftieth of the trajectories, stored if there is a checkpoint."""
        import numba

        portion = max(_LEAST_BLOCKS, -(-self.trajectories // (_PORTIONS * kernels.BLOCK)))
        before = numba.get_num_threads()
        numba.set_num_threads(self.threads or numba.config.NUMBA_NUM_THREADS)
        grid = carry.grid
        try:
            arguments = (carry.model, carry.start, carry.exact.steps, carry.sums, self.trajectories, self.seed)
            function = isinstance(carry.model, functions.FunctionModel)
            sums = (functions if function else kernels).sample(
                *arguments,
                exponents=carry.exponents,
                centre=carry.exact.mean,
                scale=carry.scale,
                lower=() if grid is None else grid.lower,
                upper=() if grid is None else grid.upper,
                cells=() if grid is None else grid.cells,
                blocks=portion,
                optimiser=carry.optimiser,
            )
        finally:
            numba.set_num_threads(before)
        if self.checkpoint is not None:
            store(Path(self.checkpoint), sums, carry.fingerprint)
        return replace(carry, sums=sums)

    def drawn(self, carry: _Carry) -> int:
        """Return the number of trajectories drawn so far."""
        return int(carry.sums.trajectories)

    def warnings(self, carry: _Carry) -> list[str]:
        """Return warnings of indefinite diffusion and of trajectories that overflowed."""
        result = []
        if carry.sums.indefinite:
            result.append(
                f"the diffusion was indefinite at {carry.sums.indefinite} trajectory-steps (clipped to 0); "
                "use dfp.ModifiedLangevin(sgd, positive=True)."
            )
        if carry.sums.nonfinite.any():
            result.append(
                f"{int(carry.sums.nonfinite.max())} trajectories overflowed; the dynamics is unstable: lower "
                "learning_rate or save earlier steps."
            )
        return result

    def observe(self, carry: _Carry) -> list[Frame]:
        """Return sample moments with standard errors and, on a grid, the histogram as mean density of each cell."""
        frames = []
        for s in range(len(carry.exact.steps)):
            central, errors = _existing(carry.highest, *_sample_moments(carry, s))
            density, outside = None, None
            if carry.grid is not None:
                counts = carry.sums.histogram[s].reshape(carry.grid.cells)
                density = counts / (carry.sums.trajectories * carry.grid.cell_volume)
                outside = float(carry.sums.outside[s]) / carry.sums.trajectories
            frames.append(Frame(density=density, outside=outside, errors=errors, **central))
        return frames


def _highest(equation: Equation) -> float:
    """Return the order to which moments of the dynamics exist for all steps; infinite if all do."""
    return equation.sgd.law.highest_order if equation.sgd.affine and equation.discrete else np.inf


def _existing(
    highest: float, central: dict[str, Any], errors: dict[str, Array]
) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the sample moments without those that estimate nothing: mean and covariance become NaN, others go."""
    for order, name in enumerate(("mean", "covariance", "third", "fourth"), start=1):
        if name in central and (order > highest or highest < 2):
            if order < 3:
                central[name], errors[name] = np.full_like(central[name], np.nan), np.full_like(errors[name], np.nan)
            else:
                del central[name], errors[name]
    return central, errors


def _quantiles(equation: Equation, initial: State, exact: Moments, seed: int) -> Moments:
    """Return middles and squared widths of the bulk in place of moments, from a few trajectories of such a law."""
    sgd, law = equation.sgd, equation.sgd.noise
    rng = np.random.default_rng(seed)
    theta = initial.draw(_PILOT, rng)
    velocity = np.zeros_like(theta)
    middle, covariance, now = [], [], 0
    for n in exact.steps.tolist():
        for step in range(now, n):
            gradient = theta @ sgd.hessian + sgd.gradient + law.increments(theta, rng)
            velocity = sgd.momentum * velocity + gradient
            theta = theta - sgd.learning_rates.at(step) * (
                gradient + sgd.momentum * velocity if sgd.nesterov else velocity
            )
        low, high = np.quantile(theta, [0.005, 0.995], axis=0)
        middle.append((low + high) / 2)
        covariance.append(np.diag(((high - low) / 6) ** 2 + TINY))
        now = n
    return Moments(exact.steps, np.array(middle), np.array(covariance), unknown=exact.unknown)


def _sample_moments(carry: _Carry, s: int) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return central moments about the sample mean, and standard errors, at saved step ``s``."""
    d = carry.exact.mean.shape[1]
    average, error, scale = carry.sums.mean[s], carry.sums.standard_error[s], carry.scale[s]
    values = {tuple(int(x) for x in e): i for i, e in enumerate(carry.exponents)}

    def tensor(source: Array, order: int) -> Array:
        result = np.empty((d,) * order)
        for index in np.ndindex(*result.shape):
            alpha = tuple(index.count(a) for a in range(d))
            result[index] = source[values[alpha]] * np.prod(scale[list(index)])
        return result

    first, second = tensor(average, 1), tensor(average, 2)
    central = {
        "mean": carry.exact.mean[s] + first,
        "covariance": second - np.outer(first, first),
    }
    # From the next moments where they are summed: the spread between blocks, of which there may be few, is uncertain.
    count = carry.sums.trajectories
    errors = {"mean": np.sqrt(np.maximum(central["covariance"].diagonal(), 0.0) / count)}
    if max(map(sum, values)) == 4:
        squares = np.einsum("iijj->ij", tensor(average, 4))
        errors["covariance"] = np.sqrt(np.maximum(squares - second**2, 0.0) / count)
    else:
        errors["covariance"] = tensor(error, 2)
    if d <= 3 and not carry.exact.unknown:
        # Third and fourth moments stay about the exact mean, where it is known: there their errors are unbiased.
        central["third"], central["fourth"] = tensor(average, 3), tensor(average, 4)
        errors["third"], errors["fourth"] = tensor(error, 3), tensor(error, 4)
    return central, errors
