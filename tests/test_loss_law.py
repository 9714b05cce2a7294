"""Laws of the loss: known χ² laws, a second method (series or differences of two), moments, samples, refusals."""

import numpy as np
import pytest
from dfp_solvers import quadratic_form
from scipy import stats

import dfp

# Total variation that two exact methods may differ by: quadrature on 4000 points of smooth densities.
VARIATION = 1e-8


def ruben(x, weights, terms=3000):
    """Density of ½ Σ σ_j z_j² as a mixture of χ² laws with β the least weight (Ruben 1962)."""
    weights = np.sort(weights) / 2
    beta, d = weights[0], weights.size
    left = 1 - beta / weights
    mixture, powers = np.empty(terms), [np.sum(left**k) / 2 for k in range(1, terms)]
    mixture[0] = np.prod(np.sqrt(beta / weights))
    for k in range(1, terms):
        mixture[k] = np.dot(powers[:k][::-1], mixture[:k]) / k
    return sum(a * stats.chi2.pdf(x / beta, d + 2 * k) / beta for k, a in enumerate(mixture))


@pytest.mark.parametrize(
    ("weights", "shifts", "law"),
    [
        ([2.0], [0.0], stats.chi2(1)),
        ([2.0], [1.5], stats.ncx2(1, 2.25)),
        ([2.0] * 5, [0.0] * 5, stats.chi2(5)),
        ([2.0] * 3, [1.0, 2.0, 0.0], stats.ncx2(3, 5)),
    ],
)
def test_equal_weights_are_chi_squared(weights, shifts, law):
    """To rounding, also at the pole of one weight and in both tails."""
    x, w, m = np.geomspace(1e-8, 60, 80), np.array(weights), np.array(shifts)
    np.testing.assert_allclose(quadratic_form.density(x, w, m), law.pdf(x), rtol=1e-11)
    np.testing.assert_allclose(quadratic_form.cumulative(x, w, m), law.cdf(x), atol=1e-13)


@pytest.mark.parametrize("weights", [[1.0, 0.4, 0.1], [3.0, 0.05, 0.05, 0.04], [1.0, 0.9, 0.8, 0.2, 0.1, 0.1]])
def test_total_variation_against_a_series_of_chi_squares(weights):
    x = np.linspace(1e-9, 1, 4001) ** 2 * 30
    ours = quadratic_form.density(x, np.array(weights), np.zeros(len(weights)))
    other = ruben(x, np.array(weights))
    assert np.trapezoid(np.abs(ours - other), x) / 2 < VARIATION
    wrong = ruben(x, np.array(weights) * 1.001)
    assert np.trapezoid(np.abs(ours - wrong), x) / 2 > 1e3 * VARIATION


def test_weights_of_both_signs_are_a_difference():
    """Two pairs of equal weights: exponential minus exponential, a Laplace law; to rounding."""
    x, w = np.linspace(-30, 30, 62), np.array([2.0, 2, -2, -2])
    law = stats.laplace(scale=2)
    np.testing.assert_allclose(quadratic_form.density(x, w, np.zeros(4)), law.pdf(x), rtol=1e-11)
    np.testing.assert_allclose(quadratic_form.cumulative(x, w, np.zeros(4)), law.cdf(x), atol=1e-13)


def additive(d=4, signs=1.0):
    rng = np.random.default_rng(5)
    q = np.linalg.qr(rng.standard_normal((d, d)))[0]
    curvatures = np.linspace(0.3, 2.0, d) * signs
    noise = dfp.GaussianNoise(0.1 * np.eye(d) + 0.2 * np.outer(q[0], q[0]))
    return dfp.QuadraticLandscape((q * curvatures) @ q.T, gradient=0.3, noise=noise)


@pytest.mark.parametrize("signs", [1.0, np.array([1, 1, 1, -1.0])])
def test_mean_and_variance_are_those_of_the_density_and_of_the_moments(signs):
    equation = dfp.MasterEquation(dfp.SGD(additive(signs=signs), 0.2))
    start = dfp.Gaussian([1.0, 0.5, -1.0, 0.2], 0.4)
    law = dfp.loss_law(equation, start, 6)
    at = dfp.moments(equation, start, 6, save=[6])
    h, apart = equation.sgd.hessian, at.mean[0] - equation.sgd.critical_point
    wanted = (np.trace(h @ at.covariance[0]) + apart @ h @ apart) / 2
    assert law.mean == pytest.approx(wanted, rel=1e-12)  # rounding
    low = law.quantile(1e-9) if np.any(signs != 1.0) else 0.0
    # finer about 0, where losses of either sign meet
    x = 0.02 * np.sinh(np.linspace(*np.arcsinh(np.array([low, law.quantile(1 - 1e-9)]) / 0.02), 20_001))
    f = law.density(x)
    # the tails that are cut, 1e-9 of the mass, and the trapezoidal rule
    assert np.trapezoid(f, x) == pytest.approx(1, abs=1e-6)
    assert np.trapezoid(f * x, x) == pytest.approx(law.mean, abs=1e-5 * law.standard_deviation)
    assert np.trapezoid(f * (x - law.mean) ** 2, x) == pytest.approx(law.variance, rel=1e-4)
    assert law.cdf(law.quantile(0.9)) == pytest.approx(0.9, abs=1e-11)  # the root is found to 1e-14 deviations


def test_samples_of_the_same_law_agree_within_their_band():
    equation = dfp.MasterEquation(dfp.SGD(additive(), 0.2))
    start = dfp.Gaussian(np.ones(4), 0.4)
    exact = dfp.loss_law(equation, start, 6)
    from dfp.long_time.losses import _sampled

    sampled = _sampled(equation, start, 6, 50_000, 1)
    x = np.linspace(0.01, exact.quantile(0.999), 400)
    assert np.max(np.abs(sampled.cdf(x) - exact.cdf(x))) < sampled.error
    other = dfp.loss_law(equation, dfp.Gaussian(np.ones(4), 0.6), 6)
    assert np.max(np.abs(sampled.cdf(x) - other.cdf(x))) > sampled.error


def test_noise_that_depends_on_the_place_is_sampled():
    landscape = dfp.GaussianFeatures([1.0, 0.5, 0.2], 0.1, 4)
    sgd = dfp.SGD(landscape, 0.2)
    law = dfp.loss_law(dfp.MasterEquation(sgd), dfp.Point(np.ones(3)), 30, samples=20_000)
    assert law.sampled
    risk = dfp.risk_curve(sgd, 1.0, 30).excess_risk[-1]
    # five standard errors
    assert abs(law.mean - risk) < 5 * (law.variance / 20_000) ** 0.5


def test_certain_losses_and_refusals():
    equation = dfp.MasterEquation(dfp.SGD(additive(), 0.2))
    certain = dfp.loss_law(equation, dfp.Point(np.ones(4)), 0)
    assert certain.cdf([certain.mean - 1e-6, certain.mean + 1e-6]).tolist() == [0, 1]
    with pytest.raises(dfp.DFPError, match="certain"):
        certain.density(0.1)
    with pytest.raises(dfp.UnsupportedError, match="MasterEquation"):
        dfp.loss_law(dfp.DiscreteFokkerPlanck(equation.sgd), dfp.Gaussian(np.ones(4), 1.0), 3)
    with pytest.raises(dfp.DFPError, match="q="):
        dfp.loss_law(equation, dfp.Gaussian(np.ones(4), 1.0), 3).quantile(1.0)
    with pytest.raises(dfp.DFPError, match="finite"):
        dfp.loss_law(equation, dfp.Gaussian(np.ones(4), 1.0), 3).cdf(np.nan)


def test_forms_of_both_signs_far_from_their_centre():
    """Sixty random forms beside samples; the contour of the first, bent, led past a pole, to .80 in place of .86."""
    cases = [(np.array([-0.04890222, 0.07686979, 0.44583984, 0.63152086]), np.array([-10.85, 2.08, -0.268, -0.203]))]
    for seed in range(60):
        rng = np.random.default_rng(seed)
        d = int(rng.integers(1, 6))
        weights = rng.standard_normal(d) * np.exp(rng.uniform(-3, 1, d))
        cases.append((weights, rng.standard_normal(d) * np.exp(rng.uniform(-2, 3, d))))
    count, shares, z = 20_000, np.array([0.01, 0.1, 0.4, 0.6, 0.86, 0.97]), []
    for seed, (weights, shifts) in enumerate(cases):
        drawn = (
            0.5 * (np.random.default_rng(1000 + seed).standard_normal((count, weights.size)) + shifts) ** 2 @ weights
        )
        found = quadratic_form.cumulative(np.quantile(drawn, shares), weights, shifts)
        z.append((found - shares) / np.sqrt(shares * (1 - shares) / count))
    # 366 z-scores, each beyond 5 with probability 6e-7
    assert np.abs(z).max() < 5
    # The control: the first form with its shifts turned off is another law.
    weights, shifts = cases[0]
    assert abs(quadratic_form.cumulative(np.array([-0.5]), weights, 0 * shifts)[0] - 0.96) > 0.1
