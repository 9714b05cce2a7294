"""Figures of stationary laws, moments and spectra: their curves are the numbers, and what has no figure says so."""

import numpy as np
import pytest

import dfp


def sgd(curvatures):
    noise = dfp.GaussianNoise(gradient=[1.0] * len(curvatures))
    return dfp.SGD(dfp.QuadraticLandscape(hessian=curvatures, noise=noise), learning_rate=0.1)


@pytest.mark.parametrize("curvatures", [[1.0], [1.0, 2.0], [1.0, 2.0, 3.0]], ids=("line", "plane", "space"))
def test_stationary_laws_are_drawn_in_every_dimension(curvatures):
    law = dfp.stationary(dfp.MasterEquation(sgd(curvatures)), grid=24)
    figure = law.plot()
    assert "?" in (figure.get_suptitle() or "")
    assert all(axis.get_ylabel() for axis in figure.axes if axis.axison and axis.get_subplotspec().is_first_col())
    if len(curvatures) == 1:
        places, drawn = figure.axes[0].lines[0].get_data()
        seen = (law.grid.axes[0] >= places[0]) & (law.grid.axes[0] <= places[-1])
        # values of cells are places of the curve, but for rounding of splines through logarithms
        np.testing.assert_allclose(np.interp(law.grid.axes[0][seen], places, drawn), law.values[seen], rtol=1e-9)


def test_moments_and_spectra_draw_their_numbers():
    equation = dfp.MasterEquation(sgd([1.0, 2.0]))
    found = dfp.moments(equation, dfp.Point([1.0, 1.0]), 10)
    left, right = found.plot().axes
    np.testing.assert_array_equal(left.lines[1].get_ydata(), found.mean[:, 1])
    np.testing.assert_array_equal(right.lines[0].get_ydata(), found.covariance[:, 0, 0])
    spectrum = dfp.spectrum(equation, 4)
    figure = spectrum.plot()
    (axis,) = figure.axes
    np.testing.assert_array_equal(axis.lines[0].get_ydata(), np.abs(spectrum.eigenvalues))
    assert figure.get_suptitle().endswith("?") and axis.get_xlabel()
