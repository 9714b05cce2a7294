"""What is asked of densities: marginals, probabilities, quantiles, samples, values between, against Gaussians."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import dfp

MEAN = np.array([0.3, -0.2, 0.5])
COVARIANCE = np.array([[1.0, 0.4, 0.1], [0.4, 0.8, -0.2], [0.1, -0.2, 0.5]])
CELLS = {1: 160, 2: 96, 3: 56}
# Quintic splines at three to four cells a deviation are off by 1e-4 and less of the peak; in boxes less.
TOLERANCE = 2e-5


def gaussian(d):
    state = dfp.Gaussian(MEAN[:d], COVARIANCE[:d, :d])
    reach = 7 * np.sqrt(np.diag(state.covariance))
    grid = dfp.Grid(state.mean - reach, state.mean + reach, CELLS[d])
    return state, dfp.Density(grid, state.on(grid))


@pytest.mark.parametrize("d", [1, 2, 3])
def test_probability_of_boxes(d):
    state, law = gaussian(d)
    exact = stats.multivariate_normal(state.mean, state.covariance, abseps=1e-8, releps=1e-8)
    lower, upper = state.mean - 0.713, state.mean + 1.291
    wanted = float(np.asarray(exact.cdf(upper, lower_limit=lower)))
    assert law.probability(lower, upper) == pytest.approx(wanted, abs=TOLERANCE)
    assert law.probability(-np.inf, np.inf) == pytest.approx(1, abs=1e-9)  # what is beyond seven deviations: 3e-12
    assert law.probability(lower, lower) == 0


@pytest.mark.parametrize("d", [1, 2, 3])
def test_quantiles_and_marginals(d):
    state, law = gaussian(d)
    for axis in range(d):
        exact = stats.norm(state.mean[axis], np.sqrt(state.covariance[axis, axis]))
        shares = [0.001, 0.3, 0.5, 0.99]
        # A tail of 1e-3 divides the error of the splines by a density of 3e-3.
        np.testing.assert_allclose(law.quantile(shares, axis), exact.ppf(shares), atol=1e-4)
        line = law.marginal(axis)
        np.testing.assert_allclose(line.values, exact.pdf(line.grid.axes[0]), atol=1e-9)  # trapezoidal: spectral
    if d == 3:
        pair = law.marginal([2, 0])
        # Sums of smooth values are spectrally exact; what is beyond seven deviations is 3e-12, times 49 for variances.
        np.testing.assert_allclose(pair.mean, state.mean[[2, 0]], atol=1e-9)
        # As above.
        np.testing.assert_allclose(pair.covariance, state.covariance[np.ix_([2, 0], [2, 0])], atol=1e-8)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_values_between_the_centres(d):
    state, law = gaussian(d)
    points = state.mean + np.random.default_rng(1).normal(size=(200, d))
    peak = law.values.max()
    # Quintic splines at four cells a deviation, as for TOLERANCE, of the peak.
    np.testing.assert_allclose(law.interpolate(points), state.density(points), atol=2e-4 * peak)
    assert law.interpolate(law.grid.upper + 1) == 0


@pytest.mark.parametrize("d", [1, 2, 3])
def test_samples_have_the_moments(d):
    state, law = gaussian(d)
    count = 400_000
    points = law.sample(count, seed=3)
    z = (points.mean(axis=0) - state.mean) / np.sqrt(np.diag(state.covariance) / count)
    assert np.max(np.abs(z)) < 5  # 2e-6 for three means
    spread = np.sqrt((np.outer(np.diag(state.covariance), np.diag(state.covariance)) + state.covariance**2) / count)
    assert np.max(np.abs((np.cov(points.T).reshape(d, d) - state.covariance) / spread)) < 5
    np.testing.assert_array_equal(points, law.sample(count, seed=3))
    assert not np.array_equal(points, law.sample(count, seed=4))


def test_places_inside_cells_matter():
    """Negative control: with two cells a deviation, places uniform in cells would miss the variance by h²/6."""
    state, grid, count = dfp.Gaussian(0.0, 1.0), dfp.Grid(-8, 8, 32), 10**6
    points = dfp.Density(grid, state.on(grid)).sample(count, seed=1)
    limit = 5 * np.sqrt(2 / count)  # five standard errors of a variance
    assert abs(points.var() - 1) < limit
    uniform = np.floor(points * 2) / 2 + np.random.default_rng(2).random((count, 1)) / 2
    assert uniform.var() - 1 > 3 * limit


@pytest.fixture(scope="module")
def solution():
    sgd = dfp.SGD(dfp.QuadraticLandscape([1.0, 0.3], 0.0, dfp.GaussianNoise([0.5, 0.2])), 0.1)
    return dfp.solve(dfp.MasterEquation(sgd), dfp.Gaussian([1.0, -1.0], 0.1), 20, [0, 10, 20])


def test_solutions_answer_at_every_step(solution):
    np.testing.assert_allclose(solution.probability(-np.inf, np.inf), 1, atol=1e-6)  # what the certificate allows
    line = solution.marginal(1)
    assert line.density.shape == (3, solution.grid.cells[1]) and line.covariance.shape == (3, 1, 1)
    np.testing.assert_array_equal(line.covariance[:, 0, 0], solution.covariance[:, 1, 1])
    exact = stats.norm(solution.mean[:, 1], np.sqrt(solution.covariance[:, 1, 1]))
    # Splines at some four cells a deviation.
    np.testing.assert_allclose(solution.quantile(0.9, 1), exact.ppf(0.9), atol=1e-4)
    assert solution.interpolate([[0.0, 0.0]]).shape == (3, 1) and solution.sample(7).shape == (7, 2)


def test_a_solution_is_an_initial_state(solution):
    sgd = dfp.SGD(dfp.QuadraticLandscape([1.0, 0.3], 0.0, dfp.GaussianNoise([0.5, 0.2])), 0.1)
    equation = dfp.MasterEquation(sgd)
    whole = dfp.solve(equation, dfp.Gaussian([1.0, -1.0], 0.1), 50, [50])
    resumed = dfp.solve(equation, solution, 30, [30])
    # Exact moments are carried: rounding of two matrix powers.
    np.testing.assert_allclose(resumed.mean, whole.mean, atol=1e-12)
    # Likewise.
    np.testing.assert_allclose(resumed.covariance, whole.covariance, atol=1e-12)
    again = replace(resumed, steps=whole.steps)
    # Splines between cells a third of a deviation wide add some 3e-6.
    assert dfp.compare({"whole": whole, "resumed": again}).at("resumed", 50).total_variation.value < 1e-5


def test_whatever_takes_a_state_takes_a_solution():
    """As its law at the last step, to the bits."""
    features = dfp.GaussianFeatures([1.0], noise=0.3, batch_size=4)
    sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), 0.2)
    equation = dfp.MasterEquation(sgd)
    solution = dfp.solve(equation, dfp.Gaussian(0.3, 0.1), 4)
    for ask in (
        lambda initial: dfp.solve(equation, initial, 3).covariance,
        lambda initial: dfp.moments(equation, initial, 3).covariance,
        lambda initial: dfp.raw_moments(equation, initial, 3),
        lambda initial: dfp.exit_steps(equation, (-2.0, 2.0), initial, 5).survival,
        lambda initial: dfp.loss_law(equation, initial, 3, samples=1000).mean,
        lambda initial: dfp.mean_squared_displacement(equation, initial, 3),
        lambda initial: dfp.best_decay(sgd, initial, 5).decay,
        lambda initial: dfp.optimal_schedule(features, 3, initial).learning_rates,
    ):
        assert np.array_equal(ask(solution), ask(solution.state()))


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (lambda s: s.marginal(2), "axes"),
        (lambda s: s.marginal([0, 0]), "each once"),
        (lambda s: s.marginal([]), "axes"),
        (lambda s: s.quantile(1.0), "between 0 and 1"),
        (lambda s: s.quantile(0.5, axis=5), "axes"),
        (lambda s: s.probability([1, 1], [0, 0]), "in order"),
        (lambda s: s.probability([np.nan, 0], [1, 1]), "in order"),
        (lambda s: s.probability([0, 0, 0], 1), "one number per parameter"),
        (lambda s: s.probability("a", 1), "one number per parameter"),
        (lambda s: s.interpolate([[0.0, 0.0, 0.0]]), "last axis"),
        (lambda s: s.interpolate([np.nan, 0.0]), "finite"),
        (lambda s: s.sample(0), "n="),
        (lambda s: s.sample(1.5), "n="),
        (lambda s: s.sample(3, seed=-1), "seed"),
    ],
)
def test_malformed_questions_are_refused(solution, question, message):
    for asked in (solution, solution.state()):
        with pytest.raises(dfp.DFPError, match=message):
            question(asked)


def test_no_density_is_said():
    sgd = dfp.SGD(dfp.QuadraticLandscape(1.0, 0.0, dfp.GaussianNoise(0.5)), 0.1)
    moments = dfp.solve(dfp.MasterEquation(sgd), dfp.Gaussian(0.0, 1.0), 5, solver=dfp.MomentRecursion())
    for question in (lambda: moments.sample(3), lambda: moments.quantile(0.5)):
        with pytest.raises(dfp.DFPError, match="no density"):
            question()


def test_quantiles_beyond_what_the_grid_holds_are_refused():
    """Of Cauchy's law, whose quantiles are known: 0.4 % of it are outside the automatic grid."""
    noise = dfp.AdditiveNoise(stats.cauchy(scale=0.3))
    equation = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape([1.0], noise=noise), 0.2))
    law, late = dfp.stationary(equation), dfp.solve(equation, dfp.Point(0.0), 50)
    # half of what is outside, as a share of the density there
    assert law.quantile(0.5) == pytest.approx(0.0, abs=1e-3)
    # Cells of a hundredth of the scale: the tail at the quantile, at 32 of them, falls by less than 1e-3 in one.
    assert law.quantile(0.99) == pytest.approx(0.3 * np.tan(0.49 * np.pi), rel=1e-3)
    for found, share in ((law, 0.999), (late, 0.99)):  # of a law the sides are known, of a solution they are not
        with pytest.raises(dfp.DFPError, match=rf"q={share}.*outside the grid.*wider grid"):
            found.quantile([0.5, share])


def test_losses_of_noise_without_a_variance_have_no_mean():
    equation = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.AdditiveNoise(stats.cauchy())), 0.2))
    law = dfp.loss_law(equation, dfp.Point(0.0), 20, samples=1000)
    assert law.mean == law.variance == np.inf and law.cdf(1e9) > 0.9
    with pytest.raises(dfp.UnsupportedError, match=r"no variance.*trajectories=100_000"):
        dfp.exit_steps(dfp.Langevin(equation.sgd), (-1.0, 1.0), dfp.Point(0.0))


def test_optimisers_that_are_not_here_point_to_those_that_are():
    with pytest.raises(AttributeError, match=r"no Adam.*dfp\.RMSProp.*preconditioner"):
        dfp.Adam  # noqa: B018
    with pytest.raises(AttributeError, match="No dfp attribute nothing"):
        dfp.nothing  # noqa: B018
