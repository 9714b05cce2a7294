"""Properties over random problems (Hypothesis, derandomised: the same examples in every run)."""

import numpy as np
import pytest
from dfp_solvers import affine
from hypothesis import given, settings
from hypothesis import strategies as st

import dfp

FAST = settings(max_examples=60, deadline=None, derandomize=True)

rates = st.floats(-0.5, 2.5)
curvatures = st.floats(-0.2, 3.0)
variances = st.floats(1e-3, 2.0)
learning_rates = st.floats(1e-3, 0.5)


@FAST
@given(rates, st.integers(0, 60))
def test_geometric_sum_is_the_sum_of_its_terms(rate, count):
    found = affine.geometric_sum(rate, count)
    terms = (1 - rate) ** np.arange(count)
    # Terms alternate in sign beyond rate = 1: the error is measured against their sizes.
    assert found == pytest.approx(terms.sum(), abs=1e-12 * max(np.abs(terms).sum(), 1.0))


@FAST
@given(st.floats(-1.0, 3.0), st.floats(0.0, 20.0))
def test_exponential_sum_is_the_integral(rate, time):
    found = affine.exponential_sum(rate, time)
    steps = np.linspace(0, time, 2001)
    # the trapezoidal rule, second order in the spacing
    assert found == pytest.approx(np.trapezoid(np.exp(-rate * steps), steps), rel=1e-3, abs=1e-9)


@st.composite
def problems(draw):
    """A random landscape with one or two modes, correlated gradient noise and a table of curvature noise."""
    d = draw(st.integers(1, 2))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    axes = np.linalg.qr(rng.standard_normal((d, d)))[0]
    hessian = (axes * np.array([draw(curvatures) for _ in range(d)])) @ axes.T
    square = rng.standard_normal((d, d))
    covariance = draw(variances) * (square @ square.T + 0.1 * np.eye(d))
    table = draw(st.sampled_from([0.0, 0.3])) * rng.random((d, d))
    noise = dfp.GaussianNoise(covariance, table)
    landscape = dfp.QuadraticLandscape((hessian + hessian.T) / 2, rng.standard_normal(d), noise)
    start = dfp.Gaussian(rng.standard_normal(d), 0.1 + rng.random())
    return dfp.SGD(landscape, draw(learning_rates)), start


@FAST
@given(problems())
def test_covariances_are_symmetric_and_never_negative(problem):
    sgd, start = problem
    for equation in (dfp.MasterEquation(sgd), dfp.Langevin(sgd), dfp.ModifiedLangevin(sgd, positive=True)):
        for covariance in dfp.moments(equation, start, 12, [1, 12]).covariance:
            # rounding
            assert np.array_equal(covariance, covariance.T) or np.allclose(covariance, covariance.T, rtol=1e-12)
            assert np.linalg.eigvalsh(covariance)[0] > 0


@FAST
@given(problems())
def test_two_stretches_make_one(problem):
    """Moments after 5 and then 7 steps are those after 12: the evolution is a semigroup."""
    sgd, start = problem
    for equation in (dfp.DiscreteFokkerPlanck(sgd), dfp.ModifiedLangevin(sgd)):
        whole = dfp.moments(equation, start, 12, [5, 12])
        try:
            middle = dfp.Gaussian(whole.mean[0], whole.covariance[0])
        except dfp.DFPError:
            continue  # (T7m)'s diffusion can be indefinite
        rest = dfp.moments(equation, middle, 7, [7])
        assert rest.mean[0] == pytest.approx(whole.mean[1], rel=1e-9, abs=1e-9)
        assert rest.covariance[0] == pytest.approx(whole.covariance[1], rel=1e-9, abs=1e-9)


@FAST
@given(problems())
def test_fourth_moments_obey_the_cauchy_bound(problem):
    """E[x⁴] >= (E[x²])² along every axis, for the equations that are processes."""
    sgd, start = problem
    for equation in (dfp.MasterEquation(sgd), dfp.Langevin(sgd)):
        solution = dfp.solve(equation, start, 6, [6], dfp.MomentRecursion())
        for i in range(sgd.dimension):
            assert solution.fourth[0][(i,) * 4] >= solution.covariance[0, i, i] ** 2


@settings(max_examples=25, deadline=None, derandomize=True)
@given(problems())
def test_densities_have_mass_one_and_the_exact_moments(problem):
    """Whatever is solved is certified, or refused in words."""
    sgd, start = problem
    for equation in (dfp.MasterEquation(sgd), dfp.Langevin(sgd, noise="frozen")):
        try:
            solution = dfp.solve(equation, start, 6, [0, 6], dfp.Fourier())
        except dfp.DFPError as error:
            assert len(str(error)) > 40
            continue
        assert solution.certificate.ok, solution.certificate
        assert solution.density.min() > -1e-9 * solution.density.max()
