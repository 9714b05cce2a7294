"""The page on what is not there: every row that can be asked for is refused, or answered by what the row names."""

import numpy as np
import pytest

import dfp

LOUD = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0], [0.5])), 0.1, momentum=0.5)
HEAVY = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), 0.1, momentum=0.5)
MANY = dfp.SGD(dfp.QuadraticLandscape(np.ones(4), noise=dfp.GaussianNoise(np.ones(4))), 0.1)
PLANE = dfp.SGD(dfp.QuadraticLandscape([1.0, 0.5], noise=dfp.GaussianNoise([1.0, 1.0])), 0.1)
BOWL3 = dfp.SGD(dfp.Landscape(lambda t: t + t**3, 1.0, dimension=3), 0.1)
START = dfp.Gaussian(0.0, 0.1)

REFUSED = {
    "densities for d > 3": lambda: dfp.stationary(dfp.MasterEquation(MANY)),
    "densities in a nonlinear landscape for d > 2": lambda: dfp.stationary(dfp.MasterEquation(BOWL3)),
    "escape for d > 2": lambda: dfp.escape(BOWL3, np.zeros(3), (-np.ones(3), np.ones(3))),
    "escape with momentum": lambda: dfp.escape(HEAVY, 0.0, (-1.0, 1.0)),
    "momentum and noise that depends on the place": lambda: dfp.solve(
        dfp.MasterEquation(LOUD), START, 5, None, "fourier"
    ),
    "moments of high order for d > 3": lambda: dfp.raw_moments(dfp.MasterEquation(MANY), dfp.Point(np.zeros(4)), 5, 6),
    "(T5) as a process": lambda: dfp.exit_steps(
        dfp.DiscreteFokkerPlanck(PLANE), ([-1, -1], [1, 1]), dfp.Point([0.0, 0.0])
    ),
    "Langevin with momentum": lambda: dfp.moments(dfp.Langevin(HEAVY), START, 5),
}


@pytest.mark.parametrize("asked", REFUSED.values(), ids=REFUSED)
def test_what_is_not_there_is_refused(asked):
    with pytest.raises(dfp.UnsupportedError):
        asked()


def test_what_the_page_names_instead_answers():
    """Momentum with noise that depends on the place is sampled; of four parameters two directions have a density."""
    assert dfp.solve(dfp.MasterEquation(LOUD), START, 5).solver in ("MonteCarlo", "MomentRecursion")
    pair = dfp.solve(dfp.MasterEquation(MANY), dfp.Gaussian(np.zeros(4), 0.1), 5, directions=np.eye(4)[:, :2])
    assert pair.density is not None and pair.density[-1].ndim == 2
    assert dfp.solve(
        dfp.MasterEquation(BOWL3), dfp.Gaussian(np.zeros(3), 0.1), 5, [5], dfp.MonteCarlo(2048)
    ).trajectories
