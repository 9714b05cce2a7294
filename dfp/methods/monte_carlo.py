"""MonteCarlo: sampled trajectories of SGD itself (T4), with every noise law, and of the Langevin forms (T6, T7)."""

import hashlib
import io
import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from dfp_solvers import function_sampling
from dfp_solvers import monte_carlo as kernels
from numpy.typing import NDArray

from dfp import checks
from dfp.checks import Array
from dfp.equation import Equation
from dfp.errors import DFPError
from dfp.exact import Moments, conditional, moments
from dfp.grids import bins
from dfp.laws.additive import AdditiveLaw
from dfp.laws.finite_sum import FiniteSumLaw
from dfp.laws.noise import GaussianLaw, NoiseLaw, square_root
from dfp.methods.cumulants import unpolynomial
from dfp.pilot import roots
from dfp.sgd import SGD
from dfp.solver import Frame, SamplingSolver
from dfp.state import Density, Grid, State

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
    optimiser: kernels.Optimiser | None
    start: kernels.Start
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
        if not (equation.discrete or law.finite):
            return "a component of the noise has no variance, and Langevin forms know the noise by its covariance alone"
        if isinstance(law, AdditiveLaw) and not (equation.sgd.batches is None or equation.sgd.batches.constant):
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
        model, start = _model(equation, self.substeps), _start(initial)
        optimiser = None if equation.sgd.plain else _optimiser(equation.sgd, int(exact.steps[-1]))
        exponents = kernels.exponents(d, 4 if d <= 3 and equation.sgd.affine else 2)
        deviation = np.sqrt(np.array([np.diag(c) for c in exact.covariance]))
        scale = np.where((deviation > 0) & np.isfinite(deviation), deviation, 1.0)
        cells = () if grid is None else grid.cells
        sums = kernels.empty(exact.steps, exponents, cells)
        models = _identity(model, exact, scale)
        parts = (*models, start) if optimiser is None else (*models, optimiser, start)
        fingerprint = _fingerprint(*parts, exact.steps, exact.mean, scale, grid, self.seed)
        if self.checkpoint is not None and Path(self.checkpoint).exists():
            sums = _restored(Path(self.checkpoint), sums, fingerprint, self.trajectories)
        return _Carry(model, optimiser, start, sums, exact, grid, exponents, scale, fingerprint, _highest(equation))

    def pilot(self, equation: Equation, initial: State, exact: Moments) -> Moments:
        """Return the moments of a few trajectories, scaled by those of sampling with replacement."""
        sgd = equation.sgd
        if not sgd.noise.finite:
            return _quantiles(equation, initial, exact, self.seed)
        if sgd.plain:
            raise DFPError(exact.unknown)
        like = moments(replace(equation, sgd=sgd.redrawn), initial, int(exact.steps[-1]), exact.steps.tolist())
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
            function = isinstance(carry.model, function_sampling.FunctionModel)
            sums = (function_sampling if function else kernels).sample(
                *arguments,
                exponents=carry.exponents,
                centre=carry.exact.mean,
                scale=carry.scale,
                lower=() if grid is None else grid.lower,
                upper=() if grid is None else grid.upper,
                cells=() if grid is None else grid.cells,
                blocks=portion,
                **({} if function else {"optimiser": carry.optimiser}),
            )
        finally:
            numba.set_num_threads(before)
        if self.checkpoint is not None:
            _store(Path(self.checkpoint), sums, carry.fingerprint)
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
    """Return the order, up to four, to which moments of the dynamics exist for all steps; infinite if all do."""
    if not equation.sgd.affine:
        return np.inf
    law = equation.sgd.law
    if not (equation.discrete and isinstance(law, AdditiveLaw)):
        return np.inf
    known = [
        min(np.inf if np.isfinite(c) else order - 1 for order, c in enumerate(part.cumulants, 2)) for part in law.laws
    ]
    return min(known)


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


def _model(equation: Equation, substeps: int) -> Any:
    sgd, d = equation.sgd, equation.dimension
    if not sgd.affine:
        return _function_model(equation)
    if not equation.discrete:
        count = 1 if equation.additive else substeps
        factor, shift, covariance = conditional(equation, sgd.learning_rate / count)
        return kernels.ConditionalModel(factor, shift, *unpolynomial(covariance), count)
    # Plain steps are the model itself; otherwise it is the gradient, as for η = −1, and the optimiser takes the step.
    rate, law = (sgd.learning_rate, sgd.noise) if sgd.plain else (-1.0, sgd.unit_noise)
    kept = np.eye(d) if sgd.plain else np.zeros((d, d))
    if isinstance(law, GaussianLaw):
        vectors, matrices = law.loadings()
        entries = [(r, i, -1, vectors[r, i]) for r in range(len(vectors)) for i in range(d)]
        entries += [(r, *ij, matrices[(r, *ij)]) for r in range(len(matrices)) for ij in np.ndindex(d, d)]
        entries = [entry for entry in entries if entry[3] != 0]
        columns = np.array([entry[:3] for entry in entries], dtype=np.int64).reshape(-1, 3)
        return kernels.GaussianModel(
            kept - rate * sgd.hessian,
            -rate * sgd.gradient,
            normal=columns[:, 0].copy(),
            row=columns[:, 1].copy(),
            column=columns[:, 2].copy(),
            value=-rate * np.array([entry[3] for entry in entries], dtype=np.float64),
            normals=len(vectors),
        )
    if isinstance(sgd.law, AdditiveLaw):
        return _transformed(sgd, sgd.noise, rate, kept)
    assert isinstance(law, FiniteSumLaw)
    size = law.batch_size if sgd.batches is None else sgd.samples_at(0)
    kept = kept - rate * sgd.weight_decay * np.eye(d)
    if law.features is not None and law.targets is not None:
        return kernels.RegressionModel(kept, np.zeros(d), law.features, law.targets, rate, size)
    return kernels.SampleModel(kept, np.zeros(d), law.sample_hessians(), law.gradients, rate, size)


def _transformed(sgd: SGD, law: NoiseLaw, rate: float, kept: Array) -> kernels.TransformedModel:
    """Return the model of additive noise of any law: draw r of component a has number r d + a."""
    assert isinstance(law, AdditiveLaw)
    d, batch = sgd.dimension, law.batch_size
    index = np.array([(row, draw * d + a) for draw in range(batch) for a in range(d) for row in range(d)])
    value = -rate / batch * np.array([law.axes[row, number % d] for row, number in index])
    tables = [part.table for part in law.laws]
    return kernels.TransformedModel(
        kept - rate * sgd.hessian,
        -rate * sgd.gradient,
        normal=index[:, 1].copy(),
        row=index[:, 0].copy(),
        column=np.full(len(index), -1),
        value=value,
        normals=d * batch,
        pieces=[table.pieces for table in tables],
        guide=np.array([table.guide for table in tables]),
    )


def _optimiser(sgd: SGD, steps: int) -> kernels.Optimiser:
    rates = sgd.rates.values(0, 1 if sgd.rates.constant else max(steps, 1))
    sizes: NDArray[np.int64] = np.empty(0, dtype=np.int64)
    if sgd.batches is not None and sgd.replace and not isinstance(sgd.law, AdditiveLaw):
        sizes = sgd.batches.values(0, 1 if sgd.batches.constant else max(steps, 1)).astype(np.int64)
    return kernels.Optimiser(rates, sizes, sgd.momentum, sgd.nesterov, sgd.epoch)


def _quantiles(equation: Equation, initial: State, exact: Moments, seed: int) -> Moments:
    """Return middles and squared widths of the bulk in place of moments, from a few trajectories of such a law."""
    sgd, law = equation.sgd, equation.sgd.noise
    assert isinstance(law, AdditiveLaw)
    rng = np.random.default_rng(seed)
    d = sgd.dimension
    if isinstance(initial, Density):
        cells = rng.choice(initial.values.size, _PILOT, p=initial.values.ravel() / initial.values.sum())
        theta = initial.grid.points.reshape(-1, d)[cells]
    else:
        theta = rng.multivariate_normal(initial.mean, initial.covariance, _PILOT)
    velocity = np.zeros_like(theta)
    middle, covariance, now = [], [], 0
    for n in exact.steps.tolist():
        for step in range(now, n):
            z = rng.standard_normal((law.batch_size, d, _PILOT))
            noise = np.array([law.laws[a].draw(z[:, a]).mean(axis=0) for a in range(d)]).T @ law.axes.T
            gradient = theta @ sgd.hessian + sgd.gradient + noise
            velocity = sgd.momentum * velocity + gradient
            theta = theta - sgd.rates.at(step) * (gradient + sgd.momentum * velocity if sgd.nesterov else velocity)
        low, high = np.quantile(theta, [0.005, 0.995], axis=0)
        middle.append((low + high) / 2)
        covariance.append(np.diag(((high - low) / 6) ** 2 + np.finfo(float).tiny))
        now = n
    return Moments(exact.steps, np.array(middle), np.array(covariance), unknown=exact.unknown)


def _identity(model: Any, exact: Moments, scale: Array) -> list[Any]:
    """Return what tells one model from another: of functions, values at some places."""
    if not isinstance(model, function_sampling.FunctionModel):
        return [model]
    places = np.concatenate([exact.mean, exact.mean + scale, exact.mean - scale])
    return [model.mean(places), model.factor(places)]


def _function_model(equation: Equation) -> function_sampling.FunctionModel:
    def factor(theta: Array) -> Array:
        covariance = equation.diffusion(theta)
        smallest = np.linalg.eigvalsh(covariance)[:, 0] if equation.dimension > 1 else covariance[:, 0, 0]
        if smallest.min() < -1e-12 * float(np.abs(covariance).max()):
            place = theta[int(np.argmin(smallest))]
            raise DFPError(f"covariance has a negative eigenvalue at θ = {place}: it must be positive semidefinite.")
        return roots(covariance)

    def mean(theta: Array) -> Array:
        return theta + equation.motion(theta)

    return function_sampling.FunctionModel(equation.dimension, mean, factor)


def _start(initial: State) -> kernels.Start:
    if isinstance(initial, Density):
        cumulative = np.cumsum(initial.values.ravel())
        grid = initial.grid
        return kernels.Start(
            initial.mean,
            np.zeros((initial.dimension, initial.dimension)),
            cumulative / cumulative[-1],
            grid.lower,
            grid.spacing,
            grid.cells,
        )
    factor = np.zeros((initial.dimension, initial.dimension))
    root = square_root(initial.covariance)
    factor[:, : root.shape[1]] = root
    return kernels.Start(initial.mean, factor)


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
    errors = {"mean": tensor(error, 1), "covariance": tensor(error, 2)}
    if d <= 3 and not carry.exact.unknown:
        # Third and fourth moments stay about the exact mean, where it is known: there their errors are unbiased.
        central["third"], central["fourth"] = tensor(average, 3), tensor(average, 4)
        errors["third"], errors["fourth"] = tensor(error, 3), tensor(error, 4)
    return central, errors


def _fingerprint(*parts: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        values = [getattr(part, f.name) for f in fields(part)] if hasattr(part, "__dataclass_fields__") else [part]
        for value in values:
            array = np.asarray(() if value is None else value)
            digest.update(f"{type(part).__name__}{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _store(path: Path, sums: kernels.Accumulators, fingerprint: str) -> None:
    """Write the sums so that the file is always complete: to a temporary name, then renamed."""
    buffer = io.BytesIO()
    np.savez(buffer, fingerprint=np.array(fingerprint), **{f.name: getattr(sums, f.name) for f in fields(sums)})
    temporary = path.with_name(path.name + f".{os.getpid()}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(buffer.getvalue())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise DFPError(f"checkpoint={path.name}: cannot be written ({error.strerror}); choose another place.") from None


def _restored(path: Path, empty: kernels.Accumulators, fingerprint: str, trajectories: int) -> kernels.Accumulators:
    advice = "delete it or name another checkpoint"
    try:
        with np.load(path, allow_pickle=False) as stored:
            values = {f.name: stored[f.name] for f in fields(empty)}
            owner = str(stored["fingerprint"])
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DFPError(f"checkpoint={path.name}: not a readable checkpoint ({error}); {advice}.") from None
    if owner != fingerprint:
        raise DFPError(f"checkpoint={path.name}: belongs to another problem, grid or seed; {advice}.")
    done = int(values["trajectories"])
    if done != trajectories and (done > trajectories or done % kernels.BLOCK):
        raise DFPError(
            f"checkpoint={path.name}: holds {done} trajectories, which cannot be cut or extended to "
            f"trajectories={trajectories}; {advice}."
        )
    kept: dict[str, Any] = {name: value if value.ndim else int(value) for name, value in values.items()}
    return kernels.Accumulators(**kept)
