"""(T5) in nonlinear landscapes: against the affine code, against (T4) in its order, and where it is refused."""

import numpy as np
import pytest

import dfp
from tests.test_nonlinear import fields

WELL = dfp.Landscape(
    lambda at: at**3 - at, lambda at: np.ones((len(at), 1, 1)), hessian=lambda at: (3 * at**2 - 1)[..., None]
)


def test_a_quadratic_landscape_of_functions_is_the_quadratic_one():
    """Both certificates hold, and both have the moments of (T14), which the code of nonlinear ones does not know."""
    noise = dfp.GaussianNoise([[1.0, 0.2], [0.2, 0.8]])
    quadratic = dfp.QuadraticLandscape([[1.0, 0.3], [0.3, 2.0]], noise=noise)
    gradient, covariance, hessian = fields(quadratic)
    start = dfp.Gaussian([0.05, -0.05], np.diag([0.02, 0.02]))
    local = dfp.DiscreteFokkerPlanck(dfp.SGD(dfp.Landscape(gradient, covariance, 2, hessian), 0.003))
    found = dfp.solve(local, start, 60, save=[60])
    grid, density = found.gridded()
    affine = dfp.DiscreteFokkerPlanck(dfp.SGD(quadratic, 0.003))
    known = dfp.solve(affine, start, 60, save=[60], grid=grid, solver=dfp.FiniteDifference())
    promised = found.certificate.error[0] + known.certificate.error[0]
    # four hundred times below what the solver would still accept, twice
    assert found.solver == "FiniteDifference" and promised < 5e-5
    assert np.abs(density - known.gridded()[1]).sum() * grid.cell_volume <= promised
    exact = dfp.moments(affine, start, 60, save=[60])
    # A density of unit mass that errs by ε in L1 within three deviations moves moments by about ε deviations.
    deviation = np.sqrt(np.trace(exact.covariance[0]))
    np.testing.assert_allclose(found.mean, exact.mean, rtol=0, atol=3 * found.certificate.error[0] * deviation)
    spread = 9 * found.certificate.error[0] * deviation**2
    np.testing.assert_allclose(found.covariance, exact.covariance, rtol=0, atol=spread)
    # the control: another learning rate is seen
    other = dfp.moments(dfp.DiscreteFokkerPlanck(dfp.SGD(quadratic, 0.0031)), start, 60, save=[60])
    assert np.max(np.abs(found.covariance - other.covariance)) > spread


def test_it_is_nearer_to_the_master_equation_by_an_order():
    """At fixed τ = 1 in one of two wells (T5) errs by η², (T6), the control, by η."""
    errors = []
    for eta in (0.02, 0.01, 0.005):
        sgd, start = dfp.SGD(WELL, eta), dfp.Gaussian([0.5], [[0.02]])
        steps = round(1 / eta)
        exact, truncated, langevin = (
            dfp.solve(kind(sgd), start, steps, save=[steps]).covariance[0, 0, 0]
            for kind in (dfp.MasterEquation, dfp.DiscreteFokkerPlanck, dfp.Langevin)
        )
        errors.append(np.abs([truncated - exact, langevin - exact]))
    orders = np.log2(errors[0] / errors[2]) / 2
    # Terms of the next order bend the line of four, or two, to the halving of η by some tenths.
    assert orders[0] == pytest.approx(2, abs=0.25)
    assert orders[1] == pytest.approx(1, abs=0.25)


def test_where_no_grid_is_stable_it_says_so():
    sgd, start = dfp.SGD(WELL, 0.1), dfp.Gaussian([0.5], [[0.02]])
    equation = dfp.DiscreteFokkerPlanck(sgd)
    with pytest.raises(dfp.UnresolvedError, match=r"no stable grid resolves.*use dfp.MasterEquation"):
        dfp.solve(equation, start, 10)
    gentle = dfp.DiscreteFokkerPlanck(dfp.SGD(WELL, 0.005))
    with pytest.raises(dfp.UnresolvedError, match=r"unstable.*smallest stable spacing"):
        dfp.solve(gentle, start, 10, solver=dfp.FiniteDifference(spacing=1e-3))
    for scheme in ("second", "fourth", "matched"):
        with pytest.raises(dfp.UnsupportedError, match="scheme='spectral'"):
            dfp.solve(gentle, start, 10, solver=dfp.FiniteDifference(scheme))
    with pytest.raises(dfp.UnresolvedError, match="a point has no density"):
        dfp.solve(gentle, dfp.Point([0.5]), 10, save=[0, 10])


def test_a_start_narrower_than_a_step_is_reported():
    """(T5) amplifies its short waves; they are left out, which a wider start does not need."""
    equation = dfp.DiscreteFokkerPlanck(dfp.SGD(WELL, 0.005))
    narrow = dfp.solve(equation, dfp.Gaussian([1.0], [[2e-4]]), 200, save=[200])
    wide = dfp.solve(equation, dfp.Gaussian([1.0], [[6e-4]]), 200, save=[200])
    assert any("shorter than the smallest stable spacing" in warning for warning in narrow.certificate.warnings)
    assert not any("shorter than" in warning for warning in wide.certificate.warnings)
    with pytest.raises(dfp.UnresolvedError, match="does not resolve"):
        dfp.solve(equation, dfp.Gaussian([1.0], [[1e-6]]), 200, save=[200])


def test_boxes_follow_a_density_that_spreads():
    """A start of a sixth of the width it ends with, on a parabola as functions: variances of (T14) at every step.

    One box for all steps, as coarse as its far ends ask for, misses the first by more than a half.
    """
    quadratic = dfp.QuadraticLandscape([[2.0]], noise=dfp.GaussianNoise([[1.0]]))
    local = dfp.Landscape(lambda at: 2 * at, 1.0, hessian=2.0)
    start, saved = dfp.Gaussian([0.3], [[1e-4]]), [3, 50, 400]
    found = dfp.solve(dfp.DiscreteFokkerPlanck(dfp.SGD(local, 0.003)), start, 400, save=saved)
    exact = dfp.moments(dfp.DiscreteFokkerPlanck(dfp.SGD(quadratic, 0.003)), start, 400, save=saved)
    missed = np.abs(found.covariance / exact.covariance - 1).ravel()
    # What errs by ε in L1 within three deviations moves a variance by at most 9ε of itself.
    assert np.all(missed <= 9 * found.certificate.error) and missed[0] < 1e-3
    other = dfp.moments(dfp.DiscreteFokkerPlanck(dfp.SGD(quadratic, 0.0031)), start, 400, save=saved)
    assert np.all(np.abs(other.covariance / exact.covariance - 1).ravel()[1:] > 9 * found.certificate.error[1:])
