"""Random problems whose density is known without the solvers: Gaussians, mixtures, paths, Student t, polynomials."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.polynomial import Polynomial
from scipy.linalg import expm
from scipy.stats import t as student_t

import dfp
from dfp.problem.equation import Equation


@dataclass(frozen=True)
class Truth:
    """A problem, and its exact density after ``steps``, a function of points (..., d)."""

    kind: str
    equation: Equation
    initial: dfp.Gaussian | dfp.Density
    steps: int
    density: Callable[[np.ndarray], np.ndarray]


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
    makers = {
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
    time = steps * equation.sgd.learning_rate
    block = expm(time * np.block([[drift, noise], [np.zeros((d, d)), -drift.T]]))
    factor = np.linalg.inv(block[:d, :d])
    gained = factor @ block[:d, d:]
    shift = expm(time * np.block([[-drift, -offset[:, None]], [np.zeros((1, d + 1))]]))[:d, d]
    return factor @ mean + shift, factor @ covariance @ factor.T + (gained + gained.T) / 2


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


def mixture(rng: np.random.Generator) -> Truth:
    """Additive noise from a gridded mixture of two Gaussians: the mixture of what becomes of each."""
    d = int(rng.choice([1, 2]))
    equation = random_linear(rng, d, str(rng.choice(["T4", "T6", "T7m+"])))
    parts = [dfp.Gaussian(rng.uniform(-1, 1, d), rng.uniform(0.05, 0.4, d)) for _ in range(2)]
    grid = dfp.Grid(np.full(d, -6.0), np.full(d, 6.0), {1: 600, 2: 220}[d])
    start = dfp.Density(grid, sum(part.density(grid.points) for part in parts) / 2)
    steps = int(np.exp(rng.uniform(0, 4)))
    after = [dfp.Gaussian(*moved(equation, part.mean, part.covariance, steps)) for part in parts]
    return Truth("mixture", equation, start, steps, lambda points: sum(part.density(points) for part in after) / 2)


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
    return Truth(
        "paths", equation, start, steps, lambda points: sum(part.density(points) for part in parts) / len(parts)
    )


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


KINDS = (linear, mixture, student, paths, polynomial)
