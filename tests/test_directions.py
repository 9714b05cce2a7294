"""Densities along directions: against whole solves, exact moments and samples; no matrix of d² entries; refusals."""

import numpy as np
import pytest
from problems import regression
from solutions import made
from test_config import written
from typer.testing import CliRunner

import dfp
from dfp.cli import commands
from dfp.config.config import load

H = np.array([[1, 0.3, 0.1], [0.3, 0.8, 0.2], [0.1, 0.2, 0.5]])
# Two exact methods on one grid: rounding and the tails beyond it.
EQUAL = 1e-10


def three(**options):
    landscape = dfp.QuadraticLandscape(H, 0.2, dfp.GaussianNoise(np.diag([0.2, 0.3, 0.4])))
    return dfp.SGD(landscape, 0.2, **options)


@pytest.mark.parametrize("kind", [dfp.MasterEquation, dfp.Langevin, dfp.ModifiedLangevin])
def test_three_directions_are_the_whole_solve(kind):
    equation, start = kind(three()), dfp.Gaussian(np.ones(3), 0.3)
    full = dfp.solve(equation, start, 20)
    along = dfp.solve(equation, start, 20, directions=np.eye(3), grid=full.grid)
    np.testing.assert_allclose(along.density, full.density, atol=EQUAL * full.density.max())
    assert along.certificate.ok


@pytest.mark.parametrize("options", [{}, {"momentum": 0.6}, {"batch_size": [1, 2] * 10}])
def test_two_directions_are_a_marginal_of_the_whole(options):
    equation, start = dfp.MasterEquation(three(**options)), dfp.Gaussian(np.ones(3), 0.3)
    full = dfp.solve(equation, start, 20, save=[20])
    plane = dfp.Grid(full.grid.lower[:2], full.grid.upper[:2], full.grid.cells[:2])
    along = dfp.solve(equation, start, 20, save=[20], directions=np.eye(3)[:, :2], grid=plane)
    marginal = full.density.sum(axis=-1) * full.grid.spacing[2]
    np.testing.assert_allclose(along.density, marginal, atol=EQUAL * marginal.max())
    other = dfp.solve(equation, start, 20, save=[20], directions=np.eye(3)[:, [0, 2]], grid=plane)
    assert np.max(np.abs(other.density - marginal)) > 0.1 * marginal.max()


def samples(d, count=200):
    rng = np.random.default_rng(2)
    return rng.exponential(size=(count, d)) @ (np.eye(d) + 0.2)


def test_samples_with_one_hessian_are_those_of_their_copies():
    """The same law, by copies of the Hessian and by the one that all share: rounding."""
    gradients, start = samples(3), dfp.Gaussian(np.zeros(3), 0.05)
    one = dfp.QuadraticLandscape.from_samples(H, gradients, 4, at=[0.1, 0.2, 0.3])
    many = dfp.QuadraticLandscape.from_samples(np.tile(H, (200, 1, 1)), gradients, 4, at=[0.1, 0.2, 0.3])
    first, second = (dfp.moments(dfp.MasterEquation(dfp.SGD(landscape, 0.1)), start, 9) for landscape in (one, many))
    np.testing.assert_allclose(first.covariance, second.covariance, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(first.mean, second.mean, rtol=1e-12)


def test_skewed_minibatches_along_a_direction_are_a_marginal_of_the_whole():
    landscape = dfp.QuadraticLandscape.from_samples([1.0, 0.6], samples(2), 4)
    equation, start = dfp.MasterEquation(dfp.SGD(landscape, 0.1)), dfp.Gaussian([0.5, 0.0], 0.05)
    full = dfp.solve(equation, start, 12, save=[12], solver=dfp.Fourier())
    line = dfp.Grid(full.grid.lower[:1], full.grid.upper[:1], full.grid.cells[:1])
    along = dfp.solve(equation, start, 12, save=[12], directions=[1.0, 0.0], grid=line)
    marginal = full.density.sum(axis=-1) * full.grid.spacing[1]
    np.testing.assert_allclose(along.density, marginal, atol=EQUAL * marginal.max())
    gaussian = dfp.Gaussian(along.mean[0], along.covariance[0]).on(line)
    assert np.sum(np.abs(gaussian - along.density[0])) * line.cell_volume > 1e-3


def test_ten_thousand_parameters_need_no_matrix():
    """16 samples; two matrices of d² entries would take 1.6 GB each. Mean and variance by hand: rounding."""
    d, rng = 10_000, np.random.default_rng(1)
    curvatures, gradients = np.linspace(0.1, 1, d), rng.exponential(size=(16, d))
    landscape = dfp.QuadraticLandscape.from_samples(curvatures, gradients, 8)
    u = rng.standard_normal(d) / 100
    solution = dfp.solve(dfp.MasterEquation(dfp.SGD(landscape, 0.1)), dfp.Point(np.zeros(d)), 60, directions=u)
    assert "hessian" not in landscape.__dict__
    assert "constant" not in landscape.law.__dict__
    sums = (1 - (1 - 0.1 * curvatures) ** 60) / curvatures
    assert solution.mean[0, 0] == pytest.approx(-u @ (sums * gradients.mean(axis=0)), rel=1e-9)
    apart, variance = gradients - gradients.mean(axis=0), 0.0
    for s in range(60):
        variance += np.mean((apart @ (u * (1 - 0.1 * curvatures) ** s)) ** 2) * 0.01 / 8
    assert solution.covariance[0, 0, 0] == pytest.approx(variance, rel=1e-9)
    assert solution.certificate.ok
    assert solution.parameters == ("direction 1",)


def test_looking_ahead_agrees_with_a_solve_and_another_step_does_not():
    """L1 of 20 000 smooth samples: some 1/√n times the number of bumps, below 3 %."""
    equation, start = dfp.MasterEquation(dfp.SGD(regression(), 0.1)), dfp.Gaussian([0.0, 0.0], 0.2)
    full = dfp.solve(equation, start, 10, save=[5, 10])
    line = dfp.Grid(full.grid.lower[:1], full.grid.upper[:1], full.grid.cells[:1])
    along = dfp.solve(equation, start, 10, save=[5, 10], directions=[1.0, 0.0], grid=line)
    marginal = full.density.sum(axis=-1) * full.grid.spacing[1]
    apart = np.abs(along.density - marginal).sum(axis=1) * line.cell_volume
    assert np.max(apart) < 0.03
    assert np.abs(along.density[0] - marginal[1]).sum() * line.cell_volume > 0.1
    assert along.sampled
    # five standard errors
    assert np.nanmax(along.certificate.mean_error) < 5
    # What two halves are apart is the sampling error: the L1 norm of so many bumps fluctuates by some tens of percent.
    assert np.all(apart < 2 * along.certificate.truncation) and np.all(apart > along.certificate.truncation / 3)
    assert along.certificate.ok and np.all(apart <= along.certificate.error)
    few = dfp.solve(equation, start, 5, save=[5], directions=[1.0, 0.0], grid=line, solver=dfp.MonteCarlo(1250, seed=3))
    ratio = few.certificate.truncation[0] / along.certificate.truncation[0]
    assert few.trajectories == 1250 and 2 < ratio < 8  # a sixteenth of them: four times, within as much
    with pytest.raises(dfp.UnsupportedError, match=r"dfp\.MonteCarlo\(trajectories, seed\)"):
        dfp.solve(equation, start, 5, directions=[1.0, 0.0], solver=dfp.Fourier())


def test_sampled_densities_are_positive_where_steps_are_narrower_than_cells():
    """Short waves, which no cell holds, make the mean ring; what is cut counts in the error, and mass stays."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(40, 3)) * [0.2, 0.6, 1.2]
    landscape = dfp.QuadraticLandscape.from_regression(x, x @ [1.0, -1.0, 0.5] + rng.normal(size=40), 16)
    equation = dfp.MasterEquation(dfp.SGD(landscape, 0.1))
    found = dfp.solve(
        equation, dfp.Gaussian(np.zeros(3), 1.0), 2, [2], directions=np.eye(3)[:, :2], solver=dfp.MonteCarlo(1024)
    )
    assert found.density.min() >= 0 and found.certificate.negative_mass[0] == 0
    assert found.density.sum() * found.grid.cell_volume == pytest.approx(1, abs=1e-9)  # rounding
    wide = dfp.Gaussian(found.mean[0], found.covariance[0]).on(found.grid)
    apart = np.abs(found.density[0] - wide).sum() * found.grid.cell_volume
    assert found.certificate.truncation[0] > 0.2 and not found.certificate.ok  # 1024 bumps show, and it says so
    assert "solver=dfp.MonteCarlo(trajectories)" in found.certificate.warnings[-1]
    assert 0.2 < apart < found.certificate.error[0]


SETTINGS = [
    {"momentum": 0.6},
    {"momentum": 0.6, "nesterov": True, "learning_rate": dfp.CosineSchedule(0.1, 20)},
    {"batch_size": [2, 4, 8] * 4},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_looking_ahead_takes_momentum_and_schedules(settings):
    """Cells against a histogram of 60 000 runs, L1 below 4 %; those of plain SGD at that step must fail."""
    sgd, start = dfp.SGD(regression(), **({"learning_rate": 0.1} | settings)), dfp.Gaussian([0.0, 0.0], 0.02)
    equation = dfp.MasterEquation(sgd)
    line = dfp.Grid([-1.5], [2.5], [100])
    along = dfp.solve(equation, start, 6, save=[6], directions=[1.0, 0.5], grid=line)
    exact = dfp.moments(equation, start, 6, save=[6])
    u = np.array([1.0, 0.5])
    # five standard errors
    assert abs(along.mean.item() - exact.mean[0] @ u) < 5 * along.errors["mean"].item()
    assert abs(along.covariance.item() - u @ exact.covariance[0] @ u) < 5 * along.errors["covariance"].item()
    rng = np.random.default_rng(9)
    theta, speed = start.draw(60_000, rng), np.zeros((60_000, 2))
    for n in range(6):
        law = sgd.law if sgd.batches is None else sgd.law.with_batch_size(sgd.samples_at(n))
        slope = theta @ sgd.hessian.T + sgd.gradient + law.increments(theta, rng)
        speed = sgd.momentum * speed + slope
        theta = theta - sgd.learning_rates.at(n) * (slope + sgd.momentum * speed if sgd.nesterov else speed)

    def apart(values):
        counts = np.histogram(values, 25, (-1.5, 2.5))[0] / 60_000
        return np.abs(counts - along.density[0].reshape(25, 4).sum(axis=1) * line.cell_volume).sum()

    assert apart(theta @ u) < 0.04
    assert apart(dfp.Gaussian([0.0, 0.0], 0.02).draw(60_000, rng) @ u) > 0.2


def test_the_start_of_what_is_looked_ahead_is_its_projection():
    """By default step 0 is saved: a Gaussian along the direction, exactly; from a point there is no density yet."""
    equation, u = dfp.MasterEquation(dfp.SGD(regression(), 0.1)), np.array([1.0, 0.5])
    along = dfp.solve(equation, dfp.Gaussian([0.3, -0.2], 0.02), 3, directions=u)
    places, deviation = along.grid.axes[0], np.sqrt(0.02 * u @ u)
    wanted = np.exp(-0.5 * ((places - 0.2) / deviation) ** 2) / deviation / np.sqrt(2 * np.pi)
    assert along.steps.tolist() == [0, 3]
    # automatic boxes cut tails at 1e-9 of the density or less
    np.testing.assert_allclose(along.density[0], wanted, atol=1e-8 * wanted.max())
    with pytest.raises(dfp.UnsupportedError, match="not at a Point"):
        dfp.solve(equation, dfp.Point([0.3, -0.2]), 3, [0, 3], directions=u)


def test_a_file_keeps_the_directions(tmp_path):
    u = np.array([[1.0, 0.0], [0.5, 1.0], [0.0, 2.0]])
    solution = dfp.solve(dfp.MasterEquation(three()), dfp.Gaussian(np.ones(3), 0.3), 4, directions=u)
    solution.save(tmp_path / "along.h5")
    loaded = dfp.load(tmp_path / "along.h5")
    np.testing.assert_array_equal(loaded.directions, u)
    np.testing.assert_array_equal(loaded.density, solution.density)
    assert loaded.parameters == ("direction 1", "direction 2")
    assert made(2).parameters == ("theta_1", "theta_2")


def test_corner_plots_show_marginals_with_their_names():
    solution = dfp.solve(dfp.MasterEquation(three()), dfp.Gaussian(np.ones(3), 0.3), 4, directions=np.eye(3))
    figure = solution.plot()
    assert len(figure.axes) == 9
    assert [a.get_xlabel() for a in figure.axes[6:]] == [f"direction {i} [parameter]" for i in (1, 2, 3)]
    (curve,) = figure.axes[4].get_lines()
    x, y = curve.get_data()
    # the trapezoidal rule of a smooth density: rounding
    assert y.sum() * (x[1] - x[0]) == pytest.approx(1, abs=1e-9)
    assert "theta" not in solution.parameters[0]
    whole = dfp.solve(dfp.MasterEquation(three()), dfp.Gaussian(np.ones(3), 0.3), 4).plot()
    assert whole.axes[6].get_xlabel() == "parameter θ₁ [parameter]"


EIGEN = np.linalg.eigh(H)[1]


@pytest.mark.parametrize("kept", [[1], [0, 2]])
def test_modes_move_by_themselves_in_the_discrete_equation(kept):
    """(T5) along modes: the covariance of all of SGD, and the fourth moment of the whole recursion; a direction that is
    no mode is refused."""
    landscape = dfp.QuadraticLandscape(H, 0.2, dfp.GaussianNoise(np.diag([0.2, 0.3, 0.4])))
    equation, start = dfp.DiscreteFokkerPlanck(dfp.SGD(landscape, 0.005)), dfp.Gaussian(np.ones(3), 0.3)
    u = EIGEN[:, kept]
    along = dfp.solve(equation, start, 30, save=[30], directions=u)
    exact = dfp.moments(equation, start, 30, save=[30])
    assert along.density is not None and along.certificate.ok
    assert np.allclose(along.mean, exact.mean @ u, rtol=0, atol=1e-9)  # of a grid or a series
    assert np.allclose(along.covariance[0], u.T @ exact.covariance[0] @ u, rtol=0, atol=1e-8)
    whole = dfp.solve(equation, start, 30, save=[30], solver=dfp.MomentRecursion()).fourth[0]
    fourth = np.einsum("ijkl,i,j,k,l->", whole, *4 * [u[:, 0]])
    mine = dfp.solve(equation, start, 30, [30], dfp.MomentRecursion(), directions=u).fourth[0].flat[0]
    assert mine == pytest.approx(fourth, rel=1e-11)  # rounding of two recursions
    np.testing.assert_array_equal(along.directions, u)
    with pytest.raises(dfp.UnsupportedError, match="eigenvectors"):
        dfp.solve(equation, start, 3, directions=[1.0, 0, 0])


def test_an_uncoupled_mode_with_curvature_noise_is_exact():
    """Twenty modes, of which one shakes its own curvature: its law is that of one parameter, not a sample of 20 000."""
    table = np.zeros((20, 20))
    table[3, 3], table[5, 7] = 0.8, 0.3
    curvatures, level = np.linspace(0.5, 2, 20), np.linspace(0.1, 0.4, 20)
    sgd = dfp.SGD(dfp.QuadraticLandscape(curvatures, 0.1, dfp.GaussianNoise(level, table)), 0.2, batch_size=2)
    start = dfp.Gaussian(np.ones(20), 0.1)
    along = dfp.solve(dfp.MasterEquation(sgd), start, 8, save=[8], directions=np.eye(20)[3])
    one = dfp.QuadraticLandscape([curvatures[3]], 0.1, dfp.GaussianNoise([level[3]], [0.8]))
    alone = dfp.solve(dfp.MasterEquation(dfp.SGD(one, 0.2, batch_size=2)), dfp.Gaussian([1.0], 0.1), 8, save=[8])
    assert not along.sampled
    np.testing.assert_array_equal(along.density, alone.density)
    assert dfp.solve(dfp.MasterEquation(sgd), start, 8, save=[8], directions=np.eye(20)[5]).sampled


@pytest.mark.parametrize(
    ("directions", "says"),
    [
        (np.ones(2), r"shape \(2, 1\)"),
        (np.ones((3, 4)), r"k <= 3"),
        ([[1.0, 2], [1, 2], [1, 2]], "depend on each other"),
        ([0.0, 0, 0], "depend on each other"),
        ([1.0, np.nan, 0], "finite"),
    ],
)
def test_directions_that_are_none_are_refused(directions, says):
    with pytest.raises(dfp.DFPError, match=says):
        dfp.solve(dfp.MasterEquation(three()), dfp.Gaussian(np.ones(3), 0.3), 4, directions=directions)


def test_a_configuration_names_directions(tmp_path):
    table = {"kind": "quadratic", "hessian": [1.0, 0.6, 0.3, 0.2], "noise": {"gradient": [0.1, 0.2, 0.3, 0.4]}}
    path = written(tmp_path, landscape=table, directions=[[1.0, 0], [0, 1.0], [0, 0], [0, 1.0]],
                   initial={"kind": "gaussian", "mean": [1.0, 1, 1, 1], "covariance": 0.2})  # fmt: skip
    problem = load(path).build()
    assert problem.directions.shape == (4, 2)
    run = CliRunner().invoke(commands.app, ["solve", str(path), "-o", str(tmp_path / "along.h5")])
    assert run.exit_code == 0, run.output
    np.testing.assert_array_equal(dfp.load(tmp_path / "along.h5").directions, problem.directions)
    wrong = written(tmp_path, landscape=table, directions=[1.0, 0, 0],
                    initial={"kind": "gaussian", "mean": [1.0, 1, 1, 1], "covariance": 0.2})  # fmt: skip
    with pytest.raises(dfp.DFPError, match=r"directions has shape \(3, 1\)"):
        load(wrong).build()


def test_what_has_no_density_along_directions_says_so():
    start = dfp.Gaussian(np.ones(3), 0.3)
    with pytest.raises(dfp.UnsupportedError, match="MasterEquation"):
        dfp.solve(dfp.DiscreteFokkerPlanck(three()), start, 4, directions=[1.0, 0, 0])
    with pytest.raises(dfp.UnsupportedError, match="solver"):
        dfp.solve(dfp.MasterEquation(three()), start, 4, directions=[1.0, 0, 0], solver=dfp.Fourier())
    with pytest.raises(dfp.DFPError, match="grid has 2 parameters: what is along directions has 1"):
        grid = dfp.Grid([0, 0], [1, 1], (8, 8))
        dfp.solve(dfp.MasterEquation(three()), start, 4, directions=[1.0, 0, 0], grid=grid)
    with pytest.raises(dfp.UnresolvedError, match="eigenvalue"):
        dfp.solve(dfp.MasterEquation(three()), dfp.Point(np.ones(3)), 4, save=[0, 4], directions=[1.0, 0, 0])
