"""Known answers of the theory page, to 1e-10 (stationary values) or to the digits it prints."""

import numpy as np
import pytest
from dfp_solvers import hermite
from problems import one_mode

import dfp
from dfp.methods.hermite import degree_operator

# Steps after which a mode with ηλ >= 0.05 has forgotten its start to below rounding error.
LONG = 2000


@pytest.mark.parametrize("learning_rate", [0.05, 0.5, 1.5])
def test_stationary_covariance_solves_the_discrete_lyapunov_equation(learning_rate):
    """(T10): HΣ + ΣH − ηHΣH = ηC for additive noise."""
    h = np.array([[1.0, 0.2], [0.2, 0.6]])
    c = np.array([[0.5, -0.1], [-0.1, 0.3]])
    sgd = dfp.SGD(dfp.QuadraticLandscape(h, 0, dfp.GaussianNoise(c)), learning_rate)
    sigma = dfp.moments(dfp.MasterEquation(sgd), dfp.Gaussian([1.0, -1.0], 0.1), LONG, [LONG]).covariance[0]
    residual = h @ sigma + sigma @ h - learning_rate * h @ sigma @ h - learning_rate * c
    # rounding
    assert np.abs(residual).max() < 1e-12


def test_langevin_stationary_covariance_misses_the_third_term():
    """Langevin gives HΣ + ΣH = ηC."""
    h, eta = np.diag([1.0, 0.4]), 0.3
    sgd = dfp.SGD(dfp.QuadraticLandscape(h, 0, dfp.GaussianNoise([1.0, 2.0])), eta)
    sigma = dfp.moments(dfp.Langevin(sgd), dfp.Gaussian([0.0, 0.0], 0.1), LONG, [LONG]).covariance[0]
    # rounding
    assert np.abs(h @ sigma + sigma @ h - eta * np.diag([1.0, 2.0])).max() < 1e-12


@pytest.mark.parametrize("gradient", [0.0, 0.4])
@pytest.mark.parametrize("equation", [dfp.MasterEquation, dfp.DiscreteFokkerPlanck])
def test_stationary_variance_of_one_mode(equation, gradient):
    """(T12) with curvature noise, with and without a mean gradient."""
    eta, lam, gamma, d = 0.2, 1.3, 0.7, 0.3
    sgd = dfp.SGD(one_mode(lam, d, gamma, gradient), eta)
    variance = dfp.moments(equation(sgd), dfp.Gaussian(0.5, 1.0), LONG, [LONG]).covariance[0, 0, 0]
    expected = eta * (d + gamma * gradient**2 / lam**2) / (2 * lam - eta * (lam**2 + gamma))
    # rounding
    assert variance == pytest.approx(expected, rel=1e-12)


def test_langevin_stationary_variance_of_one_mode():
    """The Langevin line under (T12)."""
    eta, lam, gamma, d = 0.2, 1.3, 0.7, 0.3
    sgd = dfp.SGD(one_mode(lam, d, gamma), eta)
    variance = dfp.moments(dfp.Langevin(sgd), dfp.Gaussian(0.5, 1.0), LONG, [LONG]).covariance[0, 0, 0]
    # rounding
    assert variance == pytest.approx(eta * d / (2 * lam - eta * gamma), rel=1e-12)


@pytest.mark.parametrize("curvature_noise", [0.0, 0.8])
def test_spectrum_of_the_discrete_fokker_planck_operator(curvature_noise):
    """Eigenvalues 1 − nηλ + ½n(n−1)η²(λ² + Γ) on polynomials; the operator is triangular in the Hermite basis."""
    eta, lam, degree = 0.1, 1.0, 10
    equation = dfp.DiscreteFokkerPlanck(dfp.SGD(one_mode(lam, 0.3, curvature_noise), eta))
    matrix = degree_operator(equation, dfp.Gaussian(0.0, 0.02), degree)
    n = np.arange(degree + 1)
    expected = 1 - n * eta * lam + n * (n - 1) / 2 * eta**2 * (lam**2 + curvature_noise)
    assert np.abs(np.triu(matrix, 1)).max() == 0
    # rounding
    assert np.abs(np.diag(matrix) - expected).max() < 1e-10
    # eigenvalues of a triangular matrix that is far from normal lose half the digits
    assert np.abs(np.sort(np.linalg.eigvals(matrix).real) - np.sort(expected)).max() < 1e-6


@pytest.mark.parametrize("eta", [0.02, 0.1, 0.4])
def test_stationary_kurtosis_of_the_discrete_fokker_planck_equation(eta):
    """Student t: kurtosis 3(2 − ηλ)/(2 − 3ηλ) with λ = 1."""
    sgd = dfp.SGD(one_mode(), eta)
    solved = dfp.solve(dfp.DiscreteFokkerPlanck(sgd), dfp.Gaussian(0.0, 0.01), LONG, [LONG], dfp.MomentRecursion())
    kurtosis = solved.fourth.item() / solved.covariance.item() ** 2
    # rounding
    assert kurtosis == pytest.approx(3 * (2 - eta) / (2 - 3 * eta), rel=1e-10)


def test_stationary_kurtosis_with_curvature_noise():
    """Student t with ν = 1 + 2λ/(η(Γ + λ²)): kurtosis 3(ν − 2)/(ν − 4)."""
    eta, gamma = 0.1, 0.8
    sgd = dfp.SGD(one_mode(curvature_noise=gamma), eta)
    solved = dfp.solve(dfp.DiscreteFokkerPlanck(sgd), dfp.Gaussian(0.0, 0.01), LONG, [LONG], dfp.MomentRecursion())
    nu = 1 + 2 / (eta * (gamma + 1))
    kurtosis = solved.fourth.item() / solved.covariance.item() ** 2
    # rounding
    assert kurtosis == pytest.approx(3 * (nu - 2) / (nu - 4), rel=1e-10)


@pytest.mark.parametrize(
    ("eta", "langevin", "modified", "matched"),
    [(0.1, 4.8e-2, 1.1e-1, 7.6e-3), (0.05, 2.3e-2, 5.8e-2, 1.9e-3), (0.025, 1.1e-2, 2.9e-2, 4.9e-4)],
)
def test_table_of_the_matched_generator(eta, langevin, modified, matched):
    """The (T7m) table: λ = 1, Γ = 0.8, D = 0.3, from θ = 1, variance at τ = 2; it prints two digits."""
    sgd = dfp.SGD(one_mode(curvature_noise=0.8), eta)
    last = round(2 / eta)

    def variance(equation):
        return dfp.moments(equation, dfp.Point(1.0), last, [last]).covariance.item()

    exact = variance(dfp.MasterEquation(sgd))
    errors = [
        abs(variance(equation) / exact - 1)
        for equation in (
            dfp.Langevin(sgd),
            dfp.ModifiedLangevin(sgd, matched=False),
            dfp.ModifiedLangevin(sgd),
        )
    ]
    # Half a unit of the second printed digit is at most 5 % of the number (1.1 could be 1.05 … 1.15).
    assert errors == pytest.approx([langevin, modified, matched], rel=0.05)


def test_flat_mode_diffuses_in_proportion_to_the_learning_rate():
    """λ = 0, Γ = 0: V = η² D n, that is 2 D_eff τ with D_eff = ηD/2."""
    for eta in (0.01, 0.1):
        sgd = dfp.SGD(one_mode(0.0, 0.3), eta)
        for equation in (dfp.MasterEquation(sgd), dfp.DiscreteFokkerPlanck(sgd), dfp.Langevin(sgd)):
            variance = dfp.moments(equation, dfp.Point(0.0), 500, [500]).covariance.item()
            # rounding
            assert variance == pytest.approx(eta**2 * 0.3 * 500, rel=1e-12)


def test_shells_and_indices_are_graded():
    """Multi-indices come by degree, so that a cut series is a slice."""
    total = hermite.indices(2, 5).sum(axis=1)
    assert len(total) == 21
    assert np.all(np.diff(total) >= 0)
