"""Averages of iterates (T20): against closed forms, the joint recursion of (θ, m) written out, and sampling."""

import copy
import itertools
import pickle

import numpy as np
import pytest
from scipy import stats

import dfp

STEPS = 40
START = dfp.Gaussian([1.0, -0.5], [[0.3, 0.1], [0.1, 0.2]])
HESSIAN = np.array([[1.0, 0.3], [0.3, 0.5]])
NOISE = np.array([[0.4, -0.1], [-0.1, 0.2]])
VALLEY = dfp.QuadraticLandscape(HESSIAN, [0.2, -0.1], dfp.GaussianNoise(NOISE))
RNG = np.random.default_rng(5)
FEATURES = RNG.normal(size=(30, 2))
LEAST_SQUARES = dfp.QuadraticLandscape.from_regression(FEATURES, FEATURES @ [1.0, 2.0] + RNG.normal(size=30), 4)
FIVE = dfp.QuadraticLandscape.from_regression(RNG.normal(size=(40, 5)), RNG.normal(size=40), 4)


def averages_of(sgd):
    return [dfp.ExponentialAverage(sgd, decay=0.8), dfp.TailAverage(sgd, start=15), dfp.TailAverage(sgd)]


def weight(average, n):
    if isinstance(average, dfp.ExponentialAverage):
        return 1 - average.decay
    return 1.0 if n < average.start else 1 / (n + 1 - average.start)


def brute(average, hessian, gradient, noise_at, rates, beta=0.0, nesterov=False):
    """Mean and covariance of m by the raw second moments of (1, θ, v, m), one matrix a step."""
    d = len(hessian)
    eye, zero, column = np.eye(d), np.zeros((d, d)), np.zeros((d, 1))
    mean = np.concatenate([[1.0], START.mean, np.zeros(d), START.mean])
    second = np.outer(mean, mean)
    for rows in (slice(1, 1 + d), slice(1 + 2 * d, None)):
        for columns in (slice(1, 1 + d), slice(1 + 2 * d, None)):
            second[rows, columns] += START.covariance
    yield START.mean, START.covariance
    for n, eta in enumerate(rates):
        w, g = weight(average, n), gradient[:, None]
        speed = np.hstack([g, hessian, beta * eye, zero])
        move = np.hstack([g, hessian, zero, zero]) + beta * speed if nesterov else speed
        theta = np.hstack([column, eye, zero, zero]) - eta * move
        keep = np.hstack([column, zero, zero, eye])
        whole = np.vstack([np.eye(1 + 3 * d)[:1], theta, speed, (1 - w) * keep + w * theta])
        push = np.vstack(
            [np.zeros((1, d)), -eta * (1 + beta * nesterov) * eye, eye, -w * eta * (1 + beta * nesterov) * eye]
        )
        second = whole @ second @ whole.T + push @ noise_at(second[0, 1 : 1 + d], second[1 : 1 + d, 1 : 1 + d]) @ push.T
        at = second[0, 1 + 2 * d :]
        yield at, second[1 + 2 * d :, 1 + 2 * d :] - np.outer(at, at)


def agrees(found, expected, tolerance=1e-11):
    """Rounding of 40 steps of raw moments of order 1."""
    for n, (mean, covariance) in enumerate(expected):
        assert np.abs(found.mean[n] - mean).max() < tolerance
        assert np.abs(found.covariance[n] - covariance).max() < tolerance


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize(
    "settings",
    [{}, {"momentum": 0.7}, {"momentum": 0.7, "nesterov": True}, {"learning_rate": dfp.CosineSchedule(0.4, STEPS)}],
)
def test_moments_follow_the_joint_recursion_for_additive_noise(which, settings):
    sgd = dfp.SGD(VALLEY, **({"learning_rate": 0.3} | settings))
    average = averages_of(sgd)[which]
    rates = sgd.learning_rates.values(0, STEPS)
    found = dfp.moments(dfp.MasterEquation(average), START, STEPS)
    expected = brute(average, HESSIAN, np.array([0.2, -0.1]), lambda *_: NOISE, rates, sgd.momentum, sgd.nesterov)
    agrees(found, expected)


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("beta", [0.0, 0.6])
def test_moments_follow_the_joint_recursion_for_minibatches(which, beta):
    sgd = dfp.SGD(LEAST_SQUARES, 0.1, momentum=beta)
    average = averages_of(sgd)[which]

    def noise(mean, second):
        return sgd.noise.mean_covariance(np.ones(()), mean, second)

    found = dfp.moments(dfp.MasterEquation(average), START, STEPS, save=range(STEPS + 1))
    agrees(found, brute(average, sgd.hessian, sgd.gradient, noise, np.full(STEPS, 0.1), beta))


def test_a_preconditioner_turns_nothing_wrong():
    matrix = np.array([[0.5, 0.1], [0.1, 1.0]])
    sgd = dfp.SGD(VALLEY, 0.3, preconditioner=matrix, momentum=0.5)
    average = dfp.ExponentialAverage(sgd, 0.8)
    found = dfp.moments(dfp.MasterEquation(average), START, STEPS)
    noise = matrix @ NOISE @ matrix
    agrees(found, brute(average, matrix @ HESSIAN, matrix @ [0.2, -0.1], lambda *_: noise, np.full(STEPS, 0.3), 0.5))


@pytest.mark.parametrize("which", range(3))
def test_moments_agree_with_samples(which):
    """z below 5 in each of 5 figures: false alarms 3e-6; the iterate's own covariance is the control."""
    sgd, count = dfp.SGD(LEAST_SQUARES, 0.1), 20_000
    average, rng = averages_of(sgd)[which], np.random.default_rng(11)
    theta = START.draw(count, rng)
    mean = theta.copy()
    for n in range(STEPS):
        theta = theta - 0.1 * (theta @ sgd.hessian.T + sgd.gradient + sgd.law.increments(theta, rng))
        mean += weight(average, n) * (theta - mean)

    def scores(exact):
        centred = mean - exact.mean[0]
        first = centred.mean(axis=0) / (centred.std(axis=0) / np.sqrt(count))
        products = np.stack([centred[:, i] * centred[:, j] for i, j in ((0, 0), (0, 1), (1, 1))], axis=1)
        wanted = exact.covariance[0][[0, 0, 1], [0, 1, 1]]
        return np.concatenate([first, (products.mean(axis=0) - wanted) / (products.std(axis=0) / np.sqrt(count))])

    assert np.abs(scores(dfp.moments(dfp.MasterEquation(average), START, STEPS, save=[STEPS]))).max() < 5
    assert np.abs(scores(dfp.moments(dfp.MasterEquation(sgd), START, STEPS, save=[STEPS]))).max() > 10


def test_the_mean_of_the_tail_has_covariance_one_over_n():
    """n Cov → H⁻¹CH⁻¹ with an error of order 1/n."""
    wanted = np.linalg.inv(HESSIAN) @ NOISE @ np.linalg.inv(HESSIAN)
    found = dfp.moments(dfp.MasterEquation(dfp.TailAverage(dfp.SGD(VALLEY, 0.5))), START, 8000, save=[4000, 8000])
    errors = [np.abs(n * c - wanted).max() for n, c in zip(found.steps, found.covariance, strict=True)]
    assert errors[1] < 2e-3 * np.abs(wanted).max()
    assert np.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99, 0.9999])
def test_stationary_variance_is_t20(decay):
    """Var m = V (1−γ)(1+γa)/((1+γ)(1−γa)), a = 1−ηλ, to rounding; that of the last iterate must fail."""
    for step in (0.1, 0.9, 1.7):
        bowl = dfp.QuadraticLandscape([2.0], 0.0, dfp.GaussianNoise([0.5]))
        sgd = dfp.SGD(bowl, step / 2)
        a, last = 1 - step, dfp.stationary_moments(dfp.MasterEquation(sgd)).covariance.item()
        wanted = last * (1 - decay) * (1 + decay * a) / ((1 + decay) * (1 - decay * a))
        equation = dfp.MasterEquation(dfp.ExponentialAverage(sgd, decay))
        assert dfp.stationary_moments(equation).covariance.item() == pytest.approx(wanted, rel=1e-12)
        assert decay == 0 or abs(last - wanted) > 1e-3 * wanted
        density = dfp.stationary(equation)
        wanted_density = dfp.Gaussian([0.0], [[wanted]]).on(density.grid)
        assert np.abs(density.values - wanted_density).sum() * density.grid.cell_volume < 1e-10
        control = dfp.Gaussian([0.0], [[last]]).on(density.grid)
        assert decay == 0 or np.abs(density.values - control).sum() * density.grid.cell_volume > 1e-3


@pytest.mark.parametrize("landscape", [VALLEY, LEAST_SQUARES])
@pytest.mark.parametrize("settings", [{}, {"momentum": 0.6}, {"momentum": 0.6, "nesterov": True},
                                      {"momentum": 0.5, "preconditioner": [[0.5, 0.1], [0.1, 1.0]]}])  # fmt: skip
def test_stationary_moments_are_those_of_late_steps(landscape, settings):
    """After 2000 steps, where 0.8^n and the slowest mode are below rounding."""
    equation = dfp.MasterEquation(dfp.ExponentialAverage(dfp.SGD(landscape, 0.15, **settings), 0.8))
    late = dfp.moments(equation, START, 2000, save=[2000])
    settled = dfp.stationary_moments(equation)
    assert np.allclose(settled.mean, late.mean[0], rtol=0, atol=1e-11)
    assert np.allclose(settled.covariance, late.covariance[0], rtol=1e-10, atol=1e-13)


def test_where_no_average_settles():
    for average in (dfp.TailAverage(dfp.SGD(VALLEY, 0.3)), dfp.ExponentialAverage(dfp.SGD(VALLEY, 3.0), 0.9)):
        for ask in (dfp.stationary, dfp.stationary_moments):
            with pytest.raises(dfp.NoStationaryDensity):
                ask(dfp.MasterEquation(average))
    with pytest.raises(dfp.UnsupportedError):
        dfp.stationary(dfp.MasterEquation(dfp.ExponentialAverage(dfp.SGD(LEAST_SQUARES, 0.1))))


@pytest.mark.parametrize("which", range(3))
def test_densities_are_gaussians_with_those_moments(which, tmp_path):
    """L1 below 1e-10 against the Gaussian of the recursion written out; that of the iterates must fail."""
    sgd = dfp.SGD(VALLEY, 0.3)
    average = averages_of(sgd)[which]
    solution = dfp.solve(dfp.MasterEquation(average), START, STEPS)
    mean, covariance = list(brute(average, HESSIAN, np.array([0.2, -0.1]), lambda *_: NOISE, np.full(STEPS, 0.3)))[-1]
    volume = solution.grid.cell_volume
    assert np.abs(solution.density[-1] - dfp.Gaussian(mean, covariance).on(solution.grid)).sum() * volume < 1e-10
    control = dfp.moments(dfp.MasterEquation(sgd), START, STEPS, save=[STEPS])
    other = dfp.Gaussian(control.mean[0], control.covariance[0]).on(solution.grid)
    assert np.abs(solution.density[-1] - other).sum() * volume > 1e-2
    assert not solution.certificate.warnings
    solution.save(tmp_path / "average.h5")
    again = dfp.load(tmp_path / "average.h5")
    assert np.array_equal(again.density, solution.density)
    assert again.provenance["average"] == type(average).__name__


def test_the_best_decay_is_best():
    """Against a scan of ``moments`` and ``excess_loss``; no neighbour, 1 − γ changed by 1 %, is better."""
    sgd = dfp.SGD(LEAST_SQUARES, 0.2)
    best = dfp.best_decay(sgd, START, 60)

    def risk(decay):
        average = dfp.ExponentialAverage(sgd, decay)
        return dfp.excess_loss(sgd, dfp.moments(dfp.MasterEquation(average), START, 60, save=[60])).item()

    assert best.risk == pytest.approx(risk(best.decay), rel=1e-12)
    assert best.last_risk == pytest.approx(risk(0.0), rel=1e-12)
    assert best.risk < best.last_risk
    for factor in (0.99, 1.01):
        assert risk(1 - factor * (1 - best.decay)) > best.risk
    assert all(risk(decay) >= best.risk for decay in np.linspace(0, 0.999, 40))


def test_from_afar_the_last_iterate_is_best():
    best = dfp.best_decay(dfp.SGD(VALLEY, 0.1), dfp.Point([100.0, 100.0]), 5)
    assert best.decay == 0
    assert best.risk == best.last_risk
    for steps in (0, 1.5):
        with pytest.raises(dfp.DFPError):
            dfp.best_decay(dfp.SGD(VALLEY, 0.1), START, steps)
    with pytest.raises(dfp.DFPError):
        dfp.best_decay(dfp.ExponentialAverage(dfp.SGD(VALLEY, 0.1)), START, 5)
    with np.errstate(all="ignore"), pytest.raises(dfp.DFPError, match="overflows"):
        dfp.best_decay(dfp.SGD(VALLEY, 100.0), START, 2000)


def test_the_wrong_process_is_never_answered_for():
    sgd = dfp.SGD(VALLEY, 0.3)
    average = dfp.ExponentialAverage(sgd)
    equation = dfp.MasterEquation(average)
    assert average.iterate is sgd
    grid = dfp.Grid([-1, -1], [1, 1], 8)
    for ask in (
        lambda: dfp.spectrum(equation),
        lambda: dfp.entropy_production(equation),
        lambda: dfp.probability_current(equation, grid),
        lambda: dfp.autocorrelation(equation, [5]),
        lambda: dfp.effective_temperature(equation),
        lambda: dfp.mean_squared_displacement(equation, START, 5),
        lambda: dfp.loss_law(equation, START, 5),
        lambda: dfp.exit_steps(equation, grid, START),
        lambda: dfp.DiscreteFokkerPlanck(average),
        lambda: dfp.Langevin(average),
        lambda: dfp.ModifiedLangevin(average),
        lambda: dfp.solve(equation, START, 3, solver=dfp.Fourier()),
        lambda: dfp.solve(equation, START, 3, tolerance=1e-3),
        lambda: dfp.solve(equation, START, 3, solver=dfp.MomentRecursion()),
        lambda: dfp.stationary(equation, solver=dfp.Fourier()),
        lambda: dfp.stationary_excess_loss(equation),
        lambda: equation.sgd,
    ):
        with pytest.raises(dfp.UnsupportedError):
            ask()
    for ask in (
        lambda: dfp.modes(average),
        lambda: dfp.escape(average, [0.0, 0.0], grid),
        lambda: dfp.MasterEquation(3),
        lambda: dfp.excess_loss(average, dfp.moments(equation, START, 3)),
        lambda: dfp.expected_loss(average, dfp.moments(equation, START, 3)),
    ):
        with pytest.raises(dfp.DFPError):
            ask()


def test_equations_still_copy():
    equation = dfp.MasterEquation(dfp.SGD(VALLEY, 0.3))
    for other in (copy.deepcopy(equation), pickle.loads(pickle.dumps(equation))):
        assert isinstance(other, dfp.MasterEquation)
        assert np.array_equal(dfp.moments(other, START, 3).mean, dfp.moments(equation, START, 3).mean)


def test_malformed_arguments():
    sgd = dfp.SGD(VALLEY, 0.3)
    for make in (
        lambda: dfp.ExponentialAverage(3),
        lambda: dfp.ExponentialAverage(sgd, 1.0),
        lambda: dfp.ExponentialAverage(sgd, -0.1),
        lambda: dfp.ExponentialAverage(sgd, np.nan),
        lambda: dfp.TailAverage(sgd, -1),
        lambda: dfp.TailAverage(sgd, 1.5),
        lambda: dfp.TailAverage(None),
        lambda: dfp.moments(dfp.MasterEquation(dfp.TailAverage(sgd)), dfp.Point([0.0]), 3),
        lambda: dfp.moments(dfp.MasterEquation(dfp.TailAverage(sgd)), START, -3),
    ):
        with pytest.raises(dfp.DFPError):
            make()
    with pytest.raises(dfp.UnsupportedError, match="replace=False"):
        dfp.TailAverage(dfp.SGD(LEAST_SQUARES, 0.1, replace=False))


SKEWED = dfp.QuadraticLandscape([1.2], [0.1], dfp.AdditiveNoise(stats.expon()))


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("settings", [{}, {"momentum": 0.5}, {"learning_rate": dfp.CosineSchedule(0.6, 6)}])
def test_densities_of_skewed_noise_are_those_of_every_path(which, settings):
    """Noise of two values: after six steps m has 64 places, found one by one, each as wide as the start left it."""
    coin = dfp.QuadraticLandscape([1.2], [0.1], dfp.AdditiveNoise(stats.bernoulli(0.3)))
    sgd, start, steps = dfp.SGD(coin, **({"learning_rate": 0.4} | settings)), dfp.Gaussian([0.5], 4.0), 6
    average = [dfp.ExponentialAverage(sgd, 0.5), dfp.TailAverage(sgd, 2), dfp.TailAverage(sgd)][which]
    rates = sgd.learning_rates.values(0, steps)

    def followed(theta, tosses):
        mean, speed = theta, 0.0
        for n, toss in enumerate(tosses):
            speed = sgd.momentum * speed + 1.2 * theta + 0.1 + toss - 0.3
            theta -= rates[n] * speed
            mean += weight(average, n) * (theta - mean)
        return mean

    solution = dfp.solve(dfp.MasterEquation(average), start, steps)
    x, wanted = solution.grid.axes[0], 0.0
    width = 2 * abs(followed(1.0, np.zeros(steps)) - followed(0.0, np.zeros(steps)))
    for tosses in itertools.product((0, 1), repeat=steps):
        wanted = wanted + 0.3 ** sum(tosses) * 0.7 ** (steps - sum(tosses)) * stats.norm.pdf(
            x, followed(0.5, tosses), width
        )
    apart = np.abs(solution.density[-1] - wanted).sum() * solution.grid.cell_volume
    assert apart < 1e-10  # one closed form: rounding and the tails beyond the box
    assert not solution.certificate.warnings
    gaussian = stats.norm.pdf(x, solution.mean[-1, 0], solution.covariance[-1, 0, 0] ** 0.5)
    assert np.abs(solution.density[-1] - gaussian).sum() * solution.grid.cell_volume > 1e-8


def test_minibatches_along_directions_and_whole_are_one():
    """The marginal of the plane and the law of one direction; 30 samples that share a Hessian."""
    gradients = np.random.default_rng(4).exponential(size=(30, 2))
    sgd = dfp.SGD(dfp.QuadraticLandscape.from_samples(HESSIAN, gradients, 4), 0.3)
    equation = dfp.MasterEquation(dfp.ExponentialAverage(sgd, 0.7))
    whole = dfp.solve(equation, START, 12)
    line = dfp.Grid(whole.grid.lower[:1], whole.grid.upper[:1], whole.grid.cells[:1])
    along = dfp.solve(equation, START, 12, grid=line, directions=[1.0, 0.0])
    marginal = whole.density[-1].sum(axis=-1) * whole.grid.spacing[1]
    assert np.abs(along.density[-1] - marginal).max() < 1e-9 * marginal.max()
    assert along.directions.shape == (2, 1)


@pytest.mark.parametrize("decay", [0.5, 0.95])
def test_a_skewed_average_settles(decay):
    """Third cumulant of the stationary m of one mode: −κ₃ η³ Σ_n c_n³, c_n what m holds of noise n steps old."""
    sgd = dfp.SGD(SKEWED, 0.4)
    law = dfp.stationary(dfp.MasterEquation(dfp.ExponentialAverage(sgd, decay)))
    x, cells = law.grid.axes[0], law.values * law.grid.cell_volume
    mean = cells @ x
    shares = [0.0]
    for n in range(2000):
        shares.append(decay * shares[-1] + (1 - decay) * (1 - 0.4 * 1.2) ** n)
    third = -2 * 0.4**3 * np.sum(np.array(shares) ** 3)  # an exponential law has κ₃ = 2
    assert cells @ (x - mean) ** 3 == pytest.approx(third, rel=1e-6)  # tails beyond the box
    with pytest.raises(dfp.UnsupportedError, match="MonteCarlo"):
        dfp.stationary(dfp.MasterEquation(dfp.ExponentialAverage(dfp.SGD(LEAST_SQUARES, 0.1))))


LAWS = {
    "kernels": LEAST_SQUARES,
    "one by one": FIVE,
    "functions": dfp.GaussianFeatures([1.0, 0.5], 0.3, 4, optimum=[0.5, -0.2]),  # drawn as whole arrays
}


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("settings", [{}, {"momentum": 0.6, "learning_rate": dfp.CosineSchedule(0.1, STEPS)}])
def test_trajectories_carry_the_average_beside_them(which, law, settings):
    """z below 5 in the 5 or 20 figures of either step: false alarms 3e-5; those of the iterates must fail.

    From four parameters on trajectories of minibatches run one by one.
    """
    landscape = LAWS[law]
    sgd, d = dfp.SGD(landscape, **({"learning_rate": 0.1} | settings)), landscape.dimension
    average, start = averages_of(sgd)[which], START if d == 2 else dfp.Gaussian(np.ones(d), 0.1)
    solution = dfp.solve(dfp.MasterEquation(average), start, STEPS, [10, STEPS], dfp.MonteCarlo(30_000, seed=2))
    exact = dfp.moments(dfp.MasterEquation(average), start, STEPS, [10, STEPS])
    other = dfp.moments(dfp.MasterEquation(sgd), start, STEPS, [10, STEPS])

    def score(of):
        first = (solution.mean - of.mean) / solution.errors["mean"]
        return max(
            np.abs(first).max(), np.abs((solution.covariance - of.covariance) / solution.errors["covariance"]).max()
        )

    assert score(exact) < 5
    assert score(other) > 10
    assert solution.equation == dfp.MasterEquation(average).label
    assert np.nanmax(solution.certificate.mean_error) < 5
    assert solution.provenance["average"] == type(average).__name__


def test_files_of_averages_are_made_again(tmp_path):
    equation = dfp.MasterEquation(dfp.TailAverage(dfp.SGD(LEAST_SQUARES, 0.1), 5))
    sampled = dfp.solve(equation, START, 12, [12], dfp.MonteCarlo(2000, seed=4))
    sampled.save(tmp_path / "sampled.h5")
    np.testing.assert_array_equal(dfp.rerun(tmp_path / "sampled.h5").density, sampled.density)


def test_histograms_are_the_closed_density():
    """Cells of 30 000 trajectories: χ² of those with over 50 expected within 5 deviations; another decay must fail."""
    sgd = dfp.SGD(SKEWED, 0.4)
    equation = dfp.MasterEquation(dfp.ExponentialAverage(sgd, 0.7))
    grid = dfp.Grid([-1.2], [1.0], [40])
    sampled = dfp.solve(equation, dfp.Point([0.3]), 9, solver=dfp.MonteCarlo(30_000, seed=1), grid=grid)
    for decay, fits in ((0.7, True), (0.8, False)):
        exact = dfp.solve(dfp.MasterEquation(dfp.ExponentialAverage(sgd, decay)), dfp.Point([0.3]), 9,
                          grid=dfp.Grid([-1.2], [1.0], [4000]))  # fmt: skip
        expected = exact.density[-1].reshape(40, 100).sum(axis=1) * exact.grid.cell_volume * 30_000
        counts = sampled.density[-1] * grid.cell_volume * 30_000
        seen = expected > 50
        statistic, freedom = np.sum((counts - expected)[seen] ** 2 / expected[seen]), seen.sum()
        assert (abs(statistic - freedom) < 5 * np.sqrt(2 * freedom)) == fits


def test_averages_of_noise_that_depends_on_the_place_are_sampled_by_themselves():
    equation = dfp.MasterEquation(dfp.TailAverage(dfp.SGD(LEAST_SQUARES, 0.1)))
    assert dfp.solve(equation, START, 1).sampled
    with pytest.raises(dfp.UnsupportedError, match="average"):
        dfp.solve(equation, START, 5, solver=dfp.Hermite())
    with pytest.raises(dfp.UnsupportedError, match="d <= 3"):
        four = dfp.SGD(dfp.QuadraticLandscape(np.ones(4), 0.0, dfp.GaussianNoise(np.ones(4))), 0.1)
        dfp.solve(dfp.MasterEquation(dfp.TailAverage(four)), dfp.Gaussian(np.zeros(4), 1.0), 5)
