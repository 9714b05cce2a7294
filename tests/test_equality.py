"""What is made alike is equal, has one hash and a short repr; what differs anywhere is not."""

import copy
import dataclasses
import sys

import numpy as np
import pytest
from scipy import stats

import dfp

SAMPLES = np.random.default_rng(1).normal(size=(300, 2))
PAIR = {"hessian": [1.0, 0.2], "gradient": 0.0}


def gradient(theta):
    return theta**3 - theta


def other_gradient(theta):
    return theta**3 - theta


def quadratic(noise=0.3, **options):
    return dfp.QuadraticLandscape(**(PAIR | options), noise=dfp.GaussianNoise(noise))


def finite_sum(shift=0.0, size=8):
    return dfp.QuadraticLandscape.from_samples(np.eye(2), SAMPLES + shift, size)


# Each makes an object afresh; the first two are alike, the last are not.
KINDS = {
    "grid": [lambda: dfp.Grid(-1, 1, 64), lambda: dfp.Grid(-1, 2, 64), lambda: dfp.Grid(-1, 1, 65)],
    "gaussian": [
        lambda: dfp.Gaussian([1, 0], 0.1),
        lambda: dfp.Gaussian([1, 0], 0.2),
        lambda: dfp.Gaussian([0, 0], 0.1),
    ],
    "point": [lambda: dfp.Point([0.0, 1]), lambda: dfp.Point([0, 1 + 1e-15]), lambda: dfp.Gaussian([0, 1], 0.0)],
    "density": [
        lambda: dfp.Density(dfp.Grid(0, 1, 4), [0, 2, 2, 0]),
        lambda: dfp.Density(dfp.Grid(0, 1, 4), [0, 2, 0, 2]),
        lambda: dfp.Density(dfp.Grid(0, 1, 4), [0, 2, 2, 0], error=1e-3),
    ],
    "gaussian noise": [
        lambda: dfp.GaussianNoise(np.array([0.3, 0.1])),
        lambda: dfp.GaussianNoise([0.3, 0.2]),
        lambda: dfp.GaussianNoise([0.3, 0.1], hessian=0.1),
        lambda: dfp.GaussianNoise([0.3, 0.1], basis="eigen"),
    ],
    "law": [
        lambda: dfp.AdditiveNoise(stats.t(5, scale=2.0)),
        lambda: dfp.AdditiveNoise(stats.t(5, scale=2.1)),
        lambda: dfp.AdditiveNoise(stats.t(6, scale=2.0)),
        lambda: dfp.AdditiveNoise(stats.rv_histogram((np.ones(3), np.arange(4.0)))()),
    ],
    "landscape of a law": [
        lambda: dfp.QuadraticLandscape(1.0, 0.0, dfp.AdditiveNoise(stats.laplace(scale=0.5))),
        lambda: dfp.QuadraticLandscape(1.0, 0.0, dfp.AdditiveNoise(stats.laplace(scale=0.6))),
    ],
    "quadratic": [
        quadratic,
        lambda: quadratic(0.4),
        lambda: quadratic(hessian=[1.0, 0.3]),
        lambda: quadratic(gradient=1),
    ],
    "finite sum": [finite_sum, lambda: finite_sum(1e-3), lambda: finite_sum(size=9)],
    "features": [lambda: dfp.GaussianFeatures([1.0, 0.5], 0.1), lambda: dfp.GaussianFeatures([1.0, 0.5], 0.2)],
    "landscape": [
        lambda: dfp.Landscape(gradient, 0.1),
        lambda: dfp.Landscape(other_gradient, 0.1),
        lambda: dfp.Landscape(gradient, 0.2),
    ],
    "schedule": [
        lambda: dfp.CosineSchedule(0.1, 10),
        lambda: dfp.CosineSchedule(0.1, 11),
        lambda: dfp.StepSchedule(0.1, 10),
    ],
    "sgd": [
        lambda: dfp.SGD(quadratic(), 0.1, batch_size=4),
        lambda: dfp.SGD(quadratic(), 0.2, batch_size=4),
        lambda: dfp.SGD(quadratic(), 0.1),
        lambda: dfp.SGD(quadratic(), 0.1, batch_size=4, momentum=0.5),
        lambda: dfp.SGD(quadratic(0.4), 0.1, batch_size=4),
    ],
    "scheduled": [lambda: dfp.SGD(quadratic(), dfp.CosineSchedule(0.1, 9)), lambda: dfp.SGD(quadratic(), 0.1)],
    "equation": [
        lambda: dfp.Langevin(dfp.SGD(quadratic(), 0.1)),
        lambda: dfp.Langevin(dfp.SGD(quadratic(), 0.1), noise="frozen"),
        lambda: dfp.MasterEquation(dfp.SGD(quadratic(), 0.1)),
    ],
    "solver": [lambda: dfp.Hermite(8), lambda: dfp.Hermite(10), dfp.Fourier],
}


@pytest.mark.parametrize("kind", KINDS)
def test_made_alike_is_equal_and_made_otherwise_is_not(kind):
    make, *others = KINDS[kind]
    first, again = make(), make()
    assert first is not again and first == again and hash(first) == hash(again)
    assert len({first, again}) == 1
    for other in others:
        assert first != other() and len({first, other()}) == 2
    assert first != "another" and first != None  # noqa: E711


def test_how_an_argument_was_written_does_not_matter():
    assert dfp.GaussianNoise([0.3, 0.1]) == dfp.GaussianNoise(np.array([0.3, 0.1]))
    assert quadratic() == quadratic(hessian=np.diag([1.0, 0.2]), gradient=[0.0, -0.0])
    assert hash(quadratic()) == hash(quadratic(hessian=np.diag([1.0, 0.2]), gradient=[0.0, -0.0]))
    assert dfp.AdditiveNoise(stats.t(5, 0, 2.0)) == dfp.AdditiveNoise(stats.t(df=5, scale=2))


def test_working_with_an_object_does_not_change_what_it_equals():
    used, fresh = dfp.SGD(quadratic(), dfp.CosineSchedule(0.1, 9)), dfp.SGD(quadratic(), dfp.CosineSchedule(0.1, 9))
    dfp.moments(dfp.MasterEquation(used), dfp.Gaussian([1, 0], 0.1), 8)
    assert used == fresh and hash(used) == hash(fresh)


def test_copies_with_other_arguments():
    sgd = dfp.SGD(quadratic(), 0.1, batch_size=4)
    assert (
        sgd.changed(learning_rate=0.2) == sgd.__replace__(learning_rate=0.2) == dfp.SGD(quadratic(), 0.2, batch_size=4)
    )
    assert sgd.landscape.__replace__(gradient=1.0) == quadratic(gradient=1.0) != quadratic()
    features = dfp.GaussianFeatures([1.0, 0.5], 0.1)
    assert features.__replace__(noise=0.2) == dfp.GaussianFeatures([1.0, 0.5], 0.2) != features
    assert dataclasses.replace(sgd.landscape, gradient=1.0) == quadratic(gradient=1.0)
    assert dataclasses.replace(sgd.landscape, noise=dfp.GaussianNoise(0.4)) == quadratic(0.4)
    assert dataclasses.replace(features, curvatures=[1.0, 0.4]) == dfp.GaussianFeatures([1.0, 0.4], 0.1)
    with pytest.raises((TypeError, ValueError), match="gradient"):  # follows from the others; by Python's version
        dataclasses.replace(features, gradient=1.0)
    cooled = dfp.SGD(quadratic(), dfp.CosineSchedule(0.1, 9), batch_size=[4] * 9)
    changes = {"learning_rate": 0.2, "momentum": 0.5, "batch_size": None}
    for name, value in changes.items():
        assert dataclasses.replace(cooled, **{name: value}) == cooled.changed(**{name: value}) != cooled
    equation = dfp.Langevin(sgd)
    for name, value in changes.items():
        assert dataclasses.replace(sgd, **{name: value}) == sgd.changed(**{name: value}) != sgd
    assert dataclasses.replace(sgd, weight_decay=0.1).batch_size == sgd.batch_size
    assert dataclasses.replace(equation, noise="frozen") == dfp.Langevin(sgd, noise="frozen") != equation
    if sys.version_info >= (3, 13):
        assert copy.replace(sgd, learning_rate=0.2) == sgd.changed(learning_rate=0.2)


def test_copies_of_a_density_keep_moments_that_are_known_and_no_others():
    law = dfp.Density(dfp.Grid([0, 0], [1, 1], 4), np.ones((4, 4))).with_moments(np.array([0.4, 0.6]), np.eye(2))
    assert dataclasses.replace(law, error=0.1).mean.tolist() == law.marginal([0, 1]).mean.tolist() == [0.4, 0.6]
    assert law.marginal(1).mean.tolist() == [0.6] and law.marginal(1).covariance.tolist() == [[1.0]]
    for other in ({"values": np.ones((4, 4))}, {"grid": dfp.Grid([1, 1], [2, 2], 4)}):
        cells = dataclasses.replace(law, **other)
        assert np.allclose(cells.mean, cells.grid.lower + 0.5, atol=1e-15)  # rounding
    with pytest.raises(dfp.DFPError, match="covariance has shape"):
        law.with_moments(law.mean, np.eye(3))


@pytest.mark.parametrize("kind", KINDS)
def test_reprs_are_short(kind):
    for make in KINDS[kind]:
        text = repr(make())
        assert len(text) < 220 and "\n" not in text, text


def test_reprs_show_few_numbers_and_shapes_of_many():
    assert repr(dfp.Point([1.0, 2.0])) == "Point(theta=[1.0, 2.0])"
    assert "<array (300, 2)>" in repr(finite_sum())
    text = repr(dfp.SGD(quadratic(), 0.1, momentum=0.9))
    assert "learning_rate=0.1" in text and "momentum=0.9" in text and "nesterov" not in text
