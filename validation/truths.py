"""Random problems whose density is known without the solvers.

Gaussians, mixtures, paths, Student t, polynomials; and what a smooth representation does not show: combs, atoms of
narrow starts, histograms and boxes, heavy tails, waves that (T5) amplifies, grids that cut the density, laws with
kinks, zeros, poles and lattices; optimisers, averages of iterates, directions, and nonlinear landscapes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise, product
from math import factorial
from typing import Any

import numpy as np
from numpy.polynomial import Polynomial
from scipy import stats
from scipy.linalg import expm
from scipy.stats import t as student_t

import dfp
from dfp.problem.averaged_equation import AveragedEquation
from dfp.problem.averages import Average
from dfp.problem.equation import Equation


@dataclass(frozen=True)
class Truth:
    """A problem, and its exact density after ``steps``, a function of points (..., d)."""

    kind: str
    equation: Equation | AveragedEquation
    initial: dfp.Gaussian | dfp.Density
    steps: int
    density: Callable[[np.ndarray], np.ndarray]
    grid: dfp.Grid | None = None
    """Where the density is asked for; chosen by the solver if left out."""
    directions: np.ndarray | None = None
    """U (d, k), where the density is that of Uᵀθ."""


def random_truth(seed: int) -> Truth:
    """Return one of the kinds below, in turn, with random parameters."""
    return KINDS[seed % len(KINDS)](np.random.default_rng(seed))


def random_linear(rng: np.random.Generator, d: int, number: str) -> Equation:
    """A linear problem with additive noise, a rotated bowl or valley."""
    axes = np.linalg.qr(rng.standard_normal((d, d)))[0]
    curvatures = rng.uniform(0.1, 1.5, d) * (rng.random(d) > 0.15)
    square = rng.standard_normal((d, d))
    noise = dfp.GaussianNoise(square @ square.T + 0.2 * np.eye(d))
    hessian = (axes * curvatures) @ axes.T if rng.random() < 0.7 else np.diag(curvatures)
    sgd = dfp.SGD(dfp.QuadraticLandscape(hessian, rng.uniform(-1, 1, d), noise), np.exp(rng.uniform(-4, -0.7)))
    makers: dict[str, Callable[[dfp.SGD], Equation]] = {
        "T4": dfp.MasterEquation,
        "T6": dfp.Langevin,
        "T7": lambda sgd: dfp.ModifiedLangevin(sgd, matched=False),
        "T7m+": lambda sgd: dfp.ModifiedLangevin(sgd, positive=True),
    }
    return makers[number](sgd)


def moved(equation: Equation, mean: np.ndarray, covariance: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance after ``steps``: step by step for maps, by Van Loan's block exponential for generators."""
    d, drift, offset = len(mean), equation.linear_drift, equation.constant_drift
    noise = equation.diffusion(np.zeros(d))
    if equation.discrete:
        factor = np.eye(d) - drift
        for _ in range(steps):
            mean, covariance = factor @ mean - offset, factor @ covariance @ factor.T + noise
        return mean, covariance
    # A step at a time, for the factor is the inverse of what grows.
    time = equation.sgd.learning_rate
    block = expm(time * np.block([[drift, noise], [np.zeros((d, d)), -drift.T]]))
    factor = np.linalg.inv(block[:d, :d])
    gained = factor @ block[:d, d:]
    shift = expm(time * np.block([[-drift, -offset[:, None]], [np.zeros((1, d + 1))]]))[:d, d]
    for _ in range(steps):
        mean, covariance = factor @ mean + shift, factor @ covariance @ factor.T + (gained + gained.T) / 2
    return mean, covariance


def linear(rng: np.random.Generator) -> Truth:
    """Additive noise from a Gaussian: a Gaussian."""
    d = int(rng.choice([1, 2, 2, 3]))
    equation = random_linear(rng, d, str(rng.choice(["T4", "T6", "T7", "T7m+"])))
    square = rng.standard_normal((d, d))
    start = dfp.Gaussian(rng.uniform(-1, 1, d), (square @ square.T + 0.3 * np.eye(d)) * np.exp(rng.uniform(-4, 0)))
    steps = int(np.exp(rng.uniform(0, 5)))
    return Truth(
        "linear", equation, start, steps, dfp.Gaussian(*moved(equation, start.mean, start.covariance, steps)).density
    )


def blend(parts: list[dfp.Gaussian]) -> Callable[[np.ndarray], np.ndarray]:
    """Return the density of a mixture of equal shares."""

    def density(points: np.ndarray) -> np.ndarray:
        total: np.ndarray = np.sum([part.density(points) for part in parts], axis=0)
        return total / len(parts)

    return density


def mixture(rng: np.random.Generator) -> Truth:
    """Additive noise from a gridded mixture of two Gaussians: the mixture of what becomes of each."""
    d = int(rng.choice([1, 2]))
    equation = random_linear(rng, d, str(rng.choice(["T4", "T6", "T7m+"])))
    parts = [dfp.Gaussian(rng.uniform(-1, 1, d), rng.uniform(0.05, 0.4, d)) for _ in range(2)]
    grid = dfp.Grid(np.full(d, -6.0), np.full(d, 6.0), {1: 600, 2: 220}[d])
    start = dfp.Density(grid, sum(part.density(grid.points) for part in parts) / 2)
    steps = int(np.exp(rng.uniform(0, 4)))
    after = [dfp.Gaussian(*moved(equation, part.mean, part.covariance, steps)) for part in parts]
    return Truth("mixture", equation, start, steps, blend(after))


def student(rng: np.random.Generator) -> Truth:
    """Langevin with noise D + Γθ² from its stationary Student t law, which stays."""
    noise, spread = np.exp(rng.uniform(-2, 0)), np.exp(rng.uniform(-3, 0))
    rate = np.exp(rng.uniform(-3.5, -1.5))
    sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], 0.0, dfp.GaussianNoise([noise], [spread])), rate)
    freedom = 1 + 2 / (rate * spread)
    law = student_t(freedom, scale=np.sqrt(noise / (spread * freedom)))
    edge = float(-law.ppf(1e-11))
    grid = dfp.Grid(-edge, edge, int(np.clip(edge / law.std() * 40, 400, 20000)))
    start = dfp.Density.normalised(grid, law.pdf(grid.axes[0]))
    return Truth("student", dfp.Langevin(sgd), start, int(rng.integers(1, 60)), lambda points: law.pdf(points[..., 0]))


def paths(rng: np.random.Generator) -> Truth:
    """A few steps of a small finite sum from a Gaussian: one Gaussian for each path of minibatches."""
    d, batch = int(rng.choice([1, 2])), int(rng.choice([1, 2]))
    features, targets = 0.8 * rng.standard_normal((4, d)), rng.standard_normal(4)
    rate, steps = np.exp(rng.uniform(-3, -1)), int(rng.integers(1, 3))
    equation = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape.from_regression(features, targets, batch), rate))
    start = dfp.Gaussian(rng.uniform(-0.5, 0.5, d), rng.uniform(0.05, 0.3, d))
    states = [(start.mean, np.eye(d))]
    for _ in range(steps):
        after = []
        for (mean, factor), chosen in product(states, product(range(4), repeat=batch)):
            x, y = features[list(chosen)], targets[list(chosen)]
            one = np.eye(d) - rate * x.T @ x / batch
            after.append((one @ mean + rate * x.T @ y / batch, one @ factor))
        states = after
    parts = [dfp.Gaussian(mean, factor @ start.covariance @ factor.T) for mean, factor in states]
    return Truth("paths", equation, start, steps, blend(parts))


def polynomial(rng: np.random.Generator) -> Truth:
    """A few steps of (T5) in 1D from a Gaussian: its operator takes polynomials times that Gaussian to such again."""
    curvature, noise, spread = rng.uniform(0.3, 1.2), np.exp(rng.uniform(-2, 0)), rng.choice([0.0, 0.2])
    rate, steps = np.exp(rng.uniform(-4.5, -2.5)), int(rng.integers(1, 7))
    sgd = dfp.SGD(dfp.QuadraticLandscape([curvature], 0.0, dfp.GaussianNoise([noise], [spread])), rate)
    start = dfp.Gaussian(rng.uniform(-0.5, 0.5), np.exp(rng.uniform(-2, 0)))
    mean, deviation = start.mean[0], float(np.sqrt(start.covariance[0, 0]))
    theta = Polynomial([mean, deviation])  # in units z of the Gaussian
    gradient, second = curvature * theta, noise + (spread + curvature**2) * theta**2

    def slope(part: Polynomial) -> Polynomial:
        # d/dθ of part(z) φ(z)
        return (part.deriv() - Polynomial([0.0, 1.0]) * part) / deviation

    part = Polynomial([1.0])
    for _ in range(steps):
        part = part + rate * slope(gradient * part) + rate**2 / 2 * slope(slope(second * part))

    def density(points: np.ndarray) -> np.ndarray:
        z = (points[..., 0] - mean) / deviation
        return part(z) * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) / deviation

    return Truth("polynomial", dfp.DiscreteFokkerPlanck(sgd), start, steps, density)


def kernels(points: np.ndarray, places: np.ndarray, variance: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Sum of Gaussians (m,) at points (n, 1) of a line, a few at a time."""
    parts = np.array_split(points[..., 0], 1 + points.size * places.size // 2**22)
    return np.concatenate(
        [np.exp(-((x[:, None] - places) ** 2) / 2 / variance) / np.sqrt(2 * np.pi * variance) @ mass for x in parts]
    )


def comb(rng: np.random.Generator) -> Truth:
    """Narrow peaks on a grid, a few steps with noise that depends on θ: the transition integral on dense nodes."""
    noise, spread, rate = np.exp(rng.uniform(-4.5, -2)), np.exp(rng.uniform(-5, -2)), rng.uniform(0.05, 0.3)
    sgd = dfp.SGD(dfp.QuadraticLandscape([rng.uniform(0.3, 1)], 0.0, dfp.GaussianNoise([noise], [spread])), rate)
    apart, width = rng.uniform(0.2, 0.5), rng.uniform(0.04, 0.08)
    peaks = apart * np.arange(-4, 5)
    weights = rng.dirichlet(np.ones(9))

    def first(x: np.ndarray) -> np.ndarray:
        return stats.norm.pdf(x[:, None], peaks, width) @ weights

    grid = dfp.Grid(-4, 4, 1600)
    start = dfp.Density.normalised(grid, first(grid.axes[0]))
    equation, nodes = dfp.MasterEquation(sgd), np.linspace(-4, 4, 3001)
    places, variance = (1 - equation.linear_drift.item()) * nodes, equation.diffusion(nodes[:, None])[:, 0, 0]
    mass, steps = first(nodes) * (nodes[1] - nodes[0]), int(rng.integers(1, 4))
    for _ in range(steps - 1):
        mass = kernels(nodes[:, None], places, variance, mass) * (nodes[1] - nodes[0])
    return Truth("comb", equation, start, steps, lambda points: kernels(points, places, variance, mass))


def atoms(rng: np.random.Generator) -> Truth:
    """One or two steps of two or three samples in large minibatches, from narrow starts: a Gaussian for each choice."""
    count, batch = [(2, 16), (2, 4), (3, 8)][rng.integers(3)]
    x, y, rate = rng.standard_normal(count), rng.standard_normal(count), np.exp(rng.uniform(-3, -1.2))
    equation = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape.from_regression(x[:, None], y, batch), rate))
    start = dfp.Gaussian(rng.uniform(-0.5, 0.5), np.exp(rng.uniform(-11, -2)))
    chosen = np.array([c for c in product(range(batch + 1), repeat=count) if sum(c) == batch])
    weight = np.array([factorial(batch) / np.prod([float(factorial(k)) for k in c]) / count**batch for c in chosen])
    slope = 1 - rate * chosen @ x**2 / batch
    shift = rate * chosen @ (x * y) / batch
    mean, factor, mass = start.mean.copy(), np.ones(1), np.ones(1)
    steps = int(rng.integers(1, 3))
    for _ in range(steps):
        mean = np.add.outer(np.zeros_like(slope), mean) * slope[:, None] + shift[:, None]
        mean, factor, mass = mean.ravel(), np.outer(slope, factor).ravel(), np.outer(weight, mass).ravel()
    variance = factor**2 * start.covariance.item()
    return Truth("atoms", equation, start, steps, lambda points: kernels(points, mean, variance, mass))


def histogram(rng: np.random.Generator) -> Truth:
    """A histogram or a box as start: a Gaussian for each cell, which stands for a point at its centre."""
    number = str(rng.choice(["T4", "T4", "T6"]))
    cells = int(rng.choice([60, 100, 160]))
    grid = dfp.Grid(-2, 2, cells)
    if rng.random() < 0.5:
        values = np.histogram(rng.normal(0, 0.5, 1000), bins=grid.edges[0])[0].astype(float)
    else:
        values = (np.abs(grid.axes[0] - rng.uniform(-0.3, 0.3)) < rng.uniform(0.4, 1)).astype(float)
    start = dfp.Density.normalised(grid, values)
    spread = float(rng.choice([0.0, 0.2])) if number == "T4" else 0.0
    # The first step must blur the cells, or there is no density to speak of.
    rate = rng.uniform(0.1, 0.4)
    noise = (grid.spacing[0] * rng.uniform(0.8, 5) / rate) ** 2
    sgd = dfp.SGD(dfp.QuadraticLandscape([rng.uniform(0.2, 1)], 0.0, dfp.GaussianNoise([noise], [spread])), rate)
    equation = (dfp.MasterEquation if number == "T4" else dfp.Langevin)(sgd)
    x, mass = grid.axes[0], start.values * grid.cell_volume
    steps = 1 if spread else int(rng.integers(1, 6))
    if spread:
        places, variance = (1 - equation.linear_drift.item()) * x, equation.diffusion(x[:, None])[:, 0, 0]
    else:
        ends = [moved(equation, np.array([a]), np.zeros((1, 1)), steps) for a in (0.0, 1.0)]
        places = ends[0][0] + (ends[1][0] - ends[0][0]) * x
        variance = np.full(x.shape, ends[0][1].item())
    return Truth("histogram", equation, start, steps, lambda points: kernels(points, places, variance, mass))


def heavy(rng: np.random.Generator) -> Truth:
    """Langevin with tails too heavy for a variance: in arcsinh θ the noise is constant; waves on dense nodes."""
    curvature, rate, steps = rng.uniform(0.3, 1), rng.uniform(0.05, 0.2), int(rng.integers(5, 40))
    noise = rng.uniform(0.2, 0.8)
    index = rng.uniform(1.1, 3.5)
    spread = 2 * curvature / (rate * (index - 1))
    sgd = dfp.SGD(dfp.QuadraticLandscape([curvature], 0.0, dfp.GaussianNoise([noise], [spread])), rate)
    unit = np.sqrt(noise / spread)
    start = dfp.Gaussian(rng.uniform(-3, 3) * unit, (rng.uniform(0.8, 2) * unit) ** 2)
    strength = rate * spread
    pull = curvature + strength / 2
    x = np.linspace(-32, 32, 641)
    h, apart = x[1] - x[0], np.subtract.outer(np.arange(641), np.arange(641))
    sign, safe = (-1.0) ** apart, np.where(apart == 0, 1, apart)
    first = np.where(apart == 0, 0.0, sign / safe) / h
    second = np.where(apart == 0, -(np.pi**2) / 3, -2 * sign / safe**2) / h**2
    motion = first * (pull * np.tanh(x)) + strength / 2 * second
    p = start.density(unit * np.sinh(x)[:, None]) * unit * np.cosh(x)
    p = expm(motion * steps * rate) @ p

    def density(points: np.ndarray) -> np.ndarray:
        place = np.arcsinh(points[..., 0] / unit)
        parts = np.array_split(place, 1 + place.size // 2000)
        found = np.concatenate([np.sinc((part[:, None] - x) / h) @ p for part in parts])
        return np.maximum(found, 0.0) / (unit * np.cosh(place))

    return Truth("heavy", dfp.Langevin(sgd), start, steps, density)


def amplified(rng: np.random.Generator) -> Truth:
    """(T5) on a flat mode for several steps: it may amplify waves of the start until there is no density left."""
    noise, rate = rng.uniform(0.2, 0.9), rng.uniform(0.1, 0.45)
    sgd = dfp.SGD(dfp.QuadraticLandscape([0.0], 0.0, dfp.GaussianNoise([noise])), rate)
    start = dfp.Gaussian(rng.uniform(-0.5, 0.5), rng.uniform(0.1, 0.6))
    deviation, steps = float(np.sqrt(start.covariance[0, 0])), int(rng.integers(2, 17))
    part = Polynomial([1.0])
    for _ in range(steps):
        for_slopes = part.deriv() - Polynomial([0.0, 1.0]) * part
        part = part + rate**2 / 2 * noise * (for_slopes.deriv() - Polynomial([0.0, 1.0]) * for_slopes) / deviation**2
    centre = start.mean[0]

    def density(points: np.ndarray) -> np.ndarray:
        z = (points[..., 0] - centre) / deviation
        return part(z) * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) / deviation

    return Truth("amplified", dfp.DiscreteFokkerPlanck(sgd), start, steps, density)


def cut(rng: np.random.Generator) -> Truth:
    """Additive noise on a grid of the user's that holds the density at the end, but not all of it on the way."""
    d = int(rng.choice([1, 1, 2]))
    equation = random_linear(rng, d, str(rng.choice(["T4", "T6"])))
    start = dfp.Gaussian(rng.uniform(-1, 1, d), rng.uniform(0.02, 0.2, d))
    steps = int(np.exp(rng.uniform(0.7, 4)))
    mean, covariance = moved(equation, start.mean, start.covariance, steps)
    reach = rng.uniform(4, 7) * np.sqrt(np.diag(covariance))
    lower, upper = np.minimum(mean - reach, start.mean - 0.1), np.maximum(mean + reach, start.mean + 0.1)
    grid = dfp.Grid(lower, upper, {1: 256, 2: 72}[d])
    return Truth("cut", equation, start, steps, dfp.Gaussian(mean, covariance).density, grid)


def last_value(law: Any, tail: float) -> int:
    """Return a value of a law on integers beyond which there is less than ``tail``; its quantile can be infinite."""
    value = 1
    while law.sf(value) > tail:
        value *= 2
    return value


def rough(rng: np.random.Generator) -> Truth:
    """One step of a law with a kink, a zero, a pole or a lattice: quadrature over its density, finely about those."""
    laws = [
        stats.triang(rng.uniform(0.1, 0.9)), stats.trapezoid(0.2, 0.7), stats.laplace_asymmetric(rng.uniform(0.5, 2)),
        stats.dweibull(rng.uniform(1.2, 2)), stats.dgamma(rng.uniform(0.7, 2)), stats.uniform(), stats.laplace(),
        stats.geom(rng.uniform(0.3, 0.7)), stats.nbinom(3, rng.uniform(0.4, 0.7)), stats.poisson(2.0),
    ]  # fmt: skip
    law = laws[rng.integers(len(laws))]
    rate = rng.uniform(0.1, 0.5)
    equation = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape([1.0], 0.0, dfp.AdditiveNoise(law)), rate))
    start = dfp.Gaussian(rng.uniform(-0.5, 0.5), np.exp(rng.uniform(-4, -0.5)))
    if hasattr(law.dist, "pdf"):
        breaks = {float(law.ppf(1e-17)), float(law.isf(1e-17)), 0.0, 0.2, 0.7, 1.0, float(law.median())}
        if law.dist.name == "triang":
            breaks.add(float(law.args[0]))
        ends = sorted(b for b in breaks if law.ppf(1e-17) <= b <= law.isf(1e-17))
        near = np.concatenate([[0.0], 0.25 ** np.arange(26, -1, -1)]) / 2
        at, weights = np.polynomial.legendre.leggauss(24)
        pieces = np.array([
            piece for low, high in pairwise(ends)
            for piece in [*pairwise(low + (high - low) * near), *pairwise(high - (high - low) * near[::-1])]
        ])  # fmt: skip
        # Nor longer than the Gaussian that they are folded with, in units of x.
        longest = 2 * (1 - rate) * np.sqrt(start.covariance.item()) / rate
        counts = np.ceil(np.diff(pieces, axis=1)[:, 0] / longest).astype(int)
        pieces = np.concatenate([
            np.stack([cuts[:-1], cuts[1:]], axis=1)
            for cuts in (np.linspace(low, high, count + 1) for (low, high), count in zip(pieces, counts, strict=True))
        ])  # fmt: skip
        half = np.diff(pieces, axis=1) / 2
        x = (pieces.mean(axis=1)[:, None] + half * at).ravel()
        mass = law.pdf(x) * (half * weights).ravel()
    else:
        x = np.arange(law.ppf(1e-17), last_value(law, 1e-17) + 1)
        mass = law.pmf(x)
    places = (1 - rate) * start.mean.item() - rate * (x - law.mean())
    variance = np.full(x.shape, (1 - rate) ** 2 * start.covariance.item())
    return Truth("rough", equation, start, 1, lambda points: kernels(points, places, variance, mass))


def bowl(rng: np.random.Generator, d: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hessian, gradient and noise covariance of a rotated bowl."""
    axes = np.linalg.qr(rng.standard_normal((d, d)))[0]
    square = rng.standard_normal((d, d))
    return (axes * rng.uniform(0.1, 1.5, d)) @ axes.T, rng.uniform(-1, 1, d), square @ square.T + 0.2 * np.eye(d)


def optimised(rng: np.random.Generator) -> Truth:
    """Momentum, schedules, weight decay, batch sizes, preconditioners, heat: a Gaussian, by its recursion in (θ, v)."""
    d, steps = int(rng.choice([1, 1, 2])), int(np.exp(rng.uniform(0, 4)))
    hessian, gradient, noise = bowl(rng, d)
    eye, rates, settings = np.eye(d), np.full(steps, np.exp(rng.uniform(-4, -1))), dict[str, Any]()
    beta, heat, decay = float(rng.choice([0.0, 0.5, 0.9])), 0.0, float(rng.choice([0.0, 0.1]))
    conditioner = np.exp(rng.uniform(-1, 0.5, d)) if rng.random() < 0.4 else np.ones(d)
    settings["preconditioner"] = None if np.all(conditioner == 1) else conditioner
    if beta == 0 and rng.random() < 0.5:
        settings["temperature"] = heat = float(np.exp(rng.uniform(-3, 0)))
    elif rng.random() < 0.4:
        rates = rates * rng.uniform(0.3, 1, steps)
    settings |= {"momentum": beta, "nesterov": bool(beta and rng.random() < 0.3), "weight_decay": decay}
    batch = int(rng.choice([1, 4]))
    landscape = dfp.QuadraticLandscape(hessian, gradient, dfp.GaussianNoise(noise))
    rate = float(rates[0]) if np.ptp(rates) == 0 else dfp.Schedule(rates)
    sgd = dfp.SGD(landscape, rate, batch_size=batch, **settings)
    start = dfp.Gaussian(rng.uniform(-1, 1, d), rng.uniform(0.05, 0.5, d))
    mean = np.concatenate([start.mean, np.zeros(d)])
    covariance = np.zeros((2 * d, 2 * d))
    covariance[:d, :d] = start.covariance
    p, ahead = np.diag(conditioner), 1 + beta if settings["nesterov"] else 1.0
    pull, push = p @ (hessian + decay * eye), p @ gradient
    spread = p @ noise @ p / batch
    for eta in rates:
        back = beta**2 if settings["nesterov"] else beta
        factor = np.block([[eye - eta * ahead * pull, -eta * back * eye], [pull, beta * eye]])
        load = np.vstack([-eta * ahead * eye, eye])
        mean, covariance = factor @ mean + load @ push, factor @ covariance @ factor.T + load @ spread @ load.T
        covariance[:d, :d] += 2 * eta * heat * p
    law = dfp.Gaussian(mean[:d], covariance[:d, :d])
    return Truth("optimised", dfp.MasterEquation(sgd), start, steps, law.density)


def averaged(rng: np.random.Generator) -> Truth:
    """Averages of iterates under additive Gaussian noise: Gaussians, by the recursion of (θ, m)."""
    d, steps = int(rng.choice([1, 2])), int(np.exp(rng.uniform(0.5, 5)))
    hessian, gradient, noise = bowl(rng, d)
    eta, eye = float(np.exp(rng.uniform(-4, -1))), np.eye(d)
    sgd = dfp.SGD(dfp.QuadraticLandscape(hessian, gradient, dfp.GaussianNoise(noise)), eta)
    start = dfp.Gaussian(rng.uniform(-1, 1, d), rng.uniform(0.05, 0.5, d))
    if rng.random() < 0.5:
        decay = float(rng.uniform(0.5, 0.99))
        average: Average = dfp.ExponentialAverage(sgd, decay)
        weights = np.full(steps, 1 - decay)
    else:
        left = int(rng.integers(0, steps))
        average = dfp.TailAverage(sgd, left)
        weights = 1.0 / np.maximum(np.arange(1, steps + 1) - left, 1)
    mean, covariance = np.tile(start.mean, 2), np.tile(start.covariance, (2, 2))
    step = eye - eta * hessian
    for w in weights:
        factor = np.block([[step, 0 * eye], [w * step, (1 - w) * eye]])
        load = np.vstack([-eta * eye, -w * eta * eye])
        mean, covariance = factor @ mean + load @ gradient, factor @ covariance @ factor.T + load @ noise @ load.T
    law = dfp.Gaussian(mean[d:], covariance[d:, d:])
    return Truth("averaged", AveragedEquation(average, dfp.MasterEquation(sgd)), start, steps, law.density)


def turned(rng: np.random.Generator) -> Truth:
    """Directions in up to eight dimensions: projected Gaussians, or one for each path of a few minibatches."""
    d = int(rng.integers(3, 9))
    u = rng.standard_normal((d, int(rng.choice([1, 1, 2]))))
    if rng.random() < 0.6:
        equation = random_linear(rng, d, str(rng.choice(["T4", "T6", "T7m+"])))
        start, steps = dfp.Gaussian(rng.uniform(-1, 1, d), rng.uniform(0.05, 0.5, d)), int(np.exp(rng.uniform(0, 4)))
        mean, covariance = moved(equation, start.mean, start.covariance, steps)
        law = dfp.Gaussian(u.T @ mean, u.T @ covariance @ u)
        return Truth("turned", equation, start, steps, law.density, directions=u)
    u, hessian = u[:, :1], bowl(rng, d)[0]
    gradients, eta, steps = rng.standard_normal((3, d)), float(rng.uniform(0.05, 0.4)), int(rng.integers(1, 6))
    sgd = dfp.SGD(dfp.QuadraticLandscape.from_samples(hessian, gradients), eta)
    start = dfp.Gaussian(rng.uniform(-0.5, 0.5, d), np.exp(rng.uniform(-3, 0)))
    places, factor = start.mean[None], np.eye(d)
    for _ in range(steps):
        factor = factor - eta * hessian @ factor
        places = (places @ (np.eye(d) - eta * hessian) - eta * gradients[:, None]).reshape(-1, d)
    variance = np.full(len(places), (u.T @ factor @ start.covariance @ factor.T @ u).item())
    along, mass = (places @ u)[:, 0], np.full(len(places), 1 / len(places))
    return Truth(
        "turned", dfp.MasterEquation(sgd), start, steps, lambda x: kernels(x, along, variance, mass), directions=u
    )


def bent(rng: np.random.Generator) -> Truth:
    """A nonlinear landscape whose noise has two lumps, one of none: the transition integral on dense nodes."""
    a, b, eta = rng.uniform(0.2, 1), rng.uniform(0.5, 2), rng.uniform(0.1, 0.4)
    weight = float(rng.choice([1.0, 0.8, 0.5]))  # of the first lump
    width, apart, slope = rng.uniform(0.3, 0.8), rng.uniform(0.5, 2) * (weight < 1), rng.uniform(0, 0.3)
    weights, lumps = np.array([weight, 1 - weight]), apart * np.array([1 - weight, -weight])

    def gradient(x: np.ndarray) -> np.ndarray:
        return a * x + np.sin(b * x)

    def grown(x: np.ndarray) -> np.ndarray:
        return 1 + slope * np.cos(x)  # of the noise, with the place

    def characteristic(k: np.ndarray, x: np.ndarray) -> np.ndarray:
        waves = grown(x) * k
        return np.exp(-((width * waves) ** 2) / 2) * sum(
            w * np.exp(1j * lump * waves) for w, lump in zip(weights, lumps, strict=True)
        )

    variance = float(weights @ lumps**2) + width**2
    landscape = dfp.Landscape(
        gradient,
        lambda x: (variance * grown(x) ** 2)[..., None],
        characteristic=characteristic if weight < 1 else None,
    )
    start = dfp.Gaussian(rng.uniform(-1, 1), rng.uniform(0.05, 0.3))
    nodes, steps = np.linspace(-9, 9, 3001), int(rng.integers(1, 4))
    spacing = nodes[1] - nodes[0]
    mass = start.density(nodes[:, None]) * spacing
    places = (nodes - eta * gradient(nodes) - eta * grown(nodes) * lumps[:, None]).ravel()
    spread = np.tile((eta * width * grown(nodes)) ** 2, 2)
    for _ in range(steps - 1):
        mass = kernels(nodes[:, None], places, spread, np.outer(weights, mass).ravel()) * spacing
    last = np.outer(weights, mass).ravel()
    equation = dfp.MasterEquation(dfp.SGD(landscape, eta))
    return Truth("bent", equation, start, steps, lambda points: kernels(points, places, spread, last))


KINDS = (
    linear, mixture, student, paths, polynomial, comb, atoms, histogram, heavy, amplified, cut, rough,
    optimised, averaged, turned, bent,
)  # fmt: skip
