"""Preconditioners, temperatures and rates per parameter: against recursions by hand, rotated problems and sampling."""

import numpy as np
import pytest

import dfp

H, FULL = np.array([[1.0, 0.3], [0.3, 0.5]]), np.array([[0.7, 0.2], [0.2, 1.4]])
DIAGONAL, SLOPE, ETA, DECAY, HEAT = np.array([0.5, 2.0]), np.array([0.1, -0.2]), 0.1, 0.1, 0.05
TABLE = np.array([[0.1, 0.2], [0.05, 0.1]])
START = dfp.Gaussian([1.0, -1.0], 0.2)
# Rounding of some tens of products of 2 x 2 matrices of order one.
ROUNDED = 1e-12


def landscapes():
    rng = np.random.default_rng(0)
    covariance = [[0.4, 0.1], [0.1, 0.2]]
    return {
        "additive": dfp.QuadraticLandscape(H, SLOPE, dfp.GaussianNoise(covariance)),
        "table": dfp.QuadraticLandscape(H, SLOPE, dfp.GaussianNoise(covariance, TABLE)),
        "symmetric": dfp.QuadraticLandscape(H, SLOPE, dfp.GaussianNoise(covariance, TABLE @ TABLE.T, symmetric=True)),
        "regression": dfp.QuadraticLandscape.from_regression(rng.normal(size=(20, 2)), rng.normal(size=20), 4),
        "student": dfp.QuadraticLandscape(H, SLOPE, dfp.StudentNoise(covariance, 6.0)),
    }


def by_hand(landscape, matrix, steps, temperature=HEAT, batch_size=2):
    """Return mean and covariance by (T14) with A = I − ηP(H + ωI) and noise PCP + (2T/η)P."""
    law = landscape.law.with_batch_size(batch_size)
    mean, covariance = START.mean, START.covariance
    factor = np.eye(2) - ETA * matrix @ (landscape.hessian + DECAY * np.eye(2))
    for _ in range(steps):
        noise = law.mean_covariance(1.0, mean, covariance + np.outer(mean, mean))
        gained = ETA**2 * matrix @ noise @ matrix.T + 2 * ETA * temperature * matrix
        mean, covariance = factor @ mean - ETA * matrix @ landscape.gradient, factor @ covariance @ factor.T + gained
    return mean, covariance


@pytest.mark.parametrize("name", list(landscapes()))
@pytest.mark.parametrize("given", [FULL, DIAGONAL], ids=["full", "diagonal"])
def test_moments_are_those_by_hand(name, given):
    landscape = landscapes()[name]
    matrix = given if given.ndim == 2 else np.diag(given)
    sgd = dfp.SGD(landscape, ETA, 0.0, DECAY, batch_size=2, preconditioner=given, temperature=HEAT)
    for equation in (dfp.MasterEquation(sgd), dfp.DiscreteFokkerPlanck(sgd)):
        found = dfp.moments(equation, START, 40, [40])
        mean, covariance = by_hand(landscape, matrix, 40)
        assert np.allclose(found.mean[0], mean, rtol=0, atol=ROUNDED)
        assert np.allclose(found.covariance[0], covariance, rtol=0, atol=ROUNDED)
    # The control: what a wrong square or a forgotten heat would give is far off.
    wrong = by_hand(landscape, matrix, 40, temperature=0.0)[1]
    assert np.abs(found.covariance[0] - wrong).max() > 1e-3


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_the_rotated_problem_is_the_same(momentum):
    """θ = P^{1/2}u: the problem of P^{1/2}HP^{1/2} and P^{1/2}g̃, built without any preconditioner."""
    values, vectors = np.linalg.eigh(FULL)
    root = (vectors * np.sqrt(values)) @ vectors.T
    inverse = np.linalg.inv(root)
    noise = np.array([[0.4, 0.1], [0.1, 0.2]])
    given = dfp.SGD(dfp.QuadraticLandscape(H, SLOPE, dfp.GaussianNoise(noise)), ETA, momentum, preconditioner=FULL)
    turned = dfp.QuadraticLandscape(root @ H @ root, root @ SLOPE, dfp.GaussianNoise(root @ noise @ root))
    start = dfp.Gaussian(inverse @ START.mean, inverse @ START.covariance @ inverse)
    plain = dfp.SGD(turned, ETA, momentum)
    forms = [dfp.MasterEquation] if momentum else [
        dfp.MasterEquation, dfp.DiscreteFokkerPlanck, dfp.Langevin, dfp.ModifiedLangevin
    ]  # fmt: skip
    for form in forms:
        there = dfp.moments(form(plain), start, 30, [0, 7, 30])
        here = dfp.moments(form(given), START, 30, [0, 7, 30])
        assert np.allclose(here.mean, there.mean @ root, rtol=0, atol=ROUNDED)
        assert np.allclose(here.covariance, root @ there.covariance @ root, rtol=0, atol=ROUNDED)
        settled = dfp.stationary_moments(form(given)).covariance
        assert np.allclose(settled, root @ dfp.stationary_moments(form(plain)).covariance @ root, atol=ROUNDED)
    for mine, other in zip(dfp.modes(given), dfp.modes(plain), strict=True):
        assert mine.curvature == pytest.approx(other.curvature, rel=ROUNDED)
        assert mine.stationary_variance == pytest.approx(other.stationary_variance, rel=ROUNDED)
        assert mine.regime == other.regime
    settled = root @ dfp.stationary_moments(dfp.MasterEquation(plain)).covariance @ root
    assert np.allclose(dfp.modes(given).stationary_covariance, settled, atol=ROUNDED)
    lags = [0, 1, 5]
    deviations = np.sqrt(np.diagonal(dfp.stationary_moments(dfp.MasterEquation(plain)).covariance))
    there = dfp.autocorrelation(dfp.MasterEquation(plain), lags) * np.outer(deviations, deviations)
    wanted = root @ there @ root / np.sqrt(np.outer(np.diagonal(settled), np.diagonal(settled)))
    assert np.allclose(dfp.autocorrelation(dfp.MasterEquation(given), lags), wanted, rtol=0, atol=10 * ROUNDED)


def turned(landscape):
    """SGD with FULL, and the same for u = P^{-1/2}θ built by hand from single samples or entries of H̃."""
    values, vectors = np.linalg.eigh(FULL)
    root = (vectors * np.sqrt(values)) @ vectors.T
    start = dfp.Gaussian(
        np.linalg.solve(root, START.mean), np.linalg.solve(root, np.linalg.solve(root, START.covariance).T)
    )
    return dfp.SGD(landscape, ETA, preconditioner=FULL), root, start


@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_samples_are_those_of_the_rotated_sum(replace, momentum):
    """Of a finite sum each sample is rotated: moments, in epochs too, modes, and cumulants of order three and four."""
    rng = np.random.default_rng(1)
    parts = rng.normal(size=(6, 2, 1))
    hessians, gradients = 0.5 * np.eye(2) + parts @ parts.swapaxes(1, 2), rng.normal(size=(6, 2))
    settings = {"momentum": momentum, "replace": replace}
    given, root, start = turned(dfp.QuadraticLandscape.from_samples(hessians, gradients, 2))
    given = given.changed(**settings)
    plain = dfp.SGD(dfp.QuadraticLandscape.from_samples(root @ hessians @ root, gradients @ root, 2), ETA, **settings)
    here, there = (dfp.moments(dfp.MasterEquation(s), at, 7) for s, at in ((given, START), (plain, start)))
    assert np.allclose(here.mean, there.mean @ root, rtol=0, atol=ROUNDED)
    assert np.allclose(here.covariance, root @ there.covariance @ root, rtol=0, atol=ROUNDED)
    assert np.abs(here.covariance - there.covariance).max() > 1e-2
    if momentum and not replace:
        return
    for mine, other in zip(dfp.modes(given), dfp.modes(plain), strict=True):
        assert mine.growth == pytest.approx(other.growth, rel=ROUNDED)
        assert mine.regime == other.regime
    if not momentum and replace:
        fourth = [
            dfp.solve(dfp.MasterEquation(s), at, 7, solver=dfp.MomentRecursion()).fourth[-1]
            for s, at in ((given, START), (plain, start))
        ]
        assert np.allclose(
            fourth[0], np.einsum("ai,bj,ck,dl,ijkl->abcd", root, root, root, root, fourth[1]), atol=1e-11
        )


@pytest.mark.parametrize("form", [dfp.MasterEquation, dfp.DiscreteFokkerPlanck, dfp.Langevin, dfp.ModifiedLangevin])
def test_noise_that_depends_on_the_place_is_rotated(form):
    """Third and fourth moments of u by its own solve, turned back; rounding. Entries of H̃ would be correlated there."""
    given, root, start = turned(landscapes()["table"])
    found = dfp.solve(form(given), START, 9, solver=dfp.MomentRecursion())
    other = dfp.solve(form(given.rotated), start, 9, solver=dfp.MomentRecursion())
    assert np.allclose(found.covariance[-1], root @ other.covariance[-1] @ root, rtol=0, atol=ROUNDED)
    if found.third is not None:
        third = np.einsum("ai,bj,ck,ijk->abc", root, root, root, other.third[-1])
        assert np.allclose(found.third[-1], third, rtol=0, atol=1e-11)


def test_chains_of_oblique_modes_have_the_exact_moments():
    """A chain on cells against the recursion, to what it says of its own error; P = 1 must be told from it."""
    landscape, form = landscapes()["table"], dfp.ModifiedLangevin
    given = form(dfp.SGD(landscape, ETA, preconditioner=FULL))
    start = dfp.Gaussian([1.0, -1.0], 0.5)
    found = dfp.solve(given, start, 12, [12], dfp.FiniteVolume())
    exact = dfp.moments(given, start, 12, [12])
    scale = np.sqrt(np.outer(*2 * [np.diagonal(exact.covariance[0])]))
    apart = np.abs(found.covariance - exact.covariance).max() / scale.max()
    assert apart < 1e-3  # its own tolerance, relative to deviations
    other = dfp.moments(form(dfp.SGD(landscape, ETA)), start, 12, [12])
    assert np.abs(found.covariance - other.covariance).max() / scale.max() > 1e-2


def test_a_phase_diagram_knows_a_preconditioner_as_a_learning_rate():
    """ηp in place of η, and heat as the gradient noise that it is at that learning rate."""
    landscape = dfp.QuadraticLandscape([0.8], 0.0, dfp.GaussianNoise([0.6], [1.5]))
    for eta in (0.1, 0.4, 0.9):
        sgd = dfp.SGD(landscape, eta, preconditioner=[2.0], temperature=0.3)
        ((mode,), settled) = dfp.modes(sgd), dfp.modes(sgd).stationary_covariance.item()
        diagram = dfp.phase_diagram({"learning_rate": [2 * eta]}, {"gradient_noise": [0.6 + 2 * 0.3 / (2 * eta)]},
                                    curvature=0.8, curvature_noise=1.5)  # fmt: skip
        values = {name: value.item() for name, value in diagram.values.items()}
        assert diagram.regime.item() == mode.regime
        assert values["growth"] == pytest.approx(mode.growth, rel=ROUNDED)
        assert values["lyapunov_exponent"] == pytest.approx(mode.lyapunov_exponent, rel=1e-9)  # quadrature
        assert np.isfinite(settled) == np.isfinite(values["stationary_variance"]) == (values["growth"] < 1)
        assert not np.isfinite(settled) or values["stationary_variance"] == pytest.approx(settled, rel=ROUNDED)


def test_escapes_of_a_preconditioned_well_are_those_of_the_rotated_one():
    """On a line P = p is the learning rate ηp; in the plane the action of the path is that of u."""
    landscape = dfp.Landscape(lambda x: x**3 - x, 1.0, 1, hessian=lambda x: (3 * x**2 - 1)[..., None])
    start, domain = [1.0], dfp.Grid([0.0], [3.0], [8])
    given = dfp.escape(dfp.SGD(landscape, 0.1, preconditioner=[2.0]), start, domain)
    plain = dfp.escape(dfp.SGD(landscape, 0.2), start, domain)
    assert given.action == pytest.approx(plain.action, rel=1e-9)  # of a search
    assert given.mean_steps == pytest.approx(plain.mean_steps, rel=1e-9)


@pytest.mark.parametrize("name", list(landscapes()))
def test_sampled_steps_are_those_of_the_recursion(name):
    sgd = dfp.SGD(landscapes()[name], ETA, 0.0, DECAY, batch_size=2, preconditioner=FULL, temperature=HEAT)
    equation, count = dfp.MasterEquation(sgd), 20000
    sampled = dfp.solve(equation, START, 12, [12], dfp.MonteCarlo(count, seed=3))
    exact = dfp.moments(equation, START, 12, [12])
    # False alarms: 10 means beyond 4.5 deviations, 7e-6 each; variances within 8 per cent are 8 deviations.
    scores = (sampled.mean - exact.mean) / np.sqrt(np.diagonal(exact.covariance[0]) / count)
    assert np.abs(scores).max() < 4.5
    assert np.allclose(sampled.covariance, exact.covariance, rtol=0.08)


def test_densities_are_gaussian_in_the_axes_of_theta():
    equation = dfp.MasterEquation(dfp.SGD(landscapes()["additive"], ETA, preconditioner=FULL, temperature=HEAT))
    exact = dfp.moments(equation, START, 25, [25])
    found = dfp.solve(equation, START, 25, [25])
    gaussian = dfp.Gaussian(exact.mean[0], exact.covariance[0]).on(found.grid)
    # Both are one formula at the same centres: 1e-10 leaves room for the sum over cells.
    assert np.abs(found.density[0] - gaussian).sum() * found.grid.cell_volume < 1e-10


def test_the_stationary_density_is_that_of_oblique_modes():
    equation = dfp.MasterEquation(dfp.SGD(landscapes()["additive"], ETA, preconditioner=FULL))
    settled, law = dfp.stationary_moments(equation), dfp.stationary(equation)
    exact = dfp.Gaussian(settled.mean, settled.covariance).on(law.grid)
    # One formula at the same centres.
    assert np.abs(law.values - exact).sum() * law.grid.cell_volume < 1e-10


@pytest.mark.parametrize("eta", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("batch", [1, 4, 16])
def test_temperature_has_the_exact_bias(eta, batch):
    """SGLD settles at (2T + ηD/B)/(2λ − ηλ²), not at T/λ: (T12) with D/B + 2T/η for D."""
    curvature, noise, heat = 0.8, 0.6, 0.3
    landscape = dfp.QuadraticLandscape([curvature], 0.0, dfp.GaussianNoise([noise]))
    sgd = dfp.SGD(landscape, eta, batch_size=batch, temperature=heat)
    settled = dfp.stationary_moments(dfp.MasterEquation(sgd)).covariance.item()
    assert settled == pytest.approx((2 * heat + eta * noise / batch) / (curvature * (2 - eta * curvature)), rel=ROUNDED)
    assert settled > heat / curvature * (1 + eta * curvature / 2)


def test_rates_per_parameter_are_a_diagonal_preconditioner():
    landscape = landscapes()["additive"]
    with pytest.raises(dfp.DFPError, match=r"two readings.*preconditioner=rates.*dfp\.Schedule"):
        dfp.SGD(landscape, [0.1, 0.01])
    said = dfp.SGD(landscape, dfp.Schedule([0.1, 0.01]))
    assert said.learning_rates.at(1) == 0.01
    assert said.record(2)["learning_rate"] == {"schedule": "values", "values": [0.1, 0.01]}
    # What has one reading is taken as it was: more steps than parameters, or one parameter.
    assert dfp.SGD(landscape, [0.1, 0.01, 0.1]).scheduled
    assert dfp.SGD(dfp.QuadraticLandscape([1.0]), [0.1]).scheduled
    rates = dfp.SGD(landscape, 1.0, preconditioner=[0.1, 0.01])
    found = dfp.moments(dfp.MasterEquation(rates), START, 1)
    assert np.allclose(found.mean[1], START.mean - [0.1, 0.01] * (H @ START.mean + SLOPE), rtol=0, atol=ROUNDED)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preconditioner": [1.0, 0.0]}, "preconditioner has the eigenvalue 0: must be positive definite"),
        ({"preconditioner": [[1.0, 0.5], [0.0, 1.0]]}, "preconditioner differs from its transpose"),
        ({"preconditioner": [1.0, 1.0, 1.0]}, "preconditioner"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": 0.1, "momentum": 0.9}, "temperature=0.1: with momentum=0.9"),
    ],
)
def test_what_cannot_be_is_refused(settings, message):
    with pytest.raises(dfp.DFPError, match=message):
        dfp.SGD(landscapes()["additive"], 0.1, **settings)


def test_a_nonlinear_landscape_is_preconditioned_too():
    quadratic = landscapes()["additive"]
    fields = dfp.Landscape(lambda at: at @ H + SLOPE, quadratic.law.constant, 2, lambda at: np.tile(H, (len(at), 1, 1)))
    settings = {"preconditioner": FULL, "temperature": HEAT, "weight_decay": DECAY, "batch_size": 2}
    sampled = dfp.solve(
        dfp.MasterEquation(dfp.SGD(fields, ETA, **settings)), START, 5, [5], dfp.MonteCarlo(20000, seed=5)
    )
    exact = dfp.moments(dfp.MasterEquation(dfp.SGD(quadratic, ETA, **settings)), START, 5, [5])
    scores = (sampled.mean - exact.mean) / np.sqrt(np.diagonal(exact.covariance[0]) / 20000)
    assert np.abs(scores).max() < 4.5
    # 8 per cent of a variance are 8 deviations of 20000 draws.
    assert np.allclose(sampled.covariance, exact.covariance, rtol=0.08)


@pytest.mark.parametrize("name", ["table", "symmetric", "regression"])
def test_turned_noise_is_sampled_by_kernels(name):
    from dfp_solvers.trajectories.functions import FunctionModel

    heat = 0.0 if name == "regression" else HEAT
    sgd = dfp.SGD(landscapes()[name], ETA, preconditioner=FULL, temperature=heat)
    model = sgd.noise.trajectory_model(np.eye(2), sgd.hessian, sgd.gradient, ETA)
    assert not isinstance(model, FunctionModel)
