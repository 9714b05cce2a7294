"""Exits of sampled trajectories: against exact laws without momentum, a chain in (θ, v) with it, and what they say."""

import numpy as np
import pytest
from problems import one_mode, regression, table
from scipy.special import ndtr

import dfp
from dfp.long_time import first_passage_waves
from dfp.long_time.first_passage_line import NarrowKernel

N = 40_000
# Twelve steps a case, strongly dependent: |z| > 4 has probability below 1e-3 a case if all is right; seeds are fixed.
Z = 4.0


def worst_z(law, survival, mean, error=0.0):
    """Return the largest z-score of survival at twelve steps and of the mean."""
    at = np.unique(np.linspace(1, len(law.steps) - 1, 12).astype(int))
    z = np.abs(law.survival - survival[: len(law.steps)])[at] / (law.standard_error[at] + error)
    return max(z.max(), abs(law.mean - mean) / law.mean_error)


@pytest.mark.parametrize(
    ("landscape", "eta", "domain", "start"),
    [
        (one_mode(1.0, 1.0), 0.2, (-0.5, 0.5), [0.1]),
        (one_mode(-1.0, 0.5, 0.3), 0.2, (-0.7, 0.9), [0.2]),
        (table(2), 0.4, ([-1.0, -1.0], [1.0, 1.2]), [0.0, 0.2]),
        (regression(1, 2), 0.3, (0.3, 1.4), [0.8]),
    ],
    ids=["additive", "multiplicative", "table in 2D", "finite sum"],
)
def test_without_momentum_against_the_exact_law(landscape, eta, domain, start):
    equation = dfp.MasterEquation(dfp.SGD(landscape, eta))
    exact = dfp.exit_steps(equation, domain, dfp.Point(start), 2000)
    drawn = dfp.exit_steps(equation, domain, dfp.Point(start), 2000, trajectories=N, seed=3)
    assert worst_z(drawn, exact.survival, exact.mean, exact.error) < Z
    other = dfp.MasterEquation(dfp.SGD(landscape, 1.05 * eta))
    wrong = dfp.exit_steps(other, domain, dfp.Point(start), 2000, trajectories=N, seed=3)
    assert worst_z(wrong, exact.survival, exact.mean, exact.error) > Z


def chain(eta, beta, noise, wall, theta, steps, cells):
    """Return survival of v' = βv + λθ + ξ, θ' = θ − ηv' with λ = 1 in |θ| <= wall, on a grid of (θ, v).

    Given θ the new place θ' has a Gaussian law, and v' = (θ − θ')/η: the state is the pair (previous θ, θ), on cells.
    """
    places = (np.arange(cells) + 0.5) / cells * 2 * wall - wall
    edges = np.linspace(-wall, wall, cells + 1)
    deviation = eta * np.sqrt(noise)
    # The first step starts at rest.
    first = np.diff(ndtr((edges - (theta - eta * theta)) / deviation))
    second = np.diff(ndtr((edges - (places + beta * (places - theta) - eta * places)[:, None]) / deviation), axis=1)
    survival = [1.0, first.sum()]
    pair = first[:, None] * second  # previous, now
    survival.append(pair.sum())
    middle = places[None, :] + beta * (places[None, :] - places[:, None]) - eta * places[None, :]
    step = np.diff(ndtr((edges - middle[..., None]) / deviation), axis=2)
    for _ in range(steps - 2):
        pair = np.einsum("pn,pnq->nq", pair, step, optimize=True)
        survival.append(pair.sum())
    return np.array(survival)


def test_momentum_against_a_chain_of_pairs():
    """The chain's cells err by order two: two of them, extrapolated, are exact to a tenth of a standard error."""
    eta, beta, wall, theta, steps = 0.3, 0.7, 1.0, 0.2, 60
    fine, rough = (chain(eta, beta, 1.0, wall, theta, steps, cells) for cells in (81, 41))
    ratio = (81 / 41) ** 2
    exact = fine + (fine - rough) / (ratio - 1)
    assert np.abs(fine - exact).max() < 0.02
    equation = dfp.MasterEquation(dfp.SGD(one_mode(1.0, 1.0), eta, momentum=beta))
    law = dfp.exit_steps(equation, (-wall, wall), dfp.Point(theta), steps, trajectories=N, seed=5)
    z = np.abs(law.survival - exact) / law.standard_error
    assert z[1:].max() < Z
    wrong = chain(eta, 0.95 * beta, 1.0, wall, theta, steps, 81)
    assert (np.abs(law.survival - wrong) / law.standard_error).max() > Z
    # computed, it misses the chain by a thousandth of what its cells leave before it is freed of them
    computed = dfp.exit_steps(equation, (-wall, wall), dfp.Point(theta), steps)
    assert np.abs(computed.survival - exact).max() < 1e-3 * 0.02 and computed.error < 1e-10
    assert abs(computed.mean - law.mean) < Z * law.mean_error


def well(rate, momentum, nesterov=False):
    landscape = dfp.Landscape(lambda at: at**3 - at, 0.5, hessian=lambda at: 3 * at[:, 0] ** 2 - 1)
    return dfp.MasterEquation(dfp.SGD(landscape, rate, momentum=momentum, nesterov=nesterov))


@pytest.mark.parametrize(("rate", "momentum"), [(0.1, 0.5), (0.05, 0.9)])
def test_momentum_out_of_a_well(rate, momentum):
    """Nonlinear, computed and sampled, from a Gaussian at rest; Nesterov's, of other exits, is sampled alone."""
    box, start = (0.0, 2.0), dfp.Gaussian(0.8, 0.01)
    law = dfp.exit_steps(well(rate, momentum), box, start, 100)
    drawn = dfp.exit_steps(well(rate, momentum), box, start, 100, trajectories=N, seed=6)
    # two rules of quadrature
    assert law.error < 1e-9 and law.mean_error < 1e-8 * law.mean
    # what they do not resolve of the start, cut at the walls
    assert np.all(np.abs(law.survival - drawn.survival) < Z * drawn.standard_error + 1e-6)
    other = dfp.exit_steps(well(rate, momentum, nesterov=True), box, start, 100, trajectories=N, seed=6)
    assert np.max(np.abs(law.survival - other.survival) / other.standard_error) > Z
    with pytest.raises(dfp.UnsupportedError, match="trajectories=100_000"):
        dfp.exit_steps(well(rate, momentum, nesterov=True), box, start, 100)


def test_momentum_in_boxes_of_too_many_kernels_says_so():
    with pytest.raises(dfp.UnresolvedError, match=r"kernels wide.*trajectories=20_000, splitting=True"):
        dfp.exit_steps(well(1e-3, 0.9), (-2.0, 2.0), dfp.Point(1.0))


def test_what_has_not_left_is_said():
    """A mean that goes on by the last share is right within its error; nothing left is no mean."""
    equation = dfp.MasterEquation(dfp.SGD(one_mode(1.0, 1.0), 0.2))
    exact = dfp.exit_steps(equation, (-0.8, 0.8), dfp.Point(0.1))
    short = int(exact.mean)
    law = dfp.exit_steps(equation, (-0.8, 0.8), dfp.Point(0.1), short, trajectories=N, seed=1)
    assert abs(law.mean - exact.mean) < Z * law.mean_error
    assert "have not left by step" in law.warnings[0] and law.warnings[0] in str(law)
    never = dfp.exit_steps(equation, (-50.0, 50.0), dfp.Point(0.1), 10, trajectories=200)
    assert np.isnan(never.mean) and "at least" in never.warnings[0]
    whole = dfp.exit_steps(equation, (-0.8, 0.8), dfp.Point(0.1), trajectories=1000)
    assert not whole.warnings and whole.survival[-1] == 0


def test_saved_and_drawn_again(tmp_path):
    equation = dfp.MasterEquation(dfp.SGD(one_mode(1.0, 1.0), 0.2, momentum=0.5))
    laws = [dfp.exit_steps(equation, (-0.8, 0.8), dfp.Point(0.1), 5, trajectories=500, seed=s) for s in (1, 1, 2)]
    assert np.array_equal(laws[0].survival, laws[1].survival) and not np.array_equal(laws[0].survival, laws[2].survival)
    laws[0].save(tmp_path / "a.h5")
    again = dfp.load(tmp_path / "a.h5")
    assert again.warnings == laws[0].warnings and again.trajectories == 500


def test_half_open_boxes():
    """Sampled they are those of a corner out of reach, as computed ones are."""
    equation, start = dfp.MasterEquation(dfp.SGD(one_mode(1.0, 1.0), 0.2)), dfp.Point(0.1)
    exact = dfp.exit_steps(equation, (-6.0, 0.6), start, 300)
    law = dfp.exit_steps(equation, (-np.inf, 0.6), start, 300, trajectories=N, seed=2)
    assert worst_z(law, exact.survival, exact.mean) < Z
    closed = dfp.exit_steps(equation, (-0.6, 0.6), start, 300)
    assert worst_z(law, closed.survival, closed.mean) > Z
    assert worst_z(law, (computed := dfp.exit_steps(equation, (-np.inf, 0.6), start, 300)).survival, computed.mean) < Z
    with pytest.raises(dfp.DFPError, match="lower must be below upper"):
        dfp.exit_steps(equation, (0.6, -np.inf), start, trajectories=200)


def test_momentum_in_the_plane_is_refused_without_trajectories_and_high_dimensions_are_drawn():
    flat = dfp.QuadraticLandscape(np.ones(2), 0.0, dfp.GaussianNoise(np.ones(2)))
    momentum = dfp.MasterEquation(dfp.SGD(flat, 0.1, momentum=0.9))
    with pytest.raises(dfp.UnsupportedError, match=r"momentum=0\.9.*trajectories=100_000"):
        dfp.exit_steps(momentum, ([-1.0, -1.0], [1.0, 1.0]), dfp.Point([0.0, 0.0]))
    wide = dfp.QuadraticLandscape(np.ones(6), 0.0, dfp.GaussianNoise(np.ones(6)))
    law = dfp.exit_steps(
        dfp.MasterEquation(dfp.SGD(wide, 0.2)), (-np.ones(6), np.ones(6)), dfp.Point(np.zeros(6)), 20, trajectories=N
    )
    one = dfp.exit_steps(dfp.MasterEquation(dfp.SGD(one_mode(1.0, 1.0), 0.2)), (-1.0, 1.0), dfp.Point(0.0), 20)
    assert (np.abs(law.survival - one.survival**6) / law.standard_error).max() < Z


def test_rare_exits_keep_their_digits():
    """A mean of 1e17 steps has digits of its own, agreed upon by two discretisations."""
    law = dfp.exit_steps(dfp.MasterEquation(dfp.SGD(one_mode(1.0, 1.0), 0.1)), (-1.95, 1.95), dfp.Point(0.0), 10)
    assert 1e12 < law.mean < 1e22 and 0 < law.mean_error < 1e-6 * law.mean
    assert "inf" not in repr(law)


@pytest.mark.parametrize("batch_size", [3, 8])
def test_gaussian_steps_of_many_minibatches_are_said_and_counted(batch_size, monkeypatch):
    """Where kernels of the minibatches are too many: the error is larger than what is wrong, and not without use."""

    def refused(*_):
        raise NarrowKernel("too many waves")

    monkeypatch.setattr(first_passage_waves, "law", refused)
    sum_ = regression(1, batch_size)
    equation = dfp.MasterEquation(dfp.SGD(sum_, 0.5))
    assert equation.sgd.noise.minibatch_count() > 512
    law = dfp.exit_steps(equation, dfp.Grid(0.3, 1.4, 512), dfp.Point(0.8), 60)
    drawn = dfp.exit_steps(equation, (0.3, 1.4), dfp.Point(0.8), 60, trajectories=N, seed=4)
    off = np.abs(law.survival - drawn.survival)
    assert off.max() < law.error + Z * drawn.error < 0.3
    assert abs(law.mean - drawn.mean) < law.mean_error + Z * drawn.mean_error
    assert "taken to be Gaussian" in law.warnings[0] and "trajectories=" in law.warnings[0]
    # the control: without what skewness adds the certificate would be false
    assert np.any(off > law.error / 10 + Z * drawn.standard_error) or batch_size > 3


def test_steps_that_are_enumerated_have_no_such_error():
    law = dfp.exit_steps(
        dfp.MasterEquation(dfp.SGD(regression(1, 2), 0.3)), dfp.Grid(0.3, 1.4, 512), dfp.Point(0.8), 40
    )
    assert not law.warnings and law.error < 2e-3  # what chains of 512 cells reach


def test_what_was_never_seen_has_an_upper_bound():
    """None of n: 1 − 0.05^(1/n), 3/n; the bound of Clopper and Pearson holds in 95 % of laws drawn, or some more."""
    equation, start = dfp.MasterEquation(dfp.SGD(one_mode(1.0, 1.0), 0.2)), dfp.Point(0.0)
    law = dfp.exit_steps(equation, (-0.6, 0.6), start, 400, trajectories=1000, seed=1)
    assert law.survival[-1] == 0 and "none of 1000 trajectories, so below 0.003 (95 %" in str(law)
    assert law.upper_bound[-1] == pytest.approx(1 - 0.05 ** (1 / 1000), rel=1e-12)  # rounding
    exact = dfp.exit_steps(equation, (-0.6, 0.6), start, 60)
    assert np.array_equal(exact.upper_bound, exact.survival)
    drawn = [dfp.exit_steps(equation, (-0.6, 0.6), start, 60, trajectories=200, seed=seed) for seed in range(300)]
    for step in (20, 60):
        held = np.mean([exact.survival[step] <= one.upper_bound[step] for one in drawn])
        assert 0.95 - 4 * np.sqrt(0.05 * 0.95 / 300) < held < 1  # false alarm 3e-5
        assert np.mean([exact.survival[step] <= one.survival[step] for one in drawn]) < 0.8  # the control: no bound
    shut = dfp.exit_steps(equation, (-6.0, 6.0), start, 50, trajectories=1000)
    assert np.isnan(shut.mean) and np.isnan(shut.quantile(0.5)) and "50% after step 50" in str(shut)
    assert "fewer than 0.00012 a step with 95 %" in shut.warnings[0]  # 3 / (25 × 1000)
