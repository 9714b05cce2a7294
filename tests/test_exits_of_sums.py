"""Exits under minibatches of many samples, as they are: kernels from the characteristic function of a step.

Truths: Gaussian noise, whose kernels are in closed form; a chain on a lattice, whose laws of minibatches are repeated
convolutions of positive numbers, freed of its error by three lattices; trajectories.
"""

import numpy as np
import pytest
from dfp_solvers.escape import line

import dfp
from dfp.long_time import first_passage_waves
from dfp.long_time.first_passage_line import NarrowKernel, by_panels

# Of 100 comparisons less than one in a hundred runs fails by chance.
Z = 4.0


def box(sgd: dfp.SGD, half: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners of a box of so many stationary deviations about the critical point."""
    deviation = np.sqrt(np.diag(dfp.stationary_moments(dfp.MasterEquation(sgd)).covariance))
    return sgd.critical_point - half * deviation, sgd.critical_point + half * deviation


def regression(d: int, batch_size: int, learning_rate: float = 0.1) -> dfp.SGD:
    """Return SGD of a regression with skewed residuals."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(300, d))
    y = x[:, 0] + rng.exponential(size=300) - 1
    return dfp.SGD(dfp.QuadraticLandscape.from_regression(x, y, batch_size=batch_size), learning_rate)


@pytest.mark.parametrize(("d", "half"), [(1, 2.5), (1, 8.0), (2, 2.5)])
def test_waves_of_gaussian_noise_give_what_its_kernels_give(d, half):
    curvature = np.diag([1.0, 1.4][:d]) + 0.2 * (1 - np.eye(d))
    noise = dfp.GaussianNoise(0.5 * np.eye(d) + 0.1, np.full((d, d), 0.3))
    sgd = dfp.SGD(dfp.QuadraticLandscape(curvature, noise=noise), 0.1)
    equation, (lower, upper), start = dfp.MasterEquation(sgd), box(sgd, half), dfp.Point(np.zeros(d))
    closed = dfp.exit_steps(equation, (lower, upper), start, 50)
    found = first_passage_waves.law(equation, lower, upper, np.zeros((1, d)), np.ones(1), 50)
    assert abs(found.mean - closed.mean) <= found.mean_error + closed.mean_error + 1e-11 * closed.mean
    # Kernels of the coarser law end at 7.5 deviations, or 4e-13 of their peaks: rare exits lose most by it, 5e-5.
    assert found.mean_error < 1e-4 * closed.mean
    assert np.max(np.abs(found.survival - closed.survival)) <= found.error + 1e-12


def lattice_mean(sgd: dfp.SGD, lower: float, upper: float, cells: int) -> float:
    """Return the mean exit from the critical point by a chain on a lattice of an odd number of cells."""
    law, spacing = sgd.noise, (upper - lower) / cells
    places = lower + (np.arange(cells) + 0.5) * spacing
    single = law.with_batch_size(1).minibatches()
    band, leaving = np.zeros((cells, 2 * cells - 1)), np.zeros(cells)
    for i, place in enumerate(places):
        gradients = single.hessians[:, 0, 0] * place + single.gradients[:, 0]
        moved = -sgd.learning_rate / law.batch_size * gradients
        alone, first = on_lattice((moved - moved.mean()) / spacing, single.weights)
        together = np.ones(1)
        for _ in range(law.batch_size):
            together = np.convolve(together, alone)
        ends, middle = on_lattice(np.array([law.batch_size * moved.mean() / spacing]), np.ones(1))
        together = np.convolve(together, ends)
        at = i + law.batch_size * first + middle + np.arange(len(together))
        inside = (at >= 0) & (at < cells)
        band[i, at[inside] - i + cells - 1] = together[inside]
        leaving[i] = together[~inside].sum()
    return float(line.LineStep(band, cells - 1, leaving).expected(np.ones(cells))[cells // 2])


def on_lattice(values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, int]:
    """Return masses of neighbouring cells that keep the mean of every value, and the index of the first."""
    below = np.floor(values).astype(int)
    share, index = values - below, below - below.min()
    masses = np.zeros(index.max() + 2)
    np.add.at(masses, index, weights * (1 - share))
    np.add.at(masses, index + 1, weights * share)
    return masses / masses.sum(), int(below.min())


def test_rare_exits_of_few_minibatches_against_a_lattice():
    sgd = regression(1, 8)
    lower, upper = (corner.item() for corner in box(sgd, 6.0))
    found = dfp.exit_steps(dfp.MasterEquation(sgd), (lower, upper), dfp.Point(sgd.critical_point))
    rough, middle, fine = (lattice_mean(sgd, lower, upper, cells) for cells in (301, 601, 1201))
    # Errors of order two, then four, in the spacing, which falls by 301/601 and 601/1201, a half to 3e-3.
    second = [middle + (middle - rough) / 3, fine + (fine - middle) / 3]
    truth = second[1] + (second[1] - second[0]) / 15
    assert 7.0e7 < found.mean < 7.2e7
    # Extrapolations differ by 3e-3; the last one errs by a tenth of that.
    assert found.mean == pytest.approx(truth, rel=5e-4)
    assert found.mean_error < 1e-3 * found.mean
    # Control: Gaussian steps of the same covariance are far off.
    assert abs(gaussian(sgd, lower, upper) / truth - 1) > 0.2


def gaussian(sgd: dfp.SGD, lower: float, upper: float) -> float:
    """Return the mean exit from the critical point of steps that are taken to be Gaussian (d = 1)."""
    ends = np.array([lower]), np.array([upper])
    return by_panels(dfp.MasterEquation(sgd), *ends, line.LENGTH, sgd.critical_point[None], np.ones(1)).mean


@pytest.mark.parametrize(("d", "batch_size", "half"), [(1, 3, 2.5), (1, 8, 2.5), (2, 16, 1.0)])
def test_minibatches_as_they_are_against_trajectories(d, batch_size, half):
    sgd = regression(d, batch_size)
    equation, domain, start = dfp.MasterEquation(sgd), box(sgd, half), dfp.Point(sgd.critical_point)
    found = dfp.exit_steps(equation, domain, start, 100)
    drawn = dfp.exit_steps(equation, domain, start, 100, trajectories=400_000 // d**2, seed=11)
    assert not found.warnings
    assert abs(found.mean - drawn.mean) < Z * drawn.mean_error + found.mean_error
    apart = np.abs(found.survival - drawn.survival)[[1, 3, 10, 30, 100]]
    assert np.all(apart < Z * drawn.standard_error[[1, 3, 10, 30, 100]] + found.error)
    # Control: steps that are taken to be Gaussian.
    if d == 1:
        (lower,), (upper,) = domain
        assert abs(gaussian(sgd, lower, upper) - drawn.mean) > Z * drawn.mean_error + found.mean_error


def test_a_lattice_of_values_is_told_from_smooth_steps():
    """Two samples, 1 and -1: sums of 64 are a lattice of a quarter of a deviation, whose walls are elsewhere."""
    land = dfp.QuadraticLandscape.from_regression(np.ones((2, 1)), np.array([1.0, -1.0]), batch_size=64)
    sgd = dfp.SGD(land, 0.1)
    equation, (lower, upper) = dfp.MasterEquation(sgd), box(sgd, 2.5)
    maps = dfp.exit_steps(equation, (lower, upper), dfp.Point(0.0), 100)
    smooth = first_passage_waves.law(equation, lower, upper, np.zeros((1, 1)), np.ones(1), 100)
    assert 10 * maps.mean_error < abs(smooth.mean - maps.mean) < smooth.mean_error
    assert np.max(np.abs(smooth.survival - maps.survival)) < smooth.error


def test_exits_too_rare_for_minibatches_this_few_are_refused_in_words():
    sgd = regression(1, 1)
    lower, upper = box(sgd, 6.0)
    with pytest.raises(NarrowKernel, match="ripples of few minibatches"):
        first_passage_waves.law(dfp.MasterEquation(sgd), lower, upper, sgd.critical_point[None], np.ones(1), None)
    sgd = regression(2, 8)
    with pytest.raises(dfp.UnresolvedError, match=r"to be Gaussian.*smaller box.*trajectories="):
        dfp.exit_steps(dfp.MasterEquation(sgd), (-30.0 * np.ones(2), 30.0 * np.ones(2)), dfp.Point(sgd.critical_point))


def test_noise_that_is_narrow_in_some_direction_is_taken_as_it_is_or_refused_in_words():
    """Two features of correlation .97, whose series take many waves; and two that are one, where steps are certain."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(300, 2)) @ np.array([[1.0, 0.97], [0.0, 0.24]])
    y = x @ [1.0, -0.5] + rng.normal(size=300)
    sgd = dfp.SGD(dfp.QuadraticLandscape.from_regression(x, y, batch_size=64), 0.3)
    domain = sgd.critical_point - 0.1, sgd.critical_point + 0.1
    equation, start = dfp.MasterEquation(sgd), dfp.Point(sgd.critical_point)
    found = dfp.exit_steps(equation, domain, start, 50)
    drawn = dfp.exit_steps(equation, domain, start, 50, trajectories=100_000, seed=2)
    apart = np.abs(found.survival - drawn.survival)[[1, 3, 10, 30, 50]]
    assert np.all(apart < Z * drawn.standard_error[[1, 3, 10, 30, 50]] + found.error)
    same = np.repeat(x[:, :1], 2, axis=1)
    sgd = dfp.SGD(dfp.QuadraticLandscape.from_regression(same, y, batch_size=64), 0.3)
    with pytest.raises(dfp.DFPError):
        dfp.exit_steps(dfp.MasterEquation(sgd), (-np.ones(2), 2 * np.ones(2)), dfp.Point([0.5, 0.0]), 20)
