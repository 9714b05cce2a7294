"""Rare exits by splitting: against computed laws, with momentum and minibatches, their errors, and runs that go on."""

import numpy as np
import pytest
from dfp_solvers import splitting
from problems import one_mode, regression, table

import dfp

# A standard error of twenty replicates has a t law: |t| > 4 has a probability of 8e-4 a law; seeds are fixed.
Z = 4.0


def equation_of(landscape, eta, momentum=0.0):
    return dfp.MasterEquation(dfp.SGD(landscape, eta, momentum=momentum))


def away(equation, deviations):
    """Return a box of so many stationary deviations, and its middle."""
    law = dfp.stationary_moments(equation)
    wide = deviations * np.sqrt(law.covariance.diagonal())
    return (law.mean - wide, law.mean + wide), dfp.Point(law.mean)


PROBLEMS = {
    "a mean of 6e11 steps": (equation_of(one_mode(1.0, 1.0), 0.05), 7.0),
    "curvature noise": (equation_of(one_mode(1.0, 1.0, 0.5), 0.1), 6.0),
    "the plane": (equation_of(table(2), 0.1), 5.0),
    "momentum": (equation_of(one_mode(1.0, 1.0), 0.05, 0.8), 4.0),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_means_and_survival_are_those_of_computed_laws(name):
    """Plain trajectories of the same cost meet none of the first of them."""
    equation, deviations = PROBLEMS[name]
    box, start = away(equation, deviations)
    exact = dfp.exit_steps(equation, box, start, 400)
    law = dfp.exit_steps(equation, box, start, 400, trajectories=8000, splitting=True, seed=1)
    assert abs(law.mean - exact.mean) < Z * law.mean_error + exact.mean_error
    # a quarter of the mean: what is said to be known is known
    assert law.mean_error < 0.25 * law.mean
    left = (1 - exact.survival)[[200, 300, 400]]
    z = (1 - law.survival[[200, 300, 400]] - left) / law.standard_error[[200, 300, 400]]
    assert np.abs(z).max() < Z and law.trajectories <= 8000
    assert law.leaving == pytest.approx(1 / law.mean, rel=0.3)  # of its own errors, and of the first steps
    nearer, _ = away(equation, 0.9 * deviations)
    wrong = dfp.exit_steps(equation, nearer, start, 400, trajectories=8000, splitting=True, seed=1)
    assert abs(wrong.mean - exact.mean) > Z * wrong.mean_error


def test_few_minibatches_in_the_plane_have_digits_where_nothing_else_has():
    """Gaussian steps say 300 for a mean of 900, with an error as large; 10⁵ plain trajectories meet enough exits."""
    equation = equation_of(regression(2, 4), 0.1)
    box, start = away(equation, 3.0)
    drawn = dfp.exit_steps(equation, box, start, 1500, trajectories=20_000, seed=2)
    law = dfp.exit_steps(equation, box, start, 1500, trajectories=4000, splitting=True, seed=2)
    assert abs(law.mean - drawn.mean) < Z * np.hypot(law.mean_error, drawn.mean_error)
    assert law.mean_error < 0.1 * law.mean  # some per cent


def test_what_is_not_rare_is_walked_as_it_is():
    equation = equation_of(one_mode(1.0, 1.0), 0.3)
    exact = dfp.exit_steps(equation, (-0.3, 0.3), dfp.Point(0.0), 60)
    law = dfp.exit_steps(equation, (-0.3, 0.3), dfp.Point(0.0), 60, trajectories=8000, splitting=True)
    z = np.abs(law.survival - exact.survival)[1:20] / law.standard_error[1:20]
    # the largest of nineteen dependent t: |t| > 5 has a probability of 1e-3 for all of them at most
    assert z.max() < 5.0
    assert abs(law.mean - exact.mean) < Z * law.mean_error


def test_too_few_trajectories_say_so():
    equation = equation_of(one_mode(1.0, 1.0), 0.2)
    box, start = away(equation, 9.0)
    law = dfp.exit_steps(equation, box, start, 200, trajectories=400, splitting=True)
    assert np.isnan(law.mean) and "raise trajectories" in law.warnings[0] and "too many to tell" in str(law)
    box, start = away(equation, 6.0)
    law = dfp.exit_steps(equation, box, start, 200, trajectories=4000, splitting=True)
    assert any("exits of one weight" in warning for warning in law.warnings)
    slow = equation_of(one_mode(1.0, 1.0), 0.005)
    box, _ = away(slow, 4.0)
    law = dfp.exit_steps(slow, box, dfp.Point(0.9 * box[0]), 60, trajectories=4000, splitting=True)
    assert any("has not settled" in warning and "raise steps" in warning for warning in law.warnings)


def test_splitting_needs_trajectories_and_something_inside():
    equation = equation_of(one_mode(1.0, 1.0), 0.2)
    with pytest.raises(dfp.DFPError, match="trajectories=20_000"):
        dfp.exit_steps(equation, (-1.0, 1.0), dfp.Point(0.0), splitting=True)
    with pytest.raises(dfp.DFPError, match="of the initial state; widen it"):
        dfp.exit_steps(equation, (-1.0, 1.0), dfp.Point(2.0), 50, trajectories=200, splitting=True)


def test_a_law_goes_through_a_file_and_an_interrupted_run_goes_on(tmp_path, monkeypatch):
    from dfp.methods.draws import Walk
    from dfp.results import keeper

    equation = equation_of(one_mode(1.0, 1.0), 0.1)
    box, start = away(equation, 5.0)
    asked = {"trajectories": 2000, "splitting": True, "seed": 4}
    whole = dfp.exit_steps(equation, box, start, 120, **asked)
    whole.save(tmp_path / "law.h5")
    again = dfp.load(tmp_path / "law.h5")
    assert np.array_equal(again.spread, whole.spread) and again.mean == whole.mean
    assert np.all(again.upper_bound >= again.survival) and "survival_standard_error" in whole.to_xarray()
    assert np.array_equal(dfp.rerun(tmp_path / "law.h5").survival, whole.survival)

    monkeypatch.setattr(keeper, "_EVERY", 0.0)
    monkeypatch.setattr(keeper, "_SHARE", 0.0)
    calls, advance = [0], Walk.advance

    def ended(walk):
        calls[0] += 1
        if calls[0] > 130:  # 62 steps find the levels
            raise KeyboardInterrupt
        advance(walk)

    path = tmp_path / "run.h5"
    monkeypatch.setattr(Walk, "advance", ended)
    with pytest.raises(KeyboardInterrupt):
        dfp.exit_steps(equation, box, start, 120, checkpoint=path, **asked)
    assert "on its way" in dfp.load(path).warnings[0]
    monkeypatch.setattr(Walk, "advance", advance)
    resumed = dfp.exit_steps(equation, box, start, 120, checkpoint=path, **asked)
    assert np.array_equal(resumed.survival, whole.survival) and resumed.mean == whole.mean
    with pytest.raises(dfp.DFPError, match="belongs to another problem"):
        dfp.exit_steps(equation, box, start, 120, checkpoint=path, trajectories=2000, seed=4)


@pytest.mark.parametrize(
    ("mean", "error", "told"),
    [(29.5123, 1e-12, "29.5123"), (5.3891e8, 1e8, "5.4e+08"), (1.04867e7, 2e8, "1e+07"), (16432.0, 200.0, "16400")],
)
def test_no_more_digits_are_told_than_are_known(mean, error, told):
    law = dfp.ExitSteps(np.arange(2), np.array([1.0, 0.99]), mean, 0.99, 1e-3, error)
    assert f" {told} " in str(law).splitlines()[0] and f" {told} " in repr(law)


def test_resampling_keeps_the_weight_of_every_group_and_all_averages():
    rng = np.random.default_rng(0)
    group, score = rng.integers(0, 5, 400), rng.normal(size=400)
    # tens of orders of magnitude between groups
    weights = rng.random(400) * 1e-12**group
    kept, new = splitting.resampled(group, score, weights, 64, rng)
    for g in range(5):
        inside = group[kept] == g
        assert inside.sum() == 64
        assert new[inside].sum() == pytest.approx(weights[group == g].sum(), rel=1e-12)  # rounding of sums
    averages = []
    for _ in range(400):
        kept, new = splitting.resampled(group, score, weights, 3, rng)
        averages.append((new * score[kept])[group[kept] == 4].sum())
    true = (weights * score)[group == 4].sum()
    # a mean of 400 independent draws: |z| > 4 has a probability of 6e-5
    assert abs(np.mean(averages) - true) < 4 * np.std(averages) / 20
    biased = weights[group == 4].sum() * score[group == 4].mean() * 3
    assert abs(np.mean(averages) - biased) > 4 * np.std(averages) / 20


def test_levels_have_the_share_beyond_them_and_walls_may_be_missing():
    score, weights = np.arange(1000.0), np.ones(1000)
    found = splitting.levels(score, weights, 0.1)
    # a place more or less
    assert np.allclose([np.mean(score > level) for level in found], [0.1, 0.01], atol=1.5e-3)
    assert len(splitting.levels(score[:0], weights[:0], 0.1)) == 0
    near = splitting.nearness(
        np.array([[0.0, 50.0], [1.0, 0.0]]), np.zeros(2), np.ones(2), np.array([-np.inf] * 2), np.array([2.0, np.inf])
    )
    assert np.allclose(near, [-2.0, -1.5], atol=1e-12)  # rounding
