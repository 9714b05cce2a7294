"""Gradient noise with tails of its own: stationary laws that have no variance, and modes that say so."""

import numpy as np
import pytest
from dfp_solvers.characteristic import Univariate
from scipy import stats

import dfp


def one(law, eta=0.3, curvature=1.0, gradient=0.2, **options):
    return dfp.SGD(dfp.QuadraticLandscape([curvature], gradient, dfp.AdditiveNoise(law)), eta, **options)


@pytest.mark.parametrize(
    ("law", "index"),
    [
        (stats.cauchy(), 1), (stats.t(1.5), 1.5), (stats.t(20), 20), (stats.levy_stable(1.3, 0.2), 1.3),
        (stats.burr(3, 2), 3), (stats.genpareto(0.4), 2.5), (stats.invgamma(3), 3), (stats.f(5, 6), 3),
        (stats.fisk(2.5, scale=7.0), 2.5), (stats.zipf(3.5), 2.5), (stats.halfcauchy(), 1),
        (stats.norm(), np.inf), (stats.lognorm(3.0), np.inf), (stats.laplace(), np.inf), (stats.uniform(), np.inf),
        (stats.weibull_min(0.3), np.inf), (stats.poisson(3), np.inf), (stats.levy_stable(2.0, 0.0), np.inf),
    ],
)  # fmt: skip
def test_tail_indices_of_laws(law, index):
    # Read off at probabilities of 1e-40 … 1e-80, where the next term of a tail is below 1e-4.
    assert Univariate(law).tail_index == pytest.approx(index, rel=1e-4)


@pytest.mark.parametrize("eta", [0.3, 1.6])
def test_cauchy_noise_settles_in_a_cauchy_law(eta):
    """Σ_s |1−ηλ|^s η = η/(1−|1−ηλ|), also where it overshoots."""
    law = dfp.stationary(dfp.MasterEquation(one(stats.cauchy(scale=0.5), eta)))
    scale = 0.5 * eta / (1 - abs(1 - eta))
    truth = stats.cauchy(-0.2, scale)
    theta = law.grid.axes[0]
    # rounding
    np.testing.assert_allclose(law.values, truth.pdf(theta), rtol=1e-12)
    beyond = truth.cdf(law.grid.lower[0]) + truth.sf(law.grid.upper[0])
    assert law.outside == pytest.approx(beyond, rel=1e-10)
    # the box holds all but a percent of such tails
    assert law.error == 0 and 1e-4 < law.outside < 0.01
    wrong = stats.cauchy(-0.2, scale * (1 + eta))
    assert np.max(np.abs(law.values / wrong.pdf(theta) - 1)) > 0.1  # the control: another scale


@pytest.mark.parametrize(
    ("alpha", "beta", "eta"), [(1.3, 0.5, 0.3), (1.3, 0.5, 1.6), (1.7, -1.0, 0.5), (0.8, 0.0, 0.4)]
)
def test_stable_noise_settles_in_a_stable_law(alpha, beta, eta):
    """The closed law, and a long product of characteristic functions from another start, by the same solver."""
    equation = dfp.MasterEquation(one(stats.levy_stable(alpha, beta, scale=0.4), eta))
    law = dfp.stationary(equation)
    steps = int(np.ceil(40 / -np.log(abs(1 - eta))))
    late = dfp.solve(equation, dfp.Point(0.3), steps, [steps], dfp.Fourier(), law.grid)
    distance = float(np.abs(late.density[-1] - law.values).sum()) * law.grid.cell_volume
    assert distance < law.error + float(late.certificate.error[-1])
    # Skewness turns with the sign of the step: mirrored, the law would be far off.
    if beta:
        mirrored = float(np.abs(np.interp(-0.4 - law.grid.axes[0], law.grid.axes[0], law.values) - law.values).sum())
        assert mirrored * law.grid.cell_volume > 10 * distance


def test_student_noise_without_a_variance_settles():
    """Shares of 100 000 late trajectories against the distribution function: z-scores, Bonferroni over 40 edges."""
    eta = 0.3
    law = dfp.stationary(dfp.MasterEquation(one(stats.t(1.5), eta)))
    rng, theta = np.random.default_rng(5), np.zeros(100_000)
    for _ in range(60):  # the start is forgotten to 0.7^60 = 5e-10
        theta = theta - eta * (theta + 0.2 + stats.t(1.5).rvs(theta.size, random_state=rng))
    edges = np.append(law.grid.axes[0] - law.grid.spacing[0] / 2, 0)
    below = np.cumsum(law.values)[:-1] * law.grid.cell_volume
    places = edges[1 : len(below) + 1]
    chosen = np.searchsorted(below, np.linspace(0.03, 0.97, 40))
    shares = np.searchsorted(np.sort(theta), places[chosen]) / theta.size
    # Mass outside is split between both sides in a way the grid does not know.
    slack = law.outside + law.error
    deviation = np.sqrt(below[chosen] * (1 - below[chosen]) / theta.size)
    assert np.all(np.abs(shares - below[chosen]) < 4.9 * deviation + slack)  # false alarm 4e-5
    shifted = np.searchsorted(np.sort(theta + 0.05), places[chosen]) / theta.size
    assert not np.all(np.abs(shifted - below[chosen]) < 4.9 * deviation + slack)  # the control


@pytest.mark.parametrize("law", [stats.cauchy(), stats.t(1.5), stats.levy_stable(1.3, 0.3), stats.t(2.0)])
def test_modes_of_noise_without_a_variance(law):
    report = dfp.modes(one(law))
    (mode,) = report
    assert mode.regime == report.regime == "heavy-tailed"
    assert mode.tail_index == Univariate(law).tail_index
    assert mode.stationary_variance == mode.variance(3) == np.inf
    assert mode.largest_stable_learning_rate == report.largest_stable_learning_rate == 0
    assert "variances are finite at none" in str(report) and "noise without a variance" in str(report)
    assert dfp.modes(one(law, 2.5)).regime == "unstable"
    assert dfp.modes(one(law, curvature=0.0, gradient=0.0)).regime == "diffusive"


def test_noise_with_a_variance_hands_on_its_tail():
    (mode,) = dfp.modes(one(stats.t(5)))
    assert (mode.regime, mode.tail_index) == ("confined", 5)
    # rounding
    assert mode.stationary_variance == pytest.approx(0.3**2 * 5 / 3 / (1 - 0.7**2), rel=1e-12)
    (light,) = dfp.modes(one(stats.laplace()))
    assert light.tail_index == np.inf
    pair = dfp.QuadraticLandscape([1.0, 0.5], 0.0, dfp.AdditiveNoise([stats.cauchy(), stats.norm()]))
    soft, sharp = dfp.modes(dfp.SGD(pair, 0.3))
    assert (soft.regime, soft.tail_index, sharp.regime, sharp.tail_index) == ("confined", np.inf, "heavy-tailed", 1)
    turned = dfp.QuadraticLandscape([[1.0, 0.3], [0.3, 0.5]], 0.0, dfp.AdditiveNoise([stats.cauchy(), stats.norm()]))
    assert [mode.tail_index for mode in dfp.modes(dfp.SGD(turned, 0.3))] == [1, 1]


def test_what_has_no_law_is_refused_in_words():
    cauchy = stats.cauchy()
    for equation in (dfp.Langevin(one(cauchy)), dfp.DiscreteFokkerPlanck(one(cauchy))):
        with pytest.raises(dfp.UnsupportedError, match="noise has no variance"):
            dfp.stationary(equation)
    with pytest.raises(dfp.UnsupportedError, match="noise has no variance"):
        dfp.stationary(dfp.MasterEquation(one(cauchy)), solver=dfp.Transfer())
    with pytest.raises(dfp.NoStationaryDensity, match="no variance"):
        dfp.stationary_moments(dfp.MasterEquation(one(cauchy)))
    with pytest.raises(dfp.NoStationaryDensity, match="unstable"):
        dfp.stationary(dfp.MasterEquation(one(cauchy, 2.5)))


def test_a_tail_of_minibatches_that_is_no_pure_power():
    """A ∈ {16, 1/16}: x^κ P(|θ| > x) keeps swinging with the period log 16 of log x, as 2 million samples show."""
    factors, shares = np.array([16.0, 1 / 16]), np.array([0.25, 0.75])
    h = np.repeat(1 - factors, [1, 3])[:, None, None]
    arithmetic = dfp.SGD(dfp.QuadraticLandscape.from_samples(h, np.array([[1.0], [-1.0], [0.5], [-0.5]])), 1.0)
    (mode,) = dfp.modes(arithmetic)
    assert mode.tail_index == pytest.approx(np.log(3) / np.log(16), rel=1e-10)  # 16^κ/4 + 3/4·16^−κ = 1
    assert mode.log_period == pytest.approx(np.log(16), rel=1e-12)
    assert "log-periodic tail" in str(dfp.modes(arithmetic))
    rng, theta = np.random.default_rng(3), np.zeros(2_000_000)
    for _ in range(60):
        theta = rng.choice(factors, theta.size, p=shares) * theta - rng.choice([1.0, -1.0], theta.size)
    x = 16.0 ** np.arange(3.0, 4.0, 0.125)
    level = x**mode.tail_index * np.array([np.mean(np.abs(theta) > one) for one in x])
    assert level.max() > 1.5 * level.min()
    plain = np.array([0.2, 0.3, 0.5, 7.7])
    (other,) = dfp.modes(
        dfp.SGD(dfp.QuadraticLandscape.from_samples(plain[:, None, None], np.array([[1.0], [-1], [2], [-2]])), 0.3)
    )
    assert 0 < other.tail_index < 2 and other.log_period is None
