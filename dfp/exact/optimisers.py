"""Exact moments of SGD that is not plain: momentum in the doubled state (T19), schedules, epochs without replacement.

A run of equal steps is taken at once, the runs one after the other. States are (θ, v) with momentum and θ without; with
additive noise they move mode by mode in the eigenbasis of the mean Hessian.
"""

from collections.abc import Iterator

import numpy as np
from dfp_solvers import affine, linear_flow, modal, shuffled
from numpy.typing import NDArray

from dfp.checks import Array
from dfp.errors import UnsupportedError
from dfp.problem.equation import Equation, MomentVector, packed, transposed, units, unpacked
from dfp.problem.sgd import SGD

Steps = NDArray[np.int64]

# Runs at least this long on average are taken by doubling, shorter ones step by step, many at a time.
_LONG_RUN = 8
# Entries of the covariances that are worked on at a time.
_CHUNK = 2**18


def transitions(equation: Equation, saved: Steps) -> Iterator[modal.Transition]:
    """Yield, for additive noise, the transition of the modes from step 0 to each saved step."""
    sgd = equation.sgd
    if sgd.epoch:
        yield from _epochs(sgd, saved)
        return
    between = _StepMaker(equation)
    total, now = modal.identity(sgd.dimension, 2 if sgd.momentum else 1), 0
    for n in saved.tolist():
        total, now = modal.compose(total, between(now, n)), n
        yield total


class _StepMaker:
    """Makes the transition of the steps from one to another."""

    def __init__(self, equation: Equation) -> None:
        self.equation = equation
        vectors = equation.sgd.modes[1]
        self.noise = vectors.T @ equation.sgd.unit_noise.constant @ vectors

    def __call__(self, first: int, last: int) -> modal.Transition:
        sgd = self.equation.sgd
        runs = list(sgd.runs(first, last))
        total = modal.identity(sgd.dimension, 2 if sgd.momentum else 1)
        if not self.equation.discrete:
            for step, count in runs:
                total = modal.compose(total, _flow(self.equation.at(step), count))
        elif len(runs) * _LONG_RUN < last - first or last - first < 2:
            for step, count in runs:
                total = modal.compose(total, modal.power(self._steps(step, step + 1, stacked=False), count))
        else:
            size = max(1, _CHUNK // self.noise.size)
            for begin in range(first, last, size):
                total = modal.compose(total, modal.product(self._steps(begin, min(begin + size, last), stacked=True)))
        return total

    def _steps(self, first: int, last: int, *, stacked: bool) -> modal.Transition:
        sgd = self.equation.sgd
        rates = sgd.learning_rates.values(first, last)
        sizes = np.array([sgd.samples_at(n) for n in range(first, last)])
        if not stacked:
            rates, sizes = rates[0], sizes[0]
        noise = self.noise / sizes[..., None, None]
        return modal.step(sgd.modes[0], noise, rates, sgd.momentum, sgd.nesterov)


def loads(sgd: SGD, steps: int) -> Iterator[tuple[Array, int]]:
    """Yield, from the last step back to the first, how its gradient enters θ in the end, (d, d), and its batch size."""
    values, vectors, inverse = sgd.modes_of_map
    row = np.zeros((values.size, 1, 2 if sgd.momentum else 1))
    row[:, 0, 0] = 1.0
    for s in reversed(range(steps)):
        one = modal.step(values, np.zeros((values.size,) * 2), sgd.learning_rates.at(s), sgd.momentum, sgd.nesterov)
        along = np.einsum("dm,dm->d", row[:, 0], one.gain)
        yield (vectors * along) @ inverse, sgd.law.batch_size if sgd.batches is None else sgd.samples_at(s)
        row = row @ one.factor


def _flow(equation: Equation, count: int) -> modal.Transition:
    """Return the transition of a generator over ``count`` steps of slow time η each."""
    values, vectors = equation.sgd.modes
    drift = equation.mode_rates(values)
    noise = vectors.T @ equation.diffusion(np.zeros(values.size)) @ vectors
    factor, gain, gained = affine.flow_transition(
        drift * values, drift, noise, np.array([count * equation.learning_rate])
    )
    return modal.Transition(factor[0, :, None, None], gain[0, :, None], gained[0, :, :, None, None], count)


def _epochs(sgd: SGD, saved: Steps) -> Iterator[modal.Transition]:
    """Yield the transitions where the steps of each epoch exclude each other (T18)."""
    law, vectors, k = sgd.samples, sgd.modes[1], sgd.epoch
    sampled = vectors.T @ (law.constant * law.batch_size) @ vectors

    def part(first: int, last: int) -> modal.Transition:
        runs = [
            modal.epoch_run(
                modal.step(sgd.modes[0], sampled, sgd.learning_rates.at(step), sgd.momentum, sgd.nesterov),
                count,
                sampled,
            )
            for step, count in sgd.runs(first, last)
        ]
        return modal.within_epoch(runs, sampled, law.count, law.batch_size)

    total, done = modal.identity(sgd.dimension, 2 if sgd.momentum else 1), 0
    for n in saved.tolist():
        if sgd.scheduled:
            for epoch in range(done, n // k):
                total = modal.compose(total, part(epoch * k, (epoch + 1) * k))
        elif n // k > done:
            total = modal.compose(total, modal.power(part(0, k), n // k - done))
        done = n // k
        yield modal.compose(total, part(done * k, n)) if n > done * k else total


def closed_form(equation: Equation, mean: Array, covariance: Array, saved: Steps) -> tuple[Array, Array]:
    """Return means (S, D) and covariances (S, D, D) of the states, D = md, for additive noise.

    They start from moments of θ, (d,) and (d, d), with v = 0, or of (θ, v), (2d,) and (2d, 2d).
    """
    vectors, g = equation.sgd.modes[1], equation.sgd.modes[1].T @ equation.sgd.gradient
    d, k = len(vectors), mean.size // len(vectors)
    m = mean.reshape(k, d) @ vectors  # (state, mode)
    rotated = np.einsum("ia,xiyj,jb->abxy", vectors, covariance.reshape(k, d, k, d), vectors, optimize=True)
    means, covariances = [], []
    for after in transitions(equation, saved):
        start = after.factor[:, :, :k]
        moved = np.einsum("dmx,xd->dm", start, m) + after.gain * g[:, None]
        propagated = np.einsum("amx,abxy,bny->abmn", start, rotated, start, optimize=True) + after.noise
        # From (mode, state) to blocks of θ, then v.
        means.append((vectors @ moved).T.ravel())
        blocks = vectors @ np.moveaxis(propagated, (2, 3), (0, 1)) @ vectors.T
        covariances.append(np.block([[blocks[a, b] for b in range(len(blocks))] for a in range(len(blocks))]))
    return np.array(means), np.array(covariances)


def mean_map(sgd: SGD, rate: float) -> tuple[Array, Array]:
    """Return A (D, D) and b (D, d) of the step z' = A z + b (g + g̃ + H̃θ) with η = ``rate`` (T19)."""
    d, beta = sgd.dimension, sgd.momentum
    eye = np.eye(d)
    if beta == 0:
        return eye - rate * sgd.hessian, -rate * eye
    p, q = (1 + beta, beta**2) if sgd.nesterov else (1.0, beta)
    matrix = np.block([[eye - rate * p * sgd.hessian, -rate * q * eye], [sgd.hessian, beta * eye]])
    return matrix, np.concatenate([-rate * p * eye, eye])


def with_multiplicative_noise(equation: Equation, mean: Array, covariance: Array, saved: Steps) -> tuple[Array, Array]:
    """Return means (S, D) and covariances (S, D, D) of the states for noise that depends on θ; starts as above."""
    sgd, size = equation.sgd, equation.dimension * (2 if equation.sgd.momentum else 1)
    start, joint = np.zeros(size), np.zeros((size, size))
    start[: mean.size], joint[: mean.size, : mean.size] = mean, covariance
    if sgd.epoch:
        return _shuffled(sgd, start, joint, saved)
    state, now = packed(MomentVector(np.ones(()), start, np.outer(start, start), joint)), 0
    advance = _Advance(equation, size)
    means, covariances = np.empty((saved.size, size)), np.empty((saved.size, size, size))
    for s, n in enumerate(saved.tolist()):
        state, now = advance(state, now, n), n
        at = unpacked(state, size)
        means[s], covariances[s] = at.mean, at.covariance
    return means, covariances


class _Advance:
    """Carries packed moments of a state of ``size`` numbers from one step to another (T14, T15, T19)."""

    def __init__(self, equation: Equation, size: int) -> None:
        self.equation, self.size = equation, size
        self.small = 1 + size + 2 * size**2 <= linear_flow.DENSE_SIZE

    def __call__(self, state: Array, first: int, last: int) -> Array:
        sgd = self.equation.sgd
        runs = list(sgd.runs(first, last))
        if self.equation.discrete and self.small and len(runs) * _LONG_RUN > last - first > state.size:
            return self._by_powers_of_the_rate(state, first, last)
        for step, count in runs:
            state = self._run(state, step, count)
        return state

    def _run(self, state: Array, step: int, count: int) -> Array:
        """Take ``count`` equal steps."""
        sgd, discrete = self.equation.sgd, self.equation.discrete
        time, dense, scales = float(count), self.small and count > state.size, None
        if discrete:
            derivative = self._increment(sgd.learning_rates.at(step), 1.0 / sgd.samples_at(step))
        else:
            equation = self.equation.at(step)
            derivative, time = self._flow(equation), count * sgd.learning_rates.at(step)
            scales = units(equation, state)
        if self.small and not discrete:
            derivative = _matrix(derivative, state.size).__matmul__
        states = linear_flow.advance(derivative, state, np.array([time]), discrete=discrete, dense=dense, units=scales)
        return states[0]

    def _flow(self, equation: Equation) -> linear_flow.Operator:
        return lambda flat: packed(equation.derivative(unpacked(flat, self.size)))

    def _increment(self, rate: float, share: float) -> linear_flow.Operator:
        """Return the increment of one step with learning rate ``rate`` and ``share`` of the unit noise, linear."""
        sgd, size = self.equation.sgd, self.size
        matrix, load = mean_map(sgd, rate)
        push, d = load @ sgd.gradient, sgd.dimension

        def increment(flat: Array) -> Array:
            at = unpacked(flat, size)
            gained = sgd.unit_noise.mean_covariance(at.mass, at.mean[..., :d], at.second[..., :d, :d]) * share
            moved = at.mean @ matrix.T
            crossed = moved[..., :, None] * push
            outer = matrix @ at.outer @ matrix.T + crossed + transposed(crossed)
            outer = outer + at.mass[..., None, None] * np.outer(push, push)
            propagated = matrix @ at.covariance @ matrix.T + load @ gained @ load.T
            return packed(MomentVector(at.mass, moved + at.mass[..., None] * push, outer, propagated)) - flat

        return increment

    def _by_powers_of_the_rate(self, state: Array, first: int, last: int) -> Array:
        """Take steps that all differ: the increment is a polynomial in η of degree two, and linear in 1/B."""
        sgd, size = self.equation.sgd, state.size
        rates = sgd.learning_rates.values(first, last)
        unit = float(rates.max()) or 1.0
        tables = []
        for share in (0.0, 1.0):
            low, middle, high = (_matrix(self._increment(x * unit, share), size) for x in (0.0, 0.5, 1.0))
            tables.append([low, -3 * low + 4 * middle - high, 2 * low - 4 * middle + 2 * high])
        quiet, noisy = np.array(tables[0]), np.array(tables[1]) - np.array(tables[0])
        stacked = np.concatenate([quiet, noisy]).reshape(6 * size, size)
        for step, x in enumerate(rates / unit, start=first):
            powers = np.array([1.0, x, x * x])
            weights = np.concatenate([powers, powers / sgd.samples_at(step)])
            state = state + weights @ (stacked @ state).reshape(6, size)
        return state


def _matrix(operator: linear_flow.Operator, size: int) -> Array:
    return np.ascontiguousarray(operator(np.eye(size)).T)


def shuffled_obstacle(sgd: SGD, steps: int) -> str | None:
    """Return why the moments over epochs without replacement are out of reach, or None (additive noise always is)."""
    if sgd.replace or sgd.noise.additive:
        return None
    law = sgd.samples
    if shuffled.effort(law.count, law.batch_size) * max(1, steps // sgd.epoch) <= shuffled.MOST_EFFORT:
        return None
    return (
        f"with noise that depends on θ they need every set of samples an epoch can have used, too many for {law.count} "
        f"samples, batch_size={law.batch_size} and {steps} steps"
    )


def _shuffled(sgd: SGD, mean: Array, covariance: Array, saved: Steps) -> tuple[Array, Array]:
    law, k, last = sgd.samples, sgd.epoch, int(saved[-1])
    reason = shuffled_obstacle(sgd, last)
    if reason:
        raise UnsupportedError(
            f"replace=False: no exact moments: {reason}; sample with dfp.MonteCarlo(...), or use replace=True."
        )
    found: dict[int, tuple[Array, Array]] = {}
    for begin in range(0, last + 1, k):
        steps = [
            shuffled.MeanStep(*mean_map(sgd, sgd.learning_rates.at(step)))
            for step in range(begin, min(begin + k, last))
        ]
        frames = shuffled.epoch(steps, law.sample_hessians(), law.gradients, law.batch_size, mean, covariance)
        found.update(enumerate(frames, start=begin))
        mean, covariance = frames[-1]
    return np.array([found[n][0] for n in saved.tolist()]), np.array([found[n][1] for n in saved.tolist()])
