"""Evidence on networks, from finished experiments: ``python -m validation.networks FOLDER``.

FOLDER is what ``dfp networks run vision --out FOLDER`` and ``dfp networks run language --out FOLDER`` wrote, in their
full forms. ``--held-out`` first runs there networks on which no threshold of trust was set. Numbers go to
``evidence/networks``, figures to ``docs/_static/networks``; the documentation reads both.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import dfp
from dfp.networks import tables
from dfp.networks.settings import DataTable, EnsembleTable, Experiment, ModelTable, TrainingTable

ROOT = Path(__file__).resolve().parent.parent
EVIDENCE, PICTURES = ROOT / "validation" / "evidence" / "networks", ROOT / "docs" / "_static" / "networks"
# Figures that the documentation shows, by experiment and number of its report.
SHOWN = {
    ("mlp", 1): ("spectrum", "scatter"),
    ("mlp", 3): ("errors",),
    ("mlp", 4): ("epoch",),
    ("transformer", 1): ("scatter",),
    ("cnn", 1): ("scatter",),
}


def _noisy(*pairs: tuple[float, int]) -> list[EnsembleTable]:
    return [EnsembleTable(learning_rate=rate, batch_size=size, runs=256, steps=500) for rate, size in pairs]


# Other seeds, batch sizes and a network of another kind than those the threshold was set on: does the closure say
# beforehand from which step it fails?
HELD_OUT = [
    Experiment(
        name="held-mlp", training=TrainingTable(polish=500, weight_decay=3e-4, seed=5),
        runs=_noisy((0.2, 32), (0.2, 16)),
    ),
    Experiment(
        name="held-cnn", model=ModelTable(kind="cnn"), data=DataTable(size=8, count=800),
        training=TrainingTable(polish=300, weight_decay=1e-3, seed=7), runs=_noisy((0.2, 8), (0.1, 16)),
    ),
    Experiment(name="held-early", training=TrainingTable(epochs=20, polish=0, seed=6), runs=_noisy((0.2, 8))),
]  # fmt: skip


def record(report: "dfp.networks.Report") -> dict[str, Any]:
    """Return the numbers of a report that the evidence keeps."""
    rule, measured = report.predictions.rule, report.measured
    places = tables.chosen_steps(report, 9)
    groups = {"all": report.live} | report.groups
    law = measured.diagnostics.law
    return {
        "rule": rule._asdict(),
        "runs": report.runs.count,
        "seed": report.runs.seed,
        "parameters": measured.dimension,
        "samples": measured.samples,
        "directions": measured.method,
        "counts": {name: int(chosen.sum()) for name, chosen in groups.items()},
        "steps": report.steps[places].tolist(),
        "floor": _rounded(report.floor.expected[places]),
        "floor_log_correlation": _rounded(report.floor.correlations[places], 5),
        "errors": {
            name: _scores(report, chosen, places, "error") for name, chosen in groups.items() if chosen.sum() > 2
        },
        "log_correlation": {
            name: _scores(report, chosen, places, "correlation") for name, chosen in groups.items() if chosen.sum() > 2
        },
        "mean_z": _scores(report, report.live, places, "mean_z"),
        "trusted_until": report.predictions.trusted_until,
        "trust": str(report.predictions),
        "quadratic_until": report.quadratic_until,
        "fails_from": report.fails_from,
        "regimes": {name: report.regimes.count(name) for name in dict.fromkeys(report.regimes)},
        "power_law": {
            "exponent": law.exponent,
            "interval": law.exponent_interval,
            "epsilon": law.epsilon,
            "spread": law.spread,
        },
        "claims": [claim.__dict__ for claim in report.claims],
    }


def _scores(
    report: "dfp.networks.Report", chosen: np.ndarray, places: list[int], name: str
) -> dict[str, list[float | None]]:
    found = report.scores_of(chosen)
    digits = 5 if name == "correlation" else 4
    return {predictor: _rounded(getattr(own, name)[places], digits) for predictor, own in found.items()}


def _rounded(values: np.ndarray, digits: int = 4) -> list[float | None]:
    return [float(f"{value:.{digits}g}") if np.isfinite(value) else None for value in values]


def spread(folder: Path, name: str, measured: "dfp.networks.Measurement", draw: bool) -> dict[str, Any] | None:
    """Return how diffusion depends on the learning rate, from the runs of a sweep."""
    paths = sorted(folder.glob(f"{name}-sweep-*.h5"))
    if not paths:
        return None
    ensembles = [dfp.load(path) for path in paths]
    found = dfp.networks.diffusion(measured, ensembles)
    if draw:
        found.plot().savefig(PICTURES / f"{name}-diffusion.png", dpi=110)
    return {
        "learning_rates": found.learning_rates.tolist(),
        "coefficients": _rounded(found.coefficients),
        "predicted": _rounded(found.predicted / (2 * found.learning_rates)),
        "exponent": found.exponent,
        "interval": found.interval,
        "directions": found.directions,
        "steps": int(found.steps[0]),
        "claims": [claim.__dict__ for claim in found.claims],
    }


def main(
    folder: Annotated[Path, typer.Argument(help="Folder of finished experiments.")],
    held_out: Annotated[bool, typer.Option("--held-out", help="First run networks that nothing was tuned on.")] = False,
) -> None:
    """Write numbers and figures of all experiments in FOLDER."""
    if held_out:
        from dfp.networks import experiment

        for one in HELD_OUT:
            experiment.run(one, folder, typer.echo)
    EVIDENCE.mkdir(parents=True, exist_ok=True)
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name in sorted({path.name.split("-report-")[0] for path in folder.glob("*-report-*.h5")}):
        reports = [dfp.load(path) for path in sorted(folder.glob(f"{name}-report-*.h5"))]
        kept: dict[str, Any] = {"experiment": name, "reports": []}
        for number, report in enumerate(reports, start=1):
            assert isinstance(report, dfp.networks.Report)
            kept["reports"].append(record(report))
            for figure in SHOWN.get((name, number), ()):
                report.plot(figure).savefig(PICTURES / f"{name}-{number}-{figure}.png", dpi=90)
            typer.echo(f"{name}, {report!r}")
        first = reports[0]
        assert isinstance(first, dfp.networks.Report)
        kept["diffusion"] = spread(folder, name, first.measured, draw=True)
        text = json.dumps(kept, indent=1, ensure_ascii=False) + "\n"
        (EVIDENCE / f"{name.replace('-', '_')}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
