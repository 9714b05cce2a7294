"""Densities along directions and laws of the loss are exact in any dimension, against whole solves and second methods.

Source: theory page, section 6: characteristic functions along Uᵀθ, generalised χ² laws; Ruben 1962 (series of χ² laws).

Tolerance: directions against whole solves on the same grid 1e-10 of the largest density, rounding and tails; laws of
the loss 1e-8 in total variation, quadrature on 4000 points; sampled numbers within four standard errors.

Control: other directions, and weights 0.1 % too large, must fail.
"""

import numpy as np
from dfp_solvers import quadratic_form
from scipy import stats

import dfp
from dfp.checks import Array
from validation.case import Case, Picture, Result, Verdict, at_most, close, sampled
from validation.sampling import mean

_HESSIAN = np.array([[1, 0.3, 0.1], [0.3, 0.8, 0.2], [0.1, 0.2, 0.5]])


def run(quick: bool) -> Result:
    """Compare directions with whole solves in three dimensions and with sums by hand in 10⁴, and laws of the loss."""
    verdicts, picture = _whole()
    verdicts += _many(10_000, 200 if quick else 1000)
    for weights in ((1.0, 0.4, 0.1), (3.0, 0.05, 0.05, 0.04), (1.0, 0.9, 0.8, 0.2, 0.1, 0.1)):
        x = np.linspace(1e-9, 1, 4001) ** 2 * 30
        ours, shown = quadratic_form.density(x, np.array(weights), np.zeros(len(weights))), ", ".join(map(str, weights))
        for name, factor in (("law of the loss", 1.0), ("control: weights 0.1 % larger", 1.001)):
            other = _ruben(x, factor * np.array(weights))
            apart = float(np.trapezoid(np.abs(ours - other), x) / 2)
            what = (f"½ Σ σ z², σ = {shown}", name, "total variation against a series of χ² laws")
            verdicts.append(at_most(what, apart, 1e-8, control=factor != 1))
    return Result(verdicts, pictures=[picture])


def _whole() -> tuple[list[Verdict], Picture]:
    landscape = dfp.QuadraticLandscape(_HESSIAN, 0.2, dfp.GaussianNoise(np.diag([0.2, 0.3, 0.4])))
    equation, start = dfp.MasterEquation(dfp.SGD(landscape, 0.2)), dfp.Gaussian(np.ones(3), 0.3)
    grid, (density,) = dfp.solve(equation, start, 20, [20]).gridded()
    _, (along,) = dfp.solve(equation, start, 20, [20], directions=np.eye(3), grid=grid).gridded()
    apart = float(np.abs(along - density).max() / density.max())
    what = ("d = 3, 20 steps", "largest difference of the density")
    verdicts = [at_most((what[0], "three directions against the whole", what[1]), apart, 1e-10)]
    plane = dfp.Grid(grid.lower[:2], grid.upper[:2], grid.cells[:2])
    marginal = density.sum(axis=-1) * grid.spacing[2]
    for name, kept in (("two directions against a marginal", [0, 1]), ("control: other directions", [0, 2])):
        _, (two,) = dfp.solve(equation, start, 20, [20], directions=np.eye(3)[:, kept], grid=plane).gridded()
        apart = float(np.abs(two - marginal).max() / marginal.max())
        verdicts.append(at_most((what[0], name, what[1]), apart, 1e-10, control=kept != [0, 1]))
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    corner = dfp.solve(equation, start, 20, [20], directions=turn).plot()
    return verdicts, Picture("corner", "Densities along three directions, one by one and in pairs.", corner)


def _many(d: int, samples: int) -> list[Verdict]:
    """Compare one direction of ``d`` parameters with sums by hand and with samples; skewed minibatches."""
    rng = np.random.default_rng(1)
    curvatures, gradients = np.linspace(0.1, 1, d), rng.exponential(size=(samples, d))
    landscape = dfp.QuadraticLandscape.from_samples(curvatures, gradients, 8)
    u, steps = rng.standard_normal(d) / d**0.5, 60
    solution = dfp.solve(dfp.MasterEquation(dfp.SGD(landscape, 0.1)), dfp.Point(np.zeros(d)), steps, directions=u)
    deviations = gradients - gradients.mean(axis=0)
    loads = [-0.1 * deviations @ (u * (1 - 0.1 * curvatures) ** s) for s in range(steps)]
    variance = sum(float(np.mean(load**2)) / 8 for load in loads)
    what = f"d = {d}, {samples} samples, B = 8, {steps} steps"
    verdicts = [
        close((what, "one direction", "variance by hand"), float(solution.covariance.item()) / variance, 1, 1e-9)
    ]
    runs = 20_000
    drawn = sum(load[rng.integers(samples, size=(runs, 8))].mean(axis=1) for load in loads)
    grid, (density,) = solution.gridded()
    third = float(density @ (grid.axes[0] - solution.mean.item()) ** 3) * grid.cell_volume
    verdicts.append(sampled((what, "one direction", "third moment"), *mean(drawn**3), third))
    return verdicts


def _ruben(x: Array, weights: Array, terms: int = 3000) -> Array:
    """Return the density of ½ Σ σ_j z_j² as a mixture of χ² laws with β the least weight (Ruben 1962)."""
    halves = np.sort(weights) / 2
    beta, d = halves[0], halves.size
    left = 1 - beta / halves
    mixture, powers = np.empty(terms), np.array([np.sum(left**k) / 2 for k in range(1, terms)])
    mixture[0] = np.prod(np.sqrt(beta / halves))
    for k in range(1, terms):
        mixture[k] = np.dot(powers[:k][::-1], mixture[:k]) / k
    density: Array = sum(a * stats.chi2.pdf(x / beta, d + 2 * k) / beta for k, a in enumerate(mixture))
    return density


CASE = Case("any-dimension", __doc__, run)
