"""Problems: derivatives are those of the model, and wrong input is named."""

import numpy as np
import pytest

import dfp

torch = pytest.importorskip("torch")

from networks_models import classifier, cross_entropy, problem  # noqa: E402


def by_hand(model, x, y, decay):
    """Return gradients and Hessians of every sample by plain autograd, one at a time."""
    shapes = [p.shape for p in model.parameters()]
    theta = torch.cat([p.detach().flatten() for p in model.parameters()])

    def loss(t, i):
        parts, start = [], 0
        for shape in shapes:
            parts.append(t[start : start + shape.numel()].view(shape))
            start += shape.numel()
        w1, b1, w2, b2 = parts
        out = torch.tanh(x[i] @ w1.T + b1) @ w2.T + b2
        return torch.nn.functional.cross_entropy(out[None], y[i : i + 1]) + decay / 2 * (t * t).sum()

    gradients = [torch.autograd.functional.jacobian(lambda t, i=i: loss(t, i), theta) for i in range(len(x))]
    hessians = [torch.autograd.functional.hessian(lambda t, i=i: loss(t, i), theta) for i in range(len(x))]
    return torch.stack(gradients).numpy(), torch.stack(hessians).numpy()


@pytest.mark.parametrize("forward", [True, False])
def test_derivatives_are_those_of_plain_autograd(forward):
    model, x, y = classifier(samples=12)
    made = dfp.networks.Problem(model, cross_entropy, (x, y), weight_decay=0.3)
    assert made.derivatives._forward  # PyTorch warns of itself when this is first asked
    made.derivatives.__dict__["_forward"] = forward
    gradients, hessians = by_hand(model, x, y, 0.3)
    directions = np.random.default_rng(0).standard_normal((made.dimension, 5))
    # Rounding of sums of some hundred terms of order one.
    close = {"rtol": 1e-10, "atol": 1e-12}
    np.testing.assert_allclose(made.gradients(), gradients, **close)
    np.testing.assert_allclose(made.products(directions), hessians.mean(0) @ directions, **close)
    products = np.concatenate(list(made.sample_products(directions)))
    np.testing.assert_allclose(products, np.swapaxes(hessians @ directions, 1, 2), **close)
    assert made.checkpoint.shape == (made.dimension,) and model[0].weight.requires_grad


def test_arrays_measure_the_same_as_the_network():
    made = problem(samples=30)
    hessians = np.concatenate(list(made.sample_products(np.eye(made.dimension))))
    arrays = dfp.networks.Problem.from_arrays(made.gradients(), hessians)
    by_products = dfp.networks.Problem.from_arrays(
        made.gradients(), products=lambda directions: hessians @ directions, checkpoint=made.checkpoint
    )
    wanted = dfp.networks.measure(made, 4)
    for other in (arrays, by_products):
        found = dfp.networks.measure(other, 4)
        np.testing.assert_allclose(found.curvatures, wanted.curvatures, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(found.gradient_noise, wanted.gradient_noise, rtol=1e-7, atol=1e-12)
        np.testing.assert_allclose(found.row_noise, wanted.row_noise, rtol=1e-7, atol=1e-10)
        predicted = dfp.networks.predict(found, 0.1, steps=5)
        assert predicted.closure is None and "checkpoint alone" in str(predicted)
        with pytest.raises(dfp.DFPError, match="arrays do not move"):
            dfp.networks.trajectories(other, 0.1, 4, 8, 5)


def test_the_landscape_is_that_of_the_exact_finite_sum_in_mean_and_diagonal_noise():
    made = problem(samples=30)
    measured = dfp.networks.measure(made, 4)
    h = measured.directions.T @ np.concatenate(list(made.sample_products(measured.directions))).swapaxes(1, 2)
    exact = dfp.QuadraticLandscape.from_samples((h + h.swapaxes(1, 2)) / 2, measured.sample_gradients, 4)
    np.testing.assert_allclose(measured.landscape.hessian, exact.hessian, atol=1e-10)
    np.testing.assert_allclose(measured.table / 4, ((h - h.mean(0)) ** 2).mean(0) / 4, rtol=1e-8, atol=1e-14)
    np.testing.assert_allclose(measured.landscape.law.constant, exact.law.constant, rtol=1e-8, atol=1e-14)


def test_held_out_minibatches_agree_with_the_samples():
    z = dfp.networks.measure(problem(), 4).diagnostics.held_out
    assert z.shape == (27,) and np.abs(z).max() < 5  # one false alarm in 60 000
    doubled = problem()
    gradients = doubled.gradients
    doubled.gradients = lambda theta=None: 2 * gradients(theta)  # control: per-sample gradients of another loss
    assert np.abs(dfp.networks.measure(doubled, 4).diagnostics.held_out).max() > 5


def test_lanczos_and_flat_directions():
    made = problem()
    everything = dfp.networks.measure(made, 4)
    some = dfp.networks.measure(made, 4, modes=2, flat=3, depth=0)
    np.testing.assert_allclose(some.curvatures[:2], everything.curvatures[:2], rtol=1e-6)
    assert some.residuals[:2].max() < 1e-4 * some.curvatures[0]
    np.testing.assert_allclose(some.directions.T @ some.directions, np.eye(5), atol=1e-10)
    assert some.flat.tolist() == [False, False, True, True, True] and "random" in some.method
    pilot = dfp.networks.trajectories(made, 0.1, 4, 12, 20, seed=99)
    moved = dfp.networks.measure(made, 4, modes=2, flat=3, depth=0, runs=pilot)
    assert "12 other runs" in moved.method
    # They carry more of the noise than random ones: that is what they were chosen for.
    assert moved.gradient_noise[2:].sum() > some.gradient_noise[2:].sum()
    with pytest.raises(dfp.DFPError, match="span only 11"):
        dfp.networks.measure(made, 4, modes=2, flat=12, runs=pilot)


def test_helpers_make_flat_directions_move_as_they_do_among_all_parameters():
    """Additive noise: uᵀAⁿCAⁿu of all 27 parameters, from the Krylov space of u alone; without helpers it is wrong."""
    made = problem()
    whole = dfp.networks.measure(made, 4)
    wanted = dfp.networks.predict(whole, 0.3, steps=100, only=["additive"])
    some = dfp.networks.measure(made, 4, modes=2, flat=3, depth=5)
    assert some.helpers.sum() == 15 and not some.live[some.helpers].any() and some.live[:5].all()
    np.testing.assert_allclose(some.table[:5, :5], dfp.networks.measure(made, 4, modes=2, flat=3, depth=0).table)
    bowl = dfp.QuadraticLandscape(whole.hessian, whole.gradient, dfp.GaussianNoise(whole.covariance / 4))
    found = dfp.moments(dfp.MasterEquation(dfp.SGD(bowl, 0.3)), dfp.Point(np.zeros(27)), 100, wanted.steps.tolist())
    turned = whole.directions.T @ some.directions[:, some.flat]
    truth = np.einsum("ij,sik,kj->sj", turned, found.covariance, turned)[1:]

    def off(measured):
        variance = dfp.networks.predict(measured, 0.3, steps=100, only=["additive"]).moments["additive"].variance
        return np.abs(variance[1:, measured.flat] / truth - 1).max()

    # Degree 2·5 + 1 of a bilinear form: 100 steps at ηλ below the third curvature are a polynomial of low degree.
    assert off(some) < 1e-3 < 0.1 < off(dfp.networks.measure(made, 4, modes=2, flat=3, depth=0))
    # The closure says by itself where helpers are too few; no runs are made.
    rough = dfp.networks.measure(made, 4, modes=2, flat=3, depth=1)
    bold, sure = (dfp.networks.predict(m, 0.3, 4, 100, only=["closure"], curved=0) for m in (rough, some))
    assert "outside" in str(bold) and "outside" not in str(sure)


MODEL = torch.nn.Linear(4, 3)
X, Y = torch.zeros(10, 4), torch.zeros(10, dtype=torch.int64)


class Mixing(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(4, 3)

    def forward(self, x):
        return self.inner(x - x.mean(0))


class Silent(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(4, 3)

    def forward(self, x):
        return self.inner(x).detach()


class Random(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(4, 3)

    def forward(self, x):
        return self.inner(x) + torch.randn(len(x), 3, dtype=x.dtype)


@pytest.mark.parametrize(
    ("model", "loss", "data", "message"),
    [
        ("linear", cross_entropy, (X, Y), "torch.nn.Module"),
        (MODEL, None, (X, Y), "function of outputs"),
        (MODEL, torch.nn.functional.cross_entropy, (X, Y), "reduction='none'"),
        (MODEL, lambda out, y: out, (X, Y), r"shape \(3, 3\)"),
        (MODEL, lambda out, y: 3.0, (X, Y), "shape None"),
        (MODEL, cross_entropy, X, "two tensors"),
        (MODEL, cross_entropy, (X, Y[:5]), "10 and 5 samples"),
        (MODEL, cross_entropy, (X[:1], Y[:1]), "at least 2"),
        (MODEL, cross_entropy, (X.numpy().tolist(), Y), "must be a tensor"),
        (MODEL, cross_entropy, (torch.full((10, 4), float("nan")), Y), "loss of sample 0 is nan"),
        (MODEL, cross_entropy, (torch.zeros(10, 5), Y), "fails on the data"),
        (MODEL, cross_entropy, (X.to("meta"), Y), "different devices"),
        (Silent(), cross_entropy, (X, Y), "no gradient"),
        (Mixing(), cross_entropy, (torch.randn(10, 4), Y), "depends on the other samples"),
        (Random(), cross_entropy, (X, Y), "random"),
        (torch.nn.Linear(4, 3).requires_grad_(False), cross_entropy, (X, Y), "no trainable parameter"),
        (MODEL, lambda out, y: torch.sqrt(out.sum(-1) * 0), (X, Y), "gradient of sample 0 is not finite"),
    ],
)
def test_wrong_input_is_named(model, loss, data, message):
    with pytest.raises(dfp.DFPError, match=message):
        dfp.networks.Problem(model, loss, data)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: dfp.networks.measure(p, 0), "batch_size=0"),
        (lambda p: dfp.networks.measure("p"), "must be a dfp.networks.Problem"),
        (lambda p: dfp.networks.measure(p, modes="some"), "modes='some'"),
        (lambda p: dfp.networks.measure(p, flat=2), "leave it out"),
        (lambda p: dfp.networks.measure(p, modes=20, flat=20), "flat=20"),
        (lambda p: dfp.networks.trajectories(p, -0.1, 4), "learning_rate"),
        (lambda p: dfp.networks.trajectories(p, 0.1, 1000), "at most the 60 samples"),
        (lambda p: dfp.networks.trajectories(p, 0.1, 4, steps=5, save=[3, 2]), "must increase"),
        (lambda p: dfp.networks.trajectories(p, 0.1, 4, directions=np.eye(3)), "directions has shape"),
        (lambda p: dfp.networks.trajectories(p, 0.1, 4, nesterov=True), "momentum"),
        (lambda p: dfp.networks.trajectories(p, 1e300, 4, 2, 20), "diverged"),
        (lambda p: dfp.networks.Problem.from_arrays(np.zeros((3, 2))), "exactly one"),
        (lambda p: dfp.networks.Problem.from_arrays(np.zeros((3, 2)), np.zeros((3, 2, 3))), "hessians has shape"),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(dfp.DFPError, match=message):
        call(problem())


def test_layers_that_are_no_sum_over_samples_are_put_in_evaluation_mode_aloud():
    model = torch.nn.Sequential(
        torch.nn.Linear(4, 6), torch.nn.BatchNorm1d(6), torch.nn.Dropout(0.5), torch.nn.Linear(6, 3)
    )
    with pytest.warns(UserWarning, match=r"BatchNorm1d, Dropout.*evaluation mode"):
        made = dfp.networks.Problem(model, cross_entropy, (torch.randn(10, 4), Y))
    assert model.training and np.isfinite(made.mean_loss())


def test_single_precision_warns_and_differs_by_its_rounding():
    model, x, y = classifier()
    precise = dfp.networks.Problem(model, cross_entropy, (x, y))
    with pytest.warns(UserWarning, match=r"float32.*below about 1e-14"):
        made = dfp.networks.Problem(model, cross_entropy, (x, y), dtype="float32")
    assert not made.derivatives.precise and made.gradients().dtype == np.float64
    runs = [dfp.networks.trajectories(p, 0.1, 4, 4, 20).final for p in (made, precise)]
    hessians = [dfp.networks.measure(p, 4).hessian for p in (made, precise)]
    # Rounding of 6e-8 in sums of some hundred terms; steps add it up. Not equal: single precision was really used.
    for ours, theirs in ((made.gradients(), precise.gradients()), hessians, runs):
        assert 0 < np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()


def test_the_extra_is_named_where_it_is_missing(monkeypatch):
    import builtins
    import sys

    real = builtins.__import__

    def without(name, *rest, **options):
        if name.split(".")[0] == "torch":
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.delitem(sys.modules, "dfp.networks.problem")
    monkeypatch.delitem(dfp.networks.__dict__, "Problem", raising=False)
    with pytest.raises(dfp.DFPError, match=r"pip install 'dfp\[networks\]'"):
        _ = dfp.networks.Problem
