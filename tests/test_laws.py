"""What noise laws answer about themselves, against brute force: draws of their own increments, and all minibatches."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

import dfp
from dfp.errors import UnsupportedError
from dfp.problem.noise import NoiseLaw
from dfp.results.comparison import cell_probabilities

PLACE = np.array([0.3, -0.7])
DRAWS = 200_000
# Each case makes some twenty comparisons: at 5 standard errors one of all fails by chance in 1e4 runs of other seeds.
LIMIT = 5.0


def every_law():
    """A law of each kind, in two dimensions; minibatches of three."""
    rng = np.random.default_rng(3)
    square, gradients = rng.standard_normal((4, 2, 2)), rng.standard_normal((4, 2))
    table = dfp.GaussianNoise([[1, 0.3], [0.3, 2.0]], [[0.5, 0.2], [0.2, 0.1]], symmetric=True)
    laws = {
        "samples": dfp.QuadraticLandscape.from_samples(square + square.transpose(0, 2, 1), gradients, 3).law,
        "regression": dfp.QuadraticLandscape.from_regression(gradients, rng.standard_normal(4), 3).law,
        "Gaussian": dfp.QuadraticLandscape([1.0, 2.0], noise=table).law,
        "additive": dfp.QuadraticLandscape(
            [1.0, 2.0], noise=dfp.AdditiveNoise([stats.skewnorm(4), stats.gamma(3)])
        ).law,
    }
    laws["additive"] = laws["additive"].with_batch_size(3)
    return laws


LAWS = every_law()


def z_scores(draws, expected):
    """How many standard errors the means of ``draws`` (n, k) are from ``expected`` (k,)."""
    return np.abs(draws.mean(axis=0) - expected) / (draws.std(axis=0) / np.sqrt(len(draws)) + 1e-15)


@pytest.fixture(params=LAWS)
def law(request):
    return LAWS[request.param]


@pytest.fixture
def draws(law):
    return law.increments(np.tile(PLACE, (DRAWS, 1)), np.random.default_rng(11))


def at_place(tensor, order):
    """The cumulant tensor at PLACE, from its polynomial in (1, θ)."""
    products = [np.prod(factors) for factors in product([1.0, *PLACE], repeat=order)]
    return tensor.reshape(2**order, -1) @ np.array(products)


def test_increments_have_the_covariance(law, draws):
    pairs = (draws[:, :, None] * draws[:, None, :]).reshape(DRAWS, -1)
    assert np.all(z_scores(pairs, law.covariance(PLACE).ravel()) < LIMIT)
    assert np.all(z_scores(draws, np.zeros(2)) < LIMIT)
    wrong = z_scores(pairs, law.with_batch_size(4 if law.batch_size > 1 else 2).covariance(PLACE).ravel())
    assert np.max(wrong) > 5 * LIMIT  # negative control: another batch size is told apart


def test_third_cumulants_are_those_of_the_increments(law, draws):
    third, fourth = law.cumulants(4)
    if law.gaussian:
        assert third is None and fourth is None
        return
    triples = np.einsum("ni,nj,nk->nijk", draws, draws, draws).reshape(DRAWS, -1)
    assert np.all(z_scores(triples, at_place(third, 3)) < LIMIT)
    # E δ⁴ = κ₄ + 3 κ₂², of each component
    variance = np.diag(law.covariance(PLACE))
    raw = at_place(fourth, 4).reshape(2, 2, 2, 2)[[0, 1], [0, 1], [0, 1], [0, 1]] + 3 * variance**2
    assert np.all(z_scores(draws**4, raw) < LIMIT)


def test_the_characteristic_function_is_that_of_the_increments(law, draws):
    waves = np.random.default_rng(5).standard_normal((6, 2))
    phases = np.exp(1j * draws @ waves.T)
    values = law.characteristic(waves, PLACE[None])[0]
    assert np.all(z_scores(phases.real, values.real) < LIMIT)
    assert np.all(z_scores(phases.imag, values.imag) < LIMIT)
    if law.additive:
        assert np.array_equal(law.characteristic(waves), values)


def test_moments_of_increments_are_those_of_the_draws(law, draws):
    if not law.every_moment:
        return
    turn = np.array([[0.5, 0.2], [-0.1, 0.4]])
    moved = draws @ turn.T
    # Orders 0 … 3 of two components, in the order of ``hermite.indices``.
    powers = [(0, 0), (0, 1), (1, 0), (0, 2), (1, 1), (2, 0), (0, 3), (1, 2), (2, 1), (3, 0)]
    from dfp_solvers import hermite

    assert sorted(map(tuple, hermite.indices(2, 3).tolist())) == sorted(powers)
    sampled = np.stack([np.prod(moved**power, axis=1) for power in hermite.indices(2, 3)], axis=1)
    assert np.all(z_scores(sampled, law.increment_moments(PLACE[None], turn, 3)[:, 0]) < LIMIT)


@pytest.mark.parametrize("name", ["samples", "regression"])
@pytest.mark.parametrize("replace", [True, False])
def test_minibatches_are_all_there_with_their_weights(name, replace):
    law = LAWS[name]
    found = law.minibatches(replace=replace)
    every = [c for c in product(range(4), repeat=3) if replace or len(set(c)) == 3]
    gradients = np.array(
        [np.mean(law.sample_hessians()[list(c)] @ PLACE + law.gradients[list(c)], axis=0) for c in every]
    )
    own = found.hessians @ PLACE + found.gradients
    assert len(found.weights) == law.minibatch_count(replace=replace) == len({tuple(sorted(c)) for c in every})
    for power in (1, 2, 3):
        # rounding of sums of at most 64 terms of order one to ten
        np.testing.assert_allclose(
            found.weights @ own**power, np.mean(gradients**power, axis=0), rtol=1e-12, atol=1e-12
        )


def test_entropy_is_that_of_multisets():
    weights = LAWS["samples"].minibatches().weights
    # rounding of twenty logarithms
    assert LAWS["samples"].choice_entropy == pytest.approx(-np.sum(weights * np.log(weights)), rel=1e-13)
    assert LAWS["Gaussian"].choice_entropy == np.inf


@pytest.mark.parametrize("name", ["samples", "regression"])
def test_variances_of_entries_are_those_of_the_quadratic_map(name):
    law = LAWS[name]
    axes = np.linalg.qr(np.random.default_rng(2).standard_normal((2, 2)))[0]
    # both are sums over four samples of terms of order one
    np.testing.assert_allclose(law.entry_variances(axes), NoiseLaw.entry_variances(law, axes), rtol=1e-12, atol=1e-13)


def test_on_a_line_the_compiled_characteristic_function_is_the_plain_one():
    law = dfp.QuadraticLandscape.from_samples(np.array([0.5, 1.0, 2.5])[:, None, None], [[1.0], [-2.0], [0.3]], 4).law
    waves, places = 0.37 * np.arange(40)[:, None], np.linspace(-2, 2, 7)[:, None]
    compiled = law.characteristic(waves, places)
    plain = law.characteristic(waves[::-1], places)[:, ::-1]  # not increasing from 0, so not compiled
    # powers of unit phases, forty of them
    np.testing.assert_allclose(compiled, plain, atol=1e-12)


def test_a_law_says_what_it_does_not_know():
    heavy = dfp.QuadraticLandscape([1.0], noise=dfp.AdditiveNoise(stats.t(2.5))).law
    assert (heavy.highest_order, heavy.finite) == (2, True)
    with pytest.raises(UnsupportedError, match="no finite moment of order 3"):
        heavy.cumulants(3)
    with pytest.raises(UnsupportedError, match="no minibatches"):
        heavy.minibatches()
    with pytest.raises(UnsupportedError, match="only a finite sum has samples"):
        _ = dfp.SGD(dfp.QuadraticLandscape([1.0]), 0.1).samples


class Laplace(NoiseLaw):
    """A law from outside, a Gaussian of exponentially distributed variance, with no more than is asked of every law."""

    additive, gaussian = True, False

    def __init__(self, scale, batch_size=1):
        self.scale, self.batch_size, self.constant = np.asarray(scale), batch_size, np.asarray(scale) / batch_size

    def quadratic(self, second):
        return np.zeros_like(second)

    def cross(self, mean):
        return np.zeros((*mean.shape, self.dimension))

    def with_batch_size(self, batch_size):
        return Laplace(self.scale, batch_size)

    def increments(self, theta, rng):
        normals = rng.standard_normal((self.batch_size, *theta.shape)) @ np.linalg.cholesky(self.scale).T
        return np.mean(normals * np.sqrt(rng.exponential(size=normals.shape[:2]))[..., None], axis=0)

    def characteristic(self, waves, theta=None):
        forms = np.einsum("...i,ij,...j->...", waves, self.scale, waves) / self.batch_size**2
        values = (1 / (1 + forms / 2)) ** self.batch_size
        return values if theta is None else np.broadcast_to(values, (len(theta), *values.shape))


@pytest.mark.parametrize("options", [{}, {"momentum": 0.6}, {"learning_rate": [0.3] * 4 + [0.1] * 4}])
def test_a_law_from_outside_needs_no_edit_elsewhere(options):
    """Moments, Fourier, Monte Carlo and modes take it as it is."""
    landscape = dfp.QuadraticLandscape([1.0, 0.4], 0.1, Laplace([[1.0, 0.3], [0.3, 0.5]]))
    sgd = dfp.SGD(landscape, **{"learning_rate": 0.2, **options})
    equation, initial = dfp.MasterEquation(sgd), dfp.Gaussian([0.5, 0.0], 0.05)
    exact = dfp.moments(equation, initial, 8, [8])
    reach = 3 * np.sqrt(np.diag(exact.covariance[0]))
    box = dfp.Grid(exact.mean[0] - reach, exact.mean[0] + reach, (8, 8))
    sampled = dfp.solve(equation, initial, 8, [8], dfp.MonteCarlo(DRAWS, seed=7), box)
    assert np.all(np.abs(sampled.mean - exact.mean) < LIMIT * sampled.errors["mean"])
    assert np.all(np.abs(sampled.covariance - exact.covariance) < LIMIT * sampled.errors["covariance"])
    solved = dfp.solve(equation, initial, 8, [8], dfp.Fourier())
    expected = cell_probabilities(solved, 0, box)
    spread = np.sqrt(expected * (1 - expected) / DRAWS)
    scores = (sampled.density[0] * box.cell_volume - expected)[expected > 1e-4] / spread[expected > 1e-4]
    assert np.abs(scores).max() < LIMIT
    if not sgd.scheduled:
        assert dfp.modes(sgd).regime == "confined"
    with pytest.raises(UnsupportedError, match="not known of this noise"):
        landscape.law.cumulants(4)
