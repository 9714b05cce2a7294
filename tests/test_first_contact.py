"""What newcomers type: names of solvers, numbers as arrays, Hessians of single precision, laws to compare."""

import numpy as np
import pytest

import dfp


def one_mode(rate=0.1, **options):
    return dfp.SGD(dfp.QuadraticLandscape(1.0, 0.0, dfp.GaussianNoise(0.5)), rate, **options)


@pytest.mark.parametrize("name", ["fourier", "hermite", "transfer", "moment_recursion"])
def test_solvers_by_name(name):
    solution = dfp.solve(dfp.MasterEquation(one_mode()), dfp.Gaussian(1.0, 0.1), 5, solver=name)
    assert solution.solver.lower() == name.replace("_", "")
    with pytest.raises(dfp.DFPError, match="'fourier'"):
        dfp.solve(dfp.MasterEquation(one_mode()), dfp.Gaussian(1.0, 0.1), 5, solver="furier")


def test_names_are_those_of_configuration_files():
    from dfp.config.config import _KINDS
    from dfp.solving.choice import BY_NAME

    assert set(BY_NAME) == set(_KINDS["solver"]) - {"auto", "monte_carlo"}


def test_arrays_without_axes_are_numbers():
    sgd = one_mode(np.array(0.1), momentum=np.array(0.5))
    assert sgd.learning_rate == 0.1 and sgd.momentum == 0.5
    assert dfp.moments(dfp.MasterEquation(sgd), dfp.Gaussian(1.0, 0.1), np.array(3)).steps[-1] == 3


def test_hessians_of_single_precision():
    exact = np.array([[1.0, 0.3], [0.3, 2.0]])
    given = exact + np.array([[0.0, 1e-7], [-1e-7, 0.0]])
    # The average of 0.3 ± 1e-7 is 0.3 to rounding.
    np.testing.assert_allclose(dfp.QuadraticLandscape(given).hessian, exact, atol=1e-15)
    with pytest.raises(dfp.DFPError, match="symmetric"):  # control: what is no rounding is refused
        dfp.QuadraticLandscape(exact + np.array([[0.0, 1e-4], [-1e-4, 0.0]]))


def test_stationary_laws_are_compared():
    sgd = one_mode(0.5)
    laws = {"SGD": dfp.stationary(dfp.MasterEquation(sgd)), "Langevin": dfp.stationary(dfp.Langevin(sgd))}
    found = dfp.compare(laws).at("Langevin", 0)
    # (T10): variances ηD/(λ(2−ηλ)) and ηD/(2λ).
    sigma, other = np.sqrt(0.25 / 1.5), np.sqrt(0.125)
    from scipy.stats import norm

    cross = np.sqrt(np.log(sigma / other) * 2 / (1 / other**2 - 1 / sigma**2))
    wanted = 2 * (norm.cdf(cross / other) - norm.cdf(cross / sigma))
    assert found.total_variation.value == pytest.approx(wanted, abs=1e-6)  # quintic splines on eighths of cells
    assert found.wasserstein.value == pytest.approx((sigma - other) * np.sqrt(2 / np.pi), rel=1e-4)
    late = dfp.solve(dfp.MasterEquation(sgd), dfp.Gaussian(1.0, 0.1), 200, [0, 200])
    mixed = dfp.compare({"law": laws["SGD"], "late": late})
    # Splines between cells of different grids add some 2e-6.
    assert mixed.at("late", 200).total_variation.value < 1e-5 < mixed.at("late", 0).total_variation.value


def test_slow_times_are_compared():
    slow, fast = one_mode(0.02, momentum=0.5), one_mode(0.04)
    start = dfp.Gaussian(1.0, 0.1)
    a = dfp.solve(dfp.Langevin(fast), start, 100, [0, 50, 100])
    b = dfp.solve(dfp.Langevin(one_mode(0.02)), start, 200, [0, 100, 200])
    found = dfp.compare({"η": a, "η/2": b}, at="time")
    assert [distance.step for distance in found.distances] == [0, 50, 100]
    assert found.at("η/2", 50).mean.value < 1e-9  # the mean of (T6) depends on slow time alone
    assert [d.step for d in dfp.compare({"a": a, "b": b}).distances] == [0, 100]
    assert slow.momentum == 0.5
    with pytest.raises(dfp.DFPError, match="at="):
        dfp.compare({"a": a, "b": b}, at="epoch")
    assert "slow time 4" in dfp.plot({"η": a, "η/2": b}, at="time").get_suptitle()
    with pytest.raises(dfp.DFPError, match='at="time"'):
        dfp.plot({"a": a.at([50]), "b": b.at([200])})
    with pytest.raises(dfp.DFPError, match="no saved time"):
        dfp.compare({"a": a.at([50]), "b": b.at([200])}, at="time")


def test_comparisons_are_tables():
    pytest.importorskip("pandas")
    solutions = {name: dfp.solve(dfp.Langevin(one_mode(rate)), dfp.Gaussian(1.0, 0.1), 9) for name, rate in
                 (("a", 0.1), ("b", 0.2))}  # fmt: skip
    found = dfp.compare(solutions)
    frame = found.to_dataframe()
    assert list(frame["step"]) == [0, 9] and frame["total_variation"][1] == found.at("b", 9).total_variation.value
    assert frame["mean_lower"][1] == found.at("b", 9).mean.lower and len(repr(found)) < 80


def test_numbers_of_cells_keep_the_automatic_box():
    equation, start = dfp.MasterEquation(one_mode()), dfp.Gaussian(1.0, 0.1)
    free = dfp.solve(equation, start, 20)
    counted = dfp.solve(equation, start, 20, grid=np.int64(200))
    assert counted.grid == dfp.Grid(free.grid.lower, free.grid.upper, 200) != free.grid
    # Both are spectrally accurate: what is left is rounding.
    there = counted.interpolate(free.grid.axes[0][:, None])[-1]
    np.testing.assert_allclose(there, free.density[-1], atol=1e-4 * free.density[-1].max())  # quintic splines
    law, box = dfp.stationary(equation, 200), dfp.stationary(equation).grid
    assert law.grid == dfp.Grid(box.lower, box.upper, 200) and law.mass == pytest.approx(1.0, abs=1e-6)
    along = dfp.solve(equation, start, 20, grid=128, directions=[[1.0]])
    assert along.grid.cells == (128,)
    for wrong, words in ((2, "at least 4"), (True, "integer"), (12.5, "number of cells")):
        with pytest.raises(dfp.DFPError, match=words):
            dfp.solve(equation, start, 20, grid=wrong)
        with pytest.raises(dfp.DFPError, match=words):
            dfp.stationary(equation, wrong)


def test_numbers_may_be_arrays_without_axes():
    """As NumPy gives them where axes are reduced."""
    sgd = dfp.SGD(dfp.QuadraticLandscape(np.array(1.0), noise=dfp.GaussianNoise(np.array(0.5))), np.array(0.1))
    start = dfp.Gaussian(np.array(1.0), np.array(0.1))
    found = dfp.solve(dfp.MasterEquation(sgd), start, np.array(4), grid=np.array(40))
    plain = dfp.SGD(dfp.QuadraticLandscape(1.0, noise=dfp.GaussianNoise(0.5)), 0.1)
    wanted = dfp.solve(dfp.MasterEquation(plain), dfp.Gaussian(1.0, 0.1), 4, grid=40)
    assert sgd == plain and np.array_equal(found.density, wanted.density)
    assert dfp.Grid(np.array(-1.0), np.array(1.0), np.array(10)) == dfp.Grid(-1.0, 1.0, 10)
