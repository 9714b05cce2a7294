"""Sampled trajectories against the exact recursion of moments to order four, and their reproducibility.

Five landscapes × (2 + 3 + 4 …) moments × steps are compared at |z| < 5, fewer than 700 numbers in all: the chance of a
false alarm for a fresh seed is below 4e-4. Seeds are fixed.
"""

import numba
import numpy as np
import pytest
from problems import one_mode, regression, samples, table

import dfp
from dfp.methods.solver import Problem

STEPS = [1, 7, 40]
CASES = {
    "one mode with curvature noise": (one_mode(1.0, 0.3, 0.4, 0.1), dfp.Point(1.0)),
    "two modes, full table": (table(2), dfp.Gaussian([1.0, -0.5], [[0.3, 0.1], [0.1, 0.2]])),
    "three modes, symmetric H̃ in the eigenbasis": (table(3, True, "eigen"), dfp.Gaussian([1, 0, -1], 0.2)),
    "regression, minibatches of 3 of 30 rows": (regression(2), dfp.Gaussian([0.0, 0.0], 0.1)),
    "samples, minibatches of 2 of 12 losses": (samples(2), dfp.Point([1.0, -1.0])),
}
KINDS = ("mean", "covariance", "third", "fourth")


def z_scores(sampled, exact, kind):
    error = sampled.errors[kind]
    difference = getattr(sampled, kind) - getattr(exact, kind)
    return np.where(error > 0, difference / np.where(error > 0, error, 1.0), 0.0)


@pytest.mark.parametrize("name", CASES)
def test_sgd_has_the_exact_moments(name):
    landscape, start = CASES[name]
    equation = dfp.MasterEquation(dfp.SGD(landscape, 0.1, weight_decay=0.02))
    sampled = dfp.solve(equation, start, 40, STEPS, dfp.MonteCarlo(200_000, seed=11))
    exact = dfp.solve(equation, start, 40, STEPS, dfp.MomentRecursion())
    for kind in KINDS:
        assert np.abs(z_scores(sampled, exact, kind)).max() < 5, kind
    assert sampled.certificate.ok, sampled.certificate


def test_the_same_comparison_rejects_a_wrong_equation():
    """Negative control: SGD's samples are not Langevin's, nor those of noise 3 % larger."""
    landscape, start = CASES["two modes, full table"]
    sgd = dfp.SGD(landscape, 0.1)
    sampled = dfp.solve(dfp.MasterEquation(sgd), start, 40, STEPS, dfp.MonteCarlo(200_000, seed=11))
    for wrong in (dfp.Langevin(sgd), dfp.MasterEquation(dfp.SGD(landscape, 0.103))):
        exact = dfp.solve(wrong, start, 40, STEPS, dfp.MomentRecursion())
        assert np.abs(z_scores(sampled, exact, "covariance")).max() > 5


def test_discrete_fokker_planck_differs_from_samples_only_beyond_the_covariance():
    landscape, start = CASES["one mode with curvature noise"]
    sgd = dfp.SGD(landscape, 0.3)
    sampled = dfp.solve(dfp.MasterEquation(sgd), start, 40, STEPS, dfp.MonteCarlo(200_000, seed=3))
    truncated = dfp.solve(dfp.DiscreteFokkerPlanck(sgd), start, 40, STEPS, dfp.MomentRecursion())
    assert np.abs(z_scores(sampled, truncated, "covariance")).max() < 5
    assert np.abs(z_scores(sampled, truncated, "fourth")).max() > 5


@pytest.mark.parametrize("name", CASES)
def test_langevin_trajectories_have_the_exact_moments(name):
    """Mean and covariance are exact for any number of substeps; third and fourth need enough of them."""
    landscape, start = CASES[name]
    start = dfp.Gaussian(start.mean, 0.2) if isinstance(start, dfp.Point) else start
    sgd = dfp.SGD(landscape, 0.1)
    for equation in (dfp.Langevin(sgd), dfp.Langevin(sgd, noise="frozen"), dfp.ModifiedLangevin(sgd, positive=True)):
        sampled = dfp.solve(equation, start, 40, STEPS, dfp.MonteCarlo(100_000, seed=5, substeps=8))
        exact = dfp.solve(equation, start, 40, STEPS, dfp.MomentRecursion())
        for kind in KINDS:
            assert np.abs(z_scores(sampled, exact, kind)).max() < 5, (equation.label, kind)


def test_coarse_langevin_steps_keep_mean_and_covariance():
    equation = dfp.Langevin(dfp.SGD(one_mode(1.0, 0.3, 0.8), 0.5))
    sampled = dfp.solve(equation, dfp.Point(1.0), 8, [8], dfp.MonteCarlo(400_000, seed=5, substeps=1))
    assert sampled.certificate.ok, sampled.certificate


def same(a, b):
    return all(
        np.array_equal(x, y)
        for x, y in zip(
            (a.mean, a.covariance, a.third, a.fourth, a.density, *a.errors.values()),
            (b.mean, b.covariance, b.third, b.fourth, b.density, *b.errors.values()),
            strict=True,
        )
    )


@pytest.mark.parametrize("name", CASES)
def test_bits_depend_on_the_seed_alone(name, monkeypatch):
    """One or two threads, portions of any size: the same bits; another seed: others."""
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("one core")
    landscape, start = CASES[name]
    equation = dfp.MasterEquation(dfp.SGD(landscape, 0.1))

    def run(**options):
        return dfp.solve(equation, start, 7, [7], dfp.MonteCarlo(20_011, **{"seed": 1, **options}))

    reference = run(threads=1)
    assert same(reference, run(threads=2))
    monkeypatch.setattr("dfp.methods.monte_carlo._LEAST_BLOCKS", 3)
    assert same(reference, run(threads=2))
    assert not same(reference, run(seed=2))


def test_standard_errors_of_few_trajectories_can_be_trusted():
    """z² averages to one over 100 seeds of 1 024 trajectories, within four of its deviations; none is beyond four."""
    landscape = dfp.QuadraticLandscape([1.0], 0.0, dfp.GaussianNoise([0.3], [0.1]))
    equation, start, count = dfp.MasterEquation(dfp.SGD(landscape, 0.1)), dfp.Gaussian(0.0, 1.0), 100
    runs = [dfp.solve(equation, start, 9, [9], dfp.MonteCarlo(1024, seed=seed)) for seed in range(count)]
    for figure in ("mean_error", "covariance_error"):
        z = np.array([getattr(run.certificate, figure)[0] for run in runs])
        assert abs(np.mean(z**2) - 1) < 4 * np.sqrt(2 / count)
        assert z.max() < 4


def test_interrupted_run_resumes_to_the_same_bits(tmp_path):
    """Stopped after a third of its portions, a run goes on from its checkpoint; the file is always complete."""
    landscape, start = CASES["regression, minibatches of 3 of 30 rows"]
    equation, file = dfp.MasterEquation(dfp.SGD(landscape, 0.1)), tmp_path / "run.npz"

    class Stopped(Exception):
        pass

    def interrupt(done, total):
        if done > total / 3:
            raise Stopped

    solver = dfp.MonteCarlo(100_000, seed=4, checkpoint=file)
    with pytest.raises(Stopped):
        dfp.solve(equation, start, 20, [20], solver, progress=interrupt)
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.npz"]
    seen = []
    resumed = dfp.solve(equation, start, 20, [20], solver, progress=lambda done, total: seen.append(done))
    assert seen[0] > 100_000 / 3
    assert same(resumed, dfp.solve(equation, start, 20, [20], dfp.MonteCarlo(100_000, seed=4)))
    with pytest.raises(dfp.DFPError, match=r"run\.npz: belongs to another problem.*delete"):
        dfp.solve(equation, start, 21, [21], solver)
    file.write_bytes(b"not a checkpoint")
    with pytest.raises(dfp.DFPError, match="not a readable checkpoint"):
        dfp.solve(equation, start, 20, [20], solver)


def test_memory_does_not_grow_with_steps():
    """Only sums are kept: a thousand steps saved twice hold as many numbers as one step saved twice."""
    equation = dfp.MasterEquation(dfp.SGD(one_mode(), 0.1))
    solver = dfp.MonteCarlo(4096, seed=0)
    for last in (2, 1000):
        run = solver.start(Problem.of(equation, dfp.Point(0.0), np.array([1, last])))
        run.draw()
        assert run.sums.total.size + run.sums.histogram.size == 2 * 4 + 2 * run.grid.cells[0]


def test_histogram_is_a_density_with_the_counted_outside():
    equation = dfp.MasterEquation(dfp.SGD(one_mode(), 0.1))
    solution = dfp.solve(
        equation, dfp.Gaussian(0.0, 1.0), 0, [0], dfp.MonteCarlo(50_000, seed=1), dfp.Grid(-1.0, 1.0, 20)
    )
    inside = solution.density.sum() * solution.grid.cell_volume
    # rounding
    assert inside + solution.certificate.mass_outside[0] == pytest.approx(1.0, abs=1e-12)
    # six deviations of a share of so many trajectories
    assert solution.certificate.mass_outside[0] == pytest.approx(0.3173, abs=0.01)
    assert any("outside the grid" in warning for warning in solution.certificate.warnings)


def test_gridded_start_is_sampled():
    grid = dfp.Grid(-4, 4, 400)
    start = dfp.Density.normalised(grid, np.exp(-np.abs(grid.axes[0])))
    equation = dfp.MasterEquation(dfp.SGD(one_mode(), 0.1))
    solution = dfp.solve(equation, start, 3, [0, 3], dfp.MonteCarlo(200_000, seed=2))
    assert solution.certificate.ok, solution.certificate


def test_many_parameters_have_moments_without_a_grid():
    landscape = dfp.QuadraticLandscape(np.linspace(0.1, 1.0, 12), 0.1, dfp.GaussianNoise(np.linspace(0.5, 1, 12)))
    equation = dfp.MasterEquation(dfp.SGD(landscape, 0.2))
    solution = dfp.solve(equation, dfp.Point(np.ones(12)), 10, [10], dfp.MonteCarlo(50_000, seed=3))
    assert solution.density is None
    assert solution.certificate.ok, solution.certificate


def test_divergence_is_an_error_not_a_number():
    equation = dfp.MasterEquation(dfp.SGD(one_mode(50.0), 0.1))
    with pytest.raises(dfp.DFPError, match="overflow"):
        dfp.solve(equation, dfp.Point(1.0), 2000, [2000], dfp.MonteCarlo(2048, seed=0))


def test_indefinite_diffusion_is_reported():
    landscape = dfp.QuadraticLandscape([1.0, 8.0], 0, dfp.GaussianNoise([[1.0, 1.0], [1.0, 1.0]]))
    equation = dfp.ModifiedLangevin(dfp.SGD(landscape, 0.05))
    solution = dfp.solve(equation, dfp.Gaussian([0, 0], 1.0), 3, [3], dfp.MonteCarlo(4096, seed=0))
    assert any("indefinite" in warning and "positive=True" in warning for warning in solution.certificate.warnings)


def _fourth(curvature_noise, seeds, trajectories=16_384):
    """Return the exact fourth moment of θ' = (1 − η(1 + h))θ − ηg after 60 steps, and z-scores of samples of it."""
    eta, second, fourth = 0.2, 0.1, 0.03
    landscape = dfp.QuadraticLandscape([1.0], 0.0, dfp.GaussianNoise([1.0], [curvature_noise]))
    equation, spread, a = dfp.MasterEquation(dfp.SGD(landscape, eta)), eta**2 * curvature_noise, 1 - eta
    for _ in range(60):
        fourth = (
            (a**4 + 6 * a**2 * spread + 3 * spread**2) * fourth + 6 * (a**2 + spread) * second * eta**2 + 3 * eta**4
        )
        second = (a**2 + spread) * second + eta**2
    drawn = [
        dfp.solve(equation, dfp.Gaussian(0.0, 0.1), 60, [60], dfp.MonteCarlo(trajectories, seed=seed))
        for seed in range(seeds)
    ]
    z = np.array([(one.fourth.item() - fourth) / one.errors["fourth"].item() for one in drawn])
    return fourth / second**2, z, drawn


@pytest.mark.parametrize(("curvature_noise", "trajectories"), [(0.5, 16_384), (1.4, 16_384), (1.2, 2048)])
def test_standard_errors_of_fourth_moments_cover(curvature_noise, trajectories):
    """Kurtosis 3.3 … 4.3: z-scores of 100 seeds deviate by one at most, + 3/√200."""
    kurtosis, z, drawn = _fourth(curvature_noise, 100, trajectories)
    assert 3.2 < kurtosis < 4.4
    assert 0.6 < np.sqrt(np.mean(z**2)) < 1.2
    assert not any("fourth moments" in word for one in drawn for word in one.certificate.warnings)


def test_standard_errors_of_fourth_moments_are_honest_or_not_given():
    """Kurtosis 8: no error, and a word why, whatever the sample has seen; errors of the covariance stay."""
    kurtosis, z, drawn = _fourth(2.8, 20)
    assert 7 < kurtosis < 12 and np.isnan(z).all()
    for one in drawn:
        assert any("no standard errors" in word for word in one.certificate.warnings)
        assert np.isfinite(one.errors["covariance"]).all()


@pytest.mark.parametrize("options", [{}, {"basis": "eigen"}, {"at": [2.0, -1.0, 0.5, 0.0]}, {"gradient": "full"}])
def test_independent_rows_of_curvature_noise_have_the_exact_moments(options):
    """One normal a row, given θ; a table of the same row sums, with its columns exchanged, is told from it."""
    rng = np.random.default_rng(8)
    hessian, spread = np.diag([0.4, 0.8, 1.2, 1.6]) + 0.1, rng.uniform(0.02, 0.3, (4, 4))
    options = dict(options)
    gradient = 0.2 * np.eye(4) + (0.1 if options.pop("gradient", None) else 0.0)

    def equation(variances):
        noise = dfp.GaussianNoise(gradient, variances, **options)
        return dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape(hessian, noise=noise), 0.2, momentum=0.3))

    start = dfp.Gaussian([1.0, -2.0, 0.5, 0.0], 0.1)
    sampled = dfp.solve(equation(spread), start, 12, [12], dfp.MonteCarlo(150_000, seed=2))
    upper = np.triu_indices(4)
    for variances, fits in ((spread, True), (spread[:, ::-1], False)):
        exact = dfp.moments(equation(variances), start, 12, [12]).covariance[0]
        z = (sampled.covariance[0] - exact)[upper] / sampled.errors["covariance"][0][upper]
        assert bool(np.max(np.abs(z)) < 5) is fits
