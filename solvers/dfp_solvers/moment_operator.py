"""Exact recursions for central moments of order up to four, in up to three dimensions (T9 and its higher orders).

The unknowns are E[μ^β x^α] with x = θ − μ and |α| + |β| <= order: the mean μ moves deterministically, so these products
close among themselves, move linearly with a constant matrix, and never subtract large numbers. The matrix is built once
by polynomial algebra; polynomials are dictionaries {exponents of (μ, x): coefficient}.
"""

from itertools import combinations_with_replacement, permutations
from math import factorial

import numpy as np

from dfp_solvers.arrays import Array

Exponents = tuple[int, ...]
Polynomial = dict[Exponents, float]


def basis(dimension: int, order: int) -> list[Exponents]:
    """Return the exponents of all monomials in (μ, x), 2d variables, of degree up to ``order``, by degree."""
    variables = 2 * dimension
    return [
        tuple(chosen.count(v) for v in range(variables))
        for degree in range(order + 1)
        for chosen in combinations_with_replacement(range(variables), degree)
    ]


def map_matrix(drift: Array, offset: Array, noise: list[Array | None], order: int, *, truncated: bool) -> Array:
    """Return the one-step matrix of a map with mean motion θ − drift·θ − offset, acting on moments in ``basis`` order.

    Parameters
    ----------
    drift, offset
        K (d, d) and k (d,) per step.
    noise
        Cumulants of one step's noise of order 2, 3, 4 as homogeneous polynomials in φ = (1, θ): arrays of shape
        (d,)*n + (d+1,)*n, or None where they vanish.
    truncated
        True for the discrete Fokker–Planck equation (T5): only raw increments of first and second order act.
    """
    d = len(offset)
    motion = [_linear(-drift[i], -offset[i], d, mean=True, deviation=False) for i in range(d)]
    pushed = [_linear(-drift[i], -offset[i], d, mean=True, deviation=True) for i in range(d)]
    mean = [_sum(_variable(i, d), motion[i]) for i in range(d)]
    cumulants = {index: value for order_ in noise if order_ is not None for index, value in _entries(order_, d)}
    if truncated:
        # x' = θ − μ' before the increment is taken; the increment's raw moments are the drift and S (T5).
        place = [_sum(_variable(d + i, d), _scaled(motion[i], -1.0)) for i in range(d)]
        increments: dict[tuple[int, ...], Polynomial] = {(i,): pushed[i] for i in range(d)}
        for i in range(d):
            for j in range(d):
                increments[i, j] = _sum(cumulants.get((i, j), {}), _product(pushed[i], pushed[j]))
    else:
        place = [_linear(np.eye(d)[i] - drift[i], 0.0, d, mean=False, deviation=True) for i in range(d)]
        increments = _raw_moments(cumulants, d, order)
    images = {}
    for monomial in basis(d, order):
        image = _substituted({monomial: 1.0}, mean + place)
        for index, moment in increments.items():
            derived = {monomial: 1.0 / factorial(len(index))}
            for i in index:
                derived = _derivative(derived, d + i)
            if derived:
                image = _sum(image, _product(moment, _substituted(derived, mean + place)))
        images[monomial] = image
    return _matrix(images, basis(d, order))


def generator_matrix(drift: Array, offset: Array, diffusion: Array, order: int) -> Array:
    """Return the matrix L of d/dt moments = L moments for dθ = −(drift θ + offset) dt + noise, in ``basis`` order.

    Parameters
    ----------
    diffusion
        Second cumulant gained per unit of time as a polynomial in φ = (1, θ), shape (d, d, d+1, d+1).
    """
    d = len(offset)
    motion = [_linear(-drift[i], -offset[i], d, mean=True, deviation=False) for i in range(d)]
    pulled = [_linear(-drift[i], 0.0, d, mean=False, deviation=True) for i in range(d)]
    second = dict(_entries(diffusion, d))
    images = {}
    for monomial in basis(d, order):
        image: Polynomial = {}
        for i in range(d):
            image = _sum(image, _product(motion[i], _derivative({monomial: 1.0}, i)))
            first = _derivative({monomial: 1.0}, d + i)
            image = _sum(image, _product(pulled[i], first))
            for j in range(d):
                image = _sum(image, _product(second.get((i, j), {}), _scaled(_derivative(first, d + j), 0.5)))
        images[monomial] = image
    return _matrix(images, basis(d, order))


def start(mean: Array, central: list[Array], order: int) -> Array:
    """Return the moments in ``basis`` order from the mean (d,) and central moment tensors of order 2, 3, …"""
    d = len(mean)
    values = []
    for exponents in basis(d, order):
        index = tuple(i for i in range(d) for _ in range(exponents[d + i]))
        centred = 1.0 if not index else 0.0 if len(index) == 1 else float(central[len(index) - 2][index])
        values.append(float(np.prod(mean ** np.array(exponents[:d]))) * centred)
    return np.array(values)


def central_moments(values: Array, dimension: int, order: int) -> list[Array]:
    """Return mean (…, d) and central moment tensors of order 2 … ``order`` from moments in ``basis`` order."""
    position = {exponents: i for i, exponents in enumerate(basis(dimension, order))}
    lead = values.shape[:-1]
    result = [np.stack([values[..., position[_unit(i, dimension)]] for i in range(dimension)], axis=-1)]
    for n in range(2, order + 1):
        tensor = np.empty((*lead, *(dimension,) * n))
        for index in np.ndindex(*(dimension,) * n):
            exponents = [0] * (2 * dimension)
            for i in index:
                exponents[dimension + i] += 1
            tensor[(..., *index)] = values[..., position[tuple(exponents)]]
        result.append(tensor)
    return result


def _unit(i: int, d: int) -> Exponents:
    return tuple(int(v == i) for v in range(2 * d))


def _variable(i: int, d: int) -> Polynomial:
    return {_unit(i, d): 1.0}


def _linear(row: Array, constant: float, d: int, *, mean: bool, deviation: bool) -> Polynomial:
    """Return row·(μ if mean, + x if deviation) + constant."""
    result: Polynomial = {(0,) * (2 * d): float(constant)}
    for i in range(d):
        if mean:
            result[_unit(i, d)] = float(row[i])
        if deviation:
            result[_unit(d + i, d)] = float(row[i])
    return {e: c for e, c in result.items() if c != 0}


def _entries(tensor: Array, d: int) -> list[tuple[tuple[int, ...], Polynomial]]:
    """Return (index, polynomial in (μ, x)) of every component of a homogeneous tensor in φ = (1, μ + x)."""
    n = tensor.ndim // 2
    one: Polynomial = {(0,) * (2 * d): 1.0}
    phi = [one] + [_sum(_variable(i, d), _variable(d + i, d)) for i in range(d)]
    powers: dict[tuple[int, ...], Polynomial] = {}
    for factors in combinations_with_replacement(range(d + 1), n):
        product = one
        for a in factors:
            product = _product(product, phi[a])
        powers[factors] = product
    result: list[tuple[tuple[int, ...], Polynomial]] = []
    for index in np.ndindex(*(d,) * n):
        total: Polynomial = {}
        for factors, power in powers.items():
            coefficient = sum(float(tensor[index + p]) for p in set(permutations(factors)))
            if coefficient:
                total = _sum(total, _scaled(power, coefficient))
        if total:
            result.append((index, total))
    return result


def _raw_moments(cumulants: dict[tuple[int, ...], Polynomial], d: int, order: int) -> dict[tuple[int, ...], Polynomial]:
    """Return the moments of order 2 … ``order`` of zero-mean noise with the given cumulants."""
    moments = dict(cumulants)
    if order >= 4:
        for i, j, k, m in np.ndindex(d, d, d, d):
            total = cumulants.get((i, j, k, m), {})
            for a, b in (((i, j), (k, m)), ((i, k), (j, m)), ((i, m), (j, k))):
                total = _sum(total, _product(cumulants.get(a, {}), cumulants.get(b, {})))
            moments[i, j, k, m] = total
    return {index: value for index, value in moments.items() if value and len(index) <= order}


def _sum(a: Polynomial, b: Polynomial) -> Polynomial:
    result = dict(a)
    for exponents, coefficient in b.items():
        result[exponents] = result.get(exponents, 0.0) + coefficient
    return result


def _scaled(a: Polynomial, factor: float) -> Polynomial:
    return {exponents: factor * coefficient for exponents, coefficient in a.items()}


def _product(a: Polynomial, b: Polynomial) -> Polynomial:
    result: Polynomial = {}
    for e, c in a.items():
        for f, g in b.items():
            key = tuple(map(sum, zip(e, f, strict=True)))
            result[key] = result.get(key, 0.0) + c * g
    return result


def _derivative(a: Polynomial, variable: int) -> Polynomial:
    result = {}
    for exponents, coefficient in a.items():
        power = exponents[variable]
        if power:
            result[(*exponents[:variable], power - 1, *exponents[variable + 1 :])] = coefficient * power
    return result


def _substituted(a: Polynomial, replacements: list[Polynomial]) -> Polynomial:
    result: Polynomial = {}
    for exponents, coefficient in a.items():
        term: Polynomial = {(0,) * len(exponents): coefficient}
        for variable, power in enumerate(exponents):
            for _ in range(power):
                term = _product(term, replacements[variable])
        result = _sum(result, term)
    return result


def _matrix(images: dict[Exponents, Polynomial], order: list[Exponents]) -> Array:
    """Return rows: the coefficients of each monomial's image."""
    position = {exponents: i for i, exponents in enumerate(order)}
    matrix = np.zeros((len(order), len(order)))
    for monomial, image in images.items():
        for exponents, coefficient in image.items():
            matrix[position[monomial], position[exponents]] += coefficient
    return matrix
