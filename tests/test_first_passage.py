"""First passage against simulated SGD, Brownian and Ornstein–Uhlenbeck exit laws, one-step probabilities, refusals."""

import pickle

import numpy as np
import pytest
from dfp_solvers import absorbing
from dfp_solvers.markov_chain import evolution
from problems import one_mode, regression, rotated, table
from scipy import sparse
from scipy.integrate import quad
from scipy.special import ndtr
from scipy.stats import gamma

import dfp
from dfp.long_time import first_passage_line

TRAJECTORIES = 100_000
# z-scores of at most 100 strongly dependent steps each: |z| > 5 has probability below 1e-4 a case if all is right.
Z = 5.0


def simulated(sgd, lower, upper, theta, steps, seed=0):
    """Return the share of plain NumPy trajectories of SGD from ``theta`` (n, d) that never left a box."""
    rng, noise, count = np.random.default_rng(seed), sgd.noise, len(theta)
    inside = np.all((theta >= lower) & (theta <= upper), axis=1)
    theta, share = theta[inside], [inside.mean()]
    for _ in range(steps):
        if noise.gaussian:
            vectors, matrices = noise.loadings()
            z = rng.standard_normal((len(theta), len(vectors)))
            kick = z @ vectors + np.einsum("nr,rij,nj->ni", z, matrices, theta)
            gradient = theta @ sgd.hessian + sgd.gradient + kick
        else:
            chosen = rng.integers(0, noise.count, (len(theta), noise.batch_size))
            hessians, gradients = noise.sample_hessians()[chosen].mean(axis=1), noise.gradients[chosen].mean(axis=1)
            gradient = np.einsum("nij,nj->ni", hessians, theta) + gradients
        theta = theta - sgd.learning_rate * gradient
        theta = theta[np.all((theta >= lower) & (theta <= upper), axis=1)]
        share.append(len(theta) / count)
    return np.array(share)


def worst_z(law, share):
    deviation = np.sqrt(np.maximum(law.survival * (1 - law.survival), 1e-9) / TRAJECTORIES) + law.error
    return np.abs((share - law.survival) / deviation).max()


SADDLE = dfp.QuadraticLandscape([1.0, -0.3], 0.0, dfp.GaussianNoise([[1.0, 0.3], [0.3, 0.5]]))
CASES = {
    "flat valley": (one_mode(0.0, 1.0), 0.1, (-1.0, 1.0), [0.0], 100),
    "saddle, noise depends on θ": (one_mode(-1.0, 0.5, 0.3), 0.1, (-1.0, 1.5), [0.2], 60),
    "confined": (one_mode(1.0, 1.0, 0.3), 0.2, (-0.8, 0.8), [0.1], 100),
    "saddle in 2D": (SADDLE, 0.3, ([-1.0, -1.0], [1.0, 1.2]), [0.0, 0.2], 40),
    "table of Var H in 2D": (table(2), 0.4, ([-1.0, -1.0], [1.0, 1.2]), [0.0, 0.2], 30),
    "finite sum": (regression(1, 2), 0.3, dfp.Grid(0.3, 1.4, 512), [0.8], 40),
}


@pytest.mark.parametrize("name", CASES)
def test_survival_of_sgd_against_simulation(name):
    """All steps within five standard errors; a learning rate 3 % off would be noticed."""
    landscape, eta, domain, theta, steps = CASES[name]
    sgd = dfp.SGD(landscape, eta)
    law = dfp.exit_steps(dfp.MasterEquation(sgd), domain, dfp.Point(theta), steps)
    lower, upper = (domain.lower, domain.upper) if isinstance(domain, dfp.Grid) else map(np.atleast_1d, domain)
    share = simulated(sgd, lower, upper, np.tile(theta, (TRAJECTORIES, 1)), steps)
    assert worst_z(law, share) < Z
    assert law.error < (2e-3 if name == "finite sum" else 1e-9)
    assert law.probability.sum() + law.survival[-1] == pytest.approx(1, abs=1e-12)
    assert np.all(law.probability >= 0)
    wrong = dfp.exit_steps(dfp.MasterEquation(dfp.SGD(landscape, 1.03 * eta)), domain, dfp.Point(theta), steps)
    assert worst_z(wrong, share) > Z


def test_one_step_and_mean_by_brute_force():
    """P(N > 1) is a Gaussian integral; E[N] is the sum of survival over so many steps that nothing is left."""
    sgd = dfp.SGD(one_mode(0.5, 1.0, 0.4, 0.2), 0.3)
    law = dfp.exit_steps(dfp.MasterEquation(sgd), (-0.7, 0.9), dfp.Point(0.3), 2000)
    centre, deviation = 0.3 - 0.3 * (0.5 * 0.3 + 0.2), 0.3 * np.sqrt(1 + 0.4 * 0.09)
    # rounding
    assert law.survival[1] == pytest.approx(np.diff(ndtr((np.array([-0.7, 0.9]) - centre) / deviation))[0], abs=1e-13)
    assert law.survival[-1] < 1e-12
    assert law.mean == pytest.approx(law.survival.sum(), rel=1e-11)
    assert law.survival[60] / law.survival[59] == pytest.approx(law.decay, rel=1e-10)
    assert law.quantile(0.5) == np.flatnonzero(law.survival <= 0.5)[0]


def test_quantiles_beyond_the_last_step():
    """Extrapolated by the final decay, they are those of a longer law."""
    problem = dfp.MasterEquation(dfp.SGD(one_mode(1.0, 1.0), 0.2)), (-0.8, 0.8), dfp.Point(0.1)
    short, long = dfp.exit_steps(*problem, 50), dfp.exit_steps(*problem, 3000)
    assert short.quantile(0.99) == long.quantile(0.99) > 50
    # it goes on until a thousandth is left
    assert dfp.exit_steps(*problem).survival[-1] <= 1e-3


def test_brownian_exit_law():
    """(T6), flat direction: survival of Brownian motion in [0, 1], mean x(1−x)/(2D), decay exp(−π²Dη)."""
    eta, x = 0.1, 0.3
    law = dfp.exit_steps(dfp.Langevin(dfp.SGD(one_mode(0.0, 1.0), eta)), (0.0, 1.0), dfp.Point(x), 150)
    diffusion = eta / 2
    k = np.arange(1, 200, 2)[:, None] * np.pi
    exact = np.sum(4 / k * np.sin(k * x) * np.exp(-(k**2) * diffusion * law.steps * eta), axis=0)
    error = np.abs(law.survival - exact)[1:].max()
    # the certificate is true, and of use
    assert error <= law.error < 1e-6
    assert law.mean == pytest.approx(x * (1 - x) / (2 * diffusion) / eta, abs=10 * law.mean_error + 1e-9)
    # extrapolated from two grids
    assert law.decay == pytest.approx(np.exp(-(np.pi**2) * diffusion * eta), rel=1e-9)


@pytest.mark.parametrize("curvature", [1.0, -1.0])
def test_mean_exit_time_of_a_bowl_and_a_hill(curvature):
    """(T6) in 1D: E[τ] = 2/Q ∫_x^b e^{λy²/Q} ∫_0^y e^{−λz²/Q} dz dy in a symmetric box, with U = λθ²/2."""
    eta, noise, b, x = 0.2, 0.5, 0.6, 0.25
    law = dfp.exit_steps(dfp.Langevin(dfp.SGD(one_mode(curvature, noise), eta)), (-b, b), dfp.Point(x), 10)
    q = eta * noise

    def outer(y):
        return np.exp(curvature * y**2 / q) * quad(lambda z: np.exp(-curvature * z**2 / q), 0, y)[0]

    assert law.mean == pytest.approx(2 / q * quad(outer, x, b)[0] / eta, rel=1e-6)


def test_langevin_leaves_earlier_than_sgd():
    """Continuous paths touch a wall between steps: the shift of 0.58 η√D (Chernoff 1965) explains the difference."""
    sgd = dfp.SGD(one_mode(0.0, 1.0), 0.1)
    discrete = dfp.exit_steps(dfp.MasterEquation(sgd), (-1.0, 1.0), dfp.Point(0.0), 10)
    touched = dfp.exit_steps(dfp.Langevin(sgd), (-1.0, 1.0), dfp.Point(0.0), 10)
    shifted = 1 + 0.5826 * 0.1
    assert touched.mean < discrete.mean
    # The shift is the first term of a series in 0.1, the width of a step in boxes.
    assert discrete.mean == pytest.approx(touched.mean * shifted**2, rel=4e-3)


def test_two_dimensions_of_independent_axes():
    """(T6), flat: survival in a square is the product of those of its sides."""
    flat = dfp.Langevin(dfp.SGD(dfp.QuadraticLandscape([0.0, 0.0], 0.0, dfp.GaussianNoise([1.0, 1.0])), 0.2))
    line = dfp.Langevin(dfp.SGD(one_mode(0.0, 1.0), 0.2))
    square = dfp.exit_steps(flat, dfp.Grid([0.0, 0.0], [1.0, 1.0], 64), dfp.Point([0.3, 0.5]), 20)
    sides = [dfp.exit_steps(line, (0.0, 1.0), dfp.Point(x), 20).survival for x in (0.3, 0.5)]
    # the certificate is true, and of use
    assert np.abs(square.survival - sides[0] * sides[1]).max() <= square.error < 1e-3


def test_nothing_leaves_for_long():
    """Survival that has not begun to fall is not taken for a law that never does: SGD and Langevin, far from walls."""
    sgd = dfp.SGD(one_mode(0.0, 1.0), 0.02)
    for equation in (dfp.MasterEquation(sgd), dfp.Langevin(sgd)):
        law = dfp.exit_steps(equation, (-1.0, 1.0), dfp.Point(0.0), 4000)
        # rounding
        assert law.survival[40] == pytest.approx(1, abs=1e-12)
        times = law.steps * 0.02**2 / 2
        k = np.arange(1, 200, 2)[:, None] * np.pi / 2
        exact = np.sum(2 / k * np.sin(k) * np.exp(-(k**2) * times), axis=0)
        # A step is a hundredth of the box wide: SGD leaves 2.3 % later.
        assert law.survival[1:] == pytest.approx(exact[1:], abs=1e-6 if equation.number == "T6" else 0.02)
        assert law.survival[-1] < 0.25


def test_starts():
    """What starts outside has left at step 0; a Gaussian and the same on a grid agree."""
    law, box = dfp.MasterEquation(dfp.SGD(one_mode(1.0, 1.0), 0.2)), (-0.5, 0.5)
    wide = dfp.exit_steps(law, box, dfp.Gaussian(0.4, 0.04), 20)
    # rounding
    assert wide.survival[0] == pytest.approx(ndtr(0.5) - ndtr(-4.5), abs=1e-12)
    assert wide.probability[0] == pytest.approx(1 - wide.survival[0])
    narrow, grid = dfp.Gaussian(0.1, 1e-3), dfp.Grid(-0.4, 0.4, 400)
    given = dfp.exit_steps(law, box, dfp.Density(grid, narrow.density(grid.points)), 20)
    # what is cut beyond the box of the start
    assert given.survival == pytest.approx(dfp.exit_steps(law, box, narrow, 20).survival, abs=1e-10)


def test_chain_survival_against_dense_powers():
    """Uniformised once for all steps, also beyond where it is continued geometrically."""
    n = 24
    matrix = np.diag(np.full(n - 1, 40.0), 1) + np.diag(np.full(n - 1, 60.0), -1) - 100.0 * np.eye(n)
    start = np.zeros(n)
    start[3] = 1.0
    step = evolution.transition(sparse.csc_array(matrix), 0.1)
    expected, state = [], start
    for _ in range(400):
        expected.append(state.sum())
        state = step @ state
    slowest = float(-np.linalg.eigvals(matrix).real.max())
    found = absorbing.chain_survival(sparse.csc_array(matrix), start, 0.1, 399, slowest)
    # rounding
    assert found[:60] == pytest.approx(expected[:60], rel=1e-9)
    # continued geometrically by an eigenvalue found to a tolerance
    assert found[1:] == pytest.approx(expected[1:], rel=1e-5)
    remaining = np.empty(50)
    rows = sparse.csr_array(matrix)
    absorbing._remaining(rows.indptr, rows.indices, rows.data, 0.005, start, remaining, 0.5)
    state = start
    for k in range(50):
        # rounding
        assert remaining[k] == pytest.approx(state.sum(), rel=1e-12)
        state = state + 0.005 * (matrix @ state)


def test_prints_and_draws():
    law = dfp.exit_steps(dfp.MasterEquation(dfp.SGD(one_mode(0.0, 1.0), 0.3)), (-1.0, 1.0), dfp.Point(0.0))
    assert "steps on average" in str(law)
    assert len(law.plot().axes) == 2


def test_refusals_name_the_remedy():
    sgd, point = dfp.SGD(one_mode(), 0.1), dfp.Point(0.0)
    with pytest.raises(dfp.UnsupportedError, match=r"not a positive operator.*dfp\.MasterEquation"):
        dfp.exit_steps(dfp.DiscreteFokkerPlanck(sgd), (-1, 1), point)
    with pytest.raises(dfp.UnsupportedError, match="d <= 3"):
        dfp.exit_steps(dfp.Langevin(dfp.SGD(rotated(4), 0.1)), (-np.ones(4), np.ones(4)), dfp.Point(np.zeros(4)))
    skewed = dfp.QuadraticLandscape([1.0], 0.0, dfp.AdditiveNoise(gamma(2.0)))
    with pytest.raises(dfp.UnsupportedError, match=r"neither Gaussian nor a finite sum.*dfp\.Langevin"):
        dfp.exit_steps(dfp.MasterEquation(dfp.SGD(skewed, 0.1)), (-1, 1), point)
    law = dfp.MasterEquation(sgd)
    with pytest.raises(dfp.DFPError, match=r"must be \(lower, upper\)"):
        dfp.exit_steps(law, 3.0, point)
    with pytest.raises(dfp.DFPError, match="domain has 2 parameters: the landscape has 1"):
        dfp.exit_steps(law, dfp.Grid([-1, -1], [1, 1], 8), point)
    with pytest.raises(dfp.DFPError, match="holds nothing"):
        dfp.exit_steps(law, (1.0, 2.0), point)
    with pytest.raises(dfp.UnresolvedError, match=r"kernels wide.*dfp\.Langevin"):
        dfp.exit_steps(law, (-1e3, 1e3), point)
    with pytest.raises(dfp.DFPError, match="singular"):
        dfp.exit_steps(law, (-1.0, 1.0), dfp.Gaussian(0.0, 0.0))


def test_the_table_is_made_when_asked_and_travels_with_pickles(monkeypatch):
    """The mean of a rare exit takes no survival; copies hold the same numbers and no way to compute."""
    equation, asked = dfp.MasterEquation(dfp.SGD(one_mode(1.0, 0.3), 0.1)), []
    true = first_passage_line.absorbing.survival
    monkeypatch.setattr(first_passage_line.absorbing, "survival", lambda *a: asked.append(1) or true(*a))
    law = dfp.exit_steps(equation, (-0.4, 0.4), dfp.Point(0.0))
    assert np.isfinite(law.mean) and not asked
    assert len(law.survival) == len(law.steps) and law.error < 1e-9  # two panels agree to rounding
    assert len(asked) == 2  # the fine law and the coarse one, once each
    again = pickle.loads(pickle.dumps(law))
    np.testing.assert_array_equal(again.survival, law.survival)
    assert again.mean == law.mean and again.error == law.error and len(asked) == 2
    fresh = pickle.loads(pickle.dumps(dfp.exit_steps(equation, (-0.4, 0.4), dfp.Point(0.0))))
    np.testing.assert_array_equal(fresh.survival, law.survival)


def test_survival_between_steep_walls():
    """ḡ = θ⁷ − θ up to θ = −3, where a chain of cells jumps 10⁵ times a step: its exponential, against few jumps."""
    wall = dfp.Landscape(lambda at: at**7 - at, 0.5, hessian=lambda at: 7 * at[:, 0] ** 6 - 1)
    equation = dfp.Langevin(dfp.SGD(wall, 0.1))
    law = dfp.exit_steps(equation, (-3.0, 0.0), dfp.Point(-1.0), 300)
    near = dfp.exit_steps(equation, (-1.6, 0.0), dfp.Point(-1.0), 300)
    # nothing gets beyond −1.6 (e^−38 of the law), so that both differ by their cells alone
    assert np.abs(law.survival - near.survival).max() < 3 * (law.error + near.error)
    assert law.mean == pytest.approx(near.mean, abs=3 * (law.mean_error + near.mean_error))
    shorter = dfp.exit_steps(equation, (-0.95, 0.0), dfp.Point(-0.9), 300)
    assert np.abs(law.survival - shorter.survival).max() > 0.1


@pytest.mark.parametrize("number", [0, 1, 2])
def test_behind_one_wall_the_law_is_that_of_a_box_so_wide_that_it_does_not_matter(number):
    """Within the errors that both state; a box that matters must differ."""
    well = dfp.SGD(dfp.Landscape(lambda t: t**3 - t, 0.5), learning_rate=0.2)
    curved = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0], [0.1])), learning_rate=0.2)
    equation, wall, wide, narrow = [
        (dfp.MasterEquation(curved), -0.7, 9.0, 0.9),
        (dfp.MasterEquation(well), 0.0, 5.0, 1.5),
        (dfp.Langevin(curved), -0.7, 9.0, 0.9),
    ][number]
    start = dfp.Point(0.5)
    open_ended, boxed, shut = (dfp.exit_steps(equation, (wall, end), start, 50) for end in (np.inf, wide, narrow))
    bound = 1e-9 * boxed.mean + 3 * (open_ended.mean_error + boxed.mean_error)
    assert abs(open_ended.mean - boxed.mean) < bound < abs(open_ended.mean - shut.mean)
    assert np.abs(open_ended.survival - boxed.survival).max() < 1e-9 + 3 * (open_ended.error + boxed.error)


@pytest.mark.parametrize(("curvature", "gradient"), [(-0.5, 0.0), (0.0, 0.3)])
def test_behind_one_wall_from_which_some_never_come_back_there_is_no_mean(curvature, gradient):
    sgd = dfp.SGD(dfp.QuadraticLandscape([curvature], gradient, dfp.GaussianNoise([1.0])), learning_rate=0.2)
    with pytest.raises(dfp.UnresolvedError, match="mean is infinite"):
        dfp.exit_steps(dfp.MasterEquation(sgd), (-np.inf, 0.7), dfp.Point(0.0))
    with pytest.raises(dfp.DFPError, match="no wall"):
        dfp.exit_steps(dfp.MasterEquation(sgd), (-np.inf, np.inf), dfp.Point(0.0))


@pytest.mark.parametrize("kind", [dfp.MasterEquation, dfp.Langevin])
def test_one_wall_in_the_plane_is_that_of_its_line(kind):
    """Independent parameters, one wall: the law of the first alone; where a second is walled in too, another."""
    line = kind(dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise(1.0)), 0.5))
    plane = kind(dfp.SGD(dfp.QuadraticLandscape([1.0, 0.5], noise=dfp.GaussianNoise(1.0)), 0.5))
    exact = dfp.exit_steps(line, (-0.5, np.inf), dfp.Point(0.1), 200)
    law = dfp.exit_steps(plane, ([-0.5, None], [None, None]), dfp.Point([0.1, 0.1]), 200)
    # Both errors are estimates, trebled here; a chain of cells in the plane is coarse, and says so.
    assert np.abs(law.survival - exact.survival).max() < 3 * (law.error + exact.error)
    assert abs(law.mean - exact.mean) < 3 * (law.mean_error + exact.mean_error)
    assert law.error < (1e-6 if kind is dfp.MasterEquation else 2e-3)
    shut = dfp.exit_steps(plane, ([-0.5, -1.0], [np.inf, np.inf]), dfp.Point([0.1, 0.1]), 200)
    assert np.abs(shut.survival - exact.survival).max() > 30 * (shut.error + exact.error)  # control


def test_one_wall_across_coupled_axes():
    """Against 20 000 trajectories: z-scores, Bonferroni over 60 steps and the mean."""
    noise = dfp.GaussianNoise([1.0, 0.5])
    equation = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape([[0.8, 0.3], [0.3, 0.6]], noise=noise), 0.5))
    start, wall = dfp.Point([0.1, 0.1]), ([-0.5, None], [None, None])
    law = dfp.exit_steps(equation, wall, start, 60)
    drawn = dfp.exit_steps(equation, wall, start, 60, trajectories=20_000, seed=4)
    z = np.abs(law.survival - drawn.survival) / drawn.standard_error
    assert z.max() < 4.5  # false alarm 4e-4
    uncoupled = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape([0.8, 0.6], noise=noise), 0.5))
    other = dfp.exit_steps(uncoupled, wall, start, 60)
    assert (np.abs(other.survival - drawn.survival) / drawn.standard_error).max() > 4.5  # control


def test_quantiles_of_several_shares():
    sgd = dfp.SGD(dfp.QuadraticLandscape([1.0], noise=dfp.GaussianNoise([1.0])), 0.2)
    law = dfp.exit_steps(dfp.MasterEquation(sgd), (-0.6, 0.6), dfp.Point(0.0), 40)
    shares = [0.1, 0.5, 0.9]  # the last beyond the last step
    found = law.quantile(shares)
    assert found.shape == (3,) and found[2] > 40
    assert found.tolist() == [law.quantile(share) for share in shares] and isinstance(law.quantile(0.5), float)
    for share, step in zip(shares[:2], found[:2].astype(int), strict=True):
        assert law.survival[step] <= 1 - share < law.survival[step - 1]
    with pytest.raises(dfp.DFPError, match="between 0 and 1"):
        law.quantile([0.5, 1.0])
    settled = dfp.stationary(dfp.MasterEquation(sgd))
    assert settled.quantile(shares).shape == (3,) and isinstance(settled.quantile(0.5), float)
    solved = dfp.solve(dfp.MasterEquation(sgd), dfp.Point(0.0), 4, [2, 4])
    assert solved.quantile(shares).shape == (2, 3) and solved.quantile(0.5).shape == (2,)
    losses = dfp.loss_law(dfp.MasterEquation(sgd), dfp.Point(1.0), 10)
    assert losses.quantile(shares).tolist() == [losses.quantile(share) for share in shares]


@pytest.mark.parametrize(
    ("domain", "said"),
    [
        (([-1.0, None], [1.0, "far"]), "None where there is no wall"),
        (([None, None], None), "no wall to leave by"),
        (([-0.5, -1.0], [None]), "one entry per parameter"),
    ],
)
def test_malformed_walls_are_named(domain, said):
    plane = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape([1.0, 0.5], noise=dfp.GaussianNoise(1.0)), 0.5))
    with pytest.raises(dfp.DFPError, match=said):
        dfp.exit_steps(plane, domain, dfp.Point([0.1, 0.1]), 10)


def test_boxes_that_are_too_dear_name_the_far_wall():
    space = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape([1.0, 0.5, 0.8], noise=dfp.GaussianNoise(1.0)), 0.5))
    with pytest.raises(
        dfp.UnresolvedError, match=r"too many for .*trajectories=20_000, splitting=True.*finite corners far away"
    ):
        dfp.exit_steps(space, ([-0.5, None, None], None), dfp.Point([0.1, 0.1, 0.1]), 10)
