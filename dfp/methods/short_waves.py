"""Structure that a smooth representation of a density cannot show, from what is known of it: bounds in L1.

The last terms of a series say nothing of waves beyond those it holds. What is known: the start, blurred by the noise
since; minibatches, each of which leaves an atom as wide as what is left of the start; and the waves that the truncated
expansion (T5) amplifies. |φ| of two densities differs by no more than their L1 distance, so that waves which are there
and are not shown are an error.
"""

import numpy as np
from scipy import fft

from dfp.checks import TINY, Array
from dfp.exact.moments import moments_at
from dfp.problem.equation import Equation
from dfp.problem.grid import Grid
from dfp.problem.state import Point, State

# Half-width in deviations of the box whose waves are looked at; where a Gaussian has decayed to 1e-14; most waves.
_BOX, _DECAYED, _MOST = 8.0, 8.0, 4000
# Most steps that are looked at one by one: those before are blurred by all later ones.
_STEPS = 400
# Logarithm of an amplitude that nothing is left of.
_GONE = -40.0
# Directions in a plane along which marginals are looked at.
_DIRECTIONS = 12
# Share of a wave number that is left of it after the steps of (T5) that count: those of nearly flat modes. Where drift
# stretches waves, (T5) is a density in the sense of its asymptotic series, and the series' own error stands.
_REMEMBERED = 0.8


def left_of(difference: Array, grid: Grid, equation: Equation, initial: State, step: int) -> float:
    """Return the L1 norm of what ``step`` steps leave of a ``difference`` between two starts, on the cells of ``grid``.

    It is blurred by the noise since, as from the place where noise is least; an affine map changes no L1 norm, so it is
    undone.
    """
    size = float(np.abs(difference).sum()) * grid.cell_volume
    if step == 0 or size == 0:
        return size
    places = (initial.mean, equation.sgd.critical_point)
    spreads = [moments_at(equation, Point(place), np.array([step])).covariance[0] for place in places]
    noise = min(spreads, key=lambda covariance: float(np.trace(covariance)))
    try:
        inverse = np.linalg.inv(_power(equation, step))
    except np.linalg.LinAlgError:
        return 0.0  # nothing is left of the start
    noise = inverse @ noise @ inverse.T
    cells = [fft.next_fast_len(2 * n, real=True) for n in grid.cells]
    waves = [2 * np.pi * fft.fftfreq(n, h) for n, h in zip(cells[:-1], grid.spacing[:-1], strict=True)]
    waves.append(2 * np.pi * fft.rfftfreq(cells[-1], grid.spacing[-1]))
    k = np.stack(np.meshgrid(*waves, indexing="ij"), axis=-1)
    blur = np.exp(-0.5 * np.einsum("...i,ij,...j->...", k, noise, k))
    left = fft.irfftn(fft.rfftn(difference, s=cells) * blur, s=cells)
    return float(np.abs(left).sum()) * grid.cell_volume


def _power(equation: Equation, step: int) -> Array:
    """Return the matrix by which the mean moves in ``step`` steps, shape (d, d)."""
    values, vectors, inverse = equation.sgd.modes_of_map
    rates = equation.mode_rates(values) * values
    kept = (1 - rates) ** step if equation.discrete else np.exp(-rates * step * equation.sgd.learning_rate)
    factor: Array = (vectors * kept) @ inverse
    return factor


def hidden(
    equation: Equation, initial: State, step: int, covariance: Array, seen: float, *, gaussian: bool = False
) -> float:
    """Return an L1 bound of the waves of a density that are shorter than those ``seen``, or that (T5) has amplified.

    Parameters
    ----------
    equation, initial, step
        The problem, a map of plain SGD in a quadratic landscape, and the step.
    covariance
        Of the density, (d, d).
    seen
        Largest wave number that is shown, in inverse deviations.
    gaussian
        Whether the Gaussian of the same covariance is shown at all wave numbers: only what is larger is not, then.
    """
    if step == 0 or not equation.discrete or (equation.truncated is False and equation.sgd.noise.gaussian):
        return 0.0
    d, factor = equation.dimension, np.linalg.cholesky(covariance)
    inverse = np.linalg.inv(factor)
    angles = np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    # In more dimensions the circles in every plane of two axes.
    planes = [circle @ np.eye(d)[[i, j]] for i in range(d) for j in range(i)]
    directions = np.ones((1, 1)) if d == 1 else np.concatenate(planes)
    modes = equation.sgd.modes_of_map[2]
    modes = modes / np.sqrt(np.einsum("mi,ij,mj->m", modes, covariance, modes))[:, None]
    looked_at = np.concatenate([directions @ inverse, modes if d > 1 else modes[:0]])
    return max(_along(equation, initial, step, direction, seen, gaussian) for direction in looked_at)


def _along(equation: Equation, initial: State, step: int, direction: Array, seen: float, gaussian: bool) -> float:
    """Return it for the marginal along ``direction`` (d,), of unit deviation."""
    kept = np.eye(equation.dimension) - equation.linear_drift
    start = initial.covariance
    first = max(seen * _BOX / np.pi, 1.0)
    # Waves of a box of this many deviations, as far as what is left of the start lets through.
    far = direction @ np.linalg.matrix_power(kept, step)
    if equation.truncated and np.linalg.norm(far) < _REMEMBERED * np.linalg.norm(direction):
        return 0.0  # frozen coefficients tell nothing of waves that drift has stretched
    narrow = float(np.sqrt(max(far @ start @ far, TINY)))
    grown = 3.0 if equation.truncated else 1.0
    last = min(grown * _DECAYED / narrow * _BOX / np.pi, first + _MOST * 64)
    if last <= first:
        return 0.0
    number = np.unique(np.geomspace(first, last, _MOST).round())
    wave = number[:, None] * (np.pi / _BOX) * direction
    size = _log_size(equation, initial, step, wave, kept)
    # Cauchy and Schwarz over the waves of the box, of which one stands for those up to the next.
    weights = np.gradient(number) if number.size > 1 else np.ones(1)
    with np.errstate(over="ignore"):
        amplitude = np.exp(np.minimum(size, 300.0))
    if gaussian:
        amplitude = np.maximum(amplitude - np.exp(-0.5 * (number * np.pi / _BOX) ** 2), 0.0)
    return float(np.sqrt(2 * np.sum(weights * amplitude**2)))


def _log_size(equation: Equation, initial: State, step: int, waves: Array, kept: Array) -> Array:
    """Return log|φ_n| at ``waves`` (m, d) as far as it is known: of independent steps from the path of the mean."""
    sgd, eta = equation.sgd, equation.sgd.learning_rate
    means, moved = _means(equation, initial, step), waves
    first = waves @ np.linalg.matrix_power(kept, step)
    total = -0.5 * np.einsum("mi,ij,mj->m", first, initial.covariance, first)
    alive = np.ones(len(waves), dtype=bool) if equation.truncated else total > _GONE
    with np.errstate(divide="ignore"):
        for s in range(min(step, _STEPS)):
            at = means[step - 1 - s]
            if equation.truncated:
                squares = eta**2 * np.einsum("mi,ij,mj->m", moved, sgd.noise.covariance(at), moved)
                total += np.log(np.abs(1 - squares / 2))
            elif alive.any():  # no factor of a law makes a wave larger again
                total[alive] += np.log(np.abs(sgd.noise.characteristic(-eta * moved[alive], at[None])[0]))
                alive &= total > _GONE
            moved = moved @ kept
    return total


def _means(equation: Equation, initial: State, step: int) -> Array:
    """Return the path of the mean at steps 0 … ``step`` − 1, or at the last of them, shape (step, d)."""
    first = max(step - _STEPS, 0)
    path = moments_at(equation, initial, np.arange(first, step))
    return np.concatenate([np.broadcast_to(path.mean[0], (first, len(path.mean[0]))), path.mean])


def deviations_seen(degree: int) -> float:
    """Return the wave number up to which a series of ``degree`` holds waves, in inverse deviations.

    The transform of its last term is k^n e^{−k²/2}, which has its peak at √n and a deviation of 1/√2 about it.
    """
    return float(np.sqrt(degree) + np.sqrt(0.5))
