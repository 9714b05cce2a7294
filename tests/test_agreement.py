"""Every solver on every equation it declares: declared order, agreement with each other, and with 10⁷ samples."""

import itertools

import numpy as np
import pytest
from problems import every_equation, one_mode, regression, table
from scipy import stats

import dfp
from dfp.results.comparison import cell_probabilities
from validation.solvers import made

# Every deterministic solver of densities, with what makes it affordable here.
SOLVERS = {name: solver for name, solver in made(10_000).items() if name not in ("MonteCarlo", "MomentRecursion")}
SOLVERS |= {"FiniteDifference, fourth": dfp.FiniteDifference("fourth")}
PROBLEMS = {
    "additive 1D": (one_mode(1.0, 1.0), dfp.Gaussian(0.3, 0.1), dfp.Grid(-3.0, 3.6, 660)),
    "multiplicative 1D": (one_mode(1.0, 1.0, 0.3, 0.1), dfp.Gaussian(0.3, 0.1), dfp.Grid(-3.0, 3.6, 660)),
    "finite sum 1D": (regression(1, 4), dfp.Gaussian(0.3, 0.1), dfp.Grid(-3.0, 4.0, 700)),
    "multiplicative 2D": (table(2), dfp.Gaussian([0.3, -0.2], 0.1), dfp.Grid([-2.6, -3.0], [3.0, 2.6], 112)),
}
STEPS = 20
RATE = 0.02
# A quantile that chance exceeds once in 10⁸ tests.
ALARM = 1e-8


def equations(name):
    return every_equation(dfp.SGD(PROBLEMS[name][0], RATE))


def densities(name, equation):
    """What every solver that takes the problem makes of it; refusals are in words."""
    _, start, grid = PROBLEMS[name]
    result = {}
    for label, solver in SOLVERS.items():
        try:
            result[label] = dfp.solve(equation, start, STEPS, [STEPS], solver, grid)
        except (dfp.UnsupportedError, dfp.UnresolvedError, dfp.SeriesError) as refusal:
            assert len(str(refusal)) > 40
    return result


CASES = [(name, i) for name in PROBLEMS for i in range(7)]


@pytest.mark.parametrize(("name", "which"), CASES, ids=[f"{name}, {i}" for name, i in CASES])
def test_solvers_agree_within_their_certificates(name, which):
    equation = equations(name)[which]
    found = densities(name, equation)
    # Without these the comparison would be empty: only (T5) with strong noise has a single solver.
    assert len(found) >= 1, equation.label
    volume = PROBLEMS[name][2].cell_volume
    for (one, a), (two, b) in itertools.combinations(found.items(), 2):
        distance = float(np.abs(a.density - b.density).sum()) * volume
        allowed = float(a.certificate.error[-1] + b.certificate.error[-1])
        assert distance <= allowed or np.isnan(allowed), f"{equation.label}: {one} and {two}"


def test_a_wrong_equation_disagrees():
    """Negative control: densities of two equations differ by more than ten times what certificates allow."""
    first, second = equations("multiplicative 1D")[0], equations("multiplicative 1D")[2]
    a, b = densities("multiplicative 1D", first)["Transfer"], densities("multiplicative 1D", second)["FiniteVolume"]
    distance = float(np.abs(a.density - b.density).sum()) * a.grid.cell_volume
    assert distance > 10 * (a.certificate.error[-1] + b.certificate.error[-1])


def p_value(solution, sampled):
    """Chi-square of a histogram under a density, over cells that expect more than 100."""
    count, cells = sampled.trajectories, sampled.grid
    expected = cell_probabilities(solution, 0, cells).ravel() * count
    observed = sampled.density[0].ravel() * cells.cell_volume * count
    kept = expected > 100
    rest = count - expected[kept].sum(), count - observed[kept].sum()
    statistic = np.sum((observed[kept] - expected[kept]) ** 2 / expected[kept])
    statistic += (rest[1] - rest[0]) ** 2 / rest[0] if rest[0] > 100 else 0.0
    return float(stats.chi2.sf(statistic, int(kept.sum())))


SAMPLED = [("additive 1D", 0), ("multiplicative 1D", 0), ("finite sum 1D", 0), ("multiplicative 2D", 0)]
SAMPLED += [("multiplicative 1D", 2), ("multiplicative 1D", 4), ("multiplicative 1D", 5), ("multiplicative 2D", 2)]


@pytest.mark.parametrize(("name", "which"), SAMPLED, ids=[f"{name}, {i}" for name, i in SAMPLED])
def test_densities_agree_with_ten_million_samples(name, which):
    """SGD is sampled exactly; diffusions in substeps whose third cumulants err by an eighth of η, too little to see."""
    landscape, start, grid = PROBLEMS[name]
    equation = equations(name)[which]
    cells = dfp.Grid(grid.lower, grid.upper, tuple(n // 5 if len(grid.cells) == 1 else n // 4 for n in grid.cells))
    steps = 7
    sampled = dfp.solve(
        equation,
        start,
        steps,
        [steps],
        dfp.MonteCarlo(10_000_000, seed=5, substeps=8 if grid.dimension == 1 else 3),
        cells,
    )
    best = {}
    for label, solver in SOLVERS.items():
        if solver.refusal(equation, start) is None:
            try:
                best[label] = dfp.solve(equation, start, steps, [steps], solver, grid)
            except (dfp.UnresolvedError, dfp.SeriesError):
                continue
    # What a density is off by must be invisible to this many samples.
    sharp = {label: s for label, s in best.items() if s.certificate.error[-1] < 1e-4}
    assert sharp, {label: s.certificate.error for label, s in best.items()}
    for label, solution in sharp.items():
        assert p_value(solution, sampled) > ALARM, label
    # Negative control: a learning rate five percent too large is rejected.
    wrong = dfp.SGD(landscape, RATE * 1.05)
    other = dfp.solve(every_equation(wrong)[which], start, steps, [steps], SOLVERS[next(iter(sharp))], grid)
    assert p_value(other, sampled) < ALARM


def errors(equation, initial, steps, solver, grids, start=None):
    """L1 errors on each grid, from a Gaussian or from ``start``, which is the same on a grid, under additive noise."""
    exact = dfp.moments(equation, initial, steps, [steps])
    reference, result = dfp.Gaussian(exact.mean[0], exact.covariance[0]), []
    for grid in grids:
        solution = dfp.solve(equation, start or initial, steps, [steps], solver, grid)
        result.append(float(np.abs(solution.density[0] - reference.on(grid)).sum()) * grid.cell_volume)
    return np.array(result)


@pytest.mark.parametrize("name", ["FiniteVolume", "Fourier", "Transfer"])
def test_observed_order_is_the_declared_one(name):
    """Fourth order: at least 3.7 at every halving; spectral: a thousand times better for half the spacing."""
    make = dfp.Langevin if name == "FiniteVolume" else dfp.MasterEquation
    equation, start = make(dfp.SGD(one_mode(1.0, 1.0), 0.2)), dfp.Gaussian(0.4, 0.2)
    solver = SOLVERS[name]
    if name == "FiniteVolume":
        found = errors(equation, start, 5, solver, [dfp.Grid(-4.5, 5.0, n) for n in (40, 80, 160)])
        assert "fourth in the spacing" in solver.order
        assert np.all(np.log2(found[:-1] / found[1:]) > 3.7)
        return
    assert "spectral" in solver.order
    plane = dfp.SGD(dfp.QuadraticLandscape([1.0, 0.6], 0.0, dfp.GaussianNoise([1.0, 0.8])), 0.5)
    # From a gridded start, since for a Gaussian one Fourier needs no transform.
    initial, box = dfp.Gaussian([0.4, 0.1], [0.4, 0.4]), dfp.Grid([-6.0, -6.0], [6.0, 6.0], 240)
    gridded = dfp.Density.normalised(box, initial.on(box))
    grids = [dfp.Grid([-5.0, -5.0], [5.0, 5.0], n) for n in (24, 48)]
    coarse, fine = errors(dfp.MasterEquation(plane), initial, 3, solver, grids, gridded)
    assert fine < 1e-3 * coarse
