"""Nonlinear landscapes against closed forms, against each other, and against the affine code."""

import numba
import numpy as np
import pytest

import dfp
from dfp.methods import monte_carlo, pilot
from tests.problems import every_equation, table


def fields(landscape):
    """Return gradient, covariance and Hessian of a quadratic landscape as functions."""
    return (
        lambda at: at @ landscape.hessian.T + landscape.gradient,
        landscape.law.covariance,
        lambda at: np.broadcast_to(landscape.hessian, (len(at), *landscape.hessian.shape)),
    )


def bent(hessian=True):
    """A tilted quartic valley, where the noise depends on the place; its Hessian given or from differences."""
    return dfp.Landscape(
        lambda at: at + 0.25 * at**2 + 0.08 * at**3,
        lambda at: (0.3 + 0.2 * at**2)[..., None],
        hessian=(lambda at: (1 + 0.5 * at + 0.24 * at**2)[..., None]) if hessian else None,
    )


def coupled(scale=1.0):
    """Two modes coupled by a curved valley, with a full covariance."""

    def gradient(at):
        x, y = at.T
        return np.stack([x + 0.5 * x * y, y + 0.25 * x**2 + 0.1 * y**3], axis=1)

    def covariance(at):
        x, y = at.T
        return np.array([[0.3 + 0.1 * x**2, 0.1 + 0 * x], [0.1 + 0 * x, 0.2 + 0.05 * y**2]]).transpose(2, 0, 1)

    return dfp.Landscape(gradient, covariance, 2, scale=scale)


@pytest.mark.parametrize("given", [True, False])
def test_equations_agree_with_the_affine_ones(given):
    """What every equation makes of ḡ, C and H, with weight decay and a batch size, has two independent codes."""
    quadratic = table(2)
    gradient, covariance, hessian = fields(quadratic)
    local = dfp.Landscape(gradient, covariance, 2, hessian if given else None)
    settings = {"learning_rate": 0.3, "weight_decay": 0.2, "batch_size": 3}
    points = np.random.default_rng(1).normal(size=(20, 2))
    pairs = zip(every_equation(dfp.SGD(quadratic, **settings)), every_equation(dfp.SGD(local, **settings)), strict=True)
    for affine, nonlinear in pairs:
        if affine.label.startswith("Langevin, frozen"):
            nonlinear = dfp.Langevin(nonlinear.sgd, noise="frozen", reference=affine.sgd.critical_point)
        # Central differences of a linear field err by rounding over the step: 1e-16 / 6e-6, and / 2e-4² if twice.
        np.testing.assert_allclose(nonlinear.drift(points), affine.drift(points), rtol=0, atol=1e-8)
        np.testing.assert_allclose(nonlinear.diffusion(points), affine.diffusion(points), rtol=0, atol=1e-9)


def test_derivatives_by_differences_agree_with_given_ones():
    points = np.linspace(-2, 2, 9)[:, None]
    given, found = bent(), bent(hessian=False)
    # central differences in double precision
    np.testing.assert_allclose(found.hessian_at(points), given.hessian_at(points), atol=1e-9)
    weights = np.full((9, 1, 1), 2.0)
    for landscape in (given, found):
        # ∂²ḡ = 0.5 + 0.48 θ; twice differenced: 1e-16 / 2e-4² of rounding
        np.testing.assert_allclose(landscape.curved(points, weights), 2 * (0.5 + 0.48 * points), atol=1e-7)
    along = given.covariance_along(points, np.full((9, 1), 3.0))
    np.testing.assert_allclose(along[..., 0], 3 * 0.4 * points, atol=1e-9)
    # (w·∇∇)ḡ in two dimensions, by hand: ḡ_1 = x + xy/2, ḡ_2 = y + x²/4 + y³/10
    place, weight = np.array([[0.3, -0.4]]), np.array([[[0.2, 0.7], [0.1, 0.5]]])
    expected = [0.5 * (0.7 + 0.1), 0.2 * 0.5 + 0.5 * 0.6 * -0.4]
    np.testing.assert_allclose(coupled().curved(place, weight)[0], expected, atol=1e-7)


def test_weak_orders_hold_far_from_the_critical_point():
    """(T6), (T7), (T7m) and (T7m⁺) approach (T4) from a point: means at orders 1, 2, 3, 3, variances at 1, 1, 2, 2."""
    errors = []
    for eta in (0.1, 0.05):
        sgd, steps, box = dfp.SGD(bent(), eta), round(1 / eta), (-3.0, 4.0)
        exact = dfp.solve(dfp.MasterEquation(sgd), dfp.Point([1.0]), steps, grid=dfp.Grid(*box, 2000))
        found = []
        for kind in ({"matched": False}, {}, {"positive": True}, None):
            equation = dfp.Langevin(sgd) if kind is None else dfp.ModifiedLangevin(sgd, **kind)
            solved = dfp.solve(equation, dfp.Point([1.0]), steps, grid=dfp.Grid(*box, 4000))
            mean = solved.mean[-1, 0] - exact.mean[-1, 0]
            found += [abs(mean), abs(solved.covariance[-1, 0, 0] / exact.covariance[-1, 0, 0] - 1)]
        errors.append(found)
    slopes = np.log2(np.divide(*errors))
    # The next order still bends the curves by up to a tenth at η = 0.1.
    np.testing.assert_allclose(slopes, [2, 1, 3, 2, 3, 2, 1, 1], atol=0.12)


def test_double_well_settles_into_the_boltzmann_density():
    """(T6) with constant noise: P ∝ exp(−2U/(ηC)), U = θ⁴/4 − θ²/2, whatever side it starts from."""
    landscape = dfp.Landscape(lambda at: at**3 - at, lambda at: np.full((len(at), 1, 1), 2.0))
    sgd = dfp.SGD(landscape, 0.2)
    solved = dfp.solve(dfp.Langevin(sgd), dfp.Gaussian([0.8], [0.05]), 2000)
    theta = solved.grid.axes[0]
    expected = np.exp(-2 * (theta**4 / 4 - theta**2 / 2) / (0.2 * 2.0))
    expected /= expected.sum() * solved.grid.spacing[0]
    # second order in a spacing of some 1e-3 deviations
    assert np.abs(solved.density[-1] - expected).sum() * solved.grid.spacing[0] < 1e-4
    assert solved.solver == "FiniteVolume" and solved.certificate.ok


@pytest.mark.parametrize("landscape", [bent(), coupled()], ids=["one", "two"])
def test_samples_agree_with_the_density(landscape):
    d = landscape.dimension
    equation = dfp.MasterEquation(dfp.SGD(landscape, 0.3))
    start = dfp.Gaussian(np.full(d, 0.5), 0.2 * np.eye(d))
    drawn = dfp.solve(equation, start, 6, [2, 6], dfp.MonteCarlo(200_000, seed=3))
    solved = dfp.solve(equation, start, 6, [2, 6], grid=dfp.Grid([-5.0] * d, [5.0] * d, 2000 if d == 1 else 160))
    assert solved.solver == "Transfer"
    # d = 2: 2 frames × (2 + 4) z-scores; 4 is exceeded with probability 8e-4
    assert np.all(np.abs(drawn.mean - solved.mean) < 4 * drawn.errors["mean"])
    assert np.all(np.abs(drawn.covariance - solved.covariance) < 4 * drawn.errors["covariance"])
    distance = next(iter(dfp.compare({"exact": solved, "drawn": drawn}).distances)).total_variation
    assert distance.lower == 0
    # negative control: another learning rate
    wrong = dfp.solve(dfp.MasterEquation(dfp.SGD(landscape, 0.33)), start, 6, [6], grid=solved.grid)
    assert np.any(np.abs(drawn.covariance[-1] - wrong.covariance[0]) > 4 * drawn.errors["covariance"][-1])


def test_samples_depend_on_the_seed_alone(monkeypatch, tmp_path):
    equation, start = dfp.MasterEquation(dfp.SGD(coupled(), 0.3)), dfp.Point([0.5, 0.2])

    def moments(count, seed=1, **options):
        solved = dfp.solve(equation, start, 3, solver=dfp.MonteCarlo(count, seed, **options))
        return np.concatenate([solved.density.ravel(), solved.mean.ravel(), solved.covariance.ravel()])

    whole = moments(40_000)
    monkeypatch.setattr(monte_carlo, "_PORTIONS", 3)
    np.testing.assert_array_equal(moments(40_000, threads=1, checkpoint=tmp_path / "c.npz"), whole)
    np.testing.assert_array_equal(moments(40_000, checkpoint=tmp_path / "c.npz"), whole)
    assert not np.array_equal(moments(40_000, seed=2), whole)
    with pytest.raises(dfp.DFPError, match="another problem"):
        equation = dfp.MasterEquation(dfp.SGD(coupled(), 0.31))
        moments(40_000, checkpoint=tmp_path / "c.npz")


def test_compiled_functions_serve():
    @numba.njit
    def gradient(at):
        return at + 0.25 * at**2 + 0.08 * at**3

    @numba.njit
    def covariance(at):
        result = np.empty((len(at), 1, 1))
        for n in range(len(at)):
            result[n, 0, 0] = 0.3 + 0.2 * at[n, 0] ** 2
        return result

    points = np.linspace(-1, 1, 5)[:, None]
    compiled, plain = dfp.Landscape(gradient, covariance), bent(hessian=False)
    # rounding
    np.testing.assert_allclose(compiled.gradient_at(points), plain.gradient_at(points), rtol=1e-15)
    np.testing.assert_allclose(compiled.covariance_at(points), plain.covariance_at(points), rtol=1e-15)


def test_moments_are_refused_and_the_certificate_says_so(tmp_path):
    equation = dfp.MasterEquation(dfp.SGD(bent(), 0.3))
    with pytest.raises(dfp.UnsupportedError, match="does not close"):
        dfp.moments(equation, dfp.Point([1.0]), 3)
    solved = dfp.solve(equation, dfp.Point([1.0]), 3)
    assert np.isnan(solved.certificate.mean_error).all() and solved.certificate.ok
    assert "no exact moments exist" in str(solved.certificate)
    solved.save(tmp_path / "run.h5")
    again = dfp.load(tmp_path / "run.h5")
    np.testing.assert_array_equal(again.density, solved.density)
    assert np.isnan(again.certificate.covariance_error).all()


def test_what_is_not_supported_says_why():
    sgd = dfp.SGD(bent(), 0.3)
    for solver in (dfp.Fourier(), dfp.Hermite(), dfp.MomentRecursion()):
        with pytest.raises(dfp.UnsupportedError, match="nonlinear"):
            dfp.solve(dfp.MasterEquation(sgd), dfp.Point([1.0]), 3, solver=solver)
    with pytest.raises(dfp.UnsupportedError, match="where it solves T4"):
        dfp.solve(dfp.Langevin(sgd), dfp.Point([1.0]), 3, solver=dfp.MonteCarlo(2048))
    with pytest.raises(dfp.DFPError, match="reference"):
        dfp.Langevin(sgd, noise="frozen").diffusion(np.zeros((1, 1)))
    for name in ("hessian", "gradient", "noise", "modes", "critical_point"):
        with pytest.raises(dfp.UnsupportedError, match="nonlinear"):
            getattr(sgd, name)


def one(at):
    return np.ones((len(at), 1, 1))


def test_faults_far_away_are_named_while_solving():
    start = dfp.Gaussian([0.0], [1.0])
    hole = dfp.Landscape(lambda at: np.where(at < 2, at, np.nan), one)
    with pytest.raises(dfp.DFPError, match="gradient is not finite at θ = "):
        dfp.solve(dfp.MasterEquation(dfp.SGD(hole, 0.3)), start, 3)
    runaway = dfp.Landscape(lambda at: -(at**3), one)
    with pytest.raises(dfp.UnresolvedError, match="most trajectories have diverged"):
        dfp.solve(dfp.MasterEquation(dfp.SGD(runaway, 0.5)), start, 20)
    steep = dfp.Landscape(lambda at: at**3, one)
    with pytest.raises(dfp.DFPError, match="diverging"):  # rare: the pilot sees none, a large sample some
        dfp.solve(dfp.MasterEquation(dfp.SGD(steep, 0.5)), start, 40, solver=dfp.MonteCarlo(200_000))
    negative = dfp.Landscape(lambda at: at, lambda at: 1 - one(at) * at[..., None] ** 2)
    with pytest.raises(dfp.DFPError, match="covariance has the eigenvalue"):
        dfp.solve(dfp.MasterEquation(dfp.SGD(negative, 0.3)), start, 3, solver=dfp.MonteCarlo(2048))


def test_pilot_finds_where_the_density_goes():
    equation = dfp.MasterEquation(dfp.SGD(coupled(), 0.3))
    grid = dfp.Grid([-3.0, -3.0], [3.0, 3.0], 60)
    start = dfp.Density.normalised(grid, dfp.Gaussian([0.5, 0.2], [0.2, 0.1]).density(grid.points))
    rough = pilot.moments_along(equation, start, np.array([0, 4]))
    solved = dfp.solve(equation, start, 4, [0, 4], grid=grid)
    # 2048 trajectories: three errors of means are 7 % of a deviation, of variances 9 %
    np.testing.assert_allclose(rough.mean, solved.mean, atol=0.07 * 0.5)
    np.testing.assert_allclose(rough.covariance, solved.covariance, atol=0.09 * 0.25)


def test_remedies_of_stationary_grids_can_be_carried_out():
    """Cells too few are told with the box to give more cells for; as told, it works."""
    landscape = dfp.Landscape(lambda at: at**3 - at, lambda at: np.full((len(at), 1, 1), 2.0))
    equation = dfp.MasterEquation(dfp.SGD(landscape, 0.05))
    with pytest.raises(dfp.UnresolvedError, match=r"give dfp\.Grid\(\[-3\.\], \[3\.\], cells\) with more cells"):
        dfp.stationary(equation, dfp.Grid(-3.0, 3.0, 6))
    law = dfp.stationary(equation, dfp.Grid([-3.0], [3.0], 400))
    assert law.mass + law.outside == pytest.approx(1, abs=1e-6)  # what the text calls off
