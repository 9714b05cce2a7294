"""A run with momentum goes on from its state, velocities included, or says why it does not."""

from dataclasses import replace

import numpy as np
import pytest

import dfp
from dfp.exact.moments import moments_at

HESSIAN = np.array([[1.0, 0.3], [0.3, 0.5]])
COUPLED = dfp.GaussianNoise([[0.5, 0.2], [0.2, 0.3]], [[0.05, 0.02], [0.02, 0.04]])
RNG = np.random.default_rng(11)
SAMPLES = dfp.QuadraticLandscape.from_samples(RNG.normal(1.0, 0.2, (6, 1, 1)), RNG.normal(size=(6, 1)), batch_size=2)
PLANE = dfp.Gaussian([1.0, -0.5], [[0.2, 0.05], [0.05, 0.1]])
LINE = dfp.Gaussian([1.0], [[0.2]])
CASES = {
    "additive": (dfp.SGD(dfp.QuadraticLandscape(HESSIAN, [0.1, 0.0], dfp.GaussianNoise([0.5, 0.3])), 0.2, 0.7), PLANE),
    "nesterov": (
        dfp.SGD(dfp.QuadraticLandscape(HESSIAN, noise=dfp.GaussianNoise(0.4)), 0.2, 0.7, nesterov=True), PLANE
    ),
    "multiplicative": (dfp.SGD(dfp.QuadraticLandscape(HESSIAN, [0.1, 0.0], COUPLED), 0.2, 0.6), PLANE),
    "turned": (
        dfp.SGD(
            dfp.QuadraticLandscape(HESSIAN, noise=COUPLED), 0.2, 0.6, preconditioner=[[1.0, 0.2], [0.2, 0.4]]
        ),
        PLANE,
    ),
    "samples": (dfp.SGD(SAMPLES, 0.2, 0.6), LINE),
    "epochs": (dfp.SGD(SAMPLES, 0.2, 0.6, replace=False), LINE),
}  # fmt: skip
# Both ways round differently, some ten operations a step on numbers of size one: 1e-12 is a hundred times more.
ROUNDING = 1e-12


def apart(one, other):
    """The largest difference of the moments of (θ, v) at the last step."""
    names = ("joint_mean", "joint_covariance")
    return max(float(np.abs(getattr(one, name)[-1] - getattr(other, name)[-1]).max()) for name in names)


def halves(sgd, start, first=6, second=9):
    """The moments of a run in one go, and those of its second part from a solution at the end of its first."""
    equation = dfp.MasterEquation(sgd)
    whole = dfp.moments(equation, start, first + second, save=[first, first + second])
    return equation, whole, dfp.solve(equation, start, first, [0, first], solver=dfp.MomentRecursion())


@pytest.mark.parametrize("name", CASES)
def test_moments_go_on_exactly(name, tmp_path):
    """In halves as in one go, covariances of θ and v among them: from a solution, its state, and their files."""
    equation, whole, solution = halves(*CASES[name])
    solution.save(tmp_path / "half.h5")
    starts = {"solution": solution, "state": solution.state(), "file": dfp.load(tmp_path / "half.h5")}
    for start in starts.values():
        assert apart(dfp.moments(equation, start, 9, [9]), whole) < ROUNDING
    at_rest = dfp.Gaussian(solution.mean[-1], solution.covariance[-1])  # negative control: the velocity dropped
    assert apart(dfp.moments(equation, at_rest, 9, [9]), whole) > 1e-2
    crossed = whole.joint_covariance[0].copy()  # and θ and v taken for independent
    d = equation.dimension
    crossed[:d, d:] = crossed[d:, :d] = 0.0
    loose = replace(solution, joint_covariance=np.array([crossed, crossed]))
    assert apart(dfp.moments(equation, loose, 9, [9]), whole) > 1e-4
    again = dfp.solve(equation, solution, 9, [9], solver=dfp.MomentRecursion())
    again.save(tmp_path / "second.h5")
    assert apart(again, whole) < ROUNDING and apart(dfp.rerun(tmp_path / "second.h5"), again) == 0


@pytest.mark.parametrize("name", ["additive", "multiplicative"])
def test_a_state_with_a_density_keeps_its_velocities_wherever_it_goes(name, tmp_path):
    sgd, start = CASES[name]
    equation = dfp.MasterEquation(sgd)
    solution = dfp.solve(equation, start, 6, [6], solver=dfp.MonteCarlo(4000, seed=1, look_ahead=False))
    state, whole = solution.state(), dfp.moments(equation, start, 15, [15])
    assert isinstance(state, dfp.Density)
    state.save(tmp_path / "state.h5")
    copies = [state, dfp.load(tmp_path / "state.h5"), replace(state), state.__replace__(error=0.1)]
    for one in copies:
        assert apart(dfp.moments(equation, one, 9, [9]), whole) < ROUNDING
    assert dfp.load(tmp_path / "state.h5") == state != dfp.Density(state.grid, state.values)
    dfp.moments(equation, state, 9).save(tmp_path / "moments.h5")
    assert apart(dfp.rerun(tmp_path / "moments.h5"), whole) < ROUNDING
    one = solution.marginal(1)
    assert np.array_equal(one.state().joint.mean, one.joint_mean[-1]) and one.joint_mean.shape == (1, 2)
    assert np.array_equal(state.marginal(1).joint.covariance, one.joint_covariance[-1])


def test_densities_that_go_on_are_moments_alone_or_refused():
    sgd, start = CASES["additive"]
    equation = dfp.MasterEquation(sgd)
    solution = dfp.solve(equation, start, 6)
    whole = moments_at(equation, start, np.array([15]))
    found = dfp.solve(equation, solution, 9, [9])
    assert found.density is None and "velocities" in found.reason and not found.certificate.ok
    assert "solve in one go" in str(found.certificate.warnings)
    assert apart(found, whole) < ROUNDING
    for solver in (dfp.Fourier(), dfp.MonteCarlo(2000), dfp.Transfer()):
        with pytest.raises(dfp.UnsupportedError, match=r"moments alone are known|no momentum"):
            dfp.solve(equation, solution, 9, solver=solver)
    state = solution.state()
    for call in (
        lambda: dfp.solve(equation, state, 9, directions=np.eye(2)[:, :1]),
        lambda: dfp.mean_squared_displacement(equation, state, 3),
        lambda: dfp.loss_law(equation, state, 3),
        lambda: dfp.exit_steps(equation, ([-1, -1], [1, 1]), state, trajectories=200),
    ):
        with pytest.raises(dfp.UnsupportedError, match=r"velocities.*at rest"):
            call()
    resting = dfp.solve(equation, dfp.Density(state.grid, state.values), 9)  # at rest, as one says
    assert resting.density is not None and apart(resting, whole) > 1e-2
    plain = dfp.solve(dfp.MasterEquation(dfp.SGD(sgd.landscape, 0.2)), solution, 9)  # θ alone moves
    assert plain.density is not None


def test_what_is_not_known_is_refused():
    """Velocities in nonlinear landscapes, iterates of averages; where θ alone moves, it may go on."""
    sgd, start = CASES["additive"]
    equation, plain = dfp.MasterEquation(sgd), dfp.MasterEquation(dfp.SGD(sgd.landscape, 0.2))
    solution = dfp.solve(equation, start, 6)
    older = replace(solution, joint_mean=None, joint_covariance=None)  # as earlier versions kept them
    for ask in (dfp.solve, dfp.moments):
        with pytest.raises(dfp.UnsupportedError, match="not what else moves"):
            ask(equation, older, 3)
        assert np.isfinite(ask(plain, older, 3).mean).all()
    well = dfp.SGD(dfp.Landscape(lambda t: t**3 + t, 0.3), 0.1, momentum=0.5)
    drawn = dfp.solve(dfp.MasterEquation(well), LINE, 3, solver=dfp.MonteCarlo(2000))
    with pytest.raises(dfp.UnsupportedError, match="not what else moves"):
        dfp.solve(dfp.MasterEquation(well), drawn, 3)
    average = dfp.MasterEquation(dfp.ExponentialAverage(dfp.SGD(sgd.landscape, 0.2), 0.9))
    averaged = dfp.solve(average, start, 6)
    for ask in (dfp.solve, dfp.moments):
        with pytest.raises(dfp.UnsupportedError, match="not what else moves"):
            ask(average, averaged, 3)
    assert np.isfinite(dfp.moments(plain, averaged, 3).mean).all()
    shuffled = dfp.MasterEquation(dfp.SGD(SAMPLES, 0.2, replace=False))  # epochs of three steps
    whole, half = dfp.moments(shuffled, LINE, 8, [8]), dfp.solve(shuffled, LINE, 4, [3, 4], solver="moment_recursion")
    with pytest.raises(dfp.UnsupportedError, match="within an epoch"):
        dfp.moments(shuffled, half, 4)
    assert np.abs(dfp.moments(shuffled, half.at([3]), 5, [5]).covariance - whole.covariance).max() < ROUNDING


# 400 steps forget the start to less than 0.9^400; what is left is rounding in sums of as many terms.
SETTLED = 1e-9


@pytest.mark.parametrize("name", ["additive", "nesterov"])
def test_stationary_laws_with_momentum_stay_where_they_are(name):
    """Velocities and all, as another recursion finds them; at rest they do not."""
    sgd, start = CASES[name]
    equation = dfp.MasterEquation(sgd)
    law, settled = dfp.stationary(equation), dfp.moments(equation, start, 400, [400])
    assert apart(dfp.moments(equation, law, 3, [3]), settled) < SETTLED
    at_rest = dfp.Density(law.grid, law.values)  # negative control
    assert apart(dfp.moments(equation, at_rest, 3, [3]), settled) > 1e-2
    average = dfp.MasterEquation(dfp.ExponentialAverage(dfp.SGD(sgd.landscape, 0.2), 0.9))
    with pytest.raises(dfp.UnsupportedError, match="not what else moves"):
        dfp.moments(average, dfp.stationary(average), 3)


def test_moments_of_any_dimension_go_on():
    """From a solution without a density, whose higher moments nobody knows."""
    landscape = dfp.QuadraticLandscape(np.linspace(0.2, 1.0, 5), noise=dfp.GaussianNoise(0.3, 0.05))
    equation = dfp.MasterEquation(dfp.SGD(landscape, 0.2))
    start = dfp.Gaussian(np.ones(5), 0.1)
    half, whole = dfp.solve(equation, start, 4), dfp.moments(equation, start, 9, [9])
    found = dfp.solve(equation, half, 5)
    assert np.abs(found.covariance[-1] - whole.covariance[-1]).max() < ROUNDING
    line = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise(0.3, 0.05)), 0.2))
    short = dfp.solve(line, LINE, 4, solver=dfp.MomentRecursion())
    later = dfp.solve(line, short, 5, solver=dfp.MomentRecursion())
    assert later.fourth is None
    with pytest.raises(dfp.UnsupportedError, match="order two"):
        dfp.solve(line, short, 5, solver=dfp.MomentRecursion(4))
    with pytest.raises(dfp.UnsupportedError, match="moments alone"):
        dfp.solve(line, short, 5, solver=dfp.Fourier())
