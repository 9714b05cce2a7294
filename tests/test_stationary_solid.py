"""Stationary densities of SGD in three dimensions: moments of the grid against exact ones, and what must be refused."""

import numpy as np
import pytest
from numpy.typing import NDArray

import dfp
from dfp.long_time.stationary_numeric import settling_steps
from dfp.methods.moment_recursion import HigherMoments
from dfp.methods.solver import Problem
from dfp.methods.transfer import solid
from dfp.methods.transfer.spectral import SpectralRun

Array = NDArray[np.float64]
LETTERS = "ijkl"
TURN = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
FLUCTUATING = dfp.GaussianNoise([1.0, 0.7, 0.5], [0.4, 0.2, 0.1])


def patients(count: int) -> dfp.QuadraticLandscape:
    rng = np.random.default_rng(4)
    x = rng.standard_normal((count, 3)) @ np.array([[1.0, 0.4, 0.0], [0.0, 0.7, 0.2], [0.0, 0.0, 0.8]])
    return dfp.QuadraticLandscape.from_regression(x, x @ [0.5, -0.3, 0.2] + rng.exponential(1.0, count) - 1)


LANDSCAPES = {
    "axes": dfp.QuadraticLandscape([1.0, 0.5, 0.3], noise=FLUCTUATING),
    "other axes": dfp.QuadraticLandscape(TURN @ np.diag([1.0, 0.5, 0.3]) @ TURN.T, noise=FLUCTUATING),
    "minibatches": patients(300),
}


def of_grid(law: dfp.Density, frame, order: int) -> Array:
    """Return central moments of ``order`` by the law's cells, in deviations of the exact covariance."""
    points, mass = law.grid.points.reshape(-1, 3), law.values.ravel() * law.grid.cell_volume
    apart = (points - frame.mean) / np.sqrt(np.diag(frame.covariance))
    letters = LETTERS[:order]
    return np.einsum("n," + ",".join("n" + c for c in letters) + "->" + letters, mass, *[apart] * order, optimize=True)


def exact(frame, order: int) -> Array:
    """Return those of the recursion."""
    scale, letters = np.sqrt(np.diag(frame.covariance)), LETTERS[:order]
    moments = {2: frame.covariance, 3: frame.third, 4: frame.fourth}[order]
    return moments / np.einsum(",".join(letters) + "->" + letters, *[scale] * order)


@pytest.mark.parametrize(
    ("name", "rate", "batch"), [("axes", 0.1, 1), ("other axes", 0.05, 1), ("minibatches", 0.1, 8)]
)
def test_moments_to_the_fourth_are_exact(name: str, rate: float, batch: int) -> None:
    """Those of the Gaussian with the same mean and covariance, with which the search begins, are not."""
    equation = dfp.MasterEquation(dfp.SGD(LANDSCAPES[name], rate, batch_size=batch))
    law = dfp.stationary(equation, solver=dfp.Transfer())
    assert 0 < law.error < 1e-7  # tails and waves beyond boxes of so many nodes
    moving = HigherMoments(equation, dfp.Point(np.zeros(3)))
    moving.advance(20_000)
    frame = moving.frame()
    gaussian = dfp.Density.normalised(law.grid, dfp.Gaussian(frame.mean, frame.covariance).density(law.grid.points))
    for order, tolerance in ((2, 1e-7), (3, 1e-6), (4, 1e-5)):  # tails beyond the box, some 1e-9 at eight deviations
        assert np.max(np.abs(of_grid(law, frame, order) - exact(frame, order))) < tolerance
    assert np.max(np.abs(of_grid(gaussian, frame, 4) - exact(frame, 4))) > 1e-2


def settled(equation: dfp.MasterEquation, grid: dfp.Grid | None, scale: float) -> SpectralRun:
    moments = dfp.stationary_moments(equation)
    run = SpectralRun(Problem.late(equation, moments_as(moments), settling_steps(equation)), grid, scale=scale)
    run.settle()
    return run


def moments_as(found: dfp.StationaryMoments) -> dfp.Gaussian:
    return dfp.Gaussian(found.mean, found.covariance)


def test_errors_bound_what_finer_boxes_and_sums_of_more_products_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors of a sum of products are the same at every step and add up; the control does not count them."""
    turn = np.linalg.qr(np.random.default_rng(7).normal(size=(3, 3)))[0]
    noise = dfp.GaussianNoise([0.5, 1.0, 0.8], [0.02, 0.05, 0.01])
    landscape = dfp.QuadraticLandscape(turn @ np.diag([0.2, 0.9, 1.4]) @ turn.T, noise=noise)
    equation = dfp.MasterEquation(dfp.SGD(landscape, 0.04))
    run = settled(equation, None, 1.0)
    frame = run.frame()

    def off(other: SpectralRun) -> float:
        return float(np.abs(other.values(list(run.grid.axes)) - frame.density).sum()) * run.grid.cell_volume

    with monkeypatch.context() as tight:
        tight.setattr(solid, "SPLIT", {True: 2e-11, False: 2e-11})
        true = off(settled(equation, run.grid, 1.15))
    assert true < 3 * frame.truncation < 1e-7  # tails and waves beyond boxes of so many nodes
    monkeypatch.setattr(solid, "SPLIT", {True: 1e-7, False: 1e-7})
    monkeypatch.setattr(SpectralRun, "_lacking", 0.0)
    rough = settled(equation, run.grid, 1.0)
    assert off(rough) > 3 * rough.frame().truncation


def test_a_step_leaves_it_as_it_is() -> None:
    equation = dfp.MasterEquation(dfp.SGD(LANDSCAPES["axes"], 0.1))
    law = dfp.stationary(equation, solver=dfp.Transfer())
    moved = dfp.solve(equation, law, 20, [20], dfp.Transfer(), law.grid)
    apart = float(np.abs(moved.density[0] - law.values).sum()) * law.grid.cell_volume
    assert apart < 3 * law.error + float(moved.certificate.error[0])
    louder = dfp.MasterEquation(dfp.SGD(LANDSCAPES["axes"], 0.101))
    moved = dfp.solve(louder, law, 20, [20], dfp.Transfer(), law.grid)
    assert float(np.abs(moved.density[0] - law.values).sum()) * law.grid.cell_volume > 1e-4


def test_few_minibatches_with_heavy_tails_are_refused_with_what_a_grid_would_take() -> None:
    equation = dfp.MasterEquation(dfp.SGD(patients(6), 0.1))
    with pytest.raises(dfp.UnresolvedError, match=r"takes cells=\([0-9]+, [0-9]+, [0-9]+\), and in 3D at most 96"):
        dfp.stationary(equation, solver=dfp.Transfer())
