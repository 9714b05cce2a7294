"""Records of measurements, runs and reports for their HDF5 files, and the way back."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from dfp.errors import FileFormatError
from dfp.networks import files, reporting, runs
from dfp.networks.closure import Closure
from dfp.networks.diagnostics import Diagnostics, PowerLaw
from dfp.networks.measurement import Measurement
from dfp.networks.prediction import Predictions
from dfp.networks.predictors import Moments, Rule
from dfp.networks.reporting import Report
from dfp.networks.runs import Runs

_INTERVALS = ("gamma_interval", "epsilon_interval", "exponent_interval")


def load(path: str | Path) -> Runs | Report:
    """Return the runs or the report in a file.

    Raises
    ------
    DFPError
        If there is no such file.
    FileFormatError
        If it was not written by ``dfp.networks``, or is damaged.
    """
    kind, record = files.read(path)
    try:
        if kind == runs.KIND:
            return Runs.from_record(record)
        if kind == reporting.KIND:
            return _report(record)
    except (KeyError, TypeError) as error:
        raise FileFormatError(f"path={path}: lacks {error}; make it again.") from error
    raise FileFormatError(
        f"path={path}: holds {kind}, which is no result of its own; give the file of runs or a report."
    )


def _report(record: dict[str, Any]) -> Report:
    measured = _measurement(files.nested(record, "measured"))
    moments: dict[str, Moments] = {}
    for name in dict.fromkeys(key.split("/")[1] for key in record if key.startswith("moments/")):
        moments[name] = Moments(**files.nested(record, f"moments/{name}"))
    closure = files.nested(record, "closure")
    predictions = Predictions(Rule(*record["rule"]), record["steps"], moments, Closure(**closure) if closure else None)
    kept = files.nested(record, "runs") | {"directions": measured.directions}
    return Report(measured, predictions, Runs.from_record(kept))


def _measurement(record: dict[str, Any]) -> Measurement:
    judged = files.nested(record, "diagnostics")
    law = files.nested(judged, "law")
    law |= {name: tuple(law[name]) for name in _INTERVALS}
    own = {field.name: judged[field.name] for field in fields(Diagnostics) if field.name != "law"}
    plain = {key: value for key, value in record.items() if "/" not in key}
    return Measurement(
        source=None, errors=files.nested(record, "errors"), diagnostics=Diagnostics(law=PowerLaw(**law), **own), **plain
    )
