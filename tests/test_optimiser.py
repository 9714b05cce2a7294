"""SGD as optimisers run it: momentum, schedules and sampling without replacement; what is described, and refused."""

import numpy as np
import pytest
from problems import one_mode, regression, samples

import dfp
from validation.solvers import made

ALL_SOLVERS = made(2048).values()
KINDS = {
    "momentum": {"momentum": 0.9},
    "schedules": {"learning_rate": [0.1, 0.2]},
    "without_replacement": {"replace": False},
}


def sgd(landscape=None, **settings):
    return dfp.SGD(regression(1, 3) if landscape is None else landscape, **({"learning_rate": 0.1} | settings))


# --- schedules


def test_schedules_have_the_values_of_their_formulas():
    np.testing.assert_allclose([dfp.StepSchedule(0.8, 2, 0.5)(n) for n in range(5)], [0.8, 0.8, 0.4, 0.4, 0.2])
    cosine = dfp.CosineSchedule(1.0, 4, final=0.2)
    half = 0.2 + 0.4 * (1 + np.sqrt(0.5))
    # rounding
    np.testing.assert_allclose([cosine(n) for n in (0, 1, 2, 4, 9)], [1.0, half, 0.6, 0.2, 0.2], rtol=1e-14)
    warm = dfp.WarmUp(4, dfp.StepSchedule(0.8, 1, 0.5))
    np.testing.assert_allclose([warm(n) for n in range(7)], [0.2, 0.4, 0.6, 0.8, 0.8, 0.4, 0.2])
    assert [dfp.StepSchedule(8, 3, 2)(n) for n in (0, 3, 6)] == [8, 16, 32]


def test_slow_time_is_the_sum_of_the_learning_rates():
    scheduled = sgd(learning_rate=[0.1, 0.3, 0.0, 0.2])
    # rounding
    np.testing.assert_allclose(scheduled.time([0, 1, 4]), [0.0, 0.1, 0.6], rtol=1e-15)
    np.testing.assert_allclose(sgd().time([0, 7]), [0.0, 0.7], rtol=1e-15)


def test_runs_of_equal_steps_are_told_together():
    scheduled = sgd(learning_rate=[0.1, 0.1, 0.2, 0.2, 0.2], batch_size=[1, 1, 1, 4, 4])
    runs = [(scheduled.at(n).learning_rate, scheduled.at(n).batch_size, count) for n, count in scheduled.runs(1, 5)]
    assert runs == [(0.1, 1, 1), (0.2, 1, 1), (0.2, 4, 2)]
    assert [count for _, count in sgd().runs(3, 10**9)] == [10**9 - 3]


def test_a_schedule_has_no_one_value():
    scheduled = sgd(learning_rate=dfp.StepSchedule(0.1, 5))
    with pytest.raises(dfp.UnsupportedError, match=r"learning_rate is a schedule.*ask sgd.at\(n\)"):
        _ = scheduled.learning_rate
    assert scheduled.at(5).learning_rate == pytest.approx(0.01)
    with pytest.raises(dfp.DFPError, match="learning_rate has 2 entries: step 2 needs another"):
        sgd(learning_rate=[0.1, 0.2]).at(2)


# --- what is refused


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("solver", ALL_SOLVERS, ids=lambda s: s.name)
def test_a_solver_refuses_what_it_does_not_take(solver, kind):
    equation = dfp.MasterEquation(sgd(**KINDS[kind]))
    if "T4" not in solver.equations or getattr(solver, kind):
        return
    with pytest.raises(dfp.UnsupportedError, match=rf"solver={solver.name} cannot solve.*Use solver='auto'"):
        solver.require(equation, dfp.Gaussian([0.0], [1.0]))
    solver.refusal(dfp.MasterEquation(sgd()), dfp.Gaussian([0.0], [1.0]))  # which plain SGD does not meet


@pytest.mark.parametrize("form", [dfp.Langevin, dfp.ModifiedLangevin])
def test_diffusions_refuse_momentum_and_epochs(form):
    with pytest.raises(dfp.UnsupportedError, match=r"momentum=0.9: .* moves \(θ, v\)"):
        form(sgd(momentum=0.9))
    with pytest.raises(dfp.UnsupportedError, match=r"replace=False: .* independent of the past"):
        form(sgd(replace=False))
    with pytest.raises(dfp.UnsupportedError, match="replace=False"):
        dfp.DiscreteFokkerPlanck(sgd(replace=False))


def test_epochs_need_a_finite_sum_and_equal_minibatches():
    with pytest.raises(dfp.UnsupportedError, match="only a finite sum has samples"):
        sgd(one_mode(), replace=False)
    with pytest.raises(dfp.UnsupportedError, match="batch_size is a schedule"):
        sgd(replace=False, batch_size=[1, 2])
    with pytest.raises(dfp.DFPError, match="batch_size=31: must be at most the 30 samples"):
        sgd(replace=False, batch_size=31)
    assert sgd(samples(), replace=False, batch_size=5).epoch == 2
    assert sgd(samples()).epoch == 0


@pytest.mark.parametrize("kind", KINDS)
def test_drift_and_diffusion_of_theta_alone_are_refused(kind):
    equation = dfp.MasterEquation(sgd(**KINDS[kind]))
    for ask in (
        lambda: equation.linear_drift,
        lambda: equation.diffusion(np.zeros(1)),
        lambda: dfp.stationary(equation),
    ):
        with pytest.raises(dfp.UnsupportedError):
            ask()
