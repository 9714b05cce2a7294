"""Growth of random multipliers and random matrix products against quadrature, closed forms and brute force."""

from itertools import pairwise, product

import numpy as np
import pytest
from dfp_solvers import lyapunov
from dfp_solvers.trajectories import products as matrix_product
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import digamma, gamma, hyp1f1
from scipy.stats import norm

import dfp
from dfp.regimes.coupling import EigenSystem

MULTIPLIERS = [(1.0, 0.05), (1.0, 1.5), (0.4, 0.5), (-0.3, 1.2), (0.0, 1.3), (0.95, 0.2), (0.7, 0.08), (0.3, 0.029)]


def gaussian_index(a, s):
    exponent = float(lyapunov.gaussian_exponent(a, s))
    return lyapunov.tail_index(lambda order: lyapunov.gaussian_log_moment(order, a, s), exponent)


@pytest.mark.parametrize(("a", "s"), MULTIPLIERS)
def test_gaussian_exponent_is_the_integral(a, s):
    def integrand(z):
        return np.log(abs(a + s * z)) * norm.pdf(z)

    kink = -a / s
    ends = sorted({-12.0, 12.0, *([kink] if abs(kink) < 12 else [])})
    integral = sum(
        quad(integrand, lower, upper, limit=500, epsabs=1e-13, epsrel=1e-13)[0] for lower, upper in pairwise(ends)
    )
    # What lies beyond twelve deviations weighs 1e-32; the singular end costs quad a few digits.
    assert lyapunov.gaussian_exponent(a, s) == pytest.approx(integral, abs=1e-10)


@pytest.mark.parametrize(("a", "s"), MULTIPLIERS)
@pytest.mark.parametrize("order", [1e-3, 0.7, 2.0, 3.3, 10.0, 37.5])
def test_gaussian_moment_is_the_integral(a, s, order):
    def part(sign):
        peak = (sign * a + np.sqrt(a * a + 4 * order * s * s)) / 2
        scale = order * np.log(peak) - (peak - sign * a) ** 2 / (2 * s * s)

        def integrand(y):
            return np.exp(order * np.log(y) - (y - sign * a) ** 2 / (2 * s * s) - scale) if y > 0 else 0.0

        value = quad(integrand, 0, peak, limit=400, epsabs=0, epsrel=1e-12, points=[max(peak - 6 * s, peak / 2)])[0]
        return scale + np.log(value + quad(integrand, peak, peak + 40 * s, limit=400, epsabs=0, epsrel=1e-12)[0])

    truth = np.logaddexp(part(1), part(-1)) - np.log(s * np.sqrt(2 * np.pi))
    # rounding
    assert lyapunov.gaussian_log_moment(order, a, s) == pytest.approx(truth, rel=1e-10, abs=1e-11)


@pytest.mark.parametrize(("a", "s"), MULTIPLIERS)
def test_tail_index_solves_the_closed_form(a, s):
    """E|Y|^κ = 1 by the formula of the theory page, section 4, where SciPy's ₁F₁ holds; κ agrees to 1e-8."""
    kappa = gaussian_index(a, s)
    if not kappa < 300:
        pytest.skip("the formula's Γ overflows; the integral above covers this multiplier")

    def log_moment(order):
        factor = s**order * 2 ** (order / 2) / np.sqrt(np.pi) * gamma((order + 1) / 2)
        return np.log(factor * hyp1f1(-order / 2, 0.5, -a * a / (2 * s * s)))

    # The unmodified formula loses digits where κ is small and s narrow: (1, 0.05) to 1e-12.
    assert kappa == pytest.approx(brentq(log_moment, 0.9 * kappa, 1.1 * kappa, xtol=1e-14), abs=1e-8)


def test_known_tail_indices():
    """ρ₂ = 1 is κ = 2; E Y⁴ = a⁴ + 6a²s² + 3s⁴ = 1 is κ = 4; a flat mode that never turns has κ = 1."""
    a = 0.4
    # rounding
    assert gaussian_index(a, np.sqrt(1 - a * a)) == pytest.approx(2, abs=1e-12)
    square = (-6 * a * a + np.sqrt(36 * a**4 + 12 * (1 - a**4))) / 6
    assert gaussian_index(a, np.sqrt(square)) == pytest.approx(4, abs=1e-12)
    assert gaussian_index(1.0, 0.02) == pytest.approx(1, abs=1e-10)


def test_a_flat_mode_turns_unstable():
    """Theory page, section 4: Gaussian curvature noise on a flat mode is unstable above η√Γ = 1.556."""
    limit = brentq(lambda s: float(lyapunov.gaussian_exponent(1.0, s)), 1.0, 2.0)
    # the digits of the page
    assert limit == pytest.approx(1.556, abs=5e-4)
    assert gaussian_index(1.0, 0.999 * limit) > 0
    assert np.isnan(gaussian_index(1.0, 1.001 * limit))


def test_exponent_is_the_slope_of_the_moment():
    for a, s in MULTIPLIERS:
        step = 1e-5
        slope = lyapunov.gaussian_log_moment(step, a, s) / step
        # The curvature of log E|Y|^κ is at most a few units here.
        assert slope == pytest.approx(float(lyapunov.gaussian_exponent(a, s)), abs=1e-4)


def test_two_values_have_a_golden_index():
    """Y = 2 or 1/4: with x = 2^κ, x + x⁻² = 2, so x is the golden ratio."""
    atoms = lyapunov.Atoms(np.array([2.0, 0.25]), np.array([0.5, 0.5]))
    exponent = lyapunov.atoms_exponent(atoms)
    # rounding
    assert exponent == pytest.approx(-np.log(2) / 2, rel=1e-14)
    kappa = lyapunov.tail_index(lambda order: lyapunov.atoms_log_moment(order, atoms), exponent)
    assert kappa == pytest.approx(np.log2((1 + np.sqrt(5)) / 2), rel=1e-12)


def test_minibatches_are_enumerated():
    samples = np.array([0.9, -0.47, 1.3, 0.2, 0.9])
    atoms = lyapunov.minibatch_atoms(samples, 3)
    averages = np.array([np.mean(chosen) for chosen in product(samples, repeat=3)])
    assert atoms.width == 0
    # rounding
    assert lyapunov.atoms_exponent(atoms) == pytest.approx(np.mean(np.log(np.abs(averages))), rel=1e-13)
    for order in (0.5, 2.0, 5.0):
        moment = np.mean(np.abs(averages) ** order)
        # rounding
        assert lyapunov.atoms_log_moment(order, atoms) == pytest.approx(np.log(moment), rel=1e-12)
    # 0.2 + 0.2 − 0.4: a minibatch that forgets where it was, whatever rounding makes of it.
    assert lyapunov.atoms_exponent(lyapunov.minibatch_atoms(np.array([0.9, -0.4, 0.2]), 3)) == -np.inf


def test_lattice_agrees_with_enumeration(monkeypatch):
    """Averages of four of 20 samples: 8855 minibatches, exactly and on the lattice."""
    samples = 1 - 0.9 * np.random.default_rng(1).standard_exponential(20)
    exact = lyapunov.minibatch_atoms(samples, 4)
    monkeypatch.setattr(lyapunov, "ENUMERATED", 10)
    lattice = lyapunov.minibatch_atoms(samples, 4)
    assert exact.width == 0 < lattice.width
    # rounding
    assert lattice.weights.sum() == pytest.approx(1, abs=1e-13)
    # The lattice has 2^18 cells; a logarithm's singularity near an atom costs the exponent more than the moments.
    assert lyapunov.atoms_exponent(lattice) == pytest.approx(lyapunov.atoms_exponent(exact), abs=2e-5)
    for order in (0.5, 2.0, 6.0):
        approximate, truth = (lyapunov.atoms_log_moment(order, atoms) for atoms in (lattice, exact))
        # |y|^½ is not smooth at zero.
        assert approximate == pytest.approx(truth, abs=1e-7 if order < 1 else 1e-8)
    coarse = lyapunov.minibatch_atoms(samples, 4, cells=256)
    assert abs(lyapunov.atoms_log_moment(2.0, coarse) - lyapunov.atoms_log_moment(2.0, exact)) > 1e-8


def test_rounding_limits_the_order():
    """Far tails of a convolution are rounding: the order that uses them is known, and enumerated laws have no limit."""
    samples = np.concatenate([np.full(200, 0.5) + np.linspace(0, 0.1, 200), [4.0]])
    lattice = lyapunov.minibatch_atoms(samples, 12)
    assert lattice.width > 0
    assert 5 < lyapunov.largest_resolved_order(lattice) < 30
    assert lyapunov.largest_resolved_order(lyapunov.minibatch_atoms(samples, 1)) == np.inf


@pytest.mark.parametrize("d", [1, 2, 3])
def test_exponent_of_gaussian_matrices(d):
    """A = −η H̃ with independent normal entries: ℓ = log η + (log 2 + ψ(d/2))/2 (Newman 1986)."""
    eta = 0.7
    step = matrix_product.OptimiserStep(eta)
    value, error = matrix_product.gaussian_exponent(np.eye(d) / eta, np.ones((d, d)), step, 1000, 1)
    truth = np.log(eta) + (np.log(2) + digamma(d / 2)) / 2
    # the estimate is of use
    assert 0 < error < 5e-3
    assert abs(value - truth) < 4.5 * error  # a false alarm once in 150 000 seeds
    assert abs(value - truth - 0.02) > 4.5 * error  # negative control: two per cent off would show


def plain_growth(pulls, step, d, watched):
    """Return what a lane adds up, with NumPy alone; ``pulls`` gives the mean and the noise of H_ξθ, step by step."""
    eta, p, q, beta = step
    theta, velocity = np.full(d, 1 / np.sqrt(d)), np.zeros(d)
    total = np.zeros(4)
    for pull in pulls:
        mean, noise = pull(theta)
        expected = np.concatenate([theta - eta * (p * mean + q * velocity), beta * velocity + mean])
        shift = np.concatenate([-eta * p * noise, noise])
        if q == 0:
            expected[d:], shift[d:] = 0.0, 0.0
        before, (here, moved) = watched @ theta, (watched @ part[:d] for part in (expected, shift))
        state = expected + shift
        size = np.linalg.norm(state)
        total += (
            np.log(size), expected @ shift / max(expected @ expected, 0.25),
            np.log(abs((here + moved) / before)), here * moved / max(here**2, 0.01),
        )  # fmt: skip
        theta, velocity = state[:d] / size, state[d:] / size
    return total


@pytest.mark.parametrize("step", [matrix_product.OptimiserStep(0.3), matrix_product.OptimiserStep(0.3, 1.8, 0.64, 0.8)])
def test_kernels_agree_with_numpy(step):
    rng = np.random.default_rng(3)
    d, n, packed = 3, 40, np.array(step)
    watched = np.array([0.8, 0.0, 0.6])

    def grown(kernel, *arguments):
        growth = np.zeros(4)
        kernel(*arguments, packed, np.full(d, 1 / np.sqrt(d)), np.zeros(d), watched, growth)
        return growth

    square = rng.standard_normal((d, d))
    hessian, variances = square @ square.T, rng.random((d, d))
    variances = (variances + variances.T) / 2
    normals = rng.standard_normal((n, d))
    pulls = [lambda u, z=z: (hessian @ u, np.sqrt(variances @ u**2) * z) for z in normals]
    wanted = plain_growth(pulls, step, d, watched)
    # rounding
    np.testing.assert_allclose(grown(matrix_product._gaussian, hessian, variances, normals), wanted, rtol=1e-10)
    drawn = np.zeros((n, d, d))
    rows, columns = np.triu_indices(d)
    packs = rng.standard_normal((n, rows.size))
    drawn[:, rows, columns] = drawn[:, columns, rows] = packs
    pulls = [lambda u, z=z: (hessian @ u, (np.sqrt(variances) * z) @ u) for z in drawn]
    wanted = plain_growth(pulls, step, d, watched)
    np.testing.assert_allclose(grown(matrix_product._symmetric, hessian, variances, packs), wanted, rtol=1e-10)
    features, picks = rng.standard_normal((7, d)), rng.integers(0, 7, (n, 2))
    hessians = features[:, :, None] * features[:, None, :]
    mean = hessians.mean(axis=0) + 0.1 * np.eye(d)
    taken = hessians[picks].mean(axis=1) + 0.1 * np.eye(d)
    wanted = plain_growth([lambda u, h=h: (mean @ u, h @ u - mean @ u) for h in taken], step, d, watched)
    for table, rank_one in ((features, True), (hessians.reshape(7, -1), False)):
        found = grown(matrix_product._samples, table, rank_one, mean, 0.1, picks)
        # rounding
        np.testing.assert_allclose(found, wanted, rtol=1e-10)


def slow_modes(d=10, amplitude=0.05):
    noise = dfp.GaussianNoise(np.full(d, 0.1), amplitude**2 * np.random.default_rng(1).uniform(0.25, 1, (d, d)))
    return dfp.SGD(dfp.QuadraticLandscape(np.geomspace(1e-3, 1, d), 0, noise), 0.005)


def test_exponents_of_slow_modes_are_no_transients():
    """d = 10, λ = 1e-3 … 1, η = 0.005: ℓ is that of the slowest mode but for η²Γ, and below half the logarithm of ρ."""
    report = dfp.modes(slow_modes())
    # To second order in the noise, ℓ of the slowest mode alone; couplings enter at the order η³Γ²/λ, some 1 % here.
    truth = report[0].lyapunov_exponent
    assert abs(report.lyapunov_exponent - truth) < report.lyapunov_error + 0.02 * abs(truth)
    assert report.lyapunov_error < 0.1 * abs(truth)
    assert report.lyapunov_exponent <= np.log(report.spectral_radius) / 2
    # The control: random directions, and a burn-in that knows nothing of how slowly they settle.
    system = report.system
    deviations = np.sqrt(system.entry_variances)
    value, error = matrix_product.gaussian_exponent(np.diag(system.curvatures), deviations, system.step, 4000, 0)
    assert abs(value - truth) > 4.5 * error + 5 * abs(truth)


def test_errors_say_what_has_not_settled():
    """A transient c e^{−n/T} is in the error if T is long, and nothing is added if it is over."""
    runs, time = (100, 200, 200), 1e4
    n = np.cumsum((0, *runs))
    left = -time * np.diff(np.exp(-n / time))[1:] / np.array(runs[1:])
    lanes = np.random.default_rng(2).standard_normal((2, 64)) * 1e-6
    value, error = matrix_product.average(3.0 + 0.01 * left[:, None] + lanes, runs, time)
    # the spread of the lanes is not zero
    assert abs(value - 3.0) == pytest.approx(error, rel=0.05)
    # the spread of the lanes is 1e-6 over √128
    assert matrix_product.average(3.0 + lanes, runs, 1.0)[1] < 1e-6
    assert matrix_product.average(3.0 + lanes, runs, np.inf)[1] == np.inf


def test_blocks_that_drive_each_other_grow_by_themselves():
    """Modes 0 and 1 drive each other, mode 2 is driven by both, mode 3 by itself: its exponent is the largest."""
    table = np.zeros((4, 4))
    table[0, 1] = table[1, 0] = table[2, 0] = 0.2
    table[3, 3] = 0.1
    sgd = dfp.SGD(dfp.QuadraticLandscape([0.5, 0.7, 0.9, 0.3], 0, dfp.GaussianNoise(np.full(4, 0.1), table)), 0.3)
    report = dfp.modes(sgd)
    assert sorted(block.tolist() for block in report.system.blocks) == [[0], [1, 2], [3]]
    assert report.coupled and report.lyapunov_error == 0
    assert report.lyapunov_exponent == report[0].lyapunov_exponent


@pytest.mark.parametrize(
    ("values", "period"),
    [
        ([16, 1 / 16], np.log(16)), ([2.0, 0.5, 8.0], np.log(2)), ([-4, 8], np.log(2)), ([0.0, 3.0], np.log(3)),
        ([2.0, 3.0], None), ([0.3, 1.7, 0.9], None), ([1.0, -1.0], None),
    ],
)  # fmt: skip
def test_common_period(values, period):
    found = lyapunov.common_period(np.array(values))
    # rounding
    assert found is None if period is None else found == pytest.approx(period, rel=1e-9)


@pytest.mark.parametrize("units", [(1.0, 1.0), (1e-8, 1e-8), (1e8, 1e8), (1e-8, 1.0), (1.0, 1e8)])
def test_units_of_parameters_hide_no_curvature_noise(units):
    """θ → cθ divides H̃_ij by c_i c_j; what is rounding in one unit is not what is noise in another."""
    c = np.array(units)
    noise = dfp.GaussianNoise(1 / c**2, 0.1 / c**4)
    table = EigenSystem(
        dfp.SGD(dfp.QuadraticLandscape(np.array([1.0, 0.5]) / c**2, 0.0, noise), 0.1), None
    ).entry_variances
    order = np.argsort(np.array([1.0, 0.5]) / c**2)
    assert np.allclose(np.diag(table), (0.1 / c**4)[order], rtol=1e-12)  # rounding
    # the control: what rotation mixes into a table without noise is still none
    turned = np.array([[0.8, -0.6], [0.6, 0.8]])
    still = dfp.QuadraticLandscape(turned @ np.diag([1.0, 0.5]) @ turned.T / c[0] ** 2, 0.0, dfp.GaussianNoise(1.0))
    assert not np.any(EigenSystem(dfp.SGD(still, 0.1), None).entry_variances)
