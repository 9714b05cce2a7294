"""What ``solve`` says: instabilities by their names, densities that are missing, and remedies that fit."""

import re
import warnings

import numpy as np
import pytest
from scipy import stats

import dfp

START = dfp.Gaussian(0.3, 0.05)


def bowl(curvature=1.0, curvature_noise=0.0):
    return dfp.QuadraticLandscape([curvature], 0.0, dfp.GaussianNoise([1.0], [curvature_noise]))


UNSTABLE = {
    "plain": (
        dfp.SGD(bowl(), 3.0),
        "ηλ = 3 > 2: the mode of curvature 1 is unstable; the largest stable learning_rate is 2",
    ),
    "heavy ball": (dfp.SGD(bowl(), 4.0, momentum=0.9), "ηλ = 4 > 3.8: .* learning_rate is 3.8"),
    "Nesterov": (dfp.SGD(bowl(2.0), 1.0, momentum=0.5, nesterov=True), "ηλ = 2 > 1.5: .* learning_rate is 0.75"),
    "schedule": (dfp.SGD(bowl(), dfp.CosineSchedule(5.0, 10)), "ηλ = 5 > 2"),
    "weight decay": (dfp.SGD(bowl(), 1.0, weight_decay=1.5), "ηλ = 2.5 > 2: the mode of curvature 2.5"),
}


@pytest.mark.parametrize("name", UNSTABLE)
def test_instability_is_named_while_numbers_hold_and_when_they_do_not(name):
    sgd, words = UNSTABLE[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        few = dfp.solve(dfp.MasterEquation(sgd), START, 6, [6], dfp.MomentRecursion())
        assert not few.certificate.ok
        assert any(re.match(words, warning) for warning in few.certificate.warnings)
        # At step 2000 no grid holds it; of the schedule a coarse grid says why at step 10.
        last, options = (10, {"tolerance": 1e-6, "grid": dfp.Grid([-1], [1], 20)}) if name == "schedule" else (2000, {})
        with pytest.raises(dfp.DFPError, match=words):
            dfp.solve(dfp.MasterEquation(sgd), START, last, [last], **options)


def test_several_modes_are_listed_and_saddles_are_not_blamed_on_the_rate():
    both = dfp.SGD(dfp.QuadraticLandscape([1.0, 3.0, 0.1], 0.0, dfp.GaussianNoise(1.0)), 2.5)
    found = dfp.solve(dfp.MasterEquation(both), dfp.Gaussian(np.zeros(3), 0.1), 3, [3], dfp.MomentRecursion())
    assert found.certificate.warnings[0].startswith("ηλ = 7.5, 2.5 > 2: the modes of curvature 3, 1 are unstable")
    assert "learning_rate is 0.6667" in found.certificate.warnings[0]
    saddle = dfp.solve(dfp.MasterEquation(dfp.SGD(bowl(-1.0), 0.1)), START, 10, [10])
    assert saddle.certificate.ok


@pytest.mark.parametrize("sgd", [dfp.SGD(bowl(), 1.99), dfp.SGD(bowl(), 3.7, momentum=0.9)], ids=["plain", "momentum"])
def test_what_is_stable_is_not_accused(sgd):
    """Controls: just below the limits nothing is said."""
    assert dfp.solve(dfp.MasterEquation(sgd), START, 6, [6]).certificate.ok


def test_a_large_start_of_a_schedule_that_contracts_on_the_whole_is_not_accused():
    sgd = dfp.SGD(bowl(), [2.1, 0.5, 0.5, 0.5])
    assert not any("unstable" in w for w in dfp.solve(dfp.MasterEquation(sgd), START, 4, [4]).certificate.warnings)


def test_moments_without_a_density_say_so():
    found = dfp.solve(dfp.DiscreteFokkerPlanck(dfp.SGD(bowl(), 0.1)), START, 50)
    assert found.density is None
    assert not found.certificate.ok
    assert "no density of the discrete Fokker-Planck" in found.certificate.warnings[0]
    assert "dfp.MasterEquation" in found.certificate.warnings[0]
    # Controls: a density that is there, and moments that were asked for.
    assert dfp.solve(dfp.DiscreteFokkerPlanck(dfp.SGD(bowl(), 0.02)), START, 50).certificate.ok
    asked = dfp.solve(dfp.DiscreteFokkerPlanck(dfp.SGD(bowl(), 0.1)), START, 50, solver=dfp.MomentRecursion())
    assert asked.certificate.ok


def test_remedies_fit_the_origin_of_the_grid_and_the_equation():
    equation = dfp.MasterEquation(dfp.SGD(bowl(), 0.1))
    given = dfp.solve(equation, START, 20, [20], dfp.Fourier(), dfp.Grid(-0.7, 0.7, 64)).certificate.warnings
    assert any("wider grid" in warning for warning in given)
    coin = dfp.QuadraticLandscape([1.0], 0.0, dfp.AdditiveNoise(stats.bernoulli(0.5)))
    chosen = dfp.solve(dfp.MasterEquation(dfp.SGD(coin, 0.3)), dfp.Gaussian(0.3, 0.01), 8, [8]).certificate.warnings
    assert chosen
    assert not any("master equation" in warning or "more cells" in warning for warning in chosen)
    truncated = dfp.solve(dfp.DiscreteFokkerPlanck(dfp.SGD(bowl(), 0.05)), START, 100).certificate.warnings
    assert any("dfp.MasterEquation" in warning for warning in truncated)
    assert not any("grid" in warning for warning in truncated)


def test_a_coarse_grid_holds_the_values_of_a_closed_gaussian():
    equation, grid = dfp.MasterEquation(dfp.SGD(bowl(), 0.1)), dfp.Grid(-2, 2, 12)
    found = dfp.solve(equation, START, 20, [20], grid=grid)
    exact = dfp.moments(equation, START, 20, [20])
    right = stats.norm(exact.mean.item(), exact.covariance.item() ** 0.5).pdf(grid.axes[0])
    # rounding
    np.testing.assert_allclose(found.density[0], right, rtol=1e-12)
    assert not found.certificate.ok  # cells of two deviations hide most of it


def test_means_survive_covariances_that_overflow():
    """κ < 2: the variance grows past 1e308 while the mean contracts."""
    sgd = dfp.SGD(bowl(curvature_noise=8.0), 0.5)
    for equation, right in (
        (dfp.MasterEquation(sgd), 0.3 * 0.5**500.0),
        (dfp.Langevin(sgd), 0.3 * np.exp(-250.0)),
    ):
        found = dfp.moments(equation, START, 1200, [500, 1200])
        # rounding
        assert found.mean[0].item() == pytest.approx(right, rel=1e-9)
        assert not np.isfinite(found.covariance[1]).any()
        assert np.isfinite(found.mean).all()
    heavy = dfp.moments(dfp.MasterEquation(dfp.SGD(bowl(curvature_noise=8.0), 0.5, momentum=0.5)), START, 2000, [2000])
    # nothing but what has underflown
    assert abs(heavy.mean.item()) < 1e-100


def test_a_collapsed_law_is_called_one():
    rng = np.random.default_rng(1)
    features = rng.standard_normal((30, 2))
    fitting = dfp.QuadraticLandscape.from_regression(features, features @ [1.0, -2.0], batch_size=2)
    equation = dfp.MasterEquation(dfp.SGD(fitting, 0.2))
    with pytest.raises(dfp.DFPError, match=r"collapsed onto θ = .*1"):
        dfp.solve(equation, dfp.Gaussian([0.0, 0.0], 0.01), 600, [600])
    early = dfp.solve(equation, dfp.Gaussian([0.0, 0.0], 0.01), 10, [10], dfp.MonteCarlo(4096))
    assert early.density is not None


def test_what_is_advised_where_no_fixed_point_is_found_has_the_answer(monkeypatch):
    """Remedies that are followed: the modes and a long recursion know the covariance that the solver did not find."""
    noise = dfp.GaussianNoise([0.3, 0.2], [[0.2, 0.1], [0.1, 0.3]])
    sgd = dfp.SGD(dfp.QuadraticLandscape([[1.0, 0.2], [0.2, 0.6]], 0.1, noise), 0.2)
    for equation in (dfp.MasterEquation(sgd), dfp.Langevin(sgd)):
        right = dfp.stationary_moments(equation).covariance
        with monkeypatch.context() as broken:
            broken.setattr("dfp.long_time.stationary_moments.second_moment.solve", unsolved)
            with pytest.raises(
                dfp.DFPError, match=r"no fixed point; .*dfp.moments\(equation, initial, steps\)"
            ) as found:
                dfp.stationary_moments(equation)
        assert "fewer parameters" not in str(found.value)
        assert ("modes(sgd)" in str(found.value)) == equation.discrete
        late = dfp.moments(equation, dfp.Gaussian([0.0, 0.0], 0.1), 2000, [2000]).covariance[0]
        # what is left of the start after 2000 steps is below rounding
        np.testing.assert_allclose(late, right, rtol=1e-10)
        if equation.discrete:
            # rounding
            np.testing.assert_allclose(dfp.modes(sgd).stationary_covariance, right, rtol=1e-10)


def unsolved(*_):
    raise ArithmeticError("no fixed point")


def test_no_advice_to_count_what_is_not_shown():
    """MonteCarlo shows no trajectories, so that nobody can count exits with it."""
    sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], 0.0, dfp.AdditiveNoise(stats.laplace())), 0.1)
    tiny = dfp.SGD(dfp.QuadraticLandscape([1.0, 1.0], 0.0, dfp.GaussianNoise(1e-14)), 0.01)
    for equation, start, domain in (
        (dfp.MasterEquation(sgd), dfp.Gaussian(0.0, 0.01), (-1.0, 1.0)),
        (dfp.MasterEquation(tiny), dfp.Gaussian([0.0, 0.0], 1e-4), (-1.0, 1.0)),
    ):
        with pytest.raises(dfp.DFPError, match=r"dfp.Langevin\(sgd\)") as found:
            dfp.exit_steps(equation, domain, start)
        assert "MonteCarlo" not in str(found.value)
