"""The compiled and the shortened arithmetic of small problems against plain NumPy and SciPy."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from dfp_solvers import affine, boxes, matrices, summary
from dfp_solvers.markov_chain import evolution
from scipy.stats import norm

import dfp
from dfp.exact import moments as exact

RNG = np.random.default_rng(11)


def covariances(count, d):
    roots = RNG.standard_normal((count, d, d))
    return roots @ roots.transpose(0, 2, 1) + 0.1 * np.eye(d)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_symmetric_matrices_of_any_size(d):
    """One parameter takes another way than LAPACK, to the same numbers."""
    many = covariances(5, d)
    axes, vectors = np.linalg.qr(RNG.standard_normal((d, d)))[0], RNG.standard_normal((5, d))
    axes = np.abs(axes) if d == 1 else axes  # the axis of one parameter is not turned round
    assert matrices.eigenvalues(many) == pytest.approx(np.linalg.eigvalsh(many), rel=1e-13)
    assert matrices.precisions(many) == pytest.approx(np.linalg.inv(many).diagonal(axis1=1, axis2=2), rel=1e-12)
    assert matrices.whitening(many) == pytest.approx(np.linalg.inv(np.linalg.cholesky(many)), rel=1e-12, abs=1e-12)
    values, basis = matrices.eigenbasis(many[0])
    assert (basis * values) @ basis.T == pytest.approx(many[0], rel=1e-12)
    turned, rotated = matrices.rotated(axes, vectors, many)
    assert turned == pytest.approx(np.einsum("ik,ni->nk", axes, vectors), rel=1e-12)
    assert rotated == pytest.approx(np.einsum("ik,nij,jm->nkm", axes, many, axes), rel=1e-12, abs=1e-13)
    assert matrices.propagated(many[1], many[0]) == pytest.approx(many[1] @ many[0] @ many[1].T, rel=1e-13)
    with pytest.raises(np.linalg.LinAlgError):
        matrices.whitening(many * np.array([1, 1, -1, 1, 1])[:, None, None])


@pytest.mark.parametrize("n", [1, 2, 127, 128, 129, 1000])
def test_sums_and_extremes(n):
    values, places = RNG.standard_normal(n), np.sort(RNG.standard_normal(n)) + 5
    found = summary.extremes(values)
    # rounding
    assert found == pytest.approx((values.sum(), values.min(), values.max(), values[values < 0].sum()), abs=1e-12)
    weights = np.abs(values)
    total, mean, variance = summary.line_moments(weights, places)
    assert total == pytest.approx(weights.sum(), rel=1e-14)
    assert mean == pytest.approx(np.average(places, weights=weights), rel=1e-14)
    assert variance == pytest.approx(np.average((places - mean) ** 2, weights=weights), rel=1e-12, abs=1e-28)


def test_sums_keep_what_is_not_a_number():
    assert np.isnan(summary.extremes(np.array([1.0, np.nan, 2.0]))[0])
    assert np.isnan(summary.largest_ratio(np.array([1.0, np.nan, 2.0]), np.ones(3)))
    nothing, unit = np.full(2, np.nan), np.eye(2)
    assert np.all(np.isnan(summary.moment_errors(np.zeros(2), unit, nothing, np.outer(nothing, nothing))))


def test_ratios_and_errors_of_moments():
    assert summary.largest_ratio(np.array([0.0, -3.0, 1.0]), np.array([0.0, 2.0, 1.0])) == 1.5
    assert summary.largest_ratio(np.array([1.0]), np.zeros(1)) == np.inf
    (first, second), mean = covariances(2, 3), RNG.standard_normal(3)
    deviation = np.sqrt(second.diagonal())
    found = summary.moment_errors(mean, first, np.zeros(3), second)
    # rounding
    assert found[0] == pytest.approx(np.abs(mean / deviation).max(), rel=1e-14)
    assert found[1] == pytest.approx(np.abs((first - second) / np.outer(deviation, deviation)).max(), rel=1e-14)


def test_mass_beyond_a_box_and_the_box_around_gaussians():
    mean, covariance = RNG.standard_normal((4, 2)), covariances(4, 2)
    deviation = np.sqrt(covariance.diagonal(axis1=1, axis2=2))
    lower, upper, cells = boxes.around(mean, covariance, 1 / deviation**2, 3.0, 7.0)
    # rounding
    assert lower == pytest.approx((mean - 3 * deviation).min(axis=0), rel=1e-14)
    assert upper == pytest.approx((mean + 3 * deviation).max(axis=0), rel=1e-14)
    assert np.array_equal(cells, np.ceil((upper - lower) / (np.pi / 7 * deviation.min(axis=0))))
    beyond = norm.cdf(lower, mean[0], deviation[0]) + norm.sf(upper, mean[0], deviation[0])
    assert summary.gaussian_beyond(lower, upper, mean[0], covariance[0]) == pytest.approx(beyond.sum(), rel=1e-12)
    assert dfp.Grid(-1, 3, 8).axes[0] == pytest.approx(np.arange(8) / 2 - 0.75, rel=1e-15)


@pytest.mark.parametrize("steps", [0, 1, 2, 7])
def test_transitions_are_repeated_steps(steps):
    """One step at a time from a random start, with multipliers between, at and beyond 0, 1 and 2."""
    rates = np.array([0.0, 1e-9, 0.3, 1.0, 1.7, 2.5, -0.4])
    d = len(rates)
    offset, noise, start = RNG.standard_normal(d), covariances(1, d)[0], covariances(1, d)[0]
    mean, covariance = RNG.standard_normal(d), start
    parts = affine.map_transition(rates, offset, noise, np.array([steps]))
    found = affine.moments(parts, mean, start)
    for _ in range(steps):
        mean = (1 - rates) * mean - offset
        covariance = np.outer(1 - rates, 1 - rates) * covariance + noise
    # rounding
    assert found[0][0] == pytest.approx(mean, rel=1e-12, abs=1e-12)
    assert found[1][0] == pytest.approx(covariance, rel=1e-12, abs=1e-12)


def test_a_long_odd_number_of_steps_keeps_its_sign():
    """Its parity would be lost in a float."""
    odd = np.array([2**53 + 1])
    factor, _, _ = affine.map_transition(np.array([2.0]), np.zeros(1), np.zeros((1, 1)), odd)
    assert factor[0, 0] == -1.0
    assert affine.geometric_sum(2.0, odd[0]) == 1.0


def test_repaired_probabilities():
    """What rounding made negative is removed, the sum is that of the start, and NaN stays visible."""
    moved, start = np.array([0.5, -1e-18, 0.4]), np.array([0.2, 0.3, 0.5])
    evolution._repair(moved, start, True)
    assert moved == pytest.approx([0.5 / 0.9, 0.0, 0.4 / 0.9], rel=1e-14)
    moved[1] = np.nan
    evolution._repair(moved, start, False)
    assert np.isnan(moved[1])


def one_parameter(curvature=1.0):
    noise = dfp.GaussianNoise(gradient=1.0)
    return dfp.SGD(dfp.QuadraticLandscape(hessian=[curvature], noise=noise), learning_rate=0.1)


def test_threads_share_an_equation():
    """What is kept of it is cleared while other threads look; they switch as often as Python lets them."""
    equation = dfp.MasterEquation(one_parameter())
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as executor:
            factors = list(executor.map(lambda n: exact.transition(equation, n % 97)[0][0], range(20000)))
    finally:
        sys.setswitchinterval(interval)
    # rounding
    assert factors == pytest.approx([0.9 ** (n % 97) for n in range(20000)], rel=1e-12)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("form", [{"matched": False}, {"matched": True}, {"positive": True}])
def test_overflowing_diffusions_do_not_warn(form):
    """Moments that overflow say so by entries that are not finite."""
    found = dfp.moments(dfp.ModifiedLangevin(one_parameter(1e200), **form), dfp.Gaussian([1.0], 1.0), 3)
    assert not np.isfinite(found.covariance).all()


def test_modes_are_no_view_of_the_landscape():
    """Editing what SGD hands out in place leaves its landscape as it was."""
    sgd = one_parameter()
    values, _ = sgd.modes
    values *= 0.5
    hessian = sgd.hessian
    hessian *= 0.5
    assert sgd.landscape.hessian[0, 0] == 1.0


def test_only_what_densities_need_is_kept():
    """Beyond three parameters solvers ask for no transition, and the matrices of many steps are large."""
    for d, kept in ((3, 6), (4, 0)):
        landscape = dfp.QuadraticLandscape(hessian=np.ones(d), noise=dfp.GaussianNoise(gradient=1.0))
        equation = dfp.MasterEquation(dfp.SGD(landscape, learning_rate=0.1))
        dfp.moments(equation, dfp.Gaussian(np.zeros(d), 1.0), 5)
        assert len(equation.transitions) == kept
