"""Data and functions as people have them: masks, buffers, covariances that are none, values that are no integers."""

import numpy as np
import pytest
from dfp_solvers.characteristic import Univariate
from scipy import stats

import dfp

FEATURES = np.array([[0.5], [-1.0], [2.0], [1.5]])
TARGETS = np.array([1.0, -2.0, 0.5, 3.0])


@pytest.mark.parametrize(
    "given",
    [np.ma.masked_array(FEATURES, FEATURES > 1.9), [np.ma.masked_array([1.0], [True])] * 4],
    ids=["array", "list of arrays"],
)
def test_masked_entries_are_no_data(given):
    with pytest.raises(dfp.DFPError, match=r"masked entr.*leave those rows out"):
        dfp.QuadraticLandscape.from_regression(given, TARGETS)
    # Control: a mask that hides nothing is none.
    open_mask = np.ma.masked_array(FEATURES, np.zeros_like(FEATURES, dtype=bool))
    np.testing.assert_array_equal(
        dfp.QuadraticLandscape.from_regression(open_mask, TARGETS).hessian,
        dfp.QuadraticLandscape.from_regression(FEATURES, TARGETS).hessian,
    )


def test_masked_schedules_and_masked_fields_are_refused():
    bowl = dfp.QuadraticLandscape([1.0], 0.0, dfp.GaussianNoise([1.0]))
    with pytest.raises(dfp.DFPError, match="masked entry"):
        dfp.SGD(bowl, np.ma.masked_array([0.1, 0.2], [False, True]))
    with pytest.raises(dfp.DFPError, match="not finite"):
        dfp.Landscape(lambda x: np.ma.masked_array(x, np.ones_like(x, dtype=bool)), lambda x: np.ones((len(x), 1, 1)))


def _in_place(theta):
    theta *= 2.0
    return theta


BUFFER = np.empty(10**6)


def _one_buffer(theta):
    np.multiply(theta[:, 0], 2.0, out=BUFFER[: len(theta)])
    return BUFFER[: len(theta), None]


@pytest.mark.parametrize(
    "gradient", [_in_place, _one_buffer, lambda theta: 2.0 * theta], ids=["in place", "buffer", "new"]
)
def test_functions_may_write_where_they_like(gradient):
    landscape = dfp.Landscape(gradient, lambda theta: np.ones((len(theta), 1, 1)))
    at = np.array([[0.3], [-0.7]])
    np.testing.assert_array_equal(landscape.gradient_at(at), 2 * at)
    np.testing.assert_array_equal(at, [[0.3], [-0.7]])
    np.testing.assert_allclose(landscape.hessian_at(at)[:, 0, 0], 2.0, rtol=1e-9)  # differences of two calls
    equation = dfp.MasterEquation(dfp.SGD(landscape, 0.1))
    found = dfp.solve(equation, dfp.Gaussian(0.3, 0.01), 5, [5], dfp.MonteCarlo(20_000, seed=1))
    assert abs(found.mean.item() - 0.3 * 0.8**5) < 5 * found.errors["mean"].item()


@pytest.mark.parametrize(
    ("covariance", "words"),
    [
        ([[1.0, 0.9], [0.0, 1.0]], "transpose by 0.9"),
        ([[1.0, 1.2], [1.2, 1.0]], "eigenvalue -0.2"),
        ([[1.0, 0.9], [0.9, 1.0]], None),
        ([[1.0, 1.0], [1.0, 1.0]], None),
    ],
    ids=["skew", "indefinite", "positive", "singular"],
)
def test_covariances_of_functions_are_covariances(covariance, words):
    landscape = dfp.Landscape(lambda t: 1.0 * t, lambda t: np.tile(covariance, (len(t), 1, 1)), dimension=2)
    points = np.array([[0.1, 0.2]])
    if words is None:
        np.testing.assert_array_equal(landscape.covariance_at(points)[0], covariance)
        return
    with pytest.raises(dfp.DFPError, match=words):
        dfp.solve(dfp.MasterEquation(dfp.SGD(landscape, 0.1)), dfp.Gaussian([0.0, 0.0], 0.01), 2, [2])


def test_a_variance_that_turns_negative_is_refused_where_it_does():
    landscape = dfp.Landscape(lambda t: t**3 - t, lambda t: (1 - t**2)[..., None])
    with pytest.raises(dfp.DFPError, match=r"eigenvalue -0\.\d+ at θ = \[1\.\d"):
        dfp.solve(dfp.MasterEquation(dfp.SGD(landscape, 0.1)), dfp.Gaussian(1.0, 0.01), 2, [2])
    assert landscape.covariance_at(np.array([[1.0]])).item() == 0.0


LATTICES = [
    stats.poisson(3.0, loc=0.5), stats.binom(9, 0.3), stats.geom(0.2), stats.nbinom(2.5, 0.4), stats.bernoulli(0.3),
    stats.skellam(3.0, 5.0), stats.rv_discrete(values=([-0.5, 0.25, 1.0], [0.25, 0.5, 0.25]))(loc=0.3),
]  # fmt: skip


@pytest.mark.parametrize("law", LATTICES, ids=lambda law: law.dist.name)
def test_every_value_of_a_discrete_law_is_found(law):
    """Moments of the atoms are SciPy's, and so is the characteristic function where it is summed."""
    found = Univariate(law)
    places, mass = found.atoms
    # rounding
    assert mass.sum() == pytest.approx(1.0, abs=1e-12)
    assert mass @ places == pytest.approx(0.0, abs=1e-9)
    assert mass @ places**2 == pytest.approx(law.var(), rel=1e-9)
    waves = np.linspace(-7, 7, 15)
    np.testing.assert_allclose(found.characteristic(waves), np.exp(1j * np.outer(waves, places)) @ mass, atol=1e-12)
    # Control: integers alone miss values that are none.
    whole = law.pmf(np.arange(-200, 400)).sum()
    assert (whole < 0.9) == (law.dist.name in ("poisson", "Distribution"))


def test_three_values_that_are_no_integers_make_the_variance_they_have():
    values, shares = np.array([-0.5, 0.25, 1.0]), np.array([0.25, 0.5, 0.25])
    noise = dfp.AdditiveNoise(stats.rv_discrete(values=(values, shares))())
    equation = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape([1.0], 0.0, noise), 0.3))
    variance = 0.09 * (shares @ (values - shares @ values) ** 2) * np.sum(0.49 ** np.arange(8)) + 0.01 * 0.49**8
    found = dfp.solve(equation, dfp.Gaussian(0.3, 0.01), 8, [8], dfp.MonteCarlo(50_000, seed=1))
    assert abs(found.covariance.item() - variance) < 5 * found.errors["covariance"].item()
    assert any("single values" in warning for warning in found.certificate.warnings)  # peaks hide in its cells
    wide = dfp.solve(equation, dfp.Gaussian(0.3, 40.0), 8, [8], dfp.MonteCarlo(50_000, seed=1))
    assert not any("single values" in warning for warning in wide.certificate.warnings)


def test_counts_without_end_are_refused_in_words():
    """The tail of a Zipf law: SciPy's own quantiles would sum over 10¹⁰ integers."""
    equation = dfp.MasterEquation(dfp.SGD(dfp.QuadraticLandscape([1.0], 0.0, dfp.AdditiveNoise(stats.zipf(2.5))), 0.3))
    for solver in (dfp.Fourier(), dfp.Transfer(), dfp.MonteCarlo(2048)):
        with pytest.raises(dfp.UnsupportedError, match="more than 100000 of its values"):
            dfp.solve(equation, dfp.Gaussian(0.3, 0.01), 8, [8], solver)


def test_a_law_between_the_integers_is_refused():
    class Halves(stats.rv_discrete):
        def _pmf(self, k):
            return np.where(k == 1, 0.5, 0.0)  # the rest is nowhere

        def _cdf(self, k):
            return np.where(k >= 1, 1.0, np.where(k >= 0.5, 0.5, 0.0))

        def _stats(self):
            return 0.75, 0.0625, 0.0, 0.0

    assert "not on integers" in Univariate(Halves(a=0, b=1, name="halves")()).flaw


def test_a_table_of_which_no_columns_are_named_says_how(tmp_path):
    (tmp_path / "patients.csv").write_text("age,dose,y\n1,2,3\n2,1,4\n3,3,1\n", encoding="utf-8")
    with pytest.raises(dfp.DFPError, match=r"say which, as features=\['age', 'dose'\], target='y'\."):
        dfp.StoredLandscape(tmp_path / "patients.csv", 8)
    with pytest.raises(dfp.DFPError, match="target='y': is among the features"):
        dfp.StoredLandscape(tmp_path / "patients.csv", features=["age", "y"], target="y")
    landscape = dfp.StoredLandscape(tmp_path / "patients.csv", features=["age", "dose"], target="y")
    assert landscape.parameters == ("age", "dose")


def test_a_target_among_the_columns_of_a_data_frame_is_refused():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"age": [1.0, 2.0, 4.0], "dose": [2.0, 1.0, 0.5], "y": [1.0, 0.0, 2.0]})
    with pytest.raises(dfp.DFPError, match="the column 'y' is among the features"):
        dfp.QuadraticLandscape.from_regression(frame, frame["y"])
    assert dfp.QuadraticLandscape.from_regression(frame[["age", "dose"]], frame["y"]).parameters == ("age", "dose")


def test_archives_may_name_the_parameters(tmp_path):
    np.savez(tmp_path / "bowl.npz", hessian=[1.0, 0.5], gradient_noise=[0.3, 0.1], parameters=["age", "dose"])
    landscape = dfp.StoredLandscape(tmp_path / "bowl.npz")
    assert landscape.parameters == ("age", "dose")
    settled = dfp.stationary_moments(dfp.MasterEquation(dfp.SGD(landscape, 0.1)))
    settled.save(tmp_path / "settled.h5")
    assert dfp.rerun(tmp_path / "settled.h5").parameters == ("age", "dose")
    np.savez(tmp_path / "other.npz", hessian=[1.0, 0.5], parameters=["age"])
    with pytest.raises(dfp.DFPError, match="parameters has 1 names: there are 2"):
        dfp.StoredLandscape(tmp_path / "other.npz")


@pytest.mark.parametrize("mark", [";", "\t"])
def test_tables_with_other_marks_between_columns_are_told_to_have_commas(mark, tmp_path):
    (tmp_path / "data.csv").write_text(f"a{mark}y\n1{mark}2\n", encoding="utf-8")
    with pytest.raises(dfp.DFPError, match="between them; save it with commas"):
        dfp.StoredLandscape(tmp_path / "data.csv", features=["a"], target="y")
