"""From a file's settings to a report: data, training to a plateau, measurement, prediction, runs, page, files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from dfp.errors import DFPError
from dfp.networks import datasets, models, page, training
from dfp.networks.measurement import Measurement, measure
from dfp.networks.prediction import predict
from dfp.networks.problem import Problem
from dfp.networks.rates import Diffusion, diffusion
from dfp.networks.reporting import Report, report
from dfp.networks.running import trajectories
from dfp.networks.runs import Runs, default_steps
from dfp.networks.settings import EnsembleTable, Experiment
from dfp.results import figures

Progress = Callable[[int, int], None]
# Seed of the runs whose displacements choose flat directions: never that of runs that are predicted along them.
_PILOT_SEED = 2**32


class Outcome(NamedTuple):
    """What an experiment found."""

    name: str
    loss: float
    measured: Measurement
    reports: list[Report]
    diffusion: Diffusion | None


def build(experiment: Experiment, say: Callable[[str], None] = lambda text: None) -> tuple[Problem, float]:
    """Return the network, trained to a plateau, as a problem, and its loss."""
    torch.manual_seed(experiment.training.seed)
    inputs, targets, model, loss = _made(experiment)
    model = model.double()
    t = experiment.training
    x, y = torch.as_tensor(inputs), torch.as_tensor(targets)
    reached = training.train(
        model, loss, x, y, epochs=t.epochs, learning_rate=t.learning_rate, batch_size=t.batch_size, polish=t.polish,
        weight_decay=t.weight_decay, seed=t.seed,
    )  # fmt: skip
    problem = Problem(model, loss, (x, y), weight_decay=t.weight_decay)
    say(
        f"{experiment.name}: {problem.dimension} parameters, {problem.samples} samples, trained to a loss of "
        f"{reached:.4g}"
    )
    return problem, reached


def _made(experiment: Experiment) -> tuple[np.ndarray, np.ndarray, Any, Any]:
    data, model = experiment.data, experiment.model
    if data.kind == "text":
        windows = datasets.text(data.path, data.length, data.count or 512)
        if model.width % model.heads:
            raise DFPError(f"model.heads={model.heads}: must divide model.width={model.width}; change one of them.")
        network = models.Transformer(len(windows.symbols), data.length, model.width, model.heads, model.layers)
        return windows.inputs, windows.targets, network, models.text_loss
    if data.kind == "mnist":
        assert data.images is not None and data.labels is not None
        inputs, targets = datasets.mnist(data.images, data.labels, data.size, data.count)
    else:
        inputs, targets = (part[: data.count] for part in datasets.digits(data.size))
    made = models.mlp(data.size**2, model.hidden) if model.kind == "mlp" else models.cnn(data.size, model.channels)
    return inputs, targets, made, models.image_loss


def run(
    experiment: Experiment,
    folder: Path,
    say: Callable[[str], None] = lambda text: None,
    progress: Callable[[str], Progress | None] = lambda label: None,
) -> Outcome:
    """Run an experiment, write its runs and reports to ``folder``, and return what it found.

    Interrupted experiments go on where they ended: runs that are in the folder are not made again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    problem, loss = build(experiment, say)
    wanted = experiment.measure
    pilot = _pilot(experiment, problem, folder, progress("pilot runs")) if wanted.pilot else None
    measured = measure(
        problem, experiment.runs[0].batch_size, wanted.modes, flat=wanted.flat, runs=pilot, depth=wanted.depth,
        subspace=wanted.subspace,
    )  # fmt: skip
    say(str(measured))
    reports = []
    for number, ensemble in enumerate(experiment.runs, start=1):
        # Predicted before the runs exist.
        predicted = predict(
            measured, ensemble.learning_rate, ensemble.batch_size, ensemble.steps, _saved(ensemble).tolist(),
            ensemble.replace, momentum=ensemble.momentum, **experiment.closure.model_dump(),
        )  # fmt: skip
        say(f"η = {ensemble.learning_rate:g}, B = {ensemble.batch_size}: {predicted}")
        path = folder / f"{experiment.name}-runs-{number}.h5"
        made = _runs(problem, measured, ensemble, path, progress(f"runs {number}"))
        found = report(measured, made, predicted)
        found.save(folder / f"{experiment.name}-report-{number}.h5")
        reports.append(found)
        say(str(found))
    spread = _sweep(experiment, problem, measured, folder, progress) if experiment.sweep else None
    return Outcome(experiment.name, loss, measured, reports, spread)


def _pilot(experiment: Experiment, problem: Problem, folder: Path, progress: Progress | None) -> Runs:
    first = experiment.runs[0]
    return trajectories(
        problem, first.learning_rate, first.batch_size, experiment.measure.pilot, max(1, first.steps // 2), None,
        seed=_PILOT_SEED, directions=np.eye(problem.dimension, 1), path=folder / f"{experiment.name}-pilot.h5",
        progress=progress,
    )  # fmt: skip


def _saved(ensemble: EnsembleTable) -> np.ndarray:
    return np.arange(ensemble.steps + 1) if ensemble.every_step else default_steps(ensemble.steps)


def _runs(
    problem: Problem, measured: Measurement, ensemble: EnsembleTable, path: Path, progress: Progress | None
) -> Runs:
    return trajectories(
        problem, ensemble.learning_rate, ensemble.batch_size, ensemble.runs, ensemble.steps, _saved(ensemble).tolist(),
        ensemble.replace, ensemble.seed, momentum=ensemble.momentum, directions=measured.directions, path=path,
        progress=progress,
    )  # fmt: skip


def _sweep(
    experiment: Experiment,
    problem: Problem,
    measured: Measurement,
    folder: Path,
    progress: Callable[[str], Progress | None],
) -> Diffusion:
    sweep = experiment.sweep
    assert sweep is not None
    made = [
        _runs(
            problem,
            measured,
            EnsembleTable(
                learning_rate=rate, batch_size=sweep.batch_size, runs=sweep.runs, steps=sweep.steps, seed=sweep.seed
            ),
            folder / f"{experiment.name}-sweep-{place}.h5",
            progress(f"learning rate {rate:g}"),
        )
        for place, rate in enumerate(sweep.learning_rates, start=1)
    ]
    return diffusion(measured, made)


def write(outcomes: list[Outcome], folder: Path) -> Path:
    """Write one page for all experiments, and their figures as PNG and PDF; return the page."""
    sections, drawn = [], folder / "figures"
    drawn.mkdir(parents=True, exist_ok=True)
    for outcome in outcomes:
        sections.append(f"<h1>{outcome.name}</h1><p>Trained to a loss of {outcome.loss:.4g}.</p>")
        for number, found in enumerate(outcome.reports, start=1):
            sections.append(page.section(found))
            names = ["errors", "spectrum", "scatter", "density", *([] if found.predictions.rule.replace else ["epoch"])]
            for name in names:
                _draw(found.plot(name), drawn / f"{outcome.name}-{number}-{name}")
        if outcome.diffusion is not None:
            figure = outcome.diffusion.plot()
            sections += ["<h2>Learning rates</h2>", page.verdicts(outcome.diffusion.claims), page.picture(figure)]
            _draw(figure, drawn / f"{outcome.name}-diffusion")
    target = folder / "report.html"
    page.write(target, "SGD of networks: what was predicted, and what it did", sections)
    return target


def _draw(figure: Any, stem: Path) -> None:
    from matplotlib import pyplot

    for suffix in (".png", ".pdf"):
        figures.save(figure, stem.with_suffix(suffix))
    pyplot.close(figure)
