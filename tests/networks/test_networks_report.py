"""Reports: verdicts that can fail, files that return everything, pages and figures that are complete."""

import warnings

import numpy as np
import pytest
from matplotlib import pyplot

import dfp
from dfp.networks import claims, scores
from dfp.networks.diagnostics import power_law

torch = pytest.importorskip("torch")

from networks_models import problem  # noqa: E402


@pytest.fixture(scope="module")
def measured():
    return dfp.networks.measure(problem(samples=120), 8)


@pytest.fixture(scope="module")
def report(measured):
    runs = dfp.networks.trajectories(measured.source, 0.1, 8, 256, 60, seed=1)
    return dfp.networks.report(measured, runs)


def verdict(report, words):
    (found,) = [claim for claim in report.claims if words in claim.claim]
    return found


def test_the_closure_describes_the_runs_and_the_authors_formula_does_not(report):
    assert verdict(report, "Gaussian closure").verdict in ("holds", "undecided")
    assert verdict(report, "authors' formula").verdict == "fails"
    assert report.fails_from["authors"] == 1
    assert report.predictions.trusted_until == 60


def test_a_wrong_prediction_fails(report):
    """Negative control: variances half as large again are told from the runs."""
    wrong = {n: m._replace(variance=m.variance * 1.5) for n, m in report.predictions.moments.items()}
    predictions = dfp.networks.Predictions(report.predictions.rule, report.steps, wrong, report.predictions.closure)
    assert (
        verdict(dfp.networks.Report(report.measured, predictions, report.runs), "Gaussian closure").verdict == "fails"
    )


def test_the_floor_is_that_of_perfect_predictions():
    """Of Gaussian runs along independent directions it is .6745 √(2/R) to some per cent; alike ones scatter more."""
    rng = np.random.default_rng(0)
    positions = rng.standard_normal((3, 200, 400))
    floor = scores.floor(positions)
    np.testing.assert_allclose(floor.expected, 0.6745 * np.sqrt(2 / 200), rtol=0.05)
    perfect = scores.score(np.zeros((3, 400)), np.ones((3, 400)), positions)
    assert np.all(perfect.error < floor.high * 1.05) and np.all(perfect.worst_variance_z < 5)
    # Logarithms of variances that scatter by s have errors of variance 2/R: log-correlation 1/√(1 + 2/(R s²)), a floor
    # that no prediction passes; by 400 directions 1 − r is known to some 10 %.
    spread = np.exp(rng.standard_normal(400))
    wide = scores.floor(positions * spread)
    limit = 1 - 1 / np.sqrt(1 + 2 / 200 / np.var(2 * np.log(spread)))
    np.testing.assert_allclose(1 - wide.correlations, limit, rtol=0.3)
    met = scores.score(np.zeros((3, 400)), np.tile(spread**2, (3, 1)), positions * spread)
    assert np.all(met.correlation > wide.correlation)
    crude = scores.score(
        np.zeros((3, 400)), np.tile(spread, (3, 1)) ** 2 * np.exp(0.4 * rng.standard_normal(400)), positions * spread
    )
    assert np.all(crude.correlation < wide.correlation)  # control: errors of 40 % are seen
    shared = rng.standard_normal((3, 200, 1)) * np.ones(400)
    assert scores.floor(shared).high[0] > 1.5 * floor.high[0]


def test_before_the_runs_the_closure_says_where_it_fails(measured):
    """Minibatches of one sample and a large learning rate: no runs are made at all."""
    bold = dfp.networks.predict(measured, 2.0, 1, 200, only=["closure"], seed=3)
    assert bold.trusted_until < 200 and "not to be trusted beyond" in str(bold)
    careful = dfp.networks.predict(measured, 0.02, 8, 200, only=["closure"], seed=3)
    assert careful.trusted_until == 200


def test_files_return_the_report(report, tmp_path):
    path = tmp_path / "report.h5"
    report.save(path)
    found = dfp.load(path)
    assert str(found) == str(report) and repr(found) == repr(report) and len(repr(report)) < 200
    assert "<pre>" in report._repr_html_()
    for name, moments in report.predictions.moments.items():
        assert np.array_equal(found.predictions.moments[name].variance, moments.variance, equal_nan=True)
    for name, values in vars(report.measured).items():
        if isinstance(values, np.ndarray):
            kept = getattr(found.measured, name)
            assert np.array_equal(kept, values) and kept.dtype == values.dtype
    assert found.measured.source is None and found.measured.errors.keys() == report.measured.errors.keys()
    assert np.array_equal(found.runs.positions, report.runs.positions)
    dataset = report.to_xarray()
    assert dataset.closure_variance.dims == ("step", "direction") and dataset.hessian.units == "loss parameter-2"
    with pytest.importorskip("xarray").open_dataset(path) as opened:
        assert opened.load().identical(dataset)


def test_a_report_from_arrays_is_kept_too(report, tmp_path):
    """Without a closure, and without what only a network tells: derivatives, held-out minibatches."""
    source = report.measured.source
    hessians = np.concatenate(list(source.sample_products(np.eye(source.dimension))))
    arrays = dfp.networks.Problem.from_arrays(source.gradients(), hessians, checkpoint=source.checkpoint)
    measured = dfp.networks.measure(arrays, 8)
    runs = dfp.networks.trajectories(source, 0.1, 8, 8, 5, directions=measured.directions)
    made = dfp.networks.report(measured, runs)
    made.save(tmp_path / "arrays.h5")
    found = dfp.load(tmp_path / "arrays.h5")
    assert str(found) == str(made) and found.predictions.closure is None
    assert not found.measured.diagnostics.third.size


def test_the_page_is_whole(report, tmp_path):
    path = tmp_path / "report.html"
    report.to_html(path)
    text = path.read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == 5 and 'src="http' not in text
    assert all(word in text for word in ("Gaussian closure", "holds", "fails", "undecided") if word in str(report))
    with pytest.raises(dfp.DFPError, match="does not exist"):
        report.to_html(tmp_path / "none" / "report.html")


@pytest.mark.parametrize("name", ["errors", "spectrum", "scatter", "density"])
def test_figures_have_axes_and_a_question(report, name):
    figure = report.plot(name)
    titles = [figure.get_suptitle(), *(axis.get_title() for axis in figure.axes)]
    assert any("?" in title for title in titles)
    assert all(axis.get_xlabel() for axis in figure.axes if axis.get_label() != "<colorbar>")
    _, ax = pyplot.subplots()
    drawn = [axis for axis in report.plot(name, ax=ax, title="Own").axes if axis.get_label() != "<colorbar>"]
    assert drawn == [ax] and ax.get_title() == "Own" and ax.has_data()
    pyplot.close("all")


def test_any_figure_of_a_report_is_drawn_by_name(report):
    assert dfp.plot(report, name="spectrum", style="paper").axes
    with pytest.raises(dfp.DFPError, match="all steps"):
        dfp.plot(report, steps=[1])
    pyplot.close("all")


def test_wrong_figures_are_named(report):
    with pytest.raises(dfp.DFPError, match="name='pie'"):
        report.plot("pie")
    with pytest.raises(dfp.DFPError, match="one or two"):
        report.plot("density", modes=(0, 1, 2))
    with pytest.raises(dfp.DFPError, match="was not saved"):
        report.plot("density", step=59)
    with pytest.raises(dfp.DFPError, match="with replacement"):
        report.plot("epoch")


def test_two_directions_and_a_table(report):
    assert report.plot("density", modes=(0, 1)).axes
    table = report.to_dataframe()
    assert len(table) == 27 and {"curvature", "variance", "closure", "regime"} <= set(table.columns)


def test_epochs(measured):
    save = [0, 1, 2, 4, 8, 12, 14, 15, 16, 20, 30]
    runs = dfp.networks.trajectories(measured.source, 0.02, 8, 256, 30, save=save, replace=False, seed=1)
    report = dfp.networks.report(measured, runs)
    assert verdict(report, "epoch").verdict == "holds"
    assert report.plot("epoch").axes
    assert "independent minibatches" in report.predictions.moments["table"].note
    # Control: the variance with replacement is not that of an epoch's end.
    wrong = report.predictions.moments["langevin"].variance
    predictions = dfp.networks.Predictions(
        report.predictions.rule, report.steps,
        {"additive": report.predictions.moments["additive"]._replace(variance=wrong)},
        report.predictions.closure,
    )  # fmt: skip
    assert claims._epoch(dfp.networks.Report(measured, predictions, report.runs)).verdict == "fails"


def test_diffusion_is_proportional_to_the_learning_rate(measured):
    """Three learning rates small enough for the noise to stay that of the checkpoint."""
    ensembles = [dfp.networks.trajectories(measured.source, rate, 8, 256, 4, seed=7) for rate in (0.005, 0.01, 0.02)]
    found = dfp.networks.diffusion(measured, ensembles)
    assert found.directions > 5 and found.claims[0].verdict == "holds"
    assert abs(found.exponent - 2) < 0.1  # the same minibatches at every rate: noise cancels from the ratio
    np.testing.assert_allclose(found.slopes, found.predicted, rtol=0.25)  # 256 runs, shared by few sources of noise
    assert found.plot().axes
    with pytest.raises(dfp.DFPError, match="at least two"):
        dfp.networks.diffusion(measured, ensembles[:1])
    with pytest.raises(dfp.DFPError, match="was not saved"):
        dfp.networks.diffusion(measured, ensembles, step=7)


def test_a_power_law_is_found_again():
    """p = 1.4 and ε = 10⁻³ from 200 directions with a scatter of 20 %; the interval holds the truth, and not p = 1."""
    rng = np.random.default_rng(1)
    curvatures = np.geomspace(1e-6, 10, 200)
    noise = 0.3 * (curvatures + 1e-3) ** 1.4 * np.exp(0.2 * rng.standard_normal(200))
    law = power_law(curvatures, noise, 0)
    low, high = law.exponent_interval
    assert low < 1.4 < high and not low < 1 < high
    assert law.epsilon_interval[0] < 1e-3 < law.epsilon_interval[1]


def test_reports_of_other_problems_are_refused(measured, report):
    other = dfp.networks.measure(problem(samples=60), 8)
    with pytest.raises(dfp.DFPError, match="same problem"):
        dfp.networks.report(other, report.runs)
    predictions = dfp.networks.predict(measured, 0.2, 8, 60, report.steps.tolist(), only=["authors"])
    with pytest.raises(dfp.DFPError, match="another way of running"):
        dfp.networks.report(measured, report.runs, predictions)
    with pytest.raises(dfp.DFPError, match="must be what"):
        dfp.networks.report(measured, measured)
    with pytest.raises(dfp.DFPError, match="at most the 120 samples"):
        dfp.networks.predict(measured, 0.1, 121, replace=False)
    with pytest.raises(dfp.DFPError, match="only='magic'"):
        dfp.networks.predict(measured, 0.1, only=["magic"])


def test_nothing_is_said_twice(report):
    """Tables and verdicts come without warnings, also from directions that never move."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert str(report).count("median error of the variance at step") == 1
