"""What someone new tries first: each works, or says what to write instead."""

import logging

import numpy as np
import pytest
from matplotlib import pyplot
from problems import one_mode
from scipy.optimize import brentq

import dfp
from dfp import checks
from dfp.problem import from_loss

LAW = dfp.MasterEquation(dfp.SGD(one_mode(1.0, 1.0), 0.2))
START = dfp.Gaussian(1.0, 0.1)

TRIED = {
    "one step to save": (lambda: dfp.solve(LAW, START, 10, save=5), r"save=5: .* give save=\[5\]"),
    "a bar of progress": (lambda: dfp.solve(LAW, START, 10, progress=True), "progress=lambda done, total"),
    "corners as arguments": (lambda: dfp.exit_steps(LAW, -1, 1), "initial=1: must be a dfp.Gaussian"),
    "a table from save": (lambda: dfp.solve(LAW, START, 10).save("x.csv"), "to_dataframe"),
    "a table from save_many": (lambda: dfp.save_many({"a": dfp.solve(LAW, START, 10)}, "x.csv"), "to_dataframe"),
    "an integer with a point": (lambda: dfp.SGD(one_mode(1.0, 1.0), 0.2, batch_size=4.0), "4 without a point"),
}


@pytest.mark.parametrize("name", TRIED)
def test_first_tries_say_what_to_write(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, remedy = TRIED[name]
    with pytest.raises(dfp.DFPError, match=remedy):
        call()
    assert not list(tmp_path.iterdir())


def test_without_noise_the_law_is_said_to_be_a_point():
    still = dfp.SGD(dfp.QuadraticLandscape([1.0, 2.0], [-1.0, 1.0], dfp.GaussianNoise([0.0, 0.0])), 0.2)
    with pytest.raises(dfp.NoStationaryDensity, match=r"no noise.*the point \[1.0, -0.5\]"):
        dfp.stationary(dfp.MasterEquation(still))


def test_members_that_fail_are_named():
    with pytest.raises(ZeroDivisionError) as caught:
        dfp.sweep(lambda a: 1 / a, {"a": [0]}, quiet=True)
    assert "function at a=0" in caught.value.__notes__[0]


def test_parameters_are_asked_for_by_name():
    landscape = dfp.QuadraticLandscape([1.0, 0.5], noise=dfp.GaussianNoise([1.0, 2.0]), parameters=["age", "dose"])
    solution = dfp.solve(dfp.MasterEquation(dfp.SGD(landscape, 0.2)), dfp.Gaussian([0.0, 1.0], 0.1), 5)
    law = dfp.stationary(dfp.MasterEquation(dfp.SGD(landscape, 0.2)))
    for result in (solution, law):
        assert result.marginal("dose").parameters == ("dose",)
        assert np.array_equal(result.quantile(0.3, "dose"), result.quantile(0.3, 1))
        assert not np.array_equal(result.quantile(0.3, "dose"), result.quantile(0.3, "age"))
        assert result.marginal(["dose", "age"]).parameters == ("dose", "age")
        with pytest.raises(dfp.DFPError, match="'age', 'dose', or its place"):
            result.marginal("weight")


def test_work_that_is_given_up_is_not_announced(caplog):
    """Hermite would take minutes here, is left for Transfer, and nobody has to hear of it."""
    noise = dfp.GaussianNoise(gradient=[[0.4, 0.1], [0.1, 0.2]], hessian=[0.05, 0.02])
    sgd = dfp.SGD(dfp.QuadraticLandscape([[2.0, 0.5], [0.5, 1.0]], noise=noise), learning_rate=0.1)
    with caplog.at_level(logging.WARNING, "dfp"):
        dfp.solve(dfp.MasterEquation(sgd), dfp.Gaussian([1.0, -1.0], 0.05), 100, [5, 100])
    assert "will take" not in caplog.text


def test_long_derivatives_are_announced(monkeypatch, caplog):
    def loss(theta, data):
        return (data - theta[0]) ** 2

    landscape = dfp.Landscape.from_loss(loss, np.arange(4.0), batch_size=2, dimension=1)
    with caplog.at_level(logging.WARNING, "dfp"):
        landscape.hessian_at(np.zeros((3, 1)))
        assert "will take" not in caplog.text
        monkeypatch.setattr(from_loss, "_SEEN", 0.0)
        monkeypatch.setattr(checks, "TELLING", 0.0)
        landscape.hessian_at(np.zeros((3, 1)))
    assert caplog.text.count("give hessian=, or a loss in PyTorch") == 1


def test_figures_of_rare_exits_show_what_has_left():
    rare = dfp.exit_steps(LAW, (-2.0, 2.0), dfp.Point(0.0), 100).plot()
    soon = dfp.exit_steps(LAW, (-0.5, 0.5), dfp.Point(0.0), 100).plot()
    assert [figure.axes[0].get_ylabel() for figure in (rare, soon)] == [
        "probability of having left", "probability of being inside",
    ]  # fmt: skip
    (_, left), (_, line) = (curve.get_data() for curve in rare.axes[0].get_lines())
    assert 0 < left[-1] < 0.1 and np.isclose(line[-1], left[-1], rtol=1e-12)  # the line ends where the curve does
    assert "falls by 1 a step" not in str([t.get_text() for t in rare.axes[0].get_legend().get_texts()])
    pyplot.close("all")


def radius(rate, momentum, nesterov, curvatures, spread):
    """Return ρ of second moments of (θ, v), entries of H̃ independent with variances ``spread`` (T19), written out."""
    ahead = 1 + momentum if nesterov else 1.0
    carried = momentum**2 if nesterov else momentum
    h, one = np.diag(curvatures), np.eye(2)
    mean = np.block([[one - rate * ahead * h, -rate * carried * one], [h, momentum * one]])
    kick, noise = np.array([-rate * ahead, 1.0]), np.zeros((16, 16))
    for column in range(16):
        second = np.eye(16)[column].reshape(4, 4)
        noise[:, column] = np.kron(np.outer(kick, kick), np.diag(spread @ second[:2, :2].diagonal())).ravel()
    return np.abs(np.linalg.eigvals(np.kron(mean, mean) + noise)).max()


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.5, False), (0.9, False), (0.9, True)])
def test_limits_of_coupled_modes_know_momentum(momentum, nesterov):
    """They were those without momentum, 1.29 where it is 0.27."""
    curvatures, spread = np.array([0.5, 1.0]), np.array([[0.3, 0.1], [0.1, 0.5]])
    landscape = dfp.QuadraticLandscape(curvatures, noise=dfp.GaussianNoise([0.1, 0.2], spread))
    found = dfp.modes(dfp.SGD(landscape, 0.1, momentum=momentum, nesterov=nesterov)).largest_stable_learning_rate
    limit = brentq(lambda rate: radius(rate, momentum, nesterov, curvatures, spread) - 1, 0.05, 1.25)
    assert found == pytest.approx(limit, rel=1e-9)  # of the root's tolerance
    plain = dfp.modes(dfp.SGD(landscape, 0.1)).largest_stable_learning_rate
    assert abs(plain - limit) > 0.1 * limit  # the control
    for share, settles in ((0.999, True), (1.001, False)):
        at = dfp.SGD(landscape, share * found, momentum=momentum, nesterov=nesterov)
        assert (dfp.modes(at).spectral_radius < 1) is settles


def test_limits_of_a_finite_sum_with_momentum_are_where_moments_diverge():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 2))
    landscape = dfp.QuadraticLandscape.from_regression(x, x @ [1.0, -1.0] + rng.normal(size=40), batch_size=2)
    limit = dfp.modes(dfp.SGD(landscape, 0.1, momentum=0.9)).largest_stable_learning_rate
    dfp.stationary_moments(dfp.MasterEquation(dfp.SGD(landscape, 0.99 * limit, momentum=0.9)))
    with pytest.raises(dfp.NoStationaryDensity):
        dfp.stationary_moments(dfp.MasterEquation(dfp.SGD(landscape, 1.01 * limit, momentum=0.9)))
