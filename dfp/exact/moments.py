"""Exact mean and covariance of every equation, in any dimension (T8–T15)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from dfp_solvers import affine, linear_flow, matrices
from numpy.typing import NDArray

from dfp import checks
from dfp.checks import Array, foretell, require_memory
from dfp.errors import UnsupportedError
from dfp.exact import averages, optimisers
from dfp.problem.arguments import check_problem
from dfp.problem.averaged_equation import AveragedEquation
from dfp.problem.equation import Equation, MomentVector, packed, units, unpacked
from dfp.problem.parameters import either, labelled, listed, told
from dfp.problem.state import Ending, Gaussian, Joint, State, StateMoments, started
from dfp.result import Result, remembered


@dataclass(frozen=True, repr=False)
class Moments(Result):
    """Exact moments at saved steps.

    Attributes
    ----------
    steps
        Shape (S,) [step].
    mean
        Shape (S, d) [parameter].
    covariance
        Shape (S, d, d) [parameter^2].
    joint_mean
        With momentum, that of (θ, v), v the velocity, shape (S, 2d); None without.
    joint_covariance
        Likewise, shape (S, 2d, 2d).
    warnings
        Where a covariance is none, in words: variances of (T6') can be negative.
    parameters
        What is on its axes, d names: ``theta_1``, … or those that the landscape gives.
    """

    steps: NDArray[np.int64]
    mean: Array
    covariance: Array
    joint_mean: Array | None = None
    joint_covariance: Array | None = None
    warnings: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", either(self.parameters, self.mean.shape[1]))

    def __repr__(self) -> str:
        """Return how many steps of how many parameters."""
        of = f": {listed(self.parameters)}" if told(self.parameters) else ""
        return f"<Moments at {len(self.steps)} steps up to {self.steps[-1]}, {self.mean.shape[1]} parameter(s){of}>"


@remembered
def moments(
    equation: Equation | AveragedEquation, initial: State | Ending, steps: int, save: Sequence[int] | None = None
) -> Moments:
    """Return the exact mean and covariance of ``equation`` from ``initial``.

    Parameters
    ----------
    equation
        Any equation; its cost grows with the number of steps only where noise is multiplicative and d > 11, and for
        averages of iterates.
    initial
        State at step 0, or a ``Solution`` to go on from, with the velocities of its momentum; only moments matter. A
        schedule begins anew.
    steps
        Last step, >= 0.
    save
        Steps to return; if left out, every step 0…``steps``, or as many of them, evenly, as 2^25 numbers hold.

    Returns
    -------
    Moments
        ``steps`` (S,), ``mean`` (S, d), ``covariance`` (S, d, d); entries are not finite where moments overflow.

    Raises
    ------
    DFPError
        If the dimension of the state differs from the equation's or a step is out of range.
    UnsupportedError
        Without replacement, if the noise depends on θ and the finite sum is not small: no closed recursion is known.

    Notes
    -----
    (T14) for the maps (T4) and (T5), (T15) for the generators (T6), (T7), (T7m), (T19) with momentum, whose velocity is
    0 at step 0, and (T18) without replacement. A schedule costs a product of maps for every change of its value.

    Examples
    --------
    >>> import dfp
    >>> sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), learning_rate=0.2)
    >>> exact = dfp.moments(dfp.MasterEquation(sgd), dfp.Point(1.0), steps=40, save=[0, 10, 40])
    >>> print(exact.mean.ravel().round(4), exact.covariance.ravel().round(4))
    [1.000e+00 1.074e-01 1.000e-04] [0.     0.1098 0.1111]
    """
    process = equation.iterate if isinstance(equation, AveragedEquation) else equation
    initial = started(initial, moments=True)
    check_problem(process, initial, moments=True, moving=True, average=process is not equation)
    last = checks.last_step(steps)
    if save is None:
        every = 8.0 * (last + 1) * (7 + 3 * equation.dimension)
        require_memory(f"steps={last}: moments of every step", every, "save some steps, as with save=[0, 1000, steps]")
    saved = _default_steps(last, equation.dimension) if save is None else checks.step_list("save", save, last)
    numbers = saved.size * (4.0 + 3 * equation.dimension + 3 * equation.dimension**2)
    require_memory(f"save: moments of {saved.size} steps", 8 * numbers, "save fewer, as with save=[0, 1000, steps]")
    if isinstance(equation, AveragedEquation):
        means, covariances = averages.followed(equation.average, path(process, initial, last), saved)
        return labelled(Moments(saved, means, covariances), equation)
    return labelled(moments_at(process, initial, saved), equation)


def path(equation: Equation, initial: State, last: int) -> tuple[Array, Array]:
    """Return mean and covariance of the whole state, θ or (θ, v), at every step up to ``last``."""
    size = 3 * (equation.dimension * (2 if equation.sgd.momentum else 1)) ** 2
    require_memory(
        f"steps={last}: moments of every iterate that is averaged", 8.0 * (last + 1) * size, "take fewer steps"
    )
    found = moments_at(equation, initial, np.arange(last + 1))
    if found.joint_mean is None or found.joint_covariance is None:
        return found.mean, found.covariance
    return found.joint_mean, found.joint_covariance


def _default_steps(last: int, dimension: int) -> NDArray[np.int64]:
    """Return every step or, where their covariances would fill the memory, evenly spaced ones, the last among them."""
    count = max(min(last + 1, _MOST_NUMBERS // dimension**2), 2)
    return np.unique(np.linspace(0, last, count).round().astype(np.int64))


def moments_at(equation: Equation, initial: State, saved: NDArray[np.int64]) -> Moments:
    """Return the moments at the steps ``saved`` (S,), increasing, of a problem that has been checked."""
    if not equation.sgd.affine:
        raise UnsupportedError(
            "landscape is nonlinear: the recursion for mean and covariance does not close (each order needs the next); "
            "solve for the density with dfp.solve(...) and read solution.mean and solution.covariance."
        )
    if not equation.sgd.unit_noise.finite:
        raise UnsupportedError(
            f"{lacking(equation)}; ask for the density of the master equation with dfp.Fourier() or "
            "dfp.MonteCarlo(...)."
        )
    if not equation.sgd.commutes:
        return _back(equation, moments_at(equation.rotated, turned(initial, equation), saved))
    # Unstable dynamics overflows: the result then says so by entries that are not finite.
    with np.errstate(over="ignore", invalid="ignore"):
        if not equation.sgd.plain:
            return _not_plain(equation, initial, saved)
        means, covariances = (_closed_form if equation.additive else _with_multiplicative_noise)(
            equation, initial, saved
        )
        means = _kept_apart(means, equation, initial, saved)
    warnings = _negative(equation, saved, covariances) if equation.moments_only else ()
    return Moments(saved, means, covariances, warnings=warnings)


def lacking(equation: Equation) -> str:
    """Say in words why there is no variance: of gradient noise, by its tails."""
    index = float(np.min(equation.sgd.unit_noise.tail_index(np.eye(equation.dimension))))
    what, most = ("no mean and no variance", 1) if index <= 1 else ("no variance", 2)
    return f"the gradient noise has {what}: its tails P(|g| > x) fall like x^-κ, κ = {index:.3g} <= {most}"


def turned(initial: State, equation: Equation) -> State:
    """Return a state of u = P^{-1/2}θ with the moments of ``initial``."""
    inverse = np.linalg.inv(equation.sgd.root)
    found = Gaussian(inverse @ initial.mean, inverse @ initial.covariance @ inverse.T)
    if initial.joint is None:
        return found
    (mean, covariance), both = initial.joint, np.kron(np.eye(2), inverse)
    return StateMoments(found.mean, found.covariance, Joint(both @ mean, both @ covariance @ both.T))


def _back(equation: Equation, found: Moments) -> Moments:
    """Return moments of u as those of θ = P^{1/2}u; the velocity is P^{-1/2} times that of θ's gradients."""
    root = equation.sgd.root
    mean, covariance = found.mean @ root, root @ found.covariance @ root
    if found.joint_mean is None or found.joint_covariance is None:
        return Moments(found.steps, mean, covariance, warnings=found.warnings)
    both = np.kron(np.eye(2), root)
    return Moments(
        found.steps, mean, covariance, found.joint_mean @ both, both @ found.joint_covariance @ both, found.warnings
    )


def _negative(equation: Equation, saved: NDArray[np.int64], covariances: Array) -> tuple[str, ...]:
    """Say in words where a variance along some axis is negative, and how far."""
    known = np.isfinite(covariances).all(axis=(1, 2))
    lowest = np.zeros(len(saved))
    lowest[known] = np.linalg.eigvalsh(covariances[known])[:, 0]
    below = lowest < -_ROUNDED * np.abs(covariances).max(axis=(1, 2), initial=0.0)
    if not below.any():
        return ()
    worst = int(np.argmin(lowest))
    lacking = "any second moment, η²S" if equation.number == "T25" else "the square of the mean gradient, η²ḡḡᵀ"
    return (
        f"step {saved[worst]}: the {equation.label} has a negative variance, {lowest[worst]:.3g}, as at "
        f"{np.count_nonzero(below)} of {len(saved)} saved steps: its steps lack {lacking}; "
        "use dfp.Langevin(sgd), dfp.DiscreteFokkerPlanck(sgd) or dfp.MasterEquation(sgd).",
    )


def _kept_apart(means: Array, equation: Equation, initial: State, saved: NDArray[np.int64]) -> Array:
    """Return the means by themselves where carrying them beside a covariance that overflows has lost them."""
    if equation.additive or checks.finite(means):
        return means
    lost = ~np.isfinite(means).all(axis=1)
    vectors = equation.sgd.modes[1]
    factor, shift, _ = _transitions(equation, saved[lost])
    found = means.copy()
    found[lost] = (factor * (initial.mean @ vectors) + shift) @ vectors.T
    return found


def _not_plain(equation: Equation, initial: State, saved: NDArray[np.int64]) -> Moments:
    run = optimisers.closed_form if equation.additive else optimisers.with_multiplicative_noise
    d, moving = equation.dimension, initial.joint if equation.sgd.momentum else None
    means, covariances = run(equation, *(moving or (initial.mean, initial.covariance)), saved)
    joint = (means, covariances) if equation.sgd.momentum else (None, None)
    own = _kept_apart(means[:, :d], equation, initial, saved) if moving is None else means[:, :d]
    return Moments(saved, own, covariances[:, :d, :d], *joint)


# Numbers that covariances may hold unless more are asked for: 256 MB.
_MOST_NUMBERS = 2**25
# Rounding of a variance, relative to the largest.
_ROUNDED = 1e-13
# Transitions kept of one equation, for solvers ask again for the steps whose moments they were told.
_KEPT = 64


def transition(equation: Equation, n: int) -> affine.AffineTransition:
    """Return factor (d,), shift (d,) and noise covariance (d, d) of ``n`` steps, in H's eigenbasis.

    Only for additive noise, where θ_n = Fθ_0 + shift + noise exactly (with momentum, from v = 0).
    """
    # Looked up once: another thread may clear what is kept at any time.
    found = equation.transitions.get(n)
    if found is None:
        factor, shift, noise = parts = _transitions(equation, np.array([n]))
        _keep(equation, np.array([n]), parts)
        found = factor[0], shift[0], noise[0]
    return found


def _keep(equation: Equation, steps: NDArray[np.int64], parts: affine.AffineTransition) -> None:
    known = equation.transitions
    if len(known) + len(steps) > _KEPT:
        known.clear()
    known.update(zip(steps.tolist(), zip(*parts, strict=True), strict=True))


def _transitions(equation: Equation, steps: NDArray[np.int64]) -> affine.AffineTransition:
    """Return factors (S, d), shifts (S, d) and noise covariances (S, d, d) of ``steps`` (S,), in H's eigenbasis."""
    if not equation.sgd.commutes:
        equation = equation.rotated
    if not equation.sgd.plain:
        return _marginals(equation, steps)
    values, vectors = equation.sgd.modes
    gradient, noise = matrices.rotated(vectors, equation.sgd.gradient, equation.additive_diffusion)
    drift = equation.mode_rates(values)
    if equation.discrete:
        return affine.map_transition(drift * values, drift * gradient, noise, steps)
    return affine.flow_transition(drift * values, drift * gradient, noise, steps * equation.learning_rate)


def _marginals(equation: Equation, steps: NDArray[np.int64]) -> affine.AffineTransition:
    """Return the transitions of θ where SGD is not plain."""
    after = list(optimisers.transitions(equation, steps))
    factor, gain = np.array([t.factor[:, 0, 0] for t in after]), np.array([t.gain[:, 0] for t in after])
    noise = np.array([t.noise[:, :, 0, 0] for t in after])
    return factor, gain * (equation.sgd.gradient @ equation.sgd.modes[1]), noise


def _closed_form(equation: Equation, initial: State, saved: NDArray[np.int64]) -> tuple[Array, Array]:
    vectors = equation.sgd.modes[1]
    parts = _transitions(equation, saved)
    if saved.size <= _KEPT and equation.dimension <= 3:  # densities live in no more, and solvers ask only for these
        _keep(equation, saved, parts)
    start = matrices.rotated(vectors, initial.mean, initial.covariance)
    return matrices.rotated(vectors.T, *affine.moments(parts, *start))


def _advance(equation: Equation, start: Array, times: Array) -> MomentVector:
    """Return the carried moments at ``times`` [step for maps, slow time for generators] from packed ones."""

    def derivative(flat: Array) -> Array:
        return packed(equation.derivative(unpacked(flat, equation.dimension)))

    dense = start.size <= linear_flow.DENSE_SIZE
    states = linear_flow.advance(
        derivative, start, times, discrete=equation.discrete, dense=dense, units=units(equation, start)
    )
    return unpacked(states, equation.dimension)


def _with_multiplicative_noise(equation: Equation, initial: State, saved: NDArray[np.int64]) -> tuple[Array, Array]:
    mean = initial.mean
    start = packed(MomentVector(np.ones(()), mean, np.outer(mean, mean), initial.covariance))
    if equation.discrete and start.size > linear_flow.DENSE_SIZE:
        return _step_by_step(equation, initial, saved)
    times = saved * (1.0 if equation.discrete else equation.sgd.learning_rate)
    if start.size > linear_flow.DENSE_SIZE:  # a series for each unit of 1/λ, of a dozen terms
        pieces = times[-1] * 2 * float(np.abs(equation.sgd.modes[0]).max())
        _foretell(12 * int(pieces), equation.dimension)
    states = _advance(equation, start, times)
    return states.mean, states.covariance


def _foretell(steps: int, d: int) -> None:
    """Tell of many steps, each a few calls and a pass over a covariance at the least, a nanosecond a number."""
    foretell(f"steps={steps}: moments of {d} parameters", 1e-9 * steps * (1e4 + d**2), "ask for fewer steps")


def _step_by_step(equation: Equation, initial: State, saved: NDArray[np.int64]) -> tuple[Array, Array]:
    """Return means and covariances of a map by (T14): two products of matrices a step, where d is large."""
    _foretell(int(saved[-1]), equation.dimension)
    if not equation.moments_only:  # what a step gains is then the noise alone
        axes = equation.sgd.modes[1]
        tables = equation.sgd.noise.entrywise(axes)
        if tables is not None:
            return _entry_by_entry(equation, initial, saved, axes, tables)
        moments = equation.sgd.noise.axis_moments(axes)
        if moments is not None:
            rate = equation.learning_rate
            motion = 1 - rate * equation.sgd.modes[0], -rate * (axes.T @ equation.sgd.gradient)
            start = matrices.rotated(axes, initial.mean, initial.covariance)
            return matrices.rotated(axes.T, *moments(rate, *motion, *start, saved))
    factor, one = np.eye(equation.dimension) - equation.linear_drift, np.ones(())
    mean, covariance = initial.mean, initial.covariance
    means, covariances = [], []
    for n in range(int(saved[-1]) + 1):
        if n in saved:
            means.append(mean)
            covariances.append(covariance)
        gained = equation.mean_diffusion(MomentVector(one, mean, np.outer(mean, mean), covariance))
        mean, covariance = factor @ mean - equation.constant_drift, factor @ covariance @ factor.T + gained
    return np.array(means), np.array(covariances)


def _entry_by_entry(
    equation: Equation, initial: State, saved: NDArray[np.int64], axes: Array, tables: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Return the same where the noise couples entries of the covariance as in ``NoiseLaw.entrywise``.

    Off-diagonal entries then move by themselves, in closed form where W vanishes off the diagonal, and a step costs one
    product of a matrix with the diagonal.
    """
    rate, values = equation.learning_rate, equation.sgd.modes[0]
    kept, shift = 1 - rate * values, -rate * (axes.T @ equation.sgd.gradient)
    table, own = rate**2 * tables[0], rate**2 * tables[1]
    source = rate**2 * (axes.T @ equation.sgd.noise.constant @ axes)
    factor = np.outer(kept, kept)
    closed = not np.any(own - np.diag(np.diag(own)))
    start: Array = axes.T @ initial.covariance @ axes
    mean, diagonal, whole = axes.T @ initial.mean, start.diagonal().copy(), start
    means, covariances, squares, wanted = [], [], np.diag(factor) + np.diag(own), set(saved.tolist())
    for n in range(int(saved[-1]) + 1):
        if n in wanted:
            if closed:
                power = factor**n
                sums = np.where(factor == 1, n, (1 - power) / np.where(factor == 1, 1.0, 1 - factor))
                whole = power * start + sums * source
            np.fill_diagonal(whole, diagonal)
            means.append(axes @ mean)
            covariances.append(axes @ whole @ axes.T)
        gained = table @ (diagonal + mean**2) + np.diag(own) * mean**2
        if not closed:
            whole = (factor + own) * whole + own * np.outer(mean, mean) + source
        diagonal = squares * diagonal + source.diagonal() + gained
        if not closed:
            np.fill_diagonal(whole, diagonal)
        mean = kept * mean + shift
    return np.array(means), np.array(covariances)


def conditional(equation: Equation, time: float) -> tuple[Array, Array, Array]:
    """Return how mean and covariance at ``time`` depend on the point θ started from, for a generator.

    Parameters
    ----------
    time
        Elapsed slow time τ.

    Returns
    -------
    factor, shift
        Mean = factor θ + shift, shapes (d, d) and (d,).
    covariance
        As a polynomial in φ = (1, θ), shape (d, d, d+1, d+1).
    """
    d = equation.dimension
    mass, units = np.ones(()), np.eye(d)
    zero = MomentVector(np.zeros(()), np.zeros(d), np.zeros((d, d)), np.zeros((d, d)))
    factor, covariance = np.empty((d, d)), np.zeros((d, d, d + 1, d + 1))

    def after(start: MomentVector) -> MomentVector:
        states = _advance(equation, packed(start), np.array([time]))
        return MomentVector(*(part[0] for part in states))

    constant = after(zero._replace(mass=mass))
    covariance[:, :, 0, 0] = constant.covariance
    for k in range(d):
        moved = after(zero._replace(mean=units[k]))
        factor[:, k] = moved.mean
        covariance[:, :, 0, k + 1] = covariance[:, :, k + 1, 0] = moved.covariance / 2
        for m in range(d):
            # Only the symmetric part of θθᵀ ever occurs.
            pair = (np.outer(units[k], units[m]) + np.outer(units[m], units[k])) / 2
            covariance[:, :, k + 1, m + 1] = after(zero._replace(outer=pair)).covariance
    return factor, constant.mean, covariance
