"""A linear model with squared error is exactly quadratic: every predictor that should be exact is, in every mode."""

import numpy as np
import pytest

import dfp
from dfp.networks import scores

torch = pytest.importorskip("torch")

from networks_models import problem  # noqa: E402

RUNS = 512
# z-scores: |z| ≤ 5 is promised; 1e-6 of true predictions exceed it each, so one test in a hundred at 10 000 of them.
LARGEST_Z = 5.0


class Linear(torch.nn.Module):
    def __init__(self, d):
        super().__init__()
        self.theta = torch.nn.Parameter(torch.zeros(d, dtype=torch.float64))

    def forward(self, x):
        return x @ self.theta


def half_square(out, y):
    return 0.5 * (out - y) ** 2


def regression(d=8, samples=60, seed=0, noise=0.5):
    """Least squares with curvatures from 1 to 0.01, at its minimum."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((samples, d)) * np.geomspace(1, 0.1, d)
    y = x @ rng.standard_normal(d) + noise * rng.standard_normal(samples)
    model = Linear(d)
    model.theta.data = torch.tensor(np.linalg.lstsq(x, y, rcond=None)[0])
    return dfp.networks.Problem(model, half_square, (torch.tensor(x), torch.tensor(y)))


def additive(d=5, samples=48, outputs=9, seed=1):
    """One design for every sample, so that all have the same Hessian: the noise is additive."""
    rng = np.random.default_rng(seed)
    design = torch.tensor(rng.standard_normal((outputs, d)) * np.geomspace(0.5, 0.05, d))
    targets = torch.tensor(rng.standard_normal((samples, outputs)))
    model = Linear(d)
    model.theta.data = torch.linalg.lstsq(design, targets.mean(0)).solution

    def loss(theta_of_design, y):
        return 0.5 * ((theta_of_design - y) ** 2).sum(-1)

    class Fixed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, x):
            return x @ (design @ self.inner.theta)[None]

    return dfp.networks.Problem(Fixed(), loss, (torch.ones(samples, 1, dtype=torch.float64), targets))


def largest_z(report, name):
    """Return the largest |z| of means and of variances over directions and steps."""
    found = report.predictions.moments[name]
    moving = report.steps > 0
    positions = report.runs.positions[moving]
    variances = scores.variance_z(positions, found.variance[moving])
    means = (positions.mean(1) - found.mean[moving]) / np.sqrt(found.variance[moving] / positions.shape[1])
    return np.abs(means).max(), np.abs(variances).max()


@pytest.fixture(scope="module")
def fresh():
    """Minibatches of 6 at ηλ = .5 in the sharpest mode."""
    problem = regression()
    measured = dfp.networks.measure(problem, batch_size=6)
    rate = 0.5 / measured.curvatures[0]
    runs = dfp.networks.trajectories(problem, rate, 6, RUNS, 200, save=[0, 1, 2, 5, 10, 30, 100, 200], seed=3)
    return dfp.networks.report(measured, runs)


@pytest.mark.parametrize("name", ["sum", "closure"])
def test_exact_predictors_are_exact_with_replacement(fresh, name):
    mean, variance = largest_z(fresh, name)
    assert mean <= LARGEST_Z and variance <= LARGEST_Z


@pytest.mark.parametrize("name", ["langevin", "authors", "additive"])
def test_crude_predictors_are_told_from_the_runs(fresh, name):
    """Negative control: curvature noise and finite ηλ are seen by the same scores."""
    assert largest_z(fresh, name)[1] > LARGEST_Z


def test_langevin_fails_where_only_the_learning_rate_is_finite():
    """Additive noise at ηλ = .5: the exact recursion is right, and Langevin's variance is wrong by a third."""
    problem = additive()
    measured = dfp.networks.measure(problem, batch_size=4)
    assert np.max(measured.table) < 1e-20  # all samples share one Hessian
    rate = 0.5 / measured.curvatures[0]
    runs = dfp.networks.trajectories(problem, rate, 4, RUNS, 120, save=[0, 1, 2, 5, 20, 120], seed=5)
    report = dfp.networks.report(measured, runs)
    for name in ("additive", "own", "table", "sum", "closure"):
        mean, variance = largest_z(report, name)
        assert mean <= LARGEST_Z and variance <= LARGEST_Z, name
    assert largest_z(report, "langevin")[1] > LARGEST_Z


def test_exact_predictors_are_exact_without_replacement():
    """(T18) on real minibatches: within epochs of 12 steps and across them."""
    problem = additive()
    measured = dfp.networks.measure(problem, batch_size=4)
    rate = 0.5 / measured.curvatures[0]
    save = [0, 1, 2, 3, 6, 9, 11, 12, 13, 18, 24, 30, 60]
    runs = dfp.networks.trajectories(problem, rate, 4, RUNS, 60, save=save, replace=False, seed=6)
    report = dfp.networks.report(measured, runs)
    for name in ("additive", "sum", "closure"):
        mean, variance = largest_z(report, name)
        assert mean <= LARGEST_Z and variance <= LARGEST_Z, name
    assert largest_z(report, "langevin")[1] > LARGEST_Z  # it knows no epochs
    (epoch,) = [claim for claim in report.claims if "epoch" in claim.claim]
    assert epoch.verdict == "holds"


def test_a_small_finite_sum_is_exact_without_replacement():
    """Curvature noise too, by the sets of samples an epoch can have used."""
    problem = regression(d=2, samples=8, seed=4)
    measured = dfp.networks.measure(problem, batch_size=2)
    rate = 0.3 / measured.curvatures[0]
    runs = dfp.networks.trajectories(problem, rate, 2, RUNS, 12, save=list(range(13)), replace=False, seed=7)
    report = dfp.networks.report(measured, runs)
    mean, variance = largest_z(report, "sum")
    assert mean <= LARGEST_Z and variance <= LARGEST_Z


def test_momentum_and_weight_decay_are_exact_too():
    rng = np.random.default_rng(8)
    x, y = rng.standard_normal((40, 4)), rng.standard_normal(40)
    problem = dfp.networks.Problem(Linear(4), half_square, (torch.tensor(x), torch.tensor(y)), weight_decay=0.1)
    measured = dfp.networks.measure(problem, batch_size=5)
    runs = dfp.networks.trajectories(problem, 0.05, 5, RUNS, 60, save=[0, 1, 2, 5, 20, 60], momentum=0.8, seed=9)
    report = dfp.networks.report(measured, runs)
    for name in ("sum", "closure"):
        mean, variance = largest_z(report, name)
        assert mean <= LARGEST_Z and variance <= LARGEST_Z, name
    assert largest_z(report, "authors")[1] > LARGEST_Z


def test_secants_leave_a_quadratic_loss_as_it_is():
    """Without Hessians elsewhere the closure scales that of the checkpoint: by 1 here, by more where the loss bends."""
    measured = dfp.networks.measure(additive(), batch_size=4)
    options = {"only": ["additive", "closure"], "curved": 0}
    found = dfp.networks.predict(measured, 0.5 / measured.curvatures[0], 4, 60, **options)
    np.testing.assert_allclose(found.moments["closure"].variance, found.moments["additive"].variance, rtol=1e-8)
    assert found.closure.curvature_change.max() < 1e-9  # rounding of gradients over displacements
    bent = dfp.networks.measure(problem(), batch_size=4)
    assert dfp.networks.predict(bent, 0.1, 4, 20, **options).closure.curvature_change[-1] > 1e-3
