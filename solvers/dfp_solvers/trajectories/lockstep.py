"""Monte Carlo kernels: blocks of trajectories that run in lock-step, one to a lane.

A block of ``BLOCK`` trajectories takes all its steps while it sits in cache, and every inner loop runs over the lanes,
so that the compiler vectorises it. Minibatches of many parameters are an exception: there each trajectory runs by
itself, and inner loops run over the parameters, which lie side by side in every sample. Each lane has its own stream of
xoshiro256++ (Blackman and Vigna 2021, doi:10.1145/3460772), seeded from the seed, the block and the lane alone; normals
come from Box-Muller. Sums of blocks are added in the order of the blocks, so no bit depends on the threads or on how
the work is cut into calls.
"""

import math
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from dfp_solvers.arrays import Array, Integers
from dfp_solvers.jit import kernel
from dfp_solvers.trajectories.packed import Model, Optimiser, Plan, Start

Words = NDArray[np.uint64]

BLOCK = 384  # trajectories per block: state, parameters and normals of a block stay in the first-level cache
ALONE = 4  # parameters from which trajectories of minibatches run one by one: samples are long enough to vectorise
GAUSSIAN, REGRESSION, SAMPLES, CONDITIONAL, TRANSFORMED = range(5)
EDGE = 8.3  # the table of a law x(z) covers normals up to here; beyond is a probability of 1e-16

# uint64 throughout: mixed with a signed integer, Numba would turn a word into a float.
_ONE = np.uint64(0x3FF0000000000000)  # bits of 1.0
_MANTISSA = np.uint64(0x000FFFFFFFFFFFFF)
_ROOT_HALF = np.uint64(0x3FE6A09E00000000)  # bits of sqrt(1/2), rounded
_LOW = np.uint64(0xFFFFFFFF)


@kernel()
def _mix(word: Any) -> Any:
    """Return the splitmix64 finaliser of ``word``: a bijection of 64-bit words."""
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


@kernel()
def _seed(keys: Words, block: int, state: Words) -> None:
    """Set the generators of a block, ``state`` (4 * BLOCK,): distinct words for distinct (block, lane, word)."""
    for lane in range(BLOCK):
        for word in range(4):
            counter = np.uint64((block * BLOCK + lane) * 4 + word + 1)
            state[word * BLOCK + lane] = _mix(_mix(keys[0] + np.uint64(0x9E3779B97F4A7C15) * counter) ^ keys[1])


@kernel()
def _next(a: Any, b: Any, c: Any, d: Any) -> Any:
    """Return the next word of xoshiro256++ in state (a, b, c, d), and the state after it."""
    total = a + d
    word = ((total << np.uint64(23)) | (total >> np.uint64(41))) + a
    shifted = b << np.uint64(17)
    c ^= a
    d ^= b
    return word, a ^ d, b ^ c, c ^ shifted, (d << np.uint64(45)) | (d >> np.uint64(19))


@kernel()
def _words(state: Words, out: Words) -> None:
    """Fill ``out`` (n, BLOCK) with the next n words of every lane, two for one passage over the states if possible."""
    n, s0, s1 = out.shape[0], state[:BLOCK], state[BLOCK : 2 * BLOCK]
    s2, s3 = state[2 * BLOCK : 3 * BLOCK], state[3 * BLOCK :]
    for r in range(0, n - 1, 2):
        row, below = out[r], out[r + 1]
        for lane in range(BLOCK):
            word, a, b, c, d = _next(s0[lane], s1[lane], s2[lane], s3[lane])
            row[lane] = word
            below[lane], s0[lane], s1[lane], s2[lane], s3[lane] = _next(a, b, c, d)
    if n % 2:
        row = out[n - 1]
        for lane in range(BLOCK):
            row[lane], s0[lane], s1[lane], s2[lane], s3[lane] = _next(s0[lane], s1[lane], s2[lane], s3[lane])


@kernel(fast=True)
def _pair(first: Any, second: Any) -> Any:
    """Return two standard normals of two words: sqrt(-2 log u) times (±cos, sin)(π t / 2).

    u in (0, 1] is 2 minus a mantissa in [1, 2) from the first word; t in [-1, 1) and the sign come from the second. The
    polynomials interpolate at Chebyshev points: -2 log(m) / s in s², s = (m - 1) / (m + 1), and sine and cosine in t².
    Normals err by less than 3e-10, which no feasible number of trajectories can see (their own error is n^(-1/2)).
    """
    u = np.float64(2.0 - np.uint64((first >> np.uint64(12)) | _ONE).view(np.float64)).view(np.uint64)
    above = u - _ROOT_HALF  # bits of u = m 2^exponent, √½ <= m < √2
    exponent = np.float64(np.int64(above) >> np.int64(52))
    m = np.uint64(u - (above & ~_MANTISSA)).view(np.float64)
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    log = -0.8000076934475038 + z * (-0.5707010207563262 + z * -0.4723271819829197)
    log = -4.000000000016719 + z * (-1.3333333049497504 + z * log)
    radius = math.sqrt(exponent * -1.3862943611198906 + s * log)
    t = 2.0 * np.uint64((second >> np.uint64(12)) | _ONE).view(np.float64) - 3.0
    q = t * t
    sine = -0.004681657707277992 + q * (0.00016025459023725092 + q * -3.431788991798387e-06)
    sine = t * (1.570796326768066 + q * (-0.645964095574125 + q * (0.07969260368557585 + q * sine)))
    cosine = 0.0009192494115308196 + q * (-2.5181030066803395e-05 + q * 4.5229254259643014e-07)
    cosine = 0.2536695076833091 + q * (-0.020863478221176894 + q * cosine)
    cosine = radius * (1.0 + q * (-1.2337005501331462 + q * cosine))
    flipped = np.float64(cosine).view(np.uint64) ^ (second << np.uint64(63))
    return np.uint64(flipped).view(np.float64), radius * sine


@kernel(fast=True)
def _normals(state: Words, out: Array) -> None:
    """Fill ``out`` (2p, BLOCK) with normals of the next 2p words of every lane, which never leave registers."""
    s0, s1, s2, s3 = state[:BLOCK], state[BLOCK : 2 * BLOCK], state[2 * BLOCK : 3 * BLOCK], state[3 * BLOCK :]
    for p in range(0, out.shape[0], 2):
        cosines, sines = out[p], out[p + 1]
        for lane in range(BLOCK):
            first, a, b, c, d = _next(s0[lane], s1[lane], s2[lane], s3[lane])
            second, s0[lane], s1[lane], s2[lane], s3[lane] = _next(a, b, c, d)
            cosines[lane], sines[lane] = _pair(first, second)


@kernel(fast=True)
def _line(state: Words, steps: int, own: Any, first: Any, second: Any, x: Array) -> None:
    """Take ``steps`` of one parameter, ``x`` (BLOCK,), with two normals each, which do not leave registers.

    Each pair (c, h) stands for c + h x: of the step itself, of the first normal, of the second. The same draws in the
    same order as ``_normals``; elsewhere normals pass through the cache, which costs a fifth of so small a step.
    """
    s0, s1, s2, s3 = state[:BLOCK], state[BLOCK : 2 * BLOCK], state[2 * BLOCK : 3 * BLOCK], state[3 * BLOCK :]
    (u, a), (f, p), (g, q) = own, first, second
    for _ in range(steps):
        for lane in range(BLOCK):
            word, k, m, n, r = _next(s0[lane], s1[lane], s2[lane], s3[lane])
            below, s0[lane], s1[lane], s2[lane], s3[lane] = _next(k, m, n, r)
            y, z = _pair(word, below)
            x[lane] = u + a * x[lane] + (f + p * x[lane]) * y + (g + q * x[lane]) * z


@kernel(fast=True)
def _plane(state: Words, steps: int, first: Any, second: Any, x: Array, y: Array) -> None:
    """Take ``steps`` of two parameters likewise: each is five numbers times (1, x, y, and two normals)."""
    s0, s1, s2, s3 = state[:BLOCK], state[BLOCK : 2 * BLOCK], state[2 * BLOCK : 3 * BLOCK], state[3 * BLOCK :]
    (u, a, b, f, g), (v, c, d, p, q) = first, second
    for _ in range(steps):
        for lane in range(BLOCK):
            word, k, m, n, r = _next(s0[lane], s1[lane], s2[lane], s3[lane])
            below, s0[lane], s1[lane], s2[lane], s3[lane] = _next(k, m, n, r)
            one, two = _pair(word, below)
            before = x[lane]
            x[lane] = u + a * before + b * y[lane] + f * one + g * two
            y[lane] = v + c * before + d * y[lane] + p * one + q * two


@kernel(fast=True)
def _few(model: Model, state: Words, steps: int, theta: Array) -> None:
    """Take ``steps`` of θ (d, BLOCK), d = 1, or 2 with additive noise, with two normals each."""
    shift, m = model.constant, model.linear
    if len(theta) == 1:
        along = np.zeros(2)
        for e in range(len(model.values)):
            along[model.loadings[2, e]] += model.values[e]
        own, first, second = (shift[0], m[0, 0]), (m[0, 1], along[0]), (m[0, 2], along[1])
        _line(state, steps, own, first, second, theta[0])
    else:
        one = shift[0], m[0, 0], m[0, 1], m[0, 2], m[0, 3]
        two = shift[1], m[1, 0], m[1, 1], m[1, 2], m[1, 3]
        _plane(state, steps, one, two, theta[0], theta[1])


@kernel(fast=True)
def _add_product(weight: float, left: Array, right: Array, target: Array) -> None:
    """Add weight * left * right to ``target``, lane by lane."""
    for lane in range(BLOCK):
        target[lane] += weight * left[lane] * right[lane]


@kernel(fast=True)
def _affine(
    matrix: Array, shift: Array, source: Array, at: int, own: int, beyond: int, target: Array, to: int
) -> None:  # fmt: skip
    """Set the rows of ``target`` (…, BLOCK) from ``to`` on to shift + matrix @ rows of ``source``.

    Columns of the (m, n) ``matrix`` are ``own`` rows from ``at`` on, then those from ``beyond`` on; zeros are skipped.
    Four a passage; fewer are filled up with the first of them, of weight 0. Arrays are not sliced here: to count
    references costs as much as a passage over lanes.
    """
    n, near, far = matrix.shape[1], at, beyond - own
    for i in range(matrix.shape[0]):
        constant, begun, j = shift[i], False, 0
        while j < n or not begun:
            count, p, q, r, s, a, b, c, d = 0, 0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0
            while j < n and count < 4:
                entry, row = matrix[i, j], j + (near if j < own else far)
                if entry != 0.0:
                    if count == 0:
                        a, p, q, r, s = entry, row, row, row, row
                    elif count == 1:
                        b, q = entry, row
                    elif count == 2:
                        c, r = entry, row
                    else:
                        d, s = entry, row
                    count += 1
                j += 1
            if begun and count:
                for lane in range(BLOCK):
                    more = a * source[p, lane] + b * source[q, lane] + c * source[r, lane] + d * source[s, lane]
                    target[to + i, lane] += more
            elif begun:
                break
            elif count < 2:
                for lane in range(BLOCK):
                    target[to + i, lane] = constant + (a * source[p, lane] if count else 0.0)
            elif count == 2:
                for lane in range(BLOCK):
                    target[to + i, lane] = constant + a * source[p, lane] + b * source[q, lane]
            else:
                for lane in range(BLOCK):
                    more = a * source[p, lane] + b * source[q, lane] + c * source[r, lane] + d * source[s, lane]
                    target[to + i, lane] = constant + more
            begun = True


@kernel(fast=True)
def _gaussian(
    loadings: Integers, values: Array, known: Array, at: int, beyond: int, target: Array, to: int
) -> None:  # fmt: skip
    """Add loadings of normals, ``known`` from row ``beyond`` on, by components of θ, from ``at`` on, to ``target``."""
    for e in range(len(values)):
        value, i, j, r = values[e], to + loadings[0, e], at + loadings[1, e], beyond + loadings[2, e]
        for lane in range(BLOCK):
            target[i, lane] += value * known[r, lane] * known[j, lane]


@kernel()
def _transform(pieces: Array, ends: Integers, guide: Integers, normals: Array) -> None:
    """Turn standard normals (draws, BLOCK), in place, into draws of the laws x(z), which take turns."""
    laws, cells = guide.shape
    for r in range(normals.shape[0]):
        law = r % laws
        row, end = normals[r], ends[law + 1] - 1
        for lane in range(BLOCK):
            z = row[lane]
            k = guide[law, min(max(int((z + EDGE) * (cells / (2 * EDGE))), 0), cells - 1)]
            while k < end and z >= pieces[k + 1, 0]:
                k += 1
            t = z - pieces[k, 0]
            row[lane] = pieces[k, 1] + t * (pieces[k, 2] + t * (pieces[k, 3] + t * pieces[k, 4]))


@kernel(fast=True)
def _minibatch(
    model: Model, theta: Array, words: Words, size: int, weight: float, order: Any, taken: int, target: Array
) -> None:
    """Add ``weight`` times the gradients of a minibatch to ``target``; a sample is rows [a | b] that mean a·θ + b.

    Without replacement ``order`` (N, BLOCK) holds a permutation per lane, of which the epoch has used ``taken`` places:
    each draw swaps a place at random among the rest to the front (Fisher and Yates). It is empty with replacement.
    """
    d, forms, values = theta.shape[0], 1 if model.kind == REGRESSION else theta.shape[0], model.values
    picked, form = np.empty(BLOCK, np.uint64), np.empty(BLOCK)
    for b in range(size):
        source, shift, width = words[b // 2], np.uint64(32 * (b % 2)), np.uint64(forms * (d + 1))
        if order.shape[0] == 0:
            for lane in range(BLOCK):
                draw = (source[lane] >> shift) & _LOW
                picked[lane] = ((draw * np.uint64(model.samples)) >> np.uint64(32)) * width
        else:
            place = taken + b
            rest = np.uint64(model.samples - place)
            for lane in range(BLOCK):
                draw = (source[lane] >> shift) & _LOW
                other = np.uint64(place) + ((draw * rest) >> np.uint64(32))
                chosen = order[other, lane]
                order[other, lane] = order[place, lane]
                order[place, lane] = chosen
                picked[lane] = np.uint64(chosen) * width
        for f in range(forms):
            for lane in range(BLOCK):
                form[lane] = 0.0
            for j in range(d + 1):
                column, factor = np.uint64(f * (d + 1) + j), theta[min(j, d - 1)]
                for lane in range(BLOCK):
                    form[lane] += values[picked[lane] + column] * (factor[lane] if j < d else 1.0)
            for i in range(d if forms == 1 else 1):
                row = target[f + i]
                for lane in range(BLOCK):
                    along = values[picked[lane] + np.uint64(i)] if model.kind == REGRESSION else 1.0
                    row[lane] += weight * along * form[lane]


@kernel(fast=True)
def _conditional(model: Model, theta: Array, normals: Array, target: Array, valid: int) -> int:
    """Add axes · chol(V(y)) ζ to ``target``; return how many pivots of the first ``valid`` lanes were negative."""
    d, count, indefinite, y = theta.shape[0], model.monomials.shape[1], 0, theta
    monomials, v = np.empty((count, BLOCK)), np.empty((len(model.offset), BLOCK))
    if model.frame.shape[0]:
        y = np.empty((d, BLOCK))
        _affine(model.frame, -model.place, theta, 0, d, d, y, 0)
    elif model.place.any():
        y = theta - model.place.reshape(d, 1)
    for c in range(count):
        k, m = model.monomials[:, c]
        product, first = monomials[c], y[k]
        if m < 0:
            product[:] = first
        else:
            second = y[m]
            for lane in range(BLOCK):
                product[lane] = first[lane] * second[lane]
    _affine(model.covariance, model.offset, monomials, 0, count, count, v, 0)
    turned = model.axes.shape[0] > 0
    into = np.zeros((d, BLOCK)) if turned else target
    if len(v) == d:  # the components are independent, given θ
        negative = 0.0
        for i in range(d):
            variances, normal, row = v[i], normals[i], into[i]
            for lane in range(BLOCK):
                variance = variances[lane]
                negative += 1.0 if variance < 0.0 else 0.0
                row[lane] += math.sqrt(variance if variance > 0.0 else 0.0) * normal[lane]
        if negative > 0.0:
            for lane in range(valid):
                indefinite += int(np.sum(v[:, lane] < -1e-12 * np.sum(v[:, lane])))
    else:
        indefinite = _correlated(v, normals, into, valid)
    if turned:
        for i in range(d):
            for j in range(d):
                for lane in range(BLOCK):
                    target[i, lane] += model.axes[i, j] * into[j, lane]
    return indefinite


@kernel(fast=True)
def _correlated(v: Array, normals: Array, target: Array, valid: int) -> int:
    """Add chol(V) ζ to ``target`` (d, BLOCK), ``v`` the lower triangle; return how many pivots were negative."""
    d, indefinite = target.shape[0], 0
    trace, inverse = np.zeros(BLOCK), np.empty(BLOCK)
    for j in range(d):
        diagonal = v[j * (j + 1) // 2 + j]
        for lane in range(BLOCK):
            trace[lane] += diagonal[lane]
    for j in range(d):
        column = j * (j + 1) // 2
        diagonal = v[column + j]
        for k in range(j):
            _add_product(-1.0, v[column + k], v[column + k], diagonal)
        for lane in range(BLOCK):
            pivot = diagonal[lane]
            indefinite += lane < valid and pivot < -1e-12 * trace[lane]
            root = math.sqrt(pivot if pivot > 0.0 else 0.0)
            diagonal[lane] = root
            inverse[lane] = 1.0 / root if root > 0.0 else 0.0
        _add_product(1.0, diagonal, normals[j], target[j])
        for i in range(j + 1, d):
            row = i * (i + 1) // 2
            below = v[row + j]
            for k in range(j):
                _add_product(-1.0, v[row + k], v[column + k], below)
            for lane in range(BLOCK):
                below[lane] *= inverse[lane]
            _add_product(1.0, below, normals[j], target[i])
    return indefinite


@kernel(fast=True)
def _scale(factor: float, rows: Array) -> None:
    """Multiply ``rows`` (m, BLOCK) by ``factor``."""
    for row in rows:
        for lane in range(BLOCK):
            row[lane] *= factor


@kernel(fast=True)
def _move(optimiser: Optimiser, learning_rate: float, gradient: Array, theta: Array, velocity: Array) -> None:
    """Take a step along ``gradient`` (d, BLOCK): v' = βv + g, θ' = θ − ηv', or Nesterov's θ' = θ − η(g + βv')."""
    for i in range(theta.shape[0]):
        place, speed, slope = theta[i], velocity[i], gradient[i]
        for lane in range(BLOCK):
            speed[lane] = optimiser.momentum * speed[lane] + slope[lane]
        for lane in range(BLOCK):
            ahead = slope[lane] + optimiser.momentum * speed[lane] if optimiser.nesterov else speed[lane]
            place[lane] -= learning_rate * ahead


@kernel(fast=True)
def _average(weight: float, theta: Array, mean: Array) -> None:
    """Move the running averages ``mean`` (d, BLOCK) towards ``theta``."""
    for i in range(theta.shape[0]):
        place, row = theta[i], mean[i]
        for lane in range(BLOCK):
            row[lane] += weight * (place[lane] - row[lane])


@kernel(fast=True)
def _begin(start: Start, state: Words, theta: Array) -> None:
    """Draw the initial states ``theta`` (d, BLOCK)."""
    d, columns = start.factor.shape
    gridded = len(start.cumulative) > 0
    if not gridded:
        normals = np.empty((columns + columns % 2, BLOCK))
        _normals(state, normals)
        _affine(start.factor, start.mean, normals, 0, columns, columns, theta, 0)
        return
    words = np.empty((d + 1, BLOCK), np.uint64)
    _words(state, words)
    for lane in range(BLOCK):
        mass = np.float64(words[d, lane] >> np.uint64(11)) * 2.0**-53 * start.cumulative[-1]
        cell, end = 0, len(start.cumulative) - 1
        while cell < end:  # the first cell whose cumulative mass exceeds `mass`, so never one without mass
            middle = (cell + end) // 2
            if start.cumulative[middle] > mass:
                end = middle
            else:
                cell = middle + 1
        for i in range(d - 1, -1, -1):
            inside = np.float64(words[i, lane] >> np.uint64(11)) * 2.0**-53
            theta[i, lane] = start.lower[i] + (cell % start.shape[i] + inside) * start.spacing[i]
            cell //= start.shape[i]


@kernel(fast=True)
def _observe(theta: Array, valid: int, s: int, plan: Plan, sums: Array, counts: Integers) -> None:
    """Set the block's moment sums (K,) and add to the counts (cells + 2): histogram, outside, non-finite."""
    d, ncells, product, scaled = theta.shape[0], len(counts) - 2, np.empty(BLOCK), np.empty(theta.shape)
    for i in range(d):
        centre, unit, row, source = plan.centre[s, i], plan.inverse_scale[s, i], scaled[i], theta[i]
        for lane in range(BLOCK):
            row[lane] = (source[lane] - centre) * unit if lane < valid else 0.0
    for k in range(plan.factors.shape[0]):
        axes, total = plan.factors[k], 0.0
        if len(axes) == 2 and axes[1] >= 0:  # most of the moments where there are many: lanes that do not count are 0
            i, j = axes
            for lane in range(BLOCK):
                total += scaled[i, lane] * scaled[j, lane]
        else:
            for lane in range(BLOCK):
                product[lane] = 1.0 if lane < valid else 0.0
            for i in axes:
                for lane in range(BLOCK if i >= 0 else 0):
                    product[lane] *= scaled[i, lane]
            for lane in range(BLOCK):
                total += product[lane]
        sums[k] = total
    for lane in range(valid):
        finite, inside, cell = True, True, 0
        for i in range(d):
            finite &= math.isfinite(theta[i, lane])
            position = (theta[i, lane] - plan.lower[i]) * plan.cells_per_unit[i]
            inside &= position >= 0.0 and position < plan.cells[i]  # false for NaN
            cell = cell * plan.cells[i] + (np.int64(position) if inside else 0)
        counts[ncells + 1] += not finite
        counts[cell if inside else ncells] += 1


@kernel(fast=True)
def _run_block(
    model: Model, start: Start, plan: Plan, keys: Words, block: int, valid: int, sums: Array, counts: Integers,
    places: Array,
) -> int:  # fmt: skip
    """Run one block through all steps; set its sums (S, K), add to counts (S, cells + 2), return negative pivots.

    Also sets ``places`` (S, d, BLOCK) to θ, if it is not empty.
    """
    d, minibatch, draws = len(model.constant), model.kind in (REGRESSION, SAMPLES), model.draws
    period = 1 if minibatch else 1 + draws % 2  # normals come in pairs: an odd number is drawn for two steps
    state, words = np.empty(4 * BLOCK, np.uint64), np.empty(((draws + 1) // 2 if minibatch else 0, BLOCK), np.uint64)
    known = np.empty((2 * d + (0 if minibatch else draws * period), BLOCK))  # θ before and after a step, and normals
    theta, target, fresh, at = known[:d], known[d : 2 * d], known[2 * d :], 0
    order = np.empty((0, BLOCK), np.int32)
    few = model.kind == GAUSSIAN and draws == 2 and (d == 1 or (d == 2 and len(model.values) == 0))
    _seed(keys, block, state)
    _begin(start, state, theta)
    indefinite, time, step = 0, 0, 0
    for s in range(len(plan.saved)):
        steps = (plan.saved[s] - step) * model.substeps
        if few:
            _few(model, state, steps, theta)
        for _ in range(0 if few else steps):
            phase = time % period
            beyond = 2 * d + phase * draws
            if minibatch:
                _words(state, words)
            elif phase == 0:
                _normals(state, fresh)
            if model.kind == TRANSFORMED:
                _transform(model.pieces, model.ends, model.guide, known[beyond : beyond + draws])
            _affine(model.linear, model.constant, known, at, d, beyond, known, d - at)
            if minibatch:
                _minibatch(model, theta, words, draws, model.weight, order, 0, target)
            else:
                _gaussian(model.loadings, model.values, known, at, beyond, known, d - at)
            if model.kind == CONDITIONAL:
                indefinite += _conditional(model, theta, known[beyond + draws - d :], target, valid)
            theta, target, at = target, theta, d - at
            time += 1
        step = plan.saved[s]
        _observe(theta, valid, s, plan, sums[s], counts[s])
        if places.size:
            places[s] = theta
    return indefinite


@kernel(fast=True)
def _run_moving_block(
    model: Model,
    optimiser: Optimiser,
    start: Start,
    plan: Plan,
    keys: Words,
    block: int,
    valid: int,
    sums: Array,
    counts: Integers,
) -> None:
    """Run one block like ``_run_block``, where the model is the gradient and the optimiser makes the step."""
    d, minibatch, draws = len(model.constant), model.kind in (REGRESSION, SAMPLES), model.draws
    period = 1 if minibatch else 1 + draws % 2
    size, weight, scale, taken = draws, model.weight, 1.0, 0
    most = max(draws, optimiser.sizes.max()) if minibatch and len(optimiser.sizes) else draws
    state, words = np.empty(4 * BLOCK, np.uint64), np.empty(((most + 1) // 2 if minibatch else 0, BLOCK), np.uint64)
    known = np.empty((d if minibatch else d + most * period, BLOCK))  # θ above its normals
    theta = known[:d]
    gradient, velocity = np.empty((d, BLOCK)), np.zeros((d, BLOCK))
    order = np.empty((model.samples if optimiser.epoch else 0, BLOCK), np.int32)
    for i in range(order.shape[0]):
        order[i] = i
    _seed(keys, block, state)
    _begin(start, state, theta)
    step, averaged = 0, len(optimiser.averaging) > 0
    mean = theta.copy() if averaged else theta
    for s in range(len(plan.saved)):
        while step < plan.saved[s]:
            if len(optimiser.sizes):
                size = optimiser.sizes[min(step, len(optimiser.sizes) - 1)]
                weight, scale = model.weight * draws / size, 1 / math.sqrt(size)
            if minibatch:
                _affine(model.linear, model.constant, theta, 0, d, d, gradient, 0)
                _words(state, words[: (size + 1) // 2])
                taken = step % optimiser.epoch * size if optimiser.epoch else 0
                _minibatch(model, theta, words, size, weight, order, taken, gradient)
            else:
                phase = step % period
                if phase == 0:
                    _normals(state, known[d:])
                beyond = d + phase * draws
                fresh = known[beyond : beyond + draws]
                if model.kind == TRANSFORMED:
                    _transform(model.pieces, model.ends, model.guide, fresh)
                _scale(scale, fresh)
                _affine(model.linear, model.constant, known, 0, d, beyond, gradient, 0)
                _gaussian(model.loadings, model.values, known, 0, beyond, gradient, 0)
                if model.kind == CONDITIONAL:
                    _conditional(model, theta, fresh[draws - d :], gradient, valid)
            learning_rate = optimiser.learning_rates[min(step, len(optimiser.learning_rates) - 1)]
            _move(optimiser, learning_rate, gradient, theta, velocity)
            if averaged:
                _average(optimiser.averaging[min(step, len(optimiser.averaging) - 1)], theta, mean)
            step += 1
        _observe(mean, valid, s, plan, sums[s], counts[s])


@kernel(fast=True)
def _rank_ones(values: Array, rows: Integers, weight: float, theta: Array, gradient: Array) -> None:
    """Add weight Σ x (x·θ + b) to ``gradient`` (d,) over samples [x | b] that begin at ``rows`` of ``values``.

    Four at a time, which read θ and write the gradient once together: samples are in the first-level cache by then.
    """
    d, first = len(theta), 0
    while first + 4 <= len(rows):
        k, m, n, r = rows[first], rows[first + 1], rows[first + 2], rows[first + 3]
        one, two, three, four = values[k:], values[m:], values[n:], values[r:]
        p, q, s, t = one[d], two[d], three[d], four[d]
        for j in range(d):
            p += one[j] * theta[j]
            q += two[j] * theta[j]
            s += three[j] * theta[j]
            t += four[j] * theta[j]
        p, q, s, t = weight * p, weight * q, weight * s, weight * t
        for j in range(d):
            gradient[j] += p * one[j] + q * two[j] + s * three[j] + t * four[j]
        first += 4
    for k in rows[first:]:
        one = values[k:]
        p = one[d]
        for j in range(d):
            p += one[j] * theta[j]
        p *= weight
        for j in range(d):
            gradient[j] += p * one[j]


@kernel(fast=True)
def _walk(
    model: Model, optimiser: Optimiser, scaling: Array, state: Words, lane: int, first: int, last: int,
    theta: Array, velocity: Array, mean: Array, gradient: Array, rows: Integers, order: Any,
) -> None:  # fmt: skip
    """Take the steps ``first`` to ``last`` of one trajectory of minibatches, ``theta`` (d,), with its lane's words.

    ``scaling`` (d,) is the diagonal of the model's linear part, if that is diagonal, else empty; ``mean`` (d,) the
    running average, if there is one, else empty; ``rows`` has room for a minibatch; ``order`` (N,) is the permutation
    of ``_minibatch``. The same draws in the same order as there.
    """
    d, form, width = len(theta), 0.0, len(model.values) // model.samples
    a, b, c, e = state[lane], state[BLOCK + lane], state[2 * BLOCK + lane], state[3 * BLOCK + lane]
    size, weight, taken, word = model.draws, model.weight, 0, np.uint64(0)
    for step in range(first, last):
        if len(optimiser.sizes):
            size = optimiser.sizes[min(step, len(optimiser.sizes) - 1)]
            weight = model.weight * model.draws / size
        if len(order):
            taken = step % optimiser.epoch * size
        if len(scaling):
            for i in range(d):
                gradient[i] = model.constant[i] + scaling[i] * theta[i]
        else:
            for i in range(d):
                form, row = model.constant[i], model.linear[i]
                for j in range(d):
                    form += row[j] * theta[j]
                gradient[i] = form
        for draw in range(size):
            if draw % 2 == 0:
                word, a, b, c, e = _next(a, b, c, e)
            half = (word >> np.uint64(32 * (draw % 2))) & _LOW
            place = taken + draw if len(order) else 0
            picked = place + np.int64((half * np.uint64(model.samples - place)) >> np.uint64(32))
            if len(order):
                chosen = order[picked]
                order[picked], order[place] = order[place], chosen
                picked = np.int64(chosen)
            rows[draw] = picked * width
        if model.kind == REGRESSION:
            _rank_ones(model.values, rows[:size], weight, theta, gradient)
        else:
            for begin in rows[:size]:
                for i in range(d):
                    row = model.values[begin + i * (d + 1) : begin + (i + 1) * (d + 1)]
                    form = row[d]
                    for j in range(d):
                        form += row[j] * theta[j]
                    gradient[i] += weight * form
        if len(optimiser.learning_rates):
            learning_rate = optimiser.learning_rates[min(step, len(optimiser.learning_rates) - 1)]
            for i in range(d):
                velocity[i] = optimiser.momentum * velocity[i] + gradient[i]
                ahead = gradient[i] + optimiser.momentum * velocity[i] if optimiser.nesterov else velocity[i]
                theta[i] -= learning_rate * ahead
        else:
            for i in range(d):
                theta[i] = gradient[i]
        if len(mean):
            weight_of_mean = optimiser.averaging[min(step, len(optimiser.averaging) - 1)]
            for i in range(d):
                mean[i] += weight_of_mean * (theta[i] - mean[i])
    state[lane], state[BLOCK + lane], state[2 * BLOCK + lane], state[3 * BLOCK + lane] = a, b, c, e


@kernel(fast=True)
def _run_alone(
    model: Model, optimiser: Optimiser, start: Start, plan: Plan, keys: Words, block: int, valid: int, sums: Array,
    counts: Integers,
) -> None:  # fmt: skip
    """Run one block of minibatches like ``_run_block`` or ``_run_moving_block``, one trajectory after the other."""
    d = len(model.constant)
    state, theta, gradient = np.empty(4 * BLOCK, np.uint64), np.empty((d, BLOCK)), np.empty(d)
    own, velocity = np.empty((BLOCK, d)), np.zeros((BLOCK, d if len(optimiser.learning_rates) else 0))
    order = np.empty((BLOCK, model.samples if optimiser.epoch else 0), np.int32)
    for i in range(order.shape[1]):
        order[:, i] = i
    rows = np.empty(max(model.draws, optimiser.sizes.max()) if len(optimiser.sizes) else model.draws, np.int64)
    diagonal = True
    for i in range(d):
        for j in range(d):
            diagonal &= i == j or model.linear[i, j] == 0.0
    scaling = np.diag(model.linear).copy() if diagonal else np.empty(0)
    _seed(keys, block, state)
    _begin(start, state, theta)
    own[:] = theta.T
    averaged = len(optimiser.averaging) > 0
    mean = own.copy() if averaged else np.empty((BLOCK, 0))
    step = 0
    for s in range(len(plan.saved)):
        for lane in range(valid):
            at, speed, average, places = own[lane], velocity[lane], mean[lane], order[lane]
            _walk(
                model, optimiser, scaling, state, lane, step, plan.saved[s], at, speed, average, gradient, rows, places
            )  # fmt: skip
        theta[:] = mean.T if averaged else own.T
        step = plan.saved[s]
        _observe(theta, valid, s, plan, sums[s], counts[s])


@kernel(parallel=True)
def run(
    model: Model,
    optimiser: Optimiser,
    start: Start,
    plan: Plan,
    keys: Words,
    first: int,
    trajectories: int,
    sums: Array,
    counts: Integers,
    indefinite: Integers,
    places: Array,
) -> None:
    """Run the blocks ``first`` ... first + len(sums) - 1; each slot counts for itself, each block sums for itself.

    Blocks without an optimiser also leave their ``places`` (blocks, S, d, BLOCK), if that is not empty.
    """
    for slot in numba.prange(counts.shape[0]):
        for b in range(slot, sums.shape[0], counts.shape[0]):
            valid = min(BLOCK, trajectories - (first + b) * BLOCK)
            if model.kind in (REGRESSION, SAMPLES) and len(model.constant) >= ALONE:
                _run_alone(model, optimiser, start, plan, keys, first + b, valid, sums[b], counts[slot])
            elif len(optimiser.learning_rates) > 0:
                _run_moving_block(model, optimiser, start, plan, keys, first + b, valid, sums[b], counts[slot])
            else:
                indefinite[slot] += _run_block(
                    model, start, plan, keys, first + b, valid, sums[b], counts[slot], places[b]
                )


@kernel()
def fold(sums: Array, first: int, trajectories: int, total: Array, total_square: Array) -> None:
    """Add the blocks' ``sums`` (blocks, S, K) to the totals (S, K), one block after the other."""
    for b in range(sums.shape[0]):
        valid = min(BLOCK, trajectories - (first + b) * BLOCK)
        for s in range(sums.shape[1]):
            for k in range(sums.shape[2]):
                total[s, k] += sums[b, s, k]
                total_square[s, k] += sums[b, s, k] * sums[b, s, k] / valid
