"""Densities of SGD without replacement against the enumeration of minibatch sequences, exact moments and sampling."""

from itertools import combinations

import numpy as np
import pytest
from dfp_solvers.transfer import characteristic, uniform
from scipy import stats
from test_optimiser_moments import finite_sum, sequences

import dfp
from dfp.methods.solver import Problem
from dfp.methods.transfer import epoch as transfer_epoch
from dfp.methods.transfer.kernels import maps
from dfp.problem.finite_sum import FiniteSumLaw

RATE = 0.1


def small(d, count, batch, rate=RATE, additive=False, **settings):
    """An equation of SGD without replacement on a few samples, and its start, a narrow Gaussian."""
    landscape = dfp.QuadraticLandscape.from_samples(*finite_sum(additive, d, count), batch)
    equation = dfp.MasterEquation(dfp.SGD(landscape, rate, **({"replace": False} | settings)))
    return equation, dfp.Gaussian(np.linspace(0.4, -0.2, d), np.full(d, 0.02))


def affine(equation, sequence):
    """The map θ → Fθ + c of a sequence of minibatches, by the loop of SGD."""
    law, sgd = equation.sgd.noise, equation.sgd
    assert isinstance(law, FiniteSumLaw)
    factor, shift = np.eye(sgd.dimension), np.zeros(sgd.dimension)
    for chosen in map(list, sequence):
        hessian = law.sample_hessians()[chosen].mean(axis=0) + sgd.weight_decay * np.eye(sgd.dimension)
        one = np.eye(sgd.dimension) - sgd.learning_rate * hessian
        factor, shift = one @ factor, one @ shift - sgd.learning_rate * law.gradients[chosen].mean(axis=0)
    return factor, shift


def truth(equation, start, steps, points):
    """The mixture of Gaussians over all sequences of minibatches, which are equally likely."""
    law = equation.sgd.noise
    total, number = np.zeros(points.shape[:-1]), 0
    for sequence in sequences(law.count, law.batch_size, steps, equation.sgd.replace):
        factor, shift = affine(equation, sequence)
        part = dfp.Gaussian(factor @ start.mean + shift, factor @ start.covariance @ factor.T)
        total, number = total + part.density(points), number + 1
    return total / number


def distances(solution, equation, start):
    """L1 distances of the frames from the truth."""
    grid = solution.grid
    found = zip(solution.steps.tolist(), solution.density, strict=True)
    return np.array(
        [np.abs(density - truth(equation, start, n, grid.points)).sum() * grid.cell_volume for n, density in found]
    )


# (N, B), within an epoch, at its end, in the second; 5 samples in pairs leave one out.
LINES = [((4, 1), [1, 2, 4, 5]), ((5, 2), [1, 2, 3, 4]), ((6, 3), [1, 2, 3]), ((3, 3), [1, 2])]


@pytest.mark.parametrize(("sizes", "save"), LINES)
def test_on_a_line_densities_are_mixtures_over_all_sequences(sizes, save):
    """L1 to 1e-11: the nodes resolve the narrowest Gaussian, and rounding is all that is left (measured 4e-14)."""
    equation, start = small(1, *sizes, weight_decay=0.2)
    solution = dfp.solve(equation, start, save[-1], [0, *save], dfp.Transfer())
    assert solution.certificate.ok, solution.certificate
    found = distances(solution, equation, start)
    assert found.max() < 1e-11
    assert np.all(found <= solution.certificate.error)


@pytest.mark.parametrize(("sizes", "save"), [((4, 1), [1, 3, 4, 5]), ((4, 2), [1, 2, 3])])
def test_in_two_dimensions_errors_are_below_their_estimates(sizes, save):
    """Ripple of the weights Λ for steps that contract by 0.9 is some 1e-4, and is what the estimate is of."""
    equation, start = small(2, *sizes, rate=0.05)
    grid = dfp.Grid([-0.6, -1.2], [1.4, 0.8], 100)
    solution = dfp.solve(equation, start, save[-1], save, dfp.Transfer(), grid)
    found = distances(solution, equation, start)
    assert np.all(found <= solution.certificate.error)
    assert found.max() < 1e-3
    # Moments do not see ripple: weights keep them to the fifth order, and the box cuts tails at five deviations.
    assert solution.certificate.mean_error.max() < 1e-5
    assert solution.certificate.covariance_error.max() < 1e-4
    inside = solution.density.reshape(len(save), -1).sum(axis=1) * grid.cell_volume
    np.testing.assert_allclose(inside + solution.certificate.mass_outside, 1.0, rtol=0, atol=1e-12)


@pytest.mark.parametrize("replace", [True, False])
def test_the_first_step_does_not_see_the_points_of_the_start(replace):
    """From a Gaussian and from its values on cells coarser than the nodes; a comb of points would cost 1e-3 in L1."""
    equation, start = small(1, 5, 2, replace=replace)
    coarse = dfp.Grid(-1.0, 1.8, 80)  # 4 cells per deviation resolve a Gaussian to 1e-30
    for state in (start, dfp.Density.normalised(coarse, start.on(coarse))):
        solution = dfp.solve(equation, state, 1, [1], dfp.Transfer())
        # Ends of the given cells cut the Gaussian at 9.9 deviations.
        assert distances(solution, equation, start).max() < 1e-11
        assert solution.certificate.ok, solution.certificate


@pytest.mark.parametrize("d", [1, 2])
def test_sampling_with_replacement_has_another_density(d):
    equation, start = small(d, 4, 1)
    other, _ = small(d, 4, 1, replace=True)
    points = dfp.Grid(np.full(d, -1.5), np.full(d, 1.5), 60)
    save = [2, 4]
    solution = dfp.solve(equation, start, 4, save, dfp.Transfer(), points)
    wrong = dfp.solve(other, start, 4, save, dfp.Transfer(), points)
    apart = np.abs(solution.density - wrong.density).reshape(2, -1).sum(axis=1) * points.cell_volume
    assert apart.min() > 0.05, "the enumeration with replacement must be told from that without"
    assert distances(solution, other, start).min() > 0.05


def test_moments_over_many_epochs_are_exact():
    """Seven samples with a remainder, at steps of several epochs: to 1e-9 of a deviation (measured 1e-12)."""
    equation, start = small(1, 7, 2)
    save = [2, 3, 40, 41]
    solution = dfp.solve(equation, start, 41, save)
    assert solution.solver == "Transfer", solution.reason
    exact = dfp.moments(equation, start, 41, save)
    sigma = np.sqrt(exact.covariance[:, 0, 0])
    assert np.abs((solution.mean - exact.mean)[:, 0] / sigma).max() < 1e-9
    assert np.abs(solution.covariance[:, 0, 0] / sigma**2 - 1).max() < 1e-9
    assert np.abs(np.diff(exact.covariance[:, 0, 0])).max() > 1e-4, "the variance moves within epochs"


def test_saved_steps_do_not_change_the_rest():
    """The nodes are wider where more steps are to come; the density is the same to rounding error."""
    equation, start = small(1, 5, 2)
    grid = dfp.Grid(-1.2, 1.9, 300)
    once = dfp.solve(equation, start, 7, [7], dfp.Transfer(), grid)
    often = dfp.solve(equation, start, 7, list(range(8)), dfp.Transfer(), grid)
    np.testing.assert_allclose(once.density[-1], often.density[-1], rtol=0, atol=1e-10 * once.density.max())


@pytest.mark.parametrize("d", [1, 2])
def test_an_epoch_is_one_random_affine_map(d):
    """The composed maps of all orders, put on the grid at once, agree with the steps chained, up to ripple in 2D."""
    equation, start = small(d, 4, 2, rate=0.05)
    grid = dfp.Grid(np.full(d, -1.5), np.full(d, 1.5), {1: 600, 2: 100}[d])
    solution = dfp.solve(equation, start, 4, [2, 4], dfp.Transfer(), grid)
    law = maps(equation, grid, grid.points.reshape(-1, d), equation.sgd.samples.minibatches())
    whole = [affine(equation, order) for order in sequences(4, 2, 2, replace=False)]
    origin, square, shift = grid.lower + grid.spacing / 2, np.tile(np.eye(2), (len(whole), 1, 1)), []
    for i, (factor, offset) in enumerate(whole):
        square[i, 2 - d :, 2 - d :] = factor * grid.spacing / grid.spacing[:, None]
        shift.append(np.pad((factor @ origin + offset - origin) / grid.spacing, (2 - d, 0)))
    once = uniform.Maps(law.at, square, np.array(shift), np.full(len(whole), 1 / len(whole)))
    mass, lost = (start.on(grid) * grid.cell_volume).ravel(), 0.0
    for epoch in range(2):
        mass, lost = uniform.step(mass, (once,), grid.cells)
        apart = np.abs(solution.density[epoch].ravel() * grid.cell_volume - mass).sum()
        # An epoch contracts by 0.9 or less, and Λ ripples by up to 5e-4 there on every grid.
        assert apart < 2e-3
        assert abs(lost) < 1e-6
    assert np.abs(solution.density[0] - solution.density[1]).sum() * grid.cell_volume > 0.05, "epochs differ"


@pytest.mark.parametrize(("d", "sizes"), [(1, (7, 2)), (2, (5, 1))])
def test_trajectories_fill_the_cells(d, sizes):
    """Pearson's χ² over cells of 20 counts or more, false alarm 1e-6; a step later, or with replacement, it is far off.

    In the plane few minibatches drawn with replacement leave details that no box resolves.
    """
    equation, start = small(d, *sizes)
    other, _ = small(d, *sizes, replace=True)
    cells = 64 if d == 1 else 24
    coarse, ratio = dfp.Grid(np.full(d, -1.5), np.full(d, 1.5), cells), {1: 16, 2: 4}[d]
    fine = dfp.Grid(coarse.lower, coarse.upper, cells * ratio)
    step = sizes[0] // sizes[1] + 2  # in the second epoch
    sampled = dfp.solve(equation, start, step, [step], dfp.MonteCarlo(100_000, seed=4), coarse)
    counts = sampled.density[0] * coarse.cell_volume * 100_000

    def surprise(problem, at=step):
        density = dfp.solve(problem, start, at, [at], dfp.Transfer(), fine).density[0]
        blocks = density.reshape((cells, ratio) * d).sum(axis=tuple(range(1, 2 * d, 2)))
        expected = blocks * fine.cell_volume * 100_000
        often = expected > 20
        statistic = np.sum((counts - expected)[often] ** 2 / expected[often])
        return stats.chi2.sf(statistic, int(often.sum()))

    assert surprise(equation) > 1e-6
    assert surprise(equation, step + 1) < 1e-12
    assert d == 2 or surprise(other) < 1e-12


def test_images_on_a_line_are_a_transition_of_one_map():
    """The table of the filtered kernel against its Fourier series, also for places beyond the nodes."""
    nodes = characteristic.Nodes(0.01, -200, 300, 2000)
    places = np.random.default_rng(0).uniform(-2.2, 3.2, 60)
    wanted = characteristic.transition(nodes, places, lambda x, waves: np.exp(1j * np.outer(x, waves)))
    # Cut 100 nodes from its place the kernel is 1e-14.
    np.testing.assert_allclose(characteristic.images(nodes, places).toarray(), wanted, rtol=0, atol=2e-13)


def test_every_set_has_its_probability():
    equation, start = small(1, 5, 2)
    run = transfer_epoch.LineEpochs(Problem.of(equation, start, np.array([2])), dfp.Grid(-1.5, 1.5, 200))
    run.advance(1)
    assert sorted(run.sets.used) == sorted(sum(1 << i for i in pair) for pair in combinations(range(5), 2))
    # rounding
    np.testing.assert_allclose(run.sets.masses.sum(axis=1), 0.1, rtol=1e-12)
    run.advance(1)
    assert run.sets.used.tolist() == [0]  # the fifth sample is left out
    assert [transfer_epoch.moves(*sizes) for sizes in ((5, 2), (4, 1), (3, 3))] == [10 + 10 * 3, 4 + 12 + 12 + 4, 1]


@pytest.mark.parametrize(
    ("d", "sizes", "reason"),
    [
        (1, (30, 3), r"357913941 sets and \d+ moves .* more than 30000 .*MonteCarlo.*moments"),
        (2, (10, 1), r"1023 sets and 5120 moves .* more than 1200 for d = 2.*MonteCarlo"),
        (1, (12, 6), r"924 minibatches, too many.*MonteCarlo"),
        (3, (4, 1), r"d <= 2, and d = 3.*MonteCarlo"),
    ],
)
def test_larger_sums_are_refused_with_the_reason(d, sizes, reason):
    equation, start = small(d, *sizes, additive=True)
    with pytest.raises(dfp.UnsupportedError, match=reason):
        dfp.solve(equation, start, 3, [3], dfp.Transfer())


def test_momentum_schedules_and_stationary_laws_are_refused():
    for settings, reason in (({"momentum": 0.5}, "no momentum"), ({"rate": [0.1, 0.2, 0.1]}, "no schedule")):
        equation, start = small(1, 4, 1, **settings)
        with pytest.raises(dfp.UnsupportedError, match=reason):
            dfp.solve(equation, start, 3, [3], dfp.Transfer())
    with pytest.raises(dfp.UnsupportedError, match="replace=False"):
        dfp.stationary(small(1, 4, 1)[0], None, dfp.Transfer())


def test_a_law_without_a_density_says_so():
    equation, _ = small(1, 4, 1)
    solution = dfp.solve(equation, dfp.Point([0.3]), 6, [6], dfp.Transfer())
    assert any("averages over cells" in warning for warning in solution.certificate.warnings)
    exact = dfp.moments(equation, dfp.Point([0.3]), 6, [6])
    # rounding
    np.testing.assert_allclose(solution.mean, exact.mean, rtol=0, atol=1e-9)


def test_automatic_choice_samples_what_has_too_many_sets():
    equation, start = small(1, 4, 1)
    assert dfp.solve(equation, start, 5).solver == "Transfer"
    equation, start = small(1, 14, 1)
    assert dfp.solve(equation, start, 2, [2]).solver == "MonteCarlo"
