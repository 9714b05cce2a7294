"""Experiments out of the box: data, models, settings, and the commands from end to end in their quick forms."""

import gzip

import numpy as np
import pytest
from typer.testing import CliRunner

import dfp
from dfp.networks import datasets, settings

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from dfp.cli import app  # noqa: E402
from dfp.networks import experiment, models, training  # noqa: E402

SMALL = """
[model]
hidden = 2
[data]
size = 3
count = 60
[training]
epochs = 3
polish = 5
[[runs]]
learning_rate = 0.1
batch_size = 8
runs = 16
steps = 12
[[runs]]
learning_rate = 0.1
batch_size = 8
runs = 16
steps = 9
replace = false
every_step = true
[sweep]
learning_rates = [0.05, 0.1]
batch_size = 8
runs = 16
steps = 2
"""


def call(*words):
    return CliRunner().invoke(app, ["networks", "run", *map(str, words)])


def test_a_file_becomes_a_page_files_and_figures(tmp_path):
    file, out = tmp_path / "small.toml", tmp_path / "out"
    file.write_text(SMALL, encoding="utf-8")
    result = call(file, "-o", out)
    assert result.exit_code == 0, result.output
    text = (out / "report.html").read_text(encoding="utf-8")
    assert "Learning rates" in text and "without replacement" in text
    found = dfp.load(out / "small-report-1.h5")
    assert found.runs.count == 16 and found.measured.dimension == 9 * 2 + 2 + 2 * 10 + 10
    drawn = {path.name for path in (out / "figures").iterdir()}
    assert {"small-1-spectrum.png", "small-1-scatter.pdf", "small-2-epoch.png", "small-diffusion.png"} <= drawn
    # Again: runs that are there are not made again.
    before = (out / "small-runs-1.h5").stat().st_mtime_ns
    assert call(file, "-o", out).exit_code == 0
    assert (out / "small-runs-1.h5").stat().st_mtime_ns == before


@pytest.mark.parametrize("name", ["vision", "language"])
def test_quick_forms_run_and_describe_the_runs(name, tmp_path):
    """The closure is not told from the runs by its error, and the authors' formula is."""
    result = call(name, "--quick", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    (path,) = tmp_path.glob("*-report-1.h5")
    report = dfp.load(path)
    verdicts = {claim.claim.split(" describes")[0]: claim.verdict for claim in report.claims}
    assert verdicts["authors' formula"] == "fails"
    assert verdicts["Gaussian closure"] in ("holds", "undecided")
    if name == "vision":  # all eigenvectors: nothing leaks in from outside
        assert report.predictions.trusted_until == report.steps[-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("hidden = 2", "hidden = 0"), "model.hidden"),
        (("hidden = 2", "hiden = 2"), "model.hiden"),
        (("learning_rate = 0.1", "learning_rate = -1"), "runs.0.learning_rate"),
        (("[data]", "[data]\nkind = 'text'"), "transformer reads text"),
        (("[data]", "[data]\nkind = 'mnist'"), "data.images"),
        (("[model]", "[model"), "no TOML file"),
        (("runs = 16", "runs = 2"), "runs.0.runs"),
        (("size = 3", "size = 30"), "size=30"),
        (("batch_size = 8\nruns", "batch_size = 8000\nruns"), "batch_size=8000"),
        (("learning_rates = [0.05, 0.1]", "learning_rates = [0.05]"), "sweep.learning_rates"),
    ],
)
def test_wrong_files_end_in_one_message(tmp_path, change, message):
    file = tmp_path / "wrong.toml"
    file.write_text(SMALL.replace(*change), encoding="utf-8")
    result = call(file, "-o", tmp_path / "out")
    assert result.exit_code == 2 and message in result.output and "Traceback" not in result.output


def test_wrong_calls_end_in_one_message(tmp_path):
    assert "give vision, language" in call(tmp_path / "none.toml", "-o", tmp_path / "out").output
    (tmp_path / "taken").write_text("", encoding="utf-8")
    assert "is not a folder" in call("vision", "-o", tmp_path / "taken").output
    file = tmp_path / "small.toml"
    file.write_text(SMALL, encoding="utf-8")
    assert "--quick" in call(file, "--quick", "-o", tmp_path / "out").output


def test_full_forms_are_as_large_as_promised():
    mlp, *_ = settings.named("vision", False)
    assert all(one.runs >= 256 and one.steps >= 2000 for one in mlp.runs if one.replace)
    (language,) = settings.named("language", False)
    assert language.runs[0].runs >= 48 and language.runs[0].steps >= 400
    windows = datasets.text(length=language.data.length, count=8)
    network = models.Transformer(len(windows.symbols), language.data.length)
    assert sum(p.numel() for p in network.parameters()) >= 10_000
    assert language.measure.modes >= 32 and language.measure.flat >= 32


def test_pooling_keeps_the_mean():
    images = np.random.default_rng(0).random((3, 8, 8))
    for size in (1, 2, 4, 8, 3, 6):
        made = datasets.pooled(images, size)
        assert made.shape == (3, size, size)
        np.testing.assert_allclose(made.mean(axis=(1, 2)), images.mean(axis=(1, 2)), rtol=1e-12)


def test_mnist_files(tmp_path):
    pixels = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4)
    head = np.array([2051, 2, 4, 4], ">i4").tobytes()
    (tmp_path / "images.gz").write_bytes(gzip.compress(head + pixels.tobytes()))
    (tmp_path / "labels").write_bytes(np.array([2049, 2], ">i4").tobytes() + bytes([7, 1]))
    images, labels = datasets.mnist(tmp_path / "images.gz", tmp_path / "labels", size=4)
    np.testing.assert_allclose(images, pixels / 255)
    assert labels.tolist() == [7, 1]
    with pytest.raises(dfp.DFPError, match="no idx file"):
        datasets.mnist(tmp_path / "labels", tmp_path / "labels")
    (tmp_path / "short").write_bytes(head + pixels.tobytes()[:-1])
    with pytest.raises(dfp.DFPError, match="cut short"):
        datasets.mnist(tmp_path / "short", tmp_path / "labels")
    with pytest.raises(dfp.DFPError, match="cannot be read"):
        datasets.mnist(tmp_path / "none", tmp_path / "labels")


def test_text_windows(tmp_path):
    windows = datasets.text(length=16, count=10)
    assert windows.inputs.shape == (10, 16)
    assert np.array_equal(windows.inputs[:, 1:], windows.targets[:, :-1])
    assert len("".join(windows.symbols[i] for i in windows.inputs[0]).split()) > 1  # English, in words
    (tmp_path / "own.txt").write_text("abc" * 20, encoding="utf-8")
    assert datasets.text(tmp_path / "own.txt", 8, 4).symbols == "abc"
    with pytest.raises(dfp.DFPError, match="need more"):
        datasets.text(tmp_path / "own.txt", 80, 4)
    with pytest.raises(dfp.DFPError, match="cannot be read"):
        datasets.text(tmp_path / "none.txt")


@pytest.mark.parametrize(
    "make",
    [lambda: models.mlp(16, 3), lambda: models.cnn(4, 2), lambda: models.Transformer(5, 4, 6, 2, 2)],
    ids=("mlp", "cnn", "transformer"),
)
def test_models_have_per_sample_derivatives(make):
    """Also of second order: attention is written so that every product of it has a derivative."""
    torch.manual_seed(0)
    made = make()
    text = isinstance(made, models.Transformer)
    x = torch.randint(0, 5, (6, 4)) if text else torch.rand(6, 4, 4)
    y = torch.randint(0, 5, (6, 4)) if text else torch.randint(0, 10, (6,))
    problem = dfp.networks.Problem(made, models.text_loss if text else models.image_loss, (x, y))
    vectors = np.random.default_rng(0).standard_normal((problem.dimension, 2))
    length = 1e-5
    moved = [problem.gradients(problem.checkpoint + sign * length * vectors[:, 0]) for sign in (1, -1)]
    samples = np.concatenate(list(problem.sample_products(vectors)))[:, 0]
    # Central differences err by length² times the third derivative, and by rounding over length.
    np.testing.assert_allclose((moved[0] - moved[1]) / (2 * length), samples, atol=1e-7 * np.abs(samples).max() + 1e-9)


def test_training_reaches_a_plateau_and_refuses_to_diverge():
    problem, loss = experiment.build(settings.Experiment(
        model=settings.ModelTable(hidden=3), data=settings.DataTable(size=3, count=100),
        training=settings.TrainingTable(epochs=10, polish=50, weight_decay=0.01),
        runs=[settings.EnsembleTable(learning_rate=0.1)],
    ))  # fmt: skip
    assert np.linalg.norm(problem.mean_gradient()) < 0.05 and loss < np.log(10)
    with pytest.raises(dfp.DFPError, match="training ends with the loss"):
        training.train(
            torch.nn.Linear(2, 2), lambda out, y: torch.exp(out.sum(-1) * 1e3), torch.ones(4, 2), torch.ones(4),
            epochs=2, learning_rate=10.0, batch_size=2,
        )  # fmt: skip
