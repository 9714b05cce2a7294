"""The Langevin form cut after one step (T6'): moments against a recursion by hand, negative variances by their name."""

import copy
import pickle

import numpy as np
import pytest

import dfp
from validation.cases import stationary_covariance
from validation.solvers import made

# Rounding of tens of steps of matrices of order one.
ROUNDING = 1e-12


def problem(d, seed=3, hessian_noise=0.3):
    rng = np.random.default_rng(seed)
    square = rng.standard_normal((d, d))
    hessian = square @ square.T / d + 0.2 * np.eye(d)
    noise = dfp.GaussianNoise(rng.uniform(0.1, 0.5, d), hessian_noise * rng.uniform(0.1, 0.5, (d, d)))
    landscape = dfp.QuadraticLandscape(hessian, rng.uniform(-1, 1, d), noise)
    spread = rng.standard_normal((d, d))
    return landscape, dfp.Gaussian(rng.uniform(-1, 1, d), spread @ spread.T / d + 0.1 * np.eye(d))


def by_hand(landscape, start, rate, steps, frozen=None):
    """Π' = Π − η(HΠ + ΠH) + η²(C̄ − bbᵀ), μ' = μ − ηb, b = Hμ + g (theory page, section 2)."""
    h, g, table = landscape.hessian, landscape.gradient, np.asarray(landscape.law.quadratic(np.eye(len(start.mean))))
    mean, covariance, d = start.mean.copy(), start.covariance.copy(), len(start.mean)
    means, covariances = [mean], [covariance]
    for _ in range(steps):
        b = h @ mean + g
        gained = landscape.law.constant + np.asarray(landscape.law.quadratic(covariance + np.outer(mean, mean)))
        if frozen is not None:
            gained = frozen
        covariance = covariance - rate * (h @ covariance + covariance @ h) + rate**2 * (gained - np.outer(b, b))
        mean = mean - rate * b
        means.append(mean)
        covariances.append(covariance)
    assert table.shape == (d, d)
    return np.array(means), np.array(covariances)


@pytest.mark.parametrize("d", [1, 2, 3, 14])
@pytest.mark.parametrize("hessian_noise", [0.0, 0.3])
def test_moments_are_those_of_the_recursion(d, hessian_noise):
    landscape, start = problem(d, hessian_noise=hessian_noise)
    equation = dfp.Langevin(dfp.SGD(landscape, 0.2), per_step=True)
    found = dfp.moments(equation, start, 30)
    mean, covariance = by_hand(landscape, start, 0.2, 30)
    np.testing.assert_allclose(found.mean, mean, rtol=0, atol=ROUNDING * np.abs(mean).max())
    np.testing.assert_allclose(found.covariance, covariance, rtol=0, atol=ROUNDING * np.abs(covariance).max())
    # The controls: neither the flow nor the exact step has these moments.
    for other in (dfp.Langevin(equation.sgd), dfp.DiscreteFokkerPlanck(equation.sgd)):
        assert np.abs(dfp.moments(other, start, 30).covariance - covariance).max() > 1e-4


def test_traces_of_the_authors_experiment():
    """EXP 17: at every step the trace is a sum of ten geometric series; (T5), which has H Π H too, misses it."""
    assert all(verdict.as_expected for verdict in stationary_covariance.per_step())


def test_frozen_noise_stays_at_its_reference():
    landscape, start = problem(2)
    equation = dfp.Langevin(dfp.SGD(landscape, 0.2), "frozen", [0.4, -0.3], per_step=True)
    frozen = landscape.law.covariance(np.array([0.4, -0.3]))
    covariance = by_hand(landscape, start, 0.2, 12, frozen)[1]
    found = dfp.moments(equation, start, 12).covariance
    np.testing.assert_allclose(found, covariance, rtol=0, atol=ROUNDING * np.abs(covariance).max())


def test_what_a_step_lacks_is_the_squared_mean_gradient():
    """(T5) less (T6') after one step: η²E[ḡḡᵀ], here from samples of the start itself (a quadrature of Gaussians)."""
    landscape, start = problem(2)
    sgd = dfp.SGD(landscape, 0.3)
    whole, cut = (
        dfp.moments(equation, start, 1, [1]).covariance[0]
        for equation in (dfp.DiscreteFokkerPlanck(sgd), dfp.Langevin(sgd, per_step=True))
    )
    at, weights = np.polynomial.hermite_e.hermegauss(5)  # exact for these polynomials of degree two
    pairs = np.stack(np.meshgrid(at, at, indexing="ij"), axis=-1).reshape(-1, 2)
    places = start.mean + pairs @ np.linalg.cholesky(start.covariance).T
    gradients = places @ landscape.hessian.T + landscape.gradient
    mass = np.outer(weights, weights).ravel() / weights.sum() ** 2
    lacking = 0.3**2 * np.einsum("n,ni,nj->ij", mass, gradients, gradients)
    np.testing.assert_allclose(whole - cut, lacking, rtol=0, atol=ROUNDING)


def test_higher_moments_are_those_of_the_cut_operator():
    """E f' = E[f + η(−ḡ·∇f + (η/2) C f'')] for f = θ³, θ⁴ by Gaussian quadrature."""
    sgd = dfp.SGD(dfp.QuadraticLandscape([0.8], 0.3, dfp.GaussianNoise([0.5], [0.2])), 0.25)
    start, eta = dfp.Gaussian(0.4, 0.3), 0.25
    found = dfp.solve(dfp.Langevin(sgd, per_step=True), start, 1, [1], dfp.MomentRecursion())
    at, weights = np.polynomial.hermite_e.hermegauss(8)
    x, mass = start.mean.item() + np.sqrt(0.3) * at, weights / weights.sum()

    def average(power):
        slope = power * x ** (power - 1)
        bend = power * (power - 1) * x ** max(power - 2, 0)
        return mass @ (x**power - eta * (0.8 * x + 0.3) * slope + eta**2 / 2 * (0.5 + 0.2 * x**2) * bend)

    one, two, three, four = (average(power) for power in (1, 2, 3, 4))
    assert found.covariance.item() == pytest.approx(two - one**2, abs=ROUNDING)
    assert found.third.item() == pytest.approx(three - 3 * one * two + 2 * one**3, abs=ROUNDING)
    assert found.fourth.item() == pytest.approx(four - 4 * one * three + 6 * one**2 * two - 3 * one**4, abs=ROUNDING)


def test_negative_variances_are_named(tmp_path):
    sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], 0.0, dfp.GaussianNoise([0.01])), 0.3)
    equation, start = dfp.Langevin(sgd, per_step=True), dfp.Point([1.0])
    found = dfp.moments(equation, start, 3)
    assert found.covariance[1].item() == pytest.approx(0.3**2 * (0.01 - 1.0), abs=ROUNDING)
    (words,) = found.warnings
    assert "step 1: the Langevin, per step (T6') has a negative variance, -0.0891" in words
    assert "3 of 4 saved steps" in words
    for solver in ("auto", dfp.MomentRecursion(2)):
        solution = dfp.solve(equation, start, 3, [1, 3], solver)
        assert any("negative variance" in warning for warning in solution.certificate.warnings)
        assert not solution.certificate.ok
        solution.save(tmp_path / "a.h5")
        assert dfp.load(tmp_path / "a.h5").covariance[0].item() < 0
    # The controls: from the minimum, and for the other equations, there is nothing to name.
    assert dfp.moments(equation, dfp.Point([0.0]), 3).warnings == ()
    assert dfp.moments(dfp.Langevin(sgd), start, 3).warnings == ()


def test_everything_but_moments_refuses_it():
    landscape, start = problem(1)
    sgd = dfp.SGD(landscape, 0.2)
    equation = dfp.Langevin(sgd, per_step=True)
    for name, solver in made(2000).items():
        if name != "MomentRecursion":
            with pytest.raises(
                dfp.UnsupportedError, match=rf"solver={name} cannot solve the Langevin, per step \(T6'\)"
            ):
                dfp.solve(equation, start, 3, [3], solver)
    for asked in (
        lambda: dfp.stationary(equation), lambda: dfp.stationary_moments(equation), lambda: dfp.spectrum(equation),
        lambda: dfp.exit_steps(equation, (-9.0, 9.0), start), lambda: dfp.autocorrelation(equation, [1]),
        lambda: dfp.probability_current(equation), lambda: dfp.entropy_production(equation),
    ):  # fmt: skip
        with pytest.raises(dfp.UnsupportedError, match="followed through its moments alone"):
            asked()
    with pytest.raises(dfp.UnsupportedError, match="per_step=True: SGD has a schedule"):
        dfp.Langevin(dfp.SGD(landscape, [0.1, 0.2]), per_step=True)


def test_the_choice_survives_copies():
    equation = dfp.Langevin(dfp.SGD(problem(1)[0], 0.2), per_step=True)
    for made_again in (
        copy.copy(equation),
        copy.deepcopy(equation),
        pickle.loads(pickle.dumps(equation)),
        equation.at(3),
    ):
        assert made_again.number == "T6'"
        assert made_again.discrete
        assert made_again.moments_only
    assert not dfp.Langevin(equation.sgd).discrete
    assert dfp.Langevin(equation.sgd).number == "T6"
