"""The record of a report for its HDF5 file; ``storage`` is the way back."""

from typing import Any

import numpy as np

from dfp.networks import files
from dfp.networks.compared import Compared


def report_record(report: Compared) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays and other attributes of a report."""
    record = {f"measured/{name}": value for name, value in files.flat(report.measured).items() if name != "source"}
    predictions = report.predictions
    record |= {"rule": list(predictions.rule), "steps": predictions.steps}
    for name, moments in predictions.moments.items():
        record |= {f"moments/{name}/{key}": value for key, value in moments._asdict().items()}
    if predictions.closure is not None:
        record |= {f"closure/{name}": value for name, value in files.flat(predictions.closure).items()}
    kept = {name: value for name, value in files.flat(report.runs).items() if name != "directions"}
    record |= {f"runs/{name}": value for name, value in kept.items()}
    record["claims"] = [list(claim.__dict__.values()) for claim in report.claims]
    return files.split(record)
