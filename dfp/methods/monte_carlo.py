"""MonteCarlo: sampled trajectories of SGD itself (T4), with every noise law, and of the Langevin forms (T6, T7)."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from dfp_solvers.trajectories import ensemble as kernels
from dfp_solvers.trajectories import functions
from scipy.special import betainc, betaincinv

from dfp import checks
from dfp.checks import TINY, Array
from dfp.errors import UnsupportedError
from dfp.exact.moments import Moments, moments_at, transition
from dfp.methods.grids import bins, deviations
from dfp.methods.look_ahead import LookAhead
from dfp.methods.look_ahead import obstacle as not_ahead
from dfp.methods.moment_recursion import HigherMoments
from dfp.methods.monte_carlo_checkpoint import fingerprint_of, restored, store
from dfp.methods.monte_carlo_models import identity_of, model_of, optimiser_of
from dfp.methods.pilot import quantiles
from dfp.methods.solver import Problem, SamplingRun, Solver
from dfp.methods.workers import Workers
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid
from dfp.problem.sgd import SGD
from dfp.problem.state import State
from dfp.results.frame import Frame
from dfp.results.keeper import locked

# Moments of the generators' steps come from a dense matrix of size 1 + d + 2d².
_LARGEST_GENERATOR = 8
# A run is drawn in about this many portions, none shorter than the least: progress and checkpoints come between them.
_PORTIONS = 50
_LEAST_BLOCKS = 64
# Seconds of a portion that is doubled next time, or halved, and numbers moved in the first.
_SHORT, _LONG, _FIRST = 0.2, 0.8, 4e6
# Tasks that are handed to workers at a time, and sums that one leaves at most.
_TASKS, _ENTRIES = 64, 2**22
_KERNELS = threading.Lock()
# Trajectories of a pilot: its standard deviations err by 1 %.
_PILOT = 16_384


# Kurtosis 3 + 6/(ν − 4) at which a Student t law, ν = 8, has no eighth moment any more.
_NO_EIGHTH = 4.5
# A kurtosis that is that of a Gaussian but for rounding.
_GAUSSIAN = 3.0 + 1e-6


@dataclass(frozen=True)
class MonteCarlo(Solver):
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
        File for the sums so far, held by one process: an interrupted run that finds it goes on from there, to the same
        bits.
    executor
        Any ``concurrent.futures.Executor``, or a Dask ``Client``, whose workers draw; the result does not depend on it,
        nor on their number.
    retries
        How often portions are drawn anew whose worker died, >= 0.
    look_ahead
        Densities are averages of the known law of a step over the samples of the step before, instead of histograms:
        unbiased, smooth, and in three dimensions as near as with ten times as many trajectories and more. For plain SGD
        with noise that is Gaussian given θ, d <= 3; values are those at the centres of cells, at step 0 of a histogram.

    Notes
    -----
    A finite sum draws minibatches with replacement, or in epochs without (``SGD(replace=False)``), each trajectory and
    epoch by a shuffle of its own. Random numbers are xoshiro256++, one stream per trajectory of a
    block (Blackman & Vigna 2021), normals by Box–Muller.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.2)
    >>> sampler = dfp.MonteCarlo(10_000, seed=1)
    >>> sampled = dfp.solve(dfp.MasterEquation(sgd), dfp.Point(1.0), 10, solver=sampler)
    >>> print(sampled.trajectories, bool(sampled.certificate.mean_error.max() < 4))  # standard errors
    10000 True
    """

    trajectories: int
    seed: int = 0
    substeps: int = 4
    threads: int | None = None
    checkpoint: str | Path | None = None
    executor: Any = field(default=None, compare=False, repr=False)
    retries: int = field(default=3, compare=False, repr=False)
    look_ahead: bool = False

    name = "MonteCarlo"
    equations = ("T4", "T6", "T7")
    nonlinear = ("T4",)
    certified = False
    dimensions = None
    nonlinear_dimensions = None
    order = "standard error ∝ trajectories^(-1/2); the law of each SGD step is exact"
    reference = "theory page, section 5; generator: Blackman and Vigna 2021"
    cost = "trajectories × steps"
    momentum = True
    schedules = True
    averages = True
    without_replacement = True

    def __post_init__(self) -> None:
        # Standard errors come from the spread between blocks, so there must be a few.
        checks.integer("trajectories", self.trajectories, at_least=1024, at_most=10**12)
        checks.integer("seed", self.seed, at_least=0)
        checks.integer("substeps", self.substeps, at_least=1, at_most=10_000)
        checks.integer("retries", self.retries, at_least=0)
        if self.look_ahead and (self.executor is not None or self.checkpoint is not None):
            raise UnsupportedError(
                "look_ahead=True: densities are summed in this process; leave executor and checkpoint out, or give "
                "dfp.solve(..., checkpoint=...)."
            )
        if self.executor is not None:
            Workers(self.executor, self.retries)
        if self.threads is not None:
            import numba

            checks.integer("threads", self.threads, at_least=1, at_most=numba.config.NUMBA_NUM_THREADS)

    def obstacle(self, equation: Equation, initial: State) -> str | None:
        """Return why trajectories cannot be drawn, or None."""
        if not equation.sgd.affine:
            if self.look_ahead:
                return not_ahead(equation)
            unknown = equation.sgd.local.characteristic is not None and equation.sgd.local.noise is None
            return (
                "the landscape has a characteristic function and no draws; give its noise=... too" if unknown else None
            )
        law = equation.sgd.law
        if law.flaw:
            return law.flaw
        if self.look_ahead and not_ahead(equation):
            return not_ahead(equation)
        if not (equation.discrete or law.finite):
            return "a component of the noise has no variance, and Langevin forms know the noise by its covariance alone"
        if not (law.scheduled or equation.sgd.batches is None or equation.sgd.batches.constant):
            return "noise of such a law takes one batch_size, not a schedule of it"
        if not equation.discrete and equation.dimension > _LARGEST_GENERATOR:
            return f"Langevin trajectories need d <= {_LARGEST_GENERATOR}, and d = {equation.dimension}"
        if not equation.discrete and equation.sgd.scheduled:
            return "Langevin trajectories need one learning_rate and batch_size"
        return None

    def needs_moments(self, equation: Equation) -> bool:
        """Return False: a few trajectories tell the scales where moments are not known."""
        return False

    def start(self, problem: Problem, grid: Grid | None = None) -> "MonteCarloRun":
        """Return a run without trajectories.

        Raises
        ------
        DFPError
            If the moments overflow.
        """
        affine = problem.equation.sgd.affine
        scales = problem.moments if problem.exact or not affine else self._pilot(problem)
        if grid is None and problem.equation.dimension <= 3:
            grid = bins(scales)
        return MonteCarloRun(self, problem, scales, grid)

    def _pilot(self, problem: Problem) -> Moments:
        """Return the moments of a few trajectories, scaled by those of sampling with replacement."""
        equation, sgd = problem.equation, problem.equation.sgd
        assert problem.failure is not None
        if not sgd.noise.finite:
            return quantiles(equation, problem.initial, problem.steps, _PILOT, self.seed)
        like = moments_at(replace(equation, sgd=sgd.redrawn), problem.initial, problem.steps)
        if sgd.plain or not (checks.finite(like.mean) and checks.finite(like.covariance)):
            raise problem.failure
        few = replace(self, trajectories=_PILOT, seed=(self.seed + 2**61) % 2**62, checkpoint=None, executor=None)
        run = MonteCarloRun(few, problem, like, None)
        while run.drawn < _PILOT:
            run.draw()
        frames = run.frames()
        mean, covariance = np.array([f.mean for f in frames]), np.array([f.covariance for f in frames])
        return Moments(problem.steps, mean, covariance)


class MonteCarloRun(SamplingRun):
    """Sums over the trajectories so far: of powers about ``scales``, and of counts in cells."""

    def __init__(self, solver: MonteCarlo, problem: Problem, scales: Moments, grid: Grid | None) -> None:
        equation, d = problem.equation, problem.equation.dimension
        self.grid, self.trajectories, self._solver, self._problem = grid, solver.trajectories, solver, problem
        self._scales, self._highest = scales, _highest(equation)
        self._hidden = [] if grid is None else _hidden_atoms(problem, grid)
        moved = not equation.sgd.plain or problem.average is not None
        self._model = model_of(equation, solver.substeps, gradient=moved)
        self._optimiser = optimiser_of(equation.sgd, problem.last, problem.average) if moved else None
        self._start = problem.initial.sampler()
        self._factors = kernels.factors(d, 4 if d <= 3 and equation.sgd.affine else 2)
        self._up_to_fourth = d <= 3 and problem.exact
        deviation = deviations(scales)
        self._unit = np.where((deviation > 0) & np.isfinite(deviation), deviation, 1.0)
        self.sums = kernels.empty(scales.steps, self._factors, () if grid is None else grid.cells)
        identity = identity_of(self._model, scales, self._unit)
        parts = [*identity, self._start] if self._optimiser is None else [*identity, self._optimiser, self._start]
        self._fingerprint = fingerprint_of(*parts, scales.steps, scales.mean, self._unit, grid, solver.seed)
        self._ahead: LookAhead | None = None
        if solver.look_ahead and grid is not None:
            if moved:
                raise UnsupportedError("look_ahead=True: the law of a step of an average is not known; leave it out.")
            self._ahead = LookAhead(self._model, self._start, scales.steps, grid, self.trajectories, solver.seed)
        batch = _samples_a_step(equation.sgd, problem.last) if equation.sgd.affine else 1
        self.moves = float(max(problem.last, 1) * d * batch)
        work = kernels.BLOCK * max(problem.last, 1) * d
        self._portion = max(int(_FIRST // work), 1)
        self._workers = None if solver.executor is None else Workers(solver.executor, solver.retries)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the checkpoint, if there is one, and go on from what is there.

        Raises
        ------
        DFPError
            If the checkpoint belongs to another problem or seed, or another process holds it.
        """
        if self._solver.checkpoint is None:
            yield
            return
        path = Path(self._solver.checkpoint)
        with locked(path):
            if path.exists():
                self.sums = restored(path, self.sums, self._fingerprint, self.trajectories)
            yield

    @property
    def drawn(self) -> int:
        """Number of trajectories drawn so far."""
        return int(self.sums.trajectories)

    def draw(self) -> None:
        """Draw a further fiftieth of the trajectories, and store the sums if there is a checkpoint."""
        most = max(_LEAST_BLOCKS, -(-self.trajectories // (_PORTIONS * kernels.BLOCK)))
        began, portion, solver = time.perf_counter(), min(self._portion, most), self._solver
        if self._workers is None:
            self._here(portion)
        else:
            self._elsewhere(self._workers, most)
        if solver.checkpoint is not None:
            store(Path(solver.checkpoint), self.sums, self._fingerprint)
        # What is drawn does not depend on it: portions stay short, for whoever waits or wants to interrupt.
        taken = time.perf_counter() - began
        self._portion = portion * 2 if taken < _SHORT else max(portion // 2, 1) if taken > _LONG else portion

    def _here(self, blocks: int) -> None:
        """Draw so many blocks in this process."""
        import numba

        kernel = functions if isinstance(self._model, functions.FunctionModel) else kernels
        (model, start, saved), named = self._settings()
        total, seed = named.pop("trajectories"), named.pop("seed")
        with _threads(self._solver.threads or numba.config.NUMBA_NUM_THREADS):
            first = self.sums.next_block
            self.sums = kernel.sample(model, start, saved, self.sums, total, seed, blocks=blocks, **named)
            if self._ahead is not None:
                self._ahead.add(first, self.sums.next_block)

    def _elsewhere(self, workers: Workers, most: int) -> None:
        """Let workers draw a number of portions, and add what they leave in its order."""
        entries = len(self._scales.steps) * len(self._factors)
        size = max(min(most // 4, _ENTRIES // entries) // functions.BUNDLE, 1) * functions.BUNDLE
        first, total = self.sums.next_block, -(-self.trajectories // kernels.BLOCK)
        begins = range(first, min(first + size * _TASKS, total), size)
        threads = self._solver.threads or 1
        tasks = [(self._settings(), begin, min(begin + size, total), threads) for begin in begins]
        found = dict(workers.results(_portions, tasks))
        for number in range(len(tasks)):
            for portion in found[number]:
                self.sums = kernels.added(self.sums, portion, self.trajectories)
        if self.drawn == self.trajectories:
            workers.close()

    def _settings(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what the kernels take but for which blocks."""
        grid = self.grid
        return (self._model, self._start, self._scales.steps), {
            "trajectories": self.trajectories,
            "seed": self._solver.seed,
            "factors": self._factors,
            "centre": self._scales.mean,
            "scale": self._unit,
            "lower": () if grid is None else grid.lower,
            "upper": () if grid is None else grid.upper,
            "cells": () if grid is None else grid.cells,
            "optimiser": self._optimiser,
        }

    def state(self) -> dict[str, Any]:
        """Return the sums so far."""
        return dict(vars(self.sums)) | ({} if self._ahead is None else {"ahead": self._ahead.sums})

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from the sums of the state."""
        if self._ahead is not None:
            self._ahead.sums = state["ahead"].copy()
        self.sums = kernels.Accumulators(**{name: value for name, value in state.items() if name != "ahead"})

    def warnings(self) -> list[str]:
        """Return warnings of hidden detail, of indefinite diffusion and of trajectories that overflowed."""
        result = list(self._hidden)
        if self.sums.indefinite:
            result.append(
                f"the diffusion was indefinite at {self.sums.indefinite} trajectory-steps (clipped to 0); "
                "use dfp.ModifiedLangevin(sgd, positive=True)."
            )
        if self.sums.nonfinite.any():
            result.append(
                f"{int(self.sums.nonfinite.max())} trajectories overflowed; the dynamics is unstable: lower "
                "learning_rate or save earlier steps."
            )
        return result

    def frames(self) -> list[Frame]:
        """Return sample moments with standard errors and, on a grid, the histogram as mean density of each cell."""
        frames = []
        kurtoses = self._kurtoses()
        for s in range(len(self._scales.steps)):
            with np.errstate(over="ignore", invalid="ignore"):  # what diverges is told by its entries
                central, errors = _existing(self._highest, *self._sample_moments(s))
            density, outside = None, None
            if self.grid is not None:
                counts = self.sums.histogram[s].reshape(self.grid.cells)
                density = counts / (self.sums.trajectories * self.grid.cell_volume)
                outside = float(self.sums.outside[s]) / self.sums.trajectories
                if self._ahead is not None:
                    density = self._ahead.density(s, density)
            notes: tuple[str, ...] = ()
            if central.get("fourth") is not None and np.all(np.isfinite(central["covariance"])):
                kurtosis = _kurtosis(central) if kurtoses is None else kurtoses[s]
                notes = _uncertain(int(self._scales.steps[s]), kurtosis, self._problem.equation.sgd.affine)
                # What the blocks spread by, if it is a few rare trajectories, is no error.
                errors["fourth"] = errors["fourth"] * (np.nan if notes else _rare(kurtosis, self.trajectories))
            frames.append(Frame(density=density, outside=outside, errors=errors, warnings=notes, **central))
        return frames

    def _kurtoses(self) -> list[float] | None:
        """Return the largest exact kurtosis at every saved step, or None where that of the samples is not known."""
        equation, found, at = self._problem.equation, list[float](), 0
        if not (self._up_to_fourth and equation.discrete and equation.sgd.plain):
            return None
        try:
            moments = HigherMoments(equation, self._problem.initial)
        except UnsupportedError:
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            for step in self._scales.steps.tolist():
                moments.advance(step - at)
                frame, at = moments.frame(), step
                found.append(_kurtosis({"covariance": frame.covariance, "fourth": frame.fourth}))
        return found

    def _sample_moments(self, s: int) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return central moments about the sample mean, and standard errors, at saved step ``s``."""
        d = self._scales.mean.shape[1]
        average, error, unit = self.sums.mean[s], self.sums.standard_error[s], self._unit[s]

        def tensor(source: Array, order: int) -> Array:
            units = np.ones(())
            for _ in range(order):
                units = np.multiply.outer(units, unit)
            return source[kernels.places(d, order)] * units

        first, second = tensor(average, 1), tensor(average, 2)
        central = {"mean": self._scales.mean[s] + first, "covariance": second - np.outer(first, first)}
        # From the next moments where they are summed: the spread between blocks, of which there may be few, is
        # uncertain.
        count = self.sums.trajectories
        errors = {"mean": np.sqrt(np.maximum(central["covariance"].diagonal(), 0.0) / count)}
        if self._factors.shape[1] == 4:
            squares = np.einsum("iijj->ij", tensor(average, 4))
            errors["covariance"] = np.sqrt(np.maximum(squares - second**2, 0.0) / count)
        else:
            errors["covariance"] = tensor(error, 2)
        if self._up_to_fourth:
            # Third and fourth moments stay about the exact mean, where it is known: there their errors are unbiased.
            central["third"], central["fourth"] = tensor(average, 3), tensor(average, 4)
            # The spread between few blocks is uncertain: so widened, Student's t has a deviation of one.
            blocks = -(-count // kernels.BLOCK)
            few = np.sqrt((blocks - 1) / max(blocks - 3, 1))
            errors["third"], errors["fourth"] = few * tensor(error, 3), few * tensor(error, 4)
        return central, errors


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let compiled kernels use so many threads; those of several threads of this process take turns."""
    import numba

    with _KERNELS:
        before = numba.get_num_threads()
        numba.set_num_threads(count)
        try:
            yield
        finally:
            numba.set_num_threads(before)


def _portions(
    settings: tuple[tuple[Any, ...], dict[str, Any]], first: int, end: int, threads: int
) -> list[kernels.Portion]:
    """Return the blocks ``first`` to ``end``, drawn on so many threads: what workers run."""
    (model, start, saved), named = settings
    draw = functions.portions if isinstance(model, functions.FunctionModel) else kernels.portions
    with _threads(threads):
        return list(draw(model, start, saved, first, end, **named))


def _kurtosis(central: dict[str, Any]) -> float:
    """Return the largest kurtosis of an axis."""
    variances = np.maximum(central["covariance"].diagonal() ** 2, TINY)
    return float(np.max(np.einsum("iiii->i", central["fourth"]) / variances))


def _rare(kurtosis: float, trajectories: int) -> float:
    """Return by how much the spread of fourth moments in a sample is too small: it lacks what is too rare for it.

    Of a Student t law of this kurtosis, eighth moments lack the share of places beyond the quantile 1/N. That of SGD's
    laws is less: the root of its correction leaves z-scores with deviations of 0.7 … 1.1 at N = 2000 … 16 000.
    """
    if kurtosis <= _GAUSSIAN:
        return 1.0
    half = 2 + 3 / (kurtosis - 3)  # of the degrees of freedom
    return float((1 - betainc(half - 4, 4.5, betaincinv(half, 0.5, 1 / trajectories))) ** -0.25)


def _uncertain(step: int, kurtosis: float, affine: bool) -> tuple[str, ...]:
    """Return a warning where fourth moments have no standard errors: rare trajectories carry their spread."""
    if not kurtosis >= _NO_EIGHTH:
        return ()
    exact = ", or at dfp.MomentRecursion(), which is exact" if affine else ""
    return (
        f"step {step}: the kurtosis is {kurtosis:.3g}, so that few trajectories carry the fourth moments: as of a "
        "Student t law of this kurtosis, eighth moments do not exist, and fourth moments have no standard errors "
        f"(NaN: those of the sample would be too small); look at mean and covariance{exact}.",
    )


def _samples_a_step(sgd: SGD, last: int) -> int:
    """Return how many samples a trajectory draws at a step, the last if sizes are scheduled; 1 if it draws none."""
    if not sgd.law.shuffles:
        return 1
    return sgd.samples_at(max(last - 1, 0)) if sgd.batches is not None else sgd.noise.batch_size


def _hidden_atoms(problem: Problem, grid: Grid) -> list[str]:
    """Return a warning where noise of single values leaves peaks that are narrower than a cell."""
    equation, initial = problem.equation, problem.initial
    law = equation.sgd.law if equation.sgd.affine and problem.average is None else None
    if law is None or not (law.atomic and equation.discrete and equation.sgd.plain and problem.last):
        return []
    _, vectors, inverse = equation.sgd.modes_of_map
    factor = (vectors * transition(equation, problem.last)[0]) @ inverse
    left = np.sqrt(np.maximum(np.diag(factor @ initial.covariance @ factor.T), 0.0))
    if np.all(left >= grid.spacing):
        return []
    axis = int(np.argmin(left / grid.spacing))
    return [
        f"step {problem.last}: the noise takes single values, so that peaks as wide as what is left of the initial "
        f"state, {left[axis]:.2g} along axis {axis}, hide in cells of {grid.spacing[axis]:.2g}; give a grid with more "
        "cells."
    ]


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
