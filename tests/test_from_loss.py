"""Landscapes from a loss in NumPy, PyTorch and JAX, expansions at a place, and what a malformed one is told."""

import numpy as np
import pytest
from problems import table

import dfp
from dfp.problem.from_loss import SampleLosses


def classified(count=40):
    """Features and labels ±1 of a logistic regression."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 2))
    return x, np.where(x @ [1.0, -0.5] + 0.7 * rng.normal(size=count) > 0, 1.0, -1.0)


def logistic(theta, data):
    x, y = data
    return np.logaddexp(0, -y * (x @ theta)) + 0.05 * (theta @ theta)


def by_hand(theta):
    """Gradients and Hessians of every sample."""
    x, y = classified()
    s = 1 / (1 + np.exp(y * (x @ theta)))
    gradients = -(s * y)[:, None] * x + 0.1 * theta
    return gradients, (s * (1 - s))[:, None, None] * x[:, :, None] * x[:, None, :] + 0.1 * np.eye(2)


def in_numpy():
    return logistic, classified()


def in_torch():
    torch = pytest.importorskip("torch")

    def loss(theta, data):
        return torch.nn.functional.softplus(-data["y"] * (data["x"] @ theta)) + 0.05 * (theta @ theta)

    return loss, dict(zip("xy", map(torch.tensor, classified()), strict=True))


def in_jax():
    numpy = pytest.importorskip("jax.numpy")
    return lambda t, data: numpy.logaddexp(0, -data[1] * (data[0] @ t)) + 0.05 * (t @ t), list(classified())


@pytest.mark.parametrize("framework", [in_numpy, in_torch, in_jax])
def test_logistic_regression_agrees_with_formulas(framework):
    """To 1e-10; differences of order eight reach 5e-12, and the control, one sample's label turned, misses by 0.1."""
    loss, data = framework()
    landscape = dfp.Landscape.from_loss(loss, data, 4, 2)
    theta = np.array([[0.4, -0.7], [-1.0, 2.0]])
    gradients = np.stack([by_hand(at)[0] for at in theta])
    hessians = np.stack([by_hand(at)[1] for at in theta])
    np.testing.assert_allclose(landscape.gradient_at(theta), gradients.mean(axis=1), rtol=0, atol=1e-10)
    np.testing.assert_allclose(landscape.hessian_at(theta), hessians.mean(axis=1), rtol=0, atol=1e-10)
    covariances = np.stack([np.cov(g.T, bias=True) / 4 for g in gradients])
    np.testing.assert_allclose(landscape.covariance_at(theta), covariances, rtol=0, atol=1e-10)
    quadratic = dfp.QuadraticLandscape.from_loss(loss, data, 4, at=[0.0, 0.0], minimise=True)
    place = dfp.SGD(quadratic, 0.1).critical_point
    assert np.linalg.norm(by_hand(place)[0].mean(axis=0)) < 1e-9
    np.testing.assert_allclose(quadratic.hessian, by_hand(place)[1].mean(axis=0), atol=1e-10)
    np.testing.assert_allclose(quadratic.law.covariance(place), np.cov(by_hand(place)[0].T, bias=True) / 4, atol=1e-10)
    expanded = landscape.expanded([0.5, 0.5], minimise=True)
    np.testing.assert_allclose(expanded.law.covariance(place), quadratic.law.covariance(place), atol=1e-9)
    assert np.max(np.abs(gradients[0].mean(axis=0) - by_hand(theta[0] + 0.1)[0].mean(axis=0))) > 1e-3


@pytest.mark.parametrize("framework", ["numpy", "torch"])
def test_least_squares_is_from_regression(framework):
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(30, 5)), rng.normal(size=30)
    data = (x, y)
    given = {}
    if framework == "torch":
        data = tuple(map(pytest.importorskip("torch").tensor, data))
    else:
        given = {
            "gradient": lambda t, d: d[0] * (d[0] @ t - d[1])[:, None],
            "hessian": lambda t, d: d[0][:, :, None] * d[0][:, None, :],
        }
    found = dfp.QuadraticLandscape.from_loss(
        lambda t, d: 0.5 * (d[0] @ t - d[1]) ** 2, data, 3, at=rng.normal(size=5), **given
    )
    wanted = dfp.QuadraticLandscape.from_regression(x, y, 3)
    # rounding
    np.testing.assert_allclose(found.hessian, wanted.hessian, atol=1e-12)
    np.testing.assert_allclose(found.gradient, wanted.gradient, atol=1e-12)
    np.testing.assert_allclose(found.law.gradients, wanted.law.gradients, atol=1e-12)
    np.testing.assert_allclose(found.law.sample_hessians(), wanted.law.sample_hessians(), atol=1e-12)


def test_samples_at_a_place():
    """The same losses, their Hessians and gradients taken at θ°; taken to be at the origin, the minimum is wrong."""
    rng = np.random.default_rng(4)
    x, y, place = rng.normal(size=(20, 2)), rng.normal(size=20), np.array([2.0, -1.0])
    hessians = x[:, :, None] * x[:, None, :]
    gradients = x * (x @ place - y)[:, None]
    wanted = dfp.QuadraticLandscape.from_regression(x, y, 2)
    found = dfp.QuadraticLandscape.from_samples(hessians, gradients, 2, at=place)
    # rounding
    np.testing.assert_allclose(found.gradient, wanted.gradient, atol=1e-12)
    np.testing.assert_allclose(found.law.gradients, wanted.law.gradients, atol=1e-12)
    assert np.abs(dfp.QuadraticLandscape.from_samples(hessians, gradients, 2).gradient - wanted.gradient).max() > 0.1


def test_gaussian_noise_at_a_place():
    """C(θ) = E[H̃(θ−θ°)(θ−θ°)ᵀH̃ᵀ] + C₀; moments, samples and densities agree with the shifted problem."""
    place = np.array([0.8, -0.5])
    base = table()
    law = base.law
    noise = dfp.GaussianNoise(law.constant, law.table, at=place)
    moved = dfp.QuadraticLandscape(base.hessian, base.gradient - base.hessian @ place, noise)
    theta = np.random.default_rng(2).normal(size=(5, 2))
    # rounding
    np.testing.assert_allclose(moved.law.covariance(theta), law.covariance(theta - place), atol=1e-12)
    start, steps = np.array([0.3, 0.4]), 8
    for settings in ({}, {"batch_size": 3}, {"momentum": 0.5}):
        first, second = (dfp.MasterEquation(dfp.SGD(one, 0.3, **settings)) for one in (base, moved))
        a = dfp.moments(first, dfp.Point(start), steps)
        b = dfp.moments(second, dfp.Point(start + place), steps)
        # rounding
        np.testing.assert_allclose(b.mean, a.mean + place, atol=1e-12)
        np.testing.assert_allclose(b.covariance, a.covariance, atol=1e-12)
        drawn = dfp.solve(second, dfp.Point(start + place), steps, [steps], dfp.MonteCarlo(100_000, seed=5))
        # 4 standard errors of 2 means and 4 covariances: 4e-4 a setting
        assert np.all(np.abs(drawn.mean[-1] - b.mean[-1]) < 4 * drawn.errors["mean"][-1])
        assert np.all(np.abs(drawn.covariance[-1] - b.covariance[-1]) < 4 * drawn.errors["covariance"][-1])
    one = dfp.QuadraticLandscape([1.0], 0.0, dfp.GaussianNoise([0.2], [0.5]))
    other = dfp.QuadraticLandscape([1.0], -0.7, dfp.GaussianNoise([0.2], [0.5], at=[0.7]))
    grids = dfp.Grid(-4, 4, 800), dfp.Grid(-3.3, 4.7, 800)
    for steps in (3, None):
        found = []
        for landscape, grid, shift in zip((one, other), grids, (0.0, 0.7), strict=True):
            equation = dfp.MasterEquation(dfp.SGD(landscape, 0.3))
            if steps is None:
                found.append(dfp.stationary(equation, grid).values)
            else:
                found.append(dfp.solve(equation, dfp.Gaussian(0.5 + shift, 0.1), steps, [steps], grid=grid).density[0])
        # interpolated between grids that are moved by parts of a cell
        assert np.abs(found[0] - found[1]).sum() * 0.01 < 1e-4


def test_any_landscape_expands():
    landscape = dfp.Landscape(
        lambda at: np.stack([at[:, 0] ** 3 - at[:, 0] + 0.1 * at[:, 1], 2 * at[:, 1] + 0.1 * at[:, 0]], axis=1),
        np.array([0.3, 0.1]),
        2,
    )
    quadratic = landscape.expanded([0.8, 0.0], minimise=True)
    # a minimum found by steps of Newton
    np.testing.assert_allclose(
        dfp.SGD(quadratic, 0.1).critical_point, np.sqrt(1.005) * np.array([1.0, -0.05]), atol=1e-9
    )
    # second differences in double precision
    np.testing.assert_allclose(quadratic.hessian, [[2.015, 0.1], [0.1, 2.0]], atol=1e-8)
    with pytest.raises(dfp.DFPError, match="no minimum"):
        landscape.expanded([0.0, 0.0], minimise=True)  # exactly on the saddle
    assert table().expanded([1.0, 2.0]).hessian.shape == (2, 2)


SHAPES = {
    "number": 0.4,
    "diagonal": np.array([0.4, 0.2]),
    "matrix": np.array([[0.4, 0.1], [0.1, 0.2]]),
    "numbers": lambda at: 0.4 + at[:, 0] ** 2,
    "diagonals": lambda at: 0.4 + at**2,
    "matrices": lambda at: np.einsum("ni,nj->nij", at, at) + np.eye(2),
    "one number": lambda at: 0.4 + at[0] ** 2,
    "one diagonal": lambda at: np.array([0.4 + at[0] ** 2, 0.4 + at[1] ** 2]),
    "one matrix": lambda at: np.outer(at, at) + np.eye(2),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_a_user_writes(name):
    """Each covariance is what it says at two points, as many as parameters, where shapes could be mistaken."""
    for gradient in (lambda at: 2.0 * at, lambda at: np.array([2 * at[0], 2 * at[1]])):
        landscape = dfp.Landscape(gradient, SHAPES[name], 2)
        at = np.array([[0.5, -1.0], [2.0, 0.3]])
        np.testing.assert_allclose(landscape.gradient_at(at), 2 * at)
        if "one" in name:
            given = np.stack([SHAPES[name](point) for point in at])
        else:
            given = SHAPES[name](at) if callable(SHAPES[name]) else np.stack([SHAPES[name]] * 2)
        wanted = given if given.ndim == 3 else np.stack([np.eye(2) * row for row in given])
        np.testing.assert_allclose(landscape.covariance_at(at), wanted)


def identity(at):
    return at


def failing(at):
    raise KeyError("theta")


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"gradient": 3.0}, "gradient=3.0: must be a function"),
        ({"gradient": lambda at: np.ones(7)}, "gradient: returned shape"),
        ({"gradient": lambda at: at[:, None]}, "gradient: returned shape"),
        ({"gradient": lambda at: np.stack([at[:, 0], at[:, 1]], 1)}, r"gradient: raised IndexError.*dimension="),
        ({"gradient": failing}, r"gradient: raised KeyError \('theta'\)"),
        ({"gradient": lambda at: at / 0.0}, "gradient is not finite"),
        ({"gradient": lambda at: at * 1j}, "gradient: raised"),
        ({"gradient": lambda at: None}, "gradient is not finite"),
        ({"gradient": lambda at: "downhill"}, "gradient: raised"),
        ({"covariance": None}, "covariance=None: must be"),
        ({"covariance": [1.0, 2.0, 3.0]}, "covariance has shape"),
        ({"covariance": np.nan}, "covariance.*must be finite"),
        ({"covariance": lambda at: np.ones((len(at), 2, 2))}, "covariance: returned shape"),
        ({"covariance": failing}, "covariance: raised KeyError"),
        ({"hessian": lambda at: np.ones((len(at), 3))}, "hessian: returned shape"),
        ({"hessian": failing}, "hessian: raised KeyError"),
        ({"dimension": 0}, "dimension=0"),
        ({"dimension": 1.5}, "dimension=1.5"),
        ({"dimension": 2, "gradient": lambda at: at[:, 0]}, r"returned shape \(4,\).*must be \(N, 2\)"),
        ({"scale": 0.0}, "scale=0"),
        ({"scale": np.inf}, "scale=inf"),
    ],
)
def test_malformed_landscapes_are_told_what_is_wrong(given, match):
    with pytest.raises(dfp.DFPError, match=match):
        dfp.Landscape(**({"gradient": identity, "covariance": 1.0} | given))


def test_what_is_wrong_far_away_is_told_where():
    start = dfp.Gaussian([0.0], [1.0])
    for change, match in (
        ({"gradient": lambda at: np.where(at < 2, at, np.nan)}, "gradient is not finite at θ = "),
        ({"covariance": lambda at: 1 - at[:, 0] ** 2}, "covariance has the eigenvalue"),
        ({"gradient": lambda at: at if np.all(at < 2) else failing(at)}, "gradient: raised KeyError"),
    ):
        sgd = dfp.SGD(dfp.Landscape(**({"gradient": identity, "covariance": 1.0} | change)), 0.3)
        with pytest.raises(dfp.DFPError, match=match):
            dfp.solve(dfp.MasterEquation(sgd), start, 3)


@pytest.mark.parametrize(
    ("loss", "match"),
    [
        (3.0, "must be a function"),
        (lambda t, d: np.mean(d[0] @ t), "one real loss per sample"),
        (lambda t: t, "raised TypeError"),
        (lambda t, d: d[0], "one real loss per sample"),
        (lambda t, d: 1j * (d[0] @ t), "one real loss per sample"),
        (lambda t, d: np.log(d[0] @ t), "not finite"),
        (lambda t, d: np.abs(d[0] @ (t - 0.01)) ** 0.5, "by differences changes"),
    ],
)
def test_malformed_losses_are_told_what_is_wrong(loss, match):
    with pytest.raises(dfp.DFPError, match=match), np.errstate(all="ignore"):
        dfp.Landscape.from_loss(loss, classified(), 4, 2)


def test_framework_is_that_of_the_data_or_of_what_is_returned():
    torch, numpy = pytest.importorskip("torch"), pytest.importorskip("jax.numpy")
    x, y = classified()
    losses = {
        "TorchLosses": dfp.Landscape.from_loss(lambda t, d: (d @ t) ** 2, torch.tensor(x, dtype=torch.float32), 1, 2),
        "JaxLosses": dfp.Landscape.from_loss(lambda t, d: numpy.dot(d, t) ** 2, x, 1, 2),
        "NumPyLosses": dfp.Landscape.from_loss(lambda t, d: (d @ t) ** 2, x, 1, 2),
    }
    for name, landscape in losses.items():
        assert isinstance(landscape.samples, SampleLosses) and type(landscape.samples).__name__ == name
        np.testing.assert_allclose(
            landscape.hessian_at(np.zeros((1, 2)))[0],
            2 * x.T @ x / len(y),
            rtol=1e-6 if name == "TorchLosses" else 1e-10,
        )


def test_derivatives_by_differences_may_be_zero_at_the_origin():
    """A quartic valley is flat there to third order; an offset of 1e12 leaves no digits, and is refused."""
    samples = np.linspace(-1.0, 1.0, 9)

    def quartic(theta, data):
        return (theta[0] ** 4 + 2 * theta[1] ** 4) * (1 + data) / 4

    landscape = dfp.Landscape.from_loss(quartic, samples, dimension=2)
    places = np.array([[0.0, 0.0], [0.5, -0.4], [1.0, 0.3]])
    exact = np.array([np.diag([3 * a**2, 6 * b**2]) for a, b in places])
    # rounding over the square of the step
    assert np.max(np.abs(landscape.hessian_at(places) - exact)) < 1e-11
    with pytest.raises(dfp.DFPError, match="by differences changes by"):
        dfp.Landscape.from_loss(lambda theta, data: quartic(theta, data) + 1e12, samples, dimension=2)


def test_hessians_at_many_places_take_few_calls():
    """The step that serves best is sought at few of the places: of order eight, 25 calls each in the plane."""
    calls = []

    def loss(theta, data):
        calls.append(theta)
        return data * np.cos(theta[0]) + theta[1] ** 2

    landscape = dfp.Landscape.from_loss(loss, np.array([1.0, 2.0]), dimension=2)
    places = np.random.default_rng(0).normal(size=(256, 2))
    calls.clear()
    found = landscape.hessian_at(places)
    # differences of order eight
    assert np.max(np.abs(found[:, 0, 0] + 1.5 * np.cos(places[:, 0]))) < 1e-9
    assert len(calls) < 40 * len(places)
    calls.clear()
    landscape.gradient_at(places)
    once = len(calls)
    landscape.covariance_at(places)  # of the same gradients
    assert len(calls) == once
    landscape.covariance_at(places + 0.1)
    assert len(calls) == 2 * once
