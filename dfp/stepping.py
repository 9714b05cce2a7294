"""Exact moments of SGD that is not plain: momentum in the doubled state (T19), schedules, epochs without replacement.

A run of equal steps is taken at once, the runs one after the other. States are (θ, v) with momentum and θ without; with
additive noise they move mode by mode in the eigenbasis of the mean Hessian.
"""

from collections.abc import Iterator

import numpy as np
from dfp_solvers import affine, linear_flow, modal, shuffled
from numpy.typing import NDArray

from dfp.checks import Array
from dfp.equation import Carried, Equation, packed, transposed, unpacked
from dfp.errors import UnsupportedError
from dfp.finite_sum import FiniteSumLaw
from dfp.sgd import SGD

Steps = NDArray[np.int64]


def transitions(equation: Equation, saved: Steps) -> Iterator[modal.Transition]:
    """Yield, for additive noise, the transition of the modes from step 0 to each saved step."""
    sgd = equation.sgd
    if sgd.epoch:
        yield from _epochs(sgd, saved)
        return
    one = _StepMaker(equation)
    total, now = modal.identity(sgd.dimension, 2 if sgd.momentum else 1), 0
    for n in saved.tolist():
        for step, count in sgd.runs(now, n):
            total = modal.compose(total, one(step, count))
        now = n
        yield total


class _StepMaker:
    """Makes the transition of ``count`` equal steps beginning at a step."""

    def __init__(self, equation: Equation) -> None:
        self.equation = equation
        vectors = equation.sgd.modes[1]
        self.noise = vectors.T @ equation.sgd.unit_noise.constant @ vectors

    def __call__(self, step: int, count: int) -> modal.Transition:
        sgd = self.equation.sgd
        if not self.equation.discrete:
            return _flow(self.equation.at(step), count)
        noise = self.noise / sgd.samples_at(step)
        return modal.power(modal.step(sgd.modes[0], noise, sgd.rates.at(step), sgd.momentum, sgd.nesterov), count)


def loads(sgd: SGD, steps: int) -> Iterator[tuple[Array, int]]:
    """Yield, from the last step back to the first, how its gradient enters θ in the end, (d, d), and its batch size."""
    values, vectors = sgd.modes
    law = sgd.landscape.law
    assert isinstance(law, FiniteSumLaw)
    row = np.zeros((values.size, 1, 2 if sgd.momentum else 1))
    row[:, 0, 0] = 1.0
    for s in reversed(range(steps)):
        one = modal.step(values, np.zeros((values.size,) * 2), sgd.rates.at(s), sgd.momentum, sgd.nesterov)
        along = np.einsum("dm,dm->d", row[:, 0], one.gain)
        yield (vectors * along) @ vectors.T, law.batch_size if sgd.batches is None else sgd.samples_at(s)
        row = row @ one.factor


def _flow(equation: Equation, count: int) -> modal.Transition:
    """Return the transition of a generator over ``count`` steps of slow time η each."""
    values, vectors = equation.sgd.modes
    drift = equation.drift(values)
    noise = vectors.T @ equation.diffusion(np.zeros(values.size)) @ vectors
    factor, gain, gained = affine.flow_transition(drift * values, drift, noise, count * equation.rate)
    return modal.Transition(factor[:, None, None], gain[:, None], gained[:, :, None, None], count)


def _epochs(sgd: SGD, saved: Steps) -> Iterator[modal.Transition]:
    """Yield the transitions where the steps of each epoch exclude each other (T18)."""
    law, vectors, k = sgd.noise, sgd.modes[1], sgd.epoch
    assert isinstance(law, FiniteSumLaw)
    spread = vectors.T @ (law.constant * law.batch_size) @ vectors

    def part(first: int, last: int) -> modal.Transition:
        runs = [
            modal.epoch_run(
                modal.step(sgd.modes[0], spread, sgd.rates.at(step), sgd.momentum, sgd.nesterov), count, spread
            )
            for step, count in sgd.runs(first, last)
        ]
        return modal.within_epoch(runs, spread, law.count, law.batch_size)

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
    """Return means (S, D) and covariances (S, D, D) of the states, D = md, for additive noise; v = 0 at step 0."""
    vectors, g = equation.sgd.modes[1], equation.sgd.modes[1].T @ equation.sgd.gradient
    m, turned = vectors.T @ mean, vectors.T @ covariance @ vectors
    means, covariances = [], []
    for after in transitions(equation, saved):
        start = after.factor[:, :, 0]
        moved = start * m[:, None] + after.gain * g[:, None]
        spread = start[:, None, :, None] * turned[:, :, None, None] * start[None, :, None, :] + after.noise
        # From (mode, state) to blocks of θ, then v.
        means.append((vectors @ moved).T.ravel())
        blocks = vectors @ np.moveaxis(spread, (2, 3), (0, 1)) @ vectors.T
        covariances.append(np.block([[blocks[a, b] for b in range(len(blocks))] for a in range(len(blocks))]))
    return np.array(means), np.array(covariances)


def mean_map(sgd: SGD, step: int) -> tuple[Array, Array]:
    """Return A (D, D) and b (D, d) of the step z' = A z + b (g + g̃ + H̃θ) (T19)."""
    d, rate, beta = sgd.dimension, sgd.rates.at(step), sgd.momentum
    eye = np.eye(d)
    if beta == 0:
        return eye - rate * sgd.hessian, -rate * eye
    p, q = (1 + beta, beta**2) if sgd.nesterov else (1.0, beta)
    matrix = np.block([[eye - rate * p * sgd.hessian, -rate * q * eye], [sgd.hessian, beta * eye]])
    return matrix, np.concatenate([-rate * p * eye, eye])


def carried(equation: Equation, mean: Array, covariance: Array, saved: Steps) -> tuple[Array, Array]:
    """Return means (S, D) and covariances (S, D, D) of the states for noise that depends on θ."""
    sgd, size = equation.sgd, 2 * mean.size if equation.sgd.momentum else mean.size
    start, spread = np.zeros(size), np.zeros((size, size))
    start[: mean.size], spread[: mean.size, : mean.size] = mean, covariance
    if sgd.epoch:
        return _shuffled(sgd, start, spread, saved)
    state, now = packed(Carried(np.ones(()), start, np.outer(start, start), spread)), 0
    means, covariances = np.empty((saved.size, size)), np.empty((saved.size, size, size))
    for s, n in enumerate(saved.tolist()):
        for step, count in sgd.runs(now, n):
            state = _advanced(equation, step, count, state, size)
        at, now = unpacked(state, size), n
        means[s], covariances[s] = at.mean, at.covariance
    return means, covariances


def _advanced(equation: Equation, step: int, count: int, state: Array, size: int) -> Array:
    sgd = equation.sgd
    if equation.discrete:
        matrix, load = mean_map(sgd, step)
        noise, samples, d = sgd.unit_noise, sgd.samples_at(step), sgd.dimension
        push = load @ sgd.gradient

        def derivative(flat: Array) -> Array:
            at = unpacked(flat, size)
            gained = noise.mean_covariance(at.mass, at.mean[..., :d], at.second[..., :d, :d]) / samples
            moved = at.mean @ matrix.T
            crossed = moved[..., :, None] * push
            outer = matrix @ at.outer @ matrix.T + crossed + transposed(crossed)
            outer = outer + at.mass[..., None, None] * np.outer(push, push)
            spread = matrix @ at.covariance @ matrix.T + load @ gained @ load.T
            after = Carried(at.mass, moved + at.mass[..., None] * push, outer, spread)
            return packed(after) - flat

    else:
        here = equation.at(step)

        def derivative(flat: Array) -> Array:
            return packed(here.derivative(unpacked(flat, size)))

    # A dense matrix costs about as much as its size in steps.
    dense = state.size <= linear_flow.DENSE_SIZE and (count > state.size or not equation.discrete)
    time = float(count) if equation.discrete else count * sgd.rates.at(step)
    states = linear_flow.advance(derivative, state, np.array([time]), discrete=equation.discrete, dense=dense)
    result: Array = states[0]
    return result


def shuffled_obstacle(sgd: SGD, steps: int) -> str | None:
    """Return why the moments over epochs without replacement are out of reach, or None (additive noise always is)."""
    law = sgd.noise
    if not isinstance(law, FiniteSumLaw) or sgd.replace or law.additive:
        return None
    sets = shuffled.moves(law.count, law.batch_size) if law.count <= shuffled.MOST_SAMPLES else float("inf")
    if sets * max(1, steps // sgd.epoch) <= shuffled.MOST_MOVES:
        return None
    return (
        f"with noise that depends on θ they need every set of samples an epoch can have used, too many for {law.count} "
        f"samples, batch_size={law.batch_size} and {steps} steps"
    )


def _shuffled(sgd: SGD, mean: Array, covariance: Array, saved: Steps) -> tuple[Array, Array]:
    law, k, last = sgd.noise, sgd.epoch, int(saved[-1])
    assert isinstance(law, FiniteSumLaw)
    reason = shuffled_obstacle(sgd, last)
    if reason:
        raise UnsupportedError(
            f"replace=False: no exact moments: {reason}; sample with dfp.MonteCarlo(...), or use replace=True."
        )
    found: dict[int, tuple[Array, Array]] = {}
    for begin in range(0, last + 1, k):
        steps = [shuffled.Step(*mean_map(sgd, step)) for step in range(begin, min(begin + k, last))]
        frames = shuffled.epoch(steps, law.sample_hessians(), law.gradients, law.batch_size, mean, covariance)
        found.update(enumerate(frames, start=begin))
        mean, covariance = frames[-1]
    return np.array([found[n][0] for n in saved.tolist()]), np.array([found[n][1] for n in saved.tolist()])
