"""Densities of a few directions Uᵀθ in any dimension: closed for additive noise, else by look-ahead from samples."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from dfp_solvers import fourier, gaussian, matrices
from numpy.typing import ArrayLike, NDArray

from dfp import checks
from dfp.checks import Array, Complex
from dfp.errors import DFPError, UnresolvedError, UnsupportedError
from dfp.exact.moments import Moments, moments_at
from dfp.methods.draws import Walk
from dfp.methods.grids import automatic
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid, grid_moments
from dfp.problem.state import State
from dfp.results.certificate import advice_alone, certify
from dfp.results.frame import Frame
from dfp.results.solution import Solution
from dfp.solving.assembly import assembled
from dfp.solving.checkpoints import Checkpoint

# Steps that are multiplied with samples at a time; |φ| at the largest wave number where a grid is fine enough, and the
# mass beyond a box, wrapped around into it, where it is wide enough.
_BLOCK, _FINE, _WRAPPED = 64, 1e-12, 1e-10
_MOST_CELLS = {1: 2**16, 2: 2**10, 3: 2**7}
# Places times waves worked on at a time.
_WORK = 2**22
# Columns are dependent if the least singular value of the normalised ones is below this.
_DEPENDENT = 1e-10


class Draws(NamedTuple):
    """What a look-ahead draws."""

    trajectories: int = 20_000
    seed: int = 0


class Path(NamedTuple):
    """What each step adds along the directions, and how the start enters."""

    moments: Moments
    starts: Array
    """Aⁿ U at the saved steps, shape (S, d, k)."""
    shifts: Array
    """What mean gradients have added, shape (S, k)."""
    noises: list[Array]
    """Of each step deviations of the samples (N, k) or loads (d, k)."""


def projected(
    equation: Equation,
    initial: State,
    saved: NDArray[np.int64],
    given: ArrayLike,
    keeper: Checkpoint | None,
    drawn: Draws,
    grid: Grid | None,
) -> Solution:
    """Return the solution for Uᵀθ, U = ``given`` (d, k), at the steps ``saved`` (S,); ``drawn`` where it is sampled."""
    began, sgd = time.perf_counter(), equation.sgd
    directions = columns(given, equation.dimension)
    if grid is not None:
        k = directions.shape[1]
        checks.alike("grid", grid.dimension, k, f"give lower and upper of {k} numbers", "what is along directions")
    if not sgd.affine:
        remedy = "use solution.marginal(axes)" if equation.dimension <= 2 else "use dfp.MonteCarlo(...), for moments"
        raise UnsupportedError(
            f"directions: no density along directions is known in a nonlinear landscape; leave them out and {remedy}."
        )
    if equation.truncated or equation.moments_only:
        raise UnsupportedError(
            f"directions: of the {equation.label} here no density along directions is known, for its diffusion along "
            "them depends on the others too; take eigenvectors of the Hessian and Gaussian noise that does not couple "
            "them, dfp.MasterEquation(sgd), or dfp.moments(...)."
        )
    trajectories = 0

    def signed(chosen: Grid, frames: list[Frame]) -> Solution:
        steps, remedies = saved[: len(frames)], advice_alone(given=grid is not None, sampled=trajectories > 0)
        return assembled(
            equation, sgd, steps, frames, certify(steps, frames, chosen, exact, [], remedies), last=int(saved[-1]),
            solver="Directions", reason=reason, grid=chosen, began=began, trajectories=trajectories,
            details={"directions": directions.tolist()} | ({"seed": drawn.seed} if trajectories else {}),
        )  # fmt: skip

    normal = equation.additive and (sgd.law.gaussian or not equation.discrete) and initial.gridded is None
    if equation.additive and equation.discrete and sgd.plain and sgd.noise.finite:
        path = _followed(equation, initial, saved, directions)
        reason = "additive noise has a closed characteristic function along every direction"
        exact = path.moments
        chosen, frames = (
            normal_frames(exact, grid)
            if normal
            else transformed_frames(exact, lambda waves: spectra(equation, initial, path, waves), grid)
        )
    elif normal:
        exact = along(moments_at(equation, initial, saved), directions)
        reason = "a Gaussian stays one, and so do its projections"
        chosen, frames = normal_frames(exact, grid)
    else:
        exact = along(moments_at(equation, initial, saved), directions)
        trajectories = drawn.trajectories
        reason = "the one-step kernel, known along the directions, is averaged over samples of the step before"
        chosen, frames = _looked_ahead(equation, initial, exact, directions, drawn, grid, keeper, signed)
    return signed(chosen, frames)


def columns(given: ArrayLike, dimension: int) -> Array:
    """Return directions as columns of shape (d, k), none depending on the others."""
    u = checks.array("directions", given, dimensions=(1, 2))
    u = u[:, None] if u.ndim == 1 else u
    if u.shape[0] != dimension or not 1 <= u.shape[1] <= 3:
        raise DFPError(
            f"directions has shape {u.shape}: must be ({dimension}, k) with k <= 3; give one column for each direction."
        )
    lengths = np.linalg.norm(u, axis=0)
    least = float(np.linalg.svd(u / np.where(lengths > 0, lengths, 1.0), compute_uv=False)[-1])
    if lengths.min() == 0 or least < _DEPENDENT:
        raise DFPError(
            f"directions has columns that depend on each other (least singular value {least:.2g}): no density in so "
            "many dimensions exists; leave a column out."
        )
    return u


def along(moments: Moments, u: Array) -> Moments:
    """Return the moments of Uᵀθ."""
    return Moments(moments.steps, moments.mean @ u, u.T @ moments.covariance @ u)


def _followed(equation: Equation, initial: State, saved: NDArray[np.int64], u: Array) -> Path:
    """Return the path of Uᵀθ by products of H with k vectors a step; no matrix where H is diagonal."""
    sgd, law, last, k = equation.sgd, equation.sgd.noise, int(saved[-1]), u.shape[1]
    rate, wanted = sgd.learning_rate, set(saved.tolist())
    size = law.projected(u).size
    checks.require_memory(f"steps={last}: noise along directions", 8.0 * last * size, "take fewer steps")
    w, starts, loads, noises = u, [], list[Array](), list[Array]()

    def flush() -> None:
        if loads:  # many steps in one product
            noises.extend(np.split(law.projected(np.concatenate(loads, axis=1)), len(loads), axis=1))
        loads.clear()

    pushes = np.zeros((last + 1, k))
    for n in range(last + 1):
        if n in wanted:
            starts.append(w)
        if n == last:
            break
        loads.append(-rate * w)
        pushes[n + 1] = -rate * (sgd.gradient @ w)
        w = w - rate * sgd.pulled_back(w)
        if len(loads) == _BLOCK:
            flush()
    flush()
    gained = np.zeros((last + 1, k, k))
    for n, part in enumerate(noises):
        gained[n + 1] = law.projected_covariance(part)
    shifts, noise = np.cumsum(pushes, axis=0)[saved], np.cumsum(gained, axis=0)[saved]
    begun = np.array(starts)
    means = np.einsum("d,sdk->sk", initial.mean, begun) + shifts
    kept = 0.0 if initial.point else begun.transpose(0, 2, 1) @ initial.covariance @ begun
    return Path(Moments(saved, means, kept + noise), begun, shifts, noises)


def normal_frames(exact: Moments, grid: Grid | None) -> tuple[Grid, list[Frame]]:
    """Return Gaussian densities of the moments."""
    chosen, frames = automatic(exact) if grid is None else grid, []
    for covariance, centre in zip(exact.covariance, exact.mean, strict=True):
        try:
            inverse = matrices.whitening(covariance)
        except np.linalg.LinAlgError:
            raise UnresolvedError(
                "directions: there is no density along them yet; save later steps or start from a dfp.Gaussian."
            ) from None
        density = gaussian.on_grid(chosen.axes, centre, inverse)
        _, mean, spread = grid_moments(chosen, density)
        edge = gaussian.largest_beyond(inverse, chosen.spacing)
        frames.append(Frame(mean, spread, density, truncation=edge, gridded_moments=True))
    return chosen, frames


def transformed_frames(
    exact: Moments, found: Callable[[Array], list[Complex]], grid: Grid | None
) -> tuple[Grid, list[Frame]]:
    """Return densities by one inverse FFT each of their characteristic functions at given waves, ``found``."""
    chosen = automatic(exact) if grid is None else grid
    while True:
        transforms = found(fourier.wave_numbers(chosen.spacing, chosen.cells))
        inverted = [fourier.invert(phi, chosen.lower, chosen.spacing, chosen.cells) for phi in transforms]
        edge = max(edge for _, edge in inverted)
        wrapped = max(fourier.wrapped(density, chosen.cell_volume) for density, _ in inverted)
        better = chosen.refined(1.0 if edge <= _FINE else 2.0, 1.0 if wrapped <= _WRAPPED else 1.5)
        fits = better is not None and max(better.cells) <= _MOST_CELLS[chosen.dimension]
        if grid is not None or not fits or (edge <= _FINE and wrapped <= _WRAPPED):
            break
        assert better is not None
        chosen = better
    if edge > 1e-3:
        raise UnresolvedError(
            f"directions: |φ| = {edge:.2g} at the largest wave number of a grid with cells={chosen.cells}: atoms of "
            "the minibatches are narrower than its cells; save later steps, or start from a wider dfp.Gaussian."
        )
    frames = []
    for density, edge in inverted:
        _, mean, covariance = grid_moments(chosen, density)
        error = 2.0**chosen.dimension * edge + fourier.wrapped(density, chosen.cell_volume)
        frames.append(Frame(mean, covariance, density, truncation=error, gridded_moments=True))
    return chosen, frames


def spectra(equation: Equation, initial: State, path: Path, waves: Array) -> list[Complex]:
    """Return φ_n at ``waves`` (..., k) for every saved step: factors are those of the first steps."""
    law, found = equation.sgd.noise, list[Complex]()
    product, done = np.ones(waves.shape[:-1], dtype=np.complex128), 0
    for s, step in enumerate(path.moments.steps.tolist()):
        for part in path.noises[done:step]:
            product = product * law.projected_characteristic(waves, part)
        done, start = step, path.starts[s]
        found.append(product * _begun(initial, waves, start) * np.exp(1j * (waves @ path.shifts[s])))
    return found


def _begun(initial: State, waves: Array, u: Array) -> Complex:
    """Return the characteristic function of Uᵀθ of the start."""
    if initial.gridded is not None:
        return initial.characteristic(waves @ u.T)
    kept = 0.0 if initial.point else u.T @ initial.covariance @ u
    return fourier.gaussian(waves, initial.mean @ u, np.zeros((waves.shape[-1],) * 2) + kept)


def _looked_ahead(
    equation: Equation,
    initial: State,
    exact: Moments,
    u: Array,
    drawn: Draws,
    grid: Grid | None,
    keeper: Checkpoint | None,
    signed: Callable[[Grid, list[Frame]], Solution],
) -> tuple[Grid, list[Frame]]:
    """Return averages over sampled (θ, v) of step n−1 of the law of Uᵀθ_n given them: unbiased, as smooth as a step."""
    sgd = equation.sgd
    moved = exact.steps[exact.steps > 0]
    still = sgd.learning_rates.values(0, int(exact.steps[-1]))[moved - 1] == 0
    nowhere = initial.point and len(moved) < len(exact.steps)
    if not sgd.replace or not equation.discrete or np.any(still) or nowhere:
        raise UnsupportedError(
            "directions: noise that depends on θ is looked ahead of from samples of SGD (T4), at steps where the "
            "learning rate is not 0, and not at a Point; use dfp.MasterEquation(sgd) with replacement and save=[...] "
            "without such."
        )
    chosen = automatic(exact) if grid is None else grid
    waves = fourier.wave_numbers(chosen.spacing, chosen.cells)
    frames = list[Frame]()
    walk, steps = Walk(equation, initial, drawn.trajectories, np.random.default_rng(drawn.seed)), exact.steps.tolist()

    def keep() -> None:
        if keeper is not None:
            found = tuple(frame._asdict() for frame in frames)
            state = {"grid": repr(chosen), "walk": walk.state(), "frames": found}
            keeper.keep(state, lambda _: signed(chosen, frames) if frames else None)

    def resume(state: Any) -> str:
        if state["grid"] == repr(chosen):
            walk.resume(state["walk"])
            frames.extend(Frame(**frame) for frame in state["frames"])
            if not walk.step < [*steps, walk.step + 1][len(frames)]:
                raise ValueError("other steps")
        if keeper is not None:
            keeper.resumed = walk.step
        return f"step {walk.step}"

    if keeper is not None:
        keeper.resume(resume)
    for step in steps[len(frames) :]:
        while walk.step < step - 1:
            walk.advance()
            keep()
        halves = _averaged(equation, walk, step, u, waves) if step else (_begun(initial, waves, u),) * 2
        frames.append(_sampled_frame(chosen, halves, drawn.trajectories))
        keep()
    return chosen, frames


def _sampled_frame(grid: Grid, halves: tuple[Complex, Complex], trajectories: int) -> Frame:
    """Return the frame of the mean of two halves of the samples, whose difference tells the sampling error.

    The mean of laws of a step is positive, but where a step is narrower than the cells their shortest waves, which the
    grid leaves out, make it ring. What is below zero is cut: pointwise that comes closer to what is positive.
    """
    first, second = (fourier.invert(phi, grid.lower, grid.spacing, grid.cells)[0] for phi in halves)
    density = (first + second) / 2
    _, mean, covariance = grid_moments(grid, density)
    variances = covariance.diagonal()
    scale = np.sqrt(np.outer(variances, variances))
    errors = {"mean": np.sqrt(variances / trajectories), "covariance": 2 * scale / trajectories**0.5}
    apart = float(np.abs(first - second).sum()) / 2 * grid.cell_volume
    kept = np.maximum(density, 0.0)
    cut = float((kept - density).sum()) * grid.cell_volume
    positive = kept * (float(density.sum()) / float(kept.sum()))
    return Frame(mean, covariance, positive, errors=errors, truncation=apart + 2 * cut)


def _averaged(equation: Equation, walk: Walk, step: int, u: Array, waves: Array) -> tuple[Complex, Complex]:
    """Return averages over either half of the sampled (θ, v) of step n−1 of what Uᵀθ_n given them has for φ."""
    sgd = equation.sgd
    beta = sgd.momentum
    push, kept = (1 + beta, beta**2) if sgd.nesterov else (1.0, beta)  # θ' = θ − η (push g + kept v) (T19)
    portion = max(_WORK // waves[..., 0].size, 1)
    theta, speed = walk.theta, walk.speed
    rate = sgd.learning_rates.at(step - 1)
    law = sgd.law.with_batch_size(sgd.samples_at(step - 1)) if sgd.scheduled and sgd.batches else sgd.noise
    if not checks.finite(theta):
        raise DFPError(f"step {step}: sampled trajectories overflow; lower learning_rate or save earlier steps.")

    def average(first: int, end: int) -> Complex:
        phi = np.zeros(waves.shape[:-1], dtype=np.complex128)
        for begin in range(first, end, portion):
            here, moving = theta[begin : min(begin + portion, end)], speed[begin : min(begin + portion, end)]
            along = (here - rate * (push * (here @ sgd.hessian.T + sgd.gradient) + kept * moving)) @ u
            phase = np.exp(1j * np.moveaxis(waves @ along.T, -1, 0))
            phi += np.sum(phase * law.loaded_characteristic(waves, -rate * push * u.T, here), axis=0)
        return phi / (end - first)

    middle = len(theta) // 2
    return average(0, middle), average(middle, len(theta))
